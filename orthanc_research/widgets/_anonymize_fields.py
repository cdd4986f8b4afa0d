"""What the fields of a de-identification take: each reads a text, or says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from orthanc_research.errors import QueryError

__all__ = [
    "FORMS",
    "KEY_NAME",
    "address_of",
    "day",
    "file_name",
    "folder_name",
    "key_name",
    "variable_name",
]

KEY_NAME = re.compile(r"(env|file|keyring):\S.*")
FORMS = "A key is env:NAME, file:/path or keyring:name; the key itself goes into the field beside it."


def folder_name(entered: str) -> str:
    """A folder, there or not."""
    path = _path(entered)
    if "://" in entered:
        raise QueryError("This is no folder.")
    if _is(path.exists) and not _is(path.is_dir):
        raise QueryError("There is a file of that name.")
    return str(path)


def file_name(entered: str) -> Path:
    """The name of a table to write, in a folder that is there."""
    path = _path(entered)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise QueryError("The name of the file has to end in .csv or .parquet.")
    if _is(path.exists):
        raise QueryError("There is a file of that name already.")
    if not _is(path.parent.is_dir):
        raise QueryError("The folder of that file is not there.")
    return path


def _path(entered: str) -> Path:
    try:
        path = Path(entered.strip()).expanduser()
    except RuntimeError:
        raise QueryError("There is no home folder of that name.") from None
    if "\0" in entered:
        raise QueryError("This is no name of a folder or file.")
    return path


def _is(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except OSError as error:
        raise QueryError(f"That place cannot be looked at ({error.strerror}).") from None


def key_name(entered: str) -> str:
    """Where the key is; never the key."""
    if not KEY_NAME.fullmatch(entered.strip()):
        raise QueryError(FORMS)
    return entered.strip()


def day(entered: str) -> str:
    """A date as YYYYMMDD."""
    found = entered.strip().replace("-", "")
    try:
        if not re.fullmatch(r"[0-9]{8}", found):
            raise ValueError
        datetime.strptime(found, "%Y%m%d")  # noqa: DTZ007  # a day has no zone
    except ValueError:
        raise QueryError("The anchor is a date, such as 2000-01-01.") from None
    return found


def address_of(entered: str) -> str:
    """Of an Orthanc, without a password."""
    if not re.fullmatch(r"https?://[^\s@]+", entered.strip()):
        raise QueryError("An address is http://host:port, without a password in it.")
    return entered.strip()


def variable_name(entered: str) -> str:
    """Of an environment variable."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", entered.strip()):
        raise QueryError("This is the name of an environment variable, which holds user:password.")
    return entered.strip()
