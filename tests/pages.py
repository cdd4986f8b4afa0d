"""Pages with all screens on them, and what the tests that share one ask of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from browser import Screen, Server
from release_cases import KEY

import orthanc_research as ores

HOSTILE = "<img src=x onerror=\"document.title='run'\">"
_CODE = """
import os
import ipywidgets
import orthanc_research as ores
from orthanc_research import widgets

os.environ["ORES_KEY"] = {key!r}
orthanc = ores.Orthanc({url!r}, auth={auth!r})
{made}
ipywidgets.VBox([screen.widget for screen in screens])
"""


def expect(locator: Any) -> Any:
    """Of playwright; imported late, since whoever imports it has it in the way of event loops."""
    from playwright.sync_api import expect

    return expect(locator)


def opened(chromium: Any, voila: Server, here: ores.LocalOrthanc, made: str, url: str = "") -> Screen:
    """A page of the `screens` that this code makes of `orthanc`, which is `here`, by way of `url`."""
    auth = tuple("".join(each) for each in here.server.auth)  # as itself it would hide the password
    return Screen.open(chromium, voila.add(_CODE.format(key=KEY, url=url or here.url, auth=auth, made=made)))


@dataclass
class Place:
    """A page with screens on it; a module's `_place`, from which `place` comes (conftest)."""

    page: Screen

    def screen(self, name: str) -> Screen:
        return self.page.part(f".{name}" if name in ("own", "release") else f".ores-{name}")


def unharmed(page: Screen) -> None:
    """Nothing on the page is broken, and nothing that a tag holds has become part of it."""
    page.check()
    assert page.page.title() != "run"
    assert page.page.locator(".ores img:not([src^='blob:']):not([src^='data:']), .ores script").count() == 0


class Gate:
    """The script of a proxy: lists requests, and lets those of one kind wait while it is shut."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._kind: str | None = None
        self._came, self._go = threading.Event(), threading.Event()

    def __call__(self, request: bytes) -> None:
        line = request.partition(b"\r\n")[0].decode()
        self.seen.append(line)
        if self._kind is not None and self._kind in line:
            self._came.set()
            self._go.wait(60)

    @contextmanager
    def shut(self, kind: str) -> Iterator[None]:
        """Requests with this in their first line wait."""
        self._came.clear()
        self._go.clear()
        self._kind = kind
        try:
            yield
        finally:
            self.open()

    def wait(self) -> None:
        """Until one waits."""
        asked = [line for line in self.seen if "/jobs?" not in line][-20:]
        assert self._came.wait(60), f"nobody asks for {self._kind}; last were {asked}"

    def open(self) -> None:
        """Let all go on."""
        self._kind = None
        self._go.set()
