"""What an open dataset gives to others: items for training, NIfTI in layouts, a folder for the Hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:
    from orthanc_research.dataset._items import Items
    from orthanc_research.dataset._open import OpenDataset

__all__ = ["Loaders"]

Array = npt.NDArray[Any]


class Loaders:
    """The part of `OpenDataset` that other libraries are fed by."""

    def torch(
        self,
        split: str | Iterable[str] | None = None,
        *,
        item: str = "volume",
        values: str | None = None,
        columns: Sequence[str] = (),
        transform: Callable[[dict[str, Any]], Any] | None = None,
        **how: Any,
    ) -> Items:
        """Volumes or slices for training, as a sequence of dicts: a map-style dataset for torch's `DataLoader`.

        `split` is the name of a split (by patient), or PatientIDs as `ds.splits.index` has them (of a fold, say); None
        is everything. "volume": `image` (slice, row, column) as of `volume`, and `affine`, (slice, row, column, 1) →
        RAS mm. "slice": each frame, `image` (row, column[, sample]), `sop_uid` and `frame`; its row group alone is
        read. With each come `series_uid`, `patient_id` and the named `columns` of `series` (labels: NaN or "" where
        there is none). `values` is what the recipe says, or "stored", "rescaled", "suv"; `how` as of `volume`.

        `transform` gets each dict and what it returns is the item. Arrays are numpy's: torch makes tensors of them, and
        is not needed here. Nothing stays open: workers may be forked or spawned. A series that is no volume is in
        `.left_out` with its reason, and a warning counts them; `DatasetError` when none is left.
        """
        from orthanc_research.dataset._items import items

        return items(self._dataset(), split, form=item, values=values, columns=columns, transform=transform, how=how)

    def monai(
        self,
        split: str | Iterable[str] | None = None,
        *,
        values: str | None = None,
        columns: Sequence[str] = (),
        transform: Callable[[dict[str, Any]], Any] | None = None,
        **how: Any,
    ) -> Items:
        """As `torch`, in MONAI's own form: `image` is (channel, x, y, z), as MONAI reads a NIfTI of the series.

        x, y, z are the column, row and slice; the affine leads to RAS mm. With MONAI, `image` is a `MetaTensor` that
        carries it, so that Orientationd and Spacingd do what they say; without, it is an array, and the affine is in
        `image_meta_dict`. For `monai.data.Dataset(ds.monai("train"), transform)`, `CacheDataset` and the others.
        """
        from orthanc_research.dataset._items import items

        return items(self._dataset(), split, form="monai", values=values, columns=columns, transform=transform, how=how)

    def to_numpy(
        self, split: str | Iterable[str] | None = None, *, values: str | None = None, **how: Any
    ) -> tuple[pd.DataFrame, list[Array]]:
        """(table, arrays): the volumes of a split in memory, a row of the table for each; options as of `torch`.

        The table has all columns of `series`, and its `attrs["left_out"]` counts the series that gave none.
        """
        from orthanc_research.dataset._items import items, series_of

        found = items(self._dataset(), split, form="volume", values=values, columns=(), transform=None, how=how)
        ours = [name for name in found.table if name != "SeriesInstanceUID"]  # a label may be called "part", too
        table = found.table.merge(series_of(self._dataset(), None).drop(columns=ours, errors="ignore"))
        table.attrs["left_out"] = len(found.left_out)
        return table, [each["image"] for each in found]

    def to_nifti(
        self,
        folder: str | os.PathLike[str],
        layout: str = "flat",
        *,
        split: str | Iterable[str] | None = None,
        values: str | None = None,
        names: Mapping[str, str] | None = None,
        segmentations: Mapping[str, Array] | None = None,
        labels: Mapping[str, int] | None = None,
        **how: Any,
    ) -> pd.DataFrame:
        """Write the volumes as NIfTI into a new folder: a row for every series with `status`, `error` and `file`.

        - "flat": `<SeriesInstanceUID>.nii.gz` with the affine, units and slices in a .json beside it.
        - "bids": BIDS 1.10.0. `sub-<patient>/ses-<study>/anat/…_T1w.nii.gz` with a sidecar of what the recipe's
          keywords know, participants.tsv, dataset_description.json and README. Nobody can tell a T1w from a T2w by the
          tables: `names` says it, {Modality or SeriesInstanceUID: BIDS suffix of anat}. CT is no part of that version:
          it goes to `ct/`, as of its proposal (BEP 24), and into .bidsignore.
        - "nnunet": the raw form of nnU-Net 2. The folder is called `Dataset<three digits>_<name>`; imagesTr/labelsTr,
          and imagesTs/labelsTs for the split "test"; `case_0000.nii.gz`, dataset.json. `segmentations` maps a
          SeriesInstanceUID to whole numbers in the order of `volume(…).array`, `labels` what they are called to
          numbers from {"background": 0}. splits_final.json keeps our split by patient: copy it to nnUNet_preprocessed,
          or nnU-Net makes folds of its own, in which a patient may be on both sides.

        `status`: "done"; "not-a-volume"; "failed" (its values cannot be given or written); "no-name" (bids: nobody
        said what it is); "no-segmentation", "other-modality", "no-split" (nnunet; the last where others have a split).
        `QueryError` for what makes no sense, and for a folder that is not empty. Needs nibabel.
        """
        from orthanc_research.dataset._layouts import to_nifti

        extra = {"names": names, "segmentations": segmentations, "labels": labels}
        return to_nifti(self._dataset(), folder, layout, split=split, values=values, extra=extra, how=how)

    def to_hf(self, folder: str | os.PathLike[str]) -> pd.DataFrame:
        """Copy it into a new folder in the form of the Hugging Face Hub; the rows and bytes of each configuration.

        `datasets.load_dataset(folder, "frames", split="train")` reads it: "frames" (pixels as bytes with shape and
        dtype), "series", "instances" and "issues" are configurations, and our splits are splits ("train" alone where
        there are none; "-" in a name is "_"). Files are parquet, typed, without anything to run; README.md is the card
        of the dataset with what the Hub needs in front. A series of no split is in "unsplit".
        """
        from orthanc_research.dataset._hub import to_hf

        return to_hf(self._dataset(), folder)

    def _dataset(self) -> OpenDataset:
        return cast("OpenDataset", self)
