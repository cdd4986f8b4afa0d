"""Whether two values of an element say the same, and whether one says anything. Sources: PS3.5 6.2 (padding)."""

from __future__ import annotations

from functools import lru_cache

from orthanc_research.deid.check._ordinary import NEUTRAL
from orthanc_research.deid.check._reading import Element
from orthanc_research.deid.check._text import TEXTS, fold, values_of, words

__all__ = ["holds", "is_empty", "is_neutral", "same"]

_LONG = 4
_NUMBERS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT"})


def is_empty(element: Element) -> bool:
    """Whether nothing stands there. Zeros and blanks are padding, but in binary numbers: 32 is a blank and a zero."""
    return not (element.value if element.vr in _NUMBERS else element.value.strip(b"\0 "))


def same(old: Element, new: Element, charsets: tuple[bytes, bytes]) -> bool:
    """Whether two elements have the same values, whatever their padding and character set."""
    if old.value == new.value:
        return True
    if old.vr not in TEXTS or new.vr not in TEXTS:
        return old.value.rstrip(b"\0") == new.value.rstrip(b"\0") and old.vr in ("UN", "OB")
    return values_of(old, charsets[0]) == values_of(new, charsets[1])


def holds(old: Element, new: Element, charsets: tuple[bytes, bytes]) -> bool:
    """Whether a replacement still holds one of the values that it replaces."""
    if old.vr not in TEXTS or new.vr not in TEXTS:
        kernel = old.value.strip(b"\0 ")
        return len(kernel) > 1 and kernel in new.value
    before, after = tuple(values_of(old, charsets[0])), tuple(values_of(new, charsets[1]))
    return _still(before, after)


@lru_cache(maxsize=8192)
def is_neutral(text: str) -> bool:
    """Whether a text says nothing: empty, zeros, or a word for that."""
    return not text.strip("0 ") or set(words(fold(text))) <= NEUTRAL


@lru_cache(maxsize=8192)
def _still(before: tuple[str, ...], after: tuple[str, ...]) -> bool:
    olds = {fold(each) for each in before if not is_neutral(each)}
    news = [fold(each) for each in after if each]
    return any(old == new or (len(old) >= _LONG and old in new) for old in olds for new in news)
