"""Frames survive Arrow and parquet exactly, and other readers read them plainly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dicom_values import KEYWORDS, anything, cells, valid
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR

import orthanc_research as ores
from orthanc_research.errors import DatasetError, QueryError
from orthanc_research.tables import column_type, empty_frame, from_arrow, plan_tags, tags_frame, to_arrow
from orthanc_research.tables.columns import column_of, frame_of
from orthanc_research.tables.schema import FACTS, LEVELS


def frame_from(data: dict[str, list[Any]], rows: int) -> pd.DataFrame:
    problems: dict[int, list[str]] = {}
    columns = {name: column_of(name, values, problems) for name, values in data.items()}
    return frame_of([f"id{row}" for row in range(rows)], columns, problems)


FACT_VALUES = st.one_of(
    st.none(), st.text(max_size=9), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.just("20261123T192552")
)


@st.composite
def frames(draw: st.DrawFn, names: list[str] | None = None) -> pd.DataFrame:
    """Columns of any VR and of Orthanc's own, with values that DICOM allows and others, and some of them missing."""
    rows = draw(st.integers(0, 5))
    chosen = names or draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=12))
    return frame_from({name: draw(st.lists(values_of(name), min_size=rows, max_size=rows)) for name in chosen}, rows)


OF = {keyword: key for key, keyword in KEYWORDS.items()}
NAMES = sorted({*OF, *(set(FACTS) - {"ID", "Issues"})})


def values_of(name: str) -> st.SearchStrategy[Any]:
    return st.one_of(valid(*OF[name]), anything(*OF[name])) if name in OF else FACT_VALUES


def test_the_property_tests_meet_every_vr() -> None:
    met = {dictionary_VR(name) for name in NAMES if name in OF}
    assert met >= {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SQ"}
    assert met >= {"SS", "ST", "SV", "TM", "UC", "UI", "UL", "UR", "US", "UT", "UV", "US or SS"}
    assert len(OF) > 40


@settings(max_examples=80)
@given(frames())
def test_a_frame_comes_back_from_arrow_as_it_was(frame: pd.DataFrame) -> None:
    table = to_arrow(frame)
    for name in frame.columns:
        assert table.schema.field(name).type == column_type(name).arrow
    pd.testing.assert_frame_equal(from_arrow(table), frame, check_exact=True)


@settings(max_examples=80)
@given(frames())
def test_a_frame_comes_back_from_both_parquet_readers_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, frame: pd.DataFrame
) -> None:
    path = ores.write_table(frame, tmp_path_factory.mktemp("parquet") / "t.parquet")
    pd.testing.assert_frame_equal(ores.read_parquet(path), frame, check_exact=True)
    plain = pd.read_parquet(path)
    exact = pd.read_parquet(path, dtype_backend="pyarrow")
    assert plain.columns.tolist() == exact.columns.tolist() == ["ID", *frame.columns]
    assert plain["ID"].tolist() == frame.index.tolist()
    for name in frame.columns:
        mine = [_as_read(name, value) for value in cells(frame[name])]
        assert cells(exact[name]) == mine
        if column_type(name).kind in ("int", "ints") and frame[name].isna().any() | (column_type(name).kind == "ints"):
            # pandas has doubles for whole numbers with gaps, unless asked for others.
            mine = [[_double(each) for each in value] if isinstance(value, list) else _double(value) for value in mine]
            assert [
                [_double(each) for each in v] if isinstance(v, list) else _double(v) for v in cells(plain[name])
            ] == mine
        else:
            assert cells(plain[name]) == mine


def _double(value: int | None) -> float | None:
    return None if value is None else float(value)


def _as_read(name: str, value: Any) -> Any:
    return value.date() if value is not None and column_type(name).kind == "date" else value


@settings(max_examples=40)
@given(st.data())
def test_joining_frames_of_any_values_changes_no_dtype_and_no_value(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=8))
    parts = [data.draw(frames([*names, "Modality"])) for _ in range(data.draw(st.integers(2, 3)))]
    whole = pd.concat(parts)
    pd.testing.assert_series_equal(whole.dtypes, parts[0].dtypes)
    assert (whole.index.dtype, whole.index.name) == (parts[0].index.dtype, "ID")
    for name in whole.columns:
        assert cells(whole[name]) == [value for part in parts for value in cells(part[name])]


