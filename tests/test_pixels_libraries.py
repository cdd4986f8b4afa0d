"""Volumes in nibabel and SimpleITK: every voxel at the same point in mm, asked of the libraries themselves."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pixel_references import REFERENCES, Reference, built, datasets_of
from volume_cases import volume_of

from orthanc_research.errors import GeometryError, PixelError, QueryError
from orthanc_research.pixels import Volume, arrange, one_stack, stacks_of

nibabel = pytest.importorskip("nibabel")


@pytest.fixture(scope="module")
def sitk() -> Any:
    return pytest.importorskip("SimpleITK")


def points(volume: Volume) -> list[tuple[tuple[int, ...], npt.NDArray[np.float64]]]:
    """(slice, row, column) of the corners and some others, and their LPS mm by the definition of the affine."""
    start = volume.dims.index("slice")
    shape = np.array(volume.shape[start : start + 3])
    random = np.random.default_rng(1)
    found = [np.zeros(3, int), shape - 1, *(random.integers(0, shape) for _ in range(30))]
    return [(tuple(map(int, k)), (volume.affine @ [*k, 1])[:3]) for k in found]


KINDS = [{}, {"extra": 3}, {"samples": 3, "dtype": "u1"}, {"extra": 2, "samples": 3, "dtype": "u1"}]
TYPES = ["u1", "i1", "u2", "i2", ">i2", "u4", "i4", "i8", "f4", "f8", "f2", "?"]


def reloaded(volume: Volume) -> Any:
    return nibabel.Nifti1Image.from_bytes(volume.to_nifti().to_bytes())


@pytest.mark.parametrize("options", [*KINDS, {"lean": 1.5}])
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_nifti_has_each_value_at_its_point(options: dict[str, Any], form: str) -> None:
    volume = volume_of(**options)
    image = reloaded(volume)
    affine, code = getattr(image, f"get_{form}")(coded=True)
    if form == "qform" and "lean" in options:
        assert (affine, code) == (None, 0)  # a rotation cannot lean: better none than a wrong one
        return
    assert code == 1
    voxels = np.asarray(image.dataobj)
    for place, (x, y, z) in points(volume):
        index = np.linalg.solve(affine, [-x, -y, z, 1.0])[:3]  # RAS
        assert np.abs(index - np.rint(index)).max() < 1e-3
        there = voxels[tuple(np.rint(index).astype(int))]
        if there.dtype.fields:
            there = np.stack([there[name] for name in "RGB"], axis=-1)
        np.testing.assert_array_equal(there, volume.array[(slice(None),) * volume.dims.index("slice") + place])


@pytest.mark.parametrize("dtype", TYPES)
def test_types_are_kept_and_nothing_is_scaled(dtype: str, sitk: Any) -> None:
    volume = volume_of(dtype)
    expected = {"f2": "f4", "?": "u1", ">i2": "i2"}.get(dtype, dtype)
    image = reloaded(volume)
    assert image.header.get_data_dtype() == np.dtype(expected)
    # As in the file; an image that nibabel has loaded says NaN.
    header = nibabel.Nifti1Header.from_fileobj(io.BytesIO(volume.to_nifti().to_bytes()))
    assert (float(header["scl_slope"]), float(header["scl_inter"])) == (1, 0)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, volume.array)
    assert np.asarray(image.dataobj).dtype == np.dtype(expected)
    array = sitk.GetArrayFromImage(volume.to_sitk())
    assert array.dtype == np.dtype(expected)
    np.testing.assert_array_equal(array, volume.array)


def test_a_nifti_header_says_millimetres_seconds_and_no_more_than_is_known() -> None:
    volume = volume_of(extra=3)
    assert volume.to_nifti().header.get_xyzt_units() == ("mm", "unknown")
    np.testing.assert_allclose(volume.to_nifti().header.get_zooms(), (0.7, 0.9, 3.5, 1.0), rtol=1e-6)
    for axes, step in (
        ({"trigger_time": (0.0, 1500.0, 3000.0)}, 1.5),
        ({"temporal_position": (1.0, 2.0, 3.0), "time_offset": (0.0, 2.5, 5.0)}, 2.5),
        ({"trigger_time": (0.0, 1500.0, 9000.0)}, None),  # not even
        ({"trigger_time": (0.0, 1500.0, 3100.0)}, None),  # nor this
        ({"trigger_time": (0.0, 1500.0, 3005.0)}, 1.5025),  # rounded
        ({"b_value": (0.0, 500.0, 1000.0), "trigger_time": (0.0, 1.0, 2.0)}, None),  # not along time
        ({"acquisition_time": (95959.0, 100000.0, 100001.0)}, None),  # a clock's
    ):
        header = dataclasses.replace(volume, axes=axes).to_nifti().header
        assert header.get_xyzt_units() == ("mm", "sec" if step else "unknown")
        assert header.get_zooms()[3] == pytest.approx(step or 1.0)
    image = volume_of().to_nifti()
    assert np.shares_memory(volume.array, np.asarray(volume.to_nifti().dataobj))
    assert image.affine.dtype == np.float64
    assert not bytes(image.header["descrip"]).strip(b"\0")


def test_colour_that_nifti_cannot_hold_and_too_many_voxels_are_refused() -> None:
    with pytest.raises(PixelError, match="3 x 8 bits, and this is 3 x uint16"):
        volume_of("u2", samples=3).to_nifti()
    with pytest.raises(PixelError, match="32767 voxels"):
        volume_of(size=(2, 1, 40000)).to_nifti()


@pytest.mark.parametrize("options", KINDS)
def test_simpleitk_has_each_value_at_its_point(options: dict[str, Any], sitk: Any) -> None:
    volume = volume_of(**options)
    image = volume.to_sitk()
    assert image.GetDimension() == (4 if "extra" in options else 3)
    for place, point in points(volume):
        for e in range(options.get("extra", 1)):
            more = [float(e)] if "extra" in options else []
            index = image.TransformPhysicalPointToIndex([*point, *more])
            np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), [*point, *more], atol=1e-9)
            here = volume.array[(e, *place)] if "extra" in options else volume.array[place]
            np.testing.assert_array_equal(image.GetPixel(index), here)


def test_a_lean_is_refused_by_simpleitk_unless_it_is_within_the_limit_of_a_volume(sitk: Any) -> None:
    for act in (Volume.to_sitk, lambda volume: volume.resample(1.0)):
        with pytest.raises(GeometryError, match=r"leans by 23\.2°") as caught:
            act(volume_of(lean=1.5))
        assert caught.value.code == "sheared"
    little = volume_of(lean=0.03)  # 0.49°
    for place, point in points(little):
        np.testing.assert_allclose(little.to_sitk().TransformIndexToPhysicalPoint(place[::-1]), point, atol=1e-9)


@pytest.mark.parametrize(
    ("library", "act"),
    [
        ("nibabel", Volume.to_nifti),
        ("SimpleITK", Volume.to_sitk),
        ("SimpleITK", lambda volume: volume.resample(1)),
    ],
)
def test_a_library_that_is_missing_is_named(
    library: str, act: Callable[[Volume], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(QueryError, match=rf"{library}.*pip install {library}\.$"):
        act(volume_of())


# -- resampling -------------------------------------------------------------------------------------------------------


def field(volume: Volume, index: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A linear function of the point in mm, at (slice, row, column) positions."""
    mm = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return np.asarray(mm @ [1.5, -0.25, 2.0] + 7.0, dtype=np.float64)


