"""What a server tells of itself, as frames: its change log, its export log, its jobs, whom it knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from orthanc_research.tables.columns import column_of
from orthanc_research.tables.schema import column_type

__all__ = ["changes_frame", "exports_frame", "jobs_frame", "jobs_joined", "listed_frame"]

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
    """Jobs, newest first, indexed by `Job`: Type, State, Progress (%), Error, Created, Ends (UTC), Runtime (s), What.

    Each is {"ID", "Type", "State", "Progress", "Error", "Created", "Ends", "Runtime", "What"}; `Ends` of a job that
    runs is the server's guess.
    """
    rows = sorted(jobs, key=lambda job: str(job.get("Created") or ""), reverse=True)
    data: dict[str, Any] = {name: pd.array([job.get(name) for job in rows], dtype=_TEXT) for name in ("Type", "State")}
    data["Progress"] = pd.array([job.get("Progress") for job in rows], dtype="Int64")
    data["Error"] = pd.array([job.get("Error") for job in rows], dtype=_TEXT)
    data["Created"] = _stamps([job.get("Created") for job in rows])
    data["Ends"] = _stamps([job.get("Ends") or None for job in rows])
    data["Runtime"] = pd.array([job.get("Runtime") for job in rows], dtype="float64")
    data["What"] = pd.array([job.get("What") for job in rows], dtype=_TEXT)
    return pd.DataFrame(data, index=pd.Index(pd.array([job["ID"] for job in rows], dtype=_TEXT), name="Job"))


def jobs_joined(now: pd.DataFrame, before: pd.DataFrame | None, only: Sequence[str] | None) -> pd.DataFrame:
    """The jobs that a server lists, with those of an earlier frame that it does not list any more, newest first.

    These keep their rows when they had ended; the others are "Forgotten": nobody can tell how they ended. `only` are
    the jobs that are meant; one of them that is in neither frame is forgotten too.
    """
    known = now if before is None or before.empty else pd.concat([now, before[~before.index.isin(now.index)]])
    if only is not None:
        unseen = [{"ID": job} for job in dict.fromkeys(only) if job not in known.index]
        known = known[known.index.isin(list(only))]
        known = pd.concat([known, jobs_frame(unseen)]) if unseen else known
    lost = ~known.index.isin(now.index) & ~known["State"].isin(["Success", "Failure"])
    known = known.assign(
        State=known["State"].mask(lost, "Forgotten"),
        Error=known["Error"].mask(lost, "Orthanc no longer knows it: look at what it should have made."),
    )
    return known.sort_values("Created", ascending=False, kind="stable")


def listed_frame(found: Mapping[str, Json], types: Mapping[str, Any]) -> pd.DataFrame:
    """{name: configuration}, indexed by `Name`, with these columns alone: others may hold what nobody should read."""
    data = {column: pd.array([row.get(column) for row in found.values()], dtype=kind) for column, kind in types.items()}
    return pd.DataFrame(data, index=pd.Index(pd.array(list(found), dtype=_TEXT), name="Name"))


def _stamps(values: Sequence[Any]) -> Any:
    # Orthanc's stamps have up to six more digits of a second, which nobody can compare with anything.
    return column_of("LastUpdate", [None if value is None else str(value)[:15] for value in values], {})
