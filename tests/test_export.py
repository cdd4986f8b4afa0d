"""Volumes and exports from real servers: right, checked, complete or absent."""

from __future__ import annotations

import copy
import json
import re
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pydicom
import pytest

import orthanc_research as ores
from orthanc_research import errors


@pytest.fixture
def cohort(orthanc: ores.Orthanc) -> ores.Orthanc:
    orthanc.upload(ores.samples.cohort(patients=1, studies=1, slices=6, size=32), progress=False)
    return orthanc


def by_description(orthanc: ores.Orthanc, text: str) -> str:
    found = orthanc.series(SeriesDescription=text)
    assert len(found) == 1, text
    return str(found.index[0])


def test_a_volume_is_what_the_files_hold(cohort: ores.Orthanc) -> None:
    files = {d.SOPInstanceUID: d for d in ores.samples.cohort(patients=1, studies=1, slices=6, size=32)}
    for modality in ("CT", "MR"):
        series = cohort.series(Modality=modality)
        with cohort.rest.counting() as requests:
            volume = cohort.volume(series)
        assert len(requests) == 1 + volume.shape[0]
        rescaled = cohort.volume(series, "rescaled")
        assert rescaled.array.dtype == np.float32
        for index, uid in enumerate(volume.sop_uids):
            source = files[uid]
            assert np.array_equal(volume.array[index], source.pixel_array)
            slope, intercept = float(source.get("RescaleSlope", 1)), float(source.get("RescaleIntercept", 0))
            assert np.array_equal(rescaled.array[index], source.pixel_array * slope + intercept)
            corner = volume.affine @ [index, 0, 0, 1]
            assert np.allclose(corner[:3], [float(x) for x in source.ImagePositionPatient], atol=1e-4)
        assert rescaled.units == ("HU" if modality == "CT" else rescaled.units)


def test_a_verdict_takes_one_request_and_no_pixels(cohort: ores.Orthanc) -> None:
    series = cohort.series(Modality="CT")
    with cohort.rest.counting() as requests:
        (stack,) = cohort.stacks(series)
    assert len(requests) == 1
    assert stack.status == "ok"
    assert cohort.volume(stack).sop_uids == stack.sop_uids


def test_what_is_no_volume_is_refused_with_a_code_and_a_sentence(orthanc: ores.Orthanc, tree: Path) -> None:
    orthanc.upload(tree, progress=False)
    verdicts: dict[str, set[str]] = {}
    sentences = []
    names = {}
    for path in tree.rglob("*"):
        if path.is_file() and path.name != "DICOMDIR" and path.suffix == "":
            try:
                dataset = pydicom.dcmread(path, stop_before_pixels=True)
            except pydicom.errors.InvalidDicomError:
                continue
            if "SeriesInstanceUID" in dataset:
                names[str(dataset.SeriesInstanceUID)] = path.parent.name
    for identifier, row in orthanc.series().iterrows():
        folder = names.get(str(row["SeriesInstanceUID"]), "?")
        try:
            volume = orthanc.volume(identifier)
            verdicts.setdefault(folder, set()).add("ok")
            assert volume.shape[0] == 5
            assert volume.spacing[0] == pytest.approx(2.5)
        except errors.GeometryError as error:
            verdicts.setdefault(folder, set()).add(error.code)
            sentences.append(str(error))
    assert all(re.fullmatch(r"[a-z0-9-]+: [^\n]+\.", sentence) for sentence in sentences)
    assert verdicts["CT5N"] == {"ok"}
    assert [folder for folder, codes in verdicts.items() if "ok" in codes] == ["CT5N"]
    for folder in ("CT2", "MR2", "MR700"):
        assert verdicts[folder], folder


def test_frames_are_exported_bit_for_bit_with_their_geometry(cohort: ores.Orthanc, tmp_path: Path) -> None:
    ledger = cohort.export(cohort.series(), tmp_path / "out", progress=False)
    assert set(ledger["status"]) == {"done"}
    files = {d.SOPInstanceUID: d for d in ores.samples.cohort(patients=1, studies=1, slices=6, size=32)}
    seen = 0
    for file in ledger["file"]:
        path = Path(file)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        numbers = []
        for columns, array in ores.read_frames(path):
            source = files[columns["SOPInstanceUID"]]
            assert path.stem == source.SeriesInstanceUID
            assert array.dtype == source.pixel_array.dtype
            assert np.array_equal(array, source.pixel_array)
            assert columns["ImagePositionPatient"] == [float(x) for x in source.ImagePositionPatient]
            assert columns["RescaleIntercept"] == (float(source.RescaleIntercept) if source.Modality == "CT" else None)
            numbers.append(columns["InstanceNumber"])
            seen += 1
        assert numbers == sorted(numbers)
        assert len(pd.read_parquet(path)) == len(numbers)
        assert pq.ParquetFile(path).metadata.row_group(0).num_rows <= 8
    assert seen == len(files) == int(ledger["frames"].sum())


