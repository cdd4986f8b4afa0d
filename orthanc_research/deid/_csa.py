"""The CSA header of Siemens, reduced to a few numbers: the only place that says how a mosaic's slices follow."""

from __future__ import annotations

import re
import struct

__all__ = ["reduced_csa"]

# Geometry, diffusion and timing; the rest of a CSA header holds names, serial numbers, dates and whole protocols.
_WANTED = frozenset(
    (
        "B_matrix",
        "B_value",
        "BandwidthPerPixelPhaseEncode",
        "DiffusionGradientDirection",
        "MosaicRefAcqTimes",
        "NumberOfImagesInMosaic",
        "PhaseEncodingDirectionPositive",
        "RealDwellTime",
        "SliceMeasurementDuration",
        "SliceNormalVector",
        "TimeAfterStart",
    )
)
_NUMBER = re.compile(rb"[+-]?\d{1,10}(\.\d{1,12})?([eE][+-]?\d{1,2})?")
_CHECK = 77
_MOST = 1000


def reduced_csa(data: bytes) -> bytes | None:
    """A CSA header of the second kind ("SV10") with nothing but known numbers, written anew; None when it is none.

    After 16 bytes, elements of name (64 bytes), VM, VR, type, number of items and a check; each item has its length as
    the second of four integers, then text padded to four bytes.
    """
    try:
        found = _numbers(data)
    except struct.error:
        return None
    return _written(found) if found else None


def _numbers(data: bytes) -> list[tuple[bytes, bytes, int, list[bytes]]]:
    found = []
    if data[:4] != b"SV10":
        return []
    at = 16
    for _ in range(min(struct.unpack_from("<I", data, 8)[0], _MOST)):
        name, _, vr, kind, count, _ = struct.unpack_from("<64si4siii", data, at)
        at += 84
        values = []
        for _ in range(count):
            length = struct.unpack_from("<4i", data, at)[1]
            if length < 0:
                return []
            values.append(data[at + 16 : at + 16 + length].split(b"\0")[0].strip())
            at += 16 + -(-length // 4) * 4
        name = name.split(b"\0")[0]
        values = [value for value in values if value]
        numbers = all(_NUMBER.fullmatch(value) for value in values)
        if name.decode("latin-1") in _WANTED and values and numbers and re.match(rb"[A-Z]{2}", vr):
            found.append((name, vr[:2], kind if 0 <= kind < 256 else 0, values))
    return found


def _written(elements: list[tuple[bytes, bytes, int, list[bytes]]]) -> bytes:
    out = b"SV10\4\3\2\1" + struct.pack("<II", len(elements), _CHECK)
    for name, vr, kind, values in elements:
        out += struct.pack("<64si4siii", name, len(values), vr, kind, len(values), _CHECK)
        for value in values:
            text = value + b"\0"
            size = len(text)
            out += struct.pack("<4i", size, size, _CHECK, size) + text + bytes(-size % 4)
    return out
