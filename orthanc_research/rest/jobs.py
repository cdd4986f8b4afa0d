"""Routes of jobs, and a job as Orthanc reported it at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orthanc_research.errors import ResponseError
from orthanc_research.rest._call import Answer, Area, Call, M, json_list, json_object, nothing, route

__all__ = ["STATES", "Job", "JobState", "Jobs"]

JobState = Literal["Pending", "Running", "Success", "Failure", "Paused", "Retry"]
STATES: tuple[JobState, ...] = ("Pending", "Running", "Success", "Failure", "Paused", "Retry")


@dataclass(frozen=True, slots=True)
class Job:
    """A snapshot of a job: it does not change; read the job again for news.

    `progress` is Orthanc's percentage, which may restart (C-MOVE on 1.12 does): only `state` says whether it is over.
    `content` is what the job says of its work, `error_details` Orthanc's own words.
    """

    id: str
    type: str
    state: JobState
    progress: int = 0
    error_code: int = 0
    error_description: str = ""
    error_details: str = ""
    content: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def done(self) -> bool:
        """True when nothing more will happen to it."""
        return self.state in ("Success", "Failure")

    @property
    def cancelled(self) -> bool:
        """True for a failure that somebody asked for (Orthanc's error 37)."""
        return self.state == "Failure" and self.error_code == 37

    @classmethod
    def from_json(cls, value: Any) -> Job:
        """Read Orthanc's object; `ResponseError` when it is not one."""
        state = value.get("State") if isinstance(value, dict) else None
        if state not in STATES or not isinstance(value.get("ID"), str):
            raise ResponseError("The server's description of a job is not one: its ID or State is missing or unknown.")
        content = value.get("Content")
        return cls(
            id=value["ID"],
            type=str(value.get("Type", "")),
            state=state,
            progress=int(value.get("Progress") or 0),
            error_code=int(value.get("ErrorCode") or 0),
            error_description=str(value.get("ErrorDescription") or ""),
            error_details=str(value.get("ErrorDetails") or ""),
            content=content if isinstance(content, dict) else {},
        )


def _job(answer: Answer) -> Job:
    return Job.from_json(json_object(answer))


def _jobs(answer: Answer) -> list[Job]:
    return [Job.from_json(value) for value in json_list(answer)]


def list_jobs() -> Call[list[Job]]:
    """GET /jobs?expand: all jobs that the server remembers: those that wait or run, and the last 10 that ended."""
    return Call("GET", ("jobs",), _jobs, query={"expand": None})


def read(job: str) -> Call[Job]:
    """GET /jobs/{id}: one job; `NotFoundError` when the server no longer knows it."""
    return Call("GET", ("jobs", job), _job)


def cancel(job: str) -> Call[None]:
    """POST /jobs/{id}/cancel: ask it to stop. The answer does not mean that it did."""
    return Call("POST", ("jobs", job, "cancel"), nothing, repeat=True)


class Jobs(Area[M]):
    """`rest.jobs`."""

    list = route(list_jobs)
    read = route(read)
    cancel = route(cancel)
