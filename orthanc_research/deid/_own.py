"""The words of an instance's own names and ids, which no text of it may keep: people are named Bone."""

from __future__ import annotations

import re

from pydicom.dataelem import RawDataElement

from ._read import Elements
from ._texts import decoded

__all__ = ["OwnWords"]

_TOKEN = re.compile(r"[^\W_]{2,}")
_LONG = 4  # shorter ones stand in other words by chance
# PatientName, ID, other ids and names, birth name, mother's, AccessionNumber, physicians and operators.
_IDENTITY = (
    0x00100010,
    0x00100020,
    0x00101000,
    0x00101001,
    0x00101005,
    0x00101060,
    0x00080050,
    0x00080090,
    0x00080080,
    0x00081048,
    0x00081050,
    0x00081060,
    0x00081070,
    0x00321032,
    0x00102297,
    0x00081010,
)
# The patient alone: a technical text with the name of a clinic in it may be its maker's.
_PATIENT_NAMES = frozenset((0x00100010, 0x00101001, 0x00101005, 0x00101060))
_PATIENT_IDS = frozenset((0x00100020, 0x00101000))


class OwnWords:
    """What the names and ids of one instance say, word by word."""

    def __init__(self) -> None:
        self._all: set[str] = set()
        self._patients: set[str] = set()

    def learn(self, elements: Elements, encodings: tuple[str, ...]) -> None:
        """Read the names and ids among these elements."""
        for tag in _IDENTITY:
            element = elements.get(tag)
            if isinstance(element, RawDataElement) and element.value:
                text = (decoded(element.value, encodings) or "").casefold()
                found = _TOKEN.findall(text)
                self._all.update(found)
                if tag in _PATIENT_NAMES:
                    self._patients.update(word for word in found if len(word) > 2 or not word.isdigit())
                elif tag in _PATIENT_IDS and len(whole := text.strip(" \0")) > 2:  # one of two digits is in any version
                    self._patients.add(whole)

    def are_in(self, text: str) -> bool:
        """Whether a text has a word of any of the names and ids."""
        return not self._all.isdisjoint(_TOKEN.findall(text.casefold()))

    def of_patient_are_in(self, text: str) -> bool:
        """Whether a text has a word of the patient's, alone or within a longer one."""
        text = text.casefold()
        long = (word for word in self._patients if len(word) >= _LONG)
        return not self._patients.isdisjoint(_TOKEN.findall(text)) or any(word in text for word in long)
