"""A value for every text, date, time, name, UID and unknown attribute of the dictionary, each of them known."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from deid_people import Person, canary, date_forms, day, uid
from pydicom import DataElement, Dataset
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import keyword_for_tag
from pydicom.tag import BaseTag, Tag

__all__ = ["CHARACTERISTICS", "STRUCTURE", "Planted", "Planter", "planted_tags", "sequence_tags"]


def _keywords(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What makes a file readable; another value here is another object. All have the value that the object needs.
STRUCTURE = _keywords(
    """SpecificCharacterSet Modality SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID ImageType
    PhotometricInterpretation PixelPresentation NumberOfFrames BurnedInAnnotation RecognizableVisualFeatures
    PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence
    LongitudinalTemporalInformationModified LossyImageCompression LossyImageCompressionMethod TimezoneOffsetFromUTC
    ValueType RelationshipType ContinuityOfContent Rows Columns PatientName PatientID PatientBirthDate StudyDate
    SeriesDate StudyTime SeriesTime IssuerOfPatientID OverlayData PixelData FloatPixelData DoubleFloatPixelData
    EncapsulatedPixelDataValueTotalLength ExtendedOffsetTable ExtendedOffsetTableLengths DataSetTrailingPadding
    TransferSyntaxUID EncapsulatedDocument"""
)
# What the option Retain Patient Characteristics keeps: harmless values here, free text is planted elsewhere.
CHARACTERISTICS = {
    "PatientSex": "F",
    "PatientAge": "091Y",
    "PatientSize": "1.66",
    "PatientWeight": "61.5",
    "EthnicGroup": "",
    "SmokingStatus": "NO",
    "PatientSexNeutered": "UNALTERED",
    "PregnancyStatus": 1,
}
_TEXT = ("LO", "SH", "ST", "LT", "UT", "UC", "UR", "CS", "AE", "PN")
_OTHER = ("DA", "TM", "DT", "UI", "UN", "OB")
# UI attributes whose values are classes, coding systems or syntaxes, not somebody's objects.
_CLASSES = _keywords(
    """RelatedGeneralSOPClassUID OriginalSpecializedSOPClassUID SOPClassesInStudy CodingSchemeUID ContextUID
    MappingResourceUID StoredInstanceTransferSyntaxUID ReferencedSOPClassUID SOPClassesSupported
    AvailableTransferSyntaxUID FlowTransferSyntaxUID MACCalculationTransferSyntaxUID
    EncryptedContentTransferSyntaxUID PertinentSOPClassesInStudy PertinentSOPClassesInSeries"""
)


@dataclass(frozen=True, slots=True)
class Planted:
    """One value in one place. kind: "text", "own", "uid", "date", "bytes"; path: (tag, item, tag, item, …, tag)."""

    path: tuple[int, ...]
    where: str
    kind: str
    value: str
    technical: bool = False  # its attribute is one whose text may stay


class Planter:
    """Plants into one file, and remembers."""

    def __init__(self, file: str, person: Person, technical: Collection[str]) -> None:
        self.file, self.person, self.technical = file, person, technical
        self.ledger: list[Planted] = []

    def text(self, path: tuple[int, ...], where: str, limit: int = 10_000, *, own: bool = True) -> str:
        """Words that hold this place's canary, and as much of the person as fits."""
        word, who = canary(self.file, where), self.person
        self.ledger.append(Planted(path, where, "text", word, not own))
        if not own:
            return word
        if limit <= 16:
            return f"{word} {who.id[-7:]}"[:limit]
        family = who.name.split("^")[0]
        if limit <= 64:
            return f"{word} {family} {who.id} {who.birth}"[:limit]
        dates = " ".join(date_forms(who.birth))
        name = who.name.replace("^^Prof.", "").replace("^", " ").replace("=", " ")
        return (
            f"{word} {name} ({dates}), MRN {who.id}, {who.other_id}, "
            f"by {who.physician.replace('^', ' ')} and {who.operator.replace('^', ' ')}, {who.institution}, "
            f"{who.address}, {who.phone}, {who.accession} {uid(self.file, where, 'in text')}"
        )

    def value(self, vr: str, path: tuple[int, ...], where: str, keyword: str) -> Any:
        """A value of this VR for this place."""
        word = canary(self.file, where)
        own = keyword not in self.technical
        if vr == "UI":
            if keyword in _CLASSES:
                return "1.2.840.10008.5.1.4.1.1.2"
            made: str = uid(self.file, where)
            self.ledger.append(Planted(path, where, "uid", made))
            return made
        if vr in ("DA", "DT"):
            made = day(self.file, where) + ("101112.5+0130" if vr == "DT" else "")
            self.ledger.append(Planted(path, where, "date", made))
            return made
        if vr == "TM":
            return "101112.25"
        if vr == "PN":
            self.ledger.append(Planted(path, where, "text", word))
            groups = self.person.name.split("=")
            return f"{word}^{groups[0].split('^')[0]}={groups[1]}={groups[2]}"
        if vr in ("UN", "OB"):
            made = self.text(path, where)
            data = made.encode()
            return data + b" " * (len(data) % 2)
        if vr == "UR":
            self.ledger.append(Planted(path, where, "text", word))
            return f"http://{word}.example/{self.person.id}"
        limit = {"LO": 64, "SH": 16, "CS": 16, "AE": 16}.get(vr, 10_000)
        text = self.text(path, where, limit, own=own)
        return text.replace(" ", "_") if vr == "CS" else text

    def plant(self, into: Dataset, tags: Collection[int], path: tuple[int, ...] = (), where: str = "") -> None:
        """Give `into` each of these attributes that it has not yet."""
        for tag in tags:
            if tag in into:
                continue
            vr = DicomDictionary[tag][0] if tag in DicomDictionary else "LO"
            keyword = keyword_for_tag(Tag(tag)) or f"{tag:08X}"
            here = f"{where}{keyword}"
            into.add(DataElement(BaseTag(tag), vr, self.value(vr, (*path, tag), here, keyword)))

    def own(self, path: tuple[int, ...], where: str, value: str) -> str:
        """Remember that a value of the person's own is there."""
        self.ledger.append(Planted(path, where, "own", value))
        return value


def planted_tags() -> list[int]:
    """Every attribute of the dictionary that can hold a text, a date, a time, a name, a UID or unknown bytes."""
    return sorted(
        tag
        for tag, (vr, _, _, _, keyword) in DicomDictionary.items()
        if vr in _TEXT + _OTHER
        and keyword not in STRUCTURE
        and keyword not in CHARACTERISTICS
        and 0x0008 <= tag >> 16 < 0xFFFA  # below are the groups of commands, file meta and directories
    )


def sequence_tags() -> Iterator[int]:
    """Every sequence of the dictionary."""
    return (tag for tag, entry in sorted(DicomDictionary.items()) if entry[0] == "SQ" and tag >> 16 >= 0x0008)
