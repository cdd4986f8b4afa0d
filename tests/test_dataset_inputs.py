"""What goes into a build: several servers, labels of series and instances, UIDs that begin alike, profiles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from dataset_builds import SMALL, build, check, cohort, load, recipe
from dicom_files import as_file
from pixel_cases import Each, make_series
from pydicom import Dataset
from pydicom.uid import RLELossless

import orthanc_research as ores
from orthanc_research import deid
from orthanc_research.dataset import Recipe, _select
from orthanc_research.dataset._sections import IDENTIFIERS
from orthanc_research.errors import DatasetError, QueryError, UnsupportedError
from orthanc_research.local import OrthancServer

PIXELS = SMALL.replace('also = ["npz"]', "")


def renamed(datasets: list[Dataset], **values: Callable[[Dataset], str]) -> list[Dataset]:
    for each in datasets:
        for keyword, value in values.items():
            setattr(each, keyword, value(each))
        each.file_meta.MediaStorageSOPInstanceUID = each.SOPInstanceUID
    return datasets


def test_a_plan_counts_what_a_build_would_hold_and_only_reads(
    orthanc: ores.Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = cohort(patients=3, slices=6)
    packed, torn, *_ = sorted({str(each.SeriesInstanceUID) for each in given})
    given.remove(next(each for each in given if each.SeriesInstanceUID == torn and each.InstanceNumber == 3))
    for each in given:
        each.PatientSex = "F" if each.PatientID == given[0].PatientID else "M"
        if each.SeriesInstanceUID == packed:
            each.compress(RLELossless, generate_instance_uid=False)
    load(orthanc, given)
    text = PIXELS.replace("[splits]", '[splits]\nstratify = ["PatientSex"]').replace('"KVP"', '"PatientID", "StudyID"')
    monkeypatch.setattr(_select, "available", lambda syntax: () if syntax == RLELossless else ("one",))
    with orthanc.rest.counting() as requests:
        plan = recipe(text).plan(orthanc, progress=False)
    kept = [each for each in given if each.SeriesInstanceUID != torn]
    assert plan.counts == {
        "found": 6, "series": 5, "patients": 3, "studies": 3, "instances": len(kept),
        "GB": pytest.approx(sum(len(as_file(each)) for each in kept) / 1e9),
    }  # fmt: skip
    assert plan.drops.to_dict() == {"geometry: missing-slices": 1}
    assert plan.strata.to_dict() == {("F",): 1, ("M",): 2}
    assert plan.identifying == ("PatientID", "StudyID")
    assert plan.decoders == ("pylibjpeg pylibjpeg-rle",)
    assert "pylibjpeg-rle" in plan._repr_html_()
    reads = {target.partition("?")[0] for method, target in requests if method != "GET"}
    assert reads <= {"tools/find", "tools/bulk-content"}


@pytest.mark.one_version
def test_series_of_two_servers_are_one_dataset_and_none_is_lost(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = cohort("CT", patients=4, slices=6)
    by: dict[str, list[Dataset]] = {}
    for each in given:
        by.setdefault(str(each.SeriesInstanceUID), []).append(each)
    here, there, both, torn = sorted(by)
    with OrthancServer() as server, ores.Orthanc(server.url, auth=server.auth) as second:
        load(orthanc, by[here] + by[both][:2] + by[torn][1:])
        load(second, by[there] + by[both] + by[torn][:-1])
        text = PIXELS
        for place, source in enumerate((orthanc, second)):
            monkeypatch.setenv(f"SOURCE_{place}", source.url)
            monkeypatch.setenv(f"AUTH_{place}", ":".join(source.rest.connection.basic_auth() or ("no", "one")))
            text += f'[[source]]\nurl = "env:SOURCE_{place}"\nauth = "env:AUTH_{place}"\n'
        wanted = Recipe.parse(text)
        with wanted.plan(progress=False) as plan:
            assert plan.drops.to_dict() == {
                "each source has other instances of it": 2,  # whichever was taken, a slice would be lost
                "in another source already": 1,
            }
            made = plan.build(tmp_path / "out", progress=False)
        dataset = check(made, wanted)
        assert dataset.series["instances"].to_dict() == {uid: len(by[uid]) for uid in (here, there, both)}
        # One that a filter leaves out on the first server counts on the second.
        more = Recipe.parse(text.replace("[filter.geometry]", '[filter]\nexpr = "instances >= 3"\n[filter.geometry]'))
        with more.plan(progress=False) as plan:
            kept = plan.frame[plan.frame["status"] == "planned"]
        assert both in set(kept.index)
        # All of it on one server is the same dataset.
        load(second, by[here])
        second.delete(second.series(SeriesInstanceUID=torn), expect=1)
        alone = build(second, wanted, tmp_path / "alone")
        orthanc.delete(orthanc.series(SeriesInstanceUID=torn), expect=1)
        with wanted.plan(progress=False) as plan:
            together = plan.build(tmp_path / "together", progress=False)
        assert alone.content_hash == together.content_hash


@pytest.mark.one_version
def test_a_series_whose_uid_begins_as_another_one_s_takes_nothing_of_it(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    ends = {
        uid: f"1.2.3{'.4' * place}" for place, uid in enumerate(sorted({str(d.SeriesInstanceUID) for d in cohort()}))
    }
    load(orthanc, renamed(cohort(), SeriesInstanceUID=lambda each: ends[str(each.SeriesInstanceUID)]))
    wanted = recipe()
    plan = wanted.plan(orthanc, progress=False)
    made = plan.build(tmp_path / "out", workers=1, progress=False)
    check(made, wanted)
    assert {path.name for path in (made.folder / "volumes").glob("*.npz")} == {f"{uid}.npz" for uid in ends.values()}
    marker = made.folder / "_done" / "1.2.3.json"
    marker.unlink()  # it is made again, beside the others
    again = made.retry(progress=False)
    assert again.status.index[~again.status["reused"]].tolist() == ["1.2.3"]
    assert check(again, wanted).verify().empty
    assert len(list((made.folder / "volumes").glob("*.npz"))) == 4
    orthanc.delete(orthanc.series(SeriesInstanceUID="1.2.3.4"), expect=1)
    less = build(orthanc, wanted, tmp_path / "out")
    assert less.content_hash == build(orthanc, wanted, tmp_path / "new").content_hash
    assert "1.2.3.4.parquet" not in {path.name for path in (less.folder / "frames").iterdir()}


ODD: dict[str, list[Dataset]] = {
    "missing-slices": [each for k, each in enumerate(make_series(6)) if k != 3],
    "sheared": make_series(4, ImagePositionPatient=Each(*([0, 0.33 * k, k] for k in range(4)))),
    "4d": make_series(6, ImagePositionPatient=Each(*([0, 0, k % 3] for k in range(6))), EchoTime=Each(*"111222")),
}


@pytest.mark.one_version
def test_geometry_that_a_recipe_accepts_is_built_as_it_is_read_and_else_dropped(
    orthanc: ores.Orthanc, tmp_path: Path
) -> None:
    for number, given in enumerate(ODD.values()):
        for each in given:
            each.SeriesInstanceUID, each.PatientID = f"1.2.{number}", f"P{number}"
            each.SOPInstanceUID = f"1.2.{number}.{each.InstanceNumber}"
        load(orthanc, renamed(given))
    text = PIXELS.replace("[arrays]", '[arrays]\nvalues = "rescaled"\nalso = ["npz"]')
    assert recipe(text).plan(orthanc, progress=False).drops.to_dict() == {f"geometry: {code}": 1 for code in ODD}
    options: dict[str, Any] = {"on_missing": "nan", "on_shear": "keep", "on_4d": "stack"}
    accepted = "".join(f'{name} = "{value}"\n' for name, value in options.items())
    wanted = recipe(text.replace('require = "volume"\n', f'require = "volume"\n{accepted}'))
    dataset = check(build(orthanc, wanted, tmp_path / "out"), wanted)
    for identifier, uid in orthanc.series()["SeriesInstanceUID"].items():
        expected = orthanc.volume(identifier, "rescaled", **options)
        array, about = ores.read_volume(dataset.folder / "volumes" / f"{uid}.npz")
        np.testing.assert_array_equal(array, expected.array)
        assert (about["sop_uids"], about["issues"]) == (list(expected.sop_uids), list(expected.issues))
        np.testing.assert_array_equal(dataset.volume(uid, "rescaled", **options).array, expected.array)


@pytest.mark.one_version
def test_one_series_uid_under_two_patients_is_two_series_and_no_leak(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    given = renamed(cohort("CT"), SeriesInstanceUID=lambda _: "1.2.3")
    load(orthanc, given)
    made = build(orthanc, recipe(PIXELS), tmp_path / "out")
    dataset = check(made, recipe(PIXELS))
    assert made.leaks.empty
    assert dataset.series["PatientID"].nunique() == 2
    assert len({path.name for path in (made.folder / "frames").iterdir()}) == 2


@pytest.mark.one_version
def test_what_was_looked_at_is_acknowledged_whichever_source_has_it(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = renamed(cohort("CT"), BurnedInAnnotation=lambda _: "YES")
    uids = sorted({str(each.SeriesInstanceUID) for each in given})
    monkeypatch.setenv("ORES_PROJECT", str(tmp_path / "project"))
    monkeypatch.setenv("ORES_KEY", "5b" * 32)
    text = PIXELS + '[anonymize]\nproject = "env:ORES_PROJECT"\nprofile = "research"\n'
    with OrthancServer() as server, ores.Orthanc(server.url, auth=server.auth) as second:
        for place, (source, uid) in enumerate(zip((orthanc, second), uids, strict=True)):
            load(source, [each for each in given if each.SeriesInstanceUID == uid])
            monkeypatch.setenv(f"SOURCE_{place}", source.url)
            monkeypatch.setenv(f"AUTH_{place}", ":".join(source.rest.connection.basic_auth() or ("no", "one")))
            text += f'[[source]]\nurl = "env:SOURCE_{place}"\nauth = "env:AUTH_{place}"\n'
        with Recipe.parse(text).plan(progress=False) as plan:
            with pytest.raises(QueryError, match="to acknowledge are not in this plan"):
                plan.build(tmp_path / "out", acknowledge=[*uids, "1.2.3"], progress=False)
            made = plan.build(tmp_path / "out", acknowledge=uids, progress=False)
    assert made.status["status"].to_dict() == dict.fromkeys(uids, "done")


LABELS = '[labels]\ntable = "labels.csv"\non = "SOPInstanceUID"\n'


@pytest.mark.one_version
def test_labels_of_instances_are_in_their_table_and_on_the_server_on_request(
    orthanc: ores.Orthanc, tmp_path: Path
) -> None:
    given = cohort("CT")
    load(orthanc, given)
    uids = [str(each.SOPInstanceUID) for each in given]
    lines = [f"{uid},{place % 2},odd one" for place, uid in enumerate(uids[1:])]
    (tmp_path / "labels.csv").write_text("\n".join(["SOPInstanceUID,lesion,note", *lines, "1.2.3,1,x"]))
    wanted = Recipe.parse(PIXELS + LABELS, folder=tmp_path)
    plan = wanted.plan(orthanc, progress=False)
    assert plan.notes == ("1 rows have no label.", "1 rows of the labels belong to nothing in the dataset.")
    made = plan.build(tmp_path / "out", progress=False)
    found = check(made, wanted).instances["lesion"]
    assert found.drop(uids[0]).to_dict() == {uid: place % 2 for place, uid in enumerate(uids[1:])}
    assert pd.isna(found[uids[0]])
    assert set(ores.open_dataset(made.folder).issues["reason"]) == set(plan.notes)
    before = orthanc.rest.tools.labels()
    with pytest.raises(QueryError, match="some values of this column are not"):
        plan.put_labels("note", progress=False)
    with pytest.raises(QueryError, match="no column"):
        plan.put_labels("PatientSex", progress=False)
    assert orthanc.rest.tools.labels() == before == []
    ledger = plan.put_labels("lesion", progress=False)
    assert set(ledger["status"]) == {"done"}
    labelled = orthanc.find("Instance", columns=["SOPInstanceUID", "Labels"], labels=["lesion-1"])
    assert set(labelled["SOPInstanceUID"]) == {uid for place, uid in enumerate(uids[1:]) if place % 2}
    text = PIXELS.replace("[splits]", '[splits]\nstratify = ["lesion"]') + LABELS + 'columns = ["lesion"]\n'
    with pytest.raises(DatasetError, match="label of instances"):
        Recipe.parse(text, folder=tmp_path)


@pytest.mark.one_version
@pytest.mark.parametrize("column", ["PatientName", "AccessionNumber", "StudyInstanceUID"])
def test_labels_that_identify_are_refused_where_they_would_lead_back(
    orthanc: ores.Orthanc, tmp_path: Path, column: str
) -> None:
    """Named by the recipe or not: what [anonymize] took out would come in again beside the copies."""
    (tmp_path / "labels.csv").write_text(f"SOPInstanceUID,{column}\n1.2.3,x\n")
    text = (
        PIXELS + LABELS + f'columns = ["{column}"]\n[anonymize]\nproject = "env:ORES_PROJECT"\nprofile = "research"\n'
    )
    load(orthanc, cohort("CT", patients=1))
    with pytest.raises(DatasetError, match=f"identifying column {column}"):
        Recipe.parse(text, folder=tmp_path).plan(orthanc, progress=False)


@pytest.mark.one_version
@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("ours", lambda each: each.PatientID, "column ours, which tells the PatientID"),
        ("number", lambda each: each.PatientID.lstrip("0"), "column number, which tells the PatientID"),
        ("link", lambda each: each.StudyInstanceUID, "column link, which tells the StudyInstanceUID"),
        ("patient_id", lambda _: "x", "identifying column patient_id"),
        ("StudyDate", lambda _: "x", "identifying column StudyDate"),
        ("died", lambda _: "2021-03-17", "days in the column died"),
        ("died", lambda _: "20210317", "days in the column died"),
        ("died", lambda _: "17.3.2021", "days in the column died"),
        ("grade", lambda _: "2", ""),
        ("report", lambda _: "seen on 2 images", ""),
    ],
)
def test_labels_lead_back_to_no_source_whatever_they_are_called(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, value: Any, why: str
) -> None:
    given = renamed(cohort("CT"), PatientID=lambda each: each.PatientID[-1].zfill(6))
    load(orthanc, given)
    monkeypatch.setenv("ORES_PROJECT", str(tmp_path / "project"))
    rows = {str(each.StudyInstanceUID): value(each) for each in given}
    lines = [f"{uid},{text}" for uid, text in rows.items()]
    (tmp_path / "labels.csv").write_text("\n".join([f"StudyInstanceUID,{column}", *lines]))
    text = PIXELS + LABELS.replace("SOPInstanceUID", "StudyInstanceUID")
    wanted = Recipe.parse(text + '[anonymize]\nproject = "env:ORES_PROJECT"\nprofile = "research"\n', folder=tmp_path)
    if why:
        with pytest.raises(DatasetError, match=why) as caught:
            wanted.plan(orthanc, progress=False)
        assert not [each for each in rows.values() if len(each) > 1 and each in str(caught.value)]
    else:
        assert wanted.plan(orthanc, progress=False).notes == ()


@pytest.mark.one_version
def test_labels_are_not_called_as_what_the_dataset_has_itself(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    """A column "reason" left every series out, "source" chose the server, and "split" ended a build at its end."""
    load(orthanc, cohort("CT"))
    text = PIXELS + LABELS.replace("SOPInstanceUID", "StudyInstanceUID")
    wanted = Recipe.parse(text, folder=tmp_path)
    plan = recipe(PIXELS).plan(orthanc, progress=False)
    made = ores.open_dataset(plan.build(tmp_path / "out", progress=False).folder)
    ours = {
        *plan._rows.columns,
        *made.series.columns,
        *made.instances.columns,
        *made.splits.columns,
        "fold",
        "SUVFactor",
    }
    for column in sorted(ours - set(IDENTIFIERS) - {"IssuerOfPatientID"}):
        (tmp_path / "labels.csv").write_text(f"StudyInstanceUID,{column}\n1.2.3,1\n")
        with pytest.raises(DatasetError, match=f"a column {column}, and so has the dataset"):
            wanted.plan(orthanc, progress=False)


@pytest.mark.one_version
def test_strata_are_of_the_images_and_of_the_labels_together(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    """As in the recipe of the specification, which does not say which columns its table has."""
    given = cohort("CT")
    load(orthanc, given)
    studies = sorted({str(each.StudyInstanceUID) for each in given})
    lines = [f"{uid},{place}" for place, uid in enumerate(studies)]
    (tmp_path / "labels.csv").write_text("\n".join(["StudyInstanceUID,label", *lines]))
    text = PIXELS.replace("[splits]", '[splits]\nstratify = ["PatientSex", "label"]')
    text += LABELS.replace("SOPInstanceUID", "StudyInstanceUID")
    plan = Recipe.parse(text, folder=tmp_path).plan(orthanc, progress=False)
    sexes = {str(each.StudyInstanceUID): str(each.PatientSex) for each in given}
    assert set(plan.strata.index) == {(sexes[uid], place) for place, uid in enumerate(studies)}
    with pytest.raises(DatasetError, match="PixelSpacing holds lists"):
        recipe(PIXELS.replace("[splits]", '[splits]\nstratify = ["PixelSpacing"]')).plan(orthanc, progress=False)


def test_labels_of_studies_are_on_their_series_and_no_old_server_is_asked(
    orthanc: ores.Orthanc, tmp_path: Path
) -> None:
    load(orthanc, cohort("CT"))
    studies = sorted(orthanc.studies()["StudyInstanceUID"])
    (tmp_path / "labels.csv").write_text(f"StudyInstanceUID,finding\n{studies[0]},yes\n")
    text = PIXELS + LABELS.replace("SOPInstanceUID", "StudyInstanceUID")
    plan = Recipe.parse(text, folder=tmp_path).plan(orthanc, progress=False)
    if not orthanc.capabilities().has("labels"):
        with orthanc.rest.counting() as requests, pytest.raises(UnsupportedError, match=r"1\.12"):
            plan.put_labels("finding", progress=False)
        assert requests == []
        return
    ledger = plan.put_labels("finding", progress=False)
    assert ledger[["source", "label", "status"]].to_dict("records") == [
        {"source": 0, "label": "finding-yes", "status": "done"}
    ]
    assert orthanc.series(labels=["finding-yes"])["StudyInstanceUID"].tolist() == studies[:1]


@pytest.mark.one_version
def test_patients_of_two_issuers_who_share_a_number_get_no_label(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    issuers = {str(each.PatientID): f"hospital {place}" for place, each in enumerate(cohort("CT"))}
    given = renamed(cohort("CT"), IssuerOfPatientID=lambda each: issuers[str(each.PatientID)])
    load(orthanc, renamed(given, PatientID=lambda _: "007"))
    (tmp_path / "labels.csv").write_text("PatientID,finding\n007,1\n")
    text = PIXELS + LABELS.replace("SOPInstanceUID", "PatientID")
    plan = Recipe.parse(text, folder=tmp_path).plan(orthanc, progress=False)
    assert plan.notes == ("2 rows have an identifier that several patients share, and got no label.",)
    assert plan.counts["patients"] == 2


def test_a_series_of_nobody_is_left_out_of_splits_and_of_nothing_else(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    nobody = cohort("CT")[0].PatientID
    load(orthanc, renamed(cohort("CT"), PatientID=lambda each: str(each.PatientID) if each.PatientID != nobody else ""))
    plan = recipe(PIXELS).plan(orthanc, progress=False)
    assert plan.drops.to_dict() == {"no PatientID": 1}
    assert len(check(plan.build(tmp_path / "split", progress=False), recipe(PIXELS)).splits) == 1
    whole = recipe(PIXELS.partition("[splits]")[0])
    dataset = check(build(orthanc, whole, tmp_path / "whole"), whole)
    assert sorted(dataset.series["PatientID"].isna()) == [False, True]


@pytest.mark.one_version
def test_a_profile_of_one_s_own_lies_beside_the_recipe(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = cohort("CT", slices=3)
    load(orthanc, given)
    monkeypatch.setenv("ORES_PROJECT", str(tmp_path / "project"))
    monkeypatch.setenv("ORES_KEY", "5b" * 32)
    (tmp_path / "mine.json").write_text(deid.Profile(remove=("PatientSex",)).to_json())
    uids = [str(each.SOPInstanceUID) for each in given]
    (tmp_path / "labels.csv").write_text(
        "\n".join(["SOPInstanceUID,lesion", *(f"{uid},{place}" for place, uid in enumerate(uids))])
    )
    hidden = f'PatientID = ["{given[0].PatientID}", "{given[-1].PatientID}"], Modality = '
    text = PIXELS.replace("Modality = ", hidden) + LABELS + '[anonymize]\nproject = "env:ORES_PROJECT"\n'
    wanted = Recipe.parse(text + 'profile = "mine.json"\n', folder=tmp_path)
    made = build(orthanc, wanted, tmp_path / "out")
    assert made.complete
    dataset = ores.open_dataset(made.folder, check=True)
    assert dataset.series["PatientSex"].isna().all()
    # Labels find their instances again, and nothing tells what these were called.
    called = {str(each.SOPInstanceUID): each.InstanceNumber for each in given}
    order = dataset.instances.sort_values("lesion")
    assert order["lesion"].tolist() == list(range(len(given)))
    assert order["InstanceNumber"].tolist() == [called[uid] for uid in uids]
    for uid in dataset.series.index:  # by InstanceNumber, which the names of the copies do not follow
        numbers = [about["InstanceNumber"] for about, _ in dataset.frames(uid)]
        assert numbers == list(range(1, 1 + len(given) // 2))
    # What was asked of a patient is not guessed from a hash of the recipe.
    public = json.dumps(dataset.manifest) + "".join(
        path.read_text() for path in made.folder.rglob("*") if path.suffix in (".toml", ".md", ".json")
    )
    public += "".join(str(pq.read_schema(path).metadata) for path in made.folder.rglob("*.parquet"))
    assert wanted.hash not in public
    assert str(given[0].PatientID) not in public
    for name, content in (("none.json", None), ("odd.json", "{"), ("../mine.json", ""), ("best", "")):
        if content is not None and "/" not in name:
            (tmp_path / name).write_text(content)
        with pytest.raises(DatasetError, match=r"profile"):
            build(orthanc, Recipe.parse(text + f'profile = "{name}"\n', folder=tmp_path), tmp_path / "no")


@pytest.mark.one_version
def test_equal_pixels_in_two_folds_are_told(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    given = cohort("CT")
    patients = sorted({str(each.PatientID) for each in given})
    first, second = ([each for each in given if str(each.PatientID) == who] for who in patients)
    for one, other in zip(first, second, strict=True):
        other.PixelData = one.PixelData
    load(orthanc, given)
    text = PIXELS.replace("ratios = { train = 0.5, test = 0.5 }", "kfold = 2")
    made = build(orthanc, recipe(text), tmp_path / "out")
    assert made.leaks[["kind", "splits", "count"]].to_dict("records") == [
        {"kind": "pixels", "splits": "fold 0,fold 1", "count": len(first)}
    ]
    assert "leak-pixels" in set(ores.open_dataset(made.folder).issues["kind"])


@pytest.mark.one_version
def test_a_value_that_does_not_parse_is_an_issue_without_the_value(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    given = cohort("CT")
    contents = [as_file(each) for each in given]
    day = str(given[0].StudyDate).encode()
    contents = [content.replace(day, b"20240132") for content in contents]
    report = orthanc.upload(contents, progress=False)
    assert set(report["status"]) == {"stored"}
    text = PIXELS.replace('"KVP"', '"StudyDate"')
    dataset = ores.open_dataset(build(orthanc, recipe(text), tmp_path / "out").folder)
    told = dataset.issues[dataset.issues["kind"] == "value"]["reason"].tolist()
    assert told
    assert all(reason.startswith("StudyDate: not a date; ") for reason in told)
    assert "20240132" not in dataset.issues.to_csv()
