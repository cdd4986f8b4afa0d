"""`dciodvfy` of Debian's dicom3tools, a checker of objects against their definitions: fetched without root, kept."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import platformdirs

from orthanc_research.local import _apt

__all__ = ["Aborted", "error_classes", "find"]

PACKAGE = "dicom3tools"


class Aborted(Exception):
    """The checker itself ended before it was through; nothing is known of the file."""


@cache
def find() -> tuple[Path | None, str]:
    """The program, or None and why it cannot be had: the machine's own, else Debian's package in a folder of ours."""
    installed = shutil.which("dciodvfy")
    if installed:
        return Path(installed), ""
    release = _apt.this_release()
    if release is None or not _apt.available():
        return None, "dciodvfy is neither installed nor can Debian's packages be fetched here."
    folder = platformdirs.user_cache_path("orthanc-research") / PACKAGE / release.codename
    program = folder / "usr" / "bin" / "dciodvfy"
    if not program.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            tree = Path(temporary) / "tree"
            tree.mkdir()
            try:
                _apt.fetch(release.codename, [PACKAGE], tree)
            except _apt.AptError as error:
                return None, f"dciodvfy could not be fetched: {error}"
            if not folder.exists():
                tree.rename(folder)
    return (
        (program, "") if program.exists() else (None, f"The package {PACKAGE} of {release.codename} has no dciodvfy.")
    )


def error_classes(program: Path, content: bytes) -> set[str]:
    """The kinds of error in a file, values and places in them left out; `Aborted` when the checker did not finish."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.dcm"
        path.write_bytes(content)
        done = subprocess.run(
            [program, path],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    said = done.stderr + done.stdout
    if done.returncode < 0 or done.returncode > 1:
        raise Aborted(f"dciodvfy ended with {done.returncode}")
    return {_kind(line) for line in said.splitlines() if line.startswith("Error")}


def _kind(line: str) -> str:
    """Which rule and which attribute, without the value at fault and the number of its item."""
    line = re.sub(r"(value|=) <[^>]*>|<[\d.]+>|'[^']*'|\"[^\"]*\"|\(0x[^)]*\)(?= -)", "<>", line)
    return re.sub(r"\[\d+\]|= ?\[[^\]]*\]", "", line).strip()
