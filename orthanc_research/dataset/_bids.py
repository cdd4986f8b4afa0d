"""The layout of BIDS 1.10.0 (Brain Imaging Data Structure): its names, sidecars and tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd

from orthanc_research.dataset._subjects import About, subject_of
from orthanc_research.errors import QueryError
from orthanc_research.export.volumes import write_image
from orthanc_research.files import atomic_write, private_folder
from orthanc_research.pixels import Volume

if TYPE_CHECKING:
    from orthanc_research.dataset._open import OpenDataset

__all__ = ["Bids"]

_VERSION = "1.10.0"
# Suffixes of anat/ that need no further entity (BIDS 1.10.0, "Anatomy imaging data"); deprecated ones are not here.
_ANAT = ("T1w", "T2w", "PDw", "T2starw", "FLAIR", "inplaneT1", "inplaneT2", "PDT2", "angio")
# column → (name in the sidecar, what its unit is multiplied by): times are seconds in BIDS and ms in DICOM.
_SIDECAR: Mapping[str, tuple[str, float | None]] = {
    "Manufacturer": ("Manufacturer", None),
    "ManufacturerModelName": ("ManufacturersModelName", None),
    "SoftwareVersions": ("SoftwareVersions", None),
    "MagneticFieldStrength": ("MagneticFieldStrength", 1.0),
    "EchoTime": ("EchoTime", 1e-3),
    "RepetitionTime": ("RepetitionTime", 1e-3),
    "InversionTime": ("InversionTime", 1e-3),
    "FlipAngle": ("FlipAngle", 1.0),
    "SliceThickness": ("SliceThickness", 1.0),
    "ScanningSequence": ("ScanningSequence", None),
    "SequenceVariant": ("SequenceVariant", None),
    "BodyPartExamined": ("BodyPart", None),
    "KVP": ("KVP", 1.0),
    "ConvolutionKernel": ("ConvolutionKernel", None),
}
_AXES = dict.fromkeys(("echo_time", "inversion_time", "trigger_time", "frame_time", "frame_reference_time"), 1e-3)
_AGE = re.compile(r"([0-9]{3})([DWMY])")
_YEARS = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}
_OLDEST = 89  # older ages tell who somebody is: BIDS would have them capped
_CT = ".bidsignore"


@dataclass
class Bids:
    """A folder that grows volume by volume; `finish` writes the tables."""

    folder: Path
    about: About
    names: Mapping[str, str]
    sessions: Mapping[str, str]
    instances: pd.DataFrame
    people: dict[str, dict[str, str]] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    ct: bool = False

    @classmethod
    def make(cls, dataset: OpenDataset, folder: Path, rows: pd.DataFrame, extra: Mapping[str, Any]) -> Bids:
        """Checked before anything is written."""
        names = extra["names"] or {}
        if not isinstance(names, Mapping) or not set(names.values()) <= set(_ANAT):
            raise QueryError(
                f"names says for a Modality or a SeriesInstanceUID which of these it is: {', '.join(_ANAT)}."
            )
        about = About.of(dataset)
        return cls(folder, about, names, _sessions(dataset.series), dataset.instances)

    def refused(self, row: Mapping[str, Any]) -> tuple[str, str] | None:
        """Why a series has no place here."""
        if pd.isna(row["PatientID"]):
            return "no-name", "Nobody knows whose series this is."
        if self._suffix(row) is None:
            return "no-name", f'Say what it is, as names={{"{row["Modality"]}": "T1w"}}, or by its SeriesInstanceUID.'
        return None

    def _suffix(self, row: Mapping[str, Any]) -> str | None:
        named = self.names.get(str(row["SeriesInstanceUID"])) or self.names.get(str(row["Modality"]))
        return named or ("ct" if row["Modality"] == "CT" else None)

    def put(self, row: Mapping[str, Any], part: int, of: int, volume: Volume) -> Path:
        """sub-…/ses-…/anat/sub-…_ses-…[_run-2]_T1w.nii.gz and its sidecar."""
        suffix = self._suffix(row) or ""
        subject, session = subject_of(str(row["PatientID"]), self.about), self.sessions[str(row["StudyInstanceUID"])]
        kind = "ct" if suffix == "ct" else "anat"
        self.ct = self.ct or kind == "ct"
        folder = private_folder(self.folder / f"sub-{subject}" / f"ses-{session}" / kind)
        stem = f"sub-{subject}_ses-{session}"
        run = self.used[f"{stem}_{suffix}"] = self.used.get(f"{stem}_{suffix}", 0) + 1
        name = f"{stem}_{suffix}" if run == 1 else f"{stem}_run-{run}_{suffix}"
        path = folder / f"{name}.nii.gz"
        write_image(path, volume)
        _json(folder / f"{name}.json", self._sidecar(row, volume))
        self.people.setdefault(f"sub-{subject}", _person(row))
        return path

    def _sidecar(self, row: Mapping[str, Any], volume: Volume) -> dict[str, Any]:
        """What all slices say alike, in BIDS's words and units; and where the volume comes from."""
        mine = self.instances.reindex([uid for uid in dict.fromkeys(volume.sop_uids) if uid])
        found: dict[str, Any] = {"Modality": volume.modality}
        for column, (name, factor) in _SIDECAR.items():
            values = mine[column].dropna() if column in mine else pd.Series(dtype="str")
            first = values.iloc[0] if len(values) == len(mine) and len(values) else None
            if first is None or isinstance(first, list) or values.nunique() != 1:
                continue
            found[name] = round(float(first) * factor, 9) if factor is not None else str(first)
        for axis, numbers in volume.axes.items():
            found[f"{axis}_values"] = [round(value * _AXES.get(axis, 1.0), 9) for value in numbers]
        found |= {
            "Units": volume.units,
            "SeriesInstanceUID": volume.series_uid,
            "SOPInstanceUIDs": list(volume.sop_uids),
        }
        return found

    def finish(self) -> None:
        """The tables and papers that BIDS asks for."""
        _json(
            self.folder / "dataset_description.json",
            {
                "Name": self.about.name,
                "BIDSVersion": _VERSION,
                "DatasetType": "raw",
                "License": self.about.license,
                "GeneratedBy": [{"Name": "orthanc_research", "Version": _our_version()}],
            },
        )
        columns = [name for name in ("split", "sex", "age") if any(name in each for each in self.people.values())]
        lines = ["\t".join(["participant_id", *columns])]
        lines += [
            "\t".join([who, *(of.get(name, "n/a") for name in columns)]) for who, of in sorted(self.people.items())
        ]
        _text(self.folder / "participants.tsv", "\n".join(lines) + "\n")
        described = {
            "split": {"Description": "Split of the dataset, by patient"},
            "sex": {
                "Description": "PatientSex of the first series",
                "Levels": {"M": "male", "F": "female", "O": "other"},
            },
            "age": {"Description": "Age at the first series; 89 and above are 89", "Units": "year"},
        }
        _json(self.folder / "participants.json", {name: described[name] for name in columns})
        _text(
            self.folder / "README", f"{self.about.name} {self.about.version}\n\nMade from DICOM by orthanc_research.\n"
        )
        if self.ct:
            _text(self.folder / _CT, "**/ct/\n")


