"""What a worker process does with one instance: de-identify it, and hold the result against the original.

The key comes through the worker's pipe, once, and lives in its memory alone: no argument, no environment, no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orthanc_research.deid import Examined, Key, Known, Profile, Subject, deidentify, examine
from orthanc_research.errors import DeidError

__all__ = ["Made", "begin", "compare", "make"]


@dataclass(frozen=True, slots=True)
class Made:
    """A copy that may be stored, if `examined` has passed, and what was done to get it; no original values but UIDs."""

    content: bytes = field(repr=False)
    sop: str
    series: str
    study: str
    examined: Examined = field(repr=False)
    changes: Mapping[tuple[str, str], int] = field(repr=False)
    notes: tuple[str, ...] = ()


_here: list[tuple[Key, Profile]] = []


def begin(secret: str, profile: str) -> None:
    """What all instances of a run are done with."""
    _here[:] = [(Key.parse(secret), Profile.from_json(profile))]


def make(content: bytes, subject: Subject, known: Known) -> Made | None:
    """The copy of one instance; None before `begin`. `DeidError` where it cannot be made safely."""
    if not _here:
        return None
    key, profile = _here[0]
    try:
        done = deidentify(content, profile, key, subject)
        found = examine(content, done.content, known=known | Known.of(content), profile=profile, subject=subject)
    except DeidError as error:
        raise DeidError(str(error)) from None  # what caused it may hold values, and pickles with it
    except Exception as error:  # noqa: BLE001 - its text may hold a value
        raise DeidError(f"It cannot be de-identified ({type(error).__name__}).") from None
    return Made(
        done.content,
        done.sop_instance_uid,
        done.series_instance_uid,
        done.study_instance_uid,
        found,
        dict(done.changes),
        done.notes,
    )


def compare(content: bytes, copy: bytes, subject: Subject, known: Known) -> Examined | None:
    """A stored copy, held against its original once more; None before `begin`."""
    if not _here:
        return None
    try:
        return examine(content, copy, known=known | Known.of(content), profile=_here[0][1], subject=subject)
    except DeidError as error:
        raise DeidError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - its text may hold a value
        raise DeidError(f"It cannot be examined ({type(error).__name__}).") from None
