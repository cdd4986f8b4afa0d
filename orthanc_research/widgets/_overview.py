"""`OverviewPanel`: what an Orthanc holds, modality by year, and the studies behind each number."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import ipywidgets
import pandas as pd
import traitlets

from orthanc_research import plots
from orthanc_research.orthanc import Orthanc
from orthanc_research.progress import Progress
from orthanc_research.tables import OVERVIEW_COLUMNS, overview_frame, overview_series, reading_order
from orthanc_research.widgets._base import Panel
from orthanc_research.widgets._form import button, call, show_call
from orthanc_research.widgets._guard import guard, still_wanted, text
from orthanc_research.widgets._table import Table

__all__ = ["OverviewPanel"]

_CELLS = ("Modality", "Year", "studies", "series", "instances", "scanners")
_STUDIES = (
    "PatientName", "PatientID", "StudyDate", "ModalitiesInStudy", "StudyDescription", "NumberOfStudyRelatedSeries",
)  # fmt: skip


class OverviewPanel(Panel):
    """Modality by year, as a picture and as a table; choose rows of the table for the studies that they count.

    >>> panel = ores.widgets.OverviewPanel(orthanc)  # doctest: +SKIP

    `frame` is what `orthanc.overview(sizes=False)` gives, `selected` the frame of the studies of the rows that are
    chosen. Both are of one moment: `Read again` asks the server anew.
    """

    frame = traitlets.Any(None, allow_none=True)

    def __init__(self, orthanc: Orthanc) -> None:
        super().__init__("What this Orthanc holds")
        self._orthanc = orthanc
        self._series = pd.DataFrame()
        self._image = ipywidgets.Image(
            format="png", layout={"display": "none", "max_width": "100%", "align_self": "flex-start"}
        )
        self._image.add_class("ores-overview")
        self._caption = text("The numbers of the picture are those of the table below.", classes="ores-note")
        self.again = button("Read again", "ores-again", self._on_again)
        self.table = Table(_CELLS, rows=10, label="Rows")
        self.table.observe(self._on_cells, "chosen")
        self.studies = Table(_STUDIES, rows=8, label="Studies")
        self.studies.widget.add_class("ores-studies")
        self._same = call()
        self._compose(
            [
                ipywidgets.HBox([self.again]),
                self._image,
                self._caption,
                self._same,
                self.table.widget,
                self.studies.widget,
            ]
        )
        self.read()

    def read(self) -> None:
        """Ask the server what there is: one request a page of series."""
        show_call(self._same, "orthanc.overview", {"sizes": False})
        self.task("Reading the overview", self._ask, self._put)

    @guard
    def _on_again(self) -> None:
        self.read()

    def _ask(self, progress: Progress) -> tuple[pd.DataFrame, pd.DataFrame, bytes]:
        series = self._orthanc.find("Series", columns=(*OVERVIEW_COLUMNS, "StudyInstanceUID"))
        frame = overview_frame(series, None)
        still_wanted(progress)
        return series, frame, _drawn(frame)

    def _put(self, read: tuple[pd.DataFrame, pd.DataFrame, bytes]) -> None:
        self._series, self.frame, picture = read
        self._image.value = picture
        self._image.layout.display = "" if picture else "none"
        before = self.table.chosen
        self.table.show(self.frame)
        if self.table.chosen == before:
            self._choose()
        self.say(f"{_studies(self._series['ParentStudy'].nunique())}, {len(self._series):,} series.")

    @guard
    def _on_cells(self, _: Any) -> None:
        with self._lock:
            self._choose()

    def _choose(self) -> None:
        cells = self.table.selected
        if not len(cells):
            self.studies.show(pd.DataFrame())
            self.selected = None
            return
        inside = overview_series(self._series, list(zip(cells["Modality"], cells["Year"], strict=True)))
        chosen = self.table.chosen
        self.task("Listing the studies", partial(self._find, inside), partial(self._listed, chosen))

    def _find(self, inside: pd.DataFrame, progress: Progress) -> tuple[pd.DataFrame, int]:
        found = self._orthanc.find("Study", within=inside)
        still_wanted(progress)
        return reading_order(found, "Study"), inside["ParentStudy"].nunique()

    def _listed(self, chosen: tuple[Any, ...], found: tuple[pd.DataFrame, int]) -> None:
        if chosen != self.table.chosen:
            return  # something else is chosen since, or nothing
        studies, expected = found
        self.studies.show(studies)
        self.selected = studies
        lost = expected - len(studies)
        gone = f" {lost:,} of {expected:,} are gone since the overview was read: read it again." if lost else ""
        self.say(f"{_studies(len(studies))}.{gone}", failed=bool(lost))


def _studies(count: int) -> str:
    return f"{count:,} {'study' if count == 1 else 'studies'}"


def _drawn(frame: pd.DataFrame) -> bytes:
    """The figure of the overview as PNG; nothing of an empty archive."""
    if not len(frame):
        return b""
    stream = io.BytesIO()
    plots.overview(frame).savefig(stream, format="png", dpi=110)
    return stream.getvalue()
