"""Segments on the grid of a volume: what references say, where they lie, and nothing resampled."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from dicom_files import as_file
from hypothesis import given, settings
from hypothesis import strategies as st
from pixel_cases import Each, item, make_series
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.pixels import Segments, Stack, one_stack, segments, stacks_of, volume_from
from orthanc_research.pixels._contours import filled
from orthanc_research.pixels._segmentation import _srgb

highdicom = pytest.importorskip("highdicom")

FOR = "1.2.826.0.1.9.9"
Points = list[tuple[float, float]]


def series(slices: int = 5, size: int = 8, **changes: Any) -> list[Dataset]:
    """Axial slices 2 mm apart, pixels of 1 mm, first voxel's centre at (10, 20, 30)."""
    return make_series(
        slices,
        array=np.zeros((size, size), np.int16),
        **{
            "PixelSpacing": [1.0, 1.0],
            "ImagePositionPatient": Each(*([10.0, 20.0, 30.0 + 2 * k] for k in range(slices))),
            **changes,
        },
    )


def stack(**options: Any) -> Stack:
    return one_stack(stacks_of(series(**options)))


def rtstruct(*contours: tuple[float, Points], kind: str = "CLOSED_PLANAR", frame: str = FOR) -> Dataset:
    """One ROI; a contour is (slice, [(row, column), …]) in voxels of `series`."""
    made = Dataset()
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    made.SOPInstanceUID, made.SeriesInstanceUID, made.Modality = "1.2.3", "1.2.4", "RTSTRUCT"
    made.StructureSetROISequence = Sequence(
        [item(ROINumber=7, ROIName="Doe^John tumour", ReferencedFrameOfReferenceUID=frame)]
    )
    drawn = [
        item(
            ContourGeometricType=kind,
            NumberOfContourPoints=len(points),
            ContourData=[x for row, column in points for x in (10 + column, 20 + row, 30 + 2 * k)],
        )
        for k, points in contours
    ]
    made.ROIContourSequence = Sequence(
        [item(ReferencedROINumber=7, ROIDisplayColor=[255, 128, 0], ContourSequence=Sequence(drawn))]
    )
    made.RTROIObservationsSequence = Sequence([item(ReferencedROINumber=7, RTROIInterpretedType="GTV")])
    return made


def square(low: float, high: float) -> Points:
    return [(low, low), (low, high), (high, high), (high, low)]


# -- contours: the reference ----------------------------------------------------------------------------------------

IBSI = [f"{patient}/{kind}" for patient in ("STS_002", "STS_019") for kind in ("CT", "PET", "MR_T1")]


@pytest.mark.parametrize("case", IBSI)
def test_contours_are_the_voxels_that_an_independent_tool_found(realdata: Path, case: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    patient, kind = case.split("/")
    folder = realdata / "ct-pet-mr-rtstruct" / patient
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in (folder / kind / "image").iterdir()]
    (contours,) = (folder / kind / "mask").iterdir()
    found = segments(contours.read_bytes(), one_stack(stacks_of(headers)))
    reference = np.asarray(nibabel.load(folder / "nifti" / f"{kind}_mask.nii.gz").dataobj).transpose(2, 1, 0) > 0
    assert np.array_equal(found.mask(1), reference)
    assert found.array.sum() > 200
    assert found.labels[1].label == f"GTV_Mass_{kind}"
    assert found.labels[1].colour == (255, 0, 0)
    # Those of the PET were drawn on planes 0.02 to 0.04 mm off its slices.
    assert [issue for issue in found.issues if "0.04 mm off" in issue] == list(found.issues)
    assert bool(found.issues) == (kind == "PET")


# -- contours: the rules --------------------------------------------------------------------------------------------


