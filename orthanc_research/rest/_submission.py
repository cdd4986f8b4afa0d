"""What routes that make jobs have in common, and the check of a value against its choices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError

__all__ = ["PATIENCE", "Submission", "listed", "one_of", "submission"]

# A synchronous job answers when it is over.
PATIENCE = 3600.0


@dataclass(frozen=True, slots=True)
class Submission:
    """How a job is to be run: fields for the body, and what the call needs."""

    fields: Mapping[str, Any]
    needs: tuple[Feature, ...]
    patience: float | None


def submission(*, synchronous: bool, priority: int = 0, permissive: bool = False, user_data: Any = None) -> Submission:
    """The options that every route which makes a job has; `QueryError` for a priority where there is no queue."""
    if synchronous and priority:
        raise QueryError("A priority is for jobs: give synchronous=False with it.")
    fields: dict[str, Any] = {"Synchronous": synchronous}
    if priority:
        fields["Priority"] = priority
    if permissive:
        fields["Permissive"] = True
    if user_data is not None:
        fields["UserData"] = user_data
    return Submission(fields, ("job-user-data",) if user_data is not None else (), PATIENCE if synchronous else None)


def listed(values: Sequence[Any], name: str) -> list[Any]:
    """The values as a list; `QueryError` for no list, and for a text, whose letters would be taken one by one."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise QueryError(f"{name} is a list.")
    return list(values)


def one_of(value: object, choices: Sequence[str], name: str) -> None:
    """`QueryError` unless the value is one of the choices."""
    if value not in choices:
        raise QueryError(f"{name} is one of {', '.join(choices)}.")
