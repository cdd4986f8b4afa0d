"""Ten thousand rows in Chromium: a page of them is drawn, and what is chosen on others stays."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Screen, Server
from pages import Place, expect, opened
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

import orthanc_research as ores

pytestmark = [pytest.mark.one_version, pytest.mark.long]  # to store ten thousand studies takes a minute
MANY = 10_000
MADE = f"""
jobs = [f"00000000-0000-0000-0000-{{number:012}}" for number in range({MANY})]
own, release = (widgets.AnonymizePanel(orthanc, orthanc.studies(), workers=1) for _ in range(2))
own.widget.add_class("own")
release.widget.add_class("release")
screens = [
    widgets.LocalBrowser(orthanc), widgets.ModalityBrowser(orthanc), widgets.JobMonitor(orthanc, jobs),
    widgets.UploadPanel(orthanc), widgets.OverviewPanel(orthanc), own, release,
]
"""


def _file(number: int) -> bytes:
    """A study of a patient: what the standard asks for, and nothing that takes time to store."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.{10**20 + number}3")
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = f"2.25.{10**20 + number}2", f"2.25.{10**20 + number}1"
    dataset.PatientID, dataset.PatientName = f"P{number:05}", f"MANY^{number:05}"
    dataset.StudyDate, dataset.Modality = "20200101", "CT"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _zipped() -> bytes:
    """All of them. One file is made; the others are it with another number, which is as long."""
    first, mark = _file(0), b"2.25.1000000000000000"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(MANY):
            file = first.replace(mark + b"00000", mark + b"%05d" % number)
            archive.writestr(
                f"{number:05}.dcm", file.replace(b"P00000", b"P%05d" % number).replace(b"^00000", b"^%05d" % number)
            )
    return buffer.getvalue()


@pytest.fixture(scope="module")
def here() -> Iterator[ores.LocalOrthanc]:
    """A server with ten thousand studies, which is its own archive as well."""
    with ores.LocalOrthanc(dicom=True) as orthanc:
        assert len(orthanc.rest.instances.upload_zip(_zipped())) == MANY
        orthanc.introduce(orthanc)
        yield orthanc


@pytest.fixture(scope="module")
def _place(chromium: Any, voila: Server, here: ores.LocalOrthanc) -> Iterator[Place]:
    page = opened(chromium, voila, here, MADE)
    yield Place(page)
    page.close()


def leafed(screen: Screen, label: str, within: str = ".ores-table") -> None:
    """Two pages of the table with this label are looked at, with a row chosen on the first, and a page back."""
    table = screen.root.locator(within).filter(has=screen.page.get_by_role("listbox", name=label, exact=True)).last
    where, list_ = table.locator(".ores-where"), table.locator("select")
    expect(where).to_have_text(f"{label} 1-200 of {MANY:,}")
    expect(list_.locator("option")).to_have_count(200)
    list_.select_option(index=[0])
    table.get_by_role("button", name="Next").click()
    expect(where).to_have_text(f"{label} 201-400 of {MANY:,}")
    expect(list_.locator("option")).to_have_count(200)
    assert list_.evaluate("list => list.selectedOptions.length") == 0
    table.get_by_role("button", name="Previous").click()
    expect(where).to_have_text(f"{label} 1-200 of {MANY:,}")
    screen.page.wait_for_function("list => list.selectedOptions.length === 1", arg=list_.element_handle())


def test_ten_thousand_studies_of_a_server(place: Place) -> None:
    screen = place.screen("localbrowser")
    screen.button("Find").click()
    screen.ends(f"{MANY:,} studies.")
    leafed(screen, "Rows")


def test_ten_thousand_studies_of_an_archive(place: Place) -> None:
    screen = place.screen("modalitybrowser")
    screen.field("Patient name").fill("MANY*")
    screen.button("Find").click()
    screen.ends(f"{MANY:,} studies at ")
    expect(screen.root.locator(".ores-warning:visible").first).to_contain_text("narrow the dates")
    leafed(screen, "Rows", ".ores-answers")
    assert all(line.split()[-1] == "yes" for line in screen.rows("Rows"))  # they are here


def test_ten_thousand_studies_of_a_cell(place: Place) -> None:
    screen = place.screen("overviewpanel")
    screen.button("Read again").click()
    screen.ends(f"{MANY:,} studies, {MANY:,} series.")
    screen.choose("Rows", 0)
    screen.ends(re.compile(f"^{MANY:,} studies\\.$"))
    leafed(screen, "Studies")


def test_ten_thousand_jobs(place: Place) -> None:
    leafed(place.screen("jobmonitor"), "Jobs")


def test_ten_thousand_files(place: Place, tmp_path: Path) -> None:
    screen = place.screen("uploadpanel")
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(MANY):
            archive.writestr(f"{number:05}", b"")
    screen.field("Folder").fill(str(tmp_path / "many.zip"))
    screen.button("Scan").click()
    screen.ends("Nothing is sent yet.")
    leafed(screen, "Files")


def test_ten_thousand_series_of_a_plan(place: Place, tmp_path: Path) -> None:
    screen = place.screen("release")
    screen.field("Project folder").fill(str(tmp_path / "project"))
    screen.field("Folder").fill(str(tmp_path / "out"))
    screen.button("Plan").click()
    expect(screen.status).to_contain_text(
        f"{MANY:,} instances of {MANY:,} series would be de-identified.", timeout=600_000
    )
    leafed(screen, "Rows")


def test_ten_thousand_studies_are_de_identified_until_they_are_cancelled(place: Place) -> None:
    screen = place.screen("own")
    screen.button("Orthanc's own").click()
    screen.button("De-identify").click()
    expect(screen.root.locator(".ores-confirm:visible")).to_contain_text(f"De-identify {MANY:,} studies")
    screen.button("Yes, de-identify").click()
    expect(screen.root.locator(".ores-working:visible")).to_contain_text(f" of {MANY:,}")
    screen.button("Cancel").click()
    screen.says(f"{MANY:,} rows: ")
    leafed(screen, "Rows")
