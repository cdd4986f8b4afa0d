"""A filter, applied to rows: which are kept, and why others are not. `_grammar` has its language."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

import pandas as pd
from pydicom.datadict import dictionary_VR, tag_for_keyword

from orthanc_research.dataset._grammar import And, Compare, Missing, Node, Not, parsed
from orthanc_research.errors import QueryError

__all__ = ["Filter"]

_DAYS = {"D": 1, "W": 7, "M": 365.25 / 12, "Y": 365.25}


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was parsed: `text` as written, `tree` as frozen records."""

    text: str = field(repr=False)
    tree: Node

    @classmethod
    def parse(cls, text: str) -> Filter:
        """Read a filter; `QueryError` names the place, counted in characters from 1."""
        return cls(text, parsed(text))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads, each once, in its order."""
        return tuple(dict.fromkeys(leaf.column for leaf in _leaves(self.tree)))

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """What it compares with texts: (column, text), each once, in its order."""
        found = [leaf for leaf in _leaves(self.tree) if isinstance(leaf, Compare)]
        pairs = [(each.column, value) for each in found for value in _given(each) if isinstance(value, str)]
        return tuple(dict.fromkeys(pairs))

    def check(self, known: Collection[str]) -> None:
        """`QueryError` for a column that is not among `known`, with the nearest one that is."""
        for leaf in _leaves(self.tree):
            if leaf.column not in known:
                near = difflib.get_close_matches(leaf.column, list(known), n=1, cutoff=0.6)
                hint = f"; did you mean {near[0]}?" if near else "."
                raise QueryError(f"Character {leaf.place} of the filter: there is no column {leaf.column}{hint}")

    def keep(self, frame: pd.DataFrame) -> pd.Series[bool]:
        """True for each row that is kept; `QueryError` for unknown columns and values of another kind."""
        self.check([str(name) for name in frame.columns])
        return _evaluate(self.tree, frame).fillna(False).astype(bool)

    def reasons(self, frame: pd.DataFrame) -> pd.Series[str]:
        """Why each row is dropped: "" (kept), "filter: not met", or "filter: <columns> missing"."""
        self.check([str(name) for name in frame.columns])
        verdict = _evaluate(self.tree, frame)
        reasons = pd.Series("filter: not met", index=frame.index, dtype="str")
        reasons[verdict.fillna(False).astype(bool)] = ""
        missing = {name: _ages_or_as_is(name, frame[name]).isna() for name in self.columns}
        for place in verdict.isna().to_numpy().nonzero()[0].tolist():
            gone = [name for name in self.columns if missing[name].iloc[place]]
            reasons.iloc[place] = f"filter: {', '.join(gone)} missing"
        return reasons


def _leaves(node: Node) -> Iterator[Compare | Missing]:
    if isinstance(node, Compare | Missing):
        yield node
    else:
        for term in (node.term,) if isinstance(node, Not) else node.terms:
            yield from _leaves(term)


def _evaluate(node: Node, frame: pd.DataFrame) -> pd.Series[Any]:
    """True, False or NA for each row: pandas' "boolean", whose logic is Kleene's."""
    if isinstance(node, Missing):
        return frame[node.column].isna().astype("boolean")
    if isinstance(node, Compare):
        return _compared(node, frame[node.column])
    if isinstance(node, Not):
        return ~_evaluate(node.term, frame)
    result = _evaluate(node.terms[0], frame)
    for term in node.terms[1:]:
        other = _evaluate(term, frame)
        result = result & other if isinstance(node, And) else result | other
    return result


def _compared(node: Compare, column: pd.Series[Any]) -> pd.Series[Any]:
    values, given = _alike(node, column, _given(node))
    if node.sign == "in":
        # Not isin, which compares a float32 and a UInt64 otherwise than == does: 0.1 would not be in [0.1].
        result = reduce(or_, (values.eq(each) for each in given))
    elif node.sign == "contains":
        result = values.str.contains(given[0], regex=False)
    else:
        result = _by_sign(values, node.sign, given[0])
    return result.astype("boolean").mask(values.isna(), pd.NA)


def _given(node: Compare) -> tuple[Any, ...]:
    return node.value if isinstance(node.value, tuple) else (node.value,)


def _by_sign(values: pd.Series[Any], sign: str, given: Any) -> pd.Series[Any]:
    compare = {"<": values.lt, "<=": values.le, "==": values.eq, "!=": values.ne, ">=": values.ge, ">": values.gt}
    return compare[sign](given)


def _alike(node: Compare, column: pd.Series[Any], given: tuple[Any, ...]) -> tuple[pd.Series[Any], tuple[Any, ...]]:
    """Column and values of one kind, so that nothing is compared by accident."""
    where = f"Character {node.place} of the filter: {node.column}"
    texts = isinstance(given[0], str)
    if pd.api.types.is_bool_dtype(column.dtype):
        raise QueryError(f"{where} is yes or no; filters compare numbers, texts and days.")
    if pd.api.types.is_numeric_dtype(column.dtype):
        if texts or node.sign == "contains":
            raise QueryError(f"{where} holds numbers; compare it with a number.")
        return column, given
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        if not texts or node.sign == "contains":
            raise QueryError(f'{where} holds days; compare it with a day in quotes, as in "2021-03-31".')
        return column, tuple(_moment(value, where) for value in given)
    if pd.api.types.is_string_dtype(column.dtype) or column.isna().all():
        if not texts:
            raise QueryError(f"{where} holds texts; compare it with a text in quotes.")
        if _is_age(node.column) and node.sign != "contains":
            ages = pd.Series([_days(value) for value in given], dtype="float64")
            if ages.isna().any():
                raise QueryError(f'{where} holds ages; compare it with an age in quotes, as in "018Y" or "006M".')
            return _ages_or_as_is(node.column, column), tuple(ages)
        return column.astype("str"), given
    raise QueryError(f"{where} holds lists or times, which a filter can only ask whether they are missing.")


def _moment(text: str, where: str) -> pd.Timestamp:
    if re.fullmatch(r"\d{4}-?\d{2}-?\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?", text, re.ASCII):
        try:
            return pd.Timestamp(text)
        except ValueError:
            pass
    raise QueryError(f'{where} holds days; compare it with a day in quotes, as in "2021-03-31".')


def _is_age(name: str) -> bool:
    tag = tag_for_keyword(name)
    return tag is not None and dictionary_VR(tag) == "AS"


def _ages_or_as_is(name: str, column: pd.Series[Any]) -> pd.Series[Any]:
    """Ages in days, since as texts "100D" comes after "018Y"; NaN for what is no age. Any other column as it is."""
    if not _is_age(name):
        return column
    return pd.Series([_days(value) for value in column], index=column.index, dtype="float64")


def _days(text: Any) -> float | None:
    """Of an Age String (PS3.5 §6.2), with a year of 365.25 days."""
    found = re.fullmatch(r"\s*(\d{1,3})([DWMY])\s*", text, re.ASCII) if isinstance(text, str) else None
    return None if found is None else int(found[1]) * _DAYS[found[2]]
