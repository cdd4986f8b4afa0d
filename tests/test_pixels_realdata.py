"""Real series against references that others made: dcm2niix, MIRP, and the repositories the data are from."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset

from orthanc_research.errors import GeometryError, PixelError
from orthanc_research.pixels import Stack, Volume, decode, one_stack, read_dataset, stacks_of, volume_from

WHERE = os.environ.get("ORTHANC_RESEARCH_REALDATA", "")
REALDATA = Path(WHERE)
pytestmark = pytest.mark.skipif(not WHERE, reason="ORTHANC_RESEARCH_REALDATA names no folder of real DICOM files")

NOT_DICOM = {".json", ".gz", ".md", ".txt", ".csv", ".bval", ".bvec"}


def datasets(*parts: str) -> list[Dataset]:
    files = sorted(p for p in REALDATA.joinpath(*parts).rglob("*") if p.is_file() and p.suffix not in NOT_DICOM)
    assert files
    return [read_dataset(path.read_bytes()) for path in files]


def stacks(*parts: str) -> list[Stack]:
    return stacks_of(datasets(*parts))


def volume(*parts: str, values: str = "stored") -> Volume:
    read = datasets(*parts)
    return volume_from(one_stack(stacks_of(read)), ((d.SOPInstanceUID, decode(d)) for d in read), values)


def aligned(made: Volume, path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """The NIfTI's voxels in the volume's axes, and the affine that they then have, RAS."""
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.load(path)
    turn = np.linalg.inv(image.affine)[:3, :3] @ made.affine_ras[:3, :3]
    axes = np.abs(turn).argmax(axis=0)
    assert sorted(axes) == [0, 1, 2]
    data = np.asanyarray(image.dataobj).transpose(axes)
    to = np.zeros((4, 4))
    to[3, 3] = 1.0
    for ours, theirs in enumerate(axes):
        forward = turn[theirs, ours] > 0
        to[theirs, ours] = 1.0 if forward else -1.0
        to[theirs, 3] = 0.0 if forward else data.shape[ours] - 1
        if not forward:
            data = np.flip(data, axis=ours)
    return data, image.affine @ to


def sha_as_dcm2niix(made: Volume) -> str:
    """reference.json's SHA-256: [x, y flipped, z], Fortran order. z is our slice axis, x columns, y rows."""
    array = made.array.transpose(2, 1, 0)[:, ::-1, :]
    return hashlib.sha256(array.tobytes(order="F")).hexdigest()


def reference(*parts: str) -> dict[str, Any]:
    volumes = json.loads(REALDATA.joinpath(*parts, "ref-dcm2niix", "reference.json").read_text())["volumes"]
    assert len(volumes) == 1
    return dict(next(iter(volumes.values())))


def test_a_jpeg_2000_t1_equals_its_upstream_nifti_voxel_for_voxel() -> None:
    made = volume("mr-t1-siemens-j2k", "dicom")
    assert made.shape == (96, 128, 128)
    assert made.array.dtype == np.uint16
    nifti, affine = aligned(made, REALDATA / "mr-t1-siemens-j2k" / "ref-repo" / "anat-T1w_acq-tfl_6001.nii.gz")
    np.testing.assert_array_equal(made.array, nifti)
    # The reference takes the first gap, in float32, as the step (2.000107); ours is the mean of all 95 gaps (2.000001),
    # which puts both ends where their headers say. 0.01 mm after 95 slices.
    np.testing.assert_allclose(made.affine_ras[:3, :3], affine[:3, :3], atol=1.1e-4)
    np.testing.assert_allclose(made.affine_ras[:3, 3], affine[:3, 3], atol=0.011)


def test_the_same_t1_has_the_checksum_of_dcm2niix() -> None:
    expected = reference("mr-t1-siemens-j2k")
    made = volume("mr-t1-siemens-j2k", "dicom")
    # Sagittal: dcm2niix keeps our first axis and turns the other two, (slice, column, row), both flipped.
    turned = made.array.transpose(0, 2, 1)[:, ::-1, ::-1]
    assert hashlib.sha256(turned.tobytes(order="F")).hexdigest() == expected["sha256_stored_fortran"]
    assert (int(made.array.min()), int(made.array.max()), int(made.array.sum())) == (0, 678, 159015113)


