"""A private Orthanc on this machine: where to get one (`provide`), the process (`OrthancServer`), a client with one."""

from orthanc_research.local._binary import Binary
from orthanc_research.local._find import VARIABLE, default_suites, provide
from orthanc_research.local._orthanc import LocalOrthanc
from orthanc_research.local._server import OrthancServer

__all__ = ["VARIABLE", "Binary", "LocalOrthanc", "OrthancServer", "default_suites", "provide"]
