"""The part of a de-identification that looks before anything is copied: the form, the plan, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd

from orthanc_research.deid import Profile
from orthanc_research.errors import QueryError
from orthanc_research.markup import escape
from orthanc_research.orthanc import Orthanc
from orthanc_research.progress import Progress
from orthanc_research.release._plan import Plan
from orthanc_research.release._run import Run
from orthanc_research.release.project import Project
from orthanc_research.tables import selection as selection_of
from orthanc_research.widgets._anonymize_form import Release, ReleaseForm
from orthanc_research.widgets._anonymize_shown import before_and_after, kept_back
from orthanc_research.widgets._base import Panel
from orthanc_research.widgets._form import Confirm, button
from orthanc_research.widgets._guard import guard
from orthanc_research.widgets._table import Table

__all__ = ["PlanPanel"]

_COLUMNS = (
    "status", "reason", "error", "notice", "Modality", "PatientID", "AnonymizedPatientID", "AnonymizedID", "instances",
    "to_do", "done", "failed", "conflict", "left", "engine", "releasable",
)  # fmt: skip
_PLURALS = {"Patient": "patients", "Study": "studies", "Series": "series", "Instance": "instances"}


class PlanPanel(Panel):
    """A plan of a release on a screen; what runs it is `AnonymizePanel`."""

    def __init__(self, title: str, orthanc: Orthanc, targets: Mapping[str, Orthanc], profile: Profile | None) -> None:
        super().__init__(title)
        self.orthanc = orthanc
        self.project: Project | None = None
        self.plan: Plan | None = None
        self.release: Run | None = None
        self._read: Release | None = None  # what the plan was made with
        self._stale = False  # the choices have changed since the plan was asked for
        self._acknowledged: set[str] = set()
        self._looked_at: list[str] = []  # the rows that were asked about
        self._previewed: list[dict[str, Any]] = []
        self._form = ReleaseForm(orthanc, targets, profile, self._on_form, self.fail)
        self._plan_button = button("Plan", "ores-plan", self._on_plan)
        self._planning = ipywidgets.VBox([self._form.widget, ipywidgets.HBox([self._plan_button])])
        self._problems, self._warning = ipywidgets.HTML(), ipywidgets.HTML()
        self._problems.add_class("ores-problems")
        self._warning.add_class("ores-warning")
        self._found = ipywidgets.VBox([self._warning, self._problems])
        self.table = Table(_COLUMNS, rows=8, label="Rows")
        self._look = button("Write pictures to look at", "ores-look", self._on_look)
        self.acknowledge = Confirm("Acknowledge chosen", self._ask_acknowledge, self._do_acknowledge)
        self._preview_button = button("Show before and after", "ores-preview-show", self._on_preview)
        self._hide = button("Hide", "ores-preview-hide", self._hide_preview)
        self._changes = ipywidgets.Checkbox(value=True, description="only what changes", indent=False)
        self._changes.observe(self._on_changes, "value")
        self._preview = ipywidgets.HTML()
        self._preview.add_class("ores-preview")
        looks = [self._look, self.acknowledge.widget], [self._preview_button, self._hide, self._changes]
        self._looking = ipywidgets.VBox([*map(ipywidgets.HBox, looks), self._preview])

    def _arrange(self) -> None:
        """Which buttons can be used."""
        raise NotImplementedError

    def _withdraw(self) -> None:
        """Take back questions that were of another plan, or of other choices."""
        self.acknowledge.withdraw()

    def _many(self) -> str:
        """How many of what; `QueryError` for what is no selection."""
        chosen = selection_of(self.selected, self.orthanc.url)
        name = _PLURALS.get(chosen.level or "", "resources")
        one = (chosen.level or "resource").lower()
        return f"{len(chosen.ids):,} {one if len(chosen.ids) == 1 else name}"

    def _some(self) -> str:
        """As `_many`; `QueryError` for none."""
        if not selection_of(self.selected, self.orthanc.url).ids:
            raise QueryError("Nothing is selected: there is nothing to de-identify.")
        return self._many()

    @guard
    def _on_form(self) -> None:
        """A plan holds for the form that it was made from."""
        self._drop_plan()

    def _drop_plan(self) -> None:
        if self.plan is not None:
            self.say("The choices have changed: plan again.")
            self.table.show(pd.DataFrame())
        self.plan, self._stale = None, True
        self._withdraw()
        self._acknowledged.clear()
        self._problems.value = self._warning.value = ""
        self._hide_preview()
        self._arrange()

    @guard
    def _on_plan(self) -> None:
        self._some()
        given = self._form.read()
        self._acknowledged.clear()
        self._replan(given)

    def _replan(self, given: Release) -> None:
        chosen, seen = self.selected, sorted(self._acknowledged)
        self._stale = False

        def work(progress: Progress) -> Any:
            project = Project(given.folder, given.key)
            plan = project.plan(
                self.orthanc, chosen, profile=given.profile, target=given.target(), acknowledge=seen, progress=progress
            )
            return given, project, plan, plan.frame, list(plan.problems.iterrows())

        self.task("reading headers", work, self._planned)

    def _planned(self, found: Any) -> None:
        given, project, plan, frame, problems = found
        if self._stale:
            self.say("The choices have changed meanwhile: plan again.")
            return
        if self.project is None or self.project.folder != project.folder:
            self.release = None  # runs are numbered in each project from 1
        self._read, self.project, self.plan = given, project, plan
        self._hide_preview()
        self.table.show(frame)
        self._problems.value = kept_back(problems)
        notices = [str(each) for each in frame["notice"] if isinstance(each, str)]
        said = [
            (sum("burned-in" in each for each in notices), "whose pixels may show whose they are: look at all of them"),
            (sum("face" in each for each in notices), "of a head, which may show a face: nothing here removes it"),
        ]
        self._warning.value = "".join(
            f'<div role="alert">Warning: {count:,} series {escape(what)}.</div>' for count, what in said if count
        )
        states = list(frame["status"])
        held = sum(state in ("blocked", "conflict") for state in states)
        self.say(
            f"{int(frame['to_do'].sum()):,} instances of {states.count('planned'):,} series would be de-identified"
            + (f"; {held:,} series are kept back." if held else ".")
        )
        self._arrange()

    @guard
    def _on_look(self) -> None:
        plan, given = self._ready()
        path = Path(given.folder) / "pixels-to-look-at.html"

        def work(_: Progress) -> Path:
            return plan.contact_sheet(path)

        self.task(
            "pictures", work, lambda made: self.say(f"Look at {made.name} in the project's folder: it shows originals.")
        )

    @guard
    def _ask_acknowledge(self) -> str | None:
        self._looked_at = rows = self._burned_in()
        return f"Have you looked at all images of these {len(rows):,} series, and does none show whose it is?"

    def _burned_in(self) -> list[str]:
        self._ready()
        chosen = self.table.selected
        rows = [
            str(row) for row, notice in chosen["notice"].items() if isinstance(notice, str) and "burned-in" in notice
        ]
        if not rows:
            raise QueryError("Choose series whose notice is burned-in, in the table.")
        return rows

    @guard
    def _do_acknowledge(self) -> None:
        self._acknowledged.update(self._looked_at)  # whatever is chosen meanwhile
        self._replan(self._ready()[1])

    @guard
    def _on_preview(self) -> None:
        plan, _given = self._ready()
        if len(self.table.chosen) != 1:
            raise QueryError("Choose one row of the plan, in the table.")
        row = str(self.table.chosen[0])

        def work(_: Progress) -> list[dict[str, Any]]:
            return [dict(each) for _, each in plan.preview(row).iterrows()]

        self.task("before and after", work, self._show_preview)

    def _show_preview(self, rows: list[dict[str, Any]]) -> None:
        self._previewed = rows
        self._on_changes({})
        self.say("Before and after, of one instance: it shows who the patient is. Hide takes it off the screen.")

    @guard
    def _on_changes(self, _: Any) -> None:
        if self._previewed:
            self._preview.value = before_and_after(self._previewed, changes=self._changes.value)

    def _hide_preview(self) -> None:
        self._previewed = []
        self._preview.value = ""

    def _ready(self) -> tuple[Plan, Release]:
        if self.plan is None or self._read is None:
            raise QueryError("Plan first.")
        return self.plan, self._read
