"""A find is complete, or it is an error: also where an administrator has capped the answers of finds."""

from __future__ import annotations

from collections.abc import Iterator

import pydicom
import pytest
from dicom_files import as_file
from stock import put, small, stock

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.tables import LEVELS

CAPPED = {"LimitFindResults": 3, "LimitFindInstances": 5}


@pytest.fixture(scope="module")
def capped(version: str) -> Iterator[ores.Orthanc]:
    if version == "external":
        pytest.skip("needs a server of our own")
    with ores.LocalOrthanc(version, config=CAPPED) as orthanc:
        stock(orthanc, patients=3, studies=2, slices=4)
        yield orthanc


def test_a_capped_find_is_complete_or_refused(capped: ores.Orthanc) -> None:
    counts = capped.statistics()
    if not capped.capabilities().has("extended-find"):
        for find in (capped.studies, capped.series, capped.instances):
            with pytest.raises(errors.ResponseError, match="gives at most"):
                find()
        return
    assert len(capped.studies()) == counts["CountStudies"] == 6
    assert len(capped.series()) == counts["CountSeries"] == 12
    assert len(capped.instances()) == counts["CountInstances"]
    assert capped.series().index.is_unique
    assert len(capped.series(limit=7)) == 7
    assert len(capped.series(page=2)) == 12


def test_a_capped_find_by_a_name_is_complete_or_refused(version: str) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    with ores.LocalOrthanc(version, config=CAPPED) as orthanc:
        put(orthanc, [small(number, PatientName=f"{'山' if number % 2 else 'ÄÖ'}^{number}") for number in range(12)])
        if not orthanc.capabilities().has("extended-find"):
            with pytest.raises(errors.ResponseError, match="gives at most"):
                orthanc.series(PatientName="山*")
            return
        for level in LEVELS:
            assert len(orthanc.find(level, PatientName="山*")) == 6
            assert len(orthanc.find(level, PatientName="山*", limit=4)) == 4
            assert len(orthanc.find(level, PatientName="山*", page=2)) == 6


def test_a_find_below_the_cap_is_answered(capped: ores.Orthanc) -> None:
    uid = capped.rest.studies.read(capped.rest.studies.list()[0])["MainDicomTags"]["StudyInstanceUID"]
    assert len(capped.series(StudyInstanceUID=uid)) == 2
    assert capped.studies(PatientID="NOBODY").empty


def test_a_capped_find_that_cannot_be_paged_is_refused(capped: ores.Orthanc) -> None:
    with pytest.raises(errors.ResponseError, match="cannot be paged"):
        capped.instances(SliceThickness=6)


def test_the_cap_is_learnt_once(orthanc: ores.Orthanc) -> None:
    stock(orthanc, patients=1, studies=1, slices=4)
    with orthanc.rest.counting() as first:
        orthanc.series()
    with orthanc.rest.counting() as second:
        orthanc.series()
        orthanc.studies()
    with orthanc.rest.counting() as third:
        assert orthanc.studies(PatientID="NOBODY").empty
    old = not orthanc.capabilities().has("requested-tags")
    with orthanc.rest.counting() as fourth:
        assert len(orthanc.instances(InstanceNumber=[1, 2])) == 4
        assert len(orthanc.instances(InstanceNumber=1)) == 2
    # Everything was given, which the server's own count shows; of a part, only a find of everything can.
    assert [target for _, target in first] == ["tools/find", "statistics", *["tools/bulk-content"] * old]
    assert len(second) == 2 + 2 * old
    assert len(third) == 1
    assert [target for _, target in fourth].count("tools/find") == 3


def test_what_was_given_whole_says_nothing_of_a_level_that_has_more(capped: ores.Orthanc) -> None:
    with ores.Orthanc(capped.url, auth=capped.server.auth) as orthanc:  # type: ignore[attr-defined]
        assert len(orthanc.patients()) == 3
        if orthanc.capabilities().has("extended-find"):
            assert len(orthanc.series()) == 12
        else:
            with pytest.raises(errors.ResponseError, match="gives at most"):
                orthanc.series()


