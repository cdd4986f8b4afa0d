"""What a de-identification did to the canary cohort: the ten actions of the MIDI-B benchmark, and harder truths.

The ten are written from their description: an element is there, holds something, holds what it held, does not hold
what it must not; a date is not the old one; a UID is not the old one and the same everywhere; a patient has one ID;
pixels are what they were; what must not be seen is not to be seen. An element that is gone has no text, date or UID to
find fault with. The harder ones are ours: see `HARDER`. Nothing here knows how anything was de-identified.
"""

from __future__ import annotations

import base64
import io
import re
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from deid_cohort import File
from deid_people import PEOPLE, UID_ROOT, plain
from deid_planting import CHARACTERISTICS, STRUCTURE
from pydicom import DataElement, Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

__all__ = ["ACTIONS", "HARDER", "Check", "Score", "score"]

ACTIONS = (
    "tag_retained",
    "text_notnull",
    "text_retained",
    "text_removed",
    "date_shifted",
    "uid_changed",
    "uid_consistent",
    "patid_consistent",
    "pixels_retained",
    "pixels_hidden",
)
HARDER = (
    "own_values",  # nothing of the person's own in the bytes, in any encoding, and no short name as a word
    "references",  # what pointed at an object of the cohort points at what became of it
    "intervals",  # dates are there, and all of a person moved by the same whole number of days, times untouched
    "one_pseudonym",  # a person has one PatientID and one name, in both runs, and no two share one
    "bijective",  # no two UIDs became one
    "suv_facts",  # PET keeps the times, the dose and the weight that SUV needs
    "kept_texts",  # no text that was there stands outside the attributes whose text may stay
)


