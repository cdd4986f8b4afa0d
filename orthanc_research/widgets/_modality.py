"""`ModalityBrowser`: a remote archive on the screen; what it has, what of it is here, and what is brought here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import ipywidgets
import pandas as pd

from orthanc_research.errors import QueryError
from orthanc_research.markup import escape, visible
from orthanc_research.modality import many
from orthanc_research.orthanc import Orthanc
from orthanc_research.progress import Progress
from orthanc_research.tables import LEVELS, Level
from orthanc_research.widgets._base import Panel
from orthanc_research.widgets._form import Confirm, button, call, on_enter, show_call
from orthanc_research.widgets._guard import guard
from orthanc_research.widgets._query import QueryForm
from orthanc_research.widgets._table import Table
from orthanc_research.widgets._views import (
    COLUMNS,
    LEDGER,
    NAMES,
    THINGS,
    View,
    called,
    retrieval,
    seconds,
    with_here,
)

__all__ = ["ModalityBrowser"]


class ModalityBrowser(Panel):
    """What a remote archive has, and what of it is here: `ModalityBrowser(orthanc)` in a cell.

    `query` is what was asked for what is shown, `results` the answers (with `InstancesHere` and `Here`) and `selected`
    the rows that are chosen: DataFrames for `orthanc.modality(name).retrieve`. `job` is what came of the last retrieve,
    a row for each of its rows.
    """

    def __init__(self, orthanc: Orthanc) -> None:
        super().__init__("Remote archive")
        self._orthanc = orthanc
        self._views: list[View] = []
        self._everything: tuple[str, Level] | None = None
        self._bringing = False
        self.job: pd.DataFrame | None = None
        self._archive = ipywidgets.Dropdown(
            description="Archive", layout={"width": "32em"}, style={"description_width": "initial"}
        )
        self._archive.add_class("ores-modality")
        self._level = ipywidgets.Dropdown(
            options=[("studies", "Study"), ("patients", "Patient")],
            description="List",
            layout={"width": "12em"},
            style={"description_width": "initial"},
        )
        self._level.add_class("ores-level")
        self.form = QueryForm()
        self._find = Confirm("Find", self._ask, self._list_everything)
        self._find.first.add_class("ores-find")
        on_enter((*self.form.fields.values(), self.form.more), self._find.first)
        self._method = ipywidgets.Dropdown(
            options=["C-MOVE", "C-GET"],
            description="by",
            layout={"width": "10em"},
            style={"description_width": "1.5em"},
        )
        self._method.add_class("ores-method")
        self._open = button("Open", "ores-open", self._on_open)
        self._back = button("Back", "ores-back", self._on_back)
        self._bring = button("Retrieve", "ores-retrieve", self._on_retrieve)
        self._call, self._said = call(), call()
        self._call.add_class("ores-find-call")
        self._said.add_class("ores-retrieve-call")
        self._crumbs, self._note = ipywidgets.HTML(), ipywidgets.HTML()
        self._crumbs.add_class("ores-crumbs")
        self._note.add_class("ores-warning")
        self.table = Table(COLUMNS, label="Rows", whole=True)
        self.table.observe(lambda _: self._on_choice(), "chosen")
        self.ledger = Table(LEDGER, rows=4, label="Retrieved", cell=seconds, whole=True)
        self.table.widget.add_class("ores-answers")
        self.ledger.widget.add_class("ores-ledger")
        self.ledger.widget.layout.display = "none"
        self._compose(self._parts(), [self._said, self.ledger.widget])
        self._show_view()
        self._on_reload()

    def _parts(self) -> Sequence[ipywidgets.Widget]:
        echo = button("Echo", "ores-echo", self._on_echo)
        reload = button("Reload list", "ores-reload", self._on_reload)
        clear = button("Clear", "ores-clear", self._on_clear)
        return (
            ipywidgets.HBox([self._archive, echo, reload]),
            self.form.widget,
            ipywidgets.HBox([self._level, self._find.widget, clear]),
            self._call,
            self._crumbs,
            self._note,
            self.table.widget,
            ipywidgets.HBox([self._back, self._open, self._bring, self._method]),
        )

    # -- what it has in Python ----------------------------------------------------------------------------------------

    @property
    def results(self) -> pd.DataFrame:
        """The answers that are shown, a row each; empty before the first."""
        return self._views[-1].frame if self._views else pd.DataFrame()

    @property
    def query(self) -> dict[str, Any]:
        """What was asked for what is shown: modality, level and criteria; {} before the first answer."""
        return dict(self._views[-1].query) if self._views else {}

    # -- whom to ask --------------------------------------------------------------------------------------------------

    @guard
    def _on_reload(self) -> None:
        self._free()

        def done(found: pd.DataFrame) -> None:
            before = self._archive.value
            self._archive.options = [
                (visible(f"{name}   {row['AET']}@{row['Host']}:{row['Port']}"), name) for name, row in found.iterrows()
            ]
            self._archive.value = before if before in found.index else next(iter(found.index), None)
            none = "This Orthanc knows no modality: orthanc.add_modality(name, aet, host, port), then Reload list."
            self.say(none if found.empty else "")

        self.task("reading the list of modalities", lambda _: self._orthanc.modalities(), done, once=True)

    @guard
    def _on_echo(self) -> None:
        self._free()
        name = self._name()
        self.task(
            "C-ECHO",
            lambda _: self._orthanc.modality(name).echo(),
            lambda seconds: self.say(f"{name} answered in {seconds:.2f} s."),
            once=True,
        )

    def _name(self) -> str:
        if self._archive.value is None:
            raise QueryError("Choose a modality first.")
        return str(self._archive.value)

    def _free(self) -> None:
        if self._bringing and self.busy:  # another task would end it
            raise QueryError("A retrieve is under way: wait for it, or cancel it.")
        self._bringing = False

    # -- find ---------------------------------------------------------------------------------------------------------

    @guard
    def _ask(self) -> str | None:
        """The question before everything is listed; without one, what the form says is looked for."""
        self._everything = None
        self._free()
        name, level = self._name(), cast(Level, self._level.value)
        criteria, match = self.form.read(level)
        if criteria or match:
            self._look(name, level, criteria, match)
            return None
        self._everything = name, level
        return f"Nothing is filled in: list everything, all {THINGS[level]} that {name} has?"

    @guard
    def _list_everything(self) -> None:
        self._free()
        asked, self._everything = self._everything, None
        if asked is not None:
            self._look(*asked, {}, {})

    def _look(self, name: str, level: Level, criteria: dict[str, Any], match: dict[str, str]) -> None:
        modality = self._orthanc.modality(name)
        query = {"modality": name, "level": level, **criteria, **({"match": match} if match else {})}

        def work(_: Progress) -> View:
            frame = modality.find(level, match=match or None, warn=False, **criteria)
            return with_here(View(modality, level, query, frame, note=many(frame)))

        self.task("C-FIND", work, lambda view: self._arrive([view]), once=True)

    @guard
    def _on_open(self) -> None:
        self._free()
        rows = self.table.selected
        if len(rows) != 1:
            raise QueryError("Choose one row to open.")
        view = self._views[-1]
        if view.level == "Series":
            raise QueryError("Below a series are its images: retrieve it to see them.")
        if pd.isna(rows.index[0]):
            raise QueryError(f"The archive did not say its {rows.index.name}, so nothing below it can be asked for.")
        below: Level = LEVELS[LEVELS.index(view.level) + 1]
        query = {"modality": view.modality.name, "level": view.level, "uid": str(rows.index[0])}
        names = NAMES[view.level]  # below a patient, without saying again which
        crumb = called(rows.iloc[0], names[1:] if len(self._views) > 1 else names) or query["uid"]

        def work(_: Progress) -> View:
            frame = view.modality.below(view.level, query["uid"])
            return with_here(View(view.modality, below, query, frame, crumb, many(frame)))

        above = list(self._views)
        self.task("C-FIND", work, lambda found: self._arrive([*above, found]), once=True)

    @guard
    def _on_back(self) -> None:
        self._free()
        if len(self._views) < 2:
            raise QueryError("There is nothing above this.")
        self._views.pop()
        self._show_view()

    @guard
    def _on_clear(self) -> None:
        self.form.clear()

    def _arrive(self, views: list[View]) -> None:
        self._views = views
        self._show_view()
        view = views[-1]
        things = view.level.lower() if len(view.frame) == 1 else THINGS[view.level]
        count = f"{len(view.frame):,} {things} at {view.modality.name}."
        self.say(count if len(view.frame) else f"{view.modality.name} answered, and has nothing that matches.")

    # -- retrieve -----------------------------------------------------------------------------------------------------

    @guard
    def _on_retrieve(self) -> None:
        self._free()
        rows = self.table.selected
        if rows.empty:
            raise QueryError("Choose studies or series first.")
        views, method = list(self._views), self._method.value
        view = views[-1]
        if view.level == "Patient":
            raise QueryError("Open a patient first, and choose studies: archives may match PatientIDs without case.")

        def work(progress: Progress) -> tuple[pd.DataFrame, list[View]]:
            ledger = view.modality.retrieve(rows, method=method, progress=progress)
            return ledger, [with_here(each) for each in views]

        name, uids = f"orthanc.modality({view.modality.name!r})", list(map(str, rows.index))
        self._said.value = retrieval(name, view.level, uids, method)
        self._bringing = True
        self.task(f"{method} of {len(rows)} {THINGS[view.level]}", work, lambda result: self._brought(*result, rows))

    def _brought(self, ledger: pd.DataFrame, views: list[View], rows: pd.DataFrame) -> None:
        self.job = ledger
        level = views[-1].level
        self.ledger.show(ledger.assign(What=[called(row, NAMES[level]) for _, row in rows.iterrows()]))
        self.ledger.widget.layout.display = ""
        self._views = views
        self._show_view(keep=True)
        counts = ", ".join(f"{count} {status}" for status, count in ledger["status"].value_counts().items())
        bad = ledger[ledger["status"] != "complete"]["error"].dropna()
        self.say(f"Retrieved: {counts}. {bad.iloc[0] if len(bad) else ''}".strip(), failed=bool(len(bad)))

    # -- the screen ---------------------------------------------------------------------------------------------------

    def _show_view(self, *, keep: bool = False) -> None:
        view = self._views[-1] if self._views else None
        self.table.show(self.results, keep=keep)
        crumbs = [each.crumb for each in self._views[1:]]
        path = " > ".join([THINGS[self._views[0].level].capitalize(), *crumbs]) if view else ""
        where = f"You are looking at the remote archive {view.modality.name}  ·  {path}" if view else ""
        self._crumbs.value = f"<span>{escape(where)}</span>"
        self._note.value = f'<span role="alert">{escape(view.note)}</span>' if view and view.note else ""
        if view:
            verb = "below" if "uid" in view.query else "find"
            arguments = {key: value for key, value in view.query.items() if key != "modality"}
            show_call(self._call, f"orthanc.modality({view.modality.name!r}).{verb}", arguments)
        self._back.disabled = len(self._views) < 2
        self._open.disabled = view is None or view.level == "Series"
        self._bring.disabled = view is None or view.level == "Patient"
        self._show_choice()

    @guard
    def _on_choice(self) -> None:
        self._show_choice()

    def _show_choice(self) -> None:
        self.selected = self.table.selected
        chosen = len(self.selected)
        self._bring.description = f"Retrieve {chosen:,} selected" if chosen else "Retrieve"
