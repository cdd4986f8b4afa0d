"""What a header says about turning stored values into others: slope, intercept and units, or a lookup table.

A table (Modality LUT, VOI LUT, palette; PS3.3 C.11.1.1, C.7.6.3.1.5) is a descriptor (number of entries, first value
mapped, bits) and entries. Values below the first mapped one get the first entry, values above the last mapped one the
last entry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian

from orthanc_research.errors import PixelError

from ._header import Header, number, numbers, text

__all__ = ["Lut", "big_endian", "lut_from", "lut_of", "modality_lut", "rescale_of"]

_MODALITY_LUT = "0028,3000"
_DESCRIPTOR, _TYPE, _DATA = "0028,3002", "0028,3004", "0028,3006"


@dataclass(frozen=True, slots=True)
class Lut:
    """A lookup table: value `first` → entry 0. `data` holds the entries as little-endian 16-bit words.

    `kind` is ModalityLUTType, the units of what comes out (""  when absent). `data` is empty where the header said that
    there is a table and did not hold its entries: they are in the file (`with_file_facts`).
    """

    first: int
    bits: int
    data: bytes
    kind: str

    @property
    def entries(self) -> npt.NDArray[np.uint16]:
        """The entries, in order."""
        return np.frombuffer(self.data, dtype="<u2").astype(np.uint16, copy=False)

    def apply(self, array: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
        """The entry of each value, the shape of `array`. `PixelError` without entries or for a float array."""
        if not self.data:
            raise PixelError("The entries of this lookup table are in the file, not in the header.")
        if array.dtype.kind not in "iu":
            raise PixelError("A lookup table maps integers; these pixels are not.")
        entries = self.entries
        places = np.clip(array.astype(np.int64) - self.first, 0, len(entries) - 1)
        taken: npt.NDArray[np.uint16] = entries[places]
        return taken

    def __repr__(self) -> str:
        return f"<Lut {len(self.data) // 2} entries from {self.first}, {self.bits} bits>"


def rescale_of(header: Header) -> tuple[float | None, float | None, str]:
    """(slope, intercept, units of what they give) of one frame's header; None is absent, NaN is there and no number.

    A dose is DoseGridScaling x stored (PS3.3 C.8.8.3), in DoseUnits. Units of PET are Units (C.8.9.1.1.3); of others
    RescaleType (C.11.1.1.2), HU for a CT that names none (C.8.2.1).
    """
    modality = text(header, "0008,0060")
    if modality == "RTDOSE":
        scaling = number(header, "3004,000e")
        return math.nan if scaling is None else scaling, 0.0, text(header, "3004,0002")
    units = text(header, "0028,1054") or ("HU" if modality == "CT" else "")
    if modality == "PT" and text(header, "0054,1001"):
        units = text(header, "0054,1001")
    return number(header, "0028,1053"), number(header, "0028,1052"), units


def modality_lut(source: Header | Dataset) -> Lut | None:
    """The Modality LUT of a header or a Dataset; None when there is none.

    Without `data` when the header does not hold the entries (binary values are null in it), and when they do not fit
    the descriptor: `Lut.apply` then refuses.
    """
    if isinstance(source, Dataset):
        items = source.get("ModalityLUTSequence") or []
        if not items:
            return None
        return lut_of(items[0], signed=source.get("PixelRepresentation") == 1, big=big_endian(source))
    found = source.get(_MODALITY_LUT)
    if not found:
        return None
    item = found[0] if isinstance(found, list | tuple) and isinstance(found[0], dict) else {}
    descriptor, entries = numbers(item, _DESCRIPTOR), numbers(item, _DATA)
    return lut_from(descriptor or (), entries or (), text(item, _TYPE), signed=text(source, "0028,0103") == "1")


def lut_of(item: Dataset, *, signed: bool, big: bool = False) -> Lut:
    """The table of a sequence item that holds LUTDescriptor and LUTData; `signed` says whether its input is.

    `big` says that the file is big endian, where pydicom leaves the bytes of OW as they are.
    """
    try:
        data, kind = item.get("LUTData"), str(item.get("ModalityLUTType") or "")
        return lut_from(item.get("LUTDescriptor") or (), data or (), kind, signed=signed, big=big)
    except Exception as error:  # pydicom raises whatever damaged bytes lead it into
        raise PixelError(f"Its lookup table cannot be read ({type(error).__name__}).") from error


def big_endian(dataset: Dataset) -> bool:
    """Whether the bytes of OW in this Dataset are of a big-endian file."""
    return bool(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID") == ExplicitVRBigEndian)


def lut_from(descriptor: Any, data: Any, kind: str = "", *, signed: bool, big: bool = False) -> Lut:
    """A table from its descriptor and its entries, numbers or the bytes of OW; without `data` where they do not fit."""
    if len(descriptor) != 3 or not all(float(part).is_integer() for part in descriptor):
        return Lut(0, 16, b"", kind)
    count, first, bits = (int(part) for part in descriptor)
    count = (count & 0xFFFF) or 65536  # 0 says 2^16; and a reader may have taken the word for a signed one
    first &= 0xFFFF
    if signed and first > 0x7FFF:
        first -= 0x10000
    words = _words(data, count, bits, big)
    return Lut(first, bits, words.tobytes() if len(words) == count else b"", kind)


def _words(data: Any, count: int, bits: int, big: bool) -> npt.NDArray[np.uint16]:
    """Entries as 16-bit words; bytes of OW are entries of 8 bits when there are too few for 16."""
    if isinstance(data, bytes):
        # One entry of 8 bits has a byte of padding behind it, and is as long as one of 16.
        narrow = len(data) < 2 * count or (bits == 8 and len(data) <= count + 1)
        if not narrow:
            return np.frombuffer(data, ">u2" if big else "<u2", count=count).astype("<u2")
        if big:  # OW is words, whatever they hold
            data = np.frombuffer(data, ">u2", count=len(data) // 2).astype("<u2").tobytes()
        return np.frombuffer(data, "u1", count=min(count, len(data))).astype("<u2")
    values = np.atleast_1d(np.asarray(data, dtype=np.float64))[:count]
    if values.ndim != 1 or not np.all((values > -0x8000 - 1) & (values <= 0xFFFF) & (values == np.rint(values))):
        return np.zeros(0, dtype="<u2")
    return values.astype(np.int64).astype("<u2")
