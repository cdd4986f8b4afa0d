"""The objects of the canary cohort: each shows one way in which a name can get into a file."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from deid_people import Person, canary, day, plain, uid
from deid_planting import CHARACTERISTICS, Planter, planted_tags, sequence_tags
from PIL import Image
from pydicom import DataElement, Dataset, Sequence
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    ComprehensiveSRStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    PositronEmissionTomographyImageStorage,
    RTStructureSetStorage,
    SegmentationStorage,
)

Pixels = npt.NDArray[np.uint16]
SIZE = 16
_AT = {"StudyTime": "101500", "SeriesTime": "102030.5", "AcquisitionTime": "102040", "ContentTime": "102050"}


def study_uid(person: Person, study: int) -> UID:
    return uid("study", person.number, study)


def ct_uid(person: Person, study: int, number: int) -> UID:
    return uid("ct", person.number, study, number)


def ct_series(person: Person, study: int) -> UID:
    return uid("ct series", person.number, study)


def frame_of_reference(person: Person, study: int) -> UID:
    return uid("frame of reference", person.number, study)


def pixels(name: str, size: int = SIZE) -> Pixels:
    """(row, column) of 12 bits that belong to this name."""
    seed = int(uid("pixels", name)[-9:])
    return np.random.default_rng(seed).integers(0, 4096, (size, size), dtype=np.uint16)


def base(planter: Planter, study: int, modality: str, sop_class: UID, syntax: UID = ExplicitVRLittleEndian) -> Dataset:
    """Patient, study, series and equipment, as a scanner fills them in: with everything about the person."""
    who, name = planter.person, planter.file
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = sop_class
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = uid("instance", name)
    made.SpecificCharacterSet = list(who.charset) if len(who.charset) > 1 else who.charset[0]
    made.PatientName, made.PatientID, made.PatientBirthDate = who.name, who.id, who.birth
    for keyword, value in CHARACTERISTICS.items():
        setattr(made, keyword, value)
    made.OtherPatientIDs, made.PatientAddress, made.PatientTelephoneNumbers = who.other_id, who.address, who.phone
    made.ReferringPhysicianName, made.OperatorsName = who.physician, who.operator
    made.InstitutionName, made.InstitutionAddress = who.institution, who.address
    made.AccessionNumber, made.StudyID = who.accession_of(study), f"{who.id}"
    made.StudyDescription = planter.text((0x00081030,), "StudyDescription", 64)
    made.SeriesDescription = planter.text((0x0008103E,), "SeriesDescription", 64)
    made.StudyInstanceUID, made.SeriesInstanceUID = study_uid(who, study), uid("series", name)
    made.StudyDate = made.SeriesDate = made.AcquisitionDate = made.ContentDate = who.study_days[study - 1]
    for keyword, value in _AT.items():
        setattr(made, keyword, value)
    made.Modality, made.SeriesNumber, made.InstanceNumber = modality, 1, 1
    made.Manufacturer, made.ManufacturerModelName = "SIEMENS", "Biograph 64"
    made.DeviceSerialNumber, made.StationName = canary(name, "DeviceSerialNumber"), canary(name, "StationName")
    for keyword in ("DeviceSerialNumber", "StationName"):
        tag = Tag(keyword)
        planter.text((tag,), keyword, 16)
    return made


def image(made: Dataset, stored: npt.NDArray[Any], *, bits: int = 12) -> Dataset:
    """Give it these pixels, (row, column) or (frame, row, column)."""
    made.Rows, made.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        made.NumberOfFrames = stored.shape[0]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = stored.dtype.itemsize * 8
    made.BitsStored, made.HighBit, made.PixelRepresentation = bits, bits - 1, 0
    made.add(DataElement(Tag("PixelData"), "OW" if made.BitsAllocated > 8 else "OB", stored.tobytes()))
    return made


def ct(planter: Planter, study: int, number: int = 1, syntax: UID = ImplicitVRLittleEndian) -> Dataset:
    """One slice of three, that others point at."""
    who = planter.person
    made = base(planter, study, "CT", CTImageStorage, syntax)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = ct_uid(who, study, number)
    made.SeriesInstanceUID, made.FrameOfReferenceUID = ct_series(who, study), frame_of_reference(who, study)
    made.InstanceNumber = number
    geometry(made, number)
    neighbour = Dataset()
    neighbour.ReferencedSOPClassUID = CTImageStorage
    neighbour.ReferencedSOPInstanceUID = ct_uid(who, study, number % 3 + 1)
    made.ReferencedImageSequence = Sequence([neighbour])
    return image(made, pixels(planter.file))


def geometry(made: Dataset, number: int = 1) -> None:
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.KVP, made.ConvolutionKernel, made.SliceThickness = "120", "B30f", "3"
    made.ImagePositionPatient = [-8, -8, 3 * number]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.PixelSpacing = ["1", "1"]
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType = "-1024", "1", "HU"
    made.WindowCenter, made.WindowWidth = "40", "400"
    made.PatientPosition, made.PositionReferenceIndicator = "HFS", ""


def alone(planter: Planter, study: int, syntax: UID = ExplicitVRLittleEndian) -> Dataset:
    """A slice in a series of its own."""
    made = ct(planter, study, 1, syntax)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = uid("instance", planter.file)
    made.SeriesInstanceUID = uid("series", planter.file)
    return made


def everything(planter: Planter, study: int) -> Dataset:
    """Every attribute of the dictionary at the top, and again three sequences deep."""
    made = alone(planter, study)
    tags = planted_tags()
    planter.plant(made, tags)
    inner = made
    path: tuple[int, ...] = ()
    where = ""
    for keyword in ("AnatomicRegionSequence", "AnatomicRegionModifierSequence", "EquivalentCodeSequence"):
        item = Dataset()
        setattr(inner, keyword, Sequence([item]))
        inner, path, where = item, (*path, int(Tag(keyword)), 0), f"{where}{keyword}/"
    who = planter.person
    inner.PatientName, inner.PatientID, inner.PatientBirthDate = who.name, who.id, who.birth
    planter.plant(inner, [tag for tag in tags if keyword_for_tag(Tag(tag))], path, where)
    return made


def sequences(planter: Planter, study: int) -> Dataset:
    """Every sequence of the dictionary with an item that says who it is."""
    made, who = alone(planter, study), planter.person
    for tag in sequence_tags():
        if tag in made or tag in (0x04000561, 0x00120064):
            continue
        where = keyword_for_tag(Tag(tag)) or f"{tag:08X}"
        item = Dataset()
        item.PatientName, item.PatientID, item.AccessionNumber = who.name, who.id, who.accession_of(study)
        planter.plant(item, [int(Tag(each)) for each in ("PatientComments", "UID", "Date")], (tag, 0), f"{where}/")
        made.add(DataElement(BaseTag(tag), "SQ", Sequence([item])))
    return made


_CREATORS = ("SIEMENS CSA HEADER", "SIEMENS MR HEADER", "GEMS_PARM_01", "Philips Imaging DD 001", "ACME SECRET 1.0")


def private(planter: Planter, study: int) -> Dataset:
    """Private blocks of known and unknown creators, one of them named after the person."""
    made, who = alone(planter, study), planter.person
    creators = [*_CREATORS, f"OF {who.id}"]
    for group, creator in zip((0x0029, 0x0019, 0x0043, 0x2001, 0x0077, 0x0079), creators, strict=True):
        block = made.private_block(group, creator, create=True)
        for offset, vr in enumerate(("LO", "SH", "ST", "LT", "UT", "PN", "DA", "DT", "UI", "UN", "OB", "CS"), 0x01):
            tag = group << 16 | 0x1000 | offset
            block.add_new(offset, vr, planter.value(vr, (tag,), f"{group:04X}xx{offset:02X}", ""))
        inner = Dataset()
        inner.PatientName, inner.PatientID = who.name, who.id
        deep = inner.private_block(group, creator, create=True)
        place = (group << 16 | 0x1070, 0, group << 16 | 0x1001)
        deep.add_new(0x01, "LO", planter.text(place, f"{group:04X}xx70/01", 64))
        block.add_new(0x70, "SQ", [inner])
    # What is known to be safe, but is not what it is known as: texts where numbers belong.
    numbers = made.private_block(0x0019, "SIEMENS MR HEADER")
    numbers.add_new(0x18, "LO", planter.text((0x00191018,), "dwell time", 64))
    numbers.add_new(0x29, "LT", planter.text((0x00191029,), "slice times"))
    csa = made.private_block(0x0029, "SIEMENS CSA HEADER")
    text = planter.text((0x00291020,), "CSA series header")
    csa.add_new(0x20, "OB", b"SV10\x04\x03\x02\x01" + text.encode() + b"\0" * (len(text.encode()) % 2))
    return made


def meta(planter: Planter, study: int) -> Dataset:
    """The person in front of the data set and behind it."""
    made, who = alone(planter, study), planter.person
    made.preamble = planter.own((), "preamble", f"{who.id} {who.birth}").encode().ljust(128, b"\0")
    about = made.file_meta
    about.ImplementationVersionName = planter.text((0x00020013,), "ImplementationVersionName", 16)
    for keyword in ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle", "ReceivingApplicationEntityTitle"):
        setattr(about, keyword, planter.text((int(Tag(keyword)),), keyword, 16))
    about.ImplementationClassUID = uid(planter.file, "ImplementationClassUID")
    about.PrivateInformationCreatorUID = uid(planter.file, "PrivateInformationCreatorUID")
    text = planter.text((0x00020102,), "PrivateInformation").encode()
    about.PrivateInformation = text + b" " * (len(text) % 2)
    text = planter.text((0xFFFCFFFC,), "DataSetTrailingPadding").encode()
    made.DataSetTrailingPadding = text + b"\0" * (len(text) % 2)
    return made


def overlays(planter: Planter, study: int) -> Dataset:
    """Overlay planes and curves that hold letters, their comments, labels and descriptions."""
    made, who = alone(planter, study), planter.person
    for group in (0x6000, 0x6002, 0x601E):
        for element, vr, value in (
            (0x0010, "US", SIZE),
            (0x0011, "US", SIZE),
            (0x0040, "CS", "G"),
            (0x0050, "SS", [1, 1]),
            (0x0100, "US", 1),
            (0x0102, "US", 0),
        ):
            made.add_new((group, element), vr, value)
        drawn = f"{who.id} {who.birth}".encode()
        planter.own((group << 16 | 0x3000,), f"{group:04X} overlay data", who.id)
        made.add_new((group, 0x3000), "OW", drawn.ljust(SIZE * SIZE // 8, b" "))
        for element, vr in ((0x0022, "LO"), (0x1500, "LO"), (0x4000, "LT")):
            limit = 64 if vr == "LO" else 10_000
            made.add_new(
                (group, element), vr, planter.text((group << 16 | element,), f"{group:04X}{element:04X}", limit)
            )
    for element, vr in ((0x0022, "LO"), (0x0040, "SH"), (0x2500, "LO"), (0x200E, "LT")):
        text = planter.text((0x50000000 | element,), f"5000{element:04X}", 16 if vr == "SH" else 64)
        made.add_new((0x5000, element), vr, text)
    for element, vr, value in ((0x0005, "US", 1), (0x0010, "US", 8), (0x0020, "CS", "ECG"), (0x0103, "US", 0)):
        made.add_new((0x5000, element), vr, value)
    planter.own((0x50003000,), "curve data", who.id)
    made.add_new((0x5000, 0x3000), "OW", who.id.encode().ljust(16, b" "))
    return made


def high_bits(planter: Planter, study: int) -> Dataset:
    """Four bits above the twelve that are stored: a retired overlay there, and letters, one half each."""
    made, who = alone(planter, study), planter.person
    letters = f"{who.id} {who.birth} {who.accession}".encode()
    nibbles = np.array([half for letter in letters for half in (letter >> 4, letter & 15)], dtype=np.uint16)
    above = np.resize(nibbles, (SIZE, SIZE)) << 12
    made.PixelData = (pixels(planter.file) | above).astype("<u2").tobytes()
    for element, vr, value in (
        (0x0010, "US", SIZE),
        (0x0011, "US", SIZE),
        (0x0040, "CS", "G"),
        (0x0050, "SS", [1, 1]),
        (0x0100, "US", 16),
        (0x0102, "US", 12),
    ):
        made.add_new((0x6000, element), vr, value)
    icon = image(Dataset(), np.full((8, 8), 7, dtype=np.uint8), bits=8)
    icon.PixelData = planter.own((0x00880200, 0, 0x7FE00010), "icon", who.id).encode().ljust(64, b" ")
    made.IconImageSequence = Sequence([icon])
    return made


def unknown(planter: Planter, study: int) -> Dataset:
    """UN where the dictionary knows better, attributes that nobody knows, dates that are none."""
    made, who = alone(planter, study), planter.person
    for keyword in ("PatientComments", "RequestingPhysician", "AdditionalPatientHistory", "ImageComments"):
        tag = int(Tag(keyword))
        _add_unknown(made, tag, _even(planter.text((tag,), keyword).encode()))
    _add_unknown(made, 0x0010400F, _even(planter.text((0x0010400F,), "0010400F").encode()))
    made.add(DataElement(BaseTag(0x00200FFE), "LO", planter.text((0x00200FFE,), "00200FFE", 64)))
    made.add(DataElement(BaseTag(0x00400FFE), "PN", who.name))
    inside = Dataset()
    inside.PatientName, inside.PatientID = who.name, who.id
    # A sequence as UN is in implicit VR, whatever the file is (PS3.5 6.2.2).
    _add_unknown(made, 0x00081115, _item(inside))
    _add_unknown(made, 0x00400FFC, _item(inside))
    born = DataElement(Tag("AcquisitionDate"), "OB", b"born 14.03.1958 ")
    born.VR = "UN"  # pydicom makes a DA of it, which it is not
    made.add(born)
    made.add(DataElement(Tag("CurveDate"), "DA", who.study_days[study - 1][:4], validation_mode=0))
    made.add(DataElement(Tag("AcquisitionDateTime"), "DT", f"{who.study_days[study - 1][:6]}", validation_mode=0))
    made.add(DataElement(Tag("ProtocolName"), "LO", planter.text((0x00181030,), "ProtocolName", 64)))
    return made


def typed(planter: Planter, study: int) -> Dataset:
    """Values that are not of their VR: a name as a time, an age, a number and a UID."""
    made, who = alone(planter, study), planter.person
    word = planter.text((int(Tag("PatientAge")),), "PatientAge", 16)
    for keyword, value in (
        ("PatientAge", word),
        ("AcquisitionTime", planter.text((int(Tag("AcquisitionTime")),), "AcquisitionTime", 16)),
        ("ReconstructionDiameter", planter.text((int(Tag("ReconstructionDiameter")),), "ReconstructionDiameter", 16)),
        ("Exposure", planter.own((int(Tag("Exposure")),), "Exposure", who.birth + "/" + who.id)),
        ("PatientWeight", planter.text((int(Tag("PatientWeight")),), "PatientWeight", 16)),
        ("IrradiationEventUID", f"1.2.840.10008.{int(who.birth)}.77"),
        ("AcquisitionUID", planter.text((int(Tag("AcquisitionUID")),), "AcquisitionUID", 16)),
        ("ReferencedFrameOfReferenceUID", f"{who.id} {who.birth}"),
        ("CodingSchemeUID", f"1.2.840.10008.{int(who.birth)}.78"),
        ("NumberOfTemporalPositions", planter.text((int(Tag("NumberOfTemporalPositions")),), "count", 12)),
        ("AcquisitionDateTime", f"{who.study_days[study - 1]} {plain(who.name.split('^')[0])}"),
    ):
        tag = Tag(keyword)
        vr = dictionary_VR(tag)
        element = DataElement(tag, "LO", value)
        element.VR = vr
        made.add(element)
    return made


def _add_unknown(made: Dataset, tag: int, data: bytes) -> None:
    element = DataElement(BaseTag(tag), "OB", data)
    element.VR = "UN"  # afterwards: pydicom would look up what it is
    made.add(element)


def _even(data: bytes) -> bytes:
    return data + b" " * (len(data) % 2)


def _item(inside: Dataset) -> bytes:
    data = b""
    for element in inside:
        value = _even(str(element.value).encode())
        data += struct.pack("<HHL", element.tag.group, element.tag.element, len(value)) + value
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(data)) + data


def charset(planter: Planter, study: int) -> Dataset:
    """Characters by escape sequences, and a text that is not in the character set that the file names."""
    made, who = alone(planter, study), planter.person
    made.SpecificCharacterSet = ["ISO 2022 IR 101", "ISO 2022 IR 87"]
    _add_unknown(made, 0x00104000, _even(planter.text((0x00104000,), "PatientComments").encode()))
    made.add(DataElement(Tag("InterpretationAuthor"), "PN", who.name))
    # Bytes of UTF-8 in a file that says Latin-2.
    _add_unknown(made, 0x00204000, _even(who.institution.encode()))
    return made


def jpeg(planter: Planter, study: int) -> Dataset:
    """A JPEG with a comment, an Exif segment, and letters behind its end."""
    made, who = alone(planter, study, JPEGBaseline8Bit), planter.person
    picture = (pixels(planter.file) >> 4).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=95)
    said = planter.text((0x7FE00010,), "JPEG comment").encode()
    other = planter.own((0x7FE00010,), "JPEG APP1", f"Exif\0\0{who.id} {who.birth}").encode()
    data = stream.getvalue()
    segments = b"\xff\xfe" + struct.pack(">H", len(said) + 2) + said + b"\xff\xe1" + struct.pack(">H", len(other) + 2)
    data = data[:2] + segments + other + data[2:]
    image(made, picture, bits=8)
    made.PixelData = encapsulate([_even_jpeg(data)])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.LossyImageCompression, made.LossyImageCompressionMethod = "01", "ISO_10918_1"
    return made


def _even_jpeg(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def j2k(planter: Planter, study: int) -> Dataset:
    """JPEG 2000 without loss, with a comment in its main header."""
    made = image(alone(planter, study), pixels(planter.file, 64))
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    data = next(iter(generate_frames(made.PixelData, number_of_frames=1)))
    said = planter.text((0x7FE00010,), "J2K comment").encode()
    comment = b"\xff\x64" + struct.pack(">HH", len(said) + 4, 1) + said
    at = data.index(b"\xff\x52")  # COD: comments may stand anywhere after SIZ
    made.PixelData = encapsulate([_even_jpeg(data[:at] + comment + data[at:])])
    made["PixelData"].is_undefined_length = True
    return made


def tail(planter: Planter, study: int) -> Dataset:
    """Letters behind the last pixel."""
    made = alone(planter, study)
    said = planter.text((0x7FE00010,), "behind the pixels").encode()
    made.PixelData = pixels(planter.file).astype("<u2").tobytes() + said + b"\0" * (len(said) % 2)
    return made


def below(planter: Planter, study: int) -> Dataset:
    """Letters in the bits below those stored (HighBit 15 of 12 bits)."""
    made, who = alone(planter, study), planter.person
    letters = f"{who.id} {who.birth} {who.accession}".encode()
    nibbles = np.array([half for letter in letters for half in (letter >> 4, letter & 15)], dtype=np.uint16)
    made.HighBit = 15
    values = pixels(planter.file) << 4 | np.resize(nibbles, (SIZE, SIZE))
    made.PixelData = values.astype("<u2").tobytes()
    return made


def frames(planter: Planter, study: int) -> Dataset:
    """Two JPEG frames of two fragments each; the second has a comment, and letters behind its end."""
    made, who = alone(planter, study, JPEGBaseline8Bit), planter.person
    pictures = [(pixels(f"{planter.file} {number}", 64) >> 4).astype(np.uint8) for number in range(2)]
    data = []
    for picture in pictures:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=95)
        data.append(stream.getvalue())
    said = planter.text((0x7FE00010,), "comment of the second frame").encode()
    behind = planter.own((0x7FE00010,), "behind the second frame", f"{who.id} {who.birth}").encode()
    data[1] = data[1][:2] + b"\xff\xfe" + struct.pack(">H", len(said) + 2) + said + data[1][2:] + behind
    image(made, np.stack(pictures), bits=8)
    made.PixelData = encapsulate([_even_jpeg(each) for each in data], fragments_per_frame=2)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.LossyImageCompression, made.LossyImageCompressionMethod = "01", "ISO_10918_1"
    return made


def jpegls(planter: Planter, study: int) -> Dataset:
    """JPEG-LS with a comment and an application's segment."""
    made, who = alone(planter, study), planter.person
    made.compress(JPEGLSLossless, encoding_plugin="pyjpegls", generate_instance_uid=False)
    data = next(iter(generate_frames(made.PixelData, number_of_frames=1)))
    said = planter.text((0x7FE00010,), "JPEG-LS comment").encode()
    other = planter.own((0x7FE00010,), "JPEG-LS APP9", f"{who.id} {who.birth}").encode()
    segments = b"\xff\xfe" + struct.pack(">H", len(said) + 2) + said + b"\xff\xe9" + struct.pack(">H", len(other) + 2)
    made.PixelData = encapsulate([_even_jpeg(data[:2] + segments + other + data[2:])])
    made["PixelData"].is_undefined_length = True
    return made


