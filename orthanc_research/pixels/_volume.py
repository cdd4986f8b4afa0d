"""A stack and its pixels → one array that knows where it is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from orthanc_research.errors import GeometryError, PixelError, QueryError

from ._frames import Frame
from ._stacks import Stack

__all__ = ["VALUES", "Values", "Volume", "volume_from"]

Values = Literal["stored", "rescaled"]
VALUES: tuple[Values, ...] = ("stored", "rescaled")


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Voxels in space.

    - `array`: axes as in `dims`, (slice, row, column), C-order. Slices ascend along row x column direction.
    - `affine`: 4 x 4 float64, (slice, row, column, 1) → LPS mm, the patient axes of DICOM (PS3.3 C.7.6.2.1.1).
    - `spacing`: mm between slices, rows, columns; `orientation`: the six direction cosines of the slices.
    - `sop_uids`: one a slice, in the array's order.
    - `values`: "stored" or "rescaled"; `units`: of the values ("HU", "BQML" …; "stored units" when nothing names them).
    - `inverted`: True for MONOCHROME1, whose smallest value shows white; the values are as they are.
    - `issues`: sentences about what is unusual and was not refused.
    """

    array: npt.NDArray[Any]
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

    @property
    def affine_ras(self) -> npt.NDArray[np.float64]:
        """The same (slice, row, column, 1) index → RAS mm, the patient axes of NIfTI: x and y change their sign.

        The index order stays: `nibabel.Nifti1Image(volume.array, volume.affine_ras)` needs no transpose.
        """
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine

    @property
    def shape(self) -> tuple[int, ...]:
        """Of `array`."""
        return self.array.shape

    def __repr__(self) -> str:
        size, mm = " x ".join(map(str, self.shape)), " x ".join(f"{each:.4g}" for each in self.spacing)
        return f"<Volume {size} {self.array.dtype}, {mm} mm, {self.units}>"


def volume_from(
    stack: Stack,
    arrays: Iterable[tuple[str | int, npt.NDArray[Any]]],
    values: str = "stored",
    dtype: npt.DTypeLike | None = None,
) -> Volume:
    """The volume of a stack that is "ok", filled slice by slice as `arrays` brings them, in any order.

    `arrays` gives (SOPInstanceUID, or place in the stack, and what `decode` gave: stored values, (row, column) or
    (frame, row, column)). "stored" keeps the source's integer type; "rescaled" is float32, slope and intercept of each
    frame applied in float64 (PS3.3 C.11.1.1.2). `dtype` asks for another type, `PixelError` when a value does not fit.

    `GeometryError` when the stack is not "ok"; `PixelError` when a slice is missing, there twice, of another shape or
    type than its header said, or cannot be rescaled; `QueryError` for values that are not `VALUES`.
    """
    source, affine, spacing, orientation = _geometry(stack.checked())
    if values not in VALUES:
        raise QueryError(f"values={values!r} is not there; choose from {', '.join(VALUES)}.")
    chosen: Values = "rescaled" if values == "rescaled" else "stored"
    units, notes = _units(stack) if chosen == "rescaled" else ("stored units", ())
    wanted = _wanted(dtype, np.dtype(np.float32) if chosen == "rescaled" else source)
    filled = _fill(stack, arrays, chosen, source, wanted)
    first = stack.frames[0]
    return Volume(
        array=filled,
        dims=stack.dims,
        affine=affine,
        spacing=spacing,
        orientation=orientation,
        frame_of_reference=stack.frame_of_reference,
        sop_uids=stack.sop_uids,
        series_uid=stack.series_uid,
        modality=first.modality,
        units=units,
        values=chosen,
        inverted=first.photometric == "MONOCHROME1",
        issues=(*stack.issues, *notes),
    )


def _geometry(
    stack: Stack,
) -> tuple[np.dtype[Any], npt.NDArray[np.float64], tuple[float, float, float], tuple[float, ...]]:
    source = stack.frames[0].dtype
    if source is None or stack.affine is None or stack.spacing is None or stack.orientation is None:
        raise GeometryError(
            "no-geometry", "This stack says ok and has no affine or no integer type; it was made by hand."
        )
    return source, stack.affine, stack.spacing, stack.orientation


