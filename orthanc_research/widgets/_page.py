"""All browsers in one page, for `orthanc-research browse`: tabs over one Orthanc."""

from __future__ import annotations

import ipywidgets

from orthanc_research.orthanc import Orthanc
from orthanc_research.widgets._jobs import JobMonitor
from orthanc_research.widgets._local import LocalBrowser
from orthanc_research.widgets._modality import ModalityBrowser
from orthanc_research.widgets._upload import UploadPanel

__all__ = ["page"]


def page(url: str | None = None, auth_env: str | None = None) -> ipywidgets.Tab:
    """The tabs; `url` and `auth_env` as the command has them."""
    orthanc = Orthanc(url, auth=f"env:{auth_env}" if auth_env else None)
    screens = {
        "This Orthanc": LocalBrowser(orthanc),
        "Remote archives": ModalityBrowser(orthanc),
        "Upload": UploadPanel(orthanc),
        "Jobs": JobMonitor(orthanc),
    }
    return ipywidgets.Tab([screen.widget for screen in screens.values()], titles=list(screens))
