"""One array that knows where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ._frames import Window
from ._nifti import nifti_of
from ._portrait import volume_card
from ._sitk import resampled, sitk_of
from ._values import Values

__all__ = ["Volume"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Voxels in space.

    - `array`: axes as in `dims`, C-order: (slice, row, column), with "extra" before them for 4-D and "sample" (red,
      green, blue) after them for colour. Slices ascend along row x column direction.
    - `axes`: the values along "extra" by name: {"echo_time": (12.0, 104.0)}, ascending; {} for 3-D.
    - `affine`: 4 x 4 float64, (slice, row, column, 1) → LPS mm, the patient axes of DICOM (PS3.3 C.7.6.2.1.1).
    - `spacing`: mm between slices (along their normal), rows, columns; `orientation`: their six direction cosines.
    - `sop_uids`, `frame_indices`: one a slice, in the array's order ("extra" outermost): the instance and the frame in
      it, from 0; "" and -1 for a slice that is NaN because it is missing. The slices of a mosaic share theirs.
    - `values`: "stored", "rescaled" or "suv"; `units`: of the values ("HU", "BQML" …; "stored units" when nothing names
      them).
    - `inverted`: True for MONOCHROME1, whose smallest value shows white; the values are as they are.
    - `window`: the first VOI window of the middle slice, of its rescaled values; not applied.
    - `issues`: sentences about what is unusual and was not refused, or was asked for.
    """

    array: Array
    dims: tuple[str, ...]
    affine: npt.NDArray[np.float64]
    spacing: tuple[float, float, float]
    orientation: tuple[float, ...]
    frame_of_reference: str
    sop_uids: tuple[str, ...]
    series_uid: str
    modality: str
    units: str
    values: Values
    inverted: bool
    issues: tuple[str, ...]
    frame_indices: tuple[int, ...] = ()
    axes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    window: Window | None = None

    @property
    def affine_ras(self) -> npt.NDArray[np.float64]:
        """The same (slice, row, column, 1) index → RAS mm, the patient axes of NIfTI: x and y change their sign.

        The index order stays: `nibabel.Nifti1Image(volume.array, volume.affine_ras)` needs no transpose. `to_nifti`
        has the order that NIfTI's users expect.
        """
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine

    @property
    def shape(self) -> tuple[int, ...]:
        """Of `array`."""
        return self.array.shape

    def to_nifti(self) -> Any:
        """As a `nibabel.Nifti1Image`, [x, y, z] = (column, row, slice): `array.T`, the same bytes, and its RAS affine.

        "extra" is the fourth axis. Rows are not flipped: [x, y, z] is `array[z, y, x]`. dcm2niix writes y backwards, so
        what it writes of the same slices is `[:, ::-1]` of this; points in mm are the same in both. sform is the affine
        and qform its rotation, both with code 1 (scanner); qform has code 0 where it would put a corner 0.1 mm off: a
        leaning stack has no rotation. mm, and s where the fourth axis is a time in even steps. Types stay, and nothing
        is scaled; but bool → uint8, float16 → float32, colour → RGB24. FSL and SPM have no 64-bit integers.

        Memory is shared with `array`. `QueryError` where nibabel is not installed; `PixelError` for 16-bit colour.
        """
        return nifti_of(self)

    def to_sitk(self) -> Any:
        """As a `SimpleITK.Image`, index (x, y, z) = (column, row, slice), LPS mm: origin, spacing, direction.

        "extra" is a fourth dimension, its spacing seconds where it is a time in even steps, else 1; colour is a vector.
        Types stay, but bool → uint8 and float16 → float32. `GeometryError` "sheared" for a stack that leans by more
        than 0.5°; a smaller lean is kept in the direction, so that every voxel is where it was. `QueryError` where
        SimpleITK is not installed.
        """
        return sitk_of(self)

    def resample(self, spacing: float | Sequence[float], *, interpolation: str = "linear") -> Volume:
        """On another grid: `spacing` is mm between slices, rows, columns, or one number for all; by SimpleITK.

        The new grid has the directions and the centre of the old one, and as many voxels as cover it from edge to edge:
        less than one voxel more than its extent. So no new centre lies outside; within half a voxel of the edge the
        outermost values are repeated. "linear" gives float32, and float64 for float64 and integers of 32 bits or more;
        "nearest" keeps the type and is for labels. Nothing is smoothed first: a much coarser grid takes samples. NaN
        spreads to the voxels next to it.

        No slice of it is one of the source: `sop_uids` are "", `frame_indices` -1, and `issues` says so.
        `GeometryError` "sheared" as `to_sitk`; `QueryError` for a spacing or an interpolation that cannot be, and where
        SimpleITK is not installed.
        """
        return resampled(self, spacing, interpolation)

    def __repr__(self) -> str:
        size, mm = " x ".join(map(str, self.shape)), " x ".join(f"{each:.4g}" for each in self.spacing)
        return f"<Volume {size} {self.array.dtype}, {mm} mm, {self.units}>"

    def _repr_html_(self) -> str:
        return volume_card(self)
