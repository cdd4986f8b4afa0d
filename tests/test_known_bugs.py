"""What users of other Orthanc clients ran into: each is a test here.

Those that have a test elsewhere: an error body saved as .zip (test_rest), labels and requested tags ignored by 1.10
(test_find, test_rest_errors), a POST sent three times (test_rest_errors), originals deleted (test_anonymize), 1.13
taken for older than 1.12.7 (test_rest_errors), one bad file that aborts a folder (test_upload), asyncio in a notebook
(test_rest), queries left on the server (test_modality), an extra empty page (test_find), silent job failures
(test_anonymize).
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.rest import Connection, Rest


def cohort(orthanc: ores.Orthanc, **size: int) -> None:
    orthanc.upload(
        ores.samples.cohort(**{"patients": 1, "studies": 1, "slices": 3, "size": 16, **size}),  # type: ignore[call-overload]
        progress=False,
    )


def test_a_limit_of_nothing_is_refused_not_looped_over(orthanc: ores.Orthanc) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: orthanc.studies(limit=0),
        lambda: orthanc.studies(page=0),
        lambda: orthanc.changes(limit=0),
        lambda: orthanc.rest.studies.list(limit=0),
    ]
    with orthanc.rest.counting() as requests:
        for call in calls:
            with pytest.raises(errors.QueryError):
                call()
    assert requests == []


def test_a_criterion_outside_the_index_is_answered_by_every_version(orthanc: ores.Orthanc) -> None:
    cohort(orthanc, slices=6)
    every = orthanc.instances(Modality="MR")
    thick = orthanc.instances(SliceThickness=float(orthanc.tags(every, ["SliceThickness"])["SliceThickness"].iloc[0]))
    assert set(every.index) <= set(thick.index)
    assert len(orthanc.instances(SliceThickness=0.123)) == 0
    assert len(orthanc.instances(match={"0018,0050": "123456"})) == 0


def test_an_absent_tag_is_na_not_a_key_error(orthanc: ores.Orthanc) -> None:
    (dataset, *_) = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)
    for keyword in ("PatientName", "StudyDate", "StudyDescription", "SeriesNumber", "Manufacturer"):
        if keyword in dataset:
            delattr(dataset, keyword)
    orthanc.upload(dataset, progress=False)
    assert orthanc.studies()[["PatientName", "StudyDate", "StudyDescription"]].isna().all(axis=None)
    assert orthanc.tags(orthanc.series(), ["KVP", "SeriesNumber"])["SeriesNumber"].isna().all()


def test_more_jobs_than_the_server_remembers_are_all_accounted_for(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    cohort(orthanc, patients=24)
    ledger = orthanc.anonymize(orthanc.studies(), journal=tmp_path / "j", progress=False, window=8)
    assert len(ledger) == 24
    assert set(ledger["status"]) == {"done"}, ledger["error"].dropna().tolist()
    assert len(orthanc.rest.jobs.list()) <= 10


def test_every_option_of_an_anonymization_is_sent(rest: Rest) -> None:
    call = rest.tools.bulk_anonymize.call(
        ["a"],
        replace={"PatientName": "X"},
        keep=["StudyDescription"],
        remove=["AccessionNumber"],
        keep_private_tags=True,
        dicom_version="2021b",
        force=True,
        priority=3,
    )
    assert call.json == {
        "Resources": ["a"],
        "Replace": {"PatientName": "X"},
        "Keep": ["StudyDescription"],
        "Remove": ["AccessionNumber"],
        "KeepPrivateTags": True,
        "KeepSource": True,
        "DicomVersion": "2021b",
        "Force": True,
        "Priority": 3,
        "Synchronous": False,
    }


def test_options_of_an_anonymization_arrive_in_the_copies(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    cohort(orthanc)
    description = orthanc.studies()["StudyDescription"].iloc[0]
    ledger = orthanc.anonymize(
        orthanc.studies(),
        keep=["StudyDescription"],
        replace={"PatientName": "SUBJECT^ONE"},
        journal=tmp_path / "j",
        progress=False,
    )
    new = orthanc.studies(StudyInstanceUID=ledger["AnonymizedUID"].iloc[0]).iloc[0]
    assert (new["StudyDescription"], new["PatientName"]) == (description, "SUBJECT^ONE")


def test_settings_survive_a_copy(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    assert connection.auth is not None
    monkeypatch.setenv("SOME_AUTH", ":".join(connection.auth))
    with ores.Orthanc(connection.url, auth="env:SOME_AUTH", timeout=7, workers=2) as orthanc:
        for again in (copy.copy(orthanc), copy.deepcopy(orthanc), pickle.loads(pickle.dumps(orthanc))):
            with again:
                assert again.rest.connection == orthanc.rest.connection
                assert again.workers == 2
                assert again.statistics()["CountStudies"] >= 0


def test_two_clients_share_nothing(connection: Connection) -> None:
    seen: dict[str, list[httpx.Request]] = {"a": [], "b": []}

    def client(name: str) -> Rest:
        def handler(request: httpx.Request) -> httpx.Response:
            seen[name].append(request)
            return httpx.Response(200, json={"Version": "1.10.1" if name == "a" else "1.13.0"})

        return Rest(Connection.make("http://h", headers={"X-Who": name}), transport=httpx.MockTransport(handler))

    a, b = client("a"), client("b")
    assert (a.capabilities().version, b.capabilities().version) == ("1.10.1", "1.13.0")
    with a.counting() as requests:
        b.system.read()
    assert requests == []
    assert [request.headers["x-who"] for request in (*seen["a"], *seen["b"])] == ["a", "b", "b"]


def test_a_short_time_out_does_not_cut_a_long_anonymization(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    cohort(orthanc, slices=60)
    c = orthanc.rest.connection
    with ores.Orthanc(c.url, auth=c.auth, timeout=2) as hasty:
        ledger = hasty.anonymize(hasty.studies(), journal=tmp_path / "j", progress=False)
    assert set(ledger["status"]) == {"done"}
