"""What every screen is made of: its status line, its work on a thread, tables of pages, fields, second clicks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import ipywidgets
import pandas as pd
import pytest
from screens import walk

from orthanc_research.errors import CancelledError, QueryError, UnreachableError
from orthanc_research.progress import Progress
from orthanc_research.widgets import Panel, Table, _heard
from orthanc_research.widgets._form import Confirm, Field, button, call, on_enter, show_call
from orthanc_research.widgets._guard import guard

SCRIPT = "<img src=x onerror=alert(1)>"
HOSTILE = [
    SCRIPT,
    "$x$ costs $5",
    "two\nlines\r\nof",
    "DOE\u202eNHOJ",
    "A  B   C",
    "'\"&amp;",
    "\x00\x1b[2J",
    "\ud800",
    "\u061c\u00ad",
]


class Demo(Panel):
    """A screen of one button."""

    def __init__(self) -> None:
        super().__init__("Demo")
        self.button = ipywidgets.Button(description="Do it")
        self.button.on_click(self._on_click)
        self.raises: Exception | None = None
        self._compose([self.button])

    @guard
    def _on_click(self, _: Any) -> None:
        if self.raises is not None:
            raise self.raises
        self.say("Done.")


@pytest.fixture
def panel() -> Iterator[Demo]:
    before = set(threading.enumerate())
    panel = Demo()
    yield panel
    panel.close()
    until = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < until:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def until(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def shown(panel: Panel) -> str:
    """The HTML of the status line."""
    value: str = panel._line.value
    return value


def test_a_handlers_failure_is_its_sentence_in_the_status_line_and_the_panel_goes_on(panel: Demo) -> None:
    panel.raises = QueryError("StudyDate is no date: write 2024-01-31.")
    panel.button.click()
    assert panel.failed
    assert panel.status == "StudyDate is no date: write 2024-01-31."
    assert panel.failure is panel.raises
    line = '<span class="failed">StudyDate is no date: write 2024-01-31.</span>'
    assert shown(panel) == f'<div role="status" aria-live="polite">{line}</div>'
    panel.raises = None
    panel.button.click()
    assert (panel.status, panel.failed) == ("Done.", False)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (KeyError("DOE^JOHN"), "KeyError: a fault of this program, not of your data; .failure holds it."),
        (PermissionError(13, "Permission denied", "/data/DOE^JOHN"), "Permission denied; .failure says where."),
        (OSError("DOE^JOHN"), "OSError: a fault of this program, not of your data; .failure holds it."),
    ],
)
def test_what_nobody_foresaw_is_told_without_its_words(panel: Demo, failure: Exception, said: str) -> None:
    panel.raises = failure
    panel.button.click()
    assert panel.failed
    assert panel.status == said
    assert panel.failure is failure
    assert "DOE" not in shown(panel) + repr(panel)


def test_work_runs_on_a_thread_and_its_result_arrives(panel: Demo) -> None:
    threads: list[threading.Thread] = []
    results: list[int] = []

    def work(progress: Progress) -> int:
        threads.append(threading.current_thread())
        return 7

    panel.task("Counting", work, results.append)
    assert panel.wait()
    assert results == [7]
    assert threads != [threading.main_thread()]
    assert panel._working.layout.visibility == "hidden"
    assert not panel.failed


@pytest.mark.parametrize("where", ["work", "done"])
def test_a_failure_on_the_thread_is_said(panel: Demo, where: str) -> None:
    def fail(_: Any) -> None:
        raise QueryError("No such thing.")

    panel.task("Looking", fail if where == "work" else lambda progress: None, fail)
    assert panel.wait()
    assert (panel.status, panel.failed) == ("No such thing.", True)


def test_the_newest_task_wins_and_the_older_is_told_to_stop(panel: Demo) -> None:
    go = threading.Event()
    seen: list[bool] = []
    results: list[str] = []

    def slow(progress: Progress) -> str:
        go.wait(20)
        seen.append(progress.cancelled)
        progress.total(99, "series")
        raise QueryError("of the older task")

    panel.task("Older", slow, results.append)
    panel.task("Newer", lambda progress: "newer", results.append)
    until(lambda: results)
    go.set()
    until(lambda: seen)
    assert panel.wait()
    for thread in panel._threads:
        thread.join(20)
    assert results == ["newer"]
    assert seen == [True]
    assert (panel.status, panel.failed) == ("", False)
    assert panel._bar.max == 1  # the older one's news are nobody's


def test_a_task_that_starts_another_leaves_that_one_busy(panel: Demo) -> None:
    go = threading.Event()
    results: list[str] = []
    panel.task(
        "First",
        lambda progress: "first",
        lambda first: panel.task("Second", lambda progress: go.wait(20), lambda _: results.append(first)),
    )
    until(lambda: panel._run is not None and panel._run.what == "Second")
    for thread in panel._threads[:1]:
        thread.join(20)
    assert panel.busy
    go.set()
    assert panel.wait()
    assert results == ["first"]


def test_cancel_reaches_the_work_while_it_runs(panel: Demo) -> None:
    started = threading.Event()

    def work(progress: Progress) -> None:
        started.set()
        until(lambda: progress.cancelled)
        raise CancelledError("Stopped on request.")

    panel.task("Waiting", work, lambda _: None)
    assert started.wait(20)
    assert panel.busy
    assert repr(panel) == "<Demo busy>"
    panel._stop.click()
    assert panel.wait()
    assert (panel.status, panel.failed) == ("Cancelled.", False)


def test_what_could_not_be_stopped_any_more_says_so(panel: Demo) -> None:
    go = threading.Event()
    panel.task("Ending", lambda progress: go.wait(20), lambda _: None)
    panel.cancel()
    assert panel.status == "Stopping …"
    go.set()
    assert panel.wait()
    assert panel.status == "It was done before it could be stopped."


def test_a_server_that_is_gone_is_away_since_then_until_it_answers(panel: Demo) -> None:
    def gone(_: Progress) -> None:
        raise UnreachableError("Nothing answers at 127.0.0.1:1.")

    panel.task("Asking", gone, lambda _: None)
    assert panel.wait()
    first = panel.status
    assert first.startswith("Nothing answers at 127.0.0.1:1. Away since ")
    panel._away = "01:02:03"
    panel.task("Asking", gone, lambda _: None)
    assert panel.wait()
    assert "Away since 01:02:03;" in panel.status
    panel.task("Asking", lambda progress: None, lambda _: panel.say("There."))
    assert panel.wait()
    assert (panel.status, panel.failed) == ("There.", False)
    panel.task("Asking", gone, lambda _: None)
    assert panel.wait()
    assert "Away since" in panel.status
    assert "01:02:03" not in panel.status


def test_closing_ends_the_work_and_later_news_reach_nobody(panel: Demo) -> None:
    ended = threading.Event()

    def work(progress: Progress) -> None:
        progress.total(5)
        until(lambda: progress.cancelled)
        progress.advance()
        ended.set()

    panel.task("Working", work, lambda _: panel.say("never"))
    panel.close()
    assert ended.is_set()
    panel.say("too late")
    panel.task("too late", lambda progress: panel.say("never"), lambda _: None)
    panel.close()
    assert panel.status == ""
    assert not panel.busy
    assert repr(panel) == "<Demo closed>"
    assert panel._repr_mimebundle_() == {"text/plain": "<Demo closed>"}  # the browser is asked for no view of it


def test_progress_is_shown_ten_times_a_second_at_most_and_its_end_is_not_lost(panel: Demo) -> None:
    told: list[tuple[float, int, int]] = []
    panel._bar.observe(lambda change: told.append((time.monotonic(), change["new"], panel._bar.max)), "value")
    go = threading.Event()

    def work(progress: Progress) -> None:
        progress.total(3_000, "instances")
        for number in range(3_000):
            progress.advance()
            if number % 10 == 0:
                progress.note(f"series {number}")
            time.sleep(0.0001)
        go.wait(20)  # nothing comes after the last of them

    panel.task("Counting", work, lambda _: None)
    until(lambda: panel._bar.value == 3_000)
    until(lambda: "2990" in panel._news.value)
    assert "3,000 of 3,000 · instances series 2990" in panel._news.value
    go.set()
    assert panel.wait()
    times = [when for when, _, _ in told]
    assert len(times) >= 2
    assert min(after - before for before, after in pairwise(times)) > 0.09


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_in_the_status_line_and_beside_the_bar_is_text(panel: Demo, value: str) -> None:
    panel.say(value)
    panel._show(1, 2, value)
    for html in (shown(panel), panel._news.value):
        assert "<img" not in html
        assert not set(html) & set("\n\r\u202e\x00\x1b\ud800\u061c\u00ad")
        html.encode()
    assert panel.status == value


# -- tables ------------------------------------------------------------------------------------------------------------


def frame(rows: int, **columns: Any) -> pd.DataFrame:
    made = {"PatientName": [f"NAME^{k}" for k in range(rows)], **columns}
    return pd.DataFrame(made, index=pd.Index([f"id-{k}" for k in range(rows)], name="ID"))


def widgets(widget: Any) -> list[Any]:
    return [widget, *(below for child in getattr(widget, "children", ()) for below in widgets(child))]


def lines(table: Table) -> list[str]:
    return [label.replace("\u00a0", " ") for label, _ in table._list.options]


def test_pages_are_turned_and_end_at_both_ends() -> None:
    table = Table(label="Studies", page=10)
    table.show(frame(25))
    assert (table.pages, len(lines(table))) == (3, 10)
    assert table._before.disabled
    assert "Studies 1-10 of 25" in table._where.value
    table._after.click()
    table._after.click()
    assert table._after.disabled
    assert [line.strip() for line in lines(table)] == [f"NAME^{k}" for k in range(20, 25)]
    assert "Studies 21-25 of 25" in table._where.value
    table.turn(5)
    table.turn(-9)
    assert "1-10 of 25" in table._where.value
    table.show(frame(0))
    assert (table.pages, lines(table)) == (1, [])
    assert "nothing to show" in table._where.value
    assert table._before.disabled
    assert table._after.disabled


def test_what_is_chosen_stays_chosen_on_other_pages_in_the_frames_order() -> None:
    data = frame(25)
    data.attrs["orthanc"] = {"level": "Study"}
    table = Table(page=10)
    table.show(data)
    told: list[Any] = []
    table.observe(lambda change: told.append(change["new"]), "chosen")
    table.turn(1)
    table._list.value = (13, 11)
    table.turn(-1)
    assert table._list.value == ()
    table._list.value = (2,)
    assert list(table.chosen) == ["id-2", "id-11", "id-13"]
    table.turn(1)
    assert table._list.value == (11, 13)
    table._list.value = (13,)
    assert told == [("id-11", "id-13"), ("id-2", "id-11", "id-13"), ("id-2", "id-13")]
    assert list(table.selected.index) == ["id-2", "id-13"]
    assert table.selected.attrs == data.attrs

    table.show(data.iloc[3:], keep=True)
    assert list(table.chosen) == ["id-13"]
    assert "11-20 of 22" in table._where.value
    table.choose(["id-24", "id-4"])
    assert list(table.chosen) == ["id-4", "id-24"]
    table.show(data)
    assert list(table.chosen) == []
    assert len(table.selected) == 0
    assert table.selected.attrs == data.attrs


def test_rows_with_equal_texts_are_told_apart_and_rows_of_one_label_are_chosen_once_each() -> None:
    table = Table()
    table.show(pd.DataFrame({"PatientName": ["SAME"] * 3}, index=["a", "b", "c"]))
    table._list.value = (1,)
    assert table.chosen == ("b",)
    table.show(pd.DataFrame({"PatientName": ["X", "X", "Y"]}, index=["1.2", "1.2", "1.3"]))  # an archive that repeats
    table._list.value = (0, 2)
    assert list(table.selected.index) == ["1.2", "1.2", "1.3"]


def test_ten_thousand_rows_are_one_page_of_options() -> None:
    table = Table(["PatientName", "not there"])
    table.show(frame(10_000))
    assert (table.pages, len(lines(table)), table.columns) == (50, 200, ["PatientName"])
    assert "1-200 of 10,000" in table._where.value
    table.choose(list(table.frame.index))
    assert len(table.chosen) == 10_000
    table.turn(49)
    assert len(table._list.value) == 200
    assert len(widgets(table.widget)) < 10


def test_each_cell_is_the_value_as_text_in_columns_that_line_up() -> None:
    table = Table()
    table.show(
        pd.DataFrame(
            {
                "Name": ["山田^太郎", "e\u0301", "מלך^דוד", pd.NA, "x" * 50],
                "PatientID": ["12345"] * 5,
                "Date": pd.to_datetime(
                    pd.Series(["2024-01-31", None, "2024-01-31 10:11:12", "2024-02-01", "2024-02-02"]), format="ISO8601"
                ),
                "KVP": [120.0, 2048.125, 1234567.5, float("nan"), 0.1],
                "Count": pd.array([1, None, 3, 4, 5], dtype="Int64"),
                "Types": [["ORIGINAL", "PRIMARY"], [], ["A"], None, ["B"]],
            }
        )
    )
    first, second, hebrew, missing, long = lines(table)
    assert first.split() == ["山田^太郎", "12345", "2024-01-31", "120", "1", "ORIGINAL\\PRIMARY"]
    assert second.split() == ["e\u0301", "12345", "2048.125"]
    assert hebrew.split()[:5] == ["\u2068מלך^דוד\u2069", "12345", "2024-01-31", "10:11:12", "1234567.5"]
    assert missing.split() == ["12345", "2024-02-01", "4"]
    assert long.split()[0] == "x" * 31 + "…"
    head = table._head.value
    assert head.startswith("<span>Name")

    def column(line: str) -> int:
        """Where the second column begins, in cells of the font."""
        before = line[: line.index("12345")]
        marks = sum(each in "\u2068\u2069\u0301" for each in before)
        return len(before) - marks + sum(each in "山田太郎" for each in before)

    assert {column(line) for line in (first, second, hebrew, missing, long)} == {34}


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_is_a_cell_of_text(value: str) -> None:
    table = Table(label=value)
    values = pd.Series([value], dtype=object)  # what pandas itself cannot hold as a string is held as an object
    table.show(pd.DataFrame({"PatientName": values}))
    (line,) = lines(table)
    for shown in (line, table._head.value, table._where.value):
        assert not set(shown) & set("\n\r\u202e\x00\x1b\ud800\u061c\u00ad")
        shown.encode()
    assert "<img" not in table._head.value + table._where.value
    if value.isprintable():
        assert value in line  # an option is text to the browser: nothing is escaped, nothing lost


# -- forms -------------------------------------------------------------------------------------------------------------


def read_date(text: str) -> str:
    if len(text) != 8:
        raise QueryError(f"{text} is no date.")
    return text


def test_a_field_says_beside_itself_what_is_wrong_until_it_is_right() -> None:
    field = Field("Study date", read=read_date)
    assert field.value() is None
    field.box.value = SCRIPT
    with pytest.raises(QueryError):
        field.value()
    assert field._wrong.value.startswith('<span role="alert">&lt;img src=x')
    assert field._wrong.value.endswith("is no date.</span>")
    field.box.value = "20240131"
    assert field.value() == "20240131"
    assert field._wrong.value == ""
    field.box.value = "   "
    assert field.value() is None


def test_what_cannot_be_taken_back_takes_a_second_click_and_says_how_many() -> None:
    done: list[str] = []
    asked: list[str | None] = [None, "Delete 3 studies?", "Delete 3 studies?"]
    confirm = Confirm("Delete", lambda: asked.pop(0), lambda: done.append("deleted"))

    def asking() -> bool:
        hidden: bool = confirm.first.layout.display == "none"
        assert hidden == (confirm._asking.layout.display != "none")
        return hidden

    confirm.first.click()
    assert not asking()
    confirm.first.click()
    assert asking()
    assert "Delete 3 studies?" in confirm.question.value
    confirm.no.click()
    assert not asking()
    assert done == []
    confirm.first.click()
    for _ in range(2):  # a double click, before the page has taken the question away
        confirm.yes.click()
    assert not asking()
    assert done == ["deleted"]
    asked.append("Delete 3 studies?")
    confirm.first.click()
    confirm.withdraw()
    confirm.yes.click()
    assert done == ["deleted"]


def test_a_second_click_that_fails_says_so_beside_it() -> None:
    def fail() -> Any:
        raise failures.pop(0)

    failures: list[Exception] = [QueryError("Choose a study first."), KeyError("DOE^JOHN")]
    confirm = Confirm("Delete", fail, fail)
    confirm.first.click()
    assert "Choose a study first." in confirm._wrong.value
    confirm = Confirm("Delete", lambda: "Delete?", fail)
    confirm.first.click()
    confirm.yes.click()
    assert "KeyError: a fault of this program" in confirm._wrong.value
    assert "DOE" not in confirm._wrong.value


def test_the_call_that_does_the_same_can_be_copied_and_is_text() -> None:
    line = call()
    show_call(line, "orthanc.studies", {"PatientName": SCRIPT, "Modality": ["CT", "MR"]})
    assert "<img" not in line.value
    assert "orthanc.studies(PatientName=" in line.value
    assert "Modality=[&#x27;CT&#x27;, &#x27;MR&#x27;])" in line.value


def answered() -> None:
    """As a page does: it keeps the two numbers equal, and what it held back it has sent before."""
    pages = _heard._pages()
    pages.answer.set_state({"value": pages.question.value})


@pytest.mark.parametrize("how", ["click", "submit"])
def test_a_click_and_enter_are_about_what_comes_before_the_page_answers(how: str) -> None:
    seen: list[str] = []
    field = Field("Patient name")
    target = button("Find", "ores-find", lambda: seen.append(field.box.value))
    on_enter([field], target)
    pressed = target if how == "click" else field.box
    field.box.set_state({"value": "D*"})  # who leaves the field looks for nothing
    pressed._handle_custom_msg({"event": how}, [])
    field.box.set_state({"value": "DOE*"})  # it was held back, or comes after Enter
    assert seen == []
    answered()
    field.box.set_state({"value": "DOE^J*"})
    assert seen == ["DOE*"]
    for _ in range(2):
        pressed._handle_custom_msg({"event": how}, [])
    answered()
    assert seen == ["DOE*", "DOE^J*", "DOE^J*"]
    target.click()  # by a line of Python
    assert len(seen) == 4


def test_a_click_on_a_button_that_cannot_be_used_any_more_is_none() -> None:
    seen: list[str] = []

    def act() -> None:
        seen.append("begun")
        target.disabled = True

    target = button("Resume", "ores-resume", act)
    for _ in range(2):  # a double click: the second comes before the page knows
        target._handle_custom_msg({"event": "click"}, [])
    answered()
    assert seen == ["begun"]


def test_a_page_that_does_not_answer_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(_heard, "_LATE", 0.01)
    _heard._pages().question.close()  # with all others, by `Widget.close_all`
    target = button("Find", "ores-find", lambda: seen.append("clicked"))
    assert _heard._pages().question.comm is not None  # made anew
    target._handle_custom_msg({"event": "click"}, [])
    until(lambda: seen == ["clicked"])
    monkeypatch.setattr(_heard, "_LATE", 1e6)
    target._handle_custom_msg({"event": "click"}, [])  # it gave no answer, and is given less time for the next
    until(lambda: seen == ["clicked"] * 2)
    answered()
    assert seen == ["clicked"] * 2
    target._handle_custom_msg({"event": "click"}, [])  # it does answer
    ((_, timer),) = _heard._pages()._waiting.values()
    assert timer.interval == 1e6
    answered()
    assert seen == ["clicked"] * 3


def test_a_question_that_is_asked_anew_does_not_stay() -> None:
    questions = ["List everything?", None]
    confirm = Confirm("Find", lambda: questions.pop(0), lambda: None)
    confirm.first.click()
    assert confirm._asking.layout.display == ""
    confirm.first.click()  # by Enter in a field
    assert confirm._asking.layout.display == "none"


def test_who_shows_a_panel_is_told_all_of_it(panel: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a thread changes while a page is being made is lost to that page: see `test_browser_base`."""
    told: list[ipywidgets.Widget] = []
    monkeypatch.setattr(ipywidgets.Widget, "send_state", lambda self, key=None: told.append(self))
    panel.widget.set_state({"_view_count": 1})  # as a page does when it shows it
    assert set(walk(panel.widget)) <= set(told)
    assert {panel._line, panel._bar, panel.button} <= set(told)
    for count, more in ((1, False), (2, True), (1, False)):
        told.clear()
        panel.widget.set_state({"_view_count": count})
        assert (panel._line in told) == more
