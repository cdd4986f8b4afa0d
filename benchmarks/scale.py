"""Builds of datasets on several Orthancs and several workers: what each costs, and what follows for many.

    scripts/bench scale                 the tables, the growth and the figure (some ten minutes)
    scripts/bench scale --long          the growth alone, to 100,000 instances (as long again)
    scripts/bench scale --postgresql    the index in SQLite and in PostgreSQL instead (some ten minutes)
    scripts/bench scale --small         either in a minute, shown and not kept
    scripts/bench scale --docs          the page and the figure again, from results/

Writes results/scale.json, scale-growth.json or scale-postgresql.json, docs/scale.md and docs/scale.png. The servers,
the scheduler and the workers share the machine, so that seconds say little of a cluster; processor time of each does,
and the model is made of it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

import orthanc_research as ores
from benchmarks import _data, _indexes, _slices
from benchmarks._lab import RESULTS, ROOT, keep, machine, note, write_block
from benchmarks._postgresql import MissingError
from benchmarks._scale_page import block, draw
from benchmarks._wire import recorded
from orthanc_research.dataset import Recipe

__all__ = ["FIGURE", "PAGE", "SMALL", "Sizes", "main", "measure", "write"]

PACKAGES = ("orthanc-research", "distributed", "pyarrow", "pydicom")
KEPT = ("scale", "scale-growth", "scale-postgresql")
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
LONG = Sizes(growth=(1_000, 10_000, 100_000), per_series=100)


def measure(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Several servers and workers: what is kept in results/scale.json."""
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
        about = _about(servers[0], rows)
    grown = grow(sizes, folder)["rows"]
    more = {"slices": sizes.slices, "pixels": sizes.pixels, "requests": requests, "received_mb": received}
    return {**about, **more, "rows": rows, "growth": grown}


def grow(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """One server that fills, and all of it built each time; of `LONG`, what is kept in results/scale-growth.json."""
    rows: list[Row] = []
    there = 0
    with ores.LocalOrthanc(folder=folder / "growing") as orthanc:
        for instances in sizes.growth:
            series = instances // sizes.per_series
            before, start = psutil.Process(_pid(orthanc)).cpu_times(), time.perf_counter()
            stored = _data.fill(orthanc, there, series, sizes.per_series, workers=4)
            seconds, after = time.perf_counter() - start, psutil.Process(_pid(orthanc)).cpu_times()
            there = series
            note(f"{instances} instances are there: {seconds:.1f} s")
            row = _measured([orthanc], min(2, max(sizes.workers)), "MR", folder)
            spent = after.user + after.system - before.user - before.system
            rows.append({**row, "store_ms": round(1000 * spent / stored, 2), "plan_requests": _plan_requests(orthanc)})
            note(f"{instances} instances: {row['seconds']:.1f} s")
        return {**_about(orthanc, rows), "rows": rows}


def _about(orthanc: ores.Orthanc, rows: Sequence[Row]) -> dict[str, Any]:
    return {**machine(orthanc.capabilities().version, PACKAGES), "load": max(row["load"] for row in rows)}


def _plan_requests(orthanc: ores.Orthanc) -> int:
    """How many a plan of all of it sends."""
    with _sources(_urls([orthanc]), "MR") as recipe, orthanc.rest.counting() as requests:
        recipe.plan(orthanc, progress=False).close()
        return len(requests)


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
    distributed: Any = import_module("distributed")  # which has types for some of it
    how = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 50}
    with ExitStack() as until_done:
        place = until_done.enter_context(tempfile.TemporaryDirectory(dir=folder))
        recipe = until_done.enter_context(_sources(_urls(servers), modality))  # before the workers are there
        cluster = until_done.enter_context(distributed.LocalCluster(n_workers=workers, **how))
        client = until_done.enter_context(distributed.Client(cluster))
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
            "driver_mb": round(psutil.Process().memory_info().rss / 1e6),
            "index_mb": round(sum(map(_index_mb, servers)), 1),
            "load": round(os.getloadavg()[0], 1),
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


def _index_mb(orthanc: Any) -> float:
    """Of its SQLite."""
    return float(sum(path.stat().st_size for path in (orthanc.server.folder / "storage").glob("index*"))) / 1e6


def _pid(orthanc: Any) -> int:
    return int(orthanc.server.pid)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/bench scale", description="Builds on several servers and workers.")
    parser.add_argument("--long", action="store_true", help="the growth alone, to 100,000 instances")
    parser.add_argument("--postgresql", action="store_true", help="the index in SQLite and in PostgreSQL")
    parser.add_argument("--small", action="store_true", help="small numbers, shown and not kept")
    parser.add_argument("--docs", action="store_true", help="write docs/scale.md again and measure nothing")
    given = parser.parse_args(arguments)
    if not given.docs:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with tempfile.TemporaryDirectory(prefix="orthanc-research-scale-", dir=memory) as folder:
            try:
                found = _found(given, Path(folder), memory)
            except MissingError as missing:
                note(str(missing))
                return 1
        if given.small:
            sys.stdout.write(json.dumps(found, indent=1) + "\n")
            return 0
        for name, each in found.items():
            keep(name, each)
    write()
    return 0


def _found(given: argparse.Namespace, folder: Path, disk: str | None) -> dict[str, dict[str, Any]]:
    """What was asked for, by the name that it is kept under."""
    if given.postgresql:
        return {"scale-postgresql": _indexes.compare(_indexes.SMALL if given.small else _indexes.Sizes(), folder, disk)}
    if given.long:
        return {"scale-growth": grow(SMALL if given.small else LONG, folder)}
    return {"scale": measure(SMALL if given.small else Sizes(), folder)}


def write() -> None:
    """The page and the figure, from results/."""
    scale, growth, indexes = (json.loads((RESULTS / f"{name}.json").read_text()) for name in KEPT)
    write_block(PAGE, "scale", block(scale, growth))
    write_block(PAGE, "scale-postgresql", _indexes.block(indexes))
    draw(scale, growth, indexes, FIGURE)


if __name__ == "__main__":  # workers begin by importing this module
    sys.exit(main())
