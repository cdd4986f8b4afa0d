"""What a request says about new values: one body for anonymize and modify of anything, one for split and merge.

The sources stay unless a caller says otherwise, and Permissive never goes together with their deletion: Orthanc would
delete the source of an instance that failed and report success.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError
from orthanc_research.rest._submission import Submission, one_of, submission

__all__ = ["DICOM_VERSIONS", "DicomVersion", "anonymization", "changes", "job", "transcoding"]

Json = dict[str, Any]
Needs = tuple[Feature, ...]

DicomVersion = Literal["2008", "2017c", "2021b", "2023b"]
DICOM_VERSIONS: tuple[DicomVersion, ...] = get_args(DicomVersion)

_UID = re.compile(r"\d+(\.\d+)+")


def anonymization(
    *,
    replace: Mapping[str, Any] | None,
    keep: Sequence[str],
    remove: Sequence[str],
    keep_private_tags: bool,
    dicom_version: str | None,
    private_creator: str | None = None,
    force: bool,
) -> tuple[Json, Needs]:
    """Fields of every anonymization; `QueryError` for a profile that no version has."""
    body: Json = {**changes(replace, keep, remove, private_creator, force), "KeepPrivateTags": keep_private_tags}
    if dicom_version is None:
        return body, ()
    one_of(dicom_version, DICOM_VERSIONS, "dicom_version")
    return {**body, "DicomVersion": dicom_version}, ("profile-2023b",) if dicom_version == "2023b" else ()


def changes(
    replace: Mapping[str, Any] | None,
    keep: Sequence[str],
    remove: Sequence[str],
    private_creator: str | None,
    force: bool,
) -> Json:
    """Fields that anonymize and modify have in common; `QueryError` for one tag given as a list of letters."""
    for name, tags in (("keep", keep), ("remove", remove)):
        if isinstance(tags, str):
            raise QueryError(f"{name} is a list of tags: {name}=[{tags!r}].")
    body: Json = {"Replace": dict(replace or {}), "Keep": list(keep), "Remove": list(remove), "Force": force}
    if private_creator is not None:
        body["PrivateCreator"] = private_creator
    return body


def transcoding(syntax: str | None, quality: int | None) -> tuple[Json, Needs]:
    """Fields that ask the server to encode again; `QueryError` for what is no transfer syntax UID."""
    if syntax is None:
        if quality is not None:
            raise QueryError("lossy_quality belongs to transcode.")
        return {}, ()
    if not _UID.fullmatch(syntax):
        raise QueryError("transcode is the UID of a transfer syntax, as 1.2.840.10008.1.2.1.")
    if quality is None:
        return {"Transcode": syntax}, ()
    if not 1 <= quality <= 100:
        raise QueryError("lossy_quality is 1 to 100.")
    return {"Transcode": syntax, "LossyQuality": quality}, ("lossy-quality",)


def job(
    *, keep_source: bool, permissive: bool, synchronous: bool, priority: int, user_data: Any
) -> tuple[Json, Submission]:
    """Fields of a job that may delete its sources; `QueryError` when it could delete those of what failed."""
    if permissive and not keep_source:
        raise QueryError("permissive=True with keep_source=False would delete the sources of instances that failed.")
    sent = submission(synchronous=synchronous, priority=priority, permissive=permissive, user_data=user_data)
    return {"KeepSource": keep_source, **sent.fields}, sent
