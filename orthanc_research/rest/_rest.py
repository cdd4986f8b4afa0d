"""`Rest` and `AsyncRest`: every route, grouped by area, on one connection."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import IO, Any, Literal, Self

import httpx

from orthanc_research.capabilities import Capabilities
from orthanc_research.errors import QueryError
from orthanc_research.files import atomic_write
from orthanc_research.rest._call import Answer, Async, Call, Sync
from orthanc_research.rest._client import AsyncClient, Client
from orthanc_research.rest._connection import Connection
from orthanc_research.rest.changes import Changes, Exports
from orthanc_research.rest.dicomweb import DicomWeb, awaited_where_loaded, where_loaded
from orthanc_research.rest.jobs import Jobs, SyncJobs
from orthanc_research.rest.modalities import Modalities
from orthanc_research.rest.peers import Peers
from orthanc_research.rest.queries import Queries
from orthanc_research.rest.resources import Instances, Patients, Series, Studies
from orthanc_research.rest.system import System
from orthanc_research.rest.tools import Tools

__all__ = ["AsyncRest", "Rest"]

Method = Literal["GET", "POST", "PUT", "DELETE"]


class Rest:
    """Every route of the REST API on one connection: JSON or bytes in, JSON or bytes out.

    Thread-safe; at most 8 connections. Nothing is sent until a route is called.
    """

    def __init__(self, connection: Connection, *, transport: httpx.BaseTransport | None = None) -> None:
        self.connection = connection
        self.find_caps: dict[str, Any] = {}  # level → what `search` has learnt of this server's finds
        self._client = Client(connection, transport=transport)
        run = self._client.run
        self.patients = Patients[Sync](run)
        self.studies = Studies[Sync](run)
        self.series = Series[Sync](run)
        self.instances = Instances[Sync](run)
        self.tools = Tools[Sync](run)
        self.jobs = SyncJobs(run)
        self.system = System[Sync](run)
        self.modalities = Modalities[Sync](run)
        self.queries = Queries[Sync](run)
        self.peers = Peers[Sync](run)
        self.changes = Changes[Sync](run)
        self.exports = Exports[Sync](run)
        self.dicomweb = DicomWeb[Sync](where_loaded(run))

    def capabilities(self) -> Capabilities:
        """What this server can do: one request the first time, none after."""
        return self._client.capabilities()

    @property
    def known(self) -> Capabilities | None:
        """What this server can do, if it was asked already; nothing is sent."""
        return self._client.known

    def save(self, call: Call[bytes], path: str | os.PathLike[str], *, overwrite: bool = True) -> int:
        """Stream the answer of a binary route to a file, complete or not at all; the number of bytes.

        `overwrite=False` leaves a file that is there.

        >>> rest.save(rest.studies.archive.call(study), "study.zip")  # doctest: +SKIP
        """
        with atomic_write(path, overwrite=overwrite) as sink:
            return self._client.stream(call, sink)

    def stream(self, call: Call[bytes], sink: IO[bytes], on_bytes: Callable[[int], None] | None = None) -> int:
        """Stream the answer of a binary route to an open, seekable file; the number of bytes.

        `on_bytes` is told how many came, as they come.
        """
        return self._client.stream(call, sink, on_bytes=on_bytes)

    def get(self, path: str, **query: str | None) -> Answer:
        """GET any route: `rest.get("/plugins/dicom-web").json()`. A query argument of None is a flag.

        `QueryError` for a path that is none.
        """
        return self._client.run(_free("GET", path, None, query))

    def post(self, path: str, body: Any = None, **query: str | None) -> Answer:
        """POST to any route; a `body` of bytes is sent as it is, any other as JSON. Never sent twice.

        `QueryError` for a path that is none.
        """
        return self._client.run(_free("POST", path, body, query))

    def put(self, path: str, body: Any = None, **query: str | None) -> Answer:
        """PUT to any route; `body` as in `post`. `QueryError` for a path that is none."""
        return self._client.run(_free("PUT", path, body, query))

    def delete(self, path: str, **query: str | None) -> Answer:
        """DELETE any route. `QueryError` for a path that is none."""
        return self._client.run(_free("DELETE", path, None, query))

    @contextmanager
    def counting(self) -> Iterator[list[tuple[str, str]]]:
        """The requests sent within, as (method, target), retries included."""
        with self._client.counting() as seen:
            yield seen

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Rest {self.connection.url}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Rest, (self.connection,)


class AsyncRest:
    """The same routes, awaited: `await rest.tools.find({...})`. Use it with `async with`.

    Its jobs are plain snapshots, without `refresh()` and the other verbs: `await rest.jobs.read(job.id)`.
    """

    def __init__(self, connection: Connection, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.connection = connection
        self._client = AsyncClient(connection, transport=transport)
        run = self._client.run
        self.patients = Patients[Async](run)
        self.studies = Studies[Async](run)
        self.series = Series[Async](run)
        self.instances = Instances[Async](run)
        self.tools = Tools[Async](run)
        self.jobs = Jobs[Async](run)
        self.system = System[Async](run)
        self.modalities = Modalities[Async](run)
        self.queries = Queries[Async](run)
        self.peers = Peers[Async](run)
        self.changes = Changes[Async](run)
        self.exports = Exports[Async](run)
        self.dicomweb = DicomWeb[Async](awaited_where_loaded(run))

    async def capabilities(self) -> Capabilities:
        """As `Rest.capabilities`."""
        return await self._client.capabilities()

    async def request(self, method: Method, path: str, body: Any = None, **query: str | None) -> Answer:
        """Any route with a `body` or none, as `Rest.get`, `post`, `put` and `delete`."""
        return await self._client.run(_free(method, path, body, query))

    @asynccontextmanager
    async def counting(self) -> AsyncIterator[list[tuple[str, str]]]:
        """As `Rest.counting`."""
        async with self._client.counting() as seen:
            yield seen

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncRest {self.connection.url}>"


def _itself(answer: Answer) -> Answer:
    return answer


def _free(method: Method, path: str, body: Any, query: Mapping[str, str | None]) -> Call[Answer]:
    if "?" in path or "#" in path or "://" in path:
        raise QueryError(
            "A path has no '?', '#' or '://': give query arguments by name, and paths relative to Orthanc."
        )
    parts = tuple(part for part in path.split("/") if part)
    if any(part in (".", "..") for part in parts):
        raise QueryError("A path does not climb: '.' and '..' are no routes.")
    content = bytes(body) if isinstance(body, bytes | bytearray | memoryview) else None
    return Call(method, parts, _itself, query=query, content=content, json=None if content is not None else body)
