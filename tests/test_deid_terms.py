"""What may go although it was to stay, and what may not stay: each case as it is right, and one step worse."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from deid_originals import SUBJECT, csa, original, output_of, spoilt
from dicom_files import as_file
from PIL import ImageCms
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from orthanc_research.deid import Examined, Known, Profile, Subject, conclude, deidentify, examine
from orthanc_research.deid._key import Key
from orthanc_research.deid.check._leaks import leaks_in_text, search_for
from orthanc_research.deid.check._reading import Element
from orthanc_research.deid.check._terms import is_kind

Change = Callable[[Dataset], object]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
HOUSE = "1.3.6.1.4.1.9590.55"


def put(keyword: str, value: object) -> Change:
    return lambda ds: setattr(ds, keyword, value)


def gone(keyword: str) -> Change:
    return lambda ds: delattr(ds, keyword)


def item(**values: object) -> Dataset:
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def coded(keyword: str, scheme: str = "99LOCAL", meaning: str = "Removed") -> Change:
    code = item(CodeValue="REMOVED", CodingSchemeDesignator=scheme, CodeMeaning=meaning)
    return put(keyword, Sequence([code]))


def in_reference(keyword: str, value: object) -> Change:
    return lambda ds: setattr(ds.ReferencedImageSequence[0], keyword, value)


def private(vr: str, value: object, number: int = 0x0C) -> Change:
    def change(ds: Dataset) -> None:
        block = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        ds.pop((0x0019, 0x1000 | number), None)
        block.add_new(number, vr, value)

    return change


def header(value: bytes) -> Change:
    def change(ds: Dataset) -> None:
        ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", value)

    return change


def examined(source: bytes, output: bytes, profile: Profile | None = None, subject: Subject = SUBJECT) -> Examined:
    return examine(source, output, known=Known.of(source), profile=profile or Profile(), subject=subject)


def failures(source: bytes, output: bytes, profile: Profile | None = None) -> set[str]:
    return {check.path.rpartition(".")[2] for check in examined(source, output, profile).failures}


# What an original has, what the engine's output may not be turned into, and where that is found.
CASES: dict[str, tuple[Change, list[Change], str]] = {
    "sex that is none": (
        put("PatientSex", "QZZMARKER"),
        [put("PatientSex", "QZZMARKER"), put("PatientSex", "F")],
        "PatientSex",
    ),
    "sex": (put("PatientSex", "F"), [put("PatientSex", ""), put("PatientSex", "M")], "PatientSex"),
    "smoking that is none": (
        put("SmokingStatus", "QZZMARKER"),
        [put("SmokingStatus", "QZZMARKER"), put("SmokingStatus", "NO")],
        "SmokingStatus",
    ),
    "burned in, or a text": (
        put("BurnedInAnnotation", "QZZMARKER"),
        [put("BurnedInAnnotation", "QZZMARKER"), put("BurnedInAnnotation", "NO")],
        "BurnedInAnnotation",
    ),
    "burned in": (put("BurnedInAnnotation", "YES"), [gone("BurnedInAnnotation")], "BurnedInAnnotation"),
    "phantom, or a text": (
        put("QualityControlSubject", "QZZMARKER"),
        [put("QualityControlSubject", "QZZMARKER")],
        "QualityControlSubject",
    ),
    "a code with words": (
        put("PatientPosition", "qzz marker"),
        [put("PatientPosition", "qzz marker"), put("PatientPosition", "HFS")],
        "PatientPosition",
    ),
    "a code as a text": (
        lambda ds: ds.add_new(0x00185100, "UT", "qzz marker"),
        [lambda ds: ds.add_new(0x00185100, "UT", "qzz marker")],
        "PatientPosition",
    ),
    "a code with a number": (
        put("PatientPosition", "AB123456"),
        [put("PatientPosition", "AB123456"), put("PatientPosition", "HFS")],
        "PatientPosition",
    ),
    "a code": (
        put("PatientPosition", "HFS"),
        [gone("PatientPosition"), put("PatientPosition", "FFS")],
        "PatientPosition",
    ),
    "free text of origin": (
        put("EthnicGroup", "Zwiebelkuchen"),
        [put("EthnicGroup", "Zwiebelkuchen"), put("EthnicGroup", "white")],
        "EthnicGroup",
    ),
    "origin": (put("EthnicGroup", "other"), [gone("EthnicGroup"), put("EthnicGroup", "mixed")], "EthnicGroup"),
    "a reason in words": (
        put("ReasonForTheAttributeModification", "QZZ MARKER"),
        [
            put("ReasonForTheAttributeModification", "QZZ MARKER"),
            put("ReasonForTheAttributeModification", "COERCE"),
        ],
        "ReasonForTheAttributeModification",
    ),
    "a UID under the standard's root": (
        put("IrradiationEventUID", "1.2.840.10008.19280101.77"),
        [put("IrradiationEventUID", "1.2.840.10008.19280101.77"), gone("IrradiationEventUID")],
        "IrradiationEventUID",
    ),
    "a UID of the standard": (
        put("IrradiationEventUID", "1.2.840.10008.1.1"),
        [put("IrradiationEventUID", "2.25.123456789012345678901234567890")],
        "IrradiationEventUID",
    ),
    "a class of the standard to come": (
        in_reference("ReferencedSOPClassUID", "1.2.840.10008.5.1.4.1.1.999"),
        [in_reference("ReferencedSOPClassUID", "1.2.840.10008.5.1.4.1.1.998")],
        "ReferencedSOPClassUID",
    ),
    "a class that is a number": (
        in_reference("ReferencedSOPClassUID", "1.2.840.10008.5.1.4.1.1.2.71308"),
        [in_reference("ReferencedSOPClassUID", "1.2.840.10008.5.1.4.1.1.2.71308")],
        "ReferencedSOPClassUID",
    ),
    "a scheme of a house": (put("CodingSchemeUID", HOUSE), [put("CodingSchemeUID", HOUSE)], "CodingSchemeUID"),
    "a scheme of the public": (
        put("CodingSchemeUID", "2.16.840.1.113883.6.96"),
        [put("CodingSchemeUID", "2.25.123456789012345678901234567890")],
        "CodingSchemeUID",
    ),
    "a private number as a code": (private("CS", "QZZ"), [private("CS", "QZZ")], "(0019,xx0C)"),
    "a private number as a text": (private("LO", "QZZ 1"), [private("LO", "QZZ 1")], "(0019,xx0C)"),
    "a private number as a date": (private("DT", "20230405"), [private("DT", "20191118")], "(0019,xx0C)"),
    "a private number as one of another VR": (
        private("DS", "1000"),
        [private("DS", "1001"), private("DS", "1000\\1000")],
        "(0019,xx0C)",
    ),
    "a CSA header": (
        header(csa(B_value=b"1000\0", SequenceFileOwner=b"QZZ\0")),
        [header(csa(B_value=b"1000\0", SequenceFileOwner=b"QZZ\0")), header(csa(B_value=b"1001\0"))],
        "(0029,xx10)",
    ),
    "a colour profile": (
        put("ICCProfile", PROFILE),
        [gone("ICCProfile"), put("ICCProfile", PROFILE[:300] + b"\x11" + PROFILE[301:]), put("ICCProfile", b"QZZQ")],
        "ICCProfile",
    ),
    "a colour profile that is none": (
        put("ICCProfile", b"QZZMARKER "),
        [put("ICCProfile", b"QZZMARKER ")],
        "ICCProfile",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_right_passes_and_one_step_worse_does_not(name: str) -> None:
    change, worse, where = CASES[name]
    ds = original()
    change(ds)
    source = as_file(ds)
    output = output_of(source)
    assert examined(source, output).failures == ()
    for each in worse:
        assert where in failures(source, spoilt(output, each))


def test_a_reason_that_the_standard_lists_may_stay_and_an_unlisted_one_may_not() -> None:
    ds = original()
    ds.ReasonForTheAttributeModification = "CORRECT"
    source = as_file(ds)
    output = spoilt(output_of(source), put("ReasonForTheAttributeModification", "CORRECT"))
    assert not failures(source, output)
    ds.ReasonForTheAttributeModification = "ZWIEBEL"
    assert failures(as_file(ds), spoilt(output, put("ReasonForTheAttributeModification", "ZWIEBEL")))


@pytest.mark.parametrize("keyword", ["InstitutionCodeSequence", "AnatomicRegionSequence"])
def test_a_dummy_of_a_coded_item_stands_only_where_one_is_due_and_says_nothing(keyword: str) -> None:
    ds = original()
    setattr(ds, keyword, Sequence([item(PatientComments="Zwiebel")]))
    source = as_file(ds)
    output = output_of(source)
    assert not failures(source, output)
    assert bool(failures(source, spoilt(output, coded(keyword)))) == (keyword != "InstitutionCodeSequence")
    for scheme, meaning in (("99KLINIK", "Removed"), ("99LOCAL", "Zwiebel")):
        assert failures(source, spoilt(output, coded(keyword, scheme, meaning)))


@pytest.mark.parametrize(("high", "beside"), [(11, (15,)), (13, (0, 15)), (15, (0,))])
def test_bits_beside_the_stored_ones_are_clear_wherever_those_lie(high: int, beside: tuple[int, ...]) -> None:
    ds = original()
    stored = np.frombuffer(ds.PixelData, "<u2") << (high - 11)
    ds.HighBit, ds.PixelData = high, stored.astype("<u2").tobytes()
    source = as_file(ds)
    output = output_of(source)
    assert not failures(source, output)
    for bit in beside:
        dirty = stored.astype("<u2") | np.uint16(1 << bit)
        assert failures(source, spoilt(output, put("PixelData", dirty.tobytes()))) == {"PixelData"}


@pytest.mark.parametrize(
    ("tag", "vr", "value", "right"),
    [
        (0x00280010, "US", b"\x10\0", True),
        (0x00280010, "US", b"QZZMARKER ", False),  # one number, not five
        (0x00280010, "US", b"\x10", False),
        (0x00280010, "UL", b"\x10\0\0\0", False),
        (0x00280010, "LO", b"QZZMARKER ", False),
        (0x00280106, "SS", b"\x10\0", True),  # US or SS
        (0x00283002, "US", bytes(6), True),  # three of them
        (0x00283002, "US", bytes(8), False),
        (0x00209165, "AT", bytes(4), True),
        (0x00209165, "AT", bytes(8), False),
        (0x00700022, "FL", bytes(16), True),  # 2-n
        (0x00181310, "US", bytes(8), True),
        (0x00180060, "DS", b"120 ", True),
        (0x00180060, "DS", b"QZZ ", False),
        (0x00180060, "LO", b"QZZ ", False),
        (0x00180050, "DS", b"+1.5E-3\\ .5 \\\\-2.", True),
        (0x00180050, "DS", b"1.2.826.0.77", False),  # a UID, a telephone, a date
        (0x00180050, "DS", b"0351-4711 ", False),
        (0x00180050, "IS", b"1950.01.01", False),
        (0x0008103E, "SH", b"head", True),  # texts are written alike
        (0x0020000D, "UI", b"1.2.3", True),
        (0x0020000D, "UI", b"QZZ ", False),
    ],
)
def test_a_value_is_of_its_attributes_kind(tag: int, vr: str, value: bytes, right: bool) -> None:
    assert is_kind(Element(tag, vr, value)) == right


def test_text_in_a_number_is_found_whatever_its_vr() -> None:
    ds = original()
    ds.LargestImagePixelValue = 5
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    source = as_file(ds)
    output = output_of(source)
    assert not failures(source, output)
    number, text = b"\x28\0\7\1\2\0\0\0\5\0", b"\x28\0\7\1\x0a\0\0\0QZZMARKER "
    assert output.count(number) == source.count(number) == 1
    found = failures(source.replace(number, text), output.replace(number, text))
    assert found == {"LargestImagePixelValue"}
    ds = original()
    source = as_file(ds)
    change = lambda ds: ds.add_new(0x00280010, "LO", "QZZMARKER")  # noqa: E731
    assert "Rows" in failures(spoilt(source, change), spoilt(output_of(source), change))


@pytest.mark.parametrize(
    ("number", "wrong"), [(0x0C, b"QZZ "), (0x0A, b"QZZMARKER "), (0x0E, struct.pack("<2d", 1, 2))]
)
def test_a_private_number_is_one_where_no_vr_says_so(number: int, wrong: bytes) -> None:
    ds = original()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    right = {0x0C: b"1000", 0x0A: b"\x24\0", 0x0E: struct.pack("<3d", 1, 0, 0)}[number]
    private("UN", right, number)(ds)
    source = as_file(ds)
    output = output_of(source)
    assert right in output
    assert not failures(source, output)
    private("UN", wrong, number)(ds)
    source = as_file(ds)
    assert not failures(source, output_of(source))
    assert failures(source, spoilt(output, private("UN", wrong, number))) == {f"(0019,xx{number:02X})"}


def test_short_words_of_places_are_words_and_our_own_words_are_known() -> None:
    ds = original()
    ds.InstitutionName = "Klinik Prof. Park, Safe Harbor"
    source = as_file(ds)
    output = output_of(source)
    assert not failures(source, output)
    search = search_for(Known.of(source))
    for text, found in (("PARK2", True), ("park", True), ("Parkinson", False), ("harborview", True), ("prof", False)):
        assert ("places" in leaks_in_text(text, search)) == found

    def said(ds: Dataset) -> None:
        ds.DeidentificationMethodCodeSequence[0].CodeMeaning = "Park"

    assert failures(source, spoilt(output, put("DeidentificationMethod", "by the Park team")))
    assert failures(source, spoilt(output, said)) == {"DeidentificationMethodCodeSequence"}


def of_nobody(study: str, subject: Subject) -> Examined:
    ds = original()
    ds.PatientID = ""
    ds.StudyInstanceUID, ds.SOPInstanceUID = study, study + ".1"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    source = as_file(ds)
    output = deidentify(source, Profile(), Key(bytes(32)), subject).content
    found = examined(source, output, subject=subject)
    assert found.passed
    return found


def test_without_an_id_a_study_is_of_one_patient_and_two_may_be_of_two() -> None:
    one = of_nobody("1.2.3.4", Subject("P1", -400))
    assert conclude([one, of_nobody("1.2.3.5", Subject("P2", -500))]).passed
    assert conclude([one, of_nobody("1.2.3.5", Subject("P1", -400))]).passed  # the caller knew it
    for other in (of_nobody("1.2.3.4", Subject("P2", -400)), of_nobody("1.2.3.5", Subject("P1", -500))):
        assert not conclude([one, other]).passed


def test_a_uid_that_is_none_may_be_mapped_where_uids_stay() -> None:
    profile = Profile(options=frozenset({"retain_uids"}))
    ds = original()
    ds.FrameOfReferenceUID = "QZZMARKER"
    source = as_file(ds)
    output = output_of(source, profile)
    assert not failures(source, output, profile)
    assert failures(source, spoilt(output, put("FrameOfReferenceUID", "QZZMARKER")), profile) == {"FrameOfReferenceUID"}
    assert failures(source, spoilt(output, put("SeriesInstanceUID", "2.25.1")), profile) == {"SeriesInstanceUID"}
