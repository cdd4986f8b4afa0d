"""A build with [anonymize] on an executor: its workers de-identify, and the journal is the driver's alone."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from dataset_builds import SMALL, build, check, cohort, load, recipe

import orthanc_research as ores
from orthanc_research import files
from orthanc_research.deid import Key
from orthanc_research.errors import AccessError
from orthanc_research.release import _carry, _server

pytestmark = pytest.mark.one_version

SECRET = "4e" * 32  # of this file alone
RELEASED = SMALL + '[anonymize]\nproject = "env:ORES_PROJECT"\nprofile = "research"\n'


def _begin(environment: dict[str, str], log: str) -> None:
    """A worker that writes down which files it opens, and which databases."""
    os.environ.update(environment)
    seen = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def hear(event: str, given: tuple[Any, ...]) -> None:
        if event in ("open", "sqlite3.connect") and isinstance(given[0], str | bytes | os.PathLike):
            os.write(seen, os.fsencode(f"{event} {os.fspath(given[0])!s}\n"))

    sys.addaudithook(hear)


class Seen(ProcessPoolExecutor):
    """Keeps what is sent to its workers."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.sent: list[bytes] = []

    def submit(self, fn: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        self.sent.append(pickle.dumps((fn, given, named)))
        return super().submit(fn, *given, **named)


@contextmanager
def _processes(tmp_path: Path, **environment: str) -> Iterator[Seen]:
    # The server that forks may be older than this test, and its environment with it.
    environment = {"ORES_KEY": SECRET, "RELEASED_AUTH": os.environ["RELEASED_AUTH"], **environment}
    given = (environment, str(tmp_path / "opened"))
    with Seen(2, mp_context=get_context("forkserver"), initializer=_begin, initargs=given) as executor:
        yield executor


@pytest.fixture
def source(orthanc: ores.Orthanc, monkeypatch: pytest.MonkeyPatch) -> Iterator[ores.Orthanc]:
    """An Orthanc with a cohort, whose password workers have as well."""
    load(orthanc, cohort(patients=2))
    monkeypatch.setenv("RELEASED_AUTH", ":".join(orthanc.rest.connection.basic_auth() or ("no", "one")))
    monkeypatch.setenv("ORES_KEY", SECRET)
    with ores.Orthanc(orthanc.url, auth="env:RELEASED_AUTH") as found:
        yield found


def _project(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    monkeypatch.setenv("ORES_PROJECT", str(folder / "project"))
    return folder / "project"


_HASHES: set[str] = set()


def _content(source: ores.Orthanc, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """The content hash of a build that nothing happens to; the next one's project is another: `folder` / "other"."""
    _project(monkeypatch, folder / "right")
    right = build(source, recipe(RELEASED), folder / "right" / "out").content_hash
    _HASHES.add(right)
    assert len(_HASHES) == 1  # of every project with this key, and every server
    _project(monkeypatch, folder / "other")
    return right


def _copies(project: Path) -> dict[str, bytes]:
    releases = project.with_name("project-releases")
    return {str(path.relative_to(releases)): path.read_bytes() for path in releases.rglob("*.dcm")}


def _no_workers_here(*_: Any) -> Any:
    raise AssertionError("de-identified on this machine")


def test_workers_of_an_executor_de_identify_and_the_journal_is_the_drivers(
    source: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = _project(monkeypatch, tmp_path / "here")
    right = build(source, recipe(RELEASED), tmp_path / "here" / "out")
    with ThreadPoolExecutor(3) as threads:  # of this process, which is given processes of its own
        _project(monkeypatch, tmp_path / "threads")
        same = build(source, recipe(RELEASED), tmp_path / "threads" / "out", executor=threads)
    there = _project(monkeypatch, tmp_path / "there")
    monkeypatch.setattr(_carry, "Bench", _no_workers_here)
    with _processes(tmp_path) as executor:
        made = build(source, recipe(RELEASED), tmp_path / "there" / "out", executor=executor)
    for each in (right, same, made):
        check(each, recipe(RELEASED))
    assert made.content_hash == same.content_hash == right.content_hash
    assert _copies(there) == _copies(here) != {}
    opened = (tmp_path / "opened").read_text().splitlines()
    assert any(f"{there}-releases/" in line for line in opened)  # the copies are written by workers
    assert not [line for line in opened if f"{there}/" in line or line.startswith("sqlite3")]
    sent = b"".join(executor.sent)
    assert b"deid" in sent
    assert SECRET.encode() not in sent
    assert bytes.fromhex(SECRET) not in sent
    assert os.environ["RELEASED_AUTH"].partition(":")[2].encode() not in sent


def test_a_key_that_workers_cannot_have_keeps_the_originals_here(
    source: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _project(monkeypatch, tmp_path)
    patients = {str(each.PatientID).encode() for each in cohort(patients=2)}
    with _processes(tmp_path) as executor:
        made = build(source, recipe(RELEASED), tmp_path / "out", executor=executor, key=Key.parse(SECRET))
    check(made, recipe(RELEASED))
    assert len(executor.sent) == len(made.status)
    assert not [who for who in patients if who in b"".join(executor.sent)]


def test_workers_that_cannot_or_have_died_leave_rows_that_the_next_build_does(
    source: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = _content(source, monkeypatch, tmp_path)
    with _processes(tmp_path, ORES_KEY="6d" * 32) as executor:
        made = build(source, recipe(RELEASED), tmp_path / "other" / "out", executor=executor)
        assert not made.complete
        assert set(made.status["status"]) == {"not-done"}
        assert made.status["error"].str.contains("ORES_KEY of its worker holds another key").all()
        assert not list(tmp_path.glob("other/**/*.dcm"))
        with pytest.raises(Exception, match="terminated"):
            executor.submit(os._exit, 1).result()
        died = made.retry(progress=False)
        assert set(died.status["status"]) == {"not-done"}
        assert died.status["error"].str.contains("worker died").all()
    assert build(source, recipe(RELEASED), tmp_path / "other" / "out").content_hash == right


def test_a_release_that_stops_in_the_middle_is_no_smaller_dataset(
    source: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = _content(source, monkeypatch, tmp_path)
    real, reads = _server._read, iter(range(100))

    def read(rest: Any, key: str) -> bytes:
        if next(reads) >= 11:
            raise AccessError("Orthanc does not accept this user any more.")
        return real(rest, key)

    with monkeypatch.context() as patch:
        patch.setattr(_server, "_read", read)
        made = build(source, recipe(RELEASED), tmp_path / "other" / "out")
    assert not made.complete
    assert "dropped" not in set(made.status["status"])
    left = made.status[made.status["status"] == "not-done"]
    assert left["error"].str.contains("does not accept this user any more").all()
    assert len(left)
    project = tmp_path / "other" / "project"
    for place in (project, project / "datasets" / "small"):  # as of one that was killed while it wrote there
        for end in ("partial", "partial-journal"):
            (place / f".ores-{files._host()}-999999999-0011.{end}").touch()
    assert made.retry(progress=False).content_hash == right
    assert not list(tmp_path.rglob(".ores-*"))


def test_a_series_that_is_kept_back_says_why_and_is_let_through_by_its_uid(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices = cohort(patients=2)
    shown = slices[0].SeriesInstanceUID
    for each in slices:
        if each.SeriesInstanceUID == shown:
            each.BurnedInAnnotation = "YES"
    load(orthanc, slices)
    monkeypatch.setenv("ORES_KEY", SECRET)
    _project(monkeypatch, tmp_path)
    made = build(orthanc, recipe(RELEASED), tmp_path / "out")
    why = "de-identification: blocked: Its pixels may show whose it is: BurnedInAnnotation is YES."
    assert made.status.loc[shown, ["status", "error"]].tolist() == ["dropped", why]
    assert ores.open_dataset(tmp_path / "out").issues["reason"].tolist() == [why]
    plan = recipe(RELEASED).plan(orthanc, progress=False)
    assert plan.build(tmp_path / "all", acknowledge=[shown], progress=False).status.loc[shown, "status"] == "done"
