"""Which library decodes a transfer syntax, and what is asked of a frame before and after it.

For JPEG 2000 pydicom would try gdcm first, which is lenient; pylibjpeg-libjpeg is GPL, hence gdcm for JPEG. All of
these hold the interpreter lock while they decode: two threads took 61, 14 and 5 ms for a 512² slice of JPEG 2000,
JPEG-LS and RLE, as one did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from ._codestream import BEGINS, Codestream, FrameError, check_rle, j2k, jpeg

__all__ = ["CODECS", "UNNAMED", "Codec", "available", "decode_frame", "needs_isolation"]


Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Codec:
    """How one transfer syntax is decoded.

    `plugin`: pydicom's name of the decoder; `package`: what to install; `begins` and `describe`: how its frames begin
    and what they say of themselves (none for RLE); `processes`: the SOF markers that the syntax allows.
    """

    plugin: str
    package: str
    begins: tuple[bytes, ...] = ()
    describe: Callable[[bytes], Codestream] | None = None
    processes: tuple[int, ...] = (0,)


_LOSSLESS = 0xC3


# Syntaxes that pydicom has no name for, and nothing decodes.
UNNAMED = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}


def _jpeg(*processes: int) -> Codec:
    return Codec("gdcm", "python-gdcm", BEGINS["jpeg"], jpeg, processes)


_JPEG_LS = Codec("pyjpegls", "pyjpegls", BEGINS["jpeg"], jpeg, (0xF7,))
_J2K = Codec("pylibjpeg", "pylibjpeg pylibjpeg-openjpeg", BEGINS["j2k"], j2k)
CODECS = {
    "1.2.840.10008.1.2.5": Codec("pylibjpeg", "pylibjpeg pylibjpeg-rle"),
    "1.2.840.10008.1.2.4.50": _jpeg(0xC0, 0xC1),
    "1.2.840.10008.1.2.4.51": _jpeg(0xC0, 0xC1),
    "1.2.840.10008.1.2.4.57": _jpeg(_LOSSLESS),
    "1.2.840.10008.1.2.4.70": _jpeg(_LOSSLESS),
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _J2K,
    "1.2.840.10008.1.2.4.91": _J2K,
    "1.2.840.10008.1.2.4.201": _J2K,
    "1.2.840.10008.1.2.4.202": _J2K,
    "1.2.840.10008.1.2.4.203": _J2K,
}


def available(syntax: UID) -> tuple[str, ...]:
    """The names of pydicom's decoders for a syntax that can be used here."""
    return get_decoder(syntax).available_plugins if syntax in CODECS else ()


def needs_isolation(syntax: str, *, many: bool = False) -> bool:
    """Whether this transfer syntax is for a process of its own: its decoder can end the process on damaged data.

    Where `many` files are decoded, JPEG 2000 is as well: it is so slow that two processes pay for their start.
    """
    codec = CODECS.get(syntax)
    return codec is not None and (codec.plugin == "gdcm" or (many and codec is _J2K))


