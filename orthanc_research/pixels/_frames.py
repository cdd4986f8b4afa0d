"""Header → frames: the records that everything after this works on.

A frame is one 2-D image with its place in space. A classic file is one frame. A multi-frame file will be many, each
read from its functional groups (per-frame, then shared, then top level; PS3.3 C.7.6.16); until then it is one record
with `code == "multi-frame"`. Whatever comes after `frames_of` does not know where a frame came from.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from ._codes import Code
from ._header import Header, header_from_dataset, number, numbers, present, text, texts, whole

__all__ = ["EXTRA_AXES", "Frame", "frames_of"]

EXTRA_AXES = ("temporal_position", "b_value", "echo_time", "trigger_time", "acquisition_number")
"""What may tell two slices at one position apart, in the order in which it is asked."""

_FARTHEST = 1e6  # mm; a position or a pixel beyond is a damaged header, and its square would overflow later
_SKEW = 1e-3  # how far from orthonormal an orientation may be; 3-digit cosines of re-written files pass

_NOT_IMAGES = {
    "SEG": "a segmentation",
    "RTSTRUCT": "a set of contours",
    "RTPLAN": "a treatment plan",
    "RTRECORD": "a treatment record",
    "SR": "a report",
    "PR": "a presentation state",
    "KO": "a key object selection",
    "DOC": "a document",
    "ECG": "a waveform",
    "HD": "a waveform",
    "REG": "a registration",
    "FID": "a set of fiducials",
    "RWV": "a value mapping",
    "ANN": "a set of annotations",
}
# By SOP class too (PS3.4 B.5), because Modality is free text for whoever wrote the file.
_NOT_IMAGE_CLASSES = {
    "4.2": "a spectrum",
    "66.4": "a segmentation",
    "66.7": "a segmentation",
    "66.5": "a surface segmentation",
    "481.3": "a set of contours",
    "481.5": "a treatment plan",
    "104.": "a document",
    "88.": "a report",
    "11.": "a presentation state",
    "9.": "a waveform",
}
_STORAGE = "1.2.840.10008.5.1.4.1.1."

_FITTING: dict[str, tuple[str, Container[int | None]]] = {
    "NumberOfFrames": ("0028,0008", (None, 1)),
    "Rows": ("0028,0010", range(1, 65536)),
    "Columns": ("0028,0011", range(1, 65536)),
    "SamplesPerPixel": ("0028,0002", (1, 3, 4)),
    "BitsAllocated": ("0028,0100", (8, 16, 32)),
    "PixelRepresentation": ("0028,0103", (0, 1)),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One 2-D image as its header describes it. Geometry in mm, LPS (PS3.3 C.7.6.2); None is absent or unusable.

    `position` is the centre of the first pixel; `orientation` the direction of growing column index, then of growing
    row index; `spacing` (between rows, between columns). `slope` and `intercept` are NaN when present and not a number.
    `code` is "ok", or why this frame alone can be in no volume, and `reason` says so in a sentence.
    `instance` is Orthanc's ID ("" for a file), `index` the frame's place in its file, from 0.
    """

    sop_uid: str
    instance: str
    index: int
    series_uid: str
    sop_class: str
    modality: str
    image_type: tuple[str, ...]
    instance_number: int | None
    frame_of_reference: str
    transfer_syntax: str
    position: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    pixel_representation: int
    frames_in_file: int
    slope: float | None
    intercept: float | None
    units: str
    modality_lut: bool
    temporal_position: float | None
    b_value: float | None
    echo_time: float | None
    trigger_time: float | None
    acquisition_number: float | None
    code: Code
    reason: str

    @property
    def dtype(self) -> np.dtype[np.generic] | None:
        """The integer type of the stored values, of BitsAllocated and PixelRepresentation alone; None for others."""
        if self.bits_allocated not in (8, 16, 32) or self.pixel_representation not in (0, 1):
            return None
        return np.dtype(f"{'ui'[self.pixel_representation]}{self.bits_allocated // 8}")

    def __repr__(self) -> str:
        return f"<Frame {self.sop_uid}[{self.index}] {self.rows}x{self.columns} {self.code}>"


def frames_of(header: Header | Dataset, instance: str = "") -> list[Frame]:
    """The frames of one instance, from a Dataset or from Orthanc's short tags; never empty, never raises on values."""
    if isinstance(header, Dataset):
        header = header_from_dataset(header)
    code, reason = _verdict(header)
    position, orientation, spacing = _position(header), _orientation(header), _spacing(header)
    return [
        Frame(
            sop_uid=text(header, "0008,0018"),
            instance=instance,
            index=0,
            series_uid=text(header, "0020,000e"),
            sop_class=text(header, "0008,0016"),
            modality=text(header, "0008,0060"),
            image_type=texts(header, "0008,0008"),
            instance_number=_integer(header, "0020,0013"),
            frame_of_reference=text(header, "0020,0052"),
            transfer_syntax=text(header, "0002,0010"),
            position=position,
            orientation=orientation,
            spacing=spacing,
            rows=max(whole(header, "0028,0010") or 0, 0),
            columns=max(whole(header, "0028,0011") or 0, 0),
            samples=max(whole(header, "0028,0002") or 0, 0),
            photometric=text(header, "0028,0004"),
            bits_allocated=max(whole(header, "0028,0100") or 0, 0),
            bits_stored=max(whole(header, "0028,0101") or 0, 0),
            pixel_representation=_or(whole(header, "0028,0103"), -1),
            frames_in_file=_or(whole(header, "0028,0008"), 1),
            slope=number(header, "0028,1053"),
            intercept=number(header, "0028,1052"),
            units=_units(header),
            modality_lut=present(header, "0028,3000"),
            temporal_position=_usable(number(header, "0020,0100")),
            b_value=_b_value(header),
            echo_time=_usable(number(header, "0018,0081")),
            trigger_time=_usable(number(header, "0018,1060")),
            acquisition_number=_usable(number(header, "0020,0012")),
            code=code,
            reason=reason,
        )
    ]


