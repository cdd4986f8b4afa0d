"""A list of accession numbers against an archive that misbehaves: each row is right, and nothing comes twice."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scp import Node, odd_node

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.progress import Silent
from orthanc_research.tables import Wanted, matches, wanted_rows

KINDS = ("good", "missing", "good", "two", "refusing", "short", "good", "cut", "twice", "slow")
EXPECTED = {
    "good": "complete",
    "missing": "not-found",
    "two": "ambiguous",
    "refusing": "failed",
    "short": "incomplete",
    "cut": "failed",
    "twice": "complete",
    "slow": "complete",
    "blank": "invalid",
}


class Stopping(Silent):
    """Asks to stop after so many rows."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most

    def advance(self, count: int = 1) -> None:
        self._left -= count
        if self._left <= 0:
            self.cancel()


def archive_of(count: int) -> tuple[Node, pd.DataFrame]:
    """An archive in which every row of the table has its own trouble; `kind` says which."""
    slices = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)[:3]
    node, rows = Node(), []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        accession = f"00{number:05d}"  # the zeros are part of it
        rows.append((accession, kind))
        for copy_number in range({"missing": 0, "two": 2}.get(kind, 1)):
            uid = f"1.2.826.0.1.{number + 1}.{copy_number + 1}"
            study = {"StudyInstanceUID": uid, "AccessionNumber": accession, "PatientID": f"P{number}"}
            node.studies += [{**study, "StudyDate": "20240102"}] * (2 if kind == "twice" else 1)
            for index, dataset in enumerate(slices):
                file: Any = copy.deepcopy(dataset)
                file.StudyInstanceUID, file.SeriesInstanceUID = uid, f"{uid}.9"
                file.AccessionNumber, file.PatientID = accession, f"P{number}"
                file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = f"{uid}.9.{index + 1}"
                node.files.append(file)
            node.short = {**node.short, **({uid: 1} if kind == "short" else {})}
            node.cut |= {uid} if kind == "cut" else set()
        node.refuse |= {accession} if kind == "refusing" else set()
        node.slow = {**node.slow, **({accession: 0.2} if kind == "slow" else {})}
    rows += [("", "blank"), rows[0]]
    return node, pd.DataFrame(rows, columns=["AccessionNumber", "kind"], index=range(5, 5 + len(rows)))


@pytest.fixture(scope="module")
def server(version: str) -> Iterator[ores.LocalOrthanc]:
    if version == "external":
        pytest.skip("needs a server of our own")
    with ores.LocalOrthanc(version, dicom=True, config={"DicomScuTimeout": 4}) as here:
        yield here


@pytest.fixture
def here(server: ores.LocalOrthanc) -> ores.LocalOrthanc:
    patients = server.rest.patients.list()
    if patients:
        server.rest.tools.bulk_delete(patients)
    return server


def run_twice(here: ores.LocalOrthanc, count: int, journal: Path | None) -> None:
    node, table = archive_of(count)
    with odd_node(node):
        node.move_to = ("127.0.0.1", here.server.dicom_port or 0)
        here.add_modality("odd", node.aet, "127.0.0.1", node.port)
        options: dict[str, Any] = {"modality": "odd", "journal": journal}
        stopped = here.retrieve(table, progress=Stopping(4), **options)
        assert stopped["status"].iloc[4:-2].eq("not-sent").all()
        assert stopped["status"].iloc[:4].tolist() == [EXPECTED[kind] for kind in KINDS[:4]]
        first = here.retrieve(table, progress=False, **options)
        expected = [EXPECTED[kind] for kind in table["kind"]]
        for number in (0, 2, len(table) - 1):  # these came before it was stopped
            expected[number] = "already-there"
        assert first["status"].tolist() == expected
        assert list(first.index) == list(table.index)
        assert first["AccessionNumber"].iloc[:-2].tolist() == table["AccessionNumber"].iloc[:-2].tolist()
        asked = {kind: first[(table["kind"] == kind).to_numpy()] for kind in EXPECTED}
        for kind, numbers in {"good": [3, 3], "short": [3, 1], "cut": [3, 1], "twice": [3, 3]}.items():
            assert asked[kind][["announced", "here"]].to_numpy().tolist() == [numbers] * len(asked[kind])
        assert asked["two"]["matches"].eq(2).all()
        assert first["error"].notna().tolist() == [
            status not in ("complete", "already-there") for status in first["status"]
        ]
        local = set(here.studies()["StudyInstanceUID"])
        assert local == {uid for uid in first["UID"].dropna() if "\\" not in uid}
        # Again, on an archive that has mended its ways: only what did not come is fetched.
        node.moved.clear()
        node.short, node.cut, node.refuse = {}, set(), set()
        finds = node.finds
        second = here.retrieve(table, progress=False, **options)
        bad = {"short", "cut", "refusing"}
        assert second["status"].tolist() == [
            "complete" if kind in bad else EXPECTED[kind] if EXPECTED[kind] != "complete" else "already-there"
            for kind in table["kind"]
        ]
        assert len(node.moved) == len(set(node.moved)) == table["kind"].isin(bad).sum()
        good = table["kind"].iloc[:-1].isin([kind for kind, status in EXPECTED.items() if status == "complete"]).sum()
        assert node.finds - finds >= 2 * good or journal is not None
        if journal is not None:
            node.finds = 0
            node.moved.clear()
            here.retrieve(table, progress=False, **options)
            assert node.moved == []
            assert node.finds == table["kind"].isin(["missing", "two"]).sum()
        here.remove_modality("odd")
    assert here.rest.queries.list() == []