def test_a_flipped_bit_in_a_parquet_file_is_found(cohort: ores.Orthanc, tmp_path: Path) -> None:
    cohort.export(cohort.series(Modality="CT"), tmp_path, progress=False)
    (path,) = tmp_path.glob("*.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises((OSError, errors.Error)):
        list(ores.read_frames(path))


def test_volumes_are_exported_as_npy_and_the_others_are_rows(
    cohort: ores.Orthanc, tmp_path: Path, ct_small: Path
) -> None:
    cohort.upload(ct_small, progress=False)
    series = cohort.series()
    ledger = cohort.export(series, tmp_path, format="npy", values="rescaled", progress=False)
    assert list(ledger.index) == list(series.index)
    assert ledger["status"].value_counts().to_dict() == {"done": 2, "not-a-volume": 1}
    assert ledger.loc[ledger["status"] == "not-a-volume", "error"].iloc[0].startswith("too-few-slices: ")
    for identifier, row in ledger[ledger["status"] == "done"].iterrows():
        array, about = ores.read_volume(row["file"])
        volume = cohort.volume(identifier, "rescaled")
        assert np.array_equal(array, volume.array)
        assert np.array_equal(about["affine_lps_mm"], volume.affine)
        assert about["sop_uids"] == list(volume.sop_uids)
        assert stat.S_IMODE(Path(row["file"]).stat().st_mode) == 0o600
        assert json.loads(
            Path(row["file"]).with_suffix("").with_name(Path(row["file"]).name[:-4] + ".json").read_text()
        )


def test_series_without_pixels_and_unreadable_pixels_are_rows(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    (image, *_) = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)
    broken = copy.deepcopy(image)
    broken.SOPInstanceUID = image.SOPInstanceUID + ".1"
    broken.PixelData = b"\0\0"
    orthanc.upload([image, broken], progress=False)
    (row,) = orthanc.export(orthanc.series(), tmp_path, progress=False).to_dict("records")
    assert row["status"] == "partial"
    assert row["error"].startswith("1 of 2 instances: ")
    assert row["frames"] == 1
    orthanc.delete(orthanc.patients(), expect=1)
    orthanc.upload(broken, progress=False)
    (row,) = orthanc.export(orthanc.series(), tmp_path / "b", progress=False).to_dict("records")
    assert row["status"] == "no-pixels"
    assert list((tmp_path / "b").iterdir()) == []


def test_bad_requests_are_refused_before_anything_is_written(cohort: ores.Orthanc, tmp_path: Path) -> None:
    with pytest.raises(errors.QueryError, match="choose from parquet, npy"):
        cohort.export(cohort.series(), tmp_path / "x", format="bmp", progress=False)
    with pytest.raises(errors.QueryError, match="stored values"):
        cohort.export(cohort.series(), tmp_path / "x", values="rescaled", progress=False)
    with pytest.raises(errors.QueryError, match="choose from stored, rescaled"):
        cohort.volume(cohort.series(Modality="CT"), "suv")
    with pytest.raises(errors.QueryError, match="takes one series"):
        cohort.volume(cohort.series())
    assert not (tmp_path / "x").exists()


def test_a_file_that_is_not_the_stored_one_is_told(cohort: ores.Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = str(cohort.instances().index[0])
    assert cohort.dicom(instance, verify=True).SOPInstanceUID
    assert cohort.pixels(instance).shape == (1, 32, 32)
    monkeypatch.setattr(cohort.rest.instances, "_run", lambda call: "0" * 32 if "md5" in call.path else b"other")
    with pytest.raises(errors.ResponseError, match="MD5 differs"):
        cohort.dicom(instance, verify=True)


def test_tables_come_back_from_parquet_as_they_were(cohort: ores.Orthanc, tmp_path: Path) -> None:
    for frame in (cohort.studies(), cohort.series(), cohort.tags(cohort.series())):
        path = ores.write_table(frame, tmp_path / "t.parquet")
        again = ores.read_parquet(path)
        pd.testing.assert_frame_equal(again, frame, check_freq=False)
        assert len(pd.read_parquet(path)) == pq.read_table(path).num_rows == len(frame)
        bound = ores.attach(again, cohort)
        assert bound.attrs["orthanc"]["url"] == cohort.url
    assert set(cohort.tags(ores.attach(ores.read_parquet(path), cohort).head(1), ["Modality"])["Modality"]) <= {
        "CT",
        "MR",
    }


def test_csv_does_not_run_formulas(tmp_path: Path) -> None:
    frame = pd.DataFrame({"=A1": ["=1+1", "+x", "-y", "@z", "plain", None], "n": [-1.5, 2, 3, 4, 5, np.nan]})
    text = ores.write_csv(frame, tmp_path / "t.csv").read_text()
    assert text.splitlines() == ["'=A1,n", "'=1+1,-1.5", "'+x,2.0", "'-y,3.0", "'@z,4.0", "plain,5.0", ","]


def test_a_real_volume_through_a_server_equals_its_reference(orthanc: ores.Orthanc, realdata: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    orthanc.upload(realdata / "mr-t1-siemens-j2k" / "dicom", progress=False)
    volume = orthanc.volume(orthanc.series())
    reference = nibabel.load(next((realdata / "mr-t1-siemens-j2k" / "ref-repo").glob("*.nii.gz")))
    moved = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.array.astype(np.int32), volume.affine_ras))
    expected = nibabel.as_closest_canonical(reference)
    assert np.array_equal(np.asarray(moved.dataobj), np.asarray(expected.dataobj))
    # The reference steps by its first gap in single precision (2.000107 mm), ours by the mean of all (2.000001 mm).
    assert np.allclose(moved.affine, expected.affine, atol=0.011)


def test_a_tilted_ct_is_refused_with_its_reasons(orthanc: ores.Orthanc, realdata: Path) -> None:
    orthanc.upload(realdata / "ct-ge-head-tilt-varspacing", progress=False)
    with pytest.raises(errors.GeometryError) as caught:
        orthanc.volume(orthanc.series())
    assert {"sheared", "non-uniform"} <= set(caught.value.details["problems"])
