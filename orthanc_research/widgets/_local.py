"""`LocalBrowser`: what is on an Orthanc, from patients down to slices, and what can be done with it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import ipywidgets
import numpy.typing as npt
import pandas as pd
import traitlets

from orthanc_research.errors import QueryError
from orthanc_research.markup import escape
from orthanc_research.orthanc import Orthanc
from orthanc_research.progress import Progress
from orthanc_research.rest import Level
from orthanc_research.tables import reading_order
from orthanc_research.widgets._actions import Actions
from orthanc_research.widgets._base import Panel
from orthanc_research.widgets._form import Code, button, call, on_enter, show_call
from orthanc_research.widgets._guard import guard, still_wanted
from orthanc_research.widgets._search import SearchForm
from orthanc_research.widgets._table import Table
from orthanc_research.widgets._thumbs import Thumbnails, pictures
from orthanc_research.widgets._viewer import StackViewer

__all__ = ["LocalBrowser"]

_MANY = 10_000  # studies that an empty form lists without asking
_COLUMNS = {
    "Patient": ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "NumberOfPatientRelatedStudies"),
    "Study": (
        "PatientName", "PatientID", "StudyDate", "ModalitiesInStudy", "StudyDescription", "AccessionNumber",
        "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "Labels",
    ),
    "Series": (
        "SeriesNumber", "Modality", "SeriesDescription", "BodyPartExamined", "NumberOfSeriesRelatedInstances",
    ),
}  # fmt: skip
_OF_PATIENTS = {"PatientName", "PatientID", "labels"}


class LocalBrowser(Panel):
    """Search, leaf through and act on what is on an Orthanc.

    >>> browser = ores.widgets.LocalBrowser(orthanc)  # doctest: +SKIP

    `selected` is the frame of the chosen patients or studies, `series` that of the chosen series, `array` the values of
    the slice shown (`viewer` is its `StackViewer`), `results` the ledger of the last action (`actions`). A search or
    another study never stops an action that is under way.
    """

    series = traitlets.Any(None, allow_none=True)
    results = traitlets.Any(None, allow_none=True)

    def __init__(self, orthanc: Orthanc) -> None:
        super().__init__("This Orthanc")
        self._orthanc = orthanc
        self._asked: tuple[Level, dict[str, Any]] | None = None  # the last search
        self._shown: tuple[Level, dict[str, Any]] | None = None  # the search whose answer is on the screen
        self._sure = False
        self._level: Level = "Study"
        self._inside: pd.DataFrame | None = None  # the patients whose studies are shown
        self.form = SearchForm()
        self.table = Table(rows=10, label="Rows")
        self.series_table = Table(_COLUMNS["Series"], rows=5, label="Series")
        self.series_table.widget.add_class("ores-series")
        self.series_table.widget.layout.display = "none"
        self.thumbnails = Thumbnails(self._on_thumbnail)
        self.viewer = StackViewer()
        self.viewer.widget.layout.display = "none"
        self.actions = Actions(orthanc, self.acted_on, self.refresh)
        traitlets.dlink((self.actions, "results"), (self, "results"))
        self._build()

    def _build(self) -> None:
        self.find = button("Find", "ores-find", self._on_find)
        self.find.button_style = "primary"
        on_enter(self.form.fields.values(), self.find)
        self._clear = button("Clear", "ores-clear", self._on_clear)
        self.list = ipywidgets.Dropdown(description="List", options=["studies", "patients"], layout={"width": "14em"})
        self.list.add_class("ores-list")
        self.open = button("Open the studies", "ores-open", self._on_open)
        self.back = button("Back to the patients", "ores-back", self._on_back)
        self.open.layout.display = self.back.layout.display = "none"
        self._path = ipywidgets.HTML()
        self._path.add_class("ores-path")
        self.act_on = ipywidgets.Dropdown(
            description="Act on",
            options=[("the chosen studies or patients", False), ("the chosen series", True)],
            layout={"width": "26em"},
        )
        self.act_on.add_class("ores-act-on")
        self._same = call()
        self.table.observe(self._on_rows, "chosen")
        self.series_table.observe(self._on_series, "chosen")
        self._compose(
            [
                self.form.widget,
                ipywidgets.HBox([self.find, self._clear, self.list]),
                self._same,
            ],
            below=[
                ipywidgets.HBox([self.back, self._path]),
                self.table.widget,
                ipywidgets.HBox([self.open]),
                self.series_table.widget,
                self.thumbnails.widget,
                self.viewer.widget,
                self.act_on,
                self.actions.widget,
            ],
        )
        self.say("Fill in what to look for, or nothing for all studies, and press Enter.")

    @property
    def array(self) -> npt.NDArray[Any] | None:
        """The values of the slice shown, (row, column[, sample]), float32 or as stored: `viewer.values` says which."""
        return self.viewer.array

    def wait(self, seconds: float = 60) -> bool:
        """Until no search, slice or action is under way; False when one still is after `seconds`."""
        until = time.monotonic() + seconds
        lanes = (super().wait, self.actions.wait, super().wait, self.viewer.wait)
        return all(wait(max(0.0, until - time.monotonic())) for wait in lanes)

    def close(self) -> None:
        """End all work under way and take the browser off every cell; its results stay."""
        self.viewer.close()
        self.actions.close()
        super().close()

    # -- searching ----------------------------------------------------------------------------------------------------

    @guard
    def _on_find(self) -> None:
        level: Level = "Patient" if self.list.value == "patients" else "Study"
        asked = level, self.form.criteria()
        self._sure = bool(asked[1]) or (self._sure and self._asked == asked)
        self._asked = asked
        self._search(*asked, sure=self._sure)

    @guard
    def _on_clear(self) -> None:
        self.form.clear()

    def refresh(self) -> None:
        """Search again as before; what is chosen stays chosen where it is there still."""
        with self._lock:
            if self._inside is not None:
                self._studies_of(self._inside, keep=True)
            elif self._shown is not None:
                self._search(*self._shown, sure=True, keep=True)

    def _search(self, level: Level, criteria: dict[str, Any], *, sure: bool, keep: bool = False) -> None:

        def work(progress: Progress) -> pd.DataFrame | int:
            if not sure:
                count = self._orthanc.count("Study")
                if count > _MANY:
                    return count
            found = _found(self._orthanc, level, criteria)
            still_wanted(progress)
            return reading_order(found, level)

        self.task("Searching", work, partial(self._listed, level, criteria, keep))

    def _listed(self, level: Level, criteria: dict[str, Any], keep: bool, frame: pd.DataFrame | int) -> None:
        if isinstance(frame, int):
            self._sure = True
            self.say(f"There are {frame:,} studies; fill in a field, or click Find once more to list them all.")
            return
        self._inside, self._shown = None, (level, criteria)
        show_call(self._same, *_call_of(level, criteria))
        self._list(level, frame, keep=keep)

    def _list(self, level: Level, frame: pd.DataFrame, *, keep: bool = False, path: str = "") -> None:
        same = keep and level == self._level
        self._level = level
        self.open.layout.display = "" if level == "Patient" else "none"
        self.back.layout.display = "" if path else "none"
        self._path.value = f"<span>{escape(path)}</span>" if path else ""
        before = self.table.chosen
        self.table.show(frame, keep=same, columns=_COLUMNS[level])
        if self.table.chosen == before:  # then nobody was told
            self._choose()
        word = {"Patient": ("patient", "patients"), "Study": ("study", "studies")}[level][len(frame) != 1]
        self.say(f"{len(frame):,} {word}.")

    # -- drilling -----------------------------------------------------------------------------------------------------

    @guard
    def _on_open(self) -> None:
        chosen = self.table.selected
        if not len(chosen):
            raise QueryError("Choose a patient in the table first.")
        self._studies_of(chosen)

    def _studies_of(self, patients: pd.DataFrame, *, keep: bool = False) -> None:
        path = _path_of(patients)

        def done(frame: pd.DataFrame) -> None:
            self._inside = patients
            show_call(self._same, "orthanc.studies", {"within": Code("patients")})
            self._list("Study", frame, keep=keep, path=path)

        def work(progress: Progress) -> pd.DataFrame:
            found = self._orthanc.find("Study", within=patients)
            still_wanted(progress)
            return reading_order(found, "Study")

        self.task("Opening the studies", work, done)

    @guard
    def _on_back(self) -> None:
        if self._shown is not None:  # asked again: they may be others now
            self._search(*self._shown, sure=True)

    @guard
    def _on_rows(self, _: Any) -> None:
        with self._lock:
            self._choose()

    def _choose(self) -> None:
        """What follows from the rows that are chosen: one study opens, anything else closes it."""
        self.selected = chosen = self.table.selected
        if self._level == "Study" and len(chosen) == 1:
            self.task("Opening the study", partial(self._series_of, chosen), partial(self._opened, chosen))
            return
        self._opened(chosen, chosen.iloc[:0])

    def _series_of(self, study: pd.DataFrame, progress: Progress) -> pd.DataFrame:
        found = self._orthanc.find("Series", within=study)
        still_wanted(progress)
        return reading_order(found, "Series")

    def _opened(self, study: pd.DataFrame, series: pd.DataFrame) -> None:
        if list(self.table.chosen) != list(study.index):
            return  # something else is chosen since
        before = self.series_table.chosen
        self.series_table.show(series, keep=True)
        self.series_table.widget.layout.display = "" if len(series) else "none"
        self.thumbnails.show(series)
        if self.series_table.chosen == before:
            self.series = self.series_table.selected
        if len(series):
            self.task("Drawing thumbnails", partial(pictures, self._orthanc, study, series), self.thumbnails.draw)
            if len(series) == 1:
                self.series_table.choose(list(series.index))

    @guard
    def _on_thumbnail(self, series: str) -> None:
        self.series_table.choose([series])

    @guard
    def _on_series(self, _: Any) -> None:
        with self._lock:
            self.series = chosen = self.series_table.selected
            self.viewer.widget.layout.display = "" if len(chosen) == 1 else "none"
            if len(chosen) == 1:
                self.viewer.show(chosen, self._orthanc)
            else:
                self.viewer.clear()

    # -- acting -------------------------------------------------------------------------------------------------------

    def acted_on(self) -> pd.DataFrame:
        """The rows that the buttons act on: those of the chosen series, or of the chosen studies or patients."""
        return self.series_table.selected if self.act_on.value else self.table.selected


def _found(orthanc: Orthanc, level: Level, criteria: dict[str, Any]) -> pd.DataFrame:
    if level == "Study":
        return orthanc.find("Study", **criteria)
    if set(criteria) <= _OF_PATIENTS:
        return orthanc.find("Patient", **criteria)
    return orthanc.find("Patient", within=orthanc.find("Study", **criteria))


def _call_of(level: str, criteria: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if level == "Study":
        return "orthanc.studies", criteria
    if set(criteria) <= _OF_PATIENTS:
        return "orthanc.patients", criteria
    given = ", ".join(f"{key}={value!r}" for key, value in criteria.items())
    return "orthanc.patients", {"within": Code(f"orthanc.studies({given})")}


def _path_of(patients: pd.DataFrame) -> str:
    if len(patients) != 1:
        return f"Patients > {len(patients):,} chosen"
    name = patients["PatientName"].iloc[0]
    return f"Patients > {'without a name' if pd.isna(name) else name}"
