"""The jobs of `tables`, `pixels`, `batch` and `build`, with this package."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

import orthanc_research as ores

__all__ = [
    "build",
    "build_in_one_process",
    "build_in_two_processes",
    "download",
    "series",
    "series_kept",
    "tags",
    "upload",
    "verified",
    "volumes",
    "write",
]

_kept: dict[str, ores.Orthanc] = {}


def series(url: str, user: str, password: str, *, columns: Sequence[str]) -> pd.DataFrame:
    """A new client, and a row for each series."""
    with ores.Orthanc(url, auth=(user, password)) as orthanc:
        return orthanc.find("Series", columns=columns)


def series_kept(url: str, user: str, password: str, *, columns: Sequence[str]) -> pd.DataFrame:
    """A row for each series, with the client that was there before: the next find in a notebook."""
    orthanc = _kept.setdefault(url, ores.Orthanc(url, auth=(user, password)))
    return orthanc.find("Series", columns=columns)


def tags(
    url: str, user: str, password: str, *, series: Sequence[str], columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """A row for each instance of the series, with some tags or all of them."""
    with ores.Orthanc(url, auth=(user, password)) as orthanc:
        return orthanc.tags(series, columns)


def write(url: str, user: str, password: str, *, columns: Sequence[str] | None = None) -> int:
    """A parquet file with a row for each instance on the server; the number of rows."""
    with tempfile.TemporaryDirectory() as folder, ores.Orthanc(url, auth=(user, password)) as orthanc:
        found = orthanc.series()
        return orthanc.tags_to_parquet(found, Path(folder) / "tags.parquet", columns, progress=False)


def volumes(url: str, user: str, password: str, *, what: Mapping[str, Any], verify: bool = False) -> dict[str, Any]:
    """The volume of a series, or of each series of a study."""
    with ores.Orthanc(url, auth=(user, password)) as orthanc:
        return {volume.series_uid: volume.array for volume in _volumes(orthanc, what["level"], what["id"], verify)}


def verified(url: str, user: str, password: str, *, what: Mapping[str, Any]) -> dict[str, Any]:
    """The same, each file held against the server's MD5."""
    return volumes(url, user, password, what=what, verify=True)


def upload(url: str, user: str, password: str, *, what: Mapping[str, Any]) -> int:
    """A folder, each file of it held against what the server has then."""
    with ores.Orthanc(url, auth=(user, password)) as orthanc:
        return int((orthanc.upload(what["folder"], progress=False)["status"] == "stored").sum())


def download(url: str, user: str, password: str, *, what: Mapping[str, Any], into: str) -> int:
    """All studies, each file held against the server's MD5; `what` is not needed."""
    with ores.Orthanc(url, auth=(user, password)) as orthanc:
        return int((orthanc.download(orthanc.studies(), into, progress=False)["status"] == "done").sum())


def build(url: str, user: str, password: str, *, what: Mapping[str, Any], into: str) -> int:
    """A dataset, with its hashes, two series at a time on threads; how many series."""
    return _build(url, user, password, what, into, None)


def build_in_one_process(url: str, user: str, password: str, *, what: Mapping[str, Any], into: str) -> int:
    """The same, each series in a worker process, of which there is one."""
    return _build_in(1, url, user, password, what, into)


def build_in_two_processes(url: str, user: str, password: str, *, what: Mapping[str, Any], into: str) -> int:
    """The same with two."""
    return _build_in(2, url, user, password, what, into)


def _build_in(processes: int, url: str, user: str, password: str, what: Mapping[str, Any], into: str) -> int:
    context = get_context("forkserver")
    context.set_forkserver_preload(["orthanc_research.dataset"])  # once, and not in each process
    with ProcessPoolExecutor(processes, mp_context=context) as executor:
        return _build(url, user, password, what, into, executor)


def _build(
    url: str, user: str, password: str, what: Mapping[str, Any], into: str, executor: ProcessPoolExecutor | None
) -> int:
    os.environ["ORES_BENCH_AUTH"] = f"{user}:{password}"  # workers get a name, and no password
    match = ", ".join(f'"{uid}"' for uid in what["series"])
    recipe = ores.Recipe.parse(f"""
        [dataset]
        name = "bench"
        [query]
        match = {{ SeriesInstanceUID = [{match}] }}
        [filter.geometry]
        require = "volume"
    """)
    with ores.Orthanc(url, auth="env:ORES_BENCH_AUTH") as orthanc:
        made = recipe.plan(orthanc, progress=False).build(into, executor=executor, progress=False)
    return int((made.status["status"] == "done").sum())


def _volumes(orthanc: ores.Orthanc, level: str, identifier: str, verify: bool) -> Iterator[ores.Volume]:
    if level == "Series":
        yield orthanc.volume(identifier, verify=verify)
        return
    for found in orthanc.volumes(identifier, verify=verify, progress=False):
        if found.volume is None:
            raise ValueError(found.error)
        yield found.volume
