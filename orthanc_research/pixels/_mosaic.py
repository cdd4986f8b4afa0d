"""Mosaics: a whole volume tiled into one 2-D image, cut apart where the header proves how it was tiled.

Siemens writes how many slices there are, and their order along the normal only into its CSA header; United Imaging a
sequence with the position of each. Where one of these is absent, the image stays a mosaic.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ._header import Header, items, text, texts, usable, whole
from ._kinds import orientation_of, position_of, spacing_of

__all__ = ["Mosaic", "is_mosaic", "mosaic_of", "wanted_bytes"]

Point = tuple[float, float, float]

_CSA = "0029,1010"
_PARALLEL = 1e-3  # how far the CSA normal may be from ± row x column
_MOST_TILES = 4096


@dataclass(frozen=True, slots=True)
class Mosaic:
    """How a mosaic is tiled: `positions` of each slice's first pixel (mm, LPS), of tiles of `rows` x `columns`.

    Tiles follow each other along a row, `across` of them, then in the next row.
    """

    rows: int
    columns: int
    across: int
    positions: tuple[Point, ...]

    def __repr__(self) -> str:
        return f"<Mosaic {len(self.positions)} tiles of {self.rows}x{self.columns}>"


def is_mosaic(header: Header) -> bool:
    """Whether the header says that the image is a mosaic, proven tiling or not."""
    if "MOSAIC" in texts(header, "0008,0008"):  # Siemens
        return True
    return _uih_tiles(header) > 1


def wanted_bytes(header: Header) -> tuple[str, ...]:
    """Elements whose bytes would prove a mosaic's tiling and that short tags give as null; () when none would.

    `frames_of` takes the bytes under the same key in the header.
    """
    known = text(header, "0029,0010") == "SIEMENS CSA HEADER"
    return (_CSA,) if known and is_mosaic(header) and header.get(_CSA, b"") is None else ()


def mosaic_of(header: Header) -> Mosaic | None:
    """How the mosaic is tiled; None when the header does not prove it."""
    return _uih(header) if _uih_tiles(header) > 1 else _siemens(header)


def _siemens(header: Header) -> Mosaic | None:
    """ImagePositionPatient is where an image of the mosaic's size with the first slice at its centre would start."""
    csa = header.get(_CSA)
    facts = _csa_numbers(csa) if isinstance(csa, bytes) and text(header, "0029,0010") == "SIEMENS CSA HEADER" else {}
    count = _one_count(facts.get("NumberOfImagesInMosaic", ()), usable(header, "0019,100a"))
    normal, gap = facts.get("SliceNormalVector", ()), usable(header, "0018,0088")
    position, orientation, spacing = position_of(header), orientation_of(header), spacing_of(header)
    if count is None or len(normal) != 3 or not gap or gap <= 0 or not position or not orientation or not spacing:
        return None
    size = _tile_size(header, count, across := math.isqrt(count - 1) + 1, across)
    direction = _along(orientation, normal)
    if size is None or direction is None:
        return None
    row, column = orientation[:3], orientation[3:]
    right = (across - 1) * size[1] / 2 * spacing[1]
    down = (across - 1) * size[0] / 2 * spacing[0]
    first = [p + right * r + down * c for p, r, c in zip(position, row, column, strict=True)]
    positions = tuple(_moved(first, k * gap, direction) for k in range(count))
    return Mosaic(*size, across, positions)


def _one_count(from_csa: Sequence[float], from_tag: float | None) -> int | None:
    """The number of slices, when the two places that may say it agree."""
    said = {*map(float, from_csa[:1]), *([] if from_tag is None else [from_tag])}
    count = said.pop() if len(said) == 1 else 0.0
    return int(count) if count.is_integer() and 1 < count <= _MOST_TILES else None


def _along(orientation: Sequence[float], normal: Sequence[float]) -> Point | None:
    """± row x column, on the side of the given normal; None when that is neither."""
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    across = b * f - c * e, c * d - a * f, a * e - b * d
    side = sum(one * other for one, other in zip(across, normal, strict=True))
    if abs(abs(side) - 1) > _PARALLEL:
        return None
    length = math.copysign(math.hypot(*across), side)
    return across[0] / length, across[1] / length, across[2] / length


def _moved(start: Sequence[float], distance: float, direction: Point) -> Point:
    x, y, z = (from_ + distance * along for from_, along in zip(start, direction, strict=True))
    return x, y, z


def _uih_tiles(header: Header) -> int:
    """The number of images in United Imaging's grid; 0 when it is none."""
    return (whole(header, "0065,1050") or 0) if text(header, "0065,0010") == "Image Private Header" else 0


def _uih(header: Header) -> Mosaic | None:
    count, slices = _uih_tiles(header), items(header, "0065,1051")
    positions = [position for item in slices if (position := position_of(item)) is not None]
    if not len(positions) == len(slices) == count <= _MOST_TILES:
        return None
    if orientation_of(header) is None or spacing_of(header) is None:
        return None
    across = math.isqrt(count - 1) + 1
    size = _tile_size(header, count, across, -(-count // across))
    return None if size is None else Mosaic(*size, across, tuple(positions))


def _tile_size(header: Header, count: int, across: int, down: int) -> tuple[int, int] | None:
    rows, columns = whole(header, "0028,0010") or 0, whole(header, "0028,0011") or 0
    if rows < down or columns < across or rows % down or columns % across or count > across * down:
        return None
    return rows // down, columns // across


def _csa_numbers(data: bytes) -> dict[str, tuple[float, ...]]:
    """The numbers in a Siemens CSA header of the second kind ("SV10"); {} when it is not one, or damaged.

    After 16 bytes, elements of name (64), VM, VR (4), type, number of items, check (77 or 205); each item has its
    length as the second of four integers, then text, padded to 4 bytes.
    """
    found: dict[str, tuple[float, ...]] = {}
    if data[:4] != b"SV10":
        return found
    at = 16
    try:
        for _ in range(min(struct.unpack_from("<I", data, 8)[0], 1000)):
            name, _, _, _, count = struct.unpack_from("<64si4sii", data, at)
            at += 84
            texts_ = []
            for _ in range(count):
                length = struct.unpack_from("<4i", data, at)[1]
                if length < 0:
                    return found
                texts_.append(data[at + 16 : at + 16 + length].split(b"\0")[0].decode("latin-1").strip())
                at += 16 + -(-length // 4) * 4
            found[name.split(b"\0")[0].decode("latin-1")] = _floats(texts_)
    except struct.error:
        return {}
    return found


def _floats(parts: Sequence[str]) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in parts if part)
    except ValueError:
        return ()
    return values if all(map(math.isfinite, values)) else ()
