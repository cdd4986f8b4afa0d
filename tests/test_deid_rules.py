"""Table E.1-1 as rules: what each option does to it, and what becomes of attributes that it does not list."""

from __future__ import annotations

import csv
import io
from importlib.resources import files
from typing import Any

import pytest
from deid_files import KEY, NATIVE, SUBJECT, done, item, made, result
from dicom_files import as_file
from pydicom import DataElement, Dataset
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import keyword_dict
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from orthanc_research.deid import Profile, code_of, uid_of
from orthanc_research.deid._rules import rule_for
from orthanc_research.deid._table import private_elements, rows, technical
from orthanc_research.deid._texts import speaks_vocabulary
from orthanc_research.errors import DeidError

BASIC = Profile(options=frozenset(), dates="remove")


def table() -> list[dict[str, str]]:
    text = files("orthanc_research.deid").joinpath("ps3.15-table-e1-1.csv").read_text()
    return list(csv.DictReader(io.StringIO(text)))


# -- the table --------------------------------------------------------------------------------------------------------


def test_every_row_of_the_table_with_a_tag_is_a_rule() -> None:
    lines = table()
    assert len(lines) == 656
    unnumbered = [line for line in lines if "X" in line["tag"] or "GGGG" in line["tag"]]
    assert len(rows()) == len(lines) - len(unnumbered) == 652


def test_the_basic_profile_does_what_each_row_says() -> None:
    """X removes, Z empties, D and U replace; the last letter of several. What is keyed or given is set aside."""
    special = {"PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "TimezoneOffsetFromUTC"}
    wrong = []
    for row in rows().values():
        rule = rule_for(BASIC, row.tag, None)
        if rule.keyword in special or row.tag >> 16 in (0, 2, 4) or row.tag == 0xFFFCFFFC:
            continue
        expected = {"X": {"remove"}, "Z": {"empty", "items"}, "D": {"dummy", "items", "coded", "uid"}}
        if rule.action not in expected.get(row.last, {"uid", "items"}):
            wrong.append((row.keyword, row.basic, rule.action))
    assert not wrong


def test_keywords_of_the_shipped_lists_are_of_the_dictionary_and_not_of_the_table() -> None:
    listed = {row.keyword for row in rows().values()}
    assert not [keyword for keyword in technical() if keyword not in keyword_dict or keyword in listed]
    assert all(len(element) == 9 and int(element[3], 16) % 2 for _, element in private_elements())


@pytest.mark.parametrize("option", ["retain_uids", "retain_device_identity", "retain_institution_identity"])
def test_an_option_keeps_what_its_column_marks(option: str) -> None:
    profile = Profile(options=frozenset({option}), dates="remove")
    lost = []
    for line in table():
        tag = keyword_dict.get(line["keyword"])
        if tag is None or line[option] != "K" or tag >> 16 in (0, 2, 4) or line["retain_longitudinal_full_dates"]:
            continue
        if rule_for(profile, tag, None).action not in ("keep", "items"):
            lost.append(line["keyword"])
    assert not lost


def test_rules_go_down_to_every_depth_and_into_every_syntax() -> None:
    private = item(PatientName="Li", StudyDate="20200101", InstitutionName="St. Elsewhere", OtherPatientIDs="4711")
    for syntax in NATIVE:
        deep = private
        for _ in range(3):
            deep = item(ReferencedSeriesSequence=[deep], PatientID="4711", SeriesInstanceUID="1.2.3")
        found = done(made(syntax, ReferencedSeriesSequence=[deep]))
        assert found.file_meta.TransferSyntaxUID == syntax
        level: Dataset = found
        for _ in range(3):
            level = level.ReferencedSeriesSequence[0]
            assert (level.PatientID, level.SeriesInstanceUID) == ("P001", uid_of(KEY, "1.2.3"))
        level = level.ReferencedSeriesSequence[0]
        assert (str(level.PatientName), level.StudyDate) == ("P001", "20170406")
        assert level.InstitutionName == "REMOVED"
        assert "OtherPatientIDs" not in level


def test_the_values_of_the_whole_dictionary_go_where_nothing_allows_them() -> None:
    """Every text attribute at once: what is left stands in the allow-list, or was asked for by an option."""
    dataset = made()
    written_ = {"LO", "SH", "ST", "LT", "UT", "UC", "AE", "PN", "UR"}
    own = [
        "PatientName",
        "PatientID",
        "OtherPatientIDs",
        "OtherPatientNames",
        "PatientBirthName",
        "PatientMotherBirthName",
    ]
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if vr in written_ and tag >> 16 > 4 and keyword not in own:
            dataset.add_new(tag, vr, "QXCANARY")
    found = done(dataset)
    left = {
        element.keyword for element in found.iterall() if element.VR in written_ and "QXCANARY" in str(element.value)
    }
    assert left == {keyword for keyword in left if technical().get(keyword) == "keep"}
    assert "Manufacturer" in left


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("PatientAge 089Y", "089Y"),
        ("PatientAge 090Y", "090Y"),
        ("PatientAge 101Y", "090Y"),
        ("PatientAge 7Y", "007Y"),
        ("PatientAge 999D", "999D"),
        ("PatientAge Li", None),
        ("TimezoneOffsetFromUTC +0200", "+0200"),
        ("TimezoneOffsetFromUTC Berlin", None),
        ("StudyTime 101112.123456", "101112.123456"),
        ("SeriesTime of Li", None),
        ("SliceThickness 4711 Li", None),
        ("SliceThickness 1.5e-1", "1.5e-1"),
        ("PatientSex F", "F"),
        ("ImageType Original", "Original"),
        ("PatientPosition 7301846", None),
        ("BodyPartExamined of Li", None),
    ],
)
def test_a_value_is_kept_when_it_is_one(value: str, expected: str | None) -> None:
    keyword, text = value.split(" ", 1)
    dataset, tag = made(), keyword_dict[keyword]
    # What is no number is called a text: pydicom would not write it otherwise.
    vr = "LO" if "Li" in text else DicomDictionary[tag][0]
    dataset.add(DataElement(tag, vr, text, validation_mode=0))
    outcome = result(dataset)
    found = done(as_file(dataset)).get(keyword)
    assert (None if found is None else str(getattr(found, "original_string", found))) == expected
    assert bool(outcome.notes) == (expected is None)
    assert text not in "".join(outcome.notes)


