"""A header of many frames → a header for each frame, as if each were a file of its own.

Enhanced objects (PS3.3 C.7.6.16): what the frame's own functional groups say, else what the shared ones say, else the
top level. Only the macros that describe the frame are read: a private sequence may repeat the classic elements with
other values (Philips 2005,140F does). Objects with vectors instead: RT Dose, nuclear medicine, cine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import accumulate, repeat
from typing import Any

from ._header import Header, items, numbers, text, texts, unread, usable, whole
from ._wanted import CONVERTED, MACROS

__all__ = ["MOST_FRAMES", "frame_changes"]

Changes = Iterable[dict[str, Any]]
Point = tuple[float, float, float]

MOST_FRAMES = 1 << 16  # a header can claim two thousand million; slides of many tiles come near to this
_GROUPS = ("5200,9230", "5200,9229")
_TRANSVERSE = 1e-3  # of a direction cosine

# PS3.3 C.8.4.8: the vectors that tell nuclear medicine's frames apart; the Slice Vector (0054,0080) gives the place.
_NM_VECTORS = {
    "0054,0010": "energy_window",
    "0054,0020": "detector",
    "0054,0030": "phase",
    "0054,0050": "rotation",
    "0054,0060": "rr_interval",
    "0054,0070": "time_slot",
    "0054,0090": "angular_view",
    "0054,0100": "time_slice",
}
# Names of what a DimensionIndexPointer points to; others are called by their tag.
_DIMENSIONS = {
    "0020,9056": "stack_index",
    "0020,9057": "in_stack_position",
    "0020,9128": "temporal_index",
    "0020,0032": "position_index",
    "0018,9087": "b_value_index",
    "0018,9089": "gradient_index",
    "0018,9082": "echo_index",
    "0018,9079": "inversion_index",
    "0020,9153": "trigger_index",
    "0020,930d": "time_index",
    "0008,9007": "frame_type_index",
    "0008,9208": "component_index",
}


def frame_changes(header: Header) -> tuple[Header, Changes, str]:
    """(what all frames have in common, what each frame changes of it, "").

    One frame, unchanged, and a sentence where the frames of the file cannot be told apart. What tells frames apart
    beyond the classic elements is under "extra": (name, number) pairs.
    """
    count = whole(header, "0028,0008")
    grouped = any(key in header for key in _GROUPS)
    if count in (None, 1) and not grouped:
        return header, [{}], ""
    count = 1 if count is None else count
    wrong = _wrong_count(header, count)
    base: Header = header
    changes: Changes = ()
    if not wrong:
        base, changes, wrong = _changes(header, count, grouped)
    return (header, [{}], wrong) if wrong else (base, changes, "")


def _wrong_count(header: Header, count: int) -> str:
    if not 1 <= count <= MOST_FRAMES:
        return f"NumberOfFrames is not from 1 to {MOST_FRAMES}."
    for key in _GROUPS:
        if key in header and not isinstance(header[key], list):
            return "The functional groups cannot be read."
    own = items(header, "5200,9230")
    if own and len(own) != count:
        return f"There are functional groups for {len(own)} frames, and NumberOfFrames is {count}."
    return ""


def _changes(header: Header, count: int, grouped: bool) -> tuple[Header, Changes, str]:
    if grouped:
        return _enhanced(header, count)
    if text(header, "0008,0060") == "RTDOSE":
        return _dose(header, count)
    if text(header, "0008,0060") == "NM":
        return _nuclear(header, count)
    # A position at the top level is of one frame: none of many has a place then.
    return _without_place(header), _times(header, count), ""


# -- functional groups ----------------------------------------------------------------------------------------------


def _enhanced(header: Header, count: int) -> tuple[Header, Changes, str]:
    base = {key: value for key, value in header.items() if key not in _GROUPS}
    for shared in items(header, "5200,9229")[:1]:
        base |= _flat(shared)
    pointers = [_pointer(each) for each in items(header, "0020,9222")]
    own = items(header, "5200,9230") or [{}] * count
    return base, (_own(_flat(group), base, pointers) for group in own), ""


def _own(change: dict[str, Any], base: Header, pointers: list[str]) -> dict[str, Any]:
    kind = text(change, "0008,9007") or text(base, "0008,9007")
    if kind:  # Frame Type is this frame's Image Type
        change["0008,0008"] = kind
    indices = numbers(change, "0020,9157") or ()
    change["extra"] = tuple(zip(pointers, indices, strict=True)) if len(pointers) == len(indices) else ()
    return change


def _flat(group: Header) -> dict[str, Any]:
    """The elements of the macros in one functional group; what was converted from classic files is overridden."""
    found: dict[str, Any] = {}
    for key in (*CONVERTED, *MACROS):
        for macro in items(group, key)[:1]:
            found.update(macro)
    return found


def _pointer(dimension: Header) -> str:
    key = text(dimension, "0020,9165").lower()
    return _DIMENSIONS.get(key, key)


# -- vectors --------------------------------------------------------------------------------------------------------


def _dose(header: Header, count: int) -> tuple[Header, Changes, str]:
    """PS3.3 C.8.8.3.2: offsets along the normal from the first frame, or z coordinates of transverse frames."""
    offsets, wrong = _vector(header, "3004,000c", count, "GridFrameOffsetVector")
    corner, normal = _corner(header)
    if wrong or not offsets or corner is None:
        return _without_place(header), repeat({}, count), wrong
    if offsets[0] == 0:
        return header, (_at(corner, offset, normal) for offset in offsets), ""
    if not math.isclose(offsets[0], corner[2], abs_tol=1e-3) or abs(abs(normal[2]) - 1) > _TRANSVERSE:
        return header, (), "GridFrameOffsetVector starts neither at 0 nor at the z of a transverse first frame."
    return header, (_at((corner[0], corner[1], z), 0.0, normal) for z in offsets), ""


def _nuclear(header: Header, count: int) -> tuple[Header, Changes, str]:
    """Reconstructed slices lie SpacingBetweenSlices apart, whose sign is the direction (PS3.3 C.8.4.15).

    Position and orientation are of the first frame, in Detector Information (C.8.4.11). Other nuclear images are
    projections, without a place.
    """
    extra: list[tuple[tuple[str, float], ...]] = [()] * count
    for key, name in _NM_VECTORS.items():
        vector, wrong = _vector(header, key, count, "A vector of the frames")
        if wrong:
            return header, (), wrong
        if vector:
            extra = [(*pairs, (name, value)) for pairs, value in zip(extra, vector, strict=True)]
    slices, wrong = _vector(header, "0054,0080", count, "SliceVector")
    detectors = items(header, "0054,0022")
    first = detectors[0] if len(detectors) == 1 else header
    corner, normal = _corner(first)
    gap = usable(header, "0018,0088")
    base = _without_place(header)
    if corner is None or not gap or not slices or "RECON" not in "".join(texts(header, "0008,0008")[2:3]):
        return base, ({"extra": pairs} for pairs in extra), wrong
    base["0020,0037"] = first["0020,0037"]
    places = (_at(corner, (each - slices[0]) * gap, normal) for each in slices)
    return base, ({"extra": pairs, **place} for pairs, place in zip(extra, places, strict=True)), wrong


def _times(header: Header, count: int) -> Changes:
    """Milliseconds from the first frame (PS3.3 C.7.6.5), where the file says them."""
    vector = numbers(header, "0018,1065")
    step, rate = usable(header, "0018,1063"), usable(header, "0018,0040")
    if not step and rate:
        step = 1000 / rate
    if vector is not None and len(vector) == count and not any(math.isnan(each) for each in vector):
        return ({"extra": (("frame_time", t),)} for t in accumulate((0.0, *vector[1:])))
    if step and step > 0:
        return ({"extra": (("frame_time", k * step),)} for k in range(count))
    return repeat({}, count)


def _vector(header: Header, key: str, count: int, name: str) -> tuple[tuple[float, ...], str]:
    if unread(header, key):
        return (), f"{name} is too long for the server's short tags; it was not asked for."
    values = numbers(header, key)
    if values is not None and (len(values) != count or any(math.isnan(value) for value in values)):
        return (), f"{name} does not have a number for each of {count} frames."
    return values or (), ""


def _corner(header: Header) -> tuple[Point | None, Point]:
    """Position, None when it is not there, and unit normal. In plain floats, which overflow without a warning."""
    corner, turned = numbers(header, "0020,0032"), numbers(header, "0020,0037")
    if corner is None or turned is None or len(corner) != 3 or len(turned) != 6:
        return None, (0.0, 0.0, 0.0)
    (a, b, c), (d, e, f) = turned[:3], turned[3:]
    normal = b * f - c * e, c * d - a * f, a * e - b * d
    length = math.hypot(*normal) or math.nan
    return (corner[0], corner[1], corner[2]), (normal[0] / length, normal[1] / length, normal[2] / length)


def _without_place(header: Header) -> dict[str, Any]:
    return {key: value for key, value in header.items() if key not in ("0020,0032", "0020,0037")}


def _at(corner: Point, distance: float, direction: Point) -> dict[str, Any]:
    moved = (start + distance * along for start, along in zip(corner, direction, strict=True))
    return {"0020,0032": "\\".join(map(repr, moved))}
