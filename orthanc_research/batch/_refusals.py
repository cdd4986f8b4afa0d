"""What a modification may not do, said before anything is sent.

Orthanc carries out, with State Success, what makes two resources one (a PatientID or UID that exists already or is
given twice) and what makes one resource two things (a patient's tag changed in one of its studies): observed on 1.10.1,
and in part on 1.12.7 and 1.13.0. No sentence here holds a value.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.valuerep import validate_value

from orthanc_research.batch._outcome import present
from orthanc_research.errors import QueryError
from orthanc_research.rest import Level, Rest
from orthanc_research.tables import UID_OF, orthanc_id, tag_of
from orthanc_research.tables.levels import depth, level_of

__all__ = ["IDENTIFIERS", "Row", "check_changes", "check_merges", "check_tags", "check_text", "tag_name"]

# identifier → the levels at which it may be replaced
IDENTIFIERS: Mapping[str, tuple[Level, ...]] = {
    "PatientID": ("Patient", "Study"),
    "StudyInstanceUID": ("Study",),
    "SeriesInstanceUID": ("Series",),
    "SOPInstanceUID": ("Instance",),
}
_WHOLE, _DECIMAL = re.compile(r"-?\d+"), re.compile(r"-?\d+(\.\d*)?([eE][+-]?\d+)?")
_ONE_VALUE = ("LT", "ST", "UT", "UC", "UR")
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Row:
    """One resource, the patient that it belongs to (both Orthanc IDs), and its new values by keyword or tag."""

    id: str
    patient: str
    replace: Mapping[str, str]


def check_tags(tags: Iterable[Any]) -> None:
    """`QueryError` for what is no DICOM tag, nor a path into sequences (A[0].B or A[*].B)."""
    for tag in tags:
        parts = re.sub(r"\[(?:\d+|\*)\]", "", tag).split(".") if isinstance(tag, str) else [""]
        if not all(tag_of(part) is not None for part in parts):
            raise QueryError(f"{str(tag)[:40]!r} is no DICOM tag that can be kept, replaced or removed.")
        if (tag_of(parts[0]) or 0) >> 16 == 2:
            raise QueryError(f"{tag} is of a file's own header, which Orthanc writes itself, whatever it is asked for.")


def tag_name(tag: str) -> str:
    """The keyword of a tag, or its number where it has none; a path into sequences as it is."""
    number = tag_of(tag)
    return (keyword_for_tag(number) or f"{number >> 16:04x},{number & 0xFFFF:04x}") if number is not None else tag


def check_changes(level: Level, replace: Iterable[str], remove: Iterable[str], *, force: bool) -> None:
    """`QueryError` for tags (by `tag_name`) that may not be changed in resources of this level."""
    replaced, removed = set(replace), set(remove)
    for keyword in IDENTIFIERS:
        if keyword in removed:
            raise QueryError(f"{keyword} cannot be removed: resources are filed by it.")
        if keyword in replaced and level not in IDENTIFIERS[keyword]:
            plural = " or ".join({"Patient": "patients", "Study": "studies"}.get(at, at) for at in IDENTIFIERS[keyword])
            raise QueryError(f"{keyword} is replaced in {plural}, not in each {level.lower()}.")
        if keyword in replaced and not force:
            raise QueryError(f"Replacing {keyword} makes another {level.lower()} of each: say force=True.")
    for tag in sorted(replaced | removed):
        number = tag_of(tag)
        if number is not None and tag in replaced and number >> 16 & 1:
            raise QueryError(
                f"{tag} is private: write such elements with rest.tools.bulk_modify and a private_creator."
            )
        home = level_of(tag, level)
        if home == "Patient" and tag != "PatientID" and "PatientID" not in replaced:
            raise QueryError(f"{tag} is one for all files of a patient: give a new PatientID with it (force=True).")
        if home != "Patient" and depth(home) < depth(level):
            raise QueryError(f"{tag} is one for all files of a {home.lower()}: change it there, not in a part of it.")


def check_text(tag: str, values: Iterable[Any]) -> None:
    """`QueryError` for new values that are no text that DICOM and every file's character set can hold."""
    given = list(values)
    for value in given:
        if not isinstance(value, str):
            raise QueryError(f"The new values of {tag} are texts, or a column of them; {type(value).__name__} is none.")
    for value in dict.fromkeys(given):
        if not value.isascii() or not all(each.isprintable() or each in "\r\n" for each in value):
            raise QueryError(
                f"A new value of {tag} is not plain ASCII: Orthanc drops what a file's character set cannot hold, "
                "without a word."
            )
        if tag in IDENTIFIERS and (not value or value != value.strip() or "\\" in value):
            raise QueryError(f"A new {tag} is empty, or has blanks around it or a backslash in it.")
        _check_form(tag, value)


