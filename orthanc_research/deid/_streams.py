"""Compressed frames without their comments: segments are left out, nothing is decoded (ISO/IEC 10918-1, 15444-1).

Of RLE frames (PS3.5 Annex G), what stands beside and behind their segments.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

__all__ = ["StreamError", "without_comments"]

_SOI, _EOI, _SOS, _COM, _LS = 0xD8, 0xD9, 0xDA, 0xFE, 0xF7
_ALONE = {*range(0xD0, 0xD8), 0x01}
_NEXT = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_LS_NEXT = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")  # JPEG-LS stuffs a bit, not a byte (14495-1 A.1)
_JP2 = b"\x00\x00\x00\x0cjP  "
_BOXES = {b"jP  ", b"ftyp", b"jp2h", b"jp2c"}
_HEADER_BOXES = {b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef"}


class StreamError(ValueError):
    """A compressed frame whose segments cannot be followed."""


def without_comments(frame: bytes, segment: int = 0) -> bytes:
    """The frame without comments, application segments and what stands behind its end; itself where it has none.

    JFIF and Adobe segments stay, cut to what decoders read: they say which colours the samples are. Of a JP2 file,
    boxes that no decoder needs go. `segment` is how many bytes a segment of an RLE frame makes, 0 for other kinds.
    `StreamError` for what cannot be followed: damaged frames, and those that are none of these.
    """
    if segment or not frame:
        return _rle(frame, segment) if frame else frame
    if frame.startswith(b"\xff\xd8"):
        return b"".join(_jpeg(frame))
    if frame.startswith(b"\xff\x4f"):
        return _j2k(frame)
    if frame.startswith(_JP2):
        return b"".join(_jp2(frame))
    raise StreamError


def _jpeg(frame: bytes) -> Iterator[bytes]:
    yield frame[:2]
    at, ends = 2, _NEXT
    while True:
        start = at
        while frame[at : at + 2] == b"\xff\xff":
            at += 1
        if frame[at : at + 1] != b"\xff" or at + 2 > len(frame):
            raise StreamError
        marker = frame[at + 1]
        if marker == _EOI:
            yield b"\xff\xd9"
            return
        stop = at + 2 if marker in _ALONE else at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker == _SOI or marker < 0xC0 or stop > len(frame) or (marker not in _ALONE and stop < at + 4):
            raise StreamError
        segment = frame[start:stop]
        if 0xE0 <= marker <= 0xEF:
            yield _application(marker, frame[at + 4 : stop])
        elif marker != _COM:
            yield segment
        at = stop
        ends = _LS_NEXT if marker == _LS else ends
        if marker == _SOS:
            found = ends.search(frame, stop)
            if found is None:
                raise StreamError
            at = found.start()
            yield frame[stop:at]


def _application(marker: int, content: bytes) -> bytes:
    """JFIF without its thumbnail, Adobe's colour transform, and nothing of any other."""
    if marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 14:
        return b"\xff\xe0\x00\x10" + content[:12] + b"\0\0"
    if marker == 0xEE and content.startswith(b"Adobe") and len(content) >= 12:
        return b"\xff\xee\x00\x0e" + content[:12]
    # HP's and LOCO-I's application segment 8 of JPEG-LS tells of a colour transform.
    if marker == 0xE8 and content.startswith(b"mrfx") and len(content) == 5:
        return b"\xff\xe8\x00\x07" + content
    return b""


def _j2k(frame: bytes) -> bytes:
    """Main header, tile-parts, EOC. A length table goes where a tile-part has become shorter (15444-1 A.7.1)."""
    head, at = _kept(frame, 2, b"\x90")
    tiles, shorter = [], False
    while frame[at : at + 2] == b"\xff\x90":
        length = int.from_bytes(frame[at + 6 : at + 10], "big")
        markers, data = _kept(frame, at + 12, b"\x93")
        # Of unknown length it goes to EOC, which no packet can hold (15444-1 A.4.2, B.10.1).
        stop = at + length if length else frame.find(b"\xff\xd9", data)
        if not data < stop <= len(frame):
            raise StreamError
        part = b"".join(segment for _, segment in markers)
        if at + 12 + len(part) != data:
            shorter = True
        size = (12 + len(part) + stop - data).to_bytes(4, "big") if length else bytes(4)
        tiles.append(frame[at : at + 6] + size + frame[at + 10 : at + 12] + part + frame[data:stop])
        at = stop
    if frame[at : at + 2] != b"\xff\xd9" or not tiles:
        raise StreamError
    segments = [segment for marker, segment in head if not (shorter and marker == 0x55)]
    return frame[:2] + b"".join(segments) + b"".join(tiles) + b"\xff\xd9"


def _kept(frame: bytes, at: int, end: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """The marker segments but comments, and where the marker `end` stands."""
    found = []
    while frame[at : at + 2] != b"\xff" + end:
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        if frame[at : at + 1] != b"\xff" or length < 2 or at + 2 + length > len(frame):
            raise StreamError
        if frame[at + 1] != 0x64:
            found.append((frame[at + 1], frame[at : at + 2 + length]))
        at += 2 + length
    return found, at


def _jp2(data: bytes) -> Iterator[bytes]:
    for kind, content in _boxes(data):
        if kind == b"jp2c":
            yield _box(kind, _j2k(content))
            return
        if kind == b"jp2h":
            content = b"".join(_box(name, inner) for name, inner in _boxes(content) if name in _HEADER_BOXES)
        if kind in _BOXES:
            yield _box(kind, content)
    raise StreamError


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        length, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        stop = at + length if length else len(data)
        if stop < at + head or stop > len(data):
            raise StreamError
        yield kind, data[at + head : stop]
        at = stop


def _box(kind: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + kind + content


def _rle(frame: bytes, size: int) -> bytes:
    """The header and its segments, and nothing between and behind them; itself where there are zeros alone."""
    count = int.from_bytes(frame[:4], "little")
    if not 0 < count <= 15 or len(frame) < 64:
        raise StreamError
    starts = struct.unpack_from(f"<{count}I", frame, 4)
    stops = [
        _packed_end(frame, start, stop, size) for start, stop in zip(starts, (*starts[1:], len(frame)), strict=True)
    ]
    beside = [frame[4 + 4 * count : 64], frame[64 : starts[0]]]
    beside += [frame[stop:start] for stop, start in zip(stops, (*starts[1:], len(frame)), strict=True)]
    if not b"".join(beside).strip(b"\0"):
        return frame
    head, body = [count], b""
    for start, stop in zip(starts, stops, strict=True):
        head.append(64 + len(body))
        body += frame[start:stop] + bytes((stop - start) % 2)
    return struct.pack("<16I", *head, *[0] * (15 - count)) + body


def _packed_end(frame: bytes, at: int, stop: int, size: int) -> int:
    """Where the runs of a segment have made its `size` bytes (PS3.5 G.3.1); a byte more makes their number even."""
    if not 64 <= at <= stop <= len(frame):
        raise StreamError
    made = 0
    while made < size and at < stop:
        run = frame[at]
        if run < 128:
            made += run + 1
            at += run + 2
        elif run > 128:
            made += 257 - run
            at += 2
        else:
            at += 1
    if made > size + 1 or at > stop:
        raise StreamError
    return at
