"""Any interrupted run of jobs, gone on with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from orthanc_research.batch._anonymize import Anonymization
from orthanc_research.batch._engine import go_on
from orthanc_research.batch._modify import Modification
from orthanc_research.batch._regroup import Merge, Split
from orthanc_research.batch._task import Task
from orthanc_research.batch.journal import Journal
from orthanc_research.errors import QueryError
from orthanc_research.progress import Progress
from orthanc_research.rest import Rest

__all__ = ["resume"]

_TASKS: Mapping[str, Callable[[Mapping[str, Any]], Task]] = {
    task.kind: task.of for task in (Anonymization, Modification, Split, Merge)
}


def resume(rest: Rest, journal: Journal, *, window: int, progress: Progress) -> pd.DataFrame:
    """Look what came of what was asked for, then do the rest; the ledger, as at the start."""
    run = journal.run
    if run["kind"] not in _TASKS:
        raise QueryError("That journal is of another kind of run, or of a newer version of this package.")
    return go_on(rest, journal, _TASKS[run["kind"]](run["options"]), window=window, progress=progress)
