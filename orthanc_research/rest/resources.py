"""Routes of patients, studies, series and instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from orthanc_research.errors import QueryError
from orthanc_research.rest._call import (
    Call,
    Level,
    LevelArea,
    M,
    json_list,
    json_object,
    level_route,
    raw,
    route,
    segment_of,
    text,
)

__all__ = ["Instances", "Patients", "Resources", "Series", "Studies"]

Json = dict[str, Any]


def list_ids(level: Level, since: int | None = None, limit: int | None = None) -> Call[list[str]]:
    """GET /{level}: the Orthanc IDs at this level, all of them or a page.

    Orthanc wants `since` and `limit` together (one alone is a 400), and takes a limit of 0 as "nothing" up to 1.12.4
    and as "everything" later: so a page needs a limit of at least 1, and `since` defaults to 0.
    """
    if limit is None and since is None:
        return Call("GET", (segment_of(level),), json_list)
    if limit is None or limit < 1:
        raise QueryError("A page needs a limit of at least 1.")
    return Call("GET", (segment_of(level),), json_list, query={"since": str(since or 0), "limit": str(limit)})


def read(level: Level, resource: str) -> Call[Json]:
    """GET /{level}/{id}: the resource with its main tags, parent and children."""
    return Call("GET", (segment_of(level), resource), json_object)


def delete(level: Level, resource: str) -> Call[Json]:
    """DELETE /{level}/{id}: the resource with everything below it; answers {"RemainingAncestor": …}."""
    return Call("DELETE", (segment_of(level), resource), json_object)


def children(level: Level, resource: str, of: Level) -> Call[list[Json]]:
    """GET /{level}/{id}/{of}: the resources below at another level, expanded."""
    return Call("GET", (segment_of(level), resource, segment_of(of)), json_list)


def statistics(level: Level, resource: str) -> Call[Json]:
    """GET /{level}/{id}/statistics: counts and disk size."""
    return Call("GET", (segment_of(level), resource, "statistics"), json_object)


def instances_tags(level: Level, resource: str, ignore_length: Sequence[str] = ()) -> Call[dict[str, Json]]:
    """GET /{level}/{id}/instances-tags?short: {instance ID: {"gggg,eeee": value}} for each instance below.

    Keys are numbers because names collide (CT_small.dcm has 257 tags and 80 names). Values over 256 bytes come as null,
    as binary ones do, unless `ignore_length` names their tags ("gggg-eeee"). One unreadable file fails the whole
    request with a 500. Not at instance level.
    """
    query: dict[str, str | None] = {"short": None}
    if ignore_length:
        query["ignore-length"] = ",".join(ignore_length)
    return Call("GET", (segment_of(level), resource, "instances-tags"), json_object, query=query)


def archive(level: Level, resource: str) -> Call[bytes]:
    """GET /{level}/{id}/archive: a zip of the files below.

    It comes without a length, so a cut is invisible to HTTP, and an unreadable file is left out without a word: compare
    its members with the instances you expect.
    """
    return Call("GET", (segment_of(level), resource, "archive"), raw, binary=True)


def metadata(level: Level, resource: str) -> Call[dict[str, str]]:
    """GET /{level}/{id}/metadata?expand: Orthanc's own facts, by name."""
    return Call("GET", (segment_of(level), resource, "metadata"), json_object, query={"expand": None})


def upload(content: bytes) -> Call[Json]:
    """POST /instances: store one DICOM file; {"ID", "ParentPatient", "ParentStudy", "ParentSeries", "Status"}.

    Status is "Success" or "AlreadyStored", so sending it again after a break does no harm. Not a DICOM file:
    `ServerError` (400, Orthanc's 15); without the four identifiers: `NotFoundError` (404, 21).
    """
    return Call(
        "POST", ("instances",), json_object, content=content, headers={"Content-Type": "application/dicom"}, repeat=True
    )


def tags(instance: str, ignore_length: Sequence[str] = ()) -> Call[Json]:
    """GET /instances/{id}/tags?short: {"gggg,eeee": value}; lengths as in `instances_tags`."""
    query: dict[str, str | None] = {"short": None}
    if ignore_length:
        query["ignore-length"] = ",".join(ignore_length)
    return Call("GET", ("instances", instance, "tags"), json_object, query=query)


def file(instance: str) -> Call[bytes]:
    """GET /instances/{id}/file: the DICOM file as it was stored."""
    return Call("GET", ("instances", instance, "file"), raw, binary=True)


def md5(instance: str) -> Call[str]:
    """GET /instances/{id}/attachments/dicom/md5: the MD5 of the stored file, in hex."""
    return Call("GET", ("instances", instance, "attachments", "dicom", "md5"), text)


def preview(instance: str, kind: Literal["png", "jpeg"] = "png") -> Call[bytes]:
    """GET /instances/{id}/preview: a picture for people, windowed by the server; never for measuring."""
    return Call("GET", ("instances", instance, "preview"), raw, headers={"Accept": f"image/{kind}"}, binary=True)


class Resources(LevelArea[M]):
    """What every level has."""

    list = level_route(list_ids)
    read = level_route(read)
    delete = level_route(delete)
    metadata = level_route(metadata)
    statistics = level_route(statistics)


class _Parents(Resources[M]):
    """What every level above instances has."""

    children = level_route(children)
    instances_tags = level_route(instances_tags)
    archive = level_route(archive)


class Patients(_Parents[M]):
    """`rest.patients`."""

    level = "Patient"


class Studies(_Parents[M]):
    """`rest.studies`."""

    level = "Study"


class Series(_Parents[M]):
    """`rest.series`."""

    level = "Series"


class Instances(Resources[M]):
    """`rest.instances`."""

    level = "Instance"
    upload = route(upload)
    tags = route(tags)
    file = route(file)
    md5 = route(md5)
    preview = route(preview)
