"""Orthanc's own anonymization: one bulk job a patient and run, as its Book shows it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import orthanc_research as ores
from orthanc_research.errors import Error

__all__ = ["cohort", "job"]


def cohort(
    orthanc: ores.Orthanc, runs: Sequence[Mapping[str, bytes]], patients: Mapping[str, str], *, replace: bool
) -> dict[str, bytes | None]:
    """What became of each file; None for what it did not take. With `replace` PatientID and PatientName are given."""
    found: dict[str, bytes | None] = {}
    for files in runs:
        stored = {name: _stored(orthanc, content) for name, content in files.items()}
        names = {identifier: name for name, identifier in stored.items() if identifier}
        found |= dict.fromkeys(files)
        for number, patient in enumerate(dict.fromkeys(patients[name] for name in files)):
            mine = [identifier for identifier, name in names.items() if patients[name] == patient]
            body: dict[str, Any] = {"Resources": mine, "Synchronous": True, "Permissive": True}
            if replace:
                body |= {"Replace": {"PatientID": f"P{number}", "PatientName": f"P{number}"}, "Force": True}
            orthanc.rest.post("/tools/bulk-anonymize", body)
            for copy in set(orthanc.rest.instances.list()) - set(names):
                original = orthanc.rest.get(f"/instances/{copy}/metadata/AnonymizedFrom").content.decode()
                if original in names:
                    found[names[original]] = orthanc.rest.instances.file(copy)
        for each in orthanc.rest.patients.list():
            orthanc.rest.patients.delete(each)
    return found


def _stored(orthanc: ores.Orthanc, content: bytes) -> str | None:
    with contextlib.suppress(Error):
        return str(orthanc.rest.instances.upload(content)["ID"])
    return None


def job(url: str, user: str, password: str, *, what: Mapping[str, Any]) -> int:
    """All that a server has, anonymized on the same server; how many instances."""
    with ores.Orthanc(url, auth=(user, password)) as orthanc:
        before = len(orthanc.rest.instances.list())
        for patient in orthanc.rest.patients.list():
            orthanc.rest.post("/tools/bulk-anonymize", {"Resources": [patient], "Synchronous": True})
        return len(orthanc.rest.instances.list()) - before
