"""Every route of the 2019 document, on three versions, awaited and not: 75 of 75, and a page that says so.

`docs/rest-coverage.md` is made from this run: with ORTHANC_RESEARCH_WRITE_DOCS=1 it is written, otherwise compared.
"""

from __future__ import annotations

import asyncio
import csv
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from coverage_cases import CASES, REFUSED, Arguments, World
from dicom_files import as_file

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.rest import AsyncRest, Call, Rest
from orthanc_research.rest._call import Area, level_route, route

ROOT = Path(__file__).parent
ROWS = {int(row["n"]): row for row in csv.DictReader((ROOT / "data" / "routes.csv").read_text().splitlines())}
# (row, version, awaited or not) of everything that answered and refused as it should, in this run.
SEEN: set[tuple[int, str, bool]] = set()
PAGE = ROOT.parent / "docs" / "rest-coverage.md"


@pytest.fixture(scope="module")
def world(version: str) -> Iterator[World]:
    if version == "external":
        pytest.skip("needs servers of our own")
    config = {"ExecuteLuaEnabled": True, "DicomScuTimeout": 3}
    with (
        ores.LocalOrthanc(version, dicom=True, config={"DicomAet": "HERE", **config}) as here,
        ores.LocalOrthanc(version, dicom=True, config={"DicomAet": "THERE"}) as there,
    ):
        here.introduce(there)
        files = ores.samples.cohort(patients=1, studies=1, slices=3, size=16, seed="coverage")
        there.upload(files, progress=False)
        here.upload(files, progress=False)
        user, password = there.server.auth
        here.add_peer("there", there.url, username=user, password=password)
        here.add_peer("down", "http://127.0.0.1:9")
        here.add_modality("down", "DOWN", "127.0.0.1", 9)
        yield World(here, there, files)


def call_of(rest: Any, name: str, given: Arguments, world: World) -> Call[Any]:
    area, _, route_name = name.partition(".")
    positional, named = given(world)
    if name == "instances.upload" and not isinstance(positional[0], bytes):
        positional = (as_file(positional[0]),)
    call: Call[Any] = getattr(getattr(rest, area), route_name).call(*positional, **named)
    return call


def send(world: World, call: Call[Any], *, awaited: bool) -> Any:
    if not awaited:
        return world.here.rest._client.run(call)

    async def run() -> Any:
        async with AsyncRest(world.here.rest.connection) as rest:
            return await rest._client.run(call)

    return asyncio.run(run())


def matches(call: Call[Any], row: dict[str, str]) -> bool:
    """True when the call goes to the route of the row."""
    if call.method != row["method"] and (row["method"], row["path"]) != ("POST", "/tools/default-encoding"):
        return False
    pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(row["path"]))
    if row["n"] in ("11", "56"):
        pattern = pattern.replace("[^/]+$", "[^/]+")
    return re.fullmatch(pattern, "/" + "/".join(call.path)) is not None


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("number", sorted(ROWS))
def test_a_route_answers_and_refuses(world: World, version: str, number: int, awaited: bool) -> None:
    case, row = CASES[number], ROWS[number]
    rest: Any = world.here.rest
    call = call_of(rest, case.name, case.given, world)
    assert matches(call, row), (call.method, call.path, row["path"])
    if number in REFUSED:
        with pytest.raises(REFUSED[number]):
            send(world, call, awaited=awaited)
    else:
        answer = send(world, call, awaited=awaited)
        assert case.right(answer, world), answer
    for given, kind in case.bad:
        with pytest.raises(kind) as caught:
            send(world, call_of(rest, case.name, given, world), awaited=awaited)
        assert isinstance(caught.value, errors.Error)
        assert not isinstance(caught.value, errors.ResponseError)
    SEEN.add((number, version, awaited))


def test_every_route_of_the_document_has_its_case() -> None:
    assert sorted(CASES) == sorted(ROWS) == list(range(1, 76))


