"""What came of an anonymization: read from the archive itself, not from what a job says of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orthanc_research.batch.journal import Unit
from orthanc_research.errors import OrthancError
from orthanc_research.rest import Level, Rest

__all__ = ["Output", "Outputs", "look", "read_back"]

_CHUNK = 10_000
# Clocks are compared through the server's own, in whole seconds: what is older than the request by more is not ours.
_TOLERANCE = 3.0
_WAIT = 600.0
_TAGS = ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_AREAS: Mapping[str, str] = {"Patient": "patients", "Study": "studies", "Series": "series"}


@dataclass(frozen=True, slots=True)
class Output:
    """One new resource: its level, its ID, the ID it was made from, its identifying tags."""

    level: str
    id: str
    source: str
    parent: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


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

    def problem(self, patient: str, sources: Sequence[str], announced: Any, *, same_patient: bool) -> str | None:
        """Why these are not exactly the copies that were asked for; None when they are.

        The copies must belong to one new patient, unless the caller asked to keep the PatientID (`same_patient`): a
        file whose elements are written with VR UN, as GDCM's converter does, keeps its PatientID through Orthanc's
        anonymization, and the job says Success (seen on 1.10.1, 1.12.7 and 1.13.0).
        """
        made = [output.source for output in self.instances]
        if made and not same_patient and [o.source for o in self.all if o.level == "Patient"] != [patient]:
            return "Orthanc left the PatientID as it was: these copies identify the patient, delete them (leftovers)."
        if len(set(made)) != len(made):
            return f"{len(made) - len(set(made))} instances were copied twice."
        if isinstance(announced, int) and len(made) != announced:
            return f"{len(made)} of {announced} instances were copied."
        if not made:
            return "Nothing was copied."
        lost = [source for source in sources if self.of(source) is None]
        return f"{len(lost)} of {len(sources)} resources have no single copy." if lost else None

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {"outputs": [[o.level, o.id, o.source, o.parent, dict(o.tags)] for o in self.all]}

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


def _output(value: Any) -> Output | None:
    metadata = value.get("Metadata") or {}
    source = metadata.get("AnonymizedFrom") or value.get("AnonymizedFrom")
    if not isinstance(source, str):
        return None
    tags = value.get("MainDicomTags") or {}
    parent = value.get("ParentSeries") or value.get("ParentStudy") or value.get("ParentPatient") or ""
    return Output(value["Type"], value["ID"], source, parent, {k: tags[k] for k in _TAGS if k in tags})


def look(rest: Rest, unit: Unit, *, asked: float) -> tuple[Outputs, bool]:
    """What an archive holds of a unit that was asked for at `asked` (our clock), and whether that is all of it.

    Waits for anonymizations that still run. Copies from before the request are somebody else's.
    """
    _wait_for_jobs(rest)
    since = asked + _server_clock(rest) - time.time() - _TOLERANCE
    patients = rest.tools.bulk_content(rest.patients.list(), metadata=True)
    ours = [
        value["ID"]
        for value in patients
        if (value.get("Metadata") or {}).get("AnonymizedFrom") == unit.key
        and _seconds(value.get("LastUpdate")) >= since
    ]
    made: list[str] = []
    for patient in ours:
        for level in ("Study", "Series", "Instance"):
            made += [child["ID"] for child in rest.patients.children(patient, level)]
    outputs = Outputs(tuple(read_back(rest, [*ours, *made]).values()))
    expected = _instances(rest, unit.input["level"], unit.input["resources"])
    sources = [output.source for output in outputs.instances]
    exact = bool(expected) and len(sources) == len(expected) and set(sources) == expected and len(ours) == 1
    return outputs, exact


def _instances(rest: Rest, level: Level, resources: Sequence[str]) -> set[str]:
    if level == "Instance":
        return set(resources)
    area = getattr(rest, _AREAS[level])
    return {child["ID"] for resource in resources for child in area.children(resource, "Instance")}


def _wait_for_jobs(rest: Rest) -> None:
    limit = time.monotonic() + _WAIT
    while any(not job.done and job.type == "ResourceModification" for job in rest.jobs.list()):
        if time.monotonic() > limit:
            raise OrthancError("Orthanc still works on an anonymization after ten minutes; resume later.")
        time.sleep(0.5)


def _server_clock(rest: Rest) -> float:
    return _seconds(rest.tools.now())


def _seconds(text: Any) -> float:
    """Seconds since 1970 of Orthanc's YYYYMMDDThhmmss (UTC); 0 for anything else."""
    try:
        return datetime.strptime(str(text)[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0
