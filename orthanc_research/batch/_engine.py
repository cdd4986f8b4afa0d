"""Many jobs of Orthanc, durable: what anonymize, modify, split and merge have in common.

Units → journal (on the disk before each request) → at most `window` jobs → one poll for all of them → the copies are
read back. A job's State is advisory; what counts is that every instance has exactly one copy on the server. A request
whose outcome nobody knows is looked for there, never sent blindly again (`_reconcile`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd

from orthanc_research.batch._ledger import ledger
from orthanc_research.batch._outcome import Outputs, present, read_back
from orthanc_research.batch._reconcile import gone, judge, noted, settle
from orthanc_research.batch._task import Planned, Run, Task, ids_of
from orthanc_research.batch.journal import Journal, JournalError, Unit
from orthanc_research.errors import (
    AccessError,
    CancelledError,
    DeadlineError,
    DeidError,
    NotFoundError,
    OrthancError,
    QueryError,
    UnreachableError,
)
from orthanc_research.parallel import MAX_THREADS
from orthanc_research.progress import Progress
from orthanc_research.rest import Job, Rest, is_server_gone, is_unknown_outcome

__all__ = ["check_window", "go_on", "start"]

_FIRST_POLL, _SLOWEST_POLL = 0.05, 1.0
_CANCEL_WITHIN = 2.5


def check_window(window: int) -> None:
    """`QueryError` for a window that cannot be."""
    if not isinstance(window, int) or not 1 <= window <= MAX_THREADS:
        raise QueryError(f"window is a number from 1 to {MAX_THREADS}: so many jobs at a time.")


def start(
    rest: Rest,
    task: Task,
    units: Sequence[Planned],
    order: Sequence[str],
    level: str,
    *,
    path: Any,
    window: int,
    progress: Progress,
    skipped: Sequence[str] = (),
) -> pd.DataFrame:
    """Carry out a new run with a new journal at `path`; the ledger of `ledger`, in the given order of its rows.

    `skipped` are those of the order that have no unit, because nothing is to be done for them.
    """
    check_window(window)
    settings = {**task.settings(), "level": level, "order": list(order), "skipped": list(skipped)}
    with Journal.create(path, task.kind, rest.connection.url, settings, units) as journal:
        run = Run(rest, journal, progress, task, window)
        with _ended_by_journal(run):
            _carry_out(run)
        return ledger(journal, run.halted)


def go_on(rest: Rest, journal: Journal, task: Task, *, window: int, progress: Progress) -> pd.DataFrame:
    """Go on with an interrupted run: look what came of what was asked for, then do the rest."""
    check_window(window)
    run = Run(rest, journal, progress, task, window)
    begun = [*journal.units("sent", "running", "unknown", "partial"), *_running_again(run)]
    run.asked |= {unit.key: float(unit.output.get("asked") or journal.run["started"]) for unit in begun}
    with _ended_by_journal(run):
        settle(run, begun)
        _carry_out(run)
        if run.halted is None:
            _forget_rests(run)
    return ledger(journal, run.halted)


@contextmanager
def _ended_by_journal(run: Run) -> Iterator[None]:
    """A full disk ends a run as a crash would, at once: its jobs go on, and what came of them is looked for later.

    So does a Cancel while the server says nothing.
    """
    try:
        yield
    except (JournalError, CancelledError) as error:
        run.halted = str(error)


def _running_again(run: Run) -> list[Unit]:
    """Units that were done, and whose jobs a restarted server (1.10.1) runs once more: they leave second copies."""
    done = [unit for unit in run.journal.units("done") if not unit.output.get("removed")]
    if not done:
        return []
    try:
        busy = {job.id for job in run.rest.jobs.list() if not job.done}
    except OrthancError as error:
        run.halted = str(error)
        return []
    return [unit for unit in done if unit.job in busy]


def _forget_rests(run: Run) -> None:
    """Leftovers that somebody has deleted are none any more."""
    for unit in run.journal.units("done"):
        ids = [str(row[1]) for row in unit.output.get("rests", ())]
        if ids and not run.rest.tools.bulk_content(ids):
            run.journal.mark(unit.key, "done", output={**unit.output, "rests": []}, error=unit.error)


def _carry_out(run: Run) -> None:
    """Do what is planned; once more for what turned out never to have begun."""
    everything = len(run.journal.units())
    run.progress.total(everything, run.task.units)
    run.progress.advance(everything - len(run.journal.units("planned")))
    for _ in range(2):
        planned = run.journal.units("planned")
        if not planned or run.halted is not None or run.progress.cancelled:
            return
        finished = {unit.key for unit in _drive(run, planned)}
        _verify(run, [unit for unit in run.journal.units("running") if unit.key in finished])
        if run.halted is None:
            settle(run, run.journal.units("unknown"))


def _drive(run: Run, planned: Sequence[Unit]) -> list[Unit]:
    """Keep a window of jobs going until all have ended; the units whose jobs ended."""
    queue = iter(planned)
    running: dict[str, Unit] = {}
    finished: list[Unit] = []
    pause = _FIRST_POLL
    while True:
        while len(running) < run.window and not run.progress.cancelled and run.halted is None:
            unit = next(queue, None)
            if unit is None:
                break
            ready = _prepare(run, unit)
            job = _send(run, ready) if ready is not None else None
            if job is not None:
                running[job] = unit
        if not running or run.halted is not None:
            return finished
        if run.progress.cancelled:
            return finished + _cancel(run, running)
        time.sleep(pause)
        ended = _poll(run, running)
        finished += ended
        run.progress.advance(len(ended))
        pause = _FIRST_POLL if ended else min(pause * 1.6, _SLOWEST_POLL)


def _prepare(run: Run, unit: Unit) -> Unit | None:
    """Read what the request needs; None when it cannot be made, which the journal then says."""
    try:
        return run.task.prepare(run.rest, unit, run.progress)
    except CancelledError:
        return None
    except NotFoundError as error:
        gone(run, unit, error)
    except (AccessError, UnreachableError, DeadlineError) as error:
        run.halted = str(error)
    except (DeidError, OrthancError) as error:
        run.journal.mark(unit.key, "failed", error=str(error))
        run.progress.advance()
    return None


def _send(run: Run, unit: Unit) -> str | None:
    """Ask for one unit; the job's ID, or None when there is none."""
    run.asked[unit.key] = time.time()
    run.journal.mark(unit.key, "sent", output={"asked": run.asked[unit.key]})
    try:
        job = run.task.submit(run.rest, unit)
    except OrthancError as error:
        if isinstance(error, AccessError) or is_server_gone(error) or error.status == 429:
            run.journal.mark(unit.key, "planned")  # nothing was carried out
            run.halted = str(error)
        elif is_unknown_outcome(error):
            run.journal.mark(unit.key, "unknown", error=str(error))
        else:
            run.journal.mark(unit.key, "failed", error=_lost(run, unit) or str(error))
            run.progress.advance()
        return None
    run.journal.mark(unit.key, "running", job=job)
    return job


