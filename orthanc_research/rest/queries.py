"""Routes of queries that were made of a modality: what they were, their answers, and fetching what they found.

The server keeps the last 100 queries (QueryRetrieveSize), not for a time: `NotFoundError` when one was pushed out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError
from orthanc_research.rest._call import Answer, Area, Call, Level, M, json_list, json_object, nothing, route, text
from orthanc_research.rest._submission import Submission, one_of, submission
from orthanc_research.rest.modalities import query_id, waiting
from orthanc_research.rest.nodes import RetrieveMethod, aet_of

__all__ = ["Queries", "TagForm", "form_flags"]

Json = dict[str, Any]

# "short" is {"gggg,eeee": value}, "names" {"PatientID": value}, where names that collide are lost, and "full"
# {"gggg,eeee": {"Name", "Type", "Value"}}.
TagForm = Literal["short", "names", "full"]
_FLAGS: Mapping[TagForm, str | None] = {"short": "short", "names": "simplify", "full": None}


def form_flags(form: TagForm) -> dict[str, str | None]:
    """The flag for a form of tags. Orthanc looks at its presence only, whatever its value."""
    one_of(form, get_args(TagForm), "A form of tags")
    flag = _FLAGS[form]
    return {} if flag is None else {flag: None}


def list_queries() -> Call[list[str]]:
    """GET /queries: the IDs of the queries that the server keeps; it has no expanded form."""
    return Call("GET", ("queries",), json_list)


def level(query: str) -> Call[str]:
    """GET /queries/{id}/level: "Patient", "Study", "Series" or "Instance"."""
    return Call("GET", ("queries", query, "level"), text)


def modality(query: str) -> Call[str]:
    """GET /queries/{id}/modality: the name of the modality that was asked."""
    return Call("GET", ("queries", query, "modality"), text)


def query(query: str, form: TagForm = "short") -> Call[Json]:
    """GET /queries/{id}/query: what was asked for."""
    return Call("GET", ("queries", query, "query"), json_object, query=form_flags(form))


def indices(query: str) -> Call[list[int]]:
    """GET /queries/{id}/answers: the numbers of the answers, from 0."""
    return Call("GET", ("queries", query, "answers"), _numbers)


def answers(query: str, form: TagForm = "short") -> Call[list[Json]]:
    """GET /queries/{id}/answers?expand: all answers at once, in the order of their numbers."""
    return Call("GET", ("queries", query, "answers"), json_list, query={"expand": None, **form_flags(form)})


def content(query: str, index: int, form: TagForm = "short") -> Call[Json]:
    """GET /queries/{id}/answers/{index}/content: one answer; `ServerError` (400, Orthanc's 3) when there is none."""
    return Call("GET", ("queries", query, "answers", _index(index), "content"), json_object, query=form_flags(form))


def retrieve(
    query: str,
    *,
    target_aet: str | None = None,
    retrieve_method: RetrieveMethod | None = None,
    synchronous: bool = True,
    priority: int = 0,
    permissive: bool = False,
    timeout: int | None = None,
    form: TagForm = "short",
    user_data: Any = None,
) -> Call[Json]:
    """POST /queries/{id}/retrieve: C-MOVE (or C-GET) of all answers; the first that fails ends it.

    To `target_aet`, by default this server; `retrieve_method` since 1.12.6 (older ones would ignore it and move). The
    job's content, its queries in this form, or {"ID", "Path"} with `synchronous=False`. Never sent twice. Success does
    not mean that all arrived: count. `ModalityError` when the node refuses, or does not know the target.
    """
    return _retrieve(
        ("queries", query, "retrieve"),
        target_aet,
        retrieve_method,
        timeout,
        form,
        submission(synchronous=synchronous, priority=priority, permissive=permissive, user_data=user_data),
    )


def retrieve_answer(
    query: str,
    index: int,
    *,
    target_aet: str | None = None,
    retrieve_method: RetrieveMethod | None = None,
    synchronous: bool = True,
    priority: int = 0,
    permissive: bool = False,
    timeout: int | None = None,
    form: TagForm = "short",
    user_data: Any = None,
) -> Call[Json]:
    """POST /queries/{id}/answers/{index}/retrieve: one answer; otherwise as `retrieve`."""
    return _retrieve(
        ("queries", query, "answers", _index(index), "retrieve"),
        target_aet,
        retrieve_method,
        timeout,
        form,
        submission(synchronous=synchronous, priority=priority, permissive=permissive, user_data=user_data),
    )


def query_children(
    query: str,
    index: int,
    level: Level,
    children: Mapping[str, str] | None = None,
    *,
    timeout: int | None = None,
) -> Call[str]:
    """POST /queries/{id}/answers/{index}/query-{level}: another C-FIND for what is below an answer; its ID.

    `children` is {tag: text}, as in `rest.modalities.query`. Never sent twice. `NotFoundError` for a level that is not
    below that of the query.
    """
    names = {"Study": "query-studies", "Series": "query-series", "Instance": "query-instances"}
    one_of(level, tuple(names), "The level below an answer")
    body: Json = {"Query": dict(children or {})}
    if timeout is not None:
        body["Timeout"] = timeout
    path = ("queries", query, "answers", _index(index), names[level])
    return Call("POST", path, query_id, json=body, patience=waiting(timeout))


def delete(query: str) -> Call[None]:
    """DELETE /queries/{id}: forget it. An unknown one is no error (200)."""
    return Call("DELETE", ("queries", query), nothing)


def _numbers(answer: Answer) -> list[int]:
    return [int(number) for number in json_list(answer)]


def _index(index: int) -> str:
    if not isinstance(index, int) or index < 0:
        raise QueryError("The number of an answer is 0 or more.")
    return str(index)


def _retrieve(
    path: tuple[str, ...],
    target_aet: str | None,
    method: RetrieveMethod | None,
    timeout: int | None,
    form: TagForm,
    job: Submission,
) -> Call[Json]:
    one_of(form, get_args(TagForm), "A form of tags")
    body: Json = dict(job.fields)
    needs: tuple[Feature, ...] = job.needs
    if form != "short":
        body["Full" if form == "full" else "Simplify"] = True
    if target_aet is not None:
        body["TargetAet"] = aet_of(target_aet, "target_aet")
    if timeout is not None:
        body["Timeout"] = timeout
    if method is not None:
        one_of(method, get_args(RetrieveMethod), "A retrieve method")
        body["RetrieveMethod"] = method
        needs = ("c-get", *needs)
    return Call("POST", path, json_object, json=body, needs=needs, patience=job.patience)


class Queries(Area[M]):
    """`rest.queries`."""

    list = route(list_queries)
    level = route(level)
    modality = route(modality)
    query = route(query)
    indices = route(indices)
    answers = route(answers)
    content = route(content)
    retrieve = route(retrieve)
    retrieve_answer = route(retrieve_answer)
    query_children = route(query_children)
    delete = route(delete)
