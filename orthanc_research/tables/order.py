"""In which order people read what a find returned, which comes in the order of the server."""

from __future__ import annotations

import pandas as pd

from orthanc_research.tables.schema import Level

__all__ = ["middle_instances", "reading_order"]

_KEYS: dict[Level, list[tuple[str, bool]]] = {  # column, ascending
    "Patient": [("PatientName", True), ("PatientID", True)],
    "Study": [("StudyDate", False), ("PatientName", True)],
    "Series": [("SeriesNumber", True), ("SeriesDescription", True)],
    "Instance": [("InstanceNumber", True)],
}


def reading_order(frame: pd.DataFrame, level: Level) -> pd.DataFrame:
    """Patients by name, the newest studies first, series and instances by number; what is not known comes last."""
    keys = [(name, up) for name, up in _KEYS[level] if name in frame.columns]
    if not keys:
        return frame
    return frame.sort_values([name for name, _ in keys], ascending=[up for _, up in keys], kind="stable")


def middle_instances(instances: pd.DataFrame) -> dict[str, str]:
    """{series: the instance in the middle of it, by InstanceNumber} of a find with that column and ParentSeries."""
    ordered = reading_order(instances, "Instance")
    groups = ordered.groupby("ParentSeries", sort=False)
    return {str(series): str(rows.index[len(rows) // 2]) for series, rows in groups}
