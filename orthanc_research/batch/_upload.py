"""Files, folders, zips, Datasets and bytes into an Orthanc: a row for every input, whatever happens to it.

Orthanc stores whatever arrives, and keeps what it has: "Success" and "AlreadyStored" say nothing of the bytes. So each
stored file's MD5 is asked for and held against what was sent.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import pandas as pd
from pydicom import Dataset
from pydicom.filewriter import dcmwrite

from orthanc_research.errors import (
    AccessError,
    Error,
    NotFoundError,
    OrthancError,
    QueryError,
    ResponseError,
    ServerError,
)
from orthanc_research.parallel import Outcome, thread_map
from orthanc_research.pixels import transfer_syntax
from orthanc_research.progress import Progress
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
_ZIP = b"PK\x03\x04"


Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Item:
    """One input: what to call it, and how to get its bytes."""

    source: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class _Sent:
    """An input that Orthanc answered to, and what is needed to check it."""

    item: _Item
    answer: dict[str, Any]
    size: int
    md5: str
    start: float


class _SkippedError(Error):
    """Not sent, on purpose."""


class _UnreadableError(Error):
    """Not sent, for a reason that is a sentence."""


def upload(rest: Rest, inputs: Any, *, workers: int, progress: Progress) -> pd.DataFrame:
    """Store the inputs; a ledger with `UPLOAD_COLUMNS`, one row an input, in their order.

    `status` is "stored" or "already-stored" (by the MD5 of what is there now), "conflict" (already stored under these
    identifiers is another file, which stays), "skipped" (a DICOMDIR), "failed" (with `error`) or "not-sent": what was
    left when the server went away, the password was refused, or the run was cancelled. Sending them again is safe.
    Two requests a file.
    """
    items = list(_items(inputs))
    progress.total(len(items), "files")
    halted: list[str] = []
    # A file's check is a wait of its own: it goes on while the next files are sent, each in its turn.
    sent = thread_map(partial(_send, rest, halted), items, workers=workers, progress=progress)

    def checked(outcome: Outcome[_Item, _Sent | Row]) -> Row:
        found = outcome.get()
        row = _checked(rest, found, halted) if isinstance(found, _Sent) else found
        progress.advance(row["status"] != "not-sent")
        return row

    rows = [outcome.get() for outcome in thread_map(checked, sent, workers=workers)]
    rows += [_row(item, "not-sent", error="cancelled") for item in items[len(rows) :]]
    return pd.DataFrame(rows, columns=list(UPLOAD_COLUMNS)).astype(UPLOAD_COLUMNS)


def upload_plan(inputs: Any) -> pd.DataFrame:
    """What `upload` would send: its ledger with the status "planned", one row an input; nothing is sent."""
    rows = [_row(item, "skipped" if item.read is _skip else "planned") for item in _items(inputs)]
    return pd.DataFrame(rows, columns=list(UPLOAD_COLUMNS)).astype(UPLOAD_COLUMNS)


def _send(rest: Rest, halted: list[str], item: _Item) -> _Sent | Row:
    """What Orthanc answered, to be checked; or the row of what was not sent, or not taken."""
    if halted:
        return _row(item, "not-sent", error=halted[0])
    start = time.monotonic()
    try:
        content = item.read()
        if content[:4] == _ZIP:  # Orthanc would take it whole, and tell nothing of what it does not store
            raise _UnreadableError("A zip that is damaged, or inside another zip: unpack it first.")
    except _SkippedError as reason:
        return _row(item, "skipped", error=str(reason))
    except _UnreadableError as reason:
        return _row(item, "failed", error=str(reason), start=start)
    except Exception as failure:  # noqa: BLE001  # one input's bytes; pydicom, zipfile and zlib raise anything on them
        return _row(item, "failed", error=f"It cannot be read: {type(failure).__name__}.", start=start)
    try:
        answer = rest.instances.upload(content)
    except OrthancError as failure:
        _halt(halted, failure)
        return _row(item, "failed", error=_reason(failure), size=len(content), start=start)
    return _Sent(item, answer, len(content), _md5(content), start)


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


def _syntax(item: _Item) -> str:
    """Its transfer syntax, from its bytes, which are not kept until somebody asks."""
    try:
        return transfer_syntax(item.read())
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
    item: _Item,
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


def _items(inputs: Any) -> Iterator[_Item]:
    if isinstance(inputs, str | os.PathLike | Dataset | bytes | bytearray | memoryview):
        inputs = [inputs]
    if not isinstance(inputs, Iterable):
        raise QueryError("Upload takes files, folders, Datasets or bytes, or a list of them.")
    for number, given in enumerate(inputs):
        yield from _expand(given, number)


def _expand(given: Any, number: int) -> Iterator[_Item]:
    if isinstance(given, bytes | bytearray | memoryview):
        content = bytes(given)
        yield from _content_items(f"bytes {number}", content[:4], lambda: io.BytesIO(content), lambda: content)
    elif isinstance(given, Dataset):
        yield _Item(f"dataset {number}", lambda: _encoded(given))
    elif isinstance(given, str | os.PathLike):
        path = Path(given)
        if not _exists(path):
            raise QueryError(f"There is no file or folder {given!s}.")
        yield from _folder_items(path, set()) if path.is_dir() else _file_items(path)
    else:
        raise QueryError(f"Upload takes files, folders, Datasets or bytes, not a {type(given).__name__}.")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a folder on the way may not be entered; a null in the name
        return False


def _folder_items(folder: Path, seen: set[Path]) -> Iterator[_Item]:
    """Every file below, through links as well; each folder once, whatever leads to it."""
    try:
        real = folder.resolve()
        if real in seen:
            return
        seen.add(real)
        entries = sorted(folder.iterdir())
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself
        yield _Item(str(folder), partial(_fail, error))
        return
    for entry in entries:
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError as error:  # the folder may be listed and not entered
            yield _Item(str(entry), partial(_fail, error))
            continue
        if is_folder:
            yield from _folder_items(entry, seen)
        elif is_file:
            yield from _file_items(entry)
        elif entry.is_symlink():
            yield _Item(str(entry), partial(_fail, _UnreadableError("A link to something that is not there.")))


def _file_items(path: Path) -> Iterator[_Item]:
    if path.name.upper() == "DICOMDIR":
        yield _Item(str(path), _skip)
        return
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        yield _Item(str(path), partial(_fail, error))
        return
    yield from _content_items(str(path), start, lambda: path.open("rb"), path.read_bytes)


def _content_items(
    source: str, start: bytes, reopen: Callable[[], IO[bytes]], read: Callable[[], bytes]
) -> Iterator[_Item]:
    """One file, or the members of a zip, whatever it is called."""
    members: list[zipfile.ZipInfo] | None = None
    if start == _ZIP:
        try:
            with reopen() as stream, zipfile.ZipFile(stream) as archive:
                members = [info for info in archive.infolist() if not info.is_dir()]
        except Exception:  # noqa: BLE001  # damaged: its row will say so, and zipfile raises anything on it
            members = None
    if members is None:
        yield _Item(source, read)
        return
    for info in members:
        index = Path(info.filename).name.upper() == "DICOMDIR"
        yield _Item(f"{source}!{info.filename}", _skip if index else partial(_member, reopen, info))


def _fail(error: Exception) -> bytes:
    raise error


def _skip() -> bytes:
    raise _SkippedError("A DICOMDIR is an index of other files, not an image.")


def _member(reopen: Callable[[], IO[bytes]], info: zipfile.ZipInfo) -> bytes:
    if info.flag_bits & 1:
        raise _UnreadableError("It is encrypted; unpack the zip with its password first.")
    with reopen() as stream, zipfile.ZipFile(stream) as archive:
        return archive.read(info)


def _encoded(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
