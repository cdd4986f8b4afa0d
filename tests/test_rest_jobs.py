"""Jobs: every way one can end, on real servers."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from orthanc_research import errors
from orthanc_research.progress import Silent
from orthanc_research.rest import AsyncRest, Connection, Job, Rest
from orthanc_research.rest.jobs import STATES

NOBODY = "00000000-0000-0000-0000-000000000000"


class Told(Silent):
    """A progress that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.units: list[tuple[int | None, str]] = []
        self.steps: list[int] = []

    def total(self, count: int | None, unit: str = "") -> None:
        self.units.append((count, unit))

    def advance(self, count: int = 1) -> None:
        self.steps.append(count)


@pytest.fixture
def study(rest: Rest, ct_small: Path) -> str:
    return str(rest.instances.upload(ct_small.read_bytes())["ParentStudy"])


class _Slow(BaseHTTPRequestHandler):
    """A peer that takes a tenth of a second over each instance."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(0.1)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def slow(rest: Rest, tree: Path) -> Iterator[list[str]]:
    """Instances enough for a job of three seconds at the peer "slow"."""
    files = sorted(path for path in tree.glob("*/*/*") if path.is_file() and "DIR" not in path.name)
    instances = [rest.instances.upload(path.read_bytes())["ID"] for path in files]
    with ThreadingHTTPServer(("127.0.0.1", 0), _Slow) as peer:
        thread = threading.Thread(target=peer.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        rest.peers.put("slow", f"http://127.0.0.1:{peer.server_port}/")
        yield instances
        running = [job for job in rest.jobs.list() if not job.done]
        for job in running:
            rest.jobs.cancel(job.id)
        rest.jobs.wait(running, 30)
        rest.peers.delete("slow")
        peer.shutdown()
        thread.join()


def archive(rest: Rest, *resources: str) -> str:
    return str(rest.tools.create_archive_job(list(resources))["ID"])


def begun(rest: Rest, resources: list[str]) -> Job:
    """A job of many steps, seen running."""
    answer = rest.peers.store("slow", resources, synchronous=False)
    job = rest.jobs.read(answer["ID"])
    for _ in range(100):
        if job.state == "Running":
            break
        time.sleep(0.02)
        job = job.refresh()
    return job


def test_a_job_that_succeeds_is_listed_read_and_taken(rest: Rest, study: str) -> None:
    identifier = archive(rest, study)
    told = Told()
    job = rest.jobs.read(identifier).wait(30, told)
    assert (job.state, job.done, job.cancelled, job.forgotten, job.error_code) == ("Success", True, False, False, 0)
    assert job.type == "Archive"
    assert job.content["InstancesCount"] == 1
    assert len(job.created) == len(job.completed) == 22
    assert job.runtime >= 0
    assert told.units == [(100, "%")]
    assert sum(told.steps) == 100
    assert identifier in rest.jobs.ids()
    assert [other for other in rest.jobs.list() if other.id == identifier] == [replace(job)]
    assert job.check() is job
    with zipfile.ZipFile(BytesIO(rest.jobs.output(identifier))) as zipped:
        assert len(zipped.namelist()) == 1
    with pytest.raises(errors.NotFoundError):
        rest.jobs.output(identifier, "something-else")


def test_a_newer_archive_takes_the_place_of_the_older(rest: Rest, study: str) -> None:
    older, newer = archive(rest, study), archive(rest, study)
    first, second = rest.jobs.wait([older, newer], 30)
    assert {first.state, second.state} == {"Success"}
    taken = []
    for job in (older, newer):
        try:
            taken.append(rest.jobs.output(job))
        except errors.NotFoundError:
            continue
    assert len(taken) == 1


def test_a_job_and_its_output_can_be_deleted_where_the_version_can(rest: Rest, study: str) -> None:
    job = rest.jobs.read(archive(rest, study)).wait(30)
    if not rest.capabilities().has("job-delete"):
        with rest.counting() as requests, pytest.raises(errors.UnsupportedError, match=r"1\.12\.2"):
            rest.jobs.delete(job.id)
        with pytest.raises(errors.UnsupportedError, match=r"1\.12\.1"):
            rest.jobs.delete_output(job.id)
        assert requests == []
        return
    rest.jobs.delete_output(job.id)
    with pytest.raises(errors.NotFoundError):
        rest.jobs.delete_output(job.id)
    with pytest.raises(errors.NotFoundError):
        rest.jobs.output(job.id)
    rest.jobs.delete(job.id)
    with pytest.raises(errors.NotFoundError):
        rest.jobs.delete(job.id)
    assert job.refresh() == job  # its end was seen, so it is not forgotten


def test_a_job_is_paused_resumed_and_cancelled(rest: Rest, slow: list[str]) -> None:
    job = begun(rest, slow)
    assert job.state == "Running"
    paused = job.pause()
    for _ in range(100):
        if paused.state == "Paused":
            break
        time.sleep(0.05)
        paused = paused.refresh()
    assert paused.state == "Paused"
    assert not paused.done
    with pytest.raises(errors.DeadlineError, match="they go on"):
        paused.wait(0.2)
    with pytest.raises(errors.JobError, match="does not resubmit a job that is Paused"):
        paused.resubmit()
    resumed = paused.resume()
    assert resumed.state in ("Pending", "Running")
    assert paused.state == "Paused"  # snapshots do not change
    with pytest.raises(errors.JobError, match="does not resume a job that is"):
        resumed.resume()
    cancelled = resumed.cancel().wait(30, check=False)
    assert (cancelled.state, cancelled.cancelled, cancelled.error_code) == ("Failure", True, 37)
    with pytest.raises(errors.JobError, match="was cancelled") as caught:
        cancelled.check()
    assert caught.value.orthanc_status == 37
    again = cancelled.resubmit()
    assert again.state in ("Pending", "Running")
    again.cancel().wait(30, check=False)


def test_a_wait_ends_when_its_progress_is_cancelled(rest: Rest, slow: list[str]) -> None:
    job = begun(rest, slow)
    told = Told()
    told.cancel()
    assert not job.wait(30, told).done
    (snapshot,) = rest.jobs.wait([job], 30, told)
    assert not snapshot.done
    with pytest.raises(errors.DeadlineError, match="1 of Orthanc's jobs"):
        rest.jobs.wait([job], 0.1)
    if rest.capabilities().has("job-delete"):
        with pytest.raises(errors.OrthancError):
            rest.jobs.delete(job.id)  # it has not ended


def test_a_job_that_fails_says_so_in_orthancs_words(rest: Rest, study: str) -> None:
    rest.modalities.put("nobody", "NOBODY", "127.0.0.1", 1)
    try:
        answer = rest.modalities.store("nobody", [study], synchronous=False, timeout=2)
        job = rest.jobs.read(answer["ID"])
        with pytest.raises(errors.JobError, match=r"Error in the network protocol.*NOBODY") as caught:
            job.wait(30)
        assert caught.value.orthanc_status == 9
        assert caught.value.message == "Error in the network protocol"
        assert "NOBODY" in (caught.value.details or "")
        failed = job.wait(30, check=False)
        assert (failed.state, failed.cancelled) == ("Failure", False)
        assert failed.resubmit().wait(30, check=False).state == "Failure"
    finally:
        rest.modalities.delete("nobody")


def test_a_forgotten_job_is_not_a_failed_one(rest: Rest, study: str) -> None:
    first = rest.jobs.read(archive(rest, study)).wait(timeout=60)  # else it may end after the others
    for _ in range(11):
        rest.tools.create_archive([study])  # each of these is a job too
    assert len(rest.jobs.list()) <= 10
    waiting = replace(first, state="Running")
    gone = waiting.refresh()
    assert (gone.state, gone.forgotten, gone.done, gone.type) == ("Forgotten", True, True, "Archive")
    with pytest.raises(errors.JobError, match="no longer knows") as caught:
        waiting.wait(5)
    assert caught.value.status == 404
    with pytest.raises(errors.JobError, match="does not cancel a job that is Forgotten") as caught:
        waiting.cancel()
    assert caught.value.status == 404
    known = archive(rest, study)
    with rest.counting() as requests:
        jobs = rest.jobs.wait([first.id, known, NOBODY], 30)
    assert [job.state for job in jobs] == ["Forgotten", "Success", "Forgotten"]
    assert [job.id for job in jobs] == [first.id, known, NOBODY]
    assert {target for _, target in requests} == {"jobs?expand"}
    assert "Forgotten" not in STATES


def test_one_poll_serves_many_jobs(rest: Rest, study: str) -> None:
    jobs = [archive(rest, study) for _ in range(8)]
    told = Told()
    with rest.counting() as requests:
        ended = rest.jobs.wait(jobs, 30, told)
    assert [job.id for job in ended] == jobs
    assert all(job.state == "Success" for job in ended)
    assert told.units == [(8, "jobs")]
    assert sum(told.steps) == 8
    assert len(requests) < 20
    assert rest.jobs.wait([]) == []
    with rest.counting() as requests:
        assert rest.jobs.wait(ended) == ended  # nothing to ask
    assert requests == []


def test_unknown_jobs_are_refused(rest: Rest) -> None:
    for read in (rest.jobs.read, rest.jobs.output):
        with pytest.raises(errors.NotFoundError):
            read(NOBODY)
    for act in (rest.jobs.cancel, rest.jobs.pause, rest.jobs.resume, rest.jobs.resubmit):
        with pytest.raises(errors.ServerError) as caught:
            act(NOBODY)
        assert caught.value.status == 400
    assert not rest.jobs.resume.call(NOBODY).repeatable
    assert not rest.jobs.resubmit.call(NOBODY).repeatable


def test_a_job_can_be_copied_and_pickled_without_its_connection(rest: Rest, study: str) -> None:
    job = rest.jobs.read(archive(rest, study)).wait(30)
    assert copy.deepcopy(job).refresh() == job
    plain = pickle.loads(pickle.dumps(job))
    assert plain == job
    assert "runner" not in repr(job)
    with pytest.raises(errors.QueryError, match="read it again"):
        plain.refresh()


def test_awaited_jobs_are_plain_snapshots(connection: Connection, rest: Rest, study: str) -> None:
    async def chain() -> tuple[Job, list[Job]]:
        async with AsyncRest(connection) as client:
            answer = await client.tools.create_archive_job([study])
            for _ in range(200):
                job = await client.jobs.read(answer["ID"])
                if job.done:
                    break
                await asyncio.sleep(0.02)
            return job, await client.jobs.list()

    job, jobs = asyncio.run(chain())
    assert job.state == "Success"
    assert job in jobs
    with pytest.raises(errors.QueryError, match="awaited"):
        job.refresh()


def test_user_data_travels_where_the_version_takes_it(rest: Rest, study: str) -> None:
    data: Any = {"run": 7}
    options = {"replace": {"InstitutionName": "x"}, "synchronous": False, "user_data": data}
    if rest.capabilities().has("job-user-data"):
        answer = rest.tools.bulk_modify([study], **options)
        assert rest.jobs.read(answer["ID"]).wait(30).user_data == data
    else:
        with rest.counting() as requests, pytest.raises(errors.UnsupportedError, match=r"1\.12\.9"):
            rest.tools.bulk_modify([study], **options)
        assert requests == []


@pytest.mark.parametrize(
    "value", [{}, [], {"ID": "x", "State": "Odd"}, {"State": "Success"}, {"ID": 1, "State": "Retry"}]
)
def test_what_is_no_job_is_refused(value: Any) -> None:
    with pytest.raises(errors.ResponseError):
        Job.from_json(value)
