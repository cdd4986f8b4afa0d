"""Studies over time, by what they were made with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from orthanc_research.errors import QueryError
from orthanc_research.plots._charts import INK, NONE, ODD, PALE, canvas, code_of, place, write

__all__ = ["timeline"]

# Okabe and Ito's colours, which the colour-blind can tell apart; grey is for the rest.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#5D3A9B")
_GREY = "#b8bcc4"
# Written beside the images of a study: they are no other kind of study.
_BESIDE = frozenset({"SR", "KO", "PR", "DOC"})
_FEW = 100  # studies; of fewer, a month may be that of one patient
_MOST_BINS = 60
_MONTHS = (1, 3, 12, 24, 60, 120, 600, 1200)
_UNITS = {1: "month", 3: "quarter", 12: "year", 24: "2 years", 60: "5 years", 120: "10 years"}


def timeline(studies: pd.DataFrame) -> Figure:
    """How many studies there were, month by month or year by year, by modality: each study is counted once.

    `studies` is a frame of a find of studies, with StudyDate and ModalitiesInStudy. A study of several modalities is of
    its own kind ("CT+PT"); SR, KO, PR and DOC count only where they stand alone. The eight most frequent kinds have a
    colour, all others one together. Bars are as wide as at most 60 of them need, and of a year at least where there are
    fewer than 100 studies with a date. Studies without a date are counted below the title. `QueryError` for another
    frame, and where no study has a date.
    """
    dates, kinds = _columns(studies)
    dated = dates.notna()
    if not dated.any():
        what = f"none of the {len(studies):,} studies has a date" if len(studies) else "there are no studies"
        raise QueryError(f"There is nothing to draw: {what}.")
    months = (dates[dated].dt.year * 12 + dates[dated].dt.month - 1).to_numpy(dtype=np.int64)
    width = _width(months)
    first = months.min() // width
    bins = months // width - first
    names, counts = _counted(kinds[dated], bins)
    return _draw(names, counts, first * width, width, len(studies), int((~dated).sum()))


def _columns(studies: pd.DataFrame) -> tuple[pd.Series[Any], pd.Series[Any]]:
    names = ("StudyDate", "ModalitiesInStudy")
    if not isinstance(studies, pd.DataFrame) or not set(names) <= set(studies.columns):
        raise QueryError("timeline draws a DataFrame of studies, with its columns StudyDate and ModalitiesInStudy.")
    if not pd.api.types.is_datetime64_any_dtype(studies["StudyDate"]):
        raise QueryError("StudyDate is not a column of dates; give the DataFrame that a find returned.")
    return studies["StudyDate"], studies["ModalitiesInStudy"].map(_kind, na_action=None)


def _kind(value: Any) -> str:
    """What a study is of: its modalities, sorted, as a figure may show them."""
    codes = {code_of(part) for part in ("" if pd.isna(value) else str(value)).split("\\")}
    codes = {code for code in codes if code != NONE} or {NONE}
    return "+".join(sorted(codes - _BESIDE or codes))


def _width(months: Any) -> int:
    """Months a bar, so that there are not too many bars, and none of a single patient's month."""
    least = 1 if len(months) >= _FEW else 12
    fits = (width for width in _MONTHS if width >= least and months.max() // width - months.min() // width < _MOST_BINS)
    return next(fits, _MONTHS[-1])


def _counted(kinds: pd.Series[Any], bins: Any) -> tuple[list[str], list[Any]]:
    """Kinds, the most frequent first, with the count of each bin; rare ones together at the end."""
    totals = kinds.value_counts()
    order = sorted(totals.index, key=lambda name: (-totals[name], name))
    own = order if len(order) <= len(_COLOURS) + 1 else order[: len(_COLOURS)]
    size = int(bins.max()) + 1
    found = [np.bincount(bins[(kinds == name).to_numpy()], minlength=size) for name in own]
    rest = order[len(own) :]
    if rest:
        found.append(np.bincount(bins[kinds.isin(rest).to_numpy()], minlength=size))
        own = [*own, f"{len(rest)} others"]
    return own, found


def _draw(names: list[str], counts: list[Any], start: int, width: int, total: int, undated: int) -> Figure:
    size = len(counts[0])
    wide = min(max(size * 0.2, 4.5), 11.0)
    key = 1.0 + 0.08 * max(len(name) for name in names)
    figure = canvas(0.75 + wide + 0.25 + key, max(3.9, 1.4 + 0.24 * len(names)))
    tall = figure.get_size_inches()[1] - 0.85 - 0.45
    axes = place(figure, 0.75, 0.45, wide, tall)
    below = np.zeros(size)
    for number, (name, count) in enumerate(zip(names, counts, strict=True)):
        axes.bar(np.arange(size) + 0.5, count, bottom=below, width=0.86, color=_colour(number, name))
        below += count
    axes.set_xlim(min(0, size / 2 - 3), max(size, size / 2 + 3))  # a single bar is no wall
    axes.set_ylim(0, below.max() * 1.06)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["bottom"].set_visible(True)
    axes.spines["bottom"].set_color(PALE)
    ticks = _ticks(size, start, width)
    axes.set_xticks([x for x, _ in ticks], [text for _, text in ticks])
    unit = _UNITS.get(width, f"{width // 12} years")
    write(figure, 0.2, 0.16, f"Studies a {unit}" if width <= 12 else f"Studies in {unit}", fontsize=11, weight="bold")
    write(figure, 0.2, 0.42, _summary(total, undated), color=PALE)
    _key(figure, names, counts, 0.75 + wide + 0.25, 0.85)
    return figure


def _colour(number: int, name: str) -> str:
    return _GREY if number >= len(_COLOURS) or name in (NONE, ODD) else _COLOURS[number]


def _ticks(size: int, start: int, width: int) -> list[tuple[float, str]]:
    """Where labels stand, twelve at most: a year stands below its first bar."""
    if width < 12:
        years = [(x, (start + x * width) // 12) for x in range(size) if (start + x * width) % 12 == 0 or x == 0]
        return [(x + 0.5, str(year)) for x, year in _thinned(years)]
    bars = [(x, (start + x * width) // 12) for x in range(size)]
    return [(x + 0.5, str(year) if width == 12 else f"{year}+") for x, year in _thinned(bars)]


def _thinned(ticks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    step = -(-len(ticks) // 12)
    return ticks[::step]


def _summary(total: int, undated: int) -> str:
    studies = f"{total:,} {'study' if total == 1 else 'studies'}"
    return f"{studies} · {undated:,} without a date, not drawn" if undated else studies


def _key(figure: Figure, names: list[str], counts: list[Any], left: float, top: float) -> None:
    for number, (name, count) in enumerate(zip(names, counts, strict=True)):
        line = top + 0.24 * number
        write(figure, left, line, "■", color=_colour(number, name), fontsize=10, va="center")
        write(figure, left + 0.18, line, name, va="center", color=INK)
        write(figure, left + 0.85 + 0.08 * max(map(len, names)), line, f"{int(count.sum()):,}", va="center", ha="right")
