"""Many units at once: one bounded, ordered, cancellable thread map, and worker processes that may die.

The server is shared with clinicians, so a window is small (`MAX_THREADS` at most) and units are started only as results
are taken: a caller that stops reading stops the work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from orthanc_research.progress import Progress, Silent
from orthanc_research.workers import WorkerDiedError, Workers

__all__ = ["MAX_THREADS", "Outcome", "WorkerDiedError", "process_map", "thread_map"]

MAX_THREADS = 8

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T, R]):
    """One unit's end: its result, or the error that it raised."""

    unit: T
    result: R | None = None
    error: Exception | None = None

    def get(self) -> R:
        """The result; raises the unit's error."""
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # None only where R itself is optional


def thread_map(
    work: Callable[[T], R],
    units: Iterable[T],
    *,
    workers: int = 4,
    progress: Progress | None = None,
    fatal: tuple[type[Exception], ...] = (),
) -> Generator[Outcome[T, R], None, None]:
    """Do `work(unit)` on up to `workers` threads; yield an `Outcome` a unit, in the order of the units.

    A unit's exception is its outcome, unless it is one of `fatal` (wrong password, say), which is raised at once. When
    `progress.cancelled` turns true no further unit starts; those under way end and are yielded.
    """
    progress = progress or Silent()
    count = max(1, min(workers, MAX_THREADS))
    queue = iter(units)
    pending: deque[tuple[T, Future[R]]] = deque()
    pool = ThreadPoolExecutor(count, thread_name_prefix="orthanc-research")
    try:
        while True:
            # Twice the threads are in flight, so that one slow unit at the head does not idle the others.
            while len(pending) < 2 * count and not progress.cancelled:
                try:
                    unit = next(queue)
                except StopIteration:
                    break
                pending.append((unit, pool.submit(work, unit)))
            if not pending:
                return
            yield _outcome(*pending.popleft(), fatal)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def process_map(
    work: Callable[[T], R],
    units: Iterable[T],
    *,
    workers: int = 2,
    seconds: float = 3600,
    progress: Progress | None = None,
) -> Iterator[Outcome[T, R]]:
    """As `thread_map` in worker processes: a unit whose worker dies is one `WorkerDiedError`, and the others go on.

    `work`, units and results must pickle, and `work` must be a module's function: workers do not run the caller's
    script. A worker that takes longer than `seconds` for a unit is ended.
    """
    pool = Workers(min(workers, MAX_THREADS))
    try:
        yield from thread_map(lambda unit: pool.call(seconds, work, unit), units, workers=workers, progress=progress)
    finally:
        pool.close()


def _outcome(unit: T, future: Future[R], fatal: tuple[type[Exception], ...]) -> Outcome[T, R]:
    try:
        return Outcome(unit, result=future.result())
    except fatal:
        raise
    except Exception as error:  # noqa: BLE001 - a unit's failure is data here; the caller decides
        return Outcome(unit, error=error)
