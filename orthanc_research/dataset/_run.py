"""The tasks of a build on threads of this process: a row each, and no server is asked more at a time than it may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from orthanc_research.dataset._task import Task, run_task
from orthanc_research.dataset._unit import Unit
from orthanc_research.parallel import thread_map
from orthanc_research.progress import Progress

if TYPE_CHECKING:
    from orthanc_research.dataset._plan import DatasetPlan

__all__ = ["caps_of", "on_threads", "stopped"]

Row = dict[str, Any]


def stopped() -> Row:
    """The row of a series that was not begun."""
    return {"status": "not-done", "error": "It was stopped before."}


def caps_of(plan: DatasetPlan) -> dict[str, int]:
    """Address → how many requests at a time a server may have: `concurrency` of its [[source]]."""
    found: dict[str, int] = {}
    for orthanc in plan._orthancs:
        url = orthanc.rest.connection.url
        found[url] = min(orthanc.workers, found.get(url, orthanc.workers))
    return found


def on_threads(
    plan: DatasetPlan, units: Sequence[Unit], workers: int, caps: Mapping[str, int], bar: Progress
) -> dict[str, Row]:
    """{name: row} of each; a server that is gone, or a full disk, is the reason of all that comes after."""
    found: dict[str, Row] = {}
    halted: list[str] = []
    gates = {url: BoundedSemaphore(min(cap, workers)) for url, cap in caps.items()}

    def one(pair: tuple[Unit, Task]) -> Row:
        unit, task = pair
        if halted:
            return {"status": "not-done", "error": halted[0]}
        rest = None if task.files else plan._orthancs[unit.source].rest
        with gates[task.connection.url] if task.connection is not None else nullcontext():
            row = run_task(task, rest, bar)
        if row.pop("over", False):
            halted.append(row["error"])
        return row

    todo = [(unit, unit.task) for unit in units if unit.task is not None]
    with closing(thread_map(one, todo, workers=workers, progress=bar)) as outcomes:
        for outcome in outcomes:
            found[outcome.unit[1].name] = outcome.get()
            bar.advance()
    return found
