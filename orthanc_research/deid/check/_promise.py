"""What the standard and a profile promise for an attribute: a second reading of Table E.1-1, for the verifier alone.

It knows the profile's public fields and the shipped tables as plain data, and nothing of how the engine decides. Where
the standard leaves a choice (X/Z/D), the promise holds all that it allows. Sources: PS3.15 E.1, E.3, table E.1-1.
"""

from __future__ import annotations

import csv
import re
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from pydicom.datadict import tag_for_keyword

from orthanc_research.deid.check._reading import name_of

if TYPE_CHECKING:
    from orthanc_research.deid._profile import Profile

__all__ = [
    "TYPE_1",
    "Promises",
    "describes",
    "is_meaning",
    "is_ordinary",
    "is_public",
    "is_standard_meaning",
    "is_vocabulary",
    "promises_of",
    "safe_creators",
    "safe_kind",
]

# What may become of a value:
#   keep      it is there as it was             may     as it was, or gone
#   gone      absent or empty                   other   absent, empty or something else
#   filled    there, and something else         clean   as it was if every word is in the vocabulary, else as `other`
#   map       a new UID                         date    by the profile's rule for dates
#   age       kept, those over 89 are 090Y      patient the pseudonym
#   text      the profile's own text            class   a UID that names a class, kept
#   time      kept if it is a time, else gone   loose   a sequence that may lose items, or go
#   charset   kept, or UTF-8                    creator a private creator, there if it has elements
#   free      what the output says of itself    code    of a public scheme kept, else something else
#   word      kept if its words are ordinary    dummy   a sequence that may become one of a dummy
#   number    kept if it is one, else gone      scheme  a UID of a public coding scheme kept, else mapped
#   csa       numbers of Siemens' header alone, or gone
#   published a date that everybody knows: absent, empty or a dummy
_COLUMNS = (
    "retain_uids",
    "retain_device_identity",
    "retain_institution_identity",
    "retain_patient_characteristics",
    "clean_descriptors",
    "clean_structured_content",
    "clean_graphics",
)
_TEXTS = {"LO", "SH", "CS", "AE", "LT", "ST", "UT", "UC", "UR", "UN", "OB"}
_WORDED = {"LO", "SH", "AE", "LT", "ST", "UT", "UC", "UR"}
_CLASS_UIDS = re.compile(r".*SOPClass.*|.*TransferSyntaxUID.*|SegmentationTemplateUID")
_SCHEME_UIDS = {"CodingSchemeUID", "ContextUID", "MappingResourceUID", "ContextGroupExtensionCreatorUID"}
_PUBLISHED = {"ContextGroupVersion", "ContextGroupLocalVersion", "TemplateVersion", "TemplateLocalVersion"}
_NUMBERS = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "SV", "UV", "FL", "FD"})
_PATIENT_ID, _BIRTH_DATE = 0x00100020, 0x00100030
_MARKS = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280303})
_CODES = frozenset({0x00080100, 0x00080102, 0x00080104, 0x00080119, 0x00080120})
_NUMBER = 3  # digits of the longest number in a cleaned text: a year has four
# Coding schemes of public standards (PS3.16 table 8-1); "99..." and "L" are a house's own.
_SCHEMES_WORDS = """
    DCM SCT SRT SNM3 99SDM LN UCUM FMA RADLEX NCIt UMLS MDC BI ITIS_TSN I10 I9C RO PUBCHEM_CID ISO3166_1 RFC3066
    RFC5646
"""
_SCHEMES = frozenset(_SCHEMES_WORDS.split())

# Type 1 in every IOD that has them, or in the macro or sequence item where they stand (PS3.3).
_TYPE_1_WORDS = """
    SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality FrameOfReferenceUID Rows Columns
    BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel PhotometricInterpretation
    ReferencedSOPClassUID ReferencedSOPInstanceUID CodeMeaning DimensionOrganizationUID NumberOfFrames
    ContentLabel SegmentLabel SegmentNumber ValueType RelationshipType TrackingUID PixelSpacing
    ImagePositionPatient ImageOrientationPatient
"""
TYPE_1 = frozenset(_TYPE_1_WORDS.split())


@cache
def _rows() -> dict[int, dict[str, str]]:
    found = {}
    for row in csv.DictReader(_text("ps3.15-table-e1-1.csv").splitlines()):
        digits = re.match(r"([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})$", row["tag"])
        if digits:
            found[int(digits[1] + digits[2], 16)] = row
    return found


