r"""One form of header, whatever it came from.

A header is what Orthanc's `GET /instances/{id}/tags?short` answers: `{"0028,0010": "512", "0020,0032": "-1\2\3"}`;
every value is text as DICOM writes it, a sequence is a list of such mappings, binary values are null.
`header_from_dataset` gives a pydicom Dataset the same form, so that frames are read by one piece of code and a verdict
from the server's answer is the verdict on the file.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue

from ._wanted import BYTES, SEQUENCES, TAGS

__all__ = [
    "Header",
    "header_from_dataset",
    "header_from_elements",
    "items",
    "number",
    "numbers",
    "present",
    "text",
    "texts",
    "unread",
    "usable",
    "whole",
]

Header = Mapping[str, Any]

_BINARY = {"AT", "FD", "FL", "OB", "OD", "OF", "OL", "OV", "OW", "SL", "SQ", "SS", "SV", "UL", "UN", "US", "UV"}
_NUMERIC = {
    vr: struct.Struct(f"<{kind}") for vr, kind in zip(("US", "SS", "UL", "SL", "FL", "FD"), "HhIifd", strict=True)
}
_UNREADABLE = "?"  # present, and not what its VR says: not a number, not absent
_DEEPEST = 16  # of nested sequences that are read; functional groups need four, reports some more

# DS and IS, PS3.5 §6.2; Python's own float() would also take "nan", "1_000" and Arabic digits.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def header_from_dataset(dataset: Dataset) -> dict[str, Any]:
    """The elements that frames are made of, in the form of Orthanc's short tags, those in sequences as well.

    Values are taken as the file has them, before pydicom converts (and on nonsense raises). Binary values are None but
    for the few bytes that prove a mosaic. Nothing is changed in `dataset`.
    """
    header = _read(dataset, 0)
    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if syntax:
        header["0002,0010"] = str(syntax)
    return header


def header_from_elements(elements: Mapping[int, tuple[str, bytes]], syntax: str) -> dict[str, Any] | None:
    """The same from raw little-endian values, tag → (VR, "" where the file writes none; value), without sequences.

    None when a value needs more than its bytes to be read: its VR is unknown, or its length does not fit.
    """
    header: dict[str, Any] = {}
    for tag in sorted(elements):
        vr, value = elements[tag]
        if vr in ("", "UN"):
            vr = _dictionary_vr(tag)
        if vr not in _BINARY and len(vr) == 2:
            header[TAGS[tag]] = value.decode("latin-1").strip(" \0")
        elif vr in _NUMERIC and len(value) % _NUMERIC[vr].size == 0:
            header[TAGS[tag]] = "\\".join(str(number) for (number,) in _NUMERIC[vr].iter_unpack(value))
        elif vr in ("OB", "OW"):
            header[TAGS[tag]] = value if TAGS[tag] in BYTES else None
        else:
            return None
    return {**header, "0002,0010": syntax}


def _read(dataset: Dataset, depth: int) -> dict[str, Any]:
    header: dict[str, Any] = {}
    for tag in sorted(dataset.keys() & TAGS.keys()):
        header[TAGS[tag]] = None if tag >= 0x7FE00000 else _value(dataset, tag, depth)
    return header


def _value(dataset: Dataset, tag: int, depth: int) -> Any:
    try:
        element: Any = dataset.get_item(tag)
    except Exception:  # noqa: BLE001  # it converts what has no value yet
        return _UNREADABLE
    if isinstance(element, RawDataElement):
        vr = element.VR if element.VR not in (None, "UN") else _dictionary_vr(tag)
        if vr not in _BINARY:
            return (element.value or b"").decode("latin-1").strip(" \0")
    try:
        element = dataset[tag]
        value = element.value
        if element.VR == "SQ":
            if TAGS[tag] not in SEQUENCES or depth == _DEEPEST:
                return [{} for _ in value or ()]
            return [_read(item, depth + 1) for item in value or ()]
    except Exception:  # noqa: BLE001  # pydicom raises whatever the damaged bytes lead it into
        return _UNREADABLE
    if isinstance(value, bytes):
        return value if TAGS[tag] in BYTES else None
    parts = value if isinstance(value, MultiValue | list | tuple) else [value]
    if element.VR == "AT":
        return "\\".join(_tag_text(part) for part in parts)
    return "\\".join("" if part is None else str(part) for part in parts)


def _tag_text(value: Any) -> str:
    """As Orthanc writes the value of an AT element."""
    return f"{int(value) >> 16:04x},{int(value) & 0xFFFF:04x}" if isinstance(value, int) else ""


@lru_cache(maxsize=1024)
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
    value = text(header, key)
    return tuple(part.strip() for part in _split(value)) if value else ()


def numbers(header: Header, key: str) -> tuple[float, ...] | None:
    """The numbers between backslashes; None when absent. What is not a finite number is NaN: present, not usable."""
    if not isinstance(header.get(key, ""), str):  # binary, a sequence, or too long for short tags
        return (math.nan,)
    value = text(header, key)
    return _parsed(value) if value else None


def number(header: Header, key: str) -> float | None:
    """The first number; None when absent, NaN when it is not one."""
    found = numbers(header, key)
    return found[0] if found else None


def usable(header: Header, key: str) -> float | None:
    """The first number; None when absent or not one."""
    found = number(header, key)
    return None if found is None or math.isnan(found) else found


def whole(header: Header, key: str) -> int | None:
    """A whole number; None when absent, -1 when the value is not a whole number from 0 to 2³¹ - 1."""
    found = number(header, key)
    if found is None:
        return None
    return int(found) if 0 <= found < 2**31 and found == int(found) else -1


def items(header: Header, key: str) -> list[Header]:
    """The items of a sequence; [] when it is absent, or nothing that can be read."""
    value = header.get(key)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def present(header: Header, key: str) -> bool:
    """Whether a sequence is there with at least one item, or as something that cannot be read here."""
    return unread(header, key) or bool(header.get(key))


def unread(header: Header, key: str) -> bool:
    """Whether the element is in the file, and its value not in this header: binary, or too long for short tags."""
    return key in header and header[key] is None


def _split(value: str) -> list[str]:
    # In JIS X 0201 the byte of a backslash is a yen sign, and Orthanc before 1.13 shows it so in every value of a file
    # with that character set. What is read here (CS, DS, IS) has neither sign inside a value: PS3.5 section 6.2.
    return value.replace("\N{YEN SIGN}", "\\").split("\\")


@lru_cache(maxsize=1024)  # a series, and a file of many frames, say most of their numbers again and again
def _parsed(value: str) -> tuple[float, ...]:
    return tuple(_number(part.strip()) for part in _split(value))


def _number(part: str) -> float:
    if not _NUMBER.fullmatch(part):
        return math.nan
    value = float(part)
    return value if math.isfinite(value) else math.nan  # "1e999" is a legal DS and no number
