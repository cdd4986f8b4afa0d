"""Upload: a row for every input, whatever happens to it."""

from __future__ import annotations

import gzip
import io
import os
import re
import socket
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom
import pytest

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.batch import _inputs, _upload
from orthanc_research.local import OrthancServer
from orthanc_research.progress import Silent


def slices(count: int) -> list[pydicom.Dataset]:
    found = []
    for dataset in ores.samples.cohort(size=16):
        found.append(dataset)
        if len(found) == count:
            break
    return found


def test_one_bad_file_among_fifty_good_ones_is_one_row(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    for number, dataset in enumerate(slices(50)):
        pydicom.dcmwrite(tmp_path / f"{number:02}", dataset, enforce_file_format=True)
    (tmp_path / "25-notes.txt").write_text("not DICOM")
    ledger = orthanc.upload(tmp_path, progress=False)
    assert len(ledger) == 51
    assert ledger["status"].value_counts().to_dict() == {"stored": 50, "failed": 1}
    bad = ledger[ledger["status"] == "failed"].iloc[0]
    assert bad["Source"].endswith("25-notes.txt")
    assert bad["error"] == "Not a DICOM file, or a damaged one: Orthanc cannot read it."
    assert orthanc.statistics()["CountInstances"] == 50
    again = orthanc.upload(tmp_path, progress=False)
    assert again["status"].value_counts().to_dict() == {"already-stored": 50, "failed": 1}
    assert list(again["ID"].dropna()) == list(ledger["ID"].dropna())


def test_another_file_under_the_same_uid_is_a_conflict_and_the_stored_one_stays(orthanc: ores.Orthanc) -> None:
    one, other = slices(1)[0], slices(1)[0]
    other.PixelData = bytes(len(one.PixelData))
    assert orthanc.upload(one, progress=False)["status"].tolist() == ["stored"]
    before = orthanc.rest.instances.md5(orthanc.rest.instances.list()[0])
    with orthanc.rest.counting() as requests:
        ledger = orthanc.upload([one, other], progress=False)
    assert ledger["status"].tolist() == ["already-stored", "conflict"]
    assert "stays" in ledger["error"].iloc[1]
    assert len(requests) == 2 * 2 + 1  # of what differs, whether this server changes what it stores
    assert orthanc.rest.instances.md5(orthanc.rest.instances.list()[0]) == before


def test_many_files_of_a_series_are_checked_by_a_list_of_it(orthanc: ores.Orthanc) -> None:
    data = slices(60)
    with orthanc.rest.counting() as requests:
        assert set(orthanc.upload(data, progress=False)["status"]) == {"stored"}
    if orthanc.capabilities().has("extended-find"):
        assert 60 < len(requests) < 60 + 12
    else:
        assert len(requests) == 2 * 60
    data[7].PixelData = bytes(len(data[7].PixelData))
    assert orthanc.upload(data, progress=False)["status"].tolist().index("conflict") == 7


@pytest.mark.parametrize("config", [{"StoreMD5ForAttachments": False}, {"IngestTranscoding": "1.2.840.10008.1.2"}])
def test_servers_that_keep_no_md5_or_another_syntax_are_no_alarm(version: str, config: dict[str, object]) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    with ores.LocalOrthanc(version, config=config) as orthanc:
        for status in ("stored", "already-stored"):
            assert orthanc.upload(slices(2), progress=False)["status"].tolist() == [status] * 2


def test_files_folders_zips_datasets_and_bytes_are_taken(orthanc: ores.Orthanc, tmp_path: Path, ct_small: Path) -> None:
    one, two, three = slices(3)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, two, enforce_file_format=True)
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("a", ct_small.read_bytes())
        archive.writestr("junk.txt", b"junk")
    pydicom.dcmwrite(tmp_path / "three.dcm", three, enforce_file_format=True)
    (tmp_path / "DICOMDIR").write_bytes(b"an index")
    ledger = orthanc.upload([one, buffer.getvalue(), tmp_path], progress=False)
    assert dict(zip(ledger["Source"].str.split("/").str[-1], ledger["status"], strict=True)) == {
        "dataset 0": "stored",
        "bytes 1": "stored",
        "DICOMDIR": "skipped",
        "some.zip!a": "stored",
        "some.zip!junk.txt": "failed",
        "three.dcm": "stored",
    }
    assert ledger.loc[0, ["ParentPatient", "ParentStudy", "ParentSeries"]].notna().all()


