"""Files read once, header and pixels together: the same frames and volumes as by the headers, or the headers' way."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import as_file
from hypothesis import given
from hypothesis import strategies as st
from pixel_cases import Each, make_enhanced, make_series, make_slice, sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.pixels import (
    PlainFiles,
    PlainSeries,
    Reading,
    Volume,
    decode,
    frames_of,
    header_from_dataset,
    likely_order,
    one_stack,
    pixels_of,
    read_dataset,
    stacks_of,
    volume_from,
)
from orthanc_research.pixels._series import _reorder


def same(one: Volume, other: Volume) -> bool:
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_array_equal(one.affine, other.affine)
    names = [name for name in Volume.__slots__ if name not in ("array", "affine")]
    return [getattr(one, name) for name in names] == [getattr(other, name) for name in names]


def check_file(content: bytes) -> bool:
    """Whether the file is plain; if so, it must give pydicom's frame and values."""
    found = PlainFiles().read(content)
    if found is None:
        return False
    assert found.frames == frames_of(read_dataset(content))
    np.testing.assert_array_equal(found.values, decode(read_dataset(content)))
    return True


def test_pydicoms_files_have_the_same_frames_either_way(ct_small: Path) -> None:
    files = [path for path in sorted(ct_small.parent.rglob("*")) if path.is_file() and path.stat().st_size < 1_000_000]
    contents = (path.read_bytes() for path in files)
    assert sum(check_file(content) for content in contents if content[128:132] == b"DICM") >= 2


def test_real_files_have_the_same_frames_either_way(realdata: Path) -> None:
    plain = 0
    for folder in (
        "ct-pet-mr-rtstruct",
        "mini-volumes",
        "mr-ge-fmri-4d",
        "cr-mg-dx",
        "malformed-and-odd",
        "private-tags-uih-grid",
    ):
        for path in sorted((realdata / folder).rglob("*"))[::3]:
            if path.is_file() and path.stat().st_size < 4_000_000:
                plain += check_file(path.read_bytes())
    assert plain > 60


def test_a_number_that_cannot_be_read_is_not_taken_as_absent() -> None:
    """It would be intercept 0, and nobody would know. A server's answer has null for what is binary."""
    content = as_file(make_slice())
    for number, key, name in ((b"R", "0028,1052", "intercept"), (b"S", "0028,1053", "slope")):
        at = content.index(b"(\0" + number + b"\x10DS")
        length = int.from_bytes(content[at + 6 : at + 8], "little")
        value = content[at + 8 : at + 8 + length]
        sequences = [(b"SQ", 0, b""), (b"SQ", 0xFFFFFFFF, b"\xfe\xff\xdd\xe0\0\0\0\0")]
        for vr, size, written in (*sequences, (b"OB", length, value)):
            head = content[: at + 4] + vr + b"\0\0" + size.to_bytes(4, "little")
            changed = head + written + content[at + 8 + length :]
            assert decode(changed).shape == (1, 6, 5)
            assert not check_file(changed) or vr == b"OB"
            header = header_from_dataset(read_dataset(changed))
            for read in (header, {**header, key: None}):
                (frame,) = frames_of(read)
                assert np.isnan(getattr(frame, name))
            with pytest.raises(errors.PixelError, match="cannot be right"):
                pixels_of(changed, "rescaled")
    assert check_file(content)


def test_what_points_at_others_is_left_to_pydicom() -> None:
    """The walk passes over sequences, and a dose, a segmentation, a report are of the images that these name."""
    named = sequence(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID="1.2.3")
    for modality in ("RTDOSE", "SEG", "SR", "PR"):
        assert not check_file(as_file(make_slice(Modality=modality, ReferencedImageSequence=named)))
    assert check_file(as_file(make_slice(ReferencedImageSequence=named)))


