"""Pixel data as bytes: what is no pixel goes out of it, the decoded stored values stay (PS3.5 section 8, Annex A.4)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from orthanc_research.errors import DeidError

from ._streams import StreamError, without_comments

__all__ = ["Compressed", "Facts", "compressed", "native"]

_ITEM, _END = 0xFFFEE000, 0xFFFEE0DD
_SIGNATURES = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a header says of its pixels; 0 where it does not say."""

    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    subsampled: bool

    def size(self, stored: int) -> int:
        """How many of the `stored` bytes are native pixel data; 0 where the header does not say.

        Many writers go on to name YBR_FULL_422 what they have stored in full.
        """
        count = self.rows * self.columns * self.samples * max(self.frames, 1)
        full = -(-count * self.allocated // 8)
        if self.subsampled and stored < full:
            return -(-count // self.samples * 2 * self.allocated // 8)
        return full


@dataclass(slots=True)
class Compressed:
    """Encapsulated frames again: fragments with the offset table first, and what has changed."""

    fragments: list[bytes]
    offsets: bytes = b""
    lengths: bytes = b""
    dropped: int = 0
    notes: list[str] = field(default_factory=list)


def native(value: bytes, facts: Facts, word: int, little: bool) -> tuple[bytes, list[str]]:
    """Native pixel data with the bits outside BitsStored cleared, and sentences for what was done.

    `word` is how many bytes the byte order swaps: 2 for OW, 1 for OB.
    """
    notes = []
    size = facts.size(len(value))
    if size and len(value) > size:
        surplus, value = value[size:], value[:size]
        if len(surplus) > 1:
            notes.append("PixelData was longer than its frames: cut.")
    if not 0 < facts.stored < facts.allocated or facts.allocated not in (8, 16, 32):
        return value, notes
    width = facts.allocated // 8
    order = "<" if little or (width > 1 and word == 1) else ">"
    rest = len(value) % width
    body = value[: len(value) - rest]
    cleared = _cleared(np.frombuffer(body, f"{order}{'i' if facts.signed else 'u'}{width}"), facts)
    if cleared is None:
        return value, notes
    return cleared.tobytes() + bytes(rest), [*notes, "Bits of PixelData outside BitsStored were cleared."]


def _cleared(stored: npt.NDArray[Any], facts: Facts) -> npt.NDArray[Any] | None:
    """The values with sign extended or high bits cleared; None when they are so already.

    Where HighBit is not BitsStored - 1, readers differ on which bits are meant: only what neither reads is cleared, and
    what one of them would pass over must be empty.
    """
    top = max(facts.stored, facts.high_bit + 1) if facts.high_bit else facts.stored
    if np.bitwise_and(stored, np.array((1 << top - facts.stored) - 1, stored.dtype)).any():
        raise DeidError("Its pixels have bits below those that HighBit and BitsStored name, where anything may stand.")
    if top >= facts.allocated:
        return None
    if facts.signed and top == facts.stored:
        spare = facts.allocated - top
        cleared = np.right_shift(np.left_shift(stored, spare), spare).astype(stored.dtype, copy=False)
    else:
        cleared = np.bitwise_and(stored, np.array((1 << top) - 1, stored.dtype)).astype(stored.dtype, copy=False)
    return None if np.array_equal(cleared, stored) else cleared


def compressed(value: bytes, facts: Facts, extended: bytes, *, rle: bool) -> Compressed:
    """Encapsulated pixel data with comments and application segments dropped, and its offset tables corrected.

    `extended` is ExtendedOffsetTable as it was. `DeidError` where fragments are damaged, or where a frame cannot be
    followed, since something could hide there.
    """
    table, fragments, starts = _fragments(value)
    groups = _frames(table, fragments, starts, facts.frames, extended)
    out = Compressed([b""])
    position, offsets, lengths = 0, [], []
    segment = facts.rows * facts.columns if rle else 0
    results = [_without(group, segment) for group in groups]
    out.dropped = sum(dropped for _, dropped in results)
    for cleaned, _ in results:
        offsets.append(position)
        if out.dropped:
            # All frames alike: without an offset table, readers count fragments.
            cleaned = [b"".join(cleaned)]
        lengths.append(sum(map(len, cleaned)))
        for fragment in cleaned:
            padded = fragment + b"\0" * (len(fragment) % 2)
            out.fragments.append(padded)
            position += 8 + len(padded)
    if table and len(groups) == len(table):
        out.fragments[0] = struct.pack(f"<{len(offsets)}I", *offsets)
    elif table:
        out.notes.append("The offset table did not fit the frames: left out.")
    if extended:
        out.offsets = struct.pack(f"<{len(offsets)}Q", *offsets)
        out.lengths = struct.pack(f"<{len(lengths)}Q", *lengths)
    return out


def _fragments(value: bytes) -> tuple[list[int], list[bytes], list[int]]:
    """The Basic Offset Table, the fragments, and where the item of each starts, from the first fragment's."""
    at, found, starts = 0, [], []
    while at + 8 <= len(value):
        group, element, length = struct.unpack_from("<HHI", value, at)
        tag = group << 16 | element
        if tag == _END:
            break
        if tag != _ITEM or at + 8 + length > len(value):
            raise DeidError("The fragments of its compressed pixel data are damaged.")
        found.append(value[at + 8 : at + 8 + length])
        starts.append(at)
        at += 8 + length
    if not found or len(found[0]) % 4:
        raise DeidError("The fragments of its compressed pixel data are damaged.")
    table = list(struct.unpack(f"<{len(found[0]) // 4}I", found[0]))
    first = starts[1] if len(starts) > 1 else 0
    return table, found[1:], [start - first for start in starts[1:]]


def _frames(
    table: Sequence[int], fragments: list[bytes], starts: list[int], frames: int, extended: bytes
) -> list[list[bytes]]:
    """The fragments of each frame: by the offset tables, by their number, or by how a frame begins."""
    if extended and len(extended) % 8 == 0:
        table = struct.unpack(f"<{len(extended) // 8}Q", extended)
    if (
        table
        and table[0] == 0
        and set(table) <= set(starts)
        and len(set(table)) == len(table)
        and list(table) == sorted(table)
    ):
        begins = set(table)
        return _grouped(fragments, [start in begins for start in starts])
    if frames == len(fragments):
        return [[fragment] for fragment in fragments]
    if frames <= 1:
        return [fragments]
    return _grouped(fragments, [fragment.startswith(_SIGNATURES) for fragment in fragments])


def _grouped(fragments: list[bytes], begins: list[bool]) -> list[list[bytes]]:
    groups: list[list[bytes]] = []
    for fragment, new in zip(fragments, begins, strict=True):
        if new or not groups:
            groups.append([])
        groups[-1].append(fragment)
    return groups


def _without(group: list[bytes], segment: int) -> tuple[list[bytes], int]:
    """A frame's fragments as they are, or as one where something was dropped, and how many bytes that was."""
    whole = b"".join(group)
    try:
        cleaned = without_comments(whole, segment)
    except StreamError:
        raise DeidError(
            "A compressed frame is damaged, or of a kind that is not followed here (video, JPEG XL), so what hides in "
            "it cannot be told."
        ) from None
    dropped = whole[len(cleaned) :] if whole.startswith(cleaned) else whole
    if not dropped.strip(b"\0"):
        return group, 0
    return [cleaned], len(whole) - len(cleaned)