def zipped(path: Path, members: dict[str, bytes], **options: int) -> bytes:
    with zipfile.ZipFile(path, "w", **options) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            archive.writestr(name, content)
    return path.read_bytes()


def test_a_bad_member_of_a_zip_is_one_row(orthanc: ores.Orthanc, tmp_path: Path, ct_small: Path) -> None:
    good = ct_small.read_bytes()
    members = {"good": good, "corrupt": good, "crypt": b"x" * 50, "odd": b"y" * 50, "in.zip": b"", "x/DICOMDIR": b"z"}
    members["in.zip"] = zipped(tmp_path / "inner", {"a": good})
    (tmp_path / "inner").unlink()
    data = bytearray(zipped(tmp_path / "all.zip", members, compression=zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        start = {info.filename: info.header_offset for info in archive.infolist()}
    for at in range(start["corrupt"] + 100, start["corrupt"] + 200):
        data[at] ^= 0x55  # zlib.error, or a wrong checksum
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"crypt"))
    data[entry + 8] |= 1  # in the directory: encrypted
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"odd"))
    data[entry + 10] = 99  # a compression that Python does not know
    (tmp_path / "all.zip").write_bytes(data)
    ledger = orthanc.upload(tmp_path, progress=False)
    rows = dict(zip(ledger["Source"].str.split("!").str[-1], ledger["status"], strict=True))
    assert rows == {
        "good": "stored",
        "corrupt": "failed",
        "crypt": "failed",
        "odd": "failed",
        "in.zip": "failed",
        "x/DICOMDIR": "skipped",
    }
    reasons = dict(zip(ledger["Source"].str.split("!").str[-1], ledger["error"], strict=True))
    assert "encrypted" in reasons["crypt"]
    assert "inside another zip" in reasons["in.zip"]
    assert orthanc.statistics()["CountInstances"] == 1


def test_a_zip_is_known_by_its_content(orthanc: ores.Orthanc, tmp_path: Path, ct_small: Path) -> None:
    data = zipped(tmp_path / "export.bin", {"a": ct_small.read_bytes(), "b": b"junk"})
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    (tmp_path / "not.zip").write_bytes(ct_small.read_bytes())
    ledger = orthanc.upload([tmp_path, data], progress=False)
    assert list(ledger["Source"].str.split("/").str[-1]) == [
        "cut.zip",
        "export.bin!a",
        "export.bin!b",
        "not.zip",
        "bytes 1!a",
        "bytes 1!b",
    ]
    # The three that are the same file are sent at once: which of them was first, nobody knows.
    assert list(ledger["status"].eq("failed")) == [True, False, True, False, False, True]
    assert ledger["error"].str.contains("a zip that is damaged", case=False).sum() == 1


def test_the_directory_of_a_zip_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {f"{number}": b"%d" % number for number in range(20)}
    data = zipped(tmp_path / "many.zip", contents, compression=zipfile.ZIP_DEFLATED)
    items = list(_inputs.items_of([tmp_path, data]))

    def lost(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", lost)
    assert [_inputs.content_of(item) for item in items] == list(contents.values()) * 2


@pytest.mark.one_version
def test_orthanc_is_given_no_zip_whole(orthanc: ores.Orthanc, tmp_path: Path, ct_small: Path) -> None:
    zipped(tmp_path / "empty.zip", {})
    zipped(tmp_path / "folders.zip", {"a/": b""})
    pieces = b"PK\x07\x08" + zipped(tmp_path / "good.zip", {"a": ct_small.read_bytes()})
    (tmp_path / "good.zip").write_bytes(pieces)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(pieces))
    ledger = orthanc.upload(tmp_path, progress=False)
    assert list(ledger["status"]) == ["failed", "failed", "stored", "failed"]
    assert ledger["Source"].str.endswith("good.zip!a").sum() == 1
    assert ledger["error"].str.contains("A zip that is damaged, or empty").sum() == 3


