"""TOML: where each key stands in a text, and a text again from plain values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["lines_of", "to_toml"]

_HEADER = re.compile(r"\s*\[(\[)?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*((?:[A-Za-z0-9_-]+|\"[^\"\n]*\"|'[^'\n]*')(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*=")
# Texts and comments, so that quotes in one of them begin no other.
_TEXTS = re.compile(r"""#[^\n]*|\"{3}(?:[^\\]|\\.)*?\"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""", re.DOTALL)
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """Key path → its line, from 1: ("query",), ("query", "match"). The n-th [[x]] is ("x", "n"), from 0.

    Keys in an inline table stand on the line of its own key.
    """
    found: dict[tuple[str, ...], int] = {}
    counts: dict[str, int] = {}
    table: tuple[str, ...] = ()
    for number, line in _outside_long_texts(text):
        header = _HEADER.match(line)
        key = _KEY.match(line)
        if header is not None:
            table = tuple(part.strip().strip("\"'") for part in header[2].split("."))
            if header[1]:
                place = counts.get(header[2], 0)
                counts[header[2]] = place + 1
                found.setdefault(table, number)
                table = (*table, str(place))
            found.setdefault(table, number)
        elif key is not None:
            parts = tuple(part.strip().strip("\"'") for part in key[1].split("."))
            for end in range(1, len(parts) + 1):
                found.setdefault((*table, *parts[:end]), number)
    return found


def _outside_long_texts(text: str) -> Iterator[tuple[int, str]]:
    """Lines that do not start inside a text of several lines."""
    inside: set[int] = set()
    for each in _TEXTS.finditer(text):
        first = text.count("\n", 0, each.start()) + 1
        inside.update(range(first + 1, first + each[0].count("\n") + 1))
    for number, line in enumerate(text.split("\n"), 1):  # no other character ends a line in TOML
        if number not in inside:
            yield number, line


def to_toml(tables: Iterable[tuple[str, Mapping[str, Any]]], comments: Iterable[str] = ()) -> str:
    """A text of tables in their order, as ("query", {…}); "[source]" is one of an array of tables. None is left out."""
    lines = [f"# {comment}" for comment in comments]
    for name, values in tables:
        lines += [""] if lines else []
        lines.append(f"[{name}]")
        lines += [f"{_key(key)} = {_value(value)}" for key, value in values.items() if value is not None]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return _text(str(value))


def _text(text: str) -> str:
    # A basic string of TOML is one of JSON, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