def _lost(run: Run, unit: Unit) -> str | None:
    """What Orthanc calls "Parameter out of range": a unit goes as a whole, and some of it is not there any more."""
    resources = unit.input["resources"]
    try:
        lost = len(resources) - len(present(run.rest, resources))
    except OrthancError:
        return None
    return f"{lost} of {len(resources)} resources are no longer on this Orthanc; find them again." if lost else None


def _poll(run: Run, running: dict[str, Unit]) -> list[Unit]:
    """One request for all jobs; the units whose jobs ended, taken out of `running`."""
    try:
        jobs = {job.id: job for job in run.rest.jobs.list()}
    except OrthancError as error:
        run.halted = str(error)
        return []
    ended = []
    for identifier, unit in list(running.items()):
        job = jobs.get(identifier)
        if job is None or job.done:
            del running[identifier]
            _note_end(run, unit, job)
            ended.append(unit)
    return ended


def _note_end(run: Run, unit: Unit, job: Job | None) -> None:
    """Keep what a job said at its end: the server forgets it after ten others."""
    if job is None:
        run.journal.mark(unit.key, "unknown", error="The server no longer knows this job.")
    elif job.state == "Success":
        told = {"resources": ids_of(job), "announced": job.content.get("InstancesCount")}
        told |= {"asked": run.asked[unit.key], "seconds": job.runtime}
        run.journal.mark(unit.key, "running", output=told)
    else:
        words = run.task.told(unit, job) or "it did not say why"
        reason = "Cancelled." if job.cancelled else f"Orthanc's job failed: {words.rstrip('.')}."
        told = {"asked": run.asked[unit.key], "failed": not job.cancelled}
        run.journal.mark(unit.key, "unknown", output=told, error=reason)


def _verify(run: Run, units: Sequence[Unit]) -> None:
    """Read the outputs that the jobs named back, in one request, and hold them against what was asked for."""
    told = {unit.key: list(unit.output.get("resources", ())) for unit in units}
    clear = [unit for unit in units if told[unit.key] and isinstance(unit.output.get("announced"), int)]
    for unit in units:
        if unit not in clear:
            run.journal.mark(unit.key, "unknown", error="The job says that it succeeded, and not all is there.")
    if not clear:
        return
    try:
        found = read_back(run.rest, [new for unit in clear for new in told[unit.key]], run.task.origin)
    except OrthancError as error:
        run.halted = str(error)  # the units stay "running", with their results named: resume reads them back
        return
    for unit in clear:
        with noted(run, unit):
            judge(run, unit, Outputs.select(found, told[unit.key]))
        if run.progress.cancelled or run.halted is not None:
            return


def _cancel(run: Run, running: dict[str, Unit]) -> list[Unit]:
    """Ask the running jobs to stop, and wait a few seconds for them; the units whose jobs ended."""
    for identifier in running:
        try:
            run.rest.jobs.cancel(identifier)
        except OrthancError:
            continue  # it ended meanwhile (400), or the server went: the poll will tell
    limit = time.monotonic() + _CANCEL_WITHIN
    ended: list[Unit] = []
    while running and time.monotonic() < limit and run.halted is None:
        time.sleep(0.1)
        ended += _poll(run, running)
    for unit in running.values():
        run.journal.mark(unit.key, "running", error="Cancelled; the server still works on it.")
    return ended
