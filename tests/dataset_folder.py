"""A dataset's folder made by hand of the sample cohort, as a build lays it out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydicom import Dataset

from orthanc_research import samples, write_table
from orthanc_research.dataset._manifest import write_manifest
from orthanc_research.export import frame_rows, write_frames
from orthanc_research.pixels import decode, frames_of

__all__ = ["build", "by_series", "tables"]


def by_series(datasets: Sequence[Dataset]) -> dict[str, list[Dataset]]:
    found: dict[str, list[Dataset]] = {}
    for each in datasets:
        found.setdefault(str(each.SeriesInstanceUID), []).append(each)
    return found


def _days(datasets: Sequence[Dataset]) -> Any:
    texts = pd.Series([str(each.get("StudyDate", "")) for each in datasets], dtype="str")
    return pd.to_datetime(texts, format="%Y%m%d", errors="coerce").astype("M8[s]")


def tables(datasets: Sequence[Dataset]) -> dict[str, pd.DataFrame]:
    instances = pd.DataFrame(
        {
            "SOPInstanceUID": [str(each.SOPInstanceUID) for each in datasets],
            "SeriesInstanceUID": [str(each.SeriesInstanceUID) for each in datasets],
            "InstanceNumber": pd.array([int(each.get("InstanceNumber") or 0) for each in datasets], dtype="Int64"),
            "EchoTime": [float(each.get("EchoTime") or "nan") for each in datasets],
        }
    )
    firsts = [group[0] for group in by_series(datasets).values()]
    series = pd.DataFrame(
        {
            "SeriesInstanceUID": [str(each.SeriesInstanceUID) for each in firsts],
            "PatientID": [str(each.get("PatientID", "")) for each in firsts],
            "Modality": [str(each.Modality) for each in firsts],
            "StudyDate": _days(firsts),
            "instances": [len(group) for group in by_series(datasets).values()],
        }
    )
    patients = sorted(set(series["PatientID"]))
    splits = pd.DataFrame({"PatientID": patients, "split": ["train", *["test"] * (len(patients) - 1)]})
    issues = pd.DataFrame({"SeriesInstanceUID": ["1.2.3"], "kind": ["drop"], "reason": ["filter: not met"]})
    frames = {"instances": instances, "series": series, "splits": splits, "issues": issues}
    return {name: frame.astype({c: "str" for c in frame if frame[c].dtype == object}) for name, frame in frames.items()}


def build(folder: Path, datasets: Sequence[Dataset] | None = None, **facts: Any) -> list[Dataset]:
    """The Datasets that the folder was made of."""
    made = list(datasets or samples.cohort(patients=2, studies=1, slices=5, size=16))
    (folder / "frames").mkdir(parents=True)
    for uid, group in by_series(made).items():
        rows = [
            row
            for each in sorted(group, key=lambda d: d.get("InstanceNumber") or 0)
            for row in frame_rows(frames_of(each), decode(each))
        ]
        write_frames(folder / "frames" / f"{uid}.parquet", rows, {})
    for name, frame in tables(made).items():
        write_table(frame, folder / f"{name}.parquet")
    write_manifest(folder, facts)
    return made
