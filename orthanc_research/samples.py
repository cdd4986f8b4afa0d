"""Data to try things on: a synthetic cohort, and the DICOM files that pydicom ships. No download, no patient.

The cohort is made from its seed alone: fixed UIDs (under 2.25, PS3.5 §B.2), dates and noise (from SHAKE-128, not from a
random generator whose stream a new numpy may change), so the same seed gives the same bytes on every machine.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pydicom.data
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from orthanc_research.errors import QueryError
from orthanc_research.files import atomic_write, private_folder

__all__ = ["cohort", "pydicom_files"]

Floats = npt.NDArray[np.float64]

_CT_DEPTH, _CT_VIEW = 200.0, 350.0  # mm: what the slices cover, and how wide they are
_MR_DEPTH, _MR_VIEW = 144.0, 240.0


@overload
def cohort(
    folder: None = None,
    *,
    patients: int = ...,
    studies: int = ...,
    seed: int | str = ...,
    size: int = ...,
    slices: int = ...,
) -> list[Dataset]: ...
@overload
def cohort(
    folder: str | Path,
    *,
    patients: int = ...,
    studies: int = ...,
    seed: int | str = ...,
    size: int = ...,
    slices: int = ...,
) -> list[Path]: ...
def cohort(
    folder: str | Path | None = None,
    *,
    patients: int = 3,
    studies: int = 2,
    seed: int | str = 0,
    size: int = 128,
    slices: int = 24,
) -> list[Dataset] | list[Path]:
    """Patients with studies, each with a chest CT and an oblique head MR: Datasets, or files written into `folder`.

    There are so many `patients`, and so many `studies` of each. A slice has `size` x `size` pixels; an MR series has
    `slices`, a CT series 5/3 as many. CT: 12 bits unsigned, HU by RescaleIntercept -1024. MR: 12 bits unsigned, no
    rescale. Every patient's anatomy differs a little and has one nodule; every name says that it is synthetic. The same
    arguments, `seed` among them, give the same bytes. Files are 0600, in a folder for each patient, study and series.
    `QueryError` when a number is too small to make a volume.
    """
    if min(patients, studies) < 1 or size < 16 or slices < 3:
        raise QueryError("A cohort has 1 or more patients and studies, 16 or more pixels a side, 3 or more slices.")
    made = _datasets(patients, studies, str(seed), size, slices)
    if folder is None:
        return list(made)
    return [_write(Path(folder), dataset) for dataset in made]


def pydicom_files() -> list[Path]:
    """The DICOM files inside the installed pydicom, sorted: CT, MR, CR, US, RT, SR, waveforms, compressed, damaged.

    Only what the package itself brings (nothing is downloaded) and only files with a preamble; media directories
    (DICOMDIR) are left out, the 81 instances that they list are in.
    """
    root = Path(pydicom.data.__file__).parent
    files = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("DICOMDIR"))
    return sorted(path for path in files if _has_preamble(path))


def _has_preamble(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


@dataclass(frozen=True, slots=True)
class _Study:
    """Where in the cohort a study is; everything in its files comes from here."""

    seed: str
    patient: int
    study: int
    size: int

    def uid(self, *parts: object) -> str:
        """A UID of the seed and the parts; 2.25 is the arc for UUIDs, a 128-bit number."""
        words = "/".join(map(str, ("orthanc_research", self.seed, *parts)))
        return f"2.25.{int.from_bytes(hashlib.sha256(words.encode()).digest()[:16], 'big')}"

    def share(self, *parts: object) -> float:
        """A number in [0, 1) of the seed and the parts."""
        return int(self.uid("share", *parts)[5:]) % 10_007 / 10_007

    def noise(self, *parts: object) -> Floats:
        """(row, column) noise in (-1, 1), triangular."""
        count = self.size * self.size
        data = hashlib.shake_128(self.uid("noise", self.patient, self.study, *parts).encode()).digest(2 * count)
        pairs = np.frombuffer(data, dtype=np.uint8).reshape(2, self.size, self.size).astype(np.float64)
        return np.asarray((pairs[0] + pairs[1]) / 255.0 - 1.0)


def _datasets(patients: int, studies: int, seed: str, size: int, slices: int) -> Iterator[Dataset]:
    for patient in range(1, patients + 1):
        for study in range(1, studies + 1):
            where = _Study(seed, patient, study, size)
            yield from _ct_series(where, slices * 5 // 3)
            yield from _mr_series(where, slices)


def _ct_series(where: _Study, slices: int) -> Iterator[Dataset]:
    grid = _Grid((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), _CT_VIEW / where.size, _CT_DEPTH / slices, where.size, slices)
    for k in range(slices):
        hu = _chest(where, grid.millimetres(k)) + 18.0 * where.noise("CT", k)
        dataset = _image(where, "CT", 1, k, grid, np.clip(np.rint(hu) + 1024, 0, 4095).astype("<u2"))
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.KVP, dataset.XRayTubeCurrent, dataset.ExposureTime = "120", "210", "500"
        dataset.ConvolutionKernel, dataset.GantryDetectorTilt = "STANDARD", "0"
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "-1024", "1", "HU"
        dataset.WindowCenter, dataset.WindowWidth = "40", "400"
        dataset.SliceThickness = _ds(grid.gap)
        yield dataset


def _mr_series(where: _Study, slices: int) -> Iterator[Dataset]:
    row, column = _oblique(0.06 + 0.08 * where.share("tilt", where.patient), 0.03)
    grid = _Grid(row, column, _MR_VIEW / where.size, _MR_DEPTH / slices, where.size, slices)
    for k in range(slices):
        signal = _head(where, grid.millimetres(k))
        signal += 14.0 * where.noise("MR", k)
        dataset = _image(where, "MR", 2, k, grid, np.clip(np.rint(signal), 0, 4095).astype("<u2"))
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM"]
        dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "SK", ""
        dataset.MRAcquisitionType, dataset.EchoTrainLength, dataset.FlipAngle = "2D", "1", "90"
        dataset.RepetitionTime, dataset.EchoTime = "550", "9.5"
        dataset.MagneticFieldStrength, dataset.ImagedNucleus, dataset.NumberOfAverages = "1.5", "1H", "1"
        dataset.WindowCenter, dataset.WindowWidth = "450", "900"
        # 2-D MR leaves a gap between slices: what takes SliceThickness for the spacing is wrong here.
        dataset.SliceThickness, dataset.SpacingBetweenSlices = _ds(grid.gap * 0.8), _ds(grid.gap)
        yield dataset


@dataclass(frozen=True, slots=True)
class _Grid:
    """Slices around the origin: directions of rows and columns, mm between pixels and between slices."""

    row: tuple[float, float, float]
    column: tuple[float, float, float]
    pixel: float
    gap: float
    size: int
    slices: int

    def corner(self, k: int) -> Floats:
        """LPS mm of the first pixel's centre in slice k."""
        row, column = np.array(self.row), np.array(self.column)
        half = (self.size - 1) / 2 * self.pixel
        return np.asarray(np.cross(row, column) * (k - (self.slices - 1) / 2) * self.gap - half * (row + column))

    def millimetres(self, k: int) -> tuple[Floats, Floats, Floats]:
        """x, y, z in LPS mm of every pixel of slice k, each (row, column)."""
        steps = np.arange(self.size) * self.pixel
        corner = self.corner(k)
        x, y, z = (corner[a] + steps[None, :] * self.row[a] + steps[:, None] * self.column[a] for a in range(3))
        return x, y, z


