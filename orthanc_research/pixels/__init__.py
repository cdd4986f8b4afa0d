"""File bytes and headers → frames → stacks → `Volume`. Pure: no network, no disk.

    header (Dataset, or Orthanc's short tags) ─► frames_of ─► stacks_of ─► Stack: ok, or a code and a sentence
    file bytes ─► decode ─► stored values ──────────────────────────────► volume_from ─► Volume

Verdicts need headers only; pixels are decoded only for what is known to be a volume.
"""

from __future__ import annotations

from ._codes import CODES, Code
from ._decode import decode, read_dataset
from ._frames import EXTRA_AXES, Frame, frames_of
from ._header import Header, header_from_dataset
from ._stacks import Stack, one_stack, stacks_of
from ._volume import VALUES, Values, Volume, volume_from

__all__ = [
    "CODES",
    "EXTRA_AXES",
    "VALUES",
    "Code",
    "Frame",
    "Header",
    "Stack",
    "Values",
    "Volume",
    "decode",
    "frames_of",
    "header_from_dataset",
    "one_stack",
    "read_dataset",
    "stacks_of",
    "volume_from",
]
