"""One series of a build: fetched, decoded, written and marked as done; idempotent, atomic, and it never raises."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pydicom import Dataset

from orthanc_research import fetch, headers
from orthanc_research.dataset._hash import FramesHash
from orthanc_research.dataset._manifest import done, mark_done
from orthanc_research.dataset._open import OpenDataset
from orthanc_research.dataset._sections import Geometry
from orthanc_research.dataset._short import short_tags
from orthanc_research.decoding import decode_isolated
from orthanc_research.errors import (
    AccessError,
    CancelledError,
    Error,
    GeometryError,
    OrthancError,
    PixelError,
)
from orthanc_research.export import FrameRow, frame_rows, write_frames, write_table, write_volume
from orthanc_research.export.plan import ChangedError, Planned, check
from orthanc_research.export.series import in_order
from orthanc_research.parallel import Outcome, thread_map
from orthanc_research.pixels import frames_of, read_dataset
from orthanc_research.pixels._suv import suv_factor
from orthanc_research.progress import Progress, Silent, Within
from orthanc_research.rest import Connection, Rest, is_server_gone
from orthanc_research.tables import Row as RawRow
from orthanc_research.tables import plan_tags, tags_frame

__all__ = ["Task", "parts", "run_task"]

Row = dict[str, Any]
Decoded = Generator[Outcome[str, tuple[Dataset, npt.NDArray[Any]]], None, None]
_SUFFIX = {"nifti": ".nii.gz", "npy": ".npy", "npz": ".npz"}
_BESIDE = {"nifti": ".nii.gz.json", "npy": ".json", "npz": ".npz.json"}
_STOPPED = "It was stopped on request."
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is shipped to a worker: small, frozen, and without a client or a secret.

    The pixels come from a series of an Orthanc (`connection`, `planned`) or from `files` (de-identified). `recipe` is
    the recipe's hash: what another recipe made is made again.
    """

    out: str
    name: str
    uid: str
    recipe: str
    columns: tuple[str, ...]
    values: str
    also: tuple[str, ...]
    geometry: Geometry
    bytes: int
    threads: int = 1
    connection: Connection | None = field(default=None, repr=False)
    planned: Planned | None = field(default=None, repr=False)
    files: tuple[str, ...] = field(default=(), repr=False)

    @property
    def inputs(self) -> str:
        """What tells whether what is on the disk was made of the same."""
        names = "\n".join(Path(each).name for each in self.files)
        mark = hashlib.sha256(names.encode()).digest() if self.planned is None else self.planned.mark
        return f"{self.recipe} {mark.hex()}"


def run_task(task: Task, rest: Rest | None = None, progress: Progress | None = None) -> Row:
    """Do it, unless it is done: `status` "done", "partial" (some instances have no pixels that decode), "failed".

    "not-done" is what may go well the next time: the server or the disk failed, the series changed, it was cancelled.
    """
    start = time.monotonic()
    reused = False
    try:
        facts = done(task.out, task.name)
        reused = facts is not None and facts.get("inputs") == task.inputs
        if facts is None or not reused:
            facts = _in_connection(task, rest, progress or Silent())
        problems = facts["problems"]
        row: Row = {"status": "partial" if problems else "done", "error": problems[0]["reason"] if problems else None}
        row |= {name: facts[name] for name in ("file", "instances", "frames", "bytes")}
    except Exception as error:  # noqa: BLE001 - whatever happens to a series is its row
        row = _failed(error, task)
    return {**row, "reused": reused, "seconds": time.monotonic() - start}


def parts(out: str | os.PathLike[str], name: str) -> tuple[Path, Path]:
    """Where a series keeps its rows of `instances`, and its pixel hashes."""
    folder = Path(out) / "_done"
    return folder / f"{name}.instances.parquet", folder / f"{name}.pixels.parquet"


