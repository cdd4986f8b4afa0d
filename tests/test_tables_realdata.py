"""Tables of real and hostile files on real servers say what pydicom reads in the files.

What a server itself gets wrong is named here value by value, the same on 1.10.1, 1.12.7 and 1.13.0: when a server
learns it, a test fails and its line goes.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom
import pytest
from conftest import VERSIONS
from dicom_values import cells, says
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue

import orthanc_research as ores
from orthanc_research.tables import column_type, orthanc_id

TEXTS = ("PatientName", "PatientID", "StudyDescription", "SeriesDescription")
FORMULA = ("=", "+", "-", "@", "\t", "\r")

# Orthanc's texts that are not the file's. The first two lose the escape characters of a second alphabet (ISO 2022),
# and what was to be read in it with them.
GARBLED = {
    "chrH32.dcm": "\uff94\uff8f\uff80\uff9e^\uff80\uff9b\uff73=;3ED^B@O:=$d$^$@^$?$m$&",
    "chrJapMultiExplicitIR6.dcm": "$B$d$^$@(B^$B$?$m$&(B",
    # Bytes that are no UTF-8 are left out; pydicom has U+FFFD for each.
    "01_latin1_as_utf8.dcm": "Gann^Sren",
    "07_utf8_cut_multibyte.dcm": "\u0141\u00f3d\u017a^",
}
# Here it is pydicom that leaves out an empty third group, which the file has.
WRITTEN_WITH_AN_EMPTY_GROUP = ("chrX1.dcm", "chrX2.dcm")


def datasets(folder: Path) -> Iterator[tuple[Path, pydicom.Dataset]]:
    """What pydicom reads, without pixels and without what is no instance."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError:
            continue
        if "SOPInstanceUID" in dataset:
            yield path, dataset


def everything_works(frame: pd.DataFrame, folder: Path) -> None:
    """Nothing raises that a notebook does with a table, files give back each value, and CSV holds no formula."""
    repr(frame), frame.to_html(), frame.to_string(), frame.to_dict("records")
    scalars = frame[[name for name in frame if column_type(str(name)).kind not in ("floats", "ints")]]
    scalars.describe(include="all")
    for name in scalars:
        assert scalars.groupby(str(name), dropna=False).size().sum() == len(frame)
        assert scalars[name].value_counts().sum() == scalars[name].notna().sum()
    assert len(scalars.drop_duplicates()) <= len(frame)
    path = ores.write_table(frame, folder / "t.parquet")
    pd.testing.assert_frame_equal(ores.read_parquet(path), frame, check_exact=True)
    plain = pd.read_parquet(path, dtype_backend="pyarrow")
    for name in frame:
        if column_type(str(name)).kind in ("text", "long-text", "json"):
            assert cells(plain[name]) == cells(frame[name]), name
    written = ores.write_csv(frame, folder / "t.csv").read_bytes().decode()
    rows = list(csv.reader(io.StringIO(written, newline="")))
    assert len(rows) == 1 + len(frame)
    kinds = ["text", *(column_type(str(name)).kind for name in frame)]
    for row in rows[1:]:
        texts = [cell for cell, kind in zip(row, kinds, strict=True) if kind in ("text", "long-text", "json")]
        assert not [cell for cell in texts if cell.startswith(FORMULA)]
    assert ores.to_numpy(frame).shape[0] == len(frame)
    assert ores.issues(frame).index.isin(frame.index).all()
    # pandas copies attrs on each slice: a few words of JSON, and nothing of a patient.
    assert set(frame.attrs) == {"orthanc"}
    assert set(frame.attrs["orthanc"]) == {"level", "url", "client"}
    assert len(json.dumps(frame.attrs)) < 200


def check_every_table(orthanc: ores.Orthanc, version: str, folder: Path) -> None:
    if version in VERSIONS[:-1]:  # what pandas and files make of a table does not depend on the server
        return
    series = orthanc.series()
    for frame in (orthanc.patients(), orthanc.studies(), series, orthanc.instances(), orthanc.tags(series)):
        everything_works(frame, folder)


