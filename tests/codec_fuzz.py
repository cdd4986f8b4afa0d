"""Compressed files, mutated by a seed, decoded in a child process with limits of time and memory.

Run as a script it is the child: file names on its command line, (file, seed) a line on its standard input, and a line
of JSON back for each. The mutations touch the pixel data alone, so that the header stays what it was.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEMORY = 3 << 30
SECONDS = 20
MUTATIONS = ("truncate", "flip", "flips", "cut", "double", "zero", "noise", "head")


@dataclass(frozen=True, slots=True)
class Ended:
    """How one decoding ended: "same", "other" (pixels that differ from the file's own), "refused", "crash", "hang"."""

    file: int
    seed: int
    mutation: str
    verdict: str
    said: str = ""


def mutated(data: bytes, start: int, seed: int) -> tuple[str, bytes]:
    """The file with one mutation behind `start`, where its pixel data begin."""
    chance = random.Random(seed)
    kind = MUTATIONS[seed % len(MUTATIONS)]
    body = bytearray(data)
    place = chance.randrange(start, len(data))
    length = chance.choice((1, 2, 16, 200, 3000))
    if kind == "truncate":
        return kind, bytes(body[:place])
    if kind == "flip":
        body[place] ^= 1 << chance.randrange(8)
    elif kind == "flips":
        for _ in range(20):
            body[chance.randrange(start, len(body))] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del body[place : place + length]
    elif kind == "double":
        body[place:place] = body[place : place + length]
    elif kind == "zero":
        body[place : place + length] = bytes(len(body[place : place + length]))
    elif kind == "noise":
        body[place : place + length] = chance.randbytes(len(body[place : place + length]))
    else:  # the head of the pixel data: offsets, lengths, markers, sizes
        for _ in range(chance.choice((1, 1, 3))):
            body[min(start + chance.randrange(200), len(body) - 1)] = chance.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
    return kind, bytes(body)


def pixels_start(data: bytes) -> int:
    """Where the pixel data's element begins: the last place where its tag stands."""
    return max(data.rfind(b"\xe0\x7f\x10\x00OB"), data.rfind(b"\xe0\x7f\x10\x00OW"))


def fuzz(files: Sequence[Path], cases: Sequence[tuple[int, int]], *, seconds: float = SECONDS) -> Iterator[Ended]:
    """Decode each (file, seed); a child that dies or hangs is the end of its case alone. Seed -1: as it is."""
    child = None
    try:
        for file, seed in cases:
            child = child if child is not None and child.poll() is None else _child(files)
            line = _asked(child, file, seed, seconds)
            if line is None:
                child.kill()
            kind = MUTATIONS[seed % len(MUTATIONS)] if seed >= 0 else "none"
            if line:
                answer = json.loads(line)
                yield Ended(file, seed, kind, answer["verdict"], answer["said"])
            else:
                yield Ended(file, seed, kind, "hang" if line is None else "crash", f"exit code {child.wait()}")
    finally:
        if child is not None:
            child.kill()
            child.communicate()


def _child(files: Sequence[Path]) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, *map(str, files)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    )


def _asked(child: subprocess.Popen[bytes], file: int, seed: int, seconds: float) -> bytes | None:
    """The child's line; b"" when it died, None when it did not answer in time."""
    assert child.stdin is not None
    assert child.stdout is not None
    until = time.monotonic() + seconds
    try:
        child.stdin.write(f"{file} {seed}\n".encode())
    except BrokenPipeError:
        return b""
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([child.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
            return None
        part = os.read(child.stdout.fileno(), 1 << 16)
        if not part:
            return b""
        line += part
    return line


def _serve(files: Sequence[Path]) -> None:
    import resource

    import numpy as np

    from orthanc_research.errors import PixelError
    from orthanc_research.pixels import decode

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    known: dict[int, Any] = {}

    def tried(data: bytes) -> tuple[Any, str]:
        try:
            return decode(data), ""
        except PixelError as error:
            return None, str(error)

    for line in sys.stdin:
        file, seed = map(int, line.split())
        data = files[file].read_bytes()
        if file not in known:
            known[file] = tried(data)[0]
        whole = known[file]
        array, said = tried(mutated(data, pixels_start(data), seed)[1] if seed >= 0 else data)
        if array is None:
            verdict = "refused"
        else:
            verdict = "same" if whole is not None and np.array_equal(array, whole) else "other"
        print(json.dumps({"verdict": verdict, "said": said}), flush=True)


if __name__ == "__main__":
    _serve([Path(name) for name in sys.argv[1:]])
