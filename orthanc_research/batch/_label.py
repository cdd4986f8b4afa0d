"""Labels on many resources: a row for each of them. Doing it again changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, get_args

import pandas as pd

from orthanc_research import resolve
from orthanc_research.errors import AccessError, NotFoundError, OrthancError, QueryError
from orthanc_research.parallel import thread_map
from orthanc_research.progress import Progress
from orthanc_research.rest import Level, Rest, is_server_gone
from orthanc_research.tables import selection

__all__ = ["LABEL_COLUMNS", "label"]

# column → pandas dtype of the ledger, which is indexed by the resource
LABEL_COLUMNS = {"status": "str", "error": "str"}
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,64}")


def label(
    rest: Rest, resources: Any, add: Sequence[str], remove: Sequence[str], *, workers: int, progress: Progress
) -> tuple[str, pd.DataFrame]:
    """Put labels on the resources and take others off: their level, and the ledger `LABEL_COLUMNS`, indexed by ID.

    One request a label and resource. `status`: "done"; "failed" (some of its labels may be changed: do it again);
    "not-sent" (the server is gone, or the run was cancelled). `QueryError` for labels that cannot be,
    `UnsupportedError` before 1.12: nothing is changed.
    """
    puts, deletes = _checked(add, "add"), _checked(remove, "remove")
    if not puts and not deletes:
        raise QueryError("Say which labels to add=[…] or to remove=[…].")
    if set(puts) & set(deletes):
        raise QueryError("A label is either added or removed, not both.")
    if not selection(resources, rest.connection.url).ids:
        return "", _ledger({}, ())
    rest.capabilities().require("labels")
    chosen = resolve.select(rest, resources)
    level = next(level for level in get_args(Level) if level == chosen.level)
    progress.total(len(chosen.ids), level.lower() if level == "Series" else f"{level.lower()}s")
    halted: list[str] = []

    def one(identifier: str) -> dict[str, Any]:
        if halted:
            return {"status": "not-sent", "error": halted[0]}
        row = _one(rest, level, identifier, puts, deletes, halted)
        progress.advance()
        return row

    with closing(thread_map(one, chosen.ids, workers=workers, progress=progress)) as outcomes:
        return level, _ledger({outcome.unit: outcome.get() for outcome in outcomes}, chosen.ids)


def _checked(labels: Any, name: str) -> tuple[str, ...]:
    given: list[Any] = list(labels) if isinstance(labels, Iterable) and not isinstance(labels, str) else [None]
    if not all(isinstance(each, str) and _LABEL.fullmatch(each) for each in given):
        raise QueryError(f"{name} is a list of labels, each of 1 to 64 letters A-Z and a-z, digits, _ and -.")
    return tuple(dict.fromkeys(given))


def _one(
    rest: Rest, level: Level, identifier: str, puts: Sequence[str], deletes: Sequence[str], halted: list[str]
) -> dict[str, Any]:
    area: Any = {
        "Patient": rest.patients,
        "Study": rest.studies,
        "Series": rest.series,
        "Instance": rest.instances,
    }[level]
    try:
        for each in puts:
            area.add_label(identifier, each)
        for each in deletes:
            area.remove_label(identifier, each)
    except NotFoundError:
        return {"status": "failed", "error": "It is no longer on this Orthanc; find it again."}
    except OrthancError as error:
        if isinstance(error, AccessError) or is_server_gone(error):
            halted.append(str(error))
        return {"status": "failed", "error": str(error)}
    return {"status": "done", "error": None}


def _ledger(rows: dict[str, dict[str, Any]], order: Sequence[str]) -> pd.DataFrame:
    not_sent = {"status": "not-sent", "error": "Cancelled."}
    frame = pd.DataFrame([rows.get(identifier, not_sent) for identifier in order], columns=list(LABEL_COLUMNS))
    frame.index = pd.Index(list(order), name="ID", dtype="str")
    return frame.astype(LABEL_COLUMNS)
