"""From the server into memory: files, stacks and volumes; the MD5 check."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.decoding import decode_isolated
from orthanc_research.errors import AccessError, CancelledError, NotFoundError, QueryError, ResponseError
from orthanc_research.parallel import Outcome, thread_map
from orthanc_research.pixels import (
    LONG_TAGS,
    VALUES,
    Filler,
    Stack,
    StackFile,
    Volume,
    read_dataset,
    stacks_of,
    wanted_bytes,
)
from orthanc_research.progress import Progress
from orthanc_research.rest import Rest

__all__ = [
    "check_slices",
    "check_values",
    "dataset",
    "decoded",
    "file",
    "present",
    "stacks",
    "volume",
]

T = TypeVar("T")


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


def decoded(
    rest: Rest, instances: Iterable[str], *, workers: int, verify: bool, progress: Progress
) -> Iterator[Outcome[str, tuple[Dataset, npt.NDArray[Any]]]]:
    """The Dataset of each instance, without its pixel data, and what these decode to; in order, one request each.

    A failure is its instance's outcome, a decoder that crashes too (`PixelError`).
    """

    def get(instance: str) -> tuple[Dataset, npt.NDArray[Any]]:
        content = file(rest, instance, verify=verify)
        found = read_dataset(content)
        array = decode_isolated(content, str(found.get("SOPInstanceUID", "")))
        for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
            found.pop(keyword, None)
        progress.advance()
        return found, array

    return thread_map(get, instances, workers=workers, progress=progress, fatal=(AccessError,))


def check_slices(min_slices: int) -> None:
    """`QueryError` for a least number of slices that no volume can have."""
    if not isinstance(min_slices, int) or min_slices < 2:
        raise QueryError("min_slices must be 2 or more: the distance between slices comes from their positions.")


def check_values(values: str) -> None:
    """`QueryError` for values that a volume cannot hold."""
    if values not in VALUES:
        raise QueryError(f"values={values!r} is not there; choose from {', '.join(VALUES)}.")


def stacks(rest: Rest, series: str, chosen: Sequence[str] = (), *, min_slices: int) -> list[Stack]:
    """Every stack of a series (or of the chosen instances of it) with its verdict, from headers alone: one request.

    A Siemens mosaic costs one more: the element that proves its tiling is binary, and not among the headers.
    `NotFoundError` when a chosen instance is no longer there; `QueryError` for an ID that is not of a series.
    """
    check_slices(min_slices)
    headers = rest.series.instances_tags(series, [key.replace(",", "-") for key in LONG_TAGS])
    # 1.10.1 takes the ID of a patient, a study or an instance here, and answers for all that is below it.
    below = {str(header.get("0020,000e", "")).strip(" \0") for header in headers.values()}
    if len(below) > 1:
        raise QueryError(f"This is the ID of something that holds {len(below)} series; give one of them.")
    wanted = present(headers, chosen) if chosen else headers
    return stacks_of({each: _with_bytes(rest, each, header) for each, header in wanted.items()}, min_slices=min_slices)


def _with_bytes(rest: Rest, instance: str, header: Mapping[str, Any]) -> Mapping[str, Any]:
    keys = wanted_bytes(header)
    return {**header, **{key: rest.instances.content(instance, key.replace(",", "-")) for key in keys}}


def present(found: Mapping[str, T], chosen: Sequence[str]) -> dict[str, T]:
    """The chosen ones of what was found below a series; `NotFoundError` when some are no longer there."""
    lost = sum(instance not in found for instance in chosen)
    if lost:
        raise NotFoundError(f"{lost} of {len(chosen)} instances are no longer on this Orthanc; find them again.")
    return {instance: found[instance] for instance in chosen}


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
    """The volume of a stack: one request an instance, decoded on `workers` threads into one array.

    What headers alone refuse is refused before the first request. `CancelledError` when the user asked to stop.
    """
    filler = Filler(stack, values, dtype)
    progress.total(len(stack.files), "files")

    def fill(part: StackFile) -> None:
        filler.put_file(part, file(rest, part.instance, verify=verify), decode_isolated)
        progress.advance()

    done = 0
    for outcome in thread_map(fill, stack.files, workers=workers, progress=progress, fatal=(Exception,)):
        outcome.get()
        done += 1
    if done < len(stack.files):
        raise CancelledError("Reading was stopped on request; there is no volume.")
    return filler.volume()
