"""`Project`: a key, a mapping, and all the runs that released something with them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from orthanc_research.cards import card, tally
from orthanc_research.deid import Key, Profile, conclude
from orthanc_research.errors import DeidError, QueryError
from orthanc_research.files import private_folder
from orthanc_research.orthanc import Orthanc
from orthanc_research.parallel import MAX_THREADS, reporting
from orthanc_research.progress import Progress
from orthanc_research.release import _after, _mapping, _records
from orthanc_research.release._away import Away, reference
from orthanc_research.release._carry import Whose, carry_out, known_of
from orthanc_research.release._draft import draft, gone, grouped
from orthanc_research.release._keys import key_of
from orthanc_research.release._mapping import Mapping as PatientMapping
from orthanc_research.release._patients import Naming, caller_names, subject_of
from orthanc_research.release._places import check_house, reopened
from orthanc_research.release._plan import Plan
from orthanc_research.release._rows import RunRow
from orthanc_research.release._run import Run
from orthanc_research.release._setting import Setting, setting
from orthanc_research.release._store import Store

__all__ = ["Project"]


class Project:
    """A de-identification project: the key, who is called what, and every run, in one folder of its owner's.

    >>> project = ores.Project("~/deid/lung", key="env:LUNG_KEY")  # doctest: +SKIP
    >>> run = project.plan(orthanc, studies, profile=ores.deid.Profile(), target="release/").run()  # doctest: +SKIP

    `key` is "env:NAME", "file:/path" (0600, outside the folder), "keyring:name" or a `deid.Key`; a project is made
    where there is none, and bound to its key then. The folder is 0700 and holds PHI. `DeidError` for another key than
    the project's, `QueryError` for a folder that others may read.
    """

    def __init__(self, folder: str | os.PathLike[str], key: str | Key) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self._key = key_of(key, self.folder)
        self._variable = reference(key)
        self._places: dict[str, Any] = {}
        _make_private(self.folder)
        if not Store.path(self.folder).exists():
            Store.create(self.folder, self._key.id)
        with self.reading():
            pass  # it is one of ours, and of this key

    @property
    def key_id(self) -> str:
        """Eight hexadecimal digits that tell keys apart, and say nothing of them."""
        return self._key.id

    def plan(
        self,
        source: Any,
        resources: Any = None,
        *,
        profile: Profile,
        target: Any,
        patient_ids: pd.Series | Mapping[str, str] | str | None = None,
        sequential: bool = False,
        acknowledge: Collection[str] | str = (),
        progress: Progress | bool | None = None,
    ) -> Plan:
        """What releasing these would do; nothing is stored, and the project is as it was.

        `source` and `target` are an `Orthanc` or the path of a folder, `resources` what to take of the source (Orthanc:
        as everywhere; a folder: files and folders below it), all without. Pseudonyms are keyed codes; `sequential`
        numbers instead, which hold in this project only; or `patient_ids` of yours: by SeriesInstanceUID,
        StudyInstanceUID, PatientID or Orthanc ID, or the name of a column of `resources`. `acknowledge` names the
        series whose pixels you have looked at (or "all"). All headers are read. `DeidError` when patients and
        pseudonyms are not one to one, here and with what the project has.
        """
        wanted = [acknowledge] if isinstance(acknowledge, str) else list(acknowledge)
        with reporting(progress, "plan") as bar:
            how = setting(self._key, profile, source, target, self.folder)
            self._places |= {how.source_about["place"]: source, how.target_about["place"]: target}
            names = caller_names(patient_ids, resources)
            with self.reading() as store:
                ours, there, before = store.made_here(), store.patients(), store.before(how.target_about)
                used = store.used()
                targets = [how.target_about["place"], *(row.target["place"] for row in store.runs())]
                as_of = _state(store)
            filled = how.source_about["place"] in targets
            groups = grouped(how.source.facts(resources, bar), ours, names, bar, key=self._key, is_target=filled)
            made = draft(
                groups,
                key=self._key,
                profile=profile,
                naming=Naming(self._key, there, sequential=sequential, used=used),
                before=before,
                target=how.target,
                must_be_named=patient_ids is not None,
                acknowledge=wanted,
                versions=_records.versions(),
            )
            made.as_of = as_of
            if resources is None:
                made.problems += gone(groups, before, how.source_about)
        return Plan(made, how, self._begin)

    def runs(self) -> list[Run]:
        """All of them, the first one first."""
        with self.reading() as store:
            return [Run(self, row.id) for row in store.runs()]

    def resume(
        self,
        run: Run | int | None = None,
        *,
        source: Any = None,
        target: Any = None,
        workers: int = 2,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
    ) -> Run:
        """Do the rest of a run (without `run` the last one) from where its journal says it was.

        What failed or was in conflict is tried again; `executor` as of `Plan.run`. Places (`source`, `target`) whose
        password the journal does not have are to be given again. `QueryError` when there is no run, or when another
        process works on the project.
        """
        _check_workers(workers)
        with self._writing() as store:
            row = self._row(store, run)
            if row.state == "done":
                return Run(self, row.id)
            with self._at(row, (source, target)) as how:
                store.reopen(row.id)
                return self._carry(store, row.id, how, workers, executor, progress)

    def verify(
        self,
        run: Run | int | None = None,
        *,
        source: Any = None,
        target: Any = None,
        workers: int = 2,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """See `Run.verify`; places are as for `resume`."""
        _check_workers(workers)
        with self._doing(run, progress, "verify", places=(source, target), change=True) as (store, row, how, bar):
            found = _after.verify(store, row.id, how, self._who(store, how.profile), workers=workers, progress=bar)
            # Of a run that did not pass no original is deleted.
            store.judge(row.id, bool((found["status"] == "verified").all()))
            return found

    def rollback(
        self, run: Run | int, *, source: Any = None, target: Any = None, progress: Progress | bool | None = None
    ) -> dict[str, int]:
        """Take back what a run stored: only what was not in the target before, and still has the same bytes.

        How many were "removed", were "gone" already, or are "changed" and stay. Originals are not touched. Places
        (`source`, `target`) are as for `resume`.
        """
        with self._doing(run, progress, "rollback", places=(source, target), change=True) as (store, row, how, bar):
            return _after.rollback(store, row.id, how, self._who(store, how.profile), bar)

    def delete_originals(
        self,
        run: Run | int,
        *,
        expect: int,
        source: Any = None,
        target: Any = None,
        progress: Progress | bool | None = None,
    ) -> dict[str, int]:
        """Delete the originals of a run from its source. This cannot be undone.

        `expect` is how many instances that is, typed by you. `QueryError` for another number and for a run that is not
        done and verified as a whole; `DeidError` when a copy is not in the target as it was stored. Nothing is
        deleted then. An original that has changed since stays. Places are as for `resume`.
        """
        with self._doing(run, progress, "delete originals", places=(source, target), change=True) as (
            store,
            row,
            how,
            bar,
        ):
            who = self._who(store, how.profile)
            return _after.delete_originals(store, row.id, how, who, expect=expect, progress=bar)

    def mapping(self) -> PatientMapping:
        """Who is who. It hides itself until `reveal()`."""
        with self.reading() as store:
            return PatientMapping(store.patients().values())

    def lookup(self, value: str) -> pd.DataFrame:
        """Both sides of a PatientID, a pseudonym or a UID: columns kind, original, new; no row for none. PHI."""
        with self.reading() as store:
            return _mapping.lookup(store, value)

    def forget(self, pseudonyms: str | Sequence[str], *, expect: int) -> int:
        """Take patients out of the mapping and out of the journals of all runs, for good; how many.

        What was stored stays (roll it back before), and whoever has the key and a PatientID can tell its pseudonym
        still. `QueryError` unless there are exactly `expect` of these.
        """
        wanted = {pseudonyms} if isinstance(pseudonyms, str) else set(pseudonyms)
        with self._writing() as store:
            found = [each.identity for each in store.patients().values() if each.pseudonym in wanted]
            if len(found) != expect or len(found) != len(wanted):
                raise QueryError(f"{len(found)} of these pseudonyms are in the project; nobody was forgotten.")
            store.forget(found)
        return len(found)

    def export_midi(self, folder: str | os.PathLike[str]) -> Path:
        """Write `uid_mapping.csv` and `patid_mapping.csv` (columns id_old, id_new) for MIDI-B's validation. PHI."""
        with self.reading() as store:
            check_house(folder, (row.target for row in store.runs()))
            return _mapping.export_midi(store, folder)

    def report(
        self, run: Run | int | None, path: str | os.PathLike[str], *, source: Any = None, target: Any = None
    ) -> Path:
        """See `Run.report`; places are as for `resume`, and needed where there are pictures to show."""
        with self.reading() as store:
            row = self._row(store, run)
            if not any("burned-in" in line.notice for line in store.lines(row.id)):
                return _records.report(store, row, self._key.id, Path(path), None)
            with self._at(row, (source, target)) as how:
                return _records.report(store, row, self._key.id, Path(path), how.target)

    def manifest(self, run: Run | int | None, path: str | os.PathLike[str]) -> Path:
        """See `Run.manifest`."""
        with self.reading() as store:
            return _records.manifest(store, self._row(store, run), self._key.id, Path(path))

    @contextmanager
    def reading(self) -> Iterator[Store]:
        """The project's file while somebody may be writing to it."""
        with Store.open(self.folder, self._key.id, lock=False) as store:
            yield store

    @contextmanager
    def _writing(self) -> Iterator[Store]:
        with Store.open(self.folder, self._key.id, lock=True) as store:
            yield store

    @contextmanager
    def _doing(
        self,
        run: Run | int | None,
        progress: Progress | bool | None,
        what: str,
        *,
        change: bool = False,
        places: tuple[Any, Any] = (None, None),
    ) -> Iterator[tuple[Store, RunRow, Setting, Progress]]:
        with reporting(progress, what) as bar, self._writing() if change else self.reading() as store:
            row = self._row(store, run)
            with self._at(row, places) as how:
                yield store, row, how, bar

    @contextmanager
    def _at(self, row: RunRow, places: tuple[Any, Any]) -> Iterator[Setting]:
        """A run's places: those given, else those of a plan of this session, else opened for as long as this takes."""
        with ExitStack() as opened:
            found = []
            for about, given, what in zip((row.source, row.target), places, ("source", "target"), strict=True):
                known = given if given is not None else self._places.get(about["place"])
                place = reopened(about, known, what)
                found.append(opened.enter_context(place) if known is None and isinstance(place, Orthanc) else place)
            yield setting(self._key, Profile.from_json(row.profile), found[0], found[1], self.folder)

    def _row(self, store: Store, run: Run | int | None) -> RunRow:
        rows = store.runs()
        number = run.number if isinstance(run, Run) else run
        found = [row for row in rows if row.id == number] if number is not None else rows[-1:]
        if not found:
            raise QueryError("The project has no such run." if rows else "The project has no run yet.")
        return found[0]

    def _begin(self, plan: Plan, workers: int, executor: Executor | None, progress: Any) -> Run:
        _check_workers(workers)
        how, made = plan._setting, plan._draft
        about = {
            "source": how.source_about,
            "target": how.target_about,
            "profile": how.profile.to_json(),
            "profile_hash": how.profile.hash,
            "options": _records.versions(),
        }
        with self._writing() as store:
            # What was absent from the target when it was planned is what a rollback may take out of it again.
            if _state(store) != made.as_of:
                raise DeidError("The project's runs have changed since this was planned; plan again.")
            now = store.patients()
            fresh = {each.pseudonym: each.identity for each in now.values()}
            for each in made.named.values():
                old = now.get(each.identity)
                if (old is not None and old != each) or fresh.get(each.pseudonym, each.identity) != each.identity:
                    raise DeidError("The project has changed since this was planned; plan again.")
            number = store.add_run(about, made.named.values(), made.known, made.lines, made.units)
            return self._carry(store, number, how, workers, executor, progress)

    def _carry(
        self, store: Store, number: int, how: Setting, workers: int, executor: Executor | None, progress: Any
    ) -> Run:
        with reporting(progress, "release") as bar:
            who = self._who(store, how.profile)
            away = None if executor is None else self._away(executor, how, bar)
            at_once = workers if away is None else away.width
            halted = carry_out(store, number, how, who, workers=at_once, progress=bar, away=away)
            if halted is None:
                # Across all runs into this target: what lies there together must fit together.
                runs = [row.id for row in store.runs() if row.target["place"] == how.target_about["place"]]
                verdict = conclude(found[0] for found in store.found(*runs))
                missed = any(True for _ in store.units(number, "failed", "conflict"))
                kept = "partial" if missed else "done"
                # Where nothing could be stored there is nothing to verify.
                store.close_run(number, kept if verdict.passed or not verdict.instances else "unverified", verdict)
        return Run(self, number, halted)

    def _away(self, executor: Executor, how: Setting, bar: Progress) -> Away:
        shared = Path(how.target_about["place"]) if how.target_about["kind"] == "folder" else None
        if shared is not None:
            private_folder(shared)
        return Away(executor, self._variable, how.key, how.profile, shared, bar)

    def _who(self, store: Store, profile: Profile) -> Callable[[str], Whose]:
        patients = store.patients()

        @lru_cache(maxsize=256)
        def who(identity: str) -> Whose:
            named = patients[identity]
            apart = "" if named.original else named.pseudonym
            return Whose(subject_of(named, profile), known_of(store.known(identity)), apart)

        return who

    def __repr__(self) -> str:
        return f"<Project with the key {self._key.id}>"

    def _repr_html_(self) -> str:
        with self.reading() as store:
            states, patients = Counter(row.state for row in store.runs()), len(store.patients())
        facts = [("key", self._key.id), ("patients in the mapping", f"{patients:,}")]
        runs = tally({name: [count] for name, count in sorted(states.items())}, ["runs"])
        return card("project", "De-identification project", facts, parts=[runs])


def _state(store: Store) -> list[Any]:
    """All that a plan depends on in the runs so far: one that is resumed or taken back makes a plan out of date."""
    return [(row.id, row.state, store.counts(row.id)) for row in store.runs()]


def _check_workers(workers: Any) -> None:
    if not isinstance(workers, int) or isinstance(workers, bool) or not 1 <= workers <= MAX_THREADS:
        raise QueryError(f"workers is a number of processes, from 1 to {MAX_THREADS}.")


def _make_private(folder: Path) -> None:
    """0700, or refused when there is something in it that others could read already."""
    try:
        private_folder(folder)
    except OSError as error:
        raise QueryError(f"The project's folder cannot be made ({error.strerror or 'it is a file'}).") from None
    if os.name != "posix" or not folder.stat().st_mode & 0o077:
        return
    if any(folder.iterdir()):
        raise QueryError("Others may read the project's folder: chmod 700 it.")
    folder.chmod(0o700)
