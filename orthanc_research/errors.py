"""Every failure this package raises.

    Error                            root: `except ores.Error` catches all of it
    ├── OrthancError                 talking to an Orthanc went wrong
    │   ├── UnreachableError         nothing answers there: refused, unknown host, TLS, connection broke
    │   ├── DeadlineError            it answered too slowly, or not at all in time
    │   ├── AccessError              401 or 403: the credentials, or what they may do
    │   ├── NotFoundError            404: no such resource, or no such route on this version
    │   ├── ConflictError            409 or 412: somebody else changed it, or it exists with other content
    │   ├── ServerError              Orthanc refused or failed; carries its own words
    │   │   └── ModalityError        the remote DICOM node behind Orthanc refused or failed
    │   ├── JobError                 a job of Orthanc ended in failure, or was forgotten
    │   ├── UnsupportedError         this Orthanc is too old: says what it is and what is needed
    │   └── ResponseError            the answer is not what Orthanc answers
    ├── QueryError                   the request makes no sense; nothing was sent (also a ValueError)
    ├── GeometryError                these slices are not one volume; `code` says why
    ├── PixelError                   these pixels cannot be decoded or converted
    ├── DeidError                    de-identification refused or failed
    ├── DatasetError                 a dataset build refused or failed
    └── CancelledError               the user asked to stop before it was done

Messages are one sentence to act on. They never hold names, patient identifiers, dates or secrets; what Orthanc itself
said is in the attributes `message` and `details`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "AccessError",
    "CancelledError",
    "ConflictError",
    "DatasetError",
    "DeadlineError",
    "DeidError",
    "Error",
    "GeometryError",
    "JobError",
    "ModalityError",
    "NotFoundError",
    "OrthancError",
    "PixelError",
    "QueryError",
    "ResponseError",
    "ServerError",
    "UnreachableError",
    "UnsupportedError",
]


class Error(Exception):
    """Root of every exception of this package."""


class OrthancError(Error):
    """Talking to an Orthanc went wrong.

    `status` is the HTTP status (None when there was no answer); `orthanc_status`, `message` and `details` are what the
    body of Orthanc's error said, where it said something; `payload` is its ErrorPayload (Orthanc 1.12.10 and later).
    """

    def __init__(
        self,
        text: str,
        *,
        status: int | None = None,
        orthanc_status: int | None = None,
        message: str | None = None,
        details: str | None = None,
        payload: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.orthanc_status = orthanc_status
        self.message = message
        self.details = details
        self.payload = payload


class UnreachableError(OrthancError):
    """Nothing answers at that address, or the connection broke."""


class DeadlineError(OrthancError):
    """The answer did not come in time."""


class AccessError(OrthancError):
    """Orthanc refused the credentials (401), or what they may do (403)."""


class NotFoundError(OrthancError):
    """No such resource, or no such route on this version of Orthanc (404)."""


class ConflictError(OrthancError):
    """What is stored differs from what the request assumed (409, 412)."""


class ServerError(OrthancError):
    """Orthanc refused the request or failed on it, and said so in its own words."""


class ModalityError(ServerError):
    """The DICOM node behind Orthanc refused, failed, or could not be reached."""


class JobError(OrthancError):
    """A job of Orthanc ended in failure, or the server no longer knows it."""


class UnsupportedError(OrthancError):
    """This Orthanc is too old for what was asked; nothing was sent. `found` and `needed` are versions."""

    def __init__(self, text: str, *, found: str, needed: str) -> None:
        super().__init__(text)
        self.found = found
        self.needed = needed


class ResponseError(OrthancError):
    """The answer is not what Orthanc answers: another server, a proxy's page, a cut or damaged body."""


class QueryError(Error, ValueError):
    """The request makes no sense as asked; nothing was sent."""


class GeometryError(Error):
    """These slices are not one volume. `code` is a bare word for programs, `details` holds the numbers."""

    def __init__(self, code: str, text: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.details: dict[str, Any] = dict(details or {})


class PixelError(Error):
    """These pixels cannot be decoded or converted."""


class DeidError(Error):
    """De-identification refused or failed."""


class DatasetError(Error):
    """A dataset build refused or failed."""


class CancelledError(Error):
    """The user asked to stop, through `progress`, before all was done; nothing half-done is left."""
