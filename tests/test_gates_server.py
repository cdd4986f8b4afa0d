"""An Orthanc that dies in the middle of its jobs, by kill -9 or SIGTERM, and comes back: nothing lost or twice (R8)."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from stock import stock

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.local import OrthancServer

ORIGIN = {"anonymize": "AnonymizedFrom", "modify": "ModifiedFrom"}
ROUTE = {"anonymize": "tools/bulk-anonymize", "modify": "tools/bulk-modify", "send": "peers/else/store"}
TURNS = 20


class Death:
    """Ends a server so many seconds after the n-th request for a job."""

    def __init__(self, server: OrthancServer, verb: str, number: signal.Signals, at: int, pause: float) -> None:
        self._server = server
        self._route = ROUTE[verb]
        self._number = number
        self._at = at
        self._timer = threading.Timer(pause, self._end)
        self._count = 0
        self.over = False

    def __call__(self, method: str, target: str) -> None:
        if method == "POST" and target == self._route:
            self._count += 1
            if self._count == self._at:
                self._timer.start()

    def _end(self) -> None:
        if not self.over and self._server.pid is not None:
            os.kill(self._server.pid, self._number)
            self.over = True

    def wait(self) -> None:
        """Until it has struck, unless it came too late."""
        if self._timer.is_alive():
            self.over = True
            self._timer.cancel()


def random_death(server: OrthancServer, verb: str, number: signal.Signals, turn: int) -> Death:
    draw = random.Random(f"{verb} {number.name} {turn}")
    return Death(server, verb, number, draw.randint(1, 3), draw.uniform(0, 0.25))


@contextmanager
def own(version: str, folder: Path, **config: Any) -> Iterator[tuple[OrthancServer, ores.Orthanc]]:
    """A server of our own with three patients, and a client that waits for nobody."""
    if version == "external":
        pytest.skip("needs a server of our own")
    with (
        OrthancServer(version, folder=folder, config=config) as server,
        ores.Orthanc(server.url, auth=server.auth) as orthanc,
    ):
        orthanc.rest._client.policy._pause = lambda seconds: None
        stock(orthanc, patients=3, studies=1, slices=12)
        yield server, orthanc


def stored(orthanc: ores.Orthanc) -> dict[str, str]:
    return {each: orthanc.rest.instances.md5(each) for each in orthanc.rest.instances.list()}


def act(orthanc: ores.Orthanc, verb: str, studies: list[str], journal: Path) -> pd.DataFrame:
    if verb == "anonymize":
        return orthanc.anonymize(studies, window=2, journal=journal, progress=False)
    if verb == "send":
        return orthanc.send(studies, peer="else", progress=False)
    return orthanc.modify(studies, {"StudyDescription": "changed"}, window=2, journal=journal, progress=False)


def converged(orthanc: ores.Orthanc, verb: str, studies: list[str], journal: Path) -> pd.DataFrame:
    """What a user does after a crash: resume, delete what was left behind, resume."""
    if verb == "send":
        return act(orthanc, verb, studies, journal)
    ledger = orthanc.resume(journal, progress=False) if journal.exists() else act(orthanc, verb, studies, journal)
    left = orthanc.leftovers(journal)
    if len(left):
        assert ledger["error"].dropna().str.contains("orthanc.leftovers").any()
        orthanc.delete(left, expect=len(left))
        ledger = orthanc.resume(journal, progress=False)
    assert orthanc.leftovers(journal).empty
    return ledger


def check(server: OrthancServer, orthanc: ores.Orthanc, verb: str, death: Death, journal: Path) -> bool:
    """End the server during a batch, go on, and count; whether it struck before the batch was done."""
    before, studies = stored(orthanc), list(orthanc.studies().index)
    orthanc.rest._client.hooks.append(death)
    ledger = None
    with suppress(errors.UnreachableError):  # before there was anything to resume
        ledger = act(orthanc, verb, studies, journal)
    death.wait()
    orthanc.rest._client.hooks.remove(death)
    struck = ledger is None or set(ledger["status"]) != {"done"}
    if ledger is not None:
        assert len(ledger) == len(studies)
        assert ledger.loc[ledger["status"] != "done", "error"].notna().all()
    server.restart()
    ledger = converged(orthanc, verb, studies, journal)
    assert set(ledger["status"]) == {"done"}, ledger["error"].tolist()
    after = stored(orthanc)
    assert {each: after.get(each) for each in before} == before
    if verb != "send":
        found = orthanc.rest.tools.bulk_content(list(after), metadata=True)
        made = Counter(value["Metadata"].get(ORIGIN[verb]) for value in found if value["ID"] not in before)
        assert made == Counter(dict.fromkeys(before, 1))
        orthanc.rest.tools.bulk_delete(sorted(set(after) - set(before)))
    return struck


@pytest.mark.one_version
def test_a_server_that_is_told_to_end_in_the_middle_loses_nothing(version: str, tmp_path: Path) -> None:
    with own(version, tmp_path / "storage") as (server, orthanc):
        death = Death(server, "anonymize", signal.SIGTERM, 2, 0.0)
        assert check(server, orthanc, "anonymize", death, tmp_path / "journal")


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
@pytest.mark.parametrize("verb", ["anonymize", "modify"])
def test_a_server_that_ends_anywhere_loses_nothing(
    version: str, tmp_path: Path, verb: str, number: signal.Signals
) -> None:
    with own(version, tmp_path / "storage") as (server, orthanc):
        struck = sum(
            check(server, orthanc, verb, random_death(server, verb, number, turn), tmp_path / f"{turn}")
            for turn in range(TURNS)
        )
    print(f"{version}: {verb}, {number.name}: {struck} of {TURNS} in the middle")
    assert struck >= TURNS // 3


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_what_was_being_sent_is_sent_again_and_is_there_once(
    version: str, tmp_path: Path, orthanc: ores.Orthanc
) -> None:
    struck = 0
    user, password = orthanc.rest.connection.basic_auth() or ("", "")
    peers = {"else": [orthanc.url, user, password]}
    with own(version, tmp_path / "storage", OrthancPeers=peers) as (server, client):
        for turn in range(TURNS // 2):
            number = (signal.SIGKILL, signal.SIGTERM)[turn % 2]
            struck += check(server, client, "send", random_death(server, "send", number, turn), tmp_path)
            assert sorted(orthanc.rest.instances.list()) == sorted(stored(client))
            orthanc.rest.tools.bulk_delete(orthanc.rest.patients.list())
    print(f"{version}: send: {struck} of {TURNS // 2} in the middle")
    assert struck >= TURNS // 6
