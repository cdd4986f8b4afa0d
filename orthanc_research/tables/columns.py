"""Many JSON values → one typed pandas column, and why some of them are NA."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from orthanc_research.errors import QueryError
from orthanc_research.tables.schema import OFFSET, ColumnType, column_type
from orthanc_research.tables.values import Bad, Parsed, Parser, offset_of, parser_for

__all__ = ["Problems", "column_of", "columns_of", "empty_column", "flat", "frame_of", "typed"]

# row → sentences
Problems = dict[int, list[str]]


def column_of(name: str, values: Iterable[Any], problems: Problems) -> Any:
    """Parse the values of column `name`; what is wrong with row i is appended to `problems[i]`, by keyword only."""
    column = column_type(name)
    parse = parser_for(column)
    given = list(values)
    # Most columns repeat a few values: each is parsed once, and looked up.
    texts = _texts(given)
    if texts is None:
        parsed = [_read(parse, value) for value in given]
        reasons = {row: why for row, (_, why) in enumerate(parsed) if why is not None}
        found = [value for value, _ in parsed]
    else:
        read = {text: _read(parse, text) for text in texts}
        wrong = {text: why for text, (_, why) in read.items() if why is not None}
        reasons = {row: wrong[text] for row, text in enumerate(given) if text in wrong} if wrong else {}
        value_of = {text: value for text, (value, _) in read.items()}
        found = [value_of[text] for text in given]
    for row, why in reasons.items():
        problems.setdefault(row, []).append(f"{name}: {why}")
    return typed(column, found)


def _texts(values: Sequence[Any]) -> set[Any] | None:
    """The different values if all are texts or None. True and 1 would be one key, and lists are none."""
    try:
        different = set(values)
    except TypeError:
        return None
    return different if all(each is None or type(each) is str for each in different) else None


def _read(parse: Parser, value: Any) -> Parsed:
    if value is None or value == "":
        return None, None
    try:
        return parse(value)
    except Bad as bad:
        return None, str(bad)


def columns_of(name: str, values: Sequence[Any], problems: Problems) -> dict[str, Any]:
    """`column_of`, and for a DT its offset from UTC as well, in minutes: the column alone would lose it."""
    found = {name: column_of(name, values, problems)}
    if column_type(name).kind == "datetime":
        offset = f"{name}{OFFSET}"
        found[offset] = typed(column_type(offset), [offset_of(value) for value in values])
    return found


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


def flat(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The frame as files have it, a named index as its first columns, and the names of these; row numbers are left out.

    `QueryError` for an index that has values and no name, and for two columns of one name.
    """
    names = list(frame.index.names)
    numbered = names == [None] and (len(frame) == 0 or pd.api.types.is_integer_dtype(frame.index.dtype))
    if None in names and not numbered:
        raise QueryError("The index of this DataFrame has no name and would be lost: set frame.index.name.")
    index = [] if numbered else [str(name) for name in names]
    columns = [*index, *(str(name) for name in frame.columns)]
    if len(set(columns)) != len(columns):
        raise QueryError("Two columns have the same name; a table on disk needs one name each.")
    whole = frame.reset_index(drop=numbered)
    whole.columns = pd.Index(columns)
    return whole, index
