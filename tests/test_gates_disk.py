"""A disk that fails at any step, and an archive that changes meanwhile, are told; nothing is half there (R9, R17)."""

from __future__ import annotations

import copy
import csv
import errno
import hashlib
import importlib.util
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from faults import Fault, Proxy
from stock import stock

import orthanc_research as ores
from orthanc_research import errors

STEPS = [(Path, "replace"), (os, "fsync"), (Path, "write_bytes")]
pytestmark = pytest.mark.one_version


def small(orthanc: ores.Orthanc) -> tuple[list[str], dict[str, str]]:
    """The series of one patient; {instance: MD5}."""
    stock(orthanc, patients=1, studies=1, slices=3)
    return list(orthanc.series().index), {i: orthanc.rest.instances.md5(i) for i in orthanc.rest.instances.list()}


def run(orthanc: ores.Orthanc, form: str, series: list[str], folder: Path) -> Any:
    if form == "download":
        return orthanc.download(series, folder, progress=False)
    return orthanc.export(series, folder, format=form, progress=False)


def failing(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at: int, number: int) -> list[int]:
    """Let the n-th call fail; the list has its number once that happened."""
    real, count, hit = getattr(owner, name), iter(range(1, 10**6)), list[int]()

    def step(*arguments: Any, **options: Any) -> Any:
        if next(count) == at:
            hit.append(at)
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, step)
    return hit


def whole(folder: Path) -> Counter[str]:
    """The files of which the manifest has the MD5 that they have, by it."""
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["md5"]]
    files = {row["path"]: hashlib.md5((folder / row["path"]).read_bytes()).hexdigest() for row in rows}
    return Counter(files[row["path"]] for row in rows if files[row["path"]] == row["md5"])


def check_disk(orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int, *forms: str) -> None:
    series, md5s = small(orthanc)
    tried, right = 0, Counter(md5s.values())
    for form in forms:
        inputs = len(md5s) if form == "download" else len(series)
        for owner, name in STEPS:
            for number in (errno.ENOSPC, errno.EIO):
                for at in range(1, calls + 1):
                    folder = tmp_path / f"{form}-{name}-{number}-{at}"
                    with monkeypatch.context() as patch:
                        hit = failing(patch, owner, name, at, number)
                        told: Any = None
                        with suppress(errors.Error):
                            told = run(orthanc, form, series, folder)
                    if not hit:
                        break
                    tried += 1
                    here = f"{form}, {name} {at}: {os.strerror(number)}"
                    assert not list(folder.rglob("*.partial")), here
                    if told is not None:
                        failed = told[told["status"] != "done"]
                        assert len(told) == inputs, here
                        # What puts the manifest in order at the end may fail, and the flush of a folder: all is there.
                        assert len(failed) or name == "fsync" or (form == "download" and whole(folder) == right), here
                        assert failed["error"].str.contains(os.strerror(number)).all(), here
                    again = run(orthanc, form, series, folder)
                    assert set(again["status"]) <= {"done", "already-there"}, here
                    if form == "download":
                        assert whole(folder) == right, here
    assert tried >= 16


