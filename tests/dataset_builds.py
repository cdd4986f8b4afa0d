"""What tests of builds have in common: a small recipe, a server with a cohort, a build that is looked at closely."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pandas as pd
import pyarrow.parquet as pq
from dicom_files import as_file
from pydicom import Dataset

import orthanc_research as ores
from orthanc_research.dataset import Build, Recipe
from orthanc_research.dataset._hash import content_hash

__all__ = ["SMALL", "build", "check", "cohort", "inputs_hash", "load", "recipe"]

SMALL = """
[dataset]
name = "small"
[query]
match = { Modality = ["CT", "MR"] }
[filter.geometry]
require = "volume"
[arrays]
also = ["npz"]
[metadata]
keywords = ["PatientSex", "KVP", "EchoTime"]
[splits]
ratios = { train = 0.5, test = 0.5 }
"""


def cohort(modality: str | None = None, **size: Any) -> list[Dataset]:
    """Small: two patients, a study each, 4 slices of 16 x 16."""
    made = ores.samples.cohort(**{"patients": 2, "studies": 1, "slices": 4, "size": 16, **size})
    return [each for each in made if modality in (None, each.Modality)]


def load(orthanc: ores.Orthanc, datasets: list[Dataset]) -> None:
    report = orthanc.upload([as_file(each) for each in datasets], progress=False)
    assert set(report["status"]) == {"stored"}, report


def build(orthanc: ores.Orthanc, wanted: Recipe, out: Path, **how: Any) -> Build:
    return wanted.plan(orthanc, progress=False).build(out, progress=False, **how)


def inputs_hash(private: Path) -> str:
    """What anybody who knows, or guesses, a recipe and the series that it found could compute."""
    lock = orjson.loads((private / "recipe.lock.json").read_bytes())
    series = [{name: value for name, value in each.items() if name != "LastUpdate"} for each in lock["series"]]
    return hashlib.sha256(orjson.dumps([lock["recipe"], series])).hexdigest()


def recipe(text: str = SMALL) -> Recipe:
    return Recipe.parse(text)


def check(made: Build, wanted: Recipe) -> ores.dataset.OpenDataset:
    """Complete, as its manifest says, and read by anybody."""
    assert set(made.status["status"]) == {"done"}, made.status["error"].tolist()
    assert made.complete
    assert made.verify().empty
    assert made.content_hash == content_hash(made.folder)  # of the files themselves
    dataset = ores.open_dataset(made.folder, check=True)
    assert dataset.manifest["recipe"] == wanted.hash
    assert len(dataset.series) == len(made.status)
    counts = dataset.manifest["counts"]
    assert (counts["series"], counts["instances"]) == (len(dataset.series), len(dataset.instances))
    if wanted.splits.ratios:
        assert dataset.manifest["splits"] == dataset.splits["split"].value_counts().to_dict()
    tables = {path.stem: path for path in made.folder.glob("*.parquet")}
    split = wanted.splits.ratios or wanted.splits.kfold
    assert set(tables) == {"instances", "issues", "series", *(["splits"] if split else [])}
    for path in tables.values():
        table = pq.read_table(path)
        assert list(pd.read_parquet(path)) == table.column_names
        with duckdb.connect() as database:
            assert len(database.execute(f"select * from '{path}'").fetchall()) == len(table)
    assert (made.folder / "README.md").exists() == wanted.outputs.card
    assert not list(made.folder.rglob(".ores-*"))
    assert not [path for path in made.folder.rglob("*") if path.stat().st_mode & 0o077]
    return dataset
