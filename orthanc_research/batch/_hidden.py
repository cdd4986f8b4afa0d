"""Where a file identifies its patient beyond the reach of Orthanc's anonymization: overlays, and inside sequences.

Observed on 1.10.1, 1.12.7 and 1.13.0 with every attribute of the dictionary, at the top and inside sequences: overlays
and curves stay; a tag that is replaced (PatientName always is) stays inside sequences; 2021b, the newest profile of
1.10.1, leaves 40 dates, 44 date-times and 5 names, 2023b leaves 8, 9 and 4; some 25 UIDs of instances and frames of
reference are not mapped. Found here by the tags that Orthanc shows for a file, and, in texts, by the patient's values.

Sources: PS3.6 (VRs), PS3.15 Table E.1-1.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from orthanc_research.tables import tag_of

__all__ = ["Rules", "has_embedded_overlay", "hidden", "nobody", "path_of", "too_long"]

Tags = Mapping[str, Any]

_DATED = ("PN", "DA", "DT")
_TEXT = ("LO", "SH", "LT", "ST", "UT", "UC", "UR")
# Names and dates that the profiles from 2021b on leave empty, or with a dummy, where their attribute is required.
_EMPTIED = """PatientName PatientBirthDate ReferringPhysicianName StudyDate ContentDate ConsultingPhysicianName
ContentCreatorName PersonName VerifyingObserverName"""
_EMPTIED_LATER = """ROIInterpreter StructureSetDate SourceStartDateTime SourceEndDateTime
ImpedanceMeasurementDateTime InterlockDateTime OverrideDateTime RecordedRTControlPointDateTime
TreatmentToleranceViolationDateTime"""
_EMPTIED_2023 = """AssertionDateTime AttributeModificationDateTime BeamHoldTransitionDateTime
CalibrationDateTime Date DateTime DecayCorrectionDateTime DigitalSignatureDateTime EffectiveDateTime
ExclusionStartDateTime FrameAcquisitionDateTime FrameReferenceDateTime FunctionalSyncPulse
HangingProtocolCreationDateTime InformationIssueDateTime InstructionPerformedDateTime ParticipationDateTime
ReferencedDateTime ReviewDate SafePositionExitDate SafePositionReturnDate SelectorDAValue SelectorDTValue
SelectorPNValue SourceStrengthReferenceDate TreatmentControlPointDate VerificationDateTime"""
# Of instances, frames of reference, events; those of classes, codings and transfer syntaxes identify nobody.
_UNMAPPED_UIDS = """AcquisitionUID AnnotationGroupUID AssertionUID EquipmentFrameOfReferenceUID FindingsGroupUIDTrial
HomeCommunityID ModelGroupUID MultiFrameSourceSOPInstanceUID PyramidUID RadiopharmaceuticalAdministrationEventUID
ReferencedAssertionUID ReferencedColorPaletteInstanceUID ReferencedFiducialUID ReferencedFindingsGroupUIDTrial
ReferencedTreatmentPositionGroupUID RepositoryUniqueID RetrieveLocationUID SelectorUIValue
SOPInstanceUIDOfConcatenationSource SourceFrameOfReferenceUID TableFrameOfReferenceUID TableTopPositionAlignmentUID
TargetFrameOfReferenceUID VolumeFrameOfReferenceUID VolumetricPresentationInputSetUID"""
# Newer than Orthanc's profiles, or not in PS3.15 at all.
_IDS = """PatientID PatientBirthDateInAlternativeCalendar PatientDeathDateInAlternativeCalendar
PlacerOrderNumberProcedure FillerOrderNumberProcedure PlacerOrderNumberImagingServiceRequestRetired
FillerOrderNumberImagingServiceRequestRetired ResultsID InterpretationID"""
# Dates of publication.
_PUBLISHED = "ContextGroupVersion ContextGroupLocalVersion"
# Where the values come from that are looked for in texts; Orthanc replaces or empties these themselves.
_NAMES = "PatientName OtherPatientNames PatientBirthName PatientMotherBirthName"
_NUMBERS = "PatientID OtherPatientIDs AccessionNumber PatientBirthDate"
_SHORTEST_NUMBER = 4


def _tags(keywords: str) -> frozenset[int]:
    found = [tag_for_keyword(keyword) for keyword in keywords.split()]
    return frozenset(tag for tag in found if tag is not None)


_UNMAPPED, _NESTED_IDS, _HARMLESS = _tags(_UNMAPPED_UIDS), _tags(_IDS), _tags(_PUBLISHED)
_OWN = _tags(_NUMBERS) | _tags("StudyID")
_EMPTIED_BY: Mapping[str | None, frozenset[int]] = {
    "2008": _tags("PatientName"),
    "2017c": _tags(_EMPTIED),
    "2021b": _tags(_EMPTIED) | _tags(_EMPTIED_LATER),
}
_EMPTIED_BY_NEWEST = _EMPTIED_BY["2021b"] | _tags(_EMPTIED_2023)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the user asked for, as far as it matters here: `spared` are the paths and tags that are theirs to decide."""

    replaced: frozenset[int]
    kept: frozenset[int]
    spared: frozenset[str]
    emptied: frozenset[int]

    @classmethod
    def of(cls, replace: Iterable[str], keep: Iterable[str], profile: str) -> Rules:
        """From the tags and paths that are replaced and kept, and the name of Orthanc's profile."""
        replaced, kept = {tag_of(each) for each in replace}, {tag_of(each) for each in keep}
        spared = frozenset(path_of(each) for each in (*replace, *keep))
        emptied = _EMPTIED_BY.get(profile, _EMPTIED_BY_NEWEST)
        return cls(frozenset(replaced - {None}), frozenset(kept - {None}), spared, emptied)  # type: ignore[arg-type]


