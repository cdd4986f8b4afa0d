"""What a client really sends, whichever library sends it: read from the bytes on their way to the server."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.delay import DelayProxy

__all__ = ["Recorder", "Sent", "recorded"]


@dataclass(frozen=True)
class Sent:
    """A request."""

    method: str
    target: str
    body: bytes
    accepts: str  # encodings


class Recorder:
    """Where to send to, and what was sent."""

    def __init__(self) -> None:
        self.url = ""
        self._streams: defaultdict[int, bytearray] = defaultdict(bytearray)
        self._ended: list[bytes] = []
        self._lock = threading.Lock()  # a long stream takes a while from one place to the other

    def hear(self, connection: int, piece: bytes) -> None:
        """Keep a piece; nothing is the end of the connection, whose number may come again."""
        with self._lock:
            if piece:
                self._streams[connection] += piece
            else:
                self._ended.append(bytes(self._streams.pop(connection, b"")))

    def forget(self) -> None:
        """Begin again."""
        with self._lock:
            self._ended.clear()
            for stream in self._streams.values():
                stream.clear()

    def requests(self) -> list[Sent]:
        """Connection by connection."""
        with self._lock:
            streams = [*self._ended, *map(bytes, self._streams.values())]
        return [request for stream in streams for request in _requests(stream)]


@contextmanager
def recorded(port: int) -> Iterator[Recorder]:
    """A proxy before the server at this port that takes down what passes."""
    recorder = Recorder()
    with DelayProxy(port, round_trip=0, heard=recorder.hear) as proxy:
        recorder.url = proxy.url
        yield recorder


def _requests(stream: bytes) -> Iterator[Sent]:
    at = 0
    while at < len(stream):
        body = stream.index(b"\r\n\r\n", at) + 4
        first, *lines = stream[at : body - 4].decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if "transfer-encoding" in headers:
            raise ValueError("A body in chunks cannot be sent again by curl as it was.")
        at = body + int(headers.get("content-length", 0))
        yield Sent(method, target, stream[body:at], headers.get("accept-encoding", ""))
