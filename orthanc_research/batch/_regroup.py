"""Studies taken apart and put together: Orthanc's split and merge, one job each.

Their copies are told by where they lie, by what was there before, and by their likeness to their sources (`_likeness`).
Orthanc is always asked to keep the sources; with `keep_source=False` they are deleted by this package, after the copies
were counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from orthanc_research import resolve
from orthanc_research.batch._engine import start
from orthanc_research.batch._likeness import contents, instances_matched, series_matched
from orthanc_research.batch._outcome import Archive, Found, Output, Outputs, present
from orthanc_research.batch._refusals import Row, check_changes, check_merges, check_tags, check_text, tag_name
from orthanc_research.batch._task import Task
from orthanc_research.batch.journal import Unit
from orthanc_research.errors import NotFoundError, QueryError
from orthanc_research.progress import Progress
from orthanc_research.rest import Job, Level, Rest
from orthanc_research.tables import orthanc_id
from orthanc_research.tables.levels import level_of

__all__ = ["Merge", "Split", "merge", "split"]


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
        sources = contents(archive.rest, unit.input["resources"])
        if not set(unit.input["resources"]) <= present(archive.rest, unit.input["resources"]):
            raise NotFoundError("Some of the resources are no longer on this Orthanc.", status=404)
        before = set(unit.input["before"])
        groups: dict[str, list[Output]] = {}
        series: list[Output] = []
        for study in self.places(archive.rest, unit):
            there = contents(archive.rest, [study])
            free = set(archive.free((each.id for each in there.instances), named)) - before
            groups[study] = instances_matched((each for each in there.instances if each.id in free), sources)
            series += series_matched(study, groups[study], there, sources)
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
