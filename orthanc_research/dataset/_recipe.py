"""A recipe: everything that decides what is in a dataset, as a small text that anyone can read and nobody can abuse."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orthanc_research.dataset._public import published
from orthanc_research.dataset._reader import CREDENTIALS, Problems, Table
from orthanc_research.dataset._sections import (
    About,
    Anonymize,
    Arrays,
    Filtering,
    LabelTable,
    Metadata,
    Outputs,
    Search,
    Source,
    Splits,
    keyword,
)
from orthanc_research.dataset._toml import lines_of, to_toml
from orthanc_research.errors import DatasetError, QueryError

if TYPE_CHECKING:
    from orthanc_research.dataset._plan import DatasetPlan
    from orthanc_research.orthanc import Orthanc
    from orthanc_research.progress import Progress

__all__ = ["Recipe"]

_LARGEST = 256 * 1024  # bytes
_TABLES = ("filter", "anonymize", "arrays", "metadata", "labels", "splits", "outputs")
_SOURCE = "[source]"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Recipe:
    """What is in a dataset, decided before a request is sent: the tables of a recipe, checked and frozen.

    `Recipe.load` reads a file and `Recipe.parse` a text. Nothing in a recipe runs: filters are a language of their own,
    servers and secrets are names of environment variables, and a table of labels lies beside the recipe.
    """

    dataset: About
    sources: tuple[Source, ...]
    query: Search
    filter: Filtering
    anonymize: Anonymize
    arrays: Arrays
    metadata: Metadata
    labels: LabelTable | None
    splits: Splits
    outputs: Outputs
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a recipe; `DatasetError` ("recipe.toml:12: …") for whatever is wrong with it."""
        file = Path(path)
        try:
            if file.stat().st_size > _LARGEST:
                raise DatasetError(f"{file.name}: this is too large for a recipe.")
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise DatasetError(f"{file.name}: this is no UTF-8 text.") from None
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            raise DatasetError(f"{file.name}: it cannot be read ({reason}).") from None
        return cls.parse(text, name=file.name, folder=file.parent)

    @classmethod
    def parse(cls, text: str, *, name: str = "recipe.toml", folder: str | os.PathLike[str] | None = None) -> Recipe:
        """Read a recipe from a text; `folder` is where its table of labels would lie, `name` what errors call it.

        `DatasetError` for whatever is wrong with it, with the line.
        """
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise DatasetError(_not_toml(name, str(error), text)) from None
        except RecursionError:
            raise DatasetError(f"{name}:1: it is nested too deeply.") from None
        problems = Problems(name, lines_of(text))
        _refuse_credentials(values, problems)
        return _read(values, problems, None if folder is None else Path(folder))

    @property
    def hash(self) -> str:
        """The sha256 (hex) of all of it but [[source]]; what is said as its default is as if it were not said."""
        tables = {name: values for name, values in self._tables() if name != _SOURCE}
        return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()

    def to_toml(self, *, public: bool = False) -> str:
        """The recipe as a text that `parse` reads.

        `public` leaves out what may lead to a source: [[source]], and what the query or the filter say of a patient, a
        study, a person or a day. A comment names the keywords, and such a text gives no dataset: nothing is widened.
        """
        if not public:
            return to_toml(self._tables())
        tables = [(name, published(name, values)[0]) for name, values in self._tables() if name != _SOURCE]
        if not self.withheld:
            return to_toml(tables, [f"recipe {self.hash}"])
        # Without the hash, from which a short query could be guessed.
        return to_toml(tables, [f"Withheld, because they may lead to a patient: {', '.join(self.withheld)}."])

    @property
    def withheld(self) -> tuple[str, ...]:
        """The keywords of which `to_toml(public=True)` does not say what is asked."""
        gone = [name for table, values in self._tables() if table != _SOURCE for name in published(table, values)[1]]
        return tuple(dict.fromkeys(gone))

    def __repr__(self) -> str:
        return f"<Recipe {self.dataset.name} {self.dataset.version} {self.hash[:8]}>"

    def plan(self, orthanc: Orthanc | None = None, *, progress: Progress | bool | None = None) -> DatasetPlan:
        """What a build would hold and leave out; nothing is written, and only headers and the index are read.

        `orthanc` overrides [[source]]. Three or four requests for each series that the filter keeps. `DatasetError` for
        labels that do not fit; errors of the server as everywhere.
        """
        from orthanc_research.dataset._plan import plan

        return plan(self, orthanc, progress)

    def labels_file(self) -> Path | None:
        """Where the table of labels is; `DatasetError` when it is not there or a link leads out of the folder."""
        return None if self.labels is None else self._beside(self.labels.table, "labels.table")

    def profile_file(self) -> Path | None:
        """Where the profile is, when it is one of the user's own; `DatasetError` as of `labels_file`."""
        name = self.anonymize.profile
        return self._beside(name, "anonymize.profile") if name.endswith(".json") else None

    def _beside(self, name: str, key: str) -> Path:
        if self.folder is None:
            raise DatasetError(f"This recipe was read from a text; say in which folder the file of its {key} is.")
        folder = self.folder.resolve()
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise DatasetError(f"{key}: a link leads out of the recipe's folder; put the file itself there.")
        if not path.is_file():
            raise DatasetError(f"{key}: there is no such file beside the recipe.")
        return path

    def _tables(self) -> Iterator[tuple[str, dict[str, Any]]]:
        about, filtering, splits = self.dataset, self.filter, self.splits
        geometry = {name: getattr(filtering.geometry, name) for name in filtering.geometry.__slots__}
        yield "dataset", {**_plain(about), "description": about.description or None}
        yield from ((_SOURCE, _plain(source)) for source in self.sources)
        match = {key: list(value) if isinstance(value, tuple) else value for key, value in self.query.match.items()}
        yield "query", {"level": self.query.level, "match": match}
        yield (
            "filter",
            {
                "expr": filtering.expr.text if filtering.expr else None,
                "exclude_image_type": list(filtering.exclude_image_type),
                "geometry": geometry if filtering.geometry.require != "none" else {"require": "none"},
            },
        )
        yield "anonymize", _plain(self.anonymize)
        yield "arrays", _plain(self.arrays)
        yield "metadata", _plain(self.metadata)
        if self.labels is not None:
            yield "labels", _plain(self.labels)
        yield "splits", {**_plain(splits), "ratios": dict(splits.ratios)}
        yield "outputs", _plain(self.outputs)


