"""Counting, looking up, an overview, and IDs computed here: on real servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.rest import Level


@pytest.mark.parametrize(
    ("level", "criteria"),
    [
        ("Patient", {}),
        ("Study", {}),
        ("Series", {"Modality": "CT"}),
        ("Study", {"Modality": "MR"}),
        ("Patient", {"Modality": "MR"}),
        ("Instance", {"KVP": 120}),
        ("Study", {"PatientName": "nobody"}),
        ("Study", {"StudyDate": ("2000", None)}),
    ],
)
def test_a_count_is_the_length_of_the_find(cohort: ores.Orthanc, level: Level, criteria: dict[str, Any]) -> None:
    assert cohort.count(level, **criteria) == len(cohort.find(level, **criteria))


def test_counting_does_not_list_where_the_server_can_count(cohort: ores.Orthanc) -> None:
    with cohort.rest.counting() as requests:
        assert cohort.count("Series", Modality="CT") == 4
    assert len(requests) == 1
    new = cohort.capabilities().has("count-resources")
    assert requests[0][1] == ("tools/count-resources" if new else "tools/find")
    identifier = cohort.patients()["PatientID"].iloc[0]
    assert cohort.count("Patient", PatientID=identifier) == 1
    assert cohort.count("Patient", PatientID=identifier.lower()) == 0  # identifiers match case-exactly
    with cohort.rest.counting() as requests:
        assert cohort.count("Study", StudyInstanceUID=[]) == 0
        with pytest.raises(errors.QueryError):
            cohort.count("Study", PatientID="")
    assert requests == []


def test_whatever_identifier_people_have_is_looked_up_in_few_requests(cohort: ores.Orthanc) -> None:
    study, series, instance = cohort.studies().iloc[0], cohort.series().iloc[0], cohort.instances().iloc[0]
    patient = cohort.patients().iloc[0]
    values = [
        patient["PatientID"],
        study["AccessionNumber"],
        study["StudyInstanceUID"],
        series["SeriesInstanceUID"],
        instance["SOPInstanceUID"],
        series.name,
        "nobody",
        "A*?",
        patient["PatientID"].lower(),
    ]
    with cohort.rest.counting() as requests:
        found = cohort.lookup(values)
    counted = cohort.capabilities().has("count-resources")  # of candidates for AccessionNumbers: see search
    assert len(requests) == 5 + counted
    assert found.index.tolist() == values
    assert found["ID"].iloc[:6].tolist() == [
        patient.name,
        study.name,
        study.name,
        series.name,
        instance.name,
        series.name,
    ]
    assert found["Level"].iloc[:6].tolist() == ["Patient", "Study", "Study", "Series", "Instance", "Series"]
    assert found["Keyword"].iloc[:6].tolist() == [
        "PatientID",
        "AccessionNumber",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "ID",
    ]
    assert found.iloc[6:].isna().all(axis=None)
    assert len(cohort.lookup([])) == 0
    assert cohort.lookup(patient["PatientID"])["ID"].tolist() == [patient.name]
    for wrong in ([None], [""], 5, [5]):
        with cohort.rest.counting() as requests, pytest.raises(errors.QueryError, match="lookup takes texts"):
            cohort.lookup(wrong)
        assert requests == []


def test_a_value_with_several_matches_has_a_row_for_each(orthanc: ores.Orthanc) -> None:
    data = ores.samples.cohort(patients=1, studies=2, slices=3, size=16)
    for dataset in data:
        dataset.AccessionNumber = "SAME"
    orthanc.upload(data, progress=False)
    found = orthanc.lookup(["SAME", "other"])
    assert found.loc[["SAME"], "ID"].tolist() == sorted(orthanc.studies().index, key=found["ID"].tolist().index)
    assert found.index.tolist() == ["SAME", "SAME", "other"]


def test_ids_computed_here_are_those_of_the_server(orthanc: ores.Orthanc, tree: Path, ct_small: Path) -> None:
    orthanc.upload([tree, ct_small], progress=False)
    table = orthanc.instances(columns=["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
    assert len(table) > 80
    for identifier, *given in table.fillna("").iloc[:, :4].astype(str).itertuples():
        assert ores.orthanc_id(*map(str, given)) == identifier
    assert {ores.orthanc_id(identifier) for identifier in table["PatientID"]} == set(orthanc.patients().index)


def test_ids_of_other_alphabets_are_those_of_the_server(orthanc: ores.Orthanc) -> None:
    (dataset, *_) = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)
    for charset, identifier in (("ISO_IR 192", "Größe-Ω"), ("ISO_IR 100", "Müller 7"), (None, " blank ")):
        dataset.SpecificCharacterSet, dataset.PatientID = charset, identifier
        orthanc.upload(dataset, progress=False)
        assert ores.orthanc_id(identifier, str(dataset.StudyInstanceUID)) in set(orthanc.studies().index)
        assert orthanc.lookup([identifier])["Level"].tolist() == ["Patient"]
    for wrong in (("x", None, "1.2"), (5,), (None,)):
        with pytest.raises(errors.QueryError):
            ores.orthanc_id(*wrong)


def test_the_overview_adds_up(orthanc: ores.Orthanc) -> None:
    data = ores.samples.cohort(patients=3, studies=2, slices=4, size=16)
    for dataset in data:
        if dataset.Modality == "CT" and dataset.PatientID == data[0].PatientID:
            dataset.StudyDate = ""
    orthanc.upload(data, progress=False)
    series, instances, total = orthanc.series(), orthanc.instances(), orthanc.statistics()
    with orthanc.rest.counting() as requests:
        table = orthanc.overview()
    assert len(requests) <= (2 if orthanc.capabilities().has("requested-tags") else 4)
    assert table["series"].sum() == len(series)
    assert table["instances"].sum() == len(instances)
    assert table["GB"].sum() * 1e9 == pytest.approx(int(total["TotalDiskSize"]), rel=1e-9)
    assert table.columns.tolist() == ["Modality", "Year", "studies", "series", "instances", "GB", "scanners"]
    years = series["StudyDate"].dt.year
    for row in table.itertuples():
        year = years.isna() if row.Year is pd.NA else years == row.Year
        assert row.series == ((series["Modality"] == row.Modality) & year).sum()
        assert row.studies == series[(series["Modality"] == row.Modality) & year]["ParentStudy"].nunique()
    with orthanc.rest.counting() as requests:
        bare = orthanc.overview(sizes=False, Modality="CT")
    assert bare["GB"].isna().all()
    assert set(bare["Modality"]) == {"CT"}
    pd.testing.assert_series_equal(bare.dtypes, table.dtypes)
    empty = orthanc.overview(Modality="US")
    assert len(empty) == 0
    pd.testing.assert_series_equal(empty.dtypes, table.dtypes)


def test_a_plan_says_what_will_be_asked_and_asks_nothing(cohort: ores.Orthanc) -> None:
    series, bare = cohort.series(), list(cohort.series().index)
    with cohort.rest.counting() as requests:
        said = [cohort.explain("Series", Modality="CT"), cohort.explain(series, ["KVP"]), cohort.explain(series)]
    assert requests == []
    assert said[0]["criteria"] == ["Modality"]
    assert said[2]["requests"] == 8
    assert "CT" not in str(said[0])  # values are nobody's business
    with cohort.rest.counting() as requests:
        assert cohort.explain(bare, ["Modality"])["requests"] == 1 + 8  # and what they are
    assert len(requests) == 1
