"""The walk to the pixels of a plain file says what pydicom says, or leaves the file to pydicom."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from dicom_files import as_file
from hypothesis import given, settings
from hypothesis import strategies as st
from pixel_cases import make_slice
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from orthanc_research.errors import PixelError
from orthanc_research.pixels import _decode, decode, read_dataset
from orthanc_research.pixels._native import plain

NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
NOT_DICOM = {".json", ".txt", ".md", ".gz", ".nii", ".csv", ".raw"}


def by_pydicom(content: bytes) -> npt.NDArray[Any]:
    """The values by the elements that pydicom parsed: PS3.5 section 8.1.1, in Python's arithmetic."""
    dataset = read_dataset(content)
    shape = int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns)
    bits, stored, high = int(dataset.BitsAllocated), int(dataset.BitsStored), int(dataset.HighBit)
    words = np.frombuffer(dataset.PixelData, f"<u{bits // 8}", int(np.prod(shape))).astype(np.int64)
    values = (words >> (high + 1 - stored)) % 2**stored
    if dataset.PixelRepresentation:
        values = np.where(values >= 2 ** (stored - 1), values - 2**stored, values)
    array: npt.NDArray[Any] = values.reshape(shape).astype(f"{'ui'[dataset.PixelRepresentation]}{bits // 8}")
    return array


def encoded(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return as_file(dataset)


def check(content: bytes) -> bool:
    """Whether the file is plain; then it must be exactly what pydicom and our own slow way make of it."""
    if plain(content) is None:
        return False
    array = decode(content)
    np.testing.assert_array_equal(array, by_pydicom(content))
    slow = _decode._decode(read_dataset(content), "")
    assert (array.dtype, array.shape, array.flags.writeable) == (slow.dtype, slow.shape, True)
    np.testing.assert_array_equal(array, slow)
    return True


def test_every_file_of_pydicom_is_what_pydicom_reads(ct_small: Path) -> None:
    assert sum(check(path.read_bytes()) for path in sorted(ct_small.parent.glob("*.dcm"))) > 3


def test_every_real_file_is_what_pydicom_reads(realdata: Path) -> None:
    walked = 0
    for path in sorted(realdata.rglob("*")):
        if path.is_file() and path.suffix not in NOT_DICOM and path.stat().st_size < 3_000_000:
            walked += check(path.read_bytes())
    assert walked > 500


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("stored", [1, 8, 12, 13, 16])
@pytest.mark.parametrize("signed", [0, 1])
def test_sign_masks_and_shifts_are_right(syntax: str, stored: int, signed: int) -> None:
    rng = np.random.default_rng(stored)
    for high in range(stored - 1, 16):
        made = make_slice(0, rng.integers(0, 2**16, (5, 7), dtype=np.uint16))
        made.BitsStored, made.HighBit, made.PixelRepresentation = stored, high, signed
        assert check(encoded(made, syntax))


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_odd_lengths_frames_and_types_are_right(syntax: str, dtype: str) -> None:
    for frames in (1, 3):
        array = np.random.default_rng(1).integers(0, 100, (frames, 3, 5)).astype(dtype)
        made = make_slice(0, array[0])
        bits = array.dtype.itemsize * 8
        made.NumberOfFrames, made.BitsAllocated, made.BitsStored, made.HighBit = frames, bits, bits, bits - 1
        made.PixelRepresentation = int(array.dtype.kind == "i")
        data = array.tobytes()
        made.PixelData = data + b"\0" * (len(data) % 2)
        made["PixelData"].VR = "OW" if bits > 8 or syntax == ImplicitVRLittleEndian else "OB"
        content = encoded(made, syntax)
        assert check(content)
        np.testing.assert_array_equal(decode(content), array)


def odd(**changes: Any) -> bytes:
    made = make_slice(0)
    for keyword, value in changes.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return encoded(made)


def test_whatever_is_unusual_is_left_to_pydicom() -> None:
    usual = as_file(make_slice(0))
    assert plain(usual) is not None
    pixels = make_slice(0).PixelData
    unusual = {
        "no preamble": usual[132:],
        "cut": usual[:-2],
        "something behind": usual + b"\0\0",
        "padding behind": usual + struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 0),
        "more pixels": odd(PixelData=pixels + pixels),
        "fewer pixels": odd(PixelData=pixels[:-2]),
        "colour": odd(PhotometricInterpretation="RGB", SamplesPerPixel=3),
        "palette": odd(PhotometricInterpretation="PALETTE COLOR"),
        "no photometric": odd(PhotometricInterpretation=None),
        "no sign": odd(PixelRepresentation=None),
        "no high bit": odd(HighBit=None),
        "a high bit too low": odd(HighBit=3),
        "no bits": odd(BitsStored=0, HighBit=0),
        "12 bits allocated": odd(BitsAllocated=12),
        "no frames": odd(NumberOfFrames=0),
        "no rows": odd(Rows=0),
        "no pixels": odd(PixelData=None),
        "twice": usual[: usual.index(b"\x28\0\x10\0US")] + usual[usual.index(b"\x28\0\x02\0US") :],
        "an unknown VR": usual.replace(b"\x28\0\x10\0US", b"\x28\0\x10\0UX"),
        "another VR": usual.replace(b"\x28\0\x10\0US", b"\x28\0\x10\0SS"),
        "nothing": b"",
        "a preamble": b"\0" * 128 + b"DICM",
        "big endian": encoded(make_slice(0), ExplicitVRBigEndian),
    }
    for name, content in unusual.items():
        assert plain(content) is None, name
        with suppress(PixelError):
            decode(content)


