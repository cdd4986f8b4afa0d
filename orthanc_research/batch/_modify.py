"""Changed copies of many resources: new values a row, one job a patient and set of values.

Every copy is read back by the metadata `ModifiedFrom`. Orthanc is always asked to keep the sources; with
`keep_source=False` they are deleted here, after that. Requests: one a job, the polls, one to read back, and at most two
before them that show whether something would be merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from orthanc_research import resolve
from orthanc_research.batch._anonymize import copied
from orthanc_research.batch._engine import check_window, start
from orthanc_research.batch._ledger import planned
from orthanc_research.batch._outcome import Archive, Found, Outputs, instances_of, present
from orthanc_research.batch._refusals import Row, check_changes, check_merges, check_tags, check_text, tag_name
from orthanc_research.batch._task import Planned, Task
from orthanc_research.batch.journal import Unit
from orthanc_research.errors import QueryError
from orthanc_research.progress import Progress
from orthanc_research.rest import Job, Level, Rest
from orthanc_research.tables import UID_OF, Selection, orthanc_id, tag_of

__all__ = ["Changes", "Modification", "modify"]


@dataclass(frozen=True, slots=True)
class Changes:
    """What is changed in every row alike, and what is allowed; `replace` is {tag: text, or a column of texts}."""

    replace: Mapping[str, Any]
    remove: Sequence[str] = ()
    remove_private_tags: bool = False
    force: bool = False
    keep_source: bool = True
    allow_merge: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.replace, Mapping):
            raise QueryError("replace is {tag: text, or a column}, such as {'PatientID': df['new_id']}.")
        if isinstance(self.remove, str) or not isinstance(self.remove, Sequence):
            raise QueryError("remove is a list of tags, such as ['StationName'].")
        if not (self.replace or self.remove or self.remove_private_tags):
            raise QueryError("There is no change to make: give replace, remove or remove_private_tags.")
        check_tags((*self.replace, *self.remove))
        names = [tag_name(tag) for tag in (*self.replace, *self.remove)]
        if len(set(names)) < len(names):
            raise QueryError("A tag is named twice in replace and remove.")


@dataclass(frozen=True, slots=True)
class Modification(Task):
    """The task of a modification; the new values are in its units."""

    remove: Sequence[str]
    remove_private_tags: bool
    force: bool
    keep_source: bool

    kind = "modify"
    participle = "modified"

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Modification:
        """From the settings in a journal."""
        return cls(**{each.name: settings[each.name] for each in fields(cls)})

    def settings(self) -> dict[str, Any]:
        return asdict(self)

    def submit(self, rest: Rest, unit: Unit) -> str:
        answer = rest.tools.bulk_modify(
            unit.input["resources"],
            replace={_sent(tag): text for tag, text in unit.input["replace"].items()},
            remove=[_sent(tag) for tag in self.remove],
            level=unit.input["level"],
            remove_private_tags=self.remove_private_tags,
            force=self.force,
            keep_source=True,
        )
        return str(answer["ID"])

    def look(self, archive: Archive, unit: Unit, asked: float, named: Sequence[str]) -> Found:
        """Copies lie under the patient of the source, or that of the new PatientID."""
        expected = instances_of(archive.rest, unit.input["level"], unit.input["resources"])
        places = present(archive.rest, list({unit.input["patient"], self._patient(unit)}))
        groups = {place: archive.copies(place, expected, self.origin, named) for place in sorted(places)}
        found = archive.weigh(groups, expected, asked=asked, named=named)
        return found if found.whole is None else replace(found, whole=archive.with_ancestors(found.whole, self.origin))

    def refusal(self, unit: Unit, outputs: Outputs) -> str | None:
        patients = {output.parent for output in outputs.all if output.level == "Study"}
        if "PatientID" not in unit.input["replace"] or patients <= {self._patient(unit)}:
            return None
        return "Orthanc did not give these copies the new PatientID: delete them (leftovers)."

    def rows(self, unit: Unit, outputs: Outputs) -> dict[str, dict[str, Any]]:
        rows = copied(unit, outputs, "ModifiedID", "ModifiedUID")
        for source, row in rows.items():
            made = outputs.of(source)
            level = unit.input["level"]
            row["ModifiedStudy"] = {"Study": row["ModifiedID"], "Series": made and made.parent}.get(level)
        return rows

    def told(self, unit: Unit, job: Job) -> str:
        """Orthanc's details repeat values at times: then its plain words only."""
        words = super(Modification, self).told(unit, job)
        repeats = any(text and text in job.error_details for text in unit.input["replace"].values())
        return job.error_description if repeats else words

    def _patient(self, unit: Unit) -> str:
        new = unit.input["replace"].get("PatientID")
        return str(unit.input["patient"]) if new is None else orthanc_id(new)


