"""What a dataset's folder holds, file by file: written when it is complete, and held against the disk ever after."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orthanc_research.errors import DatasetError
from orthanc_research.files import atomic_write, private_folder

__all__ = [
    "DONE",
    "MANIFEST",
    "done",
    "forget_done",
    "mark_done",
    "marked",
    "read_manifest",
    "verify",
    "write_manifest",
]

MANIFEST = "manifest.json"
DONE = "_done"
_TEMPORARY = ".ores-"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")


def write_manifest(
    folder: str | os.PathLike[str], facts: Mapping[str, Any], *, known: Mapping[str, Mapping[str, Any]] | None = None
) -> Path:
    """Write manifest.json: `facts` (hashes of recipe, lock and content, counts, versions), and each file below.

    A file is {"path", "bytes", "sha256"} and, of parquet, "rows"; sorted by path. Done markers, temporary files and the
    manifest itself are left out. It is written last, so a folder without one is not complete. `known` are entries that
    need not be hashed again, as `marked` gives them: one whose size is another is.
    """
    root = Path(folder)
    files = [_entry(root, path, known or {}) for path in _paths(root)]
    target = root / MANIFEST
    with atomic_write(target) as stream:
        stream.write(orjson.dumps({"manifest": 1, **facts, "files": files}, option=orjson.OPT_INDENT_2))
    return target


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of a folder; `DatasetError` when there is none, or it is damaged."""
    path = Path(folder) / MANIFEST
    try:
        content = orjson.loads(path.read_bytes())
        if not isinstance(content["files"], list):
            raise TypeError
        for entry in content["files"]:
            _inside(str(entry["path"]))
            int(entry["bytes"]), str(entry["sha256"])
    except FileNotFoundError:
        raise DatasetError(f"There is no {MANIFEST} in this folder: it is no dataset, or not complete.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{MANIFEST} is damaged; build the dataset again, or restore it from a copy.") from error
    return dict(content)


def verify(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Every file that is not as the manifest says: columns `file` and `problem`; empty when all are.

    `problem` is "missing", "changed" (another size or sha256) or "unknown" (not in the manifest).
    """
    root = Path(folder)
    listed = {str(entry["path"]): entry for entry in read_manifest(root)["files"]}
    problems = []
    for name, entry in listed.items():
        path = root / name
        if path.is_symlink() or not path.is_file():
            problems.append((name, "missing"))
        elif path.stat().st_size != entry["bytes"] or _sha256(path) != entry["sha256"]:
            problems.append((name, "changed"))
    problems += [
        (name, "unknown") for path in _paths(root) if (name := path.relative_to(root).as_posix()) not in listed
    ]
    return pd.DataFrame(sorted(problems), columns=["file", "problem"]).astype("str")


def mark_done(
    folder: str | os.PathLike[str], name: str, files: Collection[str | os.PathLike[str]], facts: Mapping[str, Any]
) -> Path:
    """Note in _done/<name>.json that a unit of work is complete: its files (paths in `folder`), and what it found.

    Written after the files themselves are on the disk. `name` is a UID or an Orthanc ID.
    """
    root = Path(folder)
    entries = [_described(root, root / _inside(Path(file).as_posix())) for file in files]
    target = _marker(root, name)
    private_folder(target.parent)
    with atomic_write(target) as stream:
        stream.write(orjson.dumps({"files": entries, "facts": dict(facts)}, option=orjson.OPT_INDENT_2))
    return target


def marked(folder: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """The files of all done markers: path → its entry. What is damaged is left out."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((Path(folder) / DONE).glob("*.json")):
        try:
            found |= {str(entry["path"]): dict(entry) for entry in orjson.loads(path.read_bytes())["files"]}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def done(folder: str | os.PathLike[str], name: str) -> dict[str, Any] | None:
    """The facts of a unit that is complete, every byte of its files as it was; None when it has to be done again."""
    root = Path(folder)
    try:
        content = orjson.loads(_marker(root, name).read_bytes())
        entries, facts = list(content["files"]), dict(content["facts"])
        same = all(_is_same(root, entry) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError, DatasetError):
        return None
    return facts if same else None


def forget_done(folder: str | os.PathLike[str], name: str) -> None:
    """That a unit is to be done again."""
    _marker(Path(folder), name).unlink(missing_ok=True)


def _is_same(root: Path, entry: Mapping[str, Any]) -> bool:
    path = root / _inside(str(entry["path"]))
    return (
        path.is_file()
        and not path.is_symlink()
        and path.stat().st_size == entry["bytes"]
        and _sha256(path) == entry["sha256"]
    )


def _marker(root: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise DatasetError("The name of a unit of work is a UID or an Orthanc ID.")
    return root / DONE / f"{name}.json"


def _inside(name: str) -> str:
    """A relative path that stays below its folder."""
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name or "" in parts or ".." in parts or "." in parts:
        raise DatasetError("A path in a manifest or a done marker leads out of the folder.")
    return name


def _paths(root: Path) -> Iterator[Path]:
    """The files that count, in the order of their names; links are not followed."""
    for path in sorted(root.rglob("*"), key=lambda each: each.relative_to(root).as_posix()):
        relative = path.relative_to(root)
        hidden = relative.parts[0] == DONE or relative.as_posix() == MANIFEST or path.name.startswith(_TEMPORARY)
        if not hidden and path.is_file() and not path.is_symlink():
            yield path


def _entry(root: Path, path: Path, known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    entry = known.get(path.relative_to(root).as_posix())
    if entry is None or entry.get("bytes") != path.stat().st_size:
        return _described(root, path)
    return dict(entry)


def _described(root: Path, path: Path) -> dict[str, Any]:
    about: dict[str, Any] = {
        "path": path.relative_to(root).as_posix(),
        "bytes": path.stat().st_size,
        "sha256": _sha256(path),
    }
    if path.suffix == ".parquet":
        try:
            about["rows"] = pq.read_metadata(path).num_rows
        except pa.ArrowException as error:
            raise DatasetError(f"{path.name} is damaged, or no parquet file.") from error
    return about


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
