"""Orthanc's own anonymization of many resources: one job a patient, a bounded window, a journal, and a mapping.

One job a patient because Orthanc is consistent only within a job: two calls for a patient give two PatientIDs, and two
patients in one call share a name. A job's State is advisory; what counts is that every instance has exactly one
output, read back from the metadata `AnonymizedFrom`. Requests: one a patient, the polls, and one to read back.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from orthanc_research.batch._ledger import ledger
from orthanc_research.batch._outcome import Archive, Outputs, read_back
from orthanc_research.batch.journal import Journal, Unit, claimed
from orthanc_research.errors import (
    AccessError,
    DeadlineError,
    NotFoundError,
    OrthancError,
    QueryError,
    UnreachableError,
)
from orthanc_research.parallel import MAX_THREADS
from orthanc_research.progress import Progress
from orthanc_research.rest import Job, Level, Rest, is_server_gone, is_unknown_outcome
from orthanc_research.tables import tag_of

__all__ = ["Options", "Source", "anonymize", "resume"]

_FIRST_POLL, _SLOWEST_POLL = 0.05, 1.0
_CANCEL_WITHIN = 5.0
_JOB_WITHIN = 600.0


@dataclass(frozen=True, slots=True)
class Source:
    """One resource to anonymize, and the patient that it belongs to (both Orthanc IDs)."""

    id: str
    patient: str


@dataclass(frozen=True, slots=True)
class Options:
    """What Orthanc is asked to do; see `rest.tools.bulk_anonymize`. `QueryError` for what is no DICOM tag."""

    replace: Mapping[str, str] = field(default_factory=dict)
    keep: Sequence[str] = ()
    remove: Sequence[str] = ()
    keep_private_tags: bool = False
    dicom_version: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.replace, Mapping) or not all(isinstance(v, str) for v in self.replace.values()):
            raise QueryError("replace is {tag: text}, such as {'PatientID': 'P-001'}.")
        for name, tags in (("keep", self.keep), ("remove", self.remove)):
            if isinstance(tags, str) or not isinstance(tags, Sequence):
                raise QueryError(f"{name} is a list of tags, such as ['PatientSex'].")
        for tag in (*self.replace, *self.keep, *self.remove):
            # A path into sequences is A[0].B or A[*].B; each of its parts is a tag.
            parts = re.sub(r"\[(?:\d+|\*)\]", "", tag).split(".") if isinstance(tag, str) else [""]
            if not all(tag_of(part) is not None for part in parts):
                raise QueryError(f"{str(tag)[:40]!r} is no DICOM tag that can be kept, replaced or removed.")

    @property
    def patient_id(self) -> str | None:
        """What the PatientID is replaced with, if it is."""
        return next((text for tag, text in self.replace.items() if tag_of(tag) == 0x00100020), None)

    @property
    def same_patient(self) -> bool:
        """True when the copies were not to get a new patient of their own."""
        return self.patient_id is not None or any(tag_of(tag) == 0x00100020 for tag in self.keep)


@dataclass(slots=True)
class _Run:
    """What one run holds on to."""

    rest: Rest
    journal: Journal
    progress: Progress
    options: Options
    window: int
    halted: str | None = None
    asked: dict[str, float] = field(default_factory=dict)  # patient → when the request was sent, our clock


def anonymize(
    rest: Rest,
    level: Level,
    sources: Iterable[Source],
    options: Options,
    *,
    path: Any,
    window: int,
    progress: Progress,
) -> pd.DataFrame:
    """Anonymize the sources as copies in the same Orthanc; the ledger of `ledger`, in the order of the sources."""
    _check_window(window)
    # Bad options, and those that this server would ignore, are refused before there is a journal.
    for feature in rest.tools.bulk_anonymize.call([], **asdict(options)).needs:
        rest.capabilities().require(feature)
    groups: dict[str, list[str]] = defaultdict(list)
    order = []
    for source in sources:
        groups[source.patient].append(source.id)
        order.append(source.id)
    units = [(patient, {"level": level, "resources": ids}) for patient, ids in groups.items()]
    settings = {**asdict(options), "level": level, "order": order}
    with Journal.create(path, "anonymize", rest.connection.url, settings, units) as journal:
        run = _Run(rest, journal, progress, options, window)
        _carry_out(run)
        return ledger(journal, run.halted)


def resume(rest: Rest, journal: Journal, *, window: int, progress: Progress) -> pd.DataFrame:
    """Go on with an interrupted run: look what came of what was asked for, then do the rest."""
    _check_window(window)
    settings = dict(journal.run["options"])
    options = Options(**{name: settings[name] for name in Options.__slots__})
    run = _Run(rest, journal, progress, options, window)
    begun = [*journal.units("sent", "running", "unknown", "partial"), *_running_again(run)]
    run.asked |= {unit.key: float(unit.output.get("asked") or journal.run["started"]) for unit in begun}
    _settle(run, begun)
    _carry_out(run)
    if run.halted is None:
        _forget_rests(run)
    return ledger(journal, run.halted)


def _running_again(run: _Run) -> list[Unit]:
    """Units that were done, and whose jobs a restarted server (1.10.1) runs once more: they leave second copies."""
    done = run.journal.units("done")
    if not done:
        return []
    try:
        busy = {job.id for job in run.rest.jobs.list() if not job.done}
    except OrthancError as error:
        run.halted = str(error)
        return []
    return [unit for unit in done if unit.job in busy]


def _forget_rests(run: _Run) -> None:
    """Leftovers that somebody has deleted are none any more."""
    for unit in run.journal.units("done"):
        ids = [str(row[1]) for row in unit.output.get("rests", ())]
        if ids and not run.rest.tools.bulk_content(ids):
            run.journal.mark(unit.key, "done", output={**unit.output, "rests": []}, error=unit.error)


def _check_window(window: int) -> None:
    if not isinstance(window, int) or not 1 <= window <= MAX_THREADS:
        raise QueryError(f"window is a number from 1 to {MAX_THREADS}: so many jobs at a time.")


def _carry_out(run: _Run) -> None:
    """Do what is planned; once more for what turned out never to have begun."""
    everything = len(run.journal.units())
    run.progress.total(everything, "patients")
    run.progress.advance(everything - len(run.journal.units("planned")))
    for _ in range(2):
        planned = run.journal.units("planned")
        if not planned or run.halted is not None or run.progress.cancelled:
            return
        finished = {unit.key for unit in _drive(run, planned)}
        _verify(run, [unit for unit in run.journal.units("running") if unit.key in finished])
        if run.halted is None:
            _settle(run, run.journal.units("unknown"))


def _drive(run: _Run, planned: Sequence[Unit]) -> list[Unit]:
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
            job = _send(run, unit)
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


def _send(run: _Run, unit: Unit) -> str | None:
    """Ask for one patient; the job's ID, or None when there is none."""
    run.asked[unit.key] = time.time()
    run.journal.mark(unit.key, "sent", output={"asked": run.asked[unit.key]})
    try:
        job = str(run.rest.tools.bulk_anonymize(unit.input["resources"], **asdict(run.options))["ID"])
    except OrthancError as error:
        if isinstance(error, AccessError) or is_server_gone(error) or error.status == 429:
            run.journal.mark(unit.key, "planned")  # nothing was carried out
            run.halted = str(error)
        elif is_unknown_outcome(error):
            run.journal.mark(unit.key, "unknown", error=str(error))
        else:
            run.journal.mark(unit.key, "failed", error=str(error))
            run.progress.advance()
        return None
    run.journal.mark(unit.key, "running", job=job)
    return job


