"""What a bad line does to a batch: nothing lost, nothing damaged, nothing twice, an end in time (gates R1 to R6)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from faults import Proxy, Script
from faults.wire import (
    FRAMINGS,
    RESETS,
    SLOW,
    busy,
    cut_short,
    flip,
    flip_sent,
    stall_before,
    stall_midway,
    wrong_length,
)
from stock import stock

import orthanc_research as ores
from orthanc_research import errors, fetch
from orthanc_research.parallel import thread_map
from orthanc_research.progress import Silent
from orthanc_research.rest import Rest
from orthanc_research.rest._retry import Budget

COLUMNS = ["SOPInstanceUID", "InstanceNumber", "ImagePositionPatient", "RescaleSlope"]
FILES = "attachments/dicom/data"
LENGTHS = ("+1", "-1", "0", "2^63", "missing", "twice")


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait half a second for a body where the package would wait 30."""
    monkeypatch.setattr("orthanc_research.rest._client.GRACE", 0.5)


@contextmanager
def through(orthanc: ores.Orthanc, script: Script, **options: Any) -> Iterator[tuple[ores.Orthanc, list[float]]]:
    """A client behind a bad line, and the pauses that it would have made."""
    pauses: list[float] = []
    with (
        Proxy(orthanc.url, script=script) as proxy,
        ores.Orthanc(proxy.url, auth=orthanc.rest.connection.auth, **options) as client,
    ):
        client.rest._client.policy._pause = pauses.append
        yield client, pauses


def insisted(run: Callable[[], Any], is_done: Callable[[Any], bool] = lambda found: True) -> Any:
    """Run until it is done, as a user would; what fails must say so, as an error or in its rows."""
    for _ in range(12):
        try:
            found = run()
        except (errors.UnreachableError, errors.ServerError):
            continue
        if is_done(found):
            return found
    raise AssertionError("It never came to an end.")


def rows(*statuses: str, count: int) -> Callable[[pd.DataFrame], bool]:
    """Whether all rows have one of the statuses; there must be as many as inputs, each with its reason if not."""

    def is_done(ledger: pd.DataFrame) -> bool:
        assert len(ledger) == count
        failed = ~ledger["status"].isin(statuses)
        assert (ledger["error"].notna() == failed).all(), ledger[["status", "error"]].value_counts()
        return not failed.any()

    return is_done


def contents(folder: Path) -> Counter[bytes]:
    """The files below, without what is about the run."""
    return Counter(path.read_bytes() for path in folder.rglob("*") if path.suffix in (".dcm", ".npy"))


def stored(orthanc: ores.Orthanc) -> dict[str, str]:
    return {each: orthanc.rest.instances.md5(each) for each in orthanc.rest.instances.list()}


def check_all(orthanc: ores.Orthanc, script: Script, tmp_path: Path, **options: Any) -> list[float]:
    """Each kind of batch behind the script: what comes of it is what comes without; the pauses between retries."""
    before, series, files = stored(orthanc), list(orthanc.series().index), tmp_path / "plain"
    orthanc.download(series, files, progress=False)
    orthanc.export(series, tmp_path / "straight", format="npy", progress=False)
    tags, volume = orthanc.tags(series, COLUMNS), orthanc.volume(series[0], verify=True)
    count, out, exported = len(before), tmp_path / "out", tmp_path / "exported"
    with through(orthanc, script, **options) as (client, pauses):
        done = rows("done", "already-there", count=count)
        insisted(lambda: client.download(series, out, progress=False), done)
        assert contents(out) == contents(files)
        found = insisted(lambda: client.tags(series, COLUMNS))
        pd.testing.assert_frame_equal(found.sort_index(), tags.sort_index())
        seen = insisted(lambda: client.volume(series[0], verify=True))
        np.testing.assert_array_equal(seen.array, volume.array)
        left = series
        while left:
            ledger = insisted(partial(client.export, left, exported, format="npy", progress=False))
            rows("done", count=len(left))(ledger)
            left = list(ledger.index[ledger["status"] != "done"])
        assert contents(exported) == contents(tmp_path / "straight")
        orthanc.rest.tools.bulk_delete(orthanc.rest.patients.list())
        # Two requests a file: of all 40 at once some would fail in most runs, where every second request does.
        given = sorted(files.rglob("*.dcm"))
        for _ in range(12):
            ledger = insisted(partial(client.upload, given, progress=False))
            rows("stored", "already-stored", count=len(given))(ledger)
            taken = ledger["status"].isin(["stored", "already-stored"])
            given = [file for file, is_taken in zip(given, taken, strict=True) if not is_taken]
            if not given:
                break
    assert stored(orthanc) == before
    assert sum(script.met.values()) >= 4, script.met
    return pauses


