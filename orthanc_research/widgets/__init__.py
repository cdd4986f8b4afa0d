"""Screens for a notebook: browsers and panels over `Orthanc`, with their results in Python.

    browser = ores.widgets.LocalBrowser(orthanc)
    browser                                  # in a cell of its own: the screen
    browser.selected                         # what was chosen in it, as a DataFrame

`LocalBrowser(orthanc)` searches this Orthanc, shows slices, and exports, sends, labels and deletes; `ModalityBrowser(
orthanc)` searches remote archives and retrieves; `UploadPanel(orthanc)` stores a folder; `JobMonitor(orthanc)` follows
jobs; `OverviewPanel(orthanc)` counts what there is; `StackViewer(series)` leafs through a series, a `Stack` or a
`Volume`; `AnonymizePanel(orthanc, studies)` de-identifies. Work goes on while other cells run; `screen.wait()` waits
for its end, `screen.close()` ends it. Without a notebook: `orthanc-research browse` (`pip install
voila ipykernel`).

No screen does anything that a line of Python cannot; each shows that line.
"""

from orthanc_research.widgets._anonymize import AnonymizePanel
from orthanc_research.widgets._base import Panel
from orthanc_research.widgets._jobs import JobMonitor
from orthanc_research.widgets._local import LocalBrowser
from orthanc_research.widgets._modality import ModalityBrowser
from orthanc_research.widgets._overview import OverviewPanel
from orthanc_research.widgets._table import Table
from orthanc_research.widgets._upload import UploadPanel
from orthanc_research.widgets._viewer import StackViewer

__all__ = [
    "AnonymizePanel",
    "JobMonitor",
    "LocalBrowser",
    "ModalityBrowser",
    "OverviewPanel",
    "Panel",
    "StackViewer",
    "Table",
    "UploadPanel",
]
