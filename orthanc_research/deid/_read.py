"""A file's bytes as raw elements: read by pydicom, and refused where anything is not what it says."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filereader import data_element_generator, read_sequence
from pydicom.uid import UID

from orthanc_research.errors import DeidError

from ._uids import is_class

__all__ = ["Elements", "File", "Syntax", "items_of", "read"]

Elements = dict[int, RawDataElement | DataElement]

_DEFLATED = "1.2.840.10008.1.2.1.99"
_IMPLICIT, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_EXPLICIT = "1.2.840.10008.1.2.1"
_UNDEFINED = 0xFFFFFFFF
_MOST = 2 << 30  # bytes that a deflated dataset may have
_RATIO = 1032  # deflate cannot do better (zlib's own account), so a longer output is not looked for
# What pydicom raises on damaged files; all of it becomes one sentence.
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RecursionError,
    OverflowError,
    MemoryError,
)


@dataclass(frozen=True, slots=True)
class Syntax:
    """How a dataset is encoded, and which transfer syntax says so."""

    uid: str
    implicit: bool
    little: bool
    deflated: bool


@dataclass(frozen=True, slots=True)
class File:
    """A file's elements by tag, without its preamble and file meta."""

    syntax: Syntax
    elements: Elements


def read(content: bytes) -> File:
    """The elements of a DICOM file, raw; `DeidError` where it is cut, damaged or no DICOM."""
    start = 132 if content[128:132] == b"DICM" else 0
    if not start and content[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
        raise DeidError("This is no DICOM file.")
    try:
        uid, at = _meta(content, start)
        syntax = _syntax(uid or _guessed(content[at : at + 8]))
        data, at = (_inflated(content[at:]), 0) if syntax.deflated else (content, at)
        return File(syntax, _elements(data, at, syntax))
    except DAMAGE:
        # Not chained: what pydicom says may hold a value.
        raise DeidError("This is no DICOM file, or it is damaged or nested too deeply.") from None


def items_of(element: RawDataElement | DataElement, syntax: Syntax) -> list[Elements]:
    """The items of a sequence; `DeidError` where they are cut or damaged."""
    try:
        if isinstance(element, DataElement):
            found = element.value
        else:
            value = element.value or b""
            implicit = syntax.implicit or element.VR == "UN"
            little = syntax.little or element.VR == "UN"
            stream = io.BytesIO(value)
            found = read_sequence(stream, implicit, little, len(value), "iso8859") if value else []
            if stream.tell() != len(value):
                raise DeidError("A sequence of this file is damaged.")
        items = [_by_tag(item.elements()) for item in found or ()]
    except DAMAGE:
        raise DeidError("A sequence of this file is damaged, or nested too deeply.") from None
    return items


def _meta(content: bytes, start: int) -> tuple[str, int]:
    """The transfer syntax that the file meta names ("" where there is none), and where the dataset begins."""
    stream = io.BytesIO(content)
    stream.seek(start)
    uid = ""
    for element in data_element_generator(stream, False, True, lambda tag, *_: tag >> 16 != 2):
        if element.tag == 0x00020010 and isinstance(element, RawDataElement):
            uid = (element.value or b"").decode("ascii").strip(" \0")
    return uid, stream.tell()


def _guessed(head: bytes) -> str:
    """The transfer syntax of a dataset that comes without file meta, by its first element."""
    if not re.fullmatch(rb"[A-Z]{2}", head[4:6]):
        return _IMPLICIT
    return _EXPLICIT if head[:1] != b"\0" else _BIG


def _syntax(uid: str) -> Syntax:
    if not uid.startswith("1.2.840.10008.1.2") or not is_class(uid):
        raise DeidError("This file has a transfer syntax that is not of the standard.")
    known = UID(uid)
    if known in ("1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2"):
        raise DeidError("This file is encapsulated as MIME or XML, which cannot be de-identified.")
    return Syntax(uid, uid == _IMPLICIT, uid != _BIG, uid == _DEFLATED or uid == "1.2.840.10008.1.2.4.95")


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(data, min(_MOST, max(len(data), 64) * _RATIO))
    except zlib.error:
        raise DeidError("This file's deflated dataset is damaged.") from None
    if not inflater.eof:
        raise DeidError("This file's deflated dataset is cut, or inflates to more than 2 GB.")
    return content


def _elements(data: bytes, start: int, syntax: Syntax) -> Elements:
    stream = io.BytesIO(data)
    stream.seek(start)
    found = _by_tag(data_element_generator(stream, syntax.implicit, syntax.little))
    if len(data) - stream.tell() >= 8 or not found:
        # A delimiter that belongs to nothing ends the reading; what follows would be lost without a word.
        raise DeidError("This is no DICOM file, or its dataset ends before the file does.")
    return found


def _by_tag(elements: Iterable[RawDataElement | DataElement]) -> Elements:
    found: Elements = {}
    for element in elements:
        if isinstance(element, DataElement) and element.VR != "SQ" and element.is_empty:
            # pydicom gives an empty value of an item so; a VR that is a choice is for the rules to settle.
            vr = element.VR if len(element.VR) == 2 else None
            element = RawDataElement(element.tag, vr, 0, b"", 0, False, True)
        said = element.length if isinstance(element, RawDataElement) else _UNDEFINED
        if said not in (_UNDEFINED, len(element.value or b"")):
            raise DeidError("This file is cut, or an element's length is wrong.")
        if element.tag in found:
            raise DeidError("This file has an element twice.")
        found[int(element.tag)] = element
    return found
