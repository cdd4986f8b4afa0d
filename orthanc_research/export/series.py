"""Series of an Orthanc to files: a row for every series, whatever happens to it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import pyarrow as pa

from orthanc_research import fetch, resolve
from orthanc_research.errors import (
    AccessError,
    CancelledError,
    Error,
    GeometryError,
    NotFoundError,
    OrthancError,
    PixelError,
    QueryError,
    ResponseError,
    UnreachableError,
)
from orthanc_research.export._options import OWNER, free_name
from orthanc_research.export.frames import FrameRow, frame_rows, owner_of_frames, write_frames
from orthanc_research.export.parts import check_form, volume_parts
from orthanc_research.export.plan import ChangedError, Planned, check, compare, plan, since
from orthanc_research.export.volumes import SUFFIXES, owner_of_volume, owner_of_volumes, write_volume
from orthanc_research.files import private_folder, sweep
from orthanc_research.parallel import thread_map
from orthanc_research.pixels import Reading, Volume, frames_of
from orthanc_research.progress import Progress, Within
from orthanc_research.rest import Rest, is_server_gone

__all__ = ["EXPORT_COLUMNS", "FORMATS", "Format", "Task", "export_one", "export_series", "in_order", "not_sent"]

Format = Literal["parquet", "npy", "npz", "nifti"]
FORMATS: tuple[Format, ...] = get_args(Format)
Row = dict[str, Any]

# column → pandas dtype of the ledger, which is indexed by the series
EXPORT_COLUMNS = {
    "status": "str",
    "error": "str",
    "file": "str",
    "expected": "Int64",
    "instances": "Int64",
    "frames": "Int64",
    "bytes": "Int64",
    "seconds": "float64",
}


# With these nothing more can be written: no space, no quota left, a disk that turned read-only.
_NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# What a file or a disk can be at fault for: a row. Everything else is a mistake of this program.
_EXPECTED = (Error, ChangedError, OSError, pa.ArrowException, ValueError, OverflowError, MemoryError)
# What a line or a list that was damaged may be at fault for: the series is tried once more.
_PASSING = (ChangedError, NotFoundError, ResponseError, UnreachableError)
_CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Task:
    """What every series of one export shares."""

    rest: Rest
    folder: Path
    form: str
    how: Reading
    workers: int
    progress: Progress


def export_series(
    rest: Rest,
    resources: Any,
    folder: str | os.PathLike[str],
    *,
    form: str,
    how: Reading,
    workers: int,
    progress: Progress,
    executor: Executor | None = None,
) -> pd.DataFrame:
    """Write each series into the folder, every file held against the server's MD5; the ledger `EXPORT_COLUMNS`.

    Of series whose instances were chosen, the chosen ones are written. `status`: "done"; "partial" (some instances have
    no pixels that decode: `error` counts them, the others are there); "no-pixels"; "not-a-volume" (`error` has the code
    and the reason); "changed"; "failed"; "not-sent" (the server is gone, the disk is full, or the run was cancelled). A
    series that is split has a row for each of its stacks.

    "changed": instances were added or deleted. `expected` is how many the series had (or were chosen) when the export
    began, or when it was found where the frame says how many; `instances` is how many there are now. Without a `file`
    nothing was written; with one, it is as the series was before.
    `QueryError` for senseless options, before the first request, and for a folder that cannot be written to.
    """
    if form not in FORMATS:
        raise QueryError(f"format={form!r} is not there; choose from {', '.join(FORMATS)}.")
    check_form(form, how)
    series = plan(rest, resolve.select(rest, resources))
    task = Task(rest, _folder(folder), form, how, workers, Within(progress))
    progress.total(len(series), "series")
    if executor is None:
        rows, whole = _export_all(task, series, progress)
        last = rows[-1][0] if rows else None  # which was just looked at
    else:
        from orthanc_research.export.elsewhere import export_elsewhere

        rows, whole = export_elsewhere(task, series, progress, executor)
        last = None
    if whole:
        _note_changes(rest, rows, last)
    frame = pd.DataFrame([{**row, "expected": planned.count} for planned, row in rows], columns=list(EXPORT_COLUMNS))
    frame.index = pd.Index([planned.series for planned, _ in rows], name="ID", dtype="str")
    return frame.astype(EXPORT_COLUMNS)


def _export_all(task: Task, series: Sequence[Planned], progress: Progress) -> tuple[list[tuple[Planned, Row]], bool]:
    """The rows of all, one series after the other; and whether none of them ended the run."""
    halted: list[str] = []

    def one(place: int) -> list[Row]:
        if not halted and progress.cancelled:
            halted.append(_CANCELLED)
        if halted:
            return [not_sent(halted[0])]
        found, reason = export_one(task, series[place])
        halted.extend([] if reason is None else [reason])
        if reason != _CANCELLED:
            progress.advance()
        return found

    # On a thread of the map, which leaves a server that says nothing when the user wants to stop; this one would wait.
    with closing(thread_map(one, range(len(series)), workers=1, progress=progress, fatal=(Exception,))) as outcomes:
        found = {outcome.unit: outcome.get() for outcome in outcomes}
    rows = [(each, row) for place, each in enumerate(series) for row in found.get(place, [not_sent(_CANCELLED)])]
    return rows, not halted and len(found) == len(series)


def not_sent(reason: str) -> Row:
    """The row of a series that was not tried."""
    return {"status": "not-sent", "error": reason}


def _note_changes(rest: Rest, rows: Sequence[tuple[Planned, Row]], last: Planned | None) -> None:
    """Tell which series changed while later ones were written."""
    written = [(planned, row) for planned, row in rows if row.get("file") is not None and planned is not last]
    with suppress(OrthancError, CancelledError):  # the files are there, and as their series were
        changes = since(rest, [planned for planned, _ in written])
        for planned, row in written:
            if planned.series in changes:
                row |= _changed_row(changes[planned.series])


def _changed_row(changed: ChangedError) -> Row:
    return {"status": "changed", "error": str(changed), "instances": changed.found}


def _folder(path: str | os.PathLike[str]) -> Path:
    """The folder to write to, made where it is missing, and without what an earlier run left half-written."""
    try:
        folder = private_folder(path)
        writable = os.access(folder, os.W_OK | os.X_OK)
        if writable:
            sweep(folder)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no folder"
        raise QueryError(f"Nothing can be written to {path!s}: {reason}.") from error
    if not writable:
        raise QueryError(f"Nothing can be written to {path!s}: you may not.")
    return folder


def export_one(task: Task, planned: Planned) -> tuple[list[Row], str | None]:
    """The rows of a series; and why the series after it would fail the same way, None if they would not."""
    rows, failures, halted = _try_one(task, planned)
    if not failures or halted is not None:
        return rows, halted
    changed = _change(task.rest, planned)
    if changed is None and any(_passes(error) for error in failures):
        first = rows
        rows, failures, halted = _try_one(task, planned)
        if halted == _CANCELLED:  # what the first time wrote is there
            return [row if row.get("file") else not_sent(halted) for row in first], halted
        changed = _change(task.rest, planned) if failures and halted is None else None
    return [row if changed is None else {**row, **_changed_row(changed)} for row in rows], halted


def _passes(error: Exception) -> bool:
    """A file that was damaged twice is so on the server."""
    return isinstance(error, _PASSING) and not isinstance(error, fetch.DamagedError)


def _change(rest: Rest, planned: Planned) -> ChangedError | None:
    """What became of the series; None when it is as it was, or nobody can say."""
    try:
        check(rest, planned)
    except ChangedError as changed:
        return changed
    except (OrthancError, CancelledError):
        return None
    return None


def _try_one(task: Task, planned: Planned) -> tuple[list[Row], list[Exception], str | None]:
    """The rows of a series, why some of them failed, and why those of others would."""
    rows: list[Row] = []
    failures: list[Exception] = []
    halted: str | None = None
    start = time.monotonic()
    try:
        writers = _writers(task, planned)
    except _EXPECTED as error:
        row, halted = _failed(error)
        return [{**row, "seconds": time.monotonic() - start}], [error], halted
    for write in writers:
        if halted is not None:
            rows.append(not_sent(halted))
            continue
        try:
            row = write()
        except _EXPECTED as error:
            row, halted = _failed(error)
            failures.append(error)
        rows.append({**row, "seconds": time.monotonic() - start})
        start = time.monotonic()
    return rows, failures, halted


def _failed(error: Exception) -> tuple[Row, str | None]:
    """The row of what failed; and its reason where everything after it would fail the same way."""
    if isinstance(error, CancelledError):
        return not_sent(_CANCELLED), _CANCELLED
    if isinstance(error, GeometryError):
        return {"status": "not-a-volume", "error": str(error)}, None
    if isinstance(error, ChangedError):
        return _changed_row(error), None
    if isinstance(error, Error):
        # A refused password and a server that is gone would be the same for every other series.
        over = isinstance(error, AccessError) or (isinstance(error, OrthancError) and is_server_gone(error))
        reason = str(error)
    elif isinstance(error, OSError):
        over = error.errno in _NO_MORE
        # Not its strerror, in which pyarrow tells more than that.
        reason = f"The file cannot be written: {os.strerror(error.errno) if error.errno else type(error).__name__}."
    else:
        over = False
        reason = f"Its values cannot be written ({type(error).__name__})."
    return {"status": "failed", "error": reason}, reason if over else None


def _writers(task: Task, planned: Planned) -> list[Callable[[], Row]]:
    """What writes a file of this series each, and gives its row."""
    if task.form == "parquet":
        return [partial(_frames, task, planned)]
    parts = volume_parts(task.rest, planned.series, planned.chosen, task.how, task.workers, task.progress)
    return [partial(_volume, task, planned, behind, make) for behind, make in parts]


def _volume(task: Task, planned: Planned, behind: str, make: Callable[[], Volume]) -> Row:
    suffix = SUFFIXES[task.form]

    def owner(name: str) -> str | None:
        if task.how.split:
            return owner_of_volumes(task.folder, name, suffix)
        return owner_of_volume(task.folder / f"{name}{suffix}")

    volume = make()
    check(task.rest, planned)
    name = free_name(volume.series_uid, planned.series, owner)
    path = write_volume(task.folder / f"{name}{behind}{suffix}", volume, {OWNER: planned.series})
    filled = [uid for uid in volume.sop_uids if uid]
    return _done(path, instances=len(set(filled)), frames=len(filled))


def _frames(task: Task, planned: Planned) -> Row:
    series, chosen = planned.series, planned.chosen
    children = {str(value["ID"]): value for value in task.rest.series.children(series, "Instance")}
    compare(planned, children)
    instances = in_order([value for key, value in children.items() if key in chosen or not chosen])
    problems: list[str] = []
    with closing(_rows(task, planned, instances, problems)) as rows:
        return _write_frames(task, planned, len(instances), rows, problems)


def _write_frames(task: Task, planned: Planned, count: int, rows: Iterator[FrameRow], problems: Sequence[str]) -> Row:
    first = next(rows, None)
    if first is None:
        reason = problems[0] if problems else "There are no instances in it."
        return {"status": "no-pixels", "error": reason, "instances": count, "frames": 0}
    # By the files, which were held against their MD5.
    owner = planned.series
    name = free_name(first.frame.series_uid, owner, lambda name: owner_of_frames(task.folder / f"{name}.parquet"))
    path = task.folder / f"{name}.parquet"
    row = _done(path, instances=count, frames=write_frames(path, chain([first], rows), {OWNER: owner}))
    if problems:
        row |= {"status": "partial", "error": f"{len(problems)} of {count} instances: {problems[0]}"}
    return row


def in_order(instances: Sequence[Mapping[str, Any]]) -> list[str]:
    """Orthanc IDs by InstanceNumber, as a person would page; Orthanc lists them in no order."""

    def key(instance: Mapping[str, Any]) -> tuple[int, str]:
        number = str((instance.get("MainDicomTags") or {}).get("InstanceNumber", "")).strip()
        return (int(number) if number.isascii() and number.isdigit() else 1 << 62, instance["ID"])

    return [str(instance["ID"]) for instance in sorted(instances, key=key)]


def _rows(
    task: Task, planned: Planned, instances: Sequence[str], problems: list[str]
) -> Generator[FrameRow, None, None]:
    """All frames; `ChangedError` or `CancelledError` instead of an end, so that no file is left."""
    done = 0
    outcomes = fetch.decoded(task.rest, instances, workers=task.workers, verify=True, progress=task.progress)
    with closing(outcomes):
        for outcome in outcomes:
            done += 1
            try:
                dataset, array = outcome.get()
                yield from frame_rows(frames_of(dataset), array)
            except PixelError as error:
                problems.append(str(error))
    if done < len(instances):
        raise CancelledError("Reading was stopped on request; there is no file.")
    check(task.rest, planned)


def _done(path: Path, *, instances: int, frames: int) -> Row:
    return {
        "status": "done",
        "error": None,
        "file": str(path),
        "instances": instances,
        "frames": frames,
        "bytes": path.stat().st_size,
    }
