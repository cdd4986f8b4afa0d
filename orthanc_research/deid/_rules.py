"""What happens to an attribute: Table E.1-1 under a profile, and the rules for what the table does not list."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.datadict import dictionary_keyword, dictionary_VR

from ._table import Row, rows, technical

if TYPE_CHECKING:
    from ._profile import Profile

__all__ = ["NUMBERS", "TEXTS", "Rule", "identifies", "rule_for"]

# Values that are written as text; a file may call one by the name of another, and is then held to the dictionary's.
TEXTS = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)
NUMBERS = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "UV": 8, "SV": 8, "FL": 4, "FD": 8, "AT": 4}
_BULK = frozenset(("OB", "OW", "OF", "OD", "OL", "OV", "UN"))
_LONG = frozenset(("LT", "ST", "UT", "UC", "UR"))
_SHORT = frozenset(("LO", "SH", "CS"))
_LETTERS = {"X": "remove", "Z": "empty", "D": "dummy", "U": "uid"}
# A UI that names a class, an encoding or a coding scheme, not a thing.
_CLASS_UID = re.compile(r".*(SOPClassUID|SOPClassesInStudy|SOPClassesSupported|TransferSyntaxUID)")
_SCHEME_UID = {
    "CodingSchemeUID",
    "ContextUID",
    "MappingResourceUID",
    "ContextGroupExtensionCreatorUID",
    "ImplementationClassUID",
}
# When a group of codes or a template was published: everybody knows these dates, and moved ones would tell by how many
# days those of the patient were.
_PUBLISHED = {"ContextGroupVersion", "ContextGroupLocalVersion", "TemplateVersion", "TemplateLocalVersion"}
_IDENTIFIER = re.compile(
    r".*(ID|IDs|Identifier|IdentifierSequence|IdentificationSequence|IdentificationCodeSequence|Numbers?|Address)"
    r"|Institution.*|Issuer.*|.*Physician.*|.*Operator.*|.*Observer.*|.*Author.*|OtherPatient.*|StationName|GPS.*"
)
# Attributes whose value the subject or the key decides, whatever the table offers.
_SPECIAL = {
    0x00080005: "charset",
    0x00080050: "accession",
    0x00080100: "code",
    0x00080102: "scheme",
    0x00080104: "meaning",
    0x00080119: "code",
    0x00080120: "code",
    0x00080201: "timezone",
    0x00100010: "patient",
    0x00100020: "patient",
    0x00100030: "empty",
    0x00120062: "remove",
    0x00120063: "remove",
    0x00120064: "remove",
    0x00280303: "remove",
    0x7FE00010: "pixels",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done ("keep", "words", "date", "uid"…), and what else where the value does not allow it.

    `vr` is the VR that the value is read as; `otherwise` is "remove", "empty" or "dummy".
    """

    keyword: str
    vr: str
    action: str
    otherwise: str
    why: str


def identifies(tag: int) -> bool:
    """Whether an attribute names a person, a date or an id, so that keeping it must be allowed on purpose."""
    vr, keyword = dictionary_VR(tag), dictionary_keyword(tag)
    if vr in ("PN", "DA", "DT", "AE"):
        return True
    if vr == "UI":
        return not _is_class(keyword) and keyword not in _SCHEME_UID
    return tag in rows() and _IDENTIFIER.fullmatch(keyword) is not None


def rule_for(profile: Profile, tag: int, file_vr: str | None) -> Rule:
    """The rule for a standard attribute; `file_vr` is the VR that the file gives it, None where it gives none."""
    group, keyword = tag >> 16, f"({tag >> 16:04x},{tag & 0xFFFF:04x})"
    if tag & 0xFFFF == 0:
        return Rule(keyword, "UL", "drop", "remove", "group lengths are retired (PS3.5 section 7.2)")
    if group in (0, 2, 4, 6) or tag == 0xFFFCFFFC:
        return Rule(keyword, "UN", "remove", "remove", "does not belong into the dataset of an instance")
    if 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF:
        return Rule(keyword, "UN", "remove", "remove", "curves and overlays always go (Table E.1-1)")
    try:
        own_vr, keyword = dictionary_VR(tag), dictionary_keyword(tag) or keyword
    except KeyError:
        return Rule(keyword, "UN", "remove", "remove", "unknown attribute")
    vr = _settled(own_vr, file_vr)
    if vr is None:
        return Rule(keyword, "UN", "remove", "remove", "VR is not the attribute's")
    return _users(profile, tag, keyword, vr) or _standard(profile, tag, keyword, vr)


def _settled(own: str, found: str | None) -> str | None:
    """The VR to read the value as; None where the file's VR cannot be that of the attribute."""
    choices = own.split(" or ")
    if found in choices:
        return found
    if found is None or found == "UN":
        return choices[-1] if choices[0] == "OB" else choices[0]
    if found in TEXTS and choices[0] in TEXTS:
        return choices[0]
    if found in NUMBERS and NUMBERS.get(choices[0]) == NUMBERS[found]:
        return found
    return found if found in _BULK and choices[0] in _BULK else None


