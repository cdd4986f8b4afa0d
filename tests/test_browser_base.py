"""What every screen is made of, in Chromium: text is text, the keyboard is enough, two views are one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser import Screen, Server
from clicking import until

from orthanc_research.markup import visible

HOSTILE = [
    "<img src=x onerror=\"document.title='run'\">",
    "<script>document.title='run'</script>",
    "$x$ and $$y$$ cost $5",
    "A  B   C ",
    "DOE\u202eNHOJ\u200f",
    "'\"&amp;&lt;",
    "\u05de\u05dc\u05da^\u05d3\u05d5\u05d3",
    "\u5c71\u7530^\u592a\u90ce",
]

DEMO = f"""
import ipywidgets, pandas as pd, time
from pathlib import Path
from IPython.display import display
from orthanc_research.errors import CancelledError, QueryError
from orthanc_research.widgets import Panel, Table
from orthanc_research.widgets._guard import guard, text
from orthanc_research.widgets._form import Confirm, Field, button, call, show_call

HOSTILE = {HOSTILE!a}


def read(text):
    if text == "wrong":
        raise QueryError("This is " + HOSTILE[0])
    return text


class Demo(Panel):
    def __init__(self):
        super().__init__(HOSTILE[0])
        self.field = Field("Patient name", read=read)
        self.table = Table(["PatientName", "PatientID", "Row"], label="Studies", rows=8)
        names = [*HOSTILE, "two\\nlines", *["SAME"] * 9_991]
        self.table.show(pd.DataFrame(
            {{"PatientName": names, "PatientID": "12345", "Row": range(len(names))}}, index=map(str, range(len(names)))
        ))
        self.table.observe(lambda change: self.say("Chosen: " + " ".join(change["new"])), "chosen")
        self.confirm = Confirm("Delete", lambda: "Delete " + HOSTILE[0] + "?", lambda: self.say("Deleted."))
        self.call = call()
        hold = ipywidgets.Button(description="Hold")
        hold.on_click(self.on_hold)
        acts = [("Say", self.on_say), ("Work", self.on_work), ("Fail", self.on_fail)]
        self._compose([
            ipywidgets.HBox([self.field.widget, *(button(text, text, act) for text, act in acts), hold]),
            self.table.widget, self.confirm.widget, self.call,
        ])

    @guard
    def on_say(self):
        value = self.field.value()
        self.say(value)
        show_call(self.call, "orthanc.studies", {{"PatientName": value}})

    @guard
    def on_work(self):
        self.task("Working", self.work, lambda _: self.say("Finished."))

    def work(self, progress):
        progress.total(1_000, "slices")
        for number in range(1_000):
            if progress.cancelled:
                raise CancelledError("stopped")
            progress.advance()
            progress.note(HOSTILE[0])
            time.sleep(0.05)

    def on_hold(self, _):
        # as a cell that runs keeps the kernel
        Path("held").touch()
        while not Path("go").exists():
            time.sleep(0.01)

    @guard
    def on_fail(self):
        raise ValueError(HOSTILE[0])


