"""`StackViewer`: what is on the screen is what is in the files, in the order of their geometry, file by file."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from dicom_files import as_file
from pixel_cases import MR, Each, make_mosaic, make_series, make_slice
from pydicom.uid import BasicTextSRStorage, generate_uid
from screens import HOSTILE, foreign, picture, threads, words
from volume_cases import volume_of

import orthanc_research as ores
from orthanc_research.errors import QueryError, ResponseError
from orthanc_research.pixels import Window, image_file, pixels_of, stacks_of
from orthanc_research.rest import Connection
from orthanc_research.widgets import StackViewer

COUNT = 300


def _grey(k: int) -> npt.NDArray[np.int16]:
    return np.random.default_rng(k).integers(0, 3000, (12, 10)).astype(np.int16)


def _series(name: str, files: list[Any]) -> list[bytes]:
    """The files as a series of their own, of a patient who must not become markup."""
    random.Random(name).shuffle(files)
    for k, each in enumerate(files):
        each.SeriesInstanceUID = generate_uid(entropy_srcs=[name])
        each.SOPInstanceUID = each.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[name, str(k)])
        each.PatientName, each.SeriesDescription = HOSTILE, name
    return [as_file(each) for each in files]


def _cases() -> dict[str, list[Any]]:
    window: dict[str, Any] = {"WindowCenter": 200, "WindowWidth": 900}
    colour = np.random.default_rng(0).integers(0, 256, (8, 9, 3)).astype(np.uint8)
    cine = np.random.default_rng(1).integers(0, 200, (5, 8, 9)).astype(np.uint8)
    away = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "RescaleSlope": None}
    two = make_series(6, ImagePositionPatient=Each(*[[0.0, 0.0, 2.0 * k] for k in (0, 1, 2, 3, 5, 6)]))
    return {
        "long": [
            make_slice(k, np.full((4, 4), k, np.int16), InstanceNumber=COUNT - k, RescaleSlope=1, RescaleIntercept=0)
            for k in range(COUNT)
        ],
        "ct": [make_slice(k, _grey(k), **window) for k in range(5)],
        "inverse": [make_slice(k, _grey(k), PhotometricInterpretation="MONOCHROME1", **window) for k in range(3)],
        "no window": [make_slice(k, _grey(k) // (k + 1), SOPClassUID=MR, Modality="MR") for k in range(4)],
        "colour": [make_slice(0, colour, RescaleSlope=None, RescaleIntercept=None)],
        "cine": [make_slice(0, cine, **away, RescaleIntercept=None, Modality="US")],
        "gaps": two,
        "flat": make_series(4, PixelSpacing=[2.0, 1.0]),
        "report": [_report()],
        "mosaic": [make_mosaic(5)],
        "damaged": [make_slice(0, _grey(0)), make_slice(1, _grey(1), RescaleSlope=0), make_slice(2, _grey(2))],
    }


def _report() -> Any:
    made = make_slice(0)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    made.Modality = "SR"
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelSpacing"):
        made.pop(keyword, None)
    made.TextValue = f"Nothing seen. {HOSTILE}"
    return made


@pytest.fixture(scope="module")
def archive(connection: Connection) -> Iterator[ores.Orthanc]:
    with ores.Orthanc(connection.url, auth=connection.auth) as orthanc:
        patients = orthanc.rest.patients.list()
        if patients:
            orthanc.rest.tools.bulk_delete(patients)
        files = [each for name, made in _cases().items() for each in _series(name, made)]
        assert set(orthanc.upload(files, progress=False)["status"]) == {"stored"}
        yield orthanc
        orthanc.rest.tools.bulk_delete(orthanc.rest.patients.list())


@pytest.fixture(scope="module")
def ids(archive: ores.Orthanc) -> dict[str, str]:
    found = archive.series()
    return dict(zip(found["SeriesDescription"], found.index, strict=True))


@pytest.fixture
def viewer() -> Iterator[StackViewer]:
    made = StackViewer()
    yield made
    made.close()
    assert not threads()


def opened(viewer: StackViewer, series: Any, orthanc: ores.Orthanc) -> StackViewer:
    viewer.show(series, orthanc)
    assert viewer.wait()
    assert not viewer.failed, viewer.status
    return viewer


def at(viewer: StackViewer, k: int) -> StackViewer:
    viewer.go(k)
    assert viewer.wait()
    assert viewer.index == k
    return viewer


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_slices_stand_in_the_order_of_their_places(
    archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer
) -> None:
    opened(viewer, ids["long"], archive)
    assert viewer.index == COUNT // 2
    stack = archive.stacks(ids["long"])[0]
    for k in (0, 1, 7, COUNT // 2, COUNT - 1):
        at(viewer, k)
        assert viewer.array is not None
        assert viewer.array[0, 0] == k  # each slice holds its number along the normal; InstanceNumber runs backwards
        assert viewer.selected == stack.instances[k]
        assert f"Slice {k + 1} of {COUNT} · {2.5 * k:.1f} mm" in words(viewer._caption)


@pytest.mark.one_version
def test_the_middle_of_a_long_series_is_there_after_two_requests(
    archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer
) -> None:
    with archive.rest.counting() as requests:
        first: list[int] = []
        viewer.observe(lambda _: first.append(len(requests)), "index")
        opened(viewer, ids["long"], archive)
        assert first == [2]  # the headers of all, the file of one
        assert len(requests) == 8  # and of six neighbours
        at(viewer, viewer.index + 1)
        assert len(requests) == 9  # it was here; one more neighbour
        for k in range(70):
            at(viewer, k)
        assert len({target for _, target in requests}) == len(requests)  # nothing twice


@pytest.mark.one_version
def test_sixty_four_slices_are_kept(archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer) -> None:
    opened(viewer, ids["long"], archive)
    for k in range(70):
        at(viewer, k)
    slices = viewer._slices
    assert slices is not None
    assert sum(slices.has(k) for k in range(COUNT)) == 64
    assert slices.has(69)
    assert not slices.has(0)


def _linear(x: npt.NDArray[Any], centre: float, width: float) -> npt.NDArray[Any]:
    """PS3.3 C.11.2.1.2.1, as it stands there, from 0 to 255."""
    low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    between = ((x - (centre - 0.5)) / (width - 1) + 0.5) * 255
    return np.rint(np.where(x <= low, 0, np.where(x > high, 255, between))).astype(np.uint8)


@pytest.mark.one_version
@pytest.mark.parametrize("preset", ["file", "soft tissue", "lung", "bone", "full"])
@pytest.mark.parametrize("name", ["ct", "inverse"])
def test_what_is_shown_is_what_the_window_makes_of_the_values(
    archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer, name: str, preset: str
) -> None:
    opened(viewer, ids[name], archive)
    viewer.windows.preset.value = preset
    at(viewer, 0), at(viewer, 2)
    assert viewer.selected is not None
    assert viewer.values == "rescaled"
    assert viewer.units == "HU"
    window = viewer.window
    assert window is not None
    values = archive.pixels(viewer.selected, "rescaled")[0]
    assert np.array_equal(viewer.array, values)  # type: ignore[arg-type]
    shown = picture(viewer._image)
    assert np.array_equal(shown, archive.pixels(viewer.selected, "display", window=window)[0])
    if window.function == "LINEAR":
        linear = _linear(values.astype(np.float64), window.centre, window.width)
        assert np.array_equal(shown, 255 - linear if name == "inverse" else linear)
    expected = {"file": (200, 900), "soft tissue": (40, 400), "lung": (-600, 1500), "bone": (400, 1800)}
    if preset in expected:
        assert (window.centre, window.width) == expected[preset]
        assert viewer.windows.centre.box.value == f"{expected[preset][0]}"


@pytest.mark.one_version
def test_without_a_window_one_range_serves_all_slices(
    archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer
) -> None:
    opened(viewer, ids["no window"], archive)
    middle = archive.pixels(viewer.selected, "rescaled")[0]
    window = viewer.window
    assert window is not None
    assert viewer.windows.preset.value == "full"
    assert (window.centre - window.width / 2, window.centre + window.width / 2) == (middle.min(), middle.max())
    at(viewer, 0)
    assert viewer.window == window
    viewer.windows.preset.value = "file"  # and this is what pixels(display) shows of each
    assert np.array_equal(picture(viewer._image), archive.pixels(viewer.selected, "display")[0])


@pytest.mark.one_version
def test_colours_and_frames_of_one_file(archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer) -> None:
    opened(viewer, ids["colour"], archive)
    assert np.array_equal(picture(viewer._image), archive.pixels(viewer.selected)[0])
    assert viewer.windows.preset.disabled
    assert viewer.window is None
    assert viewer.values == "stored"
    with archive.rest.counting() as requests:
        opened(viewer, ids["cine"], archive)
        shown = [picture(at(viewer, k)._image) for k in range(5)]
    assert len(requests) == 2  # the headers, and the file once
    assert np.array_equal(shown, archive.pixels(viewer.selected, "display", window=viewer.window))
    assert "Image 5 of 5 · frame 5 of its file" in words(viewer._caption)
    assert np.array_equal(viewer.array, archive.pixels(viewer.selected)[4])  # type: ignore[arg-type]
    assert words(viewer._verdict).startswith("no-geometry. ")


@pytest.mark.one_version
def test_pixels_that_are_not_square_are_shown_in_their_shape(
    archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer
) -> None:
    opened(viewer, ids["flat"], archive)  # 6 rows of 2 mm, 5 columns of 1 mm
    assert (viewer._image.layout.width, viewer._image.layout.height) == ("213px", "512px")


@pytest.mark.one_version
def test_what_is_no_volume_shows_its_verdict_and_its_frames_in_order(
    archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer
) -> None:
    opened(viewer, ids["gaps"], archive)
    (stack,) = archive.stacks(ids["gaps"])
    assert stack.status == "missing-slices"
    assert words(viewer._verdict) == f"missing-slices. {stack.reason}"
    assert [at(viewer, k).selected for k in range(6)] == list(stack.instances)


@pytest.mark.one_version
def test_a_mosaic_is_cut_into_its_slices(archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer) -> None:
    opened(viewer, ids["mosaic"], archive)
    volume = archive.volume(ids["mosaic"])
    for k in range(len(volume.array)):
        assert np.array_equal(at(viewer, k).array, volume.array[k])  # type: ignore[arg-type]


@pytest.mark.one_version
def test_a_report_is_shown_as_text(archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer) -> None:
    viewer._with_tags.value = False
    opened(viewer, ids["report"], archive)
    assert viewer._image.layout.display == "none"
    assert viewer.array is None
    assert "it is a report, not an image" in words(viewer._caption)
    assert f"(0040,a160) TextValue: Nothing seen. {HOSTILE}" in words(viewer._tags).splitlines()


@pytest.mark.one_version
def test_a_slice_that_cannot_be_rescaled_is_said_and_the_next_is_reached(
    archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer
) -> None:
    opened(viewer, ids["damaged"], archive)
    for part in range(len(viewer._parts)):
        viewer._part.value = part
        assert viewer.wait()
        slices = viewer._slices
        assert slices is not None
        for k in range(slices.count):
            at(viewer, k)
            wrong = "RescaleSlope, RescaleIntercept or DoseGridScaling cannot be right" in words(viewer._caption)
            assert wrong == (viewer._image.layout.display == "none")
            assert wrong == (archive.dicom(viewer.selected).RescaleSlope == 0)


@pytest.mark.one_version
def test_tags_are_text_whatever_they_hold(archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer) -> None:
    for name in ids:
        opened(viewer, ids[name], archive)
        assert not foreign(viewer.widget)
        assert f"(0010,0010) PatientName: {HOSTILE}" in words(viewer._tags).splitlines()
    viewer._with_tags.value = False
    opened(viewer, ids["ct"], archive)
    assert viewer._tags.value == ""


# -- other sources ----------------------------------------------------------------------------------------------------


@pytest.mark.one_version
@pytest.mark.parametrize("way", ["frame", "row", "stack"])
def test_a_frame_a_row_and_a_stack_are_the_series(
    archive: ores.Orthanc, ids: dict[str, str], way: str, viewer: StackViewer
) -> None:
    frame = archive.series(SeriesDescription="ct")
    given = {"frame": frame, "row": frame.iloc[0], "stack": archive.stacks(ids["ct"])[0]}[way]
    viewer.show(given, archive if way == "stack" else None)
    assert viewer.wait()
    assert viewer.index == 2
    assert viewer.array is not None
    assert viewer.array.shape == (12, 10)


@pytest.mark.parametrize(("extra", "samples"), [(0, 0), (2, 0), (0, 3)])
def test_a_volume_in_memory(viewer: StackViewer, extra: int, samples: int) -> None:
    volume = volume_of("u1" if samples else "i2", extra, samples)
    if extra:
        volume = replace(volume, axes={"echo_time": (12.0, 104.0)})
    viewer.show(volume)
    assert viewer.wait()
    flat = volume.array.reshape(-1, *volume.array.shape[-2 - bool(samples) :])
    at(viewer, 0), at(viewer, len(flat) - 1)
    assert np.array_equal(viewer.array, flat[-1])  # type: ignore[arg-type]
    assert (viewer.values, viewer.units) == ("rescaled", "HU")
    assert viewer.selected == volume.sop_uids[-1]
    normal = np.cross(volume.orientation[:3], volume.orientation[3:])
    place = normal @ (volume.affine @ [3, 0, 0, 1])[:3]
    assert f"· {place:.1f} mm" in words(viewer._caption)
    assert ("echo time 104" in words(viewer._caption)) == bool(extra)
    if samples:
        assert np.array_equal(picture(viewer._image), flat[-1])
        return
    viewer.windows.preset.value = "lung"
    expected = 255 - _linear(flat[-1].astype(np.float64), -600, 1500)  # it is MONOCHROME1
    assert np.array_equal(picture(viewer._image), expected)


def test_a_window_of_rescaled_values_is_not_laid_on_stored_ones(viewer: StackViewer) -> None:
    stored = replace(volume_of(), values="stored", units="stored units", window=Window(-600, 1500))
    viewer.show(stored)
    assert viewer.wait()
    assert viewer.window is not None
    assert (viewer.window.centre, viewer.window.width) == (stored.array.max() / 2, stored.array.max())
    assert "lung" not in viewer.windows.preset.options  # nor are those of HU


def test_values_that_are_not_there_are_black_and_no_warning(viewer: StackViewer) -> None:
    volume = volume_of("f4")
    volume.array[1] = np.nan
    viewer.show(replace(volume, inverted=False))
    assert viewer.wait()
    assert not picture(at(viewer, 1)._image).any()
    assert picture(at(viewer, 2)._image).any()


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.one_version
def test_what_is_no_series_is_refused_before_anything_is_sent(archive: ores.Orthanc, ids: dict[str, str]) -> None:
    frame = archive.series()
    files = stacks_of([make_slice(k) for k in range(3)])
    with archive.rest.counting() as requests:
        for wrong in (frame, frame.iloc[:0], "no ID", pd.DataFrame(), 7):
            with pytest.raises(QueryError):
                StackViewer(wrong, archive)
        with pytest.raises(QueryError, match="Say which Orthanc"):
            StackViewer(ids["ct"])
        with pytest.raises(QueryError, match="from the Orthanc"):
            StackViewer(files[0], archive)
    assert not requests
    assert not threads()


@pytest.mark.one_version
@pytest.mark.parametrize(
    ("field", "given", "said"),
    [
        ("centre", "forty", "This is a number, such as 40."),
        ("centre", "nan", "This is a number, such as 40."),
        ("width", "0", "A width is a number above 0."),
        ("width", "", "A window needs both numbers."),
    ],
)
def test_a_window_that_cannot_be_is_said_beside_its_field(
    archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer, field: str, given: str, said: str
) -> None:
    opened(viewer, ids["ct"], archive)
    before = viewer._image.value
    getattr(viewer.windows, field).box.value = given
    assert words(getattr(viewer.windows, field)._wrong) == said
    assert viewer._image.value == before
    getattr(viewer.windows, field).box.value = "77"
    assert words(getattr(viewer.windows, field)._wrong) == ""
    assert viewer._image.value != before
    assert viewer.windows.preset.value == "as entered"
    window = viewer.window
    at(viewer, 0)
    assert viewer.window == window  # and it stays for the others


@pytest.mark.one_version
def test_a_series_that_is_gone_is_said(archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer) -> None:
    opened(viewer, ids["ct"], archive)
    viewer.show("-".join(["00000000"] * 5), archive)
    assert viewer.wait()
    assert viewer.failed
    assert viewer.array is None  # the values of another series would be taken for its
    assert viewer._image.layout.display == "none"


@pytest.mark.one_version
def test_what_is_shown_is_never_of_the_series_before(
    archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer
) -> None:
    archive.upload(_series("doomed", make_series(3)), progress=False)
    doomed = archive.series(SeriesDescription="doomed")

    def delete(change: dict[str, Any]) -> None:  # its headers are here, its files are not
        if change["new"] == -1:
            archive.delete(doomed, expect=1)

    opened(viewer, ids["ct"], archive)
    viewer.observe(delete, "index")
    viewer.show(doomed)
    assert viewer.wait()
    assert viewer.failed
    assert not picture(viewer._image).any()
    assert (viewer.index, viewer.selected, viewer.array) == (-1, None, None)
    assert words(viewer._tags) == words(viewer._same) == words(viewer._caption) == ""


@pytest.mark.one_version
@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize(("name", "first", "then"), [("cine", 2, 4), ("ct", 2, 0)])
def test_who_moves_on_while_a_file_comes_sees_where_they_went(
    archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer, name: str, first: int, then: int, broken: bool
) -> None:
    seen: list[int] = []

    def move(_: str, target: str) -> None:
        if "/file" in target and not seen:
            seen.append(viewer.index)
            viewer.go(then)
            if broken:
                raise ResponseError("It broke.")

    archive.rest._client.hooks.append(move)
    try:
        viewer.show(ids[name], archive)
        assert viewer.wait()
    finally:
        archive.rest._client.hooks.remove(move)
    assert seen == [-1]
    assert viewer.index == then
    assert not viewer.failed


@pytest.mark.one_version
def test_leafing_while_another_series_comes_does_not_end_its_coming(
    archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer
) -> None:
    opened(viewer, ids["long"], archive)

    def leaf(_: str, target: str) -> None:
        viewer._slider.value = 2

    archive.rest._client.hooks.append(leaf)
    try:
        opened(viewer, ids["ct"], archive)
    finally:
        archive.rest._client.hooks.remove(leaf)
    assert viewer.selected in set(archive.instances(within=ids["ct"]).index)
    viewer.clear()
    assert (viewer.status, viewer.failed, viewer.busy) == ("", False, False)


@pytest.mark.one_version
def test_cancel_stops_between_two_files(archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer) -> None:
    viewer.observe(lambda _: viewer._stop.click(), "index")
    with archive.rest.counting() as requests:
        viewer.show(ids["long"], archive)
        assert viewer.wait()
    assert len(requests) == 2
    assert viewer.status == "Cancelled."
    assert viewer.index == COUNT // 2
    viewer.unobserve_all("index")
    at(viewer, 3)


@pytest.mark.one_version
def test_a_fault_in_a_handler_is_said_without_its_words(
    archive: ores.Orthanc, ids: dict[str, str], viewer: StackViewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault() -> None:
        raise ValueError("DOE^JOHN")

    opened(viewer, ids["ct"], archive)
    monkeypatch.setattr(viewer, "_paint", fault)
    viewer.windows.preset.value = "lung"
    assert viewer.failed
    assert viewer.status.startswith("ValueError: ")
    assert "DOE" not in viewer.status
    viewer.go(0)
    assert viewer.wait()
    assert viewer.status.startswith("ValueError: ")


def test_a_server_that_is_away_leaves_the_slice_and_is_asked_again() -> None:
    with ores.LocalOrthanc() as orthanc:
        orthanc.upload([as_file(make_slice(k)) for k in range(20)], progress=False)
        viewer = StackViewer(orthanc.series())
        assert viewer.wait()
        assert viewer.index == 10
        before, told = viewer._image.value, viewer._caption.value
        orthanc.server.kill()
        viewer.go(0)
        assert viewer.wait()
        assert viewer.failed
        assert "Away since" in viewer.status
        assert (viewer.index, viewer._slider.value) == (10, 11)  # the slider says what is shown
        assert (viewer._image.value, viewer._caption.value) == (before, told)
        viewer.go(11)  # a neighbour, which is here
        assert viewer.index == 11
        orthanc.server.restart()
        at(viewer, 0)
        viewer.close()
    assert not threads()


@pytest.mark.one_version
def test_closing_while_it_reads_leaves_no_thread(archive: ores.Orthanc, ids: dict[str, str]) -> None:
    viewer = StackViewer(ids["long"], archive)
    viewer.close()
    assert not threads()
    assert repr(viewer) == "<StackViewer closed>"
    viewer._slider.value = 1  # and what comes late does nothing
    assert not threads()


# -- the layer below --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ct", "inverse", "no window", "colour", "cine"])
def test_an_image_file_shows_each_frame_as_pixels_of_does(name: str) -> None:
    content = as_file(_cases()[name][0])
    made = image_file(content)
    assert "PixelData" not in made.dataset
    windows = [None] if made.colour else [None, Window(300, 200)]
    for window in windows:
        expected = pixels_of(content, "display", window=window)
        for frame in made.frames:
            assert np.array_equal(made.display(frame, window), expected[frame.index])
    array, values, _ = made.values(made.frames[-1])
    assert np.array_equal(array, pixels_of(content, values)[-1])