def winding(points: npt.NDArray[np.float64], row: float, column: float) -> bool:
    """Even-odd, one edge at a time."""
    inside = False
    for (r0, c0), (r1, c1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if (r0 <= row) != (r1 <= row):
            (r0, c0), (r1, c1) = sorted([(r0, c0), (r1, c1)])
            if column >= c0 + (row - r0) * ((c1 - c0) / (r1 - r0)):
                inside = not inside
    return inside


places = st.tuples(st.floats(-3, 12, width=16), st.floats(-3, 12, width=16))


@settings(max_examples=60)
@given(st.lists(places, min_size=3, max_size=12))
def test_a_voxel_is_in_a_polygon_when_its_centre_is(points: Points) -> None:
    polygon = np.array(points)
    mask = filled(polygon, (8, 9))
    assert mask.tolist() == [[winding(polygon, r, c) for c in range(9)] for r in range(8)]


@settings(max_examples=60)
@given(places, places, places)
def test_polygons_that_share_an_edge_share_no_voxel_and_lose_none(
    apex: tuple[float, float], begin: tuple[float, float], end: tuple[float, float]
) -> None:
    frame = [(-4.0, -4.0), (-4.0, 13.0), (13.0, 13.0), (13.0, -4.0)]
    fans = [filled(np.array([apex, a, b]), (9, 9)) for a, b in zip(frame, frame[1:] + frame[:1], strict=True)]
    assert np.array_equal(sum(fan.astype(int) for fan in fans), np.ones((9, 9), int))
    thin = filled(np.array([begin, end]), (9, 9))
    assert not thin.any()


def test_a_contour_goes_to_its_slice() -> None:
    found = segments(rtstruct((1, square(1.5, 4.5)), (2, square(2.0, 4.0))), stack())
    assert found.shape == (1, 5, 8, 8)
    assert found.dims == ("segment", "slice", "row", "column")
    assert found.array.dtype == np.bool_
    expected = np.zeros((5, 8, 8), bool)
    expected[1, 2:5, 2:5] = True
    expected[2, 2:4, 2:4] = True  # a centre on the lower edge is in, on the upper one out
    assert np.array_equal(found.mask(7), expected)
    assert found.issues == ()
    labels = segments(rtstruct((1, square(1.5, 4.5)), (2, square(2.0, 4.0))), stack(), form="labels")
    assert labels.array.dtype == np.uint16
    assert np.array_equal(labels.array, expected * 7)
    assert np.array_equal(labels.mask(7), expected)


def test_it_is_the_same_on_a_volume_and_on_a_turned_stack() -> None:
    datasets = series()
    volume = volume_from(one_stack(stacks_of(datasets)), enumerate(d.pixel_array for d in datasets))
    contours = rtstruct((1, square(1.5, 4.5)), (3, square(0.4, 5.6)))
    straight = segments(contours, volume)
    turn, _ = np.linalg.qr(np.array([[0.9, 0.3, -0.1], [-0.2, 0.8, 0.5], [0.2, -0.4, 0.9]]))
    turn *= np.sign(np.linalg.det(turn))
    for dataset in datasets:
        dataset.ImagePositionPatient = [round(x, 9) for x in turn @ np.array(dataset.ImagePositionPatient, float)]
        axes = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
        dataset.ImageOrientationPatient = [round(x, 9) for x in (axes @ turn.T).ravel()]
    for contour in contours.ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3) @ turn.T
        contour.ContourData = [round(x, 9) for x in points.ravel()]
    turned = segments(as_file(_filed(contours)), one_stack(stacks_of(datasets)))
    assert np.array_equal(turned.array, straight.array)
    assert straight.array.any()


def _filed(dataset: Dataset) -> Dataset:
    made = copy.deepcopy(dataset)
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


KEYHOLE = [(0.5, 0.5), (0.5, 6.5), (6.5, 6.5), (6.5, 0.5), (0.5, 0.5), (2.5, 2.5), (4.5, 2.5), (4.5, 4.5), (2.5, 4.5)]


