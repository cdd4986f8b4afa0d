"""What an archive holds, modality by year."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from orthanc_research.errors import QueryError
from orthanc_research.plots._charts import INK, NONE, ODD, PALE, canvas, code_of, compact, place, write

__all__ = ["overview"]

Values = Literal["studies", "series", "instances", "GB"]
_COUNTS: tuple[Values, ...] = get_args(Values)
_CELL, _ROW, _GAP = 0.44, 0.27, 0.35  # inches, inches, cells
_TABLE = 0.62  # inches a column of totals
_TOP, _BARS, _BOTTOM = 0.78, 0.55, 0.5
_MOST_ROWS = 50
_MOST_YEARS = 45  # a longer span has years of its own only where there is something
_REST = "others"
_BLANK = "#f7f7f7"
_TITLE = {"studies": "Studies", "series": "Series", "instances": "Instances", "GB": "GB"}


def overview(frame: pd.DataFrame, values: Values = "studies") -> Figure:
    """Modalities down, years across, and in each cell how many there are, of what `orthanc.overview()` gave.

    `values` are "studies" (default), "series", "instances" or "GB" (10⁹ bytes). Colours are logarithmic. Above stand
    the series of each year, to the right the totals of each modality. A study of several modalities counts in the row
    of each, so rows of studies do not add up; series do. What has no date has a column of its own, what names no
    modality, or something that is no code (PS3.5 §6.2, CS), a row; modalities after the first 50 share one. Over more
    than 45 years only those with something in them are drawn, with a gap where others are left out. `QueryError` for
    another frame, and for an empty one.
    """
    if values not in _COUNTS:
        raise QueryError(f"values is one of {', '.join(_COUNTS)}.")
    table = _table(frame)
    if table[values].isna().all():
        raise QueryError(f"There is nothing to draw: the frame has no {values} in it.")
    rows, years = _order(table, values), _years(table)
    cells = table.pivot_table(index="Modality", columns="Year", values=values, aggfunc="sum")
    matrix = np.ma.masked_invalid(cells.reindex(index=rows, columns=years).to_numpy(dtype=float))
    matrix = np.ma.masked_less_equal(matrix, 0)
    return _draw(table, values, rows, years, matrix)


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    """Modality as shown, Year as a number (0: not known), and the counts."""
    if not isinstance(frame, pd.DataFrame):
        raise QueryError("overview draws the DataFrame that orthanc.overview() gives.")
    named = frame.reset_index() if {"Modality", "Year"} & set(frame.index.names) else frame
    missing = [name for name in ("Modality", "Year", *_COUNTS) if name not in named.columns]
    if missing:
        raise QueryError(f"overview draws the DataFrame that orthanc.overview() gives; here {missing[0]} is missing.")
    if not len(named):
        raise QueryError("There is nothing to draw: the overview is empty.")
    try:
        counts = {name: pd.to_numeric(named[name]).astype("Float64") for name in ("Year", *_COUNTS)}
    except (ValueError, TypeError):
        raise QueryError("Year and the counts of an overview are numbers.") from None
    table = pd.DataFrame({"Modality": named["Modality"].map(code_of, na_action=None), **counts})
    table["Year"] = table["Year"].fillna(0).astype("int64")
    return table.groupby(["Modality", "Year"], as_index=False)[list(_COUNTS)].sum(min_count=1)


def _order(table: pd.DataFrame, values: str) -> list[str]:
    """The most frequent first, what is no modality last; the table's rare ones are put together."""
    totals = table.groupby("Modality")[values].sum().sort_values(ascending=False, kind="stable")
    known = [name for name in totals.index if name not in (NONE, ODD)]
    if len(known) > _MOST_ROWS:
        rare = known[_MOST_ROWS - 1 :]
        table["Modality"] = table["Modality"].where(~table["Modality"].isin(rare), _REST)
        known = [*known[: _MOST_ROWS - 1], _REST]
    return [*known, *(name for name in (ODD, NONE) if name in totals.index)]


def _years(table: pd.DataFrame) -> list[int]:
    """The columns: years in order, and 0 at the end where something has none."""
    there = sorted(set(table["Year"]) - {0})
    if there and there[-1] - there[0] < _MOST_YEARS:
        there = list(range(there[0], there[-1] + 1))
    return [*there, *([0] if (table["Year"] == 0).any() else [])]


