"""Do these frames lie like one volume? Numbers in, findings out; nothing here knows DICOM.

All in float64 mm. The axes of every array are (slice, row, column).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ._axes import Axes, axes_of
from ._codes import Code
from ._frames import Frame

__all__ = ["Findings", "affine_of", "clusters", "examine", "normal_of", "place_of"]

Floats = npt.NDArray[np.float64]

SAME_PLACE = 1e-3  # mm: positions closer than this are one
UNEVEN = 0.01  # of the spacing: what rounded positions may do to a gap
SHEAR = 0.5  # degrees between the stack's axis and the slices' normal


@dataclass(slots=True)
class Findings:
    """What was found, in the order of the table in `Code`: (code, sentence) pairs, numbers, spacing between slices.

    `steps` says at which multiple of the spacing each place lies: 0, 1, 2 … unless slices are missing.
    """

    problems: list[tuple[Code, str]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    gap: float = math.nan
    steps: tuple[int, ...] = ()
    axes: Axes | None = None

    def say(self, code: Code, sentence: str, **details: Any) -> None:
        """One more problem, with its numbers."""
        self.problems.append((code, sentence))
        self.details.update(details)

    @property
    def codes(self) -> frozenset[Code]:
        """Of all problems."""
        return frozenset(code for code, _ in self.problems)


def normal_of(orientation: Sequence[float]) -> Floats:
    """Row x column direction, unit length: the direction in which slices are counted."""
    normal = np.cross(np.asarray(orientation[:3], float), np.asarray(orientation[3:], float))
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def place_of(frame: Frame) -> float | None:
    """Where a frame lies along its normal (row x column direction), mm; None without a place."""
    if frame.position is None or frame.orientation is None:
        return None
    return float(normal_of(frame.orientation) @ np.array(frame.position))


def clusters(frames: Sequence[Frame], normal: Floats) -> list[list[Frame]]:
    """The frames by place along the normal, ascending; in one place, by SOPInstanceUID."""
    placed = sorted(((float(np.dot(f.position or (0, 0, 0), normal)), f) for f in frames), key=lambda pair: pair[0])
    found: list[list[Frame]] = []
    start = -math.inf
    for place, frame in placed:
        if place - start > SAME_PLACE:
            found.append([])
            start = place
        found[-1].append(frame)
    for together in found:
        together.sort(key=lambda f: (f.sop_uid, f.index, f.tile or (), f.instance))
    return found


def examine(places: list[list[Frame]], normal: Floats, min_slices: int) -> Findings:
    """Everything that keeps these frames, already in place order, from being one volume."""
    findings = Findings(steps=tuple(range(len(places))))
    findings.details["positions"] = len(places)
    _examine_counts(places, findings)
    positions = np.array([together[0].position for together in places], dtype=np.float64)
    if len(positions) > 1:
        _examine_gaps(positions, normal, findings)
    if len(places) < min_slices:
        noun = "slice" if len(places) == 1 else "slices"
        findings.say("too-few-slices", f"{len(places)} {noun}; a volume needs {min_slices}.", needed=min_slices)
    return findings


def affine_of(places: Sequence[Sequence[Frame]], steps: int) -> Floats:
    """4 x 4, (slice, row, column, 1) → LPS mm: PS3.3 equation C.7.6.2.1-1 with the mean step between slices.

    The step is (last - first) / `steps`, not the spacing along the normal: so the first and the last slice are where
    their headers say, and a lean below the shear limit is kept, not straightened.
    """
    first, last = places[0][0], places[-1][0]
    corner = np.array(first.position, dtype=np.float64)
    directions, spacing = np.array(first.orientation, dtype=np.float64), np.array(first.spacing, dtype=np.float64)
    affine = np.eye(4)
    affine[:3, 0] = (np.array(last.position, dtype=np.float64) - corner) / steps
    affine[:3, 1] = directions[3:] * spacing[0]
    affine[:3, 2] = directions[:3] * spacing[1]
    affine[:3, 3] = corner
    return affine


def _examine_counts(places: list[list[Frame]], findings: Findings) -> None:
    counts = {len(together) for together in places}
    if counts == {1}:
        return
    apart = max(_spread(together) for together in places)
    if len(counts) > 1 or apart > SAME_PLACE:
        several = sum(len(together) > 1 for together in places)
        findings.say(
            "duplicate-positions",
            f"{several} of {len(places)} positions hold more than one slice, and not all the same number."
            if len(counts) > 1
            else f"Slices in one plane have corners up to {apart:.4g} mm apart.",
            positions_with_several=several,
            in_plane_mm=apart,
        )
        return
    count = counts.pop()
    axes = findings.axes = axes_of(places)
    names = axes.names if axes else ()
    said = " and ".join(name.replace("_", " ") for name in names)
    told = f"told apart by {said}" if said else "and nothing in their headers tells them apart"
    findings.say(
        "4d",
        f"Every one of {len(places)} positions holds {count} slices, {told}.",
        per_position=count,
        axis=names[0] if len(names) == 1 else None,
        axes=names,
    )


def _spread(together: list[Frame]) -> float:
    corners = np.array([f.position for f in together], dtype=np.float64)
    return float(np.max(np.ptp(corners, axis=0)))


def _examine_gaps(positions: Floats, normal: Floats, findings: Findings) -> None:
    gaps = np.diff(positions @ normal)
    gap = findings.gap = float(np.median(gaps))
    tolerance = max(UNEVEN * gap, SAME_PLACE)
    findings.details.update(gap_median=gap, gap_min=float(gaps.min()), gap_max=float(gaps.max()))
    angle = _angle(positions[-1] - positions[0], normal)
    findings.details["shear_degrees"] = angle
    if np.any(np.abs(gaps - gap) > tolerance):
        _say_uneven(gaps, gap, tolerance, findings)
    if "non-uniform" not in findings.codes:
        _examine_line(positions, tolerance, findings)
    if angle > SHEAR:
        findings.say(
            "sheared", f"The stack leans by {angle:.1f}° from the normal of its slices (a tilted gantry does that)."
        )


def _say_uneven(gaps: Floats, gap: float, tolerance: float, findings: Findings) -> None:
    multiples = np.rint(gaps / gap)
    # n spacings may be off by n tolerances, but never by so much that any gap would pass
    allowed = np.minimum(multiples * tolerance, 0.1 * gap)
    if (
        np.all(multiples >= 1)
        and np.all(np.abs(gaps - multiples * gap) <= np.maximum(allowed, SAME_PLACE))
        and multiples.max() > 1
    ):
        missing = int(multiples.sum()) - len(gaps)
        after = [int(i) for i in np.flatnonzero(multiples > 1)]
        findings.steps = (0, *(int(step) for step in np.cumsum(multiples)))
        findings.say(
            "missing-slices",
            f"{missing} missing where the gap is a multiple of {gap:.4g} mm, in {len(after)} place(s).",
            missing=missing,
            missing_after=after[:20],
        )
        return
    ways = Counter(np.round(gaps, 3).tolist())
    findings.say(
        "non-uniform",
        f"Gaps between slices go from {gaps.min():.4g} to {gaps.max():.4g} mm (median {gap:.4g} mm).",
        different_gaps=len(ways),
    )


def _examine_line(positions: Floats, tolerance: float, findings: Findings) -> None:
    """Every slice must lie where the affine puts it: gaps within 1 % can add up, and corners can wander sideways."""
    steps = np.array(findings.steps, dtype=np.float64)[:, None]
    off = np.linalg.norm(positions - (positions[0] + steps / steps[-1] * (positions[-1] - positions[0])), axis=1)
    worst = float(off.max())
    if worst > tolerance:
        findings.say(
            "non-uniform", f"A slice lies {worst:.4g} mm off the even line from first to last.", off_line_mm=worst
        )


def _angle(direction: Floats, normal: Floats) -> float:
    along, across = float(direction @ normal), float(np.linalg.norm(np.cross(direction, normal)))
    return math.degrees(math.atan2(across, along))
