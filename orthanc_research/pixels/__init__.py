"""File bytes and headers → frames → stacks → `Volume`. Pure: no network, no disk.

    header (Dataset, or Orthanc's short tags) ─► frames_of ─► stacks_of ─► Stack: ok, or a code and a sentence
                                                     arrange: what is opted into ─┘
    file bytes ─► decode ─► stored values ──────────────────────────────► Filler, volume_from ─► Volume

Verdicts need headers only; pixels are decoded only for what is known to be a volume.
"""

from __future__ import annotations

from ._arrange import arrange, check_words
from ._codecs import needs_isolation
from ._codes import CODES, Code
from ._decode import decode, read_dataset, transfer_syntax
from ._frames import EXTRA_AXES, Frame, Window, frames_of
from ._header import Header, header_from_dataset
from ._mosaic import wanted_bytes
from ._references import Reference, references_of
from ._segments import Segments, segments
from ._stacks import Stack, StackFile, one_stack, stacks_of
from ._values import VALUES, Values
from ._volume import Filler, Volume, volume_from
from ._wanted import LONG_TAGS

__all__ = [
    "CODES",
    "EXTRA_AXES",
    "LONG_TAGS",
    "VALUES",
    "Code",
    "Filler",
    "Frame",
    "Header",
    "Reference",
    "Segments",
    "Stack",
    "StackFile",
    "Values",
    "Volume",
    "Window",
    "arrange",
    "check_words",
    "decode",
    "frames_of",
    "header_from_dataset",
    "needs_isolation",
    "one_stack",
    "read_dataset",
    "references_of",
    "segments",
    "stacks_of",
    "transfer_syntax",
    "volume_from",
    "wanted_bytes",
]
