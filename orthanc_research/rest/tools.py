"""Routes under /tools: the ones that see the whole archive, and those of the server itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError
from orthanc_research.rest import tools_archives, tools_find, tools_server
from orthanc_research.rest._call import Area, Call, Level, M, json_object, nothing, route, segment_of
from orthanc_research.rest._modification import DICOM_VERSIONS, anonymization, changes, job, transcoding
from orthanc_research.rest._submission import listed

__all__ = ["DICOM_VERSIONS", "Tools"]

Json = dict[str, Any]


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
    body, needs = anonymization(
        replace=replace,
        keep=keep,
        remove=remove,
        keep_private_tags=keep_private_tags,
        dicom_version=dicom_version,
        force=force,
    )
    body |= {"Resources": list(resources), "KeepSource": True, "Synchronous": False, "Priority": priority}
    return Call("POST", ("tools", "bulk-anonymize"), json_object, json=body, needs=needs)


def bulk_modify(
    resources: Sequence[str],
    *,
    replace: Mapping[str, Any] | None = None,
    remove: Sequence[str] = (),
    keep: Sequence[str] = (),
    level: Level | None = None,
    remove_private_tags: bool = False,
    private_creator: str | None = None,
    keep_source: bool = True,
    force: bool = False,
    permissive: bool = False,
    transcode: str | None = None,
    lossy_quality: int | None = None,
    synchronous: bool = False,
    priority: int = 0,
    user_data: Any = None,
) -> Call[Json]:
    """POST /tools/bulk-modify (1.9.4): modified copies, as a job: {"ID", "Path"}, or its content when synchronous.

    Not repeatable: each call makes new UIDs. `level` (1.9.7) is what gets new UIDs from there down; without it Orthanc
    goes by the identifiers in `replace`, else by instances. `force` is what it wants before it replaces or keeps
    identifiers; 1.10.1 refuses (400) to modify patients without a new PatientID. `keep_source=False` deletes the
    sources, and does not go with `permissive`, which would delete those of what failed. An unknown ID is a 404, from
    1.13 a 400 (Orthanc's 3), an unknown tag a 500 (Orthanc's 27).
    """
    if not resources:
        raise QueryError("There is nothing to modify.")
    if not (replace or remove or keep or remove_private_tags or transcode):
        raise QueryError("There is no change to make: give replace, remove, remove_private_tags or transcode.")
    encoded, needs = transcoding(transcode, lossy_quality)
    fields, sent = job(
        keep_source=keep_source,
        permissive=permissive,
        synchronous=synchronous,
        priority=priority,
        user_data=user_data,
    )
    body: Json = {
        "Resources": list(resources),
        **changes(replace, keep, remove, private_creator, force),
        "RemovePrivateTags": remove_private_tags,
        **encoded,
        **fields,
    }
    if level is not None:
        segment_of(level)
        body["Level"] = level
    return Call(
        "POST", ("tools", "bulk-modify"), json_object, json=body, needs=(*needs, *sent.needs), patience=sent.patience
    )


def bulk_delete(resources: Sequence[str | tuple[Level, str]]) -> Call[None]:
    """POST /tools/bulk-delete (1.9.4): all of them, with what is below; IDs that do not exist are passed over.

    A resource is an ID, or (level, ID) from 1.13.0, where an ID names nothing at another level.
    """
    items: list[str | Json] = []
    for resource in listed(resources, "resources"):
        if isinstance(resource, str):
            items.append(resource)
        else:
            segment_of(resource[0])
            items.append({"Level": resource[0], "ID": resource[1]})
    needs: tuple[Feature, ...] = () if all(isinstance(item, str) for item in items) else ("bulk-delete-levels",)
    return Call(
        "POST", ("tools", "bulk-delete"), nothing, json={"Resources": items}, repeat=True, patience=600, needs=needs
    )


class Tools(Area[M]):
    """`rest.tools`."""

    find = route(tools_find.find)
    search = route(tools_find.search)
    count_resources = route(tools_find.count_resources)
    count = route(tools_find.count)
    lookup = route(tools_find.lookup)
    bulk_content = route(tools_find.bulk_content)
    bulk_anonymize = route(bulk_anonymize)
    bulk_modify = route(bulk_modify)
    bulk_delete = route(bulk_delete)

    create_archive = route(tools_archives.create_archive)
    create_archive_job = route(tools_archives.create_archive_job)
    create_media = route(tools_archives.create_media)
    create_media_job = route(tools_archives.create_media_job)
    create_dicom = route(tools_archives.create_dicom)
    create_dicom_series = route(tools_archives.create_dicom_series)

    now = route(tools_server.now)
    now_local = route(tools_server.now_local)
    generate_uid = route(tools_server.generate_uid)
    dicom_conformance = route(tools_server.dicom_conformance)
    default_encoding = route(tools_server.default_encoding)
    set_default_encoding = route(tools_server.set_default_encoding)
    accepted_transfer_syntaxes = route(tools_server.accepted_transfer_syntaxes)
    set_accepted_transfer_syntaxes = route(tools_server.set_accepted_transfer_syntaxes)
    accepted_sop_classes = route(tools_server.accepted_sop_classes)
    unknown_sop_class_accepted = route(tools_server.unknown_sop_class_accepted)
    set_unknown_sop_class_accepted = route(tools_server.set_unknown_sop_class_accepted)
    log_level = route(tools_server.log_level)
    set_log_level = route(tools_server.set_log_level)
    labels = route(tools_server.labels)
    metrics = route(tools_server.metrics)
    set_metrics = route(tools_server.set_metrics)
    metrics_prometheus = route(tools_server.metrics_prometheus)
    execute_script = route(tools_server.execute_script)
    dicom_echo = route(tools_server.dicom_echo)
    reconstruct = route(tools_server.reconstruct)
    invalidate_tags = route(tools_server.invalidate_tags)
