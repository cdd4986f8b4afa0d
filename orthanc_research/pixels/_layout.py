"""Where the elements of a file are, from one file to the next.

A walk over a file (`_native`) goes by the heads of its elements alone: tag, VR, length. So a file that has the heads of
another, each where that has it, is walked as that was. To compare them all at once takes a tenth of the time; where an
element is longer or shorter, all behind it has moved by as much.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass

from ._native import META, Heads, longer

__all__ = ["Layout"]


class Layout:
    """The heads of a file that was walked. `tags` are those of `wanted` that it has, in its order; `values` theirs."""

    def __init__(self, content: bytes, heads: Heads, wanted: Collection[int], *, explicit: bool) -> None:
        self._explicit = explicit
        self._heads = [content[start:end] for start, end, _ in heads]
        starts = [start for start, _, _ in heads]
        ends = [end for _, end, _ in heads]
        self._gaps = [after - end for end, after in zip(ends, [*starts[1:], ends[-1]], strict=True)]
        self._tags = [tag if tag in wanted else 0 for _, _, tag in heads]
        # The meta information comes first, and is explicit in every syntax.
        self._meta = next((place for place, head in enumerate(self._heads) if head[:2] != b"\2\0"), 0)
        self.tags = [tag for tag in self._tags if tag]
        self.values = [
            content[end : end + gap] for end, gap, tag in zip(ends, self._gaps, self._tags, strict=True) if tag
        ]
        self._parts: dict[int, _Part] = {}

    def read(self, content: bytes) -> tuple[list[bytes], int] | None:
        """(`values` of another file, where its pixels start); None where a walk would have gone another way there."""
        if content[META - 4 : META] != b"DICM":
            return None
        values: list[bytes] = []
        first, at = 0, META
        try:
            while True:
                part = self._part(first)
                fields = part.fields.unpack_from(content, at)
                heads = tuple(map(fields.__getitem__, part.heads))
                if heads == part.expected:
                    values += map(fields.__getitem__, part.values)
                    return values, at + part.fields.size
                other = next(k for k, head in enumerate(heads) if head != part.expected[k])
                values += (fields[k] for k in part.values if k < part.heads[other])
                place, explicit = first + other, self._explicit or first + other < self._meta
                behind = longer(content, at + part.places[other], self._heads[place], explicit=explicit)
                if behind is None:
                    return None
                start, length = behind
                if self._tags[place]:
                    values.append(content[start : start + length])
                first, at = place + 1, start + length
        except (struct.error, IndexError):
            return None

    def _part(self, first: int) -> _Part:
        """What is compared from the head with this number on."""
        if first not in self._parts:
            self._parts[first] = _Part.of(self._heads[first:], self._gaps[first:], self._tags[first:])
        return self._parts[first]


@dataclass(frozen=True, slots=True)
class _Part:
    """All heads from one on, and the wanted values between them, cut out at once.

    `heads` and `values` say which of the fields are which; `places` where the heads are.
    """

    fields: struct.Struct
    heads: list[int]
    values: list[int]
    expected: tuple[bytes, ...]
    places: list[int]

    @classmethod
    def of(cls, expected: list[bytes], gaps: list[int], tags: list[int]) -> _Part:
        form, heads, values, places, at, count = [], [], [], [], 0, 0
        for head, gap, tag in zip(expected, gaps, tags, strict=True):
            form.append(f"{len(head)}s{gap}{'s' if tag else 'x'}")
            heads.append(count)
            places.append(at)
            count += 1
            if tag:
                values.append(count)
                count += 1
            at += len(head) + gap
        return cls(struct.Struct("".join(form)), heads, values, tuple(expected), places)
