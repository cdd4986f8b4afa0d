"""The form that a local archive is searched by."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import ipywidgets

from orthanc_research.errors import QueryError
from orthanc_research.tables import parse_criteria
from orthanc_research.widgets._form import Field, complete, period

__all__ = ["SearchForm"]

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FIELDS = (
    ("PatientName", "Patient name", "DOE*"),
    ("PatientID", "Patient ID", ""),
    ("AccessionNumber", "Accession number", ""),
    ("StudyDate", "Study date", "2020-01-01 .. 2020-12-31"),
    ("Modality", "Modality", "CT, MR"),
    ("StudyDescription", "Description", "*thorax*"),
    ("labels", "Labels", "reviewed, train"),
)


class SearchForm:
    """Fields for a find of studies; `criteria()` is what was entered, once all of it makes sense."""

    def __init__(self) -> None:
        self.fields = {
            name: Field(label, placeholder=hint, read=_reader(name), width="24em") for name, label, hint in _FIELDS
        }
        for name, field in self.fields.items():
            field.box.add_class(f"ores-{name.lower()}")
        self.widget = ipywidgets.Box([field.widget for field in self.fields.values()], layout={"flex_flow": "row wrap"})
        self.widget.add_class("ores-form")

    def criteria(self) -> dict[str, Any]:
        """The arguments of `orthanc.studies`; `QueryError` when a field is wrong, after every wrong one says so."""
        return complete(self.fields)

    def clear(self) -> None:
        """Empty all fields."""
        for field in self.fields.values():
            field.clear()


def _reader(name: str) -> Callable[[str], Any]:
    if name == "labels":
        return labels
    return partial(_criterion, name)


def _criterion(keyword: str, text: str) -> Any:
    """The text as the criterion's value; `QueryError` as a find would raise it."""
    value: Any = text.strip()
    if keyword == "StudyDate":
        value = period(value)
    elif keyword == "Modality":
        parts = [part for part in re.split(r"[,;\s]+", value) if part]
        value = parts[0] if len(parts) == 1 else parts
    parse_criteria("Study", {keyword: value})
    return value


def labels(text: str) -> list[str]:
    """Labels with commas or spaces between; `QueryError` for what can be none."""
    found = [part for part in re.split(r"[,;\s]+", text) if part]
    if not found or not all(map(_LABEL.fullmatch, found)):
        raise QueryError("A label has 1 to 64 letters A-Z and a-z, digits, _ and -; commas stand between labels.")
    return found
