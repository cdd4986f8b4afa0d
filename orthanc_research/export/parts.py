"""Which volumes a series gives, and how each is fetched: the words of `pixels.arrange`, at the export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy.typing as npt

from orthanc_research import fetch
from orthanc_research.errors import Error, QueryError
from orthanc_research.parallel import Outcome, thread_map
from orthanc_research.pixels import (
    Filler,
    Stack,
    StackFile,
    Volume,
    arrange,
    check_dtype,
    check_nifti,
    check_words,
    decode,
    one_stack,
    read_dataset,
)
from orthanc_research.progress import Silent
from orthanc_research.rest import Rest

__all__ = ["VolumeOptions", "volume_parts"]

Part = tuple[str, Callable[[], Volume]]


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """What is asked of the volumes of an export: see `Orthanc.volume` and `pixels.arrange`."""

    values: str = "stored"
    dtype: npt.DTypeLike | None = None
    min_slices: int = 3
    on_missing: str = "raise"
    on_shear: str = "raise"
    on_4d: str = "raise"

    @property
    def split(self) -> bool:
        """Whether a series may give several volumes."""
        return "split" in (self.on_missing, self.on_4d)

    def check(self, form: str) -> None:
        """`QueryError` for what makes no sense, or not in this form of export."""
        fetch.check_values(self.values)
        fetch.check_slices(self.min_slices)
        check_words(self.on_missing, self.on_shear, self.on_4d)
        check_dtype(self.dtype)
        if form == "nifti":
            check_nifti()
        if form != "parquet":
            return
        if self.values != "stored":
            raise QueryError("Frames are stored values with slope and intercept beside them; rescale when reading.")
        if self.dtype is not None or {self.on_missing, self.on_shear, self.on_4d} != {"raise"}:
            raise QueryError(
                "dtype, on_missing, on_shear and on_4d are for volumes: format='npy', 'npz' or 'nifti'; "
                "frames are written as they are."
            )


def volume_parts(rest: Rest, series: str, chosen: Sequence[str], options: VolumeOptions, workers: int) -> list[Part]:
    """(what follows the series' name in a file's name, the volume when called) for each volume: one request.

    One, and nothing follows; `GeometryError` when the series is not exactly one. With "split" every stack of the
    series, "_001" and so on in the order of `pixels.arrange`; one that is no volume raises when it is called.
    """
    stacks = arrange(
        fetch.stacks(rest, series, chosen, min_slices=options.min_slices),
        on_missing=options.on_missing,
        on_shear=options.on_shear,
        on_4d=options.on_4d,
        min_slices=options.min_slices,
    )
    if not options.split or not stacks:
        return [("", partial(_alone, rest, one_stack(stacks), options, workers))]
    parts: list[Part] = []
    for places in _sharing(stacks):
        group = [stacks[place] for place in places]
        makes = _together(rest, group, options, workers) if len(group) > 1 else []
        makes = makes or [partial(_alone, rest, stack, options, workers) for stack in group]
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


def _alone(rest: Rest, stack: Stack, options: VolumeOptions, workers: int) -> Volume:
    return fetch.volume(rest, stack, options.values, options.dtype, workers=workers, verify=True, progress=Silent())


def _together(rest: Rest, stacks: Sequence[Stack], options: VolumeOptions, workers: int) -> list[Callable[[], Volume]]:
    """The volumes of stacks that share files, all made at the first call: each file is fetched and decoded once.

    The time points of one multi-frame file would otherwise cost that file each. What one of them fails of, all do.
    """
    made: list[Outcome[None, list[Volume]]] = []

    def get(place: int) -> Volume:
        if not made:
            try:
                made.append(Outcome(None, _filled(rest, stacks, options, workers)))
            except Error as error:
                made.append(Outcome(None, error=error))
        return made[0].get()[place]

    return [partial(get, place) for place in range(len(stacks))]


def _filled(rest: Rest, stacks: Sequence[Stack], options: VolumeOptions, workers: int) -> list[Volume]:
    fillers = [Filler(stack, options.values, options.dtype) for stack in stacks]
    wanted: dict[str, list[tuple[Filler, StackFile]]] = {}
    for filler in fillers:
        for file in filler.stack.files:
            wanted.setdefault(file.instance, []).append((filler, file))

    def fill(instance: str) -> None:
        dataset = read_dataset(fetch.file(rest, instance, verify=True))
        array: npt.NDArray[Any] = decode(dataset)
        for filler, file in wanted[instance]:
            filler.put_file(file, dataset, array)

    for outcome in thread_map(fill, list(wanted), workers=workers, fatal=(Exception,)):
        outcome.get()
    return [filler.volume() for filler in fillers]
