"""What is refused, and accepted when somebody asks for it: gaps, lean, four dimensions."""

from __future__ import annotations

import math
import threading
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from dicom_files import as_file
from pixel_cases import PT, Each, as_short_tags, item, make_mosaic, make_series, make_slice, sequence
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO

from orthanc_research.errors import GeometryError, PixelError, QueryError
from orthanc_research.pixels import Filler, Stack, Volume, arrange, frames_of, one_stack, stacks_of


def at(*z: float, lean: float = 0.0, **changes: Any) -> list[Dataset]:
    """Slices at these heights, each `lean` mm further along y for every mm up."""
    places = [[-10.0, 20.0 + lean * place, place] for place in z]
    return make_series(len(z), ImagePositionPatient=Each(*places), **changes)


def echoes(slices: int = 3, times: tuple[float, ...] = (80.0, 12.0), **changes: Any) -> list[Dataset]:
    """`slices` positions with an echo at each of `times`; pixels are 100 k, k counting position by position."""
    count = slices * len(times)
    places = Each(*([0.0, 0.0, 2.5 * (k // len(times))] for k in range(count)))
    return make_series(count, ImagePositionPatient=places, EchoTime=Each(*(times * slices)), Modality="MR", **changes)


def filled(stack: Stack, datasets: list[Dataset], values: str = "rescaled", dtype: Any = None) -> Volume:
    files = {d.SOPInstanceUID: d for d in datasets}
    filler = Filler(stack, values, dtype)
    for file in stack.files:
        filler.put_file(file, files[file.sop_uid])
    return filler.volume()


def only(datasets: list[Dataset], **options: Any) -> Stack:
    found = arrange(stacks_of(datasets), **options)
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("datasets", "code"),
    [(at(0, 1, 2, 5), "missing-slices"), (at(0, 1, 2, 3, lean=0.3), "sheared"), (echoes(), "4d")],
)
def test_nothing_is_accepted_unless_asked_for(datasets: list[Dataset], code: str) -> None:
    stacks = stacks_of(datasets)
    assert arrange(stacks) == stacks
    with pytest.raises(GeometryError, match=code):
        one_stack(arrange(stacks))
    with pytest.raises(GeometryError, match=code):
        Filler(stacks[0])


@pytest.mark.parametrize("name", ["on_missing", "on_shear", "on_4d"])
def test_a_word_that_is_none_of_the_choices_is_named(name: str) -> None:
    with pytest.raises(QueryError, match=f"{name}='drop' is not there; choose from raise"):
        arrange([], **{name: "drop"})  # type: ignore[arg-type]


def test_a_volume_that_is_one_stays_as_it_is() -> None:
    stacks = stacks_of(at(0, 1, 2))
    assert arrange(stacks, on_missing="nan", on_shear="resample", on_4d="stack") == stacks


# -- gaps -------------------------------------------------------------------------------------------------------------


def test_missing_slices_are_nan_and_nameless_and_the_others_are_where_they_were() -> None:
    datasets = at(0, 2.5, 5, 12.5)
    volume = filled(only(datasets, on_missing="nan"), datasets)
    assert volume.shape == (6, 6, 5)
    assert [bool(np.isnan(image).all()) for image in volume.array] == [False, False, False, True, True, False]
    assert not np.isnan(volume.array[[0, 1, 2, 5]]).any()
    np.testing.assert_array_equal(volume.array[5], datasets[3].pixel_array - 1024)
    assert volume.sop_uids[3:] == ("", "", datasets[3].SOPInstanceUID)
    assert volume.frame_indices == (0, 0, 0, -1, -1, 0)
    np.testing.assert_array_equal((volume.affine @ [5, 0, 0, 1])[:3], [-10, 20, 12.5])
    assert volume.spacing == (2.5, 0.8, 0.7)
    assert any("2 slices that are not there are NaN" in issue for issue in volume.issues)


def test_integers_have_no_nan_so_stored_values_are_refused_before_any_pixel_is_read() -> None:
    stack = only(at(0, 2.5, 5, 12.5), on_missing="nan")
    for values, dtype in (("stored", None), ("rescaled", "int16"), ("stored", "uint16")):
        with pytest.raises(QueryError, match="on_missing='nan' needs float values"):
            Filler(stack, values, dtype)
    assert Filler(stack, "stored", "float32")


def test_gaps_split_a_series_into_what_lies_between_them() -> None:
    datasets = at(0, 1, 2, 3, 8, 9, 10, 20, 21)
    parts = arrange(stacks_of(datasets), on_missing="split")
    assert [(s.status, len(s.frames)) for s in parts] == [("ok", 4), ("ok", 3), ("too-few-slices", 2)]
    assert [f.position[2] for s in parts for f in s.frames if f.position] == [0, 1, 2, 3, 8, 9, 10, 20, 21]
    assert [s.status for s in arrange(stacks_of(datasets, min_slices=2), on_missing="split", min_slices=2)] == [
        "ok"
    ] * 3


def test_more_missing_than_there_is_not_filled() -> None:
    assert only(at(0, 1, 2, 3000), on_missing="nan").status == "missing-slices"


def test_a_gap_with_slices_off_the_line_is_not_filled() -> None:
    datasets = at(0, 1, 2, 5)
    datasets[1].ImagePositionPatient = [-7.0, 20.0, 1.0]
    stack = only(datasets, on_missing="nan")
    assert stack.details["problems"] == ["missing-slices", "non-uniform"]
    assert stack.status == "missing-slices"
    assert only(datasets, on_missing="split").status == "missing-slices"


# -- lean -------------------------------------------------------------------------------------------------------------


def test_a_lean_that_is_kept_is_in_the_affine() -> None:
    datasets = at(0, 1, 2, 3, lean=0.3)
    volume = filled(only(datasets, on_shear="keep"), datasets, "stored")
    np.testing.assert_array_equal(volume.array, np.stack([d.pixel_array for d in datasets]))
    for k, dataset in enumerate(datasets):
        np.testing.assert_allclose((volume.affine @ [k, 0, 0, 1])[:3], dataset.ImagePositionPatient, atol=1e-9)
    assert volume.spacing[0] == pytest.approx(1.0)
    assert any("leans by 16.7°" in issue for issue in volume.issues)


@pytest.mark.parametrize("lean", [0.3, -0.45, 0.8])
def test_a_lean_that_is_resampled_leaves_every_voxel_where_it_is_in_the_body(lean: float) -> None:
    """A plane in space, linear in x, y, z, is interpolated without error: each voxel must show its own place."""

    def field(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return 3 * points[..., 0] + 7 * points[..., 1] - 2 * points[..., 2]

    rows, columns = np.mgrid[0:16, 0:12]
    datasets = []
    for k in range(5):
        corner = np.array([-10.0, 20.0 + lean * 2.5 * k, 2.5 * k])
        across, down = columns[..., None] * [0.7, 0, 0], rows[..., None] * [0, 0.8, 0]
        image = np.rint(field(corner + across + down) * 1000).astype(np.int32)
        datasets.append(make_slice(k, image, ImagePositionPatient=corner.tolist(), RescaleIntercept=0))
    volume = filled(only(datasets, on_shear="resample"), datasets, "stored", "float64")
    there = ~np.isnan(volume.array)
    index = np.stack([*np.indices(volume.shape), np.ones(volume.shape)], axis=-1)
    places = (index @ volume.affine.T)[..., :3]
    np.testing.assert_allclose(volume.array[there], field(places)[there] * 1000, atol=1.0)
    assert volume.affine[1, 0] == pytest.approx(0, abs=1e-12)  # upright
    assert (there.sum(axis=(1, 2)) >= 15 * 12).all()  # at most one row of each slice is lost
    assert volume.shape[0] == 5
    assert volume.shape[1] >= 16
    assert volume.sop_uids == tuple(d.SOPInstanceUID for d in datasets)
    assert any(issue.startswith("Resampled") for issue in volume.issues)


def test_resampling_by_whole_pixels_changes_no_value() -> None:
    datasets = at(0, 1, 2, 3, lean=1.6)  # two rows of 0.8 mm each slice
    datasets[0].ImagePositionPatient[1] = 20.0
    volume = filled(only(datasets, on_shear="resample"), datasets)
    assert volume.shape == (4, 12, 5)
    for k, dataset in enumerate(datasets):
        np.testing.assert_array_equal(volume.array[k, 2 * k : 2 * k + 6], dataset.pixel_array - 1024)
        assert np.isnan(volume.array[k]).sum() == 6 * 5


def test_resampling_needs_floats_and_a_lean_that_memory_holds() -> None:
    with pytest.raises(QueryError, match="on_shear='resample' needs float values"):
        Filler(only(at(0, 1, 2, lean=0.3), on_shear="resample"))
    assert only(at(0, 1, 2, lean=900.0), on_shear="resample").status == "sheared"


def test_a_lean_with_a_gap_needs_both_to_be_accepted() -> None:
    datasets = at(0, 1, 2, 5, lean=0.3)
    assert only(datasets, on_missing="nan").status == "missing-slices"
    assert only(datasets, on_shear="keep").status == "missing-slices"
    volume = filled(only(datasets, on_missing="nan", on_shear="resample"), datasets)
    assert np.isnan(volume.array[3:5]).all()
    assert not np.isnan(volume.array[5]).all()
    np.testing.assert_allclose((volume.affine @ [5, 0, 0, 1])[2], 5)


def test_colour_is_not_resampled() -> None:
    images = [np.full((6, 5, 3), k, np.uint8) for k in range(3)]
    datasets = [
        make_slice(k, image, ImagePositionPatient=[0, 0.3 * k, 1.0 * k], RescaleSlope=None)
        for k, image in enumerate(images)
    ]
    assert only(datasets, on_shear="resample").status == "colour"


# -- four dimensions --------------------------------------------------------------------------------------------------


def test_echoes_are_stacked_by_value() -> None:
    datasets = echoes()
    volume = filled(only(datasets, on_4d="stack"), datasets, "stored")
    assert (volume.dims, volume.shape) == (("extra", "slice", "row", "column"), (2, 3, 6, 5))
    assert dict(volume.axes) == {"echo_time": (12, 80)}
    np.testing.assert_array_equal(volume.array[:, :, 0, 0], [[100, 300, 500], [0, 200, 400]])
    assert volume.sop_uids == tuple(datasets[k].SOPInstanceUID for k in (1, 3, 5, 0, 2, 4))
    np.testing.assert_array_equal((volume.affine @ [2, 0, 0, 1])[:3], [0, 0, 5])


def test_echoes_are_split_into_a_volume_each() -> None:
    datasets = echoes()
    first, second = arrange(stacks_of(datasets), on_4d="split")
    assert (first.status, second.status) == ("ok", "ok")
    np.testing.assert_array_equal(filled(first, datasets, "stored").array[:, 0, 0], [100, 300, 500])
    np.testing.assert_array_equal(filled(second, datasets, "stored").array[:, 0, 0], [0, 200, 400])
    with pytest.raises(GeometryError, match="several-stacks"):
        one_stack([first, second])


def test_each_part_says_which_one_it_is_whatever_else_is_accepted() -> None:
    places = Each(*([0.0, 0.1 * (k % 6), 2.5 * (k % 6)] for k in range(12)))  # leaning by 2.3°
    times = Each(*(12.0 if k < 6 else 80.0 for k in range(12)))
    datasets = make_series(12, ImagePositionPatient=places, Modality="MR", EchoTime=times)
    for shear in ("raise", "keep", "resample"):
        first, second = arrange(stacks_of(datasets), on_4d="split", on_shear=shear)
        assert (first.status == "ok") == (shear != "raise")
        assert "Volume 1 of 2: echo time 12." in first.issues
        assert "Volume 2 of 2: echo time 80." in second.issues
    del datasets[9], datasets[3]
    parts = arrange(stacks_of(datasets), on_4d="split", on_missing="split", on_shear="keep", min_slices=2)
    assert [part.issues[-2:] for part in parts][:2] == [
        (f"Part {k} of 2 between missing slices.", "Volume 1 of 2: echo time 12.") for k in (1, 2)
    ]


def test_volumes_that_only_their_numbers_tell_apart_are_stacked_by_number() -> None:
    for order in ((0, 1, 2, 3, 4, 5), (0, 3, 1, 4, 2, 5)):  # volume by volume, and position by position
        places = Each(*([0.0, 0.0, 2.5 * (k % 3)] for k in range(6)))
        datasets = make_series(6, ImagePositionPatient=places, InstanceNumber=Each(*(order.index(k) for k in range(6))))
        stack = only(datasets, on_4d="stack")
        assert list(stack.axes) == ["instance_number"]
        np.testing.assert_array_equal(
            filled(stack, datasets, "stored").array[:, :, 0, 0], [[0, 100, 200], [300, 400, 500]]
        )


@pytest.mark.parametrize("numbers", [(None,) * 6, (1,) * 6, (0, 1, 2, 1, 4, 3), (0, 2, 4, 3, 1, 5)])
def test_what_nothing_tells_apart_is_neither_stacked_nor_split(numbers: tuple[int | None, ...]) -> None:
    places = Each(*([0.0, 0.0, 2.5 * (k % 3)] for k in range(6)))
    datasets = make_series(6, ImagePositionPatient=places, InstanceNumber=Each(*numbers))
    for option in ("stack", "split"):
        stack = only(datasets, on_4d=option)
        assert (stack.status, dict(stack.axes)) == ("4d", {})
        assert "nothing in their headers tells them apart" in stack.reason


def test_b_values_come_along_with_numbered_volumes() -> None:
    places = Each(*([0.0, 0.0, 2.5 * (k % 3)] for k in range(9)))
    datasets = make_series(9, ImagePositionPatient=places, Modality="MR")
    for k, dataset in enumerate(datasets):
        dataset.DiffusionBValue = (0.0, 1000.0, 1000.0)[k // 3]
    assert dict(only(datasets, on_4d="stack").axes) == {
        "instance_number": (1, 4, 7),
        "b_value": (0, 1000, 1000),
    }


def test_four_images_of_dixon_are_four_stacks_unless_an_axis_tells_them_apart() -> None:
    kinds = [["ORIGINAL", "PRIMARY", "DIXON", kind] for kind in ("WATER", "FAT", "IN_PHASE", "OPP_PHASE")]
    places = Each(*([0.0, 0.0, 2.5 * (k // 4)] for k in range(12)))
    datasets = make_series(12, ImagePositionPatient=places, ImageType=Each(*(kinds * 3)), Modality="MR")
    assert [(s.status, s.shape[0]) for s in stacks_of(datasets)] == [("ok", 3)] * 4
    for k, dataset in enumerate(datasets):
        dataset.TemporalPositionIdentifier = k % 4
    assert [s.status for s in stacks_of(datasets)] == ["4d"]


def test_magnitude_and_phase_are_never_one_axis() -> None:
    places = Each(*([0.0, 0.0, 2.5 * (k // 2)] for k in range(6)))
    kinds = Each(*([["ORIGINAL", "PRIMARY", "M", "ND"], ["ORIGINAL", "PRIMARY", "P", "ND"]] * 3))
    datasets = make_series(6, ImagePositionPatient=places, ImageType=kinds, Modality="MR", EchoTime=Each(*([5, 9] * 3)))
    assert [(s.status, s.frames[0].component) for s in stacks_of(datasets)] == [("ok", "magnitude"), ("ok", "phase")]


def test_values_in_two_units_are_never_one_axis() -> None:
    places = Each(*([0.0, 0.0, 2.5 * (k // 2)] for k in range(6)))
    units, times = Each(*(["1", "Hz"] * 3)), Each(*([1, 2] * 3))
    maps = make_series(
        6, ImagePositionPatient=places, RescaleType=units, TemporalPositionIdentifier=times, Modality="MR"
    )
    assert sorted((s.status, s.frames[0].units) for s in stacks_of(maps)) == [("ok", "1"), ("ok", "Hz")]


def test_magnitude_and_phase_do_not_take_turns_in_one_volume() -> None:
    kinds = Each(*([["ORIGINAL", "PRIMARY", "M", "ND"], ["ORIGINAL", "PRIMARY", "P", "ND"]] * 3))
    assert [len(s.frames) for s in stacks_of(at(0, 1, 2, 3, 4, 5, ImageType=kinds, Modality="MR"))] == [3, 3]


def test_a_volume_whose_slices_differ_in_image_type_stays_one() -> None:
    kinds = [["DERIVED" if k else "ORIGINAL", "PRIMARY", "AXIAL"] for k in range(3)]
    assert only(at(0, 1, 2, ImageType=Each(*kinds))).status == "ok"


def test_four_dimensions_with_a_gap_are_split_in_both_ways() -> None:
    datasets = echoes(6)
    kept = [d for d in datasets if d.ImagePositionPatient[2] != 2.5 * 3]
    assert only(kept, on_4d="stack").status == "4d"
    parts = arrange(stacks_of(kept, min_slices=2), on_4d="split", on_missing="split", min_slices=2)
    assert [(s.status, s.shape) for s in parts] == [("ok", (3, 6, 5)), ("ok", (2, 6, 5))] * 2
    volume = filled(only(kept, on_4d="stack", on_missing="nan"), kept)
    assert volume.shape == (2, 6, 6, 5)
    assert np.isnan(volume.array[:, 3]).all()
    assert np.isnan(volume.array).sum() == 2 * 30
    assert (volume.sop_uids[3], volume.sop_uids[9]) == ("", "")


def test_an_instance_that_is_there_twice_is_refused_whatever_is_accepted() -> None:
    datasets = [*echoes(), *echoes()[:1]]
    for options in ({"on_4d": "stack"}, {"on_4d": "split"}, {"on_missing": "split"}, {"on_missing": "nan"}):
        with pytest.raises(GeometryError, match="duplicate-instances"):
            one_stack(arrange(stacks_of(datasets), **options))  # type: ignore[arg-type]
    apart = at(0, 2, 4, 10, 12, 14)  # each part would have it once
    apart[5].SOPInstanceUID = apart[0].SOPInstanceUID
    assert {stack.status for stack in arrange(stacks_of(apart), on_missing="split")} == {"duplicate-instances"}


def test_colour_over_time_has_both_axes() -> None:
    images = [np.full((6, 5, 3), k, np.uint8) for k in range(6)]
    datasets = [
        make_slice(k, image, ImagePositionPatient=[0, 0, k % 3], TemporalPositionIdentifier=k // 3, RescaleSlope=None)
        for k, image in enumerate(images)
    ]
    assert only(datasets).status == "colour"
    volume = filled(only(datasets, on_4d="stack"), datasets, "stored")
    assert volume.dims == ("extra", "slice", "row", "column", "sample")
    np.testing.assert_array_equal(volume.array[:, :, 0, 0, 1], [[0, 1, 2], [3, 4, 5]])


# -- filling ----------------------------------------------------------------------------------------------------------


def test_colour_slices_are_a_volume_of_samples_that_cannot_be_rescaled() -> None:
    images = [np.full((6, 5, 3), [k, 10 * k, 20 * k], np.uint8) for k in range(4)]
    datasets = [make_slice(k, image, RescaleSlope=None, RescaleIntercept=None) for k, image in enumerate(images)]
    volume = filled(only(datasets), datasets, "stored")
    assert (volume.dims, volume.shape) == (("slice", "row", "column", "sample"), (4, 6, 5, 3))
    assert volume.array.flags.c_contiguous
    np.testing.assert_array_equal(volume.array, np.stack(images))
    assert any(issue.startswith("Colour") for issue in volume.issues)
    with pytest.raises(PixelError, match="colour"):
        Filler(only(datasets), "rescaled")


def test_slices_may_come_from_several_threads_and_each_only_once() -> None:
    datasets = at(*(2.5 * k for k in range(40)))
    stack = only(datasets)
    filler = Filler(stack, "rescaled")
    files = {d.SOPInstanceUID: as_file(d) for d in datasets}

    def fill(part: int) -> None:
        for file in stack.files[part::4]:
            filler.put_file(file, files[file.sop_uid])

    threads = [threading.Thread(target=fill, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(filler.volume().array, np.stack([d.pixel_array for d in datasets]) - 1024)
    with pytest.raises(PixelError, match="came twice"):
        filler.put(3, datasets[3].pixel_array)


def test_an_unfinished_volume_is_an_error_that_says_how_much_is_missing() -> None:
    filler = Filler(only(at(0, 1, 2)))
    filler.put(1, at(0, 1, 2)[1].pixel_array)
    with pytest.raises(PixelError, match="2 of 3 slices did not come"):
        filler.volume()


def test_files_lists_each_instance_once_with_the_places_it_fills() -> None:
    stack = one_stack(stacks_of([make_mosaic(4)]))
    assert [(f.sop_uid, f.fills) for f in stack.files] == [(stack.sop_uids[0], ((0, 0), (1, 0), (2, 0), (3, 0)))]
    stack = only(at(0, 1, 2))
    assert [f.fills for f in stack.files] == [((0, 0),), ((1, 0),), ((2, 0),)]


@pytest.mark.parametrize("values", ["stored", "rescaled"])
def test_memory_is_the_volume_and_a_few_slices(values: str) -> None:
    side, count = 256, 40
    image = np.zeros((side, side), np.int16)
    stack = only(make_series(count, array=image))
    filled_size = side * side * count * (2 if values == "stored" else 4)
    tracemalloc.start()
    filler = Filler(stack, values)
    for place in range(count):
        filler.put(place, image)
    volume = filler.volume()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert volume.array.nbytes == filled_size
    assert peak < filled_size + 12 * side * side * 2  # float64 of one slice and what numpy compares


def test_a_modality_lut_whose_entries_are_in_the_file_is_read_from_it() -> None:
    lut = item(LUTDescriptor=[256, 0, 16], ModalityLUTType="US", LUTData=b"")
    lut.LUTData = (np.arange(256, dtype="<u2") * 3).tobytes()
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "OW"
    datasets = make_series(3, array=np.arange(30, dtype=np.uint16).reshape(6, 5), RescaleSlope=None)
    for dataset in datasets:
        del dataset.RescaleIntercept
        dataset.ModalityLUTSequence = [lut]
    (stack,) = stacks_of([as_short_tags(d) for d in datasets])
    volume = filled(stack, [_reread(d) for d in datasets])
    np.testing.assert_array_equal(volume.array[1], np.arange(30).reshape(6, 5) * 3)
    assert volume.units == "US"


def _reread(dataset: Dataset) -> Dataset:
    return dcmread(DicomBytesIO(as_file(dataset)))


def test_half_a_degree_of_lean_is_kept_without_asking() -> None:
    lean = math.tan(math.radians(0.4))
    assert only(at(0, 2.5, 5, 7.5, lean=lean)).status == "ok"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ImagePositionPatient", [0, 0, 5.25]),
        ("ImageOrientationPatient", [1, 0, 0, 0, -1, 0]),
        ("PixelSpacing", [0.5, 0.5]),
        ("RescaleSlope", 2),
        ("RescaleIntercept", None),
        ("RescaleType", "US"),
        ("ModalityLUTSequence", sequence(LUTDescriptor=[2, 0, 16], ModalityLUTType="HU", LUTData=b"\0\0\1\0")),
        ("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        ("PhotometricInterpretation", "MONOCHROME1"),
        ("PixelRepresentation", 0),
        ("BitsStored", 10),
        ("SOPInstanceUID", "1.2.3.4"),
        ("FrameOfReferenceUID", "1.2.3.4"),
    ],
)
def test_a_file_that_says_otherwise_than_its_header_did_is_refused(name: str, told: Any) -> None:
    """It was stored again between the two, or the header came damaged: no checksum covers that."""
    datasets = at(0, 2.5, 5, 7.5)
    stack = only(datasets)
    filler = Filler(stack, "rescaled")
    file = stack.files[2]
    other = next(dataset for dataset in datasets if dataset.SOPInstanceUID == file.sop_uid)
    filler.put_file(stack.files[0], as_file(datasets[0]))
    if told is None:
        del other[name]
    else:
        setattr(other, name, told)
    with pytest.raises(PixelError, match=r"does not say what its header said before .*stored again"):
        filler.put_file(file, as_file(other))


def test_a_private_fact_that_the_header_lacked_may_be_in_the_file() -> None:
    """Orthanc sends private elements of implicit VR as null; what it does send has to be the same."""
    datasets = make_series(
        4, Modality="PT", SOPClassUID=PT, Units="BQML", DecayCorrection="START", CorrectedImage=["ATTN", "DECY"]
    )
    for each in datasets:
        each.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20240102100000.00")
    headers = {each.SOPInstanceUID: dict(as_short_tags(each)) for each in datasets}
    for header in headers.values():
        header.update(dict.fromkeys(key for key in header if key.startswith("0009,")))
    stack = one_stack(stacks_of(headers))
    assert stack.frames[0].suv is not None
    assert not stack.frames[0].suv.ge_scan
    assert frames_of(datasets[0])[0].suv.ge_scan  # type: ignore[union-attr]
    filler = Filler(stack, "stored")
    for file, each in zip(stack.files, datasets, strict=True):
        filler.put_file(file, each)
    assert all(frame.suv and frame.suv.ge_scan for frame in filler._frames)
    np.testing.assert_array_equal(filler.volume().array, np.stack([d.pixel_array for d in datasets]))
