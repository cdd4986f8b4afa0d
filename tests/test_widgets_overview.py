"""`OverviewPanel`: the numbers are those of `orthanc.overview`, and behind each stand exactly the studies it counts."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from pydicom.uid import generate_uid
from screens import HOSTILE, foreign, lines, picture, threads, words

import orthanc_research as ores
from orthanc_research.rest import Connection
from orthanc_research.tables import overview_frame, overview_series
from orthanc_research.widgets import OverviewPanel

SERIES = [  # modality, date, study
    ("CT", "20200110", 1),
    ("CT", "20200110", 1),
    ("MR", "20200110", 1),
    ("CT", "20200311", 2),
    ("CT", "20210311", 3),
    ("", "20210311", 4),
    ("MR", "", 5),
    ("", "", 6),
]


def _archive() -> Iterator[Any]:
    (first, *_) = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)
    for k, (modality, date, study) in enumerate(SERIES):
        each = copy.deepcopy(first)
        each.Modality, each.StudyDate, each.StudyDescription = modality, date, HOSTILE
        each.StudyInstanceUID = generate_uid(entropy_srcs=["overview", str(study)])
        each.SeriesInstanceUID = generate_uid(entropy_srcs=["series", str(k)])
        each.SOPInstanceUID = each.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["sop", str(k)])
        yield each


@pytest.fixture(scope="module")
def archive(connection: Connection) -> Iterator[ores.Orthanc]:
    with ores.Orthanc(connection.url, auth=connection.auth) as orthanc:
        patients = orthanc.rest.patients.list()
        if patients:
            orthanc.rest.tools.bulk_delete(patients)
        assert set(orthanc.upload(_archive(), progress=False)["status"]) == {"stored"}
        yield orthanc
        orthanc.rest.tools.bulk_delete(orthanc.rest.patients.list())


@pytest.fixture
def panel(archive: ores.Orthanc) -> Iterator[OverviewPanel]:
    made = OverviewPanel(archive)
    assert made.wait()
    assert not made.failed, made.status
    yield made
    made.close()
    assert not threads()


def pick(panel: OverviewPanel, *cells: tuple[str | None, int | None]) -> pd.DataFrame:
    frame = panel.frame
    there = {
        (None if pd.isna(m) else m, None if pd.isna(y) else int(y)): label
        for label, m, y in zip(frame.index, frame["Modality"], frame["Year"], strict=True)
    }
    panel.table.choose([there[cell] for cell in cells])
    assert panel.wait()
    assert not panel.failed, panel.status
    studies: pd.DataFrame = panel.selected
    return studies


def numbers(studies: pd.DataFrame) -> list[int]:
    known = {generate_uid(entropy_srcs=["overview", str(k)]): k for _, _, k in SERIES}
    return sorted(known[uid] for uid in studies["StudyInstanceUID"])


def test_the_numbers_are_those_of_overview_and_each_leads_to_its_studies(
    panel: OverviewPanel, archive: ores.Orthanc
) -> None:
    pd.testing.assert_frame_equal(panel.frame, archive.overview(sizes=False), check_like=True)
    assert panel.status == "6 studies, 8 series."
    for label, row in panel.frame.iterrows():
        panel.table.choose([label])
        assert panel.wait()
        assert len(panel.selected) == row["studies"]
        assert panel.selected.attrs["orthanc"]["level"] == "Study"
    assert numbers(pick(panel, ("CT", 2020))) == [1, 2]
    assert numbers(pick(panel, (None, 2021))) == [4]
    assert numbers(pick(panel, (None, None))) == [6]
    assert numbers(pick(panel, ("MR", None))) == [5]
    assert numbers(pick(panel, ("CT", 2020), ("MR", 2020), ("CT", 2021))) == [1, 2, 3]
    panel.table.choose([])
    assert panel.selected is None
    assert lines(panel.studies) == []


@pytest.mark.one_version
@pytest.mark.one_version
def test_what_is_chosen_no_more_is_not_listed(panel: OverviewPanel, archive: ores.Orthanc) -> None:
    def leave(_: str, target: str) -> None:
        panel.table.choose([])

    archive.rest._client.hooks.append(leave)
    try:
        panel.table.choose([panel.frame.index[0]])
        assert panel.wait()
    finally:
        archive.rest._client.hooks.remove(leave)
    assert panel.selected is None
    assert not len(panel.studies.frame)


def test_it_takes_one_request_and_one_more_for_the_studies(panel: OverviewPanel, archive: ores.Orthanc) -> None:
    # Orthanc 1.10 tells the tags of parents by one more each time.
    each = 1 if archive.capabilities().has("requested-tags") else 2
    with archive.rest.counting() as requests:
        panel.again.click()
        assert panel.wait()
    assert len(requests) == each
    with archive.rest.counting() as requests:
        pick(panel, ("CT", 2020), ("CT", 2021))
    assert len(requests) == each


@pytest.mark.one_version
def test_it_is_drawn_and_nothing_of_a_file_is_markup(panel: OverviewPanel) -> None:
    pick(panel, ("CT", 2020))
    drawn = picture(panel._image)
    assert drawn.ndim == 3
    assert drawn.std() > 5
    assert not foreign(panel.widget)
    assert all(HOSTILE in line for line in lines(panel.studies))
    assert words(panel._same) == "same as: orthanc.overview(sizes=False)"


def test_ten_thousand_series_of_many_kinds_are_pages() -> None:
    dates = pd.to_datetime([f"{1950 + k % 70}-01-01" for k in range(10_000)])
    series = pd.DataFrame(
        {
            "ParentStudy": [f"S{k}" for k in range(10_000)],
            "Modality": [f"M{k % 1000}" for k in range(10_000)],
            "StudyDate": dates,
            "Manufacturer": None,
            "StationName": None,
            "NumberOfSeriesRelatedInstances": 1,
        }
    )
    frame = overview_frame(series, None)
    for label in (0, len(frame) // 2, len(frame) - 1):
        row = frame.loc[label]
        inside = overview_series(series, [(row["Modality"], row["Year"])])
        assert len(inside) == row["series"]
        assert inside["ParentStudy"].nunique() == row["studies"]
    assert not len(overview_series(series, []))
    everything = overview_series(series, list(zip(frame["Modality"], frame["Year"], strict=True)))
    assert everything.equals(series)


def test_what_is_not_there_yet_not_there_any_more_or_away() -> None:
    with ores.LocalOrthanc() as orthanc:
        panel = OverviewPanel(orthanc)
        assert panel.wait()
        assert panel.status == "0 studies, 0 series."
        assert panel._image.layout.display == "none"
        orthanc.upload(ores.samples.cohort(patients=1, studies=2, slices=3, size=16), progress=False)
        panel.again.click()
        assert panel.wait()
        assert panel.status == "2 studies, 4 series."
        orthanc.delete(orthanc.studies().iloc[:1], expect=1)
        panel.table.choose([panel.frame.index[0]])
        assert panel.wait()
        assert panel.failed
        assert panel.status == "1 study. 1 of 2 are gone since the overview was read: read it again."
        assert len(panel.selected) == 1
        before = lines(panel.table), panel._image.value
        orthanc.server.kill()
        panel.again.click()
        assert panel.wait()
        assert "Away since" in panel.status
        assert (lines(panel.table), panel._image.value) == before
        orthanc.server.restart()
        panel.again.click()
        assert panel.wait()
        assert panel.status == "1 study, 2 series."
        panel.close()
    assert not threads()


@pytest.mark.one_version
def test_cancel_and_close_and_a_fault(
    panel: OverviewPanel, archive: ores.Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: Any) -> None:
        raise ValueError("DOE^JOHN")

    before = lines(panel.table)
    panel.read()
    panel._stop.click()
    assert panel.wait()
    assert panel.status in ("Cancelled.", "6 studies, 8 series.")  # it may have come first
    assert lines(panel.table) == before
    monkeypatch.setattr(panel, "_choose", fault)
    panel.table.choose([panel.frame.index[0]])
    assert panel.status.startswith("ValueError: ")
    assert "DOE" not in panel.status
    late = OverviewPanel(archive)
    late.close()
    assert not threads()
