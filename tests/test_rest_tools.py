"""Routes under /tools, on real servers."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from PIL import Image
from refusals import refused

from orthanc_research import errors
from orthanc_research.local import OrthancServer
from orthanc_research.rest import Call, Connection, Metric, Rest
from orthanc_research.rest._call import Answer
from orthanc_research.rest.tools_server import metrics_prometheus

UNKNOWN = "-".join(["00000000"] * 5)
PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"


def picture(kind: str, size: int = 8) -> bytes:
    stream = BytesIO()
    Image.new("L", (size, size), 77).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def instance(rest: Rest, ct_small: Path) -> str:
    return str(rest.instances.upload(ct_small.read_bytes())["ID"])


def members(archive: bytes) -> list[bytes]:
    with zipfile.ZipFile(BytesIO(archive)) as zipped:
        return [zipped.read(name) for name in zipped.namelist()]


# --- looking


def test_search_has_every_option_of_find(rest: Rest, instance: str) -> None:
    (study,) = rest.studies.list()
    (found,) = rest.tools.search("Study", {"PatientID": "1CT1"})
    assert found["ID"] == study
    assert found["PatientMainDicomTags"]["PatientID"] == "1CT1"
    assert rest.tools.search("Instance", expand=False) == [instance]
    assert rest.tools.search("Study", form="short", limit=1)[0]["MainDicomTags"]["0020,000d"]
    assert rest.tools.search("Study", form="full", since=0, limit=1)[0]["MainDicomTags"]["0020,000d"]["Name"]
    assert rest.tools.search("Patient", {"PatientName": "compressedsamples*"}, case_sensitive=True) == []
    assert len(rest.tools.search("Patient", {"PatientName": "compressedsamples*"}, case_sensitive=False)) == 1
    assert rest.tools.search("Study", since=5, limit=5) == []


def test_newer_options_of_find_work_or_are_refused(rest: Rest, instance: str) -> None:
    can = rest.capabilities()
    (study,) = rest.studies.list()
    (patient,) = rest.patients.list()
    newer: list[tuple[str, dict[str, Any], Callable[[list[Any]], bool]]] = [
        ("requested-tags", {"requested_tags": ["PatientName", "KVP"]}, lambda a: a[0]["RequestedTags"]["KVP"] == "120"),
        ("labels", {"labels": ["none-has-this"]}, lambda a: a == []),
        ("labels", {"labels": ["none-has-this"], "labels_constraint": "None"}, lambda a: len(a) == 1),
        ("labels-none", {"labels": [], "labels_constraint": "None"}, lambda a: len(a) == 1),
        ("extended-find", {"parent_study": study}, lambda a: len(a) == 1),
        ("extended-find", {"parent_study": UNKNOWN}, lambda a: a == []),
        ("extended-find", {"parent_patient": patient}, lambda a: len(a) == 1),
        ("extended-find", {"metadata": {"ReceptionDate": "19*"}}, lambda a: a == []),
        ("extended-find", {"response_content": ["Parent", "Status"]}, lambda a: "MainDicomTags" not in a[0]),
        (
            "extended-find",
            {"order_by": [{"Type": "DicomTag", "Key": "SeriesNumber", "Direction": "DESC"}]},
            lambda a: len(a) == 1,
        ),
    ]
    for feature, options, right in newer:
        if can.has(feature):  # type: ignore[arg-type]
            assert right(rest.tools.search("Series", **options)), options
        else:
            refused(rest, lambda options=options: rest.tools.search("Series", **options), errors.UnsupportedError)  # type: ignore[misc]
    if can.has("response-protected"):
        (found,) = rest.tools.search("Patient", response_content=["IsProtected"])
        assert found["IsProtected"] is False
    else:
        refused(rest, lambda: rest.tools.search("Patient", response_content=["IsProtected"]), errors.UnsupportedError)


def test_counting(rest: Rest, instance: str) -> None:
    if not rest.capabilities().has("count-resources"):
        refused(rest, lambda: rest.tools.count("Study"), errors.UnsupportedError, r"1\.12\.5")
        return
    assert rest.tools.count("Study", {"PatientID": "1CT1"}) == 1
    assert rest.tools.count("Study", {"PatientID": "nobody"}) == 0
    assert rest.tools.count("Instance", parent_study=rest.studies.list()[0]) == 1
    assert rest.tools.count("Instance", labels=["x"]) == 0
    with pytest.raises(errors.ServerError) as caught:
        rest.tools.count("Study", {"KVP": "120"})  # not in the index
    assert (caught.value.status, caught.value.orthanc_status) == (400, 8)


def test_bad_questions_are_refused_before_they_are_sent(rest: Rest) -> None:
    bad: list[dict[str, Any]] = [
        {"Level": "Studies of mine", "Query": {}},
        {"Query": {}},
        {"Level": "Study", "Query": {}, "Nonsense": 1},
        {"Level": "Study", "Query": {}, "Labels": ["x"], "LabelsConstraint": "Some"},
        {"Level": "Study", "Query": {}, "ResponseContent": ["Pixels"]},
        {"Level": "Study", "Query": {}, "RequestedTags": ["KVP"]},
        {"Level": "Study", "Query": {}, "RequestedTags": ["KVP"], "ResponseContent": ["Parent"]},
        {"Level": "Study", "Query": {}, "Limit": 0},
        {"Level": "Study", "Query": {}, "Since": -1},
    ]
    for body in bad:
        refused(rest, lambda body=body: rest.tools.find(body))  # type: ignore[misc]
    refused(rest, lambda: rest.tools.count_resources({"Level": "Study", "Query": {}, "Limit": 3}))
    refused(rest, lambda: rest.tools.search("Study", labels=[]))
    refused(rest, lambda: rest.tools.search("Study", labels="x"))
    refused(rest, lambda: rest.tools.search("Study", labels_constraint="None"))
    refused(rest, lambda: rest.tools.search("Study", form="long"))  # type: ignore[arg-type]
    refused(rest, lambda: rest.tools.bulk_content([], "Image"))  # type: ignore[arg-type]


def test_what_the_server_refuses_of_a_find(rest: Rest, instance: str) -> None:
    for query, status, code in (
        ({"NoSuchTag": "x"}, 500, 27),
        ({"StudyDate": "2004*"}, 400, 3),
        ({"PatientID": 5}, 400, 8),
    ):
        with pytest.raises(errors.ServerError) as caught:
            rest.tools.search("Study", query)  # type: ignore[arg-type]
        assert (caught.value.status, caught.value.orthanc_status) == (status, code)
    with pytest.raises(errors.ServerError) as caught:
        rest.post("/tools/find", b"{not JSON")
    assert (caught.value.status, caught.value.orthanc_status) == (400, 8)


def test_many_at_once(rest: Rest, instance: str) -> None:
    (patient,) = rest.patients.list()
    (short,) = rest.tools.bulk_content([patient, UNKNOWN], form="short", metadata=True)
    assert short["MainDicomTags"]["0010,0020"] == "1CT1"
    assert short["Metadata"]["LastUpdate"]
    (full,) = rest.tools.bulk_content([patient], form="full")
    assert full["MainDicomTags"]["0010,0020"]["Name"] == "PatientID"
    assert "Metadata" not in full
    assert [value["ID"] for value in rest.tools.bulk_content([patient], "Instance")] == [instance]
    assert rest.tools.lookup("1CT1")[0] == {"ID": patient, "Path": f"/patients/{patient}", "Type": "Patient"}


# --- changing


def test_bulk_modify_makes_copies(rest: Rest, instance: str) -> None:
    (series,) = rest.series.list()
    answer = rest.tools.bulk_modify(
        [series], replace={"InstitutionName": "Elsewhere"}, remove=["StationName"], level="Series", synchronous=True
    )
    assert answer["FailedInstancesCount"] == 0
    (new,) = [item["ID"] for item in answer["Resources"] if item["Type"] == "Instance"]
    tags = rest.instances.tags(new)
    assert tags["0008,0080"] == "Elsewhere"
    assert "0008,1010" not in tags
    assert set(rest.instances.list()) == {instance, new}
    job = rest.jobs.read(rest.tools.bulk_modify([series], remove_private_tags=True, priority=3)["ID"])
    assert job.priority == 3
    assert job.wait(30).type == "ResourceModification"
    gone = rest.tools.bulk_modify([series], remove=["StationName"], level="Series", keep_source=False, synchronous=True)
    assert gone["FailedInstancesCount"] == 0
    assert series not in rest.series.list()


def test_bulk_modify_in_what_it_refuses(rest: Rest, instance: str) -> None:
    refused(rest, lambda: rest.tools.bulk_modify([], remove=["StationName"]))
    refused(rest, lambda: rest.tools.bulk_modify([instance]))
    refused(rest, lambda: rest.tools.bulk_modify([instance], remove=["x"], level="Image"))  # type: ignore[arg-type]
    refused(rest, lambda: rest.tools.bulk_modify([instance], remove=["x"], lossy_quality=50))
    refused(rest, lambda: rest.tools.bulk_modify([instance], remove=["x"], permissive=True, keep_source=False))
    refused(rest, lambda: rest.tools.bulk_modify([instance], remove=["x"], synchronous=True, priority=1))
    with pytest.raises(errors.OrthancError) as caught:
        rest.tools.bulk_modify([UNKNOWN], remove=["StationName"], level="Series", synchronous=True)
    assert caught.value.status in (400, 404)  # 400 from 1.13
    with pytest.raises(errors.ServerError) as unknown:
        rest.tools.bulk_modify([instance], replace={"NoSuchTag": "x"}, synchronous=True)
    assert (unknown.value.status, unknown.value.orthanc_status) == (500, 27)
    assert not rest.tools.bulk_modify.call([instance], remove=["x"]).repeatable


def test_bulk_delete_by_level(rest: Rest, instance: str) -> None:
    (series,) = rest.series.list()
    if rest.capabilities().has("bulk-delete-levels"):
        rest.tools.bulk_delete([("Study", series)])  # no study has this ID
        assert rest.series.list() == [series]
        rest.tools.bulk_delete([("Series", series), UNKNOWN])
        assert rest.series.list() == []
    else:
        refused(rest, lambda: rest.tools.bulk_delete([("Series", series)]), errors.UnsupportedError, r"1\.13\.0")
    refused(rest, lambda: rest.tools.bulk_delete([("Image", series)]))  # type: ignore[list-item]


# --- making files


def test_archives_are_streamed_or_made_by_a_job(rest: Rest, instance: str, ct_small: Path, tmp_path: Path) -> None:
    (study,) = rest.studies.list()
    target = tmp_path / "all.zip"
    size = rest.save(rest.tools.create_archive.call([study]), target)
    assert target.stat().st_size == size
    assert members(target.read_bytes()) == [ct_small.read_bytes()]
    assert members(rest.tools.create_archive([instance])) == [ct_small.read_bytes()]
    job = rest.jobs.read(rest.tools.create_archive_job([study], priority=2)["ID"]).wait(30)
    assert (job.type, job.priority) == ("Archive", 2)
    assert members(rest.jobs.output(job.id)) == [ct_small.read_bytes()]


def test_media_have_a_directory(rest: Rest, instance: str, ct_small: Path) -> None:
    (study,) = rest.studies.list()
    plain, extended = (members(rest.tools.create_media([study], extended=extended)) for extended in (False, True))
    directories = []
    for files in (plain, extended):
        assert ct_small.read_bytes() in files
        (directory,) = [content for content in files if content != ct_small.read_bytes()]
        directories.append(pydicom.dcmread(BytesIO(directory)))
    assert {record.DirectoryRecordType for record in directories[0].DirectoryRecordSequence} == {
        "PATIENT",
        "STUDY",
        "SERIES",
        "IMAGE",
    }
    # The extended one tells more of the same records.
    counts = [sum(len(record) for record in directory.DirectoryRecordSequence) for directory in directories]
    assert counts[1] >= counts[0]
    job = rest.jobs.read(rest.tools.create_media_job([study])["ID"]).wait(30)
    assert job.type == "Media"
    assert len(members(rest.jobs.output(job.id))) == 2


def test_archives_in_what_they_refuse(rest: Rest, instance: str) -> None:
    for make in (rest.tools.create_archive, rest.tools.create_media):
        with pytest.raises(errors.NotFoundError):
            make([UNKNOWN])
        with pytest.raises(errors.ServerError) as caught:
            make([instance], transcode="1.2.3")
        assert caught.value.status == 400
        refused(rest, lambda make=make: make([]))  # type: ignore[misc]
        refused(rest, lambda make=make: make([instance], lossy_quality=50))  # type: ignore[misc]
        refused(rest, lambda make=make: make([instance], transcode="1.2", lossy_quality=0))  # type: ignore[misc]
    can = rest.capabilities()
    options: list[tuple[str, dict[str, Any]]] = [
        ("archive-filename", {"filename": "x.zip"}),
        ("archive-utf8", {"utf8": True}),
        ("lossy-quality", {"transcode": "1.2.840.10008.1.2", "lossy_quality": 90}),
    ]
    for feature, option in options:
        if can.has(feature):  # type: ignore[arg-type]
            assert len(members(rest.tools.create_archive([instance], **option))) == 1
        else:
            refused(
                rest,
                lambda option=option: rest.tools.create_archive([instance], **option),  # type: ignore[misc]
                errors.UnsupportedError,
            )


def test_dicom_is_made_of_a_pdf_and_of_pictures(rest: Rest, instance: str) -> None:
    answer = rest.tools.create_dicom({"PatientName": "New^One", "Modality": "OT"}, PDF)
    assert answer["Status"] == "Success"
    assert rest.get(f"/instances/{answer['ID']}/pdf").content.startswith(PDF)
    for kind in ("PNG", "JPEG"):
        made = pydicom.dcmread(BytesIO(rest.instances.file(rest.tools.create_dicom({}, picture(kind))["ID"])))
        assert (made.Rows, made.Columns) == (8, 8)
        assert abs(int(made.pixel_array[3, 3]) - 77) <= 1
    (study,) = [value["ID"] for value in rest.tools.lookup("1.3.6.1.4.1.5962.1.2.1.20040119072730.12322")]
    below = rest.tools.create_dicom({"SeriesDescription": "report"}, PDF, parent=study)
    assert below["ParentStudy"] == study
    assert rest.instances.tags(below["ID"])["0010,0020"] == "1CT1"
    plain = rest.tools.create_dicom(
        {"ReferencedStudySequence": [{"ReferencedSOPInstanceUID": "1.2.3"}], "StudyInstanceUID": "1.2.3.4"}, force=True
    )
    tags = rest.instances.tags(plain["ID"])
    assert tags["0020,000d"] == "1.2.3.4"
    assert tags["0008,1110"][0]["0008,1155"] == "1.2.3"


def test_a_series_is_made_of_pictures(rest: Rest) -> None:
    answer = rest.tools.create_dicom_series({"PatientID": "x"}, [picture("PNG"), (picture("PNG"), {"KVP": "9"})])
    assert answer["Path"] == f"/series/{answer['ID']}"
    tags = rest.series.instances_tags(answer["ID"])
    assert sorted(value.get("0018,0060", "") for value in tags.values()) == ["", "9"]


def test_dicom_in_what_it_refuses(rest: Rest, instance: str) -> None:
    for tags, options, status, code in (
        ({"NoSuchTag": "x"}, {}, 500, 27),
        ({}, {"parent": UNKNOWN}, 400, 2024),
        ({"StudyInstanceUID": "1.2.3"}, {}, 400, 2020),
        ({}, {"content": b"no PDF at all", "content_type": "application/pdf"}, 400, 15),
    ):
        with pytest.raises(errors.ServerError) as caught:
            rest.tools.create_dicom(tags, **options)
        assert (caught.value.status, caught.value.orthanc_status) == (status, code)
    refused(rest, lambda: rest.tools.create_dicom({}, b"neither"))
    refused(rest, lambda: rest.tools.create_dicom({}, PDF, content_type="text/plain"))  # type: ignore[arg-type]
    refused(rest, lambda: rest.tools.create_dicom({}, encapsulate=True))
    refused(rest, lambda: rest.tools.create_dicom({}, PDF, encapsulate=True))
    refused(rest, lambda: rest.tools.create_dicom_series({}, []))
    assert not rest.tools.create_dicom.call({}).repeatable
    with pytest.raises(errors.ServerError) as malformed:
        rest.post("/tools/create-dicom", b"{not JSON")
    assert (malformed.value.status, malformed.value.orthanc_status) == (400, 8)


def test_newer_contents_work_or_are_refused(rest: Rest) -> None:
    jpeg = picture("JPEG")
    if rest.capabilities().has("encapsulate-jpeg"):
        answer = rest.tools.create_dicom({}, jpeg, encapsulate=True)
        made = pydicom.dcmread(BytesIO(rest.instances.file(answer["ID"])))
        assert made.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
        assert jpeg.rstrip(b"\0") in made.PixelData
    else:
        refused(rest, lambda: rest.tools.create_dicom({}, jpeg, encapsulate=True), errors.UnsupportedError)
    model = b"solid x\nendsolid x\n"
    if rest.capabilities().has("create-3d"):
        answer = rest.tools.create_dicom({}, model, content_type="model/stl")
        assert rest.instances.tags(answer["ID"])["0042,0012"] == "model/stl"
    else:
        refused(rest, lambda: rest.tools.create_dicom({}, model, content_type="model/stl"), errors.UnsupportedError)


# --- the server itself


def test_clocks_identifiers_and_conformance(rest: Rest) -> None:
    now = datetime.strptime(rest.tools.now(), "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - now) < timedelta(seconds=5)
    assert len(rest.tools.now_local()) == 15
    for level in ("Study", "Series", "Instance"):
        one, other = rest.tools.generate_uid(level), rest.tools.generate_uid(level)
        assert one != other
        assert pydicom.uid.UID(one).is_valid
    assert rest.tools.generate_uid("Patient")
    refused(rest, lambda: rest.tools.generate_uid("study"))  # type: ignore[arg-type]
    assert "Conformance" in rest.tools.dicom_conformance()


def test_the_default_encoding_is_put(rest: Rest) -> None:
    before = rest.tools.default_encoding()
    try:
        assert rest.tools.set_default_encoding("Utf8") == "Utf8"
        assert rest.tools.default_encoding() == "Utf8"
        refused(rest, lambda: rest.tools.set_default_encoding("Latin9"))  # type: ignore[arg-type]
        with pytest.raises(errors.ServerError) as caught:
            rest.put("/tools/default-encoding", b"Klingon")
        assert (caught.value.status, caught.value.orthanc_status) == (400, 3)
        with pytest.raises(errors.ServerError) as wrong:
            rest.post("/tools/default-encoding", b"Utf8")
        assert wrong.value.status == 405
    finally:
        assert rest.tools.set_default_encoding(before) == before  # type: ignore[arg-type]


def test_what_the_server_accepts_over_dicom(rest: Rest) -> None:
    before = rest.tools.accepted_transfer_syntaxes()
    assert "1.2.840.10008.1.2" in before
    try:
        some = rest.tools.set_accepted_transfer_syntaxes(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
        assert some == ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"] == rest.tools.accepted_transfer_syntaxes()
        for bad in ([], ["JPEG"], "1.2.840.10008.1.2"):
            refused(rest, lambda bad=bad: rest.tools.set_accepted_transfer_syntaxes(bad))  # type: ignore[misc]
    finally:
        assert rest.tools.set_accepted_transfer_syntaxes(["*"]) == before
    assert rest.tools.unknown_sop_class_accepted() is False
    rest.tools.set_unknown_sop_class_accepted(True)
    assert rest.tools.unknown_sop_class_accepted() is True
    rest.tools.set_unknown_sop_class_accepted(False)
    if rest.capabilities().has("accepted-sop-classes"):
        assert "1.2.840.10008.5.1.4.1.1.2" in rest.tools.accepted_sop_classes()
    else:
        refused(rest, rest.tools.accepted_sop_classes, errors.UnsupportedError)


def test_log_levels(rest: Rest) -> None:
    assert rest.tools.log_level() == "default"
    rest.tools.set_log_level("verbose", "dicom")
    assert rest.tools.log_level("dicom") == "verbose"
    assert rest.tools.log_level("http") == "default"
    rest.tools.set_log_level("default")
    assert rest.tools.log_level("dicom") == "default"
    refused(rest, lambda: rest.tools.set_log_level("debug"))  # type: ignore[arg-type]
    refused(rest, lambda: rest.tools.log_level("pixels"))  # type: ignore[arg-type]


def test_labels_in_use(rest: Rest, instance: str) -> None:
    if not rest.capabilities().has("labels"):
        refused(rest, rest.tools.labels, errors.UnsupportedError)
        return
    assert rest.tools.labels() == []
    rest.put(f"/instances/{instance}/labels/kept")
    assert rest.tools.labels() == ["kept"]


def test_metrics_are_parsed(rest: Rest, instance: str) -> None:
    assert rest.tools.metrics() is True
    metrics = {metric.name: metric for metric in rest.tools.metrics_prometheus()}
    count = metrics["orthanc_count_instances"]
    assert count.value == 1
    assert count.time is not None
    assert abs(datetime.now(UTC) - count.time) < timedelta(minutes=5)
    assert metrics["orthanc_disk_size_mb"].value > 0
    rest.tools.set_metrics(False)
    try:
        assert rest.tools.metrics() is False
        assert rest.tools.metrics_prometheus() == []
    finally:
        rest.tools.set_metrics(True)


def parse(text: bytes) -> list[Metric]:
    call: Call[list[Metric]] = metrics_prometheus()
    return call.parse(Answer(text))


def test_metrics_of_plugins_may_have_labels() -> None:
    one, two, three = parse(b'# HELP a b\na 1 1795464550980\n\nb{x="1,}",y="\\"q\\""} -2.5e3\nc NaN\n')
    assert one == Metric("a", 1.0, {}, datetime(2026, 11, 23, 20, 9, 10, 980000, UTC))
    assert (two.name, two.value, two.labels, two.time) == ("b", -2500.0, {"x": "1,}", "y": '"q"'}, None)
    assert three.value != three.value
    for bad in (b"a\n", b"a b\n", b"1a 2\n", b"<html>\n"):
        with pytest.raises(errors.ResponseError):
            parse(bad)


def test_the_index_is_made_again(rest: Rest, instance: str) -> None:
    rest.tools.invalidate_tags()
    rest.tools.reconstruct()
    if rest.capabilities().has("reconstruct-files"):
        rest.tools.reconstruct(files=True)
    else:
        refused(rest, lambda: rest.tools.reconstruct(files=True), errors.UnsupportedError)
    assert rest.instances.list() == [instance]
    assert not rest.tools.reconstruct.call().repeatable


def test_scripts_run_only_where_they_are_allowed(rest: Rest, version: str) -> None:
    with pytest.raises(errors.AccessError):
        rest.tools.execute_script("print(42)")
    assert not rest.tools.execute_script.call("print(42)").repeatable
    if version == "external":
        return
    with (
        OrthancServer(None if version == "any" else version, config={"ExecuteLuaEnabled": True}) as server,
        Rest(Connection.make(server.url, auth=server.auth)) as open_rest,
    ):
        assert open_rest.tools.execute_script("print(42)") == "42\n"
        with pytest.raises(errors.ServerError) as caught:
            open_rest.tools.execute_script("error('no')")
        assert (caught.value.status, caught.value.orthanc_status) == (500, 2031)


def test_the_end_of_the_server_is_no_method(rest: Rest) -> None:
    assert not {"shutdown", "reset"} & set(dir(rest.tools))


def test_the_server_describes_itself(rest: Rest, instance: str) -> None:
    assert rest.system.read()["ApiVersion"] >= 16
    assert rest.system.statistics()["CountInstances"] == 1
    assert int(rest.system.statistics()["TotalDiskSize"]) > 0
    assert "explorer.js" in rest.system.plugins()
    with pytest.raises(errors.NotFoundError):
        rest.system.plugin("no-such-plugin")
