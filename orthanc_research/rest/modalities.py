"""Routes of remote DICOM nodes, as far as two servers need them to know each other."""

from __future__ import annotations

from typing import Any

from orthanc_research.errors import QueryError
from orthanc_research.rest._call import Area, Call, M, json_object, nothing, route

__all__ = ["Modalities"]

Json = dict[str, Any]


def list_modalities() -> Call[dict[str, Json]]:
    """GET /modalities?expand: {name: configuration}."""
    return Call("GET", ("modalities",), json_object, query={"expand": None})


def put(name: str, aet: str, host: str, port: int) -> Call[None]:
    """PUT /modalities/{name}: make a node known, until the server restarts.

    Orthanc takes an AET of 17 characters without a word; DICOM allows 16 (PS3.5, VR AE).
    """
    if not 1 <= len(aet) <= 16 or not aet.isascii() or "\\" in aet or not aet.isprintable():
        raise QueryError("An AET has 1 to 16 printable ASCII characters and no backslash.")
    if not 0 < port < 65536:
        raise QueryError("A port is a number from 1 to 65535.")
    return Call("PUT", ("modalities", name), nothing, json={"AET": aet, "Host": host, "Port": port})


def delete(name: str) -> Call[None]:
    """DELETE /modalities/{name}."""
    return Call("DELETE", ("modalities", name), nothing)


def echo(name: str, timeout: int = 10) -> Call[None]:
    """POST /modalities/{name}/echo: C-ECHO; `ModalityError` when the node does not answer, `timeout` in seconds."""
    return Call(
        "POST", ("modalities", name, "echo"), nothing, json={"Timeout": timeout}, repeat=True, patience=timeout + 10
    )


class Modalities(Area[M]):
    """`rest.modalities`."""

    list = route(list_modalities)
    put = route(put)
    delete = route(delete)
    echo = route(echo)
