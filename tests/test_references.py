"""What points at what: said by the objects, looked up here, and marked where nothing is."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pixel_cases import item, make_series, make_slice, sequence
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import orthanc_research as ores
from orthanc_research import errors

STRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


def contours(of: list[Dataset], uid: str, **changes: str) -> Dataset:
    """An RTSTRUCT of these slices."""
    made = Dataset()
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID"):
        setattr(made, keyword, getattr(of[0], keyword, ""))
    made.SOPClassUID, made.Modality = STRUCT, "RTSTRUCT"
    made.SOPInstanceUID, made.SeriesInstanceUID = f"{uid}.1", uid
    images = [item(ReferencedSOPClassUID=each.SOPClassUID, ReferencedSOPInstanceUID=each.SOPInstanceUID) for each in of]
    series = item(SeriesInstanceUID=of[0].SeriesInstanceUID, ContourImageSequence=Sequence(images))
    made.ReferencedFrameOfReferenceSequence = sequence(
        RTReferencedStudySequence=sequence(
            ReferencedSOPInstanceUID=of[0].StudyInstanceUID, RTReferencedSeriesSequence=Sequence([series])
        )
    )
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = pydicom.uid.UID(STRUCT)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return made


def test_both_ends_of_a_reference_find_each_other(orthanc: ores.Orthanc) -> None:
    images, others = make_series(4), make_series(3, SeriesInstanceUID="1.2.50")
    struct = contours(images, "1.2.60")
    elsewhere = contours(
        [make_slice(k, SOPInstanceUID=f"1.2.99.{k}", SeriesInstanceUID="1.2.51") for k in range(2)], "1.2.61"
    )
    orthanc.upload([*images[:3], *others, struct, elsewhere], progress=False)
    ids = {uid: identifier for identifier, uid in orthanc.series()["SeriesInstanceUID"].items()}
    frame = orthanc.references(ids["1.2.60"])
    assert frame["ReferencedSOPInstanceUID"].tolist() == [str(each.SOPInstanceUID) for each in images]
    assert frame["Dangling"].tolist() == [False, False, False, True]
    assert frame["TargetSeries"].tolist()[:3] == [ids[str(images[0].SeriesInstanceUID)]] * 3
    assert set(frame["ReferencedSeriesInstanceUID"]) == {str(images[0].SeriesInstanceUID)}
    here = orthanc.instances()["SOPInstanceUID"]
    assert here[frame["Target"].tolist()[:3]].tolist() == [str(each.SOPInstanceUID) for each in images[:3]]
    assert frame.iloc[3][["Target", "TargetSeries"]].isna().all()
    # The images' side: the dangling one is of this series too, by what the contours say.
    assert orthanc.references(ids[str(images[0].SeriesInstanceUID)]).equals(frame)
    assert orthanc.references(ids["1.2.50"]).empty
    assert orthanc.references(ids["1.2.61"])["Dangling"].all()
    assert len(orthanc.references(orthanc.studies())) == 6
    assert orthanc.references([]).dtypes.equals(frame.dtypes)
    gone = orthanc.series(SeriesInstanceUID="1.2.61")
    orthanc.delete(gone, expect=1)
    with pytest.raises(errors.NotFoundError):
        orthanc.references(gone)


def test_what_another_patient_has_is_no_target(orthanc: ores.Orthanc) -> None:
    images = make_series(3)
    struct = contours(images, "1.2.60", PatientID="ANOTHER", StudyInstanceUID="1.2.70")
    orthanc.upload([*images, struct], progress=False)
    assert orthanc.references(orthanc.series(Modality="RTSTRUCT"))["Dangling"].all()
    assert orthanc.references(orthanc.series(Modality="CT")).empty


def test_requests_are_few(orthanc: ores.Orthanc) -> None:
    images = make_series(3)
    orthanc.upload([*images, *(contours(images, f"1.2.6{k}") for k in range(5))], progress=False)
    series = orthanc.series(Modality="RTSTRUCT")
    orthanc.references(series)
    with orthanc.rest.counting() as requests:
        assert len(orthanc.references(series)) == 15
    assert len(requests) == 5 + 5  # one each, and: series, study, targets, their series, its study


def test_contours_that_all_dangle(orthanc: ores.Orthanc, realdata: Path) -> None:
    struct = sorted((realdata / "ct-pet-mr-rtstruct").glob("STS_*/PET/mask/*.dcm"))
    assert struct
    orthanc.upload(struct[0], progress=False)
    dataset = pydicom.dcmread(struct[0])
    frame = orthanc.references(orthanc.series())
    assert frame["Dangling"].all()
    said = {
        str(image.ReferencedSOPInstanceUID)
        for roi in dataset.ROIContourSequence
        for contour in roi.ContourSequence
        for image in contour.get("ContourImageSequence", [])
    }
    assert said
    assert said <= set(frame["ReferencedSOPInstanceUID"])


def test_segmentations_and_reports_point_at_their_images(orthanc: ores.Orthanc, realdata: Path) -> None:
    """Against what pydicom finds anywhere in these files; some of the images are here, and the others dangle."""
    read = [pydicom.dcmread(path) for path in sorted((realdata / "seg-sm-highdicom").glob("*.dcm"))]
    pointing = [each for each in read if each.Modality in ("SEG", "SR", "ANN")]
    images = [each for each in read if each.Modality in ("CT", "SM")]
    # A report of 1CT1 has the SeriesInstanceUID of its image: what is stored first says what its series is.
    orthanc.upload(pointing, progress=False)
    orthanc.upload(images, progress=False)
    here = set(orthanc.instances()["SOPInstanceUID"])
    said = {
        (str(each.SOPInstanceUID), str(element.value), str(element.value) not in here)
        for each in pointing
        for element in each.iterall()
        if element.keyword == "ReferencedSOPInstanceUID"
    }
    frame = orthanc.references(orthanc.series())
    columns = ["SOPInstanceUID", "ReferencedSOPInstanceUID", "Dangling"]
    assert sorted(frame[columns].itertuples(index=False, name=None)) == sorted(said)
    assert set(frame["Modality"]) == {"SEG", "SR", "ANN"}
    assert set(frame.loc[frame["Modality"] == "SEG", "Dangling"]) == {True, False}
    assert frame["Target"].isna().tolist() == frame["Dangling"].tolist()
