"""Many small MR images, cheaply: one file is made by pydicom, and every other one is that with some bytes changed.

The n-th series belongs to study n // 2 of patient n // 4. An image is 4.5 kB and has 103 elements, as a scanner writes
them: codes, numbers, sequences, private ones, and what differs from slice to slice.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from orthanc_research import Orthanc
from orthanc_research.parallel import thread_map

__all__ = ["fill", "series"]

_PIXELS = 32
_ZIP = 500  # instances

# What the bytes of the mould are found by: values that occur nowhere else in it, as long as those that replace them.
_MARKS = {
    "PatientID": "MARK-0000001",
    "PatientName": "MARK^PATIENT 000001",
    "PatientBirthDate": "18000101",
    "PatientAge": "901Y",
    "StudyInstanceUID": f"2.25.{'112' * 13}",
    "StudyDate": "18000202",
    "StudyTime": "000002.000000",
    "AccessionNumber": "MARK-0000003",
    "StudyDescription": "Mark study 4",
    "SeriesInstanceUID": f"2.25.{'113' * 13}",
    "SeriesNumber": "9005",
    "SeriesDescription": "Mark description 06",
    "BodyPartExamined": "MARKPART",
    "FrameOfReferenceUID": f"2.25.{'114' * 13}",
    "EchoTime": "9007.5",
    "RepetitionTime": "9008.5",
    "SOPInstanceUID": f"2.25.{'115' * 13}",
    "InstanceNumber": "9009",
    "AcquisitionTime": "000010.000000",
    "ContentTime": "000011.000000",
    "ImagePositionPatient": "-100.25\\-110.25\\-9012.25",
    "SliceLocation": "-9013.25",
    "WindowCenter": "9014.0",
    "WindowWidth": "9015.0",
}

_SAME: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"],
    "InstanceCreationDate": "20240102",
    "InstanceCreationTime": "101112.130000",
    "SOPClassUID": MRImageStorage,
    "SeriesDate": "20240102",
    "AcquisitionDate": "20240102",
    "ContentDate": "20240102",
    "SeriesTime": "101500.500000",
    "Modality": "MR",
    "Manufacturer": "SYNTHETIC",
    "InstitutionName": "Synthetic Hospital",
    "InstitutionAddress": "1 Example Street, Example",
    "ReferringPhysicianName": "REFERRING^ROSE",
    "StationName": "MRSYN01",
    "PerformingPhysicianName": "PERFORMING^PAT",
    "OperatorsName": "OPERATOR^OLE",
    "ManufacturerModelName": "Synthetic 3T",
    "PatientSex": "F",
    "PatientWeight": "71.5",
    "PatientSize": "1.72",
    "ScanningSequence": ["GR", "IR"],
    "SequenceVariant": ["SP", "MP"],
    "ScanOptions": ["IR", "PFP"],
    "MRAcquisitionType": "3D",
    "SequenceName": "*tfl3d1_16ns",
    "AngioFlag": "N",
    "SliceThickness": "1.2",
    "InversionTime": "900.0",
    "NumberOfAverages": "1",
    "ImagingFrequency": "123.248312",
    "ImagedNucleus": "1H",
    "EchoNumbers": "1",
    "MagneticFieldStrength": "3",
    "NumberOfPhaseEncodingSteps": "255",
    "EchoTrainLength": "1",
    "PercentSampling": "100",
    "PercentPhaseFieldOfView": "93.75",
    "PixelBandwidth": "240",
    "DeviceSerialNumber": "00000",
    "SoftwareVersions": "syn MR 1",
    "ProtocolName": "t1_mprage_sag_p2_iso",
    "TransmitCoilName": "Body",
    "AcquisitionMatrix": [0, 256, 240, 0],
    "InPlanePhaseEncodingDirection": "ROW",
    "FlipAngle": "9",
    "VariableFlipAngleFlag": "N",
    "SAR": "0.0475",
    "dBdt": "0",
    "PatientPosition": "HFS",
    "StudyID": "1",
    "AcquisitionNumber": "1",
    "ImageOrientationPatient": ["1", "0", "0", "0", "0.99862953", "-0.05233596"],
    "PositionReferenceIndicator": "",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "Rows": _PIXELS,
    "Columns": _PIXELS,
    "PixelSpacing": ["0.9375", "0.9375"],
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "SmallestImagePixelValue": 0,
    "LargestImagePixelValue": 1023,
    "WindowCenterWidthExplanation": "Algo1",
    "RequestingPhysician": "REQUESTING^REX",
    "RequestedProcedureDescription": "MRI Head without contrast",
    "PerformedProcedureStepStartDate": "20240102",
    "PerformedProcedureStepStartTime": "101000.250000",
    "PerformedProcedureStepID": "MR-0001",
    "PerformedProcedureStepDescription": "MRI Head",
}


def series(n: int, count: int) -> Iterator[bytes]:
    """The files of the n-th series."""
    mould, places = _mould()
    patient, study = n // 4, n // 2
    of_series = {
        "PatientID": f"BENCH-{patient:06d}",
        "PatientName": f"BENCH^PATIENT{patient:06d}",
        "PatientBirthDate": f"{1930 + patient % 70}0615",
        "PatientAge": f"{90 - patient % 70:03d}Y",
        "StudyInstanceUID": _uid(1, study),
        "StudyDate": f"{2015 + study % 10}{1 + study % 12:02d}{1 + study % 28:02d}",
        "StudyTime": f"{8 + study % 10:02d}{study % 60:02d}30.000000",
        "AccessionNumber": f"ACC-{study:08d}",
        "StudyDescription": ("MRI head    ", "MRI brain 3T")[study % 2],
        "SeriesInstanceUID": _uid(2, n),
        "SeriesNumber": f"{1 + n % 2:04d}",
        "SeriesDescription": ("t1_mprage_sag_p2_is", "t2_space_sag_p2_iso")[n % 2],
        "BodyPartExamined": ("BRAIN   ", "HEADNECK")[n % 2],
        "FrameOfReferenceUID": _uid(3, study),
        "EchoTime": ("0002.5", "0409.0")[n % 2],
        "RepetitionTime": f"{2000 + n % 400:04d}.0",
    }
    for k in range(count):
        z = k * 1.2 - count * 0.6
        own = {
            "SOPInstanceUID": _uid(4, n, k),
            "InstanceNumber": f"{k + 1:04d}",
            "AcquisitionTime": f"10{k // 60 % 60:02d}{k % 60:02d}.250000",
            "ContentTime": f"11{k // 60 % 60:02d}{k % 60:02d}.750000",
            "ImagePositionPatient": f"-100.25\\-110.25\\{z:+08.2f}",
            "SliceLocation": f"{z:+08.2f}",
            "WindowCenter": f"{300 + k % 100:04d}.0",
            "WindowWidth": f"{700 + k % 100:04d}.0",
        }
        file = bytearray(mould)
        for name, value in (of_series | own).items():
            for at in places[name]:
                file[at : at + len(value)] = value.encode("ascii")
        yield bytes(file)


def fill(orthanc: Orthanc, first: int, last: int, per_series: int, *, workers: int = 2) -> int:
    """Store the series from `first` up to `last`, without it; the number of instances."""

    def upload(packed: bytes) -> int:
        return len(orthanc.rest.post("instances", packed).json())

    zips = _zips(first, last, per_series)
    return sum(outcome.get() for outcome in thread_map(upload, zips, workers=workers, fatal=(Exception,)))


def _zips(first: int, last: int, per_series: int) -> Iterator[bytes]:
    files = ((f"{n}/{k}", file) for n in range(first, last) for k, file in enumerate(series(n, per_series)))
    left = (last - first) * per_series
    while left > 0:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for _ in range(min(_ZIP, left)):
                archive.writestr(*next(files))
        left -= _ZIP
        yield packed.getvalue()


def _uid(kind: int, *numbers: int) -> str:
    """A UID of 44 characters (PS3.5 annex B.2: below 2.25, a number of 128 bits)."""
    return f"2.25.1{kind}{''.join(f'{each:08d}' for each in numbers):>037s}"


@cache
def _mould() -> tuple[bytes, dict[str, list[int]]]:
    """The file, and where in it the values are that differ."""
    dataset = Dataset()
    for keyword, value in (_SAME | _MARKS).items():
        setattr(dataset, keyword, value)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "RPID2", "RADLEX", "MR Head"
    referenced = Dataset()
    referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = MRImageStorage, f"2.25.{'116' * 13}"
    dataset.ProcedureCodeSequence = [code]
    dataset.ReferencedImageSequence = [referenced, referenced]
    block = dataset.private_block(0x0019, "SYNTHETIC MR HEADER", create=True)
    for element, vr, value in ((0x08, "CS", "IMAGE NUM 4"), (0x0C, "IS", "0"), (0x0E, "FD", [0.5, 0.25, 0.125])):
        block.add_new(element, vr, value)
    dataset.PixelData = (np.arange(_PIXELS * _PIXELS, dtype="<u2") % 1024).tobytes()
    dataset["PixelData"].VR = "OW"
    meta: Any = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    mould = buffer.getvalue()
    return mould, {name: _places(mould, mark.encode("ascii")) for name, mark in _MARKS.items()}


def _places(mould: bytes, mark: bytes) -> list[int]:
    places = [at for at in range(len(mould)) if mould.startswith(mark, at)]
    assert places, f"{mark!r} is not in the mould as it is"
    return places
