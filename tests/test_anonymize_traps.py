"""Traps of Orthanc's anonymization in batches: patients made one, jobs forgotten, a Success with a wrong number."""

from __future__ import annotations

import io
import itertools
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom
import pytest
from faults import Exchange, Fault, Proxy
from pydicom import Dataset, Sequence

import orthanc_research as ores
from orthanc_research.batch import Options
from orthanc_research.batch.journal import Journal
from orthanc_research.local import OrthancServer

NAME = "Twin^Same"


def run(orthanc: ores.Orthanc, resources: Any, tmp_path: Path, **options: Any) -> pd.DataFrame:
    given: dict[str, Any] = {"progress": False, "journal": tmp_path / "j.sqlite"} | options
    return orthanc.anonymize(resources, **given)


def copies(orthanc: ores.Orthanc) -> dict[str, str]:
    """{copy: what it was made from}."""
    found = orthanc.rest.tools.bulk_content(orthanc.rest.instances.list(), metadata=True)
    return {x["ID"]: x["Metadata"]["AnonymizedFrom"] for x in found if "AnonymizedFrom" in x["Metadata"]}


def twins(count: int, studies: int = 1) -> list[Dataset]:
    """Patients who share a name and a birth date, a file of each study."""
    files = ores.samples.cohort(patients=count, studies=studies, slices=3, size=16)[::8]
    assert len(files) == count * studies
    for file in files:
        file.PatientName, file.PatientBirthDate = NAME, "19500101"
    return files


