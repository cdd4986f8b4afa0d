"""SUV by body weight: the formula by hand, on real PET and on every rule that decides which of its inputs count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pixel_cases import PT, Each, item, make_series, make_slice
from pydicom import Dataset, dcmread
from pydicom.uid import UID, ImplicitVRLittleEndian

import orthanc_research as ores
from orthanc_research.errors import PixelError
from orthanc_research.pixels import decode, one_stack, pixels_of, stacks_of, volume_from

HALF_LIFE = 6586.2
# 70 kg and 2⁻¹ of 350 MBq one half-life after the injection: 70000 g / 175 MBq.
FACTOR = 70e3 / 175e6


def tracer(**changes: Any) -> Dataset:
    """F-18, injected one half-life before 12:00:00."""
    made = item(RadionuclideTotalDose=350e6, RadionuclideHalfLife=HALF_LIFE, RadiopharmaceuticalStartTime="101013.8")
    made.update(item(**changes))
    return made


def pet(*tracers: Dataset, **changes: Any) -> Dataset:
    """A PET slice in Bq/ml, corrected for decay to its start at 12:00:00; `changes` as of `make_slice`."""
    usual: dict[str, Any] = {
        "SOPClassUID": PT,
        "Modality": "PT",
        "Units": "BQML",
        "CorrectedImage": ["DECY", "ATTN", "SCAT"],
        "DecayCorrection": "START",
        "PatientWeight": "70",
        "SeriesDate": "20200302",
        "SeriesTime": "120000",
        "AcquisitionDate": "20200302",
        "AcquisitionTime": "120000",
        "RescaleSlope": "3",
        "RescaleIntercept": "0",
        "RadiopharmaceuticalInformationSequence": list(tracers or [tracer()]),
    }
    return make_slice(1, **{**usual, **changes})


def factor_of(dataset: Dataset) -> float:
    """What one unit of the rescaled values becomes."""
    found = pixels_of(dataset, "suv")[0].astype(float) / (decode(dataset)[0] * float(dataset.RescaleSlope))
    assert np.ptp(found) < 1e-6 * found.mean()
    return float(found.mean())


def by_hand(dataset: Dataset) -> np.ndarray[Any, Any]:
    """Stored values of a decay-corrected (START) slice of Bq/ml x slope x weight / dose left at the series' time."""

    def seconds(time: str) -> float:
        return int(time[:2]) * 3600 + int(time[2:4]) * 60 + float(time[4:])

    (given,) = dataset.RadiopharmaceuticalInformationSequence
    waited = seconds(dataset.SeriesTime) - seconds(given.RadiopharmaceuticalStartTime)
    left = float(given.RadionuclideTotalDose) * 0.5 ** (waited / float(given.RadionuclideHalfLife))
    rescaled = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    return np.asarray(rescaled * (float(dataset.PatientWeight) * 1000 / left))


@pytest.mark.parametrize("name", ["1.dcm", "GH184.dcm"])
def test_real_slices_of_activity_are_the_formula(realdata: Path, name: str) -> None:
    path = realdata / "pet-single-slices" / name
    expected = by_hand(dcmread(path))
    assert expected.max() > 2
    np.testing.assert_allclose(pixels_of(path.read_bytes(), "suv")[0], expected, rtol=1e-6)


@pytest.mark.parametrize("patient", ["STS_002", "STS_019"])
def test_a_real_series_has_a_slope_for_each_slice_and_is_suv_already(
    orthanc: ores.Orthanc, realdata: Path, patient: str
) -> None:
    folder = realdata / "ct-pet-mr-rtstruct" / patient / "PET" / "image"
    datasets = sorted((dcmread(path) for path in folder.iterdir()), key=lambda each: each.ImagePositionPatient[2])
    assert len({float(each.RescaleSlope) for each in datasets}) == len(datasets) >= 47
    expected = np.stack([each.pixel_array * float(each.RescaleSlope) for each in datasets])
    orthanc.upload(folder, progress=False)
    for values in ("rescaled", "suv"):
        volume = orthanc.volume(orthanc.series(), values)
        assert (volume.array.dtype.name, volume.units) == ("float32", "GML")
        np.testing.assert_array_equal(volume.array, expected.astype(np.float32))


def test_activity_is_scaled_by_weight_and_what_is_left_of_the_dose() -> None:
    assert factor_of(pet()) == pytest.approx(FACTOR)
    assert factor_of(pet(RescaleSlope="0.5")) == pytest.approx(FACTOR)
    assert factor_of(pet(DecayCorrection="ADMIN")) == pytest.approx(FACTOR / 2)
    lifted = pet(RescaleIntercept="10")
    np.testing.assert_allclose(pixels_of(lifted, "suv"), (decode(lifted) * 3.0 + 10) * FACTOR, rtol=1e-6)
    table = item(LUTDescriptor=[2, 100, 16], ModalityLUTType="US")
    table.add_new("LUTData", "US", [1000, 3000])
    looked_up = pet(ModalityLUTSequence=[table])
    expected = np.where(decode(looked_up) > 100, 3000, 1000) * FACTOR
    np.testing.assert_allclose(pixels_of(looked_up, "suv"), expected, rtol=1e-6)


