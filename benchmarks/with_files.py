"""The jobs of `pixels` and `build`, with SimpleITK and dicom2nifti on files on the disk; no server is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dicom2nifti
import nibabel
import numpy as np
import SimpleITK

__all__ = ["simpleitk", "to_nifti", "written"]


def simpleitk(_url: str, _user: str, _password: str, *, what: Mapping[str, Any]) -> dict[str, Any]:
    """By the reader of a series."""
    return {uid: _read(folder) for uid, folder in what["folders"].items()}


def to_nifti(_url: str, _user: str, _password: str, *, what: Mapping[str, Any]) -> dict[str, Any]:
    """As an image of nibabel, not written to a file; its axes as ours, which moves no voxel."""
    return {uid: _converted(folder) for uid, folder in what["folders"].items()}


def written(_url: str, _user: str, _password: str, *, what: Mapping[str, Any], into: str) -> int:
    """A .nii.gz a series; how many."""
    Path(into).mkdir()
    for uid in what["series"]:
        target = str(Path(into) / f"{uid}.nii.gz")
        dicom2nifti.dicom_series_to_nifti(str(Path(what["files"]) / uid), target, reorient_nifti=False)
    return len(list(Path(into).iterdir()))


def _read(folder: str) -> Any:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
    return SimpleITK.GetArrayFromImage(reader.Execute())


def _converted(folder: str) -> Any:
    image = dicom2nifti.dicom_series_to_nifti(folder, output_file=None, reorient_nifti=False)["NII"]
    ras = np.asanyarray(nibabel.as_closest_canonical(image).dataobj)
    return ras[::-1, ::-1].T
