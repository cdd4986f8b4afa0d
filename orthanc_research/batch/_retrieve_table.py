"""A list of studies from a remote archive: found one at a time, retrieved answer by answer, counted; a row for each.

The archive is shared with clinicians, so it is asked for one row after the other, once for rows that are alike, and not
at all for what a journal says is here, and is. What is all here, by the archive's own list of instances, is not sent
again; so running it again goes on where it stopped, with a journal or without.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from orthanc_research.batch._retrieve import Node, bring, here
from orthanc_research.batch.journal import Journal, JournalError, State
from orthanc_research.errors import AccessError, CancelledError, Error, OrthancError, QueryError
from orthanc_research.progress import Progress, Within
from orthanc_research.rest import Rest, is_server_gone
from orthanc_research.tables import UID_OF, Match, Wanted, matches, wanted_rows

__all__ = ["RETRIEVE_TABLE_COLUMNS", "read_table", "retrieve_plan", "retrieve_table"]

# column → pandas dtype of the report, behind the keys of the rows
RETRIEVE_TABLE_COLUMNS = {
    "status": "str",
    "error": "str",
    "matches": "Int64",
    "UID": "str",
    "announced": "Int64",
    "here_before": "Int64",
    "here": "Int64",
    "seconds": "float64",
}
# The worst is said of a row with several studies.
_ORDER = ("failed", "incomplete", "not-found", "unverified", "complete", "already-there")
_STATE: Mapping[str, State] = {"complete": "done", "already-there": "done", "failed": "failed", "incomplete": "partial"}
# An archive that fails so many times in a row is left alone.
_ENOUGH = 5


@dataclass(slots=True)
class _Run:
    """What the rows of one run share."""

    node: Node
    several: bool
    progress: Progress
    halted: str | None = None
    failures: int = 0


def read_table(given: Any) -> pd.DataFrame:
    """The table itself, or one from a .csv (all text; commas, semicolons or tabs) or .parquet; `QueryError`."""
    if isinstance(given, pd.DataFrame):
        return given
    if not isinstance(given, str | os.PathLike):
        raise QueryError("retrieve takes a DataFrame, or the path of a .csv or .parquet file.")
    path = Path(given)
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        with path.open(encoding="utf-8-sig") as stream:
            header = stream.readline()
        separator = max(",;\t", key=header.count)
        return pd.read_csv(
            path, sep=separator, dtype="str", keep_default_na=False, index_col=False, encoding="utf-8-sig"
        )
    except (OSError, ValueError) as error:  # pandas' and pyarrow's own are ValueErrors
        raise QueryError(f"{path} is no table that can be read: {type(error).__name__}.") from error


def retrieve_table(
    rest: Rest,
    table: pd.DataFrame,
    name: str,
    *,
    columns: Mapping[str, str] | None,
    several: bool,
    method: str,
    timeout: int | None,
    pause: float,
    journal: str | os.PathLike[str] | None,
    progress: Progress,
) -> pd.DataFrame:
    """The report: the keys of each row and `RETRIEVE_TABLE_COLUMNS`, indexed as the table.

    `status`: "complete"; "already-there" (nothing was sent); "incomplete"; "unverified" (the archive says neither which
    instances there are nor how many); "not-found"; "ambiguous" (several match, none was fetched); "invalid" (the row
    cannot be asked); "failed", with Orthanc's words; "not-sent" (cancelled, or not worth going on).
    """
    wanted = wanted_rows(table, columns, several=several)
    if pause < 0:
        raise QueryError("pause is seconds, 0 or more.")
    if not wanted:
        return _report(table, [], [])
    rest.modalities.read(name)  # NotFoundError, before anything is sent to anybody
    units = {_digest(name, row): row for row in wanted}
    node = Node(rest, name, wanted[0].level, method, timeout, again=False)
    run = _Run(node, several, progress)
    progress.total(len(units), "rows")
    rows: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        book = None if journal is None else stack.enter_context(_journal(journal, rest, name, units))
        known = {unit.key: unit.output for unit in book.units("done")} if book is not None else {}
        for key, row in units.items():
            start = time.monotonic()
            rows[key] = _known(run, known.get(key)) or _one(run, row, book, key, pause)
            rows[key]["seconds"] = time.monotonic() - start
            progress.advance()
    return _report(table, wanted, [rows[_digest(name, row)] for row in wanted])


def retrieve_plan(table: pd.DataFrame, columns: Mapping[str, str] | None, *, several: bool) -> pd.DataFrame:
    """What `retrieve_table` would ask for: its report with the status "planned" or "invalid"; nobody is asked."""
    wanted = wanted_rows(table, columns, several=several)
    rows = [{"status": "invalid" if row.problem else "planned", "error": row.problem} for row in wanted]
    return _report(table, wanted, rows)


def _report(table: pd.DataFrame, wanted: Sequence[Wanted], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    names = list(dict.fromkeys(name for row in wanted for name in row.keys))
    keys = pd.DataFrame([[row.keys.get(name) for name in names] for row in wanted], columns=names, dtype="str")
    found = pd.DataFrame(list(rows), columns=list(RETRIEVE_TABLE_COLUMNS))
    frame = pd.concat([keys, found.astype(RETRIEVE_TABLE_COLUMNS)], axis=1)
    frame.index = table.index
    return frame


def _digest(name: str, row: Wanted) -> str:
    """A row without its identifiers: the journal holds none."""
    text = orjson.dumps([name, row.level, dict(row.keys), row.problem], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()


def _journal(path: str | os.PathLike[str], rest: Rest, name: str, units: Mapping[str, Wanted]) -> Journal:
    if not Path(path).exists():
        url = rest.connection.url
        return Journal.create(path, "retrieve", url, {"modality": name}, [(key, {}) for key in units])
    book = Journal.open(path)
    run = book.run
    same = (run["kind"], run["url"]) == ("retrieve", rest.connection.url)
    if not same or {unit.key for unit in book.units()} != units.keys():
        book.close()
        raise QueryError("That journal is of another table, another archive or another Orthanc; choose a new name.")
    return book


def _known(run: _Run, output: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The row of an earlier run, if all that it brought is here still: the archive is not asked."""
    if not output or run.halted is not None:
        return None
    try:
        count = sum(len(here(run.node.rest, keys)) for keys in output["keys"])
    except (OrthancError, CancelledError):
        return None
    row = dict(output["row"])
    return {**row, "status": "already-there", "here_before": count, "here": count} if count >= row["here"] else None


