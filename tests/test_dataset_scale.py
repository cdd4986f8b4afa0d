"""A dataset from a cluster: the same as from one thread, whatever happens to its workers, and no more than its share.

A real Dask LocalCluster of two processes; two Orthancs, each behind a proxy that counts what is asked of it at a time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from faults import Fault, Proxy
from pydicom.uid import RLELossless
from release_cases import PROFILE, cohort, kept
from stock import stock

import orthanc_research as ores
from orthanc_research.dataset import Recipe
from orthanc_research.errors import DatasetError, QueryError
from orthanc_research.progress import Silent
from orthanc_research.rest import Connection

cloudpickle = pytest.importorskip("cloudpickle", reason="the extra dask is not installed")
distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
pytestmark = [pytest.mark.one_version, pytest.mark.filterwarnings("ignore::ResourceWarning")]

SECRET = "7d" * 32  # not that of other tests, which look for theirs in all that a process is given
RECIPE = """
[dataset]
name = "scale"
[[source]]
url = "env:SCALE_URL_0"
auth = "env:SCALE_AUTH_0"
concurrency = 1
[[source]]
url = "env:SCALE_URL_1"
auth = "env:SCALE_AUTH_1"
concurrency = 4
[query]
match = { Modality = ["CT", "MR"] }
[metadata]
keywords = ["PatientSex", "EchoTime"]
[splits]
ratios = { train = 0.5, test = 0.5 }
"""


class Counter:
    """How many requests are with the server at a time, and what to do when one comes."""

    def __init__(self) -> None:
        self.now = self.most = self.all = 0
        self.lock = threading.Lock()
        self.comes: Callable[[bytes], None] = lambda request: None

    def begin(self, request: bytes) -> Fault | None:
        with self.lock:
            self.now, self.all = self.now + 1, self.all + 1
            self.most = max(self.most, self.now)
        self.comes(request)
        return None

    def end(self, head: bytes) -> bool:
        with self.lock:
            self.now -= 1
        return False

    def forget(self) -> None:
        self.most = self.all = 0
        self.comes = lambda request: None


@pytest.fixture(scope="module")
def counters(
    connection: Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[Counter], list[ores.Orthanc]]]:
    """Two servers with other patients, behind proxies, in the environment as the recipe names them."""
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        auth = connection.basic_auth()
        first = stack.enter_context(ores.Orthanc(connection.url, auth=auth))
        second = stack.enter_context(ores.LocalOrthanc(folder=tmp_path_factory.mktemp("second") / "server"))
        found, orthancs = [], [first, second]
        for place, orthanc in enumerate(orthancs):
            if orthanc.rest.patients.list():
                orthanc.rest.tools.bulk_delete(orthanc.rest.patients.list())
            made = ores.samples.cohort(patients=2, studies=1, slices=4, size=16, seed=place)
            for each in made if place else ():
                if each.SeriesInstanceUID == made[0].SeriesInstanceUID:
                    each.compress(RLELossless, generate_instance_uid=False)
            assert set(orthanc.upload(made, progress=False)["status"]) == {"stored"}
            counter = Counter()
            proxy = stack.enter_context(Proxy(orthanc.url, counter.end, script=counter.begin))
            patch.setenv(f"SCALE_URL_{place}", proxy.url)
            patch.setenv(f"SCALE_AUTH_{place}", ":".join(orthanc.rest.connection.basic_auth() or ("", "")))
            found.append(counter)
        patch.setenv("SCALE_KEY", SECRET)
        yield found, orthancs


@pytest.fixture(scope="module")
def client(counters: Any) -> Iterator[Any]:
    """Two worker processes of a thread each, which have the environment of this one."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def serial(counters: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with _plan() as plan:
        return plan.build(tmp_path_factory.mktemp("serial") / "out", workers=1, progress=False)


def _plan() -> Any:
    return Recipe.parse(RECIPE).plan(progress=False)


