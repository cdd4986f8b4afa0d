"""What every screen must hold: nothing of a file becomes markup, and closing it leaves no thread."""

from __future__ import annotations

import html
import io
import re
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import ipywidgets
import numpy as np
import numpy.typing as npt
from PIL import Image

HOSTILE = "<img src=x onerror=alert(1)>&$x$"  # as wide as a column is at most

_OURS = {"div", "span", "pre", "code", "style"}
_ATTRIBUTES = {"class", "role", "aria-live", "aria-label", "tabindex"}


def walk(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    """The widget and all below it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _OURS or not {name for name, _ in attrs} <= _ATTRIBUTES:
            self.foreign.append(tag)


def foreign(widget: ipywidgets.Widget) -> list[str]:
    """Markup in any HTML widget below that is not ours: what a browser would make of it."""
    found: list[str] = []
    for each in walk(widget):
        if isinstance(each, ipywidgets.HTML):
            parser = _Tags()
            parser.feed(each.value)
            parser.close()
            found += parser.foreign
        assert not isinstance(each, ipywidgets.Label | ipywidgets.HTMLMath)  # they make formulas of $
        if isinstance(each, ipywidgets.Image | ipywidgets.Box):
            assert each.tooltip is None  # it breaks the view
    return found


def words(widget: ipywidgets.HTML) -> str:
    """The text that a browser shows of an HTML widget."""
    return html.unescape(re.sub(r"<[^>]*>", "", widget.value))


def lines(table: Any) -> list[str]:
    """The rows of a table on its page, with plain spaces."""
    return [text.replace("\u00a0", " ") for text, _ in table._list.options]


def picture(image: ipywidgets.Image) -> npt.NDArray[Any]:
    """What a browser decodes of it."""
    return np.asarray(Image.open(io.BytesIO(image.value)))


def threads() -> list[str]:
    """Those of panels that run."""
    return [each.name for each in threading.enumerate() if each.name.startswith("orthanc-research-panel")]
