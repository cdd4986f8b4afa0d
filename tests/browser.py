"""Screens in a real browser: notebooks of one cell, served by Voilà to Chromium.

Nothing is downloaded: the Chromium is the machine's own. A page fails its test when a script of it fails, when a widget
has no view, and when its cell raised.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

ROOT = Path(__file__).parent.parent
MISSING = "There is no Chromium; to get it on Debian: apt install chromium"
STATUS = ".ores-status [role=status]"
_ARGUMENTS = (
    "--no-sandbox",  # root has no other way, and the pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_WAIT = 90_000  # milliseconds; a kernel on a busy machine takes its time
_THERE = f"document.querySelector('{STATUS}') || /Traceback|error/.test(document.body.innerText)"
# A browser holds back what is entered while the kernel is at work on what was entered there before, and a click passes
# it. So a page counts what the kernel has still to hear; what was held back goes out once the answer before it is read.
_COUNTING = """(() => {
    const names = data => [...(typeof data === "string" ? data : new TextDecoder().decode(new Uint8Array(data, 0,
        Math.min(data.byteLength, 8192)))).matchAll(/"msg_id": ?"([^"]+)"/g)].map(found => found[1]);
    const text = data => typeof data === "string" ? data : new TextDecoder().decode(data);
    const unheard = new Set();
    window.unheard = unheard;
    window.WebSocket = class extends WebSocket {
        constructor(...given) {
            super(...given);
            this.addEventListener("message", ({data}) => {
                if ((data.byteLength ?? 0) < 8192 && /"execution_state": ?"idle"/.test(text(data)))
                    names(data).forEach(name => unheard.delete(name));
            });
        }
        send(data) {
            if (/"comm_msg"/.test(text(data))) unheard.add(names(data)[0]);
            super.send(data);
        }
    };
})();"""
_HEARD = """async most => {
    const end = performance.now() + most;
    for (let quiet = 0; quiet < 3; quiet += 1) {
        if (window.unheard.size) quiet = -1;
        if (performance.now() > end) throw new Error("the kernel does not hear");
        await new Promise(done => setTimeout(done, 10));
    }
}"""
_BROKEN = ("Click to show javascript error", "Error displaying widget", "There was an error when executing cell")


def chromium() -> str | None:
    """Where it is, if it is."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium. While it runs this thread counts as inside an event loop: a module's fixture, not a session's."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=_WAIT)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), headless=True, args=list(_ARGUMENTS))
        try:
            yield running
        finally:
            running.close()


class Server:
    """Voilà over a folder of notebooks."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self._made = 0

    def add(self, code: str) -> str:
        """The address of the page of a notebook of this one cell."""
        self._made += 1
        name = f"page{self._made}.ipynb"
        (self.folder / name).write_text(json.dumps(notebook(code)))
        return f"{self.url}/voila/render/{name}"


def notebook(code: str) -> Mapping[str, Any]:
    """A notebook of one cell."""
    cell: dict[str, Any] = {"cell_type": "code", "id": "one", "execution_count": None, "outputs": []}
    cell |= {"metadata": {}, "source": code}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def private(folder: Path) -> dict[str, str]:
    """An environment in which Jupyter finds nothing of the user's, and imports this tree."""
    for name in ("home", "config", "data", "runtime"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    return {
        **os.environ,
        "HOME": str(folder / "home"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "home"),
        "PYTHONPATH": str(ROOT),
    }


@contextmanager
def serving(command: list[str], url: str, folder: Path) -> Iterator[None]:
    """This process, once it answers at `url`; ended at the end."""
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=private(folder), cwd=folder, stdout=log, stderr=log) as process,
    ):
        try:
            end = time.monotonic() + 180
            while not answers(url):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError((folder / "log").read_text())
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


def answers(url: str) -> bool:
    """Whether something does."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


@contextmanager
def voila(folder: Path) -> Iterator[Server]:
    """Voilà over an empty folder. It is asked for its front page: a notebook's own would start a kernel."""
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = ["--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1", "--show_tracebacks=True"]
    options.append("--VoilaExecutor.iopub_timeout=120")  # after 4 s, as it is, the page of a slow kernel stays empty
    with serving([sys.executable, "-m", "voila", *options, str(notebooks)], f"{url}/", folder):
        yield Server(url, notebooks)


