r"""One form of header, whatever it came from.

A header is what Orthanc's `GET /instances/{id}/tags?short` answers: `{"0028,0010": "512", "0020,0032": "-1\2\3"}`;
every value is text as DICOM writes it, a sequence is a list of such mappings, binary values are null.
`header_from_dataset` gives a pydicom Dataset the same form, so that frames are read by one piece of code and a verdict
from the server's answer is the verdict on the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue

__all__ = ["Header", "header_from_dataset", "number", "numbers", "present", "text", "texts", "whole"]

Header = Mapping[str, Any]

# Everything a verdict is made of; nothing else is read, so a damaged private sequence cannot spoil one.
# fmt: off
_TAGS = (
    "0008,0008", "0008,0016", "0008,0018", "0008,0060", "0018,0081", "0018,1060", "0018,9087",
    "0019,0010", "0019,100c", "0020,000e", "0020,0012", "0020,0013", "0020,0032", "0020,0037",
    "0020,0052", "0020,0100", "0028,0002", "0028,0004", "0028,0008", "0028,0010", "0028,0011",
    "0028,0030", "0028,0100", "0028,0101", "0028,0102", "0028,0103", "0028,1052", "0028,1053",
    "0028,1054", "0028,3000", "0043,0010", "0043,1039", "0054,1001", "0065,0010", "0065,1050",
    "5200,9229", "5200,9230",
)
# fmt: on
_BINARY = {"AT", "FD", "FL", "OB", "OD", "OF", "OL", "OV", "OW", "SL", "SQ", "SS", "SV", "UL", "UN", "US", "UV"}
_UNREADABLE = "?"  # present, and not what its VR says: not a number, not absent

# DS and IS, PS3.5 §6.2; Python's own float() would also take "nan", "1_000" and Arabic digits.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def header_from_dataset(dataset: Dataset) -> dict[str, Any]:
    """The elements that verdicts need, in the form of Orthanc's short tags; sequences only say that they are there.

    Values are taken as the file has them, before pydicom converts (and on nonsense raises). Nothing is changed in
    `dataset`.
    """
    header: dict[str, Any] = {}
    for key in _TAGS:
        tag = int(key[:4] + key[5:], 16)
        if tag in dataset:
            header[key] = _value(dataset, tag)
    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if syntax:
        header["0002,0010"] = str(syntax)
    return header


def _value(dataset: Dataset, tag: int) -> Any:
    item: Any = dataset.get_item(tag)
    if isinstance(item, RawDataElement):
        vr = item.VR if item.VR not in (None, "UN") else _dictionary_vr(tag)
        if vr not in _BINARY:
            return (item.value or b"").decode("latin-1").strip(" \0")
    try:
        element = dataset[tag]
        value = element.value
    except Exception:  # noqa: BLE001  # pydicom raises whatever the damaged bytes lead it into
        return _UNREADABLE
    if element.VR == "SQ":
        return [{} for _ in value or ()]
    parts = value if isinstance(value, MultiValue | list | tuple) else [value]
    if isinstance(value, bytes):
        return None
    return "\\".join("" if part is None else str(part) for part in parts)


def _dictionary_vr(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def text(header: Header, key: str) -> str:
    """The value as text, "" when absent, empty or not text."""
    value = header.get(key)
    return value.strip(" \0") if isinstance(value, str) else ""


def texts(header: Header, key: str) -> tuple[str, ...]:
    """The values between backslashes; () when absent."""
    # In JIS X 0201 the byte of a backslash is a yen sign, and Orthanc before 1.13 shows it so in every value of a file
    # with that character set. What is read here (CS, DS, IS) has neither sign inside a value: PS3.5 section 6.2.
    value = text(header, key).replace("\N{YEN SIGN}", "\\")
    return tuple(part.strip() for part in value.split("\\")) if value else ()


def numbers(header: Header, key: str) -> tuple[float, ...] | None:
    """The numbers between backslashes; None when absent. What is not a finite number is NaN: present, not usable."""
    parts = texts(header, key)
    return tuple(_number(part) for part in parts) if parts else None


def number(header: Header, key: str) -> float | None:
    """The first number; None when absent, NaN when it is not one."""
    found = numbers(header, key)
    return found[0] if found else None


def whole(header: Header, key: str) -> int | None:
    """A whole number; None when absent, -1 when the value is not a whole number from 0 to 2³¹ - 1."""
    found = number(header, key)
    if found is None:
        return None
    return int(found) if 0 <= found < 2**31 and found == int(found) else -1


def present(header: Header, key: str) -> bool:
    """Whether a sequence is there with at least one item."""
    return bool(header.get(key))


def _number(part: str) -> float:
    if not _NUMBER.fullmatch(part):
        return math.nan
    value = float(part)
    return value if math.isfinite(value) else math.nan  # "1e999" is a legal DS and no number
