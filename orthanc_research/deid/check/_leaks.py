"""Where a file still holds what a patient is called: element by element, at every depth.

A search through the bare bytes finds "Li" in every CT; one through whole fields misses "Mueller_T1". So words of any
length count as whole words, from four characters on also within others, numbers between other digits not, and dates
in the spellings people use. Sources: PS3.5 6.2, PS3.15 E.1.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from orthanc_research.deid.check._known import Known
from orthanc_research.deid.check._ordinary import CODED, TERMS
from orthanc_research.deid.check._promise import describes, is_ordinary
from orthanc_research.deid.check._reading import Element, name_of
from orthanc_research.deid.check._text import TEXTS, decoded, fold

__all__ = ["Leak", "Search", "leaks_in", "leaks_in_bytes", "leaks_in_text", "search_for"]

_LONG = 4
_LONG_PLACE = 6  # a shorter one is a word or stands beside digits: "Prof" is in every profile
_LONG_NUMBER = 5
_LONG_IN_UID = 7
_RUN = 8  # short words count in readable stretches of bytes from here on: random bytes have them in shorter ones
_STRETCH = re.compile(rb"[\t\n\r\x20-\x7e]{4,}")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = "|".join(_MONTHS)
_DATE = re.compile(
    rf"(?<!\d)(?P<y>\d{{4}})(?P<s>[-./ ]?)(?P<m>\d\d)(?P=s)(?P<d>\d\d)"
    rf"|(?<!\d)(?P<a>\d\d?)(?P<t>[-./ ])(?P<b>\d\d?)(?P=t)(?P<z>\d{{4}})(?!\d)"
    rf"|(?<!\d)(?P<d2>\d\d?)[. -]*(?P<m2>{_MONTH})[a-z]*[., -]*(?P<y2>\d{{4}})(?!\d)"
    rf"|(?P<m3>{_MONTH})[a-z]*[. -]*(?P<d3>\d\d?)[, -]+(?P<y3>\d{{4}})(?!\d)"
)
_FORMATS = {
    "DA": re.compile(r"[\d\\ .]*"),
    "TM": re.compile(r"[\d\\ .:]*"),
    "DT": re.compile(r"[\d\\ .+-]*"),
    "AS": re.compile(r"[\dDWMY\\]*"),
    "DS": re.compile(r"[\d\\ .eE+-]*"),
    "IS": re.compile(r"[\d\\ +-]*"),
    "UI": re.compile(r"[\d\\ .]*"),
}
_WHOLE = re.compile(r"[ +]*0*(\d+)(?:\.0*)? *")
_PACKED = (b"PK\x03\x04", b"\x1f\x8b\x08", b"%PDF", b"BZh9", b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c")
_KINDS = {
    "names": "a word of the patient's name",
    "people": "a word of a physician's or another person's name",
    "numbers": "an identifier",
    "places": "a word of an institution or address",
    "dates": "an original date",
    "births": "the birth date",
    "raw": "a name in another character set",
    "packed": "packed content that cannot be looked through",
    "uids": "an original UID",
}
_BULK = {0x7FE00010, 0x7FE00008, 0x7FE00009}


@dataclass(frozen=True, slots=True)
class Leak:
    """Something of the patient's in an element, or an ordinary word there that is let pass; never the value itself."""

    path: str
    kind: str
    allowed: bool

    @property
    def reason(self) -> str:
        what = _KINDS[self.kind]
        return f"holds {what}, as the ordinary term that belongs there" if self.allowed else f"holds {what}"


@dataclass(frozen=True, eq=False)
class Search:
    """What is looked for: (word, kind), the short as whole words; dates with their kind. Made by `search_for`."""

    long: tuple[tuple[str, str], ...]
    short: tuple[tuple[str, str], ...]
    digits: tuple[tuple[str, str], ...]
    dates: dict[str, str]
    raw: tuple[bytes, ...]
    numbers: tuple[str, ...]  # those that tell by themselves where all are numbers


@lru_cache(maxsize=64)
def search_for(known: Known, without: frozenset[str] = frozenset()) -> Search:
    """A patient's values, prepared; `without` some kinds, which the profile keeps."""
    long, short, digits = [], [], []
    for kind in ("names", "people", "numbers", "places"):
        for word in sorted(getattr(known, kind)) if kind not in without else ():
            forms = {word, re.sub(r"[\W_]+", "", word)} if kind == "numbers" else {word}
            for form in forms:
                if form.isdigit() and form.isascii():
                    digits.append((form, kind))
                elif len(form) >= (_LONG_PLACE if kind == "places" else _LONG) or (
                    len(form) > 1 and not form.isascii()
                ):
                    long.append((form, kind))
                elif form:
                    short.append((form, kind))
    dates = {} if "dates" in without else dict.fromkeys(known.dates, "dates")
    dates |= dict.fromkeys(known.births, "births")
    numbers = tuple(sorted(number for number in known.numbers if len(number) > _LONG_NUMBER))
    return Search(tuple(long), tuple(short), tuple(digits), dates, tuple(sorted(known.raw)), numbers)


@lru_cache(maxsize=4096)
def _between(word: str) -> re.Pattern[str]:
    """As `_whole`, and digits may stand beside it."""
    return re.compile(rf"(?<![^\W\d_]){re.escape(word)}(?![^\W\d_])")