@pytest.mark.parametrize("share", [0.2, *(pytest.param(each, marks=pytest.mark.long) for each in (0.05, 0.5))])
def test_connections_that_are_reset_lose_nothing(cohort: ores.Orthanc, tmp_path: Path, share: float) -> None:
    check_all(cohort, Script(RESETS, share=share, seed=1), tmp_path)


@pytest.mark.one_version
def test_a_busy_server_is_waited_for_as_it_wishes_and_no_longer(cohort: ores.Orthanc, tmp_path: Path) -> None:
    wishes = (b"3", formatdate(time.time() + 1000, usegmt=True).encode(), b"soon", b"1000000000", None)
    pauses = check_all(cohort, Script([busy(wish) for wish in wishes], share=0.3, seed=2), tmp_path)
    assert {3.0, 300.0} <= set(pauses)  # the date and the absurd number are both capped
    others = [pause for pause in pauses if pause not in (3.0, 300.0)]
    assert others
    assert all(0.5 <= pause <= 20 for pause in others)


@pytest.mark.one_version
def test_a_body_that_is_cut_or_of_another_length_is_told_or_proven(cohort: ores.Orthanc) -> None:
    instances, series = sorted(cohort.rest.instances.list())[:8], list(cohort.series().index)
    calls: list[Callable[[Rest], Any]] = [
        *[partial(fetch.file, instance=each, verify=True) for each in instances],
        *[lambda rest, each=each: rest.series.children(each, "Instance") for each in series],
    ]
    right = [call(cohort.rest) for call in calls]
    for kind in (*FRAMINGS, *LENGTHS):
        fault = cut_short(kind) if kind in FRAMINGS else wrong_length(kind)
        script, told = Script([fault], only=f"{FILES}|/instances"), 0
        with through(cohort, script) as (client, _):
            client.rest._client.policy.budget = Budget(0)
            for call, truth in zip(calls, right, strict=True):
                try:
                    assert call(client.rest) == truth, kind  # nothing of it is missing
                except errors.OrthancError:
                    told += 1
        assert script.met[kind] >= len(calls)
        # A cut in the checksum of gzip, or of the line's end behind the JSON, takes nothing away.
        assert told >= {"gzip": 14, "close": 14, "chunked": 14, "missing": 0, "-1": 8}.get(kind, 16), kind


@pytest.mark.one_version
def test_a_bit_that_is_flipped_on_its_way_is_caught(cohort: ores.Orthanc, tmp_path: Path) -> None:
    script = Script([flip], only=FILES)
    series, instances = list(cohort.series().index), cohort.rest.instances.list()
    with through(cohort, script) as (client, _):
        ledger = client.download(series, tmp_path / "out", progress=False)
        assert set(ledger["status"]) == {"failed"}
        assert len(ledger) == len(instances)
        for form in ("npy", "parquet"):
            assert set(client.export(series, tmp_path / form, format=form, progress=False)["status"]) == {"failed"}
        for each in series:
            with pytest.raises(errors.ResponseError, match="MD5 differs"):
                client.volume(each, verify=True)
        for each in instances:
            with pytest.raises(errors.ResponseError, match="MD5 differs"):
                client.dicom(each, verify=True)
    assert not contents(tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))
    assert script.met["flip"] >= 100
    with through(cohort, Script([flip], only=FILES, times=1)) as (client, _):
        assert set(client.download(series, tmp_path / "out", progress=False)["status"]) == {"done"}


def exported(file: str) -> Any:
    """What is in it; the frames in no order, which comes from a list that no MD5 holds for."""
    if not file.endswith(".parquet"):
        return Path(file).read_bytes()
    return sorted(str((columns, array.tolist())) for columns, array in ores.read_frames(file))


