"""Routes of zip archives and DICOMDIR media of one patient, study or series, streamed or as a job.

An archive comes without a length, so a cut is invisible to HTTP, and an unreadable file is left out without a word:
compare its members with the instances you expect. Never parse the names of members: they differ between versions.
"""

from __future__ import annotations

from typing import Any

from orthanc_research.capabilities import Feature
from orthanc_research.rest._call import Call, Level, json_object, raw, segment_of
from orthanc_research.rest._modification import transcoding
from orthanc_research.rest._submission import submission

__all__ = ["archive", "archive_job", "media", "media_job"]

Json = dict[str, Any]

# The server packs while it sends; the first bytes come soon, the next may take a while.
_PATIENCE = 600.0
_QUERY = {"Transcode": "transcode", "LossyQuality": "lossy-quality", "Filename": "filename"}


def archive(
    level: Level,
    resource: str,
    *,
    transcode: str | None = None,
    lossy_quality: int | None = None,
    filename: str | None = None,
) -> Call[bytes]:
    """GET /{level}/{id}/archive: a zip of the files below, for `rest.save(call, path)`.

    It comes without a length, so a cut is invisible to HTTP, and an unreadable file is left out without a word: compare
    its members with the instances you expect. `transcode` (1.7.0) makes the server encode every file, which can end
    1.12.7 with GDCM (and JPEG-LS any version up to it). `lossy_quality` and `filename`, what a browser would call it,
    need 1.12.7. Unknown ID: `NotFoundError`.
    """
    return _get((segment_of(level), resource, "archive"), {}, transcode, lossy_quality, filename)


def archive_job(
    level: Level,
    resource: str,
    *,
    priority: int = 0,
    transcode: str | None = None,
    lossy_quality: int | None = None,
    filename: str | None = None,
    utf8: bool = False,
    user_data: Any = None,
) -> Call[Json]:
    """POST /{level}/{id}/archive as a job: {"ID", "Path"}; then `rest.jobs.output(ID)`.

    The server keeps the archive of one job only (MediaArchiveSize): take it before another one ends. Options as in
    `archive`; `utf8` (1.12.11) for member names beyond ASCII, `user_data` 1.12.9. Never sent twice.
    """
    path = (segment_of(level), resource, "archive")
    return _post(path, False, priority, transcode, lossy_quality, filename, utf8, user_data)


def media(
    level: Level,
    resource: str,
    *,
    extended: bool = False,
    transcode: str | None = None,
    lossy_quality: int | None = None,
    filename: str | None = None,
) -> Call[bytes]:
    """GET /{level}/{id}/media: as `archive`, with a DICOMDIR; with more tags in it when `extended`."""
    flags: dict[str, str | None] = {"extended": None} if extended else {}
    return _get((segment_of(level), resource, "media"), flags, transcode, lossy_quality, filename)


def media_job(
    level: Level,
    resource: str,
    *,
    extended: bool = False,
    priority: int = 0,
    transcode: str | None = None,
    lossy_quality: int | None = None,
    filename: str | None = None,
    utf8: bool = False,
    user_data: Any = None,
) -> Call[Json]:
    """POST /{level}/{id}/media as a job: as `archive_job`, with a DICOMDIR; with more tags in it when `extended`."""
    path = (segment_of(level), resource, "media")
    return _post(path, extended, priority, transcode, lossy_quality, filename, utf8, user_data)


def _options(transcode: str | None, quality: int | None, filename: str | None) -> tuple[Json, tuple[Feature, ...]]:
    fields, needs = transcoding(transcode, quality)
    if filename is None:
        return fields, needs
    return {**fields, "Filename": filename}, (*needs, "archive-filename")


def _get(
    path: tuple[str, ...],
    flags: dict[str, str | None],
    transcode: str | None,
    quality: int | None,
    filename: str | None,
) -> Call[bytes]:
    fields, needs = _options(transcode, quality, filename)
    query = flags | {_QUERY[name]: str(value) for name, value in fields.items()}
    return Call("GET", path, raw, query=query, binary=True, patience=_PATIENCE, needs=needs)


def _post(
    path: tuple[str, ...],
    extended: bool,
    priority: int,
    transcode: str | None,
    quality: int | None,
    filename: str | None,
    utf8: bool,
    user_data: Any,
) -> Call[Json]:
    fields, needs = _options(transcode, quality, filename)
    if extended:
        fields["Extended"] = True
    if utf8:
        fields["Utf8"] = True
        needs += ("archive-utf8",)
    job = submission(synchronous=False, priority=priority, user_data=user_data)
    return Call("POST", path, json_object, json={**fields, **job.fields}, needs=needs + job.needs)
