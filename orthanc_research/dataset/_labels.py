"""Labels from a table of the user's own, joined on an identifier; whatever does not fit is told, not guessed."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from orthanc_research.dataset._sections import IDENTIFIERS
from orthanc_research.errors import DatasetError, QueryError

__all__ = ["Joined", "join_labels", "read_labels"]

_LARGEST = 512 * 1024 * 1024  # bytes
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
# What stands for "nothing" in a column of numbers; in a column of texts it is a text.
_NOTHING = frozenset({"NA", "N/A", "nan", "NaN", "null", "NULL", "None"})


@dataclass(frozen=True, slots=True)
class Joined:
    """What came of a join.

    - `frame`: the rows as they were, with the labels' columns; NA where there is no label, or an ambiguous one.
    - `unlabelled`: the index of the rows without a label.
    - `unused`: how many rows of the labels found nothing.
    - `ambiguous`: the index of the rows whose identifier belongs to more than one patient; they got no label.
    """

    frame: pd.DataFrame
    unlabelled: pd.Index[Any]
    unused: int
    ambiguous: pd.Index[Any]

    def __repr__(self) -> str:
        counts = f"{len(self.unlabelled)} rows without a label, {self.unused} labels without a row"
        return f"<Joined {len(self.frame)} rows, {counts}, {len(self.ambiguous)} ambiguous>"

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not as it should be, in sentences without values."""
        found = (
            (len(self.unlabelled) - len(self.ambiguous), "rows have no label."),
            (self.unused, "rows of the labels belong to nothing in the dataset."),
            (len(self.ambiguous), "rows have an identifier that several patients share, and got no label."),
        )
        return tuple(f"{count} {text}" for count, text in found if count)


