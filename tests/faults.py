"""A proxy between client and server that breaks connections when told to: faults that happen on a wire."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Forwards one request a connection; `cut(head)` decides whether its answer is thrown away and the line dropped.

    The request has then been carried out, and the client does not know: the case that must never be sent twice. With a
    `tls` context it speaks https to the client; `token` replaces the bearer token that it wants by `auth`, basic
    credentials for the server behind, and answers 401 to any other.
    """

    def __init__(
        self,
        target: str,
        cut: Callable[[bytes], bool] = lambda head: False,
        *,
        tls: ssl.SSLContext | None = None,
        token: str | None = None,
        auth: tuple[str, str] | None = None,
    ) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._cut = cut
        self._tls = tls
        self._token = token
        self._basic = base64.b64encode(":".join(auth).encode()) if auth else b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
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
            workers.append(threading.Thread(target=self._one, args=(peer,)))
            workers[-1].start()
        for worker in workers:
            worker.join(5)

    def _one(self, plain: socket.socket) -> None:
        plain.settimeout(20)
        with suppress(OSError), plain, self._secured(plain) as peer:
            self._forward(peer)

    def _secured(self, plain: socket.socket) -> socket.socket:
        return plain if self._tls is None else self._tls.wrap_socket(plain, server_side=True)

    def _forward(self, peer: socket.socket) -> None:
        request = _message(peer)
        if not request:
            return
        if self._token is not None:
            wanted = b"Authorization: Bearer " + self._token.encode() + b"\r\n"
            if wanted not in request:
                peer.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            request = request.replace(wanted, b"Authorization: Basic " + self._basic + b"\r\n")
        # One request a connection, so that a cut hits just the one that it is meant for.
        head, _, body = request.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        with socket.create_connection(self._target, timeout=20) as server:
            server.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
            answer = b"".join(iter(lambda: server.recv(1 << 16), b""))
        if not self._cut(head):
            peer.sendall(answer)


def _message(peer: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv(1 << 16)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")]
    while len(body) < (lengths[0] if lengths else 0):
        more = peer.recv(1 << 16)
        if not more:
            return b""
        body += more
    return head + b"\r\n\r\n" + body