@cache
def _technical() -> tuple[frozenset[str], frozenset[str]]:
    """Keywords outside the table that are kept, and those that are cleaned."""
    parts = re.split(r"(?m)^\[clean\]$", re.sub(r"(?m)^#.*$|^\[keep\]$", "", _text("technical.txt")))
    return frozenset(parts[0].split()), frozenset(" ".join(parts[1:]).split())


@cache
def _shipped_private() -> dict[tuple[str, str], tuple[str, str]]:
    """(creator, element) → VR, multiplicity."""
    lines = [line for line in _text("private.csv").splitlines() if line and not line.startswith("#")]
    return {(row["creator"], row["element"].lower()): (row["vr"], row["vm"]) for row in csv.DictReader(lines)}


@cache
def _vocabulary() -> frozenset[str]:
    return frozenset(re.sub(r"(?m)^#.*$", "", _text("words.txt")).lower().split())


@cache
def _units() -> frozenset[str]:
    return frozenset(re.sub(r"(?m)^#.*$", "", _text("units.txt")).lower().split())


def _text(name: str) -> str:
    return files("orthanc_research.deid").joinpath(name).read_text("utf-8")


@lru_cache(maxsize=4096)
def is_vocabulary(text: str, profile: Profile) -> bool:
    """Whether a text is made of nothing but words of the vocabulary and short numbers."""
    own = {word.casefold() for word in profile.vocabulary}
    for word in re.findall(r"[^\W_]+", text.casefold()):
        if word in own or word in _vocabulary():
            continue
        letters, numbers = re.findall(r"[^\W\d_]+", word), re.findall(r"\d+", word)
        if any(len(number) > _NUMBER for number in numbers):
            return False
        if any(part not in own and part not in _vocabulary() | _units() for part in letters if len(part) > 1):
            return False
    return True


@lru_cache(maxsize=64)
def safe_creators(profile: Profile) -> frozenset[str]:
    """The private creators of which an element may stay."""
    return frozenset(creator for creator, _ in _private(profile))


@lru_cache(maxsize=64)
def _private(profile: Profile) -> dict[tuple[str, str], tuple[str, str]]:
    if "retain_safe_private" not in profile.options:
        shipped: dict[tuple[str, str], tuple[str, str]] = {}
    else:
        shipped = _shipped_private()
    return {(creator, element.lower()): ("", "") for creator, element in profile.private} | shipped


def safe_kind(profile: Profile, tag: int, creator: str) -> tuple[str, str]:
    """VR and multiplicity of a private element that may stay; "" where nobody knows."""
    vr, multiplicity = _private(profile).get((creator, _element(tag)), ("", ""))
    return vr, multiplicity.replace("n", "")


class Promises(dict[tuple[int, str, str], str]):
    """(tag, VR, private creator) → one of the words above; worked out when first asked for."""

    def __init__(self, profile: Profile) -> None:
        super().__init__()
        self.profile = profile

    def __missing__(self, key: tuple[int, str, str]) -> str:
        self[key] = _promise(self.profile, *key)
        return self[key]


@lru_cache(maxsize=64)
def promises_of(profile: Profile) -> Promises:
    """What a profile promises."""
    return Promises(profile)


def _promise(profile: Profile, tag: int, vr: str, creator: str) -> str:
    group = tag >> 16
    keyword = name_of(tag)
    if group & 1:
        return _of_private(profile, tag, vr, creator)
    if tag & 0xFFFF == 0:
        return "may"
    if keyword in profile.remove:
        return "gone"
    if keyword in profile.replace:
        return "text"
    if keyword in profile.keep:
        return "keep"
    if keyword == "ROIName" and profile.keep_roi_names:
        return "keep"
    if tag in _MARKS:
        return "free"
    if tag in _CODES:
        return "code"
    if tag == _PATIENT_ID:
        return "patient"
    if tag == _BIRTH_DATE or group in (0x0000, 0x0004):
        return "gone"
    row = _rows().get(tag)
    return _outside(profile, tag, vr, keyword) if row is None else _of_row(profile, row, vr, keyword)


def _of_private(profile: Profile, tag: int, vr: str, creator: str) -> str:
    if 0x10 <= tag & 0xFFFF <= 0xFF:
        return "creator"
    key = creator, _element(tag)
    if not creator or key not in _private(profile):
        return "gone"
    own = _private(profile)[key][0]
    if own and vr != "UN" and vr != own and not {vr, own} <= _NUMBERS and own != "OB":
        return "gone"  # what is known of it is not of this
    vr = own if own and vr == "UN" else vr
    if own == "OB":
        return "csa"
    if own in _NUMBERS:
        return "number"
    if vr in ("DA", "DT"):
        return "date" if profile.dates != "remove" else "other"
    return "map" if vr == "UI" else "other" if vr == "PN" else "may"


