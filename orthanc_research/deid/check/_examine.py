"""One output held against its original: what the standard and the profile promise, and nothing of the engine.

The two files are read and walked side by side, element by element. What is the same is told by the bytes, so most of
the work is a comparison; what differs must be what was promised. Sources: PS3.15 E.1 to E.3, PS3.10 7.1.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orthanc_research.deid.check._compare import is_empty
from orthanc_research.deid.check._examined import NOBODY, Check, Examined
from orthanc_research.deid.check._judge import Findings, Judge
from orthanc_research.deid.check._known import Known
from orthanc_research.deid.check._leaks import Search, leaks_in, leaks_in_bytes, search_for
from orthanc_research.deid.check._marks import CONCEPT, is_ours, judge_file, judge_marks, plain
from orthanc_research.deid.check._pixeldata import judge_overlays, judge_pixels
from orthanc_research.deid.check._promise import promises_of, safe_creators
from orthanc_research.deid.check._reading import Element, File, Malformed, name_of, read, read_leniently, vr_of
from orthanc_research.deid.check._terms import is_nobodys
from orthanc_research.deid.check._text import TEXTS, charset_of, decoded
from orthanc_research.errors import DeidError

if TYPE_CHECKING:
    from orthanc_research.deid._profile import Profile
    from orthanc_research.deid._subject import Subject

__all__ = ["examine"]

Elements = dict[int, Element]
_PIXELS = {0x7FE00010, 0x7FE00008, 0x7FE00009, 0x7FE00001, 0x7FE00002}
_PATIENT_ID, _ISSUER, _SOP_UID, _SOP_CLASS = 0x00100020, 0x00100021, 0x00080018, 0x00080016
_STUDY_UID = 0x0020000D
_CONCEPT_NAME, _NUMERIC_VALUE, _UNITS, _AGE = 0x0040A043, 0x0040A30A, 0x004008EA, "121033"
_MAY_BE_ADDED = {0x00120062, 0x00120063, 0x00120064, 0x00280303, _PATIENT_ID, 0x00100010, 0x00080005}
_INVENTORY = frozenset({"PN", "DA", "DT", "LO", "SH", "ST", "LT", "UT", "UC"})
_LONGEST = 200  # characters of a value in the inventory
_UID_WITHIN = re.compile(r"\d+(?:\.\d+){4,}")


def examine(original: bytes, output: bytes, *, known: Known, profile: Profile, subject: Subject) -> Examined:
    """Whether one output keeps what was promised (PS3.15 E.1 to E.3), and gives away nothing known of the patient.

    Any original and output; pure. `known` is of all of the patient's originals (`Known.of`, joined with `|`). An output
    that cannot be read to its last byte fails. Raises `DeidError` where the original cannot be read.
    """
    try:
        old = read_leniently(original)
    except Malformed as error:
        raise DeidError(f"The original cannot be read, so nothing can be held against it: {error}.") from None
    findings = Findings()
    residual: Counter[tuple[str, str, str]] = Counter()
    try:
        new = read(output)
    except Malformed as error:
        findings.say("tag_retained", "", False, f"the output cannot be read: {error}")
        new = File()
    else:
        search = search_for(known, _not_searched(profile))
        judge = Judge(profile, subject, findings, promises_of(profile), search)
        _walk(judge, old.elements, new.elements, "", (b"", b""), loose=False)
        judge_file(findings, old, new)
        judge_marks(findings, new.elements, profile, subject)
        _judge_images(findings, old, new, profile)
        _judge_leaks(findings, new, search, profile)
        residual = Counter(_residual(new.elements))
    checks = tuple(Check(*row, count=count) for row, count in findings.rows.items())
    return Examined(
        passed=all(check.passed for check in checks),
        checks=checks,
        residual=residual,
        uids=findings.uids,
        sop_instance_uid=plain(new.elements, _SOP_UID),
        patient=_patient(old.elements),
        patient_id=plain(new.elements, _PATIENT_ID),
        days=subject.days,
        offsets=frozenset(findings.offsets),
    )


def _hash(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _patient(old: Elements) -> str:
    """Who an original is of. Without an ID it may be anybody, but a study is of one patient."""
    if plain(old, _PATIENT_ID):
        return _hash(plain(old, _ISSUER), plain(old, _PATIENT_ID))
    return NOBODY + _hash(plain(old, _STUDY_UID))


def _not_searched(profile: Profile) -> frozenset[str]:
    """The kinds of known values that the profile keeps."""
    kept = {"places": "retain_institution_identity" in profile.options, "dates": profile.dates == "keep"}
    return frozenset(kind for kind, is_kept in kept.items() if is_kept)


def _walk(
    judge: Judge,
    old: Elements,
    new: Elements,
    path: str,
    above: tuple[bytes, bytes],
    *,
    loose: bool,
    dummies: bool = False,
    about: str = "",
) -> None:
    """Two data sets or items side by side; `dummies`: the item may say that what was there is removed.

    `about` is the code of what is measured there.
    """
    charsets = charset_of(old, above[0]), charset_of(new, above[1])
    about = _code(old, _CONCEPT_NAME) or about
    for tag, before in old.items():
        if tag in _PIXELS:
            continue
        here = path + name_of(tag, before.creator)
        expected = vr_of(tag)
        promised = judge.promises[tag, before.vr if expected == "UN" else expected, before.creator]
        after = new.get(tag)
        if before.items is not None:
            _sequence(judge, here, before, after, promised, charsets, loose, about)
        elif tag == _NUMERIC_VALUE and about == _AGE and not is_empty(before):
            judge.measured_age(here, before, after, _code(old, _UNITS), loose=loose)
        elif promised == "keep" and after is not None and after.value == before.value and not is_empty(before):
            if judge.is_fit(here, after, charsets[1]):
                judge.findings.say("text_retained", here, True)
        elif promised == "gone" and after is None and not is_empty(before):
            judge.findings.say("text_removed", here, True)
        elif after is not None and after.items is not None:
            judge.findings.say("tag_retained", here, False, "has become a sequence")
        else:
            judge.value(here, before, after, promised, charsets, loose)
    if 0x00080104 in old or 0x00080104 in new:
        judge.code(path, old, new, charsets)
    dummy = dummies and is_nobodys(*(plain(new, tag) for tag in CONCEPT))
    for tag, after in new.items():
        if tag not in old and not (dummy and tag in CONCEPT):
            _added(judge, path, after)


def _added(judge: Judge, path: str, new: Element) -> None:
    here = path + name_of(new.tag, new.creator)
    empty = not new.items if new.items is not None else is_empty(new)
    may = (not path and new.tag in _MAY_BE_ADDED) or name_of(new.tag) in judge.profile.replace
    if not empty and not may:
        judge.findings.say("text_removed", here, False, "is there, and was not in the original")


def _sequence(
    judge: Judge,
    path: str,
    old: Element,
    new: Element | None,
    promised: str,
    charsets: tuple[bytes, bytes],
    loose: bool,
    about: str,
) -> None:
    if not old.items:
        if new is not None and new.items:
            judge.findings.say("text_removed", path, False, "has items that its original lacks")
        return
    if promised == "gone":
        judge.findings.say("text_removed", path, new is None or not new.items, "was promised to go, and has items")
    if new is None or not new.items:
        if promised not in ("gone", "loose", "dummy", "may", "other", "free") and not loose:
            judge.findings.say("tag_retained", path, False, "was promised to stay, and is gone")
        return
    loose = loose or promised in ("loose", "dummy", "may", "gone", "free")
    if promised == "free":
        return
    if len(new.items) != len(old.items) and not loose:
        judge.findings.say("tag_retained", path, False, "has another number of items")
    about = about if path.endswith("MeasuredValueSequence") else ""
    for before, after in _aligned(old.items, new.items):
        _walk(judge, before, after, path + ".", charsets, loose=loose, dummies=promised == "dummy", about=about)


def _code(elements: Elements, tag: int) -> str:
    """The code in a coded sequence, "" where there is none."""
    element = elements.get(tag)
    return plain(element.items[0], CONCEPT[1]) if element is not None and element.items else ""


def _aligned(old: list[Elements], new: list[Elements]) -> Iterator[tuple[Elements, Elements]]:
    """Items that belong together; where some were lost, each goes with the next original that has all its elements."""
    if len(old) == len(new):
        yield from zip(old, new, strict=True)
        return
    at = 0
    for after in new:
        fits = (i for i in range(at, len(old)) if all(_fits(old[i].get(tag), each) for tag, each in after.items()))
        index = next(fits, None)
        at = at if index is None else index + 1
        yield ({} if index is None else old[index]), after


def _fits(old: Element | None, new: Element) -> bool:
    return old is not None and (new.vr not in ("CS", "DS", "IS", "US", "FD", "FL") or old.value == new.value)


def _judge_images(findings: Findings, old: File, new: File, profile: Profile) -> None:
    hidden = "clean_pixel_data" in profile.options
    _images(findings, old.elements, new.elements, "", old.syntax, profile, hidden)


def _images(
    findings: Findings, old: Elements, new: Elements, path: str, syntax: str, profile: Profile, hidden: bool
) -> None:
    """The pixels of a data set, and of icons and the like within it that are still there."""
    for action, passed, reason in judge_pixels(old, new, syntax, hidden=hidden):
        findings.say(action, path + "PixelData", passed, reason)
    for action, passed, reason in judge_overlays(new, allowed="clean_graphics" in profile.options):
        findings.say(action, path + "OverlayData", passed, reason)
    for tag, after in new.items():
        before = old.get(tag)
        if after.items and before is not None and before.items:
            for one, two in _aligned(before.items, after.items):
                _images(findings, one, two, f"{path}{name_of(tag, after.creator)}.", syntax, profile, hidden)


def _judge_leaks(findings: Findings, new: File, search: Search, profile: Profile) -> None:
    promises = promises_of(profile)
    for part, data in (("preamble", new.preamble), ("tail", new.tail)):
        for kind in leaks_in_bytes(data, search):
            findings.say("text_removed", part, False, f"holds {kind}")
    for path, element, charset in (*_leaves(new.meta, "", b""), *_leaves(new.elements, "", b"")):
        for leak in leaks_in(path, element, charset, search) if not is_ours(path, element, profile) else ():
            kept = name_of(element.tag) in profile.keep or (
                promises[element.tag, element.vr, ""] == "creator"
                and decoded(element.value, "LO", b"").strip("\0 ") in safe_creators(profile)
            )
            findings.say("text_removed", path, leak.allowed or kept, leak.reason, note=True)
        if "retain_uids" not in profile.options and _has_uid(element, charset, findings.uids):
            findings.say("uid_changed", path, False, "a text holds an original UID")


def _has_uid(element: Element, charset: bytes, uids: dict[str, str]) -> bool:
    if element.vr == "UI" or element.tag in _PIXELS or len(element.value) < 10 or b"." not in element.value:
        return False
    if element.vr in ("DS", "IS", "TM", "DT", "FD", "FL", "OF", "OD"):
        return False
    if element.vr in TEXTS:
        text = decoded(element.value, element.vr, charset)
    else:
        text = element.value.replace(b"\0", b"").decode("latin-1")
    return any(found in uids for found in _UID_WITHIN.findall(text))


def _leaves(elements: Elements, path: str, above: bytes) -> Iterator[tuple[str, Element, bytes]]:
    """(path, element, character set) of everything that is no sequence."""
    charset = charset_of(elements, above)
    for element in elements.values():
        here = path + name_of(element.tag, element.creator)
        if element.items is None:
            yield here, element, charset
        else:
            for item in element.items:
                yield from _leaves(item, here + ".", charset)


def _residual(elements: Elements) -> Iterator[tuple[str, str, str]]:
    """Every text that an output still has, for a person to read through."""
    for path, element, charset in _leaves(elements, "", b""):
        private = element.tag >> 16 & 1
        if not element.value or not (private or element.vr in _INVENTORY):
            continue
        if element.vr in TEXTS:
            text = decoded(element.value, element.vr, charset)
        else:
            text = element.value[:_LONGEST].decode("latin-1") if element.vr == "UN" else f"{len(element.value)} bytes"
        yield path, element.vr, text[:_LONGEST]
