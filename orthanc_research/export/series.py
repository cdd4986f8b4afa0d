"""One series of an Orthanc to its files, and its rows: whatever happens to it is a row."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from orthanc_research import fetch
from orthanc_research.errors import (
    AccessError,
    CancelledError,
    Error,
    GeometryError,
    NotFoundError,
    OrthancError,
    PixelError,
    ResponseError,
    UnreachableError,
)
from orthanc_research.export._options import OWNER, free_name
from orthanc_research.export.frames import FrameRow, frame_rows, owner_of_frames, write_frames
from orthanc_research.export.parts import volume_parts
from orthanc_research.export.plan import ChangedError, Planned, check, compare
from orthanc_research.export.volumes import SUFFIXES, owner_of_volume, owner_of_volumes, write_volume
from orthanc_research.pixels import Reading, Volume, frames_of
from orthanc_research.progress import Progress
from orthanc_research.rest import Rest, is_server_gone

__all__ = ["CANCELLED", "Row", "Task", "changed_row", "export_one", "in_order", "not_sent"]

Row = dict[str, Any]

# With these nothing more can be written: no space, no quota left, a disk that turned read-only.
_NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# What a file or a disk can be at fault for: a row. Everything else is a mistake of this program.
_EXPECTED = (Error, ChangedError, OSError, pa.ArrowException, ValueError, OverflowError, MemoryError)
# What a line or a list that was damaged may be at fault for: the series is tried once more.
_PASSING = (ChangedError, NotFoundError, ResponseError, UnreachableError)
CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Task:
    """What every series of one export shares."""

    rest: Rest
    folder: Path
    form: str
    how: Reading
    workers: int
    progress: Progress


def not_sent(reason: str) -> Row:
    """The row of a series that was not tried."""
    return {"status": "not-sent", "error": reason}


def changed_row(changed: ChangedError) -> Row:
    """The row of a series that got or lost instances."""
    return {"status": "changed", "error": str(changed), "instances": changed.found}


def export_one(task: Task, planned: Planned) -> tuple[list[Row], str | None]:
    """The rows of a series; and why the series after it would fail the same way, None if they would not."""
    rows, failures, halted = _try_one(task, planned)
    if not failures or halted is not None:
        return rows, halted
    changed = _change(task.rest, planned)
    if changed is None and any(_passes(error) for error in failures):
        first = rows
        rows, failures, halted = _try_one(task, planned)
        if halted == CANCELLED:  # what the first time wrote is there
            return [row if row.get("file") else not_sent(halted) for row in first], halted
        changed = _change(task.rest, planned) if failures and halted is None else None
    return [row if changed is None else {**row, **changed_row(changed)} for row in rows], halted


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
        return not_sent(CANCELLED), CANCELLED
    if isinstance(error, GeometryError):
        return {"status": "not-a-volume", "error": str(error)}, None
    if isinstance(error, ChangedError):
        return changed_row(error), None
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
