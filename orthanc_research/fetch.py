"""Instances from the server into memory: files, headers, stacks, volumes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.errors import AccessError, ResponseError
from orthanc_research.parallel import Outcome, thread_map
from orthanc_research.pixels import Stack, Volume, decode, read_dataset, stacks_of, volume_from
from orthanc_research.progress import Progress
from orthanc_research.rest import Rest

__all__ = ["dataset", "datasets", "file", "stacks", "volume"]


def file(rest: Rest, instance: str, *, verify: bool) -> bytes:
    """The DICOM file as it was stored; with `verify`, held against the MD5 that the server keeps (one more request)."""
    content = rest.instances.file(instance)
    if not verify:
        return content
    expected = rest.instances.md5(instance).strip()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != expected:
        raise ResponseError(f"The file of instance {instance} is not the one that was stored: its MD5 differs.")
    return content


def dataset(rest: Rest, instance: str, *, verify: bool) -> Dataset:
    """The file as a pydicom Dataset."""
    return read_dataset(file(rest, instance, verify=verify))


def datasets(
    rest: Rest, instances: Iterable[str], *, workers: int, verify: bool, progress: Progress
) -> Iterator[Outcome[str, Dataset]]:
    """The Datasets of many instances, in their order; a failure is its instance's outcome. One request each."""

    def get(instance: str) -> Dataset:
        found = dataset(rest, instance, verify=verify)
        progress.advance()
        return found

    return thread_map(get, instances, workers=workers, progress=progress, fatal=(AccessError,))


def stacks(rest: Rest, series: str, *, min_slices: int) -> list[Stack]:
    """Every stack of a series with its verdict, from headers alone: one request."""
    return stacks_of(rest.series.instances_tags(series), min_slices=min_slices)


def volume(
    rest: Rest,
    stack: Stack,
    values: str,
    dtype: npt.DTypeLike | None,
    *,
    workers: int,
    verify: bool,
    progress: Progress,
) -> Volume:
    """The volume of a stack: one request a slice, decoded on `workers` threads into one array."""
    stack.checked()
    places = list(zip(stack.sop_uids, stack.instances, strict=True))
    progress.total(len(places), "slices")
    get = _getter(rest, verify, progress)
    outcomes = thread_map(get, places, workers=workers, fatal=(Exception,))
    arrays = ((index, outcome.get()) for index, outcome in enumerate(outcomes))
    return volume_from(stack, arrays, values, dtype)


def _getter(rest: Rest, verify: bool, progress: Progress) -> Callable[[tuple[str, str]], npt.NDArray[Any]]:
    def get(place: tuple[str, str]) -> npt.NDArray[Any]:
        sop_uid, instance = place
        array = decode(file(rest, instance, verify=verify), sop_uid)
        progress.advance()
        return array

    return get
