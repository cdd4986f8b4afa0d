"""From the server into memory: files, stacks and volumes; the MD5 check."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy.typing as npt
from pydicom import Dataset

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
    "DIFFERS",
    "NO_MD5",
    "check_slices",
    "check_values",
    "checked_file",
    "dataset",
    "datasets",
    "file",
    "present",
    "stacks",
    "volume",
]

T = TypeVar("T")

NO_MD5 = (
    "This Orthanc keeps no MD5 of its files (StoreMD5ForAttachments in its configuration), so what arrives cannot be "
    "checked."
)
DIFFERS = "The file of instance {} is not the one that was stored: its MD5 differs."


def file(rest: Rest, instance: str, *, verify: bool) -> bytes:
    """The DICOM file as it was stored; with `verify`, held against the MD5 that the server keeps.

    One request; two when the answer to the first does not name the MD5. `ResponseError` when the file is not the one
    that was stored, and when the server keeps no MD5.
    """
    return checked_file(rest, instance)[0] if verify else rest.instances.file(instance)


def checked_file(rest: Rest, instance: str) -> tuple[bytes, str]:
    """The DICOM file and its MD5, which is the server's; as `file` with `verify`."""
    content, expected = rest.instances.attachment_with_md5(instance, "dicom")
    if expected is None:
        try:
            expected = rest.instances.md5(instance).strip()
        except NotFoundError as error:
            raise ResponseError(NO_MD5) from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != expected:
        raise ResponseError(DIFFERS.format(instance))
    return content, expected


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
        filler.put_file(part, file(rest, part.instance, verify=verify))
        progress.advance()

    done = 0
    for outcome in thread_map(fill, stack.files, workers=workers, progress=progress, fatal=(Exception,)):
        outcome.get()
        done += 1
    if done < len(stack.files):
        raise CancelledError("Reading was stopped on request; there is no volume.")
    return filler.volume()
