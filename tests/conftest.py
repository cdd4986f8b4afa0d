"""Real servers, one a version, for the whole session; they are wiped before each test that asks for one.

On Debian all three versions must be there (`scripts/test` brings them). ORTHANC_RESEARCH_TEST_URL, with
ORTHANC_RESEARCH_TEST_AUTH as user:password, uses a server of yours instead: ITS CONTENT IS DELETED.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import browser
import httpx
import pages
import pytest
from hypothesis import settings
from pydicom.data import get_testdata_file
from stock import stock

import orthanc_research as ores
from orthanc_research.local import OrthancServer
from orthanc_research.rest import Connection, Rest
from orthanc_research.rest._client import limits

VERSIONS = ("1.10.1", "1.12.7", "1.13")
EXTERNAL = os.environ.get("ORTHANC_RESEARCH_TEST_URL")
ON_DEBIAN = Path("/etc/debian_version").exists() and "ubuntu" not in Path("/etc/os-release").read_text().lower()
_ran: set[str] = set()

# A busy machine is no fault of what is tested.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "version" in metafunc.fixturenames:
        wanted = ["external"] if EXTERNAL else list(VERSIONS) if ON_DEBIAN else ["any"]
        if metafunc.definition.get_closest_marker("one_version") and not os.environ.get("ORTHANC_RESEARCH_LONG"):
            wanted = wanted[-1:]
        metafunc.parametrize("version", wanted, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("ORTHANC_RESEARCH_LONG"):
        return
    for item in items:
        if "long" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="long: run with ORTHANC_RESEARCH_LONG=1"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)  # of a process of pytest-xdist, for the one that reports
    if output is not None:
        output["ran"] = sorted(_ran)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _ran.update(getattr(node, "workeroutput", {}).get("ran", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _ran:
        terminalreporter.write_line(f"Orthanc versions that ran: {', '.join(sorted(_ran))}")


@pytest.fixture(scope="session")
def _servers() -> Iterator[Callable[[str], OrthancServer]]:
    """One a version, started when it is asked for first, and there until the end whatever is asked for between."""
    running: dict[str, OrthancServer] = {}
    with ExitStack() as stack:

        def server(version: str) -> OrthancServer:
            if version not in running:
                running[version] = stack.enter_context(OrthancServer(None if version == "any" else version))
            return running[version]

        yield server


@pytest.fixture(scope="session")
def connection(version: str, _servers: Callable[[str], OrthancServer]) -> Iterator[Connection]:
    """Where the server of this version is."""
    if EXTERNAL:
        user, _, password = os.environ.get("ORTHANC_RESEARCH_TEST_AUTH", "").partition(":")
        yield Connection.make(EXTERNAL, auth=(user, password) if user else None)
        return
    server = _servers(version)
    yield Connection.make(server.url, auth=server.auth)


@pytest.fixture(scope="session")
def _session_rest(connection: Connection) -> Iterator[Rest]:
    with Rest(connection) as rest:
        _ran.add(rest.capabilities().version)
        yield rest


@pytest.fixture
def rest(_session_rest: Rest) -> Rest:
    """The wire to an empty server."""
    patients = _session_rest.patients.list()
    if patients:
        _session_rest.tools.bulk_delete(patients)
    return _session_rest


@pytest.fixture
def orthanc(rest: Rest) -> Iterator[ores.Orthanc]:
    """An empty Orthanc, its capabilities already read."""
    c = rest.connection
    with ores.Orthanc(c.url, auth=c.auth) as client:
        client.capabilities()
        yield client


@pytest.fixture
def cohort(orthanc: ores.Orthanc) -> ores.Orthanc:
    """Two patients, two studies each, a CT of 6 and an MR of 4 slices in each: 8 series, 40 instances or so."""
    stock(orthanc, patients=2, studies=2, slices=4)
    assert len(orthanc.series()) == 8
    assert len(orthanc.instances()) > 8  # and whether this server caps its answers is now known: see search
    return orthanc


def _own(connection: Connection) -> Rest:
    return Rest(connection)


def _through_httpx(connection: Connection) -> Rest:
    return Rest(connection, transport=httpx.HTTPTransport(verify=connection.tls(), limits=limits()))


@pytest.fixture
def both() -> list[Callable[[Connection], Rest]]:
    """How to open a connection over our own transport, and over httpx's."""
    return [_own, _through_httpx]


@pytest.fixture(params=[_own, _through_httpx], ids=["own", "httpx"])
def opened(request: pytest.FixtureRequest) -> Callable[[Connection], Rest]:
    """Opens a connection, over each of the two transports in turn."""
    way: Callable[[Connection], Rest] = request.param
    return way


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real DICOM with references."""
    folder = os.environ.get("ORTHANC_RESEARCH_REALDATA")
    if not folder:
        pytest.skip("ORTHANC_RESEARCH_REALDATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def ct_small() -> Path:
    """One CT slice that pydicom ships."""
    return Path(str(get_testdata_file("CT_small.dcm", download=False)))


@pytest.fixture(scope="session")
def tree() -> Path:
    """The folder of 81 instances that pydicom ships."""
    return Path(str(get_testdata_file("dicomdirtests/DICOMDIR", download=False))).parent


@pytest.fixture(scope="session")
def _has_chromium() -> None:
    if browser.chromium() is None:
        pytest.skip(browser.MISSING)


@pytest.fixture(scope="session")
def voila(_has_chromium: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Server]:
    """Voilà over a folder of notebooks; tests add theirs."""
    with browser.voila(tmp_path_factory.mktemp("voila")) as server:
        yield server


@pytest.fixture(scope="module")
def chromium(_has_chromium: None) -> Iterator[Any]:
    """A browser."""
    with browser.browser() as running:
        yield running


@pytest.fixture
def place(_place: pages.Place) -> Iterator[pages.Place]:
    """The page of a module of browser tests, which a test leaves whole."""
    yield _place
    pages.unharmed(_place.page)
