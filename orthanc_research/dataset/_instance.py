"""A file as a build takes it: its frames, the tags of the tables, its transfer syntax."""

from __future__ import annotations

from collections.abc import Sequence
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
from orthanc_research.pixels import read_dataset
from orthanc_research.pixels._decode import read_elements

__all__ = ["Instance", "read_instance"]

_CHARSET = 0x00080005


@dataclass(frozen=True, slots=True)
class Instance:
    """`tags` in the form of Orthanc's short tags."""

    rows: list[FrameRow] = field(repr=False)
    tags: dict[str, Any] = field(repr=False)
    syntax: str


def read_instance(content: bytes, columns: Sequence[str], *, many: bool = False) -> Instance:
    """Read it, a plain file by one walk and any other by pydicom; `PixelError` when it does not decode.

    `many` as of `decode_isolated`. Pixels may be a view of `content`.
    """
    wanted = {_CHARSET, *(tag for tag in map(tag_for_keyword, columns) if tag is not None)}
    found = read_elements(content, wanted)
    if found is not None:
        header, array, elements = found
        return Instance(frame_rows(header, array), short_tags(_raw(elements, wanted), columns), header["0002,0010"])
    dataset = read_dataset(content)
    tags = short_tags(dataset, columns)
    array = decode_isolated(content, str(tags.get("0008,0018", "")), many=many, view=True)
    return Instance(frame_rows(dataset, array), tags, syntax_of(dataset))


def _raw(elements: dict[int, tuple[str, bytes]], wanted: set[int]) -> Dataset:
    """As pydicom would have read them: what turns values into text is in one place."""
    raw: dict[BaseTag, DataElement | RawDataElement] = {}
    for tag in wanted & elements.keys():
        vr, value = elements[tag]
        raw[BaseTag(tag)] = RawDataElement(BaseTag(tag), vr or None, len(value), value, 0, not vr, True)
    return Dataset(raw)
