"""Which columns tell who somebody is."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydicom._dicom_dict import DicomDictionary

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


# By VR: keywords, without case.
_KEYWORDS = {
    vr: {each[4].lower() for each in DicomDictionary.values() if each[0] == vr} for vr in ("PN", "DA", "DT", "UI")
}
_TELLING = _KEYWORDS["PN"] | {name.lower() for name in _IDENTIFYING}
_TRACED = _TELLING | _KEYWORDS["DA"] | _KEYWORDS["DT"] | _KEYWORDS["UI"]


def identifying(names: Sequence[str], *, traced: bool = False) -> tuple[str, ...]:
    """Those of these columns that tell who somebody is, also as patient_id or "Patient ID".

    With `traced`, those too by which somebody is found again in the source: days and UIDs.
    """
    telling = _TRACED if traced else _TELLING
    return tuple(name for name in names if re.sub(r"[^a-z0-9]", "", name.lower()) in telling)
