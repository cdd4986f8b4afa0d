"""Compressed images that the tests make, with encoders that are not the decoders under test where there are such."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

Array = npt.NDArray[Any]
UID_HERE = "1.2.826.0.1.7"
BASELINE, EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
LOSSLESS, LOSSLESS_SV1 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
LS, LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
J2K, J2K_LOSSY = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
RLE = "1.2.840.10008.1.2.5"
HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")

_ROW, _COLUMN = np.mgrid[0:24, 0:20]
# By OpenJPH 0.26 (reversible), of this image.
OPENJPH_IMAGE = ((_ROW * 37 + _COLUMN * 91 + _ROW * _COLUMN) % 4096).astype(np.uint16)
OPENJPH = base64.b85decode(
    "|4;u>04YEK0000K0000O00000000000000K0000O0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&kdTm&kdTm"
    "wh=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000$^ZfXlfVEbRrdu4bO68r6F>kHKmZc}y8HtNbN~qc0*7<}F8%@sbO68r62Jfx0C"
    "NBfbO7o800J}szyK8x00m3{0T}ZF`w8#@bpW7ZMuQk1>t+CeBLKhv6|evWYybf;m{ob51E<>lx8aL-0H!u27yk4JMj-+0xB$@fByPn3zyK|n"
    "00pZ60F*Qw4@g8Zp;RmYxWVt_07KhqdU|?s0(}5T2BI(yBvJPNPy#)KAba)@f$Y5i{{LV^0RPz"
)

# By libjpeg-turbo 3.1 (12 bits, level 95), which decodes it to this image exactly.
TURBO_IMAGE = (1500 + 60 * np.arange(16)[:, None] + 40 * np.arange(24)).astype(np.uint16)
TURBO = base64.b85decode(
    "|JeWF01!$>Nk#wx0RR9200961|JwjV00IF40RaI50RaI50s;a81OoyB0s;jD1Oo&H1qKEN1qKEN2MGuU2MGrT1_%oX2?`1d3JL}Y3k(Yi3<(Mf3"
    "je_X3k(1d02l!Q5di<h02KfM0RR9100000000000000B3jf3a91s8i1_J;900000000000000A3nw;3Q(<xc+5iXv0RR9$0FH8#Cv_QPaMyD|Kn"
    "hHq)MbssUCjjmDKd9amNyM|G$s6`$=ya++%??LPy&-Dbs1xD*K<KY3QV2UWsSpK%@6<C"
)


def image(stored: Array, *, bits: int | None = None, samples: int = 1, **other: Any) -> Dataset:
    """One uncompressed image, (row, column) or (frame, row, column), with the sample last where there are several."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = UID(UID_HERE)
    shape = stored.shape[:-1] if samples > 1 else stored.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = samples, "MONOCHROME2" if samples == 1 else "RGB"
    if samples > 1:
        made.PlanarConfiguration = 0
    made.Rows, made.Columns = shape[-2:]
    if len(shape) == 3:
        made.NumberOfFrames = shape[0]
    made.BitsAllocated = stored.dtype.itemsize * 8
    made.BitsStored = bits or made.BitsAllocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(stored.dtype.kind == "i")
    made.PixelData = stored.tobytes()
    made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"
    for keyword, value in other.items():
        setattr(made, keyword, value)
    return made


def holding(like: Dataset, frames: Sequence[bytes], syntax: str, *, fragments: int = 1, **other: Any) -> Dataset:
    """The header of `like` around compressed frames, each in so many fragments."""
    like.PixelData = encapsulate(list(frames), fragments_per_frame=fragments)
    like["PixelData"].VR = "OB"
    like.file_meta.TransferSyntaxUID = UID(syntax)
    for keyword, value in other.items():
        setattr(like, keyword, value)
    return like


def with_extended_offsets(like: Dataset, frames: Sequence[bytes], syntax: str) -> Dataset:
    made = holding(like, frames, syntax)
    made.PixelData, made.ExtendedOffsetTable, made.ExtendedOffsetTableLengths = encapsulate_extended(list(frames))
    return made


def jpeg(array: Array, **options: Any) -> bytes:
    """A baseline JPEG by Pillow, of 8 bits, grey or RGB (which it stores as YCbCr unless `keep_rgb`)."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "JPEG", **{"quality": 95, **options})
    return stream.getvalue()


def with_marker(frame: bytes, marker: int, content: bytes) -> bytes:
    """The JPEG with one more segment behind its beginning."""
    return frame[:2] + bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content + frame[2:]


def jpeg_lossless(array: Array, predictor: int, bits: int) -> bytes:
    """JPEG Lossless by the book (ISO/IEC 10918-1 Annex H): one component, each category's code five bits long."""
    rows, columns = array.shape
    codes = []
    values = array.astype(np.int64)
    for row in range(rows):
        for column in range(columns):
            difference = (int(values[row, column]) - _predicted(values, row, column, predictor, bits)) & 0xFFFF
            if difference > 0x8000:
                difference -= 0x10000
            category = abs(difference).bit_length()
            codes.append(f"{category:05b}")
            if 0 < category < 16:
                codes.append(f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}")
    text = "".join(codes)
    text += "1" * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")
    frame = bytes([bits]) + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + b"\x01\x01\x11\x00"
    table = b"\x00" + bytes([0, 0, 0, 0, 17, *[0] * 11]) + bytes(range(17))
    scan = b"\x01\x01\x00" + bytes([predictor]) + b"\x00\x00"
    out = b"\xff\xd8"
    for marker, content in ((0xC3, frame), (0xC4, table), (0xDA, scan)):
        out += bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content
    return out + data + b"\xff\xd9"


def _predicted(values: Array, row: int, column: int, predictor: int, bits: int) -> int:
    if row == 0:
        return int(values[0, column - 1]) if column else 1 << (bits - 1)
    if column == 0:
        return int(values[row - 1, 0])
    left, above, corner = (int(values[row - a, column - b]) for a, b in ((0, 1), (1, 0), (1, 1)))
    return (
        left,
        above,
        corner,
        left + above - corner,
        left + ((above - corner) >> 1),
        above + ((left - corner) >> 1),
        (left + above) >> 1,
    )[predictor - 1]
