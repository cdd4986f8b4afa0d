"""The pixels of one file as what somebody wants them to be: stored, rescaled, SUV, colours, or for a screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.errors import Error, PixelError, QueryError
from orthanc_research.quiet import quiet

from ._colour import apply_palette
from ._decode import decode, read_dataset
from ._display import check_window, display
from ._frames import Frame, Window, frames_of
from ._header import Header, header_from_dataset, text
from ._kinds import RGB, kind_of
from ._values import VALUES, convert, describe, with_file_facts
from ._voxels import put, voxel_type

__all__ = ["IMAGE_VALUES", "ImageValues", "check_pixels", "file_frames", "named_errors", "pixels_of", "refuse_others"]

Array = npt.NDArray[Any]

ImageValues = Literal["stored", "rescaled", "suv", "rgb", "display"]
IMAGE_VALUES: tuple[ImageValues, ...] = get_args(ImageValues)

_SEGMENTED = ("a segmentation", "a set of contours")


@quiet()
def pixels_of(
    source: bytes | Dataset,
    values: str = "stored",
    *,
    dtype: npt.DTypeLike | None = None,
    window: Window | tuple[float, float] | None = None,
    sop_uid: str = "",
    decoder: Callable[[bytes, str], Array] = decode,
) -> Array:
    """The pixels of one file, (frame, row, column[, sample]), whatever its frames are good for as a volume.

    - "stored": what the scanner wrote, in its type; palette indices as they are, YBR as RGB.
    - "rescaled": float32, the Modality LUT or the slope and intercept of each frame applied (PS3.3 C.11.1).
    - "suv": float32, g/ml by body weight; of PET only. What had to be assumed stands in `Volume.issues`, and not here.
    - "rgb": red, green, blue of a colour image; a palette by the file's own tables, uint8 or uint16 as its entries.
    - "display": uint8 for a screen. Grey is rescaled, then goes through `window`, or the file's first VOI LUT, or each
      frame's first window, or without any of these from the least to the largest value of the file, padding left out;
      MONOCHROME1 is inverted, so that 0 is black (PS3.3 C.11.2, C.7.6.3.1.2). Colours are cut to 8 bits, not windowed.

    `window` is (centre, width) in rescaled units, or a `Window`; it belongs to "display". `dtype` asks for another
    type of stored, rescaled or SUV values, `PixelError` when one does not fit. `sop_uid` names the file in an error
    when its bytes cannot. `decoder(source, sop_uid)` decodes bytes in place of `decode`: in another process, say.

    `PixelError` for what does not decode, for what is no image (SEG, RTSTRUCT, SR, PDF …: it says which), for values
    that these pixels do not have; `QueryError` for arguments that make no sense.
    """
    chosen, shown = check_pixels(values, dtype, window)
    dataset = read_dataset(source, pixels_only=values == "stored") if isinstance(source, bytes) else source
    header = header_from_dataset(dataset)
    name = f"SOP instance {text(header, '0008,0018') or sop_uid or 'without UID'}"
    with named_errors(name):
        refuse_others(header, name)
        if isinstance(source, bytes) and decoder is not decode:
            stored = decoder(source, sop_uid)
        else:
            stored = decode(dataset, sop_uid)
        if values == "stored":
            return stored if dtype is None else _as_type(stored, chosen, name)
        if values == "rgb":
            return _colours(stored, dataset, name)
        frames = file_frames(stored, dataset, name)
        if values == "display":
            return display(stored, frames, dataset, shown)
        return _converted(stored, frames, values, chosen, name)


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Whatever goes wrong with the pixels of a file is a `PixelError` that names it."""
    try:
        yield
    except PixelError as error:
        if str(error).startswith("SOP instance"):
            raise
        raise PixelError(f"{name}: {str(error)[:1].lower()}{str(error)[1:]}") from error
    except Error:
        raise
    except Exception as error:  # pydicom raises whatever damaged bytes lead it into
        raise PixelError(f"{name}: its header is damaged ({type(error).__name__}).") from error


def check_pixels(
    values: str, dtype: npt.DTypeLike | None, window: Window | tuple[float, float] | None
) -> tuple[np.dtype[Any], Window | None]:
    """(the type asked for, the window asked for); `QueryError` for what `pixels_of` cannot be asked."""
    if values not in IMAGE_VALUES:
        raise QueryError(f"values={values!r} is not there; choose from {', '.join(IMAGE_VALUES)}.")
    if window is not None and values != "display":
        raise QueryError("A window changes what is shown, not what was measured: it belongs to values='display'.")
    if dtype is not None and values not in VALUES:
        raise QueryError(f"values={values!r} has its own type; dtype is for {', '.join(VALUES)}.")
    return voxel_type(dtype, np.dtype(np.float32)), None if window is None else check_window(window)


def refuse_others(header: Header, name: str) -> None:
    """`PixelError` that says what it is, for what is no image."""
    kind = kind_of(header)
    if kind:
        hint = "; orthanc_research.segments puts it on the voxels of a volume" if kind in _SEGMENTED else ""
        raise PixelError(f"{name}: it is {kind}, not an image{hint}.")


def file_frames(stored: Array, dataset: Dataset, name: str) -> list[Frame]:
    """The frames of a file, one for each that was decoded, with all that it takes to convert them."""
    frames = [with_file_facts(frame, dataset) for frame in frames_of(dataset)]
    if len(frames) != len(stored):
        raise PixelError(f"{name}: which values its frames hold is unknown. {frames[0].reason}".strip())
    return frames


def _colours(stored: Array, dataset: Dataset, name: str) -> Array:
    kind = str(dataset.get("PhotometricInterpretation") or "")
    if kind == "PALETTE COLOR":
        return apply_palette(stored, dataset)
    if kind not in RGB or stored.ndim != 4:
        raise PixelError(f"{name}: it has no colours; use values='display' for something to look at.")
    return stored


def _converted(stored: Array, frames: list[Frame], values: str, dtype: np.dtype[Any], name: str) -> Array:
    describe(frames, values)
    made = np.empty(stored.shape, dtype=dtype)
    for frame, image, target in zip(frames, stored, made, strict=True):
        put(target, convert(frame, image, values, np.float64), name)
    return made


def _as_type(stored: Array, dtype: np.dtype[Any], name: str) -> Array:
    made = np.empty(stored.shape, dtype=dtype)
    put(made, stored, name)
    return made
