"""Orthanc's own anonymization of many resources: one job a patient, and a mapping.

One job a patient because Orthanc is consistent only within a job: two calls for a patient give two PatientIDs, and two
patients in one call share a name. Every instance must have exactly one output, read back from the metadata
`AnonymizedFrom`. Requests: one a patient, the polls, and one to read back.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pandas as pd

from orthanc_research.batch._engine import check_window, start
from orthanc_research.batch._outcome import Archive, Found, Outputs, instances_of
from orthanc_research.batch._task import Task
from orthanc_research.batch.journal import Unit
from orthanc_research.errors import QueryError
from orthanc_research.progress import Progress
from orthanc_research.rest import Level, Rest
from orthanc_research.tables import UID_OF, tag_of

__all__ = ["Anonymization", "Options", "Source", "anonymize", "check_tags"]


@dataclass(frozen=True, slots=True)
class Source:
    """One resource to anonymize, and the patient that it belongs to (both Orthanc IDs)."""

    id: str
    patient: str


def check_tags(tags: Iterable[Any]) -> None:
    """`QueryError` for what is no DICOM tag, nor a path into sequences (A[0].B or A[*].B)."""
    for tag in tags:
        parts = re.sub(r"\[(?:\d+|\*)\]", "", tag).split(".") if isinstance(tag, str) else [""]
        if not all(tag_of(part) is not None for part in parts):
            raise QueryError(f"{str(tag)[:40]!r} is no DICOM tag that can be kept, replaced or removed.")


@dataclass(frozen=True, slots=True)
class Options:
    """What Orthanc is asked to do; see `rest.tools.bulk_anonymize`. `QueryError` for what is no DICOM tag."""

    replace: Mapping[str, str] = field(default_factory=dict)
    keep: Sequence[str] = ()
    remove: Sequence[str] = ()
    keep_private_tags: bool = False
    dicom_version: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.replace, Mapping) or not all(isinstance(v, str) for v in self.replace.values()):
            raise QueryError("replace is {tag: text}, such as {'PatientID': 'P-001'}.")
        for name, tags in (("keep", self.keep), ("remove", self.remove)):
            if isinstance(tags, str) or not isinstance(tags, Sequence):
                raise QueryError(f"{name} is a list of tags, such as ['PatientSex'].")
        check_tags((*self.replace, *self.keep, *self.remove))

    @property
    def patient_id(self) -> str | None:
        """What the PatientID is replaced with, if it is."""
        return next((text for tag, text in self.replace.items() if tag_of(tag) == 0x00100020), None)

    @property
    def same_patient(self) -> bool:
        """True when the copies were not to get a new patient of their own."""
        return self.patient_id is not None or any(tag_of(tag) == 0x00100020 for tag in self.keep)


@dataclass(frozen=True, slots=True)
class Anonymization(Task):
    """The task of an `Options`."""

    options: Options

    kind = "anonymize"
    participle = "anonymized"
    units = "patients"
    origin = "AnonymizedFrom"

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Anonymization:
        """From the settings in a journal."""
        return cls(Options(**{name: settings[name] for name in Options.__slots__}))

    def settings(self) -> dict[str, Any]:
        return asdict(self.options)

    def submit(self, rest: Rest, unit: Unit) -> str:
        return str(rest.tools.bulk_anonymize(unit.input["resources"], **asdict(self.options))["ID"])

    def look(self, archive: Archive, unit: Unit, asked: float, named: Sequence[str]) -> Found:
        """Copies lie under new patients, the one that was named, and, where the PatientID was kept, the source."""
        patient, wanted = unit.key, self.options.patient_id
        made_from = {v["ID"]: (v.get("Metadata") or {}).get(self.origin) for v in archive.patients}

        def new(place: str) -> bool:
            return made_from.get(place) == patient and place != patient

        places = [
            str(value["ID"])
            for value in archive.patients
            if new(value["ID"])
            or value["ID"] == patient
            or (wanted is not None and (value.get("MainDicomTags") or {}).get("PatientID", "").strip() == wanted)
        ]
        expected = instances_of(archive.rest, unit.input["level"], unit.input["resources"])
        groups = {place: archive.copies(place, expected, self.origin, named) for place in places}
        found = archive.weigh(groups, expected, asked=asked, named=named, own=new)
        return found if found.whole is None else replace(found, whole=archive.with_ancestors(found.whole, self.origin))

    def refusal(self, unit: Unit, outputs: Outputs) -> str | None:
        if self.options.same_patient or not outputs.identified(unit.key):
            return None
        return "Orthanc left the PatientID as it was: these copies identify the patient, delete them (leftovers)."

    def rows(self, unit: Unit, outputs: Outputs) -> dict[str, dict[str, Any]]:
        rows = copied(unit, outputs, "AnonymizedID", "AnonymizedUID")
        patient = {f"Anonymized{keyword}": outputs.patient_tag(keyword) for keyword in ("PatientID", "PatientName")}
        return {source: row | patient for source, row in rows.items()}


def copied(unit: Unit, outputs: Outputs, column: str, uid_column: str) -> dict[str, dict[str, Any]]:
    """{source: the ID and UID of its copy, how many instances and bytes it has} of a unit's outputs."""
    level, sources = unit.input["level"], unit.input["resources"]
    rows = {}
    for source in sources:
        alone = len(sources) == 1
        new, made = outputs.id_of(source, level, alone=alone), outputs.of(source)
        instances = outputs.instances if alone else outputs.below(new) if new else []
        rows[source] = {
            column: new,
            uid_column: None if made is None or level == "Patient" else made.tags.get(UID_OF[level]),
            "instances": len(instances),
            "bytes": sum(output.size for output in instances),
        }
    return rows


def anonymize(
    rest: Rest,
    level: Level,
    sources: Iterable[Source],
    options: Options,
    *,
    path: Any,
    window: int,
    progress: Progress,
) -> pd.DataFrame:
    """Anonymize the sources as copies in the same Orthanc; the ledger of `ledger`, in the order of the sources."""
    check_window(window)
    # Bad options, and those that this server would ignore, are refused before there is a journal.
    for feature in rest.tools.bulk_anonymize.call([], **asdict(options)).needs:
        rest.capabilities().require(feature)
    groups: dict[str, list[str]] = defaultdict(list)
    order = []
    for source in sources:
        groups[source.patient].append(source.id)
        order.append(source.id)
    units = [(patient, {"level": level, "resources": ids}) for patient, ids in groups.items()]
    return start(rest, Anonymization(options), units, order, level, path=path, window=window, progress=progress)
