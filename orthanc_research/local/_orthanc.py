"""`LocalOrthanc`: an `Orthanc` that brings its own private server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from orthanc_research.errors import QueryError
from orthanc_research.local._server import OrthancServer
from orthanc_research.orthanc import Orthanc
from orthanc_research.progress import Progress

__all__ = ["LocalOrthanc"]


class LocalOrthanc(Orthanc):
    """A private Orthanc for a notebook or a test; it and its temporary storage are gone when it is closed.

    >>> with ores.LocalOrthanc() as orthanc:  # doctest: +SKIP
    ...     orthanc.upload("folder/")

    Arguments as `OrthancServer`, which is `.server`; `workers` and `timeout` as `Orthanc`.
    """

    def __init__(
        self,
        version: str | None = None,
        folder: str | os.PathLike[str] | None = None,
        dicom: bool = False,
        config: Mapping[str, Any] | None = None,
        *,
        workers: int = 4,
        timeout: float = 60.0,
        progress: Progress | bool | None = None,
    ) -> None:
        self.server = OrthancServer(version, folder, dicom, config, progress=progress)
        super().__init__(self.server.url, auth=self.server.auth, workers=workers, timeout=timeout)

    def introduce(self, other: LocalOrthanc) -> None:
        """Make two servers known to each other for query and retrieve, each under the other's AET.

        Both need `dicom=True`, else it is a `QueryError`. The introduction is forgotten when a server restarts.
        """
        for here, there in ((self, other), (other, self)):
            port = there.server.dicom_port
            if port is None:
                raise QueryError("Both servers need dicom=True to speak DICOM with each other.")
            here.rest.modalities.put(there.server.aet, there.server.aet, "127.0.0.1", port)

    def close(self) -> None:
        """Close the connections, and end the server."""
        super().close()
        self.server.close()

    def __repr__(self) -> str:
        return f"<LocalOrthanc {self.server.version} at {self.url}>"
