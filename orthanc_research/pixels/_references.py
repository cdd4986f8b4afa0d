"""What an object that is no image points at: the images of a segmentation, of contours, of a report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pydicom import Dataset

from ._header import Header, header_from_dataset, items, text
from ._wanted import REFERENCE_SEQUENCES

__all__ = ["Reference", "references_of"]

_DEEPEST = 16  # content of a report may be nested as deeply as somebody likes


class Reference(NamedTuple):
    """One instance that is pointed at; `series_uid` is "" where the object does not name its series."""

    sop_uid: str
    series_uid: str
    sop_class: str


def references_of(header: Header | Dataset) -> tuple[Reference, ...]:
    """Every instance that the object refers to, once, in its own order; whether they exist nobody has asked.

    From the sequences of references, evidence, contours and report content; those of single frames are left out.
    """
    if isinstance(header, Dataset):
        header = header_from_dataset(header)
    found = dict[str, Reference]()
    for reference in _walk(header, "", 0):
        known = found.get(reference.sop_uid)
        if known is None or (reference.series_uid and not known.series_uid):
            found[reference.sop_uid] = reference
    return tuple(found.values())


def _walk(header: Header, series: str, depth: int) -> Iterator[Reference]:
    if depth == _DEEPEST:
        return
    for key in REFERENCE_SEQUENCES:
        for item in items(header, key):
            named = text(item, "0020,000e") or series
            uid = text(item, "0008,1155")
            # A study is no instance, although RT Referenced Study writes one into the same element.
            if uid and key != "3006,0012":
                yield Reference(uid, named, text(item, "0008,1150"))
            yield from _walk(item, named, depth + 1)
