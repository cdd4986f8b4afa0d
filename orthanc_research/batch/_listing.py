"""Which instances are meant, as the server lists them, and the path that each is meant for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orthanc_research import resolve
from orthanc_research.batch._layout import Place, Places
from orthanc_research.batch._manifest import Entry
from orthanc_research.bulk import contents
from orthanc_research.errors import NotFoundError, QueryError, ResponseError
from orthanc_research.parallel import thread_map
from orthanc_research.rest import Rest
from orthanc_research.tables import Selection, is_uid

__all__ = ["Item", "files_of_series", "listed"]

# From so many instances on, a find for a series is cheaper than its part of a look-up by ID. For that one, 1.12.5 to
# 1.13.0 take the longer the more instances they have (1.12.7: 1,000 of 1,000 in 0.9 s, and in 0.1 s by ten finds).
_MANY = 20
_FAR = 25  # unless it has so many times more than were chosen
_DICOM = 1  # ContentType of a DICOM file among the attachments


@dataclass(frozen=True, slots=True)
class Item:
    """An instance as the server lists it, and the path that is meant for it."""

    place: Place
    path: str
    size: int
    file_uuid: str

    @property
    def id(self) -> str:
        return self.place.instance[1]

    def entry(self, path: str, size: int, md5: str) -> Entry:
        """Its line in the manifest."""
        uids = [uid if is_uid(uid) else "" for uid, _ in (self.place.instance, self.place.series, self.place.study)]
        series, study = self.place.series[1], self.place.study[1]
        return Entry(path, size, uids[0], self.id, self.file_uuid, uids[1], series, uids[2], study, md5)


def listed(rest: Rest, chosen: Selection, places: Places) -> dict[str, Item | None]:
    """{instance: where it goes}, None for chosen ones that are gone: a request per 1,000 studies, series, instances.

    From 1.12.5 on, one for each whole series that is large.
    """
    series = resolve.series_of(rest, chosen)
    try:
        parents = _contents(rest, [identifier for identifier, _ in series])
        _check_all([identifier for identifier, wanted in series if not wanted], parents)
        studies = _contents(rest, list(dict.fromkeys(str(value["ParentStudy"]) for value in parents.values())))
        pairs = [(key, each) for key, wanted in series for each in wanted or parents[key]["Instances"]]
        found: dict[str, Mapping[str, Any]] = {}
        if rest.capabilities().has("extended-find"):
            large = [key for key, wanted in series if _is_large(wanted, parents.get(key, {}).get("Instances", ()))]
            found = {key: value for outcome in thread_map(_of_series(rest), large) for key, value in outcome.get()}
        found |= _contents(rest, [instance for _, instance in pairs if instance not in found])
        items: dict[str, Item | None] = dict.fromkeys(chosen.ids if chosen.level == "Instance" else ())
        for key, instance in pairs:
            parent, value = parents.get(key, {}), found.get(instance, {})
            study = studies.get(str(parent.get("ParentStudy")), {})
            items[instance] = _item(value, parent, study, places) if value and parent and study else None
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, QueryError):
            raise
        raise ResponseError("The list of instances is not what Orthanc answers.") from error
    return items


def _item(instance: Mapping[str, Any], series: Mapping[str, Any], study: Mapping[str, Any], places: Places) -> Item:
    def tag(value: Mapping[str, Any], keyword: str) -> str:
        return str((value.get("MainDicomTags") or {}).get(keyword) or "").strip(" \0")

    place = Place(
        (tag(study, "StudyInstanceUID"), str(series["ParentStudy"])),
        (tag(series, "SeriesInstanceUID"), str(series["ID"])),
        (tag(instance, "SOPInstanceUID"), str(instance["ID"])),
        tag(series, "Modality"),
        tag(series, "SeriesNumber"),
    )
    return Item(place, places.of(place), int(instance["FileSize"]), str(instance["FileUuid"]))


def _is_large(wanted: Sequence[str], there: Sequence[str]) -> bool:
    """Whether a find is the cheaper way to these of a series, or to all of them."""
    return len(wanted or there) >= _MANY and len(there) <= _FAR * len(wanted or there)


def _of_series(rest: Rest) -> Callable[[str], list[tuple[str, Mapping[str, Any]]]]:
    """Its instances, as a look-up by ID would give them; a server that caps its answers gives some of them."""

    def find(series: str) -> list[tuple[str, Mapping[str, Any]]]:
        answers = rest.tools.search("Instance", parent_series=series, response_content=("MainDicomTags", "Attachments"))
        return [(str(value["ID"]), _with_file(value)) for value in answers]

    return find


def files_of_series(rest: Rest, series: str) -> dict[str, Mapping[str, Any]]:
    """{instance: its DICOM file as an attachment}, by one find (1.12.5); a server that caps its answers gives some."""
    answers = rest.tools.search("Instance", parent_series=series, response_content=("Attachments",))
    try:
        return {str(value["ID"]): _file(value) for value in answers}
    except (KeyError, TypeError, ValueError) as error:
        raise ResponseError("The list of attachments is not what Orthanc answers.") from error


def _with_file(value: Mapping[str, Any]) -> Mapping[str, Any]:
    file = _file(value)
    return {**value, "FileSize": file["UncompressedSize"], "FileUuid": file["Uuid"]}


def _file(value: Mapping[str, Any]) -> Mapping[str, Any]:
    (file,) = (each for each in value["Attachments"] if each["ContentType"] == _DICOM)
    return dict(file)


def _contents(rest: Rest, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    return {str(value["ID"]): value for value in contents(rest, ids)}


def _check_all(ids: Sequence[str], found: Mapping[str, Any]) -> None:
    lost = sum(identifier not in found for identifier in ids)
    if lost:
        raise NotFoundError(f"{lost} of {len(ids)} series are no longer on this Orthanc; find them again.")
