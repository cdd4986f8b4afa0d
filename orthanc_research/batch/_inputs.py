"""What there is to upload: each file, member of a zip, Dataset or piece of bytes, and how to get its bytes.

Of a file no more than the first bytes are read before it is its turn, and of a zip its directory. What a file is called
says nothing of what it is, but for a DICOMDIR.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from pydicom import Dataset
from pydicom.filewriter import dcmwrite

from orthanc_research.batch._manifest import is_of_download
from orthanc_research.errors import Error, QueryError
from orthanc_research.files import listed

__all__ = ["Item", "SkippedError", "UnreadableError", "content_of", "items_of", "name_of", "path_of", "there"]

_ZIPS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")  # the last two: an empty one, and one in pieces
_GZIP = b"\x1f\x8b"
# Bytes; a few kB can unpack to as much as one likes.
_MOST = 10**9


@dataclass(frozen=True, slots=True)
class Item:
    """One input: what to call it, how to get its bytes, and how many they are as it lies there, where that is known."""

    source: str
    read: Callable[[], bytes]
    size: int | None = None

    @property
    def skipped(self) -> bool:
        """Whether it is known without reading that it is not sent."""
        return self.read is _skip


class SkippedError(Error):
    """Not sent, on purpose."""


class UnreadableError(Error):
    """Not sent, for a reason that is a sentence."""


def content_of(item: Item) -> bytes:
    """Its bytes, unpacked when they are a gzip."""
    content = item.read()
    if content[:2] == _GZIP:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            content = stream.read(_MOST + 1)
        _check_unpacked(len(content))
    if content[:4] in _ZIPS:  # Orthanc would take it whole, and tell nothing of what it does not store
        raise UnreadableError("A zip that is damaged, or empty, or inside another zip or a gzip: unpack it first.")
    return content


def _check_unpacked(size: int) -> None:
    if size > _MOST:
        raise UnreadableError(f"Unpacked it has more than {_MOST // 10**6} MB; unpack it first.")


def items_of(inputs: Any) -> Iterator[Item]:
    """Every input, with folders and zips taken apart; `QueryError` for what is no input, or not there."""
    if isinstance(inputs, str | os.PathLike | Dataset | bytes | bytearray | memoryview):
        inputs = [inputs]
    if not isinstance(inputs, Iterable):
        raise QueryError("Upload takes files, folders, Datasets or bytes, or a list of them.")
    for number, given in enumerate(inputs):
        yield from _expand(given, number)


def _expand(given: Any, number: int) -> Iterator[Item]:
    if isinstance(given, bytes | bytearray | memoryview):
        content = bytes(given)
        yield from _content_items(
            f"bytes {number}", content[:4], lambda: io.BytesIO(content), lambda: content, len(content)
        )
    elif isinstance(given, Dataset):
        yield Item(f"dataset {number}", lambda: _encoded(given))
    elif isinstance(given, str | os.PathLike):
        if given == "":  # of a blank cell: as a path it would be the current folder
            raise QueryError("An empty text is no file or folder; the current folder is '.'.")
        path = Path(given)
        if not there(path):
            raise QueryError(f"There is no file or folder {given!s}.")
        yield from _folder_items(path, set()) if path.is_dir() else _file_items(path)
    else:
        raise QueryError(f"Upload takes files, folders, Datasets or bytes, not a {type(given).__name__}.")


def there(path: Path) -> bool:
    """Whether there is such a file or folder."""
    try:
        return path.exists()
    except (OSError, ValueError):  # a folder on the way may not be entered; a null in the name
        return False


def name_of(source: str) -> str:
    """What an input is called in a ledger: bytes of a file's name that are no UTF-8 are escaped there."""
    return source.encode("utf-8", "backslashreplace").decode()


def path_of(name: str) -> str:
    """The path that `name_of` was given."""
    return re.sub(r"\\u(dc[89a-f][0-9a-f])", lambda found: chr(int(found[1], 16)), name)


def _folder_items(folder: Path, seen: set[Path]) -> Iterator[Item]:
    """Every file below, through links as well; each folder once, whatever leads to it."""
    try:
        entries = listed(folder, seen)
    except OSError as error:
        yield Item(str(folder), partial(_fail, error))
        return
    for entry in entries:
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError as error:  # the folder may be listed and not entered
            yield Item(str(entry), partial(_fail, error))
            continue
        if is_folder:
            yield from _folder_items(entry, seen)
        elif is_file and not is_of_download(entry):
            yield from _file_items(entry)
        elif entry.is_symlink():
            yield Item(str(entry), partial(_fail, UnreadableError("A link to something that is not there.")))


def _file_items(path: Path) -> Iterator[Item]:
    if path.name.upper() == "DICOMDIR":
        yield Item(str(path), _skip)
        return
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        yield Item(str(path), partial(_fail, error))
        return
    yield from _content_items(str(path), start, lambda: path.open("rb"), path.read_bytes, size)


def _content_items(
    source: str, start: bytes, reopen: Callable[[], IO[bytes]], read: Callable[[], bytes], size: int
) -> Iterator[Item]:
    """One file, or the members of a zip, whatever it is called."""
    members: list[zipfile.ZipInfo] = []
    if start in _ZIPS:
        try:
            with reopen() as stream, zipfile.ZipFile(stream) as archive:
                members = [info for info in archive.infolist() if not info.is_dir()]
        except Exception:  # noqa: BLE001  # damaged: its row will say so, and zipfile raises anything on it
            members = []
    if not members:
        yield Item(source, read, size)
        return
    for info in members:
        index = Path(info.filename).name.upper() == "DICOMDIR"
        yield Item(f"{source}!{info.filename}", _skip if index else partial(_member, reopen, info), info.file_size)


def _fail(error: Exception) -> bytes:
    raise error


def _skip() -> bytes:
    raise SkippedError("A DICOMDIR is an index of other files, not an image.")


def _member(reopen: Callable[[], IO[bytes]], info: zipfile.ZipInfo) -> bytes:
    if info.flag_bits & 1:
        raise UnreadableError("It is encrypted; unpack the zip with its password first.")
    _check_unpacked(info.file_size)  # of which zipfile reads no more than it says
    with reopen() as stream, _Member(stream) as archive:
        return archive.read(info)


class _Member(zipfile.ZipFile):
    """A zip for one member that is known already: its directory, as long as it has members, is not read again.

    This is zipfile's own; were it called otherwise one day, the directory would be read for each member.
    """

    def _RealGetContents(self) -> None:
        pass


def _encoded(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    try:
        dcmwrite(buffer, dataset, enforce_file_format=True)
    except ValueError:
        if "TransferSyntaxUID" in (getattr(dataset, "file_meta", None) or ()):
            raise
        raise UnreadableError(
            "It does not say how it is encoded: give it file_meta with a TransferSyntaxUID."
        ) from None
    return buffer.getvalue()