def _keywords(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MUST_BE = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Modality",
    "SOPClassUID",
    "SOPInstanceUID",
    "InstanceNumber",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "FrameOfReferenceUID",
    "StructureSetLabel",
    "StructureSetROISequence",
    "SegmentSequence",
    "ContentSequence",
    "PerFrameFunctionalGroupsSequence",
    "RadiopharmaceuticalInformationSequence",
]
_NOT_EMPTY = [
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "StudyDate",
    "SeriesDate",
    "ContentDate",
    "AcquisitionDateTime",
    "StructureSetLabel",
    "StructureSetROISequence",
    "SegmentSequence",
    "ContentSequence",
    "PerFrameFunctionalGroupsSequence",
    "RadiopharmaceuticalInformationSequence",
    "ROIGenerationAlgorithm",
    "SegmentLabel",
    "ContentLabel",
    "Units",
    "SeriesType",
]
# What research reads; none of it says who somebody is. Wherever a file has them, at any depth.
_RETAINED = [
    "Modality",
    "SOPClassUID",
    "ImageType",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "SliceThickness",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "WindowCenter",
    "WindowWidth",
    "KVP",
    "ConvolutionKernel",
    "BitsStored",
    "PatientPosition",
    "InstanceNumber",
    "SeriesNumber",
    "PhotometricInterpretation",
    "MagneticFieldStrength",
    "Units",
    "DecayCorrection",
    "CorrectedImage",
    "FrameReferenceTime",
    "ActualFrameDuration",
    "RadionuclideTotalDose",
    "RadionuclideHalfLife",
    "PatientSex",
    "PatientWeight",
    "PatientSize",
    "Manufacturer",
    "SegmentationType",
    "ContourData",
    "ContourGeometricType",
    "ROINumber",
    "ROIDisplayColor",
    "SegmentNumber",
    "SegmentAlgorithmType",
    "NumericValue",
    "StudyTime",
    "SeriesTime",
    "AcquisitionTime",
]
_SHIFTED = [
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "ContentDate",
    "AcquisitionDateTime",
    "FrameAcquisitionDateTime",
    "RadiopharmaceuticalStartDateTime",
    "StructureSetDate",
]
_SUV = [
    "SeriesTime",
    "AcquisitionTime",
    "PatientWeight",
    "Units",
    "DecayCorrection",
    "RadionuclideTotalDose",
    "RadionuclideHalfLife",
    "RadiopharmaceuticalStartTime",
    "FrameReferenceTime",
]
_LOOKED_AT = frozenset(("LO", "SH", "ST", "LT", "UT", "UC", "UR", "CS", "AE", "PN", "UN", "OB"))
Path = tuple[int, ...]
_TEXTS = frozenset(("LO", "SH", "ST", "LT", "UT", "UC", "UR", "CS", "AE", "PN", "AS"))
_ICON = 0x00880200
_CODES = frozenset(("CodeValue", "CodingSchemeDesignator", "CodeMeaning"))  # a house's own codes are planted texts
# Of groups of codes: everybody knows these dates, so that moved ones tell by how many days.
_PUBLISHED = frozenset(("ContextGroupVersion", "ContextGroupLocalVersion"))
_REFERRING = frozenset(("ct", "rtstruct", "seg", "sr", "pet", "enhanced"))


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was asked."""

    action: str
    file: str
    where: str
    passed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """All that was asked of all files; `refused` are those that have no output."""

    checks: tuple[Check, ...]
    refused: tuple[str, ...]

    def of(self, action: str) -> tuple[int, int]:
        """(passed, asked)."""
        checks = [check for check in self.checks if check.action == action]
        return sum(check.passed for check in checks), len(checks)

    def failures(self, *actions: str) -> list[Check]:
        return [check for check in self.checks if not check.passed and (not actions or check.action in actions)]


@dataclass(frozen=True, slots=True)
class _Leaf:
    """One element: `full` says that a sequence has items, or anything else a value."""

    tag: int
    vr: str
    keyword: str
    text: str
    full: bool


Leaves = dict[Path, _Leaf]


@dataclass(frozen=True)
class _Pair:
    file: File
    before: Dataset
    after: Dataset
    old: Leaves
    new: Leaves
    content: bytes  # what is looked through: all that the file holds, inflated where it is deflated

    def check(self, action: str, where: str, passed: bool, reason: str = "") -> Check:
        return Check(action, self.file.name, where, bool(passed), "" if passed else reason)

    def now(self, path: Path) -> str:
        """The text that stands at this place in the output, "" for none."""
        leaf = self.new.get(path)
        return leaf.text if leaf else ""


def score(pairs: Iterable[tuple[File, bytes | None]], technical: Collection[str] = ()) -> Score:
    """Hold each output against its original. `technical` are the attributes whose text may stay."""
    given = list(pairs)
    refused = tuple(file.name for file, content in given if content is None)
    read = [_pair(file, content) for file, content in given if content is not None]
    uids, patients = _uids(read), _patients(read)
    checks: list[Check] = []
    for pair in read:
        checks += [*_tags(pair), *_texts(pair), *_pixels(pair), *_own(pair), *_suv(pair)]
        checks += [*_uid_checks(pair, uids), *_kept(pair, frozenset(technical))]
        now = str(pair.after.get("PatientID", ""))
        consistent = bool(now) and patients[pair.file.person.number] == {now} and now != pair.file.person.id
        checks.append(pair.check("patid_consistent", "PatientID", consistent, "not the one of this patient"))
    return Score((*checks, *_intervals(read), *_pseudonyms(read), *_bijective(uids)), refused)


def _pair(file: File, content: bytes) -> _Pair:
    after = dcmread(io.BytesIO(content))
    if after.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        start = 144 + int(after.file_meta.FileMetaInformationGroupLength)
        content += zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[start:])
    before, old = _original(file.content)
    return _Pair(file, before, after, old, _leaves(after), content)


@cache
def _original(content: bytes) -> tuple[Dataset, Leaves]:
    before = dcmread(io.BytesIO(content))
    return before, _leaves(before)


def _leaves(dataset: Dataset) -> Leaves:
    """Elements by their place, (tag, item, tag, item, …, tag), file meta among them."""
    return {path: leaf for part in (dataset.file_meta, dataset) for path, leaf in _walk(part, ())}


def _walk(dataset: Dataset, path: Path) -> Iterator[tuple[Path, _Leaf]]:
    for element in dataset:
        here = (*path, int(element.tag))
        items = element.value if element.VR == "SQ" else []
        text = "" if element.VR == "SQ" else _text(element)
        yield here, _Leaf(here[-1], element.VR, element.keyword or str(element.tag), text, bool(text or len(items)))
        for number, item in enumerate(items):
            yield from _walk(item, (*here, number))


def _text(element: DataElement) -> str:
    if element.tag == 0x7FE00010 or element.is_empty:
        return ""
    if isinstance(element.value, bytes):
        return element.value.decode("utf-8", "replace")
    return "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value)


def _name(path: Path) -> str:
    return "/".join(f"{tag:08X}" for tag in path[::2])


def _public(path: Path) -> bool:
    return not any(tag >> 16 & 1 for tag in path[::2])


# The ten.


def _tags(pair: _Pair) -> Iterator[Check]:
    for path, leaf in pair.old.items():
        keyword, now = leaf.keyword, pair.new.get(path)
        if len(path) == 1 and keyword in _MUST_BE:
            yield pair.check("tag_retained", keyword, now is not None, "gone")
        asked = len(path) == 1 or pair.file.kind in ("seg", "rtstruct")
        if keyword in _NOT_EMPTY and asked and leaf.full and pair.file.kind != "typed":
            yield pair.check("text_notnull", keyword, now is not None and now.full, "empty or gone")
        drawn = path[0] == _ICON or pair.file.kind in ("everything", "sequences", "private", "typed")
        if keyword in _RETAINED and leaf.text and not drawn:
            yield pair.check("text_retained", keyword, pair.now(path) == leaf.text, "not what it was")


def _texts(pair: _Pair) -> Iterator[Check]:
    words = set(re.findall(rb"QX[A-Z]{6}", pair.content))
    for planted in pair.file.planted:
        if planted.kind == "text" and not planted.technical:
            left = planted.value.encode() in words
            yield pair.check("text_removed", planted.where, not left, "still there")
        elif planted.kind == "own":
            left = planted.value.encode() in pair.content
            yield pair.check("text_removed", planted.where, not left, "still there")
        elif planted.kind == "date":
            yield pair.check("date_shifted", planted.where, planted.value not in pair.now(planted.path), "the old date")
    for keyword in ("StudyDate", "SeriesDate", "ContentDate", "PatientBirthDate"):
        path = (int(Tag(keyword)),)
        yield pair.check("date_shifted", keyword, pair.old[path].text not in pair.now(path), "the old date")


def _uids(pairs: Sequence[_Pair]) -> dict[str, set[str]]:
    """UID → what became of it, everywhere."""
    became: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        for path, old in _old_uids(pair):
            if pair.now(path):
                became[old].add(pair.now(path))
    return became


def _old_uids(pair: _Pair) -> Iterator[tuple[Path, str]]:
    for path, leaf in pair.old.items():
        if leaf.vr == "UI" and leaf.text.startswith(UID_ROOT) and path[0] >> 16 != 2 and _public(path):
            yield path, leaf.text


def _uid_checks(pair: _Pair, became: dict[str, set[str]]) -> Iterator[Check]:
    first = [(int(Tag(each)),) for each in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    for path, old in _old_uids(pair):
        now, where = pair.now(path), _name(path)
        yield pair.check("uid_changed", where, now != old, "the old UID")
        consistent = len(became[old]) == 1 if now else path not in first
        yield pair.check("uid_consistent", where, consistent, "not the same everywhere, or gone")
        # In the files that are about references, what points at an object of the cohort must point at it still.
        if pair.file.kind in _REFERRING and old in _objects():
            fine = bool(now) and now != old and became[old] == {now}
            yield pair.check("references", where, fine, "points at nothing")
    meta = str(pair.after.file_meta.get("MediaStorageSOPInstanceUID", ""))
    yield pair.check(
        "uid_consistent", "MediaStorageSOPInstanceUID", meta == pair.after.SOPInstanceUID, "not the file's"
    )


@cache
def _objects() -> frozenset[str]:
    """The UIDs of the cohort that objects point at."""
    from deid_objects import ct_series, ct_uid, frame_of_reference, study_uid

    found = set()
    for person in PEOPLE:
        for study in (1, 2):
            found |= {ct_uid(person, study, number) for number in (1, 2, 3)}
            found |= {ct_series(person, study), frame_of_reference(person, study), study_uid(person, study)}
    return frozenset(found)


def _pixels(pair: _Pair) -> Iterator[Check]:
    before, after = pair.before, pair.after
    if "PixelData" not in before:
        return
    same = False
    if "PixelData" in after and after.get("Rows") == before.Rows:
        a, b = _stored(before), _stored(after)
        same = a.shape == b.shape and bool((a == b).all())
    yield pair.check("pixels_retained", "PixelData", same, "other stored values")
    for element in before:
        if element.tag.group & 0xFF01 == 0x6000 and element.tag.element == 0x3000:
            yield pair.check("pixels_hidden", f"overlay {element.tag.group:04X}", element.tag not in after, "is drawn")
    if pair.file.kind == "highbits":
        words = np.frombuffer(after.get("PixelData", b""), dtype="<u2")
        yield pair.check("pixels_hidden", "bits above BitsStored", not (words >> 12).any(), "not cleared")
        icon = "IconImageSequence" in after and pair.file.person.id.encode() in bytes(
            after.IconImageSequence[0].get("PixelData", b"")
        )
        yield pair.check("pixels_hidden", "icon", not icon, "is there")
    if pair.file.kind in ("jpeg", "j2k", "jpegls", "frames", "tail") and "PixelData" in after:
        words_ = [p.value.encode() for p in pair.file.planted if p.path == (0x7FE00010,)]
        left = any(word in bytes(after.PixelData) for word in words_)
        yield pair.check("pixels_hidden", "comments in the stream", not left, "are there")


def _stored(dataset: Dataset) -> npt.NDArray[Any]:
    """Stored values without what lies above BitsStored."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax == DeflatedExplicitVRLittleEndian:
        if dataset.BitsAllocated == 1:
            return np.frombuffer(dataset.PixelData, dtype=np.uint8)
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        kind = "u1" if dataset.BitsAllocated == 8 else f"{order}u2"
        low = dataset.HighBit + 1 - dataset.BitsStored
        count = dataset.Rows * dataset.Columns * int(dataset.get("NumberOfFrames", 1) or 1)
        return np.asarray(np.frombuffer(dataset.PixelData, dtype=kind)[:count] >> low & ((1 << dataset.BitsStored) - 1))
    assert next(generate_frames(dataset.PixelData, number_of_frames=1))
    array: npt.NDArray[Any] = dataset.pixel_array
    return array


