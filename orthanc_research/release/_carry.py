"""Carrying a run out: instance by instance, journal first, stored only when what was made of it has passed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword

from orthanc_research.deid import Known, Subject
from orthanc_research.errors import AccessError, CancelledError, DeidError, Error, OrthancError
from orthanc_research.parallel import thread_map, unwanted
from orthanc_research.progress import Pace, Progress
from orthanc_research.release._away import Away, NoWorkerError
from orthanc_research.release._bench import Bench
from orthanc_research.release._places import Copy
from orthanc_research.release._rows import State, Unit
from orthanc_research.release._setting import Setting
from orthanc_research.release._store import Store
from orthanc_research.release._work import Job, Made, make
from orthanc_research.rest import is_server_gone
from orthanc_research.workers import WorkerDiedError

__all__ = ["Whose", "carry_out", "copy_of", "handfuls"]

# Instances that share a request to a worker and two lines of the journal, and at most so many bytes of them: what a
# thread may hold in memory.
_MANY, _BYTES = 16, 16_000_000
_LEFT: tuple[State, ...] = ("planned", "running", "stored")


@dataclass(frozen=True, slots=True)
class Whose:
    """What a patient becomes, and what they are called in any of their headers."""

    subject: Subject
    known: Known
    apart: str = ""  # what tells patients apart whose PatientID is blank


def carry_out(
    store: Store,
    run: int,
    setting: Setting,
    whose: Callable[[str], Whose],
    *,
    workers: int,
    progress: Progress,
    away: Away | None = None,
) -> str | None:
    """Do what is left of a run; why it stopped, None when nothing is left.

    `away` are workers elsewhere, instead of processes here. Raises `DeidError` when the project's own disk fails.
    Another instance's failure is in its row.
    """
    halted: list[str] = []
    counts = store.counts(run).values()
    progress.total(sum(of.get(state, 0) for of in counts for state in _LEFT), "instances")
    bench = away if away is not None else Bench(workers, setting.key, setting.profile)
    try:
        with Pace(progress) as pace:
            task = _Task(store, run, setting, whose, bench, progress, pace, halted)
            work = thread_map(
                task, handfuls(store.units(run, *_LEFT)), workers=workers, progress=progress, fatal=(DeidError,)
            )
            with closing(work) as outcomes:
                for outcome in outcomes:
                    outcome.get()
    finally:
        bench.close()
    if not halted and progress.cancelled:
        halted.append("It was stopped on request.")
    return halted[0] if halted else None


def handfuls(units: Iterable[Unit]) -> Iterator[list[Unit]]:
    """The units in lists of one patient's, small enough to be held in memory together."""
    hand: list[Unit] = []
    room = _BYTES
    for unit in units:
        if hand and (len(hand) == _MANY or unit.size > room or unit.identity != hand[0].identity):
            yield hand
            hand, room = [], _BYTES
        hand.append(unit)
        room -= unit.size
    if hand:
        yield hand


def copy_of(unit: Unit, subject: Subject) -> Copy:
    """Where the copy of a unit is."""
    return Copy(subject.patient_id, unit.new_study, unit.new_series, unit.new_sop)


