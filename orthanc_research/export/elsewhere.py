"""An export on an executor: the series are its tasks, each as it would be done here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orthanc_research.errors import QueryError
from orthanc_research.export.plan import Planned
from orthanc_research.export.series import CANCELLED, Row, Task, export_one, not_sent
from orthanc_research.files import sweep
from orthanc_research.parallel import Outcome
from orthanc_research.pixels import Reading
from orthanc_research.progress import Progress, Silent
from orthanc_research.rest import Connection, Rest
from orthanc_research.spread import Needs, Unfit, executor_of, needs, on_threads, share, spread, travels

__all__ = ["export_elsewhere"]

Found = tuple[list[Row], str | None]


@dataclass(frozen=True, slots=True)
class _Shipped:
    """A series, and all that a worker needs for it; no client, no secret."""

    planned: Planned
    connection: Connection = field(repr=False)
    folder: str
    form: str
    how: Reading
    threads: int
    needs: Needs | None = field(repr=False)


def export_elsewhere(
    task: Task, series: Sequence[Planned], progress: Progress, given: Executor
) -> tuple[list[tuple[Planned, Row]], bool]:
    """The rows of all, in their order; and whether none of them was given up. `QueryError` for a typed password."""
    connection = task.rest.connection
    with ExitStack() as until_done:
        wanted = None
        if not on_threads(given):
            if not travels(connection):
                raise QueryError("Other processes need Orthanc(…, auth='env:NAME'): passwords do not travel.")
            wanted = until_done.enter_context(needs(task.folder, [connection]))
        executor = executor_of(given, wanted, progress)
        tasks, threads = share(executor, task.workers)
        folder = str(task.folder.resolve())
        units = [_Shipped(each, connection, folder, task.form, task.how, threads, wanted) for each in series]
        how: dict[str, Any] = {"server": _server, "at_once": {"": tasks}, "again": _again, "progress": progress}
        found: dict[str, list[Row]] = {}
        with closing(spread(executor, _export, units, **how)) as outcomes:
            for outcome in outcomes:
                found[outcome.unit.planned.series] = _rows(outcome)
                progress.advance()
    sweep(task.folder)  # what a worker of this machine left that died
    _apart(task, series, found)
    missing = [not_sent(CANCELLED)]
    rows = [(each, row) for each in series for row in found.get(each.series, missing)]
    return rows, not any(row["status"] == "not-sent" for _, row in rows)


def _export(shipped: _Shipped) -> Found:
    try:
        if shipped.needs is not None:
            shipped.needs.check()
    except Unfit as reason:
        return [not_sent(str(reason))], None
    with Rest(shipped.connection) as rest:
        task = Task(rest, Path(shipped.folder), shipped.form, shipped.how, shipped.threads, Silent())
        rows, halted = export_one(task, shipped.planned)
    lacks = "" if shipped.needs is None else shipped.needs.lacks()
    if lacks and any(row["status"] in ("failed", "partial", "no-pixels") for row in rows):
        return [not_sent(lacks)], None
    return rows, halted


def _server(shipped: _Shipped) -> str:
    return ""  # an export has one


def _again(outcome: Outcome[_Shipped, Found]) -> bool:
    """A worker that was not fit, or that died; a series is tried twice by whoever does it."""
    if outcome.error is not None:
        return type(outcome.error).__name__ != "KilledWorker"
    rows, halted = outcome.result or ([], None)
    return halted is None and any(row["status"] == "not-sent" for row in rows)


def _rows(outcome: Outcome[_Shipped, Found]) -> list[Row]:
    if outcome.error is not None:
        return [not_sent(f"Its worker died ({type(outcome.error).__name__}).")]
    rows, _ = outcome.result or ([], None)
    return rows


def _apart(task: Task, series: Sequence[Planned], found: dict[str, list[Row]]) -> None:
    """Write those again, one after the other, that took the same name at the same time: one UID under two patients."""
    count = Counter(str(row["file"]) for rows in found.values() for row in rows if row.get("file"))
    twice = {name for name, times in count.items() if times > 1}
    for each in series:
        if any(str(row.get("file")) in twice for row in found.get(each.series, ())):
            found[each.series] = export_one(task, each)[0]
