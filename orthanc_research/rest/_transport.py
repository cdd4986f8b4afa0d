"""The wire of the sync client: HTTP/1.1 on a few pooled sockets, as strict as httpx and at a third of its cost.

httpx's own transport hands a body on in pieces of 64 kB, through four layers: a CT slice costs it six times the
processor time of a plain loop. Here an answer in Orthanc's usual form, a head in one piece and a body of known length,
goes from the socket into the bytes that are handed out; any other is read by h11, the parser of httpx. Every failure is
the httpx exception that httpx's own transport raises for it: `docs/decisions/0009-own-transport.md`.
"""

from __future__ import annotations

import io
import math
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import h11
import httpx

from orthanc_research.errors import CancelledError
from orthanc_research.parallel import UNWANTED, unwanted

__all__ = ["DirectTransport", "Outgoing"]

# What is handed out at once, unless the request's extension "chunk" says otherwise.
CHUNK = 1 << 20
# Seconds after which a standstill is looked into: does anybody still wait for it?
SLICE = 0.5
# Seconds after which a chunk is handed out as far as it came, for who counts what trickles.
PATIENCE = 1.0
_PIECE = 1 << 16
_LARGEST_HEAD = 100 << 10  # as httpx

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_NAME = re.compile(_TOKEN)
_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_USUAL = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9]{2})(?: [\t -~\x80-\xff]*)?\r\n"
    rb"(" + _TOKEN + rb":[\t -~\x80-\xff]*(?:\r\n" + _TOKEN + rb":[\t -~\x80-\xff]*)*)\r\n\r\n"
)

T = TypeVar("T")
Headers = list[tuple[bytes, bytes]]
Origin = tuple[str, str, int]
Timeouts = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as it is sent; httpx.Request takes its address apart anew for each, which costs more than the rest."""

    method: str
    origin: Origin
    target: bytes  # path and query
    headers: Headers
    content: bytes
    extensions: Mapping[str, Any]

    @classmethod
    def of(cls, request: httpx.Request) -> Self:
        """The same request."""
        url = request.url
        origin = url.scheme, url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)
        return cls(request.method, origin, url.raw_path, request.headers.raw, request.read(), request.extensions)


class DirectTransport(httpx.BaseTransport):
    """Straight to the server, without a proxy; safe to share between threads.

    At most `connections` are open; who needs one more waits. One that was idle for `keep_alive` seconds, or that the
    server has closed, is not used again.
    """

    def __init__(self, tls: ssl.SSLContext | None, *, connections: int, keep_alive: float) -> None:
        self._tls = tls
        self._keep_alive = keep_alive
        self._places = threading.BoundedSemaphore(connections)
        self._idle: list[_Line] = []  # the longest idle one first
        self._guard = threading.Lock()
        self._closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it; the answer's body is read as its stream is iterated."""
        return self.send(Outgoing.of(request))

    def send(self, request: Outgoing) -> httpx.Response:
        """As `handle_request`."""
        timeouts: Timeouts = request.extensions.get("timeout", {})
        self._take_place(timeouts.get("pool"))
        line = None
        try:
            line = self._rested(request.origin) or _Line(request.origin, self._tls, timeouts.get("connect"))
            _check_wanted()
            exchange = _Exchange(self, line, request, timeouts)
            status, headers = exchange.answer()
        except BaseException:
            self.release(line, again=False)
            raise
        return httpx.Response(status, headers=headers, stream=exchange)

    def _take_place(self, timeout: float | None) -> None:
        end = math.inf if timeout is None else time.monotonic() + timeout
        while not self._places.acquire(timeout=max(min(SLICE, end - time.monotonic()), 0.0)):
            _check_wanted()
            if time.monotonic() >= end:
                raise httpx.PoolTimeout("All connections are busy.")

    def release(self, line: _Line | None, *, again: bool) -> None:
        """A connection is done with; keep it when it can serve `again`."""
        with self._guard:
            keep = line is not None and again and not self._closed
            if line is not None and keep:
                line.since = time.monotonic()
                self._idle.append(line)
        if line is not None and not keep:
            line.socket.close()
        self._places.release()

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it is done with."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for line in idle:
            line.socket.close()

    def _rested(self, origin: Origin) -> _Line | None:
        """The connection that was used last, if it is still good."""
        expired = time.monotonic() - self._keep_alive
        with self._guard:
            while self._idle and self._idle[0].since < expired:
                self._idle.pop(0).socket.close()
            while self._idle:
                line = self._idle.pop()
                # Nothing is due on an idle connection: what can be read is its end, or nonsense.
                if line.origin == origin and not _readable(line.socket):
                    return line
                line.socket.close()
        return None


