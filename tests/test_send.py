"""Sending to a modality and to a peer: a row for each, and what is there is what is said to be there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from faults import Proxy
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.progress import Silent

COHORT = ores.samples.cohort(patients=2, studies=1, slices=4, size=16)


@pytest.fixture(scope="module")
def servers(version: str) -> Iterator[tuple[ores.LocalOrthanc, ores.LocalOrthanc]]:
    if version == "external":
        pytest.skip("needs servers of our own")
    with (
        ores.LocalOrthanc(version, dicom=True, config={"DicomAet": "HERE", "DicomScuTimeout": 4}) as here,
        ores.LocalOrthanc(version, dicom=True, config={"DicomAet": "THERE"}) as there,
    ):
        here.introduce(there)
        there.introduce(here)
        user, password = there.server.auth
        here.add_peer("other", there.url, username=user, password=password)
        here.upload(COHORT, progress=False)
        yield here, there


@pytest.fixture
def pair(servers: tuple[ores.LocalOrthanc, ores.LocalOrthanc]) -> tuple[ores.LocalOrthanc, ores.LocalOrthanc]:
    """Everything here, nothing there."""
    patients = servers[1].rest.patients.list()
    if patients:
        servers[1].rest.tools.bulk_delete(patients)
    return servers


class Sink:
    """A destination that refuses some, and lists what it likes."""

    def __init__(self) -> None:
        self.refuse: set[str] = set()
        self.forget: set[str] = set()
        self.delay = 0.0
        self.kept: list[str] = []

    def store(self, event: Any) -> int:
        time.sleep(self.delay)
        dataset = event.dataset
        if str(dataset.StudyInstanceUID) in self.refuse:
            return 0xA700
        if str(dataset.SOPInstanceUID) not in self.forget:
            self.kept.append(str(dataset.SOPInstanceUID))
        return 0

    def find(self, event: Any) -> Iterator[tuple[int, Any]]:
        for uid in self.kept:
            answer = event.identifier
            answer.SOPInstanceUID = uid
            yield 0xFF00, answer


@contextmanager
def sink_at(here: ores.LocalOrthanc) -> Iterator[Sink]:
    sink, ae = Sink(), AE(ae_title="SINK")
    for context in (*AllStoragePresentationContexts[:110], StudyRootQueryRetrieveInformationModelFind):
        ae.add_supported_context(getattr(context, "abstract_syntax", context))
    handlers: Any = [(evt.EVT_C_STORE, sink.store), (evt.EVT_C_FIND, sink.find)]
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    here.add_modality("sink", "SINK", "127.0.0.1", server.socket.getsockname()[1])
    try:
        yield sink
    finally:
        here.remove_modality("sink")
        server.shutdown()
        for thread in threading.enumerate():
            if thread.name.startswith("AcceptorThread"):
                thread.join(5)


@pytest.mark.parametrize("where", [{"modality": "THERE"}, {"modality": "THERE", "verify": True}, {"peer": "other"}])
def test_what_is_sent_is_there_and_twice_is_once(
    pair: tuple[ores.LocalOrthanc, ores.LocalOrthanc], where: dict[str, Any]
) -> None:
    here, there = pair
    series = here.series()
    for _ in range(2):
        ledger = here.send(series, progress=False, **where)
        assert list(ledger.index) == list(series.index)
        assert ledger["status"].tolist() == ["done"] * len(series)
        assert ledger["error"].isna().all()
        assert ledger["instances"].tolist() == series["NumberOfSeriesRelatedInstances"].tolist()
    assert set(there.instances().index) == set(here.instances().index)
    assert here.send(series.head(0), progress=False, **where).empty


def test_a_refusal_is_its_row(pair: tuple[ores.LocalOrthanc, ores.LocalOrthanc]) -> None:
    here, _ = pair
    studies = here.studies()
    with sink_at(here) as sink:
        sink.refuse = {studies["StudyInstanceUID"].iloc[0]}
        ledger = here.send(studies, modality="sink", progress=False)
        assert ledger["status"].tolist() == ["failed", "done"]
        assert "failed" in ledger["error"].iloc[0]
        sink.refuse = set()
        assert here.send(ledger[ledger["status"] != "done"], modality="sink", progress=False)["status"].eq("done").all()
        assert set(sink.kept) == set(here.instances()["SOPInstanceUID"])


def test_what_the_destination_does_not_keep_is_found_out(pair: tuple[ores.LocalOrthanc, ores.LocalOrthanc]) -> None:
    here, _ = pair
    study = here.studies().head(1)
    uids = here.instances(within=study)["SOPInstanceUID"]
    with sink_at(here) as sink:
        sink.forget = {uids.iloc[2]}
        assert here.send(study, modality="sink", progress=False)["status"].tolist() == ["done"]  # it said so
        sink.kept.clear()
        ledger = here.send(study, modality="sink", verify=True, progress=False)
        assert ledger["status"].tolist() == ["incomplete"]
        assert ledger["error"].tolist() == [f"1 of {len(uids)} are not there."]
        sink.forget = set(uids)
        sink.kept.clear()
        assert here.send(study, modality="sink", verify=True, progress=False)["status"].tolist() == ["unverified"]


def test_stopping_leaves_rows(pair: tuple[ores.LocalOrthanc, ores.LocalOrthanc]) -> None:
    here, _ = pair
    studies, progress = here.studies(), Silent()
    with sink_at(here) as sink:
        sink.delay = 0.3
        threading.Timer(0.8, progress.cancel).start()
        start = time.monotonic()
        ledger = here.send(studies, modality="sink", progress=progress)
        assert time.monotonic() - start < 15
        assert ledger["status"].tolist() == ["failed", "not-sent"]
        assert ledger["error"].iloc[0].startswith("Cancelled")
        assert 0 < len(sink.kept) < len(here.instances())


def test_a_destination_that_is_down_is_left_alone(pair: tuple[ores.LocalOrthanc, ores.LocalOrthanc]) -> None:
    here, _ = pair
    here.add_modality("down", "DOWN", "127.0.0.1", 9)
    here.add_peer("down", "http://127.0.0.1:9")
    instances = here.instances().head(7)
    wheres: list[dict[str, Any]] = [{"modality": "down"}, {"peer": "down"}]
    for where in wheres:
        ledger = here.send(instances, progress=False, **where)
        assert ledger["status"].tolist() == ["failed"] * 5 + ["not-sent"] * 2
        assert ledger["error"].notna().all()
    here.remove_modality("down")
    here.remove_peer("down")


def test_a_cut_line_is_unknown_and_not_repeated(pair: tuple[ores.LocalOrthanc, ores.LocalOrthanc]) -> None:
    here, there = pair
    studies = list(here.studies().index)
    with (
        Proxy(here.url, lambda head: b"/store " in head) as proxy,
        ores.Orthanc(proxy.url, auth=here.server.auth) as orthanc,
        orthanc.rest.counting() as requests,
    ):
        ledger = orthanc.send(studies, peer="other", progress=False)
    assert ledger["status"].tolist() == ["unknown"] * 2
    assert requests.count(("POST", "peers/other/store")) == 2
    # The line is cut while its job runs: the job may go on.
    with (
        Proxy(here.url, lambda head: b"/jobs/" in head) as proxy,
        ores.Orthanc(proxy.url, auth=here.server.auth) as orthanc,
    ):
        orthanc.rest._client.policy._pause = lambda seconds: None
        assert orthanc.send(studies[:1], peer="other", progress=False)["status"].tolist() == ["unknown"]
    assert here.send(studies, peer="other", progress=False)["status"].eq("done").all()
    assert set(there.instances().index) == set(here.instances().index)


def test_bad_destinations_are_refused_before_anything_is_sent(
    pair: tuple[ores.LocalOrthanc, ores.LocalOrthanc],
) -> None:
    here, _ = pair
    studies = here.studies()
    wrongs: list[dict[str, Any]] = [{}, {"modality": "THERE", "peer": "other"}, {"peer": "other", "verify": True}]
    for wrong in wrongs:
        with here.rest.counting() as requests, pytest.raises(errors.QueryError):
            here.send(studies, progress=False, **wrong)
        assert requests == []
    nobodies: list[dict[str, Any]] = [{"modality": "nobody"}, {"peer": "nobody"}]
    for nobody in nobodies:
        with pytest.raises(errors.NotFoundError):
            here.send(studies, progress=False, **nobody)
    here_no_more = ["00000000-00000000-00000000-00000000-00000000"]
    with pytest.raises(errors.QueryError, match="not on this Orthanc"):
        here.send(here_no_more, peer="other", progress=False)
