"""A volume as a SimpleITK image, and what SimpleITK computes: another grid."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orthanc_research.errors import GeometryError, QueryError

from ._foreign import lean_of, missing, portable, time_step
from ._geometry import SHEAR

if TYPE_CHECKING:
    from ._volume import Volume

__all__ = ["resampled", "sitk_of"]

_WHOLE = 1e-6  # of a voxel: what rounding may add to a count of voxels


def sitk_of(volume: Volume) -> Any:
    """See `Volume.to_sitk`."""
    sitk = _library()
    _require_upright(volume)
    image = sitk.GetImageFromArray(portable(volume.array), isVector="sample" in volume.dims)
    steps = volume.affine[:3, [2, 1, 0]]
    spacing = np.linalg.norm(steps, axis=0)
    size = image.GetDimension()
    direction = np.eye(size)
    direction[:3, :3] = steps / spacing
    extra = [time_step(volume) or 1.0] * (size - 3)
    image.SetOrigin([*volume.affine[:3, 3].tolist(), *(0.0 for _ in extra)])
    image.SetSpacing([*spacing.tolist(), *extra])
    image.SetDirection(direction.ravel().tolist())
    return image


def resampled(volume: Volume, spacing: float | Sequence[float], interpolation: str) -> Volume:
    """See `Volume.resample`."""
    wanted = _spacing(spacing)
    if interpolation not in ("linear", "nearest"):
        raise QueryError(f"interpolation={interpolation!r} is not there; choose from linear, nearest.")
    _require_upright(volume)
    start = volume.dims.index("slice")
    counts, affine = _grid(volume.affine, volume.shape[start : start + 3], wanted)
    before, after = volume.shape[:start], volume.shape[start + 3 :]
    dtype = volume.array.dtype if interpolation == "nearest" else _between(volume.array.dtype)
    made = np.empty((*before, *counts, *after), dtype=dtype)
    for index in np.ndindex(before):
        part = dataclasses.replace(volume, array=volume.array[index], dims=volume.dims[start:])
        made[index] = _moved(part, counts, affine, interpolation, dtype)
    source, target = (" x ".join(f"{mm:.4g}" for mm in each) for each in (volume.spacing, wanted))
    said = f"Resampled from {source} mm to {target} mm ({interpolation}): its slices are no slices of the source."
    slices = math.prod((*before, counts[0]))
    return dataclasses.replace(
        volume,
        array=made,
        affine=affine,
        spacing=wanted,
        sop_uids=("",) * slices,
        frame_indices=(-1,) * slices,
        issues=(*volume.issues, said),
    )


def _library() -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise missing("SimpleITK") from error
    return SimpleITK


def _require_upright(volume: Volume) -> None:
    lean = lean_of(volume.affine)
    if lean > SHEAR:
        text = f"The volume leans by {lean:.1f}°, which SimpleITK does not hold; read it with on_shear='resample'."
        raise GeometryError("sheared", text, {"shear_degrees": lean})


def _spacing(spacing: float | Sequence[float]) -> tuple[float, float, float]:
    try:
        given = np.broadcast_to(np.asarray(spacing, dtype=np.float64), 3)
    except (TypeError, ValueError):
        given = np.array([np.nan])
    if not np.all(np.isfinite(given) & (given > 0)):
        raise QueryError("spacing is three positive numbers in mm, (slice, row, column), or one for all three.")
    slices, rows, columns = given.tolist()
    return slices, rows, columns


def _grid(
    affine: npt.NDArray[np.float64], shape: Sequence[int], spacing: tuple[float, float, float]
) -> tuple[tuple[int, int, int], npt.NDArray[np.float64]]:
    """Counts and affine of the smallest grid of this spacing that covers the old voxels, and has their centre."""
    old = np.linalg.norm(affine[:3, :3], axis=0)
    slices, rows, columns = (
        max(1, math.ceil(count * step / new - _WHOLE)) for count, step, new in zip(shape, old, spacing, strict=True)
    )
    counts = np.array([slices, rows, columns], dtype=np.float64)
    made = np.eye(4)
    made[:3, :3] = affine[:3, :3] / old * np.array(spacing)
    centre = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    made[:3, 3] = centre - made[:3, :3] @ ((counts - 1) / 2)
    return (slices, rows, columns), made


def _between(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Of values between those of this type: float32, and float64 for what float32 would round."""
    exact = np.result_type(dtype, np.float32)  # int16 → float32, int32 → float64
    return np.dtype(np.float64 if exact.itemsize > 4 else np.float32)


def _moved(
    volume: Volume, counts: Sequence[int], affine: npt.NDArray[np.float64], interpolation: str, dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    """The values of a 3-D volume on another grid of the same directions."""
    sitk = _library()
    image = sitk_of(volume)
    pixel = image.GetPixelID()
    if interpolation == "linear":
        vector = image.GetNumberOfComponentsPerPixel() > 1
        names = {"f4": ("sitkFloat32", "sitkVectorFloat32"), "f8": ("sitkFloat64", "sitkVectorFloat64")}
        pixel = getattr(sitk, names[dtype.str[1:]][vector])
    moved = sitk.Resample(
        image,
        size=[int(count) for count in reversed(counts)],
        transform=sitk.Transform(),
        interpolator=sitk.sitkLinear if interpolation == "linear" else sitk.sitkNearestNeighbor,
        outputOrigin=affine[:3, 3].tolist(),
        outputSpacing=np.linalg.norm(affine[:3, [2, 1, 0]], axis=0).tolist(),
        outputDirection=image.GetDirection(),
        outputPixelType=pixel,
        # No centre of the new grid lies outside of the old voxels; this is for those on their edge.
        useNearestNeighborExtrapolator=True,
    )
    found: npt.NDArray[Any] = sitk.GetArrayFromImage(moved)
    return found
