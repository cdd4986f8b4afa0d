"""Frames → stacks: what belongs together, in order, with a verdict. Headers only, no pixels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.errors import GeometryError, QueryError

from ._codes import CODES, Code
from ._frames import EXTRA_AXES, Frame, frames_of
from ._geometry import Findings, affine_of, clusters, examine, normal_of
from ._header import Header
from ._mosaic import tiles_of

__all__ = ["Source", "Stack", "StackFile", "assess", "one_stack", "stack_from", "stacks_of"]

Source = Iterable[Frame | Dataset | Header] | Mapping[str, Header]

ORIENTATION_TOLERANCE = 1e-3  # of a direction cosine
SPACING_TOLERANCE = 1e-4  # mm


class StackFile(NamedTuple):
    """One instance of a stack, and what it fills: (place in `Stack.frames`, frame in the file) pairs."""

    sop_uid: str
    instance: str
    fills: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Frames that belong together, and whether they are one volume.

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


def stacks_of(source: Source, *, min_slices: int = 3) -> list[Stack]:
    """Every stack in a series, each with its verdict; nothing is left out and nothing is stacked silently.

    `source` holds frames, Datasets or short headers, or is the answer of `GET /series/{id}/instances-tags?short` itself
    (Orthanc ID → header). Frames are grouped first (series, frame of reference, stack ID, size, type, photometric,
    localizer or not, magnitude or phase; orientation to 1e-3, spacing to 1e-4 mm; units or image types that meet at one
    position), then ordered, then judged; the result does not depend on the order of `source`. Mosaics are cut
    into their slices where the header proves how. `QueryError` when `min_slices` is below 2: one slice has no distance
    to the next.
    """
    if min_slices < 2:
        raise QueryError("min_slices must be 2 or more: the distance between slices comes from their positions.")
    frames = sorted((tile for frame in _frames(source) for tile in tiles_of(frame)), key=_canonical)
    uids = Counter((frame.sop_uid, frame.index, frame.tile) for frame in frames)
    repeated = frozenset(uid for (uid, _, _), count in uids.items() if count > 1)
    stacks = [stack for group in _groups(frames) for stack in assess(group, min_slices, repeated)]
    return sorted(stacks, key=lambda s: (s.series_uid, -len(s.frames), s.frames[0].sop_uid, s.frames[0].index))


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


# -- grouping -------------------------------------------------------------------------------------------------------


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
        frame.tile or (),
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
        values = (frame.photometric, frame.bits_allocated, frame.pixel_representation, frame.float_bits)
        said = (frame.component, frame.stack_id, "LOCALIZER" in frame.image_type)
        alike[(*kind, *values, *said)].append(frame)
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


# -- judging --------------------------------------------------------------------------------------------------------


def assess(group: list[Frame], min_slices: int, repeated: frozenset[str] = frozenset()) -> list[Stack]:
    """The stacks of frames of one orientation, spacing, size and type: one, or one for each kind that meets.

    `repeated` are SOPInstanceUIDs that occur twice in the series.
    """
    first = group[0]
    if first.code != "ok" or first.orientation is None or first.spacing is None:
        return [_without_geometry(group)]
    normal = normal_of(first.orientation)
    places = clusters(group, normal)
    findings = examine(places, normal, min_slices)
    kinds = _kinds_that_meet(places, findings)
    if kinds:
        return [stack for kind in kinds for stack in assess(kind, min_slices, repeated)]
    twice = sorted({f.sop_uid for f in group} & repeated)
    if twice:
        sentence = f"SOPInstanceUIDs that occur twice ({len(twice)}): which pixels are meant is unknown."
        findings.say("duplicate-instances", sentence, repeated_sop_uids=twice[:20])
    return [stack_from(places, findings)]


def _kinds_that_meet(places: list[list[Frame]], findings: Findings) -> list[list[Frame]]:
    """Frames that are not of one kind although at one position, kind by kind; [] when none meet.

    Maps in different units always; image types (Dixon's four images) unless one of `EXTRA_AXES` tells them apart.
    """
    apart = _by_kind(places, lambda frame: frame.units)
    named = findings.axes is not None and len(findings.axes.names) == 1 and findings.axes.names[0] in EXTRA_AXES
    return apart if apart or named else _by_kind(places, lambda frame: frame.image_type)


def _by_kind(places: list[list[Frame]], kind_of: Callable[[Frame], Any]) -> list[list[Frame]]:
    if all(len(together) == 1 or len({kind_of(frame) for frame in together}) == 1 for together in places):
        return []
    kinds: dict[Any, list[Frame]] = defaultdict(list)
    for together in places:
        for frame in together:
            kinds[kind_of(frame)].append(frame)
    return list(kinds.values())


def stack_from(places: list[list[Frame]], findings: Findings, allowed: frozenset[Code] = frozenset()) -> Stack:
    """The stack that these findings make of these places; problems that are `allowed` do not keep it from being ok."""
    group = [frame for together in places for frame in together]
    first = group[0]
    if findings.problems and first.samples > 1:
        findings.say("colour", "It is a colour image, and not one regular stack.")
    left = [problem for problem in findings.problems if problem[0] not in allowed]
    if all(code == "colour" for code, _ in left):
        left = []
    placed = findings.codes - allowed <= {"4d", "colour"} and len(places) > 1
    count = len(places[0]) if "4d" in findings.codes else 1
    slices = findings.steps[-1] + 1 if placed else len(group) // count
    order = findings.axes.order if findings.axes and count > 1 else [[p[e] for p in places] for e in range(count)]
    frames = tuple(f for volume in order for f in volume) if count > 1 else tuple(group)
    slots = tuple(e * slices + step for e in range(count) for step in findings.steps) if placed else ()
    sample = first.samples > 1
    return Stack(
        frames=frames,
        shape=(*((count,) if count > 1 else ()), slices, first.rows, first.columns, *((first.samples,) * sample)),
        dims=(*(("extra",) * (count > 1)), "slice", "row", "column", *(("sample",) * sample)),
        spacing=(findings.gap, *first.spacing) if placed and first.spacing else None,
        affine=affine_of(places, findings.steps[-1]) if placed else None,
        orientation=first.orientation,
        frame_of_reference=first.frame_of_reference,
        series_uid=first.series_uid,
        issues=_issues(findings, group),
        axes=findings.axes.values if findings.axes else {},
        slots=slots or tuple(range(len(frames))),
        **_verdict(left, findings),
    )


def _verdict(left: Sequence[tuple[Code, str]], findings: Findings) -> dict[str, Any]:
    problems = sorted(left, key=lambda problem: CODES.index(problem[0]))
    return {
        "status": problems[0][0] if problems else "ok",
        "reason": " ".join(sentence for _, sentence in problems),
        "details": {"problems": sorted(findings.codes, key=CODES.index), **findings.details},
    }


def _issues(findings: Findings, group: list[Frame]) -> tuple[str, ...]:
    notes = [sentence for _, sentence in findings.problems]
    turned = float(np.max(np.ptp(np.array([f.orientation for f in group], dtype=np.float64), axis=0)))
    if turned > 1e-5:
        notes.append(f"The slices' orientations differ by up to {turned:.1g}; the first one's is used.")
    if len({f.bits_stored for f in group}) > 1:
        notes.append("BitsStored differs between slices.")
    if any(f.lossy for f in group):
        notes.append("Compressed with loss.")
    if group[0].samples > 1:
        notes.append("Colour: what it shows is not a measured value.")
    if any(f.tile is not None for f in group):
        notes.append("Cut from mosaics.")
    return tuple(notes)


def _without_geometry(group: list[Frame]) -> Stack:
    ordered = sorted(group, key=lambda f: (f.instance_number is None, f.instance_number or 0, f.sop_uid, f.index))
    first = ordered[0]
    reasons = list(dict.fromkeys(frame.reason for frame in ordered))
    sample = (first.samples,) if first.samples > 1 else ()
    times = [dict(frame.extra).get("frame_time") for frame in ordered]
    one_file = len({(frame.sop_uid, frame.instance) for frame in ordered}) == 1
    known = tuple(time for time in times if time is not None) if one_file else ()
    return Stack(
        frames=tuple(ordered),
        status=first.code,
        reason=" ".join(reasons),
        details={"problems": [first.code], "images": len(ordered)},
        shape=(len(ordered), first.rows, first.columns, *sample),
        dims=("frame", "row", "column", *(("sample",) if sample else ())),
        spacing=None,
        affine=None,
        orientation=None,
        frame_of_reference=first.frame_of_reference,
        series_uid=first.series_uid,
        issues=tuple(reasons),
        axes={"frame_time": known} if known and len(known) == len(ordered) else {},
        slots=tuple(range(len(ordered))),
    )


def _mm(spacing: tuple[float, float, float] | None) -> str:
    return "" if spacing is None else ", " + " x ".join(f"{mm:.4g}" for mm in spacing) + " mm"
