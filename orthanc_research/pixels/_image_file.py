"""One file, decoded once, of which any frame can be measured and shown again and again: what a viewer holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.errors import PixelError
from orthanc_research.quiet import quiet

from ._decode import decode, read_header
from ._display import display, needed_window, whole_range
from ._frames import Frame, Window
from ._header import header_from_dataset, text
from ._image import file_frames, named_errors, refuse_others
from ._values import convert, describe

__all__ = ["PIXELS", "ImageFile", "image_file"]

Array = npt.NDArray[Any]

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
"""The elements that hold pixels, by keyword."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageFile:
    """What `image_file` gives: `dataset` without its pixels, `stored` (frame, row, column[, sample]), `frames`.

    Frames are named by a `Frame` of this file, or of a `Stack` that holds some of it: one that was cut from a mosaic
    gives its tile.
    """

    dataset: Dataset = field(repr=False)
    stored: Array = field(repr=False)
    frames: tuple[Frame, ...]
    _window: Window | None = None

    @property
    def colour(self) -> bool:
        """Whether its pixels are colours, which no window changes."""
        return self.frames[0].photometric not in ("MONOCHROME1", "MONOCHROME2")

    @property
    def ranged(self) -> bool:
        """Whether its file gives no window, so that `display` takes the range of all its values."""
        return self._window is not None

    def values(self, frame: Frame) -> tuple[Array, str, str]:
        """(a frame's values, "rescaled" or "stored", their units); stored where they have no other meaning."""
        own, image = self._of(frame), self.stored[frame.index]
        try:
            units, _ = describe([own], "rescaled")
        except PixelError:
            return _cut(image, frame), "stored", "stored units"
        return _cut(convert(own, image, "rescaled"), frame), "rescaled", units

    def display(self, frame: Frame, window: Window | None = None) -> npt.NDArray[np.uint8]:
        """A frame as `pixels_of(values="display", window=window)` gives it: (row, column[, sample])."""
        own, k = self._of(frame), frame.index
        with named_errors(f"SOP instance {own.sop_uid}"):
            return _cut(display(self.stored[k : k + 1], [own], self.dataset, window or self._window)[0], frame)

    def window(self, frame: Frame) -> Window | None:
        """The window that `display` takes without one; None where it is a table, and for colours."""
        own = self._of(frame)
        if self.colour or self.dataset.get("VOILUTSequence"):
            return None
        return self._window or own.windows[0]

    def whole(self, frame: Frame) -> Window | None:
        """The window from the least to the largest rescaled value of a frame, without padding; None for colours."""
        own, k = self._of(frame), frame.index
        return None if self.colour else whole_range(self.stored[k : k + 1], [own], self.dataset)

    def _of(self, frame: Frame) -> Frame:
        if frame.index >= len(self.frames):
            raise PixelError(f"SOP instance {frame.sop_uid} has no frame {frame.index + 1} any more; open it again.")
        return self.frames[frame.index]

    @property
    def nbytes(self) -> int:
        """Of its pixels."""
        return self.stored.nbytes


@quiet()
def image_file(source: bytes, sop_uid: str = "", *, decoder: Callable[[bytes, str], Array] = decode) -> ImageFile:
    """The image in these bytes; `PixelError` as `pixels_of`, which `sop_uid` and `decoder` are those of."""
    dataset = read_header(source)
    header = header_from_dataset(dataset)
    name = f"SOP instance {text(header, '0008,0018') or sop_uid or 'without UID'}"
    with named_errors(name):
        refuse_others(header, name)
        stored = decoder(source, sop_uid)
        frames = file_frames(stored, dataset, name)
        grey = frames[0].photometric in ("MONOCHROME1", "MONOCHROME2") and stored.ndim == 3
        window = needed_window(stored, frames, dataset) if grey else None
        for keyword in PIXELS:
            dataset.pop(keyword, None)
        return ImageFile(dataset, stored, tuple(frames), window)


def _cut(image: Array, frame: Frame) -> Array:
    if frame.tile is None:
        return image
    top, left = frame.tile
    return image[top : top + frame.rows, left : left + frame.columns]
