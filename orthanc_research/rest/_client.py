"""Sending calls: one client for threads, one for asyncio, over the same rules.

Both check features first, send, read the whole body under a deadline, map every failure and retry by policy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import IO, Any, TypeVar, cast

import httpx
import orjson

from orthanc_research.capabilities import Capabilities
from orthanc_research.errors import DeadlineError, NotFoundError, OrthancError, QueryError, ResponseError
from orthanc_research.rest._call import Answer, Call, json_object
from orthanc_research.rest._connection import Connection
from orthanc_research.rest._errors import TRANSIENT, mapped, refusal
from orthanc_research.rest._quiet import quiet
from orthanc_research.rest._retry import Policy, retry_after
from orthanc_research.rest._transport import DirectTransport, Outgoing

__all__ = ["AsyncClient", "Client", "Hook"]

T = TypeVar("T")
Hook = Callable[[str, str], None]

# Orthanc keeps 50 threads for HTTP and gives idle connections one each: a client that opens 100 starves the others.
CONNECTIONS = 8
# Orthanc closes idle connections after 1 s; one that is reused at that very moment breaks.
KEEP_ALIVE = 0.5
CONNECT = 5.0
# A body that is kept as a whole comes as one piece, and is copied no further; memory is taken as it arrives.
WHOLE = 1 << 30
# A body may take 30 s and then a second per kB: what is slower is not coming.
GRACE = 30.0
SLOWEST = 1000.0

SYSTEM: Call[dict[str, Any]] = Call("GET", ("system",), json_object)


def limits() -> httpx.Limits:
    """How many connections, and for how long, on httpx's own transports."""
    return httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=KEEP_ALIVE)