def _sent(tag: str) -> str:
    """By number: a keyword may be newer than the server's dictionary."""
    number = tag_of(tag)
    return tag if number is None else f"{number >> 16:04x},{number & 0xFFFF:04x}"


def modify(
    rest: Rest,
    resources: Any,
    changes: Changes,
    *,
    path: Any,
    window: int,
    progress: Progress,
    dry_run: bool = False,
) -> tuple[Level, pd.DataFrame]:
    """Changed copies of the resources: their level and the ledger; with `dry_run` all checks, and nothing is sent."""
    check_window(window)
    chosen = resolve.select(rest, resources)
    values = _values(chosen, resources, changes.replace)
    for tag in values:
        check_text(tag, values[tag].values())
    level, patients = resolve.patients_of(rest, chosen)
    remove = [tag_name(tag) for tag in changes.remove]
    check_changes(level, values, remove, force=changes.force)
    if (level == "Patient") != ("PatientID" in values) and chosen.ids:
        # 1.10.1 has them as failed jobs: a patient's copies that stay under it, a study's that go to another.
        rest.capabilities().require("modify-parents")
    rows = [Row(each, patients[each], {tag: column[each] for tag, column in values.items()}) for each in chosen.ids]
    check_merges(rest, level, rows, allowed=changes.allow_merge)
    if dry_run:
        return level, planned(list(chosen.ids), "modify")
    task = Modification(remove, changes.remove_private_tags, changes.force, changes.keep_source)
    units = _units(level, rows)
    return level, start(rest, task, units, chosen.ids, level, path=path, window=window, progress=progress)


def _units(level: Level, rows: Iterable[Row]) -> list[Planned]:
    """A unit for the rows of one patient with the same new values; a row that has an identifier given is one alone."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        own = row.id if level != "Patient" and UID_OF[level] in row.replace else ""
        groups.setdefault((row.patient, own, *sorted(row.replace.items())), []).append(row)
    return [
        (
            f"{number}",
            {
                "patient": group[0].patient,
                "level": level,
                "resources": [row.id for row in group],
                "replace": dict(group[0].replace),
            },
        )
        for number, group in enumerate(groups.values())
    ]


def _values(chosen: Selection, resources: Any, replace: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """{tag: {ID: new value}}; a text is that of every row, a column has one a row."""
    values = {}
    columns = set(resources.columns) if isinstance(resources, pd.DataFrame) else set()
    for tag, given in replace.items():
        if isinstance(given, str) and given in columns:
            raise QueryError(f"{tag} would become the name of a column in every row: for its values give the column.")
        column = (
            _column(resources, given) if isinstance(given, pd.Series | Mapping) else dict.fromkeys(chosen.ids, given)
        )
        lost = sum(each not in column or _missing(column[each]) for each in chosen.ids)
        if lost:
            raise QueryError(f"{lost} of {len(chosen.ids)} resources have no new value for {tag_name(tag)}.")
        texts = {each: column[each] for each in chosen.ids}
        values[tag_name(tag)] = {each: _text(value) for each, value in texts.items()}
    return values


def _column(resources: Any, given: pd.Series | Mapping[str, Any]) -> dict[Any, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    names: Any = given.index
    if isinstance(resources, pd.DataFrame) and resources.index.name != "ID" and given.index.equals(resources.index):
        names = resources["ID"]
    column: dict[Any, Any] = {}
    for name, value in zip(names, given, strict=True):
        if name in column and column[name] != value:
            raise QueryError("A column of new values has two for one resource.")
        column[name] = value
    return column


def _text(value: Any) -> Any:
    """Whole numbers, as a column of new IDs may have them, as text."""
    return str(value) if isinstance(value, int | np.integer) and not isinstance(value, bool) else value


def _missing(value: Any) -> bool:
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))
