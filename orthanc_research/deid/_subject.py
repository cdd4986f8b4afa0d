"""One patient as the output knows them, and what became of one instance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orthanc_research.errors import DeidError

__all__ = ["Deidentified", "Subject"]

_PSEUDONYM = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9._-])?", re.ASCII)
_FAR = 366 * 200  # days


@dataclass(frozen=True, slots=True)
class Subject:
    """What one patient becomes; nothing of it is secret.

    `days` are added to every date where the profile shifts or anchors them (PS3.15 E.3.6); `namespace` keys the
    patient's UIDs besides the key ("" gives one UID the same new UID whoever's it is). `DeidError` for a pseudonym
    outside A-Z a-z 0-9 . _ - and blanks between, or longer than 64.
    """

    patient_id: str
    days: int
    namespace: str = ""

    def __post_init__(self) -> None:
        if not _PSEUDONYM.fullmatch(self.patient_id):
            raise DeidError("A pseudonym is 1 to 64 letters, digits, dots, hyphens and underscores of ASCII.")
        if isinstance(self.days, bool) or not isinstance(self.days, int) or abs(self.days) > _FAR:
            raise DeidError("Dates are moved by a whole number of days, at most two centuries.")


@dataclass(frozen=True, slots=True)
class Deidentified:
    """One instance after de-identification (PS3.15 E.1.1): the file, its UIDs, and what was done to it.

    `changes` counts by (path of keywords without item numbers, what was done); `notes` are sentences. Neither holds a
    value that was in the file.
    """

    content: bytes = field(repr=False)
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    changes: Mapping[tuple[str, str], int] = field(repr=False)
    notes: tuple[str, ...] = ()
