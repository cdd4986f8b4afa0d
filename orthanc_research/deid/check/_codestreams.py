"""Compressed frames without what is said beside the image, to be compared byte for byte without any codec.

A comment or an application segment of a JPEG holds any text, and so do the bytes behind its end; none of them changes a
pixel but three markers that tell how colours are coded. Sources: ITU-T T.81 annex B, T.87 annex C, T.800 annex A,
PS3.5 annex G.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Stream", "frames_of", "stripped"]

# From SOS on: any marker but stuffed bytes, restarts and fill bytes; JPEG-LS stuffs a bit, so 00-7F is data.
_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_COM, _SOS, _EOI, _DNL = 0xFE, 0xDA, 0xD9, 0xDC
_J2K_COM, _J2K_SOT, _J2K_SOD, _J2K_EOC = 0xFF64, 0xFF90, 0xFF93, 0xFFD9
_JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
_JP2_BOXES = {b"jP  ", b"ftyp", b"jp2h", b"jp2c"}
_JP2_HEADER_BOXES = {b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef"}
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", _JP2)


@dataclass(frozen=True, slots=True)
class Stream:
    """A frame's bytes that make the image, and what stood beside them (comments, boxes, what follows the end)."""

    image: bytes
    beside: bytes


def stripped(data: bytes, rle: int = 0) -> Stream:
    """The parts of one frame; `rle`: pixels of a plane, where it is of RLE.

    Raises ValueError for a stream that ends early or cannot be followed, and for one of another kind.
    """
    try:
        if rle:
            return _rle(data, rle)
        if data.startswith(_JP2):
            return _jp2(data)
        if data.startswith(b"\xff\x4f\xff\x51"):
            return _j2k(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
    except IndexError:
        raise ValueError("a compressed frame ends early") from None
    if data.strip(b"\0"):
        raise ValueError("a compressed frame is of a kind that nobody follows")
    return Stream(data, b"")


def frames_of(fragments: list[bytes], count: int) -> list[bytes]:
    """Fragments (without the offset table) joined to frames; ValueError where nobody can tell where one begins."""
    if len(fragments) == count:
        return fragments
    if count == 1:
        return [b"".join(fragments)]
    starts = [index for index, each in enumerate(fragments) if each.startswith(_STARTS)]
    if len(starts) != count or starts[0] != 0:
        raise ValueError("the fragments cannot be told apart into frames")
    return [b"".join(fragments[a:b]) for a, b in zip(starts, [*starts[1:], len(fragments)], strict=True)]


def _jpeg(data: bytes) -> Stream:
    image, beside, at = [data[:2]], [], 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1
        if data[at] != 0xFF:
            raise ValueError("a JPEG frame cannot be followed")
        marker = data[at + 1]
        if marker == _EOI:
            image.append(b"\xff\xd9")
            beside.append(data[at + 2 :].strip(b"\0"))
            return Stream(b"".join(image), b"".join(beside))
        stop = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if stop > len(data) or stop < at + 4:
            raise ValueError("a JPEG frame ends early")
        segment = data[at:stop]
        if marker == _COM or 0xE0 <= marker <= 0xEF:
            size = _colour_says(segment)
            beside.append(segment[4 + size :].strip(b"\0"))
            segment = segment[:2] + (2 + size).to_bytes(2, "big") + segment[4 : 4 + size] if size else b""
        image.append(segment)
        if marker == _SOS:
            found = _MARKER.search(data, stop)
            if found is None:
                # Some encoders leave the end mark out; what follows the scan is then the image's.
                return Stream(b"".join([*image, data[stop:].rstrip(b"\0")]), b"".join(beside))
            image.append(data[stop : found.start()])
            stop = found.start()
        at = stop


def _colour_says(segment: bytes) -> int:
    """How many bytes of an application segment tell how colours are coded: of JFIF's, of Adobe's, of HP's in JPEG-LS.

    A thumbnail of JFIF is no part of that, nor the two bytes that give its size.
    """
    marker, body = segment[1], segment[4:]
    if marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14:
        return 12
    if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
        return 12
    return 5 if marker == 0xE8 and body.startswith(b"mrfx") and len(body) >= 5 else 0


def _j2k(data: bytes) -> Stream:
    image, beside, at = [data[:2]], [], 2
    while True:
        marker = int.from_bytes(data[at : at + 2], "big")
        if marker == _J2K_EOC or at >= len(data):
            if marker == _J2K_EOC:
                image.append(b"\xff\xd9")
            beside.append(data[at + 2 :].strip(b"\0"))
            return Stream(b"".join(image), b"".join(beside))
        if marker == _J2K_SOT:
            at = _tile_part(data, at, image, beside)
            continue
        at = _segment(data, at, marker, image, beside)


def _segment(data: bytes, at: int, marker: int, image: list[bytes], beside: list[bytes]) -> int:
    stop = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    if marker < 0xFF00 or stop > len(data) or stop < at + 4:
        raise ValueError("a JPEG 2000 frame cannot be followed")
    (beside if marker == _J2K_COM else image).append(data[at + (4 if marker == _J2K_COM else 0) : stop])
    return stop


def _tile_part(data: bytes, at: int, image: list[bytes], beside: list[bytes]) -> int:
    """One tile-part; its length (Psot) is taken as it is without the comments in its header."""
    length = int.from_bytes(data[at + 6 : at + 10], "big")
    header: list[bytes] = []
    said: list[bytes] = []
    here = at + 12
    while (marker := int.from_bytes(data[here : here + 2], "big")) != _J2K_SOD:
        here = _segment(data, here, marker, header, said)
    ends = data.find(b"\xff\xd9", here)
    stop = at + length if length else ends if ends > 0 else len(data)
    if not here < stop <= len(data):
        raise ValueError("a JPEG 2000 frame ends early")
    cut = sum(len(each) + 4 for each in said)
    size = (length - cut).to_bytes(4, "big") if length else bytes(4)
    image += [data[at : at + 6], size, data[at + 10 : at + 12], *header, data[here:stop]]
    beside += said
    return stop


def _jp2(data: bytes, boxes: set[bytes] = _JP2_BOXES) -> Stream:
    """The boxes that a decoder needs, and all others."""
    image, beside, at = [], [], 0
    while at + 8 <= len(data):
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        stop = at + size if size else len(data)
        if stop > len(data) or stop < at + head:
            break
        body = data[at + head : stop]
        if kind in boxes:
            parts = {b"jp2c": _j2k, b"jp2h": _jp2_header}.get(kind, _whole)(body)
            image += [kind, parts.image]
            beside.append(parts.beside)
        else:
            beside.append(body)
        at = stop
    if data[at:].strip(b"\0"):
        raise ValueError("a JPEG 2000 file ends early")
    return Stream(b"".join(image), b"".join(beside))


def _jp2_header(data: bytes) -> Stream:
    return _jp2(data, _JP2_HEADER_BOXES)


def _whole(data: bytes) -> Stream:
    return Stream(data, b"")


def _rle(data: bytes, pixels: int) -> Stream:
    """The packed bytes of each plane of bytes, as far as they are unpacked, and what stands between (PS3.5 annex G)."""
    count = int.from_bytes(data[:4], "little")
    if not 0 < count <= 15 or len(data) < 64:
        raise ValueError("an RLE frame has no header")
    edges = [int.from_bytes(data[4 * i : 4 * i + 4], "little") for i in range(1, count + 1)] + [len(data)]
    if edges != sorted(edges) or edges[0] < 64:
        raise ValueError("the segments of an RLE frame overlap")
    image, beside = [data[:4]], [data[4 * count + 4 : 64], data[64 : edges[0]]]
    for start, stop in pairwise(edges):
        at, left = start, pixels
        while left > 0 and at < stop:
            code = data[at]
            if code > 128:  # one byte, repeated
                at, left = at + 2, left - (257 - code)
            elif code < 128:
                at, left = at + code + 2, left - code - 1
            else:
                at += 1
        if left < -1 or at > stop:
            raise ValueError("an RLE segment holds more than its pixels")
        image.append(data[start:at])
        beside.append(data[at:stop])
    return Stream(b"".join(image), b"".join(beside).strip(b"\0"))