def several(planter: Planter, study: int) -> Dataset:
    """More than one value where one is usual, and values that are only part of a date."""
    made, who = alone(planter, study, ExplicitVRBigEndian), planter.person
    when = who.study_days[study - 1]
    made.OtherPatientNames = [who.name, who.physician]
    made.PerformingPhysicianName = [who.operator, who.name]
    made.SoftwareVersions = ["syngo CT", "VB10"]
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5"]
    made.DateOfLastCalibration = [when, day(planter.file, "calibrated")]
    made.TimeOfLastCalibration = ["101112", "101113"]
    made.FailedSOPInstanceUIDList = [uid(planter.file, "failed", number) for number in range(3)]
    made.ReferencedFrameOfReferenceUID = uid(planter.file, "frame")
    made.MedicalAlerts = [planter.text((0x00102000,), "MedicalAlerts", 30), planter.text((0x00102000,), "again", 30)]
    made.AcquisitionDateTime = f"{when}101112.123456+0130"
    made.FrameReferenceDateTime = when[:4]
    made.SetDate = when
    words = np.frombuffer(made.PixelData, dtype="<u2")
    made.PixelData = words.astype(">u2").tobytes()
    return made


def deflated(planter: Planter, study: int) -> Dataset:
    """Nothing of the data set can be read without inflating it."""
    made = alone(planter, study, DeflatedExplicitVRLittleEndian)
    made.PatientComments = planter.text((0x00104000,), "PatientComments")
    return made


