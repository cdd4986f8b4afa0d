"""Volumes in files: what is in them, what lies beside them, what becomes of a series that is several."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import hashlib
import json
import os
import stat
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pixel_cases import columns_of, item, make_enhanced
from pydicom import Dataset
from stock import stock
from volume_cases import volume_of

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.pixels import arrange

nibabel = pytest.importorskip("nibabel")

SUFFIX = {"npy": ".npy", "npz": ".npz", "nifti": ".nii.gz"}
BESIDE = {"npy": ".json", "npz": ".npz.json", "nifti": ".nii.gz.json"}
KINDS: list[dict[str, Any]] = [{}, {"extra": 3}, {"extra": 2, "samples": 3, "dtype": "u1"}]


def described(path: Path, form: str) -> dict[str, Any]:
    beside = path.with_name(path.name.removesuffix(SUFFIX[form]) + BESIDE[form])
    assert stat.S_IMODE(beside.stat().st_mode) == stat.S_IMODE(path.stat().st_mode) == 0o600
    return dict(json.loads(beside.read_bytes()))


def voxels(image: Any) -> npt.NDArray[Any]:
    array = np.asarray(image.dataobj)
    return np.stack([array[name] for name in "RGB"], axis=-1) if array.dtype.fields else array


@pytest.mark.parametrize("form", SUFFIX)
@pytest.mark.parametrize("options", KINDS)
def test_each_slice_lies_where_the_file_and_its_json_say(tmp_path: Path, form: str, options: dict[str, Any]) -> None:
    volume = volume_of(**options)
    path = ores.write_volume(tmp_path / f"1.2.3{SUFFIX[form]}", volume, {"by": "me"})
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([f"1.2.3{SUFFIX[form]}", f"1.2.3{BESIDE[form]}"])
    about = described(path, form)
    if form == "nifti":
        array = voxels(nibabel.load(path))
        assert about["affine_ras_mm"] == pytest.approx(nibabel.load(path).affine, rel=1e-6)
    else:
        array, again = ores.read_volume(path)
        assert again == about
    assert list(array.shape) == about["shape"]
    named = dict(zip(about["dims"], array.shape, strict=True))
    assert named == dict(zip(volume.dims, volume.shape, strict=True))
    extra = [named["extra"]] if "extra" in named else []
    uids = np.array(about["sop_uids"]).reshape(*extra, named["slice"])
    for place in np.ndindex(*extra, named["slice"]):
        at: list[Any] = [slice(None)] * array.ndim
        at[about["dims"].index("slice")] = place[-1]
        if extra:
            at[about["dims"].index("extra")] = place[0]
        image = array[tuple(at)]
        k = list(volume.sop_uids).index(str(uids[place]))
        expected = volume.array.reshape(-1, *volume.shape[volume.dims.index("row") :])[k]
        np.testing.assert_array_equal(image, expected.swapaxes(0, 1) if form == "nifti" else expected)
    corner = {name: named[name] - 1 for name in ("slice", "row", "column")}
    index = [corner[name] for name in about["dims"] if name in corner]
    expected_point = volume.affine @ [corner["slice"], corner["row"], corner["column"], 1]
    np.testing.assert_allclose(np.array(about["affine_lps_mm"]) @ [*index, 1], expected_point)
    np.testing.assert_allclose(np.array(about["affine_ras_mm"]) @ [*index, 1], expected_point * [-1, -1, 1, 1])
    steps = np.linalg.norm(np.array(about["affine_lps_mm"])[:3, :3], axis=0)
    np.testing.assert_allclose(about["spacing_mm"], steps)
    assert about["sha256"] == hashlib.sha256(volume.array.tobytes()).hexdigest()
    kept = ("units", "values", "modality", "series_uid", "frame_of_reference", "inverted")
    assert [about[name] for name in kept] == [getattr(volume, name) for name in kept]
    assert (about["frame_indices"], about["issues"], about["by"]) == ([0] * len(volume.sop_uids), ["Before."], "me")


def test_the_checksum_is_of_the_niftis_own_bytes(tmp_path: Path) -> None:
    for dtype in ("i2", "u4", "?", "f2", ">i2"):
        path = ores.write_volume(tmp_path / "v.nii.gz", volume_of(dtype))
        voxels = gzip.decompress(path.read_bytes())[352:]
        about = described(path, "nifti")
        assert hashlib.sha256(voxels).hexdigest() == about["sha256"]
        assert np.dtype(about["dtype"]) == nibabel.load(path).get_data_dtype()


@pytest.mark.parametrize("options", KINDS)
def test_simpleitk_reads_the_nifti_as_the_image_that_we_give_it(tmp_path: Path, options: dict[str, Any]) -> None:
    sitk = pytest.importorskip("SimpleITK")
    volume = volume_of(**options)
    ours = volume.to_sitk()
    theirs = sitk.ReadImage(str(ores.write_volume(tmp_path / "v.nii.gz", volume)))
    assert theirs.GetSize() == ours.GetSize()
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(theirs), sitk.GetArrayViewFromImage(ours))
    for corner in np.ndindex(*(2,) * ours.GetDimension()):
        index = [k * (size - 1) for k, size in zip(corner, ours.GetSize(), strict=True)]
        here, there = (image.TransformIndexToPhysicalPoint(index) for image in (ours, theirs))
        np.testing.assert_allclose(there, here, atol=1e-4)


def test_an_npz_is_whole_by_itself_and_has_no_pickle(tmp_path: Path) -> None:
    volume = dataclasses.replace(volume_of(extra=3), axes={"echo_time": (1.0, 2.0, 3.0)}, issues=())
    path = ores.write_volume(tmp_path / "v.npz", volume)
    with np.load(path, allow_pickle=False) as packed:
        found = {name: packed[name] for name in packed.files}
    np.testing.assert_array_equal(found["array"], volume.array)
    np.testing.assert_array_equal(found["affine_lps_mm"], volume.affine)
    np.testing.assert_array_equal(found["affine_ras_mm"], volume.affine_ras)
    assert found["spacing_mm"].tolist() == list(volume.spacing)
    assert tuple(found["sop_uids"]) == volume.sop_uids
    assert tuple(found["dims"]) == volume.dims
    assert found["axes_echo_time"].tolist() == [1, 2, 3]
    assert (str(found["units"]), bool(found["inverted"]), found["issues"].tolist()) == ("HU", True, [])
    assert zipfile.ZipFile(path).testzip() is None
    assert path.stat().st_size < volume.array.nbytes * 2 + 5000


@pytest.mark.parametrize("form", SUFFIX)
def test_the_same_volume_gives_the_same_bytes(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ores.write_volume(tmp_path / f"a{SUFFIX[form]}", volume_of()).read_bytes()
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    assert ores.write_volume(tmp_path / f"another{SUFFIX[form]}", volume_of()).read_bytes() == first


def test_names_that_are_no_volume_are_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.QueryError, match=r"ends in \.nii\.gz"):
        ores.write_volume(tmp_path / "v.nii", volume_of())
    path = ores.write_volume(tmp_path / "v.nii.gz", volume_of())
    with pytest.raises(errors.QueryError, match="nibabel"):
        ores.read_volume(path)
    assert ores.write_volume(tmp_path / "1.2.3", volume_of()).name == "1.2.3.npy"  # a UID has no suffix


def test_three_forms_of_a_series_lie_side_by_side(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    stock(orthanc, patients=1, studies=1, slices=4)
    series = orthanc.series(Modality="CT")
    values = {"npy": "stored", "npz": "rescaled", "nifti": "rescaled"}
    for form, kind in values.items():
        (row,) = orthanc.export(series, tmp_path, format=form, values=kind, progress=False).to_dict("records")
        assert row["status"] == "done", row["error"]
    assert len(list(tmp_path.iterdir())) == 6
    (uid,) = series["SeriesInstanceUID"]
    stored, rescaled = (orthanc.volume(series, kind) for kind in ("stored", "rescaled"))
    np.testing.assert_array_equal(ores.read_volume(tmp_path / f"{uid}.npy")[0], stored.array)
    np.testing.assert_array_equal(ores.read_volume(tmp_path / f"{uid}.npz")[0], rescaled.array)
    image = nibabel.load(tmp_path / f"{uid}.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, rescaled.array)
    about = described(tmp_path / f"{uid}.nii.gz", "nifti")
    assert (about["units"], about["series_uid"], about["sop_uids"]) == ("HU", uid, list(rescaled.sop_uids))
    (row,) = orthanc.export(series, tmp_path, format="npy", dtype="float64", progress=False).to_dict("records")
    assert ores.read_volume(row["file"])[0].dtype == np.float64
    (row,) = orthanc.export(series, tmp_path / "b", format="npy", dtype="uint8", progress=False).to_dict("records")
    assert row["status"] == "failed"
    assert "do not fit into uint8" in row["error"]
    assert list((tmp_path / "b").iterdir()) == []


def test_a_uid_that_is_a_path_names_no_file(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    mine = [d for d in ores.samples.cohort(patients=1, studies=1, slices=4, size=16) if d.Modality == "CT"]
    for dataset in mine:
        dataset["SeriesInstanceUID"].value = "../../up"
    orthanc.upload(mine, progress=False)
    series = orthanc.series()
    for form, word, behind in (("nifti", "raise", ""), ("npz", "split", "_001")):
        ledger = orthanc.export(series, tmp_path / "out", format=form, on_4d=word, progress=False)
        assert [Path(file).name for file in ledger["file"]] == [f"{series.index[0]}{behind}{SUFFIX[form]}"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def echoes(count: int = 2) -> list[Dataset]:
    """One series, `count` echoes at each of its places, another value in each."""
    made = []
    for echo in range(count):
        each = [d for d in ores.samples.cohort(patients=1, studies=1, slices=3, size=16) if d.Modality == "MR"]
        for dataset in each:
            dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID}.{echo}"
            dataset.EchoTime = 10 * (echo + 1)
            dataset.PixelData = (dataset.pixel_array + 1000 * echo).tobytes()
        made += each
    return made


def test_a_split_series_has_a_row_and_a_file_for_each_stack(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    datasets = echoes()
    orthanc.upload(datasets, progress=False)
    series = orthanc.series()
    (uid,) = series["SeriesInstanceUID"]
    (row,) = orthanc.export(series, tmp_path, format="npz", progress=False).to_dict("records")
    assert (row["status"], row["error"][:4]) == ("not-a-volume", "4d: ")
    with orthanc.rest.counting() as requests:
        ledger = orthanc.export(series, tmp_path, format="nifti", on_4d="split", progress=False)
    assert sum("instances-tags" in path for _, path in requests) == 1
    assert list(ledger.index) == [series.index[0]] * 2
    assert [Path(file).name for file in ledger["file"]] == [f"{uid}_001.nii.gz", f"{uid}_002.nii.gz"]
    assert ledger["frames"].tolist() == ledger["instances"].tolist() == [len(datasets) // 2] * 2
    for file, stack in zip(ledger["file"], arrange(orthanc.stacks(series), on_4d="split"), strict=True):
        np.testing.assert_array_equal(np.asarray(nibabel.load(file).dataobj).T, orthanc.volume(stack).array)
        assert described(Path(file), "nifti")["sop_uids"] == list(stack.sop_uids)
    (row,) = orthanc.export(series, tmp_path, format="nifti", on_4d="stack", progress=False).to_dict("records")
    assert nibabel.load(row["file"]).shape[3] == 2
    assert Path(row["file"]).name == f"{uid}.nii.gz"  # beside its parts, and not instead of them
    assert len(list(tmp_path.iterdir())) == 6


def test_a_stack_that_is_no_volume_is_a_row_among_the_others(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    datasets = [d for d in ores.samples.cohort(patients=1, studies=1, slices=9, size=16) if d.Modality == "CT"]
    datasets.sort(key=lambda d: float(d.ImagePositionPatient[2]))
    del datasets[4]  # 4 slices, a gap …
    del datasets[6:]  # … and 2
    orthanc.upload(datasets, progress=False)
    series = orthanc.series()
    ledger = orthanc.export(series, tmp_path, format="npy", on_missing="split", progress=False)
    assert ledger["status"].tolist() == ["done", "not-a-volume"]
    assert ledger["error"].iloc[1].startswith("too-few-slices: ")
    assert ledger["frames"].iloc[0] == 4
    ledger = orthanc.export(series, tmp_path, format="npy", on_missing="split", min_slices=2, progress=False)
    assert [ores.read_volume(file)[0].shape[0] for file in ledger["file"]] == [4, 2]
    (row,) = orthanc.export(series, tmp_path, format="npy", on_missing="nan", progress=False).to_dict("records")
    assert (row["status"], "float values" in row["error"]) == ("failed", True)
    (row,) = orthanc.export(
        series, tmp_path, format="npy", values="rescaled", on_missing="nan", progress=False
    ).to_dict("records")
    array, about = ores.read_volume(row["file"])
    assert (row["frames"], array.shape[0], about["sop_uids"][4], about["frame_indices"][4]) == (6, 7, "", -1)


def test_two_patients_with_one_uid_keep_their_parts_apart(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    mine, theirs = echoes(), echoes()
    for dataset in theirs:
        dataset.PatientID = "somebody-else"
    orthanc.upload([*mine, *theirs], progress=False)
    series = orthanc.series()
    ledger = orthanc.export(series, tmp_path, format="npz", on_4d="split", progress=False)
    assert ledger["file"].nunique() == 4
    orthanc.export(series.iloc[::-1], tmp_path, format="npz", on_4d="split", progress=False)
    assert len(list(tmp_path.iterdir())) == 8  # again: each replaces its own


def test_a_description_that_cannot_be_written_leaves_no_data(tmp_path: Path) -> None:
    numbers: Any = {"spacing": tuple(np.array([1, 2, 3], "f4")), "frame_indices": tuple(np.zeros(4, int))}
    volume = dataclasses.replace(volume_of(), **numbers)
    assert ores.read_volume(ores.write_volume(tmp_path / "1.2", volume))[1]["spacing_mm"] == [1, 2, 3]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TypeError):
        ores.write_volume(tmp_path / "1.2", volume, {"by": object()})  # type: ignore[dict-item]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_parts_of_one_file_cost_it_once(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    array = (np.arange(12 * 30).reshape(12, 6, 5) * 7).astype(np.int16)
    times = {"FrameContentSequence": [item(TemporalPositionIndex=k // 3 + 1) for k in range(12)]}
    orthanc.upload(make_enhanced(array, columns_of(3) * 4, own=times), progress=False)
    series = orthanc.series()
    with orthanc.rest.counting() as requests:
        ledger = orthanc.export(series, tmp_path, format="npy", on_4d="split", progress=False)
    assert sum(path.endswith(("/file", "/dicom/data")) for _, path in requests) == 1
    assert set(ledger["status"]) == {"done"}
    assert ledger[["instances", "frames"]].to_numpy().tolist() == [[1, 3]] * 4
    for k, file in enumerate(ledger["file"]):
        found, about = ores.read_volume(file)
        np.testing.assert_array_equal(found, array[3 * k : 3 * k + 3])
        assert about["frame_indices"] == [3 * k, 3 * k + 1, 3 * k + 2]
    with orthanc.rest.counting() as requests:
        ledger = orthanc.export(series, tmp_path, format="npy", on_4d="split", dtype="uint8", progress=False)
    assert ledger["status"].tolist() == ["failed"] * 4
    assert sum(path.endswith(("/file", "/dicom/data")) for _, path in requests) == 1


def test_a_disk_that_fills_up_among_the_parts_leaves_a_row_for_each(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orthanc.upload(echoes(3), progress=False)

    def write(path: Path, *arguments: Any) -> Path:
        if path.name.endswith("_002.npz"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return ores.write_volume(path, *arguments)

    monkeypatch.setattr("orthanc_research.export.series.write_volume", write)
    ledger = orthanc.export(orthanc.series(), tmp_path, format="npz", on_4d="split", progress=False)
    assert ledger["status"].tolist() == ["done", "failed", "not-sent"]
    assert ledger["error"].iloc[1] == ledger["error"].iloc[2] == "The file cannot be written: No space left on device."


def test_without_nibabel_nothing_is_asked_for(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orthanc.upload(echoes(1), progress=False)
    series = orthanc.series()
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with orthanc.rest.counting() as requests, pytest.raises(errors.QueryError, match=r"pip install nibabel"):
        orthanc.export(series, tmp_path / "x", format="nifti", progress=False)
    assert requests == []
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("set_name", ["mr-siemens-mosaic-epi/dicom/mr_0003", "mini-volumes/generic/rgb/001"])
def test_a_real_series_is_the_nifti_that_others_made_of_it(
    orthanc: ores.Orthanc, realdata: Path, tmp_path: Path, set_name: str
) -> None:
    references = {
        "mr-siemens-mosaic-epi/dicom/mr_0003": "mr-siemens-mosaic-epi/ref-dcm2niix/3_EPI_PE=AP_1.nii.gz",
        "mini-volumes/generic/rgb/001": "mini-volumes/generic/rgb/001_ground_truth.nii.gz",
    }
    orthanc.upload(realdata / set_name, progress=False)
    (row,) = orthanc.export(orthanc.series(), tmp_path, format="nifti", on_4d="stack", progress=False).to_dict(
        "records"
    )
    assert row["status"] == "done", row["error"]
    ours = nibabel.as_closest_canonical(nibabel.load(row["file"]))
    theirs = nibabel.as_closest_canonical(nibabel.load(realdata / references[set_name]))
    np.testing.assert_array_equal(np.squeeze(voxels(ours)), np.squeeze(voxels(theirs)))
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
