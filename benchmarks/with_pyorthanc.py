"""The jobs of all benchmarks, with pyorthanc as its documentation shows; and by hand for who knows Orthanc."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pyorthanc

from benchmarks._stack import stacked

__all__ = [
    "download",
    "series_found",
    "series_posted",
    "series_walked",
    "single",
    "tags",
    "tags_of_series",
    "upload",
    "zipped",
]

_PATIENCE = 600.0  # seconds; with the 5 s that it has by default, a large zip ends in a time-out


def series_walked(url: str, user: str, password: str, *, columns: Sequence[str]) -> pd.DataFrame:
    """From the patients down, as its README goes through an archive."""
    client = pyorthanc.Orthanc(url, user, password)
    rows = {}
    for patient in pyorthanc.find_patients(client):
        for study in patient.studies:
            for series in study.series:
                rows[series.id_] = _row(patient, study, series)
    return _frame(rows)[list(columns)]


def series_found(url: str, user: str, password: str, *, columns: Sequence[str]) -> pd.DataFrame:
    """By `find_series`, and from each series up."""
    client = pyorthanc.Orthanc(url, user, password)
    found = pyorthanc.find_series(client)
    return _frame({each.id_: _row(each.parent_patient, each.parent_study, each) for each in found})[list(columns)]


def series_posted(url: str, user: str, password: str, *, columns: Sequence[str]) -> pd.DataFrame:
    """By hand: the body that Orthanc's own documentation describes, through the raw route."""
    client = pyorthanc.Orthanc(url, user, password)
    found: Any = client.post_tools_find(
        {"Level": "Series", "Query": {}, "Expand": True, "RequestedTags": list(columns)},
    )
    return _frame({each["ID"]: each["RequestedTags"] for each in found})


def tags(
    url: str, user: str, password: str, *, series: Sequence[str], columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Instance by instance."""
    client = pyorthanc.Orthanc(url, user, password)
    rows = {}
    for identifier in series:
        for instance in pyorthanc.Series(identifier, client).instances:
            rows[instance.id_] = _chosen(instance.simplified_tags, columns)
    return _frame(rows)


def tags_of_series(
    url: str, user: str, password: str, *, series: Sequence[str], columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """By hand: one raw route gives a whole series."""
    client = pyorthanc.Orthanc(url, user, password)
    rows = {}
    for identifier in series:
        answer: Any = client.get_series_id_instances_tags(identifier, params={"simplify": True})
        rows |= {instance: _chosen(found, columns) for instance, found in answer.items()}
    return _frame(rows)


def zipped(url: str, user: str, password: str, *, what: Mapping[str, Any]) -> dict[str, Any]:
    """The zip of a series or study, and its files read by pydicom."""
    client = pyorthanc.Orthanc(url, user, password, timeout=_PATIENCE)
    content = io.BytesIO(getattr(pyorthanc, what["level"])(what["id"], client).get_zip())

    def unpacked() -> Iterator[pydicom.Dataset]:
        with zipfile.ZipFile(content) as archive:
            for name in archive.namelist():
                yield pydicom.dcmread(io.BytesIO(archive.read(name)))

    return stacked(unpacked())


def single(url: str, user: str, password: str, *, what: Mapping[str, Any]) -> dict[str, Any]:
    """Instance by instance, as pydicom's Datasets."""
    client = pyorthanc.Orthanc(url, user, password, timeout=_PATIENCE)
    resource = getattr(pyorthanc, what["level"])(what["id"], client)
    series = [resource] if what["level"] == "Series" else resource.series
    return stacked(instance.get_pydicom() for each in series for instance in each.instances)


def upload(url: str, user: str, password: str, *, what: Mapping[str, Any]) -> int:
    """A folder."""
    return len(pyorthanc.upload(pyorthanc.Orthanc(url, user, password, timeout=_PATIENCE), what["folder"]))


def download(url: str, user: str, password: str, *, what: Mapping[str, Any], into: str) -> int:
    """All patients, by `retrieve_and_write_patients`; how many files that gave."""
    client = pyorthanc.Orthanc(url, user, password, timeout=_PATIENCE)
    pyorthanc.retrieve_and_write_patients(pyorthanc.find_patients(client), into)
    return sum(each.is_file() for each in Path(into).rglob("*"))


def saved(url: str, user: str, password: str, *, what: Mapping[str, Any], into: str) -> int:
    """A file of `np.savez` a series, by its UID, slices in the order of their positions; how many series."""
    client = pyorthanc.Orthanc(url, user, password, timeout=_PATIENCE)
    Path(into).mkdir()
    for uid in what["series"]:
        (series,) = pyorthanc.find_series(client, {"SeriesInstanceUID": uid})
        datasets = [instance.get_pydicom() for instance in series.instances]
        datasets.sort(key=lambda dataset: float(dataset.ImagePositionPatient[2]))
        volume = np.stack([dataset.pixel_array for dataset in datasets])
        np.savez(Path(into) / f"{uid}.npz", volume=volume, spacing=[float(x) for x in datasets[0].PixelSpacing])
    return len(list(Path(into).iterdir()))


def _row(patient: Any, study: Any, series: Any) -> dict[str, Any]:
    return {
        "PatientID": patient.patient_id,
        "StudyDate": study.main_dicom_tags["StudyDate"],
        "Modality": series.modality,
        "SeriesDescription": series.description,
        "BodyPartExamined": series.body_part_examined,
        "Manufacturer": series.manufacturer,
        "NumberOfSeriesRelatedInstances": len(series.instances),
    }


def _chosen(found: dict[str, Any], columns: Sequence[str] | None) -> dict[str, Any]:
    return found if columns is None else {name: found.get(name) for name in columns}


def _frame(rows: dict[str, dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows.values()), index=list(rows))
