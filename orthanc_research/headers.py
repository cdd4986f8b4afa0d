"""Tags of many instances from the server: a request a series, long values fetched, unreadable files told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orthanc_research.errors import NotFoundError, QueryError, ServerError
from orthanc_research.parallel import thread_map
from orthanc_research.rest import Rest
from orthanc_research.tables import TagsPlan, too_long

__all__ = ["tags"]

ShortTags = Mapping[str, Any]
Series = tuple[str, tuple[str, ...]]  # its ID, and the instances that were chosen: none named means all


def tags(
    rest: Rest, series: Sequence[Series], plan: TagsPlan, *, workers: int, max_rows: int
) -> list[tuple[str, str, ShortTags | None]]:
    """(instance, series, its short tags or None when its file cannot be read): one request a series.

    An instance that was chosen and is no longer there is a row as well, with None.
    """
    rows: list[tuple[str, str, ShortTags | None]] = []
    for outcome in thread_map(lambda each: _tags_of(rest, each, plan), series, workers=workers, fatal=(Exception,)):
        found = outcome.get()
        series_id, chosen = outcome.unit
        rows += [(instance, series_id, found.get(instance)) for instance in chosen or found]
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
