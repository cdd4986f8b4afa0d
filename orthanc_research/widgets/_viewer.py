"""`StackViewer`: the slices of a series or a volume, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import ipywidgets
import pandas as pd

from orthanc_research import resolve
from orthanc_research.errors import Error, QueryError
from orthanc_research.markup import escape
from orthanc_research.orthanc import Orthanc, client_of
from orthanc_research.pixels import Stack, Volume
from orthanc_research.progress import Progress
from orthanc_research.widgets._guard import guard, still_wanted
from orthanc_research.widgets._slices import Slices, StackSlices, VolumeSlices
from orthanc_research.widgets._viewer_slice import SlicePanel

__all__ = ["StackViewer"]


class StackViewer(SlicePanel):
    """The slices of a series on an Orthanc, of a `Stack` of it, or of a `Volume` in memory.

    >>> ores.widgets.StackViewer(orthanc.series(Modality="CT").iloc[:1])  # doctest: +SKIP

    A series is an Orthanc ID or a frame of one row (`orthanc` may be left out where the frame knows it). Its slices
    come file by file, the middle one first, in the order of its verdict (`orthanc.stacks`), which is shown; 64 are
    kept. What is no image is shown as text.

    Grey goes through a window: "file" is what `orthanc.pixels(…, "display")` shows, "full" from the least to the
    largest value of the slice that was on the screen when it was chosen, the others are those of CT, in HU.

    `index` is the slice shown, from 0; `array` its values, `values` whether they are "rescaled" or "stored", and
    `units`; `selected` the Orthanc ID of its instance (of a `Volume` its SOPInstanceUID). `go(k)` shows another.
    """

    def __init__(self, series: Any = None, orthanc: Orthanc | None = None) -> None:
        super().__init__("Slices")
        self._parts: list[Slices] = []
        self._slices: Slices | None = None
        self._wanted, self._step, self._quiet = 0, 1, False
        self._reader: object | None = None
        self._build()
        if series is not None:
            self.show(series, orthanc)

    def _build(self) -> None:
        self._part = ipywidgets.Dropdown(description="Part", layout={"width": "40em", "display": "none"})
        self._verdict = ipywidgets.HTML()
        self._slider = ipywidgets.IntSlider(
            1, 1, 1, description="Slice", disabled=True, layout={"width": "36em"}, style={"description_width": "4em"}
        )
        for widget, kind in (
            (self._part, "part"),
            (self._verdict, "verdict"),
            (self._slider, "slice"),
        ):
            widget.add_class(f"ores-{kind}")
        self._part.observe(self._on_part, "value")
        self._slider.observe(self._on_slide, "value")
        self._compose([self._part, self._verdict, self._beside(self._slider), self._same])

    # -- what is shown ------------------------------------------------------------------------------------------------

    def show(self, series: Any, orthanc: Orthanc | None = None) -> None:
        """Show another series, stack or volume. `QueryError` for what is none of these, before anything is sent.

        What was shown goes at once: it would be taken for a slice of this one, and leafing in it would end its coming.
        """
        if isinstance(series, Volume):
            self._come(series, "Reading the volume", partial(_of_volume, series))
            return
        if isinstance(series, Stack):
            if orthanc is None or not all(series.instances):
                raise QueryError("A Stack is shown from the Orthanc that it is of: StackViewer(stack, orthanc).")
            self._come(series, "Reading the stack", partial(_of_stack, orthanc, series))
            return
        if orthanc is None:
            if not isinstance(series, pd.DataFrame | pd.Series):
                raise QueryError("Say which Orthanc has the series: StackViewer(series, orthanc).")
            orthanc = client_of(series)
        chosen = resolve.one(orthanc.rest, series, "Series")
        self._come(chosen, "Reading the headers of the series", partial(_of_series, orthanc, chosen))

    def _come(self, series: Any, what: str, work: Callable[[Progress], list[Slices]]) -> None:
        with self._lock:
            self.clear()
            self._series = series
            self.task(what, work, self._open)

    def clear(self) -> None:
        """Show nothing."""
        with self._lock:
            self.drop()
            self.say("")
            self._parts, self._slices, self._series = [], None, None
            self._wipe()
            self._verdict.value = ""
            self._part.layout.display = "none"
            self._slider.disabled = True

    def go(self, k: int) -> None:
        """Show slice `k`, counted from 0; `QueryError` when there is none."""
        if self._slices is None or not 0 <= k < self._slices.count:
            raise QueryError("There is no such slice.")
        self._slider.value = k + 1

    # -- opening ------------------------------------------------------------------------------------------------------

    def _open(self, parts: list[Slices]) -> None:
        self._parts = parts
        if not parts:
            raise QueryError("There is nothing in this series.")
        first = next((k for k, each in enumerate(parts) if each.verdict.startswith("ok")), None)
        at = first if first is not None else max(range(len(parts)), key=lambda k: parts[k].count)
        self._silently(self._part, [(f"{k + 1} of {len(parts)} · {p.label}", k) for k, p in enumerate(parts)], at)
        self._part.layout.display = "" if len(parts) > 1 else "none"
        self._begin(parts[at])

    def _begin(self, slices: Slices) -> None:
        self._slices, self._reader, self.windows.chosen = slices, None, None
        self._wipe()
        self._verdict.value = f'<span class="ores-note">{escape(slices.verdict)}</span>'
        self._quiet = True
        try:
            self._slider.max = max(slices.count, 1)
            self._slider.value = slices.count // 2 + 1
            self._slider.disabled = slices.count < 2
        finally:
            self._quiet = False
        self._want(slices.count // 2)

    @guard
    def _on_part(self, change: dict[str, Any]) -> None:
        with self._lock:
            if not self._quiet and change["new"] is not None:
                self._begin(self._parts[change["new"]])

    def _silently(self, widget: Any, options: list[Any], value: Any) -> None:
        before, self._quiet = self._quiet, True
        try:
            if list(widget.options) != options:
                widget.options = options
            widget.value = value
        finally:
            self._quiet = before

    # -- leafing ------------------------------------------------------------------------------------------------------

    @guard
    def _on_slide(self, change: dict[str, Any]) -> None:
        with self._lock:  # a thread that draws sets the slider too: its events are quiet, and those of others wait
            if not self._quiet:
                self._want(change["new"] - 1)

    def _want(self, k: int) -> None:
        """Show a slice: at once when it is here, else when the thread that reads has it."""
        with self._lock:
            slices = self._slices
            if slices is None:
                return
            self._step, self._wanted = (1 if k >= self._wanted else -1), k
            if slices.has(k):
                self._draw(k, slices.read(k))
            elif self._shown is not None:
                self._caption.value = f"<span>{escape(f'Reading slice {k + 1} …')}</span>"
            reads = self._reader is not None and self._run is not None and not self._run.progress.cancelled
            if not reads and self._next() is not None:
                reader = self._reader = object()
                self.task("Reading slices", partial(self._read, reader, slices), lambda _: None)

    def _next(self) -> int | None:
        """What is to be fetched next: what is wanted, then its neighbours."""
        slices = self._slices
        if slices is None:
            return None
        if not slices.has(self._wanted):
            return self._wanted
        return next((k for k in slices.near(self._wanted, self._step) if not slices.has(k)), None)

    def _read(self, reader: object, slices: Slices, progress: Progress) -> None:
        """The work of the thread that reads; it ends when what is wanted is here with its neighbours."""
        stuck = False
        try:
            while not progress.cancelled:
                with self._lock:
                    k = self._next() if self._reader is reader else None
                    if k is None or (stuck and k != self._wanted):
                        self._reader = None if self._reader is reader else self._reader
                        return
                stuck = not self._fetch(slices, k, progress)
                progress.advance()
            still_wanted(progress)
        except BaseException:
            with self._lock:
                if self._reader is reader:
                    self._stay()
            raise
        finally:
            with self._lock:
                self._reader = None if self._reader is reader else self._reader

    def _fetch(self, slices: Slices, k: int, progress: Progress) -> bool:
        try:
            shown = slices.read(k)
        except Error:
            if k == self._wanted:
                raise
            return False  # a neighbour that does not come is spoken of when it is wanted
        with self._lock:
            # What is wanted may have changed meanwhile, to another frame of the file that came.
            wanted, here = self._wanted, not progress.cancelled and self._slices is slices
            if here and self.index != wanted and slices.has(wanted):
                self._draw(wanted, shown if wanted == k else slices.read(wanted))
        return True

    def _stay(self) -> None:
        """Back to the slice that is shown, so that the next key asks for the other one again."""
        if self._shown is not None and self.index >= 0:
            self._wanted = self.index
            self._quiet = True
            try:
                self._slider.value = self.index + 1
            finally:
                self._quiet = False
            self._paint()


def _of_series(orthanc: Orthanc, series: str, progress: Progress) -> list[Slices]:
    stacks = orthanc.stacks(series)
    still_wanted(progress)
    return [StackSlices(orthanc.rest, stack) for stack in stacks]


def _of_stack(orthanc: Orthanc, stack: Stack, _: Progress) -> list[Slices]:
    return [StackSlices(orthanc.rest, stack)]


def _of_volume(volume: Volume, _: Progress) -> list[Slices]:
    return [VolumeSlices(volume)]
