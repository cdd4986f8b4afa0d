"""`JobMonitor`: the jobs of a server, as they go; to cancel, pause, resume and resubmit."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import ipywidgets
import pandas as pd

from orthanc_research.errors import CancelledError, OrthancError, QueryError
from orthanc_research.orthanc import Orthanc
from orthanc_research.parallel import reporting
from orthanc_research.progress import Progress, Silent
from orthanc_research.rest import Job, once
from orthanc_research.widgets._base import Panel
from orthanc_research.widgets._form import Confirm, button, call, show_call
from orthanc_research.widgets._guard import guard
from orthanc_research.widgets._table import Table

__all__ = ["JobMonitor"]

_FIRST, _LAST, _GROWS = 0.2, 2.0, 1.5  # seconds between two looks
_COLUMNS = ("Type", "State", "Progress", "Created", "Ends", "What", "Error")
_HEADS = {"Created": "Started (UTC)", "Ends": "Ends (UTC)"}
_ENDED = ("Success", "Failure", "Forgotten")
_BAR = 10
_PAST = {"cancel": "Cancelled", "pause": "Paused", "resume": "Resumed", "resubmit": "Resubmitted"}


class JobMonitor(Panel):
    """The jobs of a server, newest first: `JobMonitor(orthanc)` in a cell; `jobs=[…]` for these alone.

    Jobs that come while it is open stand below the others, so that no row moves away from under a click; "Newest
    first" puts them on top.

    `results` is all of them as `orthanc.jobs()` gives them, `selected` the rows that are chosen. A job that the server
    forgets before its end was seen stays, as "Forgotten": its result is unknown. It looks every 0.2 s while something
    changes and every 2 s while nothing does, until `close()`.
    """

    def __init__(self, orthanc: Orthanc, jobs: Sequence[Job | str] | None = None) -> None:
        super().__init__("Jobs")
        self._orthanc = orthanc
        self._only = None if jobs is None else [job.id if isinstance(job, Job) else str(job) for job in jobs]
        self.results = pd.DataFrame()
        self._asked: list[str] = []
        self._soon = threading.Event()
        self._blind: BaseException | None = None  # why the last look that failed did
        self._watch = Silent()
        self.table = Table(_COLUMNS, label="Jobs", heads=_HEADS, cell=_cell, whole=True)
        self.table.observe(lambda _: self._on_choice(), "chosen")
        self._cancel = Confirm("Cancel jobs", self._ask, self._cancel_asked)
        self._cancel.first.add_class("ores-job-cancel")
        self._call = call()
        show_call(self._call, "orthanc.jobs", {} if self._only is None else {"only": self._only})
        verbs = ("pause", "resume", "resubmit")
        actions = [button(verb.capitalize(), f"ores-job-{verb}", partial(self._on_action, verb)) for verb in verbs]
        self._newest = button("Newest first", "ores-job-newest", self._on_newest)
        self._newest.disabled = True
        self._compose([self._call, self.table.widget, ipywidgets.HBox([self._cancel.widget, *actions, self._newest])])
        self._on_choice()
        # Nobody waits for it: a script that ends without close() ends.
        self._poller = threading.Thread(target=self._poll, name="orthanc-research-jobs", daemon=True)
        self._threads.append(self._poller)
        self._poller.start()

    def close(self) -> None:
        """End the looking and the work under way, and take the panel off every cell; the jobs go on."""
        self._watch.cancel()
        self._soon.set()
        super().close()

    # -- looking ------------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        pause = 0.0
        with reporting(self._watch, "jobs"):
            while True:
                self._soon.wait(pause)
                if self._watch.cancelled:
                    return
                if self._soon.is_set():
                    self._soon.clear()
                    pause = 0.0
                changed = self._look()
                pause = _FIRST if changed or not pause else min(pause * _GROWS, _LAST)

    def _look(self) -> bool:
        """Ask once; whether anything is new."""
        try:
            with once():  # it asks again in a moment, and leaves the retries of this client to others
                frame = self._orthanc.jobs(before=self.results, only=self._only)
            with self._lock:
                if self._closed:
                    return False
                if self.failed and self._blind is not None and self.failure is self._blind:
                    self.say("")
                self._returned()
                if frame.equals(self.results):
                    return False
                self._show_jobs(_where_they_were(frame, self.table.frame))
                self.results, self.selected = frame, self.table.selected  # once they are on the screen
                return True
        except CancelledError:
            return False
        except Exception as failure:  # noqa: BLE001  # a thread has no caller who would see it
            self._blind = failure
            self.fail(failure)
            return False

    def _show_jobs(self, frame: pd.DataFrame) -> None:
        self.table.show(frame, keep=True)
        self._newest.disabled = bool(frame["Created"].is_monotonic_decreasing)

    @guard
    def _on_newest(self) -> None:
        with self._lock:
            self._show_jobs(self.results)

    # -- acting -------------------------------------------------------------------------------------------------------

    @guard
    def _on_choice(self) -> None:
        self.selected = self.table.selected

    def _chosen(self) -> pd.DataFrame:
        rows = self.table.selected
        if rows.empty:
            raise QueryError("Choose jobs first.")
        return rows

    @guard
    def _ask(self) -> str:
        """The question; it holds for the jobs that were chosen when it was asked, wherever rows go meanwhile."""
        rows = self._chosen()
        running = rows[~rows["State"].isin(_ENDED)]
        if running.empty:
            raise QueryError("All jobs that are chosen have ended.")
        self._asked = list(running.index)
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(running["Type"]).items())
        return f"Cancel {len(running):,} job{'s' if len(running) > 1 else ''} ({kinds})?"

    @guard
    def _cancel_asked(self) -> None:
        self._act("cancel", self._asked)

    @guard
    def _on_action(self, verb: str) -> None:
        self._act(verb, list(self._chosen().index))

    def _act(self, verb: str, jobs: list[str]) -> None:
        def work(progress: Progress) -> list[str | None]:
            progress.total(len(jobs), "jobs")
            said = []
            for job in jobs:
                if progress.cancelled:
                    break
                said.append(_refusal(self._orthanc, verb, job))
                progress.advance()
            return said

        def done(said: list[str | None]) -> None:
            self._soon.set()
            refused = [each for each in said if each]
            parts = [f"{_PAST[verb]}: {len(said) - len(refused):,} of {len(jobs):,} jobs."]
            if len(said) < len(jobs):
                parts.append(f"It was stopped after {len(said):,}.")
            self.say(" ".join([*parts, *refused[:1]]), failed=bool(refused))

        self.task(verb, work, done, once=True)


def _where_they_were(frame: pd.DataFrame, shown: pd.DataFrame) -> pd.DataFrame:
    """The jobs that are shown in the order in which they are, and those that are new below them, the newest last.

    A browser tells the place of a row that was clicked, not which job it was: were another job there by now, a click
    on one would cancel its neighbour.
    """
    if shown.empty:
        return frame
    new = frame.index.difference(shown.index, sort=False)
    return frame.loc[[*shown.index.intersection(frame.index, sort=False), *new[::-1]]]


def _refusal(orthanc: Orthanc, verb: str, job: str) -> str | None:
    """Why one job was not told; None when it was. What all others would meet too is raised."""
    try:
        getattr(orthanc.job(job), verb)()
    except OrthancError as error:
        if error.status is None or error.status in (401, 403):
            raise
        return str(error)
    return None


def _cell(column: str, value: Any) -> str | None:
    if column == "Progress" and not pd.isna(value):
        full = min(max(int(value), 0), 100) * _BAR // 100
        return "▓" * full + "░" * (_BAR - full) + f" {int(value):>3} %"
    return "forgotten, result unknown" if column == "State" and value == "Forgotten" else None
