"""Files, folders, zips, gzips, Datasets and bytes into an Orthanc: a row for every input, whatever happens to it.

Orthanc stores whatever arrives, and keeps what it has: "Success" and "AlreadyStored" say nothing of the bytes. So each
stored file's MD5 is asked for and held against what was sent.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orthanc_research.batch._inputs import Item, SkippedError, UnreadableError, content_of, items_of
from orthanc_research.errors import AccessError, NotFoundError, OrthancError, ResponseError, ServerError
from orthanc_research.parallel import Outcome, thread_map
from orthanc_research.pixels import transfer_syntax
from orthanc_research.progress import Pace, Progress
from orthanc_research.rest import Rest, is_server_gone

__all__ = ["UPLOAD_COLUMNS", "upload", "upload_plan"]

# column → pandas dtype of the ledger
UPLOAD_COLUMNS = {
    "Source": "str",
    "status": "str",
    "error": "str",
    "ID": "str",
    "ParentPatient": "str",
    "ParentStudy": "str",
    "ParentSeries": "str",
    "bytes": "Int64",
    "seconds": "float64",
}
_STATUS = {"Success": "stored", "AlreadyStored": "already-stored"}
_OTHER = {
    "stored": (
        "failed",
        "It was damaged on its way: what is stored is not what was sent. Delete that and send it again.",
    ),
    "already-stored": ("conflict", "Another file with this SOPInstanceUID is stored already, and stays."),
}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Sent:
    """An input that Orthanc answered to, and what is needed to check it."""

    item: Item
    answer: dict[str, Any]
    size: int
    md5: str
    start: float


def upload(rest: Rest, inputs: Any, *, workers: int, progress: Progress) -> pd.DataFrame:
    """Store the inputs; a ledger with `UPLOAD_COLUMNS`, one row an input, in their order.

    `status` is "stored" or "already-stored" (by the MD5 of what is there now), "conflict" (already stored under these
    identifiers is another file, which stays), "skipped" (a DICOMDIR), "failed" (with `error`) or "not-sent": what was
    left when the server went away, the password was refused, or the run was cancelled. What was sent and not checked
    before that is "failed". Sending them again is safe. Two requests a file.
    """
    items = list(items_of(inputs))
    progress.total(len(items), "files")
    halted: list[str] = []
    # A file's check is a wait of its own: it goes on while the next files are sent, each in its turn.
    unchecked: dict[int, _Sent] = {}

    def send(place: int) -> _Sent | Row:
        answered = _send(rest, halted, items[place])
        if isinstance(answered, _Sent):
            unchecked[place] = answered
        return answered

    def checked(outcome: Outcome[int, _Sent | Row]) -> Row:
        found = outcome.get()
        if isinstance(found, _Sent):
            pace.add(found.size)
        row = _checked(rest, found, halted) if isinstance(found, _Sent) else found
        if row["status"] != "not-sent":
            progress.advance()
        return row

    with (
        Pace(progress) as pace,
        closing(thread_map(send, range(len(items)), workers=workers, progress=progress)) as sent,
        closing(thread_map(checked, sent, workers=workers, progress=progress, to_the_end=True)) as outcomes,
    ):
        found = {outcome.unit.unit: outcome.get() for outcome in outcomes}
    rows = [found.get(place) or _left(item, unchecked.get(place)) for place, item in enumerate(items)]
    return pd.DataFrame(rows, columns=list(UPLOAD_COLUMNS)).astype(UPLOAD_COLUMNS)


def upload_plan(inputs: Any) -> pd.DataFrame:
    """What `upload` would send: its ledger with the status "planned", one row an input; nothing is sent."""
    rows = [_row(item, "skipped" if item.skipped else "planned") for item in items_of(inputs)]
    return pd.DataFrame(rows, columns=list(UPLOAD_COLUMNS)).astype(UPLOAD_COLUMNS)


def _send(rest: Rest, halted: list[str], item: Item) -> _Sent | Row:
    """What Orthanc answered, to be checked; or the row of what was not sent, or not taken."""
    if halted:
        return _row(item, "not-sent", error=halted[0])
    start = time.monotonic()
    try:
        content = content_of(item)
    except SkippedError as reason:
        return _row(item, "skipped", error=str(reason))
    except UnreadableError as reason:
        return _row(item, "failed", error=str(reason), start=start)
    except Exception as failure:  # noqa: BLE001  # one input's bytes; pydicom, zipfile and zlib raise anything on them
        return _row(item, "failed", error=f"It cannot be read: {type(failure).__name__}.", start=start)
    try:
        answer = rest.instances.upload(content)
    except OrthancError as failure:
        _halt(halted, failure)
        return _row(item, "failed", error=_reason(failure), size=len(content), start=start)
    return _Sent(item, answer, len(content), _md5(content), start)


def _left(item: Item, sent: _Sent | None) -> Row:
    """The row of what was cancelled before it was sent, or before it was checked."""
    if sent is None:
        return _row(item, "not-sent", error="cancelled")
    error = "It was sent, and the run was cancelled before it was checked: send it again."
    return _row(item, "failed", error=error, answer=sent.answer, size=sent.size, start=sent.start)


def _checked(rest: Rest, sent: _Sent, halted: list[str]) -> Row:
    status, error = "failed", halted[0] if halted else None
    if not halted:
        try:
            status, error = _verdict(rest, sent)
        except OrthancError as failure:
            _halt(halted, failure)
            error = _reason(failure)
    return _row(sent.item, status, error=error, answer=sent.answer, size=sent.size, start=sent.start)


def _halt(halted: list[str], failure: OrthancError) -> None:
    """End the run after a failure that all others would share."""
    if isinstance(failure, AccessError) or is_server_gone(failure):
        halted.append(str(failure))


def _verdict(rest: Rest, sent: _Sent) -> tuple[str, str | None]:
    """(status, error) of what Orthanc answered, once what it has now is known."""
    status = _STATUS.get(sent.answer.get("Status", ""))
    if status is None:
        return "failed", f"Orthanc did not store it: {sent.answer.get('Status', 'no status')}."
    instance = str(sent.answer["ID"])
    try:
        there = rest.instances.md5(instance).strip()
    except NotFoundError:  # this server keeps none (StoreMD5ForAttachments), or the instance is gone
        there = _md5(rest.instances.file(instance))
    if there == sent.md5:
        return status, None
    # A server may be told to store everything in another syntax (IngestTranscoding).
    kept = rest.instances.metadata(instance).get("TransferSyntax", "").strip(" \0")
    return _OTHER[status] if kept == _syntax(sent.item) else (status, None)


def _syntax(item: Item) -> str:
    """Its transfer syntax, from its bytes, which are not kept until somebody asks."""
    try:
        return transfer_syntax(content_of(item))
    except Exception as failure:
        raise ResponseError(f"It cannot be read again: {type(failure).__name__}.") from failure


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _reason(failure: OrthancError) -> str:
    if isinstance(failure, ServerError) and failure.orthanc_status == 15:
        return "Not a DICOM file, or a damaged one: Orthanc cannot read it."
    if failure.orthanc_status == 21:
        return "DICOM without the identifiers that Orthanc files by (PatientID, Study, Series and SOP Instance UID)."
    return str(failure)


def _row(
    item: Item,
    status: str,
    *,
    error: str | None = None,
    answer: dict[str, Any] | None = None,
    size: int | None = None,
    start: float | None = None,
) -> dict[str, Any]:
    row: dict[str, Any] = {"Source": item.source, "status": status, "error": error, "bytes": size}
    row |= {key: (answer or {}).get(key) for key in ("ID", "ParentPatient", "ParentStudy", "ParentSeries")}
    row["seconds"] = None if start is None else time.monotonic() - start
    return row
