r"""Criteria as Python values → the `Query` of /tools/find, checked before anything is sent.

    Modality="CT"                          CT              text; `*` and `?` are wildcards where DICOM has them
    Modality=["CT", "MR"]                  CT\MR            any of them; a set, Series, Index or array will do
    Modality=[]                            no request      no value can match: the answer is empty
    PatientName="doe*"                     doe*            names and texts ignore case
    PatientID="a1"                         a1              identifiers do not; what differs in case is filtered out here
    SeriesNumber=3                         3
    SliceThickness=1                       1\1.0\1.00…       decimals are texts in DICOM: every usual spelling
    SliceThickness=(0, 1)                  refused         from 0 to 1 is meant, and would be 0 or 1
    StudyDate="2021", ("2021-01", None)    ranges          see `temporal`
    Modality at Patient and Study level    ModalitiesInStudy

`QueryError` for None, NA and "" (DICOM reads them as "anything"), for keywords that are not DICOM's, values that are
none of their VR, wildcards in UIDs, dates and numbers, and for tags of a level below the one asked for: Orthanc answers
those with nothing, and no error. Messages name keywords and rules, never values.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag, tag_for_keyword

from orthanc_research.errors import QueryError
from orthanc_research.tables.identity import like_uid
from orthanc_research.tables.levels import COMPUTED, IDENTIFIERS, INDEX, depth, level_of
from orthanc_research.tables.schema import LEVELS, Level, is_binary, tag_of, unknown_keyword
from orthanc_research.tables.temporal import temporal_list, temporal_range, temporal_value

__all__ = ["Query", "parse_criteria", "values_of"]

_MAX_VALUES = 40_000  # tried: 0.2 s on all three versions
_MAX_LENGTH = 1024
# PS3.4 C.2.2.2.4: wildcard matching is for these.
_WILD = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_WHOLE = frozenset({"IS", "SS", "US", "SL", "UL", "SV", "UV", "US or SS"})
_DECIMAL = frozenset({"DS", "FD", "FL"})
_RANGED = _WHOLE | _DECIMAL | {"AS"}  # where people mean from and to by two values
_NO_RANGES = "Orthanc has no ranges of numbers; read it with orthanc.tags, and compare in that table."
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for. `tags` is keyword or "gggg,eeee" → DICOM query string.

    `empty` means that an empty list was given, so that nothing can match. `exact` names the identifiers whose case has
    to be compared with the answers, because Orthanc compares all tags of a request with case or none of them, and
    refuses to page with it.
    """

    level: Level
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    empty: bool = False
    exact: tuple[str, ...] = ()


def parse_criteria(level: Level, criteria: Mapping[str, Any], match: Mapping[str, Any] | None = None) -> Query:
    """Check criteria and write them as DICOM does; the table is this module's docstring.

    `match` is for odd and private tags, as {"0009,1001": "text"}: values go as they are, in DICOM's own form.

    >>> parse_criteria("Study", {"StudyDate": "2021-03", "Modality": ["CT", "MR"]}).tags["StudyDate"]
    '20210301-20210331'
    """
    if level not in LEVELS:
        raise QueryError("The level is one of Patient, Study, Series, Instance.")
    tags: dict[str, str] = {}
    empty = False
    for keyword, value in criteria.items():
        name = _placed(_known(keyword), level)
        text = _text_of(name, value)
        empty = empty or text is None
        _put(tags, name, text or "")
    for key, value in (match or {}).items():
        _put(tags, *_raw(key, value, level))
    return Query(
        level,
        MappingProxyType(tags),
        empty,
        tuple(name for name in tags if name in IDENTIFIERS and _has_letters(tags[name])),
    )


def _has_letters(text: str) -> bool:
    return any(character.isalpha() for character in text) or "*" in text or "?" in text


def _put(tags: dict[str, str], name: str, text: str) -> None:
    if name in tags:
        raise QueryError(f"{name} is asked for twice.")
    tags[name] = text