def _oblique(about_x: float, about_z: float) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Axial directions turned by small angles, given as tan(angle / 2): only + - * /, the same on every machine."""

    def turn(t: float) -> tuple[float, float]:
        return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)

    (cx, sx), (cz, sz) = turn(about_x), turn(about_z)
    return (cz, sz, 0.0), (-sz * cx, cz * cx, sx)


def _chest(where: _Study, at: tuple[Floats, Floats, Floats]) -> Floats:
    """HU."""
    build, wide = _build(where), 0.95 + 0.1 * where.share("wide", where.patient)
    inside = _inside(at, build)
    hu = np.full(at[0].shape, -1000.0)
    hu[np.abs(at[1] - 125.0) < 4.0] = -300.0  # the table
    hu[inside((0, 0, 0), (160 * wide, 112, 1000))] = -95.0  # fat
    hu[inside((0, 0, 0), (148 * wide, 100, 1000))] = 48.0  # muscle
    chest = inside((0, -4, 0), (132 * wide, 84, 1000))
    hu[chest & ~inside((0, -4, 0), (124 * wide, 76, 1000)) & (np.abs(at[2] % 24 - 12) < 5)] = 380.0  # ribs
    for side in (-1, 1):
        hu[inside((side * 68 * wide, -6, 18), (46 * wide, 66, 112))] = -860.0
    hu[inside((20, -14, -8), (52, 44, 56))] = 42.0  # heart
    hu[inside((-58, -2, -96), (78, 62, 58))] = 62.0  # liver
    hu[inside((12, 44, 0), (13, 13, 1000))] = 130.0  # aorta
    hu[inside((0, 68, 0), (21, 18, 1000))] = 260.0  # spine
    hu[inside((0, 64, 0), (8, 8, 1000))] = 30.0
    side = 1 if where.share("side", where.patient) < 0.5 else -1
    grown = (5 + 6 * where.share("nodule", where.patient)) * (1 + 0.25 * (where.study - 1))
    hu[inside((side * 66 * wide, -20, 60 * where.share("high", where.patient) - 10), (grown, grown, grown))] = 35.0
    return hu


def _head(where: _Study, at: tuple[Floats, Floats, Floats]) -> Floats:
    """Signal of a T1-weighted image, arbitrary units."""
    inside = _inside(at, _build(where))
    signal = np.zeros(at[0].shape)
    signal[inside((0, 0, -2), (78, 98, 92))] = 900.0  # scalp
    signal[inside((0, 0, -2), (73, 93, 87))] = 60.0  # skull
    signal[inside((0, 0, -2), (67, 87, 81))] = 170.0  # fluid
    signal[inside((0, 0, 0), (64, 84, 77))] = 480.0  # grey matter
    signal[inside((0, 2, 2), (52, 70, 62))] = 640.0  # white matter
    for side in (-1, 1):
        signal[inside((side * 11, -4, 8), (7, 30, 14))] = 180.0  # ventricles
        signal[inside((side * 22, 0, -4), (9, 16, 12))] = 520.0
        signal[inside((side * 30, -74, -24), (12, 12, 12))] = 140.0  # eyes
    grown = (4 + 5 * where.share("lesion", where.patient)) * (1 + 0.25 * (where.study - 1))
    signal[inside((-34, 22, 18), (grown, grown, grown))] = 330.0
    return np.asarray(signal * (1.0 + at[0] / 900.0 - at[1] / 1200.0))  # the coil sees one side better


def _build(where: _Study) -> float:
    return 0.92 + 0.14 * where.share("build", where.patient)


def _inside(
    at: tuple[Floats, Floats, Floats], build: float
) -> Callable[[tuple[float, float, float], tuple[float, float, float]], npt.NDArray[np.bool_]]:
    """A function (centre, half axes) → which pixels lie in that ellipsoid, both scaled by the patient's build."""

    def inside(centre: tuple[float, float, float], half: tuple[float, float, float]) -> npt.NDArray[np.bool_]:
        parts = [(at[a] - build * centre[a]) / (build * half[a]) for a in range(3)]
        return np.asarray(parts[0] * parts[0] + parts[1] * parts[1] + parts[2] * parts[2] <= 1.0)

    return inside


