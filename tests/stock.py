"""A server with files on it, in one request: what most tests begin with, and few are about."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from functools import cache
from typing import Any

from dicom_files import as_file
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RawDataStorage

import orthanc_research as ores

__all__ = ["put", "small", "stock"]


def stock(orthanc: ores.Orthanc, *, slices: int, patients: int = 3, studies: int = 2, size: int = 16) -> list[str]:
    """Put `samples.cohort` on a server; the IDs of its instances, in the cohort's order."""
    return _put(orthanc, *_cohort(patients, studies, slices, size))


def put(orthanc: ores.Orthanc, datasets: Iterable[Dataset]) -> list[str]:
    """Put these on a server, none of which it has; their IDs, in their order."""
    return _put(orthanc, *_zipped(datasets))


def small(number: int, **values: Any) -> Dataset:
    """An instance without pixels, of its own patient, study and series, with these values."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = RawDataStorage
    made.SpecificCharacterSet = "ISO_IR 192"
    made.PatientID, made.PatientName = f"ODD{number:03d}", f"NOBODY{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = f"1.9.{number}", f"1.9.{number}.1"
    made.SOPInstanceUID = f"1.9.{number}.1.1"
    made.file_meta.MediaStorageSOPInstanceUID = UID(made.SOPInstanceUID)
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def _put(orthanc: ores.Orthanc, zipped: bytes, count: int) -> list[str]:
    answers = orthanc.rest.instances.upload_zip(zipped)
    assert [answer["Status"] for answer in answers] == ["Success"] * count
    return [answer["ID"] for answer in answers]


@cache
def _cohort(patients: int, studies: int, slices: int, size: int) -> tuple[bytes, int]:
    return _zipped(ores.samples.cohort(patients=patients, studies=studies, slices=slices, size=size))


def _zipped(datasets: Iterable[Dataset]) -> tuple[bytes, int]:
    buffer, count = io.BytesIO(), 0
    with zipfile.ZipFile(buffer, "w") as file:
        for dataset in datasets:
            file.writestr(f"{count:05d}.dcm", as_file(dataset))
            count += 1
    return buffer.getvalue(), count
