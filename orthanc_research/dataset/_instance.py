"""A file as a build takes it: its frames, the tags of the tables, its transfer syntax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import BaseTag

from orthanc_research.dataset._short import short_tags
from orthanc_research.dataset._versions import syntax_of
from orthanc_research.decoding import decode_isolated
from orthanc_research.export import FrameRow, frame_rows
from orthanc_research.pixels import PlainFiles, frames_of, read_dataset

__all__ = ["Instance", "Reader"]

Elements = Mapping[int, tuple[str, bytes]]
# SpecificCharacterSet and PixelRepresentation: how the values of others are read.
_MEANING = {0x00080005, 0x00280103}


@dataclass(frozen=True, slots=True)
class Instance:
    """`tags` in the form of Orthanc's short tags."""

    rows: list[FrameRow] = field(repr=False)
    tags: dict[str, Any] = field(repr=False)
    syntax: str


class Reader:
    """Reads the instances of a series, by several threads: plain files by what they share, any other by pydicom."""

    def __init__(self, columns: Sequence[str], *, many: bool = False) -> None:
        """`columns` are the keywords of the tags to give; `many` as of `decode_isolated`."""
        self._columns = {tag_for_keyword(name): name for name in columns}
        self._wanted = {*_MEANING, *(tag for tag in self._columns if tag is not None)}
        self._files = PlainFiles(self._wanted)
        self._many = many
        self._last: tuple[Elements, dict[str, Any]] = {}, {}  # replaced as a whole: threads see one or the other

    def read(self, content: bytes) -> Instance:
        """Read one; `PixelError` when it does not decode. Pixels may be a view of `content`."""
        found = self._files.read(content)
        if found is not None:
            return Instance(frame_rows(found.frames, found.values), self._tags(found.elements), found.syntax)
        dataset = read_dataset(content)
        tags = short_tags(dataset, self._columns.values())
        array = decode_isolated(content, str(tags.get("0008,0018", "")), many=self._many, view=True)
        return Instance(frame_rows(frames_of(dataset), array), tags, syntax_of(dataset))

    def _tags(self, elements: Elements) -> dict[str, Any]:
        """As `short_tags`; those that are as in the file before are not made again."""
        given = {tag: elements[tag] for tag in self._wanted & elements.keys()}
        before, tags = self._last
        anew = {tag for tag, element in given.items() if before.get(tag) != element}
        if _MEANING & anew or given.keys() != before.keys():
            anew, tags = set(given), {}
        names = [self._columns[tag] for tag in anew if tag in self._columns]
        kept = {key: text for key, text in tags.items() if int(key[:4] + key[5:], 16) not in anew}
        made = kept | short_tags(_raw(given, anew | _MEANING), names)
        self._last = given, made
        return made


def _raw(elements: Elements, wanted: set[int]) -> Dataset:
    """As pydicom would have read them: what turns values into text is in one place."""
    raw: dict[BaseTag, DataElement | RawDataElement] = {}
    for tag in wanted & elements.keys():
        vr, value = elements[tag]
        raw[BaseTag(tag)] = RawDataElement(BaseTag(tag), vr or None, len(value), value, 0, not vr, True)
    return Dataset(raw)
