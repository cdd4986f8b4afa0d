"""A private server: closed to others, gone with its owner, its storage kept exactly as long as promised."""

from __future__ import annotations

import base64
import contextlib
import gc
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

from orthanc_research.errors import OrthancError, QueryError
from orthanc_research.local import Binary, OrthancServer, _folder, _server, default_suites
from orthanc_research.local._config import Settings, configuration

SUITES: list[str | None] = [*default_suites()] or [None]
each_suite = pytest.mark.parametrize("suite", SUITES)
CT = Path(str(get_testdata_file("CT_small.dcm", download=False)))

OWNER = """
import sys, threading, time
from orthanc_research.local import OrthancServer
kept = []
def start():
    kept.append(OrthancServer(sys.argv[1] or None, folder=sys.argv[3] or None))
if sys.argv[2] == "thread":
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
else:
    start()
server = kept[0]
print(server.pid, server._supervised.pid, server.folder, server.url, flush=True)
if sys.argv[2] == "end":
    sys.exit(0)
if sys.argv[2] == "fail":
    raise SystemExit("on purpose")
time.sleep(600)
"""


def ask(server: OrthancServer, path: str, body: bytes | None = None, *, password: str | None = None) -> Any:
    """What a user of that server gets; `HTTPError` for a refusal."""
    credentials = f"{server.auth[0]}:{server.auth[1] if password is None else password}"
    request = urllib.request.Request(server.url + path, data=body)
    if password != "":
        request.add_header("Authorization", "Basic " + base64.b64encode(credentials.encode()).decode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def refusal(call: Callable[[], Any]) -> int:
    with pytest.raises(urllib.error.HTTPError) as caught:
        call()
    caught.value.close()
    return caught.value.code


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # dead, and nobody has asked how


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@each_suite
def test_it_is_private_and_leaves_nothing(suite: str | None) -> None:
    with OrthancServer(suite) as server:
        assert ask(server, "/system")["Version"] == server.version
        assert refusal(lambda: ask(server, "/system", password="")) == 401
        assert refusal(lambda: ask(server, "/system", password="guess")) == 401
        for folder in (server.folder, server.folder / "storage", server.folder / "temporary"):
            assert folder.stat().st_mode & 0o777 == 0o700
        for name in ("orthanc.json", "orthanc.log"):
            assert (server.folder / name).stat().st_mode & 0o777 == 0o600
        assert "Orthanc has started" in server.log.read_text()
        assert server.dicom_port is None
        shown = f"{server!r} {server.auth!r} {server.log.read_text()}"
        shown += "".join(
            (Path("/proc") / str(pid) / what).read_text()
            for pid in (server.pid, server._supervised.pid)
            for what in ("cmdline", "environ")
        )
        assert server.auth[1] not in shown
    assert not server.folder.exists()
    assert gone(server.pid)
    assert gone(server._supervised.pid)
    assert repr(server).endswith(", closed>")
    server.close()
    with pytest.raises(OrthancError, match="closed"):
        server.restart()
    with pytest.raises(OrthancError, match="closed"):
        server.kill()


@each_suite
def test_a_caller_from_another_address_is_refused(suite: str | None) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with contextlib.suppress(OSError):
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells which address a packet would leave from
        outside = probe.getsockname()[0]
    if outside.startswith(("127.", "0.")):
        pytest.skip("this machine has no address but loopback")
    with OrthancServer(suite) as server:
        port = int(server.url.rpartition(":")[2])
        request = urllib.request.Request(f"http://{outside}:{port}/system")
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(server.auth).encode()).decode())
        with pytest.raises((urllib.error.HTTPError, urllib.error.URLError)) as caught:
            urllib.request.urlopen(request, timeout=5)
        if isinstance(caught.value, urllib.error.HTTPError):
            assert caught.value.code in (401, 403)
            caught.value.close()


@each_suite
@pytest.mark.parametrize("how", ["main", "thread"])
def test_it_lives_with_its_owner_and_dies_with_it(suite: str | None, how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, suite or "", how, ""], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid, supervisor, folder, url = owner.stdout.readline().split()
        time.sleep(0.3)  # the thread that started it has ended by now
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{url}/system", timeout=5)
        caught.value.close()
        assert Path(folder).is_dir()
        owner.kill()
    assert within(10, lambda: gone(int(pid)) and gone(int(supervisor)))
    assert not Path(folder).exists()