@pytest.mark.parametrize("how", ["nested", "xor", "keyhole"])
def test_a_hole_is_a_hole_however_it_is_written(how: str) -> None:
    outer, inner = (2, square(0.5, 6.5)), (2, square(2.5, 4.5))
    contours = {
        "nested": rtstruct(inner, outer),
        "xor": rtstruct(outer, inner, kind="CLOSEDPLANAR_XOR"),
        "keyhole": rtstruct((2, [*KEYHOLE, (2.5, 2.5)])),
    }[how]
    found = segments(contours, stack())
    expected = np.zeros((8, 8), bool)
    expected[1:7, 1:7] = True
    expected[3:5, 3:5] = False
    assert np.array_equal(found.mask(7)[2], expected)
    assert found.issues == ()


def test_an_island_in_a_hole_is_in() -> None:
    found = segments(rtstruct(*((0, square(low, 7 - low)) for low in (0.5, 1.5, 2.5))), stack())
    assert found.array.sum() == 6 * 6 - 4 * 4 + 2 * 2


def test_contours_that_cross_are_added_and_it_is_said() -> None:
    found = segments(rtstruct((0, square(0.5, 4.5)), (0, square(2.5, 6.5))), stack())
    assert found.array.sum() == 16 + 16 - 4
    assert found.issues == ("Segment 7: 1 contours cross another one; the areas were added.",)
    exclusive = segments(rtstruct((0, square(0.5, 4.5)), (0, square(2.5, 6.5)), kind="CLOSEDPLANAR_XOR"), stack())
    assert exclusive.array.sum() == 16 + 16 - 8


SAME = {
    "the same": square(0.5, 4.5),
    "begun elsewhere": square(0.5, 4.5)[2:] + square(0.5, 4.5)[:2],
    "the other way round": square(0.5, 4.5)[::-1],
    "closed": [*square(0.5, 4.5), (0.5, 0.5)],
    "with a point more": [(0.5, 0.5), (0.5, 2.0), *square(0.5, 4.5)[1:]],
    "rounded": square(0.5003, 4.5),
}


@pytest.mark.parametrize("how", SAME)
def test_a_contour_that_is_there_twice_is_no_hole(how: str) -> None:
    found = segments(rtstruct((0, square(0.5, 4.5)), (0, SAME[how])), stack())
    assert found.array.sum() == 16
    assert found.issues == ("Segment 7: 1 contours are there twice.",)


def test_of_two_planes_at_one_slice_the_nearer_one_is_used() -> None:
    found = segments(rtstruct((1.1, square(0.5, 4.5)), (1.4, square(0.5, 6.5)), (0.6, square(0.5, 2.5))), stack())
    assert [int(plane.sum()) for plane in found.mask(7)] == [0, 16, 0, 0, 0]
    assert any("2 contours lie between slices that have nearer ones" in issue for issue in found.issues)
    assert any("0.2 mm off" in issue for issue in found.issues)


def test_slices_without_contours_stay_empty_and_it_is_said() -> None:
    every = segments(rtstruct(*((k, square(0.5, 4.5)) for k in (0, 2, 4))), stack())
    assert every.issues == ("Segment 7: contours are on every second slice only; the slices between are empty.",)
    gap = segments(rtstruct(*((k, square(0.5, 4.5)) for k in (0, 1, 4))), stack())
    assert gap.issues == ("Segment 7: 2 slices between its contours have none.",)
    assert [int(plane.sum()) for plane in gap.mask(7)] == [16, 16, 0, 0, 16]


def test_what_lies_outside_is_said_and_all_of_it_is_refused() -> None:
    found = segments(rtstruct((4, square(0.5, 4.5)), (5, square(0.5, 4.5)), (-0.6, square(0.5, 4.5))), stack())
    assert found.array.sum() == 16
    assert found.issues == ("Segment 7: 2 contours lie beyond the first or the last slice of this volume.",)
    beyond = segments(rtstruct((0, square(4.5, 9.5))), stack())
    assert beyond.array.sum() == 9
    assert beyond.issues == ("Segment 7: 1 contours reach beyond the rows or columns of this volume.",)
    with pytest.raises(errors.GeometryError, match=r"^outside: No contour of segment 7"):
        segments(rtstruct((9, square(0.5, 4.5))), stack())


