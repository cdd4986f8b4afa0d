"""One value of Orthanc's JSON → one value of a column, or the reason why not (PS3.5 section 6.2).

Parsers raise `Bad` with a reason that never holds the value: reasons end up in `Issues`, and values are patient data.
Nor does a reason hold "; " or ": ", which join the reasons of a row.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import orjson

from orthanc_research.tables.schema import ColumnType, Kind

__all__ = ["NOT_SENT", "SEQUENCE_CAP", "Bad", "Parsed", "Parser", "offset_of", "parser_for"]

# Characters of JSON; a longer sequence belongs into a file, or into a chosen path.
SEQUENCE_CAP = 65_536
_FIRST_KEPT = "several values where DICOM has one, this is the first"
_ALL_KEPT = "several values where DICOM has one, all are kept"
NOT_SENT = "the server sent no value (longer than 256 bytes, or not of its type)"

# In ISO IR 13 the backslash that parts values is the yen sign, and Orthanc before 1.13 decodes it as one. None of these
# VRs can hold a real one (PS3.5 section 6.1.2.5.4).
_YEN = frozenset({"CS", "UI", "AS", "AT", "AE"})

# (value or None, reason or None): both when the value is only a part of what was written.
Parsed = tuple[Any, str | None]
Parser = Callable[[Any], Parsed]

_EPOCH = dt.date(1970, 1, 1).toordinal()
_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})|([0-9]{4})\.([0-9]{2})\.([0-9]{2})")
_TIME = re.compile(r"([0-9]{2})(?:(:?)([0-9]{2})(?:\2([0-9]{2})(?:\.([0-9]{1,6}))?)?)?")
_DATETIME = re.compile(r"([0-9]{4,14}(?:\.[0-9]{1,6})?)([+-][0-9]{4})?")
_STAMP = re.compile(r"([0-9]{8})T([0-9]{6})")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NOT_ZERO = re.compile(r"[+-]?[0.]*[1-9]")
# In these, leading spaces count (PS3.5 section 6.2); trailing ones are padding everywhere.
_LEADING = frozenset({"PN", "UC", "LT", "ST", "UT", "UR"})


class Bad(ValueError):
    """Why a value is not one of its VR; never the value."""


def parser_for(column: ColumnType) -> Parser:
    """The function that reads one JSON value for a column; it gives (None, None) for what is absent or empty."""
    return _PARSERS[column.kind](column)


def _encodable(text: str) -> tuple[str, str | None]:
    # A lone surrogate is legal in JSON's escapes and in no encoding: Arrow would refuse the whole column.
    if text.isascii():
        return text, None
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode(), "not Unicode text, what could not be read is '?'"
    return text, None


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise Bad("not a single value")


def _text(column: ColumnType) -> Parser:
    free = column.kind == "long-text"
    leading = column.vr in _LEADING
    yen = column.vr in _YEN
    one = column.vm == "1" and not free

    def parse(value: Any) -> Parsed:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            value = "\\".join(value)
        text = _as_text(value).rstrip(" \0")
        if yen and "\u00a5" in text:
            text = text.replace("\u00a5", "\\")
        several = not free and "\\" in text
        if several and not one:
            text = "\\".join(part.rstrip(" \0") if leading else part.strip(" \0") for part in text.split("\\"))
        text, reason = _encodable(text if leading else text.lstrip(" \0"))
        # Of a text nothing is cut off: two patients "A\B" and "A\C" must not become one "A".
        return text or None, reason or (_ALL_KEPT if several and one else None)

    return parse


def _json(column: ColumnType) -> Parser:
    shape, otherwise = (list, "not a sequence") if column.vr == "SQ" else (Mapping, "not an object")

    def parse(value: Any) -> Parsed:
        if value is None or value == "":
            return None, None
        if not isinstance(value, shape):
            raise Bad(otherwise)
        if not value:
            return None, None
        text = _json_text(value)
        if len(text) > SEQUENCE_CAP:
            raise Bad(f"more than {SEQUENCE_CAP} characters of JSON, choose a path inside it")
        return _encodable(text)

    return parse


def _json_text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a lone surrogate, or nested deeper than orjson writes
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise Bad("nested too deep") from None


def _bool(column: ColumnType) -> Parser:
    def parse(value: Any) -> Parsed:
        if not isinstance(value, bool):
            raise Bad("neither true nor false")
        return value, None

    return parse


def _single(read: Callable[[str], Any]) -> Callable[[ColumnType], Parser]:
    """A parser of VM 1: of several values the first is taken, and said to be."""

    def make(column: ColumnType) -> Parser:
        def parse(value: Any) -> Parsed:
            text = _as_text(value).strip(" \0")
            if "\\" not in text and "\u00a5" not in text:
                return (read(text) if text else None), None
            first = _first(text)
            return (read(first) if first else None), _FIRST_KEPT

        return parse

    return make


def _first(text: str) -> str:
    return text.replace("\u00a5", "\\").partition("\\")[0].strip(" \0")


@functools.lru_cache(maxsize=4096)  # an archive has few days, and many moments of each
def _days(text: str) -> int:
    match = _DATE.fullmatch(text)
    if not match:
        raise Bad("not a date")
    # The second form is ACR-NEMA's, which PS3.5 section 6.2 asks readers to accept.
    year, month, day = (int(part) for part in match.groups() if part is not None)
    try:
        return dt.date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        raise Bad("not a date") from None


def _microseconds(text: str) -> int:
    match = _TIME.fullmatch(text)
    if not match:
        raise Bad("not a time")
    hour, minute, second = int(match[1]), int(match[3] or 0), int(match[4] or 0)
    if second == 60:
        raise Bad("a leap second, which no time type holds")
    if hour > 23 or minute > 59 or second > 59:
        raise Bad("not a time")
    fraction = int((match[5] or "").ljust(6, "0"))
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction


def _date_seconds(text: str) -> int:
    return _days(text) * 86_400


def _datetime(text: str) -> int:
    match = _DATETIME.fullmatch(text)
    if not match:
        raise Bad("not a date and time")
    digits = match[1]
    if len(digits) < 8:
        raise Bad("a date and time without its day")
    offset_minutes(match[2])
    clock = _microseconds(digits[8:]) if digits[8:] else 0
    return _days(digits[:8]) * 86_400_000_000 + clock


def offset_minutes(text: str | None) -> int | None:
    """Minutes east of UTC of a DT's suffix "+0100"; PS3.5 allows -1200 to +1400."""
    if not text:
        return None
    minutes = int(text[1:3]) * 60 + int(text[3:5])
    signed = -minutes if text[0] == "-" else minutes
    if int(text[3:5]) > 59 or not -720 <= signed <= 840:
        raise Bad("not an offset from UTC")
    return signed


