"""progress, files, parallel: what everything else stands on."""

from __future__ import annotations

import errno
import io
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orthanc_research.errors import CancelledError
from orthanc_research.files import atomic_path, atomic_write, private_folder, sweep
from orthanc_research.parallel import ahead, pause, thread_map
from orthanc_research.progress import Bar, Progress, Silent, shown


def test_a_file_is_complete_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"

    def fail() -> None:
        with atomic_write(target) as stream:
            stream.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with atomic_write(target) as stream:
        stream.write(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    with pytest.raises(RuntimeError):
        fail()
    assert target.read_bytes() == b"whole"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_files_and_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "a" / "b")
    with atomic_write(folder / "c") as stream:
        stream.write(b"x")
    assert stat.S_IMODE((folder / "c").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError), atomic_write(target, overwrite=False):
        pass
    racing = tmp_path / "b"
    with pytest.raises(FileExistsError), atomic_path(racing, overwrite=False) as partial:  # noqa: PT012
        partial.write_bytes(b"ours")
        racing.write_bytes(b"theirs")  # somebody was faster
    assert (target.read_bytes(), racing.read_bytes()) == (b"old", b"theirs")


_WRITER = """
import sys
from orthanc_research.files import atomic_write
with atomic_write(sys.argv[1]) as stream:
    stream.write(b"theirs")
    print("open", flush=True)
    sys.stdin.readline()
"""


def test_what_a_crash_left_is_swept_and_what_a_living_process_writes_is_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        with atomic_write(tmp_path / "b") as stream:  # and our own
            stream.write(b"ours")
            assert sweep(tmp_path) == 0
        writer.stdin.write("go on\n")
        writer.stdin.flush()
        assert writer.wait(20) == 0
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"theirs", "b": b"ours"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        writer.kill()
        writer.wait(20)
    (tmp_path / "keep.partial").write_bytes(b"")
    (tmp_path / ".ores-0000other-1-a.partial").write_bytes(b"")  # of another host, whose processes nobody sees here
    assert sweep(tmp_path) == 1
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", "keep.partial", ".ores-0000other-1-a.partial"}


def test_a_file_that_did_not_reach_the_disk_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), atomic_write(tmp_path / "a") as stream:
        stream.write(b"x")
    assert list(tmp_path.iterdir()) == []


def test_threads_keep_the_order_and_an_error_is_its_units_own() -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        if number == 7:
            raise ValueError("seven")
        return number * number

    outcomes = list(thread_map(work, range(20), workers=4))
    assert [o.unit for o in outcomes] == list(range(20))
    assert [o.result for o in outcomes if o.error is None] == [n * n for n in range(20) if n != 7]
    with pytest.raises(ValueError, match="seven"):
        outcomes[7].get()


def test_threads_are_bounded_and_start_only_what_is_taken() -> None:
    at_once, most, started = 0, 0, 0
    lock = threading.Lock()

    def work(number: int) -> None:
        nonlocal at_once, most, started
        with lock:
            at_once, started = at_once + 1, started + 1
            most = max(most, at_once)
        time.sleep(0.002)
        with lock:
            at_once -= 1

    outcomes = thread_map(work, iter(range(10_000)), workers=99)
    for _ in range(5):
        next(outcomes)
    outcomes.close()
    assert most <= 8
    assert started <= 30


@pytest.mark.parametrize(("window", "expected"), [(0, 4), (3, 4), (9, 9)])
def test_more_than_the_threads_have_may_be_done_before_it_is_taken(window: int, expected: int) -> None:
    started: list[int] = []
    enough = threading.Event()

    def work(number: int) -> int:
        started.append(number)
        if len(started) == expected:
            enough.set()
        return number

    outcomes = thread_map(work, iter(range(100)), workers=2, window=window)
    assert next(outcomes).get() == 0
    assert enough.wait(30)
    time.sleep(0.2)  # what is one too many would have begun by now
    assert len(started) == expected
    outcomes.close()


def test_cancel_stops_at_the_next_unit_and_loses_nothing_that_began() -> None:
    progress = Silent()
    done = []

    def work(number: int) -> int:
        done.append(number)
        if number == 3:
            progress.cancel()
        return number

    outcomes = [o.unit for o in thread_map(work, range(1000), workers=1, progress=progress)]
    assert outcomes == done
    assert 4 <= len(outcomes) < 10


def stuck(number: int) -> int:
    """What waits for a server that says no more, every third time."""
    while number % 3 == 0:
        pause(0.05)
    return number


def test_who_cancels_does_not_wait_for_what_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orthanc_research.parallel.GRACE", 0.3)
    progress = Silent()
    threading.Timer(0.2, progress.cancel).start()
    start = time.monotonic()
    outcomes = thread_map(stuck, range(1, 1000), workers=2, progress=progress)
    assert [o.get() for o in outcomes] == [1, 2, 4, 5]  # 3 and 6 never end, and 7 was not begun
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("under", [False, True], ids=["at the top", "inside another"])
def test_who_stops_reading_gives_up_what_is_under_way(monkeypatch: pytest.MonkeyPatch, under: bool) -> None:
    monkeypatch.setattr("orthanc_research.parallel.GRACE", 0.2)
    ends: list[BaseException | None] = []

    def within(number: int) -> int:
        try:
            return sum(o.get() for o in thread_map(stuck, [number], workers=1)) if under else stuck(number)
        except BaseException as error:
            ends.append(error)
            raise

    before = threading.active_count()
    outcomes = thread_map(within, [1, 3, 6], workers=1)
    assert next(outcomes).get() == 1
    time.sleep(0.1)
    outcomes.close()
    assert [type(end) for end in ends] == [CancelledError]
    assert threading.active_count() == before


def test_the_item_ahead_is_given_up_with_its_reader() -> None:
    items = ahead((stuck(number) for number in (1, 2, 3)), Silent())
    assert next(items) == 1
    assert next(items) == 2
    start = time.monotonic()
    items.close()
    assert time.monotonic() - start < 2


def test_who_stops_reading_waits_for_nothing_that_never_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orthanc_research.parallel.GRACE", 60)
    outcomes = thread_map(lambda number: pause(0.05), range(100), workers=1)
    start = time.monotonic()
    next(outcomes)
    outcomes.close()
    assert time.monotonic() - start < 30


def test_a_fatal_error_ends_the_map_at_once() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise PermissionError
        return number

    with pytest.raises(PermissionError):
        list(thread_map(work, range(1000), workers=2, fatal=(PermissionError,)))


def test_progress_is_one_protocol() -> None:
    assert isinstance(Silent(), Progress)
    with Bar("x", disable=True) as bar:
        assert isinstance(bar, Progress)
        bar.total(3, "files")
        bar.advance()
        bar.note("half")
        assert not bar.cancelled
    with Bar("x", disable=False, file=io.StringIO()) as bar:
        bar.total(5)
        bar.advance(4)
        bar.total(3)  # a second way, after the first one came to nothing
        bar.advance()
        assert bar._bar.n == 1
        assert bar._bar.total == 3
    own = Silent()
    with shown(own, "x") as told:
        assert told is own
    with shown(False, "x") as told:
        assert isinstance(told, Silent)
