"""Elements as bytes (PS3.5 section 7): the values are encoded already, so only headers and padding are written."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from ._read import Syntax

__all__ = ["element", "encapsulated", "meta", "sequence"]

_LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_NULS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UI", "UN"))
_MOST_SHORT = 0xFFFE
_UNDEFINED = 0xFFFFFFFF
_ITEM, _END = 0xFFFEE000, 0xFFFEE0DD
_EXPLICIT = Syntax("1.2.840.10008.1.2.1", False, True, False)


def element(syntax: Syntax, tag: int, vr: str, value: bytes) -> bytes:
    """One element of defined length, padded to even."""
    if len(value) % 2:
        value += b"\0" if vr in _NULS else b" "
    return _header(syntax, tag, vr, len(value)) + value


def sequence(syntax: Syntax, tag: int, items: Iterable[bytes]) -> bytes:
    """A sequence of encoded items, of defined length."""
    return element(syntax, tag, "SQ", b"".join(_item(syntax, item) for item in items))


def encapsulated(syntax: Syntax, tag: int, fragments: Iterable[bytes]) -> bytes:
    """Encapsulated pixel data (PS3.5 A.4) of its fragments, the offset table first."""
    content = b"".join(_item(syntax, fragment) for fragment in fragments)
    return _header(syntax, tag, "OB", _UNDEFINED) + content + _mark(syntax, _END, 0)


def meta(elements: Iterable[tuple[int, str, bytes]]) -> bytes:
    """File meta information (PS3.10 section 7.1) with its group length, behind an empty preamble."""
    content = b"".join(element(_EXPLICIT, tag, vr, value) for tag, vr, value in elements)
    length = element(_EXPLICIT, 0x00020000, "UL", struct.pack("<I", len(content)))
    return bytes(128) + b"DICM" + length + content


def _item(syntax: Syntax, content: bytes) -> bytes:
    return _mark(syntax, _ITEM, len(content)) + content


def _mark(syntax: Syntax, tag: int, length: int) -> bytes:
    return struct.pack("<HHI" if syntax.little else ">HHI", tag >> 16, tag & 0xFFFF, length)


def _header(syntax: Syntax, tag: int, vr: str, length: int) -> bytes:
    if syntax.implicit:
        return _mark(syntax, tag, length)
    if vr in _LONG or length > _MOST_SHORT:
        # PS3.5 section 6.2.2: what is too long for its VR is written as UN.
        name = vr if vr in _LONG else "UN"
        return struct.pack("<HH2sHI" if syntax.little else ">HH2sHI", tag >> 16, tag & 0xFFFF, name.encode(), 0, length)
    return struct.pack("<HH2sH" if syntax.little else ">HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length)
