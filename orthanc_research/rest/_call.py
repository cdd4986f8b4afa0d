"""A route as data: a request and how to read its answer, bound to a client as a method.

A route is one plain function that returns a `Call[T]`. `route` hangs it on an area of `Rest`, where calling it gives
`T`, and on the same area of `AsyncRest`, where it gives `Awaitable[T]`: there is no second copy of any method.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar, overload
from urllib.parse import quote

import orjson

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError, ResponseError

__all__ = [
    "Answer",
    "Area",
    "Async",
    "Bound",
    "Call",
    "Level",
    "Sync",
    "json_contents",
    "json_list",
    "json_object",
    "json_resources",
    "level_route",
    "nothing",
    "raw",
    "route",
    "segment_of",
    "text",
]

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

Level = Literal["Patient", "Study", "Series", "Instance"]
Json = Any

_ORTHANC_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{8}){4}")
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")  # what `quote` leaves as it is
_SEGMENTS: Mapping[str, str] = {"Patient": "patients", "Study": "studies", "Series": "series", "Instance": "instances"}


def segment_of(level: str) -> str:
    """The first segment of a level's routes: "Study" → "studies". `QueryError` for anything else."""
    try:
        return _SEGMENTS[level]
    except (KeyError, TypeError):
        raise QueryError(f"{level!r} is not a level; it is one of {', '.join(_SEGMENTS)}.") from None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status 200 and its body, complete."""

    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Json:
        """The body as JSON; `ResponseError` when it is not."""
        try:
            return orjson.loads(self.content)
        except orjson.JSONDecodeError as error:
            kind = self.headers.get("content-type", "").split(";")[0]
            page = kind == "text/html" or self.content.lstrip()[:1] == b"<"
            raise ResponseError(
                "The server answered with a web page, not with data: is the address right, or is there a login in "
                "front of Orthanc?"
                if page
                else f"The answer of the server is not JSON ({len(self.content)} bytes): it was cut or damaged."
            ) from error


def json_object(answer: Answer) -> dict[str, Json]:
    """The answer as a JSON object."""
    value = answer.json()
    if not isinstance(value, dict):
        raise ResponseError(f"The server answered a {type(value).__name__} where Orthanc answers an object.")
    return value


def json_list(answer: Answer) -> list[Json]:
    """The answer as a JSON array."""
    value = answer.json()
    if not isinstance(value, list):
        raise ResponseError(f"The server answered a {type(value).__name__} where Orthanc answers a list.")
    return value


def json_resources(answer: Answer) -> list[Json]:
    """The answer as a JSON array of resources: objects, each with its ID."""
    return _resources(answer, lambda each: True)


def json_contents(answer: Answer) -> list[Json]:
    """As `json_resources`; each has its type, and a parent where there is a level above."""
    return _resources(answer, lambda each: each.get("Type") == "Patient" or isinstance(each.get(_parent(each)), str))


def _resources(answer: Answer, whole: Callable[[dict[str, Json]], bool]) -> list[Json]:
    value = json_list(answer)
    if not all(isinstance(each, dict) and isinstance(each.get("ID"), str) and whole(each) for each in value):
        raise ResponseError("The server answered something else where Orthanc answers resources, each with its ID.")
    return value


def _parent(value: Mapping[str, Json]) -> str:
    return {"Study": "ParentPatient", "Series": "ParentStudy"}.get(str(value.get("Type")), "ParentSeries")


def text(answer: Answer) -> str:
    """The answer as text."""
    return answer.content.decode("utf-8", "replace")


def raw(answer: Answer) -> bytes:
    """The answer as bytes."""
    return answer.content


def nothing(answer: Answer) -> None:
    """The answer does not matter."""


@dataclass(frozen=True, slots=True, repr=False)
class Call(Generic[T]):
    """One request and how to read its answer.

    `path` holds the segments unquoted: each is quoted on its own, so that no value can leave its segment. `query`
    values of None are flags (Orthanc looks at their presence only: `?short=false` means true). `repeat` says whether
    the request may be sent again when its outcome is unknown: Orthanc's GET and DELETE, and those POSTs that only
    read or that store a file twice as once. `binary` asks for the bytes as they are (Orthanc 1.10.1 compresses DICOM
    for clients that allow it, at a tenth of the speed, and short answers, which gain nothing). `patience` is the read
    time-out in seconds, where the connection's own is too short; None leaves that. `needs` are features without which
    the request is not sent.
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: tuple[str, ...]
    parse: Callable[[Answer], T]
    query: Mapping[str, str | None] = field(default_factory=dict)
    json: Json = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeat: bool = False
    binary: bool = False
    patience: float | None = None
    needs: tuple[Feature, ...] = ()

    @property
    def target(self) -> str:
        """The path and query as sent, relative to the base address.

        "," and ";" stay as they are: Orthanc 1.12.7 does not decode them within a list of values (400).
        """
        for part in self.path:
            # Dots are not quoted, and a server or a proxy climbs by them; nothing at all is another route.
            if not isinstance(part, str) or part in ("", ".", ".."):
                raise QueryError(f"{self.label} needs a text for each part of its path, and not '.' or '..'.")
        path = "/".join(
            part if _PLAIN.fullmatch(part) else quote(part, safe="", errors="replace") for part in self.path
        )
        flags = [
            quote(k, safe="") if v is None else f"{quote(k, safe='')}={quote(v, safe=',;')}" for k, v in self.items
        ]
        return path + ("?" + "&".join(flags) if flags else "")

    @property
    def items(self) -> list[tuple[str, str | None]]:
        """The query arguments in order."""
        return list(self.query.items())

    @property
    def label(self) -> str:
        """Method and path for messages: the route, without what was put into it (a PatientID by mistake, perhaps)."""
        hidden = {1} if self.path[0] in _SEGMENTS.values() else set()
        hidden |= {i + 1 for i, part in enumerate(self.path) if part in ("labels", "content")}
        parts = [
            "…" if i in hidden or _ORTHANC_ID.fullmatch(str(part)) else str(part) for i, part in enumerate(self.path)
        ]
        return f"{self.method} /{'/'.join(parts)}"

    def __repr__(self) -> str:
        return f"<Call {self.label}>"

    @property
    def repeatable(self) -> bool:
        """True when sending it again does no harm."""
        return self.repeat or self.method in ("GET", "DELETE", "PUT")


