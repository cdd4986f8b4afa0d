"""A file that is read by what another has shown of it is read as it would be alone."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from dicom_files import as_file
from hypothesis import given, settings
from hypothesis import strategies as st
from pixel_cases import Each, make_series, make_slice
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from test_pixels_native import NOT_DICOM, encoded, files

from orthanc_research.pixels import PlainFile, PlainFiles, _alike, _native, frames_of

PLACES = {0x00080005, 0x00100010, 0x00201041}


def facts(found: PlainFile | None) -> Any:
    """All that was read, in a form in which NaN is NaN."""
    if found is None:
        return None
    values = found.values
    frames = [repr(dataclasses.astuple(frame)) for frame in found.frames]  # SuvFacts would not show what it holds
    return dict(found.header), list(found.header), frames, dict(found.elements), values.dtype, values.tobytes()


def check(contents: Iterable[bytes]) -> int:
    """Read them one after the other, and each alone; how many are plain."""
    together, plain = PlainFiles(PLACES), 0
    for content in contents:
        alone = facts(PlainFiles(PLACES).read(content, "id"))
        assert facts(together.read(content, "id")) == alone
        plain += alone is not None
    return plain


def counted(monkeypatch: pytest.MonkeyPatch, contents: list[bytes]) -> tuple[int, int]:
    """(how many files are walked when all are read together, how many frames are made from the beginning)."""
    with monkeypatch.context() as patched:
        walk, make = Mock(wraps=_native.plain), Mock(wraps=frames_of)
        patched.setattr(_alike, "plain", walk)
        patched.setattr(_alike, "frames_of", make)
        together = PlainFiles()
        assert all(together.read(content) is not None for content in contents)
    return walk.call_count, make.call_count


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_of_a_series_one_file_is_walked(monkeypatch: pytest.MonkeyPatch, syntax: str) -> None:
    """Lengths that differ (UIDs, numbers, places) move what follows, and values that differ are read anew."""
    datasets = make_series(40, AcquisitionTime="101112.5")
    for number, made in enumerate(datasets):
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{7**number}")
        made.InstanceNumber = number * 7
        made.WindowCenter, made.WindowWidth = 40 + 3 * number, 400
        made.add_new(0x00091001, "LO", "x" * (number % 5))
        if number % 2:
            made.AcquisitionTime = f"1011{number:02}"
    contents = [encoded(made, syntax) for made in datasets]
    assert check(contents) == 40
    assert counted(monkeypatch, contents) == (1, 1)


def test_what_differs_in_more_is_read_as_if_it_were_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slopes, units, sizes, bits, kinds, places that are none: each is seen, after the usual one and before it."""
    usual = make_slice(0, RescaleSlope="2", RescaleIntercept="-5", RescaleType="HU")
    changes: dict[str, Any] = {
        "RescaleSlope": "3",
        "RescaleIntercept": "1e999",
        "RescaleType": "US",
        "SOPInstanceUID": "",
        "ImagePositionPatient": None,
        "ImageOrientationPatient": [0, 1, 0, 1, 0, 0],
        "PixelSpacing": [9, 9],
        "BitsStored": 9,
        "HighBit": make_slice(0).HighBit - 1,
        "PixelRepresentation": 1 - make_slice(0).PixelRepresentation,
        "PhotometricInterpretation": "MONOCHROME1",
        "Modality": "RTDOSE",
        "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
        "FrameOfReferenceUID": "1.2.3.4",
        "SpecificCharacterSet": "ISO_IR 100",
    }
    contents = [as_file(usual)]
    for keyword, value in changes.items():
        other = make_slice(0, RescaleSlope="2", RescaleIntercept="-5", RescaleType="HU")
        setattr(other, keyword, value)
        if keyword == "BitsStored":
            other.HighBit = 8
        contents += [as_file(other), as_file(usual)]
    assert len(set(contents)) == len(changes) + 1
    check(contents)
    for content in contents[1::2]:
        check([content, contents[0], content])
    whole = as_file(usual)
    assert check([whole, whole[:-2], whole + b"\0\0", whole[:-2] + b"\0" * 4, whole]) == 2  # heads are the same in each
    longer = [as_file(make_slice(0, np.zeros((rows, 5), np.int16))) for rows in (6, 7, 6)]
    assert check(longer) == 3


def test_the_times_of_pet_are_each_files_own() -> None:
    """They are facts of SUV too, and not the frame's alone."""
    acquired, reference = Each("101112", "101115", "101118"), Each("0", "3000", "6000")
    made = make_series(3, Modality="PT", Units="GML", AcquisitionTime=acquired, FrameReferenceTime=reference)
    contents = [as_file(each) for each in made]
    assert check(contents) == 3


def test_sequences_move_what_follows_as_well() -> None:
    contents = []
    for number in range(6):
        made = make_slice(number)
        item = Dataset()
        item.ReferencedSOPInstanceUID = f"1.2.{7**number}"
        item.is_undefined_length_sequence_item = number % 2 == 1
        made.ReferencedImageSequence = Sequence([item] * (1 + number // 4))
        made["ReferencedImageSequence"].is_undefined_length = number % 2 == 1
        contents.append(as_file(made))
    assert check(contents) == 6
    assert check(contents[1::2] + contents[::2]) == 6
    usual = contents[1]
    for end in (b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"):  # what ends an item or a sequence has no length
        odd = usual.replace(end + b"\0\0\0\0", end + b"\2\0\0\0\0\0", 1)
        assert odd != usual
        assert check([usual, odd, usual]) == 2


def test_every_file_of_pydicom_is_read_as_if_it_were_alone(ct_small: Path) -> None:
    contents = [path.read_bytes() for path in sorted(ct_small.parent.glob("*.dcm"))]
    assert check(content for content in contents if len(content) < 1_000_000) > 1


def test_real_series_are_read_as_if_each_file_were_alone(realdata: Path) -> None:
    folders = defaultdict(list)
    for path in sorted(realdata.rglob("*")):
        if path.is_file() and path.suffix not in NOT_DICOM and path.stat().st_size < 1_500_000:
            folders[path.parent].append(path)
    read = sum(check(path.read_bytes() for path in paths[:60]) for paths in folders.values())
    assert read > 300


@settings(max_examples=60)
@given(st.lists(files(), min_size=2, max_size=4))
def test_any_files_are_read_as_if_alone(contents: list[bytes]) -> None:
    assert check(contents) >= 2


@settings(max_examples=200)
@given(files(), st.data())
def test_damaged_files_are_read_as_if_alone(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(content)
    at = data.draw(st.integers(128, len(content) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, 12))
    if data.draw(st.booleans()):
        del damaged[at + 1 : at + 1 + cut]
    elif data.draw(st.booleans()):
        damaged[at:at] = data.draw(st.binary(max_size=12))
    check([content, bytes(damaged), content])
    check([bytes(damaged), content])