def grid(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).astype(np.float64)


@pytest.mark.parametrize("spacing", [(2.0, 1.3, 0.5), (3.5, 0.9, 0.7), (1.75, 0.45, 0.35), (50.0, 50.0, 50.0), 1.0])
def test_a_linear_function_of_position_stays_what_it_is(spacing: Any, sitk: Any) -> None:
    source = volume_of("f8", size=(7, 9, 11))
    source = dataclasses.replace(source, array=field(source, grid(source.shape)))
    made = source.resample(spacing)
    assert made.spacing == tuple(np.broadcast_to(spacing, 3))
    # Where each new centre lies among the old ones; beyond the outermost centres their values are repeated.
    mm = grid(made.shape) @ made.affine[:3, :3].T + made.affine[:3, 3]
    index = (mm - source.affine[:3, 3]) @ np.linalg.inv(source.affine[:3, :3]).T
    last = np.array(source.shape) - 1
    assert (index > -0.5).all()
    assert (index < last + 0.5).all()
    np.testing.assert_allclose(made.array, field(source, np.clip(index, 0, last)), atol=1e-9)
    extent = np.array(made.shape) * made.spacing - np.array(source.shape) * source.spacing
    assert (extent > -1e-6).all()
    assert (extent < made.spacing).all()
    np.testing.assert_allclose(index.reshape(-1, 3).mean(axis=0), last / 2, atol=1e-9)


