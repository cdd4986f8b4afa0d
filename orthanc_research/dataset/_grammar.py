r"""A filter as a text: a small language of its own, since a shared recipe must not be able to run code.

    SliceThickness <= 3 and instances >= 40
    Modality in ["CT", "MR"] and not (SeriesDescription contains "scout")
    PatientAge is not missing or StudyDate >= "2021-01-01"

Names are columns. Numbers are compared with columns of numbers, texts in double or single quotes with columns of text
or of days. Ages (VR AS) are compared as ages, so that "100D" is less than "018Y". `contains` looks for a piece of a
text, case as written. `and`, `or`, `not` and parentheses as in Python, `not` before `and` before `or`. A missing value
makes a comparison neither true nor false, as in SQL: the row is not kept, also under `not`; only `is missing` sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orthanc_research.errors import QueryError

__all__ = ["And", "Compare", "Missing", "Node", "Not", "Or", "parsed"]

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


def parsed(text: str) -> Node:
    """Read a filter; `QueryError` names the place, counted in characters from 1."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise QueryError(f"A filter is a text of at most {_LONGEST} characters.")
    return _Parser(text).whole()


class _Token(NamedTuple):
    kind: str
    text: str
    place: int  # from 1


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
