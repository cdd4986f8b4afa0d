"""Frames of a SEG → voxels (PS3.3 C.8.20): binary, fractional and label map.

Every labelled pixel must fall onto a voxel. A frame may cover more or less than the volume's plane, may be turned or
mirrored against it by whole axes, and may lie anywhere in it; it may not have another spacing or lie between voxels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.errors import GeometryError, PixelError

from ._decode import decode
from ._frames import Frame, frames_of
from ._labels import Floats, Grid, Patch, Segment, coded

__all__ = ["described_segments", "seg_patches"]

_OFF_GRID = 0.1  # of a voxel: what rounded positions may do
_WORTH_SAYING = 0.01  # of a voxel
_TILED = "The segmentation is of a tiled slide image, which is no volume; tiles are not put together here."


def described_segments(dataset: Dataset) -> list[Segment]:
    """The segments that the file describes, by number; not number 0, the background of a label map."""
    if _is_tiled(dataset):
        raise PixelError(_TILED)
    found = [
        Segment(
            number=int(item.SegmentNumber),
            label=str(item.get("SegmentLabel") or ""),
            category=coded(item.get("SegmentedPropertyCategoryCodeSequence")),
            type=coded(item.get("SegmentedPropertyTypeCodeSequence")),
            algorithm=str(item.get("SegmentAlgorithmType") or ""),
            colour=_srgb(item.get("RecommendedDisplayCIELabValue")),
        )
        for item in dataset.get("SegmentSequence") or ()
    ]
    background = _background(dataset)
    return sorted((each for each in found if each.number != background), key=lambda segment: segment.number)


def seg_patches(dataset: Dataset, grid: Grid, numbers: Collection[int], notes: list[str]) -> Iterator[Patch]:
    """The voxels of the chosen segments, a patch or several a frame; what was left out is said in `notes`.

    `GeometryError` when pixels do not fall onto voxels; `PixelError` when they do not decode, or have a number that no
    segment has.
    """
    grid.require(str(dataset.get("FrameOfReferenceUID") or ""), "This segmentation")
    frames = frames_of(dataset)
    images = decode(dataset)
    if len(images) != len(frames) or any(frame.position is None for frame in frames):
        raise GeometryError("no-geometry", "This segmentation does not say where its frames lie.")
    _check_gap(dataset, frames, grid, notes)
    painted = _Count()
    known = {segment.number for segment in described_segments(dataset)} | {_background(dataset)}
    for index, (frame, image) in enumerate(zip(frames, images, strict=True)):
        place = _Place.of(frame, grid)
        painted.off = max(painted.off, place.off)
        for number, chosen, values in _labelled(dataset, index, image, known):
            if number in numbers:
                voxels, within = place.voxels(chosen, grid)
                painted.inside += len(voxels)
                painted.outside += int(np.sum(~within))
                yield Patch(number, voxels, None if values is None else values[within])
    painted.say(notes)


@dataclass(slots=True)
class _Count:
    inside: int = 0
    outside: int = 0
    off: float = 0.0

    def say(self, notes: list[str]) -> None:
        if self.outside and not self.inside:
            raise GeometryError("outside", "Nothing that is segmented lies within this volume.")
        if self.outside:
            notes.append(f"{self.outside} segmented pixels lie outside of this volume and were left out.")
        if self.off > _WORTH_SAYING:
            notes.append(f"Frames lie up to {self.off:.2g} voxels off the grid that they were put on.")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a frame's pixels go: (row, column) → voxel, `start` + row · `steps[0]` + column · `steps[1]`."""

    start: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    off: float

    @staticmethod
    def of(frame: Frame, grid: Grid) -> _Place:
        if frame.position is None or frame.orientation is None or frame.spacing is None:
            raise GeometryError("no-geometry", "This segmentation does not say where its frames lie.")
        directions = np.array(frame.orientation, dtype=np.float64).reshape(2, 3)[::-1]
        steps = (directions * np.array(frame.spacing)[:, None]) @ grid.inverse[:3, :3].T
        start = grid.index(np.array([frame.position], dtype=np.float64))[0]
        whole = np.rint(steps)
        # Of the farthest pixel, where a difference in spacing or orientation has added up.
        off = np.abs(start - np.rint(start)) + np.array([frame.rows - 1, frame.columns - 1]) @ np.abs(steps - whole)
        if not np.array_equal(np.sum(np.abs(whole), axis=1), [1, 1]) or not np.all(off <= _OFF_GRID):
            raise GeometryError(
                "other-grid",
                "The segmentation's pixels do not fall onto the voxels of this volume, and nothing is resampled here.",
            )
        return _Place(np.rint(start).astype(np.int64), whole.astype(np.int64), float(off.max()))

    def voxels(self, chosen: npt.NDArray[np.intp], grid: Grid) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Flat indices of those of the chosen (row, column) pairs (n, 2) that lie in the grid, and which ones do."""
        places = self.start + chosen @ self.steps
        within: npt.NDArray[np.bool_] = np.all((places >= 0) & (places < np.array(grid.shape)), axis=1)
        return np.ravel_multi_index(tuple(places[within].T), grid.shape).astype(np.intp), within


def _labelled(
    dataset: Dataset, index: int, image: npt.NDArray[Any], known: Collection[int]
) -> Iterator[tuple[int, npt.NDArray[np.intp], npt.NDArray[np.float32] | None]]:
    """(segment, its (row, column) pairs, their values where they are fractions) of one frame."""
    kind = str(dataset.get("SegmentationType") or "")
    if kind == "LABELMAP":
        for number in sorted({int(value) for value in np.unique(image)} - {_background(dataset)}):
            if number not in known:
                raise PixelError("Pixels of the label map have a number that none of its segments has.")
            yield number, np.argwhere(image == number), None
        return
    number = _segment_number(dataset, index)
    if number not in known:
        raise PixelError("A frame belongs to a segment that the file does not describe.")
    chosen = np.argwhere(image)
    if kind == "FRACTIONAL":
        most = int(dataset.get("MaximumFractionalValue") or 0)
        values = image[chosen[:, 0], chosen[:, 1]]
        if most < 1 or (len(values) and values.max() > most):
            raise PixelError("MaximumFractionalValue is absent, or below the values of the segmentation.")
        yield number, chosen, (values / most).astype(np.float32)
    elif kind == "BINARY":
        yield number, chosen, None
    else:
        raise PixelError("SegmentationType is none of BINARY, FRACTIONAL and LABELMAP.")


def _segment_number(dataset: Dataset, index: int) -> int:
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for group in (*groups[index : index + 1], *shared[:1]):
        named = group.get("SegmentIdentificationSequence")
        if named:
            return int(named[0].ReferencedSegmentNumber)
    raise PixelError("The segmentation does not say which segment a frame belongs to.")


def _background(dataset: Dataset) -> int:
    """What is no segment: 0, or in a label map its PixelPaddingValue (PS3.3 C.8.20.2)."""
    padding = dataset.get("PixelPaddingValue") if dataset.get("SegmentationType") == "LABELMAP" else None
    return int(padding) if padding is not None else 0


def _check_gap(dataset: Dataset, frames: list[Frame], grid: Grid, notes: list[str]) -> None:
    """Slices further apart than the volume's would leave empty ones between them: refused where the file says so."""
    first = frames[0]
    normal = np.cross(first.orientation[:3], first.orientation[3:]) if first.orientation else np.zeros(3)
    along = np.abs(grid.inverse[:3, :3] @ normal)
    axis = int(np.argmax(along))
    said = _spacing_between(dataset)
    if said and abs(said / grid.spacing[axis] - 1) > _OFF_GRID:
        raise GeometryError(
            "other-grid",
            f"The slices of the segmentation are {said:.4g} mm apart, those of the volume {grid.spacing[axis]:.4g} mm; "
            "nothing is resampled here.",
        )
    places = np.unique(np.rint(grid.index(_positions(frames))[:, axis]))
    gaps = np.diff(places)
    if len(gaps) > 1 and gaps.min() > 1:
        notes.append(f"The segmentation has a frame for one in {int(gaps.min())} slices at most; the others are empty.")