def _failed(error: Exception, task: Task) -> Row:
    passing = isinstance(error, OrthancError | OSError | ChangedError | CancelledError | MemoryError)
    if isinstance(error, OSError) and not isinstance(error, Error):
        if error.errno in _NO_SPACE:
            reason = f"The disk is full: this series needs up to {task.bytes / 1e6:.0f} MB; make room and go on."
        else:
            reason = f"A file cannot be read or written ({os.strerror(error.errno) if error.errno else 'no reason'})."
    elif isinstance(error, Error | ChangedError):
        reason = str(error)
    elif isinstance(error, pa.ArrowException | ValueError | OverflowError):
        reason = f"Its values cannot be written ({type(error).__name__})."
    else:
        reason = f"It could not be built ({type(error).__name__})."
    over = isinstance(error, AccessError) or (isinstance(error, OrthancError) and is_server_gone(error))
    over = over or (isinstance(error, OSError) and error.errno in _NO_SPACE)
    return {"status": "not-done" if passing else "failed", "error": reason, "over": over}


def _in_connection(task: Task, rest: Rest | None, progress: Progress) -> Row:
    if rest is not None or task.connection is None:
        return _built(task, rest, progress)
    with Rest(task.connection) as own:
        return _built(task, own, progress)


@dataclass(slots=True)
class _Notes:
    """What is gathered while the frames pass by."""

    tags: list[RawRow] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)
    problems: list[dict[str, str]] = field(default_factory=list)

    def add(self, kind: str, reason: str) -> None:
        self.problems.append({"kind": kind, "reason": reason})


def _built(task: Task, rest: Rest | None, progress: Progress) -> Row:
    notes, out = _Notes(), Path(task.out)
    hashed, frames, path = FramesHash(), 0, out / "frames" / f"{task.name}.parquet"
    for pattern in (f"frames/{task.name}.parquet", f"volumes/{task.name}.*", f"volumes/{task.name}_*"):
        for old in out.glob(pattern):  # of another recipe, perhaps
            old.unlink()
    if task.values == "none":
        _headers(task, rest, notes, progress)
    else:
        frames = write_frames(path, hashed.through(_rows(task, rest, notes, progress)), {})
        if not frames:
            raise PixelError(notes.problems[0]["reason"] if notes.problems else "It has no pixels.")
    instances = _instances(task, notes)
    if rest is not None and task.planned is not None:
        check(rest, task.planned)
    written = [path] if frames else []
    written += _volumes(task, path, instances, notes)
    rows, pixels = parts(out, task.name)
    write_table(instances, rows)
    write_table(hashed.pixels(), pixels)
    facts = {
        "inputs": task.inputs,
        "frames_hash": hashed.hexdigest() if frames else None,
        "file": f"frames/{path.name}" if frames else None,
        "instances": len(instances),
        "frames": frames,
        "bytes": sum(each.stat().st_size for each in written),
        "problems": notes.problems,
    }
    mark_done(out, task.name, [each.relative_to(out) for each in (*written, rows, pixels)], facts)
    return facts


def _rows(task: Task, rest: Rest | None, notes: _Notes, progress: Progress) -> Iterator[FrameRow]:
    """All frames, in order; `CancelledError` instead of an end, so that no file is left."""
    count, ended = 0, 0
    names = _listed(task, rest)
    with closing(_decoded(task, rest, names, progress)) as outcomes:
        for outcome in outcomes:
            ended += 1
            try:
                dataset, array = outcome.get()
                rows = frame_rows(dataset, array)
            except PixelError as error:
                notes.add("pixels", str(error))
                continue
            count += 1
            _note(task, notes, dataset)
            yield from rows
    if ended < len(names):
        raise CancelledError(_STOPPED)


def _listed(task: Task, rest: Rest | None) -> Sequence[str]:
    if task.files or rest is None or task.planned is None:
        return task.files
    return in_order(rest.series.children(task.planned.series, "Instance"))