@given(st.permutations(range(9)))
def test_an_array_is_reordered_in_place(order: list[int]) -> None:
    array = np.arange(9 * 4).reshape(9, 2, 2)
    expected = array[order]
    _reorder(array, order)
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("values", "dtype"), [("stored", None), ("rescaled", None), ("stored", "int32"), ("rescaled", "int16")]
)
def test_a_wrong_order_of_arrival_does_no_harm(values: str, dtype: str | None) -> None:
    datasets = make_series(7, RescaleSlope="2", RescaleIntercept="-5")
    how = Reading(values=values, dtype=dtype)
    expected = volume_from(
        one_stack(stacks_of(datasets)), [(str(d.SOPInstanceUID), decode(d)) for d in datasets], values, dtype
    )
    random.Random(4).shuffle(datasets)
    contents = [as_file(dataset) for dataset in datasets]
    filler = PlainSeries.like(how, 7, contents[0])
    assert filler is not None
    assert all(filler.put(place, f"id-{place}", content) for place, content in enumerate(contents))
    assert same(filler.volume(), expected)


def test_what_is_unlike_the_first_or_missing_or_no_volume_is_refused() -> None:
    contents = [as_file(dataset) for dataset in make_series(4)]
    filler = PlainSeries.like(Reading(), 4, contents[0])
    assert filler is not None
    assert not filler.put(0, "a", as_file(make_slice(0, np.zeros((4, 9), np.int16))))
    assert not filler.put(0, "a", as_file(make_slice(0, np.zeros((5, 6), np.uint16))))
    assert (
        PlainSeries.like(
            Reading(), 4, as_file(make_enhanced(np.zeros((3, 4, 5), np.uint16), [[0, 0, 2.5 * k] for k in range(3)]))
        )
        is None
    )
    assert filler.put(0, "a", contents[0])
    with pytest.raises(errors.PixelError, match="twice"):
        filler.put(0, "a", contents[0])
    with pytest.raises(errors.PixelError, match="did not come"):
        filler.volume()
    for place in (1, 2, 3):
        filler.put(place, "bcd"[place - 1], contents[min(place, 2)])  # the third is there twice
    with pytest.raises(errors.GeometryError):
        filler.volume()
    with pytest.raises(errors.PixelError):
        PlainSeries.like(Reading(values="suv"), 4, contents[0])


def listed(*positions: float, **tags: str) -> dict[str, dict[str, str]]:
    return {
        f"id-{k}": {"ImagePositionPatient": f"0\\0\\{z}", "ImageOrientationPatient": "1\\0\\0\\0\\1\\0", **tags}
        for k, z in enumerate(positions)
    }


def test_the_index_says_what_looks_like_a_volume() -> None:
    assert likely_order(listed(5, 0, 2.5)) == ["id-1", "id-2", "id-0"]
    assert likely_order(listed(0, 2.5, 2.51)) is None
    assert likely_order(listed(0, 2.5, 7.5)) is None
    assert likely_order(listed(0, 0)) is None
    assert likely_order(listed(0, 2.5, NumberOfFrames="3")) is None
    assert likely_order(listed(0)) is None
    assert likely_order({}) is None
    assert likely_order({**listed(0, 2), "id-9": {}}) is None
    leaning = listed(0, 2, 4)
    for k, tags in enumerate(leaning.values()):
        tags["ImagePositionPatient"] = f"0\\{k * 0.1}\\{k * 2}"
    assert likely_order(leaning) is None
    turned = listed(0, 2, 4)
    turned["id-2"]["ImageOrientationPatient"] = "1\\0\\0\\0\\0\\1"
    assert likely_order(turned) is None


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "signed": {"RescaleSlope": "0.5", "RescaleIntercept": "-1024"},
    "inverted": {"PhotometricInterpretation": "MONOCHROME1"},
}


@pytest.mark.parametrize("case", CASES)
def test_a_series_is_read_once_and_gives_what_its_stack_gives(orthanc: ores.Orthanc, case: str) -> None:
    orthanc.upload(make_series(6, **CASES[case]), progress=False)
    series = orthanc.series()
    for options in ({}, {"values": "rescaled"}, {"verify": True}):
        with orthanc.rest.counting() as requests:
            volume = orthanc.volume(series, **options)
        assert len(requests) == 7
        assert not [target for _, target in requests if "instances-tags" in target]
        assert same(volume, orthanc.volume(one_stack(orthanc.stacks(series)), **options))


