"""A file of frames read as headers: each row as the frame that it was, by the one piece of code that reads headers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orthanc_research.errors import DatasetError, PixelError
from orthanc_research.export.frames import AXES
from orthanc_research.pixels import Frame, frames_of

__all__ = ["check_rescale", "frame_of", "headers_of"]

_IN_FILE = {
    "SOPInstanceUID": "0008,0018",
    "SeriesInstanceUID": "0020,000e",
    "InstanceNumber": "0020,0013",
    "Modality": "0008,0060",
    "PhotometricInterpretation": "0028,0004",
    "BitsStored": "0028,0101",
    "RescaleSlope": "0028,1053",
    "RescaleIntercept": "0028,1052",
    "RescaleType": "0028,1054",
    "PixelSpacing": "0028,0030",
    "ImageOrientationPatient": "0020,0037",
    "ImagePositionPatient": "0020,0032",
    "FrameOfReferenceUID": "0020,0052",
    "ImageType": "0008,0008",
    "StackID": "0020,9056",
}

_REASONS = {"mosaic": "A mosaic is kept as the one frame that it is in its file, and not as slices."}


def headers_of(path: Path) -> list[Frame]:
    """The frames of a file, without their pixels; `DatasetError` for a damaged one."""
    try:
        names = [name for name in pq.read_schema(path).names if name != "pixels"]
        rows = pq.read_table(path, columns=names, page_checksum_verification=True).to_pylist()
        return [frame_of(row) for row in rows]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path.name} is damaged; verify() names what else is.") from error


def frame_of(row: Mapping[str, Any]) -> Frame:
    """A row as a frame: its header written anew, read by the one piece of code that reads headers."""
    shape, dtype = row["shape"], np.dtype(row["dtype"])
    header: dict[str, Any] = {_IN_FILE[name]: _written(row[name]) for name in _IN_FILE if row.get(name) is not None}
    header |= {
        "0028,0010": str(shape[0]),
        "0028,0011": str(shape[1]),
        "0028,0002": str(shape[2] if len(shape) == 3 else 1),
        "0028,0100": str(8 * dtype.itemsize),
        "0028,0103": str(int(dtype.kind == "i")),
    }
    frame = frames_of(header)[0]
    code = row.get("code") or frame.code
    axes: dict[str, Any] = {name: row.get(keyword) for keyword, name in AXES.items()}
    return replace(
        frame,
        index=int(row["FrameNumber"]) - 1,
        float_bits=8 * dtype.itemsize if dtype.kind == "f" else 0,
        slope=row["RescaleSlope"],  # also of what has none in its header by that name: a dose
        intercept=row["RescaleIntercept"],
        units=row["RescaleType"] or "",
        component=row.get("ComplexImageComponent") or "",
        extra=tuple((str(name), float(value)) for name, value in json.loads(row.get("extra") or "[]")),
        code=code,
        reason="" if code == "ok" else _REASONS.get(code, frame.reason or f"Its own file was judged {code}."),
        **axes,
    )


def _written(value: Any) -> str:
    if isinstance(value, list):
        return "\\".join(repr(each) for each in value)
    return repr(value) if isinstance(value, float) else str(value)


def check_rescale(frames: list[Frame], path: Path) -> None:
    """Refuse a Modality LUT, which no file of frames holds: without a slope its values would pass for HU."""
    if all(frame.slope is not None for frame in frames):
        return
    try:
        names = pq.read_schema(path).names
        tables = pq.read_table(path, columns=["ModalityLUT"])["ModalityLUT"] if "ModalityLUT" in names else None
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path.name} is damaged; verify() names what else is.") from error
    if tables is None or any(each is not False for each in tables.to_pylist()):
        raise PixelError(
            "Frames of this series have no RescaleSlope, and may need a table (Modality LUT) that is not kept with "
            "them; use values='stored'."
        )
