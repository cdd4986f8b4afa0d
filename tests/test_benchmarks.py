"""The benchmarks run and measure what they say: the proxy delays, cells are the files', the page is the results'."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest

import orthanc_research as ores
from benchmarks import _data, _report, _slices, batch, build, pixels, with_ours
from benchmarks._lab import LIMIT, OURS, ROOT, Run, Server, Worker, in_turns, table, write_block
from benchmarks._wire import recorded
from benchmarks._worker import canonical, checked
from benchmarks.delay import DelayProxy
from benchmarks.tables import CURL, Sizes, compare, grow, same

Cells = dict[str, dict[str, Any]]
TINY = Sizes(series=4, per_series=3, all_series=2, repeats=1, delays=(0, 5), growth=(15,))


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets, until the end, and says goodbye then."""

    def answer(connection: socket.socket) -> None:
        with connection:
            while piece := connection.recv(1 << 16):
                connection.sendall(piece)
            connection.sendall(b"bye")

    def serve() -> None:
        while True:
            try:
                threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        found += connection.recv(count - len(found))
    return found


def test_the_proxy_holds_each_answer_back_by_a_round_trip_and_loses_nothing(echo: int) -> None:
    with DelayProxy(echo, round_trip=0.05) as proxy:
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
            connection.sendall(b"first")
            assert _exactly(connection, 5) == b"first"
            assert time.monotonic() - start >= 0.1  # to connect, and there and back
            start = time.monotonic()
            connection.sendall(b"second")
            assert _exactly(connection, 6) == b"second"
            assert time.monotonic() - start >= 0.05


