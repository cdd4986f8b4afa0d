"""Overlays (60xx, PS3.3 C.9.2) → masks on the grid of the image.

A plane is a bit a pixel, in OverlayData or, in old files, in a bit of the pixels' words that the image does not use
(retired; OverlayBitPosition). `decode` masks those bits off; here they are what is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, RLELossless

from orthanc_research.errors import PixelError
from orthanc_research.quiet import quiet

from ._decode import read_dataset
from ._functional import MOST_FRAMES
from ._header import header_from_dataset, text
from ._lut import big_endian

__all__ = ["Overlay", "overlays_of"]

Mask = npt.NDArray[np.bool_]
Size = tuple[int, int, int]  # frames, rows, columns

_GROUPS = range(0x6000, 0x6100, 2)
_ROWS, _COLUMNS, _FRAMES, _TYPE, _ORIGIN, _FRAME_ORIGIN = 0x10, 0x11, 0x15, 0x40, 0x50, 0x51
_BITS, _BIT, _LABEL, _DATA = 0x100, 0x102, 0x1500, 0x3000


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """One overlay of an image.

    `mask` is bool, (frame, row, column), of the size of the image: what lies beyond its edges is cut. `kind` is "G"
    (graphics), "R" (a region of interest) or "" (the file does not say). `label` is free text: it may name a patient.
    """

    group: int
    kind: str
    mask: Mask
    label: str = field(default="", repr=False)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.mask.shape))
        return f"<Overlay {self.group:04x} {self.kind}: {size}, {np.count_nonzero(self.mask)} pixels>"


@quiet()
def overlays_of(source: bytes | Dataset) -> dict[int, Overlay]:
    r"""The overlays of an image by their group, 0x6000 to 0x60fe; {} when it has none.

    OverlayOrigin (1\1 is the first pixel) and ImageFrameOrigin place them; one without NumberOfFramesInOverlay lies on
    every frame (PS3.3 C.9.2, C.9.3). A group whose OverlayData were removed, as de-identification does, is not there.
    `PixelError` for an overlay that is damaged, and for one in the unused bits of pixels that were compressed without
    them.
    """
    dataset = read_dataset(source) if isinstance(source, bytes) else source
    there = {tag >> 16 for tag in dataset.keys()} & set(_GROUPS)  # noqa: SIM118  # a Dataset's own iterator reads values
    found = {}
    for group in sorted(there):
        try:
            mask = _mask(dataset, group)
            if mask is not None:
                kind, label = (str(_value(dataset, group, element) or "") for element in (_TYPE, _LABEL))
                found[group] = Overlay(group, kind if kind in ("G", "R") else "", mask, label)
        except Exception as error:  # pydicom raises whatever damaged bytes lead it into
            reason = str(error) if isinstance(error, PixelError) else f"it is damaged ({type(error).__name__})"
            name = f"SOP instance {text(header_from_dataset(dataset), '0008,0018') or 'without UID'}"
            raise PixelError(f"{name}: its overlay {group:04x} cannot be read: {reason.rstrip('.')}.") from error
    return found


def _mask(dataset: Dataset, group: int) -> Mask | None:
    data = dataset.get((group, _DATA))
    if data is None or not data.value:
        bit = _unused_bit(dataset, group)
        return None if bit is None else _embedded(dataset, bit)
    size = _image_size(dataset)
    rows, columns = (int(_value(dataset, group, element) or 0) for element in (_ROWS, _COLUMNS))
    said = _value(dataset, group, _FRAMES)
    frames = 1 if said is None else int(said)
    needed = math.ceil(frames * rows * columns / 8)
    packed = _in_order(data, dataset)
    if min(frames, rows, columns) < 1 or len(packed) < needed:
        raise PixelError("its size and its data do not fit")
    bits = np.unpackbits(np.frombuffer(packed, "u1", count=needed), count=frames * rows * columns, bitorder="little")
    planes = bits.reshape(frames, rows, columns).view(np.bool_)  # PS3.5 §8.1.2: the lowest bit is the first pixel
    down, right = (int(each) - 1 for each in _value(dataset, group, _ORIGIN) or (1, 1))
    if said is None:
        return np.repeat(_placed(planes, (1, *size[1:]), (0, down, right)), size[0], axis=0)
    return _placed(planes, size, (int(_value(dataset, group, _FRAME_ORIGIN) or 1) - 1, down, right))


def _placed(planes: Mask, size: Size, origin: Size) -> Mask:
    """The planes on a grid of `size`, their first pixel at `origin`, which may lie outside."""
    mask = np.zeros(size, dtype=np.bool_)
    pairs = list(zip(planes.shape, size, origin, strict=True))
    to = tuple(slice(max(start, 0), max(min(start + length, limit), 0)) for length, limit, start in pairs)
    source = tuple(slice(max(-start, 0), max(min(length, limit - start), 0)) for length, limit, start in pairs)
    mask[to] = planes[source]
    return mask


def _unused_bit(dataset: Dataset, group: int) -> int | None:
    """Which bit of the words holds the plane; None where it would be one of the image's own: its data were removed."""
    bit, allocated = _value(dataset, group, _BIT), int(dataset.get("BitsAllocated") or 0)
    if bit is None or not 0 <= int(bit) < allocated:
        return None
    stored = int(dataset.get("BitsStored", allocated))
    high = int(dataset.get("HighBit", stored - 1))
    used = high - stored < int(bit) <= high
    named = int(bit) > 0 or _value(dataset, group, _BITS) == allocated
    return None if used or not named else int(bit)


def _embedded(dataset: Dataset, bit: int) -> Mask:
    size = _image_size(dataset)
    bits, syntax = int(dataset.BitsAllocated), UID(str(dataset.file_meta.TransferSyntaxUID))
    if bits not in (8, 16) or dataset.get("SamplesPerPixel", 1) != 1:
        raise PixelError("only words of 8 or 16 bits are known to hold one")
    if syntax == RLELossless:
        words = np.ascontiguousarray(pixel_array(dataset, correct_unused_bits=False)).view(f"u{bits // 8}")
    elif syntax.is_compressed:
        raise PixelError("it is in bits that this compression does not keep")
    else:
        packed = _in_order(dataset["PixelData"], dataset)
        words = np.frombuffer(packed, f"<u{bits // 8}", count=math.prod(size))
    return ((words >> bit) & 1).astype(np.bool_).reshape(size)


def _image_size(dataset: Dataset) -> Size:
    frames = dataset.get("NumberOfFrames")
    size = 1 if frames in (None, "") else int(frames), int(dataset.Rows), int(dataset.Columns)
    if min(size) < 1 or size[0] > MOST_FRAMES:
        raise PixelError("the image has no size")
    return size


def _in_order(element: Any, dataset: Dataset) -> bytes:
    """Bytes as a little-endian file has them: a big-endian one swaps those of OW, whatever the words hold."""
    data: bytes = element.value
    if element.VR != "OW" or not big_endian(dataset):
        return data
    return np.frombuffer(data, ">u2", count=len(data) // 2).astype("<u2").tobytes()


def _value(dataset: Dataset, group: int, element: int) -> Any:
    found = dataset.get((group, element))
    return None if found is None or found.value in (None, "") else found.value
