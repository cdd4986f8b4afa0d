"""An Orthanc as a source, and as a target: what is stored is what was sent, by its MD5, or it is not stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

from orthanc_research import fetch, resolve
from orthanc_research.batch._listing import files_of_series
from orthanc_research.bulk import contents
from orthanc_research.errors import AccessError, NotFoundError, OrthancError, ResponseError, ServerError
from orthanc_research.orthanc import Orthanc
from orthanc_research.parallel import thread_map
from orthanc_research.progress import Progress
from orthanc_research.release._digest import Algorithm, digest_of, fits
from orthanc_research.release._facts import Facts, facts_of, unreadable
from orthanc_research.release._places import Copy, Kept, PlaceError, Removed
from orthanc_research.rest import Rest
from orthanc_research.tables import orthanc_id

__all__ = ["OrthancSource", "OrthancTarget"]


class OrthancSource:
    """The instances of an Orthanc, or of the resources that are chosen of it."""

    def __init__(self, orthanc: Orthanc) -> None:
        self._orthanc = orthanc
        self._rest = orthanc.rest
        self._gate = BoundedSemaphore(orthanc.workers)

    def facts(self, resources: Any, progress: Progress) -> Iterator[Facts]:
        """All tags of each series by one request, one more for its MD5s (before 1.12.5 one for each instance)."""
        if resources is None:
            series: list[tuple[str, tuple[str, ...]]] = [(each, ()) for each in sorted(self._rest.series.list())]
        else:
            series = resolve.series_of(self._rest, resolve.select(self._rest, resources))
        progress.total(len(series), "series")
        above = self._above([each for each, _ in series])
        work = thread_map(
            lambda unit: _series(self._rest, *unit, above.get(unit[0], ())),
            series,
            workers=self._orthanc.workers,
            progress=progress,
            fatal=(Exception,),
        )
        with closing(work) as outcomes:
            for outcome in outcomes:
                yield from outcome.get()
                progress.advance()

    def read(self, key: str) -> bytes:
        """The file, held against the server's MD5 where it keeps one; no more of them at a time than it may be asked.

        There may be more workers, since de-identification takes far longer than to read.
        """
        with self._gate:
            return _read(self._rest, key)

    def path(self, key: str) -> None:
        """It is no file here."""

    def remove(self, key: str, digest: str) -> Removed:
        """Delete the instance, and with the last one what is above it."""
        return _remove(self._rest, key, digest)

    def _above(self, series: Sequence[str]) -> dict[str, tuple[str, ...]]:
        parents = {str(value["ID"]): str(value["ParentStudy"]) for value in contents(self._rest, series)}
        studies = {str(value["ID"]): str(value["ParentPatient"]) for value in contents(self._rest, parents.values())}
        return {each: (each, study, studies.get(study, "")) for each, study in parents.items()}


class OrthancTarget:
    """An Orthanc that keeps what it gets as it is."""

    algorithm: Algorithm = "md5"

    def __init__(self, orthanc: Orthanc) -> None:
        self._rest = orthanc.rest

    def there(self, copies: Sequence[Copy]) -> dict[str, str]:
        """By their SeriesInstanceUIDs, under whatever patient: a look-up for each series, more where it is there."""
        wanted = {copy.sop for copy in copies}
        found: dict[str, str] = {}
        for uid in dict.fromkeys(copy.series for copy in copies):
            for series in self._ids(uid, "Series"):
                for instance, sop in self._instances(series):
                    if sop in wanted:
                        digest = _digest(self._rest, instance)
                        found[sop] = digest if found.get(sop, digest) == digest else "several"
        return found

    def partial(self, copy: Copy) -> None:
        """There is none."""

    def keep(self, copy: Copy, content: bytes | Path) -> Kept:
        """Send it, and ask for the MD5 of what is there then; what arrived changed is deleted again."""
        content = content if isinstance(content, bytes) else content.read_bytes()
        if self._overwrites:
            with suppress(NotFoundError):
                return "same" if fits(content, _digest(self._rest, _id(copy))) else "conflict"
        answer = self._rest.instances.upload(content)
        self._rest.find_caps.clear()  # what was learnt of a smaller archive
        status, instance = answer.get("Status"), str(answer.get("ID"))
        if status not in ("Success", "AlreadyStored"):
            raise PlaceError(f"The target did not store it: {status or 'no status'}.")
        if fits(content, _digest(self._rest, instance)):
            return "stored" if status == "Success" else "same"
        if status == "AlreadyStored":
            return "conflict"
        self._rest.instances.delete(instance)
        raise PlaceError("The target stores something else than it is sent (IngestTranscoding, or damage on the way).")

    def read(self, copy: Copy) -> bytes:
        """The file, held against the server's MD5 where it keeps one."""
        return _read(self._rest, _id(copy))

    def remove(self, copy: Copy, digest: str) -> Removed:
        """Delete the instance, and with the last one what is above it."""
        return _remove(self._rest, _id(copy), digest)

    @cached_property
    def _overwrites(self) -> bool:
        """Whether it may replace what it has (OverwriteInstances); old versions do not say."""
        return self._rest.system.read().get("OverwriteInstances") is not False

    def _ids(self, uid: str, level: str) -> list[str]:
        return [str(each["ID"]) for each in self._rest.tools.lookup(uid) if each["Type"] == level]

    def _instances(self, series: str) -> Iterator[tuple[str, str]]:
        for value in self._rest.series.children(series, "Instance"):
            yield str(value["ID"]), str((value.get("MainDicomTags") or {}).get("SOPInstanceUID") or "").strip(" \0")