def _image(where: _Study, modality: str, series: int, k: int, grid: _Grid, pixels: npt.NDArray[np.uint16]) -> Dataset:
    """What CT and MR images share (PS3.3 A.3, A.4)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    _identify(dataset, where, modality, series, k)
    dataset.Manufacturer, dataset.ManufacturerModelName = "orthanc_research", "Synthetic"
    dataset.InstitutionName, dataset.StationName = "Synthetic Hospital", f"SYN-{modality}"
    dataset.SoftwareVersions, dataset.DeviceSerialNumber = "1", "0000"
    dataset.PatientPosition, dataset.PositionReferenceIndicator = "HFS", ""
    dataset.BodyPartExamined, dataset.Laterality = ("CHEST" if modality == "CT" else "BRAIN"), ""
    dataset.ProtocolName = dataset.SeriesDescription = f"Synthetic {'chest' if modality == 'CT' else 'head T1'}"
    dataset.FrameOfReferenceUID = where.uid(where.patient, where.study, modality, "frame of reference")
    dataset.ImagePositionPatient = [_ds(value) for value in grid.corner(k)]
    dataset.ImageOrientationPatient = [_ds(value) for value in (*grid.row, *grid.column)]
    dataset.PixelSpacing = [_ds(grid.pixel)] * 2
    dataset.SliceLocation = _ds((k - (grid.slices - 1) / 2) * grid.gap)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def _identify(dataset: Dataset, where: _Study, modality: str, series: int, k: int) -> None:
    of_seed = hashlib.sha256(where.seed.encode()).hexdigest()[:4].upper()
    date = f"{2020 + (where.study - 1) // 12}{(where.study - 1) % 12 + 1:02d}{where.patient % 28 + 1:02d}"
    when = f"{8 + series:02d}{where.patient % 60:02d}{k % 60:02d}"
    sop_class = CTImageStorage if modality == "CT" else MRImageStorage
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, where.uid(where.patient, where.study, modality, k)
    dataset.StudyInstanceUID = where.uid(where.patient, where.study)
    dataset.SeriesInstanceUID = where.uid(where.patient, where.study, modality)
    dataset.PatientName, dataset.PatientID = (
        f"SYNTHETIC^PATIENT {where.patient:03d}",
        f"SYN-{of_seed}-{where.patient:03d}",
    )
    age = 30 + int(50 * where.share("age", where.patient))
    dataset.PatientBirthDate, dataset.PatientAge = f"{2020 - age}0101", f"{age + (where.study - 1) // 12:03d}Y"
    dataset.PatientSex = "FM"[where.patient % 2]
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = date
    dataset.StudyTime, dataset.SeriesTime = "080000", f"{8 + series:02d}0000"
    dataset.AcquisitionTime = dataset.ContentTime = when
    dataset.AccessionNumber, dataset.StudyID = f"SYN{of_seed}{where.patient:03d}{where.study:02d}", str(where.study)
    dataset.StudyDescription, dataset.ReferringPhysicianName = "Synthetic chest CT and head MR", ""
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = modality, str(series), str(k + 1)
    dataset.AcquisitionNumber = "1"
    meta: Any = dataset.file_meta
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # Named here, or pydicom writes its own version and the bytes change with it.
    meta.ImplementationClassUID, meta.ImplementationVersionName = "2.25.7215842035719503", "ORES_SAMPLES"


def _ds(value: float) -> str:
    """A DS of at most 16 characters (PS3.5 §6.2); six decimals are a nanometre, or 1e-6 of a cosine."""
    return f"{value + 0.0:.9f}"[:16] if abs(value) < 10 else f"{value:.6f}"


def _write(root: Path, dataset: Dataset) -> Path:
    folder = private_folder(root / dataset.PatientID / f"study-{dataset.StudyID}" / dataset.Modality.lower())
    path = folder / f"{int(dataset.InstanceNumber):04d}.dcm"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    with atomic_write(path) as stream:
        stream.write(buffer.getvalue())
    return path
