"""Volumes from real servers: each file is asked for once, and what proves a mosaic is asked for where it has to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pixel_cases import columns_of, make_dose, make_enhanced, make_mosaic, make_slice

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.pixels import decode, one_stack, stacks_of, volume_from
from orthanc_research.progress import Silent


def test_a_file_of_many_frames_is_asked_for_once(orthanc: ores.Orthanc) -> None:
    array = np.arange(40 * 20, dtype=np.uint16).reshape(40, 4, 5)
    dataset = make_enhanced(array, columns_of(40))
    orthanc.upload(dataset, progress=False)
    with orthanc.rest.counting() as requests:
        volume = orthanc.volume(orthanc.rest.series.list()[0])
    assert [target.rpartition("/")[2].partition("?")[0] for _, target in requests][-2:] == ["instances-tags", "file"]
    assert len(requests) == 3  # with the list of series above
    np.testing.assert_array_equal(volume.array, array)
    local = volume_from(one_stack(stacks_of([dataset])), [(str(dataset.SOPInstanceUID), decode(dataset))])
    np.testing.assert_allclose(volume.affine, local.affine)


def test_a_dose_of_many_frames_has_its_offsets_from_a_server(orthanc: ores.Orthanc) -> None:
    orthanc.upload(make_dose([3.0 * k for k in range(120)]), progress=False)  # a text of more than 256 bytes
    volume = orthanc.volume(orthanc.series(), "rescaled")
    assert volume.array.shape[0] == 120
    assert volume.spacing[0] == pytest.approx(3.0)
    assert volume.units == "GY"


def test_a_mosaic_is_cut_where_its_header_proves_it(orthanc: ores.Orthanc) -> None:
    orthanc.upload(make_mosaic(), progress=False)
    series = orthanc.series()
    with orthanc.rest.counting() as requests:
        (stack,) = orthanc.stacks(series)
    assert stack.status == "ok"
    assert [target.rpartition("/")[2].partition("?")[0] for _, target in requests] == ["instances-tags", "0029-1010"]
    volume = orthanc.volume(stack)
    assert volume.array[:, 0, 0].tolist() == [1, 2, 3, 4, 5]
    orthanc.upload(make_slice(7, SeriesInstanceUID="1.2.99"), progress=False)
    (other,) = set(orthanc.series().index) - set(series.index)
    with orthanc.rest.counting() as requests:
        orthanc.stacks(other)
    assert len(requests) == 1  # only a mosaic costs one more


def test_real_mosaics_are_volumes_from_a_server_too(orthanc: ores.Orthanc, realdata: Path) -> None:
    folder = realdata / "mr-siemens-mosaic-epi" / "dicom" / "mr_0003"
    orthanc.upload(folder, progress=False)
    (stack,) = orthanc.stacks(orthanc.series())
    assert stack.status == "4d"
    volume = orthanc.volume(orthanc.series(), on_4d="stack")
    assert volume.dims == ("extra", "slice", "row", "column")
    assert volume.shape == stack.shape


def test_a_volume_can_be_cancelled_and_costs_nothing_when_headers_refuse_it(orthanc: ores.Orthanc) -> None:
    class Impatient(Silent):
        def advance(self, count: int = 1) -> None:
            self.cancel()

    orthanc.upload([make_slice(k) for k in range(30)], progress=False)
    series = orthanc.series()
    with pytest.raises(errors.CancelledError):
        orthanc.volume(series, progress=Impatient())
    (stack,) = orthanc.stacks(series)
    with orthanc.rest.counting() as requests, pytest.raises(errors.PixelError):
        orthanc.volume(stack, "suv")
    assert requests == []
