"""The routes against real servers, awaited or not."""

from __future__ import annotations

import asyncio
import io
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import orthanc_research as ores
from benchmarks._wire import recorded
from orthanc_research import errors
from orthanc_research.rest import AsyncRest, Connection, Rest

UNKNOWN = "-".join(["00000000"] * 5)


@pytest.fixture
def instance(rest: Rest, ct_small: Path) -> str:
    return str(rest.instances.upload(ct_small.read_bytes())["ID"])


def test_a_resource_is_listed_read_and_deleted_at_each_level(rest: Rest, instance: str) -> None:
    for area, level in (
        (rest.patients, "Patient"),
        (rest.studies, "Study"),
        (rest.series, "Series"),
        (rest.instances, "Instance"),
    ):
        (identifier,) = area.list()
        assert area.list(since=0, limit=5) == [identifier]
        assert area.read(identifier)["Type"] == level
        assert area.statistics(identifier)["CountInstances" if level == "Patient" else "DiskSize"]
        assert area.metadata(identifier)
        with pytest.raises(errors.NotFoundError):
            area.read(UNKNOWN)
        with pytest.raises(errors.NotFoundError):
            area.delete(UNKNOWN)
    (study,) = rest.studies.list()
    assert rest.studies.children(study, "Instance")[0]["ID"] == instance
    assert rest.instances.delete(instance)["RemainingAncestor"] is None
    assert rest.studies.list() == []


def test_a_page_needs_a_limit(rest: Rest) -> None:
    with rest.counting() as requests, pytest.raises(errors.QueryError, match="limit"):
        rest.studies.list(since=3)
    with pytest.raises(errors.QueryError):
        rest.studies.list(limit=0)  # "nothing" on 1.10, everything on 1.12.5
    assert requests == []


def test_a_file_comes_back_as_it_was_stored(rest: Rest, instance: str, ct_small: Path) -> None:
    import hashlib

    content = ct_small.read_bytes()
    assert rest.instances.file(instance) == content
    assert rest.instances.md5(instance) == hashlib.md5(content).hexdigest()
    assert rest.instances.preview(instance)[:4] == b"\x89PNG"
    assert rest.instances.preview(instance, "jpeg")[:2] == b"\xff\xd8"


def test_binary_routes_are_not_compressed_by_the_server(rest: Rest, instance: str) -> None:
    call = rest.instances.file.call(instance)
    assert call.binary
    with recorded(int(rest.connection.url.rpartition(":")[2])) as wire:
        with Rest(replace(rest.connection, url=wire.url)) as there, there._client._exchange(call) as response:
            assert "content-encoding" not in response.headers
        assert [one.accepts for one in wire.requests()] == ["identity"]