def test_a_series_keeps_the_slope_of_each_slice() -> None:
    like = pet()
    same = {each.keyword: each.value for each in like if each.keyword in SHARED}
    series = make_series(3, **same, RescaleIntercept="0", RescaleSlope=Each("1", "2", "5"))
    arrays = [(str(each.SOPInstanceUID), decode(each)) for each in series]
    volume = volume_from(one_stack(stacks_of(series)), arrays, "suv")
    expected = [decode(each)[0] * slope * FACTOR for each, slope in zip(series, (1, 2, 5), strict=True)]
    np.testing.assert_allclose(volume.array, expected, rtol=1e-6)
    assert volume.units == "GML"


SHARED = {
    "SOPClassUID", "Modality", "Units", "CorrectedImage", "DecayCorrection", "PatientWeight", "SeriesDate",
    "SeriesTime", "AcquisitionDate", "AcquisitionTime", "RadiopharmaceuticalInformationSequence",
}  # fmt: skip


def test_midnight_lies_between_injection_and_scan() -> None:
    late = {"SeriesTime": "005000", "AcquisitionTime": "005000"}
    dataset = pet(tracer(RadiopharmaceuticalStartTime="230013.8"), **late)
    assert factor_of(dataset) == pytest.approx(FACTOR)
    dated = tracer(RadiopharmaceuticalStartTime="230013.8", RadiopharmaceuticalStartDateTime="20200301230013.8")
    assert factor_of(pet(dated, **late)) == pytest.approx(FACTOR)


def test_the_date_of_the_injection_counts_and_one_that_cannot_be_does_not() -> None:
    assert factor_of(pet(tracer(RadiopharmaceuticalStartDateTime="20200302101013.8"))) == pytest.approx(FACTOR)
    shifted = tracer(RadiopharmaceuticalStartDateTime="20200303101013.8")  # a day late, as in the STS collection
    assert factor_of(pet(shifted)) == pytest.approx(FACTOR)
    copper = tracer(RadionuclideHalfLife=45721, RadiopharmaceuticalStartDateTime="20200301101013.8")  # a day before
    left = 350e6 * 0.5 ** ((86400 + HALF_LIFE) / 45721)
    assert factor_of(pet(copper)) == pytest.approx(70e3 / left)
    zoned = tracer(RadiopharmaceuticalStartDateTime="20200302091013.8+0000")
    assert factor_of(pet(zoned, TimezoneOffsetFromUTC="+0100")) == pytest.approx(FACTOR)
    with pytest.raises(PixelError, match="time zone"):
        pixels_of(pet(zoned), "suv")


def test_a_series_that_was_written_later_starts_when_its_frames_say() -> None:
    """QIBA: the average activity of a frame is that of one moment in it, which FrameReferenceTime is counted to."""
    duration, reference = 600.0, 900.0
    decayed = np.log(2) / HALF_LIFE * duration
    moment = HALF_LIFE / np.log(2) * np.log(decayed / (1 - np.exp(-decayed)))
    acquired = 12 * 3600 + reference - moment  # so that the scan began at 12:00:00
    clock = f"{int(acquired // 3600):02d}{int(acquired % 3600 // 60):02d}{acquired % 60:09.6f}"
    later = {"SeriesTime": "150000", "AcquisitionTime": clock}
    timed = pet(**later, FrameReferenceTime=str(reference * 1000), ActualFrameDuration=str(int(duration * 1000)))
    assert factor_of(timed) == pytest.approx(FACTOR, rel=1e-6)
    with pytest.raises(PixelError, match="FrameReferenceTime"):
        pixels_of(pet(**later), "suv")
    by_ge = pet(**later)
    by_ge.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20200302120000.00")
    assert factor_of(by_ge) == pytest.approx(FACTOR)


def test_philips_counts_have_factors_of_their_own() -> None:
    counts = pet(Units="CNTS")
    with pytest.raises(PixelError, match="Philips"):
        pixels_of(counts, "suv")
    block = counts.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x09, "DS", "20")  # Bq/ml for a count
    assert factor_of(counts) == pytest.approx(20 * FACTOR)
    block.add_new(0x00, "DS", "0.25")  # SUV for a count
    assert factor_of(counts) == pytest.approx(0.25)


