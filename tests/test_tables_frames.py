"""The frame of a find: one schema for any data and any version, and pandas works on it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from orthanc_research.capabilities import Capabilities
from orthanc_research.errors import ResponseError
from orthanc_research.tables import Selection, empty_frame, find_frame, issues, parse_criteria, plan_find
from orthanc_research.tables.schema import LEVELS, Level

OLD = Capabilities("1.10.1")
NEW = Capabilities("1.12.7", extended_find=True, labels=True)
TAGS = {
    "StudyDate": "20210305",
    "StudyTime": "103015",
    "StudyInstanceUID": "1.2",
    "StudyDescription": "Chest",
    "StudyID": "",
}
PATIENT = {"PatientID": "aB1", "PatientName": "Doe^Peter ", "PatientBirthDate": "19500101", "PatientSex": "M"}


def study(identifier: str = "st1", **changes: Any) -> dict[str, Any]:
    return {
        "ID": identifier,
        "IsStable": True,
        "LastUpdate": "20261123T192552",
        "Labels": ["a", "b"],
        "MainDicomTags": {**TAGS, **changes},
        "ParentPatient": "pa1",
        "PatientMainDicomTags": PATIENT,
        "RequestedTags": {"ModalitiesInStudy": "MR\\CT", "NumberOfStudyRelatedInstances": "12"},
        "Series": ["se1", "se2"],
        "Type": "Study",
    }


def series(identifier: str, parent: str = "st1", modality: str = "CT", instances: int = 6) -> dict[str, Any]:
    return {
        "ExpectedNumberOfInstances": None,
        "ID": identifier,
        "Instances": [f"{identifier}i{number}" for number in range(instances)],
        "IsStable": False,
        "LastUpdate": "20261123T192552",
        "MainDicomTags": {"Modality": modality, "SeriesNumber": "1", "SeriesInstanceUID": f"1.2.{identifier}"},
        "ParentStudy": parent,
        "Status": "Unknown",
        "Type": "Series",
    }


def instance(identifier: str, parent: str = "se1") -> dict[str, Any]:
    return {
        "FileSize": 4310,
        "ID": identifier,
        "IndexInSeries": None,
        "MainDicomTags": {"InstanceNumber": "1", "ImagePositionPatient": "1\\2\\3", "SOPInstanceUID": "1.2.3"},
        "ParentSeries": parent,
        "Type": "Instance",
    }


def found(
    level: Level,
    answers: list[Any],
    parents: Any = None,
    capabilities: Capabilities = NEW,
    criteria: Any = None,
    **options: Any,
) -> pd.DataFrame:
    query = parse_criteria(level, criteria or {})
    return find_frame(plan_find(level, query=query, capabilities=capabilities, **options), answers, parents)


def test_a_study_is_a_typed_row_indexed_by_its_orthanc_id() -> None:
    frame = found("Study", [study()])
    assert frame.index.name == "ID"
    row = frame.loc["st1"]
    assert row["StudyDate"] == pd.Timestamp("2021-03-05")
    assert row["PatientName"] == "Doe^Peter"
    assert row["ModalitiesInStudy"] == "CT\\MR"
    assert row["NumberOfStudyRelatedSeries"] == 2
    assert row["NumberOfStudyRelatedInstances"] == 12
    assert row["Labels"] == "a\\b"
    assert frame["StudyID"].isna()["st1"]
    assert frame.columns[-1] == "Issues"


@pytest.mark.parametrize("level", LEVELS)
def test_no_answers_have_the_columns_and_dtypes_of_many(level: Level) -> None:
    answers = {
        "Patient": [{"ID": "pa1", "MainDicomTags": PATIENT, "Studies": ["st1"]}],
        "Study": [study()],
        "Series": [series("se1")],
        "Instance": [instance("in1")],
    }[level]
    full, none = found(level, answers), found(level, [])
    pd.testing.assert_series_equal(full.dtypes, none.dtypes)
    pd.testing.assert_frame_equal(none, empty_frame(level))
    assert full.index.dtype == none.index.dtype


def test_joining_two_finds_changes_no_dtype() -> None:
    bare = {"ID": "st9", "MainDicomTags": {}, "Type": "Study"}
    frames = [found("Study", [study()]), found("Study", []), found("Study", [bare])]
    for parts in (frames, frames[::-1], [frames[2], frames[1]]):
        pd.testing.assert_series_equal(pd.concat(parts).dtypes, frames[0].dtypes)


def test_old_and_new_servers_give_the_same_frame() -> None:
    old = study()
    del old["RequestedTags"], old["Labels"]
    related = {"Series": {"se1": series("se1"), "se2": series("se2", modality="MR")}}
    a, b = found("Study", [study()]), found("Study", [old], related, OLD)
    pd.testing.assert_frame_equal(a.drop(columns="Labels"), b.drop(columns="Labels"))


def test_instances_get_the_tags_of_series_study_and_patient() -> None:
    related = {"Series": {"se1": series("se1")}, "Study": {"st1": study()}}
    row = found("Instance", [instance("in1")], related, OLD).loc["in1"]
    assert (row["PatientID"], row["StudyInstanceUID"], row["Modality"]) == ("aB1", "1.2", "CT")
    assert row["ImagePositionPatient"] == [1.0, 2.0, 3.0]


def test_a_parent_that_vanished_is_an_error_and_not_an_empty_cell() -> None:
    with pytest.raises(ResponseError, match="deleted"):
        found("Series", [series("se1")], {"Study": {}}, OLD)
    with pytest.raises(ResponseError, match="deleted"):
        found("Study", [study()], {"Series": {"se1": series("se1")}}, OLD)


def test_an_answer_that_is_none_of_orthancs_is_an_error() -> None:
    for answer in ("abc", {}, {"ID": 3}, None):
        with pytest.raises(ResponseError):
            found("Study", [answer])


def test_a_resource_that_came_on_two_pages_is_one_row() -> None:
    assert found("Study", [study("a"), study("b"), study("a")]).index.tolist() == ["a", "b"]


def test_identifiers_are_compared_case_exactly_with_wildcards_and_lists() -> None:
    upper = study("upper")
    upper["PatientMainDicomTags"] = {**PATIENT, "PatientID": "AB1"}
    both = [study("mixed"), upper]
    for value, expected in (
        ("aB1", ["mixed"]),
        ("aB*", ["mixed"]),
        (["AB1", "x"], ["upper"]),
        ("?B1", ["mixed", "upper"]),
    ):
        assert found("Study", both, criteria={"PatientID": value}).index.tolist() == expected
    # A value from a file is no pattern.
    assert found("Study", both, criteria={"PatientID": "a.1"}).empty


def test_the_limit_counts_what_is_left_after_comparing() -> None:
    both = [study("a"), study("b"), study("c")]
    assert len(found("Study", both, criteria={"PatientID": "aB1"}, limit=2)) == 2


def test_within_keeps_what_lies_below_those_ids_alone() -> None:
    ids = ("a" * 8 + "-00000000" * 4, "b" * 8 + "-00000000" * 4)
    chosen = Selection(ids, "Study", pd.DataFrame({"StudyInstanceUID": ["1.2", "1.3"]}, index=pd.Index(ids, name="ID")))
    answers = [series("se1", ids[0]), series("se2", "another patient's study with the same UID")]
    assert found("Series", answers, within=chosen).index.tolist() == ["se1"]
    related = {"Series": {row["ID"]: row for row in answers}}
    deep = found(
        "Instance", [instance("i1", "se1"), instance("i2", "se2"), instance("i3", "lost")], related, within=chosen
    )
    assert deep.index.tolist() == ["i1"]


def test_patients_found_by_modality_are_those_of_the_studies() -> None:
    patients = {"pa1": {"ID": "pa1", "MainDicomTags": PATIENT, "Studies": ["st1"]}}
    frame = found("Patient", [study("st1"), study("st2")], {"Patient": patients}, criteria={"Modality": "CT"})
    assert frame.index.tolist() == ["pa1"]
    assert frame.loc["pa1", "PatientID"] == "aB1"
    assert found("Patient", [], {}, criteria={"Modality": "CT"}).empty


def test_what_does_not_parse_is_listed_in_issues() -> None:
    frame = found("Study", [study("a", StudyDate="20240132", StudyTime="24"), study("b")])
    assert frame["StudyDate"].isna()["a"]
    listed = issues(frame)
    assert listed.index.tolist() == ["a", "a"]
    assert listed.index.name == "ID"
    assert listed["Column"].tolist() == ["StudyDate", "StudyTime"]
    assert listed["Issue"].tolist() == ["not a date", "not a time"]
    assert issues(found("Study", [])).empty
    assert issues(found("Study", [])).dtypes.tolist() == listed.dtypes.tolist()


def test_ordinary_pandas_works() -> None:
    frame = found(
        "Study", [study("a"), study("b", StudyDate="20220101", StudyDescription="Head"), study("c", StudyDate="")]
    )
    assert (frame["StudyDate"] >= "2022").sum() == 1
    assert frame[frame["StudyDate"].between("2021-01-01", "2021-12-31")].index.tolist() == ["a"]
    assert frame.groupby("StudyDescription").size().to_dict() == {"Chest": 2, "Head": 1}
    assert frame.groupby(pd.Grouper(key="StudyDate", freq="YE")).size().tolist() == [1, 1]
    assert frame.set_index("StudyDate").sort_index()["PatientID"].resample("YE").count().sum() == 2
    assert len(frame.drop_duplicates("StudyDescription")) == 2
    assert len(frame.drop_duplicates()) == 3
    assert frame["PatientName"].str.lower().tolist()[0] == "doe^peter"
    assert frame["ModalitiesInStudy"].str.contains("CT").all()
    assert frame["StudyDate"].dt.year.tolist()[:2] == [2021, 2022]
    assert len(frame.merge(frame[["StudyInstanceUID"]], on="StudyInstanceUID")) == 9
    assert frame.describe(include="all").shape[1] == frame.shape[1]
    assert frame["NumberOfStudyRelatedInstances"].sum() == 36
    assert frame.sort_values(["StudyDate", "StudyTime"]).index.tolist() == ["a", "b", "c"]
