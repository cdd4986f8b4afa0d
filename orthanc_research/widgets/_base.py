"""`Panel`: what every screen is. A widget, a status line, work on a thread of its own that can be cancelled, and
results in Python.

An exception or a print in a handler or a thread is invisible in a notebook: every handler is a `guard`ed method and
every long step a `task`, and both end in the status line. Work is never done in a handler, which would hear of Cancel
only at its own end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any, TypeVar

import ipywidgets
import traitlets

from orthanc_research import rest
from orthanc_research.errors import CancelledError, UnreachableError
from orthanc_research.markup import escape
from orthanc_research.parallel import reporting
from orthanc_research.progress import Progress
from orthanc_research.widgets._guard import guard, sentence, text
from orthanc_research.widgets._style import style
from orthanc_research.widgets._told import Told

__all__ = ["Panel"]

_LEAVE = 10.0  # seconds that a thread of a closed panel is waited for
_STOPPING = "Stopping …"

T = TypeVar("T")


class Panel(traitlets.HasTraits):
    """A screen in a notebook: show it by naming it in a cell; as often as you like, all views stay in step.

    `selected` is what is chosen (each screen says what), `status` the last line said, `failed` whether that is a
    failure, `busy` whether work is under way. `close()` ends its work and takes it off every cell.
    """

    selected = traitlets.Any(None, allow_none=True)
    status = traitlets.Unicode("", read_only=True)
    failed = traitlets.Bool(False, read_only=True)
    busy = traitlets.Bool(False, read_only=True)

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        # The exception behind the last failure, for who wants to look at it.
        self.failure: BaseException | None = None
        self._lock = threading.RLock()
        self._run: _Run | None = None
        self._threads: list[threading.Thread] = []
        self._away: str | None = None
        self._closed = False
        self._line = ipywidgets.HTML(_line("", failed=False))
        self._line.add_class("ores-status")
        self._bar = ipywidgets.IntProgress(layout={"width": "12em"})
        self._news = text("")
        self._stop = ipywidgets.Button(description="Cancel", layout={"width": "auto"})
        self._stop.add_class("ores-cancel")
        self._stop.on_click(self._on_cancel)
        self._working = ipywidgets.HBox([self._bar, self._news, self._stop], layout={"visibility": "hidden"})
        self._working.add_class("ores-working")
        self.widget = ipywidgets.VBox()
        self.widget.add_class("ores")
        self.widget.add_class(f"ores-{type(self).__name__.lower()}")
        self.widget._view_count = 0  # None would mean that nobody tells
        self.widget.observe(self._on_view, "_view_count")

    def _compose(self, children: Sequence[ipywidgets.Widget], below: Sequence[ipywidgets.Widget] = ()) -> None:
        """Put the screen's own widgets between its title and its status line; `below` comes after that."""
        title = text(self.title, classes="ores-title")
        self.widget.children = (style(), title, *children, self._working, self._line, *below)

    @guard
    def _on_view(self, change: Any) -> None:
        """Say everything once more to whoever shows it now.

        A page of Voilà reads all widgets and then makes them; what a thread changes between the two is lost to it.
        """
        with self._lock:
            if change["new"] and change["new"] > (change["old"] or 0) and not self._closed:
                _tell(self.widget)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        # A closed widget has no view: the browser would show an error of its own in its place.
        return {"text/plain": repr(self)} if self._closed else self.widget._repr_mimebundle_(**options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{' busy' if self.busy else ''}{' closed' if self._closed else ''}>"

    # -- what it says -------------------------------------------------------------------------------------------------

    def say(self, sentence: str, *, failed: bool = False) -> None:
        """Put a sentence into the status line; a screen reader reads it out."""
        with self._lock:
            if self._closed:
                return
            self.set_trait("failed", failed)
            self.set_trait("status", sentence)
            self._line.value = _line(sentence, failed=failed)

    def fail(self, failure: BaseException) -> None:
        """Say what went wrong. What is on the screen stays there."""
        with self._lock:
            self.failure = failure
            if isinstance(failure, UnreachableError):
                self._away = self._away or f"{datetime.now().astimezone():%H:%M:%S}"
                since = f" Away since {self._away}; what is shown is from before that."
                self.say(f"{failure}{since}", failed=True)
            elif isinstance(failure, CancelledError):
                self.say("Cancelled.")
            else:
                self.say(sentence(failure), failed=True)

    def _returned(self) -> None:
        """What was asked for was answered: who is not away any more is said to be back."""
        with self._lock:
            if self._away is not None:
                self._away = None
                self.say("The server answers again.")

    # -- what it does -------------------------------------------------------------------------------------------------

    def task(self, what: str, work: Callable[[Progress], T], done: Callable[[T], None], *, once: bool = False) -> None:
        """Do `work(progress)` on a thread, then `done(result)` there; a task that comes later makes this one nothing.

        `work` may take long: it gets the progress that this panel shows and Cancel reaches. `done` puts the result on
        the screen; it is called only while this is the newest task. Failures of both are said. `once` is for what the
        user can ask for again: a server that is away is said so at once, not after a quarter of a minute of retries.
        """
        with self._lock:
            if self._closed:
                return
            if self._run is not None:
                self._run.progress.cancel()
            run = self._run = _Run(Told(self._news_of), what, once)
            thread = threading.Thread(target=self._work, args=(run, work, done), name="orthanc-research-panel")
            self._threads = [each for each in self._threads if each.is_alive()]
            self._threads.append(thread)
            self._show(0, None, what)
            self._working.layout.visibility = "visible"
            self.set_trait("busy", True)
            thread.start()

    def _work(self, run: _Run, work: Callable[[Progress], T], done: Callable[[T], None]) -> None:
        try:
            with reporting(run.progress, run.what) as progress, rest.once() if run.once else nullcontext():
                result = work(progress)
            with self._lock:
                if self._run is run:
                    self._returned()  # before what `done` says, which may be nothing
                    done(result)
        except BaseException as failure:  # noqa: BLE001  # nobody sees what a thread raises
            with self._lock:
                if self._run is run:
                    self.fail(failure)
        finally:
            with self._lock:
                run.progress.close()
                if self._run is run:
                    if self.status == _STOPPING:
                        self.say("It was done before it could be stopped.")
                    self._run = None
                    self._working.layout.visibility = "hidden"
                    self.set_trait("busy", False)

    @guard
    def _on_cancel(self, _: Any) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Ask the work under way to stop; it does so at its next unit, and says how far it came."""
        with self._lock:
            if self._run is not None:
                self._run.progress.cancel()
                self.say(_STOPPING)

    def drop(self) -> None:
        """As if the work under way had not been asked for: nothing more is said or shown of it."""
        with self._lock:
            if self._run is not None:
                self._run.progress.cancel()
                self._run.progress.close()
                self._run = None
                self._working.layout.visibility = "hidden"
                self.set_trait("busy", False)

    def wait(self, seconds: float = 60) -> bool:
        """Until no work is under way; False when some still is after `seconds`. For scripts and tests."""
        until = time.monotonic() + seconds
        while self.busy and time.monotonic() < until:
            time.sleep(0.01)
        return not self.busy

    def close(self) -> None:
        """End the work under way and take the panel off every cell; its results stay."""
        with self._lock:
            if self._closed:
                return
            self.drop()
            self._closed = True
        until = time.monotonic() + _LEAVE
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))
        _close(self.widget)

    def _news_of(self, progress: Told, count: int, total: int | None, note: str) -> None:
        with self._lock:
            if self._run is not None and self._run.progress is progress:
                self._show(count, total, note)

    def _show(self, count: int, total: int | None, note: str) -> None:
        """The bar and the words beside it."""
        self._bar.max = max(total or 1, 1)
        self._bar.value = min(count, self._bar.max) if total else 0
        of = f"{count:,} of {total:,}" if total else f"{count:,}" if count else ""
        self._news.value = f"<span>{escape(' · '.join(part for part in (of, note) if part))}</span>"


class _Run:
    """One task: what it is, and how it is told to stop."""

    def __init__(self, progress: Told, what: str, once: bool) -> None:
        self.progress = progress
        self.what = what
        self.once = once


def _line(sentence: str, *, failed: bool) -> str:
    kind = ' class="failed"' if failed else ""
    return f'<div role="status" aria-live="polite"><span{kind}>{escape(sentence)}</span></div>'


def _tell(widget: ipywidgets.Widget) -> None:
    for child in getattr(widget, "children", ()):
        _tell(child)
    widget.send_state()


def _close(widget: ipywidgets.Widget) -> None:
    for child in getattr(widget, "children", ()):
        _close(child)
    widget.close()
