"""A planned series on its way into a dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orthanc_research.dataset._task import Task

__all__ = ["Unit"]


@dataclass(slots=True, kw_only=True, eq=False)
class Unit:
    """A planned series: where it comes from, whose it is in the dataset, its task, and what became of it."""

    source_uid: str
    source: int
    plan: Any = field(repr=False)
    patient: str
    task: Task | None = None
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What its files are called; "" for what has none."""
        return self.task.name if self.task is not None else ""

    @property
    def built(self) -> bool:
        """Whether there is something of it in the dataset."""
        return self.task is not None and self.row["status"] in ("done", "partial")