@pytest.mark.parametrize("text", ["1.2.826.0.77", "0351-4711", "2020-01-01", "1950.01.01", "49 351 4711", "1\\-"])
def test_what_is_written_in_digits_is_not_yet_a_number(text: str) -> None:
    dataset = made()
    dataset.add_new(0x00180050, "LO", text)
    assert "SliceThickness" not in done(dataset)
    dataset["SliceThickness"].value = "+1.5E-3\\ .5 \\\\-2."
    assert done(dataset).SliceThickness == ["+1.5E-3", " .5", "", "-2."]


def test_birth_dates_are_emptied_whatever_dates_do() -> None:
    for dates in ("shift", "keep", "remove"):
        found = done(made(PatientBirthDate="19500101", PatientBirthTime="1200"), Profile(dates=dates))
        assert found.PatientBirthDate == ""
        assert "PatientBirthTime" not in found
    with pytest.raises(DeidError, match="always emptied"):
        Profile(keep=("PatientBirthDate",), allow_identifiers=("PatientBirthDate",))


def test_private_elements_stay_by_creator_number_and_kind() -> None:
    dataset = made()
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000")
    block.add_new(0x0E, "FD", [1.0, 0.0, 0.0])
    block.add_new(0x18, "LO", "Li Wu")  # known as a number
    block.add_new(0x0D, "CS", "LI_WU_4711")  # known as a defined term
    block.add_new(0x99, "LO", "Li Wu")
    other = dataset.private_block(0x0021, "Li Wu", create=True)
    other.add_new(0x0C, "IS", "1000")
    found = done(dataset)
    assert [element.tag for element in found if element.tag.is_private] == [0x00190010, 0x0019100C, 0x0019100E]
    assert (found[0x0019100C].value, list(found[0x0019100E].value)) == (1000, [1.0, 0.0, 0.0])
    assert "113111" in [code.CodeValue for code in found.DeidentificationMethodCodeSequence]
    stricter = done(dataset, Profile(options=frozenset({"clean_descriptors"})))
    assert not [element for element in stricter if element.tag.is_private]
    allowed = done(dataset, Profile(private=frozenset({("Li Wu", "0021,xx0c")})))
    assert allowed[0x0021100C].value == 1000


def test_uids_are_mapped_but_for_those_of_the_standard() -> None:
    dataset = made(
        FrameOfReferenceUID="1.2.840.10008.1.4.1.1",
        DeviceUID="1.2.840.10008.19500101.4711",
        ReferencedImageSequence=[
            item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID="1.2.3")
        ],
        ContextGroupExtensionCreatorUID="1.2.3.4",
        FailedSOPInstanceUIDList=["1.2.3", "1.2.4"],
        AnnotationGroupUID="1.2.5",
    )
    found = done(dataset)
    assert found.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"
    assert found.DeviceUID == uid_of(KEY, "1.2.840.10008.19500101.4711")
    assert found.ReferencedImageSequence[0].ReferencedSOPInstanceUID == uid_of(KEY, "1.2.3")
    assert found.ReferencedImageSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert found.ContextGroupExtensionCreatorUID == uid_of(KEY, "1.2.3.4")
    assert list(found.FailedSOPInstanceUIDList) == [uid_of(KEY, "1.2.3"), uid_of(KEY, "1.2.4")]
    assert found.AnnotationGroupUID == uid_of(KEY, "1.2.5")
    kept = done(dataset, Profile(options=frozenset({"retain_uids"})))
    assert (kept.SOPInstanceUID, kept.DeviceUID) == (dataset.SOPInstanceUID, dataset.DeviceUID)


