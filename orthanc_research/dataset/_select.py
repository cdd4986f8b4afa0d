"""Which series a recipe means, asked of its servers: what was found, what is kept, and why the others are not."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, TypeVar

import pandas as pd
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import UID

from orthanc_research import resolve
from orthanc_research.dataset._labels import join_labels, read_labels
from orthanc_research.dataset._recipe import Recipe
from orthanc_research.dataset._sections import FACTS, IDENTIFIERS
from orthanc_research.dataset._splits import identity_of
from orthanc_research.errors import CancelledError, DatasetError, GeometryError, NotFoundError
from orthanc_research.export.plan import plan as planned_of
from orthanc_research.orthanc import Orthanc
from orthanc_research.parallel import thread_map
from orthanc_research.pixels._codecs import CODECS, available
from orthanc_research.progress import Progress

__all__ = ["check_strata", "identifying", "look", "opened", "select"]

T = TypeVar("T")
# What tells who somebody is, beside names (VR PN).
_IDENTIFYING = frozenset(
    (
        "PatientID",
        "IssuerOfPatientID",
        "OtherPatientIDs",
        "PatientBirthDate",
        "PatientBirthTime",
        "PatientAddress",
        "PatientTelephoneNumbers",
        "AccessionNumber",
        "StudyID",
        "InstitutionName",
        "InstitutionAddress",
        "StationName",
        "DeviceSerialNumber",
        "PatientComments",
    )
)
_NEEDED = ("SeriesInstanceUID", "StudyInstanceUID", "Modality", "PatientID", "IssuerOfPatientID")
_NO_PATIENT = "no PatientID"


def identifying(names: Sequence[str]) -> tuple[str, ...]:
    """Those of these columns that tell who somebody is."""

    def tells(name: str) -> bool:
        tag = tag_for_keyword(name)
        return name in _IDENTIFYING or (tag is not None and dictionary_VR(tag) == "PN")

    return tuple(name for name in names if tells(name))


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


def select(recipe: Recipe, orthancs: Sequence[Orthanc], progress: Progress) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A row a series that the query finds, and notes on the labels.

    Index: (source, Orthanc ID). Columns: what the filter, the splits and the labels read, `instances`, `planned` (a
    `Planned`), `identity` (`identity_of`; PHI) and `reason` ("" for what is kept so far).
    """
    frames = [_found(recipe, orthanc).assign(source=place) for place, orthanc in enumerate(orthancs)]
    frame = pd.concat(frames) if len(frames) > 1 else frames[0]
    frame = frame.reset_index().sort_values(["SeriesInstanceUID", "source", "ID"]).reset_index(drop=True)
    identities = zip(frame["IssuerOfPatientID"], frame["PatientID"], strict=True)
    frame["identity"] = [identity_of(*(None if pd.isna(each) else str(each) for each in pair)) for pair in identities]
    frame["reason"] = recipe.filter.reasons(frame).to_numpy()
    twice = frame["ID"].duplicated()
    frame.loc[twice & (frame["reason"] == ""), "reason"] = "in another source already"
    if recipe.splits.ratios or recipe.splits.kfold is not None:
        frame.loc[(frame["identity"] == "") & (frame["reason"] == ""), "reason"] = _NO_PATIENT
    frame, notes = _labelled(recipe, frame)
    progress.note(f"{int((frame['reason'] == '').sum())} of {len(frame)} series")
    return frame, notes


def _found(recipe: Recipe, orthanc: Orthanc) -> pd.DataFrame:
    match: dict[str, Any] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in recipe.query.match.items()
    }
    series = orthanc.find(recipe.query.level, columns=(), **match)
    if recipe.query.level != "Series":
        series = orthanc.find("Series", columns=(), within=series)
    on = (recipe.labels.on,) if recipe.labels and recipe.labels.on != "SOPInstanceUID" else ()
    labelled = recipe.labels.columns if recipe.labels else ()
    strata = () if recipe.labels and not labelled else (each for each in recipe.splits.stratify if each not in labelled)
    names = dict.fromkeys((*_NEEDED, *recipe.filter.columns, *strata, *on))
    frame = orthanc.tags(series, [name for name in names if name not in FACTS], per="Series")
    planned = {each.series: each for each in planned_of(orthanc.rest, resolve.select(orthanc.rest, series))}
    frame["planned"] = pd.Series([planned[str(each)] for each in frame.index], index=frame.index, dtype="object")
    frame["instances"] = pd.array([planned[str(each)].count for each in frame.index], dtype="Int64")
    return frame.drop(columns=["RepresentativeInstance", "Issues"], errors="ignore")


