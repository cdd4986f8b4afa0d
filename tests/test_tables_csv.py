"""CSV that no spreadsheet runs as a program, whatever patients are called."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import orthanc_research as ores
from orthanc_research.errors import QueryError
from orthanc_research.tables.columns import column_of, frame_of

DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def rows_of(path: Path, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_bytes().decode(), newline=""), delimiter=delimiter))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-rf", "'-rf"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1+1", "'\t'=1+1"),
        ("\rx", "'\rx"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ('"=1+1"', '\'"=1+1"'),
        ("  =1+1", "'  =1+1"),
        ("\u200b\ufeff=1", "'\u200b\ufeff=1"),
        ("\0=1", "'\0=1"),
        ("x;=1+1", "x;'=1+1"),
        ('x; "=1+1', "x;' \"=1+1"),
        ("line\r\n=1+1", "line\r\n'=1+1"),
        ("a-b = c", "a-b = c"),
        ("A; B\nC", "A; B\nC"),
        ("'=1", "'=1"),
    ],
)
def test_no_text_begins_as_a_formula_does(value: str, expected: str, tmp_path: Path) -> None:
    path = ores.write_csv(pd.DataFrame({"x": [value]}), tmp_path / "t.csv")
    assert rows_of(path) == [["x"], [expected]]


# Delimiters that a spreadsheet may split at, in the settings of some country, without regard for our quotes.
@settings(max_examples=150)
@given(
    st.lists(
        st.text(st.sampled_from([*DANGEROUS, *' ;,"\n\0ab\u200b\ufeff\u00a0\\']), max_size=8), min_size=1, max_size=3
    )
)
def test_no_cell_is_a_formula_wherever_a_spreadsheet_parts_cells(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = ores.write_csv(pd.DataFrame({"x": texts, "y": texts}), tmp_path_factory.mktemp("csv") / "t.csv")
    for row in rows_of(path)[1:]:
        assert not [cell for cell in row if cell.startswith(DANGEROUS)]
    for line in path.read_bytes().decode().replace("\r", "\n").split("\n"):
        for part in line.replace("\t", ";").split(";"):
            assert not part.lstrip(' "\0\u200b\ufeff\u00a0').startswith(("=", "+", "-", "@", "\uff1d")), part


def test_long_runs_of_blanks_take_no_longer_than_other_text(tmp_path: Path) -> None:
    # A pattern that looks ahead over line breaks would need minutes for each of these.
    frame = pd.DataFrame({"x": ["\n" * 200_000, " " * 200_000, "; " * 200_000, "\t" * 200_000 + "x"]})
    ores.write_csv(frame, tmp_path / "t.csv")


def test_a_spreadsheet_does_not_take_the_file_for_another_format(tmp_path: Path) -> None:
    # Excel takes a file that begins with the letters ID for SYLK, and refuses it.
    frame = frame_of(["a"], {"Modality": column_of("Modality", ["CT"], {})}, {})
    assert ores.write_csv(frame, tmp_path / "t.csv").read_text().startswith('"ID","Modality"')


def test_names_of_columns_and_of_the_index_are_harmless_as_well(tmp_path: Path) -> None:
    frame = pd.DataFrame({"@b": [1]}, index=pd.Index(["+c"], name="=a"))
    assert rows_of(ores.write_csv(frame, tmp_path / "t.csv")) == [["'=a", "'@b"], ["'+c", "1"]]


def test_values_are_written_as_people_read_them(tmp_path: Path) -> None:
    data: dict[str, list[Any]] = {
        "StudyDate": ["20210305", None],
        "StudyTime": ["103015.5", None],
        "AcquisitionDateTime": ["20210305103015", None],
        "KVP": ["-0.1", None],
        "Rows": ["512", None],
        "SeriesNumber": [str(2**63 - 1), None],
        "IsStable": [True, None],
        "ImagePositionPatient": ["-1\\x\\3", None],
        "PatientName": ["M\u00fcller, \u5c71\u7530", None],
        "LastUpdate": ["20210305T000000", None],
    }
    problems: dict[int, list[str]] = {}
    frame = frame_of(["a", "b"], {name: column_of(name, values, problems) for name, values in data.items()}, problems)
    _, first, second = rows_of(ores.write_csv(frame, tmp_path / "t.csv"))
    assert first == [
        "a",
        "2021-03-05",
        "10:30:15.500000",
        "2021-03-05 10:30:15",
        "-0.1",
        "512",
        str(2**63 - 1),
        "True",
        "[-1.0, null, 3.0]",
        "M\u00fcller, \u5c71\u7530",
        "2021-03-05 00:00:00",
        "ImagePositionPatient: an entry is not a number",
    ]
    assert json.loads(first[8]) == [-1.0, None, 3.0]
    assert second == ["b", *[""] * 11]
    back = pd.read_csv(tmp_path / "t.csv", index_col="ID")
    assert back.columns.tolist() == frame.columns.tolist()
    assert back.loc["b"].isna().all()


def test_a_time_of_day_that_somebody_put_into_a_date_is_not_cut_off(tmp_path: Path) -> None:
    frame = pd.DataFrame({"StudyDate": pd.to_datetime(["2021-03-05 10:30"]).astype("datetime64[s]")})
    assert rows_of(ores.write_csv(frame, tmp_path / "t.csv"))[1] == ["2021-03-05 10:30:00"]


def test_row_numbers_are_left_out_and_other_nameless_indexes_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1, 2]})
    assert rows_of(ores.write_csv(frame[frame["x"] > 1], tmp_path / "t.csv")) == [["x"], ["2"]]
    with pytest.raises(QueryError, match="has no name"):
        ores.write_csv(frame.describe(), tmp_path / "u.csv")
    assert not (tmp_path / "u.csv").exists()
    grouped = frame.assign(y=["a", "b"]).groupby(["y", "x"]).size().to_frame("n")
    assert rows_of(ores.write_csv(grouped, tmp_path / "t.csv"))[0] == ["y", "x", "n"]


def test_a_large_table_is_written_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orthanc_research.export import tables

    monkeypatch.setattr(tables, "_BLOCK", 7)
    frame = pd.DataFrame({"n": np.arange(50), "t": [f"={n}" for n in range(50)]})
    found = rows_of(ores.write_csv(frame, tmp_path / "t.csv"))
    assert found[1:] == [[str(n), f"'={n}"] for n in range(50)]
