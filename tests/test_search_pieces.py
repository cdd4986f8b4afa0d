"""A long list of identifiers is asked for in pieces, and answered as the list is in one request."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import product
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stock import put, stock

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.capabilities import Capabilities
from orthanc_research.rest import Level
from orthanc_research.tables import LEVELS, parse_criteria, plan_find
from orthanc_research.tables.levels import depth

NEW = Capabilities("1.12.7", extended_find=True, labels=True)
PIECE = "orthanc_research.tables.plan._PIECE"


def finds(requests: list[tuple[str, str]]) -> int:
    return [target for _, target in requests].count("tools/find")


@pytest.fixture(scope="module")
def archive(version: str) -> Iterator[ores.Orthanc]:
    """Three patients of two studies of two series; and the first one's second study once more, under "SYN0001" in other
    letters with the same UIDs.
    """
    if version == "external":
        pytest.skip("needs a server of our own")
    with ores.LocalOrthanc(version) as orthanc:
        stock(orthanc, patients=3, studies=2, slices=3)
        data = ores.samples.cohort(patients=1, studies=2, slices=3, size=16)
        again = [copy.deepcopy(each) for each in data if each.StudyInstanceUID == data[-1].StudyInstanceUID]
        for each in again:
            each.PatientID = each.PatientID.swapcase()
        put(orthanc, again)
        for level in LEVELS:
            orthanc.find(level)  # and whether this server caps its answers is now known: see search
        yield orthanc


@given(
    st.dictionaries(
        st.sampled_from(["StudyInstanceUID", "SeriesInstanceUID", "PatientID", "AccessionNumber"]),
        st.lists(st.integers(0, 10**9).map(str), min_size=1, max_size=1500, unique=True),
        min_size=1,
    )
)
def test_the_pieces_of_a_list_are_all_of_it(criteria: dict[str, list[str]]) -> None:
    plan = plan_find("Series", query=parse_criteria("Series", {"Modality": "CT", **criteria}), capabilities=NEW)
    queries = [piece.request()["Query"] for piece in plan.pieces()]
    longest = max(criteria, key=lambda name: len(criteria[name]))
    parts = [query.pop(longest).split("\\") for query in map(dict, queries)]
    assert sorted(value for part in parts for value in part) == sorted(criteria[longest])
    assert len(parts) == -(-len(criteria[longest]) // 300) == plan.explain()["requests"] // (1 + plan.loose)
    assert max(map(len, parts)) <= 300
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    rest = {name: "\\".join(values) for name, values in criteria.items() if name != longest} | {"Modality": "CT"}
    assert all({name: query[name] for name in rest} == rest and len(query) == len(rest) + 1 for query in queries)
    bodies = [{key: value for key, value in piece.request().items() if key != "Query"} for piece in plan.pieces()]
    assert all(body == bodies[0] for body in bodies)


@pytest.mark.parametrize(
    ("criteria", "options"),
    [
        ({"Modality": [f"M{number}" for number in range(700)]}, {}),
        ({"PatientName": [f"N{number}" for number in range(700)]}, {}),
        ({"StudyInstanceUID": [f"1.{number}" for number in range(700)]}, {"order_by": "StudyDate"}),
        ({"StudyInstanceUID": [f"1.{number}" for number in range(300)]}, {}),
    ],
)
def test_what_stays_whole(criteria: dict[str, Any], options: dict[str, Any]) -> None:
    plan = plan_find("Study", query=parse_criteria("Study", criteria), capabilities=NEW, **options)
    assert plan.pieces() == [plan]


@pytest.mark.parametrize(
    # Above, a frame names its parents alone.
    ("level", "at"),
    [(level, at) for level, at in product(LEVELS, LEVELS) if depth(at) <= depth(level) + 1],
)
def test_what_is_within_many_is_found_as_with_one_list(
    archive: ores.Orthanc, monkeypatch: pytest.MonkeyPatch, level: Level, at: Level
) -> None:
    """Whatever else is asked for, and with rows that came twice; and with the requests that `explain` told."""
    whole = archive.find(at)
    again = pd.concat([whole.iloc[::-2], whole.head(3)])
    again.attrs = whole.attrs
    monkeypatch.setattr(PIECE, 3)
    for frame in (whole, again, whole.head(1), whole.head(0)):
        for options in ({}, {"page": 3, "PatientID": str(whole["PatientID"].iloc[0])}, {"Modality": "CT"}):
            with monkeypatch.context() as patched:
                patched.setattr(PIECE, 10_000)
                wanted = archive.find(level, within=frame, **options)
            with archive.rest.counting() as requests:
                found = archive.find(level, within=frame, **options)
            assert found.index.is_unique
            pd.testing.assert_frame_equal(found.sort_index(), wanted.sort_index())
            assert found.attrs == wanted.attrs
            planned = archive.explain(level, within=frame, **options)["requests"]
            # Of no answers, no parents are asked for.
            fewer = found.empty and len(requests) < planned
            assert "page" in options or fewer or len(requests) == planned, (requests, planned)


def test_requests_are_counted_before_they_are_sent(archive: ores.Orthanc) -> None:
    unknown = [f"2.25.{number}" for number in range(700)]
    with archive.rest.counting() as requests:
        assert archive.studies(StudyInstanceUID=unknown, columns=["StudyDate"]).empty
    assert len(requests) == archive.explain("Study", StudyInstanceUID=unknown, columns=["StudyDate"])["requests"] == 3
    with archive.rest.counting() as requests:
        assert archive.studies(StudyInstanceUID=[]).empty
    assert not requests


def test_a_limit_ends_the_pieces(archive: ores.Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIECE, 2)
    uids = list(archive.studies()["StudyInstanceUID"].drop_duplicates())
    assert len(uids) == 6
    for limit in range(1, 9):
        with archive.rest.counting() as requests:
            found = archive.studies(StudyInstanceUID=uids, limit=limit, columns=["StudyDate"])
        assert len(found) == min(limit, 7)
        assert found.index.is_unique
        assert finds(requests) <= min(-(-limit // 2), 3)
        within = archive.series(within=archive.studies(), limit=limit)  # what is not within is dropped here
        assert len(within) == min(limit, 14)


def test_one_found_by_two_pieces_is_one(archive: ores.Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orthanc matches PatientIDs without case."""
    studies = archive.studies()
    two = sorted(studies["PatientID"].unique())
    two = [each for each in two if each.swapcase() in two]
    assert len(two) == 2
    wanted = set(studies.index[studies["PatientID"].isin(two)])
    assert len(wanted) == 3
    for piece in (300, 1):
        monkeypatch.setattr(PIECE, piece)
        assert set(archive.studies(PatientID=two).index) == wanted
        assert len(archive.studies(PatientID=two, limit=2)) == 2
        assert archive.count("Study", PatientID=two) == 3
        assert len(archive.studies(PatientID=two[0])) + len(archive.studies(PatientID=two[1])) == 3