@pytest.mark.parametrize("order", [1, -1])
def test_a_column_that_one_of_two_frames_lacks_keeps_its_dtype_when_they_are_joined(order: int) -> None:
    frame = frame_from({name: [None, None] for name in NAMES}, 2)
    for fewer in (frame[["Issues"]], frame[["Issues"]].iloc[:0], frame.iloc[:0]):
        whole = pd.concat([frame, fewer][::order])
        assert {name: whole[name].dtype for name in frame} == frame.dtypes.to_dict()


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


def test_columns_of_the_users_own_and_changed_dtypes_come_back_as_they_were() -> None:
    frame = frame_from({"StudyDate": ["20210305", None], "Rows": ["512", None], "FileSize": [4310, 1]}, 2)
    frame["score"] = [0.5, 1.5]
    frame["group"] = ["a", "b"]
    frame["fold"] = pd.Categorical(["x", None])
    frame["seen"] = pd.array([2**60 + 1, None], dtype="Int64")
    frame["whole"] = pd.array([1, 2], dtype="Int16")
    frame["good"] = pd.array([True, None], dtype="boolean")
    frame["when"] = pd.DatetimeIndex(["2021-03-05 10:30", "NaT"]).astype("datetime64[s]")
    frame["zone"] = pd.DatetimeIndex(["2021-03-05 10:30", "NaT"]).tz_localize("Europe/Brussels")
    frame["age"] = (frame["when"] - frame["StudyDate"]).astype("timedelta64[s]")
    frame["Rows"] = frame["Rows"].astype("float64")
    frame["FileSize"] = frame["FileSize"].astype("int32")
    pd.testing.assert_frame_equal(from_arrow(to_arrow(frame)), frame)
    sink = pa.BufferOutputStream()
    pq.write_table(to_arrow(frame), sink)
    pd.testing.assert_frame_equal(from_arrow(pq.read_table(pa.BufferReader(sink.getvalue()))), frame)
    frame["StudyDate"] = frame["StudyDate"].astype("str")
    assert from_arrow(to_arrow(frame))["StudyDate"].iloc[0] == "2021-03-05"


def test_a_time_of_day_that_somebody_put_into_a_date_is_kept() -> None:
    frame = frame_from({"StudyDate": ["20210305"]}, 1)
    frame["StudyDate"] += pd.Timedelta(hours=10)
    pd.testing.assert_frame_equal(from_arrow(to_arrow(frame)), frame)


@pytest.mark.parametrize("names", [["Modality"], ["Modality", "StudyDate"]])
def test_any_named_index_comes_back_and_is_a_column_on_disk(names: list[str]) -> None:
    frame = frame_from({"Modality": ["CT", None], "StudyDate": ["20210305", None], "Rows": ["1", None]}, 2)
    frame = frame.reset_index().set_index(names)
    table = to_arrow(frame)
    assert table.column_names[: len(names)] == names
    pd.testing.assert_frame_equal(from_arrow(table), frame)


def test_an_index_that_would_be_lost_is_refused_and_row_numbers_are_not() -> None:
    frame = frame_from({"Rows": ["1", "2"]}, 2)
    with pytest.raises(QueryError, match="has no name"):
        to_arrow(frame.describe())
    assert to_arrow(frame.reset_index(drop=True).iloc[1:]).column_names == ["Rows", "Issues"]
    assert from_arrow(to_arrow(frame.reset_index(drop=True))).index.tolist() == [0, 1]


def test_a_column_of_mixed_kinds_is_refused_without_showing_what_it_holds() -> None:
    frame = frame_from({"Rows": ["1", "2"]}, 2)
    frame["note"] = pd.Series([1, "DOE^JOHN"], index=frame.index, dtype=object)
    with pytest.raises(QueryError, match="note mixes kinds") as caught:
        to_arrow(frame)
    assert "DOE" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_file_whose_metadata_is_not_ours_is_an_error_of_ours(tmp_path: Path) -> None:
    for number, about in enumerate((b"[]", b"{", b'{"dtypes": {"x": "Int64"}}')):
        table = pa.table({"x": ["a"]}).replace_schema_metadata({b"orthanc_research": about})
        pq.write_table(table, tmp_path / f"{number}.parquet")
        with pytest.raises(DatasetError, match="damaged, or not a parquet file of this package"):
            ores.read_parquet(tmp_path / f"{number}.parquet")


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
