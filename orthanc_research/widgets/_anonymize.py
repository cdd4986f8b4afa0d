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
from orthanc_research.release._run import Run
from orthanc_research.widgets._anonymize_fields import file_name
from orthanc_research.widgets._anonymize_plan import PlanPanel
from orthanc_research.widgets._form import Code, Confirm, Field, button, call, show_call
from orthanc_research.widgets._guard import guard, text

__all__ = ["AnonymizePanel"]

PROJECT, OWN = "A release project", "Orthanc's own"
_ABOUT = {
    PROJECT: "Keyed pseudonyms, shifted dates; every copy is checked against its original before it is stored.",
    OWN: "For use in the house: fast, and checked less. No row of it is releasable.",
}
_DONE = ("done", "already-anonymized")
_OPEN = ("unknown", "not-sent", "partial", "planned")


class AnonymizePanel(PlanPanel):
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
        super().__init__("De-identify", orthanc, targets or {}, profile)
        self.workers = workers
        self._journal: Path | None = None
        self._make()
        self.set_trait("selected", selection)
        self.observe(self._on_selected, "selected")
        self.observe(lambda _: self._arrange(), "busy")
        self._on_selected({})

    def _make(self) -> None:
        self._count = text("")
        self.engine = ipywidgets.ToggleButtons(options=[PROJECT, OWN], description="Engine")
        self._about = text("", classes="ores-note")
        self.start = Confirm("De-identify", self._ask_start, self._do_start)
        self._resume = button("Resume and retry failed", "ores-resume", self._on_resume)
        self._mapping = Field("Mapping file", placeholder="~/deid/lung-mapping.parquet", read=file_name, width="28em")
        self.save = Confirm("Save mapping", self._ask_save, self._do_save)
        self._call = call()
        self.engine.observe(self._on_engine, "value")
        parts = [self._count, self.engine, self._about, self._planning, self._found, self.table.widget, self._looking]
        parts += [ipywidgets.HBox([self.start.widget, self._resume]), self._call]
        self._compose([*parts, ipywidgets.HBox([self._mapping.widget, self.save.widget])])
        self._arrange()

    # -- what is shown ------------------------------------------------------------------------------------------------

    @guard
    def _on_selected(self, _: Any) -> None:
        self._drop_plan()
        self._journal = None
        self._count.value = f"<span>{escape(self._many())} selected</span>"

    @guard
    def _on_engine(self, _: Any) -> None:
        self._drop_plan()
        self._arrange()

    def _arrange(self) -> None:
        """Which buttons there are, and which can be used; and the line of Python."""
        own = self.engine.value == OWN
        self._about.value = f'<span class="ores-note">{escape(_ABOUT[self.engine.value])}</span>'
        self._planning.layout.display = self._looking.layout.display = "none" if own else ""
        planned = own or self.plan is not None
        self._plan_button.disabled = self.busy
        if self.busy:
            self._withdraw()
        for each in (self._preview_button, self._look, self.acknowledge.first):
            each.disabled = self.busy or self.plan is None
        self.start.first.disabled = self.busy or not planned
        again = self._journal if own else self.project
        self._resume.disabled = self.busy or again is None
        self.save.first.disabled = self.busy or (self.results is None if own else self.project is None)
        self._show_same(own)

    def _withdraw(self) -> None:
        super()._withdraw()
        for each in (self.start, self.save):
            each.withdraw()

    def _show_same(self, own: bool) -> None:
        chosen = Code("panel.selected")
        if own:
            show_call(self._call, "orthanc.anonymize", {"resources": chosen})
            return
        given = self._form.arguments()
        project = f"ores.Project({given['folder']!r}, key={given['key']!r})"
        where = {"source": Code("orthanc"), "resources": chosen, "profile": given["profile"], "target": given["target"]}
        where |= {"acknowledge": sorted(self._acknowledged)} if self._acknowledged else {}
        # The plan is looked at before it runs, on the screen as in a cell.
        show_call(self._call, f"{project}.plan", where, ".run()" if self.plan is not None else "")

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
    def _on_resume(self) -> None:
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
        if "partial" in left:
            again = "Copies were left behind: the error of that row in .results says how they go; then resume."
        own = "No row is releasable: this engine is for use in the house." if "engine" in frame.columns else ""
        rows = "row" if len(states) == 1 else "rows"
        said = [f"{len(states):,} {rows}: {counts}." if states else "There was nothing to do.", more, again, own]
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
    left = before[~before.index.isin(now.index)]
    # Not row by row into the old one: a column of whole numbers takes no objects, which a run that did nothing has.
    whole = (pd.concat([left, now]) if len(left) else now).reindex(before.index)
    whole.attrs = before.attrs
    return whole
