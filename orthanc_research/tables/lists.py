"""What a server tells of itself, as frames: its change log, its export log, its jobs, whom it knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from orthanc_research.tables.columns import column_of
from orthanc_research.tables.schema import column_type

__all__ = ["changes_frame", "exports_frame", "jobs_frame", "listed_frame"]

Json = Mapping[str, Any]
_TEXT = column_type("ID").pandas


def changes_frame(changes: Iterable[Json]) -> pd.DataFrame:
    """Entries of the change log, indexed by `Seq`: ChangeType, ResourceType, ID, Date (datetime64[s], UTC)."""
    return _log(list(changes), ("ChangeType", "ResourceType", "ID"))


def exports_frame(exports: Iterable[Json]) -> pd.DataFrame:
    """Entries of the export log, indexed by `Seq`: ResourceType, ID, RemoteModality, PatientID, UIDs, Date (UTC)."""
    uids = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    return _log(list(exports), ("ResourceType", "ID", "RemoteModality", *uids))


def _log(rows: Sequence[Json], texts: Sequence[str]) -> pd.DataFrame:
    data: dict[str, Any] = {name: pd.array([row.get(name) for row in rows], dtype=_TEXT) for name in texts}
    data["Date"] = _stamps([row.get("Date") for row in rows])
    return pd.DataFrame(data, index=pd.Index(pd.array([row.get("Seq") for row in rows], dtype="Int64"), name="Seq"))


def jobs_frame(jobs: Sequence[Json]) -> pd.DataFrame:
    """Jobs, newest first, indexed by `Job`: Type, State, Progress (%), Error, Created (UTC), Runtime (s).

    Each is {"ID", "Type", "State", "Progress", "Error", "Created", "Runtime"}.
    """
    rows = sorted(jobs, key=lambda job: str(job.get("Created") or ""), reverse=True)
    data: dict[str, Any] = {name: pd.array([job.get(name) for job in rows], dtype=_TEXT) for name in ("Type", "State")}
    data["Progress"] = pd.array([job.get("Progress") for job in rows], dtype="Int64")
    data["Error"] = pd.array([job.get("Error") for job in rows], dtype=_TEXT)
    data["Created"] = _stamps([job.get("Created") for job in rows])
    data["Runtime"] = pd.array([job.get("Runtime") for job in rows], dtype="float64")
    return pd.DataFrame(data, index=pd.Index(pd.array([job["ID"] for job in rows], dtype=_TEXT), name="Job"))


def listed_frame(found: Mapping[str, Json], types: Mapping[str, Any]) -> pd.DataFrame:
    """{name: configuration}, indexed by `Name`, with these columns alone: others may hold what nobody should read."""
    data = {column: pd.array([row.get(column) for row in found.values()], dtype=kind) for column, kind in types.items()}
    return pd.DataFrame(data, index=pd.Index(pd.array(list(found), dtype=_TEXT), name="Name"))


def _stamps(values: Sequence[Any]) -> Any:
    # Orthanc's stamps have up to six more digits of a second, which nobody can compare with anything.
    return column_of("LastUpdate", [None if value is None else str(value)[:15] for value in values], {})
