"""What training reads is what the files hold, at the place where they hold it, and nothing is left out in silence.

Without torch, MONAI and datasets the protocol is tested; with them, the libraries themselves.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import multiprocessing
import pickle
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from dataset_folder import build, by_series
from pydicom import Dataset

import orthanc_research as ores
from orthanc_research.dataset import OpenDataset
from orthanc_research.errors import DatasetError, PixelError, QueryError

nibabel: Any = importlib.import_module("nibabel")  # as our users have it: without types


def _has(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None  # our own folder of recipes is called datasets


HAS = {name: _has(name) for name in ("torch", "monai", "datasets")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenDataset, dict[str, list[Dataset]]]:
    """Three patients with two studies of CT and oblique MR each, and a CT of which one slice is gone."""
    folder = tmp_path_factory.mktemp("loaders") / "out"
    made = ores.samples.cohort(patients=3, studies=2, slices=4, size=16)
    first = next(each for each in made if each.Modality == "CT")
    gap = [copy.deepcopy(each) for each in made if each.SeriesInstanceUID == first.SeriesInstanceUID]
    for each in gap:
        each.SeriesInstanceUID, each.SOPInstanceUID = "2.25.99", f"2.25.99{each.InstanceNumber}"
    del gap[2]
    build(folder, [*made, *gap])
    series = ores.read_parquet(folder / "series.parquet")
    sex = pd.array(["F"] * len(series), dtype="str")
    series = series.assign(finding=pd.array([*range(len(series) - 1), None], dtype="Int64"), PatientSex=sex)
    series = series.assign(PatientAge="091Y", StudyInstanceUID=[str(_first(made, gap, uid)) for uid in _uids(series)])
    ores.write_table(series, folder / "series.parquet")
    instances = ores.read_parquet(folder / "instances.parquet").assign(MagneticFieldStrength=1.5)
    ores.write_table(instances, folder / "instances.parquet")
    return OpenDataset(folder), by_series([*made, *gap])


def _uids(series: pd.DataFrame) -> list[str]:
    return list(series.reset_index()["SeriesInstanceUID"])


def _first(made: list[Dataset], gap: list[Dataset], uid: str) -> str:
    return str(next(each for each in [*made, *gap] if each.SeriesInstanceUID == uid).StudyInstanceUID)


def _items(ds: OpenDataset, *given: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return ds.torch(*given, **options)


def _voxels(group: list[Dataset]) -> dict[tuple[float, ...], float]:
    """{point in RAS mm: stored value} of some voxels, straight from the headers (PS3.3 C.7.6.2.1.1)."""
    found = {}
    for each in group:
        across, down = np.array(each.ImageOrientationPatient, dtype=float).reshape(2, 3)
        rows, columns = (float(value) for value in each.PixelSpacing)
        for row, column in ((0, 0), (3, 9), (15, 2)):
            point = np.array(each.ImagePositionPatient, dtype=float) + across * columns * column + down * rows * row
            found[tuple(np.round(point * [-1, -1, 1], 3))] = float(each.pixel_array[row, column])
    return found


def _agrees(array: Any, affine: Any, group: list[Dataset]) -> None:
    """The array has each of these values at the index that its affine gives the point."""
    back = np.linalg.inv(np.asarray(affine, dtype=float))
    for point, value in _voxels(group).items():
        index = back @ [*point, 1.0]
        np.testing.assert_allclose(index[:3], np.rint(index[:3]), atol=1e-2)
        assert float(array[tuple(np.rint(index[:3]).astype(int))]) == value


def test_volumes_are_the_files_voxels_at_their_points(built: Any) -> None:
    ds, groups = built
    items = _items(ds, values="stored")
    assert {each["series_uid"] for each in items} == set(groups) - {"2.25.99"}
    assert len(items) == 12
    for each in items:
        _agrees(each["image"], each["affine"], groups[each["series_uid"]])
        assert each["patient_id"] == groups[each["series_uid"]][0].PatientID
    assert items[-1]["series_uid"] == items[len(items) - 1]["series_uid"]
    assert [each["series_uid"] for each in items[2:4]] == [items[2]["series_uid"], items[3]["series_uid"]]
    with pytest.raises(IndexError):
        items[12]


def test_what_is_no_volume_is_told(built: Any) -> None:
    ds, _ = built
    with pytest.warns(UserWarning, match="1 of 13 series are left out"):
        items = ds.torch()
    assert items.left_out["SeriesInstanceUID"].tolist() == ["2.25.99"]
    assert "missing" in items.left_out["reason"][0] or "spac" in items.left_out["reason"][0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = ds.torch(on_missing="nan", dtype="float32")
    assert len(whole) == 13
    assert len(whole.left_out) == 0
    table, arrays = ds.to_numpy(on_missing="nan", dtype="float32")
    assert len(table) == len(arrays) == 13
    assert table.attrs["left_out"] == 0
    assert {"finding", "Modality", "SeriesInstanceUID", "split"} <= set(table)
    for row, array in zip(table.itertuples(), arrays, strict=True):
        expected = ds.volume(row.SeriesInstanceUID, on_missing="nan", dtype="float32").array
        np.testing.assert_array_equal(array, expected)


def test_slices_are_read_alone_and_as_asked(built: Any) -> None:
    ds, groups = built
    items = ds.torch(item="slice", values="stored")  # also those of what is no volume
    by = {str(each.SOPInstanceUID): each for group in groups.values() for each in group}
    assert Counter(each["sop_uid"] for each in items) == Counter(list(by))
    for each in items[::7]:
        np.testing.assert_array_equal(each["image"], by[each["sop_uid"]].pixel_array)
        assert each["image"].flags.writeable
        assert each["image"].dtype.isnative
    rescaled = ds.torch(item="slice", values="rescaled")[0]
    source = by[rescaled["sop_uid"]]
    assert source.Modality == "CT"
    np.testing.assert_array_equal(rescaled["image"], source.pixel_array.astype(np.float32) - 1024)
    with pytest.raises(PixelError, match="do not fit"):
        ds.torch(item="slice", values="stored", dtype="int8")[0]
    with pytest.raises(QueryError, match="for volumes"):
        ds.torch(item="slice", on_missing="nan")


def test_only_the_row_group_of_a_slice_is_read(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ds, _ = built
    items = ds.torch(item="slice")
    seen: list[int] = []
    read = pq.ParquetFile.read_row_group

    def counted(self: Any, group: int, **more: Any) -> Any:
        seen.append(group)
        return read(self, group, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    monkeypatch.setattr(pq, "read_table", None)
    assert items[3]["image"].shape == (16, 16)
    assert seen == [0]


def test_splits_are_by_patient_and_labels_come_along(built: Any) -> None:
    ds, _ = built
    train, test = (_items(ds, name, columns=["finding", "Modality"]) for name in ("train", "test"))
    patients = [{each["patient_id"] for each in part} for part in (train, test)]
    assert not patients[0] & patients[1]
    assert len(patients[0]) == 1
    assert len(patients[1]) == 2
    assert len(train) + len(test) == 12
    for each in (*train, *test):
        label = ds.series.loc[each["series_uid"], "finding"]
        assert each["finding"] == label or (pd.isna(label) and np.isnan(each["finding"]))
        assert each["Modality"] == ds.series.loc[each["series_uid"], "Modality"]
    assert {each["patient_id"] for each in _items(ds, ds.splits.index[:1])} == {ds.splits.index[0]}
    with pytest.raises(QueryError, match="choose from test, train"):
        ds.torch("val")
    with pytest.raises(QueryError, match="PatientIDs"):
        ds.torch(["nobody"])
    for wrong in ({"columns": ["PatientID"]}, {"columns": "finding"}, {"item": "frame"}, {"transform": 3}):
        with pytest.raises(QueryError):
            ds.torch(**wrong)
    assert _items(ds, "train", transform=lambda item: item["image"].shape)[0] == (6, 16, 16)


def test_none_that_is_a_volume_is_an_error(tmp_path: Path) -> None:
    made = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)
    build(tmp_path / "out", [each for each in made if each.InstanceNumber == 1])
    with pytest.raises(DatasetError, match="None of these 2 series gives a volume"):
        OpenDataset(tmp_path / "out").torch()


def test_values_are_those_of_the_recipe(tmp_path: Path) -> None:
    build(tmp_path / "out")
    ds = OpenDataset(tmp_path / "out")
    assert ds.torch()[0]["image"].dtype == np.uint16
    (tmp_path / "out" / "recipe.toml").write_text('[arrays]\nvalues = "rescaled"\n')
    assert ds.torch()[0]["image"].dtype == np.float32
    (tmp_path / "out" / "recipe.toml").write_text('[arrays]\nvalues = "none"\n')
    with pytest.raises(QueryError, match="without pixels"):
        ds.torch()


def test_a_series_of_two_echoes_is_two_items(tmp_path: Path) -> None:
    first = [each for each in ores.samples.cohort(patients=1, studies=1, slices=5, size=16) if each.Modality == "MR"]
    second = copy.deepcopy(first)
    for place, (early, late) in enumerate(zip(first, second, strict=True)):
        early.EchoTime, late.EchoTime, late.SOPInstanceUID = 12.5, 92.5, f"2.25.77{place}"
        late.PixelData = (late.pixel_array + 1).tobytes()
    build(tmp_path / "out", [*first, *second])
    ds = OpenDataset(tmp_path / "out")
    with pytest.raises(DatasetError, match="4d"):
        ds.torch()
    items = ds.torch(on_4d="split")
    assert items.table["part"].tolist() == [0, 1]
    _agrees(items[0]["image"], items[0]["affine"], first)
    _agrees(items[1]["image"], items[1]["affine"], second)
    series = ores.read_parquet(tmp_path / "out" / "series.parquet").assign(StudyInstanceUID="1.2.3")
    ores.write_table(series, tmp_path / "out" / "series.parquet")
    ds = OpenDataset(tmp_path / "out")
    ledger = ds.to_nifti(tmp_path / "bids", "bids", names={"MR": "T2w"}, on_4d="split")
    assert [each.rpartition("/")[2].partition("_ses-01")[2] for each in ledger["file"]] == [
        "_T2w.nii.gz",
        "_run-2_T2w.nii.gz",
    ]
    echoes = [
        json.loads((tmp_path / "bids" / each.replace(".nii.gz", ".json")).read_text())["EchoTime"]
        for each in ledger["file"]
    ]
    assert echoes == [0.0125, 0.0925]
    (file,) = ds.to_nifti(tmp_path / "both", "bids", names={"MR": "T2w"}, on_4d="stack")["file"]
    side = json.loads((tmp_path / "both" / file.replace(".nii.gz", ".json")).read_text())
    assert side["echo_time_values"] == echoes  # seconds, as EchoTime is


def test_suv_of_a_slice_is_that_of_its_volume(tmp_path: Path) -> None:
    ct = [each for each in ores.samples.cohort(patients=1, studies=1, slices=4, size=16) if each.Modality == "CT"]
    build(tmp_path / "out", ct)
    path = tmp_path / "out" / "instances.parquet"
    with pytest.raises(DatasetError, match="the recipe says"):
        OpenDataset(tmp_path / "out").torch(item="slice", values="suv")
    ores.write_table(ores.read_parquet(path).assign(SUVFactor=0.25), path)
    ds = OpenDataset(tmp_path / "out")
    volume = ds.torch(values="suv")[0]["image"]
    slices = sorted(ds.torch(item="slice", values="suv"), key=lambda each: str(each["sop_uid"]))
    by = dict(zip(ds.volume(ds.series.index[0], "suv").sop_uids, volume, strict=True))
    for each in slices:
        np.testing.assert_allclose(each["image"], by[each["sop_uid"]], rtol=1e-6)


def _sum(pair: tuple[Any, int]) -> tuple[str, float]:
    item = pair[0][pair[1]]
    return item["series_uid"], float(item["image"].sum())


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_other_processes_read_the_same(built: Any, start: str) -> None:
    ds, _ = built
    items = _items(ds)
    here = [_sum((items, place)) for place in range(len(items))]  # pyarrow's threads are there before the fork
    assert len(pickle.dumps(ds)) < 1000
    with multiprocessing.get_context(start).Pool(2 if start == "fork" else 1) as pool:
        assert pool.map(_sum, [(items, place) for place in range(len(items))], chunksize=4) == here


def test_monai_gets_what_nibabel_reads_and_an_affine_to_ras(built: Any, tmp_path: Path) -> None:
    ds, groups = built
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        items = ds.monai(values="stored")
    ledger = ds.to_nifti(tmp_path / "flat", values="stored")
    for each in items:
        image = each["image"]
        affine = image.affine if HAS["monai"] else each["image_meta_dict"]["affine"]
        assert image.shape[0] == 1
        _agrees(np.asarray(image)[0], affine, groups[each["series_uid"]])
        file = nibabel.load(tmp_path / "flat" / ledger.loc[each["series_uid"], "file"])
        np.testing.assert_array_equal(np.asarray(image)[0], np.asarray(file.dataobj))
        np.testing.assert_allclose(np.asarray(affine), file.affine, atol=1e-4)
        assert nibabel.aff2axcodes(np.asarray(affine)) == nibabel.aff2axcodes(file.affine)


def test_flat_nifti_is_a_row_for_every_series(built: Any, tmp_path: Path) -> None:
    ds, groups = built
    ledger = ds.to_nifti(tmp_path / "new", values="stored")
    assert set(ledger.index) == set(groups)
    assert ledger["status"].value_counts().to_dict() == {"done": 12, "not-a-volume": 1}
    assert ledger["error"].notna().sum() == 1
    for uid, row in ledger[ledger["status"] == "done"].iterrows():
        image = nibabel.load(tmp_path / "new" / row["file"])
        _agrees(np.asarray(image.dataobj), image.affine, groups[uid])
        assert (tmp_path / "new" / f"{row['file']}.json").is_file()
    with pytest.raises(QueryError, match="new or empty"):
        ds.to_nifti(tmp_path / "new")
    for wrong in ({"layout": "zip"}, {"names": {"MR": "T1w"}}, {"values": "hu"}):
        with pytest.raises(QueryError):
            ds.to_nifti(tmp_path / "other", **wrong)
    assert not (tmp_path / "other").exists()


def test_bids_is_as_its_rules_say(built: Any, tmp_path: Path) -> None:
    ds, groups = built
    ledger = ds.to_nifti(tmp_path / "bids", "bids", names={"MR": "T1w"}, on_missing="nan", dtype="float32")
    assert set(ledger["status"]) == {"done"}
    root = tmp_path / "bids"
    about = json.loads((root / "dataset_description.json").read_text())
    assert about["Name"]
    assert re.fullmatch(r"1\.\d+\.\d+", about["BIDSVersion"])
    assert (root / "README").read_text()
    lines = [line.split("\t") for line in (root / "participants.tsv").read_text().splitlines()]
    assert lines[0] == ["participant_id", "split", "sex", "age"]
    assert {line[0] for line in lines[1:]} == {path.name for path in root.iterdir() if path.is_dir()}
    assert {tuple(line[2:]) for line in lines[1:]} == {("F", "89")}
    # BIDS 1.10.0, "Common principles": entities in order, labels of letters and digits, each file in its own folders.
    form = r"sub-([A-Za-z0-9]+)/ses-([A-Za-z0-9]+)/(anat|ct)/sub-\1_ses-\2(_run-[0-9]+)?_(T1w|ct)\.(nii\.gz|json)"
    files = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.parent != root]
    assert len(files) == 26
    assert all(re.fullmatch(form, each) for each in files)
    assert sum("_run-2_ct.nii.gz" in each for each in files) == 1  # the one with a gap is of the same study
    assert (root / ".bidsignore").read_text() == "**/ct/\n"
    for uid, row in ledger.iterrows():
        if uid != "2.25.99":
            image = nibabel.load(root / row["file"])
            _agrees(np.asarray(image.dataobj), image.affine, groups[uid])
        side = json.loads((root / row["file"].replace(".nii.gz", ".json")).read_text())
        assert side["SeriesInstanceUID"] == uid
        assert side["MagneticFieldStrength"] == 1.5
        said = ds.instances.loc[ds.instances["SeriesInstanceUID"] == uid, "EchoTime"]
        if said.notna().all():
            assert side["EchoTime"] == pytest.approx(said.iloc[0] / 1000)  # seconds
        else:
            assert "EchoTime" not in side
    assert not [each for each in groups.values() if str(each[0].PatientID) in " ".join(files)]
    told = ds.to_nifti(tmp_path / "unnamed", "bids")
    assert told.loc[[uid for uid in groups if groups[uid][0].Modality == "MR"], "status"].unique().tolist() == [
        "no-name"
    ]
    with pytest.raises(QueryError, match="which of these"):
        ds.to_nifti(tmp_path / "wrong", "bids", names={"MR": "bold"})


def test_nnunet_is_as_its_rules_say(built: Any, tmp_path: Path) -> None:
    ds, groups = built
    ct = [uid for uid, group in groups.items() if group[0].Modality == "CT" and uid != "2.25.99"]
    masks = {uid: ds.volume(uid).array > ds.volume(uid).array.mean() for uid in ct}
    root = tmp_path / "Dataset007_Lung"
    ledger = ds.to_nifti(root, "nnunet", values="rescaled", segmentations=masks, labels={"background": 0, "bright": 1})
    assert ledger["status"].value_counts().to_dict() == {"done": 6, "other-modality": 6, "no-segmentation": 1}
    about = json.loads((root / "dataset.json").read_text())
    images, labels = (sorted(path.name for path in (root / name).iterdir()) for name in ("imagesTr", "labelsTr"))
    assert about == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "bright": 1},
        "numTraining": len(images),
        "file_ending": ".nii.gz",
    }
    assert len(images) == 2
    assert len(list((root / "imagesTs").iterdir())) == 4
    assert all(re.fullmatch(r".+_0000\.nii\.gz", each) for each in images)
    assert [each.replace("_0000", "") for each in images] == labels
    for uid in ct:
        image = nibabel.load(root / ledger.loc[uid, "file"])
        name = ledger.loc[uid, "file"].replace("images", "labels").replace("_0000", "")
        label = nibabel.load(root / name)
        np.testing.assert_array_equal(label.affine, image.affine)
        assert label.shape == image.shape
        np.testing.assert_array_equal(np.asarray(label.dataobj).T, masks[uid])
        np.testing.assert_array_equal(np.asarray(image.dataobj).T, ds.volume(uid, "rescaled").array)
    assert not (root / "splits_final.json").exists()  # all of training is "train"
    options = {"labels": {"background": 0, "bright": 1}, "values": "stored"}
    wrong = {**masks, ct[0]: masks[ct[0]][1:], ct[1]: masks[ct[1]].astype(np.int16) * 3}
    told = ds.to_nifti(tmp_path / "Dataset008_Lung", "nnunet", segmentations=wrong, **options)
    assert told.loc[ct[:2], "status"].tolist() == ["failed", "failed"]
    with pytest.raises(QueryError, match="Dataset101_Lung"):
        ds.to_nifti(tmp_path / "lung", "nnunet", segmentations=masks, **options)
    for bad in ({"labels": {"background": 0, "bright": 2}}, {"segmentations": {"1.2": 1}}, {"segmentations": None}):
        with pytest.raises(QueryError):
            ds.to_nifti(tmp_path / "Dataset009_Lung", "nnunet", **{"segmentations": masks, **options, **bad})


def test_nnunet_takes_labels_that_its_json_can_hold(built: Any, tmp_path: Path) -> None:
    ds, groups = built
    uid = next(uid for uid, group in groups.items() if group[0].Modality == "CT" and uid != "2.25.99")
    masks, root = {uid: np.ones(ds.volume(uid).shape, "u1")}, tmp_path / "Dataset001_x"
    ds.to_nifti(root, "nnunet", segmentations=masks, labels={"background": 0, "ignore": np.int64(2), "a": np.uint8(1)})
    assert json.loads((root / "dataset.json").read_text())["labels"] == {"background": 0, "a": 1, "ignore": 2}
    several: list[dict[Any, Any]] = [{"a": "1"}, {"a": 1.0}, {"a": 2, "ignore": 1}, {1: 1, "1": 2}]
    for wrong in several:
        with pytest.raises(QueryError):
            ds.to_nifti(tmp_path / "Dataset002_x", "nnunet", segmentations=masks, labels={"background": 0, **wrong})
    assert not (tmp_path / "Dataset002_x").exists()


def test_a_strangers_dataset_writes_into_its_folder_alone(tmp_path: Path) -> None:
    """A UID and the name of a split are texts of the tables: here they are paths."""
    made = build(tmp_path / "out", ores.samples.cohort(patients=1, studies=1, slices=3, size=16)[:3])
    uid, bad = str(made[0].SeriesInstanceUID), "../../evil"
    path = tmp_path / "out" / "series.parquet"
    table = ores.read_parquet(path).reset_index()[["PatientID", "Modality", "instances"]]
    ores.write_table(table.assign(SeriesInstanceUID=bad, file=f"frames/{uid}.parquet"), path)
    ds, inner = OpenDataset(tmp_path / "out"), tmp_path / "a" / "b"
    masks = {bad: np.zeros((3, 16, 16), "u1")}
    before = {each for each in tmp_path.rglob("*") if each.is_file()}
    assert set(ds.to_nifti(inner / "flat")["file"]) == {f"{uid}.nii.gz"}
    told = ds.to_nifti(inner / "Dataset001_x", "nnunet", segmentations=masks, labels={"background": 0})
    assert set(told["status"]) == {"done"}
    splits = ores.read_parquet(tmp_path / "out" / "splits.parquet").reset_index()[["PatientID"]]
    ores.write_table(splits.assign(split="../../../evil"), tmp_path / "out" / "splits.parquet")
    with pytest.raises(QueryError, match="Hub"):
        OpenDataset(tmp_path / "out").to_hf(inner / "hub")
    after = {each for each in tmp_path.rglob("*") if each.is_file()} - before
    assert len(after) == 5
    assert all(each.is_relative_to(inner) for each in after)


def test_nnunet_trains_on_nobody_who_may_be_of_the_test(tmp_path: Path) -> None:
    """A series without a PatientID is in no split."""
    build(tmp_path / "out")
    path = tmp_path / "out" / "series.parquet"
    series = ores.read_parquet(path)
    series = series[series["Modality"] == "CT"].reset_index()[["SeriesInstanceUID", "PatientID", "Modality"]]
    series.loc[1, "PatientID"] = None
    ores.write_table(series, path)
    ds, root = OpenDataset(tmp_path / "out"), tmp_path / "Dataset001_x"
    masks = {uid: np.zeros(ds.volume(uid).shape, "u1") for uid in ds.series.index}
    told = ds.to_nifti(root, "nnunet", segmentations=masks, labels={"background": 0})
    assert told["status"].tolist() == ["done", "no-split"]
    assert len(list((root / "imagesTr").iterdir())) == 1


def test_a_label_may_be_called_as_a_column_of_ours(tmp_path: Path) -> None:
    build(tmp_path / "out")
    path = tmp_path / "out" / "series.parquet"
    ores.write_table(ores.read_parquet(path).assign(part="knee"), path)
    table, arrays = OpenDataset(tmp_path / "out").to_numpy()
    assert len(table) == len(arrays) == 4


def test_nnunet_keeps_a_patient_on_one_side(tmp_path: Path) -> None:
    build(tmp_path / "out", ores.samples.cohort(patients=4, studies=2, slices=3, size=16))
    path = tmp_path / "out" / "splits.parquet"
    placed: Any = pd.array([0, 1, 0, None], dtype="Int64")  # a patient of no fold is in the training of each
    for columns in ({"split": ["train", "val", "train", "test"]}, {"fold": placed}):
        splits = ores.read_parquet(path).reset_index()[["PatientID"]].assign(**columns)
        ores.write_table(splits, path)
        ds = OpenDataset(tmp_path / "out")
        ct = ds.series.index[ds.series["Modality"] == "CT"]
        root = tmp_path / f"Dataset00{len(splits.columns)}_{next(iter(columns))}"
        masks = {uid: np.zeros(ds.volume(uid).shape, "u1") for uid in ct}
        ds.to_nifti(root, "nnunet", segmentations=masks, labels={"background": 0})
        folds = json.loads((root / "splits_final.json").read_text())
        patient = {uid.replace(".", "-"): ds.series.loc[uid, "PatientID"] for uid in ct}
        assert len(folds) == (2 if "fold" in columns else 1)
        for fold in folds:
            sides = [{patient[case] for case in fold[side]} for side in ("train", "val")]
            assert not sides[0] & sides[1]
            assert all(sides)
            trained = {path.name.removesuffix("_0000.nii.gz") for path in (root / "imagesTr").iterdir()}
            assert {*fold["train"], *fold["val"]} == trained


def test_a_hospitals_number_is_in_no_name(built: Any, tmp_path: Path) -> None:
    ds, groups = built
    ds.to_nifti(tmp_path / "bids", "bids", names={"MR": "T2w"})
    written = b"".join(path.read_bytes() for path in (tmp_path / "bids").rglob("*") if path.suffix in (".json", ".tsv"))
    names = "".join(str(path) for path in (tmp_path / "bids").rglob("*"))
    for group in groups.values():
        assert str(group[0].PatientID).encode() not in written
        assert str(group[0].PatientID) not in names


def test_the_folder_for_the_hub_says_where_each_split_is(built: Any, tmp_path: Path) -> None:
    ds, groups = built
    (ds.folder / "README.md").write_text(
        '---\nlicense: cc-by-4.0\npretty_name: "x: y"\nconfigs:\n- config_name: series\n  data_files: series.parquet\n'
        "---\n\n# x\n\n## Reading\n\nold words\n\n## Privacy\n\nkept\n"
    )
    told = ds.to_hf(tmp_path / "hub")
    text = (tmp_path / "hub" / "README.md").read_text()
    (ds.folder / "README.md").unlink()
    assert "old words" not in text
    assert "kept" in text
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "cc-by-4.0"
    configs = {each["config_name"]: each["data_files"] for each in front["configs"]}
    assert set(configs) == {"series", "instances", "frames", "issues"}
    patients: dict[str, set[str]] = {}
    frames = 0
    for name, files in configs.items():
        for each in files:
            found = sorted((tmp_path / "hub").glob(each["path"]))
            assert found
            table = pd.concat([pd.read_parquet(path) for path in found])
            frames += len(table) if name == "frames" else 0
            if name == "series":
                patients[each["split"]] = set(table["PatientID"])
    assert patients.keys() == {"train", "test"}
    assert not patients["train"] & patients["test"]
    assert frames == sum(map(len, groups.values())) == told.loc[told["config"] == "instances", "rows"].sum()
    with pytest.raises(QueryError, match="new or empty"):
        ds.to_hf(tmp_path / "hub")
    if HAS["datasets"]:
        datasets: Any = importlib.import_module("datasets")
        for split in ("train", "test"):
            loaded = datasets.load_dataset(
                str(tmp_path / "hub"), "frames", split=split, cache_dir=str(tmp_path / "cache")
            )
            by = {str(each.SOPInstanceUID): each for group in groups.values() for each in group}
            for row in loaded:
                image = np.frombuffer(row["pixels"], row["dtype"]).reshape(row["shape"])
                np.testing.assert_array_equal(image, by[row["SOPInstanceUID"]].pixel_array)
            series = datasets.load_dataset(str(tmp_path / "hub"), "series", split=split, cache_dir=str(tmp_path / "c"))
            assert set(series["PatientID"]) == patients[split]


@pytest.mark.skipif(not HAS["torch"], reason="torch is not installed")
def test_torch_loads_batches_on_two_workers(built: Any) -> None:
    from torch.utils.data import DataLoader

    ds, groups = built
    chosen = ds.series.index[ds.series["Modality"] == "CT"].drop("2.25.99")
    items = _items(ds, values="rescaled", columns=["finding"])
    same = [place for place, uid in enumerate(items.table["SeriesInstanceUID"]) if uid in chosen]
    import torch

    subset: Any = torch.utils.data.Subset(items, same)
    for start in ("fork", "spawn"):
        seen = []
        for batch in DataLoader(subset, batch_size=2, num_workers=2, multiprocessing_context=start):
            assert batch["image"].dtype == torch.float32
            for image, uid in zip(batch["image"], batch["series_uid"], strict=True):
                np.testing.assert_array_equal(image.numpy(), ds.volume(uid, "rescaled").array)
                seen.append(uid)
        assert sorted(seen) == sorted(chosen)
    slices = DataLoader(ds.torch(item="slice", values="stored"), batch_size=8, num_workers=2, shuffle=True)
    by = {str(each.SOPInstanceUID): each for group in groups.values() for each in group}
    count = 0
    for batch in slices:
        for image, uid in zip(batch["image"], batch["sop_uid"], strict=True):
            np.testing.assert_array_equal(image.numpy(), by[uid].pixel_array)
            count += 1
    assert count == len(by)


@pytest.mark.skipif(not HAS["monai"], reason="MONAI is not installed")
def test_monai_turns_to_ras_what_we_give_it(built: Any) -> None:
    from monai.data import CacheDataset
    from monai.data import Dataset as MonaiDataset
    from monai.transforms import Compose, Orientationd

    ds, groups = built
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = ds.monai(values="stored", dtype="float32")
        turn = Compose([Orientationd(keys="image", axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))])
        for made in (MonaiDataset(given, turn), CacheDataset(given, turn, progress=False)):
            for each in made:
                image = each["image"]
                _agrees(image.numpy()[0], image.affine, groups[each["series_uid"]])
                assert nibabel.aff2axcodes(image.affine.numpy()) == ("R", "A", "S")
