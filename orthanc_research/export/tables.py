"""Tables to files and back: parquet with the types of the DICOM dictionary, CSV with formulas neutralised."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orthanc_research.errors import DatasetError
from orthanc_research.export._options import PARQUET, existing
from orthanc_research.files import atomic_path, atomic_write
from orthanc_research.tables import from_arrow, to_arrow

__all__ = ["read_parquet", "write_csv", "write_table"]


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a DataFrame of this package as parquet; its index is the column `ID`."""
    target = Path(path)
    with atomic_path(target) as partial:
        pq.write_table(to_arrow(frame), partial, **PARQUET)
    return target


def read_parquet(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read what `write_table` wrote, with types, index, level and server as they were; page checksums are verified.

    `QueryError` when there is no such file, `DatasetError` when it is damaged.
    """
    file = existing(path)
    try:
        return from_arrow(pq.read_table(file, page_checksum_verification=True))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DatasetError(f"{file.name} is damaged, or not a parquet file of this package.") from error


def write_csv(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a DataFrame as CSV; a text that a spreadsheet would run as a formula gets an apostrophe in front."""
    target = Path(path)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    named = frame.reset_index() if frame.index.name else frame
    writer.writerow([_harmless(name) for name in named.columns])
    for row in named.itertuples(index=False, name=None):
        writer.writerow(["" if _is_missing(value) else _harmless(value) for value in row])
    with atomic_write(target) as stream:
        stream.write(buffer.getvalue().encode())
    return target


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value))


def _harmless(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
