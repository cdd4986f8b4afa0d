"""The main job from end to end: what `scripts/demo` shows. Every step is a call that a notebook would make."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

import orthanc_research as ores
from orthanc_research import plots, samples
from orthanc_research.errors import GeometryError, PixelError, QueryError
from orthanc_research.files import atomic_write, private_folder
from orthanc_research.local import LocalOrthanc
from orthanc_research.pixels import Volume, one_stack

__all__ = ["run"]

_MARK = ".made-by-orthanc-research-demo"
_COLUMNS = ["SOPInstanceUID", "SeriesInstanceUID", "Modality", "SliceThickness", "PixelSpacing", "Rows", "KVP"]

Say = Callable[[str], None]


def run(out: Path, say: Say, *, data: Sequence[Path] = (), version: str | None = None) -> None:
    """Do it all, and write the results to `out`; `QueryError` when that is somebody else's folder."""
    _claim(out)
    start = time.monotonic()
    with LocalOrthanc(version) as orthanc:
        say(f"A private Orthanc {orthanc.server.version} runs at {orthanc.url}.")
        _upload(orthanc, data, say)
        studies, series = _look(orthanc, out, say)
        _tags(orthanc, series, out, say)
        _anonymize(orthanc, studies, out, say)
        volumes = _volumes(orthanc, series, say)
        _export(orthanc, volumes, out, say)
    _read_back(out, say)
    say(f"\nAll of it took {time.monotonic() - start:.1f} s. The results are in {out}/ (for your eyes only: 0700).")
    say(
        "What to try next, in a notebook:\n"
        "    import orthanc_research as ores\n"
        "    with ores.LocalOrthanc() as orthanc:            # or ores.Orthanc('http://…', auth=(user, password))\n"
        "        orthanc.upload('a folder of yours')\n"
        "        orthanc.series(Modality='CT')"
    )


def _claim(out: Path) -> None:
    if out.exists() and not (out / _MARK).exists() and any(out.iterdir()):
        raise QueryError(f"The folder {out} has other things in it; name another with --out.")
    private_folder(out)
    out.chmod(0o700)
    for old in [*(out / "frames").glob("*.parquet"), *out.glob("*.npy"), *out.glob("*.json")]:
        old.unlink()
    with atomic_write(out / _MARK) as stream:
        stream.write(b"This folder is written anew by each run of the demo.\n")


@contextmanager
def _step(title: str, say: Say) -> Iterator[list[str]]:
    """A heading, and at the end the seconds with what the step has to report."""
    say(f"\n{title}")
    start = time.monotonic()
    report: list[str] = []
    yield report
    say(f"  {time.monotonic() - start:.1f} s   {'   '.join(report)}")


def _upload(orthanc: ores.Orthanc, data: Sequence[Path], say: Say) -> None:
    with _step("1. Upload: what pydicom ships for tests, odd files and all; a synthetic cohort; yours", say) as report:
        start = time.monotonic()
        inputs = [*data, *samples.pydicom_files(), *samples.cohort()]
        ledger = orthanc.upload(inputs)
        size = int(ledger["bytes"].sum()) / 1e6
        report += _counts(ledger["status"])
        report += [f"{size:.0f} MB", f"{size / (time.monotonic() - start):.0f} MB/s"]
    bad = ledger[ledger["status"] == "failed"]
    for source, error in list(zip(bad["Source"], bad["error"], strict=True))[:8]:
        say(f"  refused: {Path(source).name}: {error}")
    if len(bad) > 8:
        say(f"  … and {len(bad) - 8} more")


def _look(orthanc: ores.Orthanc, out: Path, say: Say) -> tuple[pd.DataFrame, pd.DataFrame]:
    with _step("2. Find: which studies and series are there?", say) as report, orthanc.rest.counting() as requests:
        studies, series = orthanc.studies(), orthanc.series()
        report += [f"{len(studies)} studies", f"{len(series)} series", f"{len(requests)} requests"]
    shown = ["PatientID", "StudyDate", "StudyDescription"]
    say(_indented(studies[[name for name in shown if name in studies.columns]].head(5).to_string(index=False)))
    shown = ["Modality", "SeriesDescription", "SeriesNumber", "NumberOfSeriesRelatedInstances"]
    say(_indented(series[[name for name in shown if name in series.columns]].head(5).to_string(index=False)))
    ores.write_table(studies, out / "studies.parquet")
    ores.write_table(series, out / "series.parquet")
    return studies, series


