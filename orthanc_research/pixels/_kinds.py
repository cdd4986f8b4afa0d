"""What an object is, and why its frames cannot be in a volume: from one frame's header, in the order of the codes."""

from __future__ import annotations

import math
from collections.abc import Container

from ._codes import Code
from ._header import Header, numbers, text, texts, whole

__all__ = ["POINTING", "RGB", "float_bits", "kind_of", "orientation_of", "position_of", "spacing_of", "verdict_of"]

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
POINTING = frozenset({*_NOT_IMAGES, "RTDOSE"})
"""Modalities (PS3.3 C.7.3.1.1.1) of objects that are about other instances."""

# By SOP class too (PS3.4 B.5), because Modality is free text for whoever wrote the file.
_NOT_IMAGE_CLASSES = {
    "4.2": "a spectrum",
    "66": "raw data",
    "66.1": "a registration",
    "66.2": "a set of fiducials",
    "66.3": "a registration",
    "66.4": "a segmentation",
    "66.5": "a surface segmentation",
    "66.6": "a set of tracks",
    "66.7": "a segmentation",
    "67": "a value mapping",
    "481.3": "a set of contours",
    "481.4": "a treatment record",
    "481.5": "a treatment plan",
    "481.8": "a treatment plan",
    "91.1": "a set of annotations",
    "104.": "a document",
    "88.": "a report",
    "11.": "a presentation state",
    "9.": "a waveform",
}
_STORAGE = "1.2.840.10008.5.1.4.1.1."

_FITTING: dict[str, tuple[str, Container[int | None]]] = {
    "Rows": ("0028,0010", range(1, 65536)),
    "Columns": ("0028,0011", range(1, 65536)),
    "SamplesPerPixel": ("0028,0002", (1, 3, 4)),
    "BitsAllocated": ("0028,0100", (8, 16, 32)),
    "PixelRepresentation": ("0028,0103", (0, 1)),
}
_GREY = ("MONOCHROME1", "MONOCHROME2")
RGB = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
"""The photometric interpretations that `decode` gives as RGB."""


def verdict_of(header: Header, mosaic: bool, wrong: str = "") -> tuple[Code, str]:
    """What is wrong with a frame alone: what it is first, then its pixels, then its place.

    `wrong` is what was found wrong in telling the frames of its file apart.
    """
    kind = kind_of(header)
    if kind:
        return "not-an-image", f"It is {kind}, not an image."
    if mosaic:
        return "mosaic", "A whole volume is tiled into one 2-D image, and this header does not prove how."
    wrong = _wrong_pixels(header) or wrong
    if wrong:
        return "bad-header", wrong
    if text(header, "0028,0004") not in (*_GREY, *RGB):
        return "colour", "It shows colours out of a table or a model: its values measure nothing."
    if text(header, "0008,0060") == "CT" and "LOCALIZER" in texts(header, "0008,0008")[2:]:
        return "localizer", "It is a CT scout: a projection through the body, not a slice."
    code, reason = _wrong_place(header)
    if code == "no-geometry" and text(header, "0028,0004") in RGB:
        return "colour", "It is a colour image without a place: what it shows is not a measured value."
    return code, reason


def kind_of(header: Header) -> str:
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


def float_bits(header: Header) -> int:
    """32 for Float Pixel Data, 64 for Double Float Pixel Data (PS3.3 C.7.6.24, C.7.6.25), 0 for integers."""
    return 32 if "7fe0,0008" in header else 64 if "7fe0,0009" in header else 0


def _wrong_pixels(header: Header) -> str:
    if not text(header, "0008,0018"):
        return "SOPInstanceUID is absent."
    floats = float_bits(header)
    for keyword, (key, fitting) in _FITTING.items():
        if floats and keyword == "BitsAllocated":
            fitting = (floats,)
        if floats and keyword == "PixelRepresentation":
            continue
        if whole(header, key) not in fitting:
            return f"{keyword} is absent or not one that a volume can have."
    if not floats and not 1 <= (whole(header, "0028,0101") or 0) <= (whole(header, "0028,0100") or 0):
        return "BitsStored is absent or does not fit into BitsAllocated."
    photometric, samples = text(header, "0028,0004"), whole(header, "0028,0002")
    if not photometric:
        return "PhotometricInterpretation is absent."
    if (photometric in _GREY and samples != 1) or (photometric in RGB and samples != 3):
        return "SamplesPerPixel does not fit PhotometricInterpretation."
    return ""


def _wrong_place(header: Header) -> tuple[Code, str]:
    places = {
        "ImagePositionPatient": ("0020,0032", position_of),
        "ImageOrientationPatient": ("0020,0037", orientation_of),
        "PixelSpacing": ("0028,0030", spacing_of),
    }
    absent = [keyword for keyword, (key, _) in places.items() if numbers(header, key) is None]
    for keyword, (_, usable) in places.items():
        if keyword not in absent and usable(header) is None:
            return "bad-header", f"{keyword} is there and cannot be right."
    if absent:
        return "no-geometry", f"Without {', '.join(absent)} its place in the body is unknown."
    return "ok", ""


def position_of(header: Header) -> tuple[float, float, float] | None:
    """ImagePositionPatient; None when absent or impossible."""
    values = numbers(header, "0020,0032")
    if values is None or len(values) != 3 or not all(abs(v) <= _FARTHEST for v in values):
        return None
    return values[0], values[1], values[2]


def orientation_of(header: Header) -> tuple[float, ...] | None:
    """ImageOrientationPatient; None when absent or not two orthogonal unit vectors."""
    values = numbers(header, "0020,0037")
    if values is None or len(values) != 6 or not all(abs(v) <= 1 + _SKEW for v in values):
        return None
    row, column = values[:3], values[3:]
    lengths = math.hypot(*row), math.hypot(*column)
    skew = sum(a * b for a, b in zip(row, column, strict=True))
    good = abs(skew) <= _SKEW and all(abs(length - 1) <= _SKEW for length in lengths)
    return values if good else None


def spacing_of(header: Header) -> tuple[float, float] | None:
    """PixelSpacing (between rows, between columns); None when absent or impossible."""
    values = numbers(header, "0028,0030")
    if values is None or len(values) != 2 or not all(1e-6 <= v <= 1e4 for v in values):
        return None
    return values[0], values[1]