def read_labels(path: str | os.PathLike[str], on: str, columns: Collection[str] = ()) -> pd.DataFrame:
    """A table of labels, .csv or .parquet, with its column `on` as text.

    Of a CSV, `on` stays as written ("007" is not 7). Another column is whole numbers (Int64) or numbers (float64) when
    every value of it is one as a computer would write it, else text. `columns` are the ones to keep, all by default.
    `DatasetError` for a file that cannot be read or has no such column, and for identifiers that lost their digits.
    """
    file = Path(path)
    try:
        if file.stat().st_size > _LARGEST:
            raise DatasetError(f"{file.name}: this is too large for a table of labels.")
        table = pd.read_parquet(file) if file.suffix == ".parquet" else _read_csv(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        # Not chained: the parser's words may show a line of the file.
        raise DatasetError(f"{file.name}: it cannot be read as a table ({type(error).__name__}).") from None
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    if not table.columns.is_unique:
        raise DatasetError(f"{file.name}: two columns have the same name.")
    for name in (on, *columns):
        if name not in table.columns:
            raise DatasetError(f"{file.name}: there is no column {name}.")
    table = table[[on, *(name for name in columns or table.columns if name != on)]].copy()
    table[on] = _identifiers(table[on], file.name)
    return table


def join_labels(rows: pd.DataFrame, labels: pd.DataFrame, on: str, *, patient: str = "PatientID") -> Joined:
    """Add the columns of `labels` to `rows` by their column `on`; both ends are stripped of blanks, case counts.

    Rows of `labels` that are the same are one. `DatasetError` when two of them say different things of one identifier,
    when `rows` has no such column, and when a column is there on both sides. Where the rows of one identifier belong to
    several patients (column `patient`), which an AccessionNumber may, no label is given.
    """
    if on not in IDENTIFIERS:
        raise QueryError(f"Labels are joined on an identifier: {', '.join(IDENTIFIERS)}.")
    if on not in rows.columns:
        raise DatasetError(f"The rows have no {on} to join labels on.")
    both = [name for name in labels.columns if name != on and name in rows.columns]
    if both:
        raise DatasetError(f"The labels have a column {both[0]}, and so have the rows; rename it in the labels.")
    given = labels[labels[on].notna() & (labels[on] != "")].drop_duplicates()
    twice = given[on].duplicated(keep=False)
    if twice.any():
        raise DatasetError(
            f"{given.loc[twice, on].nunique()} identifiers have several rows with different labels; keep one each."
        )
    found = given.set_index(on)
    keys = _keys(rows[on], found.index, several=on == "OtherPatientIDs")
    shared = _shared(keys, rows[patient] if patient in rows.columns else None)
    places = found.index.get_indexer(pd.Index(keys.where(~shared, None)))
    taken = found.take(places.clip(min=0)) if len(found) else found.reindex([None] * len(rows))
    data = {name: taken[name].array for name in found.columns}
    added = pd.DataFrame(data, index=rows.index)
    if len(found):
        added = added.astype({name: "Int64" for name in added.columns if added[name].dtype.kind in "iu"})
        added = added.astype({name: "boolean" for name in added.columns if added[name].dtype == bool})
        added[places < 0] = pd.NA
    frame = pd.concat([rows, added], axis=1)
    frame.attrs = rows.attrs
    unused = int((~given[on].isin(set(keys.dropna()))).sum())
    return Joined(frame, rows.index[places < 0], unused, rows.index[shared.to_numpy()])


def _keys(column: pd.Series[Any], known: pd.Index[Any], *, several: bool) -> pd.Series[Any]:
    """The identifier of each row; of `several` in one value (PS3.5 §6.2, by backslash) the first that has a label."""
    keys = column.astype("str").str.strip()
    if not several:
        return keys

    def one(text: Any) -> Any:
        parts = [part.strip() for part in text.split("\\")] if isinstance(text, str) else [text]
        return next((part for part in parts if part in known), parts[0])

    return keys.map(one).astype("str")


def _shared(keys: pd.Series[Any], patients: pd.Series[Any] | None) -> pd.Series[bool]:
    """Whether the identifier of each row belongs to several patients."""
    if patients is None:
        return pd.Series(data=False, index=keys.index)
    counts = patients.astype("str").groupby(keys.to_numpy()).nunique(dropna=False)
    return keys.isin(counts.index[counts > 1])


def _read_csv(file: Path) -> pd.DataFrame:
    # The header as a row like any other: else pandas takes the first column for an index where rows have one value more
    # than it, so that each column has its neighbour's values, and calls a second column of one name by another name.
    rows = pd.read_csv(file, header=None, dtype="str", keep_default_na=False, na_values=[""], encoding="utf-8-sig")
    texts = rows.iloc[1:].reset_index(drop=True)
    names = [f"Unnamed: {place}" if pd.isna(name) else name.strip() for place, name in enumerate(rows.iloc[0])]
    typed = {place: texts[place] if name in IDENTIFIERS else _typed(texts[place]) for place, name in enumerate(names)}
    return pd.DataFrame(typed).set_axis(names, axis=1)


def _typed(column: pd.Series[Any]) -> pd.Series[Any]:
    values = column.str.strip()
    numbers = values.mask(values.isin(_NOTHING))
    there = numbers.dropna()
    if len(there) and all(_WHOLE.fullmatch(each) for each in there):
        return pd.to_numeric(numbers).astype("Int64") if len(there) == len(numbers) else _whole(numbers)
    if len(there) and all(_NUMBER.fullmatch(each) for each in there):
        return numbers.astype("float64")
    return column


def _whole(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Through Python's integers: floats, which pandas would take for the gaps, have 53 bits."""
    return pd.Series([pd.NA if pd.isna(each) else int(each) for each in texts], index=texts.index, dtype="Int64")


def _identifiers(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    if pd.api.types.is_integer_dtype(column.dtype) or pd.api.types.is_string_dtype(column.dtype):
        return column.astype("str").where(column.notna()).astype("str").str.strip()
    raise DatasetError(f"{name}: its identifiers are no texts, and may have lost digits; write them as text.")
