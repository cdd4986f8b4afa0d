"""The form of a remote find: fields → criteria, with what is wrong beside its field, before anybody is asked."""

from __future__ import annotations

import re
from datetime import date, timedelta
from functools import partial
from typing import Any

import ipywidgets

from orthanc_research.errors import QueryError
from orthanc_research.tables import Level, plan_remote
from orthanc_research.widgets._form import Field, complete, period

__all__ = ["QueryForm"]

_FIELDS = {
    "PatientName": ("Patient name", "DOE*"),
    "PatientID": ("Patient ID", ""),
    "AccessionNumber": ("Accession", ""),
    "StudyDate": ("Study date", "2020-01-01 .. 2020-12-31"),
    "ModalitiesInStudy": ("Modality", "CT"),
    "StudyDescription": ("Description", "*ABDOMEN*"),
}
_CHOOSE = "set the dates …"
_PERIODS = {"any date": -1, "today": 0, "last 7 days": 7, "last 30 days": 30, "last 12 months": 365}
_MODALITY = re.compile(r"[A-Z0-9_]{2,16}")


class QueryForm:
    """Fields for what a study is usually looked for by, one for any other tags, and presets for dates."""

    def __init__(self) -> None:
        self.level: Level = "Study"
        self.fields = {
            keyword: Field(label, placeholder=hint, read=partial(self._value, keyword))
            for keyword, (label, hint) in _FIELDS.items()
        }
        self.more = Field(
            "More tags", placeholder="InstitutionName = St*; 0008,1010 = CT1", read=self._more, width="40em"
        )
        self.preset = ipywidgets.Dropdown(options=[_CHOOSE, *_PERIODS], layout={"width": "11em"})
        self.preset.observe(self._on_preset, "value")
        for name, field in (*self.fields.items(), ("more", self.more)):
            field.widget.add_class(f"ores-field-{name.lower()}")
        self.preset.add_class("ores-preset")
        one, two, three, four, five, six = (field.widget for field in self.fields.values())
        self.widget = ipywidgets.VBox(
            [
                ipywidgets.HBox([one, two, three]),
                ipywidgets.HBox([four, self.preset, five]),
                ipywidgets.HBox([six, self.more.widget]),
            ]
        )
        self.widget.add_class("ores-form")

    def read(self, level: Level) -> tuple[dict[str, Any], dict[str, str]]:
        """(criteria, match) of a find at this level; the first `QueryError` of all that are wrong, each is shown."""
        self.level = level
        criteria = complete({**self.fields, "": self.more})
        more, match = criteria.pop("", ({}, {}))
        try:
            plan_remote(level, {**criteria, **more}, None, match)
            if set(criteria) & set(more):
                raise QueryError(f"{min(set(criteria) & set(more))} is asked for twice.")
        except QueryError as error:  # each alone is right, so together they are not
            self.more.complain(str(error))
            raise
        return {**criteria, **more}, match

    def clear(self) -> None:
        """Empty all fields."""
        for field in (*self.fields.values(), self.more):
            field.clear()

    def _value(self, keyword: str, text: str) -> Any:
        value: Any = text.strip()
        if keyword == "ModalitiesInStudy":
            value = value.upper()
            if not _MODALITY.fullmatch(value):
                raise QueryError("One modality at a time, such as CT, MR or US.")
        if keyword == "StudyDate":
            value = period(value)
        plan_remote(self.level, {keyword: value}, None, None)
        return value

    def _more(self, text: str) -> tuple[dict[str, str], dict[str, str]]:
        criteria: dict[str, str] = {}
        match: dict[str, str] = {}
        for part in filter(str.strip, text.split(";")):
            name, equals, value = (each.strip() for each in part.partition("="))
            if not equals or not name:
                raise QueryError("More tags are Keyword = value, with ; between them.")
            into = match if re.fullmatch(r"[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}", name) else criteria
            if name in into:
                raise QueryError(f"{name} is asked for twice.")
            into[name] = value
        plan_remote(self.level, criteria, None, match)
        return criteria, match

    def _on_preset(self, change: dict[str, Any]) -> None:
        days = _PERIODS.get(change["new"])
        if days is None:
            return
        today = date.today()  # noqa: DTZ011  # the day on the wall, which is what study dates are
        self.fields["StudyDate"].box.value = "" if days < 0 else f"{today - timedelta(days)} .. {today}"
        self.preset.value = _CHOOSE  # so that the same one can be chosen again when the field was changed
