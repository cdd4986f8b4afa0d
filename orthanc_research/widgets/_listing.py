"""The elements of a file as lines of text, sequences indented: what a viewer shows beside a slice, or in its place."""

from __future__ import annotations

from pydicom import DataElement, Dataset
from pydicom.tag import BaseTag

from orthanc_research.markup import visible

__all__ = ["listing"]

_LINES = 3000
_LONGEST = 300  # characters of a value
_BINARY = {"OB", "OW", "OF", "OD", "OL", "OV", "UN"}


def listing(dataset: Dataset) -> list[str]:
    """A line an element, "(0010,0020) PatientID: …", in the order of the tags; binary values are their length."""
    lines: list[str] = []
    _add(lines, dataset, 0)
    return lines if len(lines) < _LINES else [*lines[:_LINES], "… and more"]


def _add(lines: list[str], dataset: Dataset, depth: int) -> None:
    for tag in sorted(dataset.keys()):
        if len(lines) >= _LINES:
            return
        margin = "  " * depth
        try:
            element = dataset[tag]
            items = list(element.value) if element.VR == "SQ" else []
            lines.append(f"{margin}{_name(tag, element)}: {_value(element)}")
        except Exception as error:  # noqa: BLE001  # pydicom raises whatever damaged values lead it into
            lines.append(f"{margin}{_hex(tag)} cannot be read ({type(error).__name__})")
            continue
        for number, item in enumerate(items, 1):
            lines.append(f"{margin}  item {number} of {len(items)}")
            _add(lines, item, depth + 2)


def _name(tag: BaseTag, element: DataElement) -> str:
    # Names of private elements come from a dictionary of pydicom's, not from the file.
    return f"{_hex(tag)} {element.keyword or element.name}"


def _hex(tag: BaseTag) -> str:
    return f"({tag.group:04x},{tag.element:04x})"


def _value(element: DataElement) -> str:
    value = element.value
    if element.VR == "SQ":
        return f"{len(value)} items"
    if value is None:
        return ""
    if element.VR in _BINARY or isinstance(value, bytes):
        return f"{len(value):,} bytes" if hasattr(value, "__len__") else ""
    parts = [value] if isinstance(value, str) or not hasattr(value, "__iter__") or element.VR == "PN" else list(value)
    if element.VR == "PN" and element.VM > 1:
        parts = list(value)
    return visible("\\".join(map(str, parts[:100])), longest=_LONGEST)
