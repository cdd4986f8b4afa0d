"""What goes wrong during a build: it is killed, its disk is full, a worker dies, a file on the server is damaged."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import logging
import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dataset_builds import SMALL, build, check, cohort, inputs_hash, load, recipe
from dicom_files import as_file
from faults.child import act  # which sets the fork server up
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import UID, RawDataStorage, RLELossless
from test_gates_disk import STEPS, SmallDisk, disk, failing  # noqa: F401 - a fixture

import orthanc_research as ores
from orthanc_research import files
from orthanc_research.dataset import DatasetPlan, Recipe
from orthanc_research.errors import DatasetError
from orthanc_research.local import OrthancServer
from orthanc_research.pixels import _decode

UNCACHED = {"MaximumStorageCacheSize": 0}
FRAMES = SMALL.replace('also = ["npz"]', "").replace('require = "volume"', 'require = "none"')
RELEASED = SMALL + '[anonymize]\nproject = "env:ORES_PROJECT"\nprofile = "research"\n'
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.link", "sqlite3.connect")
Auth = tuple[str, str] | None


def _dying(url: str, auth: Auth, folder: str, environment: dict[str, str], at: int, seconds: float) -> None:
    """A build that ends itself before its n-th step on files in the folder, or after some time."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    os.environ.update(environment)
    count = itertools.count(1)
    steps = 0

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal steps
        if event in EVENTS and given and str(given[0]).startswith(folder):
            steps = next(count)
            if steps == at:
                os.kill(os.getpid(), signal.SIGKILL)

    with ores.Orthanc(url, auth=auth) as orthanc:
        if seconds:
            signal.setitimer(signal.ITIMER_REAL, seconds)  # nothing handles its signal
        sys.addaudithook(hook)
        begun = time.monotonic()
        act(orthanc, "build", Path(folder))
        took = time.monotonic() - begun
    Path(folder, "steps").write_text(f"{steps} {took}")


def _killed(orthanc: ores.Orthanc, folder: Path, text: str, at: int, seconds: float) -> int | None:
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(text)
    environment = {"ORES_PROJECT": str(folder / "project"), "ORES_KEY": "5b" * 32}
    given = (orthanc.url, orthanc.rest.connection.basic_auth(), str(folder), environment, at, seconds)
    child = get_context("forkserver").Process(target=_dying, args=given)
    child.start()
    child.join(120)
    return child.exitcode


