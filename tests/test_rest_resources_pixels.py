"""The routes of pixels on real servers: what comes is compared with the file."""

from __future__ import annotations

import gzip
import io
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from dicom_files import as_file
from PIL import Image
from pydicom.data import get_testdata_file

from orthanc_research import errors
from orthanc_research.rest import Connection, Rest

UNKNOWN = "-".join(["00000000"] * 5)
FRAMES = (np.arange(3 * 8 * 6, dtype=np.uint16).reshape(3, 8, 6) * 20 + 100).astype("<u2")


def read(content: bytes) -> npt.NDArray[Any]:
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))


def grey(content: bytes) -> npt.NDArray[Any]:
    """(row, column) of a PNG or JPEG."""
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)


def pam(content: bytes) -> npt.NDArray[Any]:
    """(row, column) of a PAM: a text header, then samples with the high byte first."""
    head, _, data = content.partition(b"ENDHDR\n")
    facts = dict(line.split(None, 1) for line in head.decode().splitlines() if " " in line)
    deep = int(facts["MAXVAL"]) > 255
    return np.frombuffer(data, ">u2" if deep else "u1").reshape(int(facts["HEIGHT"]), int(facts["WIDTH"]))


def stored(rest: Rest, dataset: pydicom.Dataset) -> str:
    return str(rest.instances.upload(as_file(dataset))["ID"])


@pytest.fixture
def instance(rest: Rest, ct_small: Path) -> str:
    return str(rest.instances.upload(ct_small.read_bytes())["ID"])


@pytest.fixture
def film(rest: Rest, ct_small: Path) -> str:
    """Three frames of 8 rows and 6 columns, rescaled by 2x - 50."""
    dataset = pydicom.dcmread(ct_small)
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 8, 6, 3
    dataset.PixelRepresentation, dataset.RescaleSlope, dataset.RescaleIntercept = 0, "2", "-50"
    dataset.PixelData = FRAMES.tobytes()
    for name in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
        if name in dataset:
            del dataset[name]
    return stored(rest, dataset)


@pytest.fixture
def colour(rest: Rest) -> str:
    path = Path(str(get_testdata_file("SC_rgb_small_odd.dcm", download=False)))
    return str(rest.instances.upload(path.read_bytes())["ID"])


def test_stored_values_come_in_each_pixel_format(rest: Rest, instance: str, ct_small: Path) -> None:
    values = pydicom.dcmread(ct_small).pixel_array
    image = rest.instances.image
    assert (grey(image(instance, "image-uint16")) == values).all()
    assert (grey(image(instance, "image-int16")).view(np.uint16) == values).all()
    assert (grey(image(instance, "image-uint8")) == np.minimum(values, 255)).all()
    assert (pam(image(instance, "image-uint16", "pam")) == values).all()
    assert (pam(image(instance, "image-uint8", "pam")) == np.minimum(values, 255)).all()
    assert (grey(image(instance, "image-uint16", frame=0)) == values).all()
    good, bad = (image(instance, "image-uint8", "jpeg", quality=quality) for quality in (95, 5))
    assert good[:2] == bad[:2] == b"\xff\xd8"
    assert len(bad) < len(good)
    matrix = rest.instances.matlab(instance)
    assert matrix == rest.instances.matlab(instance, frame=0)
    assert matrix.startswith("double([")
    assert f"{values[0, 0]}" in matrix[:40]


def test_an_image_that_cannot_be_is_not_asked_for(rest: Rest, instance: str) -> None:
    wrong: Any = "raw"
    image = rest.instances.image
    with rest.counting() as requests:
        for send in (
            partial(image, instance, wrong),
            partial(image, instance, "image-uint8", wrong),
            partial(image, instance, "image-uint16", "jpeg"),
            partial(image, instance, "image-uint8", "png", quality=50),
            partial(image, instance, "image-uint8", "jpeg", quality=101),
            partial(image, instance, "image-uint8", frame=-1),
            partial(rest.instances.frame_raw, instance, -1),
            partial(rest.instances.rendered, instance, width=0),
            partial(rest.instances.rendered, instance, window_center=40),
        ):
            with pytest.raises(errors.QueryError):
                send()
    assert requests == []


def test_frames_are_counted_from_0_and_are_what_is_in_the_file(rest: Rest, film: str) -> None:
    assert rest.instances.frames(film) == [0, 1, 2]
    for number in (0, 1, 2):
        assert rest.instances.frame_raw(film, number) == FRAMES[number].tobytes()
        assert gzip.decompress(rest.instances.frame_raw_gz(film, number)) == FRAMES[number].tobytes()
        assert (grey(rest.instances.image(film, "image-uint16", frame=number)) == FRAMES[number]).all()
        assert grey(rest.instances.preview(film, frame=number)).shape == (8, 6)
        assert grey(rest.instances.rendered(film, frame=number)).shape == (8, 6)
    assert rest.instances.matlab(film, frame=1) != rest.instances.matlab(film, frame=2)
    with pytest.raises(errors.NotFoundError):
        rest.instances.frames(UNKNOWN)


def test_a_frame_that_is_not_there_is_an_error(rest: Rest, film: str) -> None:
    instances = rest.instances
    for send in (
        partial(instances.frame_raw, film, 9),
        partial(instances.frame_raw_gz, film, 9),
        partial(instances.image, film, "image-uint8", frame=9),
        partial(instances.preview, film, frame=9),
        partial(instances.rendered, film, frame=9),
        partial(instances.numpy, film, frame=9),
        partial(instances.matlab, film, frame=9),
    ):
        with pytest.raises((errors.ServerError, errors.NotFoundError)):
            send()


