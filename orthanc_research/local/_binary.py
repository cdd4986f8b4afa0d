"""A program that is an Orthanc, and what it needs to run.

A packaged tree brought to the user cache runs by its own loader and libraries, with an environment built from nothing,
so that it neither needs nor disturbs what the machine has.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orthanc_research.errors import OrthancError

__all__ = ["Binary", "from_file", "from_tree", "matches", "seal"]

STAMP = "orthanc.json"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

# Without it every DICOM message of Debian's DCMTK waits for a delayed ACK: 11 instances/s instead of some 300.
_ALWAYS = {"TCP_NODELAY": "1"}
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DCMDICTPATH")
_KEPT = (
    "usr/sbin/Orthanc",
    "usr/share/orthanc",
    "usr/share/libdcmtk*",
    "usr/share/dcmtk",
    "usr/lib/orthanc",
    "usr/lib/locale",
)
_LIBRARIES = ("lib/*-linux-*", "usr/lib/*-linux-*", "usr/lib/*.so*")


@dataclass(frozen=True)
class Binary:
    """An Orthanc that can be started: `command` plus the path of a configuration, in `environment`.

    `version` is such as "1.12.7"; `suite` the Debian or Ubuntu release that it came from, None for a program of the
    machine; `plugins` the folder of its packaged plugins, None when there is none; `defaults` what this program needs
    in a configuration that says nothing about it.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    version: str
    suite: str | None = None
    plugins: Path | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)


def matches(version: str, wanted: str) -> bool:
    """Is `version` the wanted one or a later part of it: "1.12.7" is "1.12" and is not "1.1"."""
    parts = wanted.split(".")
    return version.split(".")[: len(parts)] == parts


def from_file(path: Path, whose: str) -> Binary:
    """The Orthanc at `path`; `whose` begins the error when it is none."""
    if not path.is_file() or not os.access(path, os.X_OK):
        raise OrthancError(f"{whose} is not a program that can be run: {path}")
    environment = {**{key: os.environ[key] for key in _INHERITED if key in os.environ}, **_ALWAYS}
    version = _ask_version((str(path),), environment)
    if version is None:
        raise OrthancError(f"{whose} is not an Orthanc (it does not answer --version as one): {path}")
    plugins = path.resolve().parent.parent / "share" / "orthanc" / "plugins"
    return Binary((str(path),), environment, version, plugins=plugins if plugins.is_dir() else None)


def from_tree(tree: Path) -> Binary | None:
    """The Orthanc of a sealed tree; None when there is none, or it is one for another kind of processor."""
    try:
        stamp = json.loads((tree / STAMP).read_text(encoding="utf-8"))
        version, suite = str(stamp["version"]), str(stamp["suite"])
        if stamp["machine"] != platform.machine():
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    run = _runnable(tree)
    if run is None:
        return None
    # A locale of its own, else letters beyond ASCII have no upper case: "müller" would not find "MÜLLER".
    defaults: dict[str, Any] = {"Locale": "C.UTF-8"}
    if _CERTIFICATES.is_file():
        defaults["HttpsCACertificates"] = str(_CERTIFICATES)
    return Binary(*run, version, suite, tree / "usr" / "share" / "orthanc" / "plugins", defaults)


def seal(unpacked: Path, tree: Path, suite: str) -> None:
    """Move what an Orthanc needs from the unpacked packages into `tree` and write down what it is.

    What is left behind includes every set-user-ID program, documents and programs: a third of the size.
    """
    for pattern in (*_KEPT, *_LIBRARIES):
        for path in sorted(unpacked.glob(pattern)):
            target = tree / path.relative_to(unpacked)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
    run = _runnable(tree)
    version = _ask_version(*run) if run else None
    if version is None:
        raise OrthancError(f"The packages of {suite} were fetched, but the Orthanc in them does not run here.")
    if version == "1.12.7":  # with GDCM 3.0.24 it crashes on transcoding, and on previews of JPEG 2000 and of doses
        for plugin in tree.glob("usr/*/orthanc/**/libOrthancGdcm.so*"):
            plugin.unlink()
    stamp = {"version": version, "suite": suite, "machine": platform.machine()}
    (tree / STAMP).write_text(json.dumps(stamp), encoding="utf-8")


def _runnable(tree: Path) -> tuple[tuple[str, ...], dict[str, str]] | None:
    """The command and the environment of a tree's Orthanc."""
    # Not lib64: on bookworm's tree the loader there is an absolute link to the machine's own.
    found = [*tree.glob("lib/*-linux-*/ld-linux*.so.*"), *tree.glob("usr/lib/*-linux-*/ld-linux*.so.*")]
    loaders = [path for path in found if path.is_file() and not path.is_symlink()]
    program = tree / "usr" / "sbin" / "Orthanc"
    if not loaders or not program.is_file():
        return None
    triplet = loaders[0].parent.name
    libraries = [tree / "lib" / triplet, tree / "usr" / "lib" / triplet, tree / "usr" / "lib"]
    # 1.12.7 and 1.13.0 do not start without their dictionaries. private.dic is absent where Debian leaves it out.
    dictionaries = [
        path for name in ("dicom.dic", "private.dic") for path in sorted(tree.glob(f"usr/share/*dcmtk*/{name}"))
    ]
    command = (str(loaders[0]), "--inhibit-cache", "--library-path", ":".join(map(str, libraries)), str(program))
    environment = {
        "DCMDICTPATH": ":".join(map(str, dictionaries)),
        "LOCPATH": str(tree / "usr" / "lib" / "locale"),
        "GCONV_PATH": str(tree / "usr" / "lib" / triplet / "gconv"),
        **_ALWAYS,
    }
    return command, environment


def _ask_version(command: tuple[str, ...], environment: Mapping[str, str]) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - the program the user named, or Debian's
            [*command, "--version"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # It calls itself by the path it was started with; a build between releases says "mainline", which /system repeats.
    said = re.match(rb".*\bOrthanc (\d+(?:\.\d+)+|mainline)\b", done.stdout)
    return said[1].decode() if said else None
