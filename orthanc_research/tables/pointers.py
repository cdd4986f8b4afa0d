"""Who points at whom, as a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from orthanc_research.tables.columns import typed
from orthanc_research.tables.schema import column_type

__all__ = ["Pointer", "references_frame"]


class Pointer(NamedTuple):
    """An instance (Orthanc ID) that names another by its UID; `target` is "" where that is not here."""

    instance: str
    sop_uid: str
    modality: str
    series: str
    target_uid: str
    target_class: str
    target_series_uid: str
    target: str = ""
    target_series: str = ""


def references_frame(pointers: Sequence[Pointer]) -> pd.DataFrame:
    """A row for each pointer, index `ID` of what points; columns as `Orthanc.references` says, NA for what is not."""
    texts = {
        "SOPInstanceUID": [each.sop_uid for each in pointers],
        "Modality": [each.modality for each in pointers],
        "ParentSeries": [each.series for each in pointers],
        "ReferencedSOPInstanceUID": [each.target_uid for each in pointers],
        "ReferencedSOPClassUID": [each.target_class for each in pointers],
        "ReferencedSeriesInstanceUID": [each.target_series_uid for each in pointers],
        "Target": [each.target for each in pointers],
        "TargetSeries": [each.target_series for each in pointers],
    }
    text = column_type("ID")
    data: dict[str, Any] = {name: typed(text, [value or None for value in values]) for name, values in texts.items()}
    data["Dangling"] = pd.array([not each.target for each in pointers], dtype="boolean")
    index = pd.Index(typed(text, [each.instance for each in pointers]), name="ID")
    return pd.DataFrame(data, index=index)
