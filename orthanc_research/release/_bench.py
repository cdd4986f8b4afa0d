"""Worker processes that hold the key: each is given it when it starts, and again when it had to be replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from queue import LifoQueue
from typing import Any, TypeVar

from orthanc_research.deid import Key, Profile
from orthanc_research.errors import CancelledError, DeidError
from orthanc_research.parallel import unwanted
from orthanc_research.release._work import begin
from orthanc_research.workers import Workers

__all__ = ["Bench"]

R = TypeVar("R")
_SECONDS = 1800.0  # for one instance: the largest multi-frame ones take minutes
_LOOK = 0.25


class Bench:
    """So many workers; `call` may be used by as many threads."""

    def __init__(self, count: int, key: Key, profile: Profile) -> None:
        self._given = (key.reveal(), profile.to_json())
        self._free: LifoQueue[Workers] = LifoQueue()
        self._all = [Workers(1, without=_holding(key)) for _ in range(count)]
        self._threads = ThreadPoolExecutor(count, "orthanc-research-deid")
        for each in self._all:
            self._free.put(each)

    def call(self, function: Callable[..., R | None], *arguments: Any) -> R:
        """`function(*arguments)` in a worker that has the key; `WorkerDiedError` when it died on it.

        `CancelledError` as soon as nobody waits for it any more; the worker is ended then.
        """
        worker = self._free.get()
        try:
            future: Future[R] = self._threads.submit(self._ask, worker, function, arguments)
            while not wait([future], _LOOK).done:  # not by result(_LOOK): what ends just then would be a TimeoutError
                if unwanted():
                    worker.close()
                    raise CancelledError("Nobody waits for this any more.")
            return future.result()
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """End the workers."""
        for each in self._all:
            each.close()
        self._threads.shutdown(wait=True)

    def _ask(self, worker: Workers, function: Callable[..., R | None], arguments: tuple[Any, ...]) -> R:
        while True:
            found = worker.call(_SECONDS, function, *arguments)
            if found is not None:
                return found
            worker.call(60, begin, *self._given)

    def __repr__(self) -> str:
        return f"<Bench of {len(self._all)}>"


def _holding(key: Key) -> list[str]:
    """The variables of the environment that hold the key: a worker is given it over its pipe alone."""
    found = []
    for name, value in os.environ.items():
        with suppress(DeidError):
            found += [name] if Key.parse(value.strip()).reveal() == key.reveal() else []
    return found
