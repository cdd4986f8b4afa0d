"""Contours of an RTSTRUCT → voxels (PS3.3 C.8.8.5, C.8.8.6).

A voxel is in a contour when its centre is. Edges are half open: a centre exactly on an edge towards lower rows or
columns is in, on one towards higher ones out, so contours that share an edge share no voxel and leave none out.

A contour is put on the nearest slice, at most half a spacing away; of two planes of contours between the same slices
only the nearer one is used. Nothing is interpolated between slices. On one plane, a CLOSED_PLANAR contour within
another is a hole, unless it is the same outline once more; one that crosses another is added to it; CLOSEDPLANAR_XOR
contours are combined by exclusive or; a keyhole (a hole that is reached through a channel without width) is a hole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataelem import RawDataElement

from orthanc_research.errors import GeometryError, PixelError

from ._labels import Floats, Grid, Patch, Segment, coded

__all__ = ["contour_patches", "filled", "rois"]

Mask = npt.NDArray[np.bool_]

_CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "INTERPOLATED_PLANAR"}
_FLAT = 0.1  # of the distance between slices: how far a contour may lean out of its plane
_SAME_PLANE = 0.01  # of the distance between slices
_FARTHEST = 1e6  # voxels; a contour beyond comes from a damaged value
_SAME_AREA = 1e-3  # of it: an outline within another that is as large is the same one
_WORTH_SAYING = 0.01  # mm


@dataclass(frozen=True, slots=True)
class _Contour:
    """A closed polygon: `points` (row, column) in voxels, on the plane `place` (slices, with fractions)."""

    place: float
    points: Floats
    xor: bool


def rois(dataset: Dataset, grid: Grid) -> tuple[list[Segment], list[str]]:
    """The ROIs that lie in the grid's frame of reference, by number, and notes on those that do not."""
    found, elsewhere = [], 0
    colours = {item.get("ReferencedROINumber"): _colour(item) for item in dataset.get("ROIContourSequence") or ()}
    about = {item.get("ReferencedROINumber"): item for item in dataset.get("RTROIObservationsSequence") or ()}
    for item in dataset.get("StructureSetROISequence") or ():
        place = item.get("ReferencedFrameOfReferenceUID") or dataset.get("FrameOfReferenceUID") or ""
        if str(place) != grid.frame_of_reference or not grid.frame_of_reference:
            elsewhere += 1
            continue
        observed: Any = about.get(item.ROINumber) or Dataset()
        found.append(
            Segment(
                number=int(item.ROINumber),
                label=str(item.get("ROIName") or ""),
                category=coded(observed.get("SegmentedPropertyCategoryCodeSequence")),
                type=coded(observed.get("RTROIIdentificationCodeSequence")),
                kind=str(observed.get("RTROIInterpretedType") or ""),
                algorithm=str(item.get("ROIGenerationAlgorithm") or ""),
                colour=colours.get(item.ROINumber),
            )
        )
    if elsewhere and not found:
        grid.require("", "These contours")
    notes = [f"{elsewhere} ROIs lie in another frame of reference and were left out."] if elsewhere else []
    return sorted(found, key=lambda segment: segment.number), notes


def contour_patches(dataset: Dataset, grid: Grid, numbers: Collection[int], notes: list[str]) -> Iterator[Patch]:
    """The voxels of each chosen ROI, a patch a slice; what was left out is said in `notes`.

    `GeometryError` for a contour that is not parallel to the slices.
    """
    for item in dataset.get("ROIContourSequence") or ():
        number = int(item.get("ReferencedROINumber") or 0)
        if number in numbers:
            yield from _roi(item, number, grid, notes)


