"""`within=`: only what belongs to these resources, on every version of Orthanc, and never more.

One parent on a server that knows ParentStudy and its like (1.12.5; one ID a request) is left to the server. Otherwise
the parents' UIDs go into the query, and what comes back is held against the Orthanc IDs: a UID can occur under two
patients, and PatientIDs are matched without case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from orthanc_research.capabilities import Capabilities
from orthanc_research.errors import QueryError
from orthanc_research.tables.identity import orthanc_id
from orthanc_research.tables.levels import depth
from orthanc_research.tables.schema import LEVELS, Level
from orthanc_research.tables.selection import Selection

__all__ = ["Inside", "inside"]

_UID: Mapping[Level, str] = MappingProxyType(
    {
        "Patient": "PatientID",
        "Study": "StudyInstanceUID",
        "Series": "SeriesInstanceUID",
        "Instance": "SOPInstanceUID",
    }
)


_BLANKS = 63  # a PatientID has 64 characters at most


@dataclass(frozen=True, slots=True)
class Inside:
    """The resources (Orthanc IDs at `level`) that the found ones must be, or lie below.

    `chain` are the levels between, to be asked for so that each answer can be followed up to `level`.
    """

    level: Level
    ids: frozenset[str] = field(repr=False)
    fields: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    chain: tuple[Level, ...] = ()
    by_server: bool = False


def inside(level: Level, within: Selection | tuple[Level, Sequence[str]], capabilities: Capabilities) -> Inside:
    """How a find at `level` is held within these resources; `QueryError` when they do not say enough to do it."""
    chosen = within if isinstance(within, Selection) else Selection(tuple(within[1]), within[0])
    if not chosen.ids:
        return Inside(level, frozenset())
    at = _level(chosen)
    if depth(at) > depth(level):
        return _above(level, chosen)
    if len(chosen.ids) == 1 and at != level and capabilities.has("extended-find"):
        fields = MappingProxyType({f"Parent{at}": chosen.ids[0]})
        return Inside(at, frozenset(chosen.ids), fields, by_server=True)
    values = chosen.column(_UID[at])
    return Inside(
        at,
        frozenset(chosen.ids),
        tags=_tags(at, values),
        chain=LEVELS[depth(at) + 1 : depth(level)],
    )


def _level(chosen: Selection) -> Level:
    for level in LEVELS:
        if chosen.level == level:
            return level
    raise QueryError(
        "within: it is not known what level these resources are of; give a DataFrame that a find returned."
    )


def _above(level: Level, chosen: Selection) -> Inside:
    """The parents of what was given: the frame itself must name them."""
    parents = chosen.column(f"Parent{level}")
    values = chosen.column(_UID[level])
    if not parents or not values:
        raise QueryError(
            f"within: these resources lie below the {level} level and do not name their parents; the DataFrame needs "
            f"its columns Parent{level} and {_UID[level]}."
        )
    return Inside(
        level, frozenset(parents.values()), tags=_tags(level, {parents[child]: values[child] for child in values})
    )


def _tags(level: Level, values: Mapping[str, str]) -> Mapping[str, str]:
    """What to look for, from {Orthanc ID: UID or PatientID}."""
    if level == "Patient":
        values = {identifier: _written(identifier, value) for identifier, value in values.items()}
        other = sum(not value for value in values.values())
        if other:
            raise QueryError(
                f"within: {other} of {len(values)} PatientIDs are not those of their patients, and would find nothing; "
                "zeros may have been lost in a file: give the DataFrame as a find returned it."
            )
    texts = list(dict.fromkeys(values.values()))
    usable = texts and not any(set("*?\\") & set(text) for text in texts)
    if not usable:
        raise QueryError(
            f"within: several resources are found by their {_UID[level]}; give a DataFrame that a find returned, with "
            "that column complete."
        )
    return MappingProxyType({_UID[level]: "\\".join(texts)})


def _written(identifier: str, value: str) -> str:
    """A PatientID as its file has it, with the blanks in front that no column shows; "" if it is another patient's."""
    forms = (" " * blanks + value for blanks in range(_BLANKS + 1))
    return next((form for form in forms if orthanc_id(form) == identifier), "")
