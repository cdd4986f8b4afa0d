"""After a run: read everything again, take it back, or delete the originals that it has replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing

import pandas as pd

from orthanc_research.deid import Examined, conclude
from orthanc_research.errors import AccessError, CancelledError, DeidError, Error, QueryError
from orthanc_research.parallel import thread_map
from orthanc_research.progress import Progress
from orthanc_research.release._bench import Bench
from orthanc_research.release._carry import Whose, copy_of
from orthanc_research.release._digest import fits
from orthanc_research.release._places import PlaceError
from orthanc_research.release._rows import Unit
from orthanc_research.release._setting import Setting
from orthanc_research.release._store import Store
from orthanc_research.release._work import compare

__all__ = ["delete_originals", "rollback", "verify"]

Who = Callable[[str], Whose]


def verify(store: Store, run: int, setting: Setting, who: Who, *, workers: int, progress: Progress) -> pd.DataFrame:
    """A row a series of what is stored: columns status, error, instances; the check of the whole is the row "*"."""
    units = list(store.units(run, "stored", "verified", "done"))
    progress.total(len(units), "instances")
    bench = Bench(workers, setting.key, setting.profile)
    wrong: dict[str, str] = {}
    counted: Counter[str] = Counter()

    def again(unit: Unit) -> Examined:
        whose = who(unit.identity)
        copy = setting.target.read(copy_of(unit, whose.subject))
        if not fits(copy, unit.target_digest):
            raise PlaceError("The target has another file than was stored.")
        content = setting.source.read(unit.key)
        if unit.digest and not fits(content, unit.digest):
            raise PlaceError("The original has changed since its copy was made.")
        return bench.call(compare, content, copy, whose.subject, whose.known, whose.apart)

    def examined() -> Iterator[Examined]:
        work = thread_map(again, units, workers=workers, progress=progress, fatal=(AccessError,))
        with closing(work) as outcomes:
            for outcome in outcomes:
                counted[outcome.unit.row] += 1
                progress.advance()
                if outcome.error is not None:
                    wrong.setdefault(outcome.unit.row, _said(outcome.error))
                    continue
                found = outcome.get()
                if not found.passed:
                    wrong.setdefault(outcome.unit.row, "A copy does not pass any more.")
                yield found

    try:
        verdict = conclude(examined())
    finally:
        bench.close()
    if counted.total() < len(units):
        raise CancelledError("Verifying was stopped on request; nothing is known of the rest.")
    rows = {row: ("failed" if row in wrong else "verified", wrong.get(row), count) for row, count in counted.items()}
    rows["*"] = (
        "verified" if verdict.passed else "failed",
        None if verdict.passed else "The check across all copies failed.",
        len(units),
    )
    columns = {"status": "str", "error": "str", "instances": "Int64"}
    frame = pd.DataFrame(list(rows.values()), columns=list(columns)).astype(columns)
    frame.index = pd.Index(list(rows), name="SeriesInstanceUID", dtype="str")
    return frame


def rollback(store: Store, run: int, setting: Setting, who: Who, progress: Progress) -> dict[str, int]:
    """Take out of the target what this run put there, and nothing else: absent before it, and the same bytes still."""
    counted: Counter[str] = Counter()
    units = [unit for unit in store.units(run) if unit.absent and unit.target_digest and unit.state not in _NOT_OURS]
    place = next(each.target["place"] for each in store.runs() if each.id == run)
    # By whichever run: what one left unfinished another one may have found in the target, and called done.
    runs = [each.id for each in store.runs() if each.target["place"] == place]
    alone = {unit.new_sop for each in runs for unit in store.units(each, "deleted")}
    if any(unit.new_sop in alone for unit in store.units(run)):
        raise QueryError("Originals of this run were deleted: its copies are all there is of them, and stay.")
    progress.total(len(units), "instances")
    for unit in units:
        if progress.cancelled:
            raise CancelledError("The rollback was stopped on request; again goes on with it.")
        came = setting.target.remove(copy_of(unit, who(unit.identity).subject), unit.target_digest)
        counted[came] += 1
        if came != "changed":
            store.mark(run, [(unit.key, "rolled-back", "")])
        progress.advance()
    return dict(counted)


_NOT_OURS = ("rolled-back", "conflict")


def delete_originals(
    store: Store, run: int, setting: Setting, who: Who, *, expect: int, progress: Progress
) -> dict[str, int]:
    """Delete from the source what this run has copied, each only while its copy is in the target as it was stored."""
    about = next((each for each in store.runs() if each.id == run), None)
    units = list(store.units(run))
    if about is None or about.state != "done" or any(unit.state not in ("done", "deleted") for unit in units):
        raise QueryError("Only the originals of a run that is done and verified as a whole can be deleted.")
    left = [unit for unit in units if unit.state == "done"]
    if len(left) != expect:
        raise QueryError(f"The run has {len(left)} originals and expect={expect}; nothing was deleted.")
    if any(not unit.digest for unit in left):
        raise DeidError("The source keeps no MD5, so that nobody can say that these are the originals still.")
    there = setting.target.there([copy_of(unit, who(unit.identity).subject) for unit in left])
    lost = sum(there.get(unit.new_sop) != unit.target_digest for unit in left)
    if lost:
        raise DeidError(f"{lost} of {len(left)} copies are not in the target as they were stored; nothing was deleted.")
    counted: Counter[str] = Counter()
    progress.total(len(left), "originals")
    for unit in left:
        if progress.cancelled:
            raise CancelledError("Deleting was stopped on request; the other originals are there still.")
        # Before it is: of an original that may be gone no copy may be taken back.
        store.mark(run, [(unit.key, "deleted", "")])
        try:
            came = setting.source.remove(unit.key, unit.digest)
        except PlaceError:
            store.mark(run, [(unit.key, "done", "")])
            raise
        counted[came] += 1
        if came == "changed":
            store.mark(run, [(unit.key, "done", "")])
        progress.advance()
    return dict(counted)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, Error) else f"It cannot be read ({type(error).__name__})."
