"""Columns as NumPy arrays: a dtype that no data changes, NaN for NA, and no number that is another one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from dicom_values import KEYWORDS, anything, cells
from hypothesis import given, settings
from hypothesis import strategies as st

import orthanc_research as ores
from orthanc_research.errors import QueryError
from orthanc_research.tables import column_type, empty_frame
from orthanc_research.tables.columns import column_of, frame_of


def frame_from(data: dict[str, list[Any]]) -> pd.DataFrame:
    problems: dict[int, list[str]] = {}
    rows = len(next(iter(data.values())))
    columns = {name: column_of(name, values, problems) for name, values in data.items()}
    return frame_of([f"id{row}" for row in range(rows)], columns, problems)


FRAME = frame_from(
    {
        "PatientName": ["Doe^Peter", None],
        "StudyDate": ["20210305", None],
        "StudyTime": ["103015.5", None],
        "AcquisitionDateTime": ["20210305103015.000001", None],
        "KVP": ["120.5", None],
        "B1rms": ["0.1", None],
        "Rows": ["512", None],
        "IsStable": [True, None],
        "PixelSpacing": ["0.5\\0.25", None],
        "ImagePositionPatient": ["1\\x\\3", None],
        "WindowCenter": ["40\\80\\120", None],
    }
)


def test_numbers_are_a_matrix_of_doubles_with_nan() -> None:
    matrix = ores.to_numpy(FRAME, ["Rows", "ImagePositionPatient", "KVP", "IsStable"])
    assert matrix.dtype == np.float64
    assert matrix.flags.c_contiguous
    assert np.array_equal(matrix, [[512, 1, np.nan, 3, 120.5, 1], [np.nan] * 6], equal_nan=True)
    assert ores.to_numpy(FRAME, "Rows").shape == (2, 1)
    assert ores.to_numpy(FRAME, []).shape == (2, 0)


def test_without_names_it_is_every_column_of_numbers() -> None:
    names = ["KVP", "B1rms", "Rows", "IsStable", "PixelSpacing", "ImagePositionPatient"]
    assert np.array_equal(ores.to_numpy(FRAME), ores.to_numpy(FRAME, names), equal_nan=True)
    assert ores.to_numpy(FRAME).shape == (2, 4 + 2 + 3)


def test_the_shape_is_the_dictionarys_and_not_the_datas() -> None:
    for frame in (FRAME.iloc[:0], FRAME.iloc[1:], FRAME):
        assert ores.to_numpy(frame, ["ImagePositionPatient", "PixelSpacing"]).shape == (len(frame), 5)
    for level in ("Patient", "Study", "Series", "Instance"):
        assert ores.to_numpy(empty_frame(level)).shape[0] == 0


@pytest.mark.parametrize("name", ["PatientName", "StudyDate", "StudyTime", "AcquisitionDateTime"])
def test_what_is_no_number_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(QueryError, match=f"^{name} holds no numbers; leave it out, or ask for structured=True.$"):
        ores.to_numpy(FRAME, ["KVP", name])


def test_lists_of_any_length_and_rows_of_a_wrong_length_are_refused() -> None:
    with pytest.raises(QueryError, match=r"take one of them, as in frame\['WindowCenter'\].list\[0\]"):
        ores.to_numpy(FRAME, ["WindowCenter"])
    assert FRAME["WindowCenter"].list[0].tolist()[0] == 40.0
    with pytest.raises(QueryError, match="has not the 3 values"):
        ores.to_numpy(frame_from({"ImagePositionPatient": ["1\\2", "1\\2\\3"]}))
    with pytest.raises(QueryError, match="no column 'Modality'"):
        ores.to_numpy(FRAME, ["Modality"])


def test_no_whole_number_becomes_another_one() -> None:
    frame = frame_from({"SeriesNumber": [str(2**53), None]})
    assert ores.to_numpy(frame)[0, 0] == 2**53
    for value in (2**53 + 1, -(2**53) - 1):
        frame = frame_from({"SeriesNumber": [str(value)]})
        with pytest.raises(QueryError, match=r"beyond 2\*\*53") as caught:
            ores.to_numpy(frame)
        assert str(value) not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_structured_array_has_a_field_for_each_column() -> None:
    array = ores.to_numpy(FRAME.drop(columns="WindowCenter"), structured=True)
    assert array.shape == (2,)
    assert {name: str(array.dtype[name].base) for name in array.dtype.names or ()} == {
        "ID": "<U3",
        "PatientName": "<U9",
        "StudyDate": "datetime64[s]",
        "StudyTime": "timedelta64[us]",
        "AcquisitionDateTime": "datetime64[us]",
        "KVP": "float64",
        "B1rms": "float32",
        "Rows": "float64",
        "IsStable": "float64",
        "PixelSpacing": "float64",
        "ImagePositionPatient": "float64",
        "Issues": "<U46",
    }
    assert array["ID"].tolist() == ["id0", "id1"]
    assert array["PatientName"].tolist() == ["Doe^Peter", ""]
    assert array["StudyDate"][0] == np.datetime64("2021-03-05")
    assert array["StudyTime"][0] == np.timedelta64((10 * 60 + 30) * 60_000_000 + 15_500_000, "us")
    assert np.isnat(array["StudyDate"][1])
    assert np.isnat(array["StudyTime"][1])
    assert array["PixelSpacing"].tolist()[0] == [0.5, 0.25]
    assert array["ImagePositionPatient"].shape == (2, 3)


def test_a_structured_array_takes_names_and_the_index_among_them() -> None:
    array = ores.to_numpy(FRAME, ["Rows", "ID"], structured=True)
    assert array.dtype.names == ("Rows", "ID")
    with pytest.raises(QueryError, match="one name for each"):
        ores.to_numpy(FRAME, ["Rows", "Rows"], structured=True)
    with pytest.raises(QueryError, match="no fixed number"):
        ores.to_numpy(FRAME, structured=True)
    assert ores.to_numpy(FRAME.iloc[:0], ["StudyTime", "PatientName"], structured=True).shape == (0,)


def test_columns_of_the_users_own_are_taken_too() -> None:
    frame = FRAME.assign(label=[1, 2], mask=[True, False], gap=FRAME["StudyDate"] - FRAME["StudyDate"].min())
    frame["group"] = pd.Categorical(["a", "b"])
    assert ores.to_numpy(frame, ["label", "mask"]).tolist() == [[1.0, 1.0], [2.0, 0.0]]
    array = ores.to_numpy(frame, ["label", "mask", "gap"], structured=True)
    assert [str(array.dtype[name]) for name in array.dtype.names or ()] == ["int64", "bool", "timedelta64[s]"]
    assert ores.to_numpy(FRAME.describe()).shape[0] == 8
    frame["odd"] = pd.Series([object(), 1], index=frame.index, dtype=object)
    with pytest.raises(QueryError, match="no NumPy type"):
        ores.to_numpy(frame, ["odd"], structured=True)


def test_text_that_would_fill_the_memory_is_refused() -> None:
    frame = pd.DataFrame({"x": ["a"] * 1000 + ["b" * 300_000]})
    with pytest.raises(QueryError, match="300000 characters"):
        ores.to_numpy(frame, structured=True)


@settings(max_examples=60)
@given(st.data())
def test_of_any_values_the_array_says_what_the_frame_says(data: st.DataObject) -> None:
    vr, single = data.draw(st.sampled_from(sorted(KEYWORDS)))
    name = KEYWORDS[vr, single]
    values = data.draw(st.lists(anything(vr, single), max_size=4))
    frame = frame_from({name: values or [None]})
    try:
        (field,) = (ores.to_numpy(frame, [name], structured=True)[name],)
    except QueryError:
        assert column_type(name).kind in ("floats", "ints", "int")
        return
    for mine, theirs in zip(field.tolist(), cells(frame[name]), strict=True):
        if theirs is None:
            assert mine in ("", None) or np.all(np.isnan(mine))
        elif column_type(name).kind in ("floats", "ints"):
            assert [None if each != each else each for each in mine] == theirs
        elif column_type(name).kind == "time":
            assert (pd.Timestamp(0) + mine).time() == theirs
        else:
            assert mine == theirs
