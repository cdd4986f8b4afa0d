"""What a long run meant to do, has asked for and has seen: in SQLite, on the disk before each request.

A unit is written as `sent` before the request that cannot be repeated, so that after any crash the question is never
"did we ask?" but "what came of it?". The file is 0600 in a 0700 folder: it holds Orthanc IDs of patients, which are
hashes of their PatientIDs.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import orjson
import platformdirs

from orthanc_research.database import (
    BESIDE,
    BusyError,
    Database,
    DiskError,
    Execute,
    ForeignError,
    complaint,
    has_tables,
)
from orthanc_research.errors import QueryError
from orthanc_research.files import private_folder

__all__ = ["Journal", "JournalError", "State", "Unit", "claimed", "default_path", "newest"]

State = Literal["planned", "sent", "running", "done", "partial", "failed", "unknown"]
_VERSION = 1
_WHAT = "journal"


class JournalError(Exception):
    """The disk does not take the journal's next line: the run ends before anything else is asked for."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One row of the journal. `input` is what the unit was given, `output` what came of it."""

    key: str
    state: State
    input: Mapping[str, Any]
    job: str | None
    output: Mapping[str, Any]
    error: str | None


def default_folder() -> Path:
    """Where journals are kept that nobody gave a place."""
    return platformdirs.user_state_path("orthanc-research") / "journals"


def default_path(kind: str) -> Path:
    """A new journal's place in the user's state folder."""
    folder = private_folder(default_folder())
    return folder / f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}.sqlite"


def newest(url: str) -> Path:
    """The last run on this server in the user's state folder, one with open units before one without.

    `QueryError` when there is none.
    """
    found: list[tuple[bool, float, Path]] = []
    for path, journal in _readable([default_folder()]):
        if journal.run["url"] == url:
            open_units = any(unit.state not in ("done", "failed") for unit in journal.units())
            found.append((open_units, journal.run["started"], path))
    if not found:
        raise QueryError("There is no journal of a batch on this Orthanc.")
    return max(found)[2]


def claimed(url: str, beside: Path) -> set[str]:
    """The new IDs that finished units of any journal name as their result: they belong to somebody."""
    elsewhere = {Path(line).parent for line in _register().splitlines() if line}
    return {
        str(row[1])
        for _, journal in _readable({default_folder(), beside.parent, *elsewhere})
        if journal.run["url"] == url
        for unit in journal.units("done")
        for row in unit.output.get("outputs", ())
    }


def _register(add: Path | None = None) -> str:
    """The paths of all journals that were ever made on this account, one a line; `add` is one more."""
    path = private_folder(default_folder()) / "register.txt"
    if add is not None:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as stream:
            stream.write(f"{add.absolute()}\n")
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _readable(folders: Iterable[Path]) -> Iterator[tuple[Path, Journal]]:
    there = (folder for folder in folders if folder.is_dir())
    for path in sorted(path for folder in there for path in folder.glob("*") if path.is_file()):
        if path.name.endswith(BESIDE):
            continue
        try:
            if not has_tables(path, {"run", "unit"}):
                continue
            with Journal.open(path, lock=False) as journal:
                yield path, journal
        except (QueryError, FileNotFoundError):
            continue  # any other file, or a journal that is just being made


class Journal:
    """One run's journal. Safe to share between threads; one worker at a time, held by a lock beside the file."""

    def __init__(self, database: Database) -> None:
        self.path = database.path
        self._database = database

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        kind: str,
        url: str,
        options: Mapping[str, Any],
        units: Iterable[tuple[str, Mapping[str, Any]]],
    ) -> Journal:
        """A new journal with its planned units, complete or not there at all.

        `QueryError` when the name is taken, and when the disk is full or cannot be written to.
        """
        target = Path(path)
        if target.is_dir():
            raise QueryError("journal= names a folder; give the path of a file in it.")

        def fill(execute: Execute) -> None:
            _fill(execute, kind, url, options, units)

        try:
            private_folder(target.parent)
            _register(target)
            Database.create(target, fill, what=_WHAT)
            return cls.open(target)
        except FileExistsError:
            raise QueryError("That journal exists; orthanc.resume(journal) goes on with it.") from None
        except DiskError as error:
            raise QueryError(f"{error} Nothing was asked for.") from error
        except OSError as error:
            raise QueryError(f"{complaint(target, error, _WHAT)} Nothing was asked for.") from error

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, lock: bool = True) -> Journal:
        """A journal that a run left; `QueryError` when it is none, or when another worker holds it (`lock`)."""
        target = Path(path)
        if not target.is_file():
            raise QueryError("There is no journal at that path.")
        database: Database | None = None
        try:
            database = Database.open(target, what=_WHAT, lock=lock)
            journal = cls(database)
            version = journal.run["version"]
        except (ForeignError, DiskError, BusyError, IndexError) as error:
            if database is not None:
                database.close()
            if isinstance(error, DiskError | BusyError):
                raise QueryError(str(error)) from error
            raise QueryError("That file is not a journal of orthanc_research.") from None
        if version != _VERSION:
            journal.close()
            raise QueryError(f"That journal has version {version}; this package reads version {_VERSION}.")
        return journal

    @property
    def run(self) -> dict[str, Any]:
        """What the run is: version, kind, url, options, started."""
        row = self._database.rows("SELECT version, kind, url, options, started FROM run")[0]
        return {
            "version": row[0],
            "kind": row[1],
            "url": row[2],
            "options": orjson.loads(row[3]),
            "started": row[4],
        }

    def units(self, *states: State) -> list[Unit]:
        """The units in the order of the plan; all of them, or those in one of the states."""
        rows = self._database.rows("SELECT key, state, input, job, output, error FROM unit ORDER BY rowid")
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
        """Write a unit's new state; it is on the disk when this returns. `job` and `output` stay unless given.

        `JournalError` when the disk does not take it; what the journal said before is kept.
        """
        blob = None if output is None else orjson.dumps(dict(output))
        try:
            self._database.write(
                "UPDATE unit SET state = ?, job = COALESCE(?, job), output = COALESCE(?, output), error = ?,"
                " changed = ? WHERE key = ?",
                (state, job, blob, error, time.time(), key),
            )
        except DiskError as failure:
            raise JournalError(str(failure)) from failure

    def close(self) -> None:
        """Close the file, and let others work on it."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Journal {self.path.name}>"


def _fill(
    execute: Execute, kind: str, url: str, options: Mapping[str, Any], units: Iterable[tuple[str, Mapping[str, Any]]]
) -> None:
    execute("CREATE TABLE run (version INTEGER, kind TEXT, url TEXT, options BLOB, started REAL)", [()])
    execute(
        "CREATE TABLE unit (key TEXT PRIMARY KEY, state TEXT NOT NULL, input BLOB NOT NULL, job TEXT,"
        " output BLOB, error TEXT, changed REAL)",
        [()],
    )
    execute("INSERT INTO run VALUES (?, ?, ?, ?, ?)", [(_VERSION, kind, url, orjson.dumps(dict(options)), time.time())])
    execute(
        "INSERT INTO unit VALUES (?, 'planned', ?, NULL, NULL, NULL, ?)",
        [(key, orjson.dumps(dict(given)), time.time()) for key, given in units],
    )
