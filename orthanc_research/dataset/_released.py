"""The series of a build as a release project gives them: de-identified files, and what each series is called now."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from orthanc_research.dataset._recipe import Recipe
from orthanc_research.deid import Key, Profile
from orthanc_research.errors import DatasetError, DeidError
from orthanc_research.export.plan import since
from orthanc_research.files import private_folder, sweep
from orthanc_research.orthanc import Orthanc
from orthanc_research.parallel import MAX_THREADS
from orthanc_research.progress import Progress
from orthanc_research.release._away import reference
from orthanc_research.release._keys import key_of
from orthanc_research.release.project import Project
from orthanc_research.spread import on_threads, share

__all__ = ["Release", "Released", "profile_of", "project_of"]


@dataclass(frozen=True, slots=True)
class Released:
    """A series after de-identification: its new UID, whose it is now, its files; or why there is none of it.

    `left`: not for good, but because the release stopped before.
    """

    uid: str = ""
    patient: str = ""
    files: tuple[str, ...] = field(default=(), repr=False)
    reason: str = ""
    left: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """The project of a recipe, and the folder in it where what leads back to a source stays (0700).

    The de-identified files lie beside the project, in `<project>-releases/<name of the dataset>`.
    """

    project: Project
    key: Key = field(repr=False)
    profile: Profile
    private: Path
    travels: bool  # whether workers of an executor can have the key from their own environment

    def series(
        self,
        rows: pd.DataFrame,
        orthancs: Sequence[Orthanc],
        acknowledge: Collection[str] | str,
        workers: int,
        executor: Executor | None,
        bar: Progress,
    ) -> list[Released]:
        """Release what is not released yet, and say where the copies of each row are; in the order of the rows.

        By `workers` processes of this machine, or by the executor's: those of threads are here as well.
        """
        how: dict[str, Any] = {"workers": workers, "progress": bar}
        if executor is not None and on_threads(executor):
            how["workers"] = share(executor, MAX_THREADS)[0]
        elif executor is not None and self.travels:
            how["executor"] = executor
        # A target lies apart from its project, which knows the patients.
        folder = self.project.folder
        target = private_folder(folder.with_name(f"{folder.name}-releases") / self.private.name)
        named = {acknowledge} if isinstance(acknowledge, str) else set(acknowledge)
        known, found = set(rows["SeriesInstanceUID"]), dict[int, Released]()
        for place, orthanc in enumerate(orthancs):
            mine, halted = rows[rows["source"] == place], ""
            changed: dict[str, Exception] = dict(since(orthanc.rest, list(mine["planned"])))
            kept = mine[~mine["ID"].isin(list(changed))]
            if len(kept):
                # A plan refuses what it has not; here each source has some, and what changed is in none.
                looked_at = named - (known - set(kept["SeriesInstanceUID"]))
                states, halted = self._release(orthanc, list(kept["ID"]), target, looked_at, how)
                found |= {int(row): self._one(kept.loc[row], states, halted, target) for row in kept.index}
            if len(kept) and not halted:  # and while they were released
                changed |= since(orthanc.rest, list(kept["planned"]))
            gone = mine[mine["ID"].isin(list(changed))]
            found |= {int(row): Released(reason=str(changed[gone["ID"].loc[row]]), left=True) for row in gone.index}
        return [found[int(row)] for row in rows.index]

    def state(self, files: Sequence[str]) -> str:
        """What tells whether a series was released in the same way: its copies, and the rules that made them."""
        names = "\n".join(Path(each).name for each in files)
        return hashlib.sha256(f"{self.profile.hash}\n{names}".encode()).hexdigest()

    def _release(
        self,
        orthanc: Orthanc,
        series: list[str],
        target: Path,
        acknowledge: Collection[str],
        how: Mapping[str, Any],
    ) -> tuple[pd.DataFrame, str]:
        """A row a series, and why those that are not done were left; "" for those that were in no run."""
        plan = self.project.plan(
            orthanc, series, profile=self.profile, target=target, acknowledge=acknowledge, progress=how["progress"]
        )
        frame = plan.frame
        if not (frame["status"] == "planned").any():
            return frame, ""
        run = plan.run(**how)
        if run.state == "unverified":
            raise DatasetError("The release did not pass its verification; see the project's run.verdict.")
        return run.frame, run.halted or ""

    def _one(self, row: Any, states: pd.DataFrame, halted: str, target: Path) -> Released:
        uid = str(row["SeriesInstanceUID"])
        state = states.loc[uid] if uid in states.index else None
        if state is None or state.ndim != 1 or state["status"] != "done":
            word = state["status"] if state is not None and state.ndim == 1 else "not done"
            if word == "not-done":
                return Released(reason=f"De-identification stopped: {halted or 'build again.'}", left=True)
            why = f": {state.get('error', state.get('reason'))}" if word == "blocked" and state is not None else ""
            return Released(reason=f"de-identification: {word}{why}")
        known = self.project.lookup(uid)
        new = [str(each) for each, old in zip(known["new"], known["original"], strict=True) if old == uid]
        files = sorted(target.glob(f"*/{new[0]}/*.dcm")) if len(set(new)) == 1 else []
        if len(files) != int(row["instances"]):
            return Released(reason="de-identification: the copies are not those of the series")
        return Released(new[0], str(state["PatientID"]), tuple(str(each) for each in files))


def project_of(recipe: Recipe, key: str | Key) -> Release:
    """Of [anonymize]; `DatasetError` where its profile cannot be read, or the project is not said."""
    name = (recipe.anonymize.project or "").removeprefix("env:")
    folder = os.environ.get(name)
    if not folder:
        raise DatasetError(f"The environment variable {name} is not set: it says where the release project is.")
    profile = profile_of(recipe)
    project = Project(folder, key)
    private = private_folder(project.folder / "datasets" / recipe.dataset.name)
    with suppress(OSError):
        sweep(private)  # of its locks, what a build that was killed left
    return Release(project, key_of(key, project.folder), profile, private, bool(reference(key)))


def profile_of(recipe: Recipe) -> Profile:
    """Of [anonymize]; the word research is what `Profile()` is: dates shifted, ages and sex kept."""
    path = recipe.profile_file()
    if path is None:
        return Profile()
    try:
        return Profile.from_json(path.read_text(encoding="utf-8"))
    except DeidError as error:
        raise DatasetError(f"anonymize.profile: {error}") from None
    except (OSError, ValueError) as error:  # a decoder's message may quote the file
        raise DatasetError(f"anonymize.profile: it cannot be read ({type(error).__name__}).") from None