def _positions(frames: list[Frame]) -> Floats:
    return np.array([frame.position for frame in frames], dtype=np.float64)


def _spacing_between(dataset: Dataset) -> float:
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for group in shared[:1]:
        measures = group.get("PixelMeasuresSequence") or ()
        if measures:
            return abs(float(measures[0].get("SpacingBetweenSlices") or 0))
    return 0.0


def _is_tiled(dataset: Dataset) -> bool:
    tiled = str(dataset.get("DimensionOrganizationType") or "").startswith("TILED")
    groups = (dataset.get("PerFrameFunctionalGroupsSequence") or ())[:1]
    return tiled or "TotalPixelMatrixRows" in dataset or any("PlanePositionSlideSequence" in group for group in groups)


def _srgb(lab: Any) -> tuple[int, int, int] | None:
    """CIELab as DICOM scales it to 16 bits (PS3.3 C.10.7.1.1) → sRGB, 0 to 255.

    The standard means the white of ICC, D50; DCMTK and highdicom, which most SEGs come from, write D65: so it is read.
    """
    if lab is None or isinstance(lab, str | int) or len(lab) != 3:
        return None
    lightness, a, b = float(lab[0]) / 65535 * 100, float(lab[1]) / 65535 * 255 - 128, float(lab[2]) / 65535 * 255 - 128
    y = (lightness + 16) / 116
    curve = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(curve > 6 / 29, curve**3, 3 * (6 / 29) ** 2 * (curve - 4 / 29)) * _D65
    linear = np.clip(_XYZ_TO_SRGB @ xyz, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
    red, green, blue = (int(each) for each in np.rint(255 * np.clip(encoded, 0, 1)))
    return red, green, blue


_D65 = np.array([0.950456, 1.0, 1.088754])
_XYZ_TO_SRGB = np.array(  # IEC 61966-2-1
    [[3.2406255, -1.5372080, -0.4986286], [-0.9689307, 1.8757561, 0.0415175], [0.0557101, -0.2040211, 1.0569959]]
)