@pytest.mark.parametrize(
    ("dtype", "linear"),
    [("u1", "f4"), ("i2", "f4"), (">i2", "f4"), ("u2", "f4"), ("f4", "f4"), ("i4", "f8"), ("u4", "f8"), ("f8", "f8"),
     ("?", "f4"), ("f2", "f4")],
)  # fmt: skip
def test_the_type_hangs_on_the_type_alone(dtype: str, linear: str, sitk: Any) -> None:
    source = volume_of(dtype)
    assert source.resample(1.0).array.dtype == np.dtype(linear)
    nearest = source.resample((3.5 / 3, 0.3, 0.7 / 3), interpolation="nearest")
    assert nearest.array.dtype == source.array.dtype
    expected = source.array.repeat(3, axis=0).repeat(3, axis=1).repeat(3, axis=2)
    np.testing.assert_array_equal(nearest.array, expected)
    np.testing.assert_allclose(source.resample(source.spacing).array, source.array, rtol=1e-6)


@pytest.mark.parametrize("options", KINDS)
def test_what_is_resampled_says_so_and_keeps_the_rest(options: dict[str, Any], sitk: Any) -> None:
    source = volume_of(**options)
    made = source.resample((7.0, 0.9, 0.7), interpolation="nearest")
    start = source.dims.index("slice")
    assert made.shape == tuple(n // 2 if k == start else n for k, n in enumerate(source.shape))
    assert made.sop_uids == ("",) * (2 * options.get("extra", 1))
    assert made.frame_indices == (-1,) * len(made.sop_uids)
    (first, said) = made.issues
    assert (first, said) == (
        "Before.",
        "Resampled from 3.5 x 0.9 x 0.7 mm to 7 x 0.9 x 0.7 mm (nearest): its slices are no slices of the source.",
    )
    kept = ("dims", "orientation", "frame_of_reference", "series_uid", "units", "values", "inverted", "axes", "window")
    assert [getattr(made, name) for name in kept] == [getattr(source, name) for name in kept]
    assert source.array.dtype == made.array.dtype
    half = source.resample((7.0, 0.9, 0.7))
    pairs = np.moveaxis(source.array, start, 0).astype(np.float64)
    np.testing.assert_allclose(np.moveaxis(half.array, start, 0), (pairs[0::2] + pairs[1::2]) / 2)


def test_nan_stays_nan_and_nothing_else_becomes_it(sitk: Any) -> None:
    source = volume_of("f4")
    source.array[2] = np.nan
    made = source.resample((1.75, 0.9, 0.7))
    assert np.isnan(made.array).all(axis=(1, 2)).tolist() == [False, False, False, True, True, True, True, False]
    assert np.isnan(made.array).any(axis=(1, 2)).tolist() == [False, False, False, True, True, True, True, False]


@pytest.mark.parametrize("spacing", [0, -1.0, (1, 2), (1, 2, float("nan")), "1 mm", (1, 1, np.inf), None])
def test_a_spacing_that_cannot_be_is_refused(spacing: Any) -> None:
    with pytest.raises(QueryError, match="three positive numbers in mm"):
        volume_of().resample(spacing)


def test_an_interpolation_that_is_not_there_is_refused() -> None:
    with pytest.raises(QueryError, match="choose from linear, nearest"):
        volume_of().resample(1.0, interpolation="cubic")


# -- real series ------------------------------------------------------------------------------------------------------

# dcm2niix writes rows upwards; these two it also turns: a sagittal 3-D, and one whose slices go the other way.
TURNED = {"mr-t1-siemens-j2k", "mr-enhanced-philips-b0"}
BY_CHECKSUM = {
    reference.folder: reference
    for reference in REFERENCES
    if "#" in reference.reference and not reference.refused and reference.values == "stored"
}


def read(reference: Reference, realdata: Path) -> Volume:
    datasets = datasets_of(realdata / reference.folder / reference.series)
    arranged = arrange(stacks_of(datasets), **dict(reference.options))  # type: ignore[arg-type]
    return built(one_stack([arranged[reference.pick]]), datasets, reference.values)


@pytest.mark.parametrize("reference", BY_CHECKSUM.values(), ids=BY_CHECKSUM)
def test_our_nifti_is_dcm2niixs_with_the_rows_the_other_way(realdata: Path, reference: Reference) -> None:
    name, _, entry = reference.reference.partition("#")
    expected = json.loads((realdata / reference.folder / name).read_text())["volumes"][entry]
    image = reloaded(read(reference, realdata))
    theirs = np.array(expected["affine"])
    turn = np.linalg.inv(theirs) @ image.affine
    array = np.asarray(image.dataobj)
    if reference.folder not in TURNED:
        flip = np.diag([1.0, -1.0, 1.0, 1.0])
        flip[1, 3] = array.shape[1] - 1
        np.testing.assert_allclose(turn, flip, atol=1e-3)
        array = array[:, ::-1]
    else:
        orientation = nibabel.orientations.io_orientation(turn)
        array = nibabel.orientations.apply_orientation(array, orientation)
    assert array.shape == tuple(expected["shape"])
    assert hashlib.sha256(array.tobytes(order="F")).hexdigest() == expected["sha256_stored_fortran"]
    # The 3-D's step is dcm2niix's first gap, in float32.
    zooms = nibabel.affines.voxel_sizes(image.affine)[np.abs(turn[:3, :3]).argmax(axis=1)]
    np.testing.assert_allclose(zooms, expected["zooms"][:3], atol=2e-4)
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)


@pytest.mark.parametrize(
    ("series", "values"),
    [
        ("ct-pet-mr-rtstruct/STS_019/CT/image", "rescaled"),
        ("ct-pet-mr-rtstruct/STS_019/MR_T1/image", "stored"),
        ("mr-t1-siemens-j2k/dicom", "stored"),
        ("mini-volumes/hitachi/anatomical/001", "stored"),
    ],
)
def test_our_image_is_what_simpleitks_own_reader_makes(realdata: Path, series: str, values: str, sitk: Any) -> None:
    datasets = datasets_of(realdata / series)
    ours = built(one_stack(stacks_of(datasets)), datasets, values).to_sitk()
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(realdata / series))
    assert len(names) == len(datasets)
    theirs = sitk.ReadImage(names)
    assert ours.GetSize() == theirs.GetSize()
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(ours), sitk.GetArrayViewFromImage(theirs))
    for corner in ((0, 0, 0), tuple(size - 1 for size in ours.GetSize())):
        # Single precision in a series' headers; SimpleITK takes the step from the first two slices.
        np.testing.assert_allclose(
            ours.TransformIndexToPhysicalPoint(corner), theirs.TransformIndexToPhysicalPoint(corner), atol=0.011
        )
