"""DICOM values of every VR, as Orthanc's short JSON writes them, and what each of them says, read once more.

The second reading shares nothing with the package's: decimals are `Decimal`, dates are compared as digits.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary

from orthanc_research.tables.schema import is_binary

# For each VR that a table can hold, a keyword with one value and one with several, where the dictionary has both.
KEYWORDS: Mapping[tuple[str, bool], str] = {
    (vr, vm == "1"): keyword
    for tag, (vr, vm, _, _, keyword) in DicomDictionary.items()
    if keyword and not is_binary(tag)
}

_letters = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\\\u00a5")
_moments = st.datetimes(max_value=dt.datetime(9999, 12, 31))  # noqa: DTZ001 - DICOM's moments have no zone


def _text(most: int) -> st.SearchStrategy[str]:
    return st.text(_letters, min_size=1, max_size=most)


def _whole(low: int, high: int) -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from([low, high, 0]), st.integers(low, high)).map(str)


def _digits(at: dt.datetime) -> str:
    return f"{at.year:04d}{at.month:02d}{at.day:02d}"


_clock = st.tuples(_moments, st.sampled_from([2, 4, 6, 8, 10, 13])).map(lambda t: f"{t[0]:%H%M%S.%f}"[: t[1]])
_date = st.one_of(
    _moments.map(_digits), _moments.map(lambda at: f"{_digits(at)[:4]}.{_digits(at)[4:6]}.{_digits(at)[6:]}")
)
_datetime = st.tuples(_moments, st.one_of(st.just(""), _clock), st.sampled_from(["", "+0000", "-1200", "+0545"])).map(
    lambda t: f"{_digits(t[0])}{t[1]}{t[2]}"
)
_decimal = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=4).map(str),
    st.sampled_from(["0", "-0", "+1.", ".5", "1E3", "-1.25e-7"]),
)
_single = st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda value: str(np.float32(value)))
_item = st.recursive(
    st.dictionaries(st.sampled_from(["0008,0100", "0018,0060", "0040,a040"]), st.one_of(st.none(), _text(5))),
    lambda inner: st.dictionaries(st.sampled_from(["0040,a730", "0008,1140"]), st.lists(inner, max_size=2)),
    max_leaves=4,
)

# VR → values that PS3.5 allows.
VALID: Mapping[str, st.SearchStrategy[Any]] = {
    "AE": st.from_regex(r"[!-Z^-~]{1,16}", fullmatch=True),
    "AS": st.from_regex(r"[0-9]{3}[DWMY]", fullmatch=True),
    "AT": st.from_regex(r"[0-9a-f]{4},[0-9a-f]{4}", fullmatch=True),
    "CS": st.from_regex(r"[A-Z0-9_][A-Z0-9 _]{0,15}", fullmatch=True),
    "DA": _date,
    "DS": _decimal,
    "DT": _datetime,
    "FD": _decimal,
    "FL": _single,
    "IS": _whole(-(2**31), 2**31 - 1),
    "LO": _text(64),
    "LT": st.text(st.one_of(_letters, st.sampled_from("\\\r\n\t")), min_size=1, max_size=30),
    "PN": st.lists(_text(6), min_size=1, max_size=5).map("^".join),
    "SH": _text(16),
    "SL": _whole(-(2**31), 2**31 - 1),
    "SQ": st.lists(_item, max_size=3),
    "SS": _whole(-(2**15), 2**15 - 1),
    "ST": st.text(st.one_of(_letters, st.sampled_from("\\\r\n\t")), min_size=1, max_size=30),
    "SV": _whole(-(2**63), 2**63 - 1),
    "TM": _clock,
    "UC": _text(30),
    "UI": st.from_regex(r"[1-9][0-9]{0,5}(\.[1-9][0-9]{0,5}){0,6}", fullmatch=True),
    "UL": _whole(0, 2**32 - 1),
    "UR": _text(30),
    "US": _whole(0, 2**16 - 1),
    "US or SS": _whole(-(2**15), 2**16 - 1),
    "UT": st.text(st.one_of(_letters, st.sampled_from("\\\r\n\t")), min_size=1, max_size=30),
    "UV": _whole(0, 2**64 - 1),
}
_FREE = {"LT", "ST", "UT", "UR"}  # the backslash is a character in these


def valid(vr: str, one: bool) -> st.SearchStrategy[Any]:
    """A value of the VR, or several where the dictionary has several, or none."""
    if one or vr == "SQ" or vr in _FREE:
        return st.one_of(VALID[vr], st.sampled_from([None, "", " "] if vr != "SQ" else [None]))
    return st.lists(st.one_of(VALID[vr], st.just("")), max_size=4).map("\\".join)


def _spoiled(value: Any) -> st.SearchStrategy[Any]:
    if not isinstance(value, str):
        return st.just(value)
    cut = st.integers(0, len(value))
    junk = st.one_of(
        st.sampled_from([" ", "\0", "\\", "-", "+", ".", ":", "9", "0", "e5", "\u00a5", "\u0663"]), st.text()
    )
    return st.tuples(cut, cut, junk).map(lambda t: value[: t[0]] + t[2] + value[t[1] :])


def anything(vr: str, one: bool) -> st.SearchStrategy[Any]:
    """Values of the VR, the same with something cut out or put in, and whatever JSON can hold."""
    return st.one_of(
        valid(vr, one),
        valid(vr, one).flatmap(_spoiled),
        valid(vr, False).flatmap(_spoiled),
        st.text(max_size=20),
        st.text(st.characters(), max_size=5),  # lone surrogates as well
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.booleans(),
        st.lists(st.text(max_size=3), max_size=3),
        st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
    )


def is_blank(value: Any) -> bool:
    """Nothing was written: absent, or padding alone, or no items."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = "\\".join(value)
    return value is None or value == {} or (isinstance(value, str) and not value.strip(" \0"))


