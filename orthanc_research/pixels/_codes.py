"""Why frames are, or are not, one volume: the one list of words."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["CODES", "Code"]

Code = Literal[
    "ok",
    "not-an-image",
    "mosaic",
    "bad-header",
    "colour",
    "localizer",
    "no-geometry",
    "duplicate-instances",
    "duplicate-positions",
    "4d",
    "missing-slices",
    "non-uniform",
    "sheared",
    "too-few-slices",
    "several-stacks",
]
"""The status of a `Stack`, and the `code` of a `GeometryError`.

| code | means |
|---|---|
| `ok` | one volume: same orientation, spacing, size and type; evenly spaced; not sheared, or so arranged on request |
| `not-an-image` | no pixels in it, or pixels that are labels: SR, RTSTRUCT, SEG, PDF, waveform … |
| `mosaic` | a whole volume tiled into one 2-D image (Siemens, United Imaging), and the header does not prove how |
| `bad-header` | a value is there and cannot be right (NaN, zero spacing, skewed orientation, functional groups for \
another number of frames), or Rows … is absent |
| `colour` | a palette; or RGB or YBR without a place, or not as one regular stack |
| `localizer` | a CT scout: a projection through the body, not a slice |
| `no-geometry` | no position, orientation or pixel spacing: projections, ultrasound, cine, screenshots |
| `duplicate-instances` | one SOPInstanceUID twice |
| `duplicate-positions` | some positions hold more slices than others, or slices overlap in one plane |
| `4d` | every position holds the same number (> 1) of slices: time points, echoes, b-values |
| `missing-slices` | gaps that are whole multiples of the spacing |
| `non-uniform` | gaps that differ otherwise, or slices off the straight line |
| `sheared` | the stack leans by more than 0.5° from the slices' normal (CT gantry tilt) |
| `too-few-slices` | fewer positions than `min_slices` |
| `several-stacks` | one volume was asked for, and there are several; never the status of a `Stack` |

When several hold, the first in the order of the table is the status; `Stack.details["problems"]` lists all of them.
"""

CODES: tuple[Code, ...] = get_args(Code)
