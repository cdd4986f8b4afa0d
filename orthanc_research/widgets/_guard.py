"""Handlers whose failures are seen: `guard`, what is said of a failure, and text that is never markup."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import ipywidgets

from orthanc_research.errors import CancelledError, Error
from orthanc_research.markup import escape
from orthanc_research.progress import Progress

__all__ = ["guard", "sentence", "still_wanted", "text"]

P = ParamSpec("P")
T = TypeVar("T")
Self = TypeVar("Self", bound="Fails")


class Fails(Protocol):
    """What has handlers: a panel, or a part of one that hands its failures on."""

    def fail(self, failure: BaseException) -> None:
        """Say what went wrong."""


def guard(handler: Callable[Concatenate[Self, P], T]) -> Callable[Concatenate[Self, P], T | None]:
    """A method that is a widget's handler: whatever it raises is a sentence in the panel's status line, and None."""

    @functools.wraps(handler)
    def guarded(self: Self, *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return handler(self, *args, **kwargs)
        except Exception as failure:  # noqa: BLE001  # a handler has no caller who would see it
            self.fail(failure)
            return None

    return guarded  # type: ignore[return-value]  # mypy names its first parameter


def still_wanted(progress: Progress) -> None:
    """`CancelledError` when the user asked to stop: for work whose result is then not to be shown."""
    if progress.cancelled:
        raise CancelledError("It was stopped on request.")


def text(value: object, *, classes: str = "", tag: str = "span") -> ipywidgets.HTML:
    """A line of text that is never markup, and in which `$` is a dollar."""
    return ipywidgets.HTML(f'<{tag} class="{classes}">{escape(value)}</{tag}>')


def sentence(failure: BaseException) -> str:
    """What a screen says about a failure."""
    if isinstance(failure, Error):
        return str(failure)
    if isinstance(failure, OSError) and failure.strerror:  # the disk; a path may hold a name
        return f"{failure.strerror}; .failure says where."
    # Its words may hold what a file says about a patient.
    return f"{type(failure).__name__}: a fault of this program, not of your data; .failure holds it."
