"""Criteria are Python values; what Orthanc would misread is refused before anything is sent."""

from __future__ import annotations

import datetime as dt
from contextlib import nullcontext
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_research.errors import QueryError
from orthanc_research.tables import Level, parse_criteria
from orthanc_research.tables.schema import LEVELS


def tag(value: Any, keyword: str = "StudyDate", level: Level = "Study") -> str:
    return parse_criteria(level, {keyword: value}).tags[keyword]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2021", "20210101-20211231"),
        ("2024-02", "20240201-20240229"),
        ("2021-03-05", "20210305"),
        ("20210305", "20210305"),
        (dt.date(2021, 3, 5), "20210305"),
        (dt.datetime(2021, 3, 5, 12), "20210305"),  # noqa: DTZ001 - DICOM dates have no zone
        (pd.Timestamp("2021-03-05"), "20210305"),
        (np.datetime64("2021-03-05"), "20210305"),
        (np.datetime64("2021-03"), "20210301-20210331"),
        (("2021-01-01", "2021-06-30"), "20210101-20210630"),
        (("2021-01", "2021-06"), "20210101-20210630"),
        (("2021", None), "20210101-"),
        ((None, dt.date(2021, 1, 1)), "-20210101"),
        ("20200101-", "20200101-"),
        ("-20201231", "-20201231"),
        ("20200101-20201231", "20200101-20201231"),
        (["2021-01-01", "20210102", "2021-01-01"], "20210101\\20210102"),
        ("20210101\\20210102", "20210101\\20210102"),
        (["2021"], "20210101-20211231"),
        (pd.Series(pd.to_datetime(["2021-01-01", "2021-01-02"])), "20210101\\20210102"),
    ],
)
def test_dates_are_written_as_dicom_does(value: Any, expected: str) -> None:
    assert tag(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "2021-13",
        "2021-02-30",
        "20240132",
        "tomorrow",
        "2021*",
        "202103",
        "-",
        (None, None),
        ("2021", "2020"),
        ["2021", "2022"],
        ["20200101-20200201", "20210101"],
        ("2021-01-01", ""),
        20210101,
        pd.NaT,
        np.datetime64("NaT"),
        True,
        {"a": 1},
    ],
)
def test_what_is_no_date_is_refused(value: Any) -> None:
    with pytest.raises(QueryError, match="StudyDate"):
        tag(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("10", "10-105959.999999"),
        ("10:30", "1030-103059.999999"),
        ("103015", "103015-103015.999999"),
        ("103015.25", "103015.25-103015.259999"),
        (dt.time(10, 30), "1030-103000.999999"),
        (dt.time(0, 0, 7), "000007-000007.999999"),
        (dt.time(10, 30, 15, 500_000), "103015.5-103015.500000"),
        (("08:00", "12:00"), "08-120059.999999"),
        (("08:00", None), "08-"),
        (("00:00", None), "00-"),
        ("0800-1200", "08-120059.999999"),
    ],
)
def test_times_reach_from_their_shortest_form_to_their_last_microsecond(value: Any, expected: str) -> None:
    assert tag(value, "StudyTime") == expected


@pytest.mark.parametrize("value", ["24", "10:60", "noon", ["10:00", "11:00"], "10*"])
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(QueryError, match="StudyTime"):
        tag(value, "StudyTime")


@pytest.mark.parametrize("keyword", ["PatientID", "StudyDate", "Modality", "SeriesNumber", "KVP", "StudyTime"])
@pytest.mark.parametrize("value", [None, "", "  ", "*", "**", float("nan"), pd.NA, [None], ["CT", ""], "CT\\"])
def test_an_empty_value_would_match_everything_and_is_refused(keyword: str, value: Any) -> None:
    with pytest.raises(QueryError):
        parse_criteria("Series", {keyword: value})


@pytest.mark.parametrize("value", ["\t", "\n", "\u00a0", "\u3000", "*\u3000", ["CT", "\t"], "CT\\\u3000"])
def test_of_white_space_nothing_is_left_and_it_is_refused(value: Any) -> None:
    for keyword, each in (("Modality", value), ("PatientName", value), ("PatientID", value)):
        with pytest.raises(QueryError, match="match everything"):
            parse_criteria("Series", {keyword: each})
    if isinstance(value, str):
        with pytest.raises(QueryError):
            parse_criteria("Series", {}, {"0009,1001": value.rpartition("\\")[2]})


@pytest.mark.parametrize("value", [np.float32("nan"), np.float16("nan"), np.array([1, np.nan], dtype="float32")])
def test_no_number_of_any_size_is_refused(value: Any) -> None:
    with pytest.raises(QueryError, match="match everything"):
        parse_criteria("Series", {"SliceThickness": value})


