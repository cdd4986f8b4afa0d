"""A proxy between client and server that does harm when told to: faults that happen on a wire."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Self
from urllib.parse import urlsplit

Fault = Callable[["Exchange"], None]

_HOP = (b"connection:", b"keep-alive:")


class Exchange:
    """One request as the client sent it, and a way to carry it out; a fault does with both what it wants."""

    def __init__(self, peer: socket.socket, request: bytes, target: tuple[str, int], over: threading.Event) -> None:
        self.peer = peer
        self.request = request
        self.over = over  # set when the proxy ends: what stalls waits for it
        self._target = target

    @property
    def head(self) -> bytes:
        return self.request.partition(b"\r\n\r\n")[0]

    @cached_property
    def answer(self) -> bytes:
        """What the server says to it, which has carried it out then; without the headers of a single connection."""
        head, _, body = self.request.partition(b"\r\n\r\n")
        with socket.create_connection(self._target, timeout=20) as server:
            server.sendall(_without(head, b"Connection: close") + body)
            answer = b"".join(iter(lambda: server.recv(1 << 16), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return _without(head) + body if _length(head) == len(body) else answer


class Proxy:
    """Forwards one request after the other; `cut(head)` decides whether an answer is thrown away and the line dropped.

    The request has then been carried out, and the client does not know: the case that must never be sent twice.
    `script(request)` gives any other fault for it, or None; the connection ends with a fault. With a
    `tls` context it speaks https to the client; `token` replaces the bearer token that it wants by `auth`, basic
    credentials for the server behind, and answers 401 to any other.
    """

    def __init__(
        self,
        target: str,
        cut: Callable[[bytes], bool] = lambda head: False,
        *,
        script: Callable[[bytes], Fault | None] = lambda request: None,
        tls: ssl.SSLContext | None = None,
        token: str | None = None,
        auth: tuple[str, str] | None = None,
    ) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._cut = cut
        self._script = script
        self._tls = tls
        self._token = token
        self._basic = base64.b64encode(":".join(auth).encode()) if auth else b""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.settimeout(0.1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._peers: list[socket.socket] = []
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        workers = []
        while not self._stop.is_set():
            try:
                peer, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._peers.append(peer)
            workers.append(threading.Thread(target=self._all, args=(peer,)))
            workers[-1].start()
        for peer in self._peers:  # what waits for a next request need not wait any longer
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RD)
        for worker in workers:
            worker.join(5)

    def _all(self, plain: socket.socket) -> None:
        plain.settimeout(20)
        with suppress(OSError), plain, self._secured(plain) as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._one(peer):
                pass

    def _secured(self, plain: socket.socket) -> socket.socket:
        return plain if self._tls is None else self._tls.wrap_socket(plain, server_side=True)

    def _one(self, peer: socket.socket) -> bool:
        """Serve one request; whether the connection can serve another."""
        request = _message(peer)
        if not request:
            return False
        if self._token is not None:
            wanted = b"Authorization: Bearer " + self._token.encode() + b"\r\n"
            if wanted not in request:
                peer.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return False
            request = request.replace(wanted, b"Authorization: Basic " + self._basic + b"\r\n")
        exchange = Exchange(peer, request, self._target, self._stop)
        fault = self._script(request)
        if fault is not None:
            fault(exchange)
            return False
        answer = exchange.answer
        if self._cut(exchange.head):
            return False
        peer.sendall(answer)
        return b"\r\nConnection: close\r\n" not in answer


def _without(head: bytes, *more: bytes) -> bytes:
    """The head without what is about one connection alone, with `more` headers, and its end."""
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(_HOP)]
    return b"\r\n".join([*lines, *more]) + b"\r\n\r\n"


def _length(head: bytes) -> int | None:
    lengths = [int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")]
    return lengths[0] if lengths else None


def _message(peer: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv(1 << 16)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    while len(body) < (_length(head) or 0):
        more = peer.recv(1 << 16)
        if not more:
            return b""
        body += more
    return head + b"\r\n\r\n" + body
