"""Routes under /tools that make files: zip archives, DICOMDIR media, and DICOM out of other files."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError
from orthanc_research.rest._call import Call, json_object, raw
from orthanc_research.rest._submission import one_of, submission

__all__ = [
    "ContentType",
    "create_archive",
    "create_archive_job",
    "create_dicom",
    "create_dicom_series",
    "create_media",
    "create_media_job",
]

Json = dict[str, Any]

ContentType = Literal["application/pdf", "image/png", "image/jpeg", "model/obj", "model/mtl", "model/stl"]

# The server packs while it sends; the first bytes come soon, the next may take a while.
_PATIENCE = 600.0
_MAGIC: Mapping[bytes, ContentType] = {
    b"%PDF": "application/pdf",
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
}


def create_archive(
    resources: Sequence[str],
    *,
    transcode: str | None = None,
    lossy_quality: int | None = None,
    filename: str | None = None,
    utf8: bool = False,
) -> Call[bytes]:
    """POST /tools/create-archive: a zip of the files of all resources, for `rest.save(call, path)`.

    It comes without a length, so a cut is invisible to HTTP, and an unreadable file is left out without a word: compare
    its members with the instances you expect. `transcode` is a transfer syntax UID (the server encodes, which can end
    1.12.7 with GDCM: better fetch the files and transcode here), `lossy_quality` 1 to 100 (1.12.7), `filename` what a
    browser would call it (1.12.7), `utf8` for member names beyond ASCII (1.12.11). `NotFoundError` for an unknown ID.
    """
    body, needs = _packed(resources, transcode, lossy_quality, filename, utf8)
    return _stream(("tools", "create-archive"), body, needs)


def create_archive_job(
    resources: Sequence[str],
    *,
    priority: int = 0,
    transcode: str | None = None,
    lossy_quality: int | None = None,
    filename: str | None = None,
    utf8: bool = False,
) -> Call[Json]:
    """POST /tools/create-archive as a job: {"ID", "Path"}; then `rest.jobs.output(ID)`.

    The server keeps the archive of one job only (MediaArchiveSize): take it before another one ends. Members and
    options as in `create_archive`. Never sent twice.
    """
    body, needs = _packed(resources, transcode, lossy_quality, filename, utf8)
    return _job(("tools", "create-archive"), body, needs, priority)


def create_media(
    resources: Sequence[str],
    *,
    extended: bool = False,
    transcode: str | None = None,
    lossy_quality: int | None = None,
    filename: str | None = None,
    utf8: bool = False,
) -> Call[bytes]:
    """POST /tools/create-media: a zip with a DICOMDIR, as for a CD; `extended` has tags of type 3 in it.

    As `create_archive`; one member more than files.
    """
    body, needs = _packed(resources, transcode, lossy_quality, filename, utf8)
    return _stream(_media(extended), body, needs)


def create_media_job(
    resources: Sequence[str],
    *,
    extended: bool = False,
    priority: int = 0,
    transcode: str | None = None,
    lossy_quality: int | None = None,
    filename: str | None = None,
    utf8: bool = False,
) -> Call[Json]:
    """POST /tools/create-media as a job: {"ID", "Path"}; as `create_archive_job`."""
    body, needs = _packed(resources, transcode, lossy_quality, filename, utf8)
    return _job(_media(extended), body, needs, priority)


def create_dicom(
    tags: Mapping[str, Any],
    content: bytes | None = None,
    *,
    content_type: ContentType | None = None,
    parent: str | None = None,
    force: bool = False,
    private_creator: str | None = None,
    interpret_binary_tags: bool = True,
    encapsulate: bool = False,
) -> Call[Json]:
    """POST /tools/create-dicom: one instance, stored; {"ID", "ParentPatient", …, "Status"} (the 2019 text says: text).

    `tags` are {name: text}, or lists of such for sequences; text that is a data URI becomes binary unless
    `interpret_binary_tags` is off. `content` is a PDF, a PNG or a JPEG, told by its first bytes, or a 3D model with its
    `content_type` (1.12.1). A JPEG is decoded unless `encapsulate` keeps it (1.12.7; gray or colour, 8 bits). With
    `parent`, an Orthanc ID, its patient's, study's and series' tags are copied, and giving one of them is a 400; UIDs
    need `force`. Each call makes a new instance: never sent twice. `ServerError`: 500 with Orthanc's 27 for a tag that
    it does not know, 400 for an unknown parent, 400 for content that is not what it says.
    """
    body, needs = _instance(tags, parent, force, private_creator, interpret_binary_tags, encapsulate)
    if content is not None:
        kind = _kind(content, content_type)
        body["Content"] = _uri(content, kind)
        if kind.startswith("model/"):
            needs += ("create-3d",)
        if encapsulate and kind != "image/jpeg":
            raise QueryError("Only a JPEG can be kept as it is.")
    elif encapsulate or content_type is not None:
        raise QueryError("There is no content to keep.")
    return Call("POST", ("tools", "create-dicom"), json_object, json=body, needs=needs, patience=_PATIENCE)


def create_dicom_series(
    tags: Mapping[str, Any],
    contents: Sequence[bytes | tuple[bytes, Mapping[str, Any]]],
    *,
    parent: str | None = None,
    force: bool = False,
    private_creator: str | None = None,
    interpret_binary_tags: bool = True,
) -> Call[Json]:
    """POST /tools/create-dicom with a list: a series, an instance for each content; {"ID", "Path", "Status"} of it.

    A content is a PNG, JPEG or PDF, or a pair of it and the tags of that instance alone. Otherwise as `create_dicom`.
    """
    if not contents:
        raise QueryError("A series has at least one instance.")
    body, needs = _instance(tags, parent, force, private_creator, interpret_binary_tags, encapsulate=False)
    items: list[Json] = []
    for item in contents:
        one, own = item if isinstance(item, tuple) else (item, None)
        items.append({"Content": _uri(one, _kind(one, None)), **({"Tags": dict(own)} if own else {})})
    body["Content"] = items
    return Call("POST", ("tools", "create-dicom"), json_object, json=body, needs=needs, patience=_PATIENCE)


def _packed(
    resources: Sequence[str], transcode: str | None, quality: int | None, filename: str | None, utf8: bool
) -> tuple[Json, tuple[Feature, ...]]:
    if not resources:
        raise QueryError("There is nothing to pack.")  # Orthanc answers an empty zip
    body: Json = {"Resources": list(resources)}
    needs: tuple[Feature, ...] = ()
    if transcode is not None:
        body["Transcode"] = transcode
    if quality is not None:
        if transcode is None or not 1 <= quality <= 100:
            raise QueryError("lossy_quality is 1 to 100, and belongs to transcode.")
        body["LossyQuality"] = quality
        needs += ("lossy-quality",)
    if filename is not None:
        body["Filename"] = filename
        needs += ("archive-filename",)
    if utf8:
        body["Utf8"] = True
        needs += ("archive-utf8",)
    return body, needs


def _media(extended: bool) -> tuple[str, str]:
    return "tools", "create-media-extended" if extended else "create-media"


def _stream(path: tuple[str, ...], body: Json, needs: tuple[Feature, ...]) -> Call[bytes]:
    job = submission(synchronous=True)
    return Call(
        "POST", path, raw, json={**body, **job.fields}, repeat=True, binary=True, patience=_PATIENCE, needs=needs
    )


def _job(path: tuple[str, ...], body: Json, needs: tuple[Feature, ...], priority: int) -> Call[Json]:
    job = submission(synchronous=False, priority=priority)
    return Call("POST", path, json_object, json={**body, **job.fields}, needs=needs)


def _instance(
    tags: Mapping[str, Any],
    parent: str | None,
    force: bool,
    private_creator: str | None,
    interpret_binary_tags: bool,
    encapsulate: bool,
) -> tuple[Json, tuple[Feature, ...]]:
    body: Json = {"Tags": dict(tags)}
    if parent is not None:
        body["Parent"] = parent
    if force:
        body["Force"] = True
    if private_creator is not None:
        body["PrivateCreator"] = private_creator
    if not interpret_binary_tags:
        body["InterpretBinaryTags"] = False
    if encapsulate:
        body["Encapsulate"] = True
    return body, ("encapsulate-jpeg",) if encapsulate else ()


def _kind(content: bytes, given: ContentType | None) -> ContentType:
    if given is not None:
        one_of(given, get_args(ContentType), "A content type")
        return given
    for magic, kind in _MAGIC.items():
        if content.startswith(magic):
            return kind
    raise QueryError("This content is no PDF, PNG or JPEG; give its content_type.")


def _uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