@pytest.mark.parametrize("patient", ["STS_002", "STS_019"])
@pytest.mark.parametrize("kind", ["CT", "MR_T1", "PET"])
def test_ibsi_series_equal_their_niftis(patient: str, kind: str) -> None:
    made = volume("ct-pet-mr-rtstruct", patient, kind, "image", values="rescaled")
    nifti, affine = aligned(made, REALDATA / "ct-pet-mr-rtstruct" / patient / "nifti" / f"{kind}_image.nii.gz")
    if kind == "PET":  # a slope for each slice; the reference is rescaled in another order of operations
        assert made.units == "GML"
        np.testing.assert_allclose(made.array, nifti, atol=1.6e-6 * float(np.ptp(nifti)))
    else:
        np.testing.assert_array_equal(made.array, nifti.astype(np.float32))
    np.testing.assert_allclose(made.affine_ras, affine, atol=1e-4)


@pytest.mark.parametrize("patient", ["STS_002", "STS_019"])
@pytest.mark.parametrize("kind", ["CT", "MR_T1"])
def test_ibsi_series_have_dcm2niixs_checksum_and_affine(patient: str, kind: str) -> None:
    expected = reference("ct-pet-mr-rtstruct", patient, kind)
    made = volume("ct-pet-mr-rtstruct", patient, kind, "image")
    assert made.shape[::-1] == tuple(expected["shape"])
    assert sha_as_dcm2niix(made) == expected["sha256_stored_fortran"]
    # their index (column, row flipped, slice) → ours (slice, row, column)
    turn = np.array([[0, 0, 1, 0], [0, -1, 0, made.shape[1] - 1], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)
    np.testing.assert_allclose(made.affine_ras @ turn, np.array(expected["affine"]), atol=1e-4)


def test_the_tilted_ct_with_uneven_gaps_is_refused_for_both_reasons() -> None:
    with pytest.raises(GeometryError) as caught:
        one_stack(stacks("ct-ge-head-tilt-varspacing", "dicom"))
    assert caught.value.code == "non-uniform"
    details = caught.value.details
    assert details["problems"] == ["non-uniform", "sheared"]
    assert details["shear_degrees"] == pytest.approx(18.5, abs=0.05)
    assert details["gap_min"] == pytest.approx(1.081, abs=1e-3)
    assert details["gap_max"] == pytest.approx(6.999, abs=1e-3)
    assert "18.5°" in str(caught.value)


def test_the_tilted_ct_has_the_right_order_and_values_all_the_same() -> None:
    read = datasets("ct-ge-head-tilt-varspacing", "dicom")
    (stack,) = stacks_of(read)
    by_uid = {d.SOPInstanceUID: decode(d)[0] for d in read}
    array = np.stack([by_uid[uid] for uid in stack.sop_uids]).transpose(2, 1, 0)[:, ::-1, :]
    path = REALDATA / "ct-ge-head-tilt-varspacing" / "ref-dcm2niix" / "reference.json"
    expected = json.loads(path.read_text())["volumes"]["2_0.nii.gz"]["sha256_stored_fortran"]
    assert hashlib.sha256(array.tobytes(order="F")).hexdigest() == expected


@pytest.mark.parametrize(
    ("parts", "codes"),
    [
        (("not-a-volume", "sliceincrement"), ["missing-slices"]),
        (("not-a-volume", "sliceorientation"), ["too-few-slices", "too-few-slices"]),
        (("not-a-volume", "slicecount"), ["too-few-slices"]),
        (("not-a-volume", "dupe-positions"), ["duplicate-positions"]),
        (("mr-siemens-pdt2-dual-echo", "dicom"), ["4d"]),
        (("mr-ge-fmri-4d", "dicom"), ["4d"]),
        (("mr-siemens-mosaic-epi", "dicom", "mr_0003"), ["mosaic"]),
        (("mr-siemens-12bit-packed-mosaic", "dicom"), ["mosaic", "mosaic"]),
        (("mr-siemens-9-transfer-syntaxes", "dicom"), ["mosaic"]),
        (("private-tags-uih-grid",), ["mosaic"]),
        (("ct-philips-rgb-dose-summary",), ["colour"]),
        (("mini-volumes", "generic", "rgb", "001"), ["colour"]),
        (("mr-enhanced-philips-b0",), ["multi-frame"]),
        (("mr-enhanced-siemens-xa10",), ["multi-frame"]),
        (("sr-phoenix-siemens",), ["not-an-image"]),
        (("cr-mg-dx",), ["no-geometry", "multi-frame", "no-geometry"]),
    ],
)
def test_real_series_that_are_no_volume_are_refused(parts: tuple[str, ...], codes: list[str]) -> None:
    found = stacks(*parts)
    assert sorted(s.status for s in found) == sorted(codes)
    with pytest.raises(GeometryError):
        one_stack(found)


def test_three_planes_of_a_localizer_are_three_stacks() -> None:
    found = stacks("not-a-volume", "mr-localizer-3plane")
    assert [len(s.frames) for s in found] == [5, 3, 3]
    with pytest.raises(GeometryError, match="several-stacks"):
        one_stack(found)


def test_the_dimensions_of_the_4d_series_are_counted_and_named() -> None:
    (echoes,) = stacks("mr-siemens-pdt2-dual-echo", "dicom")
    assert (echoes.shape, echoes.details["axis"]) == ((2, 18, 64, 64), "echo_time")
    (times,) = stacks("mr-ge-fmri-4d", "dicom")
    assert (times.shape, times.details["axis"]) == ((10, 15, 64, 64), None)


def test_the_digital_phantom_keeps_its_orientation() -> None:
    nibabel = pytest.importorskip("nibabel")
    made = volume("ct-digital-phantom", "orientation", "dicom", values="rescaled")
    path = REALDATA / "ct-digital-phantom" / "orientation" / "nifti" / "image" / "orientation.nii.gz"
    data = np.asanyarray(nibabel.load(path).dataobj).transpose(2, 1, 0)
    # Upstream's NIfTI is mirrored in z against its DICOM; voxels agree after the flip, and x or y after none.
    np.testing.assert_array_equal(made.array, data[::-1])


def test_nine_files_in_seven_syntaxes_are_one_image() -> None:
    arrays = [decode(d) for d in datasets("mr-siemens-9-transfer-syntaxes", "dicom")]
    assert len(arrays) == 9
    for array in arrays:
        assert array.dtype == np.uint16
        np.testing.assert_array_equal(array, arrays[0])


@pytest.mark.parametrize(
    ("name", "volume_name"), [("12bitUnsigned", "2"), ("12bitUnsigned_0x0F0F", "3"), ("12bitSigned_0x0F0F", "4")]
)
def test_twelve_bits_with_garbage_above_them_are_cleaned(name: str, volume_name: str) -> None:
    folder = REALDATA / "mr-siemens-12bit-packed-mosaic"
    array = decode((folder / "dicom" / f"{name}.dcm").read_bytes())
    volumes = json.loads((folder / "ref-dcm2niix" / "reference.json").read_text())["volumes"]
    expected = volumes[f"{volume_name}_FMRI_AX_ASC_0.nii.gz"]
    assert int(array.min()) == expected["stored_min"]
    assert int(array.max()) == expected["stored_max"]
    assert int(array.astype(np.int64).sum()) == expected["stored_sum"]


CODECS = ["compressed_rle", "compressed_jpegls", "compressed_j2k", "compressed_jpeg"]


@pytest.mark.parametrize("codec", CODECS)
def test_one_small_series_in_four_codecs_is_one_volume(codec: str) -> None:
    made = volume("mini-volumes", "generic", codec, "001")
    nifti, _ = aligned(made, REALDATA / "mini-volumes" / "generic" / codec / "001_ground_truth.nii.gz")
    np.testing.assert_array_equal(made.array, nifti)
    np.testing.assert_array_equal(made.array, volume("mini-volumes", "generic", CODECS[0], "001").array)


@pytest.mark.parametrize("vendor", ["ge", "siemens", "philips", "hitachi", "generic"])
def test_small_series_of_each_vendor_equal_their_niftis(vendor: str) -> None:
    made = volume("mini-volumes", vendor, "anatomical", "001")
    nifti, affine = aligned(made, REALDATA / "mini-volumes" / vendor / "anatomical" / "001_ground_truth.nii.gz")
    np.testing.assert_array_equal(made.array, nifti)
    np.testing.assert_allclose(made.affine_ras, affine, atol=1e-3)


def test_whatever_is_in_the_folder_gives_a_verdict_and_pixels_or_a_reason() -> None:
    """Every file: damaged, hostile, odd. No exception but ours; what decodes has the declared shape."""
    decoded, by_series = 0, defaultdict(list)
    for path in sorted(REALDATA.rglob("*")):
        if not path.is_file() or path.suffix in NOT_DICOM or path.stat().st_size > 3_000_000:
            continue
        data = path.read_bytes()
        try:
            dataset = read_dataset(data)
            array = decode(data)
        except PixelError as error:
            text = str(error)
            assert text.endswith(".")
            continue
        by_series[str(path.parent)].append(dataset)
        assert array.shape[1:3] == (dataset.Rows, dataset.Columns)
        decoded += 1
    assert decoded > 900
    for each in by_series.values():
        found = stacks_of(each)
        assert sum(len(s.frames) for s in found) == len(each)
        for stack in found:
            assert (stack.affine is not None) <= (stack.status in ("ok", "4d"))
