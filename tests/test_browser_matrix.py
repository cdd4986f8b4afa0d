"""Every screen in Chromium, held to the same: the keyboard alone, bad input, hostile tags, cancel in the middle.

The remote archive is in `test_browser_screens`, which has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pages
import pytest
from browser import Screen, Server
from faults.proxy import Proxy
from pages import HOSTILE, Gate, expect, opened

import orthanc_research as ores

pytestmark = pytest.mark.one_version
SHORT = "<img src=x id=a>"  # all that a code or an AE title has room for
MADE = """
ct = orthanc.series(Modality="CT", PatientName="SYNTHETIC*").head(1)
own = widgets.AnonymizePanel(orthanc, orthanc.studies())
release = widgets.AnonymizePanel(orthanc, orthanc.studies(PatientName="*IMG*"), workers=1)
own.widget.add_class("own")
release.widget.add_class("release")
jobs = widgets.JobMonitor(orthanc)
screens = [
    widgets.StackViewer(ct), widgets.LocalBrowser(orthanc), jobs, widgets.UploadPanel(orthanc),
    widgets.OverviewPanel(orthanc), own, release,
]
"""
NAMES = ("stackviewer", "localbrowser", "jobmonitor", "uploadpanel", "overviewpanel", "own", "release")


@dataclass
class Place(pages.Place):
    """A server, a gate before it, and the page of all screens over both."""

    here: ores.LocalOrthanc
    gate: Gate
    peer: Gate  # before the server as a peer of itself: a job whose files wait there runs
    folder: Path

    def running(self) -> str:
        """A job that waits at the peer."""
        ids = self.here.rest.instances.list()[:6]
        return str(self.here.rest.peers.store("itself", ids, synchronous=False)["ID"])


@pytest.fixture(scope="module")
def _place(chromium: Any, voila: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    gate, peer = Gate(), Gate()
    with (
        ores.LocalOrthanc(config={"ConcurrentJobs": 4}) as here,
        Proxy(here.url, script=gate) as through,
        Proxy(here.url, script=peer) as again,
    ):
        cohort = ores.samples.cohort(patients=2, studies=1, slices=6, size=16)
        hostile = cohort[0].PatientID
        for each in cohort:
            if each.PatientID == hostile:
                each.PatientName = each.PatientID = each.StudyDescription = each.SeriesDescription = HOSTILE
                each.Manufacturer = SHORT
            elif each.Modality == "MR":
                each.Modality = SHORT
        here.upload(cohort, progress=False)
        user, password = map("".join, here.server.auth)
        here.add_peer("itself", again.url, username=user, password=password)
        page = opened(chromium, voila, here, MADE, through.url)
        yield Place(page, here, gate, peer, tmp_path_factory.mktemp("matrix"))
        page.close()


def options(screen: Screen, text: str) -> Any:
    return screen.root.locator("option").filter(has_text=text)


def alerts(screen: Screen) -> Any:
    """What is said beside fields."""
    return screen.root.locator(".ores-field [role=alert]:visible")


# -- the keyboard alone -----------------------------------------------------------------------------------------------


def test_a_stack_is_leafed_through_and_seen_through_windows(place: Place) -> None:
    screen, keys = place.screen("stackviewer"), place.page.page.keyboard
    caption, image = screen.root.locator(".ores-caption"), screen.root.locator("img").first
    expect(caption).to_contain_text("Slice 6 of 10")
    expect(caption).to_contain_text("rescaled, HU")
    before = str(image.get_attribute("src"))
    screen.start()
    while not screen.page.evaluate("document.activeElement.closest('.ores-slice') !== null"):
        keys.press("Tab")
    keys.press("ArrowRight")
    expect(caption).to_contain_text("Slice 7 of 10")
    expect(image).not_to_have_attribute("src", before)
    before = str(image.get_attribute("src"))
    screen.keys("Window", "=bone")
    expect(screen.field("Width")).to_have_value("1800")
    expect(image).not_to_have_attribute("src", before)
    screen.keys("Centre", "=40", "Enter")
    expect(screen.field("Window")).to_have_value("as entered")
    expect(screen.root.locator(".ores-call")).to_contain_text("window=(40.0, 1800.0)")
    screen.keys("Tags of the slice", "Space")
    expect(screen.root.locator(".ores-tags pre")).to_have_count(0)
    keys.press("Space")
    expect(screen.root.locator(".ores-tags pre")).to_contain_text("SYNTHETIC")


def test_a_folder_is_scanned_and_uploaded_with_the_keyboard_alone(place: Place) -> None:
    screen = place.screen("uploadpanel")
    ores.samples.cohort(place.folder / "new", patients=1, studies=1, slices=3, size=16, seed=5)
    screen.start()
    screen.keys("Folder", f"={place.folder / 'new'}", "Enter")  # which scans
    screen.ends("Nothing is sent yet.")
    screen.keys("Upload", "Space")
    screen.ends("Every file is stored, and is there as it was sent.")
    screen.keys("Files", "Home")
    expect(screen.root.locator(".ores-row")).to_contain_text("stored")


def test_the_studies_of_a_cell_are_listed_with_the_keyboard_alone(place: Place) -> None:
    screen = place.screen("overviewpanel")
    screen.start()
    screen.keys("Read again", "Enter")
    screen.ends(" series.")
    expect(screen.root.locator("img.ores-overview, .ores-overview img")).to_be_visible()
    screen.keys("Rows", "Control+a")
    screen.ends(" studies.")
    assert "SYNTHETIC" in "".join(screen.rows("Studies"))


def test_jobs_are_paused_resumed_and_cancelled_with_the_keyboard_alone(place: Place) -> None:
    screen = place.screen("jobmonitor")
    with place.peer.shut("POST /instances"):
        job = place.running()
        expect(options(screen, "Running")).to_have_count(1)
        screen.start()
        screen.keys("Jobs", "End")
        expect(screen.root.locator(".ores-row")).to_contain_text(job)
        screen.keys("Pause", "Space")
        screen.says("Paused: 1 of 1 jobs.")
    expect(options(screen, "Paused")).to_have_count(1)
    with place.peer.shut("POST /instances"):
        screen.keys("Resume", "Space")
        screen.says("Resumed: 1 of 1 jobs.")
        screen.keys("Cancel jobs", "Space")
        expect(screen.root.locator(".ores-confirm [role=alert]")).to_have_text("Cancel 1 job (1 OrthancPeerStore)?")
        screen.page.wait_for_function("document.activeElement.textContent.trim() === 'No'")
        screen.page.keyboard.press("Shift+Tab")
        screen.page.keyboard.press("Space")
        screen.says("Cancelled: 1 of 1 jobs.")
    expect(options(screen, "Failure")).to_have_count(1)
    assert place.here.job(job).cancelled


def yes(screen: Screen, name: str) -> None:
    """Answer a question that has the keyboard on "No"."""
    screen.page.wait_for_function("document.activeElement.textContent.trim() === 'No'")
    screen.page.keyboard.press("Shift+Tab")
    assert screen.focused() == name
    screen.page.keyboard.press("Space")


def test_the_servers_engine_runs_with_the_keyboard_alone(place: Place) -> None:
    screen = place.screen("own")
    screen.start()
    screen.keys("Orthanc's own", "Space")
    screen.keys("De-identify", "Space")
    yes(screen, "Yes, de-identify")
    screen.ends("2 rows: 2 done. No row is releasable")
    assert all(line.startswith("done") for line in screen.rows("Rows"))


def test_a_release_goes_from_the_form_to_the_mapping_with_the_keyboard_alone(place: Place) -> None:
    screen, home = place.screen("release"), place.folder
    screen.start()
    screen.keys("Project folder", f"={home / 'project'}")
    screen.keys("Folder", f"={home / 'out'}")
    screen.keys("Plan", "Space")
    screen.ends("16 instances of 2 series would be de-identified.")
    assert not (home / "out").exists()
    screen.keys("Rows", "End")
    screen.keys("Show before and after", "Space")
    screen.ends("it shows who the patient is")
    row = screen.root.locator(".ores-before-after tr.changed").filter(has_text="PatientName")
    expect(row.locator("td").first).to_have_text(HOSTILE)  # as the tag has it, and no image
    screen.keys("Hide", "Space")
    expect(screen.root.locator(".ores-before-after")).to_have_count(0)
    screen.keys("De-identify", "Space")
    expect(screen.root.locator(".ores-confirm:visible")).to_contain_text("1 study (2 series, 16 instances)")
    yes(screen, "Yes, de-identify")
    screen.ends("2 rows: 2 done.")
    assert len(list((home / "out").rglob("*.dcm"))) == 16
    screen.keys("Mapping file", f"={home / 'mapping.csv'}")
    screen.keys("Save mapping", "Space")
    expect(screen.root.locator(".ores-confirm:visible")).to_contain_text("CONTAINS IDENTITIES")
    yes(screen, "Yes, save mapping")
    screen.says("The mapping is saved.")
    assert HOSTILE.replace('"', '""') in (home / "mapping.csv").read_text()


# -- bad input --------------------------------------------------------------------------------------------------------

WRONG = {
    "stackviewer": (
        {"Width": ("-5", "A width is a number above 0."), "Centre": ("much", "This is a number, such as 40.")},
        None,
    ),
    "localbrowser": (
        {
            "Study date": ("2024-02-31", "there is no such day"),
            "Labels": ("not a label!", "A label has 1 to 64 letters"),
        },
        "Find",
    ),
    "uploadpanel": ({"Folder": ("/nowhere/at/all", "There is no such folder or file")}, "Upload"),
    "own": ({"Mapping file": ("who.txt", "has to end in .csv or .parquet")}, "Save mapping"),
    "release": (
        {
            "Project folder": ("https://x", "This is no folder."),
            "Key": ("5b" * 32, "A key is env:NAME, file:/path or keyring:name"),
            "Folder": ("a\tb://", "This is no folder."),
        },
        "Plan",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_said_beside_its_field_and_nothing_is_sent(place: Place, name: str) -> None:
    screen, (fields, act) = place.screen(name), WRONG[name]
    place.gate.seen.clear()
    for label, (entered, _) in fields.items():
        screen.field(label).fill(entered)
        screen.field(label).press("Tab")
    if act:
        screen.button(act).click()
    for _, said in fields.values():
        expect(alerts(screen).filter(has_text=said).first).to_be_visible()
    assert [line for line in place.gate.seen if "/jobs" not in line] == []
    for label in fields:
        screen.field(label).fill("")
        screen.field(label).press("Tab")


def test_jobs_are_chosen_before_they_are_acted_on(place: Place) -> None:
    screen = place.screen("jobmonitor")
    for each in ("Pause", "Resume", "Resubmit", "Cancel jobs"):
        screen.choose("Jobs")
        screen.button(each).click()
        screen.says("Choose jobs first.")


def test_a_cell_whose_studies_are_gone_says_so(place: Place) -> None:
    screen = place.screen("overviewpanel")
    gone = ores.samples.cohort(patients=1, studies=1, slices=3, size=16, seed=9)
    for each in gone:
        each.Modality = "XA"
    ids = place.here.upload(gone, progress=False)["ParentStudy"].unique()
    screen.button("Read again").click()
    screen.ends("series.")
    expect(options(screen, "XA")).to_have_count(1)
    place.here.delete(list(ids), expect=1)
    screen.choose("Rows", next(k for k, line in enumerate(screen.rows("Rows")) if line.startswith("XA")))
    screen.says("1 of 1 are gone since the overview was read: read it again.")
    expect(screen.status.locator(".failed")).to_be_visible()


# -- hostile tags -----------------------------------------------------------------------------------------------------


def test_what_files_and_servers_say_is_text_on_every_screen(place: Place) -> None:
    """That nothing of it ran, or became a part of the page, is asked after each test."""
    upload, overview, jobs = map(place.screen, ("uploadpanel", "overviewpanel", "jobmonitor"))
    local = place.screen("localbrowser")
    folder = place.folder / "named"
    folder.mkdir()
    (folder / HOSTILE.replace("/", "")).write_text("no DICOM")
    upload.field("Folder").fill(str(folder))
    upload.button("Upload").click()
    upload.says("1 of 1 files are not stored.")
    upload.choose("Files", 0)
    expect(upload.root.locator(".ores-row")).to_contain_text(HOSTILE)

    overview.button("Read again").click()
    overview.ends("series.")
    expect(options(overview, SHORT).first).to_be_attached()
    overview.choose("Rows", *range(len(overview.rows("Rows"))))
    overview.ends("studies.")
    expect(options(overview, HOSTILE[:20]).first).to_be_attached()

    place.here.add_modality("odd", SHORT, "127.0.0.1", 9)
    ids = place.here.rest.instances.list()[:1]
    place.here.rest.modalities.store("odd", ids, synchronous=False)
    expect(options(jobs, "DicomModalityStore")).to_have_count(1)
    jobs.choose("Jobs", len(jobs.rows("Jobs")) - 1)
    expect(jobs.root.locator(".ores-row")).to_contain_text(SHORT)

    local.field("Patient ID").fill(HOSTILE)
    local.button("Find").click()
    local.ends("1 study.")
    local.choose("Rows", 0)
    expect(local.root.locator(".ores-thumb").filter(has_text=HOSTILE[:20])).to_have_count(2)
    local.choose("Series", 0)
    expect(local.root.locator(".ores-tags")).to_contain_text(f"PatientName: {HOSTILE}")
    expect(local.root.locator(".ores-call").first).to_contain_text(repr(HOSTILE))


# -- cancel in the middle ---------------------------------------------------------------------------------------------


def cancelled(place: Place, screen: Screen, kind: str) -> None:
    """Click Cancel while a request of this kind waits, and let it go."""
    place.gate.wait()
    working = screen.root.locator(":scope > .ores-working:visible")  # and not that of a viewer inside it
    working.locator(".ores-cancel").click()
    screen.says("Stopping …")
    place.gate.open()
    screen.ends()


@pytest.mark.parametrize(("name", "act"), [("localbrowser", "Find"), ("overviewpanel", "Read again")])
def test_a_search_that_is_cancelled_leaves_what_was_there(place: Place, name: str, act: str) -> None:
    screen = place.screen(name)
    if name == "localbrowser":
        screen.field("Patient ID").fill("")
        screen.field("Patient name").fill("SYNTHETIC*")
    before = screen.rows("Rows")
    with place.gate.shut("POST /tools/find"):
        screen.button(act).click()
        cancelled(place, screen, "find")
    screen.says("Cancelled.")
    assert screen.rows("Rows") == before
    screen.button(act).click()
    screen.ends("stud")


def test_a_slice_that_is_cancelled_leaves_the_one_before(place: Place) -> None:
    screen = place.screen("stackviewer")
    caption, handle = screen.root.locator(".ores-caption"), screen.root.locator(".ores-slice .noUi-handle")
    before = caption.inner_text()
    with place.gate.shut("/file"):
        handle.focus()
        screen.page.keyboard.press("Home")
        expect(caption).to_have_text("Reading slice 1 …")
        cancelled(place, screen, "file")
    screen.says("Cancelled.")
    expect(caption).to_have_text(before)
    handle.focus()
    screen.page.keyboard.press("Home")
    expect(caption).to_contain_text("Slice 1 of 10")


def test_an_upload_that_is_cancelled_goes_on(place: Place) -> None:
    screen = place.screen("uploadpanel")
    ores.samples.cohort(place.folder / "more", patients=1, studies=1, slices=20, size=16, seed=6)
    screen.field("Folder").fill(str(place.folder / "more"))
    with place.gate.shut("POST /instances"):
        screen.button("Upload").click()
        place.gate.wait()
        screen.button("Scan").click()
        screen.says("An upload is under way: wait for it, or cancel it.")
        cancelled(place, screen, "instances")
    screen.says("It was cancelled: Retry failed goes on.")
    screen.button("Retry failed").click()
    screen.ends("Every file is stored, and is there as it was sent.")


def test_an_action_on_jobs_is_cancelled_between_two(place: Place) -> None:
    screen = place.screen("jobmonitor")
    with place.peer.shut("POST /instances"):
        jobs = [place.running(), place.running()]
        expect(options(screen, "Running")).to_have_count(2)
        rows = screen.rows("Jobs")
        screen.choose("Jobs", *(k for k, line in enumerate(rows) if "Running" in line))
        with place.gate.shut("/pause"):
            screen.button("Pause").click()
            cancelled(place, screen, "pause")
        screen.says("It was stopped after 1.")
        for each in jobs:
            place.here.job(each).cancel()
    expect(options(screen, "Running")).to_have_count(0)


@pytest.mark.parametrize(("name", "kind"), [("own", "bulk-anonymize"), ("release", "/attachments/dicom")])
def test_a_de_identification_that_is_cancelled_goes_on(place: Place, name: str, kind: str) -> None:
    screen = place.screen(name)
    if name == "release":
        screen.field("Project folder").fill(str(place.folder / "second"))
        screen.field("Key").fill("env:ORES_KEY")
        screen.field("Folder").fill(str(place.folder / "second-out"))
        screen.field("Folder").press("Tab")
        screen.button("Plan").click()
        screen.ends("would be de-identified.")
    with place.gate.shut(kind):
        screen.button("De-identify").click()
        screen.button("Yes, de-identify").click()
        cancelled(place, screen, kind)
    screen.says("Resume and retry does the rest.")
    assert re.search("not-sent|unknown|not-done", "".join(screen.rows("Rows")))
    screen.button("Resume and retry failed").click()
    # The server may have gone on with what it had been asked for, and then its copies are told.
    left = "|1 partial, 1 done. Copies were left behind:" if name == "own" else ""
    screen.ends(re.compile(f"2 rows: (2 done{left})"))
