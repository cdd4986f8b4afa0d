"""The lock of the splits: where each patient was placed, kept without saying who the patient is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from orthanc_research.dataset._splits import Digest, plain_digest
from orthanc_research.errors import DatasetError
from orthanc_research.files import atomic_write

__all__ = ["read_lock", "write_lock"]

_PURPOSE = "dataset-lock"


def read_lock(
    path: str | os.PathLike[str], patients: Iterable[str], *, seed: str, digest: Digest = plain_digest
) -> dict[str, Any]:
    """Those of `patients` (`identity_of`) that were placed, each with its place: a split's name, or a fold.

    {} when there is no lock yet. `DatasetError` when it is damaged, or was made with another seed or another key:
    every patient would be placed anew, and some would change sides.
    """
    kept = _read(Path(path), seed, digest)
    names = {patient: _name(patient, digest) for patient in patients}
    return {patient: kept[name] for patient, name in names.items() if name in kept}


def write_lock(
    path: str | os.PathLike[str], placed: Mapping[str, Any], *, seed: str, digest: Digest = plain_digest
) -> None:
    """Add patients to the lock, atomically; those in it stay. `DatasetError` when one would move."""
    target = Path(path)
    kept = _read(target, seed, digest)
    for patient, place in placed.items():
        if kept.setdefault(_name(patient, digest), place) != place:
            raise DatasetError("A patient would move from one split to another; the lock keeps them where they are.")
    content = {"lock": 1, "check": _check(seed, digest), "patients": dict(sorted(kept.items()))}
    with atomic_write(target) as stream:
        stream.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _read(path: Path, seed: str, digest: Digest) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = orjson.loads(path.read_bytes())
        check, patients = content["check"], dict(content["patients"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path.name}, the lock of the splits, cannot be read; restore it from a copy.") from error
    if check != _check(seed, digest):
        raise DatasetError(
            f"{path.name} was made with another seed or another key; with these, patients would change sides."
        )
    return patients


def _check(seed: str, digest: Digest) -> str:
    """Tells one seed and key from another, and nothing about either."""
    return digest(_PURPOSE, seed, "check").hex()[:16]


def _name(patient: str, digest: Digest) -> str:
    return digest(_PURPOSE, "", patient).hex()
