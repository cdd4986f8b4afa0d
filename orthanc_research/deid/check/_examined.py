"""What an examination says: rows that hold no original value, and may go anywhere their output goes.

The action names are those of the MIDI-B validation script.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["ACTIONS", "NOBODY", "Check", "Examined"]

ACTIONS = (
    "tag_retained",
    "text_notnull",
    "text_retained",
    "text_removed",
    "date_shifted",
    "uid_changed",
    "uid_consistent",
    "patid_consistent",
    "pixels_retained",
    "pixels_hidden",
)
NOBODY = "?"  # begins `Examined.patient` where the original has no PatientID, and the study stands for the patient


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked, `count` times: an action of MIDI-B, a path without item numbers, whether it holds.

    `reason` says why not, or, with `passed`, what was let pass and why; it never holds an original value. What passed
    without more to say is counted by action alone (path "").
    """

    action: str
    path: str
    passed: bool
    reason: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Examined:
    """One instance, examined by PS3.15 E.1 to E.3. `passed` when every check is.

    `uids` are pairs original → output (originals: not for those who get the output); `offsets` the days by which whole
    dates were moved; `patient` a hash that tells patients apart within this process's run: an ID of seven digits can be
    found from it, so it is not to be written down. `residual` counts (path, VR, value) of texts of the output.
    """

    passed: bool
    checks: tuple[Check, ...]
    residual: Counter[tuple[str, str, str]] = field(repr=False)
    uids: dict[str, str] = field(repr=False)
    sop_instance_uid: str
    patient: str = field(repr=False)
    patient_id: str
    days: int
    offsets: frozenset[int]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)
