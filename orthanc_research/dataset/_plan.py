"""A plan: what a build would hold and leave out, read from headers and the index alone."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from orthanc_research.cards import card
from orthanc_research.dataset._attach import Labels, put_labels
from orthanc_research.dataset._identifying import identifying
from orthanc_research.dataset._recipe import Recipe
from orthanc_research.dataset._select import check_strata, look, opened, select
from orthanc_research.errors import DatasetError
from orthanc_research.orthanc import Orthanc
from orthanc_research.parallel import reporting
from orthanc_research.progress import Progress

if TYPE_CHECKING:
    from orthanc_research.dataset._build import Build

__all__ = ["PLAN_COLUMNS", "DatasetPlan", "plan"]

# column → dtype of `DatasetPlan.frame`, which is indexed by the SeriesInstanceUID in the source
PLAN_COLUMNS = {"status": "str", "reason": "str", "Modality": "str", "instances": "Int64", "bytes": "Int64"}


def plan(recipe: Recipe, orthanc: Orthanc | None, progress: Progress | bool | None) -> DatasetPlan:
    """See `Recipe.plan`."""
    orthancs = [orthanc] if orthanc is not None else opened(recipe)
    with ExitStack() as until_made, reporting(progress, "plan") as bar:
        for each in orthancs if orthanc is None else ():
            until_made.push(each)
        rows, labels = select(recipe, orthancs, bar)
        check_strata(recipe, rows)
        rows = look(recipe, orthancs, rows, bar)
        return DatasetPlan(recipe, orthancs, rows, labels, until_made.pop_all())


class DatasetPlan:
    """What a build would do. Made by `Recipe.plan`; nothing was written.

    It holds for as long as the series are as they were: one that changed meanwhile is a row that is not done. It keeps
    the servers of [[source]] open: use it in a `with`, or `close` it.
    """

    def __init__(
        self,
        recipe: Recipe,
        orthancs: Sequence[Orthanc],
        rows: pd.DataFrame,
        labels: Labels,
        opened: ExitStack,
    ) -> None:
        self.recipe = recipe
        self._orthancs = list(orthancs)
        self._rows = rows
        self._labels = labels
        self._opened = opened

    def close(self) -> None:
        """Close the servers that were opened for it; an Orthanc that was given stays open."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def frame(self) -> pd.DataFrame:
        """A row a series that the query found, with `PLAN_COLUMNS`: `status` is "planned" or "dropped"."""
        rows = self._rows
        frame = rows[["Modality", "instances", "bytes"]].assign(
            status=rows["reason"].eq("").map({True: "planned", False: "dropped"}),
            reason=rows["reason"].where(rows["reason"] != ""),
        )
        frame.index = pd.Index(rows["SeriesInstanceUID"], name="SeriesInstanceUID", dtype="str")
        return frame[list(PLAN_COLUMNS)].astype(PLAN_COLUMNS)

    @property
    def counts(self) -> dict[str, Any]:
        """How many series were found; series, patients, studies, instances, GB (10⁹ bytes) of what would be built."""
        kept = self._kept
        return {
            "found": len(self._rows),
            "series": len(kept),
            "patients": kept["identity"].nunique(),
            "studies": kept["StudyInstanceUID"].nunique(),
            "instances": int(kept["instances"].sum()),
            "GB": float(kept["bytes"].sum()) / 1e9,
        }

    @property
    def drops(self) -> pd.Series[int]:
        """How many series are left out, by reason."""
        reasons = self._rows["reason"]
        return reasons[reasons != ""].value_counts()

    @property
    def strata(self) -> pd.Series[int]:
        """How many patients there are in each stratum; it shows values of the columns in splits.stratify."""
        names = list(self.recipe.splits.stratify)
        if not names:
            return pd.Series({"all": self._kept["identity"].nunique()}, dtype="int64")
        return self._kept.drop_duplicates("identity")[names].value_counts(dropna=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the labels belongs to nothing, and what has none; counted, without values."""
        return self._labels.notes

    @property
    def identifying(self) -> tuple[str, ...]:
        """Columns that would be exported as they are, and tell who somebody is: the recipe names them itself."""
        if self.recipe.anonymize.on:
            return ()
        return identifying((*self.recipe.metadata.keywords, *self._labels.series, *self._labels.instances))

    @property
    def decoders(self) -> tuple[str, ...]:
        """Packages to install: without them some of these series cannot be decoded here."""
        return tuple(sorted(set(self._kept["decoder"]) - {""}))

    def put_labels(self, column: str, *, progress: Progress | bool | None = None) -> pd.DataFrame:
        """Put a column of the recipe's labels on the servers, as "<column>-<value>": a row a label, as `Orthanc.label`.

        Each series that the plan keeps and that has a value gets its label; with labels by SOPInstanceUID, each
        instance. Columns: source, ID, label, status, error. `UnsupportedError` when a source is older than Orthanc
        1.12, and `QueryError` for a value that is no label there, before anything is sent to any of them.
        """
        with reporting(progress, "label") as bar:
            return put_labels(column, self._kept, self._labels, self._orthancs, bar)

    def build(
        self,
        out: str | os.PathLike[str],
        *,
        workers: int = 2,
        executor: Executor | None = None,
        key: str | Any = "env:ORES_KEY",
        acknowledge: Collection[str] | str = (),
        progress: Progress | bool | None = None,
    ) -> Build:
        """Build it into a folder of its own, or go on with what is there: what is done and unchanged is not made again.

        `workers` are series at a time, on threads; with `executor` (any of `concurrent.futures`, or a Dask client)
        series are its tasks. Each server has no more requests at a time, from all workers together, than `concurrency`
        of its [[source]] says. Workers see this folder, have the same versions and decoders, and find the credentials
        in their own environment: `auth="env:NAME"`. One that does not, and one that dies, is a reason in its rows; each
        is tried once more. Whatever happens to a series is a row of `Build.status`.

        With [anonymize], `key` is the release project's key, and `acknowledge` as of `Project.plan`. Workers of an
        executor de-identify where that key is "env:NAME" and each has that variable: they get originals then, and the
        journal and the mapping stay here, as with `Plan.run(executor=…)`. With any other key this machine
        de-identifies, by `workers` processes, and workers elsewhere get copies alone.

        `DatasetError` when nothing would be in it, when the folder holds something else, and when another process
        builds there.
        """
        from orthanc_research.dataset._build import build

        if not len(self._kept):
            raise DatasetError("The recipe keeps no series; plan.drops says why they are left out.")
        return build(self, out, workers=workers, executor=executor, key=key, acknowledge=acknowledge, progress=progress)

    @property
    def _kept(self) -> pd.DataFrame:
        return self._rows[self._rows["reason"] == ""]

    def __repr__(self) -> str:
        counts = self.counts
        return (
            f"<DatasetPlan {self.recipe.dataset.name}: {counts['series']} of {counts['found']} series, "
            f"{counts['patients']} patients, {counts['instances']} instances, {counts['GB']:.3f} GB>"
        )

    def _repr_html_(self) -> str:
        counts = self.counts
        facts = [
            ("series", f"{counts['series']:,} of {counts['found']:,}"),
            ("patients", f"{counts['patients']:,}"),
            ("studies", f"{counts['studies']:,}"),
            ("instances", f"{counts['instances']:,}"),
            ("DICOM", f"{counts['GB']:.3f} GB"),
            ("decoders to install", ", ".join(self.decoders)),
        ]
        drops = [f"{count:,} left out: {reason}" for reason, count in self.drops.items()]
        name = f"Plan of the dataset {self.recipe.dataset.name} {self.recipe.dataset.version}"
        return card("plan", name, facts, notes=[*drops, *self.notes])
