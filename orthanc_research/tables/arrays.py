"""Frames → NumPy: a matrix of numbers, or a structured array with a field a column.

    column                        matrix (float64)             structured=True
    float64, float32              as it is                     as it is
    Int32, Int64, UInt64          NaN = NA                     float64, NaN = NA
    boolean                       1, 0, NaN = NA               float64: 1, 0, NaN = NA
    lists of a fixed length k     k columns, NaN = NA          a field of k float64
    lists of any length           refused                      refused
    datetime64, timedelta64       refused                      as it is, NaT = NA
    time of day                   refused                      timedelta64[us] since midnight, NaT = NA
    text                          refused                      U, as wide as the longest, "" = NA

NumPy's integers and booleans have no NA, so the nullable ones become float64 for any data, not only where something is
missing; NumPy columns of the user's own keep their dtype in a structured array. Which lists have a fixed length, the
dictionary says (VM 2 of PixelSpacing, 3 of ImagePositionPatient), not the data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orthanc_research.errors import QueryError
from orthanc_research.tables.columns import flat
from orthanc_research.tables.schema import column_type

__all__ = ["to_numpy"]

_WIDEST = 2**30  # bytes of one field of text: a column of sequences would take all the memory there is


def to_numpy(
    frame: pd.DataFrame, columns: Iterable[str] | str | None = None, *, structured: bool = False
) -> npt.NDArray[Any]:
    """The columns of a DataFrame as float64 (row, column) with NaN for NA, or as a structured array of (row,).

    A list of fixed length takes as many columns as it has entries: ["SliceLocation", "ImagePositionPatient"] gives
    (row, 4). Booleans are 1 and 0. With `structured=True` each column is a field of its own name and dtype: dates are
    datetime64, times of day timedelta64[us] since midnight, text is U with "" for NA, and the index (`ID`) can be
    asked for as a column. None means all columns of numbers, and in a structured array the index and all columns.
    `QueryError` for columns that are not there, that are no numbers (dates, times, text: unless structured), for lists
    without a fixed length, and for whole numbers beyond 2**53, which float64 would change.

    >>> to_numpy(pd.DataFrame({"Rows": pd.array([512, None], dtype="Int32")}))
    array([[512.],
           [ nan]])
    """
    whole, _ = flat(frame if structured else frame.reset_index(drop=True))
    if columns is None:
        names = [name for name in whole.columns if structured or _has_numbers(whole[name])]
    else:
        names = [columns] if isinstance(columns, str) else list(columns)
    for name in names:
        if name not in whole.columns:
            raise QueryError(f"The DataFrame has no column {name!r}.")
    if structured and len(set(names)) != len(names):
        raise QueryError("A structured array needs one name for each column.")
    if structured:
        return _structured({name: _field(whole[name]) for name in names}, len(whole))
    matrix = [found if found.ndim == 2 else found[:, None] for found in (_numbers(whole[name]) for name in names)]
    return np.concatenate([np.empty((len(whole), 0)), *matrix], axis=1)


def _structured(fields: dict[str, npt.NDArray[Any]], rows: int) -> npt.NDArray[Any]:
    array = np.empty(rows, dtype=[(name, field.dtype, field.shape[1:]) for name, field in fields.items()])
    for name, field in fields.items():
        array[name] = field
    return array


def _has_numbers(series: pd.Series[Any]) -> bool:
    return _width(series) is not None if _is_list(series) else pd.api.types.is_numeric_dtype(series.dtype)


def _is_list(series: pd.Series[Any]) -> bool:
    return isinstance(series.dtype, pd.ArrowDtype) and pa.types.is_list(series.dtype.pyarrow_dtype)


def _width(series: pd.Series[Any]) -> int | None:
    """How many entries each list of the column has by the dictionary; None where that is open."""
    try:
        vm = column_type(str(series.name)).vm
    except QueryError:
        return None
    return int(vm) if vm.isdecimal() else None


def _numbers(series: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """float64 of (row,), or of (row, entry) for lists."""
    if _is_list(series):
        return _spread(series)
    if not pd.api.types.is_numeric_dtype(series.dtype):
        raise QueryError(f"{series.name} holds no numbers; leave it out, or ask for structured=True.")
    return _doubles(series.name, _arrow(series))


def _arrow(series: pd.Series[Any]) -> pa.Array:
    found = pa.array(series, from_pandas=True)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _doubles(name: Any, values: pa.Array) -> npt.NDArray[np.float64]:
    try:
        found: npt.NDArray[np.float64] = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException:
        # Arrow's own message shows the number that it did not like.
        raise QueryError(f"{name} holds whole numbers beyond 2**53, which float64 would change.") from None
    return found


def _spread(series: pd.Series[Any]) -> npt.NDArray[np.float64]:
    width = _width(series)
    if width is None:
        raise QueryError(
            f"{series.name} has no fixed number of values; take one of them, as in frame[{series.name!r}].list[0]."
        )
    lists = _arrow(series)
    if pc.any(pc.not_equal(pc.list_value_length(lists), width)).as_py():
        raise QueryError(f"A row of {series.name} has not the {width} values that DICOM says; leave such rows out.")
    spread = np.full((len(series), width), np.nan)
    spread[series.notna().to_numpy()] = _doubles(series.name, lists.flatten()).reshape(-1, width)
    return spread


def _field(series: pd.Series[Any]) -> npt.NDArray[Any]:
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "biufmM":
        return series.to_numpy()
    if _is_list(series) or pd.api.types.is_numeric_dtype(dtype):
        return _numbers(series)
    if isinstance(dtype, pd.ArrowDtype) and pa.types.is_time(dtype.pyarrow_dtype):
        clock = _arrow(series).cast(pa.time64("us")).cast(pa.int64()).fill_null(np.iinfo(np.int64).min)
        return np.asarray(clock.to_numpy(), dtype=np.int64).view("m8[us]")
    if pd.api.types.infer_dtype(series, skipna=True) in ("string", "empty"):
        return _fixed_text(series)
    raise QueryError(f"{series.name} has no NumPy type that holds it ({dtype}); leave it out.")


def _fixed_text(series: pd.Series[Any]) -> npt.NDArray[np.str_]:
    text = series.astype("str").fillna("")
    longest = max(int(text.str.len().max()), 1) if len(text) else 1
    if 4 * longest * len(text) > _WIDEST:
        raise QueryError(f"{series.name} is too long for text of one width ({longest} characters); leave it out.")
    return text.to_numpy(dtype=object).astype(f"U{longest}")
