"""Orthanc's own IDs: their form, and how they come from DICOM's identifiers; and the form of these."""

from __future__ import annotations

import hashlib
import re

from orthanc_research.errors import QueryError

__all__ = ["is_orthanc_id", "is_uid", "like_uid", "orthanc_id"]

# SHA-1 in five groups of eight hexadecimal digits.
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{8}){4}")
# PS3.5 §9.1, with the leading zeros that are found in the wild.
_UID = re.compile(r"[0-9]+(?:\.[0-9]+){1,31}")
_LIKE = re.compile(r"[0-9.]{1,64}")


def is_orthanc_id(value: object) -> bool:
    """True for the form of an Orthanc ID: 5 x 8 lower-case hexadecimal digits."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def is_uid(text: str) -> bool:
    """True for a UID as PS3.5 §9.1 has it, at most 64 characters: it may be the name of a file."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def like_uid(text: str) -> bool:
    """True for digits and dots, at most 64, as some write UIDs: in a query it matches nothing but itself."""
    return _LIKE.fullmatch(text) is not None


def orthanc_id(
    patient_id: str, study_uid: str | None = None, series_uid: str | None = None, sop_uid: str | None = None
) -> str:
    """The Orthanc ID of a patient, study, series or instance: the same on every Orthanc, computed here.

    It is the SHA-1 of the identifiers from PatientID down (`study_uid`, `series_uid`, `sop_uid`), joined by "|"
    (observed on 1.10.1 to 1.13.0); spaces behind them do not count, those before do, and an absent PatientID is "".
    `QueryError` when a level between is left out.

    >>> orthanc_id("4711", "1.2.3")
    '0d496228-8637b3cb-89a5e38e-52adfee0-c0308c37'
    """
    given = [patient_id, study_uid, series_uid, sop_uid]
    used = [each for each in given if each is not None]
    if not used or given[: len(used)] != used or not all(isinstance(each, str) for each in used):
        raise QueryError("Identifiers are texts, from the patient's down, and none in between is left out.")
    text = "|".join(each.rstrip(" \0") for each in used)
    digest = hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))