def _check_form(tag: str, value: str) -> None:
    number = tag_of(tag.rpartition(".")[2])
    try:
        vr = dictionary_VR(number) if number is not None else "UN"
    except KeyError:
        return
    if vr == "SQ" or vr.startswith("O"):
        raise QueryError(f"{tag} holds no text ({vr}), so it cannot be replaced with one.")
    try:
        for part in [value] if vr in _ONE_VALUE else value.split("\\"):
            validate_value(vr, _read(vr, part), config.RAISE)
    except ValueError:
        # pydicom's words repeat the value
        raise QueryError(f"A new value of {tag} has not the form of its type ({vr}), or is too long.") from None


def _read(vr: str, text: str) -> Any:
    """A value as pydicom has it: Orthanc turns the text of these types into the number that a file holds."""
    if vr in ("FL", "FD") and _DECIMAL.fullmatch(text):
        return float(text)
    return int(text) if vr in ("US", "SS", "UL", "SL", "UV", "SV") and _WHOLE.fullmatch(text) else text


def check_merges(rest: Rest, level: Level, rows: Sequence[Row], *, allowed: bool) -> None:
    """`QueryError` for rows that would make two patients, studies, series or instances one; two requests at most.

    `allowed`: merging patients and studies was asked for by name.
    """
    if any("PatientID" in row.replace for row in rows):
        _check_patients(rest, rows, allowed)
    uid = UID_OF[level]
    given = [row.replace[uid] for row in rows if uid in row.replace]
    if level != "Patient" and given and not (allowed and level == "Study"):
        _check_uids(rest, level, given)


def _check_patients(rest: Rest, rows: Sequence[Row], allowed: bool) -> None:
    sources: dict[str, set[str]] = defaultdict(set)
    changes: dict[tuple[str, str], set[tuple[tuple[str, str], ...]]] = defaultdict(set)
    for row in rows:
        if "PatientID" in row.replace:
            new = orthanc_id(row.replace["PatientID"])
            sources[new].add(row.patient)
            changes[new, row.patient].add(tuple(sorted(row.replace.items())))
    # Two jobs: from 1.11.2 on the second is refused, because the patient is there by then.
    if any(len(each) > 1 for each in changes.values()):
        raise QueryError(
            "Studies of one patient get one new PatientID and different other values: replace the PatientID first, "
            "then the rest in the copies."
        )
    if allowed:
        return
    shared = sum(len(each) > 1 for each in sources.values())
    if shared:
        raise QueryError(
            f"{shared} new PatientIDs are given to more than one patient: to merge them, allow_merge=True."
        )
    there = len(present(rest, list(sources)))
    if there:
        raise QueryError(f"{there} new PatientIDs are on this Orthanc already: to merge into them, allow_merge=True.")


def _check_uids(rest: Rest, level: Level, uids: Sequence[str]) -> None:
    name = {"Study": "studies", "Series": "series", "Instance": "instances"}[level]
    hint = ": to merge them, allow_merge=True." if level == "Study" else "."
    if len(set(uids)) < len(uids):
        raise QueryError(f"A new {UID_OF[level]} is given to more than one of the {name}{hint}")
    for start in range(0, len(uids), _PAGE):
        query = {UID_OF[level]: "\\".join(uids[start : start + _PAGE])}
        if rest.tools.find({"Level": level, "Query": query}):
            raise QueryError(f"A new {UID_OF[level]} is on this Orthanc already{hint}")
