"""What an output says of itself: preamble, file meta, and the marks of its de-identification.

Sources: PS3.10 7.1, PS3.15 E.1.1, PS3.3 C.12.1.1, CID 7050.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orthanc_research.deid.check._judge import Findings
from orthanc_research.deid.check._promise import is_standard_meaning
from orthanc_research.deid.check._reading import Element, File, name_of
from orthanc_research.deid.check._text import charset_of, decoded

if TYPE_CHECKING:
    from orthanc_research.deid._profile import Profile
    from orthanc_research.deid._subject import Subject

__all__ = ["CONCEPT", "is_ours", "judge_file", "judge_marks", "plain"]

Elements = dict[int, Element]
CONCEPT = (0x00080102, 0x00080100, 0x00080104)  # scheme, code, meaning
_PATIENT_ID, _SOP_UID, _SOP_CLASS = 0x00100020, 0x00080018, 0x00080016
_PADDING = 0xFFFCFFFC
_REMOVED, _METHOD, _CODES, _MODIFIED = 0x00120062, 0x00120063, 0x00120064, 0x00280303
_OURS = ("2.25.", "ORTHANC_RESEARCH")
_WE = "orthanc_research, PS3.15 Table E.1-1, profile"
_META_GONE = "holds what a file meta header has no need for"


def plain(elements: Elements, tag: int) -> str:
    """The text of one element, "" where there is none."""
    element = elements.get(tag)
    return "" if element is None else decoded(element.value, element.vr, charset_of(elements)).strip("\0 ")


def judge_file(findings: Findings, old: File, new: File) -> None:
    """Preamble, file meta, and what stands behind the last element (PS3.10 7.1)."""
    findings.say("text_removed", "preamble", not new.preamble.strip(b"\0"), "is not empty")
    findings.say("text_removed", "tail", not new.tail, "there are bytes behind the last element")
    if _PADDING in new.elements:
        findings.say("text_removed", "DataSetTrailingPadding", False, "is left")
    findings.say("tag_retained", "TransferSyntaxUID", old.syntax == new.syntax, "another transfer syntax")
    findings.say("tag_retained", "SOPClassUID", _SOP_CLASS in new.elements or _SOP_CLASS not in old.elements, "is gone")
    for number, tag in ((2, _SOP_CLASS), (3, _SOP_UID)):
        same = plain(new.meta, 0x00020000 + number) == plain(new.elements, tag)
        findings.say("uid_consistent", name_of(0x00020000 + number), same, "is not the data set's")
    for tag, element in new.meta.items():
        if tag & 0xFFFF not in (0, 1, 2, 3, 0x10, 0x12, 0x13) and element.value.strip(b"\0 "):
            findings.say("text_removed", name_of(tag), False, _META_GONE)
    # Who wrote the original is told by these two; the output was written by us.
    for tag in (0x00020012, 0x00020013):
        ours = plain(old.meta, tag).startswith(_OURS) or not plain(old.meta, tag)
        same = plain(new.meta, tag) == plain(old.meta, tag)
        findings.say("text_removed", name_of(tag), ours or not same, "is the original's")


def judge_marks(findings: Findings, new: Elements, profile: Profile, subject: Subject) -> None:
    """What an output says of its own de-identification (PS3.15 E.1.1, PS3.3 C.12.1.1, CID 7050)."""
    findings.say("patid_consistent", "PatientID", plain(new, _PATIENT_ID) == subject.patient_id, "is not the pseudonym")
    wanted = "NO" if profile.allow_identifiers else "YES"
    findings.say("text_retained", "PatientIdentityRemoved", plain(new, _REMOVED) == wanted, f"does not say {wanted}")
    method = bool(plain(new, _METHOD)) or _CODES in new
    findings.say("text_notnull", "DeidentificationMethod", method, "no method is named")
    said = {"shift": "MODIFIED", "anchor": "MODIFIED", "remove": "REMOVED", "keep": "UNMODIFIED"}[profile.dates]
    right = plain(new, _MODIFIED) == said
    findings.say("text_retained", "LongitudinalTemporalInformationModified", right, f"does not say {said}")
    codes = new.get(_CODES)
    items = (codes.items or []) if codes is not None else []
    true = {str(getattr(code, "value", code)) for code in profile.codes}
    right = all(plain(item, CONCEPT[1]) in true for item in items)
    findings.say("text_retained", "DeidentificationMethodCodeSequence", right, "claims more than was done")
    right = all(_is_the_standards(item) for item in items)
    findings.say("text_removed", "DeidentificationMethodCodeSequence", right, "has other words than the standard's")


def _is_the_standards(item: Elements) -> bool:
    """Whether a code of CID 7050 stands there with its meaning, and nothing else."""
    scheme, code, meaning = (plain(item, tag) for tag in CONCEPT)
    return set(item) == set(CONCEPT) and scheme == "DCM" and is_standard_meaning(scheme, code, meaning)


def is_ours(path: str, element: Element, profile: Profile) -> bool:
    """What we say of ourselves in fixed words, judged as such (`judge_marks`): no place can be told by it."""
    if path.startswith("DeidentificationMethodCodeSequence."):
        return True
    if path != "DeidentificationMethod":
        return False
    return decoded(element.value, element.vr, b"").strip("\0 ") == f"{_WE} {profile.hash[:8]}"
