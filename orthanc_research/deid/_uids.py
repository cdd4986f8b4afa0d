"""Which UIDs are DICOM's own: those of its registry (PS3.6 Annex A) name classes and schemes, never a thing."""

from __future__ import annotations

import re

from pydicom._uid_dict import UID_dictionary

__all__ = ["ROOT", "is_class", "is_registered"]

ROOT = "1.2.840.10008."
# Classes and syntaxes that are newer than pydicom's list; numbers of people are longer than their parts.
_NEWER = re.compile(r"1\.2\.840\.10008\.(5\.1\.4\.1\.1\.\d{1,3}|1\.2)(\.\d{1,3}){0,3}")


def is_registered(uid: str) -> bool:
    """Whether a UID is in DICOM's registry."""
    return uid in UID_dictionary


def is_class(uid: str) -> bool:
    """Whether it may name a class or a transfer syntax: registered, of a newer registry, or a maker's own."""
    return not uid.startswith(ROOT) or is_registered(uid) or _NEWER.fullmatch(uid) is not None