@pytest.mark.parametrize("value", [[], (), set(), np.array([]), pd.Series([], dtype="str"), pd.Index([])])
def test_an_empty_list_matches_nothing_without_a_request(value: Any) -> None:
    assert parse_criteria("Series", {"Modality": value, "PatientID": "A"}).empty


@pytest.mark.parametrize("value", [["CT", "MR"], ("CT", "MR"), {"CT", "MR"}, pd.Series(["CT", "MR"]), "CT\\MR"])
def test_a_list_is_any_of_them_whatever_holds_it(value: Any) -> None:
    assert tag(value, "Modality", "Series") == "CT\\MR"


def test_numbers_are_numbers() -> None:
    assert tag(3, "SeriesNumber", "Series") == "3"
    assert tag(np.int64(3), "SeriesNumber", "Series") == "3"
    assert tag(3.0, "SeriesNumber", "Series") == "3"
    assert tag([1, 2], "SeriesNumber", "Series") == "1\\2"
    assert tag("120", "KVP", "Series") == "120"
    assert tag(12345, "PatientID") == "12345"
    assert tag(np.array(3), "SeriesNumber", "Series") == "3"


def test_a_decimal_is_asked_for_in_every_usual_spelling() -> None:
    spellings = tag(2.5, "SliceThickness", "Series").split("\\")
    assert {"2.5", "2.50", "2.500000"} <= set(spellings)
    assert {float(text) for text in spellings} == {2.5}
    assert {"1", "1.0", "1.00"} <= set(tag(1, "SliceThickness", "Series").split("\\"))
    assert {"0.5", ".5", "0.5000000000"} <= set(tag(0.5, "SliceThickness", "Series").split("\\"))


@pytest.mark.parametrize("value", [0.1, "0.1", np.float64(0.1)])
def test_a_binary_number_is_asked_for_as_orthanc_writes_it(value: Any) -> None:
    assert "0.10000000000000001" in tag(value, "DiffusionBValue", "Series").split("\\")
    assert "0.10000000149011612" in tag(value, "ExaminedBodyThickness", "Series").split("\\")  # 32 bits


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SeriesNumber", "1-3"),
        ("SeriesNumber", 1.5),
        ("SeriesNumber", "1*"),
        ("SeriesNumber", True),
        ("KVP", "120*"),
        ("KVP", "abc"),
        ("KVP", float("inf")),
        ("SeriesInstanceUID", "1.2.*"),
        ("SeriesInstanceUID", "abc"),
        ("SeriesInstanceUID", "1" * 65),
        ("PatientAge", "04?Y"),
        ("PatientAge", 40),
        ("PatientAge", "40"),
        ("PatientAge", "040Y-060Y"),
        ("PixelSpacing", 0.5),
        ("PixelSpacing", [0.5, 0.5]),
        ("ImageType", "ORIGINAL"),
        ("ImageType", "ORIGINAL\\PRIMARY"),
        ("PatientID", 1.5),
        ("PatientID", "a\nb"),
        ("PatientID", "a\x00b"),
        ("PatientID", "a\ud800"),
        ("PatientID", "x" * 2000),
        ("PatientID", b"a"),
        ("PatientID", dt.date(2020, 1, 1)),
        ("PatientName", ["DOE*", "ROE"]),
        ("PixelData", "x"),
        ("RequestAttributesSequence", "x"),
    ],
)
def test_values_that_are_none_of_their_vr_are_refused(keyword: str, value: Any) -> None:
    with pytest.raises(QueryError) as caught:
        parse_criteria("Series", {keyword: value})
    assert keyword in str(caught.value)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("SliceThickness", (0, 1.5)), ("KVP", (None, 120)), ("SeriesNumber", (1, 5)), ("PatientAge", ("018Y", "065Y"))],
)
def test_from_and_to_are_not_taken_for_two_values(keyword: str, value: Any) -> None:
    with pytest.raises(QueryError, match=rf"{keyword}: Orthanc has no ranges .* orthanc\.tags"):
        parse_criteria("Series" if keyword != "PatientAge" else "Study", {keyword: value})
    assert tag([1, 5, 7], "SeriesNumber", "Series") == tag((1, 5, 7), "SeriesNumber", "Series") == "1\\5\\7"


def test_wildcards_go_where_dicom_has_them() -> None:
    assert tag("DOE*", "PatientName") == "DOE*"
    assert tag("A?1", "PatientID") == "A?1"
    assert tag("*ORIGINAL*", "ImageType", "Series") == "*ORIGINAL*"


def test_a_message_names_the_keyword_and_never_the_value() -> None:
    for keyword, value in (("StudyDate", "SECRET"), ("SeriesNumber", "SECRET"), ("StudyInstanceUID", "SECRET")):
        with pytest.raises(QueryError) as caught:
            parse_criteria("Series", {keyword: value})
        assert "SECRET" not in str(caught.value)
    assert "SECRET" not in repr(parse_criteria("Study", {"PatientID": "SECRET"}))


