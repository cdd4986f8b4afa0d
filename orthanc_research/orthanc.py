"""`Orthanc`: the one object a notebook holds. Each verb is a few lines over the layers below."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Self, get_args

import numpy.typing as npt
import pandas as pd
from pydicom import Dataset

from orthanc_research import batch, feed, fetch, headers, resolve, search
from orthanc_research.batch.journal import Journal, default_path, newest
from orthanc_research.capabilities import Capabilities
from orthanc_research.errors import QueryError
from orthanc_research.export import export_series
from orthanc_research.feed import Change
from orthanc_research.modality import Modality
from orthanc_research.parallel import MAX_THREADS
from orthanc_research.pixels import Stack, Volume, decode, one_stack
from orthanc_research.progress import Progress, progress_for
from orthanc_research.rest import Auth, ChangeType, Connection, Job, Level, Rest
from orthanc_research.tables import (
    FindPlan,
    exports_frame,
    find_frame,
    jobs_frame,
    listed_frame,
    parse_criteria,
    plan_find,
    plan_tags,
    tags_frame,
)

__all__ = ["Orthanc", "attach"]

_BULK = 1000


class Orthanc:
    """An Orthanc server, for research.

    >>> orthanc = ores.Orthanc("http://localhost:8042", auth=("alice", "secret"))  # doctest: +SKIP
    >>> orthanc.studies(StudyDate="2024", Modality="CT")  # doctest: +SKIP

    `url` may have a path (behind a proxy); None means ORTHANC_URL, with ORTHANC_USERNAME and ORTHANC_PASSWORD, or
    ORTHANC_TOKEN. `auth` is (user, password) or "env:NAME" where NAME holds "user:password"; `token` a bearer token;
    `headers` go with each request. `verify` is True, False or a CA file; `cert` a client certificate, or (certificate,
    key[, password]). `timeout` is seconds without a byte, `workers` the threads of a batch (at most 8: the server is
    shared with clinicians). Nothing is sent until something is asked for. `QueryError` for senseless arguments.

    It pickles as a description, without passwords, tokens and headers: with `auth="env:NAME"` another process can use
    what it unpickles; with a password it gets a `QueryError` that says so.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        auth: Auth = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, ...] | None = None,
        timeout: float = 60.0,
        workers: int = 4,
        trust_env: bool = False,
    ) -> None:
        if not isinstance(workers, int) or isinstance(workers, bool) or not 1 <= workers <= MAX_THREADS:
            raise QueryError(f"workers is a number from 1 to {MAX_THREADS}.")
        self._connection = Connection.make(
            url,
            auth=auth,
            token=token,
            headers=headers,
            verify=verify,
            cert=cert,
            timeout=timeout,
            trust_env=trust_env,
        )
        self.workers = workers
        self._token = secrets.token_hex(8)  # tells the frames of this client apart; pandas' attrs hold JSON only
        self.rest = Rest(self._connection)

    @cached_property
    def rest(self) -> Rest:
        """Every route of the REST API."""
        return Rest(self._connection)  # only where this was unpickled, and may lack what it needs for that

    @property
    def url(self) -> str:
        """The address, without credentials."""
        return self._connection.url

    def capabilities(self) -> Capabilities:
        """What this server can do: one request the first time, none after."""
        return self.rest.capabilities()

    def close(self) -> None:
        """Close the connections."""
        if "rest" in vars(self):
            self.rest.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Orthanc {self.url}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Of a LocalOrthanc too: another process can talk to its server, and must not end it.
        return _described, (self._connection, self.workers)

    # -- look ---------------------------------------------------------------------------------------------------------

    def patients(self, **criteria: Any) -> pd.DataFrame:
        """`find("Patient", …)`."""
        return self.find("Patient", **criteria)

    def studies(self, **criteria: Any) -> pd.DataFrame:
        """`find("Study", …)`."""
        return self.find("Study", **criteria)

    def series(self, **criteria: Any) -> pd.DataFrame:
        """`find("Series", …)`."""
        return self.find("Series", **criteria)

    def instances(self, **criteria: Any) -> pd.DataFrame:
        """`find("Instance", …)`."""
        return self.find("Instance", **criteria)

    def find(
        self,
        level: Level,
        *,
        columns: Sequence[str] | None = None,
        within: Any = None,
        labels: Sequence[str] | None = None,
        labels_match: str = "all",
        metadata: Mapping[str, str] | None = None,
        order_by: Any = None,
        limit: int | None = None,
        match: Mapping[str, Any] | None = None,
        page: int = 10_000,
        **criteria: Any,
    ) -> pd.DataFrame:
        """A typed DataFrame of the resources that match, indexed by Orthanc ID: one request a page of 10,000.

        Criteria are DICOM keywords with Python values: `StudyDate="2021"`, `("2021-01-01", "2021-06-30")` or a date;
        `Modality=["CT", "MR"]`; `PatientName="DOE*"`; DICOM's own ranges work too. `match` takes odd and private tags.
        The columns are the same for any data and any version; values that do not parse are NA and named in `Issues`.
        Orthanc 1.10 needs one more request a page for each level of parents whose tags are shown, and a client's first
        find that answers anything is followed by two that learn whether this server caps its answers (`search`).
        `QueryError` before anything is sent for what makes no sense; `UnsupportedError` for what this server would
        ignore (labels before 1.12, order and metadata before 1.12.5); `ResponseError` for a capped answer that cannot
        be completed.
        """
        plan = self._plan(
            level,
            columns=columns,
            within=within,
            labels=labels,
            labels_match=labels_match,
            metadata=metadata,
            order_by=order_by,
            limit=limit,
            match=match,
            page=page,
            criteria=criteria,
        )
        answers, parents = search.answers(self.rest, plan)
        return self._ours(find_frame(plan, answers, parents), level)

    def explain(self, level: Level, **arguments: Any) -> dict[str, Any]:
        """How a find with these arguments would be carried out, and with how many requests; nothing is asked."""
        names = ("columns", "within", "labels", "metadata", "order_by", "limit", "match")
        known: dict[str, Any] = dict.fromkeys(names) | {"labels_match": "all", "page": 10_000}
        known |= {name: arguments.pop(name) for name in list(arguments) if name in known}
        return self._plan(level, **known, criteria=arguments).explain()

    def tags(self, resources: Any, columns: Sequence[str] | None = None, *, max_rows: int = 1_000_000) -> pd.DataFrame:
        """A row for each instance of the resources, with chosen tags or all of them: one request a series
        (two where a value is over 256 bytes).

        Columns are DICOM keywords, or paths into sequences (`"A.B"`); None means every element that is not binary, with
        sequences as JSON and private elements in the column `Private`. Values over 256 bytes are fetched as well.
        An instance whose file the server cannot read, or that was chosen and is gone, is a row with that in `Issues`.
        Studies and bare instance IDs cost one request more, to find their series, patients two; `NotFoundError` when
        some are no longer there. `QueryError` when there would be more than `max_rows` rows.
        """
        plan = plan_tags(columns)
        chosen = resolve.select(self.rest, resources)
        series = resolve.series_of(self.rest, chosen)
        rows = headers.tags(self.rest, series, plan, workers=self.workers, max_rows=max_rows)
        return self._ours(tags_frame(rows, plan), "Instance")

    def dicom(self, instance: Any, *, verify: bool = False) -> Dataset:
        """The file of one instance as a pydicom Dataset; `verify` holds it against the server's MD5."""
        return fetch.dataset(self.rest, resolve.one(self.rest, instance, "Instance"), verify=verify)

    def pixels(self, instance: Any, *, verify: bool = False) -> npt.NDArray[Any]:
        """The stored values of one instance, (frame, row, column[, sample]); `PixelError` when they do not decode."""
        return decode(fetch.file(self.rest, resolve.one(self.rest, instance, "Instance"), verify=verify))

    def stacks(self, series: Any, *, min_slices: int = 3) -> list[Stack]:
        """Every stack of one series with its verdict, from headers alone: one request, no pixels."""
        return fetch.stacks(self.rest, resolve.one(self.rest, series, "Series"), min_slices=min_slices)

    def volume(
        self,
        series: Any,
        values: str = "stored",
        *,
        dtype: npt.DTypeLike | None = None,
        min_slices: int = 3,
        verify: bool = False,
        progress: Progress | bool | None = False,
    ) -> Volume:
        """The volume of a series (or of a Stack): array (slice, row, column) and affine to LPS mm.

        `GeometryError` with a code and its reasons for what is not exactly one regular volume; `PixelError` for pixels
        that do not decode. `values="rescaled"` applies slope and intercept of each slice: float32, HU for CT. Files are
        not hash-checked unless `verify=True`, which costs one more request a slice.
        """
        fetch.check_values(values)
        stack = series if isinstance(series, Stack) else one_stack(self.stacks(series, min_slices=min_slices))
        bar, done = progress_for(progress, "volume")
        try:
            return fetch.volume(self.rest, stack, values, dtype, workers=self.workers, verify=verify, progress=bar)
        finally:
            done()

    # -- move and change ----------------------------------------------------------------------------------------------

    def upload(self, inputs: Any, *, progress: Progress | bool | None = None) -> pd.DataFrame:
        """Store files, folders, zips, Datasets or bytes: a row for every input with `status` and `error`.

        `status` is "stored", "already-stored", "skipped" (a DICOMDIR), "failed" or "not-sent". Folders are read to the
        bottom, whatever the files are called. Running it again is safe.
        """
        bar, done = progress_for(progress, "upload")
        try:
            return batch.upload(self.rest, inputs, workers=self.workers, progress=bar)
        finally:
            self.rest.find_caps.clear()  # what was learnt of a smaller archive
            done()

    def export(
        self,
        resources: Any,
        folder: str | os.PathLike[str],
        *,
        format: str = "parquet",  # noqa: A002 - the word that pandas and everybody else uses
        values: str = "stored",
        min_slices: int = 3,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Write series to files: a row for every series with `status`, `error` and `file`.

        "parquet": one file a series with a row a frame, pixels as stored with slope and intercept beside them. "npy":
        the volume with its affine in a .json beside it; a series that is no volume is a row that says why. Each
        instance is held against the server's MD5. Files are 0600, named by SeriesInstanceUID, with the Orthanc ID of
        the series behind it where another series has that name. Of chosen instances only those are written.
        """
        bar, done = progress_for(progress, "export")
        try:
            return export_series(
                self.rest,
                resources,
                folder,
                form=format,
                values=values,
                min_slices=min_slices,
                workers=self.workers,
                progress=bar,
            )
        finally:
            done()

    def anonymize(
        self,
        resources: Any,
        *,
        replace: Mapping[str, str] | None = None,
        keep: Sequence[str] = (),
        remove: Sequence[str] = (),
        keep_private_tags: bool = False,
        dicom_version: str | None = None,
        force: bool = False,
        window: int = 4,
        journal: str | os.PathLike[str] | None = None,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Copies of the resources, anonymized by Orthanc: a row for every input with its copy's IDs.

        One job a patient, `window` at a time; every copy is read back and counted. The originals stay. This is
        Orthanc's own engine, for use in the house: it leaves overlays and nested identifiers, so `releasable` is False.
        The journal (a new one in the user's state folder, unless `journal` names one) lets `resume` go on after any
        interruption.
        """
        level, patients = resolve.patients_of(self.rest, resolve.select(self.rest, resources))
        sources = [batch.Source(identifier, patient) for identifier, patient in patients.items()]
        options = batch.Options(
            replace={} if replace is None else replace,
            keep=keep,
            remove=remove,
            keep_private_tags=keep_private_tags,
            dicom_version=dicom_version,
            force=force,
        )
        path = Path(journal) if journal is not None else default_path("anonymize")
        bar, done = progress_for(progress, "anonymize")
        try:
            frame = batch.anonymize(self.rest, level, sources, options, path=path, window=window, progress=bar)
        finally:
            done()
        return self._ours(frame, level)

    def resume(
        self,
        journal: str | os.PathLike[str] | None = None,
        *,
        window: int = 4,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Go on with an interrupted batch; None means the last one on this server. The ledger, as from `anonymize`.

        What was asked for is looked for first; nothing is asked for twice.
        """
        with Journal.open(journal if journal is not None else newest(self.url)) as opened:
            if opened.run["url"] != self.url:
                raise QueryError("That journal belongs to another Orthanc.")
            bar, done = progress_for(progress, "resume")
            try:
                frame = batch.resume(self.rest, opened, window=window, progress=bar)
            finally:
                done()
            return self._ours(frame, opened.run["options"]["level"])

    def leftovers(self, journal: str | os.PathLike[str]) -> pd.DataFrame:
        """Copies that an interrupted batch left behind and that are no whole result: `delete` takes this frame."""
        with Journal.open(journal, lock=False) as opened:
            left = batch.leftovers(opened)
        there = {value["ID"] for value in self.rest.tools.bulk_content(list(left.index))} if len(left) else set()
        return self._ours(left[left.index.isin(there)], "Instance")

    def delete(self, resources: Any, *, expect: int) -> int:
        """Delete resources with everything below them; `QueryError` unless there are exactly `expect` of them.

        All of them must be there still, or nothing is deleted. This cannot be undone. The number that was deleted.
        """
        chosen = resolve.select(self.rest, resources)
        if len(chosen.ids) != expect:
            raise QueryError(f"There are {len(chosen.ids)} resources and expect={expect}; nothing was deleted.")
        lost = len(chosen.ids) - len(resolve.here(self.rest, chosen.ids))
        if lost:
            raise QueryError(f"{lost} of {expect} resources are no longer on this Orthanc; nothing was deleted.")
        for start in range(0, len(chosen.ids), _BULK):
            self.rest.tools.bulk_delete(chosen.ids[start : start + _BULK])
        return len(chosen.ids)

    # -- around -------------------------------------------------------------------------------------------------------

    def system(self) -> dict[str, Any]:
        """What `GET /system` answers."""
        return self.rest.system.read()

    def statistics(self) -> dict[str, Any]:
        """How many patients, studies, series and instances there are, and how large they are."""
        return self.rest.system.statistics()

    def modalities(self) -> pd.DataFrame:
        """The remote DICOM nodes that this Orthanc knows, by name: AET, Host, Port, Manufacturer."""
        columns = {"AET": "str", "Host": "str", "Port": "Int64", "Manufacturer": "str"}
        return listed_frame(self.rest.modalities.list(), columns)

    def modality(self, name: str) -> Modality:
        """A remote DICOM node by its name: `.echo()`, `.find("Study", …)`, `.retrieve(frame)`. Nothing is asked yet."""
        return Modality(self.rest, name, self._token)

    def add_modality(self, name: str, aet: str, host: str, port: int, **options: Any) -> Modality:
        """Make a remote DICOM node known; `options` are those of `rest.modalities.put`."""
        self.rest.modalities.put(name, aet, host, port, **options)
        return self.modality(name)

    def remove_modality(self, name: str) -> None:
        """Forget a remote DICOM node."""
        self.rest.modalities.delete(name)

    def peers(self) -> pd.DataFrame:
        """The other Orthancs that this one knows, by name: Url, Username. Passwords are never read."""
        return listed_frame(self.rest.peers.list(), {"Url": "str", "Username": "str"})

    def add_peer(self, name: str, url: str, **options: Any) -> None:
        """Make another Orthanc known; `options` are those of `rest.peers.put` (username, password, …)."""
        self.rest.peers.put(name, url, **options)

    def remove_peer(self, name: str) -> None:
        """Forget another Orthanc."""
        self.rest.peers.delete(name)

    def jobs(self) -> pd.DataFrame:
        """The jobs that wait or run, and the last ten that ended: one request; indexed by job ID, newest first."""
        return jobs_frame(
            [
                {
                    "ID": job.id,
                    "Type": job.type,
                    "State": job.state,
                    "Progress": job.progress,
                    "Error": job.error_description if job.state == "Failure" else None,
                    "Created": job.created,
                    "Runtime": job.runtime,
                }
                for job in self.rest.jobs.list()
            ]
        )

    def job(self, identifier: str) -> Job:
        """A snapshot of one job; `.refresh()`, `.wait()`, `.cancel()` … give new ones."""
        return self.rest.jobs.read(identifier)

    def changes(self, since: int = 0, *, limit: int | None = None) -> pd.DataFrame:
        """The change log after number `since`, indexed by `Seq`: ChangeType, ResourceType, ID, Date (UTC)."""
        return feed.read(self.rest, since, limit)

    def watch(
        self,
        types: Sequence[str] | None = None,
        state: str | os.PathLike[str] | None = None,
        *,
        since: int | None = None,
        poll: float = 1.0,
        idle: float | None = None,
    ) -> Iterator[Change]:
        """Each change as it happens, for ever; the position is kept in the file `state`.

        It is saved when you ask for the next change: after a clean stop each change comes exactly once, after a crash
        at least once (`Seq` tells them apart). Without a kept position it begins at `since`, or with what is new from
        now. `idle` ends it after so many seconds without a change. `ResponseError` when the log of this server ends
        before the kept position: it is another server.
        """
        if types is not None and (isinstance(types, str) or not set(types) <= set(get_args(ChangeType))):
            raise QueryError(f"types is a list of {', '.join(get_args(ChangeType))}.")
        return feed.watch(self.rest, types, state, since=since, poll=poll, idle=idle)

    def export_log(self) -> pd.DataFrame:
        """What was sent to modalities and peers, where the server keeps such a log (LogExportedResources)."""
        return exports_frame(self.rest.exports.read()["Exports"])

    def metrics(self) -> pd.DataFrame:
        """What the server measures of itself: a row a metric; empty when it does not collect them."""
        return pd.DataFrame([asdict(metric) for metric in self.rest.tools.metrics_prometheus()])

    # -- how ----------------------------------------------------------------------------------------------------------

    def _plan(self, level: Level, *, within: Any, match: Any, criteria: Mapping[str, Any], **options: Any) -> FindPlan:
        query = parse_criteria(level, criteria, match)
        inside = None if within is None else resolve.select(self.rest, within)
        return plan_find(level, query=query, within=inside, capabilities=self.capabilities(), **options)

    def _ours(self, frame: pd.DataFrame, level: str) -> pd.DataFrame:
        frame.attrs["orthanc"] = {"level": level, "url": self.url, "client": self._token}
        return frame


def _described(connection: Connection, workers: int) -> Orthanc:
    orthanc = object.__new__(Orthanc)
    orthanc._connection, orthanc.workers, orthanc._token = connection, workers, secrets.token_hex(8)
    return orthanc


def attach(frame: pd.DataFrame, orthanc: Orthanc) -> pd.DataFrame:
    """The frame, bound to this client: one that was read from a file, or found with another client.

    `QueryError` when it comes from another server.
    """
    about = frame.attrs.get("orthanc") or {}
    if about.get("url") not in (None, orthanc.url):
        raise QueryError("This DataFrame comes from another Orthanc; its IDs mean nothing on this one.")
    bound = frame.copy(deep=False)
    return orthanc._ours(bound, str(about.get("level") or ""))
