"""Native code that crashes, hangs or is interrupted ends a worker process, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import codec_files as made
import numpy as np
import pytest
from codec_files import LOSSLESS_SV1, holding, image
from dicom_files import as_file

import orthanc_research as ores
from orthanc_research import decoding, workers
from orthanc_research.decoding import decode_isolated
from orthanc_research.errors import PixelError
from orthanc_research.pixels import decode, needs_isolation, transfer_syntax
from orthanc_research.workers import NoWorkersError, WorkerDiedError, Workers

VALUES = np.random.default_rng(3).integers(0, 4096, (16, 24)).astype(np.uint16)


def jpeg_file(**header: Any) -> bytes:
    coded = holding(image(VALUES, bits=12), [made.jpeg_lossless(VALUES, 1, 12)], LOSSLESS_SV1, **header)
    coded.file_meta.MediaStorageSOPInstanceUID = coded.SOPInstanceUID
    return as_file(coded)


def crash_on_the_second(content: bytes, sop_uid: str) -> np.ndarray[Any, Any]:
    """As a decoder that some file crashes; it is the worker that imports this."""
    if sop_uid.endswith(".2"):
        os.abort()
    return decode(content, sop_uid)


def test_a_worker_that_crashes_or_hangs_is_its_callers_error_and_the_next_call_works() -> None:
    pool = Workers(1)
    try:
        assert pool.call(30, os.getpid) == pool.call(30, os.getpid) != os.getpid()
        with pytest.raises(WorkerDiedError):
            pool.call(30, os.abort)
        began = time.monotonic()
        with pytest.raises(WorkerDiedError):
            pool.call(0.5, time.sleep, 60)
        assert time.monotonic() - began < 20
        with pytest.raises(ZeroDivisionError):
            pool.call(30, divmod, 1, 0)
        assert pool.call(30, divmod, 7, 2) == (3, 1)
    finally:
        pool.close()


def test_threads_share_the_workers_and_get_their_own_answers() -> None:
    pool = Workers(2)
    try:
        with ThreadPoolExecutor(6) as threads:
            assert list(threads.map(lambda n: pool.call(30, divmod, n, 10), range(40))) == [
                divmod(n, 10) for n in range(40)
            ]
        assert len(pool._living) <= 2
    finally:
        pool.close()


def test_jpeg_is_decoded_in_a_worker_and_gives_what_it_gives_here(monkeypatch: pytest.MonkeyPatch) -> None:
    content = jpeg_file()
    assert transfer_syntax(content) == LOSSLESS_SV1
    assert needs_isolation(LOSSLESS_SV1)
    got = decode_isolated(content)
    np.testing.assert_array_equal(got, decode(content))
    assert got.flags.writeable
    with pytest.raises(PixelError, match="declares 17 x 24"):
        decode_isolated(jpeg_file(Rows=17))
    monkeypatch.setattr(decoding, "decode", crash_on_the_second)
    with pytest.raises(PixelError, match=r"1\.2\.3\.2: its decoder crashed .*JPEG Lossless"):
        decode_isolated(content, "1.2.3.2")


def test_bytes_of_a_file_that_look_like_a_syntax_keep_no_jpeg_out_of_the_worker() -> None:
    content = jpeg_file()
    fake = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    preamble = fake + content[len(fake) :]
    at = content.index(b"\x02\x00\x10\x00UI")
    odd = content[:at] + content[at:].replace(b"UI", b"UN\0\0", 1).replace(b"\x16\0", b"\x16\0\0\0", 1)
    for changed in (preamble, odd, content):
        assert needs_isolation(transfer_syntax(changed))
        np.testing.assert_array_equal(decode_isolated(changed)[0], VALUES)
    assert transfer_syntax(b"no DICOM") == ""


def test_where_no_worker_can_be_started_decoding_goes_on_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_shared", None)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    np.testing.assert_array_equal(decode_isolated(jpeg_file())[0], VALUES)
    with pytest.raises(NoWorkersError):
        Workers().call(5, os.getpid)


def test_an_export_and_a_volume_outlive_a_decoder_that_crashes(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [
        jpeg_file(
            PatientID="P",
            StudyInstanceUID="1.2.3",
            SeriesInstanceUID="1.2.3.4",
            SOPInstanceUID=f"1.2.3.4.{k}",
            Modality="CT",
            ImagePositionPatient=[0, 0, k],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[1, 1],
            FrameOfReferenceUID="1.2.3.5",
        )
        for k in range(1, 5)
    ]
    orthanc.upload(files, progress=False)
    series = orthanc.series()
    np.testing.assert_array_equal(orthanc.volume(series).array, [VALUES] * 4)
    monkeypatch.setattr(decoding, "decode", crash_on_the_second)
    row = orthanc.export(series, tmp_path, progress=False).iloc[0]
    assert (row["status"], row["frames"]) == ("partial", 3)
    assert "1 of 4 instances: SOP instance 1.2.3.4.2: its decoder crashed" in row["error"]
    with pytest.raises(PixelError, match=r"1\.2\.3\.4\.2: its decoder crashed"):
        orthanc.volume(series)


# A script as people write them: no function, no `if __name__ == "__main__"`.
SCRIPT = """
    import os, sys, time
    from pathlib import Path
    from orthanc_research.decoding import decode_isolated
    from orthanc_research.workers import shared
    content = Path(sys.argv[1]).read_bytes()
    print(decode_isolated(content).shape, shared().call(30, os.getpid), flush=True)
"""
FORK = """
    child = os.fork()
    print(decode_isolated(content).shape, flush=True)
    if child:
        assert os.waitpid(child, 0)[1] == 0
"""
BUSY = """
    shared().call(600, time.sleep, 600)
"""
IDLE = """
    time.sleep(600)
"""


def started(tmp_path: Path, *parts: str) -> subprocess.Popen[str]:
    script, file = tmp_path / "script.py", tmp_path / "file.dcm"
    script.write_text("".join(map(textwrap.dedent, parts)))
    file.write_bytes(jpeg_file())
    return subprocess.Popen(
        [sys.executable, script, file],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )


def ended(process: int) -> bool:
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_plain_script_may_decode_and_fork_and_leaves_no_worker(tmp_path: Path) -> None:
    with started(tmp_path, SCRIPT, FORK) as script:
        out, _ = script.communicate(timeout=120)
    first, *others = out.splitlines()
    assert script.returncode == 0
    assert first.startswith("(1, 16, 24) ")
    assert others == ["(1, 16, 24)"] * 2
    assert ended(int(first.split()[-1]))


@pytest.mark.parametrize(("how", "then"), [(signal.SIGINT, BUSY), (signal.SIGKILL, IDLE)], ids=["Ctrl-C", "killed"])
def test_an_interrupted_script_leaves_no_worker(tmp_path: Path, how: signal.Signals, then: str) -> None:
    with started(tmp_path, SCRIPT, then) as script:
        assert script.stdout is not None
        worker = int(script.stdout.readline().split()[-1])
        time.sleep(0.3)
        os.killpg(script.pid, how)
        assert script.wait(timeout=60) != 0
    assert ended(worker)
