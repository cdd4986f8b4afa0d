"""Where an Orthanc comes from, in which order, and what is said when there is none."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from orthanc_research.errors import OrthancError, QueryError
from orthanc_research.local import Binary, OrthancServer, _apt, _find, default_suites, provide
from orthanc_research.local._binary import from_tree, matches

SUITES = default_suites()
needs_packages = pytest.mark.skipif(not SUITES, reason="not Debian or Ubuntu")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing: no variable, no PATH, an empty cache, another system; gives its folder."""
    monkeypatch.delenv(_find.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(_find, "_SYSTEM", ())
    monkeypatch.setattr(_find, "_caches", lambda: [tmp_path / "cache"])
    monkeypatch.setattr(_apt, "OS_RELEASE", tmp_path / "os-release")
    (tmp_path / "os-release").write_text("ID=fedora\n")
    (tmp_path / "bin").mkdir()
    return tmp_path


def wrapper(path: Path, binary: Binary) -> Path:
    """A program at `path` that is that Orthanc, as an installed one would be."""
    assignments = " ".join(f"{key}={shlex.quote(value)}" for key, value in binary.environment.items())
    path.write_text(f'#!/bin/sh\nexec /usr/bin/env {assignments} {shlex.join(binary.command)} "$@"\n')
    path.chmod(0o755)
    return path


def test_without_any_source_the_message_names_every_way(bare: Path) -> None:
    with pytest.raises(OrthancError, match="There is no Orthanc on this machine") as caught:
        provide()
    for way in ("Linux", "macOS", "Windows", "Docker", _find.VARIABLE):
        assert way in str(caught.value)


@pytest.mark.parametrize("wanted", ["latest", "1.x", "", "trixie-backports"])
def test_a_version_that_is_none_is_refused_before_anything_is_fetched(wanted: str) -> None:
    with pytest.raises(QueryError, match="is no version"):
        provide(wanted)


def test_a_variable_that_names_no_program_is_one_sentence(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_find.VARIABLE, str(bare / "missing"))
    with pytest.raises(
        OrthancError, match=f"^What {_find.VARIABLE} names is not a program that can be run: .*missing$"
    ):
        OrthancServer()
    plain = bare / "plain"
    plain.write_text("text")
    monkeypatch.setenv(_find.VARIABLE, str(plain))
    with pytest.raises(OrthancError, match="is not a program that can be run"):
        provide("1.12")
    for content in ("#!/bin/sh\necho 'Othello 1.0'\n", "#!/no/such/interpreter\n"):
        plain.write_text(content)
        plain.chmod(0o755)
        with pytest.raises(OrthancError, match=r"is not an Orthanc \(it does not answer --version as one\)"):
            provide()


@needs_packages
def test_the_variable_is_first_then_path_and_a_version_must_fit(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    known = {suite: provide(suite, progress=False) for suite in SUITES}
    newest, oldest = known[SUITES[1 % len(SUITES)]], known[SUITES[0]]
    named, installed = wrapper(bare / "named", newest), wrapper(bare / "bin" / "Orthanc", oldest)
    monkeypatch.setenv("PATH", f"{bare / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv(_find.VARIABLE, str(named))

    first = provide()
    assert (first.command, first.version, first.suite) == ((str(named),), newest.version, None)
    assert provide(newest.version).command == (str(named),)
    assert provide(oldest.version).command == ((str(installed),) if oldest.version != newest.version else (str(named),))
    monkeypatch.delenv(_find.VARIABLE)
    assert provide().command == (str(installed),)
    with OrthancServer() as server:  # a program of the machine, with no tree of ours
        assert server.version == oldest.version


@needs_packages
def test_what_was_brought_is_found_again_and_another_processors_is_not(bare: Path) -> None:
    tree = bare / "cache" / "trixie"
    tree.mkdir(parents=True)
    assert from_tree(tree) is None
    for stamp in ("", "[]", '{"version": "1.12.7"}', '{"version": "1.12.7", "suite": "trixie", "machine": "vax"}'):
        (tree / "orthanc.json").write_text(stamp)
        assert from_tree(tree) is None
    assert _find.cached() == []


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_brings_the_orthanc_it_is_known_for(suite: str) -> None:
    binary = provide(suite, progress=False)
    if suite in _find.SUITES:
        assert matches(binary.version, _find.SUITES[suite])
    assert binary.suite in (suite, None)
    if binary.suite and binary.plugins:
        names = {path.name for path in binary.plugins.iterdir()}
        assert "libOrthancDicomWeb.so" in names
        assert ("libOrthancGdcm.so" in names) == (binary.version != "1.12.7")  # it crashes that one


def test_a_number_names_a_suite_by_whole_parts() -> None:
    assert matches("1.12.7", "1.12")
    assert matches("1.12.7", "1.12.7")
    assert not matches("1.12.7", "1.1")
    assert not matches("1.12", "1.12.7")
    assert [_find._suite_of(v) for v in ("1.10", "1.10.1", "1.12", "1.13.0", "trixie")] == [
        "bookworm",
        "bookworm",
        "trixie",
        "forky",
        "trixie",
    ]
    with pytest.raises(OrthancError, match=r"No packages of Orthanc 1\.5 are known; there are"):
        _find._suite_of("1.5")


def test_a_failing_fetch_says_why_and_leaves_nothing(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise _apt.AptError("The mirror is asleep.")

    (bare / "os-release").write_text("ID=debian\nVERSION_CODENAME=trixie\n")
    monkeypatch.setattr(_apt, "available", lambda: True)
    monkeypatch.setattr(_apt, "fetch", fail)
    (bare / "cache" / ".fetch-trixie-killed").mkdir(parents=True)
    with pytest.raises(OrthancError, match=r"could not be fetched from trixie\. The mirror is asleep\.\nOther ways:"):
        provide(progress=False)
    assert [path.name for path in (bare / "cache").iterdir() if path.is_dir()] == []


def test_a_cache_that_cannot_be_written_is_one_sentence(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "file").touch()
    monkeypatch.setattr(_find, "_caches", lambda: [bare / "file" / "cache"])
    with pytest.raises(OrthancError, match="set HOME or XDG_CACHE_HOME"):
        _find._bring("trixie", None, False)
