"""Download: what arrives is what was stored, once, and nothing else is touched."""

from __future__ import annotations

import copy
import csv
import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pydicom
import pytest
from dicom_files import as_file
from faults import Proxy
from stock import stock

import orthanc_research as ores
from orthanc_research import errors, resolve
from orthanc_research.batch import _listing, _transfer
from orthanc_research.batch._layout import LAYOUT, Place, Places, check_layout
from orthanc_research.batch._manifest import MANIFEST, Manifest
from orthanc_research.local import OrthancServer
from orthanc_research.progress import Silent
from orthanc_research.rest import Connection, Rest


def slices(count: int, size: int = 16) -> list[pydicom.Dataset]:
    return ores.samples.cohort(patients=1, studies=1, size=size, slices=max(3, count))[:count]


def changed(dataset: pydicom.Dataset, **values: Any) -> bytes:
    other = copy.deepcopy(dataset)
    for keyword, value in values.items():
        setattr(other, keyword, value)
    return as_file(other)


def files(folder: Path) -> dict[str, str]:
    """Every file below, with its MD5; links are not followed."""
    return {
        path.relative_to(folder).as_posix(): hashlib.md5(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def dicom(folder: Path) -> dict[str, str]:
    return {path: md5 for path, md5 in files(folder).items() if path not in (MANIFEST, ".ores-download.lock")}


def manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / MANIFEST).open(newline="") as stream:
        return list(csv.DictReader(stream))


def counts(ledger: Any) -> dict[str, int]:
    return dict(ledger["status"].value_counts())


def large(orthanc: ores.Orthanc) -> int:
    """How many series are listed by a find of their own, where there is one that can."""
    counts = [len(series["Instances"]) for series in map(orthanc.rest.series.read, orthanc.rest.series.list())]
    return sum(count >= 20 for count in counts) if orthanc.capabilities().has("extended-find") else 0


def test_every_instance_arrives_as_it_was_stored(orthanc: ores.Orthanc, tree: Path, tmp_path: Path) -> None:
    orthanc.upload(tree, progress=False)
    studies = orthanc.studies()
    out = tmp_path / "a" / "b"
    with orthanc.rest.counting() as requests:
        ledger = orthanc.download(studies, out, progress=False)
    assert len(ledger) == 81
    assert counts(ledger) == {"done": 81}
    assert len(requests) == 81 + 4 + large(orthanc)  # series of the studies, series, studies, instances
    sent = {hashlib.md5(p.read_bytes()).hexdigest() for p in tree.rglob("*") if p.is_file()}
    assert set(dicom(out).values()) <= sent
    assert sorted(dicom(out).values()) == sorted(ledger["md5"])
    for path in dicom(out):
        header = pydicom.dcmread(out / path, stop_before_pixels=True)
        assert path == f"{header.StudyInstanceUID}/{header.SeriesInstanceUID}/{header.SOPInstanceUID}.dcm"
    assert {str(out / path) for path in dicom(out)} == set(ledger["file"])
    assert (ledger["bytes"] > 0).all()
    assert (ledger["seconds"] > 0).all()
    assert ledger.attrs["orthanc"]["level"] == "Instance"


def test_folders_are_0700_and_files_0600(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload(slices(2), progress=False)
    orthanc.download(orthanc.series(), tmp_path / "out", progress=False)
    for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_manifest_names_files_uids_and_ids_and_nothing_of_the_patient(
    orthanc: ores.Orthanc, tree: Path, tmp_path: Path
) -> None:
    orthanc.upload(tree, progress=False)
    ledger = orthanc.download(orthanc.patients(), tmp_path, progress=False)
    rows = manifest(tmp_path)
    assert {row["path"]: row["md5"] for row in rows} == dicom(tmp_path)
    assert {row["ID"] for row in rows} == set(ledger.index)
    instances = orthanc.instances(columns=["SOPInstanceUID", "SeriesInstanceUID", "ParentSeries", "FileSize"])
    for row in rows:
        known = instances.loc[row["ID"]]
        assert [row["SOPInstanceUID"], row["SeriesInstanceUID"], row["ParentSeries"], int(row["bytes"])] == list(known)[
            :4
        ]
    text = (tmp_path / MANIFEST).read_text()
    patients = orthanc.patients()
    for value in [*patients["PatientName"].dropna(), *patients.index]:
        assert str(value) not in text


def test_what_a_download_keeps_of_itself_is_no_file_to_store(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload(slices(3), progress=False)
    orthanc.download(orthanc.studies(), tmp_path, progress=False)
    assert (tmp_path / MANIFEST).is_file()
    assert counts(orthanc.upload(tmp_path, progress=False)) == {"already-stored": 3}
    (tmp_path / MANIFEST).write_text("Scanner,Room\n")  # somebody else's has its row
    assert counts(orthanc.upload(tmp_path, progress=False)) == {"already-stored": 3, "failed": 1}


def test_a_second_run_asks_for_nothing_but_the_list(orthanc: ores.Orthanc, tree: Path, tmp_path: Path) -> None:
    orthanc.upload(tree, progress=False)
    series = orthanc.series()
    first = orthanc.download(series, tmp_path, progress=False)
    before = {path: (tmp_path / path).stat().st_mtime_ns for path in files(tmp_path)}
    with orthanc.rest.counting() as requests:
        second = orthanc.download(series, tmp_path, progress=False)
    assert counts(second) == {"already-there": 81}
    looked_up = [("POST", "tools/bulk-content")] * 3  # series, studies, instances
    assert sorted(requests) == looked_up + [("POST", "tools/find")] * large(orthanc)
    assert second[["file", "bytes", "md5"]].equals(first[["file", "bytes", "md5"]])
    assert {path: (tmp_path / path).stat().st_mtime_ns for path in files(tmp_path)} == before


def test_a_large_series_is_listed_the_same_by_a_find_of_its_own(
    orthanc: ores.Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock(orthanc, patients=1, studies=1, slices=25)
    chosen = resolve.select(orthanc.rest, orthanc.studies())
    with orthanc.rest.counting() as requests:
        found = _listing.listed(orthanc.rest, chosen, Places(LAYOUT))
    assert requests.count(("POST", "tools/find")) == large(orthanc)
    assert large(orthanc) or not orthanc.capabilities().has("extended-find")
    monkeypatch.setattr(_listing, "_MANY", 10**9)
    assert found == _listing.listed(orthanc.rest, chosen, Places(LAYOUT))
    assert None not in found.values()


def test_a_second_run_brings_what_is_missing_damaged_or_cut_and_only_that(
    orthanc: ores.Orthanc, tree: Path, tmp_path: Path
) -> None:
    orthanc.upload(tree, progress=False)
    orthanc.download(orthanc.series(), tmp_path, progress=False)
    right = dicom(tmp_path)
    missing, flipped, cut = [tmp_path / path for path in list(right)[:3]]
    missing.unlink()
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:-1])
    with orthanc.rest.counting() as requests:
        ledger = orthanc.download(orthanc.instances(), tmp_path, progress=False)
    assert dicom(tmp_path) == right
    assert set(ledger.loc[ledger["status"] == "done", "file"]) == {str(missing), str(flipped), str(cut)}
    assert counts(ledger) == {"already-there": 78, "done": 3}
    asked = [target for _, target in requests if "attachments" in target]
    # The flipped one has the right size, so its MD5 is asked for first.
    assert len(asked) == 3 + 1


def test_without_its_manifest_what_is_there_is_asked_about_and_not_brought_again(
    orthanc: ores.Orthanc, tmp_path: Path
) -> None:
    orthanc.upload(slices(5), progress=False)
    orthanc.download(orthanc.series(), tmp_path, progress=False)
    (tmp_path / MANIFEST).unlink()
    with orthanc.rest.counting() as requests:
        assert counts(orthanc.download(orthanc.series(), tmp_path, progress=False)) == {"already-there": 5}
    asked = [target.rpartition("/")[2] for _, target in requests if "attachments" in target]
    assert asked == ["info"] * 5
    assert len(manifest(tmp_path)) == 5


def test_lines_that_an_interruption_cut_are_no_lines(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload(slices(5), progress=False)
    orthanc.download(orthanc.series(), tmp_path, progress=False)
    whole = (tmp_path / MANIFEST).read_bytes()
    for cut in (1, 2, 3, 20, 40, 200, 300):
        (tmp_path / MANIFEST).write_bytes(whole[:-cut])
        assert counts(orthanc.download(orthanc.series(), tmp_path, progress=False)) == {"already-there": 5}
        assert len(manifest(tmp_path)) == 5
    assert (tmp_path / MANIFEST).read_bytes() == whole


def test_an_instance_that_was_stored_again_is_brought_again(version: str, tmp_path: Path) -> None:
    with ores.LocalOrthanc(None if version == "any" else version, config={"OverwriteInstances": True}) as orthanc:
        dataset, other = slices(2)
        orthanc.upload([dataset, other], progress=False)
        orthanc.download(orthanc.series(), tmp_path, progress=False)
        # The same size, another content: a size alone would not tell.
        new = changed(dataset, SeriesDescription=dataset.SeriesDescription[::-1])
        assert len(new) == len(as_file(dataset))
        orthanc.upload(new, progress=False)
        ledger = orthanc.download(orthanc.series(), tmp_path, progress=False)
        assert counts(ledger) == {"done": 1, "already-there": 1}
        assert hashlib.md5(new).hexdigest() in dicom(tmp_path).values()
        assert counts(orthanc.download(orthanc.series(), tmp_path, progress=False)) == {"already-there": 2}


def test_a_byte_flipped_on_the_servers_disk_is_a_row_and_no_file(version: str, tmp_path: Path) -> None:
    storage, out = tmp_path / "storage", tmp_path / "out"
    uncached = {"MaximumStorageCacheSize": 0}
    with ores.LocalOrthanc(None if version == "any" else version, folder=storage, config=uncached) as orthanc:
        orthanc.upload(slices(10), progress=False)
        broken = orthanc.instances().index[3]
        uuid = orthanc.rest.tools.bulk_content([broken])[0]["FileUuid"]
        path = next(storage.rglob(uuid))
        content = bytearray(path.read_bytes())
        content[-100] ^= 0x10
        path.write_bytes(content)
        ledger = orthanc.download(orthanc.series(), out, progress=False)
    assert counts(ledger) == {"done": 9, "failed": 1}
    assert ledger.index[ledger["status"] == "failed"].tolist() == [broken]
    assert "MD5" in ledger.loc[broken, "error"]  # 1.13 finds it out itself
    assert len(dicom(out)) == len(manifest(out)) == 9


class Faulty(httpx.BaseTransport):
    """The real way to the server; `fault` has what happens to a file, and how often it was asked for before."""

    def __init__(self, fault: Callable[[int, bytes], Iterator[bytes]], *, etag: bool = True) -> None:
        self._way = httpx.HTTPTransport()
        self._fault = fault
        self._etag = etag
        self._asked: Counter[str] = Counter()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._way.handle_request(request)
        if not request.url.path.endswith("/attachments/dicom/data"):
            return response
        content = response.read()
        self._asked[request.url.path] += 1
        headers = [(name, value) for name, value in response.headers.items() if self._etag or name != "etag"]
        return httpx.Response(
            response.status_code, headers=headers, stream=Chunks(self._fault(self._asked[request.url.path], content))
        )

    def close(self) -> None:
        self._way.close()


class Chunks(httpx.SyncByteStream):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks


def flip_at_first(number: int, content: bytes) -> Iterator[bytes]:
    at = len(content) * 2 // 3
    yield content if number > 1 else content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def break_at_first(number: int, content: bytes) -> Iterator[bytes]:
    yield content[: len(content) // 2]
    if number == 1:
        raise httpx.ReadError("gone")
    yield content[len(content) // 2 :]


def as_it_is(number: int, content: bytes) -> Iterator[bytes]:
    yield content


@pytest.fixture
def through(connection: Connection, rest: Rest) -> Iterator[Callable[..., ores.Orthanc]]:
    clients: list[ores.Orthanc] = []

    def make(transport: httpx.BaseTransport) -> ores.Orthanc:
        client = ores.Orthanc(connection.url, auth=connection.auth)
        client.close()
        client.rest = Rest(connection, transport=transport)
        client.rest._client.policy._pause = lambda seconds: None
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.mark.parametrize("fault", [flip_at_first, break_at_first])
def test_what_is_damaged_on_its_way_is_asked_for_again(
    orthanc: ores.Orthanc, through: Callable[..., ores.Orthanc], tree: Path, tmp_path: Path, fault: Any
) -> None:
    orthanc.upload(tree, progress=False)
    ledger = through(Faulty(fault)).download(orthanc.series(), tmp_path, progress=False)
    assert counts(ledger) == {"done": 81}
    sent = {hashlib.md5(p.read_bytes()).hexdigest() for p in tree.rglob("*") if p.is_file()}
    assert set(dicom(tmp_path).values()) <= sent
    assert len(dicom(tmp_path)) == 81


def test_what_is_always_damaged_never_gets_a_name(
    orthanc: ores.Orthanc, through: Callable[..., ores.Orthanc], tree: Path, tmp_path: Path
) -> None:
    def flip(number: int, content: bytes) -> Iterator[bytes]:
        at = number * 997 % len(content)
        yield content[:at] + bytes([content[at] ^ 1 << number % 8]) + content[at + 1 :]

    orthanc.upload(tree, progress=False)
    ledger = through(Faulty(flip)).download(orthanc.series(), tmp_path, progress=False)
    assert counts(ledger) == {"failed": 81}
    assert dicom(tmp_path) == {}


def test_a_proxy_that_takes_etags_away_costs_a_request_more(
    orthanc: ores.Orthanc, through: Callable[..., ores.Orthanc], tmp_path: Path
) -> None:
    orthanc.upload(slices(5), progress=False)
    client = through(Faulty(as_it_is, etag=False))
    with client.rest.counting() as requests:
        assert counts(client.download(orthanc.series(), tmp_path, progress=False)) == {"done": 5}
    assert len([target for _, target in requests if "attachments" in target]) == 10


def test_connections_that_are_cut_lose_nothing(
    orthanc: ores.Orthanc, connection: Connection, tree: Path, tmp_path: Path
) -> None:
    seen: list[bytes] = []

    def cut(head: bytes) -> bool:
        seen.append(head)
        return b"/attachments/" in head and len(seen) % 5 == 0

    orthanc.upload(tree, progress=False)
    with Proxy(connection.url, cut) as proxy, ores.Orthanc(proxy.url, auth=connection.auth) as client:
        client.rest._client.policy._pause = lambda seconds: None
        ledger = client.download(client.series(), tmp_path, progress=False)
    assert counts(ledger) == {"done": 81}
    assert sorted(dicom(tmp_path).values()) == sorted(ledger["md5"])


# -- large files ------------------------------------------------------------------------------------------------------


class StopMidway(Silent):
    """Cancels when a part of a file has come."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    @property
    def cancelled(self) -> bool:
        return any(piece.stat().st_size for piece in self._folder.rglob("*.part"))


def test_a_large_file_goes_on_where_it_stopped(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_transfer, "_PART", 4096)
    content = as_file(slices(1, size=128)[0])
    parts = -(-len(content) // 4096)
    assert parts > 6
    orthanc.upload(content, progress=False)
    series = orthanc.series()
    ranged = orthanc.capabilities().has("attachment-range")
    first = orthanc.download(series, tmp_path, progress=StopMidway(tmp_path))
    assert counts(first) == {"not-sent": 1} if ranged else {"done": 1}
    if ranged:
        piece = next(tmp_path.rglob("*.part"))
        assert stat.S_IMODE(piece.stat().st_mode) == 0o600
        assert 0 < piece.stat().st_size < len(content)
        left = parts - piece.stat().st_size // 4096
        assert MANIFEST not in files(tmp_path)
        with orthanc.rest.counting() as requests:
            assert counts(orthanc.download(series, tmp_path, progress=False)) == {"done": 1}
        assert len([target for _, target in requests if target.endswith("/data")]) == left < parts
    assert list(dicom(tmp_path).values()) == [hashlib.md5(content).hexdigest()]
    with orthanc.rest.counting() as requests:
        assert counts(orthanc.download(series, tmp_path, progress=False)) == {"already-there": 1}
    assert not [target for _, target in requests if "attachments" in target]


@pytest.mark.parametrize("rest_of_it", [b"x" * 5000, b"x" * 10**6, b""])
def test_a_part_that_is_not_of_this_file_does_no_harm(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest_of_it: bytes
) -> None:
    monkeypatch.setattr(_transfer, "_PART", 4096)
    content = as_file(slices(1, size=128)[0])
    md5 = hashlib.md5(content).hexdigest()
    orthanc.upload(content, progress=False)
    instance = orthanc.instances().index[0]
    for name in (f".ores-{instance}-{md5}.part", f".ores-{instance}-{'0' * 32}.part"):
        (tmp_path / name).write_bytes(rest_of_it)
    if not orthanc.capabilities().has("attachment-range"):
        assert counts(orthanc.download(instance, tmp_path, layout="{SOPInstanceUID}", progress=False)) == {"done": 1}
        return
    ledger = orthanc.download(instance, tmp_path, layout="{SOPInstanceUID}", progress=False)
    assert counts(ledger) == {"done": 1}
    assert list(dicom(tmp_path).values()) == [md5]


def test_a_proxy_that_does_not_know_parts_is_no_obstacle(
    orthanc: ores.Orthanc,
    through: Callable[..., ores.Orthanc],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_transfer, "_PART", 4096)
    content = as_file(slices(1, size=128)[0])

    class Whole(Faulty):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            request.headers.pop("range", None)
            return super().handle_request(request)

    orthanc.upload(content, progress=False)
    client = through(Whole(as_it_is))
    assert counts(client.download(orthanc.series(), tmp_path, progress=False)) == {"done": 1}
    assert list(dicom(tmp_path).values()) == [hashlib.md5(content).hexdigest()]


def test_memory_stays_flat_however_large_the_file(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    content = changed(slices(1)[0], Rows=4096, Columns=4096, PixelData=os.urandom(4096 * 4096 * 2))
    orthanc.upload(content, progress=False)
    series = orthanc.series()
    tracemalloc.start()
    try:
        ledger = orthanc.download(series, tmp_path, progress=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert list(dicom(tmp_path).values()) == [hashlib.md5(content).hexdigest()]
    assert counts(ledger) == {"done": 1}
    assert peak < len(content) / 4


# -- names ------------------------------------------------------------------------------------------------------------


def test_hostile_tags_write_nothing_outside_the_folder(orthanc: ores.Orthanc, realdata: Path, tmp_path: Path) -> None:
    orthanc.upload(realdata / "derived-hostile-tags", progress=False)
    outside = tmp_path / "parent"
    out = outside / "folder" / "out"
    out.mkdir(parents=True)
    (outside / "keep.txt").write_text("as it was")
    layout = "{Modality}/{SeriesNumber}/{StudyInstanceUID}/{SOPInstanceUID}.dcm"
    ledger = orthanc.download(orthanc.studies(), out, layout=layout, progress=False)
    assert counts(ledger) == {"done": 28}
    assert {path for path in files(outside) if not path.startswith("folder/out/")} == {"keep.txt"}
    assert {path.name for path in tmp_path.iterdir()} == {"parent"}
    assert len(dicom(out)) == 28
    assert {path.split("/")[0] for path in dicom(out)} == {"CT"}
    ones = {path.split("/")[1] for path in dicom(out)}
    assert ones == {"1"}  # and of SeriesNumber -1 only the digit
    for part in {part for path in files(out) for part in path.split("/")} - {MANIFEST, ".ores-download.lock"}:
        assert part.removesuffix(".dcm").replace(".", "").isalnum()


def test_values_that_are_no_uids_give_way_to_orthanc_ids(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    wild = {
        "StudyInstanceUID": "DOE^JOHN",
        "SeriesInstanceUID": "../../x",
        "SOPInstanceUID": "=HYPER(1)",
        "Modality": "../ct",
        "SeriesNumber": "-7",
    }
    row = orthanc.upload(changed(slices(1)[0], **wild), progress=False).iloc[0]
    out = tmp_path / "out"
    orthanc.download(orthanc.studies(), out, progress=False)
    layout = "by modality/{Modality}-{SeriesNumber}/{SOPInstanceUID}.dcm"
    orthanc.download(orthanc.studies(), out, layout=layout, progress=False)
    assert set(dicom(out)) == {
        f"{row['ParentStudy']}/{row['ParentSeries']}/{row['ID']}.dcm",
        f"by modality/CT-7/{row['ID']}.dcm",
    }
    text = (out / MANIFEST).read_text()
    assert "HYPER" not in text
    assert "DOE" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_same_uids_under_two_patients_do_not_collide(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    originals = slices(3)
    copies = [changed(each, PatientID="ANOTHER", PatientName="ANOTHER") for each in originals]
    orthanc.upload([*originals, *copies], progress=False)
    patients = orthanc.patients()
    together = orthanc.download(patients, tmp_path / "together", progress=False)
    assert counts(together) == {"done": 6}
    for order, name in ((patients.index, "there"), (patients.index[::-1], "back")):
        for patient in order:
            assert counts(orthanc.download(patient, tmp_path / name, progress=False)) == {"done": 3}
    content = {hashlib.md5(each).hexdigest() for each in [*map(as_file, originals), *copies]}
    for name in ("together", "there", "back"):
        found = dicom(tmp_path / name)
        assert set(found.values()) == content
        assert len(found) == 6
        # No folder holds slices of two series.
        folders = {row["path"].rpartition("/")[0]: row["ParentSeries"] for row in manifest(tmp_path / name)}
        assert len(folders) == len(set(folders.values())) == 2
        assert counts(orthanc.download(patients, tmp_path / name, progress=False)) == {"already-there": 6}
        assert dicom(tmp_path / name) == found


def test_what_others_put_there_is_never_overwritten(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    one, two, three = slices(3)
    orthanc.upload([one, two, three], progress=False)
    theirs = tmp_path / f"{one.SOPInstanceUID}.dcm"
    theirs.write_bytes(b"mine")
    (tmp_path / f"{two.SOPInstanceUID}.dcm").mkdir()
    (tmp_path / f"{three.SOPInstanceUID}.dcm").symlink_to(tmp_path / "elsewhere")
    for expected in ({"done": 3}, {"already-there": 3}):
        ledger = orthanc.download(orthanc.series(), tmp_path, layout="{SOPInstanceUID}.dcm", progress=False)
        assert counts(ledger) == expected
        assert theirs.read_bytes() == b"mine"
        assert not (tmp_path / "elsewhere").exists()
        names = {Path(name).name for name in ledger["file"]}
        assert names == {
            f"{each.SOPInstanceUID}-{identifier}.dcm"
            for each in (one, two, three)
            for identifier in ledger.index
            if orthanc.dicom(identifier).SOPInstanceUID == each.SOPInstanceUID
        }
    # Not even when nobody knows any more what was whose: the name with the Orthanc ID is ours.
    (tmp_path / MANIFEST).unlink()
    next(tmp_path.glob(f"{one.SOPInstanceUID}-*.dcm")).write_bytes(b"half")
    ledger = orthanc.download(orthanc.series(), tmp_path, layout="{SOPInstanceUID}.dcm", progress=False)
    assert counts(ledger) == {"already-there": 2, "done": 1}
    assert theirs.read_bytes() == b"mine"
    assert {hashlib.md5(as_file(each)).hexdigest() for each in (one, two, three)} <= set(dicom(tmp_path).values())


WRONG_LAYOUTS = [
    "{PatientName}/{SOPInstanceUID}",
    "{PatientID}/{SOPInstanceUID}",
    "{SOPInstanceUID.__class__}",
    "{SOPInstanceUID!r}",
    "{SOPInstanceUID:>9}",
    "{0}/{SOPInstanceUID}",
    "{}/{SOPInstanceUID}",
    "{SOPInstanceUID",
    "/{SOPInstanceUID}",
    "../{SOPInstanceUID}",
    "a/../{SOPInstanceUID}",
    "~/{SOPInstanceUID}",
    "a\\{SOPInstanceUID}",
    "a//{SOPInstanceUID}",
    ".hidden/{SOPInstanceUID}",
    "-rf/{SOPInstanceUID}",
    "c:/{SOPInstanceUID}",
    "a\x00/{SOPInstanceUID}",
    "{{x}}/{SOPInstanceUID}",
    "{SOPInstanceUID}/x.dcm",
    "{SOPInstanceUID}/{SOPInstanceUID}",
    "{SeriesInstanceUID}.dcm",
    f"{MANIFEST}/{{SOPInstanceUID}}",
    "",
    7,
    None,
]


@pytest.mark.parametrize("layout", WRONG_LAYOUTS)
def test_layouts_that_cannot_be_are_refused(layout: Any) -> None:
    with pytest.raises(errors.QueryError, match="layout"):
        check_layout(layout)


def test_a_layout_is_refused_before_anything_is_sent_or_made(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload(slices(1), progress=False)
    series = orthanc.series()
    with orthanc.rest.counting() as requests, pytest.raises(errors.QueryError, match="layout"):
        orthanc.download(series, tmp_path / "out", layout="{PatientName}/{SOPInstanceUID}", progress=False)
    assert requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", ["x" * 300 + "/{SOPInstanceUID}", "{SOPInstanceUID}" + "x" * 300])
def test_a_name_that_is_too_long_is_a_row(orthanc: ores.Orthanc, tmp_path: Path, layout: str) -> None:
    orthanc.upload(slices(2), progress=False)
    ledger = orthanc.download(orthanc.series(), tmp_path, layout=layout, progress=False)
    assert counts(ledger) == {"failed": 2}
    assert ledger["error"].str.contains("File name too long").all()
    assert dicom(tmp_path) == {}


def test_two_instances_never_have_one_path() -> None:
    places = Places(check_layout("{SeriesNumber}{SOPInstanceUID}"))
    one = Place(("1.2", "s"), ("1.2", "r"), ("2.3.4", "a"), number="1")
    two = Place(("1.2", "s"), ("1.2", "r"), ("12.3.4", "b"), number="")
    three = Place(("1.2", "s"), ("1.2", "r"), ("3.4", "c"), number="12.")
    paths = [places.of(each) for each in (one, two, three, one)]
    assert paths[0] == paths[3] == "12.3.4"
    assert len(set(paths)) == 3


# -- rows for all -----------------------------------------------------------------------------------------------------


def test_nothing_to_download_is_an_empty_ledger_without_a_request(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload(slices(1), progress=False)
    empty = orthanc.series().iloc[:0]
    with orthanc.rest.counting() as requests:
        ledger = orthanc.download(empty, tmp_path / "out", progress=False)
    assert requests == []
    assert ledger.empty
    assert not (tmp_path / "out").exists()
    full = orthanc.download(orthanc.series(), tmp_path / "out", progress=False)
    assert ledger.dtypes.equals(full.dtypes)


def test_chosen_instances_keep_their_order_and_those_that_are_gone_have_rows(
    orthanc: ores.Orthanc, tmp_path: Path
) -> None:
    orthanc.upload([*slices(4), *ores.samples.cohort(patients=2, studies=1, size=16, slices=3)[-2:]], progress=False)
    instances = orthanc.instances().sort_values("SOPInstanceUID")
    one = str(instances.groupby("ParentSeries").head(1).index[0])
    orthanc.rest.instances.delete(one)
    small = str(instances["ParentSeries"].value_counts().idxmin())
    orthanc.rest.series.delete(small)
    gone = {one, *instances.index[instances["ParentSeries"] == small]}
    ledger = orthanc.download(instances, tmp_path, progress=False)
    assert list(ledger.index) == list(instances.index)
    assert set(ledger.index[ledger["status"] == "failed"]) == gone
    assert ledger.loc[one, "error"] == "It is no longer on this Orthanc; find it again."
    assert set(ledger.loc[ledger["status"] != "failed", "status"]) == {"done"}
    with pytest.raises(errors.NotFoundError, match="1 of 1 series are no longer"):
        orthanc.download(_frame_of("Series", small, orthanc), tmp_path, progress=False)


def _frame_of(level: str, identifier: str, orthanc: ores.Orthanc) -> Any:
    frame = pd.DataFrame(index=pd.Index([identifier], name="ID", dtype="str"))
    frame.attrs["orthanc"] = {"level": level, "url": orthanc.url, "client": ""}
    return frame


def test_a_ledger_can_be_downloaded_again(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload(slices(3), progress=False)
    ledger = orthanc.download(orthanc.series(), tmp_path, progress=False)
    assert counts(orthanc.download(ledger.iloc[1:], tmp_path, progress=False)) == {"already-there": 2}


def test_a_wrong_password_ends_it_and_every_instance_has_its_row(version: str, tmp_path: Path) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    with OrthancServer(version) as server, ores.Orthanc(server.url, auth=server.auth) as right:
        right.upload(slices(30), progress=False)
        series = right.series()

        class Refuse(httpx.BaseTransport):
            """The password is changed in the middle."""

            way = httpx.HTTPTransport()
            left = 10

            def handle_request(self, request: httpx.Request) -> httpx.Response:
                if "attachments" in request.url.path:
                    self.left -= 1
                    if self.left < 0:
                        request.headers["Authorization"] = "Basic bm9ib2R5Om5vdGhpbmc="
                return self.way.handle_request(request)

            def close(self) -> None:
                self.way.close()

        right.close()
        right.rest = Rest(right._connection, transport=Refuse())
        ledger = right.download(series, tmp_path, progress=False)
    seen = counts(ledger)
    assert len(ledger) == 30
    assert seen["done"] >= 3
    assert seen["failed"] >= 1
    assert seen["not-sent"] >= 10
    assert ledger.loc[ledger["status"] != "done", "error"].str.contains("refused the user name and password").all()
    assert len(dicom(tmp_path)) == seen["done"]


def test_a_server_killed_mid_run_leaves_rows_and_the_rest_comes_later(version: str, tmp_path: Path) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    out = tmp_path / "out"
    with OrthancServer(version, folder=tmp_path / "storage") as server:

        class KillAfterTen(Silent):
            count = 0

            def advance(self, count: int = 1) -> None:
                self.count += 1
                if self.count == 10:
                    server.kill()

        with ores.Orthanc(server.url, auth=server.auth) as orthanc:
            orthanc.upload(slices(80), progress=False)
            series = orthanc.series()
            orthanc.rest._client.policy._pause = lambda seconds: None
            ledger = orthanc.download(series, out, progress=KillAfterTen())
            seen = counts(ledger)
            assert sum(seen.values()) == len(ledger) == 80
            assert seen["done"] >= 9
            assert seen["not-sent"] > 0
            assert len(dicom(out)) == len(manifest(out)) == seen["done"]
            server.restart()
            again = orthanc.download(series, out, progress=False)
            assert counts(again) == {"already-there": seen["done"], "done": 80 - seen["done"]}


def test_cancelling_leaves_rows_that_were_not_sent(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    class AfterThree(Silent):
        seen = 0
        units: tuple[int | None, str] = (None, "")

        def total(self, count: int | None, unit: str = "") -> None:
            self.units = (count, unit)

        def advance(self, count: int = 1) -> None:
            self.seen += count
            if self.seen == 3:
                self.cancel()

    orthanc.upload(slices(60), progress=False)
    progress = AfterThree()
    ledger = orthanc.download(orthanc.series(), tmp_path, progress=progress)
    seen = counts(ledger)
    assert progress.units == (60, "instances")
    assert 3 <= seen["done"] < 20
    assert seen["done"] + seen["not-sent"] == 60
    assert len(dicom(tmp_path)) == seen["done"] == progress.seen


def test_a_full_disk_ends_it_and_says_how_much_is_missing(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orthanc.upload(slices(40), progress=False)
    path_open: Any = Path.open

    def full(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name.endswith(".partial") and len(list(tmp_path.rglob("*.dcm"))) >= 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return path_open(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    ledger = orthanc.download(orthanc.series(), tmp_path, progress=False)
    monkeypatch.undo()
    seen = counts(ledger)
    assert seen["done"] >= 5
    assert seen["not-sent"] > 20
    assert ledger.loc[ledger["status"] != "done", "error"].str.contains("No space left on device. 1 MB").all()
    assert len(dicom(tmp_path)) == seen["done"]
    assert counts(orthanc.download(orthanc.series(), tmp_path, progress=False))["done"] == 40 - seen["done"]


def test_without_md5s_on_the_server_nothing_is_called_right(version: str, tmp_path: Path) -> None:
    config = {"StoreMD5ForAttachments": False}
    with ores.LocalOrthanc(None if version == "any" else version, config=config) as orthanc:
        orthanc.upload(slices(2), progress=False)
        ledger = orthanc.download(orthanc.series(), tmp_path, progress=False)
    assert counts(ledger) == {"failed": 2}
    assert ledger["error"].str.contains("StoreMD5ForAttachments").all()
    assert dicom(tmp_path) == {}


def test_folders_that_cannot_be_are_refused_before_anything_is_sent(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload(slices(1), progress=False)
    series = orthanc.series()
    (tmp_path / "file").write_text("x")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / MANIFEST).write_text("name,age\nDoe,7\n")
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / MANIFEST).write_bytes(b"\xff\xfe\x00")
    (tmp_path / "busy").mkdir()
    with orthanc.rest.counting() as requests:
        with pytest.raises(errors.QueryError, match="Nothing can be written"):
            orthanc.download(series, tmp_path / "file", progress=False)
        with pytest.raises(errors.QueryError, match="Nothing can be written"):
            orthanc.download(series, tmp_path / "file" / "below", progress=False)
        with pytest.raises(errors.QueryError, match="Nothing can be written"):
            orthanc.download(series, tmp_path / "M\udcfcller", progress=False)
        for name in ("theirs", "binary"):
            with pytest.raises(errors.QueryError, match="no download wrote"):
                orthanc.download(series, tmp_path / name, progress=False)
        with Manifest(tmp_path / "busy"), pytest.raises(errors.QueryError, match="Another download"):
            orthanc.download(series, tmp_path / "busy", progress=False)
        with pytest.raises(errors.QueryError, match="no Orthanc IDs"):
            orthanc.download("DOE^JOHN", tmp_path / "made", progress=False)
    assert requests == []
    assert (tmp_path / "theirs" / MANIFEST).read_text() == "name,age\nDoe,7\n"
    assert not (tmp_path / "made").exists()
    assert counts(orthanc.download(series, tmp_path / "busy", progress=False)) == {"done": 1}


_RUN = """
import sys, orthanc_research as ores
from orthanc_research.progress import Silent
url, user, password, out = sys.argv[1:]
with ores.Orthanc(url, auth=(user, password)) as orthanc:
    print("begins", flush=True)
    orthanc.download(orthanc.series(), out, progress=Silent())
"""


def test_a_run_that_is_killed_leaves_whole_files_and_is_finished_by_the_next(
    orthanc: ores.Orthanc, connection: Connection, tmp_path: Path
) -> None:
    orthanc.upload(slices(120, size=64), progress=False)
    user, password = connection.basic_auth() or ("", "")
    kills = 0
    for count in (5, 40):
        run = subprocess.Popen(
            [sys.executable, "-c", _RUN, connection.url, user, password, str(tmp_path)], stdout=subprocess.PIPE
        )
        try:
            while run.poll() is None and len(list(tmp_path.rglob("*.dcm"))) < count:
                time.sleep(0.002)
            kills += run.poll() is None
        finally:
            run.send_signal(signal.SIGKILL)
            run.communicate()
        for path in tmp_path.rglob("*.dcm"):
            pydicom.dcmread(path).pixel_array  # noqa: B018
    assert kills
    before = len(list(tmp_path.rglob("*.dcm")))
    ledger = orthanc.download(orthanc.series(), tmp_path, progress=False)
    assert counts(ledger) == {"already-there": before, "done": 120 - before}
    assert sorted(dicom(tmp_path).values()) == sorted(ledger["md5"])  # and nothing half-written beside them
