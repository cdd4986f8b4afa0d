"""Colour profiles without their texts: who made one, and where, is no colour (ICC.1:2022 section 10)."""

from __future__ import annotations

import struct

__all__ = ["without_texts"]

_TEXTS = (b"text", b"desc", b"mluc")
_KNOWN = frozenset(
    b"rXYZ gXYZ bXYZ rTRC gTRC bTRC kTRC wtpt bkpt chad lumi meas tech A2B0 A2B1 A2B2 B2A0 B2A1 B2A2 gamt view".split()
)
_MOST = 100


def without_texts(profile: bytes) -> bytes | None:
    """The profile with blanks for its texts, and for every tag that is not known; None when it is no profile."""
    if profile[36:40] != b"acsp" or len(profile) < 132:
        return None
    out = bytearray(profile)
    out[48:56] = bytes(8)  # device manufacturer and model
    out[80:100] = bytes(20)  # creator and profile ID, which is a digest of what was there
    out[100:128] = bytes(28)
    count = struct.unpack_from(">I", profile, 128)[0]
    if count > _MOST or 132 + 12 * count > len(profile):
        return None
    used = [(0, 132 + 12 * count)]
    for number in range(count):
        name, at, size = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        if at + size > len(profile) or size < 8:
            return None
        used.append((at, at + size))
        kind = profile[at : at + 4]
        if name not in _KNOWN or kind in _TEXTS:
            _blank(out, at, size, kind)
    return _without_gaps(out, used)


def _blank(out: bytearray, at: int, size: int, kind: bytes) -> None:
    """Counts and offsets stay where the type has them, so that the tag can be read."""
    head = {b"desc": 12, b"mluc": 28}.get(kind, 8)
    out[at + 4 : at + 8] = bytes(4)
    rest = max(size - head, 0)
    out[at + head : at + head + rest] = (b"\0 " * (rest // 2 + 1) if kind == b"mluc" else b" " * rest)[:rest]
    if kind not in _TEXTS:
        out[at + 8 : at + size] = bytes(size - 8)


def _without_gaps(out: bytearray, used: list[tuple[int, int]]) -> bytes:
    """Zeros where no tag lies."""
    end = 0
    for start, stop in sorted(used):
        if start > end:
            out[end:start] = bytes(start - end)
        end = max(end, stop)
    out[end:] = bytes(len(out) - end)
    return bytes(out)