def code(value: str, scheme: str, meaning: str) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
    return made


def content(kind: str, concept: Dataset, relationship: str = "CONTAINS", **value: Any) -> Dataset:
    made = Dataset()
    made.RelationshipType, made.ValueType = relationship, kind
    made.ConceptNameCodeSequence = Sequence([concept])
    for keyword, each in value.items():
        setattr(made, keyword, each)
    return made


def sr(planter: Planter, study: int) -> Dataset:
    """A report: text, names, dates, references, a code of the house's own."""
    made, who = base(planter, study, "SR", ComprehensiveSRStorage), planter.person
    root, name = (int(Tag("ContentSequence")),), planter.file
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.CompletionFlag, made.VerificationFlag = "COMPLETE", "VERIFIED"
    made.ConceptNameCodeSequence = Sequence([code("18748-4", "LN", "Diagnostic imaging report")])
    verifier = Dataset()
    verifier.VerifyingOrganization, verifier.VerifyingObserverName = who.institution, who.physician
    verifier.VerificationDateTime = day(name, "verified") + "101010"
    made.VerifyingObserverSequence = Sequence([verifier])
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CTImageStorage, ct_uid(who, study, 1)
    measured = Dataset()
    measured.NumericValue, measured.MeasurementUnitsCodeSequence = "12.5", Sequence([code("mm", "UCUM", "mm")])
    finding = code("121071", "DCM", "Finding")
    house = planter.text((*root, 6, 0x0040A168, 0, 0x00080104), "house's own code", 64)
    made.ContentSequence = Sequence(
        [
            content(
                "PNAME", code("121008", "DCM", "Person Observer Name"), "HAS OBS CONTEXT", PersonName=who.physician
            ),
            content(
                "TEXT", code("121071", "DCM", "Finding"), TextValue=planter.text((*root, 1, 0x0040A160), "finding")
            ),
            content("DATE", code("121030", "DCM", "Subject Birth Date"), "HAS OBS CONTEXT", Date=who.birth),
            content("DATETIME", code("121025", "DCM", "Date of report"), DateTime=day(name, "reported") + "1200"),
            content("UIDREF", code("121028", "DCM", "Subject UID"), UID=uid(name, "subject")),
            content("NUM", code("121206", "DCM", "Distance"), MeasuredValueSequence=Sequence([measured])),
            content(
                "CODE",
                finding,
                ConceptCodeSequence=Sequence([code("H-1", "99HOUSE", house)]),
            ),
            content(
                "IMAGE", code("121112", "DCM", "Source of Measurement"), ReferencedSOPSequence=Sequence([reference])
            ),
        ]
    )
    made.CurrentRequestedProcedureEvidenceSequence = Sequence([evidence(who, study)])
    return made