def _wanted(dtype: npt.DTypeLike | None, usual: np.dtype[Any]) -> np.dtype[Any]:
    try:
        wanted = usual if dtype is None else np.dtype(dtype)
    except TypeError as error:
        raise QueryError(f"dtype={dtype!r} is not a numpy type.") from error
    if wanted.kind not in "iuf":
        raise QueryError(f"dtype={dtype!r} is not a type for voxels; choose an integer or a float type.")
    return wanted


def _units(stack: Stack) -> tuple[str, tuple[str, ...]]:
    """The one unit of the rescaled values; `PixelError` when the frames do not let themselves be rescaled."""
    for frame in stack.frames:
        if frame.modality_lut:
            raise PixelError(
                f"SOP instance {frame.sop_uid} has a Modality LUT, which is not applied yet; use values='stored'."
            )
        if frame.slope == 0 or any(v is not None and math.isnan(v) for v in (frame.slope, frame.intercept)):
            raise PixelError(f"SOP instance {frame.sop_uid}: RescaleSlope or RescaleIntercept cannot be right.")
    units = sorted({frame.units for frame in stack.frames})
    if len(units) > 1:
        raise PixelError(
            f"The slices have different units ({', '.join(u or 'none' for u in units)}); use values='stored'."
        )
    without = sum(frame.slope is None for frame in stack.frames)
    if not without:
        return units[0] or "unspecified", ()
    note = (
        f"{without} of {len(stack.frames)} slices have no RescaleSlope: slope 1 was used, and intercept 0 where absent."
    )
    nothing = all(frame.slope is None and frame.intercept is None for frame in stack.frames)
    return (units[0] if units[0] and not (nothing and units[0] == "HU") else "stored units"), (note,)


def _fill(
    stack: Stack,
    arrays: Iterable[tuple[str | int, npt.NDArray[Any]]],
    values: Values,
    source: np.dtype[Any],
    wanted: np.dtype[Any],
) -> npt.NDArray[Any]:
    places = {frame.sop_uid: k for k, frame in enumerate(stack.frames)}
    filled = np.empty(stack.shape, dtype=wanted)
    missing = set(range(len(stack.frames)))
    for key, array in arrays:
        place = places.get(key) if isinstance(key, str) else (key if 0 <= key < len(stack.frames) else None)
        if place is None:
            raise PixelError(f"The pixels of {key} are of no slice of this stack.")
        frame = stack.frames[place]
        if place not in missing:
            raise PixelError(f"The pixels of SOP instance {frame.sop_uid} came twice.")
        image = _image(frame, array, source)
        _put(filled[place], image if values == "stored" else _rescaled(frame, image), frame)
        missing.discard(place)
    if missing:
        first = stack.frames[min(missing)].sop_uid
        raise PixelError(
            f"The pixels of {len(missing)} of {len(stack.frames)} slices did not come; the first is {first}."
        )
    return filled


def _image(frame: Frame, array: npt.NDArray[Any], source: np.dtype[Any]) -> npt.NDArray[Any]:
    image = array[frame.index] if array.ndim == 3 and frame.index < len(array) else array
    if image.shape != (frame.rows, frame.columns) or image.dtype != source:
        raise PixelError(
            f"SOP instance {frame.sop_uid}: the pixels are {array.shape} {array.dtype}, "
            f"the header said {(frame.rows, frame.columns)} {source}."
        )
    return image


def _rescaled(frame: Frame, image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    slope = 1.0 if frame.slope is None else frame.slope
    intercept = 0.0 if frame.intercept is None else frame.intercept
    rescaled = image.astype(np.float64)
    rescaled *= slope
    rescaled += intercept
    return rescaled


def _put(target: npt.NDArray[Any], image: npt.NDArray[Any], frame: Frame) -> None:
    """Copy into the volume's type; an integer type takes nothing that it would change."""
    if target.dtype.kind in "iu" and target.dtype != image.dtype:
        limits = np.iinfo(target.dtype)
        low, high = image.min(), image.max()
        if not (limits.min <= low and high <= limits.max):
            raise PixelError(
                f"SOP instance {frame.sop_uid}: values {low:g} to {high:g} do not fit into {target.dtype}."
            )
        if image.dtype.kind == "f" and not np.array_equal(image, np.rint(image)):
            raise PixelError(
                f"SOP instance {frame.sop_uid}: its values have fractions, which {target.dtype} would lose."
            )
    with np.errstate(over="ignore"):  # looked at next
        target[...] = image
    if target.dtype.kind == "f" and not np.isfinite(target).all():
        raise PixelError(f"SOP instance {frame.sop_uid}: values do not fit into {target.dtype}.")