@pytest.mark.one_version
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every file name is a text")
def test_a_file_whose_name_is_no_text_has_its_row(orthanc: ores.Orthanc, tmp_path: Path, ct_small: Path) -> None:
    odd = tmp_path / os.fsdecode(b"M\xfcller.dcm")
    odd.write_bytes(b"cut")
    ledger = orthanc.upload(tmp_path, progress=False)
    assert ledger["Source"].tolist() == [f"{tmp_path}/M\\udcfcller.dcm"]
    assert ledger["status"].tolist() == ["failed"]
    assert _upload.upload_again(ledger) == [str(odd)]
    odd.write_bytes(ct_small.read_bytes())
    again = orthanc.upload(_upload.upload_again(ledger), progress=False)
    assert _upload.upload_joined(ledger, again)["status"].tolist() == ["stored"]


def test_a_gzip_is_unpacked_before_it_is_sent(orthanc: ores.Orthanc, tmp_path: Path, ct_small: Path) -> None:
    good = ct_small.read_bytes()
    packed = gzip.compress(good)
    zipped(tmp_path / "all.zip", {"a.dcm.gz": packed})
    (tmp_path / "cut.gz").write_bytes(packed[:-20])
    (tmp_path / "notes.gz").write_bytes(gzip.compress(b"not DICOM"))
    (tmp_path / "of-a-zip").write_bytes(gzip.compress((tmp_path / "all.zip").read_bytes()))
    assert list(orthanc.upload(packed, progress=False)[["status", "bytes"]].iloc[0]) == ["stored", len(good)]
    ledger = orthanc.upload(tmp_path, progress=False)
    assert dict(zip(ledger["Source"].str.split("/").str[-1], ledger["status"], strict=True)) == {
        "all.zip!a.dcm.gz": "already-stored",
        "cut.gz": "failed",
        "notes.gz": "failed",
        "of-a-zip": "failed",
    }
    assert "unpack it first" in ledger["error"].iloc[-1]
    assert orthanc.rest.instances.file(orthanc.rest.instances.list()[0]) == good


def test_what_unpacks_to_too_much_is_a_row(
    orthanc: ores.Orthanc, tmp_path: Path, ct_small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_inputs, "_MOST", 50_000)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(10**6)))
    zipped(tmp_path / "bomb.zip", {"bomb": bytes(10**6), "good": ct_small.read_bytes()})
    ledger = orthanc.upload(tmp_path, progress=False)
    assert list(ledger["status"]) == ["failed", "failed", "stored"]
    assert ledger["error"].str.contains("unpack it first").sum() == 2


