"""A dataset as NIfTI, in the layouts that others read: one folder, BIDS, nnU-Net."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from orthanc_research.dataset._bids import Bids
from orthanc_research.dataset._items import checked_stacks, series_of, values_of
from orthanc_research.dataset._nnunet import NnUnet
from orthanc_research.errors import DatasetError, Error, GeometryError, QueryError
from orthanc_research.export import write_volume
from orthanc_research.export._options import file_name
from orthanc_research.files import private_folder
from orthanc_research.pixels import Reading, Volume, check_nifti

if TYPE_CHECKING:
    from orthanc_research.dataset._open import OpenDataset

__all__ = ["LAYOUT_COLUMNS", "to_nifti"]

# column → dtype of what `to_nifti` gives, indexed by the SeriesInstanceUID; a series that is split has several rows
LAYOUT_COLUMNS = {"status": "str", "error": "str", "file": "str", "split": "str"}
Row = dict[str, Any]


@dataclass
class _Flat:
    """One folder of volumes, each with its description beside it."""

    folder: Path

    def refused(self, row: Row) -> tuple[str, str] | None:
        """Nothing is."""
        return None

    def put(self, row: Row, part: int, of: int, volume: Volume) -> Path:
        """Named by the series, numbered where there are several."""
        name = row["name"] if of == 1 else f"{row['name']}_{part + 1:03d}"
        return write_volume(self.folder / f"{name}.nii.gz", volume)

    def finish(self) -> None:
        """Nothing is left to write."""


def _flat(_: OpenDataset, folder: Path, rows: pd.DataFrame, extra: Mapping[str, Any]) -> _Flat:
    return _Flat(folder)


_LAYOUTS: Mapping[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "flat": (_flat, ()),
    "bids": (Bids.make, ("names",)),
    "nnunet": (NnUnet.make, ("segmentations", "labels")),
}


def to_nifti(
    dataset: OpenDataset,
    folder: str | os.PathLike[str],
    layout: str,
    *,
    split: str | Iterable[str] | None,
    values: str | None,
    extra: Mapping[str, Any],
    how: Mapping[str, Any],
) -> pd.DataFrame:
    """See `OpenDataset.to_nifti`."""
    if layout not in _LAYOUTS:
        raise QueryError(f"layout={layout!r} is not there; choose from {', '.join(_LAYOUTS)}.")
    make, takes = _LAYOUTS[layout]
    for name, value in extra.items():
        if value is not None and name not in takes:
            raise QueryError(f'{name} makes no sense with layout="{layout}".')
    check_nifti()
    reading = Reading(values=values or values_of(dataset), **how)
    rows = series_of(dataset, split)
    root = Path(folder).expanduser()
    target = make(dataset, root, rows, extra)
    _new(root)
    found = [each for row in _records(rows) for each in _written(dataset, target, root, row, reading)]
    target.finish()
    frame = pd.DataFrame(found, columns=["SeriesInstanceUID", *LAYOUT_COLUMNS])
    return frame.set_index("SeriesInstanceUID").astype(LAYOUT_COLUMNS)


def _records(rows: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def _new(folder: Path) -> None:
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise QueryError("Give a folder that is new or empty: what is there might be taken for a part of this.")
        private_folder(folder)
    except OSError as error:
        raise QueryError(f"Nothing can be written to that folder ({os.strerror(error.errno or 0)}).") from None


def _written(dataset: OpenDataset, target: Any, root: Path, row: Row, reading: Reading) -> list[Row]:
    """What became of a series, volume by volume; a full disk ends it all."""
    uid = str(row["SeriesInstanceUID"])
    place = row.get("split")
    told = {"SeriesInstanceUID": uid, "split": None if pd.isna(place) else place}
    refused = target.refused(row)
    if refused is not None:
        return [{**told, "status": refused[0], "error": refused[1]}]
    try:
        stacks = checked_stacks(dataset, uid, reading)
        volumes = dataset.filled(uid, stacks, reading.values, reading.dtype)
        row = {**row, "name": file_name(uid, dataset.frames_file(uid).stem)}  # a UID of a stranger may be a path
    except GeometryError as error:
        return [{**told, "status": "not-a-volume", "error": str(error)}]
    except Error as error:
        return [{**told, "status": "failed", "error": str(error)}]
    found: list[Row] = []
    for part, volume in enumerate(volumes):
        try:
            path = target.put(row, part, len(volumes), volume)
            found.append({**told, "status": "done", "file": path.relative_to(root).as_posix()})
        except OSError as error:
            raise DatasetError(f"The files cannot be written ({os.strerror(error.errno or 0)}).") from error
        except Error as error:
            found.append({**told, "status": "failed", "error": str(error)})
    return found
