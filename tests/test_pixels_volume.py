"""A stack and its pixels → Volume."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from orthanc_research.errors import GeometryError, PixelError, QueryError
from orthanc_research.pixels import Stack, decode, frames_of, one_stack, read_dataset, stacks_of, volume_from
from orthanc_research.samples import cohort, pydicom_files

Pairs = list[tuple[str | int, npt.NDArray[Any]]]


def stack_of(**tags: Any) -> Stack:
    """Four 3 x 2 slices, 2 mm apart; `tags` as t0028_1053="2"."""
    made = []
    for k in range(4):
        header = {
            "0008,0018": f"1.2.{k}", "0008,0060": "CT", "0020,0032": f"0\\0\\{2 * k}", "0020,0037": "1\\0\\0\\0\\1\\0",
            "0028,0002": "1", "0028,0004": "MONOCHROME2", "0028,0010": "3", "0028,0011": "2", "0028,0030": "1\\1",
            "0028,0100": "16", "0028,0101": "16", "0028,0103": "1", "0028,1052": "-1024", "0028,1053": "1",
        }  # fmt: skip
        for name, value in tags.items():
            header[name[1:].replace("_", ",")] = value[k] if isinstance(value, list) else value
        made.append({key: value for key, value in header.items() if value is not None})
    return one_stack(stacks_of(made))


def pixels(dtype: str = "i2", scale: int = 100) -> Pairs:
    return [(f"1.2.{k}", np.full((1, 3, 2), scale * k, dtype=dtype)) for k in range(4)]


def test_slices_land_where_they_belong_whatever_their_order() -> None:
    stack = stack_of()
    volume = volume_from(stack, reversed(pixels()))
    np.testing.assert_array_equal(volume.array[:, 0, 0], [0, 100, 200, 300])
    assert volume.array.dtype == np.int16
    assert volume.array.flags.c_contiguous
    assert (volume.dims, volume.units, volume.values) == (("slice", "row", "column"), "stored units", "stored")
    assert volume.sop_uids == ("1.2.0", "1.2.1", "1.2.2", "1.2.3")
    by_place = volume_from(stack, ((k, array[0]) for k, (_, array) in enumerate(pixels())))
    np.testing.assert_array_equal(by_place.array, volume.array)


def test_affine_ras_is_the_same_index_with_x_and_y_turned() -> None:
    volume = volume_from(stack_of(t0020_0032=[f"5\\6\\{2 * k}" for k in range(4)]), pixels())
    np.testing.assert_array_equal((volume.affine @ [3, 2, 1, 1])[:3], [6, 8, 6])
    np.testing.assert_array_equal((volume.affine_ras @ [3, 2, 1, 1])[:3], [-6, -8, 6])
    assert volume.affine_ras.dtype == np.float64


def test_rescaled_is_float32_by_each_slices_own_slope() -> None:
    stack = stack_of(t0028_1053=["0.1", "0.2", "0.3", "0.4"], t0028_1052="0", t0008_0060="PT", t0054_1001="BQML")
    volume = volume_from(stack, pixels(), values="rescaled")
    np.testing.assert_array_equal(volume.array[:, 0, 0], np.array([0.0, 20.0, 60.0, 120.0], dtype=np.float32))
    assert volume.array.dtype == np.float32
    assert volume.units == "BQML"
    assert volume.issues == ()


def test_units_of_a_ct_are_hu_unless_it_says_else() -> None:
    assert volume_from(stack_of(), pixels(), "rescaled").units == "HU"
    assert volume_from(stack_of(t0028_1054="US"), pixels(), "rescaled").units == "US"
    for modality in ("MR", "PT"):
        assert volume_from(stack_of(t0008_0060=modality), pixels(), "rescaled").units == "unspecified"
    assert volume_from(stack_of(t0054_1001="BQML"), pixels(), "rescaled").units == "HU"  # Units are of PET


def test_no_slope_is_slope_one_and_noted() -> None:
    stack = stack_of(t0028_1053=None, t0028_1052=None)
    volume = volume_from(stack, pixels(), "rescaled")
    assert volume.units == "stored units"
    assert "4 of 4 slices have no RescaleSlope" in volume.issues[0]
    np.testing.assert_array_equal(volume.array[:, 0, 0], [0, 100, 200, 300])
    without = volume_from(stack_of(t0028_1052=None), pixels(), "rescaled")
    assert "4 of 4 slices have no RescaleSlope or no RescaleIntercept" in without.issues[0]


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"t0028_1053": "nan"}, "cannot be right"),
        ({"t0028_1053": "abc"}, "cannot be right"),
        ({"t0028_1053": "0"}, "cannot be right"),
        ({"t0028_1052": "1e999"}, "cannot be right"),
        ({"t0028_1052": [[None, "-1024"][k > 1] for k in range(4)]}, "2 of 4 slices have no"),
        ({"t0028_1053": ["1", None, "1", "1"]}, "1 of 4 slices have no"),
        ({"t0028_3000": [[{}]] * 4}, "Modality LUT"),
        ({"t0028_1054": ["HU", "HU", "US", "HU"]}, "different units"),
        ({"t0028_1053": "1e300"}, "cannot be right"),
    ],
)
def test_what_cannot_be_rescaled_is_refused_and_stays_readable_as_stored(tags: dict[str, Any], said: str) -> None:
    stack = stack_of(**tags)
    with pytest.raises(PixelError, match=said):
        volume_from(stack, pixels(), values="rescaled")
    assert volume_from(stack, pixels()).array[3, 0, 0] == 300


def test_a_type_on_request_takes_only_what_fits() -> None:
    assert volume_from(stack_of(), pixels(), "rescaled", dtype="int16").array[3, 0, 0] == 300 - 1024
    assert volume_from(stack_of(), pixels(), dtype="float64").array.dtype == np.float64
    assert volume_from(stack_of(), pixels(), dtype="uint16").array[3, 0, 0] == 300
    with pytest.raises(PixelError, match="do not fit into uint8"):
        volume_from(stack_of(), pixels(), dtype="uint8")
    with pytest.raises(PixelError, match="do not fit into uint16"):
        volume_from(stack_of(), pixels(), "rescaled", dtype="uint16")
    with pytest.raises(PixelError, match="fractions"):
        volume_from(stack_of(t0028_1053="0.001"), pixels(), "rescaled", dtype="int32")
    # A float16 has no 2049.
    assert volume_from(stack_of(), pixels(scale=2), dtype="float16").array.dtype == np.float16
    with pytest.raises(PixelError, match="do not fit into float16"):
        volume_from(stack_of(), pixels(scale=1000), dtype="float16")
    with pytest.raises(PixelError, match="do not fit into float16"):
        volume_from(stack_of(t0028_1053="9"), pixels(scale=10000), "rescaled", dtype="float16")


@pytest.mark.parametrize("dtype", ["complex64", "no such type", "datetime64[s]", object])
def test_a_type_that_is_none_is_a_query_error(dtype: Any) -> None:
    with pytest.raises(QueryError, match="dtype"):
        volume_from(stack_of(), pixels(), dtype=dtype)


def test_values_that_are_none_are_named() -> None:
    with pytest.raises(QueryError, match="stored, rescaled, suv"):
        volume_from(stack_of(), pixels(), values="hu")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (pixels()[:3], r"1 of 4 slices did not come.*1\.2\.3"),
        ([], "4 of 4"),
        ([*pixels(), pixels()[0]], "came twice"),
        ([("9.9", np.zeros((3, 2), "i2"))], "of no slice"),
        ([(4, np.zeros((3, 2), "i2"))], "of no slice"),
        ([(-1, np.zeros((3, 2), "i2"))], "of no slice"),
        ([("1.2.0", np.zeros((2, 3), "i2"))], "the header said"),
        ([("1.2.0", np.zeros((3, 2, 3), "i2"))], "the header said"),
        (pixels("u2"), "the header said"),
        (pixels("f4"), "the header said"),
    ],
)
def test_a_slice_that_is_missing_or_another_is_an_error_never_zeros(arrays: Pairs, said: str) -> None:
    with pytest.raises(PixelError, match=said):
        volume_from(stack_of(), arrays)


def test_what_is_not_a_volume_is_not_built_and_no_pixels_are_asked_for() -> None:
    refused = dataclasses.replace(stack_of(), status="sheared", reason="It leans.", details={"shear_degrees": 18.5})
    asked: list[int] = []
    with pytest.raises(GeometryError, match="sheared: It leans") as caught:
        volume_from(refused, (asked.append(1) or pair for pair in pixels()))  # type: ignore[func-returns-value]
    assert (caught.value.code, caught.value.details) == ("sheared", {"shear_degrees": 18.5})
    assert asked == []


def test_a_stack_made_by_hand_without_affine_is_refused() -> None:
    with pytest.raises(GeometryError, match="no-geometry"):
        volume_from(dataclasses.replace(stack_of(), affine=None), pixels())


def test_monochrome1_keeps_its_values() -> None:
    volume = volume_from(stack_of(t0028_0004="MONOCHROME1"), pixels())
    assert volume.inverted
    assert volume.array[3, 0, 0] == 300


def test_a_repr_is_short_and_has_no_header_text() -> None:
    datasets = [d for d in cohort(patients=1, studies=1, size=16, slices=6) if d.Modality == "MR"]
    stack = one_stack(stacks_of(datasets))
    volume = volume_from(stack, ((d.SOPInstanceUID, decode(d)) for d in datasets))
    assert repr(volume) == "<Volume 6 x 16 x 16 uint16, 24 x 15 x 15 mm, stored units>"
    assert repr(stack) == "<Stack ok: 6 x 16 x 16, 24 x 15 x 15 mm>"
    assert "SYN" not in repr(volume) + repr(stack) + repr(frames_of(datasets[0]))
    assert str(volume.affine) not in repr(volume)


def test_ct5n_of_pydicoms_tree_is_a_volume() -> None:
    files = {p: p.read_bytes() for p in pydicom_files() if p.parent.name == "CT5N"}
    datasets = [read_dataset(data) for data in files.values()]
    stack = one_stack(stacks_of(datasets))
    volume = volume_from(stack, ((d.SOPInstanceUID, decode(d)) for d in datasets), "rescaled")
    assert volume.shape == (5, 16, 16)
    assert volume.units == "HU"
    for k, uid in enumerate(volume.sop_uids):
        one = next(d for d in datasets if uid == d.SOPInstanceUID)
        np.testing.assert_allclose((volume.affine @ [k, 0, 0, 1])[:3], [float(v) for v in one.ImagePositionPatient])
        expected = one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept)
        np.testing.assert_array_equal(volume.array[k], expected.astype(np.float32))
