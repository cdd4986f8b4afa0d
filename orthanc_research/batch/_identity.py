"""What a patient is called in files, and whether a text holds it. Never written down: it lives in memory alone.

Sources: PS3.5 6.2.1.2 (component groups of names).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from orthanc_research.tables import tag_of

__all__ = ["NUMBERS", "Identity"]

NUMBERS = "PatientID OtherPatientIDs AccessionNumber PatientBirthDate"
_NAMES = "PatientName OtherPatientNames PatientBirthName PatientMotherBirthName"
# Shorter ones are words by chance: numbers of two or three characters count as whole words only, and in codes, where
# "MR" is a modality and "HFS" a position, nothing that short is looked for.
_LONG = 4
_SHORTEST = 2
# An underscore parts words as a blank does.
_BEFORE, _AFTER, _BETWEEN = r"(?<![^\W_])", r"(?![^\W_])", r"[\W_]*"


def _keys(keywords: str) -> tuple[str, ...]:
    numbers = (tag_of(keyword) or 0 for keyword in keywords.split())
    return tuple(f"{number >> 16:04x},{number & 0xFFFF:04x}" for number in numbers)


_NAME_KEYS, _NUMBER_KEYS = _keys(_NAMES), _keys(NUMBERS)


@dataclass(frozen=True, slots=True)
class Identity:
    """The names and numbers of the people in some files, as they stand there."""

    names: frozenset[str] = field(default=frozenset(), repr=False)
    numbers: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, tags: Mapping[str, Any]) -> Identity:
        """From the tags of one file ({"gggg,eeee": value})."""
        return cls(_values(tags, _NAME_KEYS), _values(tags, _NUMBER_KEYS))

    def __or__(self, other: Identity) -> Identity:
        if other.names <= self.names and other.numbers <= self.numbers:
            return self
        return Identity(self.names | other.names, self.numbers | other.numbers)

    def is_in(self, text: str, *, coded: bool = False) -> bool:
        """Whether a text holds one of the numbers, or a part of a name as a word; `coded`: a value of CS or AE."""
        pattern = _pattern(self, coded)
        return pattern is not None and pattern.search(_fold(text)) is not None


def _values(tags: Mapping[str, Any], keys: tuple[str, ...]) -> frozenset[str]:
    texts = (str(tags.get(key) or "").strip(" \0") for key in keys)
    return frozenset(text for text in texts if text)


@lru_cache(maxsize=64)
def _pattern(identity: Identity, coded: bool) -> re.Pattern[str] | None:
    found = {each for text in identity.names for each in _of_name(_fold(text), coded)}
    found |= {each for text in identity.numbers for each in _of_number(_fold(text), coded)}
    return re.compile("|".join(sorted(found))) if found else None


def _of_name(text: str, coded: bool) -> Iterator[str]:
    for group in re.split(r"[=\\]", text):
        parts = [part for part in re.split(r"[\W_]+", group) if part]
        long = [part for part in parts if len(part) >= (_LONG if coded else _SHORTEST)]
        yield from (_word(re.escape(part), part) for part in long)
        # Many a Chinese name has one letter for the family and one for the given name.
        if len(parts) >= _SHORTEST and all(len(part) == 1 for part in parts) and not coded:
            yield _word(_BETWEEN.join(map(re.escape, parts)), group)


def _of_number(text: str, coded: bool) -> Iterator[str]:
    for number in (each.strip(" \0") for each in text.split("\\")):
        if len(number) >= _LONG:
            yield re.escape(number)
        elif len(number) >= _SHORTEST and not coded:
            yield _word(re.escape(number), number)


def _word(pattern: str, text: str) -> str:
    """As a word of its own; scripts that put no blanks between words have none."""
    return f"{_BEFORE}{pattern}{_AFTER}" if text.isascii() else pattern


def _fold(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))