def evidence(who: Person, study: int) -> Dataset:
    """The three slices, in the hierarchy that reports name them by."""
    instances = []
    for number in (1, 2, 3):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, ct_uid(who, study, number)
        instances.append(item)
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = ct_series(who, study), Sequence(instances)
    made = Dataset()
    made.StudyInstanceUID, made.ReferencedSeriesSequence = study_uid(who, study), Sequence([series])
    return made


def pdf(planter: Planter, study: int) -> Dataset:
    """A letter in a PDF."""
    made = base(planter, study, "DOC", EncapsulatedPDFStorage)
    made.ConversionType, made.BurnedInAnnotation = "WSD", "YES"
    made.DocumentTitle = planter.text((0x00420010,), "DocumentTitle")
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    said = planter.text((0x00420011,), "PDF").encode()
    document = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\n% " + said + b"\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    made.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    made.EncapsulatedDocumentLength = len(document)
    made.ConceptNameCodeSequence = Sequence([code("18748-4", "LN", "Diagnostic imaging report")])
    return made


def rtstruct(planter: Planter, study: int) -> Dataset:
    """Contours on the three slices; one region of interest is called after the person."""
    made, who = base(planter, study, "RTSTRUCT", RTStructureSetStorage), planter.person
    made.StructureSetLabel = planter.text((0x30060002,), "StructureSetLabel", 16)
    made.StructureSetDate, made.StructureSetTime = day(planter.file, "StructureSetDate"), "090807"
    series = Dataset()
    series.SeriesInstanceUID = ct_series(who, study)
    series.ContourImageSequence = evidence(who, study).ReferencedSeriesSequence[0].ReferencedSOPSequence
    referenced = Dataset()
    referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = (
        "1.2.840.10008.3.1.2.3.1",
        study_uid(who, study),
    )
    referenced.RTReferencedSeriesSequence = Sequence([series])
    frame = Dataset()
    frame.FrameOfReferenceUID = frame_of_reference(who, study)
    frame.RTReferencedStudySequence = Sequence([referenced])
    made.ReferencedFrameOfReferenceSequence = Sequence([frame])
    roi = Dataset()
    roi.ROINumber, roi.ReferencedFrameOfReferenceUID = 1, frame_of_reference(who, study)
    roi.ROIName = planter.text((0x30060020, 0, 0x30060026), "ROIName", 64)
    roi.ROIGenerationAlgorithm = "MANUAL"
    made.StructureSetROISequence = Sequence([roi])
    contour = Dataset()
    contour.ContourImageSequence = Sequence([series.ContourImageSequence[0]])
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 3
    contour.ContourData = [-4, -4, 3, 4, -4, 3, 0, 4, 3]
    contours = Dataset()
    contours.ReferencedROINumber, contours.ROIDisplayColor = 1, [255, 0, 0]
    contours.ContourSequence = Sequence([contour])
    made.ROIContourSequence = Sequence([contours])
    observation = Dataset()
    observation.ObservationNumber, observation.ReferencedROINumber = 1, 1
    observation.RTROIInterpretedType, observation.ROIInterpreter = "ORGAN", who.physician
    made.RTROIObservationsSequence = Sequence([observation])
    made.ApprovalStatus = "UNAPPROVED"
    return made


