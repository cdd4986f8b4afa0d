"""Exports, archives and retrieves whose process is killed: no half file has a name, and a second run has all (R7)."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from faults import Proxy
from faults.child import Ending, act, start
from scp import odd_node
from stock import stock
from test_retrieve_table import archive_of

import orthanc_research as ores
from orthanc_research.batch.journal import Journal

pytestmark = pytest.mark.one_version

REQUESTS = {"export": 60, "archive": 18, "archive-large": 18, "retrieve": 30}  # fewer than each sends


@contextmanager
def killed_once(orthanc: ores.Orthanc, verb: str, folder: Path, seed: str) -> Iterator[tuple[ores.Orthanc, bool]]:
    """A client at the same address, and whether the run before was killed: it may have been done."""
    draw = random.Random(seed)
    ending = Ending(signal.SIGKILL, draw.randint(1, REQUESTS[verb]), draw)
    auth = orthanc.rest.connection.basic_auth()
    with Proxy(orthanc.url, script=ending) as proxy, ores.Orthanc(proxy.url, auth=auth) as client:
        ending.child = start(verb, proxy.url, auth, folder)
        ending.child.join(60)
        ending.over = True
        assert ending.child.exitcode in (0, -signal.SIGKILL)
        yield client, ending.child.exitcode != 0


def contents(folder: Path) -> dict[str, object]:
    """{name: what it holds} without what is temporary."""
    files = [path for path in folder.iterdir() if not path.name.startswith(".ores-")]
    return {path.name: members(path) if path.suffix == ".zip" else path.read_bytes() for path in files}


def members(path: Path) -> Counter[bytes]:
    with ZipFile(path) as zipped:
        assert zipped.testzip() is None
        return Counter(zipped.read(name) for name in zipped.namelist())


def check_files(orthanc: ores.Orthanc, folder: Path, verb: str, seeds: range) -> int:
    """How many runs were killed; each is one of its own, then a second run into the same folder."""
    stock(orthanc, patients=2, studies=1, slices=3)
    straight = folder / "straight"
    (straight / "out").mkdir(parents=True)
    act(orthanc, verb, straight)
    right, killed = contents(straight / "out"), 0
    assert len(right) == (1 if verb.startswith("archive") else 20)
    for seed in seeds:
        here = folder / str(seed)
        (here / "out").mkdir(parents=True)
        with killed_once(orthanc, verb, here, f"{verb} {seed}") as (client, was_killed):
            killed += was_killed
            assert contents(here / "out").items() <= right.items()  # what has its name is whole
            hidden = {str(path) for path in (here / "out").iterdir() if path.name.startswith(".")}
            left = ores.sweep(here / "out", dry_run=bool(seed % 2))  # else the next run does it
            assert set(left["file"]) == hidden
            assert seed % 2 or not list((here / "out").glob(".*"))
            ledger = act(client, verb, here)
        assert "status" not in ledger or set(ledger["status"]) == {"done"}
        assert contents(here / "out") == right
        assert not [path for path in (here / "out").iterdir() if path.name.startswith(".")]
    return killed


@pytest.mark.parametrize("verb", ["export", "archive", "archive-large"])
def test_files_of_a_run_that_is_killed_are_whole_or_absent(orthanc: ores.Orthanc, tmp_path: Path, verb: str) -> None:
    assert check_files(orthanc, tmp_path, verb, range(1))


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("verb", ["export", "archive", "archive-large"])
def test_files_of_a_run_that_is_killed_anywhere_are(orthanc: ores.Orthanc, tmp_path: Path, verb: str) -> None:
    killed = check_files(orthanc, tmp_path, verb, range(30))
    print(verb, killed)
    assert killed > 20


@pytest.fixture(scope="module")
def receiver(version: str) -> Iterator[ores.LocalOrthanc]:
    if version == "external":
        pytest.skip("needs a server of our own")
    with ores.LocalOrthanc(version, dicom=True, config={"DicomScuTimeout": 4}) as here:
        yield here


def check_retrieve(here: ores.LocalOrthanc, folder: Path, seeds: range) -> int:
    killed = 0
    for seed in seeds:
        if here.rest.patients.list():
            here.rest.tools.bulk_delete(here.rest.patients.list())
        node, table = archive_of(10)
        good = table["kind"].eq("good").to_numpy()
        mine = folder / str(seed)
        mine.mkdir()
        table[good].to_csv(mine / "table.csv", index=False)
        with odd_node(node):
            node.move_to = ("127.0.0.1", here.server.dicom_port or 0)
            here.add_modality("odd", node.aet, "127.0.0.1", node.port)
            with killed_once(here, "retrieve", mine, f"retrieve {seed}") as (client, was_killed):
                killed += was_killed
                report = act(client, "retrieve", mine)
                assert set(report["status"]) <= {"complete", "already-there"}, report["error"].tolist()
                assert report["here"].tolist() == [3] * good.sum()
                moves = Counter(node.moved)
                assert set(act(client, "retrieve", mine)["status"]) == {"already-there"}
            assert set(moves) == set(report["UID"])
            assert moves.total() <= len(moves) + 1  # the one under way may have been asked for once more
            assert Counter(node.moved) == moves
        wanted = Counter(file.SOPInstanceUID for file in node.files if file.StudyInstanceUID in moves)
        assert Counter(here.instances()["SOPInstanceUID"]) == wanted
    return killed


def test_a_retrieve_that_is_killed_brings_the_rest(receiver: ores.LocalOrthanc, tmp_path: Path) -> None:
    assert check_retrieve(receiver, tmp_path, range(1))


def test_a_journal_on_a_full_disk_ends_a_retrieve(
    receiver: ores.LocalOrthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if receiver.rest.patients.list():
        receiver.rest.tools.bulk_delete(receiver.rest.patients.list())
    node, table = archive_of(10)
    table = table[table["kind"] == "good"]
    with odd_node(node):
        node.move_to = ("127.0.0.1", receiver.server.dicom_port or 0)
        receiver.add_modality("odd", node.aet, "127.0.0.1", node.port)
        options: dict[str, Any] = {"modality": "odd", "journal": tmp_path / "journal", "progress": False}
        # Before the first row, and when what came of the first is to be noted: the row is right still.
        for calls, statuses in ((0, ["not-sent"] * 4), (1, ["complete", *["not-sent"] * 2, "complete"])):
            with monkeypatch.context() as patch:
                fill_after(patch, calls)
                report = receiver.retrieve(table, **options)
            assert report["status"].tolist() == statuses
            halted = report["error"].dropna()
            assert len(halted) == statuses.count("not-sent")
            assert halted.str.startswith("The journal cannot be written: its disk is full; make 1 MB").all()
        report = receiver.retrieve(table, **options)
        assert report["status"].tolist() == ["already-there", "complete", "complete", "already-there"]
        assert max(Counter(node.moved).values()) == 1


def fill_after(patch: pytest.MonkeyPatch, calls: int) -> None:
    """Let the disk of a journal be full after so many lines: SQLite's own error for it."""
    left = iter(range(calls))
    real = Journal.mark

    def mark(journal: Journal, *arguments: Any, **options: Any) -> None:
        if next(left, None) is None:
            pages = journal._database.rows("PRAGMA page_count")[0][0]
            journal._database.rows(f"PRAGMA max_page_count = {pages}")
            options["output"] = {"long": "x" * 100_000}  # needs pages that are not there
        real(journal, *arguments, **options)

    patch.setattr(Journal, "mark", mark)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_retrieve_that_is_killed_anywhere_brings_the_rest(receiver: ores.LocalOrthanc, tmp_path: Path) -> None:
    killed = check_retrieve(receiver, tmp_path, range(30))
    print("retrieve", killed)
    assert killed > 20