@pytest.mark.parametrize(
    ("keyword", "hint"), [("StudyDat", "StudyDate"), ("modality", "Modality"), ("PatientsName", "PatientName")]
)
def test_an_unknown_keyword_is_answered_with_the_nearest(keyword: str, hint: str) -> None:
    with pytest.raises(QueryError, match=f"did you mean {hint}"):
        parse_criteria("Study", {keyword: "x"})


@pytest.mark.parametrize(
    ("level", "keyword", "home"),
    [
        ("Study", "SOPInstanceUID", "Instance"),
        ("Study", "SeriesDescription", "Series"),
        ("Patient", "StudyDate", "Study"),
        ("Study", "KVP", "Series"),
        ("Series", "InstanceNumber", "Instance"),
    ],
)
def test_a_tag_of_a_level_below_is_refused_with_its_level(level: Level, keyword: str, home: str) -> None:
    with pytest.raises(QueryError, match=f"belongs to the {home} level"):
        parse_criteria(level, {keyword: "1"})
    # match may ask for what one file of the study says, but not for what the index would answer with nothing.
    with nullcontext() if keyword == "KVP" else pytest.raises(QueryError):
        parse_criteria(level, {}, {keyword: "1"})


@pytest.mark.parametrize("keyword", ["NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances"])
def test_what_the_server_counts_is_no_criterion(keyword: str) -> None:
    with pytest.raises(QueryError, match="filter the DataFrame"):
        parse_criteria("Series", {keyword: "1"})


def test_modality_of_studies_and_patients_is_sent_as_modalities_in_study() -> None:
    assert parse_criteria("Study", {"Modality": "CT"}).tags == {"ModalitiesInStudy": "CT"}
    assert parse_criteria("Patient", {"Modality": ["CT", "MR"]}).tags == {"ModalitiesInStudy": "CT\\MR"}
    assert parse_criteria("Series", {"Modality": "CT"}).tags == {"Modality": "CT"}
    with pytest.raises(QueryError, match="twice"):
        parse_criteria("Study", {"Modality": "CT", "ModalitiesInStudy": "MR"})
    with pytest.raises(QueryError, match="ask for Modality"):
        parse_criteria("Series", {"ModalitiesInStudy": "CT"})


def test_identifiers_are_compared_by_case_and_names_are_not() -> None:
    query = parse_criteria(
        "Study", {"PatientID": "aB1", "PatientName": "doe", "AccessionNumber": "X*", "StudyID": "12"}
    )
    assert query.exact == ("PatientID", "AccessionNumber")


@pytest.mark.parametrize("key", ["0009,1001", "(0009,1001)", "0009-1001", "00091001", 0x00091001])
def test_match_takes_odd_tags_as_they_are(key: Any) -> None:
    assert parse_criteria("Series", {}, {key: "GE*"}).tags == {"0009,1001": "GE*"}


def test_match_knows_public_tags_by_name() -> None:
    assert parse_criteria("Instance", {}, {"0010,1010": "045Y", "KVP": 120}).tags == {
        "PatientAge": "045Y",
        "KVP": "120",
    }


@pytest.mark.parametrize("value", ["", None, "a\nb", ["a"]])
def test_match_refuses_what_would_match_everything(value: Any) -> None:
    with pytest.raises(QueryError):
        parse_criteria("Series", {}, {"0009,1001": value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("StudyDate", "-"),
        ("StudyTime", " - "),
        ("PatientName", "DOE\\"),
        ("0009,1001", "A\\*"),
        ("PatientName", "DOE*\\ROE"),
    ],
)
def test_match_refuses_open_ranges_and_lists_with_gaps_or_wildcards(key: str, value: str) -> None:
    with pytest.raises(QueryError):
        parse_criteria("Series", {}, {key: value})
    assert parse_criteria("Series", {}, {"0009,1001": "-"}).tags == {"0009,1001": "-"}


def test_a_criterion_twice_is_refused() -> None:
    with pytest.raises(QueryError, match="twice"):
        parse_criteria("Study", {"PatientID": "A"}, {"0010,0020": "B"})


@given(
    st.sampled_from(LEVELS),
    st.sampled_from(
        ["PatientID", "PatientName", "StudyDate", "StudyTime", "Modality", "SeriesNumber", "KVP", "SOPInstanceUID"]
    ),
    st.recursive(
        st.one_of(
            st.none(),
            st.text(max_size=20),
            st.integers(),
            st.floats(),
            st.booleans(),
            st.dates(),
            st.times(),
            st.datetimes(),
        ),
        lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
        max_leaves=4,
    ),
)
def test_whatever_is_asked_is_a_query_or_a_query_error_and_never_empty(level: Level, keyword: str, value: Any) -> None:
    try:
        query = parse_criteria(level, {keyword: value})
    except QueryError:
        return
    assert query.empty or all(text.strip(" *\\-") for text in query.tags.values())
