"""Builds of datasets on several Orthancs and several workers: what each costs, and what follows for many.

    scripts/bench scale             the table, the growth and the figure (some ten minutes)
    scripts/bench scale --long      to 100,000 instances
    scripts/bench scale --small     in a minute, shown and not kept
    scripts/bench scale --docs      the page and the figure again, from results/

Writes results/scale.json, docs/scale.md and docs/scale.png. The servers, the scheduler and the workers share the
machine, so that seconds say little of a cluster; processor time of each does, and the model is made of it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import orthanc_research as ores
from benchmarks import _data, _slices
from benchmarks._lab import RESULTS, ROOT, keep, machine, note, table, write_block
from benchmarks._wire import recorded
from orthanc_research.dataset import Recipe

__all__ = ["SMALL", "Sizes", "block", "main", "measure", "model"]

PACKAGES = ("orthanc-research", "distributed", "pyarrow", "pydicom")
PAGE = ROOT / "docs" / "scale.md"
FIGURE = ROOT / "docs" / "scale.png"
_RECIPE = """
[dataset]
name = "scale"
[query]
match = {{ Modality = "{modality}" }}
[metadata]
keywords = ["PatientSex", "Manufacturer", "SliceThickness"]
[splits]
ratios = {{ train = 0.8, test = 0.2 }}
"""
_SOURCE = '[[source]]\nurl = "env:BENCH_URL_{n}"\nauth = "env:BENCH_AUTH_{n}"\nconcurrency = 4\n'
# The cohort that the model is for: a study of so many series of so many slices of 512² (0.53 MB).
_SERIES_A_STUDY, _SLICES, _MB_A_SLICE = 3, 100, 0.53
_STUDIES = 1_000_000
_CORES = 4  # of a server that Orthanc makes use of, under reads of many clients
_AT_ONCE = 8  # series at a time of one Orthanc: the largest `concurrency`

Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """What is built."""

    series: int = 60
    slices: int = 20
    pixels: int = 256
    orthancs: tuple[int, ...] = (1, 2, 4)
    workers: tuple[int, ...] = (1, 2, 4)
    growth: tuple[int, ...] = (500, 1_000, 5_000, 20_000)  # instances of 4.5 kB
    per_series: int = 20


SMALL = Sizes(series=4, slices=5, pixels=64, orthancs=(1, 2), workers=(1, 2), growth=(40, 80), per_series=10)


def measure(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """All of it: what is kept in results/scale.json."""
    with ExitStack() as until_done:
        servers = [
            until_done.enter_context(ores.LocalOrthanc(folder=folder / f"server-{n}"))
            for n in range(max(sizes.orthancs))
        ]
        requests, received = _requests(servers[0], sizes, folder)
        rows = []
        for count in sizes.orthancs:
            used = servers[:count]
            _fill(servers, used, sizes)
            for workers in sizes.workers:
                if workers == max(sizes.workers) or count == 1 or workers == 2:
                    rows.append(_measured(used, workers, "CT", folder))
                    note(f"{count} Orthancs, {workers} workers: {rows[-1]['seconds']:.1f} s")
        grown = []
        _empty(servers)
        there = 0
        for instances in sizes.growth:
            there = _data.fill(servers[0], there, instances // sizes.per_series, sizes.per_series) and (
                instances // sizes.per_series
            )
            grown.append(_measured(servers[:1], min(2, max(sizes.workers)), "MR", folder))
            note(f"{instances} instances: {grown[-1]['seconds']:.1f} s")
        version = servers[0].capabilities().version
    return {
        **machine(version, PACKAGES),
        "load": round(os.getloadavg()[1], 1),
        "slices": sizes.slices,
        "pixels": sizes.pixels,
        "requests": requests,
        "received_mb": received,
        "rows": rows,
        "growth": grown,
    }


def _fill(servers: Sequence[ores.Orthanc], used: Sequence[ores.Orthanc], sizes: Sizes) -> None:
    """The same series on so many of them, in equal shares."""
    _empty(servers)
    for n in range(sizes.series):
        made = _slices.ct_series(n, sizes.slices, pixels=sizes.pixels, study=n)
        ledger = used[n % len(used)].upload(list(made), progress=False)
        if (ledger["status"] != "stored").any():
            raise ValueError("The server did not store all files.")


def _empty(servers: Sequence[ores.Orthanc]) -> None:
    for orthanc in servers:
        found = orthanc.rest.patients.list()
        for start in range(0, len(found), 100):
            orthanc.rest.tools.bulk_delete(found[start : start + 100])


@contextmanager
def _sources(urls: Sequence[tuple[str, tuple[str, str]]], modality: str) -> Iterator[Recipe]:
    """A recipe of these servers, with their names in the environment, which the workers have as well."""
    named = {f"BENCH_URL_{n}": url for n, (url, _) in enumerate(urls)}
    named |= {f"BENCH_AUTH_{n}": ":".join(auth) for n, (_, auth) in enumerate(urls)}
    os.environ.update(named)
    try:
        text = _RECIPE.format(modality=modality) + "".join(_SOURCE.format(n=n) for n in range(len(urls)))
        yield Recipe.parse(text)
    finally:
        for name in named:
            os.environ.pop(name, None)


def _urls(servers: Sequence[ores.Orthanc]) -> list[tuple[str, tuple[str, str]]]:
    return [(each.url, each.rest.connection.basic_auth() or ("", "")) for each in servers]


def _requests(orthanc: ores.Orthanc, sizes: Sizes, folder: Path) -> tuple[dict[str, float], float]:
    """Requests a series and an instance of a plan and of a build, counted; and MB a series that come."""
    found = {}
    port = int(orthanc.url.rpartition(":")[2])
    for slices in (4, 8):
        _empty([orthanc])
        for n in range(3):
            orthanc.upload(list(_slices.ct_series(n, slices, pixels=32, study=n)), progress=False)
        with recorded(port) as wire:
            [(_, auth)] = _urls([orthanc])
            with _sources([(wire.url, auth)], "CT") as recipe, recipe.plan(progress=False) as plan:
                planned = len(wire.requests())
                plan.build(folder / f"counted-{slices}", workers=1, progress=False)
            found[slices] = (planned / 3, (len(wire.requests()) - planned) / 3)
    instance = (found[8][1] - found[4][1]) / 4
    return {
        "plan a series": round(found[4][0], 1),
        "build a series": round(found[4][1] - 4 * instance, 1),
        "build an instance": round(instance, 2),
    }, round(sizes.slices * sizes.pixels**2 * 2 / 1e6, 2)


def _measured(servers: Sequence[ores.Orthanc], workers: int, modality: str, folder: Path) -> Row:
    """One plan and one build on a cluster of its own; processor seconds of each side."""
    from distributed import Client, LocalCluster

    how = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 50}
    with ExitStack() as until_done:
        place = until_done.enter_context(tempfile.TemporaryDirectory(dir=folder))
        recipe = until_done.enter_context(_sources(_urls(servers), modality))  # before the workers are there
        cluster = until_done.enter_context(LocalCluster(n_workers=workers, **how))
        client = until_done.enter_context(Client(cluster))
        client.run(_warm)
        before, driver, start = _spent(servers, client), time.process_time(), time.perf_counter()
        with recipe.plan(progress=False) as plan:
            planned = time.perf_counter() - start
            on_servers = _spent(servers, client)[0] - before[0]
            build = plan.build(Path(place) / "out", executor=client, progress=False)
            seconds = time.perf_counter() - start - planned
            after = _spent(servers, client)
        if set(build.status["status"]) != {"done"}:
            raise ValueError("Not all series were built.")
        size = sum(path.stat().st_size for path in (Path(place) / "out").rglob("*") if path.is_file())
        return {
            "orthancs": len(servers),
            "workers": workers,
            "series": len(build.status),
            "instances": int(build.status["instances"].sum()),
            "mb": round(size / 1e6, 1),
            "plan": round(planned, 2),
            "seconds": round(seconds, 2),
            "plan_server_cpu": round(on_servers, 2),
            "server_cpu": round(after[0] - before[0] - on_servers, 2),
            "worker_cpu": round(after[1] - before[1], 2),
            "driver_cpu": round(time.process_time() - driver, 2),
            "hash": build.content_hash,
        }


def _warm() -> None:
    """What every worker imports once is no cost of a series."""
    import orthanc_research.dataset
    import orthanc_research.dataset._elsewhere  # noqa: F401


def _spent(servers: Sequence[ores.Orthanc], client: Any) -> tuple[float, float]:
    """Processor seconds so far: of the servers, of the workers."""
    times = [psutil.Process(_pid(each)).cpu_times() for each in servers]
    return sum(each.user + each.system for each in times), sum(client.run(time.process_time).values())


def _pid(orthanc: Any) -> int:
    return int(orthanc.server.pid)


def model(found: Mapping[str, Any]) -> dict[str, float]:
    """Processor seconds a series of `_SLICES` slices of 512², of each side, from what was measured.

    Straight lines: what an instance more costs as the archive of small images grows, and what a MB more costs on the
    large ones; what a process costs once (imports) is left out.
    """
    few, many = found["growth"][0], found["growth"][-1]
    large = next(row for row in found["rows"] if row["orthancs"] == row["workers"] == 1)
    per = {}
    for side in ("server_cpu", "worker_cpu"):
        instance = (many[side] - few[side]) / (many["instances"] - few["instances"])  # with its share of the series
        once = max(0.0, few[side] - instance * few["instances"]) / few["workers"]
        mb = max(0.0, large[side] - once - instance * large["instances"]) / (found["received_mb"] * large["series"])
        per[side] = _SLICES * (instance + mb * _MB_A_SLICE)
    more = many["series"] - few["series"]
    per["plan_server_cpu"] = (many["plan_server_cpu"] - few["plan_server_cpu"]) / more
    per["driver_cpu"] = (many["driver_cpu"] - few["driver_cpu"]) / more
    return per


def _hours(per: Mapping[str, float], orthancs: int, workers: int) -> float:
    """For all studies: the slowest of servers, workers (of which no more have work than may ask) and driver."""
    series = _STUDIES * _SERIES_A_STUDY
    workers = min(workers, _AT_ONCE * orthancs)
    servers = series * (per["server_cpu"] + per["plan_server_cpu"]) / (orthancs * _CORES)
    return max(servers, series * per["worker_cpu"] / workers, series * per["driver_cpu"]) / 3600


def block(found: Mapping[str, Any]) -> str:
    """The measured part of the page, and what the model makes of it."""
    versions = ", ".join(f"{name} {each}" for name, each in found["versions"].items())
    text = (
        f"{found['date']}, {found['cores']} cores for servers, scheduler and workers together, {found['system']}: "
        f"{versions}. **Other programs ran beside it (load {found['load']}): seconds are from a busy machine, "
        "processor seconds less so.**\n\n"
    )
    first = found["rows"][0]
    text += f"**Requests**: {_requests_told(found['requests'])}.\n\n"
    text += f"**CT series of {found['slices']} slices of {found['pixels']}²**\n\n{_table(found['rows'])}\n"
    text += f"**An Orthanc that grows: MR images of 4.5 kB**\n\n{_table(found['growth'])}\n"
    thousand = 1000 / first["series"]
    text += "**For 1,000 of these series of CT** (1 Orthanc, 1 worker; times 1,000, divided by the series measured)\n\n"
    costs = [
        ("processor seconds of Orthanc", f"{first['server_cpu'] * thousand:.0f}"),
        ("processor seconds of workers", f"{first['worker_cpu'] * thousand:.0f}"),
        ("processor seconds of the driver", f"{first['driver_cpu'] * thousand:.0f}"),
        ("GB that come", f"{found['received_mb']:.1f}"),
        ("GB that are written", f"{first['mb'] / first['series']:.1f}"),
        ("requests", f"{1000 * _each(found, found['slices']):,.0f}"),
    ]
    text += table(["", "1,000 series"], costs) + "\n"
    same = len({row["hash"] for row in found["rows"]}) == 1
    told = "one content hash" if same else "**different content hashes**"
    text += f"All {len(found['rows'])} builds of CT gave {told}.\n\n"
    return text + _modelled(found)


def _requests_told(requests: Mapping[str, float]) -> str:
    return ", ".join(f"{count:g} to {name}" for name, count in requests.items())


def _each(found: Mapping[str, Any], slices: int) -> float:
    """Requests for a series."""
    requests = found["requests"]
    return float(requests["plan a series"] + requests["build a series"] + slices * requests["build an instance"])


def _table(rows: Sequence[Row]) -> str:
    head = ["Orthancs", "workers", "series", "instances", "plan s", "build s", "series/s"]
    head += ["Orthanc CPU s", "worker CPU s", "driver CPU s"]
    lines = [
        (
            row["orthancs"], row["workers"], row["series"], f"{row['instances']:,}", f"{row['plan']:.1f}",
            f"{row['seconds']:.1f}", f"{row['series'] / row['seconds']:.1f}",
            f"{row['plan_server_cpu'] + row['server_cpu']:.1f}", f"{row['worker_cpu']:.1f}", f"{row['driver_cpu']:.1f}",
        )
        for row in rows
    ]  # fmt: skip
    return table(head, lines)


def _modelled(found: Mapping[str, Any]) -> str:
    per = model(found)
    series = _STUDIES * _SERIES_A_STUDY
    requests, tb = series * _each(found, _SLICES), series * _SLICES * _MB_A_SLICE / 1e6
    ratio = found["rows"][0]["mb"] / (found["received_mb"] * found["rows"][0]["series"])
    text = (
        f"**The model: {_STUDIES:,} studies of {_SERIES_A_STUDY} series of {_SLICES} slices of 512²** "
        "(not measured: straight lines through what was)\n\n"
        f"{requests / 1e6:,.0f} million requests, {tb:,.0f} TB that come, {tb * ratio:,.0f} TB that are written. "
        f"Processor seconds a series: {per['server_cpu'] + per['plan_server_cpu']:.2f} of Orthanc, "
        f"{per['worker_cpu']:.2f} of a worker, {per['driver_cpu']:.3f} of the driver. With {_CORES} cores to each "
        "Orthanc and one to each worker, the hours are the largest of the three:\n\n"
    )
    counts = (1, 4, 16, 64)
    workers = (4, 8, 32, 128, 512)
    lines = [
        (f"{n} Orthancs" if n > 1 else "1 Orthanc", *(f"{_hours(per, n, each):,.0f}" for each in workers))
        for n in counts
    ]
    text += table(["hours with workers:", *workers], lines)
    bend = per["worker_cpu"] / (per["server_cpu"] + per["plan_server_cpu"]) * _CORES
    gbit = tb * 8e3 / (_hours(per, 4, 32) * 3600)
    text += (
        f"\nAn Orthanc of {_CORES} cores would keep {bend:.0f} workers busy, and is asked by {_AT_ONCE} at most, so "
        "that it stays free for others: that is where it bends first, and more workers want more Orthancs. Where more "
        "Orthancs bring nothing the driver is what is waited for: split the recipe. "
        f"With 4 Orthancs and 32 workers {gbit:.1f} Gbit/s come from the servers' disks, and "
        f"{gbit * ratio:.1f} Gbit/s go to the file system that all share.\n"
    )
    return text


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Left what was measured as the archive grew, right what the model makes of it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    grown = found["growth"]
    for name, side in (("workers", "worker_cpu"), ("driver", "driver_cpu"), ("Orthanc", "server_cpu")):
        left.plot([row["instances"] for row in grown], [row[side] for row in grown], "o-", label=name)
    left.set(xlabel="instances", ylabel="processor seconds", title="measured, a build of all of an Orthanc")
    per = model(found)
    workers = [2**k for k in range(1, 10)]
    for count in (1, 4, 16):
        hours = [_hours(per, count, each) for each in workers]
        right.plot(workers, hours, "-", label=f"{count} Orthanc{'s' if count > 1 else ''}")
    right.set(xlabel="workers", ylabel="hours", title="model, a million studies of 300 slices")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    right.set_xticks([2, 8, 32, 128, 512])
    right.set_yticks([30, 100, 300, 1000])
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/bench scale", description="Builds on several servers and workers.")
    parser.add_argument("--long", action="store_true", help="to 100,000 instances")
    parser.add_argument("--small", action="store_true", help="small numbers, shown and not kept")
    parser.add_argument("--docs", action="store_true", help="write docs/scale.md again and measure nothing")
    given = parser.parse_args(arguments)
    if not given.docs:
        sizes = SMALL if given.small else Sizes(growth=(1_000, 10_000, 100_000)) if given.long else Sizes()
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with tempfile.TemporaryDirectory(prefix="orthanc-research-scale-", dir=memory) as folder:
            found = measure(sizes, Path(folder))
        sys.stdout.write("\n" + block(found) + "\n")
        if given.small:
            return 0
        keep("scale", found)
    found = json.loads((RESULTS / "scale.json").read_text())
    write_block(PAGE, "scale", block(found))
    draw(found, FIGURE)
    return 0


if __name__ == "__main__":  # workers begin by importing this module
    sys.exit(main())