demo = Demo()
display(demo, demo)
"""


@pytest.fixture(scope="module")
def _screen(chromium: Any, voila: Server) -> Iterator[Screen]:
    page = Screen.open(chromium, voila.add(DEMO))
    yield page
    page.close()


@pytest.fixture
def screen(_screen: Screen) -> Iterator[Screen]:
    """The first of two views of the same panel, one below the other."""
    yield _screen.part(".ores-demo")
    _screen.check()
    assert _screen.page.title() != "run"


def expect(locator: Any) -> Any:
    from playwright.sync_api import expect

    return expect(locator)


def test_what_a_tag_holds_is_its_text_wherever_it_is_shown(screen: Screen) -> None:
    expect(screen.page.locator(".ores-title").first).to_have_text(HOSTILE[0])
    cells = [line.replace("\u2068", "").replace("\u2069", "") for line in screen.rows("Studies")]
    assert len(cells) == 200
    for value, cell in zip([*HOSTILE, "two\nlines"], cells, strict=False):
        shown = visible(value)
        assert cell.startswith(shown[:31]), cell
    for value in HOSTILE:
        screen.field("Patient name").fill(value)
        screen.button("Say").click()
        expect(screen.status).to_have_text(visible(value.strip()), use_inner_text=True)
        assert screen.status.inner_text() == visible(value)  # runs of spaces as well
        shown_call = screen.page.locator(".ores-call code").first
        expect(shown_call).to_have_text(visible(f"orthanc.studies(PatientName={value!r})"))
    assert screen.page.locator(".ores img, .ores .MathJax, .ores script, .ores mjx-container").count() == 0


def test_failures_are_in_the_status_line_and_what_is_wrong_is_beside_its_field(screen: Screen) -> None:
    screen.button("Fail").click()
    screen.says("ValueError: a fault of this program, not of your data; .failure holds it.")
    assert HOSTILE[0] not in screen.status.inner_text()
    screen.field("Patient name").fill("wrong")
    screen.button("Say").click()
    screen.says(f"This is {HOSTILE[0]}")
    expect(screen.page.locator(".ores-field [role=alert]").first).to_have_text(f"This is {HOSTILE[0]}")
    screen.field("Patient name").fill("right")
    screen.button("Say").click()
    expect(screen.status).to_have_text("right")
    expect(screen.page.locator(".ores-field [role=alert]")).to_have_count(0)


def test_cancel_reaches_work_that_is_under_way(screen: Screen) -> None:
    bars = screen.page.locator(".ores-working")
    expect(bars.first).not_to_be_visible()
    screen.field("Patient name").fill("meanwhile")
    screen.button("Work").click()
    expect(bars.first).to_contain_text("of 1,000 · slices")
    expect(bars.last).to_contain_text("of 1,000 · slices")
    screen.button("Say").click()  # the kernel is free
    expect(screen.status).to_have_text("meanwhile")
    screen.page.locator(".ores-cancel").last.click()
    screen.says("Cancelled.")
    expect(bars.first).not_to_be_visible()


def test_the_keyboard_alone_is_enough(screen: Screen) -> None:
    keys = screen.page.keyboard
    screen.page.evaluate("document.activeElement.blur()")
    screen.tab_to("Patient name")
    keys.press("Control+a")
    keys.type("typed")
    screen.tab_to("Say")
    keys.press("Space")
    expect(screen.status).to_have_text("typed")
    screen.tab_to("Studies")
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    expect(screen.status).to_have_text("Chosen: 1")
    keys.press("Shift+ArrowDown")
    expect(screen.status).to_have_text("Chosen: 1 2")
    screen.tab_to("Next")
    keys.press("Enter")
    expect(screen.page.locator(".ores-where").first).to_have_text("Studies 201-400 of 10,000")
    screen.tab_to("Delete")
    keys.press("Space")
    expect(screen.page.locator(".ores-confirm [role=alert]").first).to_have_text(f"Delete {HOSTILE[0]}?")
    screen.page.wait_for_function("document.activeElement.textContent.trim() === 'No'")
    keys.press("Shift+Tab")  # of the view that had the focus last: the second one
    assert screen.focused() == "Yes, delete"
    keys.press("Space")
    expect(screen.status).to_have_text("Deleted.")
    screen.page.wait_for_function("document.activeElement.textContent.trim() === 'Delete'")


def test_a_click_is_about_what_was_entered_before_it_though_the_kernel_was_at_work(
    screen: Screen, voila: Server
) -> None:
    if screen.button("Previous").is_enabled():
        screen.button("Previous").click()
        screen.heard()
    click_while_the_kernel_is_at_work(screen, voila)


def click_while_the_kernel_is_at_work(screen: Screen, server: Server) -> None:
    """Of what is entered twice meanwhile the browser sends the second when the first is done, and clicks at once."""
    field, rows = screen.page.get_by_label("Patient name").first, screen.page.locator(".ores-rows select").first
    screen.heard()
    screen.page.get_by_role("button", name="Hold").first.click()
    until((server.folder / "held").exists)
    for text in ("D*", "DOE*"):
        field.fill(text)
        field.press("Tab")
    screen.page.get_by_role("button", name="Say").first.click()
    for row in (5, 6):
        rows.select_option(index=[row])
    screen.page.get_by_role("button", name="Next").first.click()
    (server.folder / "go").touch()
    expect(screen.page.locator(".ores-where").first).to_have_text("Studies 201-400 of 10,000")
    screen.heard()
    assert rows.evaluate("list => list.selectedOptions.length") == 0  # the seventh is on the page before
    expect(screen.page.locator(".ores-call code").first).to_have_text("orthanc.studies(PatientName='DOE*')")
    screen.button("Previous").click()
    screen.heard()
    assert rows.evaluate("list => [...list.selectedOptions].map(option => option.index)") == [6]


def test_two_views_of_a_panel_are_one(screen: Screen) -> None:
    lists = screen.page.locator("select")
    assert lists.count() == 2
    lists.first.select_option(index=[0, 3])
    expect(screen.page.locator(".ores-status").last).to_contain_text("Chosen: ")
    selected = "list => [...list.selectedOptions].map(option => option.index)"
    screen.page.wait_for_function("document.querySelectorAll('select')[1].selectedOptions.length === 2")
    assert lists.last.evaluate(selected) == [0, 3]
    fields = screen.page.get_by_label("Patient name")
    fields.last.fill("below")
    fields.last.press("Enter")
    expect(fields.first).to_have_value("below")


LATE = """
import threading, time
import ipywidgets
from orthanc_research.widgets import Panel

