"""Routes of what Orthanc keeps beside the DICOM: metadata, attachments and labels, at every level.

Names below 1024 are Orthanc's own and cannot be written (`AccessError`, 403); yours have numbers from 1024 on, or names
that the server's configuration declares (else `NotFoundError`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError, ResponseError
from orthanc_research.rest._call import Answer, Call, Level, json_list, json_object, nothing, raw, segment_of, text

__all__ = [
    "add_label",
    "attachment_compress",
    "attachment_compressed",
    "attachment_data",
    "attachment_info",
    "attachment_md5",
    "attachment_size",
    "attachment_uncompress",
    "attachment_verify",
    "attachment_with_md5",
    "attachments",
    "delete_attachment",
    "delete_metadata",
    "has_label",
    "labels",
    "md5",
    "metadata",
    "metadata_etag",
    "metadata_names",
    "metadata_value",
    "put_attachment",
    "put_metadata",
    "remove_label",
]

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_MD5_TAG = re.compile(r'(?:W/)?"\d+-([0-9a-f]{32})"')
_MOVING = 600.0  # seconds; the server works through the whole file before it answers


def metadata(level: Level, resource: str, *, numeric: bool = False) -> Call[dict[str, str]]:
    """GET /{level}/{id}/metadata?expand (1.4.0): Orthanc's own facts, by name; by number with `numeric` (1.12.0)."""
    query: dict[str, str | None] = {"expand": None}
    needs: tuple[Feature, ...] = ()
    if numeric:
        query["numeric"] = None
        needs = ("metadata-numeric",)
    return Call("GET", (segment_of(level), resource, "metadata"), json_object, query=query, needs=needs)


def metadata_names(level: Level, resource: str) -> Call[list[str]]:
    """GET /{level}/{id}/metadata: the names."""
    return Call("GET", (segment_of(level), resource, "metadata"), json_list)


def metadata_value(level: Level, resource: str, name: str | int) -> Call[str]:
    """GET /{level}/{id}/metadata/{name}: one value; `NotFoundError` when there is none, or no such name."""
    return Call("GET", (segment_of(level), resource, "metadata", _name(name)), text)


def metadata_etag(level: Level, resource: str, name: str | int) -> Call[str]:
    """GET /{level}/{id}/metadata/{name}: its ETag (1.9.2), for `if_match` of a later change."""
    return Call("GET", (segment_of(level), resource, "metadata", _name(name)), _etag)


def put_metadata(
    level: Level, resource: str, name: str | int, value: str, *, if_match: str | None = None
) -> Call[None]:
    """PUT /{level}/{id}/metadata/{name}: set it. With `if_match` (1.9.2), only if its ETag still is that one, else a
    `ConflictError`: of two writers one loses. Orthanc's own metadata: `AccessError` (403).
    """
    path = (segment_of(level), resource, "metadata", _name(name))
    headers = {"Content-Type": "text/plain", **_match(if_match)}
    return Call("PUT", path, nothing, content=value.encode(), headers=headers)


def delete_metadata(level: Level, resource: str, name: str | int, *, if_match: str | None = None) -> Call[None]:
    """DELETE /{level}/{id}/metadata/{name}: `NotFoundError` when it is not there; else as `put_metadata`."""
    path = (segment_of(level), resource, "metadata", _name(name))
    return Call("DELETE", path, nothing, headers=_match(if_match))


def attachments(level: Level, resource: str) -> Call[dict[str, int]]:
    """GET /{level}/{id}/attachments?full (1.10.0): name → number; {"dicom": 1} for an instance."""
    return Call("GET", (segment_of(level), resource, "attachments"), json_object, query={"full": None})


def attachment_info(level: Level, resource: str, name: str | int) -> Call[dict[str, str | int]]:
    """GET /{level}/{id}/attachments/{name}/info (1.10.0): sizes, MD5s and UUID of the stored file."""
    return Call("GET", _attached(level, resource, name, "info"), json_object)


def attachment_data(
    level: Level,
    resource: str,
    name: str | int,
    *,
    part: tuple[int, int] | None = None,
    as_stored: bool = False,
) -> Call[bytes]:
    """GET /{level}/{id}/attachments/{name}/data: the bytes; with `as_stored` the compressed ones (compressed-data).

    `part` = (first, stop) asks for some of them (1.12.5; older servers would send everything); one that ends behind the
    end is a `ServerError` (416), and a server that sends another number of bytes a `ResponseError`.
    """
    path = _attached(level, resource, name, "compressed-data" if as_stored else "data")
    if part is None:
        return Call("GET", path, raw, binary=True)
    first, stop = part
    if not 0 <= first < stop:
        raise QueryError("A part is (first, stop) with 0 <= first < stop.")
    asked = {"Range": f"bytes={first}-{stop - 1}"}
    return Call("GET", path, _exactly(stop - first), headers=asked, binary=True, needs=("attachment-range",))


def attachment_with_md5(level: Level, resource: str, name: str | int) -> Call[tuple[bytes, str | None]]:
    """GET /{level}/{id}/attachments/{name}/data: the bytes, and the MD5 that the server keeps of them, from the ETag.

    The ETag is "revision-md5" on 1.10.1, 1.12.7 and 1.13.0, of the uncompressed bytes with StorageCompression too. None
    when the server keeps no MD5 (StoreMD5ForAttachments), and when a proxy has taken the ETag away.
    """
    return Call("GET", _attached(level, resource, name, "data"), _with_md5, binary=True)


