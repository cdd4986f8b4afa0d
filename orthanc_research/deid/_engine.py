"""One file in, one file out: the rules of a profile on everything that a DICOM file holds."""

from __future__ import annotations

import struct
import zlib

from pydicom.dataelem import RawDataElement

from orthanc_research.errors import DeidError

from . import _encode as encode
from ._key import Key
from ._pixels import Facts, compressed, native
from ._profile import CODES, Profile
from ._read import Elements, File, read
from ._subject import Deidentified, Subject
from ._uids import is_class
from ._walk import Walk

__all__ = ["deidentify"]

_CLASS, _INSTANCE, _STUDY, _SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_PIXELS, _OFFSETS, _LENGTHS = 0x7FE00010, 0x7FE00001, 0x7FE00002
_REAL = (0x7FE00008, 0x7FE00009)  # FloatPixelData, DoubleFloatPixelData
_DOCUMENT = 0x00420011
_DIRECTORY = "1.2.840.10008.1.3.10"
_RLE = "1.2.840.10008.1.2.5"
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_DOCUMENTS = "1.2.840.10008.5.1.4.1.1.104."
_VOICES = ("1.2.840.10008.5.1.4.1.1.9.4.1", "1.2.840.10008.5.1.4.1.1.9.4.2")
_UNDEFINED = 0xFFFFFFFF
# Our own, made from a random UUID (PS3.5 Annex B.2).
_IMPLEMENTATION = b"2.25.172046894128716236213938479164251373057"
_VERSION = b"ORTHANC_RESEARCH"
_METHOD = "orthanc_research, PS3.15 Table E.1-1, profile"


def deidentify(content: bytes, profile: Profile, key: Key, subject: Subject) -> Deidentified:
    """A DICOM file de-identified: transfer syntax, byte order and decoded stored values stay (PS3.15 Annex E).

    `DeidError`, one sentence, for what cannot be done safely: no DICOM, damaged or nested too deeply, a DICOMDIR, an
    encapsulated document. Pure: the same arguments give the same bytes.
    """
    file = read(content)
    _refuse(file.elements, profile)
    walk = Walk(profile, key, subject, file.syntax)
    parts = walk.parts(file.elements)
    parts.update(_pixel_parts(file, walk, profile))
    parts.update(_stamps(file, walk, profile))
    if not {_CLASS, _INSTANCE, _STUDY, _SERIES} <= set(parts):
        raise DeidError("A UID of this instance is written with a VR that it cannot have.")
    body = [parts[tag] for tag in sorted(parts)]
    if file.syntax.deflated:
        body = [_deflated(b"".join(body))]
    uids = {tag: _uid(parts[tag], file) for tag in (_CLASS, _INSTANCE, _STUDY, _SERIES)}
    head = encode.meta(
        (
            (0x00020001, "OB", b"\0\1"),
            (0x00020002, "UI", uids[_CLASS].encode()),
            (0x00020003, "UI", uids[_INSTANCE].encode()),
            (0x00020010, "UI", file.syntax.uid.encode()),
            (0x00020012, "UI", _IMPLEMENTATION),
            (0x00020013, "SH", _VERSION),
        )
    )
    return Deidentified(
        content=b"".join((head, *body)),  # once: pixel data are large
        sop_instance_uid=uids[_INSTANCE],
        series_instance_uid=uids[_SERIES],
        study_instance_uid=uids[_STUDY],
        sop_class_uid=uids[_CLASS],
        transfer_syntax_uid=file.syntax.uid,
        changes=dict(walk.actions.changes),
        notes=tuple(walk.actions.notes),
    )


