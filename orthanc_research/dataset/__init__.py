"""From a query to a dataset that anyone can rebuild: what a recipe, a split, a manifest and a card are made of.

recipe.toml ──► Recipe: checked, frozen, hashed; filters are a language of their own
Recipe.plan ──► what would be in it; .build ──► a task a series, then tables, hashes, papers, manifest
patients ─────► splits by patient, in strata, in a keyed order, locked
labels.csv ───► joined on an identifier
folder ───────► content hash, manifest, Croissant, README card, sheet of pictures
folder ───────► `open_dataset`: tables, frames and volumes, read when they are asked for
"""

from orthanc_research.dataset._build import Build
from orthanc_research.dataset._manifest import verify
from orthanc_research.dataset._open import OpenDataset, open_dataset
from orthanc_research.dataset._plan import DatasetPlan
from orthanc_research.dataset._recipe import Recipe
from orthanc_research.dataset._splits import check_leakage

__all__ = ["Build", "DatasetPlan", "OpenDataset", "Recipe", "check_leakage", "open_dataset", "verify"]
