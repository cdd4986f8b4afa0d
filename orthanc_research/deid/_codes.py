"""Coded concepts (PS3.3 section 8): codes of public schemes stay, those of a house are keyed."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

__all__ = ["is_code", "is_public_scheme", "is_standard_meaning"]

# How the codes of public schemes look (PS3.16 Table 8-1); whatever else stands there is not taken for a code.
_SCHEMES = {
    "DCM": r"\d{6}",
    "SCT": r"\d{6,18}",
    "SRT": r"[A-Z]\d?-[0-9A-Z]{3,6}",
    "SNM3": r"[A-Z]\d?-[0-9A-Z]{3,6}",
    "99SDM": r"[A-Z]\d?-[0-9A-Z]{3,6}",
    "LN": r"\d{1,7}-\d",
    "UCUM": r"\{[A-Za-z0-9/_ ]{1,14}\}|1|[A-Za-z%\[\]0-9/.*'^-]{1,8}|\[[a-zA-Z'_]{1,12}\]",
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
    return pattern is not None and re.fullmatch(pattern, code, re.ASCII) is not None


def is_standard_meaning(designator: str, code: str, meaning: str) -> bool:
    """Whether the meaning is the standard's own for that code."""
    return (code, meaning.casefold()) in _meanings(designator)


@cache
def _meanings(designator: str) -> frozenset[tuple[str, str]]:
    from pydicom.sr import _concepts_dict  # a big table: only where a meaning is not of the vocabulary

    scheme: Any = _concepts_dict.concepts.get(designator, {})
    return frozenset((code, entry[0].casefold()) for codes in scheme.values() for code, entry in codes.items())
