"""What a screen shows: windows by the formulas of the standard, whole images against pydicom's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from dicom_files import as_file
from hypothesis import given, settings
from hypothesis import strategies as st
from pixel_cases import columns_of, item, make_enhanced, make_slice
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian

from orthanc_research.errors import PixelError, QueryError
from orthanc_research.pixels import Window, apply_window, frames_of, pixels_of, read_dataset

NUMBERS = st.floats(-5000, 5000)


def by_the_book(x: float, centre: float, width: float, function: str) -> float:
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 as they stand there, from 0 to 1."""
    if function == "SIGMOID":
        return 1 / (1 + math.exp(min(-4 * (x - centre) / width, 700)))
    if function == "LINEAR_EXACT":
        if x <= centre - width / 2:
            return 0
        if x > centre + width / 2:
            return 1
        return (x - centre) / width + 0.5
    if x <= centre - 0.5 - (width - 1) / 2:
        return 0
    if x > centre - 0.5 + (width - 1) / 2:
        return 1
    return (x - (centre - 0.5)) / (width - 1) + 0.5


@settings(max_examples=200)
@given(NUMBERS, st.integers(-4000, 4000), st.integers(1, 6000), st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
def test_windows_are_the_formulas_of_the_standard(x: float, centre: int, width: int, function: str) -> None:
    values = [x, centre - width / 2, centre + width / 2, centre - 0.5, centre, math.floor(x)]
    found = apply_window(np.asarray(values), Window(centre, width, function=function))
    expected = [by_the_book(each, centre, width, function) for each in values]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert found.dtype == np.float64


@settings(max_examples=100)
@given(NUMBERS, st.floats(1e-3, 1e4), st.sampled_from(["LINEAR_EXACT", "SIGMOID"]))
def test_narrow_windows_are_for_functions_that_allow_them(centre: float, width: float, function: str) -> None:
    values = centre + width * np.array([-0.75, -0.25, 0.25, 0.75])
    found = apply_window(values, Window(centre, width, function=function))
    np.testing.assert_allclose(found, [by_the_book(each, centre, width, function) for each in values], atol=1e-6)


def test_windows_of_width_1_are_a_step_and_what_is_no_number_is_black() -> None:
    np.testing.assert_array_equal(apply_window([9.4, 9.5, 9.6, 10], (10, 1)), [0, 0, 1, 1])
    np.testing.assert_array_equal(apply_window([math.nan, -math.inf, math.inf], (10, 20)), [0, 0, 1])
    np.testing.assert_array_equal(apply_window([[0, 100]], (50, 21)), [[0, 1]])


@pytest.mark.parametrize(
    "window",
    [(40, 0), (40, -5), (40, 0.5), (math.nan, 10), (40, math.inf), (40,), "soft tissue", 7,
     Window(40, 0, function="SIGMOID"), Window(40, 400, function="CUBIC")],
)  # fmt: skip
def test_windows_that_cannot_be_are_refused(window: Any) -> None:
    with pytest.raises(QueryError):
        apply_window([1.0], window)
    with pytest.raises(QueryError):
        pixels_of(make_slice(), "display", window=window)


# -- whole images -----------------------------------------------------------------------------------------------------


def with_pydicom(dataset: Dataset) -> npt.NDArray[Any]:
    """pydicom's modality and VOI steps, on the range that its window gives, inverted for MONOCHROME1; 0 to 255."""
    rescaled = apply_modality_lut(dataset.pixel_array, dataset)
    shown = apply_voi_lut(rescaled, dataset).astype(float)
    if dataset.get("VOILUTSequence"):
        low, high = 0.0, 2.0 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    elif "WindowCenter" not in dataset:
        low, high = float(rescaled.min()), float(rescaled.max())
    else:
        ends = [0, 2**dataset.BitsStored - 1]
        if dataset.PixelRepresentation:
            ends = [-(2 ** (dataset.BitsStored - 1)), 2 ** (dataset.BitsStored - 1) - 1]
        if "RescaleSlope" in dataset:
            ends = [end * dataset.RescaleSlope + dataset.RescaleIntercept for end in ends]
        low, high = float(min(ends)), float(max(ends))
    grey = np.clip((shown - low) / (high - low), 0, 1) * 255
    grey = np.asarray(grey, dtype=np.float64)
    return 255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey


def same(path: Path) -> npt.NDArray[Any]:
    dataset = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    found = pixels_of(path.read_bytes(), "display")
    assert found.dtype == np.uint8
    expected = with_pydicom(dataset)
    assert np.abs(found - expected.reshape(found.shape)).max() <= 0.5 + 1e-6
    return found


@pytest.mark.parametrize(
    "name",
    [
        "cr-mg-dx/CR-MONO1-10-chest_nometa.dcm",  # MONOCHROME1, a window
        "seg-sm-highdicom/dx_image.dcm",  # MONOCHROME1 and Presentation LUT Shape INVERSE: inverted once
        "cr-mg-dx/GH133.dcm",  # a VOI LUT of 12 bits beside three SIGMOID windows
        "pydicom-data-odds/mlut_18.dcm",  # a Modality LUT, no window
        "pydicom-data-odds/vlut_04.dcm",
        "us-xa-multiframe/NM-MONO2-16-13x-heart.dcm",
        "pydicom-data-odds/MR-SIEMENS-DICOM-WithOverlays.dcm",
    ],
)
def test_real_images_are_shown_as_pydicom_would(realdata: Path, name: str) -> None:
    found = same(realdata / name)
    assert found.min() <= 60
    assert found.max() >= 240


def test_a_sigmoid_window_of_a_mammogram(realdata: Path) -> None:
    dataset = pydicom.dcmread(realdata / "cr-mg-dx" / "GH133.dcm")
    stored = dataset.pixel_array[:64]
    del dataset.VOILUTSequence
    found = apply_window(stored, frames_of(dataset)[0].windows[0])
    np.testing.assert_allclose(found, apply_voi_lut(stored, dataset) / 4095, atol=1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PresentationLUTShape": "INVERSE"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    ],
)
def test_inversion_is_the_last_step_and_happens_once(changes: dict[str, str]) -> None:
    array = np.arange(-500, 1500, dtype="i2").reshape(40, 50)
    plain = make_slice(0, array, WindowCenter=-600, WindowWidth=900)
    inverted = make_slice(0, array, WindowCenter=-600, WindowWidth=900, **changes)
    np.testing.assert_array_equal(pixels_of(inverted, "display"), 255 - pixels_of(plain, "display"))
    np.testing.assert_array_equal(pixels_of(inverted, "rescaled"), array[None] - 1024.0)  # values are never inverted
    assert 0 < pixels_of(plain, "display").mean() < 255


def test_a_large_image_is_shown_as_its_parts_are() -> None:
    array = np.random.default_rng(5).integers(-(2**15), 2**15, (300, 300)).astype("i2")

    def shown(part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        (image,) = pixels_of(make_slice(0, part, RescaleSlope="1.5"), "display", window=(100, 3000))
        return np.asarray(image)

    np.testing.assert_array_equal(shown(array), np.concatenate([shown(array[k : k + 30]) for k in range(0, 300, 30)]))


def test_the_window_that_is_given_comes_first() -> None:
    made = make_slice(0, np.array([[1064, 800], [1264, 2000]], "i2"), WindowCenter=0, WindowWidth=10)
    made.VOILUTSequence = [item(LUTDescriptor=[2, 0, 8], LUTData=[0, 255])]
    assert pixels_of(made, "display", window=(40, 401))[0].tolist() == [[128, 0], [255, 255]]
    assert pixels_of(made, "display", window=Window(40, 400, function="LINEAR_EXACT"))[0, 0].tolist() == [128, 0]
    with pytest.raises(QueryError, match="display"):
        pixels_of(made, "rescaled", window=(40, 400))


@pytest.mark.parametrize("big", [False, True])
def test_the_input_of_a_voi_lut_is_signed_where_the_rescale_makes_it_so(big: bool) -> None:
    array = np.array([[0, 1, 2, 3], [4, 5, 6, 4000]], dtype="u2")
    made = make_slice(0, array)  # unsigned, intercept -1024
    entries = np.array([0, 51, 102, 153, 204], dtype=">u2" if big else "<u2")
    made.VOILUTSequence = [Dataset()]
    made.VOILUTSequence[0].add_new("LUTDescriptor", "US", [5, 65536 - 1023, 8])
    made.VOILUTSequence[0].add_new("LUTData", "OW", entries.tobytes())
    if big:
        made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        made.PixelData = array.astype(">u2").tobytes()
    shown = pixels_of(as_file(made), "display")
    assert shown[0].tolist() == [[0, 0, 51, 102], [153, 204, 204, 204]]


def test_without_a_window_it_is_the_range_of_all_values_without_padding() -> None:
    array = np.array([[-2000, -2000, 0], [100, 200, -1500]], dtype="i2")
    for value, limit in ((-2000, -1200), (-1200, -2000), (65536 - 2000, 65536 - 1200)):
        made = make_slice(0, array)
        made.add_new("PixelPaddingValue", "US" if value > 0 else "SS", value)
        made.add_new("PixelPaddingRangeLimit", "US" if value > 0 else "SS", limit)
        assert pixels_of(as_file(made), "display")[0].tolist() == [[0, 0, 0], [128, 255, 0]]
    assert pixels_of(make_slice(0, array), "display")[0, 0].tolist() == [0, 0, 232]
    assert set(pixels_of(make_slice(0, np.full((3, 3), 7, "i2")), "display").ravel().tolist()) == {128}
    floats = np.array([[np.nan, -1.0], [0.0, 1.0]], dtype="f4")
    assert pixels_of(make_slice(0, floats, RescaleIntercept=0), "display")[0].tolist() == [[0, 0], [128, 255]]


def test_every_frame_has_its_own_window_and_slope() -> None:
    array = np.tile(np.arange(20, dtype="u2").reshape(4, 5) * 10, (4, 1, 1))
    lines = ((1, 0), (2, 0), (2, 30), (2, 30))
    slopes = [item(RescaleSlope=slope, RescaleIntercept=start, RescaleType="US") for slope, start in lines]
    windows = [item(WindowCenter=centre, WindowWidth=101) for centre in (100, 100, 100, 200)]
    own = {"PixelValueTransformationSequence": slopes, "FrameVOILUTSequence": windows}
    made = make_enhanced(array, columns_of(4), own=own)
    found = pixels_of(made, "display")
    for k, ((slope, start), centre) in enumerate(zip(lines, (100, 100, 100, 200), strict=True)):
        np.testing.assert_array_equal(found[k], np.rint(apply_window(array[k] * slope + start, (centre, 101)) * 255))
    assert len({each.tobytes() for each in found}) == 4
    without = make_enhanced(array, columns_of(4), own={"PixelValueTransformationSequence": slopes})
    most = [round(255 * (190 * slope + start) / 410) for slope, start in lines]  # one range for all frames
    assert [int(each.max()) for each in pixels_of(without, "display")] == most


def test_a_window_that_the_standard_forbids_is_refused_by_name() -> None:
    made = make_slice(WindowCenter="0.001", WindowWidth="0.002")
    with pytest.raises(PixelError, match=r"give window=\(centre, width\)\.$"):
        pixels_of(made, "display")
    assert pixels_of(made, "display", window=(0, 100)).dtype == np.uint8
    made.VOILUTSequence = Sequence([item(LUTDescriptor=[9, 0, 8], LUTData=[0, 255])])
    with pytest.raises(PixelError, match="VOI LUT"):
        pixels_of(made, "display")


def test_a_supplemental_palette_colours_what_lies_above_its_first_value(realdata: Path) -> None:
    dataset = read_dataset((realdata / "pydicom-data-odds" / "eCT_Supplemental.dcm").read_bytes())
    stored = pixels_of(dataset)
    shown = pixels_of(dataset, "display")
    assert shown.shape == (*stored.shape, 3)
    coloured = stored >= 1024
    assert 0 < coloured.sum() < coloured.size
    dataset.PixelPresentation = "MONOCHROME"
    grey = pixels_of(dataset, "display")
    assert (shown[~coloured] == grey[~coloured][:, np.newaxis]).all()
    np.testing.assert_array_equal(shown[coloured], apply_color_lut(stored, dataset)[coloured] >> 8)


def test_shipped_images_are_shown_as_pydicom_would() -> None:
    for name in ("examples_overlay.dcm", "693_J2KI.dcm", "MR_small_bigendian.dcm"):
        same(Path(str(get_testdata_file(name, download=False))))
