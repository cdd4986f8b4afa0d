"""Two people who never lived, and everything about them that may stand nowhere in a released file."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache

from pydicom.uid import UID

__all__ = ["PEOPLE", "UID_ROOT", "Person", "canary", "date_forms", "day", "plain", "uid"]

UID_ROOT = "1.2.826.0.1.3680043.10.977."


@dataclass(frozen=True, slots=True)
class Person:
    """`name` in three component groups; `charset` is one that can write it."""

    number: int
    name: str
    id: str
    birth: str  # DA
    other_id: str
    accession: str  # the study's number is put behind it
    physician: str
    operator: str
    institution: str
    address: str
    phone: str
    charset: tuple[str, ...]
    study_days: tuple[str, ...] = field(default=())

    def accession_of(self, study: int) -> str:
        return f"{self.accession}{study}"

    def names(self) -> set[str]:
        """Every component of every name of theirs, with and without diacritics."""
        parts = {
            part
            for name in (self.name, self.physician, self.operator)
            for group in name.split("=")
            for component in group.split("^")
            for part in (component, *component.replace("-", " ").split())
            if part and part not in ("Prof.", "Dr.")
        }
        return parts | {plain(each) for each in parts}

    def tokens(self) -> set[str]:
        """Short names, that are looked for as whole words."""
        return {each for each in self.names() if len(each) < 4}

    def texts(self) -> set[str]:
        """What is looked for in the bytes themselves, in every encoding."""
        texts = {self.id, self.other_id, self.institution, self.address, self.phone, self.accession}
        texts |= {each for each in self.names() if len(each) > 3}
        return texts | {plain(each) for each in texts} | set(date_forms(self.birth))


@lru_cache(100_000)
def plain(text: str) -> str:
    """Without diacritics; also of the letters that Unicode does not take apart."""
    if text.isascii():
        return text
    taken = unicodedata.normalize("NFKD", text.replace("Ł", "L").replace("ł", "l").replace("đ", "d"))
    return "".join(each for each in taken if not unicodedata.combining(each))


def date_forms(value: str) -> tuple[str, ...]:
    year, month, day_ = value[:4], value[4:6], value[6:8]
    return (
        value,
        f"{year}-{month}-{day_}",
        f"{day_}.{month}.{year}",
        f"{month}/{day_}/{year}",
        f"{int(day_)}.{int(month)}.{year}",
    )


PEOPLE = (
    Person(
        number=1,
        name="Li^Wu=李^武=り^ぶ",
        id="7301846",
        birth="19310517",
        other_id="HX-55-0912",
        accession="ACZ4419070",
        physician="Okonkwo^Adaeze^^Dr.",
        operator="Vrábec^Zdeňka",
        institution="St. Färber Klinikum",
        address="Kirchweg 9, Dornhausen",
        phone="+49 7071 555019",
        charset=("ISO_IR 192",),
        study_days=("20190302", "20190418"),
    ),
    Person(
        number=2,
        name="Müller-Łukasz^Žofia Anđela^^Prof.=山田^太郎=やまだ^たろう",
        id="KB84127",
        birth="19580314",
        other_id="W88213-Q",
        accession="ACQ9920553",
        physician="Szczepański^Ojo",
        operator="Ng^Ürsel",
        institution="Hôpital Sainte-Brévière",
        address="12 rue des Orfèvres, Quimperlé",
        phone="+33 298 555019",
        charset=("ISO_IR 192",),
        study_days=("20200229", "20210101"),
    ),
)


def uid(*parts: object) -> UID:
    """A UID of these parts under a root of the tests' own: found by its root wherever it is left."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return UID(UID_ROOT + str(int.from_bytes(digest[:11], "big")))


def canary(*parts: object) -> str:
    """Eight capital letters that begin with QX and stand for one place in one file."""
    number = int.from_bytes(hashlib.sha256("/".join(map(str, ("canary", *parts))).encode()).digest()[:8], "big")
    letters = ""
    for _ in range(6):
        number, rest = divmod(number, 26)
        letters += chr(65 + rest)
    return f"QX{letters}"


def day(*parts: object) -> str:
    """A date between 2015 and 2020 that belongs to these parts."""
    digest = hashlib.sha256("/".join(map(str, ("day", *parts))).encode()).digest()
    return (date(2015, 1, 1) + timedelta(int.from_bytes(digest[:4], "big") % 2000)).strftime("%Y%m%d")
