"""Modify, split and merge: what would merge is refused, nothing twice, nothing lost, originals stay."""

from __future__ import annotations

import itertools
import logging
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from faults import Proxy

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.batch.journal import Journal
from orthanc_research.progress import Silent


def run(orthanc: ores.Orthanc, resources: Any, tmp_path: Path, *replace: Any, **options: Any) -> pd.DataFrame:
    given: dict[str, Any] = {"progress": False, "journal": tmp_path / "j.sqlite"} | options
    return orthanc.modify(resources, *replace, **given)


def contents(orthanc: ores.Orthanc) -> dict[str, str | None]:
    """{instance: the one that it was made from}."""
    found = orthanc.rest.tools.bulk_content(orthanc.rest.instances.list(), metadata=True)
    return {value["ID"]: value["Metadata"].get("ModifiedFrom") for value in found}


def is_one_to_one(orthanc: ores.Orthanc, originals: set[str]) -> bool:
    made = Counter(source for source in contents(orthanc).values() if source)
    return set(made) == originals and set(made.values()) == {1}


def study_of(orthanc: ores.Orthanc, row: Any) -> dict[str, Any]:
    return orthanc.rest.studies.read(row["ModifiedID"])


def patients_studies(orthanc: ores.Orthanc) -> tuple[pd.DataFrame, pd.DataFrame]:
    studies = orthanc.studies()
    first = studies["ParentPatient"].iloc[0]
    return studies[studies["ParentPatient"] == first], studies[studies["ParentPatient"] != first]


# --- modify


def test_each_row_gets_its_own_values_and_the_originals_stay(cohort: ores.Orthanc, tmp_path: Path) -> None:
    studies = cohort.studies()
    studies["title"] = [f"Number {number}" for number in range(len(studies))]
    before = set(cohort.rest.instances.list())
    with cohort.rest.counting() as requests:
        ledger = run(cohort, studies, tmp_path, {"StudyDescription": studies["title"]}, ["AccessionNumber"])
    assert list(ledger.index) == list(studies.index)
    assert set(ledger["status"]) == {"done"}
    assert is_one_to_one(cohort, before)
    for source, row in ledger.iterrows():
        new = study_of(cohort, row)
        assert new["ModifiedFrom"] == source
        assert new["MainDicomTags"]["StudyDescription"] == studies.loc[str(source), "title"]
        assert new["MainDicomTags"].get("AccessionNumber", "") == ""
        assert new["MainDicomTags"]["StudyInstanceUID"] == row["ModifiedUID"]
        statistics = cohort.rest.studies.statistics(row["ModifiedID"])
        assert statistics["CountInstances"] == row["instances"]
        assert int(statistics["DicomDiskSize"]) == row["bytes"]
    assert (ledger["seconds"] >= 0).all()
    kinds = Counter(target for _, target in requests)
    assert kinds == {"tools/bulk-modify": 4, "tools/bulk-content": 1, "jobs?expand": kinds["jobs?expand"]}


