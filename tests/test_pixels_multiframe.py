"""Many frames in one file: functional groups, vectors, cines, mosaics; every frame as if it were a file of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from dicom_files import as_file
from pixel_cases import (
    ENHANCED_MR,
    ENHANCED_PET,
    LEGACY_CT,
    PARAMETRIC_MAP,
    US_MULTIFRAME,
    XA,
    as_short_tags,
    columns_of,
    csa_header,
    item,
    make_dose,
    make_enhanced,
    make_mosaic,
    make_nuclear,
    make_series,
    make_slice,
)
from pydicom import Dataset
from pydicom.uid import UID

import orthanc_research as ores
from orthanc_research.errors import GeometryError, QueryError
from orthanc_research.export.frames import frame_rows, read_frames, write_frames
from orthanc_research.pixels import (
    Filler,
    Frame,
    Stack,
    Volume,
    arrange,
    decode,
    frames_of,
    one_stack,
    stacks_of,
    wanted_bytes,
)
from orthanc_research.rest import Rest


def pixels(count: int, dtype: str = "i2") -> npt.NDArray[Any]:
    """Frame k is all 10 k, but for its first pixel."""
    array: npt.NDArray[Any] = np.ones((count, 6, 5), dtype) * (10 * np.arange(count)).astype(dtype)[:, None, None]
    array[:, 0, 0] = 1
    return array


def volume_of(stack: Stack, datasets: list[Dataset], values: str = "stored") -> Volume:
    """Filled from files, each read once."""
    files = {d.SOPInstanceUID: as_file(d) for d in datasets}
    filler = Filler(stack, values)
    for file in stack.files:
        filler.put_file(file, files[file.sop_uid])
    return filler.volume()


def only(*datasets: Dataset, **options: Any) -> Stack:
    stacks = stacks_of(datasets, **options)
    assert len(stacks) == 1, stacks
    return stacks[0]


# -- functional groups -----------------------------------------------------------------------------------------------


def test_an_enhanced_file_is_the_volume_that_its_classic_slices_are() -> None:
    classic = make_series(4)
    array = np.stack([d.pixel_array for d in classic])
    enhanced = make_enhanced(array, columns_of(4))
    one, other = volume_of(only(enhanced), [enhanced]), volume_of(only(*classic), classic)
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_array_equal(one.affine, other.affine)
    assert (one.spacing, one.orientation, one.dims) == (other.spacing, other.orientation, other.dims)
    assert one.sop_uids == (enhanced.SOPInstanceUID,) * 4
    assert (one.frame_indices, other.frame_indices) == ((0, 1, 2, 3), (0, 0, 0, 0))
    assert volume_of(only(enhanced), [enhanced], "rescaled").units == "HU"


def test_frames_lie_where_their_own_groups_say_whatever_their_order_in_the_file() -> None:
    places = columns_of(4)
    enhanced = make_enhanced(pixels(4), [places[k] for k in (2, 0, 3, 1)])
    volume = volume_of(only(enhanced), [enhanced])
    assert volume.frame_indices == (1, 3, 0, 2)
    np.testing.assert_array_equal(volume.array[:, 1, 1], [10, 30, 0, 20])


def test_a_frames_own_group_wins_over_the_shared_one_and_that_over_the_top_level() -> None:
    own = [item(RescaleSlope=k + 1, RescaleIntercept=0, RescaleType="US") for k in range(3)]
    enhanced = make_enhanced(pixels(3), columns_of(3), own={"PixelValueTransformationSequence": own}, RescaleSlope=99)
    assert [f.slope for f in frames_of(enhanced)] == [1, 2, 3]
    shared = make_enhanced(pixels(3), columns_of(3), RescaleSlope=99, PixelSpacing=[9, 9])
    assert {(f.slope, f.intercept, f.spacing) for f in frames_of(shared)} == {(1, -1024, (0.8, 0.7))}
    top = make_enhanced(pixels(3), columns_of(3), shared={"PixelMeasuresSequence": None}, PixelSpacing=[9, 9])
    assert {f.spacing for f in frames_of(top)} == {(9, 9)}


def test_a_private_copy_of_the_classic_elements_is_not_read() -> None:
    """Philips writes a second ImagePositionPatient into (2005,140F), 2 mm off."""
    enhanced = make_enhanced(pixels(3), columns_of(3))
    for group in enhanced.PerFrameFunctionalGroupsSequence:
        block = group.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        block.add_new(0x0F, "SQ", [item(ImagePositionPatient=[500, 500, 500], RescaleSlope=7)])
    for source in (enhanced, as_short_tags(enhanced)):
        assert [f.position for f in frames_of(source)] == [(-10, 20, 0), (-10, 20, 2.5), (-10, 20, 5)]


def test_slopes_of_each_frame_are_used() -> None:
    own = [item(RescaleSlope=k + 1, RescaleIntercept=-k, RescaleType="US") for k in range(3)]
    enhanced = make_enhanced(pixels(3), columns_of(3), own={"PixelValueTransformationSequence": own})
    volume = volume_of(only(enhanced), [enhanced], "rescaled")
    np.testing.assert_array_equal(volume.array[:, 1, 1], [0, 10 * 2 - 1, 20 * 3 - 2])


def test_a_legacy_converted_file_keeps_what_its_classic_files_said() -> None:
    own = [item(EchoTime=str(12 + 70 * (k % 2)), AcquisitionNumber=k % 2) for k in range(6)]
    places = [columns_of(3)[k // 2] for k in range(6)]
    legacy = make_enhanced(
        pixels(6), places, own={"UnassignedPerFrameConvertedAttributesSequence": own}, SOPClassUID=LEGACY_CT
    )
    stack = only(legacy)
    assert (stack.status, dict(stack.axes)) == ("4d", {"echo_time": (12, 82), "acquisition_number": (0, 1)})
    classic = [item(RescaleSlope=9, RescaleIntercept=9, ImagePositionPatient=[9, 9, 9])] * 3
    slopes = [item(RescaleSlope=k + 1, RescaleIntercept=-5) for k in range(3)]
    groups = {"UnassignedPerFrameConvertedAttributesSequence": classic, "PixelValueTransformationSequence": slopes}
    both = make_enhanced(pixels(3), columns_of(3), own=groups)
    assert [(f.slope, f.intercept) for f in only(both).frames] == [(1, -5), (2, -5), (3, -5)]
    assert [frame.position for frame in only(both).frames] == [tuple(place) for place in columns_of(3)]


def test_magnitude_and_a_map_in_one_file_are_two_stacks() -> None:
    kinds = [item(FrameType=["ORIGINAL", "PRIMARY", "T1", ("M", "FIELD_MAP")[k % 2]],
                  ComplexImageComponent=("MAGNITUDE", "REAL")[k % 2]) for k in range(6)]  # fmt: skip
    slopes = [item(RescaleSlope=(1, 0.25)[k % 2], RescaleIntercept=(0, -500)[k % 2]) for k in range(6)]
    own = {"MRImageFrameTypeSequence": kinds, "PixelValueTransformationSequence": slopes}
    enhanced = make_enhanced(
        pixels(6), [columns_of(3)[k // 2] for k in range(6)], own=own, SOPClassUID=ENHANCED_MR, Modality="MR"
    )
    magnitude, other = stacks_of([enhanced])
    assert (magnitude.status, other.status) == ("ok", "ok")
    assert {f.component for f in magnitude.frames} == {"magnitude"}
    np.testing.assert_array_equal(volume_of(magnitude, [enhanced], "rescaled").array[:, 1, 1], [0, 20, 40])
    np.testing.assert_array_equal(volume_of(other, [enhanced], "rescaled").array[:, 1, 1], [-497.5, -492.5, -487.5])
    with pytest.raises(GeometryError, match="several-stacks"):
        one_stack([magnitude, other])


@pytest.mark.parametrize(
    ("sequence_name", "items", "axis"),
    [
        ("FrameContentSequence", [item(TemporalPositionIndex=k % 2 + 1) for k in range(6)], "temporal_position"),
        ("MRDiffusionSequence", [item(DiffusionBValue=500.0 * (k % 2)) for k in range(6)], "b_value"),
        ("MREchoSequence", [item(EffectiveEchoTime=5.0 + k % 2) for k in range(6)], "echo_time"),
        ("CardiacSynchronizationSequence", [item(NominalCardiacTriggerDelayTime=40.0 * (k % 2)) for k in range(6)],
         "trigger_time"),
        ("FrameContentSequence", [item(FrameAcquisitionNumber=k % 2 + 1) for k in range(6)], "acquisition_number"),
        ("TemporalPositionSequence", [item(TemporalPositionTimeOffset=1.5 * (k % 2)) for k in range(6)],
         "time_offset"),
    ],
)  # fmt: skip
def test_an_enhanced_files_extra_axis_is_named(sequence_name: str, items: list[Dataset], axis: str) -> None:
    places = [columns_of(3)[k // 2] for k in range(6)]
    enhanced = make_enhanced(pixels(6), places, own={sequence_name: items}, SOPClassUID=ENHANCED_MR, Modality="MR")
    stack = only(enhanced)
    assert (stack.status, stack.details["axis"], stack.shape) == ("4d", axis, (2, 3, 6, 5))
    (stacked,) = arrange([stack], on_4d="stack")
    volume = volume_of(stacked, [enhanced])
    np.testing.assert_array_equal(volume.array[:, :, 1, 1], [[0, 20, 40], [10, 30, 50]])
    assert len(volume.axes[axis]) == 2


def test_a_dimension_index_tells_frames_apart_when_nothing_else_does() -> None:
    frames = [item(DimensionIndexValues=[k // 2 + 1, 2 - k % 2]) for k in range(6)]
    enhanced = make_enhanced(pixels(6), [columns_of(3)[k // 2] for k in range(6)], own={"FrameContentSequence": frames})
    pointers = [(0x00209057, 0x00209111), (0x00189076, 0x00189117)]
    enhanced.DimensionIndexSequence = [item(DimensionIndexPointer=a, FunctionalGroupPointer=b) for a, b in pointers]
    (stack,) = arrange([only(enhanced)], on_4d="stack")
    assert dict(stack.axes) == {"0018,9076": (1, 2)}
    np.testing.assert_array_equal(volume_of(stack, [enhanced]).array[:, :, 1, 1], [[10, 30, 50], [0, 20, 40]])


def test_two_axes_together_tell_frames_apart() -> None:
    places = [columns_of(3)[k // 4] for k in range(12)]
    own = {
        "MREchoSequence": [item(EffectiveEchoTime=5.0 + k % 2) for k in range(12)],
        "FrameContentSequence": [item(TemporalPositionIndex=k % 4 // 2 + 1) for k in range(12)],
    }
    enhanced = make_enhanced(pixels(12), places, own=own, SOPClassUID=ENHANCED_MR, Modality="MR")
    stack = only(enhanced)
    assert stack.details["axis"] is None
    assert dict(stack.axes) == {"temporal_position": (1, 1, 2, 2), "echo_time": (5, 6, 5, 6)}
    halves = arrange([stack], on_4d="split")
    assert [(s.status, s.shape) for s in halves] == [("ok", (3, 6, 5))] * 4


def test_one_file_a_time_point_is_one_four_dimensional_stack() -> None:
    files = []
    for t in range(3):
        own = {"FrameContentSequence": [item(TemporalPositionIndex=t + 1)] * 3}
        files.append(make_enhanced(pixels(3) + t, columns_of(3), own=own, SOPInstanceUID=f"1.2.{t}", InstanceNumber=t))
    (stack,) = arrange([only(*reversed(files))], on_4d="stack")
    volume = volume_of(stack, files)
    assert volume.shape == (3, 3, 6, 5)
    np.testing.assert_array_equal(volume.array[:, 1, 1, 1], [10, 11, 12])
    assert [len(file.fills) for file in stack.files] == [3, 3, 3]
    assert volume.sop_uids[:4] == ("1.2.0", "1.2.0", "1.2.0", "1.2.1")


def test_stacks_that_the_file_names_are_not_mixed() -> None:
    own = {"FrameContentSequence": [item(StackID=str(k // 3 + 1), InStackPositionNumber=k % 3 + 1) for k in range(6)]}
    enhanced = make_enhanced(pixels(6), columns_of(6), own=own)
    assert [s.shape for s in stacks_of([enhanced])] == [(3, 6, 5), (3, 6, 5)]


def test_windows_are_metadata_of_each_frame() -> None:
    windows = [item(WindowCenter=[40, 300 + k], WindowWidth=[80, 1500], VOILUTFunction="SIGMOID") for k in range(3)]
    enhanced = make_enhanced(pixels(3), columns_of(3), own={"FrameVOILUTSequence": windows})
    frames = frames_of(enhanced)
    assert [(w.centre, w.width, w.function) for w in frames[1].windows] == [(40, 80, "SIGMOID"), (301, 1500, "SIGMOID")]
    volume = volume_of(only(enhanced), [enhanced], "rescaled")
    assert volume.window == frames[1].windows[0]
    np.testing.assert_array_equal(volume.array[:, 1, 1], [-1024, -1014, -1004])  # not baked in


def test_an_enhanced_pet_has_the_units_that_its_values_are_mapped_to() -> None:
    unit = item(CodeValue="Bq/ml", CodingSchemeDesignator="UCUM", CodeMeaning="Bq/ml")
    mapping = item(RealWorldValueSlope=2.0, RealWorldValueIntercept=0.0, MeasurementUnitsCodeSequence=[unit])
    shared = {
        "RealWorldValueMappingSequence": mapping,
        "PixelValueTransformationSequence": item(RescaleSlope=2, RescaleIntercept=0, RescaleType="US"),
    }
    pet = make_enhanced(pixels(3), columns_of(3), shared=shared, SOPClassUID=ENHANCED_PET, Modality="PT")
    assert volume_of(only(pet), [pet], "rescaled").units == "Bq/ml"
    mapping.RealWorldValueSlope = 3.0  # of other numbers than the rescale gives
    assert {f.units for f in frames_of(pet)} == {"US"}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_parametric_map_keeps_its_float_type(dtype: str) -> None:
    array = np.linspace(0, 1, 3 * 30).reshape(3, 6, 5).astype(dtype)
    array[1, 2, 2] = np.nan
    made = make_enhanced(array, columns_of(3), SOPClassUID=PARAMETRIC_MAP, Modality="MR")
    volume = volume_of(only(made), [made])
    assert volume.array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(volume.array, array)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"NumberOfFrames": 4}, "functional groups for 3 frames"),
        ({"NumberOfFrames": 2}, "functional groups for 3 frames"),
        ({"NumberOfFrames": 2_000_000_000}, "NumberOfFrames"),
        ({"NumberOfFrames": 0}, "NumberOfFrames"),
    ],
)
def test_a_file_whose_frames_cannot_be_told_apart_is_one_bad_header(change: dict[str, Any], said: str) -> None:
    stack = only(make_enhanced(pixels(3), columns_of(3), **change))
    assert (stack.status, len(stack.frames)) == ("bad-header", 1)
    assert said in stack.reason


def test_a_frame_without_a_place_does_not_spoil_the_others() -> None:
    enhanced = make_enhanced(pixels(4), columns_of(4))
    enhanced.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence[0].ImagePositionPatient = None
    assert [(s.status, len(s.frames)) for s in stacks_of([enhanced])] == [("ok", 3), ("no-geometry", 1)]


def test_damaged_functional_groups_give_a_verdict_and_no_exception() -> None:
    header = as_short_tags(make_enhanced(pixels(3), columns_of(3)))
    damaged: tuple[Any, ...] = (
        "?",
        None,
        [],
        [None] * 3,
        [[]] * 3,
        [{"0020,9113": "x"}] * 3,
        [{"0020,9113": [None]}] * 3,
        7,
        {},
    )
    for value in damaged:
        for key in ("5200,9230", "5200,9229", "0020,9222"):
            stacks = stacks_of([{**header, key: value}])
            assert {s.status for s in stacks} <= {"ok", "bad-header", "no-geometry", "4d", "duplicate-positions"}
            if key == "5200,9230":
                assert all(s.status != "ok" for s in stacks)


# -- vectors ---------------------------------------------------------------------------------------------------------


def test_dose_frames_lie_by_their_offsets_along_the_normal() -> None:
    dose = make_dose([0.0, 3.0, 6.0, 9.0])
    volume = volume_of(only(dose), [dose], "rescaled")
    assert (volume.units, volume.array.dtype.name, volume.spacing) == ("GY", "float32", (3.0, 0.8, 0.7))
    np.testing.assert_array_equal((volume.affine @ [2, 1, 1, 1])[:3], [5.7, 6.8, 76.0])
    np.testing.assert_array_equal(volume.array[3], (dose.pixel_array[3] * 1.25e-4).astype(np.float32))


def test_dose_offsets_may_be_absolute_and_descending_and_of_any_orientation() -> None:
    absolute = make_dose([70.0, 73.0, 76.0, 79.0])
    assert [f.position for f in only(absolute).frames] == [
        f.position for f in only(make_dose([0.0, 3.0, 6.0, 9.0])).frames
    ]
    down = make_dose([0.0, -3.0, -6.0])
    assert [f.index for f in only(down).frames] == [2, 1, 0]
    assert [f.position for f in only(down).frames] == [(5, 6, 64), (5, 6, 67), (5, 6, 70)]
    coronal = make_dose([0.0, 3.0, 6.0], ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    assert [f.position for f in only(coronal).frames] == [(5, 6, 70), (5, 9, 70), (5, 12, 70)]


@pytest.mark.parametrize(
    ("offsets", "changes", "status"),
    [
        ([1.0, 4.0, 7.0], {}, "bad-header"),
        ([70.0, 73.0, 76.0], {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "bad-header"),
        ([70.0, 73.0, 76.0], {"ImageOrientationPatient": [1, 0, 0, 0, 0.9962, 0.0872]}, "bad-header"),  # 5° off
        ([0.0, 3.0, 6.0], {"GridFrameOffsetVector": [0.0, 3.0]}, "bad-header"),
        ([0.0, 3.0, 7.0], {}, "non-uniform"),
        ([0.0, 3.0, 6.0], {"GridFrameOffsetVector": None}, "no-geometry"),
        ([0.0, 3.0, 6.0], {"ImageOrientationPatient": None}, "no-geometry"),
    ],
)
def test_dose_offsets_that_prove_no_place_are_refused(offsets: Any, changes: Any, status: str) -> None:
    assert only(make_dose(offsets, **changes)).status == status


def test_a_long_offset_vector_that_the_server_kept_back_says_so() -> None:
    header = as_short_tags(make_dose([2.5 * k for k in range(100)])) | {"3004,000c": None}
    stack = stacks_of([header])[0]
    assert (stack.status, stack.reason) == (
        "bad-header",
        "GridFrameOffsetVector is too long for the server's short tags; it was not asked for.",
    )


@pytest.mark.parametrize("gap", [2.5, -2.5])
def test_nuclear_slices_lie_on_the_side_that_the_sign_of_their_spacing_says(gap: float) -> None:
    made = make_nuclear(4, gap)
    stack = only(made)
    assert (stack.status, stack.spacing) == ("ok", (2.5, 0.8, 0.7))
    assert [f.index for f in stack.frames] == ([0, 1, 2, 3] if gap > 0 else [3, 2, 1, 0])
    assert sorted(f.position or () for f in stack.frames)[0] == (1, 2, min(3, 3 + 3 * gap))
    from_five = make_nuclear(
        4, gap, SliceVector=[5, 6, 7, 8]
    )  # the position is of the first frame, whatever its number
    assert [f.position for f in only(from_five).frames] == [f.position for f in stack.frames]


def test_gated_nuclear_slices_are_time_slots() -> None:
    made = make_nuclear(8, SliceVector=[1, 1, 2, 2, 3, 3, 4, 4], TimeSlotVector=[1, 2] * 4)
    stack = only(made)
    assert (stack.status, dict(stack.axes)) == ("4d", {"time_slot": (1, 2)})
    (stacked,) = arrange([stack], on_4d="stack")
    assert [f.index for f in stacked.frames] == [0, 2, 4, 6, 1, 3, 5, 7]


@pytest.mark.parametrize(
    "changes",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]},
        {"SpacingBetweenSlices": None},
        {"SliceVector": None},
        {"DetectorInformationSequence": None},
        {"DetectorInformationSequence": [item(), item()]},
    ],
)
def test_nuclear_projections_have_no_place(changes: dict[str, Any]) -> None:
    assert only(make_nuclear(4, **changes)).status == "no-geometry"


# -- cines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        ({"FrameTime": "33.3"}, (0, 33.3, 66.6)),
        ({"FrameTimeVector": ["0", "20", "40"]}, (0, 20, 60)),
        ({"CineRate": "20"}, (0, 50, 100)),
        ({}, ()),
    ],
)
def test_a_cine_is_a_frame_stack_with_its_times(changes: dict[str, Any], times: tuple[float, ...]) -> None:
    absent = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
    cine = make_slice(0, pixels(3, "u1"), SOPClassUID=XA, Modality="XA", **absent, **changes)
    stack = only(cine)
    assert (stack.status, stack.dims, stack.shape) == ("no-geometry", ("frame", "row", "column"), (3, 6, 5))
    assert stack.affine is None
    assert stack.axes.get("frame_time", ()) == pytest.approx(times)
    with pytest.raises(GeometryError, match="no-geometry"):
        one_stack([stack])


def test_a_position_at_the_top_level_is_not_of_every_frame_of_a_cine() -> None:
    cine = make_slice(0, pixels(3, "u1"), SOPClassUID=US_MULTIFRAME, Modality="US")
    assert only(cine).status == "no-geometry"
    colour = make_slice(0, np.zeros((3, 6, 5, 3), np.uint8), SOPClassUID=US_MULTIFRAME, Modality="US", FrameTime="40")
    stack = only(colour)
    assert (stack.status, stack.shape, stack.dims[-1]) == ("colour", (3, 6, 5, 3), "sample")
    assert stack.axes["frame_time"] == (0, 40, 80)


# -- mosaics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "normal"), [(5, 1.0), (4, 1.0), (9, -1.0), (2, -1.0)])
def test_a_proven_mosaic_is_cut_into_its_slices(count: int, normal: float) -> None:
    mosaic = make_mosaic(count, normal=normal)
    volume = volume_of(one_stack(stacks_of([mosaic], min_slices=2)), [mosaic])
    assert volume.shape == (count, 4, 3)
    order = range(1, count + 1) if normal > 0 else range(count, 0, -1)
    np.testing.assert_array_equal(volume.array[:, 2, 1], list(order))
    np.testing.assert_array_equal(volume.array.min(axis=(1, 2)), volume.array.max(axis=(1, 2)))
    np.testing.assert_allclose(volume.affine[:3, 3], [-10, 20, 0 if normal > 0 else -2.5 * (count - 1)], atol=1e-12)
    assert volume.sop_uids == (mosaic.SOPInstanceUID,) * count
    assert "Cut from mosaics." in volume.issues


@pytest.mark.parametrize(
    "mosaic",
    [
        make_mosaic(csa=b""),
        make_mosaic(csa=b"SV10\4\3\2\1\xff\xff\xff\xff"),
        make_mosaic(csa=csa_header(NumberOfImagesInMosaic=["5"])),
        make_mosaic(csa=csa_header(SliceNormalVector=["0", "0", "1"], NumberOfImagesInMosaic=["6"])),
        make_mosaic(csa=csa_header(SliceNormalVector=["0", "1", "0"])),
        make_mosaic(csa=csa_header(SliceNormalVector=["0", "0.0872", "0.9962"])),  # 5° off
        make_mosaic(csa=csa_header(SliceNormalVector=["0", "0", "nan"])),
        make_mosaic(csa=csa_header(SliceNormalVector=["0", "0", "one"])),
        make_mosaic(SpacingBetweenSlices=None),
        make_mosaic(SpacingBetweenSlices="-2"),
        make_mosaic(ImagePositionPatient=None),
        make_mosaic(Rows=11),
        make_mosaic(BitsStored=0),
        make_mosaic(count=1),
    ],
)
def test_what_the_header_does_not_prove_stays_a_mosaic(mosaic: Dataset) -> None:
    for source in (mosaic, pydicom.dcmread(pydicom.filebase.DicomBytesIO(as_file(mosaic)))):
        stack = only(source)
        assert (stack.status, len(stack.frames), stack.frames[0].tile) == ("mosaic", 1, None)


def test_a_cut_off_csa_header_proves_nothing() -> None:
    whole = csa_header(NumberOfImagesInMosaic=["5"], SliceNormalVector=["0", "0", "1"])
    for length in range(len(whole) - 4):
        assert only(make_mosaic(csa=whole[:length])).status == "mosaic"


def test_mosaics_in_time_are_four_dimensional() -> None:
    files = [make_mosaic(5, AcquisitionNumber=t, SOPInstanceUID=f"1.2.{t}", InstanceNumber=t) for t in (1, 2, 3)]
    (stack,) = arrange([only(*files)], on_4d="stack")
    assert (stack.shape, dict(stack.axes)) == ((3, 5, 4, 3), {"acquisition_number": (1, 2, 3)})
    assert [(file.sop_uid, len(file.fills)) for file in stack.files] == [("1.2.1", 5), ("1.2.2", 5), ("1.2.3", 5)]


def test_the_server_does_not_show_what_proves_a_mosaic_and_the_bytes_asked_for_do(rest: Rest) -> None:
    mosaic = make_mosaic()
    instance = rest.instances.upload(as_file(mosaic))["ID"]
    header = rest.instances.tags(instance)
    assert stacks_of([header])[0].status == "mosaic"
    (key,) = wanted_bytes(header)
    content = rest.instances.content(instance, key.replace(",", "-"))
    stack = only(mosaic)
    told = stacks_of([{**header, key: content}])[0]
    assert told.status == "ok"
    assert [_facts(f) for f in told.frames] == [_facts(f) for f in stack.frames]
    assert wanted_bytes(as_short_tags(make_slice())) == ()


# -- one code path ---------------------------------------------------------------------------------------------------


def _facts(frame: Frame) -> dict[str, Any]:
    names = {f.name for f in dataclasses.fields(frame)} - {"instance", "transfer_syntax"}
    return {name: getattr(frame, name) for name in names}


def synthetic() -> list[Dataset]:
    return [
        make_enhanced(pixels(4), columns_of(4)),
        make_enhanced(np.zeros((3, 6, 5), "f4"), columns_of(3), SOPClassUID=PARAMETRIC_MAP, SOPInstanceUID="1.2.1"),
        make_dose([0.0, 3.0, 6.0], SOPInstanceUID="1.2.2"),
        make_nuclear(4, -2.5, SOPInstanceUID="1.2.3"),
        make_slice(0, pixels(3, "u1"), SOPClassUID=XA, Modality="XA", FrameTime="33.3", SOPInstanceUID="1.2.4"),
        make_slice(0, SOPInstanceUID="1.2.5", WindowCenter=[40, 50], WindowWidth=[80, 90]),
    ]


def test_what_the_server_says_gives_the_frames_that_the_file_gives(rest: Rest) -> None:
    for dataset in synthetic():
        content = as_file(dataset)
        instance = rest.instances.upload(content)["ID"]
        from_file = frames_of(pydicom.dcmread(pydicom.filebase.DicomBytesIO(content)))
        from_server = frames_of(rest.instances.tags(instance), instance)
        assert len(from_file) == int(dataset.get("NumberOfFrames", 1))
        assert [_facts(f) for f in from_server] == [_facts(f) for f in from_file]
        assert [_facts(f) for f in frames_of(as_short_tags(dataset))] == [_facts(f) for f in from_file]


def test_real_multi_frame_files_give_the_same_frames_from_the_server(rest: Rest, realdata: Path) -> None:
    seen = 0
    for name in (
        "mr-enhanced-philips-b0/dicom/IM_0027_fMAP.dcm",
        "mr-enhanced-siemens-xa10/dicom/6_1.dcm",
        "private-tags-uih-grid/00000001.dcm",
        "nonimage-and-rt/rtdose.dcm",
        "pydicom-data-odds/eCT_Supplemental.dcm",
        "pydicom-data-odds/parametric_map_double_float.dcm",
        "us-xa-multiframe/NM-MONO2-16-13x-heart.dcm",
        "us-xa-multiframe/examples_ybr_color.dcm",
    ):
        content = (realdata / name).read_bytes()
        instance = rest.instances.upload(content)["ID"]
        from_file = frames_of(pydicom.dcmread(pydicom.filebase.DicomBytesIO(content)))
        assert [_facts(f) for f in frames_of(rest.instances.tags(instance))] == [_facts(f) for f in from_file], name
        seen += len(from_file)
    assert seen > 120


def test_no_text_of_the_header_is_in_what_is_shown() -> None:
    enhanced = make_enhanced(pixels(3), columns_of(3), WindowCenterWidthExplanation="DOE^JANE", PatientName="DOE^JANE")
    enhanced.WindowCenter, enhanced.WindowWidth = 40, 80
    frame = frames_of(enhanced)[0]
    assert frame.windows[0].explanation == "DOE^JANE"
    shown = f"{frame} {frame.windows} {only(enhanced)!r} {only(enhanced).details} {only(make_mosaic()).frames}"
    assert "DOE" not in shown


def test_two_thousand_frames_take_seconds_at_most() -> None:
    header = as_short_tags(make_enhanced(pixels(100), columns_of(100)))
    header["0028,0008"] = "2000"
    header["5200,9230"] = [{"0020,9113": [{"0020,0032": f"0\\0\\{0.5 * k}"}]} for k in range(2000)]
    assert one_stack(stacks_of([header])).shape == (2000, 6, 5)


def test_decode_and_frames_agree_on_how_many_there_are() -> None:
    for dataset in synthetic():
        assert len(decode(as_file(dataset))) == len(frames_of(dataset)) == int(dataset.get("NumberOfFrames", 1))


def test_an_exported_frame_has_the_place_and_slope_of_its_own(tmp_path: Path) -> None:
    own = [item(RescaleSlope=k + 1, RescaleIntercept=0, RescaleType="US") for k in range(3)]
    enhanced = make_enhanced(pixels(3), columns_of(3), own={"PixelValueTransformationSequence": own})
    rows = frame_rows(frames_of(enhanced), decode(enhanced))
    assert write_frames(tmp_path / "frames.parquet", rows, {}) == 3
    for k, (columns, array) in enumerate(read_frames(tmp_path / "frames.parquet")):
        assert (columns["FrameNumber"], columns["RescaleSlope"]) == (k + 1, k + 1)
        assert columns["ImagePositionPatient"] == [-10, 20, 2.5 * k]
        np.testing.assert_array_equal(array, pixels(3)[k])
    enhanced.NumberOfFrames = 3
    enhanced.PerFrameFunctionalGroupsSequence = enhanced.PerFrameFunctionalGroupsSequence[:2]
    assert {row.frame.position for row in frame_rows(frames_of(enhanced), pixels(3))} == {None}


def test_the_volume_from_a_server_is_the_one_from_the_files(orthanc: ores.Orthanc) -> None:
    times = [item(TemporalPositionIndex=k % 2 + 1) for k in range(6)]
    places = [columns_of(3)[k // 2] for k in range(6)]
    cases: list[tuple[list[Dataset], str, dict[str, str]]] = [
        ([make_enhanced(pixels(4), columns_of(4))], "rescaled", {}),
        ([make_enhanced(pixels(6), places, own={"FrameContentSequence": times})], "stored", {"on_4d": "stack"}),
        ([make_dose([0.0, 3.0, 6.0])], "rescaled", {}),
        ([make_nuclear(4, -2.5)], "stored", {}),
        ([d for k, d in enumerate(make_series(6)) if k != 3], "rescaled", {"on_missing": "nan"}),
        ([make_slice(k, np.full((6, 5, 3), k, np.uint8)) for k in range(3)], "stored", {}),
    ]
    for number, (datasets, values, options) in enumerate(cases):
        for dataset in datasets:
            dataset.SeriesInstanceUID = f"1.2.3.{number}"
            dataset.SOPInstanceUID = UID(f"{dataset.SOPInstanceUID}.{number}")
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            orthanc.rest.instances.upload(as_file(dataset))
        (series,) = orthanc.series(SeriesInstanceUID=f"1.2.3.{number}").index
        found = orthanc.volume(series, values, **options)  # type: ignore[arg-type]
        (stack,) = arrange(stacks_of(datasets), **options)  # type: ignore[arg-type]
        expected = volume_of(stack, datasets, values)
        np.testing.assert_array_equal(found.array, expected.array)
        np.testing.assert_array_equal(found.affine, expected.affine)
        for name in ("dims", "spacing", "sop_uids", "frame_indices", "units", "axes", "issues"):
            assert getattr(found, name) == getattr(expected, name), name
    with orthanc.rest.counting() as requests, pytest.raises(QueryError, match="on_4d='drop'"):
        orthanc.volume(series, on_4d="drop")
    assert not requests
