"""Which tag lives at which level, and which of them Orthanc keeps in its index.

The lists are what every version indexes by default (1.10.1; later ones add a few, and a server may be told to index
more). Observed on 1.10.1, 1.12.7 and 1.13.0: a criterion on a tag of a level *below* matches nothing, without an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydicom.datadict import keyword_for_tag

from orthanc_research.capabilities import Capabilities
from orthanc_research.tables.schema import LEVELS, Level, tag_of

__all__ = [
    "COMPUTED",
    "FACTS_OF",
    "IDENTIFIERS",
    "INDEX",
    "children_key",
    "columns_for",
    "depth",
    "index_of",
    "level_of",
    "own_index",
]

INDEX: Mapping[Level, tuple[str, ...]] = MappingProxyType(
    {
        "Patient": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "OtherPatientIDs"),
        "Study": (
            "StudyInstanceUID",
            "StudyDate",
            "StudyTime",
            "StudyID",
            "StudyDescription",
            "AccessionNumber",
            "RequestedProcedureDescription",
            "InstitutionName",
            "RequestingPhysician",
            "ReferringPhysicianName",
        ),
        "Series": (
            "SeriesInstanceUID",
            "SeriesDate",
            "SeriesTime",
            "Modality",
            "Manufacturer",
            "StationName",
            "SeriesDescription",
            "BodyPartExamined",
            "SequenceName",
            "ProtocolName",
            "SeriesNumber",
            "CardiacNumberOfImages",
            "ImagesInAcquisition",
            "NumberOfTemporalPositions",
            "NumberOfSlices",
            "NumberOfTimeSlices",
            "ImageOrientationPatient",
            "OperatorsName",
            "PerformedProcedureStepDescription",
            "AcquisitionDeviceProcessingDescription",
            "ContrastBolusAgent",
            "SeriesType",
        ),
        "Instance": (
            "SOPInstanceUID",
            "InstanceCreationDate",
            "InstanceCreationTime",
            "AcquisitionNumber",
            "ImageIndex",
            "InstanceNumber",
            "NumberOfFrames",
            "TemporalPositionIdentifier",
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "ImageComments",
        ),
    }
)

# Counted by Orthanc from what it stores; no file holds them.
COMPUTED: Mapping[str, Level] = MappingProxyType(
    {
        "NumberOfPatientRelatedStudies": "Patient",
        "NumberOfPatientRelatedSeries": "Patient",
        "NumberOfPatientRelatedInstances": "Patient",
        "NumberOfStudyRelatedSeries": "Study",
        "NumberOfStudyRelatedInstances": "Study",
        "ModalitiesInStudy": "Study",
        "NumberOfSeriesRelatedInstances": "Series",
    }
)

# Not indexed, yet the same in every file of a patient or study (Patient, Patient Study and General Study modules).
_OUTSIDE: Mapping[str, Level] = MappingProxyType(
    {
        "IssuerOfPatientID": "Patient",
        "PatientBirthTime": "Patient",
        "OtherPatientNames": "Patient",
        "EthnicGroup": "Patient",
        "PatientSpeciesDescription": "Patient",
        "PatientBreedDescription": "Patient",
        "PatientAge": "Study",
        "PatientSize": "Study",
        "PatientWeight": "Study",
        "Occupation": "Study",
        "PregnancyStatus": "Study",
        "SmokingStatus": "Study",
        "PatientSexNeutered": "Study",
        "AdmittingDiagnosesDescription": "Study",
        "AdmissionID": "Study",
        "PhysiciansOfRecord": "Study",
        "NameOfPhysiciansReadingStudy": "Study",
        "TimezoneOffsetFromUTC": "Study",
    }
)

# These match case-exactly. UIDs have no letters.
IDENTIFIERS = frozenset({"PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID"})

FACTS_OF: Mapping[Level, tuple[str, ...]] = MappingProxyType(
    {
        "Patient": ("LastUpdate", "IsStable", "Labels"),
        "Study": ("ParentPatient", "LastUpdate", "IsStable", "Labels"),
        "Series": ("ParentStudy", "LastUpdate", "IsStable", "Labels", "Status", "ExpectedNumberOfInstances"),
        "Instance": ("ParentSeries", "FileSize", "IndexInSeries", "Labels"),
    }
)

_PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyDate", "StudyTime", "StudyDescription", "AccessionNumber", "StudyInstanceUID")

_DEFAULT: Mapping[Level, tuple[str, ...]] = MappingProxyType(
    {
        "Patient": (*_PATIENT, "NumberOfPatientRelatedStudies", "LastUpdate", "IsStable", "Labels"),
        "Study": (
            *_PATIENT,
            *_STUDY,
            "StudyID",
            "ReferringPhysicianName",
            "InstitutionName",
            "ModalitiesInStudy",
            "NumberOfStudyRelatedSeries",
            "NumberOfStudyRelatedInstances",
            "ParentPatient",
            "LastUpdate",
            "IsStable",
            "Labels",
        ),
        "Series": (
            *_PATIENT,
            *_STUDY,
            "Modality",
            "SeriesNumber",
            "SeriesDescription",
            "SeriesDate",
            "SeriesTime",
            "BodyPartExamined",
            "ProtocolName",
            "Manufacturer",
            "StationName",
            "SeriesInstanceUID",
            "NumberOfSeriesRelatedInstances",
            "ParentStudy",
            "LastUpdate",
            "IsStable",
            "Labels",
        ),
        "Instance": (
            "PatientID",
            "PatientName",
            "StudyDate",
            "StudyDescription",
            "StudyInstanceUID",
            "Modality",
            "SeriesNumber",
            "SeriesDescription",
            "SeriesInstanceUID",
            "InstanceNumber",
            "AcquisitionNumber",
            "NumberOfFrames",
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "SOPInstanceUID",
            "ParentSeries",
            "FileSize",
            "Labels",
        ),
    }
)

_CHILDREN: Mapping[Level, str] = MappingProxyType({"Patient": "Studies", "Study": "Series", "Series": "Instances"})


def columns_for(level: Level) -> tuple[str, ...]:
    """The columns of a find when none are chosen: the same on every version of Orthanc; `Issues` follows them."""
    return _DEFAULT[level]


def depth(level: Level) -> int:
    """0 for Patient … 3 for Instance."""
    return LEVELS.index(level)


def children_key(level: Level) -> str:
    """What an answer of this level calls the list of IDs below it."""
    return _CHILDREN[level]


def level_of(keyword: str, asked: Level) -> Level:
    """The level at which a tag lives, seen from a find at `asked`.

    A tag outside every list is said to live at Series when it is asked there (Orthanc reads one instance of each
    series) and at Instance otherwise: for a study it would be the value of any one file.
    """
    for level in (asked, *reversed(LEVELS)):
        if keyword in INDEX[level]:
            return level
    if keyword in COMPUTED:
        return COMPUTED[keyword]
    if keyword in _OUTSIDE:
        return _OUTSIDE[keyword]
    return asked if depth(asked) >= depth("Series") else "Series"


def own_index(level: Level, capabilities: Capabilities) -> frozenset[str]:
    """The keywords that this server keeps in its index for this level alone."""
    if not capabilities.main_tags:
        return frozenset(INDEX[level])
    tags = (tag_of(tag) for tag in capabilities.main_tags.get(level, ()))
    return frozenset(keyword_for_tag(tag) for tag in tags if tag is not None) - {""}


def index_of(level: Level, capabilities: Capabilities) -> frozenset[str]:
    """The keywords that this server can match in its index in a find at `level`: its own main tags and its parents'."""
    return frozenset().union(*(own_index(each, capabilities) for each in LEVELS[: depth(level) + 1]))
