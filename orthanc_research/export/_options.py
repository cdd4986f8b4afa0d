"""What every file of this package has in common: its compression, and a name that nobody typed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orthanc_research.errors import QueryError
from orthanc_research.tables import is_uid

__all__ = ["OWNER", "PARQUET", "existing", "file_name", "free_name"]

# Page checksums: a flipped bit would otherwise be read without a word.
PARQUET: Mapping[str, Any] = {"compression": "zstd", "compression_level": 1, "write_page_checksum": True}
# The key, in a file's own metadata, of the Orthanc ID of the series that it was made from.
OWNER = "orthanc_research.series"


def file_name(uid: str, otherwise: str) -> str:
    """A UID as a file name when it is one; `otherwise`, an Orthanc ID, when it is anything else."""
    return uid if is_uid(uid) else otherwise


def free_name(uid: str, series: str, owner: Callable[[str], str | None]) -> str:
    """The name for the files of an Orthanc series: its UID, with its Orthanc ID behind it where that is taken.

    A SeriesInstanceUID occurs under two patients at times (a copy that kept its UIDs). `owner` tells which Orthanc
    series the files of a name belong to, None when there are none: a series replaces its own files, never another's.
    """
    name = file_name(uid, series)
    return name if owner(name) in (None, series) else f"{name}-{series}"


def existing(path: str | os.PathLike[str]) -> Path:
    """The path of a file that is there; `QueryError` when it is not."""
    file = Path(path)
    try:
        if file.is_file():
            return file
    except (OSError, ValueError):
        pass
    raise QueryError(f"There is no file {file}.")
