"""De-identification: what is left of two invented people after each tool, and how fast each is.

    scripts/bench deid                 the score and the speed, some fifteen minutes
    scripts/bench deid --score         the score alone
    scripts/bench deid --small         in two minutes, shown and not kept
    scripts/bench deid --docs          the page again, from results/

Writes results/ and the tables of docs/deid.md. The cohort and the scorer are the tests' own (tests/deid_cohort.py,
tests/deid_score.py); the scorer knows of no tool. Folders are in memory (/dev/shm) where there is such a place. Tools
run in turns, each in a process of its own.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pydicom

import orthanc_research as ores
from benchmarks import _data, _slices, with_orthanc_job, with_ours_deid
from benchmarks._lab import (
    OURS,
    RESULTS,
    ROOT,
    Run,
    Server,
    Worker,
    in_memory,
    in_turns,
    keep,
    machine,
    note,
    options,
    table,
    write_block,
)

sys.path.append(str(ROOT / "tests"))  # the cohort and its scorer are not part of the package

__all__ = ["BLOCKS", "Sizes", "main", "scores", "speeds"]

COMPARED = "1.12.7"
PAGE = ROOT / "docs" / "deid.md"
PACKAGES = ("orthanc-research", "pydicom", "dicognito", "dicom-anonymizer")
OWN_JOB = "Orthanc's own job"
DICOGNITO, ANONYMIZER = "dicognito", "dicom-anonymizer"
_JOBS = {
    "ct": "CT slices, 512² uncompressed",
    "mr": "small MR images",
    "csa": "MR images with heavy CSA headers",
}


@dataclass(frozen=True)
class Sizes:
    """How many files of each kind, and how often."""

    ct: int = 1000
    mr: int = 1500
    csa: int = 1000
    grown: tuple[int, ...] = (100, 1000, 5000)
    workers: tuple[int, ...] = (1, 2, 4)
    repeats: int = 3

    def count(self, job: str) -> int:
        """How many files of a kind."""
        return {"ct": self.ct, "mr": self.mr, "csa": self.csa}[job]


SMALL = Sizes(ct=12, mr=30, csa=12, grown=(20, 60), workers=(1, 2), repeats=1)


# What is left.


def scores(orthanc: ores.Orthanc) -> dict[str, Any]:
    """Each tool over the cohort, in two runs: action → [passed, asked], and how many files it did not take."""
    from deid_cohort import cohort
    from deid_score import ACTIONS, HARDER, score

    from orthanc_research.deid._table import technical

    made = cohort({keyword for keyword, action in technical().items() if action == "keep"})
    runs = [{file.name: file.content for file in made.of_run(run)} for run in (1, 2)]
    patients = {file.name: file.person.id for file in made.files}
    rows = []
    for tool, outputs in _outputs(orthanc, runs, patients):
        found = score([(file, outputs.get(file.name)) for file in made.files], technical())
        rows.append(
            {
                "tool": tool,
                "refused": len(found.refused),
                "kinds": sorted({file.kind for file in made.files if file.name in found.refused}),
                **{action: list(found.of(action)) for action in (*ACTIONS, *HARDER)},
            }
        )
        note(f"{tool}: {rows[-1]}")
    return {**machine(orthanc.capabilities().version, PACKAGES), "files": len(made.files), "rows": rows}


def _outputs(
    orthanc: ores.Orthanc, runs: Sequence[Mapping[str, bytes]], patients: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, bytes | None]]]:
    yield OURS, with_ours_deid.cohort(runs, patients)
    yield "Orthanc, as it is", with_orthanc_job.cohort(orthanc, runs, patients, replace=False)
    yield "Orthanc, ID and name replaced", with_orthanc_job.cohort(orthanc, runs, patients, replace=True)
    for tool, module in ((DICOGNITO, "with_dicognito"), (ANONYMIZER, "with_dicom_anonymizer")):
        yield tool, import_module(f"benchmarks.{module}").cohort(runs)  # only the benchmarks' environment has them


_ASKED = {
    "tag_retained": "tag_retained",
    "text_notnull": "text_notnull",
    "text_retained": "text_retained",
    "text_removed": "text_removed",
    "date_shifted": "date_shifted",
    "uid_changed": "uid_changed",
    "uid_consistent": "uid_consistent",
    "patid_consistent": "patid_consistent",
    "pixels_retained": "pixels_retained",
    "pixels_hidden": "pixels_hidden",
    "own_values": "*files with nothing of the two people in them*",
    "references": "*references closed*",
    "intervals": "*intervals exact*",
    "one_pseudonym": "*one pseudonym in both runs*",
    "bijective": "*no two UIDs became one*",
    "suv_facts": "*what SUV needs*",
}


def _score_table(found: Mapping[str, Any]) -> str:
    rows = found["rows"]
    lines = [[asked, *(_of(row[action]) for row in rows)] for action, asked in _ASKED.items()]
    lines.append(["files that it did not take", *(_refused(row) for row in rows)])
    return f"{_machine(found)} {found['files']} files.\n\n" + table(["", *(row["tool"] for row in rows)], lines)


def _refused(row: Mapping[str, Any]) -> str:
    return f"{row['refused']} ({', '.join(row['kinds'])})" if row["refused"] else "0"


def _of(counts: Sequence[int]) -> str:
    passed, asked = counts
    if not asked:
        return ""
    return f"{asked:,} of {asked:,}" if passed == asked else f"**{passed:,}** of {asked:,}"


# How fast.


def speeds(orthanc: ores.Orthanc, target: ores.Orthanc, place: Path, sizes: Sizes) -> dict[str, Any]:
    """Instances a second: folder to folder, Orthanc to Orthanc; and what memory it takes as the number grows."""
    rows: list[dict[str, Any]] = []
    for job in _JOBS:
        folder = place / job
        _make(folder, job, sizes.count(job))
        rows += [{"job": job, "where": "folder", **row} for row in _folders(folder, place, sizes)]
        rows += [{"job": job, "where": "Orthanc", **row} for row in _servers(orthanc, target, folder, sizes)]
        shutil.rmtree(folder)
    return {
        **machine(orthanc.capabilities().version, PACKAGES),
        "repeats": sizes.repeats,
        "jobs": {job: f"{sizes.count(job):,} {title}" for job, title in _JOBS.items()},
        "rows": rows,
        "memory": list(_memory(place, sizes)),
    }


def _make(folder: Path, job: str, count: int) -> None:
    folder.mkdir()
    if job == "ct":
        for k, dataset in enumerate(_slices.ct_series(0, count, pixels=512, study=0)):
            dataset.save_as(folder / f"{k:05d}.dcm", enforce_file_format=True)
        return
    for k, content in enumerate(_data.series(0, count)):
        path = folder / f"{k:05d}.dcm"
        path.write_bytes(content)
        if job == "csa":
            _add_csa(path, k)


def _add_csa(path: Path, k: int) -> None:
    """100 kB of a series header and 10 kB of an image header, as Siemens scanners write them."""
    dataset = pydicom.dcmread(path)
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    line = f'sProtocol.n{k}.tName = "patient of the scanner"\n'.encode()
    for offset, size in ((0x10, 10_000), (0x20, 100_000)):
        block.add_new(offset, "OB", b"SV10\x04\x03\x02\x01" + (line * (size // len(line) + 1))[:size])
    dataset.save_as(path)


def _folders(folder: Path, place: Path, sizes: Sizes) -> Iterator[dict[str, Any]]:
    tools: dict[str, tuple[str, dict[str, Any]]] = {
        f"{OURS}, a project, {count} {'worker' if count == 1 else 'workers'}": (
            "benchmarks.with_ours_deid:folder",
            {"workers": count},
        )
        for count in sizes.workers
    }
    tools |= {
        f"{OURS}, engine and examination in one process": ("benchmarks.with_ours_deid:core", {}),
        f"{OURS}, engine alone in one process": ("benchmarks.with_ours_deid:engine", {}),
        DICOGNITO: ("benchmarks.with_dicognito:folder", {}),
        ANONYMIZER: ("benchmarks.with_dicom_anonymizer:folder", {}),
    }
    count = len(list(folder.iterdir()))
    with ExitStack() as stack:
        workers = {tool: stack.enter_context(Worker(path)) for tool, (path, _) in tools.items()}
        runs = {tool: partial(_into, worker, folder, place, tools[tool][1]) for tool, worker in workers.items()}
        yield from _told(runs, sizes.repeats, count)


def _into(worker: Worker, folder: Path, place: Path, more: Mapping[str, Any]) -> Run:
    into = place / "into"
    into.mkdir()
    try:
        return worker.run(Server("", "", ""), what={"folder": str(folder)}, into=str(into), **more)
    finally:
        shutil.rmtree(into)


def _servers(orthanc: ores.Orthanc, target: ores.Orthanc, folder: Path, sizes: Sizes) -> Iterator[dict[str, Any]]:
    _empty(orthanc)
    count = int((orthanc.upload(folder, progress=False)["status"] == "stored").sum())
    originals, to = set(orthanc.rest.instances.list()), Server.of(target)
    what = {"url": to.url, "auth": [to.user, to.password]}

    def ours(worker: Worker, workers: int) -> Run:
        _empty(target)
        return worker.run(Server.of(orthanc), what=what, workers=workers)

    def own(worker: Worker) -> Run:
        try:
            return worker.run(Server.of(orthanc), what={})
        finally:
            for patient in orthanc.rest.patients.list():
                if not set(orthanc.rest.patients.children_ids(patient, "Instance")) & originals:
                    orthanc.rest.patients.delete(patient)

    with ExitStack() as stack:
        between = stack.enter_context(Worker("benchmarks.with_ours_deid:between"))
        job = stack.enter_context(Worker("benchmarks.with_orthanc_job:job"))
        runs: dict[str, Any] = {
            f"{OURS}, {n} {'worker' if n == 1 else 'workers'}": partial(ours, between, n) for n in sizes.workers
        }
        runs[OWN_JOB] = partial(own, job)
        yield from _told(runs, sizes.repeats, count)
    _empty(orthanc)


def _told(runs: Mapping[str, Any], repeats: int, count: int) -> Iterator[dict[str, Any]]:
    for tool, measured in in_turns(runs, repeats, fewer={ANONYMIZER: 1}).items():
        if {run.rows for run in measured.runs} != {count}:
            raise ValueError(f"{tool} did {measured.runs[0].rows} of {count} instances.")
        cpu = statistics.median(run.cpu for run in measured.runs)
        # A server's job may leave the process that asked for it no processor time that the system can count.
        rates = {"rate": round(count / measured.seconds, 1), "per_cpu": round(count / cpu, 1) if cpu else 0.0}
        note(f"{tool}: {rates}")
        yield {"tool": tool, "instances": count, **rates, **measured.json()}


def _empty(orthanc: ores.Orthanc) -> None:
    for patient in orthanc.rest.patients.list():
        orthanc.rest.patients.delete(patient)


def _memory(place: Path, sizes: Sizes) -> Iterator[dict[str, Any]]:
    for count in sizes.grown:
        folder = place / "grown"
        folder.mkdir()
        for n in range(0, count, 100):
            for k, content in enumerate(_data.series(n // 100, min(100, count - n))):
                (folder / f"{n + k:05d}.dcm").write_bytes(content)
        with Worker("benchmarks.with_ours_deid:folder") as worker:
            run = _into(worker, folder, place, {"workers": 2})
        note(f"{count}: {run.above_mb:.0f} MB above the start")
        yield {"instances": count, "peak_mb": round(run.peak_mb), "above_mb": round(run.above_mb), "rows": run.rows}
        shutil.rmtree(folder)


def _speed_table(found: Mapping[str, Any]) -> str:
    about = (
        f"{_machine(found)} Instances a second, medians of {found['repeats']}; in brackets for each second of "
        f"processor time of the tool's own processes. {found.get('note', '')}"
    )
    text = f"{about.strip()}\n"
    for where, title in (("folder", "Folder to folder"), ("Orthanc", "Orthanc to Orthanc")):
        rows = [row for row in found["rows"] if row["where"] == where]
        tools = list(dict.fromkeys(row["tool"] for row in rows))
        rate = {(row["job"], row["tool"]): _rate(row) for row in rows}
        lines = [[tool, *(rate.get((job, tool), "") for job in found["jobs"])] for tool in tools]
        text += f"\n**{title}**\n\n" + table(["", *found["jobs"].values()], lines)
    head = ["instances", "peak MB of the process that plans and writes", "of these above its start"]
    text += "\n**Memory**, small MR images, two workers\n\n"
    text += table(head, [[f"{row['instances']:,}", row["peak_mb"], row["above_mb"]] for row in found["memory"]])
    held = [(what, measured, "yes" if held else "**no**") for what, measured, held in _targets(found)]
    return text + "\n**What we hold to**\n\n" + table(["", "measured", "held"], held)


def _rate(row: Mapping[str, Any]) -> str:
    """Of a server's job the process that asked for it tells nothing."""
    return f"{row['rate']:,.0f}" + (f" ({row['per_cpu']:,.0f})" if row["tool"] != OWN_JOB else "")


