"""Frames → stacks: what belongs together, in order, with a verdict. Headers only, no pixels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.errors import GeometryError, QueryError

from ._codes import CODES, Code
from ._frames import Frame, frames_of
from ._geometry import Findings, affine_of, clusters, examine, normal_of
from ._header import Header

__all__ = ["Stack", "one_stack", "stacks_of"]

Source = Iterable[Frame | Dataset | Header] | Mapping[str, Header]

ORIENTATION_TOLERANCE = 1e-3  # of a direction cosine
SPACING_TOLERANCE = 1e-4  # mm


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Frames that belong together, and whether they are one volume.

    `frames` are ordered: along row x column ascending, ties by SOPInstanceUID; without geometry by InstanceNumber.
    `status` is a `Code`, `reason` one sentence ("" when ok), `details` its numbers, `issues` a sentence for every
    problem and note. `dims` names the axes of `shape`: (slice, row, column), for "4d" (extra, slice, row, column).
    `spacing` is (slice, row, column) in mm, the first the median gap along the normal, never SliceThickness.
    `affine` (4 x 4 float64) maps (slice, row, column) to LPS mm. Both are None unless every slice lies where they say.
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

    @property
    def sop_uids(self) -> tuple[str, ...]:
        """SOPInstanceUID of each frame, in order."""
        return tuple(frame.sop_uid for frame in self.frames)

    @property
    def instances(self) -> tuple[str, ...]:
        """Orthanc ID of each frame's instance, in order; "" for frames of files."""
        return tuple(frame.instance for frame in self.frames)

    def checked(self) -> Self:
        """Itself when it is one volume, else `GeometryError(status, reason, details)`."""
        if self.status != "ok":
            raise GeometryError(self.status, self.reason, self.details)
        return self

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return f"<Stack {self.status}: {size}{_mm(self.spacing)}>"


def stacks_of(source: Source, *, min_slices: int = 3) -> list[Stack]:
    """Every stack in a series, each with its verdict; nothing is left out and nothing is stacked silently.

    `source` holds frames, Datasets or short headers, or is the answer of `GET /series/{id}/instances-tags?short` itself
    (Orthanc ID → header). Frames are grouped first (series, frame of reference, size, type, photometric, localizer or
    not; orientation to 1e-3, spacing to 1e-4 mm), then ordered, then judged; the result does not depend on the order of
    `source`. `QueryError` when `min_slices` is below 2: one slice has no distance to the next.
    """
    if min_slices < 2:
        raise QueryError("min_slices must be 2 or more: the distance between slices comes from their positions.")
    frames = sorted(_frames(source), key=_canonical)
    uids = Counter((frame.sop_uid, frame.index) for frame in frames)
    repeated = frozenset(uid for (uid, _), count in uids.items() if count > 1)
    stacks = [_stack(group, repeated, min_slices) for group in _groups(frames)]
    return sorted(stacks, key=lambda s: (s.series_uid, -len(s.frames), s.frames[0].sop_uid))


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


def _frames(source: Source) -> list[Frame]:
    pairs: Iterable[tuple[str, Any]] = (
        source.items() if isinstance(source, Mapping) else (("", item) for item in source)
    )
    found: list[Frame] = []
    for instance, item in pairs:
        found += [item] if isinstance(item, Frame) else frames_of(item, instance)
    return found


def _canonical(frame: Frame) -> tuple[Any, ...]:
    """An order that comes from the frames alone, so that the input's order never shows."""
    place = (frame.orientation or (), frame.spacing or (), frame.position or ())
    return (
        *place,
        frame.sop_uid,
        frame.index,
        frame.instance,
        frame.code,
        frame.rows,
        frame.columns,
        frame.bits_stored,
    )


