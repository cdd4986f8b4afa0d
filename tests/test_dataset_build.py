"""Builds of real series of a real Orthanc: the same dataset whoever builds it, and a row for whatever goes wrong."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import re
import shutil
import time
import warnings
import zipfile
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from dataset_builds import SMALL, check, cohort, inputs_hash, load
from dataset_builds import build as build_of
from dataset_builds import recipe as small
from dicom_files import as_file
from filelock import FileLock
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ComputedRadiographyImageStorage, PositronEmissionTomographyImageStorage
from test_pixels_suv import FACTOR, tracer
from typer.testing import CliRunner

import orthanc_research as ores
from orthanc_research.cli import app
from orthanc_research.dataset import Recipe, check_leakage
from orthanc_research.dataset._short import short_tags
from orthanc_research.errors import DatasetError
from orthanc_research.pixels import read_dataset
from orthanc_research.progress import Silent

RECIPES = Path(__file__).parent.parent / "datasets"


def _as(dataset: Dataset, sop_class: UID, modality: str, **values: Any) -> Dataset:
    """The same pixels as another kind of image, with UIDs of its own."""
    made = Dataset()
    made.update(dataset)
    made.file_meta = dataset.file_meta.__class__()
    made.file_meta.update(dataset.file_meta)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = sop_class
    made.Modality = modality
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        digest = hashlib.sha256(f"{modality} {dataset[keyword].value}".encode()).hexdigest()
        setattr(made, keyword, f"2.25.{int(digest[:30], 16)}")
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def _pet(dataset: Dataset) -> Dataset:
    values: dict[str, Any] = {"Units": "BQML", "CorrectedImage": ["DECY", "ATTN"], "DecayCorrection": "START"}
    values |= {"PatientWeight": "70", "SeriesDate": "20200302", "SeriesTime": "120000", "RescaleSlope": "3"}
    values |= {"AcquisitionDate": "20200302", "AcquisitionTime": "120000", "RescaleIntercept": "0"}
    tracers = {"RadiopharmaceuticalInformationSequence": [tracer()]}
    return _as(dataset, PositronEmissionTomographyImageStorage, "PT", **values, **tracers)


_CROSS: set[str] = set()


def test_multi_echo_mr_is_the_same_dataset_on_every_server(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    given = ores.samples.cohort(patients=3, studies=1, slices=8, size=16)
    load(orthanc, given)
    recipe = Recipe.load(RECIPES / "mr-multi-echo.toml")
    plan = recipe.plan(orthanc, progress=False)
    assert plan.counts | {"GB": 0} == {
        "found": 3, "series": 3, "patients": 3, "studies": 3, "instances": 24, "GB": 0
    }  # fmt: skip
    builds = [plan.build(tmp_path / "serial", workers=1, progress=False)]
    builds.append(plan.build(tmp_path / "threads", workers=3, progress=False))
    with ThreadPoolExecutor(2) as executor:
        builds.append(plan.build(tmp_path / "executor", executor=executor, progress=False))
    datasets = [check(build, recipe) for build in builds]
    _CROSS.update(build.content_hash for build in builds)
    assert len(_CROSS) == 1
    for source in given:
        if source.Modality == "MR":
            pairs = datasets[0].frames(source.SeriesInstanceUID)
            frames = {about["SOPInstanceUID"]: array for about, array in pairs}
            np.testing.assert_array_equal(frames[source.SOPInstanceUID], source.pixel_array)
    said = orthanc.tags(orthanc.series(Modality="MR"), ["SOPInstanceUID", *recipe.metadata.keywords])
    said = said.set_index("SOPInstanceUID").sort_index()[list(recipe.metadata.keywords)]
    pd.testing.assert_frame_equal(datasets[0].instances.sort_index()[list(said)], said, check_like=True)
    assert sorted(datasets[0].splits["fold"].value_counts().tolist()) == [1, 1, 1]
    assert len(list((builds[0].folder / "volumes").glob("*.nii.gz"))) == 3
    repeated = builds[0].retry(progress=False)
    assert repeated.status["reused"].all()
    assert repeated.content_hash == builds[0].content_hash


def _in(environment: dict[str, str]) -> None:
    os.environ.update(environment)


@pytest.mark.one_version
def test_processes_give_the_same_dataset_and_get_no_password(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(orthanc, ores.samples.cohort(patients=2, studies=1, slices=4, size=16))
    right = build_of(orthanc, small(), tmp_path / "threads")
    environment = {"BUILD_AUTH": ":".join(orthanc.rest.connection.basic_auth() or ("no", "one"))}
    monkeypatch.setenv("BUILD_AUTH", environment["BUILD_AUTH"])
    # The server that forks may be older than this test, and its environment with it.
    how: dict[str, Any] = {"initializer": _in, "initargs": (environment,)}
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver"), **how) as executor:
        plan = small().plan(orthanc, progress=False)
        with ores.Orthanc(orthanc.url, auth=("a", "b")) as typed:
            plan._orthancs = [typed]
            with pytest.raises(DatasetError, match="env:NAME"):
                plan.build(tmp_path / "no", executor=executor, progress=False)
        with ores.Orthanc(orthanc.url, auth="env:BUILD_AUTH") as named:
            build = build_of(named, small(), tmp_path / "processes", executor=executor)
    check(build, small())
    assert build.content_hash == right.content_hash


@pytest.mark.one_version
def test_the_recipe_for_pet_gives_suv_or_says_why_not(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    given = [
        _pet(each) for each in ores.samples.cohort(patients=3, studies=1, slices=4, size=16) if each.Modality == "MR"
    ]
    odd = given[-1].SeriesInstanceUID
    for each in given:
        if each.SeriesInstanceUID == odd:
            each.DecayCorrection = "NONE"
    load(orthanc, given)
    build = build_of(orthanc, Recipe.load(RECIPES / "pet-suv.toml"), tmp_path / "out")
    assert build.status["status"].value_counts().to_dict() == {"done": 2, "partial": 1}
    assert build.verify().empty
    dataset = ores.open_dataset(build.folder)
    assert set(dataset.issues["kind"]) == {"suv", "volume"}
    assert set(dataset.issues["SeriesInstanceUID"]) == {odd}
    uid = given[0].SeriesInstanceUID
    volume = dataset.volume(uid, "suv")
    mine = {each.SOPInstanceUID: each for each in given}
    for place, sop in enumerate(volume.sop_uids):
        np.testing.assert_allclose(volume.array[place], mine[sop].pixel_array * 3.0 * FACTOR, rtol=1e-5)
    with pytest.raises(ores.PixelError, match="no SUVFactor"):
        dataset.volume(odd, "suv")


@pytest.mark.one_version
def test_the_recipe_for_radiographs_joins_labels(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    slices = [
        each for each in ores.samples.cohort(patients=3, studies=1, slices=3, size=16) if each.InstanceNumber == 1
    ]
    views = {"CT": "PA", "MR": "LL"}
    given = [
        _as(
            each,
            ComputedRadiographyImageStorage,
            "CR",
            ViewPosition=views[each.Modality],
            SeriesInstanceUID=each.SOPInstanceUID,
        )
        for each in slices
    ]
    load(orthanc, given)
    studies = list(dict.fromkeys(str(each.StudyInstanceUID) for each in given))
    shutil.copy(RECIPES / "radiographs.toml", tmp_path)
    table = f"StudyInstanceUID,finding,PatientName\n{studies[0]},1,Doe\n{studies[1]},0,Roe\n1.2.3,1,Poe\n"
    (tmp_path / "radiographs-labels.csv").write_text(table)
    recipe = Recipe.load(tmp_path / "radiographs.toml")
    plan = recipe.plan(orthanc, progress=False)
    assert plan.drops.to_dict() == {"filter: not met": 3}
    assert plan.notes == ("1 rows have no label.", "1 rows of the labels belong to nothing in the dataset.")
    build = plan.build(tmp_path / "out", progress=False)
    dataset = check(build, recipe)
    found = dict(zip(dataset.series["StudyInstanceUID"], dataset.series["finding"], strict=True))
    assert [found[studies[0]], found[studies[1]]] == [1, 0]
    assert dataset.series["finding"].isna().sum() == 1
    assert (build.folder / "quality.pdf").exists()
    text = (tmp_path / "radiographs.toml").read_text().replace('columns = ["finding"]', "")
    with pytest.raises(DatasetError, match="identifying column PatientName"):
        Recipe.parse(text, folder=tmp_path).plan(orthanc, progress=False)


@pytest.mark.one_version
def test_the_recipe_without_pixels_reads_none(cohort: ores.Orthanc, tmp_path: Path) -> None:
    recipe = Recipe.load(RECIPES / "metadata-table.toml")
    build = build_of(cohort, recipe, tmp_path / "out")
    dataset = check(build, recipe)
    assert not list((build.folder / "frames").iterdir())
    assert set(dataset.instances["Manufacturer"]) == {"orthanc_research"}
    assert len(dataset.instances) == cohort.count("Instance", StudyDate="20200101-20241231")


def _opened(path: Path) -> bytes:
    """The bytes of a file, and of what is packed in it."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        content += pd.read_parquet(path).drop(columns="pixels", errors="ignore").to_json().encode()
        content += repr(pq.read_schema(path).metadata).encode()
        if "pixels" in pq.read_schema(path).names:
            content += b"".join(pq.read_table(path, columns=["pixels"])["pixels"].to_pylist())
    elif path.suffix == ".gz":
        content += gzip.decompress(content)
    elif path.suffix in (".npz", ".zip"):
        with zipfile.ZipFile(path) as packed:
            content += b"".join(packed.read(name) for name in packed.namelist())
    elif path.suffix == ".pdf":
        for stream in re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL):
            with suppress(zlib.error):
                content += zlib.decompress(stream)
    return content