def test_an_archive_is_streamed_to_a_file_or_leaves_none(rest: Rest, instance: str, tmp_path: Path) -> None:
    (study,) = rest.studies.list()
    target = tmp_path / "study.zip"
    size = rest.save(rest.studies.archive.call(study), target)
    assert target.stat().st_size == size
    with zipfile.ZipFile(target) as archive:
        assert len(archive.namelist()) == 1
    with pytest.raises(errors.NotFoundError):
        rest.save(rest.studies.archive.call(UNKNOWN), tmp_path / "none.zip")
    with pytest.raises(FileExistsError):
        rest.save(rest.studies.archive.call(study), target, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["study.zip"]
    sink = io.BytesIO()
    counted: list[int] = []
    assert rest.stream(rest.instances.file.call(instance), sink, counted.append) == sum(counted) == len(sink.getvalue())


def test_tags_have_numbers_for_keys_and_long_values_on_request(rest: Rest, instance: str) -> None:
    (series,) = rest.series.list()
    tags = rest.series.instances_tags(series)[instance]
    assert tags["0008,0060"] == "CT"
    assert tags["7fe0,0010"] is None
    assert rest.instances.tags(instance) == tags
    assert len(tags) > 200  # names would collide down to 80


def test_what_is_not_dicom_is_refused_in_orthancs_words(rest: Rest) -> None:
    with pytest.raises(errors.ServerError, match="Bad file format") as caught:
        rest.instances.upload(b"not DICOM")
    assert (caught.value.status, caught.value.orthanc_status) == (400, 15)


def test_find_lookup_and_bulk_content(rest: Rest, instance: str) -> None:
    (study,) = rest.studies.list()
    body = {"Level": "Study", "Query": {"PatientName": "*"}, "Expand": True}
    assert [value["ID"] for value in rest.tools.find(body)] == [study]
    uid = rest.studies.read(study)["MainDicomTags"]["StudyInstanceUID"]
    assert rest.tools.lookup(uid)[0]["ID"] == study
    assert rest.tools.lookup("1.2.3") == []
    assert [value["ID"] for value in rest.tools.bulk_content([instance, UNKNOWN])] == [instance]
    assert len(rest.tools.now()) == 15


def test_features_are_decided_by_the_version(rest: Rest) -> None:
    can = rest.capabilities()
    body = {"Level": "Instance", "Query": {}, "ParentStudy": UNKNOWN}
    if can.has("extended-find"):
        assert rest.tools.find(body) == []
        assert rest.tools.count_resources({"Level": "Study", "Query": {}}) == 0
    else:
        with rest.counting() as requests:
            with pytest.raises(errors.UnsupportedError):
                rest.tools.find(body)  # 1.10.1 would answer every instance that it has
            with pytest.raises(errors.UnsupportedError):
                rest.tools.count_resources({"Level": "Study", "Query": {}})
        assert requests == []


def test_the_whole_table_of_features_is_right_about_this_server(rest: Rest) -> None:
    can = rest.capabilities()
    old, middle = can.version.startswith("1.10"), can.version.startswith("1.12")
    assert can.has("requested-tags") is not old
    assert can.has("labels") is not old
    assert can.has("c-get") is not old
    assert can.has("bulk-delete-levels") is (not old and not middle)
    if old:
        with pytest.raises(errors.NotFoundError):
            rest.get("/tools/labels")
    else:
        assert rest.get("/tools/labels").json() == []


def test_any_route_can_be_reached(rest: Rest, instance: str) -> None:
    assert rest.get("/system").json()["Version"] == rest.capabilities().version
    assert rest.get("/instances", expand=None).json()[0]["ID"] == instance
    assert rest.post("/tools/lookup", b"nothing").json() == []
    assert rest.post("/tools/find", {"Level": "Study", "Query": {}}).json() != []
    with pytest.raises(errors.ServerError):
        rest.put("/tools/now", "x")
    assert "RemainingAncestor" in rest.delete(f"/instances/{instance}").json()
    for path in ("/studies?x", "/../etc", "http://elsewhere/"):
        with pytest.raises(errors.QueryError):
            rest.get(path)


def test_a_wrong_password_and_none_are_told_apart(connection: Connection) -> None:
    with (
        Rest(Connection.make(connection.url, auth=("ores", "wrong"))) as rest,
        pytest.raises(errors.AccessError, match="refused the user name"),
    ):
        rest.system.read()
    with Rest(Connection.make(connection.url)) as rest, pytest.raises(errors.AccessError, match="asks for a user"):
        rest.system.read()


def test_the_same_routes_are_awaited(connection: Connection, rest: Rest, instance: str) -> None:
    async def chain() -> tuple[str, list[str], bytes, int]:
        async with AsyncRest(connection) as client, client.counting() as seen:
            version = (await client.capabilities()).version
            files = await asyncio.gather(*[client.instances.file(instance) for _ in range(20)])
            with pytest.raises(errors.NotFoundError):
                await client.studies.read(UNKNOWN)
            answer = await client.request("GET", "/system")
            assert answer.json()["Version"] == version
            # The sync client works inside a running loop, as in a notebook.
            assert rest.studies.list() == await client.studies.list()
            return version, await client.instances.list(), files[0], len(seen)

    version, instances, content, requests = asyncio.run(chain())
    assert version == rest.capabilities().version
    assert instances == [instance]
    assert content == rest.instances.file(instance)
    assert requests == 25


def test_an_old_server_is_protected_from_new_options_when_awaited_too(connection: Connection, rest: Rest) -> None:
    if rest.capabilities().has("labels"):
        return

    async def ask() -> None:
        async with AsyncRest(connection) as client:
            await client.tools.find({"Level": "Study", "Query": {}, "Labels": ["x"]})

    with pytest.raises(errors.UnsupportedError):
        asyncio.run(ask())


def test_at_most_eight_connections_are_open(rest: Rest, instance: str) -> None:
    from orthanc_research.parallel import thread_map

    list(thread_map(lambda _: rest.instances.file(instance), range(64), workers=8))
    assert 1 <= len(rest._client._http._transport._idle) <= 8  # type: ignore[attr-defined]


def test_a_client_pickles_as_a_description(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    assert connection.auth is not None
    monkeypatch.setenv("SOME_AUTH", ":".join(connection.auth))
    with Rest(Connection.make(connection.url, auth="env:SOME_AUTH")) as rest:
        data = pickle.dumps(rest)
    with pickle.loads(data) as again:
        assert again.system.read()["Version"]


def test_two_private_servers_can_be_introduced(version: str) -> None:
    if version == "external":
        pytest.skip("needs servers of our own")
    with ores.LocalOrthanc(version, dicom=True) as here, ores.LocalOrthanc(version, dicom=True) as there:
        here.introduce(there)
        here.rest.modalities.echo(there.server.aet)
        there.rest.modalities.echo(here.server.aet)
        assert list(here.rest.modalities.list()) == [there.server.aet]
        with pytest.raises(errors.NotFoundError):
            here.rest.modalities.echo("NOBODY")
        there.server.kill()
        with pytest.raises(errors.ModalityError, match="remote node failed"):
            here.rest.modalities.echo(there.server.aet, timeout=2)
        here.rest.modalities.delete(there.server.aet)
        assert here.rest.modalities.list() == {}
    with pytest.raises(errors.QueryError, match="16 printable"):
        here.rest.modalities.put("x", "SEVENTEEN_LETTERS", "127.0.0.1", 104)