def _id(copy: Copy) -> str:
    return orthanc_id(*copy)


def _remove(rest: Rest, instance: str, digest: str) -> Removed:
    try:
        if _digest(rest, instance) != digest:
            return "changed"
        rest.instances.delete(instance)
    except NotFoundError:
        return "gone"
    return "removed"


def _read(rest: Rest, instance: str) -> bytes:
    try:
        return fetch.file(rest, instance, verify=True)
    except fetch.DamagedError:  # it names the instance, and an Orthanc ID of the source is PHI
        raise PlaceError("What arrives is not what the server has stored: the MD5 differs.") from None
    except ResponseError as error:
        if str(error) != fetch.NO_MD5:
            raise
        return rest.instances.file(instance)  # whoever reads holds it against the journal


def _digest(rest: Rest, instance: str) -> str:
    try:
        return f"md5:{rest.instances.md5(instance).strip()}"
    except NotFoundError:  # this server keeps none (StoreMD5ForAttachments), or the instance is gone
        return digest_of(rest.instances.file(instance), "md5")


def _series(rest: Rest, series: str, chosen: tuple[str, ...], above: tuple[str, ...]) -> list[Facts]:
    files = _files(rest, series)
    wanted = chosen or tuple(sorted(files))
    tags = _tags(rest, series, wanted)
    found = []
    for instance in wanted:
        digest, size = files.get(instance, ("", 0))
        header = tags.get(instance)
        if header is None:
            found.append(
                unreadable(instance, "This Orthanc cannot read the file of this instance.", digest=digest, size=size)
            )
        else:
            found.append(facts_of(instance, header, digest, size, above))
    return found


def _files(rest: Rest, series: str) -> dict[str, tuple[str, int]]:
    """{instance: (digest, size)} of all instances of a series; a server that keeps no MD5 is asked for the files."""
    listed = {str(value["ID"]): int(value.get("FileSize") or 0) for value in rest.series.children(series, "Instance")}
    known: dict[str, str] = {}
    if rest.capabilities().has("extended-find"):
        md5s = {key: file.get("UncompressedMD5") for key, file in files_of_series(rest, series).items()}
        known = {key: f"md5:{md5}" for key, md5 in md5s.items() if md5}
    return {each: (known.get(each) or _digest_or_none(rest, each), size) for each, size in listed.items()}


def _digest_or_none(rest: Rest, instance: str) -> str:
    try:
        return _digest(rest, instance)
    except (NotFoundError, ServerError):  # gone by now, or its file cannot be read, which is told by its tags
        return ""


def _tags(rest: Rest, series: str, wanted: Sequence[str]) -> Mapping[str, Mapping[str, Any] | None]:
    if len(wanted) > 1:
        try:
            return rest.series.instances_tags(series)
        except ServerError as error:
            if error.status != 500:
                raise  # one unreadable file fails the whole series' request: the others are read one by one
    found: dict[str, Mapping[str, Any] | None] = {}
    for instance in wanted:
        try:
            found[instance] = rest.instances.tags(instance)
        except AccessError:
            raise
        except OrthancError as error:
            if error.status not in (404, 500):
                raise
            found[instance] = None
    return found
