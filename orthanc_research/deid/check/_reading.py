"""The verifier's own reading of DICOM bytes: strict, and without pydicom's parser, which the engine stands on.

Two programs that share a parser share its blind spots. This one refuses what it does not understand instead of skipping
it, so nothing in an output can hide behind a tolerant reader. Sources: PS3.5 section 7, PS3.10 section 7.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass, field
from functools import lru_cache

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.uid import UID

__all__ = ["WORD", "Element", "File", "Malformed", "name_of", "opened", "read", "read_leniently", "vr_of"]

_LONG = {vr: vr.decode() for vr in b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()}
_SHORT = {vr: vr.decode() for vr in b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()}
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_IMPLICIT, _EXPLICIT, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
WORD = {"US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4}
WORD |= dict.fromkeys(("FD", "OD", "SV", "UV", "OV"), 8)
_DEEPEST = 64


class Malformed(Exception):
    """These bytes are not what PS3.5 says; the text holds no value."""


@dataclass(slots=True)
class Element:
    """One element: its bytes in little endian, or its items, or its fragments (the first is the offset table)."""

    tag: int
    vr: str
    value: bytes = b""
    items: list[dict[int, Element]] | None = None
    fragments: list[bytes] | None = None
    creator: str = ""


@dataclass(slots=True)
class File:
    """A file in parts. `tail` is what stands behind the last element."""

    preamble: bytes = b""
    syntax: str = _IMPLICIT
    meta: dict[int, Element] = field(default_factory=dict)
    elements: dict[int, Element] = field(default_factory=dict)
    tail: bytes = b""


def read(content: bytes, *, lenient: bool = False) -> File:
    """A DICOM file (PS3.10), every byte accounted for; `Malformed` where that cannot be done.

    `lenient`: a VR that nobody knows is taken for UN with a short length, as writers of such files mostly mean it.
    """
    if content[128:132] != b"DICM":
        raise Malformed("the file has no DICM mark")
    meta, start = _Reader(content, implicit=False, big=False).elements(132, len(content), only_group=2)
    uid = meta.get(0x00020010)
    if uid is None:
        raise Malformed("the file does not say its transfer syntax")
    syntax = uid.value.rstrip(b"\0 ").decode("ascii", "replace")
    body, tail = content, b""
    if syntax == _DEFLATED:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            body, start = inflate.decompress(content[start:]), 0
        except zlib.error as error:
            raise Malformed("the deflated data set cannot be inflated") from error
        tail = inflate.unused_data.lstrip(b"\0")
    reader = _Reader(body, implicit=syntax == _IMPLICIT, big=syntax == _BIG, lenient=lenient)
    elements, end = reader.elements(start, len(body))
    return File(content[:128], syntax, meta, elements, tail + body[end:])


def read_leniently(content: bytes | File) -> File:
    """As `read`; what is malformed is first put in order by pydicom, as it understands it. A `File` is read already."""
    if isinstance(content, File):
        return content
    try:
        return read(content)
    except Malformed:
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        file = read(_put_in_order(content), lenient=True)
    if not file.elements:
        raise Malformed("there is nothing in the file that could be read")
    return file


def opened(original: bytes | File | Dataset) -> File:
    """An original as it was given to us: a file, read or not, or a Dataset; `Malformed` where it cannot be read."""
    if isinstance(original, Dataset):
        buffer = io.BytesIO()
        dcmwrite(buffer, original, implicit_vr=False, little_endian=True, enforce_file_format=False)
        body = buffer.getvalue()
        if body[128:132] == b"DICM":
            return read_leniently(body)
        return File(elements=_Reader(body, implicit=False, big=False).elements(0, len(body))[0])
    return read_leniently(original)


def _put_in_order(content: bytes) -> bytes:
    try:
        dataset = dcmread(io.BytesIO(content), force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            implicit, little = dataset.original_encoding
            dataset.file_meta.TransferSyntaxUID = UID(_EXPLICIT if not implicit else _IMPLICIT) if little else UID(_BIG)
        buffer = io.BytesIO()
        dcmwrite(buffer, dataset, enforce_file_format=False)
    except Exception as error:
        raise Malformed("the file is damaged") from error
    text = buffer.getvalue()
    return text if text[128:132] == b"DICM" else bytes(128) + b"DICM" + text


class _Reader:
    def __init__(self, data: bytes, *, implicit: bool, big: bool, lenient: bool = False) -> None:
        self.data, self.implicit, self.big, self.lenient = data, implicit, big, lenient
        order = ">" if big else "<"
        self.tag_at = struct.Struct(order + "HH").unpack_from
        self.two_at = struct.Struct(order + "H").unpack_from
        self.four_at = struct.Struct(order + "L").unpack_from

    def elements(
        self, at: int, end: int, *, only_group: int | None = None, item: bool = False, depth: int = 0
    ) -> tuple[dict[int, Element], int]:
        """The elements from `at` on, to `end` or to the delimiter of an item, and where that is."""
        if depth > _DEEPEST:
            raise Malformed(f"sequences are nested more than {_DEEPEST} deep")
        found: dict[int, Element] = {}
        creators: dict[int, str] = {}
        while at + 8 <= end:
            group, number = self.tag_at(self.data, at)
            tag = group << 16 | number
            if only_group is not None and group != only_group:
                return found, at
            if tag == _ITEM_END and item:
                return found, at + 8
            if tag in found:
                raise Malformed(f"({group:04X},{number:04X}) is there twice")
            element, at = self.element(tag, at, end, depth)
            if group & 1:
                if 0x10 <= number <= 0xFF:
                    creators[tag] = element.value.rstrip(b"\0 ").lstrip().decode("latin-1")
                elif number >= 0x1000:
                    element.creator = creators.get(group << 16 | number >> 8, "")
            found[tag] = element
        if item:
            raise Malformed("an item has no end")
        return found, at

    def element(self, tag: int, at: int, end: int, depth: int) -> tuple[Element, int]:
        if self.implicit:
            vr, length, at = vr_of(tag), self.four_at(self.data, at + 4)[0], at + 8
        else:
            code = self.data[at + 4 : at + 6]
            vr = _SHORT.get(code, "")
            if vr:
                length, at = self.two_at(self.data, at + 6)[0], at + 8
            elif code in _LONG and at + 12 <= end:
                vr, length, at = _LONG[code], self.four_at(self.data, at + 8)[0], at + 12
            elif self.lenient and tag >> 16:
                vr, length, at = "UN", self.two_at(self.data, at + 6)[0], at + 8
            else:
                raise Malformed(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) has no known VR")
        if length == _UNDEFINED:
            return self.undefined(tag, vr, at, end, depth)
        stop = at + length
        if stop > end:
            raise Malformed(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is longer than what holds it")
        if vr == "SQ":
            items, _ = self.items(at, stop, depth)
            return Element(tag, vr, items=items), stop
        value = self.data[at:stop]
        if vr == "UN" and not tag >> 16 & 1:
            return _known(tag, value, depth), stop
        if self.big and vr in WORD:
            value = _swapped(value, WORD[vr])
        return Element(tag, vr, value), stop

    def undefined(self, tag: int, vr: str, at: int, end: int, depth: int) -> tuple[Element, int]:
        if vr == "SQ":
            items, at = self.items(at, end, depth)
            return Element(tag, vr, items=items), at
        if vr == "UN":  # PS3.5 6.2.2: implicit little endian within
            items, at = _Reader(self.data, implicit=True, big=False).items(at, end, depth)
            return Element(tag, "SQ", items=items), at
        fragments: list[bytes] = []
        while at + 8 <= end:
            group, number = self.tag_at(self.data, at)
            length = self.four_at(self.data, at + 4)[0]
            at += 8
            if group << 16 | number == _SEQUENCE_END:
                return Element(tag, vr, fragments=fragments), at
            if group << 16 | number != _ITEM or at + length > end:
                break
            fragments.append(self.data[at : at + length])
            at += length
        raise Malformed("the fragments of an element have no end")

    def items(self, at: int, end: int, depth: int) -> tuple[list[dict[int, Element]], int]:
        """Items up to `end` (defined length) or up to their delimiter."""
        items: list[dict[int, Element]] = []
        while at + 8 <= end:
            group, number = self.tag_at(self.data, at)
            length = self.four_at(self.data, at + 4)[0]
            at += 8
            if group << 16 | number == _SEQUENCE_END:
                return items, at
            if group << 16 | number != _ITEM:
                raise Malformed("a sequence holds something that is no item")
            stop = end if length == _UNDEFINED else at + length
            if stop > end:
                raise Malformed("an item is longer than its sequence")
            elements, here = self.elements(at, stop, item=length == _UNDEFINED, depth=depth + 1)
            if length != _UNDEFINED and here != stop:
                raise Malformed("an item has bytes behind its last element")
            items.append(elements)
            at = here
        if at != end:
            raise Malformed("a sequence has bytes behind its last item")
        return items, at


def _known(tag: int, value: bytes, depth: int) -> Element:
    """A standard attribute that was stored as UN: little endian, implicit within (PS3.5 6.2.2)."""
    vr = vr_of(tag)
    if vr == "SQ":
        try:
            items, _ = _Reader(value, implicit=True, big=False).items(0, len(value), depth)
            return Element(tag, "SQ", items=items)
        except Malformed:
            return Element(tag, "UN", value)
    return Element(tag, vr, value)


@lru_cache(maxsize=8192)
def vr_of(tag: int) -> str:
    """The VR that the dictionary gives; "UN" for private and unknown elements."""
    group, number = tag >> 16, tag & 0xFFFF
    if number == 0:
        return "UL"
    if group & 1:
        return "LO" if 0x10 <= number <= 0xFF else "UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    return {"US or SS": "US", "OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW"}.get(vr, vr)


def _swapped(value: bytes, size: int) -> bytes:
    if len(value) % size:
        raise Malformed("a number has a wrong length")
    return (
        b"".join(value[at : at + size][::-1] for at in range(0, len(value), size)) if size > 2 else _swapped_two(value)
    )


def _swapped_two(value: bytes) -> bytes:
    swapped = bytearray(len(value))
    swapped[0::2], swapped[1::2] = value[1::2], value[0::2]
    return bytes(swapped)


@lru_cache(maxsize=8192)
def name_of(tag: int, creator: str = "") -> str:
    """The keyword, or "(gggg,eeee)"; a private element by its place in its block: '(0029,xx10)'."""
    if tag >> 16 & 1 and tag & 0xFFFF >= 0x1000 and creator:
        return f"({tag >> 16:04X},xx{tag & 0xFF:02X})"
    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