def _roi(item: Dataset, number: int, grid: Grid, notes: list[str]) -> Iterator[Patch]:
    say = _Notes(number, notes)
    contours = list(_contours(item, grid, say))
    by_slice: dict[int, list[_Contour]] = defaultdict(list)
    for contour in contours:
        by_slice[int(np.ceil(contour.place - 0.5))].append(contour)
    inside = {k: _nearest_plane(k, found, say) for k, found in by_slice.items() if 0 <= k < grid.shape[0]}
    outside = len(contours) - sum(len(by_slice[k]) for k in inside)
    if contours and not inside:
        raise GeometryError("outside", f"No contour of segment {number} lies within this volume.")
    say.count(outside, "contours lie beyond the first or the last slice of this volume")
    _say_places(inside, grid, say)
    plane = grid.shape[1] * grid.shape[2]
    for k in sorted(inside):
        mask = _combined(inside[k], grid, say)
        voxels = np.flatnonzero(mask)
        if not len(voxels):
            say.count(1, "slices have contours that hold no voxel's centre")
        yield Patch(number, voxels + k * plane)
    say.write()


class _Notes:
    """Counts of what is to be said of one segment, and their sentences in the end."""

    def __init__(self, number: int, notes: list[str]) -> None:
        self.number, self.notes = number, notes
        self.counts: dict[str, int] = defaultdict(int)

    def count(self, times: int, what: str) -> None:
        if times:
            self.counts[what] += times

    def say(self, sentence: str) -> None:
        self.notes.append(f"Segment {self.number}: {sentence}.")

    def write(self) -> None:
        for what, times in self.counts.items():
            self.say(f"{times} {what}")


def _contours(item: Dataset, grid: Grid, say: _Notes) -> Iterator[_Contour]:
    seen: set[bytes] = set()
    for each in item.get("ContourSequence") or ():
        kind = str(each.get("ContourGeometricType") or "").strip()
        if kind not in _CLOSED:
            say.count(1, "contours are points or open lines and enclose nothing")
            continue
        points = grid.index(_points(each, say.number))
        if not np.all(np.abs(points) < _FARTHEST):
            raise PixelError(f"Segment {say.number}: the coordinates of a contour cannot be right.")
        if np.ptp(points[:, 0]) > _FLAT:
            raise GeometryError(
                "not-parallel", f"A contour of segment {say.number} is not parallel to the slices of this volume."
            )
        key = np.round(points, 6).tobytes()
        if key in seen and kind != "CLOSEDPLANAR_XOR":
            say.count(1, "contours are there twice")
            continue
        seen.add(key)
        if len(points) < 3:
            say.count(1, "contours have fewer than three points and enclose nothing")
            continue
        yield _Contour(float(points[:, 0].mean()), points[:, 1:], kind == "CLOSEDPLANAR_XOR")


def _points(item: Dataset, number: int) -> Floats:
    """ContourData, (n, 3): read from the text itself, a hundred times as fast as pydicom's list of DS."""
    element: Any = item.get_item("ContourData")
    try:
        if isinstance(element, RawDataElement):
            parts = (element.value or b"").decode("ascii").strip(" \0").split("\\")
        else:
            parts = list(element.value)
        values = np.array([float(part) for part in parts], dtype=np.float64).reshape(-1, 3)
    except (AttributeError, TypeError, ValueError) as error:
        raise PixelError(f"Segment {number}: a contour's coordinates cannot be read.") from error
    if not len(values) or not np.isfinite(values).all():
        raise PixelError(f"Segment {number}: a contour's coordinates are not numbers.")
    return values


def _nearest_plane(k: int, contours: Sequence[_Contour], say: _Notes) -> list[_Contour]:
    """Those on the plane nearest to slice k: two planes of contours are never mixed on one slice."""
    ordered = sorted(contours, key=lambda contour: contour.place)
    planes: list[list[_Contour]] = []
    for contour in ordered:
        if not planes or contour.place - planes[-1][0].place > _SAME_PLANE:
            planes.append([])
        planes[-1].append(contour)
    best = min(planes, key=lambda plane: abs(plane[0].place - k))
    say.count(len(contours) - len(best), "contours lie between slices that have nearer ones, and were left out")
    return best