@pytest.mark.one_version
def test_what_is_damaged_once_costs_no_series(cohort: ores.Orthanc, tmp_path: Path) -> None:
    series = list(cohort.series().index)
    faults = {
        FILES: [flip, *map(cut_short, FRAMINGS), *RESETS],
        "/series/[0-9a-f-]+/instances(?!-tags)": [flip, cut_short("close")],
    }
    for form in ("parquet", "npy", "npz"):
        straight = cohort.export(series, tmp_path / form, format=form, progress=False)
        for number, (only, kinds) in enumerate(faults.items()):
            out = tmp_path / f"{form}-{number}"
            script = Script(kinds, only=f"GET .*{only}", times=1)
            with through(cohort, script) as (client, _):
                ledger = client.export(series, out, format=form, progress=False)
            assert ledger["error"].isna().all(), ledger["error"].dropna().tolist()
            assert len(script.met) == len(kinds)
            assert sorted(path.name for path in out.iterdir()) == sorted(
                path.name for path in (tmp_path / form).iterdir()
            )
            for file, right in zip(ledger["file"], straight["file"], strict=True):
                assert Path(file).read_bytes() == Path(right).read_bytes()


def test_a_bit_that_is_flipped_on_its_way_to_the_server_is_told(orthanc: ores.Orthanc) -> None:
    files = list(ores.samples.cohort(patients=1, studies=1, slices=4, size=16))
    with through(orthanc, Script([flip_sent], only="POST /instances")) as (client, _):
        ledger = client.upload(files, progress=False)
        assert set(ledger["status"]) == {"failed"}
        assert ledger["error"].str.contains("damaged on its way").all()
        again = client.upload(files, progress=False)
        assert set(again["status"]) == {"conflict"}
    orthanc.delete(list(ledger["ID"]), expect=len(files))
    assert set(orthanc.upload(files, progress=False)["status"]) == {"stored"}


