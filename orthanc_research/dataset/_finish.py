"""What comes after the series: splits and their lock, tables, hashes, papers, and last the manifest."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd

from orthanc_research.dataset._card import write_card
from orthanc_research.dataset._croissant import write_croissant
from orthanc_research.dataset._hash import content_hash
from orthanc_research.dataset._lock import read_lock, write_lock
from orthanc_research.dataset._manifest import DONE, marked, write_manifest
from orthanc_research.dataset._names import series_of
from orthanc_research.dataset._quality import write_quality
from orthanc_research.dataset._recipe import Recipe
from orthanc_research.dataset._splits import Digest, assign, folds
from orthanc_research.dataset._tables import Facts, issues_of, leaks_of, splits_of, tables_of
from orthanc_research.dataset._unit import Unit
from orthanc_research.dataset._versions import versions
from orthanc_research.errors import DatasetError
from orthanc_research.export import write_table
from orthanc_research.files import atomic_write

if TYPE_CHECKING:
    from orthanc_research.dataset._plan import DatasetPlan

__all__ = ["Place", "finish", "forget", "keep", "old_lock", "patients_of", "placed"]

_LOCK, _SPLITS, _FOLDS = "recipe.lock.json", "splits.lock.json", "folds.lock.json"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a build goes: its folder, the one where what leads to a source stays, and what it may call things.

    `recipe` is the recipe's hash as it may be published: a short query could be guessed from the hash itself.
    """

    root: Path
    private: Path
    recipe: str
    digest: Digest = field(repr=False)
    renamed: Callable[[str], str] = field(repr=False)


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
        before = read_lock(private / _SPLITS, names, **how) if splits.lock else {}
        found["split"] = assign(patients, splits.ratios, strata=splits.stratify, placed=before, **how)
    if splits.kfold is not None:
        before = read_lock(private / _FOLDS, names, **how) if splits.lock else {}
        found["fold"] = folds(patients, splits.kfold, strata=splits.stratify, placed=before, **how)
    return found


def keep(recipe: Recipe, places: pd.DataFrame, private: Path, digest: Digest) -> None:
    """Put what `placed` gave into the locks of splits and folds, where the recipe wants them."""
    how: dict[str, Any] = {"seed": recipe.dataset.seed, "digest": digest}
    if recipe.splits.lock and "split" in places:
        write_lock(private / _SPLITS, {str(name): str(place) for name, place in places["split"].items()}, **how)
    if recipe.splits.lock and "fold" in places:
        write_lock(private / _FOLDS, {str(name): int(place) for name, place in places["fold"].items()}, **how)


def forget(root: Path, names: Collection[str]) -> None:
    """Take out what belongs to no series of this build, as to one that the query no longer finds."""
    wanted = set(names)
    places = [*(root / DONE).glob("*.json"), *(root / DONE).glob("*.parquet")]
    for path in (*places, *(root / "frames").iterdir(), *(root / "volumes").iterdir()):
        if series_of(path.name) not in wanted:
            path.unlink()


def old_lock(private: Path, units: Sequence[Unit]) -> pd.DataFrame:
    """What is not as the lock of the last build has it: SeriesInstanceUID (in the source) and change."""
    try:
        listed = orjson.loads((private / _LOCK).read_bytes())["series"]
        before = {(each["SeriesInstanceUID"], each["ID"]): (each["hash"], each["LastUpdate"]) for each in listed}
    except (OSError, ValueError, KeyError, TypeError):
        return pd.DataFrame(columns=["SeriesInstanceUID", "change"], dtype="str")
    now = {
        (unit.source_uid, str(unit.plan["ID"])): (unit.plan["planned"].mark.hex(), unit.plan["state"]) for unit in units
    }
    rows = [(key[0], "gone") for key in before if key not in now]
    rows += [(key[0], "new") for key in now if key not in before]
    rows += [(key[0], "changed") for key in now if key in before and before[key] != now[key]]
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
    content = {
        "lock": 1,
        "recipe": plan.recipe.hash,
        "servers": [orthanc.capabilities().version for orthanc in plan._orthancs],
        "versions": versions(),
        "series": [{**each, "LastUpdate": unit.plan["state"]} for each, unit in zip(series, units, strict=True)],
    }
    made = orjson.dumps(content, option=orjson.OPT_INDENT_2)
    with atomic_write(private / _LOCK) as stream:
        stream.write(made)
    return orjson.dumps([plan.recipe.hash, series])


def finish(
    plan: DatasetPlan, place: Place, units: Sequence[Unit], places: pd.DataFrame, started: float
) -> tuple[str, pd.DataFrame]:
    """Write everything but the series; (content hash, leaks)."""
    recipe, root = plan.recipe, place.root
    built = [unit for unit in units if unit.built]
    if not built:
        raise DatasetError("Nothing could be built; the first reason: " + str(units[0].row.get("error")))
    for pattern in ("splits.parquet", "quality*", "croissant.json", "README.md"):
        for old in root.glob(pattern):  # of another recipe, perhaps
            old.unlink()
    facts = {unit: unit.row["facts"] for unit in built}
    instances, series = tables_of(root, built, facts, plan, place.renamed)
    splits = splits_of(built, places)
    leaks = leaks_of(root, built, places)
    tables = {"instances": instances, "series": series, "issues": issues_of(plan, units, facts, leaks)}
    if len(splits.columns) > 1:
        tables["splits"] = splits
    for name, table in tables.items():
        write_table(table, root / f"{name}.parquet", {"recipe": place.recipe})
    lock = hashlib.sha256(_write_lock(plan, place.private, units)).hexdigest()
    if recipe.anonymize.on:
        lock = place.digest("dataset-inputs", "", lock).hex()
    hashes = {Path(each["file"]).name: each["frames_hash"] for each in facts.values() if each.get("file")}
    content = content_hash(root, frames=hashes)
    counts = {"series": len(built), "instances": len(instances), "found": len(plan._rows)}
    about: dict[str, Any] = {"recipe": place.recipe, "lock": lock, "content": content, "counts": counts}
    if "split" in splits:
        about["splits"] = {str(name): int(count) for name, count in splits["split"].value_counts().sort_index().items()}
    about |= {"versions": versions(), "decoders": _decoders(facts)}
    _papers(recipe, root, about)
    _write_build(root, about, started)
    write_manifest(root, about, known=marked(root))
    return content, leaks


def _decoders(facts: Facts) -> dict[str, list[str]]:
    """Transfer syntax → what decoded it, with versions: several where workers differ."""
    pairs = {pair for each in facts.values() for pair in each.get("decoders", {}).items()}
    return {
        syntax: sorted(by for other, by in pairs if other == syntax) for syntax in sorted({one for one, _ in pairs})
    }


def _write_build(root: Path, about: dict[str, Any], started: float) -> None:
    """build.json: when, and with what. It is no part of the content hash."""
    days = {name: datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for name, at in _times(started)}
    content = {"build": 1, **days, "versions": about["versions"], "decoders": about["decoders"]}
    content |= {"Python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    with atomic_write(root / "build.json") as stream:
        stream.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _times(started: float) -> tuple[tuple[str, float], ...]:
    return ("started", started), ("ended", time.time())


def _papers(recipe: Recipe, root: Path, about: dict[str, Any]) -> None:
    if recipe.outputs.quality:
        write_quality(root)
    if recipe.outputs.croissant:
        write_croissant(root, recipe)
    if recipe.outputs.card:
        facts = {"content_hash": about["content"], "versions": about["versions"], "recipe": about["recipe"]}
        write_card(root, recipe, {**facts, "found": about["counts"]["found"]})
