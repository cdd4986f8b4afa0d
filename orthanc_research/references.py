"""Which objects on the server point at which instances: segmentations, contours, reports, doses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from orthanc_research import search
from orthanc_research.bulk import contents, pages
from orthanc_research.errors import NotFoundError
from orthanc_research.parallel import thread_map
from orthanc_research.pixels import POINTING, references_of
from orthanc_research.rest import Rest
from orthanc_research.tables import Pointer, like_uid, parse_criteria, plan_find

__all__ = ["references"]

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Series:
    id: str
    uid: str
    modality: str
    patient: str

    @property
    def points(self) -> bool:
        return self.modality in POINTING


def references(rest: Rest, series: Sequence[str], *, workers: int) -> list[Pointer]:
    """What these series point at where they are no images, and what points at those that are: see `Orthanc.references`.

    `NotFoundError` for a series that is no longer there.
    """
    given = _series(rest, series)
    lost = len(set(series) - set(given))
    if lost:
        raise NotFoundError(f"{lost} of {len(set(series))} series are no longer on this Orthanc; find them again.")
    images = {each.id: each for each in given.values() if not each.points}
    pointing = {each.id: each for each in given.values() if each.points}
    if images:
        patients = sorted({each.patient for each in images.values()})
        beside = _series(rest, patients)
        pointing |= {each.id: each for each in beside.values() if each.points}
    reads = thread_map(lambda each: _read(rest, each), pointing.values(), workers=workers, fatal=(Exception,))
    with closing(reads):
        found = [pointer for outcome in reads for pointer in outcome.get()]
    targets = _targets(rest, {pointer.target_uid for pointer in found})
    aimed = [
        _aimed(pointer, targets.get((pointing[pointer.series].patient, pointer.target_uid), ())) for pointer in found
    ]
    shown = {(each.patient, each.uid) for each in images.values()}
    return [
        pointer
        for pointer in aimed
        if pointer.series in given
        or pointer.target_series in images
        or (pointing[pointer.series].patient, pointer.target_series_uid) in shown
    ]


def _series(rest: Rest, ids: Iterable[str]) -> dict[str, _Series]:
    found = list(contents(rest, ids, "Series"))
    parents = (str(each["ParentStudy"]) for each in found)
    studies = {str(value["ID"]): value for value in contents(rest, parents, "Study")}
    return {
        str(each["ID"]): _Series(
            str(each["ID"]),
            str(each["MainDicomTags"].get("SeriesInstanceUID") or "").strip(" \0"),
            str(each["MainDicomTags"].get("Modality") or "").strip(" \0"),
            str(studies[each["ParentStudy"]]["ParentPatient"]),
        )
        for each in found
        if each["ParentStudy"] in studies
    }


def _read(rest: Rest, series: _Series) -> list[Pointer]:
    """What the instances of one series point at, without knowing whether that is here."""
    return [
        Pointer(
            instance=instance,
            sop_uid=str(header.get("0008,0018") or "").strip(" \0"),
            modality=series.modality,
            series=series.id,
            target_uid=reference.sop_uid,
            target_class=reference.sop_class,
            target_series_uid=reference.series_uid,
        )
        for instance, header in sorted(rest.series.instances_tags(series.id).items())
        for reference in references_of(header)
    ]


def _targets(rest: Rest, uids: Iterable[str]) -> dict[tuple[str, str], list[tuple[_Series, str]]]:
    """{(patient, SOPInstanceUID): its series and Orthanc ID}: a copy that kept its UIDs is another patient's."""
    listed = sorted(uid for uid in uids if like_uid(uid))
    found: list[Json] = []
    for page in pages(listed):
        plan = plan_find(
            "Instance",
            query=parse_criteria("Instance", {"SOPInstanceUID": page}),
            columns=("SOPInstanceUID", "ParentSeries"),
            capabilities=rest.capabilities(),
        )
        found += search.answers(rest, plan)[0]
    series = _series(rest, (str(each["ParentSeries"]) for each in found))
    targets: dict[tuple[str, str], list[tuple[_Series, str]]] = {}
    for each in found:
        parent = series.get(each["ParentSeries"])
        if parent is not None:
            uid = str(each["MainDicomTags"]["SOPInstanceUID"]).strip(" \0")
            targets.setdefault((parent.patient, uid), []).append((parent, str(each["ID"])))
    return targets


def _aimed(pointer: Pointer, targets: Sequence[tuple[_Series, str]]) -> Pointer:
    """With what it points at; a UID that occurs in several series is meant in the one that is named."""
    if not targets:
        return pointer
    series, instance = min(targets, key=lambda each: (each[0].uid != pointer.target_series_uid, each[1]))
    return pointer._replace(target=instance, target_series=series.id)