def test_points_and_empty_contours_enclose_nothing() -> None:
    found = segments(rtstruct((0, [(1, 1)]), kind="POINT"), stack())
    assert not found.array.any()
    assert found.issues == (
        "Segment 7: 1 contours are points or open lines and enclose nothing.",
        "Segment 7: it has no voxel in this volume.",
    )
    small = segments(rtstruct((0, square(1.2, 1.4))), stack())
    assert "Segment 7: 1 slices have contours that hold no voxel's centre." in small.issues


def test_a_contour_across_the_slices_is_refused() -> None:
    contours = rtstruct((0, square(0.5, 4.5)))
    contours.ROIContourSequence[0].ContourSequence[0].ContourData = [10, 20, 30, 10, 24, 30, 10, 24, 36, 10, 20, 36]
    with pytest.raises(errors.GeometryError, match="not-parallel: A contour of segment 7"):
        segments(contours, stack())


@pytest.mark.parametrize(("lean", "taken"), [(0.08, True), (0.12, False)])
def test_a_contour_may_lean_by_a_tenth_of_the_distance_between_slices(lean: float, taken: bool) -> None:
    contours = rtstruct((0, square(0.5, 4.5)))
    data = contours.ROIContourSequence[0].ContourSequence[0].ContourData
    data[2] = data[2] + 2 * lean  # the slices lie 2 mm apart
    if taken:
        assert segments(contours, stack()).array.any()
        return
    with pytest.raises(errors.GeometryError, match="not-parallel"):
        segments(contours, stack())


def test_a_contour_whose_point_is_farther_than_any_volume_reaches_is_damaged() -> None:
    contours = rtstruct((0, square(0.5, 4.5)))
    contours.ROIContourSequence[0].ContourSequence[0].ContourData[0] = 2e6
    with pytest.raises(errors.PixelError, match="cannot be right"):
        segments(contours, stack())


def test_another_frame_of_reference_is_refused() -> None:
    for target in (stack(), stack(FrameOfReferenceUID="1.2.9"), stack(FrameOfReferenceUID=None)):
        with pytest.raises(errors.GeometryError, match="other-frame-of-reference") as caught:
            segments(rtstruct((0, square(0.5, 4.5)), frame="1.2.8"), target)
        assert caught.value.code == "other-frame-of-reference"
    both = rtstruct((0, square(0.5, 4.5)))
    both.StructureSetROISequence.append(item(ROINumber=8, ROIName="x", ReferencedFrameOfReferenceUID="1.2.8"))
    found = segments(both, stack())
    assert list(found.labels) == [7]
    assert found.issues == ("1 ROIs lie in another frame of reference and were left out.",)


@pytest.mark.parametrize("data", ["a\\b\\c", "1\\2", "1\\2\\nan", "1e300\\2\\3\\1e300\\2\\3\\1e300\\3\\3", ""])
def test_coordinates_that_cannot_be_right_are_refused(data: str) -> None:
    contours = _filed(rtstruct((0, square(0.5, 4.5))))
    contours.ROIContourSequence[0].ContourSequence[0].ContourData = [7.125] * 3
    raw = as_file(contours)
    written = b"7.125\\7.125\\7.125"
    assert raw.count(written) == 1
    text = data.encode().ljust(len(written) + 1)[: len(written) + 1]
    if len(data) > len(written):
        contours.ROIContourSequence[0].ContourSequence[0].ContourData = [7.125] * 9
        raw = as_file(contours)
        written = b"\\".join([b"7.125"] * 9)
        text = data.encode().ljust(len(written) + 1)
    with pytest.raises(errors.PixelError, match=r"Segment 7|cannot be read"):
        segments(raw.replace(written + b" ", text), stack())


# -- segmentations: the reference -----------------------------------------------------------------------------------