def offset_of(value: Any) -> int | None:
    """The offset that a DT (of several, the first) carries, in minutes; None where it has none or is no DT."""
    match = _DATETIME.fullmatch(_first(value.strip(" \0"))) if isinstance(value, str) else None
    try:
        return offset_minutes(match[2]) if match else None
    except Bad:
        return None


def _stamp(text: str) -> int:
    match = _STAMP.fullmatch(text)
    if not match:
        raise Bad("not a time of Orthanc's")
    return _days(match[1]) * 86_400 + _microseconds(match[2]) // 1_000_000


def _decimal(text: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise Bad("not a finite number" if text.lower().lstrip("+-") in ("nan", "inf", "infinity") else "not a number")
    value = float(text)
    if math.isinf(value) or (value == 0 and _NOT_ZERO.match(text)):
        raise Bad("out of range")
    return value


def _decimal32(text: str) -> float:
    value = _decimal(text)
    try:
        (held,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        raise Bad("out of range") from None
    if held == 0 and value != 0:
        raise Bad("out of range")
    return float(held)


def _whole(column: ColumnType) -> Callable[[str], int]:
    low, high = column.low, column.high

    def read(text: str) -> int:
        if not _WHOLE.fullmatch(text):
            raise Bad("not a whole number")
        # Python refuses to read thousands of digits.
        value = int(text) if len(text) <= 40 else high + 1
        if not low <= value <= high:
            raise Bad("out of range")
        return value

    return read


def _many(read_for: Callable[[ColumnType], Callable[[str], Any]]) -> Callable[[ColumnType], Parser]:
    """A parser of lists; an entry that is none of its VR is null, its neighbours keep their places."""

    def make(column: ColumnType) -> Parser:
        read = read_for(column)

        def parse(value: Any) -> Parsed:
            text = _as_text(value).strip(" \0").replace("\u00a5", "\\")
            if not text:
                return None, None
            parts = [part.strip(" \0") for part in text.split("\\")]
            try:
                return [read(part) if part else None for part in parts], None
            except Bad:
                return _entries(parts, read)

        return parse

    return make


def _entries(parts: list[str], read: Callable[[str], Any]) -> Parsed:
    values: list[Any] = []
    reason = None
    for part in parts:
        try:
            values.append(read(part) if part else None)
        except Bad as bad:
            values.append(None)
            reason = f"an entry is {bad}"
    if reason is not None and all(each is None for each in values):
        raise Bad(reason)
    return values, reason


_PARSERS: Mapping[Kind, Callable[[ColumnType], Parser]] = MappingProxyType(
    {
        "text": _text,
        "long-text": _text,
        "json": _json,
        "bool": _bool,
        "date": _single(_date_seconds),
        "time": _single(_microseconds),
        "datetime": _single(_datetime),
        "stamp": _single(_stamp),
        "float": _single(_decimal),
        "float32": _single(_decimal32),
        "int": lambda column: _single(_whole(column))(column),
        "floats": _many(lambda column: _decimal),
        "ints": _many(_whole),
    }
)
