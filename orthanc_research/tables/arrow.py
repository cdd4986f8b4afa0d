"""Frames ↔ Arrow tables: the types of the DICOM dictionary on disk, without pandas' own metadata.

`pandas.read_parquet` and every other reader get plain types; `from_arrow` gives back the frame that was written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pydicom.datadict import tag_for_keyword

from orthanc_research.errors import QueryError
from orthanc_research.tables.columns import typed
from orthanc_research.tables.schema import ColumnType, column_type

__all__ = ["SCHEMA_VERSION", "from_arrow", "to_arrow"]

SCHEMA_VERSION = 1
_KEY = b"orthanc_research"


def to_arrow(frame: pd.DataFrame, metadata: Mapping[str, Any] | None = None) -> pa.Table:
    """An Arrow table with an explicit schema; the index `ID` is its first column.

    The schema's metadata has one key, "orthanc_research": JSON with "schema" (a version), "level", "url" (of the server
    that the IDs belong to), "columns" (keyword → VR, VM, tag) and what `metadata` adds. Columns that are not ours, or
    whose dtype was changed, are as Arrow reads them.
    """
    arrays: dict[str, pa.Array] = {}
    if frame.index.name is not None:
        arrays[str(frame.index.name)] = _array(str(frame.index.name), frame.index.to_series())
    for position, name in enumerate(frame.columns):
        arrays[str(name)] = _array(str(name), frame.iloc[:, position])
    if len(arrays) != len(frame.columns) + (frame.index.name is not None):
        raise QueryError("Two columns have the same name; a table on disk needs one name each.")
    origin = frame.attrs.get("orthanc") or {}
    about = {
        "schema": SCHEMA_VERSION,
        "level": origin.get("level"),
        "url": origin.get("url"),
        "index": None if frame.index.name is None else str(frame.index.name),
        "columns": {name: _described(name) for name in arrays if _described(name)},
        **(metadata or {}),
    }
    table = pa.table(arrays)
    return table.replace_schema_metadata({_KEY: json.dumps(about, sort_keys=True).encode()})


def from_arrow(table: pa.Table) -> pd.DataFrame:
    """The DataFrame that `to_arrow` was given: dtypes, index, and in `attrs` the level and the server."""
    about = json.loads((table.schema.metadata or {}).get(_KEY, b"{}"))
    index = about.get("index", "ID")
    data = {name: _column(name, table.column(name)) for name in table.column_names if name != index}
    frame = pd.DataFrame(data, index=None if data else pd.RangeIndex(table.num_rows))
    if index in table.column_names:
        frame.index = pd.Index(_column(index, table.column(index)), name=index)
    origin = {key: about[key] for key in ("level", "url") if about.get(key)}
    if origin:
        frame.attrs["orthanc"] = origin
    return frame


def _known(name: str) -> ColumnType | None:
    try:
        return column_type(name)
    except QueryError:
        return None


def _described(name: str) -> dict[str, str] | None:
    column = _known(name)
    if column is None or not column.vr:
        return None
    tag = tag_for_keyword(name.rpartition(".")[2])
    numbers = {"tag": f"{tag >> 16:04x},{tag & 0xFFFF:04x}"} if tag is not None else {}
    return {"vr": column.vr, "vm": column.vm, **numbers}


def _array(name: str, series: pd.Series[Any]) -> pa.Array:
    column = _known(name)
    if column is None or series.dtype != pd.api.types.pandas_dtype(column.pandas):
        return pa.array(series, from_pandas=True)
    if column.kind in ("date", "stamp", "datetime"):
        # Seconds have no type of their own in Parquet; dates go through timestamps, which Arrow casts exactly.
        return pa.array(series.to_numpy()).cast(column.arrow)
    return pa.array(series, type=column.arrow, from_pandas=True)


def _column(name: str, values: pa.ChunkedArray) -> Any:
    column = _known(name)
    if column is None or not _ours(column, values.type):
        return values.to_pandas(types_mapper=_text)
    if column.kind in ("date", "stamp", "datetime"):
        unit = "us" if column.kind == "datetime" else "s"
        moments = values.cast(pa.timestamp("us" if unit == "us" else "s")).to_numpy()
        return pd.array(moments.astype(f"M8[{unit}]"), dtype=column.pandas)
    if column.kind in ("float", "float32"):
        # Every NaN of a frame is an NA, and was written as null.
        return values.to_numpy().astype(np.dtype(column.pandas))
    if column.kind in ("time", "floats", "ints"):
        return pd.arrays.ArrowExtensionArray(values.cast(column.arrow))
    if column.kind == "int":
        return column.pandas.__from_arrow__(values.cast(column.arrow))
    if column.kind == "bool":
        return column.pandas.__from_arrow__(values)
    return typed(column, values.to_pylist()) if column.kind == "json" else pd.array(values, dtype=column.pandas)


def _ours(column: ColumnType, found: pa.DataType) -> bool:
    if pa.types.is_dictionary(found):
        found = found.value_type
    return bool(found == column.arrow) or _loosely(found) == _loosely(column.arrow)


def _loosely(found: pa.DataType) -> str:
    """Types that readers and writers change without loss: large strings, units of time, names of list items."""
    if pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found):
        return "text"
    if pa.types.is_timestamp(found):
        return "timestamp"
    if pa.types.is_list(found) or pa.types.is_large_list(found):
        return f"list of {found.value_type}"
    return str(found)


def _text(found: pa.DataType) -> Any:
    return pd.StringDtype(na_value=float("nan")) if _loosely(found) == "text" else None
