"""How often each value is there: HU of a CT, and whatever the units of another volume are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from orthanc_research.errors import QueryError
from orthanc_research.pixels import Volume
from orthanc_research.plots._charts import INK, PALE, canvas, compact, place, write

__all__ = ["histogram"]

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
_SHOWN = (0.1, 99.9)  # percentiles; single voxels of metal far away would leave one bar
_OFTEN = 0.001  # of all voxels: padding is an area, not a voxel
_APART = 0.05  # of the range of the rest: nothing that was measured lies between padding and it
_STEPS = 10  # of the next gap: values that stand far apart all do
_BARS = 200
_LOOK = 1_000_000  # voxels
_WHOLE = 2.0**52  # beyond, half a number is none
_ALIKE = 1e-12  # of a value: what lies closer is one value, which would have a bar without a width
_SPIKE = 3  # times the next bar: a bar that is cut, and says how high it is


def histogram(
    volume: Volume | npt.NDArray[Any], *, bins: int = _BARS, padding: float | None = None, title: str | None = None
) -> Figure:
    """The values of a volume, with their percentiles: 1, 5, 25, 50 (the median), 75, 95 and 99 of 100.

    NaN and infinities (slices that are missing) are left out, and so is `padding`: that value, or without it the
    smallest one where it is plainly none of the others (at least one voxel of a thousand has it, and the next value is
    further away than a twentieth of the range of the rest, and ten times further than its own next). Whatever is left
    out, or lies beyond the axis (0.1 % at either end), is counted below the title. There are `bins` bars; of whole
    numbers a bar is a whole number wide. A bar that is three times as high as all others (the air of a CT) is cut and
    says its count. `QueryError` for what has no numbers.
    """
    array, units = _parts(volume)
    if not isinstance(bins, int) or bins < 2:
        raise QueryError("A histogram needs 2 bins or more.")
    values = array[np.isfinite(array)] if array.dtype.kind == "f" else array.reshape(-1)
    unknown = array.size - values.size
    values, padded = _without_padding(values, padding)
    if not values.size:
        raise QueryError("There is nothing to draw: no voxel of it has a value.")
    low, high, *marks = (float(each) for each in np.percentile(values, (*_SHOWN, *PERCENTILES)))
    edges = _edges(values, low, high, bins)
    counts, _ = np.histogram(values, bins=len(edges) - 1, range=(edges[0], edges[-1]))
    beyond = values.size - int(counts.sum())
    figure = canvas(8.2, 3.9)
    axes = place(figure, 0.75, 0.65, 5.7, 2.35)
    _bars(axes, counts, edges)
    _marks(figure, axes, marks, units)
    write(figure, 0.2, 0.16, title or "Values of the volume", fontsize=11, weight="bold")
    write(figure, 0.2, 0.42, _summary(array.size, unknown, padded, beyond), color=PALE)
    write(figure, 0.75 + 5.7 / 2, 3.68, units, ha="center")
    return figure


def _parts(volume: Volume | npt.NDArray[Any]) -> tuple[npt.NDArray[Any], str]:
    array = volume.array if isinstance(volume, Volume) else np.asarray(volume)
    colour = isinstance(volume, Volume) and "sample" in volume.dims
    if array.dtype.kind not in "buif" or not array.size or colour:
        raise QueryError("A histogram is of the numbers of a volume, and of grey values: this has none.")
    return array.astype(np.uint8) if array.dtype.kind == "b" else array, (
        volume.units if isinstance(volume, Volume) else "values"
    )


def _without_padding(
    values: npt.NDArray[Any], padding: float | None
) -> tuple[npt.NDArray[Any], tuple[int, float] | None]:
    """The values without padding; how many voxels that was, and which value."""
    if not values.size:
        return values, None
    least = values.min() if padding is None else padding
    there = values == least
    count = int(np.count_nonzero(there))
    if not count:
        return values, None
    rest = values[~there]
    if padding is None:
        if count < _OFTEN * values.size or not rest.size:
            return values, None
        low, high = (float(each) for each in np.percentile(_sample(rest), _SHOWN))
        # Of a mask, or of an image of a few values, the smallest one is a value.
        first = float(rest.min())
        gap, following = first - float(least), float(np.min(rest, where=rest > first, initial=rest.max()))
        if following == first or gap <= max(_APART * (high - low), _STEPS * (following - first)):
            return values, None
    return rest, (count, float(least))


def _sample(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Evenly chosen ones, as many as a look needs."""
    return values[:: max(1, values.size // _LOOK) | 1]


def _edges(values: npt.NDArray[Any], low: float, high: float, bins: int) -> npt.NDArray[np.float64]:
    least, most = float(values.min()), float(values.max())
    reach = 0.05 * (high - low)
    low, high = (least, most) if low == high else (max(least, low - reach), min(most, high + reach))
    looked = _sample(values)
    whole = values.dtype.kind in "iu" or bool(np.all(looked == np.rint(looked)))
    if whole and max(abs(low), abs(high)) < _WHOLE:
        low, high = np.floor(low), np.ceil(high)
        width = max(1.0, np.ceil((high - low + 1) / bins))
        return np.asarray(low - 0.5 + width * np.arange(np.ceil((high - low + 1) / width) + 1), dtype=np.float64)
    if high - low <= _ALIKE * abs(high):
        low, high = low - abs(high) / 100, high + abs(high) / 100
    return np.linspace(low, high, bins + 1)


def _bars(axes: Axes, counts: npt.NDArray[np.int64], edges: npt.NDArray[np.float64]) -> None:
    axes.stairs(counts, edges, fill=True, color="#3787c0")
    ordered = np.sort(counts)
    top = int(ordered[-1])
    following = int(ordered[-2]) if len(ordered) > 1 else 0
    cut = following > 0 and top > _SPIKE * following
    axes.set_ylim(0, 1.12 * (1.5 * following if cut else top))
    axes.set_xlim(edges[0], edges[-1])
    if cut:
        where = int(np.argmax(counts))
        left = edges[where] < (edges[0] + edges[-1]) / 2
        beside = edges[where + 1] if left else edges[where]
        said = f" ▲ {compact(top)}" if left else f"{compact(top)} ▲ "
        axes.text(
            beside, axes.get_ylim()[1] * 0.98, said, ha="left" if left else "right", va="top", fontsize=7, color=INK
        )
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    axes.set_ylabel("voxels", fontsize=7.5, color=PALE)
    for side in ("bottom",):
        axes.spines[side].set_visible(True)
        axes.spines[side].set_color(PALE)


def _marks(figure: Figure, axes: Axes, marks: list[float], units: str) -> None:
    """A line where each percentile is, and the numbers beside the axis: in it they would cover each other."""
    left, right = axes.get_xlim()
    for percent, value in zip(PERCENTILES, marks, strict=True):
        if left <= value <= right:
            style = "-" if percent == 50 else (0, (4, 3))
            axes.axvline(value, color="#D55E00", linewidth=1.2 if percent == 50 else 0.7, linestyle=style)
    write(figure, 6.75, 0.95, "percentile", color=PALE, fontsize=7)
    write(figure, 8.0, 0.95, units, color=PALE, fontsize=7, ha="right")
    for number, (percent, value) in enumerate(zip(PERCENTILES, marks, strict=True)):
        top, weight = 1.18 + 0.24 * number, "bold" if percent == 50 else "normal"
        write(figure, 6.75, top, f"{percent} %", weight=weight)
        write(figure, 8.0, top, f"{value:,.6g}", ha="right", weight=weight)


def _summary(total: int, unknown: int, padded: tuple[int, float] | None, beyond: int) -> str:
    parts = [f"{total:,} voxels"]
    if unknown:
        parts.append(f"{unknown:,} without a value")
    if padded:
        parts.append(f"{padded[0]:,} of padding ({padded[1]:g}) left out")
    if beyond:
        parts.append(f"{beyond:,} beyond the axis")
    return " · ".join(parts)
