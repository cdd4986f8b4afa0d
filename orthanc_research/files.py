"""Files that are either complete or absent.

Every file of this package is written under a temporary name in the folder of its target, flushed to the disk and then
renamed (`Path.replace`), so that a crash leaves the old file or none, never half of a new one. Folders are 0700 and
files 0600: what is exported from a clinical archive is for its owner alone until the owner says otherwise.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

__all__ = [
    "atomic_path",
    "atomic_write",
    "left_over",
    "listed",
    "partial_in",
    "private_folder",
    "put",
    "remove",
    "sweep",
    "written",
]

_MARK = ".ores-"
_SUFFIX = ".partial"
# What a file system says that cannot flush a file at all; everything else says that the bytes are not on the disk.
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def private_folder(path: str | os.PathLike[str]) -> Path:
    """Make the folder and its missing parents, each 0700; a folder that is there keeps its mode."""
    folder = Path(path)
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder.")
    return folder


def listed(folder: Path, seen: set[Path]) -> list[Path]:
    """What is in a folder, in the order of names; nothing for one of `seen`, so that links lead into it once.

    `OSError` for a folder that may not be entered, and for a link to itself.
    """
    try:
        real = folder.resolve()
        if real in seen:
            return []
        seen.add(real)
        return sorted(folder.iterdir())
    except RuntimeError as error:  # of a link to itself, before Python 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from error


@contextmanager
def atomic_path(target: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """A temporary path (an empty file, 0600) beside `target` that becomes it when the block ends well.

    `FileExistsError` when the target is there and `overwrite` is False; the target is then left as it is.
    """
    goal = Path(target)
    if not overwrite and goal.exists():
        raise FileExistsError(f"{goal.name} is already there; choose another name, or ask for it to be replaced.")
    partial = partial_in(goal.parent)
    _create(partial)
    try:
        yield partial
        _flush(partial, _NO_FLUSH)
        put(partial, goal, overwrite=overwrite)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def partial_in(folder: Path) -> Path:
    """A name for a temporary file in the folder, that of this process: `sweep` deletes it when this one has died."""
    # Not the target's name: so it stays within a file system's length limit if the target does.
    return folder / f"{_MARK}{_host()}-{os.getpid()}-{secrets.token_hex(6)}{_SUFFIX}"


def written(partial: Path, content: bytes) -> Path:
    """A new temporary file (0600) with this content, flushed to the disk; for `put`."""
    _create(partial)
    try:
        partial.write_bytes(content)
        _flush(partial, _NO_FLUSH)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    return partial


def put(partial: Path, goal: Path, *, overwrite: bool) -> None:
    """Give a flushed temporary file its name, in the same folder; `FileExistsError` as for `atomic_path`."""
    if overwrite:
        partial.replace(goal)
    else:
        os.link(partial, goal)  # fails if somebody made it meanwhile, which a replace would overwrite
        partial.unlink()
    with suppress(OSError):  # some file systems refuse this on folders; the file itself is flushed
        _flush(goal.parent)


@contextmanager
def atomic_write(target: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[IO[bytes]]:
    """As `atomic_path`, with the file open for writing bytes."""
    with atomic_path(target, overwrite=overwrite) as partial, partial.open("wb") as stream:
        yield stream
        stream.flush()


def sweep(folder: str | os.PathLike[str]) -> int:
    """Delete what writers that died on this host left in the folder; the number of files and folders deleted."""
    left = left_over(folder)
    for path in left:
        remove(path)
    return len(left)


def left_over(folder: str | os.PathLike[str]) -> list[Path]:
    """What writers that died on this host left in the folder: temporary files, and folders that lie beside them.

    What a living process writes, this one among them, and what another host wrote is not.
    """
    return sorted(path for path in Path(folder).glob(f"{_MARK}{_host()}-*") if not _is_alive(path.name))


def remove(path: Path) -> None:
    """Delete a file, or a folder with what is in it; nothing that a link leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@cache
def _host() -> str:
    """Which host a process number belongs to, on a network drive: short, and without its name."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _is_alive(name: str) -> bool:
    """Whether the process that writes this temporary file lives; True when nobody can say."""
    number = name.removeprefix(f"{_MARK}{_host()}-").partition("-")[0]
    if os.name != "posix" or not number.isdecimal():  # elsewhere, signal 0 is Ctrl-C
        return True
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _create(partial: Path) -> None:
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileNotFoundError as error:  # which names a file that nobody asked for
        raise FileNotFoundError(errno.ENOENT, "There is no folder", str(partial.parent)) from error


def _flush(path: Path, harmless: tuple[int, ...] = ()) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in harmless:
            raise
    finally:
        os.close(descriptor)
