"""Patients, studies, series and instances: what is there, how it hangs together, and the areas that hold the routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from orthanc_research.capabilities import Feature
from orthanc_research.errors import NotFoundError, QueryError
from orthanc_research.rest import attachments as kept
from orthanc_research.rest import contents, packing
from orthanc_research.rest import frames as pixels
from orthanc_research.rest import modify as copies
from orthanc_research.rest._call import (
    Answer,
    Call,
    Level,
    LevelArea,
    M,
    json_contents,
    json_list,
    json_object,
    level_route,
    nothing,
    route,
    segment_of,
    text,
)
from orthanc_research.rest._submission import PATIENCE, one_of
from orthanc_research.rest.queries import TagForm
from orthanc_research.rest.tools_find import ResponseContent

__all__ = ["Instances", "Patients", "Resources", "Series", "Studies"]

Json = dict[str, Any]
Query = dict[str, str | None]

_LEVELS: tuple[Level, ...] = get_args(Level)


def list_ids(level: Level, since: int | None = None, limit: int | None = None) -> Call[list[str]]:
    """GET /{level}: the Orthanc IDs at this level, all of them or a page.

    Orthanc wants `since` and `limit` together (one alone is a 400), and takes a limit of 0 as "nothing" up to 1.12.4
    and as "everything" later: so a page needs a limit of at least 1, and `since` defaults to 0.
    """
    return Call("GET", (segment_of(level),), json_list, query=_page(since, limit))


def list_expanded(
    level: Level,
    since: int | None = None,
    limit: int | None = None,
    *,
    form: TagForm = "names",
    requested_tags: Sequence[str] = (),
    response_content: Sequence[ResponseContent] = (),
) -> Call[list[Json]]:
    """GET /{level}?expand: the resources at this level with their main tags, all of them or a page as in `list`.

    `form` is that of the tags: by name, "short" by number, "full" by number with name and type. `requested_tags`
    (1.11.0) come under "RequestedTags", None where absent; those outside the index make the server read files.
    `response_content` (1.12.5) says what each object holds; IsProtected needs 1.12.8. Unknown tag: `ServerError` (400).
    """
    flags, needs = _tags(form, requested_tags)
    query: Query = {"expand": None, **flags, **_page(since, limit)}
    for name in response_content:
        one_of(name, get_args(ResponseContent), "Response content")
    if response_content:
        query["response-content"] = ";".join(response_content)
        needs += ("extended-find",)
        needs += ("response-protected",) if "IsProtected" in response_content else ()
    return Call("GET", (segment_of(level),), json_list, query=query, needs=needs)


def read(level: Level, resource: str, *, form: TagForm = "names", requested_tags: Sequence[str] = ()) -> Call[Json]:
    """GET /{level}/{id}: the resource with its main tags, parent and children; tags as in `list_expanded`."""
    query, needs = _tags(form, requested_tags)
    return Call("GET", (segment_of(level), resource), json_object, query=query, needs=needs)


def delete(level: Level, resource: str) -> Call[Json]:
    """DELETE /{level}/{id}: the resource with everything below it; answers {"RemainingAncestor": …}."""
    return Call("DELETE", (segment_of(level), resource), json_object)


def children(
    level: Level,
    resource: str,
    of: Level,
    *,
    form: TagForm = "names",
    requested_tags: Sequence[str] = (),
) -> Call[list[Json]]:
    """GET /{level}/{id}/{of}: the resources below at another level, expanded; tags as in `list_expanded`."""
    query, needs = _tags(form, requested_tags)
    return Call("GET", _below(level, resource, of), json_contents, query=query, needs=needs)


def children_ids(level: Level, resource: str, of: Level) -> Call[list[str]]:
    """GET /{level}/{id}/{of}?expand=false (1.12.2): the IDs of the resources below at another level."""
    path = _below(level, resource, of)
    return Call("GET", path, json_list, query={"expand": "false"}, needs=("children-ids",))


def parent(
    level: Level,
    resource: str,
    of: Level,
    *,
    form: TagForm = "names",
    requested_tags: Sequence[str] = (),
) -> Call[Json]:
    """GET /{level}/{id}/patient, study, series: the resource above at that level; tags as in `list_expanded`."""
    one_of(of, _LEVELS[: _LEVELS.index(level)], f"A level above {level}")
    query, needs = _tags(form, requested_tags)
    return Call("GET", (segment_of(level), resource, of.lower()), json_object, query=query, needs=needs)


def statistics(level: Level, resource: str) -> Call[Json]:
    """GET /{level}/{id}/statistics: counts and disk size; sizes are text in bytes, and whole MB.

    Unknown ID: `NotFoundError`, also from 1.13.0, which answers zeros.
    """

    def parse(answer: Answer) -> Json:
        found = json_object(answer)
        if found.get("CountInstances") == 0 or found.get("DiskSize") == "0":
            raise NotFoundError(f"Orthanc has no such {level.lower()}: it counts nothing in it.")
        return found

    return Call("GET", (segment_of(level), resource, "statistics"), parse)


def reconstruct(level: Level, resource: str, *, files: bool = False, only_this_level: bool = False) -> Call[None]:
    """POST /{level}/{id}/reconstruct: read the files below again and write the index anew; never sent twice.

    `only_this_level` (1.12.4) reads the main tags of this level from one file. `files` also stores the files again, by
    the server's rules for compression and transcoding; it came with 1.11.0, but needs 1.13.0 here: 1.12.7 never
    answers, and after that no request that writes. Unknown ID: `NotFoundError`.
    """
    needs: tuple[Feature, ...] = ()
    body: Json = {}
    if files:
        body["ReconstructFiles"] = True
        needs += ("reconstruct-files",)
    if only_this_level:
        body["LimitToThisLevelMainDicomTags"] = True
        needs += ("reconstruct-level",)
    path = (segment_of(level), resource, "reconstruct")
    return Call("POST", path, nothing, json=body, patience=PATIENCE, needs=needs)


def protected(patient: str) -> Call[bool]:
    """GET /patients/{id}/protected: whether recycling spares it. An unknown ID: `ServerError` (400, Orthanc's 3)."""
    return Call("GET", ("patients", patient, "protected"), lambda answer: text(answer).strip() == "1")


def protect(patient: str, on: bool = True) -> Call[None]:
    """PUT /patients/{id}/protected: spare it from recycling, or not. Unknown ID as in `protected`.

    It is no protection against deletion by anyone.
    """
    return Call("PUT", ("patients", patient, "protected"), nothing, content=b"1" if on else b"0")


def ordered_slices(series: str) -> Call[Json]:
    """GET /series/{id}/ordered-slices: Orthanc's order of its slices, "SlicesShort": [[instance, first frame, frames]].

    "Type" is "Volume" (by position) or "Sequence" (by number only). A series that it cannot order: an `OrthancError`.
    """
    return Call("GET", ("series", series, "ordered-slices"), json_object)


def _page(since: int | None, limit: int | None) -> Query:
    if limit is None and since is None:
        return {}
    if limit is None or limit < 1:
        raise QueryError("A page needs a limit of at least 1.")
    if since is not None and since < 0:
        raise QueryError("since counts from 0.")
    return {"since": str(since or 0), "limit": str(limit)}


def _tags(form: TagForm, requested: Sequence[str]) -> tuple[Query, tuple[Feature, ...]]:
    one_of(form, get_args(TagForm), "A form of tags")
    # Orthanc looks at the presence of flags only, whatever their value; here names are what comes without any.
    query: Query = {} if form == "names" else {form: None}
    if isinstance(requested, str):
        raise QueryError(f"requested_tags is a list of tags: requested_tags=[{requested!r}].")
    if not requested:
        return query, ()
    # 1.11 knows this spelling only; "requested-tags" came with 1.12.4.
    return {**query, "requestedTags": ";".join(requested)}, ("requested-tags",)


def _below(level: Level, resource: str, of: Level) -> tuple[str, ...]:
    one_of(of, _LEVELS[_LEVELS.index(level) + 1 :], f"A level below {level}")
    return segment_of(level), resource, segment_of(of)


class Resources(LevelArea[M]):
    """What every level has."""

    list = level_route(list_ids)
    list_expanded = level_route(list_expanded)
    read = level_route(read)
    delete = level_route(delete)
    statistics = level_route(statistics)
    reconstruct = level_route(reconstruct)
    module = level_route(contents.module)

    metadata = level_route(kept.metadata)
    metadata_names = level_route(kept.metadata_names)
    metadata_value = level_route(kept.metadata_value)
    metadata_etag = level_route(kept.metadata_etag)
    put_metadata = level_route(kept.put_metadata)
    delete_metadata = level_route(kept.delete_metadata)

    attachments = level_route(kept.attachments)
    attachment_info = level_route(kept.attachment_info)
    attachment_data = level_route(kept.attachment_data)
    attachment_size = level_route(kept.attachment_size)
    attachment_md5 = level_route(kept.attachment_md5)
    attachment_verify = level_route(kept.attachment_verify)
    attachment_with_md5 = level_route(kept.attachment_with_md5)
    attachment_compressed = level_route(kept.attachment_compressed)
    attachment_compress = level_route(kept.attachment_compress)
    attachment_uncompress = level_route(kept.attachment_uncompress)
    put_attachment = level_route(kept.put_attachment)
    delete_attachment = level_route(kept.delete_attachment)

    labels = level_route(kept.labels)
    has_label = level_route(kept.has_label)
    add_label = level_route(kept.add_label)
    remove_label = level_route(kept.remove_label)


class _Above(Resources[M]):
    """What every level above instances has."""

    children = level_route(children)
    children_ids = level_route(children_ids)
    instances_tags = level_route(contents.instances_tags)
    shared_tags = level_route(contents.shared_tags)
    archive = level_route(packing.archive)
    archive_job = level_route(packing.archive_job)
    media = level_route(packing.media)
    media_job = level_route(packing.media_job)
    anonymize = level_route(copies.anonymize)
    modify = level_route(copies.modify)


class Patients(_Above[M]):
    """`rest.patients`."""

    level = "Patient"
    protected = route(protected)
    protect = route(protect)


class Studies(_Above[M]):
    """`rest.studies`."""

    level = "Study"
    parent = level_route(parent)
    module_patient = route(contents.module_patient)
    split = route(copies.split)
    merge = route(copies.merge)


class Series(_Above[M]):
    """`rest.series`."""

    level = "Series"
    parent = level_route(parent)
    numpy = route(pixels.series_numpy)
    ordered_slices = route(ordered_slices)


class Instances(Resources[M]):
    """`rest.instances`."""

    level = "Instance"
    parent = level_route(parent)
    upload = route(contents.upload)
    upload_zip = route(contents.upload_zip)
    file = route(contents.file)
    dicom_json = route(contents.dicom_json)
    dicom_xml = route(contents.dicom_xml)
    md5 = route(kept.md5)
    tags = route(contents.tags)
    simplified_tags = route(contents.simplified_tags)
    header = route(contents.header)
    content = route(contents.content)
    content_list = route(contents.content_list)
    pdf = route(contents.pdf)

    frames = route(pixels.frames)
    image = route(pixels.image)
    preview = route(pixels.preview)
    rendered = route(pixels.rendered)
    matlab = route(pixels.matlab)
    numpy = route(pixels.numpy)
    frame_raw = route(pixels.frame_raw)
    frame_raw_gz = route(pixels.frame_raw_gz)

    anonymize = route(copies.anonymize_instance)
    modify = route(copies.modify_instance)
