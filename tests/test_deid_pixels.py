"""Pixel data lose what is no pixel, and decode to what they did."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from codec_files import BASELINE, J2K, LS, RLE
from deid_files import NATIVE, done, item, made, result
from dicom_files import as_file
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames, get_frame
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

from orthanc_research.deid._icc import without_texts
from orthanc_research.deid._streams import StreamError, without_comments
from orthanc_research.deid.check._codestreams import stripped
from orthanc_research.deid.check._pixeldata import judge_pixels
from orthanc_research.deid.check._reading import read
from orthanc_research.errors import DeidError

NAME = b"Li^Wu 4711"
GREY = np.arange(256 * 3, dtype=np.uint8).reshape(24, 32) % 251


def image(syntax: str, stored: np.ndarray, bits: int, *, signed: bool = False, frames: int = 1) -> Dataset:
    dataset = made(syntax, Rows=stored.shape[-2], Columns=stored.shape[-1], SamplesPerPixel=1)
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", int(signed)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = stored.dtype.itemsize * 8, bits, bits - 1
    dataset.NumberOfFrames = frames
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("big" if order == ">" else "little")).tobytes()
    dataset["PixelData"].VR = "OW" if stored.dtype.itemsize > 1 else "OB"
    return dataset


def compressed(syntax: str, frames: list[bytes], *, table: bool = True, fragments: int = 1) -> Dataset:
    dataset = image(ExplicitVRLittleEndian, np.stack([GREY] * len(frames)), 8, frames=len(frames))
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=table)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return dataset


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    options: dict[str, Any] = {"no_jp2": True} if kind == "JPEG2000" else {"quality": 95}
    Image.fromarray(GREY).save(stream, kind, **options)
    return stream.getvalue()


def jpeg_with(*segments: bytes) -> bytes:
    frame = encoded("JPEG")
    return frame[:2] + b"".join(segments) + frame[2:]


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


# -- native -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("signed", [False, True])
def test_spare_bits_are_cleared_and_values_stay(syntax: str, signed: bool) -> None:
    values = np.array([[0, 1, 2047, 2048, 4095, 77]], np.uint16)
    dirty = values | np.array([[0xA000, 0x5000, 0xF000, 0, 0x1000, 0x8000]], np.uint16)
    dataset = image(syntax, dirty, 12, signed=signed)
    found = done(dataset)
    np.testing.assert_array_equal(found.pixel_array, dcmread(io.BytesIO(as_file(dataset))).pixel_array)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    plain = np.frombuffer(found.PixelData, order + ("i2" if signed else "u2"))
    expected = np.where(values > 2047, values.astype(int) - 4096, values) if signed else values
    np.testing.assert_array_equal(plain, expected[0])
    assert "Bits of PixelData outside BitsStored were cleared." in result(dataset).notes


def test_clean_pixels_are_the_same_bytes() -> None:
    dataset = image(ExplicitVRLittleEndian, np.array([[-5, 5, 100]], np.int16), 12, signed=True)
    assert done(dataset).PixelData == dataset.PixelData
    assert not result(dataset).notes


def test_a_high_bit_elsewhere_leaves_what_any_reader_may_read_and_hides_nothing_below() -> None:
    dataset = image(ExplicitVRLittleEndian, np.array([[0xFFF0, 0xFFFC]], np.uint16), 12)
    dataset.HighBit = 13
    assert np.frombuffer(done(dataset).PixelData, "<u2").tolist() == [0x3FF0, 0x3FFC]
    dataset.PixelData = np.array([0xFFF0, 0xFFFD], np.uint16).tobytes()
    with pytest.raises(DeidError, match="HighBit"):
        result(dataset)


def test_what_stands_behind_the_last_frame_is_cut() -> None:
    dataset = image(ExplicitVRLittleEndian, GREY, 8)
    dataset.PixelData += NAME
    outcome = result(dataset)
    assert NAME not in outcome.content
    np.testing.assert_array_equal(done(dataset).pixel_array, GREY)
    assert any("cut" in note for note in outcome.notes)


@pytest.mark.parametrize("number", ["+2", " 2", "02"])
def test_all_frames_stay_however_their_number_is_written(number: str) -> None:
    dataset = image(ExplicitVRLittleEndian, np.stack([GREY, GREY[::-1]]), 8, frames=2)
    content = as_file(dataset).replace(b"IS\2\0002 ", b"IS\2\0" + number.encode())
    assert done(content).PixelData == dataset.PixelData


@pytest.mark.parametrize("number", ["2.", "2\\2", "2-"])
def test_frames_of_no_known_number_are_refused(number: str) -> None:
    dataset = image(ExplicitVRLittleEndian, np.stack([GREY, GREY]), 8, frames=2)
    value = number.encode().ljust(len(number) + len(number) % 2)
    content = as_file(dataset).replace(b"IS\2\0002 ", b"IS" + struct.pack("<H", len(value)) + value)
    with pytest.raises(DeidError, match="NumberOfFrames"):
        result(content)


@pytest.mark.parametrize("samples", [2, 3])
def test_samples_that_are_stored_stay_whatever_they_are_called(samples: int) -> None:
    """Writers that have put all samples of YBR_FULL_422 side by side often leave its name there."""
    dataset = image(ExplicitVRLittleEndian, GREY, 8)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "YBR_FULL_422", 0
    stored = np.stack([GREY] * samples, -1).tobytes()
    dataset.PixelData = stored + NAME
    assert done(dataset).PixelData == stored


@pytest.mark.parametrize(("keyword", "bits"), [("FloatPixelData", 32), ("DoubleFloatPixelData", 64)])
def test_what_stands_behind_real_numbers_is_refused(keyword: str, bits: int) -> None:
    dataset = made(Rows=2, Columns=3, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", BitsAllocated=bits)
    stored = np.arange(6, dtype=f"f{bits // 8}").tobytes()
    setattr(dataset, keyword, stored)
    assert getattr(done(dataset), keyword) == stored
    found = read(as_file(dataset)).elements
    assert all(passed for _, passed, _ in judge_pixels(found, found, ExplicitVRLittleEndian))
    setattr(dataset, keyword, stored + NAME.ljust(16))
    with pytest.raises(DeidError, match="float pixels"):
        result(dataset)
    found = read(as_file(dataset)).elements
    assert not all(passed for _, passed, _ in judge_pixels(found, found, ExplicitVRLittleEndian))


def test_overlays_curves_thumbnails_and_padding_go() -> None:
    dataset = image(ExplicitVRLittleEndian, GREY, 8)
    dataset.add_new(0x60000010, "US", 24)
    dataset.add_new(0x60003000, "OW", NAME)
    dataset.add_new(0x60024000, "LT", NAME.decode())
    dataset.add_new(0x50003000, "OW", NAME)
    dataset.add_new(0xFFFCFFFC, "OB", NAME)
    dataset.IconImageSequence = [item(PixelData=NAME)]
    dataset.ReferencedSeriesSequence = [item(PixelData=NAME, Rows=1)]
    for inner in (dataset.IconImageSequence[0], dataset.ReferencedSeriesSequence[0]):
        inner["PixelData"].VR = "OB"
    content = NAME + b"\0" * 118 + as_file(dataset)[128:] + b"\0" * 6
    outcome = result(content)
    assert NAME not in outcome.content
    found = done(content)
    assert {element.tag.group for element in found} <= {0x8, 0x10, 0x12, 0x20, 0x28, 0x7FE0}
    np.testing.assert_array_equal(found.pixel_array, GREY)


# -- compressed -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "fragments"), [(True, 1), (True, 3), (False, 1), (False, 3)])
def test_jpeg_comments_go_from_every_frame_and_the_offset_table_fits(table: bool, fragments: int) -> None:
    frames = [
        jpeg_with(segment(0xFE, NAME), segment(0xE1, b"Exif\0\0" + NAME)) + NAME,
        jpeg_with(),
        jpeg_with(segment(0xED, NAME * 3)),
    ]
    dataset = compressed(BASELINE, frames, table=table, fragments=fragments)
    outcome, found = result(dataset), done(dataset)
    assert NAME not in outcome.content
    expected = dataset_decoded(compressed(BASELINE, [jpeg_with()] * 3))
    np.testing.assert_array_equal(found.pixel_array, expected)
    for number in range(3):  # by the offset table where there is one
        assert get_frame(found.PixelData, number, number_of_frames=3).startswith(b"\xff\xd8")
    assert outcome.changes["PixelData", "comments dropped"] == 1


def dataset_decoded(dataset: Dataset) -> np.ndarray:
    return np.asarray(dcmread(io.BytesIO(as_file(dataset))).pixel_array)


def test_extended_offsets_are_corrected() -> None:
    frames = [jpeg_with(segment(0xFE, NAME)), jpeg_with()]
    dataset = compressed(BASELINE, frames)
    dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(
        [frame + b"\0" * (len(frame) % 2) for frame in frames]
    )
    dataset["PixelData"].is_undefined_length = True
    found = done(dataset)
    offsets = struct.unpack("<2Q", found.ExtendedOffsetTable)
    second = next(frame for number, frame in enumerate(generate_frames(found.PixelData, number_of_frames=2)) if number)
    assert found.PixelData[8 + offsets[1] + 8 :].startswith(second[:40])
    assert NAME not in result(dataset).content


@pytest.mark.parametrize("where", ["main", "tile"])
def test_jpeg_2000_comments_go_from_both_headers(where: str) -> None:
    frame = encoded("JPEG2000")
    comment = segment(0x64, b"\0\1" + NAME)
    sot = frame.index(b"\xff\x90")
    length = int.from_bytes(frame[sot + 6 : sot + 10], "big")
    if where == "main":
        dirty = frame[:sot] + comment + frame[sot:]
    else:
        longer = (length + len(comment)).to_bytes(4, "big")
        dirty = frame[: sot + 6] + longer + frame[sot + 10 : sot + 12] + comment + frame[sot + 12 :]
    dataset = compressed(J2K, [dirty + NAME])
    assert NAME not in result(dataset).content
    np.testing.assert_array_equal(done(dataset).pixel_array, dataset_decoded(compressed(J2K, [frame])))


def test_what_stands_behind_a_tile_of_unknown_length_goes() -> None:
    frame = encoded("JPEG2000")
    tile = frame.index(b"\xff\x90") + 6
    frame = frame[:tile] + bytes(4) + frame[tile + 4 :]
    whole = without_comments(frame)
    assert without_comments(frame + NAME + b"\xff\xd9") == whole
    assert stripped(frame + NAME + b"\xff\xd9").beside.endswith(NAME + b"\xff\xd9")
    assert stripped(frame).image == stripped(whole).image


def test_adobes_colour_transform_and_jfif_stay_without_their_thumbnail() -> None:
    stream = io.BytesIO()
    Image.fromarray(np.stack([GREY] * 3, -1)).save(stream, "JPEG", quality=95)
    frame = stream.getvalue()
    jfif = segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\1\1" + NAME)
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\0" + NAME)
    cleaned = without_comments(frame[:2] + jfif + adobe + frame[20:])
    assert NAME not in cleaned
    assert segment(0xEE, b"Adobe\0\x64\0\0\0\0\0") in cleaned
    assert without_comments(cleaned) == cleaned


def test_frames_that_cannot_be_followed_are_refused() -> None:
    with pytest.raises(StreamError):
        without_comments(encoded("JPEG")[:-200])
    with pytest.raises(DeidError, match="damaged"):
        result(compressed(BASELINE, [encoded("JPEG")[:-200]]))


@pytest.mark.parametrize("syntax", [BASELINE, J2K, LS, RLE, "1.2.840.10008.1.2.4.102"])
@pytest.mark.parametrize("before", [b"\0", NAME, b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x18ftypmp42"])
def test_a_frame_that_begins_with_something_else_is_refused(syntax: str, before: bytes) -> None:
    with pytest.raises(DeidError, match="kind that is not followed"):
        result(compressed(syntax, [before + jpeg_with(segment(0xFE, NAME))]))


def test_what_stands_beside_the_segments_of_rle_goes_and_the_pixels_stay() -> None:
    dataset = image(ExplicitVRLittleEndian, np.arange(768, dtype=np.uint16).reshape(24, 32) * 7, 16)
    dataset.compress(RLE, generate_instance_uid=False)
    expected, frame = dataset.pixel_array, get_frame(dataset.PixelData, 0)
    assert get_frame(done(dataset).PixelData, 0) == frame
    one, two = struct.unpack_from("<2I", frame, 4)
    shift = 2 * len(NAME)
    head = struct.pack("<3I", 2, one + len(NAME), two + shift) + NAME.ljust(52, b"\0")
    dataset.PixelData = encapsulate([head + NAME + frame[one:two] + NAME + frame[two:] + NAME])
    found = done(dataset)
    assert NAME not in result(dataset).content
    np.testing.assert_array_equal(found.pixel_array, expected)
    dataset.Rows = 1  # so that the name is in a run which makes more than the plane
    dataset.PixelData = encapsulate([frame[:two] + b"\x7f" + NAME * 13])
    with pytest.raises(DeidError, match="damaged"):
        result(dataset)


def test_a_compressed_stream_that_is_not_in_a_frame_is_refused() -> None:
    frame = jpeg_with(segment(0xFE, NAME))
    content = as_file(compressed(BASELINE, [frame], table=False))
    at = content.index(b"\xe0\x7f\x10\0OB")
    pixels = b"\xe0\x7f\x10\0OB\0\0" + struct.pack("<I", len(frame) + len(frame) % 2) + frame + bytes(len(frame) % 2)
    with pytest.raises(DeidError, match="not in frames"):
        result(content[:at] + pixels)


def test_an_overlay_in_spare_bits_of_compressed_pixels_is_refused() -> None:
    dataset = compressed(BASELINE, [encoded("JPEG")])
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 12)
    with pytest.raises(DeidError, match="overlay"):
        result(dataset)


def test_real_compressed_files_decode_to_the_same(realdata: Path) -> None:
    seen = set()
    for folder in ("compressed-nema-wg04", "codec-oddities"):
        for path in sorted((realdata / folder).rglob("*.dcm"))[::3]:
            before, after = dcmread(path), dcmread(io.BytesIO(result(path.read_bytes()).content))
            assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
            try:
                expected = before.pixel_array
            except (RuntimeError, ValueError):
                continue
            np.testing.assert_array_equal(after.pixel_array, expected)
            seen.add(str(before.file_meta.TransferSyntaxUID))
    assert {J2K, RLE, LS} & seen


# -- colour profiles --------------------------------------------------------------------------------------------------


def test_a_colour_profile_keeps_its_colours_and_loses_its_texts() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    cleaned = without_texts(profile)
    assert cleaned is not None
    assert len(cleaned) == len(profile)
    for name in ("built-in".encode("utf-16-be"), b"built-in"):
        assert name not in cleaned
    colours = [ImageCms.ImageCmsProfile(io.BytesIO(content)).profile.red_primary for content in (profile, cleaned)]
    assert colours[0] == colours[1]
    assert without_texts(NAME * 20) is None
