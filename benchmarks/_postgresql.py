"""An Orthanc that keeps its index in PostgreSQL: both as Debian packages them, neither installed, neither as root.

PostgreSQL refuses to run as root, so that it runs as nobody then; it listens on the loopback alone, behind a password,
in a folder that goes with it. What the two write they write to the same disk as an Orthanc with SQLite.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

import orthanc_research as ores
from orthanc_research.local import VARIABLE, _apt
from orthanc_research.local._binary import Binary, from_tree, seal

__all__ = ["MissingError", "Postgres", "orthanc_of", "orthanc_on", "postgres"]

_PLUGIN = "libOrthancPostgreSQLIndex.so"
_SECONDS = 60.0
# What a server of a few cores is given by its guides, so that it is not the defaults of 1996 that are measured.
_SETTINGS = {"shared_buffers": "512MB", "effective_cache_size": "2GB", "max_connections": "100"}


class MissingError(Exception):
    """Something cannot be had here; the message is one sentence."""


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL that runs: where, and the process that all of its others descend from."""

    port: int
    password: str = field(repr=False)
    data: Path
    pid: int
    version: str

    def config(self) -> dict[str, Any]:
        """What Orthanc is told; the files of the images stay where they are."""
        return {
            "EnableIndex": True,
            "EnableStorage": False,
            "Host": "127.0.0.1",
            "Port": self.port,
            "Database": "postgres",
            "Username": "orthanc",
            "Password": self.password,
            "Lock": False,
        }

    def cpu(self) -> float:
        """Processor seconds so far, of the connections that have ended too."""
        process = psutil.Process(self.pid)
        spent = process.cpu_times()
        total = spent.user + spent.system + spent.children_user + spent.children_system
        for each in process.children(recursive=True):
            times = each.cpu_times()
            total += times.user + times.system
        return float(total)

    def mb(self) -> float:
        """Of its tables and their indexes on the disk, without its log of writes."""
        files = (path for path in (self.data / "base").rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files) / 1e6


@contextmanager
def postgres(disk: str | None = None) -> Iterator[Postgres]:
    """Start one in a new folder on that disk; `MissingError` where there is none to start."""
    who: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="orthanc-research-postgresql-", dir=disk) as name:
        place = Path(name)
        programs, libraries = _programs(place)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(place, nobody.pw_uid, nobody.pw_gid)
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "LD_LIBRARY_PATH": libraries}
        how: dict[str, Any] = {"env": environment, "cwd": place, "stdin": subprocess.DEVNULL, **who}
        password = secrets.token_urlsafe(24)
        _make(programs, place / "data", password, how)
        port = _free_port()
        settings = {**_SETTINGS, "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        told = [f"--{name}={value}" for name, value in settings.items()]
        with (place / "log").open("wb") as log:
            command = [str(programs / "postgres"), "-D", str(place / "data"), *told]
            server = subprocess.Popen(command, stdout=log, stderr=log, **how)
        try:
            _wait(server, port, place / "log")
            yield Postgres(port, password, place / "data", server.pid, _version(programs, how))
        finally:
            server.send_signal(signal.SIGINT)  # "fast": whoever is still connected is let go
            server.wait()


@contextmanager
def orthanc_on(binary: Binary, folder: Path, where: Postgres | None) -> Iterator[ores.LocalOrthanc]:
    """That Orthanc, with its index there; None: in SQLite, as it comes."""
    config: dict[str, Any] = dict(binary.defaults)
    if where is not None:
        config |= {"Plugins": [str((binary.plugins or folder) / _PLUGIN)], "PostgreSQL": where.config()}
    program = folder / f"orthanc-{binary.suite}"
    given = " ".join(f"{name}={shlex.quote(value)}" for name, value in binary.environment.items())
    program.write_text(f'#!/bin/sh\nexec env {given} {shlex.join(binary.command)} "$@"\n')
    program.chmod(0o700)
    with patch.dict(os.environ, {VARIABLE: str(program)}):
        orthanc = ores.LocalOrthanc(
            folder=folder / f"server-{binary.suite}-{'sqlite' if where is None else 'postgresql'}", config=config
        )
    with orthanc:
        yield orthanc


def orthanc_of(suite: str, folder: Path) -> Binary:
    """The Orthanc of a suite of Debian with its plugin for PostgreSQL; `MissingError` where they cannot be fetched."""
    tree, unpacked = folder / f"tree-{suite}", folder / f"unpacked-{suite}"
    unpacked.mkdir()
    tree.mkdir()
    _fetch(suite, ["orthanc", "orthanc-postgresql"], unpacked)
    seal(unpacked, tree, suite)
    shutil.rmtree(unpacked)
    binary = from_tree(tree)
    if binary is None or binary.plugins is None or not (binary.plugins / _PLUGIN).exists():
        raise MissingError(f"The packages of {suite} hold no Orthanc with a plugin for PostgreSQL.")
    return binary


def _programs(folder: Path) -> tuple[Path, str]:
    """The folder of PostgreSQL's programs, and where they find their libraries: this machine's own, or fetched."""
    named = shutil.which("postgres")
    places = [Path(named).resolve().parent] if named else []
    for place in (*places, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)):
        if (place / "postgres").is_file() and (place / "initdb").is_file():
            return place, ""
    release = _apt.this_release()
    if release is None:
        raise MissingError("There is no PostgreSQL on this machine, and it can be fetched on Debian and Ubuntu alone.")
    unpacked = folder / "postgresql-packages"
    unpacked.mkdir()
    _fetch(release.codename, ["postgresql"], unpacked)
    places = sorted(unpacked.glob("usr/lib/postgresql/*/bin"))
    if not places:
        raise MissingError(f"The packages of {release.codename} hold no PostgreSQL.")
    return places[-1], ":".join(map(str, unpacked.glob("usr/lib/*-linux-*")))


def _fetch(suite: str, packages: list[str], destination: Path) -> None:
    try:
        _apt.fetch(suite, packages, destination)
    except _apt.AptError as error:
        raise MissingError(f"{packages[-1]} of {suite} cannot be had: {error}") from None


def _make(programs: Path, data: Path, password: str, how: Mapping[str, Any]) -> None:
    """An empty database cluster."""
    secret = data.with_name("password")
    secret.touch(0o600)
    secret.write_text(password)
    if "user" in how:
        os.chown(secret, how["user"], how["group"])
    command = [str(programs / "initdb"), "-D", str(data), "-U", "orthanc", "-A", "scram-sha-256", "-E", "UTF8"]
    done = subprocess.run([*command, "--pwfile", str(secret)], capture_output=True, text=True, check=False, **how)
    secret.unlink()
    if done.returncode:
        raise MissingError(f"PostgreSQL could not be made ready: {(done.stderr.splitlines() or ['no reason'])[-1]}")


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until it takes connections."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace").splitlines()[-1:]
                raise MissingError(f"PostgreSQL did not start: {(said or ['no reason'])[0]}") from None
            time.sleep(0.05)
        else:
            return


def _version(programs: Path, how: Mapping[str, Any]) -> str:
    told = subprocess.run([str(programs / "postgres"), "--version"], capture_output=True, text=True, check=True, **how)
    return str(told.stdout.split()[2])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