def _sessions(series: pd.DataFrame) -> dict[str, str]:
    """StudyInstanceUID → 01, 02 … of each patient, by day where the dataset has one; over all splits."""
    order = [name for name in ("StudyDate", "StudyTime", "StudyInstanceUID") if name in series]
    studies = series.sort_values(order).drop_duplicates(["PatientID", "StudyInstanceUID"])
    number = studies.groupby("PatientID", dropna=False).cumcount() + 1
    return {str(uid): f"{count:02d}" for uid, count in zip(studies["StudyInstanceUID"], number, strict=True)}


def _person(row: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    if row.get("split") is not None and not pd.isna(row["split"]):
        found["split"] = str(row["split"])
    if row.get("PatientSex") in ("M", "F", "O"):
        found["sex"] = str(row["PatientSex"])
    age = _AGE.fullmatch(str(row.get("PatientAge", "")))
    if age:
        found["age"] = f"{min(int(age[1]) / _YEARS[age[2]], _OLDEST):.4g}"
    return found


def _our_version() -> str:
    try:
        return version("orthanc-research")
    except PackageNotFoundError:
        return "unknown"


def _json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    with atomic_write(path) as stream:
        stream.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _text(path: Path, content: str) -> None:
    with atomic_write(path) as stream:
        stream.write(content.encode())
