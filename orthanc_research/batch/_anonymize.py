"""Orthanc's own anonymization of many resources: one job a patient, a bounded window, a journal, and a mapping.

One job a patient because Orthanc is consistent only within a job: two calls for a patient give two PatientIDs, and two
patients in one call share a name. A job's State is advisory; what counts is that every instance has exactly one
output, read back from the metadata `AnonymizedFrom`. Requests: one a patient, the polls, and one to read back.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from orthanc_research.batch._outcome import Outputs, look, read_back
from orthanc_research.batch.journal import Journal, Unit
from orthanc_research.errors import AccessError, OrthancError
from orthanc_research.progress import Progress
from orthanc_research.rest import Job, Level, Rest, is_server_gone, is_unknown_outcome

__all__ = ["ANONYMIZE_COLUMNS", "Options", "Source", "anonymize", "ledger", "leftovers", "resume"]

# column → pandas dtype of the ledger, which is indexed by the ID of what was given
ANONYMIZE_COLUMNS = {
    "status": "str",
    "error": "str",
    "AnonymizedID": "str",
    "AnonymizedPatientID": "str",
    "AnonymizedPatientName": "str",
    "AnonymizedUID": "str",
    "instances": "Int64",
    "engine": "str",
    "releasable": "bool",
}
_UID = {"Study": "StudyInstanceUID", "Series": "SeriesInstanceUID", "Instance": "SOPInstanceUID"}
_FIRST_POLL, _SLOWEST_POLL = 0.05, 1.0
_CANCEL_WITHIN = 5.0


@dataclass(frozen=True, slots=True)
class Source:
    """One resource to anonymize, and the patient that it belongs to (both Orthanc IDs)."""

    id: str
    patient: str


@dataclass(frozen=True, slots=True)
class Options:
    """What Orthanc is asked to do; see `rest.tools.bulk_anonymize`."""

    replace: Mapping[str, str] = field(default_factory=dict)
    keep: Sequence[str] = ()
    remove: Sequence[str] = ()
    keep_private_tags: bool = False
    dicom_version: str | None = None
    force: bool = False


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
        _carry_out(_Run(rest, journal, progress, options, window))
        return ledger(journal)


def resume(rest: Rest, journal: Journal, *, window: int, progress: Progress) -> pd.DataFrame:
    """Go on with an interrupted run: look what came of what was asked for, then do the rest."""
    settings = dict(journal.run["options"])
    options = Options(**{name: settings[name] for name in Options.__slots__})
    run = _Run(rest, journal, progress, options, window)
    begun = journal.units("sent", "running", "unknown", "partial")
    run.asked |= {unit.key: float(unit.output.get("asked") or journal.run["started"]) for unit in begun}
    _settle(run, begun)
    _carry_out(run)
    return ledger(journal)


def ledger(journal: Journal) -> pd.DataFrame:
    """A row for every resource that was given, indexed by its ID, with `ANONYMIZE_COLUMNS`.

    `status` is "done", "failed" (nothing came of it), "partial" (something did: see `leftovers`), "unknown" (the server
    went away; resume) or "not-sent". Outputs of this engine are for use in the house: `releasable` is always False.
    """
    settings = journal.run["options"]
    rows: dict[str, dict[str, Any]] = {}
    for unit in journal.units():
        outputs = Outputs.from_json(unit.output)
        for source in unit.input["resources"]:
            rows[source] = _row(unit, outputs, source, journal)
    frame = pd.DataFrame([rows[source] for source in settings["order"]], columns=list(ANONYMIZE_COLUMNS))
    frame.index = pd.Index(settings["order"], name="ID", dtype="str")
    return frame.astype(ANONYMIZE_COLUMNS)


def leftovers(journal: Journal) -> pd.DataFrame:
    """New instances that belong to no whole result: indexed by ID, with the ID each was made from."""
    left = [
        (output.id, output.source)
        for unit in journal.units("partial", "failed", "unknown")
        for output in Outputs.from_json(unit.output).instances
    ]
    index = pd.Index([new for new, _ in left], name="ID", dtype="str")
    return pd.DataFrame({"AnonymizedFrom": pd.Series([old for _, old in left], dtype="str", index=index)}, index=index)


def _row(unit: Unit, outputs: Outputs, source: str, journal: Journal) -> dict[str, Any]:
    status = {"planned": "not-sent", "sent": "unknown", "running": "unknown"}.get(unit.state, unit.state)
    error = unit.error
    if status in ("unknown", "not-sent"):
        error = f"{error or 'The run was interrupted.'} Go on with orthanc.resume({str(journal.path)!r})."
    new = outputs.of(source) if unit.state == "done" else None
    tags = dict(new.tags) if new else {}
    return {
        "status": status,
        "error": error,
        "AnonymizedID": new.id if new else None,
        "AnonymizedPatientID": outputs.patient_tag("PatientID") if new else None,
        "AnonymizedPatientName": outputs.patient_tag("PatientName") if new else None,
        "AnonymizedUID": tags.get(_UID.get(unit.input["level"], "")),
        "instances": outputs.instances_below(source) if new else None,
        "engine": "orthanc",
        "releasable": False,
    }


def _carry_out(run: _Run) -> None:
    """Do what is planned; once more for what turned out never to have begun."""
    everything = len(run.journal.units())
    run.progress.total(everything, "patients")
    run.progress.advance(everything - len(run.journal.units("planned")))
    for _ in range(2):
        planned = run.journal.units("planned")
        if not planned or run.halted is not None or run.progress.cancelled:
            return
        _verify(run, _drive(run, planned))
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
        answer = run.rest.tools.bulk_anonymize(unit.input["resources"], **asdict(run.options))
    except OrthancError as error:
        if isinstance(error, AccessError) or is_server_gone(error):
            run.journal.mark(unit.key, "planned")  # nothing was carried out
            run.halted = str(error)
        elif is_unknown_outcome(error):
            run.journal.mark(unit.key, "unknown", error=str(error))
        else:
            run.journal.mark(unit.key, "failed", error=str(error))
            run.progress.advance()
        return None
    job = str(answer["ID"])
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
        if job is not None and not job.done:
            continue
        del running[identifier]
        _note_end(run, unit, job)
        ended.append(unit)
    return ended


def _note_end(run: _Run, unit: Unit, job: Job | None) -> None:
    # The server forgets a job after ten others: what it said is kept here at once.
    if job is None:
        run.journal.mark(unit.key, "unknown", error="The server no longer knows this job.")
        return
    told = {"resources": _ids(job), "announced": job.content.get("InstancesCount"), "asked": run.asked[unit.key]}
    if job.state == "Success":
        run.journal.mark(unit.key, "running", output=told)
        return
    words = ": ".join(word for word in (job.error_description, job.error_details) if word)
    reason = "Cancelled." if job.cancelled else f"Orthanc's job failed: {words or 'it did not say why'}."
    run.journal.mark(unit.key, "unknown", output=told, error=reason)


def _ids(job: Job) -> list[str]:
    resources = job.content.get("Resources") or []
    return [r["ID"] for r in resources if isinstance(r, dict) and isinstance(r.get("ID"), str)]


def _verify(run: _Run, finished: Sequence[Unit]) -> None:
    """Read all outputs back in one request and hold them against what was asked for."""
    keys = {unit.key for unit in finished}
    units = [unit for unit in run.journal.units("running") if unit.key in keys]
    told = {unit.key: list(unit.output.get("resources", ())) for unit in units}
    if not any(told.values()):
        return _unverified(run, units, "The job says that it succeeded, and names no result.")
    try:
        found = read_back(run.rest, [new for ids in told.values() for new in ids])
    except OrthancError as error:
        return _unverified(run, units, str(error))
    for unit in units:
        outputs = Outputs.select(found, told[unit.key])
        problem = outputs.problem(
            unit.key,
            unit.input["resources"],
            unit.output.get("announced"),
            same_patient=_keeps_patient(run.options),
        )
        run.journal.mark(
            unit.key,
            "done" if problem is None else "unknown",
            output={**unit.output, **outputs.to_json()},
            error=problem,
        )
    return None


def _keeps_patient(options: Options) -> bool:
    named = {*options.keep, *options.replace}
    return bool(named & {"PatientID", "0010,0020", "0010-0020", "00100020"})


def _unverified(run: _Run, units: Sequence[Unit], reason: str) -> None:
    for unit in units:
        run.journal.mark(unit.key, "unknown", error=reason)


def _settle(run: _Run, units: Sequence[Unit]) -> None:
    """Look what came of units whose outcome is unknown; never ask for them again before that."""
    if not units:
        return
    try:
        for unit in units:
            outputs, exact = look(run.rest, unit, asked=run.asked[unit.key])
            kept = {"asked": run.asked[unit.key], **outputs.to_json()}
            if exact:
                run.journal.mark(unit.key, "done", output=kept)
            elif outputs.instances:
                reason = unit.error or "The run was interrupted."
                run.journal.mark(
                    unit.key,
                    "partial",
                    output=kept,
                    error=f"{reason} {len(outputs.instances)} copies were left behind.",
                )
            elif unit.state == "unknown" and unit.job is not None and unit.error:
                run.journal.mark(unit.key, "failed", error=unit.error)
            else:
                run.journal.mark(unit.key, "planned")
    except OrthancError as error:
        run.halted = str(error)


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
