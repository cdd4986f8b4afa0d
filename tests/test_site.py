"""The site that scripts/docs built, walked in Chromium; left out where it is not as its sources are now."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from surface import SURFACE

ROOT = Path(__file__).parent.parent
SITE = ROOT / "site"
SCREENS = {f"screens/{path.name}" for path in (ROOT / "docs" / "screens").glob("*.png")}
# What a page has: where its links lead, what can be linked to, and the pictures that do not show.
LOOK = """async () => {
    const shown = [...document.images].filter(image => image.offsetParent);
    await Promise.allSettled(shown.map(image => image.decode()));
    return {
        links: [...document.querySelectorAll("a[href]")].map(link => link.href),
        places: [...document.querySelectorAll("[id], a[name]")].map(each => each.id || each.name),
        pictures: shown.map(image => image.src.split("#")[0]),
        broken: shown.filter(image => !image.naturalWidth).map(image => image.src),
    };
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (its name in the library)
        pass


@dataclass
class Walk:
    """The site in a browser."""

    browser: Any
    url: str

    @contextmanager
    def page(self, theme: str = "light") -> Iterator[Any]:
        """A page on which nothing may go wrong, and which may ask nobody else for anything."""
        page = self.browser.new_page(color_scheme=theme)
        wrong: list[str] = []

        def hold(fine: bool, what: str) -> None:
            if not fine:
                wrong.append(f"{page.url}: {what}")

        page.on("pageerror", lambda error: hold(False, str(error)))
        page.on("console", lambda said: hold(said.type not in ("error", "warning"), said.text))
        page.on("response", lambda answer: hold(answer.status < 400, f"{answer.url} is {answer.status}"))
        page.on("request", lambda request: hold(self.here(request.url), f"{request.url} is elsewhere"))
        yield page
        page.close()
        assert not wrong

    def here(self, url: str) -> bool:
        """Whether this is of the site, or of the page itself."""
        return url.startswith((self.url, "data:", "blob:"))

    def look(self, page: Any, path: str) -> dict[str, list[str]]:
        """Open a page, and see what it has, with addresses as they are within the site."""
        page.goto(f"{self.url}/{path}")
        found: dict[str, list[str]] = page.evaluate(LOOK)
        assert not found["broken"], path
        return {name: [each.removeprefix(f"{self.url}/") for each in values] for name, values in found.items()}


def sources() -> Iterator[Path]:
    """What the site is made from."""
    for folder in ("docs", "notebooks", "orthanc_research"):
        yield from (path for path in (ROOT / folder).rglob("*.*") if not {".venv", "__pycache__"} & set(path.parts))


@pytest.fixture(scope="module")
def walk(chromium: Any) -> Iterator[Walk]:
    index = SITE / "index.html"
    if not index.exists() or index.stat().st_mtime < max(path.stat().st_mtime for path in sources()):
        missing = "There is no site as its sources are now; scripts/docs builds it."
        if os.environ.get("ORTHANC_RESEARCH_LONG"):
            pytest.fail(missing)
        pytest.skip(missing)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=SITE)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Walk(chromium, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_every_page_is_reached_and_every_link_leads_somewhere(walk: Walk) -> None:
    pages = {path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html")} - {"404.html"}
    assert len(pages) > 40
    found: dict[str, dict[str, list[str]]] = {}
    ahead = ["index.html"]
    with walk.page() as page:
        page.set_viewport_size({"width": 390, "height": 844})  # a telephone: what is wide scrolls in itself
        while ahead:
            path = ahead.pop()
            found[path] = walk.look(page, path)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            linked = {link.partition("#")[0] for link in found[path]["links"]}
            ahead += sorted((pages & linked) - found.keys() - set(ahead))
    assert found.keys() == pages
    wrong = []
    for path, has in found.items():
        for link in has["links"]:
            target, _, place = link.partition("#")
            if "://" in target:
                there = target.startswith("https://")
            elif place:
                there = target in found and place in found[target]["places"]
            else:
                there = (SITE / target).is_file()
            if not there:
                wrong.append(f"{path} → {link}")
    assert not wrong


def test_the_reference_shows_every_public_name(walk: Walk) -> None:
    with walk.page() as page:
        places = [place for path in (SITE / "api").iterdir() for place in walk.look(page, f"api/{path.name}")["places"]]
    there = {".".join(place.split(".")[-2:]) for place in places} | {place.split(".")[-1] for place in places}
    said = [name for name, each, _ in SURFACE if each.__doc__]  # what says nothing of its own is as in its base
    assert [name for name in said if ".".join(name.split(".")[-2:]) not in there] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_screens_are_shown_in_the_theme_of_the_reader(walk: Walk, theme: str) -> None:
    with walk.page(theme) as page:
        pictures = {each for each in walk.look(page, "screens.html")["pictures"] if each.startswith("screens/")}
    assert pictures == {each for each in SCREENS if each.endswith(f"-{theme}.png")}


@pytest.mark.parametrize(
    ("words", "where"),
    [("volume", "volumes.html"), ("GeometryError", "errors.html"), ("pyorthanc", "pyorthanc.html")],
)
def test_the_search_finds(walk: Walk, words: str, where: str) -> None:
    with walk.page() as page:
        walk.look(page, "index.html")
        page.locator("[data-md-component=search-query]").focus()
        page.get_by_text("Type to start searching").wait_for()
        page.keyboard.type(words)
        page.locator(f".md-search-result__link[href*='{where}']").first.wait_for()
