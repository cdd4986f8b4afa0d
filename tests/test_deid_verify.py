"""The verifier passes what is right, and each of its checks fails on what is wrong in just that way."""

from __future__ import annotations

import ast
import io
import pickle
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from deid_originals import KEY, SUBJECT, compressed, csa, original, output_of, spoilt
from dicom_files import as_file
from PIL import ImageCms
from pydicom import DataElement, Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import UID

import orthanc_research.deid
from orthanc_research.deid import Examined, Key, Known, Profile, Subject, conclude, deidentify, examine
from orthanc_research.deid.check._blanked import is_blanked
from orthanc_research.deid.check._leaks import leaks_in, leaks_in_bytes, leaks_in_text, search_for
from orthanc_research.deid.check._reading import Element
from orthanc_research.deid.check._siemens import is_reduced
from orthanc_research.errors import DeidError

ORIGINAL = as_file(original())
KNOWN = Known.of(ORIGINAL)
OUTPUT = output_of(ORIGINAL)
Change = Callable[[Dataset], object]


def look(output: bytes, source: bytes = ORIGINAL, profile: Profile | None = None, known: Known = KNOWN) -> Examined:
    return examine(source, output, known=known, profile=profile or Profile(), subject=SUBJECT)


def failed(examined: Examined) -> set[tuple[str, str]]:
    return {(check.action, check.path) for check in examined.failures}


@pytest.mark.parametrize(
    "profile",
    [
        Profile(),
        Profile(options=frozenset()),
        Profile(dates="remove"),
        Profile(dates="keep"),
        Profile(dates="anchor", anchor="19990101"),
        Profile(options=frozenset({"retain_uids"})),
        Profile(options=frozenset({"retain_institution_identity", "retain_device_identity"})),
        Profile(keep=("AccessionNumber",), allow_identifiers=("AccessionNumber",)),
        Profile(replace={"InstitutionName": "SITE 7"}, remove=("KVP",)),
        Profile(private=frozenset({("SIEMENS MR HEADER", "0019,xx0c")}), options=frozenset()),
    ],
)
def test_what_the_engine_makes_is_right(profile: Profile) -> None:
    assert look(output_of(ORIGINAL, profile), profile=profile).failures == ()


@pytest.mark.parametrize("kind", ["jpeg", "j2k", "rle"])
def test_compressed_outputs_are_right_without_a_codec(kind: str) -> None:
    source = as_file(compressed(kind))
    assert look(output_of(source), source).failures == ()


def test_the_original_itself_fails_in_every_way_that_counts() -> None:
    assert {action for action, _ in failed(look(ORIGINAL))} >= {
        "text_removed",
        "date_shifted",
        "uid_changed",
        "patid_consistent",
        "text_retained",
        "text_notnull",
    }


def test_the_verifier_knows_nothing_of_the_engine() -> None:
    allowed = ("orthanc_research.errors", "orthanc_research.deid.check.")
    for path in (Path(orthanc_research.deid.__file__).parent / "check").glob("*.py"):
        tree = ast.parse(path.read_text())
        types = {node for block in ast.walk(tree) if isinstance(block, ast.If) for node in ast.walk(block)}
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node not in types:
                assert node.level <= 1  # of its own folder
                names = [node.module or ""] if not node.level else []
            assert not [name for name in names if name.startswith("orthanc_research") and not name.startswith(allowed)]


def put(keyword: str, value: object) -> Change:
    return lambda ds: setattr(ds, keyword, value)


def nested(keyword: str, value: str) -> Change:
    """A value within an item that stays."""
    return lambda ds: setattr(ds.ReferencedImageSequence[0], keyword, value)


def private(value: bytes, number: int = 0x0C) -> Change:
    def change(ds: Dataset) -> None:
        ds.private_block(0x0019, "SIEMENS MR HEADER").add_new(number, "UN", value)

    return change


def pixels(change: Callable[[np.ndarray], object]) -> Change:
    def changed(ds: Dataset) -> None:
        values = np.frombuffer(ds.PixelData, "<u2").copy()
        change(values)
        ds.PixelData = values.tobytes()

    return changed


def swapped(ds: Dataset) -> None:
    ds.StudyInstanceUID, ds.SeriesInstanceUID = ds.SeriesInstanceUID, ds.StudyInstanceUID
    ds.FrameOfReferenceUID = ds.StudyInstanceUID


