"""Directions of the patient in letters: R L A P H F (PS3.3 C.7.6.1.1.1), of vectors in LPS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["closest_axes", "letters"]

_AXES = (("R", "L"), ("A", "P"), ("F", "H"))  # x, y, z of LPS: where they fall, where they rise
_OBLIQUE = 0.3826834  # sin 22.5°: nearer to the diagonal than to an axis


def letters(direction: Sequence[float] | npt.NDArray[Any]) -> str:
    """Where a vector of LPS points to: "L"; "LP" where it lies between two of them, the nearest one first.

    >>> letters((1, 0, 0)), letters((0, -1, 0.1)), letters((0, 0.6, -0.8)), letters((0, 0, 0))
    ('L', 'A', 'FP', '')
    """
    vector = np.asarray(direction, dtype=np.float64)
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or not length:
        return ""
    cosines = vector / length
    order = sorted(range(3), key=lambda axis: (-round(abs(float(cosines[axis])), 9), axis))
    near = [axis for number, axis in enumerate(order) if number == 0 or abs(cosines[axis]) > _OBLIQUE]
    return "".join(_AXES[axis][int(cosines[axis] > 0)] for axis in near)


def closest_axes(affine: npt.NDArray[np.float64]) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Which axis of the array runs along x, y and z of the patient, each one once; and whether it runs backwards.

    The choice that is nearest as a whole, so that it is one for an oblique volume too.
    """
    steps = np.asarray(affine, dtype=np.float64)[:3, :3]
    cosines = steps / np.linalg.norm(steps, axis=0)
    choices = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    chosen = max(choices, key=lambda axes: round(sum(abs(float(cosines[k, axis])) for k, axis in enumerate(axes)), 9))
    x, y, z = (bool(cosines[k, axis] < 0) for k, axis in enumerate(chosen))
    return chosen, (x, y, z)
