"""Files, folders, zips, Datasets and bytes into an Orthanc: a row for every input, whatever happens to it."""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydicom import Dataset
from pydicom.filewriter import dcmwrite

from orthanc_research.errors import AccessError, Error, OrthancError, QueryError, ServerError
from orthanc_research.parallel import thread_map
from orthanc_research.progress import Progress
from orthanc_research.rest import Rest, is_server_gone

__all__ = ["UPLOAD_COLUMNS", "upload"]

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


@dataclass(frozen=True, slots=True)
class _Item:
    """One input: what to call it, and how to get its bytes."""

    source: str
    read: Callable[[], bytes]


class _SkippedError(Error):
    """Not sent, on purpose."""


def upload(rest: Rest, inputs: Any, *, workers: int, progress: Progress) -> pd.DataFrame:
    """Store the inputs; a ledger with `UPLOAD_COLUMNS`, one row an input, in their order.

    `status` is "stored", "already-stored", "skipped" (a DICOMDIR), "failed" (with `error`) or "not-sent": what was left
    when the server went away, the password was refused, or the run was cancelled. Sending them again is safe.
    """
    items = list(_items(inputs))
    progress.total(len(items), "files")
    halted: list[str] = []

    def send(item: _Item) -> dict[str, Any]:
        if halted:
            return _row(item, "not-sent", error=halted[0])
        row = _send(rest, item, halted)
        progress.advance()
        return row

    rows = [outcome.get() for outcome in thread_map(send, items, workers=workers, progress=progress)]
    rows += [_row(item, "not-sent", error="cancelled") for item in items[len(rows) :]]
    return pd.DataFrame(rows, columns=list(UPLOAD_COLUMNS)).astype(UPLOAD_COLUMNS)


def _send(rest: Rest, item: _Item, halted: list[str]) -> dict[str, Any]:
    start = time.monotonic()
    size = None
    try:
        content = item.read()
        size = len(content)
        answer = rest.instances.upload(content)
        status = _STATUS.get(answer.get("Status", ""), "failed")
        error = None if status != "failed" else f"Orthanc did not store it: {answer.get('Status', 'no status')}."
    except _SkippedError as reason:
        return _row(item, "skipped", error=str(reason))
    except OrthancError as failure:
        if isinstance(failure, AccessError) or is_server_gone(failure):
            halted.append(str(failure))
        return _row(item, "failed", error=_reason(failure), size=size, start=start)
    except (OSError, zipfile.BadZipFile, ValueError, AttributeError, TypeError, NotImplementedError) as failure:
        # What pydicom and the file system raise for an input that cannot be read or written as DICOM.
        return _row(item, "failed", error=f"It cannot be read: {type(failure).__name__}.", start=start)
    return _row(item, status, error=error, answer=answer, size=size, start=start)


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
        yield _Item(f"bytes {number}", lambda: content)
    elif isinstance(given, Dataset):
        yield _Item(f"dataset {number}", lambda: _encoded(given))
    elif isinstance(given, str | os.PathLike):
        path = Path(given)
        if not path.exists():
            raise QueryError(f"There is no file or folder {given!s}.")
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            yield from _file_items(file)
    else:
        raise QueryError(f"Upload takes files, folders, Datasets or bytes, not a {type(given).__name__}.")


def _file_items(path: Path) -> Iterator[_Item]:
    if path.name.upper() == "DICOMDIR":
        yield _Item(str(path), _skip)
    elif path.suffix.lower() == ".zip" and zipfile.is_zipfile(path):
        # Orthanc takes a zip whole, but answers nothing for the members that it does not store.
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
        for name in names:
            yield _Item(f"{path}!{name}", lambda name=name: _member(path, name))  # type: ignore[misc]
    else:
        yield _Item(str(path), path.read_bytes)


def _skip() -> bytes:
    raise _SkippedError("A DICOMDIR is an index of other files, not an image.")


def _member(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def _encoded(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
