"""Finds and tags on real servers: typed, complete, by the fewest requests, and the same on every version."""

from __future__ import annotations

import datetime as dt
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydicom import config
from stock import put, small

import orthanc_research as ores
from orthanc_research import errors, search
from orthanc_research.rest import Level

LEVELS: tuple[Level, ...] = ("Patient", "Study", "Series", "Instance")
COUNTS = {
    level: f"Count{name}" for level, name in zip(LEVELS, ("Patients", "Studies", "Series", "Instances"), strict=True)
}


def expected_requests(orthanc: ores.Orthanc, level: Level) -> int:
    """One a page; where tags cannot be requested within (1.10), at most one more for each parent level.

    There a study's one more reads its series, for their modalities and counts: its patient's tags come with it.
    """
    if orthanc.capabilities().has("requested-tags"):
        return 1
    return {"Patient": 1, "Study": 2, "Series": 2, "Instance": 3}[level]


@pytest.mark.parametrize("level", LEVELS)
def test_a_find_is_one_request_a_page(cohort: ores.Orthanc, level: Level) -> None:
    with cohort.rest.counting() as requests:
        frame = cohort.find(level)
    assert len(frame) == cohort.statistics()[COUNTS[level]]
    assert len(requests) == expected_requests(cohort, level), requests
    plan = cohort.explain(level)
    assert plan["requests"] == len(requests)


