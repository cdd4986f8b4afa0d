"""Encapsulated pixel data → the frames in them (PS3.5 Annex A.4).

The fragments tell where frames begin, and tables of offsets are not asked: writers get those wrong, and a table that is
one fragment off shows a wrong slice without a word.
"""

from __future__ import annotations

from io import BytesIO

from pydicom.encaps import generate_fragments, parse_basic_offsets

from ._codestream import FrameError

__all__ = ["frames_in"]


def frames_in(data: bytes, count: int, begins: tuple[bytes, ...]) -> list[bytes]:
    """The compressed frames, `count` of them; `FrameError` when there are more or fewer.

    `begins`: how a frame can begin. () for RLE, whose frames are one fragment each (PS3.5 A.4.2).
    """
    fragments = _fragments(data)
    if not begins:
        frames = fragments
    else:
        frames = []
        pieces: list[list[bytes]] = []
        for fragment in fragments:
            if fragment.startswith(begins) or not pieces:
                pieces.append([])
            pieces[-1].append(fragment)
        frames = [b"".join(each) if len(each) > 1 else each[0] for each in pieces]
    if len(frames) != count:
        many = f"{len(frames)} frame{'s' if len(frames) != 1 else ''}"
        raise FrameError(f"hold {many}, and the header declares {count}")
    return frames


def _fragments(data: bytes) -> list[bytes]:
    buffer = BytesIO(data)
    try:
        parse_basic_offsets(buffer)
        return [fragment for fragment in generate_fragments(buffer) if fragment]
    except Exception as error:  # pydicom raises what struct and its own checks raise
        raise FrameError("are no sequence of fragments") from error
