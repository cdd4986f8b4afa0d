"""`Orthanc`: the one object a notebook holds. Each verb is a few lines over the layers below."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Self, get_args
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydicom import Dataset

from orthanc_research import batch, feed, fetch, headers, resolve, search
from orthanc_research.batch.journal import Journal, default_path, newest
from orthanc_research.bulk import contents, pages
from orthanc_research.capabilities import Capabilities
from orthanc_research.cards import card
from orthanc_research.errors import QueryError
from orthanc_research.export import export_series, stream_table
from orthanc_research.feed import Change
from orthanc_research.modality import Modality, RetrieveMethod
from orthanc_research.parallel import MAX_THREADS, reporting
from orthanc_research.pixels import Overlay, Reading, Stack, Volume, Window, one_stack, overlays_of
from orthanc_research.progress import Progress, shown
from orthanc_research.references import references
from orthanc_research.rest import Auth, ChangeType, Connection, Job, Level, Rest
from orthanc_research.tables import (
    LEVELS,
    OVERVIEW_COLUMNS,
    FindPlan,
    Selection,
    TagsPlan,
    empty_tags,
    exports_frame,
    find_frame,
    jobs_frame,
    jobs_joined,
    join_tags,
    listed_frame,
    lookup_frame,
    overview_frame,
    parse_criteria,
    plan_find,
    plan_lookup,
    plan_tags,
    references_frame,
    selection,
    tags_frame,
)
from orthanc_research.volumes import SeriesVolume, volumes

__all__ = ["Orthanc", "attach", "client_of"]


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
        self._token = _token_for(self)
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
        """What this server can do: one request the first time (GET /system), none after."""
        return self.rest.capabilities()

    def close(self) -> None:
        """Close the connections; nothing is sent."""
        if "rest" in vars(self):
            self.rest.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Orthanc {self.url}>"

    def _repr_html_(self) -> str:
        known = self.rest.known if "rest" in vars(self) else None
        facts: list[tuple[str, object]] = [("address", self.url), ("threads of a batch", self.workers)]
        if known is not None:
            facts += [
                ("version", known.version),
                ("name", known.name),
                ("DICOM", f"{known.aet}, port {known.dicom_port}" if known.aet else ""),
                ("database", known.database or "SQLite"),
            ]
        return card(
            "orthanc", type(self).__name__, facts, notes=() if known else ["It has not been asked for anything yet."]
        )

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
        r"""A typed DataFrame of the resources that match, indexed by Orthanc ID: one POST /tools/find a page of 10,000.

        Of a list of more than 300 identifiers, or of so many parents, a request asks for 300, unless there is an order:
        Orthanc takes seconds for thousands at once.

        Criteria are DICOM keywords with Python values; these are sent as

            Modality="CT"                     CT           text; `*` and `?` are wildcards where DICOM has them
            Modality=["CT", "MR"]             CT\MR        any of them; a Series, Index, set or array will do
            StudyInstanceUID=[]               nothing      no value can match: an empty frame, and no request
            PatientName="doe*"                doe*         names and texts ignore case
            PatientID="a1"                    a1           identifiers do not
            SliceThickness=1                  1\1.0\1.00…  every usual spelling of a number
            ImageType="*ORIGINAL*"            *ORIGINAL*   what has several values is compared as one text
            StudyDate="2021"                  20210101-20211231; also "2021-03", "20210305-", a date, a Timestamp
            StudyDate=("2021-01", None)       20210101-    both ends are included, None is open
            StudyTime="10:30"                 1030-103059.999999
            Modality, of patients or studies  ModalitiesInStudy

        and None, NA, "" and "*" are refused: they would match everything. `match` takes private and odd tags with
        values in DICOM's own form, {"0009,1001": "text"}. `within` is a frame or IDs: only what is of them, or above
        them. `labels` with `labels_match` "all", "any" or "none"; `metadata` is {name: text}; `order_by` names keywords
        of the index or LastUpdate, "-" in front for descending; `limit` the most rows.

        The columns are the same for any data and any version; `columns` chooses them, among the tags of this level and
        those above and Orthanc's own facts. Values that do not parse are NA and named in `Issues`. They are those of
        Orthanc's index: of a series' or patient's tags, what the file stored first had; and a text over 256 bytes is
        not in it, and NA. `tags` reads the files.

        From 1.12.5 on a find by a text takes one request more, and the letters outside ASCII of names, descriptions and
        numbers are looked at all the same; their case counts on every version, and `?` stands for none of them.
        Orthanc 1.10 needs one more request a page for each level of parents whose tags are shown; a client's first
        find that answers anything is followed by one that learns how much there is, and, where it asked for less, one
        that learns whether this server caps its answers; a find of several pages by three that show that nothing came
        meanwhile (`search`).

        `QueryError` before anything is sent for what makes no sense; `UnsupportedError` for what this server would
        ignore (labels before 1.12, order and metadata before 1.12.5); `ResponseError` for a capped answer that cannot
        be completed, and for an archive that changes faster than it can be listed.
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

    def count(self, level: Level, **criteria: Any) -> int:
        """How many resources match: from 1.12.5 on POST /tools/count-resources where the index knows, else a find.

        By a text it is a find: that route counts names without what is not ASCII.
        """
        query = parse_criteria(level, criteria)
        plan = plan_find(level, query=query, columns=(), capabilities=self.capabilities())
        if plan.empty:
            return 0
        if plan.counted and self.capabilities().has("count-resources"):
            return self.rest.tools.count_resources({"Level": level, "Query": dict(plan.body["Query"])})
        return len(find_frame(plan, *search.answers(self.rest, plan)))

    def explain(self, what: Any, columns: Any = None, **arguments: Any) -> dict[str, Any]:
        """How a find or a reading of tags would be carried out, and with how many requests; nothing is asked.

        `what` is a level, with the arguments of `find`; or resources, with `columns` and what else `tags` takes. Only
        bare IDs are looked up (one request per 1,000), since what they are is not known otherwise. "requests" is for
        one page of a find, or of each of its pieces; None where it hangs on a number that nobody knows yet.

        >>> orthanc.explain("Series", Modality="CT")["requests"]  # doctest: +SKIP
        1
        """
        if not (isinstance(what, str) and what in LEVELS):
            return self._explain_tags(what, columns, **arguments)
        names = ("within", "labels", "metadata", "order_by", "limit", "match")
        known: dict[str, Any] = dict.fromkeys(names) | {"labels_match": "all", "page": 10_000}
        known |= {name: arguments.pop(name) for name in list(arguments) if name in known}
        return self._plan(
            next(level for level in LEVELS if level == what), columns=columns, **known, criteria=arguments
        ).explain()

    def tags(
        self,
        resources: Any,
        columns: Sequence[str | tuple[str, str]] | None = None,
        *,
        per: str = "Instance",
        max_rows: int = 1_000_000,
        progress: Progress | bool | None = False,
    ) -> pd.DataFrame:
        """A row for each instance of the resources, with chosen tags or all of them, as their files have them.

        Columns are DICOM keywords, paths into sequences (`"A.B"`: the first item of each), `"gggg,eeee"`, or private
        elements as `("gggg,xxee", creator)`; None means every element that is not binary, with sequences as JSON and
        private elements in the column `Private`. Values over 256 bytes are fetched as well. An instance whose file has
        to be read and cannot be, or that was chosen and is gone, is a row with that in `Issues`.

        The cheapest route that tells the truth (`explain` says which): one POST /tools/find for 2,000 instances of at
        most 300 series where the columns are of the instance level of the index or, from 1.11 on, outside of it, and
        to look them up, one POST /tools/find for 300 series of a frame that tells their UIDs (1.12.5), or one POST
        /tools/bulk-content for 1,000; otherwise one GET /series/{id}/instances-tags a series, two where a value is over
        256 bytes. Studies and bare instance IDs cost one request more, to find their series, patients two.

        `per="Series"` reads one instance of each series: a row a series, with the ID of the instance that was read in
        `RepresentativeInstance`. `QueryError` when there would be more than `max_rows` rows: `tags_to_parquet` takes
        any number. `NotFoundError` when some resources are no longer there; `CancelledError`.
        """
        with reporting(progress, "tags") as bar:
            chosen, plan = self._tags_plan(resources, columns, per)
            with closing(self._tags(chosen, plan, max_rows, bar)) as frames:
                return self._ours(join_tags(list(frames), plan), per)

    def tags_to_parquet(
        self,
        resources: Any,
        path: str | os.PathLike[str],
        columns: Sequence[str | tuple[str, str]] | None = None,
        *,
        per: str = "Instance",
        progress: Progress | bool | None = None,
    ) -> int:
        """As `tags`, into a parquet file, piece by piece in flat memory; the number of rows.

        The file is complete or absent, 0600, and read by `ores.read_parquet` as the frame that `tags` would give.
        `CancelledError` when `progress` was asked to stop: then there is no file.
        """
        target = Path(path)
        if not target.parent.is_dir():
            raise QueryError(f"There is no folder {target.parent}.")
        with reporting(progress, "tags") as bar:
            chosen, plan = self._tags_plan(resources, columns, per)
            with closing(self._tags(chosen, plan, None, bar)) as pieces:
                frames = (self._ours(frame, per) for frame in pieces)
                return stream_table(
                    target, frames, lambda names: self._ours(empty_tags(plan, names), per), fixed=not plan.all
                )

    def lookup(self, values: Any) -> pd.DataFrame:
        """Which resources these identifiers name: PatientIDs, AccessionNumbers, UIDs, Orthanc IDs; all in 6 requests.

        Index `Value`, columns `Level`, `Keyword` (which identifier it is) and `ID`: a row for every match, and one with
        NA for a value that matches nothing. Identifiers match case-exactly; an AccessionNumber with `*` or `?` in it is
        not found. 1,000 values of a kind a request: POST /tools/bulk-content for Orthanc IDs, POST /tools/find for
        others.
        """
        plan = plan_lookup(values)
        present = list(contents(self.rest, plan.ids))
        criteria: list[dict[str, Any]] = [{keyword: given} for _, keyword, given in plan.finds]
        found = [
            self.find(level, columns=[keyword], **each)
            for (level, keyword, _), each in zip(plan.finds, criteria, strict=True)
        ]
        return lookup_frame(plan, present, found)

    def overview(self, *, sizes: bool = True, **criteria: Any) -> pd.DataFrame:
        """What there is, by modality and year of study: studies, series, instances, GB (10⁹ bytes), scanners.

        Modality or Year is NA where it is not known. A study of several modalities counts in the row of each; a scanner
        is a different pair of Manufacturer and StationName. Criteria are those of a find of series. One
        POST /tools/find a page of series, and one a page of instances for their sizes: `sizes=False` leaves these out,
        and GB is NA. `plots.overview` draws it.
        """
        series = self.find("Series", columns=OVERVIEW_COLUMNS, **criteria)
        if not sizes:
            return overview_frame(series, None)
        files = self.find("Instance", columns=("ParentSeries", "FileSize"), **criteria)
        return overview_frame(series, files.groupby("ParentSeries")["FileSize"].sum())

    def dicom(self, instance: Any, *, verify: bool = False) -> Dataset:
        """The file of one instance as a Dataset: GET /instances/{id}/file; `verify` holds it to the server's MD5."""
        return fetch.dataset(self.rest, resolve.one(self.rest, instance, "Instance"), verify=verify)

    def pixels(
        self,
        instance: Any,
        values: str = "stored",
        *,
        dtype: npt.DTypeLike | None = None,
        window: Window | tuple[float, float] | None = None,
        verify: bool = False,
    ) -> npt.NDArray[Any]:
        """The pixels of one instance, (frame, row, column[, sample]): GET /instances/{id}/file, decoded here.

        `values` is "stored" (in the source's type; a palette's indices, YBR as RGB), "rescaled" (float32, each frame by
        its own slope and intercept or the Modality LUT), "suv" (float32, g/ml), "rgb" (a palette's colours) or
        "display" (uint8: through `window`, (centre, width), else the file's VOI LUT or window, else the range of all
        values without padding; MONOCHROME1 inverted): see `orthanc_research.pixels.pixels_of`. `dtype` asks for another
        type of stored, rescaled or SUV values. `PixelError` for what does not decode, for what is no image (it says
        what it is) and for values that these pixels do not have.
        """
        chosen = resolve.one(self.rest, instance, "Instance")
        return fetch.pixels(self.rest, chosen, values, dtype=dtype, window=window, verify=verify)

    def overlays(self, instance: Any, *, verify: bool = False) -> dict[int, Overlay]:
        """The overlays of one instance by their group, bool (frame, row, column) on its image; {} for none.

        From GET /instances/{id}/file, by PS3.3 C.9.2: see `orthanc_research.pixels.overlays_of`.
        """
        return overlays_of(fetch.file(self.rest, resolve.one(self.rest, instance, "Instance"), verify=verify))

    def preview(
        self,
        instance: Any,
        *,
        frame: int = 0,
        width: int | None = None,
        window: tuple[float, float] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """One frame as the server draws it, for looking at only: uint8 (row, column) or (row, column, 3) for colour.

        Windowed by the server: through `window`, (centre, width), or the file's first one, LINEAR whatever the file
        says, or without any the range of the type: 16 bits then look black. Modality LUT and VOI LUT are not applied.
        `width` in pixels, larger or smaller than the frame, which keeps its shape. One request,
        GET /instances/{id}/frames/{frame}/rendered; 1.12.7, which can end on what it cannot draw, is asked for the
        header first. `PixelError` for what this server cannot draw: `pixels(instance, "display")` is drawn here.
        """
        chosen = resolve.one(self.rest, instance, "Instance")
        return fetch.picture(self.rest, chosen, frame=frame, width=width, window=window)

    def stacks(self, series: Any, *, min_slices: int = 3) -> list[Stack]:
        """Every stack of one series with its verdict, from headers alone: GET /series/{id}/instances-tags, no pixels.

        A stack of fewer than `min_slices` positions is "too-few-slices".
        """
        return fetch.stacks(self.rest, resolve.one(self.rest, series, "Series"), min_slices=min_slices)

    def volume(
        self,
        series: Any,
        values: str = "stored",
        *,
        dtype: npt.DTypeLike | None = None,
        min_slices: int = 3,
        on_missing: str = "raise",
        on_shear: str = "raise",
        on_4d: str = "raise",
        verify: bool = False,
        progress: Progress | bool | None = False,
    ) -> Volume:
        """The volume of a series (or of a Stack): array (slice, row, column) and affine to LPS mm.

        `on_missing="nan"`, `on_shear="keep" | "resample"` and `on_4d="stack"` accept what is refused otherwise, and
        `volume.issues` says so; "split" is for `pixels.arrange`, which gives the stacks to choose from. `GeometryError`
        with a code and its reasons for what is not exactly one regular volume; `PixelError` for pixels that do not
        decode. `values="rescaled"` applies slope and intercept of each slice: float32, HU for CT. Files are not
        hash-checked unless `verify=True`, which costs time and no request. One request (GET /series/{id}/instances),
        and one an instance (GET /instances/{id}/file): a series that looks regular in the index is read file by file,
        each header with its pixels; any other is judged by its headers first, and so is a Stack, before a file is
        fetched. `dtype` asks for another type; fewer than `min_slices` positions are no volume.
        """
        how = Reading(
            values=values,
            dtype=dtype,
            min_slices=min_slices,
            on_missing=on_missing,
            on_shear=on_shear,
            on_4d=on_4d,
        )
        stack = one_stack(how.stacks([series])) if isinstance(series, Stack) else None
        chosen = "" if stack is not None else resolve.one(self.rest, series, "Series")
        with reporting(progress, "volume") as bar:
            options: dict[str, Any] = {"workers": self.workers, "verify": verify, "progress": bar}
            if stack is None:
                return fetch.series_volume(self.rest, chosen, (), how, **options)
            return fetch.volume(self.rest, stack, values, dtype, **options)

    def volumes(
        self,
        resources: Any,
        values: str = "stored",
        *,
        dtype: npt.DTypeLike | None = None,
        min_slices: int = 3,
        on_missing: str = "raise",
        on_shear: str = "raise",
        on_4d: str = "raise",
        verify: bool = False,
        progress: Progress | bool | None = None,
    ) -> Iterator[SeriesVolume]:
        """The `volume` of each series of the resources, in turn; the next is fetched while you work on this one.

        >>> for found in orthanc.volumes(orthanc.series(Modality="CT")):  # doctest: +SKIP
        ...     print(found.series, found.volume if found.status == "ok" else found.error)

        Arguments are those of `volume`. A series that is no volume has the code of its `GeometryError` as `status` and
        the reason as `error`, one that cannot be read "failed"; none is left out. With "split" each stack of a series
        has its turn. Two volumes are in memory at most. `AccessError`, `UnreachableError` and `CancelledError` end it.
        """
        how = Reading(
            values=values,
            dtype=dtype,
            min_slices=min_slices,
            on_missing=on_missing,
            on_shear=on_shear,
            on_4d=on_4d,
        )
        chosen = resolve.series_of(self.rest, resolve.select(self.rest, resources))
        return self._volumes(chosen, how, verify, progress)

    def references(self, resources: Any) -> pd.DataFrame:
        """Which objects point at which: a row for each instance that a segmentation, contours, a report … refer to.

        Of the resources, what is no image (SEG, RTSTRUCT, SR, PR, KO, RTPLAN, RTDOSE, REG …, by the Modality of the
        series, which the server has from its first file) is asked what it points at; for those that are images, all
        such objects of the same patients are, and those that point at them are shown. Index `ID` is the instance that
        points, with its `SOPInstanceUID`, `Modality` and `ParentSeries`; `ReferencedSOPInstanceUID`,
        `ReferencedSOPClassUID` and `ReferencedSeriesInstanceUID` are what it says; `Target` and `TargetSeries` are the
        Orthanc IDs of what that is here, of the same patient, and `Dangling` is True where it is not. One request a
        series that points (GET /series/{id}/instances-tags), and a few to find them and their targets.
        """
        chosen = [series for series, _ in resolve.series_of(self.rest, resolve.select(self.rest, resources))]
        return self._ours(references_frame(references(self.rest, chosen, workers=self.workers)), "Instance")

    # -- move and change ----------------------------------------------------------------------------------------------

    def upload(self, inputs: Any, *, progress: Progress | bool | None = None) -> pd.DataFrame:
        """Store files, folders, zips, gzips, Datasets or bytes: a row for every input with `status` and `error`.

        `status` is "stored", "already-stored", "conflict" (another file is stored under its SOPInstanceUID, and stays),
        "skipped" (a DICOMDIR), "failed" or "not-sent". One POST /instances a file; what is stored is held against what
        was sent, by its MD5: one request more a file, from 1.12.5 on a few for all. Folders are read to the bottom,
        whatever the files are called; what `download` keeps of itself there is passed over. Running it again is safe.
        """
        with reporting(progress, "upload") as bar:
            try:
                return batch.upload(self.rest, inputs, workers=self.workers, progress=bar)
            finally:
                self.rest.find_caps.clear()  # what was learnt of a smaller archive

    def download(
        self,
        resources: Any,
        folder: str | os.PathLike[str],
        *,
        layout: str = batch.LAYOUT,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Bring the DICOM files of the resources into a folder: a row for every instance with `status` and `error`.

        Each is held against the server's MD5, and complete or absent under its name; `status` is "done",
        "already-there" (right by its size and MD5, and not asked for again), "failed" or "not-sent". Running it again
        brings what is missing, damaged or stored anew; files of more than 16 MB go on where they stopped (1.12.5).
        `layout` may name StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, Modality and SeriesNumber; a UID that is
        none, or that two patients have, is replaced or followed by the Orthanc ID. `manifest.csv` in the folder says
        which file is which instance. Folders are 0700, files 0600. One request an instance
        (GET /instances/{id}/attachments/dicom/data), and one for 1,000 studies, series and instances to list them
        (POST /tools/bulk-content); from 1.12.5 on, one for each large series instead. `QueryError` for a folder or
        layout that cannot be.
        """
        with reporting(progress, "download") as bar:
            frame = batch.download(self.rest, resources, folder, layout=layout, workers=self.workers, progress=bar)
        return self._ours(frame, "Instance")

    def archive(
        self,
        resources: Any,
        path: str | os.PathLike[str],
        *,
        compress: bool = False,
        overwrite: bool = False,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Pack the DICOM files of the resources into one zip: a row for every instance with its `file`, bytes and MD5.

        Each is held against the server's MD5, and all are in it or there is no zip: a failure of one raises. Members
        are named by UID, StudyInstanceUID/SeriesInstanceUID/SOPInstanceUID.dcm, as `download` names files. It is packed
        here: Orthanc's own archive can be cut or lack files without a word, and takes several times as long. `compress`
        makes it half as large for plain pixels, in four times the time. The zip is 0600. One request an instance
        (GET /instances/{id}/attachments/dicom/data) and one more for its MD5, and one for 1,000 studies, series and
        instances to list them (POST /tools/bulk-content); memory is flat. `QueryError` for a path that is taken
        (without `overwrite`) or cannot be; `NotFoundError`, `ResponseError`; `CancelledError` when `progress` was asked
        to stop.
        """
        with reporting(progress, "archive") as bar:
            frame = batch.archive(
                self.rest,
                resources,
                path,
                compress=compress,
                overwrite=overwrite,
                workers=self.workers,
                progress=bar,
            )
        return self._ours(frame, "Instance")

    def export(
        self,
        resources: Any,
        folder: str | os.PathLike[str],
        *,
        format: str = "parquet",  # noqa: A002 - the word that pandas and everybody else uses
        values: str = "stored",
        dtype: npt.DTypeLike | None = None,
        min_slices: int = 3,
        on_missing: str = "raise",
        on_shear: str = "raise",
        on_4d: str = "raise",
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Write series to files: a row for every series with `status`, `error` and `file`.

        `format` "parquet": one file a series with a row a frame, pixels as stored with slope and intercept beside them.
        "npy", "npz", "nifti" (.nii.gz): the volume, with its affine, units and the SOPInstanceUID of each slice in a
        .json beside it (`ores.write_volume`); options are those of `volume`, and a series that is no volume is a row
        that says why. With "split", every stack of a series has a row and a file: <name>_001, _002 … in the order of
        `pixels.arrange`. Each instance (GET /instances/{id}/attachments/dicom/data) is held against the server's MD5,
        and asked for once more when it came damaged.

        A series that gets or loses instances meanwhile is "changed", with `expected` and `instances`, and no file of it
        is left: find it again. One that changes after its file was written is "changed" as well, and has its `file`.

        Files are 0600, named by SeriesInstanceUID, with the Orthanc ID of the series behind it where another series
        has that name. Of chosen instances only those are written. What an earlier export left stays unless a file of
        the same name replaces it: `file` lists what is of this one. `QueryError` for senseless options.

        With `executor` (any of `concurrent.futures`, or a Dask client) series are its tasks; together they have no more
        requests at a time than `workers` of this client. Its workers see the folder, have the same versions and
        decoders, and find the credentials in their environment: `auth="env:NAME"`. One that does not, or that died
        twice over a series, makes it "not-sent".
        """
        how = Reading(
            values=values,
            dtype=dtype,
            min_slices=min_slices,
            on_missing=on_missing,
            on_shear=on_shear,
            on_4d=on_4d,
        )
        with reporting(progress, "export") as bar:
            return export_series(
                self.rest,
                resources,
                folder,
                form=format,
                how=how,
                workers=self.workers,
                progress=bar,
                executor=executor,
            )

    def retrieve(
        self,
        table: pd.DataFrame | str | os.PathLike[str],
        *,
        modality: str,
        columns: Mapping[str, str] | None = None,
        several: bool = False,
        method: RetrieveMethod = "C-MOVE",
        timeout: int | None = None,
        pause: float = 0.0,
        journal: str | os.PathLike[str] | None = None,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Bring a list of studies from a remote archive: a row for every row, with `status`, `error` and what is here.

        `table` is a DataFrame, or the path of a .csv or .parquet file. A row names a study by StudyInstanceUID,
        AccessionNumber or PatientID and StudyDate, a series by StudyInstanceUID and SeriesInstanceUID; `columns` is {a
        column of yours: keyword} where they are called otherwise. One row at a time, with `pause` seconds between them:
        a C-FIND (POST /modalities/{name}/query), another for the archive's list of instances, and a C-MOVE or C-GET
        (`method`; POST /queries/{id}/answers/{index}/retrieve) for what is not all here.

        `status` is "complete" or "already-there" (every instance that the archive lists is here), "incomplete",
        "unverified" (it lists and announces none), "not-found", "ambiguous" (several match; `several=True` takes them
        all), "invalid" (the row names no study), "failed" or "not-sent". Answers that are not the row are passed over.
        An archive that fails five times in a row is left alone.

        Running it again brings what is missing and nothing twice. With `journal`, a path, rows that were complete are
        not even asked for again; it holds UIDs and hashes. Nine requests a row, and two a poll of its job.
        `QueryError` for a table that names no studies, before anything is sent; `NotFoundError` for an unknown name.
        """
        if method not in get_args(RetrieveMethod):
            raise QueryError("method is C-MOVE or C-GET.")
        read = batch.read_table(table)
        if method == "C-GET":
            self.rest.capabilities().require("c-get")
        with reporting(progress, "retrieve") as bar:
            try:
                return batch.retrieve_table(
                    self.rest,
                    read,
                    modality,
                    columns=columns,
                    several=several,
                    method=method,
                    timeout=timeout,
                    pause=pause,
                    journal=journal,
                    progress=bar,
                )
            finally:
                self.rest.find_caps.clear()  # what was learnt of a smaller archive

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

        One job a patient (POST /tools/bulk-anonymize), `window` at a time; every copy is read back and counted. The
        originals stay. What Orthanc would leave (overlays, encapsulated documents, names, numbers, dates and UIDs
        inside sequences, elements that no dictionary has) is looked for in each file, removed unless `keep` or
        `replace` names its tag or path, and looked for again in the copies. Texts go that hold a number of the patient
        (PatientID, AccessionNumber, birth date) or a part of a name as a word, as any of the patient's files here has
        them. Not looked for are numbers and parts of names of one character (names of such parts alone are, joined), in
        codes (CS, AE) those under four, dates of birth in another form, and what somebody else is called. Dates are
        blanked, private elements go, pixels are as they were: this is Orthanc's own engine, for use in the house, so
        `releasable` is False. What is a copy already is "already-anonymized". `QueryError` for new values that would
        merge patients or studies, and for a path with the index of an item in `keep` or `replace`. AnonymizedPatientID
        and AnonymizedPatientName are missing where they are kept. `remove` takes more elements out, `keep_private_tags`
        keeps private ones, `dicom_version` names the edition of PS3.15 that Orthanc follows, and `force` allows new
        identifiers in `replace`. The journal (a new one in the user's state folder, unless `journal` names one; it
        holds no names) lets `resume` go on after any interruption.
        """
        options = batch.Options(
            replace={} if replace is None else replace,
            keep=keep,
            remove=remove,
            keep_private_tags=keep_private_tags,
            dicom_version=dicom_version,
            force=force,
        )
        path = Path(journal) if journal is not None else default_path("anonymize")
        with reporting(progress, "anonymize") as bar:
            level, patients = resolve.patients_of(self.rest, resolve.select(self.rest, resources))
            sources = [batch.Source(identifier, patient) for identifier, patient in patients.items()]
            frame = batch.anonymize(self.rest, level, sources, options, path=path, window=window, progress=bar)
        return self._ours(frame, level)

    def modify(
        self,
        resources: Any,
        replace: Mapping[str, Any] | None = None,
        remove: Sequence[str] = (),
        *,
        remove_private_tags: bool = False,
        force: bool = False,
        keep_source: bool = True,
        allow_merge: bool = False,
        dry_run: bool = False,
        window: int = 4,
        journal: str | os.PathLike[str] | None = None,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Changed copies of the resources: a row for every input with its copy's IDs, instances, bytes and seconds.

        `replace` is {tag: text}, or {tag: column} with a value for each row, `{"PatientID": df["new_id"]}`; `remove`
        lists tags to take out, and `remove_private_tags` takes out all private ones. The copies get new UIDs from their
        level down; values inside sequences stay, so this hides nobody. A path into a sequence changes what is there.
        One job a patient and set of values (POST /tools/bulk-modify), `window` at a time; every copy is read back and
        counted, and `resume` goes on after any interruption, as for `anonymize`.

        `force=True` says that PatientID, or the resources' own UID, is to be replaced. What would merge patients or
        studies (a new PatientID or StudyInstanceUID that is there already, or is given to two) is refused unless
        `allow_merge=True`. `keep_source=False` deletes the originals: each only after its copy was read back.
        `dry_run` checks everything, sends no request that changes anything and makes no journal. `QueryError` for what
        is refused; `UnsupportedError` before 1.11.2 for a study's PatientID, and for patients that keep theirs.
        """
        changes = batch.Changes(
            {} if replace is None else replace, remove, remove_private_tags, force, keep_source, allow_merge
        )
        path = Path(journal) if journal is not None else default_path("modify")
        with reporting(progress, "modify") as bar:
            level, frame = batch.modify(
                self.rest, resources, changes, path=path, window=window, progress=bar, dry_run=dry_run
            )
        return self._ours(frame, level)

    def split(
        self,
        study: Any,
        series: Any,
        *,
        replace: Mapping[str, str] | None = None,
        remove: Sequence[str] = (),
        keep_source: bool = True,
        journal: str | os.PathLike[str] | None = None,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Copies of some series of a study in a new study of their own: a row for every series, as from `modify`.

        One job (POST /studies/{id}/split). `replace` ({tag: text}) and `remove` take tags of the patient and the study;
        with a new PatientID the new study
        goes to that patient. `journal` is as of `anonymize`. `keep_source=False` deletes the series from the old study,
        after the copies were counted.
        """
        path = Path(journal) if journal is not None else default_path("split")
        with reporting(progress, "split") as bar:
            frame = batch.split(
                self.rest,
                study,
                series,
                replace={} if replace is None else replace,
                remove=remove,
                keep_source=keep_source,
                path=path,
                progress=bar,
            )
        return self._ours(frame, "Series")

    def merge(
        self,
        study: Any,
        resources: Any,
        *,
        keep_source: bool = True,
        allow_other_patients: bool = False,
        journal: str | os.PathLike[str] | None = None,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Copies of other studies, or of series of them, in `study`: a row for every one of them, as from `modify`.

        One job (POST /studies/{id}/merge). They get the patient's and study's tags of `study`. Those of another patient
        are refused unless `allow_other_patients=True`. `keep_source=False` deletes what was merged, after the copies
        were counted. `journal` is as of `anonymize`.
        """
        path = Path(journal) if journal is not None else default_path("merge")
        with reporting(progress, "merge") as bar:
            level, frame = batch.merge(
                self.rest,
                study,
                resources,
                keep_source=keep_source,
                allow_other_patients=allow_other_patients,
                path=path,
                progress=bar,
            )
        return self._ours(frame, level)

    def label(
        self,
        resources: Any,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        *,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Put labels on resources (`add`), take others off (`remove`): a row for every resource with `status`, `error`.

        A label has 1 to 64 letters, digits, _ and -; those of what lies below stay as they are. Doing it again changes
        nothing. One request a label and resource: PUT /{level}/{id}/labels/{label}, or DELETE. `UnsupportedError`
        before 1.12, with nothing changed.
        """
        with reporting(progress, "label") as bar:
            level, frame = batch.label(self.rest, resources, add, remove, workers=self.workers, progress=bar)
        return self._ours(frame, level)

    def send(
        self,
        resources: Any,
        *,
        modality: str | None = None,
        peer: str | None = None,
        verify: bool = False,
        timeout: int | None = None,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Send resources to a modality (C-STORE) or to a peer, another Orthanc: a row for each with `status`, `error`.

        `status` is "done" (the other side took every instance), "incomplete", "failed" with Orthanc's words, "unknown"
        (nobody saw the end of its job) or "not-sent". With `verify` a modality is asked afterwards which instances it
        lists (C-FIND): "incomplete" when some are not there, "unverified" when it does not say. Sending again does no
        harm: instances are known by their UIDs, so give the rows that are not "done" once more. A destination that
        fails five times in a row is left alone. Each row is a job of its own (POST /modalities/{name}/store or
        /peers/{name}/store): studies and series, rather than instances; two requests and the polls of the job a row,
        four more a study with `verify`.
        """
        with reporting(progress, "send") as bar:
            level, frame = batch.send(
                self.rest, resources, modality=modality, peer=peer, verify=verify, timeout=timeout, progress=bar
            )
        return self._ours(frame, level)

    def resume(
        self,
        journal: str | os.PathLike[str] | None = None,
        *,
        window: int = 4,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Go on with an interrupted batch: a row for every input of it, as the verb that began it gives.

        `journal` None means the last one on this server; `window` jobs are under way at a time. What was asked for is
        looked for first, among the jobs (GET /jobs) and the copies; nothing is asked for twice. `QueryError` for a
        journal of another Orthanc, or of a retrieve.
        """
        with Journal.open(journal if journal is not None else newest(self.url)) as opened:
            if opened.run["url"] != self.url:
                raise QueryError("That journal belongs to another Orthanc.")
            if opened.run["kind"] == "retrieve":
                raise QueryError("That journal is of a retrieve: give it to orthanc.retrieve, with its table.")
            with reporting(progress, "resume") as bar:
                frame = batch.resume(self.rest, opened, window=window, progress=bar)
            return self._ours(frame, opened.run["options"]["level"])

    def leftovers(self, journal: str | os.PathLike[str]) -> pd.DataFrame:
        """Copies that an interrupted batch left behind and that are no whole result: `delete` takes this frame.

        Those of the `journal` that are there still: one request for 1,000, and none where it names none.
        """
        with Journal.open(journal, lock=False) as opened:
            left = batch.leftovers(opened)
        there = {value["ID"] for value in contents(self.rest, left.index)}
        return self._ours(left[left.index.isin(there)], "Instance")

    def delete(self, resources: Any, *, expect: int) -> int:
        """Delete resources with everything below them; `QueryError` unless there are exactly `expect` of them.

        All of them must be there still, or nothing is deleted. This cannot be undone. One POST /tools/bulk-delete for
        1,000, after one to look for them. The number that was deleted.
        """
        chosen = resolve.select(self.rest, resources)
        if len(chosen.ids) != expect:
            raise QueryError(f"There are {len(chosen.ids)} resources and expect={expect}; nothing was deleted.")
        lost = len(chosen.ids) - len(resolve.here(self.rest, chosen.ids))
        if lost:
            raise QueryError(f"{lost} of {expect} resources are no longer on this Orthanc; nothing was deleted.")
        for page in pages(chosen.ids):
            self.rest.tools.bulk_delete(page)
        return len(chosen.ids)

    # -- around -------------------------------------------------------------------------------------------------------

    def system(self) -> dict[str, Any]:
        """What `GET /system` answers."""
        return self.rest.system.read()

    def statistics(self) -> dict[str, Any]:
        """What `GET /statistics` answers: how many patients, studies, series and instances there are, and how large."""
        return self.rest.system.statistics()

    def modalities(self) -> pd.DataFrame:
        """The DICOM nodes that this Orthanc knows (GET /modalities), a row a name: AET, Host, Port, Manufacturer."""
        columns = {"AET": "str", "Host": "str", "Port": "Int64", "Manufacturer": "str"}
        return listed_frame(self.rest.modalities.list(), columns)

    def modality(self, name: str) -> Modality:
        """A remote DICOM node by its name: `.echo()`, `.find("Study", …)`, `.retrieve(frame)`. Nothing is asked yet."""
        return Modality(self.rest, name, self._token)

    def add_modality(self, name: str, aet: str, host: str, port: int, **options: Any) -> Modality:
        """Make a remote DICOM node known (PUT /modalities/{name}); `options` are those of `rest.modalities.put`."""
        self.rest.modalities.put(name, aet, host, port, **options)
        return self.modality(name)

    def remove_modality(self, name: str) -> None:
        """Forget a remote DICOM node: DELETE /modalities/{name}."""
        self.rest.modalities.delete(name)

    def peers(self) -> pd.DataFrame:
        """The Orthancs that this one knows (GET /peers), a row a name: Url, Username. Passwords are never read."""
        return listed_frame(self.rest.peers.list(), {"Url": "str", "Username": "str"})

    def add_peer(self, name: str, url: str, **options: Any) -> None:
        """Make another Orthanc known (PUT /peers/{name}); `options` (username, …) are those of `rest.peers.put`."""
        self.rest.peers.put(name, url, **options)

    def remove_peer(self, name: str) -> None:
        """Forget another Orthanc: DELETE /peers/{name}."""
        self.rest.peers.delete(name)

    def jobs(self, *, before: pd.DataFrame | None = None, only: Sequence[str] | None = None) -> pd.DataFrame:
        """The jobs that wait or run, and the last ten that ended: one GET /jobs; indexed by job ID, newest first.

        With `before`, an earlier answer, its jobs that the server no longer lists stay: as they ended, or with the
        State "Forgotten" where nobody saw their end. `only` are the IDs of the jobs that are meant.
        """
        now = jobs_frame(
            [
                {
                    "ID": job.id,
                    "Type": job.type,
                    "State": job.state,
                    "Progress": job.progress,
                    "Error": job.error_description if job.state == "Failure" else None,
                    "Created": job.created,
                    "Ends": job.completed or job.eta,
                    "Runtime": job.runtime,
                    "What": job.about,
                }
                for job in self.rest.jobs.list()
            ]
        )
        return jobs_joined(now, before, only)

    def job(self, identifier: str) -> Job:
        """A snapshot of one job (GET /jobs/{id}); `.refresh()`, `.wait()`, `.cancel()` … give new ones."""
        return self.rest.jobs.read(identifier)

    def changes(self, since: int = 0, *, limit: int | None = None) -> pd.DataFrame:
        """The change log (GET /changes) after number `since`, `limit` rows at most.

        Indexed by `Seq`, with columns ChangeType, ResourceType, ID and Date (UTC).
        """
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
        """Each change of these `types` (None: all) as it happens, for ever; the position is kept in the file `state`.

        It is saved when you ask for the next change: after a clean stop each change comes exactly once, after a crash
        at least once (`Seq` tells them apart). Without a kept position it begins at `since`, or with what is new from
        now. The log (GET /changes) is asked every `poll` seconds; `idle` ends it after so many seconds without a
        change. `ResponseError` when the log of this server ends before the kept position: it is another server.
        """
        if types is not None and (isinstance(types, str) or not set(types) <= set(get_args(ChangeType))):
            raise QueryError(f"types is a list of {', '.join(get_args(ChangeType))}.")
        return feed.watch(self.rest, types, state, since=since, poll=poll, idle=idle)

    def export_log(self) -> pd.DataFrame:
        """What was sent to others (GET /exports), a row each, where the server keeps a log (LogExportedResources)."""
        return exports_frame(self.rest.exports.read()["Exports"])

    def metrics(self) -> pd.DataFrame:
        """What the server measures of itself, a row a metric: GET /tools/metrics-prometheus; empty when it does not."""
        return pd.DataFrame([asdict(metric) for metric in self.rest.tools.metrics_prometheus()])

    # -- how ----------------------------------------------------------------------------------------------------------

    def _volumes(
        self, series: Sequence[tuple[str, Sequence[str]]], how: Reading, verify: bool, progress: Progress | bool | None
    ) -> Iterator[SeriesVolume]:
        with shown(progress, "volumes") as bar:
            yield from volumes(self.rest, series, how, verify=verify, workers=self.workers, progress=bar)

    def _tags_plan(self, resources: Any, columns: Any, per: str) -> tuple[Selection, TagsPlan]:
        plan = plan_tags(columns, per=per)  # what is wrong with the columns is said before anything is asked
        chosen = resolve.select(self.rest, resources)
        if chosen.ids:
            plan = plan_tags(columns, per=per, capabilities=self.capabilities())
        return chosen, plan

    def _tags(
        self, chosen: Selection, plan: TagsPlan, max_rows: int | None, bar: Progress
    ) -> Generator[pd.DataFrame, None, None]:
        if plan.per == "Instance" and max_rows is not None:
            resolve.check_count(chosen, max_rows)
        chunks = headers.rows(self.rest, chosen, plan, workers=self.workers, max_rows=max_rows, progress=bar)
        with closing(chunks):
            for chunk in chunks:
                yield tags_frame(chunk, plan)

    def _explain_tags(self, resources: Any, columns: Any, *, per: str = "Instance") -> dict[str, Any]:
        chosen, plan = self._tags_plan(resources, columns, per)
        before = resolve.lookups(chosen, selection(resources, self.url))
        reading = headers.requests(plan, chosen, self.capabilities())
        return {**plan.explain(), "requests": None if reading is None or before is None else before + reading}

    def _plan(self, level: Level, *, within: Any, match: Any, criteria: Mapping[str, Any], **options: Any) -> FindPlan:
        query = parse_criteria(level, criteria, match)
        inside = None if within is None else resolve.select(self.rest, within)
        return plan_find(level, query=query, within=inside, capabilities=self.capabilities(), **options)

    def _ours(self, frame: pd.DataFrame, level: str) -> pd.DataFrame:
        frame.attrs["orthanc"] = {"level": level, "url": self.url, "client": self._token}
        return frame


def _described(connection: Connection, workers: int) -> Orthanc:
    orthanc = object.__new__(Orthanc)
    orthanc._connection, orthanc.workers, orthanc._token = connection, workers, _token_for(orthanc)
    return orthanc


# Which client found a frame: pandas' attrs hold JSON only, so it carries a token. Weak: a frame keeps no client alive.
_CLIENTS: WeakValueDictionary[str, Orthanc] = WeakValueDictionary()


def _token_for(orthanc: Orthanc) -> str:
    token = secrets.token_hex(8)
    _CLIENTS[token] = orthanc
    return token


def client_of(frame: pd.DataFrame | pd.Series[Any]) -> Orthanc:
    """The client that found this frame; `QueryError` when it is gone, or in another process."""
    orthanc = _CLIENTS.get(str((frame.attrs.get("orthanc") or {}).get("client")))
    if orthanc is None:
        raise QueryError(
            "The client that found this DataFrame is gone; bind it to one that is there: ores.attach(frame, orthanc)."
        )
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
