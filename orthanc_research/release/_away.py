"""Workers of an executor that de-identify: each takes the key from its own environment, and the journal stays here."""

from __future__ import annotations

import pickle
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from orthanc_research.deid import Key, Profile
from orthanc_research.errors import CancelledError, DeidError, QueryError
from orthanc_research.parallel import MAX_THREADS, unwanted
from orthanc_research.progress import Progress
from orthanc_research.release import _work
from orthanc_research.spread import Needs, Unfit, executor_of, needs, on_threads, share
from orthanc_research.workers import WorkerDiedError

__all__ = ["Away", "NoWorkerError", "reference"]

R = TypeVar("R")
_LOOK = 0.25


def reference(key: Any) -> str:
    """The variable of the environment that a key was given by, which workers have too; "" for any other way."""
    return key.removeprefix("env:") if isinstance(key, str) and key.startswith("env:") else ""


class NoWorkerError(Exception):
    """None that could do it; of the instances that says nothing. The message is a sentence for their rows."""


class Away:
    """As `Bench`, on an executor. What is sent is originals and what patients are called, and never the key."""

    def __init__(
        self, executor: Executor, variable: str, key: Key, profile: Profile, target: Path | None, progress: Progress
    ) -> None:
        if not variable:
            raise QueryError("De-identification elsewhere needs Project(…, key='env:NAME'): a key does not travel.")
        if on_threads(executor):
            raise QueryError("De-identification on threads of this process is workers=; give processes or a cluster.")
        self._until_done = ExitStack()
        wanted = self._until_done.enter_context(needs(target, [], (variable, key.id)))
        self._executor = executor_of(executor, wanted, progress)
        self._given = (profile.to_json(), wanted)
        self.width = min(MAX_THREADS, share(self._executor, MAX_THREADS)[0])

    def call(self, function: Callable[..., R | None], *arguments: Any) -> R:
        """`function(*arguments)` on a worker, at the second try if need be.

        `WorkerDiedError` when workers died of it, `NoWorkerError` when none could be had, and `CancelledError` when it
        is unwanted.
        """
        try:
            return self._call(function, arguments)
        except NoWorkerError:
            return self._call(function, arguments)

    def _call(self, function: Callable[..., R | None], arguments: tuple[Any, ...]) -> R:
        try:
            future: Future[R] = self._executor.submit(_done, _Sealed(pickle.dumps((function, arguments))), *self._given)
        except Exception as error:  # noqa: BLE001 - each executor has its own for being broken
            raise _lost(error) from None
        while not wait([future], _LOOK).done:  # not by result(_LOOK): what ends just then would be a TimeoutError
            if unwanted():
                future.cancel()
                raise CancelledError("Nobody waits for this any more.")
        try:
            return future.result()
        except DeidError:
            raise
        except Exception as error:  # noqa: BLE001 - each executor has its own for a worker that died
            raise _lost(error) from None

    def close(self) -> None:
        """The executor is the caller's."""
        self._until_done.close()


def _lost(error: Exception) -> Exception:
    """A scheduler that gave up on a task has tried it on several workers: then it is the task. Else it is no fault of
    the instances.
    """
    name = type(error).__name__
    if isinstance(error, Unfit):
        return NoWorkerError(str(error))
    if name == "KilledWorker":
        return WorkerDiedError(f"Its worker died ({name}).")
    return NoWorkerError(f"Its worker died ({name}); go on with a new executor if need be.")


class _Sealed:
    """What a scheduler may keep, show and write into its logs says nothing."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.once = secrets.token_hex(8)  # a scheduler that knows a task by its arguments must not take it for another

    def __repr__(self) -> str:
        return "<sealed>"


# One run's key and profile at a time: other threads of this process may be at work for another project.
_turn = threading.Lock()
_for: list[tuple[Any, str]] = []


def _done(sealed: _Sealed, profile: str, wanted: Needs) -> Any:
    """In the worker; `Unfit` where it cannot. What is raised has no chain, which might hold values."""
    wanted.check()
    function, arguments = pickle.loads(sealed.content)  # noqa: S301 - of the driver's own
    with _turn:
        if _for != [(wanted.key, profile)]:
            _for.clear()
            _work.begin(wanted.secret(), profile)
            _for.append((wanted.key, profile))
        return function(*arguments)
