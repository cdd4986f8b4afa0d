"""Datasets → arrays, as everybody writes it who uses pydicom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pydicom

__all__ = ["stacked"]


def stacked(datasets: Iterable[pydicom.Dataset]) -> dict[str, Any]:
    """{SeriesInstanceUID: stored values (slice, row, column)}, by the third coordinate of their positions."""
    series = defaultdict(list)
    for dataset in datasets:
        series[str(dataset.SeriesInstanceUID)].append((float(dataset.ImagePositionPatient[2]), dataset.pixel_array))
    return {uid: np.stack([image for _, image in sorted(found, key=_place)]) for uid, found in series.items()}


def _place(slice_: tuple[float, Any]) -> float:
    return slice_[0]
