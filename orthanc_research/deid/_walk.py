"""The rules applied: one walk over a dataset and its items, from raw values to encoded elements."""

from __future__ import annotations

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement

from orthanc_research.errors import DeidError

from . import _encode as encode
from ._actions import Actions
from ._key import Key
from ._level import ASCII, Level
from ._private import private_rule
from ._profile import Profile
from ._read import Elements, Syntax, items_of
from ._rules import NUMBERS, Rule, rule_for
from ._subject import Subject
from ._texts import encodings_of

__all__ = ["Walk"]

_DEEPEST = 64
_CHARSET = 0x00080005
_CONCEPT_NAME, _UNITS = 0x0040A043, 0x004008EA
# Removed or changed, these would make another image of it.
_STRUCTURE = frozenset(
    (
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "PlanarConfiguration",
        "PhotometricInterpretation",
        "NumberOfFrames",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "RescaleSlope",
        "RescaleIntercept",
        "PixelSpacing",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "ImagerPixelSpacing",
        "GridFrameOffsetVector",
        "Modality",
    )
)
_UNUSUAL = {
    "unknown attribute": "is unknown: removed",
    "VR is not the attribute's": "has a VR that is not its own: removed",
}


class Walk:
    """One instance on its way, from raw elements to encoded ones; what was done is in `actions`."""

    def __init__(self, profile: Profile, key: Key, subject: Subject, syntax: Syntax) -> None:
        self.profile, self.syntax = profile, syntax
        self._rules = profile.rules
        self.actions = Actions(profile, key, subject)

    def parts(
        self,
        elements: Elements,
        prefix: str = "",
        depth: int = 0,
        encodings: tuple[str, ...] = ASCII,
        concept: str = "",
    ) -> dict[int, bytes]:
        """The encoded elements of one dataset or item by tag; pixel data are for the caller."""
        if depth > _DEEPEST:
            raise DeidError(f"Its sequences are nested more than {_DEEPEST} deep.")
        encodings = self._encodings(elements, encodings)
        if not depth:
            self.actions.own.learn(elements, encodings)
        concept, unit = self._code(elements, _CONCEPT_NAME) or concept, self._code(elements, _UNITS)
        level = Level(prefix, depth, encodings, elements, concept, unit)
        out: dict[int, bytes] = {}
        for tag, element in elements.items():
            if tag >> 16 & 1:
                continue
            encoded = self._standard(tag, element, level)
            if encoded is not None:
                out[tag] = encoded
        out.update(self._private(level))
        return out

    def joined(self, elements: Elements, prefix: str, above: Level) -> bytes:
        """The encoded elements of an item in the order of their tags."""
        concept = above.concept if prefix.endswith("MeasuredValueSequence/") else ""
        parts = self.parts(elements, prefix, above.depth + 1, above.encodings, concept)
        return b"".join(parts[tag] for tag in sorted(parts))

    def _code(self, elements: Elements, tag: int) -> str:
        """The code in a coded sequence, where there is one."""
        coded = elements.get(tag)
        item = items_of(coded, self.syntax)[:1] if coded is not None else []
        return Level("", 0, ASCII, item[0]).text(0x00080100) if item else ""

    def _encodings(self, elements: Elements, inherited: tuple[str, ...]) -> tuple[str, ...]:
        element = elements.get(_CHARSET)
        if not isinstance(element, RawDataElement) or not element.value:
            return inherited
        found = encodings_of(element.value)
        if found is None:
            self.actions.note("SpecificCharacterSet is unknown: removed, with all texts outside ASCII.")
        return found or ASCII

    def _standard(self, tag: int, element: RawDataElement | DataElement, level: Level) -> bytes | None:
        vr = element.VR
        rule = self._rules.get((tag, vr))
        if rule is None:
            rule = self._rules.setdefault((tag, vr), rule_for(self.profile, tag, vr))
        if rule.vr == "SQ":
            return self._sequence(rule, tag, element, level)
        if isinstance(element, DataElement):
            return self._removed(rule, level) if rule.action != "drop" else None
        value = element.value or b""
        action = self.actions.find(rule.action)
        if action is None:
            return self._otherwise(rule, tag, value, level)
        new = action(rule, value, level) if self._is_readable(element, rule) else None
        if new is None:
            return self._rejected(rule, tag, value, level)
        if vr == "UN" and " or " in dictionary_VR(tag):
            return encode.element(self.syntax, tag, vr, new)  # US or SS: what else is in the file tells which
        return encode.element(self.syntax, tag, self._written_vr(vr, rule), new)

    def _is_readable(self, element: RawDataElement, rule: Rule) -> bool:
        """A number as UN is little endian (PS3.5 section 6.2.2); of a big endian file nobody knows whether it is."""
        return element.VR != "UN" or self.syntax.little or rule.vr not in NUMBERS

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
                self.actions.note("Pixel data inside a sequence were removed.")
                return self._removed(rule, level)
            return None
        if rule.action == "empty":
            self.actions.count(rule, level, "emptied", value)
            return encode.element(self.syntax, tag, rule.vr, b"")
        if rule.why in _UNUSUAL and keyword_for_tag(tag) in _STRUCTURE:
            raise DeidError(
                f"{keyword_for_tag(tag)} has a VR that is not its own, and without it the file is none of its kind."
            )
        if rule.why in _UNUSUAL:
            self.actions.note(f"{rule.keyword} {_UNUSUAL[rule.why]}.")
        return self._removed(rule, level)

    def _rejected(self, rule: Rule, tag: int, value: bytes, level: Level) -> bytes | None:
        """A value that is not what its VR allows, or a text that is not of the vocabulary."""
        if rule.keyword in _STRUCTURE:
            raise DeidError(
                f"{rule.keyword} holds a value that its VR does not allow, and without it the file is none of its kind."
            )
        if rule.action == "words":
            self.actions.done.add("text removed")
        else:
            self.actions.note(
                f"{level.prefix}{rule.keyword} held a value that its VR {rule.vr} does not allow: {rule.otherwise}."
            )
        if rule.otherwise == "remove":
            return self._removed(rule, level)
        if rule.otherwise == "empty":
            self.actions.count(rule, level, "emptied", value)
            return encode.element(self.syntax, tag, rule.vr, b"")
        new = (
            self.actions.uid(rule, value, level) if rule.otherwise == "uid" else self.actions.dummy(rule, value, level)
        )
        return encode.element(self.syntax, tag, rule.vr, new)

    def _removed(self, rule: Rule, level: Level) -> bytes | None:
        self.actions.count(rule, level, "removed")
        return None

    def _sequence(self, rule: Rule, tag: int, element: RawDataElement | DataElement, level: Level) -> bytes | None:
        if rule.action == "remove":
            return self._removed(rule, level)
        if rule.action == "empty":
            self.actions.count(rule, level, "emptied")
            return encode.sequence(self.syntax, tag, ())
        if rule.action == "coded" and element.value:
            self.actions.count(rule, level, "dummy")
            return encode.sequence(self.syntax, tag, (self._coded(),))
        if element.VR == "UN" and not self.syntax.little:
            self.actions.note(f"{level.prefix}{rule.keyword} is a sequence written as UN in big endian: removed.")
            return self._removed(rule, level)
        prefix = f"{level.prefix}{rule.keyword}/"
        items = items_of(element, self.syntax)
        encoded = [self.joined(item, prefix, level) for item in items]
        return encode.sequence(self.syntax, tag, encoded)

    def _coded(self) -> bytes:
        """An item of a coded concept that says nothing."""
        parts = ((0x00080100, "SH", b"REMOVED"), (0x00080102, "SH", b"99LOCAL"), (0x00080104, "LO", b"Removed"))
        return b"".join(encode.element(self.syntax, tag, vr, value) for tag, vr, value in parts)

    # Private elements: only what is allowed by creator and element, and the creator where something of it stays.

    def _private(self, level: Level) -> dict[int, bytes]:
        out: dict[int, bytes] = {}
        for tag, element in level.elements.items():
            group, number = tag >> 16, tag & 0xFFFF
            if not group & 1 or number < 0x1000:
                continue
            owner = (group << 16) | (number >> 8)
            creator = level.text(owner)
            rule = private_rule(self.profile, creator, group, number & 0xFF, element.VR) if creator else None
            encoded = self._kept_private(rule, tag, element, level) if rule is not None else None
            if encoded is not None:
                out[tag] = encoded
                out[owner] = encode.element(self.syntax, owner, "LO", creator.encode("ascii"))
                self.actions.done.add("private kept")
            else:
                self.actions.changes[f"{level.prefix}private", "removed"] += 1
        return out

    def _kept_private(self, rule: Rule, tag: int, element: RawDataElement | DataElement, level: Level) -> bytes | None:
        if rule.vr == "SQ":
            return self._sequence(rule, tag, element, level)
        if isinstance(element, DataElement):
            return None
        action = self.actions.find(rule.action) if self._is_readable(element, rule) else None
        new = action(rule, element.value or b"", level) if action else None
        return None if new is None else encode.element(self.syntax, tag, self._written_vr(element.VR, rule), new)
