"""Tables of tags: this package, pyorthanc, orthanc-api-client and the bare wire, on one server in one run.

    scripts/bench tables            three tables, at once and 10 ms away (an hour on two cores, mostly of the others)
    scripts/bench tables --series   the first of them only, on a server of 1,000 instances of a version with more routes
    scripts/bench tables --long     a parquet file of all instances instead, from 1,000 to 100,000 of them
    scripts/bench tables --job all  one of its tables, in place of that of an earlier whole run
    scripts/bench tables --small    any of them in a minute, shown and not kept
    scripts/bench tables --docs     the page again, from results/

All write results/ and docs/performance.md. Nothing is timed before all tools gave the same cells. Each run begins with
a new client, as a script does.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

import orthanc_research as ores
from benchmarks import _data, _report
from benchmarks._lab import OURS, RESULTS, Run, Server, Worker, curl, in_turns, machine, note, options
from benchmarks._wire import Sent
from benchmarks.delay import DelayProxy

__all__ = ["CURL", "JOBS", "OURS", "Sizes", "compare", "grow", "main", "same"]

KEPT = f"{OURS}, its next find"
CURL = "curl, the same requests"
NEWER = "1.12.7"
# 1.12.5 to 1.13.0 with the built-in SQLite go through all instances that there are for each one that they are asked for
# (1.12.7 at 10,000 instances: 6 ms an instance, 0.5 ms at 200), so there nothing can be flat, whatever a client does.
STEADY = "1.10.1"
PACKAGES = ("orthanc-research", "pandas", "httpx", "pyorthanc", "orthanc_api_client")

_SERIES = (
    "PatientID",
    "StudyDate",
    "Modality",
    "SeriesDescription",
    "BodyPartExamined",
    "Manufacturer",
    "NumberOfSeriesRelatedInstances",
)
_CHOSEN = (
    "SOPInstanceUID",
    "InstanceNumber",
    "ImagePositionPatient",
    "SliceLocation",
    "EchoTime",
    "RepetitionTime",
    "FlipAngle",
    "PixelSpacing",
)


@dataclass(frozen=True)
class Sizes:
    """How much there is on the server, and how often each tool is run."""

    series: int = 100
    per_series: int = 100
    all_series: int = 20  # of which all tags are read
    repeats: int = 5
    delays: tuple[int, ...] = (0, 10)  # milliseconds of a round trip
    growth: tuple[int, ...] = (1_000, 10_000, 100_000)  # instances

    def title(self, job: str) -> str:
        """What a job asks for."""
        return {
            "series": f"{len(_SERIES)} columns of {self.series} series",
            "chosen": f"{len(_CHOSEN)} tags of {self.series * self.per_series:,} instances",
            "all": f"all tags of {self.all_series * self.per_series:,} instances",
        }[job]


SMALL = Sizes(series=12, per_series=20, all_series=3, repeats=3, growth=(240, 480))

# The first tool is ours, and the others must give its cells.
JOBS: Mapping[str, Mapping[str, str]] = {
    "series": {
        OURS: "benchmarks.with_ours:series",
        KEPT: "benchmarks.with_ours:series_kept",
        "pyorthanc, `find_series`": "benchmarks.with_pyorthanc:series_found",
        "pyorthanc, patients down": "benchmarks.with_pyorthanc:series_walked",
        "pyorthanc, by hand": "benchmarks.with_pyorthanc:series_posted",
        "orthanc-api-client": "benchmarks.with_orthanc_api_client:series",
    },
    "chosen": {
        OURS: "benchmarks.with_ours:tags",
        "pyorthanc": "benchmarks.with_pyorthanc:tags",
        "pyorthanc, by hand": "benchmarks.with_pyorthanc:tags_of_series",
        "orthanc-api-client": "benchmarks.with_orthanc_api_client:tags",
    },
    "all": {
        OURS: "benchmarks.with_ours:tags",
        "pyorthanc": "benchmarks.with_pyorthanc:tags",
        "pyorthanc, by hand": "benchmarks.with_pyorthanc:tags_of_series",
        "orthanc-api-client": "benchmarks.with_orthanc_api_client:all_tags",
    },
}


def compare(
    orthanc: ores.Orthanc, sizes: Sizes, *, only: Sequence[str] | None = None, jobs: Sequence[str] = tuple(JOBS)
) -> dict[str, Any]:
    """Every job with every tool (or `only` these) on a server that is empty: what is kept in results/tables.json.

    The wire's own time is left out where there is no curl, and by hand the first table where a server has no such find.
    """
    note(f"storing {sizes.series * sizes.per_series:,} instances")
    _data.fill(orthanc, 0, sizes.series, sizes.per_series)
    found = orthanc.find("Series", columns=["SeriesInstanceUID"]).sort_values("SeriesInstanceUID")
    ids = list(found.index)
    arguments: Mapping[str, Mapping[str, Any]] = {
        "series": {"columns": _SERIES},
        "chosen": {"series": ids, "columns": _CHOSEN},
        "all": {"series": ids[: sizes.all_series]},
    }
    rows: list[dict[str, Any]] = []
    old = not orthanc.capabilities().has("requested-tags")
    for job in jobs:
        tools = {tool: path for tool, path in JOBS[job].items() if not (old and path.endswith(":series_posted"))}
        chosen = {tool: path for tool, path in tools.items() if only is None or tool in only}
        rows += [{"job": job, **row} for row in _job(Server.of(orthanc), chosen, arguments[job], sizes)]
    titles = {job: sizes.title(job) for job in jobs}
    return {
        **machine(orthanc.capabilities().version, PACKAGES),
        "repeats": sizes.repeats,
        "titles": titles,
        "rows": rows,
    }


def _job(
    server: Server, tools: Mapping[str, str], arguments: Mapping[str, Any], sizes: Sizes
) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        workers = {tool: stack.enter_context(Worker(path)) for tool, path in tools.items()}
        sent, expected = workers[OURS].check(server, **arguments)
        requests = {OURS: len(sent), CURL: len(sent)}
        for tool, worker in workers.items():
            if tool != OURS:
                others, cells = worker.check(server, second=tool == KEPT, **arguments)
                same(expected, cells, tool)
                requests[tool] = len(others)
        for delay in sizes.delays:
            with _away(server, delay) as there:
                runs = {tool: partial(worker.run, there, **arguments) for tool, worker in workers.items()}
                for tool, measured in in_turns({**runs, **_wire(there, sent)}, sizes.repeats).items():
                    note(f"{delay} ms  {tool}: {measured.seconds:.3f} s")
                    yield {"tool": tool, "delay_ms": delay, "requests": requests[tool], **measured.json()}


def same(ours: Mapping[str, Mapping[str, Any]], others: Mapping[str, Mapping[str, Any]], tool: str) -> int:
    """How many cells are the same in both; `ValueError`, with the names of the columns, when one is not.

    Each value that the other tool has for an element of the standard that is neither a sequence nor binary must be in
    ours, and the other way round.
    """
    if set(ours) != set(others):
        raise ValueError(f"{tool} has {len(others)} rows, and {OURS} {len(ours)}.")
    names = {name for row in (*ours.values(), *others.values()) for name in row}
    compared = [name for name in names if name in _SERIES or _is_plain(name)]
    differing = {name for row, cells in ours.items() for name in compared if cells.get(name) != others[row].get(name)}
    if differing:
        raise ValueError(f"{tool} and {OURS} differ in {', '.join(sorted(differing))}.")
    return len(ours) * len(compared)


def _is_plain(name: str) -> bool:
    tag = tag_for_keyword(name)
    return tag is not None and dictionary_VR(tag) not in ("SQ", "OB", "OW", "UN", "OB or OW", "US or SS or OW")


@contextmanager
def _away(server: Server, milliseconds: int) -> Iterator[Server]:
    """The server, as far away as that; at 0 ms there is nothing between."""
    if not milliseconds:
        yield server
        return
    with DelayProxy(server.port, round_trip=milliseconds / 1000) as proxy:
        yield server.at(proxy.url)


def grow(orthanc: ores.Orthanc, sizes: Sizes) -> dict[str, Any]:
    """`tags_to_parquet` of everything on a server that grows: what is kept in results/tables-growth.json."""
    rows: list[dict[str, Any]] = []
    there = 0
    for instances in sizes.growth:
        start = time.perf_counter()
        last = instances // sizes.per_series
        _data.fill(orthanc, there, last, sizes.per_series)
        there = last
        note(f"{instances:,} instances ({time.perf_counter() - start:.0f} s to store)")
        for what, columns in ((f"{len(_CHOSEN)} tags", _CHOSEN), ("all tags", None)):
            runs = _written(Server.of(orthanc), columns, min(3, sizes.repeats))
            rows += [{"instances": instances, "what": what, **row} for row in runs]
    return {**machine(orthanc.capabilities().version, PACKAGES), "rows": rows}


def _written(server: Server, columns: Sequence[str] | None, repeats: int) -> Iterator[dict[str, Any]]:
    with Worker("benchmarks.with_ours:write") as worker:
        sent, _ = worker.check(server, columns=columns)
        jobs = {OURS: partial(worker.run, server, columns=columns)} | _wire(server, sent)
        for tool, measured in in_turns(jobs, repeats).items():
            note(f"{tool}: {measured.seconds:.2f} s, {measured.peak_mb:.0f} MB")
            yield {"tool": tool, "requests": len(sent), **measured.json()}


def _renewed(kept: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The kept run with the tables of another one in place of its own; `dates` says of which day those are."""
    if {**kept["versions"], "orthanc-research": ""} != {**found["versions"], "orthanc-research": ""}:
        raise ValueError("The kept run is of other versions: measure all tables again.")
    others = [row for row in kept["rows"] if row["job"] not in found["titles"]]
    rows = sorted(others + found["rows"], key=lambda row: list(JOBS).index(row["job"]))
    dates = {**kept.get("dates", {}), **dict.fromkeys(found["titles"], found["date"])}
    return {**kept, "titles": {**kept["titles"], **found["titles"]}, "rows": rows, "dates": dates}


