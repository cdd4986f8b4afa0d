"""Frames → stacks: what belongs together, in order, with a verdict. Headers only, no pixels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pydicom import Dataset

from orthanc_research.errors import QueryError

from ._frames import Frame, frames_of, tiles_of
from ._header import Header
from ._judge import assess
from ._stack import Stack, StackFile, one_stack

__all__ = ["Source", "Stack", "StackFile", "one_stack", "stacks_of"]

Source = Iterable[Frame | Dataset | Header] | Mapping[str, Header]

ORIENTATION_TOLERANCE = 1e-3  # of a direction cosine
SPACING_TOLERANCE = 1e-4  # mm


def stacks_of(source: Source, *, min_slices: int = 3) -> list[Stack]:
    """Every stack in a series, each with its verdict; nothing is left out and nothing is stacked silently.

    `source` holds frames, Datasets or short headers, or is the answer of `GET /series/{id}/instances-tags?short` itself
    (Orthanc ID → header). Frames are grouped first (series, frame of reference, stack ID, size, type, photometric,
    localizer or not, magnitude or phase; orientation to 1e-3, spacing to 1e-4 mm; units or image types that meet at one
    position), then ordered, then judged; the result does not depend on the order of `source`. Mosaics are cut
    into their slices where the header proves how. `QueryError` when `min_slices` is below 2: one slice has no distance
    to the next.
    """
    if min_slices < 2:
        raise QueryError("min_slices must be 2 or more: the distance between slices comes from their positions.")
    frames = sorted((tile for frame in _frames(source) for tile in tiles_of(frame)), key=_canonical)
    uids = Counter((frame.sop_uid, frame.index, frame.tile) for frame in frames)
    repeated = frozenset(uid for (uid, _, _), count in uids.items() if count > 1)
    stacks = [stack for group in _groups(frames) for stack in assess(group, min_slices, repeated)]
    return sorted(stacks, key=lambda s: (s.series_uid, -len(s.frames), s.frames[0].sop_uid, s.frames[0].index))


def _frames(source: Source) -> list[Frame]:
    pairs: Iterable[tuple[str, Any]] = (
        source.items() if isinstance(source, Mapping) else (("", item) for item in source)
    )
    found: list[Frame] = []
    for instance, item in pairs:
        found += [item] if isinstance(item, Frame) else frames_of(item, instance)
    return found


def _canonical(frame: Frame) -> tuple[Any, ...]:
    """An order that comes from the frames alone, so that the input's order never shows."""
    place = (frame.orientation or (), frame.spacing or (), frame.position or ())
    return (
        *place,
        frame.sop_uid,
        frame.index,
        frame.tile or (),
        frame.instance,
        frame.code,
        frame.rows,
        frame.columns,
        frame.bits_stored,
    )


def _groups(frames: list[Frame]) -> list[list[Frame]]:
    alike: dict[tuple[Any, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        kind = (frame.series_uid, frame.frame_of_reference, frame.code, frame.rows, frame.columns, frame.samples)
        values = (frame.photometric, frame.bits_allocated, frame.pixel_representation, frame.float_bits)
        said = (frame.component, frame.stack_id, "LOCALIZER" in frame.image_type)
        alike[(*kind, *values, *said)].append(frame)
    return [group for kind in alike.values() for group in (_by_geometry(kind) if kind[0].code == "ok" else [kind])]


def _by_geometry(frames: list[Frame]) -> list[list[Frame]]:
    """Split by orientation and spacing. Each group is what lies within the tolerance of its first frame.

    Not a chain from neighbour to neighbour: slices that turn by a little each would all end up in one group.
    """
    values = np.array([(*(f.orientation or ()), *(f.spacing or ())) for f in frames], dtype=np.float64)
    tolerance = np.array([ORIENTATION_TOLERANCE] * 6 + [SPACING_TOLERANCE] * 2)
    left = np.ones(len(frames), dtype=bool)
    groups = []
    while left.any():
        near = left & np.all(np.abs(values - values[np.argmax(left)]) <= tolerance, axis=1)
        groups.append([frames[i] for i in np.flatnonzero(near)])
        left &= ~near
    return groups
