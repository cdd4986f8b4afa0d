"""Parts of a form: buttons, fields that say beside themselves what is wrong, a second click, the call shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ipywidgets

from orthanc_research.errors import QueryError
from orthanc_research.markup import escape
from orthanc_research.widgets._guard import sentence
from orthanc_research.widgets._heard import Button, when_heard

__all__ = ["Code", "Confirm", "Field", "button", "call", "complete", "on_enter", "period", "show_call"]


class Code(str):
    """Text that stands in a line of Python as it is, and not as a string."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def button(description: str, kind: str, act: Callable[[], Any]) -> ipywidgets.Button:
    """A button as wide as what it says, of this CSS class."""
    made = Button(description=description, layout={"width": "auto"})
    made.add_class(kind)
    made.on_click(lambda _: act())
    return made


class Field:
    """A labelled text box with a place for what is wrong with it.

    `read` turns its text into a value and raises `QueryError` for what makes no sense; nothing is sent before all
    fields of a form are right.
    """

    def __init__(
        self, label: str, *, placeholder: str = "", read: Callable[[str], Any] = str.strip, width: str = "20em"
    ) -> None:
        self.box = ipywidgets.Text(
            description=label, placeholder=placeholder, layout={"width": width}, style={"description_width": "initial"}
        )
        self.box.continuous_update = False
        self._read = read
        self._wrong = ipywidgets.HTML()
        self._wrong.add_class("ores-field")
        self.widget = ipywidgets.VBox([self.box, self._wrong])

    def value(self) -> Any:
        """What was entered; None when nothing was. A `QueryError` is shown beside the field, and raised."""
        self.complain("")
        if not self.box.value.strip():
            return None
        try:
            return self._read(self.box.value)
        except QueryError as error:
            self.complain(str(error))
            raise

    def needed(self, sentence: str) -> Any:
        """What was entered; where nothing was, the sentence is said beside the field, as a `QueryError`."""
        value = self.value()
        if value is None:
            self.complain(sentence)
            raise QueryError(sentence)
        return value

    def clear(self) -> None:
        """Empty it."""
        self.box.value = ""
        self.complain("")

    def complain(self, sentence: str) -> None:
        """Say beside the field what is wrong; "" for nothing."""
        self._wrong.value = f'<span role="alert">{escape(sentence)}</span>' if sentence else ""


def complete(fields: Mapping[str, Field]) -> dict[str, Any]:
    """What was entered, by name; the first `QueryError` of all fields that are wrong, after each of them says so."""
    found: dict[str, Any] = {}
    wrong: list[QueryError] = []
    for name, field in fields.items():
        try:
            value = field.value()
        except QueryError as error:
            wrong.append(error)
            continue
        if value is not None:
            found[name] = value
    if wrong:
        raise wrong[0]
    return found


def period(text: str) -> Any:
    """`2020-01-01 .. 2020-12-31`, either end open, as (from, to); any other text as it is."""
    first, dots, last = text.partition("..")
    if not dots:
        return text
    return first.strip() or None, last.strip() or None


def on_enter(fields: Iterable[Field], target: ipywidgets.Button) -> None:
    """Enter in any of these fields is a click on this button, with what was entered."""

    def pressed(_: Any, content: Any, _buffers: Any) -> None:
        if content.get("event") == "submit":
            when_heard(target.click)

    for field in fields:
        field.box.on_msg(pressed)


class Confirm:
    """A button for what cannot be taken back: the first click asks in place, with the number; the second does it.

    What `ask` and `act` raise is said beside it. The question has the keyboard on "No".
    """

    def __init__(self, description: str, ask: Callable[[], str | None], act: Callable[[], None]) -> None:
        """`ask` gives the question ("Delete 3 studies?"), or None when there is nothing to do; `act` does it."""
        self._ask, self._act = ask, act
        self.first = button(description, "ores-first", self._on_first)
        self.question = ipywidgets.HTML()
        self.yes = Button(description=f"Yes, {description.lower()}", button_style="danger")
        self.yes.add_class("ores-yes")
        self.no = button("No", "ores-no", self._back)
        self._asking = ipywidgets.HBox([self.question, self.yes, self.no], layout={"display": "none"})
        self._asking.add_class("ores-confirm")
        self.yes.on_click(lambda _: self._on_yes())
        self._wrong = ipywidgets.HTML()
        self._wrong.add_class("ores-field")
        self.widget = ipywidgets.HBox([self.first, self._asking, self._wrong])

    def _on_first(self) -> None:
        self._wrong.value = ""
        self.withdraw()  # Enter may click what cannot be seen
        try:
            question = self._ask()
        except Exception as failure:  # noqa: BLE001  # a handler has no caller who would see it
            self._complain(failure)
            return
        if question is None:
            return
        self.question.value = f'<span role="alert">{escape(question)}</span>'
        self.first.layout.display, self._asking.layout.display = "none", ""
        self.no.focus()

    def _on_yes(self) -> None:
        if self._asking.layout.display == "none":
            return  # the answer to a question that was taken back, or the second one of a double click
        self._back()
        try:
            self._act()
        except Exception as failure:  # noqa: BLE001  # as above
            self._complain(failure)

    def withdraw(self) -> None:
        """Take the question back: what it is about is not so any more."""
        self.first.layout.display, self._asking.layout.display = "", "none"

    def _back(self) -> None:
        self.withdraw()
        self.first.focus()

    def _complain(self, failure: Exception) -> None:
        self._wrong.value = f'<span role="alert">{escape(sentence(failure))}</span>'


def call() -> ipywidgets.HTML:
    """Where a screen shows the line of Python that does the same."""
    line = ipywidgets.HTML()
    line.add_class("ores-call")
    return line


def show_call(line: ipywidgets.HTML, name: str, arguments: dict[str, Any], then: str = "") -> None:
    """`name(key=value, …)`, and what is done with it, as it can be copied into a cell."""
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    line.value = f"<span>same as: <code>{escape(f'{name}({given}){then}')}</code></span>"
