"""Our own transport behaves as httpx's: the same answers, the same failures, and connections that are used again."""

from __future__ import annotations

import gzip
import http.server
import io
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import httpx
import pytest

from orthanc_research import errors
from orthanc_research.parallel import thread_map
from orthanc_research.rest import Call, Connection, Rest
from orthanc_research.rest._call import raw
from orthanc_research.rest._client import CONNECTIONS, KEEP_ALIVE
from orthanc_research.rest._retry import Budget
from orthanc_research.rest._transport import DirectTransport

GET: Call[bytes] = Call("GET", ("some", "file"), raw, binary=True)
BIG = os.urandom(300_000)
OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def server(answer: Callable[[socket.socket, int], None]) -> Iterator[tuple[str, list[int]]]:
    """A server that calls `answer(peer, number of the request on this connection)` until that closes the connection.

    Its address, and a list that holds for each connection how many requests came over it.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener.settimeout(0.1)
    stop, served, threads = threading.Event(), list[int](), list[threading.Thread]()

    def one(peer: socket.socket, place: int) -> None:
        with peer, suppress(OSError):
            peer.settimeout(5)
            while peer.recv(65536):
                served[place] += 1
                answer(peer, served[place])

    def accept() -> None:
        while not stop.is_set():
            with suppress(TimeoutError):
                peer, _ = listener.accept()
                served.append(0)
                threads.append(threading.Thread(target=one, args=(peer, len(served) - 1)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", served
    finally:
        stop.set()
        accepting.join()
        listener.close()
        for thread in threads:
            thread.join()


def once(*parts: bytes, pause: float = 0.0, reset: bool = False) -> Callable[[socket.socket, int], None]:
    """Answer with these bytes, part by part, and close."""

    def answer(peer: socket.socket, number: int) -> None:
        for part in parts:
            peer.sendall(part)
            time.sleep(pause)
        if reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
        else:
            peer.shutdown(socket.SHUT_WR)

    return answer


def headed(body: bytes, *more: bytes, length: int | None = None) -> bytes:
    size = b"Content-Length: %d\r\n" % (len(body) if length is None else length)
    return OK + size + b"".join(each + b"\r\n" for each in more) + b"\r\n" + body


def chunked(*chunks: bytes) -> bytes:
    parts = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks)
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + parts


ANSWERS = {
    "small": headed(b"{}"),
    "large": headed(BIG),
    "nothing": headed(b""),
    "chunks": chunked(b"abc", BIG, b"") ,
    "to the end": OK + b"\r\n" + BIG,
    "old": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "100 first": b"HTTP/1.1 100 Continue\r\n\r\n" + headed(b"{}"),
    "compressed": headed(gzip.compress(BIG), b"Content-Encoding: gzip"),
    "not compressed": headed(b"junk", b"Content-Encoding: gzip"),
    "folded": headed(b"{}", b"X-A: b\r\n c"),
    "odd bytes": headed(b"{}", b"X-A: \xe4\xff"),
    "a lower case name": headed(b"{}").replace(b"Content-Length", b"content-length"),
    "a length twice": headed(b"{}", b"Content-Length: 2"),
    "a list of lengths": headed(b"{}").replace(b": 2", b": 2, 2"),
    "two lengths": headed(b"{}", b"Content-Length: 3"),
    "no length": headed(b"{}").replace(b": 2", b": two"),
    "a negative length": headed(b"{}").replace(b": 2", b": -2"),
    "a long length": headed(b"{}").replace(b": 2", b": " + b"9" * 30),
    "a length and chunks": chunked(b"abc", b"").replace(b"OK\r\n", b"OK\r\nContent-Length: 1\r\n"),
    "unknown coding": headed(b"{}", b"Transfer-Encoding: gzip"),
    "more than its length": headed(b"{}" + BIG, length=2),
    "cut": headed(b"{}", length=100),
    "large and cut": headed(BIG, length=len(BIG) + 1),
    "cut in a chunk": chunked(BIG)[:-100],
    "cut between chunks": chunked(BIG),
    "a chunk without size": chunked(b"abc").replace(b"3\r\nabc", b"x\r\nabc"),
    "silent end": b"",
    "cut in the head": OK + b"Content-Le",
    "garbage": b"\0\1\2\3" * 100,
    "another protocol": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "a header without colon": headed(b"{}", b"nonsense"),
    "a name with a blank": headed(b"{}", b"X A: b"),
    "a NUL in a header": headed(b"{}", b"X-A: \0"),
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/2": b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "no end of the head": OK + b"X-A: b\r\n" * 20_000,
    "404": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "401": b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    "503": b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nRetry-After: 1\r\n\r\nbusy",
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n",
}  # fmt: skip
FAILING = ("cut", "two length", "no length", "a negative", "unknown", "a chunk without", "silent", "garbage", "another")

Opened = Callable[[Connection], Rest]


def outcome(rest: Rest, call: Call[bytes] = GET) -> Any:
    """What a caller sees of it: the answer, or the type, sentence and cause of the failure."""
    rest._client.policy.budget = Budget(0)
    try:
        return rest._client.run(call)
    except errors.OrthancError as error:
        said = str(error).replace(rest.connection.url, "URL")
        return type(error), said, type(error.__cause__), error.status


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_and_every_failure_is_the_same_as_through_httpx(name: str, both: list[Opened]) -> None:
    data, found = ANSWERS[name], []
    for parts in ([data], [data[:3], data[3:40], data[40:]]):
        for opened in both:
            with server(once(*parts, pause=0.01)) as (url, _), opened(Connection.make(url, timeout=5)) as rest:
                found.append(outcome(rest))
    assert all(each == found[0] for each in found)
    if name in ("large", "compressed", "to the end"):
        assert found[0] == BIG
    if name.startswith(FAILING):
        assert found[0][::2] == (errors.UnreachableError, httpx.RemoteProtocolError)


def test_time_outs_and_resets_are_the_same_as_through_httpx(both: list[Opened]) -> None:
    def silent(peer: socket.socket, number: int) -> None:
        time.sleep(0.6)

    def stuck(peer: socket.socket, number: int) -> None:
        peer.sendall(headed(BIG[:100_000], length=len(BIG)))
        time.sleep(0.6)

    cut = once(headed(BIG[:100_000], length=len(BIG)), pause=0.2, reset=True)
    for answer, kind, cause in (
        (silent, errors.DeadlineError, httpx.ReadTimeout),
        (stuck, errors.DeadlineError, httpx.ReadTimeout),
        (cut, errors.UnreachableError, httpx.ReadError),
    ):
        found = []
        for opened in both:
            with server(answer) as (url, _), opened(Connection.make(url, timeout=0.3)) as rest:
                found.append(outcome(rest))
        assert found[0] == found[1]
        assert found[0][::2] == (kind, cause)


def test_an_answer_before_the_upload_was_read_is_read_as_through_httpx(both: list[Opened]) -> None:
    def refuse(peer: socket.socket, number: int) -> None:
        peer.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(1 << 20):  # its sender must not be reset before it has read the answer
            pass

    found = []
    for opened in both:
        with server(refuse) as (url, _), opened(Connection.make(url)) as rest:
            found.append(outcome(rest, Call("POST", ("instances",), raw, content=b"x" * 5_000_000)))
    assert found[0] == found[1]
    assert found[0][3] == 413


def test_a_body_of_a_request_arrives_whole(both: list[Opened]) -> None:
    class Echo(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as echo:
        threading.Thread(target=echo.serve_forever).start()
        try:
            for opened in both:
                with opened(Connection.make(f"http://127.0.0.1:{echo.server_port}")) as rest:
                    for body in (b"", b"x", BIG, BIG * 30):
                        assert rest._client.run(Call("POST", ("a",), raw, content=body)) == body
        finally:
            echo.shutdown()


def test_what_would_be_another_request_is_not_sent(both: list[Opened]) -> None:
    for value in ('"x"\r\nX-Evil: 1', "a\0b", " x", "x\n"):
        for opened in both:
            with (
                server(once(ANSWERS["small"])) as (url, served),
                opened(Connection.make(url)) as rest,
                pytest.raises(errors.QueryError, match="not valid HTTP") as caught,
            ):
                rest._client.run(Call("GET", ("a",), raw, headers={"If-Match": value}))
            assert served in ([], [0])
            assert "Evil" not in str(caught.value)


# -- connections ------------------------------------------------------------------------------------------------------


def answering(data: bytes) -> Callable[[socket.socket, int], None]:
    return lambda peer, number: peer.sendall(data)


@pytest.mark.parametrize("name", ["small", "large", "nothing", "chunks", "204", "404"])
def test_one_connection_serves_many_requests(name: str, both: list[Opened]) -> None:
    for opened in both:
        with server(answering(ANSWERS[name])) as (url, served), opened(Connection.make(url)) as rest:
            assert len({str(outcome(rest)) for _ in range(5)}) == 1
            assert served == [5]


@pytest.mark.parametrize("name", ["old", "more than its length", "Connection: close", "compressed and closed"])
def test_a_connection_that_cannot_be_trusted_is_not_used_again(name: str, both: list[Opened]) -> None:
    closed = headed(BIG, b"Connection: Close")
    data = {"Connection: close": closed, "compressed and closed": headed(gzip.compress(b"{}"), b"Connection: close")}
    for opened in both:
        with (
            server(answering({**ANSWERS, **data}[name])) as (url, served),
            opened(Connection.make(url)) as rest,
        ):
            first = outcome(rest)
            assert first == outcome(rest)
            assert isinstance(first, bytes)
            assert served == [1, 1]


def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again(both: list[Opened]) -> None:
    for opened in both:
        with server(once(ANSWERS["large"])) as (url, served), opened(Connection.make(url)) as rest:
            for _ in range(3):
                assert outcome(rest) == BIG
                time.sleep(0.05)
            assert served == [1, 1, 1]


def test_a_connection_that_was_idle_too_long_is_not_used_again(both: list[Opened]) -> None:
    for opened in both:
        with server(answering(ANSWERS["small"])) as (url, served), opened(Connection.make(url)) as rest:
            outcome(rest)
            time.sleep(KEEP_ALIVE + 0.1)
            outcome(rest)
            assert served == [1, 1]


def test_an_answer_that_nobody_reads_to_its_end_costs_its_connection_alone(both: list[Opened]) -> None:
    class FullError(Exception):
        pass

    def full(size: int) -> None:
        raise FullError

    for opened in both:
        with server(answering(headed(BIG * 30))) as (url, served), opened(Connection.make(url)) as rest:
            with pytest.raises(FullError):
                rest._client.stream(GET, io.BytesIO(), on_bytes=full)
            assert len(outcome(rest)) == 30 * len(BIG)
            assert served == [1, 1]


def test_at_most_eight_connections_for_any_number_of_threads(both: list[Opened]) -> None:
    def slow(peer: socket.socket, number: int) -> None:
        time.sleep(0.02)
        peer.sendall(ANSWERS["large"])

    for opened in both:
        with server(slow) as (url, served), opened(Connection.make(url)) as rest:
            found = [each.get() for each in thread_map(lambda _: outcome(rest), range(60), workers=20)]
            assert all(each == BIG for each in found)
            assert sum(served) == 60
            assert 2 <= len(served) <= CONNECTIONS


def test_places_are_given_back_whatever_happened() -> None:
    with server(once(ANSWERS["cut"])) as (url, _), Rest(Connection.make(url)) as rest:
        for _ in range(2 * CONNECTIONS):
            assert outcome(rest)[0] is errors.UnreachableError
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with Rest(Connection.make(closed)) as rest:
        for _ in range(2 * CONNECTIONS):
            assert outcome(rest)[2] is httpx.ConnectError


class Counter(io.RawIOBase):
    """A file that keeps nothing."""

    size = 0

    def write(self, data: Any) -> int:
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def seek(self, place: int, whence: int = 0) -> int:
        return place

    def truncate(self, size: int | None = None) -> int:
        return 0


def test_memory_is_the_body_and_no_more() -> None:
    import tracemalloc

    body = os.urandom(20_000_000)
    with server(answering(headed(body))) as (url, _), Rest(Connection.make(url)) as rest:
        outcome(rest)
        tracemalloc.start()
        try:
            assert outcome(rest) == body
            kept = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            rest._client.stream(GET, cast(Any, Counter()))
            streamed = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert kept < len(body) * 1.1
    assert streamed < 5_000_000


def test_a_proxy_from_the_environment_stays_with_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    def proxy(peer: socket.socket, number: int) -> None:
        seen.append(b"asked")
        peer.sendall(ANSWERS["small"])

    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with server(proxy) as (url, served):
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("http_proxy", url)
        with Rest(Connection.make("http://no-such-host.invalid", trust_env=True)) as rest:
            assert outcome(rest) == b"{}"
            assert not isinstance(rest._client._http._transport, DirectTransport)
        with Rest(Connection.make("http://no-such-host.invalid")) as rest:
            assert outcome(rest)[0] is errors.UnreachableError
            assert isinstance(rest._client._http._transport, DirectTransport)
        assert served == [1]


def test_cookies_of_a_load_balancer_come_back() -> None:
    seen: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("cookie"))
        return httpx.Response(200, content=b"{}", headers={"set-cookie": "node=b"})

    rest = Rest(Connection.make("http://fake"), transport=httpx.MockTransport(handler))
    assert outcome(rest) == outcome(rest) == b"{}"
    assert seen == [None, "node=b"]