def test_pages_add_up_and_repeat_nothing(cohort: ores.Orthanc) -> None:
    whole = cohort.find("Instance")
    count = len(whole)
    with cohort.rest.counting() as requests:
        paged = cohort.find("Instance", page=7)
    asked = [target for _, target in requests]
    # The pages; the first one's IDs again, once it is known that there are several; where the change log ends, twice.
    assert asked.count("tools/find") == -(-count // 7) + 1
    assert asked.count("changes?last") == 2
    assert sorted(paged.index) == sorted(whole.index)
    assert paged.index.is_unique
    with cohort.rest.counting() as requests:
        exact = cohort.find("Instance", page=count)
    assert len(exact) == count
    assert [target for _, target in requests].count("tools/find") == 1  # no empty page after one that is just full
    assert len(cohort.find("Instance", limit=5)) == 5
    assert len(cohort.find("Instance", limit=9, page=4)) == 9


@pytest.mark.parametrize("level", LEVELS)
def test_columns_and_types_are_the_same_for_any_data(cohort: ores.Orthanc, level: Level) -> None:
    full, none = cohort.find(level), cohort.find(level, PatientID="NOBODY-HAS-THIS")
    assert len(none) == 0 < len(full)
    assert list(full.columns) == list(none.columns)
    pd.testing.assert_series_equal(full.dtypes, none.dtypes)
    pd.testing.assert_series_equal(pd.concat([full, none]).dtypes, full.dtypes)
    assert full.index.name == "ID"
    assert full["Issues"].isna().all()
    assert full.attrs["orthanc"]["level"] == level
    assert set(full.attrs["orthanc"]) == {"level", "url", "client"}


def test_parents_come_with_their_children(cohort: ores.Orthanc) -> None:
    series, instances = cohort.series(), cohort.instances()
    patients = set(cohort.patients()["PatientID"])
    assert set(series["PatientID"]) == set(instances["PatientID"]) == patients
    assert set(series["StudyInstanceUID"]) == set(cohort.studies()["StudyInstanceUID"])
    assert set(instances["ParentSeries"]) == set(series.index)
    for table in (series, instances):
        assert str(table["StudyDate"].dtype) == "datetime64[s]"
        assert table["StudyDate"].notna().all()
    counts = instances.groupby("ParentSeries").size()
    assert (series["NumberOfSeriesRelatedInstances"].astype(int) == counts.reindex(series.index)).all()


def test_criteria_choose_what_they_say(cohort: ores.Orthanc) -> None:
    studies = cohort.studies()
    first = studies.iloc[0]
    assert list(cohort.studies(StudyInstanceUID=first["StudyInstanceUID"]).index) == [studies.index[0]]
    day = first["StudyDate"]
    same_day = set(studies.index[studies["StudyDate"] == day])
    assert set(cohort.studies(StudyDate=day).index) == same_day
    assert set(cohort.studies(StudyDate=(day, None)).index) == set(studies.index[studies["StudyDate"] >= day])
    assert set(cohort.series(Modality="CT")["Modality"]) == {"CT"}
    assert len(cohort.series(Modality=["CT", "MR"])) == len(cohort.series())
    assert len(cohort.studies(Modality="CT")) == len(studies)  # sent as ModalitiesInStudy
    assert len(cohort.studies(Modality="US")) == 0
    name = str(first["PatientName"])
    assert set(cohort.studies(PatientName=name[:3] + "*").index) >= {studies.index[0]}
    assert set(cohort.studies(PatientName=name.lower()).index) == set(cohort.studies(PatientName=name).index)
    identifier = str(first["PatientID"])
    assert len(cohort.studies(PatientID=identifier)) > 0
    if identifier.lower() != identifier:
        assert len(cohort.studies(PatientID=identifier.lower())) == 0  # identifiers match case-exactly


def test_no_letters_of_a_name_are_passed_over(orthanc: ores.Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_LEAST", 3)
    names = ["山田^太郎", "山本", "ÄÖÜ", "ÜS", "Søren", "SREN", "sren", *(f"DOE^{i}" for i in range(9))]
    put(orthanc, [small(number, PatientName=name, PatientID=f"{name} 1") for number, name in enumerate(names)])
    for wanted in ("山*", "ÄÖÜ", "S*", "*山*", "sren", "Søren", "doe*"):
        pattern = wanted.lower().replace("*", ".*")
        found = {name for name in names if re.fullmatch(pattern, name.lower())}
        for level in LEVELS:
            for options in ({}, {"page": 2}):
                frame = orthanc.find(level, PatientName=wanted, **options)  # type: ignore[arg-type]
                assert set(frame["PatientName"]) == found, (wanted, level, options)
                assert len(frame) == len(found)
            assert orthanc.count(level, PatientName=wanted) == len(found)
            assert len(orthanc.find(level, PatientName=wanted, limit=1)) == 1
            assert len(orthanc.find(level, PatientName=wanted, limit=50, page=2)) == len(found)
    assert list(orthanc.studies(PatientID="Søren 1", limit=1)["PatientID"]) == ["Søren 1"]


def test_within_leaves_no_patient_out(orthanc: ores.Orthanc) -> None:
    put(orthanc, [small(number, PatientID=each) for number, each in enumerate((" A1", "A1", "  7", "Ä", "x"))])
    patients, studies = orthanc.patients(), orthanc.studies()
    assert len(orthanc.series(within=patients)) == len(orthanc.find("Patient", within=studies)) == 5
    few = patients[patients["PatientID"] == "A1"]
    assert len(few) == len(orthanc.series(within=few)) == 2


def test_what_is_retired_is_asked_for_by_its_number(orthanc: ores.Orthanc) -> None:
    values = [{"OtherPatientIDs": "X1"}, {"OtherPatientIDs": "x1"}, {"StudyStatusID": "READ"}]
    put(orthanc, [small(number, **each) for number, each in enumerate(values)])
    assert list(orthanc.patients(OtherPatientIDs="X1")["PatientID"]) == ["ODD000"]
    assert list(orthanc.series(StudyStatusID="READ")["PatientID"]) == ["ODD002"]


def test_what_has_no_date_or_time_is_before_none(orthanc: ores.Orthanc) -> None:
    days = {"A": "", "B": "20200229", "C": "20200301", "D": None}
    put(orthanc, [small(number, StudyDate=day, StudyID=name) for number, (name, day) in enumerate(days.items())])
    assert set(orthanc.studies(StudyDate=(None, "2020-02"))["StudyID"]) == {"B"}
    assert set(orthanc.studies(StudyDate=("2020-03", None))["StudyID"]) == {"C"}
    assert set(orthanc.studies(match={"StudyDate": "-20201231"})["StudyID"]) == {"B", "C"}


def test_times_and_numbers_are_found_however_they_are_written(orthanc: ores.Orthanc) -> None:
    times = ["1030", "103000", "103000.5", "103001", "10", ""]
    made = [small(number, StudyTime=time, DiffusionBValue=0.1 * number) for number, time in enumerate(times)]
    with config.disable_value_validation():
        for each, written in zip(made, ["3", "003", "03", "4", "30", ""], strict=True):
            each.SeriesNumber = written
    put(orthanc, made)
    moment = orthanc.studies(StudyTime=dt.time(10, 30))["StudyInstanceUID"]
    assert set(moment) == {"1.9.0", "1.9.1", "1.9.2"}
    assert set(orthanc.studies(StudyTime=(dt.time(10, 30), None))["StudyInstanceUID"]) == {*moment, "1.9.3"}
    assert set(orthanc.series(SeriesNumber=3)["StudyInstanceUID"]) == {"1.9.0", "1.9.1", "1.9.2"}
    for number in range(1, len(times)):
        assert list(orthanc.series(DiffusionBValue=0.1 * number)["StudyInstanceUID"]) == [f"1.9.{number}"]


@pytest.mark.parametrize("empty", [[], (), pd.Series([], dtype="str")])
def test_an_empty_list_is_an_empty_answer_without_a_request(cohort: ores.Orthanc, empty: Any) -> None:
    with cohort.rest.counting() as requests:
        frame = cohort.studies(StudyInstanceUID=empty)
        within = cohort.series(within=frame)
    assert len(frame) == len(within) == 0
    assert list(frame.columns) == list(cohort.studies().columns)
    assert requests == []


@pytest.mark.parametrize(
    ("criteria", "words"),
    [
        ({"StudyDat": "2021"}, "StudyDate"),
        ({"PatientID": None}, "leave it out"),
        ({"PatientID": ""}, "leave it out"),
        ({"PatientID": np.nan}, "leave it out"),
        ({"StudyDate": "2021-02-30"}, "StudyDate"),
        ({"StudyDate": "last year"}, "StudyDate"),
        ({"StudyInstanceUID": "1.2.*"}, "StudyInstanceUID"),
        ({"PatientName": object()}, "PatientName"),
        ({"SOPInstanceUID": "1.2.3"}, "SOPInstanceUID"),
        ({"limit": 0}, "limit"),
        ({"columns": ["NoSuchTag"]}, "NoSuchTag"),
        ({"within": 7}, "Resources are"),
    ],
)
def test_bad_criteria_are_one_sentence_and_no_request(
    cohort: ores.Orthanc, criteria: dict[str, Any], words: str
) -> None:
    with cohort.rest.counting() as requests, pytest.raises(errors.QueryError, match=words) as caught:
        cohort.find("Study", **criteria)
    assert requests == []
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_what_this_server_would_ignore_is_refused(cohort: ores.Orthanc) -> None:
    options: list[dict[str, Any]] = [{"labels": ["train"]}, {"order_by": "StudyDate"}, {"metadata": {"Origin": "x"}}]
    for option in options:
        if cohort.capabilities().has("extended-find"):
            assert len(cohort.studies(**option)) == (4 if "order_by" in option else 0)
        else:
            with cohort.rest.counting() as requests, pytest.raises(errors.UnsupportedError):
                cohort.studies(**option)
            assert requests == []


def test_within_finds_what_is_below_and_nothing_else(cohort: ores.Orthanc) -> None:
    series = cohort.series()
    for studies in (cohort.studies().head(1), cohort.studies().head(3)):
        found = cohort.series(within=studies)
        assert set(found.index) == set(series.index[series["ParentStudy"].isin(studies.index)])
        instances = cohort.instances(within=studies)
        assert set(instances["ParentSeries"]) == set(found.index)


def test_a_frame_of_another_server_is_refused(cohort: ores.Orthanc) -> None:
    foreign = cohort.studies()
    foreign.attrs["orthanc"]["url"] = "http://elsewhere"
    with pytest.raises(errors.QueryError, match="another Orthanc"):
        cohort.series(within=foreign)
    with pytest.raises(errors.QueryError, match="another Orthanc"):
        ores.attach(foreign, cohort)


def test_what_was_deleted_is_told(cohort: ores.Orthanc, tmp_path: Path) -> None:
    frames = {"patients": cohort.patients(), "studies": cohort.studies(), "instances": cohort.instances()}
    gone = frames["studies"].index[frames["studies"]["ParentPatient"] == frames["patients"].index[0]]
    assert cohort.delete(gone, expect=2) == 2
    for name, numbers in (("patients", "1 of 2"), ("studies", "2 of 4")):
        sentence = f"{numbers} {name} are no longer on this Orthanc; find them again."
        with pytest.raises(errors.NotFoundError, match=sentence):
            cohort.tags(frames[name], ["Modality"])
        with pytest.raises(errors.NotFoundError, match=sentence):
            cohort.export(frames[name], tmp_path, progress=False)
    with pytest.raises(errors.NotFoundError, match=r"instances|resources|no such"):
        cohort.tags(frames["instances"], ["Modality"])
    left = cohort.instances()
    one, two, three, *_ = cohort.instances(within=cohort.series().head(1)).index
    cohort.delete([two], expect=1)
    table = cohort.tags(left.loc[[one, two, three]], ["Modality"])
    assert list(table.index) == [one, two, three]
    assert table["Modality"].isna().tolist() == [False, True, False]
    assert table["Issues"].notna().tolist() == [False, True, False]


def test_nothing_is_deleted_unless_all_of_it_is_there(cohort: ores.Orthanc) -> None:
    series = cohort.series()
    cohort.delete(series.head(1), expect=1)
    with pytest.raises(errors.QueryError, match="1 of 8 resources are no longer on this Orthanc; nothing was deleted"):
        cohort.delete(series, expect=8)
    with pytest.raises(errors.QueryError, match="1 of 8 IDs are not on this Orthanc"):
        cohort.delete(list(series.index), expect=8)
    assert len(cohort.series()) == 7
    assert cohort.delete(series.tail(7), expect=7) == 7


def test_one_row_is_of_its_level_and_its_server(cohort: ores.Orthanc) -> None:
    series, studies = cohort.series(), cohort.studies()
    with cohort.rest.counting() as requests:
        assert len(cohort.stacks(series.iloc[0])) == 1
    assert len(requests) == 1
    for row in (studies.iloc[0], studies.head(1)):
        with pytest.raises(errors.QueryError, match="takes one series"):
            cohort.stacks(row)
    foreign = cohort.series()
    foreign.attrs["orthanc"]["url"] = "http://elsewhere"
    with pytest.raises(errors.QueryError, match="another Orthanc"):
        cohort.stacks(foreign.iloc[0])


def test_the_id_of_a_study_is_no_series_on_any_version(cohort: ores.Orthanc) -> None:
    for identifier in (cohort.studies().index[0], cohort.patients().index[0]):
        with pytest.raises((errors.QueryError, errors.NotFoundError)):
            cohort.stacks(str(identifier))


def test_a_client_pickles_as_a_description_without_secrets(
    cohort: ores.Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, password = cohort.rest.connection.basic_auth() or ("", "")
    data = pickle.dumps(cohort)
    assert password.encode() not in data
    with pickle.loads(data) as again:
        assert (again.url, again.workers, repr(again)) == (cohort.url, cohort.workers, repr(cohort))
        with pytest.raises(errors.QueryError, match="pickles carry no password"):
            again.statistics()
    monkeypatch.setenv("SOME_AUTH", f"{user}:{password}")
    with (
        ores.Orthanc(cohort.url, auth="env:SOME_AUTH", workers=2) as by_name,
        pickle.loads(pickle.dumps(by_name)) as again,
    ):
        assert again.statistics() == cohort.statistics()
        assert again.workers == 2
        assert len(again.series(within=cohort.studies().head(1))) == 2


def test_a_private_server_pickles_as_a_client_that_cannot_end_it() -> None:
    with ores.LocalOrthanc() as local:
        data = pickle.dumps(local)
        assert local.server.auth[1].encode() not in data
        again = pickle.loads(data)
        assert type(again) is ores.Orthanc
        again.close()
        assert local.statistics()["CountInstances"] == 0


@pytest.mark.parametrize("options", [{"workers": "4"}, {"workers": True}, {"workers": 9}, {"timeout": "60"}])
def test_senseless_arguments_are_one_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(errors.QueryError, match=r"is a (positive )?number"):
        ores.Orthanc("http://h", **options)


def test_an_empty_archive_gives_empty_typed_frames(orthanc: ores.Orthanc) -> None:
    for level in LEVELS:
        frame = orthanc.find(level)
        assert frame.empty
        assert "PatientID" in frame.columns
    with orthanc.rest.counting() as requests:
        assert orthanc.tags(orthanc.series()).empty
    assert len(requests) == 1
    assert orthanc.anonymize(orthanc.studies(), progress=False).empty


def test_the_tree_that_pydicom_ships_has_the_same_tables_on_every_server(orthanc: ores.Orthanc, tree: Path) -> None:
    orthanc.upload(tree, progress=False)
    assert orthanc.statistics()["CountInstances"] == 81
    patients, studies, series = orthanc.patients(), orthanc.studies(), orthanc.series()
    assert (len(patients), len(studies), len(series)) == (
        orthanc.statistics()["CountPatients"],
        orthanc.statistics()["CountStudies"],
        orthanc.statistics()["CountSeries"],
    )
    table = orthanc.tags(series, ["Modality", "PatientID"])
    assert len(table) == 81
    assert int(series["NumberOfSeriesRelatedInstances"].sum()) == 81
    assert set(table["PatientID"]) == set(patients["PatientID"])
