"""What changed from one to the other: two volumes, or one image before and after its de-identification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from pydicom import DataElement, Dataset
from pydicom.tag import BaseTag

from orthanc_research.errors import Error, QueryError
from orthanc_research.pixels import Volume, pixels_of
from orthanc_research.plots._charts import INK, PALE, canvas, place, write
from orthanc_research.plots._montage import limits

__all__ = ["compare"]

Array = npt.NDArray[Any]

_TILE, _GAP, _LEFT, _TOP = 2.6, 0.12, 0.2, 0.95  # inches
_KINDS = ("kept", "changed", "removed", "added")
_GROUPS = {
    **dict.fromkeys(("PN",), "names"),
    **dict.fromkeys(("DA", "DT", "TM", "AS"), "dates, times, ages"),
    **dict.fromkeys(("UI",), "UIDs"),
    **dict.fromkeys(("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"), "texts and codes"),
    **dict.fromkeys(("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV", "AT"), "numbers"),
}
_ORDER = ("names", "dates, times, ages", "UIDs", "texts and codes", "numbers", "bytes", "private")
_EMPTY = repr("")
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))


class _Pair(NamedTuple):
    """Pictures to draw side by side, and the same values as they are to be subtracted (None: they cannot be)."""

    shown: tuple[Array, Array]
    values: tuple[Array, Array] | None
    caption: str = ""
    inverted: tuple[bool, bool] = (False, False)  # small values show white


def compare(
    before: Volume | Dataset | Array,
    after: Volume | Dataset | Array,
    *,
    count: int = 3,
    window: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Two of a kind side by side with their difference: volumes, pictures (row, column[, 3]), or DICOM datasets.

    Of volumes `count` slices at most, those that differ in most places, else evenly from the first to the last, in one
    window (as in `montage`); the difference in the volume's units, blue where it fell and red where it rose; below the
    title how many voxels differ, by how much at most, and how far they are apart in space. Of datasets, such as an
    original and its copy, the pictures as a screen shows them (with whatever is burned in), the difference of their
    stored values, and how many values of elements, at every depth, were kept, changed, removed (with their element, or
    emptied) and added, by kind: counts alone, no value and no keyword.
    `QueryError` for two that have not the same kind and shape.
    """
    if count < 1:
        raise QueryError("compare shows 1 slice or more.")
    if isinstance(before, Dataset) and isinstance(after, Dataset):
        pairs, aspect, said = _of_datasets(before, after, window, count)
        return _draw(pairs, aspect, said, (0.0, 255.0), title, "stored values", tags=_tags(before, after))
    if isinstance(before, Volume) and isinstance(after, Volume):
        aspect = before.spacing[1] / before.spacing[2]
        turned = (before.inverted, after.inverted)
        pairs = [each._replace(inverted=turned) for each in _of_arrays(before.array, after.array, count, picture=False)]
        said, units = [_difference(before.array, after.array, before.units), _moved(before, after)], before.units
    elif isinstance(before, np.ndarray) and isinstance(after, np.ndarray):
        picture = before.ndim == 2 or before.shape[2:] == (3,)
        pairs, aspect, units = _of_arrays(before, after, count, picture=picture), 1.0, "values"
        said = [_difference(before, after, "")]
    else:
        raise QueryError("compare takes two volumes, two pictures or two datasets.")
    both = np.concatenate([np.asarray(each, dtype=np.float64).ravel() for pair in pairs for each in pair.shown])
    return _draw(pairs, aspect, said, limits(both, window), title, units)


def _of_arrays(before: Array, after: Array, count: int, *, picture: bool) -> list[_Pair]:
    if before.shape != after.shape:
        raise QueryError("before and after have not the same shape; resample one of them first.")
    if before.dtype.kind not in "buif" or after.dtype.kind not in "buif" or not before.size:
        raise QueryError("compare draws numbers, and there are none.")
    if picture:
        return [_Pair((before, after), (before, after))]
    if before.ndim != 3:
        raise QueryError("compare draws (slice, row, column) numbers, or a picture.")
    chosen = _chosen(before, after, count)
    return [_Pair((before[k], after[k]), (before[k], after[k]), f"slice {k}") for k in chosen]


