"""Files on a server looked through for what Orthanc's anonymization leaves: before a job, and in its copies."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orthanc_research.batch._hidden import Rules, has_embedded_overlay, hidden, nobody, too_long
from orthanc_research.errors import CancelledError
from orthanc_research.progress import Progress
from orthanc_research.rest import Rest

__all__ = ["Findings", "scan"]

Series = Mapping[str, Collection[str]]  # series → the instances of it that are meant


@dataclass(frozen=True, slots=True)
class Findings:
    """`paths` of what identifies the patient, and how many instances have any; how many have overlays in their pixels;
    how many different people are in files without a PatientID.
    """

    paths: frozenset[str]
    instances: int
    embedded: int
    nobodies: int


def scan(rest: Rest, series: Series, rules: Rules, progress: Progress) -> Findings:
    """What is found in these instances: a request a series, two where texts have more than 256 bytes.

    `ServerError` where Orthanc cannot read a file: nobody can say then what is in it.
    """
    paths: set[str] = set()
    instances = embedded = 0
    nobodies = set()
    for identifier, chosen in series.items():
        if progress.cancelled:
            raise CancelledError("Looking for identifiers was stopped on request.")
        for tags in _tags(rest, identifier, chosen):
            found = hidden(tags, rules)
            paths |= found
            instances += bool(found)
            embedded += has_embedded_overlay(tags, rules)
            nobodies.add(nobody(tags))
    return Findings(frozenset(paths), instances, embedded, len(nobodies - {None}))


def _tags(rest: Rest, series: str, chosen: Collection[str]) -> Iterator[Mapping[str, Any]]:
    found = rest.series.instances_tags(series)
    long = {number for instance in chosen if instance in found for number in too_long(found[instance])}
    if long:
        found = rest.series.instances_tags(series, sorted(long))
    # One that came or went meanwhile is noticed when the copies are counted.
    return (found[instance] for instance in chosen if instance in found)
