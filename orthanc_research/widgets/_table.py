"""A table on the screen: pages of plain lines in one `SelectMultiple`, never a widget a row.

A thousand rows of widgets take a quarter of a minute; a page of two hundred options takes none. An option is text to
the browser, whatever a tag holds.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import ipywidgets
import pandas as pd
import traitlets

from orthanc_research.markup import escape, visible
from orthanc_research.widgets._form import button

__all__ = ["Table", "cell_text"]

PAGE = 200
_WIDEST = 32  # characters of a column; the tags of a row are shown whole elsewhere
_ISOLATE, _END = "\u2068", "\u2069"
_HEADS = {  # of columns whose names are wider than what is in them, the same on every screen
    "PatientName": "Name",
    "PatientID": "Patient ID",
    "PatientBirthDate": "Born",
    "PatientSex": "Sex",
    "StudyDate": "Date",
    "ModalitiesInStudy": "Modalities",
    "StudyDescription": "Description",
    "SeriesNumber": "No.",
    "SeriesDescription": "Description",
    "BodyPartExamined": "Body part",
    "AccessionNumber": "Accession",
    "NumberOfPatientRelatedStudies": "Studies",
    "NumberOfPatientRelatedInstances": "Instances",
    "NumberOfStudyRelatedSeries": "Series",
    "NumberOfStudyRelatedInstances": "Instances",
    "NumberOfSeriesRelatedInstances": "Instances",
    "here_before": "here before",
}
_NBSP = "\u00a0"  # a browser shows a run of spaces in an option as one


class Table(traitlets.HasTraits):
    """Rows of a DataFrame, a page at a time, of which some are chosen; what is chosen stays so on other pages.

    `frame` is what is shown, `chosen` the index labels of the rows that are chosen, in the frame's order. `columns`
    are those shown, of those that the frame has (None: all). The frame is never changed. `heads` are what columns are
    called on the screen where that is shorter; `cell(column, value)` is the text of a value, or None for the usual one.
    With `whole`, all of a row that is chosen alone is written out below, since lines are cut.
    """

    chosen = traitlets.Tuple(())

    def __init__(
        self,
        columns: Sequence[str] | None = None,
        *,
        rows: int = 10,
        label: str = "Rows",
        page: int = PAGE,
        heads: Mapping[str, str] | None = None,
        cell: Callable[[str, Any], str | None] | None = None,
        whole: bool = False,
    ) -> None:
        super().__init__()
        self.frame = pd.DataFrame()
        self._columns = None if columns is None else list(columns)
        self._page, self._at = page, 0
        # The thread that draws: what it changes is nobody's choice. Meanwhile a user may choose on another one.
        self._drawing: int | None = None
        self._heads, self._cell = {**_HEADS, **(heads or {})}, cell
        self._head = ipywidgets.HTML()
        self._head.add_class("ores-head")
        # The description is for who hears the screen; the style sheet hides it from who sees it.
        self._list = ipywidgets.SelectMultiple(description=label, rows=rows, layout={"width": "auto"})
        self._list.add_class("ores-rows")
        self._list.observe(self._on_choice, "value")
        # A list does not scroll sideways: what is wider than the screen scrolls with its heads.
        self._sheet = ipywidgets.VBox([self._head, self._list])
        self._sheet.add_class("ores-sheet")
        self._before = button("Previous", "ores-previous", lambda: self.turn(-1))
        self._after = button("Next", "ores-next", lambda: self.turn(1))
        self._where = ipywidgets.HTML()
        self._where.add_class("ores-where")
        self._label, self._whole = label, whole
        self._row = ipywidgets.HTML()
        self._row.add_class("ores-row")
        self.widget = ipywidgets.VBox(
            [
                self._sheet,
                ipywidgets.HBox([self._before, self._after, self._where]),
                *([self._row] if whole else []),
            ]
        )
        self.widget.add_class("ores-table")
        self.show(self.frame)

    def show(self, frame: pd.DataFrame, *, keep: bool = False, columns: Sequence[str] | None = None) -> None:
        """Show this frame from its first page; `keep` keeps the page, and what is chosen where it is there still.

        `columns` are those to show from now on; None leaves them as they are.
        """
        self.frame = frame
        self._columns = self._columns if columns is None else list(columns)
        self._at = min(self._at, self.pages - 1) if keep else 0
        chosen = set(self.chosen) if keep else set()
        self.chosen = tuple(each for each in frame.index if each in chosen)
        self._draw()

    @property
    def pages(self) -> int:
        """How many there are, at least one."""
        return max(1, -(-len(self.frame) // self._page))

    @property
    def columns(self) -> list[str]:
        """Those shown."""
        there = list(self.frame.columns)
        return there if self._columns is None else [name for name in self._columns if name in there]

    @property
    def selected(self) -> pd.DataFrame:
        """The rows that are chosen; the attrs of the frame with them, so that verbs know where they are from."""
        chosen = set(self.chosen)  # not by `loc`: an archive may answer twice, or without the UID of an answer
        return self.frame.loc[[each in chosen for each in self.frame.index]] if chosen else self.frame.iloc[:0]

    def turn(self, pages: int) -> None:
        """Show a later page, or an earlier one."""
        at = min(max(self._at + pages, 0), self.pages - 1)
        if at != self._at:
            self._at = at
            self._draw()

    def choose(self, labels: Sequence[Hashable]) -> None:
        """Choose these rows, and no others."""
        wanted = set(labels)
        self.chosen = tuple(each for each in self.frame.index if each in wanted)
        self._draw_choice()

    def _draw(self) -> None:
        page = self.frame.iloc[self._at * self._page : (self._at + 1) * self._page]
        head, lines = _lines(page, self.columns, self._heads, self._cell)
        first = self._at * self._page + 1 if len(page) else 0
        self._head.value = f"<span>{escape(head, longest=10_000)}</span>"
        self._drawing = threading.get_ident()
        try:
            # Options with equal texts are told apart by their place, which is what the value is.
            self._list.options = [(line, first + k - 1) for k, line in enumerate(lines)]
        finally:
            self._drawing = None
        self._before.disabled, self._after.disabled = self._at == 0, self._at == self.pages - 1
        self._where.value = (
            f"<span>{escape(self._label)} {first:,}-{first + len(page) - 1:,} of {len(self.frame):,}</span>"
            if len(page)
            else "<span>nothing to show</span>"
        )
        self._draw_choice()

    def _draw_choice(self) -> None:
        page = self.frame.index[self._at * self._page : (self._at + 1) * self._page]
        chosen = set(self.chosen)
        self._drawing = threading.get_ident()
        try:
            self._list.value = tuple(self._at * self._page + k for k, each in enumerate(page) if each in chosen)
        finally:
            self._drawing = None
        self._draw_row()

    def _draw_row(self) -> None:
        if self._whole:
            self._row.value = _written_out(self.selected) if len(self.chosen) == 1 else ""

    def _on_choice(self, change: dict[str, Any]) -> None:
        if self._drawing == threading.get_ident():
            return
        frame, start = self.frame, self._at * self._page
        page = set(frame.index[start : start + self._page])
        now = {frame.index[k] for k in change["new"] if k < len(frame)}
        chosen = {each for each in self.chosen if each not in page} | now
        self.chosen = tuple(each for each in frame.index if each in chosen)
        self._draw_row()


def _lines(
    page: pd.DataFrame,
    columns: Sequence[str],
    heads: Mapping[str, str],
    cell: Callable[[str, Any], str | None] | None,
) -> tuple[str, list[str]]:
    """The head and the rows of a page as lines of equal columns, in a font of equal widths."""

    def shown(name: str, value: Any) -> str:
        special = cell(name, value) if cell else None
        return cell_text(value) if special is None else visible(special)

    cells = [[shown(name, value) for value in page[name]] for name in columns]
    parts: list[list[str]] = [[] for _ in range(len(page) + 1)]
    for name, column in zip(columns, cells, strict=True):
        head = heads.get(name, name)
        width = min(_WIDEST, max(map(_width, [head, *column])))
        for line, value in zip(parts, [head, *column], strict=True):
            line.append(_fit(value, width))
    first, *rows = ((_NBSP * 2).join(line) for line in parts)
    return first, rows


def cell_text(value: Any) -> str:
    """A value as a cell shows it; nothing for what is missing."""
    if isinstance(value, list | tuple):
        return visible("\\".join(map(str, value)))
    if hasattr(value, "ndim") and value.ndim:
        return visible("\\".join(map(str, value.tolist())))
    if pd.isna(value):
        return ""
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}" if value == value.normalize() else f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:.12g}"
    return visible(value)


def _written_out(row: pd.DataFrame) -> str:
    facts = {str(row.index.name or ""): row.index[0] if row.index.name else None, **row.iloc[0]}
    said = [f"{escape(name)} <b>{escape(text)}</b>" for name, value in facts.items() if (text := cell_text(value))]
    return f'<span class="ores-note">{" · ".join(said)}</span>'


def _fit(text: str, width: int) -> str:
    """Cut or filled to a width; spaces as those that a browser keeps."""
    if _width(text) > width:
        cut, room = "", width - 1
        for character in text:
            room -= _width(character)
            if room < 0:
                break
            cut += character
        text = cut + "…"
    # Hebrew or Arabic would else draw the digits of the next column to its other side.
    turned = not text.isascii() and any(unicodedata.bidirectional(each) in ("R", "AL", "AN") for each in text)
    cell = f"{_ISOLATE}{text}{_END}" if turned else text
    return cell.replace(" ", _NBSP) + _NBSP * (width - _width(text))


def _width(text: str) -> int:
    """In cells of the font: Chinese and Japanese characters take two, accents none."""
    return (
        len(text)
        if text.isascii()
        else sum(
            0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
            for each in text
        )
    )
