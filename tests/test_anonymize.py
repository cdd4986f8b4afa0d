"""Anonymization by Orthanc: one job a patient, nothing twice, nothing lost, every copy read back."""

from __future__ import annotations

import itertools
import re
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from faults import Proxy

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.batch.journal import Journal
from orthanc_research.local import OrthancServer
from orthanc_research.progress import Silent


@pytest.fixture
def cohort(orthanc: ores.Orthanc) -> ores.Orthanc:
    """Three patients with two studies each."""
    ledger = orthanc.upload(ores.samples.cohort(patients=3, studies=2, slices=4, size=16), progress=False)
    assert set(ledger["status"]) == {"stored"}
    return orthanc


def copies(orthanc: ores.Orthanc) -> list[dict[str, Any]]:
    """Every instance of the server that is a copy."""
    found = orthanc.rest.tools.bulk_content(orthanc.rest.instances.list(), metadata=True)
    return [value for value in found if "AnonymizedFrom" in value["Metadata"]]


def run(orthanc: ores.Orthanc, resources: Any, tmp_path: Path, **options: Any) -> pd.DataFrame:
    given: dict[str, Any] = {"progress": False, "journal": tmp_path / "j.sqlite"} | options
    return orthanc.anonymize(resources, **given)


def test_every_study_gets_one_copy_and_the_originals_stay(cohort: ores.Orthanc, tmp_path: Path) -> None:
    studies = cohort.studies()
    before = cohort.statistics()["CountInstances"]
    ledger = run(cohort, studies, tmp_path)
    assert list(ledger.index) == list(studies.index)
    assert set(ledger["status"]) == {"done"}
    assert ledger["error"].isna().all()
    assert int(ledger["instances"].sum()) == before
    assert cohort.statistics()["CountInstances"] == 2 * before
    assert sorted(value["Metadata"]["AnonymizedFrom"] for value in copies(cohort)) == sorted(
        set(cohort.rest.instances.list()) - {value["ID"] for value in copies(cohort)}
    )
    # One patient stays one patient, and two patients never become one.
    pairs = set(zip(studies["PatientID"], ledger["AnonymizedPatientID"], strict=True))
    assert len(pairs) == studies["PatientID"].nunique() == ledger["AnonymizedPatientID"].nunique()
    assert ledger["AnonymizedUID"].nunique() == len(studies)
    assert set(ledger["engine"]) == {"orthanc"}
    assert not ledger["releasable"].any()


def test_the_mapping_leads_from_each_study_to_its_own_copy(cohort: ores.Orthanc, tmp_path: Path) -> None:
    ledger = run(cohort, cohort.studies(), tmp_path)
    for source, row in ledger.iterrows():
        new = cohort.rest.studies.read(row["AnonymizedID"])
        assert new["AnonymizedFrom"] == source
        assert new["MainDicomTags"]["StudyInstanceUID"] == row["AnonymizedUID"]
        assert new["PatientMainDicomTags"]["PatientID"] == row["AnonymizedPatientID"]
        assert new["PatientMainDicomTags"]["PatientName"] == row["AnonymizedPatientName"]
        assert cohort.rest.studies.statistics(row["AnonymizedID"])["CountInstances"] == row["instances"]


def test_requests_are_one_a_patient_the_polls_and_one(cohort: ores.Orthanc, tmp_path: Path) -> None:
    studies = cohort.studies()
    with cohort.rest.counting() as requests:
        run(cohort, studies, tmp_path)
    kinds = [f"{method} {target}" for method, target in requests]
    polls = kinds.count("GET jobs?expand")
    assert polls >= 1
    assert kinds.count("POST tools/bulk-anonymize") == 3
    assert kinds.count("POST tools/bulk-content") == 1
    assert len(kinds) == 3 + polls + 1


