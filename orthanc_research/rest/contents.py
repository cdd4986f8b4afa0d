"""Routes of what is in the files: upload, the file itself, its tags in every form, single values, embedded PDFs."""

from __future__ import annotations

import gzip as gz
import re
from collections.abc import Sequence
from typing import IO, Any

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError, ResponseError
from orthanc_research.rest._call import Answer, Call, Level, json_list, json_object, raw, segment_of
from orthanc_research.rest._modification import transcoding
from orthanc_research.rest.queries import TagForm, form_flags

__all__ = [
    "content",
    "content_list",
    "dicom_json",
    "dicom_xml",
    "file",
    "header",
    "instances_tags",
    "module",
    "module_patient",
    "pdf",
    "shared_tags",
    "simplified_tags",
    "tags",
    "upload",
    "upload_zip",
]

Json = dict[str, Any]
Query = dict[str, str | None]

_ZIP = b"PK\x03\x04"
_STORING = 3600.0
_TAG = re.compile(r"[0-9A-Fa-f]{4}[-,]?[0-9A-Fa-f]{4}|[A-Za-z][A-Za-z0-9]*")


def upload(content: bytes | IO[bytes], *, gzip: bool = False) -> Call[Json]:
    """POST /instances: store one DICOM file; {"ID", "ParentPatient", "ParentStudy", "ParentSeries", "Status"}.

    Status is "Success" or "AlreadyStored", so sending it again after a break does no harm. A file object is read into
    memory from where it stands. `gzip` compresses on the way (Content-Encoding). Not a DICOM file: `ServerError` (400,
    Orthanc's 15); without the four identifiers: `NotFoundError` (404, 21). A zip: `ResponseError`, its files stored;
    that is `upload_zip`.
    """
    return _upload(content, "application/dicom", json_object, gzip, None)


def upload_zip(content: bytes | IO[bytes]) -> Call[list[Json]]:
    """POST /instances (1.8.2): store every DICOM file in a zip; an answer as that of `upload` for each one stored.

    Members that are not DICOM are passed over without a word: count the answers. It is not compressed on the way
    (Orthanc does not look into a zip within a gzip). `QueryError` when it is no zip.
    """
    data = _bytes(content)
    if data[:4] != _ZIP:
        raise QueryError("This is not a zip.")  # one file would be stored, and answered as an object
    return _upload(data, "application/zip", json_list, False, _STORING)


def file(instance: str, *, transcode: str | None = None, lossy_quality: int | None = None) -> Call[bytes]:
    """GET /instances/{id}/file: the DICOM file as it was stored.

    `transcode` (1.12.2) is a transfer syntax UID: the server then decodes and encodes, which ended 1.12.7 with GDCM in
    six of six tries, and 1.13 without it answers 500 to JPEG 2000: better fetch the file and transcode here.
    `lossy_quality` needs 1.12.7.
    """
    fields, needs = transcoding(transcode, lossy_quality)
    names = {"Transcode": "transcode", "LossyQuality": "lossy-quality"}
    query: Query = {names[name]: str(value) for name, value in fields.items()}
    needs += ("file-transcode",) if query else ()
    return Call("GET", ("instances", instance, "file"), raw, query=query, binary=True, needs=needs)


def dicom_json(instance: str) -> Call[Json]:
    """GET /instances/{id}/file as application/dicom+json: PS3.18 Annex F, pixel data inline in base64."""
    accept = {"Accept": "application/dicom+json"}
    return Call("GET", ("instances", instance, "file"), json_object, headers=accept, binary=True)


def dicom_xml(instance: str) -> Call[bytes]:
    """GET /instances/{id}/file as application/dicom+xml: PS3.19 Annex A, pixel data inline in base64."""
    return Call("GET", ("instances", instance, "file"), raw, headers={"Accept": "application/dicom+xml"}, binary=True)


def tags(
    instance: str, ignore_length: Sequence[str] = (), *, form: TagForm = "short", whole: bool = False
) -> Call[Json]:
    """GET /instances/{id}/tags?short: {"gggg,eeee": value}; lengths as in `instances_tags`.

    `form` "full" has {"Name", "Type", "Value"} instead of values, Type "TooLong" for what was left out; "names" has
    names for keys, which collide. `whole` (1.12.4) reads on after the pixel data. Unknown ID: `NotFoundError`.
    """
    query = _tag_query(form, ignore_length)
    needs: tuple[Feature, ...] = ()
    if whole:
        query["whole"] = None
        needs = ("whole-tags",)
    return Call("GET", ("instances", instance, "tags"), json_object, query=query, needs=needs)


