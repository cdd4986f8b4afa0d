"""A build: a task a series, on threads or with any executor, then the tables, hashes and papers of the folder."""

from __future__ import annotations

import os
import shutil
import time
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from filelock import FileLock, Timeout

from orthanc_research.cards import card, tally
from orthanc_research.dataset._elsewhere import elsewhere
from orthanc_research.dataset._failure import is_full
from orthanc_research.dataset._finish import Place, finish, forget, keep, old_lock, patients_of, placed
from orthanc_research.dataset._manifest import DONE, MANIFEST, read_manifest, verify
from orthanc_research.dataset._recipe import Recipe
from orthanc_research.dataset._released import Release, Released, project_of
from orthanc_research.dataset._run import caps_of, on_threads, stopped
from orthanc_research.dataset._splits import plain_digest
from orthanc_research.dataset._task import Task
from orthanc_research.dataset._unit import Unit
from orthanc_research.deid import uid_of
from orthanc_research.errors import DatasetError, QueryError
from orthanc_research.export._options import file_name
from orthanc_research.files import atomic_write, private_folder, sweep
from orthanc_research.parallel import MAX_THREADS, reporting
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
_UNPACKED = 6  # times as much: what is left of lossy JPEG when pixels are packed anew, without loss
_KB_AN_INSTANCE = 4  # of tables, beside what the series take
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Build:
    """What became of a build.

    - `status`: a row for each planned series, `STATUS_COLUMNS`: "done"; "partial" (what could not be read is in
      `error` and in the table of issues); "failed" (nothing of it is in the dataset); "dropped" (de-identification
      gave no copies); "not-done" (the server, the disk or the workers failed, the series changed, or the run was
      stopped).
    - `complete`: whether none is "not-done": only then there are tables and a manifest. `retry` does the rest.
    - `content_hash`: the same for the same dataset, whoever built it ("" while it is not complete); that of a
      folder is `open_dataset(folder).manifest["content"]`.
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

    @property
    def changes(self) -> str:
        """How many series the last build into this place had otherwise: "1 changed, 2 gone"; "" for none."""
        counts = self.differences["change"].value_counts().sort_index()
        return ", ".join(f"{count:,} {change}" for change, count in counts.items())

    @property
    def decoders(self) -> Mapping[str, Sequence[str]]:
        """Transfer syntax → what decoded it, with versions; {} while it is not complete."""
        return dict(read_manifest(self.folder)["decoders"]) if self.complete else {}

    def verify(self) -> pd.DataFrame:
        """The files that are not as the manifest says, a row each: `file` and `problem`; empty when all are."""
        return verify(self.folder)

    def __repr__(self) -> str:
        counts = self.status["status"].value_counts().sort_index()
        told = " · ".join(f"{count} {name}" for name, count in counts.items())
        changed = f"; since the last build: {self.changes}" if len(self.differences) else ""
        return f"<Build {self.folder.name}: {told}{changed}>"

    def _repr_html_(self) -> str:
        counts = {
            str(status): (len(rows), int(rows["instances"].sum()), int(rows["bytes"].sum()) // 10**6)
            for status, rows in self.status.groupby("status", sort=True)
        }
        facts = [
            ("complete", "yes" if self.complete else "no: build.retry() does the rest"),
            ("content hash", self.content_hash),
            ("leaks between splits", f"{len(self.leaks):,}" if self.complete else ""),
            ("since the last build", self.changes),
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
    started = time.time()
    with _folder(out, recipe, rows) as root, reporting(progress, "build") as bar:
        place = _place(recipe, root, release)
        places = placed(recipe, patients_of(recipe, rows), place.private, place.digest)
        released = _sources(plan, rows, release, acknowledge, workers, executor, bar)
        units = _units(plan, rows, released, place, workers, release)
        tasks = [unit.task for unit in units if unit.task is not None]
        _check_space(root, tasks)
        # Not before: what fails until here leaves a dataset that is there as it was, recipe and locks and all.
        (root / MANIFEST).unlink(missing_ok=True)  # until all of it is there again
        _write_recipe(root, recipe)
        keep(recipe, places, place.private, place.digest)
        forget(root, [task.name for task in tasks])
        bar.total(len(tasks), "series")
        caps = caps_of(plan)
        if executor is not None:
            found = elsewhere(executor, tasks, caps, root, bar)
        else:
            found = on_threads(plan, units, workers, caps, bar)
        for unit in units:
            if unit.task is not None:
                unit.row = found.get(unit.task.name, stopped())
        complete = not any(unit.row["status"] == "not-done" for unit in units)
        differences = old_lock(place.private, units)
        content, leaks = finish(plan, place, units, places, started) if complete else ("", None)
    how = {"workers": workers, "executor": executor, "key": key, "acknowledge": acknowledge}
    none = pd.DataFrame(columns=["kind", "splits", "series", "count"])
    return Build(root, _status(units), complete, content, none if leaks is None else leaks, differences, plan, how)


def _place(recipe: Recipe, root: Path, release: Release | None) -> Place:
    if release is None:
        return Place(root, root, recipe.hash, plain_digest, str)
    told = release.key.digest("dataset-recipe", "", recipe.hash).hex() if recipe.withheld else recipe.hash
    return Place(root, release.private, told, release.key.digest, partial(uid_of, release.key))


def _status(units: Sequence[Unit]) -> pd.DataFrame:
    rows = [{name: unit.row.get(name) for name in STATUS_COLUMNS} for unit in units]
    frame = pd.DataFrame(rows, columns=list(STATUS_COLUMNS)).astype(STATUS_COLUMNS)
    frame.index = pd.Index([unit.source_uid for unit in units], name="SeriesInstanceUID", dtype="str")
    return frame


@contextmanager
def _folder(out: str | os.PathLike[str], recipe: Recipe, rows: pd.DataFrame) -> Iterator[Path]:
    """The folder, for this process alone; `DatasetError` when it holds anything but this dataset."""
    root = Path(out).expanduser()
    try:
        if root.is_dir() and not _is_ours(root, recipe):
            raise DatasetError("This folder holds something else; give a new one, or that of the same dataset.")
        for name in (DONE, "frames", "volumes"):
            private_folder(root / name)
    except OSError as error:
        raise DatasetError(_not_written(error, rows)) from None
    lock = FileLock(root / DONE / "lock", timeout=0, mode=0o600, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise DatasetError("Another process or notebook builds into this folder; wait for it, or end it.") from None
    except OSError as error:
        raise DatasetError(_not_written(error, rows)) from None
    try:
        for folder in (root, root / DONE, root / "frames", root / "volumes"):
            sweep(folder)
        if not (root / "recipe.toml").exists():  # so that the folder is known as this dataset's
            _write_recipe(root, recipe)
        yield root
    except OSError as error:
        raise DatasetError(_not_written(error, rows)) from error
    finally:
        lock.release()


def _write_recipe(root: Path, recipe: Recipe) -> None:
    with atomic_write(root / "recipe.toml") as stream:
        stream.write(recipe.to_toml(public=True).encode())


def _not_written(error: OSError, rows: pd.DataFrame) -> str:
    """With the room that is needed where there is none: tables and papers take some kB an instance at most."""
    if is_full(error):
        mb = 2 + int(rows["instances"].sum()) * _KB_AN_INSTANCE / 1e3
        return f"The disk is full: make {mb:.0f} MB of room and build again; the series that are done stay."
    return f"The folder cannot be written ({os.strerror(error.errno or 0)}); put that right and build again."


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
    plan: DatasetPlan,
    rows: pd.DataFrame,
    release: Release | None,
    acknowledge: Collection[str] | str,
    workers: int,
    executor: Executor | None,
    bar: Progress,
) -> list[Released]:
    if release is not None:
        return release.series(rows, plan._orthancs, acknowledge, workers, executor, bar)
    named = "PatientID" in plan.recipe.metadata.keywords
    found = []
    for identity, patient, uid in zip(rows["identity"], rows["PatientID"], rows["SeriesInstanceUID"], strict=True):
        # Who looks at the dataset need not read who it is, unless the recipe says so. It is no pseudonym: there is no
        # key, so that anyone builds the same dataset, and who has the PatientIDs can tell which is whose. The source's
        # UIDs are in the dataset as well; its card says that nothing was de-identified.
        code = f"P{plain_digest('dataset-patient', plan.recipe.dataset.seed, identity).hex()[:16]}" if identity else ""
        found.append(Released(str(uid), str(patient) if named and identity else code))
    if named and len({each.patient for each in found}) != rows["identity"].nunique():
        raise DatasetError("Two patients have the same PatientID; leave it out of metadata.keywords.")
    return found


def _units(
    plan: DatasetPlan,
    rows: pd.DataFrame,
    released: Sequence[Released],
    place: Place,
    workers: int,
    release: Release | None,
) -> list[Unit]:
    recipe, units = plan.recipe, []
    uids = Counter(each.uid for each in released)
    caps = caps_of(plan)
    columns = tuple(dict.fromkeys((*_NEEDED, *recipe.metadata.keywords)))
    for row, one in zip((rows.loc[each] for each in rows.index), released, strict=True):
        connection = plan._orthancs[int(row["source"])].rest.connection
        cap = caps[connection.url]
        name = file_name(one.uid, str(row["ID"]))
        if uids[one.uid] > 1:  # one UID under two patients
            name = f"{name}-{row['ID'] if release is None else one.patient}"
        task = Task(
            out=str(place.root),
            name=name,
            uid=one.uid,
            recipe=place.recipe,
            columns=columns,
            values=recipe.arrays.values,
            also=recipe.arrays.also,
            geometry=recipe.filter.geometry,
            bytes=int(row["bytes"]),
            needed=int(row["bytes"]) * (_UNPACKED if bool(row["packed"]) else 1) * (1 + len(recipe.arrays.also)),
            state=row["state"] if release is None else release.state(one.files),
            threads=max(1, (cap if release is None else _FILES) // min(workers, cap)),
            connection=None if release is not None else connection,
            planned=None if release is not None else row["planned"],
            files=one.files,
        )
        unit = Unit(source_uid=str(row["SeriesInstanceUID"]), source=int(row["source"]), plan=row, patient=one.patient)
        if one.reason:
            unit.row = {"status": "not-done" if one.left else "dropped", "error": one.reason}
        else:
            unit.task = task
        units.append(unit)
    return units


def _check_space(root: Path, tasks: Sequence[Task]) -> None:
    """Refuse what cannot fit: the largest series, as DICOM has it, is needed at once and more is said."""
    needed, free = max((task.bytes for task in tasks), default=0), shutil.disk_usage(root).free
    if free < needed:
        raise DatasetError(f"The disk has {free / 1e6:.0f} MB left; a series of this dataset needs {needed / 1e6:.0f}.")
