"""The monitor of jobs, on real servers with real jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from clicking import (
    assert_no_markup_but_ours,
    choose,
    click,
    lines,
    models,
    panel_threads,
    part,
    until,
    words,
)

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.widgets import JobMonitor

pytestmark = pytest.mark.one_version

NOBODY = "00000000-0000-0000-0000-000000000000"
Make = Callable[..., JobMonitor]


class _Held(BaseHTTPRequestHandler):
    """A peer at which instances wait, but for those that may pass, until they may go."""

    passing = threading.Semaphore(0)
    go = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.passing.acquire(blocking=False):
            self.go.wait(60)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def peer() -> Iterator[int]:
    """The port of a peer that holds what comes."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Held) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield listening.server_port
        listening.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(version: str) -> Iterator[ores.LocalOrthanc]:
    """A server of our own with some instances."""
    if version == "external":
        pytest.skip("needs a server of our own")
    with ores.LocalOrthanc(version) as orthanc:
        orthanc.upload(ores.samples.cohort(patients=1, studies=2, slices=3, size=16), progress=False)
        yield orthanc


@pytest.fixture
def orthanc(server: ores.LocalOrthanc, peer: int) -> Iterator[ores.LocalOrthanc]:
    """A server that knows a peer that holds what comes, and one that is not there."""
    server.add_peer("held", f"http://127.0.0.1:{peer}/")
    server.add_peer("gone", "http://127.0.0.1:9/")
    _Held.go.clear()
    yield server
    _Held.go.set()
    running = [job for job in server.rest.jobs.list() if not job.done]
    for job in running:
        server.rest.jobs.cancel(job.id)
    server.rest.jobs.wait(running, 30)


@pytest.fixture
def watch() -> Iterator[Make]:
    with ExitStack() as stack:

        def make(orthanc: ores.Orthanc, **options: Any) -> JobMonitor:
            monitor = JobMonitor(orthanc, **options)
            stack.callback(monitor.close)
            return monitor

        yield make


def start(orthanc: ores.Orthanc, peer: str = "held") -> str:
    """A job that runs until its peer lets it go on, or one that fails at once."""
    ids = orthanc.rest.instances.list()
    return str(orthanc.rest.peers.store(peer, ids, synchronous=False)["ID"])


def state(monitor: JobMonitor, job: str) -> str | None:
    there = monitor.results
    return str(there.loc[job, "State"]) if len(there) and job in there.index else None


def row_of(monitor: JobMonitor, job: str) -> int:
    return list(monitor.table.frame.index).index(job)


def test_a_job_is_seen_from_its_start_to_its_end(orthanc: ores.LocalOrthanc, watch: Make) -> None:
    monitor = watch(orthanc)
    _Held.passing.release(4)  # of 16
    job = start(orthanc)
    until(lambda: state(monitor, job) == "Running")
    assert lines(monitor.table)[row_of(monitor, job)].startswith("OrthancPeerStore Running ")
    until(lambda: bool(monitor.results.loc[[job], "Progress"].between(10, 99).all()))
    assert "▓" in lines(monitor.table)[row_of(monitor, job)]
    assert "░" in lines(monitor.table)[row_of(monitor, job)]
    choose(monitor.table, row_of(monitor, job))
    _Held.go.set()
    until(lambda: state(monitor, job) == "Success")
    assert monitor.selected.index.tolist() == [job]
    assert monitor.selected["State"].tolist() == ["Success"]  # as it is now, not as it was chosen
    assert monitor.selected["Ends"].notna().all()
    assert "16 instances" in lines(monitor.table)[row_of(monitor, job)]
    assert words(monitor, "ores-call") == "same as: orthanc.jobs()"
    assert list(orthanc.jobs().columns) == list(monitor.results.columns)


def test_jobs_are_cancelled_in_two_steps_with_their_number(orthanc: ores.LocalOrthanc, watch: Make) -> None:
    monitor = watch(orthanc)
    click(monitor, "ores-job-cancel")
    assert monitor.status == "Choose jobs first."
    one, other = start(orthanc), start(orthanc)
    until(lambda: {state(monitor, one), state(monitor, other)} <= {"Running", "Pending"})
    choose(monitor.table, row_of(monitor, one))
    click(monitor, "ores-job-cancel")
    assert words(monitor, "ores-confirm") == "Cancel 1 job (1 OrthancPeerStore)?"
    part(monitor, "ores-no").click()
    assert orthanc.job(one).state in ("Running", "Pending")
    click(monitor, "ores-job-cancel")
    choose(monitor.table, row_of(monitor, other))  # the answer is to the question that was asked
    click(monitor, "ores-yes")
    assert monitor.status == "Cancelled: 1 of 1 jobs."
    _Held.go.set()  # it ends between two instances
    until(lambda: state(monitor, one) == "Failure")
    assert orthanc.job(one).cancelled
    assert not orthanc.job(other).cancelled
    choose(monitor.table, row_of(monitor, one))
    click(monitor, "ores-job-cancel")
    assert monitor.status == "All jobs that are chosen have ended."


