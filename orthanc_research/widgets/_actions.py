"""What is done with chosen patients, studies or series: a small form in place for each verb, and its ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd
import traitlets

from orthanc_research import resolve
from orthanc_research.errors import CancelledError, OrthancError, QueryError
from orthanc_research.markup import escape
from orthanc_research.orthanc import Orthanc
from orthanc_research.progress import Progress
from orthanc_research.tables import selection
from orthanc_research.widgets._anonymize_fields import folder_name
from orthanc_research.widgets._base import Panel
from orthanc_research.widgets._form import Code, Confirm, Field, button, call, show_call
from orthanc_research.widgets._guard import guard
from orthanc_research.widgets._search import labels
from orthanc_research.widgets._table import Table

__all__ = ["Actions"]

_NAMES = {"Patient": ("patient", "patients"), "Study": ("study", "studies"), "Series": ("series", "series")}
_LEDGER = ("status", "error", "file", "AnonymizedPatientID", "instances", "expected")
_NOTES = {
    "Anonymize": "Copies of {}, anonymized by Orthanc: for use in the house, not for release. The originals stay.",
    "Export": "The images of {} as files, in a folder of the computer that runs this notebook.",
    "Send": "{}, sent to a modality that this Orthanc knows.",
    "Label": "Labels put on {}, and taken off.",
    "Download": "The DICOM files of {}, into a folder of the computer that runs this notebook.",
}


class Actions(Panel):
    """Buttons over a selection: `results` is the ledger of the last one that was done.

    `chosen()` is the frame that is acted on, `changed()` is called when the archive has, or may have, changed.
    """

    results = traitlets.Any(None, allow_none=True)

    def __init__(self, orthanc: Orthanc, chosen: Callable[[], pd.DataFrame], changed: Callable[[], None]) -> None:
        super().__init__("With what is chosen")
        self._orthanc, self._chosen, self._changed = orthanc, chosen, changed
        self._named: pd.DataFrame | None = None  # what the form or the question is about
        self.folder = Field("Folder", placeholder="~/export", read=_folder, width="32em")
        self.form = ipywidgets.Dropdown(description="Format", options=["nifti", "npz", "npy", "parquet"])
        self.values = ipywidgets.Dropdown(description="Values", options=["rescaled", "stored", "suv"])
        self.modality = ipywidgets.Dropdown(description="To", options=[])
        self.add = Field("Add", placeholder="reviewed", read=labels)
        self.remove = Field("Remove", read=labels)
        self.buttons = {
            name: button(f"{name}…", f"ores-{name.lower()}", partial(self._on_open, name)) for name in _NOTES
        }
        self.delete = Confirm("Delete…", self._ask, self._on_delete)
        self.delete.first.add_class("ores-delete")
        self.delete.yes.description = "Yes, delete"
        self.go = button("Go", "ores-go", self._on_go)
        self.go.button_style = "primary"
        self.leave = button("Close", "ores-leave", self._on_leave)
        self._note = ipywidgets.HTML()
        self._fields = ipywidgets.VBox()
        self._open: str | None = None
        self._panel = ipywidgets.VBox(
            [self._note, self._fields, ipywidgets.HBox([self.go, self.leave])], layout={"display": "none"}
        )
        self._panel.add_class("ores-action")
        self._same = call()
        self._ledger = Table(_LEDGER, rows=4, label="Ledger", page=50)
        self._ledger.widget.layout.display = "none"
        self._ledger.widget.add_class("ores-ledger")
        row = ipywidgets.HBox([*self.buttons.values(), self.delete.widget])
        self._compose([row, self._panel, self._same, self._ledger.widget])

    # -- forms --------------------------------------------------------------------------------------------------------

    def _ready(self) -> pd.DataFrame:
        """What is chosen; `QueryError` when there is nothing, or when something is under way."""
        if self.busy:
            raise QueryError("Something is under way; wait for its end, or cancel it.")
        frame = self._chosen()
        if not len(frame):
            raise QueryError("Choose something in the table first.")
        return frame

    @guard
    def _on_open(self, name: str) -> None:
        frame = self._ready()
        self.delete.withdraw()
        fields = {
            "Export": [self.folder.widget, self.form, self.values],
            "Download": [self.folder.widget],
            "Send": [self.modality],
            "Label": [self.add.widget, self.remove.widget],
        }
        self._name(name, frame)
        self._fields.children = fields.get(name, [])
        self.go.description, self._open = name, name
        self._panel.layout.display = ""
        if name == "Send":
            self.task("Asking which modalities there are", lambda _: self._orthanc.modalities(), self._offer)

    def _name(self, name: str, frame: pd.DataFrame) -> None:
        note = _NOTES[name].format(_told(frame, self._orthanc.url))
        self._note.value = f'<span class="ores-note">{escape(note[:1].upper() + note[1:])}</span>'
        self._named = frame

    def _is_named(self, frame: pd.DataFrame) -> bool:
        return self._named is not None and list(frame.index) == list(self._named.index)

    def _offer(self, modalities: pd.DataFrame) -> None:
        self.modality.options = [(str(name), str(name)) for name in modalities.index]
        self.modality.value = None  # where people's images go is nobody's default
        if not len(modalities):
            raise QueryError("This Orthanc knows no modality; orthanc.add_modality makes one known.")

    @guard
    def _on_leave(self) -> None:
        self._panel.layout.display, self._open = "none", None

    @guard
    def _on_go(self) -> None:
        frame, name = self._ready(), self._open
        if name is not None and not self._is_named(frame):
            self._name(name, frame)
            raise QueryError(f"What is chosen is now {_told(frame, self._orthanc.url)}; nothing was done. Click again.")
        if name == "Anonymize":
            self._act("anonymize", frame)
        elif name == "Download":
            self._act("download", frame, folder=self.folder.needed("Give a folder."))
        elif name == "Export":
            folder = self.folder.needed("Give a folder.")
            # Tables of frames hold what is stored, with slope and intercept beside it.
            values = "stored" if self.form.value == "parquet" else self.values.value
            self._act("export", frame, folder=folder, format=self.form.value, values=values)
        elif name == "Send":
            if not self.modality.value:
                raise QueryError("Choose the modality that it is sent to.")
            self._act("send", frame, modality=self.modality.value)
        elif name == "Label":
            add, remove = self.add.value() or [], self.remove.value() or []
            if not add and not remove:
                self.add.complain("Give a label to add, or one to remove.")
                raise QueryError("Give a label to add, or one to remove.")
            self._act("label", frame, add=add, remove=remove)

    # -- work ---------------------------------------------------------------------------------------------------------

    def _act(self, verb: str, frame: pd.DataFrame, **arguments: Any) -> None:
        self._say_call(verb, arguments)

        def work(progress: Progress) -> pd.DataFrame:
            ledger: pd.DataFrame = getattr(self._orthanc, verb)(frame, **arguments, progress=progress)
            return ledger

        self.task(f"{verb.capitalize()}: {_told(frame, self._orthanc.url)}", work, partial(self._done, verb))

    def _say_call(self, verb: str, arguments: dict[str, Any]) -> None:
        series = self._chosen().attrs["orthanc"]["level"] == "Series"
        resources = Code("browser.series" if series else "browser.selected")
        show_call(self._same, f"orthanc.{verb}", {"resources": resources, **arguments})

    def _done(self, verb: str, ledger: pd.DataFrame) -> None:
        self.results = ledger
        self._ledger.show(ledger)
        self._ledger.widget.layout.display = ""
        counts = Counter(ledger["status"])
        told = ", ".join(f"{count:,} {status}" for status, count in counts.items()) or "nothing to do"
        self.say(f"{verb.capitalize()}: {told}.", failed=bool(ledger["error"].notna().any()))
        self._panel.layout.display = "none"
        if verb in ("anonymize", "label"):
            self._changed()

    def _ask(self) -> str | None:
        try:
            frame = self._ready()
            self._on_leave()  # two forms at a time would be about different things
            self._named = frame
            return f"Delete {_told(frame, self._orthanc.url)}? This cannot be undone."
        except Exception as error:  # noqa: BLE001  # as `guard`, which gives nothing back
            self.fail(error)
            return None

    @guard
    def _on_delete(self) -> None:
        frame = self._ready()
        if not self._is_named(frame):
            raise QueryError("The selection is not what was asked about any more; nothing was deleted. Ask again.")
        count, told = len(frame), _told(frame, self._orthanc.url)
        self._say_call("delete", {"expect": count})

        def work(_: Progress) -> pd.DataFrame:
            try:
                self._orthanc.delete(frame, expect=count)
            except CancelledError as error:
                raise OrthancError(
                    "Deleting was stopped while Orthanc had not answered: some may be gone; the list is read again."
                ) from error
            finally:
                self._changed()
            return frame[[]].assign(status="deleted", error=None)

        self.task(f"Deleting {told}", work, partial(self._done, "delete"))


def _told(frame: pd.DataFrame, url: str) -> str:
    """As "2 studies with 120 instances": what is chosen, in words."""
    chosen = selection(frame, url)
    one, many = _NAMES[str(chosen.level)]
    count, instances = len(chosen.ids), resolve.instance_count(chosen)
    told = f"{count:,} {one if count == 1 else many}"
    return told if instances is None else f"{told} with {instances:,} instance{'s' * (instances != 1)}"


def _folder(text: str) -> str:
    path = Path(folder_name(text))
    if not path.parent.is_dir():
        raise QueryError(f"There is no folder {path.parent}.")
    return str(path)
