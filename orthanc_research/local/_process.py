"""The owner's side of the supervisor: one line of JSON there, one line back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from orthanc_research.errors import OrthancError

__all__ = ["Supervised"]

_GRACE = 10.0  # seconds between SIGTERM and SIGKILL; Orthanc takes 2.5-3.8 to end by itself


class Supervised:
    """A supervisor process for one folder. `close` is safe to call twice, from any thread and in a forked child.

    `lock` is the descriptor that holds the folder; it is handed over, this process keeps no copy.
    """

    def __init__(self, folder: Path, lock: int, *, temporary: bool, log: Path) -> None:
        self._owner = os.getpid()
        self._turn = threading.Lock()
        self._closed = False
        self._temporary = str(folder) if temporary else None
        setup = {"owner": self._owner, "temporary": self._temporary, "grace": _GRACE, "lock": lock}
        script = Path(__file__).with_name("_supervisor.py")
        try:
            with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as sink:  # noqa: PTH123
                self._process = subprocess.Popen(  # noqa: S603 - our own script, by this very Python
                    [sys.executable, "-I", "-S", str(script), json.dumps(setup)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=sink,
                    cwd="/",
                    pass_fds=(lock,),
                    start_new_session=True,  # else Ctrl-C in a notebook would reach the server
                )
        finally:
            os.close(lock)

    def start(self, command: list[str], environment: dict[str, str], log: Path) -> int:
        """Start the server and give its process ID."""
        answer = self._ask({"do": "start", "command": command, "environment": environment, "log": str(log)})
        return int(answer["pid"])

    def code(self) -> int | None:
        """How the server ended, None while it runs."""
        code = self._ask({"do": "status"})["code"]
        return None if code is None else int(code)

    def stop(self, *, kill: bool) -> None:
        """End the server, politely or at once; the supervisor stays."""
        self._ask({"do": "stop", "grace": 0 if kill else _GRACE})

    def close(self) -> None:
        """End everything and wait for it."""
        if self._closed or os.getpid() != self._owner:  # a forked child has no say
            return
        self._closed = True
        with suppress(OrthancError):  # killed already, and the server with it
            self._ask({"do": "close"})
        self.abandon()
        if self._temporary:  # the supervisor has removed it, unless it was killed
            shutil.rmtree(self._temporary, ignore_errors=True)

    def abandon(self) -> None:
        """Let go of a supervisor that has ended or is about to; the folder stays."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.wait()

    @property
    def alive(self) -> bool:
        """Whether the supervisor itself is there."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The supervisor's own process ID."""
        return self._process.pid

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        if os.getpid() != self._owner:
            raise OrthancError("This server belongs to the process that started it; only its address is of use here.")
        to, back = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)  # both are pipes
        with self._turn:
            try:
                to.write(json.dumps(order).encode() + b"\n")
                to.flush()
                line = back.readline()
            except (OSError, ValueError) as error:
                raise OrthancError("The private Orthanc is closed, or its supervisor was killed.") from error
        if not line:
            raise OrthancError("The private Orthanc is closed, or its supervisor was killed.")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise OrthancError(f"The Orthanc program could not be started: {answer['error']}")
        return answer
