"""The tables of a recipe, as frozen records, each with what it takes and refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd

from orthanc_research.dataset._filter import Filter
from orthanc_research.dataset._reader import Table
from orthanc_research.errors import QueryError
from orthanc_research.pixels import Reading
from orthanc_research.tables import Level, column_type, parse_criteria

__all__ = [
    "FACTS",
    "IDENTIFIERS",
    "About",
    "Anonymize",
    "Arrays",
    "Filtering",
    "Geometry",
    "LabelTable",
    "Metadata",
    "Outputs",
    "Search",
    "Source",
    "Splits",
    "keyword",
]

# What a filter may ask of a series beside DICOM's keywords: how many instances it has.
FACTS = ("instances",)
IDENTIFIERS = (
    "PatientID",
    "AccessionNumber",
    "StudyID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "OtherPatientIDs",
)
_SPLIT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}", re.ASCII)
_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_VERSION = re.compile(r"\d{1,6}(?:\.\d{1,6}){0,2}(?:[-+][A-Za-z0-9.-]{1,32})?", re.ASCII)


def keyword(name: str) -> str:
    """A DICOM keyword; `QueryError` for what is none, for Orthanc's own facts, and for binary elements."""
    column = column_type(name)
    if not column.vr:
        raise QueryError("Only DICOM keywords can stand here, as KVP or PatientAge.")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """[dataset]: what it is called. `seed` orders the splits; it is the name where nothing is said."""

    name: str
    version: str
    license: str
    seed: str
    description: str

    @classmethod
    def read(cls, table: Table) -> About:
        """`name` is for folders and links: letters, digits, dots, dashes."""
        name = table.text("name")
        if not _DATASET.fullmatch(name):
            table.refuse("name", "letters, digits, '.', '_' and '-' only, 64 at most.")
        version = table.text("version", "1.0.0")
        if not _VERSION.fullmatch(version):
            table.refuse("version", "this should be a version, as 1.0.0.")
        return cls(
            name=name,
            version=version,
            license=table.text("license", "unknown"),
            seed=table.text("seed", name),
            description=table.text("description", longest=2000) if table.has("description") else "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """[[source]]: an Orthanc, by the names of environment variables."""

    url: str
    auth: str | None
    concurrency: int

    @classmethod
    def read(cls, table: Table) -> Source:
        """No secret, and no address either: a recipe is for sharing."""
        url, auth = table.reference("url", required=True), table.reference("auth")
        return cls(url=url or "", auth=auth, concurrency=table.whole("concurrency", 4, 1, 8) or 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """[query]: the find that everything begins with."""

    level: Level
    match: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, table: Table) -> Search:
        """Checked as `Orthanc.find` checks it; a list means any of them."""
        level: Any = table.word("level", ("Patient", "Study", "Series"), "Series")
        given = table.table("match")
        match = {str(key): _criterion(given, str(key)) for key in given.keys()}  # noqa: SIM118 - a Table, no mapping
        for key, value in match.items():
            given.checked(key, partial(parse_criteria, level, {key: value}))
        if not match:
            table.refuse("match", "a dataset of everything is no dataset; say what to look for.")
        return cls(level=level, match=match)


def _check_beside(table: Table, key: str, path: str) -> None:
    parts = re.split(r"[/\\]", path)
    absolute = path.startswith(("/", "\\", "~", "$")) or re.match(r"[A-Za-z]:", path) is not None
    if absolute or ".." in parts or "\\" in path or "%" in path:
        table.refuse(key, "the file has to lie in the recipe's folder: a name without a way out of it.")


def _criterion(table: Table, key: str) -> Any:
    value = table.get(key)
    if hasattr(value, "isoformat"):  # a date of TOML
        value = value.isoformat()
    single = isinstance(value, str | int | float) and not isinstance(value, bool)
    many = isinstance(value, list) and value and all(isinstance(each, str | int | float) for each in value)
    if not single and not many:
        table.refuse(key, "this should be a text, a number, or a list of them.")
    return tuple(value) if many else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """[filter] geometry: whether a series has to be a volume, and what is done about what is almost one.

    `require` is "volume", or "none": frames are written as they are. "drop" leaves the series out, with the reason;
    the other words are those of `pixels.arrange`.
    """

    require: str
    on_missing: str
    on_shear: str
    on_4d: str
    min_slices: int

    @classmethod
    def read(cls, table: Table) -> Geometry:
        """Words about volumes make no sense where none is required."""
        require = table.word("require", ("volume", "none"), "none")
        found = cls(
            require=require,
            on_missing=table.word("on_missing", ("drop", "nan", "split"), "drop"),
            on_shear=table.word("on_shear", ("drop", "keep", "resample"), "drop"),
            on_4d=table.word("on_4d", ("drop", "split", "stack"), "drop"),
            min_slices=table.whole("min_slices", 3, 2, 10_000) or 3,
        )
        if require == "none" and found != cls(
            require="none", on_missing="drop", on_shear="drop", on_4d="drop", min_slices=3
        ):
            table.refuse("require", 'on_missing, on_shear, on_4d and min_slices need require = "volume".')
        table.close()
        return found

    def reading(self, values: str) -> Reading:
        """As the verbs for volumes take it."""
        words = {"drop": "raise"}
        return Reading(
            values=values,
            min_slices=self.min_slices,
            on_missing=words.get(self.on_missing, self.on_missing),
            on_shear=words.get(self.on_shear, self.on_shear),
            on_4d=words.get(self.on_4d, self.on_4d),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtering:
    """[filter]: which of the series that were found are kept."""

    expr: Filter | None
    exclude_image_type: tuple[str, ...]
    geometry: Geometry

    @classmethod
    def read(cls, table: Table) -> Filtering:
        """`expr` is our own small language; its columns are DICOM keywords and `FACTS`."""
        text = table.text("expr", "", longest=4000) if table.has("expr") else ""
        expr = table.checked("expr", lambda: Filter.parse(text)) if text else None
        for name in expr.columns if expr else ():
            if name not in FACTS:
                table.checked("expr", partial(keyword, name))
        return cls(
            expr=expr,
            exclude_image_type=table.texts("exclude_image_type"),
            geometry=Geometry.read(table.table("geometry")),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """What `reasons` reads of a series."""
        return (*(self.expr.columns if self.expr else ()), *(("ImageType",) if self.exclude_image_type else ()))

    def reasons(self, series: pd.DataFrame) -> pd.Series[str]:
        """Why each series is left out, from its columns alone: "" for one that is kept. Geometry comes later.

        `exclude_image_type` looks for whole values of ImageType, whatever their case; a series without one is kept.
        """
        reasons = pd.Series("", index=series.index, dtype="str")
        if self.exclude_image_type:
            unwanted = {each.upper() for each in self.exclude_image_type}
            found = [
                sorted(unwanted & {part.strip().upper() for part in str(value).split("\\")})
                for value in series["ImageType"].fillna("")
            ]
            reasons = pd.Series([f"image type {each[0]}" if each else "" for each in found], series.index, dtype="str")
        return reasons if self.expr is None else reasons.where(reasons != "", self.expr.reasons(series))


@dataclass(frozen=True, slots=True, kw_only=True)
class Anonymize:
    """[anonymize]: the release project that gives pseudonyms, and its profile; "none" leaves everything as it is."""

    project: str | None
    profile: str

    @classmethod
    def read(cls, table: Table) -> Anonymize:
        """A profile needs a project, and none needs none. One of the user's own lies beside the recipe, as JSON."""
        found = cls(project=table.reference("project"), profile=table.text("profile", "none", longest=64))
        if found.profile not in ("none", "research"):
            if not found.profile.endswith(".json"):
                table.refuse("profile", "write none, research, or the name of a profile's .json beside the recipe.")
            _check_beside(table, "profile", found.profile)
        if found.profile != "none" and found.project is None:
            table.refuse("profile", "a profile needs the release project: project = 'env:NAME'.")
        if found.profile == "none" and found.project is not None:
            table.refuse("project", "there is a project and no profile; name one, or leave the project out.")
        return found

    @property
    def on(self) -> bool:
        """Whether anything is de-identified."""
        return self.profile != "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrays:
    """[arrays]: `values` of volumes, and further forms; "none" reads no pixels at all."""

    values: str
    also: tuple[str, ...]

    @classmethod
    def read(cls, table: Table) -> Arrays:
        """Frames are stored values with slope and intercept beside them, whatever the volumes hold."""
        found = cls(
            values=table.word("values", ("stored", "rescaled", "suv", "none"), "stored"),
            also=table.texts("also", ("nifti", "npy", "npz")),
        )
        if found.values == "none" and found.also:
            table.refuse("also", 'values = "none" reads no pixels; there is nothing to write.')
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """[metadata]: further columns of the tables."""

    keywords: tuple[str, ...]

    @classmethod
    def read(cls, table: Table) -> Metadata:
        """Each a DICOM keyword that a table can hold."""
        names = table.texts("keywords")
        for name in names:
            table.checked("keywords", partial(keyword, name))
        return cls(keywords=names)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """[labels]: a CSV or parquet file beside the recipe, joined on an identifier."""

    table: str
    on: str
    columns: tuple[str, ...]

    @classmethod
    def read(cls, table: Table) -> LabelTable:
        """The path may not leave the recipe's folder."""
        path = table.text("table")
        _check_beside(table, "table", path)
        if not path.endswith((".csv", ".parquet")):
            table.refuse("table", "this should be a .csv or a .parquet file.")
        return cls(table=path, on=table.word("on", IDENTIFIERS, "StudyInstanceUID"), columns=table.texts("columns"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """[splits]: how patients are shared out."""

    unit: str
    ratios: Mapping[str, float]
    stratify: tuple[str, ...]
    lock: bool
    kfold: int | None

    @classmethod
    def read(cls, table: Table) -> Splits:
        """Ratios add up to 1; the unit is the patient, always."""
        unit = table.text("unit", "patient")
        if unit != "patient":
            table.refuse("unit", "only patient: anything smaller puts one patient on both sides.")
        given = table.table("ratios")
        ratios = {str(name): _ratio(given, str(name)) for name in given.keys()}  # noqa: SIM118 - a Table
        if ratios and abs(sum(ratios.values()) - 1) > 1e-6:
            table.refuse("ratios", "they do not add up to 1.")
        found = cls(
            unit=unit,
            ratios=ratios,
            stratify=table.texts("stratify"),
            lock=table.flag("lock", default=True),
            kfold=table.whole("kfold", None, 2, 100),
        )
        if found.stratify and not ratios and found.kfold is None:
            table.refuse("stratify", "there are no ratios and no kfold to stratify.")
        return found


def _ratio(table: Table, name: str) -> float:
    value = table.get(name)
    if not _SPLIT.fullmatch(name):
        table.refuse(None, "a split's name is letters, digits, '_' and '-'.")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        table.refuse(name, "this should be a number above 0, at most 1.")
    return float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """[outputs]: what is written beside the tables and frames."""

    croissant: bool
    card: bool
    quality: bool

    @classmethod
    def read(cls, table: Table) -> Outputs:
        """All of it unless said otherwise, but for the pictures."""
        return cls(
            croissant=table.flag("croissant", default=True),
            card=table.flag("card", default=True),
            quality=table.flag("quality", default=False),
        )
