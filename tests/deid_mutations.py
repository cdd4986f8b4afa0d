"""One thing wrong at a time in an output that was right: what a verifier has to find."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from deid_cohort import File
from deid_people import plain, uid
from dicom_files import as_file
from pydicom import DataElement, Dataset, Sequence, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.tag import Tag

__all__ = ["MUTATIONS", "Mutation"]

Change = Callable[[Dataset, File], None]


@dataclass(frozen=True, slots=True)
class Mutation:
    """What is changed, in an output of which kind of file."""

    kind: str
    change: Change

    def of(self, file: File, output: bytes) -> bytes:
        dataset = dcmread(io.BytesIO(output))
        for _ in dataset.iterall():  # read now, so that nothing is copied over as it is
            pass
        self.change(dataset, file)
        return as_file(dataset)


def _set(keyword: str, value: Callable[[File], Any] | str) -> Change:
    def change(dataset: Dataset, file: File) -> None:
        setattr(dataset, keyword, value if isinstance(value, str) else value(file))

    return change


def _family(file: File) -> str:
    return plain(file.person.name.split("^")[0].split("-")[-1])


def _iso(file: File) -> str:
    birth = file.person.birth
    return f"{birth[:4]}-{birth[4:6]}-{birth[6:]}"


def _deep(dataset: Dataset, file: File) -> None:
    dataset.ReferencedImageSequence[0].PatientName = file.person.name


def _deep_text(dataset: Dataset, file: File) -> None:
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121311", "DCM"
    purpose.CodeMeaning = f"Localizer {_family(file)}"
    dataset.ReferencedImageSequence[0].PurposeOfReferenceCodeSequence = Sequence([purpose])


def _private(dataset: Dataset, file: File) -> None:
    dataset.private_block(0x0029, "ACME SECRET 1.0", create=True).add_new(1, "UN", file.person.id.encode() + b" ")


def _creator(dataset: Dataset, file: File) -> None:
    dataset.private_block(0x0029, f"OF {file.person.id}", create=True).add_new(1, "US", 1)


def _day_off(keyword: str) -> Change:
    def change(dataset: Dataset, _file: File) -> None:
        old = str(dataset[keyword].value)
        moved = date(int(old[:4]), int(old[4:6]), int(old[6:8])) + timedelta(1)
        setattr(dataset, keyword, moved.strftime("%Y%m%d") + old[8:])

    return change


def _old(keyword: str) -> Change:
    """The original's own value back in its place."""

    def change(dataset: Dataset, file: File) -> None:
        setattr(dataset, keyword, dcmread(io.BytesIO(file.content))[keyword].value)

    return change


def _reference(value: str) -> Change:
    def change(dataset: Dataset, file: File) -> None:
        item = dataset.ReferencedImageSequence[0]
        before = dcmread(io.BytesIO(file.content)).ReferencedImageSequence[0]
        item.ReferencedSOPInstanceUID = value or before.ReferencedSOPInstanceUID

    return change


def _pixel(mask: int) -> Change:
    def change(dataset: Dataset, _file: File) -> None:
        data = bytearray(dataset.PixelData)
        word = struct.unpack_from("<H", data, 100)[0]
        struct.pack_into("<H", data, 100, word ^ mask)
        dataset.PixelData = bytes(data)

    return change


def _overlay(dataset: Dataset, file: File) -> None:
    dataset.add_new((0x6000, 0x0010), "US", 16)
    dataset.add_new((0x6000, 0x3000), "OW", file.person.id.encode().ljust(32))


def _comment(dataset: Dataset, file: File) -> None:
    data = next(iter(generate_frames(dataset.PixelData, number_of_frames=1)))
    said = file.person.id.encode()
    data = data[:2] + b"\xff\xfe" + struct.pack(">H", len(said) + 2) + said + data[2:]
    dataset.PixelData = encapsulate([data + b"\0" * (len(data) % 2)])


def _preamble(dataset: Dataset, file: File) -> None:
    dataset.preamble = file.person.id.encode().ljust(128, b"\0")


