"""A private Orthanc: one process, own ports, own storage, gone with its owner."""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import socket
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orthanc_research.errors import OrthancError
from orthanc_research.files import atomic_write
from orthanc_research.local._config import Settings, check, configuration
from orthanc_research.local._find import provide
from orthanc_research.local._folder import sweep_temporary, take, temporary
from orthanc_research.local._process import Supervised
from orthanc_research.progress import Progress

__all__ = ["OrthancServer"]

_ATTEMPTS = 5  # each with new ports: between choosing one and taking it another program may be faster
_SHOWN = 12  # lines of the log in an error


class OrthancServer:
    """A private Orthanc on free ports of this machine, with a random password and storage of its own.

    `version` is as for `provide`. Without a `folder` the storage is temporary and goes at the end; with one it stays
    and the next server finds it. `dicom=True` listens for DICOM too, from modalities that are registered with their
    title and address only. `config` adds to Orthanc's configuration (`QueryError` for what would open the server).

    The server ends with `close()`, with the `with` block, when nothing refers to it any more, when the program ends,
    and when the program is killed. `OrthancError` when it cannot be had or does not start, with the end of its log.
    """

    def __init__(
        self,
        version: str | None = None,
        folder: str | os.PathLike[str] | None = None,
        dicom: bool = False,
        config: Mapping[str, Any] | None = None,
        *,
        timeout: float = 30.0,
        progress: Progress | bool | None = None,
    ) -> None:
        if os.name == "nt":
            raise OrthancError("A private Orthanc needs Linux or macOS; on Windows start Orthanc and connect to it.")
        self._extra = dict(config or {})
        check(self._extra)
        self._dicom = dicom
        self._timeout = timeout
        self._binary = provide(version, progress=progress)
        self._extra = {**self._binary.defaults, **self._extra}
        self._temporary = folder is None
        if folder is None:
            sweep_temporary()
        self.folder = temporary() if folder is None else Path(folder).expanduser().absolute()
        self.log = self.folder / "orthanc.log"
        self.auth = _Auth(("ores", secrets.token_urlsafe(24)))
        self._supervise()
        try:
            self._start_somewhere()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Its address, such as "http://127.0.0.1:40123"."""
        return f"http://127.0.0.1:{self._settings.http_port}"

    @property
    def aet(self) -> str:
        """Its DICOM application entity title."""
        return self._settings.aet

    @property
    def dicom_port(self) -> int | None:
        """The port where it listens for DICOM; None without `dicom=True`."""
        return self._settings.dicom_port

    @property
    def plugins(self) -> Path | None:
        """The folder of the plugins that came with this Orthanc, for `config={"Plugins": [...]}`; None without any."""
        return self._binary.plugins

    def restart(self) -> None:
        """End it, if it runs, and start it again: same address, password and storage.

        Ending takes Orthanc some 3 s; after `kill()` there is nothing to wait for.
        """
        if self._temporary and not self._finalizer.alive:
            raise OrthancError("This private Orthanc is closed, and its temporary storage gone; start a new one.")
        if not self._supervised.alive:  # closed, or killed from outside; then the kernel has ended the server
            self._finalizer.detach()
            self._supervised.abandon()
            self._supervise()
        self._supervised.stop(kill=False)
        self._start()

    def kill(self) -> None:
        """End it at once, as a crash would; the storage stays, for `restart()`."""
        self._supervised.stop(kill=True)

    def close(self) -> None:
        """End it; temporary storage is removed. Closing twice is fine."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "" if self._finalizer.alive else ", closed"
        return f"<OrthancServer {self.version} at {self.url}{state}>"

    def _supervise(self) -> None:
        """A supervisor for the folder, which this object must not outlive."""
        lock = take(self.folder)
        self._supervised = Supervised(self.folder, lock, temporary=self._temporary, log=self.log)
        self._finalizer = weakref.finalize(self, self._supervised.close)

    def _start_somewhere(self) -> None:
        """Start on ports that are free; on other ones when somebody takes them meanwhile."""
        for attempt in range(1, _ATTEMPTS + 1):
            http_port, dicom_port = _free_ports()
            self._settings = Settings(
                self.folder, *self.auth, http_port, dicom_port if self._dicom else None, self._extra
            )
            try:
                self._start()
            except _PortTakenError:
                if attempt == _ATTEMPTS:
                    raise
            else:
                return

    def _start(self) -> None:
        config = self.folder / "orthanc.json"
        with atomic_write(config) as stream:
            stream.write(json.dumps(configuration(self._settings), indent=1).encode())
        command = [*self._binary.command, str(config)]
        self.pid = self._supervised.start(command, dict(self._binary.environment), self.log)
        deadline = time.monotonic() + self._timeout
        while (version := self._answers()) is None:
            code = self._supervised.code()
            if code is not None:
                raise self._failure(f"The private Orthanc did not start (exit {code})")
            if time.monotonic() > deadline:
                self._supervised.stop(kill=True)
                raise OrthancError(f"The private Orthanc did not answer within {self._timeout:g} s.{self._log_end()}")
            time.sleep(0.02)
        self.version = version

    def _answers(self) -> str | None:
        """Its version, once it is there and asks for the password that only it and we know."""
        with suppress(OSError, http.client.HTTPException, ValueError, KeyError):
            if _get_system(self._settings.http_port, None, timeout=1)[0] != 401:
                return None  # somebody else's server
            status, body = _get_system(self._settings.http_port, self.auth, timeout=10)
            if status == 200:
                return str(json.loads(body)["Version"])
        return None

    def _failure(self, text: str) -> OrthancError:
        for port in (self._settings.http_port, self._settings.dicom_port):
            if port is not None and not _is_free(port):
                return _PortTakenError(f"{text}: another program has taken port {port}.")
        return OrthancError(f"{text}.{self._log_end()}")

    def _log_end(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN:]
        except OSError:
            return ""
        text = "\n  ".join(lines).replace(self.auth[1], "***")
        return f" The end of its log ({self.log}):\n  {text}" if lines else ""


class _Auth(tuple[str, str]):
    """(user, password) that does not show the password when printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"({self[0]!r}, '***')"


class _PortTakenError(OrthancError):
    """Not this server's fault: try another port."""


def _get_system(port: int, auth: tuple[str, str] | None, *, timeout: float) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        headers = {}
        if auth:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode()
        connection.request("GET", "/system", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(1 << 16)
    finally:
        connection.close()


def _free_ports() -> tuple[int, int]:
    """Two ports that nobody has at this moment, on any interface."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("", 0))  # every interface: Orthanc will listen there, whatever it is told
        other.bind(("", 0))
        return int(one.getsockname()[1]), int(other.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True
