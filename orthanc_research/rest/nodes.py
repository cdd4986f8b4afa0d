"""Routes of who the DICOM nodes are that this server knows: their titles, addresses, and what each may ask."""

from __future__ import annotations

from typing import Any, Literal, get_args

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError
from orthanc_research.rest._call import Call, json_list, json_object, nothing
from orthanc_research.rest._submission import one_of

__all__ = [
    "Manufacturer",
    "RetrieveMethod",
    "aet_of",
    "delete",
    "list_modalities",
    "list_names",
    "node",
    "port_of",
    "put",
    "read",
]

Json = dict[str, Any]

Manufacturer = Literal[
    "Generic",
    "GenericNoWildcardInDates",
    "GenericNoUniversalWildcard",
    "ClearCanvas",
    "Dcm4Chee",
    "SyngoVia",
    "AgfaImpax",
    "EFilm2",
    "Vitrea",
    "GE",
    "MedInria",
]
RetrieveMethod = Literal["C-MOVE", "C-GET", "SystemDefault"]


def aet_of(aet: str, name: str = "An AET") -> str:
    """The title; `QueryError` when DICOM does not allow it. Orthanc takes one of 17 characters without a word."""
    if not 1 <= len(aet) <= 16 or not aet.isascii() or "\\" in aet or not aet.isprintable():
        raise QueryError(f"{name} has 1 to 16 printable ASCII characters and no backslash.")  # PS3.5, VR AE
    return aet


def port_of(port: int) -> int:
    """The number of a port; `QueryError` when it is none."""
    if not isinstance(port, int) or not 0 < port < 65536:
        raise QueryError("A port is a number from 1 to 65535.")
    return port


def node(
    aet: str,
    host: str,
    port: int,
    *,
    manufacturer: Manufacturer | None = None,
    local_aet: str | None = None,
    timeout: int | None = None,
    use_dicom_tls: bool = False,
) -> Json:
    """A DICOM node as Orthanc wants it."""
    body: Json = {"AET": aet_of(aet), "Host": host, "Port": port_of(port)}
    if manufacturer is not None:
        one_of(manufacturer, get_args(Manufacturer), "A manufacturer")
        body["Manufacturer"] = manufacturer
    if local_aet is not None:
        body["LocalAet"] = aet_of(local_aet, "local_aet")
    if timeout is not None:
        body["Timeout"] = timeout
    if use_dicom_tls:
        body["UseDicomTls"] = True
    return body


def list_names() -> Call[list[str]]:
    """GET /modalities: their names."""
    return Call("GET", ("modalities",), json_list)


def list_modalities() -> Call[dict[str, Json]]:
    """GET /modalities?expand: {name: configuration}."""
    return Call("GET", ("modalities",), json_object, query={"expand": None})


def read(name: str) -> Call[Json]:
    """GET /modalities/{name}/configuration: {"AET", "Host", "Port", "Manufacturer", "AllowEcho", …}."""
    return Call("GET", ("modalities", name, "configuration"), json_object)


def put(
    name: str,
    aet: str,
    host: str,
    port: int,
    *,
    manufacturer: Manufacturer | None = None,
    allow_echo: bool | None = None,
    allow_find: bool | None = None,
    allow_find_worklist: bool | None = None,
    allow_get: bool | None = None,
    allow_move: bool | None = None,
    allow_store: bool | None = None,
    allow_storage_commitment: bool | None = None,
    allow_transcoding: bool | None = None,
    use_dicom_tls: bool = False,
    local_aet: str | None = None,
    timeout: int | None = None,
    retrieve_method: RetrieveMethod | None = None,
) -> Call[None]:
    """PUT /modalities/{name}: make a node known, until the server restarts (unless DicomModalitiesInDatabase is on).

    `allow_…` say what the node may ask of this server (None is Orthanc's default, which allows it), `timeout` is in
    seconds (0 is the server's), `local_aet` our title towards it. `retrieve_method` came with C-GET (1.12.6).
    """
    body = node(
        aet,
        host,
        port,
        manufacturer=manufacturer,
        local_aet=local_aet,
        timeout=timeout,
        use_dicom_tls=use_dicom_tls,
    )
    allowed = {
        "AllowEcho": allow_echo,
        "AllowFind": allow_find,
        "AllowFindWorklist": allow_find_worklist,
        "AllowGet": allow_get,
        "AllowMove": allow_move,
        "AllowStore": allow_store,
        "AllowStorageCommitment": allow_storage_commitment,
        "AllowTranscoding": allow_transcoding,
    }
    body |= {key: value for key, value in allowed.items() if value is not None}
    needs: tuple[Feature, ...] = ()
    if retrieve_method is not None:
        one_of(retrieve_method, get_args(RetrieveMethod), "A retrieve method")
        body["RetrieveMethod"] = retrieve_method
        needs = ("c-get",)
    return Call("PUT", ("modalities", name), nothing, json=body, needs=needs)


def delete(name: str) -> Call[None]:
    """DELETE /modalities/{name}; `NotFoundError` when it is unknown."""
    return Call("DELETE", ("modalities", name), nothing)
