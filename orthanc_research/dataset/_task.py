"""One series of a build: fetched, decoded, written and marked as done; idempotent, atomic, and it never raises."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pydicom import dcmread

from orthanc_research import fetch, headers
from orthanc_research.dataset._failure import failed
from orthanc_research.dataset._forms import series_alone, write_forms
from orthanc_research.dataset._hash import FramesHash
from orthanc_research.dataset._instance import Instance, Reader
from orthanc_research.dataset._manifest import done, mark_done
from orthanc_research.dataset._names import files_of, parts
from orthanc_research.dataset._sections import Geometry
from orthanc_research.dataset._short import short_tags
from orthanc_research.dataset._versions import decoder_of
from orthanc_research.errors import AccessError, CancelledError, NotFoundError, PixelError, ServerError
from orthanc_research.export import FrameRow, write_frames, write_table
from orthanc_research.export.plan import Planned, check
from orthanc_research.export.series import in_order
from orthanc_research.fetch import DamagedError
from orthanc_research.parallel import Outcome, thread_map
from orthanc_research.pixels import Frame, read_dataset
from orthanc_research.pixels._suv import suv_factor
from orthanc_research.progress import Progress, Silent, Within
from orthanc_research.quiet import quiet
from orthanc_research.rest import Connection, Rest
from orthanc_research.tables import Row as RawRow
from orthanc_research.tables import Selection, issues, plan_tags, tags_frame

__all__ = ["Task", "run_task"]

Row = dict[str, Any]
Read = Generator[Outcome[str, Instance], None, None]
_MADE = 2  # another number when the same is made into something else: files of before are made again then
_RECIPE = "orthanc_research.recipe"  # in the metadata of a file: found alone, it still says what made it
_AHEAD, _AHEAD_BYTES = 12, 16 << 20  # instances, and bytes of them, that are read before they are written
_MANY = 16  # files, as of `fetch`: for them a process for JPEG 2000 pays
_STOPPED = "It was stopped on request."
_NO_IMAGE = "there are no pixels in it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is shipped to a worker: small, frozen, and without a client or a secret.

    The pixels come from a series of an Orthanc (`connection`, `planned`) or from `files` (de-identified). `recipe` is
    the recipe's hash: what another recipe made is made again; so is what has another `state` in its source.
    """

    out: str
    name: str
    uid: str
    recipe: str
    columns: tuple[str, ...]
    values: str
    also: tuple[str, ...]
    geometry: Geometry
    bytes: int
    needed: int = 0
    state: str = field(default="", repr=False)
    threads: int = 1
    connection: Connection | None = field(default=None, repr=False)
    planned: Planned | None = field(default=None, repr=False)
    files: tuple[str, ...] = field(default=(), repr=False)

    @property
    def inputs(self) -> str:
        """What tells whether what is on the disk was made of the same."""
        mark = b"" if self.planned is None else self.planned.mark
        return f"{_MADE} {self.recipe} {mark.hex()} {self.state}"


def run_task(task: Task, rest: Rest | None = None, progress: Progress | None = None) -> Row:
    """Do it, unless it is done: `status` "done", "partial" (some instances have no pixels that decode), "failed".

    "not-done" is what may go well the next time: the server or the disk failed, the series changed, it was cancelled.
    """
    start = time.monotonic()
    with quiet():
        return {**_row(task, rest, progress), "seconds": time.monotonic() - start}


def _row(task: Task, rest: Rest | None, progress: Progress | None) -> Row:
    reused = False
    try:
        facts = done(task.out, task.name)
        reused = facts is not None and facts.get("inputs") == task.inputs
        if facts is None or not reused:
            facts = _in_connection(task, rest, progress or Silent())
        problems = facts["problems"]
        row: Row = {"status": "partial" if problems else "done", "error": problems[0]["reason"] if problems else None}
        row |= {name: facts[name] for name in ("file", "instances", "frames", "bytes")} | {"facts": facts}
    except Exception as error:  # noqa: BLE001 - whatever happens to a series is its row
        row = failed(error, task.needed or task.bytes)
    return {**row, "reused": reused}


def _in_connection(task: Task, rest: Rest | None, progress: Progress) -> Row:
    if rest is not None or task.connection is None:
        return _judged(task, rest, progress)
    with Rest(task.connection) as own:
        return _judged(task, own, progress)


def _judged(task: Task, rest: Rest | None, progress: Progress) -> Row:
    """Build it; `ChangedError` instead of what a series that changed meanwhile is answered with."""
    try:
        return _built(task, rest, progress)
    except (NotFoundError, ServerError, DamagedError):
        if rest is not None and task.planned is not None:
            check(rest, task.planned)
        raise


@dataclass(slots=True)
class _Notes:
    """What is gathered while the frames pass by."""

    tags: list[RawRow] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)
    problems: list[dict[str, str]] = field(default_factory=list)
    values: list[dict[str, str]] = field(default_factory=list)  # that are NA in the tables, and no harm to the series
    decoders: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, reason: str) -> None:
        self.problems.append({"kind": kind, "reason": reason})