def _deflated(content: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = deflater.compress(content) + deflater.flush()
    return body + b"\0" * (len(body) % 2)


def _refuse(elements: Elements, profile: Profile) -> None:
    sop_class = _text(elements, _CLASS)
    if sop_class == _DIRECTORY or 0x00041220 in elements:
        raise DeidError("This is a DICOMDIR: de-identify the files that it lists, and write a new one.")
    for tag, name in ((_CLASS, "SOPClassUID"), (_INSTANCE, "SOPInstanceUID")):
        if not _text(elements, tag):
            raise DeidError(f"This file has no {name}, so it is no instance that could be stored.")
    if not is_class(sop_class):
        raise DeidError("Its SOP class is under DICOM's root and not registered there, so it may hold anything.")
    for tag, name in ((_STUDY, "StudyInstanceUID"), (_SERIES, "SeriesInstanceUID")):
        if not _text(elements, tag):
            raise DeidError(f"This file has no {name}, so it belongs to no study.")
    if sop_class in _VOICES:
        raise DeidError("This instance is a recording of a voice, which cannot be cleaned.")
    if (_DOCUMENT in elements or sop_class.startswith(_DOCUMENTS)) and "EncapsulatedDocument" not in profile.remove:
        raise DeidError("This instance holds a document (PDF, CDA, STL…), and what is written in it cannot be cleaned.")


def _pixel_parts(file: File, walk: Walk, profile: Profile) -> dict[int, bytes]:
    element = file.elements.get(_PIXELS)
    for tag in _REAL:
        value = _bytes(file.elements, tag)
        if value and 0 < _facts(file).size(len(value)) < len(value):
            raise DeidError("There are bytes behind the last of its float pixels, which may hold anything.")
    if element is None or "PixelData" in profile.remove:
        return {}
    if not isinstance(element, RawDataElement):
        raise DeidError("Its pixel data are no bytes.")
    value, facts = element.value or b"", _facts(file)
    if element.length == _UNDEFINED and _hides_overlay(file.elements):
        raise DeidError("It has an overlay in the spare bits of compressed pixels, where nothing can be cleared.")
    if element.length != _UNDEFINED:
        if file.syntax.uid not in _NATIVE and value:
            raise DeidError("Its compressed pixels are not in frames, so what hides in them cannot be told.")
        if file.syntax.implicit or element.VR != "OB":
            vr, word = "OW", 2
        else:
            vr, word = "OB", 1
        content, notes = native(value, facts, word, file.syntax.little)
        for sentence in notes:
            walk.actions.note(sentence)
        if content != value:
            walk.actions.changes["PixelData", "bits cleared or cut"] += 1
        return {_PIXELS: encode.element(file.syntax, _PIXELS, vr, content)}
    found = compressed(value, facts, _bytes(file.elements, _OFFSETS), rle=file.syntax.uid == _RLE)
    for sentence in found.notes:
        walk.actions.note(sentence)
    if found.dropped:
        walk.actions.changes["PixelData", "comments dropped"] += 1
        walk.actions.note("Comments or application segments in compressed frames were dropped.")
    parts = {_PIXELS: encode.encapsulated(file.syntax, _PIXELS, found.fragments)}
    if found.offsets:
        parts[_OFFSETS] = encode.element(file.syntax, _OFFSETS, "OV", found.offsets)
        parts[_LENGTHS] = encode.element(file.syntax, _LENGTHS, "OV", found.lengths)
    return parts


def _hides_overlay(elements: Elements) -> bool:
    """An overlay without data of its own lies in PixelData's spare bits (retired, PS3.5 section 8.1.2)."""
    groups = {tag >> 16 for tag in elements if 0x6000 <= tag >> 16 <= 0x601E and tag & 0xFFFF == 0x0102}
    return any((group << 16 | 0x3000) not in elements for group in groups)


def _facts(file: File) -> Facts:
    elements = file.elements

    def short(tag: int) -> int:
        value = _bytes(elements, tag)[:2]
        return struct.unpack("<H" if file.syntax.little else ">H", value)[0] if len(value) == 2 else 0

    try:
        frames = int(_text(elements, 0x00280008) or "1")  # "+4" is an IS as well
    except ValueError:
        raise DeidError("Its NumberOfFrames is no whole number, so nobody knows where its pixels end.") from None
    return Facts(
        rows=short(0x00280010),
        columns=short(0x00280011),
        samples=short(0x00280002),
        frames=frames,
        allocated=short(0x00280100),
        stored=short(0x00280101),
        high_bit=short(0x00280102),
        signed=short(0x00280103) == 1,
        subsampled=_text(elements, 0x00280004) == "YBR_FULL_422" and short(0x00280002) == 3,
    )


def _stamps(file: File, walk: Walk, profile: Profile) -> dict[int, bytes]:
    """Who it is now, and what was done (PS3.15 E.1.1; CID 7050)."""
    syntax, subject = file.syntax, walk.actions.subject.patient_id.encode()
    codes = [code for code in profile.codes if _really_done(code, walk)]
    moved = {"keep": b"UNMODIFIED", "remove": b"REMOVED"}.get(profile.dates, b"MODIFIED")
    method = f"{_METHOD} {profile.hash[:8]}".encode()
    stamps = {
        0x00120062: encode.element(syntax, 0x00120062, "CS", b"NO" if profile.allow_identifiers else b"YES"),
        0x00120063: encode.element(syntax, 0x00120063, "LO", method),
        0x00120064: encode.sequence(syntax, 0x00120064, [_code(walk, code) for code in codes]),
        0x00280303: encode.element(syntax, 0x00280303, "CS", moved),
    }
    for tag, vr, value in ((0x00100010, "PN", subject), (0x00100020, "LO", subject), (0x00100030, "DA", b"")):
        if tag not in file.elements:
            stamps[tag] = encode.element(syntax, tag, vr, value)
    return stamps


def _really_done(code: str, walk: Walk) -> bool:
    """Cleaned texts are claimed where none had to go, private elements where one has stayed."""
    if code == "113105":
        return "text removed" not in walk.actions.done
    return code != "113111" or "private kept" in walk.actions.done


def _code(walk: Walk, code: str) -> bytes:
    parts = ((0x00080100, "SH", code), (0x00080102, "SH", "DCM"), (0x00080104, "LO", CODES[code]))
    return b"".join(encode.element(walk.syntax, tag, vr, value.encode()) for tag, vr, value in parts)


def _uid(encoded: bytes, file: File) -> str:
    return encoded[8:].strip(b" \0").decode("ascii")


def _bytes(elements: Elements, tag: int) -> bytes:
    element = elements.get(tag)
    return (element.value or b"") if isinstance(element, RawDataElement) else b""


def _text(elements: Elements, tag: int) -> str:
    return _bytes(elements, tag).strip(b" \0").decode("latin-1")