def test_a_count_of_many(archive: ores.Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIECE, 2)
    uids = list(archive.studies()["StudyInstanceUID"])
    with archive.rest.counting() as requests:
        assert archive.count("Series", StudyInstanceUID=uids) == 14
    assert len(requests) == (1 if archive.capabilities().has("count-resources") else 3)


def test_an_order_is_that_of_all(archive: ores.Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    if not archive.capabilities().has("extended-find"):
        pytest.skip("this server has no order")
    studies = archive.studies()
    wanted = list(archive.series(within=studies, order_by="-SeriesInstanceUID")["SeriesInstanceUID"])
    monkeypatch.setattr(PIECE, 2)
    assert list(archive.series(within=studies, order_by="-SeriesInstanceUID")["SeriesInstanceUID"]) == wanted
    assert wanted == sorted(wanted, reverse=True)


def test_pieces_of_a_server_that_caps_its_answers(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    with ores.LocalOrthanc(version, config={"LimitFindResults": 3}) as orthanc:
        stock(orthanc, patients=3, studies=2, slices=3)
        uids = [orthanc.rest.studies.read(study)["MainDicomTags"]["StudyInstanceUID"] for study in _all(orthanc)]
        for piece in (1, 2, 4):  # a piece finds 2, 4 and 8 series
            monkeypatch.setattr(PIECE, piece)
            if piece == 1 or orthanc.capabilities().has("extended-find"):
                assert len(orthanc.series(StudyInstanceUID=uids)) == 12
            else:
                with pytest.raises(errors.ResponseError, match="gives at most"):
                    orthanc.series(StudyInstanceUID=uids)


def _all(orthanc: ores.Orthanc) -> list[str]:
    found: list[str] = orthanc.rest.studies.list()
    return found
