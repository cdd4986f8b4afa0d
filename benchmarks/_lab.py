"""What every benchmark needs: a process a tool, turns that drift hits alike, the wire's own time, tables in pages.

A tool's job is a function "module:function" of (url, user, password, **arguments) that returns a DataFrame indexed by
Orthanc ID, a dict of arrays, or a number of rows. It runs in a process of its own (`_worker`), so that memory and
imports do not mix.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from benchmarks._wire import Sent, recorded
from orthanc_research import Orthanc

__all__ = [
    "LIMIT",
    "OURS",
    "RESULTS",
    "ROOT",
    "Measured",
    "Run",
    "Server",
    "Worker",
    "curl",
    "in_memory",
    "in_turns",
    "keep",
    "machine",
    "note",
    "options",
    "table",
    "write_block",
]

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
OURS = "orthanc_research"
LIMIT = "http.client, bytes only"


@dataclass(frozen=True)
class Server:
    """Where to send requests; `at` gives the same server behind another address."""

    url: str
    user: str
    password: str = field(repr=False)

    @classmethod
    def of(cls, orthanc: Orthanc) -> Self:
        """Where this client sends to, with a user name and a password."""
        return cls(orthanc.url, *(orthanc.rest.connection.basic_auth() or ("", "")))

    @property
    def port(self) -> int:
        """The port at the end of its address."""
        return int(self.url.rpartition(":")[2])

    def at(self, url: str) -> Server:
        """The same server, through a proxy."""
        return Server(url, self.user, self.password)


@dataclass(frozen=True)
class Run:
    """One run: seconds, and the highest resident memory of the process meanwhile, in MB (10⁶ bytes).

    `above_mb` is what of it is more than the process had before its first run, with all imports done; `cpu` the seconds
    of processor time of the process and of the children that it ended.
    """

    seconds: float
    peak_mb: float = 0.0
    rows: int = 0
    above_mb: float = 0.0
    cpu: float = 0.0


@dataclass(frozen=True)
class Measured:
    """All runs of one tool."""

    runs: tuple[Run, ...]

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def peak_mb(self) -> float:
        """The highest of all."""
        return max(run.peak_mb for run in self.runs)

    @property
    def above_mb(self) -> float:
        """The highest of all."""
        return max(run.above_mb for run in self.runs)

    def json(self) -> dict[str, Any]:
        """What is kept of it."""
        return {
            "seconds": round(self.seconds, 4),
            "runs": [round(run.seconds, 4) for run in self.runs],
            "peak_mb": round(self.peak_mb),
            "rows": self.runs[0].rows,
            "above_mb": round(self.above_mb),
        }


class Worker:
    """The process of one job."""

    def __init__(self, job: str) -> None:
        self.job = job
        command = [sys.executable, "-m", "benchmarks._worker", job]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, server: Server, **arguments: Any) -> Run:
        """Do the job once."""
        answer = self._ask(server, arguments, check=False)
        above = answer["peak_mb"] - answer["before_mb"]
        return Run(answer["seconds"], answer["peak_mb"], answer["rows"], above, answer["cpu"])

    def check(self, server: Server, *, second: bool = False, **arguments: Any) -> tuple[list[Sent], Any]:
        """Do the job once, untimed: the requests that it sent, and the cells of its table ({ID: {column: value}}).

        Or a `second` time, for what keeps its client.
        """
        with recorded(server.port) as wire:
            if second:
                self._ask(server.at(wire.url), arguments, check=True)
                wire.forget()
            answer = self._ask(server.at(wire.url), arguments, check=True)
            return wire.requests(), answer["cells"]

    def _ask(self, server: Server, arguments: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        told = {"server": [server.url, server.user, server.password], "arguments": arguments, "check": check}
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or '{"error": "its process ended"}')
        if "error" in answer:
            raise RuntimeError(f"{self.job}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def in_turns(
    jobs: Mapping[str, Callable[[], Run]], repeats: int, *, fewer: Mapping[str, int] | None = None
) -> dict[str, Measured]:
    """Run A B C A B C …, so that whatever else the machine does hits all alike; those in `fewer` only so often."""
    runs: dict[str, list[Run]] = {name: [] for name in jobs}
    for turn in range(repeats):
        for name, job in jobs.items():
            if turn < (fewer or {}).get(name, repeats):
                runs[name].append(job())
    return {name: Measured(tuple(each)) for name, each in runs.items()}


def curl(server: Server, sent: Sequence[Sent]) -> Run:
    """The time of one `curl --parallel --parallel-max 4` that sends the same requests: what the wire itself costs.

    All at once, although some of them need the answers of others, and nothing is read from what comes.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "curl.conf"
        config.touch(0o600)
        config.write_text("next\n".join(_transfer(server, one, Path(folder), n) for n, one in enumerate(sent)))
        command = ["curl", "--parallel", "--parallel-max", "4", "--no-progress-meter", "--config", str(config)]
        start = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        seconds = time.perf_counter() - start
    if done.returncode or done.stdout.split() != ["200"] * len(sent):
        raise RuntimeError(f"curl ended with {done.returncode}, and the answers {sorted(set(done.stdout.split()))}")
    return Run(seconds)


def _transfer(server: Server, one: Sent, folder: Path, n: int) -> str:
    options = {
        "url": server.url + one.target,
        "user": f"{server.user}:{server.password}",
        "output": os.devnull,
        "write-out": "%{http_code}\\n",
        "request": one.method,
    }
    if one.accepts:
        options["header"] = f"Accept-Encoding: {one.accepts}"
    if one.body:
        body = folder / f"{n}.json"
        body.write_bytes(one.body)
        options["data-binary"] = f"@{body}"
    return "silent\n" + "".join(f'{name} = "{value}"\n' for name, value in options.items())


def machine(orthanc: str, packages: Iterable[str] = ()) -> dict[str, Any]:
    """What the numbers were measured on and with."""
    found = {"Orthanc": orthanc, "Python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": found,
        "date": time.strftime("%Y-%m-%d"),
    }


def options(name: str, about: str, page: str = "performance.md") -> argparse.ArgumentParser:
    """What every benchmark takes; each adds its own."""
    parser = argparse.ArgumentParser(prog=f"scripts/bench {name}", description=about)
    parser.add_argument("--small", action="store_true", help="small numbers, shown and not kept")
    parser.add_argument("--docs", action="store_true", help=f"write docs/{page} again and measure nothing")
    return parser


@contextmanager
def in_memory(name: str) -> Iterator[Path]:
    """A folder in memory (/dev/shm), where there is such a place."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix=f"orthanc-research-{name}-", dir=memory) as folder:
        yield Path(folder)


def keep(name: str, found: Mapping[str, Any]) -> None:
    """Write results/*.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def note(text: str) -> None:
    """Say how far a benchmark is."""
    sys.stderr.write(f"{text}\n")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table: the first column to the left, numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def write_block(page: Path, name: str, text: str) -> None:
    """Put the text between the markers `<!-- name -->` and `<!-- /name -->` of a page; they must be there, once."""
    before = page.read_text(encoding="utf-8")
    pattern = re.compile(rf"(?<=<!-- {re.escape(name)} -->\n).*?(?=<!-- /{re.escape(name)} -->)", re.DOTALL)
    after, count = pattern.subn(lambda _: f"\n{text.strip()}\n\n", before)
    if count != 1:
        raise ValueError(f"{page.name} has {count} places for {name}.")
    if after != before:
        page.write_text(after, encoding="utf-8")