def _decoded(task: Task, rest: Rest | None, names: Sequence[str], progress: Progress) -> Decoded:
    if rest is not None and not task.files:
        return fetch.decoded(rest, names, workers=task.threads, verify=True, progress=Within(progress))

    def get(name: str) -> tuple[Dataset, npt.NDArray[Any]]:
        content = Path(name).read_bytes()
        dataset = read_dataset(content)
        array = decode_isolated(content, short_tags(dataset, ["SOPInstanceUID"]).get("0008,0018", ""))
        for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
            dataset.pop(keyword, None)
        return dataset, array

    return thread_map(get, names, workers=task.threads, progress=progress)


def _headers(task: Task, rest: Rest | None, notes: _Notes, progress: Progress) -> None:
    """No pixel is read: the tags of all instances, by the server's cheapest route or from the files that are here."""
    if rest is not None and task.planned is not None:
        plan = plan_tags(task.columns, capabilities=rest.capabilities())
        series = [(task.planned.series, ())]
        for chunk in headers.rows(rest, series, plan, workers=1, max_rows=None, progress=Within(progress)):
            notes.tags += chunk
        return
    for name in task.files:
        if progress.cancelled:
            raise CancelledError(_STOPPED)
        _note(task, notes, read_dataset(Path(name).read_bytes()))


def _note(task: Task, notes: _Notes, dataset: Dataset) -> None:
    tags = short_tags(dataset, task.columns)
    notes.tags.append((str(tags.get("0008,0018", "")), task.name, tags))
    if task.values == "suv":
        notes.factors.append(_factor(dataset, notes))


def _factor(dataset: Dataset, notes: _Notes) -> float:
    frame = frames_of(dataset)[0]
    try:
        if frame.suv is None:
            raise PixelError("SUV is of PET, and its Modality is another.")
        if frame.slope is None:
            raise PixelError("RescaleSlope is absent.")
        return suv_factor(frame.suv)[0]
    except PixelError as error:
        reason = f"SUV cannot be computed: {error}"
        if not any(each["reason"] == reason for each in notes.problems):
            notes.add("suv", reason)
        return float("nan")


def _instances(task: Task, notes: _Notes) -> pd.DataFrame:
    frame = tags_frame(notes.tags, plan_tags(task.columns)).reset_index(drop=True)
    frame = frame.drop(columns=["ParentSeries", "Issues"], errors="ignore")
    return frame.assign(SUVFactor=pd.array(notes.factors, dtype="float64")) if task.values == "suv" else frame


def _volumes(task: Task, path: Path, instances: pd.DataFrame, notes: _Notes) -> list[Path]:
    """The further forms, from the frames that were just written; what cannot be had is a problem of the series."""
    if not task.also:
        return []
    dataset = _series_alone(task, path, instances)
    how = task.geometry.reading(task.values)
    try:
        stacks = how.stacks(dataset.stacks(task.uid))
    except GeometryError as error:
        notes.add("volume", str(error))
        return []
    written = []
    for place, stack in enumerate(stacks, 1):
        try:
            volume = dataset.filled(task.uid, [stack.checked()], task.values)[0]
        except (GeometryError, PixelError) as error:  # the other stacks of the series may be volumes
            notes.add("volume", str(error))
            continue
        name = task.name if not how.split else f"{task.name}_{place:03d}"
        for form in task.also:
            target = path.parent.parent / "volumes" / f"{name}{_SUFFIX[form]}"
            write_volume(target, volume)
            written += [target, target.with_name(f"{name}{_BESIDE[form]}")]
    return written


def _series_alone(task: Task, path: Path, instances: pd.DataFrame) -> OpenDataset:
    """The folder as `open_dataset` will give it, with the tables of this one series, which are not written yet."""
    found = OpenDataset(path.parent.parent)
    index = pd.Index([task.uid], name="SeriesInstanceUID")
    vars(found)["series"] = pd.DataFrame({"file": [f"frames/{path.name}"]}, index=index)
    vars(found)["instances"] = instances.set_index("SOPInstanceUID")
    return found
