"""Who is who, and what they are called: one pseudonym and one offset a patient, in every run of a project."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import pandas as pd

from orthanc_research.deid import Key, Profile, Subject, days_of, patient_id_of
from orthanc_research.errors import DeidError, QueryError
from orthanc_research.release._facts import Facts, Patient
from orthanc_research.release._rows import Named

__all__ = ["Naming", "caller_names", "first_date", "identity_of", "subject_of"]

_PSEUDONYM = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9._-])?", re.ASCII)
_DATE = re.compile(r"\d{8}")
Names = Callable[[Facts], str | None]


def identity_of(patient: Patient, named: str | None = None) -> str:
    """A patient as one text: issuer and PatientID; a blank PatientID is whoever the caller says it is. PHI."""
    if not patient.id:
        return json.dumps([None, named]) if named else ""
    return json.dumps([patient.issuer, patient.id], ensure_ascii=False)


def caller_names(given: Any, resources: Any) -> Names | None:
    """Reads `patient_ids`: a Series or mapping from what a row is to its pseudonym, or a column of `resources`.

    Keys are SeriesInstanceUIDs, StudyInstanceUIDs, PatientIDs or the Orthanc IDs of series, studies or patients.
    """
    if given is None:
        return None
    if isinstance(given, str):
        if not isinstance(resources, pd.DataFrame) or given not in resources.columns:
            raise QueryError(
                "patient_ids names a column of the frame that resources= is, and there is none of that name."
            )
        given = resources[given]
    if not isinstance(given, pd.Series | Mapping):
        raise QueryError("patient_ids is a Series or a mapping to pseudonyms, or the name of a column of resources.")
    table: dict[str, str] = {}
    for key, value in given.items():
        text = "" if value is None or value is pd.NA or value != value else str(value).strip()
        if not text:
            continue
        if not _PSEUDONYM.fullmatch(text):
            raise QueryError("A value of patient_ids is no pseudonym: 1 to 64 ASCII letters, digits, '.', '_' and '-'.")
        if table.setdefault(str(key).strip(), text) != text:
            raise DeidError("patient_ids gives one patient two pseudonyms.")

    def find(facts: Facts) -> str | None:
        instance = facts.key if facts.above else ""  # of an Orthanc; a path may look like anybody's PatientID
        keys = (instance, facts.series, facts.study, *facts.above, facts.patient.id)
        return next((table[key] for key in keys if key and key in table), None)

    return find


class Naming:
    """Gives each patient what stands for them, as the project has it or anew; refuses what is not one to one."""

    def __init__(self, key: Key, there: Mapping[str, Named], *, sequential: bool, used: Collection[str] = ()) -> None:
        self._key = key
        self._sequential = sequential
        self.named = dict(there)
        # Without regard to case: what differs by it alone is one name to many file systems and people.
        self._owner = {each.pseudonym.casefold(): each.identity for each in there.values()}
        self._used = {each.casefold() for each in used}
        self._originals = {each.original.casefold() for each in there.values()}

    def name(self, patients: Iterable[tuple[str, Patient, str | None, str]]) -> None:
        """(identity, patient, the caller's pseudonym if there is one, first study date) of everybody in a plan."""
        patients = list(patients)
        self._originals |= {patient.id.casefold() for _, patient, _, _ in patients}
        fresh = []
        for identity, patient, wanted, first in patients:
            old = self.named.get(identity)
            if old is None:
                fresh.append((identity, patient, wanted, first))
            elif wanted is not None and wanted != old.pseudonym:
                raise DeidError("A patient of this plan has another pseudonym in this project already.")
        # In an order that says nothing of who they are.
        for identity, patient, wanted, first in sorted(fresh, key=lambda each: self._key.digest("order", "", each[0])):
            if identity in self.named:
                raise DeidError("patient_ids gives one patient two pseudonyms.")
            pseudonym = wanted or (self._next() if self._sequential else patient_id_of(self._key, identity))
            if pseudonym.casefold() in self._owner:
                raise DeidError("Two patients would share one pseudonym, but for its case; nothing was planned.")
            # Its own keyed code a patient may have again: nobody else can get it.
            if pseudonym.casefold() in self._used and pseudonym != patient_id_of(self._key, identity):
                raise DeidError("A pseudonym was that of a patient who was forgotten; nothing was planned.")
            if pseudonym.casefold() in self._originals:
                raise DeidError("A pseudonym is the PatientID of one of these patients; nothing was planned.")
            self._owner[pseudonym.casefold()] = identity
            days = days_of(self._key, identity)
            self.named[identity] = Named(identity, patient.issuer, patient.id, pseudonym, days, first)

    def _next(self) -> str:
        number = 1 + sum(name.isdigit() for name in self._owner)
        while f"{number:05d}" in {*self._owner, *self._originals, *self._used}:
            number += 1
        return f"{number:05d}"


def subject_of(named: Named, profile: Profile) -> Subject:
    """What the patient becomes under this profile; `DeidError` when dates are anchored and there is no first one."""
    if profile.dates != "anchor":
        return Subject(named.pseudonym, named.days)
    first, anchor = _date(named.first), _date(profile.anchor or "")
    if first is None or anchor is None:
        raise DeidError("There is no study date to anchor this patient's dates by.")
    return Subject(named.pseudonym, (anchor - first).days)


def _date(text: str) -> datetime.date | None:
    if not _DATE.fullmatch(text):
        return None
    try:
        return datetime.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def first_date(dates: Iterable[str]) -> str:
    """The first of these that is a date, "" for none."""
    return min((each for each in dates if _date(each) is not None), default="")
