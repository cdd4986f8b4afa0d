"""Routes of jobs, and a job as Orthanc reported it at one moment.

Orthanc remembers jobs that wait or run, and the last ten that ended (JobsHistorySize): a job that it no longer knows is
`Forgotten` here, a state of ours, because nobody can tell any more how it ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from orthanc_research.cards import bar, card
from orthanc_research.errors import DeadlineError, JobError, NotFoundError, QueryError, ResponseError, ServerError
from orthanc_research.progress import Progress, Silent
from orthanc_research.rest._call import Answer, Area, Call, M, Sync, json_list, json_object, nothing, raw, route
from orthanc_research.rest._submission import listed

__all__ = ["STATES", "Job", "JobState", "Jobs", "SyncJobs"]

T = TypeVar("T")
JobState = Literal["Pending", "Running", "Success", "Failure", "Paused", "Retry", "Forgotten"]
# What Orthanc says; "Forgotten" is what we say when it says nothing.
STATES: tuple[JobState, ...] = ("Pending", "Running", "Success", "Failure", "Paused", "Retry")

FIRST_POLL, SLOWEST_POLL = 0.05, 1.0
_CANCELLED = 37
# Orthanc's words on these speak of titles and ports; on others they may repeat a value that was sent.
_NETWORK = frozenset({9, *range(2014, 2019)})


class _Runner:
    """What a job sends its requests with. Copies of a job share it; a pickled job has none."""

    def __init__(self, run: Callable[[Call[Any]], Any]) -> None:
        self._run = run

    def __call__(self, call: Call[T]) -> T:
        answer: T = self._run(call)
        return answer

    def __deepcopy__(self, memo: object) -> _Runner:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _nobody, ()


def _nobody() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Job:
    """A snapshot of a job (GET /jobs/{id}): it does not change; `refresh()` and the other verbs give new ones.

    `progress` is Orthanc's percentage, which may restart (C-MOVE on 1.12 does): only `state` says whether it is over.
    `content` is what the job says of its work, `error_details` Orthanc's own words. `created` and `completed` are
    Orthanc's stamps (YYYYMMDDThhmmss.ffffff, UTC), as is `eta`, its guess of when a running one ends; `runtime` is in
    seconds, `user_data` is what was given at the start (1.12.9). Jobs of `AsyncRest`, and jobs out of a pickle, are
    plain: their verbs raise `QueryError`.
    """

    id: str
    type: str
    state: JobState
    progress: int = 0
    error_code: int = 0
    error_description: str = ""
    error_details: str = field(default="", repr=False)  # it may repeat a value that was sent
    content: Mapping[str, Any] = field(default_factory=dict, repr=False)
    priority: int = 0
    created: str = ""
    completed: str = ""
    runtime: float = 0.0
    user_data: Any = field(default=None, repr=False)
    eta: str = field(default="", compare=False)
    runner: _Runner | None = field(default=None, compare=False, repr=False)

    @property
    def done(self) -> bool:
        """True when nothing more will be heard of it."""
        return self.state in ("Success", "Failure", "Forgotten")

    @property
    def cancelled(self) -> bool:
        """True for a failure that somebody asked for (Orthanc's error 37)."""
        return self.state == "Failure" and self.error_code == _CANCELLED

    @property
    def forgotten(self) -> bool:
        """True when the server no longer knows it, so that nobody can say how it ended: look at what it made."""
        return self.state == "Forgotten"

    @property
    def about(self) -> str:
        """What it works on, as far as it says: its description, how many instances, which node. No tag values."""
        count, node = self.content.get("InstancesCount"), self.content.get("RemoteAet")
        said = self.content.get("Description")
        return " · ".join(
            [
                *([said] if isinstance(said, str) and said and said != "REST API" else []),
                *([f"{count} instances"] if isinstance(count, int) and count else []),
                *([f"with {node}"] if isinstance(node, str) and node else []),
            ]
        )

    def check(self) -> Job:
        """This snapshot; `JobError` when the job failed, was cancelled or was forgotten.

        The error's `orthanc_status`, `message` and `details` are the job's; of a forgotten one `status` is 404.
        """
        if self.forgotten:
            raise JobError(
                "Orthanc no longer knows this job (it remembers ten); look at what it should have made.", status=404
            )
        if self.state != "Failure":
            return self
        said = [self.error_description, self.error_details if self.error_code in _NETWORK else ""]
        words = ": ".join(word for word in said if word) or "it did not say why"
        raise JobError(
            "The job was cancelled." if self.cancelled else f"Orthanc's job failed: {words.rstrip('.')}.",
            orthanc_status=self.error_code,
            message=self.error_description or None,
            details=self.error_details or None,
        )

    def refresh(self) -> Job:
        """The job as it is now: GET /jobs/{id}. Forgotten jobs come back with that state, unless the end was seen."""
        send = self._bound()
        try:
            return replace(send(read(self.id)), runner=send)
        except NotFoundError:
            return self._forgotten()

    def wait(self, timeout: float | None = None, progress: Progress | None = None, *, check: bool = True) -> Job:
        """The job when it has ended, by a `refresh` after 0.05 s at first and every second at last.

        `JobError` when it failed, was cancelled or was forgotten (with `check=False` the snapshot says so),
        `DeadlineError` after `timeout` seconds; the job itself goes on then, as it does when `progress` is cancelled,
        which gives the snapshot of that moment. A paused job is waited for.
        """

        def look() -> list[Job]:
            now = self.refresh()
            return [] if now.forgotten else [now]

        (job,) = _until_done(look, [self], timeout, progress or Silent(), percent=True)
        return job.check() if check else job

    def cancel(self) -> Job:
        """POST /jobs/{id}/cancel. The answer does not mean that it stops: a C-MOVE of one answer ends as Success.

        `JobError` where Orthanc does not do it.
        """
        return self._act(cancel(self.id), "cancel")

    def pause(self) -> Job:
        """POST /jobs/{id}/pause: it pauses at its next step, and jobs of one step never do.

        `JobError` where Orthanc does not do it.
        """
        return self._act(pause(self.id), "pause")

    def resume(self) -> Job:
        """POST /jobs/{id}/resume; `JobError` unless it is paused."""
        return self._act(resume(self.id), "resume")

    def resubmit(self) -> Job:
        """POST /jobs/{id}/resubmit: once more from the start; `JobError` unless it failed."""
        return self._act(resubmit(self.id), "resubmit")

    @classmethod
    def from_json(cls, value: Any) -> Job:
        """Read Orthanc's object; `ResponseError` when it is not one."""
        state = value.get("State") if isinstance(value, dict) else None
        if state not in STATES or not isinstance(value.get("ID"), str):
            raise ResponseError("The server's description of a job is not one: its ID or State is missing or unknown.")
        content = value.get("Content")
        content = content if isinstance(content, dict) else {}
        # Jobs of plugins put their words into their content.
        plugin = content.get("FunctionErrorDetails") or content.get("FunctionErrorDescription")
        return cls(
            id=value["ID"],
            type=str(value.get("Type", "")),
            state=state,
            progress=int(value.get("Progress") or 0),
            error_code=int(value.get("ErrorCode") or 0),
            error_description=str(value.get("ErrorDescription") or ""),
            error_details=str(value.get("ErrorDetails") or plugin or ""),
            content=content,
            priority=int(value.get("Priority") or 0),
            created=str(value.get("CreationTime") or ""),
            completed=str(value.get("CompletionTime") or ""),
            eta=str(value.get("EstimatedTimeOfArrival") or ""),
            runtime=float(value.get("EffectiveRuntime") or 0.0),
            user_data=value.get("UserData"),
        )

    def _repr_html_(self) -> str:
        failed = self.state == "Failure"
        why = self.error_description if failed else ""
        if self.forgotten:
            why = "Orthanc no longer knows it: look at what it should have made."
        ended = "done" if self.state == "Success" else "failed" if failed else ""
        facts = [
            ("state", "Cancelled" if self.cancelled else self.state),
            ("progress", "" if self.done else f"{self.progress} % by Orthanc's count"),
            ("ran", f"{self.runtime:.1f} s" if self.runtime else ""),
            ("id", self.id),
        ]
        # Of a job that ended well Orthanc may have counted less than all.
        part = [] if self.forgotten else [bar(100 if self.state == "Success" else self.progress, ended)]
        return card("job", f"Job {self.type}".strip(), facts, parts=part, notes=[why] if why else ())

    def _bound(self) -> _Runner:
        if self.runner is None:
            raise QueryError("This job has no connection (it was awaited, or pickled): read it again with its id.")
        return self.runner

    def _act(self, call: Call[None], verb: str) -> Job:
        try:
            self._bound()(call)
        except ServerError as error:
            if error.status != 400:
                raise
            now = self.refresh()
            raise JobError(
                f"Orthanc does not {verb} a job that is {now.state}.", status=404 if now.forgotten else 400
            ) from error
        return self.refresh()

    def _forgotten(self) -> Job:
        return self if self.done else replace(self, state="Forgotten")


def _until_done(
    look: Callable[[], Sequence[Job]],
    jobs: Sequence[Job],
    timeout: float | None,
    progress: Progress,
    *,
    percent: bool = False,
) -> list[Job]:
    """The last snapshots, in the order given; `look` is one request for all of them."""
    last = {job.id: job for job in jobs}
    waiting = [job for job in last if not last[job].done]
    progress.total(100 if percent else len(last), "%" if percent else "jobs")
    told = (0 if waiting else 100) if percent else len(last) - len(waiting)
    progress.advance(told)
    end = None if timeout is None else time.monotonic() + timeout
    pause = FIRST_POLL
    while waiting and not progress.cancelled:
        known = {job.id: job for job in look()}
        last |= {job: known[job] if job in known else last[job]._forgotten() for job in waiting}
        ended = [job for job in waiting if last[job].done]
        waiting = [job for job in waiting if not last[job].done]
        now = max(told, last[jobs[0].id].progress if waiting else 100) if percent else len(last) - len(waiting)
        progress.advance(now - told)
        told = now
        if not waiting:
            break
        left = pause if end is None else end - time.monotonic()
        if left <= 0:
            raise DeadlineError(f"{len(waiting)} of Orthanc's jobs did not end within {timeout:g} s; they go on.")
        time.sleep(min(pause, left))
        pause = FIRST_POLL if ended else min(pause * 1.6, SLOWEST_POLL)
    return [last[job.id] for job in jobs]


def _job(answer: Answer) -> Job:
    return Job.from_json(json_object(answer))


def _jobs(answer: Answer) -> list[Job]:
    return [Job.from_json(value) for value in json_list(answer)]


def list_jobs() -> Call[list[Job]]:
    """GET /jobs?expand: all jobs that the server remembers: those that wait or run, and the last 10 that ended."""
    return Call("GET", ("jobs",), _jobs, query={"expand": None})


def list_ids() -> Call[list[str]]:
    """GET /jobs: their IDs only."""
    return Call("GET", ("jobs",), json_list)


def read(job: str) -> Call[Job]:
    """GET /jobs/{id}: one job; `NotFoundError` when the server does not know it (any more)."""
    return Call("GET", ("jobs", job), _job)


def output(job: str, name: str = "archive") -> Call[bytes]:
    """GET /jobs/{id}/{name}: what an archive or media job made, for `rest.save`.

    `NotFoundError` unless it is a finished job of that kind, and also once a newer archive job has finished: Orthanc
    keeps one (MediaArchiveSize). An unreadable file is left out without a word: compare the members.
    """
    return Call("GET", ("jobs", job, name), raw, binary=True, patience=600)


def delete_output(job: str, name: str = "archive") -> Call[None]:
    """DELETE /jobs/{id}/{name} (1.12.1): what the job made; `NotFoundError` when there is none."""
    return Call("DELETE", ("jobs", job, name), nothing, needs=("job-output-delete",))


def delete(job: str) -> Call[None]:
    """DELETE /jobs/{id} (1.12.2): take a finished job out of the history, with what it made.

    `NotFoundError` for a job that the server does not know, `ServerError` for one that has not ended.
    """
    return Call("DELETE", ("jobs", job), nothing, needs=("job-delete",))


def cancel(job: str) -> Call[None]:
    """POST /jobs/{id}/cancel: ask it to stop. The answer does not mean that it did; `ServerError` (400) for unknown."""
    return Call("POST", ("jobs", job, "cancel"), nothing, repeat=True)


def pause(job: str) -> Call[None]:
    """POST /jobs/{id}/pause: at its next step; finished jobs answer 200 too. `ServerError` (400) for unknown ones."""
    return Call("POST", ("jobs", job, "pause"), nothing, repeat=True)


def resume(job: str) -> Call[None]:
    """POST /jobs/{id}/resume; `ServerError` (400) unless it is paused."""
    return Call("POST", ("jobs", job, "resume"), nothing)


def resubmit(job: str) -> Call[None]:
    """POST /jobs/{id}/resubmit; `ServerError` (400) unless it failed."""
    return Call("POST", ("jobs", job, "resubmit"), nothing)


class Jobs(Area[M]):
    """`rest.jobs`, awaited: its jobs are plain snapshots."""

    list = route(list_jobs)
    ids = route(list_ids)
    read = route(read)
    output = route(output)
    delete_output = route(delete_output)
    delete = route(delete)
    cancel = route(cancel)
    pause = route(pause)
    resume = route(resume)
    resubmit = route(resubmit)


class SyncJobs(Jobs[Sync]):
    """`rest.jobs`: its jobs can be asked for news themselves."""

    def __init__(self, run: Callable[[Call[Any]], Any]) -> None:
        self._runner = _Runner(run)
        super().__init__(lambda call: self._bind(run(call)))

    def wait(
        self, jobs: Sequence[Job | str], timeout: float | None = None, progress: Progress | None = None
    ) -> list[Job]:
        """GET /jobs?expand until all have ended: their last snapshots, in this order; one request a round for all.

        Nothing is raised for a job that failed or that the server forgot: ask each for `check()`. Pauses grow from
        0.05 s to 1 s. `DeadlineError` after `timeout` seconds; a cancelled `progress` gives the snapshots of that
        moment. The jobs go on in both cases.
        """
        given = [
            job if isinstance(job, Job) else Job(job, "", "Pending", runner=self._runner)
            for job in listed(jobs, "jobs")
        ]
        return _until_done(lambda: self.list(), given, timeout, progress or Silent())

    def _bind(self, answer: Any) -> Any:
        if isinstance(answer, Job):
            return replace(answer, runner=self._runner)
        if isinstance(answer, list):
            return [self._bind(item) for item in answer]
        return answer