class _Base:
    """What both clients share: options for httpx, the request for a call, the judgement on an answer."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.policy = Policy()
        self.hooks: list[Hook] = []
        self._anonymous = connection.basic_auth() is None and connection.token is None
        self._capabilities: Capabilities | None = None
        self._closed = False

    def _options(self) -> dict[str, Any]:
        c = self.connection
        return {
            "base_url": c.url + "/",
            "headers": c.request_headers(),
            "limits": limits(),
            "follow_redirects": False,
            "trust_env": c.trust_env,
        }

    def _arguments(self, call: Call[Any]) -> dict[str, Any]:
        headers = dict(call.headers)
        content = call.content
        if call.binary:
            headers["Accept-Encoding"] = "identity"
        if call.json is not None:
            content = orjson.dumps(call.json)
            headers["Content-Type"] = "application/json"
        if self._closed:
            raise QueryError("This client is closed; make a new one.")
        for hook in self.hooks:
            hook(call.method, call.target)
        return {"method": call.method, "content": content, "headers": headers, "timeout": self._patience(call)}

    def _patience(self, call: Call[Any]) -> httpx.Timeout:
        longer = max(call.patience or 0.0, self.connection.timeout)
        usual = self.connection.timeout
        return httpx.Timeout(usual, connect=min(CONNECT, usual), read=longer, pool=None)

    def _judge(self, call: Call[Any], response: httpx.Response, body: bytes) -> None:
        self.policy.reached = True
        if response.is_success:
            self.policy.budget.earn()
            return
        error = refusal(call, response.status_code, response.headers, body, anonymous=self._anonymous)
        error.retry_after = retry_after(response.headers.get("retry-after"))  # type: ignore[attr-defined]
        raise error

    def _done(self, call: Call[T], answer: Answer) -> T:
        try:
            return call.parse(answer)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            if isinstance(error, QueryError):
                raise
            raise ResponseError(f"The answer to {call.label} is not what Orthanc answers.") from error

    def _gone(self, call: Call[Any], error: NotFoundError, attempt: int) -> Answer:
        # A DELETE that broke off and now finds nothing has done its work.
        if call.method == "DELETE" and attempt > 1:
            return Answer(b'{"RemainingAncestor": null}')
        raise error


class _Clock:
    """The deadline of a body: so many seconds, and more as bytes arrive."""

    def __init__(self, call: Call[Any], timeout: float) -> None:
        self._call = call
        self._grace = max(GRACE, call.patience or 0.0, timeout if timeout > 60.0 else 0.0)
        self._start = time.monotonic()
        self._bytes = 0

    def count(self, chunk: bytes) -> bytes:
        self._bytes += len(chunk)
        if time.monotonic() - self._start > self._grace + self._bytes / SLOWEST:
            raise DeadlineError(
                f"The answer to {self._call.label} trickles; {self._bytes} bytes came, then time was up."
            )
        return chunk


class Client(_Base):
    """Sends calls on one httpx.Client; safe to share between threads, and inside a running event loop."""

    def __init__(self, connection: Connection, *, transport: httpx.BaseTransport | None = None) -> None:
        super().__init__(connection)
        # Proxies from the environment are httpx's business.
        if transport is None and not connection.trust_env:
            transport = direct(connection)
        tls = connection.tls() if transport is None else False
        self._http = httpx.Client(**self._options(), verify=tls, transport=transport)
        # httpx.Client adds 0.2 ms to each request, for what is not wanted here: redirects, auth flows, logs.
        self._send = partial(self._http.send, stream=True) if transport is None else transport.handle_request
        self._direct = transport if type(transport) is DirectTransport else None  # not one that is wrapped
        self._usual = Outgoing.of(httpx.Request("GET", connection.url, headers=self._http.headers))
        self._lock = threading.Lock()

    def run(self, call: Call[T]) -> T:
        """Send the call and read its answer; every failure is one of `orthanc_research.errors`."""
        self._gate(call)
        return self._done(call, self._repeat(call, self._attempt))

    def stream(self, call: Call[Any], sink: IO[bytes], *, on_bytes: Callable[[int], None] | None = None) -> int:
        """Write the body to `sink` as it comes; the number of bytes. A retry starts the sink again."""
        self._gate(call)
        start = sink.tell()

        def attempt(call: Call[Any]) -> Answer:
            sink.seek(start)
            sink.truncate()
            for chunk in self._body(call):
                sink.write(chunk)
                if on_bytes is not None:
                    on_bytes(len(chunk))
            return Answer(b"")

        self._repeat(call, attempt)
        return sink.tell() - start

    @property
    def known(self) -> Capabilities | None:
        """What the server can do, if it was asked already; nothing is sent."""
        return self._capabilities

    def capabilities(self) -> Capabilities:
        """What the server can do: one request the first time, none after."""
        with self._lock:
            if self._capabilities is None:
                with _orthanc_expected():
                    self._capabilities = Capabilities.from_system(self._repeat(SYSTEM, self._attempt).json())
            return self._capabilities

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._http.close()

    def _gate(self, call: Call[Any]) -> None:
        for feature in call.needs:
            self.capabilities().require(feature)

    def _repeat(self, call: Call[Any], attempt: Callable[[Call[Any]], Answer]) -> Answer:
        for trial in self.policy.loop(call):
            with trial:
                try:
                    return attempt(call)
                except NotFoundError as error:
                    return self._gone(call, error, trial.retry_state.attempt_number)
        raise AssertionError("tenacity ends by returning or raising")

    def _attempt(self, call: Call[Any]) -> Answer:
        with self._exchange(call, {"chunk": WHOLE}) as response:
            clock = _Clock(call, self.connection.timeout)
            content = b"".join([clock.count(chunk) for chunk in _decoded(response)])
            self._judge(call, response, content)
            return Answer(content, response.headers)

    def _body(self, call: Call[Any]) -> Iterator[bytes]:
        with self._exchange(call) as response:
            if not response.is_success:
                self._judge(call, response, response.read())
            clock = _Clock(call, self.connection.timeout)
            for chunk in _decoded(response):
                yield clock.count(chunk)
            self._judge(call, response, b"")

    @contextmanager
    def _exchange(self, call: Call[Any], extensions: Mapping[str, Any] | None = None) -> Iterator[httpx.Response]:
        """Send the request and hold its answer open; its cookies are kept (a load balancer's, say)."""
        with quiet(), mapped(call, self.connection.url):
            given = {**self._arguments(call), "extensions": extensions or {}}
            # Which cookies are for this address is httpx's business.
            if self._direct is None or self._http.cookies:
                response = self._send(self._request(call, given))
            else:
                response = self._direct.send(self._outgoing(call, given))
            try:
                if "set-cookie" in response.headers:
                    response.request = self._request(call, given)
                    self._http.cookies.extract_cookies(response)
                yield response
            finally:
                response.close()

    def _request(self, call: Call[Any], given: Mapping[str, Any]) -> httpx.Request:
        headers = self._http.headers
        if given["headers"]:
            headers = headers.copy()
            headers.update(given["headers"])
        return httpx.Request(
            call.method,
            f"{self.connection.url}/{call.target}",
            headers=headers,
            cookies=self._http.cookies,
            content=given["content"],
            extensions={"timeout": given["timeout"].as_dict(), **given["extensions"]},
        )

    def _outgoing(self, call: Call[Any], given: Mapping[str, Any]) -> Outgoing:
        """As `_request`, for our own transport."""
        usual, content = self._usual, given["content"] or b""
        headers = {name.lower(): (name, value) for name, value in usual.headers}
        for name, value in given["headers"].items():
            field = name.encode("ascii")
            headers[field.lower()] = field, value.encode("ascii")
        if content or call.method in ("POST", "PUT"):
            headers[b"content-length"] = b"Content-Length", b"%d" % len(content)
        return Outgoing(
            call.method,
            usual.origin,
            usual.target.rstrip(b"/") + b"/" + call.target.encode("ascii"),
            list(headers.values()),
            content,
            {"timeout": given["timeout"].as_dict(), **given["extensions"]},
        )

    @contextmanager
    def counting(self) -> Iterator[list[tuple[str, str]]]:
        """The requests sent within, as (method, target); retries count."""
        with _listening(self.hooks) as seen:
            yield seen


def _decoded(response: httpx.Response) -> Iterable[bytes]:
    """The body; bytes that nobody compressed as they come, without httpx's three generators around each."""
    if "content-encoding" in response.headers:
        return response.iter_bytes()
    return cast(httpx.SyncByteStream, response.stream)


def direct(connection: Connection) -> DirectTransport:
    """Our own transport for this connection."""
    tls = None
    if connection.url.startswith("https:"):
        tls = httpx.create_ssl_context(connection.tls())
        tls.set_alpn_protocols(["http/1.1"])
    return DirectTransport(tls, connections=CONNECTIONS, keep_alive=KEEP_ALIVE)


class AsyncClient(_Base):
    """Sends calls on one httpx.AsyncClient."""

    def __init__(self, connection: Connection, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(connection)
        self._http = httpx.AsyncClient(**self._options(), verify=connection.tls(), transport=transport)

    async def run(self, call: Call[T]) -> T:
        """As `Client.run`, awaited."""
        for feature in call.needs:
            (await self.capabilities()).require(feature)
        return self._done(call, await self._repeat(call))

    async def capabilities(self) -> Capabilities:
        """As `Client.capabilities`, awaited."""
        if self._capabilities is None:
            with _orthanc_expected():
                self._capabilities = Capabilities.from_system((await self._repeat(SYSTEM)).json())
        return self._capabilities

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        await self._http.aclose()

    async def _repeat(self, call: Call[Any]) -> Answer:
        async for trial in self.policy.async_loop(call):
            with trial:
                try:
                    return await self._attempt(call)
                except NotFoundError as error:
                    return self._gone(call, error, trial.retry_state.attempt_number)
        raise AssertionError("tenacity ends by returning or raising")

    async def _attempt(self, call: Call[Any]) -> Answer:
        with quiet(), mapped(call, self.connection.url):
            async with self._http.stream(url=call.target, **self._arguments(call)) as response:
                clock = _Clock(call, self.connection.timeout)
                content = b"".join([clock.count(chunk) async for chunk in response.aiter_bytes()])
                self._judge(call, response, content)
                return Answer(content, response.headers)

    @asynccontextmanager
    async def counting(self) -> AsyncIterator[list[tuple[str, str]]]:
        """As `Client.counting`."""
        with _listening(self.hooks) as seen:
            yield seen


@contextmanager
def _orthanc_expected() -> Iterator[None]:
    try:
        yield
    except NotFoundError as error:
        raise ResponseError(
            "A server answers, but there is no Orthanc at this address: is a path missing, or one too many?"
        ) from error


@contextmanager
def _listening(hooks: list[Hook]) -> Iterator[list[tuple[str, str]]]:
    seen: list[tuple[str, str]] = []

    def hook(method: str, target: str) -> None:
        seen.append((method, target))

    hooks.append(hook)
    try:
        yield seen
    finally:
        hooks.remove(hook)


def is_unknown_outcome(error: OrthancError) -> bool:
    """True when a request may or may not have been carried out: look before sending it again."""
    if isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return False
    if error.status == 500 and error.orthanc_status is not None:
        return error.orthanc_status in TRANSIENT  # the rest of Orthanc's 500s are verdicts: an unknown tag, say
    return error.status is None or error.status in (408, 500, 502, 503, 504)


def is_server_gone(error: OrthancError) -> bool:
    """True when not even a connection could be made: the rest of a batch would fail the same way."""
    return isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout)
