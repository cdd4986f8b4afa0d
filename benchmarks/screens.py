"""Screens: how long a reader waits, measured in Chromium, from the click or key to what is painted.

    scripts/bench screens           10,000 rows, and a CT series of 300 slices of 512² (some minutes)
    scripts/bench screens --small   small numbers, shown and not kept
    scripts/bench screens --docs    the page again, from results/

It needs Chromium (on Debian: apt install chromium). Writes results/ and docs/performance.md. A table is timed from the
click on, with the way to the kernel and back; the frame is in memory by then.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orthanc_research as ores
from benchmarks import _report, _slices
from benchmarks._lab import ROOT, Server, machine, note, options
from benchmarks._wire import recorded

__all__ = ["SMALL", "Sizes", "main", "measure"]

PACKAGES = ("orthanc-research", "ipywidgets", "ipykernel", "voila", "playwright")


@dataclass(frozen=True)
class Sizes:
    """How much is shown, and how often it is timed."""

    rows: int = 10_000
    slices: int = 300
    pixels: int = 512
    repeats: int = 15


SMALL = Sizes(rows=1_000, slices=20, pixels=64, repeats=3)

_CODE = """
import ipywidgets, pandas as pd
import orthanc_research as ores
from orthanc_research.widgets import Panel, StackViewer, Table

class Rows(Panel):
    def __init__(self, count):
        super().__init__("Rows")
        dates = pd.Timestamp("2010-01-01") + pd.to_timedelta([k % 4000 for k in range(count)], unit="D")
        self.frame = pd.DataFrame({{
            "PatientName": [f"DOE^JOHN {{k:06}}" for k in range(count)],
            "PatientID": [f"P{{k:06}}" for k in range(count)],
            "StudyDate": dates, "StudyDescription": "CT THORAX WITH CONTRAST", "Series": 4, "Instances": 512,
        }}, index=[f"{{k}}" for k in range(count)])
        self.table = Table(label="Rows")
        self.there = False
        show = ipywidgets.Button(description="Show")
        show.on_click(self.toggle)
        self._compose([show, self.table.widget])

    def toggle(self, _):
        self.there = not self.there
        self.table.show(self.frame if self.there else self.frame.iloc[:0])

rows = Rows({rows})
viewer = StackViewer()
start = ipywidgets.Button(description="Open the series")
start.on_click(lambda _: viewer.show({series!r}, ores.Orthanc({url!r}, auth={auth!r})))
ipywidgets.VBox([rows.widget, start, viewer.widget])
"""
# From an action to the second frame after its effect: by then the browser has painted it.
_TIMED = """async ([act, done]) => {
    const doIt = new Function(act), is = new Function("return " + done);
    const begun = performance.now();
    doIt();
    while (!is()) await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return (performance.now() - begun) / 1000;
}"""
_WHERE = "document.querySelector('.ores-where').textContent"
_IMAGE = "document.querySelector('.ores-image')"
_CLICK = "[...document.querySelectorAll('button')].find(e => e.textContent.trim() === '{}').click()"
_KEY = "document.querySelector('.ores-slice .noUi-handle').dispatchEvent("
_KEY += "new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}))"


def measure(orthanc: ores.Orthanc, sizes: Sizes) -> dict[str, Any]:
    """What is kept in results/screens.json; the server is empty."""
    sys.path.insert(0, str(ROOT / "tests"))  # one way to drive a browser: that of the tests
    import browser

    note(f"storing {sizes.slices} slices")
    stored = orthanc.upload(_slices.ct_series(1, sizes.slices, pixels=sizes.pixels, study=1), progress=False)
    server = Server.of(orthanc)
    given = {"rows": sizes.rows, "series": stored["ParentSeries"].iloc[0], "auth": (server.user, server.password)}
    with (
        tempfile.TemporaryDirectory() as folder,
        recorded(server.port) as wire,
        browser.voila(Path(folder)) as voila,
        browser.browser() as running,
    ):
        screen = browser.Screen.open(running, voila.add(_CODE.format(url=wire.url, **given)))
        rows = [*_table(screen.page, sizes), *_viewer(screen.page, sizes, wire)]
        screen.check()
        chromium = running.version
    about = machine(orthanc.capabilities().version, PACKAGES)
    about["versions"]["Chromium"] = chromium
    return {**about, "repeats": sizes.repeats, "sizes": vars(sizes), "rows": rows}


def _table(page: Any, sizes: Sizes) -> list[dict[str, Any]]:
    first, turned = [], []
    for _ in range(sizes.repeats):
        first.append(page.evaluate(_TIMED, [_CLICK.format("Show"), f"{_WHERE}.includes('1-200 of')"]))
        page.evaluate(_TIMED, [_CLICK.format("Show"), f"{_WHERE}.includes('nothing')"])
    page.evaluate(_TIMED, [_CLICK.format("Show"), f"{_WHERE}.includes('1-200 of')"])
    pages = sizes.rows // 200
    for n in range(sizes.repeats):
        at, back = (n % (pages - 1)) + 1, n and n % (pages - 1) == 0
        for k in range(pages - 1, 0, -1) if back else ():
            page.evaluate(_TIMED, [_CLICK.format("Previous"), f"{_WHERE}.includes(' {(k - 1) * 200 + 1:,}-')"])
        turned.append(page.evaluate(_TIMED, [_CLICK.format("Next"), f"{_WHERE}.includes(' {at * 200 + 1:,}-')"]))
    what = f"of {sizes.rows:,} rows"
    return [_row(f"first page {what}", first, 0.5), _row(f"next page {what}", turned, 0.15)]


def _viewer(page: Any, sizes: Sizes, wire: Any) -> list[dict[str, Any]]:
    page.evaluate(f"window.before = {_IMAGE}.src")
    changed = f"{_IMAGE}.src !== window.before && {_IMAGE}.complete && {_IMAGE}.naturalWidth > 1"
    wire.forget()
    opened = page.evaluate(_TIMED, [_CLICK.format("Open the series"), changed])
    files = sum(one.target.endswith("/file") for one in wire.requests())
    note(f"the middle slice after {opened:.2f} s and {files} files")
    steps = []
    for _ in range(sizes.repeats):
        page.wait_for_timeout(1000)  # the neighbours are there when a reader has looked at a slice
        page.evaluate(f"window.before = {_IMAGE}.src")
        steps.append(page.evaluate(_TIMED, [_KEY, changed]))
    what = f"of {sizes.slices} slices of {sizes.pixels}²"
    middle = {"what": f"middle slice {what}, from the click", "seconds": opened, "files": files, "of": sizes.slices}
    return [middle, _row(f"next slice {what}", steps, 0.05)]


def _row(what: str, seconds: Sequence[float], most: float) -> dict[str, Any]:
    note(f"{what}: {statistics.median(seconds):.3f} s")
    return {"what": what, "seconds": statistics.median(seconds), "slowest": max(seconds), "most": most}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = options("screens", "How long a reader waits.")
    parser.add_argument("--orthanc", help="version of the server")
    given = parser.parse_args(arguments)
    found = None
    if not given.docs:
        with ores.LocalOrthanc(given.orthanc) as orthanc:
            found = measure(orthanc, SMALL if given.small else Sizes())
    return _report.publish("screens", found, _report.screens, kept=not given.small)


if __name__ == "__main__":
    sys.exit(main())