def test_the_report_is_right_row_by_row_and_nothing_comes_twice(here: ores.LocalOrthanc, tmp_path: Path) -> None:
    run_twice(here, 10, tmp_path / "journal.sqlite")
    with pytest.raises(errors.QueryError, match="of a retrieve"):
        here.resume(tmp_path / "journal.sqlite", progress=False)
    here.add_modality("other", "OTHER", "127.0.0.1", 9)
    with pytest.raises(errors.QueryError, match="another table"):
        here.retrieve(archive_of(10)[1], modality="other", journal=tmp_path / "journal.sqlite", progress=False)
    here.remove_modality("other")
    assert b"0000000" not in (tmp_path / "journal.sqlite").read_bytes()  # no accession number is kept


@pytest.mark.long
def test_two_hundred_accession_numbers(here: ores.LocalOrthanc) -> None:
    run_twice(here, 200, None)


def test_a_csv_with_zeros_and_columns_of_its_own(here: ores.LocalOrthanc, tmp_path: Path) -> None:
    node, _ = archive_of(4)
    path = tmp_path / "list.csv"
    path.write_text("\ufeffpatient;day;group\nP0;2024-01-02;a;\nP0;2024-01-03;b\nP3;2024-01-02;c\n")
    with odd_node(node):
        node.move_to = ("127.0.0.1", here.server.dicom_port or 0)
        here.add_modality("odd", node.aet, "127.0.0.1", node.port)
        names = {"patient": "PatientID", "day": "StudyDate"}
        with pytest.warns(pd.errors.ParserWarning):  # pandas, on the separator too many in the first row
            report = here.retrieve(path, modality="odd", columns=names, several=True, progress=False)
        assert report["status"].tolist() == ["complete", "not-found", "complete"]
        assert report["matches"].tolist() == [1, 0, 2]
        assert report["here"].tolist()[::2] == [3, 6]
        # An archive that knows no keys answers everything: only what is the row is taken.
        node.ignore_keys = True
        table = pd.DataFrame({"AccessionNumber": ["0000002", "2"]})
        with here.rest.counting() as requests:
            report = here.retrieve(table, modality="odd", progress=False)
        assert report["status"].tolist() == ["complete", "not-found"]
        polls = sum(target.startswith("jobs/") for _, target in requests)
        assert len(requests) == 1 + 9 + 2 * polls + 3  # the modality, a row and its polls, a row that is not there
        node.ignore_keys, node.reject = False, True
        many = pd.DataFrame({"AccessionNumber": [str(number) for number in range(9)]})
        refused = here.retrieve(many, modality="odd", progress=False)
        assert refused["status"].tolist() == ["failed"] * 5 + ["not-sent"] * 4
        here.remove_modality("odd")
    with pytest.raises(errors.NotFoundError):
        here.retrieve(many, modality="nobody", progress=False)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pd.DataFrame({"Name": ["x"]}), "No column names studies"),
        (pd.DataFrame({"StudyDate": ["20240101"]}), "No column names studies"),
        (pd.DataFrame({"AccessionNumber": [1.0, None]}), "dtype=str"),
        (pd.DataFrame([["1", "2"]], columns=["AccessionNumber", "AccessionNumber"]), "same keyword"),
        ("nowhere.csv", "no table"),
        (7, "DataFrame"),
    ],
)
def test_a_table_that_names_no_studies_is_refused(table: Any, words: str) -> None:
    with ores.Orthanc("http://127.0.0.1:1") as nobody, pytest.raises(errors.QueryError, match=words):
        nobody.retrieve(table, modality="odd", progress=False)


def test_rows_that_cannot_be_asked_say_why() -> None:
    table = pd.DataFrame(
        {
            "StudyInstanceUID": ["1.2.3", "1.2.*", "", None, "", "a.b"],
            "PatientID": ["", "", "A", "A", "A*", ""],
            "StudyDate": ["", "", "", "2024-02-30", "20240101", ""],
        }
    )
    rows = wanted_rows(table, None, several=False)
    assert [row.problem is None for row in rows] == [True, False, False, False, False, False]
    assert dict(rows[0].keys) == {"StudyInstanceUID": "1.2.3"}
    assert "1.2.3" not in repr(rows)
    days = pd.DataFrame({"PatientID": [7], "StudyDate": pd.to_datetime(["2024-01-02"])})
    assert dict(wanted_rows(days, None, several=False)[0].keys) == {"PatientID": "7", "StudyDate": "20240102"}
    assert wanted_rows(table, None, several=True)[2].problem is None
    assert wanted_rows(table.set_index("StudyInstanceUID").iloc[:1], None, several=False) == rows[:1]


def test_an_answer_is_the_row_or_is_passed_over() -> None:
    wanted = Wanted("Study", {"PatientID": "a1", "StudyDate": "20240101-20240131"})
    answer = {"0020,000d": "1.2", "0010,0020": "a1 ", "0008,0020": "20240131", "0020,1208": "7"}
    assert [match.announced for match in matches(wanted, [answer, answer])] == [7]
    others = [("0010,0020", "A1"), ("0008,0020", "20240201")]
    for key, value in [*others, *(("0020,000d", uid) for uid in ("", "1.*", "1.?", "1.2\\1.3"))]:
        assert matches(wanted, [{**answer, key: value}]) == []
    assert matches(wanted, [{**answer, "0020,1208": "many"}])[0].announced is None
