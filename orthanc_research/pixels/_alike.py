"""The plain files of a series, each read by what another has shown of it.

The slices of a series have the same elements, with mostly the same values. So only what differs is read anew: where an
element is (`_layout`), what the header says, what its frame is. Whatever cannot be read so is read from the beginning,
and a file is read as it would be alone, whatever was read before: the tests hold one against the other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt
from pydicom.uid import ExplicitVRLittleEndian

from ._decode import plain_values
from ._frames import Frame, frame_like, frames_of
from ._header import header_from_elements
from ._kinds import POINTING
from ._layout import Layout
from ._native import FACTS, Plain, plain
from ._wanted import TAGS

__all__ = ["PlainFile", "PlainFiles"]


@dataclass(frozen=True, slots=True)
class PlainFile:
    """`header` as of `header_from_dataset`, its `frames`, their `values` as of `decoded`: a view of the file's bytes.

    `elements`: those of the header and of the further tags, tag → (VR, "" in implicit files; value).
    """

    header: Mapping[str, Any] = field(repr=False)
    frames: list[Frame]
    values: npt.NDArray[Any] = field(repr=False)
    elements: Mapping[int, tuple[str, bytes]] = field(repr=False)

    @property
    def syntax(self) -> str:
        """The TransferSyntaxUID."""
        return str(self.header["0002,0010"])


class PlainFiles:
    """Reads files that may be alike, by several threads and in any order.

    `more` are further tags to give; where one is a sequence, the file is not plain.
    """

    def __init__(self, more: Collection[int] = ()) -> None:
        self._more = more
        self._known: _Known | None = None  # another one takes its place as a whole, so threads need no lock

    def read(self, content: bytes, instance: str = "") -> PlainFile | None:
        """What is in a file, its frames with this `instance`; None for what is no plain file."""
        known = self._known
        made = None if known is None else known.read(content, instance)
        if made is not None:
            return made
        found = plain(content, header=True, more=self._more)
        header = None if found is None else _header(found.elements, found.syntax)
        if found is None or header is None:
            return None
        made = PlainFile(header, frames_of(header, instance), plain_values(content, found), found.elements)
        self._known = _Known(content, found, made)
        return made


class _Known:
    """A file that was read from the beginning."""

    def __init__(self, content: bytes, found: Plain, file: PlainFile) -> None:
        explicit = found.syntax == ExplicitVRLittleEndian
        self._layout = Layout(content, found.heads, {*FACTS, *found.elements}, explicit=explicit)
        self._plain = found
        self._size = len(content) - found.offset
        self._header, self._frames, self._elements = file.header, file.frames, file.elements

    def read(self, content: bytes, instance: str) -> PlainFile | None:
        """What is in a file that is like this one; None for any other."""
        read = self._layout.read(content)
        if read is None or len(content) - read[1] != self._size:
            return None
        values, offset = read
        pairs = zip(self._layout.tags, self._layout.values, values, strict=True)
        changed = {tag: value for tag, before, value in pairs if before != value}
        if not FACTS.isdisjoint(changed):
            return None
        anew = {tag: (self._elements[tag][0], value) for tag, value in changed.items()}
        part = _header(anew, self._plain.syntax)
        if part is None:
            return None
        header = {**self._header, **part}
        keys = [TAGS[tag] for tag in changed if tag in TAGS]
        frame = frame_like(self._frames[0], header, keys, instance) if len(self._frames) == 1 else None
        frames = [frame] if frame is not None else frames_of(header, instance)
        array = plain_values(content, replace(self._plain, offset=offset))
        return PlainFile(header, frames, array, {**self._elements, **anew})


def _header(elements: Mapping[int, tuple[str, bytes]], syntax: str) -> dict[str, Any] | None:
    """None where a value cannot be read from its bytes alone, and of what refers to others: that was passed over."""
    header = header_from_elements({tag: each for tag, each in elements.items() if tag in TAGS}, syntax)
    return None if header is None or header.get("0008,0060") in POINTING else header
