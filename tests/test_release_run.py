"""Runs, folder to folder and Orthanc to Orthanc: what is stored, what is refused, and what can be taken back."""

from __future__ import annotations

import csv
import errno
import io
import itertools
import json
import logging
import os
import pickle
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from processes import below
from pydicom import dcmread
from release_cases import KEY, PROFILE, changed, cohort, crash, files, hang, kept, no_room, project, read
from stock import stock

import orthanc_research as ores
from orthanc_research import errors, fetch
from orthanc_research.database import Database, DiskError
from orthanc_research.deid import Key, Profile
from orthanc_research.release import _away, _carry
from orthanc_research.release._away import Away
from orthanc_research.release._bench import Bench
from orthanc_research.release._places import PlaceError, Removed
from orthanc_research.release._run import Run
from orthanc_research.release._server import OrthancSource
from orthanc_research.release._store import Store
from orthanc_research.release._tree import FolderSource


def released(folder: Path, source: Path, profile: Profile = PROFILE) -> Run:
    return (
        project(folder)
        .plan(source, profile=profile, target=folder / "out", progress=False)
        .run(workers=1, progress=False)
    )


@pytest.fixture(scope="module")
def second(version: str) -> Iterator[ores.LocalOrthanc]:
    """Another server of the same version, to release to."""
    if version == "external":
        pytest.skip("needs a server of our own")
    with ores.LocalOrthanc(version) as orthanc:
        yield orthanc


def emptied(orthanc: ores.Orthanc) -> ores.Orthanc:
    if orthanc.rest.patients.list():
        orthanc.rest.tools.bulk_delete(orthanc.rest.patients.list())
    return orthanc


def test_an_orthanc_and_a_folder_give_the_same_copies(
    orthanc: ores.Orthanc, second: ores.LocalOrthanc, tmp_path: Path
) -> None:
    source = cohort(tmp_path / "in")
    orthanc.upload(source, progress=False)
    before = orthanc.rest.instances.list()
    here = project(tmp_path / "a")
    made = here.plan(orthanc, orthanc.studies(), profile=PROFILE, target=emptied(second), progress=False)
    run = made.run(workers=2, progress=False)
    with pytest.raises(errors.DeidError, match="plan again"):
        made.run(progress=False)
    assert (run.state, set(run.frame["status"])) == ("done", {"done"})
    assert run.failures.empty
    released(tmp_path, source)
    assert kept(second) == kept(tmp_path / "out")
    assert len(kept(second)) == 16
    assert orthanc.rest.instances.list() == before
    assert set(run.verify(workers=1, progress=False)["status"]) == {"verified"}
    # The same Orthanc can be the target: what was made is not taken for a source the next time.
    again = here.plan(second, profile=PROFILE, target=orthanc, progress=False)
    assert again.frame.empty
    # What is stored is held against the journal, and against other bytes under its UID.
    victim = second.rest.instances.list()[0]
    content = second.rest.instances.file(victim)
    second.rest.instances.delete(victim)
    assert "failed" in set(run.verify(workers=1, progress=False)["status"])
    other = read(content)
    other.PatientSize = "1.7"
    changed_copy = io.BytesIO()
    other.save_as(changed_copy)
    second.rest.instances.upload(changed_copy.getvalue())
    assert "conflict" in set(here.plan(orthanc, profile=PROFILE, target=second, progress=False).frame["status"])
    assert here.rollback(run, progress=False) == {"removed": 15, "changed": 1}
    assert second.rest.instances.list() == [victim]
    # Another project with the same key does not know what is there: the run compares, and leaves it.
    stranger = project(tmp_path / "b").plan(orthanc, profile=PROFILE, target=second, progress=False)
    found = stranger.run(workers=1, progress=False)
    assert found.frame["status"].value_counts().to_dict() == {"done": 3, "conflict": 1}
    assert found.failures["status"].tolist() == ["conflict"]
    assert second.rest.instances.file(victim) == changed_copy.getvalue()
    assert project(tmp_path / "b").rollback(found, source=orthanc, target=second, progress=False) == {"removed": 15}


