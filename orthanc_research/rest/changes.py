"""Routes of the two logs that Orthanc keeps: what changed, and what was sent elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError
from orthanc_research.rest._call import Area, Call, M, json_object, nothing, route
from orthanc_research.rest._submission import one_of

__all__ = ["ChangeType", "Changes", "Exports"]

Json = dict[str, Any]

# StableInstance of the 2019 document does not exist (400), Deleted and NewChildInstance never reach the log.
ChangeType = Literal[
    "AnonymizedPatient",
    "AnonymizedSeries",
    "AnonymizedStudy",
    "CompletedSeries",
    "ModifiedPatient",
    "ModifiedSeries",
    "ModifiedStudy",
    "NewInstance",
    "NewPatient",
    "NewSeries",
    "NewStudy",
    "StablePatient",
    "StableSeries",
    "StableStudy",
    "UpdatedAttachment",
    "UpdatedMetadata",
]


def changes(
    since: int | None = None, limit: int | None = None, *, types: Sequence[ChangeType] = (), to: int | None = None
) -> Call[Json]:
    """GET /changes: {"Changes": [{"Seq", "ChangeType", "ResourceType", "ID", "Path", "Date"}], "Done", "Last"}.

    The changes after number `since`, 100 of them unless `limit` says otherwise; go on with since=Last until Done. With
    `to` (1.12.5) the last ones up to that number, and "First" to go back from. `types` (1.12.5) filters on the server;
    "Last" is then what was looked through. A `since` beyond the log answers Done with the log's own Last, which is
    smaller. Changes of deleted resources are gone from the log.
    """
    query: dict[str, str | None] = _page(since, limit)
    needs: tuple[Feature, ...] = ()
    if types:
        for kind in types:
            one_of(kind, get_args(ChangeType), "A type of change")
        query["type"] = ";".join(types)
    if to is not None:
        query["to"] = str(_whole(to, "to"))
    if types or to is not None:
        needs = ("extended-changes",)
    return Call("GET", ("changes",), json_object, query=query, needs=needs)


def last() -> Call[Json]:
    """GET /changes?last: as `read`, with the last change only, or none; "Last" is where the log ends."""
    return Call("GET", ("changes",), json_object, query={"last": None})


def clear() -> Call[None]:
    """DELETE /changes: empty the log, for everybody who watches it. Numbers go on where they were."""
    return Call("DELETE", ("changes",), nothing)


def exports(since: int | None = None, limit: int | None = None) -> Call[Json]:
    """GET /exports: {"Exports": [...], "Done", "Last"}: what was sent to modalities and peers.

    Empty unless the server is configured with LogExportedResources (off by default). Entries hold the PatientID.
    """
    return Call("GET", ("exports",), json_object, query=_page(since, limit))


def last_export() -> Call[Json]:
    """GET /exports?last: the last entry only, or none."""
    return Call("GET", ("exports",), json_object, query={"last": None})


def clear_exports() -> Call[None]:
    """DELETE /exports: empty the log."""
    return Call("DELETE", ("exports",), nothing)


def _page(since: int | None, limit: int | None) -> dict[str, str | None]:
    # Orthanc takes a since that is no number for 0, and answers a limit of 0 with nothing and "Done": false, for ever.
    query: dict[str, str | None] = {}
    if since is not None:
        query["since"] = str(_whole(since, "since"))
    if limit is not None:
        if _whole(limit, "limit") < 1:
            raise QueryError("A page needs a limit of at least 1.")
        query["limit"] = str(limit)
    return query


def _whole(value: int, name: str) -> int:
    if not isinstance(value, int) or value < 0:
        raise QueryError(f"{name} is a number of a change, 0 or more.")
    return value


class Changes(Area[M]):
    """`rest.changes`."""

    read = route(changes)
    last = route(last)
    clear = route(clear)


class Exports(Area[M]):
    """`rest.exports`."""

    read = route(exports)
    last = route(last_export)
    clear = route(clear_exports)
