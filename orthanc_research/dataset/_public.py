"""What everybody may see of a recipe: nothing that may lead to a patient, a study, a person or a day."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from orthanc_research.dataset._filter import Filter
from orthanc_research.dataset._sections import FACTS, IDENTIFIERS
from orthanc_research.deid._texts import speaks_vocabulary

__all__ = ["published"]

# Of what a query may ask, codes and numbers say nothing of a single patient, and neither do these.
_HARMLESS = frozenset(("Manufacturer", "ManufacturerModelName", "SOPClassUID"))
# Nor do these, of words that de-identification knows; people write names and numbers there as well.
_WRITTEN = frozenset(("SeriesDescription", "StudyDescription", "ProtocolName"))
_WITHHELD = "withheld"
_CODED = frozenset(("CS", "DS", "IS", "FD", "FL", "US", "SS", "UL", "SL"))


def published(table: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values of a table that may be seen by anyone, and the names of those that may not.

    What is withheld is replaced by what matches nothing or is refused: without it the query would be wider.
    """
    kept = dict(values)
    gone: list[str] = []
    if table == "query":
        gone = [key for key, value in values["match"].items() if not _is_harmless(key, value)]
        kept["match"] = {key: _WITHHELD if key in gone else value for key, value in values["match"].items()}
    elif table == "filter" and values["expr"] is not None:
        found = Filter.parse(values["expr"])
        texts = {name: [text for other, text in found.texts if other == name] for name in found.columns}
        gone = [name for name, said in texts.items() if name not in FACTS and not _is_harmless(name, said)]
        kept["expr"] = f'{_WITHHELD} == "yes"' if gone else values["expr"]
    return kept, gone


def _is_harmless(name: str, value: Any) -> bool:
    """Whether a criterion says nothing of one patient: codes, numbers, ranges of dates, what a machine says."""
    if name in IDENTIFIERS:
        return False
    tag = tag_for_keyword(name)
    vr = dictionary_VR(tag) if tag is not None else ""
    if vr == "DA":
        return name != "PatientBirthDate" and isinstance(value, str) and _is_range(value)
    if name in _WRITTEN:
        texts = value if isinstance(value, list) else [value]
        return all(speaks_vocabulary(str(text), frozenset()) for text in texts)
    return name in _HARMLESS or vr in _CODED


def _is_range(text: str) -> bool:
    return re.fullmatch(r"\d{8}-\d{8}|\d{8}-|-\d{8}|\d{4}", text) is not None and text[:8] != text[9:]
