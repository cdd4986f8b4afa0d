"""What a download has put into a folder: one CSV there, a line a file, with UIDs and Orthanc's IDs and nothing else.

A line is added when its file has its final name, so that whatever ends a run, what it brought is known. Paths in it are
looked up, never followed: somebody else may have written the file.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import IO, Any, Self

from filelock import FileLock, Timeout

from orthanc_research.errors import QueryError
from orthanc_research.files import atomic_write

__all__ = ["LOCK", "MANIFEST", "Entry", "Manifest", "is_of_download"]

MANIFEST = "manifest.csv"
LOCK = ".ores-download.lock"
_WAIT = 1  # second: a sweep holds the lock for as long as it takes to delete one file


@dataclass(frozen=True, slots=True)
class Entry:
    """A file and what it was made from. UIDs that are none are empty: they could be anything."""

    path: str
    bytes: int
    SOPInstanceUID: str
    ID: str
    FileUuid: str  # Orthanc's name of the stored file: another one means that it was stored again
    SeriesInstanceUID: str
    ParentSeries: str
    StudyInstanceUID: str
    ParentStudy: str
    md5: str  # the last one: of a line that was cut, it has too few digits

    @classmethod
    def read(cls, row: dict[str, str]) -> Self:
        """A line of the file; KeyError, TypeError or ValueError when it is cut or damaged."""
        texts = {name: row[name] for name in _COLUMNS}
        if None in texts.values() or len(texts["md5"]) != 32:
            raise ValueError("cut")
        return cls(**{**texts, "bytes": int(texts["bytes"])})  # type: ignore[arg-type]


_COLUMNS = tuple(each.name for each in fields(Entry))
_values = attrgetter(*_COLUMNS)  # `astuple` copies each value, at ten times the price


def is_of_download(path: Path) -> bool:
    """Whether this is what a download keeps of itself in its folder, and none of the files that it brought."""
    if path.name != MANIFEST:
        return path.name == LOCK
    try:
        with path.open("rb") as stream:
            return stream.readline(1024).split() == [",".join(_COLUMNS).encode()]
    except OSError:
        return False


class Manifest:
    """The manifest of one folder, held by one download at a time. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / MANIFEST
        self._guard = threading.Lock()
        self._lock = FileLock(folder / LOCK, timeout=_WAIT, mode=0o600, thread_local=False)
        self._stream: IO[str] | None = None
        self._writer: Any = None
        self._entries: dict[str, Entry] = {}

    def __enter__(self) -> Self:
        try:
            self._lock.acquire()
        except Timeout:
            raise QueryError("Another download writes to that folder; wait for it, or end it.") from None
        try:
            self._read()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._stream is not None:
                with suppress(OSError):  # a full disk: the lines are there, if not in order
                    with closing(self._stream):
                        self._stream.flush()
                    self._write()
        finally:
            self._lock.release()

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def entry(self, path: str, identifier: str) -> Entry | None:
        """What is known of the file at this path, when it was made from this instance."""
        found = self._entries.get(path)
        source = None if found is None else found.ID
        return found if source == identifier else None

    def add(self, entry: Entry) -> None:
        """The file is there now."""
        with self._guard:
            if self._stream is None:
                self._stream = self._append()
                self._writer = csv.writer(self._stream)
            self._writer.writerow(_values(entry))
            self._stream.flush()
            self._entries[entry.path] = entry

    def _append(self) -> IO[str]:
        if not self._file.exists():
            self._write()
        stream = self._file.open("a", encoding="utf-8", newline="")
        stream.write("\r\n")  # the last line may be cut; an empty one is none
        return stream

    def _write(self) -> None:
        """All of it anew: one line a file, in order."""
        with atomic_write(self._file) as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            writer = csv.writer(text)
            writer.writerow(_COLUMNS)
            writer.writerows(_values(self._entries[path]) for path in sorted(self._entries))
            text.flush()
            text.detach()

    def _read(self) -> None:
        if not self._file.exists():
            return
        try:
            with self._file.open(encoding="utf-8", newline="") as stream:
                rows = csv.DictReader(stream)
                ours = set(_COLUMNS) <= set(rows.fieldnames or ())
                for row in rows if ours else ():
                    try:
                        entry = Entry.read(row)
                    except (KeyError, TypeError, ValueError):
                        continue  # a line that an interruption cut: its file is asked about again
                    self._entries[entry.path] = entry
        except (OSError, UnicodeDecodeError, csv.Error):
            ours = False
        if not ours:
            raise QueryError(f"There is a {MANIFEST} in that folder that no download wrote; name another folder.")
