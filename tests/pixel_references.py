"""Every reference in the folder of real DICOM, and what our volume is held to: shape, values, affine.

A reference is a NIfTI file, or what dcm2niix's `reference.json` says of one: [x, y flipped, z(, t)], Fortran order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset

from orthanc_research.pixels import Filler, Stack, Volume, arrange, one_stack, read_dataset, stacks_of

nibabel = pytest.importorskip("nibabel")

NOT_DICOM = {".json", ".gz", ".md", ".txt", ".csv", ".bval", ".bvec"}
AFFINE = 1e-4  # mm


@dataclass(frozen=True)
class Reference:
    """A reference and the series it is of; both below `folder`. `pick` chooses among the stacks of the series.

    `values_within` is 0 for bit for bit, else a part of the range; None where the reference's own sum must do.
    """

    folder: str
    series: str
    reference: str
    options: tuple[tuple[str, str], ...] = ()
    min_slices: int = 3
    pick: int = 0
    values: str = "stored"
    values_within: float | None = 0.0
    affine_within: float | None = AFFINE
    refused: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.folder}/{self.reference}"


class Outcome(NamedTuple):
    """What came of one reference."""

    shape: tuple[int, ...]
    verdict: str
    same_shape: bool
    equal: bool
    worst: float
    affine_error: float | None


STACK = (("on_4d", "stack"),)
SPLIT = (("on_4d", "split"),)
MIRP_PET = "MIRP rescales in another order of operations"
MEAN = "the reference's step is its first gap, in float32 (2.000107 mm); ours the mean of 95"


def references() -> Iterator[Reference]:
    yield Reference(
        "ct-digital-phantom", "orientation/dicom", "orientation/nifti/image/orientation.nii.gz", values="rescaled",
        affine_within=None, note="upstream's NIfTI is mirrored in z: voxels compared after the flip",
    )  # fmt: skip
    for name in ("2_0.nii.gz", "2_0_Tilt_Eq_1.nii.gz"):
        yield Reference(
            "ct-ge-head-tilt-varspacing", "dicom", f"ref-dcm2niix/reference.json#{name}", refused="non-uniform",
            note="slices in order have its checksum" if name == "2_0.nii.gz" else "dcm2niix resampled it; we do not",
        )  # fmt: skip
    for patient in ("STS_002", "STS_019"):
        for kind in ("CT", "MR_T1", "PET"):
            pet = kind == "PET"
            yield Reference(
                "ct-pet-mr-rtstruct", f"{patient}/{kind}/image", f"{patient}/nifti/{kind}_image.nii.gz",
                values="rescaled", values_within=1.6e-6 if pet else 0.0, note=MIRP_PET if pet else "",
            )  # fmt: skip
            volume = _only_volume(patient, kind)
            yield Reference(
                "ct-pet-mr-rtstruct", f"{patient}/{kind}/image",
                f"{patient}/{kind}/ref-dcm2niix/reference.json#{volume}",
                values="rescaled" if pet else "stored", values_within=None if pet else 0.0,
                note="its maximum, and its sum to 1e-8" if pet else "",
            )  # fmt: skip
    yield from _mini_volumes()
    for side in ("agfa", "siemens"):
        where, name = f"{side}_ref-dcm2niix", "11_ep2d_fid_weisskoff_25slc_1.nii.gz"
        yield from _both("mr-enhanced-agfa-vs-siemens", side, where, name, STACK)
    for pick, names in enumerate(
        (("801_B0_NS_1", "Philips_WIP_B0_NS_801_e1"), ("801_B0_NS_2_fieldmaphz", "Philips_WIP_B0_NS_801_e2_fieldmaphz"))
    ):
        note = ("magnitude", "B0 map in Hz")[pick] + " of one file"
        yield from _both("mr-enhanced-philips-b0", "dicom", "ref-dcm2niix", f"{names[0]}.nii.gz", pick=pick, note=note)
        yield Reference("mr-enhanced-philips-b0", "dicom", f"ref-repo/{names[1]}.nii.gz", pick=pick, note=note)
    yield from _both("mr-enhanced-siemens-xa10", "dicom", "ref-dcm2niix", "6_REST1_w_SMS_PF7-8_1.nii.gz", STACK)
    yield Reference("mr-enhanced-siemens-xa10", "dicom", "ref-repo/Siemens_REST1_w_SMS_PF7-8_6.nii.gz", STACK)
    four = "4_Axial_EPI-FMRI_(Interleaved_I_to_S)_1.nii.gz"
    yield Reference("mr-ge-fmri-4d", "dicom", f"ref-dcm2niix/reference.json#{four}", STACK)
    yield Reference("mr-ge-fmri-4d", "dicom", "ref-repo/DCM2NIIX_regression_test_4.nii.gz", STACK)
    for k, name in ((2, "12bitUnsigned"), (3, "12bitUnsigned_0x0F0F"), (4, "12bitSigned_0x0F0F")):
        folder = "mr-siemens-12bit-packed-mosaic"
        yield from _both(folder, f"dicom/{name}.dcm", "ref-dcm2niix", f"{k}_FMRI_AX_ASC_0.nii.gz")
        yield Reference(folder, f"dicom/{name}.dcm", f"ref-repo/{k}.nii.gz")
    for k in range(1, 10):
        folder = "mr-siemens-9-transfer-syntaxes"
        yield from _both(folder, f"dicom/{k}.dcm", "ref-dcm2niix", f"{k}_ax_asc_35sl_1.nii.gz")
        yield Reference(folder, f"dicom/{k}.dcm", f"ref-repo/{k}.nii.gz")
    for k, way in ((3, "AP"), (5, "RL")):
        folder = "mr-siemens-mosaic-epi"
        yield from _both(folder, f"dicom/mr_000{k}", "ref-dcm2niix", f"{k}_EPI_PE={way}_1.nii.gz", STACK)
        yield Reference(folder, f"dicom/mr_000{k}", f"ref-repo/EPI_PE={way}_{k}.nii.gz", STACK)
    for pick in (0, 1):
        name = f"3_pd+t2_tse_sag_ISO_1.8mm_{pick + 1}.nii.gz"
        yield from _both("mr-siemens-pdt2-dual-echo", "dicom", "ref-dcm2niix", name, SPLIT, pick=pick)
    for name in ("ref-dcm2niix/reference.json#6001_anat-T1w_acq-tfl_1.nii.gz", "ref-repo/anat-T1w_acq-tfl_6001.nii.gz"):
        yield Reference("mr-t1-siemens-j2k", "dicom", name, affine_within=0.011, note=MEAN)


def _mini_volumes() -> Iterator[Reference]:
    plain = ["ge", "generic", "hitachi", "hyperfine", "philips", "siemens"]
    kinds = [f"{vendor}/anatomical" for vendor in plain]
    kinds += [f"generic/compressed_{codec}" for codec in ("j2k", "jpeg", "jpegls", "rle")] + ["generic/rgb"]
    for kind in kinds:
        yield Reference("mini-volumes", f"{kind}/001", f"{kind}/001_ground_truth.nii.gz")
    for kind in ("ge/dti", "ge/fmri"):
        yield Reference("mini-volumes", f"{kind}/001", f"{kind}/001_ground_truth.nii.gz", STACK)
    kind = "philips/dti"
    yield Reference("mini-volumes", f"{kind}/001", f"{kind}/001_ground_truth.nii.gz", STACK, 2, note="min_slices=2")
    for kind, options in (("philips_enhanced/anatomical", ()), ("philips_enhanced/fmri", STACK)):
        yield Reference(
            "mini-volumes", f"{kind}/001", f"{kind}/001_ground_truth.nii.gz", options, values="rescaled",
            values_within=2e-7, note="the reference is rescaled, in float32",
        )  # fmt: skip


def _both(
    folder: str, series: str, where: str, name: str, options: tuple[tuple[str, str], ...] = (), **more: Any
) -> Iterator[Reference]:
    """dcm2niix's NIfTI, and what its reference.json says of it."""
    yield Reference(folder, series, f"{where}/{name}", options, **more)
    yield Reference(folder, series, f"{where}/reference.json#{name}", options, **more)


