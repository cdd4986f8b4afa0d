"""What goes with the data: a manifest and a report, neither with anything of the source in it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import pydicom

from orthanc_research.deid import Profile
from orthanc_research.errors import DeidError
from orthanc_research.files import atomic_write, private_folder
from orthanc_research.release._rows import RunRow, State
from orthanc_research.release._store import Store

__all__ = ["manifest", "report", "versions"]

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
        series.setdefault(place, []).append({"SOPInstanceUID": unit.new_sop, "md5": unit.target_md5})
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
        "checks": _checks(store, row.id, verdict),
        "series": [
            {"PatientID": patient, "StudyInstanceUID": study, "SeriesInstanceUID": uid, "instances": instances}
            for (patient, study, uid), instances in sorted(series.items())
        ],
    }
    return _write(path, orjson.dumps(about, option=orjson.OPT_INDENT_2))


def report(store: Store, row: RunRow, key_id: str, path: Path) -> Path:
    """As HTML."""
    raise DeidError("Reports are not there yet.")


def _checks(store: Store, run: int, verdict: Any) -> list[Mapping[str, Any]]:
    counted: Counter[tuple[str, bool]] = Counter()
    for found in store.found(run):
        counted.update((check.action, check.passed) for check in found[0].checks)
    if verdict is not None:
        counted.update((check.action, check.passed) for check in verdict.checks)
    actions = sorted({action for action, _ in counted})
    return [{"action": each, "passed": counted[each, True], "failed": counted[each, False]} for each in actions]


def _write(path: str | os.PathLike[str], content: bytes) -> Path:
    target = Path(path)
    private_folder(target.parent)
    with atomic_write(target) as stream:
        stream.write(content)
    return target
