"""Studies taken apart and put together: Orthanc's split and merge, one job each.

Their copies say nothing of what they were made from (observed on 1.10.1, 1.12.7 and 1.13.0). They are told by where
they lie, by what was there before, and by the tags of their instances in Orthanc's index, which are those of their
sources but for the UID: as many copies with the same tags as there are sources, each counted once. A series' own tags
do not prove anything: they are those of the file stored first. Which of two series that look the same a copy was made
from stays NA. Orthanc is always asked to keep the sources; with `keep_source=False` they are deleted
by this package, after the copies were counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pandas as pd

from orthanc_research import resolve
from orthanc_research.batch._engine import start
from orthanc_research.batch._outcome import Archive, Found, Output, Outputs, present, seconds
from orthanc_research.batch._refusals import Row, check_changes, check_merges, check_tags, check_text, tag_name
from orthanc_research.batch._task import Task
from orthanc_research.batch.journal import Unit
from orthanc_research.errors import NotFoundError, QueryError
from orthanc_research.progress import Progress
from orthanc_research.rest import Job, Level, Rest
from orthanc_research.tables import orthanc_id
from orthanc_research.tables.levels import INDEX, level_of

__all__ = ["Merge", "Split", "merge", "split"]

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
class _Contents:
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


class _Regrouping(Task):
    """What split and merge have in common; `study` of a unit is where it takes place."""

    def __init__(self, keep_source: bool) -> None:
        self.keep_source = keep_source

    def settings(self) -> dict[str, Any]:
        return {"keep_source": self.keep_source}

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> _Regrouping:
        """From the settings in a journal."""
        return cls(settings["keep_source"])

    def places(self, rest: Rest, unit: Unit) -> list[str]:
        """The studies that may hold the copies."""
        raise NotImplementedError

    def look(self, archive: Archive, unit: Unit, asked: float, named: Sequence[str]) -> Found:
        sources = _contents(archive.rest, unit.input["resources"])
        if not set(unit.input["resources"]) <= present(archive.rest, unit.input["resources"]):
            raise NotFoundError("Some of the resources are no longer on this Orthanc.", status=404)
        before = set(unit.input["before"])
        groups: dict[str, list[Output]] = {}
        series: list[Output] = []
        for study in self.places(archive.rest, unit):
            there = _contents(archive.rest, [study])
            free = set(archive.free((each.id for each in there.instances), named)) - before
            groups[study] = _matched((each for each in there.instances if each.id in free), sources)
            series += _series(study, groups[study], there, sources)
        expected = {source.id for source in sources.instances}
        found = archive.weigh(groups, expected, asked=asked, named=named)
        if found.whole is None:
            if named and not (found.rests or found.doubt):
                return replace(found, doubt="What the job made is not what was asked for: look at it, and delete it.")
            return found
        above = {copy.parent for copy in found.whole.all}
        return replace(found, whole=Outputs((*found.whole.all, *(each for each in series if each.id in above))))

    def problem(self, unit: Unit, outputs: Outputs, announced: int) -> str | None:
        return outputs.problem(unit.input["level"], (), announced)

    def rows(self, unit: Unit, outputs: Outputs) -> dict[str, dict[str, Any]]:
        (study,) = {output.parent for output in outputs.all if output.level == "Series"}
        rows = {}
        for source, series in unit.input["parts"].items():
            made = [outputs.of(each) for each in series]
            below = [outputs.below(each.id) if each else None for each in made]
            known = [copy for copies in below if copies is not None for copy in copies]
            whole = None not in below
            one = made[0] if unit.input["level"] == "Series" else None
            rows[source] = {
                "ModifiedID": study if unit.input["level"] == "Study" else one and one.id,
                "ModifiedUID": one and one.tags["SeriesInstanceUID"],
                "ModifiedStudy": study,
                "instances": len(known) if whole else None,
                "bytes": sum(copy.size for copy in known) if whole else None,
            }
        return rows


class Split(_Regrouping):
    """Series of one study into a new one."""

    kind = "split"
    participle = "split off"
    job_type = "SplitStudy"

    def submit(self, rest: Rest, unit: Unit) -> str:
        answer = rest.studies.split(
            unit.input["study"],
            series=unit.input["resources"],
            replace=unit.input["replace"],
            remove=unit.input["remove"],
            keep_source=True,
        )
        return str(answer["ID"])

    def places(self, rest: Rest, unit: Unit) -> list[str]:
        patient = _patient(unit.input)
        studies = rest.patients.children(patient, "Study") if present(rest, [patient]) else []
        return [str(study["ID"]) for study in studies if study["ID"] not in unit.input["studies"]]

    def named(self, rest: Rest, unit: Unit, job: Job) -> list[str]:
        return [each["ID"] for each in rest.studies.children(str(job.content["TargetStudy"]), "Instance")]


class Merge(_Regrouping):
    """Other studies, or series of them, into one study."""

    kind = "merge"
    participle = "merged"
    job_type = "MergeStudy"

    def submit(self, rest: Rest, unit: Unit) -> str:
        return str(rest.studies.merge(unit.input["study"], unit.input["resources"], keep_source=True)["ID"])

    def places(self, rest: Rest, unit: Unit) -> list[str]:
        return [unit.input["study"]]

    def named(self, rest: Rest, unit: Unit, job: Job) -> list[str]:
        there = [each["ID"] for each in rest.studies.children(unit.input["study"], "Instance")]
        return sorted(set(there) - set(unit.input["before"]))


def _patient(given: Mapping[str, Any]) -> str:
    new = given["replace"].get("PatientID")
    return str(given["patient"]) if new is None else orthanc_id(new)


def _contents(rest: Rest, resources: Sequence[str]) -> _Contents:
    """What studies or series hold: two requests."""
    series = {value["ID"]: value["MainDicomTags"] for value in rest.tools.bulk_content(resources, "Series")}
    instances = [
        _Instance(value["ID"], value["ParentSeries"], _mark(value), _received(value), int(value.get("FileSize") or 0))
        for value in rest.tools.bulk_content(resources, "Instance", metadata=True)
    ]
    looks = {each: orjson.dumps([tags.get(name) for name in _LOOKS]) for each, tags in series.items()}
    return _Contents(instances, {each: str(tags.get("SeriesInstanceUID")) for each, tags in series.items()}, looks)


def _mark(value: Mapping[str, Any]) -> bytes:
    # Of a server that was told to index more, only what is of the instance itself: the study's tags do change.
    tags, metadata = value["MainDicomTags"], value.get("Metadata") or {}
    own = [tags.get(name) for name in INDEX["Instance"] if name != "SOPInstanceUID"]
    return orjson.dumps([own, metadata.get("SopClassUid"), metadata.get("TransferSyntax")])


def _received(value: Mapping[str, Any]) -> float:
    return seconds((value.get("Metadata") or {}).get("ReceptionDate"))


def _matched(copies: Iterable[_Instance], sources: _Contents) -> list[Output]:
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


def _series(study: str, copies: Sequence[Output], there: _Contents, sources: _Contents) -> list[Output]:
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


def split(
    rest: Rest,
    study: Any,
    series: Any,
    *,
    replace: Mapping[str, str],
    remove: Sequence[str],
    keep_source: bool,
    path: Any,
    progress: Progress,
) -> pd.DataFrame:
    """Copies of series of one study in a new study, with new values of the patient's and study's tags; the ledger."""
    changes, gone = _study_changes(replace, remove)
    identifier, chosen = resolve.one(rest, study, "Study"), resolve.select(rest, series)
    if not chosen.ids or chosen.level != "Series":
        raise QueryError("There is nothing to split off: give series of the study.")
    about = rest.studies.read(identifier)
    strange = len(set(chosen.ids) - set(about["Series"]))
    if strange:
        raise QueryError(f"{strange} of {len(chosen.ids)} series are not of this study.")
    patient = about["ParentPatient"]
    check_merges(rest, "Study", [Row(identifier, patient, changes)], allowed=False)
    given = {"study": identifier, "patient": patient, "level": "Series", "resources": list(chosen.ids), "before": []}
    given |= {"replace": changes, "remove": gone, "parts": {each: [each] for each in chosen.ids}}
    place = _patient(given)
    there = rest.patients.children(place, "Study") if place == patient else []
    given["studies"] = [value["ID"] for value in there]
    units = [(identifier, given)]
    return start(rest, Split(keep_source), units, chosen.ids, "Series", path=path, window=1, progress=progress)


def _study_changes(replace: Mapping[str, str], remove: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    if not isinstance(replace, Mapping) or isinstance(remove, str) or not isinstance(remove, Sequence):
        raise QueryError("replace is {tag: text}, such as {'StudyDescription': 'Head'}, and remove a list of tags.")
    check_tags((*replace, *remove))
    changes, gone = {tag_name(tag): text for tag, text in replace.items()}, [tag_name(tag) for tag in remove]
    if "StudyInstanceUID" in changes:
        raise QueryError("The study that is split off gets a StudyInstanceUID of Orthanc's.")
    check_changes("Study", changes, gone, force=True)
    for tag, text in changes.items():
        check_text(tag, [text])
    if any(level_of(tag, "Study") not in ("Patient", "Study") for tag in (*changes, *gone)):
        raise QueryError("A split changes tags of the patient and the study only: modify its series then.")
    return changes, gone


def merge(
    rest: Rest,
    study: Any,
    resources: Any,
    *,
    keep_source: bool,
    allow_other_patients: bool,
    path: Any,
    progress: Progress,
) -> tuple[Level, pd.DataFrame]:
    """Copies of other studies, or of series of them, in this study, with its patient's and study's tags; the ledger."""
    identifier, chosen = resolve.one(rest, study, "Study"), resolve.select(rest, resources)
    if not chosen.ids or chosen.level not in ("Study", "Series"):
        raise QueryError("There is nothing to merge: give other studies, or series of them.")
    about = rest.studies.read(identifier)
    if identifier in chosen.ids or set(chosen.ids) & set(about["Series"]):
        raise QueryError("Some of these are in the study already: give other studies, or series of them.")
    level, patients = resolve.patients_of(rest, chosen)
    strange = sum(patient != about["ParentPatient"] for patient in patients.values())
    if strange and not allow_other_patients:
        raise QueryError(
            f"{strange} of {len(patients)} are of another patient than the study: to put them there all the same, "
            "allow_other_patients=True."
        )
    parts = {each: [each] for each in chosen.ids}
    if level == "Study":
        parts = {each: rest.studies.read(each)["Series"] for each in chosen.ids}
    before = [value["ID"] for value in rest.studies.children(identifier, "Instance")]
    given = {"study": identifier, "patient": about["ParentPatient"], "level": level, "resources": list(chosen.ids)}
    units = [(identifier, {**given, "before": before, "parts": parts})]
    frame = start(rest, Merge(keep_source), units, chosen.ids, level, path=path, window=1, progress=progress)
    return level, frame
