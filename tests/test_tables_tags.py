"""All tags of instances: nothing collides, nothing over-long is passed off as absent."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from orthanc_research.errors import QueryError
from orthanc_research.tables import issues, plan_tags, tags_frame, too_long
from orthanc_research.tables.values import SEQUENCE_CAP

SHORT: dict[str, Any] = {
    "0008,0000": "400",
    "0008,0008": "ORIGINAL\\PRIMARY",
    "0008,002a": "20200101101010.123456+0130",
    "0009,0010": "GEMS_IDEN_01",
    "0009,1027": "862399669",
    "0010,0010": "Doe^Peter",
    "0010,0020": "P1",
    "0018,0060": "120",
    "0018,9321": [{"0018,0060": "80", "0018,9087": "2"}, {"0018,0060": "90"}],
    "0028,0030": "0.5\\0.25",
    "6000,0010": "512",
    "6002,0010": "256",
    "7fe0,0010": None,
}


def test_all_public_elements_are_columns_in_the_order_of_tags() -> None:
    frame = tags_frame([("i1", "s1", SHORT)], plan_tags())
    assert frame.columns.tolist() == [
        "ParentSeries",
        "ImageType",
        "AcquisitionDateTime",
        "AcquisitionDateTime_utc_offset_min",
        "PatientName",
        "PatientID",
        "KVP",
        "CTExposureSequence",
        "PixelSpacing",
        "6000,0010",
        "6002,0010",
        "Private",
        "Issues",
    ]
    row = frame.loc["i1"]
    assert row["ParentSeries"] == "s1"
    assert row["AcquisitionDateTime"] == pd.Timestamp("2020-01-01 10:10:10.123456")
    assert row["AcquisitionDateTime_utc_offset_min"] == 90
    assert json.loads(str(row["CTExposureSequence"])) == SHORT["0018,9321"]
    assert json.loads(str(row["Private"])) == {"0009,0010": "GEMS_IDEN_01", "0009,1027": "862399669"}
    assert (row["6000,0010"], row["6002,0010"]) == (512, 256)


def test_chosen_columns_are_there_whatever_the_data() -> None:
    plan = plan_tags(
        ["KVP", "CTExposureSequence.KVP", "RequestAttributesSequence.ScheduledProcedureStepID", "0010,0020"]
    )
    frame = tags_frame([("i1", "s1", SHORT), ("i2", "s1", {})], plan)
    assert (frame["KVP"]["i1"], frame["CTExposureSequence.KVP"]["i1"]) == (120.0, 80.0)
    assert frame.loc["i1", "PatientID"] == "P1"
    assert frame.drop(columns="ParentSeries").isna().all(axis=1).tolist() == [False, True]
    pd.testing.assert_series_equal(frame.dtypes, tags_frame([], plan).dtypes)


def test_a_private_element_is_found_in_the_block_of_its_creator() -> None:
    plan = plan_tags([("0009,xx27", "GEMS_IDEN_01")])
    elsewhere = {"0009,0011": "GEMS_IDEN_01 ", "0009,1127": "7", "0009,1027": "somebody else's"}
    frame = tags_frame([("i1", "s", SHORT), ("i2", "s", elsewhere), ("i3", "s", {"0009,1027": "x"})], plan)
    assert frame["0009,xx27 GEMS_IDEN_01"].tolist()[:2] == ["862399669", "7"]
    assert frame["0009,xx27 GEMS_IDEN_01"].isna()["i3"]


@pytest.mark.parametrize(
    "column",
    ["PixelData", "StudyDat", "KVP.PatientID", ("0010,0020", "X"), ("0009,xx27", " "), 3, "CTExposureSequence.Foo"],
)
def test_what_is_no_column_is_refused(column: Any) -> None:
    with pytest.raises(QueryError):
        plan_tags([column])


def test_tags_that_can_be_long_are_asked_for_in_full_at_once() -> None:
    plan = plan_tags(["ImageComments", "StudyDate", "Rows", "PixelSpacing", "RequestAttributesSequence"])
    assert plan.ignore_length == ("0020-4000", "0028-0030")
    assert not plan.all


def test_null_of_text_or_numbers_is_over_long_and_null_of_bytes_is_not() -> None:
    rows: list[dict[str, Any]] = [
        {"0020,4000": None, "7fe0,0010": None, "0009,1001": None},
        {"0018,9321": [{"0008,0119": None}], "0018,0060": "1"},
    ]
    assert too_long(rows) == {"0020-4000", "0008-0119"}
    assert too_long(rows, plan_tags(["CTExposureSequence"])) == {"0008-0119"}
    assert too_long(rows, plan_tags(["KVP"])) == set()


def test_what_the_server_still_withholds_is_an_issue() -> None:
    for plan in (plan_tags(), plan_tags(["ImageComments"])):
        listed = issues(tags_frame([("i1", "s1", {"0020,4000": None}), ("i2", "s1", {})], plan))
        assert listed.index.tolist() == ["i1"]
        assert listed["Column"].tolist() == ["ImageComments"]
        assert "256 bytes" in listed["Issue"].iloc[0]


def test_an_unreadable_file_is_a_row_that_says_so() -> None:
    frame = tags_frame([("i1", "s1", None), ("i2", "s1", SHORT)], plan_tags())
    assert frame.index.tolist() == ["i1", "i2"]
    assert issues(frame)["Column"].tolist() == ["File"]


def test_a_sequence_over_the_cap_is_na_and_an_issue() -> None:
    frame = tags_frame([("i1", "s1", {"0018,9321": [{"0020,4000": "x" * SEQUENCE_CAP}]})], plan_tags())
    assert frame["CTExposureSequence"].isna()["i1"]
    assert issues(frame)["Column"].tolist() == ["CTExposureSequence"]


def test_hostile_shapes_raise_nothing() -> None:
    rows: list[tuple[str, str, dict[str, Any]]] = [
        ("i1", "s", {"nonsense": "x", "0018,9321": "text", "0010,0010": [{"a": None}], "0018,0060": {"x": 1}}),
        ("i2", "s", {"0018,9321": [None, "x"], "gggg,eeee": None, "0011,1001": None, "0008,9999": "unknown"}),
    ]
    frame = tags_frame(rows, plan_tags())
    assert frame.loc["i2", "0008,9999"] == "unknown"
    assert json.loads(str(frame.loc["i2", "Private"])) == {"0011,1001": None}
    tags_frame(rows, plan_tags(["CTExposureSequence.KVP"]))