def test_series_patients_and_bare_ids_are_taken(cohort: ores.Orthanc, tmp_path: Path) -> None:
    series = cohort.series().head(2)
    by_series = run(cohort, series, tmp_path, journal=tmp_path / "1")
    assert set(by_series["status"]) == {"done"}
    assert by_series["AnonymizedUID"].nunique() == 2
    patients = cohort.patients().query("PatientID not in @by_series.AnonymizedPatientID")
    assert set(run(cohort, patients, tmp_path, journal=tmp_path / "2")["status"]) == {"done"}
    study = str(cohort.studies().index[0])
    with cohort.rest.counting() as requests:
        ledger = run(cohort, [study, study], tmp_path, journal=tmp_path / "3")
    assert list(ledger.index) == [study]  # a repeat is one input
    assert [target for _, target in requests if target == "tools/bulk-content"] == ["tools/bulk-content"] * 3


def test_nothing_to_do_is_an_empty_ledger_and_no_request(cohort: ores.Orthanc, tmp_path: Path) -> None:
    with cohort.rest.counting() as requests:
        ledger = run(cohort, [], tmp_path)
    assert ledger.empty
    assert "AnonymizedID" in ledger.columns
    assert requests == []


@pytest.mark.parametrize(
    ("resources", "options", "words"),
    [
        ("not-an-id", {}, "no Orthanc IDs"),
        (["0" * 8 + "-00000000" * 4], {}, "1 of 1 IDs are not on this Orthanc"),
        (pd.DataFrame({"PatientID": ["x"]}), {}, "no Orthanc IDs"),
        (None, {}, "Resources are"),
        ("study", {"dicom_version": "2099z"}, "dicom_version is one of"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_changed(
    cohort: ores.Orthanc, tmp_path: Path, resources: Any, options: dict[str, Any], words: str
) -> None:
    if isinstance(resources, str) and resources == "study":
        resources = cohort.studies()
    with cohort.rest.counting() as requests, pytest.raises(errors.QueryError, match=words):
        run(cohort, resources, tmp_path, **options)
    assert all(target == "tools/bulk-content" for _, target in requests)
    assert not (tmp_path / "j.sqlite").exists()


def test_a_profile_that_this_server_lacks_is_refused_before_anything_is_sent(
    cohort: ores.Orthanc, tmp_path: Path
) -> None:
    studies = cohort.studies().head(1)
    if cohort.capabilities().has("profile-2023b"):
        assert set(run(cohort, studies, tmp_path, dicom_version="2023b")["status"]) == {"done"}
        return
    with cohort.rest.counting() as requests, pytest.raises(errors.UnsupportedError, match="2023b"):
        run(cohort, studies, tmp_path, dicom_version="2023b")
    assert requests == []
    assert not (tmp_path / "j.sqlite").exists()


def test_what_orthanc_refuses_is_a_row_with_its_words(cohort: ores.Orthanc, tmp_path: Path) -> None:
    ledger = run(cohort, cohort.studies(), tmp_path, keep=["StudyInstanceUID"])  # wants Force
    assert set(ledger["status"]) == {"failed"}
    assert ledger["error"].str.contains("Orthanc answered 400").all()
    assert copies(cohort) == []


def test_the_journal_is_private_and_a_second_run_on_it_is_refused(cohort: ores.Orthanc, tmp_path: Path) -> None:
    journal = tmp_path / "deep" / "j.sqlite"
    run(cohort, cohort.studies(), tmp_path, journal=journal)
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.parent.stat().st_mode) == 0o700
    with pytest.raises(errors.QueryError, match="resume"):
        run(cohort, cohort.studies(), tmp_path, journal=journal)
    with cohort.rest.counting() as requests:
        again = cohort.resume(journal, progress=False)
    assert set(again["status"]) == {"done"}
    assert requests == []
    with pytest.raises(errors.QueryError, match="no journal"):
        cohort.resume(tmp_path / "none")
    (tmp_path / "text").write_text("x" * 5000)
    with pytest.raises(errors.QueryError, match="not a journal"):
        cohort.resume(tmp_path / "text")


def test_an_answer_lost_on_the_wire_does_not_make_a_second_copy(cohort: ores.Orthanc, tmp_path: Path) -> None:
    studies = cohort.studies()
    count = itertools.count()

    def cut(head: bytes) -> bool:
        return b"bulk-anonymize" in head and next(count) == 1

    with Proxy(cohort.url, cut) as proxy, ores.Orthanc(proxy.url, auth=cohort.rest.connection.auth) as through:
        ledger = run(through, list(studies.index), tmp_path)
    assert set(ledger["status"]) == {"done"}
    made = [value["Metadata"]["AnonymizedFrom"] for value in copies(cohort)]
    assert len(made) == len(set(made)) == int(ledger["instances"].sum())


def test_a_request_that_never_arrived_is_sent_again(cohort: ores.Orthanc, tmp_path: Path) -> None:
    studies = cohort.studies()
    with Journal.create(tmp_path / "j", "anonymize", cohort.url, {}, []) as empty:
        assert empty.units() == []
    ledger = run(cohort, studies, tmp_path)
    journal = Journal.open(tmp_path / "j.sqlite")
    unit = journal.units()[0]
    cohort.rest.tools.bulk_delete([value["ID"] for value in copies(cohort)])
    for each in journal.units():  # as a crash right before each request would have left it
        journal.mark(each.key, "sent", output={"asked": 0})
    journal.close()
    again = cohort.resume(tmp_path / "j.sqlite", progress=False)
    assert set(again["status"]) == {"done"}
    assert set(again["AnonymizedID"]).isdisjoint(ledger["AnonymizedID"])
    assert unit.key in set(cohort.rest.patients.list())
    made = [value["Metadata"]["AnonymizedFrom"] for value in copies(cohort)]
    assert len(made) == len(set(made)) == int(again["instances"].sum())


def test_copies_from_before_are_not_taken_for_ours(cohort: ores.Orthanc, tmp_path: Path) -> None:
    studies = cohort.studies().head(2)
    first = run(cohort, studies, tmp_path, journal=tmp_path / "1")
    second = run(cohort, studies, tmp_path, journal=tmp_path / "2")
    assert set(first["AnonymizedID"]).isdisjoint(second["AnonymizedID"])
    assert set(second["status"]) == {"done"}


def test_an_unreadable_file_is_never_called_done(version: str, tmp_path: Path) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    with ores.LocalOrthanc(version, folder=tmp_path / "storage") as orthanc:
        orthanc.upload(ores.samples.cohort(patients=2, studies=1, slices=4, size=16), progress=False)
        studies = orthanc.studies()
        bad = orthanc.rest.studies.children(studies.index[0], "Instance")[0]
        uuid = bad["FileUuid"]
        found = [path for path in (tmp_path / "storage").rglob("*") if path.name == uuid]
        assert found
        found[0].unlink()
        orthanc.server.kill()
        orthanc.server.restart()  # it would answer from memory
        ledger = run(orthanc, studies, tmp_path)
        assert ledger["status"].iloc[1] == "done"
        assert ledger["status"].iloc[0] in ("partial", "failed")
        assert ledger["error"].iloc[0]
        left = orthanc.leftovers(tmp_path / "j.sqlite")
        whole = int(ledger["instances"].sum())
        assert len(copies(orthanc)) == whole + len(left)
        if len(left):
            orthanc.delete(left, expect=len(left))
        assert len(copies(orthanc)) == whole


def test_a_copy_that_keeps_the_patient_id_is_never_called_done(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    # Every element of it has VR UN: Orthanc's anonymization goes past the PatientID, and says Success.
    (bad,) = [path for path in ores.samples.pydicom_files() if path.name == "rtdose_rle_1frame.dcm"]
    orthanc.upload(bad, progress=False)
    ledger = run(orthanc, orthanc.studies(), tmp_path)
    assert list(ledger["status"]) == ["failed"]
    assert "left the PatientID as it was" in ledger["error"].iloc[0]
    assert ledger["AnonymizedID"].isna().all()
    left = orthanc.leftovers(tmp_path / "j.sqlite")
    assert len(left) == 1
    orthanc.delete(left, expect=1)
    assert orthanc.statistics()["CountInstances"] == 1


def test_a_patient_id_that_was_asked_for_is_no_mistake(cohort: ores.Orthanc, tmp_path: Path) -> None:
    patient = cohort.patients().head(1)
    ledger = run(cohort, cohort.studies(within=patient), tmp_path, replace={"PatientID": "P-001"}, force=True)
    assert set(ledger["status"]) == {"done"}
    assert set(ledger["AnonymizedPatientID"]) == {"P-001"}
    kept = run(cohort, cohort.studies(within=patient), tmp_path, journal=tmp_path / "2", keep=["PatientID"], force=True)
    assert set(kept["status"]) == {"done"}


def test_a_server_killed_mid_run_loses_nothing_and_doubles_nothing(version: str, tmp_path: Path) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    with (
        OrthancServer(version, folder=tmp_path / "storage") as server,
        ores.Orthanc(server.url, auth=server.auth) as orthanc,
    ):
        orthanc.rest._client.policy._pause = lambda seconds: None
        orthanc.upload(ores.samples.cohort(patients=6, studies=1, slices=8, size=16), progress=False)
        studies = orthanc.studies()
        before = orthanc.statistics()["CountInstances"]
        seen = itertools.count()

        def hook(method: str, target: str) -> None:
            if target == "tools/bulk-anonymize" and next(seen) == 3:
                server.kill()

        orthanc.rest._client.hooks.append(hook)
        ledger = run(orthanc, studies, tmp_path, window=2)
        orthanc.rest._client.hooks.remove(hook)
        assert len(ledger) == len(studies)
        assert set(ledger["status"]) <= {"done", "unknown", "not-sent"}
        assert (ledger["status"] != "done").any()
        open_rows = ledger[ledger["status"] != "done"]
        assert open_rows["error"].str.contains(re.escape(f"orthanc.resume('{tmp_path / 'j.sqlite'}')")).all()
        server.restart()
        ledger = orthanc.resume(tmp_path / "j.sqlite", progress=False)
        left = orthanc.leftovers(tmp_path / "j.sqlite")
        if len(left):  # what the killed job had begun is named, and removed in one call; then the rest is done
            assert set(ledger["status"]) == {"done", "partial"}
            orthanc.delete(left, expect=len(left))
            ledger = orthanc.resume(tmp_path / "j.sqlite", progress=False)
        assert set(ledger["status"]) == {"done"}
        made = [value["Metadata"]["AnonymizedFrom"] for value in copies(orthanc)]
        assert len(made) == len(set(made)) == before


def test_cancelling_stops_within_seconds_and_resume_does_the_rest(cohort: ores.Orthanc, tmp_path: Path) -> None:
    class AfterOne(Silent):
        def advance(self, count: int = 1) -> None:
            if count:
                self.cancel()

    ledger = run(cohort, cohort.studies(), tmp_path, progress=AfterOne(), window=1)
    assert len(ledger) == 6
    assert "not-sent" in set(ledger["status"])
    ledger = cohort.resume(tmp_path / "j.sqlite", progress=False)
    assert set(ledger["status"]) == {"done"}
    made = [value["Metadata"]["AnonymizedFrom"] for value in copies(cohort)]
    assert len(made) == len(set(made)) == int(ledger["instances"].sum())


def test_a_journal_of_another_server_is_refused(cohort: ores.Orthanc, tmp_path: Path) -> None:
    Journal.create(tmp_path / "other", "anonymize", "http://elsewhere", {}, []).close()
    with pytest.raises(errors.QueryError, match="another Orthanc"):
        cohort.resume(tmp_path / "other", progress=False)


def test_deleting_wants_the_right_number(cohort: ores.Orthanc) -> None:
    studies = cohort.studies()
    with cohort.rest.counting() as requests, pytest.raises(errors.QueryError, match="expect=1; nothing was deleted"):
        cohort.delete(studies, expect=1)
    assert requests == []
    assert cohort.delete(studies.head(2), expect=2) == 2
    assert len(cohort.studies()) == 4


def test_the_journal_holds_no_names(cohort: ores.Orthanc, tmp_path: Path) -> None:
    run(cohort, cohort.studies(), tmp_path)
    with sqlite3.connect(tmp_path / "j.sqlite") as database:
        dump = "\n".join(str(row) for row in database.execute("SELECT * FROM unit")) + str(
            database.execute("SELECT * FROM run").fetchall()
        )
    database.close()
    for name in [*cohort.patients()["PatientName"], *cohort.patients()["PatientID"]]:
        if not str(name).startswith("Anonymized") and "-" not in str(name):
            assert str(name) not in dump
