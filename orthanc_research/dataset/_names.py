"""What the files of a series are called, and which series a file belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["BESIDE", "SUFFIX", "files_of", "parts", "series_of"]

# The further forms of [arrays] also → the volume's file, and what lies beside it.
SUFFIX = {"nifti": ".nii.gz", "npy": ".npy", "npz": ".npz"}
BESIDE = {"nifti": ".nii.gz.json", "npy": ".json", "npz": ".npz.json"}
_PARTS = (".instances.parquet", ".pixels.parquet")
_ENDS = sorted({*SUFFIX.values(), *BESIDE.values(), *_PARTS, ".parquet"}, key=len, reverse=True)
_STACK = re.compile(r"_\d{3,}\Z", re.ASCII)


def parts(out: Path, name: str) -> tuple[Path, Path]:
    """Where a series keeps its rows of `instances`, and its pixel hashes."""
    instances, pixels = (out / "_done" / f"{name}{end}" for end in _PARTS)
    return instances, pixels


def series_of(file: str) -> str:
    """The name of the series that a file is of. By its known end: UIDs have dots, and one may begin with another."""
    end = next((end for end in _ENDS if file.endswith(end)), "")
    return _STACK.sub("", file.removesuffix(end))


def files_of(out: Path, name: str) -> Iterator[Path]:
    """The frames and volumes of a series that there may be, of whatever recipe."""
    yield out / "frames" / f"{name}.parquet"
    yield from (out / "volumes" / f"{name}{end}" for end in (*SUFFIX.values(), *BESIDE.values()))
    yield from (out / "volumes").glob(f"{name}_*")
