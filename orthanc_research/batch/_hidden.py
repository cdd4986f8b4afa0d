"""Where a file identifies its patient beyond the reach of Orthanc's anonymization: overlays, and inside sequences.

Observed on 1.10.1, 1.12.7 and 1.13.0 with every attribute of the dictionary, at the top and inside sequences: overlays
and curves stay; a tag that is replaced (PatientName always is) stays inside sequences; 2021b, the newest profile of
1.10.1, leaves 40 dates, 44 date-times and 5 names, 2023b leaves 8, 9 and 4; some 25 UIDs of instances and frames of
reference are not mapped; elements that no dictionary has stay. Found here by the tags that Orthanc shows for a file,
and, in texts, by what the patient is called (`_identity`).

Sources: PS3.6 (VRs), PS3.15 Table E.1-1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from orthanc_research.batch._identity import NUMBERS, Identity
from orthanc_research.tables import tag_of

__all__ = ["Rules", "Text", "has_embedded_overlay", "hidden", "nobody", "path_of", "split", "telling", "too_long"]

Tags = Mapping[str, Any]
Text = tuple[str, str, bool]  # path, value, whether it is a code (CS, AE)

_DATED = ("PN", "DA", "DT")
_TEXT = ("LO", "SH", "LT", "ST", "UT", "UC", "UR")
_CODED = ("CS", "AE")
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
# A whole report, in a form that nobody looks into; 1.10.1 leaves it.
_DOCUMENTS = "EncapsulatedDocument"
# Dates of publication.
_PUBLISHED = "ContextGroupVersion ContextGroupLocalVersion"
# Codes without which a file cannot be read; nobody types a name there.
_NEEDED = "SpecificCharacterSet Modality ImageType PhotometricInterpretation ValueType RelationshipType"
# Orthanc replaces or empties these itself.
_OWN_TEXTS = f"{NUMBERS} StudyID"
# What Orthanc writes as DeidentificationMethod (1.10.1 leaves one that is there); "15" may be somebody's number.
_METHOD = re.compile(r"Orthanc (\d+(\.\d+)*|mainline)( - PS 3\.15-\d{4}[a-z]? Table E\.1-1( Basic Profile)?)?")


def _tags(keywords: str) -> frozenset[int]:
    found = [tag_for_keyword(keyword) for keyword in keywords.split()]
    return frozenset(tag for tag in found if tag is not None)


_UNMAPPED, _NESTED_IDS, _HARMLESS = _tags(_UNMAPPED_UIDS), _tags(_IDS), _tags(_PUBLISHED)
_WHOLE = _tags(_DOCUMENTS)
_OWN, _READING = _tags(_OWN_TEXTS), _tags(_NEEDED)
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
    """A tag or path as Orthanc reads it, by numbers: "0008,2218[*].0010,0010"; the index of an item stays."""
    parts = []
    for part in tag.split("."):
        name, mark, item = part.partition("[")
        number = tag_of(name) or 0
        parts.append(f"{number >> 16:04x},{number & 0xFFFF:04x}{mark}{item}")
    return ".".join(parts)


def hidden(tags: Tags, rules: Rules, identity: Identity) -> set[str]:
    """The paths of what identifies the patient in one file and would stay; `tags` as of /instances/{id}/tags?short."""
    paths, texts = split(tags, rules)
    return paths | telling(texts, identity)


def split(tags: Tags, rules: Rules) -> tuple[set[str], set[Text]]:
    """The paths of what identifies by what it is and would stay in a file, and the texts in which a name may stand.

    None as a value means that it could not be read, so it counts as one that identifies.
    """
    paths: set[str] = set()
    texts: set[Text] = set()
    for path, tag, vr, value in _elements(tags):
        if path in rules.spared or tag in rules.kept or value in ("", "\0", []):
            continue
        may_tell = _may_tell(path, tag, vr)
        if _stays(path, tag, vr, value, rules) or (may_tell and value is None):
            paths.add(path)
        elif may_tell and not (tag == 0x00120063 and _METHOD.fullmatch(str(value).strip())):
            texts.add((path, str(value), vr in _CODED))
    return paths, texts


def telling(texts: Iterable[Text], identity: Identity) -> set[str]:
    """The paths of the texts that hold what the patient is called."""
    return {path for path, text, coded in texts if identity.is_in(text, coded=coded)}


def too_long(tags: Tags) -> set[str]:
    """The numbers (ggggeeee) of texts that came without their value, which has more than 256 bytes."""
    return {f"{tag:08x}" for _, tag, vr, value in _elements(tags) if value is None and vr in (*_TEXT, *_CODED, *_DATED)}


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
    if _is_overlay(tag) or tag in _UNMAPPED or tag in _WHOLE or (vr == "SQ" and not isinstance(value, list)):
        return True
    if tag in _HARMLESS:
        return False
    if vr == "":
        return True  # an element that no dictionary has may hold anything
    if "." not in path:
        return vr in _DATED and tag not in rules.replaced and (value is None or tag not in rules.emptied)
    return vr in _DATED or tag in rules.replaced or tag in _NESTED_IDS


def _may_tell(path: str, tag: int, vr: str) -> bool:
    """Whether what the patient is called may stand in such an element."""
    return (vr in _TEXT and ("." in path or tag not in _OWN)) or (vr in _CODED and tag not in _READING)


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
            if tag >> 16 & 1 or tag >> 16 == 2 or not tag & 0xFFFF:  # a group's length
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
