"""A series whose files are read once, each header with its pixels: plain files into one array, then the verdict.

The header of a slice lies in its file, so whoever fetches the pixels anyway need not have a server read the headers
first, which takes it longer than to send the files. What the index says of the slices' places is a hint: it saves
fetching what cannot be a volume, and moving slices about; the verdict comes from the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from orthanc_research.errors import PixelError

from ._alike import PlainFile, PlainFiles
from ._filler import Filler
from ._frames import Frame
from ._geometry import normal_of
from ._kinds import orientation_of, position_of
from ._reading import Reading
from ._stacks import stacks_of
from ._values import convert, describe
from ._volume import Volume
from ._voxels import put, voxel_type

__all__ = ["PlainSeries", "likely_order"]

Array = npt.NDArray[Any]

_KEYS = {"ImagePositionPatient": "0020,0032", "ImageOrientationPatient": "0020,0037"}
_UNEVEN = 0.01  # of a gap; what differs by more is for the headers to judge
_LEAN = 0.008  # the tangent of 0.5°


def likely_order(listed: Mapping[str, Mapping[str, Any]]) -> list[str] | None:
    """Instances (Orthanc ID → their tags in the index, by keyword) as slices along their normal.

    None unless the index has each as one frame with a place, all equally far apart and in one orientation.
    """
    headers = [{key: tags.get(keyword) for keyword, key in _KEYS.items()} for tags in listed.values()]
    positions, orientations = [position_of(each) for each in headers], [orientation_of(each) for each in headers]
    single = all(str(tags.get("NumberOfFrames") or "1").strip() == "1" for tags in listed.values())
    if len(listed) < 2 or not single or None in positions or None in orientations:
        return None
    turned = np.ptp(np.array(orientations, dtype=np.float64), axis=0)
    normal = normal_of(orientations[0] or ())
    places = np.array(positions, dtype=np.float64)
    order = np.argsort(places @ normal, kind="stable")
    steps = np.diff(places[order], axis=0)
    step = np.median(steps, axis=0)
    gap = float(step @ normal)
    across = float(np.linalg.norm(step - gap * normal))
    if gap <= 0 or across > _LEAN * gap or turned.max() > 1e-3:
        return None
    if np.abs(steps @ normal - gap).max() > _UNEVEN * gap:
        return None
    ids = list(listed)
    return [ids[k] for k in order]


class PlainSeries:
    """An array for `count` slices like the first; `put` fills them, by several threads and in any order.

    Each slice is converted as it comes. `PixelError` and `QueryError` as from `Filler`, as soon as the first file shows
    them.
    """

    def __init__(self, how: Reading, count: int, files: PlainFiles, first: Frame) -> None:
        source = first.dtype
        if source is None:
            raise PixelError(f"SOP instance {first.sop_uid}: there is no type for its values.")
        describe([first], how.values)
        self._how = how
        self._files = files
        self._source = source
        usual = source if how.values == "stored" else np.dtype(np.float32)
        self._array = np.empty((count, first.rows, first.columns), dtype=voxel_type(how.dtype, usual))
        self._frames: list[Frame | None] = [None] * count
        self._lock = Lock()

    @classmethod
    def like(cls, how: Reading, count: int, content: bytes) -> PlainSeries | None:
        """One for `count` files like this one; None when it is no plain slice."""
        files = PlainFiles()
        found = _slice(files.read(content))
        return None if found is None else cls(how, count, files, found[0])

    def put(self, place: int, instance: str, content: bytes) -> bool:
        """A file's slice; False when the file is not like the first, and the series has to be read by its headers."""
        found = _slice(self._files.read(content, instance))
        if found is None or found[1].shape != self._array.shape[1:] or found[1].dtype != self._source:
            return False
        frame, image = found
        with self._lock:
            if self._frames[place] is not None:
                raise PixelError(f"The pixels of SOP instance {frame.sop_uid} came twice.")
            self._frames[place] = frame
        put(self._array[place], convert(frame, image, self._how.values, np.float64), f"SOP instance {frame.sop_uid}")
        return True

    def volume(self) -> Volume:
        """The volume, once every slice is there; `GeometryError` when the files say that they are none."""
        frames = [frame for frame in self._frames if frame is not None]
        if len(frames) < len(self._frames):
            raise PixelError(f"The pixels of {len(self._frames) - len(frames)} of {len(self._frames)} did not come.")
        (stack,) = self._how.stacks(stacks_of(frames, min_slices=self._how.min_slices))
        places = {frame.instance: place for place, frame in enumerate(frames)}
        order = [0] * len(frames)
        for slot, frame in zip(stack.slots, stack.frames, strict=True):
            order[slot] = places[frame.instance]
        _reorder(self._array, order)
        return Filler.filled(stack, self._how.values, self._array).volume()


def _slice(found: PlainFile | None) -> tuple[Frame, Array] | None:
    if found is None or len(found.frames) != 1 or len(found.values) != 1:
        return None
    (frame,) = found.frames
    return (frame, found.values[0]) if frame.code == "ok" and not frame.modality_lut else None


def _reorder(array: Array, order: Sequence[int]) -> None:
    """`array[:] = array[order]`, in place: one slice more in memory."""
    done = [place == slot for slot, place in enumerate(order)]
    for start in range(len(order)):
        if done[start]:
            continue
        kept = array[start].copy()
        slot = start
        while not done[slot]:
            done[slot] = True
            source = order[slot]
            array[slot] = kept if source == start else array[source]
            slot = source
