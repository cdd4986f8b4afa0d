"""What a compressed frame says of itself, so that a header which contradicts it is told before anything is decoded.

JPEG and JPEG-LS are marker segments (ISO/IEC 10918-1 Annex B, 14495-1 Annex C), JPEG 2000 too (15444-1 Annex A); RLE
has a table of its segments (PS3.5 Annex G).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["BEGINS", "Codestream", "FrameError", "check_rle", "j2k", "jpeg"]

# How a frame's first fragment begins: JPEG and JPEG-LS; JPEG 2000, with or without the wrapping of a JP2 file.
_JP2 = b"\x00\x00\x00\x0cjP  "
BEGINS = {"jpeg": (b"\xff\xd8\xff",), "j2k": (b"\xff\x4f\xff\x51", _JP2)}

# In entropy-coded data 0xFF is followed by zero, or is a restart marker; anything else ends them (10918-1 B.1.1.5).
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_LS_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")  # 14495-1 A.1: a bit is stuffed there, not a byte
_SOI, _EOI, _SOS, _LS = 0xD8, 0xD9, 0xDA, 0xF7
_APPLICATION = range(0xE0, 0xF0)
_SOF = {*range(0xC0, 0xD0), _LS} - {0xC4, 0xC8, 0xCC}
_ALONE = range(0xD0, 0xD8)
_SEQUENTIAL = {0xC0, 0xC1}


class FrameError(ValueError):
    """A frame that is broken or contradicts its header; the text goes on where "frame 2 of 3" ends."""


@dataclass(frozen=True, slots=True)
class Codestream:
    """A frame's own account of its size and type.

    `process` is the second byte of a JPEG's SOF marker, 0 for JPEG 2000; `signed` None where the codec has no sign;
    `transformed` whether colour was transformed by the codec (JPEG 2000's MCT, Adobe's marker), None where it does not
    say. `scans` and `end` are where the SOS markers and the EOI marker stand, JPEG only.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    process: int = 0
    signed: bool | None = None
    transformed: bool | None = None
    scans: tuple[int, ...] = ()
    end: int = 0

    def strict(self, frame: bytes) -> bytes:
        """The JPEG frame with a comment and two bytes that do not belong there before its end.

        Where data are lost or left over, decoders of libjpeg's family warn, go on with zeros, and the rest of the
        picture is grey or shifted. gdcm overlooks one warning and refuses at the second: those bytes are the first.
        """
        out = bytearray(frame[: self.end] + b"\xff\xfe\x00\x02" + b"\0\0" + frame[self.end :])
        if self.process in _SEQUENTIAL:
            for scan in self.scans:  # some write another spectral range, which means nothing here: 10918-1 B.2.3
                end = scan + 2 + int.from_bytes(frame[scan + 2 : scan + 4], "big")
                out[end - 3 : end] = b"\x00\x3f\x00"
        return bytes(out)


def jpeg(frame: bytes) -> Codestream:
    """The markers of a JPEG or JPEG-LS frame; `FrameError` when they make no whole picture."""
    size: tuple[int, ...] = ()
    scans, end, transformed = [], 0, None
    for marker, start, stop in _segments(frame):
        if marker in _SOF:
            if size:
                raise FrameError("describes its size twice")
            size = (marker, *_frame_header(frame[start:stop]))
        elif marker == _SOS:
            scans.append(start - 4)
        elif marker == _EOI:
            end = start - 2
        elif marker in _APPLICATION:
            _check_application(marker, frame[start:stop])
            if frame[start : start + 5] == b"Adobe" and stop >= start + 12:
                transformed = frame[start + 11] != 0
    if not size or not scans:
        raise FrameError("holds no picture")
    process, precision, rows, columns, samples = size
    return Codestream(rows, columns, samples, precision, process, None, transformed, tuple(scans), end)


