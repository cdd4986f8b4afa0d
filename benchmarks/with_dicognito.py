"""dicognito, as its command line runs it: one anonymizer for a folder, with a seed so that runs agree."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydicom
from dicognito.anonymizer import Anonymizer

__all__ = ["cohort", "folder"]

_SEED = "benchmark"


def cohort(runs: Sequence[Mapping[str, bytes]]) -> dict[str, bytes | None]:
    """What became of each file; None for what it did not take. A run has a new anonymizer."""
    found: dict[str, bytes | None] = {}
    for files in runs:
        anonymizer = Anonymizer(seed=_SEED)
        for name, content in files.items():
            try:
                found[name] = _one(anonymizer, io.BytesIO(content))
            except Exception:  # noqa: BLE001 - what it cannot do is what is counted
                found[name] = None
    return found


def folder(url: str, user: str, password: str, *, what: Mapping[str, Any], into: str) -> int:
    """A folder of files into another; how many."""
    anonymizer, count = Anonymizer(seed=_SEED), 0
    for path in sorted(Path(what["folder"]).iterdir()):
        with pydicom.dcmread(path) as dataset:
            anonymizer.anonymize(dataset)
            dataset.save_as(Path(into) / f"{dataset.SOPInstanceUID}.dcm")
        count += 1
    return count


def _one(anonymizer: Anonymizer, stream: io.BytesIO) -> bytes:
    dataset = pydicom.dcmread(stream)
    anonymizer.anonymize(dataset)
    written = io.BytesIO()
    dataset.save_as(written)
    return written.getvalue()
