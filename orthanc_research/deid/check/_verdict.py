"""What only shows across instances: one new UID for one old, one pseudonym and one offset for one patient."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from orthanc_research.deid.check._examined import ACTIONS, NOBODY, Check, Examined

__all__ = ["Verdict", "conclude"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The whole of a release, examined. `checks` are rows by action of MIDI-B and path, the failed ones first.

    `summary()` counts by action; `residual` counts (path, VR, value) of texts in the outputs.
    """

    passed: bool
    instances: int
    checks: tuple[Check, ...]
    residual: Counter[tuple[str, str, str]] = field(repr=False)

    def summary(self) -> list[dict[str, object]]:
        """A row for each action of MIDI-B: action, passed, failed, score in percent (None: unchecked)."""
        counts = {action: [0, 0] for action in ACTIONS}
        for check in self.checks:
            counts[check.action][not check.passed] += check.count
        return [
            {
                "action": action,
                "passed": passed,
                "failed": failed,
                "score": 100 * passed / (passed + failed) if passed + failed else None,
            }
            for action, (passed, failed) in counts.items()
        ]


def conclude(examined: Iterable[Examined]) -> Verdict:
    """One verdict over instances of any patients and runs. Nothing examined is nothing passed.

    Beside the checks of each: that new UIDs are consistent among all (PS3.15 Table E.1-1a, U), as are pseudonyms.
    """
    tally: Counter[tuple[str, str, bool, str]] = Counter()
    residual: Counter[tuple[str, str, str]] = Counter()
    ties = _Ties()
    instances = 0
    for each in examined:
        instances += 1
        for check in each.checks:
            tally[check.action, check.path, check.passed, check.reason] += check.count
        residual.update(each.residual)
        ties.add(each)
    tally.update(ties.checks())
    checks = tuple(
        Check(*row, count=count) for row, count in sorted(tally.items(), key=lambda item: (item[0][2], item[0]))
    )
    return Verdict(instances > 0 and all(check.passed for check in checks), instances, checks, residual)


class _Ties:
    """What was mapped to what, in both directions."""

    def __init__(self) -> None:
        self.new_of: dict[str, set[str]] = defaultdict(set)
        self.old_of: dict[str, set[str]] = defaultdict(set)
        self.instances: Counter[str] = Counter()
        self.pseudonyms: dict[str, set[str]] = defaultdict(set)
        self.patients: dict[str, set[str]] = defaultdict(set)
        self.days: dict[str, set[int]] = defaultdict(set)

    def add(self, each: Examined) -> None:
        for old, new in each.uids.items():
            self.new_of[old].add(new)
            self.old_of[new].add(old)
        self.instances[each.sop_instance_uid] += 1
        self.pseudonyms[each.patient].add(each.patient_id)
        if not each.patient.startswith(NOBODY):  # several studies without an ID may well be of one patient
            self.patients[each.patient_id].add(each.patient)
        for whose in (each.patient, each.patient_id):
            self.days[whose] |= {each.days} | each.offsets

    def checks(self) -> Iterable[tuple[str, str, bool, str]]:
        """Rows to be counted; a reference that was turned elsewhere shows as one UID with two new ones."""
        for news in self.new_of.values():
            yield _row("uid_consistent", "all instances", len(news) == 1, "one UID has become two")
        for olds in self.old_of.values():
            yield _row("uid_consistent", "all instances", len(olds) == 1, "two UIDs have become one")
        for pseudonyms in self.pseudonyms.values():
            yield _row("patid_consistent", "all instances", len(pseudonyms) == 1, "one patient has several pseudonyms")
        for patients in self.patients.values():
            yield _row("patid_consistent", "all instances", len(patients) == 1, "several patients share a pseudonym")
        for days in self.days.values():
            yield _row("date_shifted", "all instances", len(days) == 1, "a patient's dates moved by different days")


def _row(action: str, path: str, passed: bool, reason: str) -> tuple[str, str, bool, str]:
    return action, path, passed, "" if passed else reason
