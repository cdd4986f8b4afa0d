"""Volumes that lie obliquely, of any type and any number of axes, made without files."""

from __future__ import annotations

from typing import Any

import numpy as np

from orthanc_research.pixels import Volume


def volume_of(
    dtype: Any = "i2", extra: int = 0, samples: int = 0, lean: float = 0.0, size: tuple[int, int, int] = (4, 5, 6)
) -> Volume:
    """An oblique volume of 3.5 x 0.9 x 0.7 mm voxels, each of another value; its slices lean by `lean` mm a slice."""
    turn, _ = np.linalg.qr(np.array([[2.0, 1.0, 0.3], [-0.5, 3.0, 1.0], [0.2, -1.0, 2.0]]))
    row, column = turn[:, 0], turn[:, 1]
    affine = np.eye(4)
    affine[:3, 0] = 3.5 * np.cross(row, column) + lean * column
    affine[:3, 1] = 0.9 * column
    affine[:3, 2] = 0.7 * row
    affine[:3, 3] = [-30.25, 17.5, 400.125]
    shape = (*([extra] if extra else []), *size, *([samples] if samples else []))
    slices = max(extra, 1) * size[0]
    return Volume(
        array=(np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype),
        dims=(*(["extra"] if extra else []), "slice", "row", "column", *(["sample"] if samples else [])),
        affine=affine,
        spacing=(3.5, 0.9, 0.7),
        orientation=(*row, *column),
        frame_of_reference="1.2.3",
        sop_uids=tuple(f"1.2.{k}" for k in range(slices)),
        series_uid="1.2",
        modality="CT",
        units="HU",
        values="rescaled",
        inverted=True,
        issues=("Before.",),
        frame_indices=(0,) * slices,
    )
