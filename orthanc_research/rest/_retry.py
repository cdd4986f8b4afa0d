"""When to send a request again, and how long to wait before: pure decisions, with tenacity doing the loop.

Five attempts in two minutes, full jitter between 0.5 and 20 s, Retry-After honoured up to five minutes, and one budget
of retries for all threads of a client, so that eight workers do not storm one small server. A request whose outcome is
unknown is sent again only when that does no harm; a first connection that is refused fails at once.
"""

from __future__ import annotations

import email.utils
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_after_delay

from orthanc_research import parallel
from orthanc_research.errors import DeadlineError, OrthancError, ResponseError, UnreachableError
from orthanc_research.rest._call import Call
from orthanc_research.rest._errors import tls_failure, transient

__all__ = ["Budget", "Policy", "once", "retry_after"]

ATTEMPTS = 5
SECONDS = 120.0
LONGEST_RETRY_AFTER = 300.0


_once: ContextVar[bool] = ContextVar("orthanc_research_once", default=False)


@contextmanager
def once() -> Iterator[None]:
    """Within, on this thread, a request that fails is not sent again: for who is there to ask again, or polls.

    But for the first one that breaks: a server that was restarted has closed the connections that are kept.
    """
    token = _once.set(True)
    try:
        yield
    finally:
        _once.reset(token)


class Budget:
    """Retries that all threads of a client share: each costs one, each success earns one back, up to `most`."""

    def __init__(self, most: int = 100) -> None:
        self._most = most
        self._left = most
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Take one; False when none is left."""
        with self._lock:
            if self._left <= 0:
                return False
            self._left -= 1
            return True

    def earn(self) -> None:
        """A request went well."""
        with self._lock:
            self._left = min(self._most, self._left + 1)


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date), at most five minutes; None for nonsense."""
    if not value:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        seconds = float(value[:12])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


class Policy:
    """The decisions for one client."""

    def __init__(self, *, pause: Callable[[float], Any] = parallel.pause) -> None:
        self.reached = False  # whether this server ever answered
        self.budget = Budget()
        self._pause = pause

    def again(self, call: Call[Any], error: BaseException, attempt: int) -> bool:
        """True when this failure of this request is worth another attempt."""
        if not isinstance(error, OrthancError) or not self._worth(call, error, attempt):
            return False
        if _once.get() and not (attempt == 1 and isinstance(error, UnreachableError) and not _refused(error)):
            return False
        return self.budget.spend()

    def _worth(self, call: Call[Any], error: OrthancError, attempt: int) -> bool:
        cause = error.__cause__
        if isinstance(error, UnreachableError) and _refused(error):
            # Nothing was sent, so even a POST that must not be repeated may be: but only to a server that was there.
            return self.reached and tls_failure(cause) is None
        if not call.repeatable:
            return False
        if isinstance(error, UnreachableError | DeadlineError):
            return True
        if isinstance(error, ResponseError):
            return error.status is None and isinstance(cause, httpx.DecodingError)
        return transient(error) and (error.status != 500 or attempt == 1)

    def loop(self, call: Call[Any]) -> Retrying:
        """Tenacity's loop for a call on the sync client."""
        return Retrying(**self._options(call), sleep=self._pause)

    def async_loop(self, call: Call[Any]) -> AsyncRetrying:
        """Tenacity's loop for a call on the async client."""
        return AsyncRetrying(**self._options(call))

    def _options(self, call: Call[Any]) -> dict[str, Any]:
        number = 0

        def again(error: BaseException) -> bool:
            nonlocal number
            number += 1
            return self.again(call, error, number)

        return {
            "retry": retry_if_exception(again),
            "wait": _wait,
            "stop": stop_after_attempt(ATTEMPTS) | stop_after_delay(SECONDS),
            "reraise": True,
        }


def _refused(error: OrthancError) -> bool:
    """Whether there was no connection to send anything over."""
    return isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout)


def _wait(state: RetryCallState) -> float:
    asked = getattr(state.outcome.exception(), "retry_after", None) if state.outcome else None
    if asked is not None:
        return float(asked)
    return random.uniform(0.5, min(20.0, 0.5 * 2.0**state.attempt_number))  # noqa: S311 - jitter, not a secret
