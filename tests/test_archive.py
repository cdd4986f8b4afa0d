"""Archives: everything as it was stored in one zip, or no zip."""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
import stat
import subprocess
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pydicom
import pytest
from faults import Proxy
from stock import stock

import orthanc_research as ores
from orthanc_research import errors, files
from orthanc_research.batch import _archive, _transfer
from orthanc_research.progress import Silent


def digest(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def listed(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as zipped:
        assert zipped.testzip() is None
        names = zipped.namelist()
        assert len(names) == len(set(names))
        return {name: zipped.read(name) for name in names}


class Stopping(Silent):
    """Counts, and asks to stop after so many bytes."""

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        self.whole: int | None = None
        self.seen = 0
        self._most = most

    def total(self, count: int | None, unit: str = "") -> None:
        assert unit == "bytes"
        self.whole = count

    def advance(self, count: int = 1) -> None:
        self.seen += count
        if self._most is not None and self.seen >= self._most:
            self.cancel()


def test_every_instance_is_in_it_as_it_was_stored(orthanc: ores.Orthanc, tree: Path, tmp_path: Path) -> None:
    orthanc.upload(tree, progress=False)
    path, progress, studies = tmp_path / "all.zip", Stopping(), orthanc.studies()
    with orthanc.rest.counting() as requests:
        frame = orthanc.archive(studies, path, compress=True, progress=progress)
    assert len(requests) <= 2 * 81 + 4
    found = members(path)
    sent = {digest(each.read_bytes()) for each in tree.rglob("*") if each.is_file()}
    assert {digest(content) for content in found.values()} <= sent
    assert {name: digest(content) for name, content in found.items()} == dict(
        zip(frame["file"], frame["md5"], strict=True)
    )
    assert set(frame.index) == set(orthanc.instances().index)
    for name, content in found.items():
        header = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
        assert name == f"{header.StudyInstanceUID}/{header.SeriesInstanceUID}/{header.SOPInstanceUID}.dcm"
    assert progress.whole == progress.seen == sum(map(len, found.values())) == frame["bytes"].sum()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert listed(tmp_path) == ["all.zip"]
    assert frame.attrs["orthanc"]["level"] == "Instance"
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-tqq", path], check=True)


def test_chosen_instances_alone_and_stored_as_they_are(cohort: ores.Orthanc, tmp_path: Path) -> None:
    chosen = cohort.instances().iloc[::7]
    cohort.archive(chosen, tmp_path / "some.zip", progress=False)
    found = members(tmp_path / "some.zip")
    assert {digest(content) for content in found.values()} == {
        cohort.rest.instances.md5(instance).strip() for instance in chosen.index
    }
    assert (tmp_path / "some.zip").stat().st_size > sum(map(len, found.values()))
    with cohort.rest.counting() as requests:
        assert cohort.archive(chosen.head(0), tmp_path / "none.zip", progress=False).empty
    assert requests == []
    assert members(tmp_path / "none.zip") == {}


def test_a_file_that_the_server_cannot_read_is_an_error_and_no_zip(version: str, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    with ores.LocalOrthanc(None if version == "any" else version, folder=storage) as orthanc:
        orthanc.rest.capabilities()
        stock(orthanc, patients=1, studies=1, slices=4)
        broken, flipped = orthanc.instances().index[[3, 5]]
        for instance, spoil in ((broken, Path.unlink), (flipped, lambda each: each.write_bytes(b"x" * 4000))):
            uuid = orthanc.rest.tools.bulk_content([instance])[0]["FileUuid"]
            spoil(next(storage.rglob(uuid)))
    with ores.LocalOrthanc(None if version == "any" else version, folder=storage) as orthanc:
        # This is why it is not Orthanc that packs: its own archive lacks the file, and says nothing.
        silent = orthanc.rest.tools.create_archive(list(orthanc.studies().index))
        assert len(zipfile.ZipFile(io.BytesIO(silent)).namelist()) <= 9
        for instance in (broken, flipped):
            out = tmp_path / "out"
            out.mkdir(exist_ok=True)
            with pytest.raises(errors.OrthancError):
                orthanc.archive([instance], out / "a.zip", progress=False)
            assert listed(out) == []
        rest = orthanc.instances().drop([broken, flipped])
        assert len(orthanc.archive(rest, out / "a.zip", progress=False)) == len(members(out / "a.zip")) == 8
        # And it may die in the middle: two files are under way at most.
        orthanc.workers = 1
        orthanc.rest._client.policy._pause = lambda seconds: None

        class Killing(Silent):
            def advance(self, count: int = 1) -> None:
                orthanc.server.kill()

        with pytest.raises(errors.UnreachableError):
            orthanc.archive(rest, out / "b.zip", progress=Killing())
        assert listed(out) == ["a.zip"]


def test_cuts_on_the_wire_lose_nothing(cohort: ores.Orthanc, tmp_path: Path) -> None:
    asked: list[bytes] = []

    def cut(head: bytes) -> bool:
        asked.append(head)
        return len(asked) % 5 == 0

    c = cohort.rest.connection
    with Proxy(cohort.url, cut) as proxy, ores.Orthanc(proxy.url, auth=c.auth) as orthanc:
        orthanc.rest._client.policy._pause = lambda seconds: None
        frame = orthanc.archive(list(cohort.studies().index), tmp_path / "a.zip", progress=False)
    assert len(frame) == len(members(tmp_path / "a.zip")) == len(cohort.instances())


def test_a_server_that_is_gone_leaves_no_zip(cohort: ores.Orthanc, tmp_path: Path) -> None:
    asked: list[bytes] = []

    def cut(head: bytes) -> bool:
        asked.append(head)
        return len(asked) > 12

    c = cohort.rest.connection
    with Proxy(cohort.url, cut) as proxy, ores.Orthanc(proxy.url, auth=c.auth) as orthanc:
        orthanc.rest._client.policy._pause = lambda seconds: None
        with pytest.raises(errors.UnreachableError):
            orthanc.archive(list(cohort.studies().index), tmp_path / "a.zip", progress=False)
    assert listed(tmp_path) == []


def test_stopping_leaves_no_zip(cohort: ores.Orthanc, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"old")
    progress = Stopping(5000)
    with pytest.raises(errors.CancelledError):
        cohort.archive(cohort.series(), tmp_path / "a.zip", overwrite=True, progress=progress)
    assert progress.seen < (progress.whole or 0)
    assert (tmp_path / "a.zip").read_bytes() == b"old"
    assert listed(tmp_path) == ["a.zip"]


def test_large_files_go_over_the_disk(cohort: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_archive, "_LARGE", 100)
    left = tmp_path / f".ores-{files._host()}-999999999-0.files"  # of one that died
    left.mkdir()
    frame = cohort.archive(cohort.series(), tmp_path / "a.zip", progress=False)
    found = members(tmp_path / "a.zip")
    assert {name: digest(content) for name, content in found.items()} == dict(
        zip(frame["file"], frame["md5"], strict=True)
    )
    assert listed(tmp_path) == ["a.zip"]


def test_a_path_that_cannot_be_is_refused_before_anything_is_asked(cohort: ores.Orthanc, tmp_path: Path) -> None:
    (tmp_path / "taken.zip").write_bytes(b"mine")
    series = cohort.series()
    (tmp_path / "link.zip").symlink_to(tmp_path / "nowhere.zip")
    for path, words in (
        (tmp_path / "no" / "a.zip", "no folder"),
        (tmp_path / "taken.zip" / "a.zip", "no folder"),
        (tmp_path, "is a folder"),
        ("taken.zip", "already"),
        ("link.zip", "already"),
        ("a" * 300, "File name too long"),
        ("a\0.zip", "no path"),
    ):
        with cohort.rest.counting() as requests, pytest.raises(errors.QueryError, match=words):
            cohort.archive(series, tmp_path / path, progress=False)
        assert requests == []
    assert (tmp_path / "taken.zip").read_bytes() == b"mine"
    gone = cohort.instances().head(2)
    cohort.rest.tools.bulk_delete([gone.index[0]])
    with pytest.raises(errors.NotFoundError, match="1 of 2 instances"):
        cohort.archive(gone, tmp_path / "a.zip", progress=False)


def test_a_full_disk_says_how_much_room_it_takes(
    cohort: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="No space left on device; the archive takes 1 MB at most"):
        cohort.archive(cohort.series(), tmp_path / "a.zip", progress=False)
    assert listed(tmp_path) == []


def test_what_is_still_under_way_leaves_nothing_beside_it(
    cohort: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def slowly(*given: Any, **options: Any) -> str:
        time.sleep(0.2)
        return brought(*given, **options)

    brought = _transfer.fetch
    monkeypatch.setattr("orthanc_research.parallel.GRACE", 0.3)
    monkeypatch.setattr(_archive, "_LARGE", 100)
    monkeypatch.setattr(_archive, "fetch_to", slowly)
    monkeypatch.setattr(zipfile.ZipFile, "write", full)
    with pytest.raises(OSError, match="No space left on device") as kept:
        cohort.archive(cohort.series(), tmp_path / "a.zip", progress=False)
    time.sleep(0.3)
    assert listed(tmp_path) == []
    del kept


def test_names_are_uids_whatever_the_tags_say(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    datasets = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)
    for dataset in datasets:
        dataset.PatientName, dataset.StudyDescription, dataset.PatientID = "../../DOE^JANE", "../..", "../x"
    orthanc.upload(datasets, progress=False)
    orthanc.archive(orthanc.patients(), tmp_path / "a.zip", progress=False)
    for name in members(tmp_path / "a.zip"):
        assert set(name) <= set("0123456789./dcm")
        assert ".." not in name


def test_memory_does_not_grow_with_the_archive(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    stock(orthanc, patients=1, studies=1, slices=40, size=192)
    series = orthanc.series()
    total = orthanc.statistics()["TotalUncompressedSizeMB"]
    tracemalloc.start()
    orthanc.archive(series, tmp_path / "a.zip", progress=False)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert total > 3 * peak
