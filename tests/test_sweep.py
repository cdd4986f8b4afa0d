"""What killed runs left on the disk is listed and deleted in one call, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

import orthanc_research as ores
from orthanc_research import errors, files
from orthanc_research.batch._manifest import LOCK, Manifest
from orthanc_research.database import Database

PART = f".ores-{'-'.join(['0123abcd'] * 5)}-{'0' * 32}.part"


def test_it_lists_and_deletes_what_dead_writers_left(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    deep = tmp_path / "1.2" / "3.4"
    deep.mkdir(parents=True)
    for folder in (tmp_path, deep):
        (folder / "mine.npy").write_bytes(b"whole")
        (folder / f".ores-{files._host()}-{dead.pid}-0011.partial").write_bytes(bytes(10))
        (folder / f".ores-{files._host()}-{os.getpid()}-0011.partial").write_bytes(b"being written")
        (folder / ".ores-00000000-1-0011.partial").write_bytes(b"of another host")
    beside = tmp_path / f".ores-{files._host()}-{dead.pid}-0022.files"
    beside.mkdir()
    (beside / "a").write_bytes(bytes(5))
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.write_bytes(b"behind a link")
    (beside / "b").symlink_to(elsewhere)
    (deep / PART).write_bytes(bytes(7))
    before = set(tmp_path.rglob("*"))
    listed = ores.sweep(tmp_path, dry_run=True)
    assert set(tmp_path.rglob("*")) == before
    assert sorted(listed["kind"]) == ["part", "temporary", "temporary", "temporary"]
    assert sorted(size for size, file in zip(listed["bytes"], listed["file"], strict=True) if "files" not in file) == [
        7,
        10,
        10,
    ]
    swept = ores.sweep(tmp_path)
    assert swept.equals(listed)
    gone = {path for path in before if any(str(path).startswith(file) for file in listed["file"])}
    assert set(tmp_path.rglob("*")) == before - gone
    assert elsewhere.read_bytes() == b"behind a link"
    assert ores.sweep(tmp_path).empty


def test_who_works_on_a_database_sweeps_beside_it_and_who_reads_does_not(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Database.create(path, lambda execute: execute("CREATE TABLE a (b)", [()]), what="journal")
    names = [f".ores-{files._host()}-{number}-0011.partial" for number in (999999999, os.getpid())]
    for name in (*names, f"{names[0]}-journal"):
        (tmp_path / name).touch()
    Database.open(path, what="journal", lock=False).close()
    assert len(list(tmp_path.glob(".ores-*"))) == 3
    Database.open(path, what="journal").close()
    assert [each.name for each in tmp_path.glob(".ores-*")] == names[1:]


def test_parts_of_a_download_that_runs_stay(tmp_path: Path) -> None:
    (tmp_path / "1.2").mkdir()
    (tmp_path / "1.2" / PART).write_bytes(b"half")
    with FileLock(tmp_path / ".ores-download.lock"):
        assert ores.sweep(tmp_path).empty
        assert ores.sweep(tmp_path / "1.2").empty
    assert ores.sweep(tmp_path / "1.2", dry_run=True)["kind"].tolist() == ["part"]
    with pytest.raises(errors.QueryError, match="There is no folder"):
        ores.sweep(tmp_path / "none")


def test_no_download_begins_while_a_part_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def unlink(path: Path, **options: Any) -> None:
        with pytest.raises(Timeout):
            FileLock(tmp_path / LOCK, timeout=0).acquire()
        tried.append(path.name)
        delete(path, **options)

    delete = Path.unlink
    (tmp_path / "1.2").mkdir()
    (tmp_path / "1.2" / PART).write_bytes(b"half")
    with Manifest(tmp_path):
        pass
    monkeypatch.setattr(Path, "unlink", unlink)
    assert ores.sweep(tmp_path)["kind"].tolist() == ["part"]
    assert tried == [PART]
    with FileLock(tmp_path / LOCK, timeout=0):  # which is let go
        pass


def test_a_download_that_begins_waits_for_a_look_of_a_sweep(tmp_path: Path) -> None:
    look = FileLock(tmp_path / LOCK, thread_local=False)
    look.acquire()
    threading.Timer(0.2, look.release).start()
    with Manifest(tmp_path):
        assert not look.is_locked


def test_what_cannot_be_deleted_is_left_and_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unlink(path: Path, **options: Any) -> None:
        if path.parent.name == "b":
            raise PermissionError
        delete(path, **options)

    delete = Path.unlink
    temporary = f".ores-{files._host()}-999999999-0011.partial"
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / PART).write_bytes(bytes(3))
        (tmp_path / name / temporary).write_bytes(bytes(4))
    beside = tmp_path / f".ores-{files._host()}-999999999-0022.files"
    beside.mkdir()
    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    swept = ores.sweep(tmp_path)
    assert set(swept["file"]) == {str(tmp_path / name / each) for name in "ac" for each in (PART, temporary)}
    left = {tmp_path / "b" / PART, tmp_path / "b" / temporary, beside}
    assert {path for path in tmp_path.rglob(".ores-*") if path.name != LOCK} == left
    assert set(ores.sweep(tmp_path, dry_run=True)["file"]) == {str(path) for path in left}
