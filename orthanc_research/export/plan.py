"""Which instances a series had when an export began, and whether it still has them: what changes meanwhile is told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orthanc_research import resolve
from orthanc_research.errors import NotFoundError, ResponseError
from orthanc_research.rest import Rest
from orthanc_research.tables import Selection

__all__ = ["ChangedError", "Planned", "check", "compare", "plan", "since"]

_PAGE = 100  # series a request: one of 1,000 instances is 45 kB of the answer


class ChangedError(Exception):
    """A series does not have the instances that were planned; `found` is how many of them, or of others, there are."""

    def __init__(self, planned: Planned, found: int) -> None:
        self.found = found
        if planned.chosen:
            lost = len(planned.chosen) - found
            text = f"{lost} of {len(planned.chosen)} instances are no longer on this Orthanc; find them again."
        elif found != planned.count:
            text = f"It had {planned.count} instances when {planned.when} and has {found} now; find it again."
        else:
            text = f"It has other instances than when {planned.when}, {found} as before; find it again."
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Planned:
    """A series and what is to be exported of it: the chosen instances, or (none named) all `count` that it had."""

    series: str
    chosen: tuple[str, ...] = ()
    count: int | None = None  # None: it was not there
    mark: bytes = b""  # of their IDs, which would be 100 MB for a million instances
    when: str = "the export began"
    updated: str = ""  # its LastUpdate: an instance that is stored again, with other pixels, keeps its ID


def plan(rest: Rest, resources: Selection) -> list[Planned]:
    """What is to be exported: a request per 100 series, for those of which no instances were chosen.

    Where a frame says how many instances its series had (NumberOfSeriesRelatedInstances), that counts.
    """
    pairs = resolve.series_of(rest, resources)
    whole = [series for series, chosen in pairs if not chosen]
    listed = {str(value.get("ID")): value for value in _listed(rest, whole)}
    told = resources.column("NumberOfSeriesRelatedInstances") if resources.level == "Series" else {}
    return [
        Planned(series, chosen, len(chosen)) if chosen else _planned(series, listed.get(series), told.get(series))
        for series, chosen in pairs
    ]


def _planned(series: str, listed: Mapping[str, Any] | None, told: str | None) -> Planned:
    ids = None if listed is None else _instances(listed)
    if told is not None and told.isdecimal() and int(told) != (None if ids is None else len(ids)):
        return Planned(series, count=int(told), when="it was found")
    if listed is None or ids is None:
        return Planned(series)
    return Planned(series, count=len(ids), mark=_mark(ids), updated=str(listed.get("LastUpdate") or ""))


def compare(planned: Planned, now: Iterable[str]) -> None:
    """`ChangedError` unless these are the instances that were planned; others beside chosen ones do not matter."""
    ids = set(now)
    if planned.chosen:
        found = sum(instance in ids for instance in planned.chosen)
        if found != planned.count:
            raise ChangedError(planned, found)
    elif planned.count is not None and planned.mark != _mark(ids):
        raise ChangedError(planned, len(ids))


def check(rest: Rest, planned: Planned) -> None:
    """`ChangedError` unless the series has what was planned, one request; never for one that was not there at first."""
    try:
        now = rest.series.read(planned.series)
    except NotFoundError:
        now = {"Instances": []}
    _hold(planned, now)


def since(rest: Rest, exported: Sequence[Planned]) -> dict[str, ChangedError]:
    """{series: what became of it} for those that changed after their files were written: a request per 100 series."""
    left = {planned.series: planned for planned in exported}
    found: dict[str, ChangedError] = {}
    for now in _listed(rest, list(left)):
        series = str(now.get("ID"))
        try:
            _hold(left.pop(series), now)
        except KeyError:
            continue  # nobody asked for it
        except ChangedError as changed:
            found[series] = changed
    return found | {series: ChangedError(planned, 0) for series, planned in left.items()}


def _hold(planned: Planned, now: Mapping[str, Any]) -> None:
    ids = _instances(now)
    compare(planned, ids)
    if planned.updated not in ("", now.get("LastUpdate")):
        raise ChangedError(planned, len(ids))


def _listed(rest: Rest, series: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    for start in range(0, len(series), _PAGE):
        yield from rest.tools.bulk_content(series[start : start + _PAGE])


def _instances(series: Mapping[str, Any]) -> list[str]:
    found = series.get("Instances")
    if not isinstance(found, list):
        raise ResponseError("The list of instances is not what Orthanc answers.")
    return [str(each) for each in found]


def _mark(ids: Iterable[str]) -> bytes:
    return hashlib.sha256("\n".join(sorted(ids)).encode()).digest()
