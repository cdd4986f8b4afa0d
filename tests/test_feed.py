"""The change log: a typed frame, and a watch that keeps its place."""

from __future__ import annotations

from pathlib import Path

import pytest

import orthanc_research as ores
from orthanc_research import errors


@pytest.fixture
def data() -> list[object]:
    return list(ores.samples.cohort(patients=1, studies=1, slices=4, size=16))


def test_changes_are_a_typed_frame_page_by_page(orthanc: ores.Orthanc, data: list[object]) -> None:
    start = int(orthanc.rest.changes.last()["Last"])
    orthanc.upload(data, progress=False)
    changes = orthanc.changes(start)
    new = changes[changes["ChangeType"] == "NewInstance"]
    assert len(new) == len(data)
    assert set(new["ID"]) == set(orthanc.instances().index)
    assert changes.index.is_monotonic_increasing
    assert str(changes["Date"].dtype) == "datetime64[s]"
    assert len(orthanc.changes(start, limit=3)) == 3
    after = int(changes.index[2])
    assert orthanc.changes(after).index[0] > after
    assert orthanc.changes(10**9).empty
    with pytest.raises(errors.QueryError):
        orthanc.changes(-1)
    with pytest.raises(errors.QueryError):
        orthanc.changes(0, limit=0)


def test_a_watch_tells_each_change_once_and_keeps_its_place(
    orthanc: ores.Orthanc, data: list[object], tmp_path: Path
) -> None:
    state = tmp_path / "deep" / "watch.json"
    start = int(orthanc.rest.changes.last()["Last"])
    orthanc.upload(data, progress=False)
    first = []
    for change in orthanc.watch(["NewInstance"], state, since=start, poll=0.05, idle=0.1):
        first.append(change)
        if len(first) == 3:
            break  # dealt with two; the third was never finished
    rest = list(orthanc.watch(["NewInstance"], state, poll=0.05, idle=0.1))
    assert [c.Seq for c in first[:2]] + [c.Seq for c in rest] == sorted({c.Seq for c in (*first, *rest)})
    assert rest[0] == first[2]  # at least once after a break
    assert {c.ID for c in (*first, *rest)} == set(orthanc.instances().index)
    assert list(orthanc.watch(["NewInstance"], state, poll=0.05, idle=0.1)) == []
    orthanc.delete(orthanc.patients(), expect=1)
    orthanc.upload(data[:1], progress=False)
    assert len(list(orthanc.watch(["NewInstance"], state, poll=0.05, idle=0.1))) == 1


def test_a_watch_begins_with_what_is_new(orthanc: ores.Orthanc, data: list[object]) -> None:
    orthanc.upload(data[:2], progress=False)
    watching = orthanc.watch(["NewInstance"], poll=0.05, idle=0.2)
    assert list(watching) == []


def test_a_watch_that_saw_nothing_keeps_its_place_too(
    orthanc: ores.Orthanc, data: list[object], tmp_path: Path
) -> None:
    state = tmp_path / "watch.json"
    assert list(orthanc.watch(["NewInstance"], state, poll=0.05, idle=0.1)) == []
    orthanc.upload(data[:5], progress=False)
    assert len(list(orthanc.watch(["NewInstance"], state, poll=0.05, idle=0.1))) == 5


def test_a_server_that_was_replaced_while_it_was_watched_is_told(
    orthanc: ores.Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = orthanc.watch(since=int(orthanc.rest.changes.last()["Last"]), poll=0.01)
    monkeypatch.setattr(orthanc.rest.changes, "_run", lambda call: {"Changes": [], "Done": True, "Last": -1})
    with pytest.raises(errors.ResponseError, match="another server"):
        next(watching)


def test_a_position_of_another_server_is_told(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    state = tmp_path / "watch.json"
    state.write_text(f'{{"url": "{orthanc.url}", "seq": 1000000000}}')
    with pytest.raises(errors.ResponseError, match="another server"):
        next(orthanc.watch(state=state, idle=0))
    state.write_text('{"url": "http://elsewhere", "seq": 1}')
    with pytest.raises(errors.QueryError, match="another Orthanc"):
        next(orthanc.watch(state=state, idle=0))
    state.write_text("nonsense")
    with pytest.raises(errors.QueryError, match="does not hold"):
        next(orthanc.watch(state=state, idle=0))
    with pytest.raises(errors.QueryError, match="types is a list"):
        orthanc.watch(["Nonsense"])
    with pytest.raises(errors.QueryError, match="types is a list"):
        orthanc.watch("NewInstance")
