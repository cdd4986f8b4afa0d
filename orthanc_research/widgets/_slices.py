"""What a viewer leafs through: the frames of a stack on a server, fetched file by file, or the slices of a `Volume`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from orthanc_research import fetch
from orthanc_research.errors import PixelError
from orthanc_research.pixels import ImageFile, Stack, Volume, Window, apply_window, place_of
from orthanc_research.rest import Rest
from orthanc_research.widgets._listing import listing

__all__ = ["Shown", "Slices", "StackSlices", "VolumeSlices"]

KEPT = 64  # slices
_BYTES = 512_000_000  # that they may take
_AHEAD, _BEHIND = 4, 2
_AT_ONCE = 16_000_000  # bytes of neighbours that are worth fetching before anybody asks

Array = npt.NDArray[Any]
_Read = tuple[Dataset, ImageFile | PixelError]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One slice: its values, how it is painted, and what is said of it. `reason` says why there is no picture.

    `window` is the one that `paint` takes without one; `ranged` says that it is no more than the range of the values.
    """

    array: Array | None
    values: str
    units: str
    instance: str
    caption: str
    lines: Callable[[], list[str]]
    aspect: float = 1.0
    colour: bool = False
    paint: Callable[[Window | None], npt.NDArray[np.uint8]] | None = None
    window: Window | None = None
    ranged: bool = False
    whole: Callable[[], Window | None] = lambda: None
    reason: str = ""


class Slices(Protocol):
    """Slices in order. `read` may take long, and is called by one thread while another asks `has`."""

    count: int
    verdict: str
    label: str

    def has(self, k: int) -> bool:
        """Whether `read(k)` takes no time."""

    def read(self, k: int) -> Shown:
        """The slice; the errors of `fetch.image`."""

    def near(self, k: int, step: int) -> list[int]:
        """What may be asked for next, where the way goes by `step`; nearest first."""


