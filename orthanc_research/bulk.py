"""Any number of resources, a page of them a request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from orthanc_research.rest import Level, Rest

__all__ = ["LISTED", "PAGE", "contents", "listed", "pages"]

# Resources a request: half a second of a small server, and some MB of answer.
PAGE = 1000
# UIDs a request: Orthanc holds each answer against each of them.
LISTED = 300

T = TypeVar("T")


def pages(items: Iterable[T], size: int = PAGE) -> Iterator[Sequence[T]]:
    """The items in lists of `size`, the last one shorter; none for no items."""
    every = list(items)
    return (every[start : start + size] for start in range(0, len(every), size))


def contents(rest: Rest, ids: Iterable[str], level: Level | None = None) -> Iterator[Mapping[str, Any]]:
    """What the server says of each resource, or of those of `level` above or below it; nothing of those it has not."""
    for page in pages(dict.fromkeys(ids)):
        yield from rest.tools.bulk_content(page, level)


def listed(rest: Rest, level: Level, keyword: str, uids: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """What the server (1.12.5) says of the resources with one of these UIDs, of whatever patient: by finds.

    With SQLite, Orthanc 1.12.5 to 1.13.0 goes through all that it has for each look-up by ID, and not for these.
    """
    for page in pages(dict.fromkeys(uids), LISTED):
        yield from rest.tools.search(
            level, {keyword: "\\".join(page)}, response_content=("Parent", "Children", "MainDicomTags")
        )
