"""What killed runs left on the disk is listed and deleted in one call, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

import orthanc_research as ores
from orthanc_research import errors, files

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


def test_parts_of_a_download_that_runs_stay(tmp_path: Path) -> None:
    (tmp_path / "1.2").mkdir()
    (tmp_path / "1.2" / PART).write_bytes(b"half")
    with FileLock(tmp_path / ".ores-download.lock"):
        assert ores.sweep(tmp_path).empty
        assert ores.sweep(tmp_path / "1.2").empty
    assert ores.sweep(tmp_path / "1.2", dry_run=True)["kind"].tolist() == ["part"]
    with pytest.raises(errors.QueryError, match="There is no folder"):
        ores.sweep(tmp_path / "none")
