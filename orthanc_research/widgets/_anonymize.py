"""`AnonymizePanel`: studies de-identified on a screen, by a release project or by Orthanc's own engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd
import traitlets

from orthanc_research.batch.journal import default_path
from orthanc_research.deid import Profile
from orthanc_research.errors import QueryError
from orthanc_research.export import write_csv, write_table
from orthanc_research.markup import escape
from orthanc_research.orthanc import Orthanc
from orthanc_research.progress import Progress
from orthanc_research.release._places import check_house
from orthanc_research.release._plan import Plan
from orthanc_research.release._run import Run
from orthanc_research.release.project import Project
from orthanc_research.tables import selection as selection_of
from orthanc_research.widgets._anonymize_form import Code, Release, ReleaseForm, file_name
from orthanc_research.widgets._anonymize_shown import before_and_after, kept_back
from orthanc_research.widgets._base import Panel, guard, text
from orthanc_research.widgets._form import Confirm, Field, call, show_call
from orthanc_research.widgets._table import Table

__all__ = ["AnonymizePanel"]

PROJECT, OWN = "A release project", "Orthanc's own"
_COLUMNS = (
    "status", "reason", "error", "notice", "Modality", "PatientID", "AnonymizedPatientID", "AnonymizedID", "instances",
    "to_do", "done", "failed", "conflict", "left", "engine", "releasable",
)  # fmt: skip
_ABOUT = {
    PROJECT: "Keyed pseudonyms, shifted dates; every copy is checked against its original before it is stored.",
    OWN: "For use in the house: fast, and checked less. No row of it is releasable.",
}
_PLURALS = {"Patient": "patients", "Study": "studies", "Series": "series", "Instance": "instances"}
_DONE = ("done", "already-anonymized")
_OPEN = ("unknown", "not-sent", "partial", "planned")


class AnonymizePanel(Panel):
    """De-identify what was selected: a plan, a look at what changes, a run, and what became of each row.

    `selection` is a frame that a find returned, or Orthanc IDs. `targets` are other servers by the name that they have
    on the screen, `profile` the rules that the form begins with, `workers` the processes of a release. `selected` is
    what was given, `plan` and `release` the newest plan and run of the project, `results` the ledger: a row for every
    input. Identities are shown before they are taken away, on request and only here; `Hide` takes them off the screen.
    """

    results = traitlets.Any(None, allow_none=True)

    def __init__(
        self,
        orthanc: Orthanc,
        selection: Any,
        *,
        targets: Mapping[str, Orthanc] | None = None,
        profile: Profile | None = None,
        workers: int = 2,
    ) -> None:
        super().__init__("De-identify")
        self.orthanc, self.workers = orthanc, workers
        self.project: Project | None = None
        self.plan: Plan | None = None
        self.release: Run | None = None
        self._read: Release | None = None
        self._journal: Path | None = None
        self._stale = False  # the choices have changed since the plan was asked for
        self._acknowledged: set[str] = set()
        self._previewed: list[dict[str, Any]] = []
        self._form = ReleaseForm(orthanc, targets or {}, profile, self._on_form)
        self._make()
        self.set_trait("selected", selection)
        self.observe(self._on_selected, "selected")
        self.observe(self._on_busy, "busy")
        self._on_selected({})

    def _make(self) -> None:
        self._count = text("")
        self.engine = ipywidgets.ToggleButtons(
            options=[PROJECT, OWN], description="Engine", tooltips=[*_ABOUT.values()]
        )
        self._about = text("", classes="ores-note")
        self._plan_button = _button("Plan", "ores-plan", self._on_plan, icon="list")
        self.start = Confirm("De-identify", self._ask_start, self._do_start)
        self._resume = _button("Resume and retry failed", "ores-resume", self._on_resume)
        self._problems = ipywidgets.HTML()
        self._problems.add_class("ores-problems")
        self._warning = ipywidgets.HTML()
        self._warning.add_class("ores-warning")
        self.table = Table(_COLUMNS, rows=8, label="rows")
        self._look = _button("Write pictures to look at", "ores-look", self._on_look)
        self.acknowledge = Confirm("Acknowledge chosen", self._ask_acknowledge, self._do_acknowledge)
        self._preview_button = _button("Show before and after", "ores-preview-show", self._on_preview)
        self._hide = _button("Hide", "ores-preview-hide", lambda _: self._hide_preview())
        self._changes = ipywidgets.Checkbox(value=True, description="only what changes", indent=False)
        self._changes.observe(self._on_changes, "value")
        self._preview = ipywidgets.HTML(layout={"max_height": "24em", "overflow": "auto"})
        self._preview.add_class("ores-preview")
        self._mapping = Field("Mapping file", placeholder="~/deid/lung-mapping.parquet", read=file_name, width="28em")
        self.save = Confirm("Save mapping", self._ask_save, self._do_save)
        self._call = call()
        self._planning = ipywidgets.VBox([self._form.widget, self._plan_button])
        self._looking = ipywidgets.VBox(
            [
                ipywidgets.HBox([self._look, self.acknowledge.widget]),
                ipywidgets.HBox([self._preview_button, self._hide, self._changes]),
                self._preview,
            ]
        )
        self.engine.observe(self._on_engine, "value")
        parts = [
            self._count,
            self.engine,
            self._about,
            self._planning,
            self._warning,
            self._problems,
            self.table.widget,
        ]
        parts += [self._looking, ipywidgets.HBox([self.start.widget, self._resume]), self._call]
        self._compose([*parts, ipywidgets.HBox([self._mapping.widget, self.save.widget])])
        self._arrange()

    # -- what is shown ------------------------------------------------------------------------------------------------

    @guard
    def _on_selected(self, _: Any) -> None:
        self._drop_plan()
        self._journal = None
        self._count.value = f"<span>{escape(self._many())} selected</span>"

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
    def _on_engine(self, _: Any) -> None:
        self._drop_plan()
        self._arrange()

    @guard
    def _on_form(self) -> None:
        """A plan holds for the form that it was made from."""
        self._drop_plan()

    def _drop_plan(self) -> None:
        if self.plan is not None:
            self.say("The choices have changed: plan again.")
            self.table.show(pd.DataFrame())
        self.plan, self._stale = None, True
        self._acknowledged.clear()
        self._problems.value = self._warning.value = ""
        self._hide_preview()
        self._arrange()

    def _on_busy(self, _: Any) -> None:
        self._arrange()

    def _arrange(self) -> None:
        """Which buttons there are, and which can be used; and the line of Python."""
        own = self.engine.value == OWN
        self._about.value = f'<span class="ores-note">{escape(_ABOUT[self.engine.value])}</span>'
        self._planning.layout.display = self._looking.layout.display = "none" if own else ""
        planned = own or self.plan is not None
        self._plan_button.disabled = self.busy
        for button in (self._preview_button, self._look, self.acknowledge.first):
            button.disabled = self.busy or self.plan is None
        self.start.first.disabled = self.busy or not planned
        again = self._journal if own else self.project
        self._resume.disabled = self.busy or again is None
        self.save.first.disabled = self.busy or (self.results is None if own else self.project is None)
        self._show_same(own)

    def _show_same(self, own: bool) -> None:
        chosen = Code("panel.selected")
        if own:
            show_call(self._call, "orthanc.anonymize", {"resources": chosen})
            return
        given = self._form.arguments()
        project = f"ores.Project({given['folder']!r}, key={given['key']!r})"
        where = {"source": Code("orthanc"), "resources": chosen, "profile": given["profile"], "target": given["target"]}
        show_call(self._call, f"{project}.plan", where)
        # The plan is looked at before it runs, on the screen as in a cell.

    # -- a release ----------------------------------------------------------------------------------------------------

    @guard
    def _on_plan(self, _: Any) -> None:
        self._some()
        self._read = self._form.read()
        self._acknowledged.clear()
        self._replan()

    def _replan(self) -> None:
        given, chosen, seen = self._read, self.selected, sorted(self._acknowledged)
        if given is None:
            return
        self._stale = False

        def work(progress: Progress) -> Any:
            project = Project(given.folder, given.key)
            plan = project.plan(
                self.orthanc, chosen, profile=given.profile, target=given.target(), acknowledge=seen, progress=progress
            )
            return project, plan, plan.frame, list(plan.problems.iterrows())

        self.task("reading headers", work, self._planned)

    def _planned(self, found: Any) -> None:
        self.project, plan, frame, problems = found
        if self._stale:
            self.say("The choices have changed meanwhile: plan again.")
            self._arrange()
            return
        self.plan = plan
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
    def _on_look(self, _: Any) -> None:
        plan, given = self._ready()
        path = Path(given.folder) / "pixels-to-look-at.html"

        def work(_: Progress) -> Path:
            return plan.contact_sheet(path)

        self.task("pictures", work, lambda made: self.say(f"Look at {made}: it shows originals."))

    @guard
    def _ask_acknowledge(self) -> str | None:
        rows = self._burned_in()
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
        self._acknowledged.update(self._burned_in())
        self._replan()

    @guard
    def _on_preview(self, _: Any) -> None:
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

    # -- a run --------------------------------------------------------------------------------------------------------

    @guard
    def _ask_start(self) -> str | None:
        many = self._some()
        if self.engine.value == OWN:
            return f"De-identify {many} by Orthanc's own engine? The originals stay; no copy is releasable."
        plan, given = self._ready()
        todo = [line for line in plan.frame["to_do"] if line]
        if not todo:
            raise QueryError("There is nothing to do: no series of this plan is to be copied.")
        what = f"{len(todo):,} series, {int(sum(todo)):,} instances"
        return f"De-identify {many} ({what}) into {given.place}? The originals stay."

    @guard
    def _do_start(self) -> None:
        self._hide_preview()
        if self.engine.value == OWN:
            chosen, path = self.selected, default_path("anonymize")
            self._journal = path
            self.task(
                "anonymizing",
                lambda progress: self.orthanc.anonymize(chosen, journal=path, progress=progress),
                self._ended,
            )
            return
        plan, _given = self._ready()
        # A plan is good for one run: afterwards the project is another.
        self.plan = None
        self.task(
            "de-identifying", lambda progress: self._ran(plan.run(workers=self.workers, progress=progress)), self._kept
        )

    @guard
    def _on_resume(self, _: Any) -> None:
        """Do what is left, by the engine that is chosen."""
        self._hide_preview()
        if self.engine.value == OWN:
            self._resume_own()
            return
        project, given = self.project, self._read
        if project is None or given is None:
            raise QueryError("Plan first: there is no project yet.")
        self.plan = None

        def work(progress: Progress) -> Any:
            target = given.target()
            return self._ran(
                project.resume(
                    self.release, source=self.orthanc, target=target, workers=self.workers, progress=progress
                )
            )

        self.task("resuming", work, self._kept)

    def _resume_own(self) -> None:
        """What was interrupted goes on; what failed, and nothing is open, is asked for once more."""
        before, path = self.results, self._journal
        failed = [] if before is None else [row for row, state in before["status"].items() if state == "failed"]
        if failed and not any(state in _OPEN for state in before["status"]):
            path = self._journal = default_path("anonymize")

            def again(progress: Progress) -> pd.DataFrame:
                return _with(before, self.orthanc.anonymize(failed, journal=path, progress=progress))

            self.task("once more", again, self._ended)
            return
        self.task("resuming", lambda progress: _with(before, self.orthanc.resume(path, progress=progress)), self._ended)

    def _ran(self, run: Run) -> tuple[Run, pd.DataFrame, str]:
        """What a run left, read on the thread that did it."""
        return run, run.frame, run.state

    def _kept(self, found: tuple[Run, pd.DataFrame, str]) -> None:
        self.release, frame, state = found
        self._problems.value = self._warning.value = ""
        unproven = state == "unverified"
        self._ended(frame, "The check across all copies failed: do not release them." if unproven else "")

    def _ended(self, frame: pd.DataFrame, more: str = "") -> None:
        self.results = frame
        self.table.show(frame)
        states = list(frame["status"])
        left = [state for state in states if state not in _DONE]
        counts = ", ".join(f"{states.count(each):,} {each}" for each in dict.fromkeys(states))
        again = "Resume and retry does the rest." if set(left) - {"blocked"} else ""
        own = "No row is releasable: this engine is for use in the house." if "engine" in frame.columns else ""
        said = [f"{len(states):,} rows: {counts}." if states else "There was nothing to do.", more, again, own]
        self.say(
            " ".join(each for each in said if each), failed=bool(more) or bool(set(left) - {"blocked", "not-done"})
        )
        self._arrange()

    # -- who is who ---------------------------------------------------------------------------------------------------

    @guard
    def _ask_save(self) -> str | None:
        if self._mapping.value() is None:
            self._mapping.complain("Name the file, apart from the copies.")
            return None
        return "That file will say who is who: it CONTAINS IDENTITIES. Keep it apart from the copies. Write it?"

    @guard
    def _do_save(self) -> None:
        path: Path = self._mapping.value()
        project, ledger = self.project, self.results
        own = self.engine.value == OWN

        def work(_: Progress) -> Path:
            frame = ledger
            if not own and project is not None:
                with project.reading() as store:
                    check_house(path, (row.target for row in store.runs()))
                frame = project.mapping().reveal()
            return write_csv(frame, path) if path.suffix.lower() == ".csv" else write_table(frame, path)

        self.task("saving", work, lambda _: self.say("The mapping is saved. It contains identities: keep it apart."))

    def close(self) -> None:
        """See `Panel.close`; what shows identities is taken away first."""
        self._hide_preview()
        super().close()
        self._form.close()


def _with(before: pd.DataFrame | None, now: pd.DataFrame) -> pd.DataFrame:
    """The ledger of all rows, as those of a later run say it."""
    if before is None or not len(before):
        return now
    whole = before.copy()
    whole.loc[now.index] = now
    return whole


def _button(description: str, kind: str, act: Any, icon: str = "") -> ipywidgets.Button:
    button = ipywidgets.Button(description=description, icon=icon, layout={"width": "auto"})
    button.add_class(kind)
    button.on_click(act)
    return button
