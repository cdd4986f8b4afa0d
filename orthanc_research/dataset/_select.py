"""Which series a recipe means, asked of its servers: what was found, what is kept, and why the others are not."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID

from orthanc_research import resolve
from orthanc_research.dataset._attach import Labels, attached
from orthanc_research.dataset._recipe import Recipe
from orthanc_research.dataset._sections import FACTS
from orthanc_research.dataset._splits import identity_of
from orthanc_research.errors import CancelledError, DatasetError, GeometryError, NotFoundError, ServerError
from orthanc_research.export.plan import plan as planned_of
from orthanc_research.orthanc import Orthanc
from orthanc_research.parallel import thread_map
from orthanc_research.pixels import Reading
from orthanc_research.pixels._codecs import CODECS, available
from orthanc_research.progress import Progress

__all__ = ["ELSEWHERE", "check_strata", "look", "opened", "select"]

T = TypeVar("T")
_NEEDED = ("SeriesInstanceUID", "StudyInstanceUID", "Modality", "PatientID", "IssuerOfPatientID")
_NO_PATIENT = "no PatientID"
ELSEWHERE = "in another source already"


def opened(recipe: Recipe) -> list[Orthanc]:
    """The servers that the recipe names by environment variables; `DatasetError` where there are none."""
    if not recipe.sources:
        raise DatasetError("This recipe has no [[source]]; give an Orthanc: recipe.plan(orthanc).")
    found = []
    for source in recipe.sources:
        address = os.environ.get(source.url.removeprefix("env:"))
        if not address:
            raise DatasetError(f"The environment variable {source.url.removeprefix('env:')} is not set.")
        found.append(Orthanc(address, auth=source.auth, workers=source.concurrency))
    return found


def select(recipe: Recipe, orthancs: Sequence[Orthanc], progress: Progress) -> tuple[pd.DataFrame, Labels]:
    """A row a series that the query finds, and the labels.

    Columns: `source`, `ID`, what the filter, the splits and the labels read, `instances`, `state` (LastUpdate),
    `planned` (a `Planned`), `identity` (`identity_of`; PHI) and `reason` ("" for what is kept so far).
    """
    frames = [_found(recipe, orthanc).assign(source=place) for place, orthanc in enumerate(orthancs)]
    frame = pd.concat(frames) if len(frames) > 1 else frames[0]
    frame = frame.reset_index().sort_values(["SeriesInstanceUID", "source", "ID"]).reset_index(drop=True)
    identities = zip(frame["IssuerOfPatientID"], frame["PatientID"], strict=True)
    frame["identity"] = [identity_of(*(None if pd.isna(each) else str(each) for each in pair)) for pair in identities]
    frame["reason"] = recipe.filter.reasons(frame).to_numpy()
    for place, reason in _elsewhere(frame[frame["reason"] == ""], orthancs).items():
        frame.loc[place, "reason"] = reason
    if recipe.splits.ratios or recipe.splits.kfold is not None:
        frame.loc[(frame["identity"] == "") & (frame["reason"] == ""), "reason"] = _NO_PATIENT
    frame, labels = attached(recipe, frame, orthancs)
    progress.note(f"{int((frame['reason'] == '').sum())} of {len(frame)} series")
    return frame, labels


def _elsewhere(kept: pd.DataFrame, orthancs: Sequence[Orthanc]) -> dict[int, str]:
    """Why rows of a series that several sources have are left out: one that has all of its instances is enough."""
    reasons: dict[int, str] = {}
    for series, group in kept[kept["ID"].duplicated(keep=False)].groupby("ID", sort=False):
        places: list[int] = group.index.tolist()
        if group["planned"].map(lambda planned: planned.mark).nunique() == 1:
            whole = places[:1]
        else:
            there = [
                set(orthancs[source].rest.series.read(str(series))["Instances"]) for source in group["source"].tolist()
            ]
            all_of_it = set().union(*there)
            whole = [place for place, instances in zip(places, there, strict=True) if instances == all_of_it][:1]
        reason = ELSEWHERE if whole else "each source has other instances of it"
        reasons |= {place: reason for place in places if place not in whole}
    return reasons


def _found(recipe: Recipe, orthanc: Orthanc) -> pd.DataFrame:
    match: dict[str, Any] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in recipe.query.match.items()
    }
    series = orthanc.find(recipe.query.level, columns=("LastUpdate",), **match)
    if recipe.query.level != "Series":
        series = orthanc.find("Series", columns=("LastUpdate",), within=series)
    on = (recipe.labels.on,) if recipe.labels and recipe.labels.on != "SOPInstanceUID" else ()
    labelled = recipe.labels.columns if recipe.labels else ()
    # What is no keyword is a column of the table of labels, or `check_strata` refuses it.
    strata = (each for each in recipe.splits.stratify if each not in labelled and tag_for_keyword(each) is not None)
    names = dict.fromkeys((*_NEEDED, *recipe.filter.columns, *strata, *on))
    # Before the tags are read: what is stored again after that is not what they say, and a build refuses it.
    planned = {each.series: each for each in planned_of(orthanc.rest, resolve.select(orthanc.rest, series))}
    frame = orthanc.tags(series, [name for name in names if name not in FACTS], per="Series")
    frame["planned"] = pd.Series([planned[str(each)] for each in frame.index], index=frame.index, dtype="object")
    frame["instances"] = pd.array([planned[str(each)].count for each in frame.index], dtype="Int64")
    frame["state"] = series["LastUpdate"].reindex(frame.index).astype("str").fillna("")
    return frame.drop(columns=["RepresentativeInstance", "Issues"], errors="ignore")


def look(recipe: Recipe, orthancs: Sequence[Orthanc], frame: pd.DataFrame, progress: Progress) -> pd.DataFrame:
    """The same rows with what costs requests a series: `bytes`, `packed` (whether its pixels are), `decoder`, geometry.

    `decoder` is what to install, "" for nothing. A series that is no volume where one is required gets its reason:
    "geometry: <code>".
    """
    geometry = recipe.filter.geometry
    pixels = recipe.arrays.values != "none"
    how = geometry.reading(recipe.arrays.values if pixels else "stored") if geometry.require == "volume" else None

    sources, names = frame["source"].tolist(), frame["ID"].tolist()

    def one(place: int) -> tuple[int | None, bool, str, str]:
        orthanc, series = orthancs[sources[place]], names[place]
        try:
            size = int(orthanc.rest.series.statistics(series).get("DicomDiskSize", 0))
            reason = "" if how is None else _verdict(orthanc, series, how)
            return size, *(_coding(orthanc.rest, series) if pixels and not reason else (False, "")), reason
        except NotFoundError:
            return None, False, "", "no longer on its Orthanc"

    kept = (frame["reason"] == "").to_numpy().nonzero()[0].tolist()
    progress.total(len(kept), "series")
    found = _each(one, kept, orthancs, progress)
    known = dict(zip(kept, found, strict=True))
    everywhere = [known.get(place, (None, False, "", reason)) for place, reason in enumerate(frame["reason"].tolist())]
    sizes, packed, decoders, reasons = zip(*everywhere, strict=True) if everywhere else ((), (), (), ())
    return frame.assign(
        bytes=pd.array(list(sizes), dtype="Int64"),
        packed=list(packed),
        decoder=pd.array(list(decoders), dtype="str"),
        reason=pd.array(list(reasons), dtype="str"),
    )


def _verdict(orthanc: Orthanc, series: str, how: Reading) -> str:
    """Why it is no volume, "" where it is one."""
    try:
        stacks = how.stacks(orthanc.stacks(series, min_slices=how.min_slices))
    except GeometryError as error:
        return f"geometry: {error.code}"
    except ServerError as error:  # one file that is gone from the server's disk fails the request
        if error.status != 500:
            raise
        return "unreadable: the server cannot read all of its files"
    return "" if any(stack.status == "ok" for stack in stacks) else f"geometry: {stacks[0].status}"


def _each(work: Callable[[int], T], units: Sequence[int], orthancs: Sequence[Orthanc], progress: Progress) -> list[T]:
    workers = max(orthanc.workers for orthanc in orthancs)
    found = []
    with closing(thread_map(work, units, workers=workers, progress=progress, fatal=(Exception,))) as outcomes:
        for outcome in outcomes:
            found.append(outcome.get())
            progress.advance()
    if len(found) < len(units):
        raise CancelledError("Planning was stopped on request.")
    return found


def _coding(rest: Any, series: str) -> tuple[bool, str]:
    """Whether the first instance is compressed, and what to install where nothing here decodes it."""
    try:
        instance = rest.series.children(series, "Instance")[0]["ID"]
        syntax = rest.instances.metadata_value(instance, "TransferSyntax").strip()
    except (NotFoundError, IndexError):
        return False, ""
    codec = CODECS.get(syntax)
    return codec is not None, codec.package if codec is not None and not available(UID(syntax)) else ""


def check_strata(recipe: Recipe, frame: pd.DataFrame) -> None:
    """`DatasetError` for a stratum that is no column, or holds several values a patient."""
    for name in recipe.splits.stratify:
        if name not in frame.columns:
            raise DatasetError(f"There is no column {name} to stratify by.")
        kind: Any = frame[name].dtype
        if isinstance(kind, pd.ArrowDtype) and pa.types.is_list(kind.pyarrow_dtype):
            raise DatasetError(f"{name} holds lists, which are no strata; leave it out of splits.stratify.")