@pytest.mark.parametrize("folder", ["pydicom-charsets", "derived-wrong-charsets"])
def test_names_are_those_of_the_files_in_every_alphabet(
    orthanc: ores.Orthanc, version: str, realdata: Path, tmp_path: Path, folder: str
) -> None:
    seen = 0
    for path, dataset in datasets(realdata / folder):
        # One at a time: some of these files have the same UIDs.
        assert orthanc.upload(path, progress=False)["status"].tolist() == ["stored"]
        written = str(dataset.PatientName).rstrip(" ") + "=" * (path.name in WRITTEN_WITH_AN_EMPTY_GROUP)
        expected = GARBLED.get(path.name, written)
        assert (expected == written) == (path.name not in GARBLED)
        (identifier,) = orthanc.instances(SOPInstanceUID=str(dataset.SOPInstanceUID)).index
        for frame in (
            orthanc.patients(),
            orthanc.studies(),
            orthanc.series(columns=["PatientName"]),
            orthanc.instances(),
            orthanc.tags([identifier]),
            orthanc.tags([identifier], ["PatientName"]),
        ):
            assert frame["PatientName"].tolist() == [expected], path.name
        # The file is what is always true.
        assert str(orthanc.dicom(identifier).PatientName) == str(dataset.PatientName)
        check_every_table(orthanc, version, tmp_path)
        orthanc.delete(orthanc.patients(), expect=1)
        seen += 1
    assert seen == {"pydicom-charsets": 15, "derived-wrong-charsets": 8}[folder]


@pytest.mark.parametrize("name", ["chrSQEncoding.dcm", "chrSQEncoding1.dcm"])
def test_a_name_inside_a_sequence_with_an_alphabet_of_its_own_is_garbled_by_the_server(
    orthanc: ores.Orthanc, version: str, realdata: Path, tmp_path: Path, name: str
) -> None:
    path = realdata / "pydicom-charsets" / name
    truth = str(pydicom.dcmread(path).RequestedProcedureCodeSequence[0].PatientName)
    dataset = pydicom.dcmread(path)  # the file lacks the identifiers that Orthanc files by
    dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "sq", "1.2.3", "1.2.3.4"
    dataset.SOPInstanceUID, dataset.SOPClassUID = "1.2.3.4.5", "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    assert orthanc.upload(dataset, progress=False)["status"].tolist() == ["stored"]
    frame = orthanc.tags(orthanc.instances())
    (item,) = json.loads(frame["RequestedProcedureCodeSequence"].iloc[0])
    assert "\u5c71\u7530" in truth
    if name == "chrSQEncoding1.dcm":
        assert item["0010,0010"] == GARBLED["chrH32.dcm"]
    else:  # read as UTF-8, the alphabet of the file: escapes and all
        assert item["0010,0010"].startswith("\u06f3=\x1b$B;3ED\x1b(")
    chosen = orthanc.tags(orthanc.instances(), ["RequestedProcedureCodeSequence.PatientName"])
    assert chosen["RequestedProcedureCodeSequence.PatientName"].tolist() == [item["0010,0010"]]
    check_every_table(orthanc, version, tmp_path)
    file = orthanc.dicom(frame.index[0])
    assert str(file.RequestedProcedureCodeSequence[0].PatientName) == truth