def test_no_row_moves_away_from_under_a_click_when_jobs_come(orthanc: ores.LocalOrthanc, watch: Make) -> None:
    old = [start(orthanc, "gone"), start(orthanc, "gone")]
    monitor = watch(orthanc)
    until(lambda: len(monitor.results) >= 2)
    before = list(monitor.table.frame.index)
    assert set(old) <= set(before)
    assert part(monitor, "ores-job-newest").disabled
    at = row_of(monitor, old[0])
    new = [start(orthanc, "gone"), start(orthanc, "gone")]
    until(lambda: set(new) <= set(monitor.results.index))
    choose(monitor.table, at)  # where it was seen before the others came
    assert monitor.selected.index.tolist() == [old[0]]
    assert list(monitor.table.frame.index)[: len(before)] == before
    assert monitor.results.index[0] in new  # in Python the newest are first
    click(monitor, "ores-job-newest")
    assert list(monitor.table.frame.index) == list(monitor.results.index)
    assert monitor.selected.index.tolist() == [old[0]]
    assert part(monitor, "ores-job-newest").disabled


def test_jobs_pause_go_on_and_start_again(orthanc: ores.LocalOrthanc, watch: Make) -> None:
    monitor = watch(orthanc)
    job, failed = start(orthanc), start(orthanc, "gone")
    until(lambda: state(monitor, job) == "Running" and state(monitor, failed) == "Failure")
    assert "Failure" in lines(monitor.table)[row_of(monitor, failed)]
    choose(monitor.table, row_of(monitor, job))
    click(monitor, "ores-job-pause")
    assert monitor.status == "Paused: 1 of 1 jobs."
    _Held.go.set()
    until(lambda: state(monitor, job) == "Paused")
    choose(monitor.table, row_of(monitor, job), row_of(monitor, failed))
    click(monitor, "ores-job-resume")
    assert monitor.failed
    assert monitor.status == "Resumed: 1 of 2 jobs. Orthanc does not resume a job that is Failure."
    until(lambda: state(monitor, job) in ("Running", "Success"))
    choose(monitor.table, row_of(monitor, failed))
    click(monitor, "ores-job-resubmit")
    assert monitor.status == "Resubmitted: 1 of 1 jobs."
    for verb in ("pause", "resume", "resubmit"):
        choose(monitor.table)
        click(monitor, f"ores-job-{verb}")
        assert monitor.status == "Choose jobs first."


def test_only_the_jobs_that_are_meant_are_shown_and_forgotten_ones_stay(
    orthanc: ores.LocalOrthanc, watch: Make
) -> None:
    mine, other = start(orthanc), start(orthanc)
    monitor = watch(orthanc, jobs=[orthanc.job(mine), NOBODY])
    until(lambda: len(monitor.results) == 2)
    assert set(monitor.results.index) == {mine, NOBODY}
    assert state(monitor, NOBODY) == "Forgotten"
    assert "forgotten, result unknown" in lines(monitor.table)[row_of(monitor, NOBODY)]
    assert other not in monitor.results.index
    choose(monitor.table, row_of(monitor, NOBODY))
    click(monitor, "ores-job-pause")
    assert monitor.failed
    assert monitor.status.startswith("Paused: 0 of 1 jobs. ")


def test_ten_thousand_jobs_are_pages(orthanc: ores.LocalOrthanc, watch: Make) -> None:
    many = [f"00000000-0000-0000-0000-{number:012}" for number in range(10_000)]
    monitor = watch(orthanc, jobs=many)
    until(lambda: len(monitor.results) == 10_000)
    assert words(monitor, "ores-where") == "Jobs 1-200 of 10,000"
    choose(monitor.table, 0)
    click(monitor, "ores-next")
    choose(monitor.table, 1)
    assert monitor.selected.index.tolist() == [many[0], many[201]]


def test_a_server_that_dies_forgets_its_jobs_and_the_monitor_says_so(orthanc: ores.LocalOrthanc, watch: Make) -> None:
    monitor = watch(orthanc)
    job = start(orthanc)
    until(lambda: state(monitor, job) == "Running")
    orthanc.server.kill()
    until(lambda: "Away since" in monitor.status)
    since = monitor.status
    assert state(monitor, job) == "Running"
    choose(monitor.table, row_of(monitor, job))
    click(monitor, "ores-job-pause")
    assert isinstance(monitor.failure, errors.UnreachableError)
    assert monitor.status == since
    orthanc.server.restart()
    until(lambda: monitor.status == "The server answers again.")
    assert monitor.selected.index.tolist() == [job]