def test_progress_counts_files_and_tells_mb_a_second(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    class Heard(Silent):
        def __init__(self) -> None:
            super().__init__()
            self.units: list[object] = []
            self.count, self.said = 0, ""

        def total(self, count: int | None, unit: str = "") -> None:
            self.units.append((count, unit))

        def advance(self, count: int = 1) -> None:
            self.count += count

        def note(self, text: str) -> None:
            self.said = text

    up, down = Heard(), Heard()
    ledger = orthanc.upload(slices(5), progress=up)
    orthanc.download(orthanc.studies(), tmp_path / "out", progress=down)
    assert (up.units, up.count) == ([(5, "files")], 5)
    assert (down.units, down.count) == ([(5, "instances")], 5)
    mb = f"{ledger['bytes'].sum() / 1e6:.1f}"
    assert all(re.fullmatch(rf"{mb} MB, [0-9]+\.[0-9] MB/s", heard.said) for heard in (up, down))


def test_four_files_are_sent_at_a_time(orthanc: ores.Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    real, guard, now, most = _upload._send, threading.Lock(), [0], [0]

    def send(*arguments: Any) -> Any:
        with guard:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        try:
            return real(*arguments)
        finally:
            with guard:
                now[0] -= 1

    monkeypatch.setattr(_upload, "_send", send)
    assert set(orthanc.upload(slices(16), progress=False)["status"]) == {"stored"}
    assert most == [4]


def test_linked_folders_are_read_once_and_a_loop_ends(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    one, two = slices(2)
    for folder, dataset in (("in", one), ("elsewhere", two)):
        (tmp_path / folder).mkdir()
        pydicom.dcmwrite(tmp_path / folder / "x.dcm", dataset, enforce_file_format=True)
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "twice").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "broken").symlink_to(tmp_path / "nothing")
    ledger = orthanc.upload(tmp_path / "in", progress=False)
    sources = {
        str(Path(source).relative_to(tmp_path / "in")): status
        for source, status in zip(ledger["Source"], ledger["status"], strict=True)
    }
    assert sources == {"x.dcm": "stored", "link/x.dcm": "stored", "broken": "failed"}
    assert orthanc.statistics()["CountInstances"] == 2


def test_a_folder_that_cannot_be_read_is_a_row(
    orthanc: ores.Orthanc, tmp_path: Path, ct_small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "x.dcm").write_bytes(ct_small.read_bytes())
    listed = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "closed":  # a mode of 0 does not stop root, who runs the tests at times
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    ledger = orthanc.upload(tmp_path, progress=False)
    assert list(ledger["Source"]) == [str(tmp_path / "closed"), str(tmp_path / "x.dcm")]
    assert list(ledger["status"]) == ["failed", "stored"]
    assert ledger["error"].iloc[0] == "It cannot be read: PermissionError."


def test_dicom_without_identifiers_is_a_row_that_says_so(orthanc: ores.Orthanc) -> None:
    dataset = slices(1)[0]
    del dataset.StudyInstanceUID
    row = orthanc.upload(dataset, progress=False).iloc[0]
    assert row["status"] == "failed"
    assert "identifiers" in row["error"]


def test_a_missing_path_is_refused_before_anything_is_sent(orthanc: ores.Orthanc, ct_small: Path) -> None:
    with orthanc.rest.counting() as requests, pytest.raises(errors.QueryError, match="no file or folder"):
        orthanc.upload([ct_small, "/no/such/thing"], progress=False)
    with orthanc.rest.counting() as more, pytest.raises(errors.QueryError, match="not a int"):
        orthanc.upload([7], progress=False)
    assert requests == more == []


def test_a_blank_cell_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "private").touch()
    with pytest.raises(errors.QueryError, match="empty text"):
        _upload.upload_plan(["private", ""])
    assert _upload.upload_plan(".")["Source"].tolist() == ["private"]


def test_a_dataset_that_does_not_say_how_it_is_encoded_is_told_so() -> None:
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = pydicom.uid.CTImageStorage, "1.2.3"
    (item,) = _inputs.items_of(dataset)
    with pytest.raises(_inputs.UnreadableError, match="TransferSyntaxUID"):
        _inputs.content_of(item)