# The harder ones.

_ENCODINGS = """utf-8 latin-1 cp1250 iso8859-2 utf-16-le utf-16-be iso2022_jp shift_jis euc_jp gb18030"""


@cache
def _needles() -> tuple[tuple[str, bytes], ...]:
    """What must not be in a file, in lower case: (what kind of thing, its bytes)."""
    found: dict[bytes, str] = {}
    for person in PEOPLE:
        for text in person.texts():
            for form in {text, text.upper(), text.lower()}:
                for encoding in _ENCODINGS.split():
                    try:
                        data = form.encode(encoding)
                    except UnicodeEncodeError:
                        continue
                    found[data.lower()] = f"{encoding} of one of {len(text)} characters"
            data = text.encode()
            found[data.hex().encode()] = "hexadecimal"
            if len(data) > 12:
                for skip in range(3):
                    whole = base64.b64encode(b"\0" * skip + data)
                    found[whole[4 if skip else 0 : len(whole) - 4].lower()] = "base64"

    return tuple((why, data) for data, why in found.items() if len(data) > 3)


@cache
def _words() -> frozenset[str]:
    return frozenset(plain(token).casefold() for person in PEOPLE for token in person.tokens())


def _own(pair: _Pair) -> Iterator[Check]:
    content = pair.content.lower()
    found = {why for why, data in _needles() if data in content}
    if UID_ROOT.encode() in content:
        found.add("a UID of the originals")
    for path, leaf in pair.new.items():
        if leaf.vr in _LOOKED_AT and set(re.split(r"[\W_]+", plain(leaf.text).casefold())) & _words():
            found.add(f"a short name at {_name(path)}")
    yield pair.check("own_values", "the file", not found, ", ".join(sorted(found)[:8]))


