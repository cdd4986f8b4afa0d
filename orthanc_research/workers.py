"""A few processes of our own for native code that may crash: a crash ends the worker, and is an error for its caller.

Not multiprocessing's: "spawn" runs the user's script once more in each worker, which breaks every script that does not
hide behind `if __name__ == "__main__"`; "fork" copies the locks and sockets of a notebook's threads. A worker here is
`python -c` with two pipes, on every system, and knows of the package only what it is asked for.
"""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from queue import LifoQueue
from threading import Lock, Timer
from typing import IO, Any, TypeVar

from orthanc_research.errors import Error

__all__ = ["NoWorkersError", "WorkerDiedError", "Workers", "shared"]

R = TypeVar("R")

# The package's own __init__ would load pandas, pyarrow and httpx: four times the time and the memory of a worker.
_START = """
import sys, types
package = types.ModuleType("orthanc_research")
package.__path__ = [sys.argv[1]]
sys.modules["orthanc_research"] = package
from orthanc_research.workers import serve
serve()
"""
_READY = "ready"


class WorkerDiedError(Error):
    """The worker process of this unit ended without an answer: a native decoder crashed on it, most likely."""


class NoWorkersError(Error):
    """No worker process can be started here: there is no python to start, or the system forbids it."""


class Workers:
    """At most `count` processes, each started when it is needed first, that live until `close`.

    `call` may be used by several threads; each has a worker to itself while it waits. `without` are variables of the
    environment that they do not get.
    """

    def __init__(self, count: int = 2, *, without: Collection[str] = ()) -> None:
        self._without = frozenset(without)
        self._slots: LifoQueue[subprocess.Popen[bytes] | None] = LifoQueue()
        self._living: set[subprocess.Popen[bytes]] = set()
        self._lock = Lock()
        for _ in range(max(1, count)):
            self._slots.put(None)

    def call(self, seconds: float, function: Callable[..., R], *arguments: Any) -> R:
        """`function(*arguments)` in a worker: its result, or what it raised; all three must pickle.

        `WorkerDiedError` when the worker died on it, or took longer than `seconds` and was killed; `NoWorkersError`
        when none can be started.
        """
        worker = self._slots.get()
        answered = False
        try:
            if worker is None or worker.poll() is not None:
                worker = self._started(worker)
            fine, result = _asked(worker, seconds, (function, arguments))
            answered = True
        finally:
            # Of one that did not answer (it died, or the user stopped the run) nothing else may be asked.
            if worker is not None and not answered:
                self._end(worker)
            self._slots.put(worker if answered else None)
        if fine:
            return result  # type: ignore[no-any-return]
        raise result

    def close(self) -> None:
        """End all workers."""
        for worker in list(self._living):
            self._end(worker)

    def _started(self, former: subprocess.Popen[bytes] | None) -> subprocess.Popen[bytes]:
        if former is not None:
            self._end(former)
        worker = _start(self._without)
        with self._lock:
            self._living.add(worker)
        try:
            ready = _asked(worker, 120, None)
        except WorkerDiedError as error:
            self._end(worker)
            raise NoWorkersError("No worker process for decoding can be started here.") from error
        if ready != _READY:
            self._end(worker)
            raise NoWorkersError("What was started as a worker process is none.")
        return worker

    def _end(self, worker: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._living.discard(worker)
        worker.kill()
        for stream in (worker.stdin, worker.stdout):
            if stream is not None:
                with suppress(OSError):  # what was not written yet has no reader any more
                    stream.close()
        worker.wait()


def _start(without: Collection[str]) -> subprocess.Popen[bytes]:
    if not sys.executable or getattr(sys, "frozen", False):  # of a packed program it is that program
        raise NoWorkersError("There is no python to start a worker process with.")
    # A group of its own: Ctrl-C is for the caller, who ends the workers.
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    given = {name: value for name, value in os.environ.items() if name not in without}
    environment = {**given, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", "-c", _START, str(Path(__file__).parent)]
    try:
        return subprocess.Popen(  # noqa: S603 - our own python, our own code
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            **options,
        )
    except OSError as error:
        raise NoWorkersError("No worker process for decoding can be started here.") from error


def _asked(worker: subprocess.Popen[bytes], seconds: float, request: Any) -> Any:
    """The worker's answer to a request."""
    late = Timer(seconds, worker.kill)
    late.daemon = True
    late.start()
    try:
        _send(worker.stdin, request)
        return pickle.load(worker.stdout)  # type: ignore[arg-type]  # noqa: S301 - from our own process
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        raise WorkerDiedError("The worker process died on this input, or was too slow; nothing came of it.") from error
    finally:
        late.cancel()


def _send(stream: IO[bytes] | None, value: Any) -> None:
    if stream is None:
        raise EOFError
    pickle.dump(value, stream, protocol=5)
    stream.flush()


def serve() -> None:
    """The life of a worker: answer requests until there are no more."""
    # What native code prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own process
        except EOFError:
            return
        if request is None:
            _send(answers, _READY)
            continue
        function, arguments = request
        try:
            answer = (True, function(*arguments))
        except Exception as error:  # noqa: BLE001 - it is the answer
            answer = (False, error)
        _send(answers, answer)


_shared: Workers | None = None
_sharing = Lock()


def shared() -> Workers:
    """The workers of this process, two; they end with it."""
    global _shared
    with _sharing:
        if _shared is None:
            _shared = Workers()
            atexit.register(_shared.close)
        return _shared


def _forget() -> None:
    """In a forked child: the workers are the parent's, whose pipes nobody else may use."""
    global _shared, _sharing
    if _shared is not None:
        atexit.unregister(_shared.close)
    _shared, _sharing = None, Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
