"""The copies that jobs made: read from the archive itself, not from what a job says of them.

Decided instance by instance. A copy is a run's own when it was made from one of the run's instances, arrived after the
request (by the server's clock) and is the result of no other journal; never because of the patient that it lies under,
who may have copies of many runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from orthanc_research.rest import Level, Rest

__all__ = ["Archive", "Found", "Output", "Outputs", "instances_of", "present", "read_back", "seconds"]

_CHUNK = 10_000
# Both clocks are the server's, in whole seconds: what is older than the request by more is not ours.
_TOLERANCE = 2.0
# Our clock may have been set between the request and the look: what arrived within a day of it may be ours.
_DOUBT = 86_400.0
_TAGS = ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_AREAS: Mapping[str, str] = {"Patient": "patients", "Study": "studies", "Series": "series"}
_BELOW: Mapping[str, str] = {"Patient": "Study", "Study": "Series", "Series": "Instance"}


@dataclass(frozen=True, slots=True)
class Output:
    """One new resource: its level, ID, the ID it was made from, its parent, tags, when it arrived, its bytes."""

    level: str
    id: str
    source: str
    parent: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    received: float = 0.0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Outputs:
    """The new resources of one unit, at all levels."""

    all: tuple[Output, ...] = ()

    @property
    def instances(self) -> list[Output]:
        """The new instances."""
        return [output for output in self.all if output.level == "Instance"]

    @classmethod
    def select(cls, found: Mapping[str, Output], ids: Iterable[str]) -> Outputs:
        """Those among what was read back."""
        return cls(tuple(found[new] for new in ids if new in found))

    def of(self, source: str) -> Output | None:
        """The one output of a source; None when there is none, or more than one."""
        made = [output for output in self.all if output.source == source]
        return made[0] if len(made) == 1 else None

    def patient_tag(self, keyword: str) -> str | None:
        """A tag of the new patient."""
        return next((output.tags.get(keyword) for output in self.all if output.level == "Patient"), None)

    def id_of(self, source: str, level: str, *, alone: bool = False) -> str | None:
        """The resource that holds the copies of a source; None when there is none, or more than one.

        One that was there before (a patient whose PatientID was kept or given) has no `AnonymizedFrom` of ours: then it
        is what the copies lie under. `alone`: no other source was copied with this one.
        """
        new = self.of(source)
        if new is not None or level not in _BELOW:
            return new.id if new else None
        if not alone and any(output.level == level for output in self.all):
            return None
        parents = {output.parent for output in self.all if output.level == _BELOW[level]}
        return parents.pop() if len(parents) == 1 else None

    def below(self, new: str) -> list[Output]:
        """The new instances below a resource, or the one that it is."""
        within = {new}
        for level in ("Study", "Series", "Instance"):
            within |= {output.id for output in self.all if output.level == level and output.parent in within}
        return [output for output in self.instances if output.id in within]

    def problem(self, level: str, sources: Sequence[str], announced: int) -> str | None:
        """Why these are not exactly the copies that were asked for; None when they are."""
        made = [output.source for output in self.instances]
        if len(set(made)) != len(made):
            return f"{len(made) - len(set(made))} instances were copied twice."
        if len(made) != announced:
            return f"{len(made)} of {announced} instances were copied."
        if not made:
            return "Nothing was copied."
        lost = sum(self.id_of(source, level, alone=len(sources) == 1) is None for source in sources)
        return f"{lost} of {len(sources)} resources have no single copy." if lost else None

    def identified(self, patient: str) -> bool:
        """True when the copies do not lie under new patients that were made from this one.

        A file whose elements are written with VR UN, as GDCM's converter does, keeps its PatientID through Orthanc's
        anonymization, and the job says Success (seen on 1.10.1, 1.12.7 and 1.13.0).
        """
        made = [output.source for output in self.all if output.level == "Patient"]
        return bool(self.instances) and set(made) != {patient}

    def to_json(self) -> dict[str, Any]:
        """For the journal, which holds no names: of a copy that Orthanc left as it was they would be the patient's."""
        return {"outputs": [[o.level, o.id, o.source, o.parent, _uids(o.tags), o.received, o.size] for o in self.all]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Outputs:
        """From the journal."""
        return cls(tuple(Output(*row) for row in value.get("outputs", ())))


def _uids(tags: Mapping[str, str]) -> dict[str, str]:
    return {keyword: value for keyword, value in tags.items() if keyword.endswith("UID")}


def present(rest: Rest, ids: Sequence[str]) -> set[str]:
    """Which of these are on the server; one request for 10,000."""
    pages = (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
    return {str(value["ID"]) for page in pages for value in rest.tools.bulk_content(page)}


def read_back(rest: Rest, ids: Sequence[str], origin: str) -> dict[str, Output]:
    """{new ID: output} of those that exist and say what they were made from (`origin`); one request for 10,000."""
    found = {}
    for start in range(0, len(ids), _CHUNK):
        for value in rest.tools.bulk_content(ids[start : start + _CHUNK], metadata=True):
            output = _output(value, origin)
            if output is not None:
                found[output.id] = output
    return found


def _output(value: Mapping[str, Any], origin: str) -> Output | None:
    metadata = value.get("Metadata") or {}
    source = metadata.get(origin)
    if not isinstance(source, str):
        return None
    tags = value.get("MainDicomTags") or {}
    parent = value.get("ParentSeries") or value.get("ParentStudy") or value.get("ParentPatient") or ""
    kept = {keyword: tags[keyword] for keyword in _TAGS if keyword in tags}
    received = seconds(metadata.get("ReceptionDate"))
    return Output(value["Type"], value["ID"], source, parent, kept, received, int(value.get("FileSize") or 0))


@dataclass(frozen=True, slots=True)
class Found:
    """What an archive holds of a unit: its whole result, or what is left of an attempt, or why nobody can tell."""

    whole: Outputs | None = None
    rests: tuple[Output, ...] = ()
    doubt: str | None = None


Groups = Mapping[str, Sequence[Output]]


class Archive:
    """One look at a server, for all units of a run: its clock, its patients, what belongs to others."""

    def __init__(self, rest: Rest, claimed: set[str]) -> None:
        self.rest = rest
        self._claimed = claimed
        self._ahead = seconds(rest.tools.now()) - time.time()

    @cached_property
    def patients(self) -> list[dict[str, Any]]:
        """All patients with their metadata."""
        ids = self.rest.patients.list()
        pages = (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
        return [value for page in pages for value in self.rest.tools.bulk_content(page, metadata=True)]

    def free(self, ids: Iterable[str], named: Iterable[str]) -> list[str]:
        """Those that are named, or that no finished unit of any journal names as its result."""
        chosen = set(named)
        return [each for each in ids if each in chosen or each not in self._claimed]

    def copies(self, patient: str, expected: set[str], origin: str, named: Iterable[str]) -> list[Output]:
        """The instances below a patient that were made from one of the expected, whenever that was."""
        below = [str(child["ID"]) for child in self.rest.patients.children(patient, "Instance")]
        found = read_back(self.rest, [new for new in self.free(below, named) if new not in expected], origin)
        return [copy for copy in found.values() if copy.source in expected]

    def weigh(
        self,
        groups: Groups,
        expected: set[str],
        *,
        asked: float,
        named: Iterable[str] = (),
        own: Callable[[str], bool] = lambda place: False,
    ) -> Found:
        """What copies come to that lie in `groups` ({place: copies}), of a unit asked for at `asked` (our clock).

        `named` are the results that the unit's own job names, where the server still knows it. Copies beside those are
        rests: a server that was killed left some, and 1.10.1 runs such a job again from the start. `own(place)` is True
        where nobody else's copies can be. `whole` has the instances alone.
        """
        since = asked + self._ahead - _TOLERANCE
        recent = {place: [copy for copy in copies if copy.received >= since] for place, copies in groups.items()}
        chosen = set(named)
        ours = [copy for copies in recent.values() for copy in copies if copy.id in chosen]
        if _same(ours, expected):
            return Found(Outputs(tuple(ours)), _rests(recent, expected, chosen, own))
        whole = [copies for copies in recent.values() if _same(copies, expected)]
        if len(whole) > 1:
            return Found(
                doubt=f"{len(whole)} whole copies were made since: delete those that nobody wants, then resume."
            )
        if whole:
            kept = {copy.id for copy in whole[0]}
            return Found(Outputs(tuple(whole[0])), _rests(recent, expected, kept, own))
        # What our own job names is ours, whole or not: 1.10.1 ends one that it runs again after fewer than all.
        rests = (*_rests(recent, expected, {copy.id for copy in ours}, own), *ours)
        since_about = since - _DOUBT
        if not any(recent.values()) and any(
            copy.received >= since_about for copies in groups.values() for copy in copies
        ):
            return Found(
                doubt="There are copies from about that time, and whose they are is not known: delete them and resume, "
                "or keep them and ask for the rest anew."
            )
        if not rests and any(recent.values()):
            # Several runs into one patient: which of them each copy belongs to, nobody can tell.
            return Found(doubt="Some instances were copied more than once: delete what is not wanted, then resume.")
        return Found(rests=rests)

    def with_ancestors(self, outputs: Outputs, origin: str) -> Outputs:
        """The copies, and what above them was made with them."""
        found = list(outputs.all)
        layer = list(dict.fromkeys(copy.parent for copy in found))
        for _ in range(3):
            above = read_back(self.rest, layer, origin)
            found += above.values()
            layer = list(dict.fromkeys(output.parent for output in above.values() if output.parent))
        return Outputs(tuple(found))


def _rests(groups: Groups, expected: set[str], kept: set[str], own: Callable[[str], bool]) -> tuple[Output, ...]:
    """Copies that belong to no whole result; not those of which another run may be the owner."""
    rests: list[Output] = []
    for place, copies in groups.items():
        other = [copy for copy in copies if copy.id not in kept]
        once = len({copy.source for copy in other}) == len(other)
        # A patient that our own job made has nobody else's copies, be they a whole set.
        ours = own(place) and len(other) < len(copies)
        if ours or (not _same(other, expected) and (once or own(place))):
            rests += other
    return tuple(rests)


def _same(copies: Sequence[Output], expected: set[str]) -> bool:
    return bool(copies) and sorted(copy.source for copy in copies) == sorted(expected)


def instances_of(rest: Rest, level: Level, resources: Sequence[str]) -> set[str]:
    """The instances of resources; `NotFoundError` when one of them is gone."""
    if level == "Instance":
        return {rest.instances.read(resource)["ID"] for resource in resources}
    area = getattr(rest, _AREAS[level])
    return {str(child["ID"]) for resource in resources for child in area.children(resource, "Instance")}


def seconds(text: Any) -> float:
    """Seconds since 1970 of Orthanc's YYYYMMDDThhmmss (UTC); 0 for anything else."""
    try:
        return datetime.strptime(str(text)[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0
