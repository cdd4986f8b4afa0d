"""The rules applied: one walk over a dataset and its items, from raw values to encoded elements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import private_dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement

from orthanc_research.errors import DeidError

from . import _encode as encode
from ._codes import is_code, is_public_scheme, is_standard_meaning
from ._dates import old_age, shifted
from ._key import Key
from ._profile import Profile
from ._pseudonyms import accession_of, code_of, uid_of
from ._read import Elements, Syntax, items_of
from ._rules import NUMBERS, TEXTS, Rule, rule_for
from ._subject import Subject
from ._table import private_elements
from ._texts import decoded, encodings_of, speaks_vocabulary
from ._values import dummy, kept

__all__ = ["Walk"]

_DEEPEST = 64
_CHARSET = 0x00080005
_ASCII = ("ascii",)
_STANDARD_ROOT = "1.2.840.10008."
_UNUSUAL = {
    "unknown attribute": "is unknown: removed",
    "VR is not the attribute's": "has a VR that is not its own: removed",
}


@dataclass(frozen=True, slots=True)
class Level:
    """Where the walk is: the path down to here, how deep, and the elements beside the present one."""

    prefix: str
    depth: int
    encodings: tuple[str, ...]
    elements: Elements

    def text(self, tag: int) -> str:
        """The value of a neighbour as text; "" where there is none that can be read."""
        element = self.elements.get(tag)
        value = element.value if isinstance(element, RawDataElement) else None
        return (decoded(value, self.encodings) or "").strip() if value else ""


class Walk:
    """One instance on its way: it counts what it changes and notes what was unusual."""

    def __init__(self, profile: Profile, key: Key, subject: Subject, syntax: Syntax) -> None:
        self.profile, self.key, self.subject, self.syntax = profile, key, subject, syntax
        self.changes: Counter[tuple[str, str]] = Counter()
        self.notes: dict[str, None] = {}
        self.done: set[str] = set()
        self.days = subject.days if profile.dates in ("shift", "anchor") else 0
        self._actions: dict[str, Callable[[Rule, bytes, Level], bytes | None]] = {
            "keep": self._keep,
            "words": self._words,
            "date": self._date,
            "undated": self._undated,
            "time": self._keep,
            "age": self._age,
            "uid": self._uid,
            "dummy": self._dummy,
            "replace": self._replace,
            "patient": self._patient,
            "accession": self._accession,
            "code": self._code,
            "scheme": self._scheme,
            "meaning": self._meaning,
            "timezone": self._timezone,
        }

    def parts(
        self, elements: Elements, prefix: str = "", depth: int = 0, encodings: tuple[str, ...] = _ASCII
    ) -> dict[int, bytes]:
        """The encoded elements of one dataset or item by tag; pixel data are for the caller."""
        if depth > _DEEPEST:
            raise DeidError(f"Its sequences are nested more than {_DEEPEST} deep.")
        encodings = self._encodings(elements, encodings)
        level = Level(prefix, depth, encodings, elements)
        out: dict[int, bytes] = {}
        for tag, element in elements.items():
            if tag >> 16 & 1:
                continue
            encoded = self._standard(tag, element, level)
            if encoded is not None:
                out[tag] = encoded
        out.update(self._private(level))
        return out

    def joined(self, elements: Elements, prefix: str, depth: int, encodings: tuple[str, ...]) -> bytes:
        """The encoded elements of an item in the order of their tags."""
        parts = self.parts(elements, prefix, depth, encodings)
        return b"".join(parts[tag] for tag in sorted(parts))

    def note(self, sentence: str) -> None:
        """Say once what was unusual."""
        self.notes.setdefault(sentence)

    def _encodings(self, elements: Elements, inherited: tuple[str, ...]) -> tuple[str, ...]:
        element = elements.get(_CHARSET)
        if not isinstance(element, RawDataElement) or not element.value:
            return inherited
        found = encodings_of(element.value)
        if found is None:
            self.note("SpecificCharacterSet is unknown: removed, with all texts outside ASCII.")
        return found or _ASCII

    def _standard(self, tag: int, element: RawDataElement | DataElement, level: Level) -> bytes | None:
        vr = element.VR
        rules = self.profile.rules
        rule = rules.get((tag, vr))
        if rule is None:
            rule = rules.setdefault((tag, vr), rule_for(self.profile, tag, vr))
        if rule.vr == "SQ":
            return self._sequence(rule, tag, element, level)
        if isinstance(element, DataElement):
            return self._removed(rule, level) if rule.action != "drop" else None
        value = element.value or b""
        action = self._actions.get(rule.action)
        if action is None:
            return self._otherwise(rule, tag, value, level)
        new = action(rule, value, level)
        if new is None:
            return self._rejected(rule, tag, value, level)
        return encode.element(self.syntax, tag, self._written_vr(vr, rule), new)

    def _written_vr(self, vr: str | None, rule: Rule) -> str:
        return rule.vr if vr is None or vr == "UN" else vr

    def _otherwise(self, rule: Rule, tag: int, value: bytes, level: Level) -> bytes | None:
        if rule.action == "drop":
            return None
        if rule.action == "charset":
            known = encodings_of(value) is not None
            return encode.element(self.syntax, tag, "CS", value) if known else self._removed(rule, level)
        if rule.action == "pixels":
            if level.depth:
                self.note("Pixel data inside a sequence were removed.")
                return self._removed(rule, level)
            return None
        if rule.action == "empty":
            self._count(rule, level, "emptied", value)
            return encode.element(self.syntax, tag, rule.vr, b"")
        if rule.why in _UNUSUAL:
            self.note(f"{rule.keyword} {_UNUSUAL[rule.why]}.")
        return self._removed(rule, level)

    def _rejected(self, rule: Rule, tag: int, value: bytes, level: Level) -> bytes | None:
        """A value that is not what its VR allows, or a text that is not of the vocabulary."""
        if rule.action == "words":
            self.done.add("text removed")
        else:
            self.note(
                f"{level.prefix}{rule.keyword} held a value that its VR {rule.vr} does not allow: {rule.otherwise}."
            )
        if rule.otherwise == "remove":
            return self._removed(rule, level)
        if rule.otherwise == "empty":
            self._count(rule, level, "emptied", value)
            return encode.element(self.syntax, tag, rule.vr, b"")
        new = self._uid(rule, value, level) if rule.otherwise == "uid" else self._dummy(rule, value, level)
        return encode.element(self.syntax, tag, rule.vr, new)

    def _removed(self, rule: Rule, level: Level) -> bytes | None:
        self.changes[level.prefix + rule.keyword, "removed"] += 1
        return None

    def _count(self, rule: Rule, level: Level, what: str, value: bytes) -> None:
        if value:
            self.changes[level.prefix + rule.keyword, what] += 1

    def _sequence(self, rule: Rule, tag: int, element: RawDataElement | DataElement, level: Level) -> bytes | None:
        if rule.action == "remove":
            return self._removed(rule, level)
        if rule.action == "empty":
            self.changes[level.prefix + rule.keyword, "emptied"] += 1
            return encode.sequence(self.syntax, tag, ())
        if rule.action == "coded":
            self.changes[level.prefix + rule.keyword, "dummy"] += 1
            return encode.sequence(self.syntax, tag, (self._coded(),))
        if element.VR == "UN" and not self.syntax.little:
            self.note(f"{level.prefix}{rule.keyword} is a sequence written as UN in big endian: removed.")
            return self._removed(rule, level)
        prefix = f"{level.prefix}{rule.keyword}/"
        items = items_of(element, self.syntax)
        encoded = [self.joined(item, prefix, level.depth + 1, level.encodings) for item in items]
        return encode.sequence(self.syntax, tag, encoded)

    def _coded(self) -> bytes:
        """An item of a coded concept that says nothing."""
        parts = ((0x00080100, "SH", b"REMOVED"), (0x00080102, "SH", b"99LOCAL"), (0x00080104, "LO", b"Removed"))
        return b"".join(encode.element(self.syntax, tag, vr, value) for tag, vr, value in parts)

    # What is done to one value; None is "this value does not allow it".

    def _keep(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        if rule.keyword == "ICCProfile" and value and value[36:40] != b"acsp":
            return None
        return kept(rule.vr, value, level.encodings)

    def _words(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        text = decoded(value, level.encodings)
        if text is None or not speaks_vocabulary(text, self.profile.vocabulary):
            return None
        if not text.strip() and rule.otherwise == "dummy":
            return self._dummy(rule, value, level)
        return value.rstrip(b"\0")

    def _date(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        new = shifted(rule.vr, value, self.days)
        if new is not None and self.days:
            self._count(rule, level, "shifted", new)
        return new

    def _undated(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        return shifted(rule.vr, value, 0)

    def _age(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        if kept("AS", value, level.encodings) is None:
            return None
        new = old_age(value)
        if new != value.strip(b" \0"):
            self._count(rule, level, "capped", value)
        return new

    def _uid(self, rule: Rule, value: bytes, level: Level) -> bytes:
        self._count(rule, level, "mapped", value)
        return _mapped_uids(self.key, value, self.subject.namespace)

    def _dummy(self, rule: Rule, value: bytes, level: Level) -> bytes:
        self.changes[level.prefix + rule.keyword, "dummy"] += 1
        return dummy(rule, value, self.key, self.subject.namespace, level.encodings)

    def _replace(self, rule: Rule, value: bytes, level: Level) -> bytes:
        self.changes[level.prefix + rule.keyword, "replaced"] += 1
        return (self.profile.replacement(rule.keyword) or "").encode("ascii")

    def _patient(self, rule: Rule, value: bytes, level: Level) -> bytes:
        self.changes[level.prefix + rule.keyword, "pseudonym"] += 1
        return self.subject.patient_id.encode("ascii")

    def _accession(self, rule: Rule, value: bytes, level: Level) -> bytes:
        text = decoded(value, level.encodings)
        text = value.decode("latin-1") if text is None else text
        if not text.strip(" \0"):
            return b""
        self.changes[level.prefix + rule.keyword, "pseudonym"] += 1
        return accession_of(self.key, text).encode("ascii")

    def _timezone(self, rule: Rule, value: bytes, level: Level) -> bytes | None:
        text = value.strip(b" \0")
        return text if not text or (len(text) == 5 and text[:1] in b"+-" and text[1:].isdigit()) else None

    def _code(self, rule: Rule, value: bytes, level: Level) -> bytes:
        """Codes of a house may be names of people and places: equal ones stay equal, and say no more."""
        scheme, code = level.text(0x00080102), (decoded(value, level.encodings) or "").strip()
        if is_code(scheme, code):
            return value.rstrip(b"\0")
        self.changes[level.prefix + rule.keyword, "dummy"] += 1
        text = value.strip(b" \0").decode("latin-1")
        return code_of(self.key, "code", f"{scheme}\\{text}").encode("ascii")

    def _scheme(self, rule: Rule, value: bytes, level: Level) -> bytes:
        if is_public_scheme(level.text(0x00080102)) and rule.keyword == "CodingSchemeDesignator":
            return value.rstrip(b"\0")
        self.changes[level.prefix + rule.keyword, "dummy"] += 1
        return b"99LOCAL"

    def _meaning(self, rule: Rule, value: bytes, level: Level) -> bytes:
        text = decoded(value, level.encodings) or ""
        scheme, code = level.text(0x00080102), level.text(0x00080100)
        if text and (
            speaks_vocabulary(text, self.profile.vocabulary) or is_standard_meaning(scheme, code, text.strip())
        ):
            return value.rstrip(b"\0")
        self.changes[level.prefix + rule.keyword, "dummy"] += 1
        return b"Removed"

    # Private elements: only what is allowed by creator and element, and the creator where something of it stays.

    def _private(self, level: Level) -> dict[int, bytes]:
        out: dict[int, bytes] = {}
        for tag, element in level.elements.items():
            group, number = tag >> 16, tag & 0xFFFF
            if not group & 1 or number < 0x1000:
                continue
            owner = (group << 16) | (number >> 8)
            creator = level.text(owner)
            rule = self._allowed(creator, group, number & 0xFF, element.VR) if creator else None
            encoded = self._kept_private(rule, tag, element, level) if rule is not None else None
            if encoded is not None:
                out[tag] = encoded
                out[owner] = encode.element(self.syntax, owner, "LO", creator.encode("ascii"))
                self.done.add("private kept")
            else:
                self.changes[f"{level.prefix}private", "removed"] += 1
        return out

    def _allowed(self, creator: str, group: int, number: int, vr: str | None) -> Rule | None:
        name = f"{group:04x},xx{number:02x}"
        safe = private_elements().get((creator, name)) if "retain_safe_private" in self.profile.options else None
        if safe is None and ((creator, name) not in self.profile.private or not creator.isascii()):
            return None
        if vr is None or vr == "UN":
            vr = safe.vr if safe is not None else _private_vr(creator, group, number)
        if vr is None:
            self.note("A private element that the profile allows has no known VR: removed.")
            return None
        action = {"SQ": "items", "DA": "date", "DT": "date", "TM": "time", "UI": "uid", "AS": "age"}.get(vr, "keep")
        if self.profile.dates == "remove" and vr in ("DA", "DT", "TM"):
            return None
        if vr == "PN" or (safe is not None and vr not in NUMBERS and vr not in TEXTS and vr != "SQ"):
            return None
        if safe is not None and vr in ("LO", "SH", "ST", "LT", "UT", "UC"):
            return Rule(name, "CS", action, "remove", "a private text known to be a code")
        return Rule(name, vr, action, "remove", "a private element that is allowed")

    def _kept_private(self, rule: Rule, tag: int, element: RawDataElement | DataElement, level: Level) -> bytes | None:
        if rule.vr == "SQ":
            return self._sequence(rule, tag, element, level)
        if isinstance(element, DataElement):
            return None
        new = self._actions[rule.action](rule, element.value or b"", level)
        return None if new is None else encode.element(self.syntax, tag, self._written_vr(element.VR, rule), new)


def _private_vr(creator: str, group: int, number: int) -> str | None:
    try:
        vr = private_dictionary_VR(group << 16 | 0x1000 | number, creator)
    except KeyError:
        return None
    return vr if len(vr) == 2 and vr != "UN" else None


@lru_cache(4096)
def _mapped_uids(key: Key, value: bytes, namespace: str) -> bytes:
    parts = (part.strip(b" \0").decode("latin-1") for part in value.split(b"\\"))
    return "\\".join(
        part if not part or part.startswith(_STANDARD_ROOT) else uid_of(key, part, namespace) for part in parts
    ).encode("ascii", "replace")