SEGS = [
    "pydicom-data-odds/liver.dcm",
    "pydicom-data-odds/liver_nonbyte_aligned.dcm",
    "seg-sm-highdicom/seg_image_ct_binary.dcm",
    "seg-sm-highdicom/seg_image_ct_binary_overlap.dcm",
    "seg-sm-highdicom/seg_image_ct_binary_fractional.dcm",
    "seg-sm-highdicom/seg_image_ct_true_fractional.dcm",
]


def on_grid(affine: npt.NDArray[Any], shape: tuple[int, ...], frame: str) -> Stack:
    """The stack of this grid (slice, row, column)."""
    row, column = affine[:3, 2] / np.linalg.norm(affine[:3, 2]), affine[:3, 1] / np.linalg.norm(affine[:3, 1])
    spacing = [float(np.linalg.norm(affine[:3, axis])) for axis in (1, 2)]
    return one_stack(
        stacks_of(
            make_series(
                shape[0],
                array=np.zeros(shape[1:], np.int16),
                FrameOfReferenceUID=frame,
                PixelSpacing=spacing,
                ImageOrientationPatient=[*map(float, row), *map(float, column)],
                ImagePositionPatient=Each(*([*map(float, affine[:3, 3] + k * affine[:3, 0])] for k in range(shape[0]))),
            )
        )
    )


@pytest.mark.parametrize("name", SEGS)
def test_segments_are_the_voxels_that_highdicom_finds(realdata: Path, name: str) -> None:
    dataset = pydicom.dcmread(realdata / name)
    reference = highdicom.seg.Segmentation.from_dataset(dataset).get_volume()
    # highdicom counts slices against the normal, and has the segments last.
    array = np.moveaxis(np.asarray(reference.array)[::-1], -1, 0)
    affine = np.array(reference.affine, dtype=float)
    affine[:3, 3] += affine[:3, 0] * (array.shape[1] - 1)
    affine[:3, 0] *= -1
    # The volume is larger: two slices before, one behind; three rows before, four columns behind.
    affine[:3, 3] -= 2 * affine[:3, 0] + 3 * affine[:3, 1]
    slices, rows, columns = array.shape[1:]
    target = on_grid(affine, (slices + 3, rows + 3, columns + 4), str(dataset.FrameOfReferenceUID))
    found = segments((realdata / name).read_bytes(), target)
    expected = np.pad(array, ((0, 0), (2, 1), (3, 0), (0, 4)))
    assert np.array_equal(found.array, expected.astype(found.array.dtype))
    assert np.array_equal(found.array > 0, expected > 0)
    assert found.array.any()
    assert found.array.dtype == (np.float32 if dataset.SegmentationType == "FRACTIONAL" else np.bool_)
    assert list(found.labels) == [each.SegmentNumber for each in dataset.SegmentSequence]
    for number, described in zip(found.labels, dataset.SegmentSequence, strict=True):
        assert found.labels[number].label == described.SegmentLabel
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        assert found.labels[number].type == (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning)


@pytest.mark.parametrize("name", ["dots", "dots_tiled_full", "control", "control_labelmap", "numbers"])
def test_segmentations_of_slides_are_refused(realdata: Path, name: str) -> None:
    with pytest.raises(errors.PixelError, match="tiled slide image"):
        segments((realdata / "seg-sm-highdicom" / f"seg_image_sm_{name}.dcm").read_bytes(), stack())


def test_a_segmentation_without_a_place_is_refused(realdata: Path) -> None:
    with pytest.raises(errors.GeometryError, match="other-frame-of-reference"):
        segments((realdata / "seg-sm-highdicom" / "seg_image_cr_binary.dcm").read_bytes(), stack())


def test_a_segmentation_that_does_not_decode_says_why(realdata: Path) -> None:
    path = realdata / "pydicom-data-odds" / "liver_rle.dcm"
    header = pydicom.dcmread(path)
    target = stack(FrameOfReferenceUID=str(header.FrameOfReferenceUID))
    with pytest.raises(errors.PixelError, match="RLE"):
        segments(path.read_bytes(), target)


