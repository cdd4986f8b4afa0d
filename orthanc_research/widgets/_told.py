"""`Told`: the progress of work that a screen shows, no faster than a browser follows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from orthanc_research.progress import Silent

__all__ = ["Told"]

_A_SECOND = 10  # trait updates; more of them and the browser falls behind


class Told(Silent):
    """Calls `show(self, count, total, note)` at most ten times a second, and then with what is newest."""

    def __init__(self, show: Callable[[Told, int, int | None, str], None]) -> None:
        super().__init__()
        self._show = show
        self._guard = threading.Lock()
        self._count, self._total, self._unit, self._note = 0, 0, "", ""
        self._next = 0.0
        self._later: threading.Timer | None = None
        self._over = False

    def total(self, count: int | None, unit: str = "") -> None:
        with self._guard:
            self._count, self._total, self._unit = 0, count or 0, unit
        self._tell()

    def advance(self, count: int = 1) -> None:
        with self._guard:
            self._count += count
        self._tell()

    def note(self, text: str) -> None:
        with self._guard:
            self._note = text
        self._tell()

    def close(self) -> None:
        with self._guard:
            self._over = True
            if self._later is not None:
                self._later.cancel()

    def _tell(self) -> None:
        """Show the state now, or as soon as it may be: what comes last is not lost when nothing comes after it."""
        with self._guard:
            wait = self._next - time.monotonic()
            if self._over or self._later is not None:
                return
            if wait > 0:
                self._later = threading.Timer(wait, self._tell_late)
                self._later.daemon = True
                self._later.start()
                return
            self._next = time.monotonic() + 1 / _A_SECOND
            count, total, note = self._count, self._total, f"{self._unit} {self._note}".strip()
        self._show(self, count, total or None, note)

    def _tell_late(self) -> None:
        with self._guard:
            self._later = None
        self._tell()
