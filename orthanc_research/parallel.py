"""Many units at once: one bounded, ordered, cancellable thread map.

The server is shared with clinicians, so a window is small (`MAX_THREADS` at most) and units are started only as results
are taken: a caller that stops reading stops the work. What is under way then has `GRACE` seconds to end; after that its
thread is told, by `unwanted`, and whatever waits for a server asks that twice a second. The caller's own thread is
told the same within `reporting`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from orthanc_research.errors import CancelledError
from orthanc_research.progress import Progress, Silent, shown

__all__ = [
    "GRACE",
    "MAX_THREADS",
    "UNWANTED",
    "Outcome",
    "ahead",
    "pause",
    "reporting",
    "thread_map",
    "unwanted",
]

MAX_THREADS = 8
GRACE = 1.5
# Longer than that, so that those on the threads end first, and as long as Orthanc may take to end its jobs.
PATIENCE = 3.0
UNWANTED = "It was stopped on request, while Orthanc had not answered."
_LOOK = 0.2  # seconds between looks at whether the user wants to stop

_here = threading.local()

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


@contextmanager
def reporting(progress: Progress | bool | None, description: str) -> Iterator[Progress]:
    """The progress of a run (`shown`); what this thread itself waits for is left `PATIENCE` seconds after a Cancel."""
    with shown(progress, description) as told:
        before, _here.watch = getattr(_here, "watch", None), _Watch(told)
        try:
            yield told
        finally:
            _here.watch = before


class _Watch:
    """Whether the user has wanted to stop for a while; asked now and then."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._since: float | None = None

    def over(self) -> bool:
        if not self._progress.cancelled:
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since > PATIENCE


def unwanted() -> bool:
    """Whether nobody waits any more for what this thread waits for."""
    watch: _Watch | None = getattr(_here, "watch", None)
    return _abandoned() or (watch is not None and watch.over())


def _abandoned() -> bool:
    """Whether nobody waits for the work of this thread any more."""
    stop: threading.Event | None = getattr(_here, "stop", None)
    return stop is not None and stop.is_set()


def pause(seconds: float) -> None:
    """Sleep; `CancelledError` as soon as nobody waits for the work of this thread any more."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if unwanted():
            raise CancelledError(UNWANTED)
        stop: threading.Event | None = getattr(_here, "stop", None)
        (time.sleep if stop is None else stop.wait)(min(left, _LOOK))


def thread_map(
    work: Callable[[T], R],
    units: Iterable[T],
    *,
    workers: int = 4,
    progress: Progress | None = None,
    fatal: tuple[type[Exception], ...] = (),
    to_the_end: bool = False,
    window: int = 0,
) -> Generator[Outcome[T, R], None, None]:
    """Do `work(unit)` on up to `workers` threads; yield an `Outcome` a unit, in the order of the units.

    A unit's exception is its outcome, unless it is one of `fatal` (wrong password, say), which is raised at once. When
    `progress.cancelled` turns true no further unit starts; those under way end and are yielded, but for those that do
    not end within `GRACE` seconds. `to_the_end` is for units that end by themselves then, as those of another map do:
    all that come are taken. `window` is how many units may be under way, or done and not yet yielded, if that is more
    than twice the threads: for who takes several at once.
    """
    progress = progress or Silent()
    count = max(1, min(workers, MAX_THREADS))
    queue = iter(units)
    pending: deque[tuple[T, Future[R]]] = deque()
    stop = threading.Event()
    pool = _pool(count, stop)

    def begin(unit: T) -> R:
        if stop.is_set():
            raise CancelledError("It was not begun.")
        return work(unit)

    try:
        while True:
            # Twice the threads are in flight, so that one slow unit at the head does not idle the others.
            while len(pending) < max(2 * count, window) and (to_the_end or not (progress.cancelled or _abandoned())):
                try:
                    unit = next(queue)
                except StopIteration:
                    break
                pending.append((unit, pool.submit(begin, unit)))
            if not pending:
                if _abandoned():  # what is above this must not take it for whole
                    raise CancelledError(UNWANTED)
                return
            _wait(pending[0][1], progress, stop)
            unit, future = pending.popleft()
            if not (stop.is_set() and isinstance(future.exception(), CancelledError)):
                yield _outcome(unit, future, fatal)
    finally:
        _leave(pool, [future for _, future in pending], stop, GRACE)


def ahead(items: Iterator[T], progress: Progress) -> Generator[T, None, None]:
    """The same items; each is begun on a thread of its own when the one before it is handed out.

    When the caller stops reading, the one under way is given up; so it is, `GRACE` seconds later, on a Cancel.
    """
    end: Any = object()
    stop = threading.Event()
    pool = _pool(1, stop)
    future = pool.submit(next, items, end)
    try:
        while True:
            _wait(future, progress, stop)
            item = future.result()
            if item is end:
                return
            future = pool.submit(next, items, end)
            yield item
    finally:
        _leave(pool, [future], stop, 0)


def _pool(threads: int, stop: threading.Event) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "orthanc-research", initializer=setattr, initargs=(_here, "stop", stop))


def _wait(future: Future[Any], progress: Progress, stop: threading.Event) -> None:
    """Until it has ended, by being given up if need be."""
    since: float | None = None
    while True:
        try:
            future.exception(_LOOK)
        except TimeoutError:
            if progress.cancelled:
                since = since or time.monotonic()
            if _abandoned() or (since is not None and time.monotonic() - since > GRACE):
                stop.set()
        else:
            return


def _leave(pool: ThreadPoolExecutor, under_way: list[Future[Any]], stop: threading.Event, grace: float) -> None:
    """End the pool: what has not begun never does, and what has may take so many seconds to end by itself."""
    pool.shutdown(wait=False, cancel_futures=True)
    try:
        # One that was cancelled would count as never ended.
        wait_for([future for future in under_way if not future.cancelled()], grace)
    finally:  # a second Ctrl-C
        stop.set()
        pool.shutdown(wait=True)


def _outcome(unit: T, future: Future[R], fatal: tuple[type[Exception], ...]) -> Outcome[T, R]:
    try:
        return Outcome(unit, result=future.result())
    except fatal:
        raise
    except Exception as error:  # noqa: BLE001 - a unit's failure is data here; the caller decides
        return Outcome(unit, error=error)
