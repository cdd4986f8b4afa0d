"""A dataset in the form of the Hugging Face Hub: parquet by configuration and split, and a card that says so."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from orthanc_research.dataset._card import CARD
from orthanc_research.dataset._items import series_of
from orthanc_research.dataset._subjects import About
from orthanc_research.errors import DatasetError, QueryError
from orthanc_research.export import write_table
from orthanc_research.files import atomic_path, atomic_write, private_folder

if TYPE_CHECKING:
    from orthanc_research.dataset._open import OpenDataset

__all__ = ["to_hf"]

_UNSPLIT = "unsplit"
_FRONT = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
_CONFIGS = re.compile(r"^configs:\n(?:[- ].*\n?)*", re.MULTILINE)
_READING = re.compile(r"## Reading\n.*?(?=\n## |\Z)", re.DOTALL)
_NAME = re.compile(r"\w+", re.ASCII)  # it is part of a path and of the card's YAML

_HOW = """## Reading

```python
import numpy as np
from datasets import load_dataset

frames = load_dataset({folder}, "frames", split="{split}", streaming=True)
row = next(iter(frames))
image = np.frombuffer(row["pixels"], row["dtype"]).reshape(row["shape"])  # stored values
```

Stored values become those of the modality by `RescaleSlope` and `RescaleIntercept`; `ImagePositionPatient` orders the
frames of a series. The splits are by patient.
"""


def to_hf(dataset: OpenDataset, folder: str | os.PathLike[str]) -> pd.DataFrame:
    """See `OpenDataset.to_hf`."""
    root = Path(folder).expanduser()
    rows = series_of(dataset, None)
    names = _names(rows)
    try:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise QueryError("Give a folder that is new or empty: what is there might be taken for a part of this.")
        private_folder(root)
        found = [each for name, of in names.items() for each in _split(dataset, root, name, rows[of])]
        found += _issues(dataset, root)
        _write_card(dataset, root, found)
    except OSError as error:
        raise DatasetError(f"The files cannot be written ({os.strerror(error.errno or 0)}).") from error
    return pd.DataFrame(found, columns=["config", "split", "files", "rows", "bytes"])


def _names(rows: pd.DataFrame) -> dict[str, pd.Series[bool]]:
    """The splits as the Hub can call them, with the rows of each."""
    if "split" not in rows:
        return {"train": pd.Series(True, index=rows.index)}
    found: dict[str, pd.Series[bool]] = {}
    for split in sorted(set(rows["split"].dropna())):
        name = str(split).replace("-", "_")
        if name in found or name in (_UNSPLIT, "all") or not _NAME.fullmatch(name):
            raise QueryError(
                "The splits have names that the Hub does not take, or cannot tell apart; "
                "call them train, validation and test."
            )
        found[name] = rows["split"] == split
    if rows["split"].isna().any():
        found[_UNSPLIT] = rows["split"].isna()
    return found


def _split(dataset: OpenDataset, root: Path, name: str, rows: pd.DataFrame) -> list[dict[str, object]]:
    uids = list(rows["SeriesInstanceUID"])
    instances = dataset.instances[dataset.instances["SeriesInstanceUID"].isin(uids)].reset_index()
    series = rows.drop(columns=["split", "file"], errors="ignore")
    found = [_table(root, "series", name, series), _table(root, "instances", name, instances)]
    files, size, frames = 0, 0, 0
    for place in rows["file"].dropna() if "file" in rows else [f"frames/{uid}.parquet" for uid in uids]:
        source = (dataset.folder / str(place)).resolve()
        if not source.is_relative_to(dataset.folder.resolve()) or not source.is_file():
            raise DatasetError(f"{place} is not in this dataset; verify() names what else is not.")
        target = private_folder(root / "frames" / name) / source.name
        with atomic_path(target) as partial:
            shutil.copyfile(source, partial)
        files, size = files + 1, size + target.stat().st_size
    if files:
        frames = int(rows["frames"].sum()) if "frames" in rows else len(instances)
        found.append({"config": "frames", "split": name, "files": files, "rows": frames, "bytes": size})
    return found


def _issues(dataset: OpenDataset, root: Path) -> list[dict[str, object]]:
    """What is unusual belongs to no split; a table without a row has no types that the Hub could read."""
    return [_table(root, "issues", "train", dataset.issues)] if len(dataset.issues) else []


def _table(root: Path, config: str, split: str, frame: pd.DataFrame) -> dict[str, object]:
    path = private_folder(root / config) / f"{split}.parquet"
    write_table(frame.reset_index(drop=True), path)
    return {"config": config, "split": split, "files": 1, "rows": len(frame), "bytes": path.stat().st_size}


def _write_card(dataset: OpenDataset, root: Path, found: Iterable[Mapping[str, object]]) -> None:
    """The card of the build, with the configurations of this folder; a plain one where the build wrote none."""
    try:
        text = (dataset.folder / CARD).read_text()
    except FileNotFoundError:
        text = f"---\npretty_name: {About.of(dataset).name!r}\n---\n\n# Dataset\n"
    front = _FRONT.match(text)
    head, body = (front[1] + "\n", text[front.end() :]) if front else ("", text)
    config: dict[str, list[str]] = {}
    for each in found:
        where = "*.parquet" if each["config"] == "frames" else ""
        path = f"{each['config']}/{each['split']}/{where}" if where else f"{each['config']}/{each['split']}.parquet"
        config.setdefault(str(each["config"]), []).append(f"  - split: {each['split']}\n    path: {path}")
    blocks = [f"- config_name: {name}\n  data_files:\n" + "\n".join(places) for name, places in config.items()]
    head = _CONFIGS.sub("", head).rstrip("\n") + "\nconfigs:\n" + "\n".join(blocks)
    first = next(iter(config.get("frames", config["series"]))).split()[2]
    how = _HOW.format(folder='"."', split=first)
    body = _READING.sub(lambda _: how, body) if _READING.search(body) else f"{body.rstrip()}\n\n{how}"
    with atomic_write(root / CARD) as stream:
        stream.write(f"---\n{head}\n---\n{body}".encode())
