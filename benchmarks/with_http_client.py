"""The limit of `pixels` and `batch`: what http.client of the standard library can move when nothing is made of it."""

from __future__ import annotations

import base64
import http.client
import urllib.parse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["download", "files", "upload"]

_THREADS = 4


def files(url: str, user: str, password: str, *, what: Mapping[str, Any]) -> int:
    """The files of all instances, on four connections that are kept; how many bytes came."""
    return sum(_on_four(url, user, password, [("GET", f"/instances/{each}/file", None) for each in what["instances"]]))


def download(url: str, user: str, password: str, *, what: Mapping[str, Any], into: str) -> int:
    """As `files`, and nothing is written; how many came."""
    assert not Path(into).exists()
    return len(_on_four(url, user, password, [("GET", f"/instances/{each}/file", None) for each in what["instances"]]))


def upload(url: str, user: str, password: str, *, what: Mapping[str, Any]) -> int:
    """The files of a folder, read and sent on four connections that are kept; how many there were."""
    sent: list[_Request] = [("POST", "/instances", each) for each in sorted(Path(what["folder"]).iterdir())]
    return len(_on_four(url, user, password, sent))


_Request = tuple[str, str, Path | None]  # method, target, file to send


def _on_four(url: str, user: str, password: str, requests: Sequence[_Request]) -> list[int]:
    """The bytes of each answer."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
    transfer = partial(_transfer, url, {"Authorization": f"Basic {token}", "Accept-Encoding": "identity"})
    with ThreadPoolExecutor(_THREADS) as pool:
        done = pool.map(transfer, (requests[n::_THREADS] for n in range(_THREADS)))
        return [size for sizes in done for size in sizes]


def _transfer(url: str, headers: Mapping[str, str], requests: Sequence[_Request]) -> list[int]:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
    sizes = []
    for method, target, file in requests:
        connection.request(method, target, body=file.read_bytes() if file else None, headers=dict(headers))
        response = connection.getresponse()
        sizes.append(len(response.read()))
        if response.status != 200:
            raise RuntimeError(f"The server answered {response.status}.")
    connection.close()
    return sizes
