"""Stored values → values that mean something: the Modality LUT or the rescale of each frame, dose, SUV.

"stored" is what the scanner wrote. "rescaled" is what it stands for (PS3.3 C.11.1): HU, Bq/ml, Gy. "suv" is g/ml by
body weight. Arithmetic is float64, results are float32; the type never depends on the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.errors import PixelError, QueryError

from ._lut import modality_lut
from ._suv import suv_factor

if TYPE_CHECKING:
    from ._frames import Frame

__all__ = ["VALUES", "Values", "convert", "describe", "with_file_facts"]

Values = Literal["stored", "rescaled", "suv"]
VALUES: tuple[Values, ...] = get_args(Values)

_SAME_FACTOR = 0.01  # of SUV factors within a series; they differ by rounding, never by this


def describe(frames: Sequence[Frame], values: str) -> tuple[str, tuple[str, ...]]:
    """(units, notes) of the values of these frames, from their headers alone.

    Units are DICOM's terms: "HU", "BQML", "GY", "GML" for SUV …; "stored units" for stored values and where the header
    has nothing to rescale by; "unspecified" where it rescales to it does not say what. `PixelError` says why these
    frames cannot be given as `values`; `QueryError` for values that are not `VALUES`.
    """
    if values not in VALUES:
        raise QueryError(f"values={values!r} is not there; choose from {', '.join(VALUES)}.")
    if values == "stored":
        return "stored units", ()
    for frame in frames:
        _check(frame)
    if values == "rescaled":
        return _units(frames)
    return "GML", _suv_notes(frames)


def convert(frame: Frame, image: npt.NDArray[Any], values: str, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """One frame's stored values as `values`, the shape of `image`.

    "stored" gives `image` itself. The others are computed in float64 with the frame's own slope, intercept or Modality
    LUT and given as `dtype`: float32, or float64 for who fits them into another type. `PixelError` as `describe`.
    """
    if values == "stored":
        return image
    _check(frame)
    slope, intercept = _or(frame.slope, 1.0), _or(frame.intercept, 0.0)
    if values == "suv":
        factor, _ = _factor(frame)
        slope, intercept = slope * factor, intercept * factor
    if frame.modality_lut:
        result = _looked_up(frame, image)
        if values == "suv":
            result *= factor
    else:
        result = np.multiply(image, slope, dtype=np.float64)
        if intercept:
            result += intercept
    return result.astype(dtype, copy=False)


def with_file_facts(frame: Frame, dataset: Dataset) -> Frame:
    """The frame with what only the file holds: the entries of a Modality LUT, which short tags give as null."""
    if not frame.modality_lut or (frame.lut is not None and frame.lut.data):
        return frame
    return replace(frame, lut=modality_lut(dataset))


def _check(frame: Frame) -> None:
    if frame.samples > 1 or frame.photometric not in ("MONOCHROME1", "MONOCHROME2", ""):
        raise _error(frame, "it is a colour image, whose values measure nothing; use values='stored'")
    if frame.modality_lut:
        return
    slope, intercept = _or(frame.slope, 1.0), _or(frame.intercept, 0.0)
    largest = abs(slope) * 2.0**frame.bits_allocated + abs(intercept)  # NaN compares as False
    if slope == 0 or not largest < float(np.finfo(np.float32).max):
        raise _error(frame, "RescaleSlope, RescaleIntercept or DoseGridScaling cannot be right")


def _units(frames: Sequence[Frame]) -> tuple[str, tuple[str, ...]]:
    """The one unit of the rescaled values; `PixelError` when there are several, or some slices are not rescaled."""
    named = {_looked_up_units(frame) if frame.modality_lut else frame.units for frame in frames}
    if len(named) > 1:
        each = ", ".join(unit or "none" for unit in sorted(named))
        raise PixelError(f"The slices have different units ({each}); use values='stored'.")
    units = named.pop() if named else ""
    without = sum(None in (frame.slope, frame.intercept) and not frame.modality_lut for frame in frames)
    if not without:
        return units or "unspecified", ()
    lacking = f"{without} of {len(frames)} slices have no RescaleSlope or no RescaleIntercept"
    if without < len(frames):  # in one array with values that are rescaled, theirs would pass for the same
        raise PixelError(f"{lacking}, and the others have both; use values='stored'.")
    note = f"{lacking}: slope 1 and intercept 0 were used where they are absent."
    nothing = all(frame.slope is None and frame.intercept is None and not frame.modality_lut for frame in frames)
    return "stored units" if nothing or not units else units, (note,)


def _suv_notes(frames: Sequence[Frame]) -> tuple[str, ...]:
    found = [_factor(frame) for frame in frames]
    factors = [factor for factor, _ in found]
    if factors and max(factors) > min(factors) * (1 + _SAME_FACTOR):
        raise PixelError("The slices have different factors for SUV: they are not of one scan; use values='rescaled'.")
    return tuple(dict.fromkeys(note for _, notes in found for note in notes))


def _factor(frame: Frame) -> tuple[float, tuple[str, ...]]:
    if frame.suv is None:
        raise _error(frame, f"SUV is of PET, and its Modality is {frame.modality or 'absent'}")
    if frame.slope is None:
        raise _error(frame, "SUV cannot be computed: RescaleSlope is absent")
    try:
        return suv_factor(frame.suv)
    except PixelError as error:
        raise _error(frame, f"SUV cannot be computed: {str(error).rstrip('.')}") from error


def _looked_up(frame: Frame, image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if frame.lut is None or not frame.lut.data:
        raise _error(frame, "its Modality LUT cannot be read")
    return frame.lut.apply(image).astype(np.float64)


def _looked_up_units(frame: Frame) -> str:
    return frame.lut.kind if frame.lut is not None else ""


def _error(frame: Frame, reason: str) -> PixelError:
    return PixelError(f"SOP instance {frame.sop_uid}: {reason}.")


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
