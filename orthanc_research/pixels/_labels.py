"""What segments are painted on, and what is painted: a grid of voxels, a segment's description, a patch of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.errors import GeometryError

from ._stacks import Stack

if TYPE_CHECKING:
    from ._volume import Volume

__all__ = ["Coded", "Grid", "Patch", "Segment", "coded", "grid_of"]

Floats = npt.NDArray[np.float64]


class Coded(NamedTuple):
    """A coded concept (PS3.3 §8.8): ("10200004", "SCT", "Liver")."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True, repr=False)
class Segment:
    """What a segment is said to be.

    `number` is SegmentNumber or ROINumber, `label` SegmentLabel or ROIName as somebody typed it. `category` and `type`
    are SegmentedPropertyCategory and -Type, for an ROI its identification code as `type`; `kind` is
    RTROIInterpretedType ("GTV", "ORGAN"). `algorithm` is SegmentAlgorithmType or ROIGenerationAlgorithm; `colour` the
    recommended one, sRGB 0 to 255. "" and None are absent.
    """

    number: int
    label: str = ""
    category: Coded | None = None
    type: Coded | None = None
    kind: str = ""
    algorithm: str = ""
    colour: tuple[int, int, int] | None = None

    def __repr__(self) -> str:
        return f"<Segment {self.number}>"


@dataclass(frozen=True, slots=True)
class Patch:
    """Voxels of one segment: flat indices into the grid, and their values (None: they are in it)."""

    number: int
    voxels: npt.NDArray[np.intp]
    values: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The voxels of a volume: `shape` (slice, row, column), `affine` to LPS mm and its inverse, mm between them."""

    shape: tuple[int, int, int]
    affine: Floats
    inverse: Floats
    spacing: tuple[float, float, float]
    frame_of_reference: str

    def index(self, points: Floats) -> Floats:
        """LPS mm (n, 3) → (slice, row, column), with fractions."""
        moved: Floats = points @ self.inverse[:3, :3].T + self.inverse[:3, 3]
        return moved

    def require(self, frame_of_reference: str, what: str) -> None:
        """`GeometryError` unless `what` lies in the frame of reference of this grid."""
        if not self.frame_of_reference or frame_of_reference != self.frame_of_reference:
            raise GeometryError(
                "other-frame-of-reference",
                f"{what} and this volume have no frame of reference in common: where one lies in the other is unknown.",
            )


def grid_of(target: Volume | Stack) -> Grid:
    """The grid of a volume, or of a stack that is "ok" (`GeometryError` else), without "extra" and "sample" axes."""
    if isinstance(target, Stack):
        target.checked()
    if target.affine is None or target.spacing is None:
        raise GeometryError("no-geometry", "Without an affine, nothing can be placed on it.")
    start = target.dims.index("slice")
    slices, rows, columns = target.shape[start : start + 3]
    return Grid(
        shape=(slices, rows, columns),
        affine=target.affine,
        inverse=np.linalg.inv(target.affine).astype(np.float64),
        spacing=target.spacing,
        frame_of_reference=target.frame_of_reference,
    )


def coded(items: Sequence[Dataset] | None) -> Coded | None:
    """The first item of a code sequence."""
    if not items:
        return None
    item: Any = items[0]
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    return Coded(str(value), str(item.get("CodingSchemeDesignator") or ""), str(item.get("CodeMeaning") or ""))