def _wire(server: Server, sent: Sequence[Sent]) -> dict[str, Callable[[], Run]]:
    return {CURL: partial(curl, server, sent)} if shutil.which("curl") else {}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = options("tables", "Tables of tags, beside other clients.")
    parser.add_argument("--orthanc", help=f"version of the server ({STEADY}; {NEWER} with --series)")
    parser.add_argument("--series", action="store_true", help="the first table only")
    parser.add_argument("--job", choices=JOBS, help="that table only, in place of the one of an earlier whole run")
    parser.add_argument("--long", action="store_true", help="how a file grows to 100,000 instances, instead")
    given = parser.parse_args(arguments)
    name, measure = ("tables-growth", grow) if given.long else ("tables", compare)
    if given.series:
        name, measure = "tables-series", partial(compare, jobs=("series",))
    elif given.job:
        measure = partial(compare, jobs=(given.job,))
    found = None
    if not given.docs:
        sizes = SMALL if given.small else Sizes(per_series=10) if given.series else Sizes()
        with ores.LocalOrthanc(given.orthanc or (NEWER if given.series else STEADY)) as orthanc:
            found = measure(orthanc, sizes)
        if given.job and not given.small:
            found = _renewed(json.loads((RESULTS / f"{name}.json").read_text()), found)
    return _report.publish(name, found, _report.BLOCKS[name], kept=not given.small)


if __name__ == "__main__":
    sys.exit(main())
