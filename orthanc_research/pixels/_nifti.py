"""A volume as a NIfTI-1 image: the same voxels at the same points."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orthanc_research.errors import PixelError

from ._foreign import missing, portable, time_step

if TYPE_CHECKING:
    from ._volume import Volume

__all__ = ["check_nifti", "nifti_of"]

_SCANNER = 1  # the code of NIFTI_XFORM_SCANNER_ANAT
_QFORM_WITHIN = 0.1  # mm: a rotation that puts a corner farther off than this would lie
_LONGEST = 32767  # NIfTI-1 counts voxels in int16
_RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def check_nifti() -> None:
    """`QueryError` where nibabel is not installed."""
    _nibabel()


def nifti_of(volume: Volume) -> Any:
    """See `Volume.to_nifti`."""
    nibabel = _nibabel()
    array, affine = _voxels(volume), volume.affine_ras[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    # The image keeps the affine in float64; the header's is float32.
    image.set_sform(affine, code=_SCANNER, update_affine=False)
    image.set_qform(affine, code=_SCANNER, update_affine=False)
    if _farthest(image.get_qform() - affine, array.shape[:3]) > _QFORM_WITHIN:
        image.header["qform_code"] = 0
    step = time_step(volume)
    image.header.set_xyzt_units("mm", None if step is None else "sec")
    if step is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], step))
    return image


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise missing("nibabel") from error
    return nibabel


def _voxels(volume: Volume) -> npt.NDArray[Any]:
    """The array as (column, row, slice[, extra]), Fortran order: the order of the bytes stays as it is."""
    array = portable(volume.array)
    if "sample" in volume.dims:
        if array.dtype != np.uint8 or array.shape[-1] != 3:
            raise PixelError(f"NIfTI holds colour of 3 x 8 bits, and this is {array.shape[-1]} x {array.dtype}.")
        array = array.view(_RGB)[..., 0]
    if max(array.shape) > _LONGEST:
        raise PixelError(f"NIfTI-1 holds {_LONGEST} voxels along an axis, and this has {max(array.shape)}.")
    return array.T


def _farthest(difference: npt.NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """How many mm the corners of a grid lie apart under two affines that differ by this."""
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in shape))], dtype=np.float64)
    return float(np.linalg.norm((corners @ difference.T)[:, :3], axis=1).max())
