"""The quality sheet of a built folder: a row of pictures for each series."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orthanc_research.dataset._open import OpenDataset
from orthanc_research.errors import Error
from orthanc_research.files import atomic_write

__all__ = ["write_quality"]

_ROWS = 12  # a page
_PICTURES = 6
_CODE = re.compile(r"[A-Z0-9_]{1,16}")


def write_quality(folder: str | os.PathLike[str], *, form: str = "pdf") -> list[Path]:
    """Write quality.pdf, or quality-001.png and so on: six frames of each series, evenly chosen, twelve series a page.

    Only these frames are read. A caption is the SeriesInstanceUID of the dataset, the modality and the numbers of
    frames and pixels; a series whose frames cannot be read is a caption that says so. Before the manifest is written.
    """
    from orthanc_research.plots import sheet, write_pdf

    root = Path(folder)
    dataset = OpenDataset(root)
    uids = [str(uid) for uid in dataset.series.index]
    pages = [uids[start : start + _ROWS] for start in range(0, len(uids), _ROWS)]
    figures = (sheet(list(_rows(dataset, page))) for page in pages)
    if form == "pdf":
        if not pages:
            return []
        with atomic_write(root / "quality.pdf") as stream:
            write_pdf(stream, figures)
        return [root / "quality.pdf"]
    written = []
    for number, figure in enumerate(figures, 1):
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
        written.append(root / f"quality-{number:03d}.png")
        with atomic_write(written[-1]) as stream:
            stream.write(content.getvalue())
    return written


def _rows(dataset: OpenDataset, uids: Sequence[str]) -> Iterator[Any]:
    from orthanc_research.plots import SheetRow

    for uid in uids:
        modality = str(dataset.series.loc[[uid]].get("Modality", pd.Series(["?"])).iloc[0])
        title = f"{uid}   {modality if _CODE.fullmatch(modality) else '?'}"
        try:
            headers = dataset.headers(uid)
            places = np.unique(np.linspace(0, len(headers) - 1, min(_PICTURES, len(headers))).round().astype(int))
            images = [dataset.frame(uid, int(place)) for place in places]
            alike = [image for image in images if image.shape == images[0].shape]
            spacing = headers[int(places[0])].spacing
            shape = " x ".join(str(size) for size in images[0].shape)
            yield SheetRow(
                f"{title}   {len(headers)} frames of {shape}",
                alike,
                aspect=spacing[0] / spacing[1] if spacing and min(spacing) > 0 else 1.0,
                inverted=headers[int(places[0])].photometric == "MONOCHROME1",
            )
        except Error:
            yield SheetRow(f"{title}   no frames that can be read", [])
