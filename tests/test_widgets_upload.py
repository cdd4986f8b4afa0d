"""The panel that uploads, on real folders and a real server."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom
import pytest
from clicking import assert_no_markup_but_ours, choose, click, lines, models, panel_threads, part, until, words
from pydicom.uid import UID

import orthanc_research as ores
from orthanc_research import batch, errors
from orthanc_research.widgets import UploadPanel

pytestmark = pytest.mark.one_version

COHORT = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)
Make = Callable[[ores.Orthanc], UploadPanel]


@pytest.fixture(scope="module")
def server(version: str) -> Iterator[ores.LocalOrthanc]:
    if version == "external":
        pytest.skip("needs a server of our own")
    with ores.LocalOrthanc(version) as orthanc:
        yield orthanc


@pytest.fixture
def orthanc(server: ores.LocalOrthanc) -> ores.LocalOrthanc:
    """An empty server."""
    patients = server.rest.patients.list()
    if patients:
        server.rest.tools.bulk_delete(patients)
    return server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight instances, two of them in a zip, a DICOMDIR, and a file that is none."""
    for number, dataset in enumerate(COHORT):
        pydicom.dcmwrite(tmp_path / f"{number}.dcm", dataset, enforce_file_format=True)
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for number in (0, 1):
            archive.write(tmp_path / f"{number}.dcm", f"{number}.dcm")
            (tmp_path / f"{number}.dcm").unlink()
    (tmp_path / "DICOMDIR").write_bytes(b"an index")
    (tmp_path / "notes.txt").write_text("not DICOM")
    return tmp_path


@pytest.fixture
def show() -> Iterator[Make]:
    with ExitStack() as stack:

        def make(orthanc: ores.Orthanc) -> UploadPanel:
            panel = UploadPanel(orthanc)
            stack.callback(panel.close)
            return panel

        yield make


def statuses(panel: UploadPanel) -> dict[str, int]:
    assert panel.results is not None
    return {str(status): int(count) for status, count in panel.results["status"].value_counts().items()}


def copies(folder: Path, count: int) -> None:
    """So many instances of one series."""
    folder.mkdir()
    dataset = pydicom.Dataset(COHORT[0])
    dataset.file_meta = COHORT[0].file_meta
    for number in range(count):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number}")
        pydicom.dcmwrite(folder / f"{number:05}.dcm", dataset, enforce_file_format=True)


def test_a_folder_is_looked_through_and_uploaded(orthanc: ores.LocalOrthanc, folder: Path, show: Make) -> None:
    panel = show(orthanc)
    panel.folder.box.value = str(folder)
    with orthanc.rest.counting() as requests:
        click(panel, "ores-scan")
    assert requests == []
    assert panel.plan is not None
    size = sum(file.stat().st_size for file in folder.iterdir() if file.suffix != ".zip")
    size += sum(info.file_size for info in zipfile.ZipFile(folder / "two.zip").infolist())
    assert panel.plan["bytes"].sum() == size - len(b"an index")  # of what is not sent
    assert words(panel, "ores-counts").endswith("MB: 9 planned, 1 skipped")
    assert panel.status == "Nothing is sent yet."
    click(panel, "ores-upload")
    assert panel.failed
    assert panel.status == ("1 of 10 files are not stored. Not a DICOM file, or a damaged one: Orthanc cannot read it.")
    assert statuses(panel) == {"stored": 8, "failed": 1, "skipped": 1}
    assert orthanc.statistics()["CountInstances"] == 8
    assert len(lines(panel.table)) == 10
    part(panel, "ores-only-failed").value = True
    assert len(lines(panel.table)) == 1
    assert "notes.txt failed Not a DICOM file" in lines(panel.table)[0]
    choose(panel.table, 0)
    assert panel.selected["Source"].tolist() == [str(folder / "notes.txt")]
    same = eval(words(panel, "ores-call").removeprefix("same as: "), {"orthanc": orthanc})
    assert set(same["status"]) == {"already-stored", "skipped", "failed"}
    (folder / "notes.txt").unlink()
    click(panel, "ores-upload")
    assert panel.status == "Every file is stored, and is there as it was sent."
    assert not panel.failed


def test_what_failed_is_sent_again_and_takes_its_place(orthanc: ores.LocalOrthanc, folder: Path, show: Make) -> None:
    panel = show(orthanc)
    good = (folder / "3.dcm").read_bytes()
    (folder / "3.dcm").write_bytes(b"cut")
    zipped = (folder / "two.zip").read_bytes()
    with zipfile.ZipFile(folder / "two.zip", "a") as archive:
        archive.writestr("bad.dcm", "cut")
    panel.folder.box.value = str(folder)
    assert part(panel, "ores-retry").disabled
    click(panel, "ores-upload")
    assert statuses(panel) == {"stored": 7, "failed": 3, "skipped": 1}
    assert panel.results is not None
    before = panel.results
    (folder / "3.dcm").write_bytes(good)
    (folder / "two.zip").write_bytes(zipped)
    (folder / "notes.txt").unlink()
    with orthanc.rest.counting() as requests:
        click(panel, "ores-retry")
    assert len([1 for method, target in requests if (method, target) == ("POST", "instances")]) == 3
    assert statuses(panel) == {"stored": 8, "failed": 1, "skipped": 1}
    after = panel.results
    assert after["Source"].tolist() == [source for source in before["Source"] if not source.endswith("!bad.dcm")]
    assert list(after.dtypes) == list(before.dtypes)
    kept = before["status"] == "stored"
    pd.testing.assert_frame_equal(after[after["ID"].isin(before.loc[kept, "ID"])].reset_index(drop=True),
                                  before[kept].reset_index(drop=True))  # fmt: skip
    click(panel, "ores-retry")
    assert panel.status == "Of what is not stored, nothing can be sent again: see what each row says."


