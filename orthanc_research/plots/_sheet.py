"""A sheet of pictures: one row a series, to look over a whole dataset in a minute."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from orthanc_research.errors import QueryError
from orthanc_research.plots._charts import canvas
from orthanc_research.plots._montage import range_of

__all__ = ["SheetRow", "sheet", "write_pdf"]

_TILE, _CAPTION, _MARGIN = 1.25, 0.22, 0.2  # inches
_MOST = 256  # pixels a side that are drawn: more would not be seen


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One row: its caption, and pictures (row, column[, 3]) of one kind; `aspect` is a pixel's height by its width."""

    caption: str
    images: Sequence[npt.NDArray[Any]] = field(repr=False)
    aspect: float = 1.0
    inverted: bool = False


def sheet(rows: Sequence[SheetRow]) -> Figure:
    """Rows of pictures below each other, each with its caption above; grey values by the row's own percentiles.

    A row without pictures is its caption alone. `QueryError` for no rows, and for what is no picture.
    """
    if not rows:
        raise QueryError("There is nothing to draw: no series.")
    across = max(max((len(row.images) for row in rows), default=1), 1)
    width, height = across * _TILE + 2 * _MARGIN, len(rows) * (_TILE + _CAPTION) + 2 * _MARGIN
    figure = canvas(width, height, "black")
    for number, row in enumerate(rows):
        top = height - _MARGIN - number * (_TILE + _CAPTION)
        figure.text(
            _MARGIN / width, (top - 0.04) / height, row.caption, fontsize=7, color="0.85", va="top", parse_math=False
        )
        limits = _limits(row.images)
        for place, image in enumerate(row.images):
            left = _MARGIN + place * _TILE
            axes = figure.add_axes(
                (left / width, (top - _CAPTION - _TILE) / height, 0.97 * _TILE / width, 0.97 * _TILE / height)
            )
            axes.set_axis_off()
            _show(axes, image, row, limits)
    return figure


def _show(axes: Any, image: npt.NDArray[Any], row: SheetRow, limits: tuple[float, float]) -> None:
    step = max(1, math.ceil(max(image.shape[:2]) / _MOST))
    small = image[::step, ::step]
    if small.ndim == 3:
        axes.imshow(_coloured(small), aspect=row.aspect, interpolation="nearest")
        return
    cmap = "gray_r" if row.inverted else "gray"
    low, high = limits
    grey = np.asarray(small, dtype=np.float32)
    axes.imshow(grey, cmap=cmap, vmin=low, vmax=high, aspect=row.aspect, interpolation="nearest")


def _coloured(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return image if image.dtype == np.uint8 else (image / max(float(image.max()), 1.0)).clip(0, 1)


def _limits(images: Sequence[npt.NDArray[Any]]) -> tuple[float, float]:
    values = []
    for image in images:
        if image.dtype.kind not in "buif" or 0 in image.shape or not (image.ndim == 2 or image.shape[2:] == (3,)):
            raise QueryError("A picture is (row, column) numbers, or (row, column, 3) of red, green and blue.")
        step = max(1, math.ceil(max(image.shape[:2]) / _MOST))
        values.append(np.asarray(image[::step, ::step], dtype=np.float64).ravel())
    return range_of(np.concatenate(values) if values else np.zeros(1))


def write_pdf(stream: IO[bytes], figures: Iterable[Figure]) -> int:
    """Write figures as the pages of a PDF, one in memory at a time, without a date in it; how many pages."""
    count = 0
    with PdfPages(stream, metadata={"CreationDate": None}) as pages:
        for figure in figures:
            pages.savefig(figure, facecolor=figure.get_facecolor())
            count += 1
    return count