def decode_frame(frame: bytes, dataset: Dataset, syntax: UID) -> Array:
    """One frame, (row, column[, sample]); `dataset` describes it (PS3.3 C.7.6.3).

    `FrameError` when it contradicts the header or data are lost in it; else what the library raises.
    """
    codec = CODECS[syntax]
    if codec.describe is None:
        check_rle(frame, int(dataset.SamplesPerPixel) * -(-int(dataset.BitsAllocated) // 8))
        return _with_library(frame, dataset, syntax, codec)
    said = codec.describe(frame)
    _agree(said, dataset, codec)
    _agree_on_type(said, dataset)
    if codec.plugin != "gdcm":
        array = _with_library(frame, dataset, syntax, codec)
    elif said.process != _LOSSLESS and said.precision > 8:
        array = _jpeg_12(said.strict(frame), dataset, syntax)
    else:
        array = _with_library(said.strict(frame), dataset, syntax, codec, said.precision)
    _check_values(array, said, dataset)
    return array


def _agree(said: Codestream, dataset: Dataset, codec: Codec) -> None:
    """`FrameError` where the frame's own account is not the header's."""
    size = int(dataset.Rows), int(dataset.Columns)
    if (said.rows, said.columns) != size:
        raise FrameError(f"is {said.rows} x {said.columns} in itself, and the header declares {size[0]} x {size[1]}")
    if said.samples != int(dataset.SamplesPerPixel):
        raise FrameError(f"has {said.samples} samples a pixel, and the header declares {dataset.SamplesPerPixel}")
    if said.process not in codec.processes:
        raise FrameError(f"is of another kind than the transfer syntax says (SOF marker 0xFF{said.process:02X})")
    if said.samples not in (1, 3):
        raise FrameError(f"has {said.samples} samples a pixel, which is not supported")
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if said.samples == 1 or said.transformed is None:
        return
    if said.process and said.transformed == (photometric == "RGB"):
        raise FrameError(f"has an Adobe marker that contradicts the header's {photometric}")
    if said.process:
        return
    # PS3.5 §8.2.4: YBR_RCT and YBR_ICT say that the codec transformed the colours, and it undoes that by itself.
    if said.transformed and photometric.startswith(("YBR_FULL", "YBR_PARTIAL")):
        raise FrameError(f"is transformed by the codec, and the header declares {photometric}")
    if not said.transformed and photometric in ("YBR_RCT", "YBR_ICT"):
        raise FrameError(f"is not transformed by the codec, and the header declares {photometric}")


def _agree_on_type(said: Codestream, dataset: Dataset) -> None:
    allocated, stored = int(dataset.BitsAllocated), int(dataset.get("BitsStored", 0) or dataset.BitsAllocated)
    if said.precision > allocated:
        raise FrameError(f"has {said.precision} bits a sample, and the header allocates {allocated}")
    # Lossy JPEG has 8 bits or 12: of 12-bit values in 8 bits nobody knows what they were divided by.
    if said.process in (0xC0, 0xC1) and (said.precision > 8) != (stored > 8):
        raise FrameError(f"has {said.precision} bits a sample, and the header declares {stored}")
    if said.process in (0xC0, 0xC1) and said.precision > 8 and said.samples > 1:
        raise FrameError("has colours of 12 bits, which is not supported")


def _check_values(array: Array, said: Codestream, dataset: Dataset) -> None:
    """Bits above BitsStored are no overlays in a codestream that has room for them: nobody can tell what they are."""
    stored = int(dataset.get("BitsStored", 0) or dataset.BitsAllocated)
    if said.precision <= stored or array.dtype.kind not in "iu":
        return
    low, high = int(array.min()), int(array.max())
    if not (-(1 << (stored - 1)) <= low and high < 1 << stored):
        raise FrameError(f"has values from {low} to {high}, which do not fit into the {stored} bits of the header")


def _with_library(frame: bytes, dataset: Dataset, syntax: UID, codec: Codec, precision: int = 0) -> Array:
    options: dict[str, Any] = {
        "rows": int(dataset.Rows),
        "columns": int(dataset.Columns),
        "samples_per_pixel": int(dataset.SamplesPerPixel),
        "photometric_interpretation": str(dataset.get("PhotometricInterpretation", "")),
        "planar_configuration": int(dataset.get("PlanarConfiguration", 0) or 0),
        "bits_allocated": int(dataset.BitsAllocated),
        # With the header's bits gdcm would mask what is above, and nobody could tell that it was there.
        "bits_stored": precision or int(dataset.get("BitsStored", 0) or dataset.BitsAllocated),
        "pixel_representation": int(dataset.get("PixelRepresentation", 0) or 0),
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
    }
    if codec.plugin != "pyjpegls":
        options["correct_unused_bits"] = False  # our own matter: pydicom does not look at HighBit
    data = encapsulate([frame], has_bot=False)
    # One decoder, not all in turn: what the first finds damaged, a more lenient one would show as a picture.
    array: Array = get_decoder(syntax).as_array(data, decoding_plugin=codec.plugin, **options)[0]
    return array


def _jpeg_12(frame: bytes, dataset: Dataset, syntax: UID) -> Array:
    """12 bits a sample, one sample a pixel: gdcm decodes them, and pydicom does not let it."""
    import gdcm

    rows, columns = int(dataset.Rows), int(dataset.Columns)
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
    # gdcm gives its char* as str
    words = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(words, dtype="<u2").reshape(rows, columns)