def _draw(table: pd.DataFrame, values: Values, rows: list[str], years: list[int], matrix: Any) -> Figure:
    starts = _starts(years)
    left = 0.35 + 0.075 * max(len(name) for name in rows)
    wide, tall = (starts[-1] + 1) * _CELL, len(rows) * _ROW
    totals = [name for name in _COUNTS if name != "instances" and table[name].notna().any()]
    width = max(left + wide + 0.2 + _TABLE * len(totals) + 0.25, 5.6)
    figure = canvas(width, _TOP + _BARS + tall + _BOTTOM)
    heat = place(figure, left, _BOTTOM, wide, tall)
    heat.set(xlim=(0, starts[-1] + 1), ylim=(len(rows), 0))
    heat.set_yticks(np.arange(len(rows)) + 0.5, rows)
    heat.set_xticks(starts + 0.5, [str(year) if year else "no\ndate" for year in years])
    for x, year, before in zip(starts[1:], years[1:], years[:-1], strict=True):
        if year > before + 1:
            heat.text(x - _GAP / 2, len(rows), "…", ha="center", va="center", fontsize=8, color=PALE)
    _cells(heat, starts, matrix)
    bars = place(figure, left, _BOTTOM + tall + 0.06, wide, _BARS - 0.12)
    _bars(bars, table, years, starts)
    write(figure, left - 0.08, _TOP + _BARS - 0.2, "series", fontsize=7, color=PALE, ha="right")
    _totals(figure, table, rows, totals, left + wide + 0.2)
    write(figure, 0.2, 0.16, f"{_TITLE[values]} by modality and year", fontsize=11, fontweight="bold")
    write(figure, 0.2, 0.42, _summary(table), color=PALE)
    return figure


def _starts(years: list[int]) -> Any:
    """Where each column begins, in cells: one behind the other, with a gap where years are left out."""
    gaps = [int(year != before + 1) for year, before in zip(years[1:], years[:-1], strict=True)]
    return np.arange(len(years)) + _GAP * np.cumsum([0, *gaps])


def _cells(axes: Axes, starts: Any, matrix: Any) -> None:
    low = float(matrix.min()) if matrix.count() else 1.0
    norm = LogNorm(low, max(float(matrix.max()), low * 10) if matrix.count() else 10.0)
    colours = _colours()
    for (row, column), number in np.ndenumerate(matrix.filled(0)):
        shade = colours(norm(number)) if number else _BLANK
        axes.add_patch(Rectangle((starts[column], row), 1, 1, facecolor=shade, edgecolor="white"))
        if number:
            ink = "white" if norm(number) > 0.48 else INK
            place = (starts[column] + 0.5, row + 0.5)
            axes.text(*place, compact(number), ha="center", va="center", fontsize=7, color=ink)


def _colours() -> Colormap:
    return LinearSegmentedColormap.from_list("ores", ["#dbe9f6", "#8fc1de", "#3787c0", "#08478d", "#082a54"])


def _bars(axes: Axes, table: pd.DataFrame, years: list[int], starts: Any) -> None:
    series = table.groupby("Year")["series"].sum().reindex(years).fillna(0).to_numpy(dtype=float)
    axes.bar(starts + 0.5, series, width=0.8, color="#c9ced6")
    for x, number in zip(starts, series, strict=True):
        if number:
            axes.text(x + 0.5, number, compact(number), ha="center", va="bottom", fontsize=6, color=PALE)
    axes.set(xlim=(0, starts[-1] + 1), ylim=(0, max(series.max(), 1) * 1.25))
    axes.set_axis_off()


def _totals(figure: Figure, table: pd.DataFrame, rows: list[str], names: Sequence[str], left: float) -> None:
    sums = table.groupby("Modality")[list(names)].sum(min_count=1).reindex(rows)
    for number, name in enumerate(names):
        right = left + _TABLE * (number + 1)
        write(figure, right, _TOP + _BARS - 0.06, name, ha="right", va="bottom", fontsize=7, color=PALE)
        for row, total in enumerate(sums[name]):
            text = "" if pd.isna(total) else _full(float(total), name)
            write(
                figure, right, _TOP + _BARS + (row + 0.5) * _ROW, text, ha="right", va="center_baseline", fontsize=7.5
            )


def _full(number: float, name: str) -> str:
    return f"{number:,.1f}" if name == "GB" and number < 100 else f"{number:,.0f}"


def _summary(table: pd.DataFrame) -> str:
    known = table.loc[table["Year"] > 0, "Year"]
    parts = [f"{_full(float(table[name].sum()), name)} {name}" for name in ("series", "instances", "GB")]
    parts = [part for part, name in zip(parts, ("series", "instances", "GB"), strict=True) if table[name].notna().any()]
    if len(known):
        parts.append(str(known.min()) if known.min() == known.max() else f"{known.min()} to {known.max()}")
    undated = table.loc[table["Year"] == 0, "series"].sum()
    if undated:
        parts.append(f"{_full(float(undated), 'series')} series without a date")
    return " · ".join(parts)