def overlay(ds: Dataset) -> None:
    ds.add_new(0x60003000, "OW", b"\1\2" * 16)


def meta_title(ds: Dataset) -> None:
    ds.file_meta.SourceApplicationEntityTitle = "KLINIKUM"


def meta_version(ds: Dataset) -> None:
    ds.file_meta.ImplementationVersionName = "HINTERTUPFING_4"


def turned(ds: Dataset) -> None:
    ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID = ds.StudyInstanceUID


def unreferenced(ds: Dataset) -> None:
    del ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID


def more_pixels(ds: Dataset) -> None:
    ds.PixelData += b"Li"


def no_method(ds: Dataset) -> None:
    del ds.DeidentificationMethod, ds.DeidentificationMethodCodeSequence


def untrue(ds: Dataset) -> None:
    ds.DeidentificationMethodCodeSequence[0].CodeValue = "113101"


FULL_WIDTH = "\uff2d\uff35\uff2c\uff2c\uff25\uff32"
REFERENCE = "ReferencedImageSequence.ReferencedSOPInstanceUID"
MODIFIED, CODES = "LongitudinalTemporalInformationModified", "DeidentificationMethodCodeSequence"
SPOILT: dict[str, tuple[Change, tuple[str, str]]] = {
    "name, nested": (nested("PatientName", "Müller^X"), ("text_removed", "ReferencedImageSequence.PatientName")),
    "short name": (put("SeriesDescription", "CT head Li"), ("text_removed", "SeriesDescription")),
    "name within a word": (put("SeriesDescription", "LUDENSCHEIDTHEAD"), ("text_removed", "SeriesDescription")),
    "name as Germans spell it": (put("SeriesDescription", "mueller"), ("text_removed", "SeriesDescription")),
    "name in full width": (put("SeriesDescription", FULL_WIDTH), ("text_removed", "SeriesDescription")),
    "name in another group": (put("SeriesDescription", "李伟 CT"), ("text_removed", "SeriesDescription")),
    "name in a code": (put("ConvolutionKernel", "H31s_Jurgen"), ("text_removed", "ConvolutionKernel")),
    "name in private bytes": (private(b"\1\0\xffJurgen\0\2"), ("text_removed", "(0019,xx0C)")),
    "name in UTF-16": (private("Muller".encode("utf-16-le")), ("text_removed", "(0019,xx0C)")),
    "zip in private bytes": (private(b"PK\x03\x04" + bytes(20)), ("text_removed", "(0019,xx0C)")),
    "private element": (private(b"harmless", 0x78), ("text_removed", "(0019,xx78)")),
    "physician": (put("PerformingPhysicianName", "Weizenkeim"), ("text_removed", "PerformingPhysicianName")),
    "institution": (put("StationName", "HINTERTUPFING2"), ("text_removed", "StationName")),
    "patient ID in a text": (put("SeriesDescription", "head mrn0815472"), ("text_removed", "SeriesDescription")),
    "accession number": (put("AccessionNumber", "ACC778812"), ("text_removed", "AccessionNumber")),
    "birth date in a text": (put("SeriesDescription", "head 14.03.1928"), ("text_removed", "SeriesDescription")),
    "date as ISO": (put("SeriesDescription", "head 2023-04-05"), ("text_removed", "SeriesDescription")),
    "date as in America": (put("SeriesDescription", "head 4/5/2023"), ("text_removed", "SeriesDescription")),
    "date in words": (put("SeriesDescription", "head 5 Apr 2023"), ("text_removed", "SeriesDescription")),
    "birth date": (put("PatientBirthDate", "19250101"), ("text_removed", "PatientBirthDate")),
    "unknown words": (put("SeriesDescription", "CT head axial Zwiebelkuchen"), ("text_removed", "SeriesDescription")),
    "added text": (put("PatientComments", "nice"), ("text_removed", "PatientComments")),
    "padding": (lambda ds: ds.add_new(0xFFFCFFFC, "OB", b"secret"), ("text_removed", "DataSetTrailingPadding")),
    "overlay": (overlay, ("pixels_hidden", "OverlayData")),
    "file meta": (meta_title, ("text_removed", "SourceApplicationEntityTitle")),
    "who wrote it": (meta_version, ("text_removed", "ImplementationVersionName")),
    "another date": (put("SeriesDate", "20191119"), ("date_shifted", "SeriesDate")),
    "a lost date": (lambda ds: delattr(ds, "SeriesDate"), ("date_shifted", "SeriesDate")),
    "another time of day": (put("AcquisitionDateTime", "20191119101113+0100"), ("date_shifted", "AcquisitionDateTime")),
    "age over 89": (put("PatientAge", "095Y"), ("text_retained", "PatientAge")),
    "original UID": (put("FrameOfReferenceUID", "1.3.6.1.4.1.9590.7.99"), ("uid_changed", "FrameOfReferenceUID")),
    "UID that can be guessed": (put("FrameOfReferenceUID", "2.25.815472"), ("uid_changed", "FrameOfReferenceUID")),
    "UID in a text": (put("SeriesDescription", "1.3.6.1.4.1.9590.7.99"), ("uid_changed", "SeriesDescription")),
    "reference to another": (turned, ("uid_consistent", REFERENCE)),
    "lost reference": (unreferenced, ("tag_retained", REFERENCE)),
    "lost references": (lambda ds: delattr(ds, "ReferencedImageSequence"), ("tag_retained", "ReferencedImageSequence")),
    "another patient": (put("PatientID", "RESEARCH02"), ("patid_consistent", "PatientID")),
    "lost technical value": (lambda ds: delattr(ds, "KVP"), ("tag_retained", "KVP")),
    "changed technical value": (put("KVP", "121"), ("text_retained", "KVP")),
    "empty type 1": (put("Modality", ""), ("text_notnull", "Modality")),
    "lost type 1": (lambda ds: delattr(ds, "ImagePositionPatient"), ("tag_retained", "ImagePositionPatient")),
    "no dummy": (put("InstitutionName", ""), ("text_notnull", "InstitutionName")),
    "a pixel": (pixels(lambda v: v.__setitem__(5, v[5] ^ 1)), ("pixels_retained", "PixelData")),
    "high bits": (pixels(lambda v: v.__setitem__(5, v[5] | 0x8000)), ("pixels_hidden", "PixelData")),
    "bytes behind the pixels": (more_pixels, ("pixels_hidden", "PixelData")),
    "lost pixels": (lambda ds: delattr(ds, "PixelData"), ("pixels_retained", "PixelData")),
    "no mark": (lambda ds: delattr(ds, "PatientIdentityRemoved"), ("text_retained", "PatientIdentityRemoved")),
    "no method": (no_method, ("text_notnull", "DeidentificationMethod")),
    "wrong word on dates": (put(MODIFIED, "REMOVED"), ("text_retained", MODIFIED)),
    "untrue code": (untrue, ("text_retained", CODES)),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_one_thing_that_is_wrong_is_found(name: str) -> None:
    change, expected = SPOILT[name]
    found = failed(look(spoilt(OUTPUT, change)))
    assert expected in found
    assert {path.split(".")[0] for _, path in found} == {expected[1].split(".")[0]}


def test_two_uids_that_changed_places_are_found() -> None:
    other = as_file(original(2))
    one = look(OUTPUT)
    two = look(spoilt(output_of(other), swapped), other)
    assert not conclude([one, two]).passed
    assert {check.reason for check in conclude([one, two]).checks if not check.passed} >= {"one UID has become two"}


def test_what_stands_outside_the_data_set_is_found() -> None:
    assert failed(look(b"Li" + OUTPUT[2:])) == {("text_removed", "preamble")}
    assert failed(look(OUTPUT + b"Li")) == {("text_removed", "tail")}
    assert failed(look(OUTPUT + b"Jurgen12")) == {("tag_retained", "")}
    assert failed(look(OUTPUT[:-4])) == {("tag_retained", "")}
    assert failed(look(b"")) == {("tag_retained", "")}


def test_an_element_that_is_there_twice_is_no_output() -> None:
    twice = OUTPUT[:-528] + b"\x28\0\x03\x03CS\x08\0MODIFIED" * 2 + OUTPUT[-528:]
    assert not look(twice).passed


@pytest.mark.parametrize("kind", ["jpeg", "j2k"])
def test_a_comment_in_a_compressed_frame_is_found_and_so_is_another_frame(kind: str) -> None:
    source = as_file(compressed(kind))
    output = output_of(source)
    frame = next(generate_frames(dcmread(io.BytesIO(output)).PixelData, number_of_frames=1))
    comment = b"Ludenscheidt"
    mark = {"jpeg": b"\xff\xfe", "j2k": b"\xff\x64"}[kind] + (len(comment) + 2).to_bytes(2, "big") + comment
    # Behind SOI; in JPEG 2000 behind SIZ, which comes first.
    at = 2 if kind == "jpeg" else 4 + int.from_bytes(frame[4:6], "big")
    said = spoilt(output, put("PixelData", encapsulate([frame[:at] + mark + frame[at:]])))
    assert failed(look(said, source)) == {("pixels_hidden", "PixelData")}
    behind = spoilt(output, put("PixelData", encapsulate([frame + comment])))
    assert failed(look(behind, source)) == {("pixels_hidden", "PixelData")}
    middle = len(frame) - 20
    other = spoilt(output, put("PixelData", encapsulate([frame[:middle] + b"\x11" + frame[middle + 1 :]])))
    assert ("pixels_retained", "PixelData") in failed(look(other, source))


def test_an_rle_frame_holds_nothing_but_its_segments() -> None:
    source = as_file(compressed("rle"))
    output = output_of(source)
    frame = next(generate_frames(dcmread(io.BytesIO(output)).PixelData, number_of_frames=1))
    for hidden in (frame[:40] + b"Li" + frame[42:], frame + b"Li"):
        assert failed(look(spoilt(output, put("PixelData", encapsulate([hidden]))), source)) == {
            ("pixels_hidden", "PixelData")
        }


def test_of_a_frame_that_cannot_be_followed_nobody_knows_what_is_in_it() -> None:
    source = as_file(compressed("jpeg"))
    frame = next(generate_frames(dcmread(io.BytesIO(source)).PixelData, number_of_frames=1))
    hidden = put("PixelData", encapsulate([b"\0" + frame]))  # with its comment
    assert ("pixels_hidden", "PixelData") in failed(look(spoilt(output_of(source), hidden), spoilt(source, hidden)))


def test_numbers_that_look_like_padding_are_numbers() -> None:
    """0 is two zeros, and 32 a blank and a zero."""
    ds = original()
    ds.PixelRepresentation, ds.SmallestImagePixelValue, ds.BitsAllocated = 0, 32, 32
    ds.PixelData = (np.arange(256, dtype="<u4") | 0x30000).tobytes() + b"Li Jurgen "
    source = as_file(ds)
    output = output_of(source)
    assert look(output, source).failures == ()
    assert failed(look(spoilt(output, put("PixelRepresentation", 1)), source)) == {
        ("text_retained", "PixelRepresentation")
    }
    gone: Change = lambda ds: delattr(ds, "PixelRepresentation")  # noqa: E731
    assert failed(look(spoilt(output, gone), source)) == {("tag_retained", "PixelRepresentation")}
    other = put("SmallestImagePixelValue", 33)
    assert failed(look(spoilt(output, other), source)) == {("text_retained", "SmallestImagePixelValue")}
    assert failed(look(spoilt(output, more_pixels), source)) == {("pixels_hidden", "PixelData")}


@pytest.mark.parametrize(("frames", "colours"), [(b"+2", "RGB"), (b"2.", "RGB"), (b"1 ", "YBR_FULL_422")])
def test_the_last_pixels_are_looked_at(frames: bytes, colours: str) -> None:
    """Of all frames, and of samples that are stored in full under the name of subsampled ones."""
    ds = original(bits=8)
    ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PhotometricInterpretation = 3, 0, colours
    ds.NumberOfFrames = 7
    ds.PixelData = bytes(16 * 16 * 3) * (1 if b"1" in frames else 2)
    source = as_file(ds)

    def changed(content: bytes) -> bytes:
        return content.replace(b"IS\2\0007 ", b"IS\2\0" + frames)

    output = output_of(source)
    whole = spoilt(output, put("PixelData", ds.PixelData))
    assert failed(look(changed(whole), changed(source))) == set()
    other = spoilt(output, put("PixelData", ds.PixelData[:-1] + b"\1"))
    assert failed(look(changed(other), changed(source))) == {("pixels_retained", "PixelData")}
    less = spoilt(output, put("PixelData", ds.PixelData[: 16 * 16 * 2]))
    assert failed(look(changed(less), changed(source))) == {("pixels_retained", "PixelData")}


def test_a_deflated_stream_has_no_second_one_behind_it() -> None:
    ds = original()
    ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1.99")
    source = as_file(ds)
    output = output_of(source)
    assert look(output, source).failures == ()
    packed = zlib.compressobj(wbits=-15)
    assert not look(output + packed.compress(b"Jurgen") + packed.flush(), source).passed


def test_big_endian_values_are_the_same_values() -> None:
    ds = original()
    ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.2")
    ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    source = as_file(ds)
    output = output_of(source)
    assert look(output, source).failures == ()
    assert failed(look(spoilt(output, put("Rows", 17)), source)) >= {("text_retained", "Rows")}


@pytest.mark.parametrize(
    ("name", "keyword", "value", "passes"),
    [
        ("Head^Lars", "BodyPartExamined", "HEAD", True),  # a code where codes belong
        ("Siemens^Georg", "Manufacturer", "SIEMENS", True),
        ("Head^Lars", "SeriesDescription", "HEAD LARS", False),
        ("Head^Neck", "SeriesDescription", "head neck", False),  # both his names, whatever they mean
        ("Siemens^Georg", "OperatorsName", "Siemens", False),
        ("Wurzelsepp^Georg", "Manufacturer", "WURZELSEPP", False),
    ],
)
def test_ordinary_words_may_stand_where_they_belong_and_it_is_told(
    name: str, keyword: str, value: str, passes: bool
) -> None:
    ds = original()
    ds.PatientName = name
    setattr(ds, keyword, value)
    source = as_file(ds)
    output = spoilt(output_of(source), put(keyword, value))
    examined = look(output, source, known=Known.of(source))
    assert examined.passed == passes
    told = {check.path for check in examined.checks if check.passed and check.reason}
    assert (keyword in told) == passes


def test_of_a_colour_profile_only_texts_may_be_blanked() -> None:
    old = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    table = [struct.unpack_from(">4sII", old, 132 + 12 * n) for n in range(struct.unpack_from(">I", old, 128)[0])]
    text = next(start for name, start, _ in table if name == b"cprt")
    colour = next(start for name, start, _ in table if name == b"rXYZ")
    assert is_blanked(old, old[: text + 12] + bytes(4) + old[text + 16 :])
    assert not is_blanked(old, old[: text + 12] + b"Li" + old[text + 14 :])
    assert not is_blanked(old, old[: colour + 8] + bytes(4) + old[colour + 12 :])
    assert not is_blanked(old, old[:-1])


def test_of_a_csa_header_only_numbers_of_the_original_may_stay() -> None:
    old = csa(NumberOfImagesInMosaic=b"36\0", PatientName=b"Jurgen\0", B_value=b"1000\0")
    right = csa(NumberOfImagesInMosaic=b"36\0", B_value=b"1000\0")
    assert is_reduced(old, right)
    assert not is_reduced(old, old)
    for wrong in (
        csa(NumberOfImagesInMosaic=b"37\0"),
        csa(Other=b"36\0"),
        csa(B_value=b"1000\0Jurgen\0"),
        right + b"Jurgen",
        right[:-4],
        right[:90] + b"Li" + right[92:],
        right[:70] + b"Li" + right[72:],  # behind the end of a name
        b"SV10Li\2\1" + right[8:],
        b"",
    ):
        assert not is_reduced(old, wrong)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("Le^An", "seen by Le today", True),  # particles of some languages are names of others
        ("de la Cruz^Ana", "de la", False),
        ("de la Cruz^Ana", "CRUZ_1", True),
        ("West^Bo", "West", True),
        ("L^W", "L. W.", True),
        ("L^W", "W", False),
        ("Wu^Li", "liwu", True),
        ("Østergård^Bjørn", "Oestergaard", True),
        ("Østergård^Bjørn", "ostergard", True),
        ("Weiß^Änne", "WEISS", True),
        ("O'Neill^Sean", "neil", False),
        ("O'Neill^Sean", "oneill", True),
        ("Anonymous", "anonymous", False),
        ("Kim Dr.^Im", "dr", False),
        ("Kim Dr.^Im", "im", True),
    ],
)
def test_words_of_names(name: str, text: str, found: bool) -> None:
    ds = Dataset()
    ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 192", name
    assert (leaks_in_text(text, search_for(Known.of(ds))) == {"names"}) == found