@pytest.mark.one_version
@pytest.mark.parametrize("text", [SMALL, RELEASED], ids=["plain", "released"])
def test_builds_that_are_killed_go_on_to_the_same_dataset(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    check_killed(orthanc, tmp_path, monkeypatch, text, 3 if text == SMALL else 2)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.one_version
@pytest.mark.parametrize(("text", "times"), [(SMALL, 30), (RELEASED, 20)], ids=["plain", "released"])
def test_builds_that_are_killed_at_any_moment_go_on_to_the_same_dataset(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, times: int
) -> None:
    check_killed(orthanc, tmp_path, monkeypatch, text, times)


def check_killed(orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, times: int) -> None:
    load(orthanc, cohort("CT", slices=3))
    monkeypatch.setenv("ORES_KEY", "5b" * 32)
    assert _killed(orthanc, tmp_path / "whole", text, 0, 0) == 0
    steps, took = (tmp_path / "whole" / "steps").read_text().split()
    right = ores.open_dataset(tmp_path / "whole" / "out", check=True).manifest["content"]
    draw, killed = random.Random(7), 0
    for number in range(times):
        folder = tmp_path / str(number)
        timed = number % 3 == 2  # within a request or a decision, not before a step on the disk
        at, seconds = draw.randint(1, int(steps)), draw.uniform(0.02, 0.6) * float(took)
        ended = _killed(orthanc, folder, text, 0 if timed else at, seconds if timed else 0)
        assert ended == -signal.SIGKILL or (timed and ended in (-signal.SIGALRM, 0)), (at, seconds)
        killed += ended != 0
        if (folder / "out" / "manifest.json").exists():  # it is written last
            assert ores.open_dataset(folder / "out", check=True).manifest["content"] == right
        monkeypatch.setenv("ORES_PROJECT", str(folder / "project"))
        made = build(orthanc, Recipe.parse(text), folder / "out")
        check(made, Recipe.parse(text))
        assert made.content_hash == right, (at, seconds)
        assert not list(folder.rglob(".ores-*"))
    assert killed >= 0.8 * times - 1  # a timed one may come too late on a busy machine


@contextmanager
def _full_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[list[int]]:
    """A disk that is full for one file, the n-th that is put in its place; how many were."""
    seen, real = [0], files.put

    def put(*given: Any, **named: Any) -> None:
        seen[0] += 1
        if seen[0] == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(files, "put", put)
        yield seen


def _told(plan: DatasetPlan, folder: Path) -> str:
    """What is said of a build that failed; and nothing in the folder passes for a dataset."""
    try:
        made = plan.build(folder, workers=1, progress=False)
    except (DatasetError, ores.DeidError) as error:
        said = str(error)
    else:
        assert not made.complete
        said = str(made.status["error"].dropna().iloc[0])
    with pytest.raises(DatasetError):
        ores.open_dataset(folder)
    return said


@pytest.mark.one_version
def test_a_disk_that_is_full_at_any_write_says_how_much_it_needs_and_is_gone_on_with(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(orthanc, cohort("CT", patients=1, slices=3))
    plan = recipe().plan(orthanc, progress=False)
    with _full_at(monkeypatch, 0) as seen:
        right = plan.build(tmp_path / "right", progress=False)
    assert seen[0] > 12
    for number in range(1, seen[0] + 1):
        folder = tmp_path / str(number)
        with _full_at(monkeypatch, number):
            said = _told(plan, folder)
        assert "The disk is full" in said, (number, said)
        assert " MB" in said
        assert plan.build(folder, progress=False).content_hash == right.content_hash
        assert right.verify().empty


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.one_version
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_step_is_told_and_gone_on_from(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    load(orthanc, cohort("CT", patients=1, slices=3))
    plan = recipe().plan(orthanc, progress=False)
    right = plan.build(tmp_path / "right", progress=False)
    told = 0
    for owner, name in STEPS:
        for at in itertools.count(1):
            folder = tmp_path / f"{name}-{at}"
            with monkeypatch.context() as patch:
                hit = failing(patch, owner, name, at, number)
                try:
                    made = plan.build(folder, workers=1, progress=False)
                except DatasetError as error:
                    said = [str(error)]
                else:
                    said = made.status["error"].dropna().tolist()
                    # Some file systems cannot flush a folder: the file in it is whole, and nothing is said.
                    assert said or not hit or (name == "fsync" and made.content_hash == right.content_hash)
            if not hit:
                break
            told += bool(said)
            words = ("disk is full", " MB") if number == errno.ENOSPC else (os.strerror(number),)
            assert all(word in each for each in said for word in words), said
            assert not list(folder.rglob("*.partial"))
            assert plan.build(folder, progress=False).content_hash == right.content_hash, (name, at)
    assert told > 20


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.one_version
def test_a_release_on_a_disk_that_is_full_at_any_write_is_gone_on_with(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(orthanc, cohort("CT", patients=1, slices=3))
    monkeypatch.setenv("ORES_KEY", "5b" * 32)
    plan = recipe(RELEASED).plan(orthanc, progress=False)
    monkeypatch.setenv("ORES_PROJECT", str(tmp_path / "project"))
    with _full_at(monkeypatch, 0) as seen:
        right = plan.build(tmp_path / "right", progress=False)
    for number in range(1, seen[0] + 1):
        monkeypatch.setenv("ORES_PROJECT", str(tmp_path / f"project {number}"))
        folder = tmp_path / str(number)
        with _full_at(monkeypatch, number):
            assert "full" in _told(plan, folder), number
        assert plan.build(folder, progress=False).content_hash == right.content_hash


@pytest.mark.one_version
def test_a_disk_that_is_really_full_is_told_and_gone_on_with(
    orthanc: ores.Orthanc,
    disk: SmallDisk,  # noqa: F811
    tmp_path: Path,
) -> None:
    load(orthanc, cohort(size=64))
    plan = recipe().plan(orthanc, progress=False)
    right = plan.build(tmp_path / "right", progress=False)
    needed = sum(-(-path.stat().st_size // 4096) * 4096 for path in right.folder.rglob("*"))
    told = []
    for part in (0, 0.15, 0.5, 0.75, 0.85):
        disk.fill(but=int(part * needed))
        told.append(_told(plan, disk.folder / "out"))
        assert " MB" in told[-1], (part, told[-1])
        disk.free()
        made = plan.build(disk.folder / "out", progress=False)
        assert made.content_hash == right.content_hash
        assert made.verify().empty
        for path in sorted(made.folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    assert any("this series needs" in text for text in told)
    assert "the series that are done stay" in told[-1]


def _without_decoders(auth: str) -> None:
    os.environ["BUILD_AUTH"] = auth  # the server that forks may be older than this test
    vars(_decode)["available"] = lambda _: ()


@pytest.mark.one_version
def test_a_worker_that_lacks_a_decoder_or_dies_is_rows_and_the_next_run_does_the_rest(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = cohort("CT")
    packed = given[0].SeriesInstanceUID
    for each in given:
        if each.SeriesInstanceUID == packed:
            each.compress(RLELossless, generate_instance_uid=False)
    load(orthanc, given)
    right = build(orthanc, recipe(), tmp_path / "right")
    assert {"1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1"} == set(right.decoders)
    assert right.decoders["1.2.840.10008.1.2.5"][0].startswith("pylibjpeg ")
    auth = ":".join(orthanc.rest.connection.basic_auth() or ("no", "one"))
    monkeypatch.setenv("BUILD_AUTH", auth)
    how: dict[str, Any] = {"mp_context": get_context("forkserver"), "initializer": _without_decoders}
    how["initargs"] = (auth,)
    with ores.Orthanc(orthanc.url, auth="env:BUILD_AUTH") as named, ProcessPoolExecutor(1, **how) as executor:
        made = build(named, recipe(), tmp_path / "out", executor=executor)
        assert made.status["status"].value_counts().to_dict() == {"done": 1, "failed": 1}
        assert "install pylibjpeg" in str(made.status.loc[packed, "error"])
        assert made.complete
        assert "failed" in set(ores.open_dataset(made.folder).issues["kind"])
        with pytest.raises(Exception, match="terminated"):
            executor.submit(os._exit, 1).result()
        died = build(named, recipe(), tmp_path / "died", executor=executor)
        assert set(died.status["status"]) == {"not-done"}
        assert died.status["error"].str.contains("worker died").all()
    for folder in ("out", "died"):
        assert build(orthanc, recipe(), tmp_path / folder).content_hash == right.content_hash


@pytest.mark.one_version
def test_a_file_that_is_damaged_on_the_server_is_a_row_and_the_others_are_built(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    with (
        OrthancServer(None, folder, config=UNCACHED) as server,
        ores.Orthanc(server.url, auth=server.auth) as orthanc,
    ):
        given = cohort("CT", patients=3)
        load(orthanc, given)
        uids = sorted({str(each.SeriesInstanceUID) for each in given})
        stored = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

        def path_of(series: str) -> Path:
            one = next(each for each in given if each.SeriesInstanceUID == series)
            return next(path for path, content in stored.items() if content.endswith(as_file(one)[-600:]))

        gone, odd = path_of(uids[0]), path_of(uids[1])
        gone.unlink()
        odd.write_bytes(stored[odd][:-9] + bytes([stored[odd][-9] ^ 1]) + stored[odd][-8:])
        made = build(orthanc, recipe(FRAMES), tmp_path / "out")
        assert made.status["status"].to_dict() == {uids[0]: "failed", uids[1]: "failed", uids[2]: "done"}
        assert made.complete
        assert made.verify().empty
        drops = recipe().plan(orthanc, progress=False).drops
        assert drops.to_dict() == {"unreadable: the server cannot read all of its files": 1}
        gone.write_bytes(stored[gone])
        odd.write_bytes(stored[odd])
        assert set(made.retry(progress=False).status["status"]) == {"done"}
        table = Recipe.parse(FRAMES.replace("[arrays]", '[arrays]\nvalues = "none"'))
        whole = build(orthanc, table, tmp_path / "table")
        gone.unlink()
        part = build(orthanc, table, tmp_path / "part")
        assert part.status["status"].value_counts().to_dict() == {"done": 2, "partial": 1}
        assert "cannot read the files of 1 instances" in str(part.status.loc[uids[0], "error"])
        ds = ores.open_dataset(part.folder)
        assert len(ds.instances) == len(given) - 1
        assert len(ores.open_dataset(whole.folder).instances) == len(given)


@pytest.mark.one_version
def test_a_volume_is_never_short_of_a_slice_that_does_not_decode(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    given = cohort("CT")
    series = str(given[0].SeriesInstanceUID)
    last = max((each for each in given if each.SeriesInstanceUID == series), key=lambda each: each.InstanceNumber)
    last.PixelData = last.PixelData[:100]
    other = next(each for each in given if each.SeriesInstanceUID != series)
    note = dcmread(BytesIO(as_file(other)))  # beside the images of its series, and none itself
    for keyword in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(note, keyword)
    note.SOPInstanceUID = note.file_meta.MediaStorageSOPInstanceUID = UID(f"{other.SOPInstanceUID}.1")
    note.SOPClassUID = note.file_meta.MediaStorageSOPClassUID = RawDataStorage
    load(orthanc, [*given, note])
    split = SMALL.replace('require = "volume"', 'require = "volume"\non_4d = "split"')
    made = build(orthanc, recipe(split), tmp_path / "out")
    assert made.status["status"].to_dict() == {series: "failed", str(other.SeriesInstanceUID): "partial"}
    assert "cut" in str(made.status.loc[series, "error"])
    assert not list(made.folder.rglob(f"{series}*"))
    count = sum(each.SeriesInstanceUID == other.SeriesInstanceUID for each in given)
    assert ores.open_dataset(made.folder).volume(str(other.SeriesInstanceUID)).shape[0] == count


NAME = b"Jane^Secretperson never shown!"


def _hostile(dataset: Dataset) -> bytes:
    """Values that pydicom complains of, with what they are."""
    keywords = ("SpecificCharacterSet", "StudyDate", "StudyTime", "FrameOfReferenceUID", "KVP", "PatientAge")
    more = ("ImageType", "AcquisitionNumber", "PatientSex", "RescaleType", "WindowCenter", "EchoTime")
    for keyword in (*keywords, *more):
        tag = Tag(tag_for_keyword(keyword) or 0)
        dataset._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(NAME), NAME, 0, False, True)
    stream = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(stream)
    return stream.getvalue()


@pytest.mark.one_version
def test_no_value_is_in_a_warning_or_a_log(
    orthanc: ores.Orthanc, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    contents = [_hostile(dcmread(BytesIO(as_file(each)))) for each in cohort("CT")]
    assert set(orthanc.upload(contents, progress=False)["status"]) == {"stored"}
    text = SMALL.replace('"KVP"', '"KVP", "StudyDate", "WindowCenter"')
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with warnings.catch_warnings(record=True) as known:
            dcmread(BytesIO(contents[0]))
        assert NAME.decode()[:16] in str(known[0].message)  # what is looked for is there
        caplog.clear()
        made = build(orthanc, recipe(text), tmp_path / "out")
        series, (instance, *_) = orthanc.series(), orthanc.instances().index
        orthanc.volume(series.head(1), "rescaled", min_slices=2)
        orthanc.export(series, tmp_path / "frames", progress=False)
        orthanc.pixels(instance, "display"), orthanc.overlays(instance), orthanc.stacks(series.head(1))
        filters = list(warnings.filters)
    assert made.complete
    shown = "".join(str(each.message) for each in told) + caplog.text + "".join(capfd.readouterr()) + repr(made)
    shown += made.status.to_csv() + ores.open_dataset(made.folder).issues.to_csv()
    assert "Secretperson" not in shown
    assert "orthanc_research" not in str(filters)  # as they were before


def test_a_build_says_what_it_was_made_with_and_of(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    given = cohort("CT", patients=1, slices=3)
    load(orthanc, given)
    made = build(orthanc, recipe(), tmp_path / "out")
    manifest = ores.open_dataset(made.folder).manifest
    (decoder,) = manifest["decoders"]["1.2.840.10008.1.2.1"]
    assert decoder.startswith("numpy ")
    assert made.retry(progress=False).decoders == manifest["decoders"]  # of what was built before as well
    for path in made.folder.glob("*.parquet"):  # a file that is found alone still says what made it
        about = json.loads(pq.read_schema(path).metadata[b"orthanc_research"])
        assert (about["recipe"], about["schema"]) == (manifest["recipe"], 1)
    (frames,) = (made.folder / "frames").glob("*.parquet")
    metadata = pq.read_schema(frames).metadata
    assert metadata[b"orthanc_research.recipe"].decode() == manifest["recipe"]
    assert metadata[b"orthanc_research.frames"] == b"1"
    assert manifest["lock"] == inputs_hash(made.folder)
    lock = json.loads((made.folder / "recipe.lock.json").read_text())
    assert lock["servers"] == [orthanc.capabilities().version]
    assert lock["versions"] == manifest["versions"]
    (series,) = lock["series"]
    (identifier,) = orthanc.series().index
    uids = sorted(
        ores.orthanc_id(d.PatientID, d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPInstanceUID) for d in given
    )
    assert series.pop("LastUpdate")
    assert series == {
        "SeriesInstanceUID": given[0].SeriesInstanceUID, "ID": identifier, "source": 0, "instances": len(given),
        "hash": hashlib.sha256("\n".join(uids).encode()).hexdigest(),
    }  # fmt: skip
    facts = (made.folder / "build.json").read_text()
    assert all(word in facts for word in ("started", "ended", "pyarrow", "1.2.840.10008.1.2.1"))
    _HASHES.add(made.content_hash)
    assert len(_HASHES) == 1  # of every server


_HASHES: set[str] = set()
