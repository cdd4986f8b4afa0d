"""Routes of pixels: pictures, arrays and raw frames that the server makes.

For people and for comparison: the server decodes, which can end 1.12.7 with GDCM (JPEG 2000, 32-bit dose), and a frame
that it cannot decode is a 415, of a number that is not there a 400, 404, 415 or 500. To measure, fetch the file.
"""

from __future__ import annotations

from typing import Literal, get_args

from orthanc_research.errors import QueryError
from orthanc_research.rest._call import Call, json_list, raw, text
from orthanc_research.rest._submission import one_of

__all__ = [
    "ImageType",
    "PixelFormat",
    "frame_raw",
    "frame_raw_gz",
    "frames",
    "image",
    "matlab",
    "numpy",
    "preview",
    "rendered",
    "series_numpy",
]

PixelFormat = Literal["image-uint8", "image-uint16", "image-int16"]
ImageType = Literal["png", "jpeg", "pam"]

_MEDIA = {"png": "image/png", "jpeg": "image/jpeg", "pam": "image/x-portable-arbitrarymap"}
_DECODING = 600.0


def frames(instance: str) -> Call[list[int]]:
    """GET /instances/{id}/frames: the numbers of its frames from 0; [0] for a file without pixels too."""
    return Call("GET", ("instances", instance, "frames"), json_list)


def image(
    instance: str,
    pixels: PixelFormat,
    kind: ImageType = "png",
    *,
    frame: int | None = None,
    quality: int | None = None,
) -> Call[bytes]:
    """GET /instances/{id}[/frames/{frame}]/image-uint8, image-uint16, image-int16: stored values, cut to that range.

    image-int16 comes as an unsigned PNG or PAM in two's complement. Grey only: colour is a `ServerError` (415). JPEG
    holds 8 bits: asked for with 16, Orthanc answers 404, and this a `QueryError`. `quality` of a JPEG is 1 to 100.
    """
    one_of(pixels, get_args(PixelFormat), "A pixel format")
    if kind == "jpeg" and pixels != "image-uint8":
        raise QueryError(f"JPEG has 8 bits a pixel; {pixels} has 16: take png or pam.")
    return _picture(instance, pixels, frame, kind, quality, {})


def preview(
    instance: str, kind: ImageType = "png", *, frame: int | None = None, quality: int | None = None
) -> Call[bytes]:
    """GET /instances/{id}[/frames/{frame}]/preview: for people, stretched from darkest to brightest; not to measure."""
    return _picture(instance, "preview", frame, kind, quality, {})


def rendered(
    instance: str,
    kind: ImageType = "png",
    *,
    frame: int | None = None,
    width: int | None = None,
    height: int | None = None,
    smooth: bool = False,
    window_center: float | None = None,
    window_width: float | None = None,
    quality: int | None = None,
) -> Call[bytes]:
    """GET /instances/{id}[/frames/{frame}]/rendered: for people, through the file's window or the one given.

    With both `width` and `height` the picture fits into them and keeps its shape. Colour is not windowed.
    """
    if (window_center is None) != (window_width is None):
        raise QueryError("A window has a centre and a width: give both.")
    numbers = {"width": width, "height": height}
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise QueryError(f"{name} is at least 1 pixel.")
    given = {**numbers, "window-center": window_center, "window-width": window_width}
    query = {name: str(value) for name, value in given.items() if value is not None}
    return _picture(instance, "rendered", frame, kind, quality, query | ({"smooth": "1"} if smooth else {}))


def matlab(instance: str, *, frame: int | None = None) -> Call[str]:
    """GET /instances/{id}[/frames/{frame}]/matlab: the pixels as text for eval() in Octave or Matlab."""
    return Call("GET", _path(instance, frame, "matlab"), text, patience=_DECODING)


def numpy(instance: str, *, frame: int | None = None, rescale: bool = True, compress: bool = False) -> Call[bytes]:
    """GET /instances/{id}[/frames/{frame}]/numpy (1.10.0): an .npy file: (frame, row, column, channel), or of one frame
    (row, column, channel).

    `rescale`, Orthanc's default, gives float32 with slope and intercept; without it, stored integers. Colour comes as
    RGB uint8. `compress` gives an .npz with "arr_0". What the server cannot decode is a `ServerError` (500).
    """
    return _array(_path(instance, frame, "numpy"), rescale, compress)


def series_numpy(series: str, *, rescale: bool = True, compress: bool = False) -> Call[bytes]:
    """GET /series/{id}/numpy (1.10.0): an .npy file (slice, row, column, channel), in Orthanc's order of slices.

    Without spacing or position, and with one rescale for all: a volume comes from the files. `rescale` and `compress`
    as for an instance.
    """
    return _array(("series", series, "numpy"), rescale, compress)


def frame_raw(instance: str, frame: int = 0) -> Call[bytes]:
    """GET /instances/{id}/frames/{frame}/raw (1.3.1): the bytes as stored, native or the compressed bitstream.

    A file without pixels, and a frame that is not there: `ServerError` (400, on 1.10.1 also 500).
    """
    return Call("GET", _path(instance, frame, "raw"), raw, binary=True)


def frame_raw_gz(instance: str, frame: int = 0) -> Call[bytes]:
    """GET /instances/{id}/frames/{frame}/raw.gz (1.3.1): as `frame_raw`, as a gzip file."""
    return Call("GET", _path(instance, frame, "raw.gz"), raw, binary=True)


def _path(instance: str, frame: int | None, last: str) -> tuple[str, ...]:
    if frame is None:
        return "instances", instance, last
    if frame < 0:
        raise QueryError("Frames are counted from 0.")
    return "instances", instance, "frames", str(frame), last


def _picture(
    instance: str, route: str, frame: int | None, kind: ImageType, quality: int | None, query: dict[str, str]
) -> Call[bytes]:
    one_of(kind, get_args(ImageType), "A kind of image")
    if quality is not None:
        if kind != "jpeg" or not 1 <= quality <= 100:
            raise QueryError("quality is 1 to 100, and belongs to jpeg.")
        query = {**query, "quality": str(quality)}
    return Call(
        "GET",
        _path(instance, frame, route),
        raw,
        query=dict(query),
        headers={"Accept": _MEDIA[kind]},
        binary=True,
        patience=_DECODING,
    )


def _array(path: tuple[str, ...], rescale: bool, compress: bool) -> Call[bytes]:
    query: dict[str, str | None] = {"rescale": "true" if rescale else "false"}
    if compress:
        query["compress"] = "true"
    return Call("GET", path, raw, query=query, binary=True, patience=_DECODING)
