"""The README of a dataset: a card in the form of the Hugging Face Hub, from the tables and the recipe alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from orthanc_research.dataset._recipe import Recipe
from orthanc_research.export import read_parquet
from orthanc_research.files import atomic_write

__all__ = ["CARD", "card", "write_card"]

CARD = "README.md"
_TABLES = ("series", "instances", "splits", "issues")
# What describes an acquisition and no person; each is a table where the recipe asked for it.
_ACQUISITION = (
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "BodyPartExamined",
    "MagneticFieldStrength",
    "ScanningSequence",
    "KVP",
    "ConvolutionKernel",
    "SliceThickness",
    "SpacingBetweenSlices",
    "EchoTime",
    "RepetitionTime",
    "FlipAngle",
    "ReconstructionMethod",
    "Units",
    "ViewPosition",
    "PhotometricInterpretation",
    "PatientSex",
)
_MOST = 12  # rows of a table
# The Hub's own identifiers; any other is "other" with a name.
_CC = ("cc-by", "cc-by-sa", "cc-by-nc", "cc-by-nd", "cc-by-nc-sa", "cc-by-nc-nd")
_LICENSES = frozenset(
    (*(f"{each}-4.0" for each in _CC), "cc0-1.0", "apache-2.0", "mit", "odbl", "odc-by", "pddl", "unknown")
)
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$@]|(?<=www)\.|:(?=//))")


def write_card(folder: str | os.PathLike[str], recipe: Recipe, facts: Mapping[str, Any]) -> Path:
    """Write README.md into a built folder, from its tables; before the manifest. `facts` as of `card`."""
    root = Path(folder)
    tables = {name: read_parquet(root / f"{name}.parquet") for name in _TABLES if (root / f"{name}.parquet").is_file()}
    target = root / CARD
    with atomic_write(target) as stream:
        stream.write(card(recipe, tables, facts).encode())
    return target


def card(recipe: Recipe, tables: Mapping[str, pd.DataFrame], facts: Mapping[str, Any]) -> str:
    """The card as Markdown: counts, splits, what was left out and why, acquisitions, known issues, profile.

    `tables` are series, instances, splits and issues (columns `kind`, "drop" for what was left out, and `reason`).
    `facts` may have `content_hash`, `profile` (a paragraph about the de-identification), `versions` (name → version),
    `found` (how many series the query found) and `recipe` (its hash, as it may be published). Every text from a file is
    escaped, for Markdown and for HTML.
    """
    flat = {name: frame.reset_index(drop=frame.index.name is None) for name, frame in tables.items()}
    parts = [_front(recipe, flat), f"# {_escaped(recipe.dataset.name)}", _escaped(recipe.dataset.description)]
    parts += [_contents(flat), _splits(recipe, flat), _selection(recipe, flat, facts)]
    parts += [_acquisition(flat), _issues(flat), _privacy(recipe, facts), _reading(recipe), _provenance(recipe, facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(recipe: Recipe, tables: Mapping[str, pd.DataFrame]) -> str:
    """YAML, each text as JSON, which YAML reads."""
    known = recipe.dataset.license.lower()
    count = len(tables.get("instances", ()))
    lines = [
        f"license: {known if known in _LICENSES else 'other'}",
        *([] if known in _LICENSES else [f"license_name: {json.dumps(recipe.dataset.license)}"]),
        f"pretty_name: {json.dumps(recipe.dataset.name)}",
        f"size_categories:\n- {next((text for size, text in _SIZES if count < size), 'n>1M')}",
        "tags:\n- medical\n- radiology\n- dicom",
        "configs:",
        *(f"- config_name: {name}\n  data_files: {name}.parquet" for name in _TABLES if name in tables),
    ]
    if recipe.arrays.values != "none":
        lines.append("- config_name: frames\n  data_files: frames/*.parquet")
    return "\n".join(["---", *lines, "---"])


def _contents(tables: Mapping[str, pd.DataFrame]) -> str:
    series, instances = tables.get("series", pd.DataFrame()), tables.get("instances", pd.DataFrame())
    rows = []
    for title, keyword in (("patients", "PatientID"), ("studies", "StudyInstanceUID"), ("series", "SeriesInstanceUID")):
        if keyword in series:
            rows.append((title, series[keyword].nunique()))
    rows.append(("instances", len(instances)))
    return _section("Contents", _table(("", "count"), rows))


def _splits(recipe: Recipe, tables: Mapping[str, pd.DataFrame]) -> str:
    splits, series = tables.get("splits", pd.DataFrame()), tables.get("series", pd.DataFrame())
    if "split" not in splits:
        return ""
    counts = splits.groupby("split", sort=True)["PatientID"].nunique()
    joined = (
        series.merge(splits[["PatientID", "split"]], on="PatientID", how="inner") if "PatientID" in series else None
    )
    rows = [
        (name, count, int((joined["split"] == name).sum()) if joined is not None else "")
        for name, count in counts.items()
    ]
    strata = f", in strata of {', '.join(recipe.splits.stratify)}" if recipe.splits.stratify else ""
    text = f"By patient{strata}; no patient is in two splits."
    return _section("Splits", _escaped(text), _table(("split", "patients", "series"), rows))


def _selection(recipe: Recipe, tables: Mapping[str, pd.DataFrame], facts: Mapping[str, Any]) -> str:
    issues = tables.get("issues", pd.DataFrame(columns=["kind", "reason"]))
    drops = (
        issues.loc[issues["kind"] == "drop", "reason"].value_counts() if "kind" in issues else pd.Series(dtype="int")
    )
    rows = sorted(drops.items(), key=lambda row: (-row[1], str(row[0])))
    text = "The recipe of the selection is in `recipe.toml`."
    if facts.get("found") is not None:
        text += f" The query found {int(facts['found'])} series."
    left = _table(("left out because", "series"), _shortened(rows)) if rows else "Nothing that was found was left out."
    return _section("Selection", text, left)


def _acquisition(tables: Mapping[str, pd.DataFrame]) -> str:
    series = tables.get("series", pd.DataFrame())
    parts = []
    for keyword in _ACQUISITION:
        if keyword not in series:
            continue
        values = series[keyword]
        if pd.api.types.is_numeric_dtype(values.dtype) and values.nunique() > _MOST:
            spread = values.astype("float64").quantile([0, 0.25, 0.5, 0.75, 1])
            header: Sequence[str] = ("least", "25 %", "median", "75 %", "most", "missing")
            rows: list[Sequence[Any]] = [(*(f"{each:.4g}" for each in spread), int(values.isna().sum()))]
        else:
            counts = values.astype("object").where(values.notna(), "missing").value_counts()
            header = (keyword, "series")
            rows = list(_shortened(sorted(counts.items(), key=lambda row: (-row[1], str(row[0])))))
        parts.append(f"**{keyword}**\n\n{_table(header, rows)}")
    return _section("Acquisition", *parts) if parts else ""


def _issues(tables: Mapping[str, pd.DataFrame]) -> str:
    issues = tables.get("issues", pd.DataFrame())
    told = issues.loc[issues["kind"] != "drop", "reason"].value_counts() if "kind" in issues else pd.Series(dtype="int")
    if told.empty:
        return _section("Known issues", "None was found while it was built.")
    rows = sorted(told.items(), key=lambda row: (-row[1], str(row[0])))
    return _section("Known issues", _table(("issue", "times"), _shortened(rows)))


def _privacy(recipe: Recipe, facts: Mapping[str, Any]) -> str:
    if not recipe.anonymize.on:
        return _section(
            "Privacy", "**Nothing was de-identified.** This dataset may hold personal data; do not share it."
        )
    text = f"De-identified with the profile {_escaped(recipe.anonymize.profile)}."
    return _section("Privacy", text, _escaped(str(facts.get("profile", ""))))


def _reading(recipe: Recipe) -> str:
    lines = ["import orthanc_research as ores", "", 'ds = ores.open_dataset(".")', "ds.series, ds.splits"]
    if recipe.arrays.values != "none":
        lines.append(f'volume = ds.volume(ds.series.index[0], values="{recipe.arrays.values}")')
    return _section("Reading", "\n".join(["```python", *lines, "```"]), "The tables are plain parquet for any reader.")


def _provenance(recipe: Recipe, facts: Mapping[str, Any]) -> str:
    rows: list[Sequence[Any]] = [("version", recipe.dataset.version), ("recipe", str(facts.get("recipe", recipe.hash)))]
    if facts.get("content_hash"):
        rows.append(("content", facts["content_hash"]))
    rows += sorted((str(name), str(version)) for name, version in dict(facts.get("versions", {})).items())
    return _section("Provenance", _table(("", ""), rows))


def _section(title: str, *parts: str) -> str:
    return "\n\n".join([f"## {title}", *(part for part in parts if part)])


def _shortened(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    yield from rows[:_MOST]
    if len(rows) > _MOST:
        yield (f"{len(rows) - _MOST} others", sum(int(row[-1]) for row in rows[_MOST:]))


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header)]
    body = [[_escaped(str(cell)) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [*lines, *body])


def _escaped(text: str) -> str:
    """One line in which nothing is markup, of Markdown or of HTML, and no control character is left."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return _SPECIAL.sub(r"\\\1", line[:500]).replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")