def _known(keyword: str) -> str:
    tag = tag_for_keyword(keyword) if keyword else None
    if tag is None:
        raise unknown_keyword(keyword)
    if dictionary_VR(tag) == "SQ" or is_binary(tag):
        raise QueryError(f"{keyword} is a sequence or binary; it cannot be matched.")
    return keyword


def _placed(keyword: str, level: Level) -> str:
    """The keyword under which Orthanc finds it at this level."""
    if keyword in ("Modality", "ModalitiesInStudy"):
        above = level in ("Patient", "Study")
        if keyword == "ModalitiesInStudy" and not above:
            raise QueryError(f"ModalitiesInStudy is a fact of studies; at {level} level ask for Modality.")
        return "ModalitiesInStudy" if above else "Modality"
    if keyword in COMPUTED:
        raise QueryError(f"{keyword} is counted by the server and cannot be a criterion; filter the DataFrame by it.")
    home = level_of(keyword, level)
    if depth(home) > depth(level):
        raise QueryError(
            f"{keyword} belongs to the {home} level, and Orthanc would find nothing by it at {level} level; "
            f"find at {home} level first."
        )
    return keyword


def _text_of(keyword: str, value: Any) -> str | None:
    """DICOM's query string; None for an empty list, which nothing can match."""
    vr = dictionary_VR(keyword)
    temporal = vr in ("DA", "TM", "DT")
    if isinstance(value, tuple) and len(value) == 2:
        if temporal:
            return temporal_range(keyword, vr, [None if each is None else _present(keyword, each) for each in value])
        if vr in _RANGED:
            raise QueryError(f"{keyword}: {_NO_RANGES} A list of values goes into square brackets.")
    values = values_of(value)
    if values is None:
        _present(keyword, value)
        return temporal_value(keyword, vr, value) if temporal else _one(keyword, vr, value)
    if not values:
        return None
    if len(values) > _MAX_VALUES:
        raise QueryError(f"{keyword}: {len(values)} values; ask for at most {_MAX_VALUES} at a time.")
    for each in values:
        _present(keyword, each)
    if len(values) == 1:
        return temporal_value(keyword, vr, values[0]) if temporal else _one(keyword, vr, values[0])
    return temporal_list(keyword, vr, values) if temporal else _any_of(keyword, vr, values)


def _any_of(keyword: str, vr: str, values: Sequence[Any]) -> str:
    texts = [_one(keyword, vr, each) for each in values]
    _no_wildcards(keyword, texts)
    return "\\".join(dict.fromkeys(texts))


def _no_wildcards(keyword: str, texts: Sequence[str]) -> None:
    if len(texts) > 1 and any("*" in text or "?" in text for text in texts):
        # Observed on 1.10.1, 1.12.7 and 1.13.0: 200, and nothing matches.
        raise QueryError(f"{keyword}: Orthanc has no wildcards within a list; ask once for each.")


def values_of(value: Any) -> list[Any] | None:
    """The values of a list, whatever holds it; None for a single value. A text with backslashes is DICOM's own list."""
    if isinstance(value, str):
        return value.split("\\") if "\\" in value else None
    if isinstance(value, np.ndarray):
        return list(np.atleast_1d(value))
    if isinstance(value, (pd.Series, pd.Index, pd.api.extensions.ExtensionArray)):
        return list(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return None


def _present(keyword: str, value: Any) -> Any:
    absent = value is None or value is pd.NA or value is pd.NaT
    if isinstance(value, (float, np.floating, np.datetime64)):  # a 32-bit NaN is no float of Python's
        absent = bool(value != value)
    # Any white space: what is stripped off later must not leave an empty value, or "*".
    if absent or (isinstance(value, str) and not "".join(value.split()).strip("*")):
        raise QueryError(f"{keyword}: an empty value would match everything; leave it out.")
    return value


def _one(keyword: str, vr: str, value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, dt.date, dt.time, bytes, Mapping)):
        raise QueryError(f"{keyword} takes text or a number.")
    if int(dictionary_VM(keyword).partition("-")[0]) > 1 and not (isinstance(value, str) and set("*?") & set(value)):
        # Observed: a value finds nothing, and a list anything (1.10.1) or any of them (1.12.7, 1.13.0).
        how = "put * before and after what to look for, or " if vr in _WILD else ""
        raise QueryError(
            f"{keyword} has several values, and Orthanc compares them as one text: {how}read it with orthanc.tags, and "
            "compare in that table."
        )
    if vr in _WHOLE:
        return _whole(keyword, value)
    if vr in _DECIMAL:
        return _decimal(keyword, vr, value)
    if vr == "AS" and not (isinstance(value, str) and re.fullmatch(r"[0-9]{3}[DWMY]", value.strip())):
        raise QueryError(f'{keyword} is an age as DICOM writes it, "045Y" or "018M", or a list of them.')
    if isinstance(value, int):
        value = str(value)
    if not isinstance(value, str):
        raise QueryError(f"{keyword} takes text, or a list of texts.")
    text = _safe(keyword, value.strip())
    wild = "*" in text or "?" in text
    if wild and (vr not in _WILD or keyword == "ModalitiesInStudy"):
        raise QueryError(f"{keyword} takes no wildcards; give the whole value, or a list of them.")
    if vr == "UI" and not like_uid(text):
        raise QueryError(f"{keyword}: not a UID; digits and dots, at most 64.")
    return text


