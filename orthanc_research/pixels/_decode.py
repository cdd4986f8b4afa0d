"""File bytes → stored values.

Stored values are what the scanner wrote, nothing more: no rescale, no window; bits outside BitsStored (old overlays,
garbage) are masked off and the sign is extended from BitsStored (PS3.5 §8.1.1). YBR_FULL, YBR_FULL_422, YBR_ICT and
YBR_RCT come as RGB; retired colour spaces (HSV, CMYK, YBR_PARTIAL) as they are.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import pixel_array
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from orthanc_research.errors import PixelError
from orthanc_research.quiet import quiet

from ._codecs import CODECS, UNNAMED, available, decode_frame
from ._codestream import FrameError
from ._encapsulated import frames_in
from ._native import Plain, meta_syntax, plain

__all__ = ["decode", "decoded", "plain_values", "read_dataset", "read_header", "transfer_syntax"]

Array = npt.NDArray[Any]

# The pixel module (PS3.3 C.7.6.3) and what names the file in an error: parsing only these is three times as fast.
_PIXEL_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "PixelData",
]

_NATIVE = {
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    "1.2.840.10008.1.2.1.99",
}  # the last is deflated as a whole file
_RLE = "1.2.840.10008.1.2.5"

# A header can claim 65535 x 65535 over three bytes of data. No codec shrinks an image of this size by so much.
_PADDING, _UNDEFINED = 0xFFFCFFFC, 0xFFFFFFFF
_LARGE = 1 << 28
_MOST_SHRUNK = 5000


def read_dataset(data: bytes, *, pixels_only: bool = False) -> Dataset:
    """The Dataset in a file's bytes; a file without preamble is read too. `PixelError` when it is not DICOM.

    `pixels_only` parses only what `decode` needs: of an uncompressed file all, for what is behind the pixels tells of
    damage.
    """
    return _read(data, specific_tags=_PIXEL_TAGS if pixels_only and meta_syntax(data) not in _NATIVE else None)


def read_header(data: bytes) -> Dataset:
    """As `read_dataset`, but without the pixels of a plain file, which pydicom copies: they may be a whole volume."""
    return _read(data, stop_before_pixels=plain(data) is not None)


@quiet()
def _read(data: bytes, **options: Any) -> Dataset:
    try:
        try:
            dataset = dcmread(io.BytesIO(data), **options)
        except InvalidDicomError:
            dataset = dcmread(io.BytesIO(data), **options, force=True)
            if "SOPClassUID" not in dataset:  # forced reading finds elements in anything
                raise
        _name_syntax(dataset)
    except Exception as error:
        raise PixelError(
            f"These {len(data)} bytes are not a DICOM file that can be read ({type(error).__name__})."
        ) from error
    return dataset


def transfer_syntax(data: bytes) -> str:
    """The TransferSyntaxUID that `decode` goes by: of the meta information (PS3.10 §7.1); "" for what is not DICOM.

    Where there is no meta information, or an unusual one, pydicom reads the file: what stands elsewhere in it (a
    preamble is anybody's) is not taken for it.
    """
    found = meta_syntax(data)
    if found is None:
        try:
            found = str(read_dataset(data, pixels_only=True).file_meta.TransferSyntaxUID)
        except PixelError:
            found = ""
    return found


def decode(source: bytes | Dataset, sop_uid: str = "") -> Array:
    """The stored values of every frame, shape (frame, row, column) or (frame, row, column, sample), C-order, writable.

    The dtype is the source's integer type (BitsAllocated and PixelRepresentation), float for float pixel data; YBR is
    converted to RGB; palette images keep their indices. `sop_uid` names the file in an error when its bytes cannot.
    `PixelError` names SOPInstanceUID, transfer syntax and the package to install, or says what is wrong with the data:
    a codestream that is cut, or contradicts the header in size, bits or colour, is refused. Native code decodes in this
    process: of files that nobody vouches for, `decoding.decode_isolated` takes those whose decoder may crash.
    """
    array = decoded(source, sop_uid)
    return array if array.flags.writeable else array.copy()


@quiet()
def decoded(source: bytes | Dataset, sop_uid: str = "") -> Array:
    """As `decode`, but the array may be a read-only view of the file's bytes: for who copies it anyway."""
    if isinstance(source, bytes) and (found := plain(source)) is not None:
        return plain_values(source, found)
    try:
        dataset = read_dataset(source, pixels_only=True) if isinstance(source, bytes) else source
        return _decode(dataset, f"SOP instance {_uid(dataset, sop_uid)}")
    except PixelError as error:
        if sop_uid and sop_uid not in str(error):
            raise PixelError(f"SOP instance {sop_uid}: {error}") from error
        raise


def plain_values(source: bytes, found: Plain) -> Array:
    """What `decoded` gives for a plain file."""
    bits, shape = found.facts["BitsAllocated"], (found.frames, found.rows, found.columns)
    values = np.frombuffer(source, _dtype(found.facts, bits), math.prod(shape), found.offset)
    return _clean(values.reshape(shape), found.facts, bits, ExplicitVRLittleEndian)


def _decode(dataset: Dataset, name: str) -> Array:
    syntax = UID(str(getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID", "")))
    try:
        key = next((k for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if k in dataset), None)
        data = dataset[key].value if key else None
        size, bits, samples, frames = _declared(dataset) if data else ((0, 0), 0, 0, 0)
    except Exception as error:
        raise PixelError(f"{name}: its header does not describe an image ({type(error).__name__}).") from error
    if not data or not isinstance(data, bytes):
        raise PixelError(f"{name}: there are no pixels in it.")
    if frames < 1 or min(size) < 1 or bits < 1 or samples < 1:
        raise PixelError(f"{name}: its header does not describe an image (frames, rows, columns or bits below 1).")
    expected = math.ceil(frames * math.prod(size) * samples * bits / 8)
    encapsulated = syntax not in _NATIVE and syntax != ExplicitVRBigEndian
    _check_length(name, len(data), expected, encapsulated, _subsampled(dataset))
    if not encapsulated and _is_torn(dataset, key):
        raise PixelError(f"{name}: what is behind its pixels is no element: the file was damaged in or before them.")
    if not encapsulated and _has_more(len(data), expected, frames, _subsampled(dataset)):
        raise PixelError(
            f"{name}: there are more pixels than the header declares ({len(data)} bytes for {frames} "
            f"frame{'s' if frames > 1 else ''} of {expected // frames}): NumberOfFrames is absent or wrong."
        )
    if syntax in _NATIVE and samples == 1 and bits in (8, 16, 32) and key == "PixelData":
        array = np.frombuffer(data, dtype=_dtype(dataset, bits), count=frames * math.prod(size))
    elif encapsulated:
        array = _compressed(dataset, data, frames, syntax, name)
    else:
        array = _with_pydicom(dataset, name, syntax)
    shape = (frames, *size, *((array.shape[-1],) if samples > 1 and array.ndim > 2 else ()))
    if array.size != math.prod(shape):
        raise PixelError(
            f"{name} ({syntax.name}): it decodes to {array.size} values where {math.prod(shape)} are declared."
        )
    return _clean(np.ascontiguousarray(array).reshape(shape), dataset, bits, syntax)


def _is_torn(dataset: Dataset, key: str | None) -> bool:
    """Whether an element behind the pixels claims more bytes than there are: then it is a piece of them, moved on."""
    tags = list(dataset.keys())  # in the order of the file
    behind: list[Any] = [dataset.get_item(tag) for tag in tags[tags.index(Tag(key or "")) + 1 :] if tag != _PADDING]
    return any(
        getattr(each, "is_raw", False) and each.length != _UNDEFINED and len(each.value or b"") < each.length
        for each in behind
    )


def _declared(dataset: Dataset) -> tuple[tuple[int, int], int, int, int]:
    frames = dataset.get("NumberOfFrames")
    size = int(dataset.Rows), int(dataset.Columns)
    int(dataset.get("PixelRepresentation", 0) or 0)
    return size, int(dataset.BitsAllocated), int(dataset.SamplesPerPixel), 1 if frames in (None, "") else int(frames)


def _subsampled(dataset: Dataset) -> bool:
    return "422" in str(dataset.get("PhotometricInterpretation", ""))


def _check_length(name: str, have: int, expected: int, encapsulated: bool, subsampled: bool) -> None:
    """Truncated data and absurd claims, before anything is allocated."""
    if encapsulated:
        if expected > _LARGE and expected > have * _MOST_SHRUNK:
            raise PixelError(f"{name}: {have} bytes cannot hold the {expected} bytes that the header declares.")
        return
    if subsampled:  # two thirds of the bytes: PS3.3 C.7.6.3.1.2, YBR_FULL_422
        expected = expected * 2 // 3
    if have < expected:
        raise PixelError(f"{name}: the pixel data are cut: {have} bytes of {expected}.")


def _has_more(have: int, expected: int, frames: int, subsampled: bool) -> bool:
    """Whether native data hold at least a whole frame too many; less than that is padding, as some writers leave it."""
    if subsampled and have - expected not in (0, 1):  # data that are not subsampled, whatever the header says, pass
        expected = expected * 2 // 3
    # A byte makes the length even (PS3.5 §8.1.1), and may be as much as a very small frame.
    return have - expected >= max(math.ceil(expected / frames), 2)


def _compressed(dataset: Dataset, data: bytes, count: int, syntax: UID, name: str) -> Array:
    """Each frame in turn: the first that is broken refuses the file, whose other frames nobody could number."""
    said = UNNAMED.get(syntax, syntax.name) if syntax else "no transfer syntax"
    if syntax not in CODECS:
        raise PixelError(f"{name}: nothing decodes its transfer syntax ({said}).")
    codec = CODECS[syntax]
    if codec.plugin not in available(syntax):
        raise PixelError(f"{name}: to decode {said}, install {codec.package}.")
    try:
        frames = frames_in(data, count, codec.begins)
    except FrameError as error:
        raise PixelError(f"{name}: its pixel data ({said}) {error}.") from error
    out: Array | None = None
    for index, frame in enumerate(frames):
        array = _frame(frame, dataset, syntax, f"{name}: frame {index + 1} of {count} ({said})")
        if out is None:
            out = np.empty((count, *array.shape), dtype=array.dtype)
        out[index] = array
    return out if out is not None else np.empty(0)


def _frame(frame: bytes, dataset: Dataset, syntax: UID, name: str) -> Array:
    expected = (int(dataset.Rows), int(dataset.Columns))
    samples = int(dataset.SamplesPerPixel)
    try:
        array = decode_frame(frame, dataset, syntax)
    except FrameError as error:
        raise PixelError(f"{name} {error}.") from error
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the RLE decoder is Rust, and a panic in it is no Exception
        raise PixelError(f"{name} cannot be decoded; it is damaged or unusual.") from error
    if array.shape != (*expected, *((samples,) if samples > 1 else ())):
        raise PixelError(f"{name} decodes to {array.shape} where {expected} is declared.")
    return array


def _with_pydicom(dataset: Dataset, name: str, syntax: UID) -> Array:
    try:
        # `_clean` takes the bits below HighBit; pydicom would take the lowest ones, wherever HighBit is.
        return pixel_array(dataset, correct_unused_bits=False)
    except Exception as error:
        raise PixelError(
            f"{name}: its pixel data ({syntax.name}) cannot be decoded; it is damaged or unusual."
        ) from error


def _dtype(dataset: Dataset | Mapping[str, int], bits: int) -> np.dtype[Any]:
    signed = int(dataset.get("PixelRepresentation", 0) or 0) == 1
    return np.dtype(f"<{'i' if signed else 'u'}{bits // 8}")


def _clean(array: Array, dataset: Dataset | Mapping[str, int], bits: int, syntax: UID) -> Array:
    """Only the bits from HighBit down, BitsStored of them, sign-extended; in the type of BitsAllocated."""
    if array.dtype.kind not in "iu" or bits not in (8, 16, 32):
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    stored = int(dataset.get("BitsStored", bits) or bits)
    if not 1 <= stored <= bits:
        return array
    high = int(dataset.get("HighBit", stored - 1) or 0)
    # Only where the file holds the words themselves can values sit above bit 0; a JPEG codec has moved them down.
    words = syntax in _NATIVE or syntax in (ExplicitVRBigEndian, _RLE)
    if not (words and stored - 1 <= high < bits):
        high = stored - 1
    wanted = _dtype(dataset, bits).newbyteorder("=")
    array = array if array.dtype == wanted else array.astype(wanted)
    if stored < bits:
        array = (array << wanted.type(bits - 1 - high)) >> wanted.type(bits - stored)
    return array


def _name_syntax(dataset: Dataset) -> None:
    """Files without file meta: the syntax that pydicom found by looking."""
    if "TransferSyntaxUID" in dataset.file_meta:
        return
    implicit, little = dataset.original_encoding
    if not little:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    else:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def _uid(dataset: Dataset, given: str) -> str:
    try:
        return str(dataset.get("SOPInstanceUID", "")) or given or "without UID"
    except Exception:  # noqa: BLE001  # a damaged UID must not hide what is wrong with the pixels
        return given or "without UID"
