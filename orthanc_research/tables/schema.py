r"""Which type a column has: decided by the DICOM dictionary (VR and VM, PS3.6), never by the data.

    VR                       one value                        several (VM other than 1)
    text, UI, PN, AT         str                              str, the DICOM string "A\B"
    DA                       datetime64[s]    (date32)        str
    TM                       time64[us]       (time64)        str
    DT                       datetime64[us]   (timestamp)     str
    DS FD                    float64, NaN = NA                list<double>
    FL                       float32, NaN = NA                list<double>
    SS US SL                 Int32                            list<int64>
    IS UL SV                 Int64                            list<int64>
    UV                       UInt64                           list<uint64>
    SQ                       str, JSON                        the same
    OB OW OF OD OL OV UN     no column

In brackets: the Arrow type, where the name alone does not say it. date32 would be the truer type for dates in pandas as
well, but pandas 3.1 then compares no dates with strings and does not resample.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

from orthanc_research.errors import QueryError

__all__ = [
    "FACTS",
    "LEVELS",
    "OFFSET",
    "ColumnType",
    "Kind",
    "Level",
    "column_type",
    "is_binary",
    "tag_of",
    "unknown_keyword",
]

Level = Literal["Patient", "Study", "Series", "Instance"]
LEVELS: tuple[Level, ...] = ("Patient", "Study", "Series", "Instance")

Kind = Literal[
    "text",
    "long-text",
    "json",
    "bool",
    "date",
    "time",
    "datetime",
    "stamp",
    "float",
    "float32",
    "int",
    "floats",
    "ints",
]


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What a column holds. `vr` and `vm` are the dictionary's, or "" for what is Orthanc's own."""

    kind: Kind
    vr: str
    vm: str
    pandas: Any
    arrow: pa.DataType
    low: int = 0
    high: int = 0


_LISTS = {
    "floats": pa.list_(pa.field("item", pa.float64())),
    "ints": pa.list_(pa.field("item", pa.int64())),
    "unsigned": pa.list_(pa.field("item", pa.uint64())),
}

# VR → (pandas, Arrow, least, greatest). An IS is held to 32 bits by PS3.5, but scanners write longer ones.
_WHOLE: Mapping[str, tuple[Any, pa.DataType, int, int]] = MappingProxyType(
    {
        "IS": (pd.Int64Dtype(), pa.int64(), -(2**63), 2**63 - 1),
        "SS": (pd.Int32Dtype(), pa.int32(), -(2**15), 2**15 - 1),
        "US": (pd.Int32Dtype(), pa.int32(), 0, 2**16 - 1),
        # Which of the two it is depends on PixelRepresentation; 32 bits hold both.
        "US or SS": (pd.Int32Dtype(), pa.int32(), -(2**15), 2**16 - 1),
        "SL": (pd.Int32Dtype(), pa.int32(), -(2**31), 2**31 - 1),
        "UL": (pd.Int64Dtype(), pa.int64(), 0, 2**32 - 1),
        "SV": (pd.Int64Dtype(), pa.int64(), -(2**63), 2**63 - 1),
        "UV": (pd.UInt64Dtype(), pa.uint64(), 0, 2**64 - 1),
    }
)
# In these a backslash is a character, and leading spaces count (PS3.5 section 6.2).
_FREE_TEXT = frozenset({"LT", "ST", "UT", "UR"})
OFFSET = "_utc_offset_min"


def _text(vr: str, vm: str) -> ColumnType:
    return ColumnType(
        "long-text" if vr in _FREE_TEXT else "text", vr, vm, pd.StringDtype(na_value=float("nan")), pa.string()
    )


def _fact(kind: Kind, pandas: Any, arrow: pa.DataType) -> ColumnType:
    return ColumnType(kind, "", "", pandas, arrow, -(2**63), 2**63 - 1)


_STR = pd.StringDtype(na_value=float("nan"))
_COUNT = _fact("int", pd.Int64Dtype(), pa.int64())

# What Orthanc knows beside DICOM, in the spelling of its answers.
FACTS: Mapping[str, ColumnType] = MappingProxyType(
    {
        "ID": _fact("text", _STR, pa.string()),
        "ParentPatient": _fact("text", _STR, pa.string()),
        "ParentStudy": _fact("text", _STR, pa.string()),
        "ParentSeries": _fact("text", _STR, pa.string()),
        "RepresentativeInstance": _fact("text", _STR, pa.string()),
        "Labels": _fact("text", _STR, pa.string()),
        "Status": _fact("text", _STR, pa.string()),
        "Issues": _fact("text", _STR, pa.string()),
        "Column": _fact("text", _STR, pa.string()),
        "Issue": _fact("text", _STR, pa.string()),
        "Private": _fact("json", _STR, pa.string()),
        "IsStable": _fact("bool", pd.BooleanDtype(), pa.bool_()),
        # Parquet has no seconds; datetime64[s] comes back from microseconds without loss.
        "LastUpdate": _fact("stamp", "datetime64[s]", pa.timestamp("us")),
        "FileSize": _COUNT,
        "IndexInSeries": _COUNT,
        "ExpectedNumberOfInstances": _COUNT,
    }
)