def _plain(section: Any) -> dict[str, Any]:
    values = {name: getattr(section, name) for name in section.__slots__}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _read(values: Mapping[str, Any], problems: Problems, folder: Path | None) -> Recipe:
    top = Table(values, (), problems)
    for required in ("dataset", "query"):
        if not top.has(required):
            raise problems.error((), f"there is no [{required}] in it.")
    about, search = top.table("dataset"), top.table("query")
    tables = {name: top.table(name) for name in _TABLES}
    recipe = Recipe(
        dataset=About.read(about),
        sources=_sources(top, problems),
        query=Search.read(search),
        filter=Filtering.read(tables["filter"]),
        anonymize=Anonymize.read(tables["anonymize"]),
        arrays=Arrays.read(tables["arrays"]),
        metadata=Metadata.read(tables["metadata"]),
        labels=LabelTable.read(tables["labels"]) if top.has("labels") else None,
        splits=Splits.read(tables["splits"]),
        outputs=Outputs.read(tables["outputs"]),
        folder=folder,
    )
    for table in (about, search, *tables.values(), top):
        table.close()
    _check_together(recipe, tables)
    return recipe


def _sources(top: Table, problems: Problems) -> tuple[Source, ...]:
    listed = top.get("source")
    if listed is None:
        return ()
    if not isinstance(listed, list):
        top.refuse("source", "write it as [[source]], with two brackets: there may be several.")
    found = []
    for place, values in enumerate(listed):
        table = Table(values, ("source", str(place)), problems)
        found.append(Source.read(table))
        table.close()
    return tuple(found)


def _check_together(recipe: Recipe, tables: Mapping[str, Table]) -> None:
    """Refuse what is right by itself and makes no sense beside the rest."""
    arrays, geometry = recipe.arrays, recipe.filter.geometry
    if arrays.also and geometry.require != "volume":
        tables["arrays"].refuse("also", 'volumes need [filter] geometry = { require = "volume" }.')
    if arrays.values == "stored" and arrays.also and geometry.on_missing == "nan":
        tables["arrays"].refuse("values", 'on_missing = "nan" needs numbers with NaN: values = "rescaled".')
    if arrays.values == "stored" and arrays.also and geometry.on_shear == "resample":
        tables["arrays"].refuse("values", 'on_shear = "resample" needs numbers with NaN: values = "rescaled".')
    if arrays.values == "suv" and recipe.query.match.get("Modality", "PT") not in ("PT", ("PT",)):
        tables["arrays"].refuse("values", "SUV is of PET alone; the query asks for another Modality.")
    if arrays.values == "none" and recipe.outputs.quality:
        tables["outputs"].refuse("quality", 'values = "none" reads no pixels; there is nothing to draw.')
    for name in recipe.splits.stratify:
        if recipe.labels is not None and recipe.labels.on == "SOPInstanceUID" and name in recipe.labels.columns:
            tables["splits"].refuse("stratify", f"{name} is a label of instances; patients are stratified.")
        if recipe.labels is None:
            tables["splits"].checked("stratify", partial(_stratum, name))
        elif recipe.labels.columns and name not in recipe.labels.columns:
            tables["splits"].checked("stratify", partial(keyword, name))


def _stratum(name: str) -> str:
    try:
        return keyword(name)
    except QueryError:
        raise QueryError("a column here is no DICOM keyword, and there is no [labels] table to find it in.") from None


def _refuse_credentials(values: Any, problems: Problems, path: tuple[str, ...] = ()) -> None:
    if isinstance(values, Mapping):
        for key, value in values.items():
            _refuse_credentials(value, problems, (*path, str(key)))
    elif isinstance(values, list):
        for place, value in enumerate(values):
            _refuse_credentials(value, problems, (*path, str(place)))
    elif isinstance(values, str) and CREDENTIALS.search(values):
        raise problems.error(
            path, "a recipe holds no user, password or token; name an environment variable, as env:NAME."
        )


def _not_toml(name: str, message: str, text: str) -> str:
    """The words of tomllib without what it quotes: that was typed by somebody."""
    at = re.search(r"\(at line (\d+), column (\d+)\)", message)
    line = int(at[1]) if at else max(len(text.splitlines()), 1)
    reason = message.split(" (at ")[0]
    quoted = "'" in reason or '"' in reason
    return f"{name}:{line}: this is not TOML{'' if quoted else f' ({reason})'}{f', at column {at[2]}' if at else ''}."
