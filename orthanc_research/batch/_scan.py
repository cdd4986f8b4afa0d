"""Files on a server looked through for what Orthanc's anonymization leaves: before a job, and in its copies."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orthanc_research.batch._hidden import (
    Rules,
    Text,
    has_embedded_overlay,
    hidden,
    nobody,
    split,
    telling,
    too_long,
)
from orthanc_research.batch._identity import Identity
from orthanc_research.errors import CancelledError
from orthanc_research.progress import Progress
from orthanc_research.rest import Rest

__all__ = ["Findings", "Series", "count_hidden", "identify", "scan"]

Series = Mapping[str, Collection[str]]  # series → the instances of it that are meant
Tags = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Findings:
    """`paths` of what identifies the patient; how many instances have overlays in their pixels; how many different
    people are in files without a PatientID; `identity`, what the patient is called in any of the files.
    """

    paths: frozenset[str]
    embedded: int
    nobodies: int
    identity: Identity


def scan(rest: Rest, series: Series, rules: Rules, progress: Progress) -> Findings:
    """What is found in these instances, of one patient: a request a series, two where texts have more than 256 bytes.

    A name that one file has is looked for in all of them. `ServerError` where Orthanc cannot read a file: nobody can
    say then what is in it.
    """
    paths: set[str] = set()
    texts: set[Text] = set()  # most are alike in all files
    embedded, nobodies, identity = 0, set(), Identity()
    for tags in _files(rest, series, progress):
        found, told = split(tags, rules)
        paths |= found
        texts |= told
        identity |= Identity.of(tags)
        embedded += has_embedded_overlay(tags, rules)
        nobodies.add(nobody(tags))
    return Findings(frozenset(paths | telling(texts, identity)), embedded, len(nobodies - {None}), identity)


def identify(rest: Rest, series: Series, progress: Progress) -> Identity:
    """What the patient is called in any of these instances."""
    identity = Identity()
    for tags in _files(rest, series, progress):
        identity |= Identity.of(tags)
    return identity


def count_hidden(rest: Rest, series: Series, rules: Rules, identity: Identity, progress: Progress) -> int:
    """How many of these copies hold what identifies the patient, who is called as in the originals."""
    return sum(bool(hidden(tags, rules, identity)) for tags in _files(rest, series, progress))


def _files(rest: Rest, series: Series, progress: Progress) -> Iterator[Tags]:
    for identifier, chosen in series.items():
        if progress.cancelled:
            raise CancelledError("Looking for identifiers was stopped on request.")
        yield from _tags(rest, identifier, chosen)


def _tags(rest: Rest, series: str, chosen: Collection[str]) -> Iterator[Tags]:
    found = rest.series.instances_tags(series)
    long = {number for instance in chosen if instance in found for number in too_long(found[instance])}
    if long:
        found = rest.series.instances_tags(series, sorted(long))
    # One that came or went meanwhile is noticed when the copies are counted.
    return (found[instance] for instance in chosen if instance in found)
