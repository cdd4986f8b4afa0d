"""The synthetic cohort and pydicom's own files."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from orthanc_research.errors import QueryError
from orthanc_research.pixels import decode, one_stack, stacks_of, volume_from
from orthanc_research.samples import cohort, pydicom_files


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_patients(tmp_path: Path) -> None:
    options: dict[str, Any] = {"patients": 1, "studies": 2, "size": 32, "slices": 6}
    first, again = cohort(tmp_path / "a", **options), cohort(tmp_path / "b", **options)
    assert [p.relative_to(tmp_path / "a") for p in first] == [p.relative_to(tmp_path / "b") for p in again]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    other = cohort(seed="other", **options)
    ours = {pydicom.dcmread(p).SOPInstanceUID for p in first}
    assert ours.isdisjoint(d.SOPInstanceUID for d in other)
    assert {d.PatientID for d in other}.isdisjoint(pydicom.dcmread(p).PatientID for p in first)


def test_the_bytes_are_the_same_on_every_machine(tmp_path: Path) -> None:
    files = cohort(tmp_path, patients=1, studies=1, size=32, slices=6)
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()
    assert digest == "a6ecc5830e9ed7f1d5472ec6761837cf149dfe4eb9c3d01fd14ba7c42baa1f84"


def test_a_cohort_is_patients_times_studies_with_a_ct_and_an_mr_volume_each() -> None:
    made = cohort(patients=2, studies=2, size=32, slices=12)
    assert len({d.PatientID for d in made}) == 2
    assert len({d.StudyInstanceUID for d in made}) == 4
    assert len({d.SOPInstanceUID for d in made}) == len(made) == 4 * (20 + 12)
    by_series = defaultdict(list)
    for each in made:
        by_series[each.SeriesInstanceUID].append(each)
    assert Counter(s[0].Modality for s in by_series.values()) == {"CT": 4, "MR": 4}
    for slices in by_series.values():
        stack = one_stack(stacks_of(slices))
        volume = volume_from(stack, ((d.SOPInstanceUID, decode(d)) for d in slices), "rescaled")
        if slices[0].Modality == "CT":
            assert volume.units == "HU"
            assert volume.array.min() < -950
            assert 200 < volume.array.max() < 1500
            assert -900 < np.median(volume.array[:, 12:20, 8:12]) < 100
        else:
            assert abs(volume.affine[2, 1]) > 0.1  # oblique
            assert float(slices[0].SliceThickness) < volume.spacing[0]


def test_names_say_that_they_are_synthetic_and_elements_fit_their_vr() -> None:
    for dataset in cohort(patients=1, studies=2, size=16, slices=3):
        assert str(dataset.PatientName).startswith("SYNTHETIC^")
        assert dataset.PatientID.startswith("SYN-")
        assert dataset.SOPInstanceUID.startswith("2.25.")
        for element in dataset:
            if element.VR in ("DS", "SH", "CS"):
                values = element.value if element.VM > 1 else [element.value]
                assert all(len(str(value)) <= 16 for value in values), element.keyword
            if element.VR == "UI":
                assert len(element.value) <= 64


def test_files_are_private_complete_and_readable(tmp_path: Path) -> None:
    files = cohort(tmp_path / "c", patients=1, studies=1, size=16, slices=3)
    assert sorted(p for p in (tmp_path / "c").rglob("*") if p.is_file()) == sorted(files)
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in files)
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o700
    assert pydicom.dcmread(files[0]).file_meta.ImplementationVersionName == "ORES_SAMPLES"


def test_the_demo_cohort_is_three_patients_with_two_studies_of_a_ct_and_an_mr(tmp_path: Path) -> None:
    assert len(cohort(tmp_path)) == 3 * 2 * (40 + 24)


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"studies": 0}, {"size": 8}, {"slices": 2}])
def test_numbers_that_make_no_volume_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(QueryError):
        cohort(**wrong)


def test_pydicoms_files_are_there_without_a_download_and_without_directories() -> None:
    files = pydicom_files()
    assert sum("dicomdirtests" in p.parts for p in files) == 81
    names = {p.name for p in files}
    assert {"CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "rtplan.dcm", "examples_ybr_color.dcm"} <= names
    assert not any(name.startswith("DICOMDIR") for name in names)
    assert files == sorted(files)
    for path in files:
        assert path.read_bytes()[128:132] == b"DICM"