def _element(tag: int) -> str:
    return f"{tag >> 16:04x},xx{tag & 0xFF:02x}"


def _of_row(profile: Profile, row: dict[str, str], vr: str, keyword: str) -> str:
    said = {row[column] for column in _COLUMNS if column in profile.options}
    if "K" in said and vr in ("LO", "SH") and row["retain_patient_characteristics"] == "K":
        return "word"
    if "K" in said:
        return {"AS": "age", "DA": "date", "DT": "date", "TM": "time"}.get(vr, "keep")
    if row["retain_longitudinal_modified_dates"] and profile.dates != "remove":
        if vr in ("DA", "DT"):
            return "published" if keyword in _PUBLISHED and profile.dates != "keep" else "date"
        if vr == "TM":
            return "time"
        return "may" if profile.dates == "keep" or keyword == "TimezoneOffsetFromUTC" else "other"
    if "C" in said and vr != "PN":
        return {"SQ": "loose", "OB": "other", "UN": "other"}.get(vr, "clean" if vr in _WORDED | {"CS"} else "may")
    last = row["basic"].rstrip("*")[-1]
    if last == "U":
        return "keep" if vr == "SQ" else "map"
    if vr == "SQ":
        return {"X": "gone", "Z": "loose", "D": "dummy"}[last]
    # X alone means absent; as one of several letters it leaves the choice to the type in the IOD.
    return {"X": "gone", "Z": "other", "D": "filled"}[last]


def _outside(profile: Profile, tag: int, vr: str, keyword: str) -> str:
    """Attributes without a row, by their VR."""
    kept, cleaned = _technical()
    if 0x5000 <= tag >> 16 <= 0x501E or (0x6000 <= tag >> 16 <= 0x601E and tag & 0xFFFF in (0x3000, 0x4000)):
        return "may" if "clean_graphics" in profile.options else "gone"
    if 0x6000 <= tag >> 16 <= 0x601E:
        return "other" if vr in _TEXTS else "may"
    if tag == 0x00080005:
        return "charset"
    if keyword in kept | cleaned and vr not in ("DA", "DT", "UI", "PN"):
        return "keep" if keyword in kept else "clean"
    if vr in ("DA", "DT"):
        return "date"
    if keyword in _SCHEME_UIDS and "retain_uids" not in profile.options:
        return "scheme"
    if vr == "UI":
        return "class" if _CLASS_UIDS.fullmatch(keyword) else "keep" if "retain_uids" in profile.options else "map"
    if vr in _TEXTS:
        return "other"
    if vr in ("OW", "OF", "OD", "OL", "OV") or keyword.startswith("("):
        return "may"
    if vr == "TM":
        return "may" if profile.dates == "remove" else "time"
    return {"PN": "other", "AS": "age"}.get(vr, "keep")


def is_public(designator: str) -> bool:
    """Whether a CodingSchemeDesignator is of a scheme that everybody uses."""
    return designator in _SCHEMES


@lru_cache(maxsize=4096)
def is_meaning(designator: str, code: str, meaning: str, profile: Profile) -> bool:
    """Whether a CodeMeaning is made of ordinary words, or is the standard's own for that code."""
    return is_vocabulary(meaning, profile) or is_standard_meaning(designator, code, meaning)


@lru_cache(maxsize=4096)
def is_standard_meaning(designator: str, code: str, meaning: str) -> bool:
    """Whether a CodeMeaning is the standard's own for a code, whatever its case."""
    from pydicom.sr import _concepts_dict  # big, and seldom needed

    schemes: dict[str, dict[str, dict[str, tuple[str, list[int]]]]] = vars(_concepts_dict)["concepts"]
    known = (entry for entries in schemes.get(designator, {}).values() for entry in entries.items())
    return any(one == code and entry[0].casefold() == meaning.casefold() for one, entry in known)


def is_ordinary(word: str) -> bool:
    """Whether a word is one of the shipped vocabulary, from which common names were taken out."""
    return word in _vocabulary()


def describes(keyword: str) -> str:
    """What belongs there: "technical" terms of the trade, "cleaned" words of the vocabulary, or ""."""
    kept, cleaned = _technical()
    tag = tag_for_keyword(keyword)
    row = _rows().get(tag) if tag is not None else None
    if keyword in kept:
        return "technical"
    return "cleaned" if keyword in cleaned or (row is not None and row["clean_descriptors"]) else ""
