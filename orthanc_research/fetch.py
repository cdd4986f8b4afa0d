"""From the server into memory: files, stacks and volumes; the MD5 check."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from orthanc_research.decoding import decode_isolated
from orthanc_research.errors import (
    AccessError,
    CancelledError,
    NotFoundError,
    PixelError,
    QueryError,
    ResponseError,
    ServerError,
)
from orthanc_research.parallel import Outcome, thread_map
from orthanc_research.pixels import (
    LONG_TAGS,
    PIXELS,
    Filler,
    ImageFile,
    PlainSeries,
    Reading,
    Stack,
    StackFile,
    Volume,
    Window,
    check_pixels,
    check_slices,
    image_file,
    likely_order,
    one_stack,
    pixels_of,
    read_dataset,
    read_header,
    stacks_of,
    wanted_bytes,
)
from orthanc_research.progress import Progress
from orthanc_research.rest import Rest

__all__ = [
    "DIFFERS",
    "NO_MD5",
    "DamagedError",
    "checked_file",
    "dataset",
    "decoded",
    "file",
    "image",
    "picture",
    "pixels",
    "present",
    "series_volume",
    "stacks",
    "volume",
]

T = TypeVar("T")
Limits = Window | tuple[float, float] | None

_PAM = re.compile(rb"P7\nWIDTH (\d+)\nHEIGHT (\d+)\nDEPTH (\d)\nMAXVAL 255\nTUPLTYPE \w+\nENDHDR\n")
_MANY = 16  # files; the first worker process takes as long to start as so many CT slices of JPEG 2000 to decode
_CANNOT_RENDER = (400, 404, 415, 500)  # for one reason, by version and by what is in the file

NO_MD5 = (
    "This Orthanc keeps no MD5 of its files (StoreMD5ForAttachments in its configuration), so what arrives cannot be "
    "checked."
)
DIFFERS = "The file of instance {} is not the one that was stored: its MD5 differs."


class DamagedError(ResponseError):
    """A file is not the one that was stored."""


def file(rest: Rest, instance: str, *, verify: bool) -> bytes:
    """The DICOM file as it was stored; with `verify`, held against the MD5 that the server keeps.

    One request; two when the answer to the first does not name the MD5. What arrives damaged is asked for once more.
    `ResponseError` when the file is not the one that was stored even then, and when the server keeps no MD5.
    """
    if not verify:
        return rest.instances.file(instance)
    try:
        return checked_file(rest, instance)[0]
    except DamagedError:
        return checked_file(rest, instance)[0]


def checked_file(rest: Rest, instance: str) -> tuple[bytes, str]:
    """The DICOM file and its MD5, which is the server's; as `file` with `verify`."""
    content, expected = rest.instances.attachment_with_md5(instance, "dicom")
    if expected is None:
        try:
            expected = rest.instances.md5(instance).strip()
        except NotFoundError as error:
            raise ResponseError(NO_MD5) from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != expected:
        raise DamagedError(DIFFERS.format(instance))
    return content, expected


def dataset(rest: Rest, instance: str, *, verify: bool) -> Dataset:
    """The file as a pydicom Dataset."""
    return read_dataset(file(rest, instance, verify=verify))


def decoded(
    rest: Rest, instances: Sequence[str], *, workers: int, verify: bool, progress: Progress
) -> Generator[Outcome[str, tuple[Dataset, npt.NDArray[Any]]], None, None]:
    """The Dataset of each instance, without its pixel data, and what these decode to; in order, one request each.

    A failure is its instance's outcome, a decoder that crashes too (`PixelError`). Who may stop reading closes it.
    """

    def get(instance: str) -> tuple[Dataset, npt.NDArray[Any]]:
        content = file(rest, instance, verify=verify)
        found = read_header(content)
        array = decode_isolated(content, str(found.get("SOPInstanceUID", "")), many=len(instances) >= _MANY)
        for keyword in PIXELS:
            found.pop(keyword, None)
        progress.advance()
        return found, array

    return thread_map(get, instances, workers=workers, progress=progress, fatal=(AccessError,))