def _dates(pair: _Pair) -> Iterator[tuple[Path, _Leaf]]:
    for path, leaf in pair.old.items():
        if pair.file.kind == "typed":
            continue
        whole = leaf.vr in ("DA", "DT") and re.match(r"\d{8}", leaf.text) and "\\" not in leaf.text
        if whole and leaf.keyword != "PatientBirthDate" and _public(path):
            yield path, leaf


def _days(old: str, new: str) -> int | None:
    """Whole days from old to new; None when it is no date, or the time was touched."""
    if old[8:].rstrip("0") != new[8:].rstrip("0"):
        return None
    try:
        return (_date(new) - _date(old)).days
    except ValueError:
        return None


def _date(value: str) -> date:
    return date(int(value[:4]), int(value[4:6]), int(value[6:8]))


def _intervals(pairs: Sequence[_Pair]) -> Iterator[Check]:
    moved: dict[int, list[tuple[_Pair, str, int | None]]] = defaultdict(list)
    for pair in pairs:
        for path, leaf in _dates(pair):
            if leaf.keyword in _PUBLISHED:
                continue
            if pair.now(path):
                moved[pair.file.person.number].append((pair, leaf.keyword, _days(leaf.text, pair.now(path))))
            elif leaf.keyword in _SHIFTED and pair.file.kind not in ("everything", "sequences"):
                yield pair.check("intervals", leaf.keyword, False, "no date")
    for each in moved.values():
        days = [days for _, _, days in each]
        usual = max(set(days), key=days.count)
        for pair, where, found in each:
            yield pair.check("intervals", where, found == usual and bool(found), "another number of days, or none")


