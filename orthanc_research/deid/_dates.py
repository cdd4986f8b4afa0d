"""Dates and times: moved by whole days, exactly as precise as they were; ages capped (PS3.5 section 6.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache

__all__ = ["is_age", "is_time", "old_age", "shifted"]

_DA = re.compile(rb"(\d{4})(?:(\.?)(\d{2})(?:\2(\d{2}))?)?")
_DT = re.compile(
    rb"(\d{4})(?:(\d{2})(?:(\d{2})((?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?)?)?)?([+-]\d{4})?"
)
_TM = re.compile(rb"(?:[01]\d|2[0-4])(?:(:?)[0-5]\d(?:\1(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?")
_AS = re.compile(rb"\d{1,3}[DWMY]")  # some write "0Y"
_BLANKS = b" \0"
# What programs write where there is no date: the first and last day there is, and those where clocks begin.
_CLOCKS = ("1858-11-17", "1899-12-30", "1900-01-01", "1901-01-01", "1970-01-01")
_NONE = frozenset((date.min, date.max, *map(date.fromisoformat, _CLOCKS)))
_OLDEST = 89  # years; above that an age identifies (45 CFR 164.514(b)(2)(i)(C))


@lru_cache(4096)
def shifted(vr: str, value: bytes, days: int) -> bytes | None:
    """The DA or DT value, ranges and several values too, moved by `days`; None when any part is no date."""
    move = _move_da if vr == "DA" else _move_dt
    moved = []
    for part in value.split(b"\\"):
        part = part.strip(_BLANKS)
        new = b"" if not part else (move(part, days) or _range(part, days, move))
        if new is None:
            return None
        moved.append(new)
    return b"\\".join(moved)


def _range(part: bytes, days: int, move: Callable[[bytes, int], bytes | None]) -> bytes | None:
    """A range of matching (PS3.4 C.2.2.2.5); in a DT the hyphen may belong to an offset, so every split is tried."""
    for found in re.finditer(rb"-", part):
        ends = part[: found.start()].strip(_BLANKS), part[found.end() :].strip(_BLANKS)
        new = [move(end, days) if end else b"" for end in ends]
        if any(ends) and new[0] is not None and new[1] is not None:
            return new[0] + b"-" + new[1]
    return None


def _move_da(part: bytes, days: int) -> bytes | None:
    found = _DA.fullmatch(part)
    day = _day(found[1], found[3], found[4], days) if found else None
    if found is None or day is None:
        return None
    return _written(day, (found[2] or b"").decode(), 1 + (found[3] is not None) + (found[4] is not None))


def _move_dt(part: bytes, days: int) -> bytes | None:
    found = _DT.fullmatch(part)
    day = _day(found[1], found[2], found[3], days) if found else None
    if found is None or day is None:
        return None
    precision = 1 + (found[2] is not None) + (found[3] is not None)
    return _written(day, "", precision) + (found[4] or b"") + (found[5] or b"")


def _day(year: bytes, month: bytes | None, day: bytes | None, days: int) -> date | None:
    """A value without a day is read as the first one, and loses the day again when it is written.

    One that stands for none stays: moved, it would tell by how many days.
    """
    try:
        found = date(int(year), int(month or 1), int(day or 1))
        return found if found in _NONE else found + timedelta(days)
    except (ValueError, OverflowError):
        return None


def _written(day: date, dot: str, precision: int) -> bytes:
    return dot.join((f"{day.year:04}", f"{day.month:02}", f"{day.day:02}")[:precision]).encode("ascii")


def is_time(value: bytes) -> bool:
    """Whether every value of a TM is a time or a range of times, or empty."""
    return all(
        not end or _TM.fullmatch(end) is not None
        for part in value.split(b"\\")
        for end in (half.strip(_BLANKS) for half in part.split(b"-", 1))
    )


def is_age(value: bytes) -> bool:
    """Whether every value of an AS is an age, or empty."""
    return all(not part or _AS.fullmatch(part) is not None for part in (p.strip(_BLANKS) for p in value.split(b"\\")))


def old_age(value: bytes) -> bytes:
    """The ages with three digits, those over 89 years as 090Y."""
    parts = (part.strip(_BLANKS).zfill(4) if part.strip(_BLANKS) else b"" for part in value.split(b"\\"))
    return b"\\".join(b"090Y" if part.endswith(b"Y") and int(part[:3]) > _OLDEST else part for part in parts)
