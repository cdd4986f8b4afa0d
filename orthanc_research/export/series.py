"""Series of an Orthanc to files: a row for every series, whatever happens to it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from orthanc_research import fetch, resolve
from orthanc_research.errors import AccessError, Error, GeometryError, OrthancError, PixelError, QueryError
from orthanc_research.export._options import OWNER, free_name
from orthanc_research.export.frames import FrameRow, frame_rows, owner_of_frames, write_frames
from orthanc_research.export.volumes import owner_of_volume, write_volume
from orthanc_research.files import private_folder, sweep
from orthanc_research.pixels import one_stack
from orthanc_research.progress import Progress, Silent
from orthanc_research.rest import Rest, is_server_gone

__all__ = ["EXPORT_COLUMNS", "FORMATS", "Format", "export_series"]

Format = Literal["parquet", "npy"]
FORMATS: tuple[Format, ...] = ("parquet", "npy")

# column → pandas dtype of the ledger, which is indexed by the series
EXPORT_COLUMNS = {
    "status": "str",
    "error": "str",
    "file": "str",
    "instances": "Int64",
    "frames": "Int64",
    "bytes": "Int64",
    "seconds": "float64",
}


# With these nothing more can be written: no space, no quota left, a disk that turned read-only.
_NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True, slots=True)
class _Task:
    """What every series of one export shares."""

    rest: Rest
    folder: Path
    form: str
    values: str
    min_slices: int
    workers: int


def export_series(
    rest: Rest,
    resources: Any,
    folder: str | os.PathLike[str],
    *,
    form: str,
    values: str,
    min_slices: int,
    workers: int,
    progress: Progress,
) -> pd.DataFrame:
    """Write each series into the folder, every file held against the server's MD5; the ledger `EXPORT_COLUMNS`.

    Of series whose instances were chosen, the chosen ones are written. `status`: "done"; "partial" (some instances have
    no pixels that decode: `error` counts them, the others are there); "no-pixels"; "not-a-volume" (npy; `error` has the
    code and the reason); "failed"; "not-sent" (the server is gone, the disk is full, or the run was cancelled).
    `QueryError` for senseless options, before the first request, and for a folder that cannot be written to.
    """
    _check(form, values, min_slices)
    series = resolve.series_of(rest, resolve.select(rest, resources))
    task = _Task(rest, _folder(folder), form, values, min_slices, workers)
    progress.total(len(series), "series")
    rows: list[dict[str, Any]] = []
    halted: str | None = None
    for identifier, chosen in series:
        if halted is None and progress.cancelled:
            halted = "cancelled"
        if halted is not None:
            rows.append({"status": "not-sent", "error": halted})
            continue
        row, over = _export_one(task, identifier, chosen)
        rows.append(row)
        halted = row["error"] if over else None
        progress.advance()
    frame = pd.DataFrame(rows, columns=list(EXPORT_COLUMNS))
    frame.index = pd.Index([identifier for identifier, _ in series], name="ID", dtype="str")
    return frame.astype(EXPORT_COLUMNS)


def _check(form: str, values: str, min_slices: int) -> None:
    if form not in FORMATS:
        raise QueryError(f"format={form!r} is not there; choose from {', '.join(FORMATS)}.")
    fetch.check_values(values)
    fetch.check_slices(min_slices)
    if form == "parquet" and values != "stored":
        raise QueryError("Frames are stored values with slope and intercept beside them; rescale when reading.")


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


def _export_one(task: _Task, series: str, chosen: Sequence[str]) -> tuple[dict[str, Any], bool]:
    """The row of a series, and whether the series after it would fail the same way."""
    start = time.monotonic()
    write = _frames if task.form == "parquet" else _volume
    try:
        row = write(task, series, chosen)
    except GeometryError as error:
        row = {"status": "not-a-volume", "error": str(error)}
    except Error as error:
        # A refused password and a server that is gone would be the same for every other series.
        halt = isinstance(error, AccessError) or (isinstance(error, OrthancError) and is_server_gone(error))
        return {"status": "failed", "error": str(error)}, halt
    except OSError as error:
        reason = f"The file cannot be written: {error.strerror or type(error).__name__}."
        return {"status": "failed", "error": reason}, error.errno in _NO_MORE
    except (pa.ArrowException, ValueError, OverflowError, MemoryError) as error:
        return {"status": "failed", "error": f"Its values cannot be written ({type(error).__name__})."}, False
    return {**row, "seconds": time.monotonic() - start}, False


def _volume(task: _Task, series: str, chosen: Sequence[str]) -> dict[str, Any]:
    stack = one_stack(fetch.stacks(task.rest, series, chosen, min_slices=task.min_slices))
    volume = fetch.volume(task.rest, stack, task.values, None, workers=task.workers, verify=True, progress=Silent())
    name = free_name(volume.series_uid, series, lambda name: owner_of_volume(task.folder / f"{name}.npy"))
    path = write_volume(task.folder / f"{name}.npy", volume, {OWNER: series})
    count = len(volume.sop_uids)
    return _done(path, instances=count, frames=count)


def _frames(task: _Task, series: str, chosen: Sequence[str]) -> dict[str, Any]:
    found = task.rest.series.read(series)
    children = {str(value["ID"]): value for value in task.rest.series.children(series, "Instance")}
    instances = _in_order(list((fetch.present(children, chosen) if chosen else children).values()))
    uid = str((found.get("MainDicomTags") or {}).get("SeriesInstanceUID") or "")
    name = free_name(uid, series, lambda name: owner_of_frames(task.folder / f"{name}.parquet"))
    path = task.folder / f"{name}.parquet"
    problems: list[str] = []
    count = write_frames(path, _rows(task.rest, instances, task.workers, problems), {OWNER: series})
    if not count:
        reason = problems[0] if problems else "There are no instances in it."
        return {"status": "no-pixels", "error": reason, "instances": len(instances), "frames": 0}
    row = _done(path, instances=len(instances), frames=count)
    if problems:
        row |= {"status": "partial", "error": f"{len(problems)} of {len(instances)} instances: {problems[0]}"}
    return row


def _in_order(instances: Sequence[Mapping[str, Any]]) -> list[str]:
    """Orthanc IDs by InstanceNumber, as a person would page; Orthanc lists them in no order."""

    def key(instance: Mapping[str, Any]) -> tuple[int, str]:
        number = str((instance.get("MainDicomTags") or {}).get("InstanceNumber", "")).strip()
        return (int(number) if number.isascii() and number.isdigit() else 1 << 62, instance["ID"])

    return [str(instance["ID"]) for instance in sorted(instances, key=key)]


def _rows(rest: Rest, instances: Sequence[str], workers: int, problems: list[str]) -> Iterator[FrameRow]:
    for outcome in fetch.decoded(rest, instances, workers=workers, verify=True, progress=Silent()):
        try:
            yield from frame_rows(*outcome.get())
        except PixelError as error:
            problems.append(str(error))


def _done(path: Path, *, instances: int, frames: int) -> dict[str, Any]:
    return {
        "status": "done",
        "error": None,
        "file": str(path),
        "instances": instances,
        "frames": frames,
        "bytes": path.stat().st_size,
    }
