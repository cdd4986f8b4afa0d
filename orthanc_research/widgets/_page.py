"""All screens in one page, for `orthanc-research browse`: tabs over one Orthanc."""

from __future__ import annotations

from typing import Any

import ipywidgets

from orthanc_research.errors import QueryError
from orthanc_research.orthanc import Orthanc
from orthanc_research.widgets._anonymize import AnonymizePanel
from orthanc_research.widgets._form import button
from orthanc_research.widgets._guard import guard
from orthanc_research.widgets._jobs import JobMonitor
from orthanc_research.widgets._local import LocalBrowser
from orthanc_research.widgets._modality import ModalityBrowser
from orthanc_research.widgets._overview import OverviewPanel
from orthanc_research.widgets._upload import UploadPanel

__all__ = ["page"]


def page(url: str | None = None, auth_env: str | None = None) -> ipywidgets.Tab:
    """The tabs; `url` and `auth_env` as the command has them."""
    orthanc = Orthanc(url, auth=f"env:{auth_env}" if auth_env else None)
    browser = LocalBrowser(orthanc)
    overview = ipywidgets.VBox()
    screens = {
        "This Orthanc": browser.widget,
        "Overview": overview,
        "Remote archives": ModalityBrowser(orthanc).widget,
        "Upload": UploadPanel(orthanc).widget,
        "De-identify": _Deidentify(orthanc, browser).widget,
        "Jobs": JobMonitor(orthanc).widget,
    }
    tabs = ipywidgets.Tab(list(screens.values()), titles=list(screens))
    tabs.add_class("ores-page")

    def opened(change: dict[str, Any]) -> None:
        # It asks for every series of the server: only who opens it wants that.
        if change["new"] == list(screens).index("Overview") and not overview.children:
            overview.children = (OverviewPanel(orthanc).widget,)

    tabs.observe(opened, "selected_index")
    return tabs


class _Deidentify:
    """An `AnonymizePanel` over what was chosen in a browser, once that is taken: a look at a copy changes no plan."""

    def __init__(self, orthanc: Orthanc, browser: LocalBrowser) -> None:
        self._browser = browser
        self._panel = AnonymizePanel(orthanc, [])
        self._panel.say("Choose studies, patients or series in This Orthanc; then take them here.")
        take = button("Take what is chosen in This Orthanc", "ores-take", self._on_take)
        self.widget = ipywidgets.VBox([take, self._panel.widget])

    def fail(self, failure: BaseException) -> None:
        """Say what went wrong where the panel says it."""
        self._panel.fail(failure)

    @guard
    def _on_take(self) -> None:
        chosen = self._browser.acted_on()
        if self._panel.busy:
            raise QueryError("Something is under way: wait for its end, or cancel it.")
        if not len(chosen):
            raise QueryError("Nothing is chosen in This Orthanc.")
        self._panel.selected = chosen
        self._panel.say("Taken. What is chosen in This Orthanc from now on changes nothing here.")
