"""Labels on many resources: a row each, only where the server knows labels, and twice is once."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from stock import stock

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.local import OrthancServer
from orthanc_research.progress import Silent


@pytest.fixture
def labelled(orthanc: ores.Orthanc) -> ores.Orthanc:
    """Three patients with two studies each, where the server knows labels."""
    stock(orthanc, slices=3)
    if not orthanc.capabilities().has("labels"):
        pytest.skip("before 1.12 there are no labels; that they are refused is the test below")
    return orthanc


def labels_of(orthanc: ores.Orthanc, level: Any) -> dict[str, set[str]]:
    found = orthanc.find(level, columns=["Labels"])["Labels"]
    return {str(key): set() if pd.isna(text) else set(str(text).split("\\")) for key, text in found.items()}


def test_before_1_12_it_is_refused_with_nothing_changed(orthanc: ores.Orthanc) -> None:
    stock(orthanc, patients=1, studies=1, slices=3)
    if orthanc.capabilities().has("labels"):
        return
    studies = orthanc.studies()
    with orthanc.rest.counting() as requests, pytest.raises(errors.UnsupportedError, match=r"1\.12\.0 or later"):
        orthanc.label(studies, ["checked"], progress=False)
    assert requests == []


@pytest.mark.parametrize("level", ["Patient", "Study", "Series", "Instance"])
def test_labels_come_and_go_at_every_level_and_only_there(labelled: ores.Orthanc, level: Any) -> None:
    frame = labelled.find(level)
    with labelled.rest.counting() as requests:
        ledger = labelled.label(frame, add=["checked", "lung-2024"], progress=False)
    assert len(requests) == 2 * len(frame)
    assert list(ledger.index) == list(frame.index)
    assert set(ledger["status"]) == {"done"}
    assert ledger["error"].isna().all()
    assert ledger.attrs["orthanc"]["level"] == level
    assert set(map(frozenset, labels_of(labelled, level).values())) == {frozenset({"checked", "lung-2024"})}
    for other in {"Patient", "Study", "Series", "Instance"} - {level}:
        assert set(map(frozenset, labels_of(labelled, other).values())) == {frozenset()}
    labelled.label(frame, remove=["checked"], progress=False)
    assert set(map(frozenset, labels_of(labelled, level).values())) == {frozenset({"lung-2024"})}


def test_twice_is_once(labelled: ores.Orthanc) -> None:
    studies = labelled.studies()
    for _ in range(2):
        assert set(labelled.label(studies, ["a"], ["never-there"], progress=False)["status"]) == {"done"}
        assert set(map(frozenset, labels_of(labelled, "Study").values())) == {frozenset({"a"})}


def test_a_find_by_label_gives_what_was_labelled(labelled: ores.Orthanc) -> None:
    chosen = labelled.studies().iloc[::2]
    labelled.label(chosen, ["train"], progress=False)
    assert set(labelled.find("Study", labels=["train"]).index) == set(chosen.index)


def test_rows_lists_and_single_ids_are_resources(labelled: ores.Orthanc) -> None:
    studies = labelled.studies()
    one, two, *_ = studies.index
    labelled.label(one, ["x"], progress=False)
    labelled.label([one, two], ["y"], progress=False)
    labelled.label(studies.index, ["z"], progress=False)
    found = labels_of(labelled, "Study")
    assert found[one] == {"x", "y", "z"}
    assert found[two] == {"y", "z"}
    assert set(map(frozenset, (found[key] for key in studies.index[2:]))) == {frozenset({"z"})}


def test_what_is_gone_is_a_row_and_the_others_are_labelled(labelled: ores.Orthanc) -> None:
    studies = labelled.studies()
    labelled.rest.studies.delete(studies.index[1])
    ledger = labelled.label(studies, ["a"], progress=False)
    assert ledger.index[ledger["status"] == "failed"].tolist() == [studies.index[1]]
    assert ledger["error"].iloc[1] == "It is no longer on this Orthanc; find it again."
    assert (ledger["status"] == "done").sum() == len(studies) - 1
    assert set(map(frozenset, labels_of(labelled, "Study").values())) == {frozenset({"a"})}


WRONG = [
    ({"add": ["two words"]}, "add is a list of labels"),
    ({"add": ["Größe"]}, "add is a list of labels"),
    ({"add": [""]}, "add is a list of labels"),
    ({"add": ["x" * 65]}, "add is a list of labels"),
    ({"add": ["a/b"]}, "add is a list of labels"),
    ({"add": ["a\n"]}, "add is a list of labels"),
    ({"add": [7]}, "add is a list of labels"),
    ({"add": [None]}, "add is a list of labels"),
    ({"add": "one"}, "add is a list of labels"),
    ({"add": 7}, "add is a list of labels"),
    ({"add": None}, "add is a list of labels"),
    ({"remove": ["a b"]}, "remove is a list of labels"),
    ({"add": ["a"], "remove": ["a"]}, "either added or removed"),
    ({}, "Say which labels"),
]


@pytest.mark.parametrize(("arguments", "sentence"), WRONG)
def test_labels_that_cannot_be_are_refused_before_anything_is_sent(arguments: dict[str, Any], sentence: str) -> None:
    frame = pd.DataFrame(index=pd.Index(["00000000-00000000-00000000-00000000-00000000"], name="ID", dtype="str"))
    with ores.Orthanc("http://127.0.0.1:9") as orthanc, orthanc.rest.counting() as requests:
        with pytest.raises(errors.QueryError, match=sentence) as caught:
            orthanc.label(frame, **arguments, progress=False)
        assert "two words" not in str(caught.value)
    assert requests == []


def test_no_resources_are_an_empty_ledger_without_a_request(labelled: ores.Orthanc) -> None:
    empty = labelled.studies().iloc[:0]
    with labelled.rest.counting() as requests:
        ledger = labelled.label(empty, ["a"], progress=False)
    assert requests == []
    assert ledger.empty
    assert ledger.dtypes.equals(labelled.label(labelled.studies(), ["a"], progress=False).dtypes)


def test_cancelling_leaves_rows_that_were_not_sent(labelled: ores.Orthanc) -> None:
    class AfterThree(Silent):
        seen = 0

        def advance(self, count: int = 1) -> None:
            self.seen += count
            if self.seen == 3:
                self.cancel()

    instances = labelled.instances()
    ledger = labelled.label(instances, ["a"], progress=AfterThree())
    seen = ledger["status"].value_counts()
    assert len(ledger) == len(instances) > 30
    assert 3 <= seen["done"] < 20
    assert seen["done"] + seen["not-sent"] == len(instances)
    assert sum("a" in found for found in labels_of(labelled, "Instance").values()) == seen["done"]


def test_a_server_that_goes_away_leaves_a_row_for_each(version: str) -> None:
    if version in ("external", "1.10.1"):
        pytest.skip("needs a server of our own, with labels")
    named = None if version == "any" else version
    with OrthancServer(named) as server, ores.Orthanc(server.url, auth=server.auth) as orthanc:
        stock(orthanc, slices=3)
        instances = orthanc.instances()
        orthanc.rest._client.policy._pause = lambda seconds: None
        server.kill()
        ledger = orthanc.label(instances, ["a"], progress=False)
    assert len(ledger) == len(instances)
    assert set(ledger["status"]) == {"failed", "not-sent"}
    assert ledger["error"].str.contains("No Orthanc answers").all()
