"""Colour profiles in an output: the colours of the original's, and at most its texts blanked out.

Sources: ICC.1:2022 section 7 (header, table of tags), 8 and 9 (the tags that make colours).
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache

__all__ = ["is_blanked"]

# Of the 128 bytes of the header: size, version, class, spaces; signature; intent and illuminant.
_HEADER = ((0, 24), (36, 40), (64, 80))
_COLOURS = re.compile(rb"[rgbk](XYZ|TRC)|wtpt|chad|gamt|A2B\d|B2A\d|D2B\d|B2D\d")
_TABLE = 128
_BLANK = frozenset(b"\0 ")


@lru_cache(maxsize=64)
def is_blanked(old: bytes, new: bytes) -> bool:
    """Whether two profiles differ in nothing but blanks (zeros, spaces), and in nothing that makes colours."""
    if len(old) != len(new) or len(old) < _TABLE + 4:
        return False
    count = struct.unpack_from(">I", old, _TABLE)[0]
    if _TABLE + 4 + 12 * count > len(old):
        return False
    spans = [*_HEADER, (_TABLE, _TABLE + 4 + 12 * count)]
    for number in range(count):
        name, start, size = struct.unpack_from(">4sII", old, _TABLE + 4 + 12 * number)
        if _COLOURS.fullmatch(name):
            spans.append((start, start + size))
    same = all(old[start:stop] == new[start:stop] for start, stop in spans)
    return same and all(after in _BLANK for before, after in zip(old, new, strict=True) if before != after)
