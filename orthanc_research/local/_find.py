"""Where to get an Orthanc: named, installed, brought earlier, or brought now."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import platformdirs
from filelock import FileLock

from orthanc_research.errors import OrthancError, QueryError
from orthanc_research.files import private_folder
from orthanc_research.local import _apt
from orthanc_research.local._binary import Binary, from_file, from_tree, matches, seal
from orthanc_research.progress import Progress, shown

__all__ = ["SUITES", "VARIABLE", "cached", "default_suites", "provide"]

VARIABLE = "ORTHANC_RESEARCH_ORTHANC"

# What the suites of Debian carry, newest first; a testing suite may be ahead of what stands here.
SUITES = {"forky": "1.13", "trixie": "1.12.7", "bookworm": "1.10.1"}

_SYSTEM = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")
_PACKAGES = ("orthanc", "orthanc-dicomweb", "orthanc-gdcm")

_WAYS = f"""\
Linux (Debian, Ubuntu): it is fetched by itself when apt has a mirror and a network; or "sudo apt install orthanc".
Linux (others), macOS: install Orthanc from www.orthanc-server.com and set {VARIABLE} to its program.
Windows: install Orthanc from www.orthanc-server.com, start it, and use Orthanc("http://localhost:8042", auth=...).
Docker: run the image orthancteam/orthanc with -p 127.0.0.1:8042:8042 and connect to it in the same way."""


def provide(version: str | None = None, *, progress: Progress | bool | None = None) -> Binary:
    """An Orthanc that can be started here, fetched when there is none yet.

    `version` is a suite ("bookworm", "trixie", "forky", this machine's own) or the beginning of a version ("1.12");
    None takes what there is. In order: the program that ORTHANC_RESEARCH_ORTHANC names, `Orthanc` on PATH or in
    /usr/sbin, one brought earlier into the user cache, Debian's or Ubuntu's own packages (without root, 5-10 s).
    `OrthancError` names the ways to get one; `QueryError` when `version` is neither.
    """
    _check_version(version)
    for binary in _installed():
        if _fits(binary, version):
            return binary
    earlier = cached()
    fitting = [binary for binary in earlier if _fits(binary, version)]
    if fitting:
        return fitting[0]
    if not _apt.available():
        wanted = "" if version is None else f" {version}"
        raise OrthancError(f"There is no Orthanc{wanted} on this machine. Ways to get one:\n{_WAYS}")
    return _bring(_suite_of(version), version, progress)


def cached() -> list[Binary]:
    """What was brought earlier: this machine's own release first, then the newest."""
    trees: list[Path] = []
    for folder in _caches():
        with suppress(OSError):  # not there yet, or another user's
            trees += sorted(folder.iterdir())
    found = [binary for tree in trees if (binary := from_tree(tree)) is not None]
    release = _apt.this_release()
    own = release.codename if release else None
    return sorted(found, key=lambda each: (each.suite == own, _numbers(each.version)), reverse=True)


def default_suites() -> list[str]:
    """The suites to test against here: Debian's three on Debian, else this machine's own, or none."""
    release = _apt.this_release() if _apt.available() else None
    if release is None:
        return []
    return sorted(SUITES) if release.family == "debian" else [release.codename]


def _installed() -> Iterator[Binary]:
    """The program that the variable names (else the error says what is wrong with it), then the machine's own."""
    named = os.environ.get(VARIABLE)
    if named:
        yield from_file(Path(named).expanduser(), f"What {VARIABLE} names")
    places = os.pathsep.join([os.environ.get("PATH", ""), *_SYSTEM])
    installed = shutil.which("Orthanc", path=places)
    if installed:
        yield from_file(Path(installed), "The Orthanc of this machine")


def _check_version(version: str | None) -> None:
    release = _apt.this_release()
    known = {*SUITES, *([release.codename] if release else [])}
    if version is not None and version not in known and not re.fullmatch(r"\d+(\.\d+)*", version):
        raise QueryError(
            f'"{version}" is no version: give a number such as "1.12", or one of {", ".join(sorted(known))}.'
        )


def _fits(binary: Binary, version: str | None) -> bool:
    if version is None or binary.suite == version:
        return True
    if not version[0].isdigit():  # a suite: of a program that came from none, its version decides
        known = SUITES.get(version)
        return binary.suite is None and known is not None and matches(binary.version, known)
    return matches(binary.version, version)


def _suite_of(version: str | None) -> str:
    """The suite whose packages have that version."""
    release = _apt.this_release()
    if version is None:
        return release.codename if release else "stable"
    if not version[0].isdigit():
        return version
    for suite, known in SUITES.items():
        if matches(known, version) or matches(version, known):
            return suite
    held = ", ".join(f"{known} ({suite})" for suite, known in SUITES.items())
    raise OrthancError(f"No packages of Orthanc {version} are known; there are {held}. Or set {VARIABLE} to a program.")


def _bring(suite: str, version: str | None, progress: Progress | bool | None) -> Binary:
    """Fetch the suite's packages into the cache, once, whoever else asks at the same time."""
    cache = _writable_cache()
    tree = cache / suite
    with FileLock(cache / f".{suite}.lock"):
        binary = from_tree(tree)  # another process may have brought it while this one waited
        if binary is None:
            _fetch(suite, tree, progress)
            binary = from_tree(tree)
    if binary is None:
        raise OrthancError(f"The Orthanc of {suite} was fetched but does not run on this {platform.machine()} machine.")
    if not _fits(binary, version):
        raise OrthancError(f"{suite} now has Orthanc {binary.version}, not {version}; ask for {binary.version}.")
    return binary


def _fetch(suite: str, tree: Path, progress: Progress | bool | None) -> None:
    prefix = f".fetch-{suite}-"
    for left in tree.parent.glob(f"{prefix}*"):  # by a fetch that was killed; this one holds the lock
        shutil.rmtree(left, ignore_errors=True)
    with (
        shown(progress, "Orthanc") as told,
        tempfile.TemporaryDirectory(prefix=prefix, dir=tree.parent) as name,  # beside, so that a rename will do
    ):
        unpacked, sealed = Path(name, "unpacked"), Path(name, "tree")
        told.total(1)  # a bar of nothing looks unfinished for ever
        unpacked.mkdir()
        sealed.mkdir()
        try:
            _apt.fetch(suite, _PACKAGES, unpacked, note=told.note)
        except _apt.AptError as error:
            raise OrthancError(f"Orthanc could not be fetched from {suite}. {error}\nOther ways:\n{_WAYS}") from error
        seal(unpacked, sealed, suite)
        if tree.exists():  # another processor's, or damaged
            tree.replace(Path(name, "old"))
        sealed.replace(tree)
        told.note("ready")
        told.advance()


def _caches() -> list[Path]:
    """The user's cache, then one inside the environment for users without a home."""
    folders = [Path(sys.prefix, "var", "cache", "orthanc-research", "orthanc")]
    with suppress(RuntimeError):  # no home at all
        folders.insert(0, platformdirs.user_cache_path("orthanc-research") / "orthanc")
    return folders


def _writable_cache() -> Path:
    for folder in _caches():
        try:
            private_folder(folder)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise OrthancError(
        "There is no folder to keep Orthanc in; set HOME or XDG_CACHE_HOME to a folder you can write to."
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
