"""The tables of a dataset, from what its series left on the disk: instances, series, splits, issues; and leaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd

from orthanc_research.dataset._names import parts
from orthanc_research.dataset._select import ELSEWHERE
from orthanc_research.dataset._splits import check_leakage
from orthanc_research.dataset._unit import Unit
from orthanc_research.errors import DatasetError
from orthanc_research.export import read_parquet

if TYPE_CHECKING:
    from orthanc_research.dataset._plan import DatasetPlan

__all__ = ["Facts", "issues_of", "leaks_of", "splits_of", "tables_of"]

Facts: TypeAlias = Mapping[Unit, Mapping[str, Any]]
"""What the done marker of each series says."""
Rename: TypeAlias = Callable[[str], str]
"""A UID of the source → what it is in the dataset."""
_NOBODY = pd.DataFrame(columns=["SeriesInstanceUID", "PatientID", "split"], dtype="str")


def tables_of(
    root: Path, built: Sequence[Unit], facts: Facts, plan: DatasetPlan, renamed: Rename
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(instances, series), sorted by what they are called in the dataset; the first instance stands for its series."""
    labels, kinds, pieces, rows = plan._labels, plan._rows.dtypes, [], []
    for unit in built:
        piece = read_parquet(parts(root, unit.name)[0])
        piece.attrs = {}
        pieces.append(piece)
        rows.append(piece.iloc[[0]])
    instances = pd.concat(pieces, ignore_index=True)
    series = pd.concat(rows, ignore_index=True)
    series = series.drop(columns=["SOPInstanceUID", "InstanceNumber", "SUVFactor", "PatientID"], errors="ignore")
    series["PatientID"] = pd.array([unit.patient or pd.NA for unit in built], dtype="str")
    series["instances"] = pd.array([int(facts[unit]["instances"]) for unit in built], dtype="Int64")
    series["frames"] = pd.array([int(facts[unit]["frames"]) for unit in built], dtype="Int64")
    series["file"] = pd.array([facts[unit]["file"] or pd.NA for unit in built], dtype="str")
    both = [name for name in (*labels.series, *labels.instances) if name in instances or name in series]
    if both:
        raise DatasetError(f"The labels and the recipe's keywords both have {both[0]}; rename it in the labels.")
    if labels.series:
        given = pd.DataFrame([unit.plan[list(labels.series)] for unit in built]).reset_index(drop=True)
        for name in labels.series:
            series[name] = given[name].astype(kinds[name])
    if labels.by_instance is not None:
        instances = _with_labels(instances, labels.by_instance, labels.instances, renamed)
    columns = [name for name in instances.columns if name not in ("StudyInstanceUID", "Modality")]
    front = ["SeriesInstanceUID", "StudyInstanceUID", "PatientID", "Modality", "instances", "frames", "file"]
    series = series[[*front, *(name for name in series.columns if name not in front)]]
    instances = instances[columns].sort_values(["SeriesInstanceUID", "InstanceNumber", "SOPInstanceUID"])
    series = series.sort_values(["SeriesInstanceUID", "PatientID"])
    return instances.reset_index(drop=True), series.reset_index(drop=True)


def _with_labels(
    instances: pd.DataFrame, by_instance: pd.DataFrame, names: Sequence[str], renamed: Rename
) -> pd.DataFrame:
    """By SOPInstanceUID; one that several series have, under several patients, got no label when it was joined."""
    given = by_instance.drop_duplicates("SOPInstanceUID")
    given = given.assign(SOPInstanceUID=given["SOPInstanceUID"].map(renamed).astype("str"))
    columns = ["SOPInstanceUID", *names]
    return instances.merge(given[columns], on="SOPInstanceUID", how="left", validate="many_to_one")


def splits_of(built: Sequence[Unit], places: pd.DataFrame) -> pd.DataFrame:
    """A row a patient of whom something is in the dataset, by what the patient is called there."""
    called = {unit.plan["identity"]: unit.patient for unit in built}
    kept = places.loc[[each for each in places.index if each in called]]
    frame = kept.assign(PatientID=[called[each] for each in kept.index])
    return (
        frame[["PatientID", *places.columns]]
        .sort_values("PatientID")
        .reset_index(drop=True)
        .astype({"PatientID": "str"})
    )


def leaks_of(root: Path, built: Sequence[Unit], places: pd.DataFrame) -> pd.DataFrame:
    """`check_leakage` of the splits, and of the folds; a series is told by the name of its files, which is its own."""
    found = []
    for place in ("split", "fold"):
        if place not in places:
            continue
        rows = [(unit.name, unit.patient, str(places.loc[unit.plan["identity"], place])) for unit in built]
        hashes = [read_parquet(parts(root, unit.name)[1]).assign(SeriesInstanceUID=unit.name) for unit in built]
        table = pd.DataFrame(rows, columns=["SeriesInstanceUID", "PatientID", "split"])
        leaks = check_leakage(table, pd.concat(hashes))
        prefix = "" if place == "split" else "fold "
        found.append(
            leaks.assign(splits=[",".join(f"{prefix}{each}" for each in text.split(",")) for text in leaks["splits"]])
        )
    return pd.concat(found, ignore_index=True) if found else check_leakage(_NOBODY)


def issues_of(plan: DatasetPlan, units: Sequence[Unit], facts: Facts, leaks: pd.DataFrame) -> pd.DataFrame:
    """What is unusual, was left out or could not be read: SeriesInstanceUID, kind, reason."""
    rows = list(_issues(plan, units, facts))
    rows += [(None, f"leak-{leak['kind']}", f"{leak['count']} in {leak['splits']}") for _, leak in leaks.iterrows()]
    frame = pd.DataFrame(rows, columns=["SeriesInstanceUID", "kind", "reason"]).astype("str")
    return frame.sort_values(["kind", "reason", "SeriesInstanceUID"]).reset_index(drop=True)


def _issues(plan: DatasetPlan, units: Sequence[Unit], facts: Facts) -> Iterator[tuple[str | None, str, str]]:
    """The UID of what was left out leads back to a source; it is told where nothing is anonymized.

    What another source has is in the dataset, which is the same from whatever servers it comes.
    """
    hidden = plan.recipe.anonymize.on
    dropped = plan._rows[~plan._rows["reason"].isin(["", ELSEWHERE])]
    for uid, reason in zip(dropped["SeriesInstanceUID"], dropped["reason"], strict=True):
        yield None if hidden else str(uid), "drop", str(reason)
    for unit in units:
        uid = unit.task.uid if unit.task is not None else None if hidden else unit.source_uid
        if not unit.built:
            failed = unit.row["status"] == "failed"
            yield uid, "failed" if failed else "drop", str(unit.row["error"])
        known = facts.get(unit, {})
        for problem in (*known.get("problems", ()), *known.get("values", ())):
            yield uid, problem["kind"], problem["reason"]
    yield from ((None, "labels", note) for note in plan.notes)