def test_the_proxy_delays_many_connections_and_many_bytes_at_once_and_passes_ends_on(echo: int) -> None:
    blob = bytes(range(256)) * 4096 * 16  # 16 MB: if each piece waited for the one before, 64 round trips and more
    found: dict[int, bytes] = {}

    def send(connection: socket.socket) -> None:
        connection.sendall(blob)
        connection.shutdown(socket.SHUT_WR)

    def talk(n: int, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            sender = threading.Thread(target=send, args=(connection,))
            sender.start()
            found[n] = b"".join(iter(lambda: connection.recv(1 << 16), b""))
            sender.join()

    with DelayProxy(echo, round_trip=0.2) as proxy:
        start = time.monotonic()
        talkers = [threading.Thread(target=talk, args=(n, proxy.port)) for n in range(6)]
        for each in talkers:
            each.start()
        for each in talkers:
            each.join()
        seconds = time.monotonic() - start
    assert [found[n] == blob + b"bye" for n in range(6)] == [True] * 6
    assert 0.4 <= seconds < 0.2 * 64


def test_the_proxy_ends_a_connection_that_cannot_be_made() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with DelayProxy(port, round_trip=0) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        assert connection.recv(1) == b""


@pytest.mark.one_version
def test_what_a_client_sends_is_taken_down_as_it_was(orthanc: ores.Orthanc) -> None:
    server = Server.of(orthanc)
    with recorded(server.port) as wire, ores.Orthanc(wire.url, auth=(server.user, server.password)) as client:
        client.system()
        client.rest.tools.lookup("1.2.3")
        client.system()
        sent = wire.requests()
        wire.forget()
        client.system()
        assert [one.target for one in wire.requests()] == ["/system"]
    assert sorted((one.method, one.target, one.body) for one in sent) == [
        ("GET", "/system", b""),
        ("GET", "/system", b""),
        ("POST", "/tools/lookup", b"1.2.3"),
    ]


def test_made_images_are_whole_and_differ() -> None:
    images = [pydicom.dcmread(io.BytesIO(file)) for n in (0, 1, 7) for file in _data.series(n, 3)]
    assert len({image.SOPInstanceUID for image in images}) == 9
    assert len({image.SeriesInstanceUID for image in images}) == 3
    assert [image.StudyInstanceUID for image in images[:6]] == [images[0].StudyInstanceUID] * 6
    assert [image.PatientID for image in images[::3]] == ["BENCH-000000", "BENCH-000000", "BENCH-000001"]
    assert all(image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID for image in images)
    assert all(len(image) > 72 and image.pixel_array.shape == (32, 32) for image in images)
    assert not [image for image in images if "MARK" in str(image)]


def test_one_value_has_one_form_as_text_and_as_our_tables_have_it() -> None:
    for text, typed in (
        ("20240102", pd.Timestamp("2024-01-02")),
        ("101112.5", pd.Timestamp("2024-01-02 10:11:12.5").time()),
        ("-0.50 ", -0.5),
        ("0012", 12),
        ("1\\2.5\\3", [1.0, 2.5, 3.0]),
        ("12", [12]),
        ("", pd.NA),
        ("CT ", "CT"),
    ):
        assert canonical(text) == canonical(typed), text
    assert canonical("1.2.840.10008") == "1.2.840.10008"
    assert canonical("12") != canonical("13")


def test_tools_that_differ_in_one_cell_are_not_timed() -> None:
    ours: Cells = {"a": {"EchoTime": 1.0, "Private": "x"}, "b": {"EchoTime": 2.0}}
    assert same(ours, {"a": {"EchoTime": 1.0}, "b": {"EchoTime": 2.0}}, "other") == 2
    differing: list[Cells] = [
        {"a": {"EchoTime": 1.0}, "b": {"EchoTime": 2.5}},
        {"a": {"EchoTime": 1.0}, "b": {}},
        {"a": {"EchoTime": 1.0, "FlipAngle": 9.0}, "b": {"EchoTime": 2.0}},
        {"a": {"EchoTime": 1.0}},
    ]
    for others in differing:
        with pytest.raises(ValueError, match="other"):
            same(ours, others, "other")


@pytest.mark.one_version
def test_every_tag_that_is_compared_is_what_the_file_says(orthanc: ores.Orthanc) -> None:
    _data.fill(orthanc, 0, 2, 3)
    with Worker("benchmarks.with_ours:tags") as worker:
        sent, cells = worker.check(Server.of(orthanc), series=list(orthanc.series().index))
    assert [one.target for one in sent].count("/system") == 1
    truth: Cells = {}
    for file in (file for n in range(2) for file in _data.series(n, 3)):
        image = pydicom.dcmread(io.BytesIO(file))
        identity = (image.PatientID, image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID)
        truth[ores.orthanc_id(*identity)] = {
            element.keyword: canonical(
                "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value if element.VM else "")
            )
            for element in image
            if element.VR not in ("SQ", "OB", "OW") and not element.tag.is_private
        }
    assert same(truth, cells, "ours") > 6 * 80


def test_a_benchmark_runs_from_end_to_end_and_makes_its_page(tmp_path: Path) -> None:
    with ores.LocalOrthanc() as orthanc:
        found = compare(orthanc, TINY, only=[OURS])
        grown = grow(orthanc, TINY)
    assert {(row["job"], row["delay_ms"], row["tool"]) for row in found["rows"]} == {
        (job, delay, tool) for job in ("series", "chosen", "all") for delay in (0, 5) for tool in (OURS, CURL)
    }
    assert {row["job"]: row["rows"] for row in found["rows"] if row["tool"] == OURS} == {
        "series": 4,
        "chosen": 12,
        "all": 6,
    }
    assert all(row["seconds"] > 0 and row["requests"] >= 1 for row in found["rows"])
    assert all(50 < row["peak_mb"] < 1000 for row in found["rows"] if row["tool"] == OURS)
    assert [row["rows"] for row in grown["rows"] if row["tool"] == OURS] == [15, 15]  # 12 were there already
    assert all(row["requests"] >= 3 for row in grown["rows"])

    page = tmp_path / "page.md"
    page.write_text("Before\n<!-- tables -->\n<!-- /tables -->\n<!-- tables-growth -->\n<!-- /tables-growth -->\n")
    for name, each in (("tables", found), ("tables-growth", grown)):
        (tmp_path / f"{name}.json").write_text(json.dumps(each))
    _report.write(page, tmp_path)
    text = page.read_text()
    assert "**All tags of 6 instances**" in text
    assert text.count(f"\n| {OURS} |") == 3
    assert found["versions"]["Orthanc"] in text
    assert orthanc.url not in text


@pytest.mark.one_version
def test_made_slices_are_whole_and_what_all_tools_must_give_is_their_voxels(orthanc: ores.Orthanc) -> None:
    made = list(_slices.ct_series(9, 4, pixels=16, study=8))
    assert len({slice_.PixelData for slice_ in made}) == len({slice_.SOPInstanceUID for slice_ in made}) == 4
    assert {slice_.SeriesInstanceUID for slice_ in made} == {_slices.series_uid(9)}
    assert {slice_.StudyInstanceUID for slice_ in made} == {
        next(_slices.ct_series(8, 1, pixels=16, study=8))[0x0020000D].value
    }
    assert all(len(slice_) > 100 and sum(each.tag.is_private for each in slice_) > 3 for slice_ in made)
    stored = orthanc.upload(made, progress=False)
    what = {"level": "Series", "id": stored["ParentSeries"].iloc[0], "instances": list(stored["ID"])}
    server = Server.of(orthanc)
    found = checked(with_ours.volumes, [server.url, server.user, server.password], {"what": what})["cells"]
    truth = np.stack([np.frombuffer(slice_.PixelData, dtype="<i2").reshape(16, 16) for slice_ in made])
    assert found == {_slices.series_uid(9): {"shape": [4, 16, 16], "hash": hashlib.blake2b(truth.data).hexdigest()}}


def test_slow_tools_take_fewer_turns() -> None:
    turns: list[str] = []

    def run(tool: str) -> Run:
        turns.append(tool)
        return Run(float(len(turns)), peak_mb=9.0, above_mb=1.0)

    measured = in_turns({"a": lambda: run("a"), "b": lambda: run("b")}, 3, fewer={"b": 1})
    assert turns == ["a", "b", "a", "a"]
    assert (measured["a"].seconds, measured["b"].seconds, measured["a"].above_mb) == (3.0, 2.0, 1.0)


def test_volumes_are_measured_from_end_to_end_and_make_their_block() -> None:
    tiny = pixels.Sizes(slices=5, j2k=3, study=(2, 3), pixels=64, repeats=1, fewer=1)
    with ores.LocalOrthanc() as orthanc:
        found = pixels.compare(orthanc, tiny, only=[OURS, pixels.VERIFIED, LIMIT])
    files = {"slices": 5, "j2k": 3, "study": 6}
    assert {row["job"]: row["requests"] for row in found["rows"] if row["tool"] == LIMIT} == files
    assert {row["job"]: row["rows"] for row in found["rows"] if row["tool"] == OURS} == {
        "slices": 1,
        "j2k": 1,
        "study": 2,
    }
    assert [row["job"] for row in found["rows"] if row["tool"] == pixels.VERIFIED] == ["slices"]
    assert all(row["seconds"] > 0 and 0 <= row["above_mb"] < 200 for row in found["rows"])
    text = _report.pixels(found)
    assert "**The 2 volumes of a study of 3 uncompressed CT slices each (64², 0 MB)**" in text
    assert text.count(f"\n| {OURS} |") == 3


def test_volumes_are_held_to_the_limit_and_to_what_each_server_does_to_others() -> None:
    def rows(**seconds: float) -> list[dict[str, Any]]:
        tools = {"ours": OURS, "limit": LIMIT, "zip": "pyorthanc, `get_zip`", "single": "pyorthanc, `get_pydicom`"}
        return [
            {"job": "slices", "tool": tools[name], "requests": 1, "seconds": each, "above_mb": 700}
            for name, each in seconds.items()
        ]

    def held(version: str, mb: float, **seconds: float) -> list[bool]:
        about = {"slices": {"title": "volumes", "mb": mb, "uncompressed": True}}
        text = _report.pixels(
            {
                "date": "", "cores": 2, "system": "", "versions": {"Orthanc": version}, "repeats": 5, "fewer": 3,
                "jobs": about, "rows": rows(**seconds),
            }
        )  # fmt: skip
        return [line.endswith("| yes |") for line in text.partition("What we hold to")[2].splitlines()[4:]]

    assert held("1.10.1", 510, ours=1.0, limit=0.5, zip=20.0, single=15.0) == [True, True, True, True]
    assert held("1.10.1", 490, ours=1.0, limit=0.4, zip=19.0, single=14.0) == [False, False, False, False]
    assert held("1.12.7", 510, ours=1.0, limit=0.6, zip=21.0, single=3.0) == [True, True, True, True]


def test_files_are_measured_both_ways_and_make_their_block(tmp_path: Path) -> None:
    tiny = batch.Sizes(small=6, many=3, many_pixels=16, delays=(0,), repeats=1, fewer=1)
    jobs = ("upload-small", "download-small", "download-many")
    with ores.LocalOrthanc() as orthanc:
        found = batch.compare(orthanc, tmp_path, tiny, only=[OURS, LIMIT], jobs=jobs)
    sent = {(row["job"], row["tool"]): row["requests"] for row in found["rows"]}
    assert sent[("upload-small", OURS)] == 2 * 6
    assert sent[("upload-small", LIMIT)] == sent[("download-small", LIMIT)] == 6
    assert sent[("download-small", OURS)] > 6
    assert [row["rows"] for row in found["rows"]] == [6, 6, 6, 6, 3]
    text = _report.batch(found)
    assert "**Upload of 6 files of 4 kB (0 MB)**" in text
    assert text.count(f"\n| {OURS} |") == 3
    assert text.count("peak memory at most 300 MB") == 1


@pytest.mark.one_version
def test_files_that_do_not_all_arrive_are_not_measured(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    made = batch._make(tmp_path / "small", "small", batch.Sizes(small=3))
    bench = batch._Bench(orthanc, tmp_path, "upload", made)
    with pytest.raises(ValueError, match="2 of 3 files arrived"):
        bench._once(lambda: orthanc.upload(sorted(made.folder.iterdir())[:2], progress=False))


def test_files_are_held_to_the_others_to_the_limit_and_to_memory() -> None:
    def held(ours: float, limit: float, peer: float, memory: int) -> list[bool]:
        seconds = {OURS: ours, LIMIT: limit, "pyorthanc": peer}
        jobs = {"upload-small": seconds, "download-small": seconds, "download-many": {OURS: ours}}
        rows = [
            {"job": job, "tool": tool, "delay_ms": 10, "requests": 1, "seconds": each, "above_mb": memory}
            for job, tools in jobs.items()
            for tool, each in tools.items()
        ]
        about = {job: {"title": "files", "mb": 1.0, "largest_mb": 1.0} for job in jobs}
        versions = {"Orthanc": "1.12.7"}
        found = {"date": "", "cores": 2, "system": "", "versions": versions, "repeats": 3, "fewer": 3}
        text = _report.batch({**found, "jobs": about, "rows": rows})
        return [line.endswith("| yes |") for line in text.partition("What we hold to")[2].splitlines()[4:]]

    assert held(1.0, 0.3, 3.0, 304) == [True, True, True, True]
    assert held(1.0, 0.2, 2.9, 305) == [False, False, False, False]


def test_builds_are_measured_checked_and_make_their_block(tmp_path: Path) -> None:
    with ores.LocalOrthanc() as orthanc:
        tiny = build.Sizes(series=2, slices=3, pixels=16, repeats=1)
        found = build.compare(orthanc, tmp_path, tiny, only=[OURS, LIMIT])
    assert next(row["rows"] for row in found["rows"]) == 2
    assert [row["tool"] for row in found["rows"]] == [OURS, LIMIT, f"{OURS}, at 10 ms", f"{LIMIT}, at 10 ms"]
    assert found["few"]["series"] == 1
    assert "**2 series of 3 slices of 16 x 16 (0 MB of pixels)**" in _report.build(found)
    assert not (tmp_path / "into").exists()


def test_builds_are_held_to_a_script_to_the_limit_and_to_memory() -> None:
    def held(ours: float, limit: float, script: float, memory: int) -> list[bool]:
        rows = [
            {"tool": tool, "seconds": seconds, "above_mb": memory}
            for tool, seconds in {OURS: ours, LIMIT: limit, build.NAIVE: script}.items()
        ]
        about = {
            "date": "",
            "cores": 2,
            "system": "",
            "versions": {},
            "repeats": 3,
            "fewer": 1,
            "title": "",
            "mb": 1,
            "away": 10,
        }
        text = _report.build({**about, "rows": rows, "series": 30, "few": {"series": 3, "above_mb": 100}})
        return [line.endswith("| yes |") for line in text.partition("What we hold to")[2].splitlines()[4:]]

    assert held(1.0, 0.2, 3.0, 150) == [True, True, True]
    assert held(1.0, 0.19, 2.9, 151) == [False, False, False]


def test_screens_are_held_to_what_a_reader_waits_and_to_what_was_fetched_before_the_first_slice() -> None:
    def held(seconds: float, files: int) -> list[bool]:
        rows = [
            {"what": "next page", "seconds": seconds, "slowest": 1.0, "most": 0.15},
            {"what": "middle slice", "seconds": 1.0, "files": files, "of": 300},
        ]
        found = {"date": "", "cores": 2, "system": "", "versions": {}, "repeats": 3, "rows": rows}
        text = _report.screens(found)
        return [line.endswith("| yes |") for line in text.partition("What we hold to")[2].splitlines()[4:]]

    assert held(0.15, 149) == [True, True]
    assert held(0.151, 150) == [False, False]


def test_a_block_of_a_page_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- /x -->\nb\n")
    for _ in range(2):
        write_block(page, "x", table(["", "n"], [["one|two", 1]]))
        assert page.read_text() == "a\n<!-- x -->\n\n|  | n |\n| --- | ---: |\n| one\\|two | 1 |\n\n<!-- /x -->\nb\n"
    with pytest.raises(ValueError, match="has 0 places for y"):
        write_block(page, "y", "text")


def test_the_page_holds_what_was_measured_and_nothing_else() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    for name, block in _report.BLOCKS.items():
        kept = ROOT / "benchmarks" / "results" / f"{name}.json"
        text = f"{block(json.loads(kept.read_text())).strip()}\n\n" if kept.exists() else ""
        assert f"<!-- {name} -->\n\n{text}<!-- /{name} -->" in page
