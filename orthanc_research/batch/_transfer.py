"""The file of one instance to its place on the disk, held against the server's MD5.

The MD5 costs no request of its own: the answer that brings the file names it. Large files come in parts, where the
server knows parts (1.12.5); what is there of one is where the next run goes on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from orthanc_research.errors import ResponseError
from orthanc_research.fetch import DIFFERS, NO_MD5, checked_file
from orthanc_research.files import atomic_path
from orthanc_research.rest import Rest

__all__ = ["StoppedError", "fetch", "md5_of", "stored"]

# Bytes of a part; what is larger is never in memory as a whole.
_PART = 16 << 20


class StoppedError(Exception):
    """The run ended in the middle of a large file."""


class _DifferentError(ResponseError):
    """The bytes are not those that the server says it has."""


def fetch(rest: Rest, instance: str, target: Path, *, size: int, stopped: Callable[[], bool]) -> str:
    """Write the file of an instance, complete or not at all; its MD5, which is the server's.

    `size` is about how large it is. What arrives damaged is asked for once more; then it is a `ResponseError`.
    `StoppedError` when `stopped` turns true between two parts.
    """
    try:
        if size <= _PART:
            return _at_once(rest, instance, target)
        if not rest.capabilities().has("attachment-range"):
            return _streamed(rest, instance, target)
        return _in_parts(rest, instance, target, stopped)
    except ResponseError:  # damaged on its way, or by a proxy that does not know parts
        md5 = _streamed(rest, instance, target)
        _forget(instance, target)
        return md5


def stored(rest: Rest, instance: str) -> tuple[str, int]:
    """The MD5 that the server keeps of the file, and its size; `ResponseError` when it keeps none."""
    about = rest.instances.attachment_info(instance, "dicom")
    md5 = str(about.get("UncompressedMD5") or "").strip().lower()
    if not md5:
        raise ResponseError(NO_MD5)
    return md5, int(about["UncompressedSize"])


def md5_of(path: Path) -> str:
    """The MD5 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def _at_once(rest: Rest, instance: str, target: Path) -> str:
    """One request: the bytes and their MD5."""
    content, md5 = checked_file(rest, instance)
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)
    return md5


def _streamed(rest: Rest, instance: str, target: Path) -> str:
    """Two requests: the MD5, and the bytes straight to the disk."""
    md5, _ = stored(rest, instance)
    with atomic_path(target) as temporary:
        with temporary.open("wb") as sink:
            rest.stream(rest.instances.attachment_data.call(instance, "dicom"), sink)
        _check(md5_of(temporary), md5, instance)
    return md5


def _in_parts(rest: Rest, instance: str, target: Path, stopped: Callable[[], bool]) -> str:
    """A request a part, and one for the MD5. What came stays beside the target, named by its MD5, until it is whole."""
    md5, size = stored(rest, instance)
    piece = target.parent / f".ores-{instance}-{md5}.part"
    _forget(instance, target, but=piece)
    with os.fdopen(os.open(piece, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as sink:
        if sink.seek(0, os.SEEK_END) > size:
            sink.truncate(sink.seek(0))
        for first, stop in _parts(sink.tell(), size):
            if stopped():
                raise StoppedError
            call = rest.instances.attachment_data.call(instance, "dicom", part=(first, stop))
            if rest.stream(call, sink) != stop - first:
                sink.truncate(sink.seek(first))
                raise ResponseError("The server sent another part of the file than it was asked for.")
    try:
        _check(md5_of(piece), md5, instance)
    except _DifferentError:
        piece.unlink()
        raise
    with atomic_path(target) as temporary:
        piece.replace(temporary)
    return md5


def _parts(done: int, size: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + _PART, size)) for first in range(done, size, _PART))


def _forget(instance: str, target: Path, *, but: Path | None = None) -> None:
    for piece in target.parent.glob(f".ores-{instance}-*.part"):
        if piece != but:
            piece.unlink(missing_ok=True)


def _check(found: str, expected: str, instance: str) -> None:
    if found != expected:
        raise _DifferentError(DIFFERS.format(instance))
