"""Header → frames: the records that everything after this works on.

A frame is one 2-D image with its place in space. A classic file is one frame, a multi-frame file is many; whatever
comes after `frames_of` does not know where a frame came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pydicom import Dataset

from orthanc_research.quiet import quiet

from ._codes import Code
from ._functional import frame_changes
from ._header import Header, header_from_dataset, items, number, numbers, present, text, texts, usable, whole
from ._kinds import float_bits, kind_of, orientation_of, position_of, spacing_of, verdict_of
from ._lut import Lut, modality_lut, rescale_of
from ._mosaic import Mosaic, is_mosaic, mosaic_of
from ._references import Reference, references_of
from ._suv import SuvFacts, suv_facts

__all__ = ["EXTRA_AXES", "Frame", "Window", "frame_like", "frames_of", "tiles_of"]

EXTRA_AXES = ("temporal_position", "b_value", "echo_time", "trigger_time", "acquisition_number")
"""What may tell two slices at one position apart, in the order in which it is asked."""

# name in `extra` → where it is said
_EXTRA = (
    ("inversion_time", "0018,9079"),
    ("inversion_time", "0018,0082"),
    ("flip_angle", "0018,1314"),
    ("time_offset", "0020,930d"),
    ("frame_reference_time", "0054,1300"),
    ("acquisition_time", "0008,0032"),
)

# Complex Image Component (PS3.3 C.8.13.3.1.1), and how vendors write it from value 3 of ImageType on
_COMPONENTS = {
    "M": "magnitude",
    "MAGNITUDE": "magnitude",
    "P": "phase",
    "PHASE": "phase",
    "PHASE MAP": "phase",
    "R": "real",
    "REAL": "real",
    "I": "imaginary",
    "IMAGINARY": "imaginary",
}


@dataclass(frozen=True, slots=True)
class Window:
    """One VOI window (PS3.3 C.11.2.1.2), of the rescaled values; `function` is LINEAR, LINEAR_EXACT or SIGMOID."""

    centre: float
    width: float
    explanation: str = field(default="", repr=False)
    function: str = "LINEAR"


@dataclass(frozen=True, slots=True)
class Frame:
    """One 2-D image as its header describes it. Geometry in mm, LPS (PS3.3 C.7.6.2); None is absent or unusable.

    `position` is the centre of the first pixel; `orientation` the direction of growing column index, then of growing
    row index; `spacing` (between rows, between columns). `slope` and `intercept` are NaN when present and not a number.
    `code` is "ok", or why this frame alone can be in no volume, and `reason` says so in a sentence.
    `instance` is Orthanc's ID ("" for a file), `index` the frame's place in its file, from 0.
    `image_type` is Frame Type where there is one. `float_bits` is 32 or 64 for float pixels, else 0.
    `component` of an MR image is "magnitude", "phase", "real", "imaginary" or "". `extra` holds further (name, number)
    pairs that may tell frames at one position apart: dimension indices, time slots, `frame_time` in ms.
    `references` are what an object that is no image, or a dose, points at. `mosaic` says how a mosaic is tiled, when
    that is proven; `tile` is the (row, column) where a frame's pixels start in the image that holds it, for a frame cut
    from a mosaic.
    """

    sop_uid: str
    instance: str
    index: int
    series_uid: str
    sop_class: str
    modality: str
    image_type: tuple[str, ...]
    instance_number: int | None
    frame_of_reference: str
    transfer_syntax: str
    position: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    pixel_representation: int
    frames_in_file: int
    slope: float | None
    intercept: float | None
    units: str
    modality_lut: bool
    temporal_position: float | None
    b_value: float | None
    echo_time: float | None
    trigger_time: float | None
    acquisition_number: float | None
    code: Code
    reason: str
    float_bits: int = 0
    component: str = ""
    stack_id: str = ""
    extra: tuple[tuple[str, float], ...] = ()
    windows: tuple[Window, ...] = ()
    lossy: bool = False
    lut: Lut | None = None
    suv: SuvFacts | None = None
    references: tuple[Reference, ...] = ()
    mosaic: Mosaic | None = None
    tile: tuple[int, int] | None = None

    @property
    def dtype(self) -> np.dtype[np.generic] | None:
        """The type of the stored values, from the header alone; None for what numpy has no type for.

        Integers by BitsAllocated and PixelRepresentation, float32 and float64 for float pixel data.
        """
        if self.float_bits:
            return np.dtype(f"f{self.float_bits // 8}")
        if self.bits_allocated not in (8, 16, 32) or self.pixel_representation not in (0, 1):
            return None
        return np.dtype(f"{'ui'[self.pixel_representation]}{self.bits_allocated // 8}")

    def __repr__(self) -> str:
        return f"<Frame {self.sop_uid}[{self.index}] {self.rows}x{self.columns} {self.code}>"


@quiet()
def frames_of(header: Header | Dataset, instance: str = "") -> list[Frame]:
    """The frames of one instance, as many as its file holds, from a Dataset or from Orthanc's short tags.

    Never empty, never raises on values: one frame with the code "bad-header" stands for a file whose frames cannot be
    told apart. A mosaic is one frame.
    """
    if isinstance(header, Dataset):
        header = header_from_dataset(header)
    base, changes, wrong = frame_changes(header)
    references = references_of(header) if kind_of(header) or text(header, "0008,0060") == "RTDOSE" else ()
    made: list[Frame] = []
    known = _extra(base)
    for index, change in enumerate(changes):
        if made and change.keys() <= {"extra"}:  # a frame of a cine, and there may be thousands
            made.append(replace(made[0], index=index, extra=(*change.get("extra", ()), *known)))
        else:
            made.append(_frame({**base, **change}, instance, index, wrong, references))
    return made


def frame_like(frame: Frame, header: Header, changed: Collection[str], instance: str) -> Frame | None:
    """The frame of a header that differs from that of `frame`, the only one of its file, under these keys alone.

    None where that is more than one field each, and `frames_of` has to tell.
    """
    if frame.code != "ok" or frame.suv is not None or frame.mosaic is not None or not _OWN.keys() >= set(changed):
        return None
    own = {name: said(header) for name, said in {_OWN[key] for key in changed}}
    if own.get("position", ()) is None or own.get("sop_uid") == "":
        return None
    return replace(frame, instance=instance, **own)


def tiles_of(frame: Frame) -> list[Frame]:
    """A frame for every slice of a proven mosaic; the frame itself when there is nothing to cut."""
    mosaic = frame.mosaic
    if mosaic is None:
        return [frame]
    places = (divmod(k, mosaic.across) for k in range(len(mosaic.positions)))
    return [
        replace(
            frame,
            rows=mosaic.rows,
            columns=mosaic.columns,
            position=position,
            tile=(down * mosaic.rows, right * mosaic.columns),
            mosaic=None,
            code="ok",
            reason="",
        )
        for position, (down, right) in zip(mosaic.positions, places, strict=True)
    ]


def _frame(header: Header, instance: str, index: int, wrong: str, references: tuple[Reference, ...]) -> Frame:
    tiled = is_mosaic(header)
    code, reason = verdict_of(header, tiled, wrong)
    slope, intercept, units = rescale_of(header)
    return Frame(
        sop_uid=_sop_uid(header),
        instance=instance,
        index=index,
        series_uid=text(header, "0020,000e"),
        sop_class=text(header, "0008,0016"),
        modality=text(header, "0008,0060"),
        image_type=texts(header, "0008,0008"),
        instance_number=_instance_number(header),
        frame_of_reference=text(header, "0020,0052"),
        transfer_syntax=text(header, "0002,0010"),
        position=position_of(header),
        orientation=orientation_of(header),
        spacing=spacing_of(header),
        rows=max(whole(header, "0028,0010") or 0, 0),
        columns=max(whole(header, "0028,0011") or 0, 0),
        samples=max(whole(header, "0028,0002") or 0, 0),
        photometric=text(header, "0028,0004"),
        bits_allocated=max(whole(header, "0028,0100") or 0, 0),
        bits_stored=max(whole(header, "0028,0101") or 0, 0),
        pixel_representation=_or(whole(header, "0028,0103"), -1),
        frames_in_file=_or(whole(header, "0028,0008"), 1),
        slope=slope,
        intercept=intercept,
        units=_units(header, slope, intercept, units),
        modality_lut=present(header, "0028,3000"),
        temporal_position=_first(header, "0020,9128", "0020,0100"),
        b_value=_b_value(header),
        echo_time=_first(header, "0018,9082", "0018,0081"),
        trigger_time=_first(header, "0020,9153", "0018,1060"),
        acquisition_number=_acquisition_number(header),
        code=code,
        reason=reason,
        float_bits=float_bits(header),
        component=_component(header),
        stack_id=text(header, "0020,9056"),
        extra=_extra(header),
        windows=_windows(header),
        lossy=text(header, "0028,2110") == "01",
        lut=modality_lut(header),
        suv=suv_facts(header),
        references=references,
        mosaic=mosaic_of(header) if tiled and verdict_of(header, False)[0] in ("ok", "no-geometry") else None,
    )


def _units(header: Header, slope: float | None, intercept: float | None, units: str) -> str:
    """The Real World Value units, when they are of the same numbers as the rescale (PS3.3 C.7.6.16.2.11)."""
    mapped = next(iter(items(header, "0040,9096")), header)
    named = text(next(iter(items(mapped, "0040,08ea")), {}), "0008,0100")
    line = number(mapped, "0040,9225"), number(mapped, "0040,9224")
    same = all(
        value is not None and math.isclose(value, other, rel_tol=1e-6, abs_tol=1e-12)
        for value, other in zip(line, (_or_float(slope, 1.0), _or_float(intercept, 0.0)), strict=True)
    )
    return named if named and same and units in ("", "US") else units


def _component(header: Header) -> str:
    said = text(header, "0008,9208") or next(
        (part for part in texts(header, "0008,0008")[2:] if part in _COMPONENTS and text(header, "0008,0060") == "MR"),
        "",
    )
    return _COMPONENTS.get(said, "")


def _extra(header: Header) -> tuple[tuple[str, float], ...]:
    """What no other field says, most telling first."""
    found = [(name, usable(header, key)) for name, key in _EXTRA]
    return (*header.get("extra", ()), *((name, value) for name, value in found if value is not None))


def _windows(header: Header) -> tuple[Window, ...]:
    centres, widths = numbers(header, "0028,1050") or (), numbers(header, "0028,1051") or ()
    said = texts(header, "0028,1055")
    function = text(header, "0028,1056") or "LINEAR"
    return tuple(
        Window(centre, width, said[k] if k < len(said) else "", function)
        for k, (centre, width) in enumerate(zip(centres, widths, strict=False))
        if math.isfinite(centre) and math.isfinite(width) and width > 0
    )


def _b_value(header: Header) -> float | None:
    """DiffusionBValue, or where Siemens and GE keep it; GE adds 10⁹ to it."""
    standard = usable(header, "0018,9087")
    if standard is not None:
        return standard
    if text(header, "0019,0010") == "SIEMENS MR HEADER":
        return usable(header, "0019,100c")
    value = usable(header, "0043,1039") if text(header, "0043,0010") == "GEMS_PARM_01" else None
    return None if value is None else value % 1e9


def _first(header: Header, *keys: str) -> float | None:
    """The first of these elements that holds a number; the enhanced one before the classic one."""
    return next((value for key in keys if (value := usable(header, key)) is not None), None)


def _acquisition_number(header: Header) -> float | None:
    return _first(header, "0020,9156", "0020,0012")


def _sop_uid(header: Header) -> str:
    return text(header, "0008,0018")


def _instance_number(header: Header) -> int | None:
    value = usable(header, "0020,0013")
    return None if value is None else int(value)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _or_float(value: float | None, default: float) -> float:
    return default if value is None else value


# What slices of one series differ in, and a frame has in a field that nothing else depends on.
_OWN: Mapping[str, tuple[str, Callable[[Header], Any]]] = {
    "0008,0018": ("sop_uid", _sop_uid),
    "0020,0013": ("instance_number", _instance_number),
    "0020,0012": ("acquisition_number", _acquisition_number),
    "0020,0032": ("position", position_of),
    **dict.fromkeys(("0028,1050", "0028,1051", "0028,1055"), ("windows", _windows)),
    **dict.fromkeys((key for _, key in _EXTRA), ("extra", _extra)),
}