def _groups(frames: list[Frame]) -> list[list[Frame]]:
    alike: dict[tuple[Any, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        kind = (frame.series_uid, frame.frame_of_reference, frame.code, frame.rows, frame.columns, frame.samples)
        values = (frame.photometric, frame.bits_allocated, frame.pixel_representation, "LOCALIZER" in frame.image_type)
        alike[(*kind, *values)].append(frame)
    return [group for kind in alike.values() for group in (_by_geometry(kind) if kind[0].code == "ok" else [kind])]


def _by_geometry(frames: list[Frame]) -> list[list[Frame]]:
    """Split by orientation and spacing. Each group is what lies within the tolerance of its first frame.

    Not a chain from neighbour to neighbour: slices that turn by a little each would all end up in one group.
    """
    values = np.array([(*(f.orientation or ()), *(f.spacing or ())) for f in frames], dtype=np.float64)
    tolerance = np.array([ORIENTATION_TOLERANCE] * 6 + [SPACING_TOLERANCE] * 2)
    left = np.ones(len(frames), dtype=bool)
    groups = []
    while left.any():
        near = left & np.all(np.abs(values - values[np.argmax(left)]) <= tolerance, axis=1)
        groups.append([frames[i] for i in np.flatnonzero(near)])
        left &= ~near
    return groups


def _stack(group: list[Frame], repeated: frozenset[str], min_slices: int) -> Stack:
    first = group[0]
    if first.code != "ok" or first.orientation is None or first.spacing is None:
        return _without_geometry(group)
    normal = normal_of(first.orientation)
    places = clusters(group, normal)
    findings = examine(places, normal, min_slices)
    twice = [f.sop_uid for f in group if f.sop_uid in repeated]
    if twice:
        sentence = f"SOPInstanceUIDs that occur twice ({len(set(twice))}): which pixels are meant is unknown."
        findings.problems.insert(0, ("duplicate-instances", sentence))
        findings.details["repeated_sop_uids"] = sorted(set(twice))[:20]
    codes = {code for code, _ in findings.problems}
    placed = codes <= {"4d"} and len(places) > 1
    ordered = [frame for together in places for frame in together]
    per = len(ordered) // len(places) if "4d" in codes else 1
    return Stack(
        frames=tuple(ordered),
        shape=(*((per,) if per > 1 else ()), len(ordered) // per, first.rows, first.columns),
        dims=(*(("extra",) if per > 1 else ()), "slice", "row", "column"),
        spacing=(findings.gap, *first.spacing) if placed else None,
        affine=affine_of(places) if placed else None,
        orientation=first.orientation,
        frame_of_reference=first.frame_of_reference,
        series_uid=first.series_uid,
        issues=_issues(findings, group),
        **_verdict(findings),
    )


def _verdict(findings: Findings) -> dict[str, Any]:
    problems = sorted(findings.problems, key=lambda problem: CODES.index(problem[0]))
    status, reason = problems[0] if problems else ("ok", "")
    return {
        "status": status,
        "reason": reason if len(problems) < 2 else " ".join(sentence for _, sentence in problems),
        "details": {"problems": [code for code, _ in problems], **findings.details},
    }


def _issues(findings: Findings, group: list[Frame]) -> tuple[str, ...]:
    notes = [sentence for _, sentence in findings.problems]
    turned = float(np.max(np.ptp(np.array([f.orientation for f in group], dtype=np.float64), axis=0)))
    if turned > 1e-5:
        notes.append(f"The slices' orientations differ by up to {turned:.1g}; the first one's is used.")
    if len({f.bits_stored for f in group}) > 1:
        notes.append("BitsStored differs between slices.")
    return tuple(notes)


def _without_geometry(group: list[Frame]) -> Stack:
    ordered = sorted(group, key=lambda f: (f.instance_number is None, f.instance_number or 0, f.sop_uid, f.index))
    first = ordered[0]
    reasons = list(dict.fromkeys(frame.reason for frame in ordered))
    sample = (first.samples,) if first.samples > 1 else ()
    return Stack(
        frames=tuple(ordered),
        status=first.code,
        reason=" ".join(reasons),
        details={"problems": [first.code], "images": len(ordered)},
        shape=(sum(max(f.frames_in_file, 1) for f in ordered), first.rows, first.columns, *sample),
        dims=("frame", "row", "column", *(("sample",) if sample else ())),
        spacing=None,
        affine=None,
        orientation=None,
        frame_of_reference=first.frame_of_reference,
        series_uid=first.series_uid,
        issues=tuple(reasons),
    )


def _mm(spacing: tuple[float, float, float] | None) -> str:
    return "" if spacing is None else ", " + " x ".join(f"{mm:.4g}" for mm in spacing) + " mm"
