"""What the libraries that take our volumes have in common: what they cannot hold, and how a missing one is told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orthanc_research.errors import QueryError

if TYPE_CHECKING:
    from ._volume import Volume

__all__ = ["lean_of", "missing", "portable", "time_step"]

# Axes along time, and what makes seconds of their values: Trigger Time, Frame Time and Frame Reference Time are in ms,
# Temporal Position Time Offset is in s (PS3.3). AcquisitionTime is a clock's: not a number of seconds.
_SECONDS = {"time_offset": 1.0, "trigger_time": 1e-3, "frame_time": 1e-3, "frame_reference_time": 1e-3}
_EVEN = 0.01  # of the step: what rounded times may do to it


def missing(library: str) -> QueryError:
    """What to raise where an optional library is not installed."""
    return QueryError(f"This needs {library}, which is not installed: pip install {library}.")


def portable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same values in this machine's byte order and a type that others have: bool → uint8, float16 → float32."""
    kind = {"b1": "u1", "f2": "f4"}.get(array.dtype.str[1:], array.dtype.str[1:])
    return np.ascontiguousarray(array, dtype=kind)


def lean_of(affine: npt.NDArray[np.float64]) -> float:
    """Degrees between the step from slice to slice and the slices' normal."""
    normal = np.cross(affine[:3, 2], affine[:3, 1])
    step = affine[:3, 0]
    return math.degrees(math.atan2(float(np.linalg.norm(np.cross(step, normal))), abs(float(step @ normal))))


def time_step(volume: Volume) -> float | None:
    """Seconds from one index of "extra" to the next; None unless the axis is time, said in a unit, in even steps."""
    first = next(iter(volume.axes), "")
    name = next((each for each in volume.axes if each in _SECONDS), None)
    if "extra" not in volume.dims or name is None or first not in (*_SECONDS, "temporal_position"):
        return None
    steps = np.diff(volume.axes[name]) * _SECONDS[name]
    step = float(np.mean(steps)) if len(steps) else 0.0
    return step if step > 0 and float(np.abs(steps - step).max()) <= _EVEN * step else None
