"""What builds on several servers and workers cost, as tables; and the model of many studies, which is made of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks._lab import table

__all__ = ["SIDES", "block", "draw", "hours", "model"]

# The cohort that the model is for: a study of so many series of so many slices of 512² (0.53 MB).
_SERIES_A_STUDY, _SLICES, _MB_A_SLICE = 3, 100, 0.53
_STUDIES = 1_000_000
_CORES = 4  # of a server that Orthanc makes use of, under reads of many clients
_AT_ONCE = 8  # series at a time of one Orthanc: the largest `concurrency`

_MB_OF_A_SMALL = 0.0045
SIDES = ("plan_server_cpu", "server_cpu", "worker_cpu", "driver_cpu")

Row = dict[str, Any]


def model(found: Mapping[str, Any], growth: Mapping[str, Any]) -> dict[str, float]:
    """Processor seconds a series of `_SLICES` slices of 512², of each side, from all that was measured.

    A straight line through all builds: so much a process (what it imports, which is left out), a series, an instance
    and a MB that comes, none of them less than nothing. Small builds count as much as large ones.
    """
    rows = [*found["rows"], *found["growth"], *growth["rows"]]
    received = [found["received_mb"] / found["slices"]] * len(found["rows"])
    received += [_MB_OF_A_SMALL] * (len(rows) - len(received))
    terms = [
        [row["workers"], row["series"], row["instances"], row["instances"] * mb]
        for row, mb in zip(rows, received, strict=True)
    ]
    one = np.array([0, 1, _SLICES, _SLICES * _MB_A_SLICE])
    return {side: float(one @ _line(terms, [row[side] for row in rows])) for side in SIDES}


def _line(terms: Sequence[Sequence[float]], values: Sequence[float]) -> npt.NDArray[np.float64]:
    """What each term costs, by least squares of what it is wrong in proportion; what would be negative is nothing."""
    matrix = np.asarray(terms) / np.asarray(values)[:, None]
    used = list(range(matrix.shape[1]))
    while True:
        cost = np.zeros(matrix.shape[1])
        cost[used] = np.linalg.lstsq(matrix[:, used], np.ones(len(matrix)), rcond=None)[0]
        if (cost >= 0).all():
            return cost
        used.remove(int(cost.argmin()))


def hours(per: Mapping[str, float], orthancs: int, workers: int) -> float:
    """For all studies: the slowest of servers, workers (of which no more have work than may ask) and driver."""
    series = _STUDIES * _SERIES_A_STUDY
    workers = min(workers, _AT_ONCE * orthancs)
    servers = series * (per["server_cpu"] + per["plan_server_cpu"]) / (orthancs * _CORES)
    return max(servers, series * per["worker_cpu"] / workers, series * per["driver_cpu"]) / 3600


def block(found: Mapping[str, Any], growth: Mapping[str, Any]) -> str:
    """The measured part of the page, and what the model makes of it; `growth` is a run of its own."""
    text = f"{_about(found)} Servers, scheduler and workers share the cores.\n\n"
    first = found["rows"][0]
    text += f"**Requests**: {_requests_told(found['requests'])}.\n\n"
    text += f"**CT series of {found['slices']} slices of {found['pixels']}²**\n\n{_table(found['rows'])}\n"
    text += f"**An Orthanc that grows: MR series of 20 images of 4.5 kB**\n\n{_table(found['growth'])}\n"
    told = f"{growth['date']}, Orthanc {growth['versions']['Orthanc']}, "
    told += f"on a machine with much else to do: load {growth['load']}"
    text += f"**As far as it goes: MR series of 100 images of 4.5 kB, 2 workers** ({told} at most)\n\n"
    text += f"{_grown(growth['rows'])}\n"
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
    return text + _modelled(found, growth)


def _about(found: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {each}" for name, each in found["versions"].items())
    return (
        f"{found['date']}, {found['cores']} cores, {found['system']}: {versions}. **Other programs ran beside it (load "
        f"{found['load']} at most, some 3 of it its own): seconds are from a busy machine, processor seconds less so.**"
    )


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


def _grown(rows: Sequence[Row]) -> str:
    """By the instance, so that what does not change is a straight line."""
    head = ["instances", "series", "requests of the plan", "plan s", "build s", "Orthanc, plan", "Orthanc, build"]
    head += ["worker", "driver", "all, CPU s", "to store", "index MB", "dataset MB", "driver MB", "load"]
    lines = [
        (
            f"{row['instances']:,}", f"{row['series']:,}", f"{row['plan_requests']:,}", f"{row['plan']:.1f}",
            f"{row['seconds']:.1f}", *(f"{1000 * row[side] / row['instances']:.2f} ms" for side in SIDES),
            f"{sum(row[side] for side in SIDES):.1f}", f"{row['store_ms']:.2f} ms",
            f"{row['index_mb']:,.1f}", f"{row['mb']:,.1f}", f"{row['driver_mb']:,.0f}", row["load"],
        )
        for row in rows
    ]  # fmt: skip
    return (
        f"{table(head, lines)}\nMilliseconds are processor time an instance; driver MB is what its process had in "
        "memory, the scheduler with it, and index MB the size of Orthanc's SQLite.\n"
    )


def _modelled(found: Mapping[str, Any], growth: Mapping[str, Any]) -> str:
    per = model(found, growth)
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
        (f"{n} Orthancs" if n > 1 else "1 Orthanc", *(f"{hours(per, n, each):,.0f}" for each in workers))
        for n in counts
    ]
    text += table(["hours with workers:", *map(str, workers)], lines)
    bend = per["worker_cpu"] / (per["server_cpu"] + per["plan_server_cpu"]) * _CORES
    gbit = tb * 8e3 / (hours(per, 4, 32) * 3600)
    text += (
        f"\nAn Orthanc of {_CORES} cores would keep {bend:.0f} workers busy, and is asked by {_AT_ONCE} at most, so "
        "that it stays free for others: that is where it bends first, and more workers want more Orthancs. Where more "
        "Orthancs bring nothing the driver is what is waited for: split the recipe. "
        f"With 4 Orthancs and 32 workers {gbit:.1f} Gbit/s come from the servers' disks, and "
        f"{gbit * ratio:.1f} Gbit/s go to the file system that all share.\n"
    )
    return text


def draw(found: Mapping[str, Any], growth: Mapping[str, Any], indexes: Mapping[str, Any], path: Path) -> None:
    """What was measured as the archive grew and with which index, and what the model makes of it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    grown, index, modelled = figure.subplots(1, 3)
    rows = growth["rows"]
    sides = {"worker": "worker_cpu", "driver": "driver_cpu", "Orthanc, build": "server_cpu"}
    for name, side in (sides | {"Orthanc, plan": "plan_server_cpu"}).items():
        cost = [1000 * row[side] / row["instances"] for row in rows]
        grown.plot([row["instances"] for row in rows], cost, "o-", label=name)
    grown.set(xlabel="instances of one Orthanc", ylabel="processor ms an instance", ylim=(0.05, 20))
    grown.set_title("measured: all of it built", fontsize=10)
    _draw_indexes(index, indexes)
    per = model(found, growth)
    workers = [2**k for k in range(1, 10)]
    for count in (1, 4, 16):
        label = f"{count} Orthanc{'s' if count > 1 else ''}"
        modelled.plot(workers, [hours(per, count, each) for each in workers], "-" if count < 16 else "--", label=label)
    modelled.set(xlabel="workers", ylabel="hours")
    modelled.set_title("model: a million studies of 300 slices", fontsize=10)
    for axes in (grown, index, modelled):
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    modelled.set_xticks([2, 8, 32, 128, 512])
    modelled.set_yticks([30, 100, 300, 1000])
    figure.savefig(path, dpi=110)


def _draw_indexes(axes: Any, indexes: Mapping[str, Any]) -> None:
    """What a tenth of each archive costs its servers to plan and build, by the size of the whole."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in indexes["rows"]:
        cost = sum(row["cpu"]["plan"]) + sum(row["cpu"]["build"])
        name = f"{row['orthanc']}, {row['index'].partition(' ')[0]}"
        lines.setdefault(name, []).append((row["instances"], 1000 * cost / row["built"]))
    for name, line in lines.items():
        axes.plot(*zip(*line, strict=True), "o-" if "SQLite" in name else "o--", label=name)
    axes.set(xlabel="instances of one Orthanc", ylabel="processor ms an instance", ylim=(0.3, 40))
    axes.set_title("Orthanc with its database: a tenth of it built", fontsize=10)