def test_codes_of_a_house_are_keyed_and_public_ones_stay() -> None:
    found = done(
        made(
            ProcedureCodeSequence=[
                item(CodeValue="DRLI", CodingSchemeDesignator="L", CodeMeaning="as Dr. Li wanted"),
                item(CodeValue="39607008", CodingSchemeDesignator="SCT", CodeMeaning="Lung"),
                item(CodeValue="121049", CodingSchemeDesignator="DCM", CodeMeaning="for Li Wu"),
            ]
        )
    )
    own, lung, language = found.ProcedureCodeSequence
    assert own.CodeValue == code_of(KEY, "code", "L\\DRLI")
    assert (own.CodingSchemeDesignator, own.CodeMeaning) == ("99LOCAL", "Removed")
    assert (lung.CodeValue, lung.CodeMeaning) == ("39607008", "Lung")
    assert language.CodeMeaning == "Language of Content Item and Descendants"


@pytest.mark.parametrize(
    "text", ["T1 TSE sag 5mm", "HEAD^BRAIN", "Chest w/o contrast", "ep2d_diff 1.25", "", "AX FLAIR"]
)
def test_words_of_protocols_are_vocabulary(text: str) -> None:
    assert speaks_vocabulary(text, frozenset())


@pytest.mark.parametrize(
    "text",
    [
        "Brain Smith",
        "Li",
        "seen 12.03.85",
        "MR 20240101",
        "tel 555 123 456",
        "Wilson",
        "head 4711",
        "CT Müller",
        "Dr. House",
    ],
)
def test_names_dates_and_numbers_are_not(text: str) -> None:
    assert not speaks_vocabulary(text, frozenset())


def test_a_patient_named_like_a_word_is_not_left_in_a_text() -> None:
    assert done(made(SeriesDescription="Bone window")).SeriesDescription == "Bone window"
    assert "SeriesDescription" not in done(made(PatientName="Bone^Anna", SeriesDescription="Bone window"))
    assert done(made(StudyDescription="Qx head"), Profile(vocabulary=frozenset({"QX"}))).StudyDescription == "Qx head"


def test_texts_that_cannot_be_decoded_go() -> None:
    dataset = made(SpecificCharacterSet="ISO_IR 192", Manufacturer="MAKER")
    content = as_file(dataset).replace(b"MAKER ", b"M\xc3\x28ER ")
    outcome = result(content)
    assert "Manufacturer" not in done(content)
    assert any("Manufacturer" in note for note in outcome.notes)
    hidden = as_file(dataset).replace(b"MAKER ", b"M\0Li\0 ")
    assert b"Li" not in result(hidden).content[132:]


# -- structured content -----------------------------------------------------------------------------------------------


def test_reports_keep_measurements_and_lose_people() -> None:
    def about(code: str, **values: Any) -> Dataset:
        name = item(CodeValue=code, CodingSchemeDesignator="DCM", CodeMeaning="Age")
        return item(ConceptNameCodeSequence=[name], **values)

    number = item(NumericValue="97", MeasurementUnitsCodeSequence=[])
    content = [
        about("121030", ValueType="TEXT", TextValue="123"),
        about("121031", ValueType="DATE", Date="19500101"),
        about("121033", ValueType="NUM", MeasuredValueSequence=[number]),
        about("121071", ValueType="TEXT", TextValue="Lesion in the left lung, seen by Li"),
        about("121071", ValueType="TEXT", TextValue="Lesion in the left lung"),
        about("121008", ValueType="PNAME", PersonName="Li^Wu"),
        about("111526", ValueType="DATETIME", DateTime="20200101101112"),
        about("112039", ValueType="UIDREF", UID="1.2.3"),
        about("121206", ValueType="NUM", MeasuredValueSequence=[item(NumericValue="97.5")]),
    ]
    who, birth, age, lost, kept, person, when, uid, distance = done(made(ContentSequence=content)).ContentSequence
    assert who.TextValue == lost.TextValue == "REMOVED"
    assert birth.Date == "19000101"
    assert age.MeasuredValueSequence[0].NumericValue == 90
    assert kept.TextValue == "Lesion in the left lung"
    assert person.PersonName == "Removed"
    assert when.DateTime == "20170406101112"
    assert uid_of(KEY, "1.2.3") == uid.UID
    assert distance.MeasuredValueSequence[0].NumericValue == 97.5


# -- profiles ---------------------------------------------------------------------------------------------------------


