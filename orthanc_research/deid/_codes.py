"""Coded concepts (PS3.3 section 8): codes of public schemes stay, those of a house are keyed."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from ._table import units, words

__all__ = ["is_code", "is_public_scheme", "standard_meaning"]

# How the codes of public schemes look (PS3.16 Table 8-1); whatever else stands there is not taken for a code.
_SCHEMES = {
    "DCM": r"\d{6}|[A-Z]{2,8}",
    "SCT": r"\d{6,18}",
    "SRT": r"[A-Z]\d?-[0-9A-Z]{3,6}",
    "SNM3": r"[A-Z]\d?-[0-9A-Z]{3,6}",
    "99SDM": r"[A-Z]\d?-[0-9A-Z]{3,6}",
    "LN": r"\d{1,7}-\d",
    "UCUM": r"(?:1|[A-Za-z%\[\]0-9/.*'^-]{1,12}|\{[A-Za-z0-9/_ ]{1,14}\}){1,3}",
    "FMA": r"\d{1,8}",
    "RADLEX": r"RID\d{1,7}",
    "NCIt": r"C\d{1,7}",
    "UMLS": r"C\d{7}",
    "MDC": r"\d{1,7}",
    "BI": r"[a-z0-9.]{1,8}",
    "ITIS_TSN": r"\d{1,8}",
    "I10": r"[A-Z]\d{2}(\.\d{1,4})?",
    "I9C": r"[0-9VE]\d{2,3}(\.\d{1,2})?",
    "RO": r"[A-Z0-9-]{1,12}",
    "PUBCHEM_CID": r"\d{1,10}",
    "ISO3166_1": r"[A-Z]{2,3}",
    "RFC3066": r"[a-z]{2}(-[A-Z]{2})?",
    "RFC5646": r"[a-z]{2}(-[A-Z]{2})?",
}


def is_public_scheme(designator: str) -> bool:
    """Whether a CodingSchemeDesignator is of a scheme that everybody uses."""
    return designator in _SCHEMES


def is_code(designator: str, code: str) -> bool:
    """Whether it is a code of a public scheme, by its form."""
    pattern = _SCHEMES.get(designator)
    if pattern is None or re.fullmatch(pattern, code, re.ASCII) is None:
        return False
    if designator == "DCM" and not code.isdigit():
        return code in _meanings(designator)
    if designator == "UCUM":
        # Annotations in braces, and long units, are what anybody may write: known ones only.
        parts = re.findall(r"[A-Za-z]+", code)
        return code in _meanings(designator) or all(part in units() or part in words() for part in parts)
    return True


def standard_meaning(designator: str, code: str) -> str | None:
    """The standard's own meaning of a code; None where this does not know it."""
    return _meanings(designator).get(code)


@cache
def _meanings(designator: str) -> dict[str, str]:
    from pydicom.sr import _concepts_dict  # a big table: only where a meaning is not of the vocabulary

    scheme: Any = _concepts_dict.concepts.get(designator, {})
    return {code: str(entry[0]) for codes in scheme.values() for code, entry in codes.items()}
