"""Overlays → masks, against pydicom where they are on the image's grid, and against what was written."""

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
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from orthanc_research.errors import PixelError
from orthanc_research.pixels import decode, overlays_of, read_dataset

LITTLE, BIG = ExplicitVRLittleEndian, ExplicitVRBigEndian
RANDOM = np.random.default_rng(4)


def plane(*shape: int) -> npt.NDArray[np.bool_]:
    return RANDOM.random(shape) < 0.4


def image(frames: int | None = None, syntax: str = LITTLE) -> Dataset:
    """16-bit words of 12 bits, 7 rows and 9 columns."""
    made = make_slice(0, RANDOM.integers(0, 4096, (*([frames] if frames else []), 7, 9)).astype("u2"))
    made.BitsStored, made.HighBit = 12, 11
    made.file_meta.TransferSyntaxUID = UID(syntax)
    if syntax == BIG:
        made.PixelData = swapped(made.PixelData)
    return made


def swapped(data: bytes) -> bytes:
    return np.frombuffer(data, "<u2").astype(">u2").tobytes()


def add(made: Dataset, mask: npt.NDArray[np.bool_], group: int = 0x6000, *, vr: str = "OW", **other: Any) -> None:
    """Write a mask as OverlayData; `other` holds frames, origin and frame_origin."""
    packed = np.packbits(mask.ravel(), bitorder="little").tobytes()
    packed += b"\0" * (len(packed) % 2)
    big = made.file_meta.TransferSyntaxUID == BIG and vr == "OW"
    elements: list[tuple[int, str, Any]] = [
        (0x10, "US", mask.shape[-2]), (0x11, "US", mask.shape[-1]), (0x40, "CS", other.get("kind", "G")),
        (0x50, "SS", other.get("origin", [1, 1])), (0x100, "US", 1), (0x102, "US", 0),
        (0x1500, "LO", "DOE^JANE"), (0x3000, vr, swapped(packed) if big else packed),
    ]  # fmt: skip
    if "frames" in other:
        elements.append((0x15, "IS", other["frames"]))
    if "frame_origin" in other:
        elements.append((0x51, "US", other["frame_origin"]))
    for element, kind, value in elements:
        made.add_new((group, element), kind, value)


def masks(made: Dataset) -> dict[int, npt.NDArray[np.bool_]]:
    return {group: overlay.mask for group, overlay in overlays_of(as_file(made)).items()}


@pytest.mark.parametrize(
    ("syntax", "vr"), [(LITTLE, "OW"), (LITTLE, "OB"), (ImplicitVRLittleEndian, "OW"), (BIG, "OW"), (BIG, "OB")]
)
def test_bits_are_pixels_from_the_lowest_up(syntax: str, vr: str) -> None:
    made, mask = image(syntax=syntax), plane(7, 9)
    add(made, mask, vr=vr)
    found = masks(made)[0x6000]
    assert found.dtype == bool
    assert found.shape == (1, 7, 9)
    np.testing.assert_array_equal(found[0], mask)
    if syntax != BIG:
        np.testing.assert_array_equal(found[0], read_dataset(as_file(made)).overlay_array(0x6000))


@pytest.mark.parametrize("origin", [[1, 1], [3, 2], [-1, 0], [-5, -20], [100, 1], [0, 8]])
def test_the_origin_places_it_and_the_edges_cut_it(origin: list[int]) -> None:
    made, mask = image(), plane(5, 6)
    add(made, mask, origin=origin)
    expected = np.zeros((7, 9), dtype=bool)
    for row, column in np.ndindex(mask.shape):
        y, x = origin[0] - 1 + row, origin[1] - 1 + column
        if 0 <= y < 7 and 0 <= x < 9:
            expected[y, x] = mask[row, column]
    np.testing.assert_array_equal(masks(made)[0x6000][0], expected)