class Seen(Silent):
    """What the driver was told."""

    def __init__(self) -> None:
        super().__init__()
        self.of = self.done = 0
        self.notes: list[str] = []

    def total(self, count: int | None, unit: str = "") -> None:
        self.of = count or 0

    def advance(self, count: int = 1) -> None:
        self.done += count

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What goes to the scheduler for each task, as it goes."""
    found: list[Any] = []
    submit = distributed.Client.submit

    def seen(self: Any, *given: Any, **more: Any) -> Any:
        found.append((cloudpickle.dumps(given), repr(given)))
        return submit(self, *given, **more)

    monkeypatch.setattr(distributed.Client, "submit", seen)
    return found


def test_a_cluster_gives_the_same_dataset_and_keeps_to_the_caps(
    counters: Any, client: Any, serial: Any, tmp_path: Path, sent: list[Any]
) -> None:
    found, _ = counters
    secrets = [os.environ[f"SCALE_AUTH_{place}"].partition(":")[2].encode() for place in (0, 1)]
    with _plan() as plan:
        for counter in found:
            counter.forget()
        progress = Seen()
        build = plan.build(tmp_path / "out", executor=client.get_executor(), progress=progress)
    assert set(build.status["status"]) == {"done"}, build.status["error"].tolist()
    assert build.content_hash == serial.content_hash != ""
    assert (progress.of, progress.done) == (8, 8)
    assert found[0].most == 1
    assert 1 < found[1].most <= 4
    assert all(counter.all > 20 for counter in found)
    assert build.verify().empty
    assert len(sent) == 8
    assert not [secret for secret in secrets if secret and any(secret in content for content, _ in sent)]
    assert max(len(content) for content, _ in sent) < 5000
    import dask.dataframe

    tables = dask.dataframe.read_parquet(tmp_path / "out" / "instances.parquet")
    instances = ores.open_dataset(tmp_path / "out").instances
    assert len(tables) == len(instances)
    counts = tables.groupby("SeriesInstanceUID").size().compute().sort_index()
    assert counts.to_dict() == instances.groupby("SeriesInstanceUID").size().to_dict()


def test_threads_keep_to_the_caps_as_well(counters: Any, serial: Any, tmp_path: Path) -> None:
    found, _ = counters
    with _plan() as plan:
        for counter in found:
            counter.forget()
        build = plan.build(tmp_path / "out", workers=4, progress=False)
        assert found[0].most == 1
        assert found[1].most <= 4
        with ThreadPoolExecutor(3) as executor:
            again = plan.build(tmp_path / "executor", executor=executor, progress=False)
    assert build.content_hash == again.content_hash == serial.content_hash
    assert found[0].most == 1
    assert found[1].most <= 4


def test_a_worker_that_is_killed_in_the_middle_is_made_up_for(
    counters: Any, client: Any, serial: Any, tmp_path: Path
) -> None:
    found, _ = counters
    before = client.run(os.getpid)
    killed: list[int] = []
    lock = threading.Lock()

    def kill(request: bytes) -> None:
        with lock:
            if not killed and found[1].all > 12:
                killed.extend(before.values())
                for pid in killed:  # both, so that whoever asks this is in the middle of a series
                    os.kill(pid, signal.SIGKILL)

    with _plan() as plan:
        for counter in found:
            counter.forget()
        found[1].comes = kill
        build = plan.build(tmp_path / "out", executor=client, progress=False)
        found[1].comes = lambda request: None
    assert len(killed) == 2
    assert set(build.status["status"]) == {"done"}, build.status["error"].tolist()
    assert build.content_hash == serial.content_hash
    assert not set(client.run(os.getpid).values()) & set(killed)
    assert not list((tmp_path / "out").rglob(".ores-*"))


def test_a_build_that_de_identifies_is_the_same_from_a_cluster_with_a_worker_killed_in_the_middle(
    counters: Any, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: list[Any]
) -> None:
    found, _ = counters
    text = RECIPE + '[anonymize]\nproject = "env:SCALE_PROJECT"\nprofile = "research"\n'
    built: dict[str, Any] = {}
    for name, how in {"here": {"workers": 2}, "there": {"executor": client}}.items():
        monkeypatch.setenv("SCALE_PROJECT", str(tmp_path / name / "project"))
        with Recipe.parse(text).plan(progress=False) as plan:
            for counter in found:
                counter.forget()
            if name == "there":
                doomed = _kill_at(found[1], 12, client)
            built[name] = plan.build(
                tmp_path / name / "out", key="env:SCALE_KEY", acknowledge="all", progress=False, **how
            )
            found[1].comes = lambda request: None
            if name == "here":  # what a killed worker had asked for is counted for longer than it lives
                assert found[0].most == 1
                assert found[1].most <= 4
    client.wait_for_workers(2)
    assert doomed not in client.run(os.getpid).values()
    for each in built.values():
        assert set(each.status["status"]) == {"done"}, each.status["error"].tolist()
    assert built["there"].content_hash == built["here"].content_hash
    assert len(sent) > 8  # series, and before them what was de-identified
    assert not [content for content, _ in sent if SECRET.encode() in content or bytes.fromhex(SECRET) in content]


def _kill_at(counter: Counter, number: int, client: Any) -> int:
    """End a worker, at once, when so many requests have come; its process."""
    pid = next(iter(client.run(os.getpid).values()))
    left, lock = [pid], threading.Lock()

    def comes(request: bytes) -> None:
        with lock:
            if left and counter.all > number:
                os.kill(left.pop(), signal.SIGKILL)

    counter.comes = comes
    return int(pid)


def _without_rle(lacking: bool) -> None:
    """This process decodes no RLE any more, as where the package is not installed; or it does again."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    from orthanc_research import spread
    from orthanc_research.pixels._codecs import CODECS

    for syntax, codec in CODECS.items():
        if "rle" in codec.package:
            decoder: Any = get_decoder(UID(syntax))
            kept = decoder.__dict__.setdefault("_kept", dict(decoder._available))
            decoder._available = {} if lacking else dict(kept)
    spread._decoders.cache_clear()


