"""The change log of an Orthanc: read as a frame, or watched, with the position kept in a file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pandas as pd

from orthanc_research.errors import QueryError, ResponseError
from orthanc_research.files import atomic_write, private_folder
from orthanc_research.rest import Rest
from orthanc_research.tables import changes_frame

__all__ = ["Change", "read", "watch"]

_PAGE = 1000


class Change(NamedTuple):
    """One entry of GET /changes; `Date` is the server's clock, UTC, as YYYYMMDDThhmmss."""

    Seq: int
    ChangeType: str
    ResourceType: str
    ID: str
    Date: str


def read(rest: Rest, since: int, limit: int | None) -> pd.DataFrame:
    """All changes after number `since`, at most `limit`: one request for 1,000."""
    if limit is not None and limit < 1:
        raise QueryError("limit is a number from 1.")
    found: list[dict[str, Any]] = []
    for page in _pages(rest, since, _PAGE if limit is None else min(_PAGE, limit)):
        found += page
        if limit is not None and len(found) >= limit:
            break
    return changes_frame(found[:limit])


def _pages(rest: Rest, since: int, size: int, *, strict: bool = False) -> Iterator[list[dict[str, Any]]]:
    """The log after `since`, page by page; with `strict`, `ResponseError` when the log ends before that."""
    while True:
        answer = rest.changes.read(since, size)
        last = int(answer["Last"])
        if strict and last < since:
            # Numbers only grow, also when the log is cleared or what they tell of is deleted.
            raise ResponseError(
                f"The change log of this Orthanc ends at {last}, before the position {since} that was kept: it is "
                "another server, or a new one at its address."
            )
        yield list(answer["Changes"])
        if answer["Done"] or last <= since:
            return
        since = last


def watch(
    rest: Rest,
    types: Sequence[str] | None,
    state: str | os.PathLike[str] | None,
    *,
    since: int | None,
    poll: float,
    idle: float | None,
) -> Iterator[Change]:
    """See `Orthanc.watch`."""
    position = _Position(rest.connection.url, state)
    at = position.load()
    here = at if at is not None else since if since is not None else int(rest.changes.last()["Last"])
    if at is None:
        position.save(here)  # or what happens before the first change that is seen would be lost to the next watch
    quiet = time.monotonic()
    while True:
        begun = here
        for page in _pages(rest, here, _PAGE, strict=True):
            for entry in page:
                change = Change(*(entry[name] for name in Change._fields))
                if types is None or change.ChangeType in types:
                    yield change
                    # Kept when the consumer asks for the next one: by then it has dealt with this one.
                    position.save(change.Seq)
                here = change.Seq
            position.save(here)
        if here != begun:
            quiet = time.monotonic()
        elif idle is not None and time.monotonic() - quiet >= idle:
            return
        else:
            time.sleep(poll)


class _Position:
    """Where a watcher is, in a file of its own."""

    def __init__(self, url: str, path: str | os.PathLike[str] | None) -> None:
        self._url = url
        self._kept: int | None = None
        self._path = None if path is None else Path(path)

    def load(self) -> int | None:
        if self._path is None or not self._path.exists():
            return None
        try:
            kept = orjson.loads(self._path.read_bytes())
            url, at = kept["url"], int(kept["seq"])
        except (ValueError, KeyError, TypeError):
            raise QueryError(f"{self._path.name} does not hold the position of a watch.") from None
        if url != self._url:
            raise QueryError(f"{self._path.name} holds the position in the change log of another Orthanc.")
        self._kept = at
        return at

    def save(self, seq: int) -> None:
        if self._path is None or seq == self._kept:
            return
        self._kept = seq
        private_folder(self._path.parent)
        with atomic_write(self._path) as stream:
            stream.write(orjson.dumps({"url": self._url, "seq": seq}))
