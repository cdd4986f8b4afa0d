"""Which request meets which fault: drawn from a seed and from the request, so that threads do not change it."""

from __future__ import annotations

import hashlib
import random
import re
import threading
from collections import Counter
from collections.abc import Sequence

from faults.proxy import Fault


class Script:
    """`share` of the requests that `only` matches, by method and path, meet one of the faults, each its own draw.

    `times` bounds how often one request meets any. `met` counts faults, by their names; `seen` what was asked for.
    """

    def __init__(
        self, faults: Sequence[Fault], *, share: float = 1.0, seed: int = 0, only: str = "", times: int | None = None
    ) -> None:
        self._faults = faults
        self._share = share
        self._seed = seed
        self._only = re.compile(only.encode())
        self._times = times
        self._guard = threading.Lock()
        self._hit: Counter[bytes] = Counter()
        self.seen: Counter[bytes] = Counter()
        self.met: Counter[str] = Counter()

    def end(self) -> None:
        """From now on nothing meets any."""
        self._share = 0.0

    def __call__(self, request: bytes) -> Fault | None:
        line, _, rest = request.partition(b"\r\n")
        if not self._only.search(line):
            return None
        key = line + hashlib.md5(rest.partition(b"\r\n\r\n")[2]).digest()
        with self._guard:
            self.seen[key] += 1
            draw = random.Random(f"{self._seed} {key!r} {self.seen[key]}")
            if draw.random() >= self._share or self._hit[key] == self._times:
                return None
            self._hit[key] += 1
            fault = draw.choice(self._faults)
            self.met[getattr(fault, "__name__", type(fault).__name__)] += 1
            return fault