def attachment_size(level: Level, resource: str, name: str | int, *, as_stored: bool = False) -> Call[int]:
    """GET /{level}/{id}/attachments/{name}/size: bytes; on the disk with `as_stored` (compressed-size)."""
    last = "compressed-size" if as_stored else "size"
    return Call("GET", _attached(level, resource, name, last), lambda answer: int(text(answer)))


def attachment_md5(level: Level, resource: str, name: str | int, *, as_stored: bool = False) -> Call[str]:
    """GET /{level}/{id}/attachments/{name}/md5: in hex; of what is on the disk with `as_stored` (compressed-md5).

    `NotFoundError` when the server does not compute them (StoreMD5ForAttachments).
    """
    return Call("GET", _attached(level, resource, name, "compressed-md5" if as_stored else "md5"), text, binary=True)


def attachment_verify(level: Level, resource: str, name: str | int) -> Call[None]:
    """POST /{level}/{id}/attachments/{name}/verify-md5: read it from the disk; a damaged one is an `OrthancError`."""
    return Call("POST", _attached(level, resource, name, "verify-md5"), nothing, repeat=True, patience=_MOVING)


def attachment_compressed(level: Level, resource: str, name: str | int) -> Call[bool]:
    """GET /{level}/{id}/attachments/{name}/is-compressed: whether it is compressed on the disk (zlib, not DICOM)."""
    return Call("GET", _attached(level, resource, name, "is-compressed"), lambda answer: text(answer) == "1")


def attachment_compress(level: Level, resource: str, name: str | int) -> Call[None]:
    """POST /{level}/{id}/attachments/{name}/compress: compress it on the disk; its data stay the same."""
    return Call("POST", _attached(level, resource, name, "compress"), nothing, repeat=True, patience=_MOVING)


def attachment_uncompress(level: Level, resource: str, name: str | int) -> Call[None]:
    """POST /{level}/{id}/attachments/{name}/uncompress: the reverse of `attachment_compress`."""
    return Call("POST", _attached(level, resource, name, "uncompress"), nothing, repeat=True, patience=_MOVING)


def put_attachment(
    level: Level, resource: str, name: str | int, content: bytes, *, if_match: str | None = None
) -> Call[None]:
    """PUT /{level}/{id}/attachments/{name}: attach bytes, replacing what had this name; `if_match` as for metadata.

    Unknown ID: `NotFoundError`, but 1.10.1 answers as if it had kept them.
    """
    headers = {"Content-Type": "application/octet-stream", **_match(if_match)}
    path = (segment_of(level), resource, "attachments", _name(name))
    return Call("PUT", path, nothing, content=content, headers=headers, patience=_MOVING)


def delete_attachment(level: Level, resource: str, name: str | int, *, if_match: str | None = None) -> Call[None]:
    """DELETE /{level}/{id}/attachments/{name}: Orthanc's own ("dicom"): `AccessError` (403)."""
    path = (segment_of(level), resource, "attachments", _name(name))
    return Call("DELETE", path, nothing, headers=_match(if_match))


def md5(instance: str) -> Call[str]:
    """GET /instances/{id}/attachments/dicom/md5: the MD5 of the stored file, in hex."""
    return attachment_md5("Instance", instance, "dicom")


def labels(level: Level, resource: str) -> Call[list[str]]:
    """GET /{level}/{id}/labels (1.12.0): its labels; those of its children are their own."""
    return Call("GET", (segment_of(level), resource, "labels"), json_list, needs=("labels",))


def has_label(level: Level, resource: str, label: str) -> Call[None]:
    """GET /{level}/{id}/labels/{label} (1.12.0): nothing when it has the label, `NotFoundError` when it has not."""
    return Call("GET", _labelled(level, resource, label), nothing, needs=("labels",))


def add_label(level: Level, resource: str, label: str) -> Call[None]:
    """PUT /{level}/{id}/labels/{label} (1.12.0): 1 to 64 of A-Z, a-z, 0-9, _ and -; twice is once."""
    return Call("PUT", _labelled(level, resource, label), nothing, needs=("labels",))


def remove_label(level: Level, resource: str, label: str) -> Call[None]:
    """DELETE /{level}/{id}/labels/{label} (1.12.0): no error when it does not have it."""
    return Call("DELETE", _labelled(level, resource, label), nothing, needs=("labels",))


def _attached(level: Level, resource: str, name: str | int, last: str) -> tuple[str, ...]:
    return segment_of(level), resource, "attachments", _name(name), last


def _labelled(level: Level, resource: str, label: str) -> tuple[str, ...]:
    if not _LABEL.fullmatch(label):
        raise QueryError("A label has 1 to 64 letters A-Z and a-z, digits, _ and -.")
    return segment_of(level), resource, "labels", label


def _name(name: str | int) -> str:
    if not _NAME.fullmatch(str(name)):
        raise QueryError("The name of metadata or of an attachment has letters, digits, _ and -; or it is a number.")
    return str(name)


def _match(etag: str | None) -> dict[str, str]:
    return {} if etag is None else {"If-Match": etag}


def _etag(answer: Answer) -> str:
    try:
        return answer.headers["etag"]
    except KeyError:
        raise ResponseError("The server sent no ETag.") from None


def _with_md5(answer: Answer) -> tuple[bytes, str | None]:
    tag = _MD5_TAG.fullmatch(answer.headers.get("etag", ""))
    return answer.content, tag[1] if tag else None


def _exactly(size: int) -> Callable[[Answer], bytes]:
    def parse(answer: Answer) -> bytes:
        if len(answer.content) != size:
            raise ResponseError(f"{size} bytes were asked for and {len(answer.content)} came.")
        return answer.content

    return parse
