"""The logs of changes and exports, on real servers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import get_args

import pytest

from orthanc_research import errors
from orthanc_research.local import OrthancServer
from orthanc_research.rest import ChangeType, Connection, Rest


@pytest.fixture
def instance(rest: Rest, ct_small: Path) -> str:
    rest.changes.clear()
    return str(rest.instances.upload(ct_small.read_bytes())["ID"])


def test_changes_are_read_page_by_page(rest: Rest, instance: str) -> None:
    answer = rest.changes.read()
    new = [change for change in answer["Changes"] if change["ChangeType"].startswith("New")]
    assert [change["ChangeType"] for change in new] == ["NewInstance", "NewSeries", "NewStudy", "NewPatient"]
    assert new[0]["ID"] == instance
    assert answer["Done"] is True
    seen: list[int] = []
    position = new[0]["Seq"] - 1
    while True:
        page = rest.changes.read(position, 1)
        seen += [change["Seq"] for change in page["Changes"]]
        position = page["Last"]
        if page["Done"]:
            break
    assert seen == [change["Seq"] for change in answer["Changes"]]
    assert rest.changes.last()["Changes"][0]["Seq"] == answer["Last"]
    beyond = rest.changes.read(10**9)
    assert (beyond["Changes"], beyond["Done"], beyond["Last"]) == ([], True, answer["Last"])


def test_changes_are_filtered_by_the_server_or_refused(rest: Rest, instance: str) -> None:
    if not rest.capabilities().has("extended-changes"):
        with rest.counting() as requests:
            with pytest.raises(errors.UnsupportedError, match=r"1\.12\.5"):
                rest.changes.read(types=["NewStudy"])  # 1.10.1 would answer all
            with pytest.raises(errors.UnsupportedError):
                rest.changes.read(to=3)
        assert requests == []
        return
    two = rest.changes.read(types=["NewStudy", "NewPatient"])["Changes"]
    assert [change["ChangeType"] for change in two] == ["NewStudy", "NewPatient"]
    until = rest.changes.read(to=two[0]["Seq"], limit=1)
    assert [change["Seq"] for change in until["Changes"]] == [two[0]["Seq"]]
    assert rest.changes.read(types=list(get_args(ChangeType)))["Changes"]
    with pytest.raises(errors.ServerError) as caught:
        rest.get("/changes", type="StableInstance")
    assert (caught.value.status, caught.value.orthanc_status) == (400, 3)


def test_changes_can_be_cleared(rest: Rest, instance: str) -> None:
    last = rest.changes.last()["Last"]
    rest.changes.clear()
    answer = rest.changes.read()
    assert [change for change in answer["Changes"] if change["Seq"] <= last] == []
    assert answer["Last"] >= last


def test_bad_pages_are_refused(rest: Rest) -> None:
    with rest.counting() as requests:
        for read in (rest.changes.read, rest.exports.read):
            with pytest.raises(errors.QueryError):
                read(limit=0)  # never "Done"
            with pytest.raises(errors.QueryError):
                read(since=-1)
        with pytest.raises(errors.QueryError, match="type of change"):
            rest.changes.read(types=["StableInstance"])  # type: ignore[list-item]
    assert requests == []


def test_exports_are_logged_where_that_is_configured(rest: Rest, version: str, instance: str, ct_small: Path) -> None:
    assert rest.exports.read() == {"Done": True, "Exports": [], "Last": 0}
    if version == "external":
        return
    suite = None if version == "any" else version
    config = {"LogExportedResources": True}
    with (
        OrthancServer(suite, config=config) as server,
        Rest(Connection.make(server.url, auth=server.auth)) as logging,
    ):
        study = logging.instances.upload(ct_small.read_bytes())["ParentStudy"]
        assert rest.connection.auth is not None
        user, password = rest.connection.basic_auth() or ("", "")
        logging.peers.put("there", rest.connection.url, username=user, password=password)
        logging.peers.store("there", [study])
        for _ in range(50):
            answer = logging.exports.read(0, 10)
            if answer["Exports"]:
                break
            time.sleep(0.05)
        (export,) = answer["Exports"]
        assert (export["ResourceType"], export["RemoteModality"]) == ("Study", "there")
        assert logging.exports.last()["Exports"] == [export]
        logging.exports.clear()
        assert logging.exports.read()["Exports"] == []
