"""The faults of a wire, one function each, and makers of those that have a number."""

from __future__ import annotations

import gzip
import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from zlib import crc32

from faults.proxy import Exchange, Fault


def _named(name: str, fault: Fault) -> Fault:
    fault.__name__ = name
    return fault


def _reset(exchange: Exchange) -> None:
    exchange.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.peer.close()


def _place(exchange: Exchange, length: int) -> int:
    """Somewhere within so many bytes: the same for the same request and answer."""
    return random.Random(crc32(exchange.request)).randrange(max(1, length))


def parts(exchange: Exchange) -> tuple[bytes, bytes]:
    """Head and body of the answer, the head with its empty line."""
    head, mark, body = exchange.answer.partition(b"\r\n\r\n")
    return head + mark, body


def _with(head: bytes, *lines: bytes, drop: bytes = b"content-length:") -> bytes:
    kept = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(drop)]
    return b"\r\n".join([*kept, *lines]) + b"\r\n\r\n"


# -- resets: the request that never arrived, the answer that is lost, the answer that breaks off ----------------------


def reset_before(exchange: Exchange) -> None:
    _reset(exchange)


def reset_after(exchange: Exchange) -> None:
    assert exchange.answer
    _reset(exchange)


def reset_midway(exchange: Exchange) -> None:
    exchange.peer.sendall(exchange.answer[: _place(exchange, len(exchange.answer))])
    _reset(exchange)


RESETS = (reset_before, reset_after, reset_midway)


def busy(after: bytes | None) -> Fault:
    """503, with this Retry-After; the request is not carried out."""
    wish = b"" if after is None else b"Retry-After: " + after + b"\r\n"
    return _named("busy", lambda x: x.peer.sendall(b"HTTP/1.1 503 Busy\r\n" + wish + b"Content-Length: 0\r\n\r\n"))


# -- bodies that are not what was sent --------------------------------------------------------------------------------


def flip(exchange: Exchange) -> None:
    """One bit of the body."""
    head, body = parts(exchange)
    content = bytearray(body)
    if content:
        content[_place(exchange, len(content))] ^= 1 << _place(exchange, 8)
    exchange.peer.sendall(head + content)


def flip_sent(exchange: Exchange) -> None:
    """One bit of the request's last byte: of a file of plain pixels, a pixel."""
    exchange.request = exchange.request[:-1] + bytes([exchange.request[-1] ^ 1])
    exchange.peer.sendall(exchange.answer)


def _by_length(head: bytes, body: bytes, kept: int) -> bytes:
    return _with(head, b"Content-Length: %d" % len(body)) + body[:kept]


def _in_chunks(head: bytes, body: bytes, kept: int) -> bytes:
    pieces = [body[start : min(start + 1000, kept)] for start in range(0, kept, 1000)]
    return _with(head, b"Transfer-Encoding: chunked") + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces)


def _to_the_end(head: bytes, body: bytes, kept: int) -> bytes:
    return _with(head, b"Connection: close") + body[:kept]


def _compressed(head: bytes, body: bytes, kept: int) -> bytes:
    packed = gzip.compress(body)
    kept = kept * len(packed) // max(1, len(body))
    return _with(head, b"Content-Encoding: gzip", b"Connection: close") + packed[:kept]


FRAMINGS: dict[str, Callable[[bytes, bytes, int], bytes]] = {
    "length": _by_length,
    "chunked": _in_chunks,
    "close": _to_the_end,
    "gzip": _compressed,
}


def cut_short(framing: str) -> Fault:
    """The body in this framing, ended in good order at some byte of it."""

    def fault(exchange: Exchange) -> None:
        head, body = parts(exchange)
        exchange.peer.sendall(FRAMINGS[framing](head, body, _place(exchange, len(body.rstrip()))))

    return _named(framing, fault)


def wrong_length(kind: str) -> Fault:
    """Another Content-Length than the body has: "+1", "-1", "0", "2^63", "missing" or "twice"."""

    def fault(exchange: Exchange) -> None:
        head, body = parts(exchange)
        size = len(body)
        numbers = {"+1": [size + 1], "-1": [size - 1], "0": [0], "2^63": [1 << 63], "missing": []}
        given = numbers.get(kind, [size, size - 1])
        exchange.peer.sendall(_with(head, *[b"Content-Length: %d" % number for number in given]) + body)

    return _named(kind, fault)


# -- slowness ---------------------------------------------------------------------------------------------------------


def stall_before(exchange: Exchange) -> None:
    """The answer never begins."""
    assert exchange.answer
    exchange.over.wait(20)


def stall_midway(exchange: Exchange) -> None:
    """Half of the answer, and no more."""
    exchange.peer.sendall(exchange.answer[: len(exchange.answer) // 2])
    exchange.over.wait(20)


def _trickle(exchange: Exchange, start: int) -> None:
    exchange.peer.sendall(exchange.answer[:start])
    with suppress(OSError):
        for place in range(start, len(exchange.answer)):
            exchange.peer.sendall(exchange.answer[place : place + 1])
            if exchange.over.wait(0.1):
                return


def loris_body(exchange: Exchange) -> None:
    """The body a byte at a time."""
    _trickle(exchange, len(parts(exchange)[0]))


def loris_head(exchange: Exchange) -> None:
    """The head a byte at a time."""
    _trickle(exchange, 10)


SLOW = (stall_before, stall_midway, loris_body, loris_head)
