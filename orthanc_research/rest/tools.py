"""Routes under /tools: the ones that see the whole archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError
from orthanc_research.rest._call import Area, Call, Level, M, json_list, json_object, nothing, route, text

__all__ = ["DICOM_VERSIONS", "Tools"]

Json = dict[str, Any]

DICOM_VERSIONS = ("2008", "2017c", "2021b", "2023b")

# Orthanc ignores fields that it does not know and answers everything: each goes only to a server that knows it.
_FIND_FEATURES: Mapping[str, Feature] = {
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
_FIND_PLAIN = frozenset({"Level", "Query", "Expand", "Limit", "Since", "CaseSensitive", "Short", "Full"})


def find(body: Mapping[str, Any]) -> Call[list[Any]]:
    """POST /tools/find: the resources that match; objects with Expand or ResponseContent, IDs without.

    `body` is Orthanc's own. A field that this server would ignore is an `UnsupportedError`, one that no version knows a
    `QueryError`.
    """
    unknown = sorted(set(body) - _FIND_PLAIN - set(_FIND_FEATURES))
    if unknown:
        raise QueryError(f"/tools/find has no field {unknown[0]!r}; Orthanc would ignore it and match more.")
    needs = tuple(dict.fromkeys(_FIND_FEATURES[name] for name in body if name in _FIND_FEATURES))
    return Call("POST", ("tools", "find"), json_list, json=dict(body), repeat=True, needs=needs)


def count_resources(body: Mapping[str, Any]) -> Call[int]:
    """POST /tools/count-resources (1.12.5): how many match, by tags of the index."""
    return Call(
        "POST",
        ("tools", "count-resources"),
        lambda answer: int(json_object(answer)["Count"]),
        json=dict(body),
        repeat=True,
        needs=("count-resources",),
    )


def lookup(value: str) -> Call[list[Json]]:
    """POST /tools/lookup: resources with this UID or PatientID, as {"ID", "Path", "Type"}; [] when there are none."""
    return Call("POST", ("tools", "lookup"), json_list, content=value.encode(), repeat=True)


def bulk_content(resources: Sequence[str], level: Level | None = None, *, metadata: bool = False) -> Call[list[Json]]:
    """POST /tools/bulk-content (1.9.4): many resources at once; IDs that do not exist are left out without a word.

    With `level`, the resources of that level above or below each ID.
    """
    body: Json = {"Resources": list(resources), "Metadata": metadata}
    if level is not None:
        body["Level"] = level
    return Call("POST", ("tools", "bulk-content"), json_list, json=body, repeat=True)


def bulk_anonymize(
    resources: Sequence[str],
    *,
    replace: Mapping[str, str] | None = None,
    keep: Sequence[str] = (),
    remove: Sequence[str] = (),
    keep_private_tags: bool = False,
    dicom_version: str | None = None,
    force: bool = False,
    priority: int = 0,
) -> Call[Json]:
    """POST /tools/bulk-anonymize (1.9.4) as a job: {"ID", "Path"}.

    Not repeatable: each call makes new UIDs. `force` is what Orthanc wants before it keeps or replaces identifiers. The
    sources always stay (KeepSource is sent), and an instance that fails fails the job (Permissive is never sent).
    """
    body: Json = {
        "Resources": list(resources),
        "Replace": dict(replace or {}),
        "Keep": list(keep),
        "Remove": list(remove),
        "KeepPrivateTags": keep_private_tags,
        "KeepSource": True,
        "Force": force,
        "Synchronous": False,
        "Priority": priority,
    }
    if dicom_version is not None:
        if dicom_version not in DICOM_VERSIONS:
            raise QueryError(f"dicom_version is one of {', '.join(DICOM_VERSIONS)}.")
        body["DicomVersion"] = dicom_version
    needs: tuple[Feature, ...] = ("profile-2023b",) if dicom_version == "2023b" else ()
    return Call("POST", ("tools", "bulk-anonymize"), json_object, json=body, needs=needs)


def bulk_delete(resources: Sequence[str]) -> Call[None]:
    """POST /tools/bulk-delete (1.9.4): all of them, with what is below; IDs that do not exist are passed over."""
    return Call(
        "POST", ("tools", "bulk-delete"), nothing, json={"Resources": list(resources)}, repeat=True, patience=600
    )


def now() -> Call[str]:
    """GET /tools/now: the server's clock, UTC, as YYYYMMDDThhmmss."""
    return Call("GET", ("tools", "now"), text)


class Tools(Area[M]):
    """`rest.tools`."""

    find = route(find)
    count_resources = route(count_resources)
    lookup = route(lookup)
    bulk_content = route(bulk_content)
    bulk_anonymize = route(bulk_anonymize)
    bulk_delete = route(bulk_delete)
    now = route(now)
