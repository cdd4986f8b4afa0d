"""Which columns tell who somebody is."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.datadict import dictionary_VR, tag_for_keyword

__all__ = ["identifying"]

# What tells who somebody is, beside names (VR PN).
_IDENTIFYING = frozenset(
    (
        "PatientID",
        "IssuerOfPatientID",
        "OtherPatientIDs",
        "PatientBirthDate",
        "PatientBirthTime",
        "PatientAddress",
        "PatientTelephoneNumbers",
        "PatientTelecomInformation",
        "MedicalRecordLocator",
        "InsurancePlanIdentification",
        "AccessionNumber",
        "StudyID",
        "AdmissionID",
        "ServiceEpisodeID",
        "RequestedProcedureID",
        "PerformedProcedureStepID",
        "PlacerOrderNumberImagingServiceRequest",
        "FillerOrderNumberImagingServiceRequest",
        "InstitutionName",
        "InstitutionAddress",
        "StationName",
        "DeviceSerialNumber",
        "PatientComments",
    )
)


def identifying(names: Sequence[str]) -> tuple[str, ...]:
    """Those of these columns that tell who somebody is."""

    def tells(name: str) -> bool:
        tag = tag_for_keyword(name)
        return name in _IDENTIFYING or (tag is not None and dictionary_VR(tag) == "PN")

    return tuple(name for name in names if tells(name))
