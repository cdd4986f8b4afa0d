"""Progress and cancel: one protocol that everything long takes as one argument.

A bar in a terminal or notebook is one implementation (`Bar`, over tqdm), silence another (`Silent`), a panel brings its
own. The worker asks `cancelled` between units; nothing is ever interrupted in the middle of a write.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from tqdm.auto import tqdm

__all__ = ["Bar", "Pace", "Progress", "Silent", "Within", "shown"]

_NOTES = 0.5  # seconds between two


@runtime_checkable
class Progress(Protocol):
    """What a long run tells, and asks. Called from any thread."""

    def total(self, count: int | None, unit: str = "") -> None:
        """How many units there will be, counted from none again; None when nobody knows. `unit` is the word for one."""

    def advance(self, count: int = 1) -> None:
        """So many more units (`count`) are done."""

    def note(self, text: str) -> None:
        """A short sentence about what happens now. Never a tag value."""

    @property
    def cancelled(self) -> bool:
        """True once the user wants it to stop; the run ends at the next unit and can be resumed."""

    def close(self) -> None:
        """No more news."""


class Silent(Progress):
    """Says nothing; `cancel()` still works."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def total(self, count: int | None, unit: str = "") -> None: ...

    def advance(self, count: int = 1) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask the run to stop at the next unit."""
        self._cancelled.set()


class Within(Silent):
    """For a part of a run: says nothing, and is cancelled when the whole is."""

    def __init__(self, whole: Progress) -> None:
        super().__init__()
        self._whole = whole

    @property
    def cancelled(self) -> bool:
        return self._whole.cancelled


class Pace(AbstractContextManager["Pace"]):
    """Notes how many MB (10⁶ bytes) went over the wire and how many a second, beside the units; now and at the end."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._start = self._last = time.monotonic()
        self._bytes = 0

    def add(self, count: int) -> None:
        """So many more bytes."""
        with self._lock:
            self._bytes += count
            now = time.monotonic()
            due = now - self._last >= _NOTES
            self._last = now if due else self._last
        if due:
            self._tell(now)

    def _tell(self, now: float) -> None:
        mb = self._bytes / 1e6
        self._progress.note(f"{mb:.1f} MB, {mb / max(now - self._start, 1e-3):.1f} MB/s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bytes:
            self._tell(time.monotonic())


class Bar(Silent, AbstractContextManager["Bar"]):
    """A tqdm bar: text in a terminal, a widget in a notebook."""

    def __init__(self, description: str = "", **options: Any) -> None:
        super().__init__()
        self._lock = threading.Lock()
        # A notebook's stream is no terminal and shows a widget all the same; a log file should hold no bars.
        options.setdefault("disable", False if "ipykernel" in sys.modules else None)
        self._bar: Any = tqdm(desc=description or None, leave=True, dynamic_ncols=True, **options)

    def total(self, count: int | None, unit: str = "") -> None:
        with self._lock:
            self._bar.reset()
            self._bar.total = count
            if unit:
                self._bar.unit = f" {unit}"
                self._bar.unit_scale = unit == "bytes"  # 168 M bytes, not 168265506
            self._bar.refresh()

    def advance(self, count: int = 1) -> None:
        with self._lock:
            self._bar.update(count)

    def note(self, text: str) -> None:
        with self._lock:
            self._bar.set_postfix_str(text)

    def close(self) -> None:
        with self._lock:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def shown(
    progress: Progress | bool | None, description: str, *, make: Callable[[str], Progress] = Bar
) -> Iterator[Progress]:
    """The progress to report to.

    None or True means a bar, which is closed at the end; False means silence; a `Progress` belongs to the caller, who
    closes it.
    """
    if progress is None or progress is True:
        with closing(make(description)) as bar:
            yield bar
    else:
        yield Silent() if progress is False else progress
