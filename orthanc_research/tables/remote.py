"""C-FIND as data: criteria → return keys and matching keys, answers → a typed frame.

A frame of remote answers is indexed by its level's UID (PatientID for patients), never by Orthanc IDs: what it names is
not here, and verbs for local resources refuse it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pandas as pd
from pydicom.datadict import dictionary_VR, tag_for_keyword

from orthanc_research.errors import QueryError
from orthanc_research.tables.columns import Problems, column_of, typed
from orthanc_research.tables.criteria import parse_criteria
from orthanc_research.tables.schema import Level, column_type, unknown_keyword

__all__ = [
    "ANNOUNCED",
    "KEYS",
    "UID_OF",
    "RemotePlan",
    "askable",
    "key_of",
    "plan_remote",
    "remote_frame",
    "with_here",
]

UID_OF: Mapping[str, str] = MappingProxyType(
    {
        "Patient": "PatientID",
        "Study": "StudyInstanceUID",
        "Series": "SeriesInstanceUID",
        "Instance": "SOPInstanceUID",
    }
)
# The unique keys that name a resource in C-MOVE and C-GET, level by level (PS3.4 C.6.1.1 for patients, C.6.2.1 below).
KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Patient": ("PatientID",),
        "Study": ("StudyInstanceUID",),
        "Series": ("StudyInstanceUID", "SeriesInstanceUID"),
        "Instance": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
    }
)
# How many instances a remote archive says that a resource has (optional keys: not every archive answers them).
ANNOUNCED: Mapping[str, str] = MappingProxyType(
    {
        "Patient": "NumberOfPatientRelatedInstances",
        "Study": "NumberOfStudyRelatedInstances",
        "Series": "NumberOfSeriesRelatedInstances",
    }
)
_PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyDate", "StudyTime", "AccessionNumber", "StudyDescription")
_COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Patient": (*_PATIENT[1:], "NumberOfPatientRelatedStudies", "NumberOfPatientRelatedInstances"),
        "Study": (
            *_PATIENT,
            *_STUDY,
            "StudyID",
            "ReferringPhysicianName",
            "ModalitiesInStudy",
            "NumberOfStudyRelatedSeries",
            "NumberOfStudyRelatedInstances",
        ),
        "Series": (
            "PatientID",
            "StudyInstanceUID",
            "Modality",
            "SeriesNumber",
            "SeriesDescription",
            "SeriesDate",
            "BodyPartExamined",
            "ProtocolName",
            "NumberOfSeriesRelatedInstances",
        ),
        "Instance": ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber", "SOPClassUID"),
    }
)


@dataclass(frozen=True, slots=True)
class RemotePlan:
    """A C-FIND: `query` has the matching keys, and the return keys with empty text. `empty`: nothing can match."""

    level: Level
    query: Mapping[str, str] = field(repr=False)
    columns: tuple[str, ...]
    empty: bool = False


def plan_remote(
    level: Level, criteria: Mapping[str, Any], columns: Sequence[str] | None, match: Mapping[str, Any] | None
) -> RemotePlan:
    """Check a C-FIND before it is sent; `QueryError` for what makes no sense, or what DICOM cannot ask.

    Criteria are as for a local find. Lists are for UIDs only (PS3.4 C.2.2.2.2): an archive would take another list for
    one odd text, and find nothing. How letters' case is matched is the archive's affair.
    """
    query = parse_criteria(level, criteria, match)
    for name, text in query.tags.items():
        tag = tag_for_keyword(name)
        if "\\" in text and (tag is None or dictionary_VR(tag) != "UI"):
            raise QueryError(f"{name}: DICOM has no lists but of UIDs; ask once for each value.")
    names = _COLUMNS[level] if columns is None else tuple(columns)
    for name in names:
        if tag_for_keyword(name) is None:
            raise unknown_keyword(str(name))
        if dictionary_VR(name) == "SQ":
            raise QueryError(f"{name} is a sequence; a remote find has columns of single values.")
    uid = UID_OF[level]
    shown = tuple(name for name in dict.fromkeys(names) if name != uid)
    asked = dict.fromkeys((*shown, uid, *KEYS[level]), "")
    return RemotePlan(level, MappingProxyType({**asked, **query.tags}), shown, query.empty)


def remote_frame(plan: RemotePlan, answers: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Answers in short form ("gggg,eeee" → text) as a typed frame, indexed by the level's UID, in the archive's order.

    The last column, `Issues`, names what does not parse, and answers without their UID.
    """
    problems: Problems = {}
    uid = UID_OF[plan.level]
    columns = {
        name: column_of(name, [answer.get(key_of(name)) for answer in answers], problems) for name in plan.columns
    }
    index = column_of(uid, [answer.get(key_of(uid)) for answer in answers], problems)
    for row, missing in enumerate(pd.isna(index)):
        if missing:
            problems.setdefault(row, []).append(f"{uid}: the archive did not say it")
    issues = ["; ".join(problems[row]) if row in problems else None for row in range(len(answers))]
    return pd.DataFrame({**columns, "Issues": typed(column_type("Issues"), issues)}, index=pd.Index(index, name=uid))


def askable(level: Level, frame: pd.DataFrame) -> list[str]:
    """The UIDs (PatientIDs) of remote answers that a find can be asked for without matching anything else."""
    asked = []
    for value in dict.fromkeys(frame.index):
        with suppress(QueryError):
            if isinstance(value, str) and not set(value) & set("*?\\"):
                parse_criteria(level, {UID_OF[level]: value})
                asked.append(value)
    return asked


def with_here(level: Level, frame: pd.DataFrame, local: pd.DataFrame) -> pd.DataFrame:
    """Remote answers with `InstancesHere` and `Here`, from a local find of the `askable` with their announced number.

    `Here` is "yes" (as many instances as the archive announces), "part", "some" (the archive announces none), "no", or
    NA for what cannot be asked for. It is a number: which instances they are, a retrieve finds out.
    """
    counts = local.groupby(UID_OF[level])[ANNOUNCED[level]].max()
    known = set(askable(level, frame))
    here = [counts.get(uid, 0) if uid in known else None for uid in frame.index]
    column = ANNOUNCED[level]
    said = list(frame[column]) if column in frame.columns else [None] * len(frame)
    words = [_here(count, announced) for count, announced in zip(here, said, strict=True)]
    return frame.assign(InstancesHere=pd.array(here, dtype="Int64"), Here=typed(column_type("Issues"), words))


def _here(count: int | None, announced: Any) -> str | None:
    if not count:
        return None if count is None else "no"
    if pd.isna(announced) or announced <= 0:
        return "some"
    return "yes" if count >= announced else "part"


def key_of(keyword: str) -> str:
    """The key of a keyword in Orthanc's short form: "gggg,eeee"."""
    tag = tag_for_keyword(keyword) or 0
    return f"{tag >> 16:04x},{tag & 0xFFFF:04x}"
