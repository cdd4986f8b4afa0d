"""Many JSON values → one typed pandas column, and why some of them are NA."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from orthanc_research.tables.schema import ColumnType, column_type
from orthanc_research.tables.values import Bad, parser_for

__all__ = ["Problems", "column_of", "empty_column", "frame_of", "typed"]

# row → sentences
Problems = dict[int, list[str]]


def column_of(name: str, values: Iterable[Any], problems: Problems) -> Any:
    """Parse the values of column `name`; what is wrong with row i is appended to `problems[i]`, by keyword only."""
    column = column_type(name)
    parse = parser_for(column)
    # Most columns of a find repeat a few values, so what was once read is looked up; lists and objects cannot be keys.
    seen: dict[Any, tuple[Any, str | None]] = {None: (None, None), "": (None, None)}
    parsed: list[Any] = []
    for row, value in enumerate(values):
        key = value if isinstance(value, str) or value is None else None
        known = seen.get(key) if key is not None or value is None else None
        if known is None:
            try:
                known = parse(value)
            except Bad as bad:
                known = (None, str(bad))
            if key is not None:
                seen[key] = known
        parsed.append(known[0])
        if known[1] is not None:
            problems.setdefault(row, []).append(f"{name}: {known[1]}")
    return typed(column, parsed)


def typed(column: ColumnType, values: Sequence[Any]) -> Any:
    """A pandas array of the column's dtype from parsed values; None is NA."""
    kind = column.kind
    if kind in ("date", "stamp"):
        return _moments(values, "s")
    if kind == "datetime":
        return _moments(values, "us")
    if kind in ("float", "float32"):
        return np.array([np.nan if value is None else value for value in values], dtype=column.pandas)
    if kind == "int":
        absent = np.fromiter((value is None for value in values), dtype=bool, count=len(values))
        numbers = np.array([0 if value is None else value for value in values], dtype=column.pandas.numpy_dtype)
        return pd.arrays.IntegerArray(numbers, absent)
    if kind in ("time", "floats", "ints"):
        return pd.arrays.ArrowExtensionArray(pa.array(values, type=column.arrow))
    if kind == "bool":
        return pd.array(list(values), dtype="boolean")
    return pd.array(pa.array(values, type=pa.string()), dtype=column.pandas)


def _moments(values: Sequence[Any], unit: str) -> Any:
    absent = np.iinfo(np.int64).min  # NaT
    numbers = np.array([absent if value is None else value for value in values], dtype=np.int64)
    return pd.DatetimeIndex(numbers.view(f"M8[{unit}]")).array


def empty_column(name: str) -> Any:
    """No rows, but the dtype that the column has with rows."""
    return typed(column_type(name), [])


def frame_of(ids: Sequence[str], columns: Mapping[str, Any], problems: Problems) -> pd.DataFrame:
    """A frame of typed columns, indexed by Orthanc's `ID`, with what is wrong in the last column, `Issues`."""
    issues = ["; ".join(problems[row]) if row in problems else None for row in range(len(ids))]
    data = {**columns, "Issues": typed(column_type("Issues"), issues)}
    index = pd.Index(typed(column_type("ID"), list(ids)), name="ID")
    return pd.DataFrame(data, index=index)
