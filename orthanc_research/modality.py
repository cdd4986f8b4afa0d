"""`Modality`: a remote DICOM archive, asked through an Orthanc."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, get_args

import pandas as pd

from orthanc_research import batch, search
from orthanc_research.errors import Error, ModalityError, QueryError
from orthanc_research.parallel import reporting
from orthanc_research.progress import Progress
from orthanc_research.rest import Level, Rest
from orthanc_research.tables import (
    ANNOUNCED,
    KEYS,
    LEVELS,
    UID_OF,
    askable,
    find_frame,
    parse_criteria,
    plan_find,
    plan_remote,
    remote_frame,
    with_here,
)

__all__ = ["Modality", "RetrieveMethod", "many"]

RetrieveMethod = Literal["C-MOVE", "C-GET"]
# C-FIND has no pages: an archive that is asked for everything answers everything, or breaks off.
MANY = 1000
_PAGE = 10_000  # UIDs of one find, which asks for them piece by piece


def many(frame: pd.DataFrame) -> str:
    """What there is to say of so many answers of an archive; "" for few."""
    if len(frame) <= MANY:
        return ""
    return f"The archive gave {len(frame)} answers; some stop at a limit without a word: narrow the dates."


class Modality:
    """A remote DICOM node that an Orthanc knows by `name`. Nothing is asked until a verb is called."""

    def __init__(self, rest: Rest, name: str, token: str) -> None:
        self._rest = rest
        self._token = token
        self.name = name

    def __repr__(self) -> str:
        return f"<Modality {self.name!r} through {self._rest.connection.url}>"

    def echo(self, timeout: int = 10) -> float:
        """C-ECHO (POST /modalities/{name}/echo): the seconds that the answer took; `ModalityError` when there is none.

        `timeout` is how long Orthanc waits for it, in seconds.
        """
        start = time.monotonic()
        self._rest.modalities.echo(self.name, timeout)
        return time.monotonic() - start

    def find(
        self,
        level: Level = "Study",
        *,
        columns: Sequence[str] | None = None,
        match: Mapping[str, Any] | None = None,
        timeout: int | None = None,
        warn: bool = True,
        **criteria: Any,
    ) -> pd.DataFrame:
        """C-FIND: a typed frame of what the archive has, indexed by the level's UID; three requests, whatever comes.

        They are POST /modalities/{name}/query, GET /queries/{id}/answers and DELETE /queries/{id}. Criteria, `columns`
        and `match` are as in `Orthanc.find`; lists are for UIDs only. Without any, everything is asked for. A frame of
        remote answers is for `retrieve`; local verbs refuse it. `ModalityError` with Orthanc's words for a refusal, a
        time-out (`timeout` in seconds) or a failure, `NotFoundError` for a name that this Orthanc does not know. More
        than 1,000 answers are a warning (unless `warn=False`): some archives stop at such a number without a word.
        """
        plan = plan_remote(level, criteria, columns, match)
        answers: list[dict[str, Any]] = []
        if not plan.empty:
            query = self._rest.modalities.query(self.name, level, plan.query, timeout=timeout)
            try:
                answers = self._rest.queries.answers(query)
            finally:
                with suppress(Error):  # Orthanc keeps 100 queries; the answers are here, or their failure is
                    self._rest.queries.delete(query)
        frame = remote_frame(plan, answers)
        if warn and many(frame):
            warnings.warn(many(frame), stacklevel=2)
        frame.attrs["orthanc"] = {"level": level, "url": self._rest.connection.url, "client": self._token}
        return frame

    def below(self, level: Level, uid: str, *, timeout: int | None = None) -> pd.DataFrame:
        """A `find` of what the archive has below one answer: a patient's studies (by PatientID), a study's series.

        By that identifier, and of the answers those that have exactly it, a row each: archives match PatientIDs without
        case, and pass over keys that they do not know. `QueryError` for one that would match others too;
        `ModalityError`, and `timeout` in seconds, as of `find`.
        """
        if level not in ("Patient", "Study"):
            raise QueryError("Below a patient are studies, below a study series: level is Patient or Study.")
        name = UID_OF[level]
        if not isinstance(uid, str) or not uid.strip() or set(uid) & set("*?\\"):
            raise QueryError(f"A {name} that is empty or has *, ? or a backslash would match others too: find by more.")
        only: dict[str, Any] = {name: uid}
        frame = self.find(LEVELS[LEVELS.index(level) + 1], timeout=timeout, warn=False, **only)
        if frame[name].isna().any():
            raise ModalityError(f"The archive does not say whose answers these are: {name} is missing in some.")
        return frame[frame[name] == uid]

    def here(self, frame: pd.DataFrame) -> pd.DataFrame:
        """What `find` returned, with what of it is here: a POST /tools/find for each 300 rows.

        `InstancesHere` is their number, `Here` "yes" (as many as the archive announces), "part", "some" (it announces
        none), "no", or NA for an identifier that no find can ask for alone. It is a number: a retrieve holds instance
        against instance. `QueryError` for a frame of instances, or of another origin.
        """
        level = _level(frame)
        if level == "Instance":
            raise QueryError("here takes patients, studies or series; a retrieve finds out about instances.")
        uids, capabilities = askable(level, frame), self._rest.capabilities()
        found = []
        for start in range(0, max(len(uids), 1), _PAGE):  # of no UIDs, nothing is asked
            query = parse_criteria(level, {UID_OF[level]: uids[start : start + _PAGE]})
            plan = plan_find(level, query=query, columns=(UID_OF[level], ANNOUNCED[level]), capabilities=capabilities)
            found.append(find_frame(plan, *search.answers(self._rest, plan)))
        return with_here(level, frame, pd.concat(found))

    def retrieve(
        self,
        frame: pd.DataFrame,
        *,
        method: RetrieveMethod = "C-MOVE",
        timeout: int | None = None,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Have what `find` returned sent to this Orthanc: a row each, with what was announced and what is here.

        Row by row, each as a job (POST /queries/{id}/answers/{index}/retrieve); a row is "complete" only when every
        instance that the archive lists is here, or, where it does not list them, as many as it announced. What is here
        already is sent once more (`Orthanc.retrieve`, for lists, leaves it out). By `method`:
        C-MOVE needs this Orthanc to be known to the archive; C-GET does not, and needs Orthanc 1.12.6
        (`UnsupportedError`). `timeout` is how long Orthanc waits for the archive, in seconds. `QueryError` for a frame
        that `find` did not return, or whose keys are incomplete; nothing is sent then.
        """
        if method not in get_args(RetrieveMethod):
            raise QueryError("method is C-MOVE or C-GET.")
        if method == "C-GET":
            self._rest.capabilities().require("c-get")
        level, rows, announced = _wanted(frame)
        with reporting(progress, "retrieve") as bar:
            try:
                ledger = batch.retrieve(
                    self._rest, self.name, level, rows, announced, method=method, timeout=timeout, progress=bar
                )
            finally:
                self._rest.find_caps.clear()  # what was learnt of a smaller archive
        return ledger.loc[[str(uid) for uid in frame.index]]  # a row for every row, repeated ones too


