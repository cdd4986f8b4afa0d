"""DICOMweb servers, through the plugin that comes with each version."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orthanc_research import errors
from orthanc_research.local import OrthancServer
from orthanc_research.rest import AsyncRest, Connection, Rest

UNKNOWN = "-".join(["00000000"] * 5)
STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"


@pytest.fixture(scope="module")
def pair(version: str) -> Iterator[tuple[Rest, Rest]]:
    """Two servers with the plugin; the first knows the second as "there"."""
    if version == "external":
        pytest.skip("needs servers of our own")
    suite = None if version == "any" else version
    with OrthancServer(suite) as plain:
        plugin = plain.plugins / "libOrthancDicomWeb.so" if plain.plugins else None
    if plugin is None or not plugin.exists():
        pytest.skip("this Orthanc came without the DICOMweb plugin")
    with ExitStack() as stack:
        rests = []
        for _ in range(2):
            server = stack.enter_context(OrthancServer(suite, config={"Plugins": [str(plugin)]}))
            rests.append(stack.enter_context(Rest(Connection.make(server.url, auth=server.auth))))
        here, there = rests
        assert there.connection.auth is not None
        user, password = there.connection.basic_auth() or ("", "")
        here.dicomweb.put("there", f"{there.connection.url}/dicom-web/", username=user, password=password)
        here.dicomweb.put("down", "http://127.0.0.1:1/dicom-web/", timeout=2, chunked_transfers=False)
        yield here, there


def test_servers_are_kept_without_their_passwords(pair: tuple[Rest, Rest]) -> None:
    here, there = pair
    assert here.dicomweb.names() == ["down", "there"]
    configuration = here.dicomweb.list()["there"]
    assert configuration["Url"] == f"{there.connection.url}/dicom-web/"
    assert configuration["Password"] is None
    here.dicomweb.put("new", "https://example.org/", http_headers={"Token": "secret"}, has_delete=True)
    assert here.dicomweb.list()["new"]["HttpHeaders"] == ["Token"]
    call = here.dicomweb.put.call("new", "http://h/", username="u", password="secret", http_headers={"T": "secret"})
    assert "secret" not in repr(call)
    here.dicomweb.delete("new")
    with pytest.raises(errors.ServerError) as caught:
        here.dicomweb.delete("new")
    assert (caught.value.status, caught.value.orthanc_status) == (400, 3)
    assert here.system.plugin("dicom-web")["ID"] == "dicom-web"


def test_resources_are_sent_searched_and_fetched(pair: tuple[Rest, Rest], ct_small: Path) -> None:
    here, there = pair
    study = here.instances.upload(ct_small.read_bytes())["ParentStudy"]
    assert here.dicomweb.stow("there", [study])["InstancesCount"] == "1"
    assert there.studies.list() == [study]
    found = json.loads(
        here.dicomweb.get(
            "there", "studies", arguments={"limit": "1"}, http_headers={"Accept": "application/dicom+json"}
        )
    )
    assert found[0]["0020000D"]["Value"] == [STUDY]
    assert here.dicomweb.qido("there", "studies")[0]["0020000D"]["Value"] == STUDY
    here.studies.delete(study)
    assert here.dicomweb.retrieve("there", [{"Study": STUDY}])["ReceivedInstancesCount"] == "1"
    assert here.studies.list() == [study]
    for answer in (
        here.dicomweb.retrieve("there", [{"Study": STUDY}], synchronous=False, priority=1),
        here.dicomweb.stow("there", [study], synchronous=False),
    ):
        assert here.jobs.read(answer["ID"]).wait(30).state == "Success"


def test_what_fails(pair: tuple[Rest, Rest], ct_small: Path) -> None:
    here, _ = pair
    study = here.instances.upload(ct_small.read_bytes())["ParentStudy"]
    for name in ("there", "nobody"):
        with pytest.raises(errors.NotFoundError):
            here.dicomweb.get(name, "no-such-thing")
    with pytest.raises(errors.NotFoundError):
        here.dicomweb.stow("there", [UNKNOWN])
    with pytest.raises(errors.ModalityError):
        here.dicomweb.get("down", "studies")
    with pytest.raises(errors.ServerError):
        here.dicomweb.stow("down", [study])
    with pytest.raises(errors.ServerError):
        here.dicomweb.retrieve("there", [{"Study": "1.2.3"}])
    job = here.jobs.read(here.dicomweb.stow("down", [study], synchronous=False)["ID"]).wait(30, check=False)
    assert job.state == "Failure"
    assert job.error_details  # the plugin's words
    with here.counting() as requests:
        wrong: list[list[dict[str, str]]] = [[], [{"Series": "1.2"}], [{"Patient": "1"}], [{}]]
        for bad in wrong:
            with pytest.raises(errors.QueryError):
                here.dicomweb.retrieve("there", bad)
        for uri in ("/studies", "http://elsewhere/studies"):
            with pytest.raises(errors.QueryError):
                here.dicomweb.get("there", uri)
        with pytest.raises(errors.QueryError):
            here.dicomweb.stow("there", [])
        with pytest.raises(errors.QueryError):
            here.dicomweb.put("x", "ftp://h/")
    assert requests == []
    assert not here.dicomweb.stow.call("there", [study]).repeatable
    assert not here.dicomweb.retrieve.call("there", [{"Study": STUDY}]).repeatable


def test_without_the_plugin_the_routes_say_so(rest: Rest, connection: Connection) -> None:
    if "dicom-web" in rest.system.plugins():
        pytest.skip("this server has it")
    with rest.counting() as requests, pytest.raises(errors.UnsupportedError, match="without the DICOMweb plugin"):
        rest.dicomweb.list()
    assert requests == [("GET", "plugins")]

    async def ask() -> None:
        async with AsyncRest(connection) as client:
            await client.dicomweb.list()

    with pytest.raises(errors.UnsupportedError):
        asyncio.run(ask())


def test_the_plugin_is_looked_for_once(pair: tuple[Rest, Rest]) -> None:
    with Rest(pair[0].connection) as rest:
        with rest.counting() as requests:
            rest.dicomweb.names()
            rest.dicomweb.names()
        assert [target for _, target in requests] == ["plugins", "dicom-web/servers", "dicom-web/servers"]

    async def ask() -> list[str]:
        async with AsyncRest(pair[0].connection) as client:
            return await client.dicomweb.names()

    assert asyncio.run(ask()) == ["down", "there"]
