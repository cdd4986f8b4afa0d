"""Files that are either complete or absent.

Every file of this package is written under a temporary name in the folder of its target, flushed to the disk and then
renamed (`Path.replace`), so that a crash leaves the old file or none, never half of a new one. Folders are 0700 and
files 0600: what is exported from a clinical archive is for its owner alone until the owner says otherwise.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = ["atomic_path", "atomic_write", "private_folder", "sweep"]

_MARK = ".ores-"
_SUFFIX = ".partial"


def private_folder(path: str | os.PathLike[str]) -> Path:
    """Make the folder and its missing parents, each 0700; a folder that is there keeps its mode."""
    folder = Path(path)
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder.")
    return folder


@contextmanager
def atomic_path(target: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """A temporary path (an empty file, 0600) beside `target` that becomes it when the block ends well.

    `FileExistsError` when the target is there and `overwrite` is False; the target is then left as it is.
    """
    goal = Path(target)
    if not overwrite and goal.exists():
        raise FileExistsError(f"{goal.name} is already there; choose another name, or ask for it to be replaced.")
    # The random name alone, not the target's: it stays within a file system's length limit if the target does.
    partial = goal.parent / f"{_MARK}{secrets.token_hex(6)}{_SUFFIX}"
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        yield partial
        _flush(partial)
        if overwrite:
            partial.replace(goal)
        else:
            os.link(partial, goal)  # fails if somebody made it meanwhile, which a replace would overwrite
            partial.unlink()
        _flush(goal.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_write(target: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[IO[bytes]]:
    """As `atomic_path`, with the file open for writing bytes."""
    with atomic_path(target, overwrite=overwrite) as partial, partial.open("wb") as stream:
        yield stream
        stream.flush()


def sweep(folder: str | os.PathLike[str]) -> int:
    """Delete what an interrupted writer left in the folder; the number of files deleted."""
    left = list(Path(folder).glob(f"{_MARK}*{_SUFFIX}"))
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems refuse fsync on folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
