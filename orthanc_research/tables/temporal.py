"""Dates and times as criteria: what people write → DICOM's ranges (PS3.4 C.2.2.2.5).

    "2021"                        20210101-20211231
    "2021-03"                     20210301-20210331
    "2021-03-05", "20210305"      20210305
    a date, datetime, Timestamp   its day
    ("2021-01-01", "2021-06")     20210101-20210630
    ("2021", None)                20210101-
    "20200101-", "-20201231"      as they are, checked
    "10:30", "1030"               1030-103059.999999
    ("08:00", "12:00")            08-120059.999999

Orthanc compares the texts, so a time begins with its shortest form and ends with its last microsecond.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from orthanc_research.errors import QueryError

__all__ = ["temporal_list", "temporal_range", "temporal_value"]

_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?|([0-9]{4})([0-9]{2})([0-9]{2})")
_TIME = re.compile(r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:\.([0-9]{1,6}))?)?)?")
_DATE_RANGE = re.compile(r"([0-9]{8})?-([0-9]{8})?")
_TIME_RANGE = re.compile(r"([0-9:.]+)?-([0-9:.]+)?")

# The first and last moment that a value means, as DICOM writes them.
Span = tuple[str, str]


def temporal_value(keyword: str, vr: str, value: Any) -> str:
    """DICOM's text of one value; a year, a month or a clock minute becomes a range. `QueryError` if it is none."""
    text = value.strip() if isinstance(value, str) else None
    ranges = _DATE_RANGE if vr == "DA" else _TIME_RANGE
    match = ranges.fullmatch(text) if text is not None and vr in ("DA", "TM") else None
    if match and text != "-":
        return temporal_range(keyword, vr, match.groups())
    first, last = _spans(vr)(keyword, value)
    return first if first == last else f"{first}-{last}"


def temporal_range(keyword: str, vr: str, ends: Sequence[Any]) -> str:
    """DICOM's text of (from, to), both included; None leaves an end open."""
    span = _spans(vr)
    low = "" if ends[0] is None else span(keyword, ends[0])[0]
    high = "" if ends[1] is None else span(keyword, ends[1])[1]
    if not low and not high:
        raise QueryError(f"{keyword}: a range that is open at both ends would match everything; leave it out.")
    if low and high and low > high:
        raise QueryError(f"{keyword}: the range ends before it begins.")
    return f"{low}-{high}"


def temporal_list(keyword: str, vr: str, values: Sequence[Any]) -> str:
    """DICOM's text of several whole days. Orthanc reads a range inside a list as something else, without an error."""
    spans = [_spans(vr)(keyword, value) for value in values]
    if vr != "DA" or any(first != last for first, last in spans):
        raise QueryError(f"{keyword}: a list takes whole days, and no ranges or times; ask once for each.")
    return "\\".join(dict.fromkeys(first for first, _ in spans))


def _spans(vr: str) -> Callable[[str, Any], Span]:
    return {"DA": _date_span, "TM": _time_span, "DT": _moment_span}[vr]


def _date_span(keyword: str, value: Any) -> Span:
    if isinstance(value, np.datetime64) and np.datetime_data(value)[0] in ("Y", "M"):
        value = str(value)  # a year or a month, and not its first day
    value = _python(value)
    if isinstance(value, dt.date):
        day = f"{value:%Y%m%d}".rjust(8, "0")
        return day, day
    match = _DATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise QueryError(
            f'{keyword}: not a date; write "2021-03-05", "2021-03", "2021", ("2021-01-01", None), "20210101-", a date.'
        )
    year, month, day_ = (
        int(part) if part else 0 for part in (match[1] or match[4], match[2] or match[5], match[3] or match[6])
    )
    try:
        first = dt.date(year, month or 1, day_ or 1)
        last = dt.date(year, month or 12, day_ or calendar.monthrange(year, month or 12)[1])
    except (ValueError, calendar.IllegalMonthError):
        raise QueryError(f"{keyword}: there is no such day in the calendar.") from None
    return first.isoformat().replace("-", ""), last.isoformat().replace("-", "")


def _time_span(keyword: str, value: Any) -> Span:
    value = _python(value)
    if isinstance(value, dt.datetime):
        value = value.time()
    if isinstance(value, dt.time):
        value = value.strftime("%H%M%S.%f") if value.microsecond else value.strftime("%H%M%S")
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match or int(match[1]) > 23 or int(match[2] or 0) > 59 or int(match[3] or 0) > 59:
        raise QueryError(f'{keyword}: not a time of day; write "10:30", "10:30:15", ("08:00", "12:00") or a time.')
    hour, minute, second, fraction = match.groups()
    parts = [hour, minute or "", second or "", f".{fraction or ''}".rstrip("0.")]
    while len(parts) > 1 and parts[-1] in ("", "00"):
        parts.pop()  # 10:30:00 is 1030 in many files, and 10:30:15.500 is 103015.5
    first = "".join(parts)
    last = f"{hour}{minute or 59}{second or 59}.{(fraction or '').ljust(6, '9')}"
    return first, last


def _moment_span(keyword: str, value: Any) -> Span:
    value = _python(value)
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None:
            raise QueryError(f"{keyword}: DICOM compares local times; give one without a time zone.")
        day, clock = value.date(), _time_span(keyword, value)
        return f"{day:%Y%m%d}{clock[0]}", f"{day:%Y%m%d}{clock[1]}"
    if isinstance(value, str) and re.fullmatch(r"[0-9]{9,14}(?:\.[0-9]{1,6})?", value.strip()):
        day_text, clock_text = value.strip()[:8], value.strip()[8:]
    else:
        head, _, clock_text = value.strip().replace("T", " ").partition(" ") if isinstance(value, str) else ("", "", "")
        day_text = head if isinstance(value, str) else value
    days = _date_span(keyword, day_text)
    if not clock_text:
        return days[0], f"{days[1]}235959.999999"
    clock = _time_span(keyword, clock_text)
    return days[0] + clock[0], days[1] + clock[1]


def _python(value: Any) -> Any:
    """NumPy's moments as Python's; pandas' Timestamp is one of Python's already."""
    return pd.Timestamp(value).to_pydatetime() if isinstance(value, np.datetime64) else value
