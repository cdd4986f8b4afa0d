"""The jobs of all benchmarks, with orthanc-api-client."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom
from orthanc_api_client import OrthancApiClient

from benchmarks._stack import stacked

__all__ = ["all_tags", "download", "series", "single", "tags", "upload"]


def series(url: str, user: str, password: str, *, columns: Sequence[str]) -> pd.DataFrame:
    """The studies with one find, which brings their patients' tags as well; then series by series."""
    client = OrthancApiClient(url, user=user, pwd=password)
    rows = {}
    for study in client.studies.find(query={}):
        for each in study.series:
            rows[each.orthanc_id] = {
                "PatientID": study.patient_main_dicom_tags.get("PatientID"),
                "StudyDate": study.main_dicom_tags.get("StudyDate"),
                "Modality": each.main_dicom_tags.get("Modality"),
                "SeriesDescription": each.main_dicom_tags.get("SeriesDescription"),
                "BodyPartExamined": each.main_dicom_tags.get("BodyPartExamined"),
                "Manufacturer": each.main_dicom_tags.get("Manufacturer"),
                "NumberOfSeriesRelatedInstances": len(each.info.instances_orthanc_ids),
            }
    return _frame(rows)[list(columns)]


def tags(url: str, user: str, password: str, *, series: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Instance by instance."""
    client = OrthancApiClient(url, user=user, pwd=password)
    rows = {}
    for identifier in series:
        for instance in client.series.get(identifier).instances:
            found = instance.tags
            rows[instance.orthanc_id] = {name: found.get(name) for name in columns}
    return _frame(rows)


def all_tags(url: str, user: str, password: str, *, series: Sequence[str]) -> pd.DataFrame:
    """Instance by instance; its own `Tags` cannot be gone through, so the JSON is asked for."""
    client = OrthancApiClient(url, user=user, pwd=password)
    rows: dict[str, Any] = {}
    for identifier in series:
        for instance in client.series.get(identifier).instances:
            rows[instance.orthanc_id] = client.get_json(f"instances/{instance.orthanc_id}/simplified-tags")
    return _frame(rows)


def single(url: str, user: str, password: str, *, what: Mapping[str, Any]) -> dict[str, Any]:
    """The files of a series, one by one."""
    client = OrthancApiClient(url, user=user, pwd=password)
    instances = client.series.get(what["id"]).instances
    files = (client.instances.get_file(instance.orthanc_id) for instance in instances)
    return stacked(pydicom.dcmread(io.BytesIO(file)) for file in files)


def upload(url: str, user: str, password: str, *, what: Mapping[str, Any]) -> int:
    """A folder."""
    return len(OrthancApiClient(url, user=user, pwd=password).upload_folder(what["folder"]))


def download(url: str, user: str, password: str, *, what: Mapping[str, Any], into: str) -> int:
    """Study by study, into the one folder that it writes to."""
    client = OrthancApiClient(url, user=user, pwd=password)
    Path(into).mkdir()
    return sum(len(client.studies.download_instances(study, into)) for study in client.studies.get_all_ids())


def _frame(rows: dict[str, dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows.values()), index=list(rows))