def _labelled(recipe: Recipe, frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """With the columns of the labels; those of the recipe's own that identify were named, others are refused."""
    path = recipe.labels_file()
    if path is None or recipe.labels is None:
        return frame, ()
    labels = recipe.labels
    table = read_labels(path, labels.on, labels.columns)
    given = [name for name in table.columns if name != labels.on]
    told = [name for name in identifying(given) if recipe.anonymize.on or name not in labels.columns]
    told += [name for name in given if name in IDENTIFIERS and name not in told]
    if told:
        raise DatasetError(f"The labels have the identifying column {told[0]}; name those to keep in labels.columns.")
    if labels.on == "SOPInstanceUID":
        raise DatasetError("Labels by SOPInstanceUID are not built yet; join them on SeriesInstanceUID or a study's.")
    both = [name for name in given if name in frame.columns]
    renamed = frame.rename(columns={name: f"tag {name}" for name in both})
    joined = join_labels(renamed[renamed["reason"] == ""], table, labels.on)
    whole = renamed.join(joined.frame[given])
    whole.attrs["labels"] = given
    return whole, joined.notes


def look(recipe: Recipe, orthancs: Sequence[Orthanc], frame: pd.DataFrame, progress: Progress) -> pd.DataFrame:
    """The same rows with what costs requests a series: `bytes`, `decoder` (what to install, "" for nothing), geometry.

    A series that is no volume where one is required gets its reason: "geometry: <code>".
    """
    geometry = recipe.filter.geometry
    pixels = recipe.arrays.values != "none"
    how = geometry.reading(recipe.arrays.values if pixels else "stored") if geometry.require == "volume" else None

    sources, names = frame["source"].tolist(), frame["ID"].tolist()

    def one(place: int) -> tuple[int, str, str]:
        orthanc, series = orthancs[sources[place]], names[place]
        rest = orthanc.rest
        size = int(rest.series.statistics(series).get("DicomDiskSize", 0))
        reason = ""
        if how is not None:
            try:
                stacks = how.stacks(orthanc.stacks(series, min_slices=how.min_slices))
                if not any(stack.status == "ok" for stack in stacks):
                    reason = f"geometry: {stacks[0].status}"
            except GeometryError as error:
                reason = f"geometry: {error.code}"
        return size, _decoder(rest, series) if pixels and not reason else "", reason

    kept = (frame["reason"] == "").to_numpy().nonzero()[0].tolist()
    progress.total(len(kept), "series")
    found = _each(one, kept, orthancs, progress)
    known = dict(zip(kept, found, strict=True))
    everywhere = [known.get(place, (None, "", reason)) for place, reason in enumerate(frame["reason"].tolist())]
    sizes, decoders, reasons = zip(*everywhere, strict=True) if everywhere else ((), (), ())
    return frame.assign(
        bytes=pd.array(list(sizes), dtype="Int64"),
        decoder=pd.array(list(decoders), dtype="str"),
        reason=pd.array(list(reasons), dtype="str"),
    )


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


def _decoder(rest: Any, series: str) -> str:
    """What to install for the first instance's transfer syntax, where nothing here decodes it."""
    try:
        instance = rest.series.children(series, "Instance")[0]["ID"]
        syntax = rest.instances.metadata_value(instance, "TransferSyntax").strip()
    except (NotFoundError, IndexError):
        return ""
    codec = CODECS.get(syntax)
    return codec.package if codec is not None and not available(UID(syntax)) else ""


def check_strata(recipe: Recipe, frame: pd.DataFrame) -> None:
    """`DatasetError` for a stratum that is no column."""
    for name in recipe.splits.stratify:
        if name not in frame.columns:
            raise DatasetError(f"There is no column {name} to stratify by.")