def _level(frame: Any) -> Level:
    if not isinstance(frame, pd.DataFrame):
        raise QueryError("That takes the DataFrame that modality.find returned, or rows of it.")
    level = next((at for at in LEVELS if UID_OF[at] == frame.index.name), None)
    if level is None:
        raise QueryError("This DataFrame is not one that modality.find returned: it is not indexed by a UID.")
    return level


def _wanted(frame: Any) -> tuple[Level, list[dict[str, str]], list[int | None]]:
    """The unique keys of each row, and how many instances the archive said there are."""
    level = _level(frame)
    if level == "Patient":
        # Archives match PatientIDs without case, and would send other patients along.
        raise QueryError("Retrieve studies, not patients: modality.find('Study', PatientID=…) lists a patient's.")
    known = frame.reset_index()
    lost = [name for name in KEYS[level] if name not in known.columns or known[name].isna().any()]
    if lost:
        raise QueryError(f"{lost[0]} is missing in some rows, and nothing can be retrieved without it.")
    column = ANNOUNCED.get(level, "")
    if column in known.columns:  # of two answers that are one thing, what the one announces that announces more
        known[column] = known.groupby(list(KEYS[level]))[column].transform("max")
    known = known.drop_duplicates(list(KEYS[level]))
    if known[UID_OF[level]].duplicated().any():
        raise QueryError(f"One {UID_OF[level]} is in two studies of this DataFrame; retrieve them one after the other.")
    rows = [{name: str(row[name]) for name in KEYS[level]} for _, row in known.iterrows()]
    if any(set(value) & set("*?\\") or not value for row in rows for value in row.values()):
        raise QueryError("A key with *, ? or a backslash would match more than its row; nothing was retrieved.")
    counts = known[column] if column in known.columns else pd.Series([None] * len(known))
    return level, rows, [None if pd.isna(count) else int(count) for count in counts]