def test_private_facts_are_taken_from_the_files(orthanc: ores.Orthanc) -> None:
    """Orthanc sends none of a file in implicit VR: what headers lack, the files may have."""
    for series, factor in (("1.2.1", "0.25"), ("1.2.2", None)):
        slices = [pet(Units="CNTS", SeriesInstanceUID=series, ImagePositionPatient=[0, 0, 3 * k]) for k in range(3)]
        for k, each in enumerate(slices):
            each.SOPInstanceUID = each.file_meta.MediaStorageSOPInstanceUID = UID(f"{series}.{k}")
            each.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            if factor:
                each.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x00, "DS", factor)
        orthanc.upload(slices, progress=False)
    volume = orthanc.volume(orthanc.series(SeriesInstanceUID="1.2.1"), "suv")
    np.testing.assert_array_equal(volume.array[0], decode(slices[0])[0] * 0.75)
    assert volume.units == "GML"
    with pytest.raises(PixelError, match="no factor of Philips"):
        orthanc.volume(orthanc.series(SeriesInstanceUID="1.2.2"), "suv")


def test_values_that_are_suv_already_pass_only_by_body_weight() -> None:
    for suv_type in (None, "BW"):
        assert factor_of(pet(Units="GML", SUVType=suv_type)) == pytest.approx(1)
    for suv_type in ("BSA", "LBM", "LBMJAMES128", "LBMJANMA", "IBW"):
        with pytest.raises(PixelError, match=f"SUV by {suv_type}"):
            pixels_of(pet(Units="GML", SUVType=suv_type), "suv")


def after_midnight(injected: str, half_life: float) -> dict[str, Any]:
    """A scan at one o'clock, of which nobody says on which day the injection was."""
    given = tracer(RadiopharmaceuticalStartTime=injected, RadionuclideHalfLife=half_life)
    return {"SeriesTime": "010000", "AcquisitionTime": "010000", "RadiopharmaceuticalInformationSequence": [given]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"CorrectedImage": ["DECY"]}, "does not contain ATTN"),
        ({"CorrectedImage": ["ATTN"]}, "does not contain DECY"),
        ({"CorrectedImage": None}, "ATTN and DECY"),
        ({"DecayCorrection": "NONE"}, "neither START nor ADMIN"),
        ({"DecayCorrection": None}, "neither START nor ADMIN"),
        ({"Units": "PROPCPS"}, "PROPCPS"),
        ({"Units": None}, "absent"),
        ({"PatientWeight": None}, "PatientWeight is absent"),
        ({"PatientWeight": "0"}, "PatientWeight cannot be right"),
        ({"PatientWeight": "70000"}, "PatientWeight cannot be right"),
        ({"RescaleSlope": None}, "RescaleSlope is absent"),
        ({"AcquisitionTime": None}, "AcquisitionTime"),
        ({"RadiopharmaceuticalInformationSequence": []}, "0 items"),
        ({"RadiopharmaceuticalInformationSequence": [tracer(), tracer()]}, "2 items"),
        ({"RadiopharmaceuticalInformationSequence": [tracer(RadionuclideTotalDose=350)]}, "TotalDose cannot be right"),
        ({"RadiopharmaceuticalInformationSequence": [tracer(RadionuclideHalfLife=None)]}, "HalfLife is absent"),
        ({"RadiopharmaceuticalInformationSequence": [tracer(RadiopharmaceuticalStartTime="")]}, "StartTime is absent"),
        ({"SeriesTime": "100500", "AcquisitionTime": "100500"}, "before the injection"),
        ({"SeriesTime": "040000", "AcquisitionTime": "040000"}, "before the injection"),
        ({"RadiopharmaceuticalInformationSequence": [tracer(RadionuclideHalfLife=600)]}, "10 half-lives after"),
        (after_midnight("140000", HALF_LIFE), "too late after midnight"),  # 11 h, six half-lives
        (after_midnight("110000", 20000.0), "too late after midnight"),  # 14 h, less than three
        ({"RadiopharmaceuticalInformationSequence": [tracer(RadionuclideHalfLife=45721)]}, "The day of the injection"),
        ({"Modality": "CT"}, "SUV is of PET"),
    ],
)
def test_what_suv_cannot_be_made_of_is_refused_with_its_reason(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(PixelError, match=said) as caught:
        pixels_of(pet(**changes), "suv")
    assert "20200302" not in str(caught.value)


def test_slices_of_two_scans_have_no_suv_together() -> None:
    series = [pet(SOPInstanceUID=f"1.2.{k}", ImagePositionPatient=[0, 0, 3 * k]) for k in range(3)]
    series[2].PatientWeight = "75"
    arrays = [(str(each.SOPInstanceUID), decode(each)) for each in series]
    with pytest.raises(PixelError, match="different factors"):
        volume_from(one_stack(stacks_of(series)), arrays, "suv")