def test_frames_of_an_overlay_lie_on_their_frames() -> None:
    made = image(frames=5)
    single, several, one = plane(7, 9), plane(2, 7, 9), plane(7, 9)
    add(made, single, 0x6000)  # without NumberOfFramesInOverlay: on all
    add(made, several, 0x6002, frames=2, frame_origin=3)
    add(made, one, 0x601E, frames=1, kind="R")
    add(made, plane(9, 7, 9), 0x6020, frames=9, frame_origin=1)  # more than there are
    found = masks(made)
    assert list(found) == [0x6000, 0x6002, 0x601E, 0x6020]
    assert (found[0x6000] == single).all()
    np.testing.assert_array_equal(found[0x6002][2:4], several)
    assert not found[0x6002][[0, 1, 4]].any()
    np.testing.assert_array_equal(found[0x601E][0], one)
    assert not found[0x601E][1:].any()
    assert found[0x6020].shape == (5, 7, 9)


@pytest.mark.parametrize("syntax", [LITTLE, ImplicitVRLittleEndian, BIG, RLELossless])
def test_an_overlay_in_the_unused_bits_of_the_pixels(syntax: str) -> None:
    made = image(frames=2, syntax=BIG if syntax == BIG else LITTLE)
    stored = decode(made)
    lines, drawing = plane(2, 7, 9), plane(2, 7, 9)
    both = stored | (lines.astype("u2") << 12) | (drawing.astype("u2") << 15)
    made.PixelData = both.astype(">u2" if syntax == BIG else "<u2").tobytes()
    for group, bit in ((0x6000, 12), (0x6002, 15)):
        for element, value in ((0x10, 7), (0x11, 9), (0x100, 16), (0x102, bit)):
            made.add_new((group, element), "US", value)
        made.add_new((group, 0x40), "CS", "G")
    if syntax == RLELossless:
        made.compress(RLELossless)
    elif syntax == ImplicitVRLittleEndian:
        made.file_meta.TransferSyntaxUID = UID(syntax)
    found = masks(made)
    np.testing.assert_array_equal(found[0x6000], lines)
    np.testing.assert_array_equal(found[0x6002], drawing)
    np.testing.assert_array_equal(decode(as_file(made)), stored)


def test_what_was_removed_is_not_there_and_what_is_damaged_is_refused() -> None:
    made = image()
    add(made, plane(7, 9))
    del made[0x6000, 0x3000]  # as de-identification leaves it: PS3.15 removes OverlayData alone
    assert overlays_of(made) == {}
    add(made, plane(7, 9))
    made[0x6000, 0x10].value = 700
    with pytest.raises(PixelError, match=r"^SOP instance 1\.2.*overlay 6000.*\.$"):
        overlays_of(made)


def test_bits_that_a_codec_has_cut_are_said_to_be_lost() -> None:
    made = pydicom.dcmread(str(get_testdata_file("MR_small_jpeg_ls_lossless.dcm", download=False)))
    made.BitsStored, made.HighBit = 12, 11
    made.add_new((0x6000, 0x100), "US", 16)
    made.add_new((0x6000, 0x102), "US", 13)
    with pytest.raises(PixelError, match="compression"):
        overlays_of(made)


def test_free_text_is_not_shown() -> None:
    made = image()
    add(made, plane(7, 9), kind="R")
    (overlay,) = overlays_of(made).values()
    assert (overlay.label, overlay.kind) == ("DOE^JANE", "R")
    assert "DOE" not in repr(overlay)


def test_real_overlays(realdata: Path) -> None:
    shipped = Path(str(get_testdata_file("examples_overlay.dcm", download=False)))
    for path in (shipped, realdata / "pydicom-data-odds" / "MR-SIEMENS-DICOM-WithOverlays.dcm"):
        (overlay,) = overlays_of(path.read_bytes()).values()
        expected = pydicom.dcmread(path).overlay_array(0x6000)
        np.testing.assert_array_equal(overlay.mask[0], expected)
        assert 100 < overlay.mask.sum() < 500
    assert overlays_of((realdata / "cr-mg-dx" / "GH133.dcm").read_bytes()) == {}
