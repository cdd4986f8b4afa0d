"""Routes under /tools that look for resources: find, count, lookup, many at once.

Orthanc ignores fields of a body that it does not know and answers everything: each goes only to a server that knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError
from orthanc_research.rest._call import Call, Level, json_contents, json_list, json_object, json_resources, segment_of
from orthanc_research.rest._submission import listed, one_of
from orthanc_research.rest.queries import TagForm, form_flags

__all__ = [
    "LabelsConstraint",
    "ResponseContent",
    "bulk_content",
    "count",
    "count_resources",
    "find",
    "lookup",
    "search",
]

Json = dict[str, Any]

LabelsConstraint = Literal["All", "Any", "None"]
ResponseContent = Literal[
    "MainDicomTags",
    "Metadata",
    "Children",
    "Parent",
    "Labels",
    "Status",
    "IsStable",
    "IsProtected",
    "Attachments",
    "RequestedTags",
]

_FEATURES: Mapping[str, Feature] = {
    "RequestedTags": "requested-tags",
    "Labels": "labels",
    "LabelsConstraint": "labels",
    "ParentPatient": "extended-find",
    "ParentStudy": "extended-find",
    "ParentSeries": "extended-find",
    "MetadataQuery": "extended-find",
    "OrderBy": "extended-find",
    "ResponseContent": "extended-find",
}
_PLAIN = frozenset({"Level", "Query", "Expand", "Limit", "Since", "CaseSensitive", "Short", "Full"})
_COUNTED = frozenset(
    {
        "Level",
        "Query",
        "Labels",
        "LabelsConstraint",
        "MetadataQuery",
        "ParentPatient",
        "ParentStudy",
        "ParentSeries",
        "CaseSensitive",
    }
)


_PARENTS = ("ParentPatient", "ParentStudy", "ParentSeries")


def find(body: Mapping[str, Any]) -> Call[list[Any]]:
    """POST /tools/find: the resources that match; objects with Expand or ResponseContent, IDs without.

    `body` is Orthanc's own; `search` is the same with arguments. A field that this server would ignore is an
    `UnsupportedError`, one that no version knows a `QueryError`. `ServerError`: 500 with Orthanc's 27 for a tag that it
    does not know, 400 for a wildcard on a date, for a value that is no text, and, from 1.12.5, for Since together with
    a tag outside the index.
    """
    _known(body, _PLAIN | set(_FEATURES), "/tools/find")
    expanded = body.get("Expand") or "ResponseContent" in body
    parse = json_resources if expanded else json_list
    return Call("POST", ("tools", "find"), parse, json=dict(body), repeat=True, needs=_needs(body))


def search(
    level: Level,
    query: Mapping[str, str] | None = None,
    *,
    expand: bool = True,
    form: TagForm = "names",
    requested_tags: Sequence[str] = (),
    response_content: Sequence[ResponseContent] | None = None,
    labels: Sequence[str] | None = None,
    labels_constraint: LabelsConstraint = "All",
    metadata: Mapping[str, str] | None = None,
    parent_patient: str | None = None,
    parent_study: str | None = None,
    parent_series: str | None = None,
    order_by: Sequence[Mapping[str, str]] | None = None,
    case_sensitive: bool | None = None,
    since: int | None = None,
    limit: int | None = None,
) -> Call[list[Any]]:
    """POST /tools/find with every option as an argument: the resources that match, or their IDs without `expand`.

    `query` is {tag: text} with wildcards, ranges "20040101-20041231" and lists with a backslash between.
    `requested_tags` (1.11.0) come beside the main ones; `response_content` (1.12.5) says what each answer holds and
    replaces `expand`; `labels` (1.12.0; an empty list with "None", from 1.12.11, is what has no label); `metadata`, a
    parent and `order_by` ({"Type": "DicomTag" or "Metadata", "Key", "Direction": "ASC" or "DESC"}) since 1.12.5. Errors
    as in `find`. Without `order_by` the order is the version's own.
    """
    if query is not None and not isinstance(query, Mapping):
        raise QueryError("query is {tag: text}.")
    body: Json = {"Level": level, "Query": dict(query or {}), **_narrowed(labels, labels_constraint, metadata)}
    body |= _parents(parent_patient, parent_study, parent_series)
    if response_content is not None:
        body["ResponseContent"] = list(response_content)
    elif expand:
        body["Expand"] = True
    if requested_tags:
        body["RequestedTags"] = list(requested_tags)
    if order_by:
        body["OrderBy"] = [dict(order) for order in order_by]
    body |= _form(form)
    given = {"CaseSensitive": case_sensitive, "Since": since, "Limit": limit}
    return find({**body, **{key: value for key, value in given.items() if value is not None}})


def count_resources(body: Mapping[str, Any]) -> Call[int]:
    """POST /tools/count-resources (1.12.5): how many match, by tags of the index (400 for others).

    `body` is Orthanc's own; `count` is the same with arguments. CaseSensitive cannot be true here (400).
    """
    _known(body, _COUNTED, "/tools/count-resources")
    return Call(
        "POST",
        ("tools", "count-resources"),
        lambda answer: int(json_object(answer)["Count"]),
        json=dict(body),
        repeat=True,
        needs=tuple(dict.fromkeys(("count-resources", *_needs(body)))),
    )


def count(
    level: Level,
    query: Mapping[str, str] | None = None,
    *,
    labels: Sequence[str] | None = None,
    labels_constraint: LabelsConstraint = "All",
    metadata: Mapping[str, str] | None = None,
    parent_patient: str | None = None,
    parent_study: str | None = None,
    parent_series: str | None = None,
) -> Call[int]:
    """POST /tools/count-resources (1.12.5) with arguments, as `search` has them: how many match."""
    if query is not None and not isinstance(query, Mapping):
        raise QueryError("query is {tag: text}.")
    body: Json = {"Level": level, "Query": dict(query or {}), **_narrowed(labels, labels_constraint, metadata)}
    return count_resources(body | _parents(parent_patient, parent_study, parent_series))


def lookup(value: str) -> Call[list[Json]]:
    """POST /tools/lookup: resources with this UID or PatientID, as {"ID", "Path", "Type"}; [] when there are none.

    Before 1.12.11 a PatientID also found those that begin with "_" or "%" and go on the same.
    """
    return Call("POST", ("tools", "lookup"), json_list, content=value.encode(), repeat=True)


def bulk_content(
    resources: Sequence[str], level: Level | None = None, *, metadata: bool = False, form: TagForm = "names"
) -> Call[list[Json]]:
    """POST /tools/bulk-content (1.9.4): many resources at once; IDs that do not exist are left out without a word.

    With `level`, the resources of that level above or below each ID. `form` is that of the main tags.
    """
    body: Json = {"Resources": listed(resources, "resources"), "Metadata": metadata, **_form(form)}
    if level is not None:
        segment_of(level)
        body["Level"] = level
    return Call("POST", ("tools", "bulk-content"), json_contents, json=body, repeat=True)


def _known(body: Mapping[str, Any], fields: frozenset[str] | set[str], where: str) -> None:
    unknown = sorted(set(body) - fields)
    if unknown:
        raise QueryError(f"{where} has no field {unknown[0]!r}; Orthanc would ignore it and match more.")
    segment_of(body.get("Level", ""))
    if not isinstance(body.get("Query", {}), Mapping):
        raise QueryError("Query is {tag: text}.")
    empty = [name for name in ("MetadataQuery", *_PARENTS) if name in body and not body[name]]
    if "Labels" in body and not listed(body["Labels"], "Labels") and body.get("LabelsConstraint") != "None":
        empty.append("Labels")
    if empty:
        raise QueryError(f"{empty[0]} is empty, and would match everything; leave it out.")
    if "LabelsConstraint" in body:
        one_of(body["LabelsConstraint"], get_args(LabelsConstraint), "LabelsConstraint")
    content = body.get("ResponseContent", [])
    for item in content:
        one_of(item, get_args(ResponseContent), "ResponseContent")
    if body.get("RequestedTags") and not (body.get("Expand") or "RequestedTags" in content):
        raise QueryError('RequestedTags come with Expand, or with "RequestedTags" in ResponseContent, only.')
    for name in ("Since", "Limit"):
        if body.get(name) is not None and (not isinstance(body[name], int) or body[name] < (name == "Limit")):
            raise QueryError("Since is 0 or more, and Limit 1 or more: 0 is nothing on 1.10 and everything on 1.12.5.")


def _needs(body: Mapping[str, Any]) -> tuple[Feature, ...]:
    needs = [_FEATURES[name] for name in body if name in _FEATURES]
    if "IsProtected" in body.get("ResponseContent", ()):
        needs.append("response-protected")
    if body.get("LabelsConstraint") == "None" and not body.get("Labels"):
        needs.append("labels-none")
    return tuple(dict.fromkeys(needs))


def _narrowed(labels: Sequence[str] | None, constraint: LabelsConstraint, metadata: Mapping[str, str] | None) -> Json:
    body: Json = {}
    if labels is not None:
        one_of(constraint, get_args(LabelsConstraint), "labels_constraint")
        if isinstance(labels, str) or (not labels and constraint != "None"):
            raise QueryError("labels is a list of names, and not empty: an empty one would match everything.")
        body |= {"Labels": list(labels), "LabelsConstraint": constraint}
    elif constraint != "All":
        raise QueryError("labels_constraint says how labels match; give labels with it.")
    if metadata:
        body["MetadataQuery"] = dict(metadata)
    return body


def _parents(patient: str | None, study: str | None, series: str | None) -> Json:
    given = {"ParentPatient": patient, "ParentStudy": study, "ParentSeries": series}
    return {key: value for key, value in given.items() if value is not None}


def _form(form: TagForm) -> Json:
    form_flags(form)
    return {} if form == "names" else {form.capitalize(): True}
