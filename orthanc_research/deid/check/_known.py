"""What a patient and the people around are called, from the originals. Never written down: it lives in memory alone.

Sources: PS3.5 6.2.1 (names and their component groups), PS3.15 table E.1-1 (what identifies).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import lru_cache

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword

from orthanc_research.deid.check._ordinary import GENERIC, NEUTRAL, PARTICLES, TITLES
from orthanc_research.deid.check._reading import Element, File, Malformed, opened
from orthanc_research.deid.check._text import charset_of, decoded, fold, values_of, words
from orthanc_research.errors import DeidError

__all__ = ["Known"]


def _tags(keywords: str) -> frozenset[int]:
    return frozenset(tag for word in keywords.split() if (tag := tag_for_keyword(word)) is not None)


_PATIENT_NAMES = _tags("PatientName OtherPatientNames PatientBirthName PatientMotherBirthName ResponsiblePerson")
_NUMBERS = _tags(
    """PatientID OtherPatientIDs AccessionNumber AdmissionID IssuerOfAdmissionID ServiceEpisodeID StudyID
    RequestedProcedureID ScheduledProcedureStepID PerformedProcedureStepID FillerOrderNumberImagingServiceRequest
    PlacerOrderNumberImagingServiceRequest MedicalRecordLocator MilitaryRank PatientTelephoneNumbers
    PatientInsurancePlanCodeSequence InsurancePlanIdentification ReferringPhysicianTelephoneNumbers
    PersonTelephoneNumbers ClinicalTrialSubjectID ClinicalTrialSubjectReadingID PatientTelecomInformation
    SpecimenIdentifier ContainerIdentifier SpecimenAccessionNumber"""
)
_PLACES = _tags(
    """InstitutionName InstitutionAddress InstitutionalDepartmentName PatientAddress CountryOfResidence
    RegionOfResidence CurrentPatientLocation PatientInstitutionResidence ReferringPhysicianAddress PersonAddress
    RequestingService"""
)
_BIRTH = _tags("PatientBirthDate")
# A number of these is mostly "1"; as a word of its own it says nothing.
_SHORTEST_NUMBER = 3
_LONG = 4
_SPELLED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
_SHORTEST_PLACE = 4
_EIGHT = re.compile(r"(\d{4})(\d\d)(\d\d)")


@dataclass(frozen=True)
class Known:
    """A patient's own values, folded as they are compared; `a | b` holds both. Its repr says only how many.

    `names` are words of the patient's names, `people` of physicians and operators, `numbers` identifiers, `places`
    institutions and addresses, `dates` and `births` yyyymmdd, `raw` the bytes of names that are not ASCII: what
    identifies by PS3.15 Table E.1-1, names part by part (PS3.5 section 6.2.1).
    """

    names: frozenset[str] = field(default=frozenset(), repr=False)
    people: frozenset[str] = field(default=frozenset(), repr=False)
    numbers: frozenset[str] = field(default=frozenset(), repr=False)
    places: frozenset[str] = field(default=frozenset(), repr=False)
    dates: frozenset[str] = field(default=frozenset(), repr=False)
    births: frozenset[str] = field(default=frozenset(), repr=False)
    raw: frozenset[bytes] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, original: bytes | Dataset) -> Known:
        """From an original: a file's bytes or a pydicom Dataset, at every depth.

        Raises `DeidError` where the bytes cannot be read: what is not known cannot be looked for.
        """
        try:
            return of_file(opened(original))
        except Malformed as error:
            raise DeidError(f"Cannot tell what the patient is called: {error}.") from None

    def __or__(self, other: Known) -> Known:
        if self is other:
            return self
        both = {each.name: getattr(self, each.name) | getattr(other, each.name) for each in fields(self)}
        return self if all(len(both[name]) == len(getattr(self, name)) for name in both) else Known(**both)

    def __repr__(self) -> str:
        return f"Known({sum(len(getattr(self, each.name)) for each in fields(self))} values, hidden)"


def of_file(file: File) -> Known:
    """From a file that was read already."""
    found: dict[str, set[str]] = {each.name: set() for each in fields(Known) if each.name != "raw"}
    raw: set[bytes] = set()
    for element, charset in _texts(file.elements, b""):
        kind, values = _kind(element, charset)
        if kind:
            found[kind].update(values)
        if element.vr == "PN" and not element.value.isascii():
            raw.update(
                part for part in re.split(rb"[\\^=\0 ]+", element.value) if len(part) >= 4 and not part.isascii()
            )
    return Known(raw=frozenset(raw), **{kind: frozenset(each) for kind, each in found.items()})


def _texts(elements: dict[int, Element], above: bytes) -> Iterator[tuple[Element, bytes]]:
    charset = charset_of(elements, above)
    for element in elements.values():
        if element.items is not None:
            for item in element.items:
                yield from _texts(item, charset)
        elif element.value and (element.vr in ("PN", "DA", "DT") or element.tag in _NUMBERS | _PLACES):
            yield element, charset


def _kind(element: Element, charset: bytes) -> tuple[str, frozenset[str]]:
    tag, vr = element.tag, element.vr
    text = decoded(element.value, vr, charset)
    if tag in _BIRTH:
        return "births", _dates(text)
    if vr in ("DA", "DT"):
        return "dates", _dates(text)
    if tag in _NUMBERS:
        return "numbers", frozenset(
            folded for value in values_of(element, charset) if len(folded := fold(value)) >= _SHORTEST_NUMBER
        )
    if tag in _PLACES:
        return "places", _places(fold(text))
    if vr == "PN":
        spelled = unicodedata.normalize("NFC", text).casefold().translate(_SPELLED)  # Müller, Muller, Mueller
        return ("names" if tag in _PATIENT_NAMES else "people"), _names(fold(text)) | _names(fold(spelled))
    return "", frozenset()


@lru_cache(maxsize=4096)
def _names(text: str) -> frozenset[str]:
    """Words of all names, groups and components. Letters that stand alone count together, as in "L W"."""
    found: set[str] = set()
    for group in re.split(r"[=\\]", text):
        parts = [part for component in group.split("^") for part in _without(words(component), PARTICLES)]
        parts = _without(parts, TITLES)
        found |= {part for part in parts if _is_a_name(part)}
        if len(parts) > 1 and all(len(part) == 1 and part.isalpha() for part in parts):
            found |= {" ".join(parts)} if "".join(parts) not in TITLES else set()
        if len(parts) > 1 and "".join(parts[:2]).isalpha() and max(len(part) for part in parts[:2]) < _LONG:  # "LiWu"
            found |= {parts[0] + parts[1], parts[1] + parts[0]}
    return frozenset(found - NEUTRAL)


def _without(parts: list[str], beside: frozenset[str]) -> list[str]:
    """The words but those that stand beside names; where there are no others, they are the name."""
    return [part for part in parts if part not in beside] or parts


def _is_a_name(word: str) -> bool:
    """A letter alone is none, nor a number that stands in many a text by chance."""
    return len(word) >= (_LONG if word.isdigit() else 2 if word.isascii() else 1)


@lru_cache(maxsize=4096)
def _places(text: str) -> frozenset[str]:
    return frozenset(
        word
        for word in words(text)
        if word not in GENERIC | TITLES and (len(word) >= _SHORTEST_PLACE or not word.isascii()) and not word.isdigit()
    )


@lru_cache(maxsize=4096)
def _dates(text: str) -> frozenset[str]:
    return frozenset("".join(found.groups()) for each in text.split("\\") if (found := _EIGHT.match(each.strip())))
