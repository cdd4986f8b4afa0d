"""What an Orthanc can do, decided by its version before anything is sent.

Orthanc ignores options it does not know and answers 200 (ORTHANC: every version up to 1.13), so an option that this
server lacks would silently widen a query. `FEATURES` is the one table of what came when; the dates are Orthanc's
changelog's, and the suite holds them against real servers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from orthanc_research.errors import ResponseError, UnsupportedError

__all__ = ["FEATURES", "Capabilities", "Feature"]

Feature = Literal[
    "requested-tags",
    "labels",
    "extended-find",
    "count-resources",
    "extended-changes",
    "profile-2023b",
    "keep-labels",
    "c-get",
    "file-transcode",
    "bulk-delete-levels",
    "move-job",
    "store-override",
    "job-output-delete",
    "create-3d",
    "job-delete",
    "accepted-sop-classes",
    "archive-filename",
    "lossy-quality",
    "encapsulate-jpeg",
    "response-protected",
    "job-user-data",
    "archive-utf8",
    "labels-none",
    "reconstruct-files",
    "reconstruct-level",
    "metadata-numeric",
    "children-ids",
    "whole-tags",
    "attachment-range",
    "anonymize-transcode",
    "modify-parents",
]

# feature → (first version, what a sentence calls it)
FEATURES: Mapping[Feature, tuple[tuple[int, ...], str]] = MappingProxyType(
    {
        "requested-tags": ((1, 11, 0), "tags requested within a find (RequestedTags)"),
        "labels": ((1, 12, 0), "labels"),
        "profile-2023b": ((1, 12, 1), "the 2023b confidentiality profile"),
        "file-transcode": ((1, 12, 2), "transcoding of a file"),
        "keep-labels": ((1, 12, 3), "KeepLabels"),
        "extended-find": ((1, 12, 5), "ordering, parents, metadata and response content within a find"),
        "count-resources": ((1, 12, 5), "counting without listing"),
        "extended-changes": ((1, 12, 5), "changes filtered by type"),
        "c-get": ((1, 12, 6), "C-GET"),
        "bulk-delete-levels": ((1, 13, 0), "bulk deletion by level"),
        # It came with 1.11.0, but 1.12.7 hangs on it and then answers no request that writes.
        "reconstruct-files": ((1, 13, 0), "reconstruction of files (earlier versions ignore it or hang)"),
        "metadata-numeric": ((1, 12, 0), "metadata by number"),
        "children-ids": ((1, 12, 2), "the IDs of children without their content"),
        "reconstruct-level": ((1, 12, 4), "reconstruction of one level"),
        "whole-tags": ((1, 12, 4), "tags after the pixel data"),
        "attachment-range": ((1, 12, 5), "a part of an attachment"),
        "anonymize-transcode": ((1, 12, 7), "transcoding of an anonymized instance"),
        "move-job": ((1, 11, 1), "C-MOVE as a job"),
        "modify-parents": ((1, 11, 2), "a new PatientID for a study, and a changed patient that keeps its own"),
        "store-override": ((1, 11, 3), "another title, host or port for one C-STORE"),
        "job-output-delete": ((1, 12, 1), "deletion of what a job left behind"),
        "create-3d": ((1, 12, 1), "encapsulated 3D models"),
        "job-delete": ((1, 12, 2), "deletion of a job"),
        "accepted-sop-classes": ((1, 12, 6), "the list of accepted SOP classes"),
        "archive-filename": ((1, 12, 7), "a name for an archive"),
        "lossy-quality": ((1, 12, 7), "a quality for lossy transcoding"),
        "encapsulate-jpeg": ((1, 12, 7), "a JPEG stored as it is"),
        "response-protected": ((1, 12, 8), "IsProtected within a find"),
        "job-user-data": ((1, 12, 9), "user data of a job"),
        "archive-utf8": ((1, 12, 11), "UTF-8 names within an archive"),
        "labels-none": ((1, 12, 11), "resources without any label"),
    }
)


def _numbers(version: str) -> tuple[int, ...]:
    # Compared as numbers: 1.13.0 is newer than 1.12.7, although "1.13" sorts before "1.2" as text.
    match = re.match(r"\d+(?:\.\d+)*", version)
    if match:
        return tuple(int(part) for part in match[0].split("."))
    # Builds from the development branch call themselves "mainline-<hash>": newer than every release.
    return (999,) if version.startswith("mainline") else (0,)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """A frozen reading of `GET /system`. Fields that a version does not report mean that it lacks the feature.

    `database` is the plugin of the index (None for the built-in SQLite, which every version here has).
    """

    version: str
    api: int = 0
    name: str = ""
    aet: str = ""
    dicom_port: int = 0
    extended_find: bool = False
    extended_changes: bool = False
    labels: bool = False
    main_tags: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    database: str | None = None

    @classmethod
    def from_system(cls, system: Mapping[str, Any]) -> Capabilities:
        """Read the answer of `GET /system`; `ResponseError` when it is not one."""
        version = system.get("Version") if isinstance(system, Mapping) else None
        if not isinstance(version, str):
            raise ResponseError("The server answers, but not as an Orthanc does: its /system names no Version.")
        extras = system.get("Capabilities") or {}
        tags = system.get("MainDicomTags") or {}
        return cls(
            version=version,
            api=_whole(system.get("ApiVersion")),
            name=str(system.get("Name") or ""),
            aet=str(system.get("DicomAet") or ""),
            dicom_port=_whole(system.get("DicomPort")),
            extended_find=bool(extras.get("HasExtendedFind")) if isinstance(extras, Mapping) else False,
            extended_changes=bool(extras.get("HasExtendedChanges")) if isinstance(extras, Mapping) else False,
            labels=bool(system.get("HasLabels")),
            main_tags=MappingProxyType(
                {level: tuple(value.split(";")) for level, value in tags.items() if isinstance(value, str)}
                if isinstance(tags, Mapping)
                else {}
            ),
            database=system.get("DatabaseBackendPlugin"),
        )

    def has(self, feature: Feature) -> bool:
        """True when this server has the feature. What the server says of its database counts beside its version."""
        if feature in ("labels", "labels-none") and not self.labels:
            return False
        if feature == "extended-find" and not self.extended_find:
            return False
        if feature == "extended-changes" and not self.extended_changes:
            return False
        return _numbers(self.version) >= FEATURES[feature][0]

    def require(self, feature: Feature) -> None:
        """Raise `UnsupportedError` when this server lacks the feature."""
        if self.has(feature):
            return
        first, words = FEATURES[feature]
        needed = ".".join(map(str, first))
        raise UnsupportedError(
            f"This Orthanc is version {self.version}; {words} needs {needed} or later"
            + (" and a database that supports it." if _numbers(self.version) >= first else "."),
            found=self.version,
            needed=needed,
        )


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
