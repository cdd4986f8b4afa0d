"""Series of an Orthanc to files: a row for every series, whatever happens to it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from orthanc_research import resolve
from orthanc_research.errors import CancelledError, OrthancError, QueryError
from orthanc_research.export.elsewhere import export_elsewhere
from orthanc_research.export.parts import check_form
from orthanc_research.export.plan import Planned, plan, since
from orthanc_research.export.series import CANCELLED, Row, Task, changed_row, export_one, not_sent
from orthanc_research.files import private_folder, sweep
from orthanc_research.parallel import thread_map
from orthanc_research.pixels import Reading
from orthanc_research.progress import Progress, Within
from orthanc_research.rest import Rest

__all__ = ["EXPORT_COLUMNS", "FORMATS", "Format", "export_series"]

Format = Literal["parquet", "npy", "npz", "nifti"]
FORMATS: tuple[Format, ...] = get_args(Format)

# column → pandas dtype of the ledger, which is indexed by the series
EXPORT_COLUMNS = {
    "status": "str",
    "error": "str",
    "file": "str",
    "expected": "Int64",
    "instances": "Int64",
    "frames": "Int64",
    "bytes": "Int64",
    "seconds": "float64",
}


def export_series(
    rest: Rest,
    resources: Any,
    folder: str | os.PathLike[str],
    *,
    form: str,
    how: Reading,
    workers: int,
    progress: Progress,
    executor: Executor | None = None,
) -> pd.DataFrame:
    """Write each series into the folder, every file held against the server's MD5; the ledger `EXPORT_COLUMNS`.

    Of series whose instances were chosen, the chosen ones are written. `status`: "done"; "partial" (some instances have
    no pixels that decode: `error` counts them, the others are there); "no-pixels"; "not-a-volume" (`error` has the code
    and the reason); "changed"; "failed"; "not-sent" (the server is gone, the disk is full, or the run was cancelled). A
    series that is split has a row for each of its stacks.

    "changed": instances were added or deleted. `expected` is how many the series had (or were chosen) when the export
    began, or when it was found where the frame says how many; `instances` is how many there are now. Without a `file`
    nothing was written; with one, it is as the series was before.
    `QueryError` for senseless options, before the first request, and for a folder that cannot be written to.
    """
    if form not in FORMATS:
        raise QueryError(f"format={form!r} is not there; choose from {', '.join(FORMATS)}.")
    check_form(form, how)
    series = plan(rest, resolve.select(rest, resources))
    task = Task(rest, _folder(folder), form, how, workers, Within(progress))
    progress.total(len(series), "series")
    if executor is None:
        rows, whole = _export_all(task, series, progress)
        last = rows[-1][0] if rows else None  # which was just looked at
    else:
        rows, whole = export_elsewhere(task, series, progress, executor)
        last = None
    if whole:
        _note_changes(rest, rows, last)
    frame = pd.DataFrame([{**row, "expected": planned.count} for planned, row in rows], columns=list(EXPORT_COLUMNS))
    frame.index = pd.Index([planned.series for planned, _ in rows], name="ID", dtype="str")
    return frame.astype(EXPORT_COLUMNS)


def _export_all(task: Task, series: Sequence[Planned], progress: Progress) -> tuple[list[tuple[Planned, Row]], bool]:
    """The rows of all, one series after the other; and whether none of them ended the run."""
    halted: list[str] = []

    def one(place: int) -> list[Row]:
        if not halted and progress.cancelled:
            halted.append(CANCELLED)
        if halted:
            return [not_sent(halted[0])]
        found, reason = export_one(task, series[place])
        halted.extend([] if reason is None else [reason])
        if reason != CANCELLED:
            progress.advance()
        return found

    # On a thread of the map, which leaves a server that says nothing when the user wants to stop; this one would wait.
    with closing(thread_map(one, range(len(series)), workers=1, progress=progress, fatal=(Exception,))) as outcomes:
        found = {outcome.unit: outcome.get() for outcome in outcomes}
    rows = [(each, row) for place, each in enumerate(series) for row in found.get(place, [not_sent(CANCELLED)])]
    return rows, not halted and len(found) == len(series)


def _note_changes(rest: Rest, rows: Sequence[tuple[Planned, Row]], last: Planned | None) -> None:
    """Tell which series changed while later ones were written."""
    written = [(planned, row) for planned, row in rows if row.get("file") is not None and planned is not last]
    with suppress(OrthancError, CancelledError):  # the files are there, and as their series were
        changes = since(rest, [planned for planned, _ in written])
        for planned, row in written:
            if planned.series in changes:
                row |= changed_row(changes[planned.series])


def _folder(path: str | os.PathLike[str]) -> Path:
    """The folder to write to, made where it is missing, and without what an earlier run left half-written."""
    try:
        folder = private_folder(path)
        writable = os.access(folder, os.W_OK | os.X_OK)
        if writable:
            sweep(folder)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no folder"
        raise QueryError(f"Nothing can be written to {path!s}: {reason}.") from error
    if not writable:
        raise QueryError(f"Nothing can be written to {path!s}: you may not.")
    return folder