def _whole(keyword: str, value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value.strip() if isinstance(value, str) else str(value)
    if isinstance(value, float) or not re.fullmatch(r"[+-]?[0-9]{1,20}", text):
        raise QueryError(f"{keyword} takes a whole number, or a list of them. {_NO_RANGES}")
    return text


def _decimal(keyword: str, vr: str, value: Any) -> str:
    if isinstance(value, str):
        text = value.strip()
        if not re.fullmatch(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", text) or len(text) > 64:
            raise QueryError(f"{keyword} takes a number, or a list of them. {_NO_RANGES}")
        if vr == "DS":
            return text
        value = float(text)
    if not isinstance(value, (int, float)) or abs(value) > 1e15:
        raise QueryError(f"{keyword} takes a number, or a list of them.")
    # Orthanc compares texts, and scanners write 1, 1.0, 1.00 …
    number = float(value)
    if vr == "FL":
        number = float(np.float32(number))
    shortest = f"{number:.15g}"
    # It writes binary numbers with 17 digits: 0.1 is 0.10000000000000001.
    spellings = [shortest, repr(number), f"{number:.17g}", *(f"{number:.{digits}f}" for digits in range(1, 15))]
    spellings += [shortest.replace("0.", ".", 1)] if abs(number) < 1 else []
    return "\\".join(dict.fromkeys(text for text in spellings if float(text) == number))


def _safe(keyword: str, text: str) -> str:
    if _CONTROL.search(text):
        raise QueryError(f"{keyword}: a value has a line break or another control character.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise QueryError(f"{keyword}: a value is not Unicode text.") from None
    if len(text) > _MAX_LENGTH:
        raise QueryError(f"{keyword}: a value is longer than {_MAX_LENGTH} characters.")
    return text


def _raw(key: Any, value: Any, level: Level) -> tuple[str, str]:
    tag = key if isinstance(key, int) and not isinstance(key, bool) else tag_of(str(key))
    if tag is None:
        raise unknown_keyword(str(key))
    name = keyword_for_tag(tag) or f"{tag >> 16:04x},{tag & 0xFFFF:04x}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(_present(name, value))
    if not isinstance(value, str):
        raise QueryError(f"{name}: match takes texts in DICOM's own form.")
    parts = [str(_present(name, each)).strip() for each in value.split("\\")]
    if parts == ["-"] and tag_for_keyword(name) and dictionary_VR(name) in ("DA", "DT", "TM"):
        raise QueryError(f"{name}: a range that is open at both ends would match everything; leave it out.")
    _no_wildcards(name, parts)
    text = _safe(name, "\\".join(parts))
    below = any(name in INDEX[each] for each in LEVELS[depth(level) + 1 :]) and name not in INDEX[level]
    if name in COMPUTED or below or (name in ("Modality", "ModalitiesInStudy")):
        name = _placed(name, level)
    return name, text
