"""Volumes and exports from real servers: right, checked, complete or absent."""

from __future__ import annotations

import copy
import csv
import dataclasses
import errno
import importlib.util
import io
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pydicom
import pytest
from faults import Exchange, Proxy, Script
from pixel_cases import columns_of, make_enhanced
from pydicom.data import get_testdata_file
from stock import stock
from volume_cases import volume_of

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.export import frame_rows, write_frames
from orthanc_research.export.frames import FRAMES_SCHEMA
from orthanc_research.pixels import decode, frames_of

# The JSON of a .npy is named otherwise than those of the other two.
FORMS = ("parquet", "npy", "nifti" if importlib.util.find_spec("nibabel") else "npz")


@pytest.fixture
def cohort(orthanc: ores.Orthanc) -> ores.Orthanc:
    stock(orthanc, patients=1, studies=1, slices=6, size=32)
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
    assert seen == len(files) == int(ledger["frames"].sum())


def test_frames_lie_in_groups_of_eight_packed_by_zstd_under_one_schema(tmp_path: Path) -> None:
    """One slice is read without the others, and a folder of files as one table, whatever is in the first of them."""
    images = np.arange(20 * 6 * 5).reshape(20, 6, 5)
    for name, kind in (("a", np.int16), ("b", np.float32)):
        made = make_enhanced(images.astype(kind), columns_of(20), PatientID="nobody")
        write_frames(tmp_path / f"{name}.parquet", frame_rows(frames_of(made), decode(made)), {"by": name})
        with pq.ParquetFile(tmp_path / f"{name}.parquet") as file:
            groups = [file.metadata.row_group(place) for place in range(file.num_row_groups)]
            pixels = [group.column(group.num_columns - 1) for group in groups]
            assert file.schema_arrow.equals(FRAMES_SCHEMA, check_metadata=False)
            assert file.schema_arrow.metadata == {b"orthanc_research.frames": b"1", b"by": name.encode()}
        assert [group.num_rows for group in groups] == [8, 8, 4]
        assert {each.path_in_schema for each in pixels} == {"pixels"}
        assert {(each.compression, each.has_dictionary_page, each.statistics) for each in pixels} == {
            ("ZSTD", False, None)
        }
    assert len(pads.dataset(tmp_path).to_table()) == 40


