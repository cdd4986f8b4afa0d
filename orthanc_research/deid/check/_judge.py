"""One value of an output held against the original's and what was promised for it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orthanc_research.deid.check._blanked import is_blanked
from orthanc_research.deid.check._compare import holds, is_empty, is_neutral, same
from orthanc_research.deid.check._intervals import distance, ends, is_date, moved
from orthanc_research.deid.check._leaks import Search, leaks_in_text
from orthanc_research.deid.check._promise import (
    TYPE_1,
    Promises,
    is_meaning,
    is_public,
    is_vocabulary,
    safe_creators,
    safe_kind,
)
from orthanc_research.deid.check._reading import WORD, Element, name_of, vr_of
from orthanc_research.deid.check._siemens import is_reduced
from orthanc_research.deid.check._terms import (
    ENUMERATED,
    counts,
    is_class,
    is_code,
    is_colour_profile,
    is_kind,
    is_registered,
    is_valid,
)
from orthanc_research.deid.check._text import TEXTS, decoded, values_of

if TYPE_CHECKING:
    from orthanc_research.deid._profile import Profile
    from orthanc_research.deid._subject import Subject

__all__ = ["Findings", "Judge"]

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_OURS = re.compile(r"2\.25\.[1-9][0-9]{20,38}")
_TIME = re.compile(r"([01]\d|2[0-3])(:?[0-5]\d(:?([0-5]\d|60)(\.\d{1,6})?)?)?")
_AGE = re.compile(r"\d{1,3}[DWMY]")
_ICC = 0x00282000
_OLDEST = 89
_IN_A_YEAR = {"mo": 12, "wk": 52.18, "d": 365.25, "h": 8766}  # UCUM
_VALUE, _SCHEME, _MEANING = 0x00080100, 0x00080102, 0x00080104
_LONG = 4
_MADE = {"patient", "text", "filled", "other", "free", "code"}  # may have a value where the original has none


@dataclass(slots=True)
class Findings:
    """What was found, counted, with the UIDs and day distances met on the way."""

    rows: Counter[tuple[str, str, bool, str]] = field(default_factory=Counter)
    uids: dict[str, str] = field(default_factory=dict)
    offsets: set[int] = field(default_factory=set)

    def say(self, action: str, path: str, passed: bool, reason: str = "", *, note: bool = False) -> None:
        if passed and not note:
            self.rows[action, "", True, ""] += 1  # thousands alike: their number is enough
        else:
            self.rows[action, path, passed, reason] += 1


@dataclass(frozen=True, slots=True)
class Judge:
    """Holds values against promises; `findings` takes what is to be said."""

    profile: Profile
    subject: Subject
    findings: Findings
    promises: Promises
    search: Search

    def value(
        self, path: str, old: Element, new: Element | None, promised: str, charsets: tuple[bytes, bytes], loose: bool
    ) -> None:
        """An original's element that is no sequence; `loose`: it stands where items may be lost."""
        if is_empty(old):
            if new is not None and promised not in _MADE and not is_neutral(_text(new, charsets[1])):
                self.findings.say("text_removed", path, False, "has a value that its original lacks")
            return
        if new is not None and is_empty(new):
            new = None if name_of(old.tag) not in TYPE_1 else new
            if new is not None:
                self.findings.say("text_notnull", path, False, "is empty, and must not be (type 1)")
                return
        elif new is None and name_of(old.tag) in TYPE_1 and promised != "gone" and not loose:
            self.findings.say("tag_retained", path, False, "is gone, and must not be (type 1)")
            return
        getattr(self, "_" + promised)(path, old, new, charsets, loose)

    def _keep(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        if new is None:
            # What somebody is called may be taken out of any text.
            named = old.vr in TEXTS and leaks_in_text(_text(old, charsets[0]), self.search)
            if not loose and not named and is_valid(old, charsets[0]):
                self.findings.say("tag_retained", path, False, "was promised to stay, and is gone")
        elif old.vr == "UI" and not is_kind(old):
            self._map(path, old, new, charsets, loose)
        elif self.is_fit(path, new, charsets[1]):
            right = same(old, new, charsets) or (old.tag == _ICC and is_blanked(old.value, new.value))
            self.findings.say("text_retained", path, right, "was promised to stay, and differs")

    def _may(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        if new is not None and self.is_fit(path, new, charsets[1]):
            self.findings.say("text_retained", path, same(old, new, charsets), "was changed, as nothing promises")

    def _csa(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        right = new is None or is_reduced(old.value, new.value)
        self.findings.say("text_removed", path, right, "holds more than numbers of its original")

    def _number(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        """A private element that is known to be a number, whatever a file calls it."""
        if new is None:
            return
        vr, multiplicity = safe_kind(self.profile, old.tag, old.creator)
        known = replace(new, vr=vr if new.vr == "UN" else new.vr)
        size = WORD.get(known.vr, 0)
        count = len(new.value) // size if size else new.value.count(b"\\") + 1
        right = is_kind(known) and (not multiplicity or counts(multiplicity, count))
        self.findings.say("text_removed", path, right, "is not the number that it is known to be")
        self._may(path, old, new, charsets, loose)

    def _word(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        """To be kept, where anybody can type anything: what is no ordinary word may go, and may not stay."""
        text = _text(old, charsets[0])
        ordinary = is_vocabulary(text, self.profile) and not leaks_in_text(text, self.search)
        if new is None and not loose:
            self.findings.say("tag_retained", path, not ordinary, "was promised to stay, and is gone")
        elif new is not None:
            self.findings.say("text_retained", path, same(old, new, charsets), "was promised to stay, and differs")
            self.findings.say("text_removed", path, ordinary, "was kept with words that are not in the vocabulary")

    def is_fit(self, path: str, new: Element, charset: bytes) -> bool:
        """Whether what stays is of its attribute's kind: no text among numbers, no free text among codes."""
        if not is_kind(new):
            self.findings.say("text_removed", path, False, "is not of the VR or the multiplicity of its attribute")
            return False
        if new.tag == _ICC and not is_colour_profile(new.value):
            self.findings.say("text_removed", path, False, "is no colour profile")
            return False
        if "CS" in (new.vr, vr_of(new.tag)) and not is_code(new, charset, self.profile):
            self.findings.say("text_removed", path, False, "is neither a defined term nor of ordinary words")
            return False
        return True

    def _gone(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        self.findings.say("text_removed", path, new is None, "was promised to go, and has a value")

    def _other(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        left = new is not None and holds(old, new, charsets)
        self.findings.say("text_removed", path, not left, "still says what the original said")

    def _filled(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        if new is None and not loose:
            self.findings.say("text_notnull", path, False, "was promised a dummy value, and has none")
        else:
            self._other(path, old, new, charsets, loose)

    def _clean(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        if new is None or not same(old, new, charsets):
            self._other(path, old, new, charsets, loose)
            if new is not None and old.vr == "CS":
                dummy = is_neutral(_text(new, charsets[1]))
                self.findings.say("text_removed", path, dummy, "is another code, and no dummy")
            return
        ordinary = is_vocabulary(_text(new, charsets[1]), self.profile)
        ordinary = ordinary or (name_of(new.tag) in ENUMERATED and is_code(new, charsets[1], self.profile))
        self.findings.say("text_removed", path, ordinary, "was kept with words that are not in the vocabulary")

    def _text(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        wanted = str(self.profile.replace[name_of(old.tag)]).strip()
        right = ("" if new is None else _text(new, charsets[1])) == wanted
        self.findings.say("text_removed", path, right, "is not the text that the profile gives")

    def _patient(
        self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool
    ) -> None:
        if new is None or _text(new, charsets[1]) != self.subject.patient_id:
            self._other(path, old, new, charsets, loose)

    def _charset(
        self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool
    ) -> None:
        right = new is None or same(old, new, charsets) or new.value.strip() == b"ISO_IR 192"
        self.findings.say("text_retained", path, right, "is neither the original's nor UTF-8")

    def _creator(
        self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool
    ) -> None:
        right = new is None or (same(old, new, charsets) and _text(new, b"") in safe_creators(self.profile))
        self.findings.say("text_removed", path, right, "is a private block that was not allowed")

    def code(self, path: str, old: dict[int, Element], new: dict[int, Element], charsets: tuple[bytes, bytes]) -> None:
        """A coded concept (PS3.3 8.8): of a public scheme it may stay, else its code and its meaning are others."""
        before, after = _concept(old, charsets[0]), _concept(new, charsets[1])
        for tag in (_VALUE, _MEANING):
            if tag in old and old[tag].value.strip(b"\0 ") and not (tag in new and new[tag].value.strip(b"\0 ")):
                self.findings.say("text_notnull", path + name_of(tag), False, "is empty, and must not be (type 1)")
        kept = [one == two and not is_neutral(one) for one, two in zip(before, after, strict=True)]
        if kept[1]:
            self.findings.say("text_removed", path + "CodeValue", is_public(after[0]), "is of no public scheme")
        if kept[2]:
            ordinary = is_meaning(*after, self.profile)
            self.findings.say("text_removed", path + "CodeMeaning", ordinary, "has words outside the vocabulary")

    def _age(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        ages = values_of(old, charsets[0])
        if not all(_AGE.fullmatch(age) for age in ages if age):
            self._other(path, old, new, charsets, loose)
            return
        wanted = ["090Y" if age.endswith("Y") and int(age[:-1]) > _OLDEST else age.zfill(4) for age in ages]
        if new is None:
            self._keep(path, old, new, charsets, loose)
        else:
            right = [age.zfill(4) for age in values_of(new, charsets[1])] == wanted
            self.findings.say("text_retained", path, right, "is not the age, or an age over 89 is not 090Y")

    def measured_age(self, path: str, old: Element, new: Element | None, unit: str, *, loose: bool) -> None:
        """An age in a report, in a unit of UCUM: over 89 years it is 90."""
        number = _IN_A_YEAR.get(unit, 1)
        try:
            wanted = [str(round(90 * number)) if float(_text(old, b"")) / number > _OLDEST else _text(old, b"")]
        except ValueError:
            wanted = []
        found = loose if new is None else values_of(new, b"") == wanted
        self.findings.say("text_retained", path, found, "is not the age, or an age over 89 years is not 90")

    def _time(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        if all(_TIME.fullmatch(each) for value in values_of(old, b"") for each in value.split("-") if each):
            self._keep(path, old, new, charsets, loose)
        else:
            right = new is None or not re.search(r"[^\d:. \\-]", _text(new, b""))
            self.findings.say("text_removed", path, right, "is no time")

    def _free(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        """Judged by itself (`_judge_marks`), whatever stood there before."""

    def _code(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        """Judged together with what stands beside it (`code`)."""

    def _date(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        if self.profile.dates == "keep":
            readable = all(is_date(end, old.vr) for each in values_of(old, b"") for end in ends(each, old.vr) if end)
            (self._keep if readable else self._other)(path, old, new, charsets, loose)
        elif self.profile.dates == "remove":
            self._other(path, old, new, charsets, loose)
        else:
            self._moved(path, old, new, charsets, loose)

    def _moved(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        olds = values_of(old, b"")
        pairs = [ends(each, old.vr) for each in olds]
        if not all(is_date(end, old.vr) for pair in pairs for end in pair if end):
            self._other(path, old, new, charsets, loose)
            return
        if new is None:
            if not loose:
                self.findings.say("date_shifted", path, False, "the date is lost")
            return
        news = values_of(new, b"")
        days = self.subject.days
        wanted = ["-".join("" if not end else moved(end, days) or "?" for end in pair) for pair in pairs]
        right = news == wanted and (days != 0 or self.profile.dates == "anchor")
        self.findings.say("date_shifted", path, right, "is not the original date moved by the patient's days")
        if len(olds) == len(news):
            found = (distance(one, two) for one, two in zip(olds, news, strict=True))
            self.findings.offsets.update(each for each in found if each is not None)

    def _published(
        self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool
    ) -> None:
        """A date that everybody knows: moved, it tells by how many days those of the patient were."""
        self._other(path, old, new, charsets, loose)
        pairs = zip(values_of(old, b""), values_of(new, b""), strict=False) if new is not None else ()
        told = any(distance(one, two) == self.subject.days for one, two in pairs)
        self.findings.say("date_shifted", path, not told, "is moved as the patient's are, and everybody knows it")

    def _class(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        right = new is not None and (same(old, new, charsets) or _OURS.fullmatch(_text(new, b"")) is not None)
        self.findings.say("tag_retained", path, right or loose, "names a class, and differs")
        if new is not None:
            known = all(is_class(uid) for uid in values_of(new, b""))
            self.findings.say("uid_changed", path, known, "is of the standard's root, and not registered there")

    def _scheme(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        if new is None or not is_registered(_text(old, b""), scheme=True):
            self._map(path, old, new, charsets, loose)
        else:
            self.findings.say("uid_consistent", path, same(old, new, charsets), "a UID of the standard was changed")

    def _map(self, path: str, old: Element, new: Element | None, charsets: tuple[bytes, bytes], loose: bool) -> None:
        olds = values_of(old, b"")
        if new is None:
            if not loose and any(_UID.fullmatch(uid) for uid in olds):
                self.findings.say("uid_consistent", path, False, "a reference is lost")
            return
        news = values_of(new, b"")
        if len(olds) != len(news):
            self.findings.say("uid_consistent", path, False, "the number of UIDs differs")
            return
        for one, two in zip(olds, news, strict=True):
            if one:
                self._uid(path, one, two)

    def _uid(self, path: str, old: str, new: str) -> None:
        if is_registered(old):
            self.findings.say("uid_consistent", path, old == new, "a UID of the standard was changed")
            return
        if not new and not _UID.fullmatch(old):
            return
        right = new != old and _OURS.fullmatch(new) is not None
        self.findings.say("uid_changed", path, right, "is the original UID, or none of the pseudonyms'")
        same = self.findings.uids.setdefault(old, new) == new
        self.findings.say("uid_consistent", path, same, "one UID has become two")


def _concept(item: dict[int, Element], charset: bytes) -> tuple[str, str, str]:
    """Scheme, code and meaning."""
    scheme, code, meaning = (_text(item[tag], charset) if tag in item else "" for tag in (_SCHEME, _VALUE, _MEANING))
    return scheme, code, meaning


def _text(element: Element, charset: bytes) -> str:
    return decoded(element.value, element.vr, charset).strip("\0 ")
