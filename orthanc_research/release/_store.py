"""A project's file: which key it has, who is called what, and what each run meant to do, has done and has seen.

Everything in it that is not new is PHI. The file is 0600 in a folder that is 0700, and never leaves the house.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

import orjson

from orthanc_research.database import BusyError, Database, DiskError, Execute, ForeignError
from orthanc_research.errors import DeidError, QueryError
from orthanc_research.release._rows import Line, Named, RunRow, State, Unit
from orthanc_research.release._work import packed, unpacked

__all__ = ["Store"]

_WHAT = "project"
_NAME = "project.sqlite"
_VERSION = 2
_TABLES = (
    "CREATE TABLE project (version INTEGER, key_id TEXT, made REAL)",
    "CREATE TABLE patient (identity TEXT PRIMARY KEY, issuer TEXT, original TEXT, pseudonym TEXT UNIQUE, days INTEGER,"
    " first TEXT)",
    "CREATE TABLE used (pseudonym TEXT PRIMARY KEY)",
    "CREATE TABLE known (identity TEXT, facts BLOB, UNIQUE (identity, facts))",
    "CREATE TABLE run (id INTEGER PRIMARY KEY, started REAL, ended REAL, state TEXT, source BLOB, target BLOB,"
    " profile TEXT, profile_hash TEXT, options BLOB, verdict BLOB)",
    "CREATE TABLE line (run INTEGER, row TEXT, status TEXT, reason TEXT, notice TEXT, modality TEXT, identity TEXT,"
    " instances INTEGER, bytes INTEGER, series TEXT, PRIMARY KEY (run, row))",
    "CREATE TABLE unit (run INTEGER, key TEXT, row TEXT, identity TEXT, digest TEXT, size INTEGER, sop TEXT,"
    " series TEXT, study TEXT, new_sop TEXT, new_series TEXT, new_study TEXT, absent INTEGER, state TEXT,"
    " target_digest TEXT, error TEXT, found BLOB, changed REAL, PRIMARY KEY (run, key))",
    "CREATE INDEX unit_sop ON unit (sop)",
    "CREATE INDEX unit_new ON unit (new_sop)",
)
_PAGE = 500


_UNIT = ", ".join(each.name for each in fields(Unit))
_LINE = ", ".join(each.name for each in fields(Line))


class Store:
    """An open project file. `lock` for who changes it: one process at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @staticmethod
    def path(folder: Path) -> Path:
        """Where a project has its file."""
        return folder / _NAME

    @classmethod
    def create(cls, folder: Path, key_id: str) -> None:
        """A new project; nothing happens to one that is there."""

        def fill(execute: Execute) -> None:
            for table in _TABLES:
                execute(table, [()])
            execute("INSERT INTO project VALUES (?, ?, ?)", [(_VERSION, key_id, time.time())])

        try:
            Database.create(cls.path(folder), fill, what=_WHAT)
        except FileExistsError:
            pass
        except DiskError as error:
            raise DeidError(str(error)) from error

    @classmethod
    def open(cls, folder: Path, key_id: str, *, lock: bool) -> Store:
        """`QueryError` when another process works on it, `DeidError` for another key than it was made with."""
        database: Database | None = None
        try:
            database = Database.open(cls.path(folder), what=_WHAT, lock=lock)
            version, made_with = database.rows("SELECT version, key_id FROM project")[0]
        except BusyError as error:
            raise QueryError(str(error)) from None
        except (DiskError, ForeignError, IndexError) as error:
            if database is not None:
                database.close()
            raise DeidError(str(error) or f"That file is not a {_WHAT} of orthanc_research.") from error
        wrong = ""
        if version != _VERSION:
            wrong = f"That project has version {version}; this package reads version {_VERSION}."
        elif made_with != key_id:
            wrong = f"That project was made with the key {made_with}, and this is the key {key_id}."
        if wrong:
            database.close()
            raise DeidError(wrong)
        return cls(database)

    def patients(self) -> dict[str, Named]:
        """Everybody who ever was in a run, by identity."""
        rows = self._database.rows("SELECT identity, issuer, original, pseudonym, days, first FROM patient")
        return {row[0]: Named(*row) for row in rows}

    def used(self) -> set[str]:
        """The pseudonyms of patients who were forgotten: their copies may be in a target still."""
        return {row[0] for row in self._database.rows("SELECT pseudonym FROM used")}

    def known(self, identity: str) -> list[dict[str, str]]:
        """What headers of the patient's say of them: keyword → text."""
        return [
            orjson.loads(row[0])
            for row in self._database.rows("SELECT facts FROM known WHERE identity = ?", (identity,))
        ]

    def add_run(
        self,
        about: Mapping[str, Any],
        named: Iterable[Named],
        known: Iterable[tuple[str, bytes]],
        lines: Sequence[Line],
        units: Iterable[Unit],
    ) -> int:
        """Write a plan down, all or nothing; the number of its run. Nothing is read or stored before this."""
        number = int(self._database.rows("SELECT COALESCE(MAX(id), 0) + 1 FROM run")[0][0])
        encoded = [value if isinstance(value, str) else orjson.dumps(value) for value in about.values()]
        self._write(
            (
                f"INSERT INTO run (id, started, state, {', '.join(about)}) VALUES (?, ?, 'open'{', ?' * len(about)})",
                [(number, time.time(), *encoded)],
            ),
            (
                "INSERT OR IGNORE INTO patient VALUES (?, ?, ?, ?, ?, ?)",
                [tuple(getattr(each, name.name) for name in fields(Named)) for each in named],
            ),
            ("INSERT OR IGNORE INTO known VALUES (?, ?)", known),
            (
                f"INSERT INTO line (run, {_LINE}) VALUES (?{', ?' * len(fields(Line))})",
                [(number, *_values(each)) for each in lines],
            ),
            (
                f"INSERT INTO unit (run, {_UNIT}) VALUES (?{', ?' * len(fields(Unit))})",
                ((number, *_values(each)) for each in units),
            ),
        )
        return number

    def runs(self) -> list[RunRow]:
        """All of them, the first one first."""
        text = "SELECT id, started, state, source, target, profile, profile_hash, options FROM run ORDER BY id"
        return [
            RunRow(
                row[0], row[1], row[2], orjson.loads(row[3]), orjson.loads(row[4]), row[5], row[6], orjson.loads(row[7])
            )
            for row in self._database.rows(text)
        ]

    def lines(self, run: int) -> list[Line]:
        """The rows of its plan, in their order."""
        return [
            Line(*row) for row in self._database.rows(f"SELECT {_LINE} FROM line WHERE run = ? ORDER BY rowid", (run,))
        ]

    def units(self, run: int, *states: State) -> Iterator[Unit]:
        """Its instances in the order of the plan, some at a time."""
        last = 0
        where = f" AND state IN ({', '.join('?' * len(states))})" if states else ""
        while True:
            rows = self._database.rows(
                f"SELECT rowid, {_UNIT} FROM unit WHERE run = ? AND rowid > ?{where} ORDER BY rowid LIMIT {_PAGE}",
                (run, last, *states),
            )
            yield from (_unit(row[1:]) for row in rows)
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def counts(self, run: int) -> dict[str, dict[str, int]]:
        """{row: {state: how many instances}}."""
        found: dict[str, dict[str, int]] = {}
        for row, state, count in self._database.rows(
            "SELECT row, state, COUNT(*) FROM unit WHERE run = ? GROUP BY row, state", (run,)
        ):
            found.setdefault(row, {})[state] = count
        return found

    def errors(self, run: int) -> list[tuple[str, str, str, str]]:
        """(row, SOPInstanceUID, state, error) of the instances that have one."""
        text = "SELECT row, sop, state, error FROM unit WHERE run = ? AND error != '' ORDER BY rowid"
        return [(row[0], row[1], row[2], row[3]) for row in self._database.rows(text, (run,))]

    def intend(self, run: int, made: Iterable[tuple[str, str, bytes]]) -> None:
        """(key, digest of the copy, what was found, packed) of instances that are stored next: on disk before that."""
        self._write(
            (
                "UPDATE unit SET state = 'running', target_digest = ?, found = ?, error = '', changed = ?"
                " WHERE run = ? AND key = ?",
                [(digest, found, time.time(), run, key) for key, digest, found in made],
            )
        )

    def mark(self, run: int, states: Iterable[tuple[str, State, str]]) -> None:
        """(key, state, error) of instances."""
        self._write(
            (
                "UPDATE unit SET state = ?, error = ?, changed = ? WHERE run = ? AND key = ?",
                [(state, error, time.time(), run, key) for key, state, error in states],
            )
        )

    def close_run(self, run: int, state: str, verdict: Any) -> None:
        """How it ended; but for "unverified" all that was verified is done."""
        steps: list[tuple[str, Iterable[Sequence[Any]]]] = [
            (
                "UPDATE run SET state = ?, ended = ?, verdict = ? WHERE id = ?",
                [(state, time.time(), packed(verdict), run)],
            )
        ]
        if state != "unverified":
            steps.append(("UPDATE unit SET state = 'done' WHERE run = ? AND state = 'verified'", [(run,)]))
        self._write(*steps)

    def judge(self, run: int, passed: bool) -> None:
        """What a later look at a run that had ended says of it."""
        was, now = ("unverified", "done") if passed else ("done", "unverified")
        self._write(("UPDATE run SET state = ? WHERE id = ? AND state = ?", [(now, run, was)]))

    def reopen(self, run: int) -> None:
        """What failed or stood in the way is tried again."""
        self._write(
            ("UPDATE unit SET state = 'planned' WHERE run = ? AND state IN ('failed', 'conflict')", [(run,)]),
            ("UPDATE run SET state = 'open' WHERE id = ?", [(run,)]),
        )

    def verdict(self, run: int) -> Any:
        """As `close_run` was given it; None before."""
        packed = self._database.rows("SELECT verdict FROM run WHERE id = ?", (run,))[0][0]
        return None if packed is None else unpacked(packed)

    def found(self, *runs: int) -> Iterator[Any]:
        """What was found in each copy of these runs that is stored, some at a time."""
        last = 0
        while True:
            rows = self._database.rows(
                "SELECT rowid, found FROM unit WHERE rowid > ? AND found IS NOT NULL AND"
                f" state IN ('stored', 'verified', 'done') AND run IN ({', '.join('?' * len(runs))})"
                f" ORDER BY rowid LIMIT {_PAGE}",
                (last, *runs),
            )
            yield from (unpacked(row[1]) for row in rows)
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def before(self, target: Mapping[str, str]) -> dict[str, tuple[Unit, RunRow]]:
        """{source SOPInstanceUID: the last copy that is in this target, and the run that made it}."""
        found: dict[str, tuple[Unit, RunRow]] = {}
        for run in self.runs():
            if run.target.get("place") == target.get("place"):
                for unit in self.units(run.id):
                    if unit.state in ("stored", "verified", "done"):
                        found[unit.sop] = (unit, run)
                    elif unit.state in ("rolled-back", "deleted") and unit.absent:
                        found.pop(unit.sop, None)
        return found

    def made_here(self) -> set[str]:
        """The new SOPInstanceUIDs of all copies that were ever made."""
        return {row[0] for row in self._database.rows("SELECT DISTINCT new_sop FROM unit WHERE target_digest != ''")}

    def identifiers(self, value: str) -> list[tuple[str, str, str]]:
        """(kind, original, new) of everything that has this value on either side."""
        found = []
        for kind, old, new in _PAIRS:
            rows = self._database.rows(
                f"SELECT DISTINCT {old}, {new} FROM unit WHERE {old} = ? OR {new} = ?", (value, value)
            )
            found += [(kind, row[0], row[1]) for row in rows]
        return found

    def pairs(self, kind: str) -> list[tuple[str, str]]:
        """(original, new) of all UIDs of a kind that are in a copy."""
        old, new = next(names for name, *names in _PAIRS if name == kind)
        text = f"SELECT DISTINCT {old}, {new} FROM unit WHERE state IN ('stored', 'verified', 'done') ORDER BY {new}"
        return [(row[0], row[1]) for row in self._database.rows(text)]

    def forget(self, identities: Sequence[str]) -> None:
        """Take all that is known of these patients out of the file, and out of its free pages."""
        self._database.rows("PRAGMA secure_delete = ON")
        values = [(each,) for each in identities]
        self._write(
            ("INSERT OR IGNORE INTO used SELECT pseudonym FROM patient WHERE identity = ?", values),
            *((f"DELETE FROM {table} WHERE identity = ?", values) for table in ("patient", "known", "line", "unit")),
        )
        # secure_delete does not reach what earlier splits of a page have left behind in it.
        self._database.rows("VACUUM")
        self._database.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file, and let others work on it."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, *steps: tuple[str, Iterable[Sequence[Any]]]) -> None:
        try:
            self._database.write_all(*steps)
        except (DiskError, ForeignError) as error:
            raise DeidError(str(error)) from error

    def __repr__(self) -> str:
        return "<Store of a project>"


_PAIRS = (
    ("StudyInstanceUID", "study", "new_study"),
    ("SeriesInstanceUID", "series", "new_series"),
    ("SOPInstanceUID", "sop", "new_sop"),
)


def _values(row: Line | Unit) -> tuple[Any, ...]:
    return tuple(getattr(row, each.name) for each in fields(row))


def _unit(row: Sequence[Any]) -> Unit:
    values = list(row)
    values[11] = bool(values[11])
    return Unit(*values)
