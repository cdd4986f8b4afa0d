"""Stacks that are no volume as they are → stacks that are, in the ways that somebody asked for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Literal, get_args

from orthanc_research.errors import QueryError

from ._codes import Code
from ._frames import Frame
from ._geometry import clusters, examine, normal_of
from ._judge import assess, stack_from
from ._shear import unsheared
from ._stack import Stack

__all__ = ["On4d", "OnMissing", "OnShear", "arrange"]

OnMissing = Literal["raise", "nan", "split"]
OnShear = Literal["raise", "keep", "resample"]
On4d = Literal["raise", "split", "stack"]

_LARGEST = 8  # times the voxels of the leaning stack; 18° over a head need less than two


def arrange(
    stacks: Iterable[Stack],
    *,
    on_missing: str = "raise",
    on_shear: str = "raise",
    on_4d: str = "raise",
    min_slices: int = 3,
) -> list[Stack]:
    """The same stacks, those with a problem that is opted into made "ok", or split; the others as they are.

    - `on_missing="nan"`: slices that are not there are NaN in a float array, their SOPInstanceUID "" (not for more
      slices than are there). "split": what lies between gaps is a stack each.
    - `on_shear="keep"`: the array as acquired, its affine (PS3.3 C.7.6.2.1.1) leans. "resample": each slice is moved
      within its plane, linearly, until the stack stands upright; a float array, NaN where nothing was. Slices stay what
      they were, so SOPInstanceUIDs stay true; `issues` says that values are interpolated.
    - `on_4d="split"`: a stack for each value of the extra axis. "stack": one stack, dims ("extra", "slice", …), sorted
      by the value; only where something in the headers names the axis.

    What is left with fewer than `min_slices` positions is "too-few-slices". `issues` keeps a sentence for everything
    that was opted into. `QueryError` for any other word.
    """
    check_words(on_missing, on_shear, on_4d)
    allowed: set[Code] = set()
    if on_missing == "nan":
        allowed.add("missing-slices")
    if on_shear != "raise":
        allowed.add("sheared")
    if on_4d == "stack":
        allowed.add("4d")
    parts = [part for stack in stacks for part in _split(stack, on_missing == "split", on_4d == "split", min_slices)]
    return [_allowed(part, frozenset(allowed), on_shear == "resample", min_slices) for part in parts]


def check_words(on_missing: str, on_shear: str, on_4d: str) -> None:
    """`QueryError` for a word that `arrange` does not know."""
    for name, said, words in (
        ("on_missing", on_missing, get_args(OnMissing)),
        ("on_shear", on_shear, get_args(OnShear)),
        ("on_4d", on_4d, get_args(On4d)),
    ):
        if said not in words:
            raise QueryError(f"{name}={said!r} is not there; choose from {', '.join(words)}.")


def _split(stack: Stack, gaps: bool, extra: bool, min_slices: int) -> list[Stack]:
    problems = set(stack.details.get("problems", ()))
    if "duplicate-instances" in problems:
        return [stack]
    if extra and "4d" in problems and stack.axes:
        size = stack.shape[0]
        per = len(stack.frames) // size
        parts = [list(stack.frames[e * per : (e + 1) * per]) for e in range(size)]
        notes = [f"Volume {e + 1} of {size}{_value(stack, e)}." for e in range(size)]
    elif gaps and "missing-slices" in problems and "non-uniform" not in problems:
        parts = _runs(stack)
        notes = [f"Part {k + 1} of {len(parts)} between missing slices." for k in range(len(parts))]
    else:
        return [stack]
    return [
        dataclasses.replace(each, issues=(*each.issues, note))
        for part, note in zip(parts, notes, strict=True)
        for found in assess(part, min_slices)
        for each in _split(found, gaps, extra, min_slices)
    ]


def _value(stack: Stack, place: int) -> str:
    """What tells this one from the others along the extra axis; a time of day stays in `Stack.axes`."""
    named = {name: values[place] for name, values in stack.axes.items() if name != "acquisition_time"}
    said = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in named.items())
    return said and f": {said}"


def _runs(stack: Stack) -> list[list[Frame]]:
    """The frames between gaps, all frames of a position together."""
    places = clusters(stack.frames, normal_of(stack.orientation or ()))
    steps = examine(places, normal_of(stack.orientation or ()), 2).steps
    runs = [list(places[0])]
    for (before, after), together in zip(pairwise(steps), places[1:], strict=True):
        if after - before > 1:
            runs.append([])
        runs[-1] += together
    return runs


def _allowed(stack: Stack, allowed: frozenset[Code], resample: bool, min_slices: int) -> Stack:
    problems = set(stack.details.get("problems", ())) - {"colour"}
    colour = stack.frames[0].samples > 1
    if not problems or not problems <= allowed or stack.orientation is None:
        return stack
    if ("4d" in problems and not stack.axes) or (colour and problems != {"4d"}):
        return stack
    normal = normal_of(stack.orientation)
    places = clusters(stack.frames, normal)
    findings = examine(places, normal, min_slices)
    missing = findings.details.get("missing", 0)
    if missing > len(places):
        return stack
    made = stack_from(places, findings, allowed)
    split = [issue for issue in stack.issues if issue not in made.issues]  # what it is a part of
    made = dataclasses.replace(made, issues=(*made.issues, *split))
    if missing:
        made = dataclasses.replace(made, issues=(*made.issues, f"{missing} slices that are not there are NaN."))
    if resample and "sheared" in problems:
        made = unsheared(made)
        # A damaged header may claim a lean that no memory holds.
        return made if math.prod(made.shape) <= _LARGEST * math.prod(stack.shape) else stack
    return made
