"""What every file of this package has in common: its compression, and a name that nobody typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["PARQUET", "file_name", "is_uid"]

# Page checksums: a flipped bit would otherwise be read without a word.
PARQUET: Mapping[str, Any] = {"compression": "zstd", "compression_level": 1, "write_page_checksum": True}
_UID = re.compile(r"[0-9]+(?:\.[0-9]+){1,31}")


def is_uid(text: str) -> bool:
    """True for a UID as PS3.5 §9.1 has it: digits and dots, at most 64."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def file_name(uid: str, otherwise: str) -> str:
    """A UID as a file name when it is one; `otherwise`, an Orthanc ID, when it is anything else."""
    return uid if is_uid(uid) else otherwise
