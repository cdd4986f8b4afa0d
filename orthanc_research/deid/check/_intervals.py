"""Dates as the verifier reads them: how far a value was moved, in whole days. Sources: PS3.5 6.2 (DA, DT)."""

from __future__ import annotations

import re
from datetime import date, timedelta
from functools import lru_cache

__all__ = ["distance", "ends", "is_date", "moved"]

_CLOCKS = {(1858, 11, 17), (1899, 12, 30), (1900, 1, 1), (1901, 1, 1), (1970, 1, 1)}
_ONE = re.compile(
    r"(?P<y>\d{4})(?:(?P<dot>\.?)(?P<m>0[1-9]|1[0-2])(?:(?P=dot)(?P<d>0[1-9]|[12]\d|3[01])"
    r"(?P<t>(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?)?)?)?(?P<z>[+-]\d{4})?"
)


@lru_cache(maxsize=8192)
def is_date(text: str, vr: str = "DT") -> bool:
    """Whether a single DA or DT can be read, whole or in part (a year, a month)."""
    found = _ONE.fullmatch(text)
    return _day(text) is not None and found is not None and (vr == "DT" or not (found["t"] or found["z"]))


@lru_cache(maxsize=8192)
def moved(text: str, days: int) -> str | None:
    """A DA or DT, moved; None where it cannot be read. One without a day counts from the first, and has none after."""
    found, day = _ONE.fullmatch(text), _day(text)
    if found is None or day is None:
        return None
    try:
        new = day + timedelta(days=0 if _is_none(day) else days)
    except OverflowError:
        return None
    dot = found["dot"] or ""
    parts = [f"{new.year:04}", f"{new.month:02}", f"{new.day:02}"][: 1 + bool(found["m"]) + bool(found["d"])]
    return dot.join(parts) + (found["t"] or "") + (found["z"] or "")


@lru_cache(maxsize=8192)
def distance(old: str, new: str) -> int | None:
    """By how many days a whole date was moved; None where one has no day, or stands for no date."""
    before, after = _ONE.fullmatch(old), _ONE.fullmatch(new)
    if not (before and after and before["d"] and after["d"]):
        return None
    one, two = _day(old), _day(new)
    return None if one is None or two is None or _is_none(one) else (two - one).days


def _is_none(day: date) -> bool:
    """Whether a date stands for none: the first or the last there is, or one where the clocks of computers begin."""
    return day in (date.min, date.max) or (day.year, day.month, day.day) in _CLOCKS


def _day(text: str) -> date | None:
    found = _ONE.fullmatch(text)
    if found is None:
        return None
    try:
        return date(int(found["y"]), int(found["m"] or 1), int(found["d"] or 1))
    except ValueError:
        return None


@lru_cache(maxsize=8192)
def ends(text: str, vr: str) -> tuple[str, ...]:
    """A date as a single value, or the two ends of a range."""
    if is_date(text, vr) or "-" not in text:
        return (text,)
    for at in (found.start() for found in re.finditer("-", text)):
        pair = text[:at].strip(), text[at + 1 :].strip()
        if any(pair) and all(not end or is_date(end, vr) for end in pair):
            return pair
    return (text,)
