"""What a worker process does with one instance: de-identify it, and hold the result against the original.

The key comes through the worker's pipe, once, and lives in its memory alone: no argument, no environment, no file.
"""

from __future__ import annotations

import pickle
import zlib
from dataclasses import dataclass, field, replace
from typing import Any

from orthanc_research.deid import Examined, Key, Known, Profile, Subject, deidentify, examine
from orthanc_research.errors import DeidError

__all__ = ["Made", "begin", "compare", "make", "packed", "unpacked"]


@dataclass(frozen=True, slots=True)
class Made:
    """A copy, and why it may not be stored: "" when it may.

    `found` is what the journal keeps: (Examined, what was done, notes), packed here, where it is made.
    """

    content: bytes = field(repr=False)
    sop: str
    series: str
    study: str
    wrong: str
    found: bytes = field(repr=False)


_here: list[tuple[Key, Profile]] = []


def begin(secret: str, profile: str) -> None:
    """What all instances of a run are done with."""
    _here[:] = [(Key.parse(secret), Profile.from_json(profile))]


def make(content: bytes, subject: Subject, known: Known, apart: str) -> Made | None:
    """The copy of one instance; None before `begin`. `DeidError` where it cannot be made safely.

    `apart` is what tells patients apart whose PatientID is blank.
    """
    if not _here:
        return None
    key, profile = _here[0]
    try:
        done = deidentify(content, profile, key, subject)
        examined = examine(content, done.content, known=known | Known.of(content), profile=profile, subject=subject)
    except DeidError as error:
        raise DeidError(str(error)) from None  # what caused it may hold values, and pickles with it
    except Exception as error:  # noqa: BLE001 - its text may hold a value
        raise DeidError(f"It cannot be de-identified ({type(error).__name__}).") from None
    examined = replace(examined, patient=apart) if apart else examined
    return Made(
        done.content,
        done.sop_instance_uid,
        done.series_instance_uid,
        done.study_instance_uid,
        _wrong(examined),
        packed((examined, dict(done.changes), done.notes)),
    )


def compare(content: bytes, copy: bytes, subject: Subject, known: Known, apart: str) -> Examined | None:
    """A stored copy, held against its original once more; None before `begin`."""
    if not _here:
        return None
    try:
        found = examine(content, copy, known=known | Known.of(content), profile=_here[0][1], subject=subject)
        return replace(found, patient=apart) if apart else found
    except DeidError as error:
        raise DeidError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - its text may hold a value
        raise DeidError(f"It cannot be examined ({type(error).__name__}).") from None


def packed(value: Any) -> bytes:
    """For the journal."""
    return zlib.compress(pickle.dumps(value, protocol=5), 1)


def unpacked(blob: bytes) -> Any:
    """From the journal, which is our own file and 0600."""
    return pickle.loads(zlib.decompress(blob))  # noqa: S301


def _wrong(examined: Examined) -> str:
    """Why a copy may not be stored, in a sentence."""
    failed = [check for check in examined.checks if not check.passed]
    if not failed:
        return ""
    first = failed[0]
    more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"The copy did not pass: {first.action} at {first.path or 'the file'} ({first.reason}){more}."
