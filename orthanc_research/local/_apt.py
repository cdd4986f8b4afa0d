"""Debian's and Ubuntu's own packages, fetched and unpacked without root and without touching the system.

apt does the work with a private state: its lists, cache and (empty) record of installed packages live in a temporary
folder, the mirror is one the machine already uses, and signatures are checked with the machine's own keyrings.

Standard library only, and nothing of this package: `scripts/` runs this file with the system's Python, before there is
an environment to install into.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["AptError", "Release", "available", "fetch", "fetch_wheel", "mirrors", "parse_release", "this_release"]

OS_RELEASE = Path("/etc/os-release")
KEYRINGS = Path("/usr/share/keyrings")

# Names under which a mirror of the family may stand in the machine's sources.
_DEBIAN_SUITES = frozenset(
    (
        "oldoldstable",
        "oldstable",
        "stable",
        "testing",
        "unstable",
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "duke",
        "sid",
    )
)
_COMPONENTS = {"debian": "main", "ubuntu": "main universe"}  # Ubuntu keeps Orthanc in universe

_CONFIG = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Architectures;
APT::Architectures {{ "{architecture}"; }};
APT::Default-Release "";
APT::Sandbox::User "";
APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Keep-Downloaded-Packages "true";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Dir::State "{root}/state";
Dir::State::Lists "{root}/state/lists";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache";
Dir::Log "{root}/log";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
"""


class AptError(Exception):
    """The packages cannot be had; the message is one sentence that says what is missing."""


@dataclass(frozen=True)
class Release:
    """What this machine runs: `family` is "debian" or "ubuntu", `codename` such as "bookworm" or "noble"."""

    family: str
    codename: str


def parse_release(text: str) -> Release | None:
    """The release that the text of an os-release file describes; None if it is neither Debian's nor Ubuntu's kin."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    fields = {key.strip(): value.strip().strip("\"'") for key, value in pairs}
    kin = [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]
    if "ubuntu" in kin:  # before Debian: Ubuntu and its derivatives are "like" Debian too
        codename = fields.get("UBUNTU_CODENAME") or fields.get("VERSION_CODENAME")
        return Release("ubuntu", codename) if codename else None
    if "debian" in kin:
        codename = fields.get("DEBIAN_CODENAME") or fields.get("VERSION_CODENAME")
        return Release("debian", codename or "stable")
    return None


def this_release() -> Release | None:
    """The release of this machine, None when it is not Debian or Ubuntu."""
    try:
        return parse_release(OS_RELEASE.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def available() -> bool:
    """Whether packages can be fetched on this machine: Debian or Ubuntu, with apt-get and dpkg-deb."""
    return this_release() is not None and all(shutil.which(tool) for tool in ("apt-get", "dpkg-deb"))


def mirrors(print_uris: str, suites: Iterable[str]) -> list[str]:
    """Base addresses in what `apt-get update --print-uris` says that hold one of `suites`, likeliest first.

    A foreign repository may use Debian's suite names too. It lacks the `-updates` suite, so it comes last, and the
    signature check then refuses it. Security and updates repositories have suites of their own names and drop out.
    """
    wanted = set(suites)
    held: dict[str, set[str]] = {}
    for base, suite in re.findall(r"^'([^']+?)/+dists/([^'/]+)/(?:In)?Release'", print_uris, re.MULTILINE):
        if not base.startswith("cdrom:"):
            held.setdefault(base, set()).add(suite)
    found = [base for base, names in held.items() if names & wanted]
    return sorted(found, key=lambda base: not any(f"{name}-updates" in held[base] for name in wanted))


def source_line(mirror: str, suite: str, family: str, keyring: Path | None) -> str:
    """The one line of the private sources.list. Without a keyring apt uses all keys that the machine trusts."""
    # target=Packages: the machine's configuration may ask for contents and icons of every package as well.
    options = "target=Packages" + (f" signed-by={keyring}" if keyring else "")
    return f"deb [{options}] {mirror} {suite} {_COMPONENTS[family]}\n"


def fetch(
    suite: str, packages: Sequence[str], destination: Path, *, note: Callable[[str], None] = lambda _text: None
) -> None:
    """Unpack the packages of a suite, with all they depend on, into the empty folder `destination`."""
    with _ready(suite, note) as apt:
        note(f"fetching {packages[0]} of {suite}")
        apt.run("install", "--download-only", *packages)
        archives = sorted((apt.root / "cache" / "archives").glob("*.deb"))
        note(f"unpacking {len(archives)} packages")
        for archive in archives:
            _call("dpkg-deb", "-x", str(archive), str(destination))
            archive.unlink()


def fetch_wheel(package: str, destination: Path) -> Path:
    """The first wheel inside a package of this machine's own release, copied into `destination`."""
    release = this_release()
    if release is None or not available():
        raise AptError("This is not a Debian or Ubuntu machine with apt-get and dpkg-deb.")
    with _ready(release.codename, lambda _text: None) as apt:
        apt.run("download", package)
        tree = apt.root / "tree"
        for archive in apt.root.glob("*.deb"):
            _call("dpkg-deb", "-x", str(archive), str(tree))
        wheels = sorted(tree.rglob("*.whl"))
        if not wheels:
            raise AptError(f"The package {package} of {release.codename} holds no wheel.")
        return Path(shutil.copy(wheels[0], destination))