def test_nothing_to_upload_is_an_empty_ledger(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    ledger = orthanc.upload(tmp_path, progress=False)
    assert ledger.empty
    assert list(ledger.columns) == list(orthanc.upload([], progress=False).columns)


def test_cancelling_leaves_rows_that_were_not_sent(orthanc: ores.Orthanc) -> None:
    class AfterThree(Silent):
        def advance(self, count: int = 1) -> None:
            self.seen = getattr(self, "seen", 0) + count
            if self.seen == 3:
                self.cancel()

    ledger = orthanc.upload(slices(60), progress=AfterThree())
    counts = ledger["status"].value_counts().to_dict()
    assert len(ledger) == 60
    assert counts["stored"] == orthanc.statistics()["CountInstances"] < 60
    assert counts["not-sent"] == 60 - counts["stored"]


def test_a_wrong_password_stops_the_batch_and_every_input_has_its_row(version: str) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    with OrthancServer(version) as server, ores.Orthanc(server.url, auth=("nobody", "canary-5ecret")) as orthanc:
        ledger = orthanc.upload(slices(40), progress=False)
    assert set(ledger["status"]) == {"failed", "not-sent"}
    assert ledger["error"].str.contains("refused the user name and password").all()
    assert not ledger.astype("str").apply(lambda column: column.str.contains("5ecret")).any().any()


def test_a_server_killed_mid_run_leaves_rows_and_the_rest_can_be_sent_later(version: str, tmp_path: Path) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    data = slices(80)
    with OrthancServer(version, folder=tmp_path / "storage") as server:

        class KillAfterTen(Silent):
            count = 0

            def advance(self, count: int = 1) -> None:
                self.count += 1
                if self.count == 10:
                    server.kill()

        with ores.Orthanc(server.url, auth=server.auth) as orthanc:
            orthanc.rest._client.policy._pause = lambda seconds: None  # the server is not coming back meanwhile
            ledger = orthanc.upload(data, progress=KillAfterTen())
            assert len(ledger) == 80
            counts = ledger["status"].value_counts().to_dict()
            assert counts["stored"] >= 9
            assert counts["not-sent"] > 0
            assert sum(counts.values()) == 80
            server.restart()
            rest = orthanc.upload(data, progress=False)
            assert set(rest["status"]) == {"stored", "already-stored"}
            assert orthanc.statistics()["CountInstances"] == 80


def test_a_closed_port_is_a_row_for_each_input_not_a_minute_of_retries() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with ores.Orthanc(f"http://127.0.0.1:{port}") as orthanc:
        ledger = orthanc.upload(slices(30), progress=False)
    assert ledger["error"].str.contains("No Orthanc answers").all()
    assert set(ledger["status"]) == {"failed", "not-sent"}


def test_a_plan_is_what_would_be_sent_with_its_sizes(tmp_path: Path, ct_small: Path) -> None:
    content = ct_small.read_bytes()
    zipped(tmp_path / "all.zip", {"a": content, "b": b"123"})
    (tmp_path / "one").write_bytes(content)
    plan = _upload.upload_plan([tmp_path, content])
    assert plan["bytes"].tolist() == [len(content), 3, len(content), len(content)]
    assert set(plan["status"]) == {"planned"}
    stopped = Silent()
    stopped.cancel()
    with pytest.raises(errors.CancelledError):
        _upload.upload_plan(tmp_path, stopped)


def test_what_is_to_be_sent_again_is_what_may_go_better(tmp_path: Path) -> None:
    for name in ("a!b.zip", "c", "d", "e", "f"):
        (tmp_path / name).touch()
    rows = [
        ("a!b.zip!x!y", "failed"),
        ("a!b.zip!z", "not-sent"),
        ("a!b.zip!stored", "stored"),
        ("c", "failed"),
        ("d", "conflict"),
        ("e", "already-stored"),
        ("f", "skipped"),
        ("gone", "failed"),
    ]
    ledger = pd.DataFrame([(str(tmp_path / name), status) for name, status in rows], columns=["Source", "status"])
    ledger = ledger.reindex(columns=list(_upload.UPLOAD_COLUMNS)).astype(_upload.UPLOAD_COLUMNS)
    assert [Path(source).name for source in _upload.upload_again(ledger)] == ["a!b.zip", "c"]
    again = ledger.iloc[[0, 1, 2, 3]].assign(status="already-stored")
    joined = _upload.upload_joined(ledger, again)
    assert joined["Source"].tolist() == ledger["Source"].tolist()
    assert joined["status"].tolist() == [*["already-stored"] * 2, "stored", "already-stored", *ledger["status"][4:]]
    none = _upload.upload_joined(ledger, again.head(0))  # of what was sent again, none is there any more
    assert none["status"].tolist() == ["stored", *ledger["status"][4:]]