class StackSlices:
    """The frames of a stack in the order of its verdict; a file is fetched when a frame of it is asked for."""

    def __init__(self, rest: Rest, stack: Stack) -> None:
        self._rest, self._stack = rest, stack
        images = stack.status != "not-an-image"
        self._frames = [frame for frame in stack.frames if images or frame.index == 0]
        self.count = len(self._frames)
        self.label = f"{stack.status}: {' x '.join(map(str, stack.shape))}"
        sentences = [stack.reason, *(issue for issue in stack.issues if issue != stack.reason)]
        self.verdict = f"{stack.status}. {' '.join(each for each in sentences if each)}".strip()
        self._kept: OrderedDict[str, _Read] = OrderedDict()
        self._lock = threading.Lock()

    def has(self, k: int) -> bool:
        with self._lock:
            return self._frames[k].instance in self._kept

    def read(self, k: int) -> Shown:
        frame = self._frames[k]
        dataset, image = self._file(frame.instance)
        caption = self._caption(k)
        lines = _lines(dataset)
        if isinstance(image, PixelError):
            return Shown(None, "", "", frame.instance, caption, lines, reason=str(image))
        try:
            array, values, units = image.values(frame)
            window = image.window(frame)
        except PixelError as error:
            return Shown(None, "", "", frame.instance, caption, lines, reason=str(error))
        down, across = frame.spacing or (1.0, 1.0)
        return Shown(
            array,
            values,
            units,
            frame.instance,
            caption,
            lines,
            aspect=down / across,
            colour=image.colour,
            paint=lambda chosen: image.display(frame, chosen),
            window=window,
            ranged=image.ranged,
            whole=lambda: image.whole(frame),
        )

    def near(self, k: int, step: int) -> list[int]:
        frame = self._frames[k]
        if self._stack.status == "not-an-image":
            return []
        size = max(1, frame.rows * frame.columns * frame.samples * frame.bits_allocated // 8)
        ahead = max(1, min(_AHEAD, _AT_ONCE // size))
        wanted = [k + step * n for n in range(1, ahead + 1)] + [k - step * n for n in range(1, min(_BEHIND, ahead) + 1)]
        return [each for each in wanted if 0 <= each < self.count]

    def _file(self, instance: str) -> _Read:
        with self._lock:
            if instance in self._kept:
                self._kept.move_to_end(instance)
                return self._kept[instance]
        found = fetch.image(self._rest, instance, many=self.count >= KEPT)
        with self._lock:
            self._kept[instance] = found
            while len(self._kept) > 1 and (len(self._kept) > KEPT or self._bytes() > _BYTES):
                self._kept.popitem(last=False)
        return found

    def _bytes(self) -> int:
        return sum(image.nbytes for _, image in self._kept.values() if isinstance(image, ImageFile))

    def _caption(self, k: int) -> str:
        frame = self._frames[k]
        place = place_of(frame)
        told = [f"Slice {k + 1} of {self.count}" if place is not None else f"Image {k + 1} of {self.count}"]
        if place is not None:
            told.append(f"{place:.1f} mm")
        if frame.frames_in_file > 1:
            told.append(f"frame {frame.index + 1} of its file")
        told += [_axis(name, values, k, self.count) for name, values in self._stack.axes.items()]
        return " · ".join(each for each in told if each)


class VolumeSlices:
    """The slices of a volume in memory; of a 4-D one all of the first value of its extra axis, then of the next."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._images = volume.array.reshape(-1, *volume.array.shape[volume.dims.index("row") :])
        self._colour = "sample" in volume.dims
        self.count = len(self._images)
        self.label = " x ".join(map(str, volume.shape))
        self.verdict = f"ok. {' '.join(volume.issues)}".strip()
        # Its window is of the rescaled values, and means nothing for others.
        self._window = volume.window if volume.values == "rescaled" else None
        self._whole = None if self._colour else _range(volume.array)

    def has(self, k: int) -> bool:
        return True

    def near(self, k: int, step: int) -> list[int]:
        return []

    def read(self, k: int) -> Shown:
        volume, image = self._volume, self._images[k]
        _, down, across = volume.spacing
        return Shown(
            image,
            volume.values,
            volume.units,
            volume.sop_uids[k],
            self._caption(k),
            lambda: self._lines(k),
            aspect=down / across,
            colour=self._colour,
            paint=lambda window: self._paint(image, window),
            window=None if self._colour else self._window or self._whole,
            ranged=self._window is None,
            whole=lambda: self._whole,
        )

    def _paint(self, image: Array, window: Window | None) -> npt.NDArray[np.uint8]:
        if self._colour:
            return image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)
        chosen = window or self._window or self._whole
        assert chosen is not None  # noqa: S101  # only colours have none
        shown = np.rint(apply_window(image, chosen) * 255).astype(np.uint8)
        return 255 - shown if self._volume.inverted else shown

    def _caption(self, k: int) -> str:
        volume = self._volume
        slices = volume.array.shape[volume.dims.index("slice")]
        normal = np.cross(volume.orientation[:3], volume.orientation[3:])
        place = float(normal @ (volume.affine @ [k % slices, 0.0, 0.0, 1.0])[:3])
        told = [f"Slice {k + 1} of {self.count}", f"{place:.1f} mm"]
        told += [_axis(name, values, k, self.count) for name, values in volume.axes.items()]
        return " · ".join(each for each in told if each)

    def _lines(self, k: int) -> list[str]:
        volume = self._volume
        frame = volume.frame_indices[k] if volume.frame_indices else 0
        return [
            f"SOPInstanceUID: {volume.sop_uids[k] or 'of no slice of the source'}",
            f"Frame: {frame + 1 if frame >= 0 else 'none'}",
            f"SeriesInstanceUID: {volume.series_uid}",
            f"Modality: {volume.modality}",
            f"Values: {volume.values}, {volume.units}, {volume.array.dtype}",
            f"Spacing: {' x '.join(f'{each:.4g}' for each in volume.spacing)} mm (slice, row, column)",
        ]


def _axis(name: str, values: tuple[float, ...], k: int, count: int) -> str:
    """What the extra axis of a 4-D stack says of its k-th slice."""
    if not values or count % len(values):
        return ""
    return f"{name.replace('_', ' ')} {values[k // (count // len(values))]:g}"


def _lines(dataset: Dataset) -> Callable[[], list[str]]:
    return lambda: listing(dataset)


def _range(array: Array) -> Window:
    """From the least to the largest value."""
    found = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 0.0)
    return Window((low + high) / 2, high - low if high > low else 1.0, function="LINEAR_EXACT")
