"""Series of an Orthanc to files: a row for every series, whatever happens to it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from orthanc_research import fetch
from orthanc_research.errors import AccessError, Error, GeometryError, OrthancError, PixelError, QueryError
from orthanc_research.export._options import file_name
from orthanc_research.export.frames import FrameRow, frame_rows, write_frames
from orthanc_research.export.volumes import write_volume
from orthanc_research.files import private_folder, sweep
from orthanc_research.pixels import decode, one_stack
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


def export_series(
    rest: Rest,
    series: Sequence[str],
    folder: str | os.PathLike[str],
    *,
    form: str,
    values: str,
    min_slices: int,
    workers: int,
    progress: Progress,
) -> pd.DataFrame:
    """Write each series into the folder, every file held against the server's MD5; the ledger `EXPORT_COLUMNS`.

    `status`: "done"; "partial" (some instances have no pixels that decode: `error` counts them, the others are there);
    "no-pixels"; "not-a-volume" (npy; `error` has the code and the reason); "failed"; "not-sent" (the server is gone).
    """
    if form not in FORMATS:
        raise QueryError(f"format={form!r} is not there; choose from {', '.join(FORMATS)}.")
    if form == "parquet" and values != "stored":
        raise QueryError("Frames are stored values with slope and intercept beside them; rescale when reading.")
    target = private_folder(folder)
    sweep(target)
    progress.total(len(series), "series")
    rows: list[dict[str, Any]] = []
    halted: str | None = None
    for identifier in series:
        if halted is None and progress.cancelled:
            halted = "cancelled"
        if halted is not None:
            rows.append({"status": "not-sent", "error": halted})
            continue
        row, gone = _export_one(rest, identifier, target, form, values, min_slices, workers)
        rows.append(row)
        halted = row["error"] if gone else None
        progress.advance()
    frame = pd.DataFrame(rows, columns=list(EXPORT_COLUMNS))
    frame.index = pd.Index(list(series), name="ID", dtype="str")
    return frame.astype(EXPORT_COLUMNS)


def _export_one(
    rest: Rest, series: str, folder: Path, form: str, values: str, min_slices: int, workers: int
) -> tuple[dict[str, Any], bool]:
    start = time.monotonic()
    try:
        if form == "parquet":
            row = _frames(rest, series, folder, workers)
        else:
            row = _volume(rest, series, folder, values, min_slices, workers)
    except GeometryError as error:
        row = {"status": "not-a-volume", "error": str(error)}
    except AccessError:
        raise
    except Error as error:
        gone = isinstance(error, OrthancError) and is_server_gone(error)
        return {"status": "failed", "error": str(error)}, gone
    return {**row, "seconds": time.monotonic() - start}, False


def _volume(rest: Rest, series: str, folder: Path, values: str, min_slices: int, workers: int) -> dict[str, Any]:
    stack = one_stack(fetch.stacks(rest, series, min_slices=min_slices))
    volume = fetch.volume(rest, stack, values, None, workers=workers, verify=True, progress=Silent())
    path = write_volume(folder / file_name(volume.series_uid, series), volume)
    count = len(volume.sop_uids)
    return _done(path, instances=count, frames=count)


def _frames(rest: Rest, series: str, folder: Path, workers: int) -> dict[str, Any]:
    found = rest.series.read(series)
    instances = _in_order(rest.series.children(series, "Instance"))
    uid = str((found.get("MainDicomTags") or {}).get("SeriesInstanceUID") or "")
    path = folder / f"{file_name(uid, series)}.parquet"
    problems: list[str] = []
    count = write_frames(path, _rows(rest, instances, workers, problems), {"orthanc_research.series": series})
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
    for outcome in fetch.datasets(rest, instances, workers=workers, verify=True, progress=Silent()):
        try:
            dataset = outcome.get()
            yield from frame_rows(dataset, decode(dataset))
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
