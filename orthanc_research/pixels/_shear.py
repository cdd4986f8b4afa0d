"""Leaning stacks, set upright: every slice moved within its own plane, linearly. Nothing is mixed between slices."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ._geometry import normal_of
from ._stack import Stack

__all__ = ["moved", "unsheared"]

Floats = npt.NDArray[np.float64]


def unsheared(stack: Stack) -> Stack:
    """The stack on an upright grid of the same spacing, as large as its slices need; `shifts` says how each moves.

    What leans is only where slices lie in their planes (PS3.3 C.7.6.2.1.1 keeps planes parallel), so the grid along the
    normal stays as it is.
    """
    if stack.affine is None or stack.spacing is None or stack.orientation is None:
        return stack
    per_slice = np.linalg.solve(stack.affine[:3, :3], stack.spacing[0] * normal_of(stack.orientation))
    # The upright step is one leaning step less so many rows and columns: slice k has moved by k times that.
    lean = -per_slice[1:] / per_slice[0]
    slices, size = stack.shape[-3], stack.shape[-2:]
    ends = np.outer([0, slices - 1], lean)
    start = np.floor(ends.min(axis=0))
    larger = np.array(size) + np.ceil(ends.max(axis=0)) - start
    affine = stack.affine.copy()
    affine[:3, 0] = (stack.affine[:3, :3] @ per_slice) / per_slice[0]
    affine[:3, 3] += stack.affine[:3, 1:3] @ start
    outer = [slot % slices for slot in stack.slots]
    far = float(np.abs(ends * np.array(stack.spacing[1:])).max())
    said = f"Resampled: slices were moved within their planes by up to {far:.4g} mm, linearly; NaN where nothing was."
    return dataclasses.replace(
        stack,
        affine=affine,
        shape=(*stack.shape[:-2], int(larger[0]), int(larger[1])),
        shifts=tuple((float(k * lean[0] - start[0]), float(k * lean[1] - start[1])) for k in outer),
        issues=(*stack.issues, said),
    )


def moved(image: npt.NDArray[Any], shift: tuple[float, float], shape: tuple[int, int]) -> Floats:
    """The image (row, column) moved by so many rows and columns into a larger one; float64, NaN where nothing was."""
    values: Floats = image.astype(np.float64)
    for axis in (0, 1):
        values = _moved(values, shift[axis], shape[axis], axis)
    return values


def _moved(values: Floats, shift: float, size: int, axis: int) -> Floats:
    whole = math.floor(shift)
    part = shift - whole
    count = values.shape[axis]
    found = np.full((*values.shape[:axis], size, *values.shape[axis + 1 :]), np.nan)
    if part < 1e-9:
        np.moveaxis(found, axis, 0)[whole : whole + count] = np.moveaxis(values, axis, 0)
        return found
    source = np.moveaxis(values, axis, 0)
    np.moveaxis(found, axis, 0)[whole + 1 : whole + count] = (1 - part) * source[1:] + part * source[:-1]
    return found