def test_a_job_whose_end_nobody_saw_is_forgotten(
    orthanc: ores.LocalOrthanc, watch: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, gate = orthanc.jobs, threading.Lock()

    def when_open(**options: Any) -> Any:
        with gate:
            return ask(**options)

    monkeypatch.setattr(orthanc, "jobs", when_open)
    ended, lost = start(orthanc, "gone"), start(orthanc)
    monitor = watch(orthanc)
    until(lambda: state(monitor, lost) == "Running" and state(monitor, ended) == "Failure")
    choose(monitor.table, row_of(monitor, lost))
    with gate:  # nobody looks
        _Held.go.set()
        orthanc.rest.jobs.wait([orthanc.job(lost).cancel()], 30)
        orthanc.rest.jobs.wait([start(orthanc, "gone") for _ in range(12)], 30)
    until(lambda: state(monitor, lost) == "Forgotten")
    assert "forgotten, result unknown" in lines(monitor.table)[row_of(monitor, lost)]
    assert monitor.selected["State"].tolist() == ["Forgotten"]
    assert state(monitor, ended) == "Failure"  # its end was seen
    assert list(monitor.results["Created"]) == sorted(monitor.results["Created"], reverse=True)


def test_it_looks_less_often_while_nothing_changes(
    orthanc: ores.LocalOrthanc, watch: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with orthanc.rest.counting() as requests:
        monitor = watch(orthanc)
        pauses: list[float] = []
        waits = monitor._soon.wait

        def wait(timeout: float | None = None) -> bool:
            pauses.append(timeout or 0.0)
            return waits(0.01)

        monkeypatch.setattr(monitor._soon, "wait", wait)
        until(lambda: len(pauses) > 12)
        monitor.close()
    assert pauses[-1] == 2.0
    assert {target.partition("?")[0] for _, target in requests} == {"jobs"}
    count = len(requests)
    time.sleep(0.1)
    assert len(requests) == count


def test_what_a_job_says_is_text(orthanc: ores.LocalOrthanc, watch: Make) -> None:
    orthanc.add_modality("odd", "<b onclick=a()>", "127.0.0.1", 9)
    ids = orthanc.rest.instances.list()
    job = str(orthanc.rest.modalities.store("odd", ids, synchronous=False)["ID"])
    monitor = watch(orthanc)
    until(lambda: state(monitor, job) == "Failure")
    assert "with <b onclick=" in lines(monitor.table)[row_of(monitor, job)]
    choose(monitor.table, row_of(monitor, job))
    assert_no_markup_but_ours(monitor)
    orthanc.remove_modality("odd")


def test_cancelling_an_action_says_how_far_it_came(
    orthanc: ores.LocalOrthanc, watch: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = watch(orthanc, jobs=[NOBODY, NOBODY[:-1] + "1"])
    until(lambda: len(monitor.results) == 2)
    begun, go = threading.Event(), threading.Event()

    def slowly(job: str) -> Any:
        begun.set()
        go.wait(10)
        raise errors.NotFoundError("gone", status=404)

    monkeypatch.setattr(orthanc, "job", slowly)
    choose(monitor.table, 0, 1)
    click(monitor, "ores-job-pause", wait=False)
    assert begun.wait(10)
    click(monitor, "ores-cancel", wait=False)
    go.set()
    assert monitor.wait()
    assert monitor.status == "Paused: 0 of 2 jobs. It was stopped after 1. gone"


@pytest.mark.one_version
def test_a_fault_of_one_look_is_over_with_the_next(
    orthanc: ores.LocalOrthanc, watch: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = watch(orthanc, jobs=[NOBODY])
    until(lambda: len(monitor.results) == 1)

    def broken(**_: Any) -> Any:
        raise errors.ServerError("It broke.", status=500)

    with monkeypatch.context() as patch:
        patch.setattr(orthanc, "jobs", broken)
        monitor._soon.set()
        until(lambda: monitor.failed)
    monitor._soon.set()
    until(lambda: (monitor.status, monitor.failed) == ("", False))


def test_faults_are_said_and_closing_leaves_no_thread(
    orthanc: ores.LocalOrthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError("DOE^JOHN")

    assert panel_threads() == []
    monitor = JobMonitor(orthanc, jobs=[NOBODY])
    until(lambda: len(monitor.results) == 1)
    assert set(models(monitor)) == {monitor.widget.model_id}
    choose(monitor.table, 0)
    for owner, name, act in (
        (monitor, "_act", partial(click, monitor, "ores-job-pause")),
        (monitor, "_chosen", partial(click, monitor, "ores-job-cancel")),
        (orthanc, "job", partial(click, monitor, "ores-job-pause")),
        (orthanc, "jobs", monitor._soon.set),
        (monitor, "_show_jobs", monitor._on_newest),
    ):
        with monkeypatch.context() as patch:
            monitor.say("")
            patch.setattr(owner, name, broken)
            act()
            until(lambda: monitor.status.startswith("ValueError: a fault of this program"))
    monitor.close()
    assert panel_threads() == []
    assert len(monitor.results) == 1