@pytest.mark.parametrize(
    ("identifier", "text", "found"),
    [
        ("4711", "no 4711", True),
        ("4711", "14711", False),
        ("4711", "0004711", True),
        ("0815-4711", "08154711", True),
        ("AB12", "xab12y", True),
        ("123", "T1 123 ms", True),
        ("12", "12", False),
    ],
)
def test_identifiers_within_texts(identifier: str, text: str, found: bool) -> None:
    ds = Dataset()
    ds.PatientID = identifier
    assert (leaks_in_text(text, search_for(Known.of(ds))) == {"numbers"}) == found


@pytest.mark.parametrize(
    "text",
    [
        "1928-03-14",
        "14.3.1928",
        "03/14/1928",
        "19280314101500",
        "14 March 1928",
        "Mar 14, 1928",
        "14031928",
        "03141928",
    ],
)
def test_spellings_of_a_date(text: str) -> None:
    ds = Dataset()
    ds.PatientBirthDate = "19280314"
    search = search_for(Known.of(ds))
    assert leaks_in_text(f"born {text}", search) == {"births"}
    assert leaks_in_bytes(b"\1\2" + text.encode() + b"\0\xff", search) == {"births"}
    assert not leaks_in_text(text.replace("1928", "1927"), search)


@pytest.mark.parametrize(
    ("vr", "value", "kind"),
    [
        ("DS", b"1\\+1234567.0 \\2", "numbers"),
        ("IS", b"01234567", "numbers"),
        ("IS", b"19500101", "births"),
        ("DS", b"19500101.5", ""),
        ("DS", b"123456\\7", ""),
        ("DS", b"11234567", ""),
    ],
)
def test_identifiers_among_numbers(vr: str, value: bytes, kind: str) -> None:
    search = search_for(Known(numbers=frozenset({"1234567"}), births=frozenset({"19500101"})))
    assert "".join(leak.kind for leak in leaks_in("", Element(0x00180050, vr, value), b"", search)) == kind