def test_a_flipped_bit_in_a_parquet_file_is_found(cohort: ores.Orthanc, tmp_path: Path) -> None:
    cohort.export(cohort.series(Modality="CT"), tmp_path, progress=False)
    (path,) = tmp_path.glob("*.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(errors.DatasetError, match="is damaged"):
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


@pytest.mark.parametrize("form", FORMS)
def test_one_uid_under_two_patients_is_two_files(orthanc: ores.Orthanc, tmp_path: Path, form: str) -> None:
    mine = [d for d in ores.samples.cohort(patients=1, studies=1, slices=4, size=16) if d.Modality == "CT"]
    theirs = copy.deepcopy(mine)
    for dataset in theirs:
        dataset.PatientID = "somebody-else"
        dataset.PixelData = bytes(len(dataset.PixelData))
    orthanc.upload([*mine, *theirs], progress=False)
    series = orthanc.series()
    assert series["SeriesInstanceUID"].nunique() == 1 < len(series) == 2

    def exported(chosen: pd.DataFrame) -> pd.DataFrame:
        return orthanc.export(chosen, tmp_path, format=form, progress=False)

    ledger = exported(series)
    assert set(ledger["status"]) == {"done"}
    names = [Path(file).name.removesuffix(".gz").rpartition(".")[0] for file in ledger["file"]]
    assert names == [series["SeriesInstanceUID"].iloc[0], f"{series['SeriesInstanceUID'].iloc[1]}-{series.index[1]}"]
    sums = [_sum(file) for file in ledger["file"]]
    assert sorted(total == 0 for total in sums) == [False, True]
    assert list(exported(series)["file"]) == list(ledger["file"])  # again: each replaces its own
    assert list(exported(series.iloc[::-1])["file"]) == list(ledger["file"])[::-1]
    assert [_sum(file) for file in ledger["file"]] == sums
    assert len(list(tmp_path.iterdir())) == (2 if form == "parquet" else 4)


def _sum(file: str) -> int:
    if file.endswith(".gz"):
        return int(pytest.importorskip("nibabel").load(file).get_fdata().sum())
    if not file.endswith(".parquet"):
        return int(ores.read_volume(file)[0].astype(np.int64).sum())
    return sum(int(array.astype(np.int64).sum()) for _, array in ores.read_frames(file))


def test_chosen_instances_are_written_and_no_others(cohort: ores.Orthanc, tmp_path: Path) -> None:
    ct = cohort.series(Modality="CT")
    order = cohort.tags(ct, ["InstanceNumber"]).sort_values("InstanceNumber").index
    frame = cohort.instances(within=ct)
    some = frame.loc[order[[0, 1, 2, 3]]]
    (row,) = cohort.export(some, tmp_path, progress=False).to_dict("records")
    assert (row["status"], row["instances"], row["frames"]) == ("done", 4, 4)
    written = {columns["SOPInstanceUID"] for columns, _ in ores.read_frames(row["file"])}
    assert written == set(some["SOPInstanceUID"])
    (row,) = cohort.export(some, tmp_path, format="npy", progress=False).to_dict("records")
    assert (row["status"], row["frames"]) == ("done", 4)
    assert set(ores.read_volume(row["file"])[1]["sop_uids"]) == set(some["SOPInstanceUID"])
    gap = frame.loc[order[[0, 1, 3, 4]]]
    (row,) = cohort.export(gap, tmp_path, format="npy", progress=False).to_dict("records")
    assert row["status"] == "not-a-volume"
    cohort.delete([order[1]], expect=1)
    for form in ("parquet", "npy"):
        (row,) = cohort.export(some, tmp_path, format=form, progress=False).to_dict("records")
        assert (row["status"], row["error"]) == (
            "changed",
            "1 of 4 instances are no longer on this Orthanc; find them again.",
        )
        assert (row["expected"], row["instances"]) == (4, 3)


def test_colour_that_was_converted_says_so(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    ybr, rgb = (pydicom.dcmread(str(get_testdata_file(f"{name}.dcm", download=False))) for name in _COLOUR)
    assert ybr.PhotometricInterpretation.startswith("YBR_FULL")
    assert rgb.PhotometricInterpretation == "RGB"
    orthanc.upload([ybr, rgb], progress=False)
    ledger = orthanc.export(orthanc.series(), tmp_path, progress=False)
    assert set(ledger["status"]) == {"done"}
    found = [columns["PhotometricInterpretation"] for f in ledger["file"] for columns, _ in ores.read_frames(f)]
    assert set(found) == {"RGB"}


_COLOUR = ("examples_ybr_color", "SC_rgb_rle")


def test_more_frames_than_declared_are_told_and_padding_is_not(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    (image, *_) = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)
    frame = image.PixelData
    made: dict[str, str] = {}
    for name, data, frames in (
        ("twice", frame * 2, None),
        ("three of two", frame * 3, 2),
        ("padded", frame + bytes(len(frame) - 2), None),
        ("two", frame * 2, 2),
    ):
        dataset = copy.deepcopy(image)
        dataset.PixelData = data
        dataset.SOPInstanceUID = f"1.2.{len(made)}"
        if frames:
            dataset.NumberOfFrames = frames
        made[name] = str(orthanc.upload(dataset, progress=False)["ID"].iloc[0])
    for name in ("twice", "three of two"):
        with pytest.raises(errors.PixelError, match="NumberOfFrames is absent or wrong"):
            orthanc.pixels(made[name])
    assert orthanc.pixels(made["padded"]).shape == (1, 16, 16)
    assert orthanc.pixels(made["two"]).shape == (2, 16, 16)
    (row,) = orthanc.export(orthanc.series(), tmp_path, progress=False).to_dict("records")
    assert (row["status"], row["frames"]) == ("partial", 3)


def test_a_number_that_no_column_holds_is_none(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    (image, *_) = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)
    data = io.BytesIO()
    image.InstanceNumber = 1234
    pydicom.dcmwrite(data, image, enforce_file_format=True)
    orthanc.upload(data.getvalue().replace(b"IS\x04\x001234", b"IS\x04\x001e30"), progress=False)
    (row,) = orthanc.export(orthanc.series(), tmp_path, progress=False).to_dict("records")
    assert row["status"] == "done"
    ((columns, _),) = ores.read_frames(row["file"])
    assert columns["InstanceNumber"] is None


def test_a_full_disk_is_a_failed_row_and_the_rest_is_not_sent(
    cohort: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int) -> Callable[[int], None]:
        def fsync(descriptor: int) -> None:
            raise OSError(number, os.strerror(number))

        return fsync

    series = cohort.series()
    for form in FORMS:
        monkeypatch.setattr(os, "fsync", refuse(errno.ENOSPC))
        ledger = cohort.export(series, tmp_path, format=form, progress=False)
        assert list(ledger["status"]) == ["failed", "not-sent"]
        assert set(ledger["error"]) == {"The file cannot be written: No space left on device."}
        monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
        assert list(cohort.export(series, tmp_path, format=form, progress=False)["status"]) == ["failed", "failed"]
        assert list(tmp_path.iterdir()) == []


def test_values_that_arrow_refuses_are_a_failed_row(
    cohort: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise pa.ArrowInvalid("no")

    monkeypatch.setattr("orthanc_research.export.series.write_frames", refuse)
    ledger = cohort.export(cohort.series(), tmp_path, progress=False)
    assert list(ledger["error"]) == ["Its values cannot be written (ArrowInvalid)."] * 2


def test_a_folder_that_cannot_be_written_to_is_refused(
    cohort: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    for target in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nothing/here"):
        with pytest.raises(errors.QueryError, match="Nothing can be written to"):
            cohort.export(cohort.series(), target, progress=False)
    assert (tmp_path / "file").read_bytes() == b"mine"
    monkeypatch.setattr(os, "access", lambda *_: False)  # root, who runs the tests at times, may write anywhere
    with pytest.raises(errors.QueryError, match="you may not"):
        cohort.export(cohort.series(), tmp_path, progress=False)


@pytest.mark.parametrize("form", ["npy", "npz"])
@pytest.mark.parametrize("damage", ["hash", "shape", "json", "no json", "cut", "bit", "other kind", "list"])
def test_a_volume_that_is_not_as_described_is_told(tmp_path: Path, damage: str, form: str) -> None:
    volume = volume_of()
    path = ores.write_volume(tmp_path / f"v.{form}", volume)
    beside = path.with_suffix(".json" if form == "npy" else ".npz.json")
    array, about = ores.read_volume(path)
    if damage == "hash":  # an old half of a pair: same shape, other values
        other = ores.write_volume(tmp_path / f"other.{form}", dataclasses.replace(volume, array=array + 1))
        other.replace(path)
    elif damage == "shape":
        turned = dataclasses.replace(volume, array=array.reshape(array.shape[::-1]))
        ores.write_volume(tmp_path / f"other.{form}", turned).replace(path)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "bit":
        data = bytearray(path.read_bytes())
        data[200] ^= 1
        path.write_bytes(data)
    elif damage == "other kind":
        with path.open("wb") as stream:
            np.savez(stream, array=array) if form == "npy" else np.save(stream, array)
    elif damage == "json":
        beside.write_bytes(beside.read_bytes()[:-9])
    elif damage == "list":
        beside.write_bytes(b"[]")
    else:
        beside.unlink()
    with pytest.raises(errors.DatasetError, match=rf"v\.{form}"):
        ores.read_volume(path)
    assert about["sha256"]


@pytest.mark.parametrize("name", ["v", "v.npy", "v.npz"])
def test_a_volume_in_any_memory_order_comes_back(tmp_path: Path, name: str) -> None:
    volume = volume_of()
    turned = dataclasses.replace(volume, array=np.asfortranarray(volume.array))
    assert np.array_equal(ores.read_volume(ores.write_volume(tmp_path / name, turned))[0], volume.array)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    frame = pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="ID"))
    writers: list[Callable[[], object]] = [
        lambda: ores.write_table(frame, nowhere / "x.parquet"),
        lambda: ores.write_csv(frame, nowhere / "x.csv"),
        lambda: ores.write_volume(nowhere / "x.npy", volume_of()),
    ]
    for write in writers:
        with pytest.raises(FileNotFoundError, match=f"There is no folder: '{nowhere}'$"):
            write()


def test_a_file_that_is_not_there_or_not_ours_is_told(tmp_path: Path) -> None:
    readers: list[Callable[[Path], object]] = [
        ores.read_parquet,
        lambda path: list(ores.read_frames(path)),
        lambda path: ores.read_volume(path.with_suffix(".npy")),
        lambda path: ores.read_volume(path.with_suffix(".npz")),
    ]
    for read in readers:
        with pytest.raises(errors.QueryError, match="There is no file"):
            read(tmp_path / "nope")
    with pytest.raises(errors.QueryError, match="There is no file"):
        ores.read_frames(tmp_path / "nope")  # at once, not when the first frame is taken
    (tmp_path / "x").write_bytes(b"PAR1 and nothing")
    (tmp_path / "x.npy").write_bytes(b"nothing")
    (tmp_path / "x.npz").write_bytes(b"nothing")
    for read in readers:
        with pytest.raises(errors.DatasetError):
            read(tmp_path / "x")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "y")
    with pytest.raises(errors.DatasetError):
        list(ores.read_frames(tmp_path / "y"))


_NOT_OPTIONS: list[dict[str, Any]] = [
    {"format": "bmp"}, {"format": "npz", "dtype": "text"}, {"format": "nifti", "dtype": "complex64"},
    {"format": "npy", "on_4d": "nan"}, {"format": "npy", "on_missing": "drop"}, {"on_4d": "split"},
    {"on_missing": "nan"}, {"on_shear": "keep"}, {"dtype": "int16"}, {"min_slices": 9},
]  # fmt: skip


def test_options_are_refused_before_the_first_request(cohort: ores.Orthanc, tmp_path: Path) -> None:
    identifier = str(cohort.series().index[0])
    bad: list[Callable[[], object]] = [
        *(lambda v=v: cohort.volume(identifier, v) for v in ("HU", "SUV", "hu")),
        lambda: cohort.volume(identifier, min_slices=1),
        lambda: cohort.volume(identifier, min_slices="3"),  # type: ignore[arg-type]
        lambda: cohort.stacks(identifier, min_slices=1),
        lambda: cohort.export([identifier], tmp_path / "x", values="hu", progress=False),
        lambda: cohort.export([identifier], tmp_path / "x", format="npy", values="hu", progress=False),
        lambda: cohort.export([identifier], tmp_path / "x", min_slices=1, progress=False),
        *(lambda o=o: cohort.export([identifier], tmp_path / "x", progress=False, **o) for o in _NOT_OPTIONS),
    ]
    with cohort.rest.counting() as requests:
        for call in bad:
            with pytest.raises(errors.QueryError):
                call()
    assert requests == []
    assert not (tmp_path / "x").exists()


def test_a_table_from_a_file_still_belongs_to_its_server(cohort: ores.Orthanc, tmp_path: Path) -> None:
    again = ores.read_parquet(ores.write_table(cohort.series(), tmp_path / "t.parquet"))
    assert again.attrs["orthanc"] == {"level": "Series", "url": cohort.url}
    assert len(cohort.tags(again, ["Modality"])) == len(cohort.instances())
    with ores.Orthanc("http://127.0.0.1:1") as other:
        with pytest.raises(errors.QueryError, match="another Orthanc"):
            other.tags(again)
        with pytest.raises(errors.QueryError, match="another Orthanc"):
            ores.attach(again, other)


@pytest.mark.one_version
def test_two_exports_into_one_folder_leave_each_other_alone(cohort: ores.Orthanc, tmp_path: Path) -> None:
    auth = cohort.rest.connection.basic_auth() or ("", "")
    code = (
        "import sys, orthanc_research as ores\n"
        "with ores.Orthanc(sys.argv[1], auth='env:SOME_AUTH') as orthanc:\n"
        "    for _ in range(15):\n"
        "        ledger = orthanc.export(orthanc.series(), sys.argv[2], progress=False)\n"
        "        assert set(ledger['status']) == {'done'}, list(ledger['error'])\n"
    )
    command = [sys.executable, "-c", code, cohort.url, str(tmp_path)]
    environment = os.environ | {"SOME_AUTH": ":".join(auth)}
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".parquet", ".parquet"]


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
        cohort.volume(cohort.series(Modality="CT"), "hu")
    with pytest.raises(errors.QueryError, match="takes one series"):
        cohort.volume(cohort.series())
    assert not (tmp_path / "x").exists()