@pytest.mark.parametrize("how", ["end", "fail"])
def test_it_ends_with_a_program_that_forgot_it(how: str) -> None:
    arguments = [sys.executable, "-c", OWNER, SUITES[0] or "", how, ""]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    pid, supervisor, folder, _url = done.stdout.split()
    assert gone(int(pid))
    assert gone(int(supervisor))
    assert not Path(folder).exists()
    assert done.stderr.strip() == ("on purpose" if how == "fail" else "")


def test_a_users_folder_stays_when_the_owner_is_killed(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", OWNER, SUITES[0] or "", "main", str(tmp_path / "kept")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline().split()[0])
        owner.kill()
    assert within(15, lambda: gone(pid))
    assert (tmp_path / "kept" / "storage" / "index").is_file()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends the server then")
@each_suite
def test_a_killed_supervisor_takes_the_server_along_and_restart_finds_everything(suite: str | None) -> None:
    with OrthancServer(suite) as server:
        ask(server, "/instances", CT.read_bytes())
        os.kill(server._supervised.pid, signal.SIGKILL)
        assert within(5, lambda: gone(server.pid))
        assert within(5, lambda: not server._supervised.alive)
        with pytest.raises(OrthancError, match="closed, or its supervisor was killed"):
            server.kill()
        server.restart()
        assert len(ask(server, "/instances")) == 1
        os.kill(server._supervised.pid, signal.SIGKILL)
        assert within(5, lambda: gone(server.pid))
    assert not server.folder.exists()


@each_suite
def test_storage_survives_a_crash_a_restart_and_a_new_server(suite: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    with OrthancServer(suite, folder) as server:
        url = server.url
        ask(server, "/instances", CT.read_bytes())
        server.kill()
        assert gone(server.pid)
        with pytest.raises(urllib.error.URLError):
            ask(server, "/system")
        server.restart()
        assert (server.url, len(ask(server, "/instances"))) == (url, 1)
        with pytest.raises(OrthancError, match=r"Another server is running in .*; close it first"):
            OrthancServer(suite, folder)
        server.kill()  # so that closing has nothing to wait for
    with OrthancServer(suite, str(folder)) as server:
        assert len(ask(server, "/instances")) == 1
        server.kill()


def test_restart_ends_a_running_server_politely_and_reopens_a_closed_folder(tmp_path: Path) -> None:
    server = OrthancServer(SUITES[-1], tmp_path / "archive")
    ask(server, "/instances", CT.read_bytes())
    first = server.pid
    server.restart()
    assert gone(first)
    assert "Orthanc has stopped" in server.log.read_text()
    server.kill()
    server.close()
    server.restart()
    assert len(ask(server, "/instances")) == 1
    server.kill()
    server.close()


def test_a_server_that_nothing_refers_to_ends() -> None:
    server = OrthancServer(SUITES[0])
    pid, folder = server.pid, server.folder
    del server
    gc.collect()
    assert gone(pid)
    assert not folder.exists()


def test_a_forked_child_cannot_end_it() -> None:
    script = (
        "import os\n"
        "from orthanc_research.local import OrthancServer\n"
        f"server = OrthancServer({SUITES[0]!r})\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    server.close()\n"
        "    raise SystemExit(0)\n"  # through the exit handlers, as a child of a notebook would
        "os.waitpid(child, 0)\n"
        "print(server._supervised.alive, server._supervised.code(), server.folder.exists())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True None True\n", "")


@each_suite
def test_a_server_that_cannot_start_shows_its_log_and_no_secret(
    suite: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("orthanc_research.local._server.secrets.token_urlsafe", lambda _size: "the-secret")
    with pytest.raises(OrthancError, match=r"did not start \(exit \d+\)\. The end of its log") as caught:
        OrthancServer(suite, tmp_path / "kept", config={"ConcurrentJobs": "the-secret"})
    assert "ConcurrentJobs" in str(caught.value) or "Bad" in str(caught.value) or "rror" in str(caught.value)
    assert "the-secret" not in str(caught.value)
    assert (tmp_path / "kept" / "orthanc.log").is_file()
    with OrthancServer(suite, tmp_path / "kept") as server:  # nothing of the failure holds the folder
        server.kill()


def test_a_program_that_disappears_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with OrthancServer(SUITES[0]) as server:
        server.kill()
        monkeypatch.setattr(server, "_binary", Binary(("/no/such/Orthanc",), {}, "1"))
        with pytest.raises(OrthancError, match="The Orthanc program could not be started"):
            server.restart()


@each_suite
def test_a_taken_port_is_left_for_another(suite: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    real = _server._free_ports
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        (free, other), (third, _) = real(), real()
        for first in ((busy, free), (other, busy)):
            ports = iter([first])
            monkeypatch.setattr(_server, "_free_ports", lambda ports=ports: next(ports, None) or real())
            with OrthancServer(suite, dicom=True) as server:
                assert busy not in (int(server.url.rpartition(":")[2]), server.dicom_port)
        monkeypatch.setattr(_server, "_free_ports", lambda: (busy, third))
        monkeypatch.setattr(_server, "_ATTEMPTS", 1)
        with pytest.raises(OrthancError, match=f"another program has taken port {busy}"):
            OrthancServer(suite)


@pytest.mark.parametrize(
    "key",
    [
        *("RemoteAccessAllowed", "AuthenticationEnabled", "RegisteredUsers", "HttpPort", "HttpBindAddresses"),
        *("SslEnabled", "DicomPort", "DicomServerEnabled", "DicomAlwaysAllowStore", "DicomAlwaysAllowAnything"),
        *("DicomCheckCalledAet", "DicomCheckModalityHost", "StorageDirectory", "IndexDirectory", "TemporaryDirectory"),
    ],
)
def test_a_setting_that_would_open_it_is_refused(key: str) -> None:
    with pytest.raises(QueryError, match=f'^"{key}" keeps the private server private and cannot be configured'):
        OrthancServer(config={key: True})


def test_a_missing_plugin_is_refused_although_the_oldest_version_would_not_say(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="There is no Orthanc plugin at"):
        OrthancServer(config={"Plugins": [str(tmp_path / "libNone.so")]})
    with pytest.raises(QueryError, match='"Plugins" is a list'):
        OrthancServer(config={"Plugins": "libNone.so"})


def test_the_configuration_is_closed_whatever_is_added() -> None:
    extra = {"Name": "mine", "StableAge": 1, "DicomAet": "MINE"}
    settings = Settings(Path("/x"), "ores", "secret", 1, None, extra)
    made = configuration(settings)
    assert {key: made[key] for key in extra} == extra
    assert made["RemoteAccessAllowed"] is False
    assert made["AuthenticationEnabled"] is True
    assert made["DicomServerEnabled"] is False
    assert [key for key in made if key.startswith("DicomAlwaysAllow") and made[key] is not False] == []
    assert "secret" not in repr(settings)


@each_suite
def test_settings_and_plugins_of_the_user_arrive(suite: str | None) -> None:
    plain = OrthancServer(suite)
    plugin = plain.plugins / "libOrthancDicomWeb.so" if plain.plugins else None
    plain.close()
    config: dict[str, Any] = {"Name": "mine", "Plugins": [str(plugin)] if plugin and plugin.exists() else []}
    with OrthancServer(suite, config=config) as server:
        assert ask(server, "/system")["Name"] == "mine"
        assert ("dicom-web" in ask(server, "/plugins")) == bool(config["Plugins"])


@each_suite
def test_names_beyond_ascii_are_found_in_either_case(suite: str | None) -> None:
    dataset = pydicom.dcmread(CT)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = "MÜLLER^Jörg"
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    with OrthancServer(suite) as server:
        if server._binary.suite is None:
            pytest.skip("a program of the machine takes the machine's locale")
        ask(server, "/instances", buffer.getvalue())
        for name in ("MÜLLER*", "müller*", "*JÖRG"):
            query = json.dumps({"Level": "Patient", "Query": {"PatientName": name}}).encode()
            assert len(ask(server, "/tools/find", query)) == 1


def test_what_a_double_kill_left_behind_is_swept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("orthanc_research.local._folder.tempfile.gettempdir", lambda: str(tmp_path))
    names = ("dead", "living", "young", "bare")
    folders = {name: tmp_path / f"{_folder._PREFIX}{name}" for name in names}
    for name, folder in folders.items():
        folder.mkdir()
        if name != "bare":
            (folder / ".lock").touch()
        if name != "young":
            os.utime(folder, (1, 1))
    descriptor = _folder._lock(folders["living"] / ".lock")
    assert descriptor is not None
    _folder.sweep_temporary()
    os.close(descriptor)
    assert [name for name in names if folders[name].exists()] == ["living", "young", "bare"]
