"""The volumes or slices of a dataset one by one, for training: each is read from the disk when it is asked for."""

from __future__ import annotations

import operator
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthanc_research.errors import DatasetError, GeometryError, PixelError, QueryError
from orthanc_research.pixels import Reading, Stack, Volume

if TYPE_CHECKING:
    from orthanc_research.dataset._open import OpenDataset

__all__ = ["Items", "checked_stacks", "items", "series_of", "spatial", "told", "values_of"]

Array = npt.NDArray[Any]
Item = dict[str, Any]
_OWN = ("SeriesInstanceUID", "PatientID", "split", "part")


@dataclass(frozen=True, eq=False, repr=False)
class Items(Sequence[Item]):
    """A sequence of dicts, read one at a time: torch's `DataLoader` takes it as a map-style dataset, and so do others.

    - `table`: a row an item: SeriesInstanceUID, PatientID, `split` where there is one, `part` (which volume or which
      frame of the series, from 0), and the chosen columns.
    - `left_out`: SeriesInstanceUID and `reason` of each series of the split that gives no item.

    It holds no open file, so that workers may be forked or spawned at any time.
    """

    table: pd.DataFrame
    left_out: pd.DataFrame
    _read: Callable[[str, int], Item]
    _columns: tuple[str, ...] = ()
    _transform: Callable[[Item], Any] | None = field(default=None)

    def __len__(self) -> int:
        return len(self.table)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Items: ...

    def __getitem__(self, index: int | slice) -> Item | Items:
        if isinstance(index, slice):
            return Items(self.table.iloc[index], self.left_out, self._read, self._columns, self._transform)
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"There are {len(self)} items.")
        row = self.table.iloc[place]
        item = self._read(str(row["SeriesInstanceUID"]), int(row["part"]))
        item["series_uid"] = str(row["SeriesInstanceUID"])
        item["patient_id"] = _plain(row["PatientID"], text=True)
        item |= {name: _plain(row[name], text=_is_text(self.table[name])) for name in self._columns}
        return item if self._transform is None else self._transform(item)

    def __iter__(self) -> Iterator[Item]:
        return (self[place] for place in range(len(self)))

    def __repr__(self) -> str:
        return (
            f"<Items: {len(self)} of {self.table['SeriesInstanceUID'].nunique()} series, {len(self.left_out)} left out>"
        )


def items(
    dataset: OpenDataset,
    split: str | Iterable[str] | None,
    *,
    form: str,
    values: str | None,
    columns: Sequence[str],
    transform: Callable[[Item], Any] | None,
    how: Mapping[str, Any],
) -> Items:
    """See `OpenDataset.torch` and `.monai`; `form` is "volume", "slice" or "monai"."""
    if form not in ("volume", "slice", "monai"):
        raise QueryError(f'item={form!r} is not there; choose "volume" or "slice".')
    if transform is not None and not callable(transform):
        raise QueryError("transform is a function of an item.")
    if form == "slice" and set(how) - {"dtype"}:
        raise QueryError("Slices are taken as they are: min_slices, on_missing, on_shear and on_4d are for volumes.")
    reading = Reading(values=values or values_of(dataset), **how)
    rows = series_of(dataset, split)
    _check_columns(dataset, columns)
    parts, left = _parts(dataset, rows["SeriesInstanceUID"], form, reading)
    if not parts:
        first = f" the first reason: {left[0][1]}" if left else ""
        raise DatasetError(
            f"None of these {len(rows)} series gives a {'slice' if form == 'slice' else 'volume'};{first}"
        )
    told(len(left), len(rows))
    table = pd.DataFrame(parts, columns=["row", "part"])
    table = rows.iloc[table["row"]].reset_index(drop=True).assign(part=table["part"])
    kept = [name for name in (*_OWN, *columns) if name in table]
    left_out = pd.DataFrame(left, columns=["SeriesInstanceUID", "reason"]).astype("str")
    read = partial(_slice if form == "slice" else _volume, dataset, reading)
    if form == "monai":
        read = partial(_for_monai, dataset, reading)
    return Items(table[kept], left_out, read, tuple(columns), transform)


def told(left: int, of: int) -> None:
    """Say that series were left out, as a warning; nothing when none was."""
    if left:
        text = f"{left} of {of} series are left out; .left_out says why."
        warnings.warn(text, stacklevel=4)


def values_of(dataset: OpenDataset) -> str:
    """What the recipe says the values of the dataset are; "stored" where there is no recipe."""
    try:
        tables = tomllib.loads((dataset.folder / "recipe.toml").read_text())
    except (OSError, ValueError):
        return "stored"
    found = str(tables.get("arrays", {}).get("values", "stored"))
    if found == "none":
        raise QueryError("This dataset was built without pixels: its recipe says arrays.values = 'none'.")
    return found


