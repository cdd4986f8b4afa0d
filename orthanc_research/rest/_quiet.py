"""Keep our requests out of other people's logs.

httpx logs each URL at INFO, and ours hold identifiers; whoever turns logging on should not collect them by accident.
Only what this package sends is silenced, for the thread or task that sends it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["quiet"]

_ours: ContextVar[bool] = ContextVar("orthanc_research_quiet", default=False)


class _Filter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _ours.get()


_FILTER = _Filter()
# A logger's filter does not hold for its children, so each one that speaks is named.
_NAMES = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.socks")
_LOGGERS = [logging.getLogger(name) for name in _NAMES]


@contextmanager
def quiet() -> Iterator[None]:
    """No log record of httpx or httpcore within."""
    for logger in _LOGGERS:
        logger.addFilter(_FILTER)  # adding it twice does nothing
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)
