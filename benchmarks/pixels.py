"""Volumes in memory: this package, pyorthanc, orthanc-api-client, readers of files and the bare wire, in one run.

    scripts/bench pixels                      three jobs on Orthanc 1.10.1, some twelve minutes
    scripts/bench pixels --orthanc 1.12.7     on that server
    scripts/bench pixels --small              in a minute, shown and not kept
    scripts/bench pixels --docs               the page again, from results/

Writes results/ and docs/performance.md. Nothing is timed before all tools gave the same voxels; by then each file has
been read, so no disk is measured. Each run begins with a new client, as a script does.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orthanc_research as ores
from benchmarks import _report, _slices
from benchmarks._lab import LIMIT, OURS, Server, Worker, in_turns, machine, note, options

__all__ = ["JOBS", "VERIFIED", "Sizes", "compare", "main"]

VERIFIED = f"{OURS}, `verify=True`"
COMPARED = "1.10.1"
PACKAGES = (
    "orthanc-research",
    "numpy",
    "pydicom",
    "pylibjpeg-openjpeg",
    "httpx",
    "pyorthanc",
    "orthanc_api_client",
    "SimpleITK",
    "dicom2nifti",
)

_OURS = {OURS: "benchmarks.with_ours:volumes"}
_OTHERS = {
    LIMIT: "benchmarks.with_http_client:files",
    "pyorthanc, `get_zip`": "benchmarks.with_pyorthanc:zipped",
    "pyorthanc, `get_pydicom`": "benchmarks.with_pyorthanc:single",
}
# The first tool is ours, and the others must give its voxels, but for the limit, which makes nothing of what comes.
JOBS: Mapping[str, Mapping[str, str]] = {
    "slices": {
        **_OURS,
        VERIFIED: "benchmarks.with_ours:verified",
        **_OTHERS,
        "SimpleITK, files on disk": "benchmarks.with_files:simpleitk",
        "dicom2nifti, files on disk": "benchmarks.with_files:to_nifti",
    },
    "j2k": {
        **_OURS,
        **_OTHERS,
        "orthanc-api-client, `get_file`": "benchmarks.with_orthanc_api_client:single",
    },
    "study": {**_OURS, **_OTHERS},
}


@dataclass(frozen=True)
class Sizes:
    """How much there is on the server, and how often each tool is run."""

    slices: int = 1000
    j2k: int = 96
    study: tuple[int, int] = (4, 91)  # series, and slices in each
    pixels: int = 512
    repeats: int = 5
    fewer: int = 3  # of what is neither ours nor the limit

    def series(self, job: str) -> int:
        """How many."""
        return self.study[0] if job == "study" else 1

    def slices_of(self, job: str) -> int:
        """How many there are in each series."""
        return {"slices": self.slices, "j2k": self.j2k, "study": self.study[1]}[job]

    def megabytes(self, job: str) -> float:
        """Of the arrays (10⁶ bytes)."""
        return self.series(job) * self.slices_of(job) * self.pixels**2 * 2 / 1e6

    def title(self, job: str) -> str:
        """What a job asks for."""
        size = f"{self.pixels}², {self.megabytes(job):.0f} MB"
        return {
            "slices": f"a volume of {self.slices:,} uncompressed CT slices ({size})",
            "j2k": f"a volume of {self.j2k} CT slices in JPEG 2000 without loss ({size})",
            "study": f"the {self.study[0]} volumes of a study of {self.study[1]} uncompressed CT slices each ({size})",
        }[job]


SMALL = Sizes(slices=60, j2k=12, study=(3, 12), repeats=3, fewer=2)


@dataclass(frozen=True)
class Stored:
    """What a job reads: its resource on the server, and the same files in folders."""

    level: str
    id: str
    instances: list[str]
    folders: Mapping[str, str]  # by SeriesInstanceUID
    size: int  # bytes of all files


def compare(
    orthanc: ores.Orthanc, sizes: Sizes, *, only: Sequence[str] | None = None, jobs: Sequence[str] = tuple(JOBS)
) -> dict[str, Any]:
    """Every job with every tool (or `only` these, ours and the limit among them): what is kept in results/."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="orthanc-research-pixels-") as folder:
        stored = {job: _store(orthanc, Path(folder), job, sizes) for job in jobs}
        for job, what in stored.items():
            tools = {tool: path for tool, path in JOBS[job].items() if only is None or tool in only}
            rows += [{"job": job, **row} for row in _job(Server.of(orthanc), tools, what, sizes)]
    about = {
        job: {"title": sizes.title(job), "mb": round(sizes.megabytes(job), 3), "uncompressed": job != "j2k"}
        for job in jobs
    }
    return {
        **machine(orthanc.capabilities().version, PACKAGES),
        "repeats": sizes.repeats,
        "fewer": sizes.fewer,
        "jobs": about,
        "rows": rows,
    }


