"""A folder of DICOM files, as a source whatever they are called, and as a target laid out by the new UIDs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from orthanc_research.batch._manifest import is_of_download
from orthanc_research.errors import DeidError, QueryError
from orthanc_research.files import listed, partial_in, private_folder, put, sweep, written
from orthanc_research.parallel import thread_map
from orthanc_research.progress import Progress
from orthanc_research.release._digest import Algorithm, digest_of, fits
from orthanc_research.release._facts import Facts, facts_of, tags_of, unreadable
from orthanc_research.release._places import Copy, Kept, PlaceError, Removed

__all__ = ["FolderSource", "FolderTarget"]

_ALGORITHM: Algorithm = "sha256"
_READERS = 2  # reading and the digest let other threads go on; what is left of a file holds them up


class FolderSource:
    """Every file below a folder, links included; each folder once."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        if not self._folder.is_dir():
            raise QueryError("There is no such folder to read from.")

    def facts(self, resources: Any, progress: Progress) -> Iterator[Facts]:
        """Each file is read once; `resources` are files or folders below this one."""
        progress.total(None, "files")
        read = thread_map(self._one, self._chosen(resources), workers=_READERS, progress=progress)
        with closing(read) as outcomes:
            for outcome in outcomes:
                yield outcome.get()
                progress.advance()

    def read(self, key: str) -> bytes:
        """The file."""
        try:
            return self.path(key).read_bytes()
        except OSError as error:
            raise PlaceError(f"The original cannot be read ({error.strerror or type(error).__name__}).") from None

    def path(self, key: str) -> Path:
        """Where the file is."""
        return self._folder / _decoded(key)

    def remove(self, key: str, digest: str) -> Removed:
        """Delete the file; a folder that is empty then stays."""
        return _removed(self.path(key), digest, "An original")

    def _chosen(self, resources: Any) -> Iterator[Path]:
        if resources is None:
            yield from _files(self._folder, set())
            return
        seen: set[Path] = set()
        for each in [resources] if isinstance(resources, str | os.PathLike) else resources:
            path = self._folder / each
            if not path.exists() or not path.resolve().is_relative_to(self._folder.resolve()):
                raise QueryError("resources of a folder are files and folders below it; one of these is none.")
            yield from _files(path, seen) if path.is_dir() else [path]

    def _one(self, path: Path) -> Facts:
        key = _encoded(path.relative_to(self._folder))
        try:
            content = path.read_bytes()
        except OSError as error:
            return unreadable(key, f"It cannot be read ({error.strerror or type(error).__name__}).")
        digest, size = digest_of(content, _ALGORITHM), len(content)
        try:
            return facts_of(key, tags_of(content), digest, size)
        except DeidError as error:
            return unreadable(key, str(error), digest=digest, size=size)


class FolderTarget:
    """`<StudyInstanceUID>/<SeriesInstanceUID>/<SOPInstanceUID>.dcm`, all new; files are complete or absent."""

    algorithm = _ALGORITHM

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._swept: set[Path] = set()

    def there(self, copies: Sequence[Copy]) -> dict[str, str]:
        """By reading what is under their names."""
        found: dict[str, str] = {}
        for copy in copies:
            with suppress(FileNotFoundError):
                found[copy.sop] = digest_of(self._path(copy).read_bytes(), _ALGORITHM)
        return found

    def partial(self, copy: Copy) -> Path:
        """In the copy's folder; what runs that died left there is swept away first."""
        folder = self._path(copy).parent
        if folder not in self._swept:
            sweep(folder)
            self._swept.add(folder)
        return partial_in(folder)

    def keep(self, copy: Copy, content: bytes | Path) -> Kept:
        """Give the file that a worker wrote the copy's name; or write it."""
        path, partial = self._path(copy), content
        if isinstance(partial, bytes):
            partial = written(partial_in(private_folder(path.parent)), partial)
        try:
            put(partial, path, overwrite=False)
        except FileExistsError:
            return "same" if path.read_bytes() == partial.read_bytes() else "conflict"
        finally:
            partial.unlink(missing_ok=True)
        return "stored"

    def read(self, copy: Copy) -> bytes:
        """The file."""
        try:
            return self._path(copy).read_bytes()
        except OSError as error:
            raise PlaceError(f"The copy cannot be read ({error.strerror or type(error).__name__}).") from None

    def remove(self, copy: Copy, digest: str) -> Removed:
        """Delete the file, and the folders that are empty then."""
        path = self._path(copy)
        came = _removed(path, digest, "A copy")
        if came == "removed":
            with suppress(OSError):
                path.parent.rmdir()
                path.parent.parent.rmdir()
        return came

    def _path(self, copy: Copy) -> Path:
        return self._folder / copy.study / copy.series / f"{copy.sop}.dcm"


def _files(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """All below, in the order of their names, but for DICOMDIRs and for what a download keeps of itself."""
    try:
        entries = listed(folder, seen)
    except OSError:  # a folder that may not be entered is a row that cannot be read
        yield folder
        return
    for entry in entries:
        if _is_folder(entry):
            yield from _files(entry, seen)
        elif entry.name.upper() != "DICOMDIR" and not is_of_download(entry):
            yield entry


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _encoded(path: Path) -> str:
    """As text that any database takes: names on a disk are bytes, and need not be UTF-8."""
    text = path.as_posix()
    try:
        text.encode()
    except UnicodeEncodeError:
        return "hex:" + os.fsencode(text).hex()
    return text


def _decoded(key: str) -> str:
    return os.fsdecode(bytes.fromhex(key[4:])) if key.startswith("hex:") else key


def _removed(path: Path, digest: str, what: str) -> Removed:
    """Delete a file that has these bytes still."""
    try:
        if not fits(path.read_bytes(), digest):
            return "changed"
        path.unlink()
    except FileNotFoundError:
        return "gone"
    except OSError as error:
        raise PlaceError(f"{what} cannot be deleted ({error.strerror or type(error).__name__}).") from None
    return "removed"
