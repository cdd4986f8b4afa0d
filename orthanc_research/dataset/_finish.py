"""What comes after the series: splits and their lock, tables, hashes, papers, and last the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd

from orthanc_research.dataset._card import write_card
from orthanc_research.dataset._croissant import write_croissant
from orthanc_research.dataset._hash import content_hash
from orthanc_research.dataset._lock import read_lock, write_lock
from orthanc_research.dataset._manifest import DONE, done, marked, write_manifest
from orthanc_research.dataset._quality import write_quality
from orthanc_research.dataset._recipe import Recipe
from orthanc_research.dataset._splits import Digest, assign, check_leakage, folds
from orthanc_research.dataset._task import Task, parts
from orthanc_research.errors import DatasetError
from orthanc_research.export import read_parquet, write_table
from orthanc_research.files import atomic_write

if TYPE_CHECKING:
    from orthanc_research.dataset._plan import DatasetPlan

__all__ = ["Unit", "finish", "forget", "old_lock", "patients_of", "placed"]

_LOCK = "recipe.lock.json"
_PACKAGES = ("orthanc-research", "numpy", "pandas", "pyarrow", "pydicom")


@dataclass(slots=True, kw_only=True, eq=False)
class Unit:
    """A planned series: where it comes from, whose it is in the dataset, its task, and what became of it."""

    source_uid: str
    source: int
    plan: Any = field(repr=False)
    patient: str
    task: Task | None = None
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What its files are called; "" for what has none."""
        return self.task.name if self.task is not None else ""

    @property
    def built(self) -> bool:
        """Whether there is something of it in the dataset."""
        return self.task is not None and self.row["status"] in ("done", "partial")


def patients_of(recipe: Recipe, rows: pd.DataFrame) -> pd.DataFrame:
    """A row a patient (index `identity_of`) with the columns of the strata: the first value, by SeriesInstanceUID."""
    strata = list(recipe.splits.stratify)
    return rows.sort_values("SeriesInstanceUID").groupby("identity", sort=True)[["identity", *strata]].first()[strata]


def placed(recipe: Recipe, patients: pd.DataFrame, private: Path, digest: Digest) -> pd.DataFrame:
    """`patients` with `split` and `fold`, where the recipe wants them; those in the lock stay where they are."""
    splits, seed = recipe.splits, recipe.dataset.seed
    found = pd.DataFrame(index=patients.index)
    how: dict[str, Any] = {"seed": seed, "digest": digest}
    names = [str(each) for each in patients.index]
    if splits.ratios:
        path = private / "splits.lock.json"
        before = read_lock(path, names, **how) if splits.lock else {}
        found["split"] = assign(patients, splits.ratios, strata=splits.stratify, placed=before, **how)
        if splits.lock:
            write_lock(path, {str(name): str(place) for name, place in found["split"].items()}, **how)
    if splits.kfold is not None:
        path = private / "folds.lock.json"
        before = read_lock(path, names, **how) if splits.lock else {}
        found["fold"] = folds(patients, splits.kfold, strata=splits.stratify, placed=before, **how)
        if splits.lock:
            write_lock(path, {str(name): int(place) for name, place in found["fold"].items()}, **how)
    return found


def forget(root: Path, names: Collection[str]) -> None:
    """Take out what belongs to no series of this build, as to one that the query no longer finds."""
    wanted = set(names)
    for marker in (root / DONE).glob("*.json"):
        if marker.stem not in wanted:
            marker.unlink()
    for path in (*(root / DONE).glob("*.parquet"), *(root / "frames").iterdir(), *(root / "volumes").iterdir()):
        if not any(path.name.startswith((f"{name}.", f"{name}_")) for name in _candidates(path.name) & wanted):
            path.unlink()


def _candidates(name: str) -> set[str]:
    """What the name of a series' file may begin with: UIDs have dots themselves."""
    cut = [place for place, each in enumerate(name) if each in "._"]
    return {name[:place] for place in cut}


def old_lock(private: Path, units: Sequence[Unit]) -> pd.DataFrame:
    """What is not as the lock of the last build has it: SeriesInstanceUID (in the source) and change."""
    try:
        before = {
            each["SeriesInstanceUID"]: each["hash"] for each in orjson.loads((private / _LOCK).read_bytes())["series"]
        }
    except (OSError, ValueError, KeyError, TypeError):
        return pd.DataFrame(columns=["SeriesInstanceUID", "change"], dtype="str")
    now = {unit.source_uid: unit.plan["planned"].mark.hex() for unit in units}
    rows = [(uid, "gone") for uid in before if uid not in now]
    rows += [(uid, "new") for uid in now if uid not in before]
    rows += [(uid, "changed") for uid in now if uid in before and before[uid] != now[uid]]
    return pd.DataFrame(sorted(rows), columns=["SeriesInstanceUID", "change"], dtype="str")


def _write_lock(plan: DatasetPlan, private: Path, units: Sequence[Unit]) -> bytes:
    """Which series went in, and from where: a re-run gives the same inputs, or a difference that is told."""
    series = [
        {
            "SeriesInstanceUID": unit.source_uid,
            "ID": str(unit.plan["ID"]),
            "source": unit.source,
            "instances": int(unit.plan["instances"]),
            "hash": unit.plan["planned"].mark.hex(),  # sha256 of the sorted Orthanc IDs, which follow from the UIDs
        }
        for unit in units
    ]
    servers = [orthanc.capabilities().version for orthanc in plan._orthancs]
    content = {"lock": 1, "recipe": plan.recipe.hash, "servers": servers, "versions": _versions(), "series": series}
    made = orjson.dumps(content, option=orjson.OPT_INDENT_2)
    with atomic_write(private / _LOCK) as stream:
        stream.write(made)
    return orjson.dumps([plan.recipe.hash, series])


