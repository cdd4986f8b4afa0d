"""What charts have in common: a canvas measured in inches, words for codes and numbers, colours."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["INK", "NONE", "ODD", "PALE", "Picture", "canvas", "code_of", "compact", "place", "write"]

INK, PALE = "#222222", "#8a8a8a"
NONE, ODD = "none named", "no code"
# A code string (PS3.5 §6.2); anything else in its place may be text that somebody typed.
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")


def code_of(value: Any) -> str:
    """A modality as a figure may show it: its code, or in words that there is none."""
    if pd.isna(value) or not str(value).strip():
        return NONE
    return str(value).strip() if _CODE.fullmatch(str(value).strip()) else ODD


def compact(number: float) -> str:
    """A number in five characters at most.

    >>> compact(950), compact(1234), compact(45_600), compact(1_200_000), compact(0.042), compact(0.0004)
    ('950', '1.2k', '46k', '1.2M', '0.04', '<0.01')
    """
    if 0 < number < 0.01:
        return "<0.01"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            return f"{number / size:.{0 if number >= 9.95 * size else 1}f}{letter}"
    whole = float(number).is_integer() or number >= 99.5
    return f"{number:.0f}" if whole else f"{number:.{1 if number >= 0.995 else 2}f}"


class Picture(Figure):
    """A figure that a notebook shows as a picture: plain ones are a line of text there until pyplot is loaded."""

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue()


def canvas(width: float, height: float, background: str = "white", **options: Any) -> Figure:
    """An empty figure of so many inches."""
    figure = Picture(figsize=(width, height), facecolor=background, **options)
    FigureCanvasAgg(figure)
    return figure


def place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches, without a frame."""
    across, down = figure.get_size_inches()
    axes = figure.add_axes((left / across, bottom / down, width / across, height / down))
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, labelsize=7.5, labelcolor=INK)
    return axes


def write(figure: Figure, left: float, top: float, text: str, **style: Any) -> None:
    """A line of text, so many inches from the left and from the top."""
    across, down = figure.get_size_inches()
    given = {"fontsize": 8, "color": INK, "ha": "left", "va": "top", "parse_math": False, **style}
    figure.text(left / across, 1 - top / down, text, **given)
