"""The same screens in JupyterLab, where most people will have them. Long: needs JupyterLab beside the rest."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import browser
import pytest
from browser import Screen
from test_browser_base import DEMO, HOSTILE, click_while_the_kernel_is_at_work

import orthanc_research as ores

pytestmark = [pytest.mark.long, pytest.mark.one_version]
READY = "window.jupyterapp?.shell?.currentWidget?.sessionContext"
RUN = f"""async () => {{
    await window.jupyterapp.restored;
    await {READY}.ready;
    await window.jupyterapp.commands.execute("notebook:run-all-cells");
}}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Server]:
    """JupyterLab over a folder of notebooks."""
    if find_spec("jupyterlab") is None:
        pytest.skip("There is no JupyterLab; to get it: pip install jupyterlab")
    if browser.chromium() is None:
        pytest.skip(browser.MISSING)
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    port = browser.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += [f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token="]
    command += [f"--ServerApp.root_dir={folder / 'notebooks'}"]
    with browser.serving(command, f"{url}/api", folder):
        yield browser.Server(url, folder / "notebooks")


@pytest.fixture(scope="module")
def lab_browser() -> Iterator[Any]:
    with browser.browser() as running:
        yield running


def opened(lab: browser.Server, running: Any, name: str, code: str) -> Screen:
    """The notebook of this cell, run in a page of its own."""
    (lab.folder / name).write_text(json.dumps(browser.notebook(code)))
    screen = Screen(running.new_page(viewport={"width": 1300, "height": 1000}))
    screen.page.goto(f"{lab.url}/lab/tree/{name}?reset")
    screen.page.wait_for_function(f"{READY} !== undefined")
    screen.page.evaluate(RUN)
    screen.page.wait_for_selector(browser.STATUS, state="attached")
    return screen


def test_text_is_text_and_two_views_are_one_in_jupyterlab(lab: browser.Server, lab_browser: Any) -> None:
    page = opened(lab, lab_browser, "base.ipynb", DEMO)
    screen = page.part(".ores-demo")
    for value in HOSTILE[:3]:
        screen.field("Patient name").fill(value)
        screen.button("Say").click()
        screen.says(value.strip())
    screen.button("Work").click()
    screen.button("Cancel").click()
    screen.says("Cancelled.")
    click_while_the_kernel_is_at_work(screen, lab)
    screen.choose("Studies", 0, 3)
    page.page.wait_for_function("document.querySelectorAll('.ores-demo select')[1].selectedOptions.length === 2")
    assert page.page.locator(".ores img, .ores .MathJax, .ores mjx-container").count() == 0
    assert page.page.title() != "run"
    screen.check()


def test_a_series_is_looked_at_in_jupyterlab(lab: browser.Server, lab_browser: Any) -> None:
    with ores.LocalOrthanc() as orthanc:
        orthanc.upload(ores.samples.cohort(patients=1, studies=1, slices=6, size=64), progress=False)
        user, password = map("".join, orthanc.server.auth)
        code = (
            "import orthanc_research as ores\n"
            f"orthanc = ores.Orthanc({orthanc.url!r}, auth=({user!r}, {password!r}))\n"
            "browser = ores.widgets.LocalBrowser(orthanc)\nbrowser"
        )
        screen = opened(lab, lab_browser, "local.ipynb", code).part(".ores-localbrowser")
        screen.button("Find").click()
        screen.says("1 study.")
        screen.choose("Rows", 0)
        screen.page.locator(".ores-thumb:visible").nth(1).wait_for()
        screen.choose("Series", 0)
        screen.page.wait_for_function("document.querySelector('.ores-caption').textContent.includes('mm')")
        before = screen.page.locator(".ores-caption").inner_text()
        screen.page.locator(".ores-slice .noUi-handle").focus()
        screen.page.keyboard.press("ArrowRight")
        screen.page.wait_for_function(
            "text => document.querySelector('.ores-caption').textContent !== text", arg=before
        )
        screen.check()
