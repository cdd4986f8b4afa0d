"""Frames to parquet and back: one row a frame, little-endian bytes with shape and dtype, geometry beside them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from orthanc_research.errors import DatasetError, PixelError, QueryError
from orthanc_research.export._options import OWNER, PARQUET, existing
from orthanc_research.files import atomic_path
from orthanc_research.pixels import Frame

__all__ = [
    "AXES",
    "FRAMES_SCHEMA",
    "FrameRow",
    "array_of",
    "columns_of",
    "frame_rows",
    "owner_of_frames",
    "read_frame",
    "read_frames",
    "write_frames",
]

# column → the field of a `Frame`: what a 4-D series may go by
AXES: Mapping[str, str] = {
    "TemporalPositionIndex": "temporal_position",
    "DiffusionBValue": "b_value",
    "EchoTime": "echo_time",
    "TriggerTime": "trigger_time",
    "AcquisitionNumber": "acquisition_number",
}
# One row a frame. Parquet has no int16, so typed lists would start at twice the size: bytes with shape and dtype.
FRAMES_SCHEMA = pa.schema(
    [
        pa.field("SOPInstanceUID", pa.string(), nullable=False),
        pa.field("SeriesInstanceUID", pa.string()),
        pa.field("FrameNumber", pa.int32(), nullable=False),
        pa.field("InstanceNumber", pa.int64()),
        pa.field("Modality", pa.string()),
        pa.field("PhotometricInterpretation", pa.string()),
        pa.field("BitsStored", pa.int32()),
        pa.field("RescaleSlope", pa.float64()),
        pa.field("RescaleIntercept", pa.float64()),
        pa.field("RescaleType", pa.string()),
        pa.field("ModalityLUT", pa.bool_()),
        pa.field("PixelSpacing", pa.list_(pa.float64())),
        pa.field("ImageOrientationPatient", pa.list_(pa.float64())),
        pa.field("ImagePositionPatient", pa.list_(pa.float64())),
        pa.field("FrameOfReferenceUID", pa.string()),
        pa.field("code", pa.string()),
        # What tells frames at one position apart, wherever the header had it (see `pixels.Frame`).
        pa.field("ImageType", pa.string()),
        pa.field("ComplexImageComponent", pa.string()),
        pa.field("StackID", pa.string()),
        *(pa.field(keyword, pa.float64()) for keyword in AXES),
        pa.field("extra", pa.string()),
        pa.field("shape", pa.list_(pa.int32()), nullable=False),
        pa.field("dtype", pa.string(), nullable=False),
        pa.field("pixels", pa.binary(), nullable=False),
    ]
)
# 8 frames a group: one slice is read in about 15 ms without reading the others.
_ROWS_A_GROUP = 8
_MOST_BYTES = 2**31 - 1  # of a binary column in one piece
# No dictionary of pixels and no least and greatest of them, which Parquet would make by default.
_BESIDE = [name for name in FRAMES_SCHEMA.names if name != "pixels"]
_OPTIONS: Mapping[str, Any] = {**PARQUET, "use_dictionary": _BESIDE, "write_statistics": _BESIDE}
# The columns that a row's array is made of.
_PIXELS = ("pixels", "dtype", "shape")
# What `decode` turns into RGB; YBR_PARTIAL is retired, and left as it is.
_CONVERTED = frozenset({"YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})


@dataclass(frozen=True, slots=True)
class FrameRow:
    """One frame for the file: its header, its number in the instance (from 1), its pixels as decoded."""

    frame: Frame
    number: int
    array: npt.NDArray[Any] = field(repr=False)


def frame_rows(frames: Sequence[Frame], array: npt.NDArray[Any]) -> list[FrameRow]:
    """The rows of one instance, of what `pixels.frames_of` and `pixels.decode` give: (frame, row, column[, sample])."""
    if len(frames) != len(array):  # a file whose frames cannot be told apart: none of them has a place
        frames = [dataclasses.replace(frames[0], position=None)] * len(array)
    return [FrameRow(frame, number, image) for number, (frame, image) in enumerate(zip(frames, array, strict=True), 1)]


def write_frames(path: str | os.PathLike[str], rows: Iterable[FrameRow], metadata: Mapping[str, str]) -> int:
    """Write frames as parquet, eight rows in memory at a time; how many were written (0 writes no file).

    Raises what `rows` raises, and leaves no file then.
    """
    source = iter(rows)
    first = next(source, None)
    if first is None:
        return 0
    schema = FRAMES_SCHEMA.with_metadata({"orthanc_research.frames": "1", **metadata})
    count = 0
    with atomic_path(path) as partial, pq.ParquetWriter(partial, schema, **_OPTIONS) as writer:
        for group in _groups(first, source):
            writer.write_table(_table(group, schema))
            count += len(group)
    return count


def _groups(first: FrameRow, rest: Iterator[FrameRow]) -> Iterator[list[FrameRow]]:
    group: list[FrameRow] = []
    for row in chain([first], rest):
        if len(group) == _ROWS_A_GROUP or sum(each.array.nbytes for each in (*group, row)) > _MOST_BYTES:
            yield group
            group = []
        if row.array.nbytes > _MOST_BYTES:
            raise PixelError(
                f"SOP instance {row.frame.sop_uid}: its {row.array.nbytes} bytes are more than a row holds."
            )
        group.append(row)
    yield group


def _table(group: Sequence[FrameRow], schema: pa.Schema) -> pa.Table:
    arrays = [row.array.astype(row.array.dtype.newbyteorder("<"), copy=False) for row in group]
    records = [
        {**columns_of(row), "shape": list(array.shape), "dtype": array.dtype.str}
        for row, array in zip(group, arrays, strict=True)
    ]
    place = schema.get_field_index("pixels")
    beside = pa.Table.from_pylist(records, schema=schema.remove(place))
    return beside.add_column(place, schema.field(place), _binary(arrays))


def _binary(arrays: Sequence[npt.NDArray[Any]]) -> pa.BinaryArray:
    """The bytes of each, in C order, copied once: Arrow would take a list of bytes, which are two copies."""
    ends = np.cumsum([0, *(array.nbytes for array in arrays)], dtype=np.int32)
    buffer = pa.allocate_buffer(int(ends[-1]))  # of Arrow's pool, which gives back what threads no longer need
    data = np.frombuffer(buffer, np.uint8)
    for (start, end), array in zip(pairwise(ends), arrays, strict=True):
        data[start:end].view(array.dtype).reshape(array.shape)[...] = array
    return pa.BinaryArray.from_buffers(pa.binary(), len(arrays), [None, pa.py_buffer(ends), buffer])


def columns_of(row: FrameRow) -> dict[str, Any]:
    """What stands beside the pixels of a row, as `read_frames` gives it again."""
    frame = row.frame
    return {
        "SOPInstanceUID": frame.sop_uid,
        "SeriesInstanceUID": frame.series_uid or None,
        "FrameNumber": row.number,
        "InstanceNumber": _int64(frame.instance_number),
        "Modality": frame.modality or None,
        "PhotometricInterpretation": _photometric(row) or None,
        "BitsStored": frame.bits_stored,
        "RescaleSlope": frame.slope,
        "RescaleIntercept": frame.intercept,
        "RescaleType": frame.units or None,
        "ModalityLUT": frame.modality_lut,
        "PixelSpacing": frame.spacing,
        "ImageOrientationPatient": frame.orientation,
        "ImagePositionPatient": frame.position,
        "FrameOfReferenceUID": frame.frame_of_reference or None,
        "code": frame.code,
        "ImageType": "\\".join(frame.image_type) or None,
        "ComplexImageComponent": frame.component or None,
        "StackID": frame.stack_id or None,
        **{keyword: getattr(frame, name) for keyword, name in AXES.items()},
        "extra": json.dumps(frame.extra) if frame.extra else None,
    }


def _photometric(row: FrameRow) -> str:
    """Of the pixels as they are written, which is not what the header says where decoding converted them."""
    colour = row.array.ndim == 3 and row.array.shape[-1] == 3
    return "RGB" if colour and row.frame.photometric in _CONVERTED else row.frame.photometric


def _int64(value: int | None) -> int | None:
    """None for what the column cannot hold: an IS may say 1e30 in a file, and none may be over 2³¹ (PS3.5 §6.2)."""
    return value if value is not None and -(2**63) <= value < 2**63 else None


def owner_of_frames(path: Path) -> str | None:
    """The Orthanc series that a file of frames was made from; None when there is no file, "" when nobody can say."""
    if not path.exists():
        return None
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException):
        return ""
    return str(metadata.get(OWNER.encode(), b"").decode(errors="replace"))


def array_of(record: Mapping[str, Any]) -> npt.NDArray[Any]:
    """The pixels of a row: (row, column[, sample]), read-only; `ValueError` for a row that is none."""
    return np.frombuffer(record["pixels"], dtype=record["dtype"]).reshape(record["shape"])


def read_frames(path: str | os.PathLike[str]) -> Iterator[tuple[dict[str, Any], npt.NDArray[Any]]]:
    """(columns, array) of each frame of a file that `write_frames` wrote, in its order; checksums are verified.

    An array is (row, column[, sample]), as stored, in the source's type. `QueryError` when there is no such file;
    `DatasetError`, at the frame where it shows, when it is damaged.
    """
    return _read(existing(path))


def _read(path: Path) -> Iterator[tuple[dict[str, Any], npt.NDArray[Any]]]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=_ROWS_A_GROUP):
                for record in batch.to_pylist():
                    array = array_of(record)
                    yield {name: value for name, value in record.items() if name not in _PIXELS}, array
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path.name} is damaged, or no file of frames of this package.") from error


def read_frame(path: str | os.PathLike[str], place: int) -> tuple[dict[str, Any], npt.NDArray[Any]]:
    """(columns, array) of one frame, by its place in the file, from 0: its row group alone is read.

    `QueryError` when there is no such file or frame; `DatasetError` when the file is damaged.
    """
    name = existing(path)
    start = 0
    try:
        with pq.ParquetFile(name, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if 0 <= place - start < count:
                    # Without threads: whoever reads single slices has workers of their own.
                    record = file.read_row_group(group, use_threads=False).slice(place - start, 1).to_pylist()[0]
                    return {key: value for key, value in record.items() if key not in _PIXELS}, array_of(record)
                start += count
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{name.name} is damaged, or no file of frames of this package.") from error
    raise QueryError(f"This series has {start} frames; the first is 0.")
