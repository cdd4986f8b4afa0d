"""A stack and its pixels → one array that knows where it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.errors import GeometryError, PixelError, QueryError

from ._decode import decoded, read_dataset
from ._frames import Frame, Window
from ._nifti import nifti_of
from ._shear import moved
from ._sitk import resampled, sitk_of
from ._stacks import Stack, StackFile
from ._values import VALUES, Values, convert, describe, with_file_facts
from ._voxels import put, voxel_type

__all__ = ["Filler", "Volume", "volume_from"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Voxels in space.

    - `array`: axes as in `dims`, C-order: (slice, row, column), with "extra" before them for 4-D and "sample" (red,
      green, blue) after them for colour. Slices ascend along row x column direction.
    - `axes`: the values along "extra" by name: {"echo_time": (12.0, 104.0)}, ascending; {} for 3-D.
    - `affine`: 4 x 4 float64, (slice, row, column, 1) → LPS mm, the patient axes of DICOM (PS3.3 C.7.6.2.1.1).
    - `spacing`: mm between slices (along their normal), rows, columns; `orientation`: their six direction cosines.
    - `sop_uids`, `frame_indices`: one a slice, in the array's order ("extra" outermost): the instance and the frame in
      it, from 0; "" and -1 for a slice that is NaN because it is missing. The slices of a mosaic share theirs.
    - `values`: "stored", "rescaled" or "suv"; `units`: of the values ("HU", "BQML" …; "stored units" when nothing names
      them).
    - `inverted`: True for MONOCHROME1, whose smallest value shows white; the values are as they are.
    - `window`: the first VOI window of the middle slice, of its rescaled values; not applied.
    - `issues`: sentences about what is unusual and was not refused, or was asked for.
    """

    array: Array
    dims: tuple[str, ...]
    affine: npt.NDArray[np.float64]
    spacing: tuple[float, float, float]
    orientation: tuple[float, ...]
    frame_of_reference: str
    sop_uids: tuple[str, ...]
    series_uid: str
    modality: str
    units: str
    values: Values
    inverted: bool
    issues: tuple[str, ...]
    frame_indices: tuple[int, ...] = ()
    axes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    window: Window | None = None

    @property
    def affine_ras(self) -> npt.NDArray[np.float64]:
        """The same (slice, row, column, 1) index → RAS mm, the patient axes of NIfTI: x and y change their sign.

        The index order stays: `nibabel.Nifti1Image(volume.array, volume.affine_ras)` needs no transpose. `to_nifti`
        has the order that NIfTI's users expect.
        """
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine

    @property
    def shape(self) -> tuple[int, ...]:
        """Of `array`."""
        return self.array.shape

    def to_nifti(self) -> Any:
        """As a `nibabel.Nifti1Image`, [x, y, z] = (column, row, slice): `array.T`, the same bytes, and its RAS affine.

        "extra" is the fourth axis. Rows are not flipped: [x, y, z] is `array[z, y, x]`. dcm2niix writes y backwards, so
        what it writes of the same slices is `[:, ::-1]` of this; points in mm are the same in both. sform is the affine
        and qform its rotation, both with code 1 (scanner); qform has code 0 where it would put a corner 0.1 mm off: a
        leaning stack has no rotation. mm, and s where the fourth axis is a time in even steps. Types stay, and nothing
        is scaled; but bool → uint8, float16 → float32, colour → RGB24. FSL and SPM have no 64-bit integers.

        Memory is shared with `array`. `QueryError` where nibabel is not installed; `PixelError` for 16-bit colour.
        """
        return nifti_of(self)

    def to_sitk(self) -> Any:
        """As a `SimpleITK.Image`, index (x, y, z) = (column, row, slice), LPS mm: origin, spacing, direction.

        "extra" is a fourth dimension, its spacing seconds where it is a time in even steps, else 1; colour is a vector.
        Types stay, but bool → uint8 and float16 → float32. `GeometryError` "sheared" for a stack that leans by more
        than 0.5°; a smaller lean is kept in the direction, so that every voxel is where it was. `QueryError` where
        SimpleITK is not installed.
        """
        return sitk_of(self)

    def resample(self, spacing: float | Sequence[float], *, interpolation: str = "linear") -> Volume:
        """On another grid: `spacing` is mm between slices, rows, columns, or one number for all; by SimpleITK.

        The new grid has the directions and the centre of the old one, and as many voxels as cover it from edge to edge:
        less than one voxel more than its extent. So no new centre lies outside; within half a voxel of the edge the
        outermost values are repeated. "linear" gives float32, and float64 for float64 and integers of 32 bits or more;
        "nearest" keeps the type and is for labels. Nothing is smoothed first: a much coarser grid takes samples. NaN
        spreads to the voxels next to it.

        No slice of it is one of the source: `sop_uids` are "", `frame_indices` -1, and `issues` says so.
        `GeometryError` "sheared" as `to_sitk`; `QueryError` for a spacing or an interpolation that cannot be, and where
        SimpleITK is not installed.
        """
        return resampled(self, spacing, interpolation)

    def __repr__(self) -> str:
        size, mm = " x ".join(map(str, self.shape)), " x ".join(f"{each:.4g}" for each in self.spacing)
        return f"<Volume {size} {self.array.dtype}, {mm} mm, {self.units}>"


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
        self._described = describe(stack.frames, values) if not _lut_in_file(stack) else None
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
        self, file: StackFile, content: bytes | Dataset, decoder: Callable[[bytes, str], Array] = decoded
    ) -> None:
        """Decode one of `stack.files` and put all its slices; `decoder(content, SOPInstanceUID)` where it is bytes."""
        if isinstance(content, bytes):
            dataset = read_dataset(content) if self._needs_file(file) else None
            array = decoder(content, file.sop_uid)
        else:
            dataset, array = content, decoded(content, file.sop_uid)
        for place, _ in file.fills:
            if dataset is not None:
                self._frames[place] = with_file_facts(self._frames[place], dataset)
            self.put(place, array)

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

    def _needs_file(self, file: StackFile) -> bool:
        return any(self._frames[place].modality_lut for place, _ in file.fills)

    def _converted(self, frame: Frame, image: Array, target: Array, place: int) -> Array:
        given = convert(frame, image, self.values, np.float64)
        if self.stack.shifts is None:
            return given
        return moved(given, self.stack.shifts[place], (target.shape[0], target.shape[1]))


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
