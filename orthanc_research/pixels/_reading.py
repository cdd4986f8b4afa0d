"""How a series is to be read as volumes: the arguments that every verb for volumes shares, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orthanc_research.errors import QueryError

from ._arrange import arrange, check_words
from ._stack import Stack, one_stack
from ._values import VALUES
from ._voxels import voxel_type

__all__ = ["Reading", "check_slices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """See `Orthanc.volume` and `arrange`; `QueryError` for what makes no sense."""

    values: str = "stored"
    dtype: npt.DTypeLike | None = None
    min_slices: int = 3
    on_missing: str = "raise"
    on_shear: str = "raise"
    on_4d: str = "raise"

    def __post_init__(self) -> None:
        if self.values not in VALUES:
            raise QueryError(f"values={self.values!r} is not there; choose from {', '.join(VALUES)}.")
        check_slices(self.min_slices)
        check_words(self.on_missing, self.on_shear, self.on_4d)
        voxel_type(self.dtype, np.dtype(np.float32))

    @property
    def strict(self) -> bool:
        """Whether nothing is opted into."""
        return {self.on_missing, self.on_shear, self.on_4d} == {"raise"}

    @property
    def split(self) -> bool:
        """Whether a series may give several volumes."""
        return "split" in (self.on_missing, self.on_4d)

    def stacks(self, found: Sequence[Stack]) -> list[Stack]:
        """What is to be a volume: the one stack of a series, or every one of them where it is to be split.

        `GeometryError` when it is not to be split and there is not exactly one, or one that is no volume.
        """
        arranged = arrange(
            found,
            on_missing=self.on_missing,
            on_shear=self.on_shear,
            on_4d=self.on_4d,
            min_slices=self.min_slices,
        )
        return arranged if self.split and arranged else [one_stack(arranged)]


def check_slices(min_slices: int) -> None:
    """`QueryError` for a least number of slices that no volume can have."""
    if not isinstance(min_slices, int) or min_slices < 2:
        raise QueryError("min_slices must be 2 or more: the distance between slices comes from their positions.")
