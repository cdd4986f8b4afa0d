"""Small synthetic DICOM, made here and of nobody: one slice, a series, enhanced multi-frame, dose, mosaics.

A case is a list of Datasets with pixels in them. Each test says what must hold of its case; nothing here judges.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
PT = "1.2.840.10008.5.1.4.1.1.128"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
ENHANCED_PET = "1.2.840.10008.5.1.4.1.1.130"
LEGACY_CT = "1.2.840.10008.5.1.4.1.1.2.2"
NM = "1.2.840.10008.5.1.4.1.1.20"
XA = "1.2.840.10008.5.1.4.1.1.12.1"
US_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"
RTDOSE = "1.2.840.10008.5.1.4.1.1.481.2"
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"

AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def make_slice(k: int = 0, array: npt.NDArray[Any] | None = None, **changes: Any) -> Dataset:
    """One CT slice, number `k` of its series, 2.5 mm above number k - 1; `changes` by keyword, None removes an element.

    `array` is (row, column) or (frame, row, column), with a last axis of 3 for RGB; its dtype decides BitsAllocated and
    PixelRepresentation. A value pixel is its slice number times 100 plus its place when there is no `array`.
    """
    if array is None:
        array = (np.arange(6 * 5).reshape(6, 5) + 100 * k).astype(np.int16)
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = CT, f"1.2.826.0.1.9.1.{k + 1}"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.826.0.1.9.7", "1.2.826.0.1.9.8"
    made.FrameOfReferenceUID = "1.2.826.0.1.9.9"
    made.PatientID, made.PatientName = "SYN-CASE", "SYN^CASE"
    made.Modality, made.ImageType, made.InstanceNumber = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1
    made.ImagePositionPatient, made.ImageOrientationPatient = [-10.0, 20.0, 2.5 * k], AXIAL
    made.PixelSpacing, made.SliceThickness = [0.8, 0.7], 5.0
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    describe_pixels(made, array)
    for keyword, value in changes.items():
        if value is None:
            made.pop(keyword, None)
        else:
            setattr(made, keyword, value)
    made.file_meta.MediaStorageSOPClassUID = made.get("SOPClassUID", CT)
    made.file_meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID", "1.2")
    return made


def describe_pixels(made: Dataset, array: npt.NDArray[Any]) -> None:
    """The pixel module and PixelData (or Float / DoubleFloat) of an array."""
    colour = array.ndim > 2 and array.shape[-1] == 3
    plane = array.shape[-3:-1] if colour else array.shape[-2:]
    made.Rows, made.Columns = plane
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    if array.ndim > 2 + colour:
        made.NumberOfFrames = len(array)
    bits = array.dtype.itemsize * 8
    made.BitsAllocated = bits
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
    if array.dtype.kind == "f":
        setattr(made, "FloatPixelData" if bits == 32 else "DoubleFloatPixelData", little.tobytes())
        return
    made.BitsStored, made.HighBit = bits, bits - 1
    made.PixelRepresentation = int(array.dtype.kind == "i")
    data = little.tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OB" if bits == 8 else "OW"


def make_series(count: int = 4, **changes: Any) -> list[Dataset]:
    """`count` slices with the same changes, but `Each(...)` gives every slice its own value."""
    made = []
    for k in range(count):
        own = {name: value.values[k] if isinstance(value, Each) else value for name, value in changes.items()}
        made.append(make_slice(k, **own))
    return made


class Each:
    """A value of its own for every slice."""

    def __init__(self, *values: Any) -> None:
        self.values = values


def item(**elements: Any) -> Dataset:
    """A sequence item."""
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def sequence(**elements: Any) -> Sequence:
    """A sequence of one item."""
    return Sequence([item(**elements)])


def as_short_tags(dataset: Dataset) -> dict[str, Any]:
    """What Orthanc's `tags?short` makes of a Dataset: text, lists for sequences, null for binary."""
    made: dict[str, Any] = {}
    for element in dataset:
        key = f"{element.tag.group:04x},{element.tag.element:04x}"
        value = element.value
        if element.VR == "SQ":
            made[key] = [as_short_tags(each) for each in value]
        elif isinstance(value, bytes):
            made[key] = None
        elif value is None:
            made[key] = ""
        elif element.VR == "AT":
            tags = value if element.VM > 1 else [value]
            made[key] = "\\".join(f"{int(tag) >> 16:04x},{int(tag) & 0xFFFF:04x}" for tag in tags)
        else:
            parts = value if element.VM > 1 else [value]
            made[key] = "\\".join("" if part is None else str(part) for part in parts)
    return made


# -- many frames in one file ------------------------------------------------------------------------------------------


