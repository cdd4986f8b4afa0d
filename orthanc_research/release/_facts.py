"""What a plan needs to know of one instance, read from its header: identity, place, and what its pixels may show.

Burned-in risk: BurnedInAnnotation YES; or anything but NO where images of the kind often have text in them. CT, MR and
PT that are ORIGINAL and monochrome pass, since nearly none of them carries the attribute (PS3.3 C.7.6.1, C.8).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from pydicom.datadict import tag_for_keyword

from orthanc_research.deid.check._reading import Element, Malformed, read_leniently
from orthanc_research.deid.check._text import charset_of, decoded
from orthanc_research.errors import DeidError

__all__ = ["Facts", "Patient", "facts_of", "tags_of", "unreadable"]

# Whose values are looked for in all copies of the patient's, whichever instance they stand in.
IDENTITY = [
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientBirthDate",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "RequestingPhysician",
    "OperatorsName",
    "InstitutionName",
    "PatientAddress",
    "PatientTelephoneNumbers",
]
_OTHER = [
    "IssuerOfPatientID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "SOPClassUID",
    "Modality",
    "StudyDate",
    "ImageType",
    "BurnedInAnnotation",
    "PhotometricInterpretation",
    "SeriesDescription",
    "StudyDescription",
    "BodyPartExamined",
    "Rows",
    "RecognizableVisualFeatures",
    "DeidentificationMethod",
]
_OURS = "orthanc_research, PS3.15"  # how the engine's DeidentificationMethod begins
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ufffd]")
_SHOWS_TEXT = frozenset(
    ["US", "IVUS", "XA", "RF", "CR", "DX", "MG", "IO", "PX", "OT", "SC", "ES", "XC", "GM", "OP", "SM", "DOC"]
)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104."
_DOSE = re.compile(r"dose.?(report|record|info|page|sheet|summary)|patient.?protocol|screen.?save", re.IGNORECASE)
_HEAD = re.compile(r"head|brain|skull|face|facial|crani|neck|sinus|orbit|cereb|temporal|whole.?body", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class Patient:
    """Whose instance it is: the issuer and the PatientID, blanks around them gone, as they stand there. PHI."""

    issuer: str
    id: str

    def __repr__(self) -> str:
        return "<Patient>"


@dataclass(frozen=True, slots=True)
class Facts:
    """One instance of the source. `key` is where to read it: an Orthanc ID, or a path below the folder."""

    key: str
    digest: str
    size: int
    patient: Patient
    sop: str
    series: str
    study: str
    sop_class: str
    modality: str
    study_date: str
    risk: str
    face: bool
    known: tuple[tuple[str, str], ...]
    above: tuple[str, ...] = ()  # Orthanc IDs of its series, study and patient
    problem: str = ""
    is_copy: bool = False  # made by this package, says its header

    def __repr__(self) -> str:
        return f"<Facts {self.sop}>"


def facts_of(key: str, tags: Mapping[str, str | None], digest: str, size: int, above: tuple[str, ...] = ()) -> Facts:
    """From its tags, {"gggg,eeee": text}; `problem` says what it lacks to be an instance."""

    def get(keyword: str) -> str:
        return str(tags.get(_key(keyword)) or "").strip(" \0\t\r\n")

    missing = [
        name for name in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID") if not get(name)
    ]
    problem = f"It has no {missing[0]}." if missing else ""
    if not problem and _UNREADABLE.search(get("PatientID") + get("IssuerOfPatientID")):
        problem = "Its PatientID is not in the character set that it names: two patients may look like one."
    return Facts(
        key,
        digest,
        size,
        Patient(get("IssuerOfPatientID"), get("PatientID")),
        get("SOPInstanceUID"),
        get("SeriesInstanceUID"),
        get("StudyInstanceUID"),
        get("SOPClassUID"),
        get("Modality"),
        get("StudyDate"),
        _risk(tags, get("SOPClassUID"), get("Modality").upper()),
        _may_show_a_face(tags, get("Modality").upper()),
        tuple((name, get(name)) for name in IDENTITY if get(name)),
        above,
        problem,
        get("DeidentificationMethod").startswith(_OURS),
    )


def unreadable(key: str, reason: str, *, digest: str = "", size: int = 0) -> Facts:
    """What cannot be read is a row as well."""
    return Facts(key, digest, size, Patient("", ""), "", "", "", "", "", "", "", False, (), (), reason)


def tags_of(content: bytes) -> dict[str, str | None]:
    """The tags that `facts_of` looks at, of a file's bytes, as an Orthanc would give them. `DeidError` when unreadable.

    By the verifier's reader: pydicom's warnings and log lines quote what they complain of.
    """
    try:
        elements = read_leniently(content).elements
    except Malformed as error:
        raise DeidError(f"No DICOM file that can be read: {error}.") from None
    if not content[128:132] == b"DICM" and _number("SOPClassUID") not in elements:
        raise DeidError("No DICOM file: it has neither the mark of one nor a SOPClassUID.")
    charset = charset_of(elements)
    found: dict[str, str | None] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bytes that are not in the character set that they claim
        for keyword in (*IDENTITY, *_OTHER):
            element = elements.get(_number(keyword))
            if element is not None and element.items is None:
                found[_key(keyword)] = _text_of(element, charset)
    overlays = (tag for tag in elements if 0x6000 <= tag >> 16 < 0x6100 and tag & 0xFFFF == 0x3000)
    return found | {f"{tag >> 16:04x},3000": None for tag in overlays}


def _text_of(element: Element, charset: bytes) -> str:
    if element.vr == "US":
        return str(int.from_bytes(element.value[:2], "little"))
    return decoded(element.value, element.vr, charset)


@cache
def _number(keyword: str) -> int:
    return tag_for_keyword(keyword) or 0


@cache
def _key(keyword: str) -> str:
    tag = _number(keyword)
    return f"{tag >> 16:04x},{tag & 0xFFFF:04x}"


def _text(tags: Mapping[str, str | None], keyword: str) -> str:
    return str(tags.get(_key(keyword)) or "").strip(" \0")


def _risk(tags: Mapping[str, str | None], sop_class: str, modality: str) -> str:
    """Why its pixels may show who it is of; "" when nothing says so."""
    said = _text(tags, "BurnedInAnnotation").upper()
    if said == "YES":
        return "BurnedInAnnotation is YES"
    if said == "NO":
        return ""
    if sop_class.startswith(_ENCAPSULATED):
        return "an encapsulated document"
    if not _text(tags, "Rows"):
        return ""  # no pixels
    kind = [part.strip().upper() for part in _text(tags, "ImageType").split("\\")]
    colour = _text(tags, "PhotometricInterpretation").upper()
    if sop_class.startswith(_SECONDARY_CAPTURE):
        return "a secondary capture"
    if modality in _SHOWS_TEXT:
        return f"images of the modality {modality} often have text in their pixels"
    if any(key.startswith("60") and key.endswith(",3000") for key in tags):
        return "an overlay"
    if colour and not colour.startswith("MONOCHROME"):
        return "colour pixels"
    if "SECONDARY" in kind or any("SCREEN SAVE" in part for part in kind):
        return "ImageType says SECONDARY or SCREEN SAVE"
    if _DOSE.search(" ".join((*kind, _text(tags, "SeriesDescription")))):
        return "a dose report or screen save, by its description"
    return ""


def _may_show_a_face(tags: Mapping[str, str | None], modality: str) -> bool:
    if modality not in ("CT", "MR", "PT") or not _text(tags, "Rows"):
        return False
    return bool(
        _HEAD.search(
            " ".join(_text(tags, name) for name in ("BodyPartExamined", "SeriesDescription", "StudyDescription"))
        )
    )
