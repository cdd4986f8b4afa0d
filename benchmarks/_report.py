"""results/*.json → the tables of docs/performance.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._lab import LIMIT, OURS, RESULTS, ROOT, keep, table, write_block

__all__ = ["BATCH", "BLOCKS", "PIXELS", "batch", "build", "far", "pixels", "publish", "screens", "write"]

Found = Mapping[str, Any]
Row = Mapping[str, Any]


def publish(name: str, found: Found | None, block: Callable[[Found], str], *, kept: bool = True) -> int:
    """Show what was found; keep it and write the page again, unless it is only to be shown. None: the page alone."""
    if found is not None:
        sys.stdout.write(f"\n{block(found)}\n")
        if not kept:
            return 0
        keep(name, found)
    write(ROOT / "docs" / "performance.md", RESULTS)
    return 0


def write(page: Path, results: Path) -> None:
    """Write each block of the page that there are results for."""
    for name, block in BLOCKS.items():
        kept = results / f"{name}.json"
        if kept.exists():
            write_block(page, name, block(json.loads(kept.read_text())))


def _tables(found: Found) -> str:
    delays = sorted({row["delay_ms"] for row in found["rows"]})
    text = f"{_machine(found)} Medians of {found['repeats']}.\n"
    for job, title in found["titles"].items():
        rows = [row for row in found["rows"] if row["job"] == job]
        again = found.get("dates", {}).get(job)
        day = f" (measured again on {again})" if again else ""
        text += f"\n**{title[0].upper()}{title[1:]}**{day}\n\n" + _job(rows, delays)
    return text + "\n**What we hold to**\n\n" + _held(_targets(found["rows"], delays))


def _job(rows: Sequence[Row], delays: Sequence[int]) -> str:
    head = ["", "requests", "peak MB"]
    for delay in delays:
        head += [f"at {delay} ms", "ours = 1"]
    lines = []
    for tool in dict.fromkeys(row["tool"] for row in rows):
        first = _row(rows, tool, delays[0])
        line = [tool, f"{first['requests']:,}", first["peak_mb"] or ""]
        for delay in delays:
            seconds = _row(rows, tool, delay)["seconds"]
            line += [_seconds(seconds), f"{_two(seconds / _row(rows, OURS, delay)['seconds'])}"]
        lines.append(line)
    return table(head, lines)


def _targets(rows: Sequence[Row], delays: Sequence[int]) -> Iterable[tuple[str, str, bool]]:
    for delay, least in ((0, 12), (10, 100)):
        series = [row for row in rows if row["job"] == "series" and row["delay_ms"] == delay]
        peers = [row for row in series if row["tool"].startswith("pyorthanc, `find")]
        for row in peers if delay in delays else ():
            ratio = row["seconds"] / _row(series, OURS, delay)["seconds"]
            yield (
                f"series at {delay} ms: {least} times as fast as {row['tool']}",
                f"{_two(ratio)} times",
                ratio >= least,
            )
    for wire in rows:
        if wire["tool"].startswith("curl"):
            ours = _row((row for row in rows if row["job"] == wire["job"]), OURS, wire["delay_ms"])["seconds"]
            most = 1.25 * wire["seconds"] + 0.02
            what = f"{wire['job']} at {wire['delay_ms']} ms: at most 1.25 times the wire and 20 ms ({_seconds(most)})"
            yield what, _seconds(ours), ours <= most


def _growth(found: Found) -> str:
    ours = [row for row in found["rows"] if row["tool"] == OURS]
    lines = []
    for row in sorted(ours, key=lambda row: row["what"]):
        wire = [each for each in found["rows"] if _is_wire_of(each, row)]
        lines.append(
            [
                row["what"],
                f"{row['rows']:,}",
                f"{row['requests']:,}",
                f"{row['requests'] / row['rows'] * 1000:.2f}",
                f"{row['seconds'] / row['rows'] * 1000:.3f}",
                *(f"{each['seconds'] / row['rows'] * 1000:.3f}" for each in wire),
                row["peak_mb"],
            ]
        )
    head = ["", "instances", "requests", "requests per 1,000", "seconds per 1,000", "of these curl", "peak MB"]
    if len(found["rows"]) == len(ours):
        head.remove("of these curl")
    said = f"{_machine(found)} {found.get('note', '')}".strip()
    return f"{said}\n\n" + table(head, lines) + "\n" + _held(_flat(ours))


def _is_wire_of(row: Row, ours: Row) -> bool:
    return row["tool"] != OURS and (row["what"], row["instances"]) == (ours["what"], ours["instances"])


def _flat(rows: Sequence[Row]) -> Iterable[tuple[str, str, bool]]:
    for what in dict.fromkeys(row["what"] for row in rows):
        grown = [row for row in rows if row["what"] == what]
        last = grown[-1]
        for thing in ("requests", "seconds", "peak_mb"):
            # The first table is smaller than the pieces that larger ones are read in, and so is its memory.
            first = grown[1] if thing == "peak_mb" and len(grown) > 2 else grown[0]
            per = 1 if thing == "peak_mb" else first["rows"] / last["rows"]
            ratio = last[thing] * per / first[thing]
            name = "peak memory" if thing == "peak_mb" else f"{thing} per 1,000"
            yield f"{what}: {name} at most 1.2 times that at {first['rows']:,}", f"{_two(ratio)}", ratio <= 1.2
        yield f"{what}: peak memory below 300 MB", f"{last['peak_mb']} MB", last["peak_mb"] < 300


def pixels(found: Found) -> str:
    text = f"{_machine(found)} Medians of {found['repeats']} of ours and of the limit, of {found['fewer']} of others.\n"
    for job, about in found["jobs"].items():
        rows = [row for row in found["rows"] if row["job"] == job]
        text += f"\n**{about['title'][0].upper()}{about['title'][1:]}**\n\n" + _arrays(rows, about["mb"])
    return text + "\n**What we hold to**\n\n" + _held(_pixel_targets(found))


def _arrays(rows: Sequence[Row], mb: float) -> str:
    ours, limit = (_of(rows, tool)["seconds"] for tool in (OURS, LIMIT))
    return table(
        ["", "requests", "seconds", "MB/s", "ours = 1", "of the limit", "peak MB"],
        [
            [
                row["tool"],
                f"{row['requests']:,}",
                f"{row['seconds']:.2f}",
                f"{mb / row['seconds']:.0f}",
                _two(row["seconds"] / ours),
                _two(limit / row["seconds"]),
                row["above_mb"],
            ]
            for row in rows
        ],
    )


def _pixel_targets(found: Found) -> Iterable[tuple[str, str, bool]]:
    # 1.10.1 packs each file with gzip for a client that does not say no.
    times = {"get_zip": 20, "get_pydicom": 15 if found["versions"]["Orthanc"].startswith("1.10.") else 3}
    for job, about in found["jobs"].items():
        rows = [row for row in found["rows"] if row["job"] == job]
        ours, limit = _of(rows, OURS), _of(rows, LIMIT)["seconds"]
        for row in rows if about["uncompressed"] else ():
            seconds = row["seconds"]
            if row["tool"].startswith(OURS):
                least = 0.5 if row["tool"] == OURS else 0.3
                yield f"{job}, {row['tool']}: {least} of the limit", _two(limit / seconds), limit / seconds >= least
            for way, least in times.items():
                if row["tool"] == f"pyorthanc, `{way}`":
                    measured = f"{_two(seconds / ours['seconds'])} times (the limit {_two(seconds / limit)})"
                    what = f"{job}: {least} times as fast as {row['tool']}"
                    yield what, measured, seconds / ours["seconds"] >= least
        if about["uncompressed"]:
            most = 1.2 * about["mb"] + 100
            what = f"{job}: peak memory at most 1.2 times the arrays and 100 MB ({most:.0f} MB)"
            yield what, f"{ours['above_mb']} MB", ours["above_mb"] <= most


def batch(found: Found) -> str:
    text = f"{_machine(found)} Medians of {found['repeats']} of ours and of the limit, of {found['fewer']} of others."
    text = f"{text} {found.get('note', '')}".strip() + "\n"
    for job, about in found["jobs"].items():
        rows = [row for row in found["rows"] if row["job"] == job]
        text += f"\n**{about['title'][0].upper()}{about['title'][1:]}**\n\n" + _moved(rows, about["mb"])
    return text + "\n**What we hold to**\n\n" + _held(_batch_targets(found))


def _moved(rows: Sequence[Row], mb: float) -> str:
    delays = sorted({row["delay_ms"] for row in rows})
    head = ["", "requests", "peak MB"]
    for delay in delays:
        head += [f"at {delay} ms", "MB/s", "ours = 1"]
    lines = []
    for tool in dict.fromkeys(row["tool"] for row in rows):
        there = [_row(rows, tool, delay) for delay in delays]
        line = [tool, f"{there[0]['requests']:,}", max(row["above_mb"] for row in there)]
        for row in there:
            ours = _row(rows, OURS, row["delay_ms"])["seconds"]
            line += [_seconds(row["seconds"]), _two(mb / row["seconds"]), _two(row["seconds"] / ours)]
        lines.append(line)
    return table(head, lines)


def _batch_targets(found: Found) -> Iterable[tuple[str, str, bool]]:
    for job, about in found["jobs"].items():
        rows = [row for row in found["rows"] if row["job"] == job]
        for ours in (row for row in rows if row["tool"] == OURS):
            others = {row["tool"]: row["seconds"] for row in rows if row["delay_ms"] == ours["delay_ms"]}
            if job.endswith("-small") and ours["delay_ms"] == 10 and "pyorthanc" in others:
                times = others["pyorthanc"] / ours["seconds"]
                yield f"{job} at 10 ms: 3 times as fast as pyorthanc", f"{_two(times)} times", times >= 3
            if job.startswith("download-") and LIMIT in others:
                share = others[LIMIT] / ours["seconds"]
                yield f"{job} at {ours['delay_ms']} ms: 0.3 of the limit", _two(share), share >= 0.3
            if job.endswith("-many"):
                most = 300 + 4 * about["largest_mb"]
                what = f"{job}: peak memory at most 300 MB and a file for each of 4 workers ({most:.0f} MB)"
                yield what, f"{ours['above_mb']} MB", ours["above_mb"] <= most


def build(found: Found) -> str:
    rows = found["rows"]
    limit, ours = (_of(rows, tool)["seconds"] for tool in (LIMIT, OURS))
    lines = [
        [
            row["tool"],
            _seconds(row["seconds"]),
            f"{found['mb'] / row['seconds']:.0f}",
            _two(row["seconds"] / ours),
            _two(limit / row["seconds"]),
            row["above_mb"],
        ]
        for row in rows
    ]
    times = f"Medians of {found['repeats']}, of {found['fewer']} of what is not ours or far away."
    text = f"{_machine(found)} {times} {found.get('note', '')}"
    head = ["", "seconds", "MB/s of pixels", "ours = 1", "of the limit", "peak MB"]
    text = f"{text.strip()}\n\n**{found['title']} ({found['mb']:.0f} MB of pixels)**\n\n" + table(head, lines)
    return text + "\n**What we hold to**\n\n" + _held(_build_targets(found))


def _build_targets(found: Found) -> Iterable[tuple[str, str, bool]]:
    rows, few = found["rows"], found["few"]
    ours, limit = _of(rows, OURS), _of(rows, LIMIT)["seconds"]
    yield "0.2 of the limit", _two(limit / ours["seconds"]), limit / ours["seconds"] >= 0.2
    far_away = far(found["away"])
    for row in rows:
        if row["tool"].startswith("pyorthanc"):
            near = not row["tool"].endswith(far_away)
            times = row["seconds"] / (ours if near else _of(rows, f"{OURS}{far_away}"))["seconds"]
            yield f"3 times as fast as {row['tool']}", f"{_two(times)} times", times >= 3
    what = f"peak memory of {found['series']} series at most 1.2 times that of {few['series']} and 30 MB"
    grown = ours["above_mb"], few["above_mb"]
    yield what, f"{grown[0]} MB and {grown[1]} MB", grown[0] <= 1.2 * grown[1] + 30


def far(milliseconds: int) -> str:
    """How a row says that the server was so far away."""
    return f", at {milliseconds} ms"


def _of(rows: Iterable[Row], tool: str) -> Row:
    return next(row for row in rows if row["tool"] == tool)


def screens(found: Found) -> str:
    lines = [
        [row["what"], _seconds(row["seconds"]), _seconds(row["slowest"]) if "slowest" in row else ""]
        for row in found["rows"]
    ]
    text = f"{_machine(found)} Medians of {found['repeats']}.\n\n"
    return text + table(["", "seconds", "slowest"], lines) + "\n**What we hold to**\n\n" + _held(_waits(found["rows"]))


def _waits(rows: Sequence[Row]) -> Iterable[tuple[str, str, bool]]:
    for row in rows:
        if "most" in row:
            what = f"{row['what']}: at most {_seconds(row['most'])}"
            yield what, _seconds(row["seconds"]), row["seconds"] <= row["most"]
        else:
            what = f"{row['what']}: shown before half of the files are fetched"
            yield what, f"{row['files']} of {row['of']}", row["files"] * 2 < row["of"]


def _held(targets: Iterable[tuple[str, str, bool]]) -> str:
    lines = [(what, measured, "yes" if held else "**no**") for what, measured, held in targets]
    return table(["", "measured", "held"], lines)


def _row(rows: Iterable[Row], tool: str, delay: int) -> Row:
    return next(row for row in rows if row["tool"] == tool and row["delay_ms"] == delay)


def _machine(found: Found) -> str:
    versions = ", ".join(f"{name.replace('_', '-')} {each}" for name, each in found["versions"].items())
    return f"{found['date']}, {found['cores']} cores for server and client together, {found['system']}: {versions}."


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _two(value: float) -> str:
    """Two digits, or all before the point."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


PIXELS = ("pixels-1.10.1", "pixels-1.12.7")  # a server each
BATCH = ("batch-1.10.1", "batch-1.12.7")
BLOCKS: Mapping[str, Callable[[Found], str]] = {
    "tables": _tables,
    "tables-series": _tables,
    "tables-growth": _growth,
    **dict.fromkeys(PIXELS, pixels),
    **dict.fromkeys(BATCH, batch),
    "build": build,
    "screens": screens,
}
