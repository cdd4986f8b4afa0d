"""orthanc_research: from an Orthanc archive to research data that can be trusted.

>>> import orthanc_research as ores
>>> orthanc = ores.Orthanc("http://localhost:8042", auth=("alice", "secret"))
>>> studies = orthanc.studies(StudyDate="2024", Modality="CT")  # doctest: +SKIP
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

import orthanc_research.accessor  # noqa: F401 - registers df.orthanc
from orthanc_research.batch import sweep
from orthanc_research.capabilities import Capabilities
from orthanc_research.errors import (
    AccessError,
    CancelledError,
    ConflictError,
    DatasetError,
    DeadlineError,
    DeidError,
    Error,
    GeometryError,
    JobError,
    ModalityError,
    NotFoundError,
    OrthancError,
    PixelError,
    QueryError,
    ResponseError,
    ServerError,
    UnreachableError,
    UnsupportedError,
)
from orthanc_research.export import read_frames, read_parquet, read_volume, write_csv, write_table, write_volume
from orthanc_research.orthanc import Orthanc, attach
from orthanc_research.pixels import Segments, Stack, Volume, segments
from orthanc_research.progress import Bar, Progress, Silent
from orthanc_research.rest import AsyncRest, Connection, Job, Rest
from orthanc_research.tables import issues, orthanc_id, to_numpy
from orthanc_research.volumes import SeriesVolume

if TYPE_CHECKING:
    from orthanc_research import dataset, deid, plots, samples, widgets
    from orthanc_research.dataset import Recipe, open_dataset
    from orthanc_research.local import LocalOrthanc, OrthancServer
    from orthanc_research.release.project import Project

__version__ = _version("orthanc-research")

__all__ = [
    "AccessError",
    "AsyncRest",
    "Bar",
    "CancelledError",
    "Capabilities",
    "ConflictError",
    "Connection",
    "DatasetError",
    "DeadlineError",
    "DeidError",
    "Error",
    "GeometryError",
    "Job",
    "JobError",
    "LocalOrthanc",
    "ModalityError",
    "NotFoundError",
    "Orthanc",
    "OrthancError",
    "OrthancServer",
    "PixelError",
    "Progress",
    "Project",
    "QueryError",
    "Recipe",
    "ResponseError",
    "Rest",
    "Segments",
    "SeriesVolume",
    "ServerError",
    "Silent",
    "Stack",
    "UnreachableError",
    "UnsupportedError",
    "Volume",
    "__version__",
    "attach",
    "dataset",
    "deid",
    "issues",
    "open_dataset",
    "orthanc_id",
    "plots",
    "read_frames",
    "read_parquet",
    "read_volume",
    "samples",
    "segments",
    "sweep",
    "to_numpy",
    "widgets",
    "write_csv",
    "write_table",
    "write_volume",
]

# Loaded when first used: matplotlib alone would double the time of an import.
_LAZY = {
    "deid": "orthanc_research.deid",
    "Recipe": "orthanc_research.dataset",
    "dataset": "orthanc_research.dataset",
    "open_dataset": "orthanc_research.dataset",
    "plots": "orthanc_research.plots",
    "samples": "orthanc_research.samples",
    "widgets": "orthanc_research.widgets",
    "LocalOrthanc": "orthanc_research.local",
    "OrthancServer": "orthanc_research.local",
    "Project": "orthanc_research.release.project",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_LAZY[name])
    return module if module.__name__.endswith(f".{name}") else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
