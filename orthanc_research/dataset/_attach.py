"""The labels of a recipe, attached to the series or instances that its servers have; and put on these servers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from orthanc_research.dataset._identifying import identifying
from orthanc_research.dataset._labels import join_labels, read_labels
from orthanc_research.dataset._recipe import Recipe
from orthanc_research.dataset._released import profile_of
from orthanc_research.dataset._sections import IDENTIFIERS
from orthanc_research.errors import DatasetError, QueryError
from orthanc_research.orthanc import Orthanc
from orthanc_research.progress import Progress, Within

__all__ = ["Labels", "attached", "put_labels"]

_MOST = 10_000_000  # rows; a table of labels says no more
# Columns of a plan's rows, and of the tables: one of the labels would pass for them.
_OURS = frozenset(
    (
        *("source", "ID", "identity", "instances", "planned", "state", "reason", "bytes", "packed", "decoder"),
        *("Modality", "InstanceNumber", "SUVFactor", "frames", "file", "split", "fold"),
    )
)
_DAY = re.compile(
    r"(?:(?:19|20)\d\d([-/.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])|\d\d?([-/.])\d\d?\2(?:19|20)\d\d)"
    r"(?:\.0|[T ].*)?"
)
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Labels:
    """What a table of labels says of a plan: `series` and `instances` are the columns that either table gets.

    `by_instance` has a row an instance of the series that are kept: `source`, `ID`, `SOPInstanceUID` and the columns.
    """

    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    by_instance: pd.DataFrame | None = field(default=None, repr=False)


def attached(recipe: Recipe, frame: pd.DataFrame, orthancs: Sequence[Orthanc]) -> tuple[pd.DataFrame, Labels]:
    """The rows of a selection with the labels' columns; the recipe's own that identify were named, others are refused.

    For labels of instances the tags of all of them are read, from the index.
    """
    path = recipe.labels_file()
    if path is None or recipe.labels is None:
        return frame, Labels()
    on = recipe.labels.on
    table = read_labels(path, on, recipe.labels.columns)
    given = tuple(str(name) for name in table.columns if name != on)
    _check(recipe, table[list(given)])
    kept = frame[frame["reason"] == ""]
    if on == "SOPInstanceUID":
        rows = _instances(kept, orthancs)
        joined = join_labels(rows, table, on, patient="identity")
        _check_values(recipe, joined.frame, given)
        return frame, Labels(instances=given, notes=joined.notes, by_instance=joined.frame)
    renamed = frame.rename(columns={name: f"tag {name}" for name in given if name in frame.columns})
    joined = join_labels(renamed.loc[kept.index], table, on, patient="identity")
    _check_values(recipe, joined.frame, given)
    return renamed.join(joined.frame[list(given)]), Labels(series=given, notes=joined.notes)


def _check(recipe: Recipe, given: pd.DataFrame) -> None:
    named = recipe.labels.columns if recipe.labels is not None else ()
    hidden, names = recipe.anonymize.on, [str(name) for name in given]
    told = [name for name in identifying(names, traced=hidden) if hidden or name not in named]
    told += [name for name in names if name in IDENTIFIERS and name not in told]
    if told:
        raise DatasetError(f"The labels have the identifying column {told[0]}; name those to keep in labels.columns.")
    taken = [name for name in names if name in _OURS or name in recipe.metadata.keywords]
    if taken:
        raise DatasetError(f"The labels have a column {taken[0]}, and so has the dataset; rename it in the labels.")
    if not hidden or profile_of(recipe).dates == "keep":
        return
    days = [name for name in names if _holds_days(given[name].dropna())]
    if days:
        raise DatasetError(f"The labels have days in the column {days[0]}, and no day is kept; give ages or intervals.")


def _holds_days(values: pd.Series[Any]) -> bool:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return True
    found = [_DAY.fullmatch(str(each).strip()) is not None for each in values]
    return all(found) and bool(found) if pd.api.types.is_numeric_dtype(values.dtype) else any(found)


def _check_values(recipe: Recipe, rows: pd.DataFrame, given: Sequence[str]) -> None:
    """Refuse a column, whatever its name, that says of rows what they are called in the source."""
    known = [name for name in (*IDENTIFIERS, "ID") if name in rows.columns] if recipe.anonymize.on else []
    for name in given:
        labels = _bare(rows[name])
        numbers = pd.api.types.is_numeric_dtype(rows[name].dtype)
        for identifier in known:
            same = labels[labels.notna()] == _bare(rows[identifier])[labels.notna()]
            # A grade may be some patient's number by chance.
            if (same.all() and labels.nunique() > 1) if numbers else same.any():
                raise DatasetError(f"The labels have the column {name}, which tells the {identifier}; leave it out.")


def _bare(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.astype("str").str.strip().str.lstrip("0").where(values.notna())


def _instances(kept: pd.DataFrame, orthancs: Sequence[Orthanc]) -> pd.DataFrame:
    frames = []
    for place, orthanc in enumerate(orthancs):
        series = kept[kept["source"] == place].set_index("ID")
        found = orthanc.tags(list(series.index), ["SOPInstanceUID"], max_rows=_MOST)
        identity = found["ParentSeries"].map(series["identity"])
        frames.append(found[["SOPInstanceUID"]].assign(identity=identity, source=place).reset_index())
    return pd.concat(frames, ignore_index=True)


def put_labels(
    column: str, rows: pd.DataFrame, labels: Labels, orthancs: Sequence[Orthanc], progress: Progress
) -> pd.DataFrame:
    """See `DatasetPlan.put_labels`."""
    if column in labels.instances and labels.by_instance is not None:
        rows = labels.by_instance
    elif column not in labels.series:
        raise QueryError("This is no column of the recipe's table of labels.")
    told = rows[rows[column].notna()]
    texts = [f"{column}-{value}" for value in told[column]]
    if any(not _LABEL.fullmatch(text) for text in texts):
        raise QueryError("Labels of Orthanc are 1 to 64 letters, digits, _ and -; some values of this column are not.")
    sources = sorted(set(told["source"]))
    for place in sources:  # all of them, before anything is sent to one
        orthancs[place].capabilities().require("labels")
    ledgers = []
    pairs = sorted(set(zip(told["source"], texts, strict=True)))
    for place, text in pairs:
        chosen = (told["source"] == place) & (pd.Series(texts, index=told.index) == text)
        ledger = orthancs[place].label(list(told.loc[chosen, "ID"]), add=[text], progress=Within(progress))
        ledgers.append(ledger.reset_index().assign(source=place, label=text))
    columns = ["source", "ID", "label", "status", "error"]
    return pd.concat(ledgers, ignore_index=True)[columns] if ledgers else pd.DataFrame(columns=columns, dtype="str")
