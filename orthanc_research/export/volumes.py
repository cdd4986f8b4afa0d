"""Volumes to .npy, .npz and .nii.gz, with what makes an array a volume in a JSON beside it; and back."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import orjson

from orthanc_research.errors import DatasetError, QueryError
from orthanc_research.export._options import OWNER, existing
from orthanc_research.files import atomic_write
from orthanc_research.pixels import Volume, portable

__all__ = ["SUFFIXES", "owner_of_volume", "owner_of_volumes", "read_volume", "write_image", "write_volume"]

SUFFIXES: Mapping[str, str] = {"npy": ".npy", "npz": ".npz", "nifti": ".nii.gz"}
# Beside 1.2.npz lies 1.2.npz.json: two forms of a series in one folder may hold other values. A .npy came first.
_BESIDE = {".npy": ".json", ".npz": ".npz.json", ".nii.gz": ".nii.gz.json"}
# Of a head CT, level 1 leaves 43 %; level 6, the usual one, leaves 41 % and takes three times as long.
_LEVEL = 1


def write_volume(path: str | os.PathLike[str], volume: Volume, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a volume as the end of `path` says, .npy (also where it says nothing), .npz or .nii.gz, and a .json beside.

    - .npy: the array as it is, to be mapped into memory; described by `<name>.json`.
    - .npz: `array` with `affine_lps_mm`, `spacing_mm`, `sop_uids` and the others, without pickles, deflated: the small
      form in one file. `<name>.npz.json` beside it.
    - .nii.gz: `Volume.to_nifti`, [column, row, slice]; `<name>.nii.gz.json` beside it.

    The .json holds the affine (LPS and RAS mm), spacing, units, and `sop_uids` with `frame_indices`: for each slice,
    "extra" outermost, the instance and the frame in it, from 0. All is in the order of its `dims`, which is that of the
    file's array. It comes last and holds the SHA-256 of the values as they lie in memory and in the NIfTI, so that a
    pair of which one half is old is told. `metadata` goes into it as well. The same volume gives the same bytes.

    The path of the data. `QueryError` for .nii, and where NIfTI needs nibabel; `PixelError` for what it cannot hold.
    """
    target, suffix = _target(Path(path))
    if suffix == ".nii.gz":
        volume = dataclasses.replace(volume, array=portable(volume.array))
    about = {**_about(volume, nifti=suffix == ".nii.gz"), **(metadata or {})}
    # Before the first byte is written: what JSON cannot hold leaves no data without its description.
    described = orjson.dumps(about, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
    with atomic_write(target) as stream:
        if suffix == ".npy":
            _write_npy(stream, volume.array)
        elif suffix == ".npz":
            _write_npz(stream, volume)
        else:
            _write_nifti(stream, volume)
    with atomic_write(_beside(target, suffix)) as stream:
        stream.write(described)
    return target


def read_volume(path: str | os.PathLike[str]) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """The array and its description, as `write_volume` wrote them; `path` is the .npy or the .npz file.

    The array is ([extra, ]slice, row, column[, sample]) in the type that it was written with; the description has its
    `dims`, `affine_lps_mm`, units and the SOPInstanceUID of each slice.

    `QueryError` when there is no such file, and for NIfTI, which nibabel reads; `DatasetError` when one of the two is
    damaged, or the .json is missing or of another volume.
    """
    if Path(path).suffix not in (".npy", ".npz"):
        raise QueryError("Give the .npy or .npz file; its .json is read from beside it. NIfTI is for nibabel.load.")
    file = existing(path)
    try:
        about = _described(file)
        array = _array(file)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f"{file.name} or the .json beside it is missing or damaged; export it again.") from error
    found = {"shape": list(array.shape), "dtype": array.dtype.str, "sha256": _sha256(array)}
    if any(about.get(key) != value for key, value in found.items()):
        raise DatasetError(f"{file.name} holds other values than the .json beside it describes; export it again.")
    return array, about


def owner_of_volume(path: Path) -> str | None:
    """The Orthanc series that a volume was made from; None when there is none, "" when nobody can say.

    Data without its .json is what an interrupted `write_volume` left.
    """
    try:
        return str(_described(path).get(OWNER, ""))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return ""


