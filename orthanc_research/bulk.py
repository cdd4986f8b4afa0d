"""Any number of resources, a page of them a request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from orthanc_research.rest import Level, Rest

__all__ = ["PAGE", "contents", "pages"]

# Resources a request: half a second of a small server, and some MB of answer.
PAGE = 1000

T = TypeVar("T")


def pages(items: Iterable[T]) -> Iterator[Sequence[T]]:
    """The items in lists of `PAGE`, the last one shorter; none for no items."""
    listed = list(items)
    return (listed[start : start + PAGE] for start in range(0, len(listed), PAGE))


def contents(rest: Rest, ids: Iterable[str], level: Level | None = None) -> Iterator[Mapping[str, Any]]:
    """What the server says of each resource, or of those of `level` above or below it; nothing of those it has not."""
    for page in pages(dict.fromkeys(ids)):
        yield from rest.tools.bulk_content(page, level)
