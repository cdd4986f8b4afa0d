"""File bytes → stored values, against pydicom and against what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from dicom_files import as_file
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from orthanc_research.errors import PixelError
from orthanc_research.pixels import _codecs, _decode, decode, read_dataset
from orthanc_research.samples import pydicom_files

UID_HERE = "1.2.826.0.1.7"


def image(
    stored: npt.NDArray[Any],
    *,
    bits: int = 12,
    high: int | None = None,
    syntax: str = ExplicitVRLittleEndian,
    **other: Any,
) -> Dataset:
    """One monochrome image whose words are `stored` as they are."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(syntax)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = UID(UID_HERE)
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        made.NumberOfFrames = len(stored)
    made.BitsAllocated, made.BitsStored = stored.dtype.itemsize * 8, bits
    made.HighBit = bits - 1 if high is None else high
    made.PixelRepresentation = int(stored.dtype.kind == "i")
    made.PixelData = stored.tobytes()
    made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"
    for keyword, value in other.items():
        setattr(made, keyword, value)
    return made


RAMP = np.arange(12 * 10, dtype=np.uint16).reshape(12, 10)


@pytest.mark.parametrize(
    ("dtype", "bits"), [("u1", 8), ("i1", 8), ("u2", 12), ("u2", 16), ("i2", 12), ("i2", 16), ("u4", 32), ("i4", 20)]
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_the_dtype_is_the_sources_and_the_values_are_what_was_written(dtype: str, bits: int, syntax: str) -> None:
    kind = np.dtype(dtype)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind.kind == "i" else (0, 2**bits - 1)
    values = np.linspace(low, high, 120).astype(kind).reshape(12, 10)
    words = values & np.array(2**bits - 1, dtype=np.uint64).astype(kind) if bits < 8 * kind.itemsize else values
    array = decode(as_file(image(words, bits=bits, syntax=syntax)))
    assert array.dtype == kind
    assert array.shape == (1, 12, 10)
    assert array.flags.c_contiguous
    assert array.flags.writeable
    np.testing.assert_array_equal(array[0], values)


def test_bits_above_bits_stored_are_masked_and_the_sign_is_extended() -> None:
    garbage = RAMP | 0xA000
    np.testing.assert_array_equal(decode(image(garbage))[0], RAMP)
    negative = np.full((4, 4), 0x0FFF, dtype=np.int16)  # -1 in 12 bits, without its sign
    np.testing.assert_array_equal(decode(image(negative))[0], -1)
    overlaid = np.full((4, 4), 0x77FF, dtype=np.int16)
    np.testing.assert_array_equal(decode(image(overlaid))[0], 2047)


def test_values_that_sit_high_in_the_word_are_moved_down() -> None:
    np.testing.assert_array_equal(decode(image((RAMP << 4) | 0xF, high=15))[0], RAMP)
    values = RAMP + 3900  # up to the highest of the 12 bits
    high = (values << 4) | 0xF
    np.testing.assert_array_equal(decode(image(high.astype(">u2"), high=15, syntax=ExplicitVRBigEndian))[0], values)
    packed = image(high, bits=16)
    packed.compress(RLELossless)
    packed.BitsStored, packed.HighBit = 12, 15
    np.testing.assert_array_equal(decode(packed)[0], values)


def test_frames_come_first() -> None:
    frames = np.arange(3 * 12 * 10, dtype=np.uint16).reshape(3, 12, 10)
    np.testing.assert_array_equal(decode(as_file(image(frames))), frames)


def test_big_endian_gives_native_words() -> None:
    made = image(RAMP.astype(">u2"), syntax=ExplicitVRBigEndian)
    array = decode(made)
    assert array.dtype == np.uint16
    assert array.dtype.isnative
    np.testing.assert_array_equal(array[0], RAMP)


def test_big_endian_floats_give_native_words() -> None:
    values = np.linspace(-1, 1, 120, dtype=np.float32).reshape(12, 10)
    made = image(RAMP, syntax=ExplicitVRBigEndian, BitsAllocated=32, FloatPixelData=values.astype(">f4").tobytes())
    del made.PixelData
    array = decode(made)
    assert array.dtype.isnative
    np.testing.assert_array_equal(array[0], values)


NOT_BY_PYDICOM = {"JPEG-lossy.dcm", "JPGExtended.dcm"}  # 12 bits a sample: see test_codecs.py


def test_every_file_of_pydicom_decodes_as_pydicom_says_or_is_a_pixel_error() -> None:
    compared = 0
    for path in pydicom_files():
        array = tried(path.read_bytes())
        if isinstance(array, PixelError):
            assert str(array).endswith(".")
            continue
        if path.name in NOT_BY_PYDICOM:
            continue
        expected = pydicom.dcmread(path).pixel_array
        np.testing.assert_array_equal(array, expected.reshape(array.shape), err_msg=path.name)
        assert array.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        compared += 1
    assert compared > 70


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE", "MR_small_bigendian", "MR_small_expb", "MR_small_implicit", "MR_small_jp2klossless",
     "MR_small_jpeg_ls_lossless", "MR_small_padded"],
)  # fmt: skip
def test_one_image_in_several_syntaxes_is_one_array(name: str) -> None:
    np.testing.assert_array_equal(decode(shipped(name)), decode(shipped("MR_small")))


