"""The jobs of `pixels`, with SimpleITK and dicom2nifti on files that are on the disk already; no server is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dicom2nifti
import nibabel
import numpy as np
import SimpleITK

__all__ = ["simpleitk", "to_nifti"]


def simpleitk(_url: str, _user: str, _password: str, *, what: Mapping[str, Any]) -> dict[str, Any]:
    """By the reader of a series."""
    return {uid: _read(folder) for uid, folder in what["folders"].items()}


def to_nifti(_url: str, _user: str, _password: str, *, what: Mapping[str, Any]) -> dict[str, Any]:
    """As an image of nibabel, not written to a file; its axes as ours, which moves no voxel."""
    return {uid: _converted(folder) for uid, folder in what["folders"].items()}


def _read(folder: str) -> Any:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
    return SimpleITK.GetArrayFromImage(reader.Execute())


def _converted(folder: str) -> Any:
    image = dicom2nifti.dicom_series_to_nifti(folder, output_file=None, reorient_nifti=False)["NII"]
    ras = np.asanyarray(nibabel.as_closest_canonical(image).dataobj)
    return ras[::-1, ::-1].T
