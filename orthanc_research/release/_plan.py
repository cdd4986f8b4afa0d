"""A plan: a row a series, what keeps each back, what becomes of it; nothing is stored before it runs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from orthanc_research.cards import card, tally
from orthanc_research.errors import QueryError
from orthanc_research.progress import Progress
from orthanc_research.release._draft import Draft
from orthanc_research.release._pictures import pictures, spread
from orthanc_research.release._places import check_house
from orthanc_research.release._preview import preview
from orthanc_research.release._records import write_page
from orthanc_research.release._report import render

if TYPE_CHECKING:
    from orthanc_research.release._run import Run
    from orthanc_research.release._setting import Setting

__all__ = ["PLAN_COLUMNS", "Plan"]

# column → dtype of `Plan.frame`, which is indexed by the SeriesInstanceUID in the source
PLAN_COLUMNS = {
    "status": "str",
    "reason": "str",
    "notice": "str",
    "Modality": "str",
    "PatientID": "str",
    "instances": "Int64",
    "to_do": "Int64",
    "new": "Int64",
    "changed": "Int64",
    "bytes": "Int64",
}


class Plan:
    """What a run would do. Made by `Project.plan`; it holds for as long as source, target and project stay as they are.

    `notice` "burned-in" says that pixels may show whose they are, "face" that images of a head may show a face: this
    package removes neither.
    """

    def __init__(self, draft: Draft, setting: Setting, start: Callable[[Plan, int, Executor | None, Any], Run]) -> None:
        self._draft = draft
        self._setting = setting
        self._start = start

    @property
    def frame(self) -> pd.DataFrame:
        """A row a series: `status` is "planned", "blocked", "conflict" or "done", and `reason` says why.

        `PatientID` is the pseudonym. Files that cannot be read are rows too, under a code that stands for their path.
        """
        todo = Counter(unit.row for unit in self._draft.units)
        rows = []
        for line in self._draft.lines:
            named = self._draft.named.get(line.identity)
            delta = self._draft.deltas.get(line.row, Counter())
            rows.append(
                {
                    "status": line.status,
                    "reason": line.reason or None,
                    "notice": line.notice or None,
                    "Modality": line.modality or None,
                    "PatientID": named.pseudonym if named else None,
                    "instances": line.instances,
                    "to_do": todo[line.row],
                    "new": delta["new"],
                    "changed": delta["changed"],
                    "bytes": line.bytes,
                }
            )
        frame = pd.DataFrame(rows, columns=list(PLAN_COLUMNS)).astype(PLAN_COLUMNS)
        frame.index = pd.Index([line.row for line in self._draft.lines], name="SeriesInstanceUID", dtype="str")
        return frame

    @property
    def problems(self) -> pd.DataFrame:
        """What keeps series back, with what to do about it: columns `problem`, `action`, `instances`."""
        found = self._draft.problems
        columns = {"problem": "str", "action": "str", "instances": "Int64"}
        frame = pd.DataFrame([each[1:] for each in found], columns=list(columns)).astype(columns)
        frame.index = pd.Index([each[0] for each in found], name="SeriesInstanceUID", dtype="str")
        return frame

    def files(self, row: str) -> list[str]:
        """Where the instances of a row are: Orthanc IDs, or paths below the folder. PHI, perhaps.

        `QueryError` for a row that the plan has not.
        """
        if row not in self._draft.keys:
            raise QueryError("The plan has no such row; rows are the index of plan.frame.")
        return list(self._draft.keys[row])

    def preview(self, row: str, *, instances: int = 1) -> pd.DataFrame:
        """What becomes of real instances of a row, element by element, with nothing stored. It shows originals: PHI.

        Columns: SOPInstanceUID (new), path, before, after. `DeidError` where an instance cannot be de-identified,
        `QueryError` for a row that the plan has not, or of which nobody knows whose it is.
        """
        keys = self.files(row)
        line = next(each for each in self._draft.lines if each.row == row)
        named = self._draft.named.get(line.identity)
        if named is None and not line.identity:
            raise QueryError("Nobody knows whose that row is; name a pseudonym for it in patient_ids first.")
        return preview(self._setting, named, keys[:instances])

    def contact_sheet(self, path: str | os.PathLike[str], *, per_series: int = 4) -> Path:
        """Write an HTML page with pictures of every series whose pixels may show whose it is: look, then acknowledge.

        So many instances of each (`per_series`), from the first to the last. It shows originals: PHI; the file is 0600.
        """
        check_house(path, [self._setting.target_about])
        lines = [line for line in self._draft.lines if "burned-in" in line.notice]
        source = self._setting.source
        wanted = (
            (f"{line.row}: {line.modality}", partial(source.read, key))
            for line in lines
            for key in spread(self._draft.keys[line.row], per_series)
        )
        facts = [("series", len(lines)), ("pictures of each, at most", per_series)]
        return write_page(path, render(title="Pixels to look at", passed=None, facts=facts, sheet=pictures(wanted)))

    def run(
        self, *, workers: int = 2, executor: Executor | None = None, progress: Progress | bool | None = None
    ) -> Run:
        """Do it: the copies of all planned rows are made, examined and stored; the others stay as they are.

        `workers` are processes. Each copy is held against its original before it is stored, and its digest after;
        at the end everything is held together. Ctrl-C and a crash are safe: `project.resume()` does the rest. Originals
        are only read. `QueryError` when another process works on the project; `DeidError` when the disk of the
        project fails, and when the plan is out of date.

        With `executor` (processes or a cluster of `concurrent.futures`, or a Dask client) its workers de-identify and
        examine, eight tasks at a time at most; the journal and the mapping stay here. The key does not travel: it is
        Project(…, key="env:NAME"), and each worker has that variable. Originals of an Orthanc, and what patients are
        called, do travel: only to machines that may have them, over lines that are encrypted.
        """
        return self._start(self, workers, executor, progress)

    def __repr__(self) -> str:
        counts = Counter(line.status for line in self._draft.lines)
        return f"<Plan: {' · '.join(f'{count} {status}' for status, count in sorted(counts.items())) or 'nothing'}>"

    def _repr_html_(self) -> str:
        counts: dict[str, list[int]] = {}
        for line in self._draft.lines:
            row = counts.setdefault(line.status, [0, 0])
            row[0] += 1
            row[1] += line.instances
        table = tally(dict(sorted(counts.items())), ("series", "instances"))
        patients = len({line.identity for line in self._draft.lines if line.identity in self._draft.named})
        reasons = Counter(line.reason for line in self._draft.lines if line.status in ("blocked", "conflict"))
        notices = Counter(each for line in self._draft.lines for each in line.notice.split(", ") if each)
        facts = [("patients", f"{patients:,}"), *((f"notice: {name}", f"{n:,} series") for name, n in notices.items())]
        notes = [f"{count:,} kept back: {reason}" for reason, count in reasons.most_common()]
        return card("plan", "Plan of a release; nothing is stored yet", facts, parts=[table], notes=notes)
