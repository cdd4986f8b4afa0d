"""A find is planned before it is sent: few requests, and no field that the server would ignore."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from orthanc_research.capabilities import Capabilities
from orthanc_research.errors import QueryError, UnsupportedError
from orthanc_research.tables import FindPlan, Level, Selection, columns_for, orthanc_id, parse_criteria, plan_find
from orthanc_research.tables.schema import LEVELS

OLD = Capabilities("1.10.1")
MIDDLE = Capabilities("1.12.1", labels=True)
NEW = Capabilities("1.12.7", extended_find=True, labels=True)
PLAIN = {"Level", "Query", "Expand", "Since", "Limit"}

A, B = "a" * 8 + "-11111111" * 4, "b" * 8 + "-22222222" * 4


def plan(
    level: Level, capabilities: Capabilities = NEW, criteria: dict[str, Any] | None = None, **options: Any
) -> FindPlan:
    match = options.pop("match", None)
    query = parse_criteria(level, criteria or {}, match)
    return plan_find(level, query=query, capabilities=capabilities, **options)


def studies(*ids: str, **columns: list[Any]) -> Selection:
    frame = pd.DataFrame(columns, index=pd.Index(ids, name="ID"))
    return Selection(ids, "Study", frame)


def patients(*values: str) -> Selection:
    ids = tuple(map(orthanc_id, values))
    return Selection(ids, "Patient", pd.DataFrame({"PatientID": list(values)}, index=pd.Index(ids, name="ID")))


@pytest.mark.parametrize("level", LEVELS)
def test_one_request_a_page_where_the_server_has_requested_tags(level: Level) -> None:
    found = plan(level)
    assert found.parents == ()
    assert found.explain()["requests"] == 1


@pytest.mark.parametrize(
    ("keyword", "value", "sent"),
    [
        ("StudyDate", (None, "2020"), "00010101-20201231"),
        ("StudyTime", (None, "10:30"), "00-103059.999999"),
        ("AcquisitionDateTime", (None, "2020"), "0001-20201231235959.999999"),
        ("StudyDate", ("2020", None), "20200101-"),
        ("SeriesNumber", -3, "-3"),
        ("SeriesNumber", [3, 12], "3\\03\\003\\0003\\00003\\000003\\12\\012\\0012\\00012\\000012"),
        ("PatientName", "-DOE", "-DOE"),
    ],
)
def test_criteria_are_sent_as_orthanc_compares_them(keyword: str, value: Any, sent: str) -> None:
    assert plan("Series", criteria={keyword: value}).request()["Query"][keyword] == sent


def test_a_find_by_a_text_is_loose_where_the_server_counts_candidates() -> None:
    assert plan("Series", criteria={"PatientName": "DOE"}).loose
    assert not plan("Series", criteria={"PatientName": "DOE"}).counted
    assert plan("Series", criteria={"PatientID": "1", "KVP": 120}).loose is False  # not paged
    assert not plan("Series", OLD, {"PatientName": "DOE"}).loose
    assert not plan("Series", criteria={"StudyDate": "2020", "Modality": "CT", "StudyInstanceUID": "1.2"}).loose


@pytest.mark.parametrize(
    ("level", "parents"),
    [("Patient", ()), ("Study", ("Series",)), ("Series", ("Study",)), ("Instance", ("Study", "Series"))],
)
def test_an_old_server_is_asked_once_more_for_each_level_of_relatives(level: Level, parents: tuple[Level, ...]) -> None:
    found = plan(level, OLD)
    assert found.parents == parents
    assert set(found.request()) <= PLAIN


def test_an_old_server_is_not_asked_for_relatives_that_no_column_needs() -> None:
    assert plan("Series", OLD, columns=["Modality", "ParentStudy"]).parents == ()
    assert plan("Study", OLD, columns=["PatientID", "StudyDate"]).parents == ()
    # The way from an instance to its study goes through its series.
    assert plan("Instance", OLD, columns=["PatientID"]).parents == ("Study", "Series")


@pytest.mark.parametrize("level", LEVELS)
def test_columns_are_the_same_on_every_version(level: Level) -> None:
    assert plan(level, OLD).columns == plan(level, MIDDLE).columns == plan(level, NEW).columns == columns_for(level)


def test_pages_follow_each_other_and_stop_at_the_limit() -> None:
    found = plan("Series", limit=25, page=10)
    assert [found.request(since)["Limit"] for since in (0, 10, 20)] == [10, 10, 5]
    assert [found.request(since)["Since"] for since in (0, 10, 20)] == [0, 10, 20]
    assert not found.complete(20)
    assert found.complete(25)


def test_a_limit_of_zero_means_everything_on_some_versions_and_is_never_sent() -> None:
    assert plan("Series", limit=3, page=10).request(3)["Limit"] >= 1
    for limit in (0, -1, True, 1.5):
        with pytest.raises(QueryError, match="limit"):
            plan("Series", limit=limit)


@pytest.mark.parametrize("capabilities", [OLD, MIDDLE, NEW])
def test_a_criterion_outside_the_index_is_one_request_without_since_or_limit(capabilities: Capabilities) -> None:
    # Limit would be applied before the criterion (1.12.5 and later), Since is a 400.
    found = plan("Series", capabilities, {"KVP": 120}, limit=5)
    assert not found.paged
    assert not {"Since", "Limit"} & set(found.request())
    private = plan("Series", capabilities, match={"0009,1001": "X"})
    assert not private.paged


def test_parents_tags_are_in_the_index_and_page() -> None:
    assert plan("Instance", NEW, {"PatientName": "A*", "StudyDate": "2021", "Modality": "CT"}).paged


def test_a_server_with_more_in_its_index_pages_by_it() -> None:
    more = Capabilities("1.12.7", extended_find=True, main_tags={"Series": ("0018,0060", "0020,000e")})
    assert plan("Series", more, {"KVP": 120}).paged


def test_case_is_never_left_to_the_server() -> None:
    found = plan("Study", NEW, {"PatientID": "aB", "PatientName": "x"}, limit=5, columns=["StudyDate"])
    assert "CaseSensitive" not in found.body
    assert found.exact == ("PatientID",)
    # The limit counts what is left after the comparison, so the server must not apply it.
    assert found.request()["Limit"] == 10_000
    assert not found.complete(5)
    # What is compared has to be read, and is no column for that.
    assert "PatientID" in found.fetched
    assert found.columns == ("StudyDate",)


def test_an_empty_list_needs_no_request() -> None:
    assert plan("Study", OLD, {"Modality": []}).empty
    assert plan("Series", OLD, within=Selection(())).empty
    assert plan("Series", OLD, within=("Study", [])).empty
    assert plan("Series", OLD, within=("Study", [])).explain()["requests"] == 0


@pytest.mark.parametrize(
    "options",
    [{"labels": ["a"]}, {"metadata": {"RemoteAET": "X"}}, {"order_by": "StudyDate"}, {"columns": ["KVP"]}],
)
def test_what_an_old_server_would_ignore_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError) as caught:
        plan("Series", OLD, **options)
    assert caught.value.found == "1.10.1"


def test_a_column_outside_the_index_names_the_way_out() -> None:
    with pytest.raises(UnsupportedError, match=r"orthanc\.tags"):
        plan("Series", OLD, columns=["KVP"])
    assert plan("Series", NEW, columns=["KVP"]).body["RequestedTags"] == ["KVP"]


@pytest.mark.parametrize(
    "column",
    [
        "ImageComments",
        "RequestAttributesSequence",
        "A.B",
        "0009,1001",
        "PixelData",
        "StudyDat",
        "FileSize",
        "SOPInstanceUID",
    ],
)
def test_a_column_that_a_find_cannot_show_truly_is_refused(column: str) -> None:
    with pytest.raises(QueryError):
        plan("Study", NEW, columns=[column])


def test_what_is_counted_at_another_level_is_refused() -> None:
    with pytest.raises(QueryError, match="Study level"):
        plan("Series", NEW, columns=["NumberOfStudyRelatedInstances"])


def test_labels_metadata_and_order_are_sent_to_a_server_that_has_them() -> None:
    found = plan(
        "Study",
        labels=["a", "b"],
        labels_match="any",
        metadata={"RemoteAET": "X"},
        order_by=["-StudyDate", "LastUpdate"],
    )
    assert found.body["Labels"] == ["a", "b"]
    assert found.body["LabelsConstraint"] == "Any"
    assert found.body["MetadataQuery"] == {"RemoteAET": "X"}
    assert found.body["OrderBy"] == [
        {"Type": "DicomTag", "Key": "StudyDate", "Direction": "DESC"},
        {"Type": "Metadata", "Key": "LastUpdate", "Direction": "ASC"},
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"labels": []},
        {"labels": ["a b"]},
        {"labels": ["a"], "labels_match": "some"},
        {"metadata": {}},
        {"metadata": {"RemoteAET": ""}},
        {"order_by": "KVP"},
        {"order_by": []},
        {"page": 0},
        {"columns": [3]},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(QueryError):
        plan("Series", **options)


def test_one_parent_is_left_to_a_server_that_knows_parents() -> None:
    found = plan("Instance", NEW, {"Modality": "CT"}, within=studies(A))
    assert found.body["ParentStudy"] == A
    assert found.inside is None


@pytest.mark.parametrize("capabilities", [OLD, MIDDLE, NEW])
def test_several_parents_become_their_uids_and_are_compared(capabilities: Capabilities) -> None:
    found = plan("Series", capabilities, within=studies(A, B, StudyInstanceUID=["1.2", "1.3"]))
    assert found.body["Query"] == {"StudyInstanceUID": "1.2\\1.3"}
    assert not any(field.startswith("Parent") for field in found.body)
    assert found.inside is not None
    assert found.inside.ids == {A, B}
    deeper = plan("Instance", capabilities, within=studies(A, B, StudyInstanceUID=["1.2", "1.3"]))
    assert "Series" in deeper.parents


def test_one_parent_on_an_old_server_is_never_sent_as_a_field_that_it_ignores() -> None:
    found = plan("Series", OLD, within=studies(A, StudyInstanceUID=["1.2"]))
    assert set(found.request()) <= PLAIN
    assert found.body["Query"] == {"StudyInstanceUID": "1.2"}


def test_parents_without_their_uids_are_refused_rather_than_ignored() -> None:
    with pytest.raises(QueryError, match="StudyInstanceUID"):
        plan("Series", OLD, within=studies(A))
    with pytest.raises(QueryError, match="StudyInstanceUID"):
        plan("Series", NEW, within=studies(A, B, StudyInstanceUID=["1.2", None]))
    with pytest.raises(QueryError, match="level"):
        plan("Series", NEW, within=Selection((A,)))


def test_a_wildcard_in_a_parents_identifier_is_not_let_loose() -> None:
    with pytest.raises(QueryError, match="complete"):
        plan("Study", OLD, within=patients("A*", "B"))
    assert plan("Study", OLD, within=patients("A", "B")).request()["Query"] == {"PatientID": "A\\B"}


def test_patient_ids_are_those_of_the_patients() -> None:
    right = patients("007", "  B")
    assert right.frame is not None
    shown = Selection(right.ids, "Patient", right.frame.assign(PatientID=["007", "B"]))  # as a find shows them
    assert plan("Series", within=shown).request()["Query"] == {"PatientID": "007\\  B"}
    lost = Selection(right.ids, "Patient", right.frame.assign(PatientID=["7", "B"]))  # from a CSV file
    with pytest.raises(QueryError, match="1 of 2 PatientIDs"):
        plan("Series", within=lost)


def test_two_columns_of_one_name_are_as_none() -> None:
    chosen = studies(A, B, StudyInstanceUID=["1.2", "1.3"])
    assert chosen.frame is not None
    twice = Selection(chosen.ids, "Study", pd.concat([chosen.frame, chosen.frame], axis=1))
    with pytest.raises(QueryError, match="StudyInstanceUID"):
        plan("Series", within=twice)


def test_what_lies_above_is_found_by_the_parents_that_the_frame_names() -> None:
    frame = pd.DataFrame(
        {"ParentStudy": [A, A], "StudyInstanceUID": ["1.2", "1.2"]}, index=pd.Index(["x", "y"], name="ID")
    )
    found = plan("Study", OLD, within=Selection(("x", "y"), "Series", frame))
    assert found.body["Query"] == {"StudyInstanceUID": "1.2"}
    assert found.inside is not None
    assert found.inside.ids == {A}
    with pytest.raises(QueryError, match="ParentStudy"):
        plan("Study", NEW, within=Selection(("x", "y"), "Series", frame[["StudyInstanceUID"]]))


def test_modalities_of_studies_are_found_by_series_where_the_server_miscounts_them() -> None:
    old = plan("Study", OLD, {"Modality": "CT", "StudyDate": "2021"}, limit=3)
    assert old.body["Level"] == "Series"
    assert old.body["Query"]["Modality"] == "CT"
    assert old.parents == ("Study", "Series")
    assert old.request()["Limit"] == 10_000
    assert old.ask("Study", [{"ID": "s1"}, {"ID": "s1"}], {}) == ["s1"]
    assert old.ask("Series", [{"ID": "s1"}], {"Study": {"t1": {}}}) == ["t1"]
    new = plan("Study", NEW, {"Modality": "CT"})
    assert new.body["Level"] == "Study"
    assert new.body["Query"] == {"ModalitiesInStudy": "CT"}
    assert new.paged


@pytest.mark.parametrize("capabilities", [OLD, NEW])
def test_modalities_of_patients_are_found_by_what_lies_below(capabilities: Capabilities) -> None:
    found = plan("Patient", capabilities, {"Modality": "CT"})
    assert found.lifted
    assert found.parents == ("Patient",)
    for options in ({"labels": ["a"]}, {"order_by": "LastUpdate"}, {"metadata": {"a": "b"}}):
        with pytest.raises(QueryError, match="modalities of a patient"):
            plan("Patient", NEW, {"Modality": "CT"}, **options)


def test_neither_repr_nor_explain_shows_a_value() -> None:
    found = plan("Study", NEW, {"PatientID": "SECRET", "PatientName": "SECRET*"})
    assert "SECRET" not in repr(found)
    assert "SECRET" not in str(found.explain())
    assert found.explain()["criteria"] == ["PatientID", "PatientName"]