WRONG: dict[str, dict[str, Any]] = {
    "a group of its own": {"PixelSpacing": Each([0.8, 0.7], [0.8, 0.7], [0.9, 0.7], [0.8, 0.7])},
    "another frame of reference": {"FrameOfReferenceUID": Each("1.2", "1.2", "1.2.3", "1.2")},
    "off the line": {"ImagePositionPatient": Each([0, 0, 0], [0, 0.5, 1], [0, 0, 2], [0, 0, 3])},
    "two units": {"RescaleType": Each("HU", "HU", "US", "HU")},
    "a slope of 0": {"RescaleSlope": Each("1", "1", "0", "1")},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_refused_is_refused_as_by_its_headers(orthanc: ores.Orthanc, wrong: str) -> None:
    """Whatever else is wrong with the values of a slice, the verdict on the series comes first."""
    orthanc.upload(make_series(4, **WRONG[wrong]), progress=False)
    series = orthanc.series()
    choices: tuple[dict[str, Any], ...] = ({"values": "rescaled"}, {"dtype": "uint8"}, {"values": "suv"})
    for options in choices:
        said = []
        for read in (series, None):
            with pytest.raises(errors.Error) as caught:
                orthanc.volume(one_stack(orthanc.stacks(series)) if read is None else read, **options)
            said.append((type(caught.value), str(caught.value)))
        assert said[0] == said[1]


def test_files_of_one_series_may_be_written_in_any_syntax(orthanc: ores.Orthanc) -> None:
    """The first slices plain, the next ones not: the series is read again by its headers, and is the same volume."""
    ramp = np.arange(48 * 40, dtype=np.int16).reshape(48, 40)
    datasets = [make_slice(k, ramp * 7 % 1000 - 300 + k, RescaleSlope=k + 1) for k in range(5)]
    (stack,) = stacks_of(datasets)
    expected = volume_from(stack, [(str(d.SOPInstanceUID), decode(d)) for d in datasets], "rescaled")
    datasets[1].file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    big = datasets[2]
    big.PixelData = np.frombuffer(big.PixelData, "<i2").astype(">i2").tobytes()
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    for place, syntax in ((3, "1.2.840.10008.1.2.5"), (4, "1.2.840.10008.1.2.4.90")):
        datasets[place].compress(syntax, generate_instance_uid=False)
    orthanc.upload(datasets, progress=False)
    for verify in (False, True):
        volume = orthanc.volume(orthanc.series(), "rescaled", verify=verify)
        np.testing.assert_array_equal(volume.array, expected.array)
        assert volume.sop_uids == expected.sop_uids


def test_what_is_not_plain_is_read_by_its_headers(orthanc: ores.Orthanc) -> None:
    scout = make_slice(9, np.zeros((7, 8), np.int16), SOPInstanceUID="1.2.9.9", ImagePositionPatient=[0, 0, 4 * 2.5])
    datasets = make_series(4)
    datasets[2].compress("1.2.840.10008.1.2.5")
    orthanc.upload([*datasets, *make_series(4, SeriesInstanceUID="1.2.77"), scout], progress=False)
    packed = orthanc.series(SeriesInstanceUID=str(datasets[0].SeriesInstanceUID))
    with pytest.raises(errors.GeometryError) as by_volume:
        orthanc.volume(packed)
    with pytest.raises(errors.GeometryError) as by_stacks:
        one_stack(orthanc.stacks(packed))
    assert str(by_volume.value) == str(by_stacks.value)
    chosen = orthanc.instances(within=packed)
    four = chosen[chosen["SOPInstanceUID"] != "1.2.9.9"]
    (found,) = orthanc.volumes(four, progress=False)
    assert found.volume is not None
    (stack,) = stacks_of(datasets)
    expected = volume_from(stack, [(str(d.SOPInstanceUID), decode(d)) for d in datasets])
    np.testing.assert_array_equal(found.volume.array, expected.array)
    assert found.volume.sop_uids == expected.sop_uids