@lru_cache(maxsize=4096)
def _whole(word: str) -> re.Pattern[str]:
    if word.isdigit():
        number = word.lstrip("0") if len(word.lstrip("0")) >= _LONG else word
        return re.compile(rf"(?<!\d)0*{number}(?!\d)")
    return re.compile(r"(?<![^\W_])" + r"[\W_]+".join(map(re.escape, word.split(" "))) + r"(?![^\W_])")


def _pattern(word: str, kind: str) -> re.Pattern[str]:
    return _between(word) if kind == "places" and len(word) >= _LONG else _whole(word)


def _dates_in(text: str, dates: dict[str, str]) -> Iterator[tuple[str, str]]:
    for found in _DATE.finditer(text):
        part = found.groupdict()
        if part["y"]:
            run = part["y"] + part["m"] + part["d"]
            # Without separators it may also be day, month, year, or month, day, year.
            spelled = [run] if part["s"] else [run, run[4:] + run[2:4] + run[:2], run[4:] + run[:4]]
        elif part["z"]:
            year, one, two = part["z"], part["a"], part["b"]
            spelled = [f"{year}{one:0>2}{two:0>2}", f"{year}{two:0>2}{one:0>2}"]
        else:
            number = "2" if part["y2"] else "3"
            month = _MONTHS.index(part["m" + number]) + 1
            spelled = [f"{part['y' + number]}{month:02}{part['d' + number]:0>2}"]
        yield from ((each, dates[each]) for each in spelled if each in dates)


@lru_cache(maxsize=32768)
def _found(search: Search, text: str, short: bool) -> tuple[tuple[str, str], ...]:
    """(word, kind) of what a folded text holds."""
    found = [each for each in search.long if each[0] in text]
    found += [each for each in search.digits if each[0].lstrip("0") in text and _whole(each[0]).search(text)]
    if short:
        found += [each for each in search.short if each[0][0] in text and _pattern(*each).search(text)]
    if search.dates:
        found += _dates_in(text, search.dates)
    return tuple(found)


def leaks_in_text(text: str, search: Search) -> set[str]:
    """The kinds of the patient's values that a text holds."""
    return {kind for _, kind in _found(search, fold(text), True)}


def leaks_in_bytes(value: bytes, search: Search) -> set[str]:
    """The kinds of the patient's values in bytes of no known structure: ASCII, UTF-16 and as the original had them."""
    kinds = {"packed" for mark in _PACKED if mark in value}
    kinds |= {"raw" for raw in search.raw if raw in value}
    for plain in (value, value.replace(b"\0", b"")) if b"\0" in value else (value,):
        stretches = [each.decode("ascii") for each in _STRETCH.findall(plain)]
        if stretches:
            kinds |= {kind for _, kind in _found(search, "\n".join(stretches).casefold(), False)}
            readable = "\n".join(each for each in stretches if len(each) >= _RUN).casefold()
            kinds |= {kind for _, kind in _found(search, readable, True)}
    if not value.isascii():
        kinds |= {kind for _, kind in _found(search, fold(value.decode("utf-8", "replace")), False)}
    return kinds


def leaks_in(path: str, element: Element, charset: bytes, search: Search) -> list[Leak]:
    """What one element still holds. Pixels are held against the original's instead (`_pixeldata`)."""
    if element.fragments is not None or element.tag in _BULK or not element.value:
        return []
    vr = element.vr
    if vr not in TEXTS:
        if len(element.value) < _LONG:
            return []
        return [Leak(path, kind, False) for kind in sorted(leaks_in_bytes(element.value, search))]
    text = decoded(element.value, vr, charset)
    if vr in _FORMATS and _FORMATS[vr].fullmatch(text):
        return _leaks_in_numbers(path, vr, text, search)
    found = _found(search, fold(text), True)
    if not found:
        return []
    place = _place(vr, name_of(element.tag, element.creator))
    # Family and given name side by side are no term, whatever the two words are.
    alone = len({word for word, kind in found if kind in ("names", "people")}) <= 1
    leaks = {(kind, alone and _is_term(word, vr, place)) for word, kind in found}
    return [Leak(path, kind, allowed) for kind, allowed in sorted(leaks)]


@lru_cache(maxsize=4096)
def _place(vr: str, keyword: str) -> str:
    return "technical" if vr == "CS" or keyword in CODED else describes(keyword)


def _is_term(word: str, vr: str, place: str) -> bool:
    """Whether a word may stand there whoever the patient is: the makers' and the standard's in technical places, and
    those of the vocabulary, in which there are no common names, where cleaned texts are made of them.
    """
    if place == "technical":
        return word in TERMS or is_ordinary(word) or (vr == "CS" and len(word) < _LONG)
    return place == "cleaned" and is_ordinary(word)


def _leaks_in_numbers(path: str, vr: str, text: str, search: Search) -> list[Leak]:
    """Dates are held against the original's one by one; in numbers only a whole long identifier tells."""
    if vr == "UI":
        hit = any(number in text for number in search.numbers if len(number) > _LONG_IN_UID and number.isdigit())
        return [Leak(path, "numbers", False)] if hit else []
    if vr not in ("DS", "IS"):
        return []
    told = [(number.lstrip("0"), "numbers") for number in search.numbers if number.lstrip("0") in text]
    told += [each for each in search.dates.items() if each[0] in text]
    wholes = {found[1] for part in text.split("\\") if (found := _WHOLE.fullmatch(part))} if told else ()
    return [Leak(path, kind, False) for kind in sorted({kind for number, kind in told if number in wholes})]
