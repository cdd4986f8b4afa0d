"""Siemens' CSA header in an output: nothing but numbers that its original has under the same names.

The format is not published; what is known of it: "SV10", 4 bytes, the number of elements, a check, then elements of a
name (64 bytes), VM, VR, type, number of items and a check; items of four integers, the first or second of which is the
length, and text padded to four bytes.
"""

from __future__ import annotations

import re
import struct

__all__ = ["is_reduced"]

_NUMBER = re.compile(rb"[-+]?\d{1,10}(\.\d*)?([eE][-+]?\d+)?")
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]{0,63}")
_MOST = 4096
_CHECKS = (77, 205)


def is_reduced(old: bytes, new: bytes) -> bool:
    """Whether a header is well-formed to its last byte and holds only numbers that stand in the original's."""
    try:
        kept, behind = _elements(new, strict=True)
        had, _ = _elements(old, strict=False)
    except (struct.error, ValueError):
        return False
    return not behind.strip(b"\0") and all(values and values == had.get(name) for name, values in kept.items())


def _elements(data: bytes, *, strict: bool) -> tuple[dict[bytes, list[bytes]], bytes]:
    """(name → values that are not empty, what stands behind); `strict`: nothing can hide between them."""
    if data[:4] != b"SV10" or (strict and (data[4:8] != b"\4\3\2\1" or data[12:16] != b"M\0\0\0")):
        raise ValueError
    found: dict[bytes, list[bytes]] = {}
    count, at = struct.unpack_from("<I", data, 8)[0], 16
    for _ in range(min(count, _MOST)):
        name, vm, vr, kind, items, check = struct.unpack_from("<64si4siii", data, at)
        at += 84
        label = name.split(b"\0")[0]
        if strict and (name.rstrip(b"\0") != label or not _NAME.fullmatch(label) or not vr[:2].isalpha()):
            raise ValueError
        if strict and (vr[2:].strip(b"\0") or label in found or not 0 <= vm <= _MOST):
            raise ValueError
        if strict and (not 0 <= kind < 256 or check not in _CHECKS):
            raise ValueError
        values = []
        for _ in range(items):
            numbers = struct.unpack_from("<4i", data, at)
            length = numbers[1]
            if length < 0 or (strict and not set(numbers) <= {length, *_CHECKS}):
                raise ValueError
            text = data[at + 16 : at + 16 + length]
            value = text.split(b"\0")[0].strip()
            if strict and (text.rstrip(b"\0 ") != value or (value and not _NUMBER.fullmatch(value))):
                raise ValueError
            stop = at + 16 + -(-length // 4) * 4
            if strict and (stop > len(data) or data[at + 16 + length : stop].strip(b"\0")):
                raise ValueError
            values += [value] if value else []
            at = stop
        found[label] = values
    return found, data[at:]
