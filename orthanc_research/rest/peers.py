"""Routes of peers: other Orthanc servers, reached over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from orthanc_research.errors import QueryError
from orthanc_research.rest._call import Area, Call, M, json_list, json_object, nothing, route
from orthanc_research.rest._submission import submission

__all__ = ["Peers", "Secret", "http_server"]

Json = dict[str, Any]


class Secret(str):
    """A text that is sent, and not shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def http_server(
    url: str,
    *,
    username: str | None = None,
    password: str | None = None,
    http_headers: Mapping[str, str] | None = None,
    certificate_file: str | None = None,
    certificate_key_file: str | None = None,
    certificate_key_password: str | None = None,
    pkcs11: bool = False,
    timeout: int | None = None,
) -> Json:
    """The configuration of another server as Orthanc wants it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise QueryError("The address of a server begins with http:// or https://.")
    if "@" in parts.netloc:
        raise QueryError("Give the user and password as arguments, not within the address: Orthanc shows addresses.")
    if (username is None) != (password is None):
        raise QueryError("Give both a user name and a password, or neither.")
    body: Json = {
        "Url": url,
        "Username": username,
        "Password": None if password is None else Secret(password),
        "CertificateFile": certificate_file,
        "CertificateKeyFile": certificate_key_file,
        "CertificateKeyPassword": None if certificate_key_password is None else Secret(certificate_key_password),
        "Timeout": timeout,
    }
    body = {key: value for key, value in body.items() if value is not None}
    if http_headers:
        body["HttpHeaders"] = {name: Secret(value) for name, value in http_headers.items()}
    if pkcs11:
        body["Pkcs11"] = True
    return body


def list_names() -> Call[list[str]]:
    """GET /peers: their names."""
    return Call("GET", ("peers",), json_list)


def list_peers() -> Call[dict[str, Json]]:
    """GET /peers?expand: {name: configuration}; of headers the names only, and no passwords."""
    return Call("GET", ("peers",), json_object, query={"expand": None})


def read(name: str) -> Call[Json]:
    """GET /peers/{name}/configuration: {"Url", "Username", "HttpHeaders": [names], …}; `NotFoundError` if unknown."""
    return Call("GET", ("peers", name, "configuration"), json_object)


def put(
    name: str,
    url: str,
    *,
    username: str | None = None,
    password: str | None = None,
    http_headers: Mapping[str, str] | None = None,
    certificate_file: str | None = None,
    certificate_key_file: str | None = None,
    certificate_key_password: str | None = None,
    pkcs11: bool = False,
    timeout: int | None = None,
) -> Call[None]:
    """PUT /peers/{name}: make a peer known, until the server restarts (unless it has OrthancPeersInDatabase).

    Paths of certificates are the server's; `NotFoundError` (404, Orthanc's 13) when it cannot open one. The body is one
    object: the array of the 2019 document is a 400.
    """
    body = http_server(
        url,
        username=username,
        password=password,
        http_headers=http_headers,
        certificate_file=certificate_file,
        certificate_key_file=certificate_key_file,
        certificate_key_password=certificate_key_password,
        pkcs11=pkcs11,
        timeout=timeout,
    )
    return Call("PUT", ("peers", name), nothing, json=body)


def delete(name: str) -> Call[None]:
    """DELETE /peers/{name}; `NotFoundError` when it is unknown."""
    return Call("DELETE", ("peers", name), nothing)


def system(name: str) -> Call[Json]:
    """GET /peers/{name}/system: its /system, to see whether it answers; `ModalityError` when it does not."""
    return Call("GET", ("peers", name, "system"), json_object, patience=120)


def store(
    name: str,
    resources: Sequence[str],
    *,
    synchronous: bool = True,
    priority: int = 0,
    permissive: bool = False,
    compress: bool = False,
    transcode: str | None = None,
    user_data: Any = None,
) -> Call[Json]:
    """POST /peers/{name}/store: send resources; the job's content, or {"ID", "Path"} with `synchronous=False`.

    Never sent twice. `permissive` hides failures (FailedInstancesCount stays 0): leave it. `compress` is gzip on the
    way, `transcode` a transfer syntax UID (the server encodes, which can end 1.12.7 with GDCM). `ModalityError` when
    the peer is down or refuses, `NotFoundError` for an unknown peer, `ServerError` (400) for an unknown ID.
    """
    job = submission(synchronous=synchronous, priority=priority, permissive=permissive, user_data=user_data)
    if not resources:
        raise QueryError("There is nothing to send.")
    body: Json = {"Resources": list(resources), **job.fields}
    if compress:
        body["Compress"] = True
    if transcode is not None:
        body["Transcode"] = transcode
    return Call("POST", ("peers", name, "store"), json_object, json=body, needs=job.needs, patience=job.patience)


def store_straight(name: str, content: bytes) -> Call[Json]:
    """POST /peers/{name}/store-straight: pass one DICOM file on without keeping it; what the peer's upload answers."""
    return Call(
        "POST",
        ("peers", name, "store-straight"),
        json_object,
        content=content,
        headers={"Content-Type": "application/dicom"},
        patience=600,
    )


class Peers(Area[M]):
    """`rest.peers`."""

    names = route(list_names)
    list = route(list_peers)
    read = route(read)
    put = route(put)
    delete = route(delete)
    system = route(system)
    store = route(store)
    store_straight = route(store_straight)
