"""Resources to a remote archive (C-STORE) or to another Orthanc: a job and a row for each of them.

There is no journal, because sending again does no harm: the other side knows each instance by its SOPInstanceUID, and
keeps what it has. So a row whose end nobody saw is "unknown", is not repeated here, and may be sent again. One job a
row, one after the other: a job ends at its first refusal, and does not say what it left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from orthanc_research import resolve
from orthanc_research.batch._retrieve import Node, listed
from orthanc_research.errors import (
    AccessError,
    CancelledError,
    DeadlineError,
    Error,
    NotFoundError,
    OrthancError,
    QueryError,
)
from orthanc_research.progress import Progress, Within
from orthanc_research.rest import Job, Rest, is_server_gone, is_unknown_outcome
from orthanc_research.tables import selection

__all__ = ["SEND_COLUMNS", "send"]

# column → pandas dtype of the ledger, which is indexed by the resource
SEND_COLUMNS = {"status": "str", "error": "str", "instances": "Int64", "job": "str", "seconds": "float64"}
_CANCEL_WITHIN = 5.0
# A destination that fails so many times in a row is left alone.
_ENOUGH = 5
_AGAIN = "Sending it again does no harm."


@dataclass(slots=True)
class _Run:
    """What the rows of one run share: `store` starts the job of one, `node` is whom to ask afterwards."""

    rest: Rest
    store: Callable[[Sequence[str]], dict[str, Any]]
    node: Node | None
    progress: Progress
    halted: str | None = None
    failures: int = 0


def send(
    rest: Rest,
    resources: Any,
    *,
    modality: str | None,
    peer: str | None,
    verify: bool,
    timeout: int | None,
    progress: Progress,
) -> tuple[str, pd.DataFrame]:
    """Send the resources: their level, and the ledger `SEND_COLUMNS`, indexed by ID.

    `status`: "done"; "incomplete" (some were not taken or, with `verify`, are not listed there); "unverified" (it lists
    none); "failed", with Orthanc's words; "unknown"; "not-sent" (cancelled, or not worth going on). `QueryError` unless
    there is one destination; `NotFoundError` for one that Orthanc does not know.
    """
    if (modality is None) == (peer is None):
        raise QueryError("Say where to send them: modality= or peer=, one of them.")
    if verify and modality is None:
        raise QueryError("verify asks a modality by C-FIND; a peer's answer to each instance is all that there is.")
    if not selection(resources, rest.connection.url).ids:
        return "", _ledger([], [])
    chosen = resolve.select(rest, resources)
    node: Node | None = None
    store: Callable[[Sequence[str]], dict[str, Any]]
    if modality is not None:
        rest.modalities.read(modality)
        store = partial(rest.modalities.store, modality, synchronous=False, timeout=timeout)
        node = Node(rest, modality, "Study", "", timeout) if verify else None
    else:
        rest.peers.read(str(peer))
        store = partial(rest.peers.store, str(peer), synchronous=False)
    run = _Run(rest, store, node, progress)
    progress.total(len(chosen.ids), "resources")
    rows = []
    for identifier in chosen.ids:
        start = time.monotonic()
        rows.append({**_one(run, identifier), "seconds": time.monotonic() - start})
        progress.advance()
    return str(chosen.level), _ledger(rows, chosen.ids)


def _ledger(rows: Sequence[dict[str, Any]], ids: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=list(SEND_COLUMNS)).astype(SEND_COLUMNS)
    frame.index = pd.Index(list(ids), name="ID", dtype="str")
    return frame


def _one(run: _Run, identifier: str) -> dict[str, Any]:
    if run.halted is None and run.progress.cancelled:
        run.halted = "Cancelled."
    if run.halted is not None:
        return {"status": "not-sent", "error": run.halted}
    row: dict[str, Any] = {}
    try:
        below = run.rest.tools.bulk_content([identifier], "Instance")
        if not below:
            return {"status": "failed", "error": "It is no longer on this Orthanc; find it again."}
        row["instances"] = len(below)
        verdict = _sent(run, identifier, row)
        if verdict["status"] == "done" and run.node is not None:
            verdict = _listed_there(run, run.node, identifier, {_uid(value, "SOPInstanceUID") for value in below})
    except OrthancError as error:
        if isinstance(error, AccessError) or is_server_gone(error):
            run.halted = str(error)
        verdict = {"status": "failed", "error": str(error)}
    except CancelledError as error:  # before anything was sent
        verdict = {"status": "not-sent", "error": str(error)}
    run.failures = run.failures + 1 if verdict["status"] == "failed" else 0
    if run.failures >= _ENOUGH and run.halted is None:
        run.halted = f"Sending failed {_ENOUGH} times in a row: {verdict['error']}"
    return {**row, **verdict}


def _sent(run: _Run, identifier: str, row: dict[str, Any]) -> dict[str, Any]:
    """Start the job of one row and wait for its end: what Orthanc says became of it."""
    try:
        row["job"] = str(run.store([identifier])["ID"])
    except OrthancError as error:
        if is_server_gone(error) or not is_unknown_outcome(error):
            raise
        return {"status": "unknown", "error": f"{error} {_AGAIN}"}
    except CancelledError as error:
        return {"status": "unknown", "error": f"{error} {_AGAIN}"}
    try:
        job = run.rest.jobs.read(row["job"]).wait(progress=Within(run.progress), check=False)
        if not job.done:
            job = _cancelled(job)
    except NotFoundError:
        job = Job(row["job"], "", "Forgotten")
    except CancelledError as error:
        return {"status": "unknown", "error": f"{error} {_AGAIN}"}
    except OrthancError as error:  # the job goes on, perhaps
        if isinstance(error, AccessError) or is_server_gone(error):
            run.halted = str(error)
        return {"status": "unknown", "error": f"{error} {_AGAIN}"}
    if job.forgotten or not job.done:
        return {"status": "unknown", "error": f"Nobody saw the end of its job. {_AGAIN}"}
    if job.cancelled:
        return {"status": "failed", "error": "Cancelled; some of its instances may have been sent."}
    job.check()
    taken = int(job.content.get("InstancesCount") or 0) - int(job.content.get("FailedInstancesCount") or 0)
    if taken < row["instances"]:
        return {"status": "incomplete", "error": f"{row['instances'] - taken} of {row['instances']} were not taken."}
    return {"status": "done", "error": None}


def _cancelled(job: Job) -> Job:
    """The job after a request to stop: it ends between two instances."""
    with suppress(OrthancError):  # it ended meanwhile
        job = job.cancel()
    with suppress(DeadlineError):
        return job.wait(timeout=_CANCEL_WITHIN, check=False)
    return job.refresh()


def _listed_there(run: _Run, node: Node, identifier: str, uids: set[str]) -> dict[str, Any]:
    """Ask the destination which instances of these studies it has."""
    studies = run.rest.tools.bulk_content([identifier], "Study")
    there: set[str] = set()
    try:
        for study in studies:
            there |= listed(node, {"StudyInstanceUID": _uid(study, "StudyInstanceUID")}) or set()
    except Error as error:
        return {"status": "unverified", "error": f"It was sent; what is there was not answered: {error}"}
    if not there:
        return {"status": "unverified", "error": "It was sent; the destination lists no instances."}
    lost = len(uids - there)
    return {"status": "incomplete", "error": f"{lost} of {len(uids)} are not there."} if lost else {"status": "done"}


def _uid(value: dict[str, Any], keyword: str) -> str:
    return str((value.get("MainDicomTags") or {}).get(keyword) or "").strip(" \0")
