"""The same synthetic files through pydicom, dicom-numpy, highdicom and nibabel: where they speak, they say the same.

And through servers: what is read of a server is what is read of its files.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import dicom_numpy
import highdicom
import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from dicom_files import as_file
from pixel_cases import (
    LEGACY_CT,
    PARAMETRIC_MAP,
    PT,
    Each,
    as_short_tags,
    columns_of,
    item,
    make_dose,
    make_enhanced,
    make_mosaic,
    make_nuclear,
    make_series,
    make_slice,
)
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.pixels.processing import apply_modality_lut, convert_color_space
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless
from stock import put

import orthanc_research as ores
from orthanc_research.errors import GeometryError, PixelError
from orthanc_research.pixels import Filler, Volume, arrange, decode, one_stack, stacks_of
from orthanc_research.rest import Rest


def turned(a: float, b: float) -> tuple[list[float], npt.NDArray[np.float64]]:
    """An orientation, and its normal."""
    row = np.array([math.cos(a), math.sin(a), 0.0])
    column = np.array([-math.sin(a) * math.cos(b), math.cos(a) * math.cos(b), math.sin(b)])
    return [round(float(v), 12) for v in (*row, *column)], np.cross(row, column)


def series(count: int = 5, gap: float = 2.5, a: float = 0.0, b: float = 0.0, **changes: Any) -> list[Dataset]:
    orientation, normal = turned(a, b)
    corners = [[round(float(v), 9) for v in np.array([-40.0, 30.0, 5.0]) + k * gap * normal] for k in range(count)]
    return make_series(
        count, **{"ImagePositionPatient": Each(*corners), "ImageOrientationPatient": orientation, **changes}
    )


def renamed(datasets: list[Dataset], end: str) -> list[Dataset]:
    """The same in instances of their own; what is there twice stays there twice."""
    made = copy.deepcopy(datasets)
    for each in made:
        each.SOPInstanceUID = each.file_meta.MediaStorageSOPInstanceUID = UID(f"{each.SOPInstanceUID}{end}")
    return made


CLASSIC: dict[str, list[Dataset]] = {
    "axial": series(),
    "axial, scanned downwards": series()[::-1],
    "feet first": series(a=math.pi),
    "coronal": series(b=-math.pi / 2),
    "sagittal": series(a=math.pi / 2, b=-math.pi / 2),
    "oblique": series(a=0.3, b=0.4),
    "double oblique, thin": series(a=-2.1, b=1.2, gap=0.4),
    "other spacing down and across": series(PixelSpacing=[0.3, 1.7]),
    "unsigned 8 bit": series(array=np.arange(30, dtype=np.uint8).reshape(6, 5)),
    "signed 8 bit": series(array=np.arange(-15, 15, dtype=np.int8).reshape(6, 5)),
    "unsigned 16 bit": series(array=np.full((6, 5), 65535, np.uint16)),
    "signed 16 bit": series(array=np.full((6, 5), -32768, np.int16)),
    "unsigned 32 bit": series(array=np.full((6, 5), 2**32 - 1, np.uint32), RescaleIntercept=0),
    "signed 32 bit": series(array=np.full((6, 5), -(2**31), np.int32)),
    "a slope for each slice": series(RescaleSlope=Each(1, 2, 3, 4, 5)),
    "monochrome 1": series(PhotometricInterpretation="MONOCHROME1"),
    "a slice thickness that is no spacing, a tilt that is none": series(SliceThickness=99, GantryDetectorTilt=18),
    "instance numbers that say another order": series(InstanceNumber=Each(3, 1, 5, 2, 4)),
}


def built(datasets: list[Dataset], values: str = "stored") -> Volume:
    files = {d.SOPInstanceUID: as_file(d) for d in datasets}
    stack = one_stack(arrange(stacks_of(datasets), on_shear="keep"))
    filler = Filler(stack, values)
    for file in stack.files:
        filler.put_file(file, files[file.sop_uid])
    return filler.volume()


@pytest.mark.parametrize("name", CLASSIC)
def test_values_are_pydicoms_and_places_the_headers(name: str) -> None:
    volume = built(CLASSIC[name])
    by_uid = {d.SOPInstanceUID: dcmread(DicomBytesIO(as_file(d))) for d in CLASSIC[name]}
    for k, uid in enumerate(volume.sop_uids):
        np.testing.assert_array_equal(volume.array[k], by_uid[uid].pixel_array)
        assert volume.array.dtype == by_uid[uid].pixel_array.dtype
        np.testing.assert_allclose((volume.affine @ [k, 0, 0, 1])[:3], by_uid[uid].ImagePositionPatient, atol=1e-6)
    rescaled = built(CLASSIC[name], "rescaled")
    assert rescaled.array.dtype == np.float32
    for k, uid in enumerate(rescaled.sop_uids):
        dataset = by_uid[uid]
        expected = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        np.testing.assert_array_equal(rescaled.array[k], expected.astype(np.float32))


@pytest.mark.parametrize("name", CLASSIC)
def test_order_and_affine_are_dicom_numpys(name: str) -> None:
    volume = built(CLASSIC[name])
    theirs, affine = dicom_numpy.combine_slices(CLASSIC[name], rescale=False)
    np.testing.assert_array_equal(volume.array, theirs.transpose(2, 1, 0))
    turn = np.eye(4)[[2, 1, 0, 3]]  # their index is (column, row, slice)
    np.testing.assert_allclose(volume.affine, affine @ turn, atol=1e-6)


@pytest.mark.parametrize("name", CLASSIC)
def test_voxels_are_where_highdicom_puts_them_in_the_reverse_order(name: str) -> None:
    volume = built(CLASSIC[name], "rescaled")
    files = [dcmread(DicomBytesIO(as_file(d))) for d in CLASSIC[name]]
    theirs = highdicom.get_volume_from_series(files, apply_presentation_lut=False)
    again = theirs.match_geometry(_geometry(volume))
    np.testing.assert_array_equal(again.array.astype(np.float32), volume.array)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-5)
    last = volume.shape[0] - 1
    corner = theirs.affine @ [0, 0, 0, 1]
    np.testing.assert_allclose(corner, volume.affine @ [last, 0, 0, 1], atol=1e-6)


def _geometry(volume: Volume) -> highdicom.VolumeGeometry:
    return highdicom.VolumeGeometry(volume.affine, volume.shape, coordinate_system="PATIENT")


@pytest.mark.parametrize("name", CLASSIC)
def test_nibabel_takes_the_array_and_the_ras_affine_as_they_are(name: str) -> None:
    volume = built(CLASSIC[name], "rescaled")
    image: Any = nibabel.Nifti1Image(volume.array, volume.affine_ras)  # type: ignore[no-untyped-call]
    np.testing.assert_allclose(image.header.get_zooms(), np.array(volume.spacing), rtol=1e-6)
    place = image.affine @ [1, 2, 3, 1]
    np.testing.assert_allclose(place[:3] * [-1, -1, 1], (volume.affine @ [1, 2, 3, 1])[:3], atol=1e-9)


ENHANCED: dict[str, Dataset] = {
    "enhanced": make_enhanced((np.arange(4 * 30).reshape(4, 6, 5) - 7).astype(np.int16), columns_of(4)),
    "enhanced, frames out of order": make_enhanced(
        np.arange(4 * 30).reshape(4, 6, 5).astype(np.uint16), [columns_of(4)[k] for k in (2, 0, 3, 1)]
    ),
    "legacy converted": make_enhanced(
        np.arange(3 * 30).reshape(3, 6, 5).astype(np.uint16), columns_of(3, 0.7), SOPClassUID=LEGACY_CT
    ),
}


@pytest.mark.parametrize("name", ENHANCED)
def test_enhanced_files_are_highdicoms_volumes_in_the_reverse_order(name: str) -> None:
    volume = built([ENHANCED[name]])
    image = highdicom.Image.from_dataset(dcmread(DicomBytesIO(as_file(ENHANCED[name]))), copy=False)
    theirs = image.get_volume(apply_modality_transform=False)
    np.testing.assert_array_equal(volume.array, theirs.array[::-1])
    np.testing.assert_allclose(theirs.affine @ [len(volume.array) - 1, 0, 0, 1], volume.affine @ [0, 0, 0, 1])


def packed(syntax: UID) -> list[Dataset]:
    made = series(array=np.arange(-512, 512, dtype=np.int16).reshape(32, 32))
    for each in made:
        each.compress(syntax, generate_instance_uid=False)
    return made


def with_lut(**lut: Any) -> list[Dataset]:
    made = series(array=np.arange(30, dtype=np.uint16).reshape(6, 5), RescaleSlope=None, RescaleIntercept=None)
    for each in made:
        each.ModalityLUTSequence = [item(**lut)]
        each.ModalityLUTSequence[0]["LUTDescriptor"].VR = each.ModalityLUTSequence[0]["LUTData"].VR = "US"
    return made


# What Orthanc's own arrays have wrong, or refuse: each is right here.
PIXELS: dict[str, list[Dataset]] = {
    "12 bits in 16, signed": series(
        array=np.array([[-1, -2048, 2047, 0x7FFF]] * 4, np.int16), BitsStored=12, HighBit=11
    ),
    "overlays in the unused bits": series(array=np.full((6, 5), 0xF123, np.uint16), BitsStored=12, HighBit=11),
    "a Modality LUT": with_lut(LUTDescriptor=[30, 0, 16], ModalityLUTType="US", LUTData=list(range(0, 300, 10))),
    "PET with slopes that are no integers": series(
        SOPClassUID=PT,
        Modality="PT",
        Units="BQML",
        RescaleIntercept=0,
        RescaleSlope=Each(*(0.37 * k for k in range(1, 6))),
    ),
    "JPEG 2000": packed(JPEG2000Lossless),
    "JPEG-LS": packed(JPEGLSLossless),
    "RLE": packed(RLELossless),
    "colour of 16 bits": [make_slice(k, np.full((6, 5, 3), 9000 + k, np.uint16)) for k in range(4)],
    "YBR, uncompressed": [
        make_slice(k, np.full((6, 5, 3), (90 + k, 30, 200), np.uint8), PhotometricInterpretation="YBR_FULL")
        for k in range(4)
    ],
}


def as_pydicom(dataset: Dataset, values: str) -> npt.NDArray[Any]:
    array = pixel_array(dataset, raw=True)
    if dataset.PhotometricInterpretation == "YBR_FULL":
        array = convert_color_space(array, "YBR_FULL", "RGB")
    return array if values == "stored" else apply_modality_lut(array, dataset).astype(np.float32)


@pytest.mark.parametrize("name", PIXELS)
def test_what_servers_get_wrong_is_as_pydicom_has_it(name: str) -> None:
    by_uid = {d.SOPInstanceUID: dcmread(DicomBytesIO(as_file(d))) for d in PIXELS[name]}
    colour = next(iter(by_uid.values())).SamplesPerPixel == 3
    for values in ("stored",) if colour else ("stored", "rescaled"):
        volume = built(PIXELS[name], values)
        for k, uid in enumerate(volume.sop_uids):
            np.testing.assert_allclose(volume.array[k], as_pydicom(by_uid[uid], values), rtol=1e-7)


# Everything else that is made here: the verdict, and nothing is stacked without a word.
OTHER: dict[str, tuple[list[Dataset], str]] = {
    "12 bits stored": (series(BitsStored=12, HighBit=11), "ok"),
    "overlay bits above": (series(BitsStored=8, HighBit=7), "ok"),
    "colour": ([make_slice(k, np.full((6, 5, 3), k, np.uint8)) for k in range(4)], "ok"),
    "dose": ([make_dose([0.0, 2.0, 4.0])], "ok"),
    "float pixels": (
        [make_enhanced(np.linspace(-1, 1, 90, dtype="f4").reshape(3, 6, 5), columns_of(3), SOPClassUID=PARAMETRIC_MAP)],
        "ok",
    ),
    "two orientations": ([*series(3), *renamed(series(3, b=-math.pi / 2), ".9")], "ok"),
    "segmentation": (series(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG"), "not-an-image"),
    "segmentation by its modality alone": (series(Modality="SEG"), "not-an-image"),
    "segmentation by its class alone": (series(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"), "not-an-image"),
    "nuclear": ([make_nuclear()], "ok"),
    "mosaic": ([make_mosaic()], "ok"),
    "a gap": ([d for k, d in enumerate(series(6)) if k != 3], "missing-slices"),
    "uneven": (series(4, ImagePositionPatient=Each([0, 0, 0], [0, 0, 1], [0, 0, 2.4], [0, 0, 3.4])), "non-uniform"),
    "tilt": (series(4, ImagePositionPatient=Each(*([0, 0.33 * k, k] for k in range(4)))), "sheared"),
    "time": (series(6, ImagePositionPatient=Each(*([0, 0, k % 3] for k in range(6)))), "4d"),
    "a slice twice": ([*series(4), make_slice(9, ImagePositionPatient=[-40, 30, 5])], "duplicate-positions"),
    "an instance twice": ([*series(4), series(1)[0]], "duplicate-instances"),
    "two slices": (series(2), "too-few-slices"),
    "no position": (series(ImagePositionPatient=None), "no-geometry"),
    "scout": (series(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer"),
    "palette": (series(PhotometricInterpretation="PALETTE COLOR"), "colour"),
    "report": (series(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", Modality="SR"), "not-an-image"),
    "zero spacing": (series(PixelSpacing=[0, 0]), "bad-header"),
}


@pytest.mark.parametrize("name", OTHER)
def test_each_case_has_its_verdict_from_files_and_from_short_tags(name: str) -> None:
    datasets, status = OTHER[name]
    for source in (datasets, [as_short_tags(d) for d in datasets]):
        if name == "mosaic" and source is not datasets:
            status = "mosaic"  # short tags do not hold what proves the tiling
        assert {s.status for s in stacks_of(source)} == {status}


def test_a_table_that_the_server_cannot_read_is_taken_from_the_files() -> None:
    """A sequence in the VR UN is null in short tags: without the table, its values would be the stored ones."""
    datasets = PIXELS["a Modality LUT"]
    headers = [{**as_short_tags(each), "0028,3000": None} for each in datasets]
    filler = Filler(one_stack(stacks_of(headers)), "rescaled")
    for file, each in zip(filler.stack.files, datasets, strict=True):
        filler.put_file(file, as_file(each))
    volume = filler.volume()
    assert volume.units == "US"
    np.testing.assert_array_equal(volume.array, built(datasets, "rescaled").array)


def test_bits_above_the_stored_ones_are_no_values() -> None:
    twelve = series(array=np.array([[-1, -2048, 2047, 0x7FFF]] * 4, np.int16), BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(built(twelve).array[0, 0], [-1, -2048, 2047, -1])
    overlay = series(array=np.array([[0x01FF, 0x0100, 0x00FE, 0]] * 4, np.uint16), BitsStored=8, HighBit=7)
    np.testing.assert_array_equal(built(overlay).array[0, 0], [255, 0, 254, 0])


def test_the_order_is_the_servers_own(rest: Rest) -> None:
    """Orthanc's `ordered-slices` goes along the same normal."""
    datasets = series(a=0.3, b=0.4)
    ids = {rest.instances.upload(as_file(d))["ID"]: d.SOPInstanceUID for d in datasets}
    (found,) = rest.series.list()
    slices = [ids[each[0]] for each in rest.series.ordered_slices(found)["SlicesShort"]]
    assert slices == list(built(datasets).sop_uids)
    assert one_stack(stacks_of(rest.series.instances_tags(found))).instances == tuple(
        each[0] for each in rest.series.ordered_slices(found)["SlicesShort"]
    )


