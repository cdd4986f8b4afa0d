"""Elements of a file in the form of Orthanc's short tags, taken before pydicom converts: its warnings quote values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.valuerep import TEXT_VR_DELIMS

__all__ = ["short_tags"]

_CHARSET = 0x00080005
# Of the default repertoire, and of SpecificCharacterSet (PS3.5 §6.1.2.3).
_PLAIN = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"))
_TEXT = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
# "US or SS", of implicit files, is the one that PixelRepresentation says.
_NUMBERS = frozenset(("FD", "FL", "SL", "SS", "SV", "UL", "US", "US or SS", "UV"))


def short_tags(dataset: Dataset, columns: Iterable[str]) -> dict[str, Any]:
    """{"gggg,eeee": text} of the keywords that are there; sequences and binary values are left out."""
    encodings = _encodings(dataset)
    found: dict[str, Any] = {}
    for name in columns:
        tag = tag_for_keyword(name)
        if tag is not None and tag in dataset:
            text = _text(dataset, tag, encodings)
            if text is not None:
                found[f"{tag >> 16:04x},{tag & 0xFFFF:04x}"] = text
    return found


def _encodings(dataset: Dataset) -> list[str]:
    given = _text(dataset, _CHARSET, ["iso8859"]) if _CHARSET in dataset else ""
    try:
        return list(convert_encodings((given or "").split("\\")))
    except Exception:  # noqa: BLE001 - a character set that nobody knows
        return ["iso8859"]


def _text(dataset: Dataset, tag: int, encodings: list[str]) -> str | None:
    try:
        element: Any = dataset.get_item(tag)
        if isinstance(element, RawDataElement):
            vr = element.VR if element.VR not in (None, "UN") else dictionary_VR(tag)
            value = element.value or b""
            if vr in _PLAIN:
                return value.decode("latin-1").strip(" \0")
            if vr in _TEXT:
                return decode_bytes(value, encodings, TEXT_VR_DELIMS).strip(" \0")
            if vr not in _NUMBERS:
                return None
        element = dataset[tag]
        if element.VR not in _PLAIN | _TEXT | _NUMBERS or element.value is None:
            return None
        parts = element.value if element.VM > 1 else [element.value]
        return "\\".join(str(getattr(each, "original_string", None) or each) for each in parts)
    except Exception:  # noqa: BLE001 - pydicom raises whatever damaged bytes lead it into
        return "?"
