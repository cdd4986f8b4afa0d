"""Tags on real servers: what the files say, by the cheapest route that tells it, in frames or streamed to a file."""

from __future__ import annotations

import copy
import stat
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from stock import stock

import orthanc_research as ores
from orthanc_research import errors, headers
from orthanc_research.progress import Silent
from orthanc_research.tables import plan_tags, tags_frame

INSIDE = ["SOPInstanceUID", "InstanceNumber", "ImagePositionPatient"]  # of the instance level of the index
OUTSIDE = ["KVP", "SliceThickness", "Rows"]  # in no index
ABOVE = ["Modality", "SeriesDescription"]  # of the series level of the index


def sent(orthanc: ores.Orthanc, *arguments: Any, **options: Any) -> tuple[pd.DataFrame, list[str]]:
    """The frame, and the routes that were asked; `explain` must have said how many."""
    said = orthanc.explain(*arguments, **options)
    with orthanc.rest.counting() as requests:
        frame = orthanc.tags(*arguments, **options)
    assert said["requests"] in (None, len(requests)), (said, requests)
    return frame, [target.partition("?")[0].rpartition("/")[2] for _, target in requests]


def test_columns_of_the_index_are_one_request_for_all(cohort: ores.Orthanc) -> None:
    series, instances = cohort.series(), cohort.instances()
    table, asked = sent(cohort, series, INSIDE)
    assert asked == ["find" if cohort.capabilities().has("extended-find") else "bulk-content"] * 2
    assert sorted(table.index) == sorted(instances.index)
    expected = instances.loc[table.index]
    assert table["SOPInstanceUID"].tolist() == expected["SOPInstanceUID"].tolist()
    assert table["ImagePositionPatient"].tolist() == expected["ImagePositionPatient"].tolist()
    assert table["ParentSeries"].tolist() == expected["ParentSeries"].tolist()
    assert list(dict.fromkeys(table["ParentSeries"])) == series.index.tolist()


