"""What a user means by "these resources": a frame of ours, a Series or list of Orthanc IDs, or one ID."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orthanc_research.errors import QueryError
from orthanc_research.tables.identity import is_orthanc_id

__all__ = ["Selection", "selection"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Orthanc IDs in the user's order, without repeats; the level and the frame where they are known."""

    ids: tuple[str, ...]
    level: str | None = None
    frame: pd.DataFrame | None = None

    def column(self, name: str) -> dict[str, str]:
        """{ID: value} of a column of the frame; {} when there is none, or two, or a value is missing."""
        if self.frame is None or _times(self.frame, name) != 1:
            return {}
        values = self.frame[name]
        return {} if values.isna().any() else dict(zip(self.ids, values.astype(str), strict=True))


def selection(resources: Any, url: str) -> Selection:
    """Read what the user gave; `QueryError` for what holds no Orthanc IDs, or comes from another server."""
    if isinstance(resources, pd.DataFrame):
        return _of_frame(resources, url)
    if isinstance(resources, str):
        resources = [resources]
    if not isinstance(resources, Iterable):
        raise QueryError("Resources are a DataFrame that a find returned, a list of Orthanc IDs, or one ID.")
    return Selection(_checked(resources))


def _of_frame(frame: pd.DataFrame, url: str) -> Selection:
    if frame.index.name == "ID":
        ids = frame.index
    elif "ID" in frame.columns:
        ids = pd.Index(frame["ID"])
    else:
        raise QueryError(
            "This DataFrame has no Orthanc IDs: neither an index nor a column named ID. What is in a remote archive is "
            "retrieved first; the IDs of what is here: orthanc.lookup(uids)."
        )
    about = frame.attrs.get("orthanc") or {}
    if about.get("url") not in (None, url):
        raise QueryError("This DataFrame comes from another Orthanc; use the client that found it.")
    # pandas keeps attrs when the parents of what was found are made its IDs: then the server is asked what they are.
    above = [frame[name] for name in ("ParentPatient", "ParentStudy", "ParentSeries") if _times(frame, name) == 1]
    level = None if len(ids) and any(ids.equals(pd.Index(column)) for column in above) else about.get("level")
    return Selection(_checked(ids), level, frame[~ids.duplicated()])


def _times(frame: pd.DataFrame, name: str) -> int:
    """How often a frame has a column; `concat` doubles some."""
    return list(frame.columns).count(name)


def _checked(values: Iterable[Any]) -> tuple[str, ...]:
    ids = tuple(dict.fromkeys(values))
    wrong = sum(not is_orthanc_id(value) for value in ids)
    if wrong:
        raise QueryError(
            f"{wrong} of {len(ids)} values are no Orthanc IDs (five groups of eight hexadecimal digits): leave out "
            "what is missing; orthanc.lookup(values) finds UIDs, PatientIDs and AccessionNumbers."
        )
    return ids
