"""What a plan and a run go by: the key, the profile, and the two places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orthanc_research.deid import Key, Profile
from orthanc_research.errors import QueryError
from orthanc_research.orthanc import Orthanc
from orthanc_research.release._places import Source, Target, about_of
from orthanc_research.release._server import OrthancSource, OrthancTarget
from orthanc_research.release._tree import FolderSource, FolderTarget

__all__ = ["Setting", "setting"]


@dataclass(frozen=True)
class Setting:
    """`source_about` and `target_about` are what the journal remembers of the places."""

    key: Key = field(repr=False)
    profile: Profile
    source: Source = field(repr=False)
    target: Target = field(repr=False)
    source_about: Mapping[str, str]
    target_about: Mapping[str, str]


def setting(key: Key, profile: Profile, source: Any, target: Any, folder: Path) -> Setting:
    """The places, opened; `QueryError` for places that would swallow each other, or the project."""
    from_, to = about_of(source, "source"), about_of(target, "target")
    if not isinstance(profile, Profile):
        raise QueryError("profile is a deid.Profile.")
    _check_apart(from_, to, folder)
    return Setting(
        key,
        profile,
        OrthancSource(source) if isinstance(source, Orthanc) else FolderSource(from_["place"]),
        OrthancTarget(target) if isinstance(target, Orthanc) else FolderTarget(to["place"]),
        from_,
        to,
    )


def _check_apart(source: Mapping[str, str], target: Mapping[str, str], project: Path) -> None:
    home = project.resolve()
    if source["kind"] == "folder" and home.is_relative_to(source["place"]):
        raise QueryError("The project's folder is inside the source: give the folders with images, or move it.")
    if target["kind"] != "folder":
        return
    goal = Path(target["place"])
    if goal.is_relative_to(home) or home.is_relative_to(goal):
        raise QueryError("The target and the project's folder must lie apart: the project knows the patients.")
    if source["kind"] == "folder":
        origin = Path(source["place"])
        if goal.is_relative_to(origin) or origin.is_relative_to(goal):
            raise QueryError("The source and the target are two folders, neither in the other.")
