"""Where a walk over a dataset is: what the value at hand stands beside and below."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataelem import RawDataElement

from ._read import Elements
from ._texts import decoded

__all__ = ["ASCII", "Level"]

ASCII = ("ascii",)


@dataclass(frozen=True, slots=True)
class Level:
    """Where the walk is: the path down to here, how deep, and the elements beside the present one.

    `concept` is the code of what a content item is about (PS3.3 section 10.2), `unit` that of a measurement's unit; ""
    elsewhere.
    """

    prefix: str
    depth: int
    encodings: tuple[str, ...]
    elements: Elements
    concept: str = ""
    unit: str = ""

    def text(self, tag: int) -> str:
        """The value of a neighbour as text; "" where there is none that can be read."""
        element = self.elements.get(tag)
        value = element.value if isinstance(element, RawDataElement) else None
        return (decoded(value, self.encodings) or "").strip() if value else ""
