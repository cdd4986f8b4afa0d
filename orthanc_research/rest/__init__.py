"""The wire: the routes of Orthanc's REST API, one function each. JSON, bytes or `Job` out, never a frame."""

from orthanc_research.rest._call import Answer, Bound, Call, Level
from orthanc_research.rest._client import is_server_gone, is_unknown_outcome
from orthanc_research.rest._connection import Auth, Connection
from orthanc_research.rest._rest import AsyncRest, Rest
from orthanc_research.rest._retry import once
from orthanc_research.rest.changes import ChangeType
from orthanc_research.rest.jobs import Job, JobState
from orthanc_research.rest.nodes import Manufacturer, RetrieveMethod
from orthanc_research.rest.queries import TagForm
from orthanc_research.rest.tools import DICOM_VERSIONS
from orthanc_research.rest.tools_server import Metric

__all__ = [
    "DICOM_VERSIONS",
    "Answer",
    "AsyncRest",
    "Auth",
    "Bound",
    "Call",
    "ChangeType",
    "Connection",
    "Job",
    "JobState",
    "Level",
    "Manufacturer",
    "Metric",
    "Rest",
    "RetrieveMethod",
    "TagForm",
    "is_server_gone",
    "is_unknown_outcome",
    "once",
]
