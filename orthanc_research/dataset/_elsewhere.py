"""The series of a build on an executor: processes of this machine, or workers of a cluster that share its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orthanc_research.dataset._manifest import DONE, forget_done
from orthanc_research.dataset._task import Task, run_task
from orthanc_research.errors import DatasetError
from orthanc_research.files import sweep
from orthanc_research.parallel import Outcome
from orthanc_research.progress import Progress
from orthanc_research.spread import Needs, Unfit, executor_of, needs, on_threads, share, spread, travels

__all__ = ["Shipped", "elsewhere", "run_shipped"]

Row = dict[str, Any]
_FILES = "files"  # what has been de-identified already loads no server
_MANY = 1000  # tasks that are with an executor of which nobody knows how wide it is


@dataclass(frozen=True, slots=True)
class Shipped:
    """A task and what its worker must have for it; no client, no secret."""

    task: Task
    needs: Needs | None = field(default=None, repr=False)


def run_shipped(shipped: Shipped) -> Row:
    """`run_task` where the worker is fit for it; "not-done" where it is not: another one may be."""
    try:
        if shipped.needs is not None:
            wanted = () if shipped.task.connection is None else (shipped.task.connection,)
            replace(shipped.needs, connections=wanted).check()
    except Unfit as reason:
        return {"status": "not-done", "error": str(reason)}
    row = run_task(shipped.task)
    lacks = "" if shipped.needs is None else shipped.needs.lacks()
    if lacks and row["status"] in ("failed", "partial"):
        forget_done(shipped.task.out, shipped.task.name)  # nothing of the dataset may depend on who built it
        return {"status": "not-done", "error": lacks}
    return row


def elsewhere(
    given: Executor, tasks: Sequence[Task], caps: Mapping[str, int], root: Path, progress: Progress
) -> dict[str, Row]:
    """{name: row} of each task; `caps` is how many requests at a time each server (by its address) may have.

    `DatasetError` where a password would have to travel.
    """
    connections = [task.connection for task in tasks if task.connection is not None]
    with ExitStack() as until_done:
        wanted = None
        if not on_threads(given):
            if not all(map(travels, connections)):
                raise DatasetError("Other processes need Orthanc(…, auth='env:NAME'): passwords do not travel.")
            wanted = until_done.enter_context(needs(root / DONE, connections))
        executor = executor_of(given, wanted, progress)
        shares = {url: share(executor, cap) for url, cap in caps.items()}
        units = [Shipped(_sized(task, shares), wanted) for task in tasks]
        at_once: dict[Any, int] = {url: tasks for url, (tasks, _) in shares.items()}
        at_once[_FILES] = share(executor, _MANY)[0]
        how: dict[str, Any] = {"server": _server, "at_once": at_once, "again": _again, "progress": progress}
        found: dict[str, Row] = {}
        with closing(spread(executor, run_shipped, units, **how)) as outcomes:
            for outcome in outcomes:
                found[outcome.unit.task.name] = _row(outcome)
                progress.advance()
    for name in (DONE, "frames", "volumes"):  # what a worker of this machine left that died
        sweep(root / name)
    return found


def _sized(task: Task, shares: Mapping[str, tuple[int, int]]) -> Task:
    threads = 1 if task.connection is None else shares[task.connection.url][1]
    return replace(task, out=str(Path(task.out).resolve()), threads=threads)  # a worker is in another folder


def _server(shipped: Shipped) -> str:
    return _FILES if shipped.task.connection is None else shipped.task.connection.url


def _again(outcome: Outcome[Shipped, Row]) -> bool:
    """What may go well elsewhere or later; a scheduler that gave up on a task has tried it on several workers."""
    if outcome.error is not None:
        return type(outcome.error).__name__ != "KilledWorker"
    row = outcome.result or {}
    return row.get("status") == "not-done" and not row.get("over", False)


def _row(outcome: Outcome[Shipped, Row]) -> Row:
    if outcome.error is not None:  # each executor has its own for a worker that died
        name = type(outcome.error).__name__
        return {
            "status": "not-done",
            "error": f"Its worker died ({name}); build again, with a new executor if need be.",
        }
    row = dict(outcome.result or {})
    row.pop("over", None)
    return row
