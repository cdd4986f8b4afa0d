"""The same task for many units, wherever an executor runs it: so many at a time on each server, on workers that fit.

    driver                                     workers: threads, processes, other machines
    queue of each server ─► at most its cap ─► is this one fit? ─► the task ─► a row
         ▲─────────────── once more ──────────────────────────────────┘

The cap is kept by the driver, which hands out no more tasks of a server than it may have, each with its share of the
requests: nothing has to be agreed on between the workers, and any `concurrent.futures` executor will do.
"""

from __future__ import annotations

import copy
import os
import secrets
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar, cast

from pydicom.uid import UID

from orthanc_research.deid import Key
from orthanc_research.errors import DeidError, QueryError
from orthanc_research.files import partial_in
from orthanc_research.parallel import Outcome
from orthanc_research.pixels._codecs import CODECS, available
from orthanc_research.progress import Progress
from orthanc_research.rest import Connection

__all__ = ["Needs", "Unfit", "executor_of", "needs", "on_threads", "share", "spread", "travels"]

T = TypeVar("T")
R = TypeVar("R")
_LOOK = 0.2  # seconds between looks at whether the user wants to stop
_SAME = ("orthanc-research", "pydicom", "numpy")  # what the values of pixels and tables come from


class Unfit(Exception):
    """This worker cannot do a task as the driver would; another one may."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a worker must have to do as the driver does: versions, decoders, a view of the folder, and the secrets."""

    versions: Mapping[str, str]
    decoders: frozenset[str]
    seen: str = ""  # a file that only who shares the folder sees
    connections: tuple[Connection, ...] = field(default=(), repr=False)
    key: tuple[str, str] | None = None  # the variable that holds it, and its id

    def lacks(self) -> str:
        """Why what does not decode in this worker may decode in another; "" where this one has all decoders."""
        missing = sorted(self.decoders - _decoders())
        return f"Its worker lacks the decoder {', '.join(missing)}; install it there." if missing else ""

    def check(self) -> None:
        """`Unfit` with the reason, in the worker. Decoders are another matter: not every series needs them."""
        for name, wanted in self.versions.items():
            found = _version(name)
            if found != wanted:
                raise Unfit(
                    f"Its worker has {name} {found or 'not at all'}, and here is {wanted}; install the same there."
                )
        if self.seen and not Path(self.seen).is_file():
            raise Unfit("Its worker does not see the folder that is written to; it must be on a file system of all.")
        for connection in self.connections:
            try:
                connection.request_headers()
            except QueryError as error:
                raise Unfit(f"Its worker cannot log in to Orthanc: {error}") from None
        if self.key is not None:
            self.secret()

    def secret(self) -> str:
        """The key, from the environment of this worker; `Unfit` where that holds none, or another."""
        variable, key_id = self.key or ("", "")
        text = os.environ.get(variable, "").strip()
        if not text:
            raise Unfit(f"Its worker has no environment variable {variable}, which holds the key.")
        try:
            found = Key.parse(text).id
        except DeidError:
            found = ""
        if found != key_id:
            raise Unfit(f"{variable} of its worker holds another key than the project's.")
        return text


@contextmanager
def needs(
    folder: Path | None, connections: Iterable[Connection], key: tuple[str, str] | None = None
) -> Generator[Needs, None, None]:
    """What workers need for writing into `folder`, with a file in it that they look for while the block lasts."""
    versions = {name: found for name in _SAME if (found := _version(name))}
    once = tuple({each.url: each for each in connections}.values())
    if folder is None:
        yield Needs(versions, _decoders(), connections=once, key=key)
        return
    seen = partial_in(folder)
    seen.touch(0o600)
    try:
        yield Needs(versions, _decoders(), str(seen.resolve()), once, key)
    finally:
        seen.unlink(missing_ok=True)


def travels(connection: Connection) -> bool:
    """Whether a copy in another process can log in: its secrets are references to the environment."""
    return not copy.copy(connection).stripped  # a copy is made as by a pickle


def on_threads(executor: Any) -> bool:
    """Whether tasks stay in this process; what only looks like a pool of threads may send them anywhere.

    `QueryError` for what is no executor: it is asked first, before what other processes need.
    """
    if not isinstance(executor, Executor) and not hasattr(executor, "get_executor"):
        raise QueryError("executor is one of concurrent.futures, or a Dask client.")
    return type(executor) is ThreadPoolExecutor


