"""Volumes from real servers: each file is asked for once, and what proves a mosaic is asked for where it has to be."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pixel_cases import columns_of, make_dose, make_enhanced, make_mosaic, make_slice

import orthanc_research as ores
from orthanc_research import errors, fetch
from orthanc_research.pixels import Reading, decode, one_stack, stacks_of, volume_from
from orthanc_research.progress import Silent
from orthanc_research.rest import Connection, Rest
from orthanc_research.workers import Workers


def test_a_file_of_many_frames_is_asked_for_once(orthanc: ores.Orthanc) -> None:
    array = np.arange(40 * 20, dtype=np.uint16).reshape(40, 4, 5)
    dataset = make_enhanced(array, columns_of(40))
    orthanc.upload(dataset, progress=False)
    with orthanc.rest.counting() as requests:
        volume = orthanc.volume(orthanc.rest.series.list()[0])
    assert [target.rpartition("/")[2].partition("?")[0] for _, target in requests][-2:] == ["instances-tags", "file"]
    assert len(requests) == 4  # with the lists of series, above, and of its instances
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


# -- the cost ---------------------------------------------------------------------------------------------------------


def test_a_checked_volume_is_one_request_a_slice(orthanc: ores.Orthanc) -> None:
    orthanc.upload([make_slice(k) for k in range(12)], progress=False)
    (stack,) = orthanc.stacks(orthanc.series())
    plain = orthanc.volume(stack)
    with orthanc.rest.counting() as requests:
        checked = orthanc.volume(stack, verify=True)
    assert sorted(target.rpartition("/")[2] for _, target in requests) == ["data"] * 12
    np.testing.assert_array_equal(checked.array, plain.array)


class Changed(httpx.BaseTransport):
    """The server, with another ETag (None takes it away) and with one byte of the file flipped."""

    def __init__(self, etag: bytes | None, flip: bool) -> None:
        self._etag, self._flip = etag, flip
        self._way = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._way.handle_request(request)
        content = bytearray(response.read())
        if request.url.path.endswith("/data"):
            content[-1] ^= self._flip
        headers = [(b"Content-Type", response.headers["content-type"].encode())]
        headers += [] if self._etag is None else [(b"ETag", self._etag)]
        return httpx.Response(response.status_code, headers=headers, content=bytes(content))

    def close(self) -> None:
        self._way.close()


@pytest.mark.parametrize("etag", [None, b'"0-"', b'"7"', b"nonsense"])
def test_an_answer_without_md5_costs_a_request_more_and_is_checked(
    orthanc: ores.Orthanc, connection: Connection, etag: bytes | None
) -> None:
    orthanc.upload(make_slice(0), progress=False)
    (instance,) = orthanc.instances().index
    with Rest(connection, transport=Changed(etag, False)) as rest, rest.counting() as requests:
        assert fetch.file(rest, instance, verify=True) == orthanc.rest.instances.file(instance)
        assert [target.rpartition("/")[2] for _, target in requests] == ["data", "md5"]
    with (
        Rest(connection, transport=Changed(etag, True)) as rest,
        pytest.raises(errors.ResponseError, match="MD5 differs"),
    ):
        fetch.file(rest, instance, verify=True)


def test_a_flipped_bit_is_told_by_the_etag_alone(orthanc: ores.Orthanc, connection: Connection) -> None:
    orthanc.upload(make_slice(0), progress=False)
    (instance,) = orthanc.instances().index
    md5 = orthanc.rest.instances.md5(instance).encode()
    with (
        Rest(connection, transport=Changed(b'"0-' + md5 + b'"', True)) as rest,
        rest.counting() as requests,
        pytest.raises(errors.ResponseError, match="MD5 differs"),
    ):
        fetch.file(rest, instance, verify=True)
    assert len(requests) == 2  # it was asked for once more, and never for the MD5 alone


def test_a_flipped_bit_is_told_whichever_way_a_series_is_read(orthanc: ores.Orthanc, connection: Connection) -> None:
    orthanc.upload([make_slice(k) for k in range(4)], progress=False)
    (series,) = orthanc.series().index
    (stack,) = orthanc.stacks(series)
    options: dict[str, Any] = {"workers": 2, "verify": True, "progress": Silent()}
    with Rest(connection, transport=Changed(None, True)) as rest:
        for how in (Reading(), Reading(on_missing="nan", dtype="float32")):
            with pytest.raises(errors.ResponseError, match="MD5 differs"):
                fetch.series_volume(rest, series, (), how, **options)
        with pytest.raises(errors.ResponseError, match="MD5 differs"):
            fetch.volume(rest, stack, "stored", None, **options)


def test_an_instance_that_goes_while_its_series_is_read_is_no_smaller_volume(
    orthanc: ores.Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = [make_slice(k) for k in range(8)]
    choices: tuple[dict[str, Any], ...] = ({}, {"on_missing": "nan", "dtype": "float32"})
    for options in choices:
        orthanc.upload(datasets, progress=False)
        series, (last, *_) = orthanc.series(), orthanc.instances(InstanceNumber="8").index
        keep = fetch.file

        def file(rest: Rest, instance: str, *, verify: bool, keep: Any = keep, last: str = last) -> bytes:
            if rest.instances.list() and last in rest.instances.list():
                rest.instances.delete(last)
            return bytes(keep(rest, instance, verify=verify))

        with monkeypatch.context() as patched:
            patched.setattr(fetch, "file", file)
            (found,) = orthanc.volumes(series, progress=False, **options)
        assert (found.status, found.volume) == ("failed", None)


@pytest.mark.parametrize("config", [{"StorageCompression": True}, {"StoreMD5ForAttachments": False}])
def test_the_md5_is_of_the_file_however_it_is_stored(version: str, config: dict[str, bool]) -> None:
    with ores.LocalOrthanc(None if version == "any" else version, config=config) as orthanc:
        orthanc.upload(make_slice(0), progress=False)
        (instance,) = orthanc.instances().index
        with orthanc.rest.counting() as requests:
            if "StorageCompression" in config:
                assert fetch.file(orthanc.rest, instance, verify=True) == orthanc.rest.instances.file(instance)
                assert len(requests) == 2
            else:
                with pytest.raises(errors.ResponseError, match="StoreMD5ForAttachments"):
                    fetch.file(orthanc.rest, instance, verify=True)


@pytest.mark.parametrize(("values", "more"), [("stored", 3), ("rescaled", 8)])
def test_memory_is_the_volume_and_a_few_files_a_worker(orthanc: ores.Orthanc, values: str, more: int) -> None:
    """The file, and for numbers that are rescaled float64 and float32 of it: of each worker, and not of each slice."""
    images = np.random.default_rng(1).integers(0, 999, (60, 384, 384), np.uint16)
    orthanc.upload([make_slice(k, image) for k, image in enumerate(images)], progress=False)
    whole = make_enhanced(images, columns_of(60), SeriesInstanceUID="1.2.78", SOPInstanceUID="1.2.78.1")
    orthanc.upload(whole, progress=False)
    slices, frames = (orthanc.series(SeriesInstanceUID=uid) for uid in (make_slice().SeriesInstanceUID, "1.2.78"))
    one = images[0].nbytes
    ways: list[tuple[Any, int]] = [(slices, more * orthanc.workers * one), (frames, int(1.2 * images.nbytes))]
    ways += [(one_stack(orthanc.stacks(slices)), more * orthanc.workers * one)]
    for read, above in ways:
        for verify in (False, True):
            tracemalloc.start()
            try:
                volume = orthanc.volume(read, values, verify=verify)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < volume.array.nbytes + above


def test_many_files_of_jpeg_2000_are_decoded_by_processes(
    orthanc: ores.Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = Workers(2)
    monkeypatch.setattr("orthanc_research.decoding.shared", lambda: workers)  # not those that another test began
    noise = np.random.default_rng(5).integers(-900, 900, (16, 64, 64)).astype(np.int16)
    datasets = [make_slice(k, image) for k, image in enumerate(noise)]
    expected = volume_from(one_stack(stacks_of(datasets)), [(str(d.SOPInstanceUID), decode(d)) for d in datasets])
    for dataset in datasets:
        dataset.compress("1.2.840.10008.1.2.4.90", generate_instance_uid=False)
    orthanc.upload(datasets, progress=False)
    few = orthanc.instances().sort_values("InstanceNumber").iloc[:4]
    (found,) = orthanc.volumes(few, progress=False)
    assert found.volume is not None
    assert not workers._living
    try:
        np.testing.assert_array_equal(orthanc.volume(orthanc.series()).array, expected.array)
        assert workers._living
    finally:
        workers.close()