@pytest.mark.parametrize(
    ("unit", "age", "told"),
    [("a", "93", "90"), ("a", "89", "89"), ("mo", "93", "93"), ("mo", "1100", "1080"), ("d", "33000", "32872")],
)
def test_an_age_in_a_report_is_an_age_in_its_unit(unit: str, age: str, told: str) -> None:
    def coded(code: str, scheme: str) -> Sequence:
        concept = Dataset()
        concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = code, scheme, "Age"
        return Sequence([concept])

    def measured(value: str) -> Change:
        return lambda ds: setattr(ds.ContentSequence[0].MeasuredValueSequence[0], "NumericValue", value)

    ds, content, value = original(), Dataset(), Dataset()
    value.NumericValue, value.MeasurementUnitsCodeSequence = age, coded(unit, "UCUM")
    content.ValueType, content.ConceptNameCodeSequence = "NUM", coded("121033", "DCM")
    content.MeasuredValueSequence = Sequence([value])
    ds.ContentSequence = Sequence([content])
    source = as_file(ds)
    output = output_of(source)
    found = dcmread(io.BytesIO(output)).ContentSequence[0].MeasuredValueSequence[0]
    assert str(found.NumericValue) == told
    assert look(output, source).failures == ()
    path = "ContentSequence.MeasuredValueSequence.NumericValue"
    for wrong in {"17", age} - {told}:
        assert failed(look(spoilt(output, measured(wrong)), source)) == {("text_retained", path)}


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "profile"),
    [
        ("StudyTime", "TM", "noon", Profile(dates="keep")),
        ("TreatmentControlPointDate", "DA", "noon", Profile(dates="keep")),
        ("TimeOfLastDetectorCalibration", "TM", "noon", Profile(options=frozenset({"retain_device_identity"}))),
        ("SecondaryReviewTime", "TM", "101112", Profile(dates="remove")),
        ("SelectorASValue", "AS", "old", Profile()),
        ("InstitutionCodeSequence", "SQ", [], Profile()),
    ],
)
def test_what_says_nothing_that_its_vr_may_say_stops_no_release(
    keyword: str, vr: str, value: object, profile: Profile
) -> None:
    ds = original()
    ds.add(DataElement(keyword, vr, value, validation_mode=0))
    source = as_file(ds)
    output = output_of(source, profile)
    assert not any(word in output for word in (b"noon", b"old "))
    assert look(output, source, profile).failures == ()