def test_two_patients_who_share_a_name_stay_two(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload(twins(3), progress=False)
    ledger = run(orthanc, orthanc.studies(), tmp_path)
    assert set(ledger["status"]) == {"done"}
    # In one call for all of them Orthanc gives all the same name.
    assert ledger["AnonymizedPatientID"].nunique() == ledger["AnonymizedPatientName"].nunique() == 3
    named = run(orthanc, ledger.index[:1].tolist(), tmp_path, journal=tmp_path / "2", replace={"PatientName": "X"})
    assert set(named["AnonymizedPatientID"]).isdisjoint(ledger["AnonymizedPatientID"])


def test_files_of_several_people_without_a_patient_id_are_refused(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    files = twins(3)
    for number, file in enumerate(files[:2]):
        file.PatientID, file.PatientName = "", f"Nobody^{number}"
    orthanc.upload(files, progress=False)
    studies = orthanc.studies()
    ledger = run(orthanc, studies, tmp_path)
    blank = studies["PatientID"].isna() | (studies["PatientID"] == "")
    assert set(ledger.loc[blank, "status"]) == {"failed"}
    assert ledger.loc[blank, "error"].str.contains("name 2 people").all()
    assert set(ledger.loc[~blank, "status"]) == {"done"}
    assert not ledger["error"].str.contains("Nobody", na=False).any()
    assert len(copies(orthanc)) == 1


def test_the_studies_of_one_patient_keep_what_they_share(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    one, two = twins(1, 2)
    two.FrameOfReferenceUID = one.FrameOfReferenceUID
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    two.ReferencedImageSequence = Sequence([reference])
    orthanc.upload([one, two], progress=False)
    ledger = run(orthanc, orthanc.studies(), tmp_path)
    assert set(ledger["status"]) == {"done"}
    assert ledger["AnonymizedPatientID"].nunique() == 1
    read = [pydicom.dcmread(io.BytesIO(orthanc.rest.instances.file(each))) for each in copies(orthanc)]
    read.sort(key=lambda file: "ReferencedImageSequence" in file)
    first, second = read
    assert first.FrameOfReferenceUID == second.FrameOfReferenceUID != one.FrameOfReferenceUID
    assert second.ReferencedImageSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID != one.SOPInstanceUID


def test_jobs_that_the_server_has_forgotten_are_found_by_their_copies(version: str, tmp_path: Path) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    with (
        OrthancServer(version, config={"JobsHistorySize": 1}) as server,
        ores.Orthanc(server.url, auth=server.auth) as orthanc,
    ):
        orthanc.upload(twins(6), progress=False)
        before = set(orthanc.rest.instances.list())
        ledger = run(orthanc, orthanc.studies(), tmp_path, window=6)
        assert len(orthanc.rest.jobs.list()) == 1
        assert set(ledger["status"]) == {"done"}, ledger["error"].tolist()
        assert ledger["instances"].tolist() == [1] * 6
        assert sorted(copies(orthanc).values()) == sorted(before)
        server.restart()  # a job that had ended has lost its result now
        again = orthanc.resume(tmp_path / "j.sqlite", progress=False)
        pd.testing.assert_frame_equal(again, ledger)
        assert len(copies(orthanc)) == 6


def after_jobs(orthanc: ores.Orthanc, act: Any) -> None:
    """Do something once, when the first job has ended and before its copies are read back."""
    count = itertools.count()

    def hook(method: str, target: str) -> None:
        if target == "tools/bulk-content" and next(count) == 2:  # of the sources twice, then of the copies
            act()

    orthanc.rest._client.hooks.append(hook)


def test_a_success_with_too_few_instances_is_not_done(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    files = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)
    orthanc.upload(files, progress=False)
    studies = orthanc.studies()
    with ores.Orthanc(orthanc.url, auth=orthanc.rest.connection.auth) as client:
        after_jobs(client, lambda: orthanc.rest.instances.delete(next(iter(copies(orthanc)))))
        ledger = run(client, studies, tmp_path)
    assert ledger["status"].tolist() == ["partial"]
    assert f"{len(files) - 1} of {len(files)} instances" in ledger["error"].iloc[0]
    assert pd.isna(ledger["AnonymizedID"].iloc[0])
    left = orthanc.leftovers(tmp_path / "j.sqlite")
    assert len(left) == len(files) - 1
    said = [orthanc.resume(tmp_path / "j.sqlite", progress=False)["error"].iloc[0] for _ in range(3)]
    assert said[0] == said[1] == said[2]  # as long as nobody deletes them, however often it is looked at
    assert said[0].count(f"{len(left)} copies were left behind.") == 1
    assert f"{len(files) - 1} of {len(files)} instances" in said[0]
    orthanc.delete(left, expect=len(left))
    assert orthanc.resume(tmp_path / "j.sqlite", progress=False)["status"].tolist() == ["done"]
    assert len(copies(orthanc)) == len(files)


def test_a_success_with_too_many_instances_is_not_done(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1.10.1 runs a job again after a crash, and says Success: the job names both of its results then.
    orthanc.upload(twins(1), progress=False)
    study = str(orthanc.studies().index[0])
    other = orthanc.rest.jobs.read(orthanc.rest.tools.bulk_anonymize([study])["ID"]).wait()
    real = orthanc.rest.jobs.list

    def both() -> Any:
        jobs = [job for job in real() if job.id != other.id]
        for job in jobs:
            content: Any = job.content
            if job.done:
                content["Resources"] += other.content["Resources"]
                content["InstancesCount"] = 2
        return jobs

    with monkeypatch.context() as patch:
        patch.setattr(orthanc.rest.jobs, "list", both, raising=False)
        ledger = run(orthanc, [study], tmp_path)
    assert ledger["status"].tolist() == ["partial"]
    assert "1 instances were copied twice" in ledger["error"].iloc[0]
    assert pd.isna(ledger["AnonymizedID"].iloc[0])
    left = orthanc.leftovers(tmp_path / "j.sqlite")
    assert sorted(left.index) == sorted(copies(orthanc))
    orthanc.delete(left, expect=2)
    assert orthanc.resume(tmp_path / "j.sqlite", progress=False)["status"].tolist() == ["done"]
    assert len(copies(orthanc)) == 1


def test_of_two_whole_copies_nobody_chooses_one(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload(twins(1), progress=False)
    study = str(orthanc.studies().index[0])
    with ores.Orthanc(orthanc.url, auth=orthanc.rest.connection.auth) as client:
        real = client.rest.tools.bulk_anonymize

        class Twice:
            call = staticmethod(real.call)

            def __call__(self, *arguments: Any, **options: Any) -> Any:
                for _ in range(2):  # somebody asks for the same, and nobody knows which job is whose
                    client.rest.jobs.read(real(*arguments, **options)["ID"]).wait()
                raise ores.errors.UnreachableError("The connection broke.")

        client.rest.tools.bulk_anonymize = Twice()  # type: ignore[assignment]
        ledger = run(client, [study], tmp_path)
    assert ledger["status"].tolist() == ["partial"]
    assert "2 whole copies were made" in ledger["error"].iloc[0]
    assert len(copies(orthanc)) == 2
    orthanc.delete([next(iter(copies(orthanc)))], expect=1)
    assert orthanc.resume(tmp_path / "j.sqlite", progress=False)["status"].tolist() == ["done"]
    assert len(copies(orthanc)) == 1


@pytest.mark.one_version
def test_every_row_says_whose_engine_it_was_whatever_came_of_it(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload(twins(2), progress=False)
    first = run(orthanc, orthanc.studies(), tmp_path)
    refused = run(orthanc, orthanc.studies(), tmp_path, journal=tmp_path / "2", keep=["StudyInstanceUID"])
    assert set(first["status"]) | set(refused["status"]) == {"done", "failed", "already-anonymized"}
    for ledger in (first, refused):
        assert set(ledger["engine"]) == {"orthanc"}
        assert ledger["releasable"].dtype == bool
        assert not ledger["releasable"].any()


def test_what_a_job_makes_while_others_are_settled_is_seen(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    # A restarted server runs jobs again: that of the second unit makes its copies after the first was looked at.
    orthanc.upload(twins(2), progress=False)
    first, second = [(str(study), str(patient)) for study, patient in orthanc.studies()["ParentPatient"].items()]
    settings = asdict(Options()) | {"level": "Study", "order": [first[0], second[0]]}
    units = [(patient, {"level": "Study", "resources": [study]}) for study, patient in (first, second)]
    with Journal.create(tmp_path / "j", "anonymize", orthanc.url, settings, units) as journal:
        for unit in journal.units():
            journal.mark(unit.key, "sent", output={"asked": time.time()})
    looks = itertools.count()

    def hook(method: str, target: str) -> None:
        if target == "jobs?expand" and next(looks) == 1:
            orthanc.rest.jobs.read(orthanc.rest.tools.bulk_anonymize([second[0]])["ID"]).wait()

    with ores.Orthanc(orthanc.url, auth=orthanc.rest.connection.auth) as client:
        client.rest._client.hooks.append(hook)
        ledger = client.resume(tmp_path / "j", progress=False)
    assert set(ledger["status"]) == {"done"}, ledger["error"].tolist()
    assert sorted(copies(orthanc).values()) == sorted(set(orthanc.rest.instances.list()) - set(copies(orthanc)))


def telling(file: Dataset, *names: str) -> Dataset:
    """The file with texts that name somebody, at the top, inside a sequence, and where no dictionary has an element."""
    item = Dataset()
    item.CodeMeaning, item.CodeValue = f"report of {' '.join(names)}", "T-1"
    file.AnatomicRegionSequence = Sequence([item])
    file.SegmentDescription, file.BodyPartExamined = f"tumour of {names[0]}", names[0].upper()
    file.DeidentificationMethod = f"by hand, {names[0]}"
    file.add_new(0x00209999, "LO", f"{names[0]} here")
    file.add_new(0x00409999, "UT", f"{names[0]} there")
    return file


def leaks(orthanc: ores.Orthanc, *names: str) -> list[bool]:
    contents = [orthanc.rest.instances.file(each).lower() for each in copies(orthanc)]
    return [any(name.lower().encode() in content for name in names) for content in contents]


def test_a_name_that_one_file_has_is_looked_for_in_all(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    nameless, full = ores.samples.cohort(patients=1, studies=2, slices=3, size=16)[::4][:2]
    for file in (nameless, full):
        # Orthanc's own "PS 3.15" is no number of the patient.
        file.PatientID, file.PatientName, file.AccessionNumber = "X17", "Quitte^Zwiebel", "15"
        file.SpecificCharacterSet = "ISO_IR 192"
    nameless.PatientName = ""
    full.OtherPatientNames = "王^明"
    orthanc.upload([telling(nameless, "Quitte", "X17", "王明"), telling(full, "Zwiebel")], progress=False)
    ledger = run(orthanc, orthanc.patients(), tmp_path, replace={"PatientName": "Report^001"})
    assert ledger["status"].tolist() == ["done"], ledger["error"].tolist()
    assert leaks(orthanc, "Quitte", "Zwiebel", "X17", "王明") == [False, False]
    read = [pydicom.dcmread(io.BytesIO(orthanc.rest.instances.file(each))) for each in copies(orthanc)]
    assert [file.AnatomicRegionSequence[0].CodeValue for file in read] == ["T-1", "T-1"]


def test_copies_are_searched_for_the_names_of_their_originals(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    files = twins(2)
    telling(files[0], NAME.partition("^")[0])
    for tag in (0x00209999, 0x00409999):
        del files[0][tag]
    orthanc.upload(files, progress=False)
    pairs = [(str(study), str(patient)) for study, patient in orthanc.studies()["ParentPatient"].items()]
    settings = asdict(Options()) | {"level": "Study", "order": [study for study, _ in pairs]}
    units = [(patient, {"level": "Study", "resources": [study]}) for study, patient in pairs]
    with Journal.create(tmp_path / "j", "anonymize", orthanc.url, settings, units) as journal:
        for unit in journal.units():
            journal.mark(unit.key, "sent", output={"asked": time.time()})
    for study, _ in pairs:  # as a run that crashed did, of a version that looked for nothing
        orthanc.rest.jobs.read(orthanc.rest.tools.bulk_anonymize([study])["ID"]).wait()
    ledger = orthanc.resume(tmp_path / "j", progress=False)
    told = orthanc.studies().loc[ledger.index, "PatientID"] == files[0].PatientID
    assert ledger["status"].tolist() == ["failed" if each else "done" for each in told], ledger["error"].tolist()
    assert "in 1 of these copies" in ledger.loc[told, "error"].iloc[0]
    assert NAME.partition("^")[0].encode() not in (tmp_path / "j").read_bytes()


@pytest.mark.one_version
def test_a_copy_that_cannot_be_read_ends_its_unit_alone(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    orthanc.upload(twins(3), progress=False)
    studies, looks, mended = orthanc.studies(), list[bytes](), threading.Event()

    def broken(exchange: Exchange) -> None:
        exchange.peer.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}")

    def script(request: bytes) -> Fault | None:
        line = request.partition(b"\r\n")[0]
        if b"instances-tags" not in line or mended.is_set():
            return None
        looks.append(line)
        return broken if looks[3:4] == [line] else None  # those of the three originals come first

    with (
        Proxy(orthanc.url, script=script) as proxy,
        ores.Orthanc(proxy.url, auth=orthanc.rest.connection.auth) as client,
    ):
        ledger = run(client, list(studies.index), tmp_path)
        assert sorted(ledger["status"]) == ["done", "done", "partial"], ledger["error"].tolist()
        assert len(orthanc.leftovers(tmp_path / "j.sqlite")) == 1
        mended.set()
        assert set(client.resume(tmp_path / "j.sqlite", progress=False)["status"]) == {"done"}
    assert len(copies(orthanc)) == 3
