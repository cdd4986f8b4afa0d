"""Instances of an Orthanc into one zip: each held against the server's MD5, the whole complete or absent.

Orthanc makes such a zip itself, and it is not asked for it. Its answer has no length, so that a server which dies while
it sends looks like success; an unreadable file is left out without a word; names of members come from tags, `..`
included. And it packs on one thread, with much effort: 320 CT slices (168 MB; two cores, busy with other work as well)
took it 27 to 76 s on 1.10.1, 1.12.7 and 1.13.0, as an answer or as a job; the same files come on four threads in 2 s,
and are a zip here in 5 s, with `compress` in 7 to 32 s.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import pandas as pd

from orthanc_research import fetch, resolve
from orthanc_research.batch._layout import LAYOUT, Places
from orthanc_research.batch._listing import Item, listed
from orthanc_research.batch._transfer import StoppedError
from orthanc_research.batch._transfer import fetch as fetch_to
from orthanc_research.errors import CancelledError, NotFoundError, QueryError, ResponseError
from orthanc_research.files import atomic_path, sweep
from orthanc_research.parallel import thread_map
from orthanc_research.progress import Progress
from orthanc_research.rest import Rest
from orthanc_research.tables import selection

__all__ = ["ARCHIVE_COLUMNS", "archive"]

# column → pandas dtype of what `archive` returns, which is indexed by the instance
ARCHIVE_COLUMNS = {"file": "str", "bytes": "Int64", "md5": "str"}
# Bytes; what is larger goes over the disk, beside the zip, and is never in memory as a whole.
_LARGE = 16 << 20
_FASTEST = 1  # the other levels take two to four times as long for 3 %
_BESIDE = ".files"


@dataclass(frozen=True, slots=True)
class _Task:
    """What every file of one archive shares."""

    rest: Rest
    beside: Path
    progress: Progress


def archive(
    rest: Rest,
    resources: Any,
    path: str | os.PathLike[str],
    *,
    compress: bool,
    overwrite: bool,
    workers: int,
    progress: Progress,
) -> pd.DataFrame:
    """Write the zip; `ARCHIVE_COLUMNS` of its members, indexed by instance. Everything is in it, or there is no file.

    `QueryError` for a path that cannot be, before the first request; `NotFoundError` for what is gone;
    `CancelledError`; any failure of a file is the failure of the whole.
    """
    target = _target(Path(path), overwrite)
    items = _items(rest, resources)
    total = sum(item.size for item in items)
    progress.total(total, "bytes")
    method = ZIP_DEFLATED if compress else ZIP_STORED
    with _room(target, total), atomic_path(target, overwrite=overwrite) as partial:
        beside = partial.with_suffix(_BESIDE)
        try:
            with ZipFile(partial, "w", method, compresslevel=_FASTEST if compress else None) as zipped:
                rows = list(_packed(_Task(rest, beside, progress), items, zipped, workers))
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        if len(rows) < len(items):
            raise CancelledError("Archiving was stopped on request; there is no file.")
        _check(partial, rows)
    frame = pd.DataFrame(rows, columns=list(ARCHIVE_COLUMNS)).astype(ARCHIVE_COLUMNS)
    frame.index = pd.Index([item.id for item in items], name="ID", dtype="str")
    return frame


def _target(path: Path, overwrite: bool) -> Path:
    taken = True
    try:
        path.lstat()  # a link to something that is not there is in the way as well
    except (FileNotFoundError, NotADirectoryError):
        taken = False
    except (OSError, ValueError) as error:  # a name that is too long, or has a null in it
        reason = getattr(error, "strerror", None) or "it is no path"
        raise QueryError(f"Nothing can be written to {path}: {reason}.") from error
    if not path.parent.is_dir():
        raise QueryError(f"There is no folder {path.parent}.")
    if path.is_dir():
        raise QueryError(f"{path} is a folder; give the path of a file.")
    if taken and not overwrite:
        raise QueryError(f"{path} is already there; choose another name, or overwrite=True.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise QueryError(f"Nothing can be written to {path.parent}: you may not.")
    sweep(path.parent)
    return path


def _items(rest: Rest, resources: Any) -> list[Item]:
    if not selection(resources, rest.connection.url).ids:
        return []
    found = listed(rest, resolve.select(rest, resources), Places(LAYOUT))
    items = [item for item in found.values() if item is not None]
    if len(items) < len(found):
        gone = len(found) - len(items)
        raise NotFoundError(f"{gone} of {len(found)} instances are no longer on this Orthanc; find them again.")
    return items


@contextmanager
def _room(target: Path, total: int) -> Iterator[None]:
    """Say how much room it takes when the disk has none left."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        text = f"{error.strerror}; the archive takes {-(-total // 10**6)} MB at most"
        raise OSError(error.errno, text, str(target)) from error


def _packed(task: _Task, items: list[Item], zipped: ZipFile, workers: int) -> Iterator[dict[str, Any]]:
    outcomes = thread_map(
        lambda item: _brought(task, item), items, workers=workers, progress=task.progress, fatal=(Exception,)
    )
    # Closed before the folder beside the zip is deleted: what is under way would make it anew.
    with suppress(StoppedError), closing(outcomes):
        for outcome in outcomes:
            item, (content, md5) = outcome.unit, outcome.get()
            if isinstance(content, Path):
                size = content.stat().st_size
                zipped.write(content, item.path)
                content.unlink()
            else:
                size = len(content)
                zipped.writestr(item.path, content)
            task.progress.advance(item.size)
            yield {"file": item.path, "bytes": size, "md5": md5}


def _brought(task: _Task, item: Item) -> tuple[bytes | Path, str]:
    """The file of an instance, as bytes or, a large one, on the disk, and its MD5; both are the server's."""
    if item.size > _LARGE:
        task.beside.mkdir(mode=0o700, exist_ok=True)
        path = task.beside / item.id
        md5 = fetch_to(task.rest, item.id, path, size=item.size, stopped=lambda: task.progress.cancelled)
        return path, md5
    try:
        return fetch.checked_file(task.rest, item.id)
    except ResponseError:  # damaged on its way: once more, then it is the server's
        return fetch.checked_file(task.rest, item.id)


def _check(path: Path, rows: list[dict[str, Any]]) -> None:
    """What another program will find in it: its directory, read back."""
    with ZipFile(path) as zipped:
        found = [(member.filename, member.file_size) for member in zipped.infolist()]
    if found != [(row["file"], row["bytes"]) for row in rows]:
        raise OSError(errno.EIO, "The disk does not keep what is written to it", str(path.parent))
