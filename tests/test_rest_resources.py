"""The routes of patients, studies, series and instances on real servers: content, tags and what is kept beside."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_files import as_file
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from refusals import refused

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.capabilities import Feature
from orthanc_research.rest import AsyncRest, Connection, Rest

UNKNOWN = "-".join(["00000000"] * 5)


def only_with(rest: Rest, feature: Feature, send: Callable[[], Any]) -> Any:
    """The answer, or None where the server lacks the feature and nothing was sent."""
    if rest.capabilities().has(feature):
        return send()
    refused(rest, send, errors.UnsupportedError)
    return None


def packed(contents: list[bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number}.dcm", content)
    return stream.getvalue()


@pytest.fixture(scope="session")
def made() -> list[bytes]:
    """A patient with two studies, each of 5 CT and 3 MR."""
    return [as_file(dataset) for dataset in ores.samples.cohort(patients=1, studies=2, size=16, slices=3)]


@pytest.fixture
def cohort(rest: Rest, made: list[bytes]) -> Rest:
    """The server with the patient."""
    assert len(rest.instances.upload_zip(packed(made))) == 16
    return rest


@pytest.fixture
def instance(rest: Rest, ct_small: Path) -> str:
    return str(rest.instances.upload(ct_small.read_bytes())["ID"])


# --- upload


def test_a_file_is_stored_from_bytes_a_stream_or_compressed(rest: Rest, ct_small: Path) -> None:
    content = ct_small.read_bytes()
    first = rest.instances.upload(content)
    assert first["Status"] == "Success"
    with ct_small.open("rb") as stream:
        assert rest.instances.upload(stream)["Status"] == "AlreadyStored"
    again = rest.instances.upload(content, gzip=True)
    assert (again["ID"], again["Status"]) == (first["ID"], "AlreadyStored")
    assert {"ParentPatient", "ParentStudy", "ParentSeries"} <= set(again)
    call = rest.instances.upload.call(content, gzip=True)
    assert gzip.decompress(call.content or b"") == content
    assert call.repeatable


def test_a_zip_answers_what_was_stored_and_leaves_out_the_rest(rest: Rest, made: list[bytes]) -> None:
    answers = rest.instances.upload_zip(packed([*made[:3], b"junk"]))
    assert [answer["Status"] for answer in answers] == ["Success"] * 3
    assert sorted(answer["ID"] for answer in answers) == sorted(rest.instances.list())
    assert rest.instances.upload_zip(packed([b"junk"])) == []
    refused(rest, lambda: rest.instances.upload_zip(made[0]), match="not a zip")
    with pytest.raises(errors.ResponseError):
        rest.instances.upload(packed(made[:2]))


def test_what_cannot_be_stored_says_why(rest: Rest) -> None:
    for bad in (b"", b"junk", b"\0" * 128 + b"DICM"):
        with pytest.raises(errors.ServerError) as caught:
            rest.instances.upload(bad)
        assert (caught.value.status, caught.value.orthanc_status) == (400, 15)
    nameless = Dataset()
    nameless.file_meta = FileMetaDataset()
    nameless.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    nameless.SOPClassUID, nameless.SOPInstanceUID = pydicom.uid.CTImageStorage, "1.2.3"
    with pytest.raises(errors.NotFoundError) as missing:
        rest.instances.upload(as_file(nameless))
    assert missing.value.orthanc_status == 21


# --- what is there


def test_lists_come_expanded_paged_and_with_tags_that_were_asked_for(cohort: Rest) -> None:
    assert [value["Type"] for value in cohort.studies.list_expanded()] == ["Study"] * 2
    pages = [value["ID"] for since in (0, 1) for value in cohort.studies.list_expanded(since, 1)]
    assert sorted(pages) == sorted(cohort.studies.list())
    (short,) = cohort.patients.list_expanded(form="short")
    assert short["MainDicomTags"]["0010,0040"] == "M" or short["MainDicomTags"]["0010,0040"] == "F"
    (full,) = cohort.patients.list_expanded(form="full")
    assert full["MainDicomTags"]["0010,0020"]["Name"] == "PatientID"
    asked = ("PatientID", "KVP")
    series = only_with(cohort, "requested-tags", lambda: cohort.series.list_expanded(requested_tags=asked))
    if series is not None:
        assert sorted(str(value["RequestedTags"]["KVP"]) for value in series) == ["120", "120", "None", "None"]
        with pytest.raises(errors.ServerError, match="Unknown DICOM tag") as caught:
            cohort.series.list_expanded(requested_tags=["NoSuchTag"])
        assert caught.value.status == 400
    found = only_with(
        cohort, "extended-find", lambda: cohort.series.list_expanded(0, 1, response_content=["Parent", "Metadata"])
    )
    if found is not None:
        assert {"ParentStudy", "Metadata"} <= set(found[0])
        assert "MainDicomTags" not in found[0]
    only_with(cohort, "response-protected", lambda: cohort.patients.list_expanded(response_content=["IsProtected"])[0])
    wrong: Any = "Nope"
    refused(cohort, lambda: cohort.series.list_expanded(response_content=[wrong]), match="Response content is one of")
    refused(cohort, lambda: cohort.series.list_expanded(form=wrong), match="form of tags")
    refused(cohort, lambda: cohort.series.list_expanded(requested_tags="KVP"), match="list of tags")
    refused(cohort, lambda: cohort.series.list_expanded(limit=0), match="limit")
    refused(cohort, lambda: cohort.series.list_expanded(-1, 5), match="from 0")


def test_a_resource_knows_what_is_above_and_below(cohort: Rest) -> None:
    (patient,) = cohort.patients.list()
    assert len(cohort.patients.children(patient, "Study")) == 2
    assert len(cohort.patients.children(patient, "Series")) == 4
    assert len(cohort.patients.children(patient, "Instance")) == 16
    study = cohort.studies.list()[0]
    assert [value["Type"] for value in cohort.studies.children(study, "Series")] == ["Series"] * 2
    assert len(cohort.studies.children(study, "Instance")) == 8
    series = cohort.studies.read(study)["Series"][0]
    (first, *_) = cohort.series.children(series, "Instance", form="short")
    assert "0008,0018" in first["MainDicomTags"]
    ids = only_with(cohort, "children-ids", lambda: cohort.studies.children_ids(study, "Series"))
    assert ids is None or sorted(ids) == sorted(cohort.studies.read(study)["Series"])
    assert cohort.instances.parent(first["ID"], "Patient")["ID"] == patient
    assert cohort.instances.parent(first["ID"], "Study")["ID"] == study
    assert cohort.instances.parent(first["ID"], "Series")["ID"] == series
    assert cohort.series.parent(series, "Study", form="short")["MainDicomTags"]["0020,000d"]
    assert cohort.series.parent(series, "Patient")["ID"] == cohort.studies.parent(study, "Patient")["ID"] == patient
    asked = only_with(cohort, "requested-tags", lambda: cohort.series.read(series, requested_tags=["PatientSex"]))
    assert asked is None or asked["RequestedTags"]["PatientSex"] in "FM"
    refused(cohort, lambda: cohort.studies.children(study, "Patient"), match="below Study is one of Series, Instance")
    refused(cohort, lambda: cohort.series.parent(series, "Instance"), match="above Series is one of Patient, Study")
    absent: list[Callable[[], object]] = [
        lambda: cohort.studies.children(UNKNOWN, "Series"),
        lambda: cohort.instances.parent(UNKNOWN, "Study"),
        lambda: cohort.patients.statistics(UNKNOWN),
        lambda: cohort.studies.statistics(UNKNOWN),
        lambda: cohort.series.statistics(UNKNOWN),
        lambda: cohort.instances.statistics(UNKNOWN),
    ]
    for send in absent:
        with pytest.raises(errors.NotFoundError):
            send()


def test_a_deletion_says_what_remains_above(cohort: Rest) -> None:
    (patient,) = cohort.patients.list()
    series = cohort.series.list()[0]
    study = cohort.series.read(series)["ParentStudy"]
    assert cohort.series.delete(series)["RemainingAncestor"]["ID"] == study
    assert cohort.studies.delete(study)["RemainingAncestor"]["ID"] == patient
    assert cohort.patients.delete(patient)["RemainingAncestor"] is None
    assert cohort.instances.list() == []


def test_a_patient_is_spared_from_recycling(rest: Rest, instance: str) -> None:
    (patient,) = rest.patients.list()
    assert rest.patients.protected(patient) is False
    rest.patients.protect(patient)
    assert rest.patients.protected(patient) is True
    rest.patients.protect(patient, False)
    assert rest.patients.protected(patient) is False
    with pytest.raises(errors.ServerError) as caught:
        rest.patients.protected(UNKNOWN)
    assert (caught.value.status, caught.value.orthanc_status) == (400, 3)
    with pytest.raises(errors.ServerError):
        rest.patients.protect(UNKNOWN)


def test_the_index_is_written_anew_from_the_files(rest: Rest, instance: str) -> None:
    rest.instances.put_metadata(instance, 1024, "mine")
    for area in (rest.patients, rest.studies, rest.series, rest.instances):
        (identifier,) = area.list()
        before = area.read(identifier)["MainDicomTags"]
        area.reconstruct(identifier)
        assert area.read(identifier)["MainDicomTags"] == before
        with pytest.raises(errors.NotFoundError):
            area.reconstruct(UNKNOWN)
    assert rest.instances.metadata_value(instance, 1024) == "mine"
    (series,) = rest.series.list()
    only_with(rest, "reconstruct-level", lambda: rest.series.reconstruct(series, only_this_level=True))
    # 1.12.7 never answers this, and no request that writes after it.
    only_with(rest, "reconstruct-files", lambda: rest.series.reconstruct(series, files=True))
    assert rest.capabilities().has("reconstruct-files") is rest.capabilities().version.startswith("1.13")
    assert rest.instances.md5(instance) == hashlib.md5(rest.instances.file(instance)).hexdigest()
    assert not rest.series.reconstruct.call(series).repeatable


def test_orthancs_order_of_slices(cohort: Rest) -> None:
    for series in cohort.series.list():
        found = cohort.series.ordered_slices(series)
        assert found["Type"] == "Volume"
        instances = [identifier for identifier, _, _ in found["SlicesShort"]]
        positions = [cohort.instances.tags(identifier)["0020,1041"] for identifier in instances]
        assert positions == sorted(positions, key=float)
    with pytest.raises(errors.OrthancError):
        cohort.series.ordered_slices(UNKNOWN)


# --- what is in the files


def test_tags_come_in_three_forms(rest: Rest, instance: str) -> None:
    short = rest.instances.tags(instance)
    full = rest.instances.tags(instance, form="full")
    names = rest.instances.tags(instance, form="names")
    assert short["0028,0010"] == full["0028,0010"]["Value"] == names["Rows"] == "128"
    assert short.keys() == full.keys()
    assert len(names) < len(short)
    assert rest.instances.simplified_tags(instance) == names
    whole = only_with(rest, "whole-tags", lambda: rest.instances.tags(instance, whole=True))
    assert whole is None or set(whole) - set(short) == {"fffc,fffc"}
    wrong: Any = "long"
    refused(rest, lambda: rest.instances.tags(instance, form=wrong))
    for send in (partial(rest.instances.tags, UNKNOWN), partial(rest.instances.simplified_tags, UNKNOWN)):
        with pytest.raises(errors.NotFoundError):
            send()


def test_long_values_are_null_until_they_are_asked_for(rest: Rest, ct_small: Path) -> None:
    dataset = pydicom.dcmread(ct_small)
    dataset.ImageComments = "x" * 300
    identifier = rest.instances.upload(as_file(dataset))["ID"]
    (series,) = rest.series.list()
    assert rest.instances.tags(identifier)["0020,4000"] is None
    assert rest.instances.tags(identifier, form="full")["0020,4000"]["Type"] == "TooLong"
    asked = ["0020-4000", "0008-0008"]
    assert rest.instances.tags(identifier, asked)["0020,4000"] == "x" * 300
    assert rest.series.instances_tags(series, asked)[identifier]["0020,4000"] == "x" * 300
    assert rest.series.instances_tags(series, asked, form="full")[identifier]["0020,4000"]["Type"] == "String"
    with pytest.raises(errors.ServerError) as caught:
        rest.instances.tags(identifier, ["NoSuchTag"])
    assert (caught.value.status, caught.value.orthanc_status) == (500, 27)


def test_the_header_is_group_2(rest: Rest, instance: str) -> None:
    assert rest.instances.header(instance)["0002,0010"] == pydicom.uid.ExplicitVRLittleEndian
    assert rest.instances.header(instance, form="full")["0002,0013"]["Name"] == "ImplementationVersionName"
    assert rest.instances.header(instance, form="names")["SourceApplicationEntityTitle"] == "CLUNIE1"
    with pytest.raises(errors.NotFoundError):
        rest.instances.header(UNKNOWN)


def test_a_value_is_found_by_its_path(rest: Rest, instance: str, ct_small: Path) -> None:
    content, items = rest.instances.content, rest.instances.content_list
    assert content(instance, "PatientName") == b"CompressedSamples^CT1 "  # as it is, padded
    for tag in ("0010-0020", "0010,0020", "00100020"):
        assert content(instance, tag).rstrip() == b"1CT1"
    assert items(instance, "OtherPatientIDsSequence") == ["0", "1"]
    assert items(instance, "0010,1002", 0) == ["0010-0020", "0010-0022"]
    assert content(instance, "0010,1002", 1, "PatientID") == b"1234ABCD"
    assert "0010-0010" in items(instance)
    assert content(instance, "PixelData", 0) == pydicom.dcmread(ct_small).PixelData
    with pytest.raises(errors.ResponseError, match="content_list"):
        content(instance, "OtherPatientIDsSequence")
    with pytest.raises(errors.ResponseError):
        items(instance, "PatientName")
    absent: list[list[Any]] = [
        [UNKNOWN, "PatientName"],
        [instance, "PatientBirthTime"],
        [instance, "0010,1002", 9, "PatientID"],
    ]
    for path in absent:
        with pytest.raises(errors.NotFoundError):
            content(*path)
    with pytest.raises(errors.ServerError) as caught:
        content(instance, "NoSuchTag")
    assert caught.value.orthanc_status == 27
    steps: list[list[Any]] = [[], [".."], ["a/b"], ["0010,1002", -1]]
    for path in steps:
        refused(rest, partial(content, instance, *path))


def test_shared_tags_and_modules(cohort: Rest) -> None:
    (patient,) = cohort.patients.list()
    series = next(value["ID"] for value in cohort.series.list_expanded() if value["MainDicomTags"]["Modality"] == "CT")
    study = cohort.series.read(series)["ParentStudy"]
    shared = cohort.series.shared_tags(series)
    assert shared["0008,0060"] == "CT"
    assert "0020,0013" not in shared  # InstanceNumber differs
    assert "0008,0060" not in cohort.studies.shared_tags(study)
    assert cohort.patients.shared_tags(patient, form="names")["PatientID"].startswith("SYN-")
    assert cohort.patients.module(patient)["0010,0020"] == cohort.studies.module_patient(study)["0010,0020"]
    assert cohort.studies.module(study, form="names")["StudyDescription"] == "Synthetic chest CT and head MR"
    assert cohort.series.module(series, form="full")["0008,0060"]["Value"] == "CT"
    some = cohort.series.read(series)["Instances"][0]
    assert "0008,0018" in cohort.instances.module(some)
    assert len(cohort.patients.instances_tags(patient)) == 16
    for send in (
        lambda: cohort.series.shared_tags(UNKNOWN),
        lambda: cohort.series.module(UNKNOWN),
        lambda: cohort.studies.module_patient(UNKNOWN),
        lambda: cohort.studies.instances_tags(UNKNOWN),
    ):
        with pytest.raises(errors.NotFoundError):
            send()


def test_a_file_comes_as_it_was_stored_or_in_dicomweb_form(rest: Rest, ct_small: Path) -> None:
    dataset = pydicom.dcmread(ct_small)
    identifier = rest.instances.upload(ct_small.read_bytes())["ID"]
    assert rest.instances.dicom_json(identifier)["00100020"]["Value"] == ["1CT1"]
    assert b"NativeDicomModel" in rest.instances.dicom_xml(identifier)[:300]
    implicit = pydicom.uid.ImplicitVRLittleEndian
    again = only_with(rest, "file-transcode", lambda: rest.instances.file(identifier, transcode=implicit))
    if again is not None:
        other = pydicom.dcmread(io.BytesIO(again))
        assert other.file_meta.TransferSyntaxUID == implicit
        assert other.PixelData == dataset.PixelData
    refused(rest, lambda: rest.instances.file(identifier, transcode="JPEG"), match="UID")
    refused(rest, lambda: rest.instances.file(identifier, lossy_quality=5), match="belongs to transcode")
    refused(rest, lambda: rest.instances.file(identifier, transcode=implicit, lossy_quality=0), match="1 to 100")
    for send in (lambda: rest.instances.dicom_json(UNKNOWN), lambda: rest.instances.file(UNKNOWN)):
        with pytest.raises(errors.NotFoundError):
            send()


def test_the_pdf_within(rest: Rest, instance: str, ct_small: Path) -> None:
    document = b"%PDF-1.4\n%%EOF\n\n"
    dataset = pydicom.dcmread(ct_small)
    for name in ("PixelData", "Rows", "Columns"):
        del dataset[name]
    dataset.SOPClassUID, dataset.SOPInstanceUID = pydicom.uid.EncapsulatedPDFStorage, "1.2.3.4"
    dataset.Modality, dataset.EncapsulatedDocument = "DOC", document
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    identifier = rest.instances.upload(as_file(dataset))["ID"]
    assert rest.instances.pdf(identifier) == document
    for other in (instance, UNKNOWN):
        with pytest.raises(errors.NotFoundError):
            rest.instances.pdf(other)


# --- what is kept beside them


def test_metadata_of_ours_is_written_and_orthancs_own_is_not(rest: Rest, instance: str) -> None:
    for area in (rest.patients, rest.studies, rest.series, rest.instances):
        (identifier,) = area.list()
        area.put_metadata(identifier, 1024, "Grüße")
        assert area.metadata_value(identifier, 1024) == area.metadata(identifier)["1024"] == "Grüße"
        assert "1024" in area.metadata_names(identifier)
        area.delete_metadata(identifier, "1024")
        for gone in (area.delete_metadata, area.metadata_value):
            with pytest.raises(errors.NotFoundError):
                gone(identifier, 1024)
    assert rest.instances.metadata_value(instance, "TransferSyntax") == pydicom.uid.ExplicitVRLittleEndian
    numbers = only_with(rest, "metadata-numeric", lambda: rest.instances.metadata(instance, numeric=True))
    assert numbers is None or pydicom.uid.ExplicitVRLittleEndian in numbers.values()
    with pytest.raises(errors.AccessError):
        rest.instances.put_metadata(instance, "RemoteAET", "x")
    with pytest.raises(errors.AccessError):
        rest.instances.delete_metadata(instance, "RemoteAET")
    with pytest.raises(errors.NotFoundError):
        rest.instances.put_metadata(instance, "undeclared", "x")
    with pytest.raises(errors.NotFoundError):
        rest.instances.metadata(UNKNOWN)
    refused(rest, lambda: rest.instances.metadata_value(instance, "../x"))


def test_of_two_writers_one_loses(rest: Rest, instance: str) -> None:
    rest.instances.put_metadata(instance, 1024, "first")
    seen = rest.instances.metadata_etag(instance, 1024)
    rest.instances.put_metadata(instance, 1024, "second", if_match=seen)
    for late in (
        partial(rest.instances.put_metadata, instance, 1024, "third", if_match=seen),
        partial(rest.instances.delete_metadata, instance, 1024, if_match=seen),
    ):
        with pytest.raises(errors.ConflictError):
            late()
    assert rest.instances.metadata_value(instance, 1024) == "second"


def test_attachments_are_described_read_and_checked(rest: Rest, instance: str, ct_small: Path) -> None:
    content = ct_small.read_bytes()
    digest = hashlib.md5(content).hexdigest()
    area = rest.instances
    assert area.attachments(instance)["dicom"] == 1
    assert area.attachment_info(instance, "dicom")["UncompressedMD5"] == digest
    assert area.attachment_size(instance, "dicom") == len(content)
    assert area.attachment_md5(instance, "dicom") == digest
    assert area.attachment_data(instance, "dicom") == content
    area.attachment_verify(instance, "dicom")
    assert area.attachment_compressed(instance, "dicom") is False
    area.attachment_compress(instance, "dicom")
    assert area.attachment_compressed(instance, "dicom") is True
    stored = area.attachment_data(instance, "dicom", as_stored=True)
    assert area.attachment_size(instance, "dicom", as_stored=True) == len(stored) < len(content)
    assert area.attachment_md5(instance, "dicom", as_stored=True) == hashlib.md5(stored).hexdigest()
    assert area.attachment_data(instance, "dicom") == content
    area.attachment_uncompress(instance, "dicom")
    assert area.attachment_data(instance, "dicom", as_stored=True) == content
    for send in (
        lambda: area.attachments(UNKNOWN),
        lambda: area.attachment_data(instance, "nope"),
        lambda: area.attachment_md5(UNKNOWN, "dicom"),
        lambda: area.attachment_size(instance, 1024),
        lambda: area.attachment_info(instance, "nope"),
        lambda: area.attachment_verify(UNKNOWN, "dicom"),
        lambda: area.attachment_compressed(UNKNOWN, "dicom"),
        lambda: area.attachment_compress(UNKNOWN, "dicom"),
        lambda: area.attachment_uncompress(UNKNOWN, "dicom"),
    ):
        with pytest.raises(errors.NotFoundError):
            send()


def test_a_part_of_an_attachment_is_that_part_or_refused(rest: Rest, instance: str, ct_small: Path) -> None:
    content = ct_small.read_bytes()
    area = rest.instances
    some = only_with(rest, "attachment-range", lambda: area.attachment_data(instance, "dicom", part=(128, 132)))
    if some is not None:  # 1.10.1 would send the whole file
        assert some == b"DICM"
        last = len(content)
        assert area.attachment_data(instance, "dicom", part=(last - 3, last)) == content[-3:]
        with pytest.raises(errors.ServerError) as caught:
            area.attachment_data(instance, "dicom", part=(last - 3, last + 1))
        assert caught.value.status == 416
    for part in ((5, 5), (-1, 4)):
        refused(rest, partial(area.attachment_data, instance, "dicom", part=part))


def test_a_file_is_attached_and_taken_off(rest: Rest, instance: str) -> None:
    (study,) = rest.studies.list()
    assert rest.studies.attachments(study) == {}
    rest.studies.put_attachment(study, 1030, b"first")
    rest.studies.put_attachment(study, 1030, b"second")
    assert rest.studies.attachments(study) == {"1030": 1030}
    assert rest.studies.attachment_data(study, 1030) == b"second"
    with pytest.raises(errors.ConflictError):
        rest.studies.put_attachment(study, 1030, b"third", if_match='"7-0"')
    with pytest.raises(errors.ConflictError):
        rest.studies.delete_attachment(study, 1030, if_match='"7-0"')
    rest.studies.delete_attachment(study, 1030)
    with pytest.raises(errors.NotFoundError):
        rest.studies.attachment_data(study, 1030)
    with pytest.raises(errors.AccessError):
        rest.instances.delete_attachment(instance, "dicom")
    with pytest.raises(errors.NotFoundError):
        rest.studies.put_attachment(study, "undeclared", b"x")
    if rest.capabilities().version != "1.10.1":  # which answers 200 and keeps nothing
        with pytest.raises(errors.NotFoundError):
            rest.studies.put_attachment(UNKNOWN, 1030, b"x")


@pytest.mark.parametrize("level", ["patients", "studies", "series", "instances"])
def test_labels_at_each_level_or_none_at_all(rest: Rest, instance: str, level: str) -> None:
    area: Any = getattr(rest, level)
    (identifier,) = area.list()
    for label in ("", "Müller", "a b", "x" * 65):
        refused(rest, partial(area.add_label, identifier, label))
    assert only_with(rest, "labels", partial(area.add_label, identifier, "to-read_2")) is None
    assert only_with(rest, "labels", partial(area.has_label, identifier, "to-read_2")) is None
    assert only_with(rest, "labels", partial(area.labels, identifier)) in (None, ["to-read_2"])
    assert only_with(rest, "labels", partial(area.remove_label, identifier, "to-read_2")) is None
    if rest.capabilities().has("labels"):
        assert area.labels(identifier) == []
        area.remove_label(identifier, "to-read_2")
        for send in (
            partial(area.has_label, identifier, "to-read_2"),
            partial(area.labels, UNKNOWN),
            partial(area.add_label, UNKNOWN, "x"),
        ):
            with pytest.raises(errors.NotFoundError):
                send()


# --- the same, awaited


def test_every_route_is_there_for_those_who_await(connection: Connection, cohort: Rest) -> None:
    series = cohort.series.list()[0]
    identifier = cohort.series.read(series)["Instances"][0]

    async def ask() -> None:
        async with AsyncRest(connection) as client:
            for area in ("patients", "studies", "series", "instances"):
                names = {name for name in dir(getattr(cohort, area)) if not name.startswith("_")}
                assert names == {name for name in dir(getattr(client, area)) if not name.startswith("_")}
            assert await client.series.shared_tags(series) == cohort.series.shared_tags(series)
            assert await client.instances.numpy(identifier) == cohort.instances.numpy(identifier)
            assert await client.instances.content(identifier, "Modality") in (b"CT", b"MR")
            answer = await client.series.anonymize(series, synchronous=True)
            assert answer["InstancesCount"] in (3, 5)
            with pytest.raises(errors.ResponseError, match="content_list"):
                await client.instances.content(identifier, "PixelData")

    asyncio.run(ask())
