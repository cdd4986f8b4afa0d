"""The raw layout of nnU-Net 2 (documentation/dataset_format.md of its repository), one channel."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pandas as pd

from orthanc_research.errors import DatasetError, QueryError
from orthanc_research.export.volumes import write_image
from orthanc_research.files import atomic_write, private_folder
from orthanc_research.pixels import Volume

if TYPE_CHECKING:
    from orthanc_research.dataset._open import OpenDataset

__all__ = ["NnUnet"]

_FOLDER = re.compile(r"Dataset[0-9]{3}_[A-Za-z0-9_]+", re.ASCII)
_TEST = "test"


@dataclass
class NnUnet:
    """A folder that grows case by case; `finish` writes dataset.json and splits_final.json."""

    folder: Path
    modality: str
    segmentations: Mapping[str, Any]
    labels: Mapping[str, int]
    folds: Mapping[str, int]
    cases: dict[str, tuple[str, str]] = field(default_factory=dict)  # case → (PatientID, split), of training

    @classmethod
    def make(cls, dataset: OpenDataset, folder: Path, rows: pd.DataFrame, extra: Mapping[str, Any]) -> NnUnet:
        """Checked before anything is written."""
        if not _FOLDER.fullmatch(folder.name):
            raise QueryError("nnU-Net wants a folder that is called Dataset<three digits>_<name>, as Dataset101_Lung.")
        labels, segmentations = extra["labels"], extra["segmentations"]
        if not isinstance(segmentations, Mapping) or not isinstance(labels, Mapping):
            raise QueryError('nnU-Net needs segmentations={SeriesInstanceUID: array} and labels={"background": 0, …}.')
        labels = _numbered(labels)
        unknown = set(segmentations) - set(dataset.series.index)
        if unknown:
            raise QueryError(f"{len(unknown)} of the segmentations are of no series of this dataset.")
        named = rows[rows["SeriesInstanceUID"].isin(list(segmentations))]["Modality"]
        splits = dataset.splits if (dataset.folder / "splits.parquet").is_file() else pd.DataFrame()
        folds = {str(name): int(fold) for name, fold in splits["fold"].dropna().items()} if "fold" in splits else {}
        return cls(folder, str(named.iloc[0]) if len(named) else "", segmentations, labels, folds)

    def refused(self, row: Mapping[str, Any]) -> tuple[str, str] | None:
        """Why a series is no case of this training."""
        if self.modality and row["Modality"] != self.modality:
            return "other-modality", f"This nnU-Net dataset is of {self.modality}; its images must be of one kind."
        if "split" in row and pd.isna(row["split"]):
            return "no-split", "Nobody knows whose series this is: it may be one of a patient of the test."
        if row.get("split") != _TEST and str(row["SeriesInstanceUID"]) not in self.segmentations:
            return "no-segmentation", "Training needs a segmentation of it: segmentations={SeriesInstanceUID: array}."
        return None

    def put(self, row: Mapping[str, Any], part: int, of: int, volume: Volume) -> Path:
        """The image as channel 0 and its segmentation with the same affine, or neither."""
        if volume.array.ndim != 3:
            raise DatasetError("nnU-Net takes volumes of three dimensions.")
        if of > 1:
            raise DatasetError("A segmentation belongs to one volume, and this series gives several.")
        uid = str(row["SeriesInstanceUID"])
        case, test = str(row["name"]).replace(".", "-"), row.get("split") == _TEST
        found = self._labelled(uid, volume)
        behind = "Ts" if test else "Tr"
        path = private_folder(self.folder / f"images{behind}") / f"{case}_0000.nii.gz"
        if found is not None:
            write_image(private_folder(self.folder / f"labels{behind}") / f"{case}.nii.gz", found)
        write_image(path, volume)
        if not test:
            patient = uid if pd.isna(row["PatientID"]) else str(row["PatientID"])
            self.cases[case] = (patient, str(row.get("split", "")))
        return path

    def _labelled(self, uid: str, volume: Volume) -> Volume | None:
        if uid not in self.segmentations:
            return None
        array = np.asarray(self.segmentations[uid])
        if array.shape != volume.shape:
            raise DatasetError(
                f"Its segmentation is {array.shape} and the volume {volume.shape}: (slice, row, column)."
            )
        if array.dtype.kind not in "iub" or (array.size and not 0 <= array.min() <= array.max() < len(self.labels)):
            raise DatasetError(f"Its segmentation has to be whole numbers from 0 to {len(self.labels) - 1}.")
        kind = np.uint8 if len(self.labels) <= 256 else np.uint16
        return replace(volume, array=array.astype(kind), values="stored", units="stored units")

    def finish(self) -> None:
        """dataset.json, and the folds that keep a patient on one side."""
        about = {
            "channel_names": {"0": "CT" if self.modality == "CT" else self.modality or "image"},
            "labels": dict(sorted(self.labels.items(), key=lambda pair: pair[1])),
            "numTraining": len(self.cases),
            "file_ending": ".nii.gz",
        }
        _write(self.folder / "dataset.json", about)
        folds = self._folds()
        if folds:
            _write(self.folder / "splits_final.json", folds)

    def _folds(self) -> list[dict[str, list[str]]]:
        of = {case: self.folds.get(patient) for case, (patient, _) in self.cases.items()}
        if self.folds:
            return [_fold([each for each in of if of[each] == fold], of) for fold in sorted(set(self.folds.values()))]
        held = [case for case, (_, split) in self.cases.items() if split != "train"]
        return [_fold(held, self.cases)] if held and len(held) < len(self.cases) else []


def _numbered(labels: Mapping[Any, Any]) -> dict[str, int]:
    """The labels as JSON has them: numpy's numbers are whole ones, too."""
    try:
        found = {str(name): int(operator.index(number)) for name, number in labels.items()}
    except TypeError:
        found = {}
    if found.get("background") != 0 or sorted(found.values()) != list(range(len(labels))):
        raise QueryError('labels are numbered without a gap, from "background": 0.')
    if found.get("ignore", len(found) - 1) != len(found) - 1:
        raise QueryError('nnU-Net wants the label "ignore" to have the highest number.')
    return found


def _fold(held: list[str], cases: Mapping[str, Any]) -> dict[str, list[str]]:
    return {"train": sorted(set(cases) - set(held)), "val": sorted(held)}


def _write(path: Path, content: Any) -> None:
    with atomic_write(path) as stream:
        stream.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))
