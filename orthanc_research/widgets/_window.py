"""How grey is seen: presets, and the two numbers of a window."""

from __future__ import annotations

import math
from typing import Any

import ipywidgets

from orthanc_research.errors import QueryError
from orthanc_research.pixels import Window
from orthanc_research.widgets._form import Field
from orthanc_research.widgets._slices import Shown

__all__ = ["WindowForm"]

# (centre, width) in HU, as radiologists are used to them
_OF_HU = {"soft tissue": (40.0, 400.0), "lung": (-600.0, 1500.0), "bone": (400.0, 1800.0)}
_FILE, _FULL, _OWN = "file", "full", "as entered"


class WindowForm:
    """A preset, and a window's centre and width; `chosen` is the window asked for, None for that of the file.

    `quiet` is True while it is this program that changes what is in it.
    """

    def __init__(self) -> None:
        self.chosen: Window | None = None
        self.quiet = False
        self.preset = ipywidgets.Dropdown(
            description="Window", options=[_FILE], layout={"width": "14em"}, style={"description_width": "4em"}
        )
        self.centre = Field("Centre", read=_number, width="11em")
        self.width = Field("Width", read=_width, width="11em")
        self.preset.add_class("ores-preset")
        self.centre.box.add_class("ores-centre")
        self.width.box.add_class("ores-width")
        self.widget = ipywidgets.HBox([self.preset, self.centre.widget, self.width.widget])

    def offer(self, shown: Shown, *, first: bool) -> None:
        """The presets that mean something for these values; the one before stays, unless it is the `first` slice."""
        names = [_FILE, *(_OF_HU if shown.units == "HU" else ()), _FULL, _OWN]
        value = self.preset.value if not first and self.preset.value in names else _FILE
        if first and shown.ranged:  # one range for all slices: with one for each they could not be compared
            value, self.chosen = _FULL, shown.whole()
        if value == _FILE:
            self.chosen = None
        self._set(value, names)
        grey = shown.paint is not None and not shown.colour
        for box in (self.preset, self.centre.box, self.width.box):
            box.disabled = not grey

    def take(self, name: str, shown: Shown) -> None:
        """Choose the window of a preset."""
        if name == _FULL:
            self.chosen = shown.whole()
        elif name != _OWN:
            self.chosen = Window(*_OF_HU[name]) if name in _OF_HU else None

    def enter(self) -> None:
        """Choose the window that was entered; `QueryError`, said beside its field, for what is none."""
        centre, width = self.centre.value(), self.width.value()
        for field, value in ((self.centre, centre), (self.width, width)):
            if value is None:
                field.complain("A window needs both numbers.")
        if centre is None or width is None:
            raise QueryError("A window needs both numbers.")
        # A LINEAR window is 1 or wider (PS3.3 C.11.2.1.2).
        self.chosen = Window(centre, width, function="LINEAR" if width >= 1 else "LINEAR_EXACT")
        self._set(_OWN, list(self.preset.options))

    def tell(self, window: Window | None) -> None:
        """Show the numbers of the window that is in use; none for a table, and for colours."""
        self.quiet = True
        try:
            for field, value in ((self.centre, window and window.centre), (self.width, window and window.width)):
                field.complain("")
                field.box.value = "" if value is None else f"{value:.6g}"
        finally:
            self.quiet = False

    def _set(self, value: str, options: list[Any]) -> None:
        self.quiet = True
        try:
            if list(self.preset.options) != options:
                self.preset.options = options
            self.preset.value = value
        finally:
            self.quiet = False


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise QueryError("This is a number, such as 40.")
    return value


def _width(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise QueryError("A width is a number above 0.")
    return value
