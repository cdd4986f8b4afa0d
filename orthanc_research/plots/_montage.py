"""Slices of a volume side by side."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from orthanc_research.errors import QueryError
from orthanc_research.pixels import Volume
from orthanc_research.plots._charts import canvas

__all__ = ["limits", "montage", "range_of"]

_PERCENTILES = (0.5, 99.5)  # what lies outside is padding, metal or noise
_SAMPLE = 1_000_000  # voxels that the percentiles are taken from
_TILE = 1.7  # inches


def montage(
    volume: Volume | npt.NDArray[Any],
    *,
    count: int = 24,
    columns: int | None = None,
    window: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Slices of a volume side by side, evenly chosen, first to last; rows down, columns to the right, as stored.

    `count` is how many at most, `columns` how many in a row. `window` is (centre, width) in the volume's units, by
    default from its percentiles. Pixels keep their shape in mm; MONOCHROME1 (`volume.inverted`) shows small values
    white. A caption is the slice's index and, of a `Volume`, its place along the slices' normal in mm: no header text
    reaches the figure unless it is in `title`. `QueryError` when there is nothing that can be shown this way.

    >>> import numpy as np
    >>> montage(np.zeros((3, 8, 8))).axes[1].get_title()
    '1'
    """
    array, aspect, inverted = _parts(volume)
    if count < 1 or (columns is not None and columns < 1):
        raise QueryError("A montage needs a count and columns of 1 or more.")
    chosen = np.unique(np.linspace(0, len(array) - 1, min(count, len(array))).round().astype(int))
    low, high = limits(array, window)
    figure, axes = _grid(len(chosen), columns, array.shape[1] * aspect / array.shape[2])
    for axis, k in zip(axes, chosen, strict=True):
        axis.imshow(
            np.asarray(array[k], dtype=np.float32),
            cmap="gray_r" if inverted else "gray",
            vmin=low,
            vmax=high,
            aspect=aspect,
            interpolation="nearest",
        )
        axis.set_title(_caption(volume, int(k)), fontsize=7, color="0.8", pad=2)
    if title:
        figure.suptitle(title, fontsize=9, color="white", parse_math=False)
    return figure


def _parts(volume: Volume | npt.NDArray[Any]) -> tuple[npt.NDArray[Any], float, bool]:
    array = volume.array if isinstance(volume, Volume) else np.asarray(volume)
    if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "buif":
        raise QueryError(f"A montage shows (slice, row, column) numbers; this is {array.dtype} of shape {array.shape}.")
    if not isinstance(volume, Volume):
        return array, 1.0, False
    return array, volume.spacing[1] / volume.spacing[2], volume.inverted


def limits(array: npt.NDArray[Any], window: tuple[float, float] | None) -> tuple[float, float]:
    """(black, white) of a window, or of the percentiles where none is given; `QueryError` for one that is none."""
    if window is not None:
        try:
            centre, width = map(float, window)
        except (TypeError, ValueError):
            centre = width = math.nan
        if not (math.isfinite(centre) and math.isfinite(width) and width > 0):
            raise QueryError("A window is (centre, width), the width above 0.")
        return centre - width / 2, centre + width / 2
    # A step that shares no factor with the row length would be best; an odd one avoids sampling a single column.
    sample = array.reshape(-1)[:: max(1, array.size // _SAMPLE) | 1].astype(np.float64)
    return range_of(sample)


def range_of(sample: npt.NDArray[np.float64]) -> tuple[float, float]:
    """(black, white) of some values: without what lies far out, and never the same twice."""
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 1.0
    low, high = (float(each) for each in np.percentile(sample, _PERCENTILES))
    if low == high:
        low, high = float(sample.min()), float(sample.max())
    return low, high if high > low else low + 1.0


def _grid(count: int, columns: int | None, height: float) -> tuple[Figure, list[Any]]:
    """A figure with so many square-ish cells, `height` = rows over columns of a tile in mm."""
    across = min(columns or math.ceil(math.sqrt(count * 1.5)), count)
    down = math.ceil(count / across)
    tall = min(max(height, 0.2), 5.0)
    figure = canvas(across * _TILE, down * (_TILE * tall + 0.2) + 0.3, "black", layout="constrained")
    cells = list(figure.subplots(down, across, squeeze=False).flat)
    for cell in cells:
        cell.set_axis_off()
    return figure, cells[:count]


def _caption(volume: Volume | npt.NDArray[Any], k: int) -> str:
    if not isinstance(volume, Volume):
        return str(k)
    normal = np.cross(volume.orientation[:3], volume.orientation[3:])
    place = float(normal @ (volume.affine @ [k, 0.0, 0.0, 1.0])[:3])
    return f"{k} · {place:.1f} mm"
