"""An anonymization's journal as DataFrames: a row for every input, and what was left behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from orthanc_research.batch._outcome import Output, Outputs
from orthanc_research.batch.journal import Journal, Unit

__all__ = ["ANONYMIZE_COLUMNS", "ledger", "leftovers"]

# column → pandas dtype of the ledger, which is indexed by the ID of what was given
ANONYMIZE_COLUMNS = {
    "status": "str",
    "error": "str",
    "AnonymizedID": "str",
    "AnonymizedPatientID": "str",
    "AnonymizedPatientName": "str",
    "AnonymizedUID": "str",
    "instances": "Int64",
    "engine": "str",
    "releasable": "bool",
}
_UID: Mapping[str, str] = {
    "Study": "StudyInstanceUID",
    "Series": "SeriesInstanceUID",
    "Instance": "SOPInstanceUID",
}
_STATUS: Mapping[str, str] = {"planned": "not-sent", "sent": "unknown", "running": "unknown"}


def ledger(journal: Journal, halted: str | None = None) -> pd.DataFrame:
    """A row for every resource that was given, indexed by its ID, with `ANONYMIZE_COLUMNS`.

    `status` is "done"; "failed" (no whole copy came of it: `error` says why); "partial" (something did: delete the
    leftovers and resume); "unknown" (nobody could ask what came of it: resume) or "not-sent". `halted` is why the run
    stopped. Outputs of this engine are for use in the house: `releasable` is always False.
    """
    order = journal.run["options"]["order"]
    rows: dict[str, dict[str, Any]] = {}
    for unit in journal.units():
        outputs = Outputs.from_json(unit.output)
        for source in unit.input["resources"]:
            rows[source] = _row(unit, outputs, source, journal, halted)
    frame = pd.DataFrame([rows[source] for source in order], columns=list(ANONYMIZE_COLUMNS))
    frame.index = pd.Index(order, name="ID", dtype="str")
    return frame.astype(ANONYMIZE_COLUMNS)


def _row(unit: Unit, outputs: Outputs, source: str, journal: Journal, halted: str | None) -> dict[str, Any]:
    status = _STATUS.get(unit.state, unit.state)
    error = unit.error
    if status in ("unknown", "not-sent"):
        reason = halted or error or "The run was interrupted."
        error = f"{reason} Go on with orthanc.resume({str(journal.path)!r})."
    elif status == "partial":
        error = f"{error} Delete orthanc.leftovers({str(journal.path)!r}), then resume."
    elif unit.output.get("rests"):
        error = (
            f"{error or 'Done.'} An interrupted attempt left copies: delete orthanc.leftovers({str(journal.path)!r})."
        )
    new = outputs.of(source) if unit.state == "done" else None
    done = unit.state == "done"
    tags = dict(new.tags) if new else {}
    return {
        "status": status,
        "error": error,
        "AnonymizedID": new.id if new else None,
        "AnonymizedPatientID": outputs.patient_tag("PatientID") if done else None,
        "AnonymizedPatientName": outputs.patient_tag("PatientName") if done else None,
        "AnonymizedUID": tags.get(_UID.get(unit.input["level"], "")),
        "instances": outputs.instances_below(source) if new else len(outputs.instances) if done else None,
        "engine": "orthanc",
        "releasable": False,
    }


def leftovers(journal: Journal) -> pd.DataFrame:
    """New instances that belong to no whole result: indexed by ID, with the ID that each was made from."""
    left: list[Output] = []
    for unit in journal.units():
        left += Outputs.from_json({"outputs": unit.output.get("rests", ())}).instances
        if unit.state != "done":
            left += Outputs.from_json(unit.output).instances
    known = {output.id: output.source for output in left}
    index = pd.Index(list(known), name="ID", dtype="str")
    return pd.DataFrame({"AnonymizedFrom": pd.Series(list(known.values()), dtype="str", index=index)}, index=index)