def simplified_tags(instance: str) -> Call[Json]:
    """GET /instances/{id}/simplified-tags: {name: value}. Lossy: private tags and repeated names overwrite each other
    (CT_small.dcm has 257 tags and 80 names), and values over 256 bytes are null.
    """
    return Call("GET", ("instances", instance, "simplified-tags"), json_object)


def header(instance: str, *, form: TagForm = "short") -> Call[Json]:
    """GET /instances/{id}/header: the file's meta information, group 0002."""
    return Call("GET", ("instances", instance, "header"), json_object, query=_tag_query(form))


def content(instance: str, *path: str | int) -> Call[bytes]:
    """GET /instances/{id}/content/{path}: one value, raw: padded with a space or NUL, in the file's character set.

    `path` goes down by tags and by indices of items: `content(id, "OtherPatientIDsSequence", 0, "PatientID")`. Pixel
    data is a sequence of fragments: `content(id, "PixelData", 0)`. An absent tag: `NotFoundError`; an unknown name:
    `ServerError` (500, Orthanc's 27); a sequence or item: `ResponseError`, that is `content_list`.
    """
    if not path:
        raise QueryError("Which tag? content_list lists them.")
    return Call("GET", ("instances", instance, "content", *_steps(path)), _value, binary=True)


def content_list(instance: str, *path: str | int) -> Call[list[str]]:
    """GET /instances/{id}/content/{path}: the indices of a sequence's items, or the tags ("gggg-eeee") of an item.

    Without a path, the tags of the file. A plain value: `ResponseError`.
    """
    return Call("GET", ("instances", instance, "content", *_steps(path)), json_list)


def pdf(instance: str) -> Call[bytes]:
    """GET /instances/{id}/pdf: the PDF within; `NotFoundError` when there is none."""
    return Call("GET", ("instances", instance, "pdf"), raw, binary=True)


def instances_tags(
    level: Level, resource: str, ignore_length: Sequence[str] = (), *, form: TagForm = "short"
) -> Call[dict[str, Json]]:
    """GET /{level}/{id}/instances-tags?short: {instance ID: {"gggg,eeee": value}} for each instance below.

    Keys are numbers because names collide (CT_small.dcm has 257 tags and 80 names). Values over 256 bytes come as null,
    as binary ones do, unless `ignore_length` names their tags ("gggg-eeee"). One unreadable file fails the whole
    request with a 500. Not at instance level.
    """
    query = _tag_query(form, ignore_length)
    return Call("GET", (segment_of(level), resource, "instances-tags"), json_object, query=query)


def shared_tags(level: Level, resource: str, *, form: TagForm = "short") -> Call[Json]:
    """GET /{level}/{id}/shared-tags: tags that have the same value in all instances below; it reads every file."""
    return Call("GET", (segment_of(level), resource, "shared-tags"), json_object, query=_tag_query(form))


def module(level: Level, resource: str, ignore_length: Sequence[str] = (), *, form: TagForm = "short") -> Call[Json]:
    """GET /{level}/{id}/module: tags of the DICOM module of this level, read from one instance below."""
    query = _tag_query(form, ignore_length)
    return Call("GET", (segment_of(level), resource, "module"), json_object, query=query)


def module_patient(study: str, ignore_length: Sequence[str] = (), *, form: TagForm = "short") -> Call[Json]:
    """GET /studies/{id}/module-patient: tags of the patient module, read from one instance of the study."""
    query = _tag_query(form, ignore_length)
    return Call("GET", ("studies", study, "module-patient"), json_object, query=query)


def _tag_query(form: TagForm, ignore_length: Sequence[str] = ()) -> Query:
    query = form_flags(form)
    if ignore_length:
        query["ignore-length"] = ",".join(ignore_length)
    return query


def _steps(path: Sequence[str | int]) -> list[str]:
    for step in path:
        valid = step >= 0 if isinstance(step, int) else _TAG.fullmatch(step) is not None
        if not valid:
            raise QueryError("A path goes down by tags (a keyword or gggg,eeee) and indices of items from 0.")
    return [str(step) for step in path]


def _value(answer: Answer) -> bytes:
    if answer.headers.get("content-type", "").startswith("application/json"):
        raise ResponseError("This is a sequence or an item, not a value; content_list lists what is in it.")
    return answer.content


def _bytes(content: bytes | IO[bytes]) -> bytes:
    return bytes(content) if isinstance(content, bytes | bytearray | memoryview) else content.read()


def _upload(content: bytes | IO[bytes], kind: str, parse: Any, gzip: bool, patience: float | None) -> Call[Any]:
    headers = {"Content-Type": kind}
    data = _bytes(content)
    if gzip:
        data = gz.compress(data, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Call(
        "POST", ("instances",), parse, content=data, headers=headers, repeat=True, binary=True, patience=patience
    )