def test_of_many_small_series_so_many_are_read_at_once(cohort: ores.Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orthanc holds each answer against each of them."""
    series = cohort.series()
    wanted, _ = sent(cohort, series, INSIDE)
    monkeypatch.setattr(headers, "LISTED", 3)
    table, asked = sent(cohort, series, INSIDE)
    pd.testing.assert_frame_equal(table, wanted)
    assert asked[1:] == ["find" if cohort.capabilities().has("extended-find") else "bulk-content"] * 3  # 3, 3 and 2


def test_columns_outside_the_index_are_one_find_where_the_server_has_it(cohort: ores.Orthanc) -> None:
    series = cohort.series()
    table, asked = sent(cohort, series, [*INSIDE, *OUTSIDE])
    if cohort.capabilities().has("requested-tags"):
        assert asked == ["find" if cohort.capabilities().has("extended-find") else "bulk-content", "find"]
    else:
        assert asked == ["instances-tags"] * 8
    assert len(table) == cohort.statistics()["CountInstances"]
    assert table["Rows"].eq(16).all()
    assert str(table["SliceThickness"].dtype) == "float64"
    assert table["KVP"].notna().sum() == (series["Modality"] == "CT").sum() * 6  # an MR has none


def test_columns_of_a_level_above_are_one_request_a_series(cohort: ores.Orthanc) -> None:
    table, asked = sent(cohort, cohort.series(), [*ABOVE, *OUTSIDE])
    assert asked == ["instances-tags"] * 8
    assert set(table["Modality"]) == {"CT", "MR"}


def test_a_tag_is_what_its_own_file_says_not_what_the_index_kept(orthanc: ores.Orthanc) -> None:
    data = [d for d in ores.samples.cohort(patients=1, studies=1, slices=4, size=16) if d.Modality == "MR"]
    for number, dataset in enumerate(data):
        dataset.SeriesDescription, dataset.PatientName = f"description {number}", f"Name^{number}"
        dataset.ContrastBolusAgent = f"agent {number}"
    orthanc.upload(data, progress=False)
    table = orthanc.tags(orthanc.series(), ["SeriesDescription", "PatientName", "ContrastBolusAgent"])
    assert sorted(table["SeriesDescription"]) == [f"description {number}" for number in range(len(data))]
    assert sorted(table["PatientName"]) == [f"Name^{number}" for number in range(len(data))]
    assert table["ContrastBolusAgent"].nunique() == len(data)


def test_every_route_says_the_same(orthanc: ores.Orthanc, tree: Path, ct_small: Path) -> None:
    """Each public element of real files, by the cheapest route and by reading every file."""
    orthanc.upload([tree, ct_small], progress=False)
    series = orthanc.series()
    everything = orthanc.tags(series)
    names = [
        name
        for name in everything.columns
        if name.isalnum() and name not in ("ParentSeries", "Private", "Issues") and dictionary_VR(name) != "SQ"
    ]
    fast = plan_tags(names, capabilities=orthanc.capabilities())
    chosen = [name for name in names if plan_tags([name], capabilities=orthanc.capabilities()).route != fast.route]
    assert len(chosen) >= (20 if orthanc.capabilities().has("requested-tags") else 3)
    table, asked = sent(orthanc, series, chosen)
    assert "instances-tags" not in asked
    assert table["Issues"].isna().all()
    pd.testing.assert_frame_equal(table[chosen].sort_index(), everything[chosen].sort_index())


def test_studies_patients_and_instances_find_their_series_first(cohort: ores.Orthanc) -> None:
    study, patient = cohort.studies().head(1), cohort.patients().head(1)
    table, asked = sent(cohort, study, ["Modality"])
    assert asked == ["bulk-content"] + ["instances-tags"] * 2
    assert set(table["Modality"]) == {"CT", "MR"}
    whole, asked = sent(cohort, patient, ["Modality"])
    assert asked == ["bulk-content"] * 2 + ["instances-tags"] * 4
    assert len(whole) == 2 * len(table)
    some = cohort.instances().groupby("ParentSeries").head(2)
    for columns in (["Modality"], INSIDE):
        chosen, asked = sent(cohort, some, columns)
        assert sorted(chosen.index) == sorted(some.index)
        assert len(asked) == (some["ParentSeries"].nunique() if columns == ["Modality"] else 2)
    bare, asked = sent(cohort, list(some.index), ["Rows"])
    assert sorted(bare.index) == sorted(some.index)


def test_counts_that_pandas_made_decimals_are_counts(cohort: ores.Orthanc) -> None:
    studies, series = cohort.studies(), cohort.series()
    for frame in (studies, series):
        counts = [name for name in frame.columns if name.startswith("NumberOf")]
        decimals = frame.astype(dict.fromkeys(counts, "float64"))
        assert cohort.explain(decimals, INSIDE) == cohort.explain(frame, INSIDE)
        assert len(cohort.tags(decimals, INSIDE)) == 40


def test_one_row_a_series_reads_one_instance_of_each(cohort: ores.Orthanc) -> None:
    series = cohort.series()
    table, asked = sent(cohort, series, ["Modality", "KVP", "RepetitionTime"], per="Series")
    assert len(asked) == 1 + len(series)
    assert table.index.tolist() == series.index.tolist()
    assert table["Modality"].tolist() == series["Modality"].tolist()
    members = cohort.instances().groupby("ParentSeries").groups
    assert all(row.RepresentativeInstance in members[identifier] for identifier, row in table.iterrows())
    assert table.attrs["orthanc"]["level"] == "Series"
    assert len(cohort.tags(table.head(1), ["Rows"])) == len(members[table.index[0]])  # its rows are series
    everything = cohort.tags(series, per="Series")
    assert everything["Modality"].tolist() == series["Modality"].tolist()


def test_all_tags_keep_what_names_would_lose(orthanc: ores.Orthanc, ct_small: Path) -> None:
    orthanc.upload(ct_small, progress=False)
    table = orthanc.tags(orthanc.series())
    assert len(table) == 1
    assert table["Manufacturer"].iloc[0] == "GE MEDICAL SYSTEMS"
    assert "0009,0010" in table["Private"].iloc[0]
    assert "PixelData" not in table.columns


def test_all_tags_of_unlike_series_have_one_column_each(orthanc: ores.Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "_GROUP", 5)  # several pieces
    stock(orthanc, patients=1, studies=2, slices=4)
    series = orthanc.series()
    table = orthanc.tags(series)
    pieces = [orthanc.tags(series.loc[[identifier]]) for identifier in series.index]
    assert len(table) == sum(map(len, pieces))
    assert set(table.columns) == {name for piece in pieces for name in piece.columns}
    assert list(table.columns[-2:]) == ["Private", "Issues"]
    for piece in pieces:
        pd.testing.assert_frame_equal(table.loc[piece.index, piece.columns], piece)


def test_sequences_flatten_along_a_path_and_private_elements_by_creator(orthanc: ores.Orthanc) -> None:
    (dataset, *_) = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)
    drug = Dataset()
    drug.RadionuclideTotalDose, drug.Radiopharmaceutical = 370e6, "FDG"
    dataset.RadiopharmaceuticalInformationSequence = [drug]
    block = dataset.private_block(0x0019, "MY CREATOR", create=True)
    block.add_new(0x0C, "DS", "12.5")
    orthanc.upload(dataset, progress=False)
    path = "RadiopharmaceuticalInformationSequence.RadionuclideTotalDose"
    table, _ = sent(orthanc, orthanc.series(), [path, ("0019,xx0c", "MY CREATOR"), ("0019,xx0c", "ANOTHER"), "KVP"])
    assert table[path].tolist() == [370e6]
    assert str(table[path].dtype) == "float64"
    assert table["0019,xx0c MY CREATOR"].tolist() == ["12.5"]
    assert table["0019,xx0c ANOTHER"].isna().all()


@pytest.mark.parametrize("columns", [["ImageComments"], ["DerivationDescription", "Rows"], None])
def test_long_values_are_fetched_not_nulled(orthanc: ores.Orthanc, columns: list[str] | None) -> None:
    (dataset, *_) = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)
    text = "long é " * 400
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageComments = dataset.DerivationDescription = text.strip()
    orthanc.upload(dataset, progress=False)
    table = orthanc.tags(orthanc.series(), columns)
    for name in columns or ["ImageComments", "DerivationDescription"]:
        if name != "Rows":
            assert table[name].iloc[0] == text.strip()
    assert table["Issues"].isna().all()


def test_one_unreadable_file_does_not_take_its_series_with_it(version: str, tmp_path: Path) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    with ores.LocalOrthanc(version, folder=tmp_path / "storage") as orthanc:
        stock(orthanc, patients=1, studies=1, slices=4)
        series = orthanc.series()
        mr = series.index[series["Modality"] == "MR"][0]
        bad = orthanc.rest.series.children(mr, "Instance")[1]
        next(path for path in (tmp_path / "storage").rglob("*") if path.name == bad["FileUuid"]).unlink()
        orthanc.server.kill()
        orthanc.server.restart()  # it would answer from memory
        for columns in (["Modality"], ["Rows", "SOPInstanceUID"], None):
            table = orthanc.tags(series, columns)
            assert len(table) == 10
            assert table["Issues"].notna().sum() == 1
            assert "cannot read" in table.loc[bad["ID"], "Issues"]
            assert table[(columns or ["Rows"])[0]].isna().sum() == 1
        # What the index holds is there all the same, and true.
        assert orthanc.tags(series, ["SOPInstanceUID"])["SOPInstanceUID"].notna().all()


def test_two_patients_with_one_series_uid_are_kept_apart(orthanc: ores.Orthanc) -> None:
    data = [d for d in ores.samples.cohort(patients=1, studies=1, slices=4, size=16) if d.Modality == "MR"]
    twins = copy.deepcopy(data)
    for dataset in twins:
        dataset.PatientID, dataset.Rows, dataset.EchoTime = "TWIN", dataset.Rows, 99
    orthanc.upload([*data, *twins], progress=False)
    series = orthanc.series()
    assert series["SeriesInstanceUID"].nunique() == 1 < len(series)
    twin = series[series["PatientID"] == "TWIN"]
    assert orthanc.tags(twin, ["EchoTime", "SOPInstanceUID"])["EchoTime"].tolist() == [99.0] * len(data)
    assert len(orthanc.tags(series, ["EchoTime"])) == 2 * len(data)


def test_series_are_those_of_the_ids_whatever_uids_a_frame_tells(cohort: ores.Orthanc) -> None:
    """Series are looked up by UID where the server is slow by ID; only the ID says which are meant."""
    series = cohort.series()
    wanted = cohort.tags(series, INSIDE)
    few = series.iloc[:2]
    for uids in ("1.2.3", "*", series["SeriesInstanceUID"].iloc[0], series["SeriesInstanceUID"].iloc[::-1].tolist()):
        pd.testing.assert_frame_equal(cohort.tags(series.assign(SeriesInstanceUID=uids), INSIDE), wanted)
    all_of = "\\".join(series["SeriesInstanceUID"])
    table = cohort.tags(few.assign(SeriesInstanceUID=all_of), INSIDE)
    pd.testing.assert_frame_equal(table, wanted[wanted["ParentSeries"].isin(few.index)])
    by_study = cohort.tags(series.drop(columns="SeriesInstanceUID"), INSIDE)
    pd.testing.assert_frame_equal(by_study, wanted)


def test_series_that_a_cap_of_finds_hides_are_looked_up(version: str) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    with ores.LocalOrthanc(version, config={"LimitFindResults": 3, "LimitFindInstances": 5}) as orthanc:
        stock(orthanc, patients=2, studies=2, slices=4)
        series = [each for study in orthanc.rest.studies.list() for each in orthanc.rest.studies.read(study)["Series"]]
        frame = pd.DataFrame(
            {
                "SeriesInstanceUID": [
                    orthanc.rest.series.read(each)["MainDicomTags"]["SeriesInstanceUID"] for each in series
                ]
            },
            index=pd.Index(series, name="ID"),
        )
        frame.attrs["orthanc"] = {"level": "Series", "url": orthanc.url}
        for columns in (INSIDE, OUTSIDE):
            assert len(orthanc.tags(frame, columns)) == orthanc.statistics()["CountInstances"] == 40


def test_what_was_deleted_meanwhile_is_told_on_every_route(cohort: ores.Orthanc) -> None:
    some = cohort.instances(within=cohort.series().head(1))
    cohort.delete(list(some.index[1:2]), expect=1)
    for columns in (INSIDE, OUTSIDE, ABOVE):
        table = cohort.tags(some, columns)
        assert table["Issues"].notna().sum() == 1
        assert set(table.index) == set(some.index)
    series = cohort.series()
    cohort.delete(series.head(1), expect=1)
    for columns in (INSIDE, OUTSIDE, ABOVE):
        with pytest.raises(errors.NotFoundError):
            cohort.tags(series, columns)


def test_too_many_rows_are_refused_with_the_count_and_the_way_out(cohort: ores.Orthanc) -> None:
    words = "There are 40 instances, more than max_rows=39: write them with orthanc.tags_to_parquet"
    series = cohort.series()
    with cohort.rest.counting() as requests, pytest.raises(errors.QueryError, match=words):
        cohort.tags(series, ["Modality"], max_rows=39)
    assert requests == []  # the frame itself says how many there are
    for given in (series[["Modality"]], cohort.studies()[["PatientID"]], cohort.patients()):
        for columns in (["Modality"], INSIDE):
            with pytest.raises(errors.QueryError, match=words):
                cohort.tags(given, columns, max_rows=39)
    assert len(cohort.tags(series, ["Modality"], max_rows=40)) == 40
    assert len(cohort.tags(series, ["Modality"], per="Series", max_rows=8)) == 8


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["StudyDat"], "StudyDate"),
        (["PixelData"], "binary"),
        (["Modality.KVP"], "no sequence"),
        ([("0019,100c", "")], "private"),
        ([5], "Columns"),
    ],
)
def test_bad_columns_are_one_sentence_and_no_request(cohort: ores.Orthanc, columns: Any, words: str) -> None:
    with cohort.rest.counting() as requests, pytest.raises(errors.QueryError, match=words):
        cohort.tags([], columns)
    assert requests == []
    with pytest.raises(errors.QueryError, match="per is"):
        cohort.tags([], ["KVP"], per="Study")


# -- to a file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [["Modality", "AcquisitionDateTime"], INSIDE, None])
def test_a_streamed_table_is_the_frame(
    cohort: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: list[str] | None
) -> None:
    monkeypatch.setattr(headers, "_GROUP", 7)  # several pieces
    series = cohort.series()
    path = tmp_path / "tags.parquet"
    assert cohort.tags_to_parquet(series, path, columns, progress=False) == 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    frame = cohort.tags(series, columns)
    again = ores.read_parquet(path)
    pd.testing.assert_frame_equal(again, frame)
    assert again.attrs["orthanc"] == {"level": "Instance", "url": cohort.url}
    assert pd.read_parquet(path)["ID"].tolist() == frame.index.tolist()
    assert cohort.tags_to_parquet([], path, columns, progress=False) == 0
    assert ores.read_parquet(path).empty


def test_a_streamed_table_is_complete_or_absent(cohort: ores.Orthanc, tmp_path: Path) -> None:
    class Impatient(Silent):
        def advance(self, count: int = 1) -> None:
            self.cancel()

    path = tmp_path / "tags.parquet"
    before = threading.active_count()
    cohort.workers = 1  # and so two requests under way, not all eight
    for columns in (["Modality"], None):
        with pytest.raises(errors.CancelledError):
            cohort.tags_to_parquet(cohort.series(), path, columns, progress=Impatient())
        assert list(tmp_path.iterdir()) == []
    series = cohort.series()
    cohort.delete(series.tail(1), expect=1)
    with pytest.raises(errors.NotFoundError):
        cohort.tags_to_parquet(series, path, ["Modality"], progress=False)
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before
    with cohort.rest.counting() as requests, pytest.raises(errors.QueryError, match="There is no folder"):
        cohort.tags_to_parquet(series, tmp_path / "nowhere" / "x.parquet")
    assert requests == []


def test_names_that_orthanc_would_merge_stay_apart() -> None:
    """`simplify` has one key for all unknown private elements; short keys lose none."""
    tags = {"0009,0010": "A", "0009,1001": "one", "0011,0010": "B", "0011,1001": "two", "0010,0010": "X^Y"}
    (private,) = tags_frame([("i", "s", tags)], plan_tags())["Private"]
    assert all(text in private for text in ("one", "two"))