def tried(data: bytes) -> npt.NDArray[Any] | PixelError:
    try:
        return decode(data, sop_uid="1.2.3")
    except PixelError as error:
        return error


def shipped(name: str) -> bytes:
    path = get_testdata_file(f"{name}.dcm", download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def test_colour_is_rgb_with_samples_last() -> None:
    assert decode(shipped("SC_rgb_rle")).shape == (1, 100, 100, 3)
    assert decode(shipped("examples_ybr_color")).shape == (30, 240, 320, 3)


@pytest.mark.parametrize("missing", [1, 2, 100])
def test_cut_pixel_data_are_refused(missing: int) -> None:
    made = image(RAMP)
    made.PixelData = made.PixelData[:-missing]
    with pytest.raises(PixelError, match=f"{UID_HERE}.*cut: {240 - missing} bytes of 240"):
        decode(made)
    with pytest.raises(PixelError, match=UID_HERE):
        decode(as_file(image(RAMP))[:-missing])


def test_a_cut_file_never_gives_pixels_whatever_its_syntax() -> None:
    for name in ("MR_small", "MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"):
        whole = shipped(name)
        expected = decode(whole)
        for part in (0, 3, 100, 140, 400, len(whole) // 2, len(whole) - 600):
            got = tried(whole[:part])
            if isinstance(got, PixelError):
                assert "SOP instance" in str(got)
            else:
                np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"PixelData": b""}, "no pixels"),
        ({"Rows": None}, "does not describe an image"),
        ({"Rows": 0}, "does not describe an image"),
        ({"NumberOfFrames": -1}, "does not describe an image"),
        ({"BitsAllocated": 0}, "does not describe an image"),
        ({"Rows": 65535, "Columns": 65535}, "cut"),
    ],
)
def test_a_header_that_describes_no_image_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(PixelError, match=said):
        decode(image(RAMP, **change))


def test_absurd_claims_are_refused_before_memory_is_taken() -> None:
    made = image(RAMP, syntax=JPEG2000Lossless, Rows=65535, Columns=65535)
    made.PixelData = encapsulate([b"\xff\x4f\xff\x51" + b"0" * 60])
    with pytest.raises(PixelError, match="cannot hold"):
        decode(made)


def test_a_deflated_file_that_is_cut_gives_no_pixels() -> None:
    whole = as_file(image(RAMP, syntax=DeflatedExplicitVRLittleEndian))
    for length in range(300, len(whole) - 8, 5):
        assert isinstance(tried(whole[:length]), PixelError), length


def test_damaged_compressed_data_name_instance_and_syntax() -> None:
    made = image(RAMP, syntax=RLELossless)
    made.PixelData = encapsulate([b"\x02" + b"\x00" * 63 + b"\xff" * 9])
    with pytest.raises(PixelError, match=f"{UID_HERE}.*RLE Lossless.*damaged"):
        decode(made)


def test_a_syntax_that_nothing_decodes_is_named() -> None:
    made = image(RAMP, syntax="1.2.840.10008.1.2.4.55")
    with pytest.raises(PixelError, match=r"nothing decodes .*Process 10"):
        decode(made)


def test_a_missing_decoder_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_decode, "available", lambda _: ())
    with pytest.raises(PixelError, match=r"JPEG 2000.*install pylibjpeg pylibjpeg-openjpeg"):
        decode(shipped("MR_small_jp2klossless"))


def test_a_decoder_that_panics_is_a_pixel_error_and_an_interrupt_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        """As a Rust extension raises it."""

    for raised, expected in ((Panic, PixelError), (MemoryError, PixelError), (KeyboardInterrupt, KeyboardInterrupt)):

        def fail(*_: object, raised: type[BaseException] = raised, **__: object) -> None:
            raise raised

        monkeypatch.setattr(_codecs, "_with_library", fail)
        with pytest.raises(expected):
            decode(shipped("MR_small_RLE"))


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x00" * 400, b"<html>" * 50])
def test_what_is_not_dicom_is_said_so(data: bytes) -> None:
    with pytest.raises(PixelError, match="not a DICOM file"):
        read_dataset(data)
    with pytest.raises(PixelError, match=r"1\.2\.3.*not a DICOM file"):
        decode(data, sop_uid="1.2.3")


def test_a_file_without_preamble_is_read() -> None:
    whole = as_file(image(RAMP))
    meta = int.from_bytes(whole[140:144], "little")  # FileMetaInformationGroupLength
    bare = whole[144 + meta :]
    assert read_dataset(bare).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    np.testing.assert_array_equal(decode(bare)[0], RAMP)


def test_a_dataset_is_not_changed_by_decoding() -> None:
    made = image(RAMP | 0xA000)
    before = made.PixelData
    decode(made)[:] = 0
    assert made.PixelData == before
