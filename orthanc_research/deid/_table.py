"""The rules as data: Table E.1-1 of PS3.15, what is technical beside it, and private elements known safe."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = [
    "OPTIONS",
    "Row",
    "Safe",
    "editions",
    "lower_units",
    "private_elements",
    "rows",
    "technical",
    "units",
    "words",
]

# The columns of Table E.1-1 that are options, by the name that a profile gives them.
OPTIONS = (
    "retain_safe_private",
    "retain_uids",
    "retain_device_identity",
    "retain_institution_identity",
    "retain_patient_characteristics",
    "clean_descriptors",
    "clean_structured_content",
    "clean_graphics",
)
_DATES = "retain_longitudinal_modified_dates"


@dataclass(frozen=True, slots=True)
class Row:
    """One attribute of Table E.1-1: its basic action ("X", "Z", "D", "U", "X/Z/D"…), and K or C by option."""

    tag: int
    keyword: str
    basic: str
    dated: bool
    options: tuple[tuple[str, str], ...]

    @property
    def last(self) -> str:
        """The last letter of a compound action: the one that keeps an object valid whatever its type there."""
        return self.basic.rstrip("*")[-1]


@dataclass(frozen=True, slots=True)
class Safe:
    """A private element that is known to hold no identity; `vm` is how many values it has, 0 for any number."""

    vr: str
    vm: int
    why: str


@cache
def _table() -> tuple[dict[str, str], ...]:
    return tuple(csv.DictReader(io.StringIO(_text("ps3.15-table-e1-1.csv"))))


@cache
def rows() -> dict[int, Row]:
    """The rows of Table E.1-1 by tag; those of repeating groups and of all private elements are code elsewhere."""
    found: dict[int, Row] = {}
    for line in _table():
        tag = re.match(r"\(?([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})", line["tag"].strip())
        if tag:
            number = int(tag[1] + tag[2], 16)
            marks = tuple((name, line[name].strip()) for name in OPTIONS if line[name].strip())
            found[number] = Row(number, line["keyword"], line["basic"].strip(), bool(line[_DATES].strip()), marks)
    return found


def editions() -> str:
    """The editions of PS3.15 that the shipped table was made from."""
    return ", ".join(sorted({line["edition"] for line in _table()}))


@cache
def technical() -> dict[str, str]:
    """Keywords that Table E.1-1 does not list, and whether a text there is kept ("keep") or cleaned ("clean")."""
    found: dict[str, str] = {}
    action = ""
    for line in _lines("technical.txt"):
        if line.startswith("["):
            action = line.strip("[]")
        else:
            found.update(dict.fromkeys(line.split(), action))
    return found


@cache
def private_elements() -> dict[tuple[str, str], Safe]:
    """Private elements known safe by (creator, "gggg,xxee")."""
    found: dict[tuple[str, str], Safe] = {}
    for line in csv.DictReader(_lines("private.csv")):
        vm = 0 if line["vm"] == "n" else int(line["vm"])
        found[line["creator"], line["element"].lower()] = Safe(line["vr"], vm, line["why"])
    return found


@cache
def words() -> frozenset[str]:
    """The shipped vocabulary of cleaned texts, in lower case."""
    return frozenset(word for line in _lines("words.txt") for word in line.split())


@cache
def units() -> frozenset[str]:
    """Units of measurement, as they are written."""
    return frozenset(unit for line in _lines("units.txt") for unit in line.split())


@cache
def lower_units() -> frozenset[str]:
    """Units of measurement in lower case."""
    return frozenset(unit.lower() for unit in units())


def _lines(name: str) -> list[str]:
    return [line for line in _text(name).splitlines() if line.strip() and not line.startswith("#")]


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
