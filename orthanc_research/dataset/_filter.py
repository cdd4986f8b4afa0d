r"""A filter over rows, as a small language of its own: a shared recipe must not be able to run code.

    SliceThickness <= 3 and instances >= 40
    Modality in ["CT", "MR"] and not (SeriesDescription contains "scout")
    PatientAge is not missing or StudyDate >= "2021-01-01"

Names are columns. Numbers are compared with columns of numbers, texts in double or single quotes with columns of text
or of days. `contains` looks for a piece of a text, case as written. `and`, `or`, `not` and parentheses as in Python,
`not` before `and` before `or`. A missing value makes a comparison neither true nor false, as in SQL: the row is not
kept, also under `not`; only `is missing` sees it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from orthanc_research.errors import QueryError

__all__ = ["And", "Compare", "Filter", "Missing", "Node", "Not", "Or"]

_LONGEST = 4_000  # characters
_DEEPEST = 30  # parentheses and nots inside each other
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
      | (?P<text>"(?:[^"\\\n]|\\["\\])*"|'(?:[^'\\\n]|\\['\\])*')
      | (?P<sign><=|>=|==|!=|<|>|\(|\)|\[|\]|,)
    )""",
    re.VERBOSE | re.ASCII,
)
_WORDS = frozenset({"and", "or", "not", "in", "is", "missing", "contains"})
_SIGNS = frozenset({"<", "<=", "==", "!=", ">=", ">"})


@dataclass(frozen=True, slots=True)
class Compare:
    """A column against a value: `sign` is < <= == != >= >, "in" (a tuple of values) or "contains"."""

    column: str
    sign: str
    value: Any = field(repr=False)
    place: int


@dataclass(frozen=True, slots=True)
class Missing:
    """True where the column has no value."""

    column: str
    place: int


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite; where a value is missing, still neither."""

    term: Node


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of them at least."""

    terms: tuple[Node, ...]


Node = Compare | Missing | Not | And | Or


class _Token(NamedTuple):
    kind: str
    text: str
    place: int  # from 1


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was parsed: `text` as written, `tree` as frozen records."""

    text: str = field(repr=False)
    tree: Node

    @classmethod
    def parse(cls, text: str) -> Filter:
        """Read a filter; `QueryError` names the place, counted in characters from 1."""
        if not isinstance(text, str) or len(text) > _LONGEST:
            raise QueryError(f"A filter is a text of at most {_LONGEST} characters.")
        return cls(text, _Parser(text).whole())

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads, each once, in its order."""
        return tuple(dict.fromkeys(leaf.column for leaf in _leaves(self.tree)))

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
        for place in verdict.isna().to_numpy().nonzero()[0].tolist():
            gone = [name for name in self.columns if frame[name].isna().iloc[place]]
            reasons.iloc[place] = f"filter: {', '.join(gone)} missing"
        return reasons


def _leaves(node: Node) -> Iterator[Compare | Missing]:
    if isinstance(node, Compare | Missing):
        yield node
    else:
        for term in (node.term,) if isinstance(node, Not) else node.terms:
            yield from _leaves(term)


class _Parser:
    """Recursive descent over the tokens, one token ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._either()
        if self._next.kind != "end":
            raise self._wrong("and, or, or the end")
        return node

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> bool:
        if self._next.kind in ("word", "sign") and self._next.text in texts:
            self._at += 1
            return True
        return False

    def _wrong(self, expected: str) -> QueryError:
        # Not what stands there: it may be a patient's name.
        return QueryError(f"Character {self._next.place} of the filter: {expected} should stand here.")

    def _either(self) -> Node:
        terms = [self._both()]
        while self._take("or"):
            terms.append(self._both())
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _both(self) -> Node:
        terms = [self._term()]
        while self._take("and"):
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _term(self) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise QueryError(f"Character {self._next.place} of the filter: it is nested more than {_DEEPEST} deep.")
        if self._take("not"):
            node: Node = Not(self._term())
        elif self._take("("):
            node = self._either()
            if not self._take(")"):
                raise self._wrong("a closing parenthesis")
        else:
            node = self._comparison()
        self._depth -= 1
        return node

    def _comparison(self) -> Node:
        column, place = self._next.text, self._next.place
        if self._next.kind != "name":
            raise self._wrong("a column, not or an opening parenthesis")
        self._at += 1
        if self._take("is"):
            negated = self._take("not")
            if not self._take("missing"):
                raise self._wrong("missing")
            return Not(Missing(column, place)) if negated else Missing(column, place)
        negated = self._take("not")
        sign = self._next.text
        if self._take("in"):
            found = Compare(column, "in", self._list(), place)
        elif self._take("contains"):
            found = Compare(column, "contains", self._value("text"), place)
        elif not negated and self._take(*_SIGNS):
            return Compare(column, sign, self._value("number", "text"), place)
        else:
            raise self._wrong("in or contains" if negated else "a comparison (<= == in contains is …)")
        return Not(found) if negated else found

    def _list(self) -> tuple[Any, ...]:
        if not self._take("["):
            raise self._wrong("a list in square brackets")
        values = [self._value("number", "text")]
        while self._take(","):
            values.append(self._value("number", "text"))
        if not self._take("]"):
            raise self._wrong("a comma or a closing bracket")
        if len({isinstance(value, str) for value in values}) > 1:
            raise QueryError(f"Character {self._next.place} of the filter: a list holds numbers or texts, not both.")
        return tuple(values)

    def _value(self, *kinds: str) -> Any:
        token = self._next
        if token.kind not in kinds:
            raise self._wrong("a text in quotes" if kinds == ("text",) else "a number or a text in quotes")
        self._at += 1
        if token.kind == "text":
            return re.sub(r"\\(.)", r"\1", token.text[1:-1])
        return int(token.text) if re.fullmatch(r"[+-]?\d{1,18}", token.text) else float(token.text)


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            place = at + len(text[at:]) - len(text[at:].lstrip()) + 1
            raise QueryError(f"Character {place} of the filter: this is no name, number, text in quotes or comparison.")
        kind = match.lastgroup or ""
        found = match[kind]
        yield _Token("word" if kind == "name" and found in _WORDS else kind, found, match.start(kind) + 1)
        at = match.end()
    yield _Token("end", "", end + 1)


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
    given = node.value if isinstance(node.value, tuple) else (node.value,)
    absent = column.isna()
    values, given = _alike(node, column, given)
    if node.sign == "in":
        result = values.isin(list(given))
    elif node.sign == "contains":
        result = values.str.contains(given[0], regex=False)
    else:
        result = _by_sign(values, node.sign, given[0])
    return result.astype("boolean").mask(absent, pd.NA)


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
        return column.astype("str"), given
    raise QueryError(f"{where} holds lists or times, which a filter can only ask whether they are missing.")


def _moment(text: str, where: str) -> pd.Timestamp:
    if re.fullmatch(r"\d{4}-?\d{2}-?\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?", text, re.ASCII):
        try:
            return pd.Timestamp(text)
        except ValueError:
            pass
    raise QueryError(f'{where} holds days; compare it with a day in quotes, as in "2021-03-31".')
