"""A run: what became of each row of a plan, and what can be asked of it afterwards."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from orthanc_research.cards import bar, card, tally
from orthanc_research.progress import Progress
from orthanc_research.release._rows import Line, RunRow
from orthanc_research.release._store import Store

__all__ = ["RUN_COLUMNS", "Run", "ledger"]

# column → dtype of `Run.frame`, which is indexed by the SeriesInstanceUID in the source
RUN_COLUMNS = {
    "status": "str",
    "error": "str",
    "notice": "str",
    "Modality": "str",
    "PatientID": "str",
    "NewSeriesInstanceUID": "str",
    "instances": "Int64",
    "done": "Int64",
    "failed": "Int64",
    "conflict": "Int64",
    "left": "Int64",
    "bytes": "Int64",
}
_LEFT = ("planned", "running", "stored")
_KEPT = ("verified", "done")
_OPEN = {
    "open": "Something is left to do: project.resume().",
    "partial": "Some instances were not released: run.failures says why.",
    "unverified": "The check across all copies did not pass: do not release them.",
}


class Owner(Protocol):
    """What a run asks of its project."""

    def reading(self) -> AbstractContextManager[Store]:
        """Its file, to read."""

    def verify(self, run: int, *, workers: int, progress: Progress | bool | None) -> pd.DataFrame:
        """See `Run.verify`."""

    def report(self, run: int, path: str | os.PathLike[str]) -> Path:
        """See `Run.report`."""

    def manifest(self, run: int, path: str | os.PathLike[str]) -> Path:
        """See `Run.manifest`."""


class Run:
    """One run of a project, as its journal has it now. Made by `Plan.run`, `Project.resume` and `Project.runs`."""

    def __init__(self, project: Owner, number: int, halted: str | None = None) -> None:
        self._project = project
        self.number = number
        self.halted = halted

    @property
    def state(self) -> str:
        """What became of it: "open" while something is left to do, else "done", "partial" or "unverified".

        "partial": some planned instances failed or were in conflict; "unverified": the check of the whole did not pass.
        """
        return self._row().state

    @property
    def frame(self) -> pd.DataFrame:
        """A row for every series of the plan, with `RUN_COLUMNS`.

        `status` is "done"; "failed" and "partial" (none, or not all, of its instances could be released: `failures`
        says why); "conflict" (the target has other copies, which stay); "blocked"; "rolled-back"; or "not-done":
        the run stopped before.
        """
        with self._project.reading() as store:
            return ledger(store, self.number, self._row(store), self.halted)

    @property
    def failures(self) -> pd.DataFrame:
        """The instances that were not released: columns SOPInstanceUID (in the source), `status`, `error`."""
        with self._project.reading() as store:
            found = store.errors(self.number)
        columns = ["SOPInstanceUID", "status", "error"]
        frame = pd.DataFrame([each[1:] for each in found], columns=columns).astype(dict.fromkeys(columns, "str"))
        frame.index = pd.Index([each[0] for each in found], name="SeriesInstanceUID", dtype="str")
        return frame

    @property
    def verdict(self) -> Any:
        """What the check across all copies of the project said at the end; None before that."""
        with self._project.reading() as store:
            return store.verdict(self.number)

    def verify(self, *, workers: int = 2, progress: Progress | bool | None = None) -> pd.DataFrame:
        """Read all copies from the target and hold them against the originals again: a row a series.

        Columns: `status` ("verified", "failed"), `error`, `instances`. The check of the whole, the row "*", is made
        anew from what was read.
        """
        return self._project.verify(self.number, workers=workers, progress=progress)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write a self-contained HTML report: pseudonyms, new UIDs, rules, checks, what text is left, and pictures.

        It holds nothing of the source, but every text of the copies, and a picture of each series that may show text.
        """
        return self._project.report(self.number, path)

    def manifest(self, path: str | os.PathLike[str]) -> Path:
        """Write a JSON that may go with the data: pseudonyms, new UIDs, counts, profile, key id, versions."""
        return self._project.manifest(self.number, path)

    def _row(self, store: Store | None = None) -> RunRow:
        if store is None:
            with self._project.reading() as opened:
                return self._row(opened)
        return next(row for row in store.runs() if row.id == self.number)

    def __repr__(self) -> str:
        return f"<Run {self.number}: {self.state}>"

    def _repr_html_(self) -> str:
        frame, state = self.frame, self.state
        counts = {
            str(status): (len(rows), int(rows["instances"].sum()), int(rows["done"].sum()))
            for status, rows in frame.groupby("status", sort=True)
        }
        table = tally(counts, ("series", "instances", "released"))
        due = frame[["done", "failed", "conflict", "left"]].to_numpy(dtype="int64").sum()
        kept = int(frame["done"].sum())
        shown = bar(100 * kept / due if due else 100, {"done": "done", "open": ""}.get(state, "failed"))
        notes = [_OPEN[state]] if state in _OPEN else []
        return card("run", f"Run {self.number} of a release: {state}", [], parts=[shown, table], notes=notes)


def ledger(store: Store, run: int, about: RunRow, halted: str | None = None) -> pd.DataFrame:
    """The frame of a run."""
    counts, lines, patients = store.counts(run), store.lines(run), store.patients()
    reasons: dict[str, str] = {}
    for row, _, _, error in store.errors(run):
        reasons.setdefault(row, error)
    series = {unit.row: unit.new_series for unit in store.units(run)}
    rows = []
    for line in lines:
        of = counts.get(line.row, {})
        status, error = _status(line, of, about.state, reasons.get(line.row, ""), halted)
        named = patients.get(line.identity)
        rows.append(
            {
                "status": status,
                "error": error or None,
                "notice": line.notice or None,
                "Modality": line.modality or None,
                "PatientID": named.pseudonym if named else None,
                "NewSeriesInstanceUID": series.get(line.row),
                "instances": line.instances,
                "done": sum(of.get(each, 0) for each in _KEPT),
                "failed": of.get("failed", 0),
                "conflict": of.get("conflict", 0),
                "left": sum(of.get(each, 0) for each in _LEFT),
                "bytes": line.bytes,
            }
        )
    frame = pd.DataFrame(rows, columns=list(RUN_COLUMNS)).astype(RUN_COLUMNS)
    frame.index = pd.Index([line.row for line in lines], name="SeriesInstanceUID", dtype="str")
    return frame


def _status(line: Line, of: Mapping[str, int], state: str, reason: str, halted: str | None) -> tuple[str, str]:
    if line.status != "planned":
        return line.status, line.reason
    left = sum(of.get(each, 0) for each in _LEFT)
    kept = sum(of.get(each, 0) for each in _KEPT)
    if left:
        return "not-done", f"{halted or 'The run was interrupted.'} project.resume() does the rest."
    if of.get("rolled-back"):
        return "rolled-back", ""
    if of.get("conflict"):
        return "conflict", reason
    if of.get("failed"):
        return ("partial" if kept else "failed"), reason
    if state == "unverified":
        return "failed", "The check across all copies failed: see run.verdict and run.report."
    if state == "open":
        return "not-done", f"{halted or 'The run was interrupted.'} project.resume() does the rest."
    return "done", ""