# -- segmentations: the rules ---------------------------------------------------------------------------------------


def seg(pixels: npt.NDArray[Any], kind: str = "BINARY", sources: list[Dataset] | None = None) -> Dataset:
    """A SEG of `series` that highdicom makes: pixels (slice, row, column), numbers from 1, or fractions of one."""
    images = sources or _complete(series(slices=len(pixels), size=pixels.shape[1]))
    count = int(pixels.max()) if kind != "FRACTIONAL" else 1
    tumour = highdicom.sr.CodedConcept("4147007", "SCT", "Mass")
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number + 1,
            segment_label=f"part {number + 1}",
            segmented_property_category=highdicom.sr.CodedConcept("49755003", "SCT", "Morphologically Abnormal"),
            segmented_property_type=tumour,
            algorithm_type="MANUAL",
            display_color=highdicom.color.CIELabColor(53.24, 80.09, 67.2) if number == 0 else None,
        )
        for number in range(count)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: Dataset = highdicom.seg.Segmentation(
            source_images=images,
            pixel_array=pixels,
            segmentation_type=kind,
            segment_descriptions=described,
            series_instance_uid="1.2.826.0.1.9.20",
            series_number=5,
            sop_instance_uid="1.2.826.0.1.9.21",
            instance_number=1,
            manufacturer="none",
            manufacturer_model_name="none",
            software_versions="1",
            device_serial_number="1",
        )
    return made


def _complete(images: list[Dataset]) -> list[Dataset]:
    for image in images:
        image.PatientBirthDate = image.PatientSex = image.StudyDate = image.StudyTime = ""
        image.AccessionNumber = image.StudyID = image.ReferringPhysicianName = image.PositionReferenceIndicator = ""
    return images


PARTS = np.zeros((5, 8, 8), np.uint8)
PARTS[1, 2:5, 1:7] = 1
PARTS[2, 4:6, 3:4] = 2
PARTS[4, 0, 7] = 2


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_what_was_segmented_comes_back(kind: str) -> None:
    made = seg(PARTS, kind)
    found = segments(made, stack())
    assert np.array_equal(found.array, np.stack([PARTS == 1, PARTS == 2]))
    assert found.array.dtype == np.bool_
    assert list(found.labels) == [1, 2]
    assert found.labels[1].colour == (255, 0, 0)
    assert found.labels[2].colour is None
    assert found.labels[1].category == ("49755003", "SCT", "Morphologically Abnormal")
    assert (found.sop_uid, found.series_uid) == ("1.2.826.0.1.9.21", "1.2.826.0.1.9.20")
    assert np.array_equal(segments(made, stack(), form="labels").array, PARTS)
    assert np.array_equal(segments(made, stack(), numbers=[2]).array[0], PARTS == 2)
    assert np.array_equal(found.mask("part 2"), PARTS == 2)
    assert found.issues == ()


def test_the_background_of_a_label_map_may_be_another_number() -> None:
    """PS3.3 C.8.20.2: its PixelPaddingValue."""
    made = seg(PARTS, "LABELMAP")
    made.PixelData = made.PixelData.replace(b"\0", b"\3")
    made.PixelPaddingValue = made.SegmentSequence[0].SegmentNumber = 3
    assert np.array_equal(segments(made, stack(), form="labels").array, PARTS)


def test_fractions_are_fractions() -> None:
    pixels = np.zeros((5, 8, 8), np.float32)
    pixels[2, 3, 4], pixels[2, 3, 5] = 0.2, 1.0
    made = seg(pixels, "FRACTIONAL")
    found = segments(made, stack())
    assert found.array.dtype == np.float32
    assert found.array[0, 2, 3, 4:6].tolist() == pytest.approx([0.2, 1.0], abs=0.002)
    assert np.count_nonzero(found.array) == 2
    with pytest.raises(errors.PixelError, match="fractions from 0 to 1"):
        segments(made, stack(), form="labels")
    made.MaximumFractionalValue = 100
    with pytest.raises(errors.PixelError, match="MaximumFractionalValue"):
        segments(made, stack())


