"""Ordinary pandas works on a find of any level: nobody has to learn other types to ask a question.

Numbers of which DICOM has several (PixelSpacing) are the one kind that pandas does not compare: it refuses, and what
to do instead is a test here.
"""

from __future__ import annotations

import datetime as dt
import json
import timeit
from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from orthanc_research.tables import column_type, columns_for
from orthanc_research.tables.columns import columns_of, frame_of
from orthanc_research.tables.levels import FACTS_OF
from orthanc_research.tables.schema import LEVELS, Level

VALUES: dict[str, list[Any]] = {
    "date": ["20210305", "20220101", "2021", None, "20210305", "20231231"],
    "time": ["103015", "24", "080000.5", None, "103015", "235959"],
    "datetime": ["20210305103015", "20220101", "x", None, "20210305103015+0100", "20231231"],
    "stamp": ["20261123T192552", "20261123T192553", "x", None, "20261123T192552", "20261124T000000"],
    "float": ["1.5", "120", "x", None, "1.5", "-3"],
    "float32": ["1.5", "120", "x", None, "1.5", "-3"],
    "int": ["1", "512", "x", None, "1", "7"],
    "bool": [True, False, "x", None, True, True],
    "text": ["CT", "Doe^Peter", "=1+1", None, "CT", "MR"],
    "long-text": ["CT", "Doe^Peter", "=1+1", None, "CT", "MR"],
    "json": [[{"0008,0100": "a"}], None, "x", None, [{"0008,0100": "a"}], []],
    "floats": ["1\\2", "3\\4", "x", None, "1\\2", "5\\"],
    "ints": ["1\\2", "3\\4", "x", None, "1\\2", "5\\"],
}
MORE = ("AcquisitionDateTime", "AcquisitionTime", "KVP", "B1rms", "Rows", "ImageComments", "RequestAttributesSequence")


def frame_of_level(level: Level) -> pd.DataFrame:
    """Six rows: whole, whole, bad, absent, the first once more, others; with what the level has and tags of each VR."""
    problems: dict[int, list[str]] = {}
    columns: dict[str, Any] = {}
    for name in dict.fromkeys((*columns_for(level), *FACTS_OF[level], "PatientName", "StudyDate", "Modality", *MORE)):
        columns |= columns_of(name, VALUES[column_type(name).kind], problems)
    columns.pop("ID", None)
    return frame_of(list("abcdef"), columns, problems)


@pytest.fixture(params=LEVELS)
def frame(request: pytest.FixtureRequest) -> pd.DataFrame:
    return frame_of_level(request.param)


def lists_of(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame if column_type(str(name)).kind in ("floats", "ints")]


def scalars_of(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=lists_of(frame))


def test_dates_compare_with_strings_and_resample(frame: pd.DataFrame) -> None:
    assert frame[frame["StudyDate"] >= "2022"].index.tolist() == ["b", "f"]
    assert frame[frame["StudyDate"].between("2021-01-01", "2021-12-31")].index.tolist() == ["a", "e"]
    assert frame[frame["StudyDate"] == "2021-03-05"].index.tolist() == ["a", "e"]
    # pandas 3 finds no string among moments, in isin alone.
    assert frame[frame["StudyDate"].isin(pd.to_datetime(["2021-03-05"]))].index.tolist() == ["a", "e"]
    assert frame["StudyDate"].dt.year.dropna().tolist() == [2021, 2022, 2021, 2023]
    by_year = frame.set_index("StudyDate").sort_index()["PatientName"].resample("YE").size()
    assert by_year.tolist() == [2, 1, 1]
    assert frame.groupby(pd.Grouper(key="StudyDate", freq="YE")).size().tolist() == [2, 1, 1]
    assert frame.groupby(pd.Grouper(key="AcquisitionDateTime", freq="ME")).size().iloc[0] == 2
    age = frame["StudyDate"] - pd.Timestamp("2021-03-01")
    assert age.dt.days.dropna().tolist() == [4, 306, 4, 1035]


def test_times_of_day_compare_with_times_and_join_with_dates(frame: pd.DataFrame) -> None:
    assert frame[frame["AcquisitionTime"] > dt.time(9)].index.tolist() == ["a", "e", "f"]
    assert frame["AcquisitionTime"].min() == dt.time(8, 0, 0, 500_000)
    assert frame.sort_values("AcquisitionTime").index.tolist()[:4] == ["c", "a", "e", "f"]
    whole = frame["StudyDate"] + pd.to_timedelta(frame["AcquisitionTime"].astype("str"))
    assert whole["a"] == pd.Timestamp("2021-03-05 10:30:15")
    assert whole.isna().tolist() == [False, True, True, True, False, False]


@pytest.mark.parametrize("level", LEVELS)
def test_every_column_groups_counts_sorts_and_drops_duplicates(level: Level) -> None:
    frame = scalars_of(frame_of_level(level))
    for name in frame.columns:
        column = frame[name]
        present = column.notna().sum()
        assert frame.groupby(name).size().sum() == present, name
        assert column.value_counts().sum() == present, name
        assert len(frame.drop_duplicates(name)) == column.nunique(dropna=False), name
        assert frame.sort_values(name)[name].notna().tolist() == [True] * present + [False] * (6 - present), name
        assert frame.merge(frame[[name]].drop_duplicates(), on=name, how="left").shape == frame.shape, name
        assert frame.groupby(name)["PatientName"].agg(["count", "nunique", "first"]).shape[1] == 3, name
    assert len(frame.drop_duplicates()) == 6 - frame.duplicated().sum()
    assert pd.concat([frame, frame]).drop_duplicates().equals(frame.drop_duplicates())