def test_a_new_patient_id_for_each_patient_and_in_no_log(
    cohort: ores.Orthanc, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    patients = cohort.patients()
    patients["new"] = [70001, 70002]  # a column of numbers, as a table of new IDs has them
    replace = {"PatientID": patients["new"], "PatientName": "CANARY"}  # two patients that share a name stay two
    dry = run(cohort, patients, tmp_path, replace, force=True, dry_run=True)
    assert set(dry["status"]) == {"planned"}
    assert not (tmp_path / "j.sqlite").exists()
    ledger = run(cohort, patients, tmp_path, replace, force=True)
    assert set(ledger["status"]) == {"done"}
    found = cohort.patients(PatientID=["70001", "70002"])
    assert dict(zip(found["PatientID"], found.index, strict=True)) == {
        str(new): ledger.loc[str(source), "ModifiedID"] for source, new in patients["new"].items()
    }
    assert int(ledger["instances"].sum()) == len(cohort.rest.instances.list()) // 2
    assert len(cohort.patients()) == 4
    text = dry.to_string() + ledger.to_string() + caplog.text
    assert "CANARY" not in text
    assert "70001" not in text


def test_series_and_instances_stay_where_their_originals_are(cohort: ores.Orthanc, tmp_path: Path) -> None:
    series = cohort.series().head(2)
    by_series = run(cohort, series, tmp_path, {"SeriesDescription": "New"}, journal=tmp_path / "1")
    assert set(by_series["status"]) == {"done"}
    assert by_series["ModifiedStudy"].tolist() == series["ParentStudy"].tolist()
    instances = cohort.instances(within=series).head(3)
    by_instance = run(cohort, instances, tmp_path, {"ImageComments": "x"}, journal=tmp_path / "2")
    assert set(by_instance["status"]) == {"done"}
    assert by_instance["instances"].tolist() == [1, 1, 1]
    new = cohort.rest.instances.read(by_instance["ModifiedID"].iloc[0])
    assert new["ParentSeries"] == instances["ParentSeries"].iloc[0]


def test_a_study_goes_to_a_new_patient_where_the_version_can(cohort: ores.Orthanc, tmp_path: Path) -> None:
    studies, _ = patients_studies(cohort)
    replace = {"PatientID": "P-1", "PatientName": "Nobody"}
    if not cohort.capabilities().has("modify-parents"):
        for resources, changes, force in (
            (studies, replace, True),
            (cohort.patients(), {"StudyDescription": "x"}, False),
        ):
            with pytest.raises(errors.UnsupportedError, match=r"1\.11\.2"):
                run(cohort, resources, tmp_path, changes, force=force)
        assert not (tmp_path / "j.sqlite").exists()
        return
    ledger = run(cohort, studies, tmp_path, replace, force=True)
    assert set(ledger["status"]) == {"done"}
    assert {study_of(cohort, row)["PatientMainDicomTags"]["PatientID"] for _, row in ledger.iterrows()} == {"P-1"}
    patients = cohort.patients(PatientID="P-1")
    same = run(cohort, patients, tmp_path, {"StudyDescription": "x"}, journal=tmp_path / "2")
    assert same["status"].tolist() == ["done"], same["error"].tolist()
    assert same["ModifiedID"].tolist() == patients.index.tolist()  # copies beside the originals
    assert same["instances"].tolist() == [20]


REFUSED: list[tuple[Any, dict[str, Any], dict[str, Any], str]] = [
    ("Study", {"StudyInstanceUID": "1.2.3"}, {}, "given to more than one of the studies"),
    ("Study", {"StudyInstanceUID": "1.2.3"}, {"force": False}, "say force=True"),
    ("Study", {"StudyInstanceUID": "old"}, {}, "is on this Orthanc already"),
    ("Series", {"SeriesInstanceUID": "1.2.3"}, {"allow_merge": True}, "given to more than one of the series"),
    ("Series", {"StudyInstanceUID": "1.2.3"}, {}, "replaced in studies, not in each series"),
    ("Series", {"PatientID": "X"}, {}, "replaced in patients or studies, not in each series"),
    ("Patient", {"PatientID": "X"}, {}, "1 new PatientIDs are given to more than one patient"),
    ("Patient", {"PatientID": "old"}, {}, "2 new PatientIDs are on this Orthanc already"),
    ("Patient", {"PatientName": "X"}, {}, "give a new PatientID with it"),
    ("Study", {"PatientName": "X"}, {}, "give a new PatientID with it"),
    ("Series", {"StudyDate": "20200101"}, {}, "one for all files of a study"),
    ("Instance", {"SeriesDescription": "X"}, {}, "one for all files of a series"),
    ("Study", {"StudyDescription": "Å"}, {}, "not plain ASCII"),
    ("Study", {"StudyDate": "SECRET"}, {}, "the form of its type .DA."),
    ("Patient", {"PatientID": " SECRET"}, {}, "blanks around it"),
    ("Patient", {"PatientID": ""}, {}, "is empty"),
    ("Study", {"StudyDescription": 1.5}, {}, "float is none"),
    ("Study", {"StudyDescription": pd.Series({"a": "SECRET"})}, {}, "4 of 4 resources have no new value"),
    ("Study", {"StudyDescripti": "SECRET"}, {}, "no DICOM tag"),
    ("Study", {"0009,1001": "SECRET"}, {}, "private"),
    ("Study", {"StudyDescription": "a"}, {"remove": ["0008,1030"]}, "named twice"),
    ("Study", {}, {}, "no change to make"),
    ("Study", {}, {"remove": ["PatientID"]}, "cannot be removed"),
    ("Study", {"StudyID": "1"}, {"window": 9}, "from 1 to 8"),
    ("Study", {"StudyID": ["1"] * 4}, {}, "a column of them; list is none"),
    ("Study", {"StudyID": "AccessionNumber"}, {}, "StudyID would become the name of a column"),
    ("Series", {"Rows": "1_6"}, {}, "form of its type"),
    ("Series", {"Rows": "70000"}, {}, "form of its type"),
    ("Series", {"DiffusionBValue": "nan"}, {}, "form of its type"),
    ("Series", {"TransferSyntaxUID": "1.2.840.10008.1.2"}, {}, "file's own header"),
    ("Series", {"0002,0016": "A"}, {}, "file's own header"),
    ("Series", {}, {"remove": ["SourceApplicationEntityTitle"]}, "file's own header"),
    ("Series", {"PixelData": "x"}, {}, "holds no text"),
    ("Series", {"ProcedureCodeSequence": "x"}, {}, "holds no text"),
]


def test_what_would_merge_or_tear_is_refused_before_anything_is_changed(cohort: ores.Orthanc, tmp_path: Path) -> None:
    before = cohort.statistics()
    studies, _ = patients_studies(cohort)
    cases = list(REFUSED)
    unlike = {"PatientID": "X", "StudyDescription": pd.Series(["a", "b"], index=studies.index)}
    if cohort.capabilities().has("modify-parents"):  # else it is refused earlier
        cases.append((studies, unlike, {}, "of one patient get one new PatientID"))
    for given, replace, options, words in cases:
        frame = given if isinstance(given, pd.DataFrame) else cohort.find(given)
        for tag, text in list(replace.items()):
            if isinstance(text, str) and text == "old":  # what is there, the other way round
                replace = {tag: pd.Series(list(reversed(frame[tag].tolist())), index=frame.index)}
        with cohort.rest.counting() as requests, pytest.raises(errors.QueryError, match=words) as caught:
            run(cohort, frame, tmp_path, replace, **({"force": True} | options))
        assert "SECRET" not in str(caught.value)
        assert {target for _, target in requests} <= {"tools/bulk-content", "tools/find"}
    assert not (tmp_path / "j.sqlite").exists()
    assert cohort.statistics() == before


def test_numbers_are_written_as_numbers(cohort: ores.Orthanc, tmp_path: Path) -> None:
    changes = {
        "DiffusionBValue": "-1.5e3",
        "SmallestImagePixelValue": 7,
        "RedPaletteColorLookupTableDescriptor": "256\\0\\8",
    }
    ledger = run(cohort, cohort.series().head(1), tmp_path, changes)
    assert list(ledger["status"]) == ["done"]
    for instance in cohort.rest.series.read(ledger["ModifiedID"].iloc[0])["Instances"]:
        dataset = cohort.dicom(instance)
        assert dataset.DiffusionBValue == -1500
        assert dataset.SmallestImagePixelValue == 7
        assert dataset.RedPaletteColorLookupTableDescriptor == [256, 0, 8]


def test_frames_that_were_put_together_by_hand(cohort: ores.Orthanc, tmp_path: Path) -> None:
    series = cohort.series()
    studies = series.reset_index(drop=True).assign(ID=lambda frame: frame["ParentStudy"])
    assert studies.attrs["orthanc"]["level"] == "Series"
    ledger = run(cohort, studies, tmp_path, {"StudyDescription": "x"}, dry_run=True)
    assert set(ledger.index) == set(studies["ID"])
    assert ledger.attrs["orthanc"]["level"] == "Study"
    doubled = pd.concat([series, series[["ParentStudy"]]], axis=1)
    assert len(run(cohort, doubled, tmp_path, {"SeriesDescription": "x"}, dry_run=True)) == len(series)


def test_merging_is_done_when_it_is_asked_for_by_name(cohort: ores.Orthanc, tmp_path: Path) -> None:
    before = set(cohort.rest.instances.list())
    replace = {"PatientID": "ONE", "PatientName": "N", "PatientBirthDate": "", "PatientSex": "O"}
    ledger = run(cohort, cohort.patients(), tmp_path, replace, force=True, allow_merge=True, window=1)
    assert ledger["status"].tolist() == ["done", "done"], ledger["error"].tolist()
    assert ledger["ModifiedID"].nunique() == 1
    assert is_one_to_one(cohort, before)
    studies, _ = patients_studies(cohort)
    uid = run(
        cohort,
        studies,
        tmp_path,
        {"StudyInstanceUID": "1.2.3.4"},
        force=True,
        allow_merge=True,
        journal=tmp_path / "2",
    )
    assert set(uid["status"]) == {"done"}, uid["error"].tolist()
    assert uid["ModifiedID"].nunique() == 1
    assert uid["instances"].tolist() == studies["NumberOfStudyRelatedInstances"].tolist()


def test_originals_go_only_when_it_is_said_and_after_their_copies_were_read(
    cohort: ores.Orthanc, tmp_path: Path
) -> None:
    studies = cohort.studies()
    before = set(cohort.rest.instances.list())
    deleted: list[int] = []

    def hook(method: str, target: str) -> None:
        if target == "tools/bulk-delete":
            deleted.append(len(contents(cohort)))

    cohort.rest._client.hooks.append(hook)
    ledger = run(cohort, studies, tmp_path, {"StudyID": "7"}, keep_source=False)
    cohort.rest._client.hooks.remove(hook)
    assert set(ledger["status"]) == {"done"}
    assert deleted[0] == 2 * len(before)
    assert set(contents(cohort)).isdisjoint(before)
    assert sorted(str(source) for source in contents(cohort).values()) == sorted(before)
    with cohort.rest.counting() as requests:
        assert set(cohort.resume(tmp_path / "j.sqlite", progress=False)["status"]) == {"done"}
    assert requests == []
    assert cohort.leftovers(tmp_path / "j.sqlite").empty


def test_a_crash_while_the_originals_go_loses_nothing(cohort: ores.Orthanc, tmp_path: Path) -> None:
    def hook(method: str, target: str) -> None:
        if target == "tools/bulk-delete":
            raise KeyboardInterrupt

    cohort.rest._client.hooks.append(hook)
    mine, others = patients_studies(cohort)
    for studies, journal in ((mine, "1"), (others, "2")):
        with pytest.raises(KeyboardInterrupt):
            run(cohort, studies, tmp_path, {"StudyID": "7"}, keep_source=False, journal=tmp_path / journal)
    cohort.rest._client.hooks.remove(hook)
    of_mine, of_others = (set(cohort.instances(within=studies).index) for studies in (mine, others))
    cohort.rest.tools.bulk_delete(sorted(of_mine)[:3])  # as far as the request came
    assert cohort.leftovers(tmp_path / "1").empty  # else the three would be lost
    assert set(cohort.resume(tmp_path / "1", progress=False)["status"]) == {"done"}
    made = {source: new for new, source in contents(cohort).items() if source}
    assert set(made) == of_mine | of_others
    assert of_mine.isdisjoint(contents(cohort))
    cohort.rest.tools.bulk_delete([made[sorted(of_others)[0]]])  # a copy went meanwhile: then the originals stay
    ledger = cohort.resume(tmp_path / "2", progress=False)
    assert set(ledger["status"]) == {"partial"}
    assert ledger["error"].str.contains("1 of 20 copies are gone").all()
    assert of_others <= set(contents(cohort))


def test_killed_in_the_middle_and_resumed(cohort: ores.Orthanc, tmp_path: Path) -> None:
    series = cohort.series()
    before = set(cohort.rest.instances.list())
    user, password = cohort.rest.connection.basic_auth() or ("", "")
    code = (
        "import sys, orthanc_research as ores\n"
        "url, user, password, journal, *ids = sys.argv[1:]\n"
        "orthanc = ores.Orthanc(url, auth=(user, password))\n"
        "values = {each: str(number) for number, each in enumerate(ids)}\n"
        "orthanc.modify(ids, {'SeriesDescription': values}, window=1, journal=journal, progress=False)\n"
    )
    journal = tmp_path / "j"
    command = [sys.executable, "-c", code, cohort.url, user, password, str(journal), *series.index]
    with subprocess.Popen(command) as child:
        limit = time.monotonic() + 60
        while len(cohort.rest.instances.list()) == len(before):  # while the first jobs are at work
            assert child.poll() is None
            assert time.monotonic() < limit
        child.send_signal(signal.SIGKILL)
    with Journal.open(journal, lock=False) as opened:
        states = Counter(unit.state for unit in opened.units())
    assert states["done"] < len(series)
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    ledger = cohort.resume(journal, progress=False)
    assert set(ledger["status"]) == {"done"}, ledger["error"].tolist()
    assert is_one_to_one(cohort, before)
    assert cohort.leftovers(journal).empty
    numbers = [
        cohort.rest.series.read(row["ModifiedID"])["MainDicomTags"]["SeriesDescription"] for _, row in ledger.iterrows()
    ]
    assert numbers == [str(number) for number in range(len(series))]


def test_lost_answers_and_forgotten_jobs_are_found_by_their_copies(
    cohort: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(cohort.rest.instances.list())
    count = itertools.count()

    def cut(head: bytes) -> bool:
        return b"bulk-modify" in head and next(count) == 1

    patients = cohort.patients()
    new = {identifier: f"P{number}" for number, identifier in enumerate(patients.index)}
    with Proxy(cohort.url, cut) as proxy, ores.Orthanc(proxy.url, auth=cohort.rest.connection.auth) as through:
        real = through.rest.jobs.list
        # A server forgets a job that ended when enough others have ended after it (JobsHistorySize).
        monkeypatch.setattr(through.rest.jobs, "list", lambda: [j for j in real() if not j.done], raising=False)
        ledger = run(through, list(patients.index), tmp_path, {"PatientID": new}, force=True)
    assert set(ledger["status"]) == {"done"}, ledger["error"].tolist()
    assert set(ledger["ModifiedID"]) == set(cohort.patients(PatientID=["P0", "P1"]).index)
    assert is_one_to_one(cohort, before)


def test_a_job_that_says_success_with_a_wrong_number_is_not_done(
    cohort: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = cohort.studies().head(1)
    assert study["NumberOfStudyRelatedInstances"].tolist() == [10]
    real = cohort.rest.jobs.list
    for announced in (9, 11):

        def lying(announced: int = announced) -> Any:
            jobs = real()
            for job in jobs:
                job.content["InstancesCount"] = announced  # type: ignore[index]
            return jobs

        monkeypatch.setattr(cohort.rest.jobs, "list", lying, raising=False)
        journal = tmp_path / str(announced)
        ledger = run(cohort, study, tmp_path, {"StudyID": "1"}, keep_source=False, journal=journal)
        assert ledger["status"].tolist() == ["partial"]
        assert f"10 of {announced} instances" in ledger["error"].iloc[0]
        left = cohort.leftovers(journal)
        assert len(left) == 10
        cohort.delete(left, expect=10)
        assert len(contents(cohort)) == 40  # no original was deleted


def test_cancelling_ends_within_seconds(cohort: ores.Orthanc, tmp_path: Path) -> None:
    progress = Silent()
    before = set(cohort.rest.instances.list())

    def hook(method: str, target: str) -> None:
        if target == "tools/bulk-modify":
            threading.Timer(0.02, progress.cancel).start()

    cohort.rest._client.hooks.append(hook)
    start = time.monotonic()
    series = cohort.series()
    numbers = {each: str(number) for number, each in enumerate(series.index)}
    ledger = run(cohort, series, tmp_path, {"SeriesNumber": numbers}, progress=progress, window=1)
    assert time.monotonic() - start < 6
    cohort.rest._client.hooks.remove(hook)
    assert "not-sent" in set(ledger["status"])
    ledger = cohort.resume(tmp_path / "j.sqlite", progress=False)
    left = cohort.leftovers(tmp_path / "j.sqlite")
    if len(left):
        cohort.delete(left, expect=len(left))
        ledger = cohort.resume(tmp_path / "j.sqlite", progress=False)
    assert set(ledger["status"]) == {"done"}
    assert is_one_to_one(cohort, before)


# --- split and merge


def test_series_are_split_off_once(cohort: ores.Orthanc, tmp_path: Path) -> None:
    study, other = cohort.studies().head(1), cohort.studies().index[-1]
    series = cohort.series(within=study, Modality="MR")
    before = set(cohort.rest.instances.list())
    ledger = cohort.split(study, series, replace={"StudyDescription": "Head"}, journal=tmp_path / "j", progress=False)
    assert ledger["status"].tolist() == ["done"], ledger["error"].tolist()
    row = ledger.iloc[0]
    new = cohort.rest.studies.read(row["ModifiedStudy"])
    assert new["MainDicomTags"]["StudyDescription"] == "Head"
    assert new["Series"] == [row["ModifiedID"]]
    assert new["ParentPatient"] == study["ParentPatient"].iloc[0]
    assert cohort.rest.series.read(row["ModifiedID"])["MainDicomTags"]["SeriesInstanceUID"] == row["ModifiedUID"]
    assert len(cohort.rest.series.children(row["ModifiedID"], "Instance")) == row["instances"] == 4
    assert before < set(cohort.rest.instances.list())

    # One whose answer is lost is not asked for again, and its originals go once it was found.
    study = cohort.studies().loc[[other]]
    series = cohort.series(within=study)
    there_were = len(cohort.rest.instances.list())
    count = itertools.count()

    def cut(head: bytes) -> bool:
        return b"/split" in head and next(count) == 0

    with Proxy(cohort.url, cut) as proxy, ores.Orthanc(proxy.url, auth=cohort.rest.connection.auth) as through:
        ledger = through.split(
            study.index[0],
            list(series.index),
            replace={"PatientID": "ELSEWHERE"},
            keep_source=False,
            journal=tmp_path / "2",
            progress=False,
        )
    assert set(ledger["status"]) == {"done"}, ledger["error"].tolist()
    (there,) = cohort.studies(PatientID="ELSEWHERE").index
    assert set(ledger["ModifiedStudy"]) == {there}
    assert ledger["ModifiedID"].nunique() == 2
    assert study.index[0] not in cohort.rest.studies.list()
    assert len(cohort.rest.instances.list()) == there_were


def test_a_series_with_files_of_several_orientations_is_split_off(
    orthanc: ores.Orthanc, tree: Path, tmp_path: Path
) -> None:
    # Orthanc's index has of a series what the file stored first says, and another copy may be stored first.
    orthanc.upload(tree / "98892003", progress=False)
    series = orthanc.series()
    series = series[series["ParentStudy"] == series.loc[series["SeriesNumber"] == 700, "ParentStudy"].iloc[0]]
    assert len(series) == 3
    ledger = orthanc.split(series["ParentStudy"].iloc[0], series, journal=tmp_path / "j", progress=False)
    assert set(ledger["status"]) == {"done"}, ledger["error"].tolist()
    assert ledger["instances"].tolist() == series["NumberOfSeriesRelatedInstances"].tolist()
    copies = orthanc.series().loc[ledger["ModifiedID"]]
    assert copies["SeriesNumber"].tolist() == series["SeriesNumber"].tolist()


def test_studies_are_merged_into_one(cohort: ores.Orthanc, tmp_path: Path) -> None:
    studies, others = patients_studies(cohort)
    target, source = studies.index
    with pytest.raises(errors.QueryError, match="1 of 1 are of another patient"):
        cohort.merge(target, others.head(1), journal=tmp_path / "j", progress=False)
    with pytest.raises(errors.QueryError, match="in the study already"):
        cohort.merge(target, [target], journal=tmp_path / "j", progress=False)
    assert not (tmp_path / "j").exists()
    ledger = cohort.merge(target, [source], journal=tmp_path / "j", progress=False)
    assert ledger["status"].tolist() == ["done"], ledger["error"].tolist()
    assert ledger["ModifiedID"].tolist() == [target]
    assert cohort.rest.studies.statistics(target)["CountInstances"] == 20
    assert cohort.rest.studies.statistics(source)["CountInstances"] == ledger["instances"].iloc[0] == 10
    # What somebody merged by hand a moment ago has the same tags, and is not ours: also when our answer is lost.
    cohort.rest.studies.merge(target, [source], synchronous=True)
    count = itertools.count()

    def cut(head: bytes) -> bool:
        return b"/merge" in head and next(count) == 0

    with Proxy(cohort.url, cut) as proxy, ores.Orthanc(proxy.url, auth=cohort.rest.connection.auth) as through:
        again = through.merge(target, [source], journal=tmp_path / "3", progress=False)
    assert again["status"].tolist() == ["done"], again["error"].tolist()
    assert cohort.leftovers(tmp_path / "3").empty
    series = cohort.series(within=others.head(1))
    more = cohort.merge(
        target, series, keep_source=False, allow_other_patients=True, journal=tmp_path / "2", progress=False
    )
    assert set(more["status"]) == {"done"}, more["error"].tolist()
    assert set(more["ModifiedStudy"]) == {target}
    assert cohort.rest.studies.statistics(target)["CountInstances"] == 50
    assert set(series.index).isdisjoint(cohort.rest.series.list())
    assert set(cohort.resume(tmp_path / "2", progress=False)["status"]) == {"done"}


def test_a_merge_killed_halfway_names_what_it_left(cohort: ores.Orthanc, tmp_path: Path) -> None:
    studies, _ = patients_studies(cohort)
    target, source = studies.index
    ledger = cohort.merge(target, [source], journal=tmp_path / "j", progress=False)
    with Journal.open(tmp_path / "j") as journal:  # as a server leaves it that died before the last instances
        (unit,) = journal.units()
        journal.mark(unit.key, "sent", output={"asked": time.time() - 5})
    new = [value["ID"] for value in cohort.rest.studies.children(target, "Instance")]
    lost = sorted(set(new) - set(unit.input["before"]))[:3]
    cohort.rest.tools.bulk_delete(lost)
    ledger = cohort.resume(tmp_path / "j", progress=False)
    assert ledger["status"].tolist() == ["partial"]
    left = cohort.leftovers(tmp_path / "j")
    assert len(left) == 7
    cohort.delete(left, expect=7)
    ledger = cohort.resume(tmp_path / "j", progress=False)
    assert ledger["status"].tolist() == ["done"]
    assert cohort.rest.studies.statistics(target)["CountInstances"] == 20