def pixels(
    rest: Rest, instance: str, values: str, *, dtype: npt.DTypeLike | None, window: Limits, verify: bool
) -> npt.NDArray[Any]:
    """The pixels of one instance as `values`: one request; `QueryError` for senseless arguments before it is sent."""
    check_pixels(values, dtype, window)
    content = file(rest, instance, verify=verify)
    return pixels_of(content, values, dtype=dtype, window=window, decoder=decode_isolated)


def image(rest: Rest, instance: str, *, many: bool = False) -> tuple[Dataset, ImageFile | PixelError]:
    """What one instance says without its pixels, and its image, or why there is none: one request.

    `many`: there are many more to come of its series, as `decoding.decode_isolated` wants to know.
    """
    content = file(rest, instance, verify=False)
    try:
        made = image_file(content, decoder=partial(decode_isolated, many=many))
    except PixelError as error:
        found = read_header(content)
        for keyword in PIXELS:
            found.pop(keyword, None)
        return found, error
    return made.dataset, made


def picture(
    rest: Rest, instance: str, *, frame: int, width: int | None, window: tuple[float, float] | None
) -> npt.NDArray[np.uint8]:
    """One frame as the server shows it: one request, a second one for a reason when it cannot, and on 1.12.7."""
    if not isinstance(frame, int) or frame < 0:
        raise QueryError("A frame is a number, counted from 0.")
    if width is not None and (not isinstance(width, int) or width < 1):
        raise QueryError("width is a number of pixels, at least 1.")
    _, shown = check_pixels("display", None, window)
    if isinstance(window, Window):
        raise QueryError("The server knows LINEAR windows only: give (centre, width).")
    centre, wide = (shown.centre, shown.width) if shown else (None, None)
    _spare(rest, instance, frame)
    try:
        # PAM is the bytes as they are: PNG takes the server 3 to 20 times as long.
        content = rest.instances.rendered(
            instance, "pam", frame=frame, width=width, window_center=centre, window_width=wide
        )
    except (ServerError, NotFoundError) as error:
        if error.status not in _CANNOT_RENDER:
            raise
        frames = rest.instances.frames(instance)  # `NotFoundError` when it is the instance that is not there
        raise _no_picture(instance, frame, len(frames)) from error
    head = _PAM.match(content)
    if head is None or len(content) - head.end() != math.prod(map(int, head.groups())):
        raise ResponseError("The server answered something that is not the picture that it was asked for.")
    columns, rows, samples = map(int, head.groups())
    array = np.frombuffer(content, "u1", offset=head.end()).reshape(rows, columns, samples).copy()
    return array[..., 0] if samples == 1 else array[..., :3]


def _spare(rest: Rest, instance: str, frame: int) -> None:
    """1.12.7 as Debian 13 has it ends, with its GDCM plugin, on 32-bit doses and on frames that are not there."""
    if rest.capabilities().version != "1.12.7":
        return
    header = rest.instances.tags(instance)
    said = str(header.get("0028,0008") or "").strip()
    frames = int(said) if said.isdigit() else 1
    if header.get("0028,0100") == "32" or frame >= frames:
        raise _no_picture(instance, frame, frames)


def _no_picture(instance: str, frame: int, frames: int) -> PixelError:
    if frame >= frames:
        return PixelError(f"Instance {instance} has {frames} frame{'s' * (frames > 1)}, counted from 0; not {frame}.")
    return PixelError(
        f"This Orthanc cannot render instance {instance}: it is no image, or one that the server cannot decode; "
        "pixels(…, values='display') decodes it here, or says what it is."
    )


def stacks(rest: Rest, series: str, chosen: Sequence[str] = (), *, min_slices: int) -> list[Stack]:
    """Every stack of a series (or of the chosen instances of it) with its verdict, from headers alone: one request.

    A Siemens mosaic costs one more: the element that proves its tiling is binary, and not among the headers.
    `NotFoundError` when a chosen instance is no longer there; `QueryError` for an ID that is not of a series.
    """
    check_slices(min_slices)
    headers = rest.series.instances_tags(series, [key.replace(",", "-") for key in LONG_TAGS])
    # 1.10.1 takes the ID of a patient, a study or an instance here, and answers for all that is below it.
    below = {str(header.get("0020,000e", "")).strip(" \0") for header in headers.values()}
    if len(below) > 1:
        raise QueryError(f"This is the ID of something that holds {len(below)} series; give one of them.")
    wanted = present(headers, chosen) if chosen else headers
    return stacks_of({each: _with_bytes(rest, each, header) for each, header in wanted.items()}, min_slices=min_slices)


