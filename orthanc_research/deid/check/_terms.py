"""Which values are the standard's own terms and UIDs: nobody can be named in them, and what is none of them may go.

Sources: PS3.3 (C.7.1.1, C.7.2.2, C.7.6.1, C.12.1), PS3.5 6.2 (CS), PS3.6 annex A, PS3.16 8.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_VM, dictionary_VR

from orthanc_research.deid.check._promise import is_vocabulary
from orthanc_research.deid.check._reading import WORD, Element, name_of, vr_of
from orthanc_research.deid.check._text import TEXTS, decoded, values_of

if TYPE_CHECKING:
    from orthanc_research.deid._profile import Profile

__all__ = [
    "ENUMERATED",
    "counts",
    "is_class",
    "is_code",
    "is_colour_profile",
    "is_kind",
    "is_nobodys",
    "is_registered",
    "is_term",
    "is_valid",
]

_YES_NO = frozenset({"YES", "NO"})
# Attributes of few values, all of which PS3.3 lists.
ENUMERATED = {
    "PatientSex": frozenset({"M", "F", "O"}),
    "PatientSexNeutered": frozenset({"ALTERED", "UNALTERED"}),
    "SmokingStatus": _YES_NO | {"UNKNOWN"},
    "BurnedInAnnotation": _YES_NO,
    "RecognizableVisualFeatures": _YES_NO,
    "QualityControlSubject": _YES_NO,
    "ReasonForTheAttributeModification": frozenset({"COERCE", "CORRECT"}),
}
_CODE_STRING = re.compile(r"[A-Z0-9 _]{0,16}")
_LONG_NUMBER = re.compile(r"\d{6}")  # of an identifier, or a date with a year of two digits
_ROOT = "1.2.840.10008."
_NEWER = re.compile(r"1\.2\.840\.10008\.(5\.1\.4|1\.2)(\.\d{1,3}){1,6}")
_HL7_SCHEME = re.compile(r"2\.16\.840\.1\.113883\.6\.\d{1,4}")
_DECIMAL = r"\s*+(?:[-+]?+(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?+\d++)?+\s*+)?+"  # PS3.5 6.2; linear, for contours
_NUMBERS = re.compile(rf"{_DECIMAL}(?:\\{_DECIMAL})*+")
_DOTTED = re.compile(r"[0-9. \\]*")
_SIZES = {vr: WORD[vr] for vr in ("US", "SS", "UL", "SL", "SV", "UV", "FL", "FD")} | {"AT": 4}
_BULK = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})
_COLOURS = 0x00282000
_TABLE = 128  # where a colour profile's table of tags begins


def is_term(keyword: str, values: list[str]) -> bool:
    """Whether all values are terms that the attribute may have: those that are listed, or else code strings."""
    listed = ENUMERATED.get(keyword)
    if listed is not None:
        return all(not value or value in listed for value in values)
    return all(_CODE_STRING.fullmatch(value) and not _LONG_NUMBER.search(value) for value in values)


def is_registered(uid: str, *, scheme: bool = False) -> bool:
    """Whether a UID is in DICOM's registry or, for coding schemes, in HL7's."""
    return uid in UID_dictionary or (scheme and _HL7_SCHEME.fullmatch(uid) is not None)


def is_class(uid: str) -> bool:
    """Whether a UID may name a class: a maker's own, or one of DICOM's, of which newer ones look like those we know."""
    return not uid.startswith(_ROOT) or uid in UID_dictionary or _NEWER.fullmatch(uid) is not None


def is_nobodys(scheme: str, code: str, meaning: str) -> bool:
    """Whether a coded concept is a dummy: of no house's scheme, with no word that says anything."""
    return scheme == "99LOCAL" and code == "REMOVED" and meaning.upper() == "REMOVED"


def is_kind(element: Element) -> bool:
    """Whether an element has its attribute's VR, or one that is written alike, and numbers in the right number."""
    own, multiplicity = _dictionary(element.tag)
    vr = element.vr
    if own and vr not in own and vr != "UN":
        alike = (vr in TEXTS and own[0] in TEXTS) or (vr in _BULK and own[0] in _BULK)
        if not alike and (vr not in _SIZES or _SIZES[vr] != _SIZES.get(own[0])):
            return False
    if vr in _SIZES:
        count, rest = divmod(len(element.value), _SIZES[vr])
        return not rest and (not count or counts(multiplicity, count))
    if vr == "UI" or (own and own[0] == "UI"):
        return _DOTTED.fullmatch(decoded(element.value, vr, b"").strip("\0 ")) is not None
    if vr in ("DS", "IS") or (own and own[0] in ("DS", "IS") and vr in TEXTS):
        return _NUMBERS.fullmatch(decoded(element.value, vr, b"").strip("\0 ")) is not None
    return True


@lru_cache(maxsize=8192)
def _dictionary(tag: int) -> tuple[tuple[str, ...], str]:
    """VRs and multiplicity of an attribute; none for what nobody knows."""
    try:
        return tuple(dictionary_VR(tag).split(" or ")), dictionary_VM(tag)
    except KeyError:
        return (), ""


@lru_cache(maxsize=1024)
def counts(multiplicity: str, count: int) -> bool:
    """Whether there may be so many values: "1", "1-3", "1-n", "2-2n"; with several of these, any of them."""
    for choice in multiplicity.split(" or "):
        least, _, most = choice.partition("-")
        if not least.isdigit():
            return True
        step = int(most[:-1] or 1) if most.endswith("n") else 0
        if step and count >= int(least) and count % step == 0:
            return True
        if not step and int(least) <= count <= int(most or least):
            return True
    return False


@lru_cache(maxsize=64)
def is_colour_profile(value: bytes) -> bool:
    """Whether bytes are an ICC profile: its signature, and a table whose tags lie within (ICC.1:2022 7.2, 7.3)."""
    if value[36:40] != b"acsp" or len(value) < _TABLE + 4:
        return False
    count = struct.unpack_from(">I", value, _TABLE)[0]
    if _TABLE + 4 + 12 * count > len(value):
        return False
    spans = (struct.unpack_from(">4xII", value, _TABLE + 4 + 12 * number) for number in range(count))
    return all(size >= 8 and start + size <= len(value) for start, size in spans)


def is_code(element: Element, charset: bytes, profile: Profile) -> bool:
    """Whether a code string may stay: its terms, or else words of the vocabulary."""
    keyword, values = name_of(element.tag, element.creator), values_of(element, charset)
    if is_term(keyword, values):
        return True
    return keyword not in ENUMERATED and all(is_term("", [value]) or is_vocabulary(value, profile) for value in values)


def is_valid(element: Element, charset: bytes) -> bool:
    """Whether a value is what its VR and its attribute allow; what is not may always go."""
    if not is_kind(element) or vr_of(element.tag) not in (element.vr, "UN"):
        return False
    if element.vr == "CS":
        return is_term(name_of(element.tag), values_of(element, charset))
    if element.tag == _COLOURS:
        return is_colour_profile(element.value)
    if element.vr in TEXTS:
        return element.value.isascii() and decoded(element.value, element.vr, charset).strip("\0 ").isprintable()
    return len(element.value) % WORD.get(element.vr, 1) == 0
