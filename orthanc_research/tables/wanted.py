"""A list of studies as people keep it → what to ask an archive, row by row; and which answers are the row.

A row names a study by its StudyInstanceUID, its AccessionNumber, or a PatientID with a StudyDate; a series by its two
UIDs. An archive may match more than it was asked for (without case, or by ignoring a key that it does not know), so
each answer is held against the row again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from orthanc_research.errors import QueryError
from orthanc_research.tables.criteria import parse_criteria
from orthanc_research.tables.remote import ANNOUNCED, KEYS, UID_OF, key_of
from orthanc_research.tables.schema import Level

__all__ = ["Match", "Wanted", "matches", "wanted_rows"]

_NAMES = ("StudyInstanceUID", "SeriesInstanceUID", "AccessionNumber", "PatientID", "StudyDate")
_HOW = "a StudyInstanceUID, an AccessionNumber, or a PatientID with a StudyDate"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row: the keys that it names its study or series by, as DICOM text; or the `problem` why it cannot be asked."""

    level: Level
    keys: Mapping[str, str] = field(repr=False)
    problem: str | None = None

    @property
    def query(self) -> dict[str, str]:
        """The C-FIND: what has to match, and what the answer has to say."""
        return {**dict.fromkeys((*KEYS[self.level], ANNOUNCED[self.level]), ""), **self.keys}


@dataclass(frozen=True, slots=True)
class Match:
    """An answer that is the row: its number, its unique keys, and how many instances the archive announces."""

    number: int
    keys: Mapping[str, str]
    announced: int | None


def wanted_rows(table: pd.DataFrame, columns: Mapping[str, str] | None, *, several: bool) -> list[Wanted]:
    """The rows of the table, in their order.

    Columns (or the index) with a DICOM keyword as name count; `columns` is {a column of yours: keyword}. Others are
    passed over. With `several`, a PatientID alone will do. `QueryError` when no column names studies, and for decimals
    where identifiers should be: their zeros are lost already.
    """
    given = dict(columns or {})
    known = table.reset_index() if table.index.name in {*_NAMES, *given} else table
    lost = [name for name in given if name not in known.columns]
    if lost or not set(given.values()) <= set(_NAMES):
        raise QueryError(f"columns is {{a column of the table: keyword}}; keywords are {', '.join(_NAMES)}.")
    called = [given.get(str(name), str(name)) for name in known.columns]
    if len(set(called) & set(_NAMES)) < sum(name in _NAMES for name in called):
        raise QueryError("Two columns of the table are the same keyword; leave one out.")
    values = {name: known.iloc[:, called.index(name)] for name in _NAMES if name in called}
    if not values.keys() - {"StudyDate"}:
        raise QueryError(
            f"No column names studies: there must be {_HOW}; columns={{'yours': keyword}} says which is which."
        )
    for name, column in values.items():
        if pd.api.types.is_float_dtype(column) and column.notna().any():
            raise QueryError(
                f"{name} is a column of decimals, and its zeros may be lost: read the table with dtype=str."
            )
    rows = zip(*values.values(), strict=True)
    return [_wanted(dict(zip(values, row, strict=True)), several) for row in rows]


def _wanted(row: Mapping[str, Any], several: bool) -> Wanted:
    level: Level = "Series" if "SeriesInstanceUID" in row else "Study"
    filled = {name: value for name, value in row.items() if not pd.isna(value) and str(value).strip() != ""}
    if level == "Series":
        filled = {name: filled[name] for name in KEYS["Series"] if name in filled}
        if len(filled) < 2:
            return Wanted(level, {}, "A series is named by its StudyInstanceUID and its SeriesInstanceUID.")
    elif not (
        {"StudyInstanceUID", "AccessionNumber"} & filled.keys()
        or ("PatientID" in filled and (several or "StudyDate" in filled))
    ):
        return Wanted(level, {}, f"This row names no study; it takes {_HOW}.")
    texts = {name: value if name == "StudyDate" else str(value).strip() for name, value in filled.items()}
    if any(set(text) & set("*?\\") for text in texts.values() if isinstance(text, str)):
        return Wanted(level, {}, "A value with *, ? or a backslash would match more than this row.")
    try:
        return Wanted(level, dict(parse_criteria(level, texts).tags))
    except QueryError:
        return Wanted(level, {}, "A value of this row is no UID, no identifier or no date as DICOM has them.")


def matches(wanted: Wanted, answers: Sequence[Mapping[str, Any]]) -> list[Match]:
    """The answers that are the row, each resource once, in the archive's order."""
    found: dict[str, Match] = {}
    for number, answer in enumerate(answers):
        keys = {name: _value(answer, name) for name in KEYS[wanted.level]}
        fits = all(_fits(name, text, _value(answer, name)) for name, text in wanted.keys.items())
        if not fits or not all(keys.values()) or any(set("*?\\") & set(key) for key in keys.values()):
            continue  # a key with a wildcard or a list would bring others along
        count = _value(answer, ANNOUNCED[wanted.level])
        announced = int(count) if count.isascii() and count.isdigit() else None
        found.setdefault(keys[UID_OF[wanted.level]], Match(number, keys, announced))
    return list(found.values())


def _value(answer: Mapping[str, Any], name: str) -> str:
    return str(answer.get(key_of(name)) or "").strip(" \0")


def _fits(name: str, text: str, value: str) -> bool:
    if name == "StudyDate" and "-" in text:
        first, _, last = text.partition("-")
        return bool(value) and (first or value) <= value <= (last or value)
    return value == text
