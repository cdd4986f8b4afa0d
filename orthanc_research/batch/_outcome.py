"""What came of an anonymization: read from the archive itself, not from what a job says of it.

Decided instance by instance. A copy is a run's own when it was made from one of the run's instances, arrived after the
request (by the server's clock) and is the result of no other journal; never because of the patient that it lies under,
who may have copies of many runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orthanc_research.batch.journal import Unit
from orthanc_research.rest import Level, Rest

__all__ = ["Archive", "Found", "Output", "Outputs", "read_back"]

_CHUNK = 10_000
# Both clocks are the server's, in whole seconds: what is older than the request by more is not ours.
_TOLERANCE = 2.0
# Our clock may have been set between the request and the look: what arrived within a day of it may be ours.
_DOUBT = 86_400.0
_TAGS = ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_AREAS: Mapping[str, str] = {"Patient": "patients", "Study": "studies", "Series": "series"}


@dataclass(frozen=True, slots=True)
class Output:
    """One new resource: its level, its ID, the ID it was made from, its parent, its tags, when it arrived."""

    level: str
    id: str
    source: str
    parent: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    received: float = 0.0


@dataclass(frozen=True, slots=True)
class Outputs:
    """The new resources of one patient, at all levels."""

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

    def instances_below(self, source: str) -> int | None:
        """How many new instances hang below the output of a source."""
        new = self.of(source)
        if new is None:
            return None
        below = {new.id}
        for level in ("Study", "Series", "Instance"):
            below |= {output.id for output in self.all if output.level == level and output.parent in below}
        return sum(output.id in below for output in self.instances)

    def problem(self, sources: Sequence[str], announced: int) -> str | None:
        """Why these are not exactly the copies that were asked for; None when they are."""
        made = [output.source for output in self.instances]
        if len(set(made)) != len(made):
            return f"{len(made) - len(set(made))} instances were copied twice."
        if len(made) != announced:
            return f"{len(made)} of {announced} instances were copied."
        if not made:
            return "Nothing was copied."
        lost = [source for source in sources if self.of(source) is None]
        if lost and not all(self._below_shared_patient(source) for source in lost):
            return f"{len(lost)} of {len(sources)} resources have no single copy."
        return None

    def identified(self, patient: str) -> bool:
        """True when the copies do not lie under one new patient that was made from this one.

        A file whose elements are written with VR UN, as GDCM's converter does, keeps its PatientID through Orthanc's
        anonymization, and the job says Success (seen on 1.10.1, 1.12.7 and 1.13.0).
        """
        made = [output.source for output in self.all if output.level == "Patient"]
        return bool(self.instances) and made != [patient]

    def _below_shared_patient(self, source: str) -> bool:
        # With a PatientID that was kept or given, the patient may be there already and has no `AnonymizedFrom` of ours.
        return not any(output.level == "Patient" for output in self.all) and bool(source)

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {"outputs": [[o.level, o.id, o.source, o.parent, dict(o.tags), o.received] for o in self.all]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Outputs:
        """From the journal."""
        return cls(tuple(Output(*row) for row in value.get("outputs", ())))


def read_back(rest: Rest, ids: Sequence[str]) -> dict[str, Output]:
    """{new ID: output} of those that exist and were made by an anonymization; one request for 10,000."""
    found = {}
    for start in range(0, len(ids), _CHUNK):
        for value in rest.tools.bulk_content(ids[start : start + _CHUNK], metadata=True):
            output = _output(value)
            if output is not None:
                found[output.id] = output
    return found


def _output(value: Mapping[str, Any]) -> Output | None:
    metadata = value.get("Metadata") or {}
    source = metadata.get("AnonymizedFrom")
    if not isinstance(source, str):
        return None
    tags = value.get("MainDicomTags") or {}
    parent = value.get("ParentSeries") or value.get("ParentStudy") or value.get("ParentPatient") or ""
    received = _seconds(metadata.get("ReceptionDate"))
    return Output(value["Type"], value["ID"], source, parent, {k: tags[k] for k in _TAGS if k in tags}, received)


@dataclass(frozen=True, slots=True)
class Found:
    """What an archive holds of a unit: its whole result, or what is left of an attempt, or why nobody can tell."""

    whole: Outputs | None = None
    rests: tuple[Output, ...] = ()
    doubt: str | None = None


class Archive:
    """One look at a server, for all units of a run: its clock, its patients, what belongs to others."""

    def __init__(self, rest: Rest, claimed: set[str]) -> None:
        self._rest = rest
        self._claimed = claimed
        self._ahead = _seconds(rest.tools.now()) - time.time()
        ids = rest.patients.list()
        self._patients = [
            value
            for start in range(0, len(ids), _CHUNK)
            for value in rest.tools.bulk_content(ids[start : start + _CHUNK], metadata=True)
        ]
        self._made_from = {v["ID"]: (v.get("Metadata") or {}).get("AnonymizedFrom") for v in self._patients}

    def look(self, unit: Unit, *, asked: float, patient_id: str | None, named: Iterable[str] = ()) -> Found:
        """What came of a unit that was asked for at `asked` (our clock). `NotFoundError` when its sources are gone.

        `patient_id` is what the copies' PatientID was to be replaced with, if it was; `named` are the results that the
        unit's own job names, where the server still knows it. Copies beside those are rests: a server that was killed
        left some, and 1.10.1 runs such a job again from the start.
        """
        expected = _instances(self._rest, unit.input["level"], unit.input["resources"])
        since = asked + self._ahead - _TOLERANCE
        places = dict.fromkeys(self._places(unit.key, patient_id))
        groups = {place: self._copies(place, expected, since) for place in places}
        chosen = set(named)
        ours = [copy for copies in groups.values() for copy in copies if copy.id in chosen]
        if _same(ours, expected):
            return Found(self._with_ancestors(ours), self._rests(groups, expected, unit.key, chosen))
        whole = [copies for copies in groups.values() if _same(copies, expected)]
        if len(whole) > 1:
            return Found(
                doubt=f"{len(whole)} whole copies were made since: delete those that nobody wants, then resume."
            )
        if whole:
            kept = {copy.id for copy in whole[0]}
            return Found(self._with_ancestors(whole[0]), self._rests(groups, expected, unit.key, kept))
        rests = self._rests(groups, expected, unit.key, set())
        if not any(groups.values()) and any(self._copies(place, expected, since - _DOUBT) for place in places):
            return Found(
                doubt="There are copies from about that time, and whose they are is not known: delete them and resume, "
                "or keep them and anonymize the rest anew."
            )
        if not rests and any(groups.values()):
            # Several runs into one patient: which of them each copy belongs to, nobody can tell.
            return Found(doubt="Some instances were copied more than once: delete what is not wanted, then resume.")
        return Found(rests=rests)

    def _rests(
        self, groups: Mapping[str, list[Output]], expected: set[str], patient: str, kept: set[str]
    ) -> tuple[Output, ...]:
        """Copies that belong to no whole result; not those of which another run may be the owner."""
        rests: list[Output] = []
        for place, copies in groups.items():
            other = [copy for copy in copies if copy.id not in kept]
            once = len({copy.source for copy in other}) == len(other)
            # A patient that our own job made has nobody else's copies, be they a whole set.
            ours = self._is_new(place, patient) and len(other) < len(copies)
            if ours or (not _same(other, expected) and (once or self._is_new(place, patient))):
                rests += other
        return tuple(rests)

    def _places(self, patient: str, patient_id: str | None) -> list[str]:
        """The patients under whom copies can lie: new ones, the one that was named, and, PatientID kept, the source."""
        named = [
            value["ID"]
            for value in self._patients
            if self._is_new(value["ID"], patient)
            or (
                patient_id is not None and (value.get("MainDicomTags") or {}).get("PatientID", "").strip() == patient_id
            )
        ]
        return [*named, patient]

    def _is_new(self, place: str, patient: str) -> bool:
        return self._made_from.get(place) == patient and place != patient

    def _copies(self, place: str, expected: set[str], since: float) -> list[Output]:
        if place not in self._made_from:
            return []
        below = [str(child["ID"]) for child in self._rest.patients.children(place, "Instance")]
        candidates = [new for new in below if new not in expected and new not in self._claimed]
        found = read_back(self._rest, candidates).values()
        return [copy for copy in found if copy.source in expected and copy.received >= since]

    def _with_ancestors(self, copies: Sequence[Output]) -> Outputs:
        found = list(copies)
        layer = list(dict.fromkeys(copy.parent for copy in copies))
        for _ in range(3):
            above = read_back(self._rest, layer)
            found += above.values()
            layer = list(dict.fromkeys(output.parent for output in above.values() if output.parent))
        return Outputs(tuple(found))


def _same(copies: Sequence[Output], expected: set[str]) -> bool:
    return bool(copies) and sorted(copy.source for copy in copies) == sorted(expected)


def _instances(rest: Rest, level: Level, resources: Sequence[str]) -> set[str]:
    if level == "Instance":
        return {rest.instances.read(resource)["ID"] for resource in resources}
    area = getattr(rest, _AREAS[level])
    return {str(child["ID"]) for resource in resources for child in area.children(resource, "Instance")}


def _seconds(text: Any) -> float:
    """Seconds since 1970 of Orthanc's YYYYMMDDThhmmss (UTC); 0 for anything else."""
    try:
        return datetime.strptime(str(text)[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0
