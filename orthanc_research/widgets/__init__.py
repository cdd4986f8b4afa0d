"""Screens for a notebook: browsers and panels over `Orthanc`, with their results in Python.

    browser = ores.widgets.LocalBrowser(orthanc)
    browser                                  # in a cell of its own: the screen
    browser.selected                         # what was chosen in it, as a DataFrame

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