@pytest.mark.parametrize("text", ["", "/nowhere/at/all", "~nobody-of-this-name/x", "a\0b"])
def test_a_folder_that_is_not_there_is_said_beside_its_field(orthanc: ores.LocalOrthanc, show: Make, text: str) -> None:
    panel = show(orthanc)
    panel.folder.box.value = text
    for kind in ("ores-scan", "ores-upload"):
        with orthanc.rest.counting() as requests:
            click(panel, kind)
        assert requests == []
        assert "machine where this notebook runs" in words(panel, "ores-folder")
        assert panel.failed
    panel.folder.box.value = "/"
    panel.folder.value()
    assert words(panel, "ores-folder") == ""


def test_an_empty_folder_is_said(orthanc: ores.LocalOrthanc, tmp_path: Path, show: Make) -> None:
    panel = show(orthanc)
    panel.folder.box.value = str(tmp_path)
    click(panel, "ores-scan")
    assert panel.status == "There is no file in this folder."
    click(panel, "ores-upload")
    assert panel.failed
    assert panel.status == "There is no file in this folder; nothing was sent."


def test_ten_thousand_files_are_pages(orthanc: ores.LocalOrthanc, tmp_path: Path, show: Make) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(10_000):
            archive.writestr(f"{number:05}", b"")
    panel = show(orthanc)
    panel.folder.box.value = str(tmp_path / "many.zip")
    click(panel, "ores-scan")
    assert words(panel, "ores-where") == "Files 1-200 of 10,000"
    choose(panel.table, 0)
    click(panel, "ores-next")
    choose(panel.table, 199)
    assert [source[-5:] for source in panel.selected["Source"]] == ["00000", "00399"]
    assert words(panel, "ores-counts") == "10,000 files, 0.0 MB: 10,000 planned"


def test_what_files_are_called_is_text(orthanc: ores.LocalOrthanc, tmp_path: Path, show: Make) -> None:
    name = "<img src=x onerror=alert(1)>\u202e$x$"
    (tmp_path / name).write_bytes(b"not DICOM")
    panel = show(orthanc)
    panel.folder.box.value = str(tmp_path / name)
    for kind in ("ores-scan", "ores-upload"):
        click(panel, kind)
        choose(panel.table, 0)
        assert_no_markup_but_ours(panel)
    assert "<img src=x onerror=alert(1)>\\u202e$x$" in words(panel, "ores-call").replace("\\\\", "\\")
    assert "<img" not in panel.status + repr(panel)


def test_a_cancelled_upload_can_go_on(orthanc: ores.LocalOrthanc, tmp_path: Path, show: Make) -> None:
    copies(tmp_path / "many", 200)
    panel = show(orthanc)
    panel.folder.box.value = str(tmp_path / "many")
    click(panel, "ores-upload", wait=False)
    until(lambda: bool(orthanc.rest.instances.list()))
    for kind in ("ores-upload", "ores-scan"):
        click(panel, kind, wait=False)  # another task would end it without a word
        assert panel.status == "An upload is under way: wait for it, or cancel it."
    click(panel, "ores-cancel")
    counts = statuses(panel)
    assert counts["not-sent"] > 0
    assert counts["stored"] > 0
    assert panel.status.endswith("of 200 files are not stored. It was cancelled: Retry failed goes on.")
    click(panel, "ores-retry")
    assert set(statuses(panel)) <= {"stored", "already-stored"}
    assert sum(statuses(panel).values()) == 200 == orthanc.statistics()["CountInstances"]


def test_a_server_that_is_away_leaves_what_is_shown(orthanc: ores.LocalOrthanc, folder: Path, show: Make) -> None:
    panel = show(orthanc)
    panel.folder.box.value = str(folder)
    click(panel, "ores-scan")
    before = lines(panel.table)
    orthanc.server.kill()
    try:
        click(panel, "ores-upload")
        assert "Away since" in panel.status
        assert isinstance(panel.failure, errors.UnreachableError)
        assert lines(panel.table) == before
        assert panel.results is None
    finally:
        orthanc.server.restart()
    click(panel, "ores-upload")
    assert statuses(panel)["stored"] == 8


def test_faults_are_said_and_closing_leaves_no_thread(
    orthanc: ores.LocalOrthanc, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError("DOE^JOHN")

    assert panel_threads() == []
    panel = UploadPanel(orthanc)
    assert set(models(panel)) == {panel.widget.model_id}
    panel.folder.box.value = str(folder)
    for owner, name, act in (
        (batch, "upload_plan", partial(click, panel, "ores-scan")),
        (panel.table, "show", partial(click, panel, "ores-scan")),
        (orthanc, "upload", partial(click, panel, "ores-upload")),
        (panel, "_send", partial(click, panel, "ores-upload")),
        (batch, "upload_again", panel._on_retry),
    ):
        with monkeypatch.context() as patch:
            panel.say("")
            panel.results = panel.plan
            patch.setattr(owner, name, broken)
            act()
            assert panel.status.startswith("ValueError: a fault of this program"), name
    copies(tmp_path / "many", 50)
    panel.folder.box.value = str(tmp_path / "many")
    click(panel, "ores-upload", wait=False)
    panel.close()
    assert panel_threads() == []
