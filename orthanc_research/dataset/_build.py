"""A build: a task a series, on threads or with any executor, then the tables, hashes and papers of the folder."""

from __future__ import annotations

import copy
import os
import shutil
import tomllib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from filelock import FileLock, Timeout

from orthanc_research.cards import card, tally
from orthanc_research.dataset._finish import Unit, finish, forget, old_lock, patients_of, placed
from orthanc_research.dataset._manifest import DONE, MANIFEST, verify
from orthanc_research.dataset._recipe import Recipe
from orthanc_research.dataset._released import Release, Released, project_of
from orthanc_research.dataset._splits import plain_digest
from orthanc_research.dataset._task import Task, run_task
from orthanc_research.errors import DatasetError, QueryError
from orthanc_research.export._options import file_name
from orthanc_research.files import atomic_write, private_folder, sweep
from orthanc_research.parallel import MAX_THREADS, reporting, thread_map
from orthanc_research.progress import Progress

if TYPE_CHECKING:
    from orthanc_research.dataset._plan import DatasetPlan

__all__ = ["STATUS_COLUMNS", "Build", "build"]

# column → dtype of `Build.status`, which is indexed by the SeriesInstanceUID in the source
STATUS_COLUMNS = {
    "status": "str",
    "error": "str",
    "file": "str",
    "instances": "Int64",
    "frames": "Int64",
    "bytes": "Int64",
    "reused": "boolean",
    "seconds": "float64",
}
_NEEDED = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "InstanceNumber", "Modality")
_FILES = 4  # at a time, over all series
_LOOK = 0.2  # seconds between looks at whether the user wants to stop
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Build:
    """What became of a build.

    - `status`: a row for each planned series, `STATUS_COLUMNS`: "done"; "partial" (what could not be read is in
      `error` and in the table of issues); "failed" (nothing of it is in the dataset); "dropped" (de-identification
      gave no copies); "not-done" (the server or the disk failed, the series changed, or the run was stopped).
    - `complete`: whether none is "not-done": only then there are tables and a manifest. `retry` does the rest.
    - `content_hash`: the same for the same dataset, whoever built it ("" while it is not complete).
    - `leaks`: as `check_leakage` gives them; empty when there are none.
    - `differences`: the series that are not as the last build into this place had them: new, gone or changed.
    """

    folder: Path
    status: pd.DataFrame
    complete: bool
    content_hash: str
    leaks: pd.DataFrame
    differences: pd.DataFrame
    _plan: DatasetPlan = field(repr=False)
    _how: dict[str, Any] = field(repr=False)

    def retry(self, *, progress: Progress | bool | None = None) -> Build:
        """The same again: what is done and unchanged on the disk stays, everything else is made anew."""
        return build(self._plan, self.folder, **self._how, progress=progress)

    def verify(self) -> pd.DataFrame:
        """The files that are not as the manifest says, a row each: `file` and `problem`; empty when all are."""
        return verify(self.folder)

    def __repr__(self) -> str:
        counts = self.status["status"].value_counts().sort_index()
        return f"<Build {self.folder.name}: {' · '.join(f'{count} {name}' for name, count in counts.items())}>"

    def _repr_html_(self) -> str:
        counts = {
            str(status): (len(rows), int(rows["instances"].sum()), int(rows["bytes"].sum()) // 10**6)
            for status, rows in self.status.groupby("status", sort=True)
        }
        facts = [
            ("complete", "yes" if self.complete else "no: build.retry() does the rest"),
            ("content hash", self.content_hash),
            ("leaks between splits", f"{len(self.leaks):,}" if self.complete else ""),
            ("changed since the last build", f"{len(self.differences):,} series" if len(self.differences) else ""),
        ]
        table = tally(counts, ("series", "instances", "MB"))
        return card("build", f"Build {self.folder.name}", facts, parts=[table])


def build(
    plan: DatasetPlan,
    out: str | os.PathLike[str],
    *,
    workers: int,
    executor: Executor | None,
    key: Any,
    acknowledge: Collection[str] | str,
    progress: Progress | bool | None,
) -> Build:
    """See `DatasetPlan.build`."""
    if not isinstance(workers, int) or isinstance(workers, bool) or not 1 <= workers <= MAX_THREADS:
        raise QueryError(f"workers is a number from 1 to {MAX_THREADS}.")
    recipe, rows = plan.recipe, plan._kept
    release = project_of(recipe, key) if recipe.anonymize.on else None
    digest = plain_digest if release is None else release.key.digest
    with _folder(out, recipe) as root, reporting(progress, "build") as bar:
        private = root if release is None else release.private
        places = placed(recipe, patients_of(recipe, rows), private, digest)
        released = _sources(plan, rows, release, acknowledge, bar)
        units = _units(plan, rows, released, root, workers)
        _check_space(root, [unit.task for unit in units if unit.task is not None])
        (root / MANIFEST).unlink(missing_ok=True)  # until all of it is there again
        forget(root, [unit.task.name for unit in units if unit.task is not None])
        tasks = [unit.task for unit in units if unit.task is not None]
        bar.total(len(tasks), "series")
        found = _with(executor, tasks, bar) if executor is not None else _threads(plan, units, workers, bar)
        for unit in units:
            if unit.task is not None:
                unit.row = found.get(unit.task.name, _stopped())
        complete = not any(unit.row["status"] == "not-done" for unit in units)
        differences = old_lock(private, units)
        content, leaks = finish(plan, root, private, units, places, digest) if complete else ("", None)
    how = {"workers": workers, "executor": executor, "key": key, "acknowledge": acknowledge}
    none = pd.DataFrame(columns=["kind", "splits", "series", "count"])
    return Build(root, _status(units), complete, content, none if leaks is None else leaks, differences, plan, how)


def _stopped() -> Row:
    return {"status": "not-done", "error": "It was stopped before."}


def _status(units: Sequence[Unit]) -> pd.DataFrame:
    rows = [{name: unit.row.get(name) for name in STATUS_COLUMNS} for unit in units]
    frame = pd.DataFrame(rows, columns=list(STATUS_COLUMNS)).astype(STATUS_COLUMNS)
    frame.index = pd.Index([unit.source_uid for unit in units], name="SeriesInstanceUID", dtype="str")
    return frame


@contextmanager
def _folder(out: str | os.PathLike[str], recipe: Recipe) -> Iterator[Path]:
    """The folder, for this process alone; `DatasetError` when it holds anything but this dataset."""
    root = Path(out).expanduser()
    try:
        if root.is_dir() and not _is_ours(root, recipe):
            raise DatasetError("This folder holds something else; give a new one, or that of the same dataset.")
        for name in (DONE, "frames", "volumes"):
            private_folder(root / name)
    except OSError as error:
        raise DatasetError(f"Nothing can be written to that folder ({os.strerror(error.errno or 0)}).") from None
    lock = FileLock(root / DONE / "lock", timeout=0, mode=0o600, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise DatasetError("Another process or notebook builds into this folder; wait for it, or end it.") from None
    try:
        for folder in (root, root / DONE, root / "frames", root / "volumes"):
            sweep(folder)
        with atomic_write(root / "recipe.toml") as stream:
            stream.write(recipe.to_toml(public=True).encode())
        yield root
    except OSError as error:
        raise DatasetError(f"The folder cannot be written ({os.strerror(error.errno or 0)}); go on later.") from error
    finally:
        lock.release()


def _is_ours(root: Path, recipe: Recipe) -> bool:
    """Whether a folder is empty or of this dataset; a first run may have died before it wrote its recipe."""
    names = {path.name for path in root.iterdir() if not path.name.startswith(".ores-")}
    if "recipe.toml" not in names:
        return names <= {DONE, "frames", "volumes"}
    try:
        return bool(tomllib.loads((root / "recipe.toml").read_text())["dataset"]["name"] == recipe.dataset.name)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _sources(
    plan: DatasetPlan, rows: pd.DataFrame, release: Release | None, acknowledge: Collection[str] | str, bar: Progress
) -> list[Released]:
    if release is not None:
        return release.series(rows, plan._orthancs, acknowledge, bar)
    named = "PatientID" in plan.recipe.metadata.keywords
    found = []
    for identity, patient, uid in zip(rows["identity"], rows["PatientID"], rows["SeriesInstanceUID"], strict=True):
        # Who looks at the dataset need not read who it is, unless the recipe says so.
        code = f"P{plain_digest('dataset-patient', plan.recipe.dataset.seed, identity).hex()[:16]}" if identity else ""
        found.append(Released(str(uid), str(patient) if named and identity else code))
    if named and len({each.patient for each in found}) != rows["identity"].nunique():
        raise DatasetError("Two patients have the same PatientID; leave it out of metadata.keywords.")
    return found


def _units(plan: DatasetPlan, rows: pd.DataFrame, released: Sequence[Released], root: Path, workers: int) -> list[Unit]:
    recipe, units = plan.recipe, []
    uids = [each.uid for each in released]
    columns = tuple(dict.fromkeys((*_NEEDED, *recipe.metadata.keywords)))
    for place, one in zip(rows.index, released, strict=True):
        row = rows.loc[place]
        connection = plan._orthancs[int(row["source"])].rest.connection
        name = file_name(one.uid, str(row["ID"]))
        if uids.count(one.uid) > 1:
            name = f"{name}-{row['ID']}"  # one UID under two patients
        task = Task(
            out=str(root),
            name=name,
            uid=one.uid,
            recipe=recipe.hash,
            columns=columns,
            values=recipe.arrays.values,
            also=recipe.arrays.also,
            geometry=recipe.filter.geometry,
            bytes=int(row["bytes"]),
            threads=max(1, _FILES // workers),
            connection=None if one.files else connection,
            planned=None if one.files else row["planned"],
            files=one.files,
        )
        unit = Unit(source_uid=str(row["SeriesInstanceUID"]), source=int(row["source"]), plan=row, patient=one.patient)
        if one.reason:
            unit.row = {"status": "dropped", "error": one.reason}
        else:
            unit.task = task
        units.append(unit)
    return units


def _check_space(root: Path, tasks: Sequence[Task]) -> None:
    """Refuse what cannot fit: the largest series, as DICOM has it, is needed at once and more is said."""
    needed, free = max((task.bytes for task in tasks), default=0), shutil.disk_usage(root).free
    if free < needed:
        raise DatasetError(f"The disk has {free / 1e6:.0f} MB left; a series of this dataset needs {needed / 1e6:.0f}.")


def _threads(plan: DatasetPlan, units: Sequence[Unit], workers: int, bar: Progress) -> dict[str, Row]:
    found: dict[str, Row] = {}
    halted: list[str] = []

    def one(pair: tuple[Unit, Task]) -> Row:
        unit, task = pair
        if halted:
            return {"status": "not-done", "error": halted[0]}
        rest = None if task.files else plan._orthancs[unit.source].rest
        row = run_task(task, rest, bar)
        if row.pop("over", False):
            halted.append(row["error"])
        return row

    todo = [(unit, unit.task) for unit in units if unit.task is not None]
    with closing(thread_map(one, todo, workers=workers, progress=bar)) as outcomes:
        for outcome in outcomes:
            found[outcome.unit[1].name] = outcome.get()
            bar.advance()
    return found


def _with(executor: Executor, tasks: Sequence[Task], bar: Progress) -> dict[str, Row]:
    """Each task where the executor runs it; a worker that dies is a row of what it had."""
    if not isinstance(executor, ThreadPoolExecutor):
        for task in tasks:  # a copy is made as by a pickle
            if task.connection is not None and copy.copy(task.connection).stripped:
                raise DatasetError("Other processes need Orthanc(…, auth='env:NAME'): passwords do not travel.")
    found: dict[str, Row] = {}
    futures: dict[Future[Row], str] = {executor.submit(partial(run_task, task)): task.name for task in tasks}
    waiting = set(futures)
    while waiting:
        ended, waiting = wait_for(waiting, _LOOK, "FIRST_COMPLETED")
        for future in ended:
            found[futures[future]] = _row_of(future)
            bar.advance()
        if bar.cancelled:
            waiting = {future for future in waiting if not future.cancel()}
    return found


def _row_of(future: Future[Row]) -> Row:
    try:
        row = dict(future.result())
    except FutureCancelled:
        return _stopped()
    except Exception as error:  # noqa: BLE001 - each executor has its own for a worker that died
        return {"status": "not-done", "error": f"Its worker died ({type(error).__name__})."}
    row.pop("over", None)
    return row
