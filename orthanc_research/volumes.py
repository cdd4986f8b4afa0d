"""Volumes of many series, one after the other: the next one is fetched while the caller works on the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from orthanc_research import fetch
from orthanc_research.errors import AccessError, CancelledError, Error, GeometryError, OrthancError
from orthanc_research.parallel import ahead
from orthanc_research.pixels import Reading, Volume
from orthanc_research.progress import Progress, Within
from orthanc_research.rest import Rest, is_server_gone

__all__ = ["SeriesVolume", "volumes"]


class SeriesVolume(NamedTuple):  # pandas makes a row of it; of a dataclass it would copy the volume, voxel by voxel
    """What came of a series: its volume, or why there is none. A list of them is rows of a DataFrame.

    - `series`: its Orthanc ID; `number`: which of its stacks, from 0, where "split" asked for more than one.
    - `status`: "ok", a code of `GeometryError`, or "failed" (pixels that do not decode, an instance that is gone).
    - `error`: the reason in a sentence, None when it is "ok"; `volume`: None unless it is.
    """

    series: str
    number: int
    status: str
    error: str | None
    volume: Volume | None

    def __repr__(self) -> str:
        return f"<SeriesVolume {self.series}[{self.number}] {self.status}>"


def volumes(
    rest: Rest,
    series: Sequence[tuple[str, Sequence[str]]],
    how: Reading,
    *,
    verify: bool,
    workers: int,
    progress: Progress,
) -> Iterator[SeriesVolume]:
    """One a series, in their order: two volumes are in memory at most, the caller's and the next.

    What would be the same for every other series (a refused password, a server that is gone) is raised, and so is
    `CancelledError`. When the caller stops reading, the work stops.
    """
    progress.total(len(series), "series")
    yield from ahead(_each(rest, series, how, verify, workers, _Behind(progress)), progress)


class _Behind(Within):
    """What a volume in the background hears: nothing but that it should stop."""

    def series_done(self) -> None:
        """One more, for the caller's bar."""
        self._whole.advance()


def _each(
    rest: Rest, series: Sequence[tuple[str, Sequence[str]]], how: Reading, verify: bool, workers: int, progress: _Behind
) -> Iterator[SeriesVolume]:
    for identifier, chosen in series:
        if progress.cancelled:
            raise CancelledError("Reading was stopped on request; the other series were not read.")
        reads: Sequence[Callable[[], Volume]]
        options: dict[str, Any] = {"workers": workers, "verify": verify, "progress": progress}
        try:
            if how.split:
                stacks = how.stacks(fetch.stacks(rest, identifier, chosen, min_slices=how.min_slices))
                reads = [partial(fetch.volume, rest, stack, how.values, how.dtype, **options) for stack in stacks]
            else:
                reads = [partial(fetch.series_volume, rest, identifier, chosen, how, **options)]
        except Error as error:
            yield _without(identifier, 0, error)
        else:
            yield from (_read(identifier, number, read) for number, read in enumerate(reads))
        progress.series_done()


def _read(series: str, number: int, read: Callable[[], Volume]) -> SeriesVolume:
    try:
        return SeriesVolume(series, number, "ok", None, read())
    except (Error, MemoryError) as error:  # a damaged header may claim more than any memory holds
        return _without(series, number, error)


def _without(series: str, number: int, error: Error | MemoryError) -> SeriesVolume:
    if isinstance(error, AccessError | CancelledError) or (isinstance(error, OrthancError) and is_server_gone(error)):
        raise error
    if isinstance(error, MemoryError):
        return SeriesVolume(series, number, "failed", "Its array does not fit into memory.", None)
    return SeriesVolume(series, number, error.code if isinstance(error, GeometryError) else "failed", str(error), None)