class Sync:
    """Marks areas whose routes answer at once."""


class Async:
    """Marks areas whose routes are awaited."""


M = TypeVar("M", Sync, Async)


class Area(Generic[M]):
    """A group of routes on one client."""

    def __init__(self, run: Callable[[Call[Any]], Any]) -> None:
        self._run = run


class Bound(Generic[P, T, R]):
    """A route on a client. `route(...)` sends it; `route.call(...)` is the request as data, sent by nobody."""

    def __init__(self, build: Callable[P, Call[T]], run: Callable[[Call[Any]], Any]) -> None:
        self._build = build
        self._run = run
        functools.update_wrapper(self, build)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        answer: R = self._run(self.call(*args, **kwargs))
        return answer

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """The request as data, to be given to `Rest.save`, say. `QueryError` for arguments of the wrong kind."""
        try:
            built = self._build(*args, **kwargs)
            _ = built.target  # what cannot be sent is refused before anything is, the look at /system included
            return built
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            if isinstance(error, QueryError):
                raise
            # A missing or unknown argument stays Python's own TypeError; the text of others may hold their values.
            inspect.signature(self._build, follow_wrapped=False).bind(*args, **kwargs)
            name = getattr(self._build, "__name__", "this route")
            raise QueryError(f"{name}: an argument is not of the kind that it takes.") from None

    def __repr__(self) -> str:
        return f"<route {getattr(self._build, '__name__', '?')}>"


class route(Generic[P, T]):
    """Hang a function that returns a `Call[T]` on an area."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, area: None, owner: type) -> Self: ...
    @overload
    def __get__(self, area: Area[Sync], owner: type) -> Bound[P, T, T]: ...
    @overload
    def __get__(self, area: Area[Async], owner: type) -> Bound[P, T, Awaitable[T]]: ...
    def __get__(self, area: Area[Any] | None, owner: type) -> Any:
        return self if area is None else Bound(self._build, area._run)


class LevelArea(Area[M]):
    """A group of routes at one level."""

    level: Level


class level_route(Generic[P, T]):
    """As `route`, for a function whose first argument is the level of the area."""

    def __init__(self, build: Callable[Concatenate[Level, P], Call[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, area: None, owner: type) -> Self: ...
    @overload
    def __get__(self, area: LevelArea[Sync], owner: type) -> Bound[P, T, T]: ...
    @overload
    def __get__(self, area: LevelArea[Async], owner: type) -> Bound[P, T, Awaitable[T]]: ...
    def __get__(self, area: LevelArea[Any] | None, owner: type) -> Any:
        if area is None:
            return self
        build: Any = functools.partial(self._build, area.level)
        functools.update_wrapper(build, self._build)
        return Bound(build, area._run)
