"""The further forms of a series, from the frames that were just written: NIfTI, npy, npz."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from orthanc_research.dataset._names import BESIDE, SUFFIX
from orthanc_research.dataset._open import OpenDataset
from orthanc_research.dataset._sections import Geometry
from orthanc_research.errors import GeometryError, PixelError
from orthanc_research.export import write_volume

__all__ = ["series_alone", "write_forms"]


def write_forms(
    dataset: OpenDataset,
    uid: str,
    name: str,
    *,
    also: Sequence[str],
    values: str,
    geometry: Geometry,
    problem: Callable[[str, str], None],
) -> list[Path]:
    """Write them below volumes/; the files. What cannot be had is a problem of the series: (kind, reason)."""
    how = geometry.reading(values)
    try:
        stacks = how.stacks(dataset.stacks(uid))
    except GeometryError as error:
        problem("volume", str(error))
        return []
    written = []
    for place, stack in enumerate(stacks, 1):
        try:
            volume = dataset.filled(uid, [stack.checked()], values)[0]
        except (GeometryError, PixelError) as error:  # the other stacks of the series may be volumes
            problem("volume", str(error))
            continue
        stem = name if not how.split else f"{name}_{place:03d}"
        for form in also:
            target = dataset.folder / "volumes" / f"{stem}{SUFFIX[form]}"
            write_volume(target, volume)
            written += [target, target.with_name(f"{stem}{BESIDE[form]}")]
    return written


def series_alone(folder: Path, uid: str, file: str, instances: pd.DataFrame) -> OpenDataset:
    """The folder as `open_dataset` will give it, with the tables of this one series, which are not written yet."""
    found = OpenDataset(folder)
    vars(found)["series"] = pd.DataFrame({"file": [file]}, index=pd.Index([uid], name="SeriesInstanceUID"))
    vars(found)["instances"] = instances.set_index("SOPInstanceUID")
    return found
