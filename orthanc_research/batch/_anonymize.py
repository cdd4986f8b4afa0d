"""Orthanc's own anonymization of many resources: one job a patient, and a mapping.

One job a patient because Orthanc is consistent only within a job: two calls for a patient give two PatientIDs, and two
patients in one call share a name. Every instance must have exactly one output, read back from the metadata
`AnonymizedFrom`. What Orthanc would leave (overlays, identifiers inside sequences: see `_hidden`) is looked for in
every file and removed by the same job, and looked for again in the copies: a unit whose copies hold any is never done.
Requests: one that tells what is a copy already; a patient's instances, its job, and each series before and after it;
the polls; and one to read back.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pandas as pd

from orthanc_research.batch._engine import check_window, start
from orthanc_research.batch._hidden import Rules, path_of
from orthanc_research.batch._identity import Identity
from orthanc_research.batch._outcome import Archive, Found, Outputs, instances_of
from orthanc_research.batch._refusals import IDENTIFIERS, check_tags, check_text, tag_name
from orthanc_research.batch._scan import count_hidden, identify, scan
from orthanc_research.batch._task import Task
from orthanc_research.batch.journal import Unit
from orthanc_research.bulk import pages
from orthanc_research.errors import DeidError, QueryError
from orthanc_research.progress import Progress
from orthanc_research.rest import Level, Rest
from orthanc_research.tables import UID_OF, orthanc_id, tag_of

__all__ = ["Anonymization", "Options", "Source", "anonymize", "copied"]


@dataclass(frozen=True, slots=True)
class Source:
    """One resource to anonymize, and the patient that it belongs to (both Orthanc IDs)."""

    id: str
    patient: str


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
        named = [path_of(tag) for tag in (*self.replace, *dict.fromkeys(self.keep), *dict.fromkeys(self.remove))]
        if len(set(named)) < len(named):
            raise QueryError("A tag is named twice in replace, keep and remove.")
        if any(re.search(r"\[\d", tag) for tag in (*self.replace, *self.keep)):
            # The other items would have to be told from that one when what stays is looked for.
            raise QueryError("A path that is kept or replaced is one for all items of a sequence: write [*] in it.")
        for tag, text in self.replace.items():
            check_text(tag_name(tag), [text])

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
    # unit → the originals that were read, and what the patient is called there; in memory alone, never in the journal
    _read: dict[str, tuple[frozenset[str], Identity]] = field(default_factory=dict, repr=False, compare=False)

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

    def prepare(self, rest: Rest, unit: Unit, progress: Progress) -> Unit:
        """The unit with the paths to remove in its files; they come from tags alone, never from the journal."""
        series, copies = _contents(rest, unit.input["level"], unit.input["resources"])
        if copies:
            raise DeidError(
                f"{copies} of these instances are copies of an earlier anonymization: give the original studies alone."
            )
        found = scan(rest, series, self._rules(rest), progress)
        if found.embedded:
            raise DeidError(
                f"{found.embedded} instances have an overlay in unused bits of their pixels, which Orthanc cannot take "
                "out; where it may stay, keep its OverlayBitPosition, as in keep=['6000,0102']."
            )
        if found.nobodies > 1:
            raise DeidError(
                f"These files have no PatientID, and name {found.nobodies} people, who would become one: give each a "
                "PatientID first (modify)."
            )
        self._read[unit.key] = frozenset(each for chosen in series.values() for each in chosen), found.identity
        return unit_with(unit, remove=sorted(found.paths))

    def submit(self, rest: Rest, unit: Unit) -> str:
        options = asdict(self.options)
        options["remove"] = [*options["remove"], *unit.input["remove"]]
        return str(rest.tools.bulk_anonymize(unit.input["resources"], **options)["ID"])

    def inspect(self, rest: Rest, unit: Unit, outputs: Outputs, progress: Progress) -> str | None:
        series: dict[str, list[str]] = defaultdict(list)
        for copy in outputs.instances:
            series[copy.parent].append(copy.id)
        read, identity = self._read.pop(unit.key, (frozenset[str](), Identity()))
        sources = {copy.source for copy in outputs.instances}
        if not sources <= read:
            # Another process asked for them, or files came while Orthanc worked.
            originals, _ = _contents(rest, unit.input["level"], unit.input["resources"])
            if not sources <= {each for chosen in originals.values() for each in chosen}:
                return "Originals of these copies are gone, so what they were called is not known: delete the copies."
            identity |= identify(rest, originals, progress)
        count = count_hidden(rest, series, self._rules(rest), identity, progress)
        if not count:
            return None
        return f"Orthanc left overlays or identifiers in {count} of these copies: delete them (leftovers)."

    def _rules(self, rest: Rest) -> Rules:
        newest = "2023b" if rest.capabilities().has("profile-2023b") else "2021b"
        return Rules.of(self.options.replace, self.options.keep, self.options.dicom_version or newest)

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
        # Rows are written into the journal, which holds no name: what was kept is in the copies.
        kept = {tag_name(tag) for tag in self.options.keep}
        patient = {
            f"Anonymized{keyword}": None if keyword in kept else outputs.patient_tag(keyword)
            for keyword in ("PatientID", "PatientName")
        }
        return {source: row | patient for source, row in rows.items()}


def unit_with(unit: Unit, **given: Any) -> Unit:
    """The unit with more in its input."""
    return replace(unit, input={**unit.input, **given})


def _contents(rest: Rest, level: Level, resources: Sequence[str]) -> tuple[dict[str, list[str]], int]:
    """{series: its instances} of the resources, and how many of them were made by an anonymization."""
    below: Level | None = None if level == "Instance" else "Instance"
    found = [value for page in pages(resources) for value in rest.tools.bulk_content(page, below, metadata=True)]
    series: dict[str, list[str]] = defaultdict(list)
    for value in found:
        series[str(value["ParentSeries"])].append(str(value["ID"]))
    return series, sum(Anonymization.origin in (value.get("Metadata") or {}) for value in found)


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
    chosen = list(sources)
    skipped = _earlier_outputs(rest, [source.id for source in chosen])
    groups: dict[str, list[str]] = defaultdict(list)
    for source in chosen:
        if source.id not in skipped:
            groups[source.patient].append(source.id)
    _check_identifiers(rest, options, list(groups))
    units = [(patient, {"level": level, "resources": ids}) for patient, ids in groups.items()]
    order = [source.id for source in chosen]
    task = Anonymization(options)
    return start(rest, task, units, order, level, path=path, window=window, progress=progress, skipped=sorted(skipped))


def _earlier_outputs(rest: Rest, ids: Sequence[str]) -> set[str]:
    """Those that an anonymization made: a copy of a copy helps nobody, and leads to no original."""
    found = [value for page in pages(ids) for value in rest.tools.bulk_content(page, metadata=True)]
    origins = {str(value["ID"]): (value.get("Metadata") or {}).get(Anonymization.origin) for value in found}
    # A patient whose PatientID was kept has itself for an origin, and the originals below it.
    return {each for each, origin in origins.items() if origin not in (None, each)}


def _check_identifiers(rest: Rest, options: Options, patients: Sequence[str]) -> None:
    """`QueryError` for identifiers that would make two patients or studies one."""
    for tag in options.replace:
        name = tag_name(tag)
        if name in IDENTIFIERS and name != "PatientID":
            raise QueryError(f"Orthanc gives each copy a new {name}; one that is given would merge them (see modify).")
    if options.patient_id is None or not patients:
        return
    if len(patients) > 1:
        raise QueryError(f"One PatientID for {len(patients)} patients would merge them: give one patient at a time.")
    taken = orthanc_id(options.patient_id)
    for value in rest.tools.bulk_content([taken], metadata=True):
        if taken != patients[0] and (value.get("Metadata") or {}).get(Anonymization.origin) != patients[0]:
            raise QueryError("That PatientID is another patient's on this Orthanc: give one that is nobody's.")
