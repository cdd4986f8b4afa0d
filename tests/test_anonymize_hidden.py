"""What Orthanc's anonymization leaves is found and taken out: the stored copies are searched, byte by byte, for it."""

from __future__ import annotations

import io
import itertools
import struct
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pydicom
import pytest
from faults import Exchange, Fault, Proxy, Script
from pydicom import Dataset, Sequence
from pydicom._dicom_dict import DicomDictionary
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.batch import Options
from orthanc_research.batch._hidden import Rules, hidden, path_of
from orthanc_research.batch._identity import Identity

NAME, NUMBER, BIRTH = "Quillfeather^Zebedee", "MRN-7718281", "19410227"
CANARY, DAY = "CANARYLEAK", "19770707"
UID = "1.2.826.0.1.777777."
VALUES = {"PN": f"{CANARY}^PN", "DA": DAY, "DT": DAY + "101112", "UI": UID}
# A date of publication; no instance is named by these, but classes, codings and encodings.
PUBLIC = {"ContextGroupVersion", "ContextGroupLocalVersion"}
CLASSES = """AvailableTransferSyntaxUID CodingSchemeUID ContextGroupExtensionCreatorUID ContextUID CreatorVersionUID
EncryptedContentTransferSyntaxUID FlowTransferSyntaxUID MACCalculationTransferSyntaxUID MappingResourceUID
OriginalSpecializedSOPClassUID PertinentSOPClassesInSeries PertinentSOPClassesInStudy ReferencedContentItem
ReferencedSOPClassUID RelatedGeneralSOPClassUID SOPClassUID SOPClassesInStudy SOPClassesSupported
SegmentationTemplateUID StoredInstanceTransferSyntaxUID"""


def run(orthanc: ores.Orthanc, resources: Any, tmp_path: Path, **options: Any) -> pd.DataFrame:
    given: dict[str, Any] = {"progress": False, "journal": tmp_path / "j.sqlite"} | options
    return orthanc.anonymize(resources, **given)


def base(patient: int = 0) -> list[Dataset]:
    """Three files of one patient with a name and number of their own."""
    files = ores.samples.cohort(patients=1, studies=1, slices=3, size=16, seed=patient)[:3]
    for file in files:
        file.PatientName, file.PatientID = NAME, f"{NUMBER}{patient}"
        file.PatientBirthDate, file.AccessionNumber = BIRTH, f"ACC-99{patient}"
    return files


def named() -> Dataset:
    """An item that says who the patient is."""
    item = Dataset()
    item.PatientName, item.PatientID, item.PatientBirthDate = NAME, NUMBER, BIRTH
    item.EvaluatorName, item.SecondaryReviewDate = f"{CANARY}^Evaluator", DAY
    item.ReferencedSOPInstanceUID, item.TargetFrameOfReferenceUID = UID + "1", UID + "2"
    item.CodeMeaning, item.CodeValue = "Harmless", "T-1"
    return item


def hide(file: Dataset) -> Dataset:
    """The file with overlays, a curve, and identifiers in two depths of sequences, in several items."""
    deep, middle = named(), Dataset()
    middle.CodeMeaning, middle.FrameContentSequence = "Harmless", Sequence([Dataset(), deep])
    file.AnatomicRegionSequence = Sequence([named(), named()])
    file.SharedFunctionalGroupsSequence = Sequence([middle])
    for group in (0x6000, 0x6002, 0x601E):
        file.add_new(group << 16 | 0x0010, "US", 16)
        file.add_new(group << 16 | 0x0011, "US", 16)
        file.add_new(group << 16 | 0x0022, "LO", f"{CANARY} description")
        file.add_new(group << 16 | 0x1500, "LO", f"{CANARY} label")
        file.add_new(group << 16 | 0x3000, "OW", f"{CANARY} in the bits of a picture ".encode())
        file.add_new(group << 16 | 0x4000, "LT", f"{CANARY} comment")
    file.add_new(0x50003000, "OW", f"{CANARY} curve ".encode())
    file.add_new(0x50002500, "LO", f"{CANARY} curve label")
    block = file.private_block(0x0011, "ACME", create=True)
    block.add_new(1, "LO", f"{CANARY} private")
    block = file.AnatomicRegionSequence[0].private_block(0x0011, "ACME", create=True)
    block.add_new(2, "SQ", [named()])
    file.SegmentDescription = f"tumour of {NAME.partition('^')[2].upper()}"
    file.AnatomicRegionSequence[1].ContentDescription = f"ask for {NUMBER}0"
    file.AnatomicRegionSequence[1].AcquisitionContextDescription = "long " * 60 + NAME.partition("^")[0]
    return file


