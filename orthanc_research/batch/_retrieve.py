"""Retrieving from a remote archive: answer by answer, and counted here: a C-MOVE that says Success may have sent less.

For each row: how many instances the archive announces, a query for that row alone, a retrieve of its one answer as a
job, and the instances that are here afterwards. The first failing answer of a longer retrieve would end it.
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
from orthanc_research.tables import KEYS, UID_OF

__all__ = ["RETRIEVE_COLUMNS", "count_remote", "retrieve"]

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
class _Node:
    """Whom to ask, and how."""

    rest: Rest
    name: str
    level: Level
    method: str
    timeout: int | None


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

    `status`: "complete" (all that the archive announced is here); "incomplete"; "unverified" (it announced nothing, and
    has no instance level to count); "not-found" (it has no such thing any more); "failed", with Orthanc's words;
    "not-sent" (cancelled, or this Orthanc is gone).
    """
    node = _Node(rest, name, level, method, timeout)
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
        row = _row(node, keys, count, progress)
        halted = row.pop("halted", None)
        found.append({**row, "seconds": time.monotonic() - start})
    frame = pd.DataFrame(found, columns=list(RETRIEVE_COLUMNS)).astype(RETRIEVE_COLUMNS)
    uid = UID_OF[level]
    frame.index = pd.Index([keys[uid] for keys in rows], name=uid, dtype="str")
    return frame


def _row(node: _Node, keys: Mapping[str, str], count: int | None, progress: Progress) -> dict[str, Any]:
    row: dict[str, Any] = {"announced": count}
    try:
        if count is None:
            row["announced"] = count_remote(node.rest, node.name, node.level, keys, timeout=node.timeout)
        row["here_before"] = row["here"] = _here(node.rest, keys)
        job = _fetch(node, keys, row, progress)
        if job is None:
            return {**row, "status": "not-found", "error": "The archive has no such thing (any more)."}
        row["here"] = _here(node.rest, keys)
        if job.cancelled or progress.cancelled:
            return {**row, "status": "incomplete", "error": "Cancelled."}
        job.check()
    except (AccessError, Error) as error:
        with suppress(Error):
            row["here"] = _here(node.rest, keys)
        stop = isinstance(error, AccessError) or (isinstance(error, OrthancError) and is_server_gone(error))
        return {**row, "status": "failed", "error": str(error), **({"halted": str(error)} if stop else {})}
    return {**row, **_verdict(row)}


def _verdict(row: Mapping[str, Any]) -> dict[str, Any]:
    if row["announced"] is None:
        return {"status": "unverified", "error": "The archive did not say how many instances there are."}
    if row["here"] >= row["announced"]:
        return {"status": "complete", "error": None}
    missing = row["announced"] - row["here"]
    return {"status": "incomplete", "error": f"{missing} of {row['announced']} instances did not arrive."}


def _fetch(node: _Node, keys: Mapping[str, str], row: dict[str, Any], progress: Progress) -> Job | None:
    """Ask for one row and wait for its job; None when the archive has no such thing."""
    query = node.rest.modalities.query(node.name, node.level, keys, timeout=node.timeout)
    try:
        if not node.rest.queries.indices(query):
            return None
        method = {"retrieve_method": "C-GET"} if node.method == "C-GET" else {}
        started = node.rest.queries.retrieve_answer(query, 0, synchronous=False, timeout=node.timeout, **method)  # type: ignore[arg-type]
        return _watch(node.rest, str(started["ID"]), keys, row, progress)
    finally:
        with suppress(Error):  # what went wrong before is what matters
            node.rest.queries.delete(query)


def _watch(rest: Rest, identifier: str, keys: Mapping[str, str], row: dict[str, Any], progress: Progress) -> Job:
    """Poll the job, and count what arrives: the job's own percentage restarts on 1.12."""
    pause, asked = _POLL_FIRST, False
    while True:
        try:
            job = rest.jobs.read(identifier)
        except NotFoundError:
            job = Job(identifier, "DicomMoveScu", "Forgotten")
        here = _here(rest, keys)
        progress.advance(max(0, here - row["here"]))
        row["here"] = max(here, row["here"])
        if job.done:
            return job
        if progress.cancelled and not asked:
            asked = True
            with suppress(Error):  # it ended meanwhile
                rest.jobs.cancel(identifier)
        time.sleep(pause)
        pause = min(pause * 1.6, _POLL_LAST)


def _here(rest: Rest, keys: Mapping[str, str]) -> int:
    return len(rest.tools.find({"Level": "Instance", "Query": dict(keys), "CaseSensitive": True}))


def count_remote(rest: Rest, name: str, level: Level, keys: Mapping[str, str], *, timeout: int | None) -> int | None:
    """How many instances an archive lists below these keys; None when it does not list instances."""
    if level == "Instance":
        return 1
    wanted = {**dict.fromkeys(KEYS["Instance"], ""), **keys}
    try:
        query = rest.modalities.query(name, "Instance", wanted, timeout=timeout)
    except OrthancError as error:
        if isinstance(error, AccessError) or is_server_gone(error):
            raise
        return None
    try:
        return len(rest.queries.indices(query)) or None
    finally:
        with suppress(Error):
            rest.queries.delete(query)
