"""A private Orthanc on this machine: where to get one (`provide`), and the running process (`OrthancServer`)."""

from orthanc_research.local._binary import Binary
from orthanc_research.local._find import VARIABLE, default_suites, provide
from orthanc_research.local._server import OrthancServer

__all__ = ["VARIABLE", "Binary", "OrthancServer", "default_suites", "provide"]