def test_arrays_of_a_frame_an_instance_and_a_series(rest: Rest, film: str) -> None:
    (series,) = rest.series.list()
    numpy = rest.instances.numpy
    assert (read(numpy(film, rescale=False))[..., 0] == FRAMES).all()
    assert (read(numpy(film, frame=1, rescale=False))[..., 0] == FRAMES[1]).all()
    assert read(numpy(film, rescale=False)).dtype == np.uint16
    rescaled = read(numpy(film))
    assert rescaled.dtype == np.float32
    assert (rescaled[..., 0] == FRAMES * 2.0 - 50).all()
    with np.load(io.BytesIO(numpy(film, rescale=False, compress=True))) as archive:
        assert (archive["arr_0"][..., 0] == FRAMES).all()
    assert (read(rest.series.numpy(series, rescale=False))[..., 0] == FRAMES).all()
    assert read(rest.series.numpy(series)).dtype == np.float32
    with np.load(io.BytesIO(rest.series.numpy(series, compress=True))) as archive:
        assert archive["arr_0"].shape == (3, 8, 6, 1)
    for send in (partial(numpy, UNKNOWN), partial(rest.series.numpy, UNKNOWN)):
        with pytest.raises(errors.NotFoundError):
            send()


def test_colour_comes_as_rgb_and_not_as_grey(rest: Rest, colour: str) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("SC_rgb_small_odd.dcm", download=False)))
    assert (read(rest.instances.numpy(colour))[0] == dataset.pixel_array).all()
    assert (grey(rest.instances.preview(colour))[..., :3] == dataset.pixel_array).all()
    for pixels in ("image-uint8", "image-uint16", "image-int16"):
        with pytest.raises(errors.ServerError) as caught:
            rest.instances.image(colour, pixels)
        assert caught.value.status == 415


def test_pictures_for_people_are_windowed_and_sized(rest: Rest, instance: str) -> None:
    rendered = rest.instances.rendered
    assert grey(rest.instances.preview(instance)).max() == 255
    assert rest.instances.preview(instance, "jpeg", quality=5)[:2] == b"\xff\xd8"
    assert pam(rest.instances.preview(instance, "pam")).shape == (128, 128)
    assert grey(rendered(instance)).shape == (128, 128)
    assert grey(rendered(instance, width=64)).shape == (64, 64)
    assert grey(rendered(instance, width=64, height=32)).shape == (32, 32)
    assert (grey(rendered(instance, width=50)) != grey(rendered(instance, width=50, smooth=True))).any()
    wide = grey(rendered(instance, window_center=0, window_width=4000)).astype(int)
    narrow = grey(rendered(instance, window_center=40.5, window_width=80)).astype(int)
    assert narrow.std() > wide.std()
    assert rendered(instance, "jpeg", frame=0)[:2] == b"\xff\xd8"
    for send in (partial(rendered, UNKNOWN), partial(rest.instances.preview, UNKNOWN)):
        with pytest.raises(errors.NotFoundError):
            send()


def test_a_compressed_frame_is_its_bitstream(rest: Rest) -> None:
    # 1.12.7 decodes no JPEG 2000 here: with GDCM it may crash on it.
    path = Path(str(get_testdata_file("MR_small_jp2klossless.dcm", download=False)))
    identifier = rest.instances.upload(path.read_bytes())["ID"]
    codestream = rest.instances.frame_raw(identifier)
    assert codestream.startswith(b"\xff\x4f\xff\x51")
    assert codestream in path.read_bytes()


def test_a_file_without_pixels_has_a_frame_0_and_nothing_in_it(rest: Rest) -> None:
    path = Path(str(get_testdata_file("rtplan.dcm", download=False)))
    identifier = rest.instances.upload(path.read_bytes())["ID"]
    assert rest.instances.frames(identifier) == [0]
    for send in (
        partial(rest.instances.frame_raw, identifier),
        partial(rest.instances.preview, identifier),
        partial(rest.instances.image, identifier, "image-uint16"),
        partial(rest.instances.numpy, identifier),
    ):
        with pytest.raises(errors.ServerError):
            send()


class Heard(httpx.BaseTransport):
    """The server, and which answers each route was asked for and gave: target → (Accept-Encoding, Content-Encoding)."""

    def __init__(self) -> None:
        self._way = httpx.HTTPTransport()
        self.codings: dict[str, tuple[str, str | None]] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._way.handle_request(request)
        said = request.headers["accept-encoding"], response.headers.get("content-encoding")
        self.codings[request.url.path.rpartition("/")[2]] = said
        return response

    def close(self) -> None:
        self._way.close()


def test_pixels_come_as_they_are_and_no_server_packs_them(rest: Rest, connection: Connection, ct_small: Path) -> None:
    """Orthanc 1.10.1 gzips a file for who allows it, which takes fifteen times as long."""
    instance = rest.instances.upload(ct_small.read_bytes())["ID"]
    heard = Heard()
    with Rest(connection, transport=heard) as through:
        instances = through.instances
        assert instances.file(instance) == instances.attachment_data(instance, "dicom")
        assert instances.frame_raw(instance)
        assert instances.numpy(instance)
        instances.tags(instance)
    binary = {name: said for name, said in heard.codings.items() if name != "tags"}
    assert len(binary) == 4
    assert set(binary.values()) == {("identity", None)}
    assert "gzip" in heard.codings["tags"][0]