def _one(run: _Run, wanted: Wanted, book: Journal | None, key: str, pause: float) -> dict[str, Any]:
    if wanted.problem is not None:
        return {"status": "invalid", "error": wanted.problem}
    if run.halted is None and run.progress.cancelled:
        run.halted = "Cancelled."
    if run.halted is not None:
        return {"status": "not-sent", "error": run.halted}
    if not _noted(run, book, key, "sent"):
        return {"status": "not-sent", "error": run.halted}
    found, row = _asked(run, wanted)
    output = {"row": row, "keys": [dict(match.keys) for match in found]}
    _noted(run, book, key, _STATE.get(row["status"], "unknown"), output=output, error=row.get("error"))
    if pause and not run.progress.cancelled:
        time.sleep(pause)
    return row


def _noted(run: _Run, book: Journal | None, key: str, state: State, **more: Any) -> bool:
    """Into the journal, where there is one; False, and the run ends, when the disk does not take it."""
    try:
        if book is not None:
            book.mark(key, state, **more)
    except JournalError as error:
        run.halted = str(error)
        return False
    return True


def _asked(run: _Run, wanted: Wanted) -> tuple[list[Match], dict[str, Any]]:
    node = run.node
    query: str | None = None
    try:
        query = node.rest.modalities.query(node.name, wanted.level, wanted.query, timeout=node.timeout)
        found = matches(wanted, node.rest.queries.answers(query))
        run.failures = 0
        return _judged(run, wanted, query, found)
    except Error as error:  # of the C-FIND: what goes wrong afterwards is in the row already
        run.failures += 1
        if isinstance(error, AccessError) or (isinstance(error, OrthancError) and is_server_gone(error)):
            run.halted = str(error)
        elif run.failures >= _ENOUGH:
            run.halted = f"The archive failed {_ENOUGH} times in a row: {error}"
        return [], {"status": "failed", "error": str(error)}
    finally:
        if query is not None:
            with suppress(Error):  # Orthanc keeps 100 queries; what came of this one is known
                node.rest.queries.delete(query)


def _judged(run: _Run, wanted: Wanted, query: str, found: Sequence[Match]) -> tuple[list[Match], dict[str, Any]]:
    """What the answers of a row are, and what came of retrieving them."""
    if not found:
        text = "The archive has nothing that is this row."
        return [], {"matches": 0, "status": "not-found", "error": text}
    uids = "\\".join(match.keys[UID_OF[wanted.level]] for match in found)
    row: dict[str, Any] = {"matches": len(found), "UID": uids}
    if len(found) > 1 and not run.several:
        text = f"The archive has {len(found)} that are this row; several=True takes them all."
        return [], {**row, "status": "ambiguous", "error": text}
    within = Within(run.progress)
    parts = [bring(run.node, match.keys, match.announced, within, (query, match.number)) for match in found]
    run.halted = next((part["halted"] for part in parts if "halted" in part), run.halted)
    worst = min(parts, key=lambda part: _ORDER.index(part["status"]))
    sums: dict[str, int | None] = {}
    for name in ("announced", "here_before", "here"):
        counts = [part.get(name) for part in parts]
        sums[name] = None if None in counts else sum(int(count or 0) for count in counts)
    return list(found), {**row, "status": worst["status"], "error": worst.get("error"), **sums}
