"""SEG and RTSTRUCT → masks on the grid of a volume. Nothing is resampled: what does not fit is refused."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.errors import Error, PixelError, QueryError
from orthanc_research.quiet import quiet

from ._contours import contour_patches, rois
from ._decode import read_dataset
from ._labels import Floats, Grid, Patch, Segment, grid_of
from ._segmentation import described_segments, seg_patches
from ._stacks import Stack

if TYPE_CHECKING:
    from ._volume import Volume

__all__ = ["Segments", "segments"]

Form = Literal["masks", "labels"]

_LARGEST_LABEL = int(np.iinfo(np.uint16).max)


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Segments on the voxels of a volume: of a SEG (PS3.3 C.8.20), or contours of an RTSTRUCT (C.8.8.6).

    - `array`: "masks" (segment, slice, row, column), in the order of `labels`: bool, or float32 from 0 to 1 where the
      source says fractions (probability or occupancy). "labels" (slice, row, column): uint16, a segment's number or 0.
    - `dims` names its axes; `affine` (4 x 4 float64) maps (slice, row, column, 1) to LPS mm, that of the volume.
    - `labels`: number → `Segment`, ascending.
    - `sop_uid`, `series_uid`: of the object that they come from.
    - `issues`: what was left out, moved or unclear, in sentences.
    """

    array: npt.NDArray[Any]
    dims: tuple[str, ...]
    labels: Mapping[int, Segment]
    affine: Floats
    frame_of_reference: str
    sop_uid: str
    series_uid: str
    issues: tuple[str, ...] = field(default=())

    @property
    def shape(self) -> tuple[int, ...]:
        """Of `array`."""
        return self.array.shape

    def mask(self, segment: int | str) -> npt.NDArray[Any]:
        """The mask (slice, row, column) of one segment, by its number, or by its label where only one has it.

        bool, or float32 from 0 to 1 where the source says fractions. `QueryError` for a segment that is not there.
        """
        number = self._number(segment)
        if self.dims[0] == "segment":
            chosen: npt.NDArray[Any] = self.array[list(self.labels).index(number)]
            return chosen
        equal: npt.NDArray[Any] = self.array == number
        return equal

    def _number(self, segment: int | str) -> int:
        named = [number for number, each in self.labels.items() if segment in (number, each.label)]
        if isinstance(segment, bool) or len(named) != 1:
            raise QueryError(f"There are {len(named)} segments of that number or label; .labels lists them all.")
        return named[0]

    def __repr__(self) -> str:
        return f"<Segments {len(self.labels)}: {' x '.join(map(str, self.shape))} {self.array.dtype}>"


@quiet()
def segments(
    source: Dataset | bytes,
    target: Volume | Stack,
    *,
    numbers: Collection[int] | None = None,
    form: str = "masks",
) -> Segments:
    """The segments of a SEG (PS3.3 C.8.20) or the contours of an RTSTRUCT (C.8.8.6) as masks on a volume or a stack.

    They are put where they say that they lie, in mm, in the same frame of reference; which images they name plays no
    part. A SEG's pixels must fall onto the volume's voxels (to 0.1 voxel). A voxel is in a contour when its centre is;
    a contour goes to the nearest slice, at most half a spacing away: holes, crossings and edges are in `_contours`.
    `numbers` chooses segments; `form="labels"` gives one array of numbers, 1/n of the memory, where none overlap.

    `GeometryError`: "other-frame-of-reference"; "other-grid" and "not-parallel" (it would have to be resampled);
    "outside" (none of it lies in the volume); "no-geometry". `PixelError`: of a tiled slide image, overlapping
    segments as labels, fractions as labels, or damaged. `QueryError`: no such number or form, or neither SEG nor
    RTSTRUCT.
    """
    if form not in ("masks", "labels"):
        raise QueryError(f"form={form!r} is not there; choose from masks, labels.")
    dataset = read_dataset(source) if isinstance(source, bytes) else source
    grid = grid_of(target)
    try:
        return _segments(dataset, grid, numbers, form)
    except Error:
        raise
    except MemoryError as error:
        raise PixelError("The masks do not fit into memory; choose numbers=, or form='labels'.") from error
    except Exception as error:  # pydicom raises whatever damaged values lead it into
        raise PixelError(f"This object cannot be read ({type(error).__name__}); it is damaged or unusual.") from error


