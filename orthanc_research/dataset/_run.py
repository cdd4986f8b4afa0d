"""The tasks of a build, on threads of this process or with any executor: a row each, whatever happens to a worker."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from orthanc_research.dataset._task import Task, run_task
from orthanc_research.dataset._unit import Unit
from orthanc_research.errors import DatasetError
from orthanc_research.parallel import thread_map
from orthanc_research.progress import Progress

if TYPE_CHECKING:
    from orthanc_research.dataset._plan import DatasetPlan

__all__ = ["on_threads", "stopped", "with_executor"]

Row = dict[str, Any]
_LOOK = 0.2  # seconds between looks at whether the user wants to stop


def stopped() -> Row:
    return {"status": "not-done", "error": "It was stopped before."}


def on_threads(plan: DatasetPlan, units: Sequence[Unit], workers: int, bar: Progress) -> dict[str, Row]:
    found: dict[str, Row] = {}
    halted: list[str] = []

    def one(pair: tuple[Unit, Task]) -> Row:
        unit, task = pair
        if halted:
            return {"status": "not-done", "error": halted[0]}
        rest = None if task.files else plan._orthancs[unit.source].rest
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


def with_executor(executor: Executor, tasks: Sequence[Task], bar: Progress) -> dict[str, Row]:
    """Each task where the executor runs it; a worker that dies is a row of what it had."""
    if not isinstance(executor, ThreadPoolExecutor):
        for task in tasks:  # a copy is made as by a pickle
            if task.connection is not None and copy.copy(task.connection).stripped:
                raise DatasetError("Other processes need Orthanc(…, auth='env:NAME'): passwords do not travel.")
    found: dict[str, Row] = {}
    futures: dict[Future[Row], str] = {}
    for task in tasks:
        try:
            futures[executor.submit(partial(run_task, task))] = task.name
        except RuntimeError as error:  # a pool whose worker died takes nothing more
            found[task.name] = _died(error)
    waiting = set(futures)
    while waiting:
        ended, waiting = wait_for(waiting, _LOOK, "FIRST_COMPLETED")
        for future in ended:
            found[futures[future]] = _row_of(future)
            bar.advance()
        if bar.cancelled:
            waiting = {future for future in waiting if not future.cancel()}
    return found


def _row_of(future: Future[Row]) -> Row:
    try:
        row = dict(future.result())
    except FutureCancelled:
        return stopped()
    except Exception as error:  # noqa: BLE001 - each executor has its own for a worker that died
        return _died(error)
    row.pop("over", None)
    return row


def _died(error: Exception) -> Row:
    return {
        "status": "not-done",
        "error": f"Its worker died ({type(error).__name__}); build again with a new executor.",
    }
