"""Query and retrieve: from a second Orthanc, and from an archive that misbehaves."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
from scp import Node, odd_node

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.modality import Modality, _wanted, many
from orthanc_research.progress import Silent

COHORT = ores.samples.cohort(patients=2, studies=2, slices=4, size=16)


@dataclass(frozen=True)
class Pair:
    here: ores.LocalOrthanc
    there: ores.LocalOrthanc
    pacs: Modality


@pytest.fixture(scope="module")
def servers(version: str) -> Iterator[Pair]:
    if version == "external":
        pytest.skip("needs servers of our own")
    config = {"DicomScuTimeout": 4}
    with (
        ores.LocalOrthanc(version, dicom=True, config={"DicomAet": "HERE", **config}) as here,
        ores.LocalOrthanc(version, dicom=True, config={"DicomAet": "THERE"}) as there,
    ):
        here.introduce(there)
        there.upload(COHORT, progress=False)
        yield Pair(here, there, here.modality("THERE"))


@pytest.fixture
def pair(servers: Pair) -> Pair:
    """A full archive there, nothing here."""
    patients = servers.here.rest.patients.list()
    if patients:
        servers.here.rest.tools.bulk_delete(patients)
    return servers


@pytest.fixture
def odd(pair: Pair) -> Iterator[tuple[Node, Modality]]:
    """An archive that does what it is told, known here as `odd`."""
    files = COHORT[:6]
    study = {key: str(files[0].get(key)) for key in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate")}
    with odd_node(Node(studies=[study], files=files)) as node:
        node.move_to = ("127.0.0.1", pair.here.server.dicom_port or 0)
        pair.here.add_modality("odd", node.aet, "127.0.0.1", node.port)
        yield node, pair.here.modality("odd")
        pair.here.remove_modality("odd")


# -- a real second server ---------------------------------------------------------------------------------------------


def test_an_echo_is_answered(pair: Pair) -> None:
    assert 0 < pair.pacs.echo() < 5
    with pytest.raises(errors.NotFoundError):
        pair.here.modality("nobody").echo()


def test_a_remote_find_is_a_typed_frame_by_uid(pair: Pair) -> None:
    studies = pair.pacs.find("Study")
    local = pair.there.studies().set_index("StudyInstanceUID").sort_index()
    assert studies.index.name == "StudyInstanceUID"
    assert sorted(studies.index) == list(local.index)
    studies = studies.sort_index()
    assert str(studies["StudyDate"].dtype) == "datetime64[s]"
    for column in ("PatientID", "PatientName", "StudyDate", "StudyDescription", "NumberOfStudyRelatedInstances"):
        assert studies[column].astype("str").tolist() == local[column].astype("str").tolist()
    assert studies["Issues"].isna().all()
    assert len(pair.pacs.find("Series")) == 8
    assert len(pair.pacs.find("Patient")) == 2
    one = pair.pacs.find("Instance", StudyInstanceUID=studies.index[0])
    assert len(one) == studies["NumberOfStudyRelatedInstances"].iloc[0]


def test_a_remote_find_takes_criteria_and_columns(pair: Pair) -> None:
    studies = pair.pacs.find("Study")
    first = studies.iloc[0]
    assert set(pair.pacs.find("Study", PatientID=first["PatientID"])["PatientID"]) == {first["PatientID"]}
    day = first["StudyDate"]
    assert set(pair.pacs.find("Study", StudyDate=(day, None)).index) == set(studies.index[studies["StudyDate"] >= day])
    both = pair.pacs.find("Study", StudyInstanceUID=list(studies.index[:2]), columns=["StudyDate"])
    assert set(both.index) == set(studies.index[:2])
    assert list(both.columns) == ["StudyDate", "Issues"]
    assert len(pair.pacs.find("Study", Modality="CT")) == 4
    assert pair.pacs.find("Study", PatientID="NOBODY").empty


def test_a_find_is_three_requests_and_leaves_no_query(pair: Pair) -> None:
    nothing: dict[str, Any] = {"PatientID": "NOBODY"}
    for criteria in ({}, nothing):
        with pair.here.rest.counting() as requests:
            pair.pacs.find("Series", **criteria)
        assert len(requests) == 3
    assert pair.here.rest.queries.list() == []
    with pair.here.rest.counting() as requests:
        empty = pair.pacs.find("Study", StudyInstanceUID=[])
    assert empty.empty
    assert requests == []
    assert list(empty.columns) == list(pair.pacs.find("Study").columns)


@pytest.mark.parametrize(
    ("criteria", "words"),
    [
        ({"StudyDat": "2021"}, "StudyDate"),
        ({"PatientID": None}, "leave it out"),
        ({"PatientName": ["A", "B"]}, "no lists but of UIDs"),
        ({"columns": ["Nonsense"]}, "Nonsense"),
        ({"columns": ["RequestAttributesSequence"]}, "sequence"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anybody_is_asked(
    pair: Pair, criteria: dict[str, object], words: str
) -> None:
    with pair.here.rest.counting() as requests, pytest.raises(errors.QueryError, match=words):
        pair.pacs.find("Study", **criteria)  # type: ignore[arg-type]
    assert requests == []


def test_remote_answers_are_refused_where_local_resources_are_meant(pair: Pair) -> None:
    remote = pair.pacs.find("Study")
    for verb in (pair.here.tags, pair.here.anonymize, pair.here.volume):
        with pytest.raises(errors.QueryError):
            verb(remote)
    with pytest.raises(errors.QueryError, match="indexed by a UID"):
        pair.pacs.retrieve(pair.there.studies())
    with pytest.raises(errors.QueryError, match="C-MOVE or C-GET"):
        pair.pacs.retrieve(remote, method="FTP")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["C-MOVE", "C-GET"])
def test_what_is_retrieved_is_counted(pair: Pair, method: str) -> None:
    studies = pair.pacs.find("Study").head(2)
    if method == "C-GET" and not pair.here.capabilities().has("c-get"):
        with pair.here.rest.counting() as requests, pytest.raises(errors.UnsupportedError, match="C-GET"):
            pair.pacs.retrieve(studies, method="C-GET")
        assert requests == []
        return

    class Counting(Silent):
        seen = 0
        most: int | None = None

        def total(self, count: int | None, unit: str = "") -> None:
            self.most = count

        def advance(self, count: int = 1) -> None:
            self.seen += count

    progress = Counting()
    ledger = pair.pacs.retrieve(studies, method=method, progress=progress)  # type: ignore[arg-type]
    assert list(ledger.index) == list(studies.index)
    assert set(ledger["status"]) == {"complete"}
    assert ledger["error"].isna().all()
    assert ledger["here"].tolist() == ledger["announced"].tolist() == studies["NumberOfStudyRelatedInstances"].tolist()
    assert ledger["here_before"].eq(0).all()
    assert pair.here.statistics()["CountInstances"] == ledger["here"].sum() == progress.seen == progress.most
    assert pair.here.rest.queries.list() == []
    again = pair.pacs.retrieve(studies, method=method, progress=False)  # type: ignore[arg-type]
    assert set(again["status"]) == {"complete"}
    assert again["here_before"].tolist() == again["here"].tolist()


def test_series_and_instances_can_be_retrieved_alone(pair: Pair) -> None:
    series = pair.pacs.find("Series", Modality="MR").head(1)
    assert set(pair.pacs.retrieve(series, progress=False)["status"]) == {"complete"}
    assert pair.here.statistics()["CountInstances"] == 4
    instance = pair.pacs.find("Instance", SeriesInstanceUID=pair.pacs.find("Series", Modality="CT").index[0]).head(1)
    assert set(pair.pacs.retrieve(instance, progress=False)["status"]) == {"complete"}
    assert pair.here.statistics()["CountInstances"] == 5
    assert pair.pacs.retrieve(series.head(0), progress=False).empty


def test_what_is_here_of_what_an_archive_has_is_one_find(pair: Pair) -> None:
    studies = pair.pacs.find("Study").sort_values("PatientID")
    whole, part = studies.index[:2]
    pair.here.upload([file for file in COHORT if file.StudyInstanceUID == whole], progress=False)
    pair.here.upload([file for file in COHORT if file.StudyInstanceUID == part][:3], progress=False)
    pair.pacs.here(studies)  # what a client learns once of a server, it knows now
    with pair.here.rest.counting() as requests:
        seen = pair.pacs.here(studies)
    assert seen["Here"].tolist() == ["yes", "part", "no", "no"]
    assert seen["InstancesHere"].tolist() == [studies["NumberOfStudyRelatedInstances"].iloc[0], 3, 0, 0]
    assert [verb for verb, *_ in requests].count("POST") <= 2  # 1.10 joins the series for their instances
    assert seen.attrs == studies.attrs
    assert set(pair.pacs.here(pair.pacs.below("Study", whole))["Here"]) == {"yes"}
    assert sorted(pair.pacs.here(pair.pacs.find("Patient"))["Here"]) == ["no", "part"]
    unasked = studies.drop(columns="NumberOfStudyRelatedInstances")
    assert pair.pacs.here(unasked)["Here"].tolist() == ["some", "some", "no", "no"]
    odd = studies.copy()
    odd.index = pd.Index(["1.2.*", "x", pd.NA, whole], name="StudyInstanceUID", dtype="str")
    assert pair.pacs.here(odd)["Here"].isna().tolist() == [True, True, True, False]
    with pair.here.rest.counting() as requests:
        assert pair.pacs.here(studies.head(0)).empty
    assert requests == []
    with pytest.raises(errors.QueryError, match="patients, studies or series"):
        pair.pacs.here(pair.pacs.find("Instance", StudyInstanceUID=whole))


def test_below_an_answer_is_what_is_its_own(pair: Pair) -> None:
    patient = pair.pacs.find("Patient").index[0]
    studies = pair.pacs.below("Patient", patient)
    assert set(studies["PatientID"]) == {patient}
    assert len(studies) == 2
    assert len(pair.pacs.below("Study", studies.index[0])) == 2
    assert pair.pacs.below("Patient", patient.lower()).empty  # an archive may match without case
    for wide in ("", "A*", "A?", "A\\B"):
        with pair.here.rest.counting() as requests, pytest.raises(errors.QueryError, match="others too"):
            pair.pacs.below("Patient", wide)
        assert requests == []


def test_answers_that_are_somebody_elses_are_not_below(odd: tuple[Node, Modality]) -> None:
    node, pacs = odd
    patient = str(node.files[0].PatientID)
    node.ignore_keys = True
    node.studies = [dict(node.studies[0], StudyInstanceUID="1.2.3.666", PatientID="SOMEBODY"), *node.studies]
    assert pacs.below("Patient", patient)["PatientID"].tolist() == [patient]
    node.studies[0]["PatientID"] = ""
    with pytest.raises(errors.ModalityError, match="PatientID is missing"):
        pacs.below("Patient", patient)


def test_nodes_and_peers_are_listed_added_and_removed(pair: Pair) -> None:
    assert pair.here.modalities().loc["THERE", "AET"] == "THERE"
    pair.here.add_modality("more", "MORE", "127.0.0.1", 104)
    assert pair.here.modalities().loc["more", "Port"] == 104
    pair.here.remove_modality("more")
    assert "more" not in pair.here.modalities().index
    pair.here.add_peer("other", pair.there.url, username="ores", password="canary-5ecret")
    peers = pair.here.peers()
    assert peers.loc["other", "Username"] == "ores"
    assert "5ecret" not in peers.to_string()
    pair.here.remove_peer("other")
    assert pair.here.peers().empty


def test_jobs_are_a_frame_and_snapshots(pair: Pair) -> None:
    pair.pacs.retrieve(pair.pacs.find("Study").head(1), progress=False)
    jobs = pair.here.jobs()
    assert "DicomMoveScu" in set(jobs["Type"])
    assert jobs["Created"].notna().all()
    job = pair.here.job(jobs.index[0])
    assert job.done
    assert job.refresh() == job
    assert job.wait() == job
    assert pair.here.metrics() is not None
    assert pair.here.export_log().empty


# -- an archive that misbehaves ---------------------------------------------------------------------------------------


def test_a_refused_association_is_told_in_orthancs_words(odd: tuple[Node, Modality]) -> None:
    node, pacs = odd
    node.reject = True
    with pytest.raises(errors.ModalityError, match="remote node failed") as caught:
        pacs.find("Study")
    assert caught.value.details
    with pytest.raises(errors.ModalityError):
        pacs.echo()


def test_a_wrong_title_is_a_refusal(pair: Pair, odd: tuple[Node, Modality]) -> None:
    node, _ = odd
    wrong = pair.here.add_modality("wrong", "NOBODY", "127.0.0.1", node.port)
    with pytest.raises(errors.ModalityError):
        wrong.echo()
    pair.here.remove_modality("wrong")


def test_a_node_that_is_down_is_told_at_once(pair: Pair) -> None:
    down = pair.here.add_modality("down", "DOWN", "127.0.0.1", 9)
    for ask in (down.echo, lambda: down.find("Study")):
        with pytest.raises(errors.ModalityError):
            ask()
    pair.here.remove_modality("down")


def test_an_abort_is_an_error_not_an_empty_answer(odd: tuple[Node, Modality]) -> None:
    node, pacs = odd
    node.abort = True
    with pytest.raises(errors.ModalityError):
        pacs.find("Study")


def test_silence_ends_at_the_time_out(odd: tuple[Node, Modality]) -> None:
    node, pacs = odd
    node.delay = 4
    with pytest.raises(errors.ModalityError):
        pacs.find("Study", timeout=1)


@pytest.mark.parametrize("status", [0xA700, 0xC000])
def test_answers_before_a_failure_are_a_failure(odd: tuple[Node, Modality], status: int) -> None:
    node, pacs = odd
    node.studies = [dict(node.studies[0], StudyInstanceUID=f"1.2.{n}") for n in range(5)]
    node.fail_find = status
    with pytest.raises(errors.ModalityError):
        pacs.find("Study")


def test_many_answers_come_in_three_requests_with_a_warning(pair: Pair, odd: tuple[Node, Modality]) -> None:
    node, pacs = odd
    node.studies = [dict(node.studies[0], StudyInstanceUID=f"1.2.3.{n}") for n in range(2000)]
    with pair.here.rest.counting() as requests, pytest.warns(UserWarning, match="2000 answers"):
        frame = pacs.find("Study")
    assert len(frame) == 2000
    assert len(requests) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert many(pacs.find("Study", warn=False)) == many(frame) != ""
    node.studies = node.studies[:1000]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(pacs.find("Study")) == 1000


def test_an_archive_that_announces_more_than_it_sends_is_found_out(odd: tuple[Node, Modality]) -> None:
    node, pacs = odd
    node.send = 4
    frame = pacs.find("Study")
    ledger = pacs.retrieve(frame, progress=False)
    assert ledger["status"].tolist() == ["incomplete"]
    assert ledger["announced"].tolist() == [6]  # it claimed nothing, so its instances were counted
    assert ledger["here"].tolist() == [4]
    assert ledger["error"].tolist() == ["2 of 6 instances did not arrive."]
    node.send = None
    assert pacs.retrieve(frame, progress=False)["status"].tolist() == ["complete"]
    node.announce = 9
    assert pacs.retrieve(pacs.find("Study"), progress=False)["status"].tolist() == ["incomplete"]


def test_instances_that_were_here_before_do_not_stand_in_for_those_that_did_not_come(
    pair: Pair, odd: tuple[Node, Modality]
) -> None:
    node, pacs = odd
    others = [copy.deepcopy(file) for file in node.files[:4]]
    for number, other in enumerate(others):
        other.SOPInstanceUID = f"1.2.3.4.{number}"
    pair.here.upload(others, progress=False)  # of the same study, and not in the archive
    node.send = 2
    ledger = pacs.retrieve(pacs.find("Study"), progress=False)
    assert ledger["status"].tolist() == ["incomplete"]
    assert ledger["error"].tolist() == ["4 of 6 instances did not arrive."]
    assert ledger[["here_before", "here"]].to_numpy().tolist() == [[4, 6]]
    node.instance_level = False
    node.announce = 6
    assert pacs.retrieve(pacs.find("Study"), progress=False)["status"].tolist() == ["unverified"]
    node.announce = 0
    assert pacs.retrieve(pacs.find("Study"), progress=False)["status"].tolist() == ["unverified"]


def test_an_archive_that_answers_with_somebody_else_sends_nobody(pair: Pair, odd: tuple[Node, Modality]) -> None:
    node, pacs = odd
    frame = pacs.find("Study")
    node.ignore_keys = True
    node.studies = [dict(node.studies[0], StudyInstanceUID="1.2.3.666"), *node.studies]
    ledger = pacs.retrieve(frame, progress=False)
    assert ledger["status"].tolist() == ["complete"]
    assert set(pair.here.studies()["StudyInstanceUID"]) == set(frame.index)
    node.studies = node.studies[:1]
    assert pacs.retrieve(frame, progress=False)["status"].tolist() == ["not-found"]


def test_instances_of_others_that_an_archive_lists_are_not_missed(odd: tuple[Node, Modality]) -> None:
    node, pacs = odd
    frame = pacs.find("Study")
    node.ignore_keys = True
    stranger = copy.deepcopy(node.files[0])
    stranger.StudyInstanceUID, stranger.SOPInstanceUID = "1.2.3.666", "1.2.3.667"
    node.files = [*node.files, stranger]
    ledger = pacs.retrieve(frame, progress=False)
    assert ledger[["status", "announced", "here"]].to_numpy().tolist() == [["complete", 6, 6]]


def test_of_one_study_that_an_archive_names_twice_more_is_expected(pair: Pair) -> None:
    study = pair.pacs.find("Study").head(1)
    fewer = study.assign(NumberOfStudyRelatedInstances=1)
    assert _wanted(pd.concat([fewer, study])) == _wanted(study)
    series = pair.pacs.find("Series").head(2)
    series.index = pd.Index([series.index[0]] * 2, name="SeriesInstanceUID")
    series["StudyInstanceUID"] = ["1.2", "1.3"]
    with pytest.raises(errors.QueryError, match="two studies"):
        pair.pacs.retrieve(series)


def test_patients_and_wildcards_are_not_retrieved(pair: Pair) -> None:
    with pytest.raises(errors.QueryError, match="Retrieve studies"):
        pair.pacs.retrieve(pair.pacs.find("Patient"))
    wild = pair.pacs.find("Study").head(1)
    wild.index = pd.Index(["1.2.*"], name="StudyInstanceUID")
    with pair.here.rest.counting() as requests, pytest.raises(errors.QueryError, match="would match more"):
        pair.pacs.retrieve(wild)
    assert requests == []


def test_the_way_that_was_asked_for_is_the_way_it_comes(pair: Pair) -> None:
    if not pair.here.capabilities().has("c-get"):
        pytest.skip("before 1.12.6 there is C-MOVE only")
    port = pair.there.server.dicom_port or 0
    gets = pair.here.add_modality("gets", "THERE", "127.0.0.1", port, retrieve_method="C-GET")
    gets.retrieve(gets.find("Study").head(1), method="C-MOVE", progress=False)
    assert pair.here.jobs()["Type"].iloc[0] == "DicomMoveScu"
    pair.here.remove_modality("gets")


def test_repeated_rows_have_a_row_each(pair: Pair) -> None:
    study = pair.pacs.find("Study").head(1)
    ledger = pair.pacs.retrieve(pd.concat([study, study]), progress=False)
    assert ledger["status"].tolist() == ["complete", "complete"]


def test_an_archive_that_tells_no_numbers_is_unverified(odd: tuple[Node, Modality]) -> None:
    node, pacs = odd
    node.instance_level = False
    ledger = pacs.retrieve(pacs.find("Study"), progress=False)
    assert ledger["status"].tolist() == ["unverified"]
    assert ledger["here"].tolist() == [6]


def test_a_move_that_fails_midway_says_what_is_here(odd: tuple[Node, Modality]) -> None:
    node, pacs = odd
    node.fail_move = 0xA702
    ledger = pacs.retrieve(pacs.find("Study"), progress=False)
    assert ledger["status"].tolist() == ["failed"]
    assert ledger["here"].tolist() == [2]
    assert ledger["error"].iloc[0]


def test_a_move_to_a_stranger_is_told(odd: tuple[Node, Modality]) -> None:
    node, pacs = odd
    node.fail_move = 0xA801
    ledger = pacs.retrieve(pacs.find("Study"), progress=False)
    assert ledger["status"].tolist() == ["failed"]
    assert ledger["here"].tolist() == [0]


def test_what_the_archive_lost_meanwhile_is_not_found(odd: tuple[Node, Modality]) -> None:
    node, pacs = odd
    frame = pacs.find("Study")
    node.studies = []
    assert pacs.retrieve(frame, progress=False)["status"].tolist() == ["not-found"]


def test_one_failed_row_does_not_end_the_others(odd: tuple[Node, Modality]) -> None:
    node, pacs = odd
    frame = pacs.find("Study")
    lost = frame.copy()
    lost.index = pd.Index(["1.2.3.4.5"], name="StudyInstanceUID")
    ledger = pacs.retrieve(pd.concat([lost, frame]), progress=False)
    assert ledger["status"].tolist() == ["not-found", "complete"]
    assert node.moves == 1


def test_cancelling_a_retrieve_leaves_rows(odd: tuple[Node, Modality]) -> None:
    node, pacs = odd
    frame = pacs.find("Study")
    progress = Silent()
    progress.cancel()
    assert pacs.retrieve(frame, progress=progress)["status"].tolist() == ["not-sent"]
    assert node.moves == 0
