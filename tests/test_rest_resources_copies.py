"""The routes that make copies, on real servers: anonymize, modify, split, merge, archives and media."""

from __future__ import annotations

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
from refusals import refused

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.capabilities import Feature
from orthanc_research.rest import Job, Rest

UNKNOWN = "-".join(["00000000"] * 5)
IMPLICIT = "1.2.840.10008.1.2"


def parsed(content: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(content))


def finished(rest: Rest, answer: dict[str, Any]) -> Job:
    """The job of an answer, when it is over."""
    assert answer["Path"] == f"/jobs/{answer['ID']}"
    for _ in range(2000):
        job = rest.jobs.read(answer["ID"])
        if job.done:
            return job
    raise AssertionError("the job does not end")


def members(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


def orthanc_id(patient: str) -> str:
    digest = hashlib.sha1(patient.encode()).hexdigest()
    return "-".join(digest[at : at + 8] for at in range(0, 40, 8))


def first_below(rest: Rest, area: Any, resource: str) -> Dataset:
    return parsed(rest.instances.file(area.children(resource, "Instance")[0]["ID"]))


@pytest.fixture(scope="session")
def made() -> list[bytes]:
    """A patient with two studies, each of 5 CT and 3 MR."""
    return [as_file(dataset) for dataset in ores.samples.cohort(patients=1, studies=2, size=16, slices=3)]


@pytest.fixture
def cohort(rest: Rest, made: list[bytes]) -> Rest:
    """The server with the patient."""
    for content in made:
        rest.instances.upload(content)
    return rest


# --- anonymize and modify


@pytest.mark.parametrize("level", ["patients", "studies", "series"])
def test_an_anonymized_copy_of_each_level_is_made(cohort: Rest, level: str) -> None:
    area: Any = getattr(cohort, level)
    source = area.list()[0]
    count = len(area.children(source, "Instance"))
    answer = area.anonymize(
        source,
        replace={"PatientName": "Nobody"},
        keep=["StudyDescription"],
        remove=["StationName"],
        dicom_version="2017c",
        synchronous=True,
    )
    assert (answer["InstancesCount"], answer["FailedInstancesCount"]) == (count, 0)
    assert answer["ID"] != source
    copy = first_below(cohort, area, answer["ID"])
    assert (copy.PatientName, copy.StudyDescription) == ("Nobody", "Synthetic chest CT and head MR")
    assert "StationName" not in copy
    assert not copy.PatientID.startswith("SYN-")
    assert len(cohort.instances.list()) == 16 + count
    assert source in area.list()


def test_a_job_is_the_default_and_is_never_sent_twice(cohort: Rest) -> None:
    source = cohort.studies.list()[0]
    job = finished(cohort, cohort.studies.anonymize(source, priority=3))
    assert (job.type, job.state) == ("ResourceModification", "Success")
    assert job.content["ID"] in cohort.studies.list()
    job = finished(cohort, cohort.series.modify(cohort.series.list()[0], replace={"SeriesDescription": "New"}))
    assert cohort.series.read(job.content["ID"])["MainDicomTags"]["SeriesDescription"] == "New"
    for call in (
        cohort.studies.anonymize.call(source),
        cohort.studies.modify.call(source, replace={"StudyDescription": "x"}, synchronous=True),
        cohort.studies.merge.call(source, [UNKNOWN]),
        cohort.studies.split.call(source, series=[UNKNOWN]),
        cohort.studies.archive_job.call(source),
        cohort.instances.anonymize.call(UNKNOWN),
    ):
        assert not call.repeatable
    body = cohort.studies.anonymize.call(source).json
    assert (body["KeepSource"], body["Synchronous"], body["Force"]) == (True, False, False)
    assert "Permissive" not in body
    assert "Transcode" not in body


def test_a_modified_copy_of_each_level_is_made(cohort: Rest) -> None:
    (patient,) = cohort.patients.list()
    study, series = cohort.studies.list()[0], cohort.series.list()[0]
    made = cohort.studies.modify(
        study, replace={"StudyDescription": "New"}, remove=["StationName"], remove_private_tags=True, synchronous=True
    )
    copy = first_below(cohort, cohort.studies, made["ID"])
    assert copy.StudyDescription == "New"
    assert "StationName" not in copy
    assert made["PatientID"] == patient
    made = cohort.series.modify(series, replace={"SeriesDescription": "New"}, synchronous=True)
    assert cohort.series.read(made["ID"])["ParentStudy"] == cohort.series.read(series)["ParentStudy"]
    made = cohort.series.modify(
        series, replace={"SeriesDescription": "Kept"}, keep=["SOPInstanceUID"], force=True, synchronous=True
    )
    old, new = (
        {value["MainDicomTags"]["SOPInstanceUID"] for value in cohort.series.children(one, "Instance")}
        for one in (series, made["ID"])
    )
    assert old == new
    made = cohort.patients.modify(patient, replace={"PatientID": "OTHER"}, force=True, synchronous=True)
    assert made["ID"] == made["PatientID"] == orthanc_id("OTHER")


def test_sources_go_only_when_asked_for(cohort: Rest) -> None:
    study = cohort.studies.list()[0]
    made = cohort.studies.modify(study, replace={"StudyDescription": "New"}, keep_source=False, synchronous=True)
    assert study not in cohort.studies.list()
    assert made["ID"] in cohort.studies.list()
    for send in (
        partial(cohort.studies.modify, study, remove=["StudyID"]),
        partial(cohort.studies.anonymize, study),
        partial(cohort.studies.merge, study, [UNKNOWN]),
        partial(cohort.studies.split, study, series=[UNKNOWN]),
    ):
        refused(cohort, partial(send, permissive=True, keep_source=False), match="delete the sources")


def test_private_tags_are_kept_and_written_on_request(rest: Rest, ct_small: Path) -> None:
    identifier = rest.instances.upload(ct_small.read_bytes())["ID"]
    assert (0x0009, 0x0010) not in parsed(rest.instances.anonymize(identifier))
    kept = parsed(rest.instances.anonymize(identifier, keep_private_tags=True))
    assert kept[0x0009, 0x0010].value == "GEMS_IDEN_01"
    new = parsed(rest.instances.modify(identifier, replace={"0009,1001": "mine"}, private_creator="GEMS_IDEN_01"))
    assert new[0x0009, 0x1001].value in ("mine", b"mine", b"mine\0", b"mine ")
    assert (0x0009, 0x0010) not in parsed(rest.instances.modify(identifier, remove_private_tags=True))


def test_one_instance_comes_back_as_a_file_and_nothing_is_stored(rest: Rest, ct_small: Path) -> None:
    identifier = rest.instances.upload(ct_small.read_bytes())["ID"]
    source = pydicom.dcmread(ct_small)
    copy = parsed(rest.instances.anonymize(identifier, replace={"PatientName": "Nobody"}, keep=["Manufacturer"]))
    assert (copy.PatientName, copy.Manufacturer) == ("Nobody", source.Manufacturer)
    assert copy.PatientID != "1CT1"
    assert copy.SOPInstanceUID != source.SOPInstanceUID
    copy = parsed(rest.instances.modify(identifier, replace={"PatientID": "P"}, remove=["StudyDate"], force=True))
    assert copy.PatientID == "P"
    assert "StudyDate" not in copy
    same = parsed(rest.instances.modify(identifier, keep=["SOPInstanceUID"], force=True))
    assert same.SOPInstanceUID == source.SOPInstanceUID
    assert parsed(rest.instances.modify(identifier, transcode=IMPLICIT)).file_meta.TransferSyntaxUID == IMPLICIT
    transcode = partial(rest.instances.anonymize, identifier, transcode=IMPLICIT)
    if rest.capabilities().has("anonymize-transcode"):
        assert parsed(transcode()).file_meta.TransferSyntaxUID == IMPLICIT
    else:
        refused(rest, transcode, errors.UnsupportedError)
    assert rest.instances.list() == [identifier]


def test_a_copy_is_encoded_anew_when_asked_for(cohort: Rest) -> None:
    series = cohort.series.list()[0]
    for made in (
        cohort.series.anonymize(series, transcode=IMPLICIT, synchronous=True),
        cohort.series.modify(series, transcode=IMPLICIT, synchronous=True),
    ):
        assert first_below(cohort, cohort.series, made["ID"]).file_meta.TransferSyntaxUID == IMPLICIT


def test_an_option_that_this_server_lacks_is_not_sent(cohort: Rest) -> None:
    study = cohort.studies.list()[0]
    options: list[tuple[Feature, Callable[[], object]]] = [
        ("profile-2023b", partial(cohort.studies.anonymize, study, dicom_version="2023b", synchronous=True)),
        ("profile-2023b", partial(cohort.instances.anonymize, cohort.instances.list()[0], dicom_version="2023b")),
        ("keep-labels", partial(cohort.studies.anonymize, study, keep_labels=True, synchronous=True)),
        ("job-user-data", partial(cohort.studies.modify, study, remove=["StudyID"], user_data={"a": 1})),
        ("lossy-quality", partial(cohort.studies.modify, study, transcode=IMPLICIT, lossy_quality=90)),
        ("archive-filename", partial(cohort.studies.archive, study, filename="a.zip")),
        ("archive-utf8", partial(cohort.studies.media_job, study, utf8=True)),
    ]
    for feature, send in options:
        if cohort.capabilities().has(feature):
            assert send()
        else:
            refused(cohort, send, errors.UnsupportedError)


def test_labels_go_with_the_copy_on_request(cohort: Rest) -> None:
    if not cohort.capabilities().has("keep-labels"):
        return
    study = cohort.studies.list()[0]
    cohort.studies.add_label(study, "mine")
    for keep, labels in ((True, ["mine"]), (False, [])):
        made = cohort.studies.anonymize(study, keep_labels=keep, synchronous=True)
        assert cohort.studies.labels(made["ID"]) == labels
        made = cohort.studies.modify(study, remove=["StudyID"], keep_labels=keep, synchronous=True)
        assert cohort.studies.labels(made["ID"]) == labels


def test_what_makes_no_sense_is_refused_before_it_is_sent(cohort: Rest) -> None:
    study = cohort.studies.list()[0]
    wrong: Any = "2099"
    for send in (
        partial(cohort.studies.anonymize, study, dicom_version=wrong),
        partial(cohort.studies.anonymize, study, keep="StudyDate"),
        partial(cohort.studies.anonymize, study, remove="StudyDate"),
        partial(cohort.studies.anonymize, study, synchronous=True, priority=5),
        partial(cohort.studies.anonymize, study, transcode="JPEG"),
        partial(cohort.studies.modify, study),
        partial(cohort.studies.split, study),
        partial(cohort.studies.split, study, series="abc"),
        partial(cohort.studies.merge, study, []),
        partial(cohort.studies.merge, study, "abc"),
        partial(cohort.studies.archive, study, transcode="JPEG"),
        partial(cohort.studies.media, study, lossy_quality=50),
    ):
        refused(cohort, send)


def test_what_orthanc_refuses_says_why(cohort: Rest) -> None:
    (patient,) = cohort.patients.list()
    study, instance = cohort.studies.list()[0], cohort.instances.list()[0]
    series = cohort.studies.read(study)["Series"]
    changes: list[tuple[Callable[[], object], int, int]] = [
        (partial(cohort.studies.anonymize, study, keep=["PatientID"]), 400, 8),
        (partial(cohort.studies.anonymize, study, replace={"NoSuchTag": "x"}), 500, 27),
        (partial(cohort.studies.modify, study, replace={"StudyInstanceUID": "1.2"}), 400, 8),
        (partial(cohort.studies.modify, study, remove=["NoSuchTag"]), 500, 27),
        (partial(cohort.patients.modify, patient, replace={"PatientID": "x"}), 400, 8),
        (partial(cohort.instances.anonymize, instance, keep=["PatientID"]), 400, 8),
        (partial(cohort.instances.modify, instance, replace={"NoSuchTag": "x"}), 500, 27),
        (partial(cohort.studies.split, study, series=series, replace={"KVP": "1"}), 400, 3),
    ]
    for send, status, code in changes:
        with pytest.raises(errors.ServerError) as caught:
            send()
        assert (caught.value.status, caught.value.orthanc_status) == (status, code)
    if cohort.capabilities().version == "1.10.1":
        for send in (
            partial(cohort.patients.modify, patient, replace={"PatientName": "x"}, synchronous=True),
            partial(cohort.studies.modify, study, replace={"PatientID": "x"}, force=True, synchronous=True),
        ):
            with pytest.raises(errors.ServerError, match="PatientID"):
                send()


def test_an_unknown_resource_is_not_copied(cohort: Rest) -> None:
    study = cohort.studies.list()[0]
    foreign = next(value["ID"] for value in cohort.series.list_expanded() if value["ParentStudy"] != study)
    for send in (
        partial(cohort.instances.anonymize, UNKNOWN),
        partial(cohort.instances.modify, UNKNOWN),
        partial(cohort.studies.split, UNKNOWN, series=[foreign]),
        partial(cohort.studies.split, study, series=[foreign]),
        partial(cohort.studies.merge, UNKNOWN, [study]),
        partial(cohort.studies.merge, study, [UNKNOWN]),
        partial(cohort.studies.merge, study, [study]),
        partial(cohort.studies.archive, UNKNOWN),
        partial(cohort.series.media, UNKNOWN),
        partial(cohort.patients.archive_job, UNKNOWN),
        partial(cohort.patients.media_job, UNKNOWN),
    ):
        with pytest.raises(errors.NotFoundError):
            send()
    for area in (cohort.patients, cohort.studies, cohort.series):
        for send in (partial(area.anonymize, UNKNOWN), partial(area.modify, UNKNOWN, remove=["StudyID"])):
            with pytest.raises((errors.NotFoundError, errors.ServerError)) as caught:
                send()
            new = cohort.capabilities().version.startswith("1.13")
            assert caught.value.status == (400 if new else 404)


# --- split and merge


def test_a_study_is_split_and_merged_again(cohort: Rest) -> None:
    study = cohort.studies.list()[0]
    series = cohort.studies.read(study)["Series"]
    made = cohort.studies.split(
        study, series=series[:1], replace={"PatientName": "Split"}, remove=["AccessionNumber"], synchronous=True
    )
    target = made["TargetStudy"]
    copy = first_below(cohort, cohort.studies, target)
    assert copy.PatientName == "Split"
    assert copy.StudyInstanceUID == made["TargetStudyUID"]
    assert cohort.studies.read(study)["Series"] == series or sorted(cohort.studies.read(study)["Series"]) == sorted(
        series
    )
    merged = cohort.studies.merge(study, [target], synchronous=True)
    assert merged["TargetStudy"] == study
    assert merged["FailedInstancesCount"] == 0
    assert len(cohort.studies.read(study)["Series"]) == 3
    assert target in cohort.studies.list()
    job = finished(cohort, cohort.studies.merge(study, [target], keep_source=False))
    assert job.state == "Success"
    assert target not in cohort.studies.list()


def test_instances_are_split_off_and_the_source_goes_on_request(cohort: Rest) -> None:
    study = cohort.studies.list()[0]
    some = [value["ID"] for value in cohort.studies.children(study, "Instance")][:2]
    job = finished(cohort, cohort.studies.split(study, instances=some, keep_source=False))
    assert job.type == "SplitStudy"
    assert len(cohort.studies.children(job.content["TargetStudy"], "Instance")) == 2
    assert len(cohort.studies.children(study, "Instance")) == 6


# --- archives


@pytest.mark.parametrize("level", ["patients", "studies", "series"])
def test_archives_and_media_hold_every_file(cohort: Rest, level: str) -> None:
    area: Any = getattr(cohort, level)
    resource = area.list()[0]
    wanted = {value["MainDicomTags"]["SOPInstanceUID"] for value in area.children(resource, "Instance")}
    archive = members(area.archive(resource))
    assert {str(parsed(content).SOPInstanceUID) for content in archive.values()} == wanted
    for extended in (False, True):
        media = members(area.media(resource, extended=extended))
        assert "DICOMDIR" in media
        assert len(media) == len(wanted) + 1
    again = members(area.archive(resource, transcode=IMPLICIT))
    assert {parsed(content).file_meta.TransferSyntaxUID for content in again.values()} == {IMPLICIT}


def test_an_archive_is_made_by_a_job(cohort: Rest) -> None:
    study = cohort.studies.list()[0]
    for send, extra in (
        (partial(cohort.studies.archive_job, study, priority=1), 0),
        (partial(cohort.studies.media_job, study, extended=True), 1),
    ):
        answer = send()
        job = finished(cohort, answer)
        assert job.state == "Success"
        archive = cohort.get(f"/jobs/{answer['ID']}/archive").content
        assert len(members(archive)) == 8 + extra
