"""Volumes and stacks at a look, for a notebook: the middle slice, the size in mm, where its axes point, the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orthanc_research.cards import card, image
from orthanc_research.errors import QueryError

from ._directions import letters
from ._display import apply_window

if TYPE_CHECKING:
    from ._stack import Stack
    from ._volume import Volume

__all__ = ["middle", "stack_card", "volume_card"]

_PERCENTILES = (0.5, 99.5)  # what lies outside is padding, metal or noise


def volume_card(volume: Volume) -> str:
    """The card of a volume."""
    picture, parts = middle(volume), []
    if picture is not None:
        parts = [image(picture, "the middle slice", aspect=volume.spacing[1] / volume.spacing[2])]
    issues = len(volume.issues)
    facts = [
        ("shape", f"{_size(volume.shape)} {volume.array.dtype} ({', '.join(volume.dims)})"),
        *_place(volume.spacing, volume.affine),
        ("values", volume.units if volume.values == "stored" else f"{volume.values}, {volume.units}"),
        ("along extra", ", ".join(name.replace("_", " ") for name in volume.axes)),
        ("verdict", f"one volume, with {issues} remark{'s' if issues > 1 else ''}" if issues else "one volume"),
    ]
    return card("volume", "Volume", facts, parts=parts, notes=volume.issues)


def stack_card(stack: Stack) -> str:
    """The card of a stack; no pixel is needed for it."""
    where = [] if stack.spacing is None or stack.affine is None else _place(stack.spacing, stack.affine)
    facts = [
        ("verdict", "ok: one volume" if stack.status == "ok" else f"{stack.status}: {stack.reason}"),
        ("shape", f"{_size(stack.shape)} ({', '.join(stack.dims)})"),
        *where,
        ("files", f"{len(stack.files):,}"),
    ]
    return card("stack", "Stack", facts, notes=[each for each in stack.issues if each != stack.reason])


def middle(volume: Volume) -> npt.NDArray[np.uint8] | None:
    """The middle slice as a screen shows it: by its window where the values are its own, else by percentiles."""
    array = volume.array
    for name in volume.dims:
        if name in ("row", "column", "sample") or not array.size:
            break
        array = array[0] if name == "extra" else array[len(array) // 2]
    if not array.size:
        return None
    if "sample" in volume.dims:
        return array if array.dtype == np.uint8 else (array / max(float(array.max()), 1.0) * 255).astype(np.uint8)
    shown = _windowed(volume, array)
    grey = np.rint(shown * 255).astype(np.uint8)
    return np.asarray(255 - grey if volume.inverted else grey, dtype=np.uint8)


def _windowed(volume: Volume, array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if volume.window is not None and volume.values == "rescaled":
        try:
            return apply_window(array, volume.window)
        except QueryError:
            pass  # a width of 0, say
    values = np.asarray(array, dtype=np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(each) for each in np.percentile(finite, _PERCENTILES)) if finite.size else (0.0, 1.0)
    if low == high and finite.size:
        low, high = float(finite.min()), float(finite.max())
    with np.errstate(invalid="ignore", over="ignore"):
        spread = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    return np.nan_to_num(spread)


def _place(spacing: tuple[float, float, float], affine: npt.NDArray[np.float64]) -> list[tuple[str, str]]:
    axes = ", ".join(f"{name} to {letters(affine[:3, k])}" for k, name in enumerate(("slices", "rows", "columns")))
    return [("spacing", f"{' x '.join(f'{mm:.4g}' for mm in spacing)} mm"), ("orientation", axes)]


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
