"""What is done to one value, by the name that a rule gives it; None where the value does not allow it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from pydicom.datadict import dictionary_VM, tag_for_keyword

from orthanc_research.errors import DeidError

from ._codes import is_code, is_public_scheme, standard_meaning
from ._csa import reduced_csa
from ._dates import old_age, shifted
from ._icc import without_texts
from ._key import Key
from ._level import Level
from ._own import OwnWords
from ._profile import Profile
from ._pseudonyms import accession_of, code_of, uid_of
from ._rules import NUMBERS, Rule
from ._subject import Subject
from ._texts import decoded, speaks_vocabulary
from ._uids import is_class, is_registered
from ._values import dummy, kept

__all__ = ["Actions"]

_HL7_SCHEMES = re.compile(r"2\.16\.840\.1\.113883\.6\.\d{1,4}")  # HL7's registry of coding schemes, SNOMED CT in it
# Names and ids of patients, and of people who looked (PS3.16, TID 1001 to 1010): never of the vocabulary.
_PERSONS = frozenset(
    ("121008", "121009", "121011", "121012", "121013", "121022", "121028", "121029", "121030", "121036", "128774")
)
_ASKED = "the profile keeps it"
_BIRTH_DATE, _AGE = "121031", "121033"
_OLDEST = 89  # years
_IN_A_YEAR = {"mo": 12, "wk": 52.18, "d": 365.25, "h": 8766}  # UCUM
_CODE_STRING = re.compile(rb"(?!.*\d{6})[A-Z0-9 _]{0,16}")
# Of the patient, and of what was asked most often: only what the standard enumerates (PS3.3).
_ENUMERATED = {
    "PatientSex": (b"M", b"F", b"O"),
    "SmokingStatus": (b"YES", b"NO", b"UNKNOWN"),
    "PatientSexNeutered": (b"ALTERED", b"UNALTERED"),
    "BurnedInAnnotation": (b"YES", b"NO"),
    "RecognizableVisualFeatures": (b"YES", b"NO"),
    "QualityControlSubject": (b"YES", b"NO"),
}
_TERM = re.compile(rb"[A-Z]{1,16}|\d{1,2}(\.\d{1,4})?(:1)?")
_MOST_VALUES, _LONGEST = 512, 18
_SHORT_TEXTS = frozenset(("LO", "SH", "UC", "ST", "LT", "UT"))


class Actions:
    """The actions on the values of one instance: they count what they change and note what was unusual."""

    def __init__(self, profile: Profile, key: Key, subject: Subject) -> None:
        self.profile, self.key, self.subject = profile, key, subject
        self.days = subject.days if profile.dates in ("shift", "anchor") else 0
        self.changes: Counter[tuple[str, str]] = Counter()
        self.notes: dict[str, None] = {}
        self.done: set[str] = set()
        self.own = OwnWords()
        self._actions: dict[str, Callable[[Rule, bytes, Level], bytes | None]] = {
            "keep": self._keep,
            "words": self._words,
            "date": self._date,
            "undated": self._undated,
            "time": self._keep,
            "age": self._age,
            "uid": self.uid,
            "registered": self._registered,
            "class": self._class,
            "dummy": self.dummy,
            "replace": self._replace,
            "patient": self._patient,
            "accession": self._accession,
            "code": self._code,
            "scheme": self._scheme,
            "meaning": self._meaning,
            "timezone": self._timezone,
            "csa": self._csa,
            "numbers": self._numbers,
            "term": self._term,
        }

    def find(self, name: str) -> Callable[[Rule, bytes, Level], bytes | None] | None:
        """The action of that name; None where it is none on values."""
        return self._actions.get(name)

    def note(self, sentence: str) -> None:
        """Say once what was unusual."""
        self.notes.setdefault(sentence)

    def count(self, rule: Rule, level: Level, what: str, value: bytes = b"1") -> None:
        """Count a change of what was not empty."""
        if value:
            self.changes[level.prefix + rule.keyword, what] += 1

    def _keep(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        if rule.keyword == "ICCProfile" and value:
            return without_texts(value)
        if level.concept == _AGE and rule.vr == "DS" and rule.keyword == "NumericValue":
            return _capped(value, level.unit)
        if rule.vr == "CS":
            return value if self._are_terms(rule.keyword, value, level) else None
        if (
            rule.vr in _SHORT_TEXTS
            and rule.why != _ASKED
            and self.own.of_patient_are_in(decoded(value, level.encodings) or "")
        ):
            # Converters and phantoms put the patient's name there.
            self.count(rule, level, "emptied")
            self.note(f"{level.prefix}{rule.keyword} held a word of the patient's name or ID: emptied.")
            return b""
        if rule.vr in NUMBERS and not _is_of_vm(rule.keyword, len(value) // NUMBERS[rule.vr]):
            return None
        return kept(rule.vr, value, level.encodings)

    def _are_terms(self, keyword: str, value: bytes, level: Level) -> bool:
        """Code strings (PS3.5 section 6.2) that are no number of somebody; what else stands there must be words."""
        parts = [part.strip(b" \0") for part in value.split(b"\\")]
        known = _ENUMERATED.get(keyword)
        if known is not None:
            return all(not part or part in known for part in parts)
        texts = [decoded(part, level.encodings) for part in parts if not _CODE_STRING.fullmatch(part)]
        return all(text is not None and speaks_vocabulary(text, self.profile.vocabulary) for text in texts)

    def _words(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        text = decoded(value, level.encodings)
        if text is None or level.concept in _PERSONS:
            return None
        if not speaks_vocabulary(text, self.profile.vocabulary) or self.own.are_in(text):
            return None
        if not text.strip() and rule.otherwise == "dummy":
            return self.dummy(rule, value, level)
        return value.rstrip(b"\0")

    def _date(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        if level.concept == _BIRTH_DATE:
            return self.dummy(rule, value, level)
        new = shifted(rule.vr, value, self.days)
        if new is not None and self.days:
            self.count(rule, level, "shifted", new)
        return new

    def _undated(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        return shifted(rule.vr, value, 0)

    def _age(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        if kept("AS", value, level.encodings) is None:
            return None
        new = old_age(value)
        if new != value.strip(b" \0"):
            self.count(rule, level, "capped", value)
        return new

    def uid(self, rule: Rule, value: bytes, level: Level) -> bytes:
        """Every UID but those of the standard as a keyed one."""
        self.count(rule, level, "mapped", value)
        return _mapped_uids(self.key, value, self.subject.namespace)

    def _class(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        """Classes of makers stay; under DICOM's root only what is registered there."""
        parts = [part.strip(b" \0").decode("latin-1") for part in value.split(b"\\")]
        return kept("UI", value, level.encodings) if all(map(is_class, parts)) else None

    def _registered(self, rule: Rule, value: bytes, level: Level) -> bytes:
        """A scheme's UID: a public one stays, that of a house names the house."""
        text = value.strip(b" \0").decode("latin-1")
        return value if _HL7_SCHEMES.fullmatch(text) else self.uid(rule, value, level)

    def dummy(self, rule: Rule, value: bytes, level: Level) -> bytes:
        """What fits the VR and says nothing."""
        self.count(rule, level, "dummy")
        return dummy(rule, value, self.key, self.subject.namespace, level.encodings)

    def _replace(self, rule: Rule, value: bytes, level: Level) -> bytes:
        self.count(rule, level, "replaced")
        return (self.profile.replacement(rule.keyword) or "").encode("ascii")

    def _patient(self, rule: Rule, value: bytes, level: Level) -> bytes:
        if rule.keyword == "PatientID" and decoded(value, level.encodings) is None:
            # What readers make of it may be somebody else's.
            raise DeidError("Its PatientID cannot be read in its own character set, so nobody knows whose it is.")
        self.count(rule, level, "pseudonym")
        return self.subject.patient_id.encode("ascii")

    def _accession(self, rule: Rule, value: bytes, level: Level) -> bytes:
        text = decoded(value, level.encodings)
        text = value.decode("latin-1") if text is None else text
        if not text.strip(" \0"):
            return b""
        self.count(rule, level, "pseudonym")
        return accession_of(self.key, text).encode("ascii")

    def _timezone(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        text = value.strip(b" \0")
        return text if not text or (len(text) == 5 and text[:1] in b"+-" and text[1:].isdigit()) else None

    def _numbers(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        """As many numbers as the element is known to have (`why`, 0 for any)."""
        number = int(rule.why)
        size = NUMBERS.get(rule.vr)
        count = len(value) / size if size else value.count(b"\\") + 1
        longest = max(map(len, value.split(b"\\")))
        fits = count == number if number else count <= _MOST_VALUES
        return kept(rule.vr, value, level.encodings) if fits and (size or longest <= _LONGEST) else None

    def _term(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        """A defined term or a ratio: one word of capitals, or a number with its unit."""
        return value if _TERM.fullmatch(value.rstrip(b" \0")) and self._words(rule, value, level) else None

    def _csa(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        new = reduced_csa(value)
        if new is not None:
            self.changes[f"{level.prefix}private", "reduced"] += 1
        return new

    def _code(self, rule: Rule, value: bytes, level: Level) -> bytes:
        """Codes of a house may be names of people and places: equal ones stay equal, and say no more."""
        scheme, code = level.text(0x00080102), (decoded(value, level.encodings) or "").strip()
        if is_code(scheme, code):
            return value.rstrip(b"\0")
        if not value.strip(b" \0"):
            return b""
        self.count(rule, level, "dummy")
        text = value.strip(b" \0").decode("latin-1")
        return code_of(self.key, "code", f"{scheme}\\{text}").encode("ascii")

    def _scheme(self, rule: Rule, value: bytes, level: Level) -> bytes:
        if is_public_scheme(level.text(0x00080102)) and rule.keyword == "CodingSchemeDesignator":
            return value.rstrip(b"\0")
        self.count(rule, level, "dummy")
        return b"99LOCAL"

    def _meaning(self, rule: Rule, value: bytes, level: Level) -> bytes:
        text = decoded(value, level.encodings)
        if text is not None and speaks_vocabulary(text, self.profile.vocabulary) and not self.own.are_in(text):
            return value.rstrip(b"\0")
        standard = standard_meaning(level.text(0x00080102), level.text(0x00080100))
        if standard is None or (text or "").strip().casefold() != standard.casefold():
            self.count(rule, level, "dummy")
        return (standard or "Removed").encode("ascii", "replace")


@lru_cache(4096)
def _is_of_vm(keyword: str, count: int) -> bool:
    """Whether an attribute may have so many values; anything may hide in those that are too many (PS3.6)."""
    tag = tag_for_keyword(keyword)
    most = "n" if tag is None else dictionary_VM(tag).rpartition("-")[2]
    return count <= int(most) if most.isdigit() else True


@lru_cache(4096)
def _mapped_uids(key: Key, value: bytes, namespace: str) -> bytes:
    parts = (part.strip(b" \0").decode("latin-1") for part in value.split(b"\\"))
    return "\\".join(
        part if not part or is_registered(part) else uid_of(key, part, namespace) for part in parts
    ).encode("ascii", "replace")


def _capped(value: bytes, unit: str) -> bytes | None:
    """An age in a report: over 89 years it is 90; what has no unit is in years."""
    number = _IN_A_YEAR.get(unit, 1)
    try:
        old = float(value.strip(b" \0") or b"0") / number > _OLDEST
    except ValueError:
        return None
    return str(round((_OLDEST + 1) * number)).encode() if old else value
