"""Small pictures of series with their captions; a fixed row of them, shown and hidden."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import ipywidgets
import numpy.typing as npt
import pandas as pd

from orthanc_research import fetch
from orthanc_research.errors import NotFoundError, PixelError, ServerError
from orthanc_research.markup import visible
from orthanc_research.orthanc import Orthanc
from orthanc_research.progress import Progress
from orthanc_research.tables import middle_instances
from orthanc_research.widgets._guard import still_wanted
from orthanc_research.widgets._heard import Button
from orthanc_research.widgets._picture import FORMAT, bitmap, blank, size

__all__ = ["MOST", "Thumbnails", "pictures"]

MOST = 12  # of a study's series; the table has all of them
_SIDE = 96  # pixels

Picture = npt.NDArray[Any] | None


class Thumbnails:
    """A picture and a button a series: the button, which a keyboard reaches, says what it is and chooses it."""

    def __init__(self, choose: Callable[[str], None]) -> None:
        self._choose = choose
        self._series: list[str] = []
        self.images = [ipywidgets.Image(value=blank(), format=FORMAT) for _ in range(MOST)]
        self.buttons = [Button(layout={"width": "auto", "max_width": "18em"}) for _ in range(MOST)]
        for k, button in enumerate(self.buttons):
            button.add_class("ores-thumb")
            button.on_click(partial(self._on_click, k))
        self._cells = [
            ipywidgets.VBox(list(pair), layout={"display": "none"})
            for pair in zip(self.images, self.buttons, strict=True)
        ]
        self.widget = ipywidgets.Box(self._cells, layout={"flex_flow": "row wrap"})
        self.widget.add_class("ores-thumbs")

    def show(self, series: pd.DataFrame) -> None:
        """Buttons for the first of these series, without pictures yet."""
        self._series = list(series.index[:MOST])
        captions = [_caption(row) for _, row in series.iloc[:MOST].iterrows()]
        for k, (cell, image, button) in enumerate(zip(self._cells, self.images, self.buttons, strict=True)):
            there = k < len(captions)
            cell.layout.display = "" if there else "none"
            if there:
                button.description = captions[k]
                image.layout.display = "none"

    def draw(self, found: dict[str, Picture]) -> None:
        """The pictures of these series."""
        for k, series in enumerate(self._series):
            picture = found.get(series)
            if picture is None:
                continue
            wide, tall = size(picture.shape[0], picture.shape[1], 1.0, _SIDE)
            image = self.images[k]
            image.layout.width, image.layout.height = f"{wide}px", f"{tall}px"
            image.value = bitmap(picture)
            image.layout.display = ""

    def _on_click(self, k: int, _: Any) -> None:
        if k < len(self._series):
            self._choose(self._series[k])


def pictures(orthanc: Orthanc, study: pd.DataFrame, series: pd.DataFrame, progress: Progress) -> dict[str, Picture]:
    """The server's picture of the middle instance of each of the first series, None where it cannot draw one.

    One request to list the study's instances (two on Orthanc 1.10), and one a series; two on 1.12.7.
    """
    instances = orthanc.find("Instance", columns=("ParentSeries", "InstanceNumber"), within=study)
    middle = middle_instances(instances)
    wanted = [each for each in series.index[:MOST] if each in middle]
    found: dict[str, Picture] = {}
    progress.total(len(wanted), "pictures")
    for each in wanted:
        still_wanted(progress)
        found[each] = _picture(orthanc, middle[each])
        progress.advance()
    return found


def _picture(orthanc: Orthanc, instance: str) -> Picture:
    try:
        return fetch.picture(orthanc.rest, instance, frame=0, width=_SIDE, window=None)
    except (PixelError, ServerError, NotFoundError):  # no image, or none that this server can draw
        return None


def _caption(row: pd.Series[Any]) -> str:
    told = [row.get(name) for name in ("Modality", "SeriesDescription")]
    count = row.get("NumberOfSeriesRelatedInstances")
    words = [visible(each, longest=40) for each in told if not pd.isna(each)]
    return " · ".join([*words, *([f"{int(count)}"] if not pd.isna(count) else [])]) or "series"