def test_a_profile_goes_through_json_and_is_told_by_its_hash() -> None:
    profile = Profile(
        dates="anchor",
        anchor="19990101",
        keep=("StudyID",),
        allow_identifiers=("StudyID",),
        replace={"StudyDescription": "TRIAL"},
        private=frozenset({("ACME 1.0", "0019,XX0C")}),
        vocabulary=frozenset({"Qx"}),
    )
    again = Profile.from_json(profile.to_json())
    assert again == profile
    assert (again.hash, hash(again)) == (profile.hash, hash(profile))
    assert again.hash != Profile().hash
    with pytest.raises(DeidError):
        Profile.from_json('{"dates": "shift", "surprise": 1}')


@pytest.mark.parametrize(
    "wrong",
    [
        {"dates": "yes"},
        {"dates": "anchor"},
        {"anchor": "19990101"},
        {"options": frozenset({"retain_everything"})},
        {"options": frozenset({"clean_pixel_data"})},
        {"keep": ("NoSuchKeyword",)},
        {"keep": ("PatientName",)},
        {"keep": ("AccessionNumber",)},
        {"keep": "StudyID"},
        {"remove": ("SOPInstanceUID",)},
        {"replace": {"PatientID": "X"}},
        {"replace": {"StudyDescription": "Müller"}},
        {"replace": {"Rows": "1"}},
        {"private": frozenset({("ACME", "0018,xx0c")})},
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DeidError):
        Profile(**wrong)


def test_what_is_kept_on_purpose_is_kept_and_not_called_basic() -> None:
    profile = Profile(
        keep=("StudyID",), allow_identifiers=("StudyID",), remove=("KVP",), replace={"SeriesDescription": "A"}
    )
    found = done(made(StudyID="S7", KVP=120, SeriesDescription="Li"), profile)
    assert (found.StudyID, found.SeriesDescription, "KVP" in found) == ("S7", "A", False)
    assert found.PatientIdentityRemoved == "NO"
    assert "113100" not in [code.CodeValue for code in found.DeidentificationMethodCodeSequence]
    assert "IDENTIFIERS KEPT: StudyID" in profile.describe()
    assert {row["action"] for row in profile.table() if row["keyword"] == "StudyID"} == {"keep"}


def test_the_codes_are_those_of_what_was_done() -> None:
    def codes(profile: Profile, **values: Any) -> set[str]:
        return {code.CodeValue for code in done(made(**values), profile).DeidentificationMethodCodeSequence}

    assert codes(BASIC) == {"113100"}
    assert codes(Profile(options=frozenset(), dates="keep")) == {"113100", "113106"}
    assert "113105" in codes(Profile(), SeriesDescription="Head")
    assert "113105" not in codes(Profile(), SeriesDescription="Head of Li")
    found = done(made(), BASIC)
    assert found.LongitudinalTemporalInformationModified == "REMOVED"
    assert BASIC.hash[:8] in found.DeidentificationMethod
    assert SUBJECT.patient_id == found.PatientID


def test_a_technical_text_with_the_patients_name_is_emptied_and_the_makers_stays() -> None:
    found = done(made(SequenceName="ep2d_WU", Manufacturer="Philips", InstitutionName="Philips Clinic"))
    assert (found.SequenceName, found.Manufacturer) == ("", "Philips")
    notes = result(made(SequenceName="fl3d 4711")).notes
    assert [note for note in notes if "SequenceName" in note and "4711" not in note]


def test_more_binary_numbers_than_an_attribute_has_are_something_else() -> None:
    dataset = made(ImplicitVRLittleEndian, Rows=2, Columns=2)
    content = as_file(dataset)
    two = b"\x28\x00\x10\x00" + (2).to_bytes(4, "little") + b"\2\0"
    assert content.count(two) == 1
    text = b"WU LI 4711"
    with pytest.raises(DeidError, match="Rows"):
        result(content.replace(two, two[:4] + len(text).to_bytes(4, "little") + text))


def test_a_file_without_a_modality_of_the_standard_is_refused() -> None:
    with pytest.raises(DeidError, match="Modality"):
        result(made(Modality="7301846"))


def test_a_patient_id_that_cannot_be_read_is_nobodys() -> None:
    content = as_file(made(PatientID="4711"))
    with pytest.raises(DeidError, match="PatientID"):
        result(content.replace(b"4711", b"47\xff1"))


def test_a_number_of_unknown_byte_order_goes() -> None:
    def siemens(syntax: str) -> Dataset:
        dataset = made(syntax)
        dataset.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
        dataset.add(DataElement(0x0019100A, "UN", b"\x04\x00"))  # NumberOfImagesInMosaic, a US
        return done(dataset)

    assert siemens(ExplicitVRLittleEndian)[0x0019100A].value == 4
    assert 0x0019100A not in siemens(ExplicitVRBigEndian)