def series_of(dataset: OpenDataset, split: str | Iterable[str] | None) -> pd.DataFrame:
    """The rows of `series` of a split, or of some patients; None: of all. `QueryError` for what is not there.

    With a column `split` where the dataset has splits. A series of which nobody knows the patient is in no split.
    """
    rows = dataset.series.reset_index()
    splits = dataset.splits if (dataset.folder / "splits.parquet").is_file() else pd.DataFrame()
    if "split" in splits:
        rows["split"] = rows["PatientID"].map(splits["split"]).astype("str")
    if split is None:
        return rows
    if isinstance(split, str):
        known = sorted(set(rows["split"].dropna())) if "split" in rows else []
        if split not in known:
            there = f"choose from {', '.join(known)}" if known else "this dataset has none"
            raise QueryError(f"There is no split of that name; {there}.")
        return rows[rows["split"] == split].reset_index(drop=True)
    wanted = [str(each) for each in split]
    if not wanted or not set(wanted) <= set(rows["PatientID"].dropna()):
        raise QueryError("A split is a name, or PatientIDs of this dataset: ds.splits.index[…].")
    return rows[rows["PatientID"].isin(wanted)].reset_index(drop=True)


def checked_stacks(dataset: OpenDataset, uid: str, reading: Reading) -> list[Stack]:
    """What `OpenDataset.volumes` makes volumes of, refused from the headers alone where it can be."""
    stacks = reading.stacks(dataset.stacks(uid))
    for stack in stacks:
        stack.checked()
    dataset.check_values(uid, reading.values, [frame.sop_uid for stack in stacks for frame in stack.frames])
    return stacks


def spatial(volume: Volume) -> tuple[Array, npt.NDArray[np.float64]]:
    """(channel, x, y, z) and its affine to RAS mm, in the order of NIfTI: x is the column, y the row, z the slice.

    4-D values are channels, and so is colour; a 3-D volume has one channel.
    """
    array = np.moveaxis(volume.array, -1, 0) if "sample" in volume.dims else volume.array
    flat = array.reshape(-1, *array.shape[-3:])
    return np.ascontiguousarray(flat.transpose(0, 3, 2, 1)), volume.affine_ras[:, [2, 1, 0, 3]]


def _parts(
    dataset: OpenDataset, uids: Iterable[str], form: str, reading: Reading
) -> tuple[list[tuple[int, int]], list[tuple[str, str]]]:
    """(row, part) of each item; (series, reason) of each series without one."""
    found: list[tuple[int, int]] = []
    left: list[tuple[str, str]] = []
    for row, uid in enumerate(uids):
        try:
            if form == "slice":
                headers = dataset.headers(uid)
                dataset.check_values(uid, reading.values, [frame.sop_uid for frame in headers])
                count = len(headers)
            else:
                count = len(checked_stacks(dataset, uid, reading))
        except (GeometryError, PixelError, QueryError) as error:
            left.append((uid, str(error)))
            continue
        found += [(row, part) for part in range(count)]
    return found, left


def _volume(dataset: OpenDataset, reading: Reading, uid: str, part: int) -> Item:
    volume = _filled(dataset, reading, uid, part)
    return {"image": volume.array, "affine": volume.affine_ras}


def _for_monai(dataset: OpenDataset, reading: Reading, uid: str, part: int) -> Item:
    array, affine = spatial(_filled(dataset, reading, uid, part))
    meta = {"original_affine": affine.copy(), "original_channel_dim": 0, "space": "RAS"}
    try:
        from monai.data import MetaTensor
    except ImportError:
        return {"image": array, "image_meta_dict": {**meta, "affine": affine}}
    import torch

    return {"image": MetaTensor(torch.as_tensor(array), affine=torch.as_tensor(affine), meta=meta)}


def _filled(dataset: OpenDataset, reading: Reading, uid: str, part: int) -> Volume:
    stack = reading.stacks(dataset.stacks(uid))[part]
    return dataset.filled(uid, [stack], reading.values, reading.dtype)[0]


def _slice(dataset: OpenDataset, reading: Reading, uid: str, part: int) -> Item:
    array, about = dataset.slice(uid, part, reading.values, reading.dtype)
    return {"image": array, "sop_uid": str(about["SOPInstanceUID"]), "frame": int(about["FrameNumber"])}


def _check_columns(dataset: OpenDataset, columns: Sequence[str]) -> None:
    if isinstance(columns, str):
        raise QueryError("columns is a list of names.")
    taken = {"image", "affine", "image_meta_dict", "series_uid", "patient_id", "sop_uid", "frame", *_OWN}
    for name in columns:
        if name not in dataset.series.columns or name in taken:
            raise QueryError(
                "columns are those of ds.series, such as your labels; SeriesInstanceUID and others come anyway."
            )


def _is_text(values: pd.Series[Any]) -> bool:
    return not (pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype))


def _plain(value: Any, *, text: bool) -> Any:
    """What a batch can be made of: a number (NaN for none), or a text ("" for none)."""
    if isinstance(value, list | np.ndarray):
        return np.asarray(value)
    missing = bool(pd.isna(value))
    if text:
        return "" if missing else str(value)
    return float("nan") if missing else value.item() if hasattr(value, "item") else value
