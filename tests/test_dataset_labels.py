"""Labels: types kept, both sides told, and none given to a patient whom it may not belong to."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from orthanc_research.dataset._identifying import identifying
from orthanc_research.dataset._labels import join_labels, read_labels
from orthanc_research.errors import DatasetError, QueryError

ROWS = pd.DataFrame(
    {
        "SeriesInstanceUID": ["1.1", "1.2", "2.1", "3.1"],
        "StudyInstanceUID": ["1", "1", "2", "3"],
        "PatientID": ["007", "007", "8", None],
        "AccessionNumber": ["A", "A", "A", "B"],
    }
).astype("str")


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_types_are_kept_and_identifiers_are_texts(tmp_path: Path) -> None:
    text = "PatientID,grade,score,code,site,big\n007,1,0.5,01,NA,9007199254740993\n8,NA,2,02,b,\n 9 ,3,,03,,1\n"
    table = read_labels(written(tmp_path / "l.csv", "\ufeff" + text), "PatientID")
    assert table["PatientID"].tolist() == ["007", "8", "9"]
    assert table.dtypes.astype("str").to_dict() == {
        "PatientID": "str",
        "grade": "Int64",
        "score": "float64",
        "code": "str",
        "site": "str",
        "big": "Int64",
    }
    assert table["big"].tolist()[0] == 9007199254740993
    assert table["grade"].isna().tolist() == [False, True, False]
    assert table["site"].tolist()[0] == "NA"
    frame = pd.DataFrame({"StudyInstanceUID": ["1", "2"], "PatientID": [7, 8], "seen": [True, False], "n": [1, 2]})
    frame.to_parquet(tmp_path / "l.parquet")
    table = read_labels(tmp_path / "l.parquet", "PatientID", ["seen"])
    assert list(table.columns) == ["PatientID", "seen"]
    assert table["PatientID"].tolist() == ["7", "8"]
    joined = join_labels(
        ROWS, read_labels(tmp_path / "l.parquet", "StudyInstanceUID", ["seen", "n"]), "StudyInstanceUID"
    )
    assert joined.frame["seen"].dtype == "boolean"
    assert joined.frame["n"].dtype == "Int64"


TELLING = [
    "PatientID", "OtherPatientIDs", "MedicalRecordLocator", "PatientBirthDate", "PatientAddress",
    "PatientTelephoneNumbers", "PatientComments", "AccessionNumber", "StudyID", "AdmissionID", "RequestedProcedureID",
    "InstitutionName", "StationName", "DeviceSerialNumber", "PatientName", "OperatorsName", "ReferringPhysicianName",
]  # fmt: skip


@pytest.mark.parametrize("name", TELLING)
def test_columns_that_tell_who_somebody_is_are_known(name: str) -> None:
    assert identifying(["PatientSex", name, "KVP", "finding"]) == (name,)
    spelled = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    assert identifying(["patient_sex", spelled, "finding"]) == (spelled,)


def test_days_and_uids_lead_back_to_a_source() -> None:
    names = ["study_date", "SOPInstanceUID", "AcquisitionDateTime", "StudyTime", "days_to_event"]
    assert identifying(names) == ()
    assert identifying(names, traced=True) == tuple(names[:3])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        # pandas alone makes an index of the first column, and 3 and 4 the patients
        ("PatientID,age,label\n4711,3,1,\n4712,4,0,\n", "cannot be read"),
        ("PatientID,label\n4711,3,1\n4712,4,0\n", "cannot be read"),
        ("PatientID,label,label\n4711,3,1\n", "same name"),
        ("PatientID,PatientID ,label\n4711,3,1\n", "same name"),
        ("PatientID;label\n4711;1\n", "no column PatientID"),
    ],
)
def test_no_value_gets_into_the_column_of_another(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(DatasetError, match=why):
        read_labels(written(tmp_path / "l.csv", text), "PatientID")


def test_a_header_may_have_blanks_and_a_row_may_be_short(tmp_path: Path) -> None:
    table = read_labels(written(tmp_path / "l.csv", ', PatientID ,label\n0,007,"a, b"\n1,8\n'), "PatientID")
    assert table["PatientID"].tolist() == ["007", "8"]
    assert table["label"].isna().tolist() == [False, True]


def test_both_sides_that_do_not_fit_are_told() -> None:
    labels = pd.DataFrame({"StudyInstanceUID": ["1", "2 ", "9", "9"], "label": ["a", "b", "c", "c"]})
    labels["StudyInstanceUID"] = labels["StudyInstanceUID"].str.strip()
    joined = join_labels(ROWS, labels, "StudyInstanceUID")
    assert joined.frame["label"].tolist()[:3] == ["a", "a", "b"]
    assert joined.unlabelled.tolist() == [3]
    assert joined.unused == 1
    assert joined.ambiguous.empty
    assert joined.notes == ("1 rows have no label.", "1 rows of the labels belong to nothing in the dataset.")
    assert list(joined.frame.columns) == [*ROWS.columns, "label"]
    pd.testing.assert_frame_equal(joined.frame[list(ROWS.columns)], ROWS)


def test_one_of_several_other_numbers_is_enough() -> None:
    """OtherPatientIDs holds several by backslash (PS3.5, 6.2)."""
    rows = ROWS.assign(OtherPatientIDs=pd.Series(["X1\\ N7 ", "X1\\N7", "8", None], dtype="str"))
    labels = pd.DataFrame({"OtherPatientIDs": ["N7", "X9"], "label": ["a", "b"]})
    joined = join_labels(rows, labels, "OtherPatientIDs")
    assert joined.frame["label"].isna().tolist() == [False, False, True, True]
    assert joined.frame["label"].tolist()[:2] == ["a", "a"]
    assert joined.unused == 1
    both = join_labels(rows, pd.DataFrame({"OtherPatientIDs": ["X1"], "label": ["a"]}), "OtherPatientIDs")
    assert both.frame["label"].tolist()[:2] == ["a", "a"]


def test_no_label_is_given_to_patients_who_share_an_identifier() -> None:
    labels = pd.DataFrame({"AccessionNumber": ["A", "B"], "label": [1, 2]})
    joined = join_labels(ROWS, labels, "AccessionNumber")
    assert joined.frame["label"].isna().tolist() == [True, True, True, False]
    assert joined.ambiguous.tolist() == [0, 1, 2]
    assert "several patients share" in joined.notes[-1]


def test_what_cannot_be_joined_is_refused_without_values(tmp_path: Path) -> None:
    twice = pd.DataFrame({"PatientID": ["007", "007"], "label": [1, 2]})
    with pytest.raises(DatasetError, match="1 identifiers have several rows") as caught:
        join_labels(ROWS, twice, "PatientID")
    assert "007" not in str(caught.value)
    with pytest.raises(DatasetError, match="a column AccessionNumber"):
        join_labels(ROWS, pd.DataFrame({"PatientID": ["8"], "AccessionNumber": ["x"]}), "PatientID")
    with pytest.raises(QueryError, match="identifier"):
        join_labels(ROWS, twice, "label")
    with pytest.raises(DatasetError, match="no column PatientID"):
        read_labels(written(tmp_path / "a.csv", "patient,label\n1,2\n"), "PatientID")
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        read_labels(written(tmp_path / "b.csv", "PatientID,label\nDoe,1\nRoe,2,3,4\n"), "PatientID")
    assert "Roe" not in str(caught.value)
    pd.DataFrame({"PatientID": [1.0, None]}).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(DatasetError, match="lost digits"):
        read_labels(tmp_path / "c.parquet", "PatientID")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_labels(tmp_path / "none.csv", "PatientID")


def test_empty_labels_leave_every_row_without_one() -> None:
    joined = join_labels(ROWS, pd.DataFrame({"PatientID": ["", None], "label": ["x", "y"]}).astype("str"), "PatientID")
    assert joined.frame["label"].isna().all()
    assert len(joined.unlabelled) == 4
    assert joined.unused == 0
    assert join_labels(ROWS.head(0), pd.DataFrame({"PatientID": ["1"], "x": [1]}), "PatientID").frame.empty
