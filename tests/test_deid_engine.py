"""Whole files: what comes out can be read, says what was done, and nothing damaged gets through."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from deid_files import KEY, ROOT, SUBJECT, done, item, made, result
from dicom_files import as_file
from pydicom import Dataset, dcmread
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, EncapsulatedPDFStorage, ImplicitVRLittleEndian

from orthanc_research.deid import Profile, Subject, deidentify, uid_of
from orthanc_research.errors import DeidError


def test_file_meta_and_preamble_are_made_anew() -> None:
    dataset = made()
    dataset.file_meta.SourceApplicationEntityTitle = "ST_ELSEWHERE"
    dataset.file_meta.PrivateInformationCreatorUID = UID("1.2.3")
    dataset.file_meta.PrivateInformation = b"Li Wu 4711"
    outcome = result(b"Li Wu 4711" + as_file(dataset)[10:])
    found = dcmread(io.BytesIO(outcome.content))
    assert b"ELSEWHERE" not in outcome.content
    assert b"Li Wu" not in outcome.content
    assert found.preamble == bytes(128)
    assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID == outcome.sop_instance_uid
    assert found.file_meta.MediaStorageSOPClassUID == found.SOPClassUID == outcome.sop_class_uid
    assert (outcome.study_instance_uid, outcome.series_instance_uid) == (
        uid_of(KEY, ROOT + "2"),
        uid_of(KEY, ROOT + "3"),
    )
    assert outcome.transfer_syntax_uid == found.file_meta.TransferSyntaxUID


def test_the_same_comes_out_again_and_other_keys_and_namespaces_give_other_uids() -> None:
    content = as_file(made(StudyDate="20200101"))
    assert result(content).content == result(content).content
    other = deidentify(content, Profile(), KEY, Subject("P001", -1000, namespace="of P001"))
    assert other.sop_instance_uid != result(content).sop_instance_uid


def test_a_deflated_file_stays_deflated() -> None:
    outcome = result(made(DeflatedExplicitVRLittleEndian, StudyDate="20200101", PatientComments="Li"))
    found = dcmread(io.BytesIO(outcome.content))
    assert found.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    assert (found.StudyDate, "PatientComments" in found) == ("20170406", False)
    at = outcome.content.index(b"ORTHANC_RESEARCH") + 16
    assert b"2.25." not in outcome.content[at:]
    assert b"2.25." in zlib.decompress(outcome.content[at:], -15)


def test_what_the_subject_is_stands_in_files_that_lack_it() -> None:
    dataset = made()
    del dataset.PatientName, dataset.PatientID
    found = done(dataset)
    assert (str(found.PatientName), found.PatientID, found.PatientBirthDate) == ("P001", "P001", "")
    assert found.PatientIdentityRemoved == "YES"


def test_elements_of_unknown_kind_are_read_as_the_dictionary_says() -> None:
    """Standard attributes written as UN are what they are; others as UN go."""
    dataset = made(SliceThickness="2.5", PatientComments="Li Wu")
    dataset["SliceThickness"].VR = "UN"
    dataset["SliceThickness"].value = b"2.5 "
    dataset.add_new(0x00181031, "UN", b"Li Wu ")
    dataset.add_new(0x00090010, "LO", "ACME")
    dataset.add_new(0x00091010, "UN", b"Li Wu ")
    found = done(dataset)
    assert (found["SliceThickness"].VR, found.SliceThickness) == ("DS", 2.5)
    assert b"Li" not in result(dataset).content


@pytest.mark.parametrize("signed", [0, 1])
def test_a_number_that_may_have_a_sign_is_not_said_to_have_none(signed: int) -> None:
    """Whether US or SS is meant is told by PixelRepresentation; as UN it is still."""
    content = as_file(made(PixelRepresentation=signed, PixelPaddingValue=63536 - 65536 * signed))
    vr = b"SS" if signed else b"US"
    content = content.replace(vr + b"\2\0\x30\xf8", b"UN\0\0\2\0\0\0\x30\xf8")
    assert done(content).PixelPaddingValue == 63536 - 65536 * signed


def test_empty_values_stay_empty_in_items_of_implicit_files() -> None:
    dataset = made(ImplicitVRLittleEndian, RTROIObservationsSequence=[item(RTROIInterpretedType="", ROIInterpreter="")])
    (found,) = done(dataset).RTROIObservationsSequence
    assert (found.RTROIInterpretedType, found.ROIInterpreter) == ("", "")


def test_roi_names_are_kept_when_asked() -> None:
    dataset = made(
        StructureSetROISequence=[item(ROINumber=1, ROIName="GTV Li"), item(ROINumber=2, ROIName="Lung left")]
    )
    names = [roi.ROIName for roi in done(dataset).StructureSetROISequence]
    assert names == ["", "Lung left"]
    kept = done(dataset, Profile(keep_roi_names=True))
    assert [roi.ROIName for roi in kept.StructureSetROISequence] == ["", "Lung left"]  # a patient called Li


# -- refused ----------------------------------------------------------------------------------------------------------


def nested(depth: int, *, defined: bool) -> bytes:
    head = struct.Struct("<HH2sHI")
    if not defined:
        opened = head.pack(0x8, 0x1115, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        return opened * depth + struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0) * depth
    content = b""
    for _ in range(depth):
        content = (
            head.pack(0x8, 0x1115, b"SQ", 0, len(content) + 8)
            + struct.pack("<HHI", 0xFFFE, 0xE000, len(content))
            + content
        )
    return content


def spaced(text: str) -> Dataset:
    dataset = made()
    dataset.add_new("PixelSpacing", "LO", text)
    return dataset


PLAIN = as_file(made())
STUDY = PLAIN.index(b"\x20\0\x0d\0UI")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no DICOM"),
        (b"%PDF-1.7" + bytes(2000), "no DICOM"),
        (PLAIN[:-5], "cut"),
        (PLAIN[:STUDY] + nested(10_000, defined=False) + PLAIN[STUDY:], "deep"),
        (PLAIN[:STUDY] + nested(10_000, defined=True) + PLAIN[STUDY:], "deep"),
        (PLAIN[:STUDY] + struct.pack("<HH2sHI", 0x10, 0x4000, b"UT", 0, 0xFFFFFFF0) + PLAIN[STUDY:], "length"),
        (PLAIN + struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + bytes(20), "ends before"),
        (PLAIN[:STUDY] + PLAIN[STUDY:].replace(b"UI", b"US", 1), "VR"),
        (PLAIN.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"), "transfer syntax"),
        (as_file(made(StudyInstanceUID="")), "no StudyInstanceUID"),
        (as_file(made(SOPClassUID=EncapsulatedPDFStorage, EncapsulatedDocument=b"%PDF Li")), "document"),
        (as_file(made(SOPClassUID="1.2.840.10008.5.1.4.1.1.9.4.1")), "voice"),
        (as_file(made(SOPClassUID="1.2.840.10008.1.3.10")), "DICOMDIR"),
        (as_file(made(SOPClassUID="1.2.840.10008.5.1.4.1.1.2.4711")), "not registered"),
        (as_file(spaced("Li Wu")), "PixelSpacing"),
    ],
)
def test_what_cannot_be_done_safely_is_refused_in_a_sentence(content: bytes, why: str) -> None:
    with pytest.raises(DeidError, match=why) as caught:
        result(content)
    message = str(caught.value)
    assert message.endswith(".")
    assert "4711" not in message
    assert caught.value.__cause__ is None


def test_a_flood_of_zeros_is_not_inflated_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orthanc_research.deid._read._MOST", 1000)
    flood = made(DeflatedExplicitVRLittleEndian, PixelData=bytes(100_000))
    flood["PixelData"].VR = "OB"
    with pytest.raises(DeidError, match="inflates to more"):
        result(flood)


# -- real files -------------------------------------------------------------------------------------------------------


def test_a_mosaic_can_still_be_cut_and_its_header_holds_numbers_alone(realdata: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls its readers experimental
        from nibabel.nicom import csareader
    path = sorted((realdata / "mr-siemens-mosaic-epi").rglob("*.dcm"))[0]
    before, after = dcmread(path), done(path.read_bytes())
    old, new = (csareader.read(each[0x00291010].value)["tags"] for each in (before, after))  # type: ignore[no-untyped-call]
    assert "SliceNormalVector" in new
    assert len(new) < 12 < len(old)
    assert all(new[name]["items"] == old[name]["items"] for name in new)


def test_all_kinds_of_real_files_decode_to_the_same(realdata: Path) -> None:
    """One file of each folder: read by pydicom, every element of it, and the pixels equal."""
    asked = 0
    for folder in sorted(path for path in realdata.iterdir() if path.is_dir()):
        if folder.name in ("derived-mutated", "malformed-and-odd", "pydicom-dicomdir-tree"):
            continue
        path = next(iter(sorted(folder.rglob("*.dcm"))), None)
        if path is None:
            continue
        before = dcmread(path, force=True)
        after = done(path.read_bytes())
        assert after.PatientID == SUBJECT.patient_id
        if "PixelData" in before and before.file_meta.get("TransferSyntaxUID"):
            try:
                expected = before.pixel_array
            except RuntimeError:
                continue
            np.testing.assert_array_equal(after.pixel_array, expected)
            asked += 1
    assert asked > 15


def test_pet_keeps_what_suv_needs(realdata: Path) -> None:
    path = sorted((realdata / "pet-single-slices").rglob("*.dcm"))[0]
    before, after = dcmread(path), done(path.read_bytes())
    for keyword in (
        "PatientWeight",
        "Units",
        "DecayCorrection",
        "CorrectedImage",
        "AcquisitionTime",
        "SeriesTime",
        "RescaleSlope",
    ):
        assert after.get(keyword) == before.get(keyword), keyword
    old, new = (dataset.RadiopharmaceuticalInformationSequence[0] for dataset in (before, after))
    for keyword in ("RadionuclideTotalDose", "RadionuclideHalfLife", "RadiopharmaceuticalStartTime"):
        assert new.get(keyword) == old.get(keyword), keyword