def test_a_disk_that_fails_at_some_step_is_told_and_gone_on_from(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_disk(orthanc, tmp_path, monkeypatch, 2, "download", "npy")


@pytest.mark.long
def test_a_disk_that_fails_at_any_step_is_told_and_gone_on_from(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_disk(orthanc, tmp_path, monkeypatch, 1000, "download", "parquet", "npy")


def at_first(part: bytes, act: Callable[[], object]) -> Callable[[bytes], Fault | None]:
    """A script that harms no request: it does something else when the first of these is asked."""
    left = [act]

    def script(request: bytes) -> Fault | None:
        if part in request.partition(b"\r\n")[0]:
            with suppress(IndexError):
                left.pop()()
        return None

    return script


def script_client(orthanc: ores.Orthanc, proxy: Proxy) -> ores.Orthanc:
    return ores.Orthanc(proxy.url, auth=orthanc.rest.connection.auth, workers=1)


def test_what_is_deleted_after_it_was_listed_is_never_silently_missing(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    series, md5s = small(orthanc)
    listed = sorted(str(value["ID"]) for value in orthanc.rest.series.children(series[0], "Instance"))
    gone = listed[1:]
    script = at_first(b"/attachments/dicom/data", lambda: orthanc.rest.tools.bulk_delete(gone))
    with Proxy(orthanc.url, script=script) as proxy, script_client(orthanc, proxy) as client:
        ledger = run(client, "download", series[:1], tmp_path)
    failed = ledger[ledger["status"] != "done"]
    assert failed["error"].notna().all()
    assert sorted(ledger.index) == listed
    assert len(failed) >= len(gone) - 1  # the one that was asked for meanwhile came, or did not
    assert set(failed.index) <= set(gone)
    done = ledger[ledger["status"] == "done"]
    assert [hashlib.md5(Path(each).read_bytes()).hexdigest() for each in done["file"]] == [
        md5s[each] for each in done.index
    ]


# At which request of the export something happens to the second series: before its turn, while its files are
# fetched, and after the last of them was; after its own turn, while the third is fetched.
MOMENTS = ("found", "first", "files", "last", "later")


SOME = {
    "parquet": [("deleted", "found"), ("added", "files"), ("exchanged", "last")],
    "npy": [("deleted", "first"), ("gone", "files"), ("added", "later")],
    "npz": [("deleted", "last"), ("replaced", "files")],
    "nifti": [("added", "first")],
}


@pytest.mark.parametrize("form", SOME)
def test_a_series_that_changes_during_an_export_is_told(orthanc: ores.Orthanc, tmp_path: Path, form: str) -> None:
    check_changes(orthanc, tmp_path, form, SOME[form])


@pytest.mark.long
@pytest.mark.parametrize("form", SOME)
def test_a_series_that_changes_at_any_moment_is_told(orthanc: ores.Orthanc, tmp_path: Path, form: str) -> None:
    every = [(act, moment) for act in ("deleted", "added", "exchanged", "replaced", "gone") for moment in MOMENTS]
    check_changes(orthanc, tmp_path, form, every)


def check_changes(orthanc: ores.Orthanc, folder: Path, form: str, cases: list[tuple[str, str]]) -> None:
    if form == "nifti":
        pytest.importorskip("nibabel")
    for act, moment in cases:
        if orthanc.rest.patients.list():
            orthanc.rest.tools.bulk_delete(orthanc.rest.patients.list())
        check_changed(orthanc, folder / f"{act}-{moment}", form, act, moment)


def check_changed(orthanc: ores.Orthanc, folder: Path, form: str, act: str, moment: str) -> None:
    datasets = [d for d in ores.samples.cohort(patients=3, studies=1, slices=5, size=16) if d.Modality == "MR"]
    stored = orthanc.upload(datasets, progress=False)
    frame = orthanc.series(columns=["SeriesInstanceUID", "NumberOfSeriesRelatedInstances"])
    order = {str(uid): str(each) for each, uid in frame["SeriesInstanceUID"].items()}
    series = list(frame.index)
    middle = [
        (each, d) for each, d in zip(stored["ID"], datasets, strict=True) if order[d.SeriesInstanceUID] == series[1]
    ]
    middle.sort(key=lambda pair: float(pair[1].ImagePositionPatient[2]))
    end = middle[-1][0]  # without it, what is left is a volume as good as any

    def happen() -> None:
        new: Any = copy.deepcopy(middle[-1][1])
        new.SOPInstanceUID = new.file_meta.MediaStorageSOPInstanceUID = f"{new.SOPInstanceUID}.1"
        if act == "added":  # the next slice, as a scanner sends it
            new.ImagePositionPatient = [
                x + (x - y) for x, y in zip(new.ImagePositionPatient, middle[-2][1].ImagePositionPatient, strict=True)
            ]
        if act in ("added", "exchanged"):
            orthanc.upload(new, progress=False)
        if act in ("deleted", "exchanged"):
            orthanc.rest.tools.bulk_delete([end])
        if act == "gone":
            orthanc.rest.tools.bulk_delete([series[1]])
        if act == "replaced":  # by another of the same UIDs, and so of the same ID
            time.sleep(1.1)  # LastUpdate has seconds
            orthanc.rest.tools.bulk_delete([end])
            same = copy.deepcopy(middle[-1][1])
            same.PixelData = bytes(reversed(same.PixelData))
            orthanc.upload(same, progress=False)

    if moment == "found":
        happen()
    place = {
        "found": b" nothing",
        "first": b"/series/" + series[0].encode(),
        "files": middle[0][0].encode() + b"/attachments",
        "last": end.encode() + b"/attachments",
        "later": b"/series/" + series[2].encode(),
    }[moment]
    with Proxy(orthanc.url, script=at_first(place, happen)) as proxy, script_client(orthanc, proxy) as client:
        frame.attrs["orthanc"] = {"level": "Series", "url": proxy.url}
        ledger = client.export(frame, folder, format=form, progress=False)
    here = f"{act} {moment} {form}"
    if act in ("exchanged", "replaced") and moment == "found":  # so many as the frame says, when the export begins
        assert ledger["status"].tolist() == ["done"] * 3, here
        return
    assert ledger["status"].tolist() == ["done", "changed", "done"], here
    row = ledger.iloc[1]
    there = {"deleted": 4, "added": 6, "exchanged": 5, "replaced": 5, "gone": 0}[act]
    assert (row["expected"], row["instances"]) == (5, there), here
    assert str(there) in row["error"], here
    assert row["error"].endswith("find it again."), here
    files = {path.name for path in folder.iterdir()}
    uid = frame["SeriesInstanceUID"].iloc[1]
    assert any(uid in name for name in files) == isinstance(row["file"], str) == (moment == "later"), here
    if act != "gone":
        (again,) = orthanc.export([series[1]], folder, format=form, progress=False).to_dict("records")
        assert (again["status"], again["expected"], again["instances"]) == ("done", there, there), here


class SmallDisk:
    """A disk of 4 MB that is full when told to, but for some bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, but: int = 0) -> None:
        with suppress(OSError), (self.folder / "ballast").open("ab", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))
        os.truncate(self.folder / "ballast", (self.folder / "ballast").stat().st_size - but)

    def free(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a disk that is really full needs mount, which root may")
    yield SmallDisk(folder)
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full_ends_an_export_in_every_form(orthanc: ores.Orthanc, disk: SmallDisk) -> None:
    stock(orthanc, patients=1, studies=1, slices=5, size=64)
    series = list(orthanc.series().index)
    disk.fill(but=1 << 14)
    for form in ("parquet", "npy", "npz", *(["nifti"] if importlib.util.find_spec("nibabel") else [])):
        ledger = orthanc.export(series, disk.folder, format=form, progress=False)
        assert ledger["status"].tolist() == ["failed", "not-sent"], form
        assert set(ledger["error"]) == {"The file cannot be written: No space left on device."}, form
        assert [path.name for path in disk.folder.iterdir()] == ["ballast"], form
    with pytest.raises(OSError, match="No space left on device; the archive takes 1 MB at most"):
        orthanc.archive(series, disk.folder / "a.zip", progress=False)
    disk.free()
    assert set(orthanc.export(series, disk.folder, format="npy", progress=False)["status"]) == {"done"}


# Full before the request, when it was carried out, while its job runs, when its copies are read back.
@pytest.mark.parametrize("verb", ["anonymize", "modify"])
@pytest.mark.parametrize(
    ("after", "at"),
    [
        ("", ""),
        ("", "POST /patients|POST /tools/bulk-[am]"),
        ("", "GET /jobs"),
        ("GET /jobs", "POST /tools/bulk-content"),
    ],
)
def test_a_journal_on_a_full_disk_ends_the_batch_and_is_gone_on_with(
    orthanc: ores.Orthanc, tmp_path: Path, disk: SmallDisk, verb: str, after: str, at: str
) -> None:
    small(orthanc)
    patients = orthanc.patients()
    before = {i: orthanc.rest.instances.md5(i) for i in orthanc.rest.instances.list()}
    journal = disk.folder / "journal"

    def start(client: ores.Orthanc) -> pd.DataFrame:
        options: dict[str, Any] = {"journal": journal, "progress": False}
        if verb == "anonymize":
            return client.anonymize(list(patients.index), **options)
        return client.modify(list(orthanc.studies().index), {"StudyDescription": "changed"}, **options)

    if not at:
        disk.fill()
        with pytest.raises(errors.QueryError, match=r"its disk is full; make 1 MB of room\. Nothing was asked"):
            start(orthanc)
        assert [path.name for path in disk.folder.iterdir()] == ["ballast"]
        disk.free()
        assert set(start(orthanc)["status"]) == {"done"}
    else:
        begun, met = list[bool](), list[str]()

        def script(request: bytes) -> Fault | None:
            line = request.partition(b"\r\n")[0].decode()
            met.append(line)
            if journal.exists() and re.match(at, line) and any(line.startswith(after) for line in met):
                begun.append(True)
                disk.fill()
            return None

        with (
            Proxy(orthanc.url, script=script) as proxy,
            ores.Orthanc(proxy.url, auth=orthanc.rest.connection.auth) as client,
        ):
            ledger = start(client)
            assert begun
            assert set(ledger["status"]) == {"unknown"}
            (text,) = set(ledger["error"])
            reason = "The journal cannot be written: its disk is full; make 1 MB of room."
            assert text == f"{reason} Go on with orthanc.resume({str(journal)!r})."
            disk.fill()  # what SQLite gave back as it closed
            with pytest.raises(errors.QueryError, match=r"The journal cannot be written"):
                client.resume(journal, progress=False)
            begun.clear()
            disk.free()
            at = "nothing"
            assert set(client.resume(journal, progress=False)["status"]) == {"done"}
    now = {i: orthanc.rest.instances.md5(i) for i in orthanc.rest.instances.list()}
    assert before.items() <= now.items()
    assert len(now) == 2 * len(before)
    origin = "AnonymizedFrom" if verb == "anonymize" else "ModifiedFrom"
    made = orthanc.rest.tools.bulk_content(sorted(now.keys() - before.keys()), metadata=True)
    assert Counter(value["Metadata"][origin] for value in made) == Counter(dict.fromkeys(before, 1))