def _segments(frame: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, where its content begins, where it ends) up to EOI; entropy-coded data are passed over."""
    if not frame.startswith(BEGINS["jpeg"]):
        raise FrameError("does not begin as JPEG does")
    at, ends = 2, _MARKER
    while True:
        marker, at = _marker(frame, at)
        if marker == _EOI:
            yield marker, at, at
            break
        if marker == _SOI:
            raise FrameError("begins a second picture inside the first")
        stop = at if marker in _ALONE else at + int.from_bytes(frame[at : at + 2], "big")
        if stop > len(frame) or (marker not in _ALONE and stop < at + 2):
            raise FrameError("is cut or damaged between its markers")
        yield marker, at + 2, stop
        at = stop
        if marker == _LS:
            ends = _LS_MARKER
        elif marker == _SOS:
            found = ends.search(frame, stop)
            if found is None:
                raise FrameError("has no end: it is cut")
            at = found.start()
    if frame.startswith(b"\xff\xd8", at):
        raise FrameError("has a second picture behind the first")


def _marker(frame: bytes, at: int) -> tuple[int, int]:
    """The marker at this place and where what follows it begins; bytes 0xFF may fill before it (10918-1 B.1.1.2)."""
    if frame[at : at + 1] not in (b"\xff", b""):
        raise FrameError("is damaged between its markers")
    while frame[at : at + 1] == b"\xff":
        at += 1
    if at >= len(frame):
        raise FrameError("has no end: it is cut")
    if frame[at] < 0xC0:
        raise FrameError("is damaged between its markers")
    return frame[at], at + 1


def _check_application(marker: int, content: bytes) -> None:
    """A JFIF of another version, an unknown Adobe colour: libjpeg warns, and gdcm ends the process at that."""
    jfif = marker == 0xE0 and content.startswith(b"JFIF\0") and content[5:6] != b"\x01"
    adobe = content.startswith(b"Adobe") and content[11:12] > b"\x02"
    if jfif or adobe:
        raise FrameError("has a marker that is no JFIF and no Adobe marker known")


def _frame_header(segment: bytes) -> tuple[int, int, int, int]:
    """Precision, rows, columns and components of an SOF segment (10918-1 B.2.2)."""
    if len(segment) < 6 or len(segment) < 6 + 3 * segment[5]:
        raise FrameError("is damaged where its size is")
    return segment[0], int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big"), segment[5]


def j2k(frame: bytes) -> Codestream:
    """The main header of a JPEG 2000 or HTJ2K frame; `FrameError` when it describes no picture."""
    at = _codestream_start(frame)
    if frame[at : at + 4] != b"\xff\x4f\xff\x51":
        raise FrameError("does not begin as JPEG 2000 does")
    at += 4
    siz = frame[at : at + int.from_bytes(frame[at : at + 2], "big")]
    if len(siz) < 41:
        raise FrameError("is cut where its size is")
    x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0 = (int.from_bytes(siz[k : k + 4], "big") for k in range(4, 36, 4))
    samples = int.from_bytes(siz[36:38], "big")
    parts = {siz[k : k + 3] for k in range(38, 38 + 3 * samples, 3)}
    if len(siz) != 38 + 3 * samples or not samples:
        raise FrameError("is damaged where its size is")
    if len(parts) != 1:
        raise FrameError("has components of several types, which is not supported")
    ((depth, step_x, step_y),) = parts
    if (step_x, step_y) != (1, 1):
        raise FrameError("has subsampled components, which is not supported")
    if not (x1 > x0 and y1 > y0 and tile_x > 0 and tile_y > 0 and tile_x0 <= x0 and tile_y0 <= y0):
        raise FrameError("is damaged where its size is")
    tiles = -(-(x1 - tile_x0) // tile_x) * -(-(y1 - tile_y0) // tile_y)
    if tiles > 65535:  # 15444-1 A.4.2: Isot has 16 bits
        raise FrameError("has more tiles than there can be")
    transformed, first_tile = _component_transform(frame, at + len(siz))
    _check_tile_parts(frame, first_tile, tiles)
    return Codestream(y1 - y0, x1 - x0, samples, (depth & 0x7F) + 1, 0, bool(depth & 0x80), transformed)


def _codestream_start(frame: bytes) -> int:
    """0, or behind the boxes of a JP2 file, which some write although PS3.5 A.4.4 wants the codestream alone."""
    if not frame.startswith(_JP2):
        return 0
    at = 0
    while at + 8 <= len(frame):
        length, kind = int.from_bytes(frame[at : at + 4], "big"), frame[at + 4 : at + 8]
        if kind == b"jp2c":
            return at + (16 if length == 1 else 8)
        if length < 8:
            break
        at += length
    raise FrameError("is a JP2 file without a codestream")


def _check_tile_parts(frame: bytes, at: int, tiles: int) -> None:
    """Every tile is there, and each part of it ends where its SOT says (15444-1 A.4.2), the last before EOC."""
    found = set()
    while frame.startswith(b"\xff\x90", at):
        found.add(frame[at + 4 : at + 6])
        length = int.from_bytes(frame[at + 6 : at + 10], "big")
        if length == 0:  # the last one may leave it open
            at = max(frame.rfind(b"\xff\xd9"), at + 12)
            break
        at += max(length, 12)
    if not frame.startswith(b"\xff\xd9", at):
        raise FrameError("is cut or damaged: its parts are not as long as they say")
    if len(found) != tiles:
        raise FrameError(f"is cut or damaged: it has {len(found)} of {tiles} tiles")


def _component_transform(frame: bytes, at: int) -> tuple[bool, int]:
    """Whether COD asks for the multiple component transform (15444-1 A.6.1), and where the first SOT is."""
    transformed = None
    while frame[at : at + 1] == b"\xff" and frame[at + 1 : at + 2] != b"\x90":
        if frame[at + 1 : at + 2] == b"\x52":
            transformed = frame[at + 8 : at + 9] == b"\x01"
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        if length < 2:
            break
        at += 2 + length
    if transformed is None or not frame.startswith(b"\xff\x90", at):
        raise FrameError("is damaged in its main header")
    return transformed, at


def check_rle(frame: bytes, segments: int) -> None:
    """`FrameError` when the table of an RLE frame (PS3.5 G.5) is not of `segments` segments, one behind the other."""
    table = [int.from_bytes(frame[k : k + 4], "little") for k in range(0, 64, 4)]
    if len(frame) < 64 or table[0] != segments:
        raise FrameError(f"has {table[0]} segments, and the header's bits and samples make {segments}")
    offsets = [*table[1 : segments + 1], len(frame)]
    if offsets[0] != 64 or any(later <= earlier for earlier, later in pairwise(offsets)) or any(table[segments + 1 :]):
        raise FrameError("is damaged in its table of segments")
