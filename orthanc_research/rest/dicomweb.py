"""Routes of the DICOMweb plugin as a client: servers that this Orthanc reaches over DICOMweb.

Only where the plugin is loaded: without it every route of this area is an `UnsupportedError`, after one look at
/plugins. The plugin's root is taken to be /dicom-web/, its default.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError, UnsupportedError
from orthanc_research.rest._call import Area, Call, M, json_list, json_object, nothing, raw, route
from orthanc_research.rest._submission import submission
from orthanc_research.rest.peers import http_server
from orthanc_research.rest.system import plugins

__all__ = ["DicomWeb", "awaited_where_loaded", "where_loaded"]

Json = dict[str, Any]
_SERVERS = ("dicom-web", "servers")
_PLUGIN = "dicom-web"


def list_names() -> Call[list[str]]:
    """GET /dicom-web/servers: their names."""
    return Call("GET", _SERVERS, json_list)


def list_servers() -> Call[dict[str, Json]]:
    """GET /dicom-web/servers?expand: {name: configuration}; of headers the names only, and no passwords."""
    return Call("GET", _SERVERS, json_object, query={"expand": None})


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
    has_delete: bool | None = None,
    chunked_transfers: bool | None = None,
    has_wado_rs_universal_transfer_syntax: bool | None = None,
) -> Call[None]:
    """PUT /dicom-web/servers/{name}: make a DICOMweb server known, until Orthanc restarts; `url` is its root."""
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
    extras = {
        "HasDelete": has_delete,
        "ChunkedTransfers": chunked_transfers,
        "HasWadoRsUniversalTransferSyntax": has_wado_rs_universal_transfer_syntax,
    }
    body |= {key: value for key, value in extras.items() if value is not None}
    return Call("PUT", (*_SERVERS, name), nothing, json=body)


def delete(name: str) -> Call[None]:
    """DELETE /dicom-web/servers/{name}; `ServerError` (400, Orthanc's 3) when it is unknown."""
    return Call("DELETE", (*_SERVERS, name), nothing)


def get(
    name: str,
    uri: str,
    *,
    arguments: Mapping[str, str] | None = None,
    http_headers: Mapping[str, str] | None = None,
) -> Call[bytes]:
    """POST /dicom-web/servers/{name}/get: GET `uri`, below the server's root, through Orthanc; the body as it came.

    `NotFoundError` when the server answers 404 or is unknown to Orthanc; `ModalityError` when it does not answer.
    """
    body = _get(uri, arguments, http_headers)
    return Call("POST", (*_SERVERS, name, "get"), raw, json=body, repeat=True, patience=600)


def qido(
    name: str,
    uri: str,
    *,
    arguments: Mapping[str, str] | None = None,
    http_headers: Mapping[str, str] | None = None,
) -> Call[list[Json]]:
    """POST /dicom-web/servers/{name}/qido: a search (QIDO-RS), {"ggggeeee": {"Name", "Value", "vr", …}}; as `get`."""
    body = _get(uri, arguments, http_headers)
    return Call("POST", (*_SERVERS, name, "qido"), json_list, json=body, repeat=True, patience=600)


def stow(
    name: str,
    resources: Sequence[str],
    *,
    synchronous: bool = True,
    priority: int = 0,
    http_headers: Mapping[str, str] | None = None,
) -> Call[Json]:
    """POST /dicom-web/servers/{name}/stow: send resources (STOW-RS); {"InstancesCount": text, …}, or {"ID", "Path"}.

    Never sent twice. `NotFoundError` for an unknown ID or server. A server that is down is a `ServerError` whose words
    speak of the plugin engine; the job's `error_details` say more.
    """
    if not resources:
        raise QueryError("There is nothing to send.")
    return _job(name, "stow", {"Resources": list(resources)}, http_headers, synchronous, priority)


def retrieve(
    name: str,
    resources: Sequence[Mapping[str, str]],
    *,
    synchronous: bool = True,
    priority: int = 0,
    http_headers: Mapping[str, str] | None = None,
) -> Call[Json]:
    """POST /dicom-web/servers/{name}/retrieve: fetch (WADO-RS); {"ReceivedInstancesCount": text, …}, or {"ID", "Path"}.

    Each resource is {"Study": UID}, {"Study", "Series"} or {"Study", "Series", "Instance"}. Never sent twice. A UID
    that the server does not have, like one that is down, is a `ServerError` whose words speak of the plugin engine.
    """
    for resource in resources:
        names = list(resource)
        if set(names) not in ({"Study"}, {"Study", "Series"}, {"Study", "Series", "Instance"}):
            raise QueryError('A resource is {"Study": UID}, with "Series" and then "Instance" where it is smaller.')
    if not resources:
        raise QueryError("There is nothing to fetch.")
    return _job(name, "retrieve", {"Resources": [dict(r) for r in resources]}, http_headers, synchronous, priority)


def _get(uri: str, arguments: Mapping[str, str] | None, headers: Mapping[str, str] | None) -> Json:
    if "://" in uri or uri.startswith("/"):
        raise QueryError("A uri is relative to the root of the server, such as studies/1.2.3/series.")
    body: Json = {"Uri": uri}
    if arguments:
        body["Arguments"] = dict(arguments)
    if headers:
        body["HttpHeaders"] = dict(headers)
    return body


def _job(
    name: str, what: str, body: Json, headers: Mapping[str, str] | None, synchronous: bool, priority: int
) -> Call[Json]:
    job = submission(synchronous=synchronous, priority=priority)
    body = {**body, **job.fields}
    if headers:
        body["HttpHeaders"] = dict(headers)
    needs: tuple[Feature, ...] = job.needs
    return Call("POST", (*_SERVERS, name, what), json_object, json=body, needs=needs, patience=job.patience)


Run = Callable[[Call[Any]], Any]


def where_loaded(run: Run) -> Run:
    """`run`, for servers with the plugin: it is looked for before the first request, and again until it is there."""
    found: list[bool] = []

    def gated(call: Call[Any]) -> Any:
        if not found:
            _require(run(plugins()))
            found.append(True)
        return run(call)

    return gated


def awaited_where_loaded(run: Run) -> Run:
    """As `where_loaded`, for a `run` that is awaited."""
    found: list[bool] = []

    async def gated(call: Call[Any]) -> Any:
        if not found:
            _require(await run(plugins()))
            found.append(True)
        answer: Awaitable[Any] = run(call)
        return await answer

    return gated


def _require(loaded: Sequence[str]) -> None:
    if _PLUGIN not in loaded:
        raise UnsupportedError(
            "This Orthanc runs without the DICOMweb plugin; its administrator can load it (Plugins).",
            found="no DICOMweb plugin",
            needed="the DICOMweb plugin",
        )


class DicomWeb(Area[M]):
    """`rest.dicomweb`."""

    names = route(list_names)
    list = route(list_servers)
    put = route(put)
    delete = route(delete)
    get = route(get)
    qido = route(qido)
    stow = route(stow)
    retrieve = route(retrieve)
