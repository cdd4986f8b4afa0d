"""Workers of an executor that de-identify: each takes the key from its own environment, and the journal stays here."""

from __future__ import annotations

import os
import pickle
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
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

__all__ = ["Away", "reference"]

R = TypeVar("R")
_LOOK = 0.25


def reference(key: Any) -> str:
    """The variable of the environment that a key was given by, which workers have too; "" for any other way."""
    return key.removeprefix("env:") if isinstance(key, str) and key.startswith("env:") else ""


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
        wanted = None
        if target is not None:
            wanted = self._until_done.enter_context(needs(target, []))
        self._executor = executor_of(executor, wanted, progress)
        self._given = (variable, key.id, profile.to_json(), wanted)
        self.width = min(MAX_THREADS, share(self._executor, MAX_THREADS)[0])

    def call(self, function: Callable[..., R | None], *arguments: Any) -> R:
        """`function(*arguments)` on a worker; `WorkerDiedError` when it died on it, `CancelledError` when unwanted."""
        try:
            future: Future[R] = self._executor.submit(_done, _Sealed(pickle.dumps((function, arguments))), *self._given)
        except Exception as error:  # noqa: BLE001 - each executor has its own for being broken
            raise WorkerDiedError(f"Its worker died ({type(error).__name__}).") from None
        while True:
            try:
                return future.result(_LOOK)
            except TimeoutError:
                if future.done():
                    raise
                if unwanted():
                    future.cancel()
                    raise CancelledError("Nobody waits for this any more.") from None
            except (DeidError, OSError):
                raise
            except Exception as error:  # noqa: BLE001 - each executor has its own for a worker that died
                raise WorkerDiedError(f"Its worker died ({type(error).__name__}).") from None

    def close(self) -> None:
        """The executor is the caller's."""
        self._until_done.close()


class _Sealed:
    """What a scheduler may keep, show and write into its logs says nothing."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.once = secrets.token_hex(8)  # a scheduler that knows a task by its arguments must not take it for another

    def __repr__(self) -> str:
        return "<sealed>"


# One run's key and profile at a time: other threads of this process may be at work for another project.
_turn = threading.Lock()
_for: list[tuple[str, str]] = []


def _done(sealed: _Sealed, variable: str, key_id: str, profile: str, wanted: Needs | None) -> Any:
    """In the worker. What is raised has no chain, which might hold values."""
    try:
        if wanted is not None:
            wanted.check()
    except Unfit as reason:
        raise DeidError(str(reason)) from None
    function, arguments = pickle.loads(sealed.content)  # noqa: S301 - of the driver's own
    with _turn:
        if _for != [(key_id, profile)]:
            _for.clear()
            _work.begin(_secret(variable, key_id), profile)
            _for.append((key_id, profile))
        return function(*arguments)


def _secret(variable: str, key_id: str) -> str:
    text = os.environ.get(variable, "").strip()
    if not text:
        raise DeidError(f"Its worker has no environment variable {variable}, which holds the key.")
    if Key.parse(text).id != key_id:
        raise DeidError(f"{variable} of its worker holds another key than the project's.")
    return text