class Screen:
    """A page with a screen in it, or one screen of several, and what a test asks of it."""

    def __init__(self, page: Page, whole: Screen | None = None, within: str = "body") -> None:
        self.page = page
        self.root = page.locator(within).first
        self.errors: list[str] = whole.errors if whole else []
        if whole is None:
            page.set_default_timeout(_WAIT)
            page.add_init_script(_COUNTING)
            page.on("pageerror", lambda error: self.errors.append(str(error)))

    def part(self, within: str) -> Screen:
        """The first screen on the page that this selector finds."""
        return Screen(self.page, self, within)

    @classmethod
    def open(cls, running: Browser, url: str) -> Screen:
        """The page at `url`, once its screen is there."""
        screen = cls(running.new_page(viewport={"width": 1100, "height": 900}))
        screen.page.goto(url, timeout=_WAIT)
        screen.page.wait_for_function(_THERE, timeout=2 * _WAIT)
        screen.check()
        return screen

    def check(self) -> None:
        """Nothing on the page is broken."""
        text = self.page.inner_text("body")
        assert not self.errors, self.errors
        assert not [each for each in _BROKEN if each in text], text
        assert "Traceback" not in text, text

    def close(self) -> None:
        """Leave the page, which ends its kernel."""
        self.page.goto("about:blank")
        self.page.close()

    def theme(self, name: str) -> None:
        """JupyterLab's "light" or "dark", on the page as it is."""
        folder = Path(sys.prefix, "share", "jupyter", "nbconvert", "templates", "lab", "static")
        self.page.add_style_tag(content="* { transition: none !important; }")  # no colour is on its way to another
        self.page.add_style_tag(path=folder / f"theme-{name}.css")

    def heard(self) -> None:
        """Wait until the kernel has heard of all that was entered and clicked, and the page has what it said to it."""
        self.page.evaluate(_HEARD, _WAIT)

    def ends(self, text: str | re.Pattern[str] = "") -> None:
        """As `says`, once the work that came of what was done is done: not with what was said before it."""
        self.heard()
        working = self.root.locator(":scope > .ores-working").element_handle()
        self.page.wait_for_function("working => working.style.visibility === 'hidden'", arg=working)
        self.says(text)

    @property
    def status(self) -> Locator:
        """The status line of the screen."""
        return self.root.locator(f":scope > {STATUS}")  # not those of the screens within it

    def says(self, text: str | re.Pattern[str]) -> None:
        """Wait until the status line has this text, or a match of it, in it. See `ends` for what it may say already."""
        from playwright.sync_api import expect

        self.heard()
        expect(self.status).to_contain_text(text)

    def shows(self, text: str) -> bool:
        """Whether an option with this text in it can be brought into view, all of it, sideways too."""
        option = self.root.locator("option").filter(has_text=text).first
        inside = """option => { const list = option.parentElement, sheet = list.closest(".ores-sheet");
            return list.scrollWidth <= list.clientWidth && sheet.scrollWidth >= list.offsetWidth; }"""
        return bool(option.evaluate(inside))

    def button(self, name: str) -> Locator:
        """The first button of this name, once all that was done before is heard."""
        self.heard()
        return self.root.get_by_role("button", name=name, exact=True).first

    def field(self, label: str) -> Locator:
        """The first field with this label, once all that was done before is heard."""
        self.heard()
        return self.root.get_by_label(label, exact=True).first

    def rows(self, label: str) -> list[str]:
        """The lines of the table with this label that are on its page, with plain spaces."""
        texts = self.root.get_by_role("listbox", name=label, exact=True).first.locator("option").all_inner_texts()
        return [text.replace("\u00a0", " ") for text in texts]

    def choose(self, label: str, *at: int) -> None:
        """Choose these rows of a table."""
        self.heard()
        self.root.get_by_role("listbox", name=label, exact=True).first.select_option(index=list(at))

    def focused(self) -> str:
        """The text or the label of what has the keyboard."""
        found: str = self.page.evaluate(
            "() => { const e = document.activeElement;"
            " return e.labels?.[0]?.textContent || e.getAttribute('aria-label') || e.textContent.trim(); }"
        )
        return found

    def start(self) -> None:
        """Put the keyboard before the first thing in this screen."""
        self.root.evaluate(
            "element => { element.tabIndex = -1; element.focus(); element.removeAttribute('tabindex'); }"
        )

    def keys(self, name: str, *keys: str) -> None:
        """Tab to what has this text or label, and press these keys; what begins with = is typed."""
        self.tab_to(name)
        for key in keys:
            if key.startswith("="):
                self.page.keyboard.press("Control+a")
                self.page.keyboard.type(key[1:])
            else:
                self.page.keyboard.press(key)

    def tab_to(self, name: str, *, most: int = 120) -> None:
        """Press Tab until what has this text or label, in this screen, has the keyboard."""
        self.heard()
        inside = "element => element.contains(document.activeElement)"
        for _ in range(most):
            if self.focused() == name and self.root.evaluate(inside):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"{name} is not reached by Tab.")
