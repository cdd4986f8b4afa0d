"""Texts: whether they can be read at all, and whether every word is one of the vocabulary."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache

from pydicom.charset import decode_bytes, python_encoding

from ._table import lower_units, words

__all__ = ["decoded", "encodings_of", "speaks_vocabulary"]

_BREAK = re.compile(r"[\s,;:/\\|+\-_()\[\]{}.<>=*&%#@!?\"'^~]+")
_NUMBER = re.compile(r"\d{1,3}")
_WORD = re.compile(r"([^\W\d_]*)(\d{0,3})([^\W\d_]*)(\d{0,3})")
_DATE = re.compile(r"\d{1,4}[.\-/\s]\d{1,2}[.\-/\s]\d{1,4}|\d{4,}")
_MOST_NUMBERS = 2  # in a row: three may be a date or a telephone
# Delimiters at which ISO 2022 goes back to its first character set (PS3.5 section 6.1.2.5.3).
_DELIMITERS = {"\\", "\r", "\n", "\t", "\f", "^", "="}
_DELIMITER_CODES = {ord(each) for each in _DELIMITERS}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffd]")


def encodings_of(value: bytes) -> tuple[str, ...] | None:
    """Python's names of the encodings that SpecificCharacterSet names; None when it names one that is unknown."""
    try:
        terms = [term.strip() for term in value.decode("ascii").rstrip("\0 ").split("\\")]
    except UnicodeDecodeError:
        return None
    if any(term and term not in python_encoding for term in terms):
        return None
    # The default repertoire is ASCII; pydicom reads Latin 1 there, which never fails.
    names = [python_encoding[term] if term not in ("", "ISO_IR 6", "ISO 2022 IR 6") else "ascii" for term in terms]
    return tuple(names) if names else ("ascii",)


def decoded(value: bytes, encodings: tuple[str, ...]) -> str | None:
    """The text without its padding; None when it is not of these character sets, or holds control characters."""
    value = value.rstrip(b" \0")
    if value.isascii() and b"\x1b" not in value:
        text = value.decode("ascii")
        return None if _CONTROL.search(text) else text
    try:
        text = (
            value.decode(encodings[0]) if len(encodings) == 1 and b"\x1b" not in value else _iso2022(value, encodings)
        )
    except (UnicodeDecodeError, LookupError, ValueError):
        return None
    return None if _CONTROL.search(text) else text


def _iso2022(value: bytes, encodings: tuple[str, ...]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what cannot be decoded comes back as U+FFFD, which is refused
        return decode_bytes(value, [("iso8859" if each == "ascii" else each) for each in encodings], _DELIMITER_CODES)


@lru_cache(8192)
def speaks_vocabulary(text: str, own: frozenset[str]) -> bool:
    """Whether every word is in the shipped vocabulary or in `own`, and no number could be a date or an id."""
    text = text.casefold()
    if _DATE.search(text):
        return False
    known, in_a_row = words(), 0
    for token in _BREAK.split(text):
        if not token:
            continue
        number = _NUMBER.fullmatch(token) is not None
        in_a_row = in_a_row + 1 if number else 0
        if in_a_row > _MOST_NUMBERS or not (number or token in own or token in known or _mixed(token, known)):
            return False
    return True


def _mixed(token: str, known: frozenset[str]) -> bool:
    """A word with its number, or a number with its unit: "t1w", "5mm", "ep2d", "iso1"."""
    found = _WORD.fullmatch(token)
    if found is None or not (found[2] or found[4]):
        return False
    return all(not part or part in known or part in lower_units() for part in (found[1], found[3]))