def owner_of_volumes(folder: Path, name: str, suffix: str) -> str | None:
    """As `owner_of_volume`, of the numbered volumes of a series: <name>_001, <name>_002 and so on."""
    first = next(iter(sorted(folder.glob(f"{name}_???{_BESIDE[suffix]}"))), None)
    return None if first is None else owner_of_volume(folder / f"{first.name.removesuffix(_BESIDE[suffix])}{suffix}")


def _target(path: Path) -> tuple[Path, str]:
    """Where the data goes, and what its name ends in. UIDs have dots: no other end is looked at."""
    suffix = next((each for each in _BESIDE if path.name.endswith(each)), "")
    if not suffix and path.suffix == ".nii":
        raise QueryError("NIfTI is written compressed: give a name that ends in .nii.gz.")
    return (path, suffix) if suffix else (path.parent / f"{path.name}.npy", ".npy")


def _beside(path: Path, suffix: str) -> Path:
    return path.parent / f"{path.name.removesuffix(suffix)}{_BESIDE[suffix]}"


def _described(path: Path) -> dict[str, Any]:
    about = orjson.loads(_beside(*_target(path)).read_bytes())
    if not isinstance(about, dict):
        raise ValueError("not an object")
    return about


def _about(volume: Volume, *, nifti: bool) -> dict[str, Any]:
    """What makes the array a volume; for NIfTI in the order of its axes."""
    start = volume.dims.index("slice")
    order = [*range(len(volume.dims))]
    turn = [0, 1, 2]
    if nifti:
        order = [start + 2, start + 1, start, *range(start), *range(start + 3, len(order))]
        turn = [2, 1, 0]
    return {
        "dims": [volume.dims[axis] for axis in order],
        "shape": [volume.shape[axis] for axis in order],
        "dtype": volume.array.dtype.str,
        "sha256": _sha256(volume.array),
        "affine_lps_mm": volume.affine[:, [*turn, 3]].tolist(),
        "affine_ras_mm": volume.affine_ras[:, [*turn, 3]].tolist(),
        "spacing_mm": [volume.spacing[axis] for axis in turn],
        "axes": dict(volume.axes),
        "values": volume.values,
        "units": volume.units,
        "inverted": volume.inverted,
        "modality": volume.modality,
        "series_uid": volume.series_uid,
        "frame_of_reference": volume.frame_of_reference,
        "sop_uids": volume.sop_uids,
        "frame_indices": volume.frame_indices,
        "issues": volume.issues,
    }


def _write_npy(stream: IO[bytes], array: npt.NDArray[Any]) -> None:
    """As `np.save`, which does not say that the disk is full when it is."""
    whole = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(whole))
    stream.write(whole.data)


def _write_npz(stream: IO[bytes], volume: Volume) -> None:
    """As `np.savez_compressed`, which knows one level of compression, and that one is slow."""
    texts = ("values", "units", "modality", "series_uid", "frame_of_reference", "dims", "sop_uids", "issues")
    arrays = {
        "array": volume.array,
        "affine_lps_mm": volume.affine,
        "affine_ras_mm": volume.affine_ras,
        "spacing_mm": np.array(volume.spacing),
        "frame_indices": np.array(volume.frame_indices, dtype=np.int64),
        "inverted": np.array(volume.inverted),
        **{name: np.array(getattr(volume, name), dtype=np.str_) for name in texts},
        **{f"axes_{name}": np.array(values) for name, values in volume.axes.items()},
    }
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as packed:
        for name, array in arrays.items():
            with packed.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def write_image(path: str | os.PathLike[str], volume: Volume) -> None:
    """The .nii.gz alone, for layouts that say themselves what lies beside it."""
    with atomic_write(path) as stream:
        _write_nifti(stream, volume)


def _write_nifti(stream: IO[bytes], volume: Volume) -> None:
    image = volume.to_nifti()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=stream, mtime=0) as packed:
        image.to_stream(packed)


def _array(path: Path) -> npt.NDArray[Any]:
    if path.suffix == ".npy":
        with path.open("rb") as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    with zipfile.ZipFile(path) as packed, packed.open("array.npy") as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _sha256(array: npt.NDArray[Any]) -> str:
    """Of the values in C order, whatever their order in memory."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
