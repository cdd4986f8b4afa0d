"""File bytes and headers → frames → stacks → `Volume`. Pure: no network, no disk.

    header (Dataset, or Orthanc's short tags) ─► frames_of ─► stacks_of ─► Stack: ok, or a code and a sentence
                                                     arrange: what is opted into ─┘
    file bytes ─► decode ─► stored values ──────────────────────────────► Filler, volume_from ─► Volume

    file bytes ─► pixels_of, overlays_of: one file as stored, rescaled, SUV, colours, for a screen; masks

Verdicts need headers only; pixels are decoded only for what is known to be a volume.
"""

from __future__ import annotations

from ._alike import PlainFile, PlainFiles
from ._arrange import arrange
from ._codecs import needs_isolation
from ._codes import CODES, Code
from ._colour import apply_palette
from ._decode import decode, decoded, read_dataset, read_header, transfer_syntax
from ._directions import closest_axes, letters
from ._display import apply_window
from ._filler import Filler, Opened, volume_from
from ._foreign import portable
from ._frames import EXTRA_AXES, Frame, Window, frames_of
from ._geometry import place_of
from ._header import Header, header_from_dataset
from ._image import IMAGE_VALUES, ImageValues, check_pixels, pixels_of
from ._image_file import PIXELS, ImageFile, image_file
from ._kinds import POINTING
from ._mosaic import wanted_bytes
from ._nifti import check_nifti
from ._overlays import Overlay, overlays_of
from ._reading import Reading, check_slices
from ._references import Reference, references_of
from ._segments import Segments, segments
from ._series import PlainSeries, likely_order
from ._stacks import Stack, StackFile, one_stack, stacks_of
from ._values import VALUES, Values
from ._volume import Volume
from ._wanted import LONG_TAGS

__all__ = [
    "CODES",
    "EXTRA_AXES",
    "IMAGE_VALUES",
    "LONG_TAGS",
    "PIXELS",
    "POINTING",
    "VALUES",
    "Code",
    "Filler",
    "Frame",
    "Header",
    "ImageFile",
    "ImageValues",
    "Opened",
    "Overlay",
    "PlainFile",
    "PlainFiles",
    "PlainSeries",
    "Reading",
    "Reference",
    "Segments",
    "Stack",
    "StackFile",
    "Values",
    "Volume",
    "Window",
    "apply_palette",
    "apply_window",
    "arrange",
    "check_nifti",
    "check_pixels",
    "check_slices",
    "closest_axes",
    "decode",
    "decoded",
    "frames_of",
    "header_from_dataset",
    "image_file",
    "letters",
    "likely_order",
    "needs_isolation",
    "one_stack",
    "overlays_of",
    "pixels_of",
    "place_of",
    "portable",
    "read_dataset",
    "read_header",
    "references_of",
    "segments",
    "stacks_of",
    "transfer_syntax",
    "volume_from",
    "wanted_bytes",
]