# -- any header -------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\"), max_size=9)


@st.composite
def items(draw: st.DrawFn, depth: int = 0) -> Dataset:
    item = Dataset()
    item.is_undefined_length_sequence_item = draw(st.booleans())
    for number in draw(st.sets(st.integers(1, 6), max_size=4)):
        element(draw, item, 0x0008, number, depth)
    return item


def element(draw: st.DrawFn, dataset: Dataset, group: int, number: int, depth: int) -> None:
    """One element of some VR, with a tag of its own."""
    kind = draw(st.sampled_from(["LO", "UT", "UN", "OB", "OW", "DS", "FD", "AT", "US", "SQ"][: 10 if depth < 3 else 9]))
    tag = (group << 16) + 0x0F00 + 0x10 * number
    value: Any = draw(texts)
    if kind in ("UN", "OB", "OW"):
        value = draw(st.binary(max_size=9)) + b"\xe0\x7f\x10\x00OW\0\0"
        value += b"\0" * (len(value) % 2)
    elif kind in ("DS", "FD", "US"):
        value = {"DS": "1.5", "FD": 1.5, "US": 7}[kind]
    elif kind == "AT":
        value = 0x7FE00010
    elif kind == "SQ":
        value = Sequence(draw(st.lists(items(depth + 1), max_size=2)))
    dataset.add_new(tag, kind, value)
    if kind == "SQ":
        dataset[tag].is_undefined_length = draw(st.booleans())


@st.composite
def files(draw: st.DrawFn) -> bytes:
    made = make_slice(0, np.arange(6, dtype=np.uint16).reshape(2, 3))
    for group in (0x0009, 0x0029, 0x0041, 0x6FFF):
        for number in draw(st.sets(st.integers(1, 6), max_size=3)):
            element(draw, made, group, number, 0)
    return encoded(made, draw(st.sampled_from(NATIVE)))


@settings(max_examples=50)
@given(files())
def test_any_header_is_walked_as_pydicom_reads_it(content: bytes) -> None:
    assert check(content)


@settings(max_examples=100)
@given(files(), st.data())
def test_a_damaged_header_never_gives_other_pixels_than_pydicom(content: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(132, len(content) - 1))
    damaged = bytearray(content)
    damaged[at] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        del damaged[at + 1 : at + 1 + data.draw(st.integers(0, 12))]
    try:
        check(bytes(damaged))
    except PixelError:  # pydicom looks into private sequences, which the walk passes over by their length
        np.testing.assert_array_equal(decode(bytes(damaged)), decode(content))