def _verdict(header: Header) -> tuple[Code, str]:
    """What is wrong with this frame alone: what it is first, then its pixels, then its place."""
    kind = _kind(header)
    if kind:
        return "not-an-image", f"It is {kind}, not an image."
    frames = _or(whole(header, "0028,0008"), 1)
    if frames > 1 or present(header, "5200,9229") or present(header, "5200,9230"):
        return "multi-frame", f"One file holds {frames} frames; volumes of multi-frame files are not built yet."
    if _is_mosaic(header):
        return "mosaic", "A whole volume is tiled into one 2-D image; it is not one slice."
    wrong = _wrong_pixels(header)
    if wrong:
        return "bad-header", wrong
    if whole(header, "0028,0002") != 1 or text(header, "0028,0004") not in ("MONOCHROME1", "MONOCHROME2"):
        return "colour", "It is a colour image: what it shows is not a measured value, so it makes no volume."
    if text(header, "0008,0060") == "CT" and "LOCALIZER" in texts(header, "0008,0008")[2:]:
        return "localizer", "It is a CT scout: a projection through the body, not a slice."
    return _wrong_place(header)


def _kind(header: Header) -> str:
    sop_class = text(header, "0008,0016").removeprefix(_STORAGE)
    for prefix, kind in _NOT_IMAGE_CLASSES.items():
        if sop_class == prefix or (prefix.endswith(".") and sop_class.startswith(prefix)):
            return kind
    modality = text(header, "0008,0060")
    if modality in _NOT_IMAGES:
        return _NOT_IMAGES[modality]
    if all(whole(header, key) is None for key in ("0028,0010", "0028,0011", "0028,0100")):
        return "an object without Rows, Columns and BitsAllocated"
    return ""


def _is_mosaic(header: Header) -> bool:
    if "MOSAIC" in texts(header, "0008,0008"):  # Siemens
        return True
    tiles = whole(header, "0065,1050") if text(header, "0065,0010") == "Image Private Header" else None
    return tiles is not None and tiles > 1  # United Imaging: number of images in the grid


def _wrong_pixels(header: Header) -> str:
    if not text(header, "0008,0018"):
        return "SOPInstanceUID is absent."
    for keyword, (key, fitting) in _FITTING.items():
        if whole(header, key) not in fitting:
            return f"{keyword} is absent or not one that a volume can have."
    if not 1 <= (whole(header, "0028,0101") or 0) <= (whole(header, "0028,0100") or 0):
        return "BitsStored is absent or does not fit into BitsAllocated."
    return "" if text(header, "0028,0004") else "PhotometricInterpretation is absent."


def _wrong_place(header: Header) -> tuple[Code, str]:
    places = {
        "ImagePositionPatient": ("0020,0032", _position),
        "ImageOrientationPatient": ("0020,0037", _orientation),
        "PixelSpacing": ("0028,0030", _spacing),
    }
    absent = [keyword for keyword, (key, _) in places.items() if numbers(header, key) is None]
    for keyword, (_, usable) in places.items():
        if keyword not in absent and usable(header) is None:
            return "bad-header", f"{keyword} is there and cannot be right."
    if absent:
        return "no-geometry", f"Without {', '.join(absent)} its place in the body is unknown."
    return "ok", ""


def _position(header: Header) -> tuple[float, float, float] | None:
    values = numbers(header, "0020,0032")
    if values is None or len(values) != 3 or not all(abs(v) <= _FARTHEST for v in values):
        return None
    return values[0], values[1], values[2]


def _orientation(header: Header) -> tuple[float, ...] | None:
    values = numbers(header, "0020,0037")
    if values is None or len(values) != 6 or not all(abs(v) <= 1 + _SKEW for v in values):
        return None
    row, column = values[:3], values[3:]
    lengths = math.hypot(*row), math.hypot(*column)
    skew = sum(a * b for a, b in zip(row, column, strict=True))
    good = abs(skew) <= _SKEW and all(abs(length - 1) <= _SKEW for length in lengths)
    return values if good else None


def _spacing(header: Header) -> tuple[float, float] | None:
    values = numbers(header, "0028,0030")
    if values is None or len(values) != 2 or not all(1e-6 <= v <= 1e4 for v in values):
        return None
    return values[0], values[1]


def _units(header: Header) -> str:
    """Of the values after the rescale: Units for PET (C.8.9.1), HU for a CT that does not say else (C.8.2.1.1.2)."""
    if text(header, "0008,0060") == "PT" and text(header, "0054,1001"):
        return text(header, "0054,1001")
    return text(header, "0028,1054") or ("HU" if text(header, "0008,0060") == "CT" else "")


def _b_value(header: Header) -> float | None:
    """DiffusionBValue, or where Siemens and GE keep it; GE adds 10⁹ to it."""
    standard = _usable(number(header, "0018,9087"))
    if standard is not None:
        return standard
    if text(header, "0019,0010") == "SIEMENS MR HEADER":
        return _usable(number(header, "0019,100c"))
    value = _usable(number(header, "0043,1039")) if text(header, "0043,0010") == "GEMS_PARM_01" else None
    return None if value is None else value % 1e9


def _usable(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _integer(header: Header, key: str) -> int | None:
    value = _usable(number(header, key))
    return None if value is None else int(value)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
