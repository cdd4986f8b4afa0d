"""A built dataset, opened: its tables at once, its frames and volumes when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthanc_research.dataset._headers import check_rescale, frame_of, headers_of
from orthanc_research.dataset._loaders import Loaders
from orthanc_research.dataset._manifest import read_manifest, verify
from orthanc_research.errors import DatasetError, PixelError, QueryError
from orthanc_research.export import read_frames, read_parquet
from orthanc_research.export.frames import read_frame
from orthanc_research.pixels import Filler, Frame, Reading, Stack, Volume, stacks_of
from orthanc_research.pixels._values import convert, describe
from orthanc_research.pixels._voxels import put, voxel_type

__all__ = ["OpenDataset", "open_dataset"]

Array = npt.NDArray[Any]


def open_dataset(folder: str | os.PathLike[str], *, check: bool = False) -> OpenDataset:
    """Open the folder that a build wrote; nothing is read yet.

    `check=True` reads every file and holds it against the manifest first: `DatasetError` names one that differs.
    `DatasetError` too when there is no manifest: the build is not complete.
    """
    root = Path(folder)
    read_manifest(root)
    if check:
        wrong = verify(root)
        if len(wrong):
            first = wrong.iloc[0]
            raise DatasetError(f"{len(wrong)} files are not as they were built; the first is {first['file']}.")
    return OpenDataset(root)


@dataclass(frozen=True, eq=False)
class OpenDataset(Loaders):
    """A built dataset. Tables are read once, when first asked for; frames and volumes each time."""

    folder: Path

    @cached_property
    def series(self) -> pd.DataFrame:
        """A row a series, indexed by SeriesInstanceUID."""
        return self._table("series", "SeriesInstanceUID")

    @cached_property
    def instances(self) -> pd.DataFrame:
        """A row an instance, indexed by SOPInstanceUID."""
        return self._table("instances", "SOPInstanceUID")

    @cached_property
    def splits(self) -> pd.DataFrame:
        """A row a patient, indexed by PatientID (the pseudonym), with `split` and, where there are folds, `fold`."""
        return self._table("splits", "PatientID")

    @cached_property
    def issues(self) -> pd.DataFrame:
        """A row for everything that is unusual, left out or could not be read."""
        return self._table("issues", None)

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """manifest.json: hashes (`content` is `Build.content_hash`), counts, versions, each file with its sha256."""
        return read_manifest(self.folder)

    def frames(self, series_uid: str | None = None) -> Iterator[tuple[dict[str, Any], Array]]:
        """(columns, stored values) of each frame of a series, in the order of InstanceNumber; one group in memory.

        Without `series_uid`, of all series, one after the other. `QueryError` for a series that is not here, or without
        frames; `DatasetError` for a damaged file.
        """
        if series_uid is not None:
            return read_frames(self.frames_file(series_uid))
        return chain.from_iterable(map(read_frames, sorted((self.folder / "frames").glob("*.parquet"))))

    def stacks(self, series_uid: str) -> list[Stack]:
        """Every stack of a series with its verdict, as `Orthanc.stacks` gives it; no pixel is read."""
        return stacks_of(self.headers(series_uid))

    def volume(self, series_uid: str, values: str = "stored", **how: Any) -> Volume:
        """The volume of a series, from its frames: axes, affine and errors as of `Orthanc.volume`.

        `values` is "stored" or "rescaled"; "suv" is there where the build worked it out (a column SUVFactor of
        `instances`). `how` are `dtype`, `min_slices`, `on_missing`, `on_shear`, and `on_4d` without "split".
        `GeometryError` when it is not one volume; `QueryError` when "split" makes several of it; `PixelError` when its
        values cannot be given so; `DatasetError` for a damaged file.
        """
        found = self.volumes(series_uid, values, **how)
        if len(found) != 1:
            raise QueryError(f"This series gives {len(found)} volumes; ask for them with volumes().")
        return found[0]

    def volumes(self, series_uid: str, values: str = "stored", **how: Any) -> list[Volume]:
        """The volumes of a series: one, or with on_4d="split" or on_missing="split" one for each stack.

        `values` and what else may be given are as those of `volume`.
        """
        reading = Reading(values=values, **how)
        return self.filled(series_uid, reading.stacks(self.stacks(series_uid)), values, reading.dtype)

    def filled(
        self, series_uid: str, stacks: Sequence[Stack], values: str = "stored", dtype: npt.DTypeLike | None = None
    ) -> list[Volume]:
        """The volumes of some of its `stacks`, as `volumes` gives them; frames are read once for all of them.

        `values` and `dtype` are those of `volume`, and so are the errors: `QueryError`, `PixelError`, `DatasetError`.
        """
        if values == "suv":
            return [self._suv(volume) for volume in self.filled(series_uid, stacks, "rescaled", dtype)]
        if values == "rescaled":
            check_rescale(self.headers(series_uid), self.frames_file(series_uid))
        fillers = [Filler(stack, values, dtype) for stack in stacks]
        wanted: dict[tuple[str, int], list[tuple[Filler, int]]] = {}
        for filler in fillers:
            for place, frame in enumerate(filler.stack.frames):
                wanted.setdefault((frame.sop_uid, frame.index), []).append((filler, place))
        for about, array in self.frames(series_uid):
            for filler, place in wanted.get((about["SOPInstanceUID"], about["FrameNumber"] - 1), ()):
                filler.put(place, array)
        return [filler.volume() for filler in fillers]

    def frame(self, series_uid: str, place: int) -> Array:
        """The stored values of one frame, (row, column[, sample]) in its own type; its row group alone is read.

        `place` is its place in the file, from 0. `QueryError` for a series or a frame that is not there,
        `DatasetError` for a damaged file.
        """
        return read_frame(self.frames_file(series_uid), place)[1]

    def slice(
        self, series_uid: str, place: int, values: str = "stored", dtype: npt.DTypeLike | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """One frame as `values`, (row, column[, sample]), with its columns; an array of its own.

        Float32 but for stored values, or `dtype`, which must hold them. `QueryError` for a series that is not here or a
        type that is none, `PixelError` as `volume`.
        """
        about, stored = read_frame(self.frames_file(series_uid), place)
        frame = frame_of({**about, "shape": stored.shape, "dtype": stored.dtype.str})
        self.check_values(series_uid, values, [frame.sop_uid], [frame])
        array = convert(frame, stored, "stored" if values == "stored" else "rescaled", np.float64)
        if values == "suv":
            array = array * float(self.instances["SUVFactor"].loc[frame.sop_uid])
        usual = stored.dtype.newbyteorder("=") if values == "stored" else np.dtype(np.float32)
        made = np.empty(stored.shape, dtype=voxel_type(dtype, usual))
        put(made, array, f"SOP instance {frame.sop_uid}")
        return made, {**about, "shape": stored.shape, "dtype": stored.dtype.str}

    def check_values(
        self, series_uid: str, values: str, sop_uids: Sequence[str], headers: list[Frame] | None = None
    ) -> None:
        """`PixelError` where these instances cannot be given as `values`, from their headers alone."""
        if values == "stored":
            return
        frames = self.headers(series_uid) if headers is None else headers
        check_rescale(frames, self.frames_file(series_uid))
        mine = set(sop_uids)
        describe([frame for frame in frames if frame.sop_uid in mine], "rescaled")
        if values == "suv":
            self._factors(sop_uids)

    def verify(self) -> pd.DataFrame:
        """The files that are not as the manifest says, a row each: `file` and `problem`; empty when all are."""
        return verify(self.folder)

    def __repr__(self) -> str:
        return f"<OpenDataset {self.folder.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenDataset, (self.folder,)  # whoever gets it reads the tables anew

    def _table(self, name: str, index: str | None) -> pd.DataFrame:
        path = self.folder / f"{name}.parquet"
        if not path.is_file():
            raise DatasetError(f"There is no {name}.parquet in this dataset.")
        frame = read_parquet(path)
        if index is None or frame.index.name == index:
            return frame
        frame = frame.reset_index(drop=frame.index.name is None)
        if index not in frame.columns:
            raise DatasetError(f"{name}.parquet has no column {index}.")
        return frame.set_index(index)

    def frames_file(self, series_uid: str) -> Path:
        """Where the frames of a series lie: by the table where it says so, as one UID may be two series; else its UID.

        `QueryError` for a series that is not here, that is several, or that has no frames.
        """
        if series_uid not in self.series.index:
            raise QueryError("There is no such series in this dataset; series lists them.")
        rows = self.series.loc[[series_uid]]
        if len(rows) > 1:
            raise QueryError("Several series of this dataset have this UID; their rows in series tell the files.")
        named = rows["file"].iloc[0] if "file" in rows.columns else f"frames/{series_uid}.parquet"
        path = self.folder / str(named)
        if pd.isna(named) or not path.resolve().is_relative_to(self.folder.resolve()) or not path.is_file():
            raise QueryError("This series has no frames in this dataset; issues may say why.")
        return path

    def headers(self, series_uid: str) -> list[Frame]:
        """The frames of a series, as their file describes them; no pixel is read.

        `QueryError` for a series that is not here, or without frames; `DatasetError` for a damaged file.
        """
        return headers_of(self.frames_file(series_uid))

    def _suv(self, volume: Volume) -> Volume:
        """By the factors that the build wrote beside each instance."""
        slices = self._factors(volume.sop_uids)
        shape = (*volume.shape[: volume.dims.index("row")], 1, 1)
        array = volume.array * np.array(slices, dtype=np.float64).reshape(shape)
        return replace(volume, array=array.astype(volume.array.dtype), values="suv", units="GML")

    def _factors(self, sop_uids: Sequence[str]) -> list[float]:
        """Of each instance; NaN for "", a slice that is missing."""
        if "SUVFactor" not in self.instances.columns:
            raise PixelError("SUV needs facts of the header that frames do not hold; the recipe says values = 'suv'.")
        factors = self.instances["SUVFactor"].reindex([uid for uid in sop_uids if uid]).dropna()
        found = [float(factors.get(uid, np.nan)) if uid else np.nan for uid in sop_uids]
        if any(uid and not np.isfinite(factor) for uid, factor in zip(sop_uids, found, strict=True)):
            raise PixelError("SUV cannot be given: instances of this series have no SUVFactor; issues says why.")
        return found