def path_of(tag: str) -> str:
    """A tag or path as Orthanc reads it, by numbers: "0008,2218[*].0010,0010"; any item for a certain one."""
    parts = (re.sub(r"\[(?:\d+|\*)\]", "", part) for part in tag.split("."))
    numbers = [tag_of(part) for part in parts]
    return "[*].".join(f"{number >> 16:04x},{number & 0xFFFF:04x}" for number in numbers if number is not None)


def hidden(tags: Tags, rules: Rules) -> set[str]:
    """The paths of what identifies the patient in one file and would stay; `tags` as of /instances/{id}/tags?short.

    None as a value means that it could not be read, so it counts as one that identifies.
    """
    patient = _Patient.of(tags)
    return {
        path
        for path, tag, vr, value in _elements(tags)
        if path not in rules.spared
        and tag not in rules.kept
        and value not in ("", "\0", [])
        and (_stays(path, tag, vr, value, rules) or _tells(path, tag, vr, value, patient))
    }


def too_long(tags: Tags) -> set[str]:
    """The numbers (ggggeeee) of texts that came without their value, which has more than 256 bytes."""
    return {f"{tag:08x}" for _, tag, vr, value in _elements(tags) if value is None and vr in (*_TEXT, *_DATED)}


def has_embedded_overlay(tags: Tags, rules: Rules) -> bool:
    """True for an overlay in unused bits of the pixels (retired, PS3.5 8.1.2): there is no element to remove."""
    positions = [tag for tag in tags if re.fullmatch(r"60[0-9a-f]{2},0102", tag) and tag not in rules.spared]
    return "7fe0,0010" in tags and any(f"{tag[:4]},3000" not in tags for tag in positions)


def nobody(tags: Tags) -> tuple[str, str] | None:
    """The name and birth date in a file without a PatientID, which Orthanc files with all others that have none."""
    if str(tags.get("0010,0020") or "").strip(" \0"):
        return None
    return str(tags.get("0010,0010") or ""), str(tags.get("0010,0030") or "")


def _stays(path: str, tag: int, vr: str, value: Any, rules: Rules) -> bool:
    """Whether this identifies the patient by what it is, and Orthanc would leave it."""
    if _is_overlay(tag) or tag in _UNMAPPED or (vr == "SQ" and not isinstance(value, list)):
        return True
    if tag in _HARMLESS:
        return False
    if "." not in path:
        return vr in _DATED and tag not in rules.replaced and (value is None or tag not in rules.emptied)
    # An element that no dictionary has may hold anything.
    return vr in _DATED or vr == "" or tag in rules.replaced or tag in _NESTED_IDS


def _tells(path: str, tag: int, vr: str, value: Any, patient: _Patient) -> bool:
    """Whether a text holds what the patient is called, or could not be read."""
    return vr in _TEXT and ("." in path or tag not in _OWN) and (value is None or patient.is_in(str(value)))


def _is_overlay(tag: int) -> bool:
    """Overlays, and the curves that came before them."""
    return tag >> 24 in (0x60, 0x50) and not tag >> 16 & 1


def _elements(tags: Tags) -> Iterator[tuple[str, int, str, Any]]:
    """(path, tag, VR, value) of all elements but private ones, which go unless the user keeps them as they are."""
    waiting: list[tuple[str, Tags]] = [("", tags)]
    while waiting:
        above, each = waiting.pop()
        for name, value in each.items():
            tag, vr = _known(name)
            if tag >> 16 & 1 or tag >> 16 == 2:
                continue
            path = above + name
            yield path, tag, vr, value
            if isinstance(value, list):
                waiting += [(f"{path}[*].", item) for item in value if isinstance(item, Mapping)]


@lru_cache(maxsize=8192)
def _known(name: str) -> tuple[int, str]:
    tag = int(name[:4] + name[5:9], 16)
    try:
        return tag, dictionary_VR(tag)
    except KeyError:
        return tag, ""


@dataclass(frozen=True, slots=True)
class _Patient:
    """What a patient is called in one file."""

    names: frozenset[str]
    numbers: tuple[str, ...]

    @classmethod
    def of(cls, tags: Tags) -> _Patient:
        values = {keyword_for_tag(int(name[:4] + name[5:9], 16)): value for name, value in tags.items()}
        names = " ".join(str(values.get(keyword) or "") for keyword in _NAMES.split())
        numbers = "\\".join(str(values.get(keyword) or "") for keyword in _NUMBERS.split())
        return cls._folded(names, numbers)

    @classmethod
    @lru_cache(maxsize=64)
    def _folded(cls, names: str, numbers: str) -> _Patient:
        parts = {part for part in re.split(r"[\W_]+", _fold(names)) if len(part) > 1}
        longer = (_fold(number).strip(" \0") for number in numbers.split("\\"))
        return cls(frozenset(parts), tuple(number for number in longer if len(number) >= _SHORTEST_NUMBER))

    def is_in(self, text: str) -> bool:
        """Whether a text holds one of the patient's numbers, or a part of the name as a word of its own."""
        folded = _fold(text)
        # Scripts that put no blanks between words have no words of their own to look for.
        unspaced = (name for name in self.names if not name.isascii())
        return (
            any(number in folded for number in self.numbers)
            or not self.names.isdisjoint(re.split(r"[\W_]+", folded))
            or any(name in folded for name in unspaced)
        )


def _fold(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))
