"""From the server into memory: answers of a find, tags, files, headers, stacks, volumes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.errors import AccessError, NotFoundError, QueryError, ResponseError, ServerError
from orthanc_research.parallel import Outcome, thread_map
from orthanc_research.pixels import Stack, Volume, decode, read_dataset, stacks_of, volume_from
from orthanc_research.progress import Progress
from orthanc_research.rest import Level, Rest
from orthanc_research.tables import FindPlan, TagsPlan, too_long

__all__ = ["answers", "dataset", "datasets", "file", "stacks", "tags", "volume"]


ShortTags = Mapping[str, Any]
Series = tuple[str, tuple[str, ...]]  # its ID, and the instances that were chosen: none named means all


def answers(rest: Rest, plan: FindPlan) -> tuple[list[dict[str, Any]], dict[Level, dict[str, dict[str, Any]]]]:
    """What a planned find answers, page by page, and the resources to join by level: {level: {ID: object}}."""
    found: list[dict[str, Any]] = []
    while not plan.empty:
        body = plan.request(len(found))
        page = rest.tools.find(body)
        found += page
        if not plan.paged or len(page) < body["Limit"] or plan.complete(len(found)):
            break
    related: dict[Level, dict[str, dict[str, Any]]] = {}
    for level in plan.parents if found else ():
        ids = list(plan.ask(level, found, related))
        pages = (ids[start : start + plan.page] for start in range(0, len(ids), plan.page))
        related[level] = {value["ID"]: value for page in pages for value in rest.tools.bulk_content(page, level)}
    return found, related


def tags(
    rest: Rest, series: Sequence[Series], plan: TagsPlan, *, workers: int, max_rows: int
) -> list[tuple[str, str, ShortTags | None]]:
    """(instance, series, its short tags or None when its file cannot be read): one request a series."""
    rows: list[tuple[str, str, ShortTags | None]] = []
    for outcome in thread_map(lambda each: _tags_of(rest, each, plan), series, workers=workers, fatal=(Exception,)):
        found = outcome.get()
        wanted = set(outcome.unit[1]) or found.keys()
        rows += [(instance, outcome.unit[0], short) for instance, short in found.items() if instance in wanted]
        if len(rows) > max_rows:
            raise QueryError(f"There are more than {max_rows} instances; choose fewer, or raise max_rows.")
    return rows


def _tags_of(rest: Rest, series: Series, plan: TagsPlan) -> dict[str, ShortTags | None]:
    def ask(ignore_length: Sequence[str]) -> dict[str, ShortTags | None]:
        if len(instances) == 1:
            return _one_by_one(rest, instances, ignore_length)
        return _all_tags(rest, identifier, ignore_length)

    identifier, instances = series
    found = ask(plan.ignore_length)
    # What came as null because it has more than 256 bytes is asked for by name: nobody knew before.
    long = too_long((tags for tags in found.values() if tags is not None), plan) - set(plan.ignore_length)
    return ask((*plan.ignore_length, *sorted(long))) if long else found


def _all_tags(rest: Rest, series: str, ignore_length: Sequence[str]) -> dict[str, ShortTags | None]:
    try:
        return dict(rest.series.instances_tags(series, ignore_length))
    except ServerError as error:
        if error.status != 500:
            raise
    # One unreadable file fails the whole series' request: read the others one by one.
    instances = [str(value["ID"]) for value in rest.series.children(series, "Instance")]
    return _one_by_one(rest, instances, ignore_length)


def _one_by_one(rest: Rest, instances: Sequence[str], ignore_length: Sequence[str]) -> dict[str, ShortTags | None]:
    found: dict[str, ShortTags | None] = {}
    for instance in instances:
        try:
            found[instance] = rest.instances.tags(instance, ignore_length)
        except (ServerError, NotFoundError) as error:
            if error.status not in (404, 500):
                raise
            found[instance] = None
    return found


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
