"""An original that says who the patient is in every place we could think of, and outputs to be spoilt."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
from dicom_files import as_file
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from orthanc_research.deid import Key, Profile, Subject, deidentify

KEY = Key.parse("5a" * 32)
SUBJECT = Subject(patient_id="RESEARCH01", days=-1234)
CT = "1.2.840.10008.5.1.4.1.1.2"


def original(number: int = 1, *, bits: int = 12) -> Dataset:
    """A CT slice of Jürgen Müller-Lüdenscheidt; `number` tells instances of his study apart."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = UID(CT)
    ds.file_meta.MediaStorageSOPInstanceUID = UID(f"1.3.6.1.4.1.9590.7.1.{number}")
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = CT, f"1.3.6.1.4.1.9590.7.1.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.3.6.1.4.1.9590.7", "1.3.6.1.4.1.9590.7.1"
    ds.FrameOfReferenceUID = "1.3.6.1.4.1.9590.7.99"
    ds.PatientName = "Müller-Lüdenscheidt^Jürgen=李^伟=Li^Wei"
    ds.PatientID, ds.IssuerOfPatientID, ds.AccessionNumber = "MRN0815472", "KLINIKUM", "ACC778812"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge, ds.PatientWeight = "19280314", "M", "095Y", 82.5
    ds.ReferringPhysicianName, ds.InstitutionName = "Weizenkeim^Sophie", "Klinikum Hintertupfing"
    ds.StudyDate, ds.SeriesDate, ds.AcquisitionDate = "20230405", "20230405", "20230406"
    ds.StudyTime, ds.AcquisitionDateTime = "101112", "20230406101112.123456+0100"
    ds.Modality, ds.Manufacturer, ds.BodyPartExamined = "CT", "SIEMENS", "HEAD"
    ds.SeriesDescription, ds.StudyDescription = "CT head axial", "Schädel Herr Müller"
    ds.ImageType, ds.KVP, ds.ConvolutionKernel = ["ORIGINAL", "PRIMARY", "AXIAL"], "120", "H31s"
    ds.ImageComments = "spoke to Wei on 05.04.2023"
    ds.InstanceNumber, ds.ImagePositionPatient = number, [0, 0, number]
    ds.ImageOrientationPatient, ds.PixelSpacing = [1, 0, 0, 0, 1, 0], [1, 1]
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CT, "1.3.6.1.4.1.9590.7.1.1"
    ds.ReferencedImageSequence = Sequence([image])
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "69536005", "SCT", "Head"
    ds.AnatomicRegionSequence = Sequence([region])
    block = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000")
    block.add_new(0x77, "UN", b"free text about Luedenscheidt")
    add_pixels(ds, bits)
    return ds


def add_pixels(ds: Dataset, bits: int) -> None:
    ds.Rows = ds.Columns = 16
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = (16 if bits > 8 else 8), bits, bits - 1
    values = np.random.default_rng(7).integers(0, 1 << bits, (16, 16))
    ds.PixelData = values.astype("<u2" if bits > 8 else "u1").tobytes()


def compressed(kind: str) -> Dataset:
    """The same with pixels as "jpeg", "j2k" or "rle", each with the patient's name in a comment where it can be."""
    if kind == "rle":
        ds = original()
        ds.compress(RLELossless, generate_instance_uid=False)
        return ds
    ds = original(bits=8)
    picture, buffer = Image.fromarray(np.frombuffer(ds.PixelData, "u1").reshape(16, 16)), io.BytesIO()
    if kind == "jpeg":
        picture.save(buffer, "JPEG", comment=b"Ludenscheidt")
        ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    else:
        picture.save(buffer, "JPEG2000", no_jp2=True, comment=b"Ludenscheidt")
        ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    ds.PixelData = encapsulate([buffer.getvalue()])
    ds["PixelData"].is_undefined_length = True
    return ds


def output_of(content: bytes, profile: Profile | None = None, subject: Subject = SUBJECT) -> bytes:
    return deidentify(content, profile or Profile(), KEY, subject).content


def spoilt(output: bytes, change: Callable[[Dataset], object]) -> bytes:
    """An output after something was done to its data set."""
    ds = dcmread(io.BytesIO(output))
    change(ds)
    return as_file(ds)


def csa(**values: bytes) -> bytes:
    """A CSA header of one value a name."""
    out = b"SV10\4\3\2\1" + struct.pack("<II", len(values), 77)
    for name, value in values.items():
        out += struct.pack("<64si4siii", name.encode(), 1, b"IS", 6, 1, 77)
        out += struct.pack("<4i", len(value), len(value), 77, len(value)) + value + bytes(-len(value) % 4)
    return out