def _patients(pairs: Sequence[_Pair]) -> dict[int, set[str]]:
    became: dict[int, set[str]] = defaultdict(set)
    for pair in pairs:
        became[pair.file.person.number].add(str(pair.after.get("PatientID", "")))
    return became


def _pseudonyms(pairs: Sequence[_Pair]) -> Iterator[Check]:
    for person in PEOPLE:
        for keyword in ("PatientID", "PatientName"):
            theirs = {str(pair.after.get(keyword, "")) for pair in pairs if pair.file.person == person}
            others = {str(pair.after.get(keyword, "")) for pair in pairs if pair.file.person != person}
            fine = len(theirs) == 1 and not theirs & {person.id, person.name}
            fine = fine and (keyword == "PatientName" or not theirs & others)
            yield Check("one_pseudonym", f"patient {person.number}", keyword, fine, f"{len(theirs)} of them, or shared")


def _bijective(became: dict[str, set[str]]) -> Iterator[Check]:
    back: dict[str, set[str]] = defaultdict(set)
    for old, each in became.items():
        for new in each:
            back[new].add(old)
    for new, olds in back.items():
        yield Check("bijective", "", new, len(olds) == 1, f"{len(olds)} UIDs became it")


def _suv(pair: _Pair) -> Iterator[Check]:
    if pair.file.kind == "pet":
        for path, leaf in pair.old.items():
            if leaf.keyword in _SUV:
                yield pair.check("suv_facts", leaf.keyword, pair.now(path) == leaf.text, "not what it was")


def _kept(pair: _Pair, technical: frozenset[str]) -> Iterator[Check]:
    """Of texts that are in both: those outside the attributes whose text may stay."""
    may = technical | _CODES | STRUCTURE | set(CHARACTERISTICS) | set(_RETAINED)
    for path, leaf in pair.new.items():
        creator = path[-1] >> 16 & 1 and 0x10 <= path[-1] & 0xFFFF <= 0xFF  # the name of a private block
        if leaf.vr in _TEXTS | {"UN"} and leaf.keyword not in may and leaf.text and not creator:
            before = pair.old.get(path)
            if before is not None and before.text == leaf.text:
                yield pair.check("kept_texts", leaf.keyword, False, "stands as it was")
