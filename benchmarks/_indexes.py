"""The same archive with its index in SQLite and in PostgreSQL: what each operation costs the servers as it grows.

The four take turns at each size, so that whatever else the machine does hits all alike. What is built of each is the
studies of one year, a tenth of all: it is the rest of the archive that grows around them.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import orthanc_research as ores
from benchmarks import _data
from benchmarks._lab import machine, note, table
from benchmarks._postgresql import Postgres, orthanc_of, orthanc_on, postgres
from orthanc_research.dataset import Recipe

__all__ = ["SMALL", "Sizes", "block", "compare"]

_YEAR = "20150101-20151231"
_RECIPE = f"""
[dataset]
name = "index"
[query]
match = {{ Modality = "MR", StudyDate = "{_YEAR}" }}
[metadata]
keywords = ["PatientSex", "SliceThickness"]
[splits]
ratios = {{ train = 0.8, test = 0.2 }}
"""

Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """What the archives grow to, and what each is asked."""

    growth: tuple[int, ...] = (1_000, 5_000, 20_000)  # instances of 4.5 kB
    per_series: int = 20
    finds: int = 30
    suites: tuple[str, ...] = ("bookworm", "trixie")


SMALL = Sizes(growth=(240, 480), per_series=6, finds=5, suites=("bookworm",))


@dataclass(frozen=True)
class _Archive:
    """An Orthanc and, where it is in one, the database of its index."""

    orthanc: ores.LocalOrthanc
    behind: Postgres | None

    @property
    def index(self) -> str:
        return "SQLite" if self.behind is None else f"PostgreSQL {self.behind.version}"

    def cpu(self) -> tuple[float, float]:
        """Processor seconds so far: of Orthanc, of its database."""
        spent = psutil.Process(int(self.orthanc.server.pid or 0)).cpu_times()
        return spent.user + spent.system, 0.0 if self.behind is None else self.behind.cpu()

    def mb(self) -> float:
        """Of the index."""
        if self.behind is not None:
            return self.behind.mb()
        return sum(path.stat().st_size for path in (self.orthanc.server.folder / "storage").glob("index*")) / 1e6


def compare(sizes: Sizes, folder: Path, disk: str | None) -> dict[str, Any]:
    """All of it: what is kept in results/scale-postgresql.json. `MissingError` where it cannot be had here."""
    rows: list[Row] = []
    with ExitStack() as until_done:
        binaries = [orthanc_of(suite, folder) for suite in sizes.suites]
        archives = []
        for binary in binaries:
            for behind in (None, until_done.enter_context(postgres(disk))):
                orthanc = until_done.enter_context(orthanc_on(binary, folder, behind))
                archives.append(_Archive(orthanc, behind))
        there = 0
        for instances in sizes.growth:
            series = instances // sizes.per_series
            for archive in archives:
                rows.append(_measured(archive, there, series, sizes, folder))
                told = rows[-1]
                note(f"{told['orthanc']}, {told['index']}, {instances} instances: {told['seconds']['all']:.1f} s")
            there = series
        versions = ", ".join(dict.fromkeys(each.orthanc.server.version for each in archives))
    return {
        **machine(versions, ("orthanc-research", "pyarrow", "pydicom")),
        "load": max(row["load"] for row in rows),
        "rows": rows,
    }


def _measured(archive: _Archive, there: int, series: int, sizes: Sizes, folder: Path) -> Row:
    """The archive grown to so many series, and asked; seconds, and processor seconds of Orthanc and its database."""
    orthanc = archive.orthanc
    seconds: dict[str, float] = {}
    cpu: dict[str, tuple[float, float]] = {}
    began = time.perf_counter()

    def did(what: str, start: float, before: tuple[float, float]) -> None:
        seconds[what] = time.perf_counter() - start
        after = archive.cpu()
        cpu[what] = (after[0] - before[0], after[1] - before[1])

    start, before = time.perf_counter(), archive.cpu()
    stored = _data.fill(orthanc, there, series, sizes.per_series)
    did("store", start, before)
    waits = []
    start, before = time.perf_counter(), archive.cpu()
    for n in range(sizes.finds):
        asked = time.perf_counter()
        if len(orthanc.studies(AccessionNumber=f"ACC-{n * series // 2 // sizes.finds:08d}")) != 1:
            raise ValueError("A study was not found.")
        waits.append(time.perf_counter() - asked)
    did("find", start, before)
    start, before = time.perf_counter(), archive.cpu()
    if len(orthanc.series()) != series:
        raise ValueError("Not all series were found.")
    did("list", start, before)
    start, before = time.perf_counter(), archive.cpu()
    with Recipe.parse(_RECIPE).plan(orthanc, progress=False) as plan:
        did("plan", start, before)
        start, before = time.perf_counter(), archive.cpu()
        place = folder / f"{orthanc.server.folder.name}-{series}"
        build = plan.build(place, workers=2, progress=False)
        did("build", start, before)
    if set(build.status["status"]) != {"done"}:
        raise ValueError("Not all series were built.")
    seconds["all"] = time.perf_counter() - began
    return {
        "orthanc": orthanc.server.version,
        "index": archive.index,
        "instances": series * sizes.per_series,
        "series": series,
        "stored": stored,
        "finds": sizes.finds,
        "built": int(build.status["instances"].sum()),
        "built_series": len(build.status),
        "find_ms": round(1000 * statistics.median(waits), 1),
        "index_mb": round(archive.mb(), 1),
        "seconds": {name: round(each, 2) for name, each in seconds.items()},
        "cpu": {name: [round(each, 2) for each in pair] for name, pair in cpu.items()},
        "load": round(os.getloadavg()[0], 1),
        "hash": build.content_hash,
    }


def block(found: Mapping[str, Any]) -> str:
    """The measured part of the page."""
    versions = ", ".join(f"{name} {each}" for name, each in found["versions"].items())
    rows: Sequence[Row] = found["rows"]
    text = (
        f"{found['date']}, {found['cores']} cores for everything, {found['system']}, on a disk in memory: {versions}. "
        f"**Other programs ran beside it (load {found['load']} at most).** Seconds are processor seconds of Orthanc "
        "and, after the +, of PostgreSQL.\n\n"
    )
    head = ["instances", "Orthanc", "index", "store 1,000", "find a study (ms)", "list 1,000 series"]
    head += ["plan 1,000 instances", "build 1,000 instances", "index MB"]
    lines = [
        (
            f"{row['instances']:,}", row["orthanc"], row["index"], _each(row, "store", 1000 / row["stored"]),
            f"{_each(row, 'find', 1000 / row['finds'])} ms", _each(row, "list", 1000 / row["series"]),
            _each(row, "plan", 1000 / row["built"]), _each(row, "build", 1000 / row["built"]),
            f"{row['index_mb']:,.0f}",
        )
        for row in rows
    ]  # fmt: skip
    text += table(head, lines) + "\n"
    hashes: dict[int, set[str]] = {}
    for row in rows:
        hashes.setdefault(row["instances"], set()).add(row["hash"])
    same = all(len(each) == 1 for each in hashes.values())
    return text + (
        f"{'All archives of one size gave one content hash' if same else '**Content hashes differ**'}. "
        "A PostgreSQL with nothing in it takes 22 MB.\n"
    )


def _each(row: Row, what: str, times: float) -> str:
    orthanc, database = (each * times for each in row["cpu"][what])
    digits = 0 if orthanc + database >= 10 else 2
    told = f"{orthanc:.{digits}f}"
    return told if row["index"] == "SQLite" else f"{told} + {database:.{digits}f}"
