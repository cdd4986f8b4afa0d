"""Small instances that the tests of the engine make with pydicom, and what became of them."""

from __future__ import annotations

import io
from typing import Any

from dicom_files import as_file
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from orthanc_research.deid import Deidentified, Key, Profile, Subject, deidentify

KEY = Key(bytes(range(32)))
SUBJECT = Subject("P001", -1000)
NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
ROOT = "1.2.826.0.1.3680043.8.498."


def made(syntax: str = ExplicitVRLittleEndian, **values: Any) -> Dataset:
    """An instance with what every instance has, and the given attributes."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, ROOT + "1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = ROOT + "2", ROOT + "3"
    dataset.PatientName, dataset.PatientID = "Wu^Li", "4711"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset


def result(dataset: Dataset | bytes, profile: Profile | None = None, subject: Subject = SUBJECT) -> Deidentified:
    content = dataset if isinstance(dataset, bytes) else as_file(dataset)
    return deidentify(content, profile or Profile(), KEY, subject)


def done(dataset: Dataset | bytes, profile: Profile | None = None, subject: Subject = SUBJECT) -> Dataset:
    """The output as pydicom reads it, every element of it converted."""
    found = dcmread(io.BytesIO(result(dataset, profile, subject).content))
    for _ in found.iterall():
        pass
    return found


def item(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset
