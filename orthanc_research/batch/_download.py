"""Instances of an Orthanc into a folder: each held against the server's MD5, complete or absent, a row for every one.

What a folder has is known from its manifest: a second run asks for nothing but the list of instances. Orthanc gives a
file that is stored again a new FileUuid (1.10.1, 1.12.7, 1.13.0), so what was overwritten there is brought again here.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from orthanc_research import resolve
from orthanc_research.batch._layout import Places, aside, check_layout
from orthanc_research.batch._listing import Item, listed
from orthanc_research.batch._manifest import Entry, Manifest
from orthanc_research.batch._transfer import StoppedError, fetch, md5_of, stored
from orthanc_research.errors import AccessError, NotFoundError, OrthancError, QueryError
from orthanc_research.files import private_folder, sweep
from orthanc_research.parallel import thread_map
from orthanc_research.progress import Pace, Progress
from orthanc_research.rest import Rest, is_server_gone
from orthanc_research.tables import selection

__all__ = ["DOWNLOAD_COLUMNS", "download", "download_plan"]

# column → pandas dtype of the ledger, which is indexed by the instance
DOWNLOAD_COLUMNS = {
    "status": "str",
    "error": "str",
    "file": "str",
    "bytes": "Int64",
    "md5": "str",
    "seconds": "float64",
}
_GONE = "It is no longer on this Orthanc; find it again."
_MOST, _SMALL = 16, 256 << 10  # files, and bytes of them, that a thread brings at a time
# With these nothing more can be written: no space, no quota left, a disk that turned read-only.
_NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass
class _Task:
    """What every instance of one download shares."""

    rest: Rest
    folder: Path
    manifest: Manifest
    progress: Progress
    pace: Pace
    left: int  # bytes of what was not written yet
    halted: str | None = None

    def __post_init__(self) -> None:
        self._guard = threading.Lock()
        self._made: set[str] = set()  # folders

    def stopped(self) -> bool:
        return self.halted is not None or self.progress.cancelled

    def make(self, path: str) -> Path:
        """Where a file with this path goes; its folder is there."""
        target = self.folder / path
        above = path.rpartition("/")[0]
        if above not in self._made:
            private_folder(target.parent)
            self._made.add(above)
        return target

    def done(self, item: Item) -> None:
        with self._guard:
            self.left -= item.size


def download(
    rest: Rest,
    resources: Any,
    folder: str | os.PathLike[str],
    *,
    layout: str,
    workers: int,
    progress: Progress,
) -> pd.DataFrame:
    """Bring every instance of the resources into the folder; the ledger `DOWNLOAD_COLUMNS`, indexed by instance.

    `status`: "done"; "already-there" (the file is right, by its size and MD5); "failed"; "not-sent" (the server is
    gone, the disk is full, or the run was cancelled). `QueryError` for a layout or folder that cannot be, before the
    first request; `NotFoundError` for studies and series that are gone, before the first file.
    """
    check_layout(layout)
    if not selection(resources, rest.connection.url).ids:
        return _ledger({}, [])
    with Manifest(_folder(folder)) as manifest:
        chosen = resolve.select(rest, resources)
        places = Places(layout)
        for entry in manifest:
            places.own(entry.path, _owners(entry))
        items = listed(rest, chosen, places)
        found = [item for item in items.values() if item is not None]
        progress.total(len(items), "instances")
        pace = Pace(progress)
        task = _Task(rest, Path(folder), manifest, progress, pace, sum(item.size for item in found))
        _sweep(task.folder, found)
        rows = {identifier: _row("failed", error=_GONE) for identifier, item in items.items() if item is None}
        progress.advance(len(rows))

        def bring(handful: Sequence[Item]) -> None:
            for item in handful:
                if progress.cancelled:
                    return
                rows[item.id] = _one(task, item)

        handfuls = _handfuls(found, workers)
        with pace, closing(thread_map(bring, handfuls, workers=workers, progress=progress)) as outcomes:
            for outcome in outcomes:
                outcome.get()
    return _ledger(rows, list(items))


def download_plan(rest: Rest, resources: Any, *, layout: str) -> pd.DataFrame:
    """What `download` would bring into an empty folder: its ledger with the status "planned", sizes and paths."""
    check_layout(layout)
    if not selection(resources, rest.connection.url).ids:
        return _ledger({}, [])
    items = listed(rest, resolve.select(rest, resources), Places(layout))
    rows = {
        identifier: _row("failed", error=_GONE) if item is None else _row("planned", file=item.path, bytes=item.size)
        for identifier, item in items.items()
    }
    return _ledger(rows, list(items))


def _ledger(rows: Mapping[str, Mapping[str, Any]], order: Sequence[str]) -> pd.DataFrame:
    not_sent = _row("not-sent", error="Cancelled.")
    frame = pd.DataFrame([rows.get(identifier, not_sent) for identifier in order], columns=list(DOWNLOAD_COLUMNS))
    frame.index = pd.Index(list(order), name="ID", dtype="str")
    return frame.astype(DOWNLOAD_COLUMNS)


def _row(status: str, *, error: str | None = None, **more: Any) -> dict[str, Any]:
    return {"status": status, "error": error, **more}


def _folder(path: str | os.PathLike[str]) -> Path:
    try:
        str(path).encode()  # else no ledger could name its files
        folder = private_folder(path)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or "it is no folder"
        raise QueryError(f"Nothing can be written to {path!s}: {reason}.") from error
    if not writable:
        raise QueryError(f"Nothing can be written to {path!s}: you may not.")
    return folder


def _sweep(folder: Path, items: Sequence[Item]) -> None:
    """Delete what runs that were killed left half-written where this one writes; parts of large files stay."""
    for place in {folder / path for path in {item.path.rpartition("/")[0] for item in items}} | {folder}:
        with suppress(OSError):  # a name that cannot be: its row will say so
            if place.is_dir():
                sweep(place)


# -- what there is ----------------------------------------------------------------------------------------------------


def _handfuls(items: Sequence[Item], workers: int) -> Iterator[list[Item]]:
    """Small files several at a time: to hand one over to a thread takes as long as half of its request."""
    most = min(_MOST, -(-len(items) // (4 * workers)))
    hand: list[Item] = []
    for item in items:
        if hand and (len(hand) >= most or sum(each.size for each in hand) + item.size > _SMALL):
            yield hand
            hand = []
        hand.append(item)
    if hand:
        yield hand


def _owners(entry: Entry) -> dict[str, tuple[str, str]]:
    return {
        "StudyInstanceUID": (entry.StudyInstanceUID, entry.ParentStudy),
        "SeriesInstanceUID": (entry.SeriesInstanceUID, entry.ParentSeries),
        "SOPInstanceUID": (entry.SOPInstanceUID, entry.ID),
    }


# -- one instance -----------------------------------------------------------------------------------------------------


def _one(task: _Task, item: Item) -> dict[str, Any]:
    """The row of an instance; its failure is its row, and what would fail for all others as well ends the run."""
    if task.halted is not None:
        return _row("not-sent", error=task.halted)
    start = time.monotonic()
    try:
        row = _brought(task, item)
        task.done(item)
    except StoppedError:
        return _row("not-sent", error=task.halted or "Cancelled.")
    except NotFoundError:
        row = _row("failed", error=_GONE)
    except OrthancError as error:
        if isinstance(error, AccessError) or is_server_gone(error):
            task.halted = str(error)
        row = _row("failed", error=str(error))
    except OSError as error:
        row = _row("failed", error=f"The file cannot be written: {error.strerror or type(error).__name__}.")
        if error.errno in _NO_MORE:
            task.halted = row["error"] = f"{row['error']} {-(-task.left // 10**6)} MB were still to come."
    task.progress.advance()
    return {**row, "seconds": time.monotonic() - start}


def _brought(task: _Task, item: Item) -> dict[str, Any]:
    path, md5 = _there(task, item)
    target = task.make(path)
    status = "done" if md5 is None else "already-there"
    if md5 is None:
        md5 = fetch(task.rest, item.id, target, size=item.size, stopped=task.stopped)
    size = target.stat().st_size
    if status == "done":
        task.pace.add(size)
    entry = item.entry(path, size, md5)
    if task.manifest.entry(path, item.id) != entry:
        task.manifest.add(entry)
    return _row(status, file=str(target), bytes=size, md5=md5)


def _there(task: _Task, item: Item) -> tuple[str, str | None]:
    """The path for the instance, and the MD5 of the file there when it is the right one already.

    A file that is not right is replaced when a download made it from this instance. Anything else is somebody's own:
    the instance then goes beside it, under a name with its Orthanc ID.
    """
    if not os.path.lexists(task.folder / item.path):
        return item.path, None
    other = aside(item.path, item.id)
    for path in (item.path, other):
        target = task.folder / path
        entry = task.manifest.entry(path, item.id)
        if not os.path.lexists(target):
            return path, None
        if target.is_file() and target.stat().st_size == item.size:
            md5 = md5_of(target)
            if entry is not None and (entry.FileUuid, entry.md5) == (item.file_uuid, md5):
                return path, md5
            if md5 == stored(task.rest, item.id)[0]:
                return path, md5
        if entry is not None:
            return path, None
    return other, None
