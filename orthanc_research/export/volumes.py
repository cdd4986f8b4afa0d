"""Volumes to numpy's own format and back, with what makes an array a volume in a JSON beside it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from orthanc_research.errors import DatasetError, QueryError
from orthanc_research.export._options import OWNER, existing
from orthanc_research.files import atomic_write
from orthanc_research.pixels import Volume

__all__ = ["owner_of_volume", "read_volume", "write_volume"]


def write_volume(path: str | os.PathLike[str], volume: Volume, metadata: Mapping[str, str] | None = None) -> Path:
    """Write `<path>.npy` and, beside it, `<path>.json` with the affine (LPS mm), spacing, units and slice UIDs.

    The .json comes last and holds the SHA-256 of the values, so that a pair of which one half is old is told.
    `metadata` goes into it as well. The path of the .npy.
    """
    target = Path(path)
    if target.suffix == ".npy":
        target = target.parent / target.name[:-4]
    about = {
        "dims": volume.dims,
        "shape": volume.shape,
        "dtype": volume.array.dtype.str,
        "sha256": _sha256(volume.array),
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
        **(metadata or {}),
    }
    with atomic_write(target.parent / f"{target.name}.npy") as stream:
        np.save(stream, volume.array, allow_pickle=False)
    with atomic_write(target.parent / f"{target.name}.json") as stream:
        stream.write(orjson.dumps(about, option=orjson.OPT_INDENT_2))
    return target.parent / f"{target.name}.npy"


def read_volume(path: str | os.PathLike[str]) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """The array and its description, as `write_volume` wrote them; `path` is the .npy file.

    `QueryError` when there is no such file; `DatasetError` when one of the two is damaged, or the .json is missing or
    of another volume.
    """
    if Path(path).suffix != ".npy":
        raise QueryError("Give the .npy file; its .json is read from beside it.")
    file = existing(path)
    try:
        about = _described(file)
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{file.name} or the .json beside it is missing or damaged; export it again.") from error
    found = {"shape": list(array.shape), "dtype": array.dtype.str, "sha256": _sha256(array)}
    if any(about.get(key) != value for key, value in found.items()):
        raise DatasetError(f"{file.name} holds other values than the .json beside it describes; export it again.")
    return array, about


def owner_of_volume(path: Path) -> str | None:
    """The Orthanc series that a volume was made from; None when there is none, "" when nobody can say.

    A .npy without its .json is what an interrupted `write_volume` left.
    """
    try:
        return str(_described(path).get(OWNER, ""))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return ""


def _described(path: Path) -> dict[str, Any]:
    about = orjson.loads((path.parent / f"{path.name.removesuffix('.npy')}.json").read_bytes())
    if not isinstance(about, dict):
        raise ValueError("not an object")
    return about


def _sha256(array: npt.NDArray[Any]) -> str:
    """Of the values in C order, whatever their order in memory."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