def _only_volume(patient: str, kind: str) -> str:
    names = {
        ("STS_002", "CT"): "3_IBSI_1_STS_002_CT_image_0",
        ("STS_002", "MR_T1"): "6564013_IBSI_1_STS_002_MR_T1_image_0",
        ("STS_002", "PET"): "4_IBSI_1_STS_002_PET_image_0",
        ("STS_019", "CT"): "2_IBSI_1_STS_019_CT_image_0",
        ("STS_019", "MR_T1"): "6216040_IBSI_1_STS_019_MR_T1_image_0",
        ("STS_019", "PET"): "1_IBSI_1_STS_019_PET_image_0",
    }
    return f"{names[patient, kind]}.nii.gz"


REFERENCES = tuple(references())


# -- reading ----------------------------------------------------------------------------------------------------------


def files_of(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return sorted(p for p in place.rglob("*") if p.is_file() and p.suffix not in NOT_DICOM)


@lru_cache(maxsize=2)
def datasets_of(place: Path) -> tuple[Dataset, ...]:
    return tuple(read_dataset(path.read_bytes()) for path in files_of(place))


def built(stack: Stack, datasets: tuple[Dataset, ...], values: str = "stored") -> Volume:
    by_uid = {dataset.SOPInstanceUID: dataset for dataset in datasets}
    filler = Filler(stack, values)
    for file in stack.files:
        filler.put_file(file, by_uid[file.sop_uid])
    return filler.volume()


# -- comparing --------------------------------------------------------------------------------------------------------


def in_axes_of(volume: Volume, affine: npt.NDArray[np.float64]) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Our voxels in the order and directions of a reference's axes (x, y, z, t), and the RAS affine they then have."""
    turn = np.linalg.inv(affine[:3, :3]) @ volume.affine_ras[:3, :3]
    axes = [int(axis) for axis in np.abs(turn).argmax(axis=1)]
    assert sorted(axes) == [0, 1, 2]
    extra = 1 if "extra" in volume.dims else 0
    array = volume.array
    to = np.zeros((4, 4))
    to[3, 3] = 1.0
    for theirs, ours in enumerate(axes):
        forward = turn[theirs, ours] > 0
        to[ours, theirs] = 1.0 if forward else -1.0
        to[ours, 3] = 0.0 if forward else array.shape[ours + extra] - 1
        if not forward:
            array = np.flip(array, axis=ours + extra)
    last = [array.ndim - 1] if "sample" in volume.dims else []
    return array.transpose([*(axis + extra for axis in axes), *([0] if extra else []), *last]), volume.affine_ras @ to


@cache
def outcome(reference: Reference, realdata: Path) -> Outcome:
    folder = realdata / reference.folder
    datasets = datasets_of(folder / reference.series)
    found = stacks_of(datasets, min_slices=reference.min_slices)
    arranged = arrange(found, min_slices=reference.min_slices, **dict(reference.options))
    if reference.refused:
        return _refused(reference, folder, arranged, datasets)
    volume = built(one_stack([arranged[reference.pick]]), datasets, reference.values)
    verdict = "ok" if found[0].status == "ok" else f"{found[0].status}, {reference.options[0][1]}"
    name, _, entry = reference.reference.partition("#")
    if entry:
        return _against_json(reference, volume, verdict, json.loads((folder / name).read_text())["volumes"][entry])
    return _against_nifti(reference, volume, verdict, nibabel.load(folder / name))


def _against_nifti(reference: Reference, volume: Volume, verdict: str, image: Any) -> Outcome:
    theirs = np.asanyarray(image.dataobj.get_unscaled() if reference.values == "stored" else image.dataobj)
    if theirs.dtype.fields:  # NIfTI's RGB24
        theirs = np.stack([theirs[name] for name in ("R", "G", "B")], axis=-1)
    if theirs.ndim == 4 and theirs.shape[3] == 1:  # one time point
        theirs = theirs[..., 0]
    ours, affine = in_axes_of(volume, image.affine)
    error: float | None = float(np.abs(affine - image.affine).max())
    if reference.affine_within is None:
        theirs, ours, error = np.flip(theirs, axis=2), volume.array.transpose(2, 1, 0), None
    same = theirs.shape == ours.shape
    if not same:
        return Outcome(volume.shape, verdict, False, False, np.inf, error)
    worst = float(np.abs(theirs.astype(np.float64) - ours).max() / max(float(np.ptp(theirs)), 1.0))
    return Outcome(volume.shape, verdict, True, worst <= (reference.values_within or 0.0), worst, error)


def _against_json(reference: Reference, volume: Volume, verdict: str, expected: dict[str, Any]) -> Outcome:
    theirs = np.array(expected["affine"])
    ours, affine = in_axes_of(volume, theirs)
    if reference.values_within is None:
        total = float(ours.astype(np.float64).sum())
        worst = abs(total - expected["stored_sum"]) / expected["stored_sum"]
        equal = worst < 1e-8 and float(ours.max()) == expected["stored_max"]
    else:
        worst = 0.0
        equal = hashlib.sha256(ours.tobytes(order="F")).hexdigest() == expected["sha256_stored_fortran"]
    same = ours.shape == tuple(expected["shape"])
    return Outcome(volume.shape, verdict, same, equal, worst, float(np.abs(affine - theirs).max()))


def _refused(reference: Reference, folder: Path, stacks: list[Stack], datasets: tuple[Dataset, ...]) -> Outcome:
    """Refused as it must be; its slices, in our order, still have the checksum of dcm2niix's."""
    (stack,) = stacks
    name, _, entry = reference.reference.partition("#")
    expected = json.loads((folder / name).read_text())["volumes"][entry]
    by_uid = {dataset.SOPInstanceUID: dataset for dataset in datasets}
    images = [by_uid[uid].pixel_array for uid in stack.sop_uids]
    array = np.stack(images).transpose(2, 1, 0)[:, ::-1, :]
    equal = hashlib.sha256(array.tobytes(order="F")).hexdigest() == expected["sha256_stored_fortran"]
    return Outcome(stack.shape, stack.status, array.shape == tuple(expected["shape"]), equal, 0.0, None)


def rows(realdata: Path) -> list[str]:
    """The table of all references, for `docs/pixels.md`."""
    lines = [
        "| set | series | reference | verdict | shape | values equal? | affine error, mm | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for reference in REFERENCES:
        found = outcome(reference, realdata)
        shown = (
            "yes" if found.equal and found.worst == 0 else f"within {_rounded(found.worst)}" if found.equal else "no"
        )
        if reference.refused:
            shown = "yes, slice by slice" if found.equal else "not compared"
        error = "-" if found.affine_error is None else f"≤ {_rounded(found.affine_error)}"
        cells = [
            reference.folder, reference.series, _source(reference), found.verdict, " x ".join(map(str, found.shape)),
            shown, error, reference.note,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _rounded(value: float) -> str:
    """Up, to one digit: stable from machine to machine."""
    power = 10.0 ** np.floor(np.log10(max(value, 1e-9)))
    return f"{np.ceil(max(value, 1e-9) / power) * power:.0e}"


def _source(reference: Reference) -> str:
    if "#" in reference.reference:
        return "dcm2niix, checksum"
    for part, said in (
        ("ref-dcm2niix", "dcm2niix"),
        ("ref-repo", "its repository"),
        ("ground_truth", "its repository"),
    ):
        if part in reference.reference:
            return said
    return "MIRP"
