"""A stack and its pixels → a volume: one array, filled in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.errors import GeometryError, PixelError, QueryError

from ._decode import decoded, read_header
from ._frames import Frame, frames_of, tiles_of
from ._shear import moved
from ._stacks import Stack, StackFile
from ._suv import SuvFacts
from ._values import VALUES, convert, describe, with_file_facts
from ._volume import Volume
from ._voxels import put, voxel_type

__all__ = ["Filler", "Opened", "volume_from"]

Array = npt.NDArray[Any]

# What a frame's place, its size and the meaning of its values are made of.
_SAME = (
    "sop_uid",
    "series_uid",
    "frame_of_reference",
    "position",
    "orientation",
    "spacing",
    "rows",
    "columns",
    "samples",
    "photometric",
    "bits_allocated",
    "bits_stored",
    "pixel_representation",
    "slope",
    "intercept",
    "units",
    "modality_lut",
    "code",
)
_MM = ("position", "orientation", "spacing")


def volume_from(
    stack: Stack,
    arrays: Iterable[tuple[str | int, Array]],
    values: str = "stored",
    dtype: npt.DTypeLike | None = None,
) -> Volume:
    """The volume of a stack that is "ok", filled slice by slice as `arrays` brings them, in any order.

    `arrays` gives (place in `stack.frames`, and that frame's stored values, (row, column[, sample]), or all that
    `decode` gave for its file), or (SOPInstanceUID, what `decode` gave for the file): all its frames at once.

    "stored" keeps the source's type; "rescaled" and "suv" are float32, computed in float64 for each frame (PS3.3
    C.11.1). `dtype` asks for another type, `PixelError` when a value does not fit.

    `GeometryError` when the stack is not "ok"; `PixelError` when a slice is missing, there twice, of another shape or
    type than its header said, or cannot be given as `values`; `QueryError` for values that are not `VALUES`, and for an
    integer type where the stack needs NaN.
    """
    filler = Filler(stack, values, dtype)
    for key, array in arrays:
        if isinstance(key, str):
            filler.put_instance(key, array)
        else:
            filler.put(key, array)
    return filler.volume()


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A file that one stack or several are filled from, read once: its frames by their place, and all its pixels."""

    dataset: Dataset
    frames: Mapping[tuple[int, tuple[int, int] | None], Frame]
    array: Array

    @classmethod
    def of(cls, content: bytes | Dataset, sop_uid: str, decoder: Callable[[Any, str], Array] = decoded) -> Opened:
        """From a file's bytes, or its Dataset; `PixelError` when it does not decode."""
        dataset = read_header(content) if isinstance(content, bytes) else content
        frames = {(each.index, each.tile): each for frame in frames_of(dataset) for each in tiles_of(frame)}
        return cls(dataset, frames, decoder(content, sop_uid))


