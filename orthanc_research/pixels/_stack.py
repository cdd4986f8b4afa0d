"""Frames that belong together, and whether they are one volume: the record that verdicts are given in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from orthanc_research.errors import GeometryError

from ._codes import Code
from ._frames import Frame
from ._portrait import stack_card

__all__ = ["Stack", "StackFile", "one_stack"]


class StackFile(NamedTuple):
    """One instance of a stack, and what it fills: (place in `Stack.frames`, frame in the file) pairs."""

    sop_uid: str
    instance: str
    fills: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Frames that belong together, and whether they are one volume: by where their planes lie (PS3.3 C.7.6.2.1.1).

    `frames` are ordered: along row x column ascending, ties by SOPInstanceUID; without geometry by InstanceNumber; for
    "4d" all slices of the first value of the extra axis, then of the next. `status` is a `Code`, `reason` one sentence
    ("" when ok), `details` its numbers, `issues` a sentence for every problem and note. `dims` names the axes of
    `shape`: ("slice", "row", "column"), before them "extra" for "4d", after them "sample" for colour; ("frame", "row",
    "column") without geometry. `axes` has the values along "extra" or "frame" by name: {"echo_time": (12.0, 104.0)}.
    `spacing` is (slice, row, column) in mm, the first the median gap along the normal, never SliceThickness.
    `affine` (4 x 4 float64) maps (slice, row, column) to LPS mm. Both are None unless every slice lies where they say.
    `slots` are where in the array each frame goes, counted over the axes before "row"; slots may stay empty
    (`arrange(on_missing="nan")`). `shifts` are (rows, columns) by which slices move (`arrange(on_shear="resample")`).
    """

    frames: tuple[Frame, ...]
    status: Code
    reason: str
    details: Mapping[str, Any] = field(repr=False)
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    spacing: tuple[float, float, float] | None
    affine: npt.NDArray[np.float64] | None = field(repr=False)
    orientation: tuple[float, ...] | None
    frame_of_reference: str
    series_uid: str
    issues: tuple[str, ...]
    axes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    slots: tuple[int, ...] = ()
    shifts: tuple[tuple[float, float], ...] | None = None

    @property
    def sop_uids(self) -> tuple[str, ...]:
        """SOPInstanceUID of each frame, in order."""
        return tuple(frame.sop_uid for frame in self.frames)

    @property
    def instances(self) -> tuple[str, ...]:
        """Orthanc ID of each frame's instance, in order; "" for frames of files."""
        return tuple(frame.instance for frame in self.frames)

    @property
    def files(self) -> tuple[StackFile, ...]:
        """Each instance once, with the frames that it holds: what must be read to fill the array."""
        fills: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for place, frame in enumerate(self.frames):
            fills.setdefault((frame.sop_uid, frame.instance), []).append((place, frame.index))
        return tuple(StackFile(*names, tuple(pairs)) for names, pairs in fills.items())

    def checked(self) -> Self:
        """Itself when it is one volume, else `GeometryError(status, reason, details)`."""
        if self.status != "ok":
            raise GeometryError(self.status, self.reason, self.details)
        return self

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return f"<Stack {self.status}: {size}{_mm(self.spacing)}>"

    def _repr_html_(self) -> str:
        return stack_card(self)


def one_stack(stacks: Sequence[Stack]) -> Stack:
    """The one stack, checked; `GeometryError` "several-stacks" lists them all in `details["stacks"]`."""
    if not stacks:
        raise GeometryError("not-an-image", "There is no image in it.")
    if len(stacks) == 1:
        return stacks[0].checked()
    listed = [
        {"status": s.status, "shape": s.shape, "reason": s.reason, "first_sop_uid": s.frames[0].sop_uid} for s in stacks
    ]
    each = ", ".join(f"{' x '.join(map(str, s.shape))} ({s.status})" for s in stacks[:5])
    more = f" and {len(stacks) - 5} more" if len(stacks) > 5 else ""
    text = f"There are {len(stacks)} stacks: {each}{more}; say which one is meant."
    raise GeometryError("several-stacks", text, {"stacks": listed})


def _mm(spacing: tuple[float, float, float] | None) -> str:
    return "" if spacing is None else ", " + " x ".join(f"{mm:.4g}" for mm in spacing) + " mm"