def finish(
    plan: DatasetPlan, root: Path, private: Path, units: Sequence[Unit], places: pd.DataFrame, digest: Digest
) -> tuple[str, pd.DataFrame]:
    """Write everything but the series; (content hash, leaks)."""
    recipe, built = plan.recipe, [unit for unit in units if unit.built]
    if not built:
        raise DatasetError("Nothing could be built; the first reason: " + str(units[0].row.get("error")))
    for pattern in ("splits.parquet", "quality*", "croissant.json", "README.md"):
        for old in root.glob(pattern):  # of another recipe, perhaps
            old.unlink()
    facts = {unit: done(root, unit.name) or {} for unit in built}
    instances, series = _tables(plan, root, built, facts)
    write_table(instances, root / "instances.parquet")
    write_table(series, root / "series.parquet")
    splits = _splits(built, places)
    leaks = _leaks(root, built, places)
    write_table(_issues(plan, units, facts, leaks), root / "issues.parquet")
    if len(splits.columns) > 1:
        write_table(splits, root / "splits.parquet")
    lock = hashlib.sha256(_write_lock(plan, private, units)).hexdigest()
    if recipe.anonymize.on:
        lock = digest("dataset-inputs", "", lock).hex()
    hashes = {Path(each["file"]).name: each["frames_hash"] for each in facts.values() if each.get("file")}
    content = content_hash(root, frames=hashes)
    _papers(plan, root, content)
    counts = {"series": len(built), "instances": len(instances), "found": len(plan._rows)}
    about: dict[str, Any] = {"recipe": recipe.hash, "lock": lock, "content": content, "counts": counts}
    if "split" in splits:
        about["splits"] = {str(name): int(count) for name, count in splits["split"].value_counts().sort_index().items()}
    write_manifest(root, {**about, "versions": _versions()}, known=marked(root))
    return content, leaks


def _papers(plan: DatasetPlan, root: Path, content: str) -> None:
    recipe = plan.recipe
    if recipe.outputs.quality:
        write_quality(root)
    if recipe.outputs.croissant:
        write_croissant(root, recipe)
    if recipe.outputs.card:
        write_card(root, recipe, {"content_hash": content, "versions": _versions(), "found": len(plan._rows)})


def _tables(
    plan: DatasetPlan, root: Path, built: Sequence[Unit], facts: dict[Unit, dict[str, Any]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    pieces, rows = [], []
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
    if plan._labels:
        given = pd.DataFrame([unit.plan[list(plan._labels)] for unit in built]).reset_index(drop=True)
        kinds = plan._rows[list(plan._labels)].dtypes
        for name in plan._labels:
            if name in series:
                raise DatasetError(f"The labels and the recipe's keywords both have {name}; rename it in the labels.")
            series[name] = given[name].astype(kinds[name])
    columns = [name for name in instances.columns if name not in ("StudyInstanceUID", "Modality")]
    front = ["SeriesInstanceUID", "StudyInstanceUID", "PatientID", "Modality", "instances", "frames", "file"]
    series = series[[*front, *(name for name in series.columns if name not in front)]]
    instances = instances[columns].sort_values(["SeriesInstanceUID", "InstanceNumber", "SOPInstanceUID"])
    series = series.sort_values(["SeriesInstanceUID", "PatientID"])
    return instances.reset_index(drop=True), series.reset_index(drop=True)


def _splits(built: Sequence[Unit], places: pd.DataFrame) -> pd.DataFrame:
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


def _leaks(root: Path, built: Sequence[Unit], places: pd.DataFrame) -> pd.DataFrame:
    rows, hashes = [], []
    for unit in built:
        if "split" in places and unit.task is not None:
            rows.append((unit.task.uid, unit.patient, places.loc[unit.plan["identity"], "split"]))
            hashes.append(read_parquet(parts(root, unit.name)[1]))
    table = pd.DataFrame(rows, columns=["SeriesInstanceUID", "PatientID", "split"])
    return check_leakage(table, pd.concat(hashes) if hashes else None)


def _issues(
    plan: DatasetPlan, units: Sequence[Unit], facts: dict[Unit, dict[str, Any]], leaks: pd.DataFrame
) -> pd.DataFrame:
    rows = list(_found_issues(plan, units, facts))
    rows += [(None, f"leak-{leak['kind']}", f"{leak['count']} in {leak['splits']}") for _, leak in leaks.iterrows()]
    frame = pd.DataFrame(rows, columns=["SeriesInstanceUID", "kind", "reason"]).astype("str")
    return frame.sort_values(["kind", "reason", "SeriesInstanceUID"]).reset_index(drop=True)


def _found_issues(
    plan: DatasetPlan, units: Sequence[Unit], facts: dict[Unit, dict[str, Any]]
) -> Iterator[tuple[str | None, str, str]]:
    """The UID of what was left out leads back to a source; it is told where nothing is anonymized."""
    hidden = plan.recipe.anonymize.on
    dropped = plan._rows[plan._rows["reason"] != ""]
    for uid, reason in zip(dropped["SeriesInstanceUID"], dropped["reason"], strict=True):
        yield None if hidden else str(uid), "drop", str(reason)
    for unit in units:
        uid = unit.task.uid if unit.task is not None else None if hidden else unit.source_uid
        if not unit.built:
            failed = unit.row["status"] == "failed"
            yield uid, "failed" if failed else "drop", str(unit.row["error"])
        for problem in facts.get(unit, {}).get("problems", ()):
            yield uid, problem["kind"], problem["reason"]
    yield from ((None, "labels", note) for note in plan.notes)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