def test_hostile_values_are_as_the_files_have_them(
    orthanc: ores.Orthanc, version: str, realdata: Path, tmp_path: Path
) -> None:
    files = {str(dataset.SOPInstanceUID): (path.name, dataset) for path, dataset in datasets(realdata / HOSTILE)}
    orthanc.upload(realdata / HOSTILE, progress=False)
    assert [len(find()) for find in (orthanc.studies, orthanc.series, orthanc.instances)] == [28, 28, 28]
    columns = [*TEXTS, "SOPInstanceUID", "StudyDate", "PatientBirthDate", "InstanceNumber", "SeriesNumber"]
    found = orthanc.instances(columns=columns)
    tags = orthanc.tags(found, columns)
    whole = orthanc.tags(orthanc.series())
    assert set(tags["SOPInstanceUID"]) == set(files)
    for identifier, row in zip(tags.index.astype(str), (row for _, row in tags.iterrows()), strict=True):
        name, dataset = files[str(row["SOPInstanceUID"])]
        for keyword in TEXTS:
            value = row[keyword]
            assert value is whole.loc[identifier, keyword] or value == whole.loc[identifier, keyword] or pd.isna(value)
            written = _written(dataset, keyword)
            if (name, keyword) == ("09_nul_byte.dcm", "PatientID"):
                written = written.partition("\0")[0]  # the server ends a text at NUL
            assert (None if pd.isna(value) else value) == (written or None), (name, keyword)
            if (name, keyword) == ("13_long_name.dcm", "SeriesDescription"):
                # The index of the server leaves out what has more than 256 bytes.
                assert len(value) == 300
                assert found[keyword].isna()[identifier]
            else:
                assert cells(found.loc[[identifier], keyword]) == cells(tags.loc[[identifier], keyword]), name
    check_every_table(orthanc, version, tmp_path)


def _written(dataset: pydicom.Dataset, keyword: str) -> str:
    if keyword not in dataset:
        return ""
    value = dataset[keyword].value
    text = "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value or "")
    # Where pydicom parts at backslashes it takes their blanks away; the only such text has one there.
    text = text.replace("\\u0000\\", "\\u0000 \\")
    return text.rstrip(" \0") if keyword == "PatientName" else text.strip(" \0")


HOSTILE = "derived-hostile-tags"


def test_hostile_numbers_and_dates_are_read_or_named(orthanc: ores.Orthanc, realdata: Path) -> None:
    files = {str(dataset.SOPInstanceUID): path.name for path, dataset in datasets(realdata / HOSTILE)}
    orthanc.upload(realdata / HOSTILE, progress=False)
    columns = ["SOPInstanceUID", "SliceThickness", "RescaleSlope", "StudyDate", "PatientBirthDate", "PatientAge"]
    frame = orthanc.tags(orthanc.series(), [*columns, "InstanceNumber", "SeriesNumber"])
    frame = frame.set_index(frame["SOPInstanceUID"].map(files))
    assert frame.loc["25_nan_numbers.dcm", ["SliceThickness", "RescaleSlope"]].isna().all()
    assert frame.loc["25_nan_numbers.dcm", "Issues"] == (
        "SliceThickness: not a finite number; RescaleSlope: not a finite number"
    )
    assert frame["StudyDate"].isna()["26_date_garbage.dcm"]
    assert frame.loc["26_date_garbage.dcm", "Issues"] == "StudyDate: not a date"
    assert frame.loc["26_date_garbage.dcm", "PatientBirthDate"] == pd.Timestamp("1900-01-01")
    assert frame.loc["26_date_garbage.dcm", "PatientAge"] == "ABCY"
    assert frame.loc["27_huge_is.dcm", "InstanceNumber"] == 99999999999
    assert frame.loc["27_huge_is.dcm", "SeriesNumber"] == -1
    assert frame["Issues"].notna().sum() == 2


