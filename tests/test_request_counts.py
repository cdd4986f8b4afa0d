"""What common jobs cost, in requests: part of what is promised, on every version.

The jobs are those that other clients answer with one request a resource.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from stock import put

import orthanc_research as ores
from orthanc_research.rest import Connection

SERIES, DEEP = 101, 1000
COLUMNS = ["PatientID", "StudyDate", "StudyDescription", "Modality", "SeriesDescription", "BodyPartExamined"]
COUNT = "NumberOfSeriesRelatedInstances"


def many() -> Iterator[Dataset]:
    """100 series of one instance, in 10 studies, and one series of 900."""
    (first, *_) = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)
    for number in range(SERIES):
        if number % 10 == 0:
            study = generate_uid(entropy_srcs=["study", str(number)])
        for slice_number in range(1 if number else DEEP - SERIES + 1):
            dataset = copy.deepcopy(first)
            dataset.StudyInstanceUID = study
            dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series", str(number)])
            dataset.SOPInstanceUID = generate_uid(entropy_srcs=["instance", str(number), str(slice_number)])
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.InstanceNumber = slice_number + 1
            yield dataset


@pytest.fixture(scope="module")
def archive(connection: Connection) -> Iterator[ores.Orthanc]:
    with ores.Orthanc(connection.url, auth=connection.auth) as orthanc:
        patients = orthanc.rest.patients.list()
        if patients:
            orthanc.rest.tools.bulk_delete(patients)
        put(orthanc, many())
        orthanc.series(), orthanc.instances()  # and whether this server caps its answers is known
        yield orthanc
        orthanc.rest.tools.bulk_delete(orthanc.rest.patients.list())


def test_seven_columns_of_a_hundred_series_are_one_request(archive: ores.Orthanc) -> None:
    with archive.rest.counting() as requests:
        table = archive.series(columns=[*COLUMNS, COUNT])
    assert len(table) == SERIES
    assert table[COUNT].sum() == DEEP
    assert table.notna().all()[[*COLUMNS, COUNT]].all()
    # Where tags cannot be requested within a find, the studies' come by one more.
    assert len(requests) == (1 if archive.capabilities().has("requested-tags") else 2)


def test_all_tags_of_a_thousand_instances_are_one_request_a_series(archive: ores.Orthanc) -> None:
    series = archive.series()
    with archive.rest.counting() as requests:
        table = archive.tags(series)
    assert len(table) == DEEP
    assert len(requests) == SERIES


def test_chosen_tags_of_a_thousand_instances_are_two_requests(archive: ores.Orthanc) -> None:
    series = archive.series()
    with archive.rest.counting() as requests:
        table = archive.tags(series, ["SOPInstanceUID", "ImagePositionPatient", "InstanceNumber"])
    assert len(table) == DEEP
    assert len(requests) == 2
    with archive.rest.counting() as requests:
        table = archive.tags(series, ["SOPInstanceUID", "ImagePositionPatient", "KVP", "SliceThickness"])
    assert len(table) == DEEP
    assert len(requests) == (2 if archive.capabilities().has("requested-tags") else SERIES)
    with archive.rest.counting() as requests:
        assert len(archive.tags(series, ["KVP", "Manufacturer"], per="Series")) == SERIES
    assert len(requests) == 1 + SERIES


def test_a_find_with_a_filter_on_instances_is_one_request_a_page(archive: ores.Orthanc) -> None:
    columns = ["SOPInstanceUID", "InstanceNumber"]
    with archive.rest.counting() as requests:
        assert len(archive.instances(InstanceNumber=3, columns=columns)) == 1
        assert len(archive.instances(KVP=120, columns=columns)) == DEEP
    assert len(requests) == 2
    with archive.rest.counting() as requests:
        assert len(archive.instances(page=100, columns=columns)) == DEEP
    # Ten pages, the first one's IDs once more, and where the change log ends, before and after.
    assert len(requests) == 10 + 1 + 2