class Late(Panel):
    def __init__(self):
        super().__init__("Late")
        self.lines = [ipywidgets.HTML("before") for _ in range(160)]
        self._compose([*self.lines, *(ipywidgets.Select(options=[str(n) for n in range(2000)]) for _ in range(8))])

    def change(self):
        for line in self.lines:
            time.sleep(0.05)
            line.value = "after"

late = Late()
threading.Thread(target=late.change, daemon=True).start()
late
"""


@pytest.mark.long
def test_what_changes_while_a_page_is_made_is_on_it(chromium: Any, voila: Server) -> None:
    """For 0.1 s of its making a page of Voilà hears nothing: some of these change in that time."""
    screen = Screen.open(chromium, voila.add(LATE))
    expect(screen.page.locator(".widget-html-content", has_text="after")).to_have_count(160, timeout=30_000)
    screen.close()


CONTRAST = """names => {
    const rgb = text => text.match(/[\\d.]+/g).map(x => text.startsWith("color(srgb") ? x * 255 : Number(x));
    const light = ([r, g, b]) => [r, g, b].map(x => x / 255)
        .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
        .reduce((sum, x, k) => sum + x * [0.2126, 0.7152, 0.0722][k], 0);
    const ground = e => { const c = rgb(getComputedStyle(e).backgroundColor);
        return c.length === 4 && c[3] === 0 ? (e.parentElement ? ground(e.parentElement) : [255, 255, 255]) : c; };
    return names.map(name => {
        const e = document.querySelector(name);
        const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    });
}"""
PARTS = [
    ".ores-title",
    ".ores-rows select",
    ".ores-head span",
    ".ores-status .failed",
    ".ores-field span",
    ".ores-call code",
    ".ores input",
    ".ores button",
    ".ores .widget-label",
    ".ores-where span",
]


def test_both_themes_can_be_read(screen: Screen) -> None:
    screen.field("Patient name").fill("x")
    screen.button("Say").click()
    expect(screen.status).to_have_text("x")
    screen.field("Patient name").fill("wrong")
    screen.button("Say").click()
    screen.says("This is")
    grounds = []
    for theme in ("dark", "light"):
        screen.theme(theme)
        ratios = screen.page.evaluate(CONTRAST, PARTS)
        assert {name: round(ratio, 1) for name, ratio in zip(PARTS, ratios, strict=True) if ratio < 4.5} == {}, theme
        ground = "getComputedStyle(document.querySelector('.ores-rows select')).backgroundColor"
        grounds.append(screen.page.evaluate(ground))
    assert grounds == ["rgb(17, 17, 17)", "rgb(255, 255, 255)"]