@dataclass(frozen=True)
class _Task:
    """What a thread does with a handful."""

    store: Store
    run: int
    setting: Setting
    whose: Callable[[str], Whose]
    bench: Bench | Away
    progress: Progress
    pace: Pace
    halted: list[str]

    def __call__(self, units: list[Unit]) -> None:
        made: list[tuple[Unit, Made]] = []
        failed: list[tuple[str, State, str]] = []
        whose = self.whose(units[0].identity)
        try:
            for unit, each in self._outcomes(units, whose):
                if isinstance(each, Made):
                    made.append((unit, each))
                elif not isinstance(each, CancelledError) and not self._halts(each):
                    failed.append((unit.key, "failed", _sentence(each)))
                    self.progress.advance()
            if failed:
                self.store.mark(self.run, failed)
            if made:
                self._keep(made, whose.subject)
        finally:
            for _, each in made:
                if isinstance(each.content, Path):
                    each.content.unlink(missing_ok=True)

    def _outcomes(self, units: list[Unit], whose: Whose) -> Iterator[tuple[Unit, Made | Exception]]:
        """What became of each in a worker; a unit that was not begun when all was stopped is left out."""
        jobs: list[tuple[Unit, Job]] = []
        for unit in units:
            if self._stops():
                return
            try:
                jobs.append((unit, self._job(unit, whose.subject)))
            except Exception as error:  # noqa: BLE001 - what one instance does to us is in its row
                yield unit, error
        if jobs and not self._stops():
            made = self._made([job for _, job in jobs], whose)
            self.pace.add(sum(unit.size for unit, _ in jobs))
            yield from ((unit, each) for (unit, _), each in zip(jobs, made, strict=True))

    def _job(self, unit: Unit, subject: Subject) -> Job:
        source, target = self.setting.source, self.setting.target
        original = source.path(unit.key) or source.read(unit.key)
        uids = (unit.new_sop, unit.new_series, unit.new_study)
        return Job(original, unit.digest, uids, target.algorithm, target.partial(copy_of(unit, subject)))

    def _made(self, jobs: Sequence[Job], whose: Whose) -> Sequence[Made | Exception]:
        try:
            return self.bench.call(make, jobs, whose.subject, whose.known, whose.apart)
        except Exception as error:  # noqa: BLE001 - it is in the rows
            for job in jobs:  # what the worker may have written is nobody's
                if job.partial is not None:
                    job.partial.unlink(missing_ok=True)
            if isinstance(error, WorkerDiedError) and len(jobs) > 1:  # on which one, shows when each is asked for alone
                return [each for job in jobs for each in self._made([job], whose)]
            return [error] * len(jobs)

    def _keep(self, made: list[tuple[Unit, Made]], subject: Subject) -> None:
        """Say what comes, then store it, then say what came of it."""
        self.store.intend(self.run, [(unit.key, each.digest, each.found) for unit, each in made])
        ended: list[tuple[str, State, str]] = []
        try:
            for unit, each in made:
                if self._stops():
                    break
                try:
                    ended.append((unit.key, *self._stored(unit, each, subject)))
                except CancelledError:
                    break
                except (Error, OSError) as error:
                    if self._halts(error):
                        break
                    ended.append((unit.key, "failed", _sentence(error)))
                self.progress.advance()
        finally:
            self.store.mark(self.run, ended)

    def _stored(self, unit: Unit, made: Made, subject: Subject) -> tuple[State, str]:
        copy = copy_of(unit, subject)
        conflict = "The target has another instance with this SOPInstanceUID, and keeps it."
        if not unit.absent:  # perhaps under another PatientID, where it would not be in the way of a second one
            now = self.setting.target.there([copy]).get(copy.sop)
            if now is not None and now != made.digest:
                return "conflict", conflict
        if self.setting.target.keep(copy, made.content) == "conflict":
            return "conflict", conflict
        return "verified", ""

    def _stops(self) -> bool:
        return bool(self.halted) or self.progress.cancelled or unwanted()

    def _halts(self, error: Exception) -> bool:
        """Whether all others would fail the same way: a refused password, a server or workers gone, a full disk."""
        if isinstance(error, NoWorkerError):
            self.halted.append(str(error))
            return True
        if isinstance(error, DeidError) or not isinstance(error, OrthancError | OSError):
            return False
        if isinstance(error, OSError | AccessError) or is_server_gone(error):
            self.halted.append(_sentence(error))
            return True
        return False


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"The target cannot be written ({error.strerror or type(error).__name__})."
    return str(error) if isinstance(error, Error) else f"It cannot be de-identified ({type(error).__name__})."


def known_of(facts: Iterable[Mapping[str, str]]) -> Known:
    """What a patient is called, from all of their headers."""
    found = Known()
    for each in facts:
        dataset = Dataset()
        for keyword, text in {"SpecificCharacterSet": "ISO_IR 192", **each}.items():
            tag = tag_for_keyword(keyword) or 0
            # Unchecked: pydicom's warnings quote the value.
            values = text.split("\\") if "\\" in text else text
            dataset.add(DataElement(tag, dictionary_VR(tag), values, validation_mode=IGNORE))
        found |= Known.of(dataset)
    return found