@dataclass(frozen=True)
class _Apt:
    """An apt-get with a state of its own under `root`."""

    root: Path

    def run(self, *arguments: str) -> str:
        return _call("apt-get", "-qq", "-c", str(self.root / "apt.conf"), *arguments, folder=self.root)


@contextmanager
def _ready(suite: str, note: Callable[[str], None]) -> Iterator[_Apt]:
    """An apt that knows the packages of `suite`; its folder goes at the end."""
    family = _family_of(suite)
    keyring = _keyring(family, suite)
    with tempfile.TemporaryDirectory(prefix="orthanc-research-apt-") as name:
        apt = _Apt(Path(name))
        _prepare(apt.root)
        failures: list[AptError] = []
        note(f"asking for the packages of {suite}")
        for mirror in _own_mirrors(family, suite, apt.root):
            (apt.root / "sources.list").write_text(source_line(mirror, suite, family, keyring), encoding="utf-8")
            try:
                apt.run("update")
            except AptError as error:
                failures.append(error)
                continue
            break
        else:
            raise failures[0]
        yield apt


def _family_of(suite: str) -> str:
    """Whose suite it is, "debian" or "ubuntu"; `AptError` where this machine cannot use it."""
    release = this_release()
    if release is None or not available():
        raise AptError("Debian's packages can be fetched on Debian and Ubuntu only, with apt-get and dpkg-deb.")
    if suite == release.codename:
        return release.family
    if suite in _DEBIAN_SUITES:
        return "debian"
    raise AptError(f'"{suite}" is neither this machine\'s release ("{release.codename}") nor a suite of Debian.')


def _keyring(family: str, suite: str) -> Path | None:
    """The family's archive keys; None lets apt use what the machine trusts, for the machine's own family only."""
    for ending in ("gpg", "pgp"):  # .pgp alone from trixie's successor on
        path = KEYRINGS / f"{family}-archive-keyring.{ending}"
        if path.is_file():
            return path
    release = this_release()
    if release is not None and release.family == family:
        return None
    raise AptError(
        f'Packages of "{suite}" cannot be checked here because the keys are missing; '
        f"install {family}-archive-keyring, or leave the version out to use this machine's own release."
    )


def _prepare(root: Path) -> None:
    for folder in ("state/lists/partial", "cache/archives/partial", "log"):
        (root / folder).mkdir(parents=True)
    (root / "state" / "status").touch()
    architecture = _call("dpkg", "--print-architecture").strip()
    (root / "apt.conf").write_text(_CONFIG.format(root=root, architecture=architecture), encoding="utf-8")


def _own_mirrors(family: str, suite: str, root: Path) -> list[str]:
    """The machine's own mirrors of the family: from its sources, through apt itself, which knows both formats."""
    lists = root / "asked"
    text = _call("apt-get", "-o", f"Dir::State::Lists={lists}", "-o", "Debug::NoLocking=1", "update", "--print-uris")
    found = mirrors(text, _DEBIAN_SUITES | {suite} if family == "debian" else {suite})
    if not found:
        raise AptError(f"This machine's apt sources name no {family.capitalize()} mirror to fetch {suite} from.")
    return found


def _call(tool: str, *arguments: str, folder: Path | None = None) -> str:
    """What the tool prints; `AptError` with its own last complaint when it fails."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    environment.pop("APT_CONFIG", None)  # it would be read after our -c
    try:
        done = subprocess.run(  # noqa: S603 - a fixed tool with arguments made here
            [shutil.which(tool) or tool, *arguments],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=900,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AptError(f"{tool} did not run: {error}.") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()[-1:]
        raise AptError(f"{tool} failed: {said[0].removeprefix('E: ') if said else f'exit {done.returncode}'}")
    return done.stdout


def main(arguments: Sequence[str]) -> int:
    """`_apt.py PACKAGE FOLDER`: prints the path of the wheel in it."""
    package, folder = arguments
    try:
        sys.stdout.write(f"{fetch_wheel(package, Path(folder))}\n")
    except AptError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
