"""Compressed syntaxes: the right values, or a `PixelError` that says which contradiction or damage there is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import codec_files as made
import numpy as np
import pytest
from codec_files import BASELINE, EXTENDED, HTJ2K, J2K, LOSSLESS, LOSSLESS_SV1, LS, RLE, UID_HERE, Array, holding, image
from dicom_files import as_file
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames

from orthanc_research.errors import PixelError
from orthanc_research.pixels import decode

NOISE = np.random.default_rng(7).integers(0, 4096, (48, 40)).astype(np.uint16)
SMOOTH = (np.add.outer(np.arange(48) * 5, np.arange(40) * 3) % 256).astype(np.uint8)
COLOUR = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH // 2], axis=-1)


def stream(syntax: str, array: Array = NOISE, bits: int = 12, **options: Any) -> bytes:
    """One frame, compressed."""
    if syntax in (LOSSLESS, LOSSLESS_SV1):
        return made.jpeg_lossless(array, 1, bits)
    if syntax == BASELINE:
        return made.jpeg(SMOOTH)
    coded = image(array, bits=bits, **options)
    coded.compress(syntax)
    return next(generate_frames(coded.PixelData, number_of_frames=1)).rstrip(b"\0") if syntax != RLE else _rle(coded)


def _rle(coded: Dataset) -> bytes:
    return next(generate_frames(coded.PixelData, number_of_frames=1))


def header(syntax: str) -> Dataset:
    return image(SMOOTH) if syntax == BASELINE else image(NOISE, bits=12)


def refused(dataset: Dataset, said: str) -> None:
    with pytest.raises(PixelError, match=f"{UID_HERE}.*{said}"):
        decode(dataset)


LOSSLESS_SYNTAXES = [LOSSLESS, LOSSLESS_SV1, LS, J2K, RLE]
SYNTAXES = [BASELINE, *LOSSLESS_SYNTAXES]


# -- right values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 8), ("u2", 12), ("u2", 16), ("i2", 16)])
def test_jpeg_lossless_is_exact_with_every_predictor(predictor: int, dtype: str, bits: int) -> None:
    words = (NOISE.astype(np.int64) * 9973 % (1 << bits)).astype(f"u{np.dtype(dtype).itemsize}")
    array = words.view(dtype)
    coded = holding(image(array, bits=bits), [made.jpeg_lossless(words, predictor, bits)], LOSSLESS)
    np.testing.assert_array_equal(decode(coded)[0], array)


@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES)
@pytest.mark.parametrize("dtype", ["u2", "i2"])
def test_lossless_syntaxes_are_exact(syntax: str, dtype: str) -> None:
    array = NOISE.astype(dtype) if dtype == "u2" else (NOISE.astype(np.int32) - 2048).astype("i2")
    if syntax in (LOSSLESS, LOSSLESS_SV1):
        coded = holding(image(array, bits=12), [made.jpeg_lossless(array.view("u2") & 0xFFF, 1, 12)], syntax)
    else:
        coded = image(array, bits=12)
        coded.compress(syntax)
    got = decode(as_file(coded))
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got[0], array)


@pytest.mark.parametrize("syntax", HTJ2K)
def test_htj2k_of_another_encoder_is_exact(syntax: str) -> None:
    coded = holding(image(made.OPENJPH_IMAGE), [made.OPENJPH], syntax)
    np.testing.assert_array_equal(decode(coded)[0], made.OPENJPH_IMAGE)


def test_jpeg_of_twelve_bits_is_what_libjpeg_turbo_says() -> None:
    coded = holding(image(made.TURBO_IMAGE, bits=12), [made.TURBO], EXTENDED)
    np.testing.assert_array_equal(decode(coded)[0], made.TURBO_IMAGE)


# SHA-256 of what libjpeg-turbo 3.1.3 decodes: uint16, little endian.
TURBO_SHA256 = {
    "compressed-nema-wg04/NM1_JPLY.dcm": ["d30242775a414c01d616447854ebe3f2b20259822894bcd6891f879bcdcbf313"],
    "compressed-cornerstone-ct/CTImage.dcm_JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm": [
        "85e3b617e00dc755e55971bfe8770210f17d4909b17db5d71d2617e22254b3b9"
    ],
    "compressed-cornerstone-ct/CT0012.fragmented_no_bot_jpeg_baseline.51.dcm": [
        "ca02438fa06a99507080f811fd05f0792fa474f352a1146d3793aa2040848bce",
        "d6787e030156ea4bdfa64a1f28faedcffdd2027aa2e9e9116398ac311189b973",
    ],
}


@pytest.mark.parametrize("name", TURBO_SHA256)
def test_real_files_of_twelve_bits_are_what_libjpeg_turbo_says(realdata: Path, name: str) -> None:
    frames = decode((realdata / name).read_bytes())
    assert [hashlib.sha256(frame.astype("<u2").tobytes()).hexdigest() for frame in frames] == TURBO_SHA256[name]


@pytest.mark.parametrize(
    ("codec", "largest", "mean"),
    [
        ("J2KR", 0, 0),
        ("JLSL", 0, 0),
        ("JPLL", 0, 0),
        ("RLE", 0, 0),
        ("JLSN", 10, 5),
        ("J2KI", 400, 30),
        ("JPLY", 40, 4),
    ],
)
def test_the_images_of_nema_are_their_uncompressed_selves(
    realdata: Path, codec: str, largest: int, mean: float
) -> None:
    folder = realdata / "compressed-nema-wg04"
    found = [path for path in folder.glob(f"*_{codec}.dcm") if not path.name.startswith("RG3")]
    assert found
    for path in found:
        reference = dcmread(path.with_name(path.name.replace(codec, "UNC"))).pixel_array
        error = np.abs(decode(path.read_bytes())[0].astype(int) - reference)
        assert error.max() <= largest, path.name
        assert error.mean() <= mean, path.name


def test_the_radiograph_of_nema_is_one_image_in_three_codecs(realdata: Path) -> None:
    arrays = [decode(path.read_bytes()) for path in sorted((realdata / "compressed-nema-wg04").glob("RG3_*"))]
    assert len(arrays) == 3
    for array in arrays:
        np.testing.assert_array_equal(array, arrays[0])


@pytest.mark.parametrize(
    ("options", "photometric"),
    [({}, "YBR_FULL_422"), ({"subsampling": 0}, "YBR_FULL"), ({"keep_rgb": True}, "RGB")],
)
def test_colour_jpeg_is_rgb_whatever_it_is_stored_as(options: dict[str, Any], photometric: str) -> None:
    smooth = np.stack([np.add.outer(np.arange(32) * 4, np.arange(24) * k).astype(np.uint8) for k in (1, 3, 5)], -1)
    coded = holding(
        image(smooth, samples=3, PhotometricInterpretation=photometric), [made.jpeg(smooth, **options)], BASELINE
    )
    assert np.abs(decode(coded)[0].astype(int) - smooth).mean() < 4


@pytest.mark.parametrize("syntax", [RLE, J2K, LS])
def test_colour_in_lossless_syntaxes_is_exact(syntax: str) -> None:
    coded = image(COLOUR, samples=3)
    coded.compress(syntax)
    np.testing.assert_array_equal(decode(coded)[0], COLOUR)


def test_rle_words_whose_bits_lie_high_are_moved_down() -> None:
    coded = image(NOISE << 4, bits=12, HighBit=15)
    coded.compress(RLE)
    np.testing.assert_array_equal(decode(coded)[0], NOISE)


# -- frames and fragments ---------------------------------------------------------------------------------------------

FRAMES = np.stack([NOISE, NOISE[::-1], NOISE // 2])


def frames_of(syntax: str) -> list[bytes]:
    return [stream(syntax, np.ascontiguousarray(frame)) for frame in FRAMES]


@pytest.mark.parametrize("syntax", [LOSSLESS_SV1, LS, J2K])
@pytest.mark.parametrize("fragments", [1, 3])
def test_frames_in_fragments_are_found_without_and_against_tables(syntax: str, fragments: int) -> None:
    coded = holding(image(FRAMES, bits=12), frames_of(syntax), syntax, fragments=fragments)
    np.testing.assert_array_equal(decode(coded), FRAMES)
    table = bytearray(coded.PixelData)
    assert table[4:8] == b"\x0c\0\0\0"
    table[12:16], table[16:20] = table[16:20], table[12:16]  # the second frame where the third is
    coded.PixelData = bytes(table)
    np.testing.assert_array_equal(decode(coded), FRAMES)
    coded.PixelData = encapsulate(frames_of(syntax), fragments_per_frame=fragments, has_bot=False)
    np.testing.assert_array_equal(decode(coded), FRAMES)


def test_frames_with_an_extended_table_are_found() -> None:
    coded = made.with_extended_offsets(image(FRAMES, bits=12), frames_of(J2K), J2K)
    np.testing.assert_array_equal(decode(as_file(coded)), FRAMES)


@pytest.mark.parametrize("syntax", [LOSSLESS_SV1, LS, J2K, RLE])
@pytest.mark.parametrize("declared", [1, 2, 4, None])
def test_more_or_fewer_frames_than_declared_are_refused(syntax: str, declared: int | None) -> None:
    coded = holding(image(FRAMES, bits=12), frames_of(syntax), syntax, NumberOfFrames=declared)
    refused(coded, f"hold 3 frames, and the header declares {declared or 1}")


def test_two_frames_in_one_fragment_are_refused() -> None:
    coded = holding(image(FRAMES[:1], bits=12), [b"".join(frames_of(LOSSLESS_SV1)[:2])], LOSSLESS_SV1)
    refused(coded, "second picture behind the first")


@pytest.mark.parametrize("syntax", [LOSSLESS_SV1, LS, J2K, RLE])
def test_one_broken_frame_refuses_the_file_and_is_named(syntax: str) -> None:
    frames = frames_of(syntax)
    frames[1] = frames[1][: len(frames[1]) // 2]
    refused(holding(image(FRAMES, bits=12), frames, syntax), "frame 2 of 3")


# -- contradictions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [BASELINE, LOSSLESS_SV1, LS, J2K])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Rows": 40, "Columns": 48}, "is 48 x 40 in itself, and the header declares 40 x 48"),
        ({"Rows": 49}, "48 x 40 in itself"),
        ({"Columns": 20, "Rows": 96}, "48 x 40 in itself"),
        ({"SamplesPerPixel": 3, "PlanarConfiguration": 0}, "1 samples a pixel"),
    ],
)
def test_another_size_than_the_headers_is_refused(syntax: str, change: dict[str, Any], said: str) -> None:
    refused(holding(header(syntax), [stream(syntax)], syntax, **change), said)


@pytest.mark.parametrize("syntax", [LOSSLESS_SV1, LS, J2K])
def test_bits_that_the_header_has_no_room_for_are_refused(syntax: str) -> None:
    small = image(SMOOTH)
    refused(holding(small, [stream(syntax)], syntax), "12 bits a sample, and the header allocates 8")
    wide = stream(syntax, NOISE * 16, bits=16)
    refused(holding(image(NOISE, bits=12), [wide], syntax), "do not fit into the 12 bits")
    fitting = stream(syntax, NOISE, bits=16)
    np.testing.assert_array_equal(decode(holding(image(NOISE, bits=12), [fitting], syntax))[0], NOISE)


def test_a_lossy_jpeg_of_eight_bits_is_no_image_of_twelve() -> None:
    twelve = image(SMOOTH.astype(np.uint16), bits=12)
    refused(holding(twelve, [made.jpeg(SMOOTH)], EXTENDED), "8 bits a sample, and the header declares 12")


def test_an_rle_table_that_is_not_the_headers_is_refused() -> None:
    refused(holding(image(NOISE.astype(np.uint32), bits=12), [stream(RLE)], RLE), "has 2 segments")
    broken = bytearray(stream(RLE))
    broken[8:12] = (64).to_bytes(4, "little")
    refused(holding(image(NOISE, bits=12), [bytes(broken)], RLE), "damaged in its table of segments")


@pytest.mark.parametrize(("inside", "outside"), [(BASELINE, LOSSLESS_SV1), (LOSSLESS_SV1, LS), (LS, J2K), (J2K, LS)])
def test_another_codec_than_the_syntax_names_is_refused(inside: str, outside: str) -> None:
    refused(holding(header(inside), [stream(inside)], outside), "another kind|does not begin as")


@pytest.mark.parametrize(("photometric", "options", "adobe"), [("RGB", {}, 1), ("YBR_FULL", {"keep_rgb": True}, None)])
def test_colours_that_codec_and_header_name_differently_are_refused(
    photometric: str, options: dict[str, Any], adobe: int | None
) -> None:
    frame = made.jpeg(COLOUR, **options)
    frame = frame if adobe is None else made.with_marker(frame, 0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([adobe]))
    refused(holding(image(COLOUR, samples=3, PhotometricInterpretation=photometric), [frame], BASELINE), "Adobe")


def test_the_colour_transform_of_jpeg_2000_must_be_the_headers() -> None:
    coded = image(COLOUR, samples=3)
    coded.compress(J2K)
    assert coded.PhotometricInterpretation == "RGB"  # without the transform
    coded.SOPInstanceUID = UID_HERE  # compressing gave it another
    frame = next(generate_frames(coded.PixelData, number_of_frames=1))
    refused(holding(coded, [frame], J2K, PhotometricInterpretation="YBR_RCT"), "not transformed by the codec")
    at = frame.index(b"\xff\x52") + 8
    assert frame[at] == 0
    transformed = frame[:at] + b"\x01" + frame[at + 1 :]
    refused(holding(coded, [transformed], J2K, PhotometricInterpretation="YBR_FULL"), "is transformed by the codec")


# -- damage -----------------------------------------------------------------------------------------------------------


def _lost(frame: bytes) -> bytes:
    return frame[: len(frame) // 2] + frame[len(frame) // 2 + 40 :]


def _doubled(frame: bytes) -> bytes:
    return frame[: len(frame) // 2] + frame[len(frame) // 2 - 40 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda frame: frame[: len(frame) // 2],
    "half, with an end": lambda frame: frame[: len(frame) // 2] + b"\xff\xd9",
    "no end": lambda frame: frame[:-2],
    "little is missing at its end": lambda frame: frame[:-40] + frame[-2:],
    "lost in the middle": _lost,
    "doubled in the middle": _doubled,
}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_cut_lost_or_doubled_is_never_a_picture(syntax: str, damage: str) -> None:
    frame = stream(syntax)
    assert decode(holding(header(syntax), [frame], syntax)).shape == (1, 48, 40)
    got = _tried(holding(header(syntax), [DAMAGE[damage](frame)], syntax))
    assert isinstance(got, PixelError)
    assert UID_HERE in str(got)


def _tried(dataset: Dataset) -> Array | PixelError:
    try:
        return decode(dataset)
    except PixelError as error:
        return error


@pytest.mark.parametrize("place", [b"\xff\xdb", b"\xff\xc4", b"\xff\xda"])
def test_bytes_between_markers_which_would_end_the_process_are_refused_before(place: bytes) -> None:
    frame = made.jpeg(SMOOTH)
    refused(holding(image(SMOOTH), [frame.replace(place, b"\0\0" + place, 1)], BASELINE), "between its markers")


def test_markers_which_would_end_the_process_are_refused_before() -> None:
    for marker, content in ((0xE0, b"JFIF\0\x03\0\0\0\x01\0\x01\0\0"), (0xEE, b"Adobe\0\x64\0\0\0\0\x07")):
        frame = made.with_marker(made.jpeg(COLOUR), marker, content)
        refused(holding(image(COLOUR, samples=3), [frame], BASELINE), "no JFIF and no Adobe")


def test_a_codestream_that_claims_what_no_memory_holds_is_refused() -> None:
    frame = bytearray(stream(J2K))
    frame[8:16] = b"\0\0\xff\xff\0\0\xff\xff"
    refused(holding(header(J2K), [bytes(frame)], J2K), "65535 x 65535|tiles")
    tiles = bytearray(stream(J2K))
    tiles[24:32] = b"\0\0\0\x01\0\0\0\x01"
    refused(holding(image(NOISE, bits=12), [bytes(tiles)], J2K), "1 of 1920 tiles")  # openjpeg would leave them black


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.53", "Process 6"),
        ("1.2.840.10008.1.2.4.55", "Process 10"),
        ("1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2"),
        ("1.2.840.10008.1.2.4.94", "JPIP"),
        ("1.2.840.10008.1.2.4.100", "MPEG2"),
        ("1.2.840.10008.1.2.4.102", "MPEG-4"),
        ("1.2.840.10008.1.2.4.107", "HEVC"),
        ("1.2.840.10008.1.2.4.110", "JPEG XL"),
        ("1.2.840.10008.1.2.8.1", "Deflated Image Frame"),
    ],
)
def test_syntaxes_that_nothing_decodes_are_named(syntax: str, name: str) -> None:
    refused(holding(image(NOISE, bits=12), [b"\0" * 64], syntax), f"nothing decodes its transfer syntax .*{name}")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_compressed_dataset_is_not_changed_by_decoding(syntax: str) -> None:
    coded = holding(image(NOISE, bits=12), [stream(syntax, bits=16)], syntax) if syntax != BASELINE else None
    coded = coded or holding(header(syntax), [stream(syntax)], syntax)
    before = coded.to_json()
    decode(coded)
    assert coded.to_json() == before
