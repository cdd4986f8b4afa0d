"""Pixels of an output held against the original's: the same where they count, nothing where they do not.

Native data is compared inside BitsStored, bit for bit, and must be clear outside. Compressed data is compared without
its comments, byte for byte: then any decoder gives the same pixels. Sources: PS3.5 section 8, annex A.4.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from orthanc_research.deid.check._codestreams import frames_of, stripped
from orthanc_research.deid.check._compare import is_empty
from orthanc_research.deid.check._reading import Element

__all__ = ["judge_overlays", "judge_pixels"]

_PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)
_ROWS, _COLUMNS, _SAMPLES, _FRAMES, _PHOTOMETRIC = 0x00280010, 0x00280011, 0x00280002, 0x00280008, 0x00280004
_ALLOCATED, _STORED, _HIGH = 0x00280100, 0x00280101, 0x00280102
_EXTENDED = (0x7FE00001, 0x7FE00002)
_RLE = "1.2.840.10008.1.2.5"
_NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"}
Finding = tuple[str, bool, str]  # MIDI-B action, passed, reason
Elements = dict[int, Element]


def judge_pixels(old: Elements, new: Elements, syntax: str, *, hidden: bool = False) -> Iterator[Finding]:
    """What is to be said about the pixels of two data sets; `hidden`: the profile may have masked regions of them."""
    for tag in _PIXELS:
        before, after = old.get(tag), new.get(tag)
        if before is None and after is None:
            continue
        if before is None or after is None:
            yield "pixels_retained", False, "pixels were " + ("added" if before is None else "lost")
        elif (before.fragments is None) != (after.fragments is None):
            yield "pixels_retained", False, "pixels were recoded"
        elif before.fragments is not None and after.fragments is not None:
            yield from _compressed(before.fragments, after.fragments, old, new, syntax, hidden)
        elif tag == _PIXELS[0]:
            if syntax not in _NATIVE and after.value:
                yield "pixels_hidden", False, "compressed pixels are not in fragments"
            yield from _native(before.value, after.value, old, hidden)
        else:
            yield "pixels_retained", hidden or before.value == after.value, "stored values differ"
            expected = _expected(old, _number(old, _ALLOCATED), len(after.value))
            yield "pixels_hidden", not 0 < expected < len(after.value), "there are bytes behind the last pixel"


def judge_overlays(new: Elements, *, allowed: bool) -> Iterator[Finding]:
    """Overlays and curves, and their comments, are gone unless the profile cleans graphics."""
    left = [tag for tag, element in new.items() if element.value and _is_graphic(tag)]
    if left and not allowed:
        yield "pixels_hidden", False, "an overlay or a curve is left"


def _is_graphic(tag: int) -> bool:
    group, number = tag >> 16, tag & 0xFFFF
    if 0x5000 <= group <= 0x501E:
        return not group & 1
    return 0x6000 <= group <= 0x601E and not group & 1 and number in (0x3000, 0x4000)


def _number(elements: Elements, tag: int, default: int = 0) -> int:
    element = elements.get(tag)
    if element is None or is_empty(element):
        return default
    if element.vr == "IS":
        text = element.value.strip(b"\0 ")
        return int(text) if text.removeprefix(b"+").isdigit() else 0
    return int.from_bytes(element.value[:2], "little")


def _native(old: bytes, new: bytes, elements: Elements, hidden: bool) -> Iterator[Finding]:
    allocated, stored = _number(elements, _ALLOCATED), _number(elements, _STORED)
    high = _number(elements, _HIGH) or stored - 1
    expected = _expected(elements, allocated, len(old))
    # Bytes behind the last pixel: one of padding, and it is empty.
    if expected and len(new) > expected and new[expected:].strip(b"\0"):
        yield "pixels_hidden", False, "there are bytes behind the last pixel"
    old, new = (each[:expected] if expected else each for each in (old, new))
    if len(old) != len(new):
        yield "pixels_retained", False, "the number of pixels differs"
        return
    plain = allocated not in (8, 16, 32) or not 0 < stored < allocated or not stored - 1 <= high < allocated
    if plain or len(old) % (allocated // 8):
        yield "pixels_retained", hidden or old == new, "stored values differ"
        return
    kind = np.dtype(f"<u{allocated // 8}")
    before, after = np.frombuffer(old, kind), np.frombuffer(new, kind)
    mask = kind.type(((1 << stored) - 1) << (high - stored + 1))
    yield "pixels_retained", hidden or not ((before ^ after) & mask).any(), "stored values differ"
    yield "pixels_hidden", _is_clear(after, mask, high), "bits outside BitsStored are not clear"


def _is_clear(values: np.ndarray, mask: np.unsignedinteger, high: int) -> bool:
    """Whether nothing stands outside the mask; a sign carried on to the top says nothing."""
    outside = values & ~mask
    if not outside.any():
        return True
    above = values.dtype.type(~((1 << (high + 1)) - 1) & ((1 << 8 * values.dtype.itemsize) - 1))
    negative = (values >> values.dtype.type(high)) & values.dtype.type(1) != 0
    return bool((outside == np.where(negative, above, 0)).all())


def _expected(elements: Elements, allocated: int, length: int) -> int:
    """Bytes of the pixels by the header, without padding; 0 where the header does not say.

    What is said to be YBR_FULL_422, and has the `length` of all samples, has all of them.
    """
    samples, frames = _number(elements, _SAMPLES, 1), _number(elements, _FRAMES, 1)
    bits = _number(elements, _ROWS) * _number(elements, _COLUMNS) * samples * frames * allocated
    photometric = elements.get(_PHOTOMETRIC)
    if photometric is not None and photometric.value.strip(b"\0 ") == b"YBR_FULL_422" and 8 * length < bits:
        bits = bits * 2 // 3
    return -(-bits // 8)


def _compressed(
    old: list[bytes], new: list[bytes], before: Elements, after: Elements, syntax: str, hidden: bool
) -> Iterator[Finding]:
    count = max(_number(before, _FRAMES, 1), 1)
    try:
        plane = _number(before, _ROWS) * _number(before, _COLUMNS) if syntax == _RLE else 0
        olds = [stripped(each, plane) for each in frames_of(old[1:], count)]
        news = olds if old[1:] == new[1:] else [stripped(each, plane) for each in frames_of(new[1:], count)]
    except ValueError as error:
        # Nobody can follow it, so nobody can say that there is nothing beside the image.
        yield "pixels_hidden", False, str(error)
        yield "pixels_retained", hidden or old[1:] == new[1:], "compressed frames differ"
        return
    same = [each.image.rstrip(b"\0") for each in olds] == [each.image.rstrip(b"\0") for each in news]
    yield "pixels_retained", hidden or same, "compressed frames differ"
    yield "pixels_hidden", not any(each.beside for each in news), "a compressed frame has comments or bytes behind it"
    if not _offsets_fit(new, after):
        yield "pixels_retained", False, "the table of frame offsets does not fit the frames"
    if any(tag & 0xFFFF == 0x0102 and 0x6000 <= tag >> 16 <= 0x601E and _number(before, tag) for tag in before):
        yield "pixels_hidden", False, "an overlay is stored within compressed pixels"


def _offsets_fit(fragments: list[bytes], elements: Elements) -> bool:
    """The basic offset table (and the extended one) points at starts of fragments, or is empty."""
    starts, at = {}, 0
    for fragment in fragments[1:]:
        starts[at] = len(fragment)
        at += 8 + len(fragment)
    basic = np.frombuffer(fragments[0][: len(fragments[0]) // 4 * 4], "<u4").tolist()
    extended = elements.get(_EXTENDED[0])
    if extended is not None:
        basic += np.frombuffer(extended.value[: len(extended.value) // 8 * 8], "<u8").tolist()
    return all(offset in starts for offset in basic)