def test_segments_that_overlap_are_two_masks_and_no_array_of_labels() -> None:
    pixels = np.zeros((5, 8, 8, 2), np.uint8)
    pixels[2, 2:5, 2:5, 0] = 1
    pixels[2, 4:6, 4:6, 1] = 1
    made = _two(pixels, _complete(series()))
    found = segments(made, stack())
    assert np.array_equal(found.array, np.moveaxis(pixels, -1, 0).astype(bool))
    with pytest.raises(errors.PixelError, match="Segments 1 and 2 overlap"):
        segments(made, stack(), form="labels")
    assert segments(made, stack(), form="labels", numbers=[2]).array.max() == 2


def _two(pixels: npt.NDArray[Any], images: list[Dataset]) -> Dataset:
    both = seg(PARTS, sources=images)
    kinds = [highdicom.seg.SegmentDescription.from_dataset(each) for each in both.SegmentSequence]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: Dataset = highdicom.seg.Segmentation(
            source_images=images,
            pixel_array=pixels,
            segmentation_type="BINARY",
            segment_descriptions=kinds,
            series_instance_uid="1.2.826.0.1.9.20",
            series_number=5,
            sop_instance_uid="1.2.826.0.1.9.22",
            instance_number=1,
            manufacturer="none",
            manufacturer_model_name="none",
            software_versions="1",
            device_serial_number="1",
        )
    return made


def test_a_grid_that_is_turned_by_whole_axes_is_the_same_voxels() -> None:
    found = segments(seg(PARTS), sagittal())
    # Slices of the sagittal stack are columns, from the last; its rows slices, from the last; its columns rows.
    assert np.array_equal(found.array[0], (PARTS == 1)[::-1, :, ::-1].transpose(2, 0, 1))
    assert np.array_equal(found.array[1], (PARTS == 2)[::-1, :, ::-1].transpose(2, 0, 1))


def sagittal() -> Stack:
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = [-1, 0, 0], [0, 0, -2], [0, 1, 0], [17, 20, 38]
    made = on_grid(affine, (8, 5, 8), FOR)
    assert made.affine is not None
    assert np.allclose(made.affine, affine)
    return made


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"PixelSpacing": [0.9, 1.0]}, "other-grid"),
        ({"PixelSpacing": [2.0, 2.0]}, "other-grid"),
        ({"PixelSpacing": [0.5, 0.5]}, "other-grid"),
        ({"ImagePositionPatient": Each(*([10.5, 20.0, 30.0 + 2 * k] for k in range(5)))}, "other-grid"),
        ({"ImagePositionPatient": Each(*([10.0, 20.0, 31.0 + 2 * k] for k in range(5)))}, "other-grid"),
        ({"ImagePositionPatient": Each(*([10.0, 20.0, 30.0 + k] for k in range(5)))}, "other-grid"),
        ({"ImageOrientationPatient": [0.9998, 0.02, 0, -0.02, 0.9998, 0]}, "other-grid"),
        ({"FrameOfReferenceUID": "1.2.9"}, "other-frame-of-reference"),
        ({"ImagePositionPatient": Each(*([110.0, 20.0, 30.0 + 2 * k] for k in range(5)))}, "outside"),
    ],
)
def test_what_would_have_to_be_resampled_is_refused(changes: dict[str, Any], code: str) -> None:
    made = seg(PARTS)
    made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = 2.0
    assert segments(made, stack()).array.any()
    with pytest.raises(errors.GeometryError) as caught:
        segments(made, stack(**changes))
    assert caught.value.code == code


def test_what_lies_outside_of_a_smaller_volume_is_counted() -> None:
    found = segments(seg(PARTS), stack(slices=3))
    assert np.array_equal(found.array[0], (PARTS == 1)[:3])
    assert found.issues == ("1 segmented pixels lie outside of this volume and were left out.",)