def seg(planter: Planter, study: int) -> Dataset:
    """One segment over the first slice."""
    made, who = base(planter, study, "SEG", SegmentationStorage), planter.person
    made.ImageType, made.ContentLabel = ["DERIVED", "PRIMARY"], "SEGMENTATION"
    made.ContentDescription = planter.text((0x00700081,), "ContentDescription", 64)
    made.ContentCreatorName = who.operator
    made.SegmentationType, made.FrameOfReferenceUID = "BINARY", frame_of_reference(who, study)
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentAlgorithmType = 1, "MANUAL"
    segment.SegmentLabel = planter.text((0x00620002, 0, 0x00620005), "SegmentLabel", 64)
    segment.SegmentedPropertyCategoryCodeSequence = Sequence([code("T-D0050", "SRT", "Tissue")])
    segment.SegmentedPropertyTypeCodeSequence = Sequence([code("T-28000", "SRT", "Lung")])
    segment.TrackingUID = uid(planter.file, "TrackingUID")
    made.SegmentSequence = Sequence([segment])
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = CTImageStorage, ct_uid(who, study, 1)
    source.PurposeOfReferenceCodeSequence = Sequence([code("121322", "DCM", "Source image for image processing")])
    derivation = Dataset()
    derivation.SourceImageSequence = Sequence([source])
    derivation.DerivationCodeSequence = Sequence([code("113076", "DCM", "Segmentation")])
    frame = Dataset()
    frame.DerivationImageSequence = Sequence([derivation])
    made.PerFrameFunctionalGroupsSequence = Sequence([frame])
    organization = Dataset()
    organization.DimensionOrganizationUID = uid(planter.file, "DimensionOrganizationUID")
    made.DimensionOrganizationSequence = Sequence([organization])
    series = evidence(who, study).ReferencedSeriesSequence[0]
    instances = Dataset()
    instances.SeriesInstanceUID, instances.ReferencedInstanceSequence = (
        series.SeriesInstanceUID,
        series.ReferencedSOPSequence,
    )
    made.ReferencedSeriesSequence = Sequence([instances])
    mask = np.packbits((pixels(planter.file) > 2047).astype(np.uint8).ravel(), bitorder="little")
    image(made, np.zeros((1, SIZE, SIZE), dtype=np.uint8), bits=1)
    made.BitsAllocated, made.PixelData = 1, mask.tobytes()
    return made


