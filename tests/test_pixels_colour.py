"""Palettes → colours, against pydicom where it is right, and against the standard read word by word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from dicom_files import as_file
from pixel_cases import make_slice
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from orthanc_research.errors import PixelError
from orthanc_research.pixels import apply_palette, decode, pixels_of, read_dataset

CHANNELS = ("Red", "Green", "Blue")
LITTLE, IMPLICIT, BIG = ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian


def palette_image(
    stored: npt.NDArray[Any],
    data: list[bytes],
    descriptor: tuple[int, int, int],
    *,
    syntax: str = LITTLE,
    segmented: bool = False,
) -> Dataset:
    """An image of indices as it is read back from its file; `data` as it lies in a little-endian one."""
    made = make_slice(0, stored, PhotometricInterpretation="PALETTE COLOR", Modality="US")
    made.file_meta.TransferSyntaxUID = UID(syntax)
    if syntax == BIG:
        made.PixelData = stored.astype(stored.dtype.newbyteorder(">")).tobytes()
        data = [swapped(each) for each in data]
    vr = "SS" if stored.dtype.kind == "i" else "US"
    for name, each in zip(CHANNELS, data, strict=True):
        made.add_new(f"{name}PaletteColorLookupTableDescriptor", vr, list(descriptor))
        made.add_new(f"{'Segmented' if segmented else ''}{name}PaletteColorLookupTableData", "OW", each)
    return read_dataset(as_file(made))


def swapped(data: bytes) -> bytes:
    return np.frombuffer(data, "<u2").astype(">u2").tobytes()


def words(entries: Any, bits: int = 16) -> bytes:
    data = np.asarray(entries, dtype="<u2" if bits == 16 else "u1").tobytes()
    return data + b"\0" * (len(data) % 2)


def expected(stored: npt.NDArray[Any], tables: list[npt.NDArray[Any]], first: int) -> npt.NDArray[Any]:
    """PS3.3 C.7.6.3.1.5, a pixel at a time."""
    flat = [
        [table[min(max(value - first, 0), len(table) - 1)] for table in tables] for value in stored.ravel().tolist()
    ]
    return np.asarray(flat).reshape(*stored.shape, 3)


@pytest.mark.parametrize("syntax", [LITTLE, IMPLICIT, BIG])
@pytest.mark.parametrize(
    ("dtype", "bits", "count", "first"),
    [("u1", 8, 256, 0), ("u1", 16, 256, 0), ("u1", 16, 100, 40), ("u1", 8, 5, 3), ("u1", 8, 1, 7), ("i1", 16, 64, -32),
     ("u2", 16, 1000, 60000), ("i2", 16, 1000, -500), ("u2", 16, 65536, 0), ("i2", 8, 65536, -32768)],
)  # fmt: skip
def test_indices_become_the_colours_of_their_entries(
    dtype: str, bits: int, count: int, first: int, syntax: str
) -> None:
    random = np.random.default_rng(1)
    kind = np.dtype(dtype)
    limits = np.iinfo(kind)
    stored = random.integers(limits.min, limits.max, (2, 9, 8), dtype=kind, endpoint=True)
    stored[0, 0, :4] = limits.min, limits.max, first, min(first + count - 1, limits.max)
    tables = [random.integers(0, 2**bits, count).astype(f"u{bits // 8}") for _ in CHANNELS]
    descriptor = (count & 0xFFFF, first, bits)
    image = palette_image(stored, [words(each, bits) for each in tables], descriptor, syntax=syntax)
    found = pixels_of(image, "rgb")
    assert found.dtype == f"u{bits // 8}"
    np.testing.assert_array_equal(found, expected(stored, tables, first))
    np.testing.assert_array_equal(pixels_of(image), stored)


def test_a_large_image_is_looked_up_as_a_small_one_is() -> None:
    stored = np.random.default_rng(2).integers(-(2**15), 2**15, (1, 300, 300)).astype("i2")
    tables = [np.arange(1000, dtype="u2") * k for k in (1, 2, 3)]
    image = palette_image(stored, [words(each) for each in tables], (1000, -500, 16))
    pieces = [apply_palette(row, image) for row in stored[0]]
    np.testing.assert_array_equal(apply_palette(stored, image)[0], np.stack(pieces))


def test_entries_of_8_bits_in_words_of_16_are_taken_as_they_are() -> None:
    stored = np.arange(12, dtype="u1").reshape(1, 3, 4)
    image = palette_image(stored, [words(np.arange(16) * k) for k in (1, 2, 3)], (16, 0, 8))
    found = pixels_of(image, "rgb")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0, 2, 3], [11, 22, 33])


def test_entries_may_be_numbers_instead_of_bytes() -> None:
    stored = np.arange(6, dtype="u1").reshape(1, 3, 2)
    image = palette_image(stored, [words([0])] * 3, (4, 1, 16))
    for name in CHANNELS:
        image.add_new(f"{name}PaletteColorLookupTableData", "US", [10, 20, 30, 65535])
    assert pixels_of(as_file(image), "rgb")[0, ..., 2].tolist() == [[10, 10], [20, 30], [65535, 65535]]


# -- segments, PS3.3 C.7.9.2 ------------------------------------------------------------------------------------------

DISCRETE = [0, 3, 10, 200, 30]
LINEAR = [1, 4, 50]  # from 30: 35, 40, 45, 50
TABLE = [10, 200, 30, 35, 40, 45, 50]


@pytest.mark.parametrize("syntax", [LITTLE, BIG])
@pytest.mark.parametrize("bits", [8, 16])
def test_discrete_and_linear_segments(bits: int, syntax: str) -> None:
    stored = np.arange(8, dtype="u1").reshape(1, 2, 4)
    data = [words([*DISCRETE, *LINEAR], bits)] * 3
    image = palette_image(stored, data, (7, 0, bits), syntax=syntax, segmented=True)
    np.testing.assert_array_equal(pixels_of(image, "rgb")[..., 1].ravel(), [*TABLE, 50])
    if syntax == LITTLE:
        np.testing.assert_array_equal(pixels_of(image, "rgb"), apply_color_lut(stored, image))


def test_a_linear_segment_is_what_pydicom_makes_of_it() -> None:
    stored = np.arange(256, dtype="u1").reshape(1, 16, 16)
    random = np.random.default_rng(3)
    data = []
    for _ in CHANNELS:
        ends = random.integers(0, 65536, 3).tolist()
        data.append(words([0, 1, 500, 1, 100, ends[0], 1, 100, ends[1], 1, 55, ends[2]]))
    image = palette_image(stored, data, (256, 0, 16), segmented=True)
    difference = pixels_of(image, "rgb").astype(int) - apply_color_lut(stored, image)
    assert np.count_nonzero(difference) < 8  # halves: the standard does not say which way
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(("bits", "offset"), [(8, [5, 0, 0, 0]), (16, [10, 0])])
@pytest.mark.parametrize("syntax", [LITTLE, BIG])
def test_an_indirect_segment_counts_bytes_from_the_start(bits: int, offset: list[int], syntax: str) -> None:
    # PS3.3 C.7.9.2.3: a byte offset. pydicom 3.0 takes it for one in entries, and differs for 16 bits.
    data = [*DISCRETE, *LINEAR, *DISCRETE, 2, 1, *offset]  # the linear segment once more, now after 30 again
    image = palette_image(np.arange(16, dtype="u1").reshape(1, 4, 4), [words(data, bits)] * 3, (14, 0, bits),
                          syntax=syntax, segmented=True)  # fmt: skip
    np.testing.assert_array_equal(pixels_of(image, "rgb")[..., 0].ravel(), [*TABLE, *TABLE, 50, 50])


@pytest.mark.parametrize(
    "data",
    [
        [1, 4, 50, 0, 3, 1, 2, 3],  # linear at first
        [0, 9, 1, 2, 3],  # longer than the data
        [0, 3, 1, 2, 3],  # fewer entries than declared
        [0, 8, 1, 2, 3, 4, 5, 6, 7, 8],  # more
        [3, 7, 1, 2, 3, 4, 5, 6, 7],  # no such segment
        [0, 2, 1, 2, 2, 65535, 8, 0],  # pointing at itself
        [0, 2, 1, 2, 2, 1, 65535, 65535],  # pointing out of the table
        [2, 1, 0, 0],
    ],
)
def test_damaged_segments_are_refused(data: list[int]) -> None:
    image = palette_image(np.zeros((1, 2, 2), "u1"), [words(data)] * 3, (7, 0, 16), segmented=True)
    with pytest.raises(PixelError, match=r"^SOP instance 1\.2.*palette.*\.$"):
        pixels_of(image, "rgb")


@pytest.mark.parametrize(
    "change",
    [{"RedPaletteColorLookupTableDescriptor": None}, {"GreenPaletteColorLookupTableData": None},
     {"BluePaletteColorLookupTableData": b"\1\2"}, {"RedPaletteColorLookupTableDescriptor": [4, 0, 12]},
     {"RedPaletteColorLookupTableData": bytes(4)}],
)  # fmt: skip
def test_a_damaged_palette_is_refused(change: dict[str, Any]) -> None:
    image = palette_image(np.zeros((1, 2, 2), "u1"), [words([1, 2, 3, 4])] * 3, (4, 0, 16))
    for keyword, value in change.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    for values in ("rgb", "display"):
        with pytest.raises(PixelError, match="palette"):
            pixels_of(image, values)
    assert pixels_of(image).tolist() == [[[0, 0], [0, 0]]]


# -- real ones --------------------------------------------------------------------------------------------------------


def same_as_pydicom(path: Path) -> npt.NDArray[Any]:
    dataset = pydicom.dcmread(path)
    found = pixels_of(path.read_bytes(), "rgb")
    indices = decode(path.read_bytes())
    np.testing.assert_array_equal(found, apply_color_lut(indices, dataset))
    shown = pixels_of(path.read_bytes(), "display")
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown, found >> 8 if found.dtype == np.uint16 else found)
    return found


def test_a_palette_that_pydicom_ships() -> None:
    found = same_as_pydicom(Path(str(get_testdata_file("examples_palette.dcm", download=False))))
    assert found.shape == (1, 350, 800, 3)
    assert found.dtype == np.uint16


@pytest.mark.parametrize(
    "name", ["us-xa-multiframe/US-PAL-8-10x-echo.dcm", "compressed-cornerstone-ct/no-pixel-spacing.dcm"]
)
def test_real_palettes(realdata: Path, name: str) -> None:
    found = same_as_pydicom(realdata / name)
    assert len(np.unique(found[..., 0])) > 50
    assert len(found) == (10 if "10x" in name else 1)


@pytest.mark.parametrize("name", ["examples_ybr_color.dcm", "SC_rgb_small_odd.dcm", "SC_ybr_full_422_uncompressed.dcm"])
def test_rgb_and_ybr_are_rgb_once(name: str) -> None:
    path = Path(str(get_testdata_file(name, download=False)))
    wanted = pydicom.dcmread(path).pixel_array
    for values in ("stored", "rgb", "display"):
        found = pixels_of(path.read_bytes(), values)
        np.testing.assert_array_equal(found, wanted.reshape(found.shape))
        assert found.shape[-1] == 3


def test_a_screenshot_in_a_ct_study_and_deep_colours(realdata: Path) -> None:
    page = (realdata / "ct-philips-rgb-dose-summary" / "I30").read_bytes()
    assert pixels_of(page, "display").shape[-1] == 3
    with pytest.raises(PixelError, match="colour image"):
        pixels_of(page, "rescaled")
    deep = (realdata / "pydicom-data-odds" / "SC_rgb_16bit_2frame.dcm").read_bytes()
    assert pixels_of(deep, "rgb").dtype == np.uint16
    np.testing.assert_array_equal(pixels_of(deep, "display"), pixels_of(deep, "rgb") >> 8)
