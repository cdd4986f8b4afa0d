"""What an archive holds, by modality and year: pure arithmetic over the frames of two finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from orthanc_research.tables.schema import column_type

__all__ = ["OVERVIEW_COLUMNS", "overview_frame", "overview_series"]

# what the find of series has to show for it
OVERVIEW_COLUMNS = (
    "ParentStudy",
    "Modality",
    "StudyDate",
    "Manufacturer",
    "StationName",
    "NumberOfSeriesRelatedInstances",
)


def overview_frame(series: pd.DataFrame, sizes: pd.Series[int] | None) -> pd.DataFrame:
    """One row for each modality and year of study: studies, series, instances, GB (10⁹ bytes), scanners.

    `series` has `OVERVIEW_COLUMNS`; `sizes` is {series ID: bytes of its files}, None leaves GB NA. Modality is NA where
    a series names none, Year where its study has no date (or none that is one): nothing is left out. A study of several
    modalities counts in the row of each. A scanner is a different pair of Manufacturer and StationName; series that
    name neither are counted in no scanner.
    """
    scanner = series["Manufacturer"].fillna("") + "\0" + series["StationName"].fillna("")
    data = pd.DataFrame(
        {
            "Modality": series["Modality"],
            "Year": series["StudyDate"].dt.year.astype("Int64"),
            "study": series["ParentStudy"],
            "instances": series["NumberOfSeriesRelatedInstances"].astype("Int64"),
            "bytes": float("nan") if sizes is None else sizes.reindex(series.index).astype("float64"),
            "scanner": scanner.where(scanner != "\0"),
        },
        index=series.index,
    )
    groups = data.groupby(["Modality", "Year"], dropna=False, sort=True)
    table = pd.DataFrame(
        {
            "studies": groups["study"].nunique(),
            "series": groups.size(),
            "instances": groups["instances"].sum(),
            "GB": groups["bytes"].sum(min_count=1) / 1e9,
            "scanners": groups["scanner"].nunique(),
        }
    ).reset_index()
    counts = dict.fromkeys(("Year", "studies", "series", "instances", "scanners"), "Int64")
    return table.astype({"Modality": column_type("Modality").pandas, **counts, "GB": "float64"})


def overview_series(series: pd.DataFrame, cells: Sequence[tuple[Any, Any]]) -> pd.DataFrame:
    """The series that are counted in these rows, (Modality, Year), of what `overview_frame` made of `series`."""
    wanted = {_cell(kind, year) for kind, year in cells}
    there = zip(series["Modality"], series["StudyDate"].dt.year, strict=True)
    return series[[_cell(kind, year) in wanted for kind, year in there]]


def _cell(modality: Any, year: Any) -> tuple[str | None, int | None]:
    return None if pd.isna(modality) else str(modality), None if pd.isna(year) else int(year)
