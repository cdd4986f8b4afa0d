"""Palette colour → red, green, blue, by the file's own tables (PS3.3 C.7.6.3.1.5, C.7.9.2).

A palette image stores indices; they measure nothing and stay what they are until colours are asked for. YBR is not
here: `decode` gives it as RGB, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.errors import PixelError

from ._lut import Lut, big_endian, lut_from

__all__ = ["apply_palette", "spread", "supplemental_first"]

Array = npt.NDArray[Any]

_CHANNELS = ("Red", "Green", "Blue")
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


def apply_palette(stored: Array, dataset: Dataset) -> Array:
    """The colours of indices, a last axis (red, green, blue) added: uint8 or uint16, as wide as the table's entries.

    Indices below the first that the table maps get its first colour, those above the last its last one. Entries of 16
    bits use all of them (8-bit colours are scaled when they are written). The alpha channel is left out. `PixelError`
    without a palette, or with one that is damaged. PS3.3 C.7.6.3.1.5, C.7.6.3.1.6; segmented tables C.7.9.2.
    """
    if stored.dtype.kind not in "iu":
        raise PixelError("A palette gives colours to integers; these pixels are not.")
    luts = _palette(dataset)
    dtype = np.uint8 if luts[0].bits == 8 else np.uint16

    def colours(indices: Array) -> Array:
        return np.stack([lut.apply(indices).astype(dtype) for lut in luts], axis=-1)

    return spread(colours, stored)


def spread(function: Callable[[Array], Array], stored: Array) -> Array:
    """`function` of each pixel: of each value that 8 or 16 bits can have where that is less work, then looked up."""
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2 or stored.size < 1 << (8 * stored.dtype.itemsize):
        return function(stored)
    unsigned = np.dtype(f"u{stored.dtype.itemsize}")
    every = np.arange(1 << (8 * unsigned.itemsize), dtype=np.uint32).astype(unsigned).view(stored.dtype)
    table, indices = function(every), np.ascontiguousarray(stored).view(unsigned)
    made = np.empty((*stored.shape, *table.shape[1:]), dtype=table.dtype)
    for frame, target in zip(indices, made, strict=True):  # numpy makes 8 bytes of every index: not of all at once
        np.take(table, frame, axis=0, out=target, mode="clip")
    return made


def supplemental_first(dataset: Dataset) -> int | None:
    """The first stored value that a grey image shows in colour (Supplemental Palette, PS3.3 C.7.6.19); None: none."""
    if dataset.get("PixelPresentation") in ("COLOR", "MIXED") and "RedPaletteColorLookupTableDescriptor" in dataset:
        return _palette(dataset)[0].first
    return None


def _palette(dataset: Dataset) -> list[Lut]:
    try:
        return [_channel(dataset, name) for name in _CHANNELS]
    except PixelError:
        raise
    except Exception as error:  # pydicom raises whatever damaged bytes lead it into
        raise PixelError(f"Its palette cannot be read ({type(error).__name__}).") from error


def _channel(dataset: Dataset, name: str) -> Lut:
    descriptor = dataset.get(f"{name}PaletteColorLookupTableDescriptor")
    if not descriptor:
        raise PixelError("It is a palette image without a palette.")
    bits, signed, big = int(descriptor[2]), dataset.get("PixelRepresentation") == 1, big_endian(dataset)
    if bits not in (8, 16):
        raise PixelError("The entries of its palette have neither 8 nor 16 bits.")
    data = dataset.get(f"{name}PaletteColorLookupTableData")
    segmented = dataset.get(f"Segmented{name}PaletteColorLookupTableData")
    if not data and isinstance(segmented, bytes):
        count = (int(descriptor[0]) & 0xFFFF) or 65536
        data = _expanded(_entries(segmented, bits, big), bits // 8, count)
    lut = lut_from(descriptor, data or (), signed=signed, big=big)
    narrow = isinstance(data, bytes) and bits == 16 and len(data) < len(lut.data)
    if not lut.data or narrow or (bits == 8 and lut.entries.max() > 0xFF):
        raise PixelError("The entries of its palette do not fit their descriptor.")
    return lut


# -- segmented tables -------------------------------------------------------------------------------------------------


def _entries(data: bytes, bits: int, big: bool) -> list[int]:
    words = np.frombuffer(data, ">u2" if big else "<u2", count=len(data) // 2).astype("<u2")
    return [int(each) for each in (words.view("u1") if bits == 8 else words)]


def _expanded(data: Sequence[int], width: int, count: int) -> list[int]:
    """The `count` entries that segments stand for (PS3.3 C.7.9.2); `width` is the bytes of an entry."""
    made: list[int] = []
    place = 0
    while len(made) < count:
        if data[place] != _INDIRECT:
            place = _add(made, data, place)
            continue
        number, parts = data[place + 1], data[place + 2 : place + 2 + 4 // width]
        start = sum(part << (8 * width * k) for k, part in enumerate(parts)) // width  # it counts bytes: C.7.9.2.3
        while number and len(made) <= count:
            start = _add(made, data, start)
            number -= 1
        place += 2 + len(parts)
    if len(made) != count:
        raise PixelError("The segments of its palette do not fit their descriptor.")
    return made


def _add(made: list[int], data: Sequence[int], place: int) -> int:
    """Append what the segment at `place` stands for; where the next one starts."""
    kind, length = data[place], data[place + 1]
    if kind == _DISCRETE and len(data) >= place + 2 + length:
        made.extend(data[place + 2 : place + 2 + length])
        return place + 2 + length
    if kind == _LINEAR and made:
        first, last = made[-1], data[place + 2]
        made.extend(first + (2 * (last - first) * k + length) // (2 * length) for k in range(1, length + 1))
        return place + 3
    raise PixelError("The segments of its palette are damaged.")
