"""Answers of a remote archive as they are shown: views, one below the other, and what rows are called."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from orthanc_research.errors import Error
from orthanc_research.markup import escape
from orthanc_research.modality import Modality, many
from orthanc_research.tables import Level, reading_order
from orthanc_research.widgets._table import cell_text

__all__ = ["COLUMNS", "LEDGER", "NAMES", "THINGS", "View", "called", "retrieval", "seconds", "with_here"]

COLUMNS = (
    "PatientName",
    "PatientID",
    "StudyDate",
    "ModalitiesInStudy",
    "StudyDescription",
    "AccessionNumber",
    "Modality",
    "SeriesNumber",
    "SeriesDescription",
    "BodyPartExamined",
    "NumberOfPatientRelatedStudies",
    "NumberOfStudyRelatedSeries",
    "NumberOfPatientRelatedInstances",
    "NumberOfStudyRelatedInstances",
    "NumberOfSeriesRelatedInstances",
    "Here",
)
LEDGER = ("What", "status", "announced", "here_before", "here", "seconds", "error")
NAMES = {
    "Patient": ("PatientName",),
    "Study": ("PatientName", "StudyDate", "ModalitiesInStudy", "StudyDescription"),
    "Series": ("Modality", "SeriesNumber", "SeriesDescription"),
}
THINGS = {"Patient": "patients", "Study": "studies", "Series": "series"}


@dataclass(frozen=True)
class View:
    """Answers of one archive to one question. `crumb` is what was opened for it, `note` what is to be known of it."""

    modality: Modality
    level: Level
    query: dict[str, Any] = field(repr=False)
    frame: pd.DataFrame = field(repr=False)
    crumb: str = field(default="", repr=False)
    note: str = ""


def with_here(view: View) -> View:
    """The view in reading order, with what of it is here; without, and a note, when that cannot be found out."""
    view = replace(view, frame=reading_order(view.frame, view.level))
    try:
        return replace(view, frame=view.modality.here(view.frame))
    except Error as error:
        return replace(view, note=f"{many(view.frame)} What of it is here is not known: {error}".strip())


def called(row: pd.Series, names: tuple[str, ...]) -> str:
    """What a row is called, by these of its columns."""
    return " ".join(filter(None, (cell_text(row.get(name)) for name in names)))


def seconds(column: str, value: Any) -> str | None:
    """A cell of a ledger."""
    return f"{value:.1f}" if column == "seconds" and not pd.isna(value) else None


def retrieval(name: str, level: Level, uids: list[str], method: str) -> str:
    """The line that retrieves the same; with the first UIDs alone where they are many."""
    few = f"{uids!r}" if len(uids) <= 3 else f"[{', '.join(map(repr, uids[:3]))}, …]"
    key = "StudyInstanceUID" if level == "Study" else "SeriesInstanceUID"
    line = f"{name}.retrieve({name}.find({level!r}, {key}={few}), method={method!r})"
    return f"<span>same as: <code>{escape(line)}</code></span>"
