"""pydicom without its warnings, which quote the values that they complain of, in warnings and in its log alike."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["quiet"]

_LOGGER = logging.getLogger("pydicom")
_guard = threading.Lock()
_within = 0
_entry: Any = None


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of pydicom's is shown or logged within, on any thread; what matters of it is an issue of the dataset.

    Counted, and not `warnings.catch_warnings`, which threads that end in another order than they began would mix up.
    """
    global _within, _entry
    with _guard:
        _within += 1
        if _within == 1:
            _LOGGER.addFilter(_nothing)
            warnings.filterwarnings("ignore", module=r"(pydicom|orthanc_research)\b")
            _entry = warnings.filters[0]
    try:
        yield
    finally:
        with _guard:
            _within -= 1
            if _within == 0:
                _LOGGER.removeFilter(_nothing)
                with suppress(ValueError, AttributeError):  # somebody's catch_warnings ended meanwhile
                    warnings.filters.remove(_entry)  # type: ignore[attr-defined]


def _nothing(record: logging.LogRecord) -> bool:
    return record.levelno < logging.WARNING
