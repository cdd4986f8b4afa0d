"""Volumes of many series: each has its turn or its reason, the next is fetched meanwhile, and nothing runs on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from pixel_cases import make_series

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.progress import Silent


def named(uid: str, slices: int = 4, **changes: object) -> list[object]:
    return list(make_series(slices, SeriesInstanceUID=uid, **changes))


def test_each_series_has_its_turn_or_its_reason(orthanc: ores.Orthanc) -> None:
    broken = make_series(4, SeriesInstanceUID="1.2.3")
    broken[2].PixelData = broken[2].PixelData[:10]
    orthanc.upload([*named("1.2.1"), *named("1.2.2", 2), *broken, *named("1.2.4")], progress=False)
    series = orthanc.series().sort_values("SeriesInstanceUID")
    found = list(orthanc.volumes(series, "rescaled", progress=False))
    assert [each.series for each in found] == list(series.index)
    assert [each.status for each in found] == ["ok", "too-few-slices", "failed", "ok"]
    assert [each.volume is None for each in found] == [False, True, True, False]
    for each in (found[0], found[3]):
        alone = orthanc.volume(each.series, "rescaled")
        assert each.volume is not None
        assert each.volume.sop_uids == alone.sop_uids
        np.testing.assert_array_equal(each.volume.array, alone.array)
        assert each.error is None
    assert found[2].error is not None
    assert str(broken[2].SOPInstanceUID) in found[2].error
    table = pd.DataFrame(found)  # the reasons of all, and no voxel copied
    assert list(table.columns) == ["series", "number", "status", "error", "volume"]
    assert list(table["error"].isna()) == [True, False, False, True]
    assert table["volume"].iloc[0] is found[0].volume
    assert list(orthanc.volumes([])) == []


def test_chosen_instances_and_split_series_are_told_apart(orthanc: ores.Orthanc) -> None:
    gap = make_series(6)
    del gap[3]
    orthanc.upload([*gap, *make_series(3, SeriesInstanceUID="1.2.77")], progress=False)
    series = orthanc.series(SeriesInstanceUID=str(gap[0].SeriesInstanceUID))
    (whole,) = orthanc.volumes(series, progress=False)
    assert whole.status == "missing-slices"
    parts = list(orthanc.volumes(series, on_missing="split", min_slices=2, progress=False))
    assert [(each.number, each.status) for each in parts] == [(0, "ok"), (1, "ok")]
    assert sorted(len(each.volume.sop_uids) for each in parts if each.volume) == [2, 3]
    first = orthanc.instances(within=series).sort_values("InstanceNumber").iloc[:3]
    (chosen,) = orthanc.volumes(first, progress=False)
    assert chosen.volume is not None
    assert chosen.volume.array.shape[0] == 3


def test_the_next_is_fetched_meanwhile_and_no_more(orthanc: ores.Orthanc) -> None:
    orthanc.upload([each for k in range(4) for each in named(f"1.2.{k}")], progress=False)
    series = orthanc.series()
    parents = orthanc.instances(columns=["ParentSeries"])["ParentSeries"]
    files = {identifier: set(parents.index[parents == identifier]) for identifier in series.index}
    with orthanc.rest.counting() as requests:

        def asked() -> list[int]:
            got = {target.split("/")[1] for _, target in requests if target.endswith(("/file", "/dicom/data"))}
            return [len(got & files[identifier]) for identifier in series.index]

        found = orthanc.volumes(series, progress=False)
        assert requests == []
        next(found)
        deadline = time.monotonic() + 20
        while asked()[1] < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        assert asked() == [4, 4, 0, 0]
        found.close()  # type: ignore[attr-defined]  # a generator, which users close by leaving their loop
        assert asked() == [4, 4, 0, 0]
    assert not [thread for thread in threading.enumerate() if "ahead" in thread.name]


def test_it_can_be_stopped_and_refuses_nonsense_first(orthanc: ores.Orthanc) -> None:
    class Impatient(Silent):
        def advance(self, count: int = 1) -> None:
            self.cancel()

    orthanc.upload([*named("1.2.1"), *named("1.2.2"), *named("1.2.3")], progress=False)
    series = orthanc.series()
    with pytest.raises(errors.CancelledError):
        list(orthanc.volumes(series, progress=Impatient()))
    with orthanc.rest.counting() as requests:
        for wrong in ({"values": "HU"}, {"on_missing": "drop"}, {"min_slices": 1}):
            with pytest.raises(errors.QueryError):
                orthanc.volumes(series, **wrong)
    assert requests == []


@pytest.fixture
def leaving() -> Iterator[ores.LocalOrthanc]:
    with ores.LocalOrthanc() as orthanc:
        yield orthanc


def test_a_server_that_goes_ends_it(leaving: ores.LocalOrthanc) -> None:
    leaving.upload([each for k in range(3) for each in named(f"1.2.{k}")], progress=False)
    found = leaving.volumes(leaving.series(), progress=False)
    assert next(found).status == "ok"
    leaving.server.kill()
    with pytest.raises(errors.UnreachableError):
        list(found)
