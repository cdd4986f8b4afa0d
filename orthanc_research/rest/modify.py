"""Routes that make changed copies: anonymize and modify at every level, split and merge of studies.

A job copies; it does not change what is stored. None of them is sent twice, because each call makes new UIDs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError
from orthanc_research.rest._call import Call, Level, json_object, raw, segment_of
from orthanc_research.rest._modification import DicomVersion, anonymization, changes, job, transcoding

__all__ = ["anonymize", "anonymize_instance", "merge", "modify", "modify_instance", "split"]

Json = dict[str, Any]
Needs = tuple[Feature, ...]


def anonymize(
    level: Level,
    resource: str,
    *,
    replace: Mapping[str, Any] | None = None,
    keep: Sequence[str] = (),
    remove: Sequence[str] = (),
    keep_private_tags: bool = False,
    dicom_version: DicomVersion | None = None,
    private_creator: str | None = None,
    force: bool = False,
    keep_source: bool = True,
    keep_labels: bool = False,
    transcode: str | None = None,
    lossy_quality: int | None = None,
    permissive: bool = False,
    synchronous: bool = False,
    priority: int = 0,
    user_data: Any = None,
) -> Call[Json]:
    """POST /{level}/{id}/anonymize: an anonymized copy, as a job: {"ID", "Path"}, or its content when synchronous.

    The content has "ID", "Path", "PatientID" (the ORTHANC ID of the new patient), "InstancesCount" and
    "FailedInstancesCount". `force` is what Orthanc wants before it keeps or replaces identifiers (else a 400, its 8). A
    replaced tag is taken out of the recursive rule: its originals stay inside sequences. Two calls give one patient two
    PatientIDs. `dicom_version` "2023b" needs 1.12.1, `keep_labels` (of
    patients, studies and series, not of instances) 1.12.3, `lossy_quality` 1.12.7, `user_data` 1.12.9.
    `transcode` makes the server encode, which can end 1.12.7 with GDCM. `permissive` lets instances fail without a word
    and is refused together with `keep_source=False`, which deletes the sources. An unknown ID is a `NotFoundError`,
    from 1.13 a `ServerError` (400, Orthanc's 3); an unknown tag a `ServerError` (500, Orthanc's 27).
    """
    body, needs = anonymization(
        replace=replace,
        keep=keep,
        remove=remove,
        keep_private_tags=keep_private_tags,
        dicom_version=dicom_version,
        private_creator=private_creator,
        force=force,
    )
    if keep_labels:
        body["KeepLabels"] = True
        needs += ("keep-labels",)
    encoding, more = transcoding(transcode, lossy_quality)
    return _submit(
        (segment_of(level), resource, "anonymize"),
        {**body, **encoding},
        needs + more,
        *(keep_source, permissive, synchronous, priority, user_data),
    )


def modify(
    level: Level,
    resource: str,
    *,
    replace: Mapping[str, Any] | None = None,
    remove: Sequence[str] = (),
    keep: Sequence[str] = (),
    remove_private_tags: bool = False,
    private_creator: str | None = None,
    force: bool = False,
    keep_source: bool = True,
    keep_labels: bool = False,
    transcode: str | None = None,
    lossy_quality: int | None = None,
    permissive: bool = False,
    synchronous: bool = False,
    priority: int = 0,
    user_data: Any = None,
) -> Call[Json]:
    """POST /{level}/{id}/modify: a changed copy with new UIDs, as a job: {"ID", "Path"}, or its content if synchronous.

    `keep` names UIDs to keep (StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID), which makes two things with one
    name; keeping all three needs a server that overwrites. `force` goes with replacing or keeping identifiers. 1.10.1
    refuses a patient without a new PatientID, and a new PatientID below (a 400 when synchronous, else a failed job);
    later versions put the copies of such a patient under the same patient. Options otherwise, and errors, as in
    `anonymize`. `QueryError` when there is no change to make.
    """
    if not (replace or remove or remove_private_tags or transcode):
        raise QueryError("There is no change to make: give replace, remove, remove_private_tags or transcode.")
    encoding, needs = transcoding(transcode, lossy_quality)
    if keep_labels:
        encoding["KeepLabels"] = True
        needs += ("keep-labels",)
    return _submit(
        (segment_of(level), resource, "modify"),
        {
            **changes(replace, keep, remove, private_creator, force),
            "RemovePrivateTags": remove_private_tags,
            **encoding,
        },
        needs,
        *(keep_source, permissive, synchronous, priority, user_data),
    )


def split(
    study: str,
    *,
    series: Sequence[str] = (),
    instances: Sequence[str] = (),
    replace: Mapping[str, Any] | None = None,
    remove: Sequence[str] = (),
    keep_source: bool = True,
    permissive: bool = False,
    synchronous: bool = False,
    priority: int = 0,
    user_data: Any = None,
) -> Call[Json]:
    """POST /studies/{id}/split: some of its series or instances into a new study, as a job: {"ID", "Path"}.

    Synchronous: the job's content with "TargetStudy" and "TargetStudyUID". `instances` needs 1.9.4. There is no
    KeepLabels here: 1.12.7 and 1.13.0 take it and keep none. Orthanc itself would delete the sources; here they stay
    unless `keep_source=False`. `replace` and `remove` take tags of the patient and study modules only (else 400,
    Orthanc's 3). A series of another study: `NotFoundError`.
    """
    if not (series or instances):
        raise QueryError("There is nothing to split off: give series or instances.")
    if isinstance(series, str) or isinstance(instances, str):
        raise QueryError("series and instances are lists of IDs.")
    body: Json = {"Replace": dict(replace or {}), "Remove": list(remove)}
    body |= {name: list(ids) for name, ids in (("Series", series), ("Instances", instances)) if ids}
    return _submit(("studies", study, "split"), body, (), *(keep_source, permissive, synchronous, priority, user_data))


def merge(
    study: str,
    resources: Sequence[str],
    *,
    keep_source: bool = True,
    permissive: bool = False,
    synchronous: bool = False,
    priority: int = 0,
    user_data: Any = None,
) -> Call[Json]:
    """POST /studies/{id}/merge: other studies, series or instances (1.9.4) into this study, as a job: {"ID", "Path"}.

    Synchronous: the job's content with "TargetStudy". What comes in gets the patient and study tags of this study.
    Orthanc itself would delete the sources; here they stay unless `keep_source=False`. An unknown resource, and the
    study itself: `NotFoundError`.
    """
    if isinstance(resources, str) or not resources:
        raise QueryError("resources is a list of at least one ID.")
    body: Json = {"Resources": list(resources)}
    return _submit(("studies", study, "merge"), body, (), *(keep_source, permissive, synchronous, priority, user_data))


def anonymize_instance(
    instance: str,
    *,
    replace: Mapping[str, Any] | None = None,
    keep: Sequence[str] = (),
    remove: Sequence[str] = (),
    keep_private_tags: bool = False,
    dicom_version: DicomVersion | None = None,
    private_creator: str | None = None,
    force: bool = False,
    transcode: str | None = None,
    lossy_quality: int | None = None,
) -> Call[bytes]:
    """POST /instances/{id}/anonymize: an anonymized DICOM file, stored nowhere; its UIDs are new in each call.

    Options as for a study. `transcode` needs 1.12.7 (1.10.1 ignores it here). Unknown ID: `NotFoundError`.
    """
    body, needs = anonymization(
        replace=replace,
        keep=keep,
        remove=remove,
        keep_private_tags=keep_private_tags,
        dicom_version=dicom_version,
        private_creator=private_creator,
        force=force,
    )
    encoding, more = transcoding(transcode, lossy_quality)
    needs += (*more, "anonymize-transcode") if encoding else ()
    return Call("POST", ("instances", instance, "anonymize"), raw, json={**body, **encoding}, binary=True, needs=needs)


def modify_instance(
    instance: str,
    *,
    replace: Mapping[str, Any] | None = None,
    remove: Sequence[str] = (),
    keep: Sequence[str] = (),
    remove_private_tags: bool = False,
    private_creator: str | None = None,
    force: bool = False,
    transcode: str | None = None,
    lossy_quality: int | None = None,
) -> Call[bytes]:
    """POST /instances/{id}/modify: a changed DICOM file, stored nowhere, with a new SOPInstanceUID unless kept.

    Options as for a study; with nothing to change, a copy with a new UID. Unknown ID: `NotFoundError`.
    """
    encoding, needs = transcoding(transcode, lossy_quality)
    body = {**changes(replace, keep, remove, private_creator, force), "RemovePrivateTags": remove_private_tags}
    return Call("POST", ("instances", instance, "modify"), raw, json={**body, **encoding}, binary=True, needs=needs)


def _submit(
    path: tuple[str, ...],
    body: Json,
    needs: Needs,
    keep_source: bool,
    permissive: bool,
    synchronous: bool,
    priority: int,
    user_data: Any,
) -> Call[Json]:
    fields, sent = job(
        keep_source=keep_source,
        permissive=permissive,
        synchronous=synchronous,
        priority=priority,
        user_data=user_data,
    )
    return Call("POST", path, json_object, json={**body, **fields}, needs=needs + sent.needs, patience=sent.patience)