def test_rounded_positions_pass_and_are_said() -> None:
    made = seg(PARTS)
    for group in made.PerFrameFunctionalGroupsSequence:
        x, y, z = group.PlanePositionSequence[0].ImagePositionPatient
        group.PlanePositionSequence[0].ImagePositionPatient = [x + 0.05, y, z]
    found = segments(made, stack())
    assert np.array_equal(found.array[0], PARTS == 1)
    assert found.issues == ("Frames lie up to 0.05 voxels off the grid that they were put on.",)


def test_a_frame_of_an_unknown_segment_is_refused() -> None:
    made = seg(PARTS)
    group = made.PerFrameFunctionalGroupsSequence[0]
    group.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9
    with pytest.raises(errors.PixelError, match="does not describe"):
        segments(made, stack())
    labels = seg(PARTS, "LABELMAP")
    labels.SegmentSequence.pop()
    with pytest.raises(errors.PixelError, match="none of its segments has"):
        segments(labels, stack())


# -- both -----------------------------------------------------------------------------------------------------------


def test_senseless_questions_are_refused() -> None:
    contours = rtstruct((0, square(0.5, 4.5)))
    with pytest.raises(errors.QueryError, match="choose from masks, labels"):
        segments(contours, stack(), form="both")
    with pytest.raises(errors.QueryError, match="The segments are 7; some"):
        segments(contours, stack(), numbers=[7, 8])
    with pytest.raises(errors.QueryError, match="numbers is a list"):
        segments(contours, stack(), numbers=7)  # type: ignore[arg-type]
    with pytest.raises(errors.QueryError, match="takes a segmentation"):
        segments(series()[0], stack())
    with pytest.raises(errors.QueryError, match="There are 0 segments"):
        segments(contours, stack()).mask("tumour")
    with pytest.raises(errors.GeometryError, match="too-few-slices"):
        segments(contours, stacks_of(series(slices=2))[0])
    with pytest.raises(errors.PixelError, match="not a DICOM file"):
        segments(b"no file", stack())


@pytest.mark.parametrize("rgb", [(255, 0, 0), (0, 128, 255), (37, 231, 253), (255, 255, 255), (0, 0, 0), (3, 7, 11)])
def test_colours_are_those_that_were_meant(rgb: tuple[int, int, int]) -> None:
    found = _srgb(highdicom.color.CIELabColor.from_rgb(*rgb).value)
    assert found is not None
    assert max(abs(a - b) for a, b in zip(found, rgb, strict=True)) <= 1  # 16 bits hold no more
    assert _srgb(None) is _srgb("") is _srgb([1, 2]) is None


def test_two_segments_of_one_number_are_refused() -> None:
    contours = rtstruct((0, square(0.5, 4.5)))
    contours.StructureSetROISequence.append(contours.StructureSetROISequence[0])
    with pytest.raises(errors.PixelError, match="same number"):
        segments(contours, stack())


def test_what_somebody_typed_is_shown_to_nobody_by_accident() -> None:
    found = segments(rtstruct((0, square(0.5, 4.5)), (0, square(2.5, 6.5))), stack())
    assert isinstance(found, Segments)
    assert found.labels[7].label == "Doe^John tumour"
    assert found.labels[7].kind == "GTV"
    said = repr(found) + repr(found.labels) + "".join(found.issues)
    assert "Doe" not in said
    assert said.startswith("<Segments 1: 1 x 5 x 8 x 8 bool>{7: <Segment 7>}")


def test_segments_from_a_server_fit_the_volume_from_it(orthanc: ores.Orthanc) -> None:
    orthanc.upload([*_complete(series()), seg(PARTS)], progress=False)
    volume = orthanc.volume(orthanc.series(Modality="CT"))
    found = ores.segments(orthanc.dicom(orthanc.instances(within=orthanc.series(Modality="SEG"))), volume)
    assert np.array_equal(found.array, np.stack([PARTS == 1, PARTS == 2]))
