"""De-identification with this package."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orthanc_research as ores
from orthanc_research import deid
from orthanc_research.deid.check._examine import examine
from orthanc_research.deid.check._known import Known
from orthanc_research.errors import DeidError

__all__ = ["between", "cohort", "core", "engine", "folder"]

KEY = deid.Key(bytes(range(32)))
PROFILE = deid.Profile()


def subject(patient: str) -> deid.Subject:
    """Who a patient becomes."""
    return deid.Subject(deid.patient_id_of(KEY, patient), deid.days_of(KEY, patient))


def cohort(runs: Sequence[Mapping[str, bytes]], patients: Mapping[str, str]) -> dict[str, bytes | None]:
    """What became of each file; None for what it did not take. `patients` are the PatientIDs of the files."""
    found: dict[str, bytes | None] = {}
    for name, content in ((name, content) for files in runs for name, content in files.items()):
        try:
            found[name] = deid.deidentify(content, PROFILE, KEY, subject(patients[name])).content
        except DeidError:
            found[name] = None
    return found


def folder(url: str, user: str, password: str, *, what: Mapping[str, Any], into: str, workers: int = 1) -> int:
    """A folder of files into another, as a project does it: planned, examined, journalled; how many are verified."""
    return _released(what["folder"], into, workers)


def between(url: str, user: str, password: str, *, what: Mapping[str, Any], workers: int = 1) -> int:
    """All that a server has, into another server."""
    with ores.Orthanc(url, auth=(user, password)) as source, ores.Orthanc(what["url"], auth=tuple(what["auth"])) as to:
        return _released(source, to, workers)


def engine(url: str, user: str, password: str, *, what: Mapping[str, Any], into: str) -> int:
    """The engine alone, in this process: no plan, no examination, no journal."""
    return _each(what["folder"], into, examined=False)


def core(url: str, user: str, password: str, *, what: Mapping[str, Any], into: str) -> int:
    """The engine and the examination, in this process: no plan and no journal."""
    return _each(what["folder"], into, examined=True)


def _released(source: Any, target: Any, workers: int) -> int:
    from orthanc_research.release.project import Project

    with tempfile.TemporaryDirectory() as place:
        plan = Project(Path(place) / "project", KEY).plan(source, profile=PROFILE, target=target, progress=False)
        run = plan.run(workers=workers, progress=False)
        if len(run.failures):
            raise ValueError(f"{len(run.failures)} rows failed.")
        return int(run.frame["done"].sum())


def _each(source: str, into: str, *, examined: bool) -> int:
    paths, known = sorted(Path(source).iterdir()), Known()
    for path in paths:
        content = path.read_bytes()
        known |= Known.of(content)
        made = deid.deidentify(content, PROFILE, KEY, subject("benchmark"))
        if examined:
            found = examine(content, made.content, known=known, profile=PROFILE, subject=subject("benchmark"))
            if not found.passed:
                raise ValueError("An output was not passed.")
        (Path(into) / f"{made.sop_instance_uid}.dcm").write_bytes(made.content)
    return len(paths)
