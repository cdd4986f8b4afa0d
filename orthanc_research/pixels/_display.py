"""Stored values → what a screen shows: modality, then VOI, then inversion (PS3.3 C.11.1, C.11.2, C.11.6), 8 bits.

Windows are metadata. They are applied here only, where somebody asked for something to look at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.errors import PixelError, QueryError

from ._colour import apply_palette, spread, supplemental_first
from ._frames import Frame, Window
from ._kinds import RGB
from ._lut import Lut, big_endian, lut_of
from ._values import convert

__all__ = ["apply_window", "check_window", "display", "needed_window", "whole_range"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_FUNCTIONS = {"LINEAR": 1.0, "LINEAR_EXACT": 0.0, "SIGMOID": 0.0}  # and the narrowest width
_PADDING = {  # PS3.3 C.7.5.1.1.2, C.7.6.24, C.7.6.25; integers, then float and double pixels
    0: ("PixelPaddingValue", "PixelPaddingRangeLimit"),
    32: ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"),
    64: ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"),
}


def apply_window(values: npt.ArrayLike, window: Window | tuple[float, float]) -> Floats:
    """Values through a VOI window: float64 from 0 (black) to 1 (white), the shape of `values`; NaN is 0.

    `window` is a `Window` or (centre, width), which is LINEAR. The formulas are those of PS3.3 C.11.2.1.2 for LINEAR
    (width 1 or more), C.11.2.1.3.1 SIGMOID and C.11.2.1.3.2 LINEAR_EXACT (width above 0). `QueryError` for others.
    """
    window = check_window(window)
    x = np.asarray(values, dtype=np.float64)
    centre, width = window.centre, window.width
    with np.errstate(over="ignore", invalid="ignore"):
        if window.function == "SIGMOID":
            shown = 1 / (1 + np.exp(-4 * (x - centre) / width))
        else:
            if window.function == "LINEAR":
                centre, width = centre - 0.5, width - 1
            # A step where the width is 0: PS3.3 asks first whether a value is below or above.
            inside = (x - centre) / width + 0.5 if width else np.where(x > centre, 1.0, 0.0)
            shown = np.clip(inside, 0, 1)
    return np.nan_to_num(shown, copy=False)


def check_window(window: Window | tuple[float, float]) -> Window:
    """The window, of which (centre, width) is a LINEAR one; `QueryError` when it cannot be applied."""
    try:
        made = window if isinstance(window, Window) else Window(float(window[0]), float(window[1]))
        usable = math.isfinite(made.centre) and math.isfinite(made.width)
    except (TypeError, ValueError, IndexError):
        raise QueryError("A window is (centre, width), two numbers, or a pixels.Window.") from None
    if made.function not in _FUNCTIONS or not usable:
        raise QueryError(f"A window has a finite centre and width, and is one of {', '.join(_FUNCTIONS)}.")
    least = _FUNCTIONS[made.function]
    if made.width < least or made.width <= 0:
        raise QueryError(
            f"A {made.function} window is wider than {least:g}."
            if not least
            else "A LINEAR window is 1 or wider; for values that lie closer, give Window(centre, width, "
            "function='LINEAR_EXACT') of orthanc_research.pixels."
        )
    return made


def display(stored: Array, frames: Sequence[Frame], dataset: Dataset, window: Window | None = None) -> Array:
    """What `pixels_of(values="display")` gives of these stored values, (frame, row, column[, sample]); see there."""
    kind = frames[0].photometric
    if kind == "PALETTE COLOR":
        return _eight_bits(apply_palette(stored, dataset), 16)
    if kind in RGB and stored.ndim == 4:
        return _eight_bits(stored, frames[0].bits_stored)
    if kind not in ("MONOCHROME1", "MONOCHROME2") or stored.ndim != 3:
        raise _error(frames[0], f"nothing is known of how {'its colours' if kind else 'it'} would be shown")
    grey = _grey(stored, frames, dataset, window)
    first = supplemental_first(dataset)
    if first is None:
        return grey
    colours = _eight_bits(apply_palette(stored, dataset), 16)
    return np.where((stored >= first)[..., np.newaxis], colours, grey[..., np.newaxis])


def _grey(stored: Array, frames: Sequence[Frame], dataset: Dataset, window: Window | None) -> Array:
    lut = _voi_lut(frames[0], dataset) if window is None else None
    window = window or needed_window(stored, frames, dataset)
    shape = dataset.get("PresentationLUTShape")
    inverted = frames[0].photometric == "MONOCHROME1" or shape == "INVERSE"  # each says the same of the other
    shown = np.empty(stored.shape, dtype=np.uint8)
    for start, stop in _alike(frames):
        grey = _curve(frames[start], lut or window or _own_window(frames[start]))
        shown[start:stop] = spread(grey, stored[start:stop])
    return np.subtract(255, shown, out=shown) if inverted else shown


def _curve(frame: Frame, voi: Lut | Window) -> Callable[[Array], Array]:
    def grey(values: Array) -> Array:
        rescaled = convert(frame, values, "rescaled", np.float64)
        if isinstance(voi, Window):
            shown = apply_window(rescaled, voi)
        else:
            whole = np.clip(np.nan_to_num(np.rint(rescaled)), -(2**31), 2**31).astype(np.int64)
            shown = np.minimum(voi.apply(whole) / (2.0**voi.bits - 1), 1)
        return np.rint(shown * 255).astype(np.uint8)

    return grey


def _alike(frames: Sequence[Frame]) -> list[tuple[int, int]]:
    """(first, last + 1) of the runs of frames whose values mean the same."""
    facts = [(each.slope, each.intercept, each.windows) for each in frames]
    starts = [k for k in range(len(facts)) if k == 0 or facts[k] != facts[k - 1]]
    return list(zip(starts, [*starts[1:], len(facts)], strict=True))


def _own_window(frame: Frame) -> Window:
    try:
        return check_window(frame.windows[0])
    except QueryError as error:
        raise _error(frame, "its own window cannot be applied; give window=(centre, width)") from error


def _voi_lut(frame: Frame, dataset: Dataset) -> Lut | None:
    """The first VOI LUT. Its input is signed where the rescale can give negative values (PS3.3 C.11.2.1.1)."""
    items = dataset.get("VOILUTSequence") or []
    if not items:
        return None
    least = -(2.0 ** (frame.bits_stored - 1)) if frame.pixel_representation == 1 else 0.0
    most = least + 2.0**frame.bits_stored - 1
    slope, intercept = (1.0 if frame.slope is None else frame.slope), frame.intercept or 0.0
    signed = not frame.modality_lut and min(least * slope, most * slope) + intercept < 0
    lut = lut_of(items[0], signed=signed, big=big_endian(dataset))
    if not lut.data or not 8 <= lut.bits <= 16:
        raise _error(frame, "its VOI LUT is damaged; give window=(centre, width)")
    return lut


def needed_window(stored: Array, frames: Sequence[Frame], dataset: Dataset) -> Window | None:
    """The window of all these frames where their file has neither a table nor a window for each; else None."""
    if dataset.get("VOILUTSequence") or all(frame.windows for frame in frames):
        return None
    return whole_range(stored, frames, dataset)


def whole_range(stored: Array, frames: Sequence[Frame], dataset: Dataset) -> Window:
    """From the least to the largest value of all frames, without padding."""
    low, high = math.inf, -math.inf
    padding = _padding(stored.dtype, frames[0].float_bits, dataset)
    for start, stop in _alike(frames):
        found = _found(stored[start:stop])
        if padding is not None:
            found = found[(found < padding[0]) | (found > padding[1])]
        rescaled = convert(frames[start], found, "rescaled", np.float64)
        rescaled = rescaled[np.isfinite(rescaled)]
        if rescaled.size:
            low, high = min(low, float(rescaled.min())), max(high, float(rescaled.max()))
    if low > high:
        low, high = 0.0, 0.0
    return Window((low + high) / 2, high - low if high > low else 1.0, function="LINEAR_EXACT")


def _found(stored: Array) -> Array:
    """The values in an array, flat; each once where that is cheap."""
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2:
        return stored.ravel()
    unsigned = np.dtype(f"u{stored.dtype.itemsize}")
    there = np.zeros(1 << (8 * unsigned.itemsize), dtype=np.bool_)
    for frame in np.ascontiguousarray(stored).view(unsigned):
        there[frame] = True
    return np.flatnonzero(there).astype(unsigned).view(stored.dtype)


def _padding(dtype: np.dtype[Any], float_bits: int, dataset: Dataset) -> tuple[float, float] | None:
    """(least, largest) stored value of the padding, both included; PS3.3 C.7.5.1.1.2. None: there is none."""
    value, limit = (dataset.get(keyword) for keyword in _PADDING[float_bits])
    if value is None:
        return None
    ends = [float(value), float(value if limit is None else limit)]
    if dtype.kind in "iu":  # some write the word of a negative value as if it were unsigned
        ends = [float(np.array(int(end)).astype(dtype)) for end in ends]
    return min(ends), max(ends)


def _eight_bits(array: Array, bits: int) -> Array:
    return array if array.dtype.itemsize == 1 else (array >> max(bits - 8, 0)).astype(np.uint8)


def _error(frame: Frame, reason: str) -> PixelError:
    return PixelError(f"SOP instance {frame.sop_uid}: {reason}.")
