"""Where originals come from and copies go to: an Orthanc or a folder, each behind the same few verbs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from orthanc_research.errors import Error, QueryError
from orthanc_research.orthanc import Orthanc
from orthanc_research.progress import Progress
from orthanc_research.release._digest import Algorithm
from orthanc_research.release._facts import Facts

__all__ = ["Copy", "Kept", "PlaceError", "Removed", "Source", "Target", "about_of", "check_house", "reopened"]

Kept = Literal["stored", "same", "conflict"]
Removed = Literal["removed", "gone", "changed"]


_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[^/\\\s]+:[^/\\]*@")


class PlaceError(Error):
    """One instance cannot be read or kept; a sentence without its path."""


class Copy(NamedTuple):
    """A de-identified instance, by its new identifiers."""

    patient_id: str
    study: str
    series: str
    sop: str


class Source(Protocol):
    """Where originals are."""

    def facts(self, resources: Any, progress: Progress) -> Iterator[Facts]:
        """Every instance, or every one of the resources; what cannot be read as well."""

    def read(self, key: str) -> bytes:
        """A whole file; `PlaceError` or an `OrthancError` when it cannot be had."""

    def path(self, key: str) -> Path | None:
        """Where a worker process reads the file by itself; None where it must be given the bytes."""

    def remove(self, key: str, digest: str) -> Removed:
        """Delete an original, if it still has this digest."""


class Target(Protocol):
    """Where copies go; `algorithm` is that of its digests."""

    algorithm: Algorithm

    def there(self, copies: Sequence[Copy]) -> dict[str, str]:
        """{SOPInstanceUID: digest} of those that are there already, whoever put them there."""

    def partial(self, copy: Copy) -> Path | None:
        """The temporary file that a worker process writes for `keep`; None where `keep` wants the bytes."""

    def keep(self, copy: Copy, content: bytes | Path) -> Kept:
        """Store it: "stored", "same" (these bytes were there already) or "conflict" (others are, and stay)."""

    def read(self, copy: Copy) -> bytes:
        """What is stored; `PlaceError` or `NotFoundError` when it is gone."""

    def remove(self, copy: Copy, digest: str) -> Removed:
        """Delete it, if it has this digest."""


def about_of(given: Any, what: str) -> dict[str, str]:
    """How the journal remembers a place: no credentials but the name of a variable that holds them."""
    if isinstance(given, Orthanc):
        auth = given.rest.connection.auth
        return {"kind": "orthanc", "place": given.url, "auth": auth if isinstance(auth, str) else ""}
    if isinstance(given, str | os.PathLike):
        if _ADDRESS.match(str(given)):  # never echoed, nor made a folder of: there may be a password in it
            raise QueryError(f"{what} is an Orthanc: give Orthanc(url, auth=…), or the path of a folder.")
        return {"kind": "folder", "place": str(Path(given).expanduser().resolve())}
    raise QueryError(f"{what} is an Orthanc or the path of a folder.")


def check_house(path: str | os.PathLike[str], targets: Iterable[Mapping[str, str]]) -> None:
    """`QueryError` for a file of PHI that would be written among the copies."""
    goal = Path(path).expanduser().resolve()
    if any(about["kind"] == "folder" and goal.is_relative_to(about["place"]) for about in targets):
        raise QueryError("That is inside the target, and this shows who is who: write it somewhere else.")


def reopened(about: Mapping[str, str], given: Any, what: str) -> Any:
    """The place of an earlier run: the one that is given, which must be the same, or opened again."""
    if given is not None:
        if about_of(given, what)["place"] != about["place"]:
            raise QueryError(f"The run had another {what}: resume with the same one.")
        return given
    if about["kind"] == "folder":
        return about["place"]
    if about["auth"]:
        return Orthanc(about["place"], auth=about["auth"])
    if (os.environ.get("ORTHANC_URL") or "").rstrip("/") == about["place"]:
        return Orthanc()
    raise QueryError(f"The run's {what} is an Orthanc whose password is kept nowhere: give {what}=Orthanc(…).")
