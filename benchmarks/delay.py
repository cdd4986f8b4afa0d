"""A loopback proxy that makes a network longer: each byte arrives half a round trip later, as many a second as before.

Raw TCP, so it holds for any client. As on a real line, a connection costs one round trip before its first byte. Threads
that sleep, two a direction, since an event loop rounds its timers up to a millisecond. What is on its way is kept
without a bound, as large as it may be.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Self

__all__ = ["DelayProxy"]

_CHUNK = 1 << 18
_Piece = tuple[float, bytes]  # when it is due, what; nothing is the end


class DelayProxy:
    """Listens on a port of the loopback and forwards to another one, `round_trip` seconds away.

    >>> with DelayProxy(8042, round_trip=0.010) as proxy:  # doctest: +SKIP
    ...     ores.Orthanc(proxy.url)
    """

    def __init__(self, port: int, *, round_trip: float, heard: Callable[[int, bytes], None] | None = None) -> None:
        self._target = port
        self._heard = heard  # told what each client sends: which connection, what
        self._half = round_trip / 2
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._start(self._accept)

    def close(self) -> None:
        """Stop listening, and cut what is open."""
        with self._lock:
            ends = [self._listener, *self._open]
        for each in ends:
            _shut(each, socket.SHUT_RDWR)
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self._start(self._connect, client, time.monotonic())

    def _connect(self, client: socket.socket, accepted: float) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        with self._lock:
            self._open |= {client, server}
        left = threading.Semaphore(0)
        opened = accepted + 2 * self._half
        for source, sink, heard in ((client, server, self._heard), (server, client, None)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line: SimpleQueue[_Piece] = SimpleQueue()
            self._start(self._receive, source, line, opened, heard)
            self._start(self._send, line, sink, left)
        left.acquire()
        left.acquire()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _receive(
        self,
        source: socket.socket,
        line: SimpleQueue[_Piece],
        opened: float,
        heard: Callable[[int, bytes], None] | None,
    ) -> None:
        piece = b"first"
        while piece:
            try:
                piece = source.recv(_CHUNK)
            except OSError:
                piece = b""  # reset: the other side is told by an end as well
            if heard is not None:
                heard(id(source), piece)
            line.put((max(time.monotonic(), opened) + self._half, piece))

    def _send(self, line: SimpleQueue[_Piece], sink: socket.socket, left: threading.Semaphore) -> None:
        broken = False
        while True:
            due, piece = line.get()
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            if not piece:
                break
            if not broken:
                try:
                    sink.sendall(piece)
                except OSError:
                    broken = True  # read on, so that the other end is not held up
        _shut(sink, socket.SHUT_WR)
        left.release()


def _shut(end: socket.socket, how: int) -> None:
    with suppress(OSError):
        end.shutdown(how)