def test_a_file_that_is_not_the_stored_one_is_told(cohort: ores.Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = str(cohort.instances().index[0])
    assert cohort.dicom(instance, verify=True).SOPInstanceUID
    assert cohort.pixels(instance).shape == (1, 32, 32)
    monkeypatch.setattr(cohort.rest.instances, "_run", lambda call: (b"other", "0" * 32))
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
    cells = list(csv.reader(text.splitlines()))
    assert cells[0] == ["'=A1", "n"]
    assert [row[0] for row in cells[1:]] == ["'=1+1", "'+x", "'-y", "'@z", "plain", ""]
    assert [row[1] for row in cells[1:]] == ["-1.5", "2.0", "3.0", "4.0", "5.0", ""]


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


def test_a_password_that_is_refused_midway_leaves_a_row_for_every_series(cohort: ores.Orthanc, tmp_path: Path) -> None:
    series = cohort.series()
    with (
        ores.Orthanc(cohort.url, auth=("ores", "wrong")) as locked,
        pytest.raises(errors.AccessError, match="refused the user name"),
    ):
        locked.export(series, tmp_path / "out", progress=False)
    auth = cohort.rest.connection.auth
    with (
        Proxy(cohort.url, script=Script([refuse], only="/series/")) as proxy,
        ores.Orthanc(proxy.url, auth=auth) as locked,
    ):
        ledger = locked.export(list(series.index), tmp_path / "out", progress=False)
    assert ledger["status"].tolist() == ["failed", "not-sent"]
    assert ledger["error"].str.contains("refused the user name").all()


def refuse(exchange: Exchange) -> None:
    exchange.peer.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