def executor_of(given: Any, wanted: Needs | None, progress: Progress) -> Executor:
    """The executor, where workers that are not fit take no part as far as it can be told before: of Dask.

    A Dask `Client` will do as well as what its `get_executor()` gives.
    """
    client = given if hasattr(given, "get_executor") else getattr(given, "_client", None)
    if hasattr(client, "get_executor") and hasattr(client, "run"):
        return _of_dask(client, given, wanted, progress)
    return cast("Executor", given)


def _of_dask(client: Any, given: Any, wanted: Needs | None, progress: Progress) -> Executor:
    found = client.run(_fit, wanted, on_error="return") if wanted is not None else {}
    reasons = {where: reason for where, reason in found.items() if reason}  # an exception where it cannot even be asked
    if reasons:
        progress.note(f"{len(found) - len(reasons)} of {len(found)} workers are fit")
    if not reasons or len(reasons) == len(found):  # then it is in every row
        return cast("Executor", given if isinstance(given, Executor) else client.get_executor(pure=False))
    fit = [where for where in found if where not in reasons]
    return cast("Executor", client.get_executor(pure=False, workers=fit, allow_other_workers=False))


def _fit(wanted: Needs) -> str:
    try:
        wanted.check()
    except Unfit as reason:
        return str(reason)
    return wanted.lacks()


def share(executor: Executor, cap: int) -> tuple[int, int]:
    """(tasks at a time, requests at a time of each) for a server that may have `cap` requests at a time from all."""
    client = getattr(executor, "_client", None)
    width = getattr(executor, "_max_workers", None)
    if client is not None:
        with suppress(Exception):  # another kind of client
            width = sum(client.nthreads().values())
    at_once = min(cap, width) if isinstance(width, int) and width > 0 else cap
    return at_once, max(1, cap // at_once)


def spread(
    executor: Executor,
    work: Callable[[T], R],
    units: Iterable[T],
    *,
    server: Callable[[T], Hashable],
    at_once: Mapping[Hashable, int],
    again: Callable[[Outcome[T, R]], bool],
    progress: Progress,
) -> Generator[Outcome[T, R], None, None]:
    """Do `work(unit)` for all; yield an `Outcome` a unit, as they end.

    At most `at_once` units of a `server` are with the executor; what `again` says of is done once more, after the
    others. When `progress.cancelled` turns true no further unit starts; those with the executor end and are yielded. A
    worker that dies, and an executor that takes nothing more, are the error of their units.
    """
    run = secrets.token_hex(8)  # a scheduler that knows a task by its arguments must not take it for an earlier one
    queues: dict[Hashable, deque[tuple[T, int]]] = {}
    for unit in units:
        queues.setdefault(server(unit), deque()).append((unit, 0))
    running: dict[Future[R], tuple[T, int]] = {}
    busy = dict.fromkeys(queues, 0)
    while True:
        for name, queue in queues.items():
            while queue and busy[name] < at_once[name] and not progress.cancelled:
                unit, tries = queue.popleft()
                try:
                    running[executor.submit(partial(_once, work, unit), f"{run}-{tries}")] = (unit, tries)
                    busy[name] += 1
                except Exception as error:  # noqa: BLE001 - each executor has its own for being broken
                    yield Outcome(unit, error=error)
        if not running:
            return
        ended, _ = wait_for(running, _LOOK, "FIRST_COMPLETED")
        for future in ended:
            unit, tries = running.pop(future)
            busy[server(unit)] -= 1
            outcome = _outcome(unit, future)
            if not tries and not progress.cancelled and again(outcome):
                queues[server(unit)].append((unit, 1))
            else:
                yield outcome


def _once(work: Callable[[T], R], unit: T, run: str) -> R:
    """`run` makes each try a task of its own."""
    return work(unit)


def _outcome(unit: T, future: Future[R]) -> Outcome[T, R]:
    try:
        return Outcome(unit, result=future.result())
    except Exception as error:  # noqa: BLE001 - each executor has its own for a worker that died
        return Outcome(unit, error=error)


@cache
def _decoders() -> frozenset[str]:
    """The packages that decode something here."""
    return frozenset(codec.package for syntax, codec in CODECS.items() if available(UID(syntax)))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