def pet(planter: Planter, study: int) -> Dataset:
    """A PET slice with what a standardized uptake value needs."""
    made, who = base(planter, study, "PT", PositronEmissionTomographyImageStorage), planter.person
    geometry(made)
    del made.KVP, made.ConvolutionKernel, made.RescaleType
    made.FrameOfReferenceUID = frame_of_reference(who, study)
    made.Units, made.DecayCorrection, made.CorrectedImage = "BQML", "START", ["DECY", "ATTN", "SCAT"]
    made.DecayFactor, made.SeriesType, made.CountsSource = "1.01", ["STATIC", "IMAGE"], "EMISSION"
    made.ActualFrameDuration, made.FrameReferenceTime, made.RescaleIntercept = "120000", "60000", "0"
    drug = Dataset()
    drug.Radiopharmaceutical = "FDG"
    drug.RadiopharmaceuticalStartTime = "091500"
    drug.RadiopharmaceuticalStartDateTime = f"{who.study_days[study - 1]}091500"
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = "370000000", "6586.2"
    drug.RadionuclidePositronFraction = "0.97"
    drug.RadionuclideCodeSequence = Sequence([code("C-111A1", "SRT", "^18^Fluorine")])
    made.RadiopharmaceuticalInformationSequence = Sequence([drug])
    return image(made, pixels(planter.file))