def everything() -> Iterator[tuple[str, list[Dataset]]]:
    """Each case in a series of its own, as a server needs it; one that it cannot hold is left out."""
    cases = {**CLASSIC, **PIXELS, **{name: [each] for name, each in ENHANCED.items()}}
    cases |= {name: each for name, (each, _) in OTHER.items() if name != "an instance twice"}
    for number, (name, datasets) in enumerate(cases.items()):
        made = renamed(datasets, f".{number}")
        for each in made:
            each.SeriesInstanceUID = f"1.2.826.0.1.8.{number}"
        yield name, made


def outcome(read: Callable[[], Volume]) -> tuple[Any, ...]:
    """A volume's facts and its voxels, or the error that there is instead."""
    try:
        volume = read()
    except (GeometryError, PixelError) as error:
        return type(error), str(error)
    facts = [getattr(volume, each.name) for each in dataclasses.fields(volume)]
    return Volume, *((f.dtype, f.shape, f.tobytes()) if isinstance(f, np.ndarray) else f for f in facts)


def test_each_case_is_the_same_through_a_server(orthanc: ores.Orthanc) -> None:
    cases = list(everything())
    assert len(cases) > 45
    put(orthanc, [each for _, datasets in cases for each in datasets])
    called = {uid: identifier for identifier, uid in orthanc.series()["SeriesInstanceUID"].items()}
    volumes = 0
    for name, datasets in cases:
        here: list[Dataset] = [dcmread(DicomBytesIO(as_file(each))) for each in datasets]
        series = called[datasets[0].SeriesInstanceUID]
        for values in ("stored", "rescaled"):
            expected = outcome(partial(exact, here, values))
            found = outcome(partial(orthanc.volume, series, values, verify=values == "rescaled"))
            assert found == expected, (name, values)
            volumes += expected[0] is Volume
        told = [(stack.status, stack.sop_uids, stack.reason) for stack in orthanc.stacks(series)]
        assert told == [(stack.status, stack.sop_uids, stack.reason) for stack in stacks_of(here)], name
    assert volumes > 60


def exact(datasets: list[Dataset], values: str) -> Volume:
    filler = Filler(one_stack(stacks_of(datasets)), values)
    by_uid = {each.SOPInstanceUID: each for each in datasets}
    for file in filler.stack.files:
        filler.put_file(file, by_uid[file.sop_uid])
    return filler.volume()


def test_every_case_decodes_to_the_type_that_its_header_says() -> None:
    for datasets in CLASSIC.values():
        (stack,) = stacks_of(datasets)
        assert {decode(as_file(d)).dtype for d in datasets} == {frame.dtype for frame in stack.frames}
