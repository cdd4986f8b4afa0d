"""What came of the units of a run: judged by what is on the server, never by what a job says of itself.

Sources are never Orthanc's to delete: where they are to go, they are deleted here, after every copy was read back.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from orthanc_research.batch._outcome import Archive, Output, Outputs, present
from orthanc_research.batch._task import Run, Task
from orthanc_research.batch.journal import Unit, claimed
from orthanc_research.bulk import pages
from orthanc_research.errors import (
    AccessError,
    CancelledError,
    DeadlineError,
    NotFoundError,
    OrthancError,
    ServerError,
    UnreachableError,
)
from orthanc_research.rest import Job

__all__ = ["gone", "judge", "noted", "settle"]

_JOB_WITHIN = 600.0
_LEFT = re.compile(r"(?: [0-9]+ copies were left behind\.)+$")  # what an earlier look has said already


def judge(run: Run, unit: Unit, outputs: Outputs, rests: Iterable[Output] = (), *, counted: bool = False) -> None:
    """Done, or what is wrong; `counted` when the instances have been compared with the sources already."""
    kept = {"asked": run.asked[unit.key], "seconds": unit.output.get("seconds"), **outputs.to_json()}
    kept["rests"] = Outputs(tuple(rests)).to_json()["outputs"]
    refusal = run.task.refusal(unit, outputs)
    if refusal is not None:
        run.journal.mark(unit.key, "failed", output=kept, error=refusal)
        return
    announced = len(outputs.instances) if counted else int(unit.output.get("announced", -1))
    problem = run.task.problem(unit, outputs, announced)
    if problem is not None:
        run.journal.mark(unit.key, "partial" if outputs.instances else "failed", output=kept, error=problem)
        return
    try:
        found = run.task.inspect(run.rest, unit, outputs, run.progress)
    except ServerError as error:
        # Partial: who resumes either finds that they can be read now, or has deleted them.
        run.journal.mark(unit.key, "partial", output=kept, error=f"These copies could not be read: {error}")
        return
    if found is not None:
        run.journal.mark(unit.key, "failed", output=kept, error=found)
        return
    kept["rows"] = run.task.rows(unit, outputs)
    if run.task.keep_source:
        run.journal.mark(unit.key, "done", output=kept)
    else:
        run.journal.mark(unit.key, "running", output={**kept, "verified": True})
        _remove_sources(run, unit.key, {**kept, "verified": True})


def _remove_sources(run: Run, key: str, kept: Mapping[str, Any]) -> None:
    """Delete the instances that were copied, once the journal holds that every one of their copies was read back."""
    outputs = Outputs.from_json(kept)
    sources = sorted({output.source for output in outputs.instances} - {output.id for output in outputs.all})
    if run.progress.cancelled:
        run.journal.mark(key, "running", error="Cancelled; its copies are there, and so are the originals.")
        return
    try:
        for page in pages(sources):
            run.rest.tools.bulk_delete(page)
    except OrthancError as error:
        run.halted = str(error)  # deletion is asked for again by resume
        return
    run.journal.mark(key, "done", output={**kept, "removed": True})


def _end_removal(run: Run, unit: Unit) -> None:
    """Go on deleting the sources of a unit whose copies had all been read back, if they still are."""
    outputs = Outputs.from_json(unit.output)
    ids = [output.id for output in outputs.instances]
    gone = set(ids) - present(run.rest, ids)
    if not gone:
        _remove_sources(run, unit.key, unit.output)
    else:
        text = f"{len(gone)} of {len(ids)} copies are gone; no further source is deleted."
        run.journal.mark(unit.key, "partial", error=text)


def settle(run: Run, units: Sequence[Unit]) -> None:
    """Look what came of units whose outcome is unknown; never ask for them again before that."""
    waited: list[tuple[Unit, list[str]]] = []
    # All jobs first: a restarted server runs some again, and an archive that was read before that lacks their copies.
    for unit in units:
        with noted(run, unit):
            if unit.output.get("verified"):
                _end_removal(run, unit)
            else:
                waited.append((unit, _named(run, unit)))
        if run.progress.cancelled or run.halted is not None:
            return
    archive: Archive | None = None
    for unit, named in waited:
        with noted(run, unit):
            archive = archive or Archive(run.rest, claimed(run.rest.connection.url, run.journal.path))
            _look(run, archive, unit, named)
        if run.progress.cancelled or run.halted is not None:
            return


@contextmanager
def noted(run: Run, unit: Unit) -> Iterator[None]:
    """Write down what fails: as the end of the run, or of this unit alone."""
    try:
        yield
    except NotFoundError as error:
        gone(run, unit, error)
    except CancelledError:
        return
    except (AccessError, UnreachableError, DeadlineError) as error:
        run.halted = str(error)
    except OrthancError as error:
        run.journal.mark(unit.key, unit.state, error=str(error))


def gone(run: Run, unit: Unit, error: NotFoundError) -> None:
    """Failed when the sources are not there any more; a 404 alone may be a proxy's."""
    try:
        there = {value["ID"] for value in run.rest.tools.bulk_content(unit.input["resources"])}
    except OrthancError as failure:
        run.halted = str(failure)
        return
    if there >= set(unit.input["resources"]):
        run.journal.mark(unit.key, unit.state, error=str(error))
    else:
        run.journal.mark(
            unit.key, "failed", error=f"What was to be {run.task.participle} is no longer on this Orthanc."
        )


