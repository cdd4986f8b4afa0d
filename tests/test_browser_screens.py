"""The screens in Chromium, over a real Orthanc with a second one as its archive: what a radiologist would do with them.

ORTHANC_RESEARCH_SCREENS=folder writes a picture of each there, light and dark.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pages
import pytest
from browser import Screen, Server
from pages import HOSTILE, expect, opened
from PIL import Image
from scp import Node, odd_node

import orthanc_research as ores

pytestmark = pytest.mark.one_version
SHOWN = Path(__file__).parent.parent / "docs" / "screens"
MADE = """
study = orthanc.studies(PatientName="SYNTHETIC*").head(1)
own, release = (widgets.AnonymizePanel(orthanc, study, workers=1) for _ in range(2))
own.widget.add_class("own")
release.widget.add_class("release")
screens = [
    widgets.StackViewer(orthanc.series(Modality="CT").head(1)), widgets.ModalityBrowser(orthanc),
    widgets.LocalBrowser(orthanc), widgets.JobMonitor(orthanc), widgets.UploadPanel(orthanc),
    widgets.OverviewPanel(orthanc), own, release,
]
"""


@dataclass
class Place(pages.Place):
    """The servers, and the page over the first of them."""

    here: ores.LocalOrthanc
    there: ores.LocalOrthanc
    odd: Node


@pytest.fixture(scope="module")
def _place(chromium: Any, voila: Server) -> Iterator[Place]:
    with ores.LocalOrthanc(dicom=True) as here, ores.LocalOrthanc(dicom=True) as there:
        here.introduce(there)
        cohort = ores.samples.cohort(patients=2, studies=1, slices=6, size=64)
        here.upload(cohort, progress=False)
        others = ores.samples.cohort(patients=2, studies=2, slices=3, size=32, seed=1)
        for each in others:
            if each.PatientID == others[0].PatientID:
                each.PatientName = HOSTILE
        there.upload(others, progress=False)
        slow = [each for each in others if each.StudyInstanceUID == others[0].StudyInstanceUID]
        study = {key: str(slow[0].get(key)) for key in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate")}
        with odd_node(Node(studies=[study], files=slow, delay=0.3)) as odd:
            odd.move_to = ("127.0.0.1", here.server.dicom_port or 0)
            here.add_modality("odd", odd.aet, "127.0.0.1", odd.port)
            page = opened(chromium, voila, here, MADE)
            yield Place(page, here, there, odd)
            page.close()


def picture(screen: Screen, name: str) -> None:
    """A picture for the docs, when it is asked for, in both themes; else the one that is there is of this screen."""
    folder = os.environ.get("ORTHANC_RESEARCH_SCREENS")
    if not folder:
        height = screen.root.evaluate("screen => screen.getBoundingClientRect().height")
        with Image.open(SHOWN / f"{name}-light.png") as image:
            # A field or button more is 30 pixels; the fonts of two machines are one or two apart.
            assert abs(height - image.height) < 12, "ORTHANC_RESEARCH_SCREENS=docs/screens makes them anew"
        return
    screen.page.set_viewport_size({"width": 1100, "height": 9000})  # Voilà scrolls within its page
    for theme in ("dark", "light"):
        screen.theme(theme)
        path = Path(folder) / f"{name}-{theme}.png"
        screen.root.screenshot(path=path, animations="disabled")
        # Few colours are enough for a page, and a quarter of the bytes.
        with Image.open(path) as image:
            image.convert("RGB").quantize(200).save(path, optimize=True)
    screen.page.set_viewport_size({"width": 1100, "height": 900})


def test_a_study_is_found_in_an_archive_and_brought_here_with_the_keyboard_alone(place: Place) -> None:
    screen, keys = place.screen("modalitybrowser"), place.page.page.keyboard
    archive = place.there.server.aet
    before = len(place.here.studies())
    expect(screen.field("Archive").locator("option")).to_have_count(2)
    screen.start()
    screen.tab_to("Archive")
    keys.type(archive)
    screen.tab_to("Echo")
    keys.press("Space")
    screen.says(f"{archive} answered in")
    screen.tab_to("Patient name")
    keys.type("<IMG*")
    screen.tab_to("Find")
    keys.press("Space")
    screen.says(f"2 studies at {archive}.")
    expect(screen.root.locator(".ores-find-call")).to_contain_text("PatientName='<IMG*'")
    assert all(HOSTILE[:20] in line for line in screen.rows("Rows"))
    screen.tab_to("Rows")
    keys.press("End")
    expect(screen.root.locator(".ores-answers .ores-row")).to_contain_text(HOSTILE)
    screen.tab_to("Open")
    keys.press("Space")
    screen.says(f"2 series at {archive}.")
    expect(screen.root.locator(".ores-crumbs")).to_contain_text("2020-01-02")
    screen.tab_to("Back")
    keys.press("Space")
    expect(screen.root.locator(".ores-crumbs")).not_to_contain_text("2020-01-02")
    screen.choose("Rows", 1)
    assert screen.shows(HOSTILE[:20])  # to its last column, which says what is here
    screen.tab_to("Retrieve 1 selected")
    keys.press("Space")
    screen.ends("Retrieved: 1 complete.")
    assert [line.split()[0] for line in screen.rows("Retrieved")]
    assert len(place.here.studies()) == before + 1
    if os.environ.get("ORTHANC_RESEARCH_SCREENS"):
        screen.field("Patient name").fill("SYN*")
        screen.button("Find").click()
        screen.root.locator("option").filter(has_text="SYNTHETIC^PATIENT").first.wait_for(state="attached")
        screen.choose("Rows", 0)
        screen.root.locator(".ores-answers .ores-row").filter(has_text="SYNTHETIC^PATIENT").wait_for()
        screen.button("Retrieve 1 selected").click()
        screen.root.locator(".ores-ledger option").filter(has_text="SYNTHETIC^PATIENT").wait_for(state="attached")
        screen.says("Retrieved: 1 complete.")
        picture(screen, "modality-browser")
        patient = str(place.there.studies(PatientName="SYN*")["PatientID"].iloc[0])
        place.here.delete(place.here.studies(PatientID=patient), expect=1)


def ask(screen: Screen, archive: str) -> None:
    """Choose an archive by its name."""
    names = [text.split()[0] for text in screen.field("Archive").locator("option").all_inner_texts()]
    screen.field("Archive").select_option(index=names.index(archive))


def clear(screen: Screen) -> None:
    """Empty the form, and see that it is: what is typed before the kernel has heard of it would go as well."""
    screen.field("Patient ID").fill("to be cleared")
    screen.field("Patient ID").press("Tab")
    screen.button("Clear").click()
    expect(screen.field("Patient ID")).to_have_value("")


def test_what_makes_no_sense_is_said_beside_its_field_and_nobody_is_asked(place: Place) -> None:
    screen = place.screen("modalitybrowser")
    ask(screen, "odd")
    place.odd.delay = 0.0
    clear(screen)
    screen.field("Study date").fill("2024-02-31")
    asked = place.odd.finds
    screen.button("Find").click()
    expect(screen.root.locator(".ores-field-studydate [role=alert]")).to_contain_text("there is no such day")
    assert place.odd.finds == asked
    clear(screen)
    screen.button("Find").click()
    expect(screen.root.locator(".ores-confirm")).to_contain_text("list everything")
    assert place.odd.finds == asked
    screen.button("No").click()
    place.odd.reject = True
    screen.field("Patient ID").fill("X")
    screen.button("Find").click()
    screen.says("remote node")
    expect(screen.status.locator(".failed")).to_be_visible()
    place.odd.reject = False


def test_nothing_is_cut_where_there_is_little_room(place: Place) -> None:
    """As beside the files of JupyterLab. What a button says of a series is as long as its description."""
    screen = place.screen("modalitybrowser")
    clear(screen)
    screen.button("Find").click()
    expect(screen.button("Yes, find")).to_be_visible()
    cut = """() => [...document.querySelectorAll(".ores button:not(.ores-thumb)")].map(button => [button,
        button.closest(".ores").getBoundingClientRect().right - button.getBoundingClientRect().right])
        .filter(([button, room]) => button.offsetParent && (button.scrollWidth > button.clientWidth || room < 0))
        .map(([button]) => button.textContent)"""
    screen.page.set_viewport_size({"width": 600, "height": 900})
    try:
        assert screen.page.evaluate(cut) == []
        # Fields stand below each other before they are too narrow for what is entered.
        widths = "fields => fields.map(field => field.getBoundingClientRect().width)"
        assert min(screen.root.locator(".ores-form input:visible").evaluate_all(widths)) > 140
    finally:
        screen.page.set_viewport_size({"width": 1100, "height": 900})
    screen.button("No").click()


def test_a_retrieve_is_cancelled_in_the_middle(place: Place) -> None:
    screen = place.screen("modalitybrowser")
    ask(screen, "odd")
    clear(screen)
    screen.field("Patient ID").fill(place.odd.studies[0]["PatientID"])
    screen.button("Find").click()
    screen.ends("1 study at odd.")
    screen.choose("Rows", 0)
    place.odd.go.clear()  # a move waits after its first file
    try:
        screen.button("Retrieve 1 selected").click()
        expect(screen.root.locator(".ores-working")).to_be_visible()
        screen.button("Cancel").click()
        screen.ends()
    finally:
        place.odd.go.set()
    assert "complete" not in screen.status.inner_text().replace("incomplete", "")


def test_jobs_are_shown_as_they_are(place: Place) -> None:
    screen = place.screen("jobmonitor")
    assert place.here.modality(place.there.server.aet).echo() > 0
    expect(screen.root.locator("option").first).to_contain_text("DicomMoveScu")
    picture(screen, "job-monitor")


def test_a_study_opens_and_its_slices_turn_with_the_keyboard_alone(place: Place) -> None:
    screen, keys = place.screen("localbrowser"), place.page.page.keyboard
    assert not screen.root.locator(".ores-stackviewer").is_visible()  # no black square before a series is opened
    screen.start()
    screen.tab_to("Patient name")
    keys.type("SYNTHETIC*")
    keys.press("Enter")
    screen.says("2 studies.")
    expect(screen.root.locator(".ores-call").first).to_contain_text("PatientName='SYNTHETIC*'")
    screen.tab_to("Rows")
    keys.press("Home")
    expect(screen.root.locator(".ores-thumb:visible")).to_have_count(2)
    screen.tab_to("Series")
    keys.press("Home")
    caption = screen.root.locator(".ores-caption")
    expect(caption).to_contain_text("Slice 6 of 10")
    image = screen.root.locator("img.ores-image, .ores-image img").first
    before = image.get_attribute("src")
    while not place.page.page.evaluate("document.activeElement.closest('.ores-slice') !== null"):
        keys.press("Tab")
    keys.press("ArrowRight")
    expect(caption).to_contain_text("Slice 7 of 10")  # and not "Reading slice 7 …"
    assert image.get_attribute("src") != before
    before = image.get_attribute("src") or ""
    screen.field("Window").select_option("bone")
    expect(image).not_to_have_attribute("src", before)
    screen.ends()
    picture(screen, "local-browser")
    picture(place.screen("stackviewer"), "stack-viewer")


def test_what_a_tag_holds_is_text_in_the_local_browser_and_two_clicks_delete(place: Place) -> None:
    screen = place.screen("localbrowser")
    screen.field("Patient name").fill("<img*")
    screen.button("Find").click()
    screen.ends("1 study.")
    assert HOSTILE[:30] in screen.rows("Rows")[0]
    screen.choose("Rows", 0)
    expect(screen.root.locator(".ores-thumb:visible")).to_have_count(2)
    screen.choose("Series", 0)
    expect(screen.root.locator(".ores-tags")).to_contain_text(HOSTILE)
    before = len(place.here.studies())
    screen.button("Delete…").click()
    expect(screen.root.locator(".ores-confirm:visible")).to_contain_text("1 study")
    assert len(place.here.studies()) == before
    screen.button("Yes, delete").click()
    screen.ends("0 studies.")
    assert len(place.here.studies()) == before - 1


@pytest.fixture
def incoming() -> Iterator[Path]:
    """A folder whose name may be in a picture."""
    with tempfile.TemporaryDirectory(prefix="incoming-") as name:
        yield Path(name)


def test_a_folder_is_uploaded(place: Place, incoming: Path) -> None:
    screen = place.screen("uploadpanel")
    ores.samples.cohort(incoming / "new", patients=1, studies=1, slices=3, size=16, seed=5)
    (incoming / "new" / "notes.txt").write_text("no DICOM")
    screen.field("Folder").fill(str(incoming / "nowhere"))
    screen.button("Scan").click()
    expect(screen.root.locator(".ores-folder [role=alert]")).to_contain_text("There is no such folder")
    screen.field("Folder").fill(str(incoming / "new"))
    screen.button("Scan").click()
    screen.says("Nothing is sent yet.")
    before = len(place.here.studies())
    screen.button("Upload").click()
    screen.ends("1 of ")
    expect(screen.root.locator(".ores-counts")).to_contain_text("stored")
    assert len(place.here.studies()) == before + 1
    picture(screen, "upload-panel")


def test_the_overview_lists_the_studies_of_a_cell(place: Place) -> None:
    screen = place.screen("overviewpanel")
    screen.button("Read again").click()
    screen.ends("series.")
    screen.choose("Rows", 0)
    screen.ends("stud")
    expect(screen.root.locator(".ores-studies option").first).to_contain_text("SYNTHETIC")
    picture(screen, "overview-panel")


def test_studies_are_de_identified_by_the_servers_engine_after_a_second_click(place: Place) -> None:
    screen = place.screen("own")
    before = len(place.here.studies())
    screen.button("Orthanc's own").click()
    screen.button("De-identify").click()
    expect(screen.root.locator(".ores-confirm:visible")).to_contain_text("no copy is releasable")
    assert len(place.here.studies()) == before
    screen.button("Yes, de-identify").click()
    screen.ends("1 row: 1 done.")
    expect(screen.root.locator(".ores-rows option").first).to_contain_text("done")
    assert len(place.here.studies()) == before + 1
    picture(screen, "anonymize-panel")


# What makes each screen ask the server; the table that stays as it is; what it says once it is answered.
ASKED = {
    "stackviewer": ("Home", None, ""),
    "modalitybrowser": ("Find", "Rows", "studies at"),
    "localbrowser": ("Find", "Rows", "studies."),
    "jobmonitor": (None, "Jobs", ""),
    "uploadpanel": ("Upload", "Files", "Every file is stored"),
    "overviewpanel": ("Read again", "Rows", "series."),
    "own": ("De-identify", "Rows", "done."),
    "release": ("Plan", "Rows", "would be de-identified"),
}


def asked(screen: Screen, act: str | None) -> None:
    if act == "Home":
        screen.root.locator(".ores-slice .noUi-handle").focus()
        screen.page.keyboard.press("Home")
    elif act is not None:
        screen.button(act).click()
        if act == "De-identify":
            screen.button("Yes, de-identify").click()


def test_a_server_that_is_gone_is_said_on_every_screen_and_what_was_shown_stays(place: Place, incoming: Path) -> None:
    screens = {name: place.screen(name) for name in ASKED}
    viewer, archive, local, _, upload, _, _, release = screens.values()
    ask(archive, place.there.server.aet)
    clear(archive)
    for screen in (archive, local):
        screen.field("Patient name").fill("SYNTHETIC*")
        screen.button("Find").click()
        screen.ends("stud")
    (incoming / "one").mkdir()
    ores.samples.cohort(incoming / "one", patients=1, studies=1, slices=3, size=16, seed=7)
    upload.field("Folder").fill(str(incoming / "one"))
    upload.button("Scan").click()
    upload.ends("Nothing is sent yet.")
    release.field("Project folder").fill(str(incoming / "project"))
    release.field("Folder").fill(str(incoming / "out"))
    release.field("Folder").press("Tab")
    release.button("Plan").click()
    release.ends("would be de-identified")
    caption = viewer.root.locator(".ores-caption")
    expect(caption).to_contain_text("Slice 6 of 10")
    expect(place.screen("jobmonitor").root.locator("option", has_text=re.compile("Running|Pending"))).to_have_count(0)
    shown = {name: screens[name].rows(label) for name, (_, label, _) in ASKED.items() if label}
    assert all(shown.values()), shown

    place.here.server.kill()
    for name, (act, _, _) in ASKED.items():
        asked(screens[name], act)
    for name, screen in screens.items():
        screen.says("Away since")
        expect(screen.status.locator(".failed")).to_be_visible()
        if name in shown:
            assert screen.rows(str(ASKED[name][1])) == shown[name], name
    expect(caption).to_contain_text("Slice 6 of 10")

    place.here.server.restart()
    place.here.introduce(place.there)  # it forgets its modalities
    for name, (act, _, _) in ASKED.items():
        asked(screens[name], act)
    for name, screen in screens.items():
        screen.says(ASKED[name][2])
        expect(screen.status).not_to_contain_text("Away since")
    expect(caption).to_contain_text("Slice 1 of 10")
