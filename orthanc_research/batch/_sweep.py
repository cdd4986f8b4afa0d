"""What runs that were killed left half-written on the disk: listed, and deleted, in one call."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
from filelock import FileLock

from orthanc_research.batch._manifest import LOCK
from orthanc_research.errors import QueryError
from orthanc_research.files import left_over, remove

__all__ = ["SWEEP_COLUMNS", "sweep"]

# column → pandas dtype of what `sweep` returns
SWEEP_COLUMNS = {"file": "str", "bytes": "Int64", "kind": "str"}
# Of a large file, by its instance and MD5 (`_transfer`): the next download into that folder goes on with it.
_PART = re.compile(r"\.ores-[0-9a-f]{8}(?:-[0-9a-f]{8}){4}-[0-9a-f]{32}\.part")


def sweep(folder: str | os.PathLike[str], *, dry_run: bool = False) -> pd.DataFrame:
    """Delete what killed exports, archives and downloads left half-written in a folder, and in all folders below it.

    A row for each, with `file`, `bytes` and `kind`: "temporary" (a file, or a folder of an archive's files, that no
    living process of this host writes), or "part" (of a large file, which the next download into that folder would go
    on with). `dry_run` only lists them. Files that are whole, and what a living run writes, are never touched; what
    cannot be deleted is left, and has no row. The next run into a folder deletes the temporary ones that lie there by
    itself. `QueryError` when there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise QueryError(f"There is no folder {root}.")
    rows = [row for path, kind in _left(root) if (row := _swept(path, kind, dry_run)) is not None]
    return pd.DataFrame(rows, columns=list(SWEEP_COLUMNS)).astype(SWEEP_COLUMNS)


def _left(root: Path) -> Iterator[tuple[Path, str]]:
    for name, folders, files in os.walk(root):
        place = Path(name)
        dead = left_over(place)
        yield from ((path, "temporary") for path in dead)
        folders[:] = sorted(set(folders) - {path.name for path in dead})
        yield from ((place / each, "part") for each in sorted(files) if _PART.fullmatch(each))


def _swept(path: Path, kind: str, dry_run: bool) -> tuple[str, int, str] | None:
    """Its row; None when it is used or cannot be deleted: others may still be."""
    try:
        if kind == "temporary":
            size = _size(path)
            return (str(path), size, kind) if dry_run or _removed(path) else None
        # Held until the file is gone: a download that began in between would go on with it.
        with _held(path.parent):
            size = _size(path)
            if not dry_run:
                path.unlink()
            return str(path), size, kind
    except (OSError, NotImplementedError):  # Timeout too; and a file system without locks, where nobody can say
        return None


def _removed(path: Path) -> bool:
    remove(path)
    return not os.path.lexists(path)


@contextmanager
def _held(place: Path) -> Iterator[None]:
    """No download writes to this folder, or to one that it lies in, meanwhile; `OSError` when one does."""
    with ExitStack() as stack:
        for folder in (place.absolute(), *place.absolute().parents):
            if (folder / LOCK).is_file():
                stack.enter_context(FileLock(folder / LOCK, timeout=0, mode=0o600))
        yield


def _size(path: Path) -> int:
    files = [path] if not path.is_dir() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.lstat().st_size for each in files)