def test_a_cap_shows_when_the_archive_has_outgrown_it(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    data = ores.samples.cohort(patients=3, studies=2, slices=4, size=16)
    with ores.LocalOrthanc(version, config=CAPPED) as orthanc:
        orthanc.upload(data[:2], progress=False)
        assert len(orthanc.series()) == 1  # nothing to cap yet
        orthanc.upload(data, progress=False)
        other = orthanc.capabilities().has("extended-find")
        if other:
            assert len(orthanc.series()) == 12
        else:
            with pytest.raises(errors.ResponseError, match="gives at most"):
                orthanc.series()
        # The same when somebody else stored them: asked again after a minute.
        orthanc.delete(orthanc.rest.patients.list(), expect=3)
        orthanc.upload(data[:2], progress=False)
        assert len(orthanc.series()) == 1
        for dataset in data:
            orthanc.rest.instances.upload(as_file(dataset))
        monkeypatch.setattr("orthanc_research.search._FRESH", 0.0)
        if other:
            assert len(orthanc.series()) == 12
        else:
            with pytest.raises(errors.ResponseError, match="gives at most"):
                orthanc.series()


def test_pages_that_do_not_fit_together_are_read_again(orthanc: ores.Orthanc) -> None:
    stock(orthanc, patients=3, studies=2, slices=3)
    assert len(orthanc.series()) == 12
    studies = orthanc.rest.studies.list()
    finds: list[str] = []

    def hook(method: str, target: str) -> None:
        if target == "tools/find":
            finds.append(target)
            if len(finds) in (2, 4):  # between two pages somebody deletes a study
                orthanc.rest.studies.delete(studies.pop())

    orthanc.rest._client.hooks.append(hook)
    try:
        frame = orthanc.series(page=2)
    finally:
        orthanc.rest._client.hooks.remove(hook)
    assert set(frame.index) == set(orthanc.rest.series.list())


def test_a_find_of_several_pages_is_of_one_moment(orthanc: ores.Orthanc) -> None:
    """One comes and one goes between two pages: nothing shifts, and the change log alone tells."""
    data = ores.samples.cohort(patients=4, studies=2, slices=3, size=16)
    by_study: dict[str, list[pydicom.Dataset]] = {}
    for dataset in data:
        by_study.setdefault(str(dataset.StudyInstanceUID), []).append(dataset)
    *first, late = by_study.values()
    orthanc.upload([dataset for study in first for dataset in study], progress=False)
    assert len(orthanc.studies()) == 7
    finds: list[str] = []

    def hook(method: str, target: str) -> None:
        finds.append(target)
        if finds.count("tools/find") == 3 and late:  # before the second page, after the first was read twice
            coming = [*late]
            late.clear()
            for dataset in coming:
                orthanc.rest.instances.upload(as_file(dataset))

    orthanc.rest._client.hooks.append(hook)
    try:
        frame = orthanc.studies(page=4, columns=["StudyInstanceUID"])
    finally:
        orthanc.rest._client.hooks.remove(hook)
    assert set(frame.index) == set(orthanc.rest.studies.list())
    assert len(frame) == 8
    assert finds.count("changes?last") >= 3  # it began again


def test_pages_that_never_fit_are_an_error_not_an_answer(orthanc: ores.Orthanc) -> None:
    data = ores.samples.cohort(patients=6, studies=2, slices=3, size=16)
    studies: dict[str, list[pydicom.Dataset]] = {}
    for dataset in data:
        studies.setdefault(str(dataset.StudyInstanceUID), []).append(dataset)
    waiting = list(studies.values())
    for dataset in [each for study in waiting[:6] for each in study]:
        orthanc.rest.instances.upload(as_file(dataset))
    assert len(orthanc.studies()) == 6
    waiting = waiting[6:]
    logs: list[str] = []

    def hook(method: str, target: str) -> None:
        if target == "changes?last":
            logs.append(target)
            if len(logs) % 2 == 0 and waiting:  # each time just before the end of the log is read again
                for dataset in waiting.pop():
                    orthanc.rest.instances.upload(as_file(dataset))

    orthanc.rest._client.hooks.append(hook)
    try:
        with pytest.raises(errors.ResponseError, match="come and go while they are listed"):
            orthanc.studies(page=3)
    finally:
        orthanc.rest._client.hooks.remove(hook)
    assert len(logs) == 6  # read once, and twice again
    assert len(orthanc.studies(page=3)) == 9


def test_a_busy_archive_can_be_read_all_the_same(orthanc: ores.Orthanc) -> None:
    """Images of studies that are there already change no list of studies."""
    data = ores.samples.cohort(patients=3, studies=2, slices=4, size=16)
    late = [dataset for dataset in data if int(dataset.InstanceNumber) == 2]
    orthanc.upload([dataset for dataset in data if int(dataset.InstanceNumber) != 2], progress=False)
    assert len(orthanc.studies()) == 6

    def hook(method: str, target: str) -> None:
        if target == "tools/find" and late:
            orthanc.rest.instances.upload(as_file(late.pop()))

    orthanc.rest._client.hooks.append(hook)
    try:
        with orthanc.rest.counting() as requests:
            frame = orthanc.studies(page=4, columns=["StudyInstanceUID"])
    finally:
        orthanc.rest._client.hooks.remove(hook)
    assert len(frame) == 6
    assert [target for _, target in requests].count("changes?last") == 2
