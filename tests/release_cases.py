"""What the tests of releases have in common: a small cohort in a folder, a project, and what a target has."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread

import orthanc_research as ores
from orthanc_research.deid import Key, Known, Profile, Subject
from orthanc_research.release import _work
from orthanc_research.release._work import Job, Made, make

KEY = "5b" * 32
PROFILE = Profile()


def project(folder: Path, key: str = KEY) -> ores.Project:
    return ores.Project(folder / "project", Key.parse(key))


def cohort(folder: Path, **options: Any) -> Path:
    """16 instances of two patients in a folder, unless told otherwise."""
    ores.samples.cohort(folder, **{"patients": 2, "studies": 1, "slices": 3, "size": 16, **options})
    return folder


def changed(path: Path, to: Path | None = None, **values: Any) -> Path:
    """A file with other values; those that are None are taken out."""
    dataset = dcmread(path)
    for keyword, value in values.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    if "SOPInstanceUID" in values:
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    target = to or path
    target.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(target, enforce_file_format=True)
    return target


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def kept(target: Path | ores.Orthanc) -> dict[str, str]:
    """{SOPInstanceUID: MD5} of what a target has; each once."""
    contents = (
        [path.read_bytes() for path in target.rglob("*.dcm")]
        if isinstance(target, Path)
        else [target.rest.instances.file(each) for each in target.rest.instances.list()]
    )
    found = {read(each).SOPInstanceUID: hashlib.md5(each).hexdigest() for each in contents}
    assert len(found) == len(contents)
    return found


def read(content: bytes) -> Dataset:
    return dcmread(io.BytesIO(content), force=True)


def hang(*_: object) -> None:
    """What a worker does that will not end."""
    time.sleep(600)


def crash(jobs: Sequence[Job], subject: Subject, known: Known, apart: str) -> list[Made | Exception] | None:
    """What a worker does that crashes on the instances that say FATAL, when it has made the others."""
    others = [job for job in jobs if b"FATAL" not in Path(str(job.original)).read_bytes()]
    made = make(others, subject, known, apart)
    if made is not None and len(others) < len(jobs):
        os._exit(1)
    return made


def no_room(jobs: Sequence[Job], subject: Subject, known: Known, apart: str) -> list[Made | Exception] | None:
    """What a worker does whose disk is full."""

    def full(partial: Path, content: bytes) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _work.written = full  # type: ignore[attr-defined]
    return make(jobs, subject, known, apart)


def dying_run(folder: str, at: int, after: bool, places: tuple[tuple[str, tuple[str, str]], ...]) -> None:
    """For a process of its own, which ends itself by SIGKILL at its n-th step: a line of the journal, a copy stored.

    From `in` to `out` in the folder, or from the first to the second Orthanc (address, user and password).
    """
    from orthanc_research.release._server import OrthancTarget
    from orthanc_research.release._store import Store
    from orthanc_research.release._tree import FolderTarget

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    count = itertools.count(1)

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            number = next(count)
            if number == at and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **options)
            if number == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return step

    patched: Any = Store, OrthancTarget, FolderTarget, os
    for owner, name in zip(patched, ("_write", "keep", "keep", "link"), strict=True):
        setattr(owner, name, dying(getattr(owner, name)))
    here = Path(folder)
    source, target = (ores.Orthanc(url, auth=auth) for url, auth in places) if places else (here / "in", here / "out")
    project(here).plan(source, profile=PROFILE, target=target, progress=False).run(progress=False)
