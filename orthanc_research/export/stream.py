"""A table that comes in pieces → one parquet file, in flat memory, complete or absent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orthanc_research.export._options import PARQUET
from orthanc_research.files import atomic_path
from orthanc_research.tables import to_arrow

__all__ = ["stream_table"]

Empty = Callable[[Sequence[str]], pd.DataFrame]


def stream_table(path: str | os.PathLike[str], frames: Iterable[pd.DataFrame], empty: Empty, *, fixed: bool) -> int:
    """Write the frames one after the other, a row group each; the number of rows.

    `empty(names)` is a frame without rows that has these columns, in the order and with the types of the file. With
    `fixed` every frame has the same columns; otherwise they are known at the end only, and what came is kept until then
    in a temporary file beside the target, 0600 as the target is. Raises what `frames` raises, and leaves no file then.
    """
    target = Path(path)
    tables = (to_arrow(frame) for frame in frames)
    if fixed:
        return _write(target, tables, to_arrow(empty(())).schema)
    with tempfile.TemporaryFile(dir=target.parent) as spool:
        names = _spool(tables, spool)
        spool.seek(0)
        return _write(target, _spooled(spool), to_arrow(empty(names)).schema)


def _write(target: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> int:
    count = 0
    with atomic_path(target) as partial, pq.ParquetWriter(partial, schema, **PARQUET) as writer:
        for table in tables:
            writer.write_table(_fitted(table, schema))
            count += table.num_rows
    return count


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table.column(field.name) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _spool(tables: Iterable[pa.Table], sink: IO[bytes]) -> list[str]:
    """One stream of Arrow's a table, one behind the other; the columns that came."""
    names: dict[str, None] = {}
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    for table in tables:
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        names |= dict.fromkeys(table.column_names)
    return [name for name in names if name != "ID"]


def _spooled(source: IO[bytes]) -> Iterator[pa.Table]:
    end = source.seek(0, os.SEEK_END)
    source.seek(0)
    stream: Any = pa.PythonFile(source, "r")
    while stream.tell() < end:
        with pa.ipc.open_stream(stream) as reader:
            yield reader.read_all()