def _tags(orthanc: ores.Orthanc, series: pd.DataFrame, out: Path, say: Say) -> None:
    with _step("3. Tags: one row an instance", say) as report, orthanc.rest.counting() as requests:
        start = time.monotonic()
        table = orthanc.tags(series, _COLUMNS)
        rate = len(table) / (time.monotonic() - start)
        report += [f"{len(table)} rows", f"{len(requests)} requests", f"{rate:.0f} rows/s"]
    ores.write_table(table, out / "tags.parquet")


def _anonymize(orthanc: ores.Orthanc, studies: pd.DataFrame, out: Path, say: Say) -> None:
    with _step("4. Anonymize every study (Orthanc's own engine: for use in the house)", say) as report:
        ledger = orthanc.anonymize(studies, journal=_fresh(out / "anonymize.sqlite"))
        report += [*_counts(ledger["status"]), f"{int(ledger['instances'].sum())} instances"]
    mapping = studies[["PatientID", "StudyInstanceUID"]].join(ledger)
    ores.write_csv(mapping, out / "mapping.csv")
    say(_indented(mapping[["PatientID", "AnonymizedPatientID", "status"]].head(5).to_string(index=False)))
    for error, count in ledger.loc[ledger["status"] != "done", "error"].value_counts().items():
        say(f"  not done, {count}: {error}")


def _fresh(journal: Path) -> Path:
    for name in (journal, *(journal.with_name(journal.name + end) for end in ("-wal", "-shm"))):
        name.unlink(missing_ok=True)
    return journal


def _volumes(orthanc: ores.Orthanc, series: pd.DataFrame, say: Say) -> dict[str, Volume]:
    volumes: dict[str, Volume] = {}
    refused: dict[str, str] = {}
    with _step("5. Volumes: which series are one regular stack of slices?", say) as report:
        start = time.monotonic()
        for identifier in series.index:
            try:
                stack = one_stack(orthanc.stacks(identifier))
                volumes[identifier] = orthanc.volume(stack)
            except (GeometryError, PixelError) as error:
                refused[identifier] = str(error)
        size = sum(volume.array.nbytes for volume in volumes.values()) / 1e6
        rate = size / (time.monotonic() - start)
        report += [f"{len(volumes)} volumes", f"{len(refused)} refused", f"{size:.0f} MB", f"{rate:.0f} MB/s"]
    names = series["SeriesDescription"].astype("str").fillna("")
    for identifier, volume in list(volumes.items())[:4]:
        say(f"  volume:  {names[identifier][:24]:24} {volume!r}")
    for identifier, reason in _one_of_each(refused):
        say(f"  refused: {names[identifier][:24]:24} {reason[:110]}")
    return volumes


def _one_of_each(refused: dict[str, str]) -> list[tuple[str, str]]:
    kinds: dict[str, str] = {}
    for identifier, reason in refused.items():
        kinds.setdefault(reason.partition(":")[0], identifier)
    return [(identifier, refused[identifier]) for identifier in kinds.values()]


def _export(orthanc: ores.Orthanc, volumes: dict[str, Volume], out: Path, say: Say) -> None:
    with _step("6. Export: frames as parquet, a volume as .npy, a picture", say) as report:
        start = time.monotonic()
        ledger = orthanc.export(list(volumes), out / "frames")
        size = int(ledger["bytes"].sum()) / 1e6
        report += [*_counts(ledger["status"]), f"{int(ledger['frames'].sum())} frames", f"{size:.0f} MB"]
        report += [f"{size / (time.monotonic() - start):.0f} MB/s"]
        largest = max(volumes.values(), key=lambda volume: volume.array.size)
        ores.write_volume(out / "volume", largest)
        plots.montage(largest).savefig(out / "montage.png")
        (out / "montage.png").chmod(0o600)


def _read_back(out: Path, say: Say) -> None:
    path = out / "series.parquet"
    plain, arrow, ours = pd.read_parquet(path), pq.read_table(path), ores.read_parquet(path)
    say(
        f"\n7. Read back {path.name}: pandas {plain.shape}, pyarrow ({arrow.num_rows}, {arrow.num_columns}), "
        f"orthanc_research {ours.shape} with its types"
    )
    array, about = ores.read_volume(out / "volume.npy")
    say(f"   volume.npy: {array.shape} {array.dtype}, spacing {[round(mm, 3) for mm in about['spacing_mm']]} mm")


def _counts(status: pd.Series) -> list[str]:
    return [f"{count} {name}" for name, count in status.value_counts().items()]


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