def _say_places(inside: dict[int, list[_Contour]], grid: Grid, say: _Notes) -> None:
    off = max((abs(contour.place - k) for k, found in inside.items() for contour in found), default=0.0)
    if off * grid.spacing[0] > _WORTH_SAYING:
        say.say(f"contours lie up to {off * grid.spacing[0]:.2g} mm off the slices that they were put on")
    slices = sorted(inside)
    gaps = np.diff(slices)
    if len(gaps) and gaps.min() > 1:
        say.say(f"contours are on every {_nth(int(gaps.min()))} slice only; the slices between are empty")
    elif np.any(gaps > 1):
        say.count(int(np.sum(gaps - 1)), "slices between its contours have none")


def _nth(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")


def _combined(contours: Sequence[_Contour], grid: Grid, say: _Notes) -> Mask:
    shape = grid.shape[1], grid.shape[2]
    beyond = sum(bool(np.any((c.points < -0.5) | (c.points > np.array(shape) - 0.5))) for c in contours)
    say.count(beyond, "contours reach beyond the rows or columns of this volume")
    exclusive = np.zeros(shape, dtype=bool)
    for contour in contours:
        if contour.xor:
            exclusive ^= filled(contour.points, shape)
    plain = [(filled(each.points, shape), _area(each.points)) for each in contours if not each.xor]
    return exclusive | _nested(plain, say) if plain else exclusive


def _nested(outlines: list[tuple[Mask, float]], say: _Notes) -> Mask:
    """From the largest down: within another, a hole (or an island in it); across another's outline, more of it."""
    outlines.sort(key=lambda outline: -int(outline[0].sum()))
    whole = np.zeros_like(outlines[0][0])
    for index, (mask, area) in enumerate(outlines):
        touched = [other for other in outlines[:index] if np.any(other[0] & mask)]
        if any(np.any(mask & ~other) for other, _ in touched):
            say.count(1, "contours cross another one; the areas were added")
            whole |= mask
        elif any(abs(area - another) <= _SAME_AREA * another for _, another in touched):
            # Begun elsewhere, drawn the other way round, or rounded: a hole of that size would leave nothing.
            say.count(1, "contours are there twice")
        else:
            whole ^= mask
    return whole


def _area(points: Floats) -> float:
    row, column = (points - points[0]).T
    return abs(float(row @ np.roll(column, -1) - column @ np.roll(row, -1))) / 2


def filled(points: Floats, shape: tuple[int, int]) -> Mask:
    """The voxels (row, column) whose centre is in the polygon: even-odd rule, closed by itself, half-open edges."""
    rows, columns = shape
    ends = np.roll(points, -1, axis=0)
    down = (points[:, 0] <= ends[:, 0])[:, None]
    low, high = np.where(down, points, ends), np.where(down, ends, points)
    first = np.clip(np.ceil(low[:, 0]), 0, rows).astype(np.intp)
    count = np.clip(np.ceil(high[:, 0]), 0, rows).astype(np.intp) - first
    edge = np.repeat(np.arange(len(points)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    slope = (high[edge, 1] - low[edge, 1]) / (high[edge, 0] - low[edge, 0])
    crossing = np.ceil(low[edge, 1] + (row - low[edge, 0]) * slope)
    toggles = np.zeros((rows, columns + 1), dtype=np.int32)
    np.add.at(toggles, (row, np.clip(crossing, 0, columns).astype(np.intp)), 1)
    mask: Mask = (np.cumsum(toggles[:, :columns], axis=1) & 1).astype(bool)
    return mask


def _colour(item: Dataset) -> tuple[int, int, int] | None:
    values = item.get("ROIDisplayColor")
    if values is None or isinstance(values, str | int) or len(values) != 3:
        return None
    red, green, blue = (min(max(int(value), 0), 255) for value in values)
    return red, green, blue
