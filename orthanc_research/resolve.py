"""Which resources a user means, and what they belong to: asked of the server only where the input does not say it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from orthanc_research.errors import QueryError
from orthanc_research.rest import Level, Rest
from orthanc_research.tables import LEVELS, Selection, is_orthanc_id, selection

__all__ = ["one", "patients_of", "select", "series_of"]

_BULK = 1000
_PARENT: Mapping[str, Level] = {"Study": "Patient", "Series": "Study", "Instance": "Series"}


def select(rest: Rest, resources: Any) -> Selection:
    """What the user gave, with its level: one request per 1,000 bare IDs, none for a frame that a find returned.

    `QueryError` for unknown IDs and for a mix of levels.
    """
    chosen = selection(resources, rest.connection.url)
    if chosen.level in LEVELS or not chosen.ids:
        return chosen
    levels = {str(value["ID"]): str(value["Type"]) for value in _bulk(rest, chosen.ids)}
    lost = len(chosen.ids) - len(levels)
    if lost:
        raise QueryError(f"{lost} of {len(chosen.ids)} IDs are not on this Orthanc.")
    if len(set(levels.values())) > 1:
        raise QueryError("These IDs are of several levels; give studies, or series, or instances, not a mix.")
    return Selection(chosen.ids, next(iter(levels.values())), chosen.frame)


def one(rest: Rest, resource: Any, level: Level) -> str:
    """The ID of one resource: an ID as it is (no request), a row, or a frame of one row."""
    if is_orthanc_id(resource):
        return str(resource)
    if isinstance(resource, pd.Series) and is_orthanc_id(resource.name):
        return str(resource.name)
    chosen = selection(resource, rest.connection.url)
    if len(chosen.ids) != 1 or chosen.level not in (None, level):
        raise QueryError(f"This takes one {level.lower()}: its Orthanc ID, or a frame with one row.")
    return chosen.ids[0]


def series_of(rest: Rest, chosen: Selection) -> list[tuple[str, tuple[str, ...]]]:
    """(series, the instances of it that were chosen; none named means all); series of a find need no request."""
    if chosen.level == "Series":
        return [(identifier, ()) for identifier in chosen.ids]
    if chosen.level == "Instance":
        groups: dict[str, list[str]] = defaultdict(list)
        parents = chosen.column("ParentSeries") or _parents(rest, chosen.ids, "ParentSeries")
        for identifier in chosen.ids:
            groups[parents[identifier]].append(identifier)
        return [(series, tuple(instances)) for series, instances in groups.items()]
    found = (str(value["ID"]) for value in _bulk(rest, chosen.ids, "Series"))
    return [(identifier, ()) for identifier in dict.fromkeys(found)]


def patients_of(rest: Rest, chosen: Selection) -> tuple[Level, dict[str, str]]:
    """The level, and {ID: the patient it belongs to}; patients and studies of a find need no request."""
    level: Level = next((level for level in LEVELS if level == chosen.level), "Study")
    up = {identifier: identifier for identifier in chosen.ids}
    at = level
    while at != "Patient" and up:
        name = f"Parent{_PARENT[at]}"
        known = chosen.column(name) if at == level else {}
        known = known or _parents(rest, tuple(dict.fromkeys(up.values())), name)
        up = {identifier: known[parent] for identifier, parent in up.items()}
        at = _PARENT[at]
    return level, up


def _parents(rest: Rest, ids: Sequence[str], name: str) -> dict[str, str]:
    found = {str(value["ID"]): str(value[name]) for value in _bulk(rest, ids)}
    if len(found) != len(ids):
        raise QueryError(f"{len(ids) - len(found)} of {len(ids)} resources are no longer on this Orthanc.")
    return found


def _bulk(rest: Rest, ids: Sequence[str], level: Level | None = None) -> Iterator[Mapping[str, Any]]:
    for start in range(0, len(ids), _BULK):
        yield from rest.tools.bulk_content(ids[start : start + _BULK], level)