class _Line:
    """One connection."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None, timeout: float | None) -> None:
        scheme, host, port = self.origin = origin
        self.since = 0.0
        with _as(httpx.ConnectTimeout, httpx.ConnectError):
            self.socket = socket.create_connection((host, port), timeout)
            try:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if scheme == "https":
                    context = tls or httpx.create_ssl_context()
                    self.socket = context.wrap_socket(self.socket, server_hostname=host)
            except BaseException:
                self.socket.close()
                raise

    def patiently(self, operation: Callable[..., T], *arguments: Any, timeout: float | None) -> T:
        """An operation of the socket that may stand still for so many seconds.

        `CancelledError` when nobody waits for it any more: who presses Ctrl-C waits for no server.
        """
        begun = time.monotonic()
        self._slice(SLICE if timeout is None else min(SLICE, timeout))
        while True:
            try:
                return operation(*arguments)
            except TimeoutError:
                _check_wanted()
                left = SLICE if timeout is None else timeout - (time.monotonic() - begun)
                if left <= 0:
                    raise
                self._slice(min(SLICE, left))

    def _slice(self, seconds: float) -> None:
        if self.socket.gettimeout() != seconds:  # a system call only where that is another number
            self.socket.settimeout(seconds)


class _Exchange(httpx.SyncByteStream):
    """One request and its answer; iterated, the body."""

    def __init__(self, pool: DirectTransport, line: _Line, request: Outgoing, timeouts: Timeouts) -> None:
        self._pool = pool
        self._line = line
        self._request = request
        self._timeouts = timeouts
        self._chunks: Iterator[bytes] = iter(())
        self._again = False  # whether the connection can serve another request
        self._open = True

    def answer(self) -> tuple[int, Headers]:
        """Send the request; status and headers of the answer."""
        whole = False
        with suppress(httpx.WriteError):  # a server that refuses early may stop reading: its answer says why
            self._send()
            whole = True
        data = self._receive()
        usual = _usual(data) if whole and self._request.method != "HEAD" else None
        if usual is None:
            return self._by_h11(data, whole)
        status, headers, start, length, stays = usual
        self._chunks = self._plain(data[start:], length, stays)
        return status, headers

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        """Give the connection back; one whose answer was not read to its end is closed."""
        if self._open:
            self._open = False
            self._pool.release(self._line, again=self._again)

    def _send(self) -> None:
        head, body = _written(self._request), self._request.content
        small, patience = len(body) <= _PIECE, self._timeouts.get("write")
        for data in (head + body,) if small else (head, body):
            left = memoryview(data)
            # Piece by piece: the time-out of sendall() is for everything, and here it is for a standstill.
            with _as(httpx.WriteTimeout, httpx.WriteError):
                while left:
                    left = left[self._line.patiently(self._line.socket.send, left, timeout=patience) :]

    def _receive(self) -> bytes:
        with _as(httpx.ReadTimeout, httpx.ReadError):
            return self._line.patiently(self._line.socket.recv, _PIECE, timeout=self._timeouts.get("read"))

    def _plain(self, came: bytes, length: int, stays: bool) -> Iterator[bytes]:
        """A body of known length, of which the beginning has come with the head."""
        if len(came) >= length:
            self._again = stays and len(came) == length
            yield came[:length]
            return
        body = _Body(self._line, came, length, self._timeouts.get("read"))
        reader = io.BufferedReader(body, _PIECE >> 3)  # it fills new bytes straight from the socket
        most: int = self._request.extensions.get("chunk", CHUNK)
        done = 0
        while done < length:
            body.due = None
            chunk = reader.read(min(most, length - done))
            if chunk == b"":
                raise httpx.RemoteProtocolError(f"The body ended after {done} of {length} bytes.")
            if chunk:
                done += len(chunk)
                yield chunk
        self._again = stays

    def _by_h11(self, data: bytes, whole: bool) -> tuple[int, Headers]:
        """Any other answer: what has come of it is given to h11, which is told what was sent."""
        request, http = self._request, h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEAD)
        http.send(h11.Request(method=request.method, target=request.target, headers=request.headers))
        if whole:
            http.send(h11.Data(request.content))
            http.send(h11.EndOfMessage())
        events = self._events(http, data)
        while not isinstance(event := next(events), h11.Response):
            pass  # 1xx
        self._chunks = self._data(http, events)
        return event.status_code, event.headers.raw_items()

    def _data(self, http: h11.Connection, events: Iterator[Any]) -> Iterator[bytes]:
        while isinstance(event := next(events), h11.Data):
            yield bytes(event.data)
        done = http.our_state is h11.DONE and http.their_state is h11.DONE
        self._again = done and not http.trailing_data[0]

    def _events(self, http: h11.Connection, data: bytes) -> Iterator[Any]:
        read = self._timeouts.get("read")
        due = None if read is None else time.monotonic() + read
        while True:
            if not data and http.their_state is h11.SEND_RESPONSE:
                raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
            try:
                http.receive_data(data)
                while (event := http.next_event()) is not h11.NEED_DATA:
                    yield event
            except h11.RemoteProtocolError as error:
                raise httpx.RemoteProtocolError(str(error)) from error
            # Each byte of a head may be in time, and the head never come; a body is its reader's to count.
            if due is not None and http.their_state is h11.SEND_RESPONSE and time.monotonic() > due:
                raise httpx.ReadTimeout("The head of the answer trickles.")
            data = self._receive()


def _written(request: Outgoing) -> bytes:
    """The head of a request; httpx.LocalProtocolError for what would be another request, or none."""
    fields = request.headers
    if not all(_NAME.fullmatch(n) and n.lower() != b"transfer-encoding" and _VALUE.fullmatch(v) for n, v in fields):
        raise httpx.LocalProtocolError("A header cannot be sent.")
    lines = [request.method.encode("ascii") + b" " + request.target + b" HTTP/1.1"]
    return b"\r\n".join([*lines, *(name + b": " + value for name, value in fields), b"", b""])


def _usual(data: bytes) -> tuple[int, Headers, int, int, bool] | None:
    """(status, headers, where the body starts, its length, whether the connection stays); None for another form."""
    head = _USUAL.match(data)
    if head is None:
        return None
    headers = [
        (name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in head[2].split(b"\r\n"))
    ]
    known: dict[bytes, bytes] = {}
    for name, value in headers:
        if known.setdefault(name.lower(), value) != value:
            return None
    length = known.get(b"content-length", b"")
    if b"transfer-encoding" in known or not (length.isdigit() and len(length) < 16) or head[1] in (b"204", b"304"):
        return None
    stays = b"close" not in known.get(b"connection", b"").lower()
    return int(head[1]), headers, head.end(), int(length), stays


class _Body(io.RawIOBase):
    """The bytes of a body of known length: those that came with the head, then those of the socket."""

    def __init__(self, line: _Line, came: bytes, length: int, timeout: float | None) -> None:
        self._line = line
        self._timeout = timeout
        self._came = memoryview(came)
        self._left = length
        self.due: float | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int | None:
        now = time.monotonic()
        if self.due is None:
            self.due = now + PATIENCE
        elif now > self.due:
            return None  # "nothing yet": the reader hands out what it has
        size = min(len(target), self._left)
        if self._came:
            size = min(size, len(self._came))
            target[:size], self._came = self._came[:size], self._came[size:]
        else:
            try:
                size = self._line.patiently(self._line.socket.recv_into, target, size, timeout=self._timeout)
            except TimeoutError as error:
                raise httpx.ReadTimeout(str(error)) from error
            except OSError as error:
                raise httpx.ReadError(str(error)) from error
        self._left -= size
        return size


def _check_wanted() -> None:
    """`CancelledError` when nobody waits for the answer any more: then nothing is sent, or waited for."""
    if unwanted():
        raise CancelledError(UNWANTED)


@contextmanager
def _as(late: type[httpx.TransportError], broken: type[httpx.TransportError]) -> Iterator[None]:
    """A socket's errors as httpx's."""
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:
        raise broken(str(error)) from error


def _readable(source: socket.socket) -> bool:
    if hasattr(select, "poll"):  # select() takes no descriptor above 1023
        poll = select.poll()
        poll.register(source, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([source], [], [], 0)[0])
