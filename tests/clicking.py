"""Hands for panels: what a user does and sees, without a browser."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import ipywidgets

from orthanc_research.widgets import Panel, Table

HOSTILE = "<img src=x onerror=alert(1)>"
# What our own HTML is made of.
_TAGS = {"b", "code", "div", "span", "style"}
_ATTRIBUTES = {"class", "role", "aria-live"}


def parts(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from parts(child)


def part(panel: Panel | Table, kind: str) -> Any:
    """The one widget of this CSS class."""
    (found,) = [each for each in parts(panel.widget) if kind in getattr(each, "_dom_classes", ())]
    return found


def click(panel: Panel, kind: str, *, wait: bool = True) -> None:
    """Click this button, as a browser would: not when it is disabled; and wait for what comes of it."""
    button = part(panel, kind)
    assert not button.disabled
    button.click()
    if wait:
        assert panel.wait(30)


def choose(table: Table, *rows: int) -> None:
    """Choose these rows of the page that is shown, and no others."""
    options = table._list.options
    table._list.value = tuple(options[row][1] for row in rows)


def lines(table: Table) -> list[str]:
    """The rows of the page that is shown, as a reader sees them."""
    return [" ".join(label.replace("\u00a0", " ").split()) for label, _ in table._list.options]


def words(panel: Panel | Table, kind: str) -> str:
    """The text of the HTML widgets in the part of this class."""
    return " ".join(_Text.of(each.value).text for each in parts(part(panel, kind)) if isinstance(each, ipywidgets.HTML))


def assert_no_markup_but_ours(panel: Panel) -> None:
    """Whatever tags hold, the HTML of the panel is of our own elements, none of which can run anything."""
    for each in parts(panel.widget):
        assert not isinstance(each, ipywidgets.Label)  # `$` is mathematics to it
        if isinstance(each, ipywidgets.HTML):
            read = _Text.of(each.value)
            assert read.tags <= _TAGS, each.value
            assert read.attributes <= _ATTRIBUTES, each.value


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something that another thread brings about."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def panel_threads() -> list[threading.Thread]:
    """Threads of this package that run now."""
    return [each for each in threading.enumerate() if each.name.startswith("orthanc-research")]


def models(panel: Panel) -> list[Any]:
    """The models that two displays of a panel show."""
    kind = "application/vnd.jupyter.widget-view+json"
    return [panel._repr_mimebundle_()[kind]["model_id"] for _ in range(2)]


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    @classmethod
    def of(cls, html: str) -> _Text:
        read = cls()
        read.feed(html)
        read.close()
        return read

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data
