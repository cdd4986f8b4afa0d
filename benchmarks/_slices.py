"""CT series of 512² signed 16 bit slices, each with noise of its own, since that is what a zip has to work on.

An image is one of `_data`'s MR images, with the acquisition of a CT for that of an MR: some 110 elements, some of them
private. Stored values are HU (RescaleIntercept 0), so that who applies slope and intercept has the same values as who
does not.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, JPEG2000Lossless

from benchmarks import _data

__all__ = ["ct_series", "series_uid", "write"]

_OF_CT: dict[str, Any] = {
    "SOPClassUID": CTImageStorage,
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "HELIX"],
    "Modality": "CT",
    "ManufacturerModelName": "Synthetic 128",
    "StudyDescription": "CT chest",
    "SeriesDescription": "Chest 1.2 mm",
    "BodyPartExamined": "CHEST",
    "ProtocolName": "chest_helical",
    "RequestedProcedureDescription": "CT Chest without contrast",
    "PerformedProcedureStepDescription": "CT Chest",
    "ScanOptions": "HELIX",
    "SliceThickness": "1.2",
    "KVP": "120",
    "DeviceSerialNumber": "00000",
    "SoftwareVersions": "syn CT 1",
    "DataCollectionDiameter": "500",
    "ReconstructionDiameter": "350",
    "DistanceSourceToDetector": "1085.6",
    "DistanceSourceToPatient": "595",
    "GantryDetectorTilt": "0",
    "TableHeight": "154.5",
    "RotationDirection": "CW",
    "ExposureTime": "500",
    "XRayTubeCurrent": "213",
    "Exposure": "106",
    "FilterType": "FLAT",
    "GeneratorPower": "32",
    "FocalSpots": ["0.9", "0.9"],
    "ConvolutionKernel": "FC08",
    "RevolutionTime": 0.5,
    "SingleCollimationWidth": 0.6,
    "TotalCollimationWidth": 38.4,
    "TableSpeed": 92.2,
    "TableFeedPerRotation": 46.1,
    "SpiralPitchFactor": 1.2,
    "DataCollectionCenterPatient": [0.0, 0.0, 0.0],
    "ReconstructionTargetCenterPatient": [0.0, 0.0, 0.0],
    "ExposureModulationType": "XYZ_EC",
    "CTDIvol": 7.21,
    "PatientPosition": "HFS",
    "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 1,
    "RescaleIntercept": "0",
    "RescaleSlope": "1",
    "RescaleType": "HU",
}


def ct_series(n: int, count: int, *, pixels: int, study: int) -> Iterator[Dataset]:
    """The slices of the n-th series, uncompressed, in the study that the series `study` has."""
    study_uid = dcmread(io.BytesIO(next(_data.series(study, 1)))).StudyInstanceUID
    for k, file in enumerate(_data.series(n, count)):
        dataset = dcmread(io.BytesIO(file))
        for element in list(dataset.group_dataset(0x0018)):  # how it was acquired
            del dataset[element.tag]
        for keyword, value in _OF_CT.items():
            setattr(dataset, keyword, value)
        dataset[0x0019, 0x0010].value = "SYNTHETIC CT HEADER"
        dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.StudyInstanceUID = study_uid
        dataset.Rows = dataset.Columns = pixels
        dataset.PixelSpacing = [f"{350 / pixels:.6f}"] * 2
        image = _image(n, k, pixels)
        # The two are signed in a CT, and are read as what they were in the MR otherwise.
        dataset.add_new("SmallestImagePixelValue", "SS", int(image.min()))
        dataset.add_new("LargestImagePixelValue", "SS", int(image.max()))
        dataset.PixelData = image.tobytes()
        yield dataset


def series_uid(n: int) -> str:
    """The SeriesInstanceUID of the n-th series."""
    return str(dcmread(io.BytesIO(next(_data.series(n, 1)))).SeriesInstanceUID)


def write(folder: Path, n: int, count: int, *, pixels: int, study: int, j2k: bool = False) -> int:
    """Write a series, as JPEG 2000 without loss if `j2k`, into a new folder; the bytes of its files."""
    folder.mkdir()
    size = 0
    for k, dataset in enumerate(ct_series(n, count, pixels=pixels, study=study)):
        if j2k:
            dataset.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
        path = folder / f"{k:04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        size += path.stat().st_size
    return size


def _image(n: int, k: int, pixels: int) -> npt.NDArray[np.int16]:
    """A chest as far as a codec can see, and noise of 20 HU, a quarter of it in the air."""
    body, noise = _body(pixels)
    noise = noise * np.random.default_rng((n, k)).standard_normal((pixels, pixels), dtype=np.float32)
    image: npt.NDArray[np.int16] = np.rint(body + noise).astype("<i2")
    return image


@cache
def _body(pixels: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """HU, and the standard deviation of their noise."""
    row, column = np.mgrid[-1 : 1 : pixels * 1j, -1 : 1 : pixels * 1j].astype(np.float32)
    hu = np.full((pixels, pixels), -1000, dtype=np.float32)
    hu[(row / 0.7) ** 2 + (column / 0.95) ** 2 < 1] = 40
    for side in (-0.45, 0.45):
        hu[(row / 0.5) ** 2 + ((column - side) / 0.35) ** 2 < 1] = -850
    hu[((row - 0.5) / 0.12) ** 2 + (column / 0.12) ** 2 < 1] = 400
    return hu, np.where(hu > -1000, np.float32(20), np.float32(5))
