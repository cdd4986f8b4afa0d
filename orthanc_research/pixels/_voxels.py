"""Which types voxels may have, and how values get into one without being changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orthanc_research.errors import PixelError, QueryError

__all__ = ["put", "voxel_type"]

Array = npt.NDArray[Any]


def voxel_type(dtype: npt.DTypeLike | None, usual: np.dtype[Any]) -> np.dtype[Any]:
    """The type asked for, or the usual one; `QueryError` for what is no type of integers or floats."""
    try:
        wanted = usual if dtype is None else np.dtype(dtype)
    except TypeError as error:
        raise QueryError(f"dtype={dtype!r} is not a numpy type.") from error
    if wanted.kind not in "iuf":
        raise QueryError(f"dtype={dtype!r} is not a type for voxels; choose an integer or a float type.")
    return wanted


def put(target: Array, image: Array, name: str) -> None:
    """Copy into the type of `target`: one of integers takes nothing that it would change, one of floats no integer
    that it would change.

    `PixelError`, with the `name` of what they are of, when values do not fit.
    """
    if target.dtype.kind in "iu" and target.dtype != image.dtype:
        limits = np.iinfo(target.dtype)
        low, high = image.min(), image.max()
        if not (limits.min <= low and high <= limits.max):
            raise PixelError(f"{name}: values {low:g} to {high:g} do not fit into {target.dtype}.")
        if image.dtype.kind == "f" and not np.array_equal(image, np.rint(image)):
            raise PixelError(f"{name}: its values have fractions, which {target.dtype} would lose.")
    if target.dtype.kind == "f" and image.dtype.kind in "iu":
        largest = 2 ** (np.finfo(target.dtype).nmant + 1)  # beyond it, not every integer is one of the floats
        low, high = image.min(), image.max()
        if not (-largest <= low and high <= largest):
            raise PixelError(f"{name}: values {low:g} to {high:g} do not fit into {target.dtype}.")
    with np.errstate(over="ignore"):  # looked at next
        target[...] = image
    if target.dtype.kind == "f" and not np.array_equal(np.isfinite(target), np.isfinite(image)):
        raise PixelError(f"{name}: values do not fit into {target.dtype}.")