def _chosen(before: Array, after: Array, count: int) -> list[int]:
    """The slices that differ in most places; evenly from first to last where there are not so many."""
    differ = np.array([np.count_nonzero(_delta(one, two)) for one, two in zip(before, after, strict=True)])
    first = [int(k) for k in np.argsort(-differ, kind="stable")[:count] if differ[k]]
    even = np.unique(np.linspace(0, len(before) - 1, min(count, len(before))).round().astype(int))
    return sorted([*first, *[int(k) for k in even if k not in first][: count - len(first)]])


def _of_datasets(
    before: Dataset, after: Dataset, window: tuple[float, float] | None, count: int
) -> tuple[list[_Pair], float, list[str]]:
    try:
        shown = [pixels_of(each, "display", window=window) for each in (before, after)]
        stored = [pixels_of(each, "stored") for each in (before, after)]
    except QueryError:
        raise
    except Error:
        return [], 1.0, ["At least one of them has no pixels that can be shown."]
    alike = stored[0].shape == stored[1].shape
    frames = np.unique(np.linspace(0, min(map(len, shown)) - 1, min(count, *map(len, shown))).round().astype(int))
    pairs = [
        _Pair(
            (shown[0][k], shown[1][k]),
            (stored[0][k], stored[1][k]) if alike else None,
            f"frame {k}" if len(shown[0]) > 1 else "",
        )
        for k in frames
    ]
    said = _difference(stored[0], stored[1], "") if alike else "Their pixels have not the same shape."
    return pairs, _aspect(before), [said]


def _aspect(dataset: Dataset) -> float:
    try:
        rows, columns = (float(each) for each in dataset["PixelSpacing"].value)
    except (KeyError, TypeError, ValueError):
        return 1.0
    return rows / columns if rows > 0 and columns > 0 else 1.0


def _delta(before: Array, after: Array, *, channels: bool = False) -> Array:
    """What changed, with its sign; 0 where both are NaN, NaN where one is. Of colours the channel that changed most."""
    one, two = (np.asarray(each, dtype=np.float64) for each in (before, after))
    with np.errstate(invalid="ignore"):
        delta = np.where((one == two) | (np.isnan(one) & np.isnan(two)), 0.0, two - one)
    if delta.ndim == 3 and not channels:
        most = np.abs(delta).argmax(axis=2)
        return np.take_along_axis(delta, most[..., np.newaxis], axis=2)[..., 0]
    return delta


def _difference(before: Array, after: Array, units: str) -> str:
    if before.shape != after.shape:
        return ""
    differing, most, unknown = 0, 0.0, 0
    for one, two in zip(before, after, strict=True):  # a slice at a time: a volume is large
        delta = np.abs(_delta(one, two, channels=True))
        unknown += int(np.count_nonzero(np.isnan(delta)))
        differing += int(np.count_nonzero(delta > 0))
        most = max(most, float(np.nanmax(delta, initial=0.0, where=~np.isnan(delta))))
    if not differing and not unknown:
        return f"All {before.size:,} values are the same"
    gone = f" · {unknown:,} have a value in one alone" if unknown else ""
    return f"{differing:,} of {before.size:,} values differ, by {most:.6g}{f' {units}' if units else ''} at most{gone}"


def _moved(before: Volume, after: Volume) -> str:
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    start = before.dims.index("slice")
    corners[:, :3] *= np.array(before.shape[start : start + 3]) - 1
    apart = float(np.linalg.norm(corners @ (after.affine - before.affine).T, axis=1).max())
    return "in the same place" if apart < 1e-3 else f"up to {apart:.3g} mm apart"


def _tags(before: Dataset, after: Dataset) -> dict[str, Counter[str]]:
    """{kind of element: {"kept", "changed", "removed", "added": how many}}."""
    one, two = dict(_walk(before, ())), dict(_walk(after, ()))
    found: dict[str, Counter[str]] = {name: Counter() for name in _ORDER}
    for path in {**one, **two}:
        kind = one[path][0] if path in one else two[path][0]
        old, new = (found_in[path][1] if path in found_in else _EMPTY for found_in in (one, two))
        if old != new or old != _EMPTY:
            state = "kept" if old == new else "removed" if new == _EMPTY else "added" if old == _EMPTY else "changed"
            found[kind][state] += 1
    return {name: counts for name, counts in found.items() if counts}


def _walk(dataset: Dataset, above: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], tuple[str, str]]]:
    for tag in sorted(dataset.keys()):
        if int(tag) in _PIXELS:
            continue
        vr, value = _value(dataset, tag)
        path = (*above, int(tag))
        if vr == "SQ":
            for number, item in enumerate(value):
                yield from _walk(item, (*path, number))
        else:
            yield path, ("private" if tag.is_private else _GROUPS.get(vr, "bytes"), _text(value))


