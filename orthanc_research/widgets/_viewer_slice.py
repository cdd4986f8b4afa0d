"""`SlicePanel`: one slice on a screen, its picture through a window, what is said of it, and its tags."""

from __future__ import annotations

from typing import Any

import ipywidgets
import numpy.typing as npt
import traitlets

from orthanc_research.errors import PixelError
from orthanc_research.markup import escape
from orthanc_research.pixels import Volume, Window
from orthanc_research.widgets._base import Panel
from orthanc_research.widgets._form import call, show_call
from orthanc_research.widgets._guard import guard
from orthanc_research.widgets._picture import FORMAT, bitmap, blank, size
from orthanc_research.widgets._slices import Shown
from orthanc_research.widgets._window import WindowForm

__all__ = ["SlicePanel"]

_LINES = 400  # of the tags of a slice; a browser gets them anew with each


class SlicePanel(Panel):
    """The slice that is seen; what leafs through slices is `StackViewer`."""

    index = traitlets.Int(-1, read_only=True)

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self._shown: Shown | None = None
        self._series: Any = None
        self._image = ipywidgets.Image(value=blank(), format=FORMAT, layout={"display": "none"})
        self._caption = ipywidgets.HTML("<span></span>")
        self.windows = WindowForm()
        self._tags = ipywidgets.HTML()
        self._with_tags = ipywidgets.Checkbox(True, description="Tags of the slice", indent=False)
        self._same = call()
        for widget, kind in (
            (self._image, "image"),
            (self._caption, "caption"),
            (self._tags, "tags"),
            (self._with_tags, "with-tags"),
        ):
            widget.add_class(f"ores-{kind}")
        self.windows.preset.observe(self._on_preset, "value")
        self.windows.centre.box.observe(self._on_window, "value")
        self.windows.width.box.observe(self._on_window, "value")
        self._with_tags.observe(self._on_tags, "value")

    def _beside(self, slider: ipywidgets.Widget) -> ipywidgets.HBox:
        """The picture over this slider, and the tags beside both."""
        picture = ipywidgets.VBox([self._image, self._caption, slider, self.windows.widget, self._with_tags])
        both = ipywidgets.HBox([picture, self._tags])
        both.add_class("ores-beside")
        return both

    def _wipe(self) -> None:
        """No slice is shown: what was there would be taken for one of what comes."""
        self._shown = None
        self._tags.value = self._same.value = ""
        self._caption.value = "<span></span>"
        self._image.value, self._image.layout.display = blank(), "none"
        self.selected = None
        self.set_trait("index", -1)

    @property
    def array(self) -> npt.NDArray[Any] | None:
        """The values of the slice shown, (row, column[, sample]), float32 or as stored: `values` says which."""
        return None if self._shown is None else self._shown.array

    @property
    def values(self) -> str:
        """What `array` holds: "rescaled" or "stored" (colours, and what cannot be rescaled); "" for no picture."""
        return "" if self._shown is None else self._shown.values

    @property
    def units(self) -> str:
        """Of `array`."""
        return "" if self._shown is None else self._shown.units

    @property
    def window(self) -> Window | None:
        """The window that the picture went through; None for a table of the file, and for colours."""
        return None if self._shown is None or self._shown.colour else self.windows.chosen or self._shown.window

    # -- drawing ------------------------------------------------------------------------------------------------------

    def _draw(self, k: int, shown: Shown) -> None:
        first, self._shown = self._shown is None, shown
        self.windows.offer(shown, first=first)
        self._paint()
        self._list()
        self.selected = shown.instance or None
        self.set_trait("index", k)

    def _paint(self) -> None:
        shown = self._shown
        if shown is None:
            return
        reason, told = shown.reason, [shown.caption]
        picture = None
        if shown.paint is not None:
            try:
                picture = shown.paint(self.windows.chosen)
            except PixelError as error:
                reason = str(error)
        if picture is not None:
            wide, tall = size(picture.shape[0], picture.shape[1], shown.aspect)
            self._image.layout.width, self._image.layout.height = f"{wide}px", f"{tall}px"
            self._image.value = bitmap(picture)
            told.append("colours" if shown.colour else f"{shown.values}, {shown.units}")
        self._image.layout.display = "none" if picture is None else ""
        self._caption.value = f"<span>{escape(' · '.join([*told, reason] if reason else told))}</span>"
        self.windows.tell(self.window)
        self._tell_call(shown)

    def _tell_call(self, shown: Shown) -> None:
        if isinstance(self._series, Volume):
            self._same.value = ""
            return
        asked: dict[str, Any] = {"instance": shown.instance, "values": "display"}
        window = self.windows.chosen
        if window is not None:
            asked["window"] = (window.centre, window.width) if window.function == "LINEAR" else window
        show_call(self._same, "orthanc.pixels", asked)

    def _list(self) -> None:
        shown = self._shown
        if shown is None or not (self._with_tags.value or shown.paint is None):
            self._tags.value = ""
            return
        lines = shown.lines()
        most = _LINES if shown.paint is not None else len(lines)
        more = [f"… and {len(lines) - most} more"] if len(lines) > most else []
        told = "\n".join(map(escape, [*lines[:most], *more]))
        self._tags.value = f'<pre tabindex="0" aria-label="Tags of the slice">{told}</pre>'

    @guard
    def _on_tags(self, _: dict[str, Any]) -> None:
        self._list()

    # -- windows ------------------------------------------------------------------------------------------------------

    @guard
    def _on_preset(self, change: dict[str, Any]) -> None:
        with self._lock:
            if not self.windows.quiet and self._shown is not None:
                self.windows.take(change["new"], self._shown)
                self._paint()

    @guard
    def _on_window(self, _: dict[str, Any]) -> None:
        with self._lock:
            if not self.windows.quiet and self._shown is not None:
                self.windows.enter()
                self._paint()
