"""From what a source has to the rows of a plan: whose each series is, what keeps it back, what is there already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from orthanc_research.deid import Key, Profile, uid_of
from orthanc_research.errors import CancelledError, DeidError, QueryError
from orthanc_research.progress import Progress
from orthanc_research.release._facts import Facts, Patient
from orthanc_research.release._patients import Names, Naming, first_date, identity_of, subject_of
from orthanc_research.release._places import Copy, Target
from orthanc_research.release._rows import Line, Named, RunRow, Unit

__all__ = ["Before", "Draft", "Group", "draft", "gone", "grouped"]

Before = Mapping[str, tuple[Unit, RunRow]]
_AGAIN = "Roll back the run that made it, or choose another target."
_OLDER = "Its copies were made by another version of this package, whose rules may differ."
_UNPROVEN = "Its copies did not pass the check across all copies."


@dataclass(slots=True)
class Group:
    """The instances of one series of one patient; or one file that cannot be read."""

    row: str
    facts: list[Facts]
    identity: str = ""
    wanted: str | None = None
    is_copy: bool = False

    def __repr__(self) -> str:
        return f"<Group of {len(self.facts)}>"


@dataclass(slots=True)
class Draft:
    """A plan as data: its lines, the instances of those that will be done, and what it found."""

    lines: list[Line] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)
    problems: list[tuple[str, str, str, int]] = field(default_factory=list)  # row, what, what to do, instances
    deltas: dict[str, Counter[str]] = field(default_factory=dict)
    named: dict[str, Named] = field(default_factory=dict)
    known: dict[tuple[str, bytes], None] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)
    as_of: Any = None  # what the project's journal said then

    def __repr__(self) -> str:
        return f"<Draft of {len(self.lines)} rows>"


def grouped(
    found: Iterable[Facts],
    ours: Collection[str],
    names: Names | None,
    progress: Progress,
    *,
    key: Key,
    is_target: bool = False,
) -> list[Group]:
    """The series of a source, in a fixed order; copies that this project made are left out.

    `is_target`: copies are put into this source, so that those of others, and of patients who were forgotten, are there
    as well: they are groups of their own. `CancelledError` when the user asked to stop: a plan is whole or none.
    """
    groups: dict[tuple[str, str, str], Group] = {}
    for facts in found:
        if facts.problem:
            # Keyed: a path is often a name and a date, which a plain hash gives away to whoever tries names.
            label = "file-" + key.digest("file", "", facts.key).hex()[:12]
            groups[(facts.key, "", "")] = Group(label, [facts])
        elif not (facts.is_copy and facts.sop in ours):
            wanted = names(facts) if names else None
            identity = identity_of(facts.patient, wanted)
            place = (identity, facts.study, facts.series)
            group = groups.setdefault(place, Group(facts.series, [], identity, wanted, is_target and facts.is_copy))
            if group.wanted != wanted:
                raise DeidError("patient_ids gives one series two pseudonyms.")
            group.facts.append(facts)
    if progress.cancelled:
        raise CancelledError("Planning was stopped on request; there is no plan.")
    labels = Counter[str]()
    ordered = sorted(groups.values(), key=lambda group: (group.row, group.facts[0].study, group.identity))
    for group in ordered:  # one SeriesInstanceUID may occur under two patients
        labels[group.row] += 1
        if labels[group.row] > 1:
            group.row += f" ({labels[group.row]})"
    return ordered


def draft(
    groups: Sequence[Group],
    *,
    key: Key,
    profile: Profile,
    naming: Naming,
    before: Before,
    target: Target,
    must_be_named: bool,
    acknowledge: Collection[str],
    versions: Mapping[str, Any],
) -> Draft:
    """The plan of these series. `DeidError` for patients that are no one-to-one mapping."""
    plan = Draft()
    _check_acknowledged(acknowledge, groups)
    twice = _in_two_series(groups)
    blocked = {group.row: _blocked(group, must_be_named, acknowledge, twice) for group in groups}
    free = [group for group in groups if not blocked[group.row]]
    naming.name(_patients(free))
    plan.named = {group.identity: naming.named[group.identity] for group in free}
    planned = {group.row: _units(group, key, profile, plan.named[group.identity]) for group in free}
    there = target.there(
        [_copy(unit, plan.named[unit.identity]) for units in planned.values() for unit in units.values()]
    )
    for group in groups:
        plan.keys[group.row] = [facts.key for facts in group.facts]
        stop = blocked[group.row]
        if stop is not None:
            reason, action = stop
            _add(plan, group, "blocked", reason)
            plan.problems.append((group.row, reason, action, len(group.facts)))
        else:
            named = plan.named[group.identity]
            _settle(plan, group, list(planned[group.row].values()), named, profile, before, there)
            plan.problems += _doubtful(group, before, versions)
        if group.identity in plan.named:  # what is kept back says what its patient is called as well
            plan.known |= {(group.identity, orjson.dumps(dict(facts.known))): None for facts in group.facts}
    plan.problems += _shared(free)
    return plan


def _doubtful(group: Group, before: Before, versions: Mapping[str, Any]) -> list[tuple[str, str, str, int]]:
    """Problems: copies that are there, and that nobody should take for as good as new ones."""
    runs = [before[facts.sop][1] for facts in group.facts if facts.sop in before]
    name = "orthanc_research"
    found = {
        _OLDER: (sum(run.options.get(name) != versions[name] for run in runs), _AGAIN),
        _UNPROVEN: (sum(run.state == "unverified" for run in runs), "Read the report of the run that made them."),
    }
    return [(group.row, reason, action, count) for reason, (count, action) in found.items() if count]


def _in_two_series(groups: Sequence[Group]) -> set[str]:
    """SOPInstanceUIDs that stand in more than one series, study or patient: the copies would share one as well."""
    seen = Counter(sop for group in groups if not group.is_copy for sop in {facts.sop for facts in group.facts} - {""})
    return {sop for sop, count in seen.items() if count > 1}


def _shared(groups: Sequence[Group]) -> list[tuple[str, str, str, int]]:
    """Problems: studies of two patients, who may be one whose PatientID or issuer was changed half-way."""
    owners: dict[str, set[str]] = {}
    for group in groups:
        owners.setdefault(group.facts[0].study, set()).add(group.identity)
    reason = "Its study has series of another PatientID or issuer, and they become two people."
    action = "If they are one patient, correct the source first."
    return [(group.row, reason, action, len(group.facts)) for group in groups if len(owners[group.facts[0].study]) > 1]


def gone(groups: Sequence[Group], before: Before, source: Mapping[str, str]) -> list[tuple[str, str, str, int]]:
    """Problems: copies that are in the target while their originals are no longer in the source."""
    seen = {facts.sop for group in groups for facts in group.facts}
    lost = Counter(
        unit.row for unit, run in before.values() if unit.sop not in seen and run.source["place"] == source["place"]
    )
    reason = "Originals are gone from the source, and their copies are in the target still."
    return [(row, reason, "If their patient has withdrawn, take the copies out.", count) for row, count in lost.items()]


def _check_acknowledged(acknowledge: Collection[str], groups: Sequence[Group]) -> None:
    known = {"all"} | {group.row for group in groups} | {group.facts[0].series for group in groups}
    lost = set(acknowledge) - known
    if lost:
        raise QueryError(f"{len(lost)} of the series to acknowledge are not in this plan; nothing was planned.")


def _blocked(
    group: Group, must_be_named: bool, acknowledge: Collection[str], twice: Collection[str]
) -> tuple[str, str] | None:
    """Why a series is kept back, and what to do about it."""
    first = group.facts[0]
    if first.problem:
        return first.problem, "Leave it out, or repair it."
    if group.is_copy:
        return (
            "It is a copy that this package made, in a place that copies are put into.",
            "Leave it out: what is released is its original.",
        )
    if not group.identity:
        return "It has no PatientID, and nobody knows whose it is.", "Name a pseudonym for it in patient_ids."
    if must_be_named and group.wanted is None:
        return "patient_ids has no pseudonym for it.", "Name one, or leave it out of resources."
    digests: dict[str, set[str]] = {}
    for facts in group.facts:
        digests.setdefault(facts.sop, set()).add(facts.digest)
    if any(facts.sop in twice for facts in group.facts):
        return "A SOPInstanceUID of it stands in another series too.", "Take the wrong ones out of the source."
    if any(len(each) > 1 for each in digests.values()):
        return "Different files in it have the same SOPInstanceUID.", "Take the wrong ones out of the source."
    risk = next((facts.risk for facts in group.facts if facts.risk), "")
    if risk and not {"all", group.row, first.series} & set(acknowledge):
        return (
            f"Its pixels may show whose it is: {risk}.",
            "Look at all of its images, then acknowledge its SeriesInstanceUID.",
        )
    return None


def _patients(groups: Sequence[Group]) -> list[tuple[str, Patient, str | None, str]]:
    dates: dict[str, list[str]] = {}
    found: dict[tuple[str, str | None], Group] = {}
    for group in groups:
        dates.setdefault(group.identity, []).extend(facts.study_date for facts in group.facts)
        found.setdefault((group.identity, group.wanted), group)
    return [
        (identity, group.facts[0].patient, wanted, first_date(dates[identity]))
        for (identity, wanted), group in found.items()
    ]


def _units(group: Group, key: Key, profile: Profile, named: Named) -> dict[str, Unit]:
    """{SOPInstanceUID: its unit}; a file that is there twice is done once."""
    subject = subject_of(named, profile)

    def new(uid: str) -> str:
        return uid if "retain_uids" in getattr(profile, "options", ()) else uid_of(key, uid, subject.namespace)

    series, study = new(group.facts[0].series), new(group.facts[0].study)
    found: dict[str, Unit] = {}
    for facts in sorted(group.facts, key=lambda each: each.key):
        if facts.sop not in found:
            found[facts.sop] = Unit(
                facts.key,
                group.row,
                group.identity,
                facts.digest,
                facts.size,
                facts.sop,
                facts.series,
                facts.study,
                new(facts.sop),
                series,
                study,
                absent=True,
            )
    return found


def _settle(
    plan: Draft,
    group: Group,
    units: list[Unit],
    named: Named,
    profile: Profile,
    before: Before,
    there: Mapping[str, str],
) -> None:
    """Hold the units of a series against what earlier runs did, and against what the target has."""
    deltas = plan.deltas.setdefault(group.row, Counter())
    settled: list[Unit] = []
    conflicts: Counter[str] = Counter()
    for unit in units:
        now = there.get(unit.new_sop)
        old, run = before.get(unit.sop, (None, None))
        unit = replace(unit, absent=now is None)
        deltas["new" if old is None else "same" if old.digest == unit.digest else "changed"] += 1
        if old is not None and (old.identity, old.study, old.series) != (unit.identity, unit.study, unit.series):
            conflicts["The target has a copy of it of another patient, study or series."] += 1
        elif now is not None and old is not None and run is not None:
            if now != old.target_digest:
                conflicts["The target has another copy than this project stored."] += 1
            elif old.digest != unit.digest:
                conflicts["The original has changed since its copy was stored."] += 1
            elif run.profile_hash != profile.hash:
                conflicts["The target has a copy that was made by another profile."] += 1
            else:
                unit = replace(unit, state="done", target_digest=now)
        settled.append(unit)
    if conflicts:
        reason = next(iter(conflicts))
        _add(plan, group, "conflict", reason)
        plan.problems.append((group.row, reason, _AGAIN, conflicts.total()))
        return
    todo = [unit for unit in settled if unit.state != "done"]
    present = sum(not unit.absent for unit in todo)
    reason = f"{present} may be in the target already: they are compared when it runs." if present else ""
    _add(plan, group, "planned" if todo else "done", reason)
    plan.units += todo


def _add(plan: Draft, group: Group, status: str, reason: str) -> None:
    notices = {
        "burned-in": any(facts.risk for facts in group.facts),
        "face": any(facts.face for facts in group.facts),
    }
    notice = ", ".join(name for name, true in notices.items() if true)
    first = group.facts[0]
    size = sum(facts.size for facts in group.facts)
    modality = first.modality if len(first.modality) <= 16 and first.modality.replace("_", "").isalnum() else ""
    line = Line(group.row, status, reason, notice, modality, group.identity, len(group.facts), size, first.series)
    plan.lines.append(line)


def _copy(unit: Unit, named: Named) -> Copy:
    return Copy(named.pseudonym, unit.new_study, unit.new_series, unit.new_sop)
