"""What a long run meant to do, has asked for and has seen: in SQLite, on the disk before each request.

A unit is written as `sent` before the request that cannot be repeated, so that after any crash the question is never
"did we ask?" but "what came of it?". The file is 0600 in a 0700 folder: it holds Orthanc IDs of patients, which are
hashes of their PatientIDs.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import orjson
import platformdirs

from orthanc_research.errors import QueryError
from orthanc_research.files import private_folder

__all__ = ["Journal", "State", "Unit", "default_path", "newest"]

State = Literal["planned", "sent", "running", "done", "partial", "failed", "unknown"]
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Unit:
    """One row of the journal. `input` is what the unit was given, `output` what came of it."""

    key: str
    state: State
    input: Mapping[str, Any]
    job: str | None
    output: Mapping[str, Any]
    error: str | None


def default_path(kind: str) -> Path:
    """A new journal's place in the user's state folder."""
    folder = private_folder(platformdirs.user_state_path("orthanc-research") / "journals")
    return folder / f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}.sqlite"


def newest(url: str) -> Path:
    """The last journal in the user's state folder that belongs to this server; `QueryError` when there is none."""
    folder = platformdirs.user_state_path("orthanc-research") / "journals"
    for path in sorted(folder.glob("*.sqlite"), key=lambda p: p.stat().st_mtime, reverse=True):
        with Journal.open(path) as journal:
            if journal.run["url"] == url:
                return path
    raise QueryError("There is no journal of a batch on this Orthanc.")


class Journal:
    """One run's journal. Safe to share between threads; one process at a time."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.path = path
        self._database = database
        self._lock = threading.Lock()

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        kind: str,
        url: str,
        options: Mapping[str, Any],
        units: Iterable[tuple[str, Mapping[str, Any]]],
    ) -> Journal:
        """A new journal with its planned units; `QueryError` when the file is there."""
        target = Path(path)
        private_folder(target.parent)
        try:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise QueryError("That journal exists; orthanc.resume(journal) goes on with it.") from None
        journal = cls(target, _connect(target))
        with journal._lock, journal._database as database:
            database.execute("CREATE TABLE run (version INTEGER, kind TEXT, url TEXT, options BLOB, started REAL)")
            database.execute(
                "CREATE TABLE unit (key TEXT PRIMARY KEY, state TEXT NOT NULL, input BLOB NOT NULL, job TEXT,"
                " output BLOB, error TEXT, changed REAL)"
            )
            database.execute(
                "INSERT INTO run VALUES (?, ?, ?, ?, ?)",
                (_VERSION, kind, url, orjson.dumps(dict(options)), time.time()),
            )
            database.executemany(
                "INSERT INTO unit VALUES (?, 'planned', ?, NULL, NULL, NULL, ?)",
                [(key, orjson.dumps(dict(given)), time.time()) for key, given in units],
            )
        return journal

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Journal:
        """A journal that an earlier run left; `QueryError` when the file is not one."""
        target = Path(path)
        if not target.is_file():
            raise QueryError("There is no journal at that path.")
        try:
            journal = cls(target, _connect(target))
            version = journal.run["version"]
        except (sqlite3.DatabaseError, TypeError):
            raise QueryError("That file is not a journal of orthanc_research.") from None
        if version != _VERSION:
            raise QueryError(f"That journal has version {version}; this package reads version {_VERSION}.")
        return journal

    @property
    def run(self) -> dict[str, Any]:
        """What the run is: version, kind, url, options, started."""
        with self._lock:
            row = self._database.execute("SELECT version, kind, url, options, started FROM run").fetchone()
        return {
            "version": row[0],
            "kind": row[1],
            "url": row[2],
            "options": orjson.loads(row[3]),
            "started": row[4],
        }

    def units(self, *states: State) -> list[Unit]:
        """The units in the order of the plan; all of them, or those in one of the states."""
        with self._lock:
            rows = self._database.execute("SELECT key, state, input, job, output, error FROM unit ORDER BY rowid")
            units = [Unit(r[0], r[1], orjson.loads(r[2]), r[3], orjson.loads(r[4] or b"{}"), r[5]) for r in rows]
        return [unit for unit in units if not states or unit.state in states]

    def mark(
        self,
        key: str,
        state: State,
        *,
        job: str | None = None,
        output: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        """Write a unit's new state; it is on the disk when this returns. `job` and `output` stay unless given."""
        blob = None if output is None else orjson.dumps(dict(output))
        with self._lock, self._database as database:
            database.execute(
                "UPDATE unit SET state = ?, job = COALESCE(?, job), output = COALESCE(?, output), error = ?,"
                " changed = ? WHERE key = ?",
                (state, job, blob, error, time.time(), key),
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Journal {self.path.name}>"


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, timeout=10)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    return database
