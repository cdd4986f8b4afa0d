"""What an operation gives to the engine, and what one run of it holds on to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from orthanc_research.batch._outcome import Archive, Found, Outputs
from orthanc_research.batch.journal import Journal, Unit
from orthanc_research.progress import Progress
from orthanc_research.rest import Job, Rest

__all__ = ["Planned", "Run", "Task", "ids_of"]

# A unit's key, and its input: "patient", "level", "resources", and what else its task needs to ask for it.
Planned = tuple[str, Mapping[str, Any]]


class Task(ABC):
    """What one operation gives to the engine: its request, where its outcome is looked for, and its checks."""

    kind: ClassVar[str]
    participle: ClassVar[str]
    units: ClassVar[str] = "jobs"
    # The metadata in which Orthanc keeps what a copy was made from.
    origin: ClassVar[str] = "ModifiedFrom"
    job_type: ClassVar[str] = "ResourceModification"
    keep_source: bool = True

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """For the journal: what makes this task again."""

    def prepare(self, rest: Rest, unit: Unit, progress: Progress) -> Unit:
        """The unit with what has to be read before it is asked for; `DeidError` when it may not be."""
        return unit

    @abstractmethod
    def submit(self, rest: Rest, unit: Unit) -> str:
        """Ask for one unit; the job's ID."""

    @abstractmethod
    def look(self, archive: Archive, unit: Unit, asked: float, named: Sequence[str]) -> Found:
        """What came of a unit that was asked for at `asked` (our clock); its job, if still known, named `named`."""

    @abstractmethod
    def rows(self, unit: Unit, outputs: Outputs) -> dict[str, dict[str, Any]]:
        """{source: its columns of the ledger} of a unit whose copies are all there."""

    def named(self, rest: Rest, unit: Unit, job: Job) -> list[str]:
        """The IDs of the copies that a unit's job names at its end."""
        return ids_of(job)

    def problem(self, unit: Unit, outputs: Outputs, announced: int) -> str | None:
        """Why these are not exactly the copies that were asked for; None when they are."""
        return outputs.problem(unit.input["level"], unit.input["resources"], announced)

    def refusal(self, unit: Unit, outputs: Outputs) -> str | None:
        """Why these copies may not be used at all; None when they may."""
        return None

    def inspect(self, rest: Rest, unit: Unit, outputs: Outputs, progress: Progress) -> str | None:
        """Why what these copies hold may not be used; None when it may. Asked last, for it may read every copy."""
        return None

    def told(self, unit: Unit, job: Job) -> str:
        """Why a job failed, in Orthanc's words."""
        return ": ".join(word for word in (job.error_description, job.error_details) if word)


def ids_of(job: Job) -> list[str]:
    """The IDs in a job's "Resources"."""
    resources = job.content.get("Resources") or []
    return [r["ID"] for r in resources if isinstance(r, dict) and isinstance(r.get("ID"), str)]


@dataclass(slots=True)
class Run:
    """What one run holds on to."""

    rest: Rest
    journal: Journal
    progress: Progress
    task: Task
    window: int
    halted: str | None = None
    asked: dict[str, float] = field(default_factory=dict)  # unit → when the request was sent, our clock