def copies(orthanc: ores.Orthanc) -> list[bytes]:
    found = orthanc.rest.tools.bulk_content(orthanc.rest.instances.list(), metadata=True)
    return [orthanc.rest.instances.file(x["ID"]) for x in found if "AnonymizedFrom" in x["Metadata"]]


def leaks(content: bytes) -> list[str]:
    secrets = (NUMBER, BIRTH, CANARY, DAY, UID, *NAME.split("^"))
    return [secret for secret in secrets if secret.lower().encode() in content.lower()]


OPTIONS: list[dict[str, Any]] = [
    {},
    {"replace": {"PatientID": "P-1", "PatientName": "P-1", "PatientBirthDate": ""}, "force": True},
    {"dicom_version": "2021b", "keep": ["SeriesDescription"]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=["default", "replaced", "2021b"])
def test_overlays_and_identifiers_in_sequences_are_in_no_copy(
    orthanc: ores.Orthanc, tmp_path: Path, options: dict[str, Any]
) -> None:
    files = base()
    hide(files[1])  # one of three: what is to be removed differs from file to file
    orthanc.upload(files, progress=False)
    ledger = run(orthanc, orthanc.studies(), tmp_path, **options)
    assert ledger["status"].tolist() == ["done"], ledger["error"].tolist()
    assert ledger["engine"].tolist() == ["orthanc"]
    assert ledger["releasable"].tolist() == [False]
    made = copies(orthanc)
    assert len(made) == 3
    assert [leaks(content) for content in made] == [[], [], []]
    read = [pydicom.dcmread(io.BytesIO(content)) for content in made]
    changed = next(file for file in read if "AnatomicRegionSequence" in file)
    # What identifies nobody is where it was.
    assert [item.CodeMeaning for item in changed.AnatomicRegionSequence] == ["Harmless"] * 2
    assert changed.SharedFunctionalGroupsSequence[0].CodeMeaning == "Harmless"
    assert changed.SharedFunctionalGroupsSequence[0].FrameContentSequence[1].CodeValue == "T-1"
    assert {file.PixelData for file in read} == {file.PixelData for file in files}
    # The originals are as they were.
    assert sum(bool(leaks(orthanc.rest.instances.file(each))) for each in orthanc.rest.instances.list()) == 3


def test_no_name_date_or_uid_of_any_attribute_is_left_inside_sequences(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    item, top = Dataset(), base()[0]
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if vr in VALUES and tag >> 16 not in (0, 2, 4, 6) and keyword and keyword not in (*PUBLIC, *CLASSES.split()):
            item.add_new(tag, vr, VALUES[vr] + (str(tag) if vr == "UI" else ""))
            if vr != "UI" and tag not in top:
                top.add_new(tag, vr, VALUES[vr])
    middle = Dataset()
    middle.FrameContentSequence = Sequence([item])
    top.AnatomicRegionSequence, top.SharedFunctionalGroupsSequence = Sequence([item]), Sequence([middle])
    orthanc.upload([top], progress=False)
    ledger = run(orthanc, orthanc.studies(), tmp_path)
    assert ledger["status"].tolist() == ["done"], ledger["error"].tolist()
    (content,) = copies(orthanc)
    assert leaks(content) == []
    assert "AnatomicRegionSequence" in pydicom.dcmread(io.BytesIO(content))


@pytest.mark.one_version
def test_what_the_user_keeps_stays(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    file = hide(base()[0])
    orthanc.upload([file], progress=False)
    deep = "SharedFunctionalGroupsSequence[*].FrameContentSequence[*]"
    keep = ["6000,3000", f"{deep}.EvaluatorName", "0022,1009"]
    ledger = run(orthanc, orthanc.studies(), tmp_path, keep=keep)
    assert ledger["status"].tolist() == ["done"], ledger["error"].tolist()
    (content,) = copies(orthanc)
    read = pydicom.dcmread(io.BytesIO(content))
    assert read[0x60003000].value == file[0x60003000].value
    assert 0x60023000 not in read
    assert read.SharedFunctionalGroupsSequence[0].FrameContentSequence[1].EvaluatorName == f"{CANARY}^Evaluator"
    assert "EvaluatorName" not in read.AnatomicRegionSequence[0]


def embedded(file: Dataset) -> Dataset:
    file.add_new(0x60000010, "US", 16)
    file.add_new(0x60000100, "US", 16)
    file.add_new(0x60000102, "US", 12)
    return file


def test_an_encapsulated_document_is_in_no_copy_unless_it_is_kept(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    report = base()[0]
    report.EncapsulatedDocument, report.MIMETypeOfEncapsulatedDocument = b"%PDF of Quillfeather", "application/pdf"
    stored = orthanc.upload(report, progress=False)
    (plain,) = run(orthanc, stored["ParentStudy"], tmp_path)["AnonymizedID"]
    options = {"keep": ["EncapsulatedDocument"], "journal": tmp_path / "kept.sqlite"}
    (kept,) = run(orthanc, stored["ParentStudy"], tmp_path, **options)["AnonymizedID"]
    below = [orthanc.rest.tools.bulk_content([each], "Instance")[0]["ID"] for each in (plain, kept)]
    files = [orthanc.rest.instances.file(each) for each in below]
    assert [b"Quillfeather" in file for file in files] == [False, True]


@pytest.mark.one_version
def test_an_overlay_in_the_bits_of_the_pixels_is_refused_and_blocks_nobody(
    orthanc: ores.Orthanc, tmp_path: Path
) -> None:
    orthanc.upload([embedded(base(1)[0]), base(2)[0]], progress=False)
    studies = orthanc.studies()
    ledger = run(orthanc, studies, tmp_path).loc[studies.sort_values("PatientID").index]
    assert ledger["status"].tolist() == ["failed", "done"]
    assert "unused bits of their pixels" in ledger["error"].iloc[0]
    assert len(copies(orthanc)) == 1
    again = run(orthanc, ledger.index[:1].tolist(), tmp_path, journal=tmp_path / "2", keep=["6000,0102"])
    assert again["status"].tolist() == ["done"], again["error"].tolist()


def deaf(exchange: Exchange) -> None:
    """A server that goes past what it is asked to remove."""
    head, mark, body = exchange.request.partition(b"\r\n\r\n")
    exchange.request = head + mark + orjson.dumps({**orjson.loads(body), "Remove": []}).ljust(len(body))
    exchange.peer.sendall(exchange.answer)


def test_copies_that_hold_any_after_all_are_never_done(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload([hide(base(1)[0]), base(2)[0]], progress=False)
    studies = orthanc.studies()
    with (
        Proxy(orthanc.url, script=Script([deaf], only="bulk-anonymize")) as proxy,
        ores.Orthanc(proxy.url, auth=orthanc.rest.connection.auth) as client,
    ):
        ledger = run(client, list(studies.index), tmp_path).loc[studies.sort_values("PatientID").index]
    assert ledger["status"].tolist() == ["failed", "done"]
    assert "in 1 of these copies" in ledger["error"].iloc[0]
    assert pd.isna(ledger["AnonymizedID"].iloc[0])
    left = orthanc.leftovers(tmp_path / "j.sqlite")
    assert len(left) == 1
    orthanc.delete(left, expect=1)
    assert [leaks(content) for content in copies(orthanc)] == [[]]


def test_a_sequence_that_nobody_can_look_into_goes(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    # AnatomicRegionSequence by a gateway that does not know it: UN, its items in implicit VR (PS3.5 6.2.2).
    item, file, stored = DicomBytesIO(), base()[0], io.BytesIO()
    item.is_little_endian, item.is_implicit_VR = True, True
    write_dataset(item, named())
    file.add_new(0x00082218, "OB", b"\xfe\xff\x00\xe0" + struct.pack("<L", item.tell()) + item.getvalue())
    file.save_as(stored)
    orthanc.upload([stored.getvalue().replace(b"\x08\x00\x18\x22OB", b"\x08\x00\x18\x22UN")], progress=False)
    assert leaks(orthanc.rest.instances.file(orthanc.rest.instances.list()[0])) != []
    ledger = run(orthanc, orthanc.studies(), tmp_path)
    assert ledger["status"].tolist() == ["done"], ledger["error"].tolist()
    assert [leaks(content) for content in copies(orthanc)] == [[]]


@pytest.mark.one_version
def test_after_a_crash_they_are_looked_for_again(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload([hide(each) for each in base()], progress=False)
    studies, count = orthanc.studies(), itertools.count()

    def lost(exchange: Any) -> None:
        exchange.peer.close()

    def script(request: bytes) -> Fault | None:
        return lost if b"bulk-anonymize" in request[:60] and next(count) == 0 else None

    with (
        Proxy(orthanc.url, script=script) as proxy,
        ores.Orthanc(proxy.url, auth=orthanc.rest.connection.auth) as client,
    ):
        ledger = run(client, list(studies.index), tmp_path)
        assert set(ledger["status"]) == {"done"}, ledger["error"].tolist()
    assert [leaks(content) for content in copies(orthanc)] == [[]] * 3
    text = (tmp_path / "j.sqlite").read_bytes()
    assert not leaks(text)


@pytest.mark.one_version
def test_what_is_asked_for_never_lets_go_of_a_source_or_a_failure(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload([hide(each) for patient in (1, 2) for each in base(patient)], progress=False)
    bodies: list[dict[str, Any]] = []

    def script(request: bytes) -> Fault | None:
        if request.startswith(b"POST /tools/bulk-anonymize"):
            bodies.append(orjson.loads(request.partition(b"\r\n\r\n")[2]))
        return None

    patients = orthanc.patients()
    with (
        Proxy(orthanc.url, script=script) as proxy,
        ores.Orthanc(proxy.url, auth=orthanc.rest.connection.auth) as client,
    ):
        assert set(run(client, list(patients.index), tmp_path)["status"]) == {"done"}
    assert sorted(body["Resources"] for body in bodies) == sorted([each] for each in patients.index)  # one a patient
    for body in bodies:
        assert body["KeepSource"] is True
        assert not {"Permissive", "Transcode", "LossyQuality"} & set(body)
        assert "6000,3000" in body["Remove"]
        assert NUMBER not in str(body)


def test_earlier_outputs_are_told_and_passed_over(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload([file for patient in (1, 2) for file in base(patient)], progress=False)
    first = run(orthanc, orthanc.studies(PatientID=f"{NUMBER}1"), tmp_path)
    assert set(first["status"]) == {"done"}
    for number, find in enumerate((orthanc.studies, orthanc.series, orthanc.patients, orthanc.instances)):
        everything = find()
        before = len(copies(orthanc))
        journal = tmp_path / str(number)
        ledger = run(orthanc, everything, tmp_path, journal=journal)
        assert list(ledger.index) == list(everything.index)
        expected = everything["PatientID"].str.startswith(NUMBER) if "PatientID" in everything else None
        told = ledger["status"] == "already-anonymized"
        if expected is not None:
            assert (told == ~expected).all()
        assert set(ledger["status"]) == {"done", "already-anonymized"}
        assert ledger.loc[told, ["error", "AnonymizedID"]].isna().all(axis=None)
        assert not ledger["releasable"].any()
        assert len(copies(orthanc)) == before + int(ledger["instances"].sum())
        assert int(ledger["instances"].sum()) == 6
        assert set(orthanc.resume(journal, progress=False)["status"]) == {"done", "already-anonymized"}


def test_copies_among_the_originals_are_refused(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    if not orthanc.capabilities().has("requested-tags"):
        pytest.skip("Orthanc 1.10 keeps no PatientID")
    orthanc.upload(base(), progress=False)
    patients = orthanc.patients()
    kept: dict[str, Any] = {"keep": ["PatientID"], "force": True}
    assert set(run(orthanc, patients, tmp_path, **kept)["status"]) == {"done"}
    again = run(orthanc, patients, tmp_path, journal=tmp_path / "2", **kept)
    assert again["status"].tolist() == ["failed"]
    assert "3 of these instances are copies" in again["error"].iloc[0]
    assert len(copies(orthanc)) == 3


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"PatientID": "X"}, "One PatientID for 2 patients would merge them"),
    ({"StudyInstanceUID": "1.2.3"}, "one that is given would merge them"),
    ({"SeriesInstanceUID": "1.2.3"}, "one that is given would merge them"),
    ({"PatientID": ""}, "is empty"),
    ({"PatientName": "Åse"}, "not plain ASCII"),
    ({"StudyDate": "yesterday"}, "has not the form"),
]


@pytest.mark.one_version
@pytest.mark.parametrize(("replace", "words"), REFUSED)
def test_what_would_merge_or_be_dropped_is_refused(
    orthanc: ores.Orthanc, tmp_path: Path, replace: dict[str, str], words: str
) -> None:
    orthanc.upload([base(1)[0], base(2)[0]], progress=False)
    with pytest.raises(errors.QueryError, match=words):
        run(orthanc, orthanc.studies(), tmp_path, replace=replace, force=True)
    assert copies(orthanc) == []
    assert not (tmp_path / "j.sqlite").exists()


@pytest.mark.one_version
def test_the_patient_id_of_somebody_else_is_refused(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload([base(1)[0], base(2)[0]], progress=False)
    one = orthanc.studies(PatientID=f"{NUMBER}1")
    two = orthanc.studies(PatientID=f"{NUMBER}2")
    run(orthanc, one, tmp_path, replace={"PatientID": "S-1"}, force=True)
    for taken in (f"{NUMBER}1", "S-1"):
        with pytest.raises(errors.QueryError, match="another patient's"):
            run(orthanc, two, tmp_path, journal=tmp_path / "2", replace={"PatientID": taken}, force=True)
    assert len(copies(orthanc)) == 1


RULES = Rules.of([], [], "2023b")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"0010,0010": "Doe^Jane", "0008,103e": "CT Jane"}, {"0008,103e"}),
        ({"0010,0010": "Doe^Jane", "0008,103e": "CT Janet"}, set()),
        ({"0010,0010": "Müller^Zoë", "0008,103e": "ZOE, knee"}, {"0008,103e"}),
        ({"0010,0010": "Wang^XiaoDong=王^小东", "0008,103e": "小东的头部"}, {"0008,103e"}),
        ({"0010,0020": "A17", "0008,103e": "dev_a17"}, {"0008,103e"}),
        ({"0010,0020": "A17", "0008,103e": "A170 or BA17"}, set()),
        ({"0010,0020": "7", "0008,103e": "7 slices"}, set()),
        ({"0010,0010": "Wang^Ming=王^明", "0008,103e": "王明"}, {"0008,103e"}),
        ({"0010,0010": "J^R", "0008,103e": "of J. R., knee"}, {"0008,103e"}),
        ({"0010,0010": "J^R", "0008,103e": "major"}, set()),
        ({"0010,0010": "Feige^Mr", "0018,0015": "FEIGE", "0008,0060": "MR"}, {"0018,0015"}),
        ({"0010,0020": "PAT77", "0018,0022": "ZZ\\PAT77", "0008,0055": "AT_PAT77"}, {"0018,0022", "0008,0055"}),
        ({"0010,0020": "1000", "0008,0005": "ISO_IR 1000", "0008,0008": "A\\1000"}, set()),  # needed to read the file
        ({"0010,0020": "15", "0012,0063": "Orthanc 1.13.0 - PS 3.15-2023b Table E.1-1 Basic Profile"}, set()),
        ({"0010,0020": "15", "0012,0063": "Orthanc 1.13.0 of 15"}, {"0012,0063"}),
        ({"0020,9999": "x", "0040,9999": None, "0028,9999": "", "0008,0000": "8"}, {"0020,9999", "0040,9999"}),
        ({"0010,0020": "A-1234", "0008,103e": "of a-1234."}, {"0008,103e"}),
        ({"0010,0020": "A-1234", "0008,0050": "A-1234"}, set()),  # Orthanc empties it
        ({"0008,2218": None}, {"0008,2218"}),
        ({"0008,2218": [{"0099,1010": "x", "0008,9999": "x"}]}, {"0008,2218[*].0008,9999"}),
        ({"0008,2218": [{"0010,0010": ""}, {"0010,0010": "X"}]}, {"0008,2218[*].0010,0010"}),
        ({"0008,2218": [{"0008,0104": None}]}, {"0008,2218[*].0008,0104"}),
        ({"6000,3000": None, "60fe,0022": "x", "6101,0010": "x"}, {"6000,3000", "60fe,0022"}),
        ({"0008,0020": "20200101", "0008,0012": "20200101"}, {"0008,0012"}),
        ({"0008,0020": None}, {"0008,0020"}),
        ({"0042,0011": None, "0008,2218": [{"0042,0011": "JVBERi0="}]}, {"0042,0011", "0008,2218[*].0042,0011"}),
    ],
)
def test_what_is_found_in_the_tags_of_a_file(tags: dict[str, Any], expected: set[str]) -> None:
    assert hidden(tags, RULES, Identity.of(tags)) == expected


def test_who_it_is_comes_from_the_originals_and_is_in_no_repr() -> None:
    both = Identity.of({"0010,0010": "Doe^Jane"}) | Identity.of({"0010,0010": "", "0010,0020": "A-1234"})
    item = {"0008,0104": "Brain of Doe"}
    assert hidden({"0010,0010": "", "0008,2218": [item]}, RULES, both) == {"0008,2218[*].0008,0104"}
    assert hidden({"0010,0010": "Brain^001", "0008,2218": [{"0008,0104": "Brain"}]}, RULES, both) == set()
    assert "Doe" not in repr(both)
    assert "1234" not in repr(both)


def test_the_index_of_an_item_spares_nothing() -> None:
    path = "AnatomicRegionSequence[0].CodeMeaning"
    tags: dict[str, Any] = {"0010,0010": "Doe^Jane", "0008,2218": [{"0008,0104": "x"}, {"0008,0104": "of Doe"}]}
    found = {"0008,2218[*].0008,0104"}
    assert hidden(tags, Rules.of([path], [path], "2023b"), Identity.of(tags)) == found
    assert hidden(tags, Rules.of([path.replace("0", "*")], [], "2023b"), Identity.of(tags)) == set()
    for options in ({"keep": [path]}, {"replace": {path: "x"}}):
        with pytest.raises(errors.QueryError, match="all items"):
            Options(**options)


def test_depth_is_no_obstacle() -> None:
    tags: dict[str, Any] = {"0010,0010": "X^Y"}
    for _ in range(3000):
        tags = {"0008,2218": [tags]}
    assert len(hidden(tags, RULES, Identity())) == 1


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("PatientName", "0010,0010"),
        ("AnatomicRegionSequence[3].00100010", "0008,2218[3].0010,0010"),
        ("0008-2218[*].PatientID", "0008,2218[*].0010,0020"),
    ],
)
def test_paths_are_compared_by_their_numbers(given: str, path: str) -> None:
    assert path_of(given) == path