def _built(task: Task, rest: Rest | None, progress: Progress) -> Row:
    notes, out = _Notes(), Path(task.out)
    hashed, frames, path = FramesHash(), 0, out / "frames" / f"{task.name}.parquet"
    for old in files_of(out, task.name):  # of another recipe, perhaps
        old.unlink(missing_ok=True)
    if task.values == "none":
        _headers(task, rest, notes, progress)
    else:
        frames = write_frames(path, hashed.through(_rows(task, rest, notes, progress)), {_RECIPE: task.recipe})
        if not frames:
            raise PixelError(notes.problems[0]["reason"] if notes.problems else "It has no pixels.")
    instances = _instances(task, notes)
    if rest is not None and task.planned is not None:
        check(rest, task.planned)
    written = [path] if frames else []
    if task.also:
        alone = series_alone(out, task.uid, f"frames/{path.name}", instances)
        how: dict[str, Any] = {"also": task.also, "values": task.values, "geometry": task.geometry}
        written += write_forms(alone, task.uid, task.name, **how, problem=notes.add)
    rows, pixels = parts(out, task.name)
    write_table(instances, rows)
    write_table(hashed.pixels(), pixels)
    facts = {
        "inputs": task.inputs,
        "frames_hash": hashed.hexdigest() if frames else None,
        "file": f"frames/{path.name}" if frames else None,
        "instances": len(instances),
        "frames": frames,
        "bytes": sum(each.stat().st_size for each in written),
        "problems": notes.problems,
        "values": notes.values,
        "decoders": notes.decoders,
    }
    mark_done(out, task.name, [each.relative_to(out) for each in (*written, rows, pixels)], facts)
    return facts


def _rows(task: Task, rest: Rest | None, notes: _Notes, progress: Progress) -> Iterator[FrameRow]:
    """All frames, in order; `CancelledError` instead of an end, so that no file is left.

    Where a volume is required, `PixelError` for an image that does not decode: nothing would tell that a slice at the
    end is missing.
    """
    ended = 0
    names = _listed(task, rest)
    with closing(_read(task, rest, names, progress)) as outcomes:
        for outcome in outcomes:
            ended += 1
            try:
                found = outcome.get()
            except PixelError as error:
                if task.geometry.require == "volume" and not str(error).endswith(_NO_IMAGE):
                    raise
                notes.add("pixels", str(error))
                continue
            notes.decoders[found.syntax] = decoder_of(found.syntax)
            _note(task, notes, found.tags)
            if task.values == "suv":
                notes.factors.append(_factor(found.rows[0].frame, notes))
            yield from found.rows
    if ended < len(names):
        raise CancelledError(_STOPPED)


def _listed(task: Task, rest: Rest | None) -> Sequence[str]:
    if task.files or rest is None or task.planned is None:
        return sorted(task.files, key=_number)
    return in_order(rest.series.children(task.planned.series, "Instance"))


def _number(file: str) -> tuple[int, str]:
    """InstanceNumber of a file, and its name, which is its UID."""
    with Path(file).open("rb") as stream:
        dataset = dcmread(stream, specific_tags=["InstanceNumber"], stop_before_pixels=True)
    number = str(short_tags(dataset, ["InstanceNumber"]).get("0020,0013", ""))
    return (int(number) if number.isascii() and number.isdigit() else 1 << 62, Path(file).name)


def _read(task: Task, rest: Rest | None, names: Sequence[str], progress: Progress) -> Read:
    """Each file, from the server by its MD5 or from the disk, and what is in it; its failure is its outcome."""
    reader, within = Reader(task.columns, many=len(names) >= _MANY), Within(progress)

    def get(name: str) -> Instance:
        if rest is None or task.files:
            return reader.read(Path(name).read_bytes())
        found = reader.read(fetch.file(rest, name, verify=True))
        within.advance()
        return found

    # Frames are written a group at a time; the next group comes meanwhile, where it is no more than some slices.
    window = min(_AHEAD, int(_AHEAD_BYTES * len(names) / max(task.bytes, 1)))
    return thread_map(get, names, workers=task.threads, progress=within, fatal=(AccessError,), window=window)


def _headers(task: Task, rest: Rest | None, notes: _Notes, progress: Progress) -> None:
    """No pixel is read: the tags of all instances, by the server's cheapest route or from the files that are here."""
    if rest is not None and task.planned is not None:
        plan = plan_tags(task.columns, capabilities=rest.capabilities())
        series, lost = Selection((task.planned.series,), "Series"), 0
        for chunk in headers.rows(rest, series, plan, workers=1, max_rows=None, progress=Within(progress)):
            notes.tags += [row for row in chunk if row[2] is not None]
            lost += sum(tags is None for _, _, tags in chunk)
        if lost:
            notes.add("header", f"The server cannot read the files of {lost} instances.")
        return
    for name in task.files:
        if progress.cancelled:
            raise CancelledError(_STOPPED)
        _note(task, notes, short_tags(read_dataset(Path(name).read_bytes()), task.columns))


def _note(task: Task, notes: _Notes, tags: dict[str, Any]) -> None:
    notes.tags.append((str(tags.get("0008,0018", "")), task.name, tags))


def _factor(frame: Frame, notes: _Notes) -> float:
    try:
        if frame.suv is None:
            raise PixelError("SUV is of PET, and its Modality is another.")
        if frame.slope is None:
            raise PixelError("RescaleSlope is absent.")
        return suv_factor(frame.suv)[0]
    except PixelError as error:
        reason = f"SUV cannot be computed: {error}"
        if not any(each["reason"] == reason for each in notes.problems):
            notes.add("suv", reason)
        return float("nan")


def _instances(task: Task, notes: _Notes) -> pd.DataFrame:
    """By InstanceNumber: the first one stands for its series. What does not parse is NA, noted without its value."""
    frame = tags_frame(notes.tags, plan_tags(task.columns)).reset_index(drop=True)
    found = issues(frame)
    for (column, issue), count in sorted(Counter(zip(found["Column"], found["Issue"], strict=True)).items()):
        notes.values.append({"kind": "value", "reason": f"{column}: {issue}; {count} of {len(frame)} instances."})
    frame = frame.drop(columns=["ParentSeries", "Issues"], errors="ignore")
    if task.values == "suv":
        frame = frame.assign(SUVFactor=pd.array(notes.factors, dtype="float64"))
    return frame.sort_values(["InstanceNumber", "SOPInstanceUID"], ignore_index=True)
