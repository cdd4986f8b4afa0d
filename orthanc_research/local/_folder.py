"""The folder of a private server: taken by one server at a time, and swept when its owner could not."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from orthanc_research.errors import OrthancError
from orthanc_research.files import private_folder

__all__ = ["sweep_temporary", "take", "temporary"]

_PREFIX = "orthanc-research-server-"
_LOCK = ".lock"
_PATIENCE = 1.0  # seconds that a killed server may take to let go
_YOUNG = 60  # seconds in which a new folder may not have its lock yet


def temporary() -> Path:
    """A new folder (0700) for one server."""
    return Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()


def take(folder: Path) -> int:
    """Make the folder ready and hold its lock: a descriptor to hand on; `OrthancError` when a server has it.

    The supervisor and the server inherit the descriptor; the lock lasts until the last of them has ended, however.
    """
    private_folder(folder)
    for name in ("storage", "temporary"):  # stored files are 0644, so the folder above them must be closed
        (folder / name).mkdir(mode=0o700, exist_ok=True)
        (folder / name).chmod(0o700)
    deadline = time.monotonic() + _PATIENCE
    while (descriptor := _lock(folder / _LOCK)) is None:
        if time.monotonic() > deadline:
            raise OrthancError(f"Another server is running in {folder}; close it first, or use another folder.")
        time.sleep(0.02)
    return descriptor


def sweep_temporary() -> None:
    """Remove the temporary folders of servers that ended without their supervisor (both were killed)."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            state = folder.lstat()
            if folder.is_symlink() or state.st_uid != os.getuid() or time.time() - state.st_mtime < _YOUNG:
                continue
            descriptor = _lock(folder / _LOCK, make=False)
        except OSError:  # somebody else removes it at this moment
            continue
        if descriptor is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


def _lock(path: Path, *, make: bool = True) -> int | None:
    """The locked file, None when another process has it."""
    import fcntl  # not on Windows, where no server is started

    descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
