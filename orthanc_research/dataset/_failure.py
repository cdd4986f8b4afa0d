"""Why a series was not built, as its row says it: what is wrong with it for good, and what may go well next time."""

from __future__ import annotations

import errno
import os
from typing import Any

import pyarrow as pa

from orthanc_research.errors import (
    AccessError,
    CancelledError,
    Error,
    NotFoundError,
    OrthancError,
    ServerError,
)
from orthanc_research.export.plan import ChangedError
from orthanc_research.fetch import DamagedError
from orthanc_research.rest import is_server_gone

__all__ = ["failed", "is_full"]

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException) -> bool:
    """Whether there is no room on the disk, or none that this user may have."""
    return isinstance(error, OSError) and error.errno in _NO_SPACE


def failed(error: Exception, needed: int) -> dict[str, Any]:
    """The row of a series: `status`, `error`, and `over` where every other series would fail in the same way.

    `needed` are the bytes that it may take. "failed" is for good: its files are damaged, or say what cannot be. An
    Orthanc answers 500 or 404 for a file that is gone from its own disk, while the series is as it was.
    """
    if isinstance(error, OSError) and not isinstance(error, Error):
        if is_full(error):
            reason = f"The disk is full: this series needs up to {needed / 1e6 + 1:.0f} MB; make room and go on."
        else:
            reason = f"A file cannot be read or written ({os.strerror(error.errno) if error.errno else 'no reason'})."
    elif isinstance(error, Error | ChangedError):
        reason = str(error)
    elif isinstance(error, pa.ArrowException | ValueError | OverflowError):
        reason = f"Its values cannot be written ({type(error).__name__})."
    else:
        reason = f"It could not be built ({type(error).__name__})."
    over = isinstance(error, AccessError) or (isinstance(error, OrthancError) and is_server_gone(error))
    return {
        "status": "not-done" if _passes(error) else "failed",
        "error": reason,
        "over": over or is_full(error),
    }


def _passes(error: Exception) -> bool:
    if isinstance(error, DamagedError | NotFoundError) or (isinstance(error, ServerError) and error.status == 500):
        return False
    return isinstance(error, OrthancError | OSError | ChangedError | CancelledError | MemoryError)