_TELLS = (
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "PatientComments",
    "ImageComments",
    "InstitutionName",
)


def _tell(dataset: Dataset) -> None:
    """Say who and when it is wherever people write it."""
    dataset.PatientName = "Quixotez^Abelardo"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = "20210317"
    for keyword in _TELLS:
        setattr(dataset, keyword, "of Quixotez, 20210317")
    block = dataset.private_block(0x0011, "QUIXOTEZ & SON", create=True)
    block.add_new(0x01, "LO", "Quixotez")
    block.add_new(0x02, "UI", dataset.SeriesInstanceUID)
    dataset.file_meta.PrivateInformationCreatorUID = UID("1.2.3")
    dataset.file_meta.PrivateInformation = b"Quixotez"


@pytest.mark.one_version
def test_a_de_identified_dataset_leads_back_to_no_source(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ores.samples.cohort(patients=4, studies=1, slices=25, size=16)
    for each in given:
        if each.Modality == "CT":
            each.SliceThickness = "3"
        _tell(each)
    later = max(str(each.PatientID) for each in given)
    load(orthanc, [each for each in given if each.PatientID != later])
    monkeypatch.setenv("ORES_PROJECT", str(tmp_path / "project"))
    monkeypatch.setenv("ORES_KEY", "5b" * 32)
    recipe = Recipe.load(RECIPES / "ct-volumes.toml")
    recipe = dataclasses.replace(
        recipe,
        query=dataclasses.replace(recipe.query, match={"BodyPartExamined": ["CHEST", "BRAIN"]}),
        metadata=dataclasses.replace(recipe.metadata, keywords=(*recipe.metadata.keywords, *_TELLS, "StudyDate")),
    )
    plan = recipe.plan(orthanc, progress=False)
    assert plan.counts["series"] == 3
    assert len(plan.frame) == 6  # those of MR are left out, and told without their UIDs
    assert plan.identifying == ()
    build = plan.build(tmp_path / "out", progress=False)
    dataset = check(build, recipe)
    assert dataset.issues["SeriesInstanceUID"].isna().all()
    secret = {str(each[keyword].value) for each in given for keyword in ("PatientID", "PatientName", "AccessionNumber")}
    secret |= {str(each[f"{level}InstanceUID"].value) for each in given for level in ("Study", "Series", "SOP")}
    secret |= {"Quixotez", "20210317", "2021-03-17"}

    def told(folder: Path) -> dict[str, bytes]:
        """Path → what it and its file say, of which nothing may be of a source."""
        levels = ("patients", "studies", "series", "instances")
        known = secret.union(*(getattr(orthanc.rest, level).list() for level in levels))
        assert len(known) > 400
        paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
        found = {name: name.encode() + (_opened(path) if path.is_file() else b"") for name, path in paths.items()}
        for name, content in found.items():
            assert not [each for each in known if each.encode() in content], name
        return found

    called = [*dataset.series.index, *dataset.instances.index, *dataset.splits.index]
    seen = Counter[str]()
    for path, content in told(build.folder).items():
        seen[Path(path).suffix] += any(str(each).encode() in content for each in called)  # looked for in the same way
    assert min(seen[each] for each in (".parquet", ".gz", ".json")) > 0
    assert {path.suffix for path in build.folder.rglob("*")} >= {".parquet", ".gz", ".json", ".md", ".toml", ".pdf"}
    private = tmp_path / "project" / "datasets" / recipe.dataset.name
    assert {path.name for path in private.iterdir()} == {"recipe.lock.json", "splits.lock.json"}
    assert (tmp_path / "project").stat().st_mode & 0o077 == 0
    assert dataset.manifest["lock"] != inputs_hash(private)  # it is keyed
    # the split is the one of the originals, and a second build is the same dataset
    again = recipe.plan(orthanc, progress=False).build(tmp_path / "again", progress=False)
    assert again.content_hash == build.content_hash
    for uid in dataset.series.index:
        assert dataset.volume(uid, "rescaled").shape == (41, 16, 16)
    load(orthanc, [each for each in given if each.PatientID == later])
    grown = recipe.plan(orthanc, progress=False).build(tmp_path / "out", progress=False)
    assert grown.changes == "1 new"
    assert set(check(grown, recipe).splits.index) > set(dataset.splits.index)
    told(grown.folder)


@pytest.mark.one_version
def test_a_flipped_byte_is_named_and_that_series_alone_is_made_again(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    load(orthanc, ores.samples.cohort(patients=2, studies=1, slices=4, size=16))
    build = build_of(orthanc, small(), tmp_path / "out")
    path = sorted((build.folder / "frames").iterdir())[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert build.verify().to_dict("records") == [{"file": f"frames/{path.name}", "problem": "changed"}]
    again = build.retry(progress=False)
    assert again.verify().empty
    assert again.status.index[~again.status["reused"]].tolist() == [path.stem]
    assert again.content_hash == build.content_hash


@pytest.mark.one_version
def test_what_was_built_when_frames_were_hashed_otherwise_is_made_again(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    """Hashes of two kinds in one folder would be a content hash that nobody else gets."""
    load(orthanc, cohort())
    build = build_of(orthanc, small(), tmp_path / "out")
    one, *others = sorted((build.folder / "_done").glob("*.json"))
    about = json.loads(one.read_bytes())
    version, _, inputs = about["facts"]["inputs"].partition(" ")
    assert version.isdigit()
    about["facts"] |= {"inputs": inputs, "frames_hash": "0" * 64}  # as they were before there were versions
    one.write_text(json.dumps(about))
    again = build_of(orthanc, small(), tmp_path / "out")
    assert again.status.index[~again.status["reused"]].tolist() == [one.stem]
    assert others
    assert again.content_hash == build.content_hash


def test_a_series_of_which_an_instance_was_stored_again_is_made_again(version: str, tmp_path: Path) -> None:
    with ores.LocalOrthanc(None if version == "any" else version, config={"OverwriteInstances": True}) as orthanc:
        made = cohort()
        load(orthanc, made)
        build = build_of(orthanc, small(), tmp_path / "out")
        other = made[1]
        pixels = other.pixel_array.copy()
        pixels[0, 0] += 1
        other.PixelData = pixels.tobytes()
        time.sleep(1.1)  # LastUpdate has seconds
        assert orthanc.upload([as_file(other)], progress=False)["status"].tolist() == ["stored"]
        again = build_of(orthanc, small(), tmp_path / "out")
        assert again.differences.to_dict("records") == [
            {"SeriesInstanceUID": other.SeriesInstanceUID, "change": "changed"}
        ]
        assert again.status.index[~again.status["reused"]].tolist() == [other.SeriesInstanceUID]
        frames = {each["SOPInstanceUID"]: array for each, array in check(again, small()).frames()}
        assert frames[other.SOPInstanceUID].tolist() == pixels.tolist()
        assert again.content_hash != build.content_hash


def test_a_series_that_changed_since_it_was_planned_is_left_and_never_mixed(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filter, labels and geometry were judged by what it was; stored again, it has as many instances as before."""
    monkeypatch.setenv("ORES_PROJECT", str(tmp_path / "project"))
    monkeypatch.setenv("ORES_KEY", "5b" * 32)
    with ores.LocalOrthanc(None if version == "any" else version, config={"OverwriteInstances": True}) as orthanc:
        made = cohort()
        load(orthanc, made)
        other, lost, gone = made[1], made[-1], cohort(patients=3)[-1]  # of three series
        load(orthanc, [each for each in cohort(patients=3) if each.SeriesInstanceUID == gone.SeriesInstanceUID])
        recipes = small(), small(SMALL + '[anonymize]\nproject = "env:ORES_PROJECT"\nprofile = "research"\n')
        plans = [each.plan(orthanc, progress=False) for each in recipes]
        time.sleep(1.1)  # LastUpdate has seconds
        other.PixelData = bytes(reversed(other.PixelData))
        assert orthanc.upload([as_file(other)], progress=False)["status"].tolist() == ["stored"]
        uids = {level: [str(each[f"{level}InstanceUID"].value) for each in (lost, gone)] for level in ("SOP", "Series")}
        orthanc.rest.instances.delete(orthanc.find("Instance", SOPInstanceUID=uids["SOP"][0]).index[0])
        orthanc.rest.series.delete(orthanc.find("Series", SeriesInstanceUID=uids["Series"][1]).index[0])
        for place, plan in enumerate(plans):
            looked_at = str(other.SeriesInstanceUID)
            build = plan.build(tmp_path / f"out{place}", acknowledge=looked_at, progress=False)
            left = build.status[build.status["status"] != "done"]
            assert set(left["status"]) == {"not-done"}
            assert set(left.index) == {str(other.SeriesInstanceUID), *uids["Series"]}
            assert left["error"].str.endswith("find it again.").all()
            assert not build.complete
            assert len(build.status) == 5


@pytest.mark.one_version
def test_what_cannot_be_decoded_is_a_row_and_the_others_are_built(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    given = ores.samples.cohort(patients=2, studies=1, slices=4, size=16)
    uids = list(dict.fromkeys(str(each.SeriesInstanceUID) for each in given))
    first = True
    for each in given:
        if each.SeriesInstanceUID == uids[0]:  # nothing decodes MPEG2
            each.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")
            each.PixelData = encapsulate([b"\x00\x00\x01\xb3"])
            each["PixelData"].VR, each["PixelData"].is_undefined_length = "OB", True
        elif each.SeriesInstanceUID == uids[1] and first:
            each.PixelData, first = each.PixelData[:100], False
    load(orthanc, given)
    recipe = small(SMALL.replace('also = ["npz"]', "").replace('require = "volume"', 'require = "none"'))
    build = build_of(orthanc, recipe, tmp_path / "out")
    assert build.status["status"].to_dict() == {uids[0]: "failed", uids[1]: "partial"} | dict.fromkeys(uids[2:], "done")
    assert build.complete
    assert build.verify().empty
    issues = ores.open_dataset(build.folder).issues.set_index("SeriesInstanceUID")["kind"].to_dict()
    assert issues == {uids[0]: "failed", uids[1]: "pixels"}
    assert "MPEG2" in str(build.status.loc[uids[0], "error"])


def test_values_are_taken_as_written_and_nothing_quotes_them() -> None:
    made = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)[0]
    made.SpecificCharacterSet, made.SeriesDescription = "ISO_IR 192", "Schädel"
    content = as_file(made).replace(b"ORIGINAL\\PRIMARY", b"original\\PRIMARY")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = short_tags(read_dataset(content), ["SeriesDescription", "ImageType", "Rows", "PixelData", "KVP"])
    kind = "\\".join(["original", *made.ImageType[1:]])
    assert found == {"0008,103e": "Schädel", "0008,0008": kind, "0028,0010": "16", "0018,0060": str(made.KVP)}


@pytest.mark.one_version
def test_pixels_on_both_sides_are_told(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    given = [each for each in ores.samples.cohort(patients=2, studies=1, slices=4, size=16) if each.Modality == "CT"]
    patients = sorted({str(each.PatientID) for each in given})
    by = {who: [each for each in given if str(each.PatientID) == who] for who in patients}
    for one, other in zip(by[patients[0]], by[patients[1]], strict=True):
        other.PixelData = one.PixelData
    load(orthanc, given)
    build = build_of(orthanc, small(), tmp_path / "out")
    assert build.leaks[["kind", "splits", "count"]].to_dict("records") == [
        {"kind": "pixels", "splits": "test,train", "count": len(by[patients[0]])}
    ]
    assert "leak-pixels" in set(ores.open_dataset(build.folder).issues["kind"])
    assert check_leakage(pd.DataFrame(columns=["SeriesInstanceUID", "PatientID", "split"])).empty


@pytest.mark.one_version
def test_a_split_does_not_move_when_the_query_finds_more(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    cohort = ores.samples.cohort(patients=6, studies=1, slices=3, size=16)
    patients = sorted({str(each.PatientID) for each in cohort})
    load(orthanc, [each for each in cohort if str(each.PatientID) in patients[:3]])
    before = build_of(orthanc, small(), tmp_path / "out")
    first = ores.open_dataset(before.folder).splits["split"].to_dict()
    load(orthanc, [each for each in cohort if str(each.PatientID) in patients[3:]])
    after = build_of(orthanc, small(), tmp_path / "out")
    assert set(after.differences["change"]) == {"new"}
    then = ores.open_dataset(after.folder).splits["split"].to_dict()
    assert first.items() <= then.items()
    assert sorted(pd.Series(then).value_counts().tolist()) == [3, 3]
    orthanc.delete(orthanc.series(PatientID=patients[0]), expect=2)
    less = build_of(orthanc, small(), tmp_path / "out")
    assert less.verify().empty
    assert less.changes == "2 gone"
    assert repr(less).endswith("since the last build: 2 gone>")
    assert len(list((less.folder / "frames").iterdir())) == 10


class _Stops(Silent):
    def advance(self, count: int = 1) -> None:
        self.cancel()


@pytest.mark.one_version
def test_a_build_that_is_stopped_or_in_the_wrong_place_says_so(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    load(orthanc, ores.samples.cohort(patients=4, studies=1, slices=4, size=16))
    plan = small().plan(orthanc, progress=False)
    for who in orthanc.series()["PatientID"].unique():
        assert who not in repr(plan)
    build = plan.build(tmp_path / "out", workers=1, progress=_Stops())
    assert not build.complete
    assert "not-done" in set(build.status["status"])
    assert not (tmp_path / "out" / "manifest.json").exists()
    done = build.retry(progress=False)
    assert done.complete
    assert done.status["reused"].any()
    (tmp_path / "begun" / "_done").mkdir(parents=True)  # as of a process that was killed at once
    assert plan.build(tmp_path / "begun", progress=False).content_hash == done.content_hash
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").touch()
    with pytest.raises(DatasetError, match="something else"):
        plan.build(tmp_path / "full", progress=False)
    with (
        FileLock(tmp_path / "out" / "_done" / "lock", thread_local=False),
        pytest.raises(DatasetError, match="Another process"),
    ):
        plan.build(tmp_path / "out", progress=False)
    empty = small(SMALL.replace('["CT", "MR"]', '"US"')).plan(orthanc, progress=False)
    with pytest.raises(DatasetError, match="keeps no series"):
        empty.build(tmp_path / "none", progress=False)
    orthanc.delete(orthanc.series(Modality="CT").index[:1].tolist(), expect=1)
    gone = plan.build(tmp_path / "gone", progress=False)
    assert gone.status["status"].value_counts().to_dict() == {"done": 7, "not-done": 1}


@pytest.mark.one_version
def test_what_fails_before_anything_is_built_leaves_the_dataset_that_is_there(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its recipe and its lock too: they would say of the old tables what the new ones were to be."""
    given = cohort(patients=3)
    load(orthanc, [each for each in given if each.PatientID == given[0].PatientID])
    build = build_of(orthanc, small(), tmp_path / "out")
    load(orthanc, [each for each in given if each.PatientID != given[0].PatientID])
    other = small(SMALL.replace('"KVP", ', "")).plan(orthanc, progress=False)
    full = shutil.disk_usage(tmp_path)._replace(free=10)
    with monkeypatch.context() as disk:
        disk.setattr(shutil, "disk_usage", lambda _: full)
        with pytest.raises(DatasetError, match="The disk has"):
            other.build(tmp_path / "out", progress=False)
    assert check(build, small()).manifest["content"] == build.content_hash
    assert "KVP" in (tmp_path / "out" / "recipe.toml").read_text()
    again = other.build(tmp_path / "out", progress=False)
    assert len(check(again, other.recipe).series) == 6
    assert "KVP" not in (tmp_path / "out" / "recipe.toml").read_text()


@pytest.mark.one_version
def test_the_shell_plans_builds_and_verifies(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(orthanc, ores.samples.cohort(patients=2, studies=1, slices=4, size=16))
    auth = orthanc.rest.connection.basic_auth()
    monkeypatch.setenv("BUILD_URL", orthanc.url)
    monkeypatch.setenv("BUILD_AUTH", ":".join(auth or ("no", "one")))
    study = orthanc.studies()["StudyInstanceUID"].iloc[0]
    (tmp_path / "labels.csv").write_text(f"StudyInstanceUID,finding\n{study},yes\n")
    (tmp_path / "small.toml").write_text(
        SMALL + '[[source]]\nurl = "env:BUILD_URL"\nauth = "env:BUILD_AUTH"\n[labels]\ntable = "labels.csv"\n'
    )

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["dataset", *words])

    recipe, out = str(tmp_path / "small.toml"), tmp_path / "out"
    assert "4 planned" in run("plan", recipe).stderr
    assert not out.exists()
    built = run("build", recipe, str(out), "--label", "finding")
    assert built.exit_code == 0, built.output
    assert "4 done" in built.stderr
    assert "since the last build" not in built.stderr
    assert "2 of 2 labels are on the servers" in built.stderr
    assert len(orthanc.series(labels=["finding-yes"])) == 2
    verified = run("verify", str(out))
    assert verified.exit_code == 0
    assert f"content {verified.stderr.split()[-1]}\n" in built.stderr
    content = verified.stderr.split()[-1]
    said = (out / "manifest.json").read_text()
    (out / "manifest.json").write_text(said.replace(content, "f" * 64))  # as anybody can
    verified = run("verify", str(out))
    assert verified.exit_code == 1
    assert f"another content than these files have: {content}" in verified.stderr
    (out / "manifest.json").write_text(said)
    assert "train" in run("splits", str(out)).stdout
    assert run("card", str(out)).stdout.strip() == (out / "README.md").read_text().strip()
    orthanc.delete(orthanc.series().index[:1].tolist(), expect=1)
    assert "series since the last build: 1 gone" in run("build", recipe, str(out)).stderr
    (out / "README.md").write_text("other")
    verified = run("verify", str(out))
    assert verified.exit_code == 1
    assert "README.md" in verified.stdout
