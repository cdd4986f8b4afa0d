"""Values as their VR allows them: what is checked before it is kept, and what stands in the place of others."""

from __future__ import annotations

import re

from ._dates import is_age, is_time
from ._key import Key
from ._pseudonyms import code_of
from ._rules import NUMBERS, Rule
from ._texts import decoded

__all__ = ["dummy", "kept", "mapped_codes"]

_ONE = rb"[ \0]*+(?:[+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?+)?+[ \0]*+"
_NUMBERS = re.compile(_ONE + rb"(?:\\" + _ONE + rb")*+")  # and no telephone, no date, no UID
_CODE = re.compile(rb"[A-Za-z0-9 _./+\-]{0,32}")
_IDS = re.compile(r".*(ID|IDs|Identifier)")
_DUMMIES = {
    "AS": b"000Y",
    "DA": b"19000101",
    "DT": b"19000101000000",
    "TM": b"000000",
    "DS": b"0",
    "IS": b"0",
    "UR": b"urn:removed",
    "PN": b"Removed",
}
_TEXT = b"REMOVED"


def kept(vr: str, value: bytes, encodings: tuple[str, ...]) -> bytes | None:
    """The value when it is one that its VR may have; None when it may be something else in disguise."""
    size = NUMBERS.get(vr)
    if size is not None:
        return value if len(value) % size == 0 else None
    if vr in ("DS", "IS"):
        return value if _NUMBERS.fullmatch(value) else None
    if vr == "CS":
        return value if all(_CODE.fullmatch(part) for part in value.rstrip(b" \0").split(b"\\")) else None
    if vr == "UI":
        return value if not value.translate(None, b"0123456789. \\\0") else None
    if vr in ("LO", "SH", "ST", "LT", "UT", "UC", "UR", "PN", "AE"):
        text = decoded(value, encodings)
        return None if text is None else value.rstrip(b"\0")
    if vr == "TM":
        return value if is_time(value) else None
    if vr == "AS":
        return value if is_age(value) else None
    return value


def dummy(rule: Rule, value: bytes, key: Key, namespace: str, encodings: tuple[str, ...]) -> bytes:
    """What fits the VR and says nothing; for an identifier a keyed code, so that what was equal stays equal."""
    if rule.vr in NUMBERS:
        return bytes(max(len(value) - len(value) % NUMBERS[rule.vr], NUMBERS[rule.vr]))
    if rule.vr in _DUMMIES:
        return _DUMMIES[rule.vr]
    if rule.vr in ("LO", "SH", "UC", "UT", "ST", "LT"):
        if _IDS.fullmatch(rule.keyword) and value.strip(b" \0"):
            return mapped_codes(key, rule.keyword, value, namespace, encodings)
        return _TEXT
    return b"00" if rule.vr in ("OB", "OW", "UN") else bytes(8) if rule.vr in ("OF", "OD", "OL", "OV") else _TEXT


def mapped_codes(key: Key, purpose: str, value: bytes, namespace: str, encodings: tuple[str, ...]) -> bytes:
    """Each of several values as a keyed code."""
    text = decoded(value, encodings)
    parts = (value.decode("latin-1") if text is None else text).split("\\")
    return "\\".join(code_of(key, purpose, part, namespace) if part.strip() else "" for part in parts).encode("ascii")
