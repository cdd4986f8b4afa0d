"""One hash of what a dataset says, whoever built it, when, in which order and with which versions.

It is over rows, not over bytes: row groups, compression, encodings and the order of rows do not matter, and neither do
columns that hold the time of the build. What matters is every value, every column's name, and every pixel.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orthanc_research.errors import DatasetError
from orthanc_research.export import FrameRow, read_frames
from orthanc_research.export.frames import columns_of
from orthanc_research.tables import to_arrow

__all__ = ["HASHED_TABLES", "FramesHash", "content_hash", "frames_hash", "pixel_hash", "pixel_hashes", "table_hash"]

# The tables of a build, where they are there; frames are added file by file.
HASHED_TABLES = ("instances", "series", "issues", "splits", "labels")
# What the server or the build says of itself.
_PASSING = frozenset({"LastUpdate", "IsStable", "seconds"})
_BLOCK = 4096

Table: TypeAlias = pd.DataFrame | pa.Table | str | os.PathLike[str]


def pixel_hash(array: npt.NDArray[Any]) -> str | None:
    """A hash (SHA-256, 64 hex digits) of a frame's shape, type and little-endian values; None where all are the same.

    An empty frame is equal to every other empty frame, which says nothing about whose they are.
    """
    return None if _is_even(array) else _digest(array)


def _is_even(array: npt.NDArray[Any]) -> bool:
    if array.size == 0:
        return True
    first = array.flat[0]
    # Most frames differ in their first line already.
    return bool((array[0] == first).all() and (array == first).all())


def _digest(array: npt.NDArray[Any]) -> str:
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    found = hashlib.sha256(f"{little.dtype.str} {little.shape} ".encode())
    found.update(little.data)
    return found.hexdigest()


def pixel_hashes(path: str | os.PathLike[str]) -> pd.DataFrame:
    """The frames of a file that `write_frames` wrote: SeriesInstanceUID, SOPInstanceUID, FrameNumber, PixelHash.

    PixelHash is `pixel_hash`, for `check_leakage`. `DatasetError` when the file is damaged.
    """
    rows = [
        (about["SeriesInstanceUID"], about["SOPInstanceUID"], about["FrameNumber"], pixel_hash(array))
        for about, array in read_frames(path)
    ]
    return _pixel_frame(rows)


def _pixel_frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["SeriesInstanceUID", "SOPInstanceUID", "FrameNumber", "PixelHash"])
    return frame.astype({"SeriesInstanceUID": "str", "SOPInstanceUID": "str", "PixelHash": "str"})


def table_hash(table: Table, *, without: Collection[str] = ()) -> str:
    """sha256 (hex) of the columns' names and of all rows, in whatever order; `without` names columns that do not count.

    A parquet file is read in blocks. An integer and a float are different, NaN and a missing value are not.
    """
    ignored = _PASSING | set(without)
    names: list[str] = []
    digests: list[bytes] = []
    for batch in _batches(table):
        names = sorted(name for name in batch.schema.names if name not in ignored)
        columns = [batch.column(name).to_pylist() for name in names]
        rows = zip(*columns, strict=True) if columns else ([] for _ in range(batch.num_rows))
        digests += [hashlib.sha256(_bytes(list(row))).digest() for row in rows]
    return _combined(names, digests)


def frames_hash(path: str | os.PathLike[str]) -> str:
    """As `table_hash`, of a file of frames: what stands beside the pixels, and the pixels."""
    found = FramesHash()
    for about, array in read_frames(path):
        found.add(about, array)
    return found.hexdigest()


class FramesHash:
    """`frames_hash` and `pixel_hashes` of frames on their way: `write_frames(path, hash.through(rows), …)`."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._digests: list[bytes] = []
        self._pixels: list[tuple[Any, ...]] = []

    def through(self, rows: Iterable[FrameRow]) -> Iterator[FrameRow]:
        """The same rows, each hashed on its way."""
        for row in rows:
            self.add(columns_of(row), row.array)
            yield row

    def add(self, about: Mapping[str, Any], array: npt.NDArray[Any]) -> None:
        """One frame: what stands beside its pixels, and these."""
        self._names = sorted(about)
        pixels = _digest(array)
        row = [*(about[name] for name in self._names), pixels]
        self._digests.append(hashlib.sha256(_bytes(row)).digest())
        names = (about["SeriesInstanceUID"], about["SOPInstanceUID"], about["FrameNumber"])
        self._pixels.append((*names, None if _is_even(array) else pixels))

    def hexdigest(self) -> str:
        """As `frames_hash` of the file."""
        return _combined(self._names, self._digests)

    def pixels(self) -> pd.DataFrame:
        """As `pixel_hashes` of the file."""
        return _pixel_frame(self._pixels)


def content_hash(folder: str | os.PathLike[str], *, frames: Mapping[str, str] | None = None) -> str:
    """The hash of a built folder: its tables, splits, labels and frames.

    `frames` gives hashes that are known already, file name → `frames_hash`, as the done markers have them; other files
    are read. Two files of frames are never swapped unnoticed: their names count.
    """
    root = Path(folder)
    parts: dict[str, str] = {}
    for name in HASHED_TABLES:
        path = root / f"{name}.parquet"
        if path.is_file():
            parts[name] = table_hash(path)
    known = frames or {}
    for path in sorted((root / "frames").glob("*.parquet")):
        parts[f"frames/{path.name}"] = known.get(path.name) or frames_hash(path)
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _batches(table: Table) -> Iterator[pa.RecordBatch]:
    if isinstance(table, pd.DataFrame):
        table = to_arrow(table)
    if isinstance(table, pa.Table):
        # An empty one as well: its columns are something that it says.
        yield from table.to_batches(_BLOCK) or [pa.RecordBatch.from_pylist([], schema=table.schema)]
        return
    path = Path(table)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield pa.RecordBatch.from_pylist([], schema=file.schema_arrow)
            yield from file.iter_batches(batch_size=_BLOCK)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path.name} is damaged, or no parquet file.") from error


def _bytes(row: list[Any]) -> bytes:
    return orjson.dumps([_plain(value) for value in row], default=_written)


def _plain(value: Any) -> Any:
    # orjson writes both as null, NaN inside lists as well, and no integer beyond 64 bits.
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**64 else value


def _written(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    return str(value)


def _combined(names: list[str], digests: list[bytes]) -> str:
    found = hashlib.sha256(orjson.dumps([names, len(digests)]))
    for digest in sorted(digests):
        found.update(digest)
    return found.hexdigest()