def _targets(found: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    folders = [row for row in found["rows"] if row["where"] == "folder"]
    rate = {(row["job"], row["tool"]): row["rate"] for row in folders}
    a_core = {(row["job"], row["tool"]): row["per_cpu"] for row in folders}
    one, two = (f"{OURS}, a project, {each}" for each in ("1 worker", "2 workers"))
    for job in found["jobs"]:
        times = a_core[job, one] / a_core[job, DICOGNITO]
        what = f"{job}: a project with one worker, all rules and the examination: a core as fast as {DICOGNITO}'s"
        yield what, f"{times:.2f} times", times >= 1
    for job in found["jobs"]:
        times = rate[job, two] / rate[job, one]
        yield f"{job}: two workers 1.6 times as fast as one", f"{times:.2f} times", times >= 1.6
    first, last = found["memory"][0], found["memory"][-1]
    times = last["peak_mb"] / first["peak_mb"]
    what = f"peak memory at {last['instances']:,} at most 1.2 times that at {first['instances']:,}"
    yield what, f"{times:.2f} times", times <= 1.2


def _machine(found: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name.replace('_', '-')} {each}" for name, each in found["versions"].items())
    return f"{found['date']}, {found['cores']} cores for all together, {found['system']}: {versions}."


BLOCKS = {"deid-score": _score_table, "deid-speed": _speed_table}


def write(page: Path, results: Path) -> None:
    """Write the tables of the page that there are results for."""
    for name, block in BLOCKS.items():
        kept = results / f"{name}.json"
        if kept.exists():
            write_block(page, name, block(json.loads(kept.read_text())))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = options("deid", "De-identification, beside other tools.", "deid.md")
    parser.add_argument("--orthanc", default=COMPARED, help=f"version of the server ({COMPARED})")
    parser.add_argument("--score", action="store_true", help="what is left alone, no speed")
    parser.add_argument("--speed", action="store_true", help="the speed alone")
    parser.add_argument("--once", action="store_true", help="one run a tool")
    given = parser.parse_args(arguments)
    if not given.docs:
        with in_memory("deid") as place:
            if not given.speed:
                with ores.LocalOrthanc(given.orthanc, place / "server") as orthanc:
                    _keep("deid-score", scores(orthanc), _score_table, small=given.small)
            if not given.score:
                with (
                    ores.LocalOrthanc(given.orthanc, place / "source") as orthanc,
                    ores.LocalOrthanc(given.orthanc, place / "target") as target,
                ):
                    sizes = SMALL if given.small else Sizes(repeats=1) if given.once else Sizes()
                    found = speeds(orthanc, target, place, sizes)
                _keep("deid-speed", found, _speed_table, small=given.small)
    if not given.small:
        write(PAGE, RESULTS)
    return 0


def _keep(name: str, found: Mapping[str, Any], block: Any, *, small: bool) -> None:
    sys.stdout.write(f"\n{block(found)}\n")
    if not small:
        keep(name, found)


if __name__ == "__main__":
    sys.exit(main())
