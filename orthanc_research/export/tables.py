"""Tables to files and back: parquet with the types of the DICOM dictionary, CSV with formulas neutralised."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orthanc_research.errors import DatasetError, QueryError
from orthanc_research.export._options import PARQUET, existing
from orthanc_research.files import atomic_path, atomic_write
from orthanc_research.tables import column_type, flat, from_arrow, to_arrow

__all__ = ["read_parquet", "write_csv", "write_table"]

_BLOCK = 10_000
# Where a cell may begin, if a formula follows behind what nobody sees and quotes; a TAB or CR at the very beginning.
# None of the unseen may begin a cell itself, or a run of them would be looked at once for each.
_UNSEEN = r'[\x00-\x08\x0b\x0c\x0e-\x20"\x7f-\xa0\u200b-\u200f\u2028-\u202e\u3000\ufeff]*'
_FORMULA = re.compile(rf"(?:^|(?<=[;\t\r\n]))(?={_UNSEEN}[=+\-@\uff1d\uff0b\uff0d\uff20])|^(?=[\t\r])")


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> Path:
    """Write a DataFrame as parquet: the types of the DICOM dictionary, which the file's metadata names as well.

    `metadata` goes into that as well. The index `ID` is the first column. Every reader gets plain types (dates, times,
    lists of doubles); where a column of integers has gaps, `pandas.read_parquet` makes doubles of it unless
    `dtype_backend` says otherwise. `QueryError` for two columns of one name, an index without a name, and a column that
    mixes kinds of values.
    """
    table = to_arrow(frame, metadata)
    target = Path(path)
    with atomic_path(target) as partial:
        pq.write_table(table, partial, **PARQUET)
    return target


def read_parquet(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read what `write_table` wrote, with types, index, level and server as they were; page checksums are verified.

    `QueryError` when there is no such file, `DatasetError` when it is damaged.
    """
    file = existing(path)
    try:
        return from_arrow(pq.read_table(file, page_checksum_verification=True))
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{file.name} is damaged, or not a parquet file of this package.") from error


def write_csv(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a DataFrame as CSV (UTF-8, commas, all text in quotes) that no spreadsheet runs as a program.

    A text that begins as a formula does (= + - @, their full-width forms, TAB, CR) gets an apostrophe in front, and so
    does what begins so behind a line break, a tab or a semicolon inside a text: a spreadsheet that parts cells there
    does not see our quotes. Dates are YYYY-MM-DD, lists are JSON, NA is empty. What is exact is parquet. `QueryError`
    as from `write_table`.
    """
    whole, _ = flat(frame)
    target = Path(path)
    with atomic_write(target) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="")
        # Quotes around the first name, too: a spreadsheet takes a file that begins with ID for another format (SYLK).
        writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow([_harmless(name) for name in whole.columns])
        for start in range(0, len(whole), _BLOCK):
            block = whole.iloc[start : start + _BLOCK]
            writer.writerows(zip(*(_cells(block.iloc[:, position]) for position in range(block.shape[1])), strict=True))
        text.flush()
        text.detach()
    return target


def _cells(series: pd.Series[Any]) -> list[Any]:
    """What stands in the file for each value of a column."""
    days = _is_date(str(series.name)) and series.dtype.kind == "M" and series.dt.normalize().equals(series)
    return [
        "" if gone else value.date().isoformat() if days else _cell(value)
        for value, gone in zip(series.tolist(), series.isna(), strict=True)
    ]


def _is_date(name: str) -> bool:
    try:
        return column_type(name).kind == "date"
    except QueryError:
        return False


def _cell(value: Any) -> Any:
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, np.ndarray)):
        value = json.dumps(list(value), default=str)
    return _harmless(str(value))


def _harmless(text: str) -> str:
    return _FORMULA.sub("'", text)
