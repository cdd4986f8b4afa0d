"""A run's journal as DataFrames: a row for every input, and what was left behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from orthanc_research.batch._outcome import Output, Outputs
from orthanc_research.batch.journal import Journal, Unit

__all__ = ["ANONYMIZE_COLUMNS", "MODIFY_COLUMNS", "ledger", "leftovers", "planned"]

# column → pandas dtype of the ledgers, which are indexed by the ID of what was given
ANONYMIZE_COLUMNS = {
    "status": "str",
    "error": "str",
    "AnonymizedID": "str",
    "AnonymizedPatientID": "str",
    "AnonymizedPatientName": "str",
    "AnonymizedUID": "str",
    "instances": "Int64",
    "bytes": "Int64",
    "seconds": "Float64",
    "engine": "str",
    "releasable": "bool",
}
MODIFY_COLUMNS = {
    "status": "str",
    "error": "str",
    "ModifiedID": "str",
    "ModifiedUID": "str",
    "ModifiedStudy": "str",
    "instances": "Int64",
    "bytes": "Int64",
    "seconds": "Float64",
}
_STATUS: Mapping[str, str] = {"planned": "not-sent", "sent": "unknown", "running": "unknown"}
_ALWAYS: Mapping[str, Mapping[str, Any]] = {"anonymize": {"engine": "orthanc", "releasable": False}}


def ledger(journal: Journal, halted: str | None = None) -> pd.DataFrame:
    """A row for every resource that was given, indexed by its ID, with `ANONYMIZE_COLUMNS` or `MODIFY_COLUMNS`.

    `status` is "done"; "failed" (no whole copy came of it: `error` says why); "partial" (something did: delete the
    leftovers and resume); "unknown" (nobody could ask what came of it: resume) or "not-sent"; "already-anonymized" for
    what is a copy of an earlier anonymization, of which none is made. `halted` is why the run
    stopped. `seconds` are those of the job, which may be that of several rows. Anonymized copies of this engine are for
    use in the house: `releasable` is always False.
    """
    run = journal.run
    rows: dict[str, dict[str, Any]] = {}
    for unit in journal.units():
        made = unit.output.get("rows", {}) if unit.state == "done" else {}
        status, error = _status(unit, journal, halted)
        common = {
            "status": status,
            "error": error,
            "seconds": unit.output.get("seconds"),
            **_ALWAYS.get(run["kind"], {}),
        }
        rows |= {source: {**common, **made.get(source, {})} for source in unit.input["resources"]}
    # Of a copy there is nothing to do: `error` stays empty.
    always = _ALWAYS.get(run["kind"], {})
    rows |= {source: {"status": "already-anonymized", **always} for source in run["options"].get("skipped", ())}
    return _frame(rows, run["options"]["order"], run["kind"])


def planned(order: list[str], kind: str) -> pd.DataFrame:
    """The ledger of a run that was not begun."""
    return _frame({source: {"status": "planned"} for source in order}, order, kind)


def _frame(rows: Mapping[str, Mapping[str, Any]], order: list[str], kind: str) -> pd.DataFrame:
    columns = ANONYMIZE_COLUMNS if kind == "anonymize" else MODIFY_COLUMNS
    frame = pd.DataFrame([rows[source] for source in order], columns=list(columns))
    frame.index = pd.Index(order, name="ID", dtype="str")
    return frame.astype(columns)


def _status(unit: Unit, journal: Journal, halted: str | None) -> tuple[str, str | None]:
    status = _STATUS.get(unit.state, unit.state)
    left = f"orthanc.leftovers({str(journal.path)!r})"
    if status in ("unknown", "not-sent"):
        reason = halted or unit.error or "The run was interrupted."
        return status, f"{reason} Go on with orthanc.resume({str(journal.path)!r})."
    if status == "partial" and not unit.output.get("verified"):
        return status, f"{unit.error} Delete {left}, then resume."
    if status != "partial" and unit.output.get("rests"):
        return status, f"{unit.error or 'Done.'} An interrupted attempt left copies: delete {left}."
    return status, unit.error


def leftovers(journal: Journal) -> pd.DataFrame:
    """New instances that belong to no whole result: indexed by ID, with the ID that each was made from.

    Never a copy whose source this run may have deleted (`keep_source=False`).
    """
    left: list[Output] = []
    for unit in journal.units():
        left += Outputs.from_json({"outputs": unit.output.get("rests", ())}).instances
        if unit.state != "done" and not unit.output.get("verified"):
            left += Outputs.from_json(unit.output).instances
    known = {output.id: output.source for output in left}
    index = pd.Index(list(known), name="ID", dtype="str")
    name = "AnonymizedFrom" if journal.run["kind"] == "anonymize" else "ModifiedFrom"
    return pd.DataFrame({name: pd.Series(list(known.values()), dtype="str", index=index)}, index=index)