def _poll(run: _Run, running: dict[str, Unit]) -> list[Unit]:
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


def _note_end(run: _Run, unit: Unit, job: Job | None) -> None:
    """Keep what a job said at its end: the server forgets it after ten others."""
    if job is None:
        run.journal.mark(unit.key, "unknown", error="The server no longer knows this job.")
    elif job.state == "Success":
        told = {"resources": _ids(job), "announced": job.content.get("InstancesCount"), "asked": run.asked[unit.key]}
        run.journal.mark(unit.key, "running", output=told)
    else:
        words = ": ".join(word for word in (job.error_description, job.error_details) if word)
        reason = "Cancelled." if job.cancelled else f"Orthanc's job failed: {words or 'it did not say why'}."
        told = {"asked": run.asked[unit.key], "failed": not job.cancelled}
        run.journal.mark(unit.key, "unknown", output=told, error=reason)


def _ids(job: Job) -> list[str]:
    resources = job.content.get("Resources") or []
    return [r["ID"] for r in resources if isinstance(r, dict) and isinstance(r.get("ID"), str)]


def _verify(run: _Run, units: Sequence[Unit]) -> None:
    """Read the outputs that the jobs named back, in one request, and hold them against what was asked for."""
    told = {unit.key: list(unit.output.get("resources", ())) for unit in units}
    clear = [unit for unit in units if told[unit.key] and isinstance(unit.output.get("announced"), int)]
    for unit in units:
        if unit not in clear:
            run.journal.mark(unit.key, "unknown", error="The job says that it succeeded, and names no result.")
    if not clear:
        return
    try:
        found = read_back(run.rest, [new for unit in clear for new in told[unit.key]])
    except OrthancError as error:
        run.halted = str(error)  # the units stay "running", with their results named: resume reads them back
        return
    for unit in clear:
        _judge(run, unit, Outputs.select(found, told[unit.key]))