def _padding(dataset: Dataset, file: File) -> None:
    dataset.DataSetTrailingPadding = file.person.birth.encode()


def _meta(dataset: Dataset, file: File) -> None:
    dataset.file_meta.SourceApplicationEntityTitle = file.person.id


def _gone(keyword: str) -> Change:
    def change(dataset: Dataset, _file: File) -> None:
        del dataset[keyword]

    return change


def _bytes(dataset: Dataset, file: File) -> None:
    text = file.person.name.split("=")[2].split("^")[0] + file.person.institution
    dataset.add(DataElement(Tag("LUTData"), "OW", text.encode("utf-16-le")))


_ROUND = "2.25.301842765301847650184"
MUTATIONS: Mapping[str, Mutation] = {
    "a short name in a description": Mutation("ct", _set("StudyDescription", lambda file: f"CT chest {_family(file)}")),
    "a name in capitals, without diacritics": Mutation(
        "ct", _set("SeriesDescription", lambda file: plain(file.person.physician.split("^")[0]).upper())
    ),
    "a name where the table allows text": Mutation("ct", _set("ConvolutionKernel", _family)),
    "a number where text may stay": Mutation("ct", _set("Manufacturer", lambda file: f"ACME {file.person.id}")),
    "the birth date as a text": Mutation("ct", _set("SeriesDescription", lambda file: f"chest {_iso(file)}")),
    "the accession number": Mutation("ct", _set("StudyID", lambda file: file.person.accession_of(file.study))),
    "the name in its own place": Mutation("ct", _old("PatientName")),
    "the name in an item": Mutation("ct", _deep),
    "the name in a code's meaning": Mutation("ct", _deep_text),
    "the number in a private element": Mutation("ct", _private),
    "the number in a private creator": Mutation("ct", _creator),
    "the name in bytes": Mutation("ct", _bytes),
    "the number in the preamble": Mutation("ct", _preamble),
    "the birth date in the padding": Mutation("ct", _padding),
    "the number in the file meta": Mutation("ct", _meta),
    "a birth date": Mutation("ct", _set("PatientBirthDate", "19580101")),
    "an age over 89": Mutation("ct", _set("PatientAge", "091Y")),
    "an old date": Mutation("ct", _old("StudyDate")),
    "a date a day off": Mutation("ct", _day_off("ContentDate")),
    "a date and time a day off": Mutation("enhanced", _day_off("AcquisitionDateTime")),
    "another time": Mutation("ct", _set("SeriesTime", "102031")),
    "an old UID": Mutation("ct", _old("FrameOfReferenceUID")),
    "an old UID in a reference": Mutation("ct", _reference("")),
    "a reference to nothing": Mutation("ct", _reference(_ROUND)),
    "a UID of its own": Mutation("ct", _set("SeriesInstanceUID", _ROUND)),
    "another patient's ID": Mutation("ct", _set("PatientID", "AAAAAAAAAA")),
    "a stored value changed": Mutation("ct", _pixel(1)),
    "a bit above those stored": Mutation("highbits", _pixel(0x4000)),
    "an overlay": Mutation("ct", _overlay),
    "a comment in a JPEG": Mutation("jpeg", _comment),
    "pixels gone": Mutation("ct", _gone("PixelData")),
    "what SUV needs gone": Mutation("pet", _gone("RadiopharmaceuticalInformationSequence")),
    "a number changed": Mutation("ct", _set("RescaleIntercept", "-1000")),
    "a technical text changed": Mutation("ct", _set("ConvolutionKernel", "B70f")),
    "a type 1 attribute empty": Mutation("ct", _set("Modality", "")),
    "a UID that was not there": Mutation("ct", _set("IrradiationEventUID", lambda file: uid(file.name, "new"))),
    "a text that was not there": Mutation("ct", _set("ImageComments", "seen in March")),
    "no word that it is de-identified": Mutation("ct", _gone("PatientIdentityRemoved")),
}
