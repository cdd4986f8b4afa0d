"""`Modality`: a remote DICOM archive, asked through an Orthanc."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, get_args

import pandas as pd

from orthanc_research import batch
from orthanc_research.errors import Error, QueryError
from orthanc_research.parallel import reporting
from orthanc_research.progress import Progress
from orthanc_research.rest import Level, Rest
from orthanc_research.tables import ANNOUNCED, KEYS, LEVELS, UID_OF, plan_remote, remote_frame

__all__ = ["Modality", "RetrieveMethod"]

RetrieveMethod = Literal["C-MOVE", "C-GET"]
# C-FIND has no pages: an archive that is asked for everything answers everything, or breaks off.
MANY = 1000


class Modality:
    """A remote DICOM node that an Orthanc knows by `name`. Nothing is asked until a verb is called."""

    def __init__(self, rest: Rest, name: str, token: str) -> None:
        self._rest = rest
        self._token = token
        self.name = name

    def __repr__(self) -> str:
        return f"<Modality {self.name!r} through {self._rest.connection.url}>"

    def echo(self, timeout: int = 10) -> float:
        """C-ECHO: the seconds that the answer took; `ModalityError` with Orthanc's words when there is none.

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
        **criteria: Any,
    ) -> pd.DataFrame:
        """C-FIND: a typed frame of what the archive has, indexed by the level's UID; three requests, whatever comes.

        Criteria, `columns` and `match` are as in `Orthanc.find`; lists are for UIDs only. Without any, everything is
        asked for. A frame of remote answers is for `retrieve`; local verbs refuse it. `ModalityError` with Orthanc's
        words for a refusal, a time-out (`timeout` in seconds) or a failure, `NotFoundError` for a name that this
        Orthanc does not know. More than 1,000 answers are a warning: some archives stop at such a number without a
        word.
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
        if len(answers) > MANY:
            warnings.warn(
                f"The archive gave {len(answers)} answers; some stop at a limit without a word: narrow the dates.",
                stacklevel=2,
            )
        frame = remote_frame(plan, answers)
        frame.attrs["orthanc"] = {"level": level, "url": self._rest.connection.url, "client": self._token}
        return frame

    def retrieve(
        self,
        frame: pd.DataFrame,
        *,
        method: RetrieveMethod = "C-MOVE",
        timeout: int | None = None,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Have what `find` returned sent to this Orthanc: a row each, with what was announced and what is here.

        Row by row, each as a job; a row is "complete" only when every instance that the archive lists is here, or,
        where it does not list them, as many as it announced. By `method`: C-MOVE needs this Orthanc to be known to the
        archive; C-GET does not, and needs Orthanc 1.12.6 (`UnsupportedError`). `timeout` is how long Orthanc waits for
        the archive, in seconds. `QueryError` for a frame that `find` did not return, or whose keys are incomplete;
        nothing is sent then.
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


def _wanted(frame: Any) -> tuple[Level, list[dict[str, str]], list[int | None]]:
    """The unique keys of each row, and how many instances the archive said there are."""
    if not isinstance(frame, pd.DataFrame):
        raise QueryError("retrieve takes the DataFrame that modality.find returned, or rows of it.")
    level = next((at for at in LEVELS if UID_OF[at] == frame.index.name), None)
    if level is None:
        raise QueryError("This DataFrame is not one that modality.find returned: it is not indexed by a UID.")
    if level == "Patient":
        # Archives match PatientIDs without case, and would send other patients along.
        raise QueryError("Retrieve studies, not patients: modality.find('Study', PatientID=…) lists a patient's.")
    known = frame.reset_index()
    lost = [name for name in KEYS[level] if name not in known.columns or known[name].isna().any()]
    if lost:
        raise QueryError(f"{lost[0]} is missing in some rows, and nothing can be retrieved without it.")
    known = known.drop_duplicates(UID_OF[level])
    rows = [{name: str(row[name]) for name in KEYS[level]} for _, row in known.iterrows()]
    if any(set(value) & set("*?\\") or not value for row in rows for value in row.values()):
        raise QueryError("A key with *, ? or a backslash would match more than its row; nothing was retrieved.")
    column = ANNOUNCED.get(level, "")
    counts = known[column] if column in known.columns else pd.Series([None] * len(known))
    return level, rows, [None if pd.isna(count) else int(count) for count in counts]
