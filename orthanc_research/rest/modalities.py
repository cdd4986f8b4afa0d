"""Routes to remote DICOM nodes: C-ECHO, C-FIND, C-STORE, C-MOVE, C-GET and storage commitment; and their area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError
from orthanc_research.rest import nodes
from orthanc_research.rest._call import (
    Answer,
    Area,
    Call,
    Level,
    M,
    json_list,
    json_object,
    nothing,
    route,
    segment_of,
)
from orthanc_research.rest._submission import submission
from orthanc_research.rest.nodes import aet_of, port_of

__all__ = ["Modalities", "query_id", "waiting"]

Json = dict[str, Any]

# A C-FIND has no end but the last answer; the server's own DicomScuTimeout (10 s) is between messages.
_QUERY_PATIENCE = 600.0


def waiting(timeout: int | None) -> float:
    """How long to wait for a C-FIND: Orthanc takes twice its time-out over a node that hangs."""
    return max(_QUERY_PATIENCE, 2 * (timeout or 0) + 10.0)


def query_id(answer: Answer) -> str:
    """The ID of a query that was made."""
    return str(json_object(answer)["ID"])


def echo(name: str, timeout: int = 10, *, check_find: bool = False) -> Call[None]:
    """POST /modalities/{name}/echo: C-ECHO; `ModalityError` when the node does not answer, `timeout` in seconds.

    `check_find` adds a C-FIND that matches nothing, to see whether the node knows us (1.8.1).
    """
    body: Json = {"Timeout": timeout}
    if check_find:
        body["CheckFind"] = True
    return Call("POST", ("modalities", name, "echo"), nothing, json=body, repeat=True, patience=2 * timeout + 10)


def query(
    name: str,
    level: Level,
    query: Mapping[str, str],
    *,
    normalize: bool = True,
    local_aet: str | None = None,
    timeout: int | None = None,
) -> Call[str]:
    """POST /modalities/{name}/query: C-FIND; the ID of the query, for `rest.queries`. Never sent twice.

    `query` is {tag: text}; empty text asks for the value. The query stays on the server until it is deleted, or 100
    newer ones (QueryRetrieveSize) push it out. `normalize` drops tags that do not belong to the level. No match is no
    error. A tag that Orthanc does not know is a `ServerError` (400) whose words speak of strings; a refusal, a
    time-out, or a failure after some answers is a `ModalityError`, and the answers are lost; `NotFoundError` for an
    unknown modality.
    """
    segment_of(level)
    body: Json = {"Level": level, "Query": dict(query)}
    if not normalize:
        body["Normalize"] = False
    if local_aet is not None:
        body["LocalAet"] = aet_of(local_aet, "local_aet")
    if timeout is not None:
        body["Timeout"] = timeout
    return Call("POST", ("modalities", name, "query"), query_id, json=body, patience=waiting(timeout))


def find(name: str, query: Mapping[str, str], level: Level | None = None) -> Call[list[Json]]:
    """POST /modalities/{name}/find: patients with their studies with their series; with `level`, /find-{level} alone.

    Deprecated by Orthanc in favour of `query`: one C-FIND a patient and a study, names for keys. Below patients the
    identifiers of all levels above must be given, else 400 without a word. `ModalityError` as in `query`.
    """
    kinds = {"Patient": "find-patient", "Study": "find-study", "Series": "find-series", "Instance": "find-instance"}
    if level is not None:
        segment_of(level)
    last = "find" if level is None else kinds[level]
    return Call("POST", ("modalities", name, last), json_list, json=dict(query), repeat=True, patience=_QUERY_PATIENCE)


def find_worklist(name: str, query: Mapping[str, Any]) -> Call[list[Json]]:
    """POST /modalities/{name}/find-worklist: the scheduled procedures of a worklist server, {"gggg,eeee": value}.

    `ModalityError` (2016 on 1.10.1, 2015 later) when the node has no worklists, as an Orthanc without that plugin.
    """
    body = {"Query": dict(query), "Short": True}
    return Call(
        "POST", ("modalities", name, "find-worklist"), json_list, json=body, repeat=True, patience=_QUERY_PATIENCE
    )


def store(
    name: str,
    resources: Sequence[str],
    *,
    synchronous: bool = True,
    priority: int = 0,
    permissive: bool = False,
    local_aet: str | None = None,
    called_aet: str | None = None,
    host: str | None = None,
    port: int | None = None,
    move_originator_aet: str | None = None,
    move_originator_id: int | None = None,
    storage_commitment: bool = False,
    timeout: int | None = None,
    user_data: Any = None,
) -> Call[Json]:
    """POST /modalities/{name}/store: C-STORE; the job's content, or {"ID", "Path"} with `synchronous=False`.

    Never sent twice. `permissive` hides failures (200, and FailedInstancesCount stays 0): leave it. `called_aet`,
    `host` and `port` replace the configured ones (1.11.3). `storage_commitment` asks the node afterwards whether it
    keeps them. `ModalityError` at the first refusal; `ServerError` (400) for an unknown ID; `NotFoundError` for an
    unknown modality.
    """
    if not resources:
        raise QueryError("There is nothing to send.")
    job = submission(synchronous=synchronous, priority=priority, permissive=permissive, user_data=user_data)
    body: Json = {"Resources": list(resources), **job.fields}
    needs = job.needs
    if local_aet is not None:
        body["LocalAet"] = aet_of(local_aet, "local_aet")
    if called_aet is not None:
        body["CalledAet"] = aet_of(called_aet, "called_aet")
    if host is not None:
        body["Host"] = host
    if port is not None:
        body["Port"] = port_of(port)
    if move_originator_aet is not None:
        body["MoveOriginatorAet"] = aet_of(move_originator_aet, "move_originator_aet")
    if move_originator_id is not None:
        body["MoveOriginatorID"] = move_originator_id
    if storage_commitment:
        body["StorageCommitment"] = True
    if timeout is not None:
        body["Timeout"] = timeout
    if not {"CalledAet", "Host", "Port"}.isdisjoint(body):
        needs += ("store-override",)
    return Call("POST", ("modalities", name, "store"), json_object, json=body, needs=needs, patience=job.patience)


def store_straight(name: str, content: bytes) -> Call[Json]:
    """POST /modalities/{name}/store-straight: pass one DICOM file on without keeping it; its UIDs."""
    return Call(
        "POST",
        ("modalities", name, "store-straight"),
        json_object,
        content=content,
        headers={"Content-Type": "application/dicom"},
        patience=_QUERY_PATIENCE,
    )


def move(
    name: str,
    level: Level,
    resources: Sequence[Mapping[str, str]],
    *,
    target_aet: str | None = None,
    local_aet: str | None = None,
    synchronous: bool = True,
    priority: int = 0,
    permissive: bool = False,
    timeout: int | None = None,
    user_data: Any = None,
) -> Call[Json]:
    """POST /modalities/{name}/move: C-MOVE of resources, each {identifier: value} down to the level.

    They go to `target_aet`, by default this server, which must be known to the node. The job's content ({} on 1.10.1),
    or {"ID", "Path"} with `synchronous=False` (1.11.1; 1.10.1 would ignore it). Never sent twice; what was moved before
    a failure stays. Success does not mean that all arrived: count. `ModalityError` when the node refuses, which is also
    its answer to an unknown UID or target. From 1.12.10 the job tells the instances received.
    """
    job = submission(synchronous=synchronous, priority=priority, permissive=permissive, user_data=user_data)
    body = _retrieval(level, resources, local_aet, timeout, job.fields)
    if target_aet is not None:
        body["TargetAet"] = aet_of(target_aet, "target_aet")
    # 1.10.1 knows neither jobs of this kind nor permissive ones, and would ignore both words.
    needs: tuple[Feature, ...] = job.needs if synchronous and not permissive else ("move-job", *job.needs)
    return Call("POST", ("modalities", name, "move"), json_object, json=body, needs=needs, patience=job.patience)


def get(
    name: str,
    level: Level,
    resources: Sequence[Mapping[str, str]],
    *,
    local_aet: str | None = None,
    synchronous: bool = True,
    priority: int = 0,
    permissive: bool = False,
    timeout: int | None = None,
    user_data: Any = None,
) -> Call[Json]:
    """POST /modalities/{name}/get (1.12.6): C-GET: the resources come over the same association; as `move`.

    1.12.7 reports success for an unknown UID (a `ModalityError` from 1.12.10): count what arrived.
    """
    job = submission(synchronous=synchronous, priority=priority, permissive=permissive, user_data=user_data)
    body = _retrieval(level, resources, local_aet, timeout, job.fields)
    return Call(
        "POST",
        ("modalities", name, "get"),
        json_object,
        json=body,
        needs=("c-get", *job.needs),
        patience=job.patience,
    )


def storage_commitment(name: str, resources: Sequence[str], *, timeout: int | None = None) -> Call[str]:
    """POST /modalities/{name}/storage-commitment: ask whether the node keeps these; the ID of the report."""
    if not resources:
        raise QueryError("There is nothing to ask for.")
    body: Json = {"Resources": list(resources)}
    if timeout is not None:
        body["Timeout"] = timeout
    return Call("POST", ("modalities", name, "storage-commitment"), query_id, json=body, patience=_QUERY_PATIENCE)


def storage_commitment_report(report: str) -> Call[Json]:
    """GET /storage-commitment/{id}: {"Status": "Pending", "Success" or "Failure", "Success", "Failures"}."""
    return Call("GET", ("storage-commitment", report), json_object)


def _retrieval(
    level: Level,
    resources: Sequence[Mapping[str, str]],
    local_aet: str | None,
    timeout: int | None,
    fields: Mapping[str, Any],
) -> Json:
    segment_of(level)
    values = [list(resource.values()) for resource in resources]
    fine = all(isinstance(value, str) and value.strip() and not set("*?") & set(value) for v in values for value in v)
    if not values or not all(values) or not fine:
        raise QueryError("Each resource to retrieve is {identifier: value}, with no value empty and no wildcard.")
    body: Json = {"Level": level, "Resources": [dict(resource) for resource in resources], **fields}
    if local_aet is not None:
        body["LocalAet"] = aet_of(local_aet, "local_aet")
    if timeout is not None:
        body["Timeout"] = timeout
    return body


class Modalities(Area[M]):
    """`rest.modalities`."""

    names = route(nodes.list_names)
    list = route(nodes.list_modalities)
    read = route(nodes.read)
    put = route(nodes.put)
    delete = route(nodes.delete)
    echo = route(echo)
    query = route(query)
    find = route(find)
    find_worklist = route(find_worklist)
    store = route(store)
    store_straight = route(store_straight)
    move = route(move)
    get = route(get)
    storage_commitment = route(storage_commitment)
    storage_commitment_report = route(storage_commitment_report)
