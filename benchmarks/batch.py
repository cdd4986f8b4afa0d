"""Files to a server and back: this package, pyorthanc, orthanc-api-client and the bare wire, in one run.

    scripts/bench batch                      small and large files, at once and 10 ms away, on Orthanc 1.12.7
    scripts/bench batch --orthanc 1.10.1     on that server
    scripts/bench batch --small              in a minute, shown and not kept
    scripts/bench batch --docs               the page again, from results/

Writes results/ and docs/performance.md. After each run what arrived is held against what was sent, by its MD5. Files
and the server's storage are in memory (/dev/shm), where there is such a place. Each run begins with a new client, as a
script does, and each upload with an empty server.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orthanc_research as ores
from benchmarks import _data, _report, _slices
from benchmarks._lab import LIMIT, OURS, Measured, Run, Server, Worker, in_memory, in_turns, machine, note, options
from benchmarks.delay import DelayProxy

__all__ = ["JOBS", "TOOLS", "Sizes", "compare", "main"]

COMPARED = "1.12.7"
PACKAGES = ("orthanc-research", "httpx", "pyorthanc", "orthanc_api_client")
JOBS = ("upload-small", "download-small", "upload-large", "download-large", "upload-many", "download-many")
# Each has a function for either way. Of the many files, only what we need ourselves is measured.
TOOLS: Mapping[str, str] = {
    OURS: "benchmarks.with_ours",
    LIMIT: "benchmarks.with_http_client",
    "pyorthanc": "benchmarks.with_pyorthanc",
    "orthanc-api-client": "benchmarks.with_orthanc_api_client",
}


@dataclass(frozen=True)
class Sizes:
    """How many files there are, and how often each tool is run."""

    small: int = 1000
    large: int = 200
    many: int = 5000
    large_pixels: int = 512
    many_pixels: int = 256  # together more than what a process may need for them
    delays: tuple[int, ...] = (0, 10)  # milliseconds of a round trip
    repeats: int = 3
    fewer: int = 3  # of what is neither ours nor the limit

    def count(self, kind: str) -> int:
        """How many files of a kind."""
        return {"small": self.small, "large": self.large, "many": self.many}[kind]


SMALL = Sizes(small=40, large=10, many=60, repeats=2, fewer=1)
_PER_SERIES = 100


@dataclass(frozen=True)
class Files:
    """What a job moves."""

    folder: Path
    count: int
    size: int  # bytes of all
    largest: int
    md5s: tuple[str, ...]  # sorted

    @property
    def mb(self) -> float:
        """10⁶ bytes."""
        return self.size / 1e6


def compare(
    orthanc: ores.Orthanc, folder: Path, sizes: Sizes, *, only: Sequence[str] = tuple(TOOLS), jobs: Sequence[str] = JOBS
) -> dict[str, Any]:
    """Every job with every tool (or `only` these) on a server of our own: what is kept in results/."""
    about: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    made: dict[str, Files] = {}
    for job in jobs:
        way, _, kind = job.partition("-")
        if kind not in made:
            made[kind] = _make(folder / kind, kind, sizes)
        files = made[kind]
        title = f"{way} of {files.count:,} files of {files.size / files.count / 1e3:.0f} kB ({files.mb:.0f} MB)"
        about[job] = {"title": title, "mb": round(files.mb, 3), "largest_mb": round(files.largest / 1e6, 3)}
        note(title)
        tools = [OURS] if kind == "many" else only
        many = Sizes(delays=(0,), repeats=1) if kind == "many" else sizes
        rows += [{"job": job, **row} for row in _Bench(orthanc, folder, way, files).measure(tools, many)]
    return {
        **machine(orthanc.capabilities().version, PACKAGES),
        "repeats": sizes.repeats,
        "fewer": sizes.fewer,
        "jobs": about,
        "rows": rows,
    }


@dataclass(frozen=True)
class _Bench:
    """One way of some files, with all tools."""

    orthanc: ores.Orthanc
    folder: Path
    way: str
    files: Files

    def measure(self, tools: Sequence[str], sizes: Sizes) -> Iterator[dict[str, Any]]:
        """The rows of all tools, as far away as wanted. What is counted is not timed."""
        with ExitStack() as stack:
            workers = {tool: stack.enter_context(Worker(f"{TOOLS[tool]}:{self.way}")) for tool in tools}
            what = {"folder": str(self.files.folder), "instances": self._stored()}
            requests = {tool: self._requests(worker, what) for tool, worker in workers.items()}
            for delay in sizes.delays:
                with away(Server.of(self.orthanc), delay) as there:
                    runs = {tool: partial(self._run, worker, there, what) for tool, worker in workers.items()}
                    others = {tool: sizes.fewer for tool in tools if tool not in (OURS, LIMIT)}
                    for tool, measured in in_turns(runs, sizes.repeats, fewer=others).items():
                        yield {
                            "tool": tool,
                            "delay_ms": delay,
                            "requests": requests[tool],
                            **self._told(tool, measured),
                        }

    def _told(self, tool: str, measured: Measured) -> dict[str, Any]:
        note(f"{tool}: {measured.seconds:.3f} s, {measured.above_mb:.0f} MB")
        return measured.json()

    def _requests(self, worker: Worker, what: Mapping[str, Any]) -> int:
        return len(self._once(lambda **more: worker.check(Server.of(self.orthanc), what=what, **more))[0])

    def _run(self, worker: Worker, server: Server, what: Mapping[str, Any]) -> Run:
        run: Run = self._once(lambda **more: worker.run(server, what=what, **more))
        if run.rows != self.files.count:
            raise ValueError(f"{worker.job} moved {run.rows} of {self.files.count} files.")
        return run

    def _once(self, job: Any) -> Any:
        """Do it, and see what it did; `ValueError` when that is not all of it."""
        if self.way == "upload":
            self._empty()
            done = job()
            found = [self.orthanc.rest.instances.md5(each) for each in self.orthanc.rest.instances.list()]
        else:
            into = self.folder / "into"
            done = job(into=str(into))
            found = [_md5(each) for each in into.rglob("*.dcm")]
            shutil.rmtree(into, ignore_errors=True)
        # The limit writes nothing.
        if tuple(sorted(found)) != self.files.md5s and (found or self.way == "upload"):
            raise ValueError(f"{len(found)} of {self.files.count} files arrived, or others.")
        return done

    def _stored(self) -> list[str]:
        """What is there to download."""
        if self.way == "upload":
            return []
        self._empty()
        ledger = self.orthanc.upload(self.files.folder, progress=False)
        if (ledger["status"] != "stored").any():
            raise ValueError("The server did not store all files.")
        return list(ledger["ID"])

    def _empty(self) -> None:
        for patient in self.orthanc.rest.patients.list():
            self.orthanc.rest.patients.delete(patient)


@contextmanager
def away(server: Server, milliseconds: int) -> Iterator[Server]:
    """The server, as far away as that; at 0 ms there is nothing between."""
    if not milliseconds:
        yield server
        return
    with DelayProxy(server.port, round_trip=milliseconds / 1000) as proxy:
        yield server.at(proxy.url)


def _make(folder: Path, kind: str, sizes: Sizes) -> Files:
    folder.mkdir()
    count, number = sizes.count(kind), 0
    while number < count:
        here = min(_PER_SERIES, count - number)
        first = {"small": 0, "large": 100, "many": 200}[kind] + number // _PER_SERIES
        if kind == "small":
            for k, content in enumerate(_data.series(first, here)):
                (folder / f"{number + k:05d}.dcm").write_bytes(content)
        else:
            pixels = sizes.large_pixels if kind == "large" else sizes.many_pixels
            for k, dataset in enumerate(_slices.ct_series(first, here, pixels=pixels, study=first)):
                dataset.save_as(folder / f"{number + k:05d}.dcm", enforce_file_format=True)
        number += here
    paths = sorted(folder.iterdir())
    bytes_ = [path.stat().st_size for path in paths]
    return Files(folder, len(paths), sum(bytes_), max(bytes_), tuple(sorted(map(_md5, paths))))


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = options("batch", "Files to a server and back.")
    parser.add_argument("--orthanc", default=COMPARED, help=f"version of the server ({COMPARED})")
    parser.add_argument("--job", choices=JOBS, help="that one only, shown and not kept")
    given = parser.parse_args(arguments)
    name, found = f"batch-{given.orthanc}", None
    if not given.docs:
        with in_memory("batch") as folder, ores.LocalOrthanc(given.orthanc, folder / "server") as orthanc:
            jobs = [given.job] if given.job else JOBS
            found = compare(orthanc, folder, SMALL if given.small else Sizes(), jobs=jobs)
        name = f"batch-{found['versions']['Orthanc']}"
    kept = not given.small and not given.job and name in _report.BLOCKS
    return _report.publish(name, found, _report.batch, kept=kept)


if __name__ == "__main__":
    sys.exit(main())
