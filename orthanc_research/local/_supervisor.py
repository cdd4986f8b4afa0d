"""The process between a notebook and its Orthanc: it outlives the notebook just long enough to clean up.

Run as `python -I -S _supervisor.py`, standard library only. It reads one JSON command a line on its standard input and
answers each with one JSON line:

    {"do": "start", "command", "environment", "log"}   {"pid"}
    {"do": "status"}                                   {"pid", "code"}: code is null while it runs
    {"do": "stop", "grace"}                            {"pid", "code"}: SIGTERM, and SIGKILL after `grace` seconds
    {"do": "close"}                                    {}: as when the owner dies

When the owner has died (kill -9 included), closed the pipe or asked for it, the server is ended and the temporary
folder removed. A parent-death signal alone would not do: it fires when the *thread* that started the server ends, and
it leaves the storage behind. It does serve for the last case, that this process itself is killed: this process has one
thread only.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_POLITE = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_POLL = 0.5  # seconds, where the kernel has no pidfd


class Supervisor:
    """One server at a time, in one folder, for one owner."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.owner: int = setup["owner"]
        self.folder: str | None = setup["temporary"]
        self.grace: float = setup["grace"]
        self.lock: int = setup["lock"]
        self.server: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Obey until the owner is gone or has asked for the end."""
        try:
            watched = [0]
            descriptor = _watch(self.owner)
            if descriptor is not None:
                watched.append(descriptor)
            pending = b""
            while os.getppid() == self.owner:
                ready, _, _ = select.select(watched, [], [], None if descriptor is not None else _POLL)
                if descriptor in ready:
                    return
                if 0 not in ready:
                    continue
                received = os.read(0, 1 << 16)
                if not received:
                    return
                *lines, pending = (pending + received).split(b"\n")
                for line in lines:
                    self.obey(json.loads(line))
        finally:
            self.end()

    def obey(self, order: dict[str, Any]) -> None:
        """Do one command and answer."""
        try:
            match order["do"]:
                case "start":
                    self.start(order["command"], order["environment"], order["log"])
                case "stop":
                    self.stop(order["grace"])
                case "close":
                    self.end()
                    _say({})
                    os._exit(0)
        except OSError as error:
            _say({"error": str(error)})
            return
        server = self.server
        _say({"pid": server.pid, "code": server.poll()} if server else {"pid": None, "code": None})

    def start(self, command: list[str], environment: dict[str, str], log: str) -> None:
        """Start the server; what it prints goes to its log."""
        self.stop(0)
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as sink:  # noqa: PTH123
            self.server = subprocess.Popen(  # noqa: S603 - the command of the owner
                command,
                env=environment,
                cwd=Path(log).parent,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                # The server holds the folder's lock too, so that the folder is taken for as long as either lives.
                pass_fds=(self.lock,),
                preexec_fn=_die_with(os.getpid()),  # safe here: one thread
            )

    def stop(self, grace: float) -> None:
        """End the server if it runs, at once when `grace` is 0."""
        server = self.server
        if server is None or server.poll() is not None:
            return
        if grace:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(grace)
        if server.poll() is None:
            server.kill()
            server.wait()

    def end(self) -> None:
        """End the server, remove what was temporary; nothing polite interrupts it."""
        for number in _POLITE:
            signal.signal(number, lambda _number, _frame: None)
        self.stop(0 if self.folder else self.grace)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def _watch(owner: int) -> int | None:
    """A descriptor that is readable once the owner is dead; None where the system has none."""
    try:
        return os.pidfd_open(owner)
    except (AttributeError, OSError):
        return None


def _die_with(parent: int) -> Any:
    """What the server does before it becomes Orthanc: ask the kernel (Linux) to kill it when this process is killed."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # killed in between: the signal would never come
            os._exit(1)

    return arrange


def _say(answer: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):  # the owner has just died; the loop will see it
        os.write(1, json.dumps(answer).encode() + b"\n")


def _leave(_number: int, _frame: object) -> NoReturn:
    sys.exit(0)  # through `finally`: the machine shuts down, or somebody ended this process politely


def main() -> None:
    """The setup is the one argument."""
    for number in _POLITE:
        signal.signal(number, _leave)  # a handler, not SIG_IGN, which the server would inherit
    Supervisor(json.loads(sys.argv[1])).run()


if __name__ == "__main__":
    main()