def _named(run: Run, unit: Unit) -> list[str]:
    """The results that the unit's job names; [] when nobody knows them any more, or it failed.

    Its job is waited for in any case: 1.10.1 runs jobs that had ended again when it is started after a crash.
    """
    job = _wait(run, unit)
    if unit.state == "partial" or unit.output.get("failed"):
        return []
    if unit.state == "done":
        return [str(row[1]) for row in unit.output.get("outputs", ())]  # what was handed out stays the result
    if unit.output.get("resources"):
        return list(unit.output["resources"])
    # A failure that the end of the server brought about is no verdict: what it left is looked for.
    return run.task.named(run.rest, unit, job) if job is not None and job.state == "Success" else []


def _wait(run: Run, unit: Unit) -> Job | None:
    """The unit's job at its end, or None when the server does not know it (and no job that might be it still runs)."""
    limit = time.monotonic() + _JOB_WITHIN
    while True:
        jobs = run.rest.jobs.list()
        own = next((job for job in jobs if job.id == unit.job), None)
        if own is not None and own.done:
            return own
        if own is None and not any(_may_be(run.task, job, unit) for job in jobs):
            return None
        paused = any(job.state == "Paused" and (job is own or _may_be(run.task, job, unit)) for job in jobs)
        if paused or run.progress.cancelled or time.monotonic() > limit:
            raise OrthancError("Orthanc still works on this job, or it is paused; resume later.")
        time.sleep(0.5)


def _may_be(task: Task, job: Job, unit: Unit) -> bool:
    """True for a running job that could be the unit's, whose own ID nobody knows."""
    if unit.job is not None or job.done or job.type != task.job_type:
        return False
    parents = job.content.get("ParentResources")  # 1.10.1 names none
    return not parents or bool(set(parents) & {unit.input.get("patient", unit.key), *unit.input["resources"]})


def _look(run: Run, archive: Archive, unit: Unit, named: Sequence[str]) -> None:
    (unit,) = [each for each in run.journal.units() if each.key == unit.key]
    asked = run.asked[unit.key]
    found = run.task.look(archive, unit, asked, named)
    kept = {"asked": asked, "rests": Outputs(found.rests).to_json()["outputs"], "failed": unit.output.get("failed")}
    if found.doubt is not None:
        run.journal.mark(unit.key, "partial", output={"asked": asked}, error=found.doubt)
    elif found.whole is not None:
        judge(run, unit, found.whole, found.rests, counted=True)
    elif found.rests:
        reason = _LEFT.sub("", unit.error or "") or "The run was interrupted."
        text = f"{reason} {len(found.rests)} copies were left behind."
        run.journal.mark(unit.key, "partial", output=kept, error=text)
    elif unit.output.get("failed"):
        run.journal.mark(unit.key, "failed", output=kept, error=unit.error)
    else:
        run.journal.mark(unit.key, "planned", output={"asked": None}, error=None)
