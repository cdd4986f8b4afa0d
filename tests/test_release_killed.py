"""A release whose process or Orthanc is killed anywhere: resume gives what a run without harm gives (R7, R8)."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.child import _forks
from release_cases import PROFILE, cohort, dying_run, files, kept, project

import orthanc_research as ores
from orthanc_research.release._run import Run

STEPS = 38  # of a run of 16 instances in a folder: lines of the journal, copies, and their names


@pytest.fixture(scope="module")
def pair(version: str) -> Iterator[tuple[ores.LocalOrthanc, ores.LocalOrthanc]]:
    if version == "external":
        pytest.skip("needs servers of our own")
    with ores.LocalOrthanc(version) as source, ores.LocalOrthanc(version) as target:
        yield source, target


def killed(folder: Path, seed: str, steps: int, *places: ores.Orthanc) -> bool:
    """Run it in a child that dies at a step drawn from the seed; whether it died."""
    draw = random.Random(seed)
    at, after = draw.randint(1, steps), draw.random() < 0.5
    given = tuple((each.url, each.rest.connection.basic_auth()) for each in places)
    child = _forks.Process(target=dying_run, args=(str(folder), at, after, given))
    child.start()
    child.join(120)
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def resumed(folder: Path, source: Path | ores.Orthanc, target: Path | ores.Orthanc) -> Run:
    here = project(folder)
    if here.runs():
        return here.resume(source=source, target=target, workers=1, progress=False)
    return here.plan(source, profile=PROFILE, target=target, progress=False).run(workers=1, progress=False)


def check_folders(tmp_path: Path, seeds: range) -> int:
    source = cohort(tmp_path / "straight" / "in")
    right = resumed(tmp_path / "straight", source, tmp_path / "straight" / "out")
    assert right.state == "done"
    wanted, deaths = kept(tmp_path / "straight" / "out"), 0
    for seed in seeds:
        folder = tmp_path / str(seed)
        cohort(folder / "in")
        before = {path: path.read_bytes() for path in files(folder / "in")}
        deaths += killed(folder, f"folder {seed}", STEPS)
        if (folder / "out").exists():
            assert kept(folder / "out").items() <= wanted.items()  # what has its name is whole, and passed
        run = resumed(folder, folder / "in", folder / "out")
        assert (run.state, set(run.frame["status"])) == ("done", {"done"})
        assert kept(folder / "out") == wanted
        assert all(path.suffix == ".dcm" for path in files(folder / "out"))
        assert {path: path.read_bytes() for path in files(folder / "in")} == before
        assert project(folder).mapping().reveal().equals(project(tmp_path / "straight").mapping().reveal())
    return deaths


def test_a_release_that_is_killed_goes_on(tmp_path: Path) -> None:
    assert check_folders(tmp_path, range(5)) >= 4


def test_of_two_processes_on_one_project_one_refuses(tmp_path: Path) -> None:
    cohort(tmp_path / "in")
    children = [_forks.Process(target=dying_run, args=(str(tmp_path), 10**9, False, ())) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert 0 in [child.exitcode for child in children]  # the other one has refused, or found all done
    assert len(kept(tmp_path / "out")) == 16
    assert {run.state for run in project(tmp_path).runs()} == {"done"}


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_release_that_is_killed_anywhere_goes_on(tmp_path: Path) -> None:
    deaths = check_folders(tmp_path, range(5, 105))
    print("release", deaths)
    assert deaths > 90


def check_servers(source: ores.Orthanc, target: ores.Orthanc, tmp_path: Path, seeds: range) -> None:
    cohort(tmp_path / "in")
    resumed(tmp_path, tmp_path / "in", tmp_path / "out")
    wanted = kept(tmp_path / "out")
    if not source.rest.instances.list():
        source.upload(tmp_path / "in", progress=False)
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        killed(folder, f"server {seed}", 22, source, target)
        run = resumed(folder, source, target)
        assert (run.state, set(run.frame["status"])) == ("done", {"done"})
        assert kept(target) == wanted
        assert project(folder).rollback(run, source=source, target=target, progress=False) == {"removed": 16}
        assert target.rest.instances.list() == []
        assert len(source.rest.instances.list()) == 16


def test_a_release_between_servers_that_is_killed_goes_on(
    pair: tuple[ores.LocalOrthanc, ores.LocalOrthanc], tmp_path: Path
) -> None:
    check_servers(*pair, tmp_path, range(1))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_release_between_servers_that_is_killed_anywhere_goes_on(
    pair: tuple[ores.LocalOrthanc, ores.LocalOrthanc], tmp_path: Path
) -> None:
    check_servers(*pair, tmp_path, range(1, 21))


class Deadly(ores.Silent):
    """Kills a server after so many instances."""

    def __init__(self, victim: ores.LocalOrthanc, at: int) -> None:
        super().__init__()
        self._victim = victim
        self._left = at

    def advance(self, count: int = 1) -> None:
        self._left -= count
        if self._left == 0:
            self._victim.server.kill()


def check_dead_servers(pair: tuple[ores.LocalOrthanc, ores.LocalOrthanc], tmp_path: Path, seeds: range) -> None:
    cohort(tmp_path / "in")
    resumed(tmp_path, tmp_path / "in", tmp_path / "out")
    wanted = kept(tmp_path / "out")
    for each in pair:
        each.rest._client.policy._pause = lambda seconds: None
    source, target = pair
    if not source.rest.instances.list():
        source.upload(tmp_path / "in", progress=False)
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        draw = random.Random(f"dead {seed}")
        victim = draw.choice(pair)
        made = project(folder).plan(source, profile=PROFILE, target=target, progress=False)
        run = made.run(progress=Deadly(victim, draw.randint(1, 15)))
        assert run.state in ("open", "partial", "done")
        victim.server.restart()
        run = resumed(folder, source, target)
        assert (run.state, set(run.frame["status"])) == ("done", {"done"}), run.failures["error"].tolist()
        assert kept(target) == wanted
        assert project(folder).rollback(run, source=source, target=target, progress=False) == {"removed": 16}


@pytest.mark.one_version
def test_a_release_goes_on_after_its_server_died(
    pair: tuple[ores.LocalOrthanc, ores.LocalOrthanc], tmp_path: Path
) -> None:
    check_dead_servers(pair, tmp_path, range(2))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_release_goes_on_whenever_its_server_died(
    pair: tuple[ores.LocalOrthanc, ores.LocalOrthanc], tmp_path: Path
) -> None:
    check_dead_servers(pair, tmp_path, range(2, 22))
