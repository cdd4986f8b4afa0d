"""A volume from three sides, as radiologists look at it: from the feet, from the front, from the left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from orthanc_research.errors import QueryError
from orthanc_research.pixels import Volume, closest_axes, letters
from orthanc_research.plots._charts import canvas, place, write
from orthanc_research.plots._montage import limits

__all__ = ["orthogonal"]

Array = npt.NDArray[Any]

# name → the patient's axis that is looked along, the one that goes to the right (+), the one that goes down, and
# whether that one falls. The patient's right is on the left of the screen; of a sagittal view the front is.
_VIEWS = {"axial": (2, 0, 1, False), "coronal": (1, 0, 2, True), "sagittal": (0, 1, 2, True)}
_NAMES = ("slice", "row", "column")
_WIDE, _TALL = 10.5, 4.6  # inches that the pictures have at most, together and each
_GAP, _TOP, _EDGE = 0.35, 0.62, 0.3


class _View(NamedTuple):
    """What is drawn: the picture, a pixel's mm across and down, letters at its edges, where the other planes cut it."""

    title: str
    picture: Array
    across: float
    down: float
    letters: tuple[str, str, str, str]  # left, right, top, bottom
    cross: tuple[int, int]  # column, row of the picture

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in mm."""
        return self.picture.shape[1] * self.across, self.picture.shape[0] * self.down


def orthogonal(
    volume: Volume,
    *,
    at: Sequence[int] | None = None,
    window: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Axial, coronal and sagittal planes of a volume through one voxel, in mm, with R L A P H F at their edges.

    `at` is (slice, row, column) of the array, without it the voxel in the middle; thin lines show where each plane cuts
    the others. Nothing is resampled: a plane is one of the array's own, named by what it is nearest to, with how many
    degrees it is off, and turned so that the patient's right is on the left, the front up or on the left, the head up.
    Letters are those of the directions that are drawn: "LP" lies between the two. `window` as in `montage`.
    `QueryError` for a volume with more axes than three.
    """
    array, low, high = _checked(volume, window)
    where = _voxel(at, array.shape)
    views = [_view(volume, name, where) for name in _VIEWS]
    wide, tall = sum(view.size[0] for view in views), max(view.size[1] for view in views)
    scale = min(_WIDE / wide, _TALL / tall)
    room = max(1.3, *(view.size[0] * scale for view in views))  # a caption needs some
    widths = [max(view.size[0] * scale, min(room, 1.3)) for view in views]
    figure = canvas(sum(widths) + 2 * _GAP + 6 * _EDGE, tall * scale + _TOP + _EDGE + 0.25)
    figure.set_facecolor("black")
    left = _EDGE
    for view, width in zip(views, widths, strict=True):
        _draw(figure, view, left, width, scale, (low, high), inverted=volume.inverted)
        left += width + 2 * _EDGE + _GAP
    if title:
        write(figure, _EDGE, 0.1, title, color="white", fontsize=9)
    return figure


def _checked(volume: Volume, window: tuple[float, float] | None) -> tuple[Array, float, float]:
    if not isinstance(volume, Volume):
        raise QueryError("orthogonal draws a Volume: an array alone does not know where it lies.")
    if volume.dims != _NAMES or not volume.array.size:
        raise QueryError(f"orthogonal draws (slice, row, column); this is ({', '.join(volume.dims)}).")
    return volume.array, *limits(volume.array, window)


def _voxel(at: Sequence[int] | None, shape: tuple[int, ...]) -> tuple[int, int, int]:
    given = [size // 2 for size in shape] if at is None else list(at)
    if len(given) != 3 or not all(
        isinstance(k, int | np.integer) and 0 <= k < size for k, size in zip(given, shape, strict=False)
    ):
        raise QueryError(f"at is (slice, row, column), each from 0, below {' x '.join(map(str, shape))}.")
    slice_, row, column = map(int, given)
    return slice_, row, column


def _view(volume: Volume, name: str, where: tuple[int, int, int]) -> _View:
    axes, back = closest_axes(volume.affine)
    through, right, below, falls = _VIEWS[name]
    turned, upside = back[right], back[below] != falls
    plane = np.moveaxis(volume.array, (axes[through], axes[below], axes[right]), (0, 1, 2))[where[axes[through]]]
    plane = plane[:: -1 if upside else 1, :: -1 if turned else 1]
    across = volume.affine[:3, axes[right]] * (-1 if turned else 1)
    down = volume.affine[:3, axes[below]] * (-1 if upside else 1)
    row, column = where[axes[below]], where[axes[right]]
    return _View(
        title=f"{name}{_off(across, down, through)} · {_NAMES[axes[through]]} {where[axes[through]]}",
        picture=plane,
        across=volume.spacing[axes[right]],
        down=volume.spacing[axes[below]],
        letters=(letters(-across), letters(across), letters(-down), letters(down)),
        cross=(
            plane.shape[1] - 1 - column if turned else column,
            plane.shape[0] - 1 - row if upside else row,
        ),
    )


def _off(across: Array, down: Array, through: int) -> str:
    """By how much the plane leans from the one that it is named after."""
    normal = np.cross(across, down)
    angle = math.degrees(math.acos(min(1.0, abs(float(normal[through])) / float(np.linalg.norm(normal)))))
    return f", {angle:.0f}° off" if angle >= 0.5 else ""


def _draw(
    figure: Figure,
    view: _View,
    left: float,
    room: float,
    scale: float,
    window: tuple[float, float],
    *,
    inverted: bool,
) -> None:
    width, height = view.size[0] * scale, view.size[1] * scale
    down = figure.get_size_inches()[1]
    start = left + (room - width) / 2
    bottom = _EDGE + (down - _TOP - _EDGE - height - 0.25) / 2 + 0.1
    axes = place(figure, start, bottom, width, height)
    axes.set_axis_off()
    axes.imshow(
        np.asarray(view.picture, dtype=np.float32),
        cmap="gray_r" if inverted else "gray",
        vmin=window[0],
        vmax=window[1],
        extent=(0, view.size[0], view.size[1], 0),
        aspect="equal",
        interpolation="nearest",
    )
    axes.axvline((view.cross[0] + 0.5) * view.across, color="#56B4E9", linewidth=0.5, alpha=0.6)
    axes.axhline((view.cross[1] + 0.5) * view.down, color="#56B4E9", linewidth=0.5, alpha=0.6)
    top = down - bottom - height
    middle = start + width / 2
    write(figure, left + room / 2, 0.34, view.title, color="0.8", ha="center")
    says = zip(
        view.letters,
        ((start - 0.06, top + height / 2), (start + width + 0.06, top + height / 2), (middle, top - 0.03),
         (middle, top + height + 0.03)),
        (("right", "center"), ("left", "center"), ("center", "bottom"), ("center", "top")),
        strict=True,
    )  # fmt: skip
    for letter, (x, y), (ha, va) in says:
        write(figure, x, y, letter, color="white", weight="bold", ha=ha, va=va)