def test_summaries_work(frame: pd.DataFrame) -> None:
    scalars = scalars_of(frame)
    assert scalars.describe(include="all").shape[1] == scalars.shape[1]
    assert frame.describe()["KVP"]["count"] == 4
    assert frame[["KVP", "Rows"]].mean().tolist() == [30.0, pytest.approx(130.25)]
    means = frame.groupby("Modality")[["KVP", "Rows"]].mean()
    assert [means["KVP"]["CT"], means["Rows"]["CT"]] == [1.5, 1.0]
    assert frame.pivot_table(index="Modality", columns="StudyDate", values="KVP", aggfunc="mean").loc["CT"].max() == 1.5
    assert pd.crosstab(frame["Modality"], frame["StudyDate"]).to_numpy().sum() == 4
    assert scalars.nunique()["KVP"] == 3
    assert frame.isna().sum()["KVP"] == 2
    assert frame.select_dtypes("number").corr().shape[0] >= 3


def test_text_has_str_and_query_works(frame: pd.DataFrame) -> None:
    assert frame["PatientName"].str.lower().tolist()[:3] == ["ct", "doe^peter", "=1+1"]
    assert frame[frame["PatientName"].str.contains("^Doe", na=False)].index.tolist() == ["b"]
    assert frame["Modality"].str.split("\\").str[0].tolist()[0] == "CT"
    assert frame.query("StudyDate >= '2021-06-01' and Rows > 100").index.tolist() == ["b"]
    assert frame.query("Modality == 'CT' and KVP < 2").index.tolist() == ["a", "e"]
    assert frame[frame["Rows"] > 5].index.tolist() == ["b", "f"]
    assert frame.loc[frame["Modality"].isin(["CT", "MR"]), "KVP"].sum() == 0.0


def test_merging_and_joining_keeps_dtypes(frame: pd.DataFrame) -> None:
    labels = pd.DataFrame({"Modality": ["CT", "MR"], "label": [1, 2]})
    left = frame.merge(labels, on="Modality", how="left")
    assert left[frame.columns].dtypes.equals(frame.dtypes)
    assert left["label"].notna().sum() == 3
    joined = frame.join(frame[["KVP"]].rename(columns={"KVP": "again"}))
    assert joined["again"].equals(joined["KVP"].rename("again"))
    assert frame.reindex([*frame.index, "missing"]).dtypes.equals(frame.dtypes)
    assert frame.iloc[[3]].dtypes.equals(frame.dtypes)
    assert frame.sample(frac=1, random_state=1).sort_index().equals(frame)
    assert frame.astype({"Rows": "float64"})["Rows"].sum() == 521.0


@pytest.mark.parametrize(
    "show",
    [repr, pd.DataFrame.to_string, pd.DataFrame.to_html, pd.DataFrame.to_csv, pd.DataFrame.to_dict, pd.DataFrame.info],
)
def test_it_can_be_shown(frame: pd.DataFrame, show: Callable[[pd.DataFrame], Any]) -> None:
    show(frame)
    show(frame.iloc[:0])


def test_rows_can_be_walked_and_columns_melted(frame: pd.DataFrame) -> None:
    assert next(frame.iterrows())[1]["StudyDate"] == pd.Timestamp("2021-03-05")
    assert next(frame.itertuples()).Modality == "CT"
    assert len(frame.melt(id_vars=["Modality"], value_vars=["KVP", "B1rms"])) == 12
    assert frame.T.shape == frame.shape[::-1]
    assert frame.eq(frame)["KVP"].tolist() == [True, True, False, False, True, True]


def test_lists_of_numbers_can_be_read_and_not_compared() -> None:
    frame = frame_of_level("Instance")
    column = frame["ImagePositionPatient"]
    assert column.list[0].tolist()[:2] == [1.0, 3.0]
    assert column["a"] == [1.0, 2.0]
    assert column.isna().tolist() == [False, False, True, True, False, False]
    assert len(frame.explode("ImagePositionPatient")) == 10
    assert frame.equals(frame.copy())
    # pandas 3.1 on list[pyarrow]: an error, never a wrong answer.
    refused: list[Callable[[], Any]] = [
        lambda: frame.drop_duplicates("ImagePositionPatient"),
        lambda: frame.groupby("ImagePositionPatient").size(),
        lambda: column.value_counts(),
        lambda: frame.sort_values("ImagePositionPatient"),
    ]
    for call in refused:
        with pytest.raises(pa.ArrowNotImplementedError):
            call()
    # What to do instead: their entries. Their text has but eight digits of each.
    assert frame.groupby(column.list[0]).size().tolist() == [2, 1, 1]
    assert frame.groupby([column.list[0], column.list[1]], dropna=False).size().tolist() == [2, 1, 1, 2]
    assert len(frame.drop_duplicates(frame.columns.difference(lists_of(frame)))) == len(frame)


def test_slices_of_large_frames_cost_no_more_than_without_attrs() -> None:
    columns: dict[str, Any] = {}
    for name in ("PatientID", "StudyDate", "Rows", "KVP"):
        values = VALUES[column_type(name).kind] * 17_000
        columns |= columns_of(name, values, {})
    frame = frame_of([str(row) for row in range(102_000)], columns, {})
    frame.attrs["orthanc"] = {"level": "Study", "url": "http://localhost:8042", "client": "0" * 16}
    bare = frame.copy()
    bare.attrs = {}
    # pandas copies attrs, deeply, on every slice: they must stay a few words of JSON. The best of many tries of each.
    ours, theirs = (
        min(timeit.repeat(lambda: each.iloc[1000:2000], number=20, repeat=20))  # noqa: B023 - called at once
        for each in (frame, bare)
    )
    assert ours < 10 * theirs
    assert len(json.dumps(frame.attrs)) < 200