def says(vr: str, one: bool, value: Any, cell: Any) -> bool:
    """Whether a cell (None is NA) says all that the value says, and no more."""
    if vr == "SQ":
        return bool(json.loads(cell) == value)
    written = "\\".join(value) if isinstance(value, list) else str(value)
    if vr in _FREE:
        return bool(cell == written.rstrip(" \0"))
    parts = [part.strip(" \0") for part in written.replace("\u00a5", "\\").strip(" \0").split("\\")]
    if vr in _READ and (one or vr not in _TEMPORAL):
        cells = [cell] if one else list(cell)
        return len(cells) == len(parts) and all(map(_READ[vr], parts, cells))
    return [part.strip(" \0") for part in cell.replace("\u00a5", "\\").split("\\")] == parts


def _is_number(text: str, cell: Any) -> bool:
    if not text:
        return cell is None
    value = Decimal(text)
    return bool(math.isfinite(cell) and cell == float(value) and (cell != 0 or value == 0))


def _is_single(text: str, cell: Any) -> bool:
    # Of one value the column is float32, of several it is float64.
    return _is_number(text, cell) or (bool(text) and cell == float(np.float32(float(text))) and (cell != 0))


def _is_date(text: str, cell: Any) -> bool:
    return str(cell.date()).replace("-", "") == text.replace(".", "")


def _is_clock(text: str, cell: Any) -> bool:
    return f"{cell:%H%M%S.%f}" == _full(text.replace(":", ""))


def _full(clock: str) -> str:
    head, _, fraction = clock.partition(".")
    return f"{head:0<6}.{fraction:0<6}"


def _is_moment(text: str, cell: Any) -> bool:
    bare = text.partition("+")[0].partition("-")[0]
    moment = cell.to_pydatetime()
    return f"{_digits(moment)}{moment:%H%M%S.%f}" == bare[:8] + _full(bare[8:])


def _is_whole(text: str, cell: Any) -> bool:
    return cell is None if not text else bool(int(text) == cell)


_WHOLES = ("IS", "SL", "SS", "SV", "UL", "US", "US or SS", "UV")
_TEMPORAL = ("DA", "TM", "DT")
_READ: Mapping[str, Callable[[str, Any], bool]] = {
    "DA": _is_date,
    "TM": _is_clock,
    "DT": _is_moment,
    "DS": _is_number,
    "FD": _is_number,
    "FL": _is_single,
    **dict.fromkeys(_WHOLES, _is_whole),
}


def cells(values: Any) -> list[Any]:
    """A column as Python's objects, NA as None, also inside lists."""
    found = pd.Series(values)
    return [None if gone else _plain(value) for value, gone in zip(found.tolist(), found.isna(), strict=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, (list, np.ndarray)):
        return [None if each is None or each != each else each for each in value]
    return value
