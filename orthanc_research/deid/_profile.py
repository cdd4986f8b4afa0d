"""What is kept, cleaned and removed: one profile, as data."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast

from pydicom.datadict import dictionary_VR, tag_for_keyword

from orthanc_research.errors import DeidError

from ._rules import TEXTS, Rule, identifies, rule_for
from ._table import OPTIONS, editions, private_elements, rows

__all__ = ["CODES", "Profile"]

Dates = Literal["shift", "remove", "keep", "anchor"]

# CID 7050 (PS3.16), the part that a profile can ask for.
CODES = {
    "113100": "Basic Application Confidentiality Profile",
    "113103": "Clean Graphics Option",
    "113104": "Clean Structured Content Option",
    "113105": "Clean Descriptors Option",
    "113106": "Retain Longitudinal Temporal Information Full Dates Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113109": "Retain Device Identity Option",
    "113110": "Retain UIDs Option",
    "113111": "Retain Safe Private Option",
    "113112": "Retain Institution Identity Option",
}
_OPTION_CODES = {
    "clean_graphics": "113103",
    "clean_structured_content": "113104",
    "clean_descriptors": "113105",
    "retain_patient_characteristics": "113108",
    "retain_device_identity": "113109",
    "retain_uids": "113110",
    "retain_safe_private": "113111",
    "retain_institution_identity": "113112",
}
_DATE_CODES = {"keep": "113106", "shift": "113107", "anchor": "113107"}
# For research: age, sex and weight are needed for SUV and statistics, descriptions and codes say what was scanned,
# measurements in reports are results, and diffusion, SUV and mosaics need a few private numbers. No device identity.
_DEFAULT = frozenset(
    ("retain_patient_characteristics", "clean_descriptors", "clean_structured_content", "retain_safe_private")
)
_NEEDED = {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "PixelData"}
_PRIVATE = re.compile(r"[0-9a-f]{3}[13579bdf],xx[0-9a-f]{2}")
_LIMITS = {"AE": 16, "CS": 16, "SH": 16, "LO": 64, "PN": 64, "ST": 1024, "LT": 10240}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The rules of a de-identification: Table E.1-1 of PS3.15 under its options, and what you add to it.

    `dates`: "shift" moves every date of a patient by the same days, "anchor" to `anchor` ("YYYYMMDD") as the subject's
    days say, "remove" takes the basic profile's column, "keep" leaves them. `options` are those of PS3.15 E.3 in snake
    case. `keep`, `remove` and `replace` name attributes by keyword, at every depth; an identifier in `keep` must be in
    `allow_identifiers` as well. `private` allows elements as (creator, "gggg,xxee") beside those known safe;
    `vocabulary` adds words to those that a cleaned text may have. `DeidError` for what makes no sense.
    """

    dates: Dates = "shift"
    anchor: str | None = None
    options: frozenset[str] = _DEFAULT
    keep: tuple[str, ...] = ()
    allow_identifiers: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    replace: Mapping[str, str] = field(default_factory=dict, hash=False)
    private: frozenset[tuple[str, str]] = frozenset()
    vocabulary: frozenset[str] = frozenset()
    keep_roi_names: bool = False

    def __post_init__(self) -> None:
        made: dict[str, Any] = {
            "options": frozenset(_words(self.options, "options")),
            "keep": tuple(sorted(_keywords(self.keep, "keep"))),
            "allow_identifiers": tuple(sorted(_keywords(self.allow_identifiers, "allow_identifiers"))),
            "remove": tuple(sorted(_keywords(self.remove, "remove"))),
            "replace": dict(sorted(self.replace.items())),
            "private": frozenset((creator, element.lower()) for creator, element in self.private),
            "vocabulary": frozenset(word.casefold() for word in _words(self.vocabulary, "vocabulary")),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)
        self._check()
        canonical = self.to_json().encode()
        object.__setattr__(self, "_hash", hashlib.sha256(canonical).hexdigest())
        object.__setattr__(self, "_rules", {})

    def _check(self) -> None:
        if self.dates not in ("shift", "remove", "keep", "anchor"):
            raise DeidError('dates is "shift", "remove", "keep" or "anchor".')
        if (self.dates == "anchor") != (self.anchor is not None):
            raise DeidError('dates="anchor" and anchor="YYYYMMDD" go together.')
        if self.anchor is not None and not re.fullmatch(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", self.anchor):
            raise DeidError('anchor is a date as "YYYYMMDD".')
        unknown = sorted(self.options - set(OPTIONS))
        if "clean_pixel_data" in unknown:
            raise DeidError("clean_pixel_data needs a check of the pixels, which this version does not have.")
        if unknown:
            raise DeidError(f"There is no option {unknown[0]!r}; there are {', '.join(OPTIONS)}.")
        _keywords(self.replace, "replace")
        if "PatientBirthDate" in self.keep:
            raise DeidError("PatientBirthDate is always emptied; PatientAge says what research needs.")
        for name in self.keep:
            if identifies(_tag(name)) and name not in self.allow_identifiers:
                raise DeidError(f"{name} identifies; to keep it, name it in allow_identifiers too.")
        for name in {*self.remove, *self.replace}:
            if name in _NEEDED and name != "PixelData":
                raise DeidError(f"{name} cannot be removed or replaced by a profile.")
        for name, text in self.replace.items():
            _check_replacement(name, text)
        for creator, element in self.private:
            if not creator.strip() or not _PRIVATE.fullmatch(element):
                raise DeidError('private holds pairs of a creator and an element like "0019,xx0c".')

    def __hash__(self) -> int:
        return hash(self.hash)

    @property
    def hash(self) -> str:
        """SHA-256 of the profile in hex: two profiles with one hash do the same."""
        return cast(str, self._hash)  # type: ignore[attr-defined]

    @property
    def kept_uids(self) -> frozenset[str]:
        """Holds "uid" where UIDs are kept."""
        return frozenset(("uid",) if "retain_uids" in self.options else ())

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of CID 7050 that hold for this profile; Basic does not where identifiers are kept on purpose."""
        found = [] if self.allow_identifiers else ["113100"]
        found += [code for name, code in _OPTION_CODES.items() if name in self.options]
        found += [_DATE_CODES[self.dates]] if self.dates in _DATE_CODES else []
        return tuple(sorted(found))

    @property
    def rules(self) -> dict[tuple[int, str | None], Rule]:
        """The rules found so far by tag and VR; a cache."""
        return cast("dict[tuple[int, str | None], Rule]", self._rules)  # type: ignore[attr-defined]

    def replacement(self, keyword: str) -> str | None:
        """What the profile puts in the place of an attribute's value; None where it says nothing."""
        return self.replace.get(keyword)

    def to_json(self) -> str:
        """The profile as JSON with sorted keys, for `from_json`."""
        content: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            content[each.name] = sorted(value) if isinstance(value, frozenset) else value
        return json.dumps(content, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """A profile from its JSON; `DeidError` for what is none."""
        try:
            content = json.loads(text)
            content["private"] = frozenset((creator, element) for creator, element in content.get("private", ()))
            known = {each.name for each in fields(cls)}
            if set(content) - known:
                raise DeidError(f"A profile has no {sorted(set(content) - known)[0]!r}.")
            return cls(**content)
        except (ValueError, TypeError, AttributeError, KeyError):
            raise DeidError("This is not the JSON of a profile.") from None

    def describe(self) -> str:
        """The profile in a few sentences."""
        dates = {
            "shift": "Dates of a patient move by the same number of days; times stay.",
            "anchor": "Dates of a patient move so that the first study falls on the anchor date; times stay.",
            "remove": "Dates and times go.",
            "keep": "Dates and times stay, but for the date of birth.",
        }[self.dates]
        said = [f"PS3.15 Table E.1-1 ({editions()}), at every depth.", dates]
        said.append(f"Options: {', '.join(sorted(self.options)) or 'none'}.")
        for name, what in (("keep", "Kept"), ("remove", "Removed"), ("allow_identifiers", "IDENTIFIERS KEPT")):
            if getattr(self, name):
                said.append(f"{what}: {', '.join(getattr(self, name))}.")
        if self.replace:
            said.append(f"Replaced: {', '.join(self.replace)}.")
        safe = len(private_elements()) if "retain_safe_private" in self.options else 0
        said.append(f"Private elements go, but for {safe + len(self.private)} that are allowed.")
        return " ".join(said)

    def table(self) -> list[dict[str, str]]:
        """One row an attribute of the table or of this profile: keyword, VR, action and why."""
        tags = {*rows(), *(_tag(name) for name in (*self.keep, *self.remove, *self.replace))}
        found = []
        for tag in sorted(tags):
            rule = rule_for(self, tag, None)
            found.append({"keyword": rule.keyword, "vr": rule.vr, "action": rule.action, "why": rule.why})
        if "retain_safe_private" in self.options:
            for (creator, element), safe in sorted(private_elements().items()):
                found.append({"keyword": f"({element},{creator})", "vr": safe.vr, "action": "keep", "why": safe.why})
        for creator, element in sorted(self.private):
            found.append(
                {"keyword": f"({element},{creator})", "vr": "", "action": "keep", "why": "the profile keeps it"}
            )
        return found


def _words(values: Collection[str], name: str) -> Collection[str]:
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise DeidError(f"{name} is a collection of texts, not one text.")
    return values


def _keywords(values: Collection[str], name: str) -> Collection[str]:
    for value in _words(values, name):
        _tag(value, name)
    return values


def _tag(keyword: str, name: str = "keep") -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise DeidError(f"{name} holds a word that is no keyword of a DICOM attribute.")
    return tag


def _check_replacement(name: str, text: str) -> None:
    vr = dictionary_VR(_tag(name))
    if vr not in TEXTS or vr in ("UI", "DA", "DT", "TM", "AS"):
        raise DeidError(f"{name} cannot be replaced by a text: its VR is {vr}.")
    if not isinstance(text, str) or not text.isascii() or not text.isprintable() or "\\" in text:
        raise DeidError(f"The replacement of {name} is no printable ASCII text without backslash.")
    if len(text) > _LIMITS.get(vr, 1024):
        raise DeidError(f"The replacement of {name} is longer than its VR {vr} allows.")
    if vr in ("DS", "IS") and not re.fullmatch(r"[+-]?\d{1,11}(\.\d{1,8})?", text):
        raise DeidError(f"The replacement of {name} is no number.")
