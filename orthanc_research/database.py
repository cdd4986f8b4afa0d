"""SQLite on the disk, as this package keeps what it must not forget: the one place that knows sqlite3.

A file is 0600 in a 0700 folder and complete or absent under its name; what was written is on the disk when the call
returns (WAL, synchronous FULL); one process at a time works on it, held by a lock beside the file. A disk that fails is
told from a file that is not ours.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from orthanc_research.files import atomic_path, private_folder, sweep

__all__ = ["BESIDE", "BusyError", "Database", "DatabaseError", "DiskError", "ForeignError", "complaint", "has_tables"]

# What SQLite and the lock keep beside a file.
BESIDE = ("-wal", "-shm", "-journal", ".lock")
# What the disk is at fault for, not the file: no space, I/O, read-only, a file beside it that cannot be made.
_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)

Values = Sequence[Any]
Execute = Callable[[str, Iterable[Values]], None]


class DatabaseError(Exception):
    """Root of what goes wrong with a file; the message is a sentence."""


class DiskError(DatabaseError):
    """The disk does not take it, or does not give it; what the file said before is kept."""


class ForeignError(DatabaseError):
    """The file is no database, or not one of these tables."""


class BusyError(DatabaseError):
    """Another process, or another notebook, works on it."""


class Database:
    """One open file. Safe to share between threads. `what` is what messages call it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: FileLock | None, what: str) -> None:
        self.path = path
        self._what = what
        self._connection = connection
        self._file_lock = lock
        self._lock = threading.Lock()

    @classmethod
    def create(cls, path: Path, fill: Callable[[Execute], None], *, what: str) -> None:
        """A new file with what `fill(execute)` puts into it, complete or not there at all.

        `FileExistsError` when the name is taken; `DiskError` when the disk does not take it.
        """
        try:
            private_folder(path.parent)
            with atomic_path(path, overwrite=False) as partial, closing(sqlite3.connect(partial)) as made, made:

                def execute(text: str, rows: Iterable[Values]) -> None:
                    made.executemany(text, rows)

                fill(execute)
        except FileExistsError:
            raise
        except (OSError, sqlite3.OperationalError) as error:
            raise DiskError(complaint(path, error, what)) from error

    @classmethod
    def open(cls, path: Path, *, what: str, lock: bool = True) -> Self:
        """The file, for the one that works on it (`lock`, else `BusyError`); without, to read what another writes.

        Who works on it sweeps its folder first: one that was killed while it made a file leaves that, and SQLite's
        journal of it. `ForeignError` when it is no database, `DiskError` when it cannot be opened.
        """
        held = _hold(path, what) if lock else None
        if held is not None:
            with suppress(OSError):
                sweep(path.parent)
        try:
            return cls(path, _connect(path) if lock else _read_only(path), held, what)
        except sqlite3.DatabaseError as error:
            if held is not None:
                held.release()
            raise _told(path, error, what) from error

    def rows(self, text: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """What a SELECT gives."""
        try:
            with self._lock:
                return self._connection.execute(text, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise _told(self.path, error, self._what) from error

    def write(self, text: str, *rows: Values) -> int:
        """Change something, for each of the rows, all or nothing; how many lines changed. It is then on the disk."""
        return self.write_all((text, rows))

    def write_all(self, *steps: tuple[str, Iterable[Values]]) -> int:
        """Several statements, each for its rows, all or nothing; how many lines changed."""
        try:
            with self._lock, self._connection as database:
                return sum(database.executemany(text, rows).rowcount for text, rows in steps)
        except sqlite3.DatabaseError as error:
            raise _told(self.path, error, self._what) from error

    def close(self) -> None:
        """Close the file, and let others work on it."""
        self._connection.close()
        if self._file_lock is not None:
            self._file_lock.release()


def has_tables(path: Path, tables: AbstractSet[str]) -> bool:
    """Whether a file is a database with these tables; when nobody can say just now, it counts as one.

    Looked at as a file that nobody changes: else SQLite makes -wal and -shm beside a database that is not ours. The
    tables are in the file before it has its name, so they are seen without what is beside it. And by SQLite alone: to
    open and close a file drops all locks that this process has on it (POSIX), and without them another process that
    reads it truncates what we have mapped: SIGBUS.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            names = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError as error:
        # One that is being written may look broken for a moment: only what is no database at all is passed over.
        return getattr(error, "sqlite_errorcode", None) not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN)
    return tables <= names


def complaint(path: Path, error: Exception, what: str) -> str:
    """What is wrong with the disk, in a sentence; with the room that is needed when it is full."""
    code = getattr(error, "sqlite_errorcode", None)
    if code != sqlite3.SQLITE_FULL and getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
        reason = getattr(error, "strerror", None) or str(error)
        return f"The {what} cannot be written ({reason})."
    size = path.stat().st_size if path.exists() else 0
    return f"The {what} cannot be written: its disk is full; make {max(1, -(-2 * size // 10**6))} MB of room."


def _told(path: Path, error: sqlite3.DatabaseError, what: str) -> DatabaseError:
    # The lower byte is the kind, the upper ones say more of it.
    if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _DISK:
        return DiskError(complaint(path, error, what))
    return ForeignError(f"That file is not a {what} of orthanc_research.")


def _hold(path: Path, what: str) -> FileLock:
    # Two workers on one file would ask for everything twice.
    lock = FileLock(f"{path}.lock", timeout=0, mode=0o600, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(f"Another process or notebook works on that {what}; wait for it, or end it.") from None
    except OSError as error:
        raise DiskError(complaint(path, error, what)) from error
    return lock


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=10)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, timeout=10)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        database.close()
        raise
    return database
