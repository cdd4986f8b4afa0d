"""The pixels of one file: rescaled, SUV, in other types, and what is said of what is no image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from dicom_files import as_file
from pixel_cases import columns_of, item, make_dose, make_enhanced, make_slice
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_modality_lut

from orthanc_research.errors import PixelError, QueryError
from orthanc_research.pixels import IMAGE_VALUES, decode, one_stack, pixels_of, stacks_of, volume_from


@pytest.mark.parametrize(
    "name",
    ["cr-mg-dx/CR-MONO1-10-chest_nometa.dcm", "seg-sm-highdicom/dx_image.dcm",
     "us-xa-multiframe/NM-MONO2-16-13x-heart.dcm",
     "pydicom-data-odds/mlut_18.dcm", "pydicom-data-odds/parametric_map_double_float.dcm",
     "pet-single-slices/1.dcm"],
)  # fmt: skip
def test_images_without_a_place_in_the_body_are_rescaled_too(realdata: Path, name: str) -> None:
    content = (realdata / name).read_bytes()
    stored = pixels_of(content)
    np.testing.assert_array_equal(stored, decode(content))
    found = pixels_of(content, "rescaled")
    assert found.dtype == np.float32
    dataset = pydicom.dcmread(realdata / name, force=True)
    np.testing.assert_allclose(found, apply_modality_lut(stored, dataset).astype(np.float32), rtol=1e-6)


def test_each_frame_has_its_own_slope(realdata: Path) -> None:
    array = np.arange(60, dtype="u2").reshape(3, 4, 5)
    own = [item(RescaleSlope=k, RescaleIntercept=-k, RescaleType="US") for k in (1, 2, 3)]
    made = make_enhanced(array, columns_of(3), own={"PixelValueTransformationSequence": own})
    factors = np.array([1, 2, 3]).reshape(3, 1, 1)
    np.testing.assert_array_equal(pixels_of(as_file(made), "rescaled"), array * factors - factors)
    both = (realdata / "mr-enhanced-philips-b0" / "dicom" / "IM_0027_fMAP.dcm").read_bytes()
    with pytest.raises(PixelError, match="units"):  # magnitude and Hz in one file
        pixels_of(both, "rescaled")
    assert pixels_of(both, "display").shape == pixels_of(both).shape


def test_suv_is_what_a_volume_of_the_slices_has(realdata: Path) -> None:
    paths = sorted((realdata / "ct-pet-mr-rtstruct" / "STS_002" / "PET" / "image").glob("*"))[:4]
    datasets = [pydicom.dcmread(path) for path in paths]
    for values in ("rescaled", "suv"):
        (stack,) = stacks_of(datasets, min_slices=2)
        volume = volume_from(
            one_stack([stack]), [(str(each.SOPInstanceUID), decode(each)) for each in datasets], values
        )
        for k, uid in enumerate(volume.sop_uids):
            (dataset,) = (each for each in datasets if each.SOPInstanceUID == uid)
            np.testing.assert_array_equal(pixels_of(dataset, values)[0], volume.array[k])
    with pytest.raises(PixelError, match="SUV is of PET, and its Modality is CT"):
        pixels_of(make_slice(), "suv")


def test_another_type_is_given_where_every_value_fits() -> None:
    made = make_slice()  # 0 to 29, and 1024 less
    assert pixels_of(made, "rescaled", dtype="int16").dtype == np.int16
    np.testing.assert_array_equal(pixels_of(made, "rescaled", dtype="int16")[0, 0], np.arange(5) - 1024)
    assert pixels_of(made, dtype="float32").dtype == np.float32
    assert pixels_of(made, dtype="uint8").tolist() == pixels_of(made).tolist()
    for values, dtype, changes in (
        ("rescaled", "uint8", {}), ("rescaled", "int16", {"RescaleSlope": "0.3"}), ("stored", "uint8", {"tall": True})
    ):  # fmt: skip
        array = np.full((2, 2), 300, "i2") if changes.pop("tall", False) else None
        with pytest.raises(PixelError, match=r"^SOP instance 1\.2\.826.*(fit|fractions)"):
            pixels_of(make_slice(0, array, **changes), values, dtype=dtype)


def test_who_decodes_can_be_chosen() -> None:
    made = make_slice()
    asked = []

    def elsewhere(content: bytes, uid: str) -> npt.NDArray[Any]:
        asked.append(uid)
        return decode(content, uid) + np.int16(1)

    found = pixels_of(as_file(made), "rescaled", sop_uid="1.2.3", decoder=elsewhere)
    np.testing.assert_array_equal(
        found, pixels_of(made, "rescaled", decoder=elsewhere) + 1
    )  # a Dataset is decoded here
    assert asked == ["1.2.3"]


def test_a_dose_is_an_image_and_its_values_are_scaled_in_float64() -> None:
    made = make_dose([0.0, 3.0, 6.0])
    made.PixelData = (np.arange(60, dtype="<u4") * 70_000_001).tobytes()  # beyond what float32 counts
    assert pixels_of(made).dtype == np.uint32
    expected = (pixels_of(made) * 1.25e-4).astype(np.float32)
    np.testing.assert_array_equal(pixels_of(made, "rescaled"), expected)
    assert not np.array_equal(pixels_of(made).astype(np.float32) * np.float32(1.25e-4), expected)
    assert pixels_of(made, "display").max() == 255
    del made.DoseGridScaling
    with pytest.raises(PixelError, match="DoseGridScaling"):
        pixels_of(made, "rescaled")


@pytest.mark.parametrize(
    "arguments",
    [{"values": "hu"}, {"values": "RGB"}, {"values": "display", "dtype": "uint8"}, {"values": "rgb", "dtype": "uint8"},
     {"dtype": "complex64"}, {"dtype": "nonsense"}, {"window": (40, 400)}],
)  # fmt: skip
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(QueryError):
        pixels_of(make_slice(), **arguments)


def pdf() -> bytes:
    made = make_slice(0, SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", Modality="OT")
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation"):
        delattr(made, keyword)
    made.add_new("EncapsulatedDocument", "OB", b"%PDF-1.4")
    return as_file(made)


def shipped(name: str) -> bytes:
    return Path(str(get_testdata_file(name, download=False))).read_bytes()


def test_what_is_no_image_is_called_what_it_is(realdata: Path) -> None:
    cases = [
        ((realdata / "pydicom-data-odds" / "liver.dcm").read_bytes(), "a segmentation, not an image.*segments"),
        (shipped("rtstruct.dcm"), "a set of contours, not an image.*segments"),
        (shipped("rtplan.dcm"), "a treatment plan"),
        (shipped("reportsi.dcm"), "a report"),
        (shipped("waveform_ecg.dcm"), "a waveform"),
        (pdf(), "a document"),
    ]
    for content, said in cases:
        for values in IMAGE_VALUES:
            with pytest.raises(PixelError, match=rf"^SOP instance [\d.]+: it is {said}.*\.$"):
                pixels_of(content, values)


def test_values_that_pixels_do_not_have_are_refused() -> None:
    colour = make_slice(0, np.zeros((4, 4, 3), "u1"))
    for values, said in (("rescaled", "colour"), ("suv", "colour")):
        with pytest.raises(PixelError, match=said):
            pixels_of(colour, values)
    with pytest.raises(PixelError, match="no colours"):
        pixels_of(make_slice(), "rgb")
    strange = make_slice(PhotometricInterpretation="HSV")
    for values in ("rgb", "display", "rescaled"):
        with pytest.raises(PixelError):
            pixels_of(strange, values)
    enhanced = make_enhanced(np.zeros((3, 4, 5), "u2"), columns_of(3))
    enhanced.PerFrameFunctionalGroupsSequence = enhanced.PerFrameFunctionalGroupsSequence[:2]
    for values in ("rescaled", "display"):
        with pytest.raises(PixelError, match="functional groups for 2 frames"):
            pixels_of(enhanced, values)
    assert pixels_of(enhanced).shape == (3, 4, 5)


def test_damaged_files_are_pixel_errors_that_name_the_file(realdata: Path) -> None:
    seen = 0
    for path in sorted((realdata / "derived-mutated").rglob("*.dcm")):
        for values in ("rgb", "display"):
            try:
                pixels_of(path.read_bytes(), values, sop_uid="1.2.3.4")
            except PixelError as error:
                assert "instance" in str(error)  # noqa: PT017  # some of them can be read
                seen += 1
    assert seen > 50


@pytest.mark.parametrize("tag", ["2800 0201", "2800 1030", "2800 2001", "5020 2000"])
def test_an_element_of_no_known_kind_is_a_pixel_error(tag: str) -> None:
    made = make_slice(0, VOILUTSequence=[], PixelPaddingValue=0, PresentationLUTShape="IDENTITY")
    content, start = as_file(made), bytes.fromhex(tag)
    assert content.count(start) == 1
    at = content.index(start) + 4
    damaged = content[:at] + b"Z" + content[at + 1 :]
    with pytest.raises(PixelError, match=r"^SOP instance 1\.2\.826\S*: .*\.$"):
        pixels_of(damaged, "display")
