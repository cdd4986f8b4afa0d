"""Files, folders, zips, gzips, Datasets and bytes into an Orthanc: a row for every input, whatever happens to it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd

from orthanc_research.batch._inputs import (
    Item,
    SkippedError,
    UnreadableError,
    content_of,
    items_of,
    name_of,
    path_of,
    there,
)
from orthanc_research.batch._stored import Part, Sent, md5_of, md5s_of, parted, verdict
from orthanc_research.errors import AccessError, CancelledError, OrthancError, ServerError
from orthanc_research.parallel import Outcome, thread_map
from orthanc_research.progress import Pace, Progress, Silent
from orthanc_research.rest import Rest, is_server_gone

__all__ = ["UPLOAD_COLUMNS", "upload", "upload_again", "upload_joined", "upload_plan"]

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
# Files are checked in groups that grow to so many, or to what a second brings: the first rows come at once, and few
# requests do for many files.
_FIRST, _LARGEST, _SECONDS = 8, 256, 1.0
_AGAIN = ("failed", "not-sent")  # what may go better another time
Row = dict[str, Any]


def upload(rest: Rest, inputs: Any, *, workers: int, progress: Progress) -> pd.DataFrame:
    """Store the inputs; a ledger with `UPLOAD_COLUMNS`, one row an input, in their order.

    `status` is "stored" or "already-stored" (by the MD5 of what is there now), "conflict" (already stored under these
    identifiers is another file, which stays), "skipped" (a DICOMDIR), "failed" (with `error`) or "not-sent": what was
    left when the server went away, the password was refused, or the run was cancelled. What was sent and not checked
    before that is "failed". Sending them again is safe. Two requests a file; from 1.12.5 on, one and a few.
    """
    items = list(items_of(inputs))
    progress.total(len(items), "files")
    halted: list[str] = []
    rows: dict[int, Row] = {}
    unchecked: dict[int, Sent] = {}
    counted: Counter[str] = Counter()

    def send(place: int) -> Sent | None:
        answered = _send(rest, halted, place, items[place])
        if isinstance(answered, Sent):
            unchecked[place] = answered
            pace.add(answered.size)
            return answered
        done(place, answered)
        return None

    def check(group: list[Sent]) -> None:
        parts = parted(rest, group, counted)
        for outcome in thread_map(check_part, parts, workers=workers, to_the_end=True):
            outcome.get()

    def check_part(part: Part) -> None:
        for place, row in _checked(rest, part, halted):
            done(place, row)

    def done(place: int, row: Row) -> None:
        rows[place] = row
        if row["status"] != "not-sent":
            progress.advance()

    with (
        Pace(progress) as pace,
        closing(thread_map(send, range(len(items)), workers=workers, progress=progress)) as sent,
        # A check is a wait of its own: it goes on while the next files are sent.
        closing(thread_map(check, _groups(sent), workers=1, progress=progress, to_the_end=True)) as checks,
    ):
        for outcome in checks:
            outcome.get()
    found = [rows.get(place) or _left(item, unchecked.get(place)) for place, item in enumerate(items)]
    return pd.DataFrame(found, columns=list(UPLOAD_COLUMNS)).astype(UPLOAD_COLUMNS)


def upload_plan(inputs: Any, progress: Progress | None = None) -> pd.DataFrame:
    """What `upload` would send: its ledger with the status "planned" and `bytes`, one row an input; nothing is sent.

    `bytes` is what lies there: of a gzip, and of a file that cannot be opened, not what would be sent.
    `CancelledError` when `progress` was asked to stop.
    """
    told = progress or Silent()
    told.total(None, "files")
    rows = []
    for item in items_of(inputs):
        if told.cancelled:
            raise CancelledError("It was cancelled before all folders were looked through.")
        rows.append(_row(item, "skipped" if item.skipped else "planned", size=item.size))
        told.advance()
    return pd.DataFrame(rows, columns=list(UPLOAD_COLUMNS)).astype(UPLOAD_COLUMNS)


def upload_again(ledger: pd.DataFrame) -> list[str]:
    """The files of a ledger of `upload` that failed or were not sent, each once, for another one; of a zip the zip.

    What is not (any more) on the disk is left out.
    """
    sources = ledger.loc[ledger["status"].isin(_AGAIN), "Source"]
    return list(dict.fromkeys(filter(None, map(_file_of, sources))))


def upload_joined(before: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """One ledger of two: the rows of `again` take the places of those that had failed or were not sent."""
    sent = set(upload_again(before))
    fresh: dict[str, deque[Row]] = defaultdict(deque)  # a zip may hold one name twice
    for row in again.to_dict("records"):
        fresh[str(row["Source"])].append({str(key): value for key, value in row.items()})
    rows: list[Any] = []
    for row in before.to_dict("records"):
        source = str(row["Source"])
        new = fresh[source].popleft() if fresh[source] else None
        if row["status"] not in _AGAIN:
            rows.append(row)
        elif new is not None or _file_of(source) not in sent:
            rows.append(new or row)
        # Otherwise a folder or zip that could not be opened and now can be, or what is no longer in a zip.
    rows += [row for left in fresh.values() for row in left]
    return pd.DataFrame(rows, columns=list(UPLOAD_COLUMNS)).astype(UPLOAD_COLUMNS)


def _file_of(source: str) -> str | None:
    """The file or folder of a row: itself, or the zip that it is a member of."""
    parts = source.split("!")
    for length in range(len(parts), 0, -1):
        path = "!".join(parts[:length])
        for each in (path, path_of(path)):
            if there(Path(each)):
                return each
    return None


def _send(rest: Rest, halted: list[str], place: int, item: Item) -> Sent | Row:
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
    return Sent(place, item, answer, len(content), md5_of(content), start)


def _left(item: Item, sent: Sent | None) -> Row:
    """The row of what was cancelled before it was sent, or before it was checked."""
    if sent is None:
        return _row(item, "not-sent", error="cancelled")
    error = "It was sent, and the run was cancelled before it was checked: send it again."
    return _row(item, "failed", error=error, answer=sent.answer, size=sent.size, start=sent.start)


def _groups(outcomes: Iterable[Outcome[int, Sent | None]]) -> Iterator[list[Sent]]:
    """What was sent, in the groups that are checked together."""
    group: list[Sent] = []
    size, since = _FIRST, time.monotonic()
    for outcome in outcomes:
        sent = outcome.get()
        group += [sent] if sent else []
        if len(group) >= size or time.monotonic() - since > _SECONDS:
            yield group
            group, size, since = [], min(2 * size, _LARGEST), time.monotonic()
    yield group


def _checked(rest: Rest, part: Part, halted: list[str]) -> Iterator[tuple[int, Row]]:
    """(place, row) of each file of a part."""
    series, files = part
    there: dict[str, str] = {}
    if series and not halted:
        try:
            there = md5s_of(rest, series)
        except OrthancError as failure:  # each is asked for by itself
            _halt(halted, failure)
    for sent in files:
        status, error = "failed", halted[0] if halted else None
        if not halted:
            try:
                status, error = verdict(rest, sent, there)
            except OrthancError as failure:
                _halt(halted, failure)
                error = _reason(failure)
        yield sent.place, _row(sent.item, status, error=error, answer=sent.answer, size=sent.size, start=sent.start)


def _halt(halted: list[str], failure: OrthancError) -> None:
    """End the run after a failure that all others would share."""
    if isinstance(failure, AccessError) or is_server_gone(failure):
        halted.append(str(failure))


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
    answer: Mapping[str, Any] | None = None,
    size: int | None = None,
    start: float | None = None,
) -> dict[str, Any]:
    row: dict[str, Any] = {"Source": name_of(item.source), "status": status, "error": error, "bytes": size}
    row |= {key: (answer or {}).get(key) for key in ("ID", "ParentPatient", "ParentStudy", "ParentSeries")}
    row["seconds"] = None if start is None else time.monotonic() - start
    return row