def make_enhanced(
    array: npt.NDArray[Any],
    positions: list[list[float]],
    *,
    own: dict[str, list[Any]] | None = None,
    shared: dict[str, Any] | None = None,
    **changes: Any,
) -> Dataset:
    """An enhanced CT (or what `changes` say): (frame, row, column) pixels at these positions.

    `own` adds functional groups frame by frame, `shared` shared ones: keyword of the sequence → its one item.
    """
    made = make_slice(0, array, SOPClassUID=ENHANCED_CT)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(made, keyword)
    del made.RescaleSlope, made.RescaleIntercept
    groups = {
        "PlaneOrientationSequence": item(ImageOrientationPatient=AXIAL),
        "PixelMeasuresSequence": item(PixelSpacing=[0.8, 0.7], SliceThickness=5.0),
        "PixelValueTransformationSequence": item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU"),
        **(shared or {}),
    }
    made.SharedFunctionalGroupsSequence = [_group({name: value for name, value in groups.items() if value is not None})]
    made.NumberOfFrames = len(array)
    made.PerFrameFunctionalGroupsSequence = [
        _group(
            {
                "PlanePositionSequence": item(ImagePositionPatient=position),
                **{name: values[k] for name, values in (own or {}).items()},
            }
        )
        for k, position in enumerate(positions)
    ]
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def _group(sequences: dict[str, Dataset]) -> Dataset:
    return item(**{name: Sequence([value]) for name, value in sequences.items()})


def columns_of(count: int, gap: float = 2.5) -> list[list[float]]:
    """So many positions, `gap` mm apart."""
    return [[-10.0, 20.0, gap * k] for k in range(count)]


def make_dose(offsets: list[float], **changes: Any) -> Dataset:
    """An RT dose of one frame for each offset (PS3.3 C.8.8.3)."""
    array = (np.arange(len(offsets) * 20).reshape(len(offsets), 4, 5) * 1000).astype(np.uint32)
    made = make_slice(0, array, SOPClassUID=RTDOSE, Modality="RTDOSE", ImageType=None, RescaleSlope=None)
    del made.RescaleIntercept
    made.FrameIncrementPointer = 0x3004000C
    made.GridFrameOffsetVector, made.DoseUnits, made.DoseGridScaling = offsets, "GY", "1.25e-4"
    made.ImagePositionPatient = [5.0, 6.0, 70.0]
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return made


def make_nuclear(count: int = 4, gap: float = 2.5, **changes: Any) -> Dataset:
    """A reconstructed nuclear medicine volume: place in Detector Information, slices by SliceVector."""
    array = (np.arange(count * 20).reshape(count, 4, 5) * 10).astype(np.uint16)
    kind = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    made = make_slice(0, array, SOPClassUID=NM, Modality="NM", ImageType=kind, SpacingBetweenSlices=gap)
    del made.ImagePositionPatient, made.ImageOrientationPatient, made.RescaleSlope, made.RescaleIntercept
    made.DetectorInformationSequence = sequence(ImagePositionPatient=[1.0, 2.0, 3.0], ImageOrientationPatient=AXIAL)
    made.FrameIncrementPointer, made.SliceVector = 0x00540080, list(range(1, count + 1))
    for keyword, value in changes.items():
        if value is None:
            made.pop(keyword, None)
        else:
            setattr(made, keyword, value)
    return made


# -- mosaics ----------------------------------------------------------------------------------------------------------


def csa_header(**elements: list[str]) -> bytes:
    """A Siemens CSA header of the second kind with these elements, each item as text."""
    made = b"SV10\4\3\2\1" + struct.pack("<II", len(elements), 77)
    for name, values in elements.items():
        made += struct.pack("<64si4siii", name.encode(), len(values), b"FD", 4, len(values), 77)
        for value in values:
            data = value.encode() + b"\0"
            made += struct.pack("<4i", len(data), len(data), 77, len(data)) + data + b"\0" * (-len(data) % 4)
    return made


def make_mosaic(count: int = 5, *, normal: float = 1.0, csa: bytes | None = None, **changes: Any) -> Dataset:
    """A Siemens mosaic of `count` axial slices of 4 x 3, 2.5 mm apart, first one at (-10, 20, 0); slice k is all k."""
    across = int(np.ceil(np.sqrt(count)))
    array = np.zeros((across * 4, across * 3), dtype=np.uint16)
    for k in range(count):
        down, right = divmod(k, across)
        array[down * 4 : down * 4 + 4, right * 3 : right * 3 + 3] = k + 1
    corner = [-10.0 - (across - 1) * 3 / 2 * 0.7, 20.0 - (across - 1) * 4 / 2 * 0.8, 0.0]
    kind = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    made = make_slice(0, array, SOPClassUID=MR, Modality="MR", ImageType=kind, ImagePositionPatient=corner)
    made.SpacingBetweenSlices = 2.5
    del made.RescaleSlope, made.RescaleIntercept
    mr = made.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    mr.add_new(0x0A, "US", count)
    if csa is None:
        csa = csa_header(NumberOfImagesInMosaic=[str(count)], SliceNormalVector=["0.0", "0.0", f"{normal:.8f}"])
    made.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa)
    for keyword, value in changes.items():
        if value is None:
            made.pop(keyword, None)
        else:
            setattr(made, keyword, value)
    return made