def _judge(run: _Run, unit: Unit, outputs: Outputs, rests: Iterable[Any] = (), *, counted: bool = False) -> None:
    """Done, or what is wrong; `counted` when the instances have been compared with the sources already."""
    kept = {"asked": run.asked[unit.key], **outputs.to_json(), "rests": Outputs(tuple(rests)).to_json()["outputs"]}
    if not run.options.same_patient and outputs.identified(unit.key):
        run.journal.mark(
            unit.key,
            "failed",
            output=kept,
            error="Orthanc left the PatientID as it was: these copies identify the patient, delete them (leftovers).",
        )
        return
    announced = len(outputs.instances) if counted else int(unit.output.get("announced", -1))
    problem = outputs.problem(unit.input["resources"], announced)
    state = "done" if problem is None else "partial" if outputs.instances else "failed"
    run.journal.mark(unit.key, state, output=kept, error=problem)  # type: ignore[arg-type]


def _settle(run: _Run, units: Sequence[Unit]) -> None:
    """Look what came of units whose outcome is unknown; never ask for them again before that."""
    archive: Archive | None = None
    for unit in units:
        if run.progress.cancelled or run.halted is not None:
            return
        try:
            named = _named(run, unit)
            archive = archive or Archive(run.rest, claimed(run.rest.connection.url, run.journal.path))
            _look(run, archive, unit, named)
        except NotFoundError as error:
            _gone(run, unit, error)
        except (AccessError, UnreachableError, DeadlineError) as error:
            run.halted = str(error)
        except OrthancError as error:
            run.journal.mark(unit.key, unit.state, error=str(error))


def _gone(run: _Run, unit: Unit, error: NotFoundError) -> None:
    """Failed when the sources are not there any more; a 404 alone may be a proxy's."""
    try:
        there = {value["ID"] for value in run.rest.tools.bulk_content(unit.input["resources"])}
    except OrthancError as failure:
        run.halted = str(failure)
        return
    if there >= set(unit.input["resources"]):
        run.journal.mark(unit.key, unit.state, error=str(error))
    else:
        run.journal.mark(unit.key, "failed", error="What was to be anonymized is no longer on this Orthanc.")


def _named(run: _Run, unit: Unit) -> list[str]:
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
    return _ids(job) if job is not None and job.state == "Success" else []


def _wait(run: _Run, unit: Unit) -> Job | None:
    """The unit's job at its end, or None when the server does not know it (and no job that might be it still runs)."""
    limit = time.monotonic() + _JOB_WITHIN
    while True:
        jobs = run.rest.jobs.list()
        own = next((job for job in jobs if job.id == unit.job), None)
        if own is not None and own.done:
            return own
        if own is None and not any(_may_be(job, unit) for job in jobs):
            return None
        paused = any(job.state == "Paused" and (job is own or _may_be(job, unit)) for job in jobs)
        if paused or run.progress.cancelled or time.monotonic() > limit:
            raise OrthancError("Orthanc still works on this anonymization, or it is paused; resume later.")
        time.sleep(0.5)


def _may_be(job: Job, unit: Unit) -> bool:
    """True for a running job that could be the unit's, whose own ID nobody knows."""
    if unit.job is not None or job.done or job.type != "ResourceModification":
        return False
    parents = job.content.get("ParentResources")  # 1.10.1 names none
    return not parents or bool(set(parents) & {unit.key, *unit.input["resources"]})


def _look(run: _Run, archive: Archive, unit: Unit, named: Sequence[str]) -> None:
    (unit,) = [each for each in run.journal.units() if each.key == unit.key]
    asked = run.asked[unit.key]
    found = archive.look(unit, asked=asked, patient_id=run.options.patient_id, named=named)
    kept = {"asked": asked, "rests": Outputs(found.rests).to_json()["outputs"], "failed": unit.output.get("failed")}
    if found.doubt is not None:
        run.journal.mark(unit.key, "partial", output={"asked": asked}, error=found.doubt)
    elif found.whole is not None:
        _judge(run, unit, found.whole, found.rests, counted=True)
    elif found.rests:
        reason = unit.error or "The run was interrupted."
        text = f"{reason} {len(found.rests)} copies were left behind."
        run.journal.mark(unit.key, "partial", output=kept, error=text)
    elif unit.output.get("failed"):
        run.journal.mark(unit.key, "failed", output=kept, error=unit.error)
    else:
        run.journal.mark(unit.key, "planned", output={"asked": None}, error=None)


def _cancel(run: _Run, running: dict[str, Unit]) -> list[Unit]:
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
