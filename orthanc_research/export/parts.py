"""Which volumes a series gives to an export, and how each is fetched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from orthanc_research import fetch
from orthanc_research.decoding import decode_isolated
from orthanc_research.errors import CancelledError, Error, QueryError
from orthanc_research.parallel import Outcome, thread_map
from orthanc_research.pixels import (
    Filler,
    Opened,
    Reading,
    Stack,
    StackFile,
    Volume,
    check_nifti,
)
from orthanc_research.progress import Progress
from orthanc_research.rest import Rest

__all__ = ["check_form", "volume_parts"]

Part = tuple[str, Callable[[], Volume]]


def check_form(form: str, how: Reading) -> None:
    """`QueryError` for what makes no sense in this form of export."""
    if form == "nifti":
        check_nifti()
    if form != "parquet":
        return
    if how.values != "stored":
        raise QueryError("Frames are stored values with slope and intercept beside them; rescale when reading.")
    if how != Reading():
        raise QueryError(
            "dtype, min_slices, on_missing, on_shear and on_4d are for volumes: format='npy', 'npz' or 'nifti'; "
            "frames are written as they are."
        )


def volume_parts(
    rest: Rest, series: str, chosen: Sequence[str], how: Reading, workers: int, progress: Progress
) -> list[Part]:
    """(what follows the series' name in a file's name, the volume when called) for each volume: one request.

    One, and nothing follows; `GeometryError` when the series is not exactly one. With "split" every stack of the
    series, "_001" and so on in the order of `pixels.arrange`; one that is no volume raises when it is called,
    and all raise `CancelledError` once `progress` says so.
    """
    checked: dict[str, Any] = {"workers": workers, "verify": True, "progress": progress}
    if not how.split:
        return [("", partial(fetch.series_volume, rest, series, chosen, how, **checked))]
    stacks = how.stacks(fetch.stacks(rest, series, chosen, min_slices=how.min_slices))
    parts: list[Part] = []
    for places in _sharing(stacks):
        group = [stacks[place] for place in places]
        makes = _together(rest, group, how, workers, progress) if len(group) > 1 else []
        makes = makes or [partial(fetch.volume, rest, stack, how.values, how.dtype, **checked) for stack in group]
        parts += [(f"_{place + 1:03d}", make) for place, make in zip(places, makes, strict=True)]
    return parts


def _sharing(stacks: Sequence[Stack]) -> list[list[int]]:
    """The places of the stacks; those that have files in common are together."""
    groups: list[tuple[set[str], list[int]]] = []
    for place, stack in enumerate(stacks):
        files = set(stack.instances) if stack.status == "ok" else set()
        common = [group for group in groups if group[0] & files]
        groups = [group for group in groups if not group[0] & files]
        groups.append((files.union(*(each for each, _ in common)), [p for _, ps in common for p in ps] + [place]))
    return sorted(places for _, places in groups)


def _together(
    rest: Rest, stacks: Sequence[Stack], how: Reading, workers: int, progress: Progress
) -> list[Callable[[], Volume]]:
    """The volumes of stacks that share files, all made at the first call: each file is fetched and decoded once.

    The time points of one multi-frame file would otherwise cost that file each. What one of them fails of, all do.
    """
    made: list[Outcome[None, list[Volume]]] = []

    def get(place: int) -> Volume:
        if not made:
            try:
                made.append(Outcome(None, _filled(rest, stacks, how, workers, progress)))
            except Error as error:
                made.append(Outcome(None, error=error))
        return made[0].get()[place]

    return [partial(get, place) for place in range(len(stacks))]


def _filled(rest: Rest, stacks: Sequence[Stack], how: Reading, workers: int, progress: Progress) -> list[Volume]:
    fillers = [Filler(stack, how.values, how.dtype) for stack in stacks]
    wanted: dict[str, list[tuple[Filler, StackFile]]] = {}
    for filler in fillers:
        for file in filler.stack.files:
            wanted.setdefault(file.instance, []).append((filler, file))

    def fill(instance: str) -> None:
        content = fetch.file(rest, instance, verify=True)
        opened = Opened.of(content, wanted[instance][0][1].sop_uid, decode_isolated)
        for filler, file in wanted[instance]:
            filler.put_file(file, opened)

    outcomes = thread_map(fill, list(wanted), workers=workers, progress=progress, fatal=(Exception,))
    with closing(outcomes):
        done = sum(1 for _ in outcomes)
    if done < len(wanted):
        raise CancelledError("Reading was stopped on request; there is no volume.")
    return [filler.volume() for filler in fillers]
