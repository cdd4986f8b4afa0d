"""Pixels, overlays and previews from real servers: what comes is what the file says, and costs one request."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pixel_cases import make_dose, make_slice
from pydicom.data import get_testdata_file

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.pixels import Window, overlays_of, pixels_of

UNKNOWN = "-".join(["00000000"] * 5)


def shipped(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


def stored(orthanc: ores.Orthanc, source: Any) -> str:
    content = source.read_bytes() if isinstance(source, Path) else source
    (row,) = orthanc.upload([content] if not isinstance(content, bytes) else [source], progress=False).itertuples()
    return str(row.ID)


def far(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> int:
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    return int(np.abs(found.astype(int) - expected).max())


def test_pixels_are_those_of_the_file_for_one_request(orthanc: ores.Orthanc, realdata: Path) -> None:
    cases = [
        (shipped("CT_small.dcm"), ["stored", "rescaled", "display"]),
        (shipped("examples_palette.dcm"), ["stored", "rgb"]),
        (realdata / "seg-sm-highdicom" / "dx_image.dcm", ["rescaled", "display"]),
        (realdata / "us-xa-multiframe" / "NM-MONO2-16-13x-heart.dcm", ["display"]),
        (realdata / "pet-single-slices" / "1.dcm", ["suv"]),
    ]
    for path, wanted in cases:
        instance = stored(orthanc, path)
        for values in wanted:
            with orthanc.rest.counting() as requests:
                found = orthanc.pixels(instance, values)
            assert len(requests) == 1
            expected = pixels_of(path.read_bytes(), values)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
    ct = stored(orthanc, shipped("CT_small.dcm"))
    expected = pixels_of(shipped("CT_small.dcm").read_bytes(), "display", window=(40, 400))
    np.testing.assert_array_equal(orthanc.pixels(ct, "display", window=(40, 400), verify=True), expected)
    assert orthanc.pixels(ct, "rescaled", dtype="int16").dtype == np.int16


def test_what_makes_no_sense_is_refused_before_it_is_sent(orthanc: ores.Orthanc) -> None:
    pixels, preview = partial(orthanc.pixels, UNKNOWN), partial(orthanc.preview, UNKNOWN)
    with orthanc.rest.counting() as requests:
        for refused in (
            partial(pixels, "hu"),
            partial(pixels, dtype="U5"),
            partial(pixels, window=(40, 400)),
            partial(pixels, "display", window=(40, -1)),
            partial(preview, frame=-1),
            partial(preview, frame="first"),
            partial(preview, width=0),
            partial(preview, window=(40, 0)),
            partial(preview, window=Window(40, 400, function="SIGMOID")),
        ):
            with pytest.raises(errors.QueryError):
                refused()
    assert requests == []


def test_what_is_no_image_is_called_what_it_is(orthanc: ores.Orthanc) -> None:
    plan = stored(orthanc, shipped("rtplan.dcm"))
    with pytest.raises(errors.PixelError, match="a treatment plan, not an image"):
        orthanc.pixels(plan)
    assert orthanc.overlays(plan) == {}
    with pytest.raises(errors.PixelError, match="cannot render"):
        orthanc.preview(plan)


def test_overlays_come_as_masks(orthanc: ores.Orthanc) -> None:
    path = shipped("examples_overlay.dcm")
    with orthanc.rest.counting() as requests:
        found = orthanc.overlays(stored(orthanc, path))
    assert [target.rpartition("/")[2] for _, target in requests][-1] == "file"
    expected = overlays_of(path.read_bytes())
    assert list(found) == [0x6000]
    np.testing.assert_array_equal(found[0x6000].mask, expected[0x6000].mask)


def test_a_preview_is_the_image_as_its_own_window_shows_it(orthanc: ores.Orthanc, realdata: Path) -> None:
    own = {"1.12.7": 2}.get(orthanc.capabilities().version, 1)  # it is asked for the header first: see fetch
    cases = [
        (realdata / "cr-mg-dx" / "CR-MONO1-10-chest_nometa.dcm", 1),  # MONOCHROME1; the server cuts, we round
        (realdata / "seg-sm-highdicom" / "dx_image.dcm", 1),
        (shipped("examples_overlay.dcm"), 1),
        (shipped("examples_palette.dcm"), 0),
        (shipped("examples_ybr_color.dcm"), 0),
    ]
    for path, most in cases:
        instance, expected = stored(orthanc, path), pixels_of(path.read_bytes(), "display")[0]
        with orthanc.rest.counting() as requests:
            found = orthanc.preview(instance)
        assert len(requests) == own
        assert far(found, expected) <= most, path.name
        small = orthanc.preview(instance, width=60)
        assert small.shape[1] == 60
        assert abs(small.shape[0] / 60 - expected.shape[0] / expected.shape[1]) < 0.02
        assert small.shape[2:] == expected.shape[2:]


def test_where_a_preview_is_not_what_the_file_says(orthanc: ores.Orthanc, realdata: Path) -> None:
    path = shipped("CT_small.dcm")
    assert orthanc.preview(stored(orthanc, path)).max() < 10  # no window: through all that 16 bits can be
    assert orthanc.pixels(stored(orthanc, path), "display").max() == 255
    path = realdata / "cr-mg-dx" / "GH133.dcm"
    linear = pixels_of(path.read_bytes(), "display", window=(2653, 900))[0]
    sigmoid = pixels_of(path.read_bytes(), "display", window=Window(2653, 900, function="SIGMOID"))[0]
    found = orthanc.preview(stored(orthanc, path))
    assert (far(found, linear), far(found, sigmoid)) == (1, 31)


def test_a_preview_of_a_frame_and_through_a_window(orthanc: ores.Orthanc) -> None:
    array = np.random.default_rng(6).integers(0, 2000, (3, 30, 40)).astype("i2")
    made = make_slice(0, array, WindowCenter=0, WindowWidth=100)
    instance = stored(orthanc, made)
    for frame in range(3):
        found = orthanc.preview(instance, frame=frame, window=(-100, 800))
        assert far(found, pixels_of(made, "display", window=(-100, 800))[frame]) <= 1
        assert far(orthanc.preview(instance, frame=frame), pixels_of(made, "display")[frame]) <= 3
    assert far(orthanc.preview(instance, frame=1), pixels_of(made, "display")[0]) == 255


def test_what_a_server_cannot_draw_is_a_pixel_error(orthanc: ores.Orthanc) -> None:
    dose = stored(orthanc, make_dose([0.0, 3.0, 6.0]))
    ct = stored(orthanc, shipped("CT_small.dcm"))
    j2k = stored(orthanc, shipped("MR_small_jp2klossless.dcm"))
    for instance in (dose, j2k):
        with pytest.raises(errors.PixelError, match=r"cannot render.*display"):
            orthanc.preview(instance)
        assert orthanc.pixels(instance, "display").max() == 255
    for instance, frame, said in ((ct, 1, "has 1 frame,"), (dose, 3, "has 3 frames,")):
        with pytest.raises(errors.PixelError, match=said):
            orthanc.preview(instance, frame=frame)
    for verb in (orthanc.preview, orthanc.pixels, orthanc.overlays):
        with pytest.raises(errors.NotFoundError):
            verb(UNKNOWN)
    assert orthanc.system()["Version"]  # and it is still there
