"""Which packages, from which mirror, checked with which keys: decided from text, so tested without apt."""

from __future__ import annotations

from pathlib import Path

import pytest

from orthanc_research.local import _apt
from orthanc_research.local._apt import AptError, Release, mirrors, parse_release, source_line

BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\nID=debian\n'
NOBLE = 'NAME="Ubuntu"\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\nUBUNTU_CODENAME=noble\n'
MINT = 'ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n'

DEBIAN_URIS = """\
'https://packages.example.org/tool/dists/bookworm/InRelease' packages.example.org_InRelease 0
'http://mirror.example.org/debian/dists/bookworm/InRelease' mirror.example.org_debian_dists_bookworm_InRelease 0
'http://mirror.example.org/debian/dists/bookworm-updates/InRelease' mirror_bookworm-updates_InRelease 0
'http://mirror.example.org/debian-security/dists/bookworm-security/InRelease' mirror_security_InRelease 0
'http://mirror.example.org/debian/dists/bookworm/main/binary-amd64/Packages.xz' mirror_Packages 0
"""
UBUNTU_URIS = """\
'http://ports.example.org/ubuntu-ports/dists/noble/InRelease' ports_noble_InRelease 0
'http://ports.example.org/ubuntu-ports/dists/noble-updates/InRelease' ports_noble-updates_InRelease 0
'http://security.example.org/ubuntu/dists/noble-security/InRelease' security_InRelease 0
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BOOKWORM, Release("debian", "bookworm")),
        (NOBLE, Release("ubuntu", "noble")),
        (MINT, Release("ubuntu", "noble")),
        ('ID=raspbian\nID_LIKE=debian\nVERSION_CODENAME="trixie"\n', Release("debian", "trixie")),
        ("ID=debian\n", Release("debian", "stable")),
        ('ID=fedora\nVERSION_CODENAME=""\n', None),
        ("# nothing\n\n", None),
    ],
)
def test_the_release_is_read_from_os_release(text: str, expected: Release | None) -> None:
    assert parse_release(text) == expected


def test_the_mirror_is_the_machines_own_and_a_foreign_repository_comes_last() -> None:
    assert mirrors(DEBIAN_URIS, {"bookworm", "trixie"}) == [
        "http://mirror.example.org/debian",
        "https://packages.example.org/tool",
    ]
    assert mirrors(UBUNTU_URIS, {"noble"}) == ["http://ports.example.org/ubuntu-ports"]


def test_a_list_of_mirrors_and_a_slash_too_many_are_understood_and_a_disc_is_not_a_mirror() -> None:
    uris = (
        "'mirror+file:/etc/apt/mirrors/debian.list/dists/trixie/InRelease' x 0\n"
        "'http://mirror.example.org/debian//dists/stable/Release' y 0\n"
        "'cdrom:[Debian]/dists/trixie/Release' z 0\n"
    )
    assert mirrors(uris, {"trixie", "stable"}) == [
        "mirror+file:/etc/apt/mirrors/debian.list",
        "http://mirror.example.org/debian",
    ]
    assert mirrors(UBUNTU_URIS, {"trixie"}) == []
    assert mirrors("", {"trixie"}) == []


def test_ubuntu_includes_universe_and_nothing_is_ever_trusted_unsigned() -> None:
    ubuntu = source_line("http://m/ubuntu", "noble", "ubuntu", None)
    debian = source_line("http://m/debian", "trixie", "debian", Path("/usr/share/keyrings/debian-archive-keyring.pgp"))
    assert ubuntu == "deb [target=Packages] http://m/ubuntu noble main universe\n"
    assert debian == (
        "deb [target=Packages signed-by=/usr/share/keyrings/debian-archive-keyring.pgp] http://m/debian trixie main\n"
    )
    assert "trusted" not in ubuntu + debian + _apt._CONFIG
    assert "insecure" not in (ubuntu + debian + _apt._CONFIG).lower()


@pytest.fixture
def ubuntu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that says it is Ubuntu; gives its (empty) folder of keys."""
    (tmp_path / "os-release").write_text(NOBLE)
    monkeypatch.setattr(_apt, "OS_RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(_apt, "KEYRINGS", tmp_path)
    monkeypatch.setattr(_apt, "available", lambda: True)
    return tmp_path


def test_a_debian_suite_on_ubuntu_without_debians_keys_is_one_sentence(ubuntu: Path) -> None:
    with pytest.raises(AptError, match="install debian-archive-keyring, or leave the version out"):
        _apt.fetch("trixie", ["orthanc"], ubuntu)


def test_ubuntus_own_release_needs_no_more_than_what_the_machine_trusts(ubuntu: Path) -> None:
    assert _apt._family_of("noble") == "ubuntu"
    assert _apt._keyring("ubuntu", "noble") is None
    (ubuntu / "ubuntu-archive-keyring.gpg").touch()
    assert _apt._keyring("ubuntu", "noble") == ubuntu / "ubuntu-archive-keyring.gpg"


def test_a_new_debian_keeps_its_keys_under_another_name(ubuntu: Path) -> None:
    (ubuntu / "debian-archive-keyring.pgp").touch()
    assert _apt._keyring("debian", "forky") == ubuntu / "debian-archive-keyring.pgp"


def test_a_suite_that_is_nobodys_is_refused(ubuntu: Path) -> None:
    with pytest.raises(AptError, match='"jammy" is neither this machine\'s release'):
        _apt.fetch("jammy", ["orthanc"], ubuntu)


def test_no_mirror_of_debian_in_the_sources_is_one_sentence(
    ubuntu: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (ubuntu / "debian-archive-keyring.gpg").touch()
    monkeypatch.setattr(_apt, "_call", lambda tool, *arguments, folder=None: UBUNTU_URIS)
    with pytest.raises(AptError, match="This machine's apt sources name no Debian mirror to fetch trixie from"):
        _apt.fetch("trixie", ["orthanc"], tmp_path)


def test_a_failing_tool_is_quoted(tmp_path: Path) -> None:
    tool = tmp_path / "apt-get"
    tool.write_text("#!/bin/sh\necho 'W: odd' >&2\necho 'E: The mirror is asleep.' >&2\nexit 100\n")
    tool.chmod(0o755)
    with pytest.raises(AptError, match="failed: The mirror is asleep"):
        _apt._call(str(tool), "update")
    with pytest.raises(AptError, match="did not run"):
        _apt._call(str(tmp_path / "missing"))
