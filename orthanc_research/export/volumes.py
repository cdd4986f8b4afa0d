"""Volumes to numpy's own format and back, with what makes an array a volume in a JSON beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from orthanc_research.errors import QueryError
from orthanc_research.files import atomic_write
from orthanc_research.pixels import Volume

__all__ = ["read_volume", "write_volume"]


def write_volume(path: str | os.PathLike[str], volume: Volume) -> Path:
    """Write `<path>.npy` and, beside it, `<path>.json` with the affine (LPS mm), spacing, units and slice UIDs."""
    target = Path(path)
    if target.suffix == ".npy":
        target = target.parent / target.name[:-4]
    about = {
        "dims": volume.dims,
        "shape": volume.shape,
        "dtype": volume.array.dtype.str,
        "affine_lps_mm": volume.affine.tolist(),
        "affine_ras_mm": volume.affine_ras.tolist(),
        "spacing_mm": volume.spacing,
        "values": volume.values,
        "units": volume.units,
        "inverted": volume.inverted,
        "modality": volume.modality,
        "series_uid": volume.series_uid,
        "frame_of_reference": volume.frame_of_reference,
        "sop_uids": volume.sop_uids,
        "issues": volume.issues,
    }
    with atomic_write(target.parent / f"{target.name}.json") as stream:
        stream.write(orjson.dumps(about, option=orjson.OPT_INDENT_2))
    with atomic_write(target.parent / f"{target.name}.npy") as stream:
        np.save(stream, volume.array, allow_pickle=False)
    return target.parent / f"{target.name}.npy"


def read_volume(path: str | os.PathLike[str]) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """The array and its description, as `write_volume` wrote them; `path` is the .npy file."""
    array = Path(path)
    if array.suffix != ".npy":
        raise QueryError("Give the .npy file; its .json is read from beside it.")
    about = orjson.loads((array.parent / f"{array.name[:-4]}.json").read_bytes())
    return np.load(array, allow_pickle=False), about
