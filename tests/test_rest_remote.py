"""Modalities, queries and peers: two real servers that know each other, and nodes that are down or refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.rest import AsyncRest

UNKNOWN = "-".join(["00000000"] * 5)
STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
Pair = tuple[ores.LocalOrthanc, ores.LocalOrthanc, str]


@pytest.fixture(scope="module")
def servers(version: str) -> Iterator[Pair]:
    """Two servers that know each other; the name of the second at the first."""
    if version == "external":
        pytest.skip("needs servers of our own")
    suite = None if version == "any" else version
    with ores.LocalOrthanc(suite, dicom=True) as here, ores.LocalOrthanc(suite, dicom=True) as there:
        here.introduce(there)
        here.rest.modalities.put("down", "DOWN", "127.0.0.1", 1)
        here.rest.modalities.put("stranger", "STRANGER", "127.0.0.1", there.server.dicom_port or 0)
        yield here, there, there.server.aet


@pytest.fixture
def pair(servers: Pair, ct_small: Path) -> Pair:
    """The second holds one study, the first nothing."""
    here, there, name = servers
    for orthanc in (here, there):
        patients = orthanc.rest.patients.list()
        if patients:
            orthanc.rest.tools.bulk_delete(patients)
    there.rest.instances.upload(ct_small.read_bytes())
    return here, there, name


# --- modalities


def test_a_modality_has_every_field(pair: Pair) -> None:
    modalities = pair[0].rest.modalities
    modalities.put(
        "full",
        "FULL",
        "pacs.example.org",
        11112,
        manufacturer="GE",
        allow_echo=False,
        allow_find=False,
        allow_find_worklist=False,
        allow_get=False,
        allow_move=False,
        allow_store=False,
        allow_storage_commitment=False,
        allow_transcoding=False,
        use_dicom_tls=True,
        local_aet="US",
        timeout=7,
    )
    configuration = modalities.read("full")
    assert {key: configuration[key] for key in ("AET", "Host", "Port", "Manufacturer", "LocalAet", "Timeout")} == {
        "AET": "FULL",
        "Host": "pacs.example.org",
        "Port": 11112,
        "Manufacturer": "GE",
        "LocalAet": "US",
        "Timeout": 7,
    }
    assert configuration["UseDicomTls"] is True
    assert not any(value for key, value in configuration.items() if key.startswith("Allow"))
    assert modalities.list()["full"] == configuration
    assert "full" in modalities.names()
    modalities.delete("full")
    for gone in (modalities.delete, modalities.read, modalities.echo):
        with pytest.raises(errors.NotFoundError):
            gone("full")


def test_bad_nodes_are_refused_before_they_are_sent(pair: Pair) -> None:
    rest = pair[0].rest
    bad: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        (("AET_OF_17_LETTERS", "h", 104), {}),
        (("", "h", 104), {}),
        (("A\\B", "h", 104), {}),
        (("A", "h", 0), {}),
        (("A", "h", 70000), {}),
        (("A", "h", 104), {"manufacturer": "Acme"}),
        (("A", "h", 104), {"retrieve_method": "C-FETCH"}),
        (("A", "h", 104), {"local_aet": "AET_OF_17_LETTERS"}),
    ]
    with rest.counting() as requests:
        for arguments, options in bad:
            with pytest.raises(errors.QueryError):
                rest.modalities.put("x", *arguments, **options)
    assert requests == []
    if rest.capabilities().has("c-get"):
        rest.modalities.put("x", "A", "h", 104, retrieve_method="C-GET")
        assert rest.modalities.read("x")["RetrieveMethod"] == "C-GET"
        rest.modalities.delete("x")
    else:
        with pytest.raises(errors.UnsupportedError, match=r"1\.12\.6"):
            rest.modalities.put("x", "A", "h", 104, retrieve_method="C-GET")


def test_echo_tells_whether_a_node_answers(pair: Pair) -> None:
    here, there, name = pair
    here.rest.modalities.echo(name)
    here.rest.modalities.echo(name, 5, check_find=True)
    assert there.server.dicom_port is not None
    here.rest.tools.dicom_echo(name, "127.0.0.1", there.server.dicom_port, check_find=True)
    for node in ("down", "stranger"):
        with pytest.raises(errors.ModalityError) as caught:
            here.rest.modalities.echo(node, 2)
        assert caught.value.orthanc_status == 9
    with pytest.raises(errors.ModalityError, match="Rejected"):
        here.rest.tools.dicom_echo("WRONG", "127.0.0.1", there.server.dicom_port, timeout=2)


# --- queries


def test_a_query_is_asked_read_and_deleted(pair: Pair) -> None:
    here, _, name = pair
    queries = here.rest.queries
    query = here.rest.modalities.query(
        name, "Study", {"PatientID": "1CT*", "StudyDescription": "", "NumberOfStudyRelatedInstances": ""}, timeout=5
    )
    assert query in queries.list()
    assert (queries.level(query), queries.modality(query)) == ("Study", name)
    assert queries.query(query)["0010,0020"] == "1CT*"
    assert queries.query(query, "names")["PatientID"] == "1CT*"
    assert queries.indices(query) == [0]
    (short,), (names,), (full,) = (queries.answers(query, form) for form in ("short", "names", "full"))
    assert short["0020,000d"] == names["StudyInstanceUID"] == full["0020,000d"]["Value"] == STUDY
    assert short["0020,1208"] == "1"
    assert queries.content(query, 0) == short
    assert queries.content(query, 0, "names") == names
    below = queries.query_children(query, 0, "Series", {"Modality": ""})
    assert queries.level(below) == "Series"
    assert queries.answers(below)[0]["0008,0060"] == "CT"
    deepest = queries.query_children(query, 0, "Instance", timeout=5)
    assert queries.level(deepest) == "Instance"
    assert len(queries.indices(deepest)) == 1
    for identifier in (query, below, deepest):
        queries.delete(identifier)
        assert identifier not in queries.list()
        with pytest.raises(errors.NotFoundError):
            queries.answers(identifier)
        queries.delete(identifier)  # no error on any version


def test_a_query_without_answers_is_one(pair: Pair) -> None:
    here, _, name = pair
    query = here.rest.modalities.query(name, "Study", {"PatientID": "nobody"})
    assert here.rest.queries.indices(query) == []
    assert here.rest.queries.answers(query) == []
    here.rest.queries.retrieve(query)
    assert here.rest.studies.list() == []
    here.rest.queries.delete(query)


def test_queries_in_what_they_refuse(pair: Pair) -> None:
    here, _, name = pair
    rest = here.rest
    assert not rest.modalities.query.call(name, "Study", {}).repeatable
    with pytest.raises(errors.ServerError) as caught:
        rest.modalities.query(name, "Study", {"NoSuchTag": "x"})
    assert (caught.value.status, caught.value.orthanc_status) == (400, 15)
    with pytest.raises(errors.NotFoundError):
        rest.modalities.query("nobody", "Study", {})
    for node in ("down", "stranger"):
        with pytest.raises(errors.ModalityError):
            rest.modalities.query(node, "Study", {"PatientID": "*"}, timeout=2)
    query = rest.modalities.query(name, "Study", {"PatientID": "*"})
    with pytest.raises(errors.ServerError) as beyond:
        rest.queries.content(query, 99)
    assert (beyond.value.status, beyond.value.orthanc_status) == (400, 3)
    with pytest.raises(errors.NotFoundError):
        rest.queries.query_children(query, 0, "Study")
    for read in (rest.queries.level, rest.queries.modality, rest.queries.query, rest.queries.indices):
        with pytest.raises(errors.NotFoundError):
            read(UNKNOWN)
    with rest.counting() as requests:
        for bad in (
            lambda: rest.modalities.query(name, "Image", {}),  # type: ignore[arg-type]
            lambda: rest.queries.content(query, -1),
            lambda: rest.queries.answers(query, "long"),  # type: ignore[arg-type]
            lambda: rest.queries.query_children(query, 0, "Patient"),
            lambda: rest.queries.retrieve(query, retrieve_method="C-FETCH"),  # type: ignore[arg-type]
            lambda: rest.queries.retrieve(query, priority=3),
            lambda: rest.queries.retrieve(query, target_aet="AET_OF_17_LETTERS"),
        ):
            with pytest.raises(errors.QueryError):
                bad()
    assert requests == []
    rest.queries.delete(query)


def test_what_was_found_is_retrieved(pair: Pair) -> None:
    here, _, name = pair
    rest = here.rest
    query = rest.modalities.query(name, "Study", {"PatientID": "1CT1"})
    content = rest.queries.retrieve_answer(query, 0, target_aet=here.server.aet, timeout=5)
    assert content["RemoteAet"] == name
    assert content["Query"][0]["0020,000d"] == STUDY
    (study,) = rest.studies.list()
    rest.studies.delete(study)
    answer = rest.queries.retrieve(query, synchronous=False, priority=1, form="names")
    job = rest.jobs.read(answer["ID"]).wait(30)
    assert job.type == "DicomMoveScu"
    assert job.content["Query"][0]["StudyInstanceUID"] == STUDY
    assert rest.studies.list() == [study]
    rest.studies.delete(study)
    with pytest.raises(errors.ModalityError) as caught:
        rest.queries.retrieve(query, target_aet="NOBODY")
    assert caught.value.orthanc_status == 9
    assert rest.studies.list() == []
    if rest.capabilities().has("c-get"):
        rest.queries.retrieve_answer(query, 0, retrieve_method="C-GET")
        assert rest.studies.list() == [study]
    else:
        with pytest.raises(errors.UnsupportedError, match=r"1\.12\.6"):
            rest.queries.retrieve_answer(query, 0, retrieve_method="C-GET")
        assert rest.studies.list() == []
    assert not rest.queries.retrieve.call(query).repeatable
    rest.queries.delete(query)


def test_moving_by_identifiers(pair: Pair) -> None:
    here, _, name = pair
    rest = here.rest
    rest.modalities.move(name, "Study", [{"StudyInstanceUID": STUDY}], timeout=5)
    (study,) = rest.studies.list()
    rest.studies.delete(study)
    if rest.capabilities().has("move-job"):
        answer = rest.modalities.move(
            name, "Study", [{"StudyInstanceUID": STUDY}], target_aet=here.server.aet, synchronous=False
        )
        assert rest.jobs.read(answer["ID"]).wait(30).type == "DicomMoveScu"
        assert rest.studies.list() == [study]
    else:
        with pytest.raises(errors.UnsupportedError, match=r"1\.11\.1"):
            rest.modalities.move(name, "Study", [{"StudyInstanceUID": STUDY}], synchronous=False)
    for options in ({"target_aet": "NOBODY"}, {}):
        uid = STUDY if options else "1.2.3"
        with pytest.raises(errors.ModalityError) as caught:
            rest.modalities.move(name, "Study", [{"StudyInstanceUID": uid}], **options)  # type: ignore[arg-type]
        assert caught.value.orthanc_status == 9
    with rest.counting() as requests:
        wrong: list[list[dict[str, str]]] = [
            [],
            [{}],
            [{"PatientID": ""}],
            [{"StudyInstanceUID": "*"}],
            [{"PatientID": "1?"}],
        ]
        for bad in wrong:
            with pytest.raises(errors.QueryError):
                rest.modalities.move(name, "Study", bad)
    assert requests == []
    assert not rest.modalities.move.call(name, "Study", [{"StudyInstanceUID": STUDY}]).repeatable


def test_getting_by_identifiers(pair: Pair) -> None:
    here, _, name = pair
    rest = here.rest
    if not rest.capabilities().has("c-get"):
        with rest.counting() as requests, pytest.raises(errors.UnsupportedError, match=r"C-GET needs 1\.12\.6"):
            rest.modalities.get(name, "Study", [{"StudyInstanceUID": STUDY}])
        assert requests == []
        return
    rest.modalities.get(name, "Study", [{"StudyInstanceUID": STUDY}])
    (study,) = rest.studies.list()
    rest.studies.delete(study)
    answer = rest.modalities.get(name, "Study", [{"StudyInstanceUID": STUDY}], synchronous=False)
    assert rest.jobs.read(answer["ID"]).wait(30).type == "DicomGetScu"
    assert rest.studies.list() == [study]
    if rest.capabilities().version.startswith("1.12.7"):
        rest.modalities.get(name, "Study", [{"StudyInstanceUID": "1.2.3"}], timeout=1)  # success: nothing came
    else:
        with pytest.raises(errors.ModalityError):
            rest.modalities.get(name, "Study", [{"StudyInstanceUID": "1.2.3"}])


def test_older_finds_and_worklists(pair: Pair) -> None:
    here, _, name = pair
    (patient,) = here.rest.modalities.find(name, {"PatientID": "1CT1"})
    assert patient["Studies"][0]["Series"][0]["Modality"] == "CT"
    (flat,) = here.rest.modalities.find(name, {"PatientID": "1CT1"}, "Patient")
    assert flat["PatientID"] == "1CT1"
    (series,) = here.rest.modalities.find(name, {"PatientID": "1CT1", "StudyInstanceUID": STUDY}, "Series")
    assert series["Modality"] == "CT"
    with pytest.raises(errors.ServerError):
        here.rest.modalities.find(name, {"PatientID": "1CT1"}, "Instance")
    with pytest.raises(errors.ModalityError) as caught:
        here.rest.modalities.find_worklist(name, {"PatientID": ""})
    assert caught.value.orthanc_status in (2015, 2016)


# --- store, and storage commitment


def test_storing_at_a_modality(pair: Pair, ct_small: Path) -> None:
    here, there, name = pair
    rest = here.rest
    there.rest.tools.bulk_delete(there.rest.patients.list())
    uploaded = rest.instances.upload(ct_small.read_bytes())
    study = uploaded["ParentStudy"]
    answer = rest.modalities.store(name, [study], move_originator_aet="ORIGIN", move_originator_id=3, timeout=5)
    assert (answer["InstancesCount"], answer["FailedInstancesCount"], answer["RemoteAet"]) == (1, 0, name)
    assert there.rest.studies.list() == [study]
    there.rest.studies.delete(study)
    job = rest.modalities.store(name, [uploaded["ID"]], synchronous=False, priority=5, storage_commitment=True)
    done = rest.jobs.read(job["ID"]).wait(30)
    assert (done.type, done.priority) == ("DicomModalityStore", 5)
    assert there.rest.studies.list() == [study]
    there.rest.studies.delete(study)
    assert rest.modalities.store_straight(name, ct_small.read_bytes())["SOPInstanceUID"]
    assert there.rest.studies.list() == [study]
    report = rest.modalities.storage_commitment(name, [study], timeout=5)
    for _ in range(100):
        told = rest.modalities.storage_commitment_report(report)
        if told["Status"] != "Pending":
            break
    assert told["Status"] == "Success"
    assert len(told["Success"]) == 1


def test_storing_in_what_it_refuses(pair: Pair, ct_small: Path) -> None:
    here, there, name = pair
    rest = here.rest
    study = rest.instances.upload(ct_small.read_bytes())["ParentStudy"]
    for node in ("down", "stranger"):
        with pytest.raises(errors.ModalityError) as caught:
            rest.modalities.store(node, [study], timeout=2)
        assert caught.value.orthanc_status == 9
    with pytest.raises(errors.ModalityError):
        rest.modalities.store(name, [study], local_aet="STRANGER")
    with pytest.raises(errors.ServerError) as unknown:
        rest.modalities.store(name, ["nonsense"])
    assert (unknown.value.status, unknown.value.orthanc_status) == (400, 15)
    with pytest.raises(errors.NotFoundError):
        rest.modalities.store("nobody", [study])
    with pytest.raises(errors.ServerError):
        rest.modalities.store_straight(name, b"not DICOM")
    with pytest.raises(errors.QueryError):
        rest.modalities.store(name, [])
    assert "Permissive" not in rest.modalities.store.call(name, [study]).json
    assert not rest.modalities.store.call(name, [study]).repeatable
    if rest.capabilities().has("store-override"):
        rest.modalities.store("down", [study], called_aet=name, host="127.0.0.1", port=there.server.dicom_port)
        with pytest.raises(errors.ModalityError):
            rest.modalities.store(name, [study], called_aet="WRONG")
    else:
        with pytest.raises(errors.UnsupportedError, match=r"1\.11\.3"):
            rest.modalities.store(name, [study], called_aet="WRONG")  # 1.10.1 would store at the right one


# --- peers


def test_a_peer_is_kept_without_its_secrets(pair: Pair) -> None:
    peers = pair[0].rest.peers
    peers.put("full", "http://example.org/", username="u", password="secret", http_headers={"A": "secret"}, timeout=4)
    configuration = peers.read("full")
    assert configuration["Username"] == "u"
    assert configuration["Password"] is None
    assert configuration["HttpHeaders"] == ["A"]
    assert configuration["Timeout"] == 4
    assert peers.list()["full"] == configuration
    assert "full" in peers.names()
    call = peers.put.call("x", "http://h/", username="u", password="secret", certificate_key_password="secret")
    assert "secret" not in repr(call)
    with pytest.raises(errors.NotFoundError):
        peers.put("x", "https://h/", certificate_file="/no/such/file.crt", certificate_key_file="/none.key")
    peers.delete("full")
    for gone in (peers.delete, peers.read, peers.system):
        with pytest.raises(errors.NotFoundError):
            gone("full")
    with pytest.raises(errors.ServerError) as array:
        pair[0].rest.put("/peers/x", [{"Url": "http://h/"}])  # as the document of 2019 has it
    assert (array.value.status, array.value.orthanc_status) == (400, 15)
    for url, options in (("ftp://h/", {}), ("http://u:p@h/", {}), ("http://h/", {"username": "u"}), ("h", {})):
        with pytest.raises(errors.QueryError):
            peers.put("x", url, **options)  # type: ignore[arg-type]


def test_storing_at_a_peer(pair: Pair, ct_small: Path) -> None:
    here, there, _ = pair
    rest = here.rest
    user, password = there.server.auth
    rest.peers.put("there", there.url, username=user, password=password)
    rest.peers.put("down", "http://127.0.0.1:1/", timeout=2)
    rest.peers.put("locked", there.url, username=user, password="wrong")
    assert rest.peers.system("there")["DicomAet"] == there.server.aet
    there.rest.tools.bulk_delete(there.rest.patients.list())
    study = rest.instances.upload(ct_small.read_bytes())["ParentStudy"]
    answer = rest.peers.store("there", [study], compress=True)
    assert (answer["InstancesCount"], answer["FailedInstancesCount"], answer["Compress"]) == (1, 0, True)
    assert there.rest.studies.list() == [study]
    job = rest.jobs.read(rest.peers.store("there", [study], synchronous=False)["ID"]).wait(30)
    assert job.type == "OrthancPeerStore"
    assert rest.peers.store_straight("there", ct_small.read_bytes())["Status"] == "AlreadyStored"
    with pytest.raises(errors.ModalityError) as caught:
        rest.peers.store("down", [study])
    assert caught.value.orthanc_status == 9
    with pytest.raises(errors.ModalityError):
        rest.peers.system("down")
    with pytest.raises(errors.OrthancError):
        rest.peers.store("locked", [study])
    with pytest.raises(errors.NotFoundError):
        rest.peers.store("nobody", [study])
    with pytest.raises(errors.ServerError) as unknown:
        rest.peers.store("there", ["nonsense"])
    assert (unknown.value.status, unknown.value.orthanc_status) == (400, 15)
    with pytest.raises(errors.ServerError):
        rest.peers.store("there", [study], transcode="1.2.3")
    with pytest.raises(errors.QueryError):
        rest.peers.store("there", [])
    assert not rest.peers.store.call("there", [study]).repeatable
    for name in ("there", "down", "locked"):
        rest.peers.delete(name)


def test_the_same_routes_are_awaited(pair: Pair) -> None:
    here, _, name = pair

    async def chain() -> tuple[list[dict[str, Any]], dict[str, Any], list[str], dict[str, Any]]:
        async with AsyncRest(here.rest.connection) as client:
            await client.modalities.echo(name)
            query = await client.modalities.query(name, "Study", {"PatientID": "*"})
            answers = await client.queries.answers(query)
            await client.queries.delete(query)
            changes = await client.changes.read(limit=1)
            return answers, changes, await client.peers.names(), await client.exports.read()

    answers, changes, peers, exports = asyncio.run(chain())
    assert answers[0]["0020,000d"] == STUDY
    assert set(changes) >= {"Changes", "Done", "Last"}
    assert peers == []
    assert exports["Exports"] == []
