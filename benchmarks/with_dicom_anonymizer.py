"""dicom-anonymizer with its own rules, as its command line runs it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dicomanonymizer import anonymize_dicom_file

__all__ = ["cohort", "folder"]


def cohort(runs: Sequence[Mapping[str, bytes]]) -> dict[str, bytes | None]:
    """What became of each file; None for what it did not take. It remembers UIDs for as long as its process lives."""
    found: dict[str, bytes | None] = {}
    with tempfile.TemporaryDirectory() as folder_:
        source, target = Path(folder_) / "in.dcm", Path(folder_) / "out.dcm"
        for name, content in ((name, content) for files in runs for name, content in files.items()):
            source.write_bytes(content)
            target.unlink(missing_ok=True)
            try:
                anonymize_dicom_file(str(source), str(target))
                found[name] = target.read_bytes()
            except Exception:  # noqa: BLE001 - what it cannot do is what is counted
                found[name] = None
    return found


def folder(url: str, user: str, password: str, *, what: Mapping[str, Any], into: str) -> int:
    """A folder of files into another; how many."""
    paths = sorted(Path(what["folder"]).iterdir())
    for path in paths:
        anonymize_dicom_file(str(path), str(Path(into) / path.name))
    return len(paths)
