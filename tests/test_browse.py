"""`orthanc-research browse`: a page for this machine alone, with a token, that leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from browser import ROOT, Screen, free_port
from processes import below

import orthanc_research as ores
from orthanc_research.cli import main

pytestmark = pytest.mark.one_version
COMMAND = [sys.executable, "-c", "from orthanc_research.cli import main; main()", "browse"]


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORTHANC_", "JUPYTER_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), **more}


def credentials(orthanc: ores.Orthanc) -> tuple[str, str]:
    auth = orthanc.rest.connection.auth
    assert isinstance(auth, tuple)
    return auth


@contextmanager
def browsing(
    orthanc: ores.Orthanc, folder: Path, command: list[str] = COMMAND
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and the address that it printed."""
    user, password = credentials(orthanc)
    given = {"ORTHANC_URL": orthanc.url, "ORTHANC_USERNAME": user, "ORTHANC_PASSWORD": password}
    log = (folder / "stderr").open("w")
    with (
        log,
        subprocess.Popen(
            command, env=environment(folder, **given), cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            assert words[:1] == ["Open"], (folder / "stderr").read_text()
            yield process, words[1]
        finally:
            process.kill()


def listening(port: int) -> set[str]:
    """The addresses, in the kernel's own hexadecimal, on which somebody listens at this port."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, at = line.split()[1].split(":")
            if int(at, 16) == port and line.split()[3] == "0A":
                found.add(address)
    return found


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a path as short as that of /tmp: those of sockets are limited."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def chosen_ones_are_taken(screen: Screen) -> None:
    """What is chosen in the browser is what the tab of de-identification is about, once it is taken."""
    browser, panel = screen.part(".ores-localbrowser"), screen.part(".ores-anonymizepanel")
    tabs = screen.page.get_by_role("tab")
    tabs.filter(has_text="De-identify").click()
    panel.says("Choose studies, patients or series in This Orthanc; then take them here.")
    screen.button("Take what is chosen in This Orthanc").click()
    panel.says("Nothing is chosen in This Orthanc.")
    tabs.filter(has_text="This Orthanc").click()
    browser.button("Find").click()
    browser.says("4 studies.")
    browser.choose("Rows", 0, 2)
    tabs.filter(has_text="De-identify").click()
    screen.button("Take what is chosen in This Orthanc").click()
    panel.says("Taken.")
    assert "2 studies selected" in panel.root.inner_text()
    panel.button("Orthanc's own").click()
    panel.button("De-identify").click()
    panel.root.get_by_text("De-identify 2 studies by Orthanc's own engine?").wait_for()
    panel.button("No").click()
    tabs.filter(has_text="This Orthanc").click()


def test_the_page_is_for_this_machine_and_its_token_and_leaves_nothing(
    cohort: ores.Orthanc, chromium: Any, short: Path
) -> None:
    _, password = credentials(cohort)
    with browsing(cohort, short) as (process, url):
        base, token = url.split("?token=")
        assert len(token) > 40
        assert listening(int(re.findall(r":(\d+)/", url)[0])) == {"0100007F"}
        (folder,) = short.glob("ores-browse-*")
        assert folder.stat().st_mode & 0o777 == 0o700
        with urlopen(base) as answer:  # without the token: a door, and no page
            assert "/login?" in answer.url
        assert below(process.pid) == set()

        page = chromium.new_page(viewport={"width": 1100, "height": 900})
        screen = Screen(page)
        away: list[str] = []
        page.on("response", lambda response: away.append(response.url))
        page.goto(url)
        page.wait_for_selector(".ores-localbrowser", state="attached")
        page.set_viewport_size({"width": 600, "height": 900})
        cut = "labels => labels.filter(each => each.scrollWidth > each.parentElement.clientWidth - 20).length"
        assert page.locator(".lm-TabBar-tabLabel").evaluate_all(cut) == 0
        page.set_viewport_size({"width": 1100, "height": 900})
        assert page.locator(".ores-overviewpanel").count() == 0  # a server is not counted before anybody asks
        for name in ("Remote archives", "Upload", "Jobs", "Overview"):
            page.get_by_role("tab", name=name).click()
        # Of clicks that come while the kernel is at work only the last reaches it: a tab passed by opens nothing.
        screen.part(".ores-overviewpanel").says("4 studies, 8 series.")
        page.get_by_role("tab", name="This Orthanc").click()
        chosen_ones_are_taken(screen)
        screen.check()
        assert [each for each in away if not each.startswith((base, "data:", "blob:"))] == []

        started = below(process.pid)
        assert started
        for each in {process.pid, *started}:
            argv = Path(f"/proc/{each}/cmdline").read_text()
            assert token not in argv
            assert password not in argv
        assert any(path.is_socket() for path in folder.rglob("*"))
        for path in folder.rglob("*"):
            if path.is_file():
                assert password.encode() not in path.read_bytes(), path
                assert token.encode() not in path.read_bytes(), path

        # A kernel that is at work when it is ended says no word of that.
        page.evaluate("setInterval(() => document.querySelectorAll('button').forEach(each => each.click()), 5)")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        page.close()
        assert process.stdout is not None
        assert process.stdout.read().endswith("Ended.\n")
    assert not list(short.glob("ores-browse-*"))
    end = time.monotonic() + 20
    while any(Path(f"/proc/{each}").exists() for each in started):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert (short / "stderr").read_text() == ""


LOSES = """
import asyncio, time, weakref

class Thing:
    pass

def work(loop):
    thing = Thing()
    reference = weakref.ref(thing, lambda _: time.sleep(0.1))
    del thing
    loop.call_soon(work, loop)

loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
loop.call_soon(work, loop)
from orthanc_research.cli import main
main()
"""


def test_ctrl_c_ends_it_whatever_the_server_is_at(orthanc: ores.Orthanc, short: Path) -> None:
    """What is raised in the callback of a weak reference is lost, and this server is in one nearly all the time."""
    with browsing(orthanc, short, [sys.executable, "-c", LOSES, "browse"]) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stdout is not None
        assert process.stdout.read().endswith("Ended.\n")
    assert not list(short.glob("ores-browse-*"))


@pytest.mark.parametrize(
    ("missing", "code", "said"),
    [
        ("voila", 2, "The page needs Voilà, which is not installed: pip install voila ipykernel."),
        ("orthanc", 1, "No Orthanc answers at http://127.0.0.1:"),
    ],
)
def test_what_is_missing_is_one_sentence_before_anything_starts(
    missing: str, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["orthanc-research", "browse", f"http://127.0.0.1:{free_port()}"])
    if missing == "voila":
        monkeypatch.setitem(sys.modules, "voila", None)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", None)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"orthanc-research: {said}")
    assert err.count("\n") == 1
