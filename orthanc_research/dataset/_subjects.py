"""What patients and cases are called in files that go to others: never a PatientID of the hospital."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orthanc_research.dataset._splits import plain_digest

if TYPE_CHECKING:
    from orthanc_research.dataset._open import OpenDataset

__all__ = ["About", "subject_of"]

# What a build calls a patient where nothing was de-identified.
_CODE = re.compile(r"P[0-9a-f]{16}")
_LABEL = re.compile(r"[A-Za-z0-9]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class About:
    """[dataset] of the recipe in the folder, and whether its patients are pseudonyms of a release."""

    name: str
    version: str
    license: str
    seed: str
    pseudonyms: bool

    @classmethod
    def of(cls, dataset: OpenDataset) -> About:
        """The folder's own name where there is no recipe."""
        try:
            tables: dict[str, Any] = tomllib.loads((dataset.folder / "recipe.toml").read_text())
        except (OSError, ValueError):
            tables = {}
        about = tables.get("dataset", {})
        name = str(about.get("name", dataset.folder.name))
        return cls(
            name=name,
            version=str(about.get("version", "1.0.0")),
            license=str(about.get("license", "unknown")),
            seed=str(about.get("seed", name)),
            pseudonyms=tables.get("anonymize", {}).get("profile", "none") != "none",
        )


def subject_of(patient: str, about: About) -> str:
    """Letters and digits for a patient: the pseudonym itself, or a hash of what may be the hospital's own number."""
    if _CODE.fullmatch(patient) or (about.pseudonyms and _LABEL.fullmatch(patient)):
        return patient
    return f"P{plain_digest('dataset-subject', about.seed, patient).hex()[:16]}"
