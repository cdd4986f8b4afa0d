"""Frames of one orientation, spacing, size and type → stacks in order, each with its verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._codes import CODES, Code
from ._frames import EXTRA_AXES, Frame
from ._geometry import Findings, affine_of, clusters, examine, normal_of
from ._stack import Stack

__all__ = ["assess", "stack_from"]


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
    extra = (count,) if count > 1 else ()
    sample = (first.samples,) if first.samples > 1 else ()
    return Stack(
        frames=frames,
        shape=(*extra, slices, first.rows, first.columns, *sample),
        dims=(*("extra" for _ in extra), "slice", "row", "column", *("sample" for _ in sample)),
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
