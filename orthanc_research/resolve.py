"""Which resources a user means, and what they belong to: asked of the server only where the input does not say it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from typing import Any

import pandas as pd

from orthanc_research.bulk import LISTED, PAGE, contents, listed
from orthanc_research.capabilities import Capabilities
from orthanc_research.errors import NotFoundError, QueryError
from orthanc_research.rest import Level, Rest
from orthanc_research.tables import LEVELS, Selection, is_orthanc_id, like_uid, selection, too_many

__all__ = [
    "check_count",
    "here",
    "instance_count",
    "lookups",
    "one",
    "patients_of",
    "select",
    "series_count",
    "series_lookups",
    "series_now",
    "series_of",
]

_PLURAL: Mapping[Level, str] = {"Patient": "patients", "Study": "studies"}
_PARENT: Mapping[str, Level] = {"Study": "Patient", "Series": "Study", "Instance": "Series"}


def select(rest: Rest, resources: Any) -> Selection:
    """What the user gave, with its level: one request per 1,000 bare IDs, none for a frame that a find returned.

    `QueryError` for unknown IDs and for a mix of levels.
    """
    chosen = selection(resources, rest.connection.url)
    if chosen.level in LEVELS or not chosen.ids:
        return chosen
    found = {str(value["ID"]): value for value in contents(rest, chosen.ids)}
    lost = len(chosen.ids) - len(found)
    if lost:
        raise QueryError(f"{lost} of {len(chosen.ids)} IDs are not on this Orthanc.")
    levels = {str(value["Type"]) for value in found.values()}
    if len(levels) > 1:
        raise QueryError("These IDs are of several levels; give studies, or series, or instances, not a mix.")
    (level,) = levels
    if chosen.frame is not None or level not in _PARENT:
        return Selection(chosen.ids, level, chosen.frame)
    # As a find would have told it: nobody need ask again what they belong to.
    parent = f"Parent{_PARENT[level]}"
    frame = pd.DataFrame({parent: [str(found[each][parent]) for each in chosen.ids]}, index=list(chosen.ids))
    return Selection(chosen.ids, level, frame)


def one(rest: Rest, resource: Any, level: Level) -> str:
    """The ID of one resource: an ID as it is (no request), a row, or a frame of one row.

    `QueryError` for a row or frame of another level or another server.
    """
    if is_orthanc_id(resource):
        return str(resource)
    if isinstance(resource, pd.Series) and is_orthanc_id(resource.name):
        # A row of a frame: pandas hands the frame's attrs on, and so its level and its server.
        about = resource.attrs
        resource = pd.DataFrame(index=pd.Index([resource.name], name="ID", dtype="str"))
        resource.attrs = dict(about)
    chosen = selection(resource, rest.connection.url)
    if len(chosen.ids) != 1 or (chosen.level or level) != level:
        raise QueryError(f"This takes one {level.lower()}: its Orthanc ID, or a frame with one row.")
    return chosen.ids[0]


def series_of(rest: Rest, chosen: Selection) -> list[tuple[str, tuple[str, ...]]]:
    """(series, the instances of it that were chosen; none named means all); series of a find need no request.

    `NotFoundError` for patients, studies and instances that are no longer there, where they have to be asked for.
    """
    if chosen.level == "Series":
        return [(identifier, ()) for identifier in chosen.ids]
    if chosen.level == "Instance":
        groups: dict[str, list[str]] = defaultdict(list)
        parents = chosen.column("ParentSeries") or _parents(rest, chosen.ids, "ParentSeries")
        for identifier in chosen.ids:
            groups[parents[identifier]].append(identifier)
        return [(series, tuple(instances)) for series, instances in groups.items()]
    studies = _children(rest, chosen.ids, "Patient", "Study") if chosen.level == "Patient" else list(chosen.ids)
    return [(identifier, ()) for identifier in _children(rest, studies, "Study", "Series")]


def series_now(rest: Rest, ids: Sequence[str], chosen: Selection) -> dict[str, Mapping[str, Any]]:
    """{series: what the server says of it now}, of those that it has; `chosen` is what they are of, or lie in.

    By the UIDs of `chosen` where it has them, 300 a request; what these do not find, and any other, by ID, 1,000 a
    request: an administrator may cap finds, and a frame may be of long ago.
    """
    keyword, uids = _uids(chosen, rest.capabilities())
    wanted = set(ids)
    found = {value["ID"]: value for value in listed(rest, "Series", keyword, uids) if value["ID"] in wanted}
    left = [identifier for identifier in ids if identifier not in found]
    return {**found, **{value["ID"]: value for value in contents(rest, left, "Series")}}


def series_lookups(chosen: Selection, capabilities: Capabilities, series: int) -> int:
    """How many requests `series_now` sends for so many series when all of them are there."""
    uids = _uids(chosen, capabilities)[1]
    return -(-len(uids) // LISTED) if uids else -(-series // PAGE)


def _uids(chosen: Selection, capabilities: Capabilities) -> tuple[str, Sequence[str]]:
    """By which keyword, and which UIDs, the series can be found; none where the input or the server is not so."""
    for keyword in ("SeriesInstanceUID", "StudyInstanceUID"):
        uids = list(dict.fromkeys(chosen.column(keyword).values()))
        if uids and capabilities.has("extended-find") and all(map(like_uid, uids)):
            return keyword, uids
    return "", ()


def instance_count(chosen: Selection) -> int | None:
    """How many instances these are, where the input itself says it."""
    if chosen.level == "Instance":
        return len(chosen.ids)
    counts = chosen.column(f"NumberOf{chosen.level}RelatedInstances")
    return _sum(counts) if counts or not chosen.ids else None


def series_count(chosen: Selection) -> int | None:
    """How many series these are or lie in, where the input itself says it."""
    if chosen.level == "Series":
        return len(chosen.ids)
    if chosen.level == "Instance":
        parents = chosen.column("ParentSeries")
        return len(set(parents.values())) if parents else None
    counts = chosen.column(f"NumberOf{chosen.level}RelatedSeries")
    return _sum(counts) if counts or not chosen.ids else None


def _sum(counts: Mapping[str, str]) -> int:
    return sum(int(float(count)) for count in counts.values())  # pandas makes "2.0" of what lay beside missing ones


def lookups(chosen: Selection, given: Selection) -> int | None:
    """How many requests `select` of what was `given` and `series_of` send; None where the input does not say it."""
    pages = -(-len(chosen.ids) // PAGE)
    first = 0 if given.level in LEVELS else pages
    if chosen.level == "Patient":
        studies = chosen.column("NumberOfPatientRelatedStudies")
        return first + pages + -(-_sum(studies) // PAGE) if studies else None
    parents = chosen.level == "Study" or (chosen.level == "Instance" and series_count(chosen) is None)
    return first + (pages if parents else 0)


def check_count(chosen: Selection, most: int) -> None:
    """`QueryError` when the input itself says that there are more instances than that."""
    count = instance_count(chosen)
    if count is not None and count > most:
        raise too_many(count, most)


def here(rest: Rest, ids: Sequence[str]) -> set[str]:
    """Which of these IDs are on the server: one request per 1,000."""
    return {str(value["ID"]) for value in contents(rest, ids)}


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
    found = {str(value["ID"]): str(value[name]) for value in contents(rest, ids)}
    _check_all(ids, found, "resources")
    return found


def _children(rest: Rest, ids: Sequence[str], above: Level, below: Level) -> list[str]:
    """What is one level below the IDs; Orthanc passes over those that are gone, and none is empty."""
    answers = list(contents(rest, ids, below))
    _check_all(ids, {str(value[f"Parent{above}"]) for value in answers}, _PLURAL[above])
    return list(dict.fromkeys(str(value["ID"]) for value in answers))


def _check_all(ids: Sequence[str], found: Container[str], what: str) -> None:
    lost = sum(identifier not in found for identifier in ids)
    if lost:
        raise NotFoundError(f"{lost} of {len(ids)} {what} are no longer on this Orthanc; find them again.")
