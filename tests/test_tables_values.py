"""What one value becomes, by the DICOM dictionary alone."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pandas as pd
import pytest
from dicom_values import KEYWORDS, VALID, anything, cells, is_blank, says, valid
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR

from orthanc_research.errors import QueryError
from orthanc_research.tables import column_type, columns_for
from orthanc_research.tables.columns import Problems, column_of, columns_of
from orthanc_research.tables.levels import FACTS_OF
from orthanc_research.tables.schema import FACTS, LEVELS


def one(name: str, value: Any) -> tuple[Any, str | None]:
    problems: Problems = {}
    found = pd.Series(column_of(name, [value], problems))
    cell = found.iloc[0]
    missing = not isinstance(cell, (list, str)) and bool(pd.isna(cell))
    return (None if missing else cell), (problems[0][0] if problems else None)


@pytest.mark.parametrize(
    ("name", "pandas", "arrow"),
    [
        ("StudyDate", "datetime64[s]", "date32[day]"),
        ("StudyTime", "time64[us][pyarrow]", "time64[us]"),
        ("AcquisitionDateTime", "datetime64[us]", "timestamp[us]"),
        ("PatientName", "str", "string"),
        ("ImageType", "str", "string"),
        ("FrameIncrementPointer", "str", "string"),
        ("KVP", "float64", "double"),
        ("B1rms", "float32", "float"),
        ("PixelSpacing", "list<item: double>[pyarrow]", "list<item: double>"),
        ("SeriesNumber", "Int64", "int64"),
        ("ReferencedFrameNumber", "list<item: int64>[pyarrow]", "list<item: int64>"),
        ("Rows", "Int32", "int32"),
        ("SmallestImagePixelValue", "Int32", "int32"),
        ("RequestAttributesSequence", "str", "string"),
        ("RadiopharmaceuticalInformationSequence.RadionuclideTotalDose", "float64", "double"),
        ("IsStable", "boolean", "bool"),
        ("LastUpdate", "datetime64[s]", "timestamp[us]"),
        ("FileSize", "Int64", "int64"),
        ("AcquisitionDateTime_utc_offset_min", "Int64", "int64"),
    ],
)
def test_a_column_has_the_type_of_its_vr_and_vm(name: str, pandas: str, arrow: str) -> None:
    column = column_type(name)
    assert str(pd.Series(column_of(name, [], {})).dtype) == pandas == str(pd.api.types.pandas_dtype(column.pandas))
    assert str(column.arrow) == arrow


def test_every_default_column_and_fact_has_a_type() -> None:
    for level in LEVELS:
        for name in (*columns_for(level), *FACTS_OF[level]):
            column_type(name)


@pytest.mark.parametrize("name", ["PixelData", "RedPaletteColorLookupTableData", "StudyDat", "Nonsense", "A B", ""])
def test_binary_elements_and_unknown_keywords_have_no_column(name: str) -> None:
    with pytest.raises(QueryError):
        column_type(name)


def test_an_unknown_keyword_is_answered_with_the_nearest() -> None:
    with pytest.raises(QueryError, match="did you mean StudyDate"):
        column_type("studydat")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("StudyDate", "20210305", pd.Timestamp("2021-03-05")),
        ("StudyDate", "2020.01.02", pd.Timestamp("2020-01-02")),
        ("StudyDate", " 20210305\0", pd.Timestamp("2021-03-05")),
        ("PatientBirthDate", "00010101", pd.Timestamp("0001-01-01")),
        ("StudyTime", "10", dt.time(10)),
        ("StudyTime", "1030", dt.time(10, 30)),
        ("StudyTime", "103015.5", dt.time(10, 30, 15, 500_000)),
        ("StudyTime", "10:30:15", dt.time(10, 30, 15)),
        ("AcquisitionDateTime", "20200101101010.25+0100", pd.Timestamp("2020-01-01 10:10:10.25")),
        ("AcquisitionDateTime", "20200101", pd.Timestamp("2020-01-01")),
        ("KVP", " 120 ", 120.0),
        ("KVP", "-.5e1", -5.0),
        ("SeriesNumber", "+7 ", 7),
        ("Rows", "65535", 65535),
        ("PatientName", "Doe^Peter ", "Doe^Peter"),
        ("PatientName", "Müller^Ä=山田^太郎", "Müller^Ä=山田^太郎"),
        ("ImageType", "ORIGINAL \\PRIMARY\0", "ORIGINAL\\PRIMARY"),
        ("ImageType", "ORIGINAL¥PRIMARY", "ORIGINAL\\PRIMARY"),
        ("ImageComments", "  indented \\ text  ", "  indented \\ text"),
        ("PixelSpacing", "0.5\\0.25", [0.5, 0.25]),
        ("PixelSpacing", "0.5¥0.25", [0.5, 0.25]),
        ("PixelSpacing", "0.5\\", [0.5, None]),
        ("ReferencedFrameNumber", "1\\2", [1, 2]),
        ("RequestAttributesSequence", [{"0040,0007": "é"}], '[{"0040,0007":"é"}]'),
        ("LastUpdate", "20261123T192552", pd.Timestamp("2026-11-23 19:25:52")),
        ("Labels", ["a", "b"], "a\\b"),
        ("FileSize", 4310, 4310),
    ],
)
def test_what_is_well_formed_is_read(name: str, value: Any, expected: Any) -> None:
    found, issue = one(name, value)
    assert (list(found) if isinstance(expected, list) else found) == expected
    assert issue is None


@pytest.mark.parametrize("name", ["StudyDate", "StudyTime", "KVP", "SeriesNumber", "PatientName", "PixelSpacing"])
@pytest.mark.parametrize("value", [None, "", "  ", "\0"])
def test_what_is_absent_is_na_and_no_issue(name: str, value: Any) -> None:
    assert one(name, value) == (None, None)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("StudyDate", "20240132", "not a date"),
        ("StudyDate", "20230229", "not a date"),
        ("StudyDate", "2024", "not a date"),
        ("StudyDate", "٢٠٢٤٠١٠١", "not a date"),
        ("StudyTime", "24", "not a time"),
        ("StudyTime", "235960", "leap second"),
        ("StudyTime", "10:3015", "not a time"),
        ("AcquisitionDateTime", "2020", "without its day"),
        ("AcquisitionDateTime", "20200101+9999", "not an offset"),
        ("KVP", "nan", "not a finite number"),
        ("KVP", "-inf", "not a finite number"),
        ("KVP", "1e999", "out of range"),
        ("KVP", "1,5", "not a number"),
        ("SeriesNumber", "1.5", "not a whole number"),
        ("SeriesNumber", "9" * 20, "out of range"),
        ("Rows", "-1", "out of range"),
        ("Rows", "65536", "out of range"),
        ("IsStable", "yes", "neither true nor false"),
        ("PatientName", {"a": 1}, "not a single value"),
        ("PixelSpacing", "a\\b", "an entry is not a number"),
        ("RequestAttributesSequence", [{"0040,0007": "x" * 70_000}], "more than 65536 characters of JSON"),
    ],
)
def test_what_does_not_parse_is_na_and_an_issue(name: str, value: Any, reason: str) -> None:
    found, issue = one(name, value)
    assert found is None
    assert issue is not None
    assert issue.startswith(f"{name}: ")
    assert reason in issue


def test_an_issue_never_holds_the_value() -> None:
    for name in ("StudyDate", "StudyTime", "KVP", "SeriesNumber", "PixelSpacing", "AcquisitionDateTime"):
        assert "DOE" not in (one(name, "DOE^JOHN")[1] or "")


def test_of_several_numbers_where_dicom_has_one_the_first_is_taken_and_said() -> None:
    assert one("KVP", "120\\80") == (120.0, "KVP: several values where DICOM has one, this is the first")


def test_a_bad_entry_of_a_list_leaves_its_neighbours_in_place() -> None:
    found, issue = one("ImagePositionPatient", "1\\x\\3")
    assert list(found) == [1.0, None, 3.0]
    assert issue == "ImagePositionPatient: an entry is not a number"


def test_what_is_no_unicode_is_kept_readable_and_said() -> None:
    found, issue = one("PatientName", "A\ud800B")
    assert found == "A?B"
    assert issue is not None


@pytest.mark.parametrize(("vr", "single"), sorted(KEYWORDS))
def test_values_that_dicom_allows_are_read_exactly_and_without_an_issue(vr: str, single: bool) -> None:
    @settings(max_examples=30, database=None)
    @given(st.lists(valid(vr, single), max_size=4))
    def holds(values: list[Any]) -> None:
        problems: Problems = {}
        column = column_of(KEYWORDS[vr, single], values, problems)
        assert not problems
        for value, cell in zip(values, cells(column), strict=True):
            assert (cell is None) == is_blank(value)
            assert cell is None or says(vr, single, value, cell)

    holds()


@pytest.mark.parametrize(("vr", "single"), sorted(KEYWORDS))
def test_of_no_value_anything_is_lost_without_an_issue(vr: str, single: bool) -> None:
    name = KEYWORDS[vr, single]

    @settings(max_examples=50, database=None)
    @given(st.lists(anything(vr, single), max_size=4))
    def holds(values: list[Any]) -> None:
        problems: Problems = {}
        column = pd.Series(column_of(name, values, problems))
        assert column.dtype == pd.api.types.pandas_dtype(column_type(name).pandas)
        for row, (value, cell) in enumerate(zip(values, cells(column), strict=True)):
            if row in problems:
                (sentence,) = problems[row]
                assert sentence.startswith(f"{name}: ")
                assert sentence.count(": ") == 1
                assert "; " not in sentence
            else:
                assert is_blank(value) if cell is None else says(vr, single, value, cell)

    holds()


def test_every_vr_that_a_table_can_hold_is_among_them() -> None:
    assert {vr for vr, _ in KEYWORDS} == set(VALID)
    every = {entry[0] for entry in DicomDictionary.values()}
    assert every - set(VALID) == {
        "OB",
        "OB or OW",
        "OD",
        "OF",
        "OL",
        "OV",
        "OW",
        "UN",
        "NONE",
        "US or OW",
        "US or SS or OW",
    }


@settings(max_examples=200)
@given(
    st.sampled_from(sorted({"ID", "Issues", *FACTS})),
    st.lists(
        st.one_of(st.none(), st.text(max_size=9), st.booleans(), st.integers(), st.floats(), st.lists(st.text())),
        max_size=4,
    ),
)
def test_no_fact_of_orthancs_raises_or_changes_a_dtype(name: str, values: list[Any]) -> None:
    problems: Problems = {}
    found = pd.Series(column_of(name, values, problems))
    assert found.dtype == pd.api.types.pandas_dtype(column_type(name).pandas)
    for row, (value, cell) in enumerate(zip(values, cells(found), strict=True)):
        assert cell is not None or is_blank(value) or row in problems


@pytest.mark.parametrize("name", ["PatientID", "StudyDescription", "PatientName", "StudyInstanceUID"])
def test_of_several_texts_where_dicom_has_one_nothing_is_cut_off(name: str) -> None:
    # Two patients "A\\B" and "A\\C" must not become one "A".
    assert one(name, "A\\B ") == ("A\\B", f"{name}: several values where DICOM has one, all are kept")


def test_free_text_holds_backslashes_without_an_issue() -> None:
    assert one("ImageComments", "A\\B") == ("A\\B", None)


def test_a_name_is_as_it_was_written_but_for_its_padding() -> None:
    assert one("PatientName", "  Doe ^J \0") == ("  Doe ^J", None)
    assert one("StudyDescription", "  Head ") == ("Head", None)


def test_a_number_too_small_to_be_held_is_not_zero() -> None:
    for name, value in (("KVP", "1e-400"), ("B1rms", "1e-60"), ("PixelSpacing", "0.000001e-999")):
        found, issue = one(name, value)
        assert found is None
        assert "out of range" in str(issue)
    assert one("KVP", "-0.00e5") == (0.0, None)


def test_a_sequence_is_json_or_an_issue_and_never_other_text() -> None:
    for value in ("text", {"0008,0100": "x"}, 5, True):
        found, issue = one("RequestAttributesSequence", value)
        assert found is None
        assert "not a sequence" in str(issue)
    assert one("Private", {"0009,0010": "X"}) == ('{"0009,0010":"X"}', None)
    assert "not an object" in str(one("Private", ["X"])[1])
    assert one("RequestAttributesSequence", []) == (None, None)


def test_a_sequence_nested_beyond_reason_is_an_issue() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [{"0040,a730": value}]
    found, issue = one("ContentSequence", value)
    assert found is None
    assert "nested too deep" in str(issue)
    while value:  # or freeing it recurses as deep
        value = value[0].popitem()[1]


def test_the_offset_of_a_moment_is_a_column_beside_it() -> None:
    values = ["20200101101010+0545", "20200101", None, "20200101+9999", "20200101-0100\\20200102"]
    problems: Problems = {}
    found = columns_of("AcquisitionDateTime", values, problems)
    assert list(found) == ["AcquisitionDateTime", "AcquisitionDateTime_utc_offset_min"]
    assert cells(found["AcquisitionDateTime_utc_offset_min"]) == [345, None, None, None, -60]
    assert set(problems) == {3, 4}
    assert list(columns_of("StudyDate", values, {})) == ["StudyDate"]
    empty = columns_of("AcquisitionDateTime", [], {})
    assert [str(each.dtype) for each in empty.values()] == ["datetime64[us]", "Int64"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_decimal_is_read_exactly(value: float) -> None:
    found, issue = one("KVP", repr(value))
    assert issue is None
    assert found == value or math.isclose(found, value, rel_tol=0)


def test_the_dictionary_is_pydicoms() -> None:
    assert dictionary_VR("StudyDate") == column_type("StudyDate").vr
