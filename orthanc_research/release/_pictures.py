"""Small pictures of images that may show whose they are: for the eyes that decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orthanc_research.decoding import decode_isolated
from orthanc_research.errors import Error
from orthanc_research.pixels import pixels_of

__all__ = ["pictures", "spread"]

_MOST = 400  # pictures of a page


def spread(keys: Sequence[Any], count: int) -> list[Any]:
    """So many of them, from the first to the last."""
    chosen = np.unique(np.linspace(0, len(keys) - 1, min(count, len(keys))).round().astype(int))
    return [keys[int(place)] for place in chosen]


def pictures(wanted: Iterable[tuple[str, Callable[[], bytes]]]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """(caption, picture) of the middle frame of each file; one that has none is a grey square that says so."""
    for number, (caption, read) in enumerate(wanted):
        if number == _MOST:
            return
        try:
            frames = pixels_of(read(), "display", decoder=decode_isolated)
            frame = frames[len(frames) // 2]
            yield caption, frame
        except Error:
            yield f"{caption}: it cannot be shown", np.full((16, 16), 128, np.uint8)