def _store(orthanc: ores.Orthanc, folder: Path, job: str, sizes: Sizes) -> Stored:
    """Make the files of a job, and store them."""
    note(f"making and storing {sizes.title(job)}")
    first, count = 4 * list(JOBS).index(job), sizes.slices_of(job)
    folders, size, sent = {}, 0, []
    for n in range(first, first + sizes.series(job)):
        here = folder / str(n)
        size += _slices.write(here, n, count, pixels=sizes.pixels, study=first, j2k=job == "j2k")
        sent.append(orthanc.upload(here, progress=False))
        if (sent[-1]["status"] != "stored").any():
            raise RuntimeError("The server did not store all files.")
        folders[_slices.series_uid(n)] = str(here)
    level = "Study" if job == "study" else "Series"
    instances = [identifier for frame in sent for identifier in frame["ID"]]
    return Stored(level, sent[0][f"Parent{level}"].iloc[0], instances, folders, size)


def _job(server: Server, tools: Mapping[str, str], what: Stored, sizes: Sizes) -> Iterator[dict[str, Any]]:
    arguments = {"what": vars(what)}
    with ExitStack() as stack:
        workers = {tool: stack.enter_context(Worker(path)) for tool, path in tools.items()}
        requests = _checked(workers, server, arguments)
        runs = {tool: partial(worker.run, server, **arguments) for tool, worker in workers.items()}
        others = {tool: sizes.fewer for tool in tools if tool != LIMIT and not tool.startswith(OURS)}
        for tool, measured in in_turns(runs, sizes.repeats, fewer=others).items():
            note(f"{tool}: {measured.seconds:.3f} s, {measured.above_mb:.0f} MB")
            if tool == LIMIT and {run.rows for run in measured.runs} != {what.size}:
                raise ValueError(f"{LIMIT} did not fetch the bytes of all files.")
            yield {"tool": tool, "requests": requests[tool], **measured.json()}


def _checked(workers: Mapping[str, Worker], server: Server, arguments: Mapping[str, Any]) -> dict[str, int]:
    """How many requests each tool sends; `ValueError` when its voxels are not ours. Two at once: some need a minute."""

    def check(worker: Worker) -> tuple[int, Any]:
        sent, voxels = worker.check(server, **arguments)
        note(f"{worker.job} sent {len(sent):,} requests")
        return len(sent), voxels

    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(workers, pool.map(check, workers.values()), strict=True))
    differing = [tool for tool, (_, voxels) in found.items() if tool != LIMIT and voxels != found[OURS][1]]
    if differing:
        raise ValueError(f"The voxels of {', '.join(differing)} are others than ours.")
    return {tool: requests for tool, (requests, _) in found.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = options("pixels", "Volumes, beside other clients.")
    parser.add_argument("--orthanc", default=COMPARED, help=f"version of the server ({COMPARED})")
    parser.add_argument("--job", choices=JOBS, help="that one only, shown and not kept")
    given = parser.parse_args(arguments)
    name, found = f"pixels-{given.orthanc}", None
    if not given.docs:
        with ores.LocalOrthanc(given.orthanc) as orthanc:
            found = compare(orthanc, SMALL if given.small else Sizes(), jobs=[given.job] if given.job else tuple(JOBS))
        name = f"pixels-{found['versions']['Orthanc']}"
    kept = not given.small and not given.job and name in _report.BLOCKS
    return _report.publish(name, found, _report.pixels, kept=kept)


if __name__ == "__main__":
    sys.exit(main())