@pytest.mark.one_version
def test_slow_answers_end_in_time_and_lose_nothing(
    cohort: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    script = Script(SLOW, share=0.06, seed=3, times=1)
    check_all(cohort, script, tmp_path, timeout=0.5)
    assert set(script.met) == {fault.__name__ for fault in SLOW}


@pytest.mark.one_version
def test_answers_that_never_end_do_not_hold_up_the_others(
    cohort: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    for number, fault in enumerate(SLOW):
        slow = cohort.rest.instances.list()[0]
        with through(cohort, Script([fault], only=f"{slow}/{FILES}"), timeout=0.5) as (client, _):
            client.rest._client.policy.budget = Budget(0)
            start = time.monotonic()
            ledger = client.download(client.series(), tmp_path / str(number), progress=False)
            assert time.monotonic() - start < 0.5 + 2 + 5  # of which the machine, when it is busy, has five
        assert ledger.index[ledger["status"] != "done"].tolist() == [slow]


def download(client: ores.Orthanc, folder: Path) -> Any:
    return client.download(client.series(), folder, progress=False)


def volumes(client: ores.Orthanc, _: Path) -> Any:
    return list(client.volumes(client.series(), progress=False))


def all_tags(client: ores.Orthanc, _: Path) -> Any:
    return client.tags(client.series(), progress=False)


def export(client: ores.Orthanc, folder: Path) -> Any:
    return client.export(client.series(), folder, format="npy", progress=False)


def export_frames(client: ores.Orthanc, folder: Path) -> Any:
    return client.export(client.series(), folder, progress=False)


def archive(client: ores.Orthanc, folder: Path) -> Any:
    return client.archive(client.series(), folder / "a.zip", progress=False)


def label(client: ores.Orthanc, _: Path) -> Any:
    return client.label(client.instances(), ["a"], progress=False)


def references(client: ores.Orthanc, _: Path) -> Any:
    return client.references(client.series())


def tags_to_parquet(client: ores.Orthanc, folder: Path) -> Any:
    return client.tags_to_parquet(client.series(), folder / "a.parquet", progress=False)


@pytest.mark.one_version
@pytest.mark.parametrize("run", [download, export, volumes, all_tags])
def test_ctrl_c_waits_for_no_server(cohort: ores.Orthanc, tmp_path: Path, run: Callable[..., Any]) -> None:
    """Gate R16, where every answer that it waits for stands still."""
    script = Script([stall_midway], only=f"{FILES}|/file|instances-tags")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with through(cohort, script) as (client, _):
            pressed = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
            pressed.start()
            start = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                run(client, tmp_path)
            pressed.join()
            assert time.monotonic() - start < 1 + 5
            assert not [each for each in threading.enumerate() if each.name.startswith("orthanc-research")]
    finally:
        signal.signal(signal.SIGINT, before)
    assert script.met["stall_midway"] >= 1
    assert not contents(tmp_path)


@pytest.mark.one_version
@pytest.mark.parametrize(
    ("run", "place"),
    [
        (download, "parallel.Outcome.get"),
        (archive, "parallel.Outcome.get"),
        (label, "parallel.Outcome.get"),
        (references, "parallel.Outcome.get"),
        (all_tags, "orthanc.tags_frame"),
        (tags_to_parquet, "export.stream.to_arrow"),
        (export, "export.series.write_volume"),
        (export_frames, "export.frames._table"),
    ],
)
def test_ctrl_c_in_what_we_do_with_an_answer_leaves_no_thread(
    cohort: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any], place: str
) -> None:
    if run is label and not cohort.capabilities().has("labels"):
        pytest.skip("before 1.12 there are no labels")

    def pressed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orthanc_research.parallel.GRACE", 0.3)
    monkeypatch.setattr("orthanc_research.headers._CHUNK", 1)
    monkeypatch.setattr("orthanc_research.references.POINTING", {"CT"})
    monkeypatch.setattr(f"orthanc_research.{place}", pressed)
    with pytest.raises(KeyboardInterrupt) as kept:  # as a notebook keeps it, with all that its frames hold
        run(cohort, tmp_path)
    assert not [each for each in threading.enumerate() if each.name.startswith("orthanc-research")]
    assert not list(tmp_path.rglob("*.part*"))
    del kept


@pytest.mark.one_version
def test_cancel_waits_for_no_server(cohort: ores.Orthanc, tmp_path: Path) -> None:
    """Gate R16: what stands still is not sent, and what came is done."""
    slow = cohort.rest.instances.list()[0]
    progress = Silent()
    with through(cohort, Script([stall_before], only=f"{slow}/{FILES}")) as (client, _):
        threading.Timer(1.0, progress.cancel).start()
        start = time.monotonic()
        ledger = client.download(client.series(), tmp_path, progress=progress)
        assert time.monotonic() - start < 1 + 5
    assert set(ledger["status"]) == {"done", "not-sent"}
    assert ledger.loc[slow, "status"] == "not-sent"
    again = cohort.download(cohort.series(), tmp_path, progress=False)
    assert set(again["status"]) == {"done", "already-there"}
    assert len(contents(tmp_path)) == len(again)


@pytest.mark.one_version
@pytest.mark.parametrize(
    ("form", "stalls"),
    [
        ("npy", "{series}/instances"),
        ("npy", "{first}/" + FILES),
        ("npy", "{last}/" + FILES),
        ("parquet", "{last}/" + FILES),
    ],
)
def test_an_export_that_is_cancelled_waits_for_no_server(
    cohort: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, stalls: str
) -> None:
    """Gate R16: the series that stands still is not sent, and of it there is no file."""
    monkeypatch.setattr("orthanc_research.parallel.GRACE", 0.3)
    done, slow, *others = cohort.series().index
    numbers = {
        str(each["ID"]): int(each["MainDicomTags"]["InstanceNumber"])
        for each in cohort.rest.series.children(slow, "Instance")
    }
    order = sorted(numbers, key=numbers.__getitem__)
    script = Script([stall_before], only=stalls.format(series=slow, first=order[0], last=order[-1]))
    progress = Counting()
    with through(cohort, script) as (client, _):
        threading.Timer(1.0, progress.cancel).start()
        start = time.monotonic()
        ledger = client.export([done, slow, *others], tmp_path, format=form, progress=progress)
        assert 1 <= time.monotonic() - start < 1 + 3
    assert script.met["stall_before"] == 1
    assert ledger["status"].tolist() == ["done", *["not-sent"] * (1 + len(others))]
    assert set(ledger["error"].dropna()) == {"cancelled"}
    assert progress.seen == [1]
    assert not list(tmp_path.glob(f"*{cohort.series().loc[slow, 'SeriesInstanceUID']}*"))
    assert not list(tmp_path.glob(".ores-*"))


@pytest.mark.one_version
@pytest.mark.parametrize(
    ("run", "stalls"),
    [
        (lambda client, ids, folder, bar: client.download(ids, folder, progress=bar), "bulk-content"),
        (lambda client, ids, folder, bar: client.archive(ids, folder / "a.zip", progress=bar), "bulk-content"),
        (lambda client, ids, folder, bar: client.export(ids, folder, progress=bar), "bulk-content"),
        (lambda client, ids, folder, bar: client.tags(ids, progress=bar), "bulk-content"),
        (lambda client, ids, folder, bar: list(client.volumes(ids, progress=bar)), f"{FILES}|/file"),
    ],
    ids=["download", "archive", "export", "tags", "volumes"],
)
def test_cancel_before_anything_came_waits_for_no_server(
    cohort: ores.Orthanc, tmp_path: Path, run: Callable[..., object], stalls: str
) -> None:
    """Gate R16, where the caller's own thread waits."""
    ids, progress = list(cohort.series().index), Silent()
    script = Script([stall_before], only=stalls)
    with through(cohort, script) as (client, _):
        threading.Timer(0.5, progress.cancel).start()
        start = time.monotonic()
        with pytest.raises(ores.CancelledError):
            run(client, ids, tmp_path, progress)
        assert time.monotonic() - start < 0.5 + 5
    assert script.met["stall_before"] >= 1
    assert not [each for each in tmp_path.rglob("*") if each.is_file() and each.stat().st_size]


@pytest.mark.one_version
@pytest.mark.parametrize(
    "stalls",
    [
        "GET .*/instances-tags",
        pytest.param("POST .*/tools/bulk-anonymize", marks=pytest.mark.long),  # resume looks for half a minute
        "GET .*/jobs",
    ],
)
def test_an_anonymization_that_is_cancelled_waits_for_no_server(
    orthanc: ores.Orthanc, tmp_path: Path, stalls: str
) -> None:
    """Gate R16: resume finds what became of it, and nothing is made twice."""
    stock(orthanc, patients=2, studies=1, slices=4)
    studies, before = list(orthanc.studies().index), orthanc.statistics()["CountInstances"]
    progress, journal = Silent(), tmp_path / "a.sqlite"
    script = Script([stall_before], only=stalls, times=1)
    with through(orthanc, script) as (client, _):
        threading.Timer(1.0, progress.cancel).start()
        start = time.monotonic()
        ledger = client.anonymize(studies, journal=journal, progress=progress)
        assert time.monotonic() - start < 1 + 5
        assert script.met["stall_before"] == 1
        assert list(ledger.index) == studies
        assert "done" not in set(ledger["status"])
        script.end()  # else each series that is read meets it once, and takes as long as a time-out
        ledger = client.resume(journal, progress=False)
    assert set(ledger["status"]) == {"done"}
    assert orthanc.statistics()["CountInstances"] == 2 * before


class Counting(Silent):
    """What a bar was told."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def advance(self, count: int = 1) -> None:
        self.seen.append(count)


@pytest.mark.one_version
def test_what_was_sent_and_not_checked_before_cancel_says_so(orthanc: ores.Orthanc) -> None:
    files = list(ores.samples.cohort(patients=1, studies=1, slices=4, size=16))
    progress = Silent()
    with through(orthanc, Script([stall_before], only="GET .*/md5")) as (client, _):
        threading.Timer(1.0, progress.cancel).start()
        ledger = client.upload(files, progress=progress)
    sent = ledger[ledger["ID"].notna()]
    assert set(sent["status"]) == {"failed"}
    assert sent["error"].str.contains("cancelled before it was checked").all()
    assert set(sent["ID"]) == set(orthanc.rest.instances.list())
    assert set(ledger["status"]) <= {"failed", "not-sent"}


@pytest.mark.one_version
def test_who_waits_for_a_connection_is_given_up_and_sends_nothing(orthanc: ores.Orthanc) -> None:
    progress = Silent()
    with orthanc.rest.counting() as sent:
        places = orthanc.rest._client._http._transport._places  # type: ignore[attr-defined]
        taken = 0
        while places.acquire(blocking=False):
            taken += 1
        try:
            threading.Timer(0.3, progress.cancel).start()
            start = time.monotonic()
            read = thread_map(lambda _: orthanc.system(), range(4), workers=2, progress=progress)
            assert not list(read)
            assert time.monotonic() - start < 5
        finally:
            for _ in range(taken):
                places.release()
    assert taken
    assert len(sent) <= 2
    assert orthanc.system()["Version"]
