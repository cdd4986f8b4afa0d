"""`UploadPanel`: a folder where the kernel runs into the server, with a row for every file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd

from orthanc_research import batch
from orthanc_research.errors import QueryError
from orthanc_research.markup import escape
from orthanc_research.orthanc import Orthanc
from orthanc_research.progress import Progress
from orthanc_research.rest import once
from orthanc_research.widgets._base import Panel
from orthanc_research.widgets._form import Field, button, call, on_enter, show_call
from orthanc_research.widgets._guard import guard
from orthanc_research.widgets._table import Table

__all__ = ["UploadPanel"]

_PATH = 31  # characters, so that with the dots before them they are a column
_COLUMNS = ("Source", "status", "error", "bytes", "ID")
_NAME = 30  # characters
_GOOD = ("stored", "already-stored", "skipped")


class UploadPanel(Panel):
    """Files into the server: `UploadPanel(orthanc)` in a cell. The folder (a zip, a file) is on the kernel's machine.

    `plan` is what a scan found, `results` the ledger of `orthanc.upload` with a row for every file, `selected` the rows
    that are chosen. "Retry failed" sends again what failed or was not sent; its rows take the place of theirs.
    """

    def __init__(self, orthanc: Orthanc) -> None:
        super().__init__("Upload")
        self._orthanc = orthanc
        self.plan: pd.DataFrame | None = None
        self.results: pd.DataFrame | None = None
        self._sending = False
        self.folder = Field("Folder", placeholder="/data/incoming", read=_there, width="40em")
        self.folder.widget.add_class("ores-folder")
        self._bad = ipywidgets.Checkbox(description="Only what is not stored", indent=False)
        self._bad.add_class("ores-only-failed")
        self._bad.observe(lambda _: self._on_only(), "value")
        self._retry = button("Retry failed", "ores-retry", self._on_retry)
        self._call = call()
        self._counts = ipywidgets.HTML()
        self._counts.add_class("ores-counts")
        heads = {"Source": "File", "bytes": "Bytes"}
        self.table = Table(_COLUMNS, label="Files", heads=heads, cell=_name, whole=True)
        self.table.observe(lambda _: self._on_choice(), "chosen")
        scan = button("Scan", "ores-scan", self._on_scan)
        on_enter([self.folder], scan)
        upload = button("Upload", "ores-upload", self._on_upload)
        self._compose(
            [
                self.folder.widget,
                ipywidgets.HBox([scan, upload, self._retry, self._bad]),
                self._call,
                self._counts,
                self.table.widget,
            ]
        )
        self._show_rows()

    # -- what it does -------------------------------------------------------------------------------------------------

    @guard
    def _on_scan(self) -> None:
        folder = self._folder()
        self.task("looking through the folder", lambda progress: batch.upload_plan(folder, progress), self._scanned)

    def _scanned(self, plan: pd.DataFrame) -> None:
        self.plan, self.results = plan, None
        self._show_rows()
        self.say("Nothing is sent yet." if len(plan) else "There is no file in this folder.")

    @guard
    def _on_upload(self) -> None:
        self._send(self._folder(), None)

    @guard
    def _on_retry(self) -> None:
        if self.results is None:
            raise QueryError("Nothing was uploaded yet.")
        again = batch.upload_again(self.results)
        if not again:
            raise QueryError("Of what is not stored, nothing can be sent again: see what each row says.")
        self._free()
        self._send(again, self.results)

    def _send(self, inputs: str | list[str], before: pd.DataFrame | None) -> None:
        show_call(self._call, "orthanc.upload", {"inputs": inputs})

        def work(progress: Progress) -> pd.DataFrame:
            with once():
                self._orthanc.system()  # who is away is said before a row for every file says it
            ledger = self._orthanc.upload(inputs, progress=progress)
            return ledger if before is None else batch.upload_joined(before, ledger)

        self._sending = True
        self.task("upload", work, self._sent)

    def _sent(self, ledger: pd.DataFrame) -> None:
        self.results = ledger
        self._show_rows()
        bad = ledger[~ledger["status"].isin(_GOOD)]
        if ledger.empty:
            self.say("There is no file in this folder; nothing was sent.", failed=True)
        elif bad.empty:
            self.say("Every file is stored, and is there as it was sent.")
        else:
            why = str(bad["error"].iloc[0])
            why = "It was cancelled: Retry failed goes on." if why == "cancelled" else why
            self.say(f"{len(bad):,} of {len(ledger):,} files are not stored. {why}", failed=True)

    def _folder(self) -> str:
        self._free()
        folder = self.folder.value()
        if folder is None:
            self.folder.complain("Name a folder, a zip or a file on the machine where this notebook runs.")
            raise QueryError("Name a folder first.")
        return str(folder)

    def _free(self) -> None:
        if self._sending and self.busy:  # another task would end it
            raise QueryError("An upload is under way: wait for it, or cancel it.")
        self._sending = False

    # -- the screen ---------------------------------------------------------------------------------------------------

    @guard
    def _on_only(self) -> None:
        self._show_rows()

    def _show_rows(self) -> None:
        frame = self.results if self.results is not None else self.plan
        rows = pd.DataFrame(columns=list(_COLUMNS)) if frame is None else frame
        self.table.show(rows[~rows["status"].isin(_GOOD)] if self._bad.value else rows)
        self._counts.value = f"<span>{escape(_counted(rows))}</span>"
        self._retry.disabled = self.results is None or bool(rows["status"].isin(_GOOD).all())
        self.selected = self.table.selected

    @guard
    def _on_choice(self) -> None:
        self.selected = self.table.selected


def _name(column: str, value: Any) -> str | None:
    """A file is told by the end of its path, not by what all of them begin with."""
    if column != "Source":
        return None
    name = str(value)
    return f"…{name[-_NAME:]}" if len(name) > _NAME else name


def _there(text: str) -> str:
    with suppress(OSError, ValueError, RuntimeError):  # may not be entered; a null in the name; nobody's ~
        path = Path(text.strip()).expanduser()
        if path.exists():
            return str(path)
    raise QueryError("There is no such folder or file on the machine where this notebook runs.")


def _counted(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    counts = ", ".join(f"{count:,} {status}" for status, count in rows["status"].value_counts().items())
    return f"{len(rows):,} files, {rows['bytes'].sum() / 1e6:,.1f} MB: {counts}"
