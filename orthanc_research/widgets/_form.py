"""Parts of a form: fields that say beside themselves what is wrong, the call that does the same, and a second click."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from orthanc_research.errors import QueryError
from orthanc_research.markup import escape
from orthanc_research.widgets._base import sentence

__all__ = ["Confirm", "Field", "call", "show_call"]


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

    def complain(self, sentence: str) -> None:
        """Say beside the field what is wrong; "" for nothing."""
        self._wrong.value = f'<span role="alert">{escape(sentence)}</span>' if sentence else ""


class Confirm:
    """A button for what cannot be taken back: the first click asks in place, with the number; the second does it.

    What `ask` and `act` raise is said beside it. The question has the keyboard on "No".
    """

    def __init__(self, description: str, ask: Callable[[], str | None], act: Callable[[], None]) -> None:
        """`ask` gives the question ("Delete 3 studies?"), or None when there is nothing to do; `act` does it."""
        self._ask, self._act = ask, act
        self.first = ipywidgets.Button(description=description, layout={"width": "auto"})
        self.first.add_class("ores-first")
        self.question = ipywidgets.HTML()
        self.yes = ipywidgets.Button(description=f"Yes, {description.lower()}", button_style="danger")
        self.yes.add_class("ores-yes")
        self.no = ipywidgets.Button(description="No", layout={"width": "auto"})
        self.no.add_class("ores-no")
        self._asking = ipywidgets.HBox([self.question, self.yes, self.no], layout={"display": "none"})
        self._asking.add_class("ores-confirm")
        self.first.on_click(self._on_first)
        self.yes.on_click(self._on_yes)
        self.no.on_click(lambda _: self._back())
        self._wrong = ipywidgets.HTML()
        self._wrong.add_class("ores-field")
        self.widget = ipywidgets.HBox([self.first, self._asking, self._wrong])

    def _on_first(self, _: Any) -> None:
        self._wrong.value = ""
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

    def _on_yes(self, _: Any) -> None:
        self._back()
        try:
            self._act()
        except Exception as failure:  # noqa: BLE001  # as above
            self._complain(failure)

    def _back(self) -> None:
        self.first.layout.display, self._asking.layout.display = "", "none"
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
