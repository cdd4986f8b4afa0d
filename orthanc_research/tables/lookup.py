"""Identifiers as people have them → where to look for them, and what was found: a row for every match, none lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orthanc_research.errors import QueryError
from orthanc_research.tables.criteria import values_of
from orthanc_research.tables.identity import is_orthanc_id, like_uid, orthanc_id
from orthanc_research.tables.schema import Level, column_type

__all__ = ["LookupPlan", "lookup_frame", "plan_lookup"]

_MOST = 64  # characters of a PatientID (LO), the longest of the identifiers


@dataclass(frozen=True, slots=True)
class LookupPlan:
    """`values` in the user's order; `ids` are Orthanc IDs to ask for at once, {ID: the value that it stands for}.

    A PatientID needs no search: the Orthanc ID of its patient is computed. `finds` are (level, keyword, values).
    """

    values: tuple[str, ...]
    ids: Mapping[str, str]
    finds: tuple[tuple[Level, str, tuple[str, ...]], ...]


def plan_lookup(values: Any) -> LookupPlan:
    """Where to look for PatientIDs, AccessionNumbers, UIDs of studies, series and instances, and Orthanc IDs.

    `QueryError` for what is no list of texts, and for empty or absent ones: an empty identifier means nothing.
    """
    given = [values] if isinstance(values, str) else values_of(values)
    if given is None or not all(isinstance(value, str) and value.strip() for value in given):
        raise QueryError("lookup takes texts: PatientIDs, AccessionNumbers, UIDs or Orthanc IDs, and no empty one.")
    texts = tuple(dict.fromkeys(value.strip() for value in given))
    # Blanks before a PatientID are a part of it, and may just as well have come by copying.
    ids = {orthanc_id(value): value.strip() for value in (*given, *texts) if len(value) <= _MOST}
    ids |= {text: text for text in texts if is_orthanc_id(text)}
    uids = tuple(text for text in texts if like_uid(text))
    numbers = tuple(text for text in texts if len(text) <= 16 and not set(text) & set("*?\\") and text.isprintable())
    finds: list[tuple[Level, str, tuple[str, ...]]] = [
        ("Study", "StudyInstanceUID", uids),
        ("Study", "AccessionNumber", numbers),
        ("Series", "SeriesInstanceUID", uids),
        ("Instance", "SOPInstanceUID", uids),
    ]
    return LookupPlan(texts, ids, tuple(find for find in finds if find[2]))


def lookup_frame(plan: LookupPlan, present: Iterable[Mapping[str, Any]], found: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Index `Value`; `Level`, `Keyword` (which identifier it is) and `ID`; NA in all three where nothing matches.

    `present` are the answers to `plan.ids`, `found` the frames of `plan.finds`.
    """
    matches: dict[Any, list[tuple[str | None, str | None, str | None]]] = {value: [] for value in plan.values}
    for answer in present:
        identifier = str(answer["ID"])
        value = plan.ids[identifier]
        matches[value].append((str(answer["Type"]), "ID" if value == identifier else "PatientID", identifier))
    for (level, keyword, _), frame in zip(plan.finds, found, strict=True):
        for identifier, value in zip(frame.index, frame[keyword], strict=True):
            if value in matches:
                matches[value].append((level, keyword, str(identifier)))
    rows = [(value, *match) for value, those in matches.items() for match in those or [(None, None, None)]]
    text = column_type("ID").pandas
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
    data = {name: pd.array(list(columns[i]), dtype=text) for i, name in enumerate(("Level", "Keyword", "ID"), 1)}
    return pd.DataFrame(data, index=pd.Index(pd.array(list(columns[0]), dtype=text), name="Value"))
