"""Retrieving from a remote archive: answer by answer, and counted here: a C-MOVE that says Success may have sent less.

For each row: which instances the archive lists, a query for that row alone, a retrieve of the one answer that is that
row as a job, and the instances that are here afterwards. What is here counts by SOPInstanceUID where the archive lists
its instances, so that others of the same study, here before, do not stand in for those that did not come. The first
failing answer of a longer retrieve would end it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orthanc_research.errors import AccessError, Error, NotFoundError, OrthancError
from orthanc_research.progress import Progress
from orthanc_research.rest import Job, Level, Rest, is_server_gone
from orthanc_research.tables import KEYS, UID_OF, key_of

__all__ = ["RETRIEVE_COLUMNS", "Node", "bring", "here", "listed", "retrieve"]

RETRIEVE_COLUMNS = {
    "status": "str",
    "error": "str",
    "announced": "Int64",
    "here_before": "Int64",
    "here": "Int64",
    "seconds": "float64",
}
_POLL_FIRST, _POLL_LAST = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Node:
    """Whom to ask, and how."""

    rest: Rest
    name: str
    level: Level
    method: str
    timeout: int | None
    again: bool = True  # False: what is all here, by the archive's own list, is not sent again


def retrieve(
    rest: Rest,
    name: str,
    level: Level,
    rows: Sequence[Mapping[str, str]],
    announced: Sequence[int | None],
    *,
    method: str,
    timeout: int | None,
    progress: Progress,
) -> pd.DataFrame:
    """The ledger `RETRIEVE_COLUMNS`, one row for each of `rows` ({unique key: value}), indexed by the level's UID.

    `status`: "complete" (all that the archive lists, or announced, is here); "incomplete"; "unverified" (it says
    neither which instances there are nor how many); "not-found" (it has no such thing any more); "failed", with
    Orthanc's words; "not-sent" (cancelled, or this Orthanc is gone).
    """
    node = Node(rest, name, level, method, timeout)
    known = [count for count in announced if count is not None]
    progress.total(sum(known) if len(known) == len(rows) else None, "instances")
    found: list[dict[str, Any]] = []
    halted: str | None = None
    for keys, count in zip(rows, announced, strict=True):
        if halted is None and progress.cancelled:
            halted = "Cancelled."
        if halted is not None:
            found.append({"status": "not-sent", "error": halted})
            continue
        start = time.monotonic()
        row = bring(node, keys, count, progress)
        halted = row.pop("halted", None)
        found.append({**row, "seconds": time.monotonic() - start})
    frame = pd.DataFrame(found, columns=list(RETRIEVE_COLUMNS)).astype(RETRIEVE_COLUMNS)
    uid = UID_OF[level]
    frame.index = pd.Index([keys[uid] for keys in rows], name=uid, dtype="str")
    return frame


def bring(
    node: Node,
    keys: Mapping[str, str],
    count: int | None,
    progress: Progress,
    answer: tuple[str, int] | None = None,
) -> dict[str, Any]:
    """What came of retrieving one resource by its unique keys; with "halted" when nothing else would come either.

    `answer` is the query, and the number in it, of an answer that is this resource; without it, it is asked for.
    """
    row: dict[str, Any] = {"announced": count if count is not None and count > 0 else None}
    try:
        before = here(node.rest, keys)
        row["here_before"] = row["here"] = len(before)
        uids = listed(node, keys)
        if uids is not None:
            row["announced"] = max(len(uids), row["announced"] or 0)
            if not node.again and uids <= before and row["announced"] <= len(before):
                return {**row, "status": "already-there", "error": None}
        job = _moved(node, *answer, keys, row, progress) if answer else _fetch(node, keys, row, progress)
        if job is None:
            return {**row, "status": "not-found", "error": "The archive has no such thing (any more)."}
        there = here(node.rest, keys)
        row["here"] = len(there)
        verdict = _verdict(row, uids, there)
        if verdict["status"] != "complete":
            if job.cancelled or progress.cancelled:
                return {**row, "status": "incomplete", "error": "Cancelled."}
            job.check()
    except (AccessError, Error) as error:
        with suppress(Error):
            row["here"] = len(here(node.rest, keys))
        stop = isinstance(error, AccessError) or (isinstance(error, OrthancError) and is_server_gone(error))
        return {**row, "status": "failed", "error": str(error), **({"halted": str(error)} if stop else {})}
    return {**row, **verdict}


def _verdict(row: Mapping[str, Any], listed: set[str] | None, here: set[str]) -> dict[str, Any]:
    if row["announced"] is None:
        return {"status": "unverified", "error": "The archive did not say which instances there are, or how many."}
    if listed is None:
        # A number alone: what was here before may be other instances of the same study.
        missing = row["announced"] - (row["here"] - row["here_before"])
        if missing > 0 and row["here"] >= row["announced"]:
            return {"status": "unverified", "error": "The archive lists no instances, and some were here before."}
        missing = min(missing, row["announced"] - row["here"]) if missing > 0 else missing
    else:
        missing = max(len(listed - here), row["announced"] - row["here"])
    if missing <= 0:
        return {"status": "complete", "error": None}
    return {"status": "incomplete", "error": f"{missing} of {row['announced']} instances did not arrive."}


def _fetch(node: Node, keys: Mapping[str, str], row: dict[str, Any], progress: Progress) -> Job | None:
    """Ask for one row and wait for its job; None when the archive has no such thing."""
    query = node.rest.modalities.query(node.name, node.level, keys, timeout=node.timeout)
    try:
        # An archive may match more than it was asked for: without case, or with a key that it does not know.
        wanted = {key_of(name): value for name, value in keys.items()}
        answers = node.rest.queries.answers(query)
        exact = [
            number
            for number, answer in enumerate(answers)
            if all(str(answer.get(key) or "").strip(" \0") == value for key, value in wanted.items())
        ]
        if not exact:
            return None
        return _moved(node, query, exact[0], keys, row, progress)
    finally:
        with suppress(Error):  # what went wrong before is what matters
            node.rest.queries.delete(query)


def _moved(
    node: Node, query: str, number: int, keys: Mapping[str, str], row: dict[str, Any], progress: Progress
) -> Job:
    """Retrieve one answer of a query, and wait for its job."""
    # Said in either case: a modality can be configured for the other way. 1.10 knows C-MOVE only.
    method: dict[str, Any] = {"retrieve_method": node.method} if node.rest.capabilities().has("c-get") else {}
    started = node.rest.queries.retrieve_answer(query, number, synchronous=False, timeout=node.timeout, **method)
    return _watch(node.rest, str(started["ID"]), keys, row, progress)


def _watch(rest: Rest, identifier: str, keys: Mapping[str, str], row: dict[str, Any], progress: Progress) -> Job:
    """Poll the job, and count what arrives: the job's own percentage restarts on 1.12."""
    pause, asked = _POLL_FIRST, False
    while True:
        try:
            job = rest.jobs.read(identifier)
        except NotFoundError:
            job = Job(identifier, "DicomMoveScu", "Forgotten")
        count = len(here(rest, keys))
        progress.advance(max(0, count - row["here"]))
        row["here"] = max(count, row["here"])
        if job.done:
            return job
        if progress.cancelled and not asked:
            asked = True
            with suppress(Error):  # it ended meanwhile
                rest.jobs.cancel(identifier)
        time.sleep(pause)
        pause = min(pause * 1.6, _POLL_LAST)


def here(rest: Rest, keys: Mapping[str, str]) -> set[str]:
    """SOPInstanceUIDs of what is here."""
    found = rest.tools.find({"Level": "Instance", "Query": dict(keys), "Expand": True})
    return {str((value.get("MainDicomTags") or {}).get("SOPInstanceUID", value["ID"])) for value in found}


def listed(node: Node, keys: Mapping[str, str]) -> set[str] | None:
    """SOPInstanceUIDs that the archive lists below these keys; None when it does not list instances."""
    wanted = {**dict.fromkeys(KEYS["Instance"], ""), **keys}
    try:
        query = node.rest.modalities.query(node.name, "Instance", wanted, timeout=node.timeout)
    except OrthancError as error:
        if isinstance(error, AccessError) or is_server_gone(error):
            raise
        return None
    try:
        # An archive that passes over a key lists instances of others as well.
        answers = [
            answer
            for answer in node.rest.queries.answers(query)
            if all(str(answer.get(key_of(name)) or value).strip(" \0") == value for name, value in keys.items())
        ]
        uids = {str(answer.get(key_of("SOPInstanceUID")) or "") for answer in answers}
        return uids if uids and "" not in uids else None
    finally:
        with suppress(Error):
            node.rest.queries.delete(query)
