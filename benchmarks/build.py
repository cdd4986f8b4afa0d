"""A dataset from a server to files: this package, a script of pyorthanc and pydicom, dicom2nifti, and the bare wire.

    scripts/bench build              30 series of 100 slices of 512 x 512, and the memory of 3 of them
    scripts/bench build --small      in a minute, shown and not kept
    scripts/bench build --docs       the page again, from results/

Writes results/ and docs/performance.md. MB are those of raw pixels. The server's storage and all that is written are in
memory (/dev/shm), where there is such a place. The tools take turns, each in a process of its own. Each build is
verified, file by file, before the next run.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orthanc_research as ores
from benchmarks import _report, _slices
from benchmarks._lab import LIMIT, OURS, Run, Server, Worker, in_memory, in_turns, machine, note, options
from benchmarks.batch import away

__all__ = ["NAIVE", "TOOLS", "Sizes", "compare", "main"]

COMPARED = "1.12.7"
PACKAGES = ("orthanc-research", "pydicom", "pyarrow", "pyorthanc", "dicom2nifti")
NAIVE = "pyorthanc, pydicom, `np.savez`"
TOOLS: Mapping[str, str] = {
    OURS: "benchmarks.with_ours:build",
    f"{OURS}, 1 process": "benchmarks.with_ours:build_in_one_process",
    f"{OURS}, 2 processes": "benchmarks.with_ours:build_in_two_processes",
    LIMIT: "benchmarks.with_http_client:files",
    NAIVE: "benchmarks.with_pyorthanc:saved",
    "dicom2nifti, of files": "benchmarks.with_files:written",
}


@dataclass(frozen=True)
class Sizes:
    """How much there is, and how often each tool is run; memory is compared with that of a tenth of the series."""

    series: int = 30
    slices: int = 100
    pixels: int = 512
    repeats: int = 3
    fewer: int = 1  # of the naive script, of dicom2nifti, and of those who are far away
    away: int = 10  # ms, for who asks the server from a distance as well

    @property
    def mb(self) -> float:
        """10⁶ bytes of pixels."""
        return self.series * self.slices * self.pixels**2 * 2 / 1e6


SMALL = Sizes(series=10, slices=10, pixels=256, repeats=1)


def compare(orthanc: ores.Orthanc, folder: Path, sizes: Sizes, *, only: Sequence[str] = tuple(TOOLS)) -> dict[str, Any]:
    """Every tool (or `only` these) on a server of our own: what is kept in results/."""
    note(f"{sizes.series} series of {sizes.slices} slices of {sizes.pixels}² ({sizes.mb:.0f} MB of pixels)")
    what = _fill(orthanc, folder / "files", sizes)
    few = {**what, "series": what["series"][: max(1, sizes.series // 10)]}
    with ExitStack() as stack:
        workers = {tool: stack.enter_context(Worker(TOOLS[tool])) for tool in only}
        here = Server.of(orthanc)
        there = stack.enter_context(away(here, sizes.away))
        smaller = _run(workers[OURS], here, few, folder)  # before it has seen more
        runs = {tool: partial(_run, worker, here, what, folder) for tool, worker in workers.items()}
        far = {f"{tool}{_report.far(sizes.away)}": tool for tool in (OURS, LIMIT, NAIVE) if tool in workers}
        runs |= {name: partial(_run, workers[tool], there, what, folder) for name, tool in far.items()}
        fewer = dict.fromkeys((tool for tool in runs if tool in far or not tool.startswith((OURS, LIMIT))), sizes.fewer)
        measured = in_turns(runs, sizes.repeats, fewer=fewer)
    for tool, each in measured.items():
        note(f"{tool}: {each.seconds:.1f} s, {sizes.mb / each.seconds:.0f} MB/s, {each.above_mb:.0f} MB")
    return {
        **machine(orthanc.capabilities().version, PACKAGES),
        "repeats": sizes.repeats,
        "fewer": sizes.fewer,
        "away": sizes.away,
        "mb": round(sizes.mb, 3),
        "title": f"{sizes.series} series of {sizes.slices} slices of {sizes.pixels} x {sizes.pixels}",
        "few": {"series": len(few["series"]), "above_mb": round(smaller.above_mb)},
        "series": sizes.series,
        "rows": [{"tool": tool, **each.json()} for tool, each in measured.items()],
    }


def _fill(orthanc: ores.Orthanc, files: Path, sizes: Sizes) -> dict[str, Any]:
    """Series of one patient each, on the server and as files; `ValueError` when the server did not store all."""
    uids = []
    for n in range(sizes.series):
        uids.append(_slices.series_uid(4 * n))
        folder = files / uids[-1]
        folder.parent.mkdir(exist_ok=True)
        _slices.write(folder, 4 * n, sizes.slices, pixels=sizes.pixels, study=4 * n)
        if (orthanc.upload(folder, progress=False)["status"] != "stored").any():
            raise ValueError("The server did not store all files.")
    return {"series": uids, "instances": orthanc.rest.instances.list(), "files": str(files)}


def _run(worker: Worker, server: Server, what: Mapping[str, Any], folder: Path) -> Run:
    """`ValueError` when what was built is not all of it, or not as it was written."""
    into = folder / "into"
    arguments = {} if worker.job == TOOLS[LIMIT] else {"into": str(into)}
    try:
        run = worker.run(server, what=what, **arguments)
        if (
            worker.job.startswith("benchmarks.with_ours")
            and len(ores.open_dataset(into, check=True).series) != run.rows
        ):
            raise ValueError("The dataset is not as it was built.")
        if worker.job != TOOLS[LIMIT] and run.rows != len(what["series"]):
            raise ValueError(f"{worker.job} made {run.rows} of {len(what['series'])} series.")
        return run
    finally:
        shutil.rmtree(into, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = options("build", "A dataset from a server to files.")
    parser.add_argument("--once", action="store_true", help="one run a tool")
    given = parser.parse_args(arguments)
    found = None
    if not given.docs:
        with in_memory("build") as folder, ores.LocalOrthanc(COMPARED, folder / "server") as orthanc:
            sizes = SMALL if given.small else Sizes(repeats=1) if given.once else Sizes()
            found = compare(orthanc, folder, sizes)
    return _report.publish("build", found, _report.build, kept=not given.small)


if __name__ == "__main__":
    sys.exit(main())
