"""Who is who: the mapping of a project, which hides itself until it is asked to be seen."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from orthanc_research.errors import QueryError
from orthanc_research.files import atomic_write, private_folder
from orthanc_research.release._rows import Named
from orthanc_research.release._store import Store

__all__ = ["Mapping", "export_midi", "lookup"]

_COLUMNS = {"PatientID": "str", "IssuerOfPatientID": "str", "pseudonym": "str", "days": "Int64"}
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


class Mapping:
    """Which patients are which pseudonyms. PHI: its repr and its length say how many there are, `reveal()` who."""

    def __init__(self, named: Iterable[Named]) -> None:
        self._named = sorted(named, key=lambda each: each.pseudonym)

    @property
    def pseudonyms(self) -> list[str]:
        """Those of all patients, without who they are."""
        return [each.pseudonym for each in self._named]

    def reveal(self) -> pd.DataFrame:
        """A row a patient: PatientID and issuer in the source, pseudonym, and by how many days dates were shifted."""
        rows = [(each.original, each.issuer, each.pseudonym, each.days) for each in self._named]
        return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)

    def __len__(self) -> int:
        return len(self._named)

    def __repr__(self) -> str:
        return f"<Mapping of {len(self._named)} patients: PHI; reveal() shows it>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("A mapping is not pickled: it would be PHI in a file of its own.")


def lookup(store: Store, value: str) -> pd.DataFrame:
    """Both sides of a PatientID, a pseudonym or a UID: columns kind, original, new. PHI."""
    if not isinstance(value, str) or not value.strip():
        raise QueryError("lookup takes one PatientID, pseudonym or UID.")
    value = value.strip(" \0")
    found = [
        ("PatientID", each.original, each.pseudonym)
        for each in store.patients().values()
        if value in (each.original, each.pseudonym)
    ]
    found += store.identifiers(value)
    columns = ["kind", "original", "new"]
    return pd.DataFrame(found, columns=columns).astype(dict.fromkeys(columns, "str"))


def export_midi(store: Store, folder: str | os.PathLike[str]) -> Path:
    """`uid_mapping.csv` and `patid_mapping.csv`, with the columns id_old and id_new, as MIDI-B's validation reads them.

    The files hold the values as they are, so that they are not for a spreadsheet; 0600. PHI.
    """
    target = private_folder(folder)
    pairs = {pair: None for kind in _UIDS for pair in store.pairs(kind)}
    _write(target / "uid_mapping.csv", pairs)
    _write(target / "patid_mapping.csv", [(each.original, each.pseudonym) for each in store.patients().values()])
    return target


def _write(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(["id_old", "id_new"])
    rows.writerows(pairs)
    with atomic_write(path) as stream:
        stream.write(text.getvalue().encode())