def test_patients_whose_ids_differ_in_case_or_are_blank_are_told_apart_by_orthancs_ids(
    orthanc: ores.Orthanc, version: str, realdata: Path, tmp_path: Path
) -> None:
    orthanc.upload(realdata / HOSTILE, progress=False)
    patients, studies = orthanc.patients(), orthanc.studies()
    assert len(patients) == patients.index.nunique() == 27
    for identifier in ("collide", "COLLIDE"):
        row = patients[patients["PatientID"] == identifier]
        assert row.index.tolist() == [orthanc_id(identifier)]
        assert orthanc.patients(PatientID=identifier).index.tolist() == row.index.tolist()
        assert studies[studies["PatientID"] == identifier]["ParentPatient"].tolist() == row.index.tolist()
    # Two files without a PatientID: Orthanc makes one patient of them, with two studies, and so does the table.
    blank = patients[patients["PatientID"].isna()]
    assert blank.index.tolist() == [orthanc_id("")]
    assert blank["NumberOfPatientRelatedStudies"].tolist() == [2]
    assert (studies["ParentPatient"] == blank.index[0]).sum() == 2
    by_patient = studies.groupby("ParentPatient").size()
    assert len(by_patient) == 27
    assert by_patient.sum() == 28
    back = ores.read_parquet(ores.write_table(studies, tmp_path / "t.parquet"))
    assert back.groupby("ParentPatient").size().equals(by_patient)


def test_the_hierarchy_is_that_of_the_files(
    orthanc: ores.Orthanc, version: str, realdata: Path, tmp_path: Path
) -> None:
    folder = realdata / "pydicom-dicomdir-tree"
    files = {str(dataset.SOPInstanceUID): dataset for _, dataset in datasets(folder)}
    orthanc.upload(folder, progress=False)
    keys = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")
    paths = Counter(tuple(str(dataset[key].value) for key in keys) for dataset in files.values())
    patients, studies = orthanc.patients(), orthanc.studies()
    series, instances = orthanc.series(), orthanc.instances()
    assert len(instances) == len(files) == 81
    assert set(patients["PatientID"]) == {path[0] for path in paths}
    assert set(zip(studies["PatientID"], studies["StudyInstanceUID"], strict=True)) == {path[:2] for path in paths}
    merged = (
        instances[["ParentSeries"]]
        .merge(series[["ParentStudy", "SeriesInstanceUID"]], left_on="ParentSeries", right_index=True)
        .merge(studies[["ParentPatient", "StudyInstanceUID"]], left_on="ParentStudy", right_index=True)
        .merge(patients[["PatientID"]], left_on="ParentPatient", right_index=True)
    )
    assert merged.groupby(list(keys)).size().to_dict() == paths
    counts = series.set_index("SeriesInstanceUID")["NumberOfSeriesRelatedInstances"].to_dict()
    assert counts == {path[2]: count for path, count in paths.items()}
    by_study: Counter[str] = Counter()
    for path, count in paths.items():
        by_study[path[1]] += count
    assert studies.set_index("StudyInstanceUID")["NumberOfStudyRelatedInstances"].to_dict() == by_study
    check_every_table(orthanc, version, tmp_path)


def test_every_value_in_a_table_of_all_tags_is_the_files(orthanc: ores.Orthanc, realdata: Path) -> None:
    folder = realdata / "pydicom-dicomdir-tree"
    files = {str(dataset.SOPInstanceUID): dataset for _, dataset in datasets(folder)}
    orthanc.upload(folder, progress=False)
    frame = orthanc.tags(orthanc.series())
    compared: Counter[str] = Counter()
    for position, uid in enumerate(frame["SOPInstanceUID"]):
        named = str(frame["Issues"].iloc[position])
        for element in files[uid]:
            keyword = keyword_for_tag(element.tag)
            if keyword not in frame or element.VR == "SQ" or f"{keyword}: " in named:
                continue
            vr, one = dictionary_VR(element.tag), dictionary_VM(element.tag) == "1"
            (cell,) = cells(frame[keyword].iloc[[position]])
            text = _text_of(element.value)
            if not text.strip(" \0"):
                assert cell is None, keyword
            elif vr == "AT":
                assert cell is not None, keyword
            else:
                assert says(vr, one, text, cell), keyword
            compared[vr] += 1
    assert sum(compared.values()) > 3000
    assert set(compared) >= {"CS", "DA", "DS", "IS", "LO", "PN", "SH", "TM", "UI", "US"}


def _text_of(value: Any) -> str:
    if isinstance(value, (MultiValue, list)):
        return "\\".join("" if each is None else str(each) for each in value)
    return "" if value is None else str(value)
