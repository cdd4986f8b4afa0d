"""Bytes of an element → text that can be compared: decoded, case-folded, NFKC, without diacritics.

Sources: PS3.5 6.1.2 (character sets), 6.2 (padding).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from pydicom.charset import convert_encodings, decode_bytes

from orthanc_research.deid.check._reading import Element

__all__ = ["TEXTS", "charset_of", "decoded", "fold", "values_of", "words"]

# The VRs whose bytes are text in the data set's character set; the other texts are ASCII.
_FREE = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
TEXTS = _FREE | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
# Where ISO 2022 goes back to its first character set (PS3.5 6.1.2.5.3).
_DELIMITERS = {ord(each) for each in "\\^=\n\r\t\f"}
_CHARSET = 0x00080005
# Letters with a stroke or a bow, which Unicode does not take apart.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "\u0131": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)
_WORD = re.compile(r"[^\W_]+")


def charset_of(elements: dict[int, Element], above: bytes = b"") -> bytes:
    """SpecificCharacterSet where these elements stand; an item without one has that of the data set around it."""
    element = elements.get(_CHARSET)
    return above if element is None else element.value.strip(b"\0 ")


@lru_cache(maxsize=16384)
def decoded(value: bytes, vr: str, charset: bytes) -> str:
    """The text of a value, all of its values with their backslashes, without padding. Wrong bytes never raise."""
    value = value.rstrip(b"\0 ")
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    if vr in _FREE:
        names = [each.strip() for each in charset.decode("latin-1").split("\\")]
        try:
            return decode_bytes(value, convert_encodings(names), _DELIMITERS)
        except (LookupError, ValueError):
            pass
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def values_of(element: Element, charset: bytes) -> list[str]:
    """The single values of a text element, stripped; free texts of one value are not parted."""
    text = decoded(element.value, element.vr, charset)
    parts = [text] if element.vr in ("LT", "ST", "UT", "UR") else text.split("\\")
    return [part.strip("\0 ") for part in parts]


@lru_cache(maxsize=16384)
def fold(text: str) -> str:
    """As texts are compared: ß is ss, Ł is l, é is e; full-width letters are plain ones."""
    if text.isascii():
        return text.casefold()
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold().translate(_LETTERS))
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def words(folded: str) -> list[str]:
    """Letters and digits that stand together; an underscore parts them as a blank does."""
    return _WORD.findall(folded)