def _segments(dataset: Dataset, grid: Grid, numbers: Collection[int] | None, form: str) -> Segments:
    contours = _is_contours(dataset)
    found, notes = rois(dataset, grid) if contours else (described_segments(dataset), [])
    if not found:
        notes.append("No segments are described in it.")
    chosen = _chosen(found, numbers)
    patches = (contour_patches if contours else seg_patches)(dataset, grid, set(chosen), notes)
    fractions = not contours and dataset.get("SegmentationType") == "FRACTIONAL"
    if form == "labels":
        if fractions:
            raise PixelError("These segments are fractions from 0 to 1, not labels; use form='masks'.")
        array, seen = _as_labels(patches, chosen, grid)
    else:
        array, seen = _as_masks(patches, chosen, grid, np.dtype(np.float32 if fractions else np.bool_))
    notes += [f"Segment {number}: it has no voxel in this volume." for number in chosen if number not in seen]
    return Segments(
        array=array,
        dims=("slice", "row", "column") if form == "labels" else ("segment", "slice", "row", "column"),
        labels=chosen,
        affine=grid.affine,
        frame_of_reference=grid.frame_of_reference,
        sop_uid=str(dataset.get("SOPInstanceUID") or ""),
        series_uid=str(dataset.get("SeriesInstanceUID") or ""),
        issues=tuple(notes),
    )


def _is_contours(dataset: Dataset) -> bool:
    """True for an RTSTRUCT, False for a SEG; by SOP class, as Modality is free text for whoever wrote the file."""
    kind = str(dataset.get("SOPClassUID") or "")
    if kind == "1.2.840.10008.5.1.4.1.1.481.3":
        return True
    if kind in ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"):
        return False
    raise QueryError("This takes a segmentation (SEG) or a set of contours (RTSTRUCT).")


def _chosen(found: list[Segment], numbers: Collection[int] | None) -> dict[int, Segment]:
    labels = {segment.number: segment for segment in found}
    if len(labels) != len(found):
        raise PixelError("Two segments of this object have the same number.")
    if numbers is None:
        return labels
    try:
        wanted = set(numbers)
    except TypeError:
        raise QueryError("numbers is a list of the numbers of segments.") from None
    if not wanted <= set(labels):
        raise QueryError(f"The segments are {_listed(labels)}; some of the numbers asked for are not among them.")
    return {number: segment for number, segment in labels.items() if number in wanted}


def _listed(numbers: Iterable[int]) -> str:
    known = sorted(numbers)
    return ", ".join(map(str, known[:10])) + (f" and {len(known) - 10} more" if len(known) > 10 else "")


def _as_masks(
    patches: Iterator[Patch], chosen: Mapping[int, Segment], grid: Grid, dtype: np.dtype[Any]
) -> tuple[npt.NDArray[Any], set[int]]:
    array = np.zeros((len(chosen), *grid.shape), dtype=dtype)
    places = {number: array[index].reshape(-1) for index, number in enumerate(chosen)}
    seen = set()
    for patch in patches:
        target = places[patch.number]
        if patch.values is not None and np.any((target[patch.voxels] != 0) & (target[patch.voxels] != patch.values)):
            raise PixelError(f"Segment {patch.number} says two different fractions for one voxel.")
        target[patch.voxels] = True if patch.values is None else patch.values
        if len(patch.voxels):
            seen.add(patch.number)
    return array, seen


def _as_labels(
    patches: Iterator[Patch], chosen: Mapping[int, Segment], grid: Grid
) -> tuple[npt.NDArray[Any], set[int]]:
    if any(not 1 <= number <= _LARGEST_LABEL for number in chosen):
        raise PixelError(f"A segment's number is not from 1 to {_LARGEST_LABEL}; use form='masks'.")
    array = np.zeros(grid.shape, dtype=np.uint16)
    flat = array.reshape(-1)
    seen = set()
    for patch in patches:
        there = flat[patch.voxels]
        both = there[(there != 0) & (there != patch.number)]
        if len(both):
            raise PixelError(
                f"Segments {int(both[0])} and {patch.number} overlap, which one array of labels cannot show; "
                "use form='masks'."
            )
        flat[patch.voxels] = patch.number
        if len(patch.voxels):
            seen.add(patch.number)
    return array, seen
