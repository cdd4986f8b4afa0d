"""What is refused before anything is sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orthanc_research import errors
from orthanc_research.rest import Rest


def refused(
    rest: Rest, send: Callable[[], object], error: type[Exception] = errors.QueryError, match: str | None = None
) -> None:
    """This raises such an error, and nothing was sent."""
    rest.capabilities()
    with rest.counting() as requests, pytest.raises(error, match=match):
        send()
    assert requests == []
