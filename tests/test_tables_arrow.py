"""Frames survive Arrow and parquet exactly, and other readers read them plainly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR

from orthanc_research.errors import QueryError
from orthanc_research.tables import column_type, empty_frame, from_arrow, plan_tags, tags_frame, to_arrow
from orthanc_research.tables.columns import column_of, frame_of
from orthanc_research.tables.schema import FACTS, LEVELS, is_binary

# For each VR that a table can hold, a keyword with one value and one with several, where the dictionary has both.
KEYWORDS = sorted(
    {
        (vr, vm == "1"): keyword
        for tag, (vr, vm, _, _, keyword) in DicomDictionary.items()
        if keyword and not is_binary(tag)
    }.values()
)

_number = st.one_of(
    st.integers(-(2**63), 2**64 - 1).map(str), st.floats(allow_nan=False, allow_infinity=False).map(repr)
)
_moment = st.datetimes(min_value=pd.Timestamp("1000-01-01").to_pydatetime())
_value = st.one_of(
    st.none(),
    st.text(max_size=12),
    _number,
    st.lists(_number, min_size=1, max_size=4).map("\\".join),
    _moment.map(lambda at: f"{at:%Y%m%d}"),
    _moment.map(lambda at: f"{at:%H%M%S.%f}"),
    _moment.map(lambda at: f"{at:%Y%m%d%H%M%S.%f}+0100"),
    _moment.map(lambda at: f"{at:%Y%m%dT%H%M%S}"),
    st.booleans(),
)


def frame_from(data: dict[str, list[Any]], rows: int) -> pd.DataFrame:
    problems: dict[int, list[str]] = {}
    columns = {name: column_of(name, values, problems) for name, values in data.items()}
    return frame_of([f"id{row}" for row in range(rows)], columns, problems)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.integers(0, 5))
    names = draw(st.lists(st.sampled_from([*KEYWORDS, *(set(FACTS) - {"ID", "Issues"})]), unique=True, max_size=12))
    return frame_from({name: draw(st.lists(_value, min_size=rows, max_size=rows)) for name in names}, rows)


def test_the_property_tests_meet_every_vr() -> None:
    met = {dictionary_VR(name) for name in KEYWORDS}
    assert met >= {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SQ"}
    assert met >= {"SS", "ST", "SV", "TM", "UC", "UI", "UL", "UR", "US", "UT", "UV", "US or SS"}
    assert len(KEYWORDS) > 40


@settings(max_examples=200, deadline=None)
@given(frames())
def test_a_frame_comes_back_from_arrow_as_it_was(frame: pd.DataFrame) -> None:
    table = to_arrow(frame)
    for name in frame.columns:
        assert table.schema.field(name).type == column_type(name).arrow
    pd.testing.assert_frame_equal(from_arrow(table), frame, check_exact=True)


@settings(max_examples=60, deadline=None)
@given(frames())
def test_a_frame_comes_back_from_parquet_as_it_was(frame: pd.DataFrame) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(to_arrow(frame), sink)
    stored = sink.getvalue()
    pd.testing.assert_frame_equal(from_arrow(pq.read_table(pa.BufferReader(stored))), frame, check_exact=True)
    plain = pd.read_parquet(pa.BufferReader(stored))
    assert plain.columns.tolist() == ["ID", *frame.columns]
    assert plain["ID"].tolist() == frame.index.tolist()
    for name in frame.columns:
        assert plain[name].isna().tolist() == frame[name].isna().tolist()


@pytest.mark.parametrize("level", LEVELS)
def test_an_empty_find_comes_back_with_its_dtypes_and_level(level: Any) -> None:
    frame = empty_frame(level)
    frame.attrs["orthanc"] = {"level": level, "url": "http://localhost", "client": "token"}
    back = from_arrow(to_arrow(frame))
    pd.testing.assert_frame_equal(back, frame)
    assert back.attrs == {"orthanc": {"level": level, "url": "http://localhost"}}


def test_the_file_says_what_dicom_says_of_each_column(tmp_path: Path) -> None:
    table = to_arrow(frame_from({"StudyDate": ["20210305"], "ParentStudy": ["x"]}, 1), {"note": "mine"})
    assert b"pandas" not in table.schema.metadata
    about = json.loads(table.schema.metadata[b"orthanc_research"])
    assert about["schema"] == 1
    assert about["note"] == "mine"
    assert about["columns"] == {"StudyDate": {"vr": "DA", "vm": "1", "tag": "0008,0020"}}
    pq.write_table(table, tmp_path / "x.parquet")
    plain = pd.read_parquet(tmp_path / "x.parquet")
    assert str(plain["StudyDate"].iloc[0]) == "2021-03-05"


def test_dictionary_encoded_and_large_columns_come_back_the_same() -> None:
    frame = frame_from({"Modality": ["CT", None, "CT"], "PixelSpacing": ["1\\2", None, "3"]}, 3)
    table = to_arrow(frame)
    encoded = table.set_column(1, "Modality", table.column("Modality").dictionary_encode())
    pd.testing.assert_frame_equal(from_arrow(encoded), frame)
    large = table.set_column(1, "Modality", table.column("Modality").cast(pa.large_string()))
    pd.testing.assert_frame_equal(from_arrow(large), frame)


def test_columns_of_the_users_own_and_changed_dtypes_are_kept() -> None:
    frame = frame_from({"StudyDate": ["20210305", None]}, 2)
    frame["score"] = [0.5, 1.5]
    frame["group"] = ["a", "b"]
    frame["StudyDate"] = frame["StudyDate"].astype("str")
    back = from_arrow(to_arrow(frame))
    assert back["score"].tolist() == [0.5, 1.5]
    assert back["StudyDate"].iloc[0] == "2021-03-05"
    assert back["group"].dtype == "str"


def test_two_columns_of_one_name_are_refused() -> None:
    frame = frame_from({"Modality": ["CT"]}, 1)
    with pytest.raises(QueryError, match="same name"):
        to_arrow(pd.concat([frame, frame], axis=1))


def test_tags_of_everything_come_back() -> None:
    tags = {
        "0008,002a": "20200101+0100",
        "0009,0010": "X",
        "0028,0009": "0018,1063",
        "0008,9999": "?",
        "6000,0010": "3",
    }
    frame = tags_frame([("i1", "s1", tags), ("i2", "s1", None)], plan_tags())
    pd.testing.assert_frame_equal(from_arrow(to_arrow(frame)), frame)