@pytest.mark.one_version
def test_originals_go_only_after_a_verified_run_and_a_typed_number(
    orthanc: ores.Orthanc, second: ores.LocalOrthanc, tmp_path: Path
) -> None:
    stock(orthanc, patients=1, studies=1, slices=3)
    here = project(tmp_path)
    run = here.plan(orthanc, profile=PROFILE, target=emptied(second), progress=False).run(workers=1, progress=False)
    with pytest.raises(errors.QueryError, match="8 originals and expect=7"):
        here.delete_originals(run, expect=7, progress=False)
    victim = second.rest.instances.list()[0]
    content = second.rest.instances.file(victim)
    second.rest.instances.delete(victim)
    with pytest.raises(errors.DeidError, match="1 of 8 copies"):
        here.delete_originals(run, expect=8, progress=False)
    assert len(orthanc.rest.instances.list()) == 8
    second.rest.instances.upload(content)
    assert here.delete_originals(run, expect=8, progress=False) == {"removed": 8}
    assert orthanc.rest.instances.list() == []
    with pytest.raises(errors.QueryError, match="all there is"):
        here.rollback(run, progress=False)
    assert len(second.rest.instances.list()) == 8


def test_a_run_that_does_not_pass_any_more_is_unverified(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    run = released(tmp_path, source)
    copy = files(tmp_path / "out")[0]
    content = copy.read_bytes()
    copy.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "failed" in set(run.verify(progress=False)["status"])
    assert project(tmp_path).runs()[0].state == "unverified"
    with pytest.raises(errors.QueryError, match="done and verified"):
        project(tmp_path).delete_originals(1, expect=len(files(source)), progress=False)
    copy.write_bytes(content)
    assert set(run.verify(progress=False)["status"]) == {"verified"}
    assert project(tmp_path).runs()[0].state == "done"


def test_a_second_run_a_month_later_goes_on_with_the_first(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", studies=2)
    all_files = files(source)
    later = {path for path in all_files if "study-2" in path.parts}
    away = tmp_path / "away"
    for path in later:
        target = away / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    released(tmp_path, source)
    first = dict.fromkeys(project(tmp_path).mapping().pseudonyms)
    before = project(tmp_path).mapping().reveal()
    shutil.copytree(away, source, dirs_exist_ok=True)
    run = released(tmp_path, source)
    assert set(run.frame["status"]) == {"done"}
    assert run.frame["done"].sum() == 16
    assert project(tmp_path).mapping().reveal().equals(before)
    straight = cohort(tmp_path / "b" / "in", studies=2)
    released(tmp_path / "b", straight)
    assert kept(tmp_path / "out") == kept(tmp_path / "b" / "out")  # in one go, by another project of that key
    assert {read(path.read_bytes()).PatientID for path in files(tmp_path / "out")} == set(first)
    # Another key gives other names, and no UID in common.
    other = ores.Project(tmp_path / "c" / "project", Key.parse("01" * 32))
    other.plan(straight, profile=PROFILE, target=tmp_path / "c" / "out", progress=False).run(workers=1, progress=False)
    assert not set(other.mapping().pseudonyms) & set(first)
    assert not set(kept(tmp_path / "c" / "out")) & set(kept(tmp_path / "out"))


def test_rollback_takes_only_what_its_run_stored(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    first = released(tmp_path, source)
    before = kept(tmp_path / "out")
    changed(files(source)[0], source / "new", SOPInstanceUID="1.2.3.4.5")
    second = released(tmp_path, source)
    assert second.frame["done"].sum() == 1
    (tmp_path / "out" / "note.txt").write_text("mine")
    here = project(tmp_path)
    changed(files(source)[0], source / "newer", SOPInstanceUID="1.2.3.4.6")
    planned = here.plan(source, profile=PROFILE, target=tmp_path / "out", progress=False)
    (source / "newer").unlink()
    assert here.rollback(second, progress=False) == {"removed": 1}
    assert kept(tmp_path / "out") == before
    with pytest.raises(errors.DeidError, match="plan again"):  # it counts what is gone now as done
        planned.run(progress=False)
    original = files(source)[0].read_bytes()
    for write in (first.report, first.manifest):
        with pytest.raises(errors.QueryError, match="has to end in"):
            write(files(source)[0])
    assert files(source)[0].read_bytes() == original
    assert here.rollback(first, progress=False) == {"removed": 16}
    assert [path.name for path in files(tmp_path / "out")] == ["note.txt"]
    assert set(first.frame["status"]) == {"rolled-back"}
    assert set(released(tmp_path, source, Profile(remove=("KVP",))).frame["status"]) == {"done"}


def test_copies_whose_originals_went_stay_whichever_run_stored_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = cohort(tmp_path / "in", patients=1)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "mark", dies)  # stored, and not yet written down
        with pytest.raises(KeyboardInterrupt):
            released(tmp_path, source)
    here = project(tmp_path)
    assert (here.runs()[0].state, len(kept(tmp_path / "out"))) == ("open", 8)
    second = released(tmp_path, source)  # not resumed: it finds them in the target
    assert here.delete_originals(second, expect=8, progress=False) == {"removed": 8}
    for run in (1, 2):
        with pytest.raises(errors.QueryError, match="all there is"):
            here.rollback(run, progress=False)
    assert len(kept(tmp_path / "out")) == 8


def test_an_original_that_may_be_gone_keeps_its_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = cohort(tmp_path / "in", patients=1)
    run, here = released(tmp_path, source), project(tmp_path)
    remove = FolderSource.remove

    def refuses(self: FolderSource, key: str, md5: str) -> Removed:
        raise PlaceError("An original cannot be deleted (Permission denied).")

    def dies(self: FolderSource, key: str, md5: str) -> Removed:
        remove(self, key, md5)
        raise KeyboardInterrupt

    original = files(source)[0].read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(FolderSource, "remove", refuses)
        with pytest.raises(PlaceError):
            here.delete_originals(run, expect=8, progress=False)
        patch.undo()
        files(source)[0].write_bytes(b"another")
        assert here.delete_originals(run, expect=8, progress=False) == {"removed": 7, "changed": 1}
        files(source)[0].write_bytes(original)
        patch.setattr(FolderSource, "remove", dies)
        with pytest.raises(KeyboardInterrupt):
            here.delete_originals(run, expect=1, progress=False)
    assert files(source) == []
    with pytest.raises(errors.QueryError, match="all there is"):
        here.rollback(run, progress=False)
    assert len(kept(tmp_path / "out")) == 8
    # Killed at the first one, too.
    more = cohort(tmp_path / "b" / "in", patients=1)
    run, here = released(tmp_path / "b", more), project(tmp_path / "b")
    monkeypatch.setattr(FolderSource, "remove", dies)
    with pytest.raises(KeyboardInterrupt):
        here.delete_originals(run, expect=8, progress=False)
    with pytest.raises(errors.QueryError, match="all there is"):
        here.rollback(run, progress=False)


@pytest.mark.one_version
def test_servers_that_are_set_up_in_other_ways(version: str, tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", patients=1)
    copies = released(tmp_path, source)
    wanted = kept(tmp_path / "out")
    other = read(files(tmp_path / "out")[0].read_bytes())
    other.PatientSize = "1.7"
    theirs = io.BytesIO()
    other.save_as(theirs)
    with ores.LocalOrthanc(version, config={"OverwriteInstances": True}) as target:
        made = project(tmp_path / "a").plan(source, profile=PROFILE, target=target, progress=False)
        target.rest.instances.upload(theirs.getvalue())  # by somebody else, after that was planned
        run = made.run(workers=1, progress=False)
        assert run.failures["status"].tolist() == ["conflict"]
        assert len(kept(target).items() & wanted.items()) == 7
        assert theirs.getvalue() in [target.rest.instances.file(each) for each in target.rest.instances.list()]
        assert project(tmp_path / "a").rollback(run, source=source, target=target, progress=False) == {"removed": 7}
    with ores.LocalOrthanc(version, config={"StoreMD5ForAttachments": False}) as blind:
        run = project(tmp_path / "b").plan(source, profile=PROFILE, target=blind, progress=False).run(progress=False)
        assert (run.state, kept(blind)) == ("done", wanted)
        assert set(run.verify(workers=1, progress=False)["status"]) == {"verified"}
        emptied(blind).upload(source, progress=False)
        here = project(tmp_path / "c")
        run = here.plan(blind, profile=PROFILE, target=tmp_path / "c" / "out", progress=False).run(progress=False)
        assert (run.state, kept(tmp_path / "c" / "out")) == ("done", wanted)
        victim = blind.rest.instances.list()[0]
        file = tmp_path / "victim"
        file.write_bytes(blind.rest.instances.file(victim))
        blind.rest.instances.delete(victim)
        blind.rest.instances.upload(changed(file, PatientWeight="71").read_bytes())
        again = here.plan(blind, profile=PROFILE, target=tmp_path / "c" / "out", progress=False)
        assert again.frame["changed"].sum() == 1
    with ores.LocalOrthanc(version, config={"IngestTranscoding": "1.2.840.10008.1.2"}) as coding:
        made = project(tmp_path / "d").plan(source, profile=PROFILE, target=coding, progress=False)
        run = made.run(workers=1, progress=False)
        assert run.failures["error"].str.contains("IngestTranscoding").sum() == 8
        assert coding.rest.instances.list() == []
    assert copies.state == "done"


def test_a_damaged_original_is_told_without_its_orthanc_id(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(rest: object, instance: str, *, verify: bool) -> bytes:
        raise fetch.DamagedError(fetch.DIFFERS.format(instance))

    monkeypatch.setattr(fetch, "file", damaged)
    with ores.Orthanc("http://127.0.0.1:9", auth=("a", "b")) as orthanc, pytest.raises(PlaceError) as caught:
        OrthancSource(orthanc).read("0123-4567")
    assert "4567" not in str(caught.value)


def test_what_cannot_be_done_is_a_row_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = cohort(tmp_path / "in")
    made = project(tmp_path).plan(source, profile=PROFILE, target=tmp_path / "out", progress=False)
    victims = files(source)[:2]
    content = victims[0].read_bytes()
    victims[0].write_bytes(content[:-100])  # changed since it was planned
    victims[1].rename(tmp_path / "elsewhere")
    run = made.run(workers=1, progress=False)
    assert run.frame["status"].value_counts().to_dict() == {"done": 3, "partial": 1}
    assert run.failures["status"].tolist() == ["failed", "failed"]
    assert run.failures["error"].str.contains(r"changed since|cannot be read").all()
    assert str(tmp_path) not in run.failures.to_string()
    assert len(kept(tmp_path / "out")) == 14
    victims[0].write_bytes(content)
    (tmp_path / "elsewhere").rename(victims[1])
    assert set(project(tmp_path).resume(workers=1, progress=False).frame["status"]) == {"done"}
    assert len(kept(tmp_path / "out")) == 16
    with pytest.raises(errors.QueryError, match="no such run"):
        project(tmp_path).resume(17, progress=False)


def test_a_series_whose_modality_is_none_fails_with_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    """It may be anything, so it cannot stay; and a file without it is no image of its kind."""
    source = cohort(tmp_path / "in")
    victims = [path for path in files(source) if dcmread(path).Modality == "MR"][:3]
    for path in victims:
        changed(path, Modality="MR of a lady from the East")
    run = released(tmp_path, source)
    assert (run.state, run.frame["status"].value_counts().to_dict()) == ("partial", {"done": 3, "failed": 1})
    told = run.frame.loc[run.frame["status"] == "failed", "error"].iloc[0]
    assert told.startswith("Modality holds a value that its VR does not allow")
    assert "lady" not in run.frame.to_string() + run.failures.to_string()
    assert len(kept(tmp_path / "out")) == 16 - len(victims)
    for path in victims:
        changed(path, Modality="MR")
    assert set(released(tmp_path, source).frame["status"]) == {"done"}
    assert len(kept(tmp_path / "out")) == 16


def test_a_copy_that_does_not_pass_is_not_stored(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", patients=1)
    # The verifier looks for what every header of the patient says; here one says what another keeps in plain sight.
    path = files(source)[0]
    word = str(dcmread(path).ConvolutionKernel)
    assert word == "STANDARD"
    changed(path, OtherPatientIDs="STANDARD77", ConvolutionKernel="STANDARD77")
    run = released(tmp_path, source)
    stored = [read(each.read_bytes()) for each in files(tmp_path / "out")]
    assert not any("STANDARD77" in str(each) for each in stored)
    assert len(stored) == run.frame["done"].sum()
    assert "STANDARD77" not in run.failures.to_string()


class Stopping(ores.Silent):
    """Cancels after so many instances."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at
        self.since = 0.0

    def advance(self, count: int = 1) -> None:
        self._left -= count
        if self._left == 0:
            self.since = time.monotonic()
            self.cancel()


def test_cancel_returns_at_once_and_resume_does_the_rest(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", patients=4)
    stop = Stopping(3)
    made = project(tmp_path).plan(source, profile=PROFILE, target=tmp_path / "out", progress=False)
    run = made.run(progress=stop)
    assert time.monotonic() - stop.since < 5
    assert run.state == "open"
    assert "not-done" in set(run.frame["status"])
    assert run.frame["error"].dropna().str.contains("resume").all()
    assert len(kept(tmp_path / "out")) < 32
    assert set(project(tmp_path).resume(workers=1, progress=False).frame["status"]) == {"done"}
    assert len(kept(tmp_path / "out")) == 32


def test_a_worker_that_hangs_does_not_hold_a_cancel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = cohort(tmp_path / "in")
    made = project(tmp_path).plan(source, profile=PROFILE, target=tmp_path / "out", progress=False)
    monkeypatch.setattr(_carry, "make", hang)
    stop = Stopping(10**9)
    threading.Timer(2, stop.cancel).start()
    start = time.monotonic()
    run = made.run(progress=stop)
    assert time.monotonic() - start < 7
    assert run.state == "open"
    monkeypatch.undo()
    assert set(project(tmp_path).resume(workers=1, progress=False).frame["status"]) == {"done"}


def test_a_crash_is_the_failure_of_one_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = cohort(tmp_path / "in")
    changed(files(source)[2], StationName="FATAL")
    made = project(tmp_path).plan(source, profile=PROFILE, target=tmp_path / "out", progress=False)
    monkeypatch.setattr(_carry, "make", crash)
    run = made.run(workers=1, progress=False)
    assert run.state == "partial"
    assert run.failures["error"].str.contains("died").tolist() == [True]
    assert len(kept(tmp_path / "out")) == 15
    assert not [path for path in files(tmp_path / "out") if path.suffix != ".dcm"]
    monkeypatch.undo()
    assert set(project(tmp_path).resume(workers=1, progress=False).frame["status"]) == {"done"}
    assert len(kept(tmp_path / "out")) == 16


def test_a_full_disk_ends_a_run_and_resume_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = cohort(tmp_path / "in")
    made = project(tmp_path).plan(source, profile=PROFILE, target=tmp_path / "out", progress=False)
    link, left = os.link, iter(range(3))

    def full(old: Path, new: Path) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        link(old, new)

    monkeypatch.setattr(os, "link", full)
    run = made.run(workers=1, progress=False)
    monkeypatch.undo()
    assert run.halted is not None
    assert "No space left" in run.halted
    assert len(kept(tmp_path / "out")) == 3
    assert not [path for path in files(tmp_path / "out") if path.suffix != ".dcm"]
    assert set(project(tmp_path).resume(workers=1, progress=False).frame["status"]) == {"done"}


def test_a_worker_whose_disk_is_full_ends_a_run_and_resume_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = cohort(tmp_path / "in", patients=1)
    made = project(tmp_path).plan(source, profile=PROFILE, target=tmp_path / "out", progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(_carry, "make", no_room)
        run = made.run(workers=1, progress=False)
    assert "No space left" in str(run.halted)
    assert not files(tmp_path / "out")
    assert set(project(tmp_path).resume(workers=1, progress=False).frame["status"]) == {"done"}


@pytest.mark.parametrize("at", [1, 2, 5, 9, 17])
def test_a_disk_that_fails_at_any_step_is_told_and_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """R9: the n-th line of the journal, the n-th folder, file, flush or name of a copy."""
    source = cohort(tmp_path / "in", patients=1)
    steps = itertools.count(1)

    def failing(real: Callable[..., Any], kind: type[Exception]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if next(steps) >= at:
                raise kind(errno.EIO, os.strerror(errno.EIO))
            return real(*arguments, **options)

        return step

    made = project(tmp_path).plan(source, profile=PROFILE, target=tmp_path / "out", progress=False)
    with monkeypatch.context() as patch:
        for owner, name in ((os, "link"), (os, "fsync"), (os, "mkdir")):
            patch.setattr(owner, name, failing(getattr(owner, name), OSError))
        patch.setattr(Database, "write_all", failing(Database.write_all, DiskError))
        try:
            told = str(made.run(workers=1, progress=False).halted)
        except errors.DeidError as error:
            told = str(error)
    assert "Input/output error" in told
    assert all(path.suffix == ".dcm" for path in files(tmp_path / "out"))
    here = project(tmp_path)
    run = here.resume(workers=1, progress=False) if here.runs() else released(tmp_path, source)
    assert (run.state, len(kept(tmp_path / "out"))) == ("done", 8)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    here = project(tmp_path)
    made = here.plan(source, profile=PROFILE, target=tmp_path / "out", progress=False)
    with FileLock(tmp_path / "project" / "project.sqlite.lock"):
        for act in (made.run, here.resume, lambda **options: here.forget("x", expect=1)):
            with pytest.raises(errors.QueryError, match="Another process or notebook works on that project"):
                act(progress=False)
        assert here.mapping().pseudonyms == []  # to look at it disturbs nobody
    assert set(made.run(workers=1, progress=False).frame["status"]) == {"done"}
    # What was planned before that does not know what has happened since.
    late = here.plan(cohort(tmp_path / "more", seed=7), profile=PROFILE, target=tmp_path / "out", progress=False)
    project(tmp_path).plan(
        tmp_path / "more", profile=PROFILE, target=tmp_path / "out", sequential=True, progress=False
    ).run(workers=1, progress=False)
    with pytest.raises(errors.DeidError, match="plan again"):
        late.run(workers=1, progress=False)


def test_the_mapping_hides_itself_and_forgets(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    original = str(dcmread(files(source)[0]).PatientID)
    here = project(tmp_path)
    assert len(here.mapping()) == 0
    released(tmp_path, source)
    mapping = here.mapping()
    shown = f"{mapping!r} {mapping} {mapping.__dict__['_named']}"
    assert original not in shown
    assert "SYN-" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(mapping)
    names = mapping.reveal().set_index("PatientID")["pseudonym"]
    pseudonym = str(names[original])
    assert here.lookup(original)["new"].tolist() == [pseudonym]
    made = [read(path.read_bytes()) for path in files(tmp_path / "out")]
    copy = next(each for each in made if each.PatientID == pseudonym)
    (found,) = here.lookup(copy.SOPInstanceUID).itertuples(index=False)
    assert (found.kind, found.new) == ("SOPInstanceUID", copy.SOPInstanceUID)
    assert found.original in {dcmread(path).SOPInstanceUID for path in files(source)}
    assert here.lookup("nobody").empty
    with pytest.raises(errors.QueryError, match="inside the target"):
        here.export_midi(tmp_path / "out" / "midi")
    here.export_midi(tmp_path / "midi")
    with (tmp_path / "midi" / "uid_mapping.csv").open(newline="") as stream:
        pairs = {row["id_old"]: row["id_new"] for row in csv.DictReader(stream)}
    originals = [dcmread(path) for path in files(source)]
    copies = {each.SOPInstanceUID: each for each in made}
    for each in originals:
        twin = copies[pairs[each.SOPInstanceUID]]
        assert pairs[each.SeriesInstanceUID] == twin.SeriesInstanceUID
        assert pairs[each.StudyInstanceUID] == twin.StudyInstanceUID
        assert names[each.PatientID] == twin.PatientID
    with pytest.raises(errors.QueryError, match="nobody was forgotten"):
        here.forget(["nobody", pseudonym], expect=2)
    assert here.forget(pseudonym, expect=1) == 1
    assert len(here.mapping()) == 1
    assert here.lookup(original).empty
    left = b"".join(path.read_bytes() for path in files(tmp_path / "project"))
    assert original.encode() not in left


class EndsJustThen(Future[Any]):
    """One that ends in the moment in which who waited so long gives up waiting."""

    def result(self, timeout: float | None = None) -> Any:
        if timeout is not None:
            raise TimeoutError
        return super().result()


class JustThen(Executor):
    def submit(self, *_: Any, **__: Any) -> Any:
        future = EndsJustThen()
        future.set_result(3)
        return future


def test_what_ends_as_it_is_looked_at_has_not_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Key.parse(KEY)
    bench = Bench(1, key, PROFILE)
    bench._threads.shutdown()
    bench._threads = JustThen()  # type: ignore[assignment]
    assert bench.call(len, "") == 3
    bench.close()
    monkeypatch.setattr(_away, "executor_of", lambda executor, *_: executor)
    away = Away(JustThen(), "LUNG_KEY", key, PROFILE, tmp_path, ores.Silent())
    assert away.call(len, "") == 3
    away.close()


@pytest.mark.parametrize("where", ["file", "env"])
def test_the_key_and_the_patients_are_nowhere_to_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """S4, for releases: everything that is shown, logged, written or handed to a process is looked through."""
    caplog.set_level(logging.DEBUG)
    source = cohort(tmp_path / "in")
    for path in files(source):
        changed(path, PatientName="Canary^Tweety", PatientID="CANARY-4711", StudyDescription="Tweety came again")
    key = tmp_path / "key"
    key.write_text(KEY)
    key.chmod(0o600)
    handed: list[bytes] = []

    class Looking(ores.Silent):
        def advance(self, count: int = 1) -> None:
            for each in (os.getpid(), *below(os.getpid())):
                for name in ("cmdline", "environ"):
                    with suppress(OSError):  # it has ended
                        handed.append(Path(f"/proc/{each}/{name}").read_bytes())

    monkeypatch.setenv("LUNG_KEY", KEY)  # not in our own /proc, but what workers would inherit
    here = ores.Project(tmp_path / "project", f"file:{key}" if where == "file" else "env:LUNG_KEY")
    made = here.plan(source, profile=PROFILE, target=tmp_path / "out", progress=False)
    run = made.run(progress=Looking())
    assert run.frame["done"].sum() == 16
    report = run.manifest(tmp_path / "manifest.json")
    shown = [
        *map(repr, (here, made, run, here.mapping(), made._setting, made._draft, *made._draft.units, run.verdict)),
        made.frame.to_string(), made.problems.to_string(), run.frame.to_string(), run.failures.to_string(),
        caplog.text, report.read_text(), *(str(path.relative_to(tmp_path / "out")) for path in files(tmp_path / "out")),
    ]  # fmt: skip
    words = ("canary", "tweety", KEY)
    for text in shown:
        assert not [word for word in words if word in text.lower()], text[:300]
    assert len(set(handed)) > 3  # its own, and a worker's
    assert not [word for word in (b"CANARY", b"Tweety", KEY.encode()) if any(word in each for each in handed)]
    for path in files(tmp_path / "out"):
        assert not [word for word in (b"anary", b"CANARY", b"weety") if word in path.read_bytes()]
    for path in (*files(tmp_path / "project"), *files(tmp_path / "out")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
        assert KEY.encode() not in path.read_bytes()
        assert bytes.fromhex(KEY) not in path.read_bytes()
    for folder in (tmp_path / "project", tmp_path / "out"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    about = json.loads(report.read_text())
    assert about["key_id"] == here.key_id
    assert about["counts"] == {"patients": 1, "studies": 2, "series": 4, "instances": 16}
    uids = {
        str(dcmread(path)[name].value)
        for path in files(source)
        for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    }
    assert not [uid for uid in uids if uid in report.read_text()]
