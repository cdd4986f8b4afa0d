"""Frames ↔ Arrow tables: the types of the DICOM dictionary on disk, without pandas' own metadata.

`pandas.read_parquet` and every other reader get plain types; `from_arrow` gives back the frame that was written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from orthanc_research.errors import QueryError
from orthanc_research.tables.columns import flat
from orthanc_research.tables.schema import ColumnType, column_type, tag_of

__all__ = ["SCHEMA_VERSION", "from_arrow", "to_arrow"]

SCHEMA_VERSION = 1
_KEY = b"orthanc_research"
# What Arrow does not give back by itself: NumPy has no integers and booleans with NA, Parquet no seconds.
_RESTORED = re.compile(r"(?:U?Int|Float)(?:8|16|32|64)|boolean|(?:datetime|timedelta)64\[(?:s|ms|us|ns)\]")


def to_arrow(frame: pd.DataFrame, metadata: Mapping[str, Any] | None = None) -> pa.Table:
    """An Arrow table with an explicit schema; a named index is its first columns, row numbers are left out.

    The schema's metadata has one key, "orthanc_research": JSON with "schema" (a version), "level", "url" (of the server
    that the IDs belong to), "columns" (keyword → VR, VM, tag), "index", "dtypes" (of columns that are not ours, or
    whose dtype was changed) and what `metadata` adds. `QueryError` for two columns of one name, an index that has
    values and no name, and a column that mixes kinds of values.
    """
    whole, index = flat(frame)
    arrays: dict[str, pa.Array] = {}
    dtypes: dict[str, str] = {}
    for position, name in enumerate(whole.columns):
        series = whole.iloc[:, position]
        arrays[name] = _array(name, series)
        column = _known(name)
        if column is None or not _is_ours(column, series) or arrays[name].type != column.arrow:
            dtypes |= {name: str(series.dtype)} if _RESTORED.fullmatch(str(series.dtype)) else {}
    origin = frame.attrs.get("orthanc") or {}
    about = {
        "schema": SCHEMA_VERSION,
        "level": origin.get("level"),
        "url": origin.get("url"),
        "index": index,
        "columns": {name: described for name in arrays if (described := _described(name))},
        **({"dtypes": dtypes} if dtypes else {}),
        **(metadata or {}),
    }
    table = pa.table(arrays)
    return table.replace_schema_metadata({_KEY: json.dumps(about, sort_keys=True).encode()})


def from_arrow(table: pa.Table) -> pd.DataFrame:
    """The DataFrame that `to_arrow` was given: dtypes, index, and in `attrs` the level and the server.

    Text of the user's own comes back as `str`, whatever it was. `ValueError` for metadata that is not ours.
    """
    about = json.loads((table.schema.metadata or {}).get(_KEY, b"{}"))
    if not isinstance(about, dict) or len(set(table.column_names)) != table.num_columns:
        raise ValueError("not a table of this package")
    dtypes = about.get("dtypes", {})
    data = {name: _column(name, table.column(name), dtypes.get(name)) for name in table.column_names}
    frame = pd.DataFrame(data, index=None if data else pd.RangeIndex(table.num_rows))
    index = [name for name in about.get("index", ["ID"]) if name in data]
    if index:
        frame = frame.set_index(index)
    origin = {key: about[key] for key in ("level", "url") if about.get(key)}
    if origin:
        frame.attrs["orthanc"] = origin
    return frame


@lru_cache(4096)  # for a name that is no keyword the nearest one is looked for, which takes 50 ms
def _known(name: str) -> ColumnType | None:
    try:
        return column_type(name)
    except QueryError:
        return None


def _described(name: str) -> dict[str, str] | None:
    column = _known(name)
    if column is None or not column.vr:
        return None
    tag = tag_of(name.rpartition(".")[2])
    numbers = {"tag": f"{tag >> 16:04x},{tag & 0xFFFF:04x}"} if tag is not None else {}
    return {"vr": column.vr, "vm": column.vm, **numbers}


def _is_ours(column: ColumnType, series: pd.Series[Any]) -> bool:
    return bool(series.dtype == pd.api.types.pandas_dtype(column.pandas))


def _array(name: str, series: pd.Series[Any]) -> pa.Array:
    column = _known(name)
    if column is not None and _is_ours(column, series):
        with suppress(pa.ArrowException):  # a time of day in a column of dates: as Arrow reads it, then
            # Seconds have no type of their own in Parquet; dates go through timestamps, which Arrow casts exactly.
            moments = column.kind in ("date", "stamp", "datetime")
            return pa.array(series.to_numpy()).cast(column.arrow) if moments else pa.array(series, type=column.arrow)
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        # Arrow's own message shows the value that it did not like.
        raise QueryError(f"The column {name} mixes kinds of values; convert it to one, or leave it out.") from None


def _column(name: str, values: pa.ChunkedArray, noted: str | None) -> Any:
    column = _known(name)
    if noted is not None and _RESTORED.fullmatch(noted):
        dtype = pd.api.types.pandas_dtype(noted)
        return dtype.__from_arrow__(values) if hasattr(dtype, "__from_arrow__") else values.to_pandas().astype(dtype)
    if column is None or not _matches(column, values.type):
        return values.to_pandas(types_mapper=_text)
    if column.kind in ("date", "stamp", "datetime"):
        unit = "us" if column.kind == "datetime" else "s"
        moments = values.cast(pa.timestamp(unit)).to_numpy()
        return pd.array(moments.astype(f"M8[{unit}]"), dtype=column.pandas)
    if column.kind in ("float", "float32"):
        # Every NaN of a frame is an NA, and was written as null.
        return values.to_numpy().astype(np.dtype(column.pandas))
    if column.kind in ("time", "floats", "ints"):
        return pd.arrays.ArrowExtensionArray(values.cast(column.arrow))
    if column.kind in ("int", "bool"):
        return column.pandas.__from_arrow__(values.cast(column.arrow))
    return pd.array(values, dtype=column.pandas)


def _matches(column: ColumnType, found: pa.DataType) -> bool:
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
