"""Where the file of an instance goes: a template, UIDs that are UIDs, and never two instances at one place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from string import Formatter

from orthanc_research.batch._manifest import MANIFEST
from orthanc_research.errors import QueryError
from orthanc_research.tables import is_uid

__all__ = ["LAYOUT", "Place", "Places", "aside", "check_layout"]

LAYOUT = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"

_LEVELS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_FIELDS = (*_LEVELS, "Modality", "SeriesNumber")
_LITERAL = re.compile(r"[A-Za-z0-9._/ -]*")
_LONGEST = 16  # characters of a CS or IS, more or less; what is longer is no such value


@dataclass(frozen=True, slots=True)
class Place:
    """What a template may name of one instance: (value in the header, Orthanc ID) a level, and two more values."""

    study: tuple[str, str]
    series: tuple[str, str]
    instance: tuple[str, str]
    modality: str = ""
    number: str = ""


def check_layout(template: str) -> str:
    """The template; `QueryError` for one that names anything but UIDs, Modality and SeriesNumber, or that climbs."""
    try:
        parts = list(Formatter().parse(template))
    except (ValueError, TypeError):
        raise QueryError(f"layout is a text such as {LAYOUT!r}, with each brace closed.") from None
    names = [name for _, name, _, _ in parts if name is not None]
    if any(name not in _FIELDS or form or turn for _, name, form, turn in parts if name is not None):
        raise QueryError(f"layout may name {', '.join(_FIELDS)}, each in braces and nothing else: others may be names.")
    if not all(_LITERAL.fullmatch(text) for text, _, _, _ in parts):
        raise QueryError("layout has letters, digits, spaces and . _ - between its fields, and / between folders.")
    steps = template.split("/")
    wrong = any(step.strip() != step or not step or step[0] in ".-" or step[-1] == "." for step in steps)
    if wrong or steps[0].lower() == MANIFEST:
        raise QueryError(
            "layout is a path below the folder: no part is empty, begins with a dot or a hyphen, or is the manifest."
        )
    if "{SOPInstanceUID}" not in steps[-1] or len(names) != len(set(names)):
        raise QueryError("layout ends with a name that has {SOPInstanceUID} in it, and names each field once.")
    return template


def aside(path: str, identifier: str) -> str:
    """The path for an instance whose own is taken by something else: its Orthanc ID stands behind the name."""
    plain = PurePosixPath(path)
    return str(plain.with_name(f"{plain.stem}-{identifier}{plain.suffix}"))


@dataclass
class Places:
    """Paths by a template, each given to one instance.

    A UID occurs under two patients at times (a copy that kept its UIDs): the first Orthanc resource with it has it as
    its name, and others have their Orthanc ID behind it, folders as well as files, so that no folder holds slices of
    two series. `owners` and `taken` are what earlier runs gave.
    """

    template: str
    owners: dict[tuple[str, str], str] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)

    def own(self, path: str, names: Mapping[str, tuple[str, str]]) -> None:
        """An earlier run gave this path, to an instance with {field: (UID, Orthanc ID)}."""
        self.taken[path] = names["SOPInstanceUID"][1]
        for level, (uid, identifier) in names.items():
            if is_uid(uid) and uid in path and f"{uid}-{identifier}" not in path:
                self.owners.setdefault((level, uid), identifier)

    def of(self, place: Place) -> str:
        """The path of an instance, relative, with / between its parts."""
        levels = zip(_LEVELS, (place.study, place.series, place.instance), strict=True)
        values = {level: self._name(level, *both) for level, both in levels if level in self.template}
        values["Modality"] = _kept("A-Z0-9", place.modality.upper())
        values["SeriesNumber"] = _kept("0-9", place.number)
        path, identifier = self.template.format_map(values), place.instance[1]
        if self.taken.setdefault(path, identifier) != identifier:
            path = aside(path, identifier)
            self.taken[path] = identifier
        return path

    def _name(self, level: str, uid: str, identifier: str) -> str:
        if not is_uid(uid):
            return identifier
        return uid if self.owners.setdefault((level, uid), identifier) == identifier else f"{uid}-{identifier}"


def _kept(characters: str, value: str) -> str:
    return re.sub(f"[^{characters}]", "", value)[:_LONGEST] or "NA"