class Filler:
    """One preallocated array that slices are put into, by several threads and in any order; then the volume.

    Everything that can be refused from headers is refused when it is made, before a pixel is fetched: see
    `volume_from`. `stack.files` lists what to read, each instance once.
    """

    def __init__(
        self,
        stack: Stack,
        values: str = "stored",
        dtype: npt.DTypeLike | None = None,
        *,
        array: Array | None = None,
    ) -> None:
        stack.checked()
        self.stack = stack
        self._source = _source(stack)
        if values not in VALUES:
            raise QueryError(f"values={values!r} is not there; choose from {', '.join(VALUES)}.")
        self.values = next(each for each in VALUES if each == values)
        self._wanted = voxel_type(dtype, self._source if values == "stored" else np.dtype(np.float32))
        self._slices = math.prod(stack.shape[: stack.dims.index("row")])
        _check_nan(stack, self._wanted, self._slices)
        # Only the files hold a table, and the private facts of PET in implicit VR.
        waits = _lut_in_file(stack) or (values == "suv" and all(frame.suv for frame in stack.frames))
        self._described = None if waits else describe(stack.frames, values)
        shape = (self._slices, *stack.shape[stack.dims.index("row") :])
        self._array = np.empty(shape, dtype=self._wanted) if array is None else array
        empty = sorted(set(range(self._slices)) - set(stack.slots))
        if empty:
            self._array[empty] = np.nan
        self._frames = list(stack.frames)
        self._missing = set(range(len(stack.frames)))
        self._lock = Lock()

    @classmethod
    def filled(cls, stack: Stack, values: str, array: Array) -> Filler:
        """One that has every slice already: `array` (slice, row, column), in the order and type of the volume."""
        filler = cls(stack, values, array.dtype, array=array)
        filler._missing.clear()
        return filler

    def put(self, place: int, image: Array) -> None:
        """The pixels of `stack.frames[place]`: stored values, (row, column[, sample]), or of its whole file."""
        with self._lock:
            if not 0 <= place < len(self._frames):
                raise PixelError(f"The pixels of {place} are of no slice of this stack.")
            frame = self._frames[place]
            if place not in self._missing:
                raise PixelError(f"The pixels of SOP instance {frame.sop_uid} came twice.")
            self._missing.discard(place)
        image = _image(frame, image, self._source)
        target = self._array[self.stack.slots[place]]
        put(target, self._converted(frame, image, target, place), f"SOP instance {frame.sop_uid}")

    def put_file(
        self, file: StackFile, content: bytes | Dataset | Opened, decoder: Callable[[Any, str], Array] = decoded
    ) -> None:
        """Decode one of `stack.files` and put all its slices; `decoder(content, SOPInstanceUID)` unless it is open.

        `PixelError` too when the file does not say what the stack's header of it said.
        """
        opened = content if isinstance(content, Opened) else Opened.of(content, file.sop_uid, decoder)
        self._check(file, opened)
        for place, _ in file.fills:
            frame = with_file_facts(self._frames[place], opened.dataset)
            self._frames[place] = replace(frame, suv=opened.frames[frame.index, frame.tile].suv)
            self.put(place, opened.array)

    def put_instance(self, sop_uid: str, array: Array) -> None:
        """What `decode` gave for one instance: all its slices."""
        places = [place for place, frame in enumerate(self._frames) if frame.sop_uid == sop_uid]
        if not places:
            raise PixelError(f"The pixels of {sop_uid} are of no slice of this stack.")
        for place in places:
            self.put(place, array)

    def volume(self) -> Volume:
        """The volume, once every slice is there; `PixelError` says how many are not."""
        stack, slices = self.stack, self._slices
        if self._missing:
            first = stack.frames[min(self._missing)].sop_uid
            raise PixelError(
                f"The pixels of {len(self._missing)} of {len(stack.frames)} slices did not come; the first is {first}."
            )
        units, notes = self._described or describe(self._frames, self.values)
        by_slot = dict(zip(stack.slots, stack.frames, strict=True))
        windows = stack.frames[len(stack.frames) // 2].windows
        if stack.affine is None or stack.spacing is None or stack.orientation is None:
            raise _by_hand()
        return Volume(
            array=self._array.reshape(stack.shape),
            dims=stack.dims,
            affine=stack.affine,
            spacing=stack.spacing,
            orientation=stack.orientation,
            frame_of_reference=stack.frame_of_reference,
            sop_uids=tuple(by_slot[k].sop_uid if k in by_slot else "" for k in range(slices)),
            series_uid=stack.series_uid,
            modality=stack.frames[0].modality,
            units=units,
            values=self.values,
            inverted=stack.frames[0].photometric == "MONOCHROME1",
            issues=(*stack.issues, *notes),
            frame_indices=tuple(by_slot[k].index if k in by_slot else -1 for k in range(slices)),
            axes=stack.axes,
            window=windows[0] if windows else None,
        )

    def _check(self, file: StackFile, opened: Opened) -> None:
        """Hold the file against the header that the verdict came from: it may have been stored again meanwhile."""
        for place, _ in file.fills:
            frame = self._frames[place]
            now = opened.frames.get((frame.index, frame.tile))
            wrong = "sop_uid" if now is None else next((name for name in _SAME if _differ(frame, now, name)), None)
            if wrong is None and now is not None and self.values == "suv" and _other_suv(frame.suv, now.suv):
                wrong = "suv"
            if wrong is not None:
                raise PixelError(
                    f"SOP instance {frame.sop_uid}: its file does not say what its header said before ({wrong}); it "
                    "was stored again meanwhile, or came damaged."
                )

    def _converted(self, frame: Frame, image: Array, target: Array, place: int) -> Array:
        given = convert(frame, image, self.values, np.float64)
        if self.stack.shifts is None:
            return given
        return moved(given, self.stack.shifts[place], (target.shape[0], target.shape[1]))


def _differ(frame: Frame, now: Frame, name: str) -> bool:
    """Whether a fact of two frames differs by more than Orthanc's way to write a double does."""
    told, found = getattr(frame, name), getattr(now, name)
    if told == found:
        return False
    if not isinstance(told, float | tuple) or type(told) is not type(found):
        return True
    nearly = 1e-5 if name in _MM else 0.0
    return np.shape(told) != np.shape(found) or not np.allclose(told, found, rtol=1e-5, atol=nearly, equal_nan=True)


def _other_suv(told: SuvFacts | None, found: SuvFacts | None) -> bool:
    """Whether a fact of the header is another one in the file; one that the header lacked may be there.

    Orthanc sends nothing of private elements in implicit VR.
    """
    if told is None or found is None:
        return told is not found
    absent = (None, "", (), ("", ""))
    pairs = ((getattr(told, each.name), getattr(found, each.name)) for each in fields(told))
    return any(before not in absent and before != now and before == before for before, now in pairs)


def _source(stack: Stack) -> np.dtype[Any]:
    source = stack.frames[0].dtype
    if source is None or stack.affine is None or stack.spacing is None or stack.orientation is None:
        raise _by_hand()
    return source


def _by_hand() -> GeometryError:
    return GeometryError("no-geometry", "This stack says ok and has no affine or no integer type; it was made by hand.")


def _check_nan(stack: Stack, wanted: np.dtype[Any], slices: int) -> None:
    """NaN stands for what was never there, and only floats have it."""
    if wanted.kind == "f" or (stack.shifts is None and len(stack.slots) == slices):
        return
    option = "on_missing='nan'" if stack.shifts is None else "on_shear='resample'"
    raise QueryError(f"{option} needs float values: values='rescaled', or dtype='float32'.")


def _lut_in_file(stack: Stack) -> bool:
    return any(frame.modality_lut and not (frame.lut and frame.lut.data) for frame in stack.frames)


def _image(frame: Frame, array: Array, source: np.dtype[Any]) -> Array:
    """The frame's own pixels out of what came: one image, or all of its file."""
    expected = (frame.rows, frame.columns, *((frame.samples,) if frame.samples > 1 else ()))
    image = array
    if array.ndim == len(expected) + 1 and frame.index < len(array):
        image = array[frame.index]
    if frame.tile is not None:
        down, right = frame.tile
        image = image[down : down + frame.rows, right : right + frame.columns]
    if image.shape != expected or image.dtype != source:
        raise PixelError(
            f"SOP instance {frame.sop_uid}: the pixels are {array.shape} {array.dtype}, "
            f"the header said {expected} {source}."
        )
    return image