def test_a_worker_without_a_decoder_is_left_out_and_none_with_it_are_rows(
    counters: Any, client: Any, serial: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.wait_for_workers(2)
    monkeypatch.chdir(tmp_path)  # the workers stay where they are
    workers = list(client.scheduler_info(n_workers=-1)["workers"])
    client.run(_without_rle, True, workers=workers[:1])
    progress = Seen()
    with _plan() as plan:
        build = plan.build("one", executor=client, progress=progress)
        assert build.content_hash == serial.content_hash
        assert "1 of 2 workers are fit" in progress.notes
        client.run(_without_rle, True)
        rows = plan.build(tmp_path / "none", executor=client, progress=False)
        assert not rows.complete
        assert rows.status["status"].value_counts().to_dict() == {"done": 7, "not-done": 1}
        assert set(rows.status["error"].dropna()) == {
            "Its worker lacks the decoder pylibjpeg pylibjpeg-rle; install it there."
        }
        with ores.Orthanc(os.environ["SCALE_URL_1"], auth="env:SCALE_AUTH_1") as orthanc:
            ledger = orthanc.export(orthanc.series(), tmp_path / "export", executor=client, progress=False)
        assert ledger["status"].value_counts().to_dict() == {"done": 3, "not-sent": 1}
        assert ledger["error"].dropna().str.contains("lacks the decoder").all()
        client.run(_without_rle, False)
        assert rows.retry(progress=False).content_hash == serial.content_hash


def test_passwords_are_refused_before_anything_is_sent(counters: Any, client: Any, tmp_path: Path) -> None:
    _, orthancs = counters
    typed = orthancs[1]
    assert typed.rest.connection.basic_auth()
    recipe = Recipe.parse(RECIPE)
    plan = recipe.plan(typed, progress=False)
    with pytest.raises(DatasetError, match="env:NAME"):
        plan.build(tmp_path / "out", executor=client, progress=False)
    with pytest.raises(QueryError, match="env:NAME"):
        typed.export(typed.series(), tmp_path / "export", executor=client, progress=False)
    wrong: Any = "dask"
    with pytest.raises(QueryError, match="executor is one of"):  # and not what other processes would need
        plan.build(tmp_path / "other", executor=wrong, progress=False)
    with pytest.raises(QueryError, match="executor is one of"):
        typed.export(typed.series(), tmp_path / "export", executor=wrong, progress=False)


@pytest.mark.parametrize("form", ["parquet", "npz"])
def test_an_export_is_the_same_from_a_cluster(counters: Any, client: Any, tmp_path: Path, form: str) -> None:
    found, _ = counters
    with ores.Orthanc(os.environ["SCALE_URL_1"], auth="env:SCALE_AUTH_1", workers=2) as orthanc:
        series = orthanc.series()
        here = orthanc.export(series, tmp_path / "here", format=form, progress=False)
        found[1].forget()
        progress = Seen()
        there = orthanc.export(series, tmp_path / "there", format=form, executor=client, progress=progress)
        assert found[1].most <= 2
    assert progress.done == 4
    first, second = (frame.assign(file=[Path(each).name for each in frame["file"]]) for frame in (here, there))
    pd.testing.assert_frame_equal(first.drop(columns="seconds"), second.drop(columns="seconds"))
    for name in first["file"]:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    assert not list((tmp_path / "there").glob(".ores-*"))


def test_two_series_of_one_name_are_kept_apart(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    stock(orthanc, patients=1, studies=1, slices=3)
    made = ores.samples.cohort(patients=1, studies=1, slices=3, size=16, seed=5)
    for each in made:
        each.PatientID = "another"
    assert set(orthanc.upload(made, progress=False)["status"]) == {"stored"}
    others = ores.samples.cohort(patients=1, studies=1, slices=3, size=16, seed=5)
    assert set(orthanc.upload(others, progress=False)["status"]) == {"stored"}
    with ThreadPoolExecutor(6) as executor:
        ledger = orthanc.export(orthanc.series(), tmp_path / "out", executor=executor, progress=False)
    assert set(ledger["status"]) == {"done"}
    assert ledger["file"].is_unique
    assert len(list((tmp_path / "out").glob("*.parquet"))) == len(ledger) == 6


def test_a_release_on_a_cluster_is_the_same_and_the_key_stays_here(
    counters: Any, client: Any, sent: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = cohort(tmp_path / "in")
    local = ores.Project(tmp_path / "local", key="env:SCALE_KEY")
    here = local.plan(source, profile=PROFILE, target=tmp_path / "here", progress=False).run(workers=1, progress=False)
    project = ores.Project(tmp_path / "cluster", key="env:SCALE_KEY")
    plan = project.plan(source, profile=PROFILE, target=tmp_path / "there", progress=False)
    run = plan.run(executor=client, progress=False)
    assert (run.state, here.state) == ("done", "done"), run.failures
    assert kept(tmp_path / "there") == kept(tmp_path / "here")
    assert set(run.verify(workers=1, progress=False)["status"]) == {"verified"}
    assert sent
    key = bytes.fromhex(SECRET)
    for content, shown in sent:
        assert SECRET.encode() not in content
        assert key not in content
        assert "in/" not in shown
        assert "<sealed>" in shown
    typed = ores.Project(tmp_path / "typed", key=ores.deid.Key.parse(SECRET))
    planned = typed.plan(source, profile=PROFILE, target=tmp_path / "no", progress=False)
    with pytest.raises(QueryError, match="env:NAME"):
        planned.run(executor=client, progress=False)


def _has_key(key: str) -> None:
    os.environ["SCALE_KEY"] = key


def test_a_worker_with_another_key_releases_nothing(
    counters: Any, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = cohort(tmp_path / "in")
    monkeypatch.setenv("SCALE_KEY", "6c" * 32)  # here, and not on the workers
    project = ores.Project(tmp_path / "project", key="env:SCALE_KEY")
    run = project.plan(source, profile=PROFILE, target=tmp_path / "out", progress=False).run(
        executor=client, progress=False
    )
    assert run.state == "open"
    assert set(run.frame["status"]) == {"not-done"}  # which says nothing of the files
    assert run.frame["error"].str.contains("holds another key").all()
    assert not list((tmp_path / "out").rglob("*.dcm"))
    client.run(_has_key, "6c" * 32)
    assert project.resume(executor=client, progress=False).state == "done"
    client.run(_has_key, SECRET)
