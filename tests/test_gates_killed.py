"""A batch whose process ends in the middle, by kill -9 or Ctrl-C, goes on where it was (gates R7, R15, R16)."""

from __future__ import annotations

import hashlib
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from faults import Proxy
from faults.child import Ending, act, start
from stock import stock

import orthanc_research as ores

VERBS = ("upload", "download", "anonymize", "modify")
REQUESTS = {"upload": 12, "download": 16, "anonymize": 7, "modify": 7}  # fewer than each sends


def md5s(folder: Path) -> Counter[str]:
    return Counter(hashlib.md5(path.read_bytes()).hexdigest() for path in folder.rglob("*.dcm"))


def stored(orthanc: ores.Orthanc) -> dict[str, str]:
    return {each: orthanc.rest.instances.md5(each) for each in orthanc.rest.instances.list()}


def prepared(orthanc: ores.Orthanc, verb: str, folder: Path) -> dict[str, str]:
    """16 instances of two patients, on the server (or to be sent there); {instance: MD5}."""
    stock(orthanc, patients=2, studies=1, slices=3)
    before = stored(orthanc)
    orthanc.download(orthanc.series(), folder / "files", progress=False)
    (folder / "files" / "manifest.csv").unlink()
    (folder / "files" / ".ores-download.lock").unlink()
    (folder / "studies").write_text("\n".join(orthanc.studies().index))
    if verb == "upload":
        orthanc.rest.tools.bulk_delete(orthanc.rest.patients.list())
    return before


def ended(orthanc: ores.Orthanc, verb: str, folder: Path, ending: Ending) -> float | None:
    """Run it in a child that is ended; the seconds that took, None when the child was done before."""
    ending.child = start(verb, orthanc.url, orthanc.rest.connection.basic_auth(), folder)
    ending.child.join(60)
    assert not ending.child.is_alive()
    ending.over = True
    return time.monotonic() - ending.ended if ending.ended else None


def resumed(orthanc: ores.Orthanc, verb: str, folder: Path) -> pd.DataFrame:
    journal = folder / "journal"
    if not journal.exists():
        return act(orthanc, verb, folder)
    text = journal.read_bytes()
    assert text[:15] == b"SQLite format 3"
    found = orthanc.resume(journal, progress=False)
    left = orthanc.leftovers(journal)
    if len(left):
        orthanc.delete(left, expect=len(left))
        found = orthanc.resume(journal, progress=False)
    return found


def check(orthanc: ores.Orthanc, verb: str, folder: Path, number: signal.Signals, seed: str) -> bool:
    """End it at a random request, go on, and hold the end against what a run without harm gives."""
    draw = random.Random(seed)
    before = prepared(orthanc, verb, folder)
    ending = Ending(number, draw.randint(1, REQUESTS[verb]), draw)
    with (
        Proxy(orthanc.url, script=ending) as proxy,
        ores.Orthanc(proxy.url, auth=orthanc.rest.connection.auth) as client,
    ):
        seconds = ended(client, verb, folder, ending)
        assert seconds is None or seconds < 5
        assert md5s(folder / "out") <= Counter(before.values())  # what has its name is whole
        ledger = resumed(client, verb, folder)
    assert set(ledger["status"]) <= {"done", "stored", "already-stored", "already-there"}, ledger["error"].tolist()
    after = stored(orthanc)
    assert {each: after.get(each) for each in before} == before
    if verb == "download":
        assert md5s(folder / "out") == Counter(before.values())
        assert not list(folder.rglob("*.partial"))
    if verb in ("anonymize", "modify"):
        found = orthanc.rest.tools.bulk_content(list(after), metadata=True)
        key = "AnonymizedFrom" if verb == "anonymize" else "ModifiedFrom"
        made = Counter(value["Metadata"].get(key) for value in found if value["ID"] not in before)
        assert made == Counter(dict.fromkeys(before, 1))
    else:
        assert after == before
    return seconds is not None


@pytest.mark.parametrize("verb", VERBS)
def test_a_batch_that_is_killed_goes_on(orthanc: ores.Orthanc, tmp_path: Path, verb: str) -> None:
    assert check(orthanc, verb, tmp_path, signal.SIGKILL, f"{verb} 1")


@pytest.mark.one_version
@pytest.mark.parametrize("verb", ["download", "anonymize"])
def test_ctrl_c_ends_within_seconds_and_it_goes_on(orthanc: ores.Orthanc, tmp_path: Path, verb: str) -> None:
    assert check(orthanc, verb, tmp_path, signal.SIGINT, f"{verb} 2")


@pytest.mark.one_version
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_batch_that_is_killed_anywhere_goes_on(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    caught = Counter[tuple[str, str]]()
    for number, times in ((signal.SIGKILL, 25), (signal.SIGINT, 13)):
        for verb in VERBS:
            for turn in range(times):
                folder = tmp_path / f"{number.name}-{verb}-{turn}"
                folder.mkdir()
                caught[number.name, verb] += check(orthanc, verb, folder, number, f"{verb} {turn} {number}")
                orthanc.rest.tools.bulk_delete(orthanc.rest.patients.list())
    print(dict(caught))
    assert min(caught.values()) > 5


@pytest.mark.one_version
def test_two_downloads_into_one_folder_leave_it_whole(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    before = prepared(orthanc, "download", tmp_path)
    auth = orthanc.rest.connection.basic_auth()
    both = [start("download", orthanc.url, auth, tmp_path) for _ in range(2)]
    for child in both:
        child.join(60)
    assert 0 in [child.exitcode for child in both]  # one may have been refused
    assert md5s(tmp_path / "out") == Counter(before.values())
    assert not list(tmp_path.rglob("*.partial"))
