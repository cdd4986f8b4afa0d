"""What a worker process does with one instance: de-identify it, and hold the result against the original.

Where originals and copies are files, the worker reads and writes them itself, and no more than what it found goes
through its pipe. The key comes through that pipe, once, and lives in the worker's memory alone: no argument, no
environment, no file.
"""

from __future__ import annotations

import atexit
import pickle
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orthanc_research.deid import Examined, Key, Known, Profile, Subject, deidentify, examine
from orthanc_research.deid.check._reading import Malformed, read_leniently
from orthanc_research.errors import DeidError
from orthanc_research.files import private_folder, written
from orthanc_research.release._digest import Algorithm, digest_of, fits

__all__ = ["Job", "Made", "begin", "compare", "make", "packed", "unpacked"]


@dataclass(frozen=True, slots=True)
class Job:
    """An original, or where it is, with its digest ("" unknown), and the SOP, series and study UIDs its copy must have.

    `algorithm` is that of the copy's digest. `partial` is the temporary file that the copy is written to; None: it
    comes back.
    """

    original: bytes | Path = field(repr=False)
    digest: str
    uids: tuple[str, str, str]
    algorithm: Algorithm
    partial: Path | None


@dataclass(frozen=True, slots=True)
class Made:
    """A copy that may be stored: its bytes, or the temporary file that has them; and their digest.

    `found` is what the journal keeps: (Examined, what was done, notes), packed here, where it is made.
    """

    content: bytes | Path = field(repr=False)
    digest: str
    found: bytes = field(repr=False)


_here: list[tuple[Key, Profile]] = []
_written: list[Path] = []  # the temporary files of the last jobs


def begin(secret: str, profile: str) -> None:
    """What all instances of a run are done with."""
    _here[:] = [(Key.parse(secret), Profile.from_json(profile))]
    atexit.register(_tidy)


def make(jobs: Sequence[Job], subject: Subject, known: Known, apart: str) -> list[Made | Exception] | None:
    """The copies of some instances of one patient; None before `begin`.

    In the place of one that cannot be made safely, or does not pass, is a `DeidError`; of one that cannot be written an
    `OSError`. `apart` is what tells patients apart whose PatientID is blank.
    """
    if not _here:
        return None
    _written.clear()  # whoever asks again has taken them
    found: list[Made | Exception] = []
    for job in jobs:
        try:
            found.append(_made(job, subject, known, apart))
        except (DeidError, OSError) as error:
            found.append(error)
    return found


def _made(job: Job, subject: Subject, known: Known, apart: str) -> Made:
    content = _read(job.original)
    if job.digest and not fits(content, job.digest):
        raise DeidError("The original has changed since it was planned; plan again.")
    key, profile = _here[0]
    try:
        done = deidentify(content, profile, key, subject)
        examined = _examined(content, done.content, subject, known)
    except DeidError as error:
        raise DeidError(str(error)) from None  # what caused it may hold values, and pickles with it
    except Exception as error:  # noqa: BLE001 - its text may hold a value
        raise DeidError(f"It cannot be de-identified ({type(error).__name__}).") from None
    if (done.sop_instance_uid, done.series_instance_uid, done.study_instance_uid) != job.uids:
        raise DeidError("Its UIDs in the header and in the list of the source are not the same.")
    _refuse(examined)
    examined = replace(examined, patient=apart) if apart else examined
    copy = done.content if job.partial is None else _kept(job.partial, done.content)
    return Made(copy, digest_of(done.content, job.algorithm), packed((examined, dict(done.changes), done.notes)))


def _read(original: bytes | Path) -> bytes:
    try:
        return original if isinstance(original, bytes) else original.read_bytes()
    except OSError as error:
        raise DeidError(f"The original cannot be read ({error.strerror or type(error).__name__}).") from None


def _kept(partial: Path, content: bytes) -> Path:
    private_folder(partial.parent)
    _written.append(partial)
    return written(partial, content)


def _tidy() -> None:
    """Whoever asked for the last files has ended, and gives them no names any more."""
    for path in _written:
        path.unlink(missing_ok=True)


def compare(content: bytes, copy: bytes, subject: Subject, known: Known, apart: str) -> Examined | None:
    """A stored copy, held against its original once more; None before `begin`."""
    if not _here:
        return None
    try:
        found = _examined(content, copy, subject, known)
        return replace(found, patient=apart) if apart else found
    except DeidError as error:
        raise DeidError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - its text may hold a value
        raise DeidError(f"It cannot be examined ({type(error).__name__}).") from None


def _examined(content: bytes, copy: bytes, subject: Subject, known: Known) -> Examined:
    try:
        original: Any = read_leniently(content)  # once for both
    except Malformed as error:
        raise DeidError(f"The original cannot be read, so nothing can be held against it: {error}.") from None
    known |= Known.of(original)
    return examine(original, copy, known=known, profile=_here[0][1], subject=subject)


def packed(value: Any) -> bytes:
    """For the journal."""
    return zlib.compress(pickle.dumps(value, protocol=5), 1)


def unpacked(blob: bytes) -> Any:
    """From the journal, which is our own file and 0600."""
    return pickle.loads(zlib.decompress(blob))  # noqa: S301


def _refuse(examined: Examined) -> None:
    """`DeidError` where a copy may not be stored."""
    failed = [check for check in examined.checks if not check.passed]
    if not failed:
        return
    first = failed[0]
    more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    where = first.path or "the file"
    raise DeidError(f"The copy did not pass: {first.action} at {where} ({first.reason}){more}.")
