"""Tasks on any executor: caps that hold, one more try, reasons instead of dead jobs; no secret on its way."""

from __future__ import annotations

import pickle
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from orthanc_research.errors import QueryError
from orthanc_research.parallel import Outcome
from orthanc_research.progress import Silent
from orthanc_research.rest import Connection
from orthanc_research.spread import Needs, Unfit, executor_of, needs, on_threads, share, spread, travels

NEVER: Callable[[Outcome[Any, Any]], bool] = lambda outcome: False  # noqa: E731


def _spread(executor: Executor, work: Callable[[Any], Any], units: Any, **how: Any) -> list[Outcome[Any, Any]]:
    given: dict[str, Any] = {"server": lambda unit: "", "at_once": {"": 2}, "again": NEVER, "progress": Silent()}
    return list(spread(executor, work, units, **{**given, **how}))


def test_each_server_has_its_own_cap() -> None:
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    lock = threading.Lock()

    def work(unit: tuple[str, int]) -> int:
        with lock:
            now[unit[0]] += 1
            most[unit[0]] = max(most[unit[0]], now[unit[0]])
        time.sleep(0.01)
        with lock:
            now[unit[0]] -= 1
        return unit[1]

    units = [(name, number) for number in range(12) for name in ("a", "b")]
    with ThreadPoolExecutor(8) as executor:
        found = _spread(executor, work, units, server=lambda unit: unit[0], at_once={"a": 1, "b": 3})
    assert sorted(outcome.unit for outcome in found) == sorted(units)
    assert all(outcome.get() == outcome.unit[1] for outcome in found)
    assert most == {"a": 1, "b": 3}


def test_what_failed_is_tried_once_more_and_after_the_others() -> None:
    seen: list[int] = []

    def work(unit: int) -> int:
        seen.append(unit)
        if unit == 0:
            raise OSError
        return unit

    with ThreadPoolExecutor(1) as executor:
        found = _spread(executor, work, range(4), again=lambda outcome: outcome.error is not None, at_once={"": 1})
    assert seen == [0, 1, 2, 3, 0]
    assert [outcome.unit for outcome in found if outcome.error] == [0]


def test_no_unit_begins_after_a_cancel() -> None:
    progress = Silent()

    def work(unit: int) -> int:
        progress.cancel()
        return unit

    with ThreadPoolExecutor(1) as executor:
        found = [outcome.get() for outcome in _spread(executor, work, range(9), progress=progress)]
    assert found in ([0], [0, 1])  # those that were with the executor already


def _dies(unit: int) -> int:
    import os

    if unit == 1:
        os._exit(1)
    return unit


def test_a_pool_that_is_broken_is_the_reason_of_all_that_is_left() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as executor:
        found = _spread(executor, _dies, range(5), at_once={"": 1})
    errors = {outcome.unit: outcome.error for outcome in found}
    assert errors.pop(0) is None
    assert len(errors) == 4
    assert all(isinstance(error, BrokenProcessPool) for error in errors.values())


class _Remote(ThreadPoolExecutor):
    """Looks like a pool of threads, and pickles: as the five lines for Spark do."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(pickle.loads(pickle.dumps(fn)), *args, **kwargs)


def test_how_wide_an_executor_is() -> None:
    with ThreadPoolExecutor(2) as threads, _Remote(8) as remote:
        assert on_threads(threads)
        assert not on_threads(remote)
        assert share(threads, 4) == (2, 2)
        assert share(threads, 1) == (1, 1)
        assert share(remote, 3) == (3, 1)
        assert executor_of(threads, None, Silent()) is threads

    class Unknown(Executor):
        pass

    assert share(Unknown(), 4) == (4, 1)
    with pytest.raises(QueryError, match="executor is one of"):
        on_threads(3)


def test_a_worker_says_why_it_is_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPREAD_AUTH", "alice:sesame")
    named = Connection.make("http://localhost:1", auth="env:SPREAD_AUTH")
    with needs(tmp_path, [named]) as wanted:
        there = pickle.loads(pickle.dumps(wanted))
        there.check()
        assert b"sesame" not in pickle.dumps(wanted)
        assert "sesame" not in repr(wanted)
        cases = {
            "numpy 0.9": replace(there, versions={"numpy": "0.9"}),
            "nowhere not at all": replace(there, versions={"nowhere": "1"}),
            "does not see the folder": replace(there, seen=str(tmp_path / "elsewhere")),
        }
        assert there.lacks() == ""
        assert "lacks the decoder j9" in replace(there, decoders=there.decoders | {"j9"}).lacks()
        for reason, unfit in cases.items():
            with pytest.raises(Unfit) as told:
                unfit.check()
            if "0.9" not in reason:
                assert reason in str(told.value)
        monkeypatch.delenv("SPREAD_AUTH")
        with pytest.raises(Unfit, match="SPREAD_AUTH is not set"):
            there.check()
    assert not list(tmp_path.iterdir())
    with pytest.raises(Unfit, match="does not see the folder"):  # the build has ended
        replace(there, connections=()).check()


def test_typed_secrets_do_not_travel() -> None:
    assert travels(Connection.make("http://localhost:1", auth="env:NAME"))
    assert travels(Connection.make("http://localhost:1"))
    for options in ({"auth": ("alice", "sesame")}, {"token": "abc"}, {"headers": {"X-Key": "1"}}):
        assert not travels(Connection.make("http://localhost:1", **options))


def test_needs_hold_nothing_but_facts() -> None:
    assert repr(Needs({"numpy": "2"}, frozenset({"a"}))).count("connections") == 0