def column_type(name: str) -> ColumnType:
    """The type of a column: a keyword, "gggg,eeee", a path "Sequence.Keyword", or one of Orthanc's own facts.

    A tag that the dictionary does not know is text. `QueryError` for a keyword that is not DICOM's, and for binary
    values, which never become columns.

    >>> column_type("StudyDate").pandas
    'datetime64[s]'
    >>> column_type("PixelSpacing").arrow
    ListType(list<item: double>)
    """
    if name in FACTS:
        return FACTS[name]
    return _dicom_type(name)


@functools.cache
def _dicom_type(name: str) -> ColumnType:
    if name.endswith(OFFSET):
        return ColumnType("int", "", "", pd.Int64Dtype(), pa.int64(), -(2**15), 2**15)
    leaf = name.rpartition(".")[2]
    tag = tag_of(leaf)
    if tag is None:
        if _is_private_name(leaf):
            return _text("", "")
        raise unknown_keyword(leaf)
    try:
        vr, vm = dictionary_VR(tag), dictionary_VM(tag)
    except KeyError:
        return _text("", "")
    if _binary(vr):
        raise QueryError(f"{leaf} is binary ({vr}); tables hold no binary values.")
    return _by_vr(vr, vm)


def _by_vr(vr: str, vm: str) -> ColumnType:
    if vr == "SQ":
        return ColumnType("json", vr, vm, _STR, pa.string())
    if vr in ("DS", "FD", "FL") and vm != "1":
        return ColumnType("floats", vr, vm, pd.ArrowDtype(_LISTS["floats"]), _LISTS["floats"])
    if vr in ("DS", "FD"):
        return ColumnType("float", vr, vm, "float64", pa.float64())
    if vr == "FL":
        return ColumnType("float32", vr, vm, "float32", pa.float32())
    if vr in _WHOLE:
        pandas, arrow, low, high = _WHOLE[vr]
        if vm == "1":
            return ColumnType("int", vr, vm, pandas, arrow, low, high)
        many = _LISTS["unsigned" if vr == "UV" else "ints"]
        return ColumnType("ints", vr, vm, pd.ArrowDtype(many), many, low, high)
    if vm == "1" and vr in ("DA", "DT", "TM"):
        return _TEMPORAL[vr]
    return _text(vr, vm)


_TEMPORAL: Mapping[str, ColumnType] = MappingProxyType(
    {
        "DA": ColumnType("date", "DA", "1", "datetime64[s]", pa.date32()),
        "TM": ColumnType("time", "TM", "1", pd.ArrowDtype(pa.time64("us")), pa.time64("us")),
        "DT": ColumnType("datetime", "DT", "1", "datetime64[us]", pa.timestamp("us")),
    }
)

_TAG = re.compile(r"\(?([0-9A-Fa-f]{4})[,\-]?([0-9A-Fa-f]{4})\)?")


def tag_of(name: str) -> int | None:
    """The tag number of a keyword or of "gggg,eeee" (also "(gggg,eeee)", "gggg-eeee", "ggggeeee"); None if neither."""
    match = _TAG.fullmatch(name)
    if match:
        return int(match[1] + match[2], 16)
    # The dictionary has retired entries without a keyword.
    return tag_for_keyword(name) if name else None


def _is_private_name(name: str) -> bool:
    # A private element of a creator is a column "0019,xx0c CREATOR".
    return re.match(r"[0-9a-f]{4},xx[0-9a-f]{2} ", name) is not None


def _binary(vr: str) -> bool:
    return vr.startswith("O") or vr in ("UN", "NONE") or vr.endswith("OW")


def is_binary(tag: int) -> bool:
    """True for elements whose values are bytes by the dictionary, and for those it does not know."""
    try:
        return _binary(dictionary_VR(tag))
    except KeyError:
        return True


@functools.cache
def _keywords() -> Mapping[str, str]:
    return {entry[4].lower(): entry[4] for entry in DicomDictionary.values() if entry[4]}


def unknown_keyword(name: str) -> QueryError:
    """The error for a keyword that DICOM does not have, with the nearest one that it has.

    >>> str(unknown_keyword("StudyDat"))
    "DICOM has no keyword 'StudyDat'; did you mean StudyDate?"
    """
    if not re.fullmatch(r"\w{1,64}", name, re.ASCII):
        return QueryError("A column or criterion is not a DICOM keyword: letters and digits, as in StudyDate.")
    if name in FACTS:
        return QueryError(f"{name} is Orthanc's own, not a DICOM keyword; it cannot be a criterion.")
    known = _keywords()
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.7)
    hint = f"; did you mean {known[near[0]]}?" if near else "; PS3.6 lists them all."
    return QueryError(f"DICOM has no keyword {name!r}{hint}")