def test_known_is_read_at_every_depth_and_shows_nothing() -> None:
    inner, ds = Dataset(), Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    inner.PatientName, inner.PatientID, inner.ScheduledProcedureStepStartDate = "Ngô^Bảo=吳", "PID-77-XY", "20200229"
    middle = Dataset()
    middle.RequestAttributesSequence = Sequence([inner])
    ds.ReferencedStudySequence = Sequence([middle])
    known = Known.of(ds)
    assert {"ngo", "bao"} <= known.names
    assert sorted(known.numbers | known.dates) == ["20200229", "pid-77-xy"]
    assert "ngo" not in repr(known).casefold()
    assert pickle.loads(pickle.dumps(known)) == known
    assert known | known is known
    assert (known | KNOWN).names == known.names | KNOWN.names
    with pytest.raises(DeidError):
        Known.of(b"no file")


def test_an_examination_is_small() -> None:
    examined = look(OUTPUT)
    assert len(pickle.dumps(examined)) < 4096
    assert sum(check.count for check in examined.checks) > 60


def test_an_examination_holds_no_original_value() -> None:
    content = pickle.dumps(replace(look(spoilt(OUTPUT, put("ImageComments", "x"))), uids={}))
    for value in (b"ller", b"0815472", b"778812", b"Weizenkeim", b"19280314", b"20230405"):
        assert value not in content