def _text(value: Any) -> str:
    """A value as something to hold against another; those of no length are one."""
    return _EMPTY if value is None or (hasattr(value, "__len__") and not len(value)) else repr(value)


def _value(dataset: Dataset, tag: BaseTag) -> tuple[str, Any]:
    try:
        element = dataset[tag]
        return element.VR, element.value
    except Exception:  # noqa: BLE001  # a damaged value: its bytes tell whether it changed as well
        raw: Any = dataset.get_item(tag)
        return str(raw.VR or "UN"), raw.value if isinstance(raw, DataElement) else bytes(raw.value or b"")


def _draw(
    pairs: list[_Pair],
    aspect: float,
    said: list[str],
    window: tuple[float, float],
    title: str | None,
    units: str,
    tags: dict[str, Counter[str]] | None = None,
) -> Figure:
    heights = [min(max(pair.shown[0].shape[0] * aspect / pair.shown[0].shape[1], 0.1), 3.0) * _TILE for pair in pairs]
    table = 0.0 if tags is None else 0.62 + 0.22 * len(tags)
    figure = canvas(3 * _TILE + 2 * _GAP + 2 * _LEFT, _TOP + sum(heights) + 0.32 * len(pairs) + table + 0.15)
    deltas = [None if pair.values is None else _delta(*pair.values) for pair in pairs]
    found = [np.abs(each) for each in deltas if each is not None]
    most = max((float(np.max(each, initial=0.0, where=np.isfinite(each))) for each in found), default=0.0)
    top = _TOP
    for pair, delta, height in zip(pairs, deltas, heights, strict=True):
        _row(figure, pair, delta, top, height, aspect, window, most)
        top += height + 0.32
    write(figure, _LEFT, 0.16, title or "Before and after", fontsize=11, weight="bold")
    write(figure, _LEFT, 0.42, " · ".join(part for part in said if part), color=PALE)
    reach = f"difference, {units}: blue -{most:.4g}, red +{most:.4g}" if most else "difference: none"
    for number, name in enumerate(("before", "after", reach) if pairs else ()):
        write(figure, _LEFT + number * (_TILE + _GAP), 0.74, name, fontsize=7.5)
    if tags is not None:
        _table(figure, tags, top)
    return figure


def _row(
    figure: Figure,
    pair: _Pair,
    delta: Array | None,
    top: float,
    height: float,
    aspect: float,
    window: tuple[float, float],
    most: float,
) -> None:
    down = figure.get_size_inches()[1]
    for number, picture in enumerate((*pair.shown, delta)):
        left = _LEFT + number * (_TILE + _GAP)
        if picture is None:
            write(figure, left + _TILE / 2, top + height / 2, "not comparable", ha="center", color=PALE)
            continue
        axes = place(figure, left, down - top - height, _TILE, height)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_facecolor("black")
        options: dict[str, Any] = {"aspect": aspect, "interpolation": "nearest"}
        if number == 2:
            axes.imshow(picture, cmap="RdBu_r", vmin=-(most or 1.0), vmax=most or 1.0, **options)
        elif picture.ndim == 3:
            axes.imshow(picture if picture.dtype == np.uint8 else picture / max(float(picture.max()), 1.0), **options)
        else:
            options |= {"cmap": "gray_r" if pair.inverted[number] else "gray", "vmin": window[0], "vmax": window[1]}
            axes.imshow(np.asarray(picture, dtype=np.float32), **options)
    write(figure, _LEFT, top + height + 0.03, pair.caption, color=PALE, fontsize=7)


def _table(figure: Figure, tags: dict[str, Counter[str]], top: float) -> None:
    places = [_LEFT + 2.2 + 1.1 * k for k in range(len(_KINDS))]
    write(figure, _LEFT, top + 0.1, "values of elements, at every depth", color=PALE, fontsize=7.5)
    for x, name in zip(places, _KINDS, strict=True):
        write(figure, x, top + 0.1, name, color=PALE, fontsize=7.5, ha="right")
    for number, (name, counts) in enumerate(tags.items()):
        line = top + 0.34 + 0.22 * number
        write(figure, _LEFT, line, name)
        for x, kind in zip(places, _KINDS, strict=True):
            write(figure, x, line, f"{counts[kind]:,}" if counts[kind] else "-", ha="right",
                  color=INK if counts[kind] else PALE)  # fmt: skip
