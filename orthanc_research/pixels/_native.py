"""The pixels of a plain file, and its header, without parsing it: a strict walk over its elements to PixelData.

Parsing is what costs when a volume is read: pydicom takes 0.6 ms for a CT slice of which the copy takes 0.1 ms. Most
slices are one grey image, uncompressed, little endian, with its elements in order and its pixels last. Whatever is not
exactly so gives None here and goes to pydicom: other syntaxes, colour, elements out of order or unknown, a length that
does not fit, anything behind the pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass, field

from ._wanted import ASIDE, SEQUENCES, TAGS

__all__ = ["FACTS", "META", "Plain", "longer", "meta_syntax", "plain"]

_EXPLICIT = b"1.2.840.10008.1.2.1"
_IMPLICIT = b"1.2.840.10008.1.2"
_META_SYNTAX = 0x00020010
_PIXEL_DATA = 0x7FE00010
# keyword of a US element of the pixel module → tag; NumberOfFrames and PhotometricInterpretation are text.
_NUMBERS = {
    "SamplesPerPixel": 0x00280002,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "HighBit": 0x00280102,
    "PixelRepresentation": 0x00280103,
}
_FRAMES, _PHOTOMETRIC = 0x00280008, 0x00280004
_WANTED = {*_NUMBERS.values(), _FRAMES, _PHOTOMETRIC}
FACTS = frozenset({*_WANTED, _META_SYNTAX})
"""What `Plain` is made of, besides the heads."""
_VALUES = {tag for tag, key in TAGS.items() if key not in SEQUENCES}
# Sequences that say something of the frame itself: files with one are parsed.
_TELLING = {tag for tag, key in TAGS.items() if key in SEQUENCES - ASIDE}

# PS3.5 section 7.1.2: the VRs whose length takes four bytes after two reserved ones, and those whose length takes two.
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT = {
    bytes(vr, "ascii")
    for vr in [
        "AE",
        "AS",
        "AT",
        "CS",
        "DA",
        "DS",
        "DT",
        "FD",
        "FL",
        "IS",
        "LO",
        "LT",
        "PN",
        "SH",
        "SL",
        "SS",
        "ST",
        "TM",
        "UI",
        "UL",
        "US",
    ]
}
_UNDEFINED = 0xFFFFFFFF
META = 132  # behind the preamble and its four letters
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DEEPEST = 8

Heads = list[tuple[int, int, int]]

_explicit = struct.Struct("<HH2sH").unpack_from
_implicit = struct.Struct("<HHI").unpack_from
_u16 = struct.Struct("<H").unpack_from
_u32 = struct.Struct("<I").unpack_from


@dataclass(frozen=True, slots=True)
class Plain:
    """Where the pixels of a plain file are: `frames` x `rows` x `columns` values from byte `offset` on.

    `facts` holds BitsAllocated, BitsStored, HighBit and PixelRepresentation under their keywords; `elements` those of
    `TAGS` that are there, tag → (VR, "" in implicit files; value), when they were asked for, and `syntax` their syntax.
    `heads` are where the walk looked, one behind the other from `META` to the pixels: (from, to, tag), 0 for the tag
    within a sequence.
    """

    frames: int
    rows: int
    columns: int
    offset: int
    facts: dict[str, int]
    elements: dict[int, tuple[str, bytes]] = field(default_factory=dict, repr=False)
    syntax: str = ""
    heads: Heads = field(default_factory=list, repr=False)


class _UnusualError(Exception):
    """This file is for pydicom."""


def plain(content: bytes, *, header: bool = False, more: Collection[int] = ()) -> Plain | None:
    """Where the pixels are, with what frames are made of when the `header` is asked for; None when it is not plain.

    `more` are further tags that the header is to have; one that is a sequence makes the file unusual.
    """
    try:
        heads: Heads = []
        syntax, start = _syntax(content, heads)
        if syntax not in (_EXPLICIT, _IMPLICIT):
            return None
        elements: dict[int, tuple[str, bytes]] | None = {} if header else None
        found, offset, length = _elements(content, start, elements, more, heads, explicit=syntax == _EXPLICIT)
        return _described(found, offset, length, elements or {}, syntax.decode("ascii"), heads)
    except (_UnusualError, struct.error):
        return None


def meta_syntax(content: bytes) -> str | None:
    """The transfer syntax of the meta information; None where that is not as PS3.10 §7.1 has it."""
    try:
        return _syntax(content, [])[0].decode("ascii").strip(" \0") or None
    except (_UnusualError, struct.error, UnicodeDecodeError):
        return None


def _syntax(content: bytes, heads: Heads) -> tuple[bytes, int]:
    """The transfer syntax, and where the dataset starts."""
    if content[128:META] != b"DICM":
        raise _UnusualError
    at, syntax, last = META, b"", 0
    while content[at : at + 2] == b"\2\0":
        tag, _, start, length = _with_vr(content, at)
        heads.append((at, start, tag))
        if tag <= last or length == _UNDEFINED:
            raise _UnusualError
        last, at = tag, start + length
        if tag == _META_SYNTAX:
            syntax = content[start:at].rstrip(b"\0")
    return syntax, at


def _elements(
    content: bytes,
    at: int,
    elements: dict[int, tuple[str, bytes]] | None,
    more: Collection[int],
    heads: Heads,
    *,
    explicit: bool,
) -> tuple[dict[int, bytes], int, int]:
    """The wanted values, and start and length of the pixels, which are the last element; the header into `elements`."""
    found: dict[int, bytes] = {}
    last = 0x0002FFFF
    element = _with_vr if explicit else _without_vr
    while True:
        tag, vr, start, length = element(content, at)
        heads.append((at, start, tag))
        if tag <= last:
            raise _UnusualError
        last = tag
        if tag >= 0x7FE00000:
            if tag != _PIXEL_DATA or start + length != len(content) or vr not in (b"OW", b"OB", b""):
                raise _UnusualError
            return found, start, length
        value = elements is not None and (tag in _VALUES or tag in more)
        if (tag in _TELLING and elements is not None) or (value and (vr == b"SQ" or length == _UNDEFINED)):
            raise _UnusualError
        if length == _UNDEFINED:
            at = _sequence_end(content, start, vr, 0, heads, explicit=explicit)
            continue
        at = start + length
        if tag in _WANTED:
            if explicit and vr != {_FRAMES: b"IS", _PHOTOMETRIC: b"CS"}.get(tag, b"US"):
                raise _UnusualError
            found[tag] = content[start:at]
        if value and elements is not None:
            elements[tag] = vr.decode("ascii"), content[start:at]


def _without_vr(content: bytes, at: int) -> tuple[int, bytes, int, int]:
    """(tag, VR, where the value starts, its length) of the element at `at`; the VR is empty: none is written."""
    group, number, length = _implicit(content, at)
    return group << 16 | number, b"", at + 8, length


def _with_vr(content: bytes, at: int) -> tuple[int, bytes, int, int]:
    group, number, vr, length = _explicit(content, at)
    if vr in _SHORT:
        return group << 16 | number, vr, at + 8, length
    if vr not in _LONG or length:  # two reserved bytes, which are 0
        raise _UnusualError
    return group << 16 | number, vr, at + 12, _u32(content, at + 8)[0]


def longer(content: bytes, at: int, head: bytes, *, explicit: bool) -> tuple[int, int] | None:
    """(where the value starts, its length) of the element at `at`; None unless it differs from `head` in length alone.

    A walk then goes on behind it as it did behind the element that had that head.
    """
    element = _with_vr if explicit and head[:2] != b"\xfe\xff" else _without_vr
    try:
        tag, vr, start, length = element(content, at)
        other, same, _, before = element(head, 0)
    except (_UnusualError, struct.error):
        return None
    alike = tag == other and vr == same and tag not in (_ITEM_END, _SEQUENCE_END)
    return (start, length) if alike and _UNDEFINED not in (length, before) else None


def _sequence_end(content: bytes, at: int, vr: bytes, depth: int, heads: Heads, *, explicit: bool) -> int:
    """Behind the delimiter of a sequence of undefined length, whose first item is at `at`."""
    if (explicit and vr != b"SQ") or depth > _DEEPEST:  # UN of undefined length is implicit within
        raise _UnusualError
    while True:
        group, number, length = _implicit(content, at)
        heads.append((at, at + 8, 0))
        tag, at = group << 16 | number, at + 8
        if tag == _SEQUENCE_END and length == 0:
            return at
        if tag != _ITEM:
            raise _UnusualError
        at = at + length if length != _UNDEFINED else _item_end(content, at, depth, heads, explicit=explicit)


def _item_end(content: bytes, at: int, depth: int, heads: Heads, *, explicit: bool) -> int:
    element = _with_vr if explicit else _without_vr
    while _u16(content, at)[0] != 0xFFFE:
        _, vr, start, length = element(content, at)
        heads.append((at, start, 0))
        if length != _UNDEFINED:
            at = start + length
        else:
            at = _sequence_end(content, start, vr, depth + 1, heads, explicit=explicit)
    heads.append((at, at + 8, 0))
    group, number, length = _implicit(content, at)
    if group << 16 | number != _ITEM_END or length:
        raise _UnusualError
    return at + 8


def _described(
    found: dict[int, bytes],
    offset: int,
    length: int,
    elements: dict[int, tuple[str, bytes]],
    syntax: str,
    heads: Heads,
) -> Plain:
    if any(len(found.get(tag, b"")) != 2 for tag in _NUMBERS.values()):
        raise _UnusualError
    facts = {keyword: _u16(found[tag])[0] for keyword, tag in _NUMBERS.items()}
    samples, rows, columns = (facts.pop(keyword) for keyword in ("SamplesPerPixel", "Rows", "Columns"))
    said = found.get(_FRAMES, b"1").strip(b" \0")
    frames = int(said) if said.isdigit() and len(said) < 8 else 0
    bits, stored, high = facts["BitsAllocated"], facts["BitsStored"], facts["HighBit"]
    size = frames * rows * columns * bits // 8
    if (
        samples != 1
        or size < 1
        or bits not in (8, 16, 32)
        or not stored - 1 <= high < bits
        or not stored >= 1
        or facts["PixelRepresentation"] > 1
        or found.get(_PHOTOMETRIC, b"").rstrip(b" \0") not in (b"MONOCHROME1", b"MONOCHROME2")
        or length != size + size % 2
    ):
        raise _UnusualError
    return Plain(frames, rows, columns, offset, facts, elements, syntax, heads)