def test_residual_lists_what_the_output_still_says() -> None:
    residual = look(OUTPUT).residual
    assert residual["SeriesDescription", "LO", "CT head axial"] == 1
    assert residual["StudyDate", "DA", "20191118"] == 1
    assert residual["(0019,xx0C)", "IS", "1000"] == 1
    assert not any("ller" in value for _, _, value in residual)


def examined_of(number: int, patient: str, subject: Subject, key: Key = KEY) -> Examined:
    ds = original(number)
    ds.PatientID = patient
    source = as_file(ds)
    output = deidentify(source, Profile(), key, subject).content
    return examine(source, output, known=Known.of(source), profile=Profile(), subject=subject)


def test_across_instances_all_is_one_to_one() -> None:
    one, two = examined_of(1, "A1000", Subject("P1", -400)), examined_of(2, "A1000", Subject("P1", -400))
    right = conclude([one, two])
    assert right.passed
    assert right.instances == 2
    rows = {row["action"]: row for row in right.summary()}
    assert rows["date_shifted"]["score"] == 100
    assert not conclude([]).passed


@pytest.mark.parametrize(
    ("second", "action"),
    [
        (lambda: examined_of(2, "A1000", Subject("P2", -400)), "patid_consistent"),  # one patient, two pseudonyms
        (lambda: examined_of(2, "B2000", Subject("P1", -400)), "patid_consistent"),  # two patients, one pseudonym
        (lambda: examined_of(2, "A1000", Subject("P1", -401)), "date_shifted"),  # another offset in another run
        (lambda: examined_of(2, "A1000", Subject("P1", -400), Key.parse("77" * 32)), "uid_consistent"),
    ],
)
def test_across_instances_each_disagreement_is_found(second: Callable[[], Examined], action: str) -> None:
    one, two = examined_of(1, "A1000", Subject("P1", -400)), second()
    assert one.passed
    assert two.passed
    verdict = conclude([one, two])
    assert not verdict.passed
    assert {check.action for check in verdict.checks if not check.passed} == {action}
    assert not verdict.checks[0].passed


def test_two_uids_that_became_one_are_found() -> None:
    one, two = examined_of(1, "A1000", SUBJECT), examined_of(2, "A1000", SUBJECT)
    merged = replace(two, uids={old: next(iter(one.uids.values())) for old in two.uids})
    assert "two UIDs have become one" in {check.reason for check in conclude([one, merged]).checks}