def _users(profile: Profile, tag: int, keyword: str, vr: str) -> Rule | None:
    """What the profile says of this very attribute."""
    if keyword in profile.remove:
        return Rule(keyword, vr, "remove", "remove", "the profile removes it")
    if profile.replacement(keyword) is not None:
        return Rule(keyword, vr, "replace", "remove", "the profile replaces it")
    if keyword in profile.keep:
        action = {"SQ": "items", "DA": "undated", "DT": "undated", "TM": "time"}.get(vr, "keep")
        return Rule(keyword, vr, action, "remove", "the profile keeps it")
    if keyword == "ROIName" and profile.keep_roi_names:
        return Rule(keyword, vr, "keep", "empty", "keep_roi_names")
    return None


def _standard(profile: Profile, tag: int, keyword: str, vr: str) -> Rule:
    if tag in _SPECIAL:
        action = _SPECIAL[tag]
        if action == "timezone" and profile.dates == "remove":
            action = "remove"
        otherwise = "dummy" if action in ("code", "meaning", "scheme") else "remove"
        return Rule(keyword, vr, action, otherwise, "what stands for it is given or keyed" if tag >> 16 == 16 else "")
    row = rows().get(tag)
    return _unlisted(profile, keyword, vr) if row is None else _listed(profile, row, keyword, vr)


def _listed(profile: Profile, row: Row, keyword: str, vr: str) -> Rule:
    otherwise = _LETTERS[row.last] if row.last != "U" else "uid"
    why = f"Table E.1-1: {row.basic}"
    public = keyword in _PUBLISHED and profile.dates != "keep"
    if row.dated and not public and profile.dates != "remove" and vr in ("DA", "DT", "TM"):
        # No dummy where the table offers less: a date that was none would look like one.
        mildest = next(_LETTERS[letter] for letter in "XZD" if letter in row.basic)
        return Rule(keyword, vr, "time" if vr == "TM" else "date", mildest, f"{why}; dates: {profile.dates}")
    marks = {mark for name, mark in row.options if name in profile.options and not (row.dated and vr != "UI")}
    names = " and ".join(name for name, _ in row.options if name in profile.options)
    if "K" in marks:
        action = {"SQ": "items", "AS": "age", "TM": "time"}.get(vr, "keep")
        if vr in _SHORT - {"CS"} and ("retain_patient_characteristics", "K") in row.options:
            action = "words"  # EthnicGroup: K, but anybody can type anything there
        return Rule(keyword, vr, action, otherwise, f"{why}; {names}: K")
    if "C" in marks and not (keyword == "ContentSequence" and vr != "SQ"):
        return Rule(keyword, vr, _cleaned(vr, otherwise), otherwise, f"{why}; {names}: C")
    if vr == "SQ":
        return Rule(keyword, vr, _sequence(row), "remove", why)
    if vr == "UI" and otherwise == "dummy":
        return Rule(keyword, vr, "uid", "uid", why)
    return Rule(keyword, vr, otherwise, otherwise, why)


def _cleaned(vr: str, otherwise: str) -> str:
    """C (PS3.15 Table E.1-1a): replaced by values of similar meaning known to hold no identity."""
    if vr == "SQ":
        return "items"
    if vr in ("LO", "SH", "LT", "ST", "UT", "UC"):
        return "words"
    return "words" if vr == "CS" else "keep" if vr in NUMBERS or vr in ("DS", "IS") else otherwise


def _sequence(row: Row) -> str:
    """References are mapped rather than emptied: their UIDs stay consistent, which is what Z and D ask for."""
    if row.last == "X":
        return "remove"
    if row.last == "D" and row.keyword.endswith("CodeSequence"):
        return "coded"
    refers = any(name == "retain_uids" for name, _ in row.options)
    return "items" if row.last in "DU" or refers else "empty"


def _unlisted(profile: Profile, keyword: str, vr: str) -> Rule:
    why = "not in Table E.1-1"
    kept = technical().get(keyword)
    if kept == "keep":
        return Rule(keyword, vr, "keep", "remove", f"{why}; technical")
    if kept == "clean":
        return Rule(keyword, vr, "words" if _cleans(profile, keyword) else "dummy", "dummy", f"{why}; cleaned")
    if vr in ("DA", "DT", "TM"):
        action = "remove" if profile.dates == "remove" else "time" if vr == "TM" else "date"
        return Rule(keyword, vr, action, "remove", f"{why}; dates: {profile.dates}")
    if vr == "UI":
        if "uid" in profile.kept_uids:
            return Rule(keyword, vr, "keep", "uid", f"{why}; kept")
        if _is_class(keyword):
            return Rule(keyword, vr, "class", "uid", f"{why}; kept")
        return Rule(keyword, vr, "registered" if keyword in _SCHEME_UID else "uid", "uid", f"{why}; mapped")
    if vr in _SHORT or vr in _LONG or vr in _BULK or vr == "AE":
        return Rule(keyword, vr, "remove", "remove", f"{why}; not known to be technical")
    action = {"PN": "dummy", "SQ": "items", "AS": "age"}.get(vr, "keep")
    return Rule(keyword, vr, action, "dummy" if vr == "PN" else "remove", why)


def _cleans(profile: Profile, keyword: str) -> bool:
    return ("clean_structured_content" if keyword == "TextValue" else "clean_descriptors") in profile.options


def _is_class(keyword: str) -> bool:
    return _CLASS_UID.fullmatch(keyword) is not None
