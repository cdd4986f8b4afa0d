"""What goes with the data: a manifest and a report, neither with anything of the source in it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import pydicom

from orthanc_research.deid import Profile
from orthanc_research.errors import QueryError
from orthanc_research.files import atomic_write, private_folder
from orthanc_research.release._pictures import pictures
from orthanc_research.release._places import Copy, Target
from orthanc_research.release._report import render
from orthanc_research.release._rows import RunRow, State
from orthanc_research.release._store import Store

__all__ = ["manifest", "report", "versions", "write_page"]

_KEPT: tuple[State, ...] = ("verified", "done")


def versions() -> dict[str, str]:
    """What made the copies."""
    return {"orthanc_research": version("orthanc-research"), "pydicom": pydicom.__version__}


def manifest(store: Store, row: RunRow, key_id: str, path: Path) -> Path:
    """As JSON: the copies by pseudonym, study and series, and how they were made and checked."""
    names = {identity: named.pseudonym for identity, named in store.patients().items()}
    series: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for unit in store.units(row.id, *_KEPT):
        place = (names[unit.identity], unit.new_study, unit.new_series)
        algorithm, _, digest = unit.target_digest.partition(":")
        series.setdefault(place, []).append({"SOPInstanceUID": unit.new_sop, algorithm: digest})
    verdict = store.verdict(row.id)
    profile = Profile.from_json(row.profile)
    about: dict[str, Any] = {
        "key_id": key_id,
        "state": row.state,
        "profile": orjson.loads(row.profile),
        "profile_hash": row.profile_hash,
        "method_codes": [str(code) for code in profile.codes],
        "versions": row.options,
        "counts": {
            "patients": len({place[0] for place in series}),
            "studies": len({place[1] for place in series}),
            "series": len(series),
            "instances": sum(map(len, series.values())),
        },
        "checks": verdict.summary() if verdict is not None else [],
        "series": [
            {"PatientID": patient, "StudyInstanceUID": study, "SeriesInstanceUID": uid, "instances": instances}
            for (patient, study, uid), instances in sorted(series.items())
        ],
    }
    return _write(path, ".json", orjson.dumps(about, option=orjson.OPT_INDENT_2))


def report(store: Store, row: RunRow, key_id: str, path: Path, target: Target | None) -> Path:
    """As HTML; of what may have burned-in text one picture a series, where there is a target to read it from."""
    names = {identity: named.pseudonym for identity, named in store.patients().items()}
    lines = {line.row: line for line in store.lines(row.id)}
    verdict = store.verdict(row.id)
    profile = Profile.from_json(row.profile)
    copies: dict[tuple[str, str, str], list[Copy]] = {}
    for unit in store.units(row.id, *_KEPT):
        copy = Copy(names[unit.identity], unit.new_study, unit.new_series, unit.new_sop)
        copies.setdefault((unit.row, unit.new_series, copy.patient_id), []).append(copy)
    told = Counter((line.status, line.reason) for line in lines.values() if line.status != "planned")
    told.update((state, error) for _, _, state, error in store.errors(row.id))
    shown = [(series, each) for (line, series, _), each in copies.items() if "burned-in" in lines[line].notice]
    wanted = ((uid, partial(target.read, each[len(each) // 2])) for uid, each in shown) if target else ()
    notes = Counter(note for found in store.found(row.id) for note in found[2])
    page = render(
        title="De-identified release",
        passed=verdict.passed if verdict is not None else None,
        facts=[
            ("state", row.state),
            ("key", key_id),
            ("profile", row.profile_hash),
            ("methods (CID 7050)", ", ".join(profile.codes)),
            *row.options.items(),
            ("patients", len({patient for _, _, patient in copies})),
            ("series", len(copies)),
            ("instances", sum(map(len, copies.values()))),
        ],
        series=[
            {
                "PatientID": patient,
                "SeriesInstanceUID": uid,
                "Modality": lines[line].modality,
                "instances": len(each),
                "notice": lines[line].notice,
            }
            for (line, uid, patient), each in copies.items()
        ],
        problems=[{"status": each[0], "reason": each[1], "count": count} for each, count in sorted(told.items())],
        summary=verdict.summary() if verdict is not None else (),
        checks=[asdict(check) for check in verdict.checks] if verdict is not None else (),
        residual=verdict.residual if verdict is not None else None,
        notes=[f"{note} ({count} instances)" for note, count in sorted(notes.items())],
        profile=profile.describe(),
        rules=profile.table(),
        sheet=pictures(wanted),
    )
    return write_page(path, page)


def write_page(path: str | os.PathLike[str], page: str) -> Path:
    """An HTML page as a file, 0600; `QueryError` for a name that does not end in .html."""
    return _write(path, ".html", page.encode())


def _write(path: str | os.PathLike[str], suffix: str, content: bytes) -> Path:
    target = Path(path)
    # An earlier one is replaced, but never an image that was named by mistake.
    if target.suffix.lower() != suffix:
        raise QueryError(f"The name of that file has to end in {suffix}.")
    private_folder(target.parent)
    with atomic_write(target) as stream:
        stream.write(content)
    return target