def test_a_job_that_works_is_paused_resumed_and_cancelled(world: World) -> None:
    rest = world.here.rest
    world.here.upload(ores.samples.cohort(patients=1, studies=1, slices=150, size=16, seed="long"), progress=False)
    largest = world.here.studies().sort_values("NumberOfStudyRelatedInstances").index[-1]
    job = rest.jobs.read(rest.tools.bulk_anonymize([largest])["ID"]).pause()
    assert job.state in ("Paused", "Running", "Success")
    if job.state == "Paused":
        assert job.resume().state in ("Pending", "Running", "Success")
    job = rest.jobs.read(rest.tools.bulk_anonymize([largest])["ID"]).cancel().wait(check=False)
    assert job.cancelled or job.state == "Success"
    if job.cancelled:
        assert job.resubmit().wait(check=False).done


def _routes() -> list[tuple[str, str, str]]:
    """(area.name, signature, first line of its docstring) of every route."""
    found = []
    for area, kind in _areas():
        for name, member in inspect.getmembers_static(kind):
            if isinstance(member, route | level_route):
                build = member._build
                parameters = list(inspect.signature(build).parameters.values())
                if isinstance(member, level_route):
                    parameters = parameters[1:]
                shown = ", ".join(p.name for p in parameters)
                found.append((f"{area}.{name}", shown, (build.__doc__ or "").splitlines()[0]))
    return found


def _areas() -> list[tuple[str, type[Any]]]:
    rest = Rest(ores.Connection.make("http://nobody"))
    return [(name, type(value)) for name, value in vars(rest).items() if isinstance(value, Area)]


def _seen(number: int) -> str:
    """The versions on which a row was right, sync and async."""
    versions = sorted(
        {version for row, version, _ in SEEN if row == number}, key=lambda v: [int(n) for n in v.split(".")]
    )
    return ", ".join(v for v in versions if {(number, v, False), (number, v, True)} <= SEEN)


def page() -> str:
    """The page, from this run and the routes themselves."""
    lines = [
        "# Every route, and our call for it",
        "",
        "Made by `tests/test_rest_coverage.py` (with `ORTHANC_RESEARCH_WRITE_DOCS=1`): each row was called with real",
        "data and with bad input on Orthanc 1.10.1, 1.12.7 and 1.13, by `Rest` and by `AsyncRest`.",
        "",
        "## The 75 routes of the 2019 document",
        "",
        "| # | route | our call | versions | what real servers do |",
        "|---|---|---|---|---|",
    ]
    for number, row in ROWS.items():
        remark = row["remark"].replace("|", "\\|")
        cells = [str(number), f"`{row['method']} {row['path']}`", f"`rest.{CASES[number].name}`", _seen(number), remark]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## All calls, the newer routes among them", "", "| call | arguments | route |", "|---|---|---|"]
    for name, shown, line in _routes():
        text = line.replace("|", "\\|")
        lines.append(f"| `rest.{name}` | {shown or '-'} | {text} |")
    lines += ["", f"{len(ROWS)} of 75 routes, {len(_routes())} calls.", ""]
    return "\n".join(lines)


def test_sync_and_async_have_the_same_routes() -> None:
    connection = ores.Connection.make("http://nobody")
    sync, awaited = Rest(connection), AsyncRest(connection)
    areas = {name: value for name, value in vars(sync).items() if isinstance(value, Area)}
    assert areas
    for name, value in areas.items():
        other = getattr(awaited, name)
        mine = {n for n, m in inspect.getmembers_static(type(value)) if isinstance(m, route | level_route)}
        theirs = {n for n, m in inspect.getmembers_static(type(other)) if isinstance(m, route | level_route)}
        assert mine == theirs, name


def test_the_page_says_what_was_seen() -> None:
    if len({row for row, _, _ in SEEN}) < len(ROWS):
        pytest.skip("the page is made from a run of the whole module")
    text = page()
    if os.environ.get("ORTHANC_RESEARCH_WRITE_DOCS"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text
