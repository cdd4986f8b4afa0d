"""Which copies were made of which sources, where neither Orthanc nor the copies say it.

Split and merge (observed on 1.10.1, 1.12.7 and 1.13.0) leave no word of it. Copies are told by the tags of their
instances in Orthanc's index, which are those of their sources but for the UID: as many copies with the same tags as
there are sources, each counted once. A series' own tags do not prove anything: they are those of the file stored
first. Which of two series that look the same a copy was made from stays NA.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from orthanc_research.batch._outcome import Output, seconds
from orthanc_research.rest import Rest
from orthanc_research.tables.levels import INDEX

__all__ = ["Contents", "contents", "instances_matched", "series_matched"]

# What tells two series with the same positions apart, such as two reconstructions.
_LOOKS = ("Modality", "SeriesNumber", "SeriesDescription", "ProtocolName", "SeriesDate", "SeriesTime")


@dataclass(frozen=True, slots=True)
class _Instance:
    """An instance with its `mark`: what is the same in its copies."""

    id: str
    series: str
    mark: bytes
    received: float
    size: int


@dataclass(frozen=True, slots=True)
class Contents:
    """The instances of studies or series, and the UID and looks of each series."""

    instances: list[_Instance]
    uids: Mapping[str, str]
    looks: Mapping[str, bytes]

    def marks(self, chosen: Iterable[str] | None = None) -> dict[str, Counter[bytes]]:
        """{series: its marks}, of the chosen instances only."""
        ids = None if chosen is None else set(chosen)
        found: dict[str, Counter[bytes]] = defaultdict(Counter)
        for each in self.instances:
            if ids is None or each.id in ids:
                found[each.series][each.mark] += 1
        return found


def contents(rest: Rest, resources: Sequence[str]) -> Contents:
    """What studies or series hold: two requests."""
    series = {value["ID"]: value["MainDicomTags"] for value in rest.tools.bulk_content(resources, "Series")}
    instances = [
        _Instance(value["ID"], value["ParentSeries"], _mark(value), _received(value), int(value.get("FileSize") or 0))
        for value in rest.tools.bulk_content(resources, "Instance", metadata=True)
    ]
    looks = {each: orjson.dumps([tags.get(name) for name in _LOOKS]) for each, tags in series.items()}
    return Contents(instances, {each: str(tags.get("SeriesInstanceUID")) for each, tags in series.items()}, looks)


def _mark(value: Mapping[str, Any]) -> bytes:
    # Of a server that was told to index more, only what is of the instance itself: the study's tags do change.
    tags, metadata = value["MainDicomTags"], value.get("Metadata") or {}
    own = [tags.get(name) for name in INDEX["Instance"] if name != "SOPInstanceUID"]
    return orjson.dumps([own, metadata.get("SopClassUid"), metadata.get("TransferSyntax")])


def _received(value: Mapping[str, Any]) -> float:
    return seconds((value.get("Metadata") or {}).get("ReceptionDate"))


def instances_matched(copies: Iterable[_Instance], sources: Contents) -> list[Output]:
    """Each copy with a source that has the same mark; with one that was taken already when there are more copies."""
    free: dict[bytes, list[str]] = defaultdict(list)
    for source in sources.instances:
        free[source.mark].append(source.id)
    taken: Counter[bytes] = Counter()
    matched = []
    for copy in copies:
        same = free.get(copy.mark)
        if same:
            source_id = same[min(taken[copy.mark], len(same) - 1)]
            taken[copy.mark] += 1
            matched.append(Output("Instance", copy.id, source_id, copy.series, {}, copy.received, copy.size))
    return matched


def series_matched(study: str, copies: Sequence[Output], there: Contents, sources: Contents) -> list[Output]:
    """The series of the copies, each with the one that it was made from where only one looks the same."""
    originals = sources.marks()
    found = []
    for series, marks in there.marks(copy.id for copy in copies).items():
        same = [each for each, theirs in originals.items() if theirs == marks]
        if len(same) > 1:
            same = [each for each in same if sources.looks[each] == there.looks[series]]
        source_id = same[0] if len(same) == 1 else ""
        found.append(Output("Series", series, source_id, study, {"SeriesInstanceUID": there.uids[series]}))
    return found
