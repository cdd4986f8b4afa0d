"""Figures, as `matplotlib.figure.Figure`: never pyplot, so nothing is global and nothing opens a window.

What a figure says is numbers, years and codes: no name, no identifier and no day of anybody's study is in its text.
"""

from orthanc_research.plots._compare import compare
from orthanc_research.plots._histogram import histogram
from orthanc_research.plots._montage import montage
from orthanc_research.plots._orthogonal import orthogonal
from orthanc_research.plots._overview import overview
from orthanc_research.plots._sheet import SheetRow, sheet, write_pdf
from orthanc_research.plots._timeline import timeline

__all__ = ["SheetRow", "compare", "histogram", "montage", "orthogonal", "overview", "sheet", "timeline", "write_pdf"]
