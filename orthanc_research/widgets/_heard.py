"""Clicks that wait for what was entered before them.

A browser holds back what is entered in a widget while the kernel is at work on what was entered there before. A click
is not held back and passes it: a search would be for less than what is typed in its form, files would go to the place
that was chosen first, a page would be turned under a row that was clicked. Enter comes before its text, too. So the
page is asked to answer, and what it was told to do is done when it has: all that was held back has come before that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ipywidgets

__all__ = ["Button", "when_heard"]

# Seconds after which a page gives no answer (it links no widgets, or is gone), and once it gave none.
_LATE = 3.0
_LEAST = 0.3

Act = Callable[[], Any]


class Button(ipywidgets.Button):  # type: ignore[misc]  # ipywidgets has no types
    """A button whose click in a page is acted on once all has come that was entered there before; one in Python now."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _pages()

    def _handle_button_msg(self, _: Any, content: dict[str, Any], _buffers: Any) -> None:
        if content.get("event") == "click":
            when_heard(self._clicked)

    def _clicked(self) -> None:
        if not self.disabled:  # since the click; the second one of a double click would do all again
            self.click()


def when_heard(act: Act) -> None:
    """Call `act()` once all has come that a page was told before this."""
    _pages().ask(act)


class _Pages:
    """Two numbers that a page itself keeps equal: told one of them, it answers with the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = 0
        self._answers = True
        self._waiting: dict[int, tuple[Act, threading.Timer]] = {}
        self.question, self.answer = ipywidgets.IntText(), ipywidgets.IntText()
        ipywidgets.jsdlink((self.question, "value"), (self.answer, "value"))
        self.answer.observe(lambda change: self._done(change["new"], answered=True), "value")

    def ask(self, act: Act) -> None:
        with self._lock:
            self._asked += 1
            number = self._asked
            late = _LATE if self._answers else min(_LATE, _LEAST)
            timer = threading.Timer(late, self._done, (number,), {"answered": False})
            timer.daemon = True
            self._waiting[number] = act, timer
            timer.start()
        self.question.value = number

    def _done(self, number: int, *, answered: bool) -> None:
        with self._lock:
            due = [self._waiting.pop(each) for each in sorted(self._waiting) if each <= number]
            self._answers = answered or (self._answers and not due)
        for act, timer in due:
            timer.cancel()
            act()


_made: _Pages | None = None


def _pages() -> _Pages:
    """Made with the first button, so that a page has it from its start; anew where all widgets were closed."""
    global _made
    if _made is None or _made.question.comm is None:
        _made = _Pages()
    return _made