def _with_bytes(rest: Rest, instance: str, header: Mapping[str, Any]) -> Mapping[str, Any]:
    keys = wanted_bytes(header)
    return {**header, **{key: rest.instances.content(instance, key.replace(",", "-")) for key in keys}}


def present(found: Mapping[str, T], chosen: Sequence[str]) -> dict[str, T]:
    """The chosen ones of what was found below a series; `NotFoundError` when some are no longer there."""
    lost = sum(instance not in found for instance in chosen)
    if lost:
        raise NotFoundError(f"{lost} of {len(chosen)} instances are no longer on this Orthanc; find them again.")
    return {instance: found[instance] for instance in chosen}


def series_volume(
    rest: Rest, series: str, chosen: Sequence[str], how: Reading, *, workers: int, verify: bool, progress: Progress
) -> Volume:
    """The one volume of a series, or of the chosen instances of it: one request, and one an instance.

    Where the index says that the slices lie as those of a volume, and the first file is plain, each file is read once,
    its header with its pixels; else, and for what is opted into, the headers come first. Errors as of `stacks` and
    `volume`, the same ones in either way.
    """
    made = _in_one_go(rest, series, chosen, how, workers, verify, progress)
    if made is not None:
        return made
    stack = one_stack(how.stacks(stacks(rest, series, chosen, min_slices=how.min_slices)))
    return volume(rest, stack, how.values, how.dtype, workers=workers, verify=verify, progress=progress)


def _in_one_go(
    rest: Rest, series: str, chosen: Sequence[str], how: Reading, workers: int, verify: bool, progress: Progress
) -> Volume | None:
    if not how.strict:
        return None
    try:
        listed = {
            str(value["ID"]): value.get("MainDicomTags", {}) for value in rest.series.children(series, "Instance")
        }
    except NotFoundError:
        return None  # the headers tell what this ID is
    order = likely_order(present(listed, chosen) if chosen else listed)
    if order is None or len(order) < how.min_slices:
        return None
    first = file(rest, order[0], verify=verify)
    try:
        filler = PlainSeries.like(how, len(order), first)
        if filler is None:
            return None
        progress.total(len(order), "files")
        alike = _each(partial(_put, rest, filler, order, first, verify), range(len(order)), workers, progress)
    except PixelError:
        return None  # the verdict on the whole series comes before what is wrong with the values of one slice
    return filler.volume() if alike else None


def _put(rest: Rest, filler: PlainSeries, order: Sequence[str], first: bytes, verify: bool, place: int) -> bool:
    content = first if place == 0 else file(rest, order[place], verify=verify)
    return filler.put(place, order[place], content)


def _each(work: Callable[[T], bool], units: Sequence[T], workers: int, progress: Progress) -> bool:
    """Do all of them; False as soon as one says so. `CancelledError` when the user asked to stop."""
    done = 0
    with closing(thread_map(work, units, workers=workers, progress=progress, fatal=(Exception,))) as outcomes:
        for outcome in outcomes:
            if not outcome.get():
                return False
            done += 1
            progress.advance()
    if done < len(units):
        raise CancelledError("Reading was stopped on request; there is no volume.")
    return True


def volume(
    rest: Rest,
    stack: Stack,
    values: str,
    dtype: npt.DTypeLike | None,
    *,
    workers: int,
    verify: bool,
    progress: Progress,
) -> Volume:
    """The volume of a stack: one request an instance, decoded on `workers` threads into one array.

    What headers alone refuse is refused before the first request. `CancelledError` when the user asked to stop.
    """
    filler = Filler(stack, values, dtype)
    progress.total(len(stack.files), "files")

    decoder = partial(decode_isolated, view=True, many=len(stack.files) >= _MANY)

    def fill(part: StackFile) -> bool:
        filler.put_file(part, file(rest, part.instance, verify=verify), decoder)
        return True

    _each(fill, stack.files, workers, progress)
    return filler.volume()