def enhanced(planter: Planter, study: int) -> Dataset:
    """Two frames with functional groups that hold dates, UIDs and comments."""
    made, who = base(planter, study, "MR", EnhancedMRImageStorage), planter.person
    made.ImageType, made.FrameOfReferenceUID = ["ORIGINAL", "PRIMARY", "M", "NONE"], frame_of_reference(who, study)
    made.AcquisitionDateTime = who.study_days[study - 1] + "102040.123456"
    made.InstanceNumber, made.MagneticFieldStrength = 1, 3.0
    organization = Dataset()
    organization.DimensionOrganizationUID = uid(planter.file, "DimensionOrganizationUID")
    made.DimensionOrganizationSequence = Sequence([organization])
    frames = []
    for number in range(2):
        position, about, frame = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [-8, -8, 3 * number]
        about.FrameAcquisitionDateTime = who.study_days[study - 1] + f"10204{number}.5"
        about.FrameReferenceDateTime = about.FrameAcquisitionDateTime
        place = (0x52009230, number, 0x00209111, 0, 0x00209158)
        about.FrameComments = planter.text(place, f"FrameComments {number}")
        frame.PlanePositionSequence, frame.FrameContentSequence = Sequence([position]), Sequence([about])
        frames.append(frame)
    made.PerFrameFunctionalGroupsSequence = Sequence(frames)
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = ["1", "1"], "3"
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    return image(made, np.stack([pixels(f"{planter.file} {number}") for number in range(2)]))
